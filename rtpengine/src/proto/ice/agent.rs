//! The agent: its state, its settings, what it sends and when.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::Rng;
use rand::rngs::StdRng;

use super::candidate::{CandidateKind, Component, priority};
use super::checklist::{Checklist, Pair, Remote, State};
use super::selection::Selection;
use super::settings::{Base, BaseId, LocalCredentials, Mode, Role, Settings};
use super::transaction::{Check, PACE, Purpose};
use crate::proto::budget::Budget;
use crate::proto::stun::{Builder, Class, IntegrityKey, Tiebreaker, TransactionId};

/// Without a valid pair for so long the agent has failed; the peer may have candidates that only its checks show (RFC 8863 §4).
const PATIENCE: Duration = Duration::from_millis(39_500);
/// After a restart the old path is used for so long at most: its consent is not renewed any more (RFC 7675 §5.1).
const OLD_PATH: Duration = Duration::from_secs(30);
/// What still comes on the old path once the new one is selected.
const OLD_PATH_LINGERS: Duration = Duration::from_secs(3);

/// How far an agent is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentState {
    /// The peer's description is not known.
    Waiting,
    Checking,
    /// Every component of the peer has a selected pair.
    Completed,
    /// There is no path, or none any more. A check of the peer may still change that.
    Failed,
}

/// Where packets go: from this base to this address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    pub base: BaseId,
    pub remote: SocketAddr,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// [`Agent::path`] or [`Agent::sources`] of a component gives something else than before.
    PathsChanged(Component),
    /// A pair was selected.
    Selected(Component, Path),
    /// The peer does not answer on the selected pair any more (RFC 7675): nothing is sent to it.
    ConsentLost(Component),
    /// The agents disagreed, and this is our role now (RFC 8445 §7.3.1.1).
    RoleChanged(Role),
    StateChanged(AgentState),
}

/// A datagram to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit {
    pub base: BaseId,
    pub to: SocketAddr,
}

/// What became of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handled {
    /// The reply is to go back to its source.
    Reply,
    /// There is nothing to answer.
    Silent,
    /// Not authenticated or malformed: nothing has changed. `reply`: an error is to go back to its source.
    Refused { reason: Refusal, reply: bool },
}

/// Why a datagram was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not a well-formed Binding message.
    Malformed,
    /// User fragment or password are not ours, or are missing.
    Unauthenticated,
    /// A response to nothing that was asked.
    Unexpected,
    /// Too many wrong ones in a short time: not looked at.
    Flood,
}

/// See the module documentation.
pub struct Agent {
    pub(super) settings: Settings,
    /// Protects what comes to us, and our responses.
    pub(super) key: IntegrityKey,
    /// Protects our requests; `None` without credentials of the peer.
    pub(super) remote_key: Option<IntegrityKey>,
    pub(super) role: Role,
    pub(super) tiebreaker: u64,
    pub(super) rng: StdRng,
    pub(super) bases: Vec<Base>,
    pub(super) list: Checklist,
    pub(super) selection: [Selection; 2],
    /// Before the restart.
    pub(super) previous: Option<Previous>,
    pub(super) state: AgentState,
    pub(super) events: VecDeque<Event>,
    /// HMACs that may turn out wrong.
    pub(super) mistakes: Budget,
    /// Errors that may be sent to whoever is not authenticated.
    pub(super) errors: Budget,
    /// Checks of addresses that media came from.
    moves: Budget,
    /// The next new check may start.
    pace_at: Instant,
    /// With the peer's description.
    started: Option<Instant>,
}

/// An earlier generation: media go on there, and its checks are answered, until the new one has its path.
pub(super) struct Previous {
    pub local: LocalCredentials,
    /// User fragment of the peer.
    pub remote: Option<String>,
    pub key: IntegrityKey,
    paths: [Option<Path>; 2],
    sources: Vec<(Component, Path)>,
    until: Instant,
}

