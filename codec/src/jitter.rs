//! The jitter buffer of one stream: when a packet that arrives is to go on. Holds no packets itself.
//!
//! The first packets of a stream go on at once. Then one sets a time base, and the others follow at their timestamps, later by the
//! length of the buffer: so many packet intervals, which grow with gaps in the sequence and shrink after a long time without; or, when it
//! is adaptive, what the measured jitter asks for.

use std::time::{Duration, Instant};

/// Options of all buffers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct JitterSettings {
    /// Longest buffer in packets; 0 for no buffer.
    pub most_packets: u32,
    /// The sender's clock is followed.
    pub follow_drift: bool,
    /// Bounds of a length by measured jitter.
    pub adaptive: Option<(Duration, Duration)>,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// It goes on now.
    Pass,
    /// It goes on at that time.
    Until(Instant),
}

/// What the buffer has to know of a packet.
#[derive(Clone, Copy, Debug)]
pub struct Packet {
    /// Source.
    pub ssrc: u32,
    /// Sequence number.
    pub sequence_number: u16,
    /// Timestamp.
    pub timestamp: u32,
    /// Payload type.
    pub payload_type: u8,
    /// Marker bit.
    pub marker: bool,
    /// Named events, whose timestamps stand still.
    pub is_event: bool,
    /// Ticks per second of the timestamp.
    pub clock_rate: u32,
}

/// The buffer of one stream.
#[derive(Debug)]
pub struct JitterBuffer {
    settings: JitterSettings,
    seen: u32,
    base: Option<Base>,
    last: Option<Last>,
    /// Packets by which the stream is delayed.
    length: u32,
    in_order: u32,
    gaps_in_a_row: u32,
    resets: u32,
    disabled: bool,
    jitter: Jitter,
    drift: Drift,
}

#[derive(Clone, Copy, Debug)]
struct Base {
    at: Instant,
    timestamp: u32,
    sequence_number: u16,
    ssrc: u32,
    payload_type: u8,
    packets: u32,
}

#[derive(Clone, Copy, Debug)]
struct Last {
    sequence_number: u16,
    timestamp: u32,
    was_event: bool,
    send_at: Instant,
    /// Time between packets as the sender means it.
    interval: Duration,
}

/// Differences between arrival and expectation: mean plus four deviations are waited for.
#[derive(Clone, Copy, Debug, Default)]
struct Jitter {
    samples: u32,
    mean_ms: f64,
    squares: f64,
    target: Duration,
}

#[derive(Clone, Copy, Debug, Default)]
struct Drift {
    packets: u32,
    /// Arrival behind expectation at the first packet of the present count.
    start_us: i64,
    per_packet_us: i64,
    disabled: bool,
}

/// Packets at the beginning of a stream that are not held.
const INITIAL: u32 = 30;
const SHRINK_AFTER: u32 = 500;
const MOST_GAPS: u32 = 10;
const MOST_RESETS: u32 = 2;
const BASE_PACKETS: u32 = 3000;
const FURTHEST: Duration = Duration::from_secs(1);
const DRIFT_PACKETS: u32 = 40;
const MOST_DRIFT_US: i64 = 10_000;
/// Differences above are pauses.
const LONGEST_DIFFERENCE_MS: f64 = 2000.0;
const USUAL_INTERVAL: Duration = Duration::from_millis(20);

impl JitterBuffer {
    /// An empty buffer.
    pub fn new(settings: JitterSettings) -> Self {
        Self {
            settings,
            seen: 0,
            base: None,
            last: None,
            length: 0,
            in_order: 0,
            gaps_in_a_row: 0,
            resets: 0,
            disabled: settings.most_packets == 0,
            jitter: Jitter::default(),
            drift: Drift::default(),
        }
    }

