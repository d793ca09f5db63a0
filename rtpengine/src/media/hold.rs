//! RTP of a party that waits between its arrival and everything that is done with it: the jitter buffer and the delay buffer.
//!
//! A packet is accepted, counted and tapped when it arrives, then lies in the worker's schedule, and goes through the edges of its stream
//! when its time has come. When the schedule has no room, packets go on at once.

use std::time::{Duration, Instant};

use codec::jitter::{Hold, JitterBuffer, JitterSettings, Packet};
use serde::{Deserialize, Serialize};

use super::accept::{Accepted, seen};
use super::forward;
use super::output::Output;
use super::receive::{DATAGRAM, ReceiveBatch};
use super::ssrc::Seen;
use super::stream::Stream;
use super::worker::Worker;

/// What a stream is told about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldPlan {
    /// `delay-buffer`: for all packets alike.
    pub delay: Duration,
    pub jitter: JitterSettings,
}

impl HoldPlan {
    /// Whether it is one that signalling and configuration can bring about; for what comes from elsewhere.
    pub fn is_sound(&self) -> bool {
        let bounds = self.jitter.adaptive.unwrap_or_default();
        self.delay <= MAX_DELAY && self.jitter.most_packets <= 65_536 && bounds.0.max(bounds.1) <= MAX_DELAY
    }

    fn is_none(&self) -> bool {
        self.delay.is_zero() && self.jitter.most_packets == 0
    }
}

/// Longest delay that can be asked for.
pub const MAX_DELAY: Duration = Duration::from_secs(5);

/// The packets of a stream that wait.
pub struct Holding {
    plan: HoldPlan,
    jitter: JitterBuffer,
    waiting: u32,
    /// When the last one in sequence goes on: a delay that becomes shorter lets nothing overtake. What is late goes to its place.
    last: Option<(Instant, u16)>,
}

impl Holding {
    /// `None` when nothing is to wait, nor anything does.
    pub fn follow(before: Option<Box<Self>>, plan: HoldPlan) -> Option<Box<Self>> {
        match before {
            Some(mut holding) if holding.plan == plan || holding.waiting > 0 => {
                if holding.plan.jitter != plan.jitter {
                    holding.jitter = JitterBuffer::new(plan.jitter);
                }
                holding.plan = plan;
                Some(holding)
            }
            _ if plan.is_none() => None,
            _ => {
                let jitter = JitterBuffer::new(plan.jitter);
                Some(Box::new(Self { plan, jitter, waiting: 0, last: None }))
            }
        }
    }

    /// When a packet goes on; `None`: now.
    fn until(&mut self, now: Instant, packet: &Packet) -> Option<Instant> {
        let at = match self.jitter.arrived(now, packet, self.waiting) {
            Hold::Pass => now,
            Hold::Until(at) => at,
        } + self.plan.delay;
        let last = self.last.filter(|(_, number)| self.waiting > 0 && is_ahead(packet, *number));
        let at = last.map_or(at, |(last, _)| last.max(at));
        (at > now).then_some(at)
    }

    /// A packet waits.
    fn holds(&mut self, packet: &Packet, at: Instant) {
        if self.waiting == 0 || self.last.is_none_or(|(_, number)| is_ahead(packet, number)) {
            self.last = Some((at, packet.sequence_number));
        }
        self.waiting += 1;
    }
}

/// Puts the RTP packets of a batch aside that have to wait.
pub fn hold(
    stream: &mut Stream,
    token: u64,
    batch: &ReceiveBatch,
    accepted: &mut [Accepted],
    output: &mut Output,
) {
    let Some(mut holding) = stream.holding.take() else { return };
    let now = output.now.instant;
    for (index, accepted) in accepted.iter_mut().enumerate() {
        let Accepted::Rtp(seen) = accepted else { continue };
        let octets = batch.octets(index);
        let packet = Packet {
            ssrc: seen.ssrc,
            sequence_number: seen.sequence_number,
            timestamp: seen.timestamp,
            payload_type: seen.payload_type,
            marker: octets.get(1).is_some_and(|octet| octet & 0x80 != 0),
            is_event: stream.dtmf.as_ref().is_some_and(|dtmf| dtmf.listens_to(seen.payload_type)),
            clock_rate: Stream::clock_rate(&stream.clock_rates, seen.payload_type),
        };
        let Some(at) = holding.until(now, &packet) else { continue };
        if output.schedule.held(at, token, section_code(seen), octets) {
            holding.holds(&packet, at);
            *accepted = Accepted::Refused;
        }
    }
    stream.holding = Some(holding);
}

