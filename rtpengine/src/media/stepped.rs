//! A worker without a thread: it runs when it is told to, with a clock that can be put forward. For fuzzing and tests of what arbitrary
//! datagrams do to a call.
//!
//! Handshakes are left out: DTLS records come as far as the ring to the handshake thread and no further; keys are given by
//! [`SteppedWorker::keyed`].

use std::io;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use super::dtls::{Datagram, Gate, Keyed, Order};
use super::event::MediaEvent;
use super::mailbox::{Command, Mailbox, mailbox};
use super::offload::{Announcement, Ladder};
use super::plan::{CallKey, CallPlan, PlayerId, PlayerPlan, StreamId};
use super::totals::WorkerTotals;
use super::worker::{Worker, WorkerShared};
use crate::config::Config;
use crate::proto::dtls::SrtpKeys;

/// See the module.
pub struct SteppedWorker {
    worker: Worker,
    mailbox: Mailbox,
    events: tokio::sync::mpsc::Receiver<MediaEvent>,
    orders: mpsc::Receiver<Order>,
    datagrams: rtrb::Consumer<Datagram>,
}

impl SteppedWorker {
    /// A worker with the interfaces and options of a configuration.
    ///
    /// # Errors
    /// When the system has no file descriptors left.
    pub fn new(config: &Config) -> io::Result<Self> {
        Self::with_ladder(config, None)
    }

    /// The same with something below user space.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_ladder(config: &Config, ladder: Option<Ladder>) -> io::Result<Self> {
        let (mailbox, inbox) = mailbox()?;
        let (gate, orders, datagrams) = Gate::detached()?;
        let (sender, events) = tokio::sync::mpsc::channel(64);
        let totals = Arc::new(WorkerTotals::new(config.local_addresses().count()));
        let shared = Arc::new(WorkerShared::default());
        let worker = Worker::new(inbox, None, gate, sender, shared, totals, config)?.above(ladder);
        Ok(Self { worker, mailbox, events, orders, datagrams })
    }

    /// Gives it a plan, as control does.
    pub fn install(&mut self, plan: CallPlan) {
        self.mailbox.send(Command::Install(plan));
    }

    /// Ends a call.
    pub fn remove(&mut self, call: CallKey) {
        self.mailbox.send(Command::Remove(call));
    }

    /// Asks for counters of this moment.
    pub fn refresh(&mut self, call: CallKey) {
        self.mailbox.send(Command::Refresh(call, mpsc::sync_channel(1).0));
    }

    /// Begins to play.
    pub fn play(&mut self, call: CallKey, plan: PlayerPlan) {
        self.mailbox.send(Command::StartPlayer(call, plan));
    }

    /// What a player plays is there as a whole, and in the kernel.
    pub fn take_announcement(&mut self, call: CallKey, player: PlayerId, announcement: Announcement) {
        self.mailbox.send(Command::TakeAnnouncement(call, player, announcement));
    }

    /// Ends a player.
    pub fn stop_player(&mut self, call: CallKey, player: PlayerId) {
        self.mailbox.send(Command::StopPlayer(call, player));
    }

    /// Takes everything up from the kernel, for good.
    pub fn give_up_rung(&mut self) {
        self.mailbox.send(Command::GiveUpRung(mpsc::sync_channel(1).0));
    }

    /// A handshake has come to its end.
    pub fn keyed(&mut self, call: CallKey, stream: StreamId, source: std::net::SocketAddr, keys: SrtpKeys) {
        let keyed = Keyed { call, stream, association: 0, source, keys };
        self.mailbox.send(Command::Keyed(Box::new(keyed)));
    }

    /// Lets time pass, then does everything that is to be done: commands, packets, what is due. Returns how many events there were.
    pub fn turn(&mut self, time: Duration) -> usize {
        self.worker.put_forward(time);
        self.worker.turn();
        while self.orders.try_recv().is_ok() {}
        while self.datagrams.pop().is_ok() {}
        std::iter::from_fn(|| self.events.try_recv().ok()).count()
    }
}
