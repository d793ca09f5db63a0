//! Packets that wait for a reader: in memory, bounded in time and octets; beyond that on disk, the oldest first; beyond what may be kept
//! there the oldest of those in memory are dropped.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::spill::Spill;
use super::stats::Shared;

/// How long a packet waits for a reader in memory.
pub(super) const MAX_AGE: Duration = Duration::from_secs(10);
/// Octets that wait for one reader in memory.
const MAX_OCTETS: usize = 4 << 20;
/// Octets that wait for all readers together in memory.
const MAX_TOTAL_OCTETS: u64 = 512 << 20;
/// How long a disk that takes nothing is left alone.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// A packet with its headers, and when it came.
pub(super) struct Waiting {
    pub arrived: Instant,
    pub octets: Box<[u8]>,
}

/// Oldest first.
#[derive(Default)]
pub(super) struct PacketQueue {
    /// Older than everything on disk: put back, or read from there.
    first: VecDeque<Waiting>,
    spill: Option<Spill>,
    /// Where packets may go that memory has no room for.
    spill_path: Option<PathBuf>,
    /// Set while the disk takes nothing.
    retry_at: Option<Instant>,
    /// The newest.
    packets: VecDeque<Waiting>,
    /// Of `packets`.
    octets: usize,
    /// Packets that were dropped from this queue.
    lost: u64,
}

impl PacketQueue {
    /// A queue that goes on with what an earlier process left in `spill_path`.
    pub fn with_spill(spill_path: PathBuf, shared: &Shared) -> Self {
        let spill = Spill::adopt(spill_path.clone(), shared);
        Self { spill, spill_path: Some(spill_path), ..Self::default() }
    }

    /// Appends a packet, and makes room for it.
    pub fn push(&mut self, packet: Waiting, shared: &Shared) {
        let now = packet.arrived;
        self.octets += packet.octets.len();
        shared.exposed_queued_octets.fetch_add(packet.octets.len() as u64, Relaxed);
        self.packets.push_back(packet);
        self.trim(now, shared);
    }

    /// Puts back packets that had been taken off, oldest last.
    pub fn put_back(&mut self, packet: Waiting, shared: &Shared) {
        shared.exposed_queued_octets.fetch_add(packet.octets.len() as u64, Relaxed);
        self.first.push_front(packet);
    }

    /// Moves to disk, or drops, what is too old or too much.
    pub fn trim(&mut self, now: Instant, shared: &Shared) {
        if self.fits(now, shared) {
            return;
        }
        let older = |packet: &&Waiting| now.duration_since(packet.arrived) > MAX_AGE / 2;
        let half = self.packets.len().div_ceil(2);
        let count = self.packets.iter().take_while(older).count().max(half);
        if self.move_to_disk(count, now, shared) {
            return;
        }
        let before = self.lost;
        while !self.fits(now, shared) && self.pop_newer(shared).is_some() {
            self.lost += 1;
            shared.exposed_lost.fetch_add(1, Relaxed);
        }
        if self.lost > before {
            shared.overflowed(now);
        }
    }

    /// Moves everything that is behind what is on disk already to disk; `false` when that takes nothing.
    pub fn move_all_to_disk(&mut self, now: Instant, shared: &Shared) -> bool {
        self.packets.is_empty() || self.move_to_disk(self.packets.len(), now, shared)
    }

    /// The oldest packet.
    pub fn front(&mut self, shared: &Shared) -> Option<&Waiting> {
        if self.first.is_empty() && self.spill.is_some() {
            self.read_from_disk(shared);
        }
        self.first.front().or_else(|| self.packets.front())
    }

    /// Takes the oldest packet off; [`Self::front`] shows it before.
    pub fn pop(&mut self, shared: &Shared) -> Option<Waiting> {
        let Some(packet) = self.first.pop_front() else { return self.pop_newer(shared) };
        shared.exposed_queued_octets.fetch_sub(packet.octets.len() as u64, Relaxed);
        Some(packet)
    }

    /// Drops everything; returns how many packets there were.
    pub fn clear(&mut self, shared: &Shared) -> u64 {
        let mut count = self.spill.take().map_or(0, |spill| spill.remove(shared));
        while self.pop(shared).is_some() {
            count += 1;
        }
        self.works(shared);
        count
    }

    /// Leaves everything to another process, as far as there is a place.
    pub fn leave(mut self, shared: &Shared) -> u64 {
        self.works(shared);
        let left = self.spill.take();
        let waiting = self.first.len() + self.packets.len();
        let octets: usize = self.first.iter().map(|packet| packet.octets.len()).sum();
        shared.exposed_queued_octets.fetch_sub((octets + self.octets) as u64, Relaxed);
        let Some(path) = &self.spill_path else { return waiting as u64 };
        match Spill::leave(left, path, self.first.iter(), self.packets.iter(), shared) {
            Ok(()) => 0,
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "recorded packets cannot be left to the next instance");
                waiting as u64
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.first.is_empty() && self.spill.is_none() && self.packets.is_empty()
    }

    pub fn lost(&self) -> u64 {
        self.lost
    }

    fn fits(&self, now: Instant, shared: &Shared) -> bool {
        let Some(oldest) = self.packets.front() else { return true };
        let total = shared.exposed_queued_octets.load(Relaxed);
        self.octets <= MAX_OCTETS
            && total <= MAX_TOTAL_OCTETS
            && now.duration_since(oldest.arrived) <= MAX_AGE
    }

