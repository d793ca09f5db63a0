//! What the recorder counts, and the one place that logs troubles with files: at the first failure and when all is well
//! again, however many files and packets are concerned.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Counters since start, except where they are called current.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecorderStats {
    /// Recordings that are open (current).
    pub recordings: u64,
    /// Recordings that have ended and wait for a reader to take what is queued (current).
    pub closing: u64,
    /// Packets accepted for pcap files.
    pub pcap_packets: u64,
    /// Packets that did not get into a pcap file because it could not be written.
    pub pcap_lost: u64,
    /// Packets handed to readers of exposed streams.
    pub exposed_packets: u64,
    /// Packets dropped because no reader took them in time.
    pub exposed_lost: u64,
    /// Octets that wait for readers in memory (current).
    pub exposed_queued_octets: u64,
    /// Packets that had to wait for readers on disk.
    pub spilled_packets: u64,
    /// Octets of the files in which packets wait for readers (current).
    pub spilled_octets: u64,
    /// Packets of recordings or streams that the recorder does not know (any more).
    pub unclaimed_packets: u64,
    /// Signalling messages left out because the writer thread was stuck.
    pub signalling_lost: u64,
    /// Octets of signalling that wait for the writer thread (current).
    pub signalling_queued_octets: u64,
    /// Files and sockets that cannot be written (current).
    pub failing: u64,
    /// Failed attempts to write or open.
    pub failures: u64,
}

/// The live counters. Written by the writer thread, except those of signalling.
#[derive(Default)]
pub(super) struct Shared {
    pub recordings: AtomicU64,
    pub closing: AtomicU64,
    pub pcap_packets: AtomicU64,
    pub pcap_lost: AtomicU64,
    pub exposed_packets: AtomicU64,
    pub exposed_lost: AtomicU64,
    pub exposed_queued_octets: AtomicU64,
    pub spilled_packets: AtomicU64,
    pub spilled_octets: AtomicU64,
    /// Most that `spilled_octets` may become; 0 = nothing waits on disk.
    pub spill_limit: AtomicU64,
    pub unclaimed_packets: AtomicU64,
    pub signalling_lost: AtomicU64,
    pub signalling_queued_octets: AtomicU64,
    failing: AtomicU64,
    failures: AtomicU64,
    /// Guards the rate of the overflow warning: when it was last given, and the count at that time.
    overflow_warned: Mutex<Option<(Instant, u64)>>,
    /// Guards the rate of the notice that packets wait on disk.
    spill_noticed: Mutex<Option<Instant>>,
}

const OVERFLOW_WARNING_INTERVAL: Duration = Duration::from_secs(10);

impl Shared {
    pub fn snapshot(&self) -> RecorderStats {
        RecorderStats {
            recordings: self.recordings.load(Relaxed),
            closing: self.closing.load(Relaxed),
            pcap_packets: self.pcap_packets.load(Relaxed),
            pcap_lost: self.pcap_lost.load(Relaxed),
            exposed_packets: self.exposed_packets.load(Relaxed),
            exposed_lost: self.exposed_lost.load(Relaxed),
            exposed_queued_octets: self.exposed_queued_octets.load(Relaxed),
            spilled_packets: self.spilled_packets.load(Relaxed),
            spilled_octets: self.spilled_octets.load(Relaxed),
            unclaimed_packets: self.unclaimed_packets.load(Relaxed),
            signalling_lost: self.signalling_lost.load(Relaxed),
            signalling_queued_octets: self.signalling_queued_octets.load(Relaxed),
            failing: self.failing.load(Relaxed),
            failures: self.failures.load(Relaxed),
        }
    }

    /// Something has begun to fail.
    pub fn failed(&self, what: &Path, reason: &dyn std::fmt::Display) {
        self.failures.fetch_add(1, Relaxed);
        if self.failing.fetch_add(1, Relaxed) == 0 {
            tracing::error!(path = %what.display(), %reason, "recording is degraded, cannot write");
        } else {
            tracing::debug!(path = %what.display(), %reason, "cannot write");
        }
    }

    /// It fails still.
    pub fn failed_again(&self) {
        self.failures.fetch_add(1, Relaxed);
    }

    /// It works again, or is given up.
    pub fn no_longer_failing(&self) {
        if self.failing.fetch_sub(1, Relaxed) == 1 {
            tracing::info!(
                pcap_packets_lost = self.pcap_lost.load(Relaxed),
                "recording is no longer degraded"
            );
        }
    }

    /// Packets went to disk; a notice now and then.
    pub fn spilled(&self, now: Instant) {
        let Ok(mut noticed) = self.spill_noticed.lock() else { return };
        if noticed.is_some_and(|at| now.duration_since(at) < OVERFLOW_WARNING_INTERVAL) {
            return;
        }
        *noticed = Some(now);
        tracing::warn!(
            octets = self.spilled_octets.load(Relaxed),
            "no reader takes recorded packets (is rtpengine-recording running?); they wait on disk"
        );
    }

    /// Queues of readers are overflowing; a warning now and then.
    pub fn overflowed(&self, now: Instant) {
        let total = self.exposed_lost.load(Relaxed);
        let Ok(mut warned) = self.overflow_warned.lock() else { return };
        let before = match *warned {
            Some((at, _)) if now.duration_since(at) < OVERFLOW_WARNING_INTERVAL => return,
            Some((_, count)) => count,
            None => 0,
        };
        *warned = Some((now, total));
        tracing::warn!(
            packets = total - before,
            total,
            "no reader takes recorded packets (is rtpengine-recording running?); dropped the oldest"
        );
    }
}
