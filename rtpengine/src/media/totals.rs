//! What the workers count over all their streams: traffic of each local address, transcoders, wake-ups.
//!
//! Each worker has its own counters and is their only writer, so a packet costs two plain additions in a line that stays in its
//! cache. Nothing is ever subtracted when a call ends: the sums only grow, and equal what passed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use codec::PayloadFormat;
use codec::graph::TranscodePlan;
use codec::sequencer::SequencerCounters;

use super::plan::DropReason;
use super::ssrc::Arrival;
use super::stats::{Counter, Traffic, TrafficCount};
use crate::config::InterfaceId;

/// Counters of one worker.
#[derive(Debug)]
pub struct WorkerTotals {
    /// The kernel's number of the thread; 0 until it runs.
    pub thread: AtomicU32,
    /// Returns from waiting.
    pub wakeups: Counter,
    /// Sockets that were ready then.
    pub items: Counter,
    interfaces: Box<[InterfaceTotals]>,
    /// For streams whose interface is not in the table: cannot happen with plans of this configuration.
    stray: InterfaceTotals,
    pub sequencing: Sequencing,
    /// Packets that arrived and did not go on, by reason.
    pub drops: DropCounters,
}

/// One for each [`DropReason`].
pub type DropCounters = [Counter; DropReason::COUNT];

/// Counters of one local address in one worker.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct InterfaceTotals {
    pub ingress: Traffic,
    pub egress: Traffic,
    /// Of `ingress`, what the kernel forwarded.
    pub kernel: Traffic,
    pub lost: Counter,
    pub duplicates: Counter,
    pub quality: QualityTotals,
}

/// Measurements of one kind.
#[derive(Debug, Default)]
pub struct MetricTotals {
    total: Counter,
    total2: Counter,
    samples: Counter,
}

/// What receivers reported.
#[derive(Debug, Default)]
pub struct QualityTotals {
    /// Times ten.
    pub mos: MetricTotals,
    /// Milliseconds.
    pub jitter: MetricTotals,
    /// Microseconds, through the relay.
    pub rtt_end_to_end: MetricTotals,
    /// Microseconds, of one leg.
    pub rtt_leg: MetricTotals,
    /// Percent.
    pub packet_loss: MetricTotals,
    /// Milliseconds, as measured here.
    pub jitter_measured: MetricTotals,
}

/// [`MetricTotals`] as read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MetricCount {
    pub total: u64,
    /// Sum of squares.
    pub total2: u64,
    pub samples: u64,
}

/// [`QualityTotals`] as read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QualityCount {
    pub mos: MetricCount,
    pub jitter: MetricCount,
    pub rtt_end_to_end: MetricCount,
    pub rtt_leg: MetricCount,
    pub packet_loss: MetricCount,
    pub jitter_measured: MetricCount,
}

impl MetricTotals {
    /// Adds a sample; only the owning worker may call this.
    pub fn add(&self, value: u64) {
        self.total.add(value);
        self.total2.add(value.saturating_mul(value));
        self.samples.add(1);
    }

    fn add_to(&self, sum: &mut MetricCount) {
        sum.add(MetricCount {
            total: self.total.get(),
            total2: self.total2.get(),
            samples: self.samples.get(),
        });
    }
}

impl MetricCount {
    fn add(&mut self, other: Self) {
        self.total = self.total.wrapping_add(other.total);
        self.total2 = self.total2.wrapping_add(other.total2);
        self.samples = self.samples.wrapping_add(other.samples);
    }
}

impl QualityTotals {
    fn add_to(&self, sum: &mut QualityCount) {
        self.mos.add_to(&mut sum.mos);
        self.jitter.add_to(&mut sum.jitter);
        self.rtt_end_to_end.add_to(&mut sum.rtt_end_to_end);
        self.rtt_leg.add_to(&mut sum.rtt_leg);
        self.packet_loss.add_to(&mut sum.packet_loss);
        self.jitter_measured.add_to(&mut sum.jitter_measured);
    }
}

impl QualityCount {
    /// Adds the samples of another address.
    pub fn add(&mut self, other: &Self) {
        self.mos.add(other.mos);
        self.jitter.add(other.jitter);
        self.rtt_end_to_end.add(other.rtt_end_to_end);
        self.rtt_leg.add(other.rtt_leg);
        self.packet_loss.add(other.packet_loss);
        self.jitter_measured.add(other.jitter_measured);
    }
}

/// What the sequencers of all transcoders did.
#[derive(Debug, Default)]
pub struct Sequencing {
    duplicates: Counter,
    skips: Counter,
    resets: Counter,
    reordered: Counter,
}

/// Sums over all workers, as read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlaneTotals {
    /// By [`InterfaceId`].
    pub interfaces: Vec<InterfaceCount>,
    pub sequencing: SequencingCount,
    pub workers: Vec<WorkerCount>,
    pub chains: Vec<ChainCount>,
    /// By the number of the [`DropReason`].
    pub drops: [u64; DropReason::COUNT],
}

