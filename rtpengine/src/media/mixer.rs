//! The audio player of a stream: one continuous stream of our own, mixed of all that its party is to hear.
//!
//! ```text
//! edges: transcoder → linear samples (payload type [`LINEAR`]) ─┐
//! players: linear frames ───────────────────────────────────────┼─▶ MixRing ─ every packet time ─▶ Encoder ─▶ packet
//! telephone events: the mixer's numbering, audio pauses ────────┘
//! ```
//!
//! Nothing about it is visible to edges: what they emit towards a stream with a mixer ends here. Sequence numbers, timestamps and SSRC are
//! the mixer's for as long as the stream lives, also when the codec changes or mixing pauses.

use std::sync::Arc;
use std::time::{Duration, Instant};

use codec::graph::OutPacket;
use codec::mix::{MixRing, MixTrack};
use codec::{CodecError, Encoder, new_encoder, rtp};

use super::output::Output;
use super::plan::{CallKey, DropReason, LINEAR, MixerPlan};
use super::player::report_interval;
use super::receive::DATAGRAM;
use super::stream::Stream;
use super::worker::Worker;

/// Sources that are remembered; the one that was silent for longest makes room.
const MAX_SOURCES: usize = 16;
/// Audio pauses for this long after the packet of an event that is not its last.
const EVENT_PAUSE: Duration = Duration::from_millis(100);
/// A mixer that is late by more than this leaves packets out; what is less is made good by sending faster.
const MAX_LATE: Duration = Duration::from_millis(500);
/// A mixer that need not run stops when nobody has spoken for this long.
const REST: Duration = Duration::from_secs(1);
/// The end bit of an event (RFC 4733 §2.3).
const END: u8 = 0x80;

/// State of one stream's mixer.
pub struct Mixer {
    plan: Arc<MixerPlan>,
    ring: MixRing,
    encoder: Box<dyn Encoder>,
    sources: Vec<Source>,
    /// The turn that counts; `None` as long as it does not run.
    next: Option<Instant>,
    /// When it stopped running.
    paused: Option<Instant>,
    pub numbers: Numbers,
    event: Option<Event>,
    /// Samples of one packet: from the ring, and in the channels of the encoder.
    samples: Vec<i16>,
    channels: Vec<i16>,
    payload: Vec<u8>,
    /// When the next sender report is due.
    pub report_at: Instant,
}

/// Who speaks.
struct Source {
    ssrc: u32,
    track: MixTrack,
    heard: Instant,
}

/// Numbering of what leaves.
#[derive(Clone, Copy, Debug)]
pub struct Numbers {
    pub ssrc: u32,
    sequence_number: u16,
    timestamp: u32,
    /// The next packet begins something.
    marker: bool,
}

/// The event that is being passed on.
#[derive(Clone, Copy)]
struct Event {
    ssrc: u32,
    /// In the source's numbering, and in ours.
    timestamp: u32,
    ours: u32,
    /// Audio pauses until then.
    until: Instant,
}

impl Mixer {
    /// # Errors
    /// The codec cannot be opened, or not at the rate of the plan.
    pub fn new(plan: &Arc<MixerPlan>, now: Instant) -> Result<Self, CodecError> {
        let numbers = Numbers {
            ssrc: rand::random_range(1..=u32::MAX),
            sequence_number: rand::random(),
            timestamp: rand::random(),
            marker: true,
        };
        Self::with_numbers(plan, numbers, now)
    }

    fn with_numbers(plan: &Arc<MixerPlan>, numbers: Numbers, now: Instant) -> Result<Self, CodecError> {
        let encoder = new_encoder(&plan.format, &plan.options)?;
        if encoder.sample_rate() != plan.rate {
            let reason = format!("encodes at {} Hz and not at {}", encoder.sample_rate(), plan.rate);
            return Err(CodecError::Open { name: plan.format.name.text().clone(), reason });
        }
        let packet = plan.packet_samples(encoder.frame_samples());
        let samples = |time: Duration| (time.as_micros() * u128::from(plan.rate) / 1_000_000) as usize;
        let capacity = samples(plan.length).max(2 * packet + samples(plan.delay));
        Ok(Self {
            ring: MixRing::new(capacity, samples(plan.delay)),
            sources: Vec::with_capacity(MAX_SOURCES),
            next: None,
            paused: None,
            numbers,
            event: None,
            samples: vec![0; packet],
            channels: Vec::with_capacity(packet * usize::from(encoder.channels())),
            payload: Vec::with_capacity(DATAGRAM),
            encoder,
            plan: Arc::clone(plan),
            report_at: now + report_interval(),
        })
    }

