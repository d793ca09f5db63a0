//! From samples to numbered packets: the encoder's queue, its position, sequence numbers, marker, pacing.

use std::time::Instant;

use super::schedule::{Departure, Schedule};
use super::tones::{TonePlan, ToneStage};
use super::{Emit, OutPacket, SilenceDetection};
use crate::coder::packet_time_ms;
use crate::{CodecError, Encoder, EncoderOptions, Feedback, PayloadFormat, new_encoder};

/// Time without samples, in ticks of the source's clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gap {
    pub(super) ticks: u64,
    /// The part of it that lost packets would have filled.
    pub(super) lost_ticks: u64,
    pub(super) clock_rate: u32,
}

pub(super) struct Packetiser {
    encoder: Box<dyn Encoder>,
    payload_type: u8,
    clock_rate: u32,
    frames_per_packet: usize,
    ssrc: u32,
    next_sequence: u16,
    /// Timestamp of position 0; `None` before the first packet.
    first_timestamp: Option<u32>,
    /// Samples per channel that left the queue or were skipped.
    position: u64,
    /// Remainder of gaps that do not make a whole sample, in units of the source clock.
    gap_remainder: u64,
    queue: Vec<i16>,
    payload: Vec<u8>,
    marker: bool,
    /// Packets are left out, time goes on.
    muted: bool,
    /// Digits in the queue, which is longer then.
    tones: Option<Box<ToneStage>>,
    /// Silent packets leave as noise descriptions of this payload type.
    noise: Option<(u8, SilenceDetection)>,
    schedule: Schedule,
    packets_out: u64,
    encode_errors: u64,
}

impl Packetiser {
    pub(super) fn new(
        sink: &PayloadFormat,
        options: &EncoderOptions,
        ssrc: u32,
        first_sequence: u16,
    ) -> Result<Self, CodecError> {
        let encoder = new_encoder(sink, options)?;
        Ok(Self {
            payload_type: sink.payload_type,
            clock_rate: sink.clock_rate,
            frames_per_packet: frames_per_packet(sink, options, encoder.as_ref()),
            encoder,
            ssrc,
            next_sequence: first_sequence,
            first_timestamp: None,
            position: 0,
            gap_remainder: 0,
            queue: Vec::new(),
            payload: Vec::new(),
            marker: true,
            muted: false,
            tones: None,
            noise: None,
            schedule: Schedule::default(),
            packets_out: 0,
            encode_errors: 0,
        })
    }

    /// Goes on with another encoder: sequence numbers and timestamps continue, queued samples are dropped
    /// (less than a packet, and in the old encoder's rate).
    pub(super) fn replace(
        &mut self,
        sink: &PayloadFormat,
        options: &EncoderOptions,
        encoder: Box<dyn Encoder>,
    ) {
        self.position += self.queued();
        self.queue.clear();
        self.first_timestamp = self.first_timestamp.map(|_| self.timestamp());
        self.position = 0;
        self.gap_remainder = 0;
        self.frames_per_packet = frames_per_packet(sink, options, encoder.as_ref());
        self.encoder = encoder;
        if let Some(plan) = self.tones.take().map(|tones| tones.plan().clone()) {
            self.set_tones(Some(plan));
        }
        self.payload_type = sink.payload_type;
        if self.clock_rate != sink.clock_rate {
            self.schedule.forget_line();
        }
        self.clock_rate = sink.clock_rate;
        self.marker = true;
    }

    /// Timestamps go on in this clock: that of what leaves next (RFC 7160 §4.1).
    pub(super) fn set_clock_rate(&mut self, clock_rate: u32) {
        if clock_rate == self.clock_rate {
            return;
        }
        let present = self.timestamp();
        self.clock_rate = clock_rate;
        let passed = self.to_clock(self.position) as u32;
        self.first_timestamp = self.first_timestamp.map(|_| present.wrapping_sub(passed));
        self.schedule.forget_line();
    }