fn is_ahead(packet: &Packet, number: u16) -> bool {
    packet.sequence_number.wrapping_sub(number) as i16 > 0
}

/// A section as the schedule keeps it.
fn section_code(seen: &Seen) -> u64 {
    seen.section.map_or(u64::MAX, u64::from)
}

impl Worker {
    /// A packet goes on that has waited.
    pub(super) fn release_held(&mut self, index: u32) {
        let waiting = self.output.schedule.waiting(index);
        let (token, section) = (waiting.source, waiting.sink);
        let placed = self.batch.place(waiting.octets());
        self.output.schedule.release(index);
        let Some(slot) = self.streams.resolve(token) else { return };
        let Some(stream) = self.streams.get_mut(slot) else { return };
        if let Some(holding) = &mut stream.holding {
            holding.waiting = holding.waiting.saturating_sub(1);
        }
        if !placed {
            return;
        }
        let mut seen = seen(self.batch.octets(0));
        seen.section = u8::try_from(section).ok();
        let accepted = [Accepted::Rtp(seen)];
        let Self { streams, batch, output, scratch, .. } = self;
        forward::follow_edges(streams, slot, batch, &accepted, output, scratch);
        self.tell_digits(slot);
    }
}

const _: () = assert!(DATAGRAM >= 1500, "a datagram of the schedule fits a batch");

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn a_delay_that_becomes_shorter_keeps_the_order() {
        let now = Instant::now();
        let of = |ms| HoldPlan { delay: Duration::from_millis(ms), ..HoldPlan::default() };
        assert!(Holding::follow(None, HoldPlan::default()).is_none());
        let mut holding = Holding::follow(None, of(100)).unwrap();
        let first = holding.until(now, &packet(1));
        assert_eq!(first, Some(now + Duration::from_millis(100)));
        holding.holds(&packet(1), now + Duration::from_millis(100));
        let mut holding = Holding::follow(Some(holding), HoldPlan::default()).unwrap();
        assert_eq!(holding.until(now + Duration::from_millis(20), &packet(2)), first);
        holding.waiting = 0;
        assert_eq!(holding.until(now + Duration::from_millis(120), &packet(3)), None);
    }

    #[test]
    fn what_is_late_goes_to_its_place() {
        // The first disorder makes the buffer as long as it may be.
        let jitter = JitterSettings { most_packets: 3, ..JitterSettings::default() };
        let mut holding = Holding::follow(None, HoldPlan { jitter, ..HoldPlan::default() }).unwrap();
        let start = Instant::now();
        let order: Vec<u16> = (0..35).chain([36, 37, 35]).chain(38..45).chain([46, 47, 45]).collect();
        let mut leaves: Vec<(Instant, u16)> = Vec::new();
        for (slot, number) in order.into_iter().enumerate() {
            let now = start + Duration::from_millis(slot as u64 * 20);
            holding.waiting = leaves.iter().filter(|(at, _)| *at > now).count() as u32;
            let packet = packet(number);
            let at = holding.until(now, &packet).inspect(|at| holding.holds(&packet, *at));
            leaves.push((at.unwrap_or(now), number));
        }
        leaves.sort_by_key(|(at, _)| *at);
        let last: Vec<u16> = leaves[40..].iter().map(|(_, number)| *number).collect();
        assert_eq!(last, (40..48).collect::<Vec<u16>>());
    }
}
