//! Digits in the samples of one outgoing stream: found before they leave, taken out, and replaced.
//!
//! The packetiser's queue is the delay line: samples stay in it until no digit can begin at them any more (42 ms), so that nothing of a
//! digit has left when it is known. Positions count samples per channel, as the packetiser does.

use std::sync::Arc;

use crate::dtmf::{Detector, Found, Sines};

/// What a graph does about digits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DtmfPlan {
    /// Event packets of the source become tones, since the sink does not take events.
    pub events_become_tones: bool,
    /// Tones are looked for, and this becomes of them.
    pub tones: Option<TonePlan>,
}

/// What becomes of digits that are found in audio.
#[derive(Clone, Debug, PartialEq)]
pub struct TonePlan {
    /// What is sent in their place.
    pub instead: Instead,
    /// Digits leave as event packets of this payload type and clock rate; without, as tones.
    pub events: Option<(u8, u32)>,
    /// The audio is sent, unchanged, beside the event packets.
    pub keeps_audio: bool,
}

/// What stands for a digit.
#[derive(Clone, Debug, PartialEq)]
pub enum Instead {
    /// The same one.
    Same,
    /// Another one.
    Digit(u8),
    /// A random one, each time.
    Random,
    /// Nothing.
    Silence,
    /// One sine, of the frequencies (Hz) in turn, at a level in −dBm0; never an event packet.
    Sine(Arc<[u32]>, u8),
}

/// The state of one stream.
pub(super) struct ToneStage {
    plan: TonePlan,
    rate: u32,
    detector: Detector,
    /// In the order of their beginnings; the last one may go on.
    digits: Vec<Digit>,
    /// Samples before this are as they leave.
    applied: u64,
    turn: usize,
    random: u32,
}

struct Digit {
    code: u8,
    begin: u64,
    /// `None`: goes on.
    end: Option<u64>,
    level: u8,
    sines: Sines,
    event: Option<EventState>,
    is_sent: bool,
}

/// Event packets of a digit.
#[derive(Clone, Copy)]
struct EventState {
    timestamp: u32,
    /// Position of the first replaced packet.
    begin: u64,
    /// The longest duration that has been told; it must not become shorter.
    told: u64,
}

/// An event packet that takes the place of an audio packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EventPacket {
    pub(super) payload_type: u8,
    pub(super) timestamp: u32,
    pub(super) marker: bool,
    pub(super) payload: [u8; 4],
    /// How often it is sent (RFC 4733 §2.5.1.4).
    pub(super) copies: u8,
    /// The audio packet leaves, too.
    pub(super) keeps_audio: bool,
}

/// Digits that may overlap what is in the queue.
const MOST_DIGITS: usize = 8;
const END_COPIES: u8 = 3;

impl ToneStage {
    /// For samples of this rate from a position on.
    pub(super) fn new(plan: TonePlan, rate: u32, position: u64, seed: u32) -> Self {
        let mut detector = Detector::new(rate);
        detector.skip(position);
        Self {
            plan,
            rate,
            detector,
            digits: Vec::with_capacity(MOST_DIGITS),
            applied: position,
            turn: 0,
            random: seed | 1,
        }
    }

    pub(super) fn plan(&self) -> &TonePlan {
        &self.plan
    }

    pub(super) fn replan(&mut self, plan: TonePlan) {
        self.plan = plan;
    }

    /// Looks at what is new in the queue, whose first sample has `position`, and gives how many samples (per channel) of it may leave.
    pub(super) fn scan(&mut self, queue: &mut [i16], channels: usize, position: u64) -> usize {
        let queued = (queue.len() / channels) as u64;
        let seen = self.detector.position().saturating_sub(position).min(queued) as usize;
        self.detector.push(
            queue[seen * channels..]
                .chunks_exact(channels)
                .map(|frame| (frame.iter().map(|&s| i32::from(s)).sum::<i32>() / channels as i32) as i16),
        );
        self.note();
        let until = (position + queued).saturating_sub(self.detector.lookahead() as u64);
        self.apply(queue, channels, position, until);
        until.saturating_sub(position) as usize
    }

    /// All that is in the queue leaves now.
    pub(super) fn flush(&mut self, queue: &mut [i16], channels: usize, position: u64) -> usize {
        self.scan(queue, channels, position);
        let queued = queue.len() / channels;
        self.apply(queue, channels, position, position + queued as u64);
        queued
    }

    /// Samples that were not received follow: a gap, or tones that were made here. `position` is behind them.
    pub(super) fn skip_to(&mut self, position: u64) {
        self.detector.skip(position.saturating_sub(self.detector.position()));
        self.note();
    }

