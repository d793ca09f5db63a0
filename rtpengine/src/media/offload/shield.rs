//! The shield: who is expected at a media port, for a kernel that keeps floods of others from the daemon.
//!
//! Every port of a worker has a [`Guard`], whoever forwards its packets. It is made equal to what the stream has learned when a plan is
//! installed and after packets that taught something; nothing is asked of the kernel for packets that do not. What the kernel has dropped
//! is counted as if the daemon had: looked for once a second, a few ports at a time, and at once when somebody asks.

use std::net::SocketAddr;
use std::time::Duration;

use smallvec::SmallVec;

use super::super::learn::Accepts;
use super::super::plan::{CallKey, DropReason, Expect};
use super::super::stream::{Stream, Streams};
use super::super::worker::Worker;

/// Sources and SSRCs that a guard knows.
pub const GUARD_SOURCES: usize = 4;
pub const GUARD_SSRCS: usize = 8;

/// The kernel is asked this often whether it has dropped anything.
const INTERVAL: Duration = Duration::from_secs(1);
/// If it has, so many ports are looked at together, and then a pause is made.
const PORTS: usize = 64;
const PAUSE: Duration = Duration::from_millis(10);
/// Token of these turns in the schedule; no stream has it.
pub const TURN: u64 = u64::MAX - 1;

/// A kernel that drops what nobody expects. Calls make one system call each and never wait.
pub trait Shield: Send {
    /// Puts a guard before a port, or changes it.
    ///
    /// # Errors
    /// The kernel refused; what comes to the port comes up.
    fn guard(&mut self, port: SocketAddr, guard: &Guard) -> std::io::Result<()>;

    /// Takes it away; what it has dropped since it was put there.
    fn unguard(&mut self, port: SocketAddr) -> Dropped;

    /// What the guard of a port has dropped since it was put there.
    fn dropped(&self, port: SocketAddr) -> Dropped;

    /// Changes when something has been dropped by any guard, within a tenth of a second.
    fn dropped_at(&self) -> u64;
}

/// Who is expected at a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    pub policy: Policy,
    /// Anything may come, not only RTP and its companions.
    pub any_datagram: bool,
    /// All that these send comes up.
    pub sources: SmallVec<[SocketAddr; GUARD_SOURCES]>,
    /// Whoever sends these may be the party, which has moved.
    pub ssrcs: SmallVec<[u32; GUARD_SSRCS]>,
}

/// What becomes of the packets of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Policy {
    /// The party may be anywhere: as much as a stream has comes up from each source.
    Open,
    /// The party is known: some packets a second come up, so that another one can be learned.
    Learned,
    /// Others are never accepted: nothing but STUN and DTLS comes up.
    Pinned,
}

/// Packets that a guard has dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Of others than the party.
    pub wrong_source: u64,
    /// More than may come up before it is known whose they are.
    pub over_budget: u64,
}

/// The guards of one stream, which all have the same rules.
pub struct Guarded {
    guard: Guard,
    /// With what has been counted of each.
    ports: SmallVec<[(SocketAddr, Dropped); 1]>,
}

/// Where looking for drops has got to.
#[derive(Default)]
pub struct Rounds {
    seen: u64,
    /// The round ends here; `None` between rounds.
    next: Option<u32>,
}

impl Guard {
    /// Who is expected at the ports of the stream in `slot`.
    fn of(streams: &Streams, slot: u32) -> Option<Self> {
        let stream = streams.get(slot)?;
        let mut guard = Self::of_stream(stream);
        // Another party's packets come through the same socket.
        if let Some(twin) = stream.twin.and_then(|twin| streams.get(twin)) {
            let other = Self::of_stream(twin);
            guard.policy = guard.policy.min(other.policy);
            guard.any_datagram |= other.any_datagram;
            guard.add(other.sources.iter().copied());
            guard.ssrcs.extend(other.ssrcs);
            guard.ssrcs.truncate(GUARD_SSRCS);
        }
        Some(guard)
    }

    fn of_stream(stream: &Stream) -> Self {
        let tracks = stream.ingress_ssrc.tracks().map(|(_, track)| track);
        let mut tracks: SmallVec<[(u64, u32); GUARD_SSRCS]> =
            tracks.map(|track| (u64::MAX - track.arrival_us, track.ssrc)).collect();
        tracks.sort_unstable();
        let mut guard = Self {
            policy: Policy::Open,
            any_datagram: stream.expect == Expect::Datagrams,
            sources: SmallVec::new(),
            ssrcs: tracks.iter().map(|(_, ssrc)| *ssrc).take(GUARD_SSRCS).collect(),
        };
        let learner = &stream.learner;
        if let Some(ice) = stream.ice.as_ref().filter(|_| stream.demands_ice()) {
            if ice.path().is_some() {
                guard.policy = Policy::Learned;
            }
            guard.add(ice.path().into_iter().chain(ice.sources()));
            return guard;
        }
        if let Accepts::Only(peer) = learner.accepts() {
            guard.policy = if learner.is_pinned() { Policy::Pinned } else { Policy::Learned };
            guard.add([peer].into_iter());
        }
        // Not a mere candidate: as long as nobody is known, one source may not have more than another.
        guard.add(learner.signalled().into_iter());
        guard
    }

    fn add(&mut self, sources: impl Iterator<Item = SocketAddr>) {
        for source in sources {
            if self.sources.len() < GUARD_SOURCES && !self.sources.contains(&source) {
                self.sources.push(source);
            }
        }
    }
}

