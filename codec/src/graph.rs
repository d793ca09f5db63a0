//! The codec graph: decode → resample → encode → packetise, for one direction of one media.
//!
//! ```text
//! packet → Sequencer → clock (gaps) → Decoder → channels → Resampler → Packetiser → OutPacket
//!                    ↘ companions (telephone-event) ───────────────────↗ numbering, Schedule
//! ```
//!
//! Numbering: the outgoing timestamp is the source's first timestamp plus the encoder's position in the sink's
//! clock. Gaps in the incoming timestamps advance that position, those of more than five seconds if time has passed as they say: else they
//! are a discontinuity, which advances it by the time in which nothing came. Sequence numbers have no gap of their own making. Lost
//! packets are replaced up to an eighth of a second, by the codec's own means, in-band redundancy of the next packet included, or else by
//! a signal that leads from what was heard to what follows ([`crate::plc`]); longer losses are missing in the outgoing sequence, too.

mod clock;
mod dtx;
mod event_tones;
mod input;
mod packetiser;
mod plan;
mod schedule;
mod tones;

use std::time::{Duration, Instant};

use crate::def::Kind;
use crate::rtp::RtpPacket;
use crate::sequencer::{Arrival, SequencedPacket, Sequencer, SequencerCounters};
use crate::{CodecError, Feedback, PayloadFormat};

pub use dtx::DtxSettings;
use dtx::{DtxBuffer, Turn};
use event_tones::EventTones;
use input::Input;
use packetiser::{Gap, Packetiser};
use plan::encoder_options;
pub use plan::{ComfortNoise, Settings, SilenceDetection, TranscodePlan};
pub use tones::{DtmfPlan, Instead, TonePlan};