    /// The mixer for a new plan of the stream; numbering goes on.
    pub fn follow(before: Option<Box<Self>>, plan: &Arc<MixerPlan>, now: Instant) -> Option<Box<Self>> {
        let made = match before {
            Some(mut before) if before.plan.sounds_like(plan) => {
                before.plan = Arc::clone(plan);
                return Some(before);
            }
            Some(before) => Self::with_numbers(plan, before.numbers, now).map(|mixer| Self {
                // A turn of the former one goes on.
                next: before.next,
                paused: before.paused,
                ..mixer
            }),
            None => Self::new(plan, now),
        };
        made.map(Box::new).inspect_err(|error| tracing::error!(%error, "audio player cannot be opened")).ok()
    }

    /// Starts, if it does not run; when the first turn is. Time has gone on meanwhile.
    fn start(&mut self, now: Instant) -> Option<Instant> {
        if self.next.is_some() {
            return None;
        }
        if let Some(paused) = self.paused.take() {
            let elapsed = now.saturating_duration_since(paused).as_micros();
            let ticks = elapsed * u128::from(self.plan.format.clock_rate) / 1_000_000;
            self.numbers.timestamp = self.numbers.timestamp.wrapping_add(ticks as u32);
        }
        self.numbers.marker = true;
        self.next = Some(now);
        self.next
    }

    /// Nobody is to hear anything, and nobody has said anything for a while.
    fn may_rest(&self, now: Instant) -> bool {
        let speaks = |source: &Source| now.saturating_duration_since(source.heard) < REST;
        !self.plan.runs && !self.sources.iter().any(speaks)
    }

    /// Takes linear samples of a source. `timestamp` counts samples.
    fn add(&mut self, now: Instant, ssrc: u32, timestamp: u32, payload: &[u8]) {
        let known = self.sources.iter().position(|source| source.ssrc == ssrc);
        let index = known.unwrap_or_else(|| {
            let fresh = Source { ssrc, track: MixTrack::default(), heard: now };
            if self.sources.len() < MAX_SOURCES {
                self.sources.push(fresh);
                return self.sources.len() - 1;
            }
            let idlest = (0..self.sources.len()).min_by_key(|index| self.sources[*index].heard).unwrap_or(0);
            self.sources[idlest] = fresh;
            idlest
        });
        let source = &mut self.sources[index];
        source.heard = now;
        let samples = payload.chunks_exact(2).map(|pair| i16::from_be_bytes([pair[0], pair[1]]));
        self.ring.add(&mut source.track, timestamp, samples);
    }

    /// Header of a packet that is not audio; it takes the next sequence number.
    fn event(&mut self, now: Instant, out: &OutPacket<'_>) -> [u8; 12] {
        let same = self.event.filter(|event| (event.ssrc, event.timestamp) == (out.ssrc, out.timestamp));
        let ours = same.map_or(self.numbers.timestamp, |event| event.ours);
        let ends = out.payload.get(1).is_some_and(|octet| octet & END != 0);
        let until = if ends { now } else { now + EVENT_PAUSE };
        self.event = Some(Event { ssrc: out.ssrc, timestamp: out.timestamp, ours, until });
        let mut header = [0; 12];
        let Numbers { ssrc, sequence_number, .. } = self.numbers;
        rtp::write_header(&mut header, out.marker, out.payload_type, sequence_number, ours, ssrc);
        self.numbers.sequence_number = sequence_number.wrapping_add(1);
        header
    }

