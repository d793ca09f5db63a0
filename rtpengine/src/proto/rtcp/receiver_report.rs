//! Receiver reports and the report blocks that sender reports have as well (RFC 3550 §6.4.2).

use super::rewrite::Mapping;
use super::{HEADER, Header, RtcpError, map_word, set_word, word};

/// Packet type.
pub const TYPE: u8 = 201;
/// Octets of a report without blocks.
pub const LENGTH: usize = 8;
/// Octets of a report block.
pub const BLOCK: usize = 24;

/// What a receiver says about one source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReportBlock {
    /// The source.
    pub ssrc: u32,
    /// Loss since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Loss since the start, a signed number of 24 bits.
    pub cumulative_lost: i32,
    /// Cycles and highest sequence number received.
    pub highest_sequence: u32,
    /// Interarrival jitter in the clock of the source's RTP timestamps.
    pub jitter: u32,
    /// Middle 32 bits of the NTP time of the last sender report, 0 = none.
    pub last_sender_report: u32,
    /// Time since that report in 1/65536 s.
    pub delay_since_last: u32,
}

impl ReportBlock {
    /// Reads a block.
    pub fn parse(block: &[u8]) -> Option<Self> {
        let loss = word(block, 4)?;
        Some(Self {
            ssrc: word(block, 0)?,
            fraction_lost: (loss >> 24) as u8,
            cumulative_lost: (loss << 8) as i32 >> 8,
            highest_sequence: word(block, 8)?,
            jitter: word(block, 12)?,
            last_sender_report: word(block, 16)?,
            delay_since_last: word(block, 20)?,
        })
    }

    /// Writes the block to the start of `out`, as far as that reaches.
    pub fn write(self, out: &mut [u8]) {
        let loss = u32::from(self.fraction_lost) << 24 | self.cumulative_lost as u32 & 0xff_ffff;
        let words = [
            self.ssrc,
            loss,
            self.highest_sequence,
            self.jitter,
            self.last_sender_report,
            self.delay_since_last,
        ];
        for (index, value) in words.into_iter().enumerate() {
            set_word(out, 4 * index, value);
        }
    }
}

/// Writes a receiver report; its length, `None` when `out` is too short or there are more than 31 blocks.
pub fn write(out: &mut [u8], ssrc: u32, blocks: &[ReportBlock]) -> Option<usize> {
    let count = u8::try_from(blocks.len()).ok().filter(|count| *count < 32)?;
    let length = LENGTH + BLOCK * blocks.len();
    let report = out.get_mut(..length)?;
    report[0] = 0x80;
    Header { count, packet_type: TYPE, length }.write(report);
    set_word(report, HEADER, ssrc);
    for (block, out) in blocks.iter().zip(report[LENGTH..].chunks_exact_mut(BLOCK)) {
        block.write(out);
    }
    Some(length)
}

/// Maps one packet in place; its new length.
pub(super) fn rewrite(packet: &mut [u8], header: Header, mapping: &impl Mapping) -> Result<usize, RtcpError> {
    word(packet, HEADER).ok_or(RtcpError::Truncated)?;
    map_word(packet, HEADER, |ssrc| mapping.sender(ssrc));
    map_blocks(packet, LENGTH, header, mapping)
}

/// Maps the blocks that start at `start`, closes the gaps of those without counterpart, and writes the header.
/// Profile-specific extensions and padding behind the blocks stay.
pub(super) fn map_blocks(
    packet: &mut [u8],
    start: usize,
    header: Header,
    mapping: &impl Mapping,
) -> Result<usize, RtcpError> {
    let end = start + BLOCK * usize::from(header.count);
    if end > packet.len() {
        return Err(RtcpError::Truncated);
    }
    let (mut kept, mut count) = (start, 0);
    for at in (start..end).step_by(BLOCK) {
        let Some(block) = packet.get(at..).and_then(ReportBlock::parse) else { break };
        let Some(mapped) = mapping.report(block) else { continue };
        if let Some(out) = packet.get_mut(kept..kept + BLOCK) {
            mapped.write(out);
        }
        kept += BLOCK;
        count += 1;
    }
    packet.copy_within(end.., kept);
    let length = packet.len() - (end - kept);
    Header { count, length, ..header }.write(packet);
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_is_read_and_written_with_negative_loss() {
        let octets: [u8; BLOCK] =
            [0, 0, 0, 7, 0x80, 0xff, 0xff, 0xfe, 0, 1, 0x12, 0x34, 0, 0, 0, 160, 1, 2, 3, 4, 0, 1, 0, 0];
        let block = ReportBlock::parse(&octets).unwrap();
        assert_eq!((block.ssrc, block.fraction_lost, block.cumulative_lost), (7, 128, -2));
        assert_eq!((block.highest_sequence, block.jitter), (0x1_1234, 160));
        assert_eq!((block.last_sender_report, block.delay_since_last), (0x0102_0304, 0x1_0000));
        let mut out = [0; BLOCK];
        block.write(&mut out);
        assert_eq!(out, octets);
    }
}
