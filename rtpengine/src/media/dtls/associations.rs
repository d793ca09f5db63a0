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
/// How long late repetitions are answered (RFC 6347 §4.2.4: twice the maximum segment lifetime).
const LINGER: Duration = Duration::from_secs(240);
/// Pause before a failed handshake of ours is repeated; doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// The way out: a datagram to an address.
pub type Send<'a> = &'a mut dyn FnMut(SocketAddr, &[u8]);

/// Keys, and where the party that has them is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreed {
    pub source: SocketAddr,
    pub association: u32,
    pub keys: SrtpKeys,
}

/// See the module.
pub struct Associations {
    plan: Arc<DtlsPlan>,
    peer: Option<SocketAddr>,
    attempts: Vec<Attempt>,
    settled: Option<Settled>,
    /// When we begin again.
    retry: Option<Instant>,
    failures: u32,
}

struct Attempt {
    source: SocketAddr,
    trust: Trust,
    /// `None`: we are the client.
    random: Option<ClientRandom>,
    endpoint: Endpoint,
    since: Instant,
}

/// The association with the party.
struct Settled {
    source: SocketAddr,
    random: Option<ClientRandom>,
    /// Until it has ended, or nothing can come any more.
    endpoint: Option<Endpoint>,
    until: Instant,
}

/// What came of a datagram.
pub type Outcome = Result<Option<Agreed>, DropReason>;

impl Associations {
    /// Begins, if that is our part and the party's place is known.
    pub fn new(now: Instant, plan: Arc<DtlsPlan>, peer: Option<SocketAddr>, send: Send<'_>) -> Self {
        let mut associations =
            Self { plan, peer, attempts: Vec::new(), settled: None, retry: None, failures: 0 };
        associations.begin(now, send);
        associations
    }

    /// Takes another plan. One that continues the association may bring the fingerprint that was missing.
    pub fn update(
        &mut self,
        now: Instant,
        plan: Arc<DtlsPlan>,
        peer: Option<SocketAddr>,
        send: Send<'_>,
    ) -> Option<Agreed> {
        let continues = (plan.role, plan.association) == (self.plan.role, self.plan.association)
            && Arc::ptr_eq(&plan.identity, &self.plan.identity);
        if !continues {
            *self = Self::new(now, plan, peer, send);
            return None;
        }
        self.plan = plan;
        let mut agreed = None;
        if let Some(fingerprint) = self.plan.peer.clone() {
            for index in (0..self.attempts.len()).rev() {
                let Some(attempt) = self.attempts.get_mut(index) else { continue };
                attempt.endpoint.set_fingerprint(&fingerprint);
                agreed = agreed.or(self.serve(now, index, send).ok().flatten());
            }
        }
        self.set_peer(now, peer, send);
        agreed
    }

    /// The party is somewhere else.
    pub fn set_peer(&mut self, now: Instant, peer: Option<SocketAddr>, send: Send<'_>) {
        if std::mem::replace(&mut self.peer, peer) != peer && self.plan.role == Role::Active {
            self.attempts.clear();
            (self.retry, self.failures) = (None, 0);
        }
        self.begin(now, send);
    }

