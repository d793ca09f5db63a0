//! Mixes inputs at absolute positions. Pure: samples in, blocks of the output out.
//!
//! The last seconds of the output are kept, so that a block can be given out early (nothing is lost when the process dies)
//! and given out again when late audio falls into it. Positions count frames of the output on the clock of the call.

use std::collections::VecDeque;
use std::ops::Range;

/// How inputs become an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MixMethod {
    /// The sum of the inputs, scaled by the number of those that ever carried audio.
    Direct,
    /// Each input is a channel of its own.
    Channels,
}

/// Gaps of an input up to this are clock adjustments and bridged with its last sample.
const BRIDGE_PER_SECOND: i64 = 500;
/// A gap in the output that is not worth keeping in memory, in seconds.
const MAX_GAP_SECONDS: i64 = 5;

/// A part of the output, ready to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Position of the first frame.
    pub start: i64,
    /// Interleaved samples.
    pub samples: Vec<i16>,
}

#[derive(Clone, Debug, Default)]
struct Input {
    /// Position of its first audio; unset as long as it had none.
    first: Option<i64>,
    end: i64,
    last: [i16; 2],
}

/// One mixed output.
#[derive(Debug)]
pub struct Mixer {
    method: MixMethod,
    sample_rate: u32,
    /// Channels of what is pushed: 1 or 2 for direct, 1 for channels.
    input_channels: usize,
    output_channels: usize,
    inputs: Vec<Input>,
    /// Sums from `start` on, interleaved by output channel.
    sums: VecDeque<i32>,
    start: i64,
    dirty: Range<i64>,
    blocks: Vec<Block>,
    late_frames: u64,
    overlapping_frames: u64,
    /// What comes before this comes again.
    resumed_at: i64,
}

impl Mixer {
    /// `source_channels` is the channel count of the first source.
    pub fn new(method: MixMethod, inputs: usize, sample_rate: u32, source_channels: u8) -> Self {
        let inputs = inputs.max(1);
        let input_channels = match method {
            MixMethod::Direct => usize::from(source_channels.clamp(1, 2)),
            MixMethod::Channels => 1,
        };
        let output_channels = match method {
            MixMethod::Direct => input_channels,
            MixMethod::Channels => inputs,
        };
        Self {
            method,
            sample_rate: sample_rate.max(1),
            input_channels,
            output_channels,
            inputs: vec![Input::default(); inputs],
            sums: VecDeque::new(),
            start: 0,
            dirty: 0..0,
            blocks: Vec::new(),
            late_frames: 0,
            overlapping_frames: 0,
            resumed_at: i64::MIN,
        }
    }

    /// Goes on with an output of which `samples` from `start` on are already written, when `active` tells where each
    /// input had its first audio.
    pub fn resume(&mut self, start: i64, samples: &[i16], active: &[Option<i64>]) {
        // What comes again at the seam is in the file already: inputs go on behind the end.
        let end = start + (samples.len() / self.output_channels) as i64;
        for (input, first) in self.inputs.iter_mut().zip(active) {
            input.first = *first;
            input.end = first.map_or(0, |_| end);
        }
        self.start = start;
        self.resumed_at = end;
        let channels = self.output_channels;
        self.sums = (0_i64..)
            .zip(samples.chunks_exact(channels))
            .flat_map(|(n, frame)| {
                let scale = self.active_inputs(start + n);
                frame.iter().map(move |&sample| i32::from(sample) * scale)
            })
            .collect();
        self.dirty = 0..0;
    }

    /// Gives inputs other numbers: `order` says for each new number which input it was. For as long as no block was given out.
    pub fn reorder(&mut self, order: &[usize]) {
        if !self.blocks.is_empty() || order.len() != self.inputs.len() {
            return;
        }
        self.inputs = order.iter().filter_map(|&before| self.inputs.get(before).cloned()).collect();
        if self.method == MixMethod::Channels {
            let mut frame = vec![0; self.output_channels];
            for sums in self.sums.make_contiguous().chunks_exact_mut(self.output_channels) {
                frame.copy_from_slice(sums);
                for (sum, &before) in sums.iter_mut().zip(order) {
                    *sum = frame.get(before).copied().unwrap_or_default();
                }
            }
        }
    }

