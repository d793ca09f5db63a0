//! The end of a mix that can still change, for outputs that are written from front to back.

use crate::output::OutputFile;

/// Silence longer than this is not kept in memory, in frames.
const MAX_GAP: i64 = 480_000;

/// Takes samples of a mix in order.
pub trait InOrder {
    /// Samples that follow.
    fn samples(&mut self, samples: &[i16]);
    /// Silence that follows.
    fn silence(&mut self, frames: u64);
}

/// Frames from a position on, not yet given out.
#[derive(Debug)]
pub struct Staging {
    start: i64,
    channels: usize,
    samples: Vec<i16>,
}

impl Staging {
    /// Begins at a position.
    pub fn new(start: i64, channels: usize) -> Self {
        Self { start, channels: channels.max(1), samples: Vec::new() }
    }

    /// Takes a block; what lies before the position that was given out is ignored.
    pub fn put(&mut self, position: i64, samples: &[i16], out: &mut impl InOrder) {
        let end = self.start + (self.samples.len() / self.channels) as i64;
        if position - end > MAX_GAP {
            self.take_until(i64::MAX, out);
            out.silence((position - self.start).unsigned_abs());
            self.start = position;
        }
        let skip = usize::try_from(self.start - position).unwrap_or(0);
        let Some(samples) = samples.get(skip * self.channels..) else { return };
        let at = usize::try_from(position - self.start).unwrap_or(0) * self.channels;
        if self.samples.len() < at + samples.len() {
            self.samples.resize(at + samples.len(), 0);
        }
        if let Some(place) = self.samples.get_mut(at..at + samples.len()) {
            place.copy_from_slice(samples);
        }
    }

    /// Gives out what lies before a position.
    pub fn take_until(&mut self, position: i64, out: &mut impl InOrder) {
        let frames = (self.samples.len() / self.channels) as i64;
        let take = position.saturating_sub(self.start).clamp(0, frames);
        if take > 0 {
            out.samples(self.samples.get(..take as usize * self.channels).unwrap_or_default());
            self.samples.drain(..take as usize * self.channels);
            self.start += take;
        }
    }

    /// Gives out what lies before a position, and silence if there is less.
    pub fn fill_until(&mut self, position: i64, out: &mut impl InOrder) {
        self.take_until(position, out);
        if self.samples.is_empty() && position > self.start {
            out.silence((position - self.start).unsigned_abs());
            self.start = position;
        }
    }
}

impl InOrder for OutputFile {
    fn samples(&mut self, samples: &[i16]) {
        self.append_in_time(samples);
    }

    fn silence(&mut self, frames: u64) {
        self.append_silence(frames);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Taken(Vec<i16>);

    impl InOrder for Taken {
        fn samples(&mut self, samples: &[i16]) {
            self.0.extend_from_slice(samples);
        }

        fn silence(&mut self, frames: u64) {
            self.0.resize(self.0.len() + frames as usize, 0);
        }
    }

    #[test]
    fn blocks_come_out_in_order_and_once() {
        let (mut staging, mut out) = (Staging::new(10, 1), Taken::default());
        staging.put(8, &[1, 2, 3, 4], &mut out);
        staging.put(14, &[7], &mut out);
        staging.put(11, &[5], &mut out);
        staging.take_until(12, &mut out);
        assert_eq!(out.0, [3, 5]);
        staging.put(9, &[9; 3], &mut out);
        staging.fill_until(16, &mut out);
        assert_eq!(out.0, [3, 5, 0, 0, 7, 0]);
    }

    #[test]
    fn a_long_gap_is_silence_that_costs_no_memory() {
        let (mut staging, mut out) = (Staging::new(0, 1), Taken::default());
        staging.put(0, &[1], &mut out);
        staging.put(MAX_GAP + 5, &[2], &mut out);
        assert_eq!((out.0.len() as i64, staging.samples.len()), (MAX_GAP + 5, 1));
    }
}
