//! The worker's end: what it tells the handshake thread, and what it lets through to it.

use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Weak};
use std::time::Instant;

use super::super::plan::{CallKey, DropReason, DtlsPlan, StreamId};
use super::super::poll::Wake;
use super::super::port_pool::LocalPort;
use super::super::receive::DATAGRAM;
use super::super::stats::StreamShared;
use super::associations::{Source, Way};
use crate::proto::budget::Budget;

/// Datagrams that may wait for the thread, from each worker.
pub const WAITING: usize = 128;
/// Datagrams in a row, and in a second, from the peer of a stream: a handshake with a long chain over a network that doubles.
const KNOWN: (u32, u32) = (64, 100);
/// From another host, or from all whose addresses fall into the same of [`GROUPS`].
const STRANGERS: (u32, u32) = (12, 12);
/// A host that sends too much leaves others their share.
const GROUPS: usize = 8;
/// From strangers to all streams of a worker.
const ALL_STRANGERS: (u32, u32) = (500, 1000);

/// What makes a source credible, the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trust {
    /// Nothing.
    Stranger,
    /// Its address was signalled, but not its port.
    SameHost,
    /// It was signalled, or authentic packets came from there.
    Peer,
    /// Somebody there knows the party's ICE credentials.
    Authenticated,
    /// Somebody there knows the party's ICE credentials and has answered us.
    Validated,
}

/// What the thread is told without loss.
pub enum Order {
    /// Shake hands, or go on with other rules.
    Open(Box<Opening>),
    /// The party is here now.
    Path(StreamId, Option<Place>),
    /// Tell the party, through this socket if the others are gone, and forget the stream.
    Close(StreamId, Arc<LocalPort>),
    /// Say that all orders before this one have been carried out.
    Report(mpsc::SyncSender<()>),
    Shutdown,
}

/// A stream that needs keys.
pub struct Opening {
    pub stream: StreamId,
    pub call: CallKey,
    pub worker: usize,
    pub shared: Arc<StreamShared>,
    pub plan: Arc<DtlsPlan>,
    /// Where the party is.
    pub party: Option<Place>,
    /// Another instance has shaken hands already.
    pub established: bool,
}

/// An address of the party, and the socket that reaches it.
#[derive(Clone)]
pub struct Place {
    pub source: Source,
    /// Does not keep the port from being given back.
    pub socket: Weak<LocalPort>,
}

impl Place {
    pub fn new(socket: &Arc<LocalPort>, remote: SocketAddr, trust: Trust) -> Self {
        let source = Source { way: Way { local: socket.local, remote }, trust };
        Self { source, socket: Arc::downgrade(socket) }
    }

    fn is_same(&self, other: &Self) -> bool {
        self.socket.ptr_eq(&other.socket) && self.source == other.source
    }
}

/// What arrived on a stream.
pub struct Datagram {
    pub stream: StreamId,
    pub from: Place,
    length: usize,
    octets: [u8; DATAGRAM],
}

impl Datagram {
    pub fn octets(&self) -> &[u8] {
        &self.octets[..self.length]
    }
}

/// Wakes the thread.
pub struct Bell {
    pub wake: Wake,
    /// It is awake, or about to be.
    pub rung: AtomicBool,
}

impl Bell {
    pub fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.wake.wake();
        }
    }
}

/// A worker's way to the handshake thread.
pub struct Gate {
    pub(super) worker: usize,
    pub(super) orders: mpsc::Sender<Order>,
    pub(super) datagrams: rtrb::Producer<Datagram>,
    pub(super) bell: Arc<Bell>,
    pub(super) strangers: Budget,
    /// Tells hosts apart; nobody outside knows how.
    hasher: RandomState,
}

/// What a worker knows of the association of a stream.
pub struct Handshake {
    pub plan: Arc<DtlsPlan>,
    /// Where the thread believes the party to be.
    party: Option<Place>,
    /// Keys have come.
    pub keyed: bool,
    known: Budget,
    strangers: [Budget; GROUPS],
}

impl Handshake {
    /// The plan asks for something else.
    fn differs(&self, plan: &DtlsPlan) -> bool {
        !Arc::ptr_eq(&self.plan.identity, &plan.identity)
            || self.plan.peer != plan.peer
            || self.differs_in_association(plan)
    }

