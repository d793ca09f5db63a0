//! From a message to its reply, whatever transport it came by.

use std::future::Future;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use super::command::{self, CommandCounters, Success};
use super::handler::{Handler, Outcome, error};
use super::query::CallReport;
use super::request::{self, Templates};
use crate::control::answer::{Answer, Respond};
use crate::control::cookie_cache::{CookieCache, Limits, Lookup, Reply};
use crate::control::report::{Homer, NgSide};
use crate::proto::value::{Dict, Value};
use crate::proto::{bencode, json};

/// How a dictionary is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Starts with `d`.
    Bencode,
    /// Starts with `{`.
    Json,
}

/// Answers messages. One serves all transports.
pub struct Responder {
    handler: Arc<dyn Handler>,
    templates: Templates,
    cache: Arc<CookieCache>,
    counters: Arc<CommandCounters>,
    /// Gets copies of messages, with the address that counts as ours.
    homer: Option<(Arc<Homer>, SocketAddr)>,
}

impl Responder {
    /// A responder in front of a handler, with an empty cache.
    pub fn new(handler: Arc<dyn Handler>, templates: Templates) -> Self {
        Self::with_counters(handler, templates, Arc::default())
    }

    /// A responder that counts where others can read.
    pub fn with_counters(
        handler: Arc<dyn Handler>,
        templates: Templates,
        counters: Arc<CommandCounters>,
    ) -> Self {
        let cache = CookieCache::new(Limits::default(), Instant::now());
        Responder { handler, templates, cache, counters, homer: None }
    }

    /// From now on Homer gets copies of what clients with cookies say and are told; `local` stands for our side.
    pub fn copy_to(&mut self, homer: Arc<Homer>, local: SocketAddr) {
        self.homer = Some((homer, local));
    }

    fn copy(&self, side: NgSide, peer: SocketAddr, call_id: &str, message: &[u8]) {
        if let Some((homer, local)) = &self.homer {
            homer.ng(side, peer, *local, call_id, message);
        }
    }

    /// How often each client used each command.
    pub fn counters(&self) -> &Arc<CommandCounters> {
        &self.counters
    }

    /// Answers a dictionary that came without cookie; it is not cached.
    pub fn respond_plain(&self, dictionary: &[u8], peer: SocketAddr) -> Answer {
        match self.execute(dictionary, peer) {
            Executed::Ready(format, content) => Answer::Now(encode(b"", format, &content)),
            Executed::Later(format, reply) => {
                Answer::Later(Box::pin(async move { Some(encode(b"", format, &Content::Dict(reply.await))) }))
            }
            Executed::Failed => Answer::None,
        }
    }

    fn execute(&self, dictionary: &[u8], peer: SocketAddr) -> Executed {
        let started = Instant::now();
        let (format, decoded) = decode(dictionary);
        let decoded = decoded.map(|dict| {
            let command = match dict.get("command") {
                Some(Value::Bytes(name)) => command::find(name),
                _ => None,
            };
            (command, request::decode(dict, peer, &self.templates).map_err(|reason| reason.to_string()))
        });
        let (command, request) = match decoded {
            Ok(decoded) => decoded,
            Err(reason) => (None, Err(reason)),
        };
        let request = match request {
            Ok(request) => request,
            Err(reason) => {
                tracing::debug!(%peer, reason, "request refused");
                self.counters.record(peer.ip(), command, started.elapsed(), Success::Error);
                return Executed::Ready(format, Content::Dict(error(&reason)));
            }
        };
        // A defect in a command must not end the listener that serves all others.
        let Ok(outcome) = catch_unwind(AssertUnwindSafe(|| self.handler.handle(request))) else {
            tracing::error!(%peer, "command ended in a panic, no reply sent");
            self.counters.record(peer.ip(), command, started.elapsed(), Success::Error);
            return Executed::Failed;
        };
        match outcome {
            Outcome::Ready(reply) => {
                self.counters.record(peer.ip(), command, started.elapsed(), success(&reply));
                Executed::Ready(format, Content::Dict(reply))
            }
            Outcome::Report(report) => {
                self.counters.record(peer.ip(), command, started.elapsed(), Success::Ok);
                Executed::Ready(format, Content::Report(report))
            }
            Outcome::Later(reply) => {
                let counters = Arc::clone(&self.counters);
                Executed::Later(
                    format,
                    Box::pin(async move {
                        let reply = reply.await;
                        counters.record(peer.ip(), command, started.elapsed(), success(&reply));
                        reply
                    }),
                )
            }
        }
    }
}

