//! Feedback messages (RFC 4585 §6.1) with the entries that name a source (RFC 5104 §4), and APP packets.

use super::rewrite::Mapping;
use super::{HEADER, Header, map_word};

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

/// Maps sender and media sources in place.
pub(super) fn rewrite(packet: &mut [u8], header: Header, mapping: &impl Mapping) {
    map_word(packet, HEADER, |ssrc| mapping.sender(ssrc));
    if header.packet_type == APP {
        return;
    }
    map_word(packet, 8, |ssrc| mapping.source(ssrc));
    let has_entries =
        matches!((header.packet_type, header.count), (TRANSPORT, TMMBR | TMMBN) | (PAYLOAD, FIR));
    if has_entries {
        for at in (ENTRIES..packet.len()).step_by(8) {
            map_word(packet, at, |ssrc| mapping.source(ssrc));
        }
    }
}
