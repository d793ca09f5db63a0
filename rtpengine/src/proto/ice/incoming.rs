//! Messages that arrive (RFC 8445 §7.2.5, §7.3).
//!
//! What a message can change before it is authenticated: the two [`super::budget::Budget`]s of wrong ones, nothing else.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::time::Instant;

use rand::Rng;

use super::agent::{Agent, Event, Handled, Refusal};
use super::candidate::CandidateKind;
use super::checklist::{Remote, State};
use super::settings::{BaseId, Mode, Role};
use super::transaction::Purpose;
use crate::proto::stun::{Builder, Class, ErrorCode, IntegrityKey, Message, Tiebreaker, TransactionId};

impl Agent {
    /// A STUN datagram arrived on a base. A reply is written into `reply`. [`Self::poll_transmit`], [`Self::poll_event`] and
    /// [`Self::poll_timeout`] may give something new afterwards.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        base: BaseId,
        source: SocketAddr,
        datagram: &[u8],
        reply: &mut Vec<u8>,
    ) -> Handled {
        let refused = |reason| Handled::Refused { reason, reply: false };
        let Ok(message) = Message::parse(datagram) else { return refused(Refusal::Malformed) };
        match message.class() {
            Class::Request => self.request(now, base, source, (&message, datagram.len()), reply),
            Class::Success | Class::Error => match self.response(now, base, source, &message) {
                Ok(()) => {
                    self.review(now);
                    Handled::Silent
                }
                Err(reason) => refused(reason),
            },
            // A keep-alive; it proves nothing.
            Class::Indication => Handled::Silent,
        }
    }

    fn request(
        &mut self,
        now: Instant,
        base: BaseId,
        source: SocketAddr,
        (message, octets): (&Message<'_>, usize),
        reply: &mut Vec<u8>,
    ) -> Handled {
        let parts =
            message.username().and_then(|name| name.split_once(':')).filter(|_| message.has_integrity());
        let Some((own, theirs)) = parts else {
            return self.refuse(now, (message, octets), ErrorCode::BadRequest, reply);
        };
        let is_present = own == self.settings.local.ufrag();
        let previous = self.previous.as_ref().filter(|previous| previous.local.ufrag() == own && !is_present);
        if !is_present && previous.is_none() {
            return self.refuse(now, (message, octets), ErrorCode::Unauthenticated, reply);
        }
        let is_known = self.list.find(base, source).is_some();
        if !is_known && self.mistakes.is_empty(now) {
            return Handled::Refused { reason: Refusal::Flood, reply: false };
        }
        let key = previous.map_or(&self.key, |previous| &previous.key);
        if !message.verify(key) {
            self.mistakes.take(now);
            return self.refuse(now, (message, octets), ErrorCode::Unauthenticated, reply);
        }
        if message.unknown_attributes().next().is_some() {
            Builder::new(reply, Class::Error, message.transaction())
                .error_code(ErrorCode::UnknownAttribute)
                .unknown_attributes(message.unknown_attributes())
                .finish(Some(key));
            return Handled::Reply;
        }
        // One side of the name is from after a restart that the other has not heard of, or another agent was offered the same. An
        // answer would make the peer take a path of which we know nothing, and keep it: Chromium does.
        let peer = match previous {
            Some(previous) => previous.remote.as_ref(),
            None => self.settings.remote.as_ref().map(|agent| &agent.credentials.ufrag),
        };
        if peer.is_some_and(|ufrag| ufrag != theirs) {
            return Handled::Refused { reason: Refusal::Unexpected, reply: false };
        }
        if previous.is_some() {
            // The restart has not reached the peer yet.
            write_success(reply, message, source, key);
            return Handled::Reply;
        }
        if self.conflicts(message.tiebreaker()) {
            Builder::new(reply, Class::Error, message.transaction())
                .error_code(ErrorCode::RoleConflict)
                .finish(Some(&self.key));
            return Handled::Reply;
        }
        write_success(reply, message, source, &self.key);
        self.checked(now, base, source, message, theirs);
        self.review(now);
        Handled::Reply
    }

    /// Whether the peer has to take the other role; we may take it ourselves instead (RFC 8445 §7.3.1.1).
    fn conflicts(&mut self, theirs: Option<Tiebreaker>) -> bool {
        match (self.role, theirs) {
            (Role::Controlling, Some(Tiebreaker::Controlling(theirs))) => {
                if self.tiebreaker >= theirs {
                    return true;
                }
                self.change_role(Role::Controlled);
            }
            (Role::Controlled, Some(Tiebreaker::Controlled(theirs))) => {
                // A lite agent cannot control a full one.
                if self.tiebreaker < theirs || self.settings.mode == Mode::Lite {
                    return true;
                }
                self.change_role(Role::Controlling);
            }
            _ => {}
        }
        false
    }

    /// An authentic check of the peer: the path is learned, and checked by us as well (RFC 8445 §7.3.1.3 to §7.3.1.5).
    fn checked(
        &mut self,
        now: Instant,
        base: BaseId,
        source: SocketAddr,
        message: &Message<'_>,
        theirs: &str,
    ) {
        let index = match self.list.find(base, source) {
            Some(index) => index,
            None => {
                let Some(local) = self.bases.get(usize::from(base.0)).copied() else { return };
                let remote = Remote {
                    address: source,
                    priority: message.priority().unwrap_or(1),
                    kind: CandidateKind::PeerReflexive,
                    foundation: None,
                };
                let Some(index) = self.list.add(base, &local, remote, self.role) else { return };
                if self.settings.remote.is_none() {
                    self.list.pairs[index].early = Some(hash(theirs));
                }
                index
            }
        };
        let is_nominated = message.use_candidate() && self.role == Role::Controlled;
        let pair = &mut self.list.pairs[index];
        pair.heard = Some(now);
        if !std::mem::replace(&mut pair.authentic, true) {
            self.events.push_back(Event::PathsChanged(pair.component));
        }
        if self.settings.mode == Mode::Lite {
            if is_nominated {
                self.nominated(now, index);
            }
            return;
        }
        if pair.state == State::Succeeded {
            if is_nominated {
                self.nominated(now, index);
            }
        } else {
            pair.nominate_on_success |= is_nominated;
            self.list.trigger(index);
        }
    }

    fn response(
        &mut self,
        now: Instant,
        base: BaseId,
        source: SocketAddr,
        message: &Message<'_>,
    ) -> Result<(), Refusal> {
        let id = message.transaction();
        let asked = self.list.pairs.iter().position(|pair| pair.sent_as(id).is_some());
        let index = asked.ok_or(Refusal::Unexpected)?;
        let key = self.remote_key.as_ref().ok_or(Refusal::Unexpected)?;
        if !message.verify(key) {
            return Err(Refusal::Unauthenticated);
        }
        let pair = &mut self.list.pairs[index];
        if pair.remote != source || pair.base != base {
            // RFC 8445 §7.2.5.2.1
            if pair.state != State::Succeeded {
                self.fail(index);
            }
            return Ok(());
        }
        if message.class() == Class::Success && message.mapped_address().is_some() {
            self.succeeded(now, index, id);
        } else if message.error_code() == Some(ErrorCode::RoleConflict) {
            self.told_to_change_role(index, id);
        } else if pair.check.is_some() {
            let component = pair.component;
            self.fail(index);
            self.nominate(now, component);
        }
        Ok(())
    }

    /// RFC 8445 §7.2.5.1. Who has changed since the request was sent must not change back; another request is on its way.
    fn told_to_change_role(&mut self, index: usize, id: TransactionId) {
        let pair = &self.list.pairs[index];
        let is_present = pair.sent_as(id) == Some(self.role);
        if !is_present && pair.id() != Some(id) {
            return;
        }
        if is_present && self.settings.mode == Mode::Full {
            self.tiebreaker = self.rng.random();
            self.change_role(match self.role {
                Role::Controlled => Role::Controlling,
                Role::Controlling => Role::Controlled,
            });
        }
        self.list.pairs[index].forget_requests();
        self.list.trigger(index);
    }

    fn succeeded(&mut self, now: Instant, index: usize, id: TransactionId) {
        self.consented(now, index);
        let pair = &mut self.list.pairs[index];
        let component = pair.component;
        pair.heard = Some(now);
        pair.authentic = true;
        // That an earlier check succeeded says nothing about the nomination.
        let is_latest = pair.id() == Some(id);
        let Some(check) = pair.check.take_if(|check| check.purpose == Purpose::Check || is_latest) else {
            return;
        };
        let is_new = std::mem::replace(&mut pair.state, State::Succeeded) != State::Succeeded;
        let by_peer = std::mem::take(&mut pair.nominate_on_success) && self.role == Role::Controlled;
        let by_us = check.purpose == Purpose::Nominate && self.role == Role::Controlling;
        pair.nominating &= !by_us;
        if is_new {
            self.events.push_back(Event::PathsChanged(component));
            self.list.unfreeze(index);
            self.selection[component.index()].validated(now);
        }
        if by_peer || by_us {
            self.nominated(now, index);
        }
        if std::mem::take(&mut self.list.pairs[index].moved) {
            self.moved(now, index);
        }
        self.nominate(now, component);
    }

    /// An error for whoever is not authenticated: not longer than the request, and not often.
    fn refuse(
        &mut self,
        now: Instant,
        (message, octets): (&Message<'_>, usize),
        code: ErrorCode,
        reply: &mut Vec<u8>,
    ) -> Handled {
        Builder::new(reply, Class::Error, message.transaction()).error_code(code).finish(None);
        let answered = reply.len() <= octets && self.errors.take(now);
        Handled::Refused { reason: Refusal::Unauthenticated, reply: answered }
    }
}

/// Tells the user fragments of those apart whose description is not known yet.
pub(super) fn hash(ufrag: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    ufrag.hash(&mut hasher);
    hasher.finish()
}

fn write_success(reply: &mut Vec<u8>, message: &Message<'_>, source: SocketAddr, key: &IntegrityKey) {
    Builder::new(reply, Class::Success, message.transaction()).mapped_address(source).finish(Some(key));
}
