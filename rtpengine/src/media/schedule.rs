//! What a worker does later: packets of the codec graph that wait for their turn, and players.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use super::receive::DATAGRAM;

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Due {
    /// A waiting packet; give it back with [`Schedule::release`].
    Packet(u32),
    /// A packet that waits for its way through the edges; give it back likewise.
    Held(u32),
    /// A transcoder of this SSRC on the stream with this token.
    Turn(u64, u32),
    /// A player by its number.
    Player(u64),
    /// A digit that is being added, by its number.
    Injection(u64),
    /// A dummy packet of the stream with this token.
    Pierce(u64),
    /// An ICE agent by its number.
    Ice(u64),
    /// The next packet of the mixer of the stream with this token.
    Mix(u64),
    /// RTCP of our own on the stream with this token.
    Report(u64),
    /// A sample of what comes in on the stream with this token.
    Measure(u64),
    /// A fax gateway by its number.
    Fax(u64),
    /// Off-loading of the stream with this token; without a stream, of those that have ended.
    Offload(u64),
}

/// A packet that waits.
pub struct Waiting {
    /// Token of the sink.
    pub sink: u64,
    /// Token of the stream that it arrived on.
    pub source: u64,
    length: usize,
    octets: [u8; DATAGRAM],
}

impl Waiting {
    pub fn octets(&self) -> &[u8] {
        &self.octets[..self.length]
    }
}

/// A heap of deadlines and a pool of packet buffers. The pool grows to the greatest number that ever waited,
/// [`MAX_WAITING`] at most, and is used again from then on.
pub struct Schedule {
    heap: BinaryHeap<Reverse<(Instant, u64, Due)>>,
    order: u64,
    #[expect(clippy::vec_box, reason = "growing must not copy whole datagrams")]
    waiting: Vec<Box<Waiting>>,
    free: Vec<u32>,
}

/// Packets that may wait; further ones are sent at once.
const MAX_WAITING: usize = 16_384;
const PREALLOCATED: usize = 256;

impl Schedule {
    pub fn new() -> Self {
        let mut schedule = Self {
            heap: BinaryHeap::with_capacity(4096),
            order: 0,
            waiting: Vec::with_capacity(4096),
            free: Vec::with_capacity(4096),
        };
        for _ in 0..PREALLOCATED {
            schedule.grow();
        }
        schedule
    }

    fn grow(&mut self) {
        self.free.push(self.waiting.len() as u32);
        self.waiting.push(Box::new(Waiting { sink: 0, source: 0, length: 0, octets: [0; DATAGRAM] }));
    }

    /// Queues a packet made of two parts, from `source` to `sink`; `false` when no buffer is left or it is too
    /// long.
    pub fn packet(&mut self, at: Instant, tokens: [u64; 2], header: &[u8], payload: &[u8]) -> bool {
        let index = self.keep(tokens, header, payload);
        index.inspect(|&index| self.push(at, Due::Packet(index))).is_some()
    }

    /// Queues a packet of `source` that goes through its edges later; `note` comes back as its sink.
    pub fn held(&mut self, at: Instant, source: u64, note: u64, octets: &[u8]) -> bool {
        let index = self.keep([source, note], octets, &[]);
        index.inspect(|&index| self.push(at, Due::Held(index))).is_some()
    }

    /// Queues the next turn of a transcoder.
    pub fn turn(&mut self, at: Instant, stream: u64, ssrc: u32) {
        self.push(at, Due::Turn(stream, ssrc));
    }

    fn keep(&mut self, [source, sink]: [u64; 2], header: &[u8], payload: &[u8]) -> Option<u32> {
        let length = header.len() + payload.len();
        if length > DATAGRAM {
            return None;
        }
        if self.free.is_empty() && self.waiting.len() < MAX_WAITING {
            self.grow();
        }
        let index = self.free.pop()?;
        let waiting = &mut self.waiting[index as usize];
        waiting.sink = sink;
        waiting.source = source;
        waiting.length = length;
        waiting.octets[..header.len()].copy_from_slice(header);
        waiting.octets[header.len()..length].copy_from_slice(payload);
        Some(index)
    }

    /// Queues a player's next turn.
    pub fn player(&mut self, at: Instant, player: u64) {
        self.push(at, Due::Player(player));
    }

    /// Queues the next turn of a digit that is being added.
    pub fn injection(&mut self, at: Instant, injection: u64) {
        self.push(at, Due::Injection(injection));
    }

    /// Queues a stream's next turn of off-loading.
    pub fn offload(&mut self, at: Instant, stream: u64) {
        self.push(at, Due::Offload(stream));
    }

    /// Queues the next dummy packet of a stream.
    pub fn pierce(&mut self, at: Instant, stream: u64) {
        self.push(at, Due::Pierce(stream));
    }

    /// Queues the next turn of an ICE agent.
    pub fn ice(&mut self, at: Instant, agent: u64) {
        self.push(at, Due::Ice(agent));
    }

    /// Queues the next packet of a stream's mixer.
    pub fn mix(&mut self, at: Instant, stream: u64) {
        self.push(at, Due::Mix(stream));
    }

    /// Queues the next RTCP of our own of a stream.
    pub fn report(&mut self, at: Instant, stream: u64) {
        self.push(at, Due::Report(stream));
    }

    /// Queues the next sample of a stream.
    pub fn measure(&mut self, at: Instant, stream: u64) {
        self.push(at, Due::Measure(stream));
    }

    /// Queues the next turn of a fax gateway.
    pub fn fax(&mut self, at: Instant, gateway: u64) {
        self.push(at, Due::Fax(gateway));
    }

    fn push(&mut self, at: Instant, due: Due) {
        self.order += 1;
        self.heap.push(Reverse((at, self.order, due)));
    }

    /// Earliest deadline.
    pub fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, ..))| *at)
    }

    /// Takes the earliest entry that is due at `now`; equal deadlines come in the order they were queued.
    pub fn pop(&mut self, now: Instant) -> Option<(Instant, Due)> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse((at, _, due))| (at, due))
    }

    pub fn waiting(&self, index: u32) -> &Waiting {
        &self.waiting[index as usize]
    }

    pub fn release(&mut self, index: u32) {
        self.free.push(index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn packets_come_out_by_time_then_order_and_buffers_are_used_again() {
        let now = Instant::now();
        let mut schedule = Schedule::new();
        for (ms, octet) in [(30, 3), (10, 1), (20, 2), (10, 9)] {
            assert!(schedule.packet(now + Duration::from_millis(ms), [4, 5], &[octet], &[octet]));
        }
        assert!(schedule.pop(now).is_none());
        let mut seen = Vec::new();
        while let Some((_, Due::Packet(index))) = schedule.pop(now + Duration::from_millis(20)) {
            seen.push(schedule.waiting(index).octets()[0]);
            schedule.release(index);
        }
        assert_eq!(seen, [1, 9, 2]);
        assert_eq!(schedule.next(), Some(now + Duration::from_millis(30)));
        assert_eq!(schedule.waiting.len(), PREALLOCATED);
        assert!(!schedule.packet(now, [0, 0], &[0; 12], &[0; DATAGRAM]));
    }
}
