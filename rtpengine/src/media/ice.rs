//! ICE in the data plane: the agents of a worker, their sockets, and what they mean for the streams.
//!
//! One agent for the streams of a media section. STUN that arrives on a stream goes to its agent before anything else looks at it; what the
//! agent finds out is written into the stream: where its packets go, from which socket, and from where they may come. So that media
//! packets cost one comparison more and never meet the agent.
//!
//! ```text
//! socket → accept ── STUN ──► Output::stun ──► Agent ─► reply, checks
//!              └─── media ──► StreamIce::accepts          └─► Worker::ice_news → stream's path, MediaEvent
//! schedule ─► Due::Ice ─► Worker::ice_turn ──────► Agent
//! ```
//!
//! A stream's other local addresses (its alternates) are sockets of the same stream: their number is part of the token.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Instant;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::event::{IceNews, MediaEvent};
use super::install::Call;
use super::output::{Now, Output};
use super::plan::{CallKey, CallPlan, DropReason, IceBase, IcePlan};
use super::port_pool::LocalPort;
use super::send::{Destination, send};
use super::sockets::with_position;
use super::stream::Stream;
use super::worker::Worker;
use crate::proto::ice::{Agent, AgentState, BaseId, Component, Event, Handled, Mode, Path, Refusal};

/// Sources of media that a stream knows; more than any party uses at a time.
const MAX_SOURCES: usize = 16;
/// Octets of the longest datagram of an agent: user fragments have 256 octets at most.
const LONGEST: usize = 576;

/// What a stream knows of ICE.
pub struct StreamIce {
    agent: u64,
    /// Media are taken from, and sent to, whom the agent has verified, and nobody else.
    is_demanded: bool,
    /// The stream's own socket.
    own: BaseId,
    /// Its sockets on further local addresses.
    alternates: Vec<(BaseId, Arc<LocalPort>)>,
    /// Where packets go, and from which of the sockets.
    path: Option<(usize, SocketAddr)>,
    /// The agent checks for itself that somebody is there.
    is_full: bool,
    sources: Vec<SocketAddr>,
}

impl StreamIce {
    /// Whether packets from there are the party's: it has shown on this way that it knows the credentials.
    #[inline]
    pub fn accepts(&self, source: SocketAddr) -> bool {
        self.path() == Some(source) || !self.is_demanded || self.sources.contains(&source)
    }

    /// Where packets go; `None`: nowhere yet.
    pub fn path(&self) -> Option<SocketAddr> {
        self.path.map(|(_, remote)| remote)
    }

    /// Those whose media are taken, beside the path's.
    pub fn sources(&self) -> impl Iterator<Item = SocketAddr> {
        self.sources.iter().copied()
    }

    /// What the agent calls the socket at a position.
    fn base(&self, position: usize) -> BaseId {
        position.checked_sub(1).and_then(|at| self.alternates.get(at)).map_or(self.own, |(base, _)| *base)
    }

    /// Its sockets on further local addresses: positions 1 and up.
    pub fn alternates(&self) -> impl Iterator<Item = &Arc<LocalPort>> {
        self.alternates.iter().map(|(_, socket)| socket)
    }

    /// Position of the socket that packets have to leave from, if there is no choice.
    pub fn way_out(&self) -> Option<usize> {
        self.path.filter(|_| self.is_demanded).map(|(position, _)| position)
    }
}

impl Stream {
    /// Only those who have shown the party's credentials are heard on this stream.
    pub fn demands_ice(&self) -> bool {
        self.ice.as_ref().is_some_and(|ice| ice.is_demanded)
    }

    /// Somebody at this address has answered a check of ours who knows the credentials.
    pub fn has_answered(&self, source: SocketAddr) -> bool {
        let ice = self.ice.as_ref().filter(|ice| ice.is_demanded && ice.is_full);
        ice.is_some_and(|ice| ice.path() == Some(source))
    }

