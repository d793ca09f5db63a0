//! Maps a compound packet from one side of a transcoder to the other.

use super::receiver_report::ReportBlock;
use super::sender_report::SenderInfo;
use super::{HEADER, Header, RtcpError, bye, feedback, receiver_report, sdes, sender_report, word, xr};

/// How the streams of the side that sent a packet, and those that it receives, are known to the other side.
pub trait Mapping {
    /// SSRC of the sending side as the other side knows it.
    fn sender(&self, ssrc: u32) -> u32;

    /// What a sender says about its stream `ssrc` (as on the sending side), for the stream that the other side
    /// gets; `None` when nothing of it leaves, which turns the sender report into a receiver report.
    fn sender_info(&self, ssrc: u32, info: SenderInfo) -> Option<SenderInfo>;

    /// SSRC that the sending side receives, as the other side sent it; itself when it has no counterpart.
    fn source(&self, ssrc: u32) -> u32;

    /// Report about what the sending side receives, for whoever sent it; `None` leaves the block out.
    fn report(&self, block: ReportBlock) -> Option<ReportBlock>;

    /// The stream `ssrc` of the sending side goes to others, so that what it says of itself is none of the other side's business.
    fn hides(&self, _ssrc: u32) -> bool {
        false
    }

    /// What the sending side wants of the sender of `ssrc` is for the other side.
    fn wants(&self, _ssrc: u32) -> bool {
        true
    }
}

