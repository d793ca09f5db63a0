//! The writer thread: drains the taps, does what control asks for, feeds readers.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime};

use super::directories::Directories;
use super::exposure;
use super::session::{Closing, Env, Opening, Session};
use super::stats::Shared;
use super::sys::Poller;
use super::{CallDescription, CallEnd, RecordedSdp, RecordingDetails, RecordingEnd, RecordingFlags};
use crate::config::PcapFormat;
use crate::media::offload::module::KernelStreams;
use crate::media::tap::{self, TapRecord};

/// What control tells the writer thread about the recording of that number.
#[derive(Debug)]
pub(super) enum Message {
    Begin(u64, Box<Opening>),
    Describe(u64, CallDescription),
    Signalled(u64, RecordedSdp),
    Update(u64, RecordingFlags, RecordingDetails, SystemTime),
    Finish(u64, RecordingEnd, CallEnd),
    /// Leave the recording to another process.
    Leave(u64, SystemTime),
    /// End what an earlier process left, but for the recordings of these names.
    FinishLeftovers(HashSet<String>),
    /// Write what has come, and leave all recordings to somebody else.
    Suspend(std::sync::mpsc::SyncSender<()>),
    Shutdown,
}

/// Where packets come from; a worker's ring, or a test.
pub(super) trait PacketSource: Send {
    fn drain(&mut self, handle: &mut dyn FnMut(TapRecord<'_>)) -> usize;
}

impl PacketSource for tap::Consumer {
    fn drain(&mut self, handle: &mut dyn FnMut(TapRecord<'_>)) -> usize {
        tap::Consumer::drain(self, handle)
    }
}

pub(super) struct Writer {
    pub directories: Directories,
    pub pcap_format: PcapFormat,
    pub messages: Receiver<Message>,
    pub taps: Vec<Box<dyn PacketSource>>,
    pub poller: Poller,
    pub shared: Arc<Shared>,
    /// Files of streams in the kernel, if it forwards.
    pub kernel: Option<KernelStreams>,
    pub sessions: HashMap<u64, Session>,
    pub closing: Vec<Closing>,
    /// Messages that wait for the taps to be drained.
    pub deferred: VecDeque<Message>,
}

/// How often rings are emptied while anything is recorded. A ring must hold what a worker relays meanwhile, and as
/// much again for a disk that is slow for a moment.
const TICK: Duration = Duration::from_millis(10);
/// How long the end of a recording waits for what its workers still have in their sockets: they learn of the end of the call at
/// the same time as we do.
const LAST_PACKETS: Duration = Duration::from_millis(20);
/// Recordings that have ended and wait on disk for a reader; each still has its sockets.
const MAX_ON_DISK: usize = 1000;
/// How long the daemon's own end waits for readers.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

impl Writer {
    /// Runs until it is told to stop, or nobody is left who could tell it.
    pub fn run(mut self) {
        loop {
            let idle = self.sessions.is_empty() && self.closing.is_empty();
            let first = if idle {
                self.messages.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                self.messages.recv_timeout(TICK)
            };
            let stop = match first {
                Ok(message) => {
                    self.receive(message);
                    self.receive_waiting();
                    // Packets that were relayed before a message was sent come before it.
                    self.drain_taps();
                    self.handle_deferred()
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.drain_taps();
                    self.handle_deferred()
                }
                Err(RecvTimeoutError::Disconnected) => true,
            };
            self.tick();
            if stop {
                break self.finish_all();
            }
        }
    }

    /// Beginnings and descriptions take effect at once: packets may already be there. Everything else has its place
    /// among the packets.
    fn receive(&mut self, message: Message) {
        let Self { sessions, poller, directories, shared, kernel, .. } = self;
        let env =
            Env { root: &directories.root, now: Instant::now(), poller, shared, kernel: kernel.as_ref() };
        match message {
            Message::Begin(id, opening) => {
                sessions.insert(id, Session::open(id, *opening, self.pcap_format, &env));
            }
            Message::Describe(id, description) => {
                shared.signalling_queued_octets.fetch_sub(description_octets(&description), Relaxed);
                if let Some(session) = sessions.get_mut(&id) {
                    session.describe(description, &env);
                }
            }
            other => self.deferred.push_back(other),
        }
    }

    fn receive_waiting(&mut self) {
        while let Ok(message) = self.messages.try_recv() {
            self.receive(message);
        }
    }

    fn drain_taps(&mut self) {
        let mut taps = std::mem::take(&mut self.taps);
        let now = Instant::now();
        for tap in &mut taps {
            tap.drain(&mut |record| {
                // A switch that came while the taps are drained may be older than this packet.
                self.receive_waiting();
                self.switch_before(&record);
                // Control describes a stream before a worker taps it: the description has been read by now, unless the
                // recording is over.
                if !self.packet(&record, now) {
                    self.shared.unclaimed_packets.fetch_add(1, Relaxed);
                }
            });
        }
        self.taps = taps;
    }

    /// Carries out the switches of this recording that were asked for before the packet came, and what waits before
    /// them.
    fn switch_before(&mut self, record: &TapRecord<'_>) {
        let is_due = |message: &Message| match message {
            Message::Update(id, _, _, at) => {
                let at_us = at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_micros());
                *id == record.recording && at_us <= u128::from(record.time_us)
            }
            _ => false,
        };
        let is_of_recording = |message: &Message| match message {
            Message::Update(id, ..) | Message::Signalled(id, _) => *id == record.recording,
            _ => false,
        };
        while self.deferred.iter().any(is_due) {
            let Some(index) = self.deferred.iter().position(is_of_recording) else { return };
            if let Some(message) = self.deferred.remove(index) {
                self.handle(message);
            }
        }
    }

    fn packet(&mut self, record: &TapRecord<'_>, now: Instant) -> bool {
        let env = Env {
            root: &self.directories.root,
            now,
            poller: &self.poller,
            shared: &self.shared,
            kernel: self.kernel.as_ref(),
        };
        self.sessions.get_mut(&record.recording).is_some_and(|session| session.packet(record, &env))
    }

    /// `true` = stop.
    fn handle_deferred(&mut self) -> bool {
        while let Some(message) = self.deferred.pop_front() {
            let ended_at = match &message {
                Message::Finish(_, _, end) => Some(end.at),
                Message::Leave(_, at) => Some(*at),
                _ => None,
            };
            if ended_at.and_then(|at| at.elapsed().ok()).is_some_and(|elapsed| elapsed < LAST_PACKETS) {
                self.deferred.push_front(message);
                break;
            }
            if self.handle(message) {
                return true;
            }
        }
        self.publish_counts();
        false
    }

    fn handle(&mut self, message: Message) -> bool {
        let Self { sessions, poller, directories, shared, kernel, closing, .. } = self;
        let env =
            Env { root: &directories.root, now: Instant::now(), poller, shared, kernel: kernel.as_ref() };
        match message {
            Message::Begin(..) | Message::Describe(..) => self.receive(message),
            Message::Signalled(id, sdp) => {
                shared.signalling_queued_octets.fetch_sub(sdp_octets(&sdp), Relaxed);
                if let Some(session) = sessions.get_mut(&id) {
                    session.signalled(&sdp, &env);
                }
            }
            Message::Update(id, flags, details, at) => {
                if let Some(session) = sessions.get_mut(&id) {
                    session.update(flags, details, at, &env);
                }
            }
            Message::Finish(id, end, call_end) => {
                if let Some(session) = sessions.remove(&id) {
                    closing.extend(session.finish(end, &call_end, &env));
                }
            }
            Message::Leave(id, _) => {
                if let Some(session) = sessions.remove(&id) {
                    session.leave(&env);
                }
            }
            Message::FinishLeftovers(going_on) => directories.finish_leftovers(&going_on),
            Message::Suspend(done) => {
                self.drain_taps();
                let Self { sessions, poller, directories, shared, kernel, .. } = self;
                let kernel = kernel.as_ref();
                let env = Env { root: &directories.root, now: Instant::now(), poller, shared, kernel };
                sessions.drain().for_each(|(_, session)| session.leave(&env));
                // Whoever waits may have given up.
                let _ = done.send(());
            }
            Message::Shutdown => return true,
        }
        false
    }

    fn tick(&mut self) {
        let Self { sessions, poller, directories, shared, kernel, closing, .. } = self;
        let env =
            Env { root: &directories.root, now: Instant::now(), poller, shared, kernel: kernel.as_ref() };
        for key in poller.ready() {
            let (id, stream) = exposure::from_poll_key(key);
            if let Some(session) = sessions.get_mut(&id) {
                session.accept(stream, &env);
            } else if let Some(closing) = closing.iter_mut().find(|closing| closing.id() == id) {
                closing.accept(stream, &env);
            }
        }
        for session in sessions.values_mut() {
            session.tick(&env);
        }
        let excess =
            closing.iter().filter(|closing| closing.is_on_disk()).count().saturating_sub(MAX_ON_DISK);
        for oldest in closing.iter_mut().filter(|closing| closing.is_on_disk()).take(excess) {
            oldest.shorten(env.now);
        }
        *closing = std::mem::take(closing).into_iter().filter_map(|closing| closing.tick(&env)).collect();
        self.publish_counts();
    }

    fn finish_all(mut self) {
        self.drain_taps();
        while let Some(message) = self.deferred.pop_front() {
            self.handle(message);
        }
        let now = SystemTime::now();
        let deadline = Instant::now() + SHUTDOWN_GRACE;
        let ids: Vec<u64> = self.sessions.keys().copied().collect();
        for id in ids {
            let end = CallEnd { first_party_ended: now, at: now };
            self.handle(Message::Finish(id, RecordingEnd::Keep, end));
        }
        for closing in &mut self.closing {
            closing.shorten(deadline);
        }
        loop {
            self.tick();
            if self.closing.is_empty() {
                return;
            }
            std::thread::sleep(TICK);
        }
    }

    fn publish_counts(&self) {
        self.shared.recordings.store(self.sessions.len() as u64, Relaxed);
        self.shared.closing.store(self.closing.len() as u64, Relaxed);
    }
}

/// Memory that a waiting description takes, roughly.
pub(super) fn description_octets(description: &CallDescription) -> u64 {
    let entries = description.tags.len() + description.media.len() + description.streams.len();
    (entries as u64 + 1) * 256
}

/// Memory that a waiting signalling message takes, roughly.
pub(super) fn sdp_octets(sdp: &RecordedSdp) -> u64 {
    (sdp.before.len() + sdp.after.len()) as u64 + 256
}
