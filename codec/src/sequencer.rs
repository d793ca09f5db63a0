//! Puts packets of one SSRC into sequence: 128 slots, gaps skipped when ten packets wait.
//!
//! The first packet sets the expectation. A packet up to 127 numbers ahead is stored, up to 127 behind it is
//! a duplicate (or came too late), anything else is a reset: what waits is dropped and the packet sets a new
//! expectation, while extended numbers go on. When the expected packet is missing nothing is taken until ten
//! packets wait; a live sequencer also gives up when the newest packet is 60 ms or more ahead of the last one
//! taken, because then waiting longer is worse than the loss.
//!
//! Packets are taken in order, each at most once. Buffers are recycled: no allocation when warm.

use std::time::Instant;

use crate::rtp::RtpPacket;

/// One packet, owned by the sequencer until taken. Buffers are recycled.
#[derive(Clone, Debug)]
pub struct SequencedPacket {
    /// Sequence number extended to 64 bits by counting wrap-arounds.
    pub extended_sequence: u64,
    /// RTP timestamp.
    pub timestamp: u32,
    /// Payload type.
    pub payload_type: u8,
    /// Marker bit.
    pub marker: bool,
    /// When it was received.
    pub arrival: Instant,
    /// Packets missing directly before this one.
    pub lost_before: u32,
    /// Payload without padding.
    pub payload: Vec<u8>,
}

/// What became of an arriving packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Stored until its turn.
    Accepted,
    /// Dropped: already here, already taken, or its gap was skipped.
    Duplicate,
    /// Stored as the start of a new sequence; what was waiting is gone.
    Reset,
}

/// Counters of one sequencer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SequencerCounters {
    /// Packets stored.
    pub accepted: u64,
    /// Packets dropped as [`Arrival::Duplicate`].
    pub duplicates: u64,
    /// Sequence resets.
    pub resets: u64,
    /// Accepted packets that were not the expected one.
    pub out_of_order: u64,
    /// Numbers skipped because their packet never came.
    pub lost: u64,
    /// Gaps skipped early by the 60 ms rule of live sequencers.
    pub early_skips: u64,
    /// Stored packets that a reset threw away.
    pub discarded: u64,
}

/// Sequencer of one SSRC; see the module documentation for its rules.
#[derive(Debug)]
pub struct Sequencer {
    slots: Box<[Option<SequencedPacket>]>,
    /// The packet last taken; kept so that it can be lent out and its buffer used again.
    current: Option<SequencedPacket>,
    /// `current` came in order while nothing waited, and has not been taken yet: the way of nearly all packets, which spares them the
    /// slots and their memory.
    is_next: bool,
    spare: Vec<Vec<u8>>,
    expected: Option<u64>,
    waiting: usize,
    newest_timestamp: u32,
    /// Ticks of the 60 ms rule; `None` for a sequencer that is not live.
    patience_ticks: Option<u32>,
    counters: SequencerCounters,
}

const SLOTS: usize = 128;
const WAITING_LIMIT: usize = 10;
const PATIENCE_MS: u64 = 60;

impl Default for Sequencer {
    fn default() -> Self {
        Self::new()
    }
}

impl Sequencer {
    /// A sequencer that waits for ten packets before it skips a gap (recording).
    pub fn new() -> Self {
        Self {
            slots: std::iter::repeat_with(|| None).take(SLOTS).collect(),
            current: None,
            is_next: false,
            spare: Vec::with_capacity(SLOTS),
            expected: None,
            waiting: 0,
            newest_timestamp: 0,
            patience_ticks: None,
            counters: SequencerCounters::default(),
        }
    }

    /// A sequencer that also skips a gap when 60 ms of `clock_rate` have passed behind it (live media).
    pub fn live(clock_rate: u32) -> Self {
        let mut sequencer = Self::new();
        sequencer.set_live(clock_rate);
        sequencer
    }

