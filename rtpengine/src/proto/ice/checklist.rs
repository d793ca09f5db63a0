//! Candidate pairs and the order in which they are checked (RFC 8445 §6.1).

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use super::candidate::{CandidateKind, Component, pair_priority};
use super::settings::{Base, BaseId, RemoteAgent, Role};
use super::transaction::Check;
use crate::proto::stun::TransactionId;

/// RFC 8445 §6.1.2.5.
pub const MAX_PAIRS: usize = 100;

/// Foundations of peer reflexive candidates are numbered from here, each is one of its own.
const REFLEXIVE_FOUNDATION: u32 = 1 << 16;

/// RFC 8445 §6.1.2.6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Frozen,
    Waiting,
    InProgress,
    Succeeded,
    Failed,
}

/// A local base and a remote candidate.
#[derive(Clone, Debug)]
pub struct Pair {
    pub base: BaseId,
    pub component: Component,
    pub remote: SocketAddr,
    pub kind: CandidateKind,
    local_priority: u32,
    remote_priority: u32,
    pub priority: u64,
    foundation: (u8, u32),
    pub state: State,
    /// By us or by the peer.
    pub nominated: bool,
    /// The peer wants it to be selected once our check has succeeded (RFC 8445 §7.3.1.5).
    pub nominate_on_success: bool,
    /// We want the next check to nominate it.
    pub nominating: bool,
    /// Authentic media came on it: once it works it is the path.
    pub moved: bool,
    /// The peer has proven on this path that it knows the credentials.
    pub authentic: bool,
    /// Last authentic message on it.
    pub heard: Option<Instant>,
    /// Its check came before the peer's description; whose user fragment it had.
    pub early: Option<u64>,
    pub check: Option<Check>,
    /// Of the last two requests: a response to the earlier one is as good.
    ids: [Option<(TransactionId, Role)>; 2],
}

impl Pair {
    /// The role in which a request was sent on this pair, if it is one that is still answered.
    pub fn sent_as(&self, id: TransactionId) -> Option<Role> {
        self.ids.iter().flatten().find(|(sent, _)| *sent == id).map(|(_, role)| *role)
    }

    /// The id of the request that is on its way.
    pub fn id(&self) -> Option<TransactionId> {
        self.ids[0].map(|(id, _)| id)
    }

    /// A new request is on its way.
    pub fn send_as(&mut self, id: TransactionId, role: Role) {
        self.ids = [Some((id, role)), self.ids[0]];
    }

    /// No response counts any more.
    pub fn forget_requests(&mut self) {
        self.ids = [None; 2];
        self.check = None;
    }

    fn is_pending(&self) -> bool {
        matches!(self.state, State::Waiting | State::InProgress)
    }
}

/// What is known about the remote candidate of a pair.
#[derive(Clone, Copy, Debug)]
pub struct Remote {
    pub address: SocketAddr,
    pub priority: u32,
    pub kind: CandidateKind,
    /// Number of its foundation; `None` for one of its own.
    pub foundation: Option<u32>,
}

/// All pairs of an agent.
#[derive(Debug, Default)]
pub struct Checklist {
    pub pairs: Vec<Pair>,
    /// First come, first served (RFC 8445 §6.1.4.1).
    triggered: VecDeque<usize>,
    reflexive: u32,
}

impl Checklist {
    /// Pairs all candidates of the peer that are not paired yet.
    pub fn form(&mut self, bases: &[Base], agent: &RemoteAgent, role: Role) {
        for candidate in &agent.candidates {
            let number = agent.candidates.iter().position(|other| other.foundation == candidate.foundation);
            let remote = Remote {
                address: candidate.address,
                priority: candidate.priority,
                kind: candidate.kind,
                foundation: number.and_then(|number| u32::try_from(number).ok()),
            };
            for (id, base) in (0..).map(BaseId).zip(bases) {
                if base.component == candidate.component && can_reach(base.address, candidate.address) {
                    self.signalled(id, base, remote, role);
                }
            }
        }
        self.thaw();
    }