    /// Takes what the agent says about ways.
    fn follow(&mut self, path: Option<(BaseId, SocketAddr)>, sources: impl Iterator<Item = SocketAddr>) {
        let Some(ice) = &mut self.ice else { return };
        ice.path = path.map(|(base, remote)| {
            let alternate = ice.alternates.iter().position(|(id, _)| *id == base);
            (alternate.map_or(0, |position| position + 1), remote)
        });
        ice.sources.clear();
        ice.sources.extend(sources.take(MAX_SOURCES));
        if ice.is_demanded {
            self.fd = self.path_socket().socket.as_raw_fd();
            self.follow_ice();
        }
    }
}

/// The agents of a worker.
#[derive(Default)]
pub struct IceAgents {
    sessions: HashMap<u64, Session>,
    next: u64,
    /// Those that may have news, in the order of the datagrams.
    touched: Vec<u64>,
    buffer: Vec<u8>,
}

struct Session {
    agent: Agent,
    call: CallKey,
    generation: u32,
    /// By [`BaseId`].
    sockets: Vec<Arc<LocalPort>>,
    /// Tokens by component.
    streams: [Option<u64>; 2],
    /// The turn in the schedule that counts.
    turn: Option<Instant>,
}

impl Session {
    /// Sends what is due.
    fn send_checks(&mut self, now: Instant, buffer: &mut Vec<u8>) {
        while let Some(transmit) = self.agent.poll_transmit(now, buffer) {
            if let Some(socket) = self.sockets.get(usize::from(transmit.base.0)) {
                // What the system refuses is lost, like any datagram; checks are repeated.
                send(socket.socket.as_raw_fd(), &Destination::new(transmit.to), buffer);
            }
        }
    }
}

impl IceAgents {
    fn touch(&mut self, number: u64) {
        if !self.touched.contains(&number) {
            self.touched.push(number);
        }
    }
}

impl Output {
    /// A STUN datagram arrived on a stream. An error is the reason why it was of no use.
    pub fn stun(&mut self, stream: &Stream, source: SocketAddr, datagram: &[u8]) -> Result<(), DropReason> {
        let ice = stream.ice.as_ref().ok_or(DropReason::NotNegotiated)?;
        let now = self.now;
        let IceAgents { sessions, buffer, .. } = &mut self.ice;
        let session = sessions.get_mut(&ice.agent).ok_or(DropReason::NotNegotiated)?;
        let base = ice.base(stream.reading());
        let handled = session.agent.handle_datagram(now.instant, base, source, datagram, buffer);
        let is_reply = matches!(handled, Handled::Reply | Handled::Refused { reply: true, .. });
        if is_reply && let Some(socket) = session.sockets.get(usize::from(base.0)) {
            send(socket.socket.as_raw_fd(), &Destination::new(source), buffer);
        }
        if let Handled::Refused { reason, .. } = handled {
            return Err(match reason {
                Refusal::Malformed => DropReason::Malformed,
                Refusal::Unexpected => DropReason::Unexpected,
                Refusal::Unauthenticated | Refusal::Flood => DropReason::NotAuthentic,
            });
        }
        if session.agent.state() != AgentState::Completed {
            stream.shared.ice_activity_us.set(now.us);
        }
        session.send_checks(now.instant, buffer);
        self.ice.touch(ice.agent);
        Ok(())
    }
}

impl Output {
    /// An authentic packet came from where the party has not been seen.
    pub fn heard_elsewhere(&mut self, stream: &Stream, source: SocketAddr) {
        let Some(ice) = &stream.ice else { return };
        let IceAgents { sessions, buffer, .. } = &mut self.ice;
        let Some(session) = sessions.get_mut(&ice.agent) else { return };
        session.agent.heard_elsewhere(self.now.instant, ice.base(stream.reading()), source);
        session.send_checks(self.now.instant, buffer);
        self.ice.touch(ice.agent);
    }
}

