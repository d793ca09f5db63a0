//! Connections: TLS, requests one after the other, and what they become when they are upgraded.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::CONTENT_LENGTH;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper::{HeaderMap, Request};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::answer::{self, Answer};
use super::route::{ContentType, Post, Route, route};
use super::tls::{Certificate, TlsError};
use super::websocket::{self, Subprotocol};
use super::write_timeout::WriteTimeout;
use super::{Services, tls};
use crate::control::console::Console;
use crate::control::janus;
use crate::control::tcp_listener::{self, SocketOptions};
use crate::control::{self, Respond};

/// Octets of a request's head; hyper reads bodies through the same buffer.
const HEAD: usize = 32 << 10;

/// Bounds of the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open connections of one listener.
    pub connections: usize,
    /// Octets of a body or of a WebSocket message.
    pub message: usize,
    /// How long a connection may wait between requests, and how long the head of one may take.
    pub idle: Duration,
    /// How long a body or a TLS handshake may take.
    pub arrival: Duration,
    /// How long a client may leave its answer unread.
    pub unread: Duration,
}

impl Default for Limits {
    /// Enough for an announcement in a request.
    fn default() -> Self {
        Limits {
            connections: 1024,
            message: 8 << 20,
            idle: Duration::from_secs(5),
            arrival: Duration::from_secs(30),
            unread: Duration::from_secs(30),
        }
    }
}

/// Bound sockets that nobody reads yet.
#[derive(Debug)]
pub struct HttpListeners {
    plain: Vec<TcpListener>,
    secure: Vec<TcpListener>,
    certificate: Option<Arc<Certificate>>,
}

/// What all connections use.
struct Door {
    services: Services,
    limits: Limits,
}

/// Why the door cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// An address is not usable.
    #[error("{0}")]
    Listen(io::Error),
    /// The system has no threads left.
    #[error("cannot start the HTTP threads: {0}")]
    Threads(io::Error),
    /// No HTTPS.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl HttpListeners {
    /// Binds all addresses; must be called within a runtime. Without certificate there must be no secure ones.
    ///
    /// # Errors
    /// The first address that cannot be bound, or what is wrong with the certificate.
    pub fn bind(
        plain: &[SocketAddr],
        secure: &[SocketAddr],
        certificate: Option<tls::CertificateFiles>,
        send_buffer: usize,
    ) -> Result<Self, HttpError> {
        let options = SocketOptions { send_buffer, ..SocketOptions::default() };
        Ok(HttpListeners {
            plain: tcp_listener::bind("HTTP", plain, options).map_err(HttpError::Listen)?,
            secure: tcp_listener::bind("HTTPS", secure, options).map_err(HttpError::Listen)?,
            certificate: certificate.map(Certificate::load).transpose()?,
        })
    }

    /// The plain addresses bound to, in the order given.
    pub fn local_addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.plain.iter().map(TcpListener::local_addr).collect()
    }

    /// Serves until the tasks are aborted.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn run(self, services: Services, limits: Limits) -> Result<Vec<JoinHandle<()>>, HttpError> {
        let door = Arc::new(Door { services, limits });
        let mut tasks = Vec::new();
        for socket in self.plain {
            let door = Arc::clone(&door);
            tasks.push(tokio::spawn(tcp_listener::accept(
                "HTTP",
                socket,
                limits.connections,
                move |stream, peer| serve(stream, peer, Arc::clone(&door)),
            )));
        }
        if let Some(certificate) = self.certificate {
            let acceptor = TlsAcceptor::from(certificate.server_config()?);
            for socket in self.secure {
                let (door, acceptor, certificate) =
                    (Arc::clone(&door), acceptor.clone(), Arc::clone(&certificate));
                tasks.push(tokio::spawn(tcp_listener::accept(
                    "HTTPS",
                    socket,
                    limits.connections,
                    move |stream, peer| {
                        serve_secure(
                            stream,
                            peer,
                            Arc::clone(&door),
                            acceptor.clone(),
                            Arc::clone(&certificate),
                        )
                    },
                )));
            }
        }
        Ok(tasks)
    }
}

async fn serve_secure(
    stream: TcpStream,
    peer: SocketAddr,
    door: Arc<Door>,
    acceptor: TlsAcceptor,
    certificate: Arc<Certificate>,
) {
    // Files: not on a thread that serves others.
    if tokio::task::spawn_blocking(move || certificate.refresh()).await.is_err() {
        tracing::error!("looking for a new certificate ended in a panic");
    }
    match timeout(door.limits.arrival, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => serve(stream, peer, door).await,
        Ok(Err(cause)) => tracing::debug!(%peer, %cause, "TLS handshake failed"),
        Err(_) => tracing::debug!(%peer, "TLS handshake took too long"),
    }
}

