//! One association.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use openssl::error::ErrorStack;
use openssl::ssl::{ErrorCode, SslStream};

use super::certificate::fingerprint;
use super::identity::{COOKIE, Cookie, Identity, Peer, peer};
use super::keys::SrtpKeys;
use super::record::{Record, records};
use super::wire::Wire;
use super::{Role, sys};
use crate::proto::sdp::model::Fingerprint;

/// What is known about the way to the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// Somebody who was asked answered from there (ICE), or we begin.
    Validated,
    /// Only the source address of a datagram: whoever sends from there has to repeat these random octets first.
    Claimed {
        /// Unknown to everybody else.
        cookie: [u8; COOKIE],
    },
}

/// What became of an association.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The peer is the right one: SRTP can begin.
    Keyed(SrtpKeys),
    /// There will be no keys.
    Failed(Failure),
    /// The peer said that it has ended the association.
    Closed,
}

/// Why there are no keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The peer did not answer any more.
    #[error("the handshake timed out")]
    TimedOut,
    /// The peer's certificate is not the one that was signalled.
    #[error("the peer's certificate does not have the signalled fingerprint")]
    Fingerprint,
    /// The peer does not speak SRTP, or with other profiles only.
    #[error("no common SRTP protection profile")]
    NoProfile,
    /// The peer violates the protocol, or has nothing in common with us.
    #[error("the handshake failed")]
    Protocol,
}

/// Why a datagram was not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Not a sequence of DTLS records.
    Malformed,
    /// Only what anybody could have made, such as an alert in the clear.
    Untrustworthy,
    /// The association has ended.
    Ended,
}

/// One end of an association. Poll for datagrams, events and the deadline after each call that changes it.
pub struct Endpoint {
    stream: SslStream<Wire>,
    role: Role,
    state: State,
    event: Option<Event>,
    deadline: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Handshaking,
    /// The handshake is done, the fingerprint is missing.
    Unverified,
    Established,
    Ended,
}

/// Most octets of a record's content.
const CONTENT: usize = 16 << 10;

impl Endpoint {
    /// Begins an association; an active one has its first flight ready. `expected` may come later.
    ///
    /// # Errors
    /// When the cryptographic library refuses (out of memory).
    pub fn new(
        identity: &Identity,
        role: Role,
        path: Path,
        expected: Option<Fingerprint>,
        now: Instant,
    ) -> Result<Self, ErrorStack> {
        let cookie = match (role, path) {
            (Role::Passive, Path::Claimed { cookie }) => Some(cookie),
            (Role::Passive, Path::Validated) | (Role::Active, _) => None,
        };
        let proven = Arc::new(AtomicBool::new(cookie.is_none()));
        let peer = Peer {
            cookie: cookie.unwrap_or_default(),
            proven: Arc::clone(&proven),
            fingerprint: expected.map_or_else(OnceLock::new, OnceLock::from),
        };
        let demand = if cookie.is_some() { Cookie::Demanded } else { Cookie::NotNeeded };
        let mut ssl = identity.association(peer, demand)?;
        match role {
            Role::Active => ssl.set_connect_state(),
            Role::Passive => ssl.set_accept_state(),
        }
        let stream = SslStream::new(ssl, Wire::new(proven))?;
        let mut endpoint = Self { stream, role, state: State::Handshaking, event: None, deadline: None };
        if role == Role::Active {
            endpoint.proceed(now);
        }
        Ok(endpoint)
    }

    /// A datagram of the peer.
    ///
    /// # Errors
    /// When there was nothing in it to be looked at.
    pub fn handle_datagram(&mut self, now: Instant, datagram: &[u8]) -> Result<(), Refused> {
        if self.state == State::Ended {
            return Err(Refused::Ended);
        }
        let trusted = |record: &Record<'_>| !record.is_untrustworthy();
        if !records(datagram).any(|record| trusted(&record)) {
            let any = records(datagram).next().is_some();
            return Err(if any { Refused::Untrustworthy } else { Refused::Malformed });
        }
        let wire = self.stream.get_mut();
        wire.received(datagram.len());
        wire.fill(records(datagram).filter(trusted).map(|record| record.octets));
        self.proceed(now);
        Ok(())
    }

