//! A small part of the Janus gateway's API with one plugin, `janus.plugin.videoroom`, for software that expects a Janus server as its
//! media server.
//!
//! ```text
//! text → envelope (verb, transaction, session, handle) ─ verbs ─ message → room requests → Media (ng commands)
//!                                                      └ trickle → fragment ─────────────┘
//! replies and events → connections of the session
//! call (path, keys, first packets) → follow → connections of the handle's session
//! ```
//!
//! A room is the call `janus <room>`; the party of a handle has the handle's number as its tag. Requests are carried out one after the
//! other. Sessions live as long as one of their WebSocket connections, and a minute longer so that a client may come back.

mod envelope;
mod media;
mod room;
mod state;
mod streams;
#[cfg(test)]
mod tests;
mod trickle;

pub use media::{Media, NgMedia};

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::mpsc;

use envelope::{Failure, Reply, Request};
use state::{Role, State};

use crate::call::ConnectionReport;

/// The only plugin.
const PLUGIN: &str = "janus.plugin.videoroom";
/// News of connections that wait to be told about.
pub const NEWS_QUEUE: usize = 256;
/// Texts that a connection may be behind.
const QUEUE: usize = 256;
/// How long a session is kept without a connection.
pub const ORPHANED: Duration = Duration::from_secs(60);

/// The interface. One serves all connections.
pub struct Janus {
    /// Guards everything known; held while a request is carried out, including the commands to the media side, which never call back.
    state: Mutex<State>,
    media: Arc<dyn Media>,
    /// `janus-secret`; without it no administrative request is allowed.
    secret: Option<String>,
}

/// A WebSocket connection; ends with [`Janus::disconnect`].
#[derive(Clone, Debug)]
pub struct Connection {
    id: u64,
    sender: mpsc::Sender<String>,
}

/// Session and handle that the path of an HTTP request names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Path {
    /// `/janus/<session>`
    pub session: Option<u64>,
    /// `/janus/<session>/<handle>`
    pub handle: Option<u64>,
}

/// Where a request came from.
#[derive(Clone, Copy, Debug)]
enum Origin<'a> {
    WebSocket(&'a Connection),
    Http(Path),
}

impl Janus {
    /// An interface without sessions.
    pub fn new(media: Arc<dyn Media>, secret: Option<String>) -> Self {
        Janus { state: Mutex::new(State::default()), media, secret }
    }

    /// A new connection, and what is to be sent to it beside replies.
    pub fn connect(&self) -> (Connection, mpsc::Receiver<String>) {
        let (sender, outgoing) = mpsc::channel(QUEUE);
        (Connection { id: rand::random(), sender }, outgoing)
    }

    /// Carries out a message of a connection; returns the reply, which is to be sent before what comes through the connection's queue.
    pub fn receive(&self, connection: &Connection, text: &[u8]) -> String {
        self.execute(Origin::WebSocket(connection), text)
    }

    /// Carries out the body of a POST; returns the answer. What comes later goes to the connections of the session.
    pub fn post(&self, path: Path, body: &[u8]) -> String {
        self.execute(Origin::Http(path), body)
    }

    /// Answers GET `/admin/<path>`.
    pub fn get(&self, path: &str) -> String {
        let reply = match path {
            "info" => server_info(),
            _ => Reply::from(Failure::UNHANDLED),
        };
        reply.render(None, None, None)
    }

    /// Ends a connection; sessions that it was the last one of may be ended by [`expire`](Self::expire) later.
    pub fn disconnect(&self, connection: &Connection, now: Instant) {
        self.lock().disconnect(connection.id, now);
    }

    /// Ends the sessions that have been without connection for [`ORPHANED`].
    pub fn expire(&self, now: Instant) {
        let mut state = self.lock();
        for session in state.orphaned(now, ORPHANED) {
            tracing::info!(session, "Janus session without connection ended");
            self.end_session(&mut state, session);
        }
    }

    /// Tells clients what happens to their connections, until nothing comes any more.
    pub async fn follow(self: Arc<Self>, mut news: mpsc::Receiver<ConnectionReport>) {
        while let Some(report) = news.recv().await {
            let janus = Arc::clone(&self);
            // A request that is carried out meanwhile may take a while: not on a thread that serves others.
            let told = tokio::task::spawn_blocking(move || janus.tell(&report)).await;
            if let Err(error) = told {
                tracing::error!(%error, "Janus event lost");
            }
        }
    }

    /// The tag of a party is the number of its handle; parties that others have brought into the call are none of ours.
    fn tell(&self, report: &ConnectionReport) {
        if let Ok(handle) = report.tag.parse() {
            self.lock().tell_connection(handle, &report.fact);
        }
    }