impl Worker {
    /// Makes the agents of a call equal to its plan. An agent goes on where its streams have it already.
    pub(super) fn install_ice(&mut self, call: &Call, plan: &CallPlan) {
        let now = self.output.now;
        for (position, wanted) in plan.streams.iter().enumerate() {
            let Some(ice) = &wanted.ice else {
                if let Some(slot) = call.slot(wanted.id) {
                    self.detach(slot);
                }
                continue;
            };
            let is_same = |other: &Option<Arc<IcePlan>>| other.as_ref().is_some_and(|o| Arc::ptr_eq(o, ice));
            if plan.streams.iter().take(position).any(|earlier| is_same(&earlier.ice)) {
                continue;
            }
            let slots: Vec<u32> = (plan.streams.iter())
                .filter(|stream| is_same(&stream.ice))
                .filter_map(|stream| call.slot(stream.id))
                .collect();
            let known = slots.iter().find_map(|slot| Some(self.streams.get(*slot)?.ice.as_ref()?.agent));
            let number = self.install_agent(now, known, plan.key, ice);
            for slot in slots {
                self.attach(slot, number, ice);
            }
            self.output.ice.touch(number);
        }
        self.ice_news();
    }

    fn install_agent(&mut self, now: Now, known: Option<u64>, call: CallKey, plan: &IcePlan) -> u64 {
        let agents = &mut self.output.ice;
        let bases = plan.bases.iter().map(|base| base.candidate).collect();
        let sockets = plan.bases.iter().map(|base| Arc::clone(&base.socket)).collect();
        let settings = plan.settings.clone();
        let generation = settings.generation;
        if let Some((number, session)) =
            known.and_then(|number| Some((number, agents.sessions.get_mut(&number)?)))
        {
            session.agent.update(now.instant, settings, bases);
            session.sockets = sockets;
            session.generation = generation;
            session.send_checks(now.instant, &mut agents.buffer);
            return number;
        }
        let mut agent = Agent::new(now.instant, settings, bases, StdRng::from_os_rng());
        // The call was another worker's, or another call's part.
        for (component, selected) in [Component::Rtp, Component::Rtcp].into_iter().zip(plan.selected) {
            let Some((local, remote)) = selected else { continue };
            let is_at = |base: &IceBase| base.candidate.component == component && base.socket.local == local;
            if let Some((base, _)) = (0..).map(BaseId).zip(&plan.bases).find(|(_, base)| is_at(base)) {
                agent.resume(now.instant, component, Path { base, remote });
            }
        }
        let mut session = Session { agent, call, generation, sockets, streams: [None; 2], turn: None };
        agents.buffer.reserve(LONGEST);
        session.send_checks(now.instant, &mut agents.buffer);
        let number = agents.next;
        agents.next += 1;
        agents.sessions.insert(number, session);
        number
    }

    /// Gives a stream its part of an agent, and reads its further sockets.
    fn attach(&mut self, slot: u32, number: u64, plan: &IcePlan) {
        let is_other = |stream: &Stream| stream.ice.as_ref().is_some_and(|ice| ice.agent != number);
        if self.streams.get(slot).is_some_and(is_other) {
            self.detach(slot);
        }
        let token = self.streams.token(slot);
        let Some(stream) = self.streams.get_mut(slot) else { return };
        let bases = || (0..).map(BaseId).zip(&plan.bases);
        let Some((own, base)) = bases().find(|(_, base)| Arc::ptr_eq(&base.socket, stream.socket())) else {
            return;
        };
        let component = base.candidate.component;
        let of_component = bases().filter(|(id, base)| *id != own && base.candidate.component == component);
        let alternates: Vec<_> = of_component.map(|(id, base)| (id, Arc::clone(&base.socket))).collect();
        let before = stream.ice.take();
        let is_demanded = plan.is_demanded;
        let is_full = plan.settings.mode == Mode::Full;
        let (path, sources, known) = match before.map(|before| *before) {
            Some(before) => (before.path, before.sources, before.alternates),
            None => (None, Vec::with_capacity(MAX_SOURCES), Vec::new()),
        };
        let same = known.len() == alternates.len()
            && known.iter().zip(&alternates).all(|((_, a), (_, b))| Arc::ptr_eq(a, b));
        if !same {
            for (_, socket) in &known {
                let _ = self.poll.remove(socket.socket.as_raw_fd());
            }
            for (position, (_, socket)) in (1..).zip(&alternates) {
                if let Err(error) = self.poll.add(socket.socket.as_raw_fd(), with_position(token, position)) {
                    tracing::error!(local = %socket.local, %error, "socket of an ICE candidate cannot be read");
                }
            }
        }
        let ice = StreamIce { agent: number, is_demanded, own, alternates, path, is_full, sources };
        stream.ice = Some(Box::new(ice));
        if let Some(session) = self.output.ice.sessions.get_mut(&number) {
            session.streams[component.index()] = Some(token);
        }
        self.show_paths(number, component);
    }

