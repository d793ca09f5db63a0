//! Packet indices of one SSRC: the roll-over counter and which indices were used (RFC 3711 §3.3.1, §3.3.2).

/// Highest index and the replay list behind it, for one SSRC and one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    highest: u64,
    /// Bit i: `highest - i` was used.
    used: u128,
}

/// Indices in the replay list.
const SIZE: u64 = 128;
/// The last index of an SRTP master key: 2^48 packets.
const LAST_RTP: u64 = (1 << 48) - 1;

impl Window {
    /// After the first packet, which has this index.
    pub fn starting_at(index: u64) -> Self {
        Self { highest: index, used: 1 }
    }

    /// The highest index that was used.
    pub fn highest(&self) -> u64 {
        self.highest
    }

    /// As another instance left it: everything up to this index counts as used.
    pub fn behind(index: u64) -> Self {
        Self { highest: index.min(LAST_RTP), used: u128::MAX }
    }

    /// As a forwarder left it that knows which of the last 64 indices it has seen; everything before counts as used.
    pub fn resumed(index: u64, seen: u64) -> Self {
        Self { highest: index.min(LAST_RTP), used: u128::MAX << 64 | u128::from(seen) | 1 }
    }

    /// The index of an SRTP packet: the one next to the highest whose low 16 bits are the sequence number.
    /// `None` when all 2^48 indices have been used.
    ///
    /// In the first cycle nothing can have come before, so that a jump of more than half the sequence numbers
    /// counts forward.
    pub fn rtp_index(&self, sequence_number: u16) -> Option<u64> {
        let step = sequence_number.wrapping_sub(self.highest as u16) as i16;
        let index = match self.highest.checked_add_signed(i64::from(step)) {
            // Half a cycle away counts as the same cycle.
            Some(_) if step == i16::MIN => self.highest & !0xffff | u64::from(sequence_number),
            Some(index) => index,
            None => u64::from(sequence_number),
        };
        (index <= LAST_RTP).then_some(index)
    }

    /// Whether the index was used, or is so old that this is no longer known.
    pub fn was_used(&self, index: u64) -> bool {
        match self.highest.checked_sub(index) {
            None => false,
            Some(behind) => behind >= SIZE || self.used >> behind & 1 == 1,
        }
    }

    /// Marks an index as used.
    pub fn mark(&mut self, index: u64) {
        match index.checked_sub(self.highest) {
            None => {
                let behind = self.highest - index;
                if behind < SIZE {
                    self.used |= 1 << behind;
                }
            }
            Some(ahead) => {
                self.used = if ahead < SIZE { self.used << ahead | 1 } else { 1 };
                self.highest = index;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_follows_the_sequence_number_over_the_wrap() {
        const CASES: &[(&str, u64, u16, Option<u64>)] = &[
            ("next", 10, 11, Some(11)),
            ("late", 10, 3, Some(3)),
            ("far ahead in the first cycle", 10, 40_000, Some(40_000)),
            ("lost up to the wrap", 65_000, 5, Some(0x1_0005)),
            ("late over the wrap", 0x1_0002, 65_534, Some(65_534)),
            ("reordered around the wrap", 0x1_0000, 65_535, Some(65_535)),
            ("half a cycle ahead", 0x1_0000, 0x7fff, Some(0x1_7fff)),
            ("half a cycle behind", 0x1_8000, 0x0000, Some(0x1_0000)),
            ("exactly half a cycle ahead", 0x1_0005, 0x8005, Some(0x1_8005)),
            ("roll-over counter wraps", (1 << 48) - 1, 0, None),
            ("late before the end", (1 << 48) - 1, 65_530, Some((1 << 48) - 6)),
            ("last", (1 << 48) - 2, 65_535, Some((1 << 48) - 1)),
            ("2^32 - 1 cycles begin", (1 << 48) - 0x1_0001, 0, Some((1 << 48) - 0x1_0000)),
        ];
        for (name, highest, sequence_number, index) in CASES {
            assert_eq!(Window::starting_at(*highest).rtp_index(*sequence_number), *index, "{name}");
        }
    }

    #[test]
    fn used_and_too_old_indices_are_known() {
        let mut window = Window::starting_at(1000);
        for index in [1001, 1003, 1010] {
            assert!(!window.was_used(index));
            window.mark(index);
        }
        for (index, used) in
            [(1010, true), (1003, true), (1002, false), (1011, false), (883, false), (882, true)]
        {
            assert_eq!(window.was_used(index), used, "{index}");
        }
        window.mark(1002);
        assert!(window.was_used(1002));
        window.mark(1002 + 10_000);
        assert!(window.was_used(1010) && !window.was_used(11_001));
        window.mark(3);
        assert!(window.was_used(11_002));
    }

    #[test]
    fn what_another_forwarder_has_seen_is_used() {
        let window = Window::resumed(1000, 0b1011);
        for (index, used) in
            [(1000, true), (999, true), (998, false), (997, true), (936, true), (1001, false)]
        {
            assert_eq!(window.was_used(index), used, "{index}");
        }
    }
}
