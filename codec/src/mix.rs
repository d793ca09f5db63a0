//! Mixes several inputs on one timeline: summed, or side by side as channels.
//!
//! The mixer has a running output position: the furthest end of any input, in samples per channel. Pieces are
//! placed by position, holes are silence, and output leaves as soon as no input can change it any more. So
//! that output keeps flowing, an input that lags by more than half a second is taken as silent up to there.

/// How inputs become output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MixMethod {
    /// All inputs are added; the output has the channels of one input.
    Direct,
    /// Input *i* becomes channel *i* (or its group of channels).
    Channels,
}

/// Which inputs count for the level of a direct mix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MixScaling {
    /// Every input, used or not: each is scaled by 1/inputs (the historical level).
    AllInputs,
    /// Inputs that have carried audio up to that position.
    ActiveInputs,
}

/// What a mixer is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MixerConfig {
    /// Number of inputs, 1 to 64.
    pub inputs: usize,
    /// Sample rate of every input and of the output, in Hz.
    pub sample_rate: u32,
    /// Channels of one input, 1 or more.
    pub channels: u8,
    /// How inputs become output.
    pub method: MixMethod,
    /// Level of a direct mix.
    pub scaling: MixScaling,
}

/// What a mixer refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MixError {
    /// The configuration has no inputs, channels or rate, or more than 64 inputs.
    #[error("mixer needs 1 to 64 inputs, a sample rate and channels")]
    Config,
    /// There is no such input.
    #[error("mixer has no input {input}")]
    NoSuchInput {
        /// Index asked for.
        input: usize,
    },
    /// More than 30 seconds of silence would be needed; nothing was changed.
    #[error("{samples} samples of silence needed to fill mix buffer")]
    HoleTooLong {
        /// Samples per channel that are missing.
        samples: u64,
    },
}

/// Mixer of one recording; see the module documentation.
#[derive(Debug)]
pub struct Mixer {
    config: MixerConfig,
    inputs: Vec<Input>,
    /// Sums from position `emitted` on, `[frame × output channel]`.
    sums: Vec<i32>,
    emitted: u64,
    position: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Input {
    /// Everything before is final.
    end: u64,
    /// Where its first audio lies.
    first: Option<u64>,
}

const MAX_INPUTS: usize = 64;
const MAX_HOLE_SECONDS: u64 = 30;

impl Mixer {
    /// A mixer at position 0.
    pub fn new(config: MixerConfig) -> Result<Self, MixError> {
        if !(1..=MAX_INPUTS).contains(&config.inputs) || config.sample_rate == 0 || config.channels == 0 {
            return Err(MixError::Config);
        }
        let inputs = vec![Input::default(); config.inputs];
        Ok(Self { config, inputs, sums: Vec::new(), emitted: 0, position: 0 })
    }

    /// Adds samples directly behind what the input brought so far; the first ones at the current position.
    /// Gives the position at which they were placed.
    pub fn push(&mut self, input: usize, samples: &[i16]) -> Result<u64, MixError> {
        let state = self.inputs.get(input).ok_or(MixError::NoSuchInput { input })?;
        let at = if state.first.is_some() { state.end } else { self.position };
        self.push_at(input, at, samples)
    }

    /// Adds samples at an absolute position (samples per channel from the start of the recording). A position
    /// that the input has already passed is replaced by the input's end: the caller shifts its offset by the
    /// difference to the position returned.
    pub fn push_at(&mut self, input: usize, position: u64, samples: &[i16]) -> Result<u64, MixError> {
        let channels = usize::from(self.config.channels);
        let frames = samples.len() / channels;
        let state = self.inputs.get(input).copied().ok_or(MixError::NoSuchInput { input })?;
        let at = position.max(state.end).max(self.emitted);
        if frames == 0 {
            return Ok(at);
        }
        let hole = at.saturating_sub(self.position);
        if hole > self.max_hole() {
            return Err(MixError::HoleTooLong { samples: hole });
        }
        let end = at + frames as u64;
        self.extend_to(end);
        let width = self.output_width();
        let lane = match self.config.method {
            MixMethod::Direct => 0,
            MixMethod::Channels => input * channels,
        };
        let start = (at - self.emitted) as usize * width;
        let target = self.sums[start..].chunks_exact_mut(width);
        for (sums, frame) in target.zip(samples.chunks_exact(channels)) {
            for (sum, &sample) in sums[lane..lane + channels].iter_mut().zip(frame) {
                *sum += i32::from(sample);
            }
        }
        if let Some(state) = self.inputs.get_mut(input) {
            state.end = end;
            state.first.get_or_insert(at);
        }
        Ok(at)
    }

