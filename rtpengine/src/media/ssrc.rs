//! Per-SSRC bookkeeping of received packets: loss and duplicates by extended sequence number, jitter.

use std::sync::atomic::Ordering::Relaxed;

use smallvec::SmallVec;

use super::offload::Track;
use super::stats::{SSRC_SLOTS, SsrcShared, SsrcSlots};

/// A jump further than this, forwards or backwards, is a new start and not loss (RFC 3550 appendix A.1).
const MAX_JUMP: u64 = 3000;

/// What one packet told.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    pub ssrc: u32,
    pub payload_type: u8,
    pub sequence_number: u16,
    pub timestamp: u32,
    pub octets: usize,
    /// On a port that several media sections share.
    pub section: Option<u8>,
}

/// What the sequence number of a received packet says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The next one, or the start of a new sequence.
    InOrder,
    /// So many packets before it have not come.
    AfterLoss(u64),
    /// Had been counted as lost.
    Late,
    Duplicate,
}

/// The worker's private half of one direction's SSRC slots; the public half is in `StreamShared`.
#[derive(Default)]
pub struct SsrcTable {
    /// Slot of the last packet: nearly always the next one's as well.
    recent: u8,
    /// Slot to be replaced next, once all are used.
    oldest: u8,
    /// An SSRC has come that was not known before.
    is_new: bool,
    /// Nearly always one.
    tracks: SmallVec<[Private; 1]>,
}

#[derive(Clone, Copy, Default)]
struct Private {
    ssrc: u32,
    used: bool,
    payload_type: u8,
    clock_rate: u32,
    highest: u64,
    /// Bit i: `highest - i` was received.
    window: u64,
    arrival_us: u64,
    timestamp: u32,
    /// RFC 3550 §6.4.1, in microseconds, scaled by 16.
    jitter_16us: u64,
}

impl SsrcTable {
    /// The table of a stream that another worker or instance has counted at: its SSRCs keep their slots and numbers, and go on with the
    /// first packet. Whether any were lost meanwhile cannot be known.
    pub fn behind(shared: &SsrcSlots) -> Self {
        let counted = shared.iter().take_while(|slot| slot.packets.get() > 0);
        let waiting = counted.map(|slot| Private {
            ssrc: slot.ssrc.load(Relaxed),
            highest: slot.last_sequence.get(),
            ..Private::default()
        });
        Self { tracks: waiting.collect(), ..Self::default() }
    }

    /// Slots of `shared` that packets of this SSRC are counted in; a new SSRC replaces the oldest.
    fn slot(&mut self, ssrc: u32, shared: &SsrcSlots) -> usize {
        let recent = usize::from(self.recent);
        if self.tracks.get(recent).is_some_and(|track| track.used && track.ssrc == ssrc) {
            return recent;
        }
        let slot = self.position(ssrc).or_else(|| self.waiting(ssrc)).unwrap_or_else(|| {
            let new = Private { ssrc, ..Private::default() };
            self.is_new = true;
            let slot = if self.tracks.len() < SSRC_SLOTS {
                self.tracks.push(new);
                self.tracks.len() - 1
            } else {
                let slot = usize::from(self.oldest);
                self.oldest = ((slot + 1) % SSRC_SLOTS) as u8;
                self.tracks[slot] = new;
                slot
            };
            if let Some(shared) = shared.make(slot) {
                shared.reset(ssrc);
            }
            slot
        });
        self.recent = slot as u8;
        slot
    }

    /// The slot of an SSRC that packets were counted of [elsewhere](Self::behind).
    fn waiting(&mut self, ssrc: u32) -> Option<usize> {
        let waiting = self.tracks.iter().position(|track| !track.used && track.ssrc == ssrc)?;
        self.is_new = true;
        Some(waiting)
    }

    /// The slot of an SSRC of which packets were counted.
    pub fn position(&self, ssrc: u32) -> Option<usize> {
        self.tracks.iter().position(|t| t.used && t.ssrc == ssrc)
    }

    /// An SSRC has come that nobody has [taken](Self::take_new) notice of.
    #[inline]
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// Notice is taken.
    pub fn take_new(&mut self) {
        self.is_new = false;
    }

    /// Payload type of the last packet in a slot.
    pub fn payload_type(&self, position: usize) -> u8 {
        self.tracks.get(position).map_or(0, |track| track.payload_type)
    }

