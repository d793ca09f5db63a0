//! Batched receiving: one `recvmmsg` call into buffers that live as long as the worker.
//!
//! The only `unsafe` of the receive path. Buffers never move: they are boxed once and the kernel structures
//! point into them.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::RawFd;

/// Datagrams taken from a socket by one system call.
pub const BATCH: usize = 32;
/// Longest datagram that is handled; longer ones count as malformed.
pub const DATAGRAM: usize = 2048;

/// Buffers and kernel structures of one batch.
pub struct ReceiveBatch {
    datagrams: Box<[[u8; DATAGRAM]]>,
    names: Box<[libc::sockaddr_storage]>,
    // Pointed to by `headers`, never read from here.
    _vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
    filled: usize,
}

// SAFETY: the raw pointers inside point to the boxes of the same value, which move with it (the heap blocks
// themselves stay where they are); nobody else holds them.
unsafe impl Send for ReceiveBatch {}

impl ReceiveBatch {
    pub fn new() -> Self {
        let mut datagrams = vec![[0; DATAGRAM]; BATCH].into_boxed_slice();
        // SAFETY: all-zero is a valid value of these plain C structures.
        let zero_name: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
        let mut names = vec![zero_name; BATCH].into_boxed_slice();
        let mut vectors: Box<[libc::iovec]> = datagrams
            .iter_mut()
            .map(|d| libc::iovec { iov_base: d.as_mut_ptr().cast(), iov_len: DATAGRAM })
            .collect();
        let headers = vectors
            .iter_mut()
            .zip(names.iter_mut())
            .map(|(vector, name)| {
                // SAFETY: as above.
                let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
                header.msg_hdr.msg_name = std::ptr::from_mut(name).cast();
                header.msg_hdr.msg_namelen = NAME_LEN;
                header.msg_hdr.msg_iov = vector;
                header.msg_hdr.msg_iovlen = 1;
                header
            })
            .collect();
        Self { datagrams, names, _vectors: vectors, headers, filled: 0 }
    }

    /// Takes up to `most` datagrams, never more than [`BATCH`], without waiting; 0 when there are none. Fewer than that means that
    /// the socket was empty. One system call.
    pub fn receive(&mut self, fd: RawFd, most: usize) -> io::Result<usize> {
        for header in &mut self.headers[..self.filled] {
            header.msg_hdr.msg_namelen = NAME_LEN;
        }
        self.filled = 0;
        // SAFETY: `headers` has BATCH initialised entries whose pointers refer to live boxes of this value; the arguments are those of
        // recvmmsg(2), whose function in the C library is a cancellation point and costs more.
        let n = unsafe {
            libc::syscall(
                libc::SYS_recvmmsg,
                fd,
                self.headers.as_mut_ptr(),
                most.min(BATCH) as u32,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut::<libc::timespec>(),
            )
        };
        if n < 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::WouldBlock { Ok(0) } else { Err(error) };
        }
        self.filled = (n as usize).min(BATCH);
        Ok(self.filled)
    }

    /// Octets of the datagram; `None` when it was cut off.
    pub fn datagram(&mut self, index: usize) -> Option<&mut [u8]> {
        let header = &self.headers[index];
        if header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0 {
            return None;
        }
        self.datagrams[index].get_mut(..header.msg_len as usize)
    }

    /// Puts a datagram that was received earlier into the first place, while nothing of the batch is in use; `false` when it is too long.
    pub fn place(&mut self, octets: &[u8]) -> bool {
        let (Some(datagram), Some(header)) = (self.datagrams.first_mut(), self.headers.first_mut()) else {
            return false;
        };
        let Some(place) = datagram.get_mut(..octets.len()) else { return false };
        place.copy_from_slice(octets);
        header.msg_len = octets.len() as u32;
        header.msg_hdr.msg_flags = 0;
        true
    }

    /// Cuts a datagram that was taken apart in place; it cannot grow.
    pub fn shorten(&mut self, index: usize, length: usize) {
        let header = &mut self.headers[index];
        header.msg_len = header.msg_len.min(length as u32);
    }

    /// Octets of the datagram as far as they fit, read only.
    pub fn octets(&self, index: usize) -> &[u8] {
        let length = (self.headers[index].msg_len as usize).min(DATAGRAM);
        &self.datagrams[index][..length]
    }

    /// Where the datagram came from.
    pub fn source(&self, index: usize) -> Option<SocketAddr> {
        decode(&self.names[index])
    }
}

const NAME_LEN: libc::socklen_t = size_of::<libc::sockaddr_storage>() as libc::socklen_t;

fn decode(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    let pointer = std::ptr::from_ref(name);
    match i32::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: sockaddr_storage is at least as large and as aligned as sockaddr_in.
            let v4 = unsafe { &*pointer.cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Some(SocketAddr::V4(SocketAddrV4::new(ip, u16::from_be(v4.sin_port))))
        }
        libc::AF_INET6 => {
            // SAFETY: … than sockaddr_in6.
            let v6 = unsafe { &*pointer.cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            // Flow label and scope do not tell peers apart, except for link-local scope.
            let scope = if ip.is_unicast_link_local() { v6.sin6_scope_id } else { 0 };
            Some(SocketAddr::V6(SocketAddrV6::new(ip, u16::from_be(v6.sin6_port), 0, scope)))
        }
        _ => None,
    }
}
