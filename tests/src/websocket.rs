//! One exchange over a WebSocket connection (RFC 6455), without extensions.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Opens a connection with a subprotocol, sends one message and returns the next one, `None` when none comes.
/// Without an opcode the message goes as text.
pub fn exchange(
    to: SocketAddr,
    protocol: &str,
    opcode: Option<u8>,
    message: &[u8],
    wait: Duration,
) -> Result<Option<Vec<u8>>, String> {
    let mut stream = TcpStream::connect_timeout(&to, wait).map_err(|e| format!("websocket {to}: {e}"))?;
    stream.set_read_timeout(Some(wait)).map_err(|e| e.to_string())?;
    let handshake = format!(
        "GET / HTTP/1.1\r\nHost: {to}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Protocol: {protocol}\r\n\r\n"
    );
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
    stream.write_all(&frame(opcode.unwrap_or(TEXT), message)).map_err(|e| e.to_string())?;
    let mut whole = Vec::new();
    loop {
        let Ok((last, opcode, payload)) = read_frame(&mut stream) else { return Ok(None) };
        if opcode < CLOSE {
            whole.extend_from_slice(&payload);
            if last {
                return Ok(Some(whole));
            }
        } else if opcode == CLOSE {
            return Ok(None);
        }
    }
}

/// Clients mask; a mask of zeros is a mask.
fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0x80 | opcode];
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

fn read_frame(stream: &mut TcpStream) -> std::io::Result<(bool, u8, Vec<u8>)> {
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

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