    /// To be called at the deadline; a call too early does nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.state == State::Ended || self.deadline.is_none_or(|deadline| now < deadline) {
            return;
        }
        if !sys::handle_timeout(self.stream.ssl()) {
            self.end(Event::Failed(Failure::TimedOut));
            return;
        }
        self.wind(now);
    }

    /// The peer's certificate became known. Does nothing if one was before.
    pub fn set_fingerprint(&mut self, expected: &Fingerprint) {
        if let Some(peer) = peer(self.stream.ssl()) {
            // A change would be another association.
            let _ = peer.fingerprint.set(expected.clone());
        }
        if self.state == State::Unverified {
            self.verify();
        }
    }

    /// The next datagram to be sent to the peer.
    pub fn poll_transmit(&mut self) -> Option<Box<[u8]>> {
        self.stream.get_mut().next_outbound()
    }

    /// What happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.event.take()
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadline.filter(|_| self.state != State::Ended)
    }

    /// The peer is known to be where its datagrams seem to come from.
    pub fn is_proven(&self) -> bool {
        peer(self.stream.ssl()).is_some_and(|peer| peer.proven.load(Relaxed))
    }

    /// The handshake is still going on.
    pub fn is_handshaking(&self) -> bool {
        self.state == State::Handshaking
    }

    fn proceed(&mut self, now: Instant) {
        if self.state == State::Handshaking {
            let done = self.stream.do_handshake();
            match done {
                Ok(()) => {
                    self.state = State::Unverified;
                    self.verify();
                }
                Err(error) if is_blocked(error.code()) => {}
                Err(_) => return self.end(Event::Failed(self.cause())),
            }
        }
        if matches!(self.state, State::Unverified | State::Established) {
            self.read();
        }
        self.wind(now);
    }

    /// Late repetitions are answered, alerts taken; application data have no meaning.
    fn read(&mut self) {
        let mut content = [0; CONTENT];
        loop {
            match self.stream.ssl_read(&mut content) {
                Ok(_) => {}
                Err(error) if is_blocked(error.code()) => return,
                // `close_notify`, or a fatal alert. Both were encrypted.
                Err(_) => return self.end(Event::Closed),
            }
        }
    }

    fn verify(&mut self) {
        let Some(expected) = peer(self.stream.ssl()).and_then(|peer| peer.fingerprint.get()) else { return };
        let shown = self.stream.ssl().peer_certificate();
        let shown = shown.and_then(|certificate| fingerprint(&certificate, expected.hash).ok());
        if shown.as_ref() != Some(expected) {
            self.close();
            return self.end(Event::Failed(Failure::Fingerprint));
        }
        match SrtpKeys::export(self.stream.ssl(), self.role) {
            Some(keys) => {
                self.state = State::Established;
                self.event = Some(Event::Keyed(keys));
            }
            None => {
                self.close();
                self.end(Event::Failed(Failure::NoProfile));
            }
        }
    }

    /// Says goodbye.
    pub fn close(&mut self) {
        // Whether it arrives does not matter.
        let _ = self.stream.shutdown();
    }

    fn cause(&self) -> Failure {
        let Some(peer) = peer(self.stream.ssl()) else { return Failure::Protocol };
        let refused = self.stream.ssl().verify_result().as_raw() == super::identity::REJECTED;
        if peer.fingerprint.get().is_some() && refused { Failure::Fingerprint } else { Failure::Protocol }
    }

    fn end(&mut self, event: Event) {
        self.state = State::Ended;
        self.event = Some(event);
    }

    fn wind(&mut self, now: Instant) {
        self.deadline = sys::timeout(self.stream.ssl()).map(|left| now + left);
    }
}

fn is_blocked(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::WANT_READ | ErrorCode::WANT_WRITE)
}