    /// The first packet of the source gives the first timestamp.
    pub(super) fn start_at(&mut self, timestamp: u32) {
        self.first_timestamp.get_or_insert(timestamp);
    }

    /// Whole packets of samples are dropped from now on, without a sequence number.
    pub(super) fn mute(&mut self, muted: bool) {
        self.muted = muted;
    }

    /// Digits are looked for from now on and treated like this, or not any more.
    pub(super) fn set_tones(&mut self, plan: Option<TonePlan>) {
        let end = self.position + self.queued();
        match (plan, &mut self.tones) {
            (None, tones) => *tones = None,
            (Some(plan), Some(tones)) => tones.replan(plan),
            (Some(plan), tones) => {
                *tones = Some(Box::new(ToneStage::new(plan, self.encoder.sample_rate(), end, self.ssrc)));
            }
        }
    }

    /// Where samples in [`Packetiser::input_format`] are appended before [`Packetiser::drain`].
    pub(super) fn queue(&mut self) -> &mut Vec<i16> {
        &mut self.queue
    }

    /// Silence leaves as comfort noise of that payload type from now on.
    pub(super) fn set_noise(&mut self, noise: Option<(u8, SilenceDetection)>) {
        self.noise = noise;
    }

    /// What the party says that gets the packets.
    pub(super) fn follow(&mut self, party: Feedback) {
        self.encoder.follow(party);
    }

    /// What has been appended last was made here: no digits are looked for in it.
    pub(super) fn made(&mut self) {
        let end = self.position + self.queued();
        if let Some(tones) = &mut self.tones {
            tones.skip_to(end);
        }
    }

    /// Encodes and emits every whole packet of the queue, up to where digits may still be found.
    pub(super) fn drain(&mut self, now: Instant, emit: Emit<'_>) {
        let channels = usize::from(self.encoder.channels().max(1));
        let ready = match &mut self.tones {
            Some(tones) => tones.scan(&mut self.queue, channels, self.position) * channels,
            None => self.queue.len(),
        };
        self.send(ready, now, emit);
    }

    /// Encodes and emits every whole packet of the queue.
    fn flush(&mut self, now: Instant, emit: Emit<'_>) {
        let channels = usize::from(self.encoder.channels().max(1));
        if let Some(tones) = &mut self.tones {
            tones.flush(&mut self.queue, channels, self.position);
        }
        self.send(self.queue.len(), now, emit);
    }

    /// Encodes and emits whole packets of the first `ready` values of the queue.
    fn send(&mut self, ready: usize, now: Instant, emit: Emit<'_>) {
        let frame_values = self.frame_values();
        let packet_values = frame_values * self.frames_per_packet;
        let queue = std::mem::take(&mut self.queue);
        let packets = queue.get(..ready).unwrap_or_default().chunks_exact(packet_values);
        let used = ready.min(queue.len()) - packets.remainder().len();
        for packet in packets {
            if self.muted {
                self.position += self.packet_samples();
                self.marker = true;
            } else if self.send_event(now, emit) {
                self.position += self.packet_samples();
            } else if !self.replace_silence(packet, now, emit) {
                self.encode(packet, frame_values, now, emit);
            }
        }
        self.queue = queue;
        self.queue.drain(..used);
    }

    /// Sends a noise description instead of silence.
    fn replace_silence(&mut self, packet: &[i16], now: Instant, emit: Emit<'_>) -> bool {
        let Some((payload_type, detection)) = &self.noise else { return false };
        if !packet.iter().all(|sample| sample.unsigned_abs() <= detection.threshold) {
            return false;
        }
        let (payload_type, detection) = (*payload_type, detection.clone());
        let timestamp = self.timestamp();
        self.position += self.packet_samples();
        self.send_packet(now, payload_type, false, timestamp, &detection.payload, emit);
        self.marker = true;
        true
    }

