//! A worker moves its streams down to the kernel and up again, and keeps their counters whole.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::super::classify::{PacketKind, classify};
use super::super::plan::{CallKey, DropReason, Expect};
use super::super::receive::BATCH;
use super::super::security::Direction;
use super::super::ssrc::{Growth, Seen};
use super::super::stats::StreamShared;
use super::super::stream::{Stream, Streams};
use super::super::totals::WorkerTotals;
use super::super::worker::Worker;
use super::backend::SETTLING;
use super::playing::Announcing;
use super::shield::{self, Rounds};
use super::{
    Backend, Carries, Counters, Handle, Indices, Place, Reason, Shield, Target, TargetOutput, Track, describe,
};
use crate::config::InterfaceId;

/// Counters are read, and targets compared with what they should be, this often.
const INTERVAL: Duration = Duration::from_secs(1);
/// When a stream could not move for a reason that may pass.
const RETRY: Duration = Duration::from_secs(1);
const SOONEST: Duration = Duration::from_millis(10);
/// Packets beside those that are forwarded find counters of this age at most.
const FRESH: Duration = Duration::from_millis(10);
/// An SSRC of which nothing has come for so long is not expected any more.
const STALE_US: u64 = 5_000_000;
/// A stream that stayed down for so long has no surprises in its past.
const CALM: Duration = Duration::from_secs(30);
/// The delay before a stream moves down again doubles so often.
const MOST_DOUBLINGS: u32 = 5;

/// The rung below user space, as a worker has it.
pub struct Ladder {
    backend: Box<dyn Backend>,
    /// How long a stream stays in user space after a change.
    pub(super) delay: Duration,
    /// Removed targets whose counters have not settled, oldest first.
    leaving: VecDeque<Leaving>,
    /// Read into, again and again.
    counters: Counters,
    /// The kernel refused one before.
    complained: bool,
    /// Nothing moves down any more.
    pub(super) is_given_up: bool,
    pub(super) rounds: Rounds,
    /// How it sends announcements.
    pub(super) announcing: Announcing,
}

/// What a stream has to know about it.
#[derive(Default)]
pub struct Offloading {
    below: Option<Box<Below>>,
    /// The turn that counts.
    next_turn: Option<Instant>,
    surprises: u32,
}

/// A stream that is forwarded by the kernel.
struct Below {
    target: Target,
    /// Of the tracks that were handed over.
    ssrcs: SmallVec<[u32; 1]>,
    account: Account,
    added_at: Instant,
    read_at: Instant,
    /// Packets that came before the kernel took over may still be in the socket.
    arriving: bool,
    /// So many of them were.
    stragglers: u64,
}

/// Whose counters grow when those of a target do.
struct Account {
    handle: Handle,
    /// As they were when they were read last.
    before: Counters,
    shared: Arc<StreamShared>,
    interface: InterfaceId,
    /// Token of the sink, its counters, what its SSRCs and payload types become.
    outputs: SmallVec<[(u64, Arc<StreamShared>, InterfaceId); 1]>,
}

struct Leaving {
    at: Instant,
    account: Account,
}

impl Ladder {
    pub fn new(backend: Box<dyn Backend>, delay: Duration) -> Self {
        Self {
            backend,
            delay,
            leaving: VecDeque::new(),
            counters: Counters::default(),
            complained: false,
            is_given_up: false,
            rounds: Rounds::default(),
            announcing: Announcing::default(),
        }
    }

    /// What keeps floods from the daemon, if anything does.
    pub(super) fn shield(&mut self) -> Option<&mut dyn Shield> {
        self.backend.shield()
    }

    fn place(&self) -> Place {
        Place::Kernel(self.backend.rung())
    }

    fn read(&mut self, handle: Handle) -> bool {
        self.counters.tracks.clear();
        self.counters.failed.clear();
        self.counters.protection_sent.clear();
        (self.counters.wrong_source, self.counters.tap_lost) = (0, 0);
        (self.counters.replayed, self.counters.protection) = (0, 0);
        self.backend.read(handle, &mut self.counters).is_ok()
    }