/// Maps the compound packet in place; its new length, which is never greater, and 0 when nothing in it is for the other side. After an
/// error the content of the buffer is of no use. Cost: linear in the length, plus what `mapping` costs per SSRC.
pub fn rewrite(compound: &mut [u8], mapping: &impl Mapping) -> Result<usize, RtcpError> {
    let (mut read, mut written) = (0, 0);
    let (mut hidden, mut needed) = (false, false);
    while read < compound.len() {
        let rest = compound.get_mut(read..).ok_or(RtcpError::Truncated)?;
        let header = Header::parse(rest)?;
        let packet = rest.get_mut(..header.length).ok_or(RtcpError::Truncated)?;
        let sender = word(packet, HEADER).unwrap_or_default();
        let length = match header.packet_type {
            sender_report::TYPE => sender_report::rewrite(packet, header, mapping)?,
            receiver_report::TYPE => receiver_report::rewrite(packet, header, mapping)?,
            bye::TYPE => bye::rewrite(packet, header, mapping)?,
            feedback::APP if mapping.hides(sender) => 0,
            feedback::TRANSPORT | feedback::PAYLOAD if !feedback::is_for(packet, header, mapping) => 0,
            other => {
                match other {
                    sdes::TYPE => sdes::rewrite(packet, header, mapping)?,
                    feedback::APP | feedback::TRANSPORT | feedback::PAYLOAD => {
                        feedback::rewrite(packet, header, mapping);
                    }
                    xr::TYPE => xr::rewrite(packet, mapping)?,
                    _ => {}
                }
                header.length
            }
        };
        match header.packet_type {
            // Who is who: for the sake of what else there is.
            sdes::TYPE => {}
            // So is a report without blocks, which has to come first.
            sender_report::TYPE | receiver_report::TYPE
                if length == receiver_report::LENGTH && mapping.hides(sender) =>
            {
                hidden = true;
            }
            _ if length == 0 => hidden = true,
            _ => needed = true,
        }
        compound.copy_within(read..read + length, written);
        read += header.length;
        written += length;
    }
    Ok(if hidden && !needed { 0 } else { written })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Sender 1 becomes 0x11, 2 sends nothing that leaves; what it receives as 0x55 was sent as 5, 0x66 nobody
    /// knows.
    struct Sample;

    impl Mapping for Sample {
        fn sender(&self, ssrc: u32) -> u32 {
            if ssrc == 1 { 0x11 } else { ssrc }
        }

        fn sender_info(&self, ssrc: u32, info: SenderInfo) -> Option<SenderInfo> {
            let mapped =
                SenderInfo { rtp_timestamp: info.rtp_timestamp + 1000, packets: 8, octets: 9, ..info };
            (ssrc == 1).then_some(mapped)
        }

        fn source(&self, ssrc: u32) -> u32 {
            if ssrc == 0x55 { 5 } else { ssrc }
        }

        fn report(&self, block: ReportBlock) -> Option<ReportBlock> {
            let mapped = ReportBlock { ssrc: 5, highest_sequence: 77, ..block };
            (block.ssrc == 0x55).then_some(mapped)
        }
    }

    struct Identity;

    impl Mapping for Identity {
        fn sender(&self, ssrc: u32) -> u32 {
            ssrc
        }

        fn sender_info(&self, _: u32, info: SenderInfo) -> Option<SenderInfo> {
            Some(info)
        }

        fn source(&self, ssrc: u32) -> u32 {
            ssrc
        }

        fn report(&self, block: ReportBlock) -> Option<ReportBlock> {
            Some(block)
        }
    }

    /// One of several parties that share the sending side's port: sender 2 and what is received as 0x66 are others' business.
    struct Part;

    impl Mapping for Part {
        fn sender(&self, ssrc: u32) -> u32 {
            ssrc
        }

        fn sender_info(&self, ssrc: u32, info: SenderInfo) -> Option<SenderInfo> {
            (ssrc != 2).then_some(info)
        }

        fn source(&self, ssrc: u32) -> u32 {
            ssrc
        }

        fn report(&self, block: ReportBlock) -> Option<ReportBlock> {
            (block.ssrc != 0x66).then_some(block)
        }

        fn hides(&self, ssrc: u32) -> bool {
            ssrc == 2
        }

        fn wants(&self, ssrc: u32) -> bool {
            ssrc != 0x66
        }
    }

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    #[test]
    fn each_packet_type_is_mapped() {
        const CASES: &[(&str, &[u32], &[u32])] = &[
            (
                "sender report, foreign block left out, extension kept",
                &[
                    0x82c8_0013,
                    1,
                    10,
                    11,
                    12,
                    13,
                    14,
                    0x66,
                    1,
                    2,
                    3,
                    4,
                    5,
                    0x55,
                    0x01ff_ffff,
                    2,
                    3,
                    4,
                    5,
                    0xeeee_eeee,
                ],
                &[0x81c8_000d, 0x11, 10, 11, 1012, 8, 9, 5, 0x01ff_ffff, 77, 3, 4, 5, 0xeeee_eeee],
            ),
            (
                "sender report of which nothing leaves",
                &[0x81c8_000c, 2, 10, 11, 12, 13, 14, 0x55, 1, 2, 3, 4, 5],
                &[0x81c9_0007, 2, 5, 1, 77, 3, 4, 5],
            ),
            (
                "receiver report",
                &[0x81c9_0007, 1, 0x55, 1, 2, 3, 4, 5],
                &[0x81c9_0007, 0x11, 5, 1, 77, 3, 4, 5],
            ),
            ("receiver report, emptied", &[0x81c9_0007, 1, 0x66, 1, 2, 3, 4, 5], &[0x80c9_0001, 0x11]),
            (
                "two chunks of source description",
                &[0x82ca_0006, 9, 0x0103_6162, 0x6300_0000, 1, 0x0102_6162, 0],
                &[0x82ca_0006, 9, 0x0103_6162, 0x6300_0000, 0x11, 0x0102_6162, 0],
            ),
            (
                "goodbye with a reason",
                &[0x82cb_0003, 9, 1, 0x0161_0000],
                &[0x82cb_0003, 9, 0x11, 0x0161_0000],
            ),
            ("application", &[0x80cc_0002, 1, 0x55], &[0x80cc_0002, 0x11, 0x55]),
            ("negative acknowledgement", &[0x81cd_0003, 1, 0x55, 0x55], &[0x81cd_0003, 0x11, 5, 0x55]),
            ("full intra request", &[0x84ce_0004, 1, 0, 0x55, 0], &[0x84ce_0004, 0x11, 0, 5, 0]),
            (
                "bandwidth estimate for two sources",
                &[0x8fce_0006, 1, 0, 0x5245_4d42, 0x0201_2345, 0x55, 0x66],
                &[0x8fce_0006, 0x11, 0, 0x5245_4d42, 0x0201_2345, 5, 0x66],
            ),
            (
                "extended report: reference time, DLRR, metrics",
                &[0x80cf_000a, 1, 0x0400_0002, 0x55, 0x55, 0x0500_0003, 0x55, 1, 2, 0x0700_0001, 0x55],
                &[0x80cf_000a, 0x11, 0x0400_0002, 0x55, 0x55, 0x0500_0003, 5, 1, 2, 0x0700_0001, 5],
            ),
            ("unknown type", &[0x81c3_0001, 1], &[0x81c3_0001, 1]),
            (
                "compound with padding at its end",
                &[0x81c9_0007, 1, 0x66, 1, 2, 3, 4, 5, 0xa1cb_0002, 1, 4],
                &[0x80c9_0001, 0x11, 0xa1cb_0002, 0x11, 4],
            ),
        ];
        for (name, before, after) in CASES {
            let mut buffer = words(before);
            let length = rewrite(&mut buffer, &Sample).unwrap();
            assert_eq!(buffer[..length], words(after), "{name}");
        }
    }

    #[test]
    fn what_is_for_others_is_left_out() {
        const CNAME: [u32; 3] = [0x81ca_0002, 2, 0x0100_0000];
        const CASES: &[(&str, &[u32], &[u32])] = &[
            (
                "another's sender report",
                &[0x80c8_0006, 2, 10, 11, 12, 13, 14, CNAME[0], CNAME[1], CNAME[2]],
                &[],
            ),
            (
                "another's sender report with a block for this one",
                &[0x81c8_000c, 2, 10, 11, 12, 13, 14, 0x55, 1, 2, 3, 4, 5, CNAME[0], CNAME[1], CNAME[2]],
                &[0x81c9_0007, 2, 0x55, 1, 2, 3, 4, 5, CNAME[0], CNAME[1], CNAME[2]],
            ),
            (
                "feedback for this one behind an empty report",
                &[0x80c9_0001, 2, 0x81ce_0002, 2, 0x55, 0x81ce_0002, 2, 0x66],
                &[0x80c9_0001, 2, 0x81ce_0002, 2, 0x55],
            ),
            ("feedback for another", &[0x80c9_0001, 2, 0x81ce_0002, 2, 0x66], &[]),
            ("full intra request for another", &[0x80c9_0001, 2, 0x84ce_0004, 2, 0, 0x66, 0], &[]),
            (
                "bandwidth estimate of several",
                &[0x8fce_0006, 1, 0, 0x5245_4d42, 0x0201_2345, 0x66, 0x55],
                &[0x8fce_0006, 1, 0, 0x5245_4d42, 0x0201_2345, 0x66, 0x55],
            ),
            ("bandwidth estimate of others", &[0x8fce_0005, 1, 0, 0x5245_4d42, 0x0101_2345, 0x66], &[]),
            ("goodbye of both", &[0x80c9_0001, 1, 0x82cb_0002, 2, 1], &[0x80c9_0001, 1, 0x81cb_0001, 1]),
            ("goodbye of another", &[0x80c9_0001, 2, 0x81cb_0001, 2], &[]),
            ("report of this one about another", &[0x81c9_0007, 1, 0x66, 1, 2, 3, 4, 5], &[0x80c9_0001, 1]),
            ("source description alone", &CNAME, &CNAME),
            ("application of another", &[0x80cc_0002, 2, 0x55], &[]),
        ];
        for (name, before, after) in CASES {
            let mut buffer = words(before);
            let length = rewrite(&mut buffer, &Part).unwrap();
            assert_eq!(buffer[..length], words(after), "{name}");
        }
    }

    #[test]
    fn lengths_that_do_not_add_up_are_refused() {
        const CASES: &[(&str, &[u32], RtcpError)] = &[
            ("longer than the datagram", &[0x80c9_0002, 1], RtcpError::Truncated),
            ("more blocks than there are", &[0x82c9_0007, 1, 0x55, 1, 2, 3, 4, 5], RtcpError::Truncated),
            ("sender report without information", &[0x80c8_0001, 1], RtcpError::Truncated),
            ("receiver report without sender", &[0x80c9_0000], RtcpError::Truncated),
            ("item beyond the end", &[0x81ca_0002, 1, 0x01ff_0000], RtcpError::Truncated),
            ("more sources than there are", &[0x82cb_0001, 1], RtcpError::Truncated),
            ("extended block beyond the end", &[0x80cf_0002, 1, 0x0700_0001], RtcpError::Truncated),
            ("second packet of another version", &[0x80c9_0001, 1, 0x00c9_0001, 1], RtcpError::Version),
        ];
        for (name, octets, error) in CASES {
            assert_eq!(rewrite(&mut words(octets), &Sample), Err(*error), "{name}");
        }
        assert_eq!(rewrite(&mut [0x80, 201, 0], &Sample), Err(RtcpError::Truncated));
        assert_eq!(rewrite(&mut [], &Sample), Ok(0));
    }

    /// Packets whose headers are plausible, so that their inside is reached.
    fn packets() -> impl Strategy<Value = Vec<u8>> {
        let packet = (0u8..32, 195u8..212, prop::collection::vec(0u32..0x100, 0..40), 0u8..4);
        prop::collection::vec(packet, 0..4).prop_map(|packets| {
            packets
                .into_iter()
                .flat_map(|(count, packet_type, content, noise)| {
                    let head = 0x8000_0000
                        | u32::from(count) << 24
                        | u32::from(packet_type) << 16
                        | content.len() as u32;
                    let mut octets = words(&[&[head][..], &content].concat());
                    if noise == 3 {
                        octets
                            .iter_mut()
                            .skip(4)
                            .step_by(3)
                            .for_each(|octet| *octet = octet.wrapping_mul(77));
                    }
                    octets
                })
                .collect()
        })
    }

    proptest! {
        #[test]
        fn any_octets_are_survived(mut octets in prop::collection::vec(any::<u8>(), 0..200)) {
            let before = octets.len();
            if let Ok(length) = rewrite(&mut octets, &Sample) {
                prop_assert!(length <= before);
            }
        }

        #[test]
        fn result_is_a_compound_packet_again(mut octets in packets()) {
            let original = octets.clone();
            if rewrite(&mut octets, &Identity).is_ok() {
                prop_assert_eq!(&octets, &original);
                let length = rewrite(&mut octets, &Sample).unwrap();
                prop_assert!(length <= original.len());
                octets.truncate(length);
                prop_assert_eq!(rewrite(&mut octets, &Identity), Ok(length));
                let length = rewrite(&mut octets, &Part).unwrap();
                octets.truncate(length);
                prop_assert_eq!(rewrite(&mut octets, &Identity), Ok(length));
            }
        }
    }
}
