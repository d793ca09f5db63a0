//! Goodbye (RFC 3550 §6.6).

use super::rewrite::Mapping;
use super::{HEADER, Header, RtcpError, set_word, word};

/// Packet type.
pub const TYPE: u8 = 203;

/// Maps the SSRCs that leave, in place, and takes out those that are hidden; the new length, 0 when none is left.
pub(super) fn rewrite(packet: &mut [u8], header: Header, mapping: &impl Mapping) -> Result<usize, RtcpError> {
    let end = HEADER + 4 * usize::from(header.count);
    if packet.len() < end {
        return Err(RtcpError::Truncated);
    }
    let (mut kept, mut count) = (HEADER, 0);
    for at in (HEADER..end).step_by(4) {
        let Some(ssrc) = word(packet, at).filter(|ssrc| !mapping.hides(*ssrc)) else { continue };
        set_word(packet, kept, mapping.sender(ssrc));
        kept += 4;
        count += 1;
    }
    if count == 0 && header.count > 0 {
        return Ok(0);
    }
    packet.copy_within(end.., kept);
    let length = packet.len() - (end - kept);
    Header { count, length, ..header }.write(packet);
    Ok(length)
}