    /// What leaves in place of the packet from `begin` to `end`.
    pub(super) fn event(
        &mut self,
        begin: u64,
        end: u64,
        timestamp: u32,
        ticks: impl Fn(u64) -> u64,
    ) -> Option<EventPacket> {
        let (payload_type, _) = self.plan.events?;
        if !self.plan.instead.is_digit() {
            return None;
        }
        self.digits.retain(|digit| !digit.is_over(begin, self.detector.margin()));
        let overlaps = |d: &&mut Digit| !d.is_sent && d.begin < end && d.end.is_none_or(|e| e > begin);
        let keeps_audio = self.plan.keeps_audio;
        let digit = match self.digits.iter_mut().find(overlaps) {
            Some(digit) => digit,
            // Its end was found when its last packet had left: that is told now.
            None => self.digits.iter_mut().find(|d| !d.is_sent && d.event.is_some())?,
        };
        let marker = digit.event.is_none();
        let event = digit.event.get_or_insert(EventState { timestamp, begin, told: 0 });
        let length = digit.end.map(|end| end.saturating_sub(digit.begin).max(1));
        let elapsed = end.saturating_sub(event.begin);
        let is_end = length.is_some_and(|length| elapsed >= length);
        event.told = length.map_or(elapsed, |length| length.min(elapsed)).max(event.told);
        let duration = ticks(event.told).min(u64::from(u16::MAX));
        digit.is_sent = is_end;
        let [high, low] = (duration as u16).to_be_bytes();
        Some(EventPacket {
            payload_type,
            timestamp: event.timestamp,
            marker,
            payload: [digit.code, u8::from(is_end) << 7 | digit.level & 0x3f, high, low],
            copies: if is_end { END_COPIES } else { 1 },
            keeps_audio,
        })
    }

    /// Takes what the detector has found.
    fn note(&mut self) {
        while let Some(found) = self.detector.next_found() {
            match found {
                Found::Began { code, at } => self.begin(code, at),
                Found::Ended { at, level, .. } => {
                    if let Some(digit) = self.digits.last_mut().filter(|digit| digit.end.is_none()) {
                        digit.end = Some(at);
                        digit.level = level;
                    }
                }
            }
        }
    }

    fn begin(&mut self, code: u8, begin: u64) {
        let level = self.detector.level();
        let code = match &self.plan.instead {
            Instead::Digit(other) => *other & 0xf,
            Instead::Random => {
                // xorshift: unpredictable enough for what nobody must recognise anything by.
                self.random ^= self.random << 13;
                self.random ^= self.random >> 17;
                self.random ^= self.random << 5;
                (self.random >> 8) as u8 & 0xf
            }
            _ => code,
        };
        let sines = match &self.plan.instead {
            Instead::Silence => Sines::default(),
            Instead::Sine(frequencies, level) => {
                let turn = self.turn % frequencies.len().max(1);
                self.turn = turn + 1;
                frequencies.get(turn).map_or_else(Sines::default, |&f| Sines::new(self.rate, &[f], *level))
            }
            _ if self.plan.events.is_some() => Sines::default(),
            _ => Sines::digit(self.rate, code, level),
        };
        if self.digits.len() >= MOST_DIGITS {
            self.digits.remove(0);
        }
        self.digits.push(Digit { code, begin, end: None, level, sines, event: None, is_sent: false });
    }

    /// Makes samples up to a position what they leave as.
    fn apply(&mut self, queue: &mut [i16], channels: usize, position: u64, until: u64) {
        let from = self.applied.max(position);
        self.applied = self.applied.max(until);
        let margin = self.detector.margin();
        let keeps = self.plan.events.is_some() && self.plan.keeps_audio && self.plan.instead.is_digit();
        if !keeps {
            for digit in &mut self.digits {
                let first = digit.begin.saturating_sub(margin).max(from);
                let last = digit.end.map_or(until, |end| (end + margin).min(until));
                for at in first..last {
                    let is_tone = at >= digit.begin && digit.end.is_none_or(|end| at < end);
                    let sample = if is_tone { digit.sines.sample() } else { 0 };
                    let index = (at - position) as usize * channels;
                    if let Some(frame) = queue.get_mut(index..index + channels) {
                        frame.fill(sample);
                    }
                }
            }
        }
        let sends_events = self.plan.events.is_some() && self.plan.instead.is_digit();
        if !sends_events {
            self.digits.retain(|digit| digit.end.is_none_or(|end| end + margin > until));
        }
    }
}

impl Digit {
    /// Nothing at or behind the position belongs to it, and its event packets have left.
    fn is_over(&self, position: u64, margin: u64) -> bool {
        let told = self.is_sent || self.event.is_none();
        told && self.end.is_some_and(|end| end + margin <= position)
    }
}

impl Instead {
    fn is_digit(&self) -> bool {
        matches!(self, Self::Same | Self::Digit(_) | Self::Random)
    }
}
