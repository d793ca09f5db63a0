//! The OpenSER mediaproxy protocol over TCP: one line, one answer, then the connection is closed.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::mediaproxy_request::{Request, StreamsRequest, parse};
use crate::call::{BareStream, Engine};
use crate::control::line::LineReader;
use crate::control::tcp_listener::{self, SocketOptions};
use crate::negotiate::signal::{Identity, Signal};

/// Octets of a line.
const MAX_LINE: usize = 1024;
/// Connections of one listener.
const MAX_CONNECTIONS: usize = 1024;
/// How long a line may take to arrive.
const ARRIVAL: Duration = Duration::from_secs(30);
/// How long a client may leave its answer unread.
const UNREAD: Duration = Duration::from_secs(30);

/// Bound sockets that nobody reads yet.
#[derive(Debug)]
pub struct MediaproxyListeners {
    sockets: Vec<TcpListener>,
}

struct Mediaproxy {
    engine: Arc<Engine>,
    /// Who is connected.
    connections: Mutex<BTreeSet<SocketAddr>>,
}

impl MediaproxyListeners {
    /// Binds all addresses; must be called within a runtime.
    ///
    /// # Errors
    /// The first failure, naming the address.
    pub fn bind(addresses: &[SocketAddr]) -> io::Result<Self> {
        Ok(Self { sockets: tcp_listener::bind("mediaproxy", addresses, SocketOptions::default())? })
    }

    /// Serves until the tasks are aborted.
    pub fn run(self, engine: &Arc<Engine>) -> Vec<JoinHandle<()>> {
        let door = Arc::new(Mediaproxy { engine: Arc::clone(engine), connections: Mutex::default() });
        let listen = |socket| {
            let door = Arc::clone(&door);
            tokio::spawn(tcp_listener::accept("mediaproxy", socket, MAX_CONNECTIONS, move |stream, peer| {
                Arc::clone(&door).serve(stream, peer)
            }))
        };
        self.sockets.into_iter().map(listen).collect()
    }
}

impl Mediaproxy {
    async fn serve(self: Arc<Self>, mut stream: TcpStream, peer: SocketAddr) {
        self.connections().insert(peer);
        let line = LineReader::new(MAX_LINE).next(&mut stream, Instant::now() + ARRIVAL).await;
        let answer = line.ok().flatten().and_then(|line| self.answer(&line, peer));
        if let Some(answer) = answer
            && !matches!(timeout(UNREAD, stream.write_all(answer.as_bytes())).await, Ok(Ok(())))
        {
            tracing::debug!(%peer, "mediaproxy client does not read its answer");
        }
        self.connections().remove(&peer);
    }

    fn connections(&self) -> MutexGuard<'_, BTreeSet<SocketAddr>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, line: &str, peer: SocketAddr) -> Option<String> {
        let Some(request) = parse(line) else {
            tracing::warn!("Unable to parse command line from {peer}: {line}");
            return None;
        };
        tracing::info!("Got valid command from {peer}: {line}");
        let answer = match request {
            Request::Streams(streams) => self.exchange(&streams, peer),
            Request::Delete(call_id) => {
                let identity =
                    Identity { call_id: Some(call_id.into()), client: Some(peer), ..Identity::default() };
                if let Err(refused) = self.engine.delete(&Signal { identity, ..Signal::default() }) {
                    tracing::info!(%peer, %refused, "mediaproxy request refused");
                }
                None
            }
            Request::Version => Some(format!("Version: {}\n", crate::VERSION)),
            Request::Controls => Some(self.controls()),
            Request::Status => Some(self.status()),
            Request::Quit => None,
        };
        if let Some(answer) = &answer {
            tracing::info!("Returning to SIP proxy: {}", answer.trim_end());
        }
        answer
    }

    /// The address to tell the other party, and the ports of all streams.
    fn exchange(&self, request: &StreamsRequest<'_>, peer: SocketAddr) -> Option<String> {
        let mut signal = Signal {
            identity: Identity {
                call_id: Some(request.call_id.into()),
                from_tag: request.from_tag.map(Into::into),
                to_tag: request.to_tag.map(Into::into),
                client: Some(peer),
                ..Identity::default()
            },
            ..Signal::default()
        };
        // The addresses are the proxy's own words.
        signal.flags.trust_address = Some(true);
        let streams: Vec<BareStream> = request
            .streams
            .iter()
            .enumerate()
            .map(|(position, &(endpoint, media_type))| BareStream {
                position,
                media_type: media_type.into(),
                endpoint,
            })
            .collect();
        match self.engine.exchange_bare(request.message, &signal, &streams) {
            Ok(announced) => {
                let address = announced.iter().flatten().next();
                let mut answer = address.map_or_else(|| "0.0.0.0".into(), |address| address.ip().to_string());
                for local in announced {
                    let _ = write!(answer, " {}", local.map_or(0, |local| local.port()));
                }
                answer.push('\n');
                Some(answer)
            }
            Err(refused) => {
                tracing::info!(%peer, %refused, "mediaproxy request refused");
                None
            }
        }
    }

    fn controls(&self) -> String {
        let mut text: String =
            self.connections().iter().map(|connection| format!("{connection}\n")).collect();
        text.push_str("End.\n");
        text
    }

    fn status(&self) -> String {
        let calls = self.engine.overview();
        let mut text =
            format!("proxy {} {}/0/0\n", calls.len(), self.engine.statistics().rates().total().octets);
        let now = SystemTime::now();
        for call in calls.iter().rev() {
            let age = now.duration_since(call.created).unwrap_or_default().as_secs();
            let _ = writeln!(text, "session {} - - - - {age}", call.id);
        }
        text
    }
}