    /// Payload type of the last packet of all.
    pub fn recent_payload_type(&self) -> u8 {
        self.payload_type(usize::from(self.recent))
    }

    /// The packet goes on where those that were counted last ended: same SSRC, and one of the next `gap` sequence numbers.
    pub fn continues(&self, seen: &Seen, gap: u16) -> bool {
        let Some(track) = self.tracks.get(usize::from(self.recent)) else { return false };
        let step = seen.sequence_number.wrapping_sub(track.highest as u16);
        track.used && track.ssrc == seen.ssrc && (1..=gap).contains(&step)
    }

    /// No packet of its SSRC with a later sequence number was counted.
    pub fn is_newest(&self, seen: &Seen) -> bool {
        let track = self.position(seen.ssrc).and_then(|position| self.tracks.get(position));
        track.is_none_or(|track| extend(track.highest, seen.sequence_number) > track.highest)
    }

    /// The SSRCs of which packets were counted, with their slots.
    pub fn tracks(&self) -> impl Iterator<Item = (usize, Track)> {
        self.tracks
            .iter()
            .enumerate()
            .filter(|(_, track)| track.used)
            .map(|(slot, track)| (slot, track.export()))
    }

    /// Goes on where somebody else has got to who received packets meanwhile; those are counted, too. Returns by how much the losses
    /// have changed, as far as these can fall.
    pub fn went_on(&mut self, track: &Track, growth: Growth, shared: &SsrcSlots) -> i64 {
        let slot = self.slot(track.ssrc, shared);
        let (Some(own), Some(shared)) = (self.tracks.get_mut(slot), shared.get(slot)) else { return 0 };
        *own = Private::import(track);
        shared.packets.add(growth.packets);
        shared.octets.add(growth.octets);
        shared.duplicates.add(growth.duplicates);
        let lost = shared.lost.get();
        shared.lost.set(lost.saturating_add_signed(growth.lost));
        shared.last_sequence.set(own.highest);
        shared.last_timestamp.set(u64::from(own.timestamp));
        shared.jitter_us.set(own.jitter_16us / 16);
        shared.payload_type.store(u32::from(own.payload_type), Relaxed);
        shared.lost.get() as i64 - lost as i64
    }

    /// Counts packets that somebody else has sent meanwhile.
    pub fn were_sent(&mut self, last: Seen, packets: u64, octets: u64, shared: &SsrcSlots) {
        if packets == 0 {
            return;
        }
        self.sent(Seen { octets: 0, ..last }, shared);
        let slot = self.slot(last.ssrc, shared);
        if let Some(shared) = shared.get(slot) {
            shared.packets.add(packets - 1);
            shared.octets.add(octets);
        }
    }

    /// Whether packets of this SSRC were counted and it has not been replaced since.
    pub fn knows(&self, ssrc: u32) -> bool {
        self.position(ssrc).is_some()
    }

    /// Counts a received packet and tells what its sequence number says. `clock_rate` is asked when the payload type is
    /// new.
    pub fn received(
        &mut self,
        seen: Seen,
        arrival_us: u64,
        shared: &SsrcSlots,
        clock_rate: impl FnOnce(u8) -> u32,
    ) -> Arrival {
        let slot = self.slot(seen.ssrc, shared);
        let (track, Some(shared)) = (&mut self.tracks[slot], shared.get(slot)) else {
            return Arrival::InOrder;
        };
        shared.packets.add(1);
        shared.octets.add(seen.octets as u64);
        let first = !track.used;
        if first || track.payload_type != seen.payload_type {
            track.payload_type = seen.payload_type;
            track.clock_rate = clock_rate(seen.payload_type);
            shared.payload_type.store(u32::from(seen.payload_type), Relaxed);
        }
        let arrival = if first {
            track.used = true;
            track.highest = extend(track.highest, seen.sequence_number);
            track.window = 1;
            Arrival::InOrder
        } else {
            track.jitter(seen.timestamp, arrival_us);
            track.sequence(seen.sequence_number, shared)
        };
        track.arrival_us = arrival_us;
        track.timestamp = seen.timestamp;
        shared.last_sequence.set(track.highest);
        shared.last_timestamp.set(u64::from(seen.timestamp));
        shared.jitter_us.set(track.jitter_16us / 16);
        arrival
    }