    /// Writes the next packet of audio; its length, or `None` when there is none to send.
    fn packet(&mut self, now: Instant, out: &mut [u8]) -> Option<usize> {
        self.ring.read(&mut self.samples);
        let timestamp = self.numbers.timestamp;
        self.numbers.timestamp = timestamp.wrapping_add(self.plan.packet_ticks(self.samples.len()));
        if self.event.is_some_and(|event| event.until > now) {
            self.numbers.marker = true;
            return None;
        }
        let channels = usize::from(self.encoder.channels().max(1));
        self.channels.clear();
        self.channels.extend(self.samples.iter().flat_map(|&sample| std::iter::repeat_n(sample, channels)));
        self.payload.clear();
        for frame in self.channels.chunks_exact(self.encoder.frame_samples().max(1) * channels) {
            // A frame that cannot be encoded is missing; time goes on.
            let _ = self.encoder.encode(frame, &mut self.payload);
        }
        // Nothing to send: discontinuous transmission.
        let packet = out.get_mut(..12 + self.payload.len()).filter(|_| !self.payload.is_empty());
        let Some((header, body)) = packet.and_then(|packet| packet.split_first_chunk_mut()) else {
            self.numbers.marker = true;
            return None;
        };
        let Numbers { ssrc, sequence_number, marker, .. } = self.numbers;
        rtp::write_header(header, marker, self.plan.format.payload_type, sequence_number, timestamp, ssrc);
        body.copy_from_slice(&self.payload);
        self.numbers.sequence_number = sequence_number.wrapping_add(1);
        self.numbers.marker = false;
        Some(12 + self.payload.len())
    }

    /// Leaves out what should have been sent long ago; when the packet after the next is due.
    fn schedule(&mut self, at: Instant, now: Instant) -> Instant {
        let time = self.plan.packet_time(self.samples.len());
        let late = now.saturating_duration_since(at);
        if late < MAX_LATE {
            return at + time;
        }
        let missed = (late.as_nanos() / time.as_nanos().max(1)) as u32;
        self.ring.skip(u64::from(missed) * self.samples.len() as u64);
        let ticks = self.plan.packet_ticks(self.samples.len()).wrapping_mul(missed);
        self.numbers.timestamp = self.numbers.timestamp.wrapping_add(ticks);
        self.numbers.marker = true;
        at + time * (missed + 1)
    }

    /// What the RTP clock shows at `now`, which is at most a packet from the next turn.
    pub fn timestamp_at(&self, now: Instant) -> u32 {
        let until = self.next.map_or(Duration::ZERO, |next| next.saturating_duration_since(now));
        let ticks = until.as_micros() * u128::from(self.plan.format.clock_rate) / 1_000_000;
        self.numbers.timestamp.wrapping_sub(ticks as u32)
    }
}

impl MixerPlan {
    /// The same but for whether it runs.
    fn sounds_like(&self, other: &Self) -> bool {
        Self { runs: other.runs, ..self.clone() } == *other
    }

    /// Samples of a packet: whole encoder frames.
    fn packet_samples(&self, frame: usize) -> usize {
        let frame = frame.max(1);
        let wanted = self.rate as usize * usize::from(self.options.ptime_ms.unwrap_or(20)) / 1000;
        (wanted / frame).max(1) * frame
    }

    fn packet_ticks(&self, samples: usize) -> u32 {
        (samples as u64 * u64::from(self.format.clock_rate) / u64::from(self.rate.max(1))) as u32
    }

    fn packet_time(&self, samples: usize) -> Duration {
        Duration::from_nanos(samples as u64 * 1_000_000_000 / u64::from(self.rate.max(1)))
    }
}

impl Output {
    /// Gives what an edge has made for a stream to its mixer. `token` is that of the stream.
    pub fn mix(
        &mut self,
        sink: &mut Stream,
        token: u64,
        out: OutPacket<'_>,
        scratch: &mut [u8; DATAGRAM],
    ) -> Result<(), DropReason> {
        let now = self.now.instant;
        if out.payload_type == LINEAR {
            return self.mix_samples(sink, token, out.ssrc, out.timestamp, out.payload);
        }
        let Some(mixer) = &mut sink.mixer else { return Err(DropReason::Codec) };
        let header = mixer.event(now, &out);
        let length = header.len() + out.payload.len();
        let packet = scratch.get_mut(..length).ok_or(DropReason::SendFailed)?;
        packet[..header.len()].copy_from_slice(&header);
        packet[header.len()..].copy_from_slice(out.payload);
        self.send_unmuted(sink, packet)
    }

