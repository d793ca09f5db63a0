//! Sessions of which the signalling proxy says everything: where both parties receive, and which ports of ours stand towards them. There
//! is no offer or answer; one request makes or changes a session, one ends it.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use smol_str::{SmolStr, format_smolstr};

use super::engine::Engine;
use super::interfaces::Attachment;
use super::model::{Call, Media, Party, PartyId, Remote};
use super::ports::{PortSet, PortSets};
use super::store::{CallHandle, lock, unix_us};
use super::timers::EndReason;
use crate::config::EndpointLearning;
use crate::media::port_pool::PortError;
use crate::negotiate::signal::{Identity, Signal};
use crate::proto::sdp::model::{Direction, Transport};

/// Ports of a block: RTP and RTCP towards both parties.
const BLOCK: u16 = 4;
/// Names of the parties, which the protocol does not name.
const TAGS: [&str; 2] = ["lrkp-a", "lrkp-b"];

/// What makes a call a session of this kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelaySession {
    /// The Call-ID; the call's own id differs where several sessions share it.
    pub call_id: SmolStr,
    /// Our RTP addresses towards caller and callee, the same one if both share a port.
    pub local: [SocketAddr; 2],
    /// It ends when no packet has come for so long; `None`: as for other calls.
    pub idle: Option<Duration>,
}

/// One party of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelaySide {
    /// Where it receives RTP; RTCP on the next port.
    pub endpoint: SocketAddr,
    /// Where it sends to: an address of ours, or one that we are known by.
    pub relay: SocketAddr,
}

/// A session to be set up or changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayRequest<'a> {
    /// With the callee's relay port the name of the session.
    pub call_id: &'a str,
    /// Caller and callee.
    pub sides: [RelaySide; 2],
    /// See [`RelaySession::idle`].
    pub idle: Option<Duration>,
    /// Who asks.
    pub client: Option<SocketAddr>,
}

/// A session to be ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelaySelection<'a> {
    /// Of the session.
    pub call_id: &'a str,
    /// Our address towards the callee.
    pub callee_relay: SocketAddr,
    /// The callee's host: with our port another way of naming the session.
    pub callee_host: Option<IpAddr>,
    /// Our address towards the caller, with the caller's host.
    pub caller: Option<(SocketAddr, IpAddr)>,
}

/// What came of ending a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayEnd {
    Ended,
    Unknown,
}

/// Why a session cannot be set up; nothing has changed then, but that a session which held one of its ports has ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RelayError {
    #[error("{0} is not an address of any interface")]
    ForeignAddress(IpAddr),
    #[error("port {0} has no port for RTCP above it")]
    NoRtcpPort(u16),
    #[error(transparent)]
    Port(#[from] PortError),
    #[error("the Call-ID is taken by a call of another protocol")]
    CallIdTaken,
}

/// Sessions by each of their ports.
#[derive(Default)]
pub struct RelayTable {
    /// Guards map operations only.
    sessions: Mutex<HashMap<SocketAddr, Weak<Mutex<Call>>>>,
    /// Held while a session is set up.
    setup: Mutex<()>,
    /// The newest session's port towards the callee.
    newest: AtomicU16,
}

impl RelayTable {
    /// Notes a session that has its ports now.
    pub fn take(&self, call: &Call, handle: &CallHandle) {
        let Some(session) = &call.relay else { return };
        self.newest.store(session.local[1].port(), Relaxed);
        let mut sessions = lock(&self.sessions);
        sessions.extend(session.ports().map(|port| (port, Arc::downgrade(handle))));
    }

    /// Forgets a session.
    pub fn release(&self, call: &Call) {
        let Some(session) = &call.relay else { return };
        let mut sessions = lock(&self.sessions);
        session.ports().for_each(|port| drop(sessions.remove(&port)));
    }

    fn holder(&self, port: SocketAddr) -> Option<CallHandle> {
        lock(&self.sessions).get(&port)?.upgrade()
    }

    /// The first port of a block that no session uses: the one behind the newest session's, if possible.
    fn next_block(&self, (first, last): (u16, u16)) -> u16 {
        let used: HashSet<u16> = lock(&self.sessions).keys().map(|port| port.port()).collect();
        let blocks = (u32::from(last.saturating_sub(first)) + 1) / u32::from(BLOCK);
        let newest = self.newest.load(Relaxed);
        let begin = match (first..=last).contains(&newest) {
            true => u32::from((newest - first) / BLOCK) + 1,
            false => 0,
        };
        let block = |number: u32| first + (number % blocks.max(1)) as u16 * BLOCK;
        let is_free = |port: &u16| (0..BLOCK).all(|offset| !used.contains(&port.saturating_add(offset)));
        (begin..begin + blocks).map(block).find(is_free).unwrap_or(first)
    }
}

impl RelaySession {
    fn ports(&self) -> impl Iterator<Item = SocketAddr> {
        let with_rtcp = |rtp: SocketAddr| [rtp, SocketAddr::new(rtp.ip(), rtp.port().saturating_add(1))];
        self.local.into_iter().flat_map(with_rtcp)
    }
}

