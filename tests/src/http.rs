//! As much of an HTTP client as the control interface needs, and a bare TCP exchange.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Content type without parameters, if there is one.
    pub content_type: Option<String>,
    /// Body.
    pub body: String,
}

/// One request on a connection of its own.
pub fn request(
    to: SocketAddr,
    method: &str,
    path: &str,
    content_type: Option<&str>,
    body: Option<&str>,
) -> Result<Answer, String> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n");
    if let Some(content_type) = content_type {
        head.push_str(&format!("Content-Type: {content_type}\r\n"));
    }
    if let Some(body) = body {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    let message = format!("{head}\r\n{}", body.unwrap_or_default());
    let complete = |received: &[u8]| parse(received).is_some_and(|(_, complete)| complete);
    let received = tcp_exchange(to, message.as_bytes(), Duration::from_secs(5), complete)?;
    let received = received.ok_or("connection closed without an answer")?;
    parse(&received).map(|(answer, _)| answer).ok_or_else(|| String::from_utf8_lossy(&received).into_owned())
}

/// Sends a message and reads until `complete` says so, the peer closes, or time is up; `None` when nothing came.
pub fn tcp_exchange(
    to: SocketAddr,
    message: &[u8],
    wait: Duration,
    complete: impl Fn(&[u8]) -> bool,
) -> Result<Option<Vec<u8>>, String> {
    let mut stream = TcpStream::connect_timeout(&to, wait).map_err(|e| format!("tcp {to}: {e}"))?;
    stream.write_all(message).map_err(|e| e.to_string())?;
    let deadline = Instant::now() + wait;
    let (mut received, mut buffer) = (Vec::new(), [0; 16_384]);
    while !complete(&received) {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || stream.set_read_timeout(Some(left)).is_err() {
            break;
        }
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(length) => received.extend_from_slice(&buffer[..length]),
        }
    }
    Ok((!received.is_empty()).then_some(received))
}

fn parse(received: &[u8]) -> Option<(Answer, bool)> {
    let text = String::from_utf8_lossy(received);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split_whitespace().nth(1)?.parse().ok()?;
    let header = |name: &str| {
        head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    };
    let length = header("content-length").and_then(|value| value.parse::<usize>().ok());
    let content_type =
        header("content-type").map(|value| value.split(';').next().unwrap_or_default().to_owned());
    let complete = length.is_some_and(|length| body.len() >= length);
    Some((Answer { status, content_type, body: body.to_owned() }, complete))
}
