//! The selected pair of each component: nomination (RFC 8445 §8), consent (RFC 7675), keep-alives (RFC 8445 §11).

use std::time::{Duration, Instant};

use rand::Rng;

use super::agent::{Agent, Event, Transmit};
use super::candidate::Component;
use super::checklist::{Pair, State};
use super::settings::{Mode, Role};
use crate::proto::stun::{Builder, Class, TransactionId};

/// A pair that works is not nominated for so long, while better ones are still being checked.
const BETTER_MAY_COME: Duration = Duration::from_millis(200);
/// A consent check follows the last response after so long, times 0.8 to 1.2.
const CONSENT_INTERVAL: Duration = Duration::from_secs(5);
/// The next one where it is not answered.
const CONSENT_RETRY: Duration = Duration::from_millis(500);
/// RFC 7675 §5.1.
const CONSENT_LIFETIME: Duration = Duration::from_secs(30);
/// So many unanswered checks make a pair worse than another one that is nominated.
const UNANSWERED: u8 = 2;
/// A lite agent, which sends no checks, keeps the way open (Tr).
const KEEPALIVE: Duration = Duration::from_secs(15);
/// From then on the peer's newest nomination counts, and not the best one: its first ones may have been several (RFC 5245 §8.1.1.2),
/// later it means that it wants to move.
const SETTLED: Duration = Duration::from_secs(3);

/// What is selected of one component.
#[derive(Debug, Default)]
pub struct Selection {
    phase: Phase,
    /// When its first pair was valid.
    first_valid: Option<Instant>,
    /// The agent has looked at it once no better pair was waited for any more.
    is_settled_for: bool,
}

#[derive(Clone, Copy, Debug, Default)]
enum Phase {
    #[default]
    Open,
    Selected {
        pair: usize,
        since: Instant,
        consent: Consent,
    },
    /// Consent was lost; a check of the peer that succeeds opens it again.
    Lost,
}

#[derive(Clone, Copy, Debug)]
struct Consent {
    check_at: Instant,
    expires_at: Instant,
    unanswered: u8,
}

impl Selection {
    /// Index of the selected pair.
    pub fn pair(&self) -> Option<usize> {
        match self.phase {
            Phase::Selected { pair, .. } => Some(pair),
            Phase::Open | Phase::Lost => None,
        }
    }

    /// Consent was lost.
    pub fn is_lost(&self) -> bool {
        matches!(self.phase, Phase::Lost)
    }

    /// A pair of the component has become valid.
    pub fn validated(&mut self, now: Instant) {
        self.first_valid.get_or_insert(now);
    }

    /// The selected pair has another index; `None`: it is gone.
    pub fn renumber(&mut self, index: Option<usize>) {
        match (&mut self.phase, index) {
            (Phase::Selected { pair, .. }, Some(index)) => *pair = index,
            (phase @ Phase::Selected { .. }, None) => *phase = Phase::Open,
            _ => {}
        }
    }

    /// When the agent has to look at it.
    pub fn next_at(&self, mode: Mode) -> Option<Instant> {
        match (self.phase, mode) {
            (Phase::Selected { consent, .. }, Mode::Full) => Some(consent.check_at.min(consent.expires_at)),
            (Phase::Selected { consent, .. }, Mode::Lite) => Some(consent.check_at),
            (Phase::Open, Mode::Full) if !self.is_settled_for => {
                self.first_valid.map(|first| first + BETTER_MAY_COME)
            }
            _ => None,
        }
    }
}

impl Agent {
    /// The pair is nominated and works: it becomes the selected one, unless there is a better one.
    pub(super) fn nominated(&mut self, now: Instant, index: usize) {
        let Some(pair) = self.list.pairs.get_mut(index) else { return };
        let is_news = !std::mem::replace(&mut pair.nominated, true);
        let (component, priority) = (pair.component, pair.priority);
        let Phase::Selected { pair: selected, since, .. } = self.selection[component.index()].phase else {
            self.select(now, index);
            return;
        };
        let is_better = self.list.pairs.get(selected).is_none_or(|old| priority > old.priority);
        if selected != index && is_news && (is_better || since + SETTLED <= now) {
            self.select(now, index);
        }
    }

