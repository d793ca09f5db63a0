//! The codec graph: decode → resample → encode → packetise, for one direction of one media.
//!
//! ```text
//! packet → Sequencer → clock (gaps) → Decoder → channels → Resampler → Packetiser → OutPacket
//!                    ↘ companions (telephone-event) ───────────────────↗ numbering, Schedule
//! ```
//!
//! Numbering: the outgoing timestamp is the source's first timestamp plus the encoder's position in the sink's
//! clock. Gaps in the incoming timestamps of up to five seconds advance that position, larger ones are a
//! discontinuity and do not. Sequence numbers have no gap of their own making; packets that were lost on the
//! way here are missing there too, unless the decoder could replace them.

mod event_tones;
mod packetiser;
mod schedule;
mod tones;

use std::time::{Duration, Instant};

use crate::coder::new_decoder_for;
use crate::def::Kind;
use crate::resample::{Resampler, convert_channels};
use crate::rtp::RtpPacket;
use crate::sequencer::{Arrival, SequencedPacket, Sequencer, SequencerCounters};
use crate::{CodecError, Decoder, DecoderOptions, EncoderOptions, PayloadFormat};

use event_tones::EventTones;
use packetiser::{Gap, Packetiser};
pub use tones::{DtmfPlan, Instead, TonePlan};

/// What is to become of one ingress payload type that is not passed through.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TranscodePlan {
    /// What arrives.
    pub source: PayloadFormat,
    /// What leaves.
    pub sink: PayloadFormat,
    /// Packet time, bit rate and the like of the sink.
    pub options: EncoderOptions,
}

/// A packet that leaves the graph. RTP header fields are complete; SSRC is the sink's.
#[derive(Clone, Copy, Debug)]
pub struct OutPacket<'a> {
    /// Send not before this instant (4.4 of the media rules: first at once, later ones paced).
    pub send_at: Instant,
    /// Marker bit.
    pub marker: bool,
    /// Payload type of the sink.
    pub payload_type: u8,
    /// Sequence number, continuous but for packets that were lost on the way here.
    pub sequence_number: u16,
    /// Timestamp in the sink's clock.
    pub timestamp: u32,
    /// SSRC of the sink's stream.
    pub ssrc: u32,
    /// Encoded payload.
    pub payload: &'a [u8],
}

/// Counters of one transcoder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TranscodeCounters {
    /// Packets given to the decoder.
    pub packets_in: u64,
    /// Packets made.
    pub packets_out: u64,
    /// Sequence numbers that never came.
    pub lost: u64,
    /// Packets that came twice or too late.
    pub duplicates: u64,
    /// Payloads that the decoder refused.
    pub decode_errors: u64,
    /// Frames that the encoder refused.
    pub encode_errors: u64,
    /// Samples per channel that were decoded.
    pub samples_in: u64,
}

/// All state of one ingress SSRC towards one sink: sequencing, decoders by payload type, resampling,
/// encoding, packetising, and the continuity of the outgoing sequence numbers and timestamps.
///
/// Packets whose payload type has no plan (passed-through companions such as telephone-event) go through
/// [`Transcoder::forward`], so that their sequence numbers and timestamps fit between the transcoded ones.
pub struct Transcoder {
    sequencer: Sequencer,
    stages: Stages,
}

