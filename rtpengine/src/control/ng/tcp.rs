//! ng over TCP: a reading and a writing task per connection.
//!
//! ```text
//! stream → Framer → Responder ─ ready ────────┐
//!                      └ later → own task ────┴→ queue ┐
//!                                   Events ────────────┴→ stream
//! ```
//!
//! Replies leave in the order in which they are finished. Everything that a connection makes the daemon keep is bounded by
//! [`Limits`]; a client that does not read its replies stops being read from, and is dropped in the end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, broadcast, mpsc};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout, timeout_at};

use super::events::{EventReceiver, Events};
use super::framing::Framer;
use super::responder::Responder;
use crate::control::answer::{Answer, Respond};
use crate::control::cookie_cache::Reply;
use crate::control::tcp_listener::{self, SocketOptions};
use crate::control::udp_door::Tos;

/// Octets read at once.
const READ: usize = 16 << 10;
/// Replies written at once.
const BATCH: usize = 64;

/// Bounds of this door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open connections of one listener.
    pub connections: usize,
    /// Octets of a message.
    pub message: usize,
    /// How long a message may take to arrive, from its first octet.
    pub arrival: Duration,
    /// Requests of a connection that are being worked on, and finished replies that wait to be sent.
    pub pending: usize,
    /// How long a client may leave its replies unread.
    pub unread: Duration,
}

impl Default for Limits {
    /// Enough for an announcement in a request.
    fn default() -> Self {
        Limits {
            connections: 1024,
            message: 8 << 20,
            arrival: Duration::from_secs(30),
            pending: 64,
            unread: Duration::from_secs(30),
        }
    }
}

/// Bound sockets that nobody reads yet.
#[derive(Debug)]
pub struct TcpListeners {
    sockets: Vec<TcpListener>,
}

/// What all connections use.
struct Door {
    responder: Arc<Responder>,
    events: Option<Events>,
    limits: Limits,
    tos: Tos,
}

impl TcpListeners {
    /// Binds all addresses; must be called within a runtime.
    ///
    /// # Errors
    /// The first failure, naming the address.
    pub fn bind(addresses: &[SocketAddr], tos: u8) -> io::Result<Self> {
        let options = SocketOptions { tos, ..SocketOptions::default() };
        Ok(TcpListeners { sockets: tcp_listener::bind("ng", addresses, options)? })
    }

    /// The addresses bound to, in the order given.
    pub fn local_addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.sockets.iter().map(TcpListener::local_addr).collect()
    }

    /// Serves until the tasks are aborted. With `events`, all connections get them; new ones have the type of service of the moment.
    pub fn run(
        self,
        responder: Arc<Responder>,
        events: Option<Events>,
        limits: Limits,
        tos: Tos,
    ) -> Vec<JoinHandle<()>> {
        let door = Arc::new(Door { responder, events, limits, tos });
        let listen = |socket| {
            let door = Arc::clone(&door);
            tokio::spawn(tcp_listener::accept("ng", socket, limits.connections, move |stream, peer| {
                serve(stream, peer, Arc::clone(&door))
            }))
        };
        self.sockets.into_iter().map(listen).collect()
    }
}

async fn serve(stream: TcpStream, peer: SocketAddr, door: Arc<Door>) {
    tracing::info!(%peer, "new ng connection");
    let tos = (door.tos)();
    if let Err(cause) = tcp_listener::set_tos(&SockRef::from(&stream), peer, tos) {
        tracing::warn!(%peer, %cause, tos, "cannot set the type of service");
    }
    let (reader, writer) = stream.into_split();
    let (replies, queue) = mpsc::channel(door.limits.pending);
    let events = door.events.as_ref().map(Events::subscribe);
    // Both end with this task, whatever ends it.
    let mut tasks = JoinSet::new();
    tasks.spawn(write(writer, peer, queue, events, door.limits.unread));
    let reason = tokio::select! {
        reason = read(reader, peer, &replies, &door) => reason,
        () = replies.closed() => "replies cannot be sent",
    };
    // What is still being worked on may finish: the client may have closed its sending side only.
    drop(replies);
    while tasks.join_next().await.is_some() {}
    tracing::info!(%peer, reason, "ng connection closed");
}

