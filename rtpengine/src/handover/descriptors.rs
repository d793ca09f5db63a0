//! Octets and open files over a UNIX stream socket. A leaf around `sendmsg` and `recvmsg`.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

/// Files that go with one octet; the kernel takes 253.
pub const MOST: usize = 200;

/// Room for the control message of [`MOST`] files.
const CONTROL: usize = 64 + MOST * size_of::<RawFd>();

/// Aligned as a control message has to be.
#[repr(C, align(8))]
struct Control([u8; CONTROL]);

/// Sends one octet and at most [`MOST`] files with it.
///
/// # Errors
/// Too many files, or what the system says.
pub fn send(stream: &UnixStream, octet: u8, files: &[RawFd]) -> io::Result<()> {
    if files.len() > MOST {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut octets = [octet];
    let mut part = libc::iovec { iov_base: octets.as_mut_ptr().cast(), iov_len: 1 };
    let mut control = Control([0; CONTROL]);
    let length = u32::try_from(size_of_val(files)).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: all zeros is a valid message header.
    let mut header: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    // SAFETY: plain arithmetic on a length.
    header.msg_controllen = unsafe { libc::CMSG_SPACE(length) } as _;
    // SAFETY: the control buffer is live, aligned, and has room for one message of `length` octets: CMSG_SPACE of MOST files is below
    // CONTROL.
    unsafe {
        let message = libc::CMSG_FIRSTHDR(&raw const header);
        (*message).cmsg_level = libc::SOL_SOCKET;
        (*message).cmsg_type = libc::SCM_RIGHTS;
        (*message).cmsg_len = libc::CMSG_LEN(length) as _;
        std::ptr::copy_nonoverlapping(files.as_ptr().cast::<u8>(), libc::CMSG_DATA(message), length as usize);
    }
    loop {
        // SAFETY: the header refers to buffers that live through the call.
        let sent = unsafe { libc::sendmsg(stream.as_raw_fd(), &raw const header, libc::MSG_NOSIGNAL) };
        match sent {
            1 => return Ok(()),
            0 => return Err(io::ErrorKind::WriteZero.into()),
            _ => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}

/// Receives one octet, and adds the files that came with it to `files`.
///
/// # Errors
/// The other end is gone, more files came than there is room for, or what the system says.
pub fn receive(stream: &UnixStream, files: &mut Vec<OwnedFd>) -> io::Result<u8> {
    let mut octets = [0u8];
    let mut part = libc::iovec { iov_base: octets.as_mut_ptr().cast(), iov_len: 1 };
    let mut control = Control([0; CONTROL]);
    // SAFETY: all zeros is a valid message header.
    let mut header: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = CONTROL as _;
    let received = loop {
        // SAFETY: the header refers to buffers that live through the call.
        let received = unsafe { libc::recvmsg(stream.as_raw_fd(), &raw mut header, libc::MSG_CMSG_CLOEXEC) };
        let error = io::Error::last_os_error();
        if received >= 0 {
            break received;
        }
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    };
    // SAFETY: the kernel has written whole control messages into the buffer; each file number in them is ours from now on.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(&raw const header);
        while !message.is_null() {
            if (*message).cmsg_level == libc::SOL_SOCKET && (*message).cmsg_type == libc::SCM_RIGHTS {
                let octets = ((*message).cmsg_len as usize).saturating_sub(libc::CMSG_LEN(0) as usize);
                let numbers = libc::CMSG_DATA(message).cast::<RawFd>();
                for index in 0..octets / size_of::<RawFd>() {
                    files.push(OwnedFd::from_raw_fd(numbers.add(index).read_unaligned()));
                }
            }
            message = libc::CMSG_NXTHDR(&raw const header, message);
        }
    }
    if header.msg_flags & libc::MSG_CTRUNC != 0 {
        return Err(io::Error::other("more files than can be taken (limit of open files?)"));
    }
    match received {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(octets[0]),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn files_arrive_beside_the_stream_and_octets_stay_in_order() {
        let (mut one, mut other) = UnixStream::pair().expect("a pair");
        let sockets: Vec<UdpSocket> =
            (0..MOST).map(|_| UdpSocket::bind("127.0.0.1:0").expect("a port")).collect();
        let numbers: Vec<RawFd> = sockets.iter().map(AsRawFd::as_raw_fd).collect();
        one.write_all(b"before").expect("write");
        send(&one, b'!', &numbers).expect("send");
        one.write_all(b"behind").expect("write");
        let mut text = [0; 6];
        other.read_exact(&mut text).expect("read");
        assert_eq!(&text, b"before");
        let mut files = Vec::new();
        assert_eq!(receive(&other, &mut files).expect("receive"), b'!');
        other.read_exact(&mut text).expect("read");
        assert_eq!(&text, b"behind");
        let arrived: Vec<_> =
            files.into_iter().map(|file| UdpSocket::from(file).local_addr().expect("bound")).collect();
        let expected: Vec<_> = sockets.iter().map(|socket| socket.local_addr().expect("bound")).collect();
        assert_eq!(arrived, expected);
        drop(one);
        let end = receive(&other, &mut Vec::new()).expect_err("nobody there");
        assert_eq!(end.kind(), io::ErrorKind::UnexpectedEof);
    }
}