/// Totals of one local address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InterfaceCount {
    pub ingress: TrafficCount,
    pub egress: TrafficCount,
    /// Of `ingress`, what the kernel forwarded.
    pub kernel: TrafficCount,
    pub lost: u64,
    pub duplicates: u64,
    pub quality: QualityCount,
}

/// See [`Sequencing`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SequencingCount {
    /// Packets that came twice or too late.
    pub duplicates: u64,
    /// Missing packets that were given up because later ones waited for too long.
    pub skips: u64,
    /// Jumps out of the window.
    pub resets: u64,
    /// Packets stored ahead of the expected one.
    pub reordered: u64,
}

/// One worker thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkerCount {
    pub thread: u32,
    pub wakeups: u64,
    pub items: u64,
}

impl WorkerTotals {
    pub fn new(interfaces: usize) -> Self {
        Self {
            thread: AtomicU32::new(0),
            wakeups: Counter::default(),
            items: Counter::default(),
            interfaces: (0..interfaces).map(|_| InterfaceTotals::default()).collect(),
            stray: InterfaceTotals::default(),
            sequencing: Sequencing::default(),
            drops: Default::default(),
        }
    }

    pub fn interface(&self, id: InterfaceId) -> &InterfaceTotals {
        self.interfaces.get(usize::from(id.0)).unwrap_or(&self.stray)
    }

    /// Adds this worker to the sums.
    pub fn add_to(&self, sums: &mut PlaneTotals) {
        sums.interfaces.resize(sums.interfaces.len().max(self.interfaces.len()), InterfaceCount::default());
        for (sum, totals) in sums.interfaces.iter_mut().zip(&self.interfaces) {
            sum.ingress += totals.ingress.read();
            sum.egress += totals.egress.read();
            sum.kernel += totals.kernel.read();
            sum.lost += totals.lost.get();
            sum.duplicates += totals.duplicates.get();
            totals.quality.add_to(&mut sum.quality);
        }
        sums.sequencing.duplicates += self.sequencing.duplicates.get();
        sums.sequencing.skips += self.sequencing.skips.get();
        sums.sequencing.resets += self.sequencing.resets.get();
        sums.sequencing.reordered += self.sequencing.reordered.get();
        sums.add_drops(&self.drops);
        sums.workers.push(WorkerCount {
            thread: self.thread.load(Relaxed),
            wakeups: self.wakeups.get(),
            items: self.items.get(),
        });
    }
}

impl InterfaceTotals {
    /// Counts what the sequence number of a received packet says.
    pub fn count_arrival(&self, arrival: Arrival) {
        match arrival {
            Arrival::InOrder => {}
            Arrival::AfterLoss(packets) => self.lost.add(packets),
            Arrival::Late => self.lost.sub(1),
            Arrival::Duplicate => self.duplicates.add(1),
        }
    }

    /// Counts what the sequence numbers of many packets said; losses fall with late packets.
    pub fn count_arrivals(&self, lost: i64, duplicates: u64) {
        self.lost.set(self.lost.get().saturating_add_signed(lost));
        self.duplicates.add(duplicates);
    }
}

impl PlaneTotals {
    /// Adds what one thread dropped.
    pub fn add_drops(&mut self, drops: &DropCounters) {
        self.drops.iter_mut().zip(drops).for_each(|(sum, counter)| *sum = sum.wrapping_add(counter.get()));
    }

    /// Packets that arrived and did not go on, by reason.
    pub fn drops(&self) -> impl Iterator<Item = (DropReason, u64)> {
        DropReason::ALL.into_iter().zip(self.drops)
    }

    /// What receivers reported, on all addresses.
    pub fn quality(&self) -> QualityCount {
        let mut sum = QualityCount::default();
        self.interfaces.iter().for_each(|interface| sum.add(&interface.quality));
        sum
    }

    /// What came in on all addresses and was forwarded by the kernel.
    pub fn kernel(&self) -> TrafficCount {
        let mut sum = TrafficCount::default();
        self.interfaces.iter().for_each(|interface| sum += interface.kernel);
        sum
    }

    /// What came in on all addresses and went through user space: the relayed traffic, with the errors of both directions.
    pub fn relayed(&self) -> TrafficCount {
        let mut sum = TrafficCount::default();
        for interface in &self.interfaces {
            sum += interface.ingress;
            sum.errors += interface.egress.errors;
        }
        let kernel = self.kernel();
        sum.packets = sum.packets.saturating_sub(kernel.packets);
        sum.octets = sum.octets.saturating_sub(kernel.octets);
        sum
    }
}

/// Transcoders by chain (codec in → codec out), of all workers.
#[derive(Debug, Default)]
pub struct Chains {
    /// Held to look a chain up when a plan with transcoding is installed, and to list them; never for a packet.
    by_name: Mutex<BTreeMap<String, Arc<Chain>>>,
}

/// Counters of one chain. Several workers write them, per transcoded packet.
#[derive(Debug, Default)]
pub struct Chain {
    running: AtomicU64,
    packets: AtomicU64,
    octets: AtomicU64,
    samples: AtomicU64,
}

