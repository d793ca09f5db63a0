//! The DTX buffer: packets wait a little and are played out by a clock of their own, so that silence which is not sent can be filled
//! in time.
//!
//! The clock starts `delay` after a packet and has a turn each packet time. A turn takes the packet that is due; when there is none,
//! the time is filled in. Sender and receiver never have quite the same clock: turns move by `shift` to keep the buffer between
//! `delay` and its limits.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::sequencer::SequencedPacket;

/// What the buffer does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DtxSettings {
    /// How long packets wait.
    pub delay: Duration,
    /// Silence for so long ends filling in; `None`: never.
    pub longest: Option<Duration>,
    /// So many packets that span so much time are too many.
    pub most_packets: usize,
    /// See `most_packets`.
    pub most_lag: Duration,
    /// By what turns are moved against drift; zero: a packet time is inserted or a packet dropped instead.
    pub shift: Duration,
    /// Noise (RFC 3389) that is filled in; without it, digital silence.
    pub noise: Option<Arc<[u8]>>,
    /// AMR decoders fill in by themselves, as do all others that can.
    pub native_amr: bool,
    /// Likewise those of EVS.
    pub native_evs: bool,
}

/// Packets further back than this are a new beginning, nearer ones are late.
const LATE_MS: i64 = 100;
/// Late packets in a row that are dropped.
const MOST_LATE: u32 = 3;
/// A packet further ahead than this, and than twenty delays, is a new beginning.
const AHEAD_MS: i64 = 200;
/// Packets beyond this are dropped: nothing that is played in time fills so many.
const MOST_QUEUED: usize = 128;

/// What a turn comes to.
#[derive(Debug)]
pub(super) enum Turn {
    /// A packet is due; give it back with [`DtxBuffer::recycle`].
    Packet(SequencedPacket),
    /// Nothing was sent.
    Missing,
    /// The sender has been silent for too long, or there is no turn at present.
    Stopped,
}

#[derive(Debug)]
pub(super) struct DtxBuffer {
    settings: DtxSettings,
    queue: VecDeque<SequencedPacket>,
    spare: Vec<SequencedPacket>,
    expected: u32,
    next_turn: Option<Instant>,
    last_arrival: Option<Instant>,
    late: u32,
}

impl DtxBuffer {
    pub(super) fn new(settings: DtxSettings) -> Self {
        Self {
            settings,
            queue: VecDeque::with_capacity(MOST_QUEUED),
            spare: Vec::with_capacity(MOST_QUEUED),
            expected: 0,
            next_turn: None,
            last_arrival: None,
            late: 0,
        }
    }

    pub(super) fn settings(&self) -> &DtxSettings {
        &self.settings
    }

    pub(super) fn next_turn(&self) -> Option<Instant> {
        self.next_turn
    }

    /// Takes a packet in sequence.
    pub(super) fn push(&mut self, now: Instant, packet: &SequencedPacket) {
        if self.next_turn.is_none() {
            self.next_turn = Some(now + self.settings.delay);
            self.expected = packet.timestamp;
        }
        self.last_arrival = Some(now);
        if self.queue.len() >= MOST_QUEUED {
            return;
        }
        let mut kept = match self.spare.pop() {
            Some(mut kept) => {
                kept.payload.clear();
                kept.payload.extend_from_slice(&packet.payload);
                kept
            }
            None => packet.clone(),
        };
        kept.extended_sequence = packet.extended_sequence;
        kept.timestamp = packet.timestamp;
        kept.payload_type = packet.payload_type;
        kept.marker = packet.marker;
        kept.arrival = now;
        kept.lost_before = packet.lost_before;
        self.queue.push_back(kept);
    }

    pub(super) fn recycle(&mut self, packet: SequencedPacket) {
        if self.spare.len() < MOST_QUEUED {
            self.spare.push(packet);
        }
    }

    /// The turn of `now`, `packet_ticks` of `clock_rate` being a packet time; `is_event` tells packets whose timestamp stands still.
    pub(super) fn turn(
        &mut self,
        now: Instant,
        packet_ticks: u32,
        clock_rate: u32,
        is_event: impl Fn(u8) -> bool,
    ) -> Turn {
        let Some(at) = self.next_turn.filter(|at| *at <= now) else { return Turn::Stopped };
        let packet_time = to_duration(packet_ticks, clock_rate);
        let delay_ms = self.settings.delay.as_millis() as i64;
        let mut next = at + packet_time;
        let turn = loop {
            let Some(head) = self.queue.front() else { break Turn::Missing };
            let ahead = i64::from(head.timestamp.wrapping_sub(self.expected) as i32);
            let ahead_ms = ahead * 1000 / i64::from(clock_rate.max(1));
            let is_event = is_event(head.payload_type);
            if !is_event && ahead < 0 && ahead_ms >= -LATE_MS && self.late < MOST_LATE {
                self.late += 1;
                if let Some(packet) = self.queue.pop_front() {
                    self.recycle(packet);
                }
                continue;
            }
            let begins_anew = ahead_ms > AHEAD_MS.max(20 * delay_ms);
            // What is missing because it was lost, the decoder makes up for.
            let is_early = ahead >= i64::from(packet_ticks) && head.lost_before == 0;
            if !is_event && is_early && !begins_anew {
                break Turn::Missing;
            }
            let Some(packet) = self.queue.pop_front() else { break Turn::Missing };
            self.late = 0;
            let waited = now.saturating_duration_since(packet.arrival);
            self.expected = if is_event {
                self.expected.wrapping_add(packet_ticks)
            } else {
                packet.timestamp.wrapping_add(packet_ticks)
            };
            let shift = self.settings.shift;
            if waited < self.settings.delay && !is_event {
                if shift.is_zero() {
                    self.expected = self.expected.wrapping_sub(packet_ticks);
                } else {
                    next += shift;
                }
            } else if self.is_too_full(clock_rate) {
                if shift.is_zero() {
                    self.recycle(packet);
                    continue;
                }
                next = next.checked_sub(shift).unwrap_or(next);
            }
            break Turn::Packet(packet);
        };
        if matches!(turn, Turn::Missing) {
            let silent = self.last_arrival.map(|last| now.saturating_duration_since(last));
            if self.settings.longest.is_some_and(|longest| silent.is_none_or(|silent| silent > longest)) {
                self.next_turn = None;
                return Turn::Stopped;
            }
            self.expected = self.expected.wrapping_add(packet_ticks);
        }
        // A worker that was held up does not make up for more than a second.
        self.next_turn =
            Some(if now.saturating_duration_since(next) > Duration::from_secs(1) { now } else { next });
        turn
    }