    /// Counts a sent packet.
    pub fn sent(&mut self, seen: Seen, shared: &SsrcSlots) {
        let slot = self.slot(seen.ssrc, shared);
        let (track, Some(shared)) = (&mut self.tracks[slot], shared.get(slot)) else { return };
        if !track.used {
            track.used = true;
            track.highest = extend(track.highest, seen.sequence_number);
        } else {
            track.highest = track.highest.max(extend(track.highest, seen.sequence_number));
        }
        track.payload_type = seen.payload_type;
        shared.packets.add(1);
        shared.octets.add(seen.octets as u64);
        shared.last_sequence.set(track.highest);
        shared.last_timestamp.set(u64::from(seen.timestamp));
        shared.payload_type.store(u32::from(seen.payload_type), Relaxed);
    }
}

/// What was received meanwhile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Growth {
    pub packets: u64,
    pub octets: u64,
    pub lost: i64,
    pub duplicates: u64,
}

impl Private {
    fn export(&self) -> Track {
        Track {
            ssrc: self.ssrc,
            payload_type: self.payload_type,
            clock_rate: self.clock_rate,
            highest: self.highest,
            window: self.window,
            arrival_us: self.arrival_us,
            timestamp: self.timestamp,
            jitter_16us: self.jitter_16us,
        }
    }

    fn import(track: &Track) -> Self {
        Self {
            ssrc: track.ssrc,
            used: true,
            payload_type: track.payload_type,
            clock_rate: track.clock_rate,
            highest: track.highest,
            window: track.window,
            arrival_us: track.arrival_us,
            timestamp: track.timestamp,
            jitter_16us: track.jitter_16us,
        }
    }

    fn sequence(&mut self, sequence_number: u16, shared: &SsrcShared) -> Arrival {
        let extended = extend(self.highest, sequence_number);
        if extended > self.highest {
            let step = extended - self.highest;
            self.highest = extended;
            if step > MAX_JUMP {
                self.window = 1;
                return Arrival::InOrder;
            }
            self.window = if step < 64 { self.window << step | 1 } else { 1 };
            if step == 1 {
                return Arrival::InOrder;
            }
            shared.lost.add(step - 1);
            return Arrival::AfterLoss(step - 1);
        }
        let behind = self.highest - extended;
        if behind > MAX_JUMP {
            self.highest = extended;
            self.window = 1;
            Arrival::InOrder
        } else if behind >= 64 || self.window >> behind & 1 == 1 {
            shared.duplicates.add(1);
            Arrival::Duplicate
        } else {
            // Late, not lost.
            self.window |= 1 << behind;
            shared.lost.sub(1);
            Arrival::Late
        }
    }

    fn jitter(&mut self, timestamp: u32, arrival_us: u64) {
        if self.clock_rate == 0 {
            return;
        }
        let media =
            i64::from(timestamp.wrapping_sub(self.timestamp) as i32) * 1_000_000 / i64::from(self.clock_rate);
        let elapsed = arrival_us.wrapping_sub(self.arrival_us) as i64;
        let difference = elapsed.wrapping_sub(media).unsigned_abs();
        // A pause or a change of the time base is not jitter.
        if difference < 5_000_000 {
            self.jitter_16us = self.jitter_16us + difference - (self.jitter_16us + 8) / 16;
        }
    }
}

/// The extended number nearest to `highest` whose low 16 bits are `sequence_number`.
pub fn extend(highest: u64, sequence_number: u16) -> u64 {
    let step = sequence_number.wrapping_sub(highest as u16) as i16;
    // Before the first cycle there is nothing behind zero: count that as a cycle ahead.
    highest.checked_add_signed(i64::from(step)).unwrap_or(highest + u64::from(step as u16))
}