    /// A candidate that the peer signalled; one that was found by its checks gets what is known now.
    fn signalled(&mut self, id: BaseId, base: &Base, remote: Remote, role: Role) {
        if let Some(index) = self.find(id, remote.address) {
            let pair = &mut self.pairs[index];
            if pair.kind == CandidateKind::PeerReflexive {
                pair.kind = remote.kind;
                pair.remote_priority = remote.priority;
                pair.priority = pair_priority(role, pair.local_priority, remote.priority);
            }
            return;
        }
        self.add(id, base, remote, role);
    }

    /// Adds a pair. A full list lets go of its least promising one, or does not take the new one.
    pub fn add(&mut self, id: BaseId, base: &Base, remote: Remote, role: Role) -> Option<usize> {
        let priority = pair_priority(role, base.priority, remote.priority);
        let foundation = remote.foundation.unwrap_or_else(|| {
            self.reflexive += 1;
            REFLEXIVE_FOUNDATION + self.reflexive
        });
        let pair = Pair {
            base: id,
            component: base.component,
            remote: remote.address,
            kind: remote.kind,
            local_priority: base.priority,
            remote_priority: remote.priority,
            priority,
            foundation: (base.foundation, foundation),
            state: State::Frozen,
            nominated: false,
            nominate_on_success: false,
            nominating: false,
            moved: false,
            authentic: false,
            heard: None,
            early: None,
            check: None,
            ids: [None; 2],
        };
        if self.pairs.len() < MAX_PAIRS {
            self.pairs.push(pair);
            return Some(self.pairs.len() - 1);
        }
        let expendable = |pair: &Pair| matches!(pair.state, State::Frozen | State::Waiting | State::Failed);
        let (index, worst) = (self.pairs.iter().enumerate())
            .filter(|(_, pair)| expendable(pair) && !pair.authentic)
            .min_by_key(|(_, pair)| (pair.state != State::Failed, pair.priority))?;
        if worst.state != State::Failed && worst.priority >= priority {
            return None;
        }
        self.triggered.retain(|triggered| *triggered != index);
        self.pairs[index] = pair;
        Some(index)
    }

    /// The pair of a base and an address of the peer.
    pub fn find(&self, base: BaseId, remote: SocketAddr) -> Option<usize> {
        self.pairs.iter().position(|pair| pair.base == base && pair.remote == remote)
    }

    /// The role is another one, and with it all priorities.
    pub fn reprioritise(&mut self, role: Role) {
        for pair in &mut self.pairs {
            pair.priority = pair_priority(role, pair.local_priority, pair.remote_priority);
        }
    }

    /// Bases have other numbers: `renumber` gives the new one, `None` where there is none any more.
    pub fn rebase(&mut self, renumber: impl Fn(BaseId) -> Option<BaseId>) {
        self.keep(|pair| match renumber(pair.base) {
            Some(id) => {
                pair.base = id;
                true
            }
            None => false,
        });
    }

    /// Removes pairs; what was triggered is forgotten where anything goes.
    pub fn keep(&mut self, keep: impl FnMut(&mut Pair) -> bool) {
        let before = self.pairs.len();
        self.pairs.retain_mut(keep);
        if self.pairs.len() != before {
            self.triggered.clear();
            for (index, pair) in self.pairs.iter().enumerate() {
                if pair.nominating || pair.nominate_on_success {
                    self.triggered.push_back(index);
                }
            }
        }
    }

    /// The pair is checked as soon as possible.
    pub fn trigger(&mut self, index: usize) {
        if self.triggered.contains(&index) {
            return;
        }
        self.triggered.push_back(index);
        if let Some(pair) = self.pairs.get_mut(index)
            && pair.state != State::Succeeded
        {
            pair.state = State::Waiting;
        }
    }

    /// Takes what is to be checked next. Components that are `settled` have their path: only triggered checks are done.
    pub fn next(&mut self, settled: [bool; 2]) -> Option<usize> {
        while let Some(index) = self.triggered.pop_front() {
            if self.pairs.get(index).is_some_and(|pair| pair.state != State::Succeeded || pair.nominating) {
                return Some(index);
            }
        }
        self.ordinary(settled)
            .max_by_key(|(_, pair)| (pair.state == State::Waiting, pair.priority))
            .map(|(i, _)| i)
    }

