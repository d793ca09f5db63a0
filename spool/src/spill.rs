//! Packets that wait on disk for their reader, in a file of the media daemon beside the stream's socket:
//! `<spool>/calls/<prefix>/<stream name>.spill`.
//!
//! A header of [`HEADER`] octets – `RTpSpil1`, then little-endian numbers of 64 bits: where the first unread packet lies, where the last
//! one ends, how many are unread – and the packets, each behind its length in 4 octets.

/// Octets of the header.
pub const HEADER: usize = 32;
/// Octets of the longest framed packet that is believed.
pub const MAX_PACKET: usize = 65_536 + 64;

const MAGIC: &[u8; 8] = b"RTpSpil1";
const LENGTH: usize = 4;

/// Which part of the file is of interest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Offset of the first packet that was not read.
    pub read: u64,
    /// Offset behind the last packet; what follows was not written to its end.
    pub end: u64,
    /// Packets in between.
    pub unread: u64,
}

impl Default for Header {
    fn default() -> Self {
        Self { read: HEADER as u64, end: HEADER as u64, unread: 0 }
    }
}

impl Header {
    /// As it stands in the file.
    pub fn to_octets(self) -> [u8; HEADER] {
        let mut octets = [0; HEADER];
        let numbers = [self.read, self.end, self.unread].map(u64::to_le_bytes);
        for (place, octet) in octets.iter_mut().zip(MAGIC.iter().chain(numbers.iter().flatten())) {
            *place = *octet;
        }
        octets
    }

    /// `None`: not the beginning of such a file.
    pub fn parse(octets: &[u8]) -> Option<Self> {
        let numbers = octets.get(..HEADER)?.strip_prefix(MAGIC)?;
        let mut numbers = numbers
            .chunks_exact(8)
            .map(|number| number.iter().rev().fold(0_u64, |value, octet| value << 8 | u64::from(*octet)));
        let header = Self { read: numbers.next()?, end: numbers.next()?, unread: numbers.next()? };
        let is_in_order = HEADER as u64 <= header.read && header.read <= header.end;
        let holds = header.end.checked_sub(header.read)? / LENGTH as u64;
        (is_in_order && header.unread <= holds).then_some(header)
    }
}

/// Appends a packet.
pub fn append(out: &mut Vec<u8>, packet: &[u8]) {
    let length = packet.len().min(MAX_PACKET);
    out.extend_from_slice(&(length as u32).to_le_bytes());
    out.extend_from_slice(packet.get(..length).unwrap_or_default());
}

/// Octets that a packet takes in the file.
pub fn octets(packet: &[u8]) -> usize {
    LENGTH + packet.len().min(MAX_PACKET)
}

/// What lies at some place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// A packet, and the octets that it takes.
    Packet(&'a [u8], usize),
    /// So many octets are needed to know more.
    Incomplete(usize),
    /// No packet has such a length.
    Broken,
}

/// Reads the packet at the beginning of `octets`.
pub fn parse(octets: &[u8]) -> Parsed<'_> {
    let Some((length, rest)) = octets.split_first_chunk::<LENGTH>() else {
        return Parsed::Incomplete(LENGTH);
    };
    let length = u32::from_le_bytes(*length) as usize;
    if length > MAX_PACKET {
        return Parsed::Broken;
    }
    match rest.get(..length) {
        Some(packet) => Parsed::Packet(packet, LENGTH + length),
        None => Parsed::Incomplete(LENGTH + length),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn header_has_the_documented_layout() {
        let octets = Header { read: 32, end: 0x0102, unread: 3 }.to_octets();
        assert_eq!(&octets[..8], b"RTpSpil1");
        assert_eq!(octets[8..], [32, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0]);
        let wrong = [
            Header { read: 31, end: 31, unread: 0 },
            Header { read: 40, end: 36, unread: 0 },
            Header { read: 32, end: 40, unread: 3 },
        ];
        for header in wrong {
            assert_eq!(Header::parse(&header.to_octets()), None, "{header:?}");
        }
    }

    proptest! {
        #[test]
        fn packets_come_back_in_order_and_cut_ones_are_incomplete(
                packets in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..20)) {
            let mut out = Vec::new();
            packets.iter().for_each(|packet| append(&mut out, packet));
            prop_assert_eq!(out.len(), packets.iter().map(|packet| octets(packet)).sum::<usize>());
            let mut rest = &out[..];
            for packet in &packets {
                let Parsed::Packet(found, length) = parse(rest) else { panic!("a packet") };
                prop_assert_eq!(found, packet.as_slice());
                for cut in 0..length {
                    prop_assert!(matches!(parse(&rest[..cut]), Parsed::Incomplete(needed) if cut < needed && needed <= length));
                }
                rest = &rest[length..];
            }
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn headers_come_back(read in 32_u64.., more in any::<u32>(), unread in any::<u64>()) {
            let end = read.saturating_add(u64::from(more));
            let header = Header { read, end, unread: unread % ((end - read) / 4 + 1) };
            prop_assert_eq!(Header::parse(&header.to_octets()), Some(header));
        }

        #[test]
        fn no_octets_make_the_parsers_panic(octets in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&octets);
            if let Some(header) = Header::parse(&octets) {
                prop_assert_eq!(&header.to_octets(), &octets[..HEADER]);
            }
        }
    }
}
