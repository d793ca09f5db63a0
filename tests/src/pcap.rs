//! Reading what the `pcap` recording method writes: classic files of raw IP or Ethernet packets with UDP inside.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

/// One captured datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Microseconds since the epoch.
    pub time_us: u64,
    /// Sender.
    pub from: SocketAddr,
    /// Receiver.
    pub to: SocketAddr,
    /// What UDP carried.
    pub payload: Vec<u8>,
}

/// Reads a whole file; any octet that does not fit is an error.
pub fn read(path: &Path) -> Result<Vec<Datagram>, String> {
    let octets = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
    parse(&octets)
}

/// Reads what is in a file.
pub fn parse(octets: &[u8]) -> Result<Vec<Datagram>, String> {
    let word = |at: usize| octets.get(at..at + 4).map(|b| u32::from_ne_bytes([b[0], b[1], b[2], b[3]]));
    if word(0) != Some(0xa1b2_c3d4) || octets.get(4..8) != Some(&[2, 0, 4, 0]) {
        return Err("not a pcap 2.4 file in this machine's byte order".into());
    }
    let skip = match word(20) {
        Some(101) => 0,
        Some(1) => 14,
        other => return Err(format!("link type {other:?}")),
    };
    let (mut at, mut datagrams) = (24, Vec::new());
    while at < octets.len() {
        let header = (word(at), word(at + 4), word(at + 8), word(at + 12));
        let (Some(seconds), Some(micros), Some(captured), Some(original)) = header else {
            return Err("packet header is cut off".into());
        };
        if captured != original {
            return Err(format!("{captured} of {original} octets captured"));
        }
        let packet = octets.get(at + 16 + skip..at + 16 + captured as usize).ok_or("packet is cut off")?;
        let time_us = u64::from(seconds) * 1_000_000 + u64::from(micros);
        datagrams.push(parse_ip(time_us, packet).ok_or_else(|| format!("no UDP over IP at octet {at}"))?);
        at += 16 + captured as usize;
    }
    Ok(datagrams)
}

fn parse_ip(time_us: u64, packet: &[u8]) -> Option<Datagram> {
    let (from, to, udp): (IpAddr, IpAddr, &[u8]) = match packet.first()? >> 4 {
        4 => {
            let length = usize::from(u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?]));
            let address =
                |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?));
            if packet[0] != 0x45 || length != packet.len() || *packet.get(9)? != 17 {
                return None;
            }
            (address(12)?.into(), address(16)?.into(), packet.get(20..)?)
        }
        6 => {
            let address =
                |at: usize| Some(Ipv6Addr::from(<[u8; 16]>::try_from(packet.get(at..at + 16)?).ok()?));
            (*packet.get(6)? == 17).then_some(())?;
            (address(8)?.into(), address(24)?.into(), packet.get(40..)?)
        }
        _ => return None,
    };
    let port = |at: usize| Some(u16::from_be_bytes([*udp.get(at)?, *udp.get(at + 1)?]));
    (usize::from(port(4)?) == udp.len()).then_some(())?;
    let (from, to) = ((from, port(0)?).into(), (to, port(2)?).into());
    Some(Datagram { time_us, from, to, payload: udp.get(8..)?.to_vec() })
}
