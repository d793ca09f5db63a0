//! UDPTL with redundancy, written for the tests alone.

use std::collections::VecDeque;

/// One end.
#[derive(Debug, Default)]
pub struct Udptl {
    next: u16,
    earlier: VecDeque<Vec<u8>>,
    expected: u16,
    /// Packets that were found in the redundancy of later ones.
    pub recovered: usize,
}

impl Udptl {
    /// The datagram of an IFP packet, with up to three earlier ones.
    pub fn send(&mut self, ifp: &[u8]) -> Vec<u8> {
        let mut datagram = self.next.to_be_bytes().to_vec();
        self.next = self.next.wrapping_add(1);
        append(&mut datagram, ifp);
        datagram.extend([0, self.earlier.len() as u8]);
        self.earlier.iter().for_each(|earlier| append(&mut datagram, earlier));
        self.earlier.push_front(ifp.to_vec());
        self.earlier.truncate(3);
        datagram
    }

    /// The packets of a datagram that are new, in order, with their numbers.
    pub fn receive(&mut self, datagram: &[u8]) -> Vec<(u16, Vec<u8>)> {
        let number = u16::from_be_bytes([datagram[0], datagram[1]]);
        let mut rest = &datagram[2..];
        let mut packets = vec![(number, take(&mut rest))];
        assert_eq!(rest[0], 0, "redundancy");
        let count = rest[1];
        rest = &rest[2..];
        for back in 1..=u16::from(count) {
            packets.push((number.wrapping_sub(back), take(&mut rest)));
        }
        assert!(rest.is_empty(), "nothing behind it");
        packets.reverse();
        packets.retain(|(number, _)| number.wrapping_sub(self.expected) < 0x8000);
        self.recovered += packets.len().saturating_sub(1);
        if let Some((last, _)) = packets.last() {
            self.expected = last.wrapping_add(1);
        }
        packets
    }
}

fn append(datagram: &mut Vec<u8>, octets: &[u8]) {
    match octets.len() {
        short @ 0..=127 => datagram.push(short as u8),
        long => datagram.extend((long as u16 | 0x8000).to_be_bytes()),
    }
    datagram.extend(octets);
}

fn take(rest: &mut &[u8]) -> Vec<u8> {
    let (length, header) = match rest[0] {
        short @ 0..=127 => (usize::from(short), 1),
        high => (usize::from(high & 0x3f) << 8 | usize::from(rest[1]), 2),
    };
    let (octets, behind) = rest[header..].split_at(length);
    *rest = behind;
    octets.to_vec()
}