    /// Changes the clock rate of the 60 ms rule, or switches the rule on.
    pub fn set_live(&mut self, clock_rate: u32) {
        self.patience_ticks = Some((u64::from(clock_rate) * PATIENCE_MS / 1000) as u32);
    }

    /// Goes on after a restart: `extended_sequence` is the next number expected.
    pub fn resume_at(&mut self, extended_sequence: u64) {
        self.clear_waiting();
        self.expected = Some(extended_sequence);
    }

    /// Takes an arriving packet; call [`Sequencer::pop`] until it gives nothing afterwards.
    pub fn push(&mut self, now: Instant, packet: &RtpPacket<'_>) -> Arrival {
        let number = packet.sequence_number();
        let mut arrival = Arrival::Accepted;
        let extended = match self.expected {
            None => u64::from(number),
            Some(expected) => {
                let ahead = number.wrapping_sub(expected as u16) as i16;
                if (0..SLOTS as i16).contains(&ahead) {
                    expected + ahead as u64
                } else if (1 - SLOTS as i16..0).contains(&ahead) {
                    self.counters.duplicates += 1;
                    return Arrival::Duplicate;
                } else {
                    arrival = Arrival::Reset;
                    self.counters.resets += 1;
                    self.counters.discarded += self.waiting as u64;
                    self.clear_waiting();
                    extend_after(expected, number)
                }
            }
        };
        if self.expected.is_none() || arrival == Arrival::Reset {
            self.expected = Some(extended);
        } else if self.expected != Some(extended) {
            self.counters.out_of_order += 1;
        }
        if self.waiting == 0 && self.expected == Some(extended) {
            self.expected = Some(extended + 1);
            let buffer = self.current.take().map(|taken| taken.payload).or_else(|| self.spare.pop());
            self.current = Some(SequencedPacket::new(extended, now, packet, buffer.unwrap_or_default()));
            self.is_next = true;
        } else {
            let Some(slot) = self.slots.get_mut(extended as usize % SLOTS) else { return Arrival::Duplicate };
            if slot.is_some() {
                // At most 128 consecutive numbers are inside, so the slot holds this very number.
                self.counters.duplicates += 1;
                self.counters.out_of_order = self.counters.out_of_order.saturating_sub(1);
                return Arrival::Duplicate;
            }
            let buffer = self.spare.pop().unwrap_or_default();
            *slot = Some(SequencedPacket::new(extended, now, packet, buffer));
        }
        self.waiting += 1;
        self.newest_timestamp = packet.timestamp();
        self.counters.accepted += 1;
        arrival
    }

    /// The next packet in order, if it is here or its predecessors are given up.
    pub fn pop(&mut self) -> Option<&SequencedPacket> {
        if self.waiting == 0 {
            return None;
        }
        if std::mem::take(&mut self.is_next) {
            self.waiting -= 1;
            return self.current.as_ref();
        }
        let expected = self.expected?;
        if self.slots[expected as usize % SLOTS].is_some() {
            return self.take(expected, 0);
        }
        if self.waiting < WAITING_LIMIT {
            if !self.is_out_of_patience() {
                return None;
            }
            self.counters.early_skips += 1;
        }
        self.take_next_stored()
    }

    /// The next packet in order, without waiting for those missing before it (end of a stream).
    pub fn pop_unconditionally(&mut self) -> Option<&SequencedPacket> {
        if self.waiting == 0 || self.is_next { self.pop() } else { self.take_next_stored() }
    }

    /// Packets that are stored.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// The next extended number that will be taken; `None` before the first packet.
    pub fn expected(&self) -> Option<u64> {
        self.expected.map(|expected| expected - u64::from(self.is_next))
    }

    /// What happened so far.
    pub fn counters(&self) -> SequencerCounters {
        self.counters
    }

    fn is_out_of_patience(&self) -> bool {
        let (Some(patience), Some(last)) = (self.patience_ticks, &self.current) else { return false };
        let ahead = self.newest_timestamp.wrapping_sub(last.timestamp);
        ahead >= patience && ahead <= i32::MAX as u32
    }