    /// Whether [`Self::next`] would find something.
    pub fn has_next(&self, settled: [bool; 2]) -> bool {
        !self.triggered.is_empty() || self.ordinary(settled).next().is_some()
    }

    /// Pairs that may be checked: those that wait, and frozen ones of which no sibling is under way (RFC 8445 §6.1.4.2).
    fn ordinary(&self, settled: [bool; 2]) -> impl Iterator<Item = (usize, &Pair)> {
        self.pairs.iter().enumerate().filter(move |(_, pair)| {
            !settled[pair.component.index()]
                && match pair.state {
                    State::Waiting => true,
                    State::Frozen => {
                        !self.pairs.iter().any(|p| p.foundation == pair.foundation && p.is_pending())
                    }
                    State::InProgress | State::Succeeded | State::Failed => false,
                }
        })
    }

    /// A check has succeeded: what has the same foundation probably works, too (RFC 8445 §7.2.5.3.3).
    pub fn unfreeze(&mut self, index: usize) {
        let Some(foundation) = self.pairs.get(index).map(|pair| pair.foundation) else { return };
        for pair in self.pairs.iter_mut().filter(|pair| pair.foundation == foundation) {
            if pair.state == State::Frozen {
                pair.state = State::Waiting;
            }
        }
    }

    /// Of each foundation that nothing is known about one pair is checked first: that of the lowest component, and of these the best
    /// (RFC 8445 §6.1.2.6).
    fn thaw(&mut self) {
        for index in 0..self.pairs.len() {
            let pair = &self.pairs[index];
            if pair.state != State::Frozen {
                continue;
            }
            let same = || self.pairs.iter().filter(|other| other.foundation == pair.foundation);
            let first = same()
                .filter(|other| other.state == State::Frozen)
                .min_by_key(|other| (other.component, std::cmp::Reverse(other.priority)));
            let leads = first.is_some_and(|first| std::ptr::eq(first, pair));
            if same().any(|other| other.state == State::Succeeded)
                || leads && !same().any(|other| other.is_pending())
            {
                self.pairs[index].state = State::Waiting;
            }
        }
    }

    /// Checks that are not finished.
    pub fn outstanding(&self) -> usize {
        self.pairs.iter().filter(|pair| pair.is_pending()).count()
    }

    /// There are pairs of this component.
    pub fn has(&self, component: Component) -> bool {
        self.pairs.iter().any(|pair| pair.component == component)
    }

    /// The best of the pairs that fit.
    pub fn best(&self, fits: impl Fn(&Pair) -> bool) -> Option<usize> {
        let pairs = self.pairs.iter().enumerate().filter(|(_, pair)| fits(pair));
        pairs.max_by_key(|(_, pair)| pair.priority).map(|(index, _)| index)
    }
}

