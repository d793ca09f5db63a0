//! Source descriptions (RFC 3550 §6.5).

use super::rewrite::Mapping;
use super::{HEADER, Header, RtcpError, map_word, set_word, word};

/// Packet type.
pub const TYPE: u8 = 202;
const CNAME: u8 = 1;
/// RFC 9143 §15.
const MID: u8 = 15;

/// Writes a source description with the canonical name, and the mid of the media section that the source belongs to where sections share a
/// port; its length, `None` when `out` is too short or a text is longer than 255 octets.
pub fn write(out: &mut [u8], ssrc: u32, cname: &str, mid: Option<&str>) -> Option<usize> {
    let items = [Some((CNAME, cname)), mid.map(|mid| (MID, mid))].into_iter().flatten();
    // SSRC, item headers and texts, and at least one zero up to the next word.
    let octets = items.clone().map(|(_, text)| 2 + text.len()).sum::<usize>();
    let length = HEADER + (4 + octets + 1).next_multiple_of(4);
    let packet = out.get_mut(..length)?;
    packet.fill(0);
    packet[0] = 0x80;
    Header { count: 1, packet_type: TYPE, length }.write(packet);
    set_word(packet, HEADER, ssrc);
    let mut at = HEADER + 4;
    for (kind, text) in items {
        packet[at] = kind;
        packet[at + 1] = u8::try_from(text.len()).ok()?;
        packet[at + 2..at + 2 + text.len()].copy_from_slice(text.as_bytes());
        at += 2 + text.len();
    }
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
        assert_eq!(write(&mut out, 7, "ab", None), Some(16));
        assert_eq!(out[..16], [0x81, 202, 0, 3, 0, 0, 0, 7, 1, 2, b'a', b'b', 0, 0, 0, 0]);
        assert_eq!(write(&mut out, 7, "abc", None), Some(16));
        assert_eq!(write(&mut out[..15], 7, "abc", None), None);
        assert_eq!(write(&mut out, 7, "ab", Some("m1")), Some(20));
        assert_eq!(out[3..20], [4, 0, 0, 0, 7, 1, 2, b'a', b'b', 15, 2, b'm', b'1', 0, 0, 0, 0]);
    }
}