    /// Adds samples of an input at a position. What overlaps with earlier audio of that input, or lies before what is
    /// still in memory, is left out.
    pub fn push(&mut self, input: usize, position: i64, samples: &[i16]) {
        let channels = self.input_channels;
        let frames = (samples.len() / channels) as i64;
        let Some(state) = self.inputs.get(input).filter(|_| frames > 0) else { return };
        let (mut position, mut samples) = (position, samples);
        if let Some(gap) = state.first.map(|_| position - state.end) {
            if gap.abs() == 1 {
                position = state.end;
            } else if gap < 0 {
                let overlap = state.end.min(position + frames) - position.max(self.resumed_at);
                self.overlapping_frames += u64::try_from(overlap).unwrap_or(0);
                let skip = gap.unsigned_abs() as usize * channels;
                let Some(rest) = samples.get(skip..).filter(|rest| !rest.is_empty()) else { return };
                (position, samples) = (state.end, rest);
            } else if (2..=i64::from(self.sample_rate) / BRIDGE_PER_SECOND).contains(&gap) {
                let last = state.last;
                let bridge = last[..channels].repeat(gap as usize);
                self.add(input, state.end, &bridge);
            }
        }
        self.add(input, position, samples);
    }

    /// Blocks that are new or have changed since the last call.
    pub fn take_blocks(&mut self) -> Vec<Block> {
        self.render();
        std::mem::take(&mut self.blocks)
    }

    /// Forgets what lies before a position; audio that comes for it later is lost. Give out blocks first.
    pub fn forget_before(&mut self, position: i64) {
        self.render();
        let frames = (position - self.start).clamp(0, self.frames());
        self.sums.drain(..frames as usize * self.output_channels);
        self.start += frames;
    }

    /// Positions before this do not change any more.
    pub fn start(&self) -> i64 {
        self.start
    }

    /// Position behind the last audio of any input; `None` before the first.
    pub fn end(&self) -> Option<i64> {
        self.inputs.iter().filter(|input| input.first.is_some()).map(|input| input.end).max()
    }

    /// Position of the first audio of any input.
    pub fn first(&self) -> Option<i64> {
        self.inputs.iter().filter_map(|input| input.first).min()
    }

    /// Where each input had its first audio.
    pub fn active(&self) -> Vec<Option<i64>> {
        self.inputs.iter().map(|input| input.first).collect()
    }

    /// Sample rate of inputs and output, in Hz.
    pub fn sample_rate(&self) -> u32 {
        self.sample_rate
    }

    /// Channels that `push` wants.
    pub fn input_channels(&self) -> usize {
        self.input_channels
    }

    /// Channels of the blocks.
    pub fn output_channels(&self) -> usize {
        self.output_channels
    }

    /// Frames that came too late to be mixed.
    pub fn late_frames(&self) -> u64 {
        self.late_frames
    }

    /// Frames that were left out because their input had audio there already, other than after an interruption.
    pub fn overlapping_frames(&self) -> u64 {
        self.overlapping_frames
    }

