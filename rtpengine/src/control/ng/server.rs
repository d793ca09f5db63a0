//! ng over UDP: one thread per listener, which sleeps in the socket. A request costs it two system calls.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::runtime::Handle;

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
    /// Binds all addresses.
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

    /// Serves until closed. Replies that have to wait are waited for on `runtime`.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn run(self, responder: &Arc<Responder>, runtime: &Handle) -> io::Result<UdpDoor> {
        let mut door = UdpDoor { closing: Arc::default(), listeners: Vec::new() };
        for socket in self.sockets {
            let listener = Listener {
                socket: Arc::clone(&socket),
                responder: Arc::clone(responder),
                runtime: runtime.clone(),
                closing: Arc::clone(&door.closing),
            };
            let thread = thread::Builder::new().name("ng-udp".into()).spawn(move || listener.serve())?;
            door.listeners.push((socket, Some(thread)));
        }
        Ok(door)
    }
}

/// Listeners at work. Closed when dropped.
#[derive(Debug)]
pub struct UdpDoor {
    closing: Arc<AtomicBool>,
    listeners: Vec<(Arc<PacketInfoSocket>, Option<JoinHandle<()>>)>,
}

impl Drop for UdpDoor {
    /// Returns when the request that each listener is at has been answered; no further one is read.
    fn drop(&mut self) {
        self.closing.store(true, Relaxed);
        for (socket, thread) in &mut self.listeners {
            socket.shut_down();
            // A thread that ended in a panic has nothing left to wait for.
            let _ = thread.take().map(JoinHandle::join);
        }
    }
}

struct Listener {
    socket: Arc<PacketInfoSocket>,
    responder: Arc<Responder>,
    runtime: Handle,
    closing: Arc<AtomicBool>,
}

impl Listener {
    /// Replies that are ready are sent from here; only those that must wait get a task of their own.
    fn serve(self) {
        let _entered = self.runtime.enter();
        let mut buffer = vec![0; MAX_DATAGRAM];
        loop {
            let received = self.socket.receive(&mut buffer);
            if self.closing.load(Relaxed) {
                return;
            }
            let received = match received {
                Ok(received) => received,
                Err(cause) => {
                    // Mostly ICMP errors of earlier replies; the pause keeps a lasting error from taking a core.
                    tracing::debug!(%cause, "receiving ng datagram failed");
                    thread::sleep(Duration::from_millis(1));
                    continue;
                }
            };
            let Some(message) = buffer.get(..received.length) else { continue };
            match self.responder.respond(message, received.peer) {
                Answer::None => {}
                Answer::Now(reply) => send(&self.socket, &reply, received.peer, received.local),
                Answer::Later(reply) => {
                    let socket = Arc::clone(&self.socket);
                    self.runtime.spawn(async move {
                        if let Some(reply) = reply.await {
                            send(&socket, &reply, received.peer, received.local);
                        }
                    });
                }
            }
        }
    }
}

fn send(socket: &PacketInfoSocket, reply: &[u8], peer: SocketAddr, local: Option<IpAddr>) {
    let Err(cause) = socket.send(reply, peer, local) else { return };
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
