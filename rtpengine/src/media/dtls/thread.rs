//! The thread: orders, datagrams, timers.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak, mpsc};
use std::thread::JoinHandle;
use std::time::Instant;

use super::super::mailbox::{Command, Mailbox};
use super::super::plan::{CallKey, DropReason, StreamId};
use super::super::poll::{Poll, Wake};
use super::super::port_pool::LocalPort;
use super::super::stats::StreamShared;
use super::super::totals::DropCounters;
use service::process::scheduling::{Role, enter};

use super::associations::{Agreed, Associations, Source, Way};
use super::gate::{Bell, Datagram, Gate, Opening, Order, Place};
use super::keyed::Keyed;

/// Datagrams of one worker in a row, so that the others' turn comes.
const IN_A_ROW: usize = 16;

/// Handle to the thread.
pub struct HandshakeThread {
    orders: mpsc::Sender<Order>,
    bell: Arc<Bell>,
    thread: JoinHandle<()>,
}

/// Readiness events taken at once.
const EVENTS: usize = 256;

impl HandshakeThread {
    /// Starts the thread for the workers with these mailboxes, each of which gets a gate. It counts what it refuses in `drops`.
    pub fn start(mailboxes: Vec<Mailbox>, drops: Arc<DropCounters>) -> io::Result<(Self, Vec<Gate>)> {
        let (orders, receiver) = mpsc::channel();
        let bell = Arc::new(Bell { wake: Wake::new()?, rung: false.into() });
        let poll = Poll::new(EVENTS)?;
        poll.add(bell.wake.fd(), 0)?;
        let (gates, rings) =
            (0..mailboxes.len()).map(|worker| Gate::new(worker, orders.clone(), Arc::clone(&bell))).unzip();
        let shaker = Shaker {
            poll,
            bell: Arc::clone(&bell),
            orders: receiver,
            rings,
            mailboxes,
            streams: HashMap::new(),
            timers: BinaryHeap::new(),
            drops,
        };
        let thread = service::process::threads::builder("dtls").spawn(move || {
            enter(Role::Worker);
            shaker.run();
        })?;
        Ok((Self { orders, bell, thread }, gates))
    }

    /// Ends the thread and waits for it.
    pub fn stop(self) {
        let _ = self.orders.send(Order::Shutdown);
        self.bell.ring();
        // A panic has been reported where it happened.
        let _ = self.thread.join();
    }
}

struct Shaker {
    poll: Poll,
    bell: Arc<Bell>,
    orders: mpsc::Receiver<Order>,
    rings: Vec<rtrb::Consumer<Datagram>>,
    mailboxes: Vec<Mailbox>,
    streams: HashMap<StreamId, Stream>,
    /// Some are out of date: a stream is looked at again when its time has come.
    timers: BinaryHeap<Reverse<(Instant, u64)>>,
    /// Datagrams that were of no use, by reason.
    drops: Arc<DropCounters>,
}

struct Stream {
    call: CallKey,
    worker: usize,
    /// Those that its datagrams came in through and the party is reached by.
    sockets: Sockets,
    shared: Arc<StreamShared>,
    associations: Associations,
    /// The earliest entry among the timers.
    timer: Option<Instant>,
    /// The operator knows that somebody else has been there.
    warned: bool,
}

enum Next {
    GoOn,
    Stop,
}

impl Shaker {
    fn run(mut self) {
        loop {
            let busy = self.rings.iter().any(|ring| !ring.is_empty());
            let next =
                self.timers.peek().map(|Reverse((at, _))| at.saturating_duration_since(Instant::now()));
            self.poll.wait(if busy { Some(std::time::Duration::ZERO) } else { next });
            // What is sent from now on rings again; what was sent before is seen below.
            self.bell.rung.store(false, Ordering::SeqCst);
            std::sync::atomic::fence(Ordering::SeqCst);
            if matches!(self.take_orders(), Next::Stop) {
                return;
            }
            for worker in 0..self.rings.len() {
                for _ in 0..IN_A_ROW {
                    let Some(Ok(datagram)) = self.rings.get_mut(worker).map(rtrb::Consumer::pop) else {
                        break;
                    };
                    // The order that opens a stream was given before its first datagram.
                    if !self.streams.contains_key(&datagram.stream)
                        && matches!(self.take_orders(), Next::Stop)
                    {
                        return;
                    }
                    self.receive(&datagram);
                }
            }
            self.due();
        }
    }

