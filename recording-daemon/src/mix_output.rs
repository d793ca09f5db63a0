//! The mixed output of a call: who has which input, and the file that the mixer's blocks go to.

use std::collections::VecDeque;
use std::time::SystemTime;

use media_store::sink::database::OutputKind;

use crate::config::MixInput;
use crate::feed::Feed;
use crate::metadata::{CallInfo, Stream};
use crate::mix::Mixer;
use crate::output::{AudioFormat, Budget, Contents, Finished, OutputFile};
use crate::recording::Recording;
use crate::resume::MixedState;
use crate::settings::OutputSettings;
use crate::staging::{InOrder, Staging};
use crate::timeline::CallTime;

const SECOND: i64 = 1_000_000_000;

/// How long the first audio waits, in case that another input turns out to have begun a little earlier.
const OPEN_AFTER: i64 = 700_000_000;
/// Late audio is still mixed when it comes within this time and lies this far back.
const KEEP: i64 = 2 * SECOND;
/// A call that ends so soon after its last audio is as long as its audio: the rest is the time that hanging up took.
const SIGNALLING_TAIL: i64 = SECOND;
/// Late audio of less than this does not make a recording partial: a packet or two that the sender repeated.
const WORTH_REPORTING: f64 = 0.1;
/// How much of an interrupted file is read back.
const READ_BACK_SECONDS: u64 = 3;

/// Audio with the place of its first sample.
#[derive(Clone, Copy, Debug)]
pub struct PlacedAudio<'a> {
    /// On the clock of the call.
    pub time: CallTime,
    /// What it is.
    pub format: AudioFormat,
    /// Interleaved samples.
    pub samples: &'a [i16],
}

/// Where a mix goes, and what it is a part of.
pub struct MixPlace<'a> {
    /// How outputs are made.
    pub settings: &'a OutputSettings,
    /// Memory for what cannot be written.
    pub budget: &'a Budget,
    /// The call.
    pub call: &'a CallInfo,
    /// Its recording.
    pub recording: &'a mut Recording,
}

/// Whether the recording's entry of the mix is new or has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It has changed.
    OutputChanged,
    /// It has not.
    Same,
}

#[derive(Clone, Copy, Debug)]
struct Owner {
    ssrc: u32,
    last_used: CallTime,
    /// Whose it is; not known before it is heard again after an interruption.
    tag: Option<u32>,
    /// First input and distance of the inputs of its slot.
    slot: (usize, usize),
}

impl Owner {
    fn is(&self, ssrc: u32, tag: Option<u32>) -> bool {
        self.ssrc == ssrc && (self.tag.is_none() || self.tag == tag)
    }
}

/// The mixed output of one call.
pub struct MixOutput {
    mixer: Mixer,
    file: Option<OutputFile>,
    /// What a format without random access gets when it does not change any more.
    staging: Option<Staging>,
    cannot_open: bool,
    /// Position of the first frame of the file.
    origin: Option<i64>,
    owners: Vec<Option<Owner>>,
    mix_input: MixInput,
    first_push: Option<CallTime>,
    /// When the mix ended where, to know what is old enough to be forgotten.
    ends: VecDeque<(CallTime, i64)>,
}

impl MixOutput {
    /// A mix whose format follows from its first source.
    pub fn new(settings: &OutputSettings, first: AudioFormat) -> Self {
        let rate = settings.sample_rate(first.sample_rate);
        let source_channels = u8::try_from(first.channels).unwrap_or(2);
        Self::with_mixer(
            settings,
            Mixer::new(settings.mix_method, settings.mix_inputs, rate, source_channels),
        )
    }

