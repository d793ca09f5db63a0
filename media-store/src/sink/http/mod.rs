//! Sends octets over HTTP: requests with bodies of any length out of memory and files, within bounds of time.
//!
//! One connection a request: uploads are long and rare.

mod body;
pub mod tls;

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::header::{CONTENT_LENGTH, HOST, LOCATION};
use hyper::{HeaderMap, Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

pub use body::{Body, Piece};
pub use hyper::Method as HttpMethod;
pub use tls::Verification;

/// To connect, to shake hands, and to get the answer after everything was sent.
const PATIENCE: Duration = Duration::from_secs(20);
/// The slowest server that is waited for, in octets per second.
const SLOWEST: u64 = 32 * 1024;
/// Redirects followed.
const MAX_REDIRECTS: usize = 5;
/// Octets of an answer that are read.
const MAX_ANSWER: usize = 1 << 20;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// The address is not one.
    #[error("'{0}' is not an HTTP address")]
    Address(String),
    /// A header is not valid.
    #[error("a header is not valid: {0}")]
    Header(String),
    /// Reading the body, connecting, TLS.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The connection broke, or the answer is not HTTP.
    #[error("{0}")]
    Protocol(#[from] hyper::Error),
    /// The server took too long.
    #[error("no answer in time")]
    Timeout,
    /// The answer is longer than it may be.
    #[error("the answer cannot be read: {0}")]
    Answer(String),
    /// To where it may not lead.
    #[error("redirected to an address that is not allowed")]
    Redirect,
    /// The server said no.
    #[error("status {0}")]
    Status(StatusCode),
}

/// Bounds of an answer.
#[derive(Clone, Copy)]
pub struct Reception<'a> {
    /// Octets that are read.
    pub largest: usize,
    /// Redirects followed.
    pub redirects: usize,
    /// Where they may lead to.
    pub may_lead_to: &'a (dyn Fn(&Uri) -> bool + Sync),
}

impl Default for Reception<'_> {
    fn default() -> Self {
        Self { largest: MAX_ANSWER, redirects: MAX_REDIRECTS, may_lead_to: &|_| true }
    }
}

/// What is sent. Redirects send it again.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// GET, PUT, POST.
    pub method: Method,
    /// Where to.
    pub uri: String,
    /// Beside `Host` and `Content-Length`.
    pub headers: Vec<(String, String)>,
    /// What is sent.
    pub body: Body,
    /// Whether certificates are checked.
    pub verification: Verification,
}

/// Sends a request; gives the body of a successful (2xx) answer.
///
/// # Errors
/// With anything else.
pub async fn send(request: Outgoing) -> Result<Bytes, HttpError> {
    send_within(request, Reception::default()).await
}

/// A successful answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Header fields.
    pub headers: HeaderMap,
    /// Content.
    pub body: Bytes,
}

/// Sends a request; gives the whole of a successful (2xx) answer.
///
/// # Errors
/// With anything else.
pub async fn exchange(request: Outgoing) -> Result<Reply, HttpError> {
    exchange_within(request, Reception::default()).await
}

/// The same with bounds of its own for the answer.
///
/// # Errors
/// With anything but a successful answer within them.
pub async fn send_within(request: Outgoing, reception: Reception<'_>) -> Result<Bytes, HttpError> {
    Ok(exchange_within(request, reception).await?.body)
}

async fn exchange_within(request: Outgoing, reception: Reception<'_>) -> Result<Reply, HttpError> {
    let mut uri: Uri = request.uri.parse().map_err(|_| HttpError::Address(request.uri.clone()))?;
    for _ in 0..=reception.redirects {
        let slow = Duration::from_secs(request.body.octets() / SLOWEST);
        let answered = timeout(PATIENCE * 2 + slow, send_once(&request, &uri, reception.largest)).await;
        let (status, reply) = answered.map_err(|_| HttpError::Timeout)??;
        if status.is_success() {
            return Ok(reply);
        }
        let location = reply.headers.get(LOCATION).and_then(|location| location.to_str().ok());
        match location.filter(|_| status.is_redirection()) {
            Some(location) => {
                uri = redirected(&uri, location)?;
                if !(reception.may_lead_to)(&uri) {
                    return Err(HttpError::Redirect);
                }
            }
            None => return Err(HttpError::Status(status)),
        }
    }
    Err(HttpError::Status(StatusCode::LOOP_DETECTED))
}

async fn send_once(request: &Outgoing, uri: &Uri, largest: usize) -> Result<(StatusCode, Reply), HttpError> {
    let address = || HttpError::Address(uri.to_string());
    let host = uri.host().ok_or_else(address)?;
    let is_tls = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        _ => return Err(address()),
    };
    let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let bare_host = host.trim_start_matches('[').trim_end_matches(']');
    let tcp =
        timeout(PATIENCE, TcpStream::connect((bare_host, port))).await.map_err(|_| HttpError::Timeout)??;
    let target = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut head = Request::builder().method(request.method.clone()).uri(target);
    if !request.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        let host = uri.authority().map_or(host, |authority| authority.as_str());
        head = head.header(HOST, host.rsplit_once('@').map_or(host, |(_, host)| host));
    }
    for (name, value) in &request.headers {
        head = head.header(name, value);
    }
    if request.body.octets() > 0 || request.method != Method::GET {
        head = head.header(CONTENT_LENGTH, request.body.octets());
    }
    let message =
        head.body(request.body.clone().stream()).map_err(|error| HttpError::Header(error.to_string()))?;
    if is_tls {
        let tls = tls::connect(bare_host, tcp, request.verification);
        let stream = timeout(PATIENCE, tls).await.map_err(|_| HttpError::Timeout)??;
        talk(TokioIo::new(stream), message, largest).await
    } else {
        talk(TokioIo::new(tcp), message, largest).await
    }
}

async fn talk<S>(
    stream: S,
    message: Request<body::Stream>,
    largest: usize,
) -> Result<(StatusCode, Reply), HttpError>
where
    S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
    let talk = async {
        let answer = sender.send_request(message).await?;
        let status = answer.status();
        let headers = answer.headers().clone();
        let body = Limited::new(answer.into_body(), largest).collect().await;
        let body = body.map_err(|error| HttpError::Answer(error.to_string()))?.to_bytes();
        Ok((status, Reply { headers, body }))
    };
    let mut connection = Box::pin(connection);
    tokio::pin!(talk);
    // The connection has to be driven until the answer is complete.
    let ended = tokio::select! {
        answer = &mut talk => return answer,
        ended = &mut connection => ended,
    };
    drop(connection);
    // A server that hangs up rudely may have answered all the same.
    match (talk.await, ended) {
        (Err(_), Err(error)) => Err(error.into()),
        (answer, _) => answer,
    }
}

/// RFC 9110 §10.2.2: relative to the request.
fn redirected(from: &Uri, location: &str) -> Result<Uri, HttpError> {
    let address = || HttpError::Address(location.to_owned());
    let to: Uri = location.parse().map_err(|_| address())?;
    if to.scheme().is_some() {
        return Ok(to);
    }
    let mut parts = from.clone().into_parts();
    parts.path_and_query = to.into_parts().path_and_query;
    Uri::from_parts(parts).map_err(|_| address())
}

#[cfg(test)]
mod tests;
