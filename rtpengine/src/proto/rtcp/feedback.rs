//! Feedback messages (RFC 4585 §6.1) with the entries that name a source (RFC 5104 §4), and APP packets.

use super::rewrite::Mapping;
use super::{HEADER, Header, map_word, word};

/// Packet type of APP, which has a sender and nothing else that we know.
pub const APP: u8 = 204;
/// Packet type of transport layer feedback.
pub const TRANSPORT: u8 = 205;
/// Packet type of payload-specific feedback.
pub const PAYLOAD: u8 = 206;

const TMMBR: u8 = 3;
const TMMBN: u8 = 4;
const FIR: u8 = 4;
const ENTRIES: usize = 12;
/// Application layer feedback; of it a receiver's estimate of the bandwidth is known by its name.
const APPLICATION: u8 = 15;
const BANDWIDTH: u32 = u32::from_be_bytes(*b"REMB");
const BANDWIDTH_SOURCES: usize = 20;

/// Takes feedback messages out of a compound in place; its new length. What does not add up, and all behind it, goes as well.
pub fn strip(compound: &mut [u8]) -> usize {
    let (mut read, mut written) = (0, 0);
    while let Some(header) = compound.get(read..).and_then(|rest| Header::parse(rest).ok()) {
        if !matches!(header.packet_type, TRANSPORT | PAYLOAD) {
            compound.copy_within(read..read + header.length, written);
            written += header.length;
        }
        read += header.length;
    }
    written
}

/// Whether a message is for the other side: it names a source of its, or none.
pub(super) fn is_for(packet: &[u8], header: Header, mapping: &impl Mapping) -> bool {
    let named = word(packet, 8).filter(|ssrc| *ssrc != 0);
    let entries = || entries(packet, header).filter_map(|at| word(packet, at));
    match named {
        Some(ssrc) => mapping.wants(ssrc),
        None => entries().next().is_none() || entries().any(|ssrc| mapping.wants(ssrc)),
    }
}

/// Maps sender and media sources in place.
pub(super) fn rewrite(packet: &mut [u8], header: Header, mapping: &impl Mapping) {
    map_word(packet, HEADER, |ssrc| mapping.sender(ssrc));
    if header.packet_type == APP {
        return;
    }
    map_word(packet, 8, |ssrc| mapping.source(ssrc));
    for at in entries(packet, header) {
        map_word(packet, at, |ssrc| mapping.source(ssrc));
    }
}

/// Where SSRCs stand behind the head.
fn entries(packet: &[u8], header: Header) -> impl Iterator<Item = usize> + use<> {
    let has_entries =
        matches!((header.packet_type, header.count), (TRANSPORT, TMMBR | TMMBN) | (PAYLOAD, FIR));
    let is_bandwidth = (header.packet_type, header.count) == (PAYLOAD, APPLICATION)
        && word(packet, ENTRIES) == Some(BANDWIDTH);
    let sources = packet.get(ENTRIES + 4).map_or(0, |count| usize::from(*count));
    let (first, step, most) = match (has_entries, is_bandwidth) {
        (true, _) => (ENTRIES, 8, usize::MAX),
        (_, true) => (BANDWIDTH_SOURCES, 4, sources),
        _ => (packet.len(), 4, 0),
    };
    (first..packet.len()).step_by(step).take(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    #[test]
    fn feedback_is_taken_out_and_the_rest_stays() {
        const CASES: &[(&str, &[u32], &[u32])] = &[
            (
                "between others",
                &[0x80c9_0001, 1, 0x81ce_0002, 1, 2, 0x81cd_0003, 1, 2, 3, 0x81cb_0001, 1],
                &[0x80c9_0001, 1, 0x81cb_0001, 1],
            ),
            ("nothing else", &[0x81ce_0002, 1, 2], &[]),
            ("none", &[0x80c9_0001, 1], &[0x80c9_0001, 1]),
            ("cut off", &[0x80c9_0001, 1, 0x81cb_0002, 1], &[0x80c9_0001, 1]),
        ];
        for (name, before, after) in CASES {
            let mut compound = words(before);
            let length = strip(&mut compound);
            assert_eq!(compound[..length], words(after), "{name}");
        }
    }
}
