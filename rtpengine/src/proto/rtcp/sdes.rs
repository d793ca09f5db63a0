//! Source descriptions (RFC 3550 §6.5).

use super::rewrite::Mapping;
use super::{HEADER, Header, RtcpError, map_word, set_word, word};

/// Packet type.
pub const TYPE: u8 = 202;
const CNAME: u8 = 1;

/// Writes a source description with the canonical name alone; its length, `None` when `out` is too short or
/// the name is longer than 255 octets.
pub fn write(out: &mut [u8], ssrc: u32, cname: &str) -> Option<usize> {
    let name_length = u8::try_from(cname.len()).ok()?;
    // SSRC, item header, name, and at least one zero up to the next word.
    let length = HEADER + (4 + 2 + cname.len() + 1).next_multiple_of(4);
    let packet = out.get_mut(..length)?;
    packet.fill(0);
    packet[0] = 0x80;
    Header { count: 1, packet_type: TYPE, length }.write(packet);
    set_word(packet, HEADER, ssrc);
    packet[HEADER + 4] = CNAME;
    packet[HEADER + 5] = name_length;
    packet[HEADER + 6..HEADER + 6 + cname.len()].copy_from_slice(cname.as_bytes());
    Some(length)
}

/// The items of a source description: whose, which, and their octets. Ends at the first one that is not all there.
pub fn items(header: Header, packet: &[u8]) -> impl Iterator<Item = (u32, u8, &[u8])> {
    let mut at = HEADER;
    let mut chunks = header.count;
    let mut source = None;
    std::iter::from_fn(move || {
        loop {
            let ssrc = match source {
                Some(ssrc) => ssrc,
                None => {
                    chunks = chunks.checked_sub(1)?;
                    let ssrc = word(packet, at)?;
                    source = Some(ssrc);
                    at += 4;
                    ssrc
                }
            };
            match packet.get(at)? {
                0 => {
                    // The next chunk starts at the next word.
                    at = (at + 1).next_multiple_of(4);
                    source = None;
                }
                &kind => {
                    let length = usize::from(*packet.get(at + 1)?);
                    let text = packet.get(at + 2..at + 2 + length)?;
                    at += 2 + length;
                    return Some((ssrc, kind, text));
                }
            }
        }
    })
}

/// Maps the SSRC of each chunk in place.
pub(super) fn rewrite(packet: &mut [u8], header: Header, mapping: &impl Mapping) -> Result<(), RtcpError> {
    let mut at = HEADER;
    for _ in 0..header.count {
        if packet.len() < at + 4 {
            return Err(RtcpError::Truncated);
        }
        map_word(packet, at, |ssrc| mapping.sender(ssrc));
        at += 4;
        loop {
            match packet.get(at) {
                // The end of the list; the next chunk starts at the next word.
                Some(0) => break at = (at + 1).next_multiple_of(4),
                Some(_) => at += 2 + usize::from(*packet.get(at + 1).ok_or(RtcpError::Truncated)?),
                None => return Err(RtcpError::Truncated),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_name_is_terminated_and_padded() {
        let mut out = [0xff; 64];
        assert_eq!(write(&mut out, 7, "ab"), Some(16));
        assert_eq!(out[..16], [0x81, 202, 0, 3, 0, 0, 0, 7, 1, 2, b'a', b'b', 0, 0, 0, 0]);
        assert_eq!(write(&mut out, 7, "abc"), Some(16));
        assert_eq!(write(&mut out[..15], 7, "abc"), None);
    }
}
