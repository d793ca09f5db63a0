//! Clients of the ng protocol: over UDP, and one over TCP that is told of events.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::bencode;

/// How the dictionary of a message is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `d…e`
    Bencode,
    /// `{…}`
    Json,
}

/// One client socket. Cookies are unique for the socket and the process.
#[derive(Debug)]
pub struct NgClient {
    socket: UdpSocket,
    sent: AtomicU64,
}

impl NgClient {
    /// A socket that talks to the daemon at `to`.
    pub fn connect(to: SocketAddr) -> Self {
        let any: SocketAddr = if to.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" }.parse().expect("literal");
        let socket = UdpSocket::bind(any).expect("a client socket");
        socket.connect(to).expect("connecting UDP sends nothing");
        Self { socket, sent: AtomicU64::new(0) }
    }

    /// Sends a bencode request and waits for its reply.
    ///
    /// # Panics
    /// Without a reply within five seconds, and on a reply that is not one.
    pub fn request(&self, request: &Value) -> Value {
        self.request_as(request, Format::Bencode, Duration::from_secs(5))
            .unwrap_or_else(|| panic!("no reply within 5 s to {request}"))
    }

    /// Like `request`, and the result must be `ok`.
    pub fn ok(&self, request: Value) -> Value {
        let reply = self.request(&request);
        assert_eq!(reply["result"], "ok", "{request}\nwas answered with {reply}");
        reply
    }

    /// Sends a request in the given format; `None` when nothing comes back in time.
    pub fn request_as(&self, request: &Value, format: Format, wait: Duration) -> Option<Value> {
        let cookie = self.cookie();
        let body = match format {
            Format::Bencode => bencode::encode(request),
            Format::Json => request.to_string().into_bytes(),
        };
        self.exchange(&cookie, &body, wait).map(|reply| {
            parse_body(&reply)
                .unwrap_or_else(|e| panic!("{e} in the reply {:?}", String::from_utf8_lossy(&reply)))
        })
    }

    /// Sends `cookie body` and returns the body of the reply with that cookie.
    pub fn exchange(&self, cookie: &str, body: &[u8], wait: Duration) -> Option<Vec<u8>> {
        self.send(&[cookie.as_bytes(), b" ", body].concat());
        let prefix = format!("{cookie} ");
        let deadline = Instant::now() + wait;
        loop {
            let reply = self.receive(deadline)?;
            if let Some(body) = reply.strip_prefix(prefix.as_bytes()) {
                return Some(body.to_vec());
            }
        }
    }

    /// Sends a datagram as it is.
    pub fn send(&self, datagram: &[u8]) {
        // A refused connection (daemon not there yet) shows up here or on receiving; waiting decides.
        let _ = self.socket.send(datagram);
    }

    /// The next datagram, or `None` at the deadline.
    pub fn receive(&self, deadline: Instant) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 65_536];
        loop {
            let left = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
            self.socket.set_read_timeout(Some(left)).expect("a timeout above zero");
            if let Ok(length) = self.socket.recv(&mut buffer) {
                buffer.truncate(length);
                return Some(buffer);
            }
        }
    }

    /// A cookie that was not used before.
    pub fn cookie(&self) -> String {
        let number = self.sent.fetch_add(1, Ordering::Relaxed);
        let port = self.socket.local_addr().map_or(0, |address| address.port());
        format!("{}_{port}_{number}", std::process::id())
    }
}

/// Reads the dictionary of a message, in either format.
pub fn parse_body(body: &[u8]) -> Result<Value, String> {
    match body.first() {
        Some(b'{') => serde_json::from_slice(body).map_err(|e| e.to_string()),
        _ => match bencode::decode(body)? {
            (value, []) => Ok(value),
            (_, rest) => Err(format!("{} octets behind the dictionary", rest.len())),
        },
    }
}

/// A client over TCP to which the daemon writes notifications.
#[derive(Debug)]
pub struct TcpEvents {
    stream: TcpStream,
    read: Vec<u8>,
}

impl TcpEvents {
    /// Connects, and has an answer, which shows that the connection is served. `patience` is for each notification.
    pub fn connect(to: SocketAddr, patience: Duration) -> Self {
        let mut stream = TcpStream::connect(to).expect("the door is open");
        stream.set_read_timeout(Some(patience)).expect("not zero");
        stream.write_all(b"1 d7:command4:pinge").expect("sent");
        let mut events = Self { stream, read: Vec::new() };
        events.await_text("4:ponge");
        events
    }

    /// Waits until these octets are among all that has come.
    pub fn await_text(&mut self, text: &str) {
        while !self.read.windows(text.len()).any(|part| part == text.as_bytes()) {
            let mut buffer = [0; 1000];
            let length = self.stream.read(&mut buffer).unwrap_or_else(|error| {
                panic!("{text} does not come ({error}): {}", String::from_utf8_lossy(&self.read))
            });
            assert!(length > 0, "closed before {text}");
            self.read.extend_from_slice(&buffer[..length]);
        }
    }
}
