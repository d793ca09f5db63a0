//! Agents against agents on virtual time, over a network that delays, loses, reorders and translates.

mod checks;
mod consent;
mod hostile;
mod restart;
mod vectors;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

pub const BOTH: [Component; 2] = [Component::Rtp, Component::Rtcp];

pub fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A datagram on its way: to which side and address, from where.
type Flight = Reverse<(Instant, u64, usize, SocketAddr, SocketAddr, Vec<u8>)>;

/// What stands between the two agents.
pub struct Network {
    pub now: Instant,
    pub start: Instant,
    pub sides: [Side; 2],
    pub loss: f64,
    pub delay_ms: std::ops::RangeInclusive<u64>,
    /// Whether datagrams get from one address to another.
    pub passes: fn(SocketAddr, SocketAddr) -> bool,
    pub rng: StdRng,
    flights: BinaryHeap<Flight>,
    order: u64,
    /// Datagrams that were sent so far.
    pub sent: usize,
}

pub struct Side {
    pub agent: Agent,
    pub bases: Vec<Base>,
    pub events: Vec<Event>,
    /// The port that a NAT shows to the world instead of each local one.
    pub nat: Option<fn(SocketAddr) -> SocketAddr>,
}

/// Bases on these addresses: port 1000 for RTP, 1001 for RTCP.
pub fn bases(addresses: &[&str], components: &[Component]) -> Vec<Base> {
    let mut bases = Vec::new();
    for component in components {
        for (number, address) in (0u8..).zip(addresses) {
            bases.push(Base {
                component: *component,
                address: SocketAddr::new(address.parse().expect("address"), 999 + *component as u16),
                priority: priority(126, 65535 - u16::from(number), *component),
                foundation: number,
            });
        }
    }
    bases
}

/// What a side tells the other about its candidates.
pub fn candidates(bases: &[Base]) -> Vec<RemoteCandidate> {
    let candidate = |base: &Base| RemoteCandidate {
        foundation: base.foundation.to_string(),
        component: base.component,
        priority: base.priority,
        address: base.address,
        kind: CandidateKind::Host,
    };
    bases.iter().map(candidate).collect()
}

pub fn remote_of(local: &LocalCredentials, candidates: Vec<RemoteCandidate>, lite: bool) -> Arc<RemoteAgent> {
    Arc::new(RemoteAgent {
        credentials: RemoteCredentials { ufrag: local.ufrag().into(), password: local.password().into() },
        lite,
        trickle: true,
        candidates,
        end_of_candidates: true,
    })
}

/// How two agents begin.
pub struct Setup {
    pub seed: u64,
    pub addresses: [&'static [&'static str]; 2],
    pub components: &'static [Component],
    pub roles: [Role; 2],
    pub modes: [Mode; 2],
    /// Each knows the other's description.
    pub introduced: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            seed: 1,
            addresses: [&["192.0.2.1"], &["198.51.100.1"]],
            components: &BOTH,
            roles: [Role::Controlling, Role::Controlled],
            modes: [Mode::Full; 2],
            introduced: true,
        }
    }
}

impl Setup {
    pub fn network(&self) -> Network {
        let mut rng = StdRng::seed_from_u64(self.seed);
        let locals = [LocalCredentials::generate(&mut rng), LocalCredentials::generate(&mut rng)];
        let bases = self.addresses.map(|addresses| bases(addresses, self.components));
        let now = Instant::now();
        let side = |own: usize, rng: &mut StdRng| {
            let other = 1 - own;
            let lite = self.modes[other] == Mode::Lite;
            let settings = Settings {
                local: locals[own],
                remote: self.introduced.then(|| remote_of(&locals[other], candidates(&bases[other]), lite)),
                role: self.roles[own],
                mode: self.modes[own],
                generation: 0,
            };
            let rng = StdRng::seed_from_u64(rng.random());
            let agent = Agent::new(now, settings, bases[own].clone(), rng);
            Side { agent, bases: bases[own].clone(), events: Vec::new(), nat: None }
        };
        let sides = [side(0, &mut rng), side(1, &mut rng)];
        Network {
            now,
            start: now,
            sides,
            loss: 0.0,
            delay_ms: 5..=5,
            passes: |_, _| true,
            rng,
            flights: BinaryHeap::new(),
            order: 0,
            sent: 0,
        }
    }
}