    fn add(&mut self, input: usize, position: i64, samples: &[i16]) {
        let channels = self.input_channels;
        self.make_room(position);
        let (mut position, mut samples) = (position, samples);
        let frames = (samples.len() / channels) as i64;
        let end = position + frames;
        if let Some(state) = self.inputs.get_mut(input) {
            state.first = Some(state.first.map_or(position, |first| first.min(position)));
            state.end = end;
            for (last, sample) in state.last.iter_mut().zip(samples.iter().rev().take(channels).rev()) {
                *last = *sample;
            }
        }
        if position < self.start {
            let late = (self.start - position).min(frames);
            self.late_frames += late.unsigned_abs();
            samples = samples.get(late as usize * channels..).unwrap_or_default();
            position += late;
            if samples.is_empty() {
                return;
            }
        }
        let needed = (end - self.start) as usize * self.output_channels;
        if self.sums.len() < needed {
            self.sums.resize(needed, 0);
        }
        let first_channel = if self.method == MixMethod::Channels { input } else { 0 };
        let mut at = (position - self.start) as usize * self.output_channels + first_channel;
        for frame in samples.chunks_exact(channels) {
            for (sum, sample) in self.sums.range_mut(at..at + channels).zip(frame) {
                *sum = sum.saturating_add(i32::from(*sample));
            }
            at += self.output_channels;
        }
        self.dirty = if self.dirty.is_empty() {
            position..end
        } else {
            self.dirty.start.min(position)..self.dirty.end.max(end)
        };
    }

    /// Begins or moves the window so that `position` is not behind a long gap.
    fn make_room(&mut self, position: i64) {
        let rate = i64::from(self.sample_rate);
        let end = self.start + self.frames();
        if self.first().is_none() {
            // Room for another input that turns out to have begun a little earlier.
            self.start = position - MAX_GAP_SECONDS * rate;
        } else if position > end + MAX_GAP_SECONDS * rate {
            self.render();
            self.sums.clear();
            self.start = (position - MAX_GAP_SECONDS * rate).max(end);
        }
    }

    fn render(&mut self) {
        let dirty = std::mem::take(&mut self.dirty);
        if dirty.is_empty() {
            return;
        }
        let channels = self.output_channels;
        let from = (dirty.start - self.start) as usize * channels;
        let to = (dirty.end - self.start) as usize * channels;
        let mut samples = Vec::with_capacity(to - from);
        let mut scale = 1;
        for (index, sum) in self.sums.range(from..to).enumerate() {
            if index % channels == 0 {
                scale = self.active_inputs(dirty.start + (index / channels) as i64);
            }
            let level = sum / scale;
            samples.push(level.clamp(i16::MIN.into(), i16::MAX.into()) as i16);
        }
        self.blocks.push(Block { start: dirty.start, samples });
    }

    /// What a frame is divided by.
    fn active_inputs(&self, position: i64) -> i32 {
        match self.method {
            MixMethod::Channels => 1,
            MixMethod::Direct => {
                let active =
                    self.inputs.iter().filter(|input| input.first.is_some_and(|first| first <= position));
                (active.count() as i32).max(1)
            }
        }
    }

