//! Answers requests of the lrkproxy protocol, in which the signalling proxy chooses the ports and the daemon carries out.
//!
//! There is no error reply: what cannot be done is not answered, and the proxy asks another node.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use super::lrkp_request::{Request, Setup, TearDown, parse, split_cookie};
use crate::call::{Engine, RelayRequest, RelaySelection, RelaySide};
use crate::config::LrkpConfig;
use crate::control::answer::{Answer, Respond};
use crate::control::cookie_cache::{CookieCache, Limits, Lookup};

/// What the proxy takes; a longer reply is cut, and then not accepted.
const MAX_REPLY: usize = 255;
/// Octets of a request over a UNIX socket.
const MAX_REQUEST: usize = 4096;
/// Connections of one UNIX socket.
const MAX_CONNECTIONS: usize = 1024;
/// How long a client of a UNIX socket may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Lowest port that a session may have.
const LOWEST_PORT: u16 = 1024;
/// Room for an address in the reply to `G`.
const ADDRESS: usize = 20;

/// Answers requests; one for each listener, since cookies are those of its clients.
pub struct Lrkp {
    engine: Arc<Engine>,
    config: LrkpConfig,
    cache: Arc<CookieCache>,
    unanswered: AtomicU64,
}

impl Lrkp {
    /// With an empty cache.
    pub fn new(engine: Arc<Engine>, config: LrkpConfig) -> Self {
        let cache = CookieCache::new(Limits::default(), Instant::now());
        Self { engine, config, cache, unanswered: AtomicU64::new(0) }
    }

    /// The reply to a request without its cookie.
    fn execute(&self, request: &[u8], client: Option<SocketAddr>) -> Option<Vec<u8>> {
        let refuse = |reason: &dyn std::fmt::Display| {
            let count = self.unanswered.fetch_add(1, Relaxed) + 1;
            let request = String::from_utf8_lossy(request.get(..300).unwrap_or(request));
            tracing::warn!(?client, %reason, count, "lrkproxy request not answered: {request}");
        };
        let parsed = parse(request).map_err(|error| refuse(&error)).ok()?;
        match parsed {
            Request::Ping => self.engine.accepts_calls().then(|| b"P PONG".to_vec()),
            Request::Configuration => Some(self.configuration()),
            Request::SetUp(setup) => {
                self.set_up(&setup, client).map_err(|reason| refuse(&reason)).ok()?;
                Some(confirm(request))
            }
            Request::TearDown(selection) => {
                self.tear_down(&selection);
                Some(confirm(request))
            }
        }
    }

    fn set_up(&self, setup: &Setup<'_>, client: Option<SocketAddr>) -> Result<(), String> {
        for relay in [setup.caller_relay, setup.callee_relay] {
            let (port, (first, last)) = (relay.port(), self.config.ports);
            if port < LOWEST_PORT {
                return Err(format!("port {port} is below {LOWEST_PORT}"));
            }
            if self.config.strict_ports && !(first..=last).contains(&port) {
                return Err(format!("port {port} is outside {first}-{last} (lrkp-strict-ports)"));
            }
        }
        let side = |endpoint: std::net::SocketAddrV4, relay: std::net::SocketAddrV4| RelaySide {
            endpoint: endpoint.into(),
            relay: relay.into(),
        };
        let request = RelayRequest {
            call_id: setup.call_id,
            sides: [side(setup.caller, setup.caller_relay), side(setup.callee, setup.callee_relay)],
            idle: setup.timeout,
            client,
        };
        self.engine.relay(&request).map_err(|error| error.to_string())?;
        tracing::info!(
            call_id = setup.call_id,
            "lrkproxy session: {} at {}, {} at {}",
            setup.caller,
            setup.caller_relay,
            setup.callee,
            setup.callee_relay
        );
        Ok(())
    }

    fn tear_down(&self, ended: &TearDown<'_>) {
        let caller = ended.caller_relay.zip(ended.caller_host);
        let outcome = self.engine.end_relay(&RelaySelection {
            call_id: ended.call_id,
            callee_relay: ended.callee_relay.into(),
            callee_host: ended.callee_host.map(Into::into),
            caller: caller.map(|(relay, host)| (relay.into(), host.into())),
        });
        tracing::info!(call_id = ended.call_id, ?outcome, "lrkproxy session torn down");
    }

