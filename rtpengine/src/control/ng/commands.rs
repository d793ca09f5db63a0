//! Commands of the ng protocol → the engine → reply dictionaries.

use std::sync::Arc;

use super::explain::explained_media;
use super::handler::{Handler, Outcome, error};
use super::query::CallReport;
use super::replies::{ok, published, sdp_reply, subscribed, transformed};
use super::request::NgRequest;
use crate::call::{
    CallSnapshot, CommandError, Deleted, Engine, ExplainedMedia, MediaSwitch, Message, Position,
    RecordingCommand,
};
use crate::config::SsrcReporting;
use crate::control::operations::Operations;
use crate::negotiate::signal::Signal;
use crate::proto::value::{Dict, Value};

/// Answers requests with the engine.
pub struct Commands {
    engine: Arc<Engine>,
    ssrc_reporting: SsrcReporting,
    operations: Arc<Operations>,
}

/// Calls that `list` names when the client does not say how many.
const DEFAULT_LIST: i64 = 32;

impl Commands {
    pub fn new(engine: Arc<Engine>, ssrc_reporting: SsrcReporting, operations: Arc<Operations>) -> Self {
        Self { engine, ssrc_reporting, operations }
    }

    fn delete(&self, signal: &Signal) -> Outcome {
        let reply = match self.engine.delete(signal) {
            Ok(Deleted::Statistics(Some(call))) => return self.report(*call),
            Ok(Deleted::Statistics(None)) => Ok(Dict::new()),
            Ok(Deleted::Warning) => {
                let mut reply = Dict::new();
                reply.push("warning", CommandError::NothingToDelete.to_string());
                Ok(reply)
            }
            Err(refused) => Err(refused),
        };
        Outcome::Ready(replied(reply, signal.identity.supports_load_limit))
    }

    fn report(&self, call: CallSnapshot) -> Outcome {
        Outcome::Report(Box::new(CallReport { call, ssrcs: self.ssrc_reporting }))
    }

    /// `query` knows its keys in one spelling only. Empty tags select nobody.
    fn query(&self, request: &NgRequest) -> Result<CallSnapshot, CommandError> {
        let text = |key: &str| {
            let octets = request.body.get(key).and_then(Value::as_bytes)?;
            Some(String::from_utf8_lossy(octets).into_owned())
        };
        let call_id = text("call-id").ok_or(CommandError::NoCallId)?;
        let tag = |key: &str| text(key).filter(|tag| !tag.is_empty());
        let selected = tag("to-tag").or_else(|| tag("from-tag"));
        self.engine.query(&call_id, selected.as_deref())
    }

    fn list(&self, request: &NgRequest) -> Result<Dict, CommandError> {
        let limit = request.body.get("limit").and_then(Value::as_int).unwrap_or(DEFAULT_LIST);
        let mut reply = Dict::new();
        reply.push("calls", self.engine.list(limit)?.into_iter().map(Value::from).collect::<Vec<Value>>());
        Ok(reply)
    }

    fn cli(&self, request: &NgRequest) -> Result<Dict, CommandError> {
        let line = request.body.get("body").and_then(Value::as_bytes).ok_or(CommandError::NoBody)?;
        let mut reply = Dict::new();
        reply.push("response", self.operations.cli.execute(&String::from_utf8_lossy(line)));
        Ok(reply)
    }

    /// A command line that may have to wait for a database.
    fn cli_later(&self, request: NgRequest) -> Outcome {
        let operations = self.operations.clone();
        Outcome::Later(Box::pin(async move {
            let line = request.body.get("body").and_then(Value::as_bytes).unwrap_or_default().to_vec();
            let run = move || operations.cli.execute(&String::from_utf8_lossy(&line));
            match tokio::task::spawn_blocking(run).await {
                Ok(text) => {
                    let mut reply = Dict::new();
                    reply.push("response", text);
                    ok(reply)
                }
                Err(_) => error("Internal error"),
            }
        }))
    }

    fn record(&self, request: &NgRequest, command: RecordingCommand) -> Result<Dict, CommandError> {
        let options = &request.signal.recording;
        let command = match command {
            RecordingCommand::Stop if options.discard => RecordingCommand::Discard,
            RecordingCommand::Stop if options.pause || is_yes(&request.body, "pause") => {
                RecordingCommand::Pause
            }
            other => other,
        };
        self.engine.record(&request.signal, command)?;
        Ok(Dict::new())
    }

