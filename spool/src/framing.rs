//! One recorded packet: IP header, UDP header, payload (RTP or RTCP, decrypted).
//!
//! IPv4: version/IHL 0x45, TOS 0, id 0, no fragment bits, TTL 64, protocol 17, checksum 0. IPv6: flow 0, next header 17,
//! hop limit 64. UDP checksum 0. The headers are synthetic; only addresses, ports and lengths mean something.
//!
//! Behind the datagram there may be a stamp: when the packet arrived. What the kernel module hands out has none, and readers
//! that do not know it ignore what lies behind the length that the headers give.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Longest header that [`write_header`] makes.
pub const MAX_HEADER: usize = 48;

/// Length of a stamp.
pub const STAMP: usize = 12;
/// Its first four octets; microseconds since the epoch follow.
const STAMP_MARK: [u8; 4] = *b"RTpT";

/// A framed packet, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Where it came from.
    pub source: SocketAddr,
    /// Where it went.
    pub destination: SocketAddr,
    /// UDP payload.
    pub payload: &'a [u8],
    /// When it arrived, in microseconds since the epoch, if that is known.
    pub arrival_us: Option<u64>,
}

/// The octets are not a framed packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// Shorter than its headers say.
    #[error("packet is truncated")]
    Truncated,
    /// IP version is neither 4 nor 6.
    #[error("unknown IP version")]
    Version,
    /// Not UDP.
    #[error("not a UDP packet")]
    NotUdp,
}

/// Writes the headers of a packet and returns their length (28 or 48). The family is the destination's for
/// ingress and the source's for egress, which are equal unless a v4-mapped address slipped in; mixed pairs are
/// written as IPv6 with mapped addresses.
pub fn write_header(
    buf: &mut [u8; MAX_HEADER],
    source: SocketAddr,
    destination: SocketAddr,
    payload_len: usize,
) -> usize {
    let udp_len = u16::try_from(payload_len + 8).unwrap_or(u16::MAX);
    let udp_at = match (source.ip(), destination.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            buf[..20].fill(0);
            buf[0] = 0x45;
            buf[2..4].copy_from_slice(&udp_len.saturating_add(20).to_be_bytes());
            buf[8] = 64;
            buf[9] = 17;
            buf[12..16].copy_from_slice(&from.octets());
            buf[16..20].copy_from_slice(&to.octets());
            20
        }
        (from, to) => {
            buf[..40].fill(0);
            buf[0] = 0x60;
            buf[4..6].copy_from_slice(&udp_len.to_be_bytes());
            buf[6] = 17;
            buf[7] = 64;
            buf[8..24].copy_from_slice(&as_v6(from).octets());
            buf[24..40].copy_from_slice(&as_v6(to).octets());
            40
        }
    };
    buf[udp_at..udp_at + 2].copy_from_slice(&source.port().to_be_bytes());
    buf[udp_at + 2..udp_at + 4].copy_from_slice(&destination.port().to_be_bytes());
    buf[udp_at + 4..udp_at + 6].copy_from_slice(&udp_len.to_be_bytes());
    buf[udp_at + 6..udp_at + 8].fill(0);
    udp_at + 8
}

/// What is put behind a packet to tell when it arrived.
pub fn stamp(arrival_us: u64) -> [u8; STAMP] {
    let mut stamp = [0; STAMP];
    stamp[..4].copy_from_slice(&STAMP_MARK);
    stamp[4..].copy_from_slice(&arrival_us.to_be_bytes());
    stamp
}

/// Length of a framed packet without its stamp.
pub fn datagram_octets(octets: &[u8]) -> usize {
    match octets.len().checked_sub(STAMP).and_then(|at| octets.get(at..)) {
        Some(stamp)
            if stamp.starts_with(&STAMP_MARK)
                && parse(octets).is_ok_and(|packet| packet.arrival_us.is_some()) =>
        {
            octets.len() - STAMP
        }
        _ => octets.len(),
    }
}

/// Takes a packet apart. Other octets than a stamp behind the length that the headers give are ignored.
pub fn parse(octets: &[u8]) -> Result<Packet<'_>, FramingError> {
    let first = *octets.first().ok_or(FramingError::Truncated)?;
    let (from, to, protocol, udp) = match first >> 4 {
        4 => {
            let header_len = usize::from(first & 0x0f) * 4;
            if header_len < 20 || octets.len() < header_len {
                return Err(FramingError::Truncated);
            }
            let address = |at: usize| -> IpAddr {
                Ipv4Addr::new(octets[at], octets[at + 1], octets[at + 2], octets[at + 3]).into()
            };
            (address(12), address(16), octets[9], &octets[header_len..])
        }
        6 => {
            if octets.len() < 40 {
                return Err(FramingError::Truncated);
            }
            let address = |at: usize| -> IpAddr {
                let mut bytes = [0; 16];
                bytes.copy_from_slice(&octets[at..at + 16]);
                Ipv6Addr::from(bytes).into()
            };
            (address(8), address(24), octets[6], &octets[40..])
        }
        _ => return Err(FramingError::Version),
    };
    if protocol != 17 {
        return Err(FramingError::NotUdp);
    }
    if udp.len() < 8 {
        return Err(FramingError::Truncated);
    }
    let length = usize::from(u16::from_be_bytes([udp[4], udp[5]]));
    let payload = udp.get(8..length).ok_or(FramingError::Truncated)?;
    let arrival_us = match udp.get(length..) {
        Some(&[m0, m1, m2, m3, a, b, c, d, e, f, g, h]) if [m0, m1, m2, m3] == STAMP_MARK => {
            Some(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
        }
        _ => None,
    };
    Ok(Packet {
        source: SocketAddr::new(from, u16::from_be_bytes([udp[0], udp[1]])),
        destination: SocketAddr::new(to, u16::from_be_bytes([udp[2], udp[3]])),
        payload,
        arrival_us,
    })
}

fn as_v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn round_trip(source: SocketAddr, destination: SocketAddr, payload: &[u8]) {
        let mut buf = [0xaa; MAX_HEADER];
        let len = write_header(&mut buf, source, destination, payload.len());
        let mut packet = buf[..len].to_vec();
        packet.extend_from_slice(payload);
        let plain = Packet { source, destination, payload, arrival_us: None };
        assert_eq!((parse(&packet), datagram_octets(&packet)), (Ok(plain), packet.len()));
        let datagram = packet.len();
        packet.extend_from_slice(&stamp(1_795_227_866_664_137));
        let stamped = Packet { arrival_us: Some(1_795_227_866_664_137), ..plain };
        assert_eq!((parse(&packet), datagram_octets(&packet)), (Ok(stamped), datagram));
        packet.push(0);
        assert_eq!((parse(&packet), datagram_octets(&packet)), (Ok(plain), packet.len()));
    }

    proptest! {
        #[test]
        fn written_headers_parse_back(from in any::<u32>(), to in any::<u32>(), v6 in any::<[u8; 16]>(),
                ports in any::<(u16, u16)>(), payload in proptest::collection::vec(any::<u8>(), 0..300)) {
            round_trip(SocketAddr::new(Ipv4Addr::from(from).into(), ports.0),
                SocketAddr::new(Ipv4Addr::from(to).into(), ports.1), &payload);
            let v6 = Ipv6Addr::from(v6);
            round_trip(SocketAddr::new(v6.into(), ports.0), SocketAddr::new(v6.into(), ports.1), &payload);
        }

        #[test]
        fn no_octets_make_the_parser_panic(octets in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = parse(&octets);
        }
    }
}