    /// Decides about a packet that arrives at `now`, with `waiting` packets of the stream held at present.
    pub fn arrived(&mut self, now: Instant, packet: &Packet, waiting: u32) -> Hold {
        if self.disabled {
            return Hold::Pass;
        }
        self.seen = self.seen.saturating_add(1);
        if self.seen <= INITIAL {
            self.remember(packet, now);
            return Hold::Pass;
        }
        self.watch_sequence(packet);
        if self.disabled {
            return Hold::Pass;
        }
        // More than may wait: from here on packets leave as they come, behind those that do.
        if waiting > self.settings.most_packets.saturating_add(1) || self.begins_anew(packet) {
            self.begin(now, packet);
        }
        let send_at = match self.planned(packet) {
            Some(at) if at <= now + FURTHEST => at.max(now),
            _ => {
                self.begin(now, packet);
                self.planned(packet).map_or(now, |at| at.max(now))
            }
        };
        self.measure(now, packet);
        // Packets of a stream do not overtake each other, but for those that were out of order on the way.
        let is_next = self.last.is_none_or(|last| ahead(packet.sequence_number, last.sequence_number) > 0);
        let send_at = self.last.filter(|_| is_next).map_or(send_at, |last| {
            if last.send_at <= now + FURTHEST { send_at.max(last.send_at) } else { send_at }
        });
        if let Some(base) = &mut self.base {
            base.packets += 1;
        }
        self.remember(packet, send_at);
        if send_at > now { Hold::Until(send_at) } else { Hold::Pass }
    }

    /// Packets by which the stream is delayed at present.
    pub fn length(&self) -> u32 {
        self.length
    }

    fn watch_sequence(&mut self, packet: &Packet) {
        let Some(last) = self.last else { return };
        match ahead(packet.sequence_number, last.sequence_number) {
            1 => {
                self.gaps_in_a_row = 0;
                self.in_order += 1;
                if self.in_order >= SHRINK_AFTER {
                    self.in_order = 0;
                    self.length = self.length.saturating_sub(1);
                }
            }
            _ if packet.marker => {}
            _ => {
                self.in_order = 0;
                self.gaps_in_a_row += 1;
                self.length = (self.length + 1).min(self.settings.most_packets);
                if self.gaps_in_a_row >= MOST_GAPS {
                    self.gaps_in_a_row = 0;
                    self.length = 0;
                    self.base = None;
                    self.resets += 1;
                    self.disabled = self.resets > MOST_RESETS;
                }
            }
        }
    }

    fn begins_anew(&self, packet: &Packet) -> bool {
        let Some(base) = &self.base else { return true };
        let after_event = self.last.is_some_and(|last| last.was_event) && !packet.is_event;
        packet.marker
            || packet.ssrc != base.ssrc
            || packet.sequence_number == 0
            || (packet.payload_type != base.payload_type && !packet.is_event)
            || after_event
            || base.packets > BASE_PACKETS
    }

    fn begin(&mut self, now: Instant, packet: &Packet) {
        self.base = Some(Base {
            at: now,
            timestamp: packet.timestamp,
            sequence_number: packet.sequence_number,
            ssrc: packet.ssrc,
            payload_type: packet.payload_type,
            packets: 0,
        });
        self.drift = Drift { disabled: self.drift.disabled, ..Drift::default() };
    }

    /// By base, timestamp and length; `None` when that lies before the base by more than a packet may wait.
    fn planned(&self, packet: &Packet) -> Option<Instant> {
        let base = self.base?;
        let us = self.ticks_us(packet.timestamp.wrapping_sub(base.timestamp), packet.clock_rate);
        let wait = match self.settings.adaptive {
            Some(_) => self.jitter.target,
            None => self.interval() * self.length,
        };
        let drift = i64::from(ahead(packet.sequence_number, base.sequence_number)) * self.drift.per_packet_us;
        let us = us + wait.as_micros() as i64 + drift;
        let offset = Duration::from_micros(us.unsigned_abs());
        if us >= 0 {
            base.at.checked_add(offset)
        } else if offset < FURTHEST {
            base.at.checked_sub(offset)
        } else {
            None
        }
    }

    fn ticks_us(&self, ticks: u32, clock_rate: u32) -> i64 {
        i64::from(ticks as i32) * 1_000_000 / i64::from(clock_rate.max(1))
    }

    fn interval(&self) -> Duration {
        self.last.map_or(USUAL_INTERVAL, |last| last.interval)
    }

