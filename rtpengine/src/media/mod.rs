//! The data plane: one pinned thread per worker, each owning its sockets, routes, timers and packet state.
//!
//! Control hands a worker whole [`plan::CallPlan`]s through a bounded queue; the worker compiles them into
//! routes and answers with [`event::MediaEvent`]s. What control may read at any time without asking is in
//! [`stats::StreamShared`]: atomics that only the owning worker writes.
//!
//! ```text
//! socket → classify → unprotect → verify/learn source → count → per edge: forward | transcode | drop → protect → send
//!                                                             → tap (bounded ring, never waits)
//! ```

mod accept;
mod apart;
mod arrivals;
mod blank_sockets;
pub mod classify;
mod dtls;
pub mod dtmf;
pub mod event;
mod fax;
mod filter;
mod forward;
pub mod hold;
mod ice;
mod inband;
mod inject;
mod install;
pub mod key_log;
mod learn;
mod listeners;
mod mailbox;
mod measure;
mod mid;
mod mixer;
mod mos;
mod numbering;
pub mod offload;
mod output;
mod own_reports;
mod pierce;
pub mod plan;
mod player;
mod poll;
pub mod port_pool;
pub mod quality;
mod receive;
mod renumber;
mod reports;
mod route;
mod rtcp;
mod rtcp_copies;
mod schedule;
mod section;
mod security;
mod send;
mod sender_report;
mod short;
mod silence;
mod sockets;
mod srtp_log;
mod ssrc;
pub mod stats;
#[cfg(any(test, fuzzing))]
pub mod stepped;
mod stream;
pub mod tap;
pub mod totals;
mod transcode;
pub mod treatment;
mod twins;
mod worker;

use std::collections::HashMap;
use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::config::Config;
use dtls::HandshakeThread;
use mailbox::{Command, Mailbox};
use service::process::scheduling::{Role, enter};
use totals::{PlaneTotals, WorkerTotals};
use worker::{Worker, WorkerShared};

/// Handle to the workers. Cheap to clone.
#[derive(Clone)]
pub struct MediaPlane {
    inner: Arc<Inner>,
}

struct Inner {
    mailboxes: Vec<Mailbox>,
    shared: Arc<WorkerShared>,
    totals: Vec<Arc<WorkerTotals>>,
    /// Which calls each worker has. Held for a map operation only.
    assigned: Mutex<Assigned>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    handshakes: Mutex<Option<HandshakeThread>>,
    /// What the handshake thread refused.
    handshake_drops: Arc<totals::DropCounters>,
}

/// How long control waits for a worker to let go of a call.
const RELEASE: std::time::Duration = std::time::Duration::from_millis(200);
/// How long it waits for all workers to take their streams up from the kernel, some microseconds each.
const GIVING_UP: std::time::Duration = std::time::Duration::from_secs(5);

struct Assigned {
    load: Vec<usize>,
    /// Workers from here on are for transcoding.
    forwarding: usize,
    calls: HashMap<plan::CallKey, u16>,
}

/// What a call is expected to need of its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Packets mostly pass.
    Forwarding,
    /// Codecs are converted.
    Transcoding,
}

/// Which worker owns a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WorkerId(pub u16);

impl MediaPlane {
    /// Workers that have nothing below them; see [`Self::start_above`].
    pub fn start(
        config: &Config,
        taps: Vec<tap::Producer>,
        events: tokio::sync::mpsc::Sender<event::MediaEvent>,
    ) -> io::Result<Self> {
        Self::start_above(config, taps, Vec::new(), events)
    }

