//! Any octets as a compound RTCP packet on its way from one side of a transcoder to the other.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rtpengine::proto::rtcp::rewrite::{Mapping, rewrite};
use rtpengine::proto::rtcp::{receiver_report::ReportBlock, sender_report::SenderInfo};

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
    let mut compound = packet.to_vec();
    let Ok(length) = rewrite(&mut compound, &Choice(*choice)) else { return };
    // Nothing grows, and what was made can be read and mapped again; with nothing to map it stays as it is.
    assert!(length <= packet.len());
    let mapped = compound[..length].to_vec();
    let mut again = mapped.clone();
    assert_eq!(rewrite(&mut again, &Choice(0)), Ok(length));
    assert_eq!(again, mapped);
});
