//! WebSocket connections (RFC 6455), without extensions.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Opcode of a message's further frames.
pub const CONTINUATION: u8 = 0;
/// Opcode of text.
pub const TEXT: u8 = 1;
/// Opcode of octets.
pub const BINARY: u8 = 2;
/// Opcode of the end.
pub const CLOSE: u8 = 8;
/// Opcode of a question for a sign of life.
pub const PING: u8 = 9;
/// Opcode of its answer.
pub const PONG: u8 = 10;

/// An open connection, over TCP or TLS.
#[derive(Debug)]
pub struct WebSocket<S> {
    stream: S,
}

impl<S: Read + Write> WebSocket<S> {
    /// Asks for a subprotocol, if one is given.
    ///
    /// # Errors
    /// With the answer when the server does not agree.
    pub fn open<'p>(mut stream: S, path: &str, protocol: impl Into<Option<&'p str>>) -> Result<Self, String> {
        let mut handshake = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        );
        if let Some(protocol) = protocol.into() {
            handshake += &format!("Sec-WebSocket-Protocol: {protocol}\r\n");
        }
        handshake += "\r\n";
        stream.write_all(handshake.as_bytes()).map_err(|e| e.to_string())?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut octet = [0];
            stream.read_exact(&mut octet).map_err(|e| format!("websocket handshake: {e}"))?;
            head.push(octet[0]);
        }
        if !head.starts_with(b"HTTP/1.1 101") {
            return Err(format!("websocket refused: {}", String::from_utf8_lossy(&head)));
        }
        Ok(Self { stream })
    }

    /// Sends a message in one frame.
    pub fn send(&mut self, opcode: u8, message: &[u8]) -> io::Result<()> {
        self.send_frame(true, opcode, message)
    }

    /// Sends a frame, the last of its message or not.
    pub fn send_frame(&mut self, last: bool, opcode: u8, payload: &[u8]) -> io::Result<()> {
        self.stream.write_all(&frame(last, opcode, payload))
    }

    /// The next message or control frame: opcode and payload.
    pub fn receive(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let mut kind = CONTINUATION;
        let mut whole = Vec::new();
        loop {
            let (last, opcode, payload) = read_frame(&mut self.stream)?;
            if opcode >= CLOSE {
                return Ok((opcode, payload));
            }
            if opcode != CONTINUATION {
                kind = opcode;
            }
            whole.extend_from_slice(&payload);
            if last {
                return Ok((kind, whole));
            }
        }
    }

    /// Sends text and receives the next message, as text.
    pub fn ask(&mut self, text: &str) -> io::Result<String> {
        self.send(TEXT, text.as_bytes())?;
        self.receive().map(|(_, reply)| String::from_utf8_lossy(&reply).into_owned())
    }
}

/// Opens a connection with a subprotocol, sends one message and returns the next one, `None` when none comes.
/// Without an opcode the message goes as text.
pub fn exchange(
    to: SocketAddr,
    protocol: &str,
    opcode: Option<u8>,
    message: &[u8],
    wait: Duration,
) -> Result<Option<Vec<u8>>, String> {
    let stream = TcpStream::connect_timeout(&to, wait).map_err(|e| format!("websocket {to}: {e}"))?;
    stream.set_read_timeout(Some(wait)).map_err(|e| e.to_string())?;
    let mut socket = WebSocket::open(stream, "/", protocol)?;
    socket.send(opcode.unwrap_or(TEXT), message).map_err(|e| e.to_string())?;
    loop {
        match socket.receive() {
            Ok((TEXT | BINARY, message)) => return Ok(Some(message)),
            Ok((CLOSE, _)) | Err(_) => return Ok(None),
            Ok(_) => {}
        }
    }
}

/// Clients mask; a mask of zeros is a mask.
fn frame(last: bool, opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![if last { 0x80 } else { 0 } | opcode];
    match u16::try_from(payload.len()) {
        Ok(length) if length < 126 => out.push(0x80 | length as u8),
        Ok(length) => {
            out.push(0x80 | 126);
            out.extend_from_slice(&length.to_be_bytes());
        }
        Err(_) => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
    out
}

fn read_frame(stream: &mut impl Read) -> io::Result<(bool, u8, Vec<u8>)> {
    let mut head = [0; 2];
    stream.read_exact(&mut head)?;
    let length = match head[1] & 0x7f {
        126 => {
            let mut octets = [0; 2];
            stream.read_exact(&mut octets)?;
            u64::from(u16::from_be_bytes(octets))
        }
        127 => {
            let mut octets = [0; 8];
            stream.read_exact(&mut octets)?;
            u64::from_be_bytes(octets)
        }
        short => u64::from(short),
    };
    let mut payload = vec![0; usize::try_from(length.min(1 << 20)).unwrap_or(0)];
    stream.read_exact(&mut payload)?;
    Ok((head[0] & 0x80 != 0, head[0] & 0x0f, payload))
}