    /// Goes on with the file of an interrupted recording.
    pub fn resume(settings: &OutputSettings, state: &MixedState, mut file: OutputFile) -> Option<Self> {
        let format = file.format();
        let file_end = file.frames();
        let mut mixer = Mixer::new(
            settings.mix_method,
            settings.mix_inputs,
            format.sample_rate,
            format.channels.min(2) as u8,
        );
        if mixer.output_channels() != usize::from(format.channels) {
            return None;
        }
        let (from, samples) = if file.is_random_access() {
            let keep = u64::from(format.sample_rate) * READ_BACK_SECONDS;
            let from = file.frames().saturating_sub(keep);
            (from, file.read_at(from, keep).unwrap_or_default())
        } else {
            (file.frames(), Vec::new())
        };
        mixer.resume(state.origin + i64::try_from(from).ok()?, &samples, &state.active);
        let mut mix = Self::with_mixer(settings, mixer);
        for (owner, ssrc) in mix.owners.iter_mut().zip(&state.owners) {
            *owner = ssrc.map(|ssrc| Owner { ssrc, last_used: 0, tag: None, slot: (0, 1) });
        }
        mix.origin = Some(state.origin);
        mix.stage_for(&mut file, state.origin + i64::try_from(file_end).ok()?);
        mix.file = Some(file);
        Some(mix)
    }

    fn with_mixer(settings: &OutputSettings, mixer: Mixer) -> Self {
        Self {
            mixer,
            file: None,
            staging: None,
            cannot_open: false,
            origin: None,
            owners: vec![None; settings.mix_inputs.max(1)],
            mix_input: settings.mix_input,
            first_push: None,
            ends: VecDeque::new(),
        }
    }

    /// Adds audio of a source. `stream` says which slot or media it belongs to.
    pub fn push(
        &mut self,
        feed: &mut Feed,
        ssrc: u32,
        stream: &Stream,
        now: CallTime,
        audio: PlacedAudio<'_>,
    ) {
        let Some(input) = self.input_of(ssrc, stream, now, feed.is_refused) else {
            if !feed.is_refused {
                tracing::warn!(ssrc, "received samples for old re-used input channel");
                feed.is_refused = true;
            }
            return;
        };
        self.first_push.get_or_insert(now);
        feed.push(&mut self.mixer, input, audio);
    }

    /// Gives the mixer what the source's resampler holds back.
    pub fn flush_feed(&mut self, feed: &mut Feed, ssrc: u32, tag: Option<u32>) {
        if let Some(input) = self.own_input(ssrc, tag) {
            feed.flush(&mut self.mixer, input);
        }
    }

    /// Brings what was mixed so far into the file; opens it when it is time.
    pub fn write(&mut self, place: &mut MixPlace<'_>, now: CallTime) -> Written {
        let mut written = Written::Same;
        if self.origin.is_none() && self.first_push.is_some_and(|first| now - first >= OPEN_AFTER) {
            self.open(place);
            written = Written::OutputChanged;
        }
        if self.origin.is_none() {
            return written;
        }
        if self.write_blocks() {
            written = Written::OutputChanged;
        }
        if let Some(end) = self.mixer.end() {
            self.ends.push_back((now, end));
        }
        while let Some(&(at, end)) = self.ends.front().filter(|(at, _)| now - at >= KEEP) {
            // What is written once waits for late audio for this time; what can be written again does for longer.
            let further =
                if self.staging.is_some() { 0 } else { KEEP / SECOND * i64::from(self.mixer.sample_rate()) };
            self.mixer.forget_before(end - further);
            self.ends.pop_front();
            debug_assert!(at <= now);
        }
        written
    }

    /// Gives out what lies before a time, for a mix that is heard while it is made; later audio for it is lost.
    pub fn write_live(&mut self, until: CallTime, out: &mut impl InOrder) {
        let Some(first) = self.mixer.first() else { return };
        let channels = self.mixer.output_channels();
        let staging = self.staging.get_or_insert_with(|| Staging::new(first, channels));
        for block in self.mixer.take_blocks() {
            staging.put(block.start, &block.samples, out);
        }
        let until = place(until, self.mixer.sample_rate());
        staging.fill_until(until, out);
        self.mixer.forget_before(until);
    }

