//! A ring in which several sources meet in real time: each adds its samples a little ahead of where they are read.
//!
//! ```text
//!            delay
//!  read ▶ ────┼──────────────── capacity
//!  source 1   ▓▓▓▓▓▓▓▓▓
//!  source 2      ▓▓▓▓▓▓▓▓▓▓▓▓▓
//! ```
//!
//! Samples are read packet by packet by somebody who knows the time; what is missing then is silence. A source begins [`MixRing`]'s delay
//! ahead of the reader and goes on by its own timestamps. One that the reader has overtaken begins anew there, so that its delay grows to
//! what its jitter needs; one that would leave the ring loses what does not fit.

/// The ring; samples of one channel.
#[derive(Debug)]
pub struct MixRing {
    sums: Box<[i32]>,
    /// Position of the next sample that is read; `sums[read % capacity]`.
    read: u64,
    delay: u64,
}

/// Where a source stands.
#[derive(Clone, Copy, Debug, Default)]
pub struct MixTrack {
    /// Position of its next sample, and that sample's timestamp; `None` before the first.
    next: Option<(u64, u32)>,
}

/// What became of samples that were added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Placed {
    /// Samples for which there was no room.
    pub lost: usize,
    /// The source began anew at the delay, because it was late or its timestamps jumped.
    pub restarted: bool,
}

impl MixRing {
    /// A ring of at least one sample; a source begins `delay` samples ahead of the reader.
    pub fn new(capacity: usize, delay: usize) -> Self {
        let capacity = capacity.max(1);
        Self { sums: vec![0; capacity].into(), read: 0, delay: delay.min(capacity - 1) as u64 }
    }

    /// Adds samples of a source. `timestamp` is that of the first one and counts samples. Never allocates.
    pub fn add(
        &mut self,
        track: &mut MixTrack,
        timestamp: u32,
        samples: impl ExactSizeIterator<Item = i16>,
    ) -> Placed {
        let capacity = self.sums.len() as u64;
        let is_known = track.next.is_some();
        let continued = track.next.and_then(|(position, expected)| {
            let ahead = u64::from(timestamp.wrapping_sub(expected));
            (ahead <= capacity).then_some(position + ahead).filter(|position| *position >= self.read)
        });
        let start = continued.unwrap_or(self.read + self.delay);
        let end = self.read + capacity;
        let length = samples.len();
        let fits = usize::try_from(end.saturating_sub(start)).unwrap_or(usize::MAX).min(length);
        let first = (start % capacity) as usize;
        for (offset, sample) in samples.take(fits).enumerate() {
            let index = first + offset;
            let index = if index >= self.sums.len() { index - self.sums.len() } else { index };
            if let Some(sum) = self.sums.get_mut(index) {
                *sum = sum.saturating_add(i32::from(sample));
            }
        }
        track.next = Some((start.min(end) + fits as u64, timestamp.wrapping_add(length as u32)));
        Placed { lost: length - fits, restarted: is_known && continued.is_none() }
    }

    /// Takes the next samples out, as loud as 16 bits allow.
    pub fn read(&mut self, out: &mut [i16]) {
        let capacity = self.sums.len();
        let mut index = (self.read % capacity as u64) as usize;
        for sample in out.iter_mut() {
            *sample = match self.sums.get_mut(index) {
                Some(sum) => std::mem::take(sum).clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16,
                None => 0,
            };
            index = if index + 1 == capacity { 0 } else { index + 1 };
        }
        self.read += out.len() as u64;
    }