    /// Moves the output position forward without audio, at most 30 seconds at a time.
    pub fn advance_to(&mut self, position: u64) -> Result<(), MixError> {
        let hole = position.saturating_sub(self.position);
        if hole > self.max_hole() {
            return Err(MixError::HoleTooLong { samples: hole });
        }
        self.extend_to(position);
        Ok(())
    }

    /// Gives an input to another source: its next [`Mixer::push`] is placed at the current position.
    pub fn reuse(&mut self, input: usize) -> Result<(), MixError> {
        let position = self.position;
        let state = self.inputs.get_mut(input).ok_or(MixError::NoSuchInput { input })?;
        state.end = state.end.max(position);
        Ok(())
    }

    /// Appends all output that is final, interleaved. Call after each push.
    pub fn drain(&mut self, out: &mut Vec<i16>) {
        let rate = u64::from(self.config.sample_rate);
        if self.position > rate {
            let floor = self.position - rate / 2;
            self.inputs.iter_mut().for_each(|input| input.end = input.end.max(floor));
        }
        let ready = self.inputs.iter().map(|input| input.end).min().unwrap_or(0);
        self.emit_to(ready, out);
    }

    /// Pads every input to the final position and appends the rest of the output.
    pub fn finish(&mut self, out: &mut Vec<i16>) {
        let position = self.position;
        self.inputs.iter_mut().for_each(|input| input.end = position);
        self.emit_to(position, out);
    }

    /// The running output position: samples per channel that the output will have so far.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Samples per channel that have left the mixer.
    pub fn emitted(&self) -> u64 {
        self.emitted
    }

    /// Where the next samples of an input go at the earliest.
    pub fn input_position(&self, input: usize) -> Option<u64> {
        self.inputs.get(input).map(|input| input.end.max(self.emitted))
    }

    /// Channels of the output.
    pub fn output_channels(&self) -> usize {
        self.output_width()
    }

    /// What it was made for.
    pub fn config(&self) -> &MixerConfig {
        &self.config
    }

    fn output_width(&self) -> usize {
        let channels = usize::from(self.config.channels);
        match self.config.method {
            MixMethod::Direct => channels,
            MixMethod::Channels => channels * self.config.inputs,
        }
    }

    fn max_hole(&self) -> u64 {
        u64::from(self.config.sample_rate) * MAX_HOLE_SECONDS
    }

    fn extend_to(&mut self, end: u64) {
        self.position = self.position.max(end);
        let needed = (self.position - self.emitted) as usize * self.output_width();
        if self.sums.len() < needed {
            self.sums.resize(needed, 0);
        }
    }

    fn emit_to(&mut self, end: u64, out: &mut Vec<i16>) {
        let end = end.min(self.position);
        let width = self.output_width();
        let start = self.emitted;
        // The level changes where an input joins, not in the middle of what came before.
        let mut at = start;
        while at < end {
            let joins = self.inputs.iter().filter_map(|input| input.first);
            let until = joins.filter(|&first| first > at).min().unwrap_or(end).min(end);
            let divisor = self.divisor(at);
            let range = (at - start) as usize * width..(until - start) as usize * width;
            out.extend(
                self.sums[range]
                    .iter()
                    .map(|&sum| (sum / divisor).clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16),
            );
            at = until;
        }
        if end > start {
            self.sums.drain(..(end - start) as usize * width);
            self.emitted = end;
        }
    }