    fn take_next_stored(&mut self) -> Option<&SequencedPacket> {
        let expected = self.expected?;
        let skip =
            (0..SLOTS as u64).find(|ahead| self.slots[(expected + ahead) as usize % SLOTS].is_some())?;
        self.take(expected + skip, skip as u32)
    }

    fn take(&mut self, extended: u64, lost_before: u32) -> Option<&SequencedPacket> {
        let mut packet = self.slots[extended as usize % SLOTS].take()?;
        packet.lost_before = lost_before;
        self.counters.lost += u64::from(lost_before);
        self.waiting -= 1;
        self.expected = Some(extended + 1);
        if let Some(previous) = self.current.replace(packet) {
            self.spare.push(previous.payload);
        }
        self.current.as_ref()
    }

    fn clear_waiting(&mut self) {
        for slot in &mut self.slots {
            if let Some(packet) = slot.take() {
                self.spare.push(packet.payload);
            }
        }
        self.waiting = 0;
        self.is_next = false;
    }
}

impl SequencedPacket {
    fn new(extended_sequence: u64, arrival: Instant, packet: &RtpPacket<'_>, mut payload: Vec<u8>) -> Self {
        payload.clear();
        payload.extend_from_slice(packet.payload());
        Self {
            extended_sequence,
            timestamp: packet.timestamp(),
            payload_type: packet.payload_type(),
            marker: packet.marker(),
            arrival,
            lost_before: 0,
            payload,
        }
    }
}