impl Engine {
    /// Makes a session, or changes the one of that Call-ID and port towards the callee. A session of another Call-ID that holds one of its
    /// ports ends.
    ///
    /// # Errors
    /// [`RelayError`]
    pub fn relay(&self, request: &RelayRequest<'_>) -> Result<(), RelayError> {
        let attach = |side: &RelaySide| {
            let attachment = self.interfaces.by_address(side.relay.ip());
            attachment.ok_or(RelayError::ForeignAddress(side.relay.ip()))
        };
        let [caller, callee] = &request.sides;
        let attachments = [attach(caller)?, attach(callee)?];
        let local = [0, 1].map(|side: usize| {
            SocketAddr::new(attachments[side].local.address, request.sides[side].relay.port())
        });
        if let Some(port) = local.iter().map(SocketAddr::port).find(|port| *port == u16::MAX) {
            return Err(RelayError::NoRtcpPort(port));
        }
        let session = RelaySession { call_id: request.call_id.into(), local, idle: request.idle };
        let _turn = lock(&self.relays.setup);
        let present = self.make_room(&session);
        if let Some(handle) = present {
            let mut call = lock(&handle);
            if !call.ended {
                self.relays.release(&call);
                let changed = self.change(&mut call, request, session, &attachments);
                self.relays.take(&call, &handle);
                return changed;
            }
        }
        self.begin(request, session, &attachments)
    }

    /// Ends a session.
    pub fn end_relay(&self, selection: &RelaySelection<'_>) -> RelayEnd {
        let local = |address: SocketAddr| {
            let attachment = self.interfaces.by_address(address.ip());
            attachment.map(|attachment| SocketAddr::new(attachment.local.address, address.port()))
        };
        let held = |address: SocketAddr, side: usize, fits: &dyn Fn(&RelaySession, &Call) -> bool| {
            let address = local(address)?;
            let handle = self.relays.holder(address)?;
            let call = lock(&handle);
            let session = call.relay.as_ref().filter(|session| session.local[side] == address)?;
            let is_it = !call.ended && fits(session, &call);
            drop(call);
            is_it.then_some(handle)
        };
        let host = |call: &Call, side: usize| {
            call.parties.get(side)?.media.first()?.remote.as_ref().map(|remote| remote.rtp.ip())
        };
        let found = held(selection.callee_relay, 1, &|session, _| session.call_id == selection.call_id)
            .or_else(|| {
                let wanted = selection.callee_host?;
                held(selection.callee_relay, 1, &|_, call| host(call, 1) == Some(wanted))
            })
            .or_else(|| {
                let (relay, wanted) = selection.caller?;
                held(relay, 0, &|_, call| host(call, 0) == Some(wanted))
            });
        match found {
            Some(handle) => {
                self.end_and_release(&handle);
                RelayEnd::Ended
            }
            None => RelayEnd::Unknown,
        }
    }

    /// The port from which on a proxy should count: the first one of a block of the range that no session uses.
    pub fn next_relay_port(&self, range: (u16, u16)) -> u16 {
        self.relays.next_block(range)
    }

    /// A new call would be accepted.
    pub fn accepts_calls(&self) -> bool {
        self.check_limits().is_ok()
    }

    /// The session that is there already; others that hold its ports are ended.
    fn make_room(&self, wanted: &RelaySession) -> Option<CallHandle> {
        let mut present = None;
        for port in wanted.ports() {
            let Some(handle) = self.relays.holder(port) else { continue };
            let call = lock(&handle);
            let Some(session) = call.relay.as_ref().filter(|_| !call.ended) else { continue };
            if session.call_id == wanted.call_id && session.local[1] == wanted.local[1] {
                drop(call);
                present = Some(handle);
                continue;
            }
            tracing::warn!(severity = 5, call_id = %call.id, %port, by = %wanted.call_id, "port is given to another session, this one ends");
            drop(call);
            self.end_and_release(&handle);
        }
        present
    }

    /// Returns when the ports are free again.
    fn end_and_release(&self, handle: &CallHandle) {
        let (worker, key) = {
            let mut call = lock(handle);
            if call.ended {
                return;
            }
            self.end(&mut call, handle, EndReason::Deleted);
            (call.worker, call.key)
        };
        self.plane.release(worker, key);
    }

    fn begin(
        &self,
        request: &RelayRequest<'_>,
        session: RelaySession,
        attachments: &[Attachment; 2],
    ) -> Result<(), RelayError> {
        let identity = Identity { client: request.client, ..Identity::default() };
        let signal = Signal { identity, ..Signal::default() };
        // Sessions of one Call-ID differ in their ports.
        let id = match self.store.get(request.call_id) {
            None => session.call_id.clone(),
            Some(_) => format_smolstr!("{};{}", request.call_id, session.local[1].port()),
        };
        let handle = self.fresh(&id, &signal);
        let mut call = lock(&handle);
        for (side, tag) in TAGS.into_iter().enumerate() {
            let mut party = Party::new(call.created);
            party.tag = Some(tag.into());
            party.partner = Some(PartyId(1 - side));
            let mut media = Media::new(call.next_media_number, "audio", call.created);
            media.index = Some(1);
            media.transport = Some(Transport::Unspecified);
            media.received_transport = Some(Transport::Unspecified);
            media.learning = self.config.endpoint_learning;
            media.strict_source = media.learning == EndpointLearning::Off;
            call.next_media_number += 1;
            party.media.push(media);
            call.parties.push(party);
        }
        self.update(&mut call, request, session, attachments)?;
        if !self.register(&mut call, &handle) {
            return Err(RelayError::CallIdTaken);
        }
        self.install(&call);
        Ok(())
    }

