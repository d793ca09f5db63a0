//! Sessions, handles and rooms.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use smol_str::SmolStr;
use tokio::sync::mpsc;

use super::envelope::{Failure, Reply};
use crate::call::ConnectionFact;

/// Sessions of the daemon.
const MAX_SESSIONS: usize = 4096;
/// Handles of a session.
const MAX_HANDLES: usize = 64;
/// Rooms of the daemon.
const MAX_ROOMS: usize = 4096;
/// Tokens, and octets of one.
const MAX_TOKENS: usize = 4096;
/// Numbers that every JSON implementation can hold.
const ID_BITS: u32 = 53;

/// Everything known.
#[derive(Debug, Default)]
pub(super) struct State {
    sessions: HashMap<u64, Session>,
    handles: HashMap<u64, Handle>,
    rooms: HashMap<u64, Room>,
    tokens: HashSet<String>,
}

#[derive(Debug)]
pub(super) struct Session {
    /// Connections that use it.
    connections: HashMap<u64, mpsc::Sender<String>>,
    /// When the last of them ended.
    orphaned: Option<Instant>,
}

#[derive(Debug)]
pub(super) struct Handle {
    session: u64,
    /// Room and role.
    membership: Option<(u64, Role)>,
    connection: Connected,
}

/// What the session of a handle was told about its connection, since it entered its room.
#[derive(Debug, Default)]
struct Connected {
    is_up: bool,
    /// Sections from which something has come.
    mids: HashSet<SmolStr>,
}

/// What a handle does in its room.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Role {
    /// Sends media.
    Publisher {
        /// Under this number.
        feed: u64,
        /// As others see it; `Null` before it has been configured.
        entry: Value,
        /// The last offer.
        offer: Option<String>,
    },
    /// Receives media.
    Subscriber,
}

/// A room.
#[derive(Debug)]
pub(super) struct Room {
    /// Greatest number of publishers.
    pub publishers: usize,
    /// Handles by feed.
    pub feeds: BTreeMap<u64, u64>,
}

impl Handle {
    pub fn room(&self) -> Option<u64> {
        self.membership.as_ref().map(|(room, _)| *room)
    }

    pub fn role(&self) -> Option<&Role> {
        self.membership.as_ref().map(|(_, role)| role)
    }
}

impl State {
    pub fn session(&self, id: Option<u64>) -> Result<&Session, Failure> {
        id.and_then(|id| self.sessions.get(&id)).ok_or(Failure::NO_SESSION)
    }

    /// A new session with the number wanted, if that is free.
    pub fn create_session(
        &mut self,
        wanted: Option<u64>,
        connection: u64,
        sender: &mpsc::Sender<String>,
    ) -> Result<u64, Failure> {
        if self.sessions.len() >= MAX_SESSIONS {
            return Err(Failure::TOO_MANY);
        }
        let wanted = wanted.filter(|id| !self.sessions.contains_key(id));
        let id = wanted.unwrap_or_else(|| free_id(|id| self.sessions.contains_key(&id)));
        let connections = HashMap::from([(connection, sender.clone())]);
        self.sessions.insert(id, Session { connections, orphaned: None });
        Ok(id)
    }

    /// A connection that uses a session gets its events from now on.
    pub fn join_session(&mut self, session: u64, connection: u64, sender: &mpsc::Sender<String>) {
        if let Some(session) = self.sessions.get_mut(&session) {
            session.orphaned = None;
            session.connections.entry(connection).or_insert_with(|| sender.clone());
        }
    }

    pub fn disconnect(&mut self, connection: u64, now: Instant) {
        for session in self.sessions.values_mut() {
            if session.connections.remove(&connection).is_some() && session.connections.is_empty() {
                session.orphaned = Some(now);
            }
        }
    }

    /// Sessions that have been without connection for that long.
    pub fn orphaned(&self, now: Instant, limit: Duration) -> Vec<u64> {
        let expired = |session: &Session| {
            session.orphaned.is_some_and(|since| now.saturating_duration_since(since) >= limit)
        };
        self.sessions.iter().filter(|(_, session)| expired(session)).map(|(id, _)| *id).collect()
    }

    pub fn forget_session(&mut self, id: u64) {
        self.sessions.remove(&id);
    }

    pub fn add_token(&mut self, token: &str) -> Result<(), Failure> {
        if self.tokens.len() >= MAX_TOKENS || token.len() > MAX_TOKENS {
            return Err(Failure::TOO_MANY);
        }
        self.tokens.insert(token.to_owned());
        Ok(())
    }

    pub fn attach(&mut self, session: Option<u64>) -> Result<u64, Failure> {
        let session = session.ok_or(Failure::NO_SESSION)?;
        if self.handles_of(session).len() >= MAX_HANDLES {
            return Err(Failure::TOO_MANY);
        }
        let id = free_id(|id| self.handles.contains_key(&id));
        self.handles.insert(id, Handle { session, membership: None, connection: Connected::default() });
        Ok(id)
    }