/// Packets can go from one to the other: same family, and link-local only among themselves.
fn can_reach(from: SocketAddr, to: SocketAddr) -> bool {
    match (from, to) {
        (SocketAddr::V4(_), SocketAddr::V4(_)) => true,
        (SocketAddr::V6(from), SocketAddr::V6(to)) => {
            from.ip().is_unicast_link_local() == to.ip().is_unicast_link_local()
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::ice::{RemoteCandidate, RemoteCredentials, priority};

    fn base(component: Component, foundation: u8) -> Base {
        let address = SocketAddr::from(([192, 0, 2, foundation], 1000 + component as u16));
        Base {
            component,
            address,
            priority: priority(126, 65535 - u16::from(foundation), component),
            foundation,
        }
    }

    fn agent(candidates: &[(&str, Component, u32, &str)]) -> RemoteAgent {
        let candidate = |&(foundation, component, priority, address): &(&str, _, _, &str)| RemoteCandidate {
            foundation: foundation.into(),
            component,
            priority,
            address: address.parse().expect("address"),
            kind: CandidateKind::Host,
        };
        RemoteAgent {
            credentials: RemoteCredentials { ufrag: "u".into(), password: "p".into() },
            lite: false,
            trickle: true,
            candidates: candidates.iter().map(candidate).collect(),
            end_of_candidates: false,
        }
    }

    fn states(list: &Checklist) -> Vec<State> {
        list.pairs.iter().map(|pair| pair.state).collect()
    }

    use Component::{Rtcp, Rtp};
    use State::*;

    #[test]
    fn one_pair_of_each_foundation_waits_and_success_unfreezes_its_siblings() {
        let bases = [base(Rtp, 0), base(Rtcp, 0)];
        let mut list = Checklist::default();
        let remote = agent(&[
            ("a", Rtp, 100, "198.51.100.1:1"),
            ("a", Rtcp, 99, "198.51.100.1:2"),
            ("b", Rtcp, 50, "198.51.100.2:2"),
            ("b", Rtp, 51, "198.51.100.2:1"),
        ]);
        list.form(&bases, &remote, Role::Controlling);
        assert_eq!(states(&list), [Waiting, Frozen, Frozen, Waiting]);
        list.pairs[3].state = Succeeded;
        list.unfreeze(3);
        assert_eq!(states(&list), [Waiting, Frozen, Waiting, Succeeded]);
        assert_eq!(list.next([false; 2]), Some(0), "the best that waits");
        list.pairs[0].state = InProgress;
        assert_eq!(list.next([false; 2]), Some(2));
        list.pairs[2].state = InProgress;
        assert_eq!(list.next([false; 2]), None, "a sibling of the frozen one is under way");
        list.pairs[0].state = Failed;
        assert_eq!(list.next([false; 2]), Some(1), "and has failed");
        assert_eq!(list.next([false, true]), None, "its component is settled");
    }

    #[test]
    fn families_do_not_mix_and_link_local_stays_local() {
        let mut bases = vec![base(Rtp, 0)];
        for address in ["[fe80::1]:1", "[2001:db8::1]:1"] {
            bases.push(Base { address: address.parse().expect("address"), ..bases[0] });
        }
        let mut list = Checklist::default();
        let remote = agent(&[
            ("a", Rtp, 1, "198.51.100.1:1"),
            ("b", Rtp, 2, "[2001:db8::2]:1"),
            ("c", Rtp, 3, "[fe80::2]:1"),
        ]);
        list.form(&bases, &remote, Role::Controlled);
        let pairs: Vec<_> = list.pairs.iter().map(|pair| (pair.base.0, pair.remote.to_string())).collect();
        let expected = [(0, "198.51.100.1:1"), (2, "[2001:db8::2]:1"), (1, "[fe80::2]:1")];
        assert_eq!(pairs, expected.map(|(base, remote)| (base, remote.to_owned())));
    }

    #[test]
    fn a_full_list_keeps_its_best() {
        let bases = [base(Rtp, 0)];
        let mut list = Checklist::default();
        let address = |n: u32| SocketAddr::from(([198, 51, 100, 1], n as u16));
        let remote = |n: u32| Remote {
            address: address(n),
            priority: n,
            kind: CandidateKind::PeerReflexive,
            foundation: None,
        };
        for n in 1..=MAX_PAIRS as u32 {
            assert!(list.add(BaseId(0), &bases[0], remote(n + 1), Role::Controlled).is_some());
        }
        assert_eq!(list.add(BaseId(0), &bases[0], remote(1), Role::Controlled), None, "worse than all");
        assert_eq!(list.add(BaseId(0), &bases[0], remote(5000), Role::Controlled), Some(0));
        list.pairs[7].state = State::Failed;
        assert_eq!(
            list.add(BaseId(0), &bases[0], remote(1), Role::Controlled),
            Some(7),
            "better than failed"
        );
        assert_eq!(list.pairs.len(), MAX_PAIRS);
    }

    #[test]
    fn what_is_triggered_goes_first_and_once() {
        let bases = [base(Rtp, 0)];
        let mut list = Checklist::default();
        list.form(
            &bases,
            &agent(&[("a", Rtp, 9, "198.51.100.1:1"), ("b", Rtp, 1, "198.51.100.1:2")]),
            Role::Controlled,
        );
        list.trigger(1);
        list.trigger(1);
        assert_eq!(list.next([false; 2]), Some(1));
        list.pairs[1].state = InProgress;
        assert_eq!(list.next([false; 2]), Some(0));
    }
}