    fn frames(&self) -> i64 {
        (self.sums.len() / self.output_channels) as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(mixer: &mut Mixer, from: i64, frames: usize) -> Vec<i16> {
        let mut all = vec![0; frames * mixer.output_channels()];
        write(mixer, from, &mut all);
        all
    }

    fn write(mixer: &mut Mixer, from: i64, all: &mut [i16]) {
        let channels = mixer.output_channels();
        for block in mixer.take_blocks() {
            let at = (block.start - from) as usize * channels;
            all[at..at + block.samples.len()].copy_from_slice(&block.samples);
        }
    }

    #[test]
    fn a_lone_speaker_keeps_the_level_until_another_joins() {
        let mut mixer = Mixer::new(MixMethod::Direct, 4, 8000, 1);
        mixer.push(0, 100, &[1000; 4]);
        mixer.push(1, 102, &[3000; 4]);
        assert_eq!(written(&mut mixer, 100, 6), [1000, 1000, 2000, 2000, 1500, 1500]);
    }

    #[test]
    fn what_overlaps_is_left_out_and_counted_but_not_at_a_seam() {
        let mut mixer = Mixer::new(MixMethod::Direct, 1, 8000, 1);
        mixer.push(0, 0, &[1; 10]);
        mixer.push(0, 4, &[2; 10]);
        mixer.push(0, 2, &[3; 5]);
        assert_eq!(written(&mut mixer, 0, 14), [[1; 10].as_slice(), &[2; 4]].concat());
        assert_eq!(mixer.overlapping_frames(), 6 + 5);
        let mut mixer = Mixer::new(MixMethod::Direct, 1, 8000, 1);
        mixer.resume(0, &[1; 10], &[Some(0)]);
        mixer.push(0, 4, &[2; 10]);
        assert_eq!(mixer.overlapping_frames(), 0);
        mixer.push(0, 8, &[2; 8]);
        assert_eq!(mixer.overlapping_frames(), 4);
    }

    #[test]
    fn sums_saturate() {
        let mut mixer = Mixer::new(MixMethod::Direct, 2, 8000, 1);
        mixer.resume(0, &[i16::MIN, i16::MAX], &[Some(0), None]);
        mixer.push(0, 0, &[0]);
        mixer.inputs[0].end = 0;
        mixer.push(0, 0, &[i16::MIN, i16::MAX]);
        assert_eq!(written(&mut mixer, 0, 2), [i16::MIN, i16::MAX]);
    }

    #[test]
    fn each_input_has_its_channel_at_full_level() {
        let mut mixer = Mixer::new(MixMethod::Channels, 4, 8000, 2);
        assert_eq!((mixer.input_channels(), mixer.output_channels()), (1, 4));
        mixer.push(0, 0, &[5, 6]);
        mixer.push(2, 1, &[7]);
        assert_eq!(written(&mut mixer, 0, 2), [5, 0, 0, 0, 6, 0, 7, 0]);
    }

    #[test]
    fn late_audio_is_given_out_again() {
        let mut mixer = Mixer::new(MixMethod::Direct, 4, 8000, 1);
        let mut file = vec![0; 6];
        mixer.push(0, 10, &[8; 6]);
        write(&mut mixer, 10, &mut file);
        assert_eq!(file, [8; 6]);
        mixer.push(1, 12, &[4; 2]);
        write(&mut mixer, 10, &mut file);
        assert_eq!(file[2..4], [6, 6]);
        mixer.forget_before(14);
        mixer.push(2, 12, &[4; 4]);
        write(&mut mixer, 10, &mut file);
        assert_eq!(file[..4], [8, 8, 6, 6], "what is forgotten stays");
        assert_eq!(mixer.late_frames(), 2);
    }

    #[test]
    fn small_adjustments_leave_no_hole() {
        let mut mixer = Mixer::new(MixMethod::Direct, 1, 8000, 1);
        mixer.push(0, 0, &[5, 6]);
        mixer.push(0, 4, &[7, 8]);
        mixer.push(0, 4, &[9, 9, 9]);
        mixer.push(0, 8, &[1]);
        assert_eq!(written(&mut mixer, 0, 8), [5, 6, 6, 6, 7, 8, 9, 1]);
    }

    #[test]
    fn a_long_gap_costs_no_memory() {
        let mut mixer = Mixer::new(MixMethod::Direct, 1, 8000, 1);
        mixer.push(0, 0, &[5; 160]);
        mixer.push(0, 8000 * 3600, &[6; 160]);
        assert!(mixer.sums.len() < 8000 * 6);
        let blocks = mixer.take_blocks();
        assert_eq!(blocks[0], Block { start: 0, samples: vec![5; 160] });
        assert_eq!(blocks[1], Block { start: 8000 * 3600, samples: vec![6; 160] });
    }

    #[test]
    fn an_interrupted_mix_goes_on_where_it_was() {
        let mut mixer = Mixer::new(MixMethod::Direct, 4, 8000, 1);
        mixer.resume(100, &[500, 500, 500], &[Some(0), Some(101), None, None]);
        mixer.push(1, 101, &[300, 300, 300]);
        mixer.push(2, 101, &[900, 900, 900]);
        assert_eq!(written(&mut mixer, 100, 4)[1..], [633, 633, 400]);
    }
}
