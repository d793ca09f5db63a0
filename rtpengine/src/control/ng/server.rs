//! ng over UDP: one task per listener.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::responder::{Answer, Responder};
use super::udp_socket::PacketInfoSocket;
use crate::config::PathMtu;

/// A UDP payload is never longer.
const MAX_DATAGRAM: usize = 65_536;

/// Bound sockets that nobody reads yet.
#[derive(Debug)]
pub struct UdpListeners {
    sockets: Vec<Arc<PacketInfoSocket>>,
}

impl UdpListeners {
    /// Binds all addresses; must be called within a runtime.
    ///
    /// # Errors
    /// The first failure, naming the address.
    pub fn bind(addresses: &[SocketAddr], tos: u8, path_mtu: PathMtu) -> io::Result<Self> {
        let sockets = addresses.iter().map(|&address| {
            PacketInfoSocket::bind(address, tos, path_mtu).map(Arc::new).map_err(|cause| {
                io::Error::new(cause.kind(), format!("cannot listen for ng on UDP {address}: {cause}"))
            })
        });
        Ok(UdpListeners { sockets: sockets.collect::<io::Result<_>>()? })
    }

    /// The addresses bound to, in the order given; ports that were 0 are known now.
    pub fn local_addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.sockets.iter().map(|socket| socket.local_addr()).collect()
    }

    /// Serves until the tasks are aborted.
    pub fn run(self, responder: Arc<Responder>) -> Vec<JoinHandle<()>> {
        self.sockets.into_iter().map(|socket| tokio::spawn(serve(socket, Arc::clone(&responder)))).collect()
    }
}

/// Replies that are ready are sent from here; only those that must wait get a task of their own.
async fn serve(socket: Arc<PacketInfoSocket>, responder: Arc<Responder>) {
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        let received = match socket.receive(&mut buffer).await {
            Ok(received) => received,
            Err(cause) => {
                // Mostly ICMP errors of earlier replies; the pause keeps a lasting error from taking a core.
                tracing::debug!(%cause, "receiving ng datagram failed");
                tokio::time::sleep(Duration::from_millis(1)).await;
                continue;
            }
        };
        let Some(message) = buffer.get(..received.length) else { continue };
        match responder.respond(message, received.peer) {
            Answer::None => {}
            Answer::Now(reply) => send(&socket, &reply, received.peer, received.local).await,
            Answer::Later(reply) => {
                let socket = Arc::clone(&socket);
                tokio::spawn(async move {
                    if let Some(reply) = reply.await {
                        send(&socket, &reply, received.peer, received.local).await;
                    }
                });
            }
        }
    }
}

async fn send(socket: &PacketInfoSocket, reply: &[u8], peer: SocketAddr, local: Option<IpAddr>) {
    let Err(cause) = socket.send(reply, peer, local).await else { return };
    if cause.raw_os_error() == Some(libc::EMSGSIZE) {
        tracing::warn!(
            %peer,
            octets = reply.len(),
            "ng reply is too large for a datagram and cannot be sent; the client needs TCP, HTTP or a shorter answer"
        );
    } else {
        tracing::warn!(%peer, octets = reply.len(), %cause, "sending ng reply failed");
    }
}