    /// A stream has no agent any more.
    pub(super) fn detach(&mut self, slot: u32) {
        if self.streams.get(slot).is_none_or(|stream| stream.ice.is_none()) {
            return;
        }
        self.unguard(slot);
        let token = self.streams.token(slot);
        let Some(stream) = self.streams.get_mut(slot) else { return };
        let Some(ice) = stream.ice.take() else { return };
        stream.fd = stream.socket().socket.as_raw_fd();
        for (_, socket) in &ice.alternates {
            let _ = self.poll.remove(socket.socket.as_raw_fd());
        }
        let sessions = &mut self.output.ice.sessions;
        if let Some(session) = sessions.get_mut(&ice.agent) {
            session
                .streams
                .iter_mut()
                .filter(|stream| **stream == Some(token))
                .for_each(|stream| *stream = None);
            if session.streams == [None; 2] {
                sessions.remove(&ice.agent);
            }
        }
    }

    /// Something of an agent is due.
    pub(super) fn ice_turn(&mut self, number: u64, at: Instant) {
        // Up to `EARLY` before its time a turn counts as on time.
        let now = self.output.now.instant.max(at);
        let IceAgents { sessions, buffer, .. } = &mut self.output.ice;
        let Some(session) = sessions.get_mut(&number).filter(|session| session.turn == Some(at)) else {
            return;
        };
        session.turn = None;
        session.agent.handle_timeout(now);
        session.send_checks(now, buffer);
        self.output.ice.touch(number);
        self.ice_news();
    }

    /// Carries out and tells what the agents have found.
    pub(super) fn ice_news(&mut self) {
        while let Some(number) = self.output.ice.touched.pop() {
            while let Some(event) =
                self.output.ice.sessions.get_mut(&number).and_then(|session| session.agent.poll_event())
            {
                self.ice_event(number, event);
            }
            let Some(session) = self.output.ice.sessions.get_mut(&number) else { continue };
            if let Some(next) = session.agent.poll_timeout()
                && session.turn.is_none_or(|turn| next < turn)
            {
                session.turn = Some(next);
                self.output.schedule.ice(next, number);
            }
        }
    }

    fn ice_event(&mut self, number: u64, event: Event) {
        let Some(session) = self.output.ice.sessions.get(&number) else { return };
        let news = match event {
            Event::PathsChanged(component) => return self.show_paths(number, component),
            Event::Selected(component, path) => {
                let Some(socket) = session.sockets.get(usize::from(path.base.0)) else { return };
                IceNews::Selected { component, local: socket.local, peer: path.remote }
            }
            Event::ConsentLost(component) => IceNews::ConsentLost { component },
            Event::RoleChanged(role) => IceNews::RoleChanged(role),
            Event::StateChanged(AgentState::Failed) => IceNews::Failed,
            Event::StateChanged(_) => return,
        };
        let mut streams = session.streams.iter().flatten();
        let stream = streams.find_map(|token| self.streams.get(self.streams.resolve(*token)?));
        if let Some(stream) = stream {
            let (call, generation) = (session.call, session.generation);
            self.tell(MediaEvent::Ice { call, stream: stream.id, generation, news });
        }
    }

    /// Writes into a stream what its agent knows.
    fn show_paths(&mut self, number: u64, component: Component) {
        let Some(session) = self.output.ice.sessions.get(&number) else { return };
        let slot = session.streams[component.index()].and_then(|token| self.streams.resolve(token));
        let Some(stream) = slot.and_then(|slot| self.streams.get_mut(slot)) else { return };
        let path = session.agent.path(component).map(|path| (path.base, path.remote));
        stream.follow(path, session.agent.sources(component).map(|path| path.remote));
        if let Some(slot) = slot {
            // A handshake begins, or goes on, on that way.
            self.tell_path(slot);
            if let Some(call) = self.streams.get(slot).map(|stream| stream.call) {
                self.compare_call(call);
            }
        }
    }
}