    fn take_orders(&mut self) -> Next {
        let now = Instant::now();
        while let Ok(order) = self.orders.try_recv() {
            match order {
                Order::Open(opening) => self.open(now, *opening),
                Order::Path(id, party) => {
                    if let Some(stream) = self.streams.get_mut(&id) {
                        let party = stream.sockets.learn(party.as_ref());
                        stream.associations.set_party(now, party, &mut stream.sockets.sender());
                        self.wind(id);
                    }
                }
                // The socket that came with it is open until the party has been told.
                Order::Close(id, _socket) => {
                    if let Some(mut stream) = self.streams.remove(&id) {
                        stream.associations.close(&mut stream.sockets.sender());
                    }
                }
                // Whoever asked may have stopped waiting.
                Order::Report(done) => drop(done.try_send(())),
                Order::Shutdown => return Next::Stop,
            }
        }
        Next::GoOn
    }

    fn open(&mut self, now: Instant, opening: Opening) {
        let Opening { stream: id, call, worker, shared, plan, party, established } = opening;
        let agreed = match self.streams.get_mut(&id) {
            Some(stream) => {
                (stream.call, stream.worker, stream.shared) = (call, worker, shared);
                let party = stream.sockets.learn(party.as_ref());
                stream.associations.update(now, plan, party, &mut stream.sockets.sender())
            }
            None => {
                let mut sockets = Sockets::default();
                let party = sockets.learn(party.as_ref());
                let associations = if established {
                    Associations::resumed(plan, party)
                } else {
                    Associations::new(now, plan, party, &mut sockets.sender())
                };
                self.streams.insert(
                    id,
                    Stream { call, worker, sockets, shared, associations, timer: None, warned: false },
                );
                None
            }
        };
        self.hand_out(id, agreed);
        self.wind(id);
    }

    fn receive(&mut self, datagram: &Datagram) {
        let now = Instant::now();
        let id = datagram.stream;
        // Else the stream has gone meanwhile.
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let source = stream.sockets.know(&datagram.from);
        let octets = datagram.octets();
        let outcome = stream.associations.handle_datagram(now, source, octets, &mut stream.sockets.sender());
        match outcome {
            Ok(agreed) => self.hand_out(id, agreed),
            Err(reason) => {
                let Way { local, remote } = source.way;
                if reason == DropReason::NotAuthentic && !std::mem::replace(&mut stream.warned, true) {
                    tracing::warn!(%local, %remote, "DTLS: another certificate than the signalled one");
                } else {
                    tracing::debug!(%local, %remote, ?reason, "DTLS datagram refused");
                }
                stream.shared.count_handshake_drop(reason);
                self.drops[reason as usize].add(1);
            }
        }
        self.wind(id);
    }

    fn due(&mut self) {
        let now = Instant::now();
        while let Some(&Reverse((at, id))) = self.timers.peek().filter(|Reverse((at, _))| *at <= now) {
            self.timers.pop();
            let id = StreamId(id);
            let Some(stream) = self.streams.get_mut(&id) else { continue };
            if stream.timer != Some(at) {
                continue;
            }
            stream.timer = None;
            stream.associations.handle_timeout(now, &mut stream.sockets.sender());
            self.wind(id);
        }
    }

    /// Looks after the timer of a stream.
    fn wind(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let Some(deadline) = stream.associations.deadline() else { return };
        // An earlier entry does no harm: the stream is asked again then.
        if stream.timer.is_none_or(|timer| deadline < timer) {
            stream.timer = Some(deadline);
            self.timers.push(Reverse((deadline, id.0)));
        }
    }

    fn hand_out(&self, id: StreamId, agreed: Option<Agreed>) {
        let (Some(Agreed { way, association, keys }), Some(stream)) = (agreed, self.streams.get(&id)) else {
            return;
        };
        let Way { local, remote } = way;
        tracing::debug!(%local, %remote, suite = keys.receive.suite().name, "DTLS association established");
        if let Some(mailbox) = self.mailboxes.get(stream.worker) {
            let keyed = Keyed { call: stream.call, stream: id, association, source: way.remote, keys };
            mailbox.send(Command::Keyed(Box::new(keyed)));
        }
    }
}

/// Sockets of a stream by their addresses.
#[derive(Default)]
struct Sockets(Vec<(SocketAddr, Weak<LocalPort>)>);

impl Sockets {
    fn learn(&mut self, place: Option<&Place>) -> Option<Source> {
        place.map(|place| self.know(place))
    }

    fn know(&mut self, place: &Place) -> Source {
        if !self.0.iter().any(|(_, socket)| socket.ptr_eq(&place.socket)) {
            // A stream has a handful at a time; a port that was given back may have come again.
            self.0.retain(|(local, socket)| *local != place.source.way.local && socket.strong_count() > 0);
            self.0.push((place.source.way.local, Weak::clone(&place.socket)));
        }
        place.source
    }

    fn sender(&self) -> impl FnMut(Way, &[u8]) {
        |way, datagram| {
            let socket = self.0.iter().find(|(local, _)| *local == way.local);
            if let Some(socket) = socket.and_then(|(_, socket)| socket.upgrade()) {
                // What the system refuses is lost, as on the network: it is repeated.
                let _ = socket.socket.send_to(datagram, way.remote);
            }
        }
    }
}
