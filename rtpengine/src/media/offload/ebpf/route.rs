//! Which way packets to an address go: one question to the kernel's routing (rtnetlink), and news when answers may have changed.

use std::io;
use std::mem::size_of;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// The way to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The address is one of this host.
    pub is_local: bool,
    /// Interface by which packets leave.
    pub ifindex: u32,
    /// The neighbour that they are given to there: the gateway, or the address itself. `None` where that is not all there is to the route
    /// (packets are wrapped), or nothing leaves.
    pub next_hop: Option<IpAddr>,
}

/// A rtnetlink socket for questions.
pub struct Routes {
    socket: OwnedFd,
    sequence: u32,
}

const HEADER: usize = 16;
const ROUTE_MESSAGE: usize = 12;
/// Attributes of routes that libc does not name.
const RTA_VIA: u16 = 18;
const RTA_ENCAP_TYPE: u16 = 21;
const RTA_ENCAP: u16 = 22;

impl Routes {
    /// # Errors
    /// When the system has no sockets left.
    pub fn open() -> io::Result<Self> {
        Ok(Self { socket: open(0)?, sequence: 0 })
    }

    /// The way from a local address to another one. Two system calls; the kernel answers at once.
    ///
    /// # Errors
    /// There is no route, or the kernel's message is not understood.
    pub fn find(&mut self, from: IpAddr, to: IpAddr) -> io::Result<Route> {
        self.sequence = self.sequence.wrapping_add(1);
        let request = request(self.sequence, from, to);
        send(&self.socket, &request)?;
        let mut buffer = [0; 4096];
        loop {
            let length = receive(&self.socket, &mut buffer)?;
            let message = buffer.get(..length).unwrap_or_default();
            // An answer to an earlier question that was given up.
            if word(message, 8) != Some(self.sequence) {
                continue;
            }
            return answer(message, to);
        }
    }
}

/// A socket that becomes readable when addresses, links or routes change.
pub struct Changes(OwnedFd);

impl Changes {
    /// # Errors
    /// When the system has no sockets left.
    pub fn open() -> io::Result<Self> {
        let groups = libc::RTMGRP_LINK
            | libc::RTMGRP_IPV4_IFADDR
            | libc::RTMGRP_IPV4_ROUTE
            | libc::RTMGRP_IPV6_IFADDR
            | libc::RTMGRP_IPV6_ROUTE;
        open(groups as u32).map(Self)
    }

    /// Waits for the next change, for some milliseconds at most; whether there was one. News that were lost are news.
    pub fn wait(&self, milliseconds: i32) -> bool {
        let mut poll = libc::pollfd { fd: self.0.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one structure, live during the call.
        if unsafe { libc::poll(&raw mut poll, 1, milliseconds) } <= 0 {
            return false;
        }
        let mut buffer = [0; 8192];
        // One message stands for all that wait.
        let mut any = false;
        for _ in 0..64 {
            match receive_now(&self.0, &mut buffer) {
                Ok(_) => any = true,
                Err(error) => return any || error.kind() != io::ErrorKind::WouldBlock,
            }
        }
        true
    }
}

pub(super) fn open(groups: u32) -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    let fd =
        unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_ROUTE) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just opened, nobody else has it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: all-zero is a valid value of this plain C structure.
    let mut name: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
    name.nl_family = libc::AF_NETLINK as u16;
    name.nl_groups = groups;
    let length = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
    // SAFETY: `name` is live and `length` its size.
    if unsafe { libc::bind(socket.as_raw_fd(), (&raw const name).cast(), length) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // The kernel answers within the call of `send`; nobody waits forever.
    let limit = libc::timeval { tv_sec: 0, tv_usec: 200_000 };
    let length = size_of::<libc::timeval>() as libc::socklen_t;
    // SAFETY: `limit` is live and `length` its size.
    unsafe {
        libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_RCVTIMEO, (&raw const limit).cast(), length);
    }
    Ok(socket)
}