    pub fn owns(&self, session: Option<u64>, handle: u64) -> bool {
        self.handles.get(&handle).is_some_and(|handle| Some(handle.session) == session)
    }

    pub fn handle(&self, id: u64) -> Option<&Handle> {
        self.handles.get(&id)
    }

    pub fn handles_of(&self, session: u64) -> Vec<u64> {
        self.handles.iter().filter(|(_, handle)| handle.session == session).map(|(id, _)| *id).collect()
    }

    pub fn forget_handle(&mut self, id: u64) {
        self.handles.remove(&id);
    }

    pub fn room(&self, id: u64) -> Option<&Room> {
        self.rooms.get(&id)
    }

    pub fn create_room(&mut self, wanted: Option<u64>, publishers: usize) -> Result<u64, Failure> {
        if self.rooms.len() >= MAX_ROOMS {
            return Err(Failure::TOO_MANY);
        }
        let id = wanted.unwrap_or_else(|| free_id(|id| self.rooms.contains_key(&id)));
        self.rooms.insert(id, Room { publishers, feeds: BTreeMap::new() });
        Ok(id)
    }

    /// Everybody leaves; returns whether it existed.
    pub fn destroy_room(&mut self, id: u64) -> bool {
        for handle in self.handles.values_mut() {
            if handle.membership.take_if(|(room, _)| *room == id).is_some() {
                handle.connection = Connected::default();
            }
        }
        self.rooms.remove(&id).is_some()
    }

    /// A handle enters a room, or changes what it does there.
    pub fn join_room(&mut self, handle: u64, room: u64, role: Role) {
        let (Some(entering), Some(entered)) = (self.handles.get_mut(&handle), self.rooms.get_mut(&room))
        else {
            return;
        };
        if let Role::Publisher { feed, .. } = role {
            entered.feeds.insert(feed, handle);
        }
        entering.membership = Some((room, role));
    }

    /// Returns the room and what the handle did there.
    pub fn leave_room(&mut self, handle: u64) -> Option<(u64, Role)> {
        let leaving = self.handles.get_mut(&handle)?;
        leaving.connection = Connected::default();
        let (room, role) = leaving.membership.take()?;
        if let (Role::Publisher { feed, .. }, Some(left)) = (&role, self.rooms.get_mut(&room)) {
            left.feeds.remove(feed);
        }
        Some((room, role))
    }

    /// Entries of the configured publishers of a room, but for one handle.
    pub fn publishers(&self, room: u64, but: u64) -> Vec<Value> {
        let handles = self.rooms.get(&room).into_iter().flat_map(|room| room.feeds.values());
        let entries = handles.filter(|handle| **handle != but).filter_map(|handle| {
            match self.handles.get(handle)?.role()? {
                Role::Publisher { entry, .. } if !entry.is_null() => Some(entry.clone()),
                _ => None,
            }
        });
        entries.collect()
    }

    /// Sends an event to the other publishers of a room.
    pub fn tell_publishers(&self, room: u64, but: u64, data: &Value) {
        let Some(room) = self.rooms.get(&room) else { return };
        for handle in room.feeds.values().filter(|handle| **handle != but) {
            let Some(session) = self.handles.get(handle).map(|handle| handle.session) else { continue };
            let mut all = json!({"janus": "event", "session_id": session, "sender": handle});
            all["plugindata"] = json!({"plugin": super::PLUGIN, "data": data});
            self.send(session, &all.to_string());
        }
    }

    /// Tells a handle's own session about its connection: that it is up once, that media come in once a section.
    pub fn tell_connection(&mut self, id: u64, fact: &ConnectionFact) {
        let Some(handle) = self.handles.get_mut(&id).filter(|handle| handle.membership.is_some()) else {
            return;
        };
        let connection = &mut handle.connection;
        let (is_new, event) = match fact {
            ConnectionFact::Up => (!std::mem::replace(&mut connection.is_up, true), Reply::new("webrtcup")),
            ConnectionFact::MediaArrived { mid, media_type } => {
                let event = Reply::new("media").with("mid", json!(mid.as_str()));
                let event = event.with("type", json!(media_type.as_str())).with("receiving", json!(true));
                (connection.mids.insert(mid.clone()), event)
            }
        };
        if is_new {
            let session = handle.session;
            self.send(session, &event.render(None, Some(session), Some(id)));
        }
    }

    /// Sends a text to all connections of a session; one that is too slow loses it.
    pub fn send(&self, session: u64, text: &str) {
        for sender in self.sessions.get(&session).into_iter().flat_map(|session| session.connections.values())
        {
            if let Err(mpsc::error::TrySendError::Full(_)) = sender.try_send(text.to_owned()) {
                tracing::warn!(session, "Janus client reads too slowly, event lost");
            }
        }
    }
}

/// A random number that is not in use.
pub(super) fn free_id(is_taken: impl Fn(u64) -> bool) -> u64 {
    loop {
        let id = rand::random::<u64>() >> (u64::BITS - ID_BITS);
        if id > 0 && !is_taken(id) {
            return id;
        }
    }
}
