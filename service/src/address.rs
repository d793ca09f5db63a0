//! Addresses as configurations write them: host names, listen addresses, system interfaces.
//!
//! Names are resolved by the system's resolver, blocking; this is for start-up only.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

/// Why a listen address or `host:port` is not usable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// Neither a port nor `ADDRESS:PORT`.
    #[error("PORT, ADDRESS:PORT, [IPv6]:PORT or HOSTNAME:PORT is expected")]
    Malformed,
    /// More than 65535, or not a number.
    #[error("the port must be a number from 0 to 65535")]
    Port,
    /// The name does not resolve.
    #[error("cannot resolve the host name: {0}")]
    Lookup(io::Error),
    /// The name resolves to nothing.
    #[error("the host name has no address")]
    NoAddress,
}

/// Resolves a listen address: `PORT` (all addresses, one of each family), `ADDRESS:PORT`, `[IPv6]:PORT`, `IPv6:PORT` (split
/// at the last colon) or `HOSTNAME:PORT`.
///
/// A host name gives all its addresses that exist on this machine (`::1` is in most host tables, also where IPv6 is off);
/// if none does, all, so that binding reports the failure. Port 0 gives none: nothing is to be opened.
pub fn resolve_listen(text: &str) -> Result<Vec<SocketAddr>, AddressError> {
    let Some((host, port)) = text.rsplit_once(':') else {
        if !text.bytes().all(|byte| byte.is_ascii_digit()) || text.is_empty() {
            return Err(AddressError::Malformed);
        }
        let port = parse_port(text)?;
        return Ok(sockets(&wildcards(), port));
    };
    let port = parse_port(port)?;
    if host.is_empty() {
        return Err(AddressError::Malformed);
    }
    if let Some(literal) = parse_literal(host)? {
        return Ok(sockets(&[literal], port));
    }
    let all = lookup(host)?;
    let local: Vec<_> = all.iter().copied().filter(|address| is_local(*address)).collect();
    Ok(sockets(if local.is_empty() { &all } else { &local }, port))
}

/// Resolves `HOST:PORT` of a remote server; the first address counts. The port must not be 0.
pub fn resolve_remote(text: &str) -> Result<SocketAddr, AddressError> {
    let (host, port) = text.rsplit_once(':').ok_or(AddressError::Malformed)?;
    let port = parse_port(port)?;
    if host.is_empty() {
        return Err(AddressError::Malformed);
    }
    if port == 0 {
        return Err(AddressError::Port);
    }
    let address = match parse_literal(host)? {
        Some(literal) => literal,
        None => *lookup(host)?.first().ok_or(AddressError::NoAddress)?,
    };
    Ok(SocketAddr::new(address, port))
}

/// All addresses of a host name or literal, without duplicates; never empty.
pub fn lookup(host: &str) -> Result<Vec<IpAddr>, AddressError> {
    let mut addresses: Vec<IpAddr> = Vec::new();
    for address in (host, 0).to_socket_addrs().map_err(AddressError::Lookup)? {
        if !addresses.contains(&address.ip()) {
            addresses.push(address.ip());
        }
    }
    if addresses.is_empty() { Err(AddressError::NoAddress) } else { Ok(addresses) }
}

/// Which system interfaces are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SystemInterface<'a> {
    /// All that are up, without loopback.
    Any,
    /// The one of this name, if it is up.
    Named(&'a str),
}