    /// A datagram that came from `source`.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        (source, trust): (SocketAddr, Trust),
        octets: &[u8],
        send: Send<'_>,
    ) -> Outcome {
        let random = record::client_random(octets);
        if let Some(settled) = &mut self.settled {
            if settled.source != source {
                return Err(DropReason::WrongSource);
            }
            if random.is_none() || random == settled.random {
                let is_open = settled.endpoint.is_some();
                let attempted = self.attempt_of(source, random);
                return match (is_open, attempted) {
                    // The party has begun again and goes on with that.
                    (_, Some(index)) if random.is_none() => self.feed(now, index, octets, send),
                    (true, _) => self.late(now, octets, send),
                    (false, _) => Err(DropReason::Handshake),
                };
            }
        }
        if self.plan.role == Role::Active {
            let index = self.attempts.iter().position(|attempt| attempt.source == source);
            let index = index.ok_or(DropReason::WrongSource)?;
            // A ClientHello is not what a client gets.
            return if random.is_some() {
                Err(DropReason::Handshake)
            } else {
                self.feed(now, index, octets, send)
            };
        }
        let index = match (self.attempt_of(source, random), random) {
            (Some(index), _) => index,
            (None, Some(random)) => self.admit(now, source, trust, random)?,
            (None, None) => return Err(DropReason::Handshake),
        };
        self.feed(now, index, octets, send)
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
                transmit(endpoint, settled.source, send);
            }
            if now >= settled.until {
                settled.endpoint = None;
            }
        }
        if self.retry.is_some_and(|retry| now >= retry) {
            self.retry = None;
            self.begin(now, send);
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
    fn attempt_of(&self, source: SocketAddr, random: Option<ClientRandom>) -> Option<usize> {
        let of_source = |attempt: &Attempt| attempt.source == source;
        if random.is_some() {
            return self.attempts.iter().position(|attempt| of_source(attempt) && attempt.random == random);
        }
        let proven = |attempt: &Attempt| of_source(attempt) && attempt.endpoint.is_proven();
        let newest = self.attempts.iter().rposition(proven);
        newest.or_else(|| self.attempts.iter().rposition(of_source))
    }

    /// Makes room for an attempt and begins it.
    fn admit(
        &mut self,
        now: Instant,
        source: SocketAddr,
        trust: Trust,
        random: ClientRandom,
    ) -> Result<usize, DropReason> {
        if self.attempts.len() >= MAX_ATTEMPTS {
            let (index, worst) = self
                .attempts
                .iter()
                .enumerate()
                .min_by_key(|(_, attempt)| (attempt.trust, attempt.endpoint.is_proven(), attempt.since))
                .ok_or(DropReason::OverBudget)?;
            let gives_way = worst.trust < trust
                || worst.trust == trust && (!worst.endpoint.is_proven() || now >= worst.since + PATIENCE);
            if !gives_way {
                return Err(DropReason::OverBudget);
            }
            self.attempts.remove(index);
        }
        // Who seems to begin again must prove to be there even on a path that was validated: it may be somebody else.
        let again = self.settled.is_some() || self.attempts.iter().any(|attempt| attempt.source == source);
        let path = if trust == Trust::Validated && !again {
            Path::Validated
        } else {
            Path::Claimed { cookie: rand::random() }
        };
        let (identity, expected) = (&self.plan.identity, self.plan.peer.clone());
        let endpoint = Endpoint::new(identity, Role::Passive, path, expected, now)
            .map_err(|_| DropReason::OverBudget)?;
        self.attempts.push(Attempt { source, trust, random: Some(random), endpoint, since: now });
        Ok(self.attempts.len() - 1)
    }

    /// Sends our ClientHello, if it is time.
    fn begin(&mut self, now: Instant, send: Send<'_>) {
        let idle = self.attempts.is_empty() && self.settled.is_none() && self.retry.is_none();
        let (Role::Active, true, Some(source), Some(expected)) =
            (self.plan.role, idle, self.peer, self.plan.peer.clone())
        else {
            return;
        };
        match Endpoint::new(&self.plan.identity, Role::Active, Path::Validated, Some(expected), now) {
            Ok(endpoint) => {
                let trust = Trust::Peer;
                self.attempts.push(Attempt { source, trust, random: None, endpoint, since: now });
                // Nothing can have been agreed on yet.
                let _ = self.serve(now, self.attempts.len() - 1, send);
            }
            Err(error) => {
                tracing::error!(%error, "cannot begin a DTLS handshake");
                self.pause(now);
            }
        }
    }

    fn pause(&mut self, now: Instant) {
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failures.min(8));
        self.failures += 1;
        self.retry = Some(now + pause.min(LONGEST_PAUSE));
    }

    fn feed(&mut self, now: Instant, index: usize, octets: &[u8], send: Send<'_>) -> Outcome {
        let attempt = self.attempts.get_mut(index).ok_or(DropReason::Handshake)?;
        attempt.endpoint.handle_datagram(now, octets).map_err(refusal)?;
        self.serve(now, index, send)
    }

    /// A datagram for the association that is established.
    fn late(&mut self, now: Instant, octets: &[u8], send: Send<'_>) -> Outcome {
        let Some(settled) = &mut self.settled else { return Err(DropReason::Handshake) };
        let Some(endpoint) = &mut settled.endpoint else { return Err(DropReason::Handshake) };
        endpoint.handle_datagram(now, octets).map_err(refusal)?;
        transmit(endpoint, settled.source, send);
        if endpoint.poll_event().is_some() {
            // The party has ended it. The keys stay until there are others.
            settled.endpoint = None;
        }
        Ok(None)
    }

    /// Sends what an attempt has to send, and sees what became of it.
    fn serve(&mut self, now: Instant, index: usize, send: Send<'_>) -> Outcome {
        let Some(attempt) = self.attempts.get_mut(index) else { return Ok(None) };
        transmit(&mut attempt.endpoint, attempt.source, send);
        match attempt.endpoint.poll_event() {
            None => Ok(None),
            Some(Event::Keyed(keys)) => {
                let attempt = self.attempts.remove(index);
                self.attempts.clear();
                self.failures = 0;
                let (source, random) = (attempt.source, attempt.random);
                let (endpoint, until) = (Some(attempt.endpoint), now + LINGER);
                self.settled = Some(Settled { source, random, endpoint, until });
                Ok(Some(Agreed { source, association: self.plan.association, keys }))
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

fn transmit(endpoint: &mut Endpoint, to: SocketAddr, send: Send<'_>) {
    while let Some(datagram) = endpoint.poll_transmit() {
        send(to, &datagram);
    }
}

fn refusal(refused: Refused) -> DropReason {
    match refused {
        Refused::Malformed => DropReason::Malformed,
        Refused::Untrustworthy | Refused::Ended => DropReason::Handshake,
    }
}
