//! Sequence numbers of a stream that packets are taken from and added to on its way.

/// A step back further than this is a new start of the source (RFC 3550 appendix A.1).
const MAX_JUMP: u16 = 3000;

/// From the source's numbers to those that leave.
///
/// A packet that is taken out leaves no gap, one that is added gets a number of its own. A packet that comes late is numbered as it
/// would have been before the last change.
#[derive(Clone, Copy, Debug, Default)]
pub struct Renumber {
    /// What is added to numbers from `changed_at` on.
    offset: u16,
    /// What was added before.
    previous: u16,
    changed_at: u16,
    /// Newest number of the source.
    highest: Option<u16>,
}

impl Renumber {
    /// A packet of the source arrived; `true` when it is newer than all before.
    pub fn received(&mut self, sequence_number: u16) -> bool {
        let restarted = self.highest.is_none_or(|highest| {
            let behind = highest.wrapping_sub(sequence_number);
            (MAX_JUMP..0x8000).contains(&behind)
        });
        let newer = restarted || self.highest.is_some_and(|highest| is_newer(sequence_number, highest));
        if newer {
            if restarted {
                self.changed_at = sequence_number;
                self.previous = self.offset;
            }
            self.highest = Some(sequence_number);
            // So far behind that it would soon count as ahead.
            if sequence_number.wrapping_sub(self.changed_at) > 0x4000 {
                self.changed_at = sequence_number.wrapping_sub(0x1000);
                self.previous = self.offset;
            }
        }
        newer
    }

    /// The number with which a packet of the source leaves.
    pub fn number(&self, sequence_number: u16) -> u16 {
        let late = is_newer(self.changed_at, sequence_number);
        sequence_number.wrapping_add(if late { self.previous } else { self.offset })
    }

    /// The packet that [`Renumber::received`] called newest does not leave.
    pub fn take_out(&mut self, sequence_number: u16) {
        self.change(sequence_number.wrapping_add(1), self.offset.wrapping_sub(1));
    }

    /// The number of a packet that is added behind the newest; `None` before the first one.
    pub fn add(&mut self) -> Option<u16> {
        let next = self.highest?.wrapping_add(1);
        let number = next.wrapping_add(self.offset);
        self.change(next, self.offset.wrapping_add(1));
        Some(number)
    }

    /// Numbers leave as they came.
    pub fn is_identity(&self) -> bool {
        self.offset == 0
    }

    fn change(&mut self, at: u16, offset: u16) {
        if at != self.changed_at {
            self.previous = self.offset;
        }
        self.changed_at = at;
        self.offset = offset;
    }
}

fn is_newer(number: u16, than: u16) -> bool {
    number != than && number.wrapping_sub(than) < 0x8000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_out_and_added_leaves_no_gap() {
        let mut numbers = Renumber::default();
        assert_eq!(numbers.add(), None, "nothing to join yet");
        let mut left = Vec::new();
        for step in 0..8u16 {
            let number = 65_533u16.wrapping_add(step);
            assert!(numbers.received(number));
            match step {
                2 | 3 => numbers.take_out(number),
                _ => left.push(numbers.number(number)),
            }
            if step == 5 {
                left.extend([numbers.add(), numbers.add(), numbers.add()].map(Option::unwrap));
            }
        }
        let expected: Vec<u16> = (0..9u16).map(|step| 65_533u16.wrapping_add(step)).collect();
        assert_eq!(left, expected);
    }

    #[test]
    fn late_packet_has_the_number_it_would_have_had() {
        let mut numbers = Renumber::default();
        for number in [10, 11, 13] {
            numbers.received(number);
        }
        assert_eq!(numbers.add(), Some(14));
        assert_eq!(numbers.add(), Some(15));
        assert!(!numbers.received(12));
        assert_eq!(numbers.number(12), 12);
        assert!(numbers.received(14));
        assert_eq!(numbers.number(14), 16);
    }

    #[test]
    fn source_that_starts_anew_keeps_the_offset() {
        let mut numbers = Renumber::default();
        numbers.received(40_000);
        numbers.add();
        for number in 20_000..20_003 {
            assert!(numbers.received(number));
            assert_eq!(numbers.number(number), number + 1);
        }
    }

    #[test]
    fn long_streams_keep_their_offset() {
        let mut numbers = Renumber::default();
        numbers.received(0);
        numbers.add();
        for number in 1..200_000u32 {
            assert!(numbers.received(number as u16), "{number}");
            assert_eq!(numbers.number(number as u16), (number as u16).wrapping_add(1), "{number}");
        }
    }
}