    /// Starts `config.num_threads` workers, and `config.codec_threads` for calls that transcode. `taps` holds one
    /// producer per worker, `ladders` what is below user space, or nothing. Events are dropped, and
    /// counted, when the receiver is full.
    pub fn start_above(
        config: &Config,
        taps: Vec<tap::Producer>,
        ladders: Vec<offload::Ladder>,
        events: tokio::sync::mpsc::Sender<event::MediaEvent>,
    ) -> io::Result<Self> {
        let forwarding = config.num_threads.clamp(1, usize::from(u16::MAX));
        let count = config.workers().min(usize::from(u16::MAX));
        let shared = Arc::new(WorkerShared::default());
        let (mut taps, mut ladders) = (taps.into_iter(), ladders.into_iter());
        let (mut mailboxes, mut threads) = (Vec::with_capacity(count), Vec::with_capacity(count));
        let interfaces = config.local_addresses().count();
        let totals: Vec<_> = (0..count).map(|_| Arc::new(WorkerTotals::new(interfaces))).collect();
        let mut inboxes = Vec::with_capacity(count);
        for _ in 0..count {
            let (mailbox, inbox) = mailbox::mailbox()?;
            mailboxes.push(mailbox);
            inboxes.push(inbox);
        }
        let handshake_drops = Arc::default();
        let (handshakes, gates) = HandshakeThread::start(mailboxes.clone(), Arc::clone(&handshake_drops))?;
        for (index, (counters, (inbox, gate))) in
            totals.iter().zip(inboxes.into_iter().zip(gates)).enumerate()
        {
            let counters = Arc::clone(counters);
            let worker = Worker::new(
                inbox,
                taps.next(),
                gate,
                events.clone(),
                Arc::clone(&shared),
                Arc::clone(&counters),
                config,
            )?
            .above(ladders.next());
            let timer_slack = config.timer_slack;
            let thread = service::process::threads::builder(format!("media-{index}")).spawn(move || {
                counters.thread.store(poll::thread_id(), Relaxed);
                enter(Role::Worker);
                // Transcoders take what the cores have left.
                if index < forwarding
                    && let Err(error) = poll::pin_to_core(index)
                {
                    tracing::warn!(worker = index, %error, "cannot pin media worker to a core");
                }
                if let Some(Err(error)) = timer_slack.map(poll::set_timer_slack) {
                    tracing::warn!(worker = index, %error, "cannot set the timer slack of a media worker");
                }
                worker.run();
            })?;
            threads.push(thread);
        }
        let assigned = Mutex::new(Assigned { load: vec![0; count], forwarding, calls: HashMap::new() });
        let inner = Inner {
            mailboxes,
            shared,
            totals,
            assigned,
            threads: Mutex::new(threads),
            handshakes: Mutex::new(Some(handshakes)),
            handshake_drops,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The worker with the fewest calls, of those for this kind of work. The choice is kept for the call's life.
    pub fn assign(&self, work: Work) -> WorkerId {
        let assigned = self.inner.assigned();
        let transcodes = work == Work::Transcoding && assigned.forwarding < assigned.load.len();
        let workers = assigned.load.iter().enumerate();
        let fitting = workers.filter(|(index, _)| (*index >= assigned.forwarding) == transcodes);
        let least = fitting.min_by_key(|(_, calls)| **calls);
        WorkerId(least.map_or(0, |(index, _)| index as u16))
    }

    /// Makes the worker's routes of this call equal to the plan. Streams, SSRC state and transcoders that the
    /// old and the new plan share go on without a break. Never blocks: what a full queue does not take waits
    /// behind it, in order.
    pub fn install(&self, worker: WorkerId, plan: plan::CallPlan) {
        {
            let mut assigned = self.inner.assigned();
            if assigned.calls.insert(plan.key, worker.0).is_none()
                && let Some(load) = assigned.load.get_mut(usize::from(worker.0))
            {
                *load += 1;
            }
        }
        self.inner.send(worker, Command::Install(plan));
    }

    /// Takes a call from its worker, which leaves its sockets as they are; how far its keys were used.
    pub fn detach(
        &self,
        worker: WorkerId,
        call: plan::CallKey,
    ) -> tokio::sync::oneshot::Receiver<Vec<(plan::StreamId, plan::SrtpProgress)>> {
        self.unassign(call);
        let (answer, progress) = tokio::sync::oneshot::channel();
        self.inner.send(worker, Command::Detach(call, answer));
        progress
    }

    /// Every worker takes commands, and carries them out within `patience`.
    pub async fn is_responsive(&self, patience: std::time::Duration) -> bool {
        let nobody = plan::CallKey(0);
        let workers = 0..u16::try_from(self.inner.mailboxes.len()).unwrap_or(u16::MAX);
        let answers: Vec<_> = workers.map(|worker| self.srtp_progress(WorkerId(worker), nobody)).collect();
        let all = async {
            for answer in answers {
                if answer.await.is_err() {
                    return false;
                }
            }
            true
        };
        tokio::time::timeout(patience, all).await.unwrap_or(false)
    }

    /// Forgets the call, like [`Self::remove`], and waits until its worker has let go of the sockets, so that another one may have them.
    /// Takes [`worker::GATHER`] and a little more; a worker that does not answer within [`RELEASE`] is not waited for.
    pub fn release(&self, worker: WorkerId, call: plan::CallKey) {
        self.unassign(call);
        let (done, released) = std::sync::mpsc::sync_channel(1);
        self.inner.send(worker, Command::Release(call, done));
        if released.recv_timeout(RELEASE).is_err() {
            tracing::warn!("media worker is slow to release the sockets of a call");
        }
    }

    /// Forgets the call; its sockets are closed when control has let go of them as well.
    pub fn remove(&self, worker: WorkerId, call: plan::CallKey) {
        self.unassign(call);
        self.inner.send(worker, Command::Remove(call));
    }

    fn unassign(&self, call: plan::CallKey) {
        let mut assigned = self.inner.assigned();
        if let Some(owner) = assigned.calls.remove(&call)
            && let Some(load) = assigned.load.get_mut(usize::from(owner))
        {
            *load = load.saturating_sub(1);
        }
    }

    /// Starts sending a player's frames to a stream's peer.
    pub fn start_player(&self, worker: WorkerId, call: plan::CallKey, player: plan::PlayerPlan) {
        self.inner.send(worker, Command::StartPlayer(call, player));
    }

    /// Stops a player; a `PlayerFinished` event follows.
    pub fn stop_player(&self, worker: WorkerId, call: plan::CallKey, player: plan::PlayerId) {
        self.inner.send(worker, Command::StopPlayer(call, player));
    }

    /// Tells a player's worker that the kernel could send what it plays.
    pub fn take_announcement(
        &self,
        worker: WorkerId,
        call: plan::CallKey,
        player: plan::PlayerId,
        announcement: offload::Announcement,
    ) {
        self.inner.send(worker, Command::TakeAnnouncement(call, player, announcement));
    }

    /// Sums over all workers. They only grow.
    pub fn totals(&self) -> PlaneTotals {
        let mut sums = PlaneTotals { chains: self.inner.shared.chains.list(), ..PlaneTotals::default() };
        for worker in &self.inner.totals {
            worker.add_to(&mut sums);
        }
        sums.add_drops(&self.inner.handshake_drops);
        sums
    }

    /// Octets of the buffers into which the workers receive.
    pub fn packet_buffers(&self) -> usize {
        self.inner.totals.len() * receive::BATCH * receive::DATAGRAM
    }

    /// Makes the counters of a call's streams, as far as the kernel counts them, those of this moment. Waits for the worker for
    /// [`RELEASE`] at most; ask only if one of the streams is off-loaded.
    pub fn refresh(&self, worker: WorkerId, call: plan::CallKey) {
        let (done, refreshed) = std::sync::mpsc::sync_channel(1);
        self.inner.send(worker, Command::Refresh(call, done));
        // A worker that is too busy has counters that are a second old.
        let _ = refreshed.recv_timeout(RELEASE);
    }

    /// Takes everything up from the kernel, where nothing goes any more; what that has counted is known afterwards. False if a worker has
    /// not answered within [`GIVING_UP`].
    pub fn give_up_rung(&self) -> bool {
        let deadline = std::time::Instant::now() + GIVING_UP;
        let all = || {
            let (done, given_up) = std::sync::mpsc::sync_channel(self.inner.mailboxes.len());
            (0..).zip(&self.inner.mailboxes).for_each(|(worker, _)| {
                self.inner.send(WorkerId(worker), Command::GiveUpRung(done.clone()));
            });
            let left = || deadline.saturating_duration_since(std::time::Instant::now());
            self.inner.mailboxes.iter().all(|_| given_up.recv_timeout(left()).is_ok())
        };
        let is_up = all();
        // Packets that were in the kernel at that time have left it, and are counted, before the second round.
        std::thread::sleep(offload::SETTLING);
        is_up && all()
    }

    /// Adds a digit to what a party sends, behind those that were added before.
    pub fn inject(&self, worker: WorkerId, call: plan::CallKey, plan: treatment::InjectionPlan) {
        self.inner.send(worker, Command::Inject(call, plan));
    }

    /// Asks how far the keys of a call's streams were used. Streams without keys are left out.
    pub fn srtp_progress(
        &self,
        worker: WorkerId,
        call: plan::CallKey,
    ) -> tokio::sync::oneshot::Receiver<Vec<(plan::StreamId, plan::SrtpProgress)>> {
        let (answer, receiver) = tokio::sync::oneshot::channel();
        self.inner.send(worker, Command::Progress(call, answer));
        receiver
    }

    /// Events that control did not take in time.
    pub fn events_lost(&self) -> u64 {
        self.inner.shared.events_lost.load(Relaxed)
    }

    /// Sockets that could not be registered for reading; their streams receive nothing.
    pub fn deaf_streams(&self) -> u64 {
        self.inner.shared.deaf_streams.load(Relaxed)
    }

    /// Stops all workers and waits for them.
    pub fn shutdown(self) {
        self.inner.stop();
    }
}

impl Inner {
    fn assigned(&self) -> MutexGuard<'_, Assigned> {
        self.assigned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, worker: WorkerId, command: Command) {
        if let Some(mailbox) = self.mailboxes.get(usize::from(worker.0)) {
            mailbox.send(command);
        }
    }

    fn stop(&self) {
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        if threads.is_empty() {
            return;
        }
        for mailbox in &self.mailboxes {
            mailbox.send(Command::Shutdown);
        }
        for thread in threads {
            // A worker that panicked has said so on the way; there is nothing left to wait for.
            let _ = thread.join();
        }
        let handshakes = self.handshakes.lock().unwrap_or_else(PoisonError::into_inner).take();
        handshakes.into_iter().for_each(HandshakeThread::stop);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop();
    }
}