/// The lowest extended number at or above `expected` that ends in `number`.
fn extend_after(expected: u64, number: u16) -> u64 {
    expected + u64::from(number.wrapping_sub(expected as u16))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rtp::write_header;

    fn octets(number: u16, timestamp: u32) -> Vec<u8> {
        let mut header = [0; 12];
        write_header(&mut header, false, 0, number, timestamp, 1);
        let mut octets = header.to_vec();
        octets.extend_from_slice(&number.to_be_bytes());
        octets
    }

    fn push(sequencer: &mut Sequencer, number: u16) -> Arrival {
        push_at(sequencer, number, u32::from(number) * 160)
    }

    fn push_at(sequencer: &mut Sequencer, number: u16, timestamp: u32) -> Arrival {
        let octets = octets(number, timestamp);
        sequencer.push(Instant::now(), &RtpPacket::parse(&octets).unwrap())
    }

    fn drain(sequencer: &mut Sequencer) -> Vec<u64> {
        std::iter::from_fn(|| sequencer.pop().map(|p| p.extended_sequence)).collect()
    }

    #[test]
    fn reordered_packets_come_out_in_order() {
        let mut s = Sequencer::new();
        let mut taken = Vec::new();
        for number in [5, 7, 6, 9, 8] {
            assert_eq!(push(&mut s, number), Arrival::Accepted);
            taken.extend(drain(&mut s));
        }
        assert_eq!(taken, [5, 6, 7, 8, 9]);
        assert_eq!(s.counters().lost, 0);
        assert_eq!(s.counters().out_of_order, 2);
    }

    #[test]
    fn gap_is_skipped_when_ten_packets_wait() {
        let mut s = Sequencer::new();
        push(&mut s, 1);
        assert_eq!(drain(&mut s), [1]);
        for number in 4..13 {
            push(&mut s, number);
            assert_eq!(drain(&mut s), [0; 0], "{number}");
        }
        push(&mut s, 13);
        let first = s.pop().unwrap();
        assert_eq!((first.extended_sequence, first.lost_before), (4, 2));
        assert_eq!(drain(&mut s), (5..=13).collect::<Vec<_>>());
        assert_eq!(s.counters().lost, 2);
        assert_eq!(push(&mut s, 2), Arrival::Duplicate);
    }

    #[test]
    fn window_edges_decide_between_stored_duplicate_and_reset() {
        for (offset, expected) in [
            (127, Arrival::Accepted),
            (128, Arrival::Reset),
            (-1, Arrival::Duplicate),
            (-127, Arrival::Duplicate),
            (-128, Arrival::Reset),
            (30_000, Arrival::Reset),
        ] {
            let mut s = Sequencer::new();
            push(&mut s, 999);
            drain(&mut s);
            assert_eq!(push(&mut s, (1000 + offset) as u16), expected, "{offset}");
        }
    }

    #[test]
    fn reset_empties_the_buffer_and_extended_numbers_go_on() {
        let mut s = Sequencer::new();
        push(&mut s, 65_000);
        drain(&mut s);
        push(&mut s, 65_002);
        assert_eq!(push(&mut s, 100), Arrival::Reset);
        let taken = drain(&mut s);
        assert_eq!(taken, [65_536 + 100]);
        assert_eq!(s.counters().discarded, 1);
        assert_eq!(s.waiting(), 0);
    }

    #[test]
    fn live_sequencer_gives_up_after_60_ms() {
        let mut s = Sequencer::live(8000);
        push_at(&mut s, 1, 0);
        drain(&mut s);
        push_at(&mut s, 3, 320);
        assert_eq!(drain(&mut s), [0; 0]);
        push_at(&mut s, 4, 480);
        assert_eq!(drain(&mut s), [3, 4]);
        assert_eq!(s.counters().early_skips, 1);
        assert_eq!(s.counters().lost, 1);
    }

    #[test]
    fn end_of_stream_takes_what_waits() {
        let mut s = Sequencer::new();
        for number in [1, 3, 6] {
            push(&mut s, number);
        }
        assert_eq!(drain(&mut s), [1]);
        assert_eq!(s.pop_unconditionally().map(|p| (p.extended_sequence, p.lost_before)), Some((3, 1)));
        assert_eq!(s.pop_unconditionally().map(|p| (p.extended_sequence, p.lost_before)), Some((6, 2)));
        assert!(s.pop_unconditionally().is_none());
    }

    #[test]
    fn resumed_sequencer_continues_extended_numbers() {
        let mut s = Sequencer::new();
        s.resume_at(3 * 65_536 + 10);
        push(&mut s, 10);
        assert_eq!(drain(&mut s), [3 * 65_536 + 10]);
    }

    proptest! {
        #[test]
        fn any_arrival_order_gives_unique_packets_in_order(
            start in any::<u16>(),
            steps in proptest::collection::vec((0u16..40, 0usize..3), 1..600),
            wild in proptest::collection::vec((0usize..600, any::<u16>()), 0..4),
            live in any::<bool>(),
        ) {
            let mut s = if live { Sequencer::live(8000) } else { Sequencer::new() };
            let mut previous: Option<u64> = None;
            let (mut accepted, mut taken_count) = (0, 0);
            for (i, (jitter, copies)) in steps.iter().enumerate() {
                let base = start.wrapping_add(i as u16);
                for _ in 0..*copies {
                    let number = match wild.iter().find(|(at, _)| *at == i) {
                        Some((_, number)) => *number,
                        None => base.wrapping_sub(*jitter),
                    };
                    if push_at(&mut s, number, u32::from(number) * 160) != Arrival::Duplicate {
                        accepted += 1;
                    }
                    while let Some(packet) = s.pop() {
                        prop_assert!(previous.is_none_or(|p| packet.extended_sequence > p));
                        prop_assert_eq!(&packet.payload[..], &(packet.extended_sequence as u16).to_be_bytes()[..]);
                        previous = Some(packet.extended_sequence);
                        taken_count += 1;
                    }
                }
            }
            while let Some(packet) = s.pop_unconditionally() {
                prop_assert!(previous.is_none_or(|p| packet.extended_sequence > p));
                previous = Some(packet.extended_sequence);
                taken_count += 1;
            }
            prop_assert_eq!(taken_count + s.counters().discarded, accepted);
        }
    }
}
