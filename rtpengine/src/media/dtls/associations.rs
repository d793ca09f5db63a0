//! All attempts at the association of one stream, of which one will be the party's.
//!
//! A source address proves nothing, and on a fresh call nobody knows from where the party will come. So each source that sends a
//! ClientHello gets an attempt of its own, first of all to prove that it is there; and the attempt whose certificate is the
//! signalled one is the party's. Then the others are forgotten, and other sources refused. Somebody who sends under the party's
//! address without being there does not get beyond the cookie, and disturbs no attempt that has.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::plan::{DropReason, DtlsPlan};
use super::gate::Trust;
use crate::proto::dtls::record::{self, ClientRandom};
use crate::proto::dtls::{Endpoint, Event, Failure, Path, Refused, Role, SrtpKeys};

/// Attempts at a time.
pub const MAX_ATTEMPTS: usize = 4;
/// After this time an attempt gives its place to another one that is as credible.
const PATIENCE: Duration = Duration::from_secs(3);
/// Longest handshake.
const LIMIT: Duration = Duration::from_secs(40);
/// How long late repetitions are answered: until the last time that a client repeats its flight, having waited 1, 2, 4, 8 and 16 s. An
/// association that is kept costs 45 kB.
const LINGER: Duration = Duration::from_secs(32);
/// Pause before a failed handshake of ours is repeated; doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// From one of our addresses to one of the party's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    pub local: SocketAddr,
    pub remote: SocketAddr,
}

/// A way, and why it should be the party's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    pub way: Way,
    pub trust: Trust,
}

impl Source {
    /// Both are the same party as far as one can tell: the same way, or two that ICE has found (RFC 8842 §5.1: the association stays
    /// when ICE changes the way).
    fn is_as(&self, other: &Self) -> bool {
        self.way == other.way || self.trust >= Trust::Authenticated && other.trust >= Trust::Authenticated
    }
}

/// What sends a datagram.
pub type Send<'a> = &'a mut dyn FnMut(Way, &[u8]);

/// Keys, and where the party that has them is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreed {
    pub way: Way,
    pub association: u32,
    pub keys: SrtpKeys,
}

/// See the module.
pub struct Associations {
    plan: Arc<DtlsPlan>,
    party: Option<Source>,
    attempts: Vec<Attempt>,
    settled: Option<Settled>,
    /// When we begin again.
    retry: Option<Instant>,
    failures: u32,
    /// There is an association, made elsewhere.
    resumed: bool,
}

struct Attempt {
    source: Source,
    /// `None`: we are the client.
    random: Option<ClientRandom>,
    endpoint: Endpoint,
    since: Instant,
}

/// The association with the party.
struct Settled {
    source: Source,
    random: Option<ClientRandom>,
    /// Until it has ended, or nothing can come any more.
    endpoint: Option<Endpoint>,
    until: Instant,
    /// Our `close_notify`, made when the endpoint was let go of: it costs some octets, and the endpoint 45 kB.
    goodbye: Option<Box<[u8]>>,
}

/// What came of a datagram.
pub type Outcome = Result<Option<Agreed>, DropReason>;

impl Associations {
    /// Begins, if that is our part and the party's place is known.
    pub fn new(now: Instant, plan: Arc<DtlsPlan>, party: Option<Source>, send: Send<'_>) -> Self {
        let mut associations = Self {
            plan,
            party,
            attempts: Vec::new(),
            settled: None,
            retry: None,
            failures: 0,
            resumed: false,
        };
        associations.begin(now, send);
        associations
    }

    /// Goes on with an association that another instance has made. Nothing is known of it but that it is there: whoever wants a new
    /// one has to begin it.
    pub fn resumed(plan: Arc<DtlsPlan>, party: Option<Source>) -> Self {
        Self { plan, party, attempts: Vec::new(), settled: None, retry: None, failures: 0, resumed: true }
    }

    /// Takes another plan. One that continues the association may bring the fingerprint that was missing.
    pub fn update(
        &mut self,
        now: Instant,
        plan: Arc<DtlsPlan>,
        party: Option<Source>,
        send: Send<'_>,
    ) -> Option<Agreed> {
        let continues = (plan.role, plan.association) == (self.plan.role, self.plan.association)
            && Arc::ptr_eq(&plan.identity, &self.plan.identity);
        if !continues {
            *self = Self::new(now, plan, party, send);
            return None;
        }
        self.plan = plan;
        // Who has just been signalled may be there now.
        (self.retry, self.failures) = (None, 0);
        let mut agreed = None;
        if let Some(fingerprint) = self.plan.peer.clone() {
            for index in (0..self.attempts.len()).rev() {
                let Some(attempt) = self.attempts.get_mut(index) else { continue };
                attempt.endpoint.set_fingerprint(&fingerprint);
                agreed = agreed.or(self.serve(now, index, send).ok().flatten());
            }
        }
        self.set_party(now, party, send);
        agreed
    }