pub(super) fn send(socket: &OwnedFd, message: &[u8]) -> io::Result<()> {
    // SAFETY: the buffer is live and its length given.
    let sent = unsafe { libc::send(socket.as_raw_fd(), message.as_ptr().cast(), message.len(), 0) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

pub(super) fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<usize> {
    receive_with(socket, buffer, 0)
}

fn receive_now(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<usize> {
    receive_with(socket, buffer, libc::MSG_DONTWAIT)
}

fn receive_with(socket: &OwnedFd, buffer: &mut [u8], flags: i32) -> io::Result<usize> {
    // SAFETY: the buffer is live and its length given.
    let length = unsafe { libc::recv(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), flags) };
    usize::try_from(length).map_err(|_| io::Error::last_os_error())
}

fn request(sequence: u32, from: IpAddr, to: IpAddr) -> Vec<u8> {
    let family = if to.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let bits = if to.is_ipv4() { 32 } else { 128 };
    let mut message = vec![0; HEADER];
    // struct rtmsg: family, lengths of destination and source, and nothing that matters here.
    message.extend([family as u8, bits, bits, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    for (kind, address) in [(libc::RTA_DST, to), (libc::RTA_SRC, from)] {
        let octets = match address {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        message.extend((4 + octets.len() as u16).to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend(octets);
    }
    let length = message.len() as u32;
    message[..4].copy_from_slice(&length.to_ne_bytes());
    message[4..6].copy_from_slice(&libc::RTM_GETROUTE.to_ne_bytes());
    message[6..8].copy_from_slice(&(libc::NLM_F_REQUEST as u16).to_ne_bytes());
    message[8..12].copy_from_slice(&sequence.to_ne_bytes());
    message
}

fn answer(message: &[u8], to: IpAddr) -> io::Result<Route> {
    let malformed = || io::Error::from(io::ErrorKind::InvalidData);
    let kind = half(message, 4).ok_or_else(malformed)?;
    if i32::from(kind) == libc::NLMSG_ERROR {
        let error = word(message, HEADER).ok_or_else(malformed)? as i32;
        return Err(io::Error::from_raw_os_error(-error));
    }
    if kind != libc::RTM_NEWROUTE {
        return Err(malformed());
    }
    let route_type = *message.get(HEADER + 7).ok_or_else(malformed)?;
    let is_local = route_type == libc::RTN_LOCAL;
    if !is_local && route_type != libc::RTN_UNICAST {
        return Err(io::Error::from(io::ErrorKind::NetworkUnreachable));
    }
    let mut at = HEADER + ROUTE_MESSAGE;
    let mut ifindex = None;
    let mut is_wrapped = false;
    let mut next_hop = Some(to).filter(|_| !is_local);
    while let (Some(length), Some(kind)) = (half(message, at), half(message, at + 2)) {
        if usize::from(length) < 4 {
            break;
        }
        let content = message.get(at + 4..at + usize::from(length)).ok_or_else(malformed)?;
        match kind {
            libc::RTA_OIF => ifindex = Some(word(content, 0).ok_or_else(malformed)?),
            libc::RTA_GATEWAY => next_hop = Some(address(content).ok_or_else(malformed)?),
            // A gateway of the other family: which one, and its address.
            RTA_VIA => next_hop = Some(content.get(2..).and_then(address).ok_or_else(malformed)?),
            RTA_ENCAP | RTA_ENCAP_TYPE => is_wrapped = true,
            _ => {}
        }
        at += usize::from(length).next_multiple_of(4);
    }
    let ifindex = ifindex.ok_or_else(malformed)?;
    Ok(Route { is_local, ifindex, next_hop: next_hop.filter(|_| !is_wrapped) })
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from)).ok()
}

pub(super) fn half(message: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(message.get(at..at + 2)?.try_into().ok()?))
}

pub(super) fn word(message: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(message.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn own_addresses_are_local_and_lead_through_the_loopback_interface() {
        let mut routes = Routes::open().unwrap();
        let host = IpAddr::from([127, 0, 0, 1]);
        let route = routes.find(host, IpAddr::from([127, 0, 0, 9])).unwrap();
        assert_eq!(route, Route { is_local: true, ifindex: 1, next_hop: None });
        assert_eq!(routes.find(host, host).unwrap(), route, "questions may follow each other");
    }

    /// What the kernel answers about a way through interface 7, with these attributes more.
    fn answered(attributes: &[(u16, &[u8])]) -> io::Result<Route> {
        let mut message = vec![0; HEADER + ROUTE_MESSAGE];
        message[4..6].copy_from_slice(&libc::RTM_NEWROUTE.to_ne_bytes());
        message[HEADER + 7] = libc::RTN_UNICAST;
        for (kind, content) in [(libc::RTA_OIF, &7u32.to_ne_bytes()[..])].iter().chain(attributes) {
            message.extend((4 + content.len() as u16).to_ne_bytes());
            message.extend(kind.to_ne_bytes());
            message.extend(*content);
            message.resize(message.len().next_multiple_of(4), 0);
        }
        answer(&message, IpAddr::from([192, 0, 2, 1]))
    }

    #[test]
    fn the_next_hop_is_the_gateway_or_the_address_itself() {
        let next = |attributes: &[(u16, &[u8])]| answered(attributes).map(|route| route.next_hop.unwrap());
        assert_eq!(next(&[]).unwrap(), IpAddr::from([192, 0, 2, 1]));
        assert_eq!(next(&[(libc::RTA_GATEWAY, &[10, 0, 0, 1])]).unwrap(), IpAddr::from([10, 0, 0, 1]));
        let v6 = "fe80::1".parse::<std::net::Ipv6Addr>().unwrap();
        let via = [&(libc::AF_INET6 as u16).to_ne_bytes()[..], &v6.octets()].concat();
        assert_eq!(next(&[(RTA_VIA, &via)]).unwrap(), IpAddr::from(v6));
        assert!(next(&[(libc::RTA_GATEWAY, &[1, 2, 3])]).is_err());
    }

    #[test]
    fn a_route_that_wraps_packets_is_left_to_the_kernel() {
        let route = answered(&[(libc::RTA_GATEWAY, &[10, 0, 0, 1]), (RTA_ENCAP_TYPE, &[1, 0])]).unwrap();
        assert_eq!((route.ifindex, route.next_hop), (7, None));
    }

    proptest! {
        #[test]
        fn no_message_makes_it_panic(octets in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = answer(&octets, IpAddr::from([192, 0, 2, 1]));
        }

        #[test]
        fn no_attribute_makes_it_panic(octets in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut message = vec![0; HEADER + ROUTE_MESSAGE];
            message[4..6].copy_from_slice(&libc::RTM_NEWROUTE.to_ne_bytes());
            message[HEADER + 7] = libc::RTN_UNICAST;
            message.extend(octets);
            let _ = answer(&message, IpAddr::from([192, 0, 2, 1]));
        }
    }
}
