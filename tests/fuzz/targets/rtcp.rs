//! Any octets as a compound RTCP packet: read for statistics, filtered, and on its way from one side of a transcoder to the other.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rtpengine::proto::rtcp::rewrite::{Mapping, rewrite};
use rtpengine::proto::rtcp::{feedback, read, receiver_report::ReportBlock, sender_report::SenderInfo};

/// Odd sources are mapped, or have nothing to report, as the first octet of the input says.
struct Choice(u8);

impl Mapping for Choice {
    fn sender(&self, ssrc: u32) -> u32 {
        if self.0 & 1 != 0 { !ssrc } else { ssrc }
    }

    fn sender_info(&self, ssrc: u32, info: SenderInfo) -> Option<SenderInfo> {
        (self.0 & 2 == 0 || ssrc & 1 == 0).then_some(info)
    }

    fn source(&self, ssrc: u32) -> u32 {
        if self.0 & 4 != 0 { !ssrc } else { ssrc }
    }

    fn report(&self, block: ReportBlock) -> Option<ReportBlock> {
        (self.0 & 8 == 0 || block.ssrc & 1 == 0).then_some(block)
    }
}

fuzz_target!(|input: &[u8]| {
    let [choice, packet @ ..] = input else { return };
    for (header, octets) in read::packets(packet) {
        let _ = read::sender_report(header, octets);
        for block in read::blocks(header, octets) {
            let _ = read::voip_round_trip_ms(packet, block.ssrc);
        }
    }
    let mut filtered = packet.to_vec();
    let kept = feedback::strip(&mut filtered);
    assert!(kept <= packet.len());
    let none_left = |(header, _): (rtpengine::proto::rtcp::Header, &[u8])| {
        !matches!(header.packet_type, feedback::TRANSPORT | feedback::PAYLOAD)
    };
    assert!(read::packets(&filtered[..kept]).all(none_left));
    let mut compound = packet.to_vec();
    let Ok(length) = rewrite(&mut compound, &Choice(*choice)) else { return };
    // Nothing grows, and what was made can be read and mapped again; with nothing to map it stays as it is.
    assert!(length <= packet.len());
    let mapped = compound[..length].to_vec();
    let mut again = mapped.clone();
    assert_eq!(rewrite(&mut again, &Choice(0)), Ok(length));
    assert_eq!(again, mapped);
});