    fn differs_in_association(&self, plan: &DtlsPlan) -> bool {
        (self.plan.role, self.plan.association) != (plan.role, plan.association)
    }
}

impl Gate {
    pub(super) fn new(
        worker: usize,
        orders: mpsc::Sender<Order>,
        bell: Arc<Bell>,
    ) -> (Self, rtrb::Consumer<Datagram>) {
        let (datagrams, consumer) = rtrb::RingBuffer::new(WAITING);
        let strangers = Budget::new(Instant::now(), ALL_STRANGERS.0, ALL_STRANGERS.1);
        (Self { worker, orders, datagrams, bell, strangers, hasher: RandomState::new() }, consumer)
    }

    /// A gate behind which nobody stands, and what comes through it.
    #[cfg(any(test, fuzzing))]
    pub fn detached() -> std::io::Result<(Self, mpsc::Receiver<Order>, rtrb::Consumer<Datagram>)> {
        let (orders, receiver) = mpsc::channel();
        let bell = Arc::new(Bell { wake: Wake::new()?, rung: false.into() });
        let (gate, datagrams) = Self::new(0, orders, bell);
        Ok((gate, receiver, datagrams))
    }

    /// Shakes hands for a stream as its plan says. `handshake` is what there was before.
    pub fn open(
        &self,
        now: Instant,
        handshake: Option<Box<Handshake>>,
        mut opening: Opening,
    ) -> Box<Handshake> {
        opening.worker = self.worker;
        let (plan, party) = (Arc::clone(&opening.plan), opening.party.clone());
        let handshake = match handshake {
            Some(same) if !same.differs(&plan) => {
                let mut same = same;
                self.path(&mut same, opening.stream, party);
                return same;
            }
            Some(mut before) => {
                before.keyed &= !before.differs_in_association(&plan);
                (before.plan, before.party) = (plan, party);
                before
            }
            None => Box::new(Handshake {
                plan,
                party,
                keyed: false,
                known: Budget::new(now, KNOWN.0, KNOWN.1),
                strangers: [Budget::new(now, STRANGERS.0, STRANGERS.1); GROUPS],
            }),
        };
        self.tell(Order::Open(Box::new(opening)));
        handshake
    }

    /// The party of a stream is somewhere else.
    pub fn path(&self, handshake: &mut Handshake, stream: StreamId, party: Option<Place>) {
        let same = match (&handshake.party, &party) {
            (Some(before), Some(now)) => before.is_same(now),
            (before, now) => before.is_none() && now.is_none(),
        };
        if !same {
            handshake.party.clone_from(&party);
            self.tell(Order::Path(stream, party));
        }
    }

    /// Ends the association of a stream whose party is reached by this socket.
    pub fn close(&self, stream: StreamId, socket: &Arc<LocalPort>) {
        self.tell(Order::Close(stream, Arc::clone(socket)));
    }

    /// Says `done` once the thread has let go of all streams that were closed.
    pub fn report(&self, done: mpsc::SyncSender<()>) {
        self.tell(Order::Report(done));
    }

    /// Passes a datagram on, if its source has not sent too many.
    ///
    /// # Errors
    /// When it has, or the thread has too much to do.
    pub fn hand_over(
        &mut self,
        now: Instant,
        handshake: &mut Handshake,
        stream: StreamId,
        from: Place,
        octets: &[u8],
    ) -> Result<(), DropReason> {
        let within = if from.source.trust >= Trust::Peer {
            handshake.known.take(now)
        } else {
            let group = self.hasher.hash_one(from.source.way.remote.ip()) as usize % GROUPS;
            handshake.strangers[group].take(now) && self.strangers.take(now)
        };
        if !within {
            return Err(DropReason::OverBudget);
        }
        let chunk = self.datagrams.write_chunk_uninit(1).map_err(|_| DropReason::OverBudget)?;
        let length = octets.len().min(DATAGRAM);
        let mut datagram = Datagram { stream, from, length, octets: [0; DATAGRAM] };
        datagram.octets[..length].copy_from_slice(&octets[..length]);
        chunk.fill_from_iter(std::iter::once(datagram));
        self.bell.ring();
        Ok(())
    }

    fn tell(&self, order: Order) {
        // The thread is gone only when the daemon stops.
        let _ = self.orders.send(order);
        self.bell.ring();
    }
}