/// One chain, as read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChainCount {
    /// `PCMA/8000 -> opus/48000/2`
    pub name: String,
    /// Transcoders at present.
    pub running: u64,
    /// Packets that came in.
    pub packets: u64,
    /// Their octets.
    pub octets: u64,
    /// Samples per channel that were decoded.
    pub samples: u64,
}

/// Keeps a chain's number of transcoders up while it lives.
#[derive(Debug)]
pub struct ChainUse(Arc<Chain>);

/// Chains that are told apart; formats come from signalling.
const MAX_CHAINS: usize = 1024;

impl Chains {
    /// One more transcoder of this plan, unless there are too many different ones.
    pub fn enter(&self, plan: &TranscodePlan) -> Option<ChainUse> {
        let name = format!("{} -> {}", codec_name(&plan.source), codec_name(&plan.sink));
        let mut by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        if by_name.len() >= MAX_CHAINS && !by_name.contains_key(&name) {
            return None;
        }
        let chain = Arc::clone(by_name.entry(name).or_default());
        chain.running.fetch_add(1, Relaxed);
        Some(ChainUse(chain))
    }

    /// All chains that have been used, by name.
    pub fn list(&self) -> Vec<ChainCount> {
        let by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        let count = |(name, chain): (&String, &Arc<Chain>)| ChainCount {
            name: name.clone(),
            running: chain.running.load(Relaxed),
            packets: chain.packets.load(Relaxed),
            octets: chain.octets.load(Relaxed),
            samples: chain.samples.load(Relaxed),
        };
        by_name.iter().map(count).collect()
    }
}

impl ChainUse {
    /// Counts an incoming packet and what it was decoded to.
    pub fn count(&self, octets: usize, samples: u64) {
        self.0.packets.fetch_add(1, Relaxed);
        self.0.octets.fetch_add(octets as u64, Relaxed);
        self.0.samples.fetch_add(samples, Relaxed);
    }
}

impl Drop for ChainUse {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Relaxed);
    }
}

impl Sequencing {
    /// Adds what a transcoder's sequencer counted since `before`.
    pub fn add_growth(&self, now: SequencerCounters, before: SequencerCounters) {
        for (counter, before, now) in [
            (&self.duplicates, before.duplicates, now.duplicates),
            (&self.skips, before.early_skips, now.early_skips),
            (&self.resets, before.resets, now.resets),
            (&self.reordered, before.out_of_order, now.out_of_order),
        ] {
            if now > before {
                counter.add(now - before);
            }
        }
    }
}

/// As in an `rtpmap`: name and clock rate, and channels if there are several.
fn codec_name(format: &PayloadFormat) -> String {
    match format.channels {
        0 | 1 => format!("{}/{}", format.name, format.clock_rate),
        channels => format!("{}/{}/{channels}", format.name, format.clock_rate),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(source: &str, sink: &str) -> TranscodePlan {
        TranscodePlan::new(
            PayloadFormat::new(0, source, 8000, 1),
            PayloadFormat::new(96, sink, 48_000, 2),
            Default::default(),
        )
    }

    #[test]
    fn a_chain_counts_its_transcoders_while_they_live_and_its_packets_for_ever() {
        let chains = Chains::default();
        let (first, second) = (chains.enter(&plan("PCMU", "opus")), chains.enter(&plan("PCMU", "opus")));
        first.as_ref().expect("room").count(160, 160);
        drop(second);
        let expected = |running| ChainCount {
            name: "PCMU/8000 -> opus/48000/2".into(),
            running,
            packets: 1,
            octets: 160,
            samples: 160,
        };
        assert_eq!(chains.list(), [expected(1)]);
        drop(first);
        assert_eq!(chains.list(), [expected(0)]);
    }

    #[test]
    fn names_from_signalling_do_not_grow_the_table_without_bound() {
        let chains = Chains::default();
        for number in 0..2 * MAX_CHAINS {
            chains.enter(&plan(&format!("x{number}"), "opus"));
        }
        assert_eq!(chains.list().len(), MAX_CHAINS);
        assert!(chains.enter(&plan("x0", "opus")).is_some(), "known ones still count");
    }

    #[test]
    fn sums_are_over_workers_and_relayed_is_what_came_in() {
        let workers = [WorkerTotals::new(2), WorkerTotals::new(2)];
        for worker in &workers {
            worker.interface(InterfaceId(1)).ingress.packets.add(2);
            worker.interface(InterfaceId(1)).ingress.octets.add(100);
            worker.interface(InterfaceId(0)).egress.packets.add(3);
            worker.interface(InterfaceId(0)).egress.errors.add(1);
        }
        let mut sums = PlaneTotals::default();
        workers.iter().for_each(|worker| worker.add_to(&mut sums));
        assert_eq!(sums.interfaces[1].ingress, TrafficCount { packets: 4, octets: 200, errors: 0 });
        assert_eq!(sums.relayed(), TrafficCount { packets: 4, octets: 200, errors: 2 });
        assert_eq!(sums.workers.len(), 2);
    }
}