    /// Targets that were removed a while ago are read for the last time and forgotten.
    pub(super) fn settle(&mut self, now: Instant, totals: &WorkerTotals) {
        while self.leaving.front().is_some_and(|leaving| leaving.at <= now) {
            let Some(mut leaving) = self.leaving.pop_front() else { return };
            if self.read(leaving.account.handle) {
                leaving.account.settle(&self.counters, totals);
            }
            self.backend.forget(leaving.account.handle);
        }
    }
}

impl Offloading {
    /// The kernel forwards the stream.
    pub fn is_below(&self) -> bool {
        self.below.is_some()
    }
}

impl Account {
    /// Adds what the counters have grown by to those of the stream and its sinks.
    fn grow(
        &mut self,
        streams: &mut Streams,
        slot: u32,
        outputs: &[TargetOutput],
        now: &Counters,
        totals: &WorkerTotals,
        stragglers: &mut u64,
    ) {
        let before = std::mem::replace(&mut self.before, now.clone());
        let (mut packets, mut octets) = (0, 0);
        for (position, count) in now.tracks.iter().enumerate() {
            let old = before.tracks.get(position).copied().unwrap_or_default();
            let mut growth = Growth {
                packets: count.packets.saturating_sub(old.packets),
                octets: count.octets.saturating_sub(old.octets),
                lost: count.lost.saturating_sub(old.lost),
                duplicates: count.duplicates.saturating_sub(old.duplicates),
            };
            if growth == Growth::default() {
                continue;
            }
            packets += growth.packets;
            octets += growth.octets;
            if growth.packets == 0 {
                continue;
            }
            // The kernel did not see those, and takes them for lost.
            growth.lost = growth.lost.saturating_sub_unsigned(std::mem::take(stragglers));
            self.grow_ssrc(streams, slot, outputs, &count.track, growth, totals);
        }
        self.grow_sums((packets, octets), &before, now, totals);
        if let Some(stream) = streams.get(slot) {
            let wrong = now.wrong_source.saturating_sub(before.wrong_source);
            if wrong > 0 {
                stream.drop_packets(DropReason::WrongSource, wrong);
            }
            let replayed = now.replayed.saturating_sub(before.replayed);
            if replayed > 0 {
                stream.drop_packets(DropReason::Replayed, replayed);
            }
            let failed: u64 = now.failed.iter().sum::<u64>().saturating_sub(before.failed.iter().sum());
            if failed > 0 {
                stream.drop_packets(DropReason::SendFailed, failed);
            }
        }
    }

    fn grow_ssrc(
        &self,
        streams: &mut Streams,
        slot: u32,
        outputs: &[TargetOutput],
        track: &Track,
        growth: Growth,
        totals: &WorkerTotals,
    ) {
        let Some(stream) = streams.get_mut(slot).filter(|stream| stream.carries_rtp()) else { return };
        let lost = stream.ingress_ssrc.went_on(track, growth, &self.shared.ingress_ssrc);
        totals.interface(self.interface).count_arrivals(lost, growth.duplicates);
        for ((token, ..), output) in self.outputs.iter().zip(outputs) {
            let sink = streams.resolve(*token).and_then(|slot| streams.get_mut(slot));
            let Some(sink) = sink else { continue };
            let renamed = output.renamed.iter().find(|(from, _)| *from == track.payload_type);
            let last = Seen {
                ssrc: track.ssrc ^ output.ssrc_mask,
                payload_type: renamed.map_or(track.payload_type, |(_, to)| *to),
                sequence_number: track.highest as u16,
                timestamp: track.timestamp,
                octets: 0,
                section: None,
            };
            sink.egress_ssrc.were_sent(last, growth.packets, growth.octets, &sink.shared.egress_ssrc);
        }
    }