/// A packet that leaves the graph. RTP header fields are complete; SSRC is the sink's.
#[derive(Clone, Copy, Debug)]
pub struct OutPacket<'a> {
    /// Send not before this instant (4.4 of the media rules: first at once, later ones paced).
    pub send_at: Instant,
    /// The packet before this one was to be sent then. Whoever sends a packet before its time waits at least until that one has left.
    pub follows: Instant,
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
    settings: Settings,
    dtx: Option<DtxBuffer>,
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
        Self::with_settings(plan, ssrc_out, first_sequence, &Settings::default())
    }

    /// The same with settings of the whole installation.
    pub fn with_settings(
        plan: &TranscodePlan,
        ssrc_out: u32,
        first_sequence: u16,
        settings: &Settings,
    ) -> Result<Self, CodecError> {
        let mut packetiser = Packetiser::new(&plan.sink, &encoder_options(plan), ssrc_out, first_sequence)?;
        packetiser.set_noise(plan.noise.to.zip(settings.silence.clone()));
        let input = Input::new(plan, &packetiser)?;
        Ok(Self {
            sequencer: Sequencer::live(plan.source.clock_rate),
            settings: settings.clone(),
            dtx: settings.dtx.clone().map(DtxBuffer::new),
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
                match &mut self.dtx {
                    Some(dtx) => dtx.push(now, packet),
                    None => self.stages.process(now, packet, emit),
                }
            }
        }
    }

    /// When [`Transcoder::turn`] has something to do next; to be asked again after each packet and turn.
    pub fn next_turn(&self) -> Option<Instant> {
        self.dtx.as_ref().and_then(DtxBuffer::next_turn)
    }

    /// Plays out what is due with [`Settings::dtx`]: packets that waited, or what is put in place of those that were not sent.
    pub fn turn(&mut self, now: Instant, emit: Emit<'_>) {
        let Some(dtx) = &mut self.dtx else { return };
        // More turns than this at once make up for a worker that was held up.
        for _ in 0..50 {
            let stages = &self.stages;
            let (ticks, clock_rate) = stages.input.packet_ticks();
            let main = stages.input.plan.source.payload_type;
            match dtx.turn(now, ticks, clock_rate, |payload_type| stages.is_event(payload_type, main)) {
                Turn::Packet(packet) => {
                    self.stages.process(now, &packet, emit);
                    dtx.recycle(packet);
                }
                Turn::Missing => self.stages.fill_in(now, dtx.settings(), emit),
                Turn::Stopped => return,
            }
        }
    }

    /// Takes a packet that keeps its payload and only gets the sink's numbering (telephone-event).
    ///
    /// Without [`Transcoder::set_companions`] for its payload type it counts as telephone-event in the clock
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
                is_noise: false,
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

    /// From now on what is decoded is heard as silence; time goes on, and digits stay what they are.
    pub fn silence(&mut self, silent: bool) {
        self.stages.input.silent = silent;
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

    /// Tells which payload types pass from now on, as they come and as they leave: their clock rates, and whether they carry named events.
    /// A payload type that does not pass any more is the plan's again.
    pub fn set_companions<'f>(
        &mut self,
        passing: impl Iterator<Item = (&'f PayloadFormat, &'f PayloadFormat)>,
    ) {
        self.stages.companions.clear();
        self.stages.companions.extend(passing.map(|(source, sink)| Companion {
            payload_type: source.payload_type,
            payload_type_out: sink.payload_type,
            clock_rate: Some(source.clock_rate),
            clock_rate_out: Some(sink.clock_rate),
            is_event: source.kind() == Kind::TelephoneEvent,
            is_noise: source.kind() == Kind::ComfortNoise,
        }));
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
        input.clock = stages.input.clock;
        input.clock.set_rate(plan.source.clock_rate);
        input.silent = stages.input.silent;
        stages.input = input;
        if let Some(encoder) = encoder {
            stages.packetiser.replace(&plan.sink, &options, encoder);
        }
        stages.packetiser.set_noise(plan.noise.to.zip(self.settings.silence.clone()));
        self.sequencer.set_live(plan.source.clock_rate);
        Ok(())
    }

    /// What the source says to whoever sends to it; for [`Transcoder::follow`] of the other direction.
    pub fn feedback(&self) -> Feedback {
        self.stages.input.decoder.feedback()
    }

    /// Takes note of what the sink's party says in the payloads that it sends.
    pub fn follow(&mut self, party: Feedback) {
        self.stages.packetiser.follow(party);
    }

    /// The outgoing timestamp of the moment that has `timestamp` in the source's clock, for sender reports;
    /// exact but for the delay of resampling. `None` before the first packet.
    pub fn outgoing_timestamp(&self, timestamp: u32) -> Option<u32> {
        let input = &self.stages.input;
        let ahead = i64::from(timestamp.wrapping_sub(input.clock.expected()?) as i32);
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

/// A payload type that passes with new numbering only.
struct Companion {
    payload_type: u8,
    payload_type_out: u8,
    clock_rate: Option<u32>,
    clock_rate_out: Option<u32>,
    is_event: bool,
    is_noise: bool,
}

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
        if self.input.plan.noise.from == Some(payload_type) {
            return self.noise(now, packet, emit);
        }
        match self.companions.iter().position(|c| c.payload_type == payload_type) {
            Some(index) => self.pass(now, index, packet, emit),
            None => self.transcode(now, packet, emit),
        }
    }

    fn transcode(&mut self, now: Instant, packet: &SequencedPacket, emit: Emit<'_>) {
        self.packets_in += 1;
        if packet.payload_type != self.input.plan.source.payload_type {
            // Left over from before a change of plan: this decoder would make noise of it.
            self.decode_errors += 1;
            return;
        }
        self.use_clocks_of_plan();
        self.packetiser.start_at(packet.timestamp);
        if self.event_tones.as_mut().is_some_and(|tones| tones.replaces_audio(packet.timestamp)) {
            if let Err(_refused) = self.input.decode_unheard(&packet.payload, &mut self.packetiser) {
                self.decode_errors += 1;
            }
            return;
        }
        let gap = self.input.follow(packet.timestamp, now);
        match self.input.decode_behind(gap, packet, &mut self.packetiser, now, emit) {
            Ok(frames) => self.samples_in += frames as u64,
            Err(_) => self.decode_errors += 1,
        }
        self.packetiser.drain(now, emit);
    }

    /// Audio of another clock may have passed.
    fn use_clocks_of_plan(&mut self) {
        self.input.clock.set_rate(self.input.plan.source.clock_rate);
        self.packetiser.set_clock_rate(self.input.plan.sink.clock_rate);
    }

    /// A companion whose timestamps stand still.
    fn is_event(&self, payload_type: u8, main: u8) -> bool {
        payload_type != main && self.companions.iter().any(|c| c.payload_type == payload_type && c.is_event)
    }

    /// A packet time in which nothing was sent.
    fn fill_in(&mut self, now: Instant, settings: &DtxSettings, emit: Emit<'_>) {
        let frames = self.input.fill_in(settings, &mut self.packetiser);
        self.samples_in += frames as u64;
        self.packetiser.drain(now, emit);
    }

    /// Comfort noise that the sink does not take: as long as a packet of audio.
    fn noise(&mut self, now: Instant, packet: &SequencedPacket, emit: Emit<'_>) {
        self.packets_in += 1;
        self.use_clocks_of_plan();
        self.packetiser.start_at(packet.timestamp);
        let gap = self.input.follow(packet.timestamp, now);
        self.input.fill_gap(gap, packet, &mut self.packetiser, now, emit);
        match self.input.make_noise(&packet.payload, &mut self.packetiser) {
            Some(frames) => self.samples_in += frames as u64,
            None => self.decode_errors += 1,
        }
        self.packetiser.drain(now, emit);
    }

    fn pass(&mut self, now: Instant, index: usize, packet: &SequencedPacket, emit: Emit<'_>) {
        self.packetiser.start_at(packet.timestamp);
        let Some(companion) = self.companions.get(index) else { return };
        let Companion { is_event, is_noise, payload_type_out, .. } = *companion;
        let clock_rate = companion.clock_rate.unwrap_or(self.input.plan.source.clock_rate);
        let clock_rate_out = companion.clock_rate_out.unwrap_or_else(|| self.packetiser.clock_rate());
        if !is_event {
            self.input.clock.set_rate(clock_rate);
        }
        // Before the first audio a companion starts the clock, so that the time up to the audio is kept.
        self.input.clock.start_at(packet.timestamp, now);
        if is_event && self.event_tones.is_some() && !self.held {
            self.sound_event(now, packet, clock_rate, emit);
            return;
        }
        let present = self.event.filter(|(source, _)| is_event && *source == packet.timestamp);
        // Audio goes on beside a digit, or behind it; where none has come for long, time goes on with the digits.
        if !is_event || (present.is_none() && self.input.clock.is_far(packet.timestamp)) {
            self.advance_passing(now, packet, emit);
        }
        if !is_event {
            self.packetiser.end_part(is_noise, now, emit);
            self.input.clock.leave_open();
            self.packetiser.set_clock_rate(clock_rate_out);
        }
        if self.held {
            return;
        }
        let timestamp = match present {
            Some((_, out)) => out,
            None if !is_event => self.packetiser.timestamp_after(0, clock_rate),
            None => {
                let ahead = self.input.ticks_ahead(packet.timestamp, now);
                self.packetiser.timestamp_after(ahead, self.input.clock_rate())
            }
        };
        self.pending.clear();
        self.pending.extend_from_slice(&packet.payload);
        if is_event {
            self.event = Some((packet.timestamp, timestamp));
            if clock_rate != clock_rate_out {
                rescale_durations(&mut self.pending, clock_rate, clock_rate_out);
            }
            self.packetiser.silence_queue();
        }
        self.packetiser.pass(now, packet.marker, payload_type_out, timestamp, &self.pending, emit);
    }

    /// The clocks of both sides go on to a packet that passes; what was lost before it is missing in the sequence, too.
    fn advance_passing(&mut self, now: Instant, packet: &SequencedPacket, emit: Emit<'_>) {
        let ticks = u64::from(self.input.follow(packet.timestamp, now));
        if ticks == 0 {
            return;
        }
        let lost = u64::from(packet.lost_before);
        let gap = Gap { ticks, lost_ticks: ticks * lost / (lost + 1), clock_rate: self.input.clock_rate() };
        self.packetiser.advance(gap, now, emit);
    }

    /// Makes as much of the tones of an event as its packets say it has lasted.
    fn sound_event(&mut self, now: Instant, packet: &SequencedPacket, clock_rate: u32, emit: Emit<'_>) {
        let Some(tones) = &mut self.event_tones else { return };
        let (rate, channels) = self.packetiser.input_format();
        if tones.begins(packet.timestamp, &packet.payload, clock_rate, rate) {
            let gap = self.input.follow(packet.timestamp, now);
            self.input.fill_gap(gap, packet, &mut self.packetiser, now, emit);
        }
        let ticks = tones.lengthen(packet.timestamp, &packet.payload, channels, self.packetiser.queue());
        self.packetiser.made();
        let ticks = u64::from(ticks) * u64::from(self.input.clock_rate()) / u64::from(clock_rate.max(1));
        self.input.clock.advance(ticks as u32);
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
