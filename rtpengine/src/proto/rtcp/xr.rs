//! Extended reports (RFC 3611).

use super::rewrite::Mapping;
use super::{HEADER, RtcpError, map_word, word};

/// Packet type.
pub const TYPE: u8 = 207;

const RECEIVER_REFERENCE_TIME: u8 = 4;
const DLRR: u8 = 5;
const VOIP_METRICS: u8 = 7;

/// Maps sender and sources of the blocks in place. Blocks of a type that is not known pass.
pub(super) fn rewrite(packet: &mut [u8], mapping: &impl Mapping) -> Result<(), RtcpError> {
    map_word(packet, HEADER, |ssrc| mapping.sender(ssrc));
    let mut at = HEADER + 4;
    while let Some(head) = word(packet, at) {
        let content = at + 4;
        let end = content + 4 * (head & 0xffff) as usize;
        if end > packet.len() {
            return Err(RtcpError::Truncated);
        }
        match (head >> 24) as u8 {
            RECEIVER_REFERENCE_TIME => {}
            DLRR => {
                for at in (content..end).step_by(12) {
                    map_word(packet, at, |ssrc| mapping.source(ssrc));
                }
            }
            // Loss and duplicate run lengths, receipt times, statistics and VoIP metrics begin with the source.
            1..=VOIP_METRICS if end > content => {
                map_word(packet, content, |ssrc| mapping.source(ssrc));
            }
            _ => {}
        }
        at = end;
    }
    Ok(())
}

/// The blocks of an extended report with their headers, up to the first one that is not all there.
pub fn blocks(packet: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = packet.get(HEADER + 4..).unwrap_or_default();
    std::iter::from_fn(move || {
        let head = word(rest, 0)?;
        let (block, behind) = rest.split_at_checked(4 + 4 * (head & 0xffff) as usize)?;
        rest = behind;
        Some(block)
    })
}

/// The VoIP metrics blocks of an extended report, with their headers.
pub(super) fn voip_metrics(packet: &[u8]) -> impl Iterator<Item = &[u8]> {
    blocks(packet).filter(|block| block.first() == Some(&VOIP_METRICS))
}
