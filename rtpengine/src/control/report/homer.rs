//! Homer: RTCP and ng as HEP version 3 packets over UDP or TCP.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use crate::call::StreamWhereabouts;
use crate::config::HomerConfig;

/// Packets that wait while the collector is away.
const QUEUE: usize = 200;
/// Between attempts to reach the collector.
const RETRY: Duration = Duration::from_secs(30);
/// How long a connection may take, and how long the collector may leave a packet unread.
const PATIENCE: Duration = Duration::from_secs(10);
/// Protocol type of RTCP as JSON.
const RTCP_JSON: u8 = 5;

/// The way to the collector. Never waits.
#[derive(Debug)]
pub struct Homer {
    queue: mpsc::Sender<Vec<u8>>,
    config: HomerConfig,
}

/// Who speaks in an ng message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NgSide {
    Client,
    Daemon,
}

impl Homer {
    /// Starts the sending task; must be called within a runtime.
    pub fn start(config: HomerConfig) -> Self {
        let (queue, packets) = mpsc::channel(QUEUE);
        tokio::spawn(send_all(config, packets));
        Self { queue, config }
    }

    /// ng messages are wanted.
    pub fn wants_ng(&self) -> bool {
        self.config.ng.is_some()
    }

    /// Sends what was in an RTCP packet that arrived.
    pub(super) fn rtcp(&self, at: &StreamWhereabouts, json: String) {
        self.put(RTCP_JSON, at.remote, at.local, &at.call_id, json.as_bytes());
    }

    /// Sends an ng message.
    pub fn ng(&self, side: NgSide, client: SocketAddr, daemon: SocketAddr, call_id: &str, message: &[u8]) {
        let Some(protocol) = self.config.ng else { return };
        let (from, to) = match side {
            NgSide::Client => (client, daemon),
            NgSide::Daemon => (daemon, client),
        };
        self.put(protocol, from, to, call_id, message);
    }

    fn put(&self, protocol: u8, from: SocketAddr, to: SocketAddr, call_id: &str, payload: &[u8]) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let Some(packet) = packet(protocol, self.config.capture_id, from, to, now, call_id, payload) else {
            tracing::debug!(octets = payload.len(), "too large for Homer");
            return;
        };
        if self.queue.try_send(packet).is_err() {
            tracing::error!(limit = true, "Homer does not take packets fast enough, some are lost");
        }
    }
}

/// A HEP3 packet; `None` if it would be longer than its length can say.
fn packet(
    protocol: u8,
    capture_id: u32,
    from: SocketAddr,
    to: SocketAddr,
    at: Duration,
    correlation: &str,
    payload: &[u8],
) -> Option<Vec<u8>> {
    let mut packet = b"HEP3\0\0".to_vec();
    let mut chunk = |kind: u16, data: &[u8]| {
        let length = u16::try_from(data.len() + 6).ok()?;
        packet.extend_from_slice(&[0, 0]);
        packet.extend_from_slice(&kind.to_be_bytes());
        packet.extend_from_slice(&length.to_be_bytes());
        packet.extend_from_slice(data);
        Some(())
    };
    let is_v4 = from.is_ipv4() && to.is_ipv4();
    chunk(1, &[if is_v4 { 2 } else { 10 }])?;
    // UDP
    chunk(2, &[17])?;
    chunk(7, &from.port().to_be_bytes())?;
    chunk(8, &to.port().to_be_bytes())?;
    chunk(9, &u32::try_from(at.as_secs()).unwrap_or(u32::MAX).to_be_bytes())?;
    chunk(10, &at.subsec_micros().to_be_bytes())?;
    chunk(11, &[protocol])?;
    chunk(12, &capture_id.to_be_bytes())?;
    let v6 = |address: IpAddr| match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    };
    match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            chunk(3, &from.octets())?;
            chunk(4, &to.octets())?;
        }
        (from, to) => {
            chunk(5, &v6(from))?;
            chunk(6, &v6(to))?;
        }
    }
    chunk(17, correlation.as_bytes())?;
    chunk(15, payload)?;
    let length = u16::try_from(packet.len()).ok()?;
    packet[4..6].copy_from_slice(&length.to_be_bytes());
    Some(packet)
}