    fn switch(&self, signal: &Signal, switch: MediaSwitch, position: Position) -> Result<Dict, CommandError> {
        self.engine.switch_media(signal, switch, position).map(nothing)
    }

    fn publish(&self, signal: &Signal) -> Result<Dict, CommandError> {
        let done = self.engine.publish(signal)?;
        let (call_id, tag) = (done.call_id.clone(), done.from_tag.clone());
        let mut reply = published(done);
        explain(signal, &mut reply, || self.engine.explain_published(&call_id, &tag));
        Ok(reply)
    }

    fn subscribe_request(&self, signal: &Signal) -> Result<Dict, CommandError> {
        let done = self.engine.subscribe_request(signal)?;
        let to_tag = done.to_tag.clone();
        let mut reply = subscribed(done, signal.flags.siprec);
        self.explain_subscriber(signal, &to_tag, Message::Offer, &mut reply);
        Ok(reply)
    }

    fn subscribe_answer(&self, signal: &Signal) -> Result<Dict, CommandError> {
        self.engine.subscribe_answer(signal)?;
        let mut reply = Dict::new();
        let to_tag = signal.identity.to_tag.as_deref().unwrap_or_default();
        self.explain_subscriber(signal, to_tag, Message::Answer, &mut reply);
        Ok(reply)
    }

    fn explain_subscriber(&self, signal: &Signal, to_tag: &str, message: Message, reply: &mut Dict) {
        let call_id = signal.identity.call_id.as_deref().unwrap_or_default();
        explain(signal, reply, || self.engine.explain_subscriber(call_id, to_tag, message));
    }

    fn connect(&self, signal: &Signal) -> Result<Dict, CommandError> {
        self.engine.connect(signal)?;
        let mut reply = Dict::new();
        explain(signal, &mut reply, || self.engine.explain_connected(signal));
        Ok(reply)
    }

    fn stop_media(&self, request: &NgRequest) -> Result<Dict, CommandError> {
        let mut reply = Dict::new();
        reply.push("last-frame-pos", self.engine.stop_media(&request.signal)?);
        Ok(reply)
    }

    /// An offer or answer that may have to open a source of music on hold.
    fn exchange_later(&self, request: NgRequest) -> Outcome {
        let engine = self.engine.clone();
        Outcome::Later(Box::pin(async move {
            let load_limit = request.signal.identity.supports_load_limit;
            let message = if request.command == "offer" { Message::Offer } else { Message::Answer };
            let done = tokio::task::spawn_blocking(move || exchange(&engine, &request.signal, message));
            match done.await {
                Ok(result) => replied(result, load_limit),
                Err(_) => error("Internal error"),
            }
        }))
    }

    /// Opening a source may take time: not on the thread that answers everybody.
    fn play_media(&self, request: NgRequest) -> Outcome {
        let engine = self.engine.clone();
        Outcome::Later(Box::pin(async move {
            let played = tokio::task::spawn_blocking(move || engine.play_media(&request.signal)).await;
            match played {
                Ok(Ok(duration)) => {
                    let mut reply = Dict::new();
                    if let Some(duration) = duration {
                        reply.push("duration", u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
                    }
                    ok(reply)
                }
                Ok(Err(refused)) => error(&refused.to_string()),
                Err(_) => error("Internal error"),
            }
        }))
    }
}

impl Handler for Commands {
    fn prepare(&self) {
        self.engine.ports().prepare();
    }