/// A request that was answered with a change of protocol.
type Upgraded = Arc<Mutex<Option<(OnUpgrade, Subprotocol)>>>;

async fn serve<S>(stream: S, peer: SocketAddr, door: Arc<Door>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let upgraded = Upgraded::default();
    let service = service_fn(|request| handle(request, peer, &door, &upgraded));
    let stream = WriteTimeout::new(stream, door.limits.unread);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(door.limits.idle)
        .max_buf_size(HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    if let Err(cause) = connection.await {
        tracing::debug!(%peer, %cause, "HTTP connection ended");
    }
    let taken = upgraded.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some((upgrade, protocol)) = taken {
        match upgrade.await {
            Ok(stream) => {
                let stream = TokioIo::new(stream);
                websocket::serve(stream, peer, protocol, &door.services, door.limits.message).await;
            }
            Err(cause) => tracing::debug!(%peer, %cause, "WebSocket connection not established"),
        }
    }
}

/// Why a connection is closed without an answer.
#[derive(Debug, thiserror::Error)]
enum Dropped {
    #[error("POST without content type or content length")]
    NoType,
    #[error("body did not arrive")]
    NoBody,
}

async fn handle(
    mut request: Request<Incoming>,
    peer: SocketAddr,
    door: &Door,
    upgraded: &Upgraded,
) -> Result<Answer, Dropped> {
    if let Some((answer, protocol)) = websocket::accept(&request) {
        let upgrade = hyper::upgrade::on(&mut request);
        *upgraded.lock().unwrap_or_else(PoisonError::into_inner) = Some((upgrade, protocol));
        return Ok(answer);
    }
    let route = route(request.method(), request.uri().path(), request.headers());
    tracing::debug!(%peer, method = %request.method(), path = request.uri().path(), "HTTP request");
    Ok(match route {
        Route::Ping => answer::ok(ContentType::Text, "pong\n"),
        Route::Metrics => ask(door, |console| console.metrics()).await,
        Route::Command(line) => ask(door, move |console| console.cli(&line)).await,
        Route::Preflight => answer::empty(),
        Route::JanusInfo(path) => answer::ok(ContentType::Json, door.services.janus.get(&path)),
        Route::NotFound => answer::not_found(),
        Route::Drop => return Err(Dropped::NoType),
        Route::Post(post) => {
            if announced_length(request.headers()).is_none_or(|length| length > door.limits.message) {
                return Ok(answer::too_large());
            }
            match body(request.into_body(), &door.limits).await? {
                Some(body) => self::post(post, body, peer, door).await,
                None => answer::too_large(),
            }
        }
    })
}

fn announced_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// `None` if it is too long.
async fn body(body: Incoming, limits: &Limits) -> Result<Option<Bytes>, Dropped> {
    match timeout(limits.arrival, Limited::new(body, limits.message).collect()).await {
        Ok(Ok(collected)) => Ok(Some(collected.to_bytes())),
        Ok(Err(cause)) if cause.is::<LengthLimitError>() => Ok(None),
        Ok(Err(_)) | Err(_) => Err(Dropped::NoBody),
    }
}

async fn post(post: Post, body: Bytes, peer: SocketAddr, door: &Door) -> Answer {
    let responder = &door.services.responder;
    match post {
        Post::Ng => ng_answer(responder.respond(&body, peer), ContentType::Ng).await,
        Post::NgPlain(content_type) => ng_answer(responder.respond_plain(&body, peer), content_type).await,
        Post::Cli => {
            let line = String::from_utf8_lossy(&body).trim_end_matches(['\r', '\n']).to_owned();
            ask(door, move |console| console.cli(&line)).await
        }
        Post::Janus { session, handle } => {
            let janus = Arc::clone(&door.services.janus);
            let path = janus::Path { session, handle };
            match tokio::task::spawn_blocking(move || janus.post(path, &body)).await {
                Ok(reply) => answer::ok(ContentType::Json, reply),
                Err(_) => answer::no_reply(),
            }
        }
    }
}

async fn ng_answer(answer: control::Answer, content_type: ContentType) -> Answer {
    match answer.wait().await {
        Some(reply) => answer::ok(content_type, Bytes::from_owner(reply)),
        None => answer::no_reply(),
    }
}

/// The console may take a while: not on a thread that serves others.
async fn ask(door: &Door, question: impl FnOnce(&dyn Console) -> String + Send + 'static) -> Answer {
    let Some(console) = door.services.console.clone() else { return answer::not_found() };
    match tokio::task::spawn_blocking(move || question(&*console)).await {
        Ok(text) => answer::ok(ContentType::Text, text),
        Err(_) => answer::no_reply(),
    }
}