    fn change(
        &self,
        call: &mut Call,
        request: &RelayRequest<'_>,
        session: RelaySession,
        attachments: &[Attachment; 2],
    ) -> Result<(), RelayError> {
        self.update(call, request, session, attachments)?;
        self.claim_signalled(call);
        self.install(call);
        Ok(())
    }

    /// Gives both parties the ports and endpoints of a request; on failure the call is as it was.
    fn update(
        &self,
        call: &mut Call,
        request: &RelayRequest<'_>,
        session: RelaySession,
        attachments: &[Attachment; 2],
    ) -> Result<(), RelayError> {
        let mut known: Vec<PortSet> = call
            .parties
            .iter()
            .flat_map(|party| &party.media)
            .filter_map(|media| media.ports.current().cloned())
            .collect();
        let mut sets = Vec::with_capacity(2);
        for (side, &local) in session.local.iter().enumerate() {
            let set = match known.iter().find(|set| set.rtp.local == local) {
                Some(set) => set.clone(),
                None => {
                    let address = &attachments[side].local;
                    let set = PortSet {
                        rtp: self.pool.allocate_named(address, local.port())?,
                        rtcp: Some(self.pool.allocate_named(address, local.port().saturating_add(1))?),
                        further: Vec::new(),
                        alternates: Vec::new(),
                    };
                    known.push(set.clone());
                    set
                }
            };
            sets.push(set);
        }
        let now = SystemTime::now();
        call.last_signal = Some(now);
        call.relay = Some(session);
        for (((party, set), side), attachment) in
            call.parties.iter_mut().zip(sets).zip(&request.sides).zip(attachments)
        {
            for media in &mut party.media {
                media.attachment = Some(attachment.clone());
                let far = Some(side.endpoint);
                media.ports =
                    PortSets::restore(vec![(far, set.clone())], [Some(0), None]).unwrap_or_default();
                follow(media, side.endpoint, now);
            }
        }
        Ok(())
    }
}

/// The party receives there from now on. Learning begins anew, from where it was found if that is still what it says.
fn follow(media: &mut Media, endpoint: SocketAddr, now: SystemTime) {
    let remote = remote(endpoint);
    let said = |remote: &Remote| [remote.rtp, remote.rtcp];
    let before = media.remote.as_ref().map(said);
    let after = said(&remote);
    for (component, stream) in media.streams.iter_mut().enumerate() {
        let learned = stream.learned.filter(|_| before.is_some_and(|b| b[component] == after[component]));
        stream.restart_learning();
        stream.learned = learned;
        stream.since_us = unix_us(now);
    }
    media.remote = Some(remote);
}

fn remote(rtp: SocketAddr) -> Remote {
    let zero_address = rtp.ip().is_unspecified();
    // Above the last port there is none for RTCP.
    let rtcp_port = rtp.port().checked_add(1).filter(|port| *port > 1).unwrap_or(0);
    Remote {
        rtp,
        rtcp: SocketAddr::new(rtp.ip(), rtcp_port),
        direction: if zero_address { Direction::SendOnly } else { Direction::SendRecv },
        until_answered: None,
        zero_address,
        rejected: rtp.port() == 0,
        ptime_ms: None,
        maxptime_ms: None,
        extmap_without_mixed: false,
        formats: Arc::default(),
        other_formats: Vec::new(),
        ssrcs: Arc::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counting_goes_on_behind_the_newest_session_and_around_those_that_live() {
        let table = RelayTable::default();
        let range = (20_000, 20_011);
        assert_eq!(table.next_block(range), 20_000, "nothing yet");
        let live = |ports: &[u16]| {
            let mut sessions = lock(&table.sessions);
            sessions.clear();
            sessions
                .extend(ports.iter().map(|port| (SocketAddr::from(([127, 0, 0, 1], *port)), Weak::new())));
        };
        for (name, newest, ports, expected) in [
            ("behind the newest, though it is over", 20_000, &[][..], 20_004),
            ("around a live one", 20_000, &[20_006], 20_008),
            ("around the end of the range", 20_008, &[20_008, 20_001], 20_004),
            ("all in use: from the beginning", 20_004, &[20_000, 20_004, 20_008], 20_000),
            ("a port that the proxy chose elsewhere", 40_000, &[], 20_000),
        ] {
            table.newest.store(newest, Relaxed);
            live(ports);
            assert_eq!(table.next_block(range), expected, "{name}");
        }
        assert_eq!(table.next_block((20_000, 20_001)), 20_000, "a range without a block");
    }
}