    /// What needs no SSRC.
    fn grow_sums(
        &self,
        (packets, octets): (u64, u64),
        before: &Counters,
        now: &Counters,
        totals: &WorkerTotals,
    ) {
        let interface = totals.interface(self.interface);
        let wrong = now.wrong_source.saturating_sub(before.wrong_source);
        let tap_lost = now.tap_lost.saturating_sub(before.tap_lost);
        let protection = now.protection.saturating_sub(before.protection);
        for traffic in [&self.shared.ingress, &interface.ingress] {
            traffic.packets.add(packets);
            traffic.octets.add(octets + protection);
            traffic.errors.add(wrong);
        }
        for traffic in [&self.shared.kernel, &interface.kernel] {
            traffic.packets.add(packets);
            traffic.octets.add(octets);
        }
        self.shared.tap_lost.add(tap_lost);
        if packets == 0 {
            return;
        }
        self.shared.last_kernel_packet_us.set(now.last_packet_us());
        for (position, (_, sink, id)) in self.outputs.iter().enumerate() {
            let of = |counters: &Counters| counters.failed.get(position).copied().unwrap_or(0);
            let failed = of(now).saturating_sub(of(before)).min(packets);
            let added = |counters: &Counters| counters.protection_sent.get(position).copied().unwrap_or(0);
            let protection = added(now).saturating_sub(added(before));
            for traffic in [&sink.egress, &totals.interface(*id).egress] {
                traffic.packets.add(packets - failed);
                traffic.octets.add(octets / packets * (packets - failed) + octets % packets + protection);
                traffic.errors.add(failed);
            }
        }
    }

    /// The last packets of a target that was removed; user space has gone on with its SSRCs meanwhile.
    fn settle(&mut self, now: &Counters, totals: &WorkerTotals) {
        let sum = |counters: &Counters| {
            counters.tracks.iter().fold((0, 0), |sum: (u64, u64), t| (sum.0 + t.packets, sum.1 + t.octets))
        };
        let (then, before) = (sum(now), sum(&self.before));
        let grown = (then.0.saturating_sub(before.0), then.1.saturating_sub(before.1));
        self.grow_sums(grown, &self.before, now, totals);
        for (count, old) in now.tracks.iter().zip(&self.before.tracks) {
            let packets = count.packets.saturating_sub(old.packets);
            let slot = self.shared.ingress_ssrc.iter().find(|s| s.ssrc.load(Relaxed) == count.track.ssrc);
            if let Some(slot) = slot.filter(|_| packets > 0) {
                slot.packets.add(packets);
                slot.octets.add(count.octets.saturating_sub(old.octets));
                slot.lost.sub(packets);
            }
        }
        self.before = now.clone();
    }
}

impl Worker {
    /// A stream has changed: when it has been quiet for a while it will be looked at. One that is below stays there if the change
    /// means nothing to it.
    pub(in super::super) fn reconsider(&mut self, slot: u32) {
        let Some(ladder) = &self.ladder else { return };
        let delay = ladder.delay;
        let Some(stream) = self.streams.get(slot).filter(|stream| stream.expect != Expect::Rtcp) else {
            // RTCP has nothing to wait for.
            if let Some(stream) = self.streams.get(slot) {
                stream.publish_place(Place::UserSpace(Reason::Rtcp));
            }
            return;
        };
        if stream.offload.is_below() {
            self.compare(slot);
            return;
        }
        stream.publish_place(Place::UserSpace(Reason::Waiting));
        let delay = if stream.learner.is_immediate() { SOONEST.min(delay) } else { delay };
        self.look_after(slot, delay);
    }

    /// Streams of a call that are below move up unless their targets are what they should be.
    pub(in super::super) fn compare_call(&mut self, call: CallKey) {
        if self.ladder.is_some() {
            self.slots_of(call).into_iter().for_each(|slot| self.compare(slot));
            self.compare_players(call);
        }
    }