    fn is_too_full(&self, clock_rate: u32) -> bool {
        let (Some(first), Some(last)) = (self.queue.front(), self.queue.back()) else { return false };
        let span = last.timestamp.wrapping_sub(first.timestamp);
        self.queue.len() >= self.settings.most_packets
            && to_duration(span, clock_rate) >= self.settings.most_lag
            && span <= i32::MAX as u32
    }
}

fn to_duration(ticks: u32, clock_rate: u32) -> Duration {
    Duration::from_micros(u64::from(ticks) * 1_000_000 / u64::from(clock_rate.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn settings() -> DtxSettings {
        DtxSettings {
            delay: 50 * MS,
            longest: Some(Duration::from_secs(2)),
            most_packets: 10,
            most_lag: 100 * MS,
            shift: 5 * MS,
            noise: None,
            native_amr: true,
            native_evs: true,
        }
    }

    fn packet(timestamp: u32) -> SequencedPacket {
        SequencedPacket {
            extended_sequence: 0,
            timestamp,
            payload_type: 0,
            marker: false,
            arrival: Instant::now(),
            lost_before: 0,
            payload: vec![1],
        }
    }

    /// Timestamps that come out, `None` for what is filled in, with packets of 20 ms that arrive at these times (in ms).
    fn play(settings: DtxSettings, arrivals: &[(u64, u32)], until: u64) -> Vec<(u64, Option<u32>)> {
        let start = Instant::now();
        let mut buffer = DtxBuffer::new(settings);
        let mut out = Vec::new();
        let mut arrivals = arrivals.iter().peekable();
        for ms in 0..until {
            let now = start + Duration::from_millis(ms);
            while let Some((_, timestamp)) = arrivals.next_if(|(at, _)| *at <= ms) {
                buffer.push(now, &packet(*timestamp));
            }
            while buffer.next_turn().is_some_and(|at| at <= now) {
                match buffer.turn(now, 160, 8000, |_| false) {
                    Turn::Packet(packet) => {
                        out.push((ms, Some(packet.timestamp)));
                        buffer.recycle(packet);
                    }
                    Turn::Missing => out.push((ms, None)),
                    Turn::Stopped => break,
                }
            }
        }
        out
    }

    #[test]
    fn silence_that_was_not_sent_is_filled_in_time() {
        let played = play(settings(), &[(0, 0), (20, 160), (160, 1280), (180, 1440)], 260);
        let expected: Vec<(u64, Option<u32>)> = (0..10)
            .map(|n| {
                (50 + n * 20, [0, 160, 1280, 1440].contains(&(n as u32 * 160)).then_some(n as u32 * 160))
            })
            .collect();
        assert_eq!(played[..10], expected);
    }

    #[test]
    fn long_silence_ends_filling_in_and_the_next_packet_begins_anew() {
        let played = play(settings(), &[(0, 0), (5000, 80_000)], 5100);
        let filled = played.iter().filter(|(_, packet)| packet.is_none()).count();
        assert!((95..=100).contains(&filled), "{filled}");
        assert!(played.contains(&(5050, Some(80_000))), "{:?}", played.last());
    }

    #[test]
    fn slow_and_fast_senders_are_followed() {
        for (sender_us, kept) in [(19_800, true), (20_200, true), (20_200, false)] {
            let arrivals: Vec<_> = (0..2000_u64).map(|n| (n * sender_us / 1000, n as u32 * 160)).collect();
            let settings = DtxSettings { shift: if kept { 5 * MS } else { Duration::ZERO }, ..settings() };
            let played = play(settings, &arrivals, 2000 * sender_us / 1000);
            let missing = played.iter().filter(|(_, packet)| packet.is_none()).count();
            assert!(missing < 30, "{sender_us}: {missing}");
            let longest = played.iter().filter_map(|&(at, packet)| {
                packet.map(|timestamp| at.saturating_sub(u64::from(timestamp) / 160 * sender_us / 1000))
            });
            let longest = longest.max().unwrap();
            assert!(longest <= 300, "{sender_us}: a packet waited {longest} ms");
        }
    }

    #[test]
    fn late_packets_are_dropped_and_jumps_are_followed() {
        let arrivals =
            [(0, 1000), (20, 1160), (75, 1000), (90, 1480), (100, 900_000), (120, 900_160), (140, 5)];
        let played: Vec<_> =
            play(settings(), &arrivals, 400).into_iter().filter_map(|(_, packet)| packet).collect();
        assert_eq!(played, [1000, 1160, 1480, 900_000, 900_160, 5]);
    }
}
