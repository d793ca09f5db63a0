//! Packets that wait for a reader: bounded in time and octets, the oldest go first.

use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::stats::Shared;

/// How long a packet waits for a reader.
pub(super) const MAX_AGE: Duration = Duration::from_secs(10);
/// Octets that wait for one reader.
const MAX_OCTETS: usize = 4 << 20;
/// Octets that wait for all readers together.
const MAX_TOTAL_OCTETS: u64 = 512 << 20;

/// A packet with its headers, and when it came.
pub(super) struct Waiting {
    pub arrived: Instant,
    pub octets: Box<[u8]>,
}

/// Oldest first.
#[derive(Default)]
pub(super) struct PacketQueue {
    packets: VecDeque<Waiting>,
    octets: usize,
    /// Packets that were dropped from this queue.
    lost: u64,
}

impl PacketQueue {
    /// Appends a packet, and drops what has become too old or too much.
    pub fn push(&mut self, packet: Waiting, shared: &Shared) {
        let now = packet.arrived;
        self.add(&packet, shared);
        self.packets.push_back(packet);
        self.trim(now, shared);
    }

    /// Puts back packets that had been taken off, oldest last.
    pub fn put_back(&mut self, packet: Waiting, shared: &Shared) {
        self.add(&packet, shared);
        self.packets.push_front(packet);
    }

    /// Drops what is too old or too much; `true` if there was something.
    pub fn trim(&mut self, now: Instant, shared: &Shared) -> bool {
        let before = self.lost;
        while let Some(oldest) = self.packets.front() {
            let total = shared.exposed_queued_octets.load(Relaxed);
            let fits = self.octets <= MAX_OCTETS && total <= MAX_TOTAL_OCTETS;
            if fits && now.duration_since(oldest.arrived) <= MAX_AGE {
                break;
            }
            self.pop(shared);
            self.lost += 1;
            shared.exposed_lost.fetch_add(1, Relaxed);
        }
        if self.lost > before {
            shared.overflowed(now);
        }
        self.lost > before
    }

    pub fn front(&self) -> Option<&Waiting> {
        self.packets.front()
    }

    pub fn pop(&mut self, shared: &Shared) -> Option<Waiting> {
        let packet = self.packets.pop_front()?;
        self.octets -= packet.octets.len();
        shared.exposed_queued_octets.fetch_sub(packet.octets.len() as u64, Relaxed);
        Some(packet)
    }

    /// Drops everything; returns how many packets there were.
    pub fn clear(&mut self, shared: &Shared) -> u64 {
        let mut count = 0;
        while self.pop(shared).is_some() {
            count += 1;
        }
        count
    }

    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    pub fn lost(&self) -> u64 {
        self.lost
    }

    fn add(&mut self, packet: &Waiting, shared: &Shared) {
        self.octets += packet.octets.len();
        shared.exposed_queued_octets.fetch_add(packet.octets.len() as u64, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(arrived: Instant, number: u8, len: usize) -> Waiting {
        Waiting { arrived, octets: vec![number; len].into() }
    }

    #[test]
    fn packets_older_than_ten_seconds_go_first() {
        let shared = Shared::default();
        let start = Instant::now();
        let mut queue = PacketQueue::default();
        for second in 0..=12 {
            queue.push(packet(start + Duration::from_secs(second), second as u8, 100), &shared);
        }
        assert_eq!(queue.lost(), 2);
        assert_eq!(queue.front().map(|oldest| oldest.octets[0]), Some(2));
        let stats = shared.snapshot();
        assert_eq!((stats.exposed_lost, stats.exposed_queued_octets), (2, 1100));
        assert_eq!(queue.clear(&shared), 11);
        assert_eq!(shared.snapshot().exposed_queued_octets, 0);
    }

    #[test]
    fn octets_are_bounded() {
        let shared = Shared::default();
        let now = Instant::now();
        let mut queue = PacketQueue::default();
        for number in 0..5 {
            queue.push(packet(now, number, MAX_OCTETS / 4), &shared);
        }
        assert_eq!(queue.lost(), 1);
        assert_eq!(queue.front().map(|oldest| oldest.octets[0]), Some(1));
    }

    #[test]
    fn what_is_put_back_comes_first_again() {
        let shared = Shared::default();
        let now = Instant::now();
        let mut queue = PacketQueue::default();
        queue.push(packet(now, 1, 1), &shared);
        queue.push(packet(now, 2, 1), &shared);
        let first = queue.pop(&shared).expect("a packet");
        queue.put_back(first, &shared);
        assert_eq!(queue.pop(&shared).map(|p| p.octets[0]), Some(1));
        assert_eq!(queue.pop(&shared).map(|p| p.octets[0]), Some(2));
        assert!(queue.is_empty());
    }
}
