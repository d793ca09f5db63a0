//! Looking into compound packets without changing them.

use super::receiver_report::{self, BLOCK, ReportBlock};
use super::sender_report::{self, SenderInfo};
use super::{HEADER, Header, word, xr};

/// The packets of a compound, up to the first one that does not add up.
pub fn packets(compound: &[u8]) -> impl Iterator<Item = (Header, &[u8])> {
    let mut rest = compound;
    std::iter::from_fn(move || {
        let header = Header::parse(rest).ok()?;
        let (packet, behind) = rest.split_at_checked(header.length)?;
        rest = behind;
        Some((header, packet))
    })
}

/// Sender and information of a sender report.
pub fn sender_report(header: Header, packet: &[u8]) -> Option<(u32, SenderInfo)> {
    let info = (header.packet_type == sender_report::TYPE).then(|| SenderInfo::parse(packet))??;
    Some((word(packet, HEADER)?, info))
}

/// The report blocks of a sender or receiver report; of other packets none.
pub fn blocks(header: Header, packet: &[u8]) -> impl Iterator<Item = ReportBlock> {
    let start = match header.packet_type {
        sender_report::TYPE => sender_report::LENGTH,
        receiver_report::TYPE => receiver_report::LENGTH,
        _ => packet.len(),
    };
    let blocks = packet.get(start..).unwrap_or_default().chunks_exact(BLOCK);
    blocks.take(usize::from(header.count)).filter_map(ReportBlock::parse)
}

/// The round-trip time in milliseconds that VoIP metrics of an extended report give for a source (RFC 3611 §4.7.3), if it is known.
pub fn voip_round_trip_ms(compound: &[u8], ssrc: u32) -> Option<u16> {
    const DELAY: usize = 16;
    let reports = packets(compound).filter(|(header, _)| header.packet_type == xr::TYPE);
    let metrics = reports.flat_map(|(_, packet)| xr::voip_metrics(packet));
    let of_source = metrics.filter(|block| word(block, 4) == Some(ssrc));
    let delay = of_source.filter_map(|block| word(block, DELAY).map(|word| (word >> 16) as u16)).last()?;
    (delay != 0).then_some(delay)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    #[test]
    fn reports_and_blocks_of_a_compound_are_found() {
        let compound = words(&[
            0x81c8_000c,
            7,
            10,
            0x8000_0000,
            12,
            13,
            14,
            0x55,
            0x4000_0002,
            3,
            4,
            0xaabb_ccdd,
            6,
            0x81ca_0002,
            7,
            0x0101_6100,
            0x82c9_000d,
            8,
            0x66,
            1,
            2,
            3,
            4,
            5,
            0x77,
            1,
            2,
            3,
            4,
            5,
        ]);
        let found: Vec<_> = packets(&compound).collect();
        assert_eq!(found.len(), 3);
        let (ssrc, info) = sender_report(found[0].0, found[0].1).expect("sender report");
        assert_eq!((ssrc, info.ntp, info.octets), (7, 10 << 32 | 0x8000_0000, 14));
        assert!(found[1..].iter().all(|(header, packet)| sender_report(*header, packet).is_none()));
        let ssrcs = |(header, packet): &(Header, &[u8])| -> Vec<u32> {
            blocks(*header, packet).map(|block| block.ssrc).collect()
        };
        assert_eq!(found.iter().map(ssrcs).collect::<Vec<_>>(), [vec![0x55], vec![], vec![0x66, 0x77]]);
        let block = blocks(found[0].0, found[0].1).next().expect("block");
        assert_eq!((block.fraction_lost, block.last_sender_report), (0x40, 0xaabb_ccdd));
    }

    #[test]
    fn a_block_more_than_there_is_room_for_is_none() {
        let compound = words(&[0x82c9_0007, 1, 0x55, 1, 2, 3, 4, 5]);
        let (header, packet) = packets(&compound).next().expect("packet");
        assert_eq!(blocks(header, packet).count(), 1);
    }

    #[test]
    fn round_trip_of_voip_metrics_is_that_of_its_source() {
        let metrics = |ssrc, delay: u32| [0x0700_0008, ssrc, 0, 0, delay << 16 | 9, 0, 0, 0, 0].to_vec();
        let mut content = vec![0x80cf_0015, 1, 0x0400_0002, 5, 5];
        content.extend(metrics(0x55, 120));
        content.extend(metrics(0x66, 0));
        content[0] = 0x80cf_0000 | (content.len() as u32 - 1);
        let compound = words(&[&[0x80c9_0001, 1][..], &content].concat());
        assert_eq!(voip_round_trip_ms(&compound, 0x55), Some(120));
        assert_eq!(voip_round_trip_ms(&compound, 0x66), None, "zero is unknown");
        assert_eq!(voip_round_trip_ms(&compound, 0x77), None);
    }

    proptest! {
        #[test]
        fn any_octets_are_survived(octets in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut length = 0;
            for (header, packet) in packets(&octets) {
                length += packet.len();
                let _ = sender_report(header, packet);
                prop_assert!(blocks(header, packet).count() <= 31);
            }
            prop_assert!(length <= octets.len());
            let mut filtered = octets.clone();
            let kept = super::super::feedback::strip(&mut filtered);
            prop_assert!(kept <= length);
            let is_feedback = |header: Header| matches!(header.packet_type, 205 | 206);
            prop_assert!(!packets(&filtered[..kept]).any(|(header, _)| is_feedback(header)));
            let _ = voip_round_trip_ms(&octets, 7);
        }
    }
}