impl Network {
    /// Lets time pass until `done` or for `limit`; whether it was done.
    pub fn run(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + limit;
        self.flush();
        loop {
            if done(self) {
                return true;
            }
            let timeouts = self.sides.iter().filter_map(|side| side.agent.poll_timeout());
            let flight = self.flights.peek().map(|Reverse((at, ..))| *at);
            let Some(next) = timeouts.chain(flight).min().filter(|next| *next <= end) else {
                self.now = end;
                return false;
            };
            self.now = self.now.max(next);
            while self.flights.peek().is_some_and(|Reverse((at, ..))| *at <= self.now) {
                let Some(Reverse((_, _, side, to, from, octets))) = self.flights.pop() else { break };
                self.arrive(side, to, from, &octets);
            }
            for side in &mut self.sides {
                if side.agent.poll_timeout().is_some_and(|at| at <= self.now) {
                    side.agent.handle_timeout(self.now);
                }
            }
            self.flush();
            for side in &self.sides {
                let next = side.agent.poll_timeout();
                assert!(next.is_none_or(|at| at > self.now), "what is due is done");
            }
        }
    }

    /// Lets time pass.
    pub fn pass(&mut self, time: Duration) {
        self.run(time, |_| false);
    }

    pub fn completed(&self) -> bool {
        self.sides.iter().all(|side| side.agent.state() == AgentState::Completed)
    }

    pub fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    /// Both ends of a component are the two ends of one path.
    pub fn agrees(&self, component: Component) -> bool {
        let [a, b] = &self.sides;
        let (Some(ours), Some(theirs)) = (a.agent.selected(component), b.agent.selected(component)) else {
            return false;
        };
        a.seen_from_outside(ours.base) == theirs.remote && b.seen_from_outside(theirs.base) == ours.remote
    }

    /// Sends a datagram from an address that need not be anybody's.
    pub fn inject(
        &mut self,
        side: usize,
        to: SocketAddr,
        from: SocketAddr,
        octets: &[u8],
    ) -> (Handled, Vec<u8>) {
        let base = self.sides[side].base_at(to).expect("a base");
        let mut reply = Vec::new();
        let handled = self.sides[side].agent.handle_datagram(self.now, base, from, octets, &mut reply);
        self.flush();
        (handled, reply)
    }

    /// What a failing test shows.
    pub fn describe(&self) -> String {
        let side = |side: &Side| {
            let agent = &side.agent;
            format!("{:?} {:?}\n{:#?}\n{:#?}", agent.state, agent.role, agent.selection, agent.list.pairs)
        };
        self.sides.iter().map(side).collect()
    }

    fn arrive(&mut self, side: usize, to: SocketAddr, from: SocketAddr, octets: &[u8]) {
        let Some(base) = self.sides[side].base_at(to) else { return };
        let mut reply = Vec::new();
        let handled = self.sides[side].agent.handle_datagram(self.now, base, from, octets, &mut reply);
        if matches!(handled, Handled::Reply | Handled::Refused { reply: true, .. }) {
            self.send(side, base, from, reply);
        }
        self.flush();
    }

    fn flush(&mut self) {
        for side in 0..2 {
            let mut buffer = Vec::new();
            while let Some(transmit) = self.sides[side].agent.poll_transmit(self.now, &mut buffer) {
                self.send(side, transmit.base, transmit.to, buffer.clone());
            }
            while let Some(event) = self.sides[side].agent.poll_event() {
                self.sides[side].events.push(event);
            }
        }
    }

    fn send(&mut self, side: usize, base: BaseId, to: SocketAddr, octets: Vec<u8>) {
        self.sent += 1;
        let from = self.sides[side].seen_from_outside(base);
        if !(self.passes)(from, to) || self.rng.random_bool(self.loss) {
            return;
        }
        let at = self.now + ms(self.rng.random_range(self.delay_ms.clone()));
        self.order += 1;
        self.flights.push(Reverse((at, self.order, 1 - side, to, from, octets)));
    }
}

impl Side {
    fn seen_from_outside(&self, base: BaseId) -> SocketAddr {
        let local = self.bases[usize::from(base.0)].address;
        self.nat.map_or(local, |nat| nat(local))
    }

    fn base_at(&self, address: SocketAddr) -> Option<BaseId> {
        let at = |base: &Base| self.nat.map_or(base.address, |nat| nat(base.address)) == address;
        self.bases.iter().position(at).map(|index| BaseId(index as u8))
    }

    /// Takes what the other side described.
    pub fn meet(&mut self, now: Instant, remote: Arc<RemoteAgent>) {
        let settings = Settings { remote: Some(remote), ..self.agent.settings().clone() };
        self.agent.update(now, settings, self.bases.clone());
    }

    pub fn has_seen(&self, wanted: impl Fn(&Event) -> bool) -> bool {
        self.events.iter().any(wanted)
    }
}
