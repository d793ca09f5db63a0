//! UDP sockets that tell which local address a datagram came to, and answer from there (RFC 3542 §6).

use std::io;
use std::mem::{MaybeUninit, size_of, zeroed};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};

use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, Socket, Type};

use crate::config::PathMtu;
use crate::control::tcp_listener::set_tos;

/// Room for one `in6_pktinfo` with its header, aligned as control messages must be.
#[repr(C, align(8))]
struct Control([u8; 64]);

/// A bound, blocking socket.
#[derive(Debug)]
pub struct PacketInfoSocket {
    socket: Socket,
}

/// A datagram's length and where it travelled.
#[derive(Clone, Copy, Debug)]
pub struct Received {
    /// Octets in the buffer.
    pub length: usize,
    /// Who sent it.
    pub peer: SocketAddr,
    /// The address it was sent to, if the system told.
    pub local: Option<IpAddr>,
}

impl PacketInfoSocket {
    /// Binds. An IPv6 socket takes IPv6 only. A TOS of 0 leaves the system's; path MTU discovery is
    /// for IPv4.
    pub fn bind(address: SocketAddr, tos: u8, path_mtu: PathMtu) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
            enable(socket.as_raw_fd(), libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO)?;
        } else {
            enable(socket.as_raw_fd(), libc::IPPROTO_IP, libc::IP_PKTINFO)?;
        }
        let discover = match path_mtu {
            PathMtu::System => None,
            PathMtu::Want => Some(libc::IP_PMTUDISC_WANT),
            PathMtu::Dont => Some(libc::IP_PMTUDISC_DONT),
        };
        if let Some(discover) = discover.filter(|_| address.is_ipv4()) {
            set_int(socket.as_raw_fd(), libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, discover)?;
        }
        if tos > 0 {
            set_tos(&socket, address, tos)?;
        }
        // Bursts of call set-ups wait in the socket; the system may grant less.
        let _ = socket.set_recv_buffer_size(4 << 20);
        socket.bind(&address.into())?;
        Ok(PacketInfoSocket { socket })
    }

    /// The address it is bound to.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()?.as_socket().ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Changes the IPv4 TOS or IPv6 traffic class of what is sent.
    pub fn set_tos(&self, tos: u8) -> io::Result<()> {
        set_tos(&self.socket, self.local_addr()?, tos)
    }

    /// Waits for a datagram; what does not fit into the buffer is cut off. Fails after [`PacketInfoSocket::shut_down`].
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        receive(self.socket.as_raw_fd(), buffer)
    }

    /// Sends a datagram, from the given local address if there is one. Waits while the socket is full.
    pub fn send(&self, datagram: &[u8], peer: SocketAddr, local: Option<IpAddr>) -> io::Result<()> {
        send(self.socket.as_raw_fd(), datagram, peer, local)
    }

    /// Ends everybody's waiting in [`PacketInfoSocket::receive`], for good.
    pub fn shut_down(&self) {
        // Says that a socket without a peer is not connected, and wakes whoever waits nevertheless.
        let _ = self.socket.shutdown(std::net::Shutdown::Read);
    }
}

fn enable(fd: RawFd, level: libc::c_int, name: libc::c_int) -> io::Result<()> {
    set_int(fd, level, name, 1)
}

fn set_int(fd: RawFd, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the value pointer and length describe `value`, which outlives the call.
    let result = unsafe {
        libc::setsockopt(
            fd,
            level,
            name,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn receive(fd: RawFd, buffer: &mut [u8]) -> io::Result<Received> {
    let mut address = SockAddrStorage::zeroed();
    let mut control = MaybeUninit::<Control>::uninit();
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: all fields of `msghdr` are integers and pointers, for which zero is valid.
    let mut header: libc::msghdr = unsafe { zeroed() };
    header.msg_name = (&raw mut address).cast();
    header.msg_namelen = address.size_of();
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of::<Control>() as _;
    // SAFETY: every pointer in `header` is to a live object of this function with the length stated beside it.
    let length = unsafe { libc::recvmsg(fd, &raw mut header, 0) };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the system wrote an address of this length into `address`.
    let peer = unsafe { SockAddr::new(address, header.msg_namelen) };
    let peer = peer.as_socket().ok_or(io::ErrorKind::InvalidData)?;
    // SAFETY: the system filled `header` and the control buffer it points to, both still alive.
    let local = unsafe { local_address(&header) };
    Ok(Received { length, peer, local })
}

/// # Safety
/// `header` must have been filled by a successful `recvmsg`, its control buffer alive and aligned.
unsafe fn local_address(header: &libc::msghdr) -> Option<IpAddr> {
    // SAFETY: by contract; the macros stay inside the `msg_controllen` octets the system wrote.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        while let Some(current) = message.as_ref() {
            match (current.cmsg_level, current.cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info: libc::in_pktinfo =
                        libc::CMSG_DATA(message).cast::<libc::in_pktinfo>().read_unaligned();
                    // The routed local address, which also holds for broadcasts.
                    return Some(IpAddr::from(info.ipi_spec_dst.s_addr.to_ne_bytes()));
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let info: libc::in6_pktinfo =
                        libc::CMSG_DATA(message).cast::<libc::in6_pktinfo>().read_unaligned();
                    return Some(IpAddr::from(info.ipi6_addr.s6_addr));
                }
                _ => message = libc::CMSG_NXTHDR(header, message),
            }
        }
    }
    None
}