    /// Gives out the rest of a mix that was heard while it was made.
    pub fn finish_live(&mut self, out: &mut impl InOrder) {
        if let Some(end) = self.mixer.end() {
            let end = i128::from(end) * i128::from(SECOND) / i128::from(self.mixer.sample_rate());
            self.write_live(i64::try_from(end).unwrap_or(0), out);
        }
    }

    /// Channels of the mix.
    pub fn channels(&self) -> u16 {
        self.mixer.output_channels() as u16
    }

    /// Completes the file: it ends with the call.
    pub fn finish(
        mut self,
        mix_place: &mut MixPlace<'_>,
        end: CallTime,
        at: SystemTime,
    ) -> Option<(usize, Finished)> {
        if self.origin.is_none() && self.mixer.first().is_some() {
            self.open(mix_place);
        }
        self.write_blocks();
        if self.mixer.late_frames() > 0 {
            tracing::warn!("{} samples came too late to be mixed", self.mixer.late_frames());
            let late = self.mixer.late_frames() as f64 / f64::from(self.mixer.sample_rate());
            if late >= WORTH_REPORTING {
                mix_place.recording.add_fault(format!("{late:.3} s of audio came too late to be mixed"));
            }
        }
        let overlapping = self.mixer.overlapping_frames() as f64 / f64::from(self.mixer.sample_rate());
        if overlapping >= WORTH_REPORTING {
            let fault = format!(
                "{overlapping:.3} s of audio are not in the mix: they arrived so that they would overlap with earlier audio of the same sender"
            );
            mix_place.recording.add_fault(fault);
        }
        let (Some(mut file), Some(origin), Some(mix_end)) = (self.file, self.origin, self.mixer.end()) else {
            return None;
        };
        if let Some(mut staging) = self.staging {
            staging.take_until(i64::MAX, &mut file);
        }
        let end = place(end, self.mixer.sample_rate());
        let tail = SIGNALLING_TAIL / SECOND * i64::from(self.mixer.sample_rate());
        if end.saturating_sub(mix_end) > tail {
            file.extend_to(u64::try_from(end - origin).unwrap_or(0));
        }
        Some((file.index(), file.finish(mix_place.recording, at)))
    }

    /// Removes the file.
    pub fn discard(self, recording: &mut Recording) {
        if let Some(file) = self.file {
            file.discard(recording);
        }
    }

    /// Seconds from the beginning of the file, if there is one.
    pub fn seconds_at(&self, time: CallTime) -> Option<f64> {
        let origin = self.origin.or_else(|| self.mixer.first())?;
        let frames = place(time, self.mixer.sample_rate()) - origin;
        Some(frames.max(0) as f64 / f64::from(self.mixer.sample_rate()))
    }

    /// Brings the recording's entry up to date.
    pub fn describe(&self, recording: &mut Recording) {
        if let Some(file) = &self.file {
            file.describe(recording);
        }
    }

    /// What the next run needs to go on.
    pub fn state(&self) -> Option<MixedState> {
        Some(MixedState {
            output: self.file.as_ref()?.index(),
            origin: self.origin?,
            active: self.mixer.active(),
            owners: self.owners.iter().map(|owner| owner.map(|owner| owner.ssrc)).collect(),
        })
    }

    fn open(&mut self, place: &mut MixPlace<'_>) {
        let Some(origin) = self.mixer.first().filter(|_| !self.cannot_open) else { return };
        self.settle_order();
        let format = AudioFormat {
            sample_rate: self.mixer.sample_rate(),
            channels: self.mixer.output_channels() as u16,
        };
        let contents =
            Contents { kind: OutputKind::Mixed, ssrc: 0, stream: 0, party: None, label: String::new() };
        let MixPlace { settings, budget, call, recording } = place;
        match OutputFile::create(settings, budget, call, recording, &contents, format) {
            Ok(mut file) => {
                self.stage_for(&mut file, origin);
                self.file = Some(file);
            }
            Err(error) => {
                tracing::error!("Failed to open the mixed output file: {error}");
                recording.add_fault(format!("the mixed output could not be opened: {error}"));
                self.cannot_open = true;
            }
        }
        self.origin = Some(origin);
    }