    /// A frame without octets, and one that describes noise, end their packet: the next one begins with the next frame that has
    /// something to say, at the time of that frame.
    fn encode(&mut self, packet: &[i16], frame_values: usize, now: Instant, emit: Emit<'_>) {
        let mut payload = std::mem::take(&mut self.payload);
        payload.clear();
        let mut timestamp = self.timestamp();
        for frame in packet.chunks_exact(frame_values) {
            let before = payload.len();
            if self.encoder.encode(frame, &mut payload).is_err() {
                payload.truncate(before);
                self.encode_errors += 1;
            }
            let is_empty = payload.len() == before;
            let is_noise = !is_empty && self.encoder.made_noise();
            if before == 0 {
                timestamp = self.timestamp();
            }
            self.position += self.encoder.frame_samples() as u64;
            if (is_empty || is_noise) && !payload.is_empty() {
                let only_noise = is_noise && before == 0;
                self.close_packet(now, timestamp, only_noise, &mut payload, emit);
            }
            // Discontinuous transmission: the next packet starts a talk spurt.
            self.marker |= is_empty || is_noise;
        }
        if !payload.is_empty() {
            self.close_packet(now, timestamp, false, &mut payload, emit);
        }
        self.payload = payload;
    }

    fn close_packet(
        &mut self,
        now: Instant,
        timestamp: u32,
        is_noise: bool,
        payload: &mut Vec<u8>,
        emit: Emit<'_>,
    ) {
        let marker = !is_noise && std::mem::take(&mut self.marker);
        self.send_packet(now, self.payload_type, marker, timestamp, payload, emit);
        payload.clear();
    }

    fn send_packet(
        &mut self,
        now: Instant,
        payload_type: u8,
        marker: bool,
        timestamp: u32,
        payload: &[u8],
        emit: Emit<'_>,
    ) {
        let departure = self.schedule.send_at(now, timestamp, self.clock_rate);
        self.depart(departure, payload_type, marker, timestamp, payload, emit);
    }

    /// Emits a packet under the next sequence number.
    fn depart(
        &mut self,
        departure: Departure,
        payload_type: u8,
        marker: bool,
        timestamp: u32,
        payload: &[u8],
        emit: Emit<'_>,
    ) {
        emit(OutPacket {
            send_at: departure.send_at,
            follows: departure.follows,
            marker,
            payload_type,
            sequence_number: self.next_sequence,
            timestamp,
            ssrc: self.ssrc,
            payload,
        });
        self.next_sequence = self.next_sequence.wrapping_add(1);
        self.packets_out += 1;
    }

    /// Time passes without samples: an incomplete packet is completed with silence, the rest moves the
    /// position. `lost_ticks` of it are lost packets: whole packets of that are missing in the sequence too.
    pub(super) fn advance(&mut self, gap: Gap, now: Instant, emit: Emit<'_>) {
        let clock = u64::from(gap.clock_rate.max(1));
        let rate = u64::from(self.encoder.sample_rate());
        let scaled = gap.ticks * rate + self.gap_remainder;
        self.gap_remainder = scaled % clock;
        let mut samples = scaled / clock;
        self.flush(now, emit);
        if !self.queue.is_empty() {
            let silence = samples.min(self.packet_samples().saturating_sub(self.queued()));
            let values = silence as usize * usize::from(self.encoder.channels());
            self.queue.resize(self.queue.len() + values, 0);
            samples -= silence;
            self.made();
            self.send(self.queue.len(), now, emit);
        }
        self.position += samples;
        self.made();
        let lost = samples.min(gap.lost_ticks * rate / clock);
        let missing = lost / self.packet_samples().max(1);
        self.next_sequence = self.next_sequence.wrapping_add(missing as u16);
        if samples - lost >= self.packet_samples() {
            self.marker = true;
        }
    }

    /// Nothing follows what is left of an incomplete packet. If that `falls_silent`, the packet is completed with silence; where other audio
    /// comes next, the part, less than a packet, is left out: the two would overlap.
    pub(super) fn end_part(&mut self, falls_silent: bool, now: Instant, emit: Emit<'_>) {
        self.flush(now, emit);
        if self.queue.is_empty() {
            return;
        }
        let end = self.position + self.queued();
        if falls_silent {
            let whole = self.frame_values() * self.frames_per_packet;
            self.queue.resize(whole, 0);
            self.send(whole, now, emit);
        }
        self.queue.clear();
        self.position = end;
        self.made();
    }

