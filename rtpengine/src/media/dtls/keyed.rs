//! What a worker does about the handshakes of its streams.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::super::event::MediaEvent;
use super::super::output::Output;
use super::super::plan::{CallKey, DropReason, StreamId, StreamPlan, StreamSecurity};
use super::super::stream::Stream;
use super::super::worker::Worker;
use super::gate::{Opening, Place, Trust};
use crate::proto::dtls::SrtpKeys;
use crate::proto::srtp::SUITES;

/// Keys for a stream, from the party that was signalled.
pub struct Keyed {
    pub call: CallKey,
    pub stream: StreamId,
    pub association: u32,
    /// Where the party is.
    pub source: SocketAddr,
    pub keys: SrtpKeys,
}

impl Worker {
    /// Begins, goes on with or ends the handshake of a stream, as its plan says.
    pub(in super::super) fn shake_hands(&mut self, slot: u32, wanted: &StreamPlan) {
        let Some(stream) = self.streams.get_mut(slot) else { return };
        let (gate, now) = (&self.output.dtls, self.output.now.instant);
        let StreamSecurity::Dtls(plan) = &wanted.security else {
            if stream.dtls.take().is_some() {
                gate.close(stream.id, stream.path_socket());
                stream.shared.dtls_suite.store(0, Relaxed);
            }
            return;
        };
        let is_new = stream.dtls.is_none();
        let resumed = wanted.resumed.as_ref().and_then(|progress| progress.receive.as_ref());
        let opening = Opening {
            stream: stream.id,
            call: stream.call,
            worker: 0,
            shared: Arc::clone(&stream.shared),
            plan: Arc::clone(plan),
            party: stream.party(),
            established: is_new && resumed.is_some(),
        };
        let mut handshake = gate.open(now, stream.dtls.take(), opening);
        if let Some(receive) = resumed.filter(|_| is_new) {
            handshake.keyed = true;
            let suite = SUITES.iter().position(|suite| std::ptr::eq(suite, receive.suite()));
            stream.shared.dtls_suite.store(suite.map_or(0, |index| index as u32 + 1), Relaxed);
        }
        if !handshake.keyed {
            stream.shared.dtls_suite.store(0, Relaxed);
        }
        stream.dtls = Some(handshake);
    }

    /// The party of a stream may have become known, or be somewhere else.
    pub(in super::super) fn tell_path(&mut self, slot: u32) {
        let Some(stream) = self.streams.get_mut(slot) else { return };
        let party = stream.party();
        if let Some(handshake) = &mut stream.dtls {
            self.output.dtls.path(handshake, stream.id, party);
        }
    }

    /// A handshake has come to its end.
    pub(in super::super) fn keyed(&mut self, keyed: Keyed) {
        let slot = self.calls.calls.get(&keyed.call).and_then(|call| call.slot(keyed.stream));
        let Some(stream) = slot.and_then(|slot| self.streams.get_mut(slot)) else { return };
        // A newer plan may have asked for another association meanwhile.
        let Some(handshake) = stream.dtls.as_mut().filter(|dtls| dtls.plan.association == keyed.association)
        else {
            return;
        };
        handshake.keyed = true;
        let suite = SUITES.iter().position(|suite| std::ptr::eq(suite, keyed.keys.receive.suite()));
        let before = stream.learner.peer();
        stream.take_keys(&keyed.keys);
        stream.learner.authenticated(keyed.source);
        stream.heard();
        stream.publish_peer();
        stream.shared.dtls_suite.store(suite.map_or(0, |index| index as u32 + 1), Relaxed);
        let (call, id, peer) = (stream.call, stream.id, stream.learner.peer());
        if let Some(slot) = slot {
            self.log_keys(slot);
        }
        self.tell(MediaEvent::Keyed { call, stream: id });
        if let (Some(peer), Some(slot)) = (peer.filter(|_| peer != before), slot) {
            self.tell_path(slot);
            self.tell(MediaEvent::EndpointLearned { call, stream: id, peer });
        }
    }
}

impl Stream {
    /// Where handshakes of ours go.
    fn party(&self) -> Option<Place> {
        let remote = self.reachable_peer()?;
        Some(Place::new(self.path_socket(), remote, self.trust_in(remote)))
    }

    /// How credible a source is that may be heard.
    fn trust_in(&self, source: SocketAddr) -> Trust {
        if self.demands_ice() {
            return if self.has_answered(source) { Trust::Validated } else { Trust::Authenticated };
        }
        match self.learner.peer() {
            Some(peer) if peer == source => Trust::Peer,
            Some(peer) if peer.ip() == source.ip() => Trust::SameHost,
            _ => Trust::Stranger,
        }
    }
}

impl Output {
    /// A datagram that looks like DTLS.
    ///
    /// # Errors
    /// When nobody waits for it, or its source may not send it.
    pub(in super::super) fn shake_hands(
        &mut self,
        stream: &mut Stream,
        source: SocketAddr,
        octets: &[u8],
    ) -> Result<(), DropReason> {
        let from = Place::new(stream.socket_being_read(), source, stream.trust_in(source));
        let handshake = stream.dtls.as_mut().ok_or(DropReason::NotNegotiated)?;
        // Before the party is known by its certificate it may come from anywhere, as far as the rules for its source allow.
        if (stream.learner.is_pinned() || handshake.keyed) && stream.learner.refuses(source) {
            return Err(DropReason::WrongSource);
        }
        self.dtls.hand_over(self.now.instant, handshake, stream.id, from, octets)
    }
}