    fn pop_newer(&mut self, shared: &Shared) -> Option<Waiting> {
        let packet = self.packets.pop_front()?;
        self.octets -= packet.octets.len();
        shared.exposed_queued_octets.fetch_sub(packet.octets.len() as u64, Relaxed);
        Some(packet)
    }

    fn move_to_disk(&mut self, count: usize, now: Instant, shared: &Shared) -> bool {
        let Some(path) = &self.spill_path else { return false };
        if shared.spill_limit.load(Relaxed) == 0 || self.retry_at.is_some_and(|at| now < at) {
            return false;
        }
        if let Err(error) = Spill::append(&mut self.spill, path, self.packets.iter().take(count), shared) {
            match self.retry_at {
                None => shared.failed(path, &error),
                Some(_) => shared.failed_again(),
            }
            self.retry_at = Some(now + RETRY_INTERVAL);
            return false;
        }
        for _ in 0..count {
            self.pop_newer(shared);
        }
        self.works(shared);
        shared.spilled(now);
        true
    }

    fn read_from_disk(&mut self, shared: &Shared) {
        let Some(spill) = &mut self.spill else { return };
        let before = spill.unread();
        match spill.read() {
            Ok(packets) if !packets.is_empty() => {
                for packet in packets {
                    shared.exposed_queued_octets.fetch_add(packet.octets.len() as u64, Relaxed);
                    self.first.push_back(packet);
                }
                if spill.unread() > 0 {
                    return;
                }
            }
            Ok(_) => {}
            Err(error) => {
                tracing::error!(%error, packets = before, "recorded packets on disk cannot be read");
                self.lost += before;
                shared.exposed_lost.fetch_add(before, Relaxed);
            }
        }
        if let Some(spill) = self.spill.take() {
            spill.remove(shared);
        }
    }

    fn works(&mut self, shared: &Shared) {
        if self.retry_at.take().is_some() {
            shared.no_longer_failing();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(arrived: Instant, number: u8, len: usize) -> Waiting {
        Waiting { arrived, octets: vec![number; len].into() }
    }

    fn drain(queue: &mut PacketQueue, shared: &Shared) -> Vec<u8> {
        let mut numbers = Vec::new();
        while let Some(number) = queue.front(shared).map(|packet| packet.octets[0]) {
            numbers.push(number);
            queue.pop(shared);
        }
        numbers
    }

    #[test]
    fn without_a_disk_packets_older_than_ten_seconds_go_first() {
        let shared = Shared::default();
        let start = Instant::now();
        let mut queue = PacketQueue::default();
        for second in 0..=12 {
            queue.push(packet(start + Duration::from_secs(second), second as u8, 100), &shared);
        }
        assert_eq!(queue.lost(), 2);
        assert_eq!(queue.front(&shared).map(|oldest| oldest.octets[0]), Some(2));
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
        assert_eq!(queue.front(&shared).map(|oldest| oldest.octets[0]), Some(1));
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
        assert_eq!(drain(&mut queue, &shared), [1, 2]);
        assert!(queue.is_empty());
    }

    fn spilling(directory: &std::path::Path, limit: u64) -> (PacketQueue, Shared) {
        let shared = Shared::default();
        shared.spill_limit.store(limit, Relaxed);
        (PacketQueue::with_spill(directory.join("s.spill"), &shared), shared)
    }

    #[test]
    fn what_memory_does_not_hold_goes_to_disk_and_comes_back_in_order() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let (mut queue, shared) = spilling(directory.path(), 1 << 30);
        let start = Instant::now();
        for second in 0..100 {
            queue.push(packet(start + Duration::from_secs(second), second as u8, 100), &shared);
        }
        let stats = shared.snapshot();
        assert!(stats.exposed_queued_octets <= 1100 && stats.spilled_octets > 8900, "{stats:?}");
        assert_eq!((queue.lost(), stats.exposed_lost), (0, 0));
        // One had been on its way to a reader that vanished.
        queue.put_back(packet(start, 200, 100), &shared);
        let mut expected = vec![200];
        expected.extend(0..100);
        assert_eq!(drain(&mut queue, &shared), expected);
        assert!(queue.is_empty() && !directory.path().join("s.spill").exists());
        assert_eq!((shared.snapshot().spilled_octets, shared.snapshot().exposed_queued_octets), (0, 0));
    }

    #[test]
    fn what_the_disk_does_not_hold_either_is_counted() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let (mut queue, shared) = spilling(directory.path(), 2000);
        let start = Instant::now();
        for second in 0..100 {
            queue.push(packet(start + Duration::from_secs(second), second as u8, 100), &shared);
        }
        let got = drain(&mut queue, &shared);
        assert!(got.is_sorted() && got[0] == 0 && got.last() == Some(&99), "{got:?}");
        assert_eq!(queue.lost(), 100 - got.len() as u64);
        let stats = shared.snapshot();
        assert_eq!((stats.exposed_lost, stats.failing), (queue.lost(), 1));
        queue.clear(&shared);
        assert_eq!(shared.snapshot().failing, 0);
    }

    #[test]
    fn everything_is_left_to_the_next_instance() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let (mut queue, shared) = spilling(directory.path(), 1 << 30);
        let start = Instant::now();
        for second in 0..50 {
            queue.push(packet(start + Duration::from_secs(second), second as u8, 100), &shared);
        }
        queue.front(&shared);
        assert_eq!(queue.leave(&shared), 0);
        let mut next = PacketQueue::with_spill(directory.path().join("s.spill"), &shared);
        next.push(packet(start, 50, 100), &shared);
        assert_eq!(drain(&mut next, &shared), (0..=50).collect::<Vec<_>>());
    }
}
