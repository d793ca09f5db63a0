//! Key streams that are used for one message only.
//!
//! What one party encrypts with may be what the other was promised, so that packets could pass as they are (RFC 4568 lets the relay hand
//! keys on). The cipher of an SRTP packet depends on key, SSRC and index; as long as a packet leaves as it came, under the same index, the
//! same octets are encrypted to the same octets. Anything else under the source's SSRC would use a key stream, or a GCM nonce, for two
//! messages. Hence:
//!
//! * what a transcoder or a player makes has an SSRC of its own anyway;
//! * an edge that changes packets (payload type, numbering, payload), or brings those of another source, changes their SSRC, which makes
//!   the key streams different ones (RFC 3711 §9.1);
//! * so does an edge that passes packets on unchanged, once our roll-over counter towards the sink is not the source's: the sink missed
//!   more than half a cycle, being on hold or listening to something else.
//!
//! Once changed, the SSRC of an edge stays changed. RTCP follows it (`rtcp`). SRTCP indices are kept apart in
//! [`super::security::Security::keep_apart_from`].

use super::route::Edge;
use super::ssrc::Seen;
use super::stream::Streams;

/// How the key towards an edge's sink is used elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyUse {
    /// Nowhere, or there is none.
    #[default]
    Own,
    /// The edge's own source encrypts with it, and what passes is unchanged so far.
    Source,
    /// Others do, or what passes is changed.
    Shared,
}

/// Finds out how the key towards the sink of an edge from the stream in `slot` is used, and changes SSRCs where that is necessary.
pub fn prepare(streams: &Streams, slot: u32, edge: &mut Edge) {
    let sending = edge.rtp_to.and_then(|to| streams.get(to)?.present_keys());
    let Some(sending) = sending.filter(|keys| keys.shares_sending_key()) else {
        edge.key_use = KeyUse::Own;
        return;
    };
    let source = streams.get(slot).and_then(|source| source.present_keys());
    let from_source = source.is_some_and(|source| sending.sends_what_is_received_by(source));
    edge.key_use = if from_source && !edge.changes_packets() { KeyUse::Source } else { KeyUse::Shared };
    if edge.key_use == KeyUse::Shared {
        change_ssrc(edge);
    }
}

/// Looks at packets that are about to pass an edge of [`KeyUse::Source`]: all must leave under the index under which they came.
pub fn check<'a>(streams: &Streams, slot: u32, edge: &mut Edge, mut packets: impl Iterator<Item = &'a Seen>) {
    let source = streams.get(slot).and_then(|source| source.present_keys());
    let sink = edge.rtp_to.and_then(|to| streams.get(to)?.present_keys());
    let (Some(source), Some(sink)) = (source, sink) else { return };
    let differs = |seen: &Seen| {
        let received = source.received_index(seen.ssrc, seen.sequence_number);
        // A packet under the key before, which nobody shares.
        received.is_some_and(|index| sink.next_index(seen.ssrc, seen.sequence_number) != Some(index))
    };
    if packets.any(differs) {
        edge.key_use = KeyUse::Shared;
        change_ssrc(edge);
    }
}

fn change_ssrc(edge: &mut Edge) {
    if edge.ssrc_mask == 0 {
        edge.ssrc_mask = edge.other_ssrc_mask;
    }
}

/// Changes the SSRC of an RTP packet; done twice, it is undone.
#[inline]
pub fn mask_ssrc(packet: &mut [u8], mask: u32) {
    if let Some(ssrc) = packet.get_mut(8..12) {
        for (octet, mask) in ssrc.iter_mut().zip(mask.to_be_bytes()) {
            *octet ^= mask;
        }
    }
}