    /// Gives samples in network order to the mixer of a stream, which starts if it does not run yet.
    pub fn mix_samples(
        &mut self,
        sink: &mut Stream,
        token: u64,
        ssrc: u32,
        timestamp: u32,
        samples: &[u8],
    ) -> Result<(), DropReason> {
        let now = self.now.instant;
        let Some(mixer) = &mut sink.mixer else { return Err(DropReason::Codec) };
        mixer.add(now, ssrc, timestamp, samples);
        if let Some(first) = mixer.start(now) {
            self.schedule.mix(first, token);
        }
        Ok(())
    }
}

impl Worker {
    /// Queues the first turn of a stream's mixer if it is to run and does not yet.
    pub(super) fn start_mixing(&mut self, slot: u32) {
        let token = self.streams.token(slot);
        let now = self.output.now.instant;
        let mixer = self.streams.get_mut(slot).and_then(|stream| stream.mixer.as_mut());
        let first = mixer.filter(|mixer| mixer.plan.runs).and_then(|mixer| mixer.start(now));
        if let Some(first) = first {
            self.output.schedule.mix(first, token);
        }
    }

    /// Sends the next packet of a stream's mixer.
    pub(super) fn mix_turn(&mut self, token: u64, at: Instant) {
        let Some(slot) = self.streams.resolve(token) else { return };
        let Some(stream) = self.streams.get_mut(slot) else { return };
        // A turn that was queued for a mixer which is gone does not count.
        let Some(mixer) = stream.mixer.as_mut().filter(|mixer| mixer.next == Some(at)) else { return };
        let now = self.output.now.instant.max(at);
        if mixer.may_rest(now) {
            (mixer.next, mixer.paused) = (None, Some(now));
            return;
        }
        let next = mixer.schedule(at, now);
        mixer.next = Some(next);
        self.output.schedule.mix(next, token);
        if let Some(length) = mixer.packet(now, &mut self.scratch[..])
            // Media time goes on without a peer.
            && stream.destination.is_some()
        {
            // A refusal is in the error counter of the stream.
            let _ = self.output.send_unmuted(stream, &self.scratch[..length]);
        }
        if now >= self.streams.get(slot).and_then(|s| s.mixer.as_ref()).map_or(next, |m| m.report_at) {
            self.report_mixer(slot, now);
        }
    }

    fn report_mixer(&mut self, slot: u32, now: Instant) {
        let Some(stream) = self.streams.get_mut(slot) else { return };
        let call: CallKey = stream.call;
        let Some(mixer) = &mut stream.mixer else { return };
        mixer.report_at = now + report_interval();
        let (ssrc, timestamp) = (mixer.numbers.ssrc, mixer.timestamp_at(now));
        self.report_sender(call, slot, ssrc, timestamp);
    }
}

#[cfg(test)]
mod tests {
    use codec::{EncoderOptions, PayloadFormat};

    use super::*;

    fn plan(name: &str, clock_rate: u32, rate: u32) -> Arc<MixerPlan> {
        Arc::new(MixerPlan {
            format: PayloadFormat::new(8, name, clock_rate, if name == "opus" { 2 } else { 1 }),
            options: EncoderOptions {
                ptime_ms: Some(20),
                source_rate: Some(rate),
                source_channels: Some(1),
                ..EncoderOptions::default()
            },
            rate,
            length: Duration::from_millis(500),
            delay: Duration::from_millis(5),
            runs: true,
        })
    }

    fn linear(samples: &[i16]) -> Vec<u8> {
        samples.iter().flat_map(|sample| sample.to_be_bytes()).collect()
    }

    fn sent(mixer: &mut Mixer, now: Instant) -> Option<(u16, u32, bool, Vec<i16>)> {
        let mut out = [0; 2048];
        let length = mixer.packet(now, &mut out)?;
        let packet = rtp::RtpPacket::parse(&out[..length]).expect("RTP");
        let mut samples = Vec::new();
        let format = PayloadFormat::new(8, "PCMA", 8000, 1);
        codec::new_decoder(&format).expect("decoder").decode(packet.payload(), &mut samples).expect("audio");
        Some((packet.sequence_number(), packet.timestamp(), packet.marker(), samples))
    }