impl Agent {
    /// An agent for the components that `bases` have.
    pub fn new(now: Instant, settings: Settings, bases: Vec<Base>, mut rng: StdRng) -> Self {
        let tiebreaker = rng.random();
        let mut agent = Self {
            key: IntegrityKey::new(settings.local.password()),
            remote_key: None,
            role: settings.role,
            tiebreaker,
            rng,
            bases,
            list: Checklist::default(),
            selection: Default::default(),
            previous: None,
            state: AgentState::Waiting,
            events: VecDeque::new(),
            mistakes: Budget::new(now, 64, 64),
            errors: Budget::new(now, 4, 4),
            moves: Budget::new(now, 4, 10),
            pace_at: now,
            started: None,
            settings,
        };
        agent.meet(now);
        agent
    }

    /// Takes new settings and bases. Other credentials, generation or mode: ICE restarts (RFC 8445 §9); else new candidates are added.
    pub fn update(&mut self, now: Instant, settings: Settings, bases: Vec<Base>) {
        let is_other_peer = match (&self.settings.remote, &settings.remote) {
            (Some(known), Some(told)) => known.credentials != told.credentials,
            (Some(_), None) => true,
            (None, _) => false,
        };
        let restarts = self.settings.local != settings.local
            || self.settings.generation != settings.generation
            || self.settings.mode != settings.mode
            || is_other_peer;
        let is_known = match (&self.settings.remote, &settings.remote) {
            (Some(known), Some(told)) => Arc::ptr_eq(known, told) && self.bases == bases,
            _ => false,
        };
        self.rebase(bases);
        if restarts {
            self.restart(now, settings);
            return;
        }
        if self.settings.role != settings.role && self.role == self.settings.role {
            self.change_role(settings.role);
        }
        self.settings = settings;
        if !is_known {
            self.meet(now);
        }
    }

    /// Goes on with a pair that was selected before, by the agent in whose place this one is. Does nothing where there is no such base.
    pub fn resume(&mut self, now: Instant, component: Component, path: Path) {
        let base = self.bases.get(usize::from(path.base.0)).copied();
        let Some(base) = base.filter(|base| base.component == component) else { return };
        let remote = Remote {
            address: path.remote,
            priority: priority(CandidateKind::PeerReflexive.preference(), u16::MAX, component),
            kind: CandidateKind::PeerReflexive,
            foundation: None,
        };
        let known = self.list.find(path.base, path.remote);
        let index = known.or_else(|| self.list.add(path.base, &base, remote, self.role));
        let Some(pair) = index.and_then(|index| self.list.pairs.get_mut(index)) else { return };
        pair.state = State::Succeeded;
        pair.authentic = true;
        index.into_iter().for_each(|index| self.nominated(now, index));
        self.review(now);
    }

    /// Authentic media came from where the peer has not been seen: a NAT on its way may have given it another address, which it cannot
    /// know. The way is checked, and becomes the path once the peer has answered there. `poll_transmit` is wanted afterwards.
    pub fn heard_elsewhere(&mut self, now: Instant, base: BaseId, source: SocketAddr) {
        let Some(local) = self.bases.get(usize::from(base.0)).copied() else { return };
        let is_on_way = |pair: &Pair| pair.moved || matches!(pair.state, State::Waiting | State::InProgress);
        let known = self.list.find(base, source);
        if self.settings.mode == Mode::Lite
            || self.remote_key.is_none()
            || self.selection[local.component.index()].pair().is_none()
            || known.and_then(|index| self.list.pairs.get(index)).is_some_and(is_on_way)
            || !self.moves.take(now)
        {
            return;
        }
        let remote = Remote {
            address: source,
            priority: priority(CandidateKind::PeerReflexive.preference(), u16::MAX, local.component),
            kind: CandidateKind::PeerReflexive,
            foundation: None,
        };
        let index = known.or_else(|| self.list.add(base, &local, remote, self.role));
        let Some((index, pair)) = index.and_then(|index| Some((index, self.list.pairs.get_mut(index)?)))
        else {
            return;
        };
        pair.moved = true;
        self.list.trigger(index);
    }