    fn divisor(&self, at: u64) -> i32 {
        let inputs = match (self.config.method, self.config.scaling) {
            (MixMethod::Channels, _) => 1,
            (MixMethod::Direct, MixScaling::AllInputs) => self.inputs.len(),
            (MixMethod::Direct, MixScaling::ActiveInputs) => {
                self.inputs.iter().filter(|input| input.first.is_some_and(|first| first <= at)).count()
            }
        };
        inputs.max(1) as i32
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mixer(inputs: usize, method: MixMethod, scaling: MixScaling) -> Mixer {
        Mixer::new(MixerConfig { inputs, sample_rate: 8000, channels: 1, method, scaling }).unwrap()
    }

    fn finished(mixer: &mut Mixer) -> Vec<i16> {
        let mut out = Vec::new();
        mixer.drain(&mut out);
        mixer.finish(&mut out);
        out
    }

    #[test]
    fn historical_scaling_counts_unused_inputs() {
        let mut m = mixer(4, MixMethod::Direct, MixScaling::AllInputs);
        m.push(0, &[7932; 160]).unwrap();
        m.push_at(1, 0, &[4000; 160]).unwrap();
        assert_eq!(finished(&mut m), [(7932 + 4000) / 4; 160]);
    }

    #[test]
    fn active_scaling_changes_where_the_second_speaker_joins() {
        let mut m = mixer(4, MixMethod::Direct, MixScaling::ActiveInputs);
        m.push(0, &[1000; 320]).unwrap();
        assert_eq!(m.push_at(1, 160, &[3000; 160]).unwrap(), 160);
        let out = finished(&mut m);
        assert_eq!(out[..160], [1000; 160]);
        assert_eq!(out[160..], [2000; 160]);
    }

    #[test]
    fn sums_saturate_and_never_wrap() {
        let mut m = mixer(2, MixMethod::Direct, MixScaling::AllInputs);
        m.push_at(0, 0, &[i16::MIN; 10]).unwrap();
        m.push_at(1, 0, &[i16::MIN; 10]).unwrap();
        assert_eq!(finished(&mut m), [i16::MIN; 10]);
    }

    #[test]
    fn channels_keep_inputs_apart_at_full_level() {
        let mut m = mixer(4, MixMethod::Channels, MixScaling::AllInputs);
        m.push(0, &[11, 12]).unwrap();
        m.push_at(2, 1, &[30]).unwrap();
        assert_eq!(m.output_channels(), 4);
        assert_eq!(finished(&mut m), [11, 0, 0, 0, 12, 0, 30, 0]);
    }

    #[test]
    fn late_input_starts_at_the_current_position_and_holes_are_silent() {
        let mut m = mixer(2, MixMethod::Channels, MixScaling::AllInputs);
        m.push(0, &[1; 4]).unwrap();
        assert_eq!(m.push(1, &[2; 2]).unwrap(), 4);
        assert_eq!(m.push_at(1, 8, &[3]).unwrap(), 8);
        assert_eq!(m.push_at(1, 5, &[4]).unwrap(), 9, "a frame from the past follows on directly");
        let right: Vec<i16> = finished(&mut m).iter().skip(1).step_by(2).copied().collect();
        assert_eq!(right, [0, 0, 0, 0, 2, 2, 0, 0, 3, 4]);
    }

    #[test]
    fn lagging_inputs_hold_output_back_by_half_a_second_only() {
        let mut m = mixer(2, MixMethod::Direct, MixScaling::AllInputs);
        let mut out = Vec::new();
        for _ in 0..100 {
            m.push(0, &[100; 160]).unwrap();
            m.drain(&mut out);
        }
        assert_eq!(out.len(), 16_000 - 4000);
        m.finish(&mut out);
        assert_eq!(out.len(), 16_000);
    }

    #[test]
    fn hole_of_more_than_30_seconds_is_left_to_the_caller() {
        let mut m = mixer(1, MixMethod::Direct, MixScaling::AllInputs);
        m.push(0, &[1; 160]).unwrap();
        let far = 160 + 8000 * 30;
        assert_eq!(m.push_at(0, far + 1, &[1]), Err(MixError::HoleTooLong { samples: 8000 * 30 + 1 }));
        assert_eq!(m.push_at(0, far, &[1]), Ok(far));
        assert_eq!(m.push(3, &[1]), Err(MixError::NoSuchInput { input: 3 }));
    }

    proptest! {
        #[test]
        fn length_and_energy_are_kept(
            pieces in proptest::collection::vec((0usize..3, 0u64..30_000, 1usize..400, -8000i16..8000), 1..40),
        ) {
            let mut m = mixer(3, MixMethod::Channels, MixScaling::AllInputs);
            let (mut out, mut expected, mut end) = (Vec::new(), 0i64, 0);
            for (input, position, length, level) in pieces {
                let at = m.push_at(input, position, &vec![level; length]).unwrap();
                prop_assert!(at >= position);
                end = end.max(at + length as u64);
                expected += i64::from(level).pow(2) * length as i64;
                m.drain(&mut out);
            }
            m.finish(&mut out);
            prop_assert_eq!(out.len() as u64, end * 3);
            prop_assert_eq!(out.iter().map(|&s| i64::from(s).pow(2)).sum::<i64>(), expected);
        }
    }
}
