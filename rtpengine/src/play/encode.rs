//! From a source to packets' worth of encoded media.

use std::collections::VecDeque;
use std::time::Duration;

use codec::Encoder;
use media_store::source::AudioSource;

use crate::media::plan::PlayerFrame;

/// Encodes a source frame by frame, as often as it is to be repeated.
///
/// Frames are independent of the listener (no SSRC, no numbering), so that a cache can stand between this and the rings.
pub(super) struct FrameMaker {
    source: AudioSource,
    encoder: Box<dyn Encoder>,
    /// Decoded, not yet encoded.
    samples: Vec<i16>,
    /// Values of `samples` that have been encoded.
    taken: usize,
    /// Sample frames of a packet.
    packet_samples: usize,
    /// Duration of a packet in units of the RTP clock.
    packet_duration: u32,
    plays_left: u32,
    packets_left: Option<u64>,
    /// Ends of plays in sample frames from the beginning; the position starts anew behind each.
    play_ends: VecDeque<u64>,
    decoded: u64,
    encoded: u64,
    /// Where the current play began, and its position in the source then.
    play_start: u64,
    start_pos: u64,
    source_ended: bool,
    /// The last frame, held back because a silent one behind it would make it longer.
    held: Option<(PlayerFrame, u64)>,
}

/// What shapes the frames.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub ptime_ms: u16,
    pub clock_rate: u32,
    /// At least 1.
    pub repeat_times: u32,
    pub repeat_duration: Option<Duration>,
    pub start_pos: Duration,
}

impl Shape {
    /// The whole source, once.
    pub fn once(ptime_ms: u16, clock_rate: u32) -> Self {
        Self { ptime_ms, clock_rate, repeat_times: 1, repeat_duration: None, start_pos: Duration::ZERO }
    }
}

impl FrameMaker {
    /// `source` gives the rate and channels of the encoder, and stands at `shape.start_pos`.
    pub fn new(source: AudioSource, encoder: Box<dyn Encoder>, shape: Shape) -> Self {
        let rate = encoder.sample_rate().max(1);
        let frame = encoder.frame_samples().max(1);
        let wanted = rate as usize * usize::from(shape.ptime_ms.max(1)) / 1000;
        let packet_samples = (wanted / frame).max(1) * frame;
        let packet_duration = packet_samples as u64 * u64::from(shape.clock_rate) / u64::from(rate);
        let packets_left = shape.repeat_duration.map(|duration| {
            let samples = duration.as_millis() * u128::from(rate) / 1000;
            u64::try_from(samples.div_ceil(packet_samples as u128)).unwrap_or(u64::MAX)
        });
        let start_pos = shape.start_pos.as_millis() * u128::from(rate) / 1000;
        Self {
            source,
            encoder,
            samples: Vec::new(),
            taken: 0,
            packet_samples,
            packet_duration: u32::try_from(packet_duration).unwrap_or(u32::MAX),
            plays_left: shape.repeat_times.max(1),
            packets_left,
            play_ends: VecDeque::new(),
            decoded: 0,
            encoded: 0,
            play_start: 0,
            start_pos: u64::try_from(start_pos).unwrap_or(0),
            source_ended: false,
            held: None,
        }
    }

    /// Play time of one packet.
    pub fn packet_time(&self) -> Duration {
        let rate = u64::from(self.encoder.sample_rate().max(1));
        Duration::from_micros(self.packet_samples as u64 * 1_000_000 / rate)
    }

    /// The next frame and its position in the source in ms; `None` at the end of the last play.
    pub fn next(&mut self) -> Option<(PlayerFrame, u64)> {
        loop {
            let Some((payload, position)) = self.encode_packet() else { return self.held.take() };
            if payload.is_empty() {
                // Discontinuous transmission: what was sent before lasts longer.
                if let Some((held, _)) = &mut self.held {
                    held.duration = held.duration.saturating_add(self.packet_duration);
                }
                continue;
            }
            let frame = PlayerFrame { payload: payload.into(), duration: self.packet_duration };
            if let Some(ready) = self.held.replace((frame, position)) {
                return Some(ready);
            }
        }
    }

    fn encode_packet(&mut self) -> Option<(Vec<u8>, u64)> {
        if self.packets_left == Some(0) {
            return None;
        }
        let channels = usize::from(self.encoder.channels().max(1));
        let wanted = self.packet_samples * channels;
        self.decode(wanted);
        let available = self.samples.len() - self.taken;
        if available == 0 {
            return None;
        }
        let position = self.position_ms();
        // The last packet is filled up with silence.
        if available < wanted {
            self.samples.resize(self.taken + wanted, 0);
        }
        let mut payload = Vec::new();
        let packet = self.samples.get(self.taken..self.taken + wanted).unwrap_or_default();
        for frame in packet.chunks_exact(self.encoder.frame_samples().max(1) * channels) {
            if let Err(error) = self.encoder.encode(frame, &mut payload) {
                tracing::debug!(%error, "announcement frame left out");
            }
        }
        self.taken += wanted;
        self.encoded += self.packet_samples as u64;
        if let Some(left) = &mut self.packets_left {
            *left -= 1;
        }
        Some((payload, position))
    }

    /// Decodes until `wanted` values are there, or nothing is left to play.
    fn decode(&mut self, wanted: usize) {
        self.samples.drain(..self.taken);
        self.taken = 0;
        let channels = usize::from(self.encoder.channels().max(1));
        while self.samples.len() < wanted && !self.source_ended {
            let before = self.samples.len();
            let more = self.source.read(&mut self.samples).unwrap_or_else(|error| {
                tracing::warn!(%error, "announcement ends early");
                self.plays_left = 1;
                false
            });
            self.decoded += ((self.samples.len() - before) / channels) as u64;
            if !more {
                self.next_play();
            }
        }
    }

    fn next_play(&mut self) {
        self.plays_left -= 1;
        let last_end = self.play_ends.back().copied().unwrap_or(self.play_start);
        // Repeating nothing would never end.
        let was_empty = self.decoded == last_end;
        self.play_ends.push_back(self.decoded);
        if self.plays_left == 0 || was_empty || self.source.seek(Duration::ZERO).is_err() {
            self.source_ended = true;
        }
    }

    /// Position in the source of the packet that is encoded next.
    fn position_ms(&mut self) -> u64 {
        while self.play_ends.len() > usize::from(self.source_ended)
            && self.play_ends.front().is_some_and(|&end| end <= self.encoded)
        {
            self.play_start = self.play_ends.pop_front().unwrap_or(self.encoded);
            self.start_pos = 0;
        }
        let samples = self.start_pos + self.encoded.saturating_sub(self.play_start);
        samples * 1000 / u64::from(self.encoder.sample_rate().max(1))
    }
}
