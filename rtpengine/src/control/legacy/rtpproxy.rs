//! Answers requests of the rtpproxy protocol.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::rtpproxy_request::{Request, Selection, Side, StreamRequest, parse};
use crate::call::{BareStream, CommandError, Deleted, Engine};
use crate::config::{Config, Setting};
use crate::control::answer::{Answer, Respond};
use crate::control::cookie_cache::{CookieCache, Limits, Lookup};
use crate::negotiate::signal::{Identity, Signal};

/// What `V` tells: the version of the protocol.
const VERSION: &str = "20040107";
/// Capabilities that `VF` knows.
const CAPABILITIES: [&str; 3] = ["20040107", "20050322", "20060704"];
/// The only error code.
const ERROR: &str = "E8";
/// The address of a stream that is on hold or does not exist.
const NOWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// Answers requests; one for each listener, since cookies are those of its clients.
pub struct Rtpproxy {
    engine: Arc<Engine>,
    cache: Arc<CookieCache>,
}

impl Rtpproxy {
    /// With an empty cache.
    pub fn new(engine: Arc<Engine>) -> Self {
        Self { engine, cache: CookieCache::new(Limits::default(), Instant::now()) }
    }

    fn execute(&self, request: &Request<'_>, peer: SocketAddr) -> String {
        let result = match request {
            Request::Version => Ok(VERSION.into()),
            Request::Capability(date) => Ok(u8::from(CAPABILITIES.contains(date)).to_string()),
            Request::Stream(stream) => self.exchange(stream, peer),
            Request::Delete(selection) => self.delete(selection, peer),
            Request::Query(selection) => self.query(selection),
            Request::Unreadable { port, address } => Ok(format!("{port} {address}")),
            Request::Invalid => return ERROR.into(),
        };
        result.unwrap_or_else(|refused| {
            tracing::info!(%peer, %refused, "rtpproxy request refused");
            ERROR.into()
        })
    }

    fn exchange(&self, request: &StreamRequest<'_>, peer: SocketAddr) -> Result<String, CommandError> {
        let mut signal = signal(&request.of, peer);
        if let Some([from, to]) = request.sides {
            signal.network.interface_from = interface(self.engine.config(), from);
            signal.network.interface_to = interface(self.engine.config(), to);
        }
        let stream = BareStream {
            position: request.position,
            media_type: Default::default(),
            endpoint: request.endpoint,
        };
        match self.engine.exchange_bare(request.message, &signal, &[stream]) {
            Ok(announced) => Ok(match announced.first().copied().flatten() {
                Some(local) => {
                    let family = if local.is_ipv4() { 4 } else { 6 };
                    format!("{} {} {family}", local.port(), local.ip())
                }
                None => format!("0 {NOWHERE} 4"),
            }),
            Err(CommandError::UnknownCall) => Ok(format!("0 {NOWHERE}")),
            Err(refused) => Err(refused),
        }
    }

    fn delete(&self, selection: &Selection<'_>, peer: SocketAddr) -> Result<String, CommandError> {
        match self.engine.delete(&signal(selection, peer))? {
            Deleted::Statistics(_) => Ok("0".into()),
            Deleted::Warning => Err(CommandError::NothingToDelete),
        }
    }

    /// Seconds until the call counts as silent, and packets received: RTP, RTCP.
    fn query(&self, selection: &Selection<'_>) -> Result<String, CommandError> {
        let tag = selection.to_tag.unwrap_or(selection.from_tag);
        let call = self.engine.query(selection.call_id, Some(tag))?;
        if call.parties.is_empty() {
            return Err(CommandError::UnknownCall);
        }
        let media = || call.parties.iter().flat_map(|(_, party)| &party.media);
        let received = |component: usize| -> u64 {
            media()
                .filter_map(|media| media.streams.get(component))
                .map(|stream| stream.ingress.packets)
                .sum()
        };
        let last = media().flat_map(|media| &media.streams).map(|stream| stream.last_packet_us).max();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        let silent_for = last.map_or(0, |last| now.saturating_sub(last.into()) / 1_000_000);
        let bound = u128::from(self.engine.live().duration(Setting::SilentTimeout).as_secs());
        Ok(format!("{} {} {} 0 0", bound.saturating_sub(silent_for), received(0), received(1)))
    }
}

impl Respond for Rtpproxy {
    fn respond(&self, message: &[u8], peer: SocketAddr) -> Answer {
        let line = String::from_utf8_lossy(message);
        let line = line.trim_ascii();
        let Some((cookie, request)) = parse(line) else {
            tracing::warn!("Unable to parse command line from udp:{peer}: {line}");
            return Answer::None;
        };
        if matches!(request, Request::Unreadable { .. } | Request::Invalid) {
            tracing::warn!(
                "Failed to properly parse UDP command line '{line}' from {peer}, using fallback RE"
            );
        } else {
            tracing::info!("Got valid command from udp:{peer}: {line}");
        }
        let reply = |text: &str| format!("{cookie} {text}\n").into_bytes();
        if matches!(request, Request::Version | Request::Capability(_)) {
            return Answer::Now(reply(&self.execute(&request, peer)));
        }
        let ticket = match self.cache.begin(cookie.as_bytes(), Instant::now()) {
            Lookup::Fresh(ticket) => ticket,
            Lookup::Stored(reply) => {
                tracing::info!("Detected command from udp:{peer} as a duplicate");
                return Answer::Now(reply);
            }
            Lookup::InProgress(waiting) => return Answer::of(waiting),
            Lookup::Refused => {
                tracing::warn!(%peer, "too many requests in progress, request dropped");
                return Answer::None;
            }
        };
        let text = self.execute(&request, peer);
        tracing::info!("Returning to SIP proxy: {cookie} {text}");
        let reply = reply(&text);
        ticket.complete(&reply);
        Answer::Now(reply)
    }
}

/// What ng would have said.
fn signal(selection: &Selection<'_>, peer: SocketAddr) -> Signal {
    let mut signal = Signal {
        identity: Identity {
            call_id: Some(selection.call_id.into()),
            from_tag: Some(selection.from_tag.into()),
            to_tag: selection.to_tag.map(Into::into),
            via_branch: selection.branch.map(Into::into),
            client: Some(peer),
            ..Identity::default()
        },
        ..Signal::default()
    };
    // The addresses are the proxy's own words.
    signal.flags.trust_address = Some(true);
    signal
}

/// The interface of a side; the default one when there is none of that name.
fn interface(config: &Config, side: Side) -> Option<smol_str::SmolStr> {
    let name = match side {
        Side::External => "external",
        Side::Internal => "internal",
    };
    config.has_interface(name).then(|| name.into())
}
