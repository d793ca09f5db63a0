//! The media side of rooms: commands of the ng protocol.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use crate::call::Engine;
use crate::control::ng::request::{self, Templates};
use crate::control::ng::{Handler, Outcome};
use crate::proto::value::{Dict, Value};

/// What rooms want from the media side. Errors are reasons that a client may see.
pub trait Media: Send + Sync + 'static {
    /// Takes what a handle offers to send; returns the answer.
    ///
    /// # Errors
    /// Why not.
    fn publish(&self, room: u64, handle: u64, offer: &str) -> Result<String, String>;

    /// Offers a handle what others send; returns the offer. `plain` means without encryption and ICE.
    ///
    /// # Errors
    /// Why not.
    fn subscribe(&self, room: u64, handle: u64, publishers: &[u64], plain: bool) -> Result<String, String>;

    /// Takes the answer to [`subscribe`](Self::subscribe).
    ///
    /// # Errors
    /// Why not.
    fn answer(&self, room: u64, handle: u64, answer: &str) -> Result<(), String>;

    /// Takes candidates of a handle, as a fragment of SDP.
    fn trickle(&self, room: u64, handle: u64, fragment: String);

    /// Ends the party of a handle.
    fn remove(&self, room: u64, handle: u64);

    /// Ends everything of a room.
    fn end(&self, room: u64);
}

/// The daemon's own commands.
pub struct NgMedia {
    handler: Arc<dyn Handler>,
    engine: Arc<Engine>,
}

impl NgMedia {
    /// Uses what executes ng requests. Commands that take a while are waited for: not on a thread that serves others.
    pub fn new(handler: Arc<dyn Handler>, engine: Arc<Engine>) -> Self {
        NgMedia { handler, engine }
    }

    /// The reply of a successful command, or the reason.
    fn command(&self, mut request: Dict, name: &str, room: u64) -> Result<Dict, String> {
        request.push("command", name).push("call-id", call_id(room));
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut request =
            request::decode(request, peer, &Templates::default()).map_err(|reason| reason.to_string())?;
        request.signal.flags.tells_connections = true;
        let reply = match self.handler.handle(request) {
            Outcome::Ready(reply) => reply,
            // Nobody looks at the statistics of a room's call that ends.
            Outcome::Report(_) => Dict::new(),
            Outcome::Later(reply) => tokio::runtime::Handle::current().block_on(reply),
        };
        let text = |key: &str| {
            reply.get(key).and_then(Value::as_bytes).map(|text| String::from_utf8_lossy(text).into_owned())
        };
        match text("error-reason") {
            None => Ok(reply),
            Some(reason) => {
                tracing::debug!(room, command = name, reason, "command for a Janus room refused");
                Err(reason)
            }
        }
    }
}

impl Media for NgMedia {
    fn publish(&self, room: u64, handle: u64, offer: &str) -> Result<String, String> {
        let mut codec = Dict::new();
        codec.push("accept", strings(&["any"]));
        let mut request = Dict::new();
        request.push("sdp", offer).push("from-tag", handle.to_string()).push("codec", codec);
        let reply = self.command(request, "publish", room).map_err(|reason| match reason.as_str() {
            "Failed to parse SDP" | "Incomplete SDP specification" => reason,
            _ => "Publish error".to_owned(),
        })?;
        sdp(&reply)
    }

    fn subscribe(&self, room: u64, handle: u64, publishers: &[u64], plain: bool) -> Result<String, String> {
        let mut request = Dict::new();
        let tags: Vec<Value> = publishers.iter().map(|publisher| publisher.to_string().into()).collect();
        request.push("from-tags", tags).push("to-tag", handle.to_string());
        request.push("replace", strings(&["origin-full"]));
        if plain {
            request.push("flags", strings(&["generate-mid", "RTCP-mirror"]));
            request.push("transport-protocol", "RTP/AVP").push("ICE", "remove");
            request.push("rtcp-mux", strings(&["demux"]));
        } else {
            request.push("flags", strings(&["generate-mid", "RTCP-mirror", "WebRTC"]));
        }
        sdp(&self.command(request, "subscribe request", room)?)
    }

    fn answer(&self, room: u64, handle: u64, answer: &str) -> Result<(), String> {
        let mut request = Dict::new();
        request.push("sdp", answer).push("to-tag", handle.to_string());
        self.command(request, "subscribe answer", room).map(|_| ())
    }

    fn trickle(&self, room: u64, handle: u64, fragment: String) {
        let mut request = Dict::new();
        request.push("sdp", fragment).push("from-tag", handle.to_string());
        request.push("flags", strings(&["fragment"]));
        // The client only asked for its arrival to be acknowledged; the log has the reason.
        let _ = self.command(request, "offer", room);
    }

    fn remove(&self, room: u64, handle: u64) {
        // `delete` would end the call when nobody is left who talks to anybody.
        self.engine.remove_party(&call_id(room), &handle.to_string());
    }

    fn end(&self, room: u64) {
        let mut request = Dict::new();
        request.push("delete-delay", 0i64).push("flags", strings(&["fast"]));
        let _ = self.command(request, "delete", room);
    }
}

fn call_id(room: u64) -> String {
    format!("janus {room}")
}

fn strings(texts: &[&str]) -> Vec<Value> {
    texts.iter().map(|text| Value::from(*text)).collect()
}

fn sdp(reply: &Dict) -> Result<String, String> {
    let body = reply.get("sdp").and_then(Value::as_bytes).ok_or("Failed to create SDP")?;
    Ok(String::from_utf8_lossy(body).into_owned())
}