    /// Makes the counters of a call's streams those of this moment.
    pub(in super::super) fn refresh(&mut self, call: CallKey) {
        if self.ladder.is_some() {
            for slot in self.slots_of(call) {
                self.read_below(slot);
            }
            self.count_drops_of(call);
            self.refresh_players(call);
        }
    }

    pub(super) fn slots_of(&self, call: CallKey) -> SmallVec<[u32; 8]> {
        let slots = self.calls.calls.get(&call).into_iter().flat_map(|call| call.slots());
        slots.filter(|slot| self.streams.get(*slot).is_some_and(|stream| stream.offload.is_below())).collect()
    }

    fn compare(&mut self, slot: u32) {
        let below = self.streams.get(slot).and_then(|stream| stream.offload.below.as_ref());
        let Some(below) = below else { return };
        if describe(&self.streams, slot).as_ref() != Ok(&below.target) {
            self.lift(slot, Reason::Waiting);
        }
    }

    fn look_after(&mut self, slot: u32, delay: Duration) {
        let token = self.streams.token(slot);
        let at = self.output.now.instant + delay;
        if let Some(stream) = self.streams.get_mut(slot) {
            stream.offload.next_turn = Some(at);
            self.output.schedule.offload(at, token);
        }
    }

    /// A stream's turn: to be looked at, or to have its counters read.
    pub(in super::super) fn offload_turn(&mut self, token: u64, at: Instant) {
        if let Some(ladder) = &mut self.ladder {
            ladder.settle(self.output.now.instant, &self.output.totals);
        }
        if token == shield::TURN {
            self.shield_turn();
            return;
        }
        let Some(slot) = self.streams.resolve(token) else { return };
        let Some(stream) = self.streams.get_mut(slot) else { return };
        if stream.offload.next_turn != Some(at) {
            return;
        }
        stream.offload.next_turn = None;
        if !stream.offload.is_below() {
            self.look(slot);
            return;
        }
        if !self.read_below(slot) {
            // Its route cannot be off-loaded any more, or the kernel has lost it.
            self.lift(slot, Reason::Refused);
            return;
        }
        self.compare(slot);
        let stream = self.streams.get_mut(slot);
        if let Some(below) = stream.and_then(|stream| stream.offload.below.as_mut()) {
            below.arriving = false;
            let is_calm = self.output.now.instant - below.added_at > CALM;
            if let Some(stream) = self.streams.get_mut(slot).filter(|_| is_calm) {
                stream.offload.surprises = 0;
            }
            self.look_after(slot, INTERVAL);
        }
    }

    /// Moves a stream down if that is possible.
    fn look(&mut self, slot: u32) {
        let result = self.try_move_down(slot);
        let (Some(ladder), Some(stream)) = (&self.ladder, self.streams.get(slot)) else { return };
        match result {
            Ok(()) => {
                stream.publish_place(ladder.place());
                self.look_after(slot, INTERVAL);
            }
            Err(reason) => {
                stream.publish_place(Place::UserSpace(reason));
                if reason.may_pass() {
                    let retry = RETRY.min(ladder.delay).max(SOONEST);
                    self.look_after(slot, retry);
                }
            }
        }
    }

