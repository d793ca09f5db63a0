//! Goodbye (RFC 3550 §6.6).

use super::rewrite::Mapping;
use super::{HEADER, Header, RtcpError, map_word};

/// Packet type.
pub const TYPE: u8 = 203;

/// Maps the SSRCs that leave, in place.
pub(super) fn rewrite(packet: &mut [u8], header: Header, mapping: &impl Mapping) -> Result<(), RtcpError> {
    let end = HEADER + 4 * usize::from(header.count);
    if packet.len() < end {
        return Err(RtcpError::Truncated);
    }
    for at in (HEADER..end).step_by(4) {
        map_word(packet, at, |ssrc| mapping.sender(ssrc));
    }
    Ok(())
}