    #[test]
    fn two_sources_become_one_stream_with_the_mixers_numbers() {
        let now = Instant::now();
        let mut mixer = Mixer::new(&plan("PCMA", 8000, 8000), now).expect("opens");
        mixer.add(now, 1, 500, &linear(&[1000; 160]));
        mixer.add(now, 2, 77, &linear(&[2000; 80]));
        let (sequence, timestamp, marker, samples) = sent(&mut mixer, now).expect("a packet");
        assert!(marker);
        let near = |sample: i16, level: i16| (sample - level).abs() < 100;
        assert!(near(samples[0], 0) && near(samples[60], 3000) && near(samples[150], 1000), "{samples:?}");
        let next = sent(&mut mixer, now).expect("a packet");
        assert_eq!((next.0, next.1, next.2), (sequence.wrapping_add(1), timestamp.wrapping_add(160), false));
        assert!(near(next.3[20], 1000) && near(next.3[60], 0));
    }

    #[test]
    fn events_take_numbers_and_audio_pauses_until_they_end() {
        let now = Instant::now();
        let mut mixer = Mixer::new(&plan("PCMA", 8000, 8000), now).expect("opens");
        let (sequence, timestamp, ..) = sent(&mut mixer, now).expect("a packet");
        let out = |payload: &'static [u8], marker| OutPacket {
            send_at: now,
            follows: now,
            marker,
            payload_type: 101,
            sequence_number: 9,
            timestamp: 4242,
            ssrc: 5,
            payload,
        };
        let numbers = |header: [u8; 12]| {
            let packet = rtp::RtpPacket::parse(&header).expect("RTP");
            (packet.sequence_number(), packet.timestamp(), packet.marker(), packet.payload_type())
        };
        let begin = timestamp.wrapping_add(160);
        let expected = |n: u16, marker| (sequence.wrapping_add(n), begin, marker, 101);
        assert_eq!(numbers(mixer.event(now, &out(&[1, 10, 0, 160], true))), expected(1, true));
        assert!(sent(&mut mixer, now + Duration::from_millis(20)).is_none());
        assert_eq!(numbers(mixer.event(now, &out(&[1, 0x8a, 1, 64], false))), expected(2, false));
        let after = sent(&mut mixer, now + Duration::from_millis(40)).expect("a packet");
        assert_eq!(
            (after.0, after.1, after.2),
            (sequence.wrapping_add(3), timestamp.wrapping_add(480 - 160), true)
        );
    }

    #[test]
    fn a_mixer_that_was_held_up_for_long_leaves_out_what_is_over() {
        let now = Instant::now();
        let mut mixer = Mixer::new(&plan("PCMA", 8000, 8000), now).expect("opens");
        let (_, timestamp, ..) = sent(&mut mixer, now).expect("a packet");
        let ms = Duration::from_millis;
        assert_eq!(mixer.schedule(now, now + ms(100)), now + ms(20));
        assert_eq!(mixer.schedule(now, now + ms(1000)), now + ms(1020));
        assert_eq!(sent(&mut mixer, now).expect("a packet").1, timestamp.wrapping_add(160 + 8000));
    }

    #[test]
    fn numbers_go_on_in_another_codec_and_nothing_starts_over_in_the_same() {
        let now = Instant::now();
        let first = plan("PCMA", 8000, 8000);
        let mut mixer = Mixer::follow(None, &first, now).expect("opens");
        let (sequence, ..) = sent(&mut mixer, now).expect("a packet");
        mixer.add(now, 1, 0, &linear(&[1000; 160]));
        let paused = Arc::new(MixerPlan { runs: false, ..(*first).clone() });
        let mut mixer = Mixer::follow(Some(mixer), &paused, now).expect("stays");
        assert!(sent(&mut mixer, now).expect("a packet").3[100] > 800, "what was there is heard");
        let ssrc = mixer.numbers.ssrc;
        for (name, clock, rate) in [("G722", 8000, 16_000), ("opus", 48_000, 48_000), ("GSM", 8000, 8000)] {
            mixer = Mixer::follow(Some(mixer), &plan(name, clock, rate), now).expect(name);
            let mut out = [0; 2048];
            assert!(mixer.packet(now, &mut out).is_some_and(|length| length > 12), "{name}");
        }
        assert_eq!((mixer.numbers.ssrc, mixer.numbers.sequence_number), (ssrc, sequence.wrapping_add(5)));
        assert!(Mixer::follow(Some(mixer), &plan("G722", 8000, 8000), now).is_none(), "wrong rate");
    }
}