    fn measure(&mut self, now: Instant, packet: &Packet) {
        let Some(base) = self.base else { return };
        let expected_us = self.ticks_us(packet.timestamp.wrapping_sub(base.timestamp), packet.clock_rate);
        let arrived_us = now.saturating_duration_since(base.at).as_micros() as i64;
        let behind_us = arrived_us - expected_us;
        if let Some(bounds) = self.settings.adaptive {
            self.jitter.sample(behind_us as f64 / 1000.0, bounds);
        }
        if self.settings.follow_drift && !self.drift.disabled {
            self.drift.packet(behind_us);
        }
    }

    fn remember(&mut self, packet: &Packet, send_at: Instant) {
        let interval = self.last.and_then(|last| {
            let next = ahead(packet.sequence_number, last.sequence_number) == 1 && !packet.is_event;
            let us = self.ticks_us(packet.timestamp.wrapping_sub(last.timestamp), packet.clock_rate);
            (next && (1000..=200_000).contains(&us)).then(|| Duration::from_micros(us as u64))
        });
        let interval = interval.unwrap_or(self.interval());
        self.last = Some(Last {
            sequence_number: packet.sequence_number,
            timestamp: packet.timestamp,
            was_event: packet.is_event,
            send_at,
            interval,
        });
    }
}

impl Jitter {
    /// The target is computed anew every ten samples (Welford's method).
    fn sample(&mut self, difference_ms: f64, (least, most): (Duration, Duration)) {
        let difference = difference_ms.abs();
        if difference > LONGEST_DIFFERENCE_MS {
            return;
        }
        self.samples += 1;
        let from_mean = difference - self.mean_ms;
        self.mean_ms += from_mean / f64::from(self.samples);
        self.squares += from_mean * (difference - self.mean_ms);
        if self.samples >= 10 && self.samples.is_multiple_of(10) {
            let deviation = (self.squares / f64::from(self.samples)).sqrt();
            let target = Duration::from_secs_f64((self.mean_ms + 4.0 * deviation).max(0.0) / 1000.0);
            self.target = target.clamp(least, most.max(least));
        }
        if self.samples >= 1000 {
            // Old samples count half as much from now on.
            self.samples /= 2;
            self.squares /= 2.0;
        }
    }
}

impl Drift {
    fn packet(&mut self, behind_us: i64) {
        if self.packets == 0 {
            self.start_us = behind_us;
        }
        self.packets += 1;
        if self.packets <= DRIFT_PACKETS {
            return;
        }
        let change = behind_us - self.start_us;
        self.packets = 0;
        if (behind_us.abs()) > MOST_DRIFT_US * i64::from(DRIFT_PACKETS) {
            (self.disabled, self.per_packet_us) = (true, 0);
            return;
        }
        // Half of what was found, so that jitter of a single packet does not shake the stream.
        self.per_packet_us = (self.per_packet_us + change / i64::from(DRIFT_PACKETS)) / 2;
        if self.per_packet_us.abs() > MOST_DRIFT_US {
            (self.disabled, self.per_packet_us) = (true, 0);
        }
    }
}