/// Reads and answers requests; returns why no more can be read.
async fn read(
    mut stream: OwnedReadHalf,
    peer: SocketAddr,
    replies: &mpsc::Sender<Reply>,
    door: &Door,
) -> &'static str {
    let pending = Arc::new(Semaphore::new(door.limits.pending));
    let mut framer = Framer::new(door.limits.message);
    let mut buffer = vec![0; READ];
    let mut deadline: Option<Instant> = None;
    loop {
        let received = match deadline {
            None => stream.read(&mut buffer).await,
            Some(deadline) => match timeout_at(deadline, stream.read(&mut buffer)).await {
                Ok(received) => received,
                Err(_) => {
                    tracing::warn!(%peer, "ng message did not arrive completely in time, connection given up");
                    return "incomplete message";
                }
            },
        };
        let octets = match received {
            Ok(0) => return "closed by the client",
            Ok(length) => buffer.get(..length).unwrap_or_default(),
            Err(cause) => {
                tracing::debug!(%peer, %cause, "reading from ng connection failed");
                return "lost";
            }
        };
        framer.push(octets);
        let mut finished = false;
        loop {
            let message = match framer.next_message() {
                Ok(Some(message)) => message,
                Ok(None) => break,
                Err(cause) => {
                    tracing::warn!(%peer, %cause, "ng connection given up");
                    return "not understood";
                }
            };
            finished = true;
            match door.responder.respond(message, peer) {
                Answer::None => {}
                Answer::Now(reply) => {
                    if replies.send(reply).await.is_err() {
                        return "replies cannot be sent";
                    }
                }
                Answer::Later(reply) => {
                    let Ok(place) = Arc::clone(&pending).acquire_owned().await else { return "closing" };
                    let replies = replies.clone();
                    tokio::spawn(async move {
                        if let Some(reply) = reply.await {
                            // The connection may be gone by now; the reply is in the cache all the same.
                            let _ = replies.send(reply).await;
                        }
                        drop(place);
                    });
                }
            }
        }
        if !framer.is_inside_message() {
            deadline = None;
        } else if finished || deadline.is_none() {
            deadline = Some(Instant::now() + door.limits.arrival);
        }
    }
}

/// Writes what comes until nothing can come any more, or the client stops reading.
async fn write(
    mut stream: OwnedWriteHalf,
    peer: SocketAddr,
    mut queue: mpsc::Receiver<Reply>,
    mut events: Option<EventReceiver>,
    patience: Duration,
) {
    let mut batch = Vec::with_capacity(BATCH);
    let mut out = Vec::new();
    loop {
        tokio::select! {
            count = queue.recv_many(&mut batch, BATCH) => {
                if count == 0 {
                    return;
                }
            }
            event = next_event(&mut events, peer) => batch.push(event),
        }
        let written = match batch.as_slice() {
            [single] => write_all(&mut stream, single, patience).await,
            several => {
                out.clear();
                several.iter().for_each(|reply| out.extend_from_slice(reply));
                write_all(&mut stream, &out, patience).await
            }
        };
        batch.clear();
        out.shrink_to(READ);
        if let Err(cause) = written {
            if cause.kind() == io::ErrorKind::TimedOut {
                tracing::warn!(%peer, "ng client does not read its replies, connection given up");
            } else {
                tracing::debug!(%peer, %cause, "writing to ng connection failed");
            }
            return;
        }
    }
}

/// Waits for ever when there are no events.
async fn next_event(events: &mut Option<EventReceiver>, peer: SocketAddr) -> Reply {
    while let Some(receiver) = events {
        match receiver.recv().await {
            Ok(event) => return event.to_vec(),
            Err(broadcast::error::RecvError::Lagged(lost)) => {
                tracing::warn!(%peer, lost, "ng client reads too slowly, events lost");
            }
            Err(broadcast::error::RecvError::Closed) => *events = None,
        }
    }
    std::future::pending().await
}

/// The time limit is for each step, so that a slow line may take long as long as something moves.
async fn write_all(stream: &mut OwnedWriteHalf, mut octets: &[u8], patience: Duration) -> io::Result<()> {
    while !octets.is_empty() {
        let written =
            timeout(patience, stream.write(octets)).await.map_err(|_| io::ErrorKind::TimedOut)??;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        octets = octets.get(written..).unwrap_or_default();
    }
    Ok(())
}
