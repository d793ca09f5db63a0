//! A client of other instances' ng ports: a datagram, sent again until there is an answer.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::call::{AwayRequest, Engine};
use crate::config::NgClientConfig;
use crate::proto::bencode;
use crate::proto::value::{Dict, Value};

/// Longest reply.
const DATAGRAM: usize = 65_536;

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    #[error("no answer")]
    NoAnswer,
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the answer cannot be read")]
    Malformed,
    #[error("refused: {0}")]
    Refused(String),
}

/// Carries out the requests of calls until nobody makes any.
pub async fn run(engine: Arc<Engine>, mut requests: mpsc::Receiver<AwayRequest>, patience: NgClientConfig) {
    while let Some(request) = requests.recv().await {
        tokio::spawn(carry_out(engine.clone(), request, patience));
    }
}

async fn carry_out(engine: Arc<Engine>, request: AwayRequest, patience: NgClientConfig) {
    let (remote, delete) = match request {
        AwayRequest::Delete { remote, delete } => (remote, delete),
        AwayRequest::Transform { call, number, remote, transform, delete } => {
            let reply = exchange(remote, &transform, patience).await;
            let there = reply.and_then(|reply| first_media(&reply).ok_or(ClientError::Malformed));
            let wanted = match &there {
                Ok(there) => engine.transformed(call, number, Ok(*there)),
                Err(error) => engine.transformed(call, number, Err(&error.to_string())),
            };
            if wanted {
                return;
            }
            (remote, delete)
        }
    };
    if let Err(error) = exchange(remote, &delete, patience).await {
        tracing::debug!(%remote, %error, "delete at another instance");
    }
}

/// One request; its reply unless that says `error`.
///
/// # Errors
/// All attempts were in vain, or the other side refuses.
pub async fn exchange(
    remote: SocketAddr,
    request: &Dict,
    patience: NgClientConfig,
) -> Result<Dict, ClientError> {
    let any = match remote.ip() {
        IpAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        IpAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = UdpSocket::bind(any).await?;
    // Others cannot answer in its place.
    socket.connect(remote).await?;
    let cookie = format!("{:016x} ", rand::random::<u64>()).into_bytes();
    let mut message = cookie.clone();
    bencode::encode_dict(request, &mut message);
    let mut buffer = vec![0; DATAGRAM];
    let mut failed = ClientError::NoAnswer;
    for _ in 0..=patience.retries {
        let deadline = Instant::now() + patience.timeout;
        // A port that is closed may be open again in a moment.
        if let Err(error) = socket.send(&message).await {
            failed = error.into();
        }
        loop {
            match timeout_at(deadline, socket.recv(&mut buffer)).await {
                Ok(Ok(length)) => {
                    if let Some(reply) =
                        buffer.get(..length).and_then(|octets| octets.strip_prefix(&cookie[..]))
                    {
                        return accepted(bencode::decode(reply).map_err(|_| ClientError::Malformed)?);
                    }
                }
                Ok(Err(error)) => {
                    failed = error.into();
                    tokio::time::sleep_until(deadline).await;
                    break;
                }
                Err(_) => break,
            }
        }
    }
    Err(failed)
}

fn accepted(reply: Dict) -> Result<Dict, ClientError> {
    let text = |key: &str| reply.get(key).and_then(Value::as_bytes).map(String::from_utf8_lossy);
    if text("result").is_some_and(|result| result == "ok") {
        return Ok(reply);
    }
    let reason = text("error-reason").or_else(|| text("result")).unwrap_or_default();
    Err(ClientError::Refused(reason.into_owned()))
}

/// Where the first media of a reply to `transform` is to be sent.
fn first_media(reply: &Dict) -> Option<SocketAddr> {
    let Value::List(media) = reply.get("media")? else { return None };
    let Value::Dict(first) = media.first()? else { return None };
    let address = std::str::from_utf8(first.get("address")?.as_bytes()?).ok()?.parse().ok()?;
    let port = u16::try_from(first.get("port")?.as_int()?).ok().filter(|port| *port != 0)?;
    Some(SocketAddr::new(address, port))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const PATIENCE: NgClientConfig = NgClientConfig { timeout: Duration::from_millis(50), retries: 100 };

    fn request() -> Dict {
        let mut request = Dict::new();
        request.push("command", "transform");
        request
    }

    /// Another instance that hears the `nth` datagram first, and answers with this text.
    async fn instance(nth: usize, answer: &'static str) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("bound");
        let address = socket.local_addr().expect("address");
        tokio::spawn(async move {
            let mut buffer = [0; 1000];
            let mut cookies = Vec::new();
            for _ in 0..nth {
                let (length, from) = socket.recv_from(&mut buffer).await.expect("received");
                let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                let (cookie, body) = text.split_once(' ').expect("a cookie");
                assert_eq!((cookie.len(), body), (16, "d7:command9:transforme"));
                cookies.push(cookie.to_owned());
                if cookies.len() == nth {
                    assert!(cookies.iter().all(|other| other == cookie), "the same request");
                    let other = format!("0123456789abcdef {answer}");
                    socket.send_to(other.as_bytes(), from).await.expect("sent");
                    socket.send_to(format!("{cookie} {answer}").as_bytes(), from).await.expect("sent");
                }
            }
        });
        address
    }

    #[tokio::test]
    async fn a_request_is_sent_until_it_is_answered() {
        let answer = "d6:result2:ok5:mediald7:address9:127.0.0.14:porti5000eeee";
        let remote = instance(3, answer).await;
        let reply = exchange(remote, &request(), PATIENCE).await.expect("answered");
        assert_eq!(first_media(&reply), "127.0.0.1:5000".parse().ok());
    }

    #[tokio::test]
    async fn refusals_nonsense_and_silence_are_errors() {
        let refusal = "d6:result5:error12:error-reason23:Transform loop detectede";
        let refused = exchange(instance(1, refusal).await, &request(), PATIENCE).await;
        assert!(matches!(refused, Err(ClientError::Refused(why)) if why == "Transform loop detected"));
        let nonsense = exchange(instance(1, "d6:result").await, &request(), PATIENCE).await;
        assert!(matches!(nonsense, Err(ClientError::Malformed)));
        let few = NgClientConfig { timeout: Duration::from_millis(5), retries: 2 };
        let silent = UdpSocket::bind("127.0.0.1:0").await.expect("bound");
        let remote = silent.local_addr().expect("address");
        assert!(matches!(exchange(remote, &request(), few).await, Err(ClientError::NoAnswer)));
        drop(silent);
        assert!(matches!(exchange(remote, &request(), few).await, Err(ClientError::Io(_))));
    }

    #[test]
    fn a_reply_without_a_place_is_none() {
        for text in [
            "de",
            "d5:medialee",
            "d5:mediale4:porti1ee",
            "d5:mediald4:porti5000eeee",
            "d5:mediald7:address9:127.0.0.14:porti0eeee",
            "d5:mediald7:address4:host4:porti5000eeee",
        ] {
            let reply = bencode::decode(text.as_bytes());
            assert!(reply.is_err() || first_media(&reply.unwrap_or_default()).is_none(), "{text}");
        }
    }
}