    /// The peer sends media on this pair, and has answered there: it is where the path is now. Who controls tells the peer so.
    pub(super) fn moved(&mut self, now: Instant, index: usize) {
        let Some(pair) = self.list.pairs.get(index) else { return };
        if self.selection[pair.component.index()].pair() == Some(index) {
            return;
        }
        self.select(now, index);
        if self.role == Role::Controlling {
            self.list.pairs[index].nominating = true;
            self.list.trigger(index);
        }
    }

    fn select(&mut self, now: Instant, index: usize) {
        let Some(pair) = self.list.pairs.get(index) else { return };
        let (component, path, priority) = (pair.component, pair.path(), pair.priority);
        let selection = &mut self.selection[component.index()];
        if let Some(former) = selection.pair().and_then(|former| self.list.pairs.get_mut(former)) {
            // Nominating it again is news.
            former.nominated = false;
        }
        let check_at = match self.settings.mode {
            Mode::Full => now + consent_interval(&mut self.rng),
            Mode::Lite => now + KEEPALIVE,
        };
        let consent = Consent { check_at, expires_at: now + CONSENT_LIFETIME, unanswered: 0 };
        selection.phase = Phase::Selected { pair: index, since: now, consent };
        // What has not begun need not begin any more, and what is not answered yet not be repeated (RFC 8445 §8.1.2).
        for (other, pair) in self.list.pairs.iter_mut().enumerate() {
            let is_wanted = pair.nominate_on_success || pair.authentic || pair.priority > priority;
            if other != index && pair.component == component && pair.state == State::InProgress && !is_wanted
            {
                pair.check = None;
                pair.state = State::Frozen;
            }
        }
        self.events.push_back(Event::Selected(component, path));
        self.events.push_back(Event::PathsChanged(component));
    }

    /// The controlling agent decides (RFC 8445 §8.1.1): the best pair that works, once nothing better is to be expected.
    pub(super) fn nominate(&mut self, now: Instant, component: Component) {
        let selection = &self.selection[component.index()];
        let (Phase::Open, Some(first_valid)) = (selection.phase, selection.first_valid) else { return };
        let of_component = |pair: &Pair| pair.component == component;
        if self.role != Role::Controlling
            || self.settings.mode == Mode::Lite
            || self.list.pairs.iter().any(|pair| of_component(pair) && pair.nominating)
        {
            return;
        }
        let valid = |pair: &Pair| of_component(pair) && pair.state == State::Succeeded;
        let Some(index) = self.list.best(valid) else { return };
        let priority = self.list.pairs[index].priority;
        let is_open = |state| matches!(state, State::Frozen | State::Waiting | State::InProgress);
        let better = self.list.best(|p| of_component(p) && is_open(p.state) && p.priority > priority);
        if better.is_none() || first_valid + BETTER_MAY_COME <= now {
            self.list.pairs[index].nominating = true;
            self.list.trigger(index);
        }
    }

    /// Two lite agents send no checks: the best pair is the one (RFC 8445 §6.1.1, §8.2).
    pub(super) fn select_between_lites(&mut self, now: Instant) {
        let is_peer_lite = self.settings.remote.as_ref().is_some_and(|remote| remote.lite);
        if self.settings.mode == Mode::Full || !is_peer_lite {
            return;
        }
        for component in [Component::Rtp, Component::Rtcp] {
            let Some(index) = self.list.best(|pair| pair.component == component) else { continue };
            if self.selection[component.index()].pair() != Some(index) {
                // There is nothing but the signalling to trust.
                self.list.pairs[index].authentic = true;
                self.select(now, index);
            }
        }
        self.review(now);
    }