enum Connection {
    Udp(UdpSocket),
    Tcp(TcpStream),
}

async fn send_all(config: HomerConfig, mut packets: mpsc::Receiver<Vec<u8>>) {
    let mut connection = None;
    let mut retry_at = Instant::now();
    while let Some(packet) = packets.recv().await {
        loop {
            if connection.is_none() {
                tokio::time::sleep_until(retry_at).await;
                tracing::info!("Connecting to Homer at {}", config.collector);
                match timeout(PATIENCE, connect(config)).await.unwrap_or(Err(io::ErrorKind::TimedOut.into()))
                {
                    Ok(new) => {
                        tracing::info!("Connection to Homer at {} has been established", config.collector);
                        connection = Some(new);
                    }
                    Err(cause) => {
                        tracing::error!(%cause, "cannot connect to Homer at {}", config.collector);
                        retry_at = Instant::now() + RETRY;
                        continue;
                    }
                }
            }
            let Some(open) = &mut connection else { continue };
            let sent = match open {
                Connection::Udp(socket) => match socket.send(&packet).await {
                    // Nobody listens there at the moment; that is known from an earlier packet.
                    Err(cause) if cause.kind() == io::ErrorKind::ConnectionRefused => {
                        socket.send(&packet).await.map(|_| ())
                    }
                    sent => sent.map(|_| ()),
                },
                Connection::Tcp(stream) => match timeout(PATIENCE, stream.write_all(&packet)).await {
                    Ok(sent) => sent,
                    Err(_) => Err(io::ErrorKind::TimedOut.into()),
                },
            };
            match sent {
                Ok(()) => break,
                Err(cause) => {
                    tracing::error!(%cause, "lost the connection to Homer at {}", config.collector);
                    connection = None;
                    retry_at = Instant::now() + RETRY;
                }
            }
        }
    }
}

async fn connect(config: HomerConfig) -> io::Result<Connection> {
    if config.is_tcp {
        return TcpStream::connect(config.collector).await.map(Connection::Tcp);
    }
    let any: SocketAddr = match config.collector {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(config.collector).await?;
    Ok(Connection::Udp(socket))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packet_is_as_recorded() {
        let recorded: &[u8] = b"HEP3\x00\x76\x00\x00\x00\x01\x00\x07\x02\x00\x00\x00\x02\x00\x07\x11\x00\x00\x00\x07\x00\x08\xa3,\x00\x00\x00\x08\x00\x08\xa9o\x00\x00\x00\t\x00\nk\x00\xfb\x92\x00\x00\x00\n\x00\n\x00\n\xaf\xfe\x00\x00\x00\x0b\x00\x07\x05\x00\x00\x00\x0c\x00\n\x00\x00\x07\xd1\x00\x00\x00\x03\x00\n\x7f\x00\x00\x01\x00\x00\x00\x04\x00\n\x7f\x00\x00\x01\x00\x00\x00\x11\x00\x13call-1@host/x\x00\x00\x00\x0f\x00\x06";
        let made = packet(
            5,
            2001,
            ([127, 0, 0, 1], 0xa32c).into(),
            ([127, 0, 0, 1], 0xa96f).into(),
            Duration::new(0x6b00_fb92, 0x000a_affe * 1000),
            "call-1@host/x",
            b"",
        )
        .expect("short enough");
        assert_eq!(made[6..], recorded[6..]);
        assert_eq!(usize::from(u16::from_be_bytes([made[4], made[5]])), made.len());
    }

    #[test]
    fn what_is_too_long_is_not_sent() {
        let at = |port| SocketAddr::from((Ipv6Addr::LOCALHOST, port));
        let made = |octets| packet(61, 1, at(1), at(2), Duration::ZERO, "c", &vec![0; octets]);
        assert!(made(60_000).is_some_and(|packet| packet.len() > 60_000));
        assert_eq!(made(65_530), None);
        assert_eq!(made(70_000), None);
    }
}