fn ahead(number: u16, of: u16) -> i16 {
    number.wrapping_sub(of) as i16
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn packet(n: u16) -> Packet {
        Packet {
            ssrc: 1,
            sequence_number: n,
            timestamp: u32::from(n) * 160,
            payload_type: 0,
            marker: false,
            is_event: false,
            clock_rate: 8000,
        }
    }

    fn settings(most_packets: u32) -> JitterSettings {
        JitterSettings { most_packets, ..JitterSettings::default() }
    }

    /// Milliseconds that packets wait which arrive at these times.
    fn waits(settings: JitterSettings, arrivals: &[(u16, u64)]) -> Vec<Option<u64>> {
        let start = Instant::now();
        let mut buffer = JitterBuffer::new(settings);
        let mut held: Vec<Instant> = Vec::new();
        let hold = |&(n, ms): &(u16, u64)| {
            let now = start + Duration::from_millis(ms);
            held.retain(|at| *at > now);
            match buffer.arrived(now, &packet(n), held.len() as u32) {
                Hold::Pass => Some(0),
                Hold::Until(at) => {
                    held.push(at);
                    Some((at - now).as_millis() as u64)
                }
            }
        };
        arrivals.iter().map(hold).collect()
    }

    #[test]
    fn a_steady_stream_is_not_delayed() {
        let arrivals: Vec<_> = (1..1000_u16).map(|n| (n, u64::from(n) * 20)).collect();
        assert!(waits(settings(5), &arrivals).iter().all(|&wait| wait == Some(0)));
    }

    #[test]
    fn gaps_lengthen_the_buffer_and_order_shortens_it() {
        let mut arrivals: Vec<_> = (1..=40_u16).map(|n| (n, u64::from(n) * 20)).collect();
        // Two packets change places: two gaps.
        arrivals.extend([(42, 840), (41, 850)]);
        arrivals.extend((43..1800_u16).map(|n| (n, u64::from(n) * 20)));
        let waits = waits(settings(3), &arrivals);
        assert_eq!(waits[..40], [Some(0); 40]);
        assert!(waits[43..100].iter().all(|&wait| wait == Some(60)), "{:?}", &waits[38..60]);
        assert!(waits[600..900].iter().all(|&wait| wait == Some(40)), "{:?}", waits[700]);
        assert!(waits[1700..].iter().all(|&wait| wait == Some(0)), "{:?}", waits[1700]);
    }

    #[test]
    fn jittery_packets_leave_evenly_by_measured_jitter() {
        let settings = JitterSettings { adaptive: Some((Duration::ZERO, 300 * MS)), ..settings(10) };
        let arrivals: Vec<_> =
            (1..500_u16).map(|n| (n, u64::from(n) * 20 + u64::from(n) * 7919 % 31)).collect();
        let waits = waits(settings, &arrivals);
        let leaves: Vec<u64> =
            arrivals.iter().zip(&waits).filter_map(|((_, at), wait)| Some(at + (*wait)?)).collect();
        let uneven = leaves[200..].windows(2).filter(|w| (w[1] - w[0]).abs_diff(20) > 4).count();
        assert!(uneven < 20, "{uneven} of {}", leaves.len());
        assert!(waits.iter().flatten().all(|&wait| wait <= 120), "{:?}", waits.iter().flatten().max());
    }

    #[test]
    fn a_hopeless_stream_is_left_alone() {
        let arrivals: Vec<_> = (1..200_u16).map(|n| (n.wrapping_mul(7), u64::from(n) * 20)).collect();
        assert_eq!(waits(settings(4), &arrivals)[80..], vec![Some(0); 119]);
    }

    #[test]
    fn a_drifting_sender_is_followed() {
        let settings = JitterSettings { follow_drift: true, ..settings(4) };
        let mut arrivals: Vec<_> = (1..=40_u16).map(|n| (n, u64::from(n) * 20)).collect();
        arrivals.extend([(42, 840), (41, 850)]);
        // 20.1 ms instead of 20.
        arrivals.extend((43..2000_u16).map(|n| (n, 860 + u64::from(n - 43) * 201 / 10)));
        let waits = waits(settings, &arrivals);
        let late = waits[60..500].iter().filter(|wait| **wait == Some(0)).count();
        assert_eq!(late, 0, "{:?}", &waits[480..500]);
    }

    proptest! {
        #[test]
        fn nothing_waits_for_longer_than_a_second(
            most in 1u32..20, drift: bool, adaptive: bool,
            packets in prop::collection::vec((any::<u16>(), any::<u32>(), 0u64..300, 0u8..8), 0..200),
        ) {
            let adaptive = adaptive.then_some((Duration::ZERO, 300 * MS));
            let mut buffer = JitterBuffer::new(JitterSettings { most_packets: most, follow_drift: drift, adaptive });
            let mut now = Instant::now();
            let mut last = packet(0);
            for (n, timestamp, ms, kind) in packets {
                now += ms as u32 * MS;
                last = match kind {
                    0 => Packet { sequence_number: n, timestamp, ..last },
                    1 => Packet { marker: true, is_event: true, ..last },
                    _ => Packet {
                        sequence_number: last.sequence_number.wrapping_add(1),
                        timestamp: last.timestamp.wrapping_add(160),
                        marker: false,
                        is_event: false,
                        ..last
                    },
                };
                if let Hold::Until(at) = buffer.arrived(now, &last, u32::from(kind) * 3) {
                    prop_assert!(at > now && at <= now + 2 * FURTHEST);
                }
                prop_assert!(buffer.length() <= most);
            }
        }
    }
}