fn send(fd: RawFd, datagram: &[u8], peer: SocketAddr, local: Option<IpAddr>) -> io::Result<()> {
    let address = SockAddr::from(peer);
    let mut control = Control([0; 64]);
    let mut part = libc::iovec { iov_base: datagram.as_ptr().cast_mut().cast(), iov_len: datagram.len() };
    // SAFETY: all fields of `msghdr` are integers and pointers, for which zero is valid.
    let mut header: libc::msghdr = unsafe { zeroed() };
    header.msg_name = address.as_ptr().cast_mut().cast();
    header.msg_namelen = address.len();
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    match local {
        Some(IpAddr::V4(local)) => {
            let info = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: libc::in_addr { s_addr: u32::from_ne_bytes(local.octets()) },
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            // SAFETY: `control` is alive until after the call and large enough.
            unsafe { put_control(&mut header, &mut control, libc::IPPROTO_IP, libc::IP_PKTINFO, info) };
        }
        Some(IpAddr::V6(local)) => {
            let scope = match peer {
                // A link-local source is only valid together with its link.
                SocketAddr::V6(peer) if local.is_unicast_link_local() => peer.scope_id(),
                _ => 0,
            };
            let info = libc::in6_pktinfo {
                ipi6_addr: libc::in6_addr { s6_addr: local.octets() },
                ipi6_ifindex: scope as _,
            };
            // SAFETY: `control` is alive until after the call and large enough.
            unsafe { put_control(&mut header, &mut control, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info) };
        }
        None => {}
    }
    // SAFETY: every pointer in `header` is to a live object with the length stated beside it; sendmsg only reads.
    let sent = unsafe { libc::sendmsg(fd, &raw const header, libc::MSG_NOSIGNAL) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// # Safety
/// `control` must live as long as `header` is used, and hold one message with `info`.
unsafe fn put_control<T>(
    header: &mut libc::msghdr,
    control: &mut Control,
    level: libc::c_int,
    kind: libc::c_int,
    info: T,
) {
    const { assert!(size_of::<T>() + size_of::<libc::cmsghdr>() + 8 <= size_of::<Control>()) };
    let payload = size_of::<T>() as libc::c_uint;
    header.msg_control = control.0.as_mut_ptr().cast();
    // SAFETY: CMSG_SPACE and CMSG_LEN only calculate.
    let (space, length) = unsafe { (libc::CMSG_SPACE(payload), libc::CMSG_LEN(payload)) };
    header.msg_controllen = space as _;
    // SAFETY: the buffer is aligned for `cmsghdr` and, by the assertion above, larger than CMSG_SPACE.
    unsafe {
        let message = libc::CMSG_FIRSTHDR(header);
        (*message).cmsg_level = level;
        (*message).cmsg_type = kind;
        (*message).cmsg_len = length as _;
        libc::CMSG_DATA(message).cast::<T>().write_unaligned(info);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(address: SocketAddr) -> io::Result<PacketInfoSocket> {
        PacketInfoSocket::bind(address, 0, PathMtu::System)
    }

    #[test]
    fn type_of_service_and_path_mtu_discovery_are_set() {
        fn int(socket: &PacketInfoSocket, name: libc::c_int) -> libc::c_int {
            let (mut value, mut length) = (0, size_of::<libc::c_int>() as libc::socklen_t);
            let fd = socket.socket.as_raw_fd();
            // SAFETY: value and length live until after the call and describe each other.
            let result = unsafe {
                libc::getsockopt(fd, libc::IPPROTO_IP, name, (&raw mut value).cast(), &raw mut length)
            };
            assert_eq!(result, 0);
            value
        }
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        for (path_mtu, expected) in
            [(PathMtu::Want, libc::IP_PMTUDISC_WANT), (PathMtu::Dont, libc::IP_PMTUDISC_DONT)]
        {
            let socket = PacketInfoSocket::bind(any, 184, path_mtu).unwrap();
            assert_eq!((int(&socket, libc::IP_TOS), int(&socket, libc::IP_MTU_DISCOVER)), (184, expected));
        }
        if let Ok(six) = PacketInfoSocket::bind("[::1]:0".parse().unwrap(), 184, PathMtu::Dont) {
            assert_eq!(six.socket.tclass_v6().unwrap(), 184);
        }
    }

    fn answers_from(bound: &str, called: &str, caller: &str) {
        let server = bind(bound.parse().unwrap()).unwrap();
        let called = SocketAddr::new(called.parse().unwrap(), server.local_addr().unwrap().port());
        let client = std::net::UdpSocket::bind(caller).unwrap();
        // A connected socket only takes datagrams from the address it called.
        client.connect(called).unwrap();
        client.send(b"question").unwrap();
        let mut buffer = [0; 100];
        let received = server.receive(&mut buffer).unwrap();
        assert_eq!(&buffer[..received.length], b"question");
        assert_eq!(received.peer, client.local_addr().unwrap());
        assert_eq!(received.local, Some(called.ip()));
        server.send(b"answer", received.peer, received.local).unwrap();
        let length = client.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"answer");
    }

    #[test]
    fn wildcard_socket_answers_from_the_address_called() {
        answers_from("0.0.0.0:0", "127.0.0.77", "127.0.0.1:0");
    }

    #[test]
    fn bound_socket_answers_from_its_address() {
        answers_from("127.0.0.78:0", "127.0.0.78", "127.0.0.1:0");
    }

    #[test]
    fn ipv6_wildcard_socket_answers_from_the_address_called() {
        if std::net::UdpSocket::bind("[::1]:0").is_err() {
            eprintln!("skipped: no IPv6 here");
            return;
        }
        answers_from("[::]:0", "::1", "[::1]:0");
    }

    #[test]
    fn both_families_share_a_port() {
        let four = bind("0.0.0.0:0".parse().unwrap()).unwrap();
        let six = SocketAddr::new("::".parse().unwrap(), four.local_addr().unwrap().port());
        if std::net::UdpSocket::bind("[::1]:0").is_ok() {
            assert!(bind(six).is_ok());
        }
    }
}