    fn try_move_down(&mut self, slot: u32) -> Result<(), Reason> {
        let target = describe(&self.streams, slot)?;
        let ladder = Ladder::in_use(&mut self.ladder)?;
        if target.is_secured() && !ladder.backend.takes_secured() {
            return Err(Reason::Secured);
        }
        ladder.backend.accepts(&target)?;
        let stream = self.streams.get(slot).ok_or(Reason::NoOutput)?;
        let tracks = tracks_of(stream);
        if tracks.is_empty() && matches!(target.carries, Carries::Rtp(_)) {
            return Err(Reason::NoPackets);
        }
        if tracks.len() > ladder.backend.most_tracks() {
            return Err(Reason::Sources);
        }
        let outputs = stream.edges.iter().filter_map(|edge| {
            let slot = edge.rtp_to?;
            let sink = self.streams.get(slot)?;
            Some((self.streams.token(slot), Arc::clone(&sink.shared), sink.interface))
        });
        let outputs = outputs.collect();
        let added = match target.is_secured() {
            false => ladder.backend.add(&target, &tracks),
            true => {
                let indices = indices_of(&self.streams, slot, &tracks);
                ladder.backend.add_secured(&target, &tracks, &indices)
            }
        };
        let handle = added.map_err(|error| {
            if !std::mem::replace(&mut ladder.complained, true) {
                tracing::warn!(local = %target.local, %error, "a stream cannot be off-loaded; others may not, either");
            }
            Reason::Refused
        })?;
        let account = Account {
            handle,
            before: Counters::default(),
            shared: Arc::clone(&stream.shared),
            interface: stream.interface,
            outputs,
        };
        let now = self.output.now.instant;
        let ssrcs = tracks.iter().map(|track| track.ssrc).collect();
        let below =
            Below { target, ssrcs, account, added_at: now, read_at: now, arriving: true, stragglers: 0 };
        if let Some(stream) = self.streams.get_mut(slot) {
            tracing::debug!(local = %below.target.local, rung = ladder.backend.rung().name(), "off-loaded");
            stream.offload.below = Some(Box::new(below));
        }
        Ok(())
    }

    /// Takes a stream back to user space, with everything that the kernel has counted.
    pub(in super::super) fn lift(&mut self, slot: u32, reason: Reason) {
        let Some(delay) = self.take_back(slot, reason) else { return };
        if let Some(stream) = self.streams.get(slot) {
            stream.publish_place(Place::UserSpace(reason));
            self.look_after(slot, delay);
        }
    }

    /// The same for one that ends.
    pub(in super::super) fn take_back(&mut self, slot: u32, reason: Reason) -> Option<Duration> {
        let ladder = self.ladder.as_mut()?;
        let below = self.streams.get(slot)?.offload.below.as_ref()?;
        ladder.backend.remove(below.account.handle);
        if below.target.is_secured() {
            let indices = ladder.backend.indices(below.account.handle);
            self.take_indices(slot, &indices);
        }
        self.read_below(slot);
        let ladder = self.ladder.as_mut()?;
        let stream = self.streams.get_mut(slot)?;
        stream.offload.next_turn = None;
        let below = stream.offload.below.take()?;
        let now = self.output.now.instant;
        if reason == Reason::Surprise {
            stream.offload.surprises = stream.offload.surprises.saturating_add(1);
        }
        let doublings = stream.offload.surprises.saturating_sub(1).min(MOST_DOUBLINGS);
        tracing::debug!(local = %below.target.local, reason = reason.text(), "back in user space");
        ladder.leaving.push_back(Leaving { at: now + SETTLING, account: below.account });
        self.output.schedule.offload(now + SETTLING, u64::MAX);
        Some(ladder.delay.max(SOONEST) * (1 << doublings))
    }

    /// Keys that the kernel has used are not used again for the same packets, nor packets that it has taken taken again.
    fn take_indices(&mut self, slot: u32, indices: &[Indices]) {
        let below = self.streams.get_mut(slot).and_then(|stream| stream.offload.below.take());
        let Some(below) = below else { return };
        // Which of the last ones were used is not told: none of them is used again.
        const ALL: u64 = u64::MAX;
        for (ssrc, indices) in below.ssrcs.iter().zip(indices) {
            // A plan may have changed the keys already: what was used is the target's.
            let keys = self.streams.get_mut(slot).and_then(|stream| stream.security.as_deref_mut());
            if let (Some(keys), Some(master), Some(index)) = (keys, &below.target.key, indices.received) {
                keys.went_on(Direction::Receive, master, (*ssrc, index), ALL);
            }
            let outputs = below.account.outputs.iter().zip(&below.target.outputs).zip(&indices.sent);
            for (((token, ..), output), index) in outputs {
                let sink = self.streams.resolve(*token).and_then(|slot| self.streams.get_mut(slot));
                let keys = sink.and_then(|sink| sink.security.as_deref_mut());
                if let (Some(keys), Some(master), Some(index)) = (keys, &output.key, *index) {
                    keys.went_on(Direction::Send, master, (*ssrc ^ output.ssrc_mask, index), ALL);
                }
            }
        }
        if let Some(stream) = self.streams.get_mut(slot) {
            stream.offload.below = Some(below);
        }
    }