impl Respond for Responder {
    fn prepare(&self) {
        self.handler.prepare();
    }

    /// Answers `cookie SP dictionary`. Nothing is sent back to a message without cookie.
    fn respond(&self, message: &[u8], peer: SocketAddr) -> Answer {
        let Some(space) = message.iter().position(|&byte| byte == b' ').filter(|&space| space > 0) else {
            tracing::debug!(%peer, octets = message.len(), "message without cookie");
            return Answer::None;
        };
        let (cookie, dictionary) = (&message[..space], &message[space + 1..]);
        let ticket = match self.cache.begin(cookie, Instant::now()) {
            Lookup::Fresh(ticket) => ticket,
            Lookup::Stored(reply) => return Answer::Now(reply),
            Lookup::InProgress(waiting) => return Answer::of(waiting),
            Lookup::Refused => {
                tracing::warn!(%peer, "too many requests in progress, request dropped");
                return Answer::None;
            }
        };
        let call_id = self.homer.as_ref().map(|_| call_id(dictionary)).unwrap_or_default();
        self.copy(NgSide::Client, peer, &call_id, message);
        match self.execute(dictionary, peer) {
            Executed::Ready(format, content) => {
                let reply = encode(&message[..=space], format, &content);
                self.copy(NgSide::Daemon, peer, &call_id, &reply);
                ticket.complete(&reply);
                Answer::Now(reply)
            }
            Executed::Later(format, reply) => {
                let prefix: Box<[u8]> = message[..=space].into();
                let homer = self.homer.clone();
                Answer::Later(Box::pin(async move {
                    let reply = encode(&prefix, format, &Content::Dict(reply.await));
                    if let Some((homer, local)) = homer {
                        homer.ng(NgSide::Daemon, peer, local, &call_id, &reply);
                    }
                    ticket.complete(&reply);
                    Some(reply)
                }))
            }
            Executed::Failed => Answer::None,
        }
    }
}

/// What a reply says.
enum Content {
    Dict(Dict),
    Report(Box<CallReport>),
}

enum Executed {
    Ready(Format, Content),
    Later(Format, Pin<Box<dyn Future<Output = Dict> + Send>>),
    Failed,
}

/// The call that a request is about.
fn call_id(dictionary: &[u8]) -> String {
    let (_, decoded) = decode(dictionary);
    let call_id = decoded.ok().and_then(|dict| Some(dict.get("call-id")?.as_bytes()?.to_vec()));
    String::from_utf8_lossy(&call_id.unwrap_or_default()).into_owned()
}

fn success(reply: &Dict) -> Success {
    match reply.get("result") {
        Some(Value::Bytes(result)) if **result == *b"error" => Success::Error,
        _ => Success::Ok,
    }
}

/// The format of the reply, and the dictionary or the reason why there is none.
fn decode(dictionary: &[u8]) -> (Format, Result<Dict, String>) {
    match dictionary.first() {
        None => (Format::Bencode, Err("Invalid data (no payload)".into())),
        Some(b'd') => {
            let decoded = bencode::decode(dictionary).map_err(|cause| {
                tracing::debug!(%cause, "bencode refused");
                "Could not decode bencode dictionary".into()
            });
            (Format::Bencode, decoded)
        }
        Some(b'{') => (Format::Json, json::decode(dictionary).map_err(|cause| cause.to_string())),
        Some(_) => (Format::Bencode, Err("Invalid NG data format".into())),
    }
}

fn encode(prefix: &[u8], format: Format, content: &Content) -> Reply {
    // Most replies, even to `delete` with its statistics, are shorter.
    let mut message = Vec::with_capacity(prefix.len() + 4096);
    message.extend_from_slice(prefix);
    match (format, content) {
        (Format::Bencode, Content::Dict(dict)) => bencode::encode_dict(dict, &mut message),
        (Format::Json, Content::Dict(dict)) => json::encode_dict(dict, &mut message),
        (Format::Bencode, Content::Report(report)) => report.write(&mut bencode::Writer::new(&mut message)),
        (Format::Json, Content::Report(report)) => report.write(&mut json::Writer::new(&mut message)),
    }
    message
}