    /// Goes on without what would have been read.
    pub fn skip(&mut self, samples: u64) {
        let all = self.sums.len() as u64;
        for position in self.read..self.read + samples.min(all) {
            if let Some(sum) = self.sums.get_mut((position % all) as usize) {
                *sum = 0;
            }
        }
        self.read += samples;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn add(ring: &mut MixRing, track: &mut MixTrack, timestamp: u32, samples: &[i16]) -> Placed {
        ring.add(track, timestamp, samples.iter().copied())
    }

    fn read(ring: &mut MixRing, count: usize) -> Vec<i16> {
        let mut out = vec![1; count];
        ring.read(&mut out);
        out
    }

    #[test]
    fn sources_are_added_from_the_delay_on_and_silence_fills_up() {
        let mut ring = MixRing::new(100, 2);
        let (mut a, mut b) = (MixTrack::default(), MixTrack::default());
        add(&mut ring, &mut a, 500, &[10; 4]);
        add(&mut ring, &mut b, 9, &[1; 6]);
        add(&mut ring, &mut a, 504, &[10; 2]);
        assert_eq!(read(&mut ring, 10), [0, 0, 11, 11, 11, 11, 11, 11, 0, 0]);
        assert_eq!(read(&mut ring, 3), [0; 3]);
    }

    #[test]
    fn sums_saturate() {
        let mut ring = MixRing::new(4, 0);
        for level in [i16::MAX, i16::MAX] {
            add(&mut ring, &mut MixTrack::default(), 0, &[level, -level, 1, 1]);
        }
        assert_eq!(read(&mut ring, 4), [i16::MAX, i16::MIN, 2, 2]);
    }

    #[test]
    fn gaps_in_timestamps_are_silence_and_jumps_begin_anew() {
        let mut ring = MixRing::new(50, 0);
        let mut track = MixTrack::default();
        add(&mut ring, &mut track, u32::MAX, &[5; 2]);
        assert!(!add(&mut ring, &mut track, 3, &[6; 2]).restarted, "across the wrap");
        assert_eq!(read(&mut ring, 7), [5, 5, 0, 0, 6, 6, 0]);
        add(&mut ring, &mut track, 6, &[7]);
        assert!(add(&mut ring, &mut track, 1_000_000, &[8]).restarted);
        assert!(add(&mut ring, &mut track, 0, &[1]).restarted);
        assert_eq!(read(&mut ring, 2), [16, 0]);
    }

    #[test]
    fn a_late_source_begins_anew_and_keeps_its_distance_from_then_on() {
        let mut ring = MixRing::new(100, 5);
        let mut track = MixTrack::default();
        add(&mut ring, &mut track, 0, &[1; 20]);
        assert_eq!(read(&mut ring, 20).iter().filter(|s| **s == 1).count(), 15);
        assert_eq!(read(&mut ring, 20)[..6], [1, 1, 1, 1, 1, 0]);
        // Twenty were read that the source had not brought in time.
        assert!(add(&mut ring, &mut track, 20, &[2; 20]).restarted);
        assert_eq!(read(&mut ring, 20)[4..6], [0, 2]);
        assert!(!add(&mut ring, &mut track, 40, &[3; 20]).restarted);
        assert_eq!(read(&mut ring, 20)[4..6], [2, 3]);
    }

    #[test]
    fn a_source_that_is_too_fast_loses_what_does_not_fit() {
        let mut ring = MixRing::new(30, 5);
        let mut track = MixTrack::default();
        assert_eq!(add(&mut ring, &mut track, 0, &[1; 20]).lost, 0);
        assert_eq!(add(&mut ring, &mut track, 20, &[2; 20]).lost, 15);
        assert_eq!(add(&mut ring, &mut track, 40, &[3; 20]).lost, 20);
        read(&mut ring, 20);
        assert_eq!(add(&mut ring, &mut track, 60, &[4; 20]), Placed::default());
        assert_eq!(read(&mut ring, 30)[4..12], [1, 2, 2, 2, 2, 2, 4, 4]);
    }

    #[test]
    fn what_is_skipped_is_not_heard_later() {
        let mut ring = MixRing::new(10, 0);
        add(&mut ring, &mut MixTrack::default(), 0, &[9; 10]);
        ring.skip(4);
        assert_eq!(read(&mut ring, 6), [9; 6]);
        ring.skip(1_000_003);
        assert_eq!(read(&mut ring, 10), [0; 10]);
    }

    proptest! {
        #[test]
        fn nothing_is_heard_that_was_not_added(
            steps in proptest::collection::vec((0u32..400, 0usize..60, 0usize..60), 1..60),
            capacity in 1usize..200,
            delay in 0usize..200,
        ) {
            let mut ring = MixRing::new(capacity, delay);
            let mut tracks = [MixTrack::default(); 2];
            let (mut added, mut heard) = (0, 0);
            for (n, (timestamp, length, wanted)) in steps.into_iter().enumerate() {
                let placed = add(&mut ring, &mut tracks[n % 2], timestamp, &vec![1; length]);
                added += length - placed.lost;
                heard += read(&mut ring, wanted).iter().map(|s| *s as usize).sum::<usize>();
            }
            heard += read(&mut ring, capacity).iter().map(|s| *s as usize).sum::<usize>();
            prop_assert_eq!(heard, added);
        }
    }
}