    fn execute(&self, origin: Origin<'_>, text: &[u8]) -> String {
        let path = match origin {
            Origin::Http(path) => path,
            Origin::WebSocket(_) => Path::default(),
        };
        let request = match Request::parse(text, path) {
            Ok(request) => request,
            Err(failure) => return Reply::from(failure).render(None, None, None),
        };
        let mut state = self.lock();
        let reply = self.verb(&mut state, origin, &request).unwrap_or_else(Reply::from);
        let sender = request.handle.filter(|_| request.verb != "trickle" && !reply.is_ack());
        let session = request.session.filter(|_| request.verb != "create");
        reply.render(Some(&request.transaction), session, sender)
    }

    fn verb(&self, state: &mut State, origin: Origin<'_>, request: &Request) -> Result<Reply, Failure> {
        if let (Some(session), Origin::WebSocket(connection)) = (request.session, origin) {
            state.join_session(session, connection.id, &connection.sender);
        }
        match request.verb.as_str() {
            "ping" => Ok(Reply::new("pong")),
            "info" => Ok(server_info()),
            "get_status" => Ok(Reply::new("success").with("status", json!({"token_auth": false}))),
            "list_sessions" => Ok(Reply::new("success").with("sessions", json!([]))),
            "add_token" => self.add_token(state, request),
            "create" => {
                let Origin::WebSocket(connection) = origin else { return Err(Failure::TRANSPORT) };
                let wanted = number(request.body.get("id"));
                let id = state.create_session(wanted, connection.id, &connection.sender)?;
                Ok(Reply::new("success").with("data", json!({"id": id})))
            }
            "keepalive" => state.session(request.session).map(|_| Reply::new("ack")),
            "attach" => {
                state.session(request.session)?;
                match request.body.get("plugin").and_then(Value::as_str) {
                    None => Err(Failure::NO_PLUGIN),
                    Some(PLUGIN) => {
                        let id = state.attach(request.session)?;
                        Ok(Reply::new("success").with("data", json!({"id": id})))
                    }
                    Some(_) => Err(Failure::OTHER_PLUGIN),
                }
            }
            "detach" => {
                state.session(request.session)?;
                let handle = request.handle.ok_or(Failure::NO_HANDLE)?;
                if !state.owns(request.session, handle) {
                    return Err(Failure::NOT_DETACHED);
                }
                self.detach(state, handle);
                Ok(Reply::new("success"))
            }
            "destroy" => {
                state.session(request.session)?;
                self.end_session(state, request.session.unwrap_or_default());
                Ok(Reply::new("success"))
            }
            "message" => {
                state.session(request.session)?;
                let handle = request.handle.ok_or(Failure::NO_HANDLE)?;
                let body = request.body.get("body").ok_or(Failure::NO_BODY)?;
                if !state.owns(request.session, handle) {
                    return Err(Failure::BAD_HANDLE.of_plugin());
                }
                self.message(state, request, handle, body)
            }
            "trickle" => {
                state.session(request.session)?;
                let handle = request.handle.ok_or(Failure::NO_HANDLE)?;
                let fragment = trickle::fragment(request.body.get("candidate"))?;
                let room = state.handle(handle).and_then(|handle| handle.room()).ok_or(Failure::NO_ROOM)?;
                if let Some(fragment) = fragment {
                    self.media.trickle(room, handle, fragment);
                }
                Ok(Reply::new("ack"))
            }
            _ => Err(Failure::UNHANDLED),
        }
    }

    fn add_token(&self, state: &mut State, request: &Request) -> Result<Reply, Failure> {
        let given = request.body.get("admin_secret").and_then(Value::as_str);
        if self.secret.is_none() || given != self.secret.as_deref() {
            return Err(Failure::SECRET);
        }
        let token = request.body.get("token").and_then(Value::as_str).ok_or(Failure::NO_TOKEN)?;
        state.add_token(token)?;
        Ok(Reply::new("success").with("data", json!({"plugins": [PLUGIN]})))
    }

    /// Takes a handle out of its room and forgets it.
    fn detach(&self, state: &mut State, handle: u64) {
        self.leave(state, handle, "leaving");
        state.forget_handle(handle);
    }

    /// Takes a handle out of its room: its party ends, the others hear of it.
    fn leave(&self, state: &mut State, handle: u64, how: &str) {
        let Some((room, role)) = state.leave_room(handle) else { return };
        self.media.remove(room, handle);
        if let Role::Publisher { feed, .. } = role {
            let mut told = json!({"videoroom": "event", "room": room});
            told[how] = json!(feed);
            state.tell_publishers(room, handle, &told);
        }
    }

    fn end_session(&self, state: &mut State, session: u64) {
        for handle in state.handles_of(session) {
            self.detach(state, handle);
        }
        state.forget_session(session);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn server_info() -> Reply {
    Reply::new("server_info")
        .with("name", json!("rtpengine Janus interface"))
        .with("version_string", json!(crate::VERSION))
        .with("plugins", json!({PLUGIN: {"name": "rtpengine Janus videoroom"}}))
}

/// An integer, also when written as a string of digits.
fn number(value: Option<&Value>) -> Option<u64> {
    let value = value?;
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}
