//! What the program and the daemon share: the mirror of `ebpf/forward.h`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::super::{GUARD_SOURCES, GUARD_SSRCS};

pub const MAX_FORMATS: usize = 16;
pub const MAX_OUTPUTS: usize = 8;

pub const ANY_SOURCE: u32 = 1;
pub const DATAGRAMS: u32 = 2;
pub const TAP: u32 = 4;
pub const TRANSLATED: u32 = 8;
pub const LEAVING: u32 = 16;

pub const STAYS_HERE: u16 = 1;
pub const OUTPUT_TAP: u16 = 2;

pub const RECORD_INGRESS: u32 = 1;
pub const RECORD_EGRESS: u32 = 2;

/// Values that a map holds: plain octets, no padding, all bit patterns valid.
///
/// # Safety
/// The type is `repr(C)`, has no padding and consists of integers.
pub unsafe trait Plain: Copy + 'static {}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Endpoint {
    pub address: [u8; 16],
    /// Network byte order.
    pub port: [u8; 2],
    pub family: u16,
    pub reserved: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Format {
    pub payload_type: u8,
    pub reserved: [u8; 3],
    pub clock_rate: u32,
}

/// The neighbour that packets are given to (`struct bpf_redir_neigh`); none without a family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct NextHop {
    /// That of the system (`AF_…`).
    pub family: u32,
    /// IPv4 addresses are in the first four octets.
    pub address: [u8; 16],
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct OutputValue {
    pub from: Endpoint,
    pub to: Endpoint,
    pub ifindex: u32,
    pub ssrc_mask: [u8; 4],
    pub ttl: u8,
    pub tos: u8,
    pub flags: u16,
    pub next_hop: NextHop,
    pub leaves_as: [u8; MAX_FORMATS],
    pub recording: u64,
    pub stream: u64,
    pub failed: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct OutputKey {
    pub target: u32,
    pub index: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct TargetValue {
    pub id: u32,
    pub flags: u32,
    pub source: Endpoint,
    pub room: u32,
    pub formats_used: u16,
    pub outputs_used: u16,
    pub formats: [Format; MAX_FORMATS],
    /// Where the track of `ssrc` is, if not among the others.
    pub slot: u32,
    pub ssrc: u32,
    pub recording: u64,
    pub stream: u64,
    pub tap_lost: u64,
    pub first: OutputValue,
}

pub const OPEN: u32 = 1;
pub const PINNED: u32 = 2;
pub const ANY_DATAGRAM: u32 = 4;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct GuardValue {
    pub id: u32,
    pub flags: u32,
    pub sources: [Endpoint; GUARD_SOURCES],
    pub ssrcs: [u32; GUARD_SSRCS],
    pub ssrcs_used: u32,
    pub reserved: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct SprayValue {
    pub id: u32,
    pub reserved: u32,
    /// Six of them, which only the program looks at.
    pub buckets: [u64; 12],
    pub wrong_source: u64,
    pub over_budget: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct TrackKey {
    pub target: u32,
    pub ssrc: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct TrackValue {
    pub lock: u32,
    pub clock_rate: u32,
    pub timestamp: u32,
    pub payload_type: u32,
    pub packets: u64,
    pub octets: u64,
    pub lost: i64,
    pub duplicates: u64,
    pub highest: u64,
    pub window: u64,
    pub arrival_us: u64,
    pub jitter_16us: u64,
}

/// Head of a record; the payload follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct RecordHead {
    pub recording_in: u64,
    pub stream_in: u64,
    pub recording_out: u64,
    pub stream_out: u64,
    pub time_ns: u64,
    pub source: Endpoint,
    pub local: Endpoint,
    pub from: Endpoint,
    pub to: Endpoint,
    pub flags: u32,
    pub ssrc_mask: [u8; 4],
    pub length: u16,
    pub is_rtp: u8,
    pub leaves_as: u8,
    pub reserved: u32,
}

// SAFETY: integers only; the sizes, which are those of the sums of their fields, are tested below.
unsafe impl Plain for Endpoint {}
// SAFETY: as above.
unsafe impl Plain for TargetValue {}
// SAFETY: as above.
unsafe impl Plain for OutputKey {}
// SAFETY: as above.
unsafe impl Plain for OutputValue {}
// SAFETY: as above.
unsafe impl Plain for GuardValue {}
// SAFETY: as above.
unsafe impl Plain for SprayValue {}
// SAFETY: an integer.
unsafe impl Plain for u32 {}
// SAFETY: an integer.
unsafe impl Plain for u64 {}
// SAFETY: as above.
unsafe impl Plain for TrackKey {}
// SAFETY: as above.
unsafe impl Plain for TrackValue {}
// SAFETY: as above.
unsafe impl Plain for RecordHead {}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        let family = if address.is_ipv4() { 4 } else { 6 };
        Self { address: octets_of(address.ip()), port: address.port().to_be_bytes(), family, reserved: 0 }
    }
}

impl From<IpAddr> for NextHop {
    fn from(address: IpAddr) -> Self {
        let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        Self { family: family as u32, address: octets_of(address) }
    }
}

fn octets_of(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(ip) => {
            let mut octets = [0; 16];
            octets[..4].copy_from_slice(&ip.octets());
            octets
        }
        IpAddr::V6(ip) => ip.octets(),
    }
}

impl From<Endpoint> for SocketAddr {
    fn from(endpoint: Endpoint) -> Self {
        let [a, b, c, d, ..] = endpoint.address;
        let ip = match endpoint.family {
            4 => IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
            _ => IpAddr::V6(Ipv6Addr::from(endpoint.address)),
        };
        Self::new(ip, u16::from_be_bytes(endpoint.port))
    }
}

impl RecordHead {
    /// Head and payload of a record; `None` when it is not as long as it has to be.
    pub fn split(record: &[u8]) -> Option<(Self, &[u8])> {
        let (head, payload) = record.split_at_checked(size_of::<Self>())?;
        // SAFETY: as many octets as the type has; unaligned reads are what this is for; all bit patterns are valid.
        let head = unsafe { head.as_ptr().cast::<Self>().read_unaligned() };
        Some((head, payload.get(..usize::from(head.length))?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_are_those_of_the_header() {
        assert_eq!(size_of::<Endpoint>(), 24);
        assert_eq!(size_of::<Format>(), 8);
        assert_eq!(size_of::<OutputKey>(), 8);
        assert_eq!(size_of::<NextHop>(), 20);
        assert_eq!(size_of::<OutputValue>(), 120);
        assert_eq!(size_of::<TargetValue>(), 320);
        assert_eq!(size_of::<GuardValue>(), 144);
        assert_eq!(size_of::<SprayValue>(), 120);
        assert_eq!(size_of::<TrackKey>(), 8);
        assert_eq!(size_of::<TrackValue>(), 80);
        assert_eq!(size_of::<RecordHead>(), 152);
    }

    #[test]
    fn addresses_survive_the_map() {
        for address in ["192.0.2.1:30000", "[2001:db8::7]:9", "127.0.0.1:65535"] {
            let address: SocketAddr = address.parse().unwrap();
            assert_eq!(SocketAddr::from(Endpoint::from(address)), address);
        }
    }

    proptest! {
        #[test]
        fn any_record_is_taken_apart_or_refused(octets in prop::collection::vec(any::<u8>(), 0..600)) {
            if let Some((head, payload)) = RecordHead::split(&octets) {
                prop_assert_eq!(payload.len(), usize::from(head.length));
            }
        }
    }
}
