//! Control protocols over UDP: one thread per listener, which sleeps in the socket. A request costs it two system calls.

use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use service::process::scheduling::{Role, enter};
use tokio::runtime::Handle;

use super::answer::{Answer, Respond};
use super::udp_socket::{PacketInfoSocket, Received};
use crate::config::PathMtu;

/// A UDP payload is never longer.
const MAX_DATAGRAM: usize = 65_536;

/// TOS or traffic class of the moment, which operators may change.
pub type Tos = Arc<dyn Fn() -> u8 + Send + Sync>;

/// Bound sockets that nobody reads yet.
#[derive(Debug)]
pub struct UdpListeners {
    /// Of the protocol, for people.
    name: &'static str,
    sockets: Vec<Arc<PacketInfoSocket>>,
}

impl UdpListeners {
    /// Binds all addresses for a protocol.
    ///
    /// # Errors
    /// The first failure, naming the protocol and the address.
    pub fn bind(
        name: &'static str,
        addresses: &[SocketAddr],
        tos: u8,
        path_mtu: PathMtu,
    ) -> io::Result<Self> {
        let sockets = addresses.iter().map(|&address| {
            PacketInfoSocket::bind(address, tos, path_mtu).map(Arc::new).map_err(|cause| {
                io::Error::new(cause.kind(), format!("cannot listen for {name} on UDP {address}: {cause}"))
            })
        });
        Ok(UdpListeners { name, sockets: sockets.collect::<io::Result<_>>()? })
    }

    /// The addresses bound to, in the order given; ports that were 0 are known now.
    pub fn local_addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.sockets.iter().map(|socket| socket.local_addr()).collect()
    }

    /// Serves until closed. Replies that have to wait are waited for on `runtime`; `tos` gives the TOS or traffic class that they leave
    /// with.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn run(self, responder: &Arc<dyn Respond>, runtime: &Handle, tos: &Tos) -> io::Result<UdpDoor> {
        let mut door = UdpDoor { closing: Arc::default(), listeners: Vec::new() };
        for socket in self.sockets {
            let listener = Listener {
                name: self.name,
                socket: Arc::clone(&socket),
                responder: Arc::clone(responder),
                runtime: runtime.clone(),
                tos: Arc::clone(tos),
                closing: Arc::clone(&door.closing),
            };
            let thread =
                service::process::threads::builder(format!("{}-udp", self.name)).spawn(move || {
                    enter(Role::Worker);
                    listener.serve();
                })?;
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
    name: &'static str,
    socket: Arc<PacketInfoSocket>,
    responder: Arc<dyn Respond>,
    runtime: Handle,
    tos: Tos,
    closing: Arc<AtomicBool>,
}

impl Listener {
    /// Replies that are ready are sent from here; only those that must wait get a task of their own.
    fn serve(self) {
        let _entered = self.runtime.enter();
        let mut buffer = vec![0; MAX_DATAGRAM];
        let mut marked = (self.tos)();
        loop {
            let received = self.socket.receive(&mut buffer);
            if self.closing.load(Relaxed) {
                return;
            }
            let received = match received {
                Ok(received) => received,
                Err(cause) => {
                    // Mostly ICMP errors of earlier replies; the pause keeps a lasting error from taking a core.
                    tracing::debug!(door = self.name, %cause, "receiving a datagram failed");
                    thread::sleep(Duration::from_millis(1));
                    continue;
                }
            };
            let Some(message) = buffer.get(..received.length) else { continue };
            let name = self.name;
            let tos = (self.tos)();
            if tos != marked {
                marked = tos;
                if let Err(cause) = self.socket.set_tos(tos) {
                    tracing::warn!(door = name, %cause, tos, "cannot set the type of service");
                }
            }
            let responder = &self.responder;
            // A defect must not end the listener that serves everybody.
            let answer = catch_unwind(AssertUnwindSafe(|| responder.respond(message, received.peer)));
            let Ok(answer) = answer else {
                tracing::error!(door = name, peer = %received.peer, "request ended in a panic, no reply sent");
                continue;
            };
            match answer {
                Answer::None => {}
                Answer::Now(reply) => {
                    send(name, &self.socket, &reply, &received);
                    responder.prepare();
                }
                Answer::Later(reply) => {
                    let socket = Arc::clone(&self.socket);
                    self.runtime.spawn(async move {
                        if let Some(reply) = reply.await {
                            send(name, &socket, &reply, &received);
                        }
                    });
                }
            }
        }
    }
}

fn send(door: &str, socket: &PacketInfoSocket, reply: &[u8], received: &Received) {
    let peer = received.peer;
    let Err(cause) = socket.send(reply, peer, received.local) else { return };
    if cause.raw_os_error() == Some(libc::EMSGSIZE) {
        tracing::warn!(
            door,
            %peer,
            octets = reply.len(),
            "reply is too large for a datagram and cannot be sent; the client needs TCP, HTTP or a shorter answer"
        );
    } else {
        tracing::warn!(door, %peer, octets = reply.len(), %cause, "sending a reply failed");
    }
}