/// Addresses of system interfaces, in the system's order. IPv6 link-local addresses are left out: they mean nothing
/// without a scope, which SDP cannot carry.
pub fn interface_addresses(wanted: SystemInterface<'_>) -> io::Result<Vec<IpAddr>> {
    let mut addresses = Vec::new();
    for entry in getifaddrs()? {
        let is_wanted = match wanted {
            SystemInterface::Any => !entry.flags.contains(InterfaceFlags::IFF_LOOPBACK),
            SystemInterface::Named(name) => entry.interface_name == name,
        };
        if !is_wanted || !entry.flags.contains(InterfaceFlags::IFF_UP) {
            continue;
        }
        let Some(storage) = entry.address else { continue };
        let address = match (storage.as_sockaddr_in(), storage.as_sockaddr_in6()) {
            (Some(v4), _) => IpAddr::V4(v4.ip()),
            (_, Some(v6)) if !v6.ip().is_unicast_link_local() => IpAddr::V6(v6.ip()),
            _ => continue,
        };
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Ok(addresses)
}

/// Whether a system interface of this name exists, up or not.
pub fn is_system_interface(name: &str) -> bool {
    getifaddrs().is_ok_and(|mut entries| entries.any(|entry| entry.interface_name == name))
}

/// An address literal, with or without brackets; `None` for what must be a name.
fn parse_literal(host: &str) -> Result<Option<IpAddr>, AddressError> {
    if let Some(rest) = host.strip_prefix('[') {
        let inner = rest.strip_suffix(']').ok_or(AddressError::Malformed)?;
        return inner
            .parse::<Ipv6Addr>()
            .map(|address| Some(address.into()))
            .map_err(|_| AddressError::Malformed);
    }
    match host.parse() {
        Ok(address) => Ok(Some(address)),
        // No host name contains a colon.
        Err(_) if host.contains([':', ']']) => Err(AddressError::Malformed),
        Err(_) => Ok(None),
    }
}

fn parse_port(text: &str) -> Result<u16, AddressError> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(AddressError::Port);
    }
    text.parse().map_err(|_| AddressError::Port)
}

fn sockets(addresses: &[IpAddr], port: u16) -> Vec<SocketAddr> {
    let open = if port == 0 { &[] } else { addresses };
    open.iter().map(|address| SocketAddr::new(*address, port)).collect()
}

/// The wildcard of each family that the system has.
fn wildcards() -> Vec<IpAddr> {
    let v6 = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    let mut wildcards = vec![IpAddr::V4(Ipv4Addr::UNSPECIFIED)];
    if is_local(v6) {
        wildcards.push(v6);
    }
    wildcards
}

fn is_local(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn listen_addresses_are_split_at_the_last_colon() {
        const CASES: &[(&str, &[&str])] = &[
            ("127.0.0.1:2223", &["127.0.0.1:2223"]),
            ("[::1]:2223", &["[::1]:2223"]),
            ("::1:2223", &["[::1]:2223"]),
            ("2001:db8::5:80", &["[2001:db8::5]:80"]),
            (":::80", &["[::]:80"]),
            ("127.0.0.1:0", &[]),
            ("0", &[]),
            ("192.0.2.1:65535", &["192.0.2.1:65535"]),
        ];
        for (text, expected) in CASES {
            let resolved: Vec<String> =
                resolve_listen(text).expect(text).iter().map(ToString::to_string).collect();
            assert_eq!(resolved, *expected, "{text}");
        }
    }

    #[test]
    fn a_port_alone_means_both_families() {
        let resolved = resolve_listen("2223").expect("port");
        assert_eq!(resolved.first(), Some(&"0.0.0.0:2223".parse().expect("address")));
        assert!(resolved.iter().skip(1).all(|address| address.to_string() == "[::]:2223"));
    }

    #[test]
    fn localhost_gives_loopback_addresses_only() {
        let resolved = resolve_listen("localhost:2223").expect("localhost");
        assert!(!resolved.is_empty());
        assert!(resolved.iter().all(|address| address.ip().is_loopback() && address.port() == 2223));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        const CASES: &[&str] = &[
            "",
            "xx",
            "127.0.0.1",
            ":2223",
            "127.0.0.1:",
            "127.0.0.1:65536",
            "65536",
            "h:-1",
            "h:+1",
            "[::1:5",
            "a:b:5",
            "[127.0.0.1]:5",
            "-1",
        ];
        for text in CASES {
            assert!(resolve_listen(text).is_err(), "{text}");
        }
        for text in ["127.0.0.1", "127.0.0.1:0", "2223", ":1"] {
            assert!(resolve_remote(text).is_err(), "{text}");
        }
        assert_eq!(resolve_remote("[::1]:25").expect("remote").to_string(), "[::1]:25");
    }

    #[test]
    fn the_loopback_interface_is_named_but_not_any() {
        let loopback = interface_addresses(SystemInterface::Named("lo")).expect("lo");
        assert!(loopback.contains(&IpAddr::V4(Ipv4Addr::LOCALHOST)));
        let any = interface_addresses(SystemInterface::Any).expect("any");
        assert!(any.iter().all(|address| !address.is_loopback()));
        assert!(is_system_interface("lo") && !is_system_interface("no-such-interface"));
    }

    proptest! {
        #[test]
        fn no_text_without_name_makes_the_parser_panic(text in r"[0-9.:\[\]\-+]{0,24}") {
            let _ = resolve_listen(&text);
        }
    }
}