    fn stage_for(&mut self, file: &mut OutputFile, from: i64) {
        if !file.is_random_access() {
            self.staging = Some(Staging::new(from, self.mixer.output_channels()));
        }
    }

    /// `true` when the file has another path now.
    fn write_blocks(&mut self) -> bool {
        let blocks = self.mixer.take_blocks();
        let (Some(file), Some(origin)) = (&mut self.file, self.origin) else { return false };
        let channels = self.mixer.output_channels();
        for block in blocks {
            if let Some(staging) = &mut self.staging {
                staging.put(block.start, &block.samples, file);
                continue;
            }
            // What turns out to lie before the beginning of the file has no place in it.
            let skip = usize::try_from(origin - block.start).unwrap_or(0);
            let Some(samples) = block.samples.get(skip * channels..) else { continue };
            file.write_at(u64::try_from(block.start - origin).unwrap_or(0), samples);
        }
        if let Some(staging) = &mut self.staging {
            staging.take_until(self.mixer.start(), file);
        }
        file.flush()
    }

    fn own_input(&self, ssrc: u32, tag: Option<u32>) -> Option<usize> {
        self.owners.iter().position(|owner| owner.is_some_and(|owner| owner.is(ssrc, tag)))
    }

    /// The input of an SSRC: its own, else a free one of its slot, else the one that was not used for longest. `was_owner`
    /// sources that lost their input get none.
    fn input_of(&mut self, ssrc: u32, stream: &Stream, now: CallTime, refused: bool) -> Option<usize> {
        let (first, step) = if self.mix_input == MixInput::ByMedia {
            (stream.media_sdp_id.unwrap_or(0) as usize, self.owners.len())
        } else {
            (stream.slot.max(1) as usize - 1, stream.slots.max(1) as usize)
        };
        if let Some(at) = self.own_input(ssrc, stream.tag) {
            self.owners[at].iter_mut().for_each(|owner| (owner.last_used, owner.tag) = (now, stream.tag));
            return Some(at);
        }
        if refused {
            return None;
        }
        let slot = || (first..self.owners.len()).step_by(step);
        let at = slot()
            .find(|&at| self.owners[at].is_none())
            .or_else(|| slot().min_by_key(|&at| self.owners[at].map(|owner| owner.last_used)))?;
        self.owners[at] = Some(Owner { ssrc, last_used: now, tag: stream.tag, slot: (first, step) });
        Some(at)
    }

    /// Gives the inputs of each slot to those who began first, and of those who began together to the first participant, whoever's packets
    /// were read first.
    fn settle_order(&mut self) {
        let began = self.mixer.active();
        let mut order: Vec<usize> = (0..self.owners.len()).collect();
        for at in 0..self.owners.len() {
            let Some(slot) = self.owners[at].map(|owner| owner.slot) else { continue };
            let rank = |at: usize| {
                let owner = self.owners[at].filter(|owner| owner.slot == slot)?;
                Some((began.get(at).copied().flatten().unwrap_or(i64::MAX), owner.tag, at))
            };
            let places: Vec<usize> = (0..self.owners.len()).filter(|&at| rank(at).is_some()).collect();
            let mut sorted = places.clone();
            sorted.sort_by_key(|&at| rank(at));
            places.iter().zip(sorted).for_each(|(&place, before)| order[place] = before);
        }
        self.owners = order.iter().map(|&before| self.owners[before]).collect();
        self.mixer.reorder(&order);
    }
}