    fn handle(&self, request: NgRequest) -> Outcome {
        let signal = &request.signal;
        let result = match request.command.as_str() {
            "ping" => {
                let mut reply = Dict::new();
                reply.push("result", "pong");
                return Outcome::Ready(reply);
            }
            "offer" | "answer" if signal.flags.fragment => {
                let message = if request.command == "offer" { Message::Offer } else { Message::Answer };
                self.engine.take_fragment(message, signal).map(|()| Dict::new())
            }
            "offer" | "answer" if self.engine.may_open_audio(signal) => return self.exchange_later(request),
            "offer" => exchange(&self.engine, signal, Message::Offer),
            "answer" => exchange(&self.engine, signal, Message::Answer),
            "delete" => return self.delete(signal),
            "query" => match self.query(&request) {
                Ok(call) => return self.report(call),
                Err(refused) => Err(refused),
            },
            "list" => self.list(&request),
            "statistics" => {
                // The client that asks is listed, also when this is its first request.
                self.operations.commands.meet(request.peer.ip());
                let mut reply = Dict::new();
                reply.push("statistics", self.operations.statistics.dictionary());
                Ok(reply)
            }
            "cli" | "CLI" if may_wait(&request) => return self.cli_later(request),
            "cli" | "CLI" => self.cli(&request),
            "start recording" => self.record(&request, RecordingCommand::Start),
            "stop recording" => self.record(&request, RecordingCommand::Stop),
            "pause recording" => self.record(&request, RecordingCommand::Pause),
            "publish" => self.publish(signal),
            "create" => self.engine.create(signal).map(published),
            "create answer" => self.engine.create_answer(signal).map(|()| Dict::new()),
            "subscribe request" => self.subscribe_request(signal),
            "subscribe answer" => self.subscribe_answer(signal),
            "unsubscribe" => self.engine.unsubscribe(signal).map(|()| Dict::new()),
            "connect" => self.connect(signal),
            "mesh" => self.engine.mesh(signal).map(|()| Dict::new()),
            "inject start" => self.engine.inject_start(signal).map(|()| Dict::new()),
            "inject stop" => self.engine.inject_stop(signal).map(|()| Dict::new()),
            "transform" => self.engine.transform(signal).map(transformed),
            "start forwarding" => self.engine.switch_forwarding(signal, Position::On).map(nothing),
            "stop forwarding" => self.engine.switch_forwarding(signal, Position::Off).map(nothing),
            "block media" => self.switch(signal, MediaSwitch::Block, Position::On),
            "unblock media" => self.switch(signal, MediaSwitch::Block, Position::Off),
            "silence media" => self.switch(signal, MediaSwitch::Silence, Position::On),
            "unsilence media" => self.switch(signal, MediaSwitch::Silence, Position::Off),
            "block DTMF" => self.engine.block_dtmf(signal).map(nothing),
            "unblock DTMF" => self.engine.unblock_dtmf(signal).map(nothing),
            "play DTMF" => self.engine.play_dtmf(signal).map(nothing),
            "play media" => return self.play_media(request),
            "stop media" => self.stop_media(&request),
            _ => return Outcome::Ready(error("Unrecognized command")),
        };
        Outcome::Ready(replied(result, signal.identity.supports_load_limit))
    }
}

/// Command lines about media may read files or ask a database.
fn may_wait(request: &NgRequest) -> bool {
    request.body.get("body").and_then(Value::as_bytes).is_some_and(|line| line.starts_with(b"media "))
}

/// Offer or answer, with an explanation when one is asked for.
fn exchange(engine: &Engine, signal: &Signal, message: Message) -> Result<Dict, CommandError> {
    let mut reply = sdp_reply(match message {
        Message::Offer => engine.offer(signal)?,
        Message::Answer => engine.answer(signal)?,
    });
    explain(signal, &mut reply, || engine.explain(signal, message));
    Ok(reply)
}

/// Adds an explanation to a reply, when one is asked for.
fn explain(signal: &Signal, reply: &mut Dict, work_out: impl FnOnce() -> Vec<ExplainedMedia>) {
    if signal.flags.explain {
        reply.push("explain", work_out().iter().map(explained_media).collect::<Vec<Value>>());
    }
}

fn replied(result: Result<Dict, CommandError>, load_limit: bool) -> Dict {
    match result {
        Ok(reply) => ok(reply),
        Err(CommandError::Limit(limit)) if load_limit => {
            let mut reply = Dict::new();
            reply.push("result", "load limit");
            reply.push("message", limit.to_string());
            reply
        }
        Err(CommandError::Rewrite) => {
            let mut reply = Dict::new();
            reply.push("sdp", "");
            reply.0.extend(error(&CommandError::Rewrite.to_string()).0);
            reply
        }
        Err(refused) => error(&refused.to_string()),
    }
}

/// The reply of commands that say only whether they succeeded.
fn nothing((): ()) -> Dict {
    Dict::new()
}

/// The key has the value `yes`, `on` or `true`.
fn is_yes(body: &Dict, key: &str) -> bool {
    let value = body.get(key).and_then(Value::as_bytes);
    matches!(value, Some(b"yes" | b"on" | b"true"))
}