impl Dropped {
    /// Counts what was dropped since it was `before`.
    fn count(self, before: &mut Self, stream: &Stream) -> u64 {
        let wrong = self.wrong_source.saturating_sub(before.wrong_source);
        let over = self.over_budget.saturating_sub(before.over_budget);
        *before = self;
        for (reason, packets) in [(DropReason::WrongSource, wrong), (DropReason::OverBudget, over)] {
            if packets > 0 {
                stream.drop_packets(reason, packets);
            }
        }
        stream.shared.ingress.errors.add(wrong + over);
        wrong + over
    }
}

impl Worker {
    /// Begins to look for what the shield drops, if there is one.
    pub(in super::super) fn raise_shield(&mut self) {
        if self.shield().is_some() {
            self.output.schedule.offload(self.output.now.instant + INTERVAL, TURN);
        }
    }

    fn shield(&mut self) -> Option<&mut dyn Shield> {
        self.ladder.as_mut()?.shield()
    }

    /// Makes the guards of a stream's ports equal to what it has learned.
    pub(in super::super) fn guard(&mut self, slot: u32) {
        let Some(shield) = self.ladder.as_mut().and_then(super::Ladder::shield) else { return };
        let Some(guard) = Guard::of(&self.streams, slot) else { return };
        let Some(stream) = self.streams.get_mut(slot) else { return };
        stream.learned_anew = false;
        // Where others read the socket, they guard it.
        if stream.is_behind {
            return;
        }
        let before = stream.guarded.take();
        let mut guarded = Guarded { guard, ports: SmallVec::new() };
        for (_, socket) in stream.all_sockets() {
            let port = socket.local;
            let old =
                before.as_ref().and_then(|old| Some((old, old.ports.iter().find(|(p, _)| *p == port)?)));
            let is_same = old.is_some_and(|(old, _)| old.guard == guarded.guard);
            if is_same || shield.guard(port, &guarded.guard).is_ok() {
                guarded.ports.push((port, old.map_or_else(Dropped::default, |(_, (_, dropped))| *dropped)));
            }
        }
        let mut dropped = 0;
        for (port, counted) in before.into_iter().flat_map(|before| before.ports) {
            if guarded.ports.iter().all(|(kept, _)| *kept != port) {
                let mut counted = counted;
                dropped += shield.unguard(port).count(&mut counted, stream);
            }
        }
        stream.guarded = Some(Box::new(guarded));
        self.output.totals.interface(stream.interface).ingress.errors.add(dropped);
    }

    /// Takes the guards of a stream's ports away, before somebody else may have these.
    pub(in super::super) fn unguard(&mut self, slot: u32) {
        let Some(shield) = self.ladder.as_mut().and_then(super::Ladder::shield) else { return };
        let Some(stream) = self.streams.get_mut(slot) else { return };
        let Some(guarded) = stream.guarded.take() else { return };
        let counts = guarded.ports.into_iter().map(|(port, mut counted)| {
            let dropped = shield.unguard(port);
            dropped.count(&mut counted, stream)
        });
        let dropped = counts.sum();
        self.output.totals.interface(stream.interface).ingress.errors.add(dropped);
    }

    /// A stream and its twin may have learned something from packets.
    pub(in super::super) fn guard_if_news(&mut self, slot: u32) {
        let is_news = |stream: &Stream| stream.learned_anew || stream.ingress_ssrc.is_new();
        let Some(stream) = self.streams.get_mut(slot) else { return };
        let (twin, mut any) = (stream.twin, is_news(stream));
        stream.ingress_ssrc.take_new();
        if let Some(twin) = twin.and_then(|twin| self.streams.get_mut(twin)) {
            any |= is_news(twin);
            twin.learned_anew = false;
            twin.ingress_ssrc.take_new();
        }
        if any {
            self.guard(slot);
        }
    }

    /// Counts what the shield has dropped of a call's packets.
    pub(in super::super) fn count_drops_of(&mut self, call: CallKey) {
        if self.shield().is_none() {
            return;
        }
        let slots = self.calls.calls.get(&call).into_iter().flat_map(|call| call.slots());
        let slots: SmallVec<[u32; 8]> = slots.collect();
        for slot in slots {
            self.count_drops(slot);
        }
    }

    /// How many ports were asked about.
    fn count_drops(&mut self, slot: u32) -> usize {
        let Some(shield) = self.ladder.as_mut().and_then(super::Ladder::shield) else { return 0 };
        let Some(stream) = self.streams.get_mut(slot) else { return 0 };
        let Some(mut guarded) = stream.guarded.take() else { return 0 };
        let count =
            |(port, counted): &mut (SocketAddr, Dropped)| shield.dropped(*port).count(counted, stream);
        let dropped = guarded.ports.iter_mut().map(count).sum();
        self.output.totals.interface(stream.interface).ingress.errors.add(dropped);
        let ports = guarded.ports.len();
        stream.guarded = Some(guarded);
        ports
    }

    /// Looks for drops.
    pub(super) fn shield_turn(&mut self) {
        let Some(ladder) = &mut self.ladder else { return };
        let Some(now) = ladder.shield().map(|shield| shield.dropped_at()) else { return };
        let rounds = &mut ladder.rounds;
        if rounds.next.is_none() && std::mem::replace(&mut rounds.seen, now) != now {
            rounds.next = Some(0);
        }
        let mut pause = INTERVAL;
        if let Some(mut slot) = rounds.next.take() {
            let (mut ports, end) = (0, self.streams.slots());
            while slot < end && ports < PORTS {
                ports += self.count_drops(slot);
                slot += 1;
            }
            if slot < end {
                pause = PAUSE;
                if let Some(ladder) = &mut self.ladder {
                    ladder.rounds.next = Some(slot);
                }
            }
        }
        self.output.schedule.offload(self.output.now.instant + pause, TURN);
    }
}