impl SsrcShared {
    fn reset(&self, ssrc: u32) {
        for counter in [
            &self.packets,
            &self.octets,
            &self.lost,
            &self.duplicates,
            &self.last_sequence,
            &self.last_timestamp,
            &self.jitter_us,
        ] {
            counter.set(0);
        }
        self.payload_type.store(0, Relaxed);
        self.ssrc.store(ssrc, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(packets: &[(u32, u16)]) -> SsrcSlots {
        let shared = SsrcSlots::default();
        let mut table = SsrcTable::default();
        for (index, (ssrc, sequence_number)) in packets.iter().enumerate() {
            let seen = Seen {
                ssrc: *ssrc,
                payload_type: 0,
                sequence_number: *sequence_number,
                timestamp: index as u32 * 160,
                octets: 172,
                section: None,
            };
            table.received(seen, index as u64 * 20_000, &shared, |_| 8000);
        }
        shared
    }

    #[test]
    fn loss_and_duplicates_by_sequence_number() {
        const CASES: &[(&str, &[u16], u64, u64)] = &[
            ("in order", &[1, 2, 3, 4], 0, 0),
            ("one lost", &[1, 2, 4], 1, 0),
            ("late is not lost", &[1, 3, 2, 4], 0, 0),
            ("twice", &[1, 2, 2, 3, 1], 0, 2),
            ("wrap", &[65_534, 65_535, 1, 0, 2], 0, 0),
            ("lost over the wrap", &[65_534, 2], 3, 0),
            ("reset", &[100, 101, 30_000, 30_001, 30_003], 1, 0),
        ];
        for (name, sequence, lost, duplicates) in CASES {
            let packets: Vec<_> = sequence.iter().map(|s| (9, *s)).collect();
            let shared = feed(&packets);
            let shared = shared.get(0).expect("the first");
            assert_eq!((shared.lost.get(), shared.duplicates.get()), (*lost, *duplicates), "{name}");
            assert_eq!(shared.packets.get(), sequence.len() as u64, "{name}");
        }
    }

    #[test]
    fn steady_stream_has_no_jitter_and_an_early_packet_has() {
        let jitter = |shared: &SsrcSlots| shared.get(0).map(|first| first.jitter_us.get());
        assert_eq!(jitter(&feed(&[(1, 1), (1, 2), (1, 3)])), Some(0));
        let shared = SsrcSlots::default();
        let mut table = SsrcTable::default();
        for (index, arrival) in [0u64, 20_000, 48_000].into_iter().enumerate() {
            let seen = Seen {
                ssrc: 1,
                payload_type: 0,
                sequence_number: index as u16,
                timestamp: index as u32 * 160,
                octets: 172,
                section: None,
            };
            table.received(seen, arrival, &shared, |_| 8000);
        }
        assert_eq!(jitter(&shared), Some(500));
    }

    #[test]
    fn one_ssrc_more_than_there_are_slots_replaces_the_first() {
        let last = SSRC_SLOTS as u32 + 1;
        let mut packets: Vec<(u32, u16)> = (1..=last).map(|ssrc| (ssrc, 1)).collect();
        packets.push((2, 2));
        let counts: Vec<_> = feed(&packets).iter().map(|s| (s.ssrc.load(Relaxed), s.packets.get())).collect();
        assert_eq!(counts[..3], [(last, 1), (2, 2), (3, 1)]);
        assert_eq!(counts.len(), SSRC_SLOTS);
    }

    #[test]
    fn ssrcs_that_somebody_else_has_counted_go_on_in_their_slots() {
        let shared = feed(&[(1, 65_534), (2, 7), (1, 0)]);
        let mut table = SsrcTable::behind(&shared);
        assert!(!table.knows(1) && table.tracks().next().is_none(), "nobody has been heard here");
        let seen = |ssrc, sequence_number| Seen {
            ssrc,
            payload_type: 0,
            sequence_number,
            timestamp: 0,
            octets: 172,
            section: None,
        };
        // What was lost meanwhile is not.
        for (ssrc, sequence_number) in [(1, 5), (3, 9), (1, 6), (2, 9), (1, 8)] {
            table.received(seen(ssrc, sequence_number), 0, &shared, |_| 8000);
            assert!(table.knows(ssrc) && table.is_new());
        }
        let of = |slot: &SsrcShared| {
            (slot.ssrc.load(Relaxed), slot.packets.get(), slot.lost.get(), slot.last_sequence.get())
        };
        let slots: Vec<_> = shared.iter().take(4).map(of).collect();
        assert_eq!(slots, [(1, 5, 2, 65_536 + 8), (2, 2, 0, 9), (3, 1, 0, 9), (0, 0, 0, 0)]);
    }

    #[test]
    fn a_single_ssrc_takes_no_more_than_its_place() {
        let shared = feed(&[(1, 1), (1, 2)]);
        assert_eq!(shared.iter().count(), 1);
        assert!(shared.get(1).is_none());
    }
}