    /// The party is somewhere else.
    pub fn set_party(&mut self, now: Instant, party: Option<Source>, send: Send<'_>) {
        let before = std::mem::replace(&mut self.party, party);
        if let (Some(before), Some(party)) = (before, party) {
            self.follow_move(before.way.local, party.way.local);
        }
        if before != party && self.plan.role == Role::Active {
            match party {
                Some(party)
                    if before.is_some_and(|before| {
                        before.is_as(&party) || before.way.remote == party.way.remote
                    }) =>
                {
                    self.attempts.iter_mut().for_each(|attempt| attempt.source = party);
                }
                _ => {
                    self.attempts.clear();
                    (self.retry, self.failures) = (None, 0);
                }
            }
        }
        self.begin(now, send);
    }

    /// A datagram that came from `source`.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        source: Source,
        octets: &[u8],
        send: Send<'_>,
    ) -> Outcome {
        let random = record::client_random(octets);
        if let Some(settled) = &mut self.settled {
            if !settled.source.is_as(&source) {
                return Err(DropReason::WrongSource);
            }
            let begins_again = random.is_some() && random != settled.random;
            // A party that has begun again goes on with that.
            if !begins_again && (random.is_some() || self.attempt_of(&source, None).is_none()) {
                return self.late(now, source, octets, send);
            }
        }
        let index = match (self.plan.role, self.attempt_of(&source, random), random) {
            (Role::Active, Some(index), None) => index,
            (Role::Active, None, _) => return Err(DropReason::WrongSource),
            // A ClientHello is not what a client gets.
            (Role::Active, Some(_), Some(_)) => return Err(DropReason::Handshake),
            (Role::Passive, Some(index), _) => index,
            (Role::Passive, None, Some(random)) => self.admit(now, source, random)?,
            (Role::Passive, None, None) => return Err(DropReason::Handshake),
        };
        let attempt = self.attempts.get_mut(index).ok_or(DropReason::Handshake)?;
        attempt.endpoint.handle_datagram(now, octets).map_err(refusal)?;
        attempt.source.way = source.way;
        self.serve(now, index, send)
    }

    /// To be called at the deadline.
    pub fn handle_timeout(&mut self, now: Instant, send: Send<'_>) {
        for index in (0..self.attempts.len()).rev() {
            let Some(attempt) = self.attempts.get_mut(index) else { continue };
            attempt.endpoint.handle_timeout(now);
            if attempt.endpoint.is_handshaking() && now >= attempt.since + LIMIT {
                self.fail(now, index);
            } else {
                // An attempt that has timed out ends here.
                let _ = self.serve(now, index, send);
            }
        }
        if let Some(settled) = &mut self.settled {
            if let Some(endpoint) = &mut settled.endpoint {
                endpoint.handle_timeout(now);
                transmit(endpoint, settled.source.way, send);
            }
            if now >= settled.until
                && let Some(endpoint) = settled.endpoint.take()
            {
                settled.goodbye = goodbye(endpoint);
            }
        }
        if self.retry.is_some_and(|retry| now >= retry) {
            self.retry = None;
            self.begin(now, send);
        }
    }

    /// The association has come to its orderly end: says so to the party (RFC 5246 §7.2.1). Nothing can be done with it afterwards.
    pub fn close(&mut self, send: Send<'_>) {
        let party = self.party.map(|party| party.way);
        let Some(settled) = self.settled.take() else { return };
        if let Some(goodbye) = settled.endpoint.and_then(goodbye).or(settled.goodbye) {
            send(party.unwrap_or(settled.source.way), &goodbye);
        }
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        let attempts = self.attempts.iter().flat_map(|attempt| {
            let limit = attempt.endpoint.is_handshaking().then_some(attempt.since + LIMIT);
            [attempt.endpoint.poll_timeout(), limit]
        });
        let settled = self.settled.as_ref().and_then(|settled| {
            let endpoint = settled.endpoint.as_ref()?;
            Some(endpoint.poll_timeout().map_or(settled.until, |timeout| timeout.min(settled.until)))
        });
        attempts.flatten().chain(settled).chain(self.retry).min()
    }

    /// The attempt that a datagram belongs to.
    fn attempt_of(&self, source: &Source, random: Option<ClientRandom>) -> Option<usize> {
        let of_source = |attempt: &Attempt| attempt.source.is_as(source);
        if random.is_some() && self.plan.role == Role::Passive {
            return self.attempts.iter().position(|attempt| of_source(attempt) && attempt.random == random);
        }
        let proven = |attempt: &Attempt| of_source(attempt) && attempt.endpoint.is_proven();
        let newest = self.attempts.iter().rposition(proven);
        newest.or_else(|| self.attempts.iter().rposition(of_source))
    }

    /// Makes room for an attempt and begins it.
    fn admit(&mut self, now: Instant, source: Source, random: ClientRandom) -> Result<usize, DropReason> {
        if self.attempts.len() >= MAX_ATTEMPTS {
            let (index, worst) = self
                .attempts
                .iter()
                .enumerate()
                .min_by_key(|(_, attempt)| {
                    (attempt.source.trust, attempt.endpoint.is_proven(), attempt.since)
                })
                .ok_or(DropReason::OverBudget)?;
            let trust = source.trust;
            let gives_way = worst.source.trust < trust
                || worst.source.trust == trust
                    && (!worst.endpoint.is_proven() || now >= worst.since + PATIENCE);
            if !gives_way {
                return Err(DropReason::OverBudget);
            }
            self.attempts.remove(index);
        }
        // Who seems to begin again must prove to be there even on a path that was validated: it may be somebody else.
        let again =
            self.settled.is_some() || self.attempts.iter().any(|attempt| attempt.source.is_as(&source));
        let path = if source.trust == Trust::Validated && !again {
            Path::Validated
        } else {
            Path::Claimed { cookie: rand::random() }
        };
        let (identity, expected) = (&self.plan.identity, self.plan.peer.clone());
        let endpoint = Endpoint::new(identity, Role::Passive, path, expected, now)
            .map_err(|_| DropReason::OverBudget)?;
        self.attempts.push(Attempt { source, random: Some(random), endpoint, since: now });
        Ok(self.attempts.len() - 1)
    }

    /// Sends our ClientHello, if it is time.
    fn begin(&mut self, now: Instant, send: Send<'_>) {
        let idle =
            !self.resumed && self.attempts.is_empty() && self.settled.is_none() && self.retry.is_none();
        let (Role::Active, true, Some(source), Some(expected)) =
            (self.plan.role, idle, self.party, self.plan.peer.clone())
        else {
            return;
        };
        match Endpoint::new(&self.plan.identity, Role::Active, Path::Validated, Some(expected), now) {
            Ok(endpoint) => {
                self.attempts.push(Attempt { source, random: None, endpoint, since: now });
                // Nothing can have been agreed on yet.
                let _ = self.serve(now, self.attempts.len() - 1, send);
            }
            Err(error) => {
                tracing::error!(%error, "cannot begin a DTLS handshake");
                self.pause(now);
            }
        }
    }

    /// The stream has another port: whoever talks to us does so there from now on.
    fn follow_move(&mut self, from: SocketAddr, to: SocketAddr) {
        let attempts = self.attempts.iter_mut().map(|attempt| &mut attempt.source);
        let sources = attempts.chain(self.settled.as_mut().map(|settled| &mut settled.source));
        sources.filter(|source| source.way.local == from).for_each(|source| source.way.local = to);
    }

    fn pause(&mut self, now: Instant) {
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failures.min(8));
        self.failures += 1;
        self.retry = Some(now + pause.min(LONGEST_PAUSE));
    }

    /// A datagram for the association that is established.
    fn late(&mut self, now: Instant, source: Source, octets: &[u8], send: Send<'_>) -> Outcome {
        let Some(settled) = &mut self.settled else { return Err(DropReason::Handshake) };
        let Some(endpoint) = &mut settled.endpoint else { return Err(DropReason::Handshake) };
        endpoint.handle_datagram(now, octets).map_err(refusal)?;
        settled.source.way = source.way;
        transmit(endpoint, source.way, send);
        if endpoint.poll_event().is_some() {
            // The party has ended it. The keys stay until there are others.
            settled.endpoint = None;
        }
        Ok(None)
    }

    /// Sends what an attempt has to send, and sees what became of it.
    fn serve(&mut self, now: Instant, index: usize, send: Send<'_>) -> Outcome {
        let Some(attempt) = self.attempts.get_mut(index) else { return Ok(None) };
        transmit(&mut attempt.endpoint, attempt.source.way, send);
        match attempt.endpoint.poll_event() {
            None => Ok(None),
            Some(Event::Keyed(keys)) => {
                let attempt = self.attempts.remove(index);
                self.attempts.clear();
                self.failures = 0;
                let (source, random) = (attempt.source, attempt.random);
                let (endpoint, until) = (Some(attempt.endpoint), now + LINGER);
                self.settled = Some(Settled { source, random, endpoint, until, goodbye: None });
                Ok(Some(Agreed { way: source.way, association: self.plan.association, keys }))
            }
            Some(Event::Failed(failure)) => {
                self.fail(now, index);
                Err(if failure == Failure::Fingerprint {
                    DropReason::NotAuthentic
                } else {
                    DropReason::Handshake
                })
            }
            Some(Event::Closed) => {
                self.fail(now, index);
                Ok(None)
            }
        }
    }

    fn fail(&mut self, now: Instant, index: usize) {
        self.attempts.remove(index);
        if self.plan.role == Role::Active {
            self.pause(now);
        }
    }
}

/// The last datagram of an established association.
fn goodbye(mut endpoint: Endpoint) -> Option<Box<[u8]>> {
    // What was still to be repeated is for nobody any more.
    while endpoint.poll_transmit().is_some() {}
    endpoint.close();
    endpoint.poll_transmit()
}

fn transmit(endpoint: &mut Endpoint, way: Way, send: Send<'_>) {
    while let Some(datagram) = endpoint.poll_transmit() {
        send(way, &datagram);
    }
}

fn refusal(refused: Refused) -> DropReason {
    match refused {
        Refused::Malformed => DropReason::Malformed,
        Refused::Untrustworthy | Refused::Ended => DropReason::Handshake,
    }
}

#[cfg(test)]
mod tests;