    /// Emits what takes the place of the next audio packet, if a digit does; `false` when the audio packet leaves, too.
    fn send_event(&mut self, now: Instant, emit: Emit<'_>) -> bool {
        let Some(mut tones) = self.tones.take() else { return false };
        let (begin, timestamp) = (self.position, self.timestamp());
        let (rate, clock) = (u64::from(self.encoder.sample_rate().max(1)), u64::from(self.clock_rate));
        let event =
            tones.event(begin, begin + self.packet_samples(), timestamp, |samples| samples * clock / rate);
        self.tones = Some(tones);
        let Some(event) = event else { return false };
        let Departure { send_at, mut follows } = self.schedule.send_at(now, timestamp, self.clock_rate);
        for copy in 0..event.copies {
            let marker = event.marker && copy == 0;
            let departure = Departure { send_at, follows };
            self.depart(departure, event.payload_type, marker, event.timestamp, &event.payload, emit);
            follows = send_at;
        }
        !event.keeps_audio
    }

    /// Where digits are taken out of the audio, it is not heard beside their event packets, nor shortly before: whoever sends both may
    /// begin with the tone.
    pub(super) fn silence_queue(&mut self) {
        if self.tones.is_some() {
            self.queue.fill(0);
            self.made();
        }
    }

    /// Emits a companion packet between the encoded ones, behind what waits for digits to be found in it, or did until now.
    pub(super) fn pass(
        &mut self,
        now: Instant,
        marker: bool,
        payload_type: u8,
        timestamp: u32,
        payload: &[u8],
        emit: Emit<'_>,
    ) {
        self.flush(now, emit);
        let departure = self.schedule.send_soon(now);
        self.depart(departure, payload_type, marker, timestamp, payload, emit);
    }

    /// Outgoing timestamp of a moment `ticks` of the source clock after the last queued sample.
    pub(super) fn timestamp_after(&self, ticks: u32, source_clock: u32) -> u32 {
        let ahead = u64::from(ticks) * u64::from(self.clock_rate) / u64::from(source_clock.max(1));
        let queued = self.to_clock(self.position + self.queued()).wrapping_add(ahead);
        self.first_timestamp.unwrap_or(0).wrapping_add(queued as u32)
    }

    /// Rate and channels of the samples that [`Packetiser::queue`] takes.
    pub(super) fn input_format(&self) -> (u32, u8) {
        (self.encoder.sample_rate(), self.encoder.channels())
    }

    pub(super) fn clock_rate(&self) -> u32 {
        self.clock_rate
    }

    pub(super) fn packets_out(&self) -> u64 {
        self.packets_out
    }

    pub(super) fn encode_errors(&self) -> u64 {
        self.encode_errors
    }

    fn timestamp(&self) -> u32 {
        self.first_timestamp.unwrap_or(0).wrapping_add(self.to_clock(self.position) as u32)
    }

    fn to_clock(&self, samples: u64) -> u64 {
        (u128::from(samples) * u128::from(self.clock_rate) / u128::from(self.encoder.sample_rate().max(1)))
            as u64
    }

    fn queued(&self) -> u64 {
        (self.queue.len() / usize::from(self.encoder.channels().max(1))) as u64
    }

    fn frame_values(&self) -> usize {
        (self.encoder.frame_samples() * usize::from(self.encoder.channels())).max(1)
    }

    fn packet_samples(&self) -> u64 {
        (self.encoder.frame_samples() * self.frames_per_packet) as u64
    }
}

fn frames_per_packet(sink: &PayloadFormat, options: &EncoderOptions, encoder: &dyn Encoder) -> usize {
    let ptime_samples = u64::from(packet_time_ms(sink, options)) * u64::from(encoder.sample_rate()) / 1000;
    (ptime_samples as usize / encoder.frame_samples().max(1)).max(1)
}
