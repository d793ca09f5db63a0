//! Sequence numbers of a transcoded stream and of the stream it was made from, for RTCP reports.

use super::ssrc::extend;

/// Outgoing packets that are remembered: five seconds at 20 ms, more than any report is old.
const WINDOW: usize = 256;
/// A step further than this is a new start of the source (RFC 3550 appendix A.1).
const MAX_JUMP: u64 = 3000;

/// Which packet of the source was the newest when an outgoing packet was made.
pub struct Numbering {
    /// Highest extended sequence number received; `None` before the first packet.
    highest: Option<u64>,
    /// The last packet made.
    newest_made: Option<u16>,
    /// Packets remembered, [`WINDOW`] at most.
    remembered: usize,
    /// By the low octet of the outgoing number: low half of `highest` at that time.
    recent: [u16; WINDOW],
}

impl Numbering {
    pub fn new() -> Self {
        Self { highest: None, newest_made: None, remembered: 0, recent: [0; WINDOW] }
    }

    /// A packet of the source arrived.
    pub fn received(&mut self, sequence_number: u16) {
        let Some(highest) = self.highest else {
            self.highest = Some(u64::from(sequence_number));
            return;
        };
        let extended = extend(highest, sequence_number);
        if extended > highest {
            self.highest = Some(extended);
        } else if highest - extended > MAX_JUMP {
            // The source began anew behind: who receives it counts a cycle.
            self.highest = Some(extended + 0x1_0000);
        }
    }

    /// A packet was made from what has been received.
    pub fn made(&mut self, sequence_number: u16) {
        let low = self.highest.unwrap_or(0) as u16;
        // Numbers that were left out for lost packets stand for the packets before.
        let step = self.newest_made.map_or(1, |newest| sequence_number.wrapping_sub(newest));
        for back in 0..step.clamp(1, WINDOW as u16) {
            self.recent[usize::from(sequence_number.wrapping_sub(back) as u8)] = low.wrapping_sub(back);
        }
        self.remembered = (self.remembered + usize::from(step)).min(WINDOW);
        self.newest_made = Some(sequence_number);
    }

    /// The extended highest sequence number that a receiver of the source would report, when the receiver of
    /// what is made reports `outgoing`; `None` when nothing was made yet.
    pub fn source_of(&self, outgoing: u32) -> Option<u32> {
        let (highest, newest) = (self.highest?, self.newest_made?);
        let age = newest.wrapping_sub(outgoing as u16);
        let behind = if usize::from(age) < self.remembered {
            (highest as u16).wrapping_sub(self.recent[usize::from(outgoing as u8)])
        } else if age < 0x8000 {
            age
        } else {
            // Never sent.
            0
        };
        Some(highest.saturating_sub(u64::from(behind)) as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reported_number_is_that_of_the_packet_it_was_made_from() {
        let mut numbering = Numbering::new();
        assert_eq!(numbering.source_of(7), None);
        // 65 530 … 65 535, 0 … 93: two packets in make one packet out, from 65 500 on.
        for step in 0..100u16 {
            numbering.received(65_530u16.wrapping_add(step));
            if step % 2 == 1 {
                numbering.made(65_500u16.wrapping_add(step / 2));
            }
        }
        const CASES: &[(&str, u32, u32)] = &[
            ("newest", 65_549 & 0xffff, 0x1_0000 + 93),
            ("other cycle of the receiver", (65_500 + 35) | (3 << 16), 0x1_0000 + 65),
            ("before the wrap", 65_500, 65_531),
            ("never sent", 70, 0x1_0000 + 93),
        ];
        for (name, outgoing, source) in CASES {
            assert_eq!(numbering.source_of(*outgoing), Some(*source), "{name}");
        }
    }

    #[test]
    fn reorder_and_restart_of_the_source() {
        let mut numbering = Numbering::new();
        for number in [100, 102, 101] {
            numbering.received(number);
        }
        numbering.made(1);
        assert_eq!(numbering.source_of(1), Some(102));
        numbering.received(30_000);
        numbering.received(20_000);
        numbering.made(2);
        assert_eq!(numbering.source_of(2), Some(0x1_0000 + 20_000));
    }

    #[test]
    fn number_left_out_for_a_lost_packet_counts_back() {
        let mut numbering = Numbering::new();
        for (number, made) in [(10, 50), (13, 53)] {
            numbering.received(number);
            numbering.made(made);
        }
        assert_eq!([50, 51, 52, 53].map(|n| numbering.source_of(n)), [10, 11, 12, 13].map(Some));
    }
}