    /// The range, where to count from, and both addresses, as the proxy's compiler lays them out.
    fn configuration(&self) -> Vec<u8> {
        let ports = self.config.ports;
        let numbers = [ports.0, ports.1, self.engine.next_relay_port(ports)];
        let mut reply = b"G ".to_vec();
        reply.extend(numbers.into_iter().flat_map(|port| i32::from(port).to_ne_bytes()));
        for address in [self.config.internal, self.config.external] {
            let mut field = [0; ADDRESS];
            let text = address.to_string();
            // Fifteen octets at most.
            field[..text.len()].copy_from_slice(text.as_bytes());
            reply.extend(field);
        }
        reply
    }
}

/// The request itself and two letters.
fn confirm(request: &[u8]) -> Vec<u8> {
    [request, b"OK"].concat()
}

impl Respond for Lrkp {
    fn respond(&self, message: &[u8], peer: SocketAddr) -> Answer {
        let Some((cookie, request)) = split_cookie(message) else {
            tracing::warn!(%peer, "lrkproxy datagram without a cookie");
            return Answer::None;
        };
        let key = [peer.to_string().as_bytes(), b" ", cookie].concat();
        let ticket = match self.cache.begin(&key, Instant::now()) {
            Lookup::Fresh(ticket) => ticket,
            Lookup::Stored(reply) => return Answer::Now(reply),
            Lookup::InProgress(waiting) => return Answer::of(waiting),
            Lookup::Refused => {
                tracing::warn!(%peer, "too many requests in progress, request dropped");
                return Answer::None;
            }
        };
        let Some(text) = self.execute(request, Some(peer)) else { return Answer::None };
        let reply = [cookie, b" ", &text].concat();
        if reply.len() > MAX_REPLY {
            tracing::warn!(%peer, octets = reply.len(), "the reply is longer than lrkproxy takes: shorter Call-IDs are needed");
        }
        ticket.complete(&reply);
        Answer::Now(reply)
    }
}

/// UNIX stream sockets that nobody reads yet. The files go with them.
#[derive(Debug)]
pub struct LrkpUnixListeners {
    sockets: Vec<(UnixListener, SocketFile)>,
}

#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Somebody may have removed it already.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl LrkpUnixListeners {
    /// Makes all sockets; a file that a daemon has left behind is replaced, one that somebody listens on is not. Must be called within a
    /// runtime.
    ///
    /// # Errors
    /// The first failure, naming the path.
    pub fn bind(paths: &[PathBuf]) -> io::Result<Self> {
        let bind = |path: &PathBuf| {
            let fail = |cause: io::Error| {
                io::Error::new(
                    cause.kind(),
                    format!("cannot listen for lrkproxy on {}: {cause}", path.display()),
                )
            };
            let is_left_behind = std::os::unix::net::UnixStream::connect(path)
                .is_err_and(|cause| cause.kind() == io::ErrorKind::ConnectionRefused);
            if is_left_behind {
                std::fs::remove_file(path).map_err(fail)?;
            }
            Ok((UnixListener::bind(path).map_err(fail)?, SocketFile(path.clone())))
        };
        Ok(Self { sockets: paths.iter().map(bind).collect::<io::Result<_>>()? })
    }

    /// Serves until the tasks are aborted.
    pub fn run(self, door: &Arc<Lrkp>) -> Vec<JoinHandle<()>> {
        let serve = |(listener, file)| tokio::spawn(accept(Arc::clone(door), listener, file));
        self.sockets.into_iter().map(serve).collect()
    }
}

async fn accept(door: Arc<Lrkp>, listener: UnixListener, _file: SocketFile) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                // Whoever finds no place is not answered.
                let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
                let door = Arc::clone(&door);
                connections.spawn(async move {
                    if timeout(PATIENCE, door.serve(stream)).await.is_err() {
                        tracing::debug!("client of the lrkproxy socket is too slow");
                    }
                    drop(place);
                });
            }
            Err(cause) => {
                tracing::warn!(%cause, "accepting an lrkproxy connection failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

impl Lrkp {
    /// One request, which has no end of its own: what one write brings is taken for all of it.
    async fn serve(&self, mut stream: UnixStream) {
        let mut request = vec![0; MAX_REQUEST];
        let Ok(length @ 1..) = stream.read(&mut request).await else { return };
        request.truncate(length);
        if let Some(reply) = self.execute(&request, None)
            && let Err(cause) = stream.write_all(&reply).await
        {
            tracing::debug!(%cause, "lrkproxy client does not read its answer");
        }
    }
}