    /// Adds what the kernel has counted for a stream since it was last asked; whether the kernel still forwards it.
    fn read_below(&mut self, slot: u32) -> bool {
        let (Some(ladder), Some(stream)) = (&mut self.ladder, self.streams.get_mut(slot)) else {
            return false;
        };
        // Taken out for the time in which sinks are borrowed from the same slab.
        let Some(mut below) = stream.offload.below.take() else { return false };
        let is_there = ladder.read(below.account.handle);
        if is_there {
            let Below { target, account, stragglers, .. } = &mut *below;
            let totals = &self.output.totals;
            account.grow(&mut self.streams, slot, &target.outputs, &ladder.counters, totals, stragglers);
        }
        below.read_at = self.output.now.instant;
        if let Some(stream) = self.streams.get_mut(slot) {
            stream.offload.below = Some(below);
        }
        is_there
    }

    /// `count` datagrams of a stream came up that is below: are they what the kernel leaves to user space?
    pub(in super::super) fn came_up(&mut self, slot: u32, count: usize) {
        let now = self.output.now.instant;
        let Some(stream) = self.streams.get_mut(slot) else { return };
        let Some(below) = &mut stream.offload.below else { return };
        let ours = |index: &usize| {
            let from_party = self.batch.source(*index).is_some_and(|s| below.target.source.includes(s));
            from_party && below.target.takes(classify(self.batch.octets(*index)))
        };
        let unexpected = (0..count).filter(ours).count() as u64;
        let was_arriving = below.arriving;
        below.arriving &= count == BATCH;
        if unexpected == 0 {
            if now - below.read_at >= FRESH {
                self.read_below(slot);
            }
        } else if was_arriving {
            below.stragglers += unexpected;
        } else {
            self.lift(slot, Reason::Surprise);
        }
    }
}

impl Target {
    /// Of datagrams of this kind the kernel should forward all that it can.
    fn takes(&self, kind: PacketKind) -> bool {
        match self.carries {
            Carries::Rtp(_) => kind == PacketKind::Rtp,
            Carries::Datagrams => true,
        }
    }

    /// Where packets come in and what they are sent to, for logs and tests.
    pub fn addresses(&self) -> (SocketAddr, impl Iterator<Item = SocketAddr> + '_) {
        (self.local, self.outputs.iter().map(|output| output.peer))
    }
}

/// How far the keys of a stream and of its sinks were used for these SSRCs.
fn indices_of(streams: &Streams, slot: u32, tracks: &[Track]) -> SmallVec<[Indices; 1]> {
    let Some(stream) = streams.get(slot) else { return SmallVec::new() };
    let of = |track: &Track| {
        let received = stream.present_keys().and_then(|keys| keys.position(Direction::Receive, track.ssrc));
        let sent = stream.edges.iter().map(|edge| {
            let sink = edge.rtp_to.and_then(|to| streams.get(to))?;
            sink.present_keys()?.position(Direction::Send, track.ssrc ^ edge.ssrc_mask)
        });
        Indices { received, sent: sent.collect() }
    };
    tracks.iter().map(of).collect()
}

/// The SSRCs that are in use.
fn tracks_of(stream: &Stream) -> SmallVec<[Track; 4]> {
    let newest = stream.ingress_ssrc.tracks().map(|(_, track)| track.arrival_us).max().unwrap_or(0);
    let tracks = stream.ingress_ssrc.tracks().map(|(_, track)| track);
    tracks.filter(|track| newest.saturating_sub(track.arrival_us) <= STALE_US).collect()
}
