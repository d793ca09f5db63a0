//! Which media section a packet belongs to when several share a port (RFC 9143 §9.2).
//!
//! The mid header extension says so; else an SSRC that was signalled, or known from earlier packets; else the payload type. What
//! packets can change is a ring of [`LEARNED`] SSRCs, which replaces the oldest.

use std::sync::Arc;

use codec::header_extension;

use super::plan::BundlePlan;
use super::ssrc::Seen;

/// SSRCs that are remembered beside the signalled ones.
const LEARNED: usize = 16;

/// Sections of one port.
pub struct Demultiplexer {
    plan: Arc<BundlePlan>,
    /// Section of each payload type, the first one that has it.
    payload_types: [Option<u8>; 128],
    learned: [Option<(u32, u8)>; LEARNED],
    oldest: usize,
}

impl Demultiplexer {
    pub fn new(plan: Arc<BundlePlan>) -> Self {
        let mut payload_types = [None; 128];
        for section in plan.sections.iter().rev() {
            for payload_type in section.payload_types.iter() {
                payload_types[usize::from(payload_type & 0x7f)] = Some(section.section);
            }
        }
        Self { plan, payload_types, learned: [None; LEARNED], oldest: 0 }
    }

    /// Keeps what was learned under an earlier plan, of sections that are still there.
    pub fn adopt(&mut self, old: &Self) {
        let is_there = |section: u8| self.plan.sections.iter().any(|there| there.section == section);
        self.learned = old.learned.map(|entry| entry.filter(|(_, section)| is_there(*section)));
        self.oldest = old.oldest;
    }

    /// The section of a packet; `None` when nothing in it tells. `packet` is clear.
    pub fn section(&mut self, seen: &Seen, packet: &[u8]) -> Option<u8> {
        if let Some(mid) = self.plan.mid_extension.and_then(|id| header_extension::find(packet, id)) {
            // A mid that nobody has is no reason to look on: the section is one that is not there (any more).
            let named = |mid: &[u8]| {
                let has_mid = |own: &str| own.as_bytes() == mid;
                self.plan.sections.iter().find(|section| section.mid.as_deref().is_some_and(has_mid))
            };
            let section = named(mid)?.section;
            self.learn(seen.ssrc, section);
            return Some(section);
        }
        if let Some(section) = self.known(seen.ssrc) {
            return Some(section);
        }
        let section = self.payload_types[usize::from(seen.payload_type & 0x7f)]?;
        if self.plan.sections.iter().filter(|other| other.payload_types.contains(&seen.payload_type)).count()
            == 1
        {
            self.learn(seen.ssrc, section);
        }
        Some(section)
    }

    /// The section of an SSRC that was signalled, or known from its packets.
    pub fn known(&self, ssrc: u32) -> Option<u8> {
        let learned = self.learned.iter().flatten().find(|(learned, _)| *learned == ssrc);
        let signalled = || self.plan.sections.iter().find(|section| section.ssrcs.contains(&ssrc));
        learned.map(|(_, section)| *section).or_else(|| signalled().map(|section| section.section))
    }

    fn learn(&mut self, ssrc: u32, section: u8) {
        if self.known(ssrc) == Some(section) {
            return;
        }
        let known = self.learned.iter().position(|entry| entry.is_some_and(|(known, _)| known == ssrc));
        let slot = known.unwrap_or_else(|| {
            let slot = self.oldest;
            self.oldest = (slot + 1) % LEARNED;
            slot
        });
        self.learned[slot] = Some((ssrc, section));
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::SectionPlan;
    use super::*;

    fn section(section: u8, mid: &str, ssrcs: &[u32], payload_types: &[u8]) -> SectionPlan {
        SectionPlan {
            section,
            mid: Some(mid.into()),
            ssrcs: ssrcs.into(),
            payload_types: payload_types.into(),
        }
    }

    fn demultiplexer(sections: Vec<SectionPlan>) -> Demultiplexer {
        Demultiplexer::new(Arc::new(BundlePlan { mid_extension: Some(3), sections }))
    }

    fn packet(mid: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x90, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0xbe, 0xde, 0, 1];
        match mid {
            [] => packet[0] = 0x80,
            mid => packet.push(0x30 | (mid.len() as u8 - 1)),
        }
        packet.extend(mid);
        packet.resize(20, 0);
        packet
    }

    fn ask(demultiplexer: &mut Demultiplexer, mid: &str, ssrc: u32, payload_type: u8) -> Option<u8> {
        let packet = packet(mid.as_bytes());
        let seen = Seen {
            ssrc,
            payload_type,
            sequence_number: 1,
            timestamp: 0,
            octets: packet.len(),
            section: None,
        };
        demultiplexer.section(&seen, &packet)
    }

    #[test]
    fn mid_goes_before_ssrc_and_ssrc_before_payload_type() {
        let mut sections =
            demultiplexer(vec![section(0, "a", &[7], &[0, 8]), section(2, "v", &[9], &[96, 8])]);
        for (name, mid, ssrc, payload_type, expected) in [
            ("payload type", "", 1, 96, Some(2)),
            ("the same SSRC with a type of the other section", "", 1, 0, Some(2)),
            ("signalled SSRC", "", 9, 0, Some(2)),
            ("mid against both", "a", 9, 96, Some(0)),
            ("what the mid said stays with the SSRC", "", 9, 96, Some(0)),
            ("a mid that no section has", "x", 7, 0, None),
            ("nothing fits", "", 2, 100, None),
            ("payload type of two sections", "", 3, 8, Some(0)),
            ("which tells nothing about the SSRC", "", 3, 96, Some(2)),
        ] {
            assert_eq!(ask(&mut sections, mid, ssrc, payload_type), expected, "{name}");
        }
    }

    #[test]
    fn learned_ssrcs_survive_a_new_plan_and_are_bounded() {
        let both = || vec![section(0, "a", &[], &[0]), section(1, "v", &[], &[96])];
        let mut old = demultiplexer(both());
        assert_eq!(ask(&mut old, "v", 5, 0), Some(1));
        let mut new = demultiplexer(both());
        new.adopt(&old);
        assert_eq!(ask(&mut new, "", 5, 0), Some(1));
        let mut alone = demultiplexer(both()[..1].to_vec());
        alone.adopt(&old);
        assert_eq!(ask(&mut alone, "", 5, 0), Some(0), "its section is gone");
        for ssrc in 100..100 + LEARNED as u32 {
            ask(&mut new, "a", ssrc, 0);
        }
        assert_eq!(ask(&mut new, "", 5, 0), Some(0), "forgotten");
    }
}
