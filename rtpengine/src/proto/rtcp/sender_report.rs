//! Sender reports (RFC 3550 §6.4.1).

use super::receiver_report::{self, BLOCK, ReportBlock, map_blocks};
use super::rewrite::Mapping;
use super::{HEADER, Header, RtcpError, map_word, set_word, word};

/// Packet type.
pub const TYPE: u8 = 200;
/// Octets of a report without blocks.
pub const LENGTH: usize = 28;

/// What a sender says about its own stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderInfo {
    /// Wall clock: seconds since 1900 and 32 bits of fraction.
    pub ntp: u64,
    /// The same moment in the clock of the stream's RTP timestamps.
    pub rtp_timestamp: u32,
    /// RTP packets sent since the start.
    pub packets: u32,
    /// Payload octets in them, without header and padding.
    pub octets: u32,
}

impl SenderInfo {
    /// Reads the sender information of a whole sender report.
    pub fn parse(report: &[u8]) -> Option<Self> {
        Some(Self {
            ntp: u64::from(word(report, 8)?) << 32 | u64::from(word(report, 12)?),
            rtp_timestamp: word(report, 16)?,
            packets: word(report, 20)?,
            octets: word(report, 24)?,
        })
    }

    fn write(self, report: &mut [u8]) {
        set_word(report, 8, (self.ntp >> 32) as u32);
        set_word(report, 12, self.ntp as u32);
        set_word(report, 16, self.rtp_timestamp);
        set_word(report, 20, self.packets);
        set_word(report, 24, self.octets);
    }
}

/// NTP time of a moment given in microseconds since the Unix epoch.
pub fn ntp_from_unix_us(us: u64) -> u64 {
    /// RFC 868: 70 years, 17 of them leap years.
    const UNIX_EPOCH: u64 = 2_208_988_800;
    let fraction = ((us % 1_000_000) << 32) / 1_000_000;
    (us / 1_000_000).wrapping_add(UNIX_EPOCH) << 32 | fraction
}

/// Writes a sender report; its length, `None` when `out` is too short or there are more than 31 blocks.
pub fn write(out: &mut [u8], ssrc: u32, info: SenderInfo, blocks: &[ReportBlock]) -> Option<usize> {
    let count = u8::try_from(blocks.len()).ok().filter(|count| *count < 32)?;
    let length = LENGTH + BLOCK * blocks.len();
    let report = out.get_mut(..length)?;
    report[0] = 0x80;
    Header { count, packet_type: TYPE, length }.write(report);
    set_word(report, 4, ssrc);
    info.write(report);
    for (block, out) in blocks.iter().zip(report[LENGTH..].chunks_exact_mut(BLOCK)) {
        block.write(out);
    }
    Some(length)
}

/// Maps one packet in place; its new length. A stream of which nothing leaves becomes a receiver report.
pub(super) fn rewrite(packet: &mut [u8], header: Header, mapping: &impl Mapping) -> Result<usize, RtcpError> {
    let info = SenderInfo::parse(packet).ok_or(RtcpError::Truncated)?;
    let ssrc = word(packet, HEADER).ok_or(RtcpError::Truncated)?;
    map_word(packet, HEADER, |ssrc| mapping.sender(ssrc));
    match mapping.sender_info(ssrc, info) {
        Some(info) => {
            info.write(packet);
            map_blocks(packet, LENGTH, header, mapping)
        }
        None => {
            packet.copy_within(LENGTH.., receiver_report::LENGTH);
            let length = packet.len() - (LENGTH - receiver_report::LENGTH);
            let header = Header { packet_type: receiver_report::TYPE, length, ..header };
            let packet = packet.get_mut(..length).ok_or(RtcpError::Truncated)?;
            map_blocks(packet, receiver_report::LENGTH, header, mapping)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_is_written_as_in_the_standard() {
        let info = SenderInfo {
            ntp: 0x0102_0304_0506_0708,
            rtp_timestamp: 0x090a_0b0c,
            packets: 0x0d0e_0f10,
            octets: 0x1112_1314,
        };
        let mut out = [0; LENGTH];
        assert_eq!(write(&mut out, 0xaabb_ccdd, info, &[]), Some(28));
        assert_eq!(out[..8], [0x80, 200, 0, 6, 0xaa, 0xbb, 0xcc, 0xdd]);
        assert_eq!(out[8..], core::array::from_fn::<u8, 20, _>(|i| i as u8 + 1));
        assert_eq!(SenderInfo::parse(&out), Some(info));
        assert_eq!(write(&mut [0; 27], 1, info, &[]), None);
        let block = ReportBlock { ssrc: 9, ..ReportBlock::default() };
        let mut out = [0; LENGTH + 2 * BLOCK];
        assert_eq!(write(&mut out, 7, info, &[block; 2]), Some(76));
        assert_eq!((out[0], out[3], &out[52..56]), (0x82, 18, &[0, 0, 0, 9][..]));
        assert_eq!(write(&mut out, 7, info, &[block; 3]), None);
    }

    #[test]
    fn ntp_starts_in_1900_and_has_a_binary_fraction() {
        assert_eq!(ntp_from_unix_us(0), 2_208_988_800 << 32);
        assert_eq!(ntp_from_unix_us(1_500_000), 2_208_988_801 << 32 | 0x8000_0000);
    }
}