/// Frames from the zero of the call's clock.
pub fn place(time: CallTime, sample_rate: u32) -> i64 {
    let frames =
        (i128::from(time) * i128::from(sample_rate) + i128::from(SECOND / 2)).div_euclid(SECOND.into());
    i64::try_from(frames).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mix::MixMethod;

    fn mix(mix_input: MixInput) -> MixOutput {
        let settings = OutputSettings {
            mix_method: MixMethod::Channels,
            mix_input,
            ..OutputSettings::for_tests("/out".as_ref())
        };
        MixOutput::new(&settings, AudioFormat { sample_rate: 8000, channels: 1 })
    }

    fn stream(slot: u32, slots: u32, media: u32) -> Stream {
        Stream { slot, slots, media_sdp_id: Some(media), ..Stream::default() }
    }

    #[test]
    fn inputs_are_given_in_order_of_appearance_within_the_slot() {
        let mut mix = mix(MixInput::ByAppearance);
        let (first, second) = (stream(1, 2, 0), stream(2, 2, 1));
        assert_eq!(mix.input_of(1, &second, 0, false), Some(1));
        assert_eq!(mix.input_of(2, &first, 1, false), Some(0));
        assert_eq!(mix.input_of(3, &first, 2, false), Some(2));
        assert_eq!(mix.input_of(2, &first, 3, false), Some(0), "it keeps its input");
    }

    #[test]
    fn who_begins_first_is_first_whoever_was_read_first() {
        let frames = |level: i16| [level; 160];
        let push = |mix: &mut MixOutput, ssrc, tag, begins_ms: i64, level| {
            let of = Stream { tag: Some(tag), ..Stream::default() };
            let audio = PlacedAudio {
                time: begins_ms * 1_000_000,
                format: AudioFormat { sample_rate: 8000, channels: 1 },
                samples: &frames(level),
            };
            mix.push(&mut Feed::default(), ssrc, &of, 0, audio);
        };
        for (first, second) in [((7, 2, 20), (8, 1, 0)), ((7, 2, 0), (8, 1, 0))] {
            let mut mix = mix(MixInput::ByAppearance);
            push(&mut mix, first.0, first.1, first.2, 700);
            push(&mut mix, second.0, second.1, second.2, 800);
            mix.settle_order();
            let owners: Vec<_> = mix.owners.iter().map(|owner| owner.map(|owner| owner.ssrc)).collect();
            assert_eq!(owners, [Some(8), Some(7), None, None]);
            let of = Stream { tag: Some(second.1), ..Stream::default() };
            assert_eq!(mix.input_of(8, &of, 1, false), Some(0));
            let blocks = mix.mixer.take_blocks();
            let [.., last] = &blocks[..] else { panic!("no block") };
            let at = |ms: i64, channel: usize| last.samples[((ms * 8 - last.start) * 4) as usize + channel];
            assert_eq!((at(second.2 + 5, 0), at(first.2 + 5, 1), at(first.2 + 5, 2)), (800, 700, 0));
        }
    }

    #[test]
    fn the_input_that_was_silent_longest_gets_a_new_owner() {
        let mut mix = mix(MixInput::ByAppearance);
        let any = stream(1, 1, 0);
        for ssrc in 1..=4 {
            mix.input_of(ssrc, &any, i64::from(ssrc), false);
        }
        mix.input_of(1, &any, 5, false);
        assert_eq!(mix.input_of(5, &any, 6, false), Some(1));
        assert_eq!(mix.input_of(2, &any, 7, true), None, "what lost its input stays out");
    }

    #[test]
    fn the_media_description_is_the_input_when_asked_for() {
        let mut mix = mix(MixInput::ByMedia);
        assert_eq!(mix.input_of(1, &stream(1, 1, 3), 0, false), Some(3));
        assert_eq!(mix.input_of(2, &stream(1, 1, 0), 0, false), Some(0));
        assert_eq!(mix.input_of(3, &stream(1, 1, 9), 0, false), None);
    }
}