type Emit<'e> = &'e mut dyn FnMut(OutPacket<'_>);

impl Transcoder {
    /// How long a packet may have to wait for its turn at most.
    pub const MAX_SCHEDULE: Duration = Duration::from_secs(1);

    /// `ssrc_out` is the SSRC of everything that leaves; `first_sequence` the first sequence number.
    ///
    /// Errors: what [`crate::new_decoder`] and [`crate::new_encoder`] say about the plan's formats.
    pub fn new(plan: &TranscodePlan, ssrc_out: u32, first_sequence: u16) -> Result<Self, CodecError> {
        let packetiser = Packetiser::new(&plan.sink, &encoder_options(plan), ssrc_out, first_sequence)?;
        let input = Input::new(plan, &packetiser)?;
        Ok(Self {
            sequencer: Sequencer::live(plan.source.clock_rate),
            stages: Stages {
                input,
                packetiser,
                companions: Vec::new(),
                event: None,
                event_tones: None,
                pending: Vec::new(),
                held: false,
                packets_in: 0,
                decode_errors: 0,
                samples_in: 0,
            },
        })
    }

    /// Takes one ingress packet of the plan's source payload type; every packet that becomes ready is
    /// handed to `emit`. Never allocates once warmed up. Packets of other payload types keep their place in
    /// the sequence and are counted as decode errors.
    pub fn push(&mut self, now: Instant, packet: RtpPacket<'_>, emit: Emit<'_>) {
        if self.sequencer.push(now, &packet) != Arrival::Duplicate {
            while let Some(packet) = self.sequencer.pop() {
                self.stages.process(now, packet, emit);
            }
        }
    }

    /// Takes a packet that keeps its payload and only gets the sink's numbering (telephone-event).
    ///
    /// Without [`Transcoder::set_companion`] for its payload type it counts as telephone-event in the clock
    /// of the plan's formats.
    pub fn forward(&mut self, now: Instant, packet: RtpPacket<'_>, payload_type_out: u8, emit: Emit<'_>) {
        let payload_type = packet.payload_type();
        let companions = &mut self.stages.companions;
        match companions.iter_mut().find(|c| c.payload_type == payload_type) {
            Some(companion) => companion.payload_type_out = payload_type_out,
            None => companions.push(Companion {
                payload_type,
                payload_type_out,
                clock_rate: None,
                clock_rate_out: None,
                is_event: true,
            }),
        }
        self.push(now, packet, emit);
    }

    /// From now on packets are taken in, but nothing is made of them, and what leaves later follows what left before: audio is
    /// decoded so that time goes on, companions are dropped.
    pub fn hold(&mut self, held: bool) {
        self.stages.held = held;
        self.stages.packetiser.mute(held);
    }

    /// What is done about digits from now on.
    pub fn set_dtmf(&mut self, plan: &DtmfPlan) {
        let stages = &mut self.stages;
        stages.packetiser.set_tones(plan.tones.clone());
        if !plan.events_become_tones {
            stages.event_tones = None;
        } else if stages.event_tones.is_none() {
            stages.event_tones = Some(Box::default());
        }
    }

    /// Emits a packet of the caller's own between the others, at once, under the next sequence number.
    pub fn insert(
        &mut self,
        now: Instant,
        (payload_type, marker): (u8, bool),
        timestamp: u32,
        payload: &[u8],
        emit: Emit<'_>,
    ) {
        self.stages.packetiser.pass(now, marker, payload_type, timestamp, payload, emit);
    }

    /// Tells what a passed-through payload type is: its clock rates and whether it carries named events.
    pub fn set_companion(&mut self, source: &PayloadFormat, sink: &PayloadFormat) {
        self.stages.companions.retain(|c| c.payload_type != source.payload_type);
        self.stages.companions.push(Companion {
            payload_type: source.payload_type,
            payload_type_out: sink.payload_type,
            clock_rate: Some(source.clock_rate),
            clock_rate_out: Some(sink.clock_rate),
            is_event: source.kind() == Kind::TelephoneEvent,
        });
    }

    /// Changes the plan in mid-stream (re-offer): outgoing numbering goes on without a break. On an error
    /// everything stays as it was.
    pub fn replan(&mut self, plan: &TranscodePlan) -> Result<(), CodecError> {
        let stages = &mut self.stages;
        if stages.input.plan == *plan {
            return Ok(());
        }
        let options = encoder_options(plan);
        let is_same_sink =
            stages.input.plan.sink == plan.sink && encoder_options(&stages.input.plan) == options;
        let encoder = if is_same_sink { None } else { Some(crate::new_encoder(&plan.sink, &options)?) };
        let (rate, channels) = match &encoder {
            Some(encoder) => (encoder.sample_rate(), encoder.channels()),
            None => stages.packetiser.input_format(),
        };
        let mut input = Input::for_format(plan, rate, channels)?;
        if input.plan.source.clock_rate == stages.input.plan.source.clock_rate {
            input.expected_timestamp = stages.input.expected_timestamp;
        }
        stages.input = input;
        if let Some(encoder) = encoder {
            stages.packetiser.replace(&plan.sink, &options, encoder);
        }
        self.sequencer.set_live(plan.source.clock_rate);
        Ok(())
    }

    /// The outgoing timestamp of the moment that has `timestamp` in the source's clock, for sender reports;
    /// exact but for the delay of resampling. `None` before the first packet.
    pub fn outgoing_timestamp(&self, timestamp: u32) -> Option<u32> {
        let input = &self.stages.input;
        let ahead = i64::from(timestamp.wrapping_sub(input.expected_timestamp?) as i32);
        let packetiser = &self.stages.packetiser;
        let scaled = ahead * i64::from(packetiser.clock_rate()) / i64::from(input.clock_rate());
        Some(packetiser.timestamp_after(0, input.clock_rate()).wrapping_add(scaled as u32))
    }

    /// What happened so far.
    pub fn counters(&self) -> TranscodeCounters {
        let sequencer = self.sequencer.counters();
        TranscodeCounters {
            packets_in: self.stages.packets_in,
            packets_out: self.stages.packetiser.packets_out(),
            lost: sequencer.lost,
            duplicates: sequencer.duplicates,
            decode_errors: self.stages.decode_errors,
            encode_errors: self.stages.packetiser.encode_errors(),
            samples_in: self.stages.samples_in,
        }
    }

    /// What the input sequencing did so far.
    pub fn sequencer_counters(&self) -> SequencerCounters {
        self.sequencer.counters()
    }
}

/// The encoder learns what it will be fed with, if the plan does not say.
fn encoder_options(plan: &TranscodePlan) -> EncoderOptions {
    let mut options = plan.options.clone();
    let factor = plan.source.def().map_or(1, |def| def.sample_rate_factor);
    options.source_rate = options.source_rate.or(Some(plan.source.clock_rate.saturating_mul(factor)));
    // Opus is 2 channels in every rtpmap; whether it is stereo is up to its decoder.
    let is_opus = plan.source.name.eq_ignore_ascii_case("opus");
    let stereo = crate::fmtp::OpusFmtp::parse(&plan.source.fmtp).sprop_stereo == Some(true);
    let channels = if is_opus { 1 + u8::from(stereo) } else { plan.source.channels };
    options.source_channels = options.source_channels.or(Some(channels));
    options
}

/// A payload type that passes with new numbering only.
struct Companion {
    payload_type: u8,
    payload_type_out: u8,
    clock_rate: Option<u32>,
    clock_rate_out: Option<u32>,
    is_event: bool,
}

/// A gap in timestamps that may be followed; larger ones are a discontinuity.
const MAX_GAP_SECONDS: u32 = 5;
/// A stream that stays behind its own clock by more than this has moved, not jittered.
const MAX_BACKSTEP_MS: u64 = 200;

/// Everything behind the sequencer.
struct Stages {
    input: Input,
    packetiser: Packetiser,
    companions: Vec<Companion>,
    /// Source and outgoing timestamp of the event in progress, which stand still until the next event.
    event: Option<(u32, u32)>,
    /// Events become tones, and the one in progress.
    event_tones: Option<Box<EventTones>>,
    /// Payload of a companion while it is being rescaled.
    pending: Vec<u8>,
    /// Nothing is to leave at present.
    held: bool,
    packets_in: u64,
    decode_errors: u64,
    samples_in: u64,
}

impl Stages {
    fn process(&mut self, now: Instant, packet: &SequencedPacket, emit: Emit<'_>) {
        let payload_type = packet.payload_type;
        match self.companions.iter().position(|c| c.payload_type == payload_type) {
            Some(index) if payload_type != self.input.plan.source.payload_type => {
                self.pass(now, index, packet, emit);
            }
            _ => self.transcode(now, packet, emit),
        }
    }

    fn transcode(&mut self, now: Instant, packet: &SequencedPacket, emit: Emit<'_>) {
        self.packets_in += 1;
        if packet.payload_type != self.input.plan.source.payload_type {
            // Left over from before a change of plan: this decoder would make noise of it.
            self.decode_errors += 1;
            return;
        }
        self.packetiser.start_at(packet.timestamp);
        if self.event_tones.as_mut().is_some_and(|tones| tones.replaces_audio(packet.timestamp)) {
            if let Err(_refused) = self.input.decode_unheard(&packet.payload, &mut self.packetiser) {
                self.decode_errors += 1;
            }
            return;
        }
        let gap = self.input.follow(packet.timestamp);
        self.input.fill_gap(gap, packet, &mut self.packetiser, now, emit);
        match self.input.decode(&packet.payload, &mut self.packetiser) {
            Ok(frames) => self.samples_in += frames as u64,
            Err(_) => self.decode_errors += 1,
        }
        self.packetiser.drain(now, emit);
    }

    fn pass(&mut self, now: Instant, index: usize, packet: &SequencedPacket, emit: Emit<'_>) {
        self.packetiser.start_at(packet.timestamp);
        // Before the first audio a companion starts the clock, so that the time up to the audio is kept.
        self.input.expected_timestamp.get_or_insert(packet.timestamp);
        if self.held {
            return;
        }
        let Some(companion) = self.companions.get(index) else { return };
        if companion.is_event && self.event_tones.is_some() {
            let clock_rate = companion.clock_rate.unwrap_or(self.input.plan.source.clock_rate);
            self.sound_event(now, packet, clock_rate, emit);
            return;
        }
        let clock_rate = companion.clock_rate.unwrap_or(self.input.plan.source.clock_rate);
        let clock_rate_out = companion.clock_rate_out.unwrap_or_else(|| self.packetiser.clock_rate());
        let timestamp = match self.event {
            Some((source, out)) if companion.is_event && source == packet.timestamp => out,
            _ => self
                .packetiser
                .timestamp_after(self.input.ticks_ahead(packet.timestamp), self.input.plan.source.clock_rate),
        };
        self.pending.clear();
        self.pending.extend_from_slice(&packet.payload);
        if companion.is_event {
            self.event = Some((packet.timestamp, timestamp));
            if clock_rate != clock_rate_out {
                rescale_durations(&mut self.pending, clock_rate, clock_rate_out);
            }
        }
        let payload_type_out = companion.payload_type_out;
        self.packetiser.pass(now, packet.marker, payload_type_out, timestamp, &self.pending, emit);
    }

    /// Makes as much of the tones of an event as its packets say it has lasted.
    fn sound_event(&mut self, now: Instant, packet: &SequencedPacket, clock_rate: u32, emit: Emit<'_>) {
        let Some(tones) = &mut self.event_tones else { return };
        let (rate, channels) = self.packetiser.input_format();
        if tones.begins(packet.timestamp, &packet.payload, clock_rate, rate) {
            let gap = self.input.follow(packet.timestamp);
            self.input.fill_gap(gap, packet, &mut self.packetiser, now, emit);
        }
        let ticks = tones.lengthen(packet.timestamp, &packet.payload, channels, self.packetiser.queue());
        self.packetiser.made();
        let ticks = u64::from(ticks) * u64::from(self.input.clock_rate()) / u64::from(clock_rate.max(1));
        let expected = self.input.expected_timestamp;
        self.input.expected_timestamp = expected.map(|expected| expected.wrapping_add(ticks as u32));
        self.packetiser.drain(now, emit);
    }
}

/// RFC 4733 §2.3: the duration is the last two octets of each four-octet block.
fn rescale_durations(payload: &mut [u8], from: u32, to: u32) {
    for block in payload.chunks_exact_mut(4) {
        let duration = u64::from(u16::from_be_bytes([block[2], block[3]]));
        let scaled = (duration * u64::from(to) / u64::from(from.max(1))).min(u64::from(u16::MAX)) as u16;
        block[2..4].copy_from_slice(&scaled.to_be_bytes());
    }
}

/// From payload to samples in the encoder's rate and channels, with the source's clock.
struct Input {
    plan: TranscodePlan,
    decoder: Box<dyn Decoder>,
    resampler: Resampler,
    sink_channels: u8,
    /// The timestamp that follows the last decoded sample; `None` before the first packet.
    expected_timestamp: Option<u32>,
    decoded: Vec<i16>,
    mixed: Vec<i16>,
    /// Samples per channel of the last good packet.
    packet_frames: usize,
}

impl Input {
    fn new(plan: &TranscodePlan, packetiser: &Packetiser) -> Result<Self, CodecError> {
        let (rate, channels) = packetiser.input_format();
        Self::for_format(plan, rate, channels)
    }

    fn for_format(plan: &TranscodePlan, rate: u32, channels: u8) -> Result<Self, CodecError> {
        let options = DecoderOptions { sink_rate: Some(rate), sink_channels: Some(channels) };
        let decoder = new_decoder_for(&plan.source, &options)?;
        let resampler = Resampler::new(decoder.sample_rate(), rate, channels).map_err(|error| {
            CodecError::Open { name: plan.source.name.clone(), reason: error.to_string() }
        })?;
        Ok(Self {
            plan: plan.clone(),
            decoder,
            resampler,
            sink_channels: channels,
            expected_timestamp: None,
            decoded: Vec::new(),
            mixed: Vec::new(),
            packet_frames: 0,
        })
    }

    /// Ticks from the end of what was decoded to `timestamp`; 0 for a discontinuity or a step back.
    fn ticks_ahead(&self, timestamp: u32) -> u32 {
        let ahead = self.expected_timestamp.map_or(0, |expected| timestamp.wrapping_sub(expected));
        if ahead > self.plan.source.clock_rate.saturating_mul(MAX_GAP_SECONDS) { 0 } else { ahead }
    }

    /// Moves the source's clock to a packet and gives the gap before it in ticks.
    fn follow(&mut self, timestamp: u32) -> u32 {
        let gap = self.ticks_ahead(timestamp);
        let behind = self.expected_timestamp.map_or(0, |expected| expected.wrapping_sub(timestamp));
        let is_jitter = u64::from(behind) * 1000 <= MAX_BACKSTEP_MS * u64::from(self.plan.source.clock_rate);
        // A small step back is kept as debt, so that later packets with right timestamps do not count twice.
        if gap > 0 || !is_jitter || self.expected_timestamp.is_none() {
            self.expected_timestamp = Some(timestamp);
        }
        gap
    }

    /// What was lost is replaced by the decoder if it can; the rest of the gap only moves the clock.
    fn fill_gap(
        &mut self,
        gap: u32,
        packet: &SequencedPacket,
        packetiser: &mut Packetiser,
        now: Instant,
        emit: Emit<'_>,
    ) {
        if gap == 0 {
            return;
        }
        let mut gap = Gap {
            ticks: u64::from(gap),
            lost_ticks: self.ticks(self.packet_frames) * u64::from(packet.lost_before),
            clock_rate: self.clock_rate(),
        };
        // A loss is bridged by invented sound up to an eighth of a second.
        let frames = gap.ticks * u64::from(self.decoder.sample_rate()) / u64::from(gap.clock_rate);
        let most = u64::from(self.decoder.sample_rate() / 8);
        if gap.ticks <= gap.lost_ticks && frames <= most {
            self.decoded.clear();
            self.decoder.recover(&packet.payload, frames as usize, &mut self.decoded);
            let replaced = self.ticks(self.decoded.len() / usize::from(self.decoder.channels()));
            self.convert(packetiser);
            packetiser.drain(now, emit);
            gap.ticks = gap.ticks.saturating_sub(replaced);
        }
        packetiser.advance(gap, now, emit);
    }

    /// Decodes into the packetiser's queue; gives the samples per channel.
    fn decode(&mut self, payload: &[u8], packetiser: &mut Packetiser) -> Result<usize, CodecError> {
        self.decoded.clear();
        let result = self.decoder.decode(payload, &mut self.decoded);
        let frames = self.decoded.len() / usize::from(self.decoder.channels());
        let ticks = self.ticks(frames) as u32;
        self.expected_timestamp = self.expected_timestamp.map(|expected| expected.wrapping_add(ticks));
        self.convert(packetiser);
        result?;
        self.packet_frames = frames;
        Ok(frames)
    }

    /// Decodes what nobody is to hear, for the sake of the decoder's state.
    fn decode_unheard(&mut self, payload: &[u8], packetiser: &mut Packetiser) -> Result<(), CodecError> {
        let (expected, queued) = (self.expected_timestamp, packetiser.queue().len());
        let result = self.decode(payload, packetiser);
        self.expected_timestamp = expected;
        packetiser.queue().truncate(queued);
        result.map(|_| ())
    }

    fn convert(&mut self, packetiser: &mut Packetiser) {
        let channels = self.decoder.channels();
        if channels == self.sink_channels {
            self.resampler.push(&self.decoded, packetiser.queue());
        } else {
            self.mixed.clear();
            convert_channels(&self.decoded, channels, self.sink_channels, &mut self.mixed);
            self.resampler.push(&self.mixed, packetiser.queue());
        }
    }

    fn ticks(&self, frames: usize) -> u64 {
        frames as u64 * u64::from(self.clock_rate()) / u64::from(self.decoder.sample_rate().max(1))
    }

    fn clock_rate(&self) -> u32 {
        self.plan.source.clock_rate.max(1)
    }
}
