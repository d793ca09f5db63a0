//! Listening TCP sockets of the control doors, and the loop that accepts their connections.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Connections that the system holds until they are accepted.
const BACKLOG: i32 = 1024;
/// After this long without a sign of life the system asks whether the peer is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// Between warnings about refused connections.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// What a listening socket is set to; connections inherit it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketOptions {
    /// IPv4 TOS or IPv6 traffic class; 0 leaves the system's.
    pub tos: u8,
    /// Send buffer in octets; 0 leaves the system's.
    pub send_buffer: usize,
}

/// Binds all addresses; must be called within a runtime. An IPv6 socket takes IPv6 only.
///
/// # Errors
/// The first failure, naming the door and the address.
pub fn bind(door: &str, addresses: &[SocketAddr], options: SocketOptions) -> io::Result<Vec<TcpListener>> {
    let bind = |&address| {
        bind_one(address, options).map_err(|cause| {
            io::Error::new(cause.kind(), format!("cannot listen for {door} on TCP {address}: {cause}"))
        })
    };
    addresses.iter().map(bind).collect()
}

fn bind_one(address: SocketAddr, options: SocketOptions) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if options.send_buffer > 0 {
        socket.set_send_buffer_size(options.send_buffer)?;
    }
    if options.tos > 0 {
        set_tos(&socket, address, options.tos)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Sets TOS or traffic class, whichever the family has.
pub fn set_tos(socket: &Socket, address: SocketAddr, tos: u8) -> io::Result<()> {
    if address.is_ipv4() { socket.set_tos_v4(tos.into()) } else { socket.set_tclass_v6(tos.into()) }
}

/// Accepts until the task is aborted, with which all connections end. Of each door at most `limit` connections are open; more are closed
/// at once.
pub async fn accept<F, S>(door: &'static str, listener: TcpListener, limit: usize, serve: F)
where
    F: Fn(TcpStream, SocketAddr) -> S,
    S: Future<Output = ()> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(limit));
    let mut connections = JoinSet::new();
    let mut last_warning: Option<Instant> = None;
    loop {
        // Those that have ended are forgotten while waiting for the next one.
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(ended) = connections.join_next() => {
                if let Err(cause) = ended && cause.is_panic() {
                    tracing::error!(door, "connection ended in a panic");
                }
                continue;
            }
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(cause) => {
                // Out of descriptors, or the connection is gone already; the pause keeps a lasting error from taking a core.
                tracing::warn!(door, %cause, "accepting a connection failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            if last_warning.is_none_or(|last| last.elapsed() >= WARNING_INTERVAL) {
                last_warning = Some(Instant::now());
                tracing::warn!(door, %peer, limit, "too many connections, new ones are closed");
            }
            continue;
        };
        // A failure means that the connection is gone, which reading will find out.
        let _ = stream.set_nodelay(true);
        let _ = SockRef::from(&stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE));
        let connection = serve(stream, peer);
        connections.spawn(async move {
            connection.await;
            drop(place);
        });
    }
}
