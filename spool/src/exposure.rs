//! Packets exposed in user space: one listening `SOCK_SEQPACKET` socket a stream, named
//! `<spool>/calls/<prefix>/<stream name>`. A reader connects; from then on one `recv` gives one framed packet; end of
//! file (`recv` gives 0) means that the stream is over. What was queued while nobody was connected comes first.
//!
//! Paths of sockets are limited to 107 octets, call-IDs are not: both ends open the directory and go through
//! `/proc/self/fd/<directory>/<stream name>`.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

/// Packets that the kernel queues for a connected reader (limited by octets, see `SO_SNDBUF`).
const BACKLOG: libc::c_int = 4;

/// Opens a listening socket for a stream. The directory must exist; a left-over socket of that name is replaced.
pub fn listen(directory: &Path, stream_name: &str) -> io::Result<OwnedFd> {
    let (_directory, address, length) = address(directory, stream_name)?;
    match std::fs::remove_file(directory.join(stream_name)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let socket = seqpacket()?;
    // SAFETY: `address` is a valid sockaddr_un of `length` octets that outlives both calls.
    let result = unsafe {
        if libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) == 0 {
            libc::listen(socket.as_raw_fd(), BACKLOG)
        } else {
            -1
        }
    };
    if result == 0 { Ok(socket) } else { Err(io::Error::last_os_error()) }
}

/// Takes one waiting reader, if there is one. The connection is non-blocking.
pub fn accept(listener: &OwnedFd) -> io::Result<Option<OwnedFd>> {
    // SAFETY: the listener is open; null address pointers are allowed.
    let fd = unsafe {
        libc::accept4(
            listener.as_raw_fd(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC,
        )
    };
    if fd >= 0 {
        // SAFETY: `fd` was just returned by the kernel and nobody else owns it.
        return Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) }));
    }
    let error = io::Error::last_os_error();
    if error.kind() == io::ErrorKind::WouldBlock { Ok(None) } else { Err(error) }
}

/// Connects to a stream as its reader. The connection is non-blocking.
pub fn connect(directory: &Path, stream_name: &str) -> io::Result<OwnedFd> {
    let (_directory, address, length) = address(directory, stream_name)?;
    let socket = seqpacket()?;
    // SAFETY: `address` is a valid sockaddr_un of `length` octets that outlives the call.
    let result = unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), length) };
    if result == 0 { Ok(socket) } else { Err(io::Error::last_os_error()) }
}

/// Sends one packet; `WouldBlock` when the reader's queue is full, `BrokenPipe` when it is gone.
pub fn send(connection: &OwnedFd, parts: [&[u8]; 2]) -> io::Result<()> {
    let iov =
        parts.map(|part| libc::iovec { iov_base: part.as_ptr().cast_mut().cast(), iov_len: part.len() });
    // SAFETY: an all-zero msghdr is a valid empty one.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = iov.as_ptr().cast_mut();
    message.msg_iovlen = 2;
    // SAFETY: the iovecs point at live slices that sendmsg only reads.
    let sent = unsafe { libc::sendmsg(connection.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL) };
    if sent >= 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Receives one packet; 0 = end of the stream.
pub fn receive(connection: &OwnedFd, buf: &mut [u8]) -> io::Result<usize> {
    // SAFETY: `buf` is writable for its length.
    let got = unsafe { libc::recv(connection.as_raw_fd(), buf.as_mut_ptr().cast(), buf.len(), 0) };
    usize::try_from(got).map_err(|_| io::Error::last_os_error())
}

fn seqpacket() -> io::Result<OwnedFd> {
    // SAFETY: socket() has no memory preconditions.
    let fd = unsafe {
        libc::socket(libc::AF_UNIX, libc::SOCK_SEQPACKET | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC, 0)
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `fd` was just returned by the kernel and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The directory stays open as long as the address is in use.
fn address(directory: &Path, stream_name: &str) -> io::Result<(File, libc::sockaddr_un, libc::socklen_t)> {
    if stream_name.contains('/') {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let directory = File::open(directory)?;
    let path = CString::new(format!("/proc/self/fd/{}/{stream_name}", directory.as_raw_fd()))?;
    // SAFETY: an all-zero sockaddr_un is valid.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    let octets = path.as_bytes_with_nul();
    if octets.len() > address.sun_path.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in address.sun_path.iter_mut().zip(octets) {
        *to = from.cast_signed();
    }
    let length = std::mem::offset_of!(libc::sockaddr_un, sun_path) + octets.len();
    Ok((directory, address, length as libc::socklen_t))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_receive_gives_one_packet_and_closing_gives_zero() {
        let spool = tempfile::tempdir().expect("temporary directory");
        let directory = spool.path().join("x".repeat(200));
        std::fs::create_dir(&directory).expect("directory");
        let name = crate::names::stream_name(0, 1, 1, false, 0);
        let listener = listen(&directory, &name).expect("listen");
        assert!(accept(&listener).expect("accept").is_none());
        let reader = connect(&directory, &name).expect("connect");
        let writer = accept(&listener).expect("accept").expect("a reader");
        send(&writer, [b"head", b"payload"]).expect("send");
        send(&writer, [b"two", b""]).expect("send");
        let mut buf = [0; 64];
        assert_eq!(receive(&reader, &mut buf).expect("receive"), 11);
        assert_eq!(&buf[..11], b"headpayload");
        assert_eq!(receive(&reader, &mut buf).expect("receive"), 3);
        let nothing = receive(&reader, &mut buf).expect_err("empty");
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        drop(writer);
        assert_eq!(receive(&reader, &mut buf).expect("end"), 0);
    }

    #[test]
    fn a_reader_that_went_away_is_reported() {
        let spool = tempfile::tempdir().expect("temporary directory");
        let listener = listen(spool.path(), "s").expect("listen");
        drop(connect(spool.path(), "s").expect("connect"));
        let writer = accept(&listener).expect("accept").expect("a reader");
        assert_eq!(send(&writer, [b"x", b""]).expect_err("gone").kind(), io::ErrorKind::BrokenPipe);
    }
}