    /// Handles what is due; call it at [`Self::poll_timeout`].
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.previous.as_ref().is_some_and(|previous| previous.until <= now) {
            self.previous = None;
            self.paths_changed();
        }
        for index in 0..self.list.pairs.len() {
            if self.list.pairs[index].check.is_some_and(|check| check.has_failed(now)) {
                self.fail(index);
            }
        }
        for component in [Component::Rtp, Component::Rtcp] {
            self.tend(now, component);
        }
        self.review(now);
    }

    /// Writes the next datagram that is due into `buffer`. To be called until it gives `None`, after `handle_timeout`,
    /// `handle_datagram` and `update`.
    pub fn poll_transmit(&mut self, now: Instant, buffer: &mut Vec<u8>) -> Option<Transmit> {
        if self.settings.mode == Mode::Lite {
            return self.poll_keepalive(now, buffer);
        }
        self.remote_key.as_ref()?;
        if let Some(index) = self.poll_consent(now) {
            return Some(self.write_check(index, None, buffer));
        }
        let due = |pair: &Pair| pair.check.is_some_and(|check| check.is_due(now));
        if let Some(index) = self.list.pairs.iter().position(due) {
            return Some(self.transmit(now, index, buffer));
        }
        if now < self.pace_at {
            return None;
        }
        let index = self.list.next(self.settled())?;
        self.pace_at = now + PACE;
        let outstanding = self.list.outstanding();
        let pair = &mut self.list.pairs[index];
        let purpose = if pair.nominating { Purpose::Nominate } else { Purpose::Check };
        if purpose == Purpose::Check {
            pair.state = State::InProgress;
        }
        pair.check = Some(Check::new(now, purpose, outstanding));
        pair.send_as(TransactionId(self.rng.random()), self.role);
        Some(self.transmit(now, index, buffer))
    }

    /// What happened; until it gives `None`, after every other call.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Self::handle_timeout`] and [`Self::poll_transmit`] are wanted next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let checks = self.list.pairs.iter().filter_map(|pair| Some(pair.check.as_ref()?.next_at()));
        let selections = self.selection.iter().filter_map(|selection| selection.next_at(self.settings.mode));
        let waits = self.can_check() && self.list.has_next(self.settled());
        let patience = || self.started.map(|started| started + PATIENCE);
        [
            waits.then_some(self.pace_at),
            (self.state == AgentState::Checking).then(patience).flatten(),
            self.previous.as_ref().map(|previous| previous.until),
        ]
        .into_iter()
        .flatten()
        .chain(checks.filter(|_| self.can_check()))
        .chain(selections)
        .min()
    }

    /// Where packets of a component go: the selected pair, else that before the restart, else the best that works.
    pub fn path(&self, component: Component) -> Option<Path> {
        let path = |index: usize| self.list.pairs.get(index).map(Pair::path);
        let previous = || self.previous.as_ref().and_then(|p| p.paths[component.index()]);
        let valid = || self.list.best(|pair| pair.component == component && pair.state == State::Succeeded);
        self.selection[component.index()]
            .pair()
            .and_then(path)
            .or_else(previous)
            .or_else(|| valid().filter(|_| !self.selection[component.index()].is_lost()).and_then(path))
    }

    /// The selected pair of a component.
    pub fn selected(&self, component: Component) -> Option<Path> {
        self.list.pairs.get(self.selection[component.index()].pair()?).map(Pair::path)
    }

    /// Where packets of a component may come from: paths on which the peer has shown that it knows the credentials.
    pub fn sources(&self, component: Component) -> impl Iterator<Item = Path> {
        let pairs = self.list.pairs.iter().filter(move |p| p.component == component && p.authentic);
        let previous = self.previous.iter().flat_map(|previous| &previous.sources);
        pairs.map(Pair::path).chain(previous.filter(move |(of, _)| *of == component).map(|(_, path)| *path))
    }

    /// Present role.
    pub fn role(&self) -> Role {
        self.role
    }

    /// See [`AgentState`].
    pub fn state(&self) -> AgentState {
        self.state
    }

    /// The settings in force.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The peer is known, or known better: pairs are made, and checks begin.
    fn meet(&mut self, now: Instant) {
        let Some(remote) = self.settings.remote.clone() else { return };
        if self.started.is_none() {
            self.started = Some(now);
            self.set_state(AgentState::Checking);
            let ufrag = super::incoming::hash(&remote.credentials.ufrag);
            // What others sent who were offered the same.
            self.reindex(|list| list.keep(|pair| pair.early.is_none_or(|early| early == ufrag)));
            self.list.pairs.iter_mut().for_each(|pair| pair.early = None);
            self.paths_changed();
            let password = &remote.credentials.password;
            self.remote_key = (!password.is_empty()).then(|| IntegrityKey::new(password));
        }
        self.list.form(&self.bases, &remote, self.role);
        self.select_between_lites(now);
    }

    fn restart(&mut self, now: Instant, settings: Settings) {
        let paths = [Component::Rtp, Component::Rtcp].map(|component| self.path(component));
        let sources = |component| self.sources(component).map(move |path| (component, path));
        let sources: Vec<_> = sources(Component::Rtp).chain(sources(Component::Rtcp)).take(16).collect();
        let key = IntegrityKey::new(settings.local.password());
        let key = std::mem::replace(&mut self.key, key);
        let is_used = paths.iter().any(Option::is_some) || !sources.is_empty();
        let local = self.settings.local;
        let remote = self.settings.remote.as_ref().map(|agent| agent.credentials.ufrag.clone());
        self.previous =
            is_used.then(|| Previous { local, remote, key, paths, sources, until: now + OLD_PATH });
        self.list = Checklist::default();
        self.selection = Default::default();
        self.remote_key = None;
        self.started = None;
        self.role = settings.role;
        self.settings = settings;
        self.set_state(AgentState::Waiting);
        self.paths_changed();
        self.meet(now);
    }

    /// Numbers of bases that stay follow the new list.
    fn rebase(&mut self, bases: Vec<Base>) {
        if self.bases == bases {
            return;
        }
        if let Some(previous) = &mut self.previous {
            let moved = |path: Path| Some(Path { base: renumbered(&self.bases, &bases, path.base)?, ..path });
            previous.paths = previous.paths.map(|path| path.and_then(moved));
            previous.sources.retain_mut(|(_, path)| match moved(*path) {
                Some(moved) => {
                    *path = moved;
                    true
                }
                None => false,
            });
        }
        let old = std::mem::replace(&mut self.bases, bases);
        let renumber = |id: BaseId| renumbered(&old, &self.bases, id);
        let selected =
            self.selected_paths().map(|path| path.and_then(|p| Some((renumber(p.base)?, p.remote))));
        self.list.rebase(renumber);
        self.reselect(selected);
        self.paths_changed();
    }

    /// Pairs may go or move meanwhile: what is selected stays selected.
    fn reindex(&mut self, change: impl FnOnce(&mut Checklist)) {
        let selected = self.selected_paths().map(|path| path.map(|path| (path.base, path.remote)));
        change(&mut self.list);
        self.reselect(selected);
    }

    fn selected_paths(&self) -> [Option<Path>; 2] {
        [Component::Rtp, Component::Rtcp].map(|component| self.selected(component))
    }

    fn reselect(&mut self, selected: [Option<(BaseId, SocketAddr)>; 2]) {
        for (selection, selected) in self.selection.iter_mut().zip(selected) {
            selection.renumber(selected.and_then(|(base, remote)| self.list.find(base, remote)));
        }
    }

    /// Switches to the other role.
    pub(super) fn change_role(&mut self, role: Role) {
        self.role = role;
        self.list.reprioritise(role);
        for index in 0..self.list.pairs.len() {
            let pair = &mut self.list.pairs[index];
            pair.nominating = false;
            // What is on its way says the former role: it is not repeated, another request is sent.
            if pair.check.take().is_some() && pair.state == State::InProgress {
                self.list.trigger(index);
            }
        }
        self.events.push_back(Event::RoleChanged(role));
    }

    /// A pair has turned out not to work.
    pub(super) fn fail(&mut self, index: usize) {
        let Some(pair) = self.list.pairs.get_mut(index) else { return };
        let component = pair.component;
        pair.forget_requests();
        pair.state = State::Failed;
        pair.nominating = false;
        pair.nominate_on_success = false;
        self.events.push_back(Event::PathsChanged(component));
    }

    /// How far are we?
    pub(super) fn review(&mut self, now: Instant) {
        let components = [Component::Rtp, Component::Rtcp];
        let selected = |component: &Component| self.selection[component.index()].pair().is_some();
        let with_pairs = |component: &Component| self.list.has(*component);
        let completed =
            components.iter().filter(|c| with_pairs(c)).all(selected) && components.iter().any(selected);
        let state = if self.started.is_none() {
            AgentState::Waiting
        } else if completed {
            if let Some(previous) = &mut self.previous
                && self.state != AgentState::Completed
            {
                previous.until = previous.until.min(now + OLD_PATH_LINGERS);
            }
            AgentState::Completed
        } else if self.state == AgentState::Failed
            || self.selection.iter().any(Selection::is_lost)
            || self.started.is_some_and(|started| started + PATIENCE <= now)
        {
            AgentState::Failed
        } else {
            AgentState::Checking
        };
        self.set_state(state);
    }

    fn set_state(&mut self, state: AgentState) {
        if std::mem::replace(&mut self.state, state) != state {
            self.events.push_back(Event::StateChanged(state));
        }
    }

    pub(super) fn paths_changed(&mut self) {
        self.events.extend([Component::Rtp, Component::Rtcp].map(Event::PathsChanged));
    }

    pub(super) fn settled(&self) -> [bool; 2] {
        self.selection.each_ref().map(|selection| selection.pair().is_some() || selection.is_lost())
    }

    fn can_check(&self) -> bool {
        self.settings.mode == Mode::Full && self.remote_key.is_some()
    }

    fn transmit(&mut self, now: Instant, index: usize, buffer: &mut Vec<u8>) -> Transmit {
        let purpose = self.list.pairs[index].check.as_mut().map(|check| {
            check.sent(now);
            check.purpose
        });
        self.write_check(index, purpose, buffer)
    }

    /// The request of a pair (RFC 8445 §7.2.4).
    fn write_check(&mut self, index: usize, purpose: Option<Purpose>, buffer: &mut Vec<u8>) -> Transmit {
        let pair = &self.list.pairs[index];
        let transmit = Transmit { base: pair.base, to: pair.remote };
        let local_preference = self.bases.get(usize::from(pair.base.0)).map_or(0, |base| base.priority >> 8);
        let reflexive = priority(
            CandidateKind::PeerReflexive.preference(),
            (local_preference & 0xffff) as u16,
            pair.component,
        );
        let remote = self.settings.remote.as_ref().map(Arc::as_ref);
        let theirs = remote.map_or("", |remote| remote.credentials.ufrag.as_str());
        let id = pair.id().unwrap_or(TransactionId([0; 12]));
        let tiebreaker = match self.role {
            Role::Controlling => Tiebreaker::Controlling(self.tiebreaker),
            Role::Controlled => Tiebreaker::Controlled(self.tiebreaker),
        };
        let mut message = Builder::new(buffer, Class::Request, id)
            .username(theirs, self.settings.local.ufrag())
            .priority(reflexive)
            .tiebreaker(tiebreaker);
        if purpose == Some(Purpose::Nominate) {
            message = message.use_candidate();
        }
        message.finish(self.remote_key.as_ref());
        transmit
    }
}

/// The number in a new list of a base of the old one.
fn renumbered(old: &[Base], new: &[Base], id: BaseId) -> Option<BaseId> {
    let old = old.get(usize::from(id.0))?;
    let same = |new: &Base| new.component == old.component && new.address == old.address;
    (0..).map(BaseId).zip(new).find(|(_, new)| same(new)).map(|(id, _)| id)
}

impl Pair {
    pub(super) fn path(&self) -> Path {
        Path { base: self.base, remote: self.remote }
    }
}