    /// What is due about a component.
    pub(super) fn tend(&mut self, now: Instant, component: Component) {
        self.nominate(now, component);
        if self.settings.mode == Mode::Lite {
            return;
        }
        let selection = &mut self.selection[component.index()];
        selection.is_settled_for = selection.first_valid.is_some_and(|first| first + BETTER_MAY_COME <= now);
        let Phase::Selected { pair: selected, consent, .. } = selection.phase else { return };
        if consent.expires_at <= now {
            self.fail(selected);
            if let Some(pair) = self.list.pairs.get_mut(selected) {
                pair.authentic = false;
                pair.nominated = false;
            }
        } else if consent.unanswered <= UNANSWERED {
            return;
        }
        // Who controls may move to any pair that works, if the peer agrees; who is controlled to those that it was told of.
        let controls = self.role == Role::Controlling;
        let others = self.list.pairs.iter().enumerate().filter(|(index, pair)| {
            *index != selected
                && pair.component == component
                && pair.state == State::Succeeded
                && (controls || pair.nominated)
        });
        let other = others.max_by_key(|(_, pair)| pair.heard).map(|(index, _)| index);
        let is_nominating = |pair: &Pair| pair.component == component && pair.nominating;
        match other {
            Some(index) if !controls => return self.select(now, index),
            Some(index) if !self.list.pairs.iter().any(is_nominating) => {
                self.list.pairs[index].nominating = true;
                self.list.pairs[index].nominated = false;
                self.list.trigger(index);
            }
            _ => {}
        }
        if consent.expires_at <= now {
            self.selection[component.index()].phase = Phase::Lost;
            self.events.push_back(Event::ConsentLost(component));
            self.events.push_back(Event::PathsChanged(component));
        }
    }

    /// The selected pair whose consent is to be asked for now.
    pub(super) fn poll_consent(&mut self, now: Instant) -> Option<usize> {
        for selection in &mut self.selection {
            let Phase::Selected { pair, consent, .. } = &mut selection.phase else { continue };
            if consent.check_at > now || consent.expires_at <= now {
                continue;
            }
            consent.check_at = match consent.unanswered {
                0..=UNANSWERED => now + CONSENT_RETRY,
                _ => now + consent_interval(&mut self.rng),
            };
            consent.unanswered = consent.unanswered.saturating_add(1);
            self.list.pairs.get_mut(*pair)?.send_as(TransactionId(self.rng.random()), self.role);
            return Some(*pair);
        }
        None
    }

    /// A response came on a pair: if it is the selected one, the peer still wants to hear from us.
    pub(super) fn consented(&mut self, now: Instant, index: usize) {
        let Some(pair) = self.list.pairs.get(index) else { return };
        let selection = &mut self.selection[pair.component.index()];
        match &mut selection.phase {
            Phase::Selected { pair, consent, .. } if *pair == index => {
                let check_at = now + consent_interval(&mut self.rng);
                *consent = Consent { check_at, expires_at: now + CONSENT_LIFETIME, unanswered: 0 };
            }
            Phase::Lost if pair.check.is_some() => selection.phase = Phase::Open,
            _ => {}
        }
    }

    /// A lite agent's keep-alive: an indication (RFC 8445 §11).
    pub(super) fn poll_keepalive(&mut self, now: Instant, buffer: &mut Vec<u8>) -> Option<Transmit> {
        for selection in &mut self.selection {
            let Phase::Selected { pair, consent, .. } = &mut selection.phase else { continue };
            if consent.check_at > now {
                continue;
            }
            consent.check_at = now + KEEPALIVE;
            let path = self.list.pairs.get(*pair)?.path();
            Builder::new(buffer, Class::Indication, TransactionId(self.rng.random())).finish(None);
            return Some(Transmit { base: path.base, to: path.remote });
        }
        None
    }
}

fn consent_interval(rng: &mut impl Rng) -> Duration {
    CONSENT_INTERVAL.mul_f64(rng.random_range(0.8..=1.2))
}
