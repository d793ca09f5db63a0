//! WebSocket connections (RFC 6455): the subprotocol says what messages mean.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use hyper::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::{Method, Request, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::Error as WebSocketError;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, Role, WebSocketConfig};

use super::Services;
use super::answer::{self, Answer};
use crate::control::Respond;
use crate::control::janus::{self, Janus};

/// What the messages of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subprotocol {
    /// Cookie and dictionary.
    Ng,
    /// Dictionary only.
    NgPlain,
    /// Command lines.
    Cli,
    /// Anything; it comes back.
    Echo,
    /// JSON, see [`janus`].
    Janus,
}

impl Subprotocol {
    const ALL: [Self; 5] = [Self::Ng, Self::NgPlain, Self::Cli, Self::Echo, Self::Janus];

    fn as_str(self) -> &'static str {
        match self {
            Subprotocol::Ng => "ng.rtpengine.com",
            Subprotocol::NgPlain => "ng-plain.rtpengine.com",
            Subprotocol::Cli => "cli.rtpengine.com",
            Subprotocol::Echo => "echo.rtpengine.com",
            Subprotocol::Janus => "janus-protocol",
        }
    }

    /// The first of the client's list that is known.
    fn choose(headers: &HeaderMap) -> Option<Self> {
        let lists = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|list| list.to_str().ok());
        lists
            .flat_map(|list| list.split(','))
            .find_map(|name| Self::ALL.into_iter().find(|known| known.as_str() == name.trim()))
    }
}

/// The answer to a request for a WebSocket with a subprotocol that the daemon speaks; any path will do. Every other request is none of
/// this module's business.
pub fn accept<B>(request: &Request<B>) -> Option<(Answer, Subprotocol)> {
    let headers = request.headers();
    let asks = request.method() == Method::GET
        && lists(headers, &CONNECTION, "upgrade")
        && lists(headers, &UPGRADE, "websocket")
        && headers.get(SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13");
    let key = headers.get(SEC_WEBSOCKET_KEY).filter(|_| asks)?;
    let protocol = Subprotocol::choose(headers)?;
    let proof = HeaderValue::try_from(derive_accept_key(key.as_bytes())).ok()?;
    let mut answer = answer::empty();
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, proof);
    headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol.as_str()));
    Some((answer, protocol))
}

/// Whether a header that is a list of words has this one.
fn lists(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|found| found.trim().eq_ignore_ascii_case(word))
}

/// Answers messages one after the other until either side ends the connection.
pub async fn serve<S>(
    stream: S,
    peer: SocketAddr,
    protocol: Subprotocol,
    services: &Services,
    max_message: usize,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    tracing::info!(%peer, protocol = protocol.as_str(), "new WebSocket connection");
    let limits =
        WebSocketConfig::default().max_message_size(Some(max_message)).max_frame_size(Some(max_message));
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(limits)).await;
    let talked = match protocol {
        Subprotocol::Janus => talk_janus(&mut socket, &services.janus).await,
        _ => talk(&mut socket, peer, protocol, services).await,
    };
    let reason = match talked {
        Ok(()) => "closed by the client".to_owned(),
        Err(cause) => {
            if let WebSocketError::Capacity(_) = cause {
                let close = CloseFrame { code: CloseCode::Size, reason: "message is too long".into() };
                // Out of courtesy; the client may be gone.
                let _ = socket.close(Some(close)).await;
            }
            cause.to_string()
        }
    };
    tracing::info!(%peer, reason, "WebSocket connection closed");
}

async fn talk<S>(
    socket: &mut WebSocketStream<S>,
    peer: SocketAddr,
    protocol: Subprotocol,
    services: &Services,
) -> Result<(), WebSocketError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(message) = socket.next().await {
        let message = match message? {
            message @ (Message::Text(_) | Message::Binary(_)) => message.into_data(),
            // Answered by the library.
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => continue,
        };
        if let Some(reply) = reply(message, peer, protocol, services).await {
            socket.send(Message::Binary(reply)).await?;
        }
    }
    Ok(())
}

/// Replies and events are text; events may come at any time.
async fn talk_janus<S>(socket: &mut WebSocketStream<S>, janus: &Arc<Janus>) -> Result<(), WebSocketError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (connection, mut events) = janus.connect();
    let result = exchange_janus(socket, janus, &connection, &mut events).await;
    janus.disconnect(&connection, Instant::now());
    let janus = Arc::clone(janus);
    tokio::spawn(async move {
        tokio::time::sleep(janus::ORPHANED).await;
        // Ends calls: not on a thread that serves others.
        let _ = tokio::task::spawn_blocking(move || janus.expire(Instant::now())).await;
    });
    result
}

async fn exchange_janus<S>(
    socket: &mut WebSocketStream<S>,
    janus: &Arc<Janus>,
    connection: &janus::Connection,
    events: &mut mpsc::Receiver<String>,
) -> Result<(), WebSocketError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        tokio::select! {
            Some(event) = events.recv() => socket.send(Message::text(event)).await?,
            message = socket.next() => {
                let request = match message.transpose()? {
                    None => return Ok(()),
                    Some(message @ (Message::Text(_) | Message::Binary(_))) => message.into_data(),
                    Some(_) => continue,
                };
                let (janus, connection) = (Arc::clone(janus), connection.clone());
                let carried_out =
                    tokio::task::spawn_blocking(move || janus.receive(&connection, &request)).await;
                if let Ok(reply) = carried_out {
                    socket.send(Message::text(reply)).await?;
                }
            }
        }
    }
}

async fn reply(
    message: Bytes,
    peer: SocketAddr,
    protocol: Subprotocol,
    services: &Services,
) -> Option<Bytes> {
    let answer = match protocol {
        Subprotocol::Ng => services.responder.respond(&message, peer),
        Subprotocol::NgPlain => services.responder.respond_plain(&message, peer),
        Subprotocol::Cli => {
            let console = Arc::clone(services.console.as_ref()?);
            let line = String::from_utf8_lossy(&message).trim_end_matches(['\r', '\n']).to_owned();
            return tokio::task::spawn_blocking(move || console.cli(&line)).await.ok().map(Bytes::from);
        }
        Subprotocol::Echo | Subprotocol::Janus => return Some(message),
    };
    answer.wait().await.map(Bytes::from_owner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(changes: &[(&str, &str)]) -> Request<()> {
        let usual = [
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-protocol", "chat, ng-plain.rtpengine.com,ng.rtpengine.com"),
        ];
        let mut request = Request::new(());
        for (name, value) in usual.iter().chain(changes) {
            let name: HeaderName = name.parse().expect("a name");
            request.headers_mut().insert(name, value.parse().expect("a value"));
        }
        request
    }

    #[test]
    fn the_first_known_subprotocol_is_accepted() {
        let (answer, protocol) = accept(&request(&[])).expect("accepted");
        assert_eq!(protocol, Subprotocol::NgPlain);
        assert_eq!(answer.status(), 101);
        assert_eq!(answer.headers()["sec-websocket-protocol"], "ng-plain.rtpengine.com");
        // The example of RFC 6455 §1.3.
        assert_eq!(answer.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn what_is_no_websocket_request_is_left_alone() {
        let cases = [
            ("connection", "close"),
            ("upgrade", "h2c"),
            ("sec-websocket-version", "8"),
            ("sec-websocket-protocol", "chat"),
        ];
        for (name, value) in cases {
            assert!(accept(&request(&[(name, value)])).is_none(), "{name}: {value}");
        }
        let mut post = request(&[]);
        *post.method_mut() = Method::POST;
        assert!(accept(&post).is_none());
    }
}
