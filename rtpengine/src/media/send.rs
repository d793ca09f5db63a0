//! Batched sending: many datagrams from one socket to one peer in one system call. The only `unsafe` of the
//! send path.

use std::net::SocketAddr;
use std::os::fd::RawFd;

use super::receive::BATCH;

/// A peer's address in the form the kernel wants, made once when it changes.
#[derive(Clone, Copy)]
pub struct Destination {
    name: libc::sockaddr_in6,
    length: libc::socklen_t,
}

impl Destination {
    pub fn new(address: SocketAddr) -> Self {
        // SAFETY: all-zero is a valid value of this plain C structure.
        let mut name: libc::sockaddr_in6 = unsafe { std::mem::zeroed() };
        let length = match address {
            SocketAddr::V4(v4) => {
                // SAFETY: sockaddr_in is smaller than and no more aligned than sockaddr_in6, all fields written.
                let short = unsafe { &mut *std::ptr::from_mut(&mut name).cast::<libc::sockaddr_in>() };
                short.sin_family = libc::AF_INET as libc::sa_family_t;
                short.sin_port = v4.port().to_be();
                short.sin_addr.s_addr = u32::from(*v4.ip()).to_be();
                size_of::<libc::sockaddr_in>()
            }
            SocketAddr::V6(v6) => {
                name.sin6_family = libc::AF_INET6 as libc::sa_family_t;
                name.sin6_port = v6.port().to_be();
                name.sin6_addr.s6_addr = v6.ip().octets();
                name.sin6_scope_id = v6.scope_id();
                size_of::<libc::sockaddr_in6>()
            }
        };
        Self { name, length: length as libc::socklen_t }
    }
}

/// Sends one datagram without waiting; whether the system took it.
///
/// Not by the C library's function: that is a cancellation point, which costs two locked instructions.
pub fn send(fd: RawFd, to: &Destination, datagram: &[u8]) -> bool {
    // SAFETY: both buffers are live and their lengths are given; the arguments are those of sendto(2).
    let sent = unsafe {
        libc::syscall(
            libc::SYS_sendto,
            fd,
            datagram.as_ptr(),
            datagram.len(),
            libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
            std::ptr::from_ref(&to.name),
            to.length,
        )
    };
    sent >= 0
}

/// Kernel structures for up to [`BATCH`] datagrams.
pub struct SendBatch {
    vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
}

// SAFETY: pointers inside are only valid, and only used, during `send_all`.
unsafe impl Send for SendBatch {}

impl SendBatch {
    pub fn new() -> Self {
        let vector = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        // SAFETY: all-zero is a valid value of this plain C structure.
        let header: libc::mmsghdr = unsafe { std::mem::zeroed() };
        Self {
            vectors: vec![vector; BATCH].into_boxed_slice(),
            headers: vec![header; BATCH].into_boxed_slice(),
        }
    }

    /// Sends up to [`BATCH`] datagrams without waiting and marks in `failed` (bit = index) those that the system
    /// refused. One system call, and one more for each refusal.
    pub fn send_all<'a>(
        &mut self,
        fd: RawFd,
        to: &Destination,
        datagrams: impl Iterator<Item = &'a [u8]>,
    ) -> (usize, u32) {
        let mut count = 0;
        for (index, datagram) in datagrams.take(BATCH).enumerate() {
            let vector = &mut self.vectors[index];
            vector.iov_base = datagram.as_ptr().cast_mut().cast();
            vector.iov_len = datagram.len();
            let header = &mut self.headers[index].msg_hdr;
            header.msg_name = std::ptr::from_ref(&to.name).cast_mut().cast();
            header.msg_namelen = to.length;
            header.msg_iov = vector;
            header.msg_iovlen = 1;
            count = index + 1;
        }
        let (mut next, mut failed) = (0, 0u32);
        while next < count {
            // SAFETY: headers `next..count` were filled above and point to live data; the kernel only reads it.
            let n = unsafe {
                libc::syscall(
                    libc::SYS_sendmmsg,
                    fd,
                    self.headers.as_mut_ptr().add(next),
                    (count - next) as u32,
                    libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
                )
            };
            if n > 0 {
                next += n as usize;
            } else {
                // The first of the rest was refused: leave it out and go on.
                failed |= 1 << next;
                next += 1;
            }
        }
        (count, failed)
    }
}
