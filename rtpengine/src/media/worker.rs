//! The loop of one worker thread: wait → packets → commands → what is due.
//!
//! **Wake-ups.** A quiet worker wakes for every packet. Once it has handled [`BUSY_RATE`] packets a second or
//! more over the last [`WINDOW`], it lets packets gather until [`GATHER`] after the last wake-up, so that one
//! wake-up serves many sockets. This delays a packet by [`GATHER`] at most, half of it on average, and its own
//! packet work shortens the pause: at full load there is none. A socket that delivered more than [`DEEP`] packets
//! at once suspends gathering, so that no receive buffer fills up meanwhile. Where most packets are transcoded, which takes the time of
//! a whole packet anyway, it begins at [`TRANSCODING_RATE`] and lasts for [`GATHER_TRANSCODED`].
//!
//! With `busy-poll` packets do not gather: the worker looks for them all the time for a while, and then sleeps.
//!
//! **Commands** gather likewise: the first one wakes the worker, those that follow within [`GATHER`] find it awake and are taken
//! together. What a party sends meanwhile waits in its socket.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc;

use super::dtls::Gate;
use super::event::MediaEvent;
use super::fax::FaxGateways;
use super::forward::{self, handle_batch};
use super::ice::IceAgents;
use super::install::Calls;
use super::mailbox::{Command, Inbox};
use super::offload::Ladder;
use super::output::{EARLY, Now, Output};
use super::plan::DropReason;
use super::player::Turn;
use super::poll::{Poll, sleep};
use super::receive::{BATCH, DATAGRAM, ReceiveBatch};
use super::rtcp_copies::RtcpCopies;
use super::schedule::{Due, Schedule};
use super::security::Sealed;
use super::send::SendBatch;
use super::sockets::position_of;
use super::srtp_log::SrtpLog;
use super::stream::{AHEAD, Streams};
use super::tap;
use super::totals::{Chains, WorkerTotals};
use super::twins;
use crate::config::Config;

/// Longest time for which packets gather.
pub const GATHER: Duration = Duration::from_millis(1);
/// Packets a second from which on they do.
pub const BUSY_RATE: u64 = 1500;
/// The same where most packets are transcoded: as much as a packet of the codec graph may be early, which nobody hears.
const GATHER_TRANSCODED: Duration = Duration::from_millis(4);
const TRANSCODING_RATE: u64 = 500;
const WINDOW: Duration = Duration::from_millis(100);
const DEEP: usize = 24;

/// Token of the inbox in the poll; no stream has it.
const INBOX: u64 = u64::MAX;

/// Counts what control wants to know about a worker.
#[derive(Default)]
pub struct WorkerShared {
    /// Events that control did not take in time.
    pub events_lost: AtomicU64,
    /// Sockets that could not be registered for reading.
    pub deaf_streams: AtomicU64,
    /// Transcoders by chain.
    pub chains: Chains,
}

/// A worker thread's state.
pub struct Worker {
    pub(super) poll: Poll,
    pub(super) streams: Streams,
    pub(super) calls: Calls,
    pub(super) output: Output,
    /// What is below user space, if anything is.
    pub(super) ladder: Option<Ladder>,
    inbox: Inbox,
    pub(super) batch: ReceiveBatch,
    pub(super) scratch: Box<[u8; DATAGRAM]>,
    /// Streams whose socket was not emptied.
    unfinished: Vec<u64>,
    events: mpsc::Sender<MediaEvent>,
    pub(super) shared: Arc<WorkerShared>,
    max_packets: usize,
    /// For how long it looks for packets before it sleeps.
    busy_poll: Duration,
    /// What is due within this time is due.
    early: Duration,
    /// New keys go into the log.
    pub(super) logs_keys: bool,
    load: Load,
    /// Control does not wake us, since we look at the inbox again within [`GATHER`].
    expecting: bool,
    /// This round has had commands.
    commanded: bool,
    /// When the round began.
    begun: Now,
    /// How far its clock has been put forward.
    #[cfg(any(test, fuzzing))]
    ahead: Duration,
}

/// Decides whether packets should gather.
struct Load {
    since: Instant,
    packets: u64,
    /// How long packets gather; zero when the worker is quiet.
    pause: Duration,
    deepest: usize,
}

impl Load {
    /// Looks back at the last window when it has ended.
    fn measure(&mut self, now: Instant, transcoded: &mut u64) {
        let elapsed = now - self.since;
        if elapsed < WINDOW {
            return;
        }
        let reached = |rate| self.packets * 1000 >= rate * elapsed.as_millis() as u64;
        self.pause = if *transcoded * 2 > self.packets && reached(TRANSCODING_RATE) {
            GATHER_TRANSCODED
        } else if reached(BUSY_RATE) {
            GATHER
        } else {
            Duration::ZERO
        };
        self.since = now;
        self.packets = 0;
        *transcoded = 0;
    }
}

impl Worker {
    pub fn new(
        inbox: Inbox,
        tap: Option<tap::Producer>,
        dtls: Gate,
        events: mpsc::Sender<MediaEvent>,
        shared: Arc<WorkerShared>,
        totals: Arc<WorkerTotals>,
        config: &Config,
    ) -> std::io::Result<Self> {
        let poll = Poll::new(config.poller_size)?;
        poll.add(inbox.wake_fd(), INBOX)?;
        let output = Output {
            batch: SendBatch::new(),
            sealed: Sealed::new(),
            schedule: Schedule::new(),
            tap,
            dtls,
            ice: IceAgents::default(),
            fax: FaxGateways::default(),
            now: now(),
            totals,
            transcoded: 0,
            graph: config.transcoding.graph.clone(),
            rtcp: config.rtcp,
            srtp_log: config.debug_srtp.then(SrtpLog::default),
            rtcp_copies: config.reporting.wants_rtcp().then(|| RtcpCopies::new(events.clone())),
        };
        Ok(Self {
            poll,
            streams: Streams::default(),
            calls: Calls::default(),
            output,
            ladder: None,
            inbox,
            batch: ReceiveBatch::new(),
            scratch: Box::new([0; DATAGRAM]),
            unfinished: Vec::with_capacity(4096),
            events,
            shared,
            early: EARLY.max(config.timer_accuracy),
            max_packets: (config.max_recv_iters as usize).max(1),
            busy_poll: config.busy_poll,
            logs_keys: config.log_srtp_keys,
            load: Load { since: Instant::now(), packets: 0, pause: Duration::ZERO, deepest: 0 },
            expecting: false,
            commanded: false,
            begun: now(),
            #[cfg(any(test, fuzzing))]
            ahead: Duration::ZERO,
        })
    }

    /// Has something below user space.
    pub fn above(mut self, ladder: Option<Ladder>) -> Self {
        self.ladder = ladder;
        self.raise_shield();
        self
    }

    /// Runs until it is told to shut down.
    pub fn run(mut self) {
        loop {
            let timeout = self.timeout();
            let is_patient = self.busy_poll.is_zero();
            let ready = if is_patient {
                self.poll.wait(timeout)
            } else {
                self.poll.wait_busily(timeout, self.busy_poll)
            };
            let woken = Instant::now();
            if !self.round(ready) {
                return;
            }
            // Those of more sockets than one call can tell of are waiting already.
            if is_patient && ready < self.poll.capacity() {
                self.gather(woken);
            }
        }
    }

    /// One round without waiting.
    #[cfg(any(test, fuzzing))]
    pub fn turn(&mut self) {
        let ready = self.poll.wait(Some(Duration::ZERO));
        self.round(ready);
    }

    /// Puts its clock forward.
    #[cfg(any(test, fuzzing))]
    pub fn put_forward(&mut self, time: Duration) {
        self.ahead += time;
    }

    /// Commands, packets of the `ready` sockets, what is due. False when a command was to stop.
    fn round(&mut self, ready: usize) -> bool {
        self.begin();
        self.output.totals.wakeups.add(1);
        self.output.totals.items.add(ready as u64);
        self.load.deepest = 0;
        self.expecting |= (0..ready).any(|index| self.poll.token(index) == INBOX);
        self.commanded = false;
        // Commands come before packets: a party may send as soon as it has the answer, and the plan that knows
        // it was queued before that answer was written.
        if !self.commands() {
            return false;
        }
        let unfinished = self.unfinished.len();
        for index in 0..unfinished {
            let token = self.unfinished[index];
            self.receive(token);
        }
        self.unfinished.drain(..unfinished);
        for index in 0..ready + AHEAD - 1 {
            // The inbox is nobody's token.
            let token = |back| index.checked_sub(back).filter(|i| *i < ready).map(|i| self.poll.token(i));
            self.streams.look_ahead([token(0), token(1), token(2), token(3), token(4)]);
            let Some(token) = token(AHEAD - 1).filter(|token| *token != INBOX) else { continue };
            if !self.inbox.is_empty() && !self.commands() {
                return false;
            }
            self.receive(token);
        }
        self.output.now = self.now();
        self.due();
        if self.expecting && !self.commanded {
            self.inbox.acknowledge();
            self.expecting = false;
        }
        true
    }

    /// Reads both clocks, once a round.
    fn begin(&mut self) {
        self.begun = now();
        #[cfg(any(test, fuzzing))]
        self.begun.go_on(self.ahead);
    }

    /// Present time. Reads one clock: within a round both go alike.
    fn now(&self) -> Now {
        let instant = Instant::now();
        #[cfg(any(test, fuzzing))]
        let instant = instant + self.ahead;
        let elapsed = instant.saturating_duration_since(self.begun.instant);
        Now { instant, us: self.begun.us + elapsed.as_micros() as u64 }
    }

    fn timeout(&self) -> Option<Duration> {
        if !self.unfinished.is_empty() || !self.inbox.is_empty() {
            return Some(Duration::ZERO);
        }
        let next = self.output.schedule.next().map(|next| next.saturating_duration_since(Instant::now()));
        match next {
            Some(next) if self.expecting => Some(next.min(GATHER)),
            None if self.expecting => Some(GATHER),
            next => next,
        }
    }

    /// Empties a socket, up to the number of packets that keeps the others from waiting.
    pub(super) fn receive(&mut self, token: u64) {
        let Some(slot) = self.streams.resolve(token) else { return };
        // What waits goes first: a late packet that is sent at once must not overtake its predecessor.
        self.output.now = self.now();
        self.due();
        let mut total = 0;
        while let Some(fd) =
            self.streams.get_mut(slot).and_then(|stream| stream.read_from(position_of(token)))
        {
            // An error belongs to a packet sent earlier; reading it has consumed it, packets may follow.
            let asked = BATCH.min(self.max_packets - total);
            let Ok(count) = self.batch.receive(fd, asked) else {
                self.unfinished.push(token);
                break;
            };
            if count > 0 {
                if self.ladder.is_some() {
                    self.came_up(slot, count);
                }
                match self.streams.get(slot).and_then(|stream| stream.twin) {
                    None => self.handle(slot, count, u32::MAX),
                    Some(twin) => {
                        let [own, other] = twins::split(&self.streams, slot, twin, &self.batch, count);
                        self.handle(slot, count, own);
                        self.handle(twin, count, other);
                    }
                }
                self.ice_news();
                if self.ladder.is_some() {
                    self.guard_if_news(slot);
                }
            }
            total += count;
            if count < asked {
                break;
            }
            if total >= self.max_packets {
                self.unfinished.push(token);
                break;
            }
        }
        self.load.packets += total as u64;
        self.load.deepest = self.load.deepest.max(total);
    }

    /// Handles those of `count` datagrams that belong to a stream.
    fn handle(&mut self, slot: u32, count: usize, own: u32) {
        let Self { streams, batch, output, scratch, .. } = self;
        let learned = handle_batch(streams, slot, batch, (count, own), output, scratch);
        if let (Some(peer), Some(stream)) = (learned, self.streams.get(slot)) {
            let call = stream.call;
            self.tell(MediaEvent::EndpointLearned { call, stream: stream.id, peer });
            self.tell_path(slot);
            self.tell_companion(slot);
            self.compare_call(call);
        }
        self.tell_digits(slot);
        self.tell_arrivals(slot);
    }

    /// Tells control about sections whose first packet has come.
    fn tell_arrivals(&mut self, slot: u32) {
        while let Some(stream) = self.streams.get_mut(slot) {
            // Beside what every packet touches; where the sections are is not.
            if !stream.tells_arrival {
                return;
            }
            let Some(section) = stream.arrivals.as_mut().and_then(|arrivals| arrivals.take_untold()) else {
                return;
            };
            let section = stream.sections.is_some().then_some(section);
            let event = MediaEvent::MediaArrived { call: stream.call, stream: stream.id, section };
            self.tell(event);
        }
    }

    /// Tells control about digits that ended on a stream.
    pub(super) fn tell_digits(&mut self, slot: u32) {
        while let Some(stream) = self.streams.get_mut(slot) {
            let Some(digit) = stream.dtmf.as_mut().and_then(|detector| detector.next_digit()) else { return };
            let event =
                MediaEvent::DtmfEnded { call: stream.call, stream: stream.id, digit, injected: false };
            self.tell(event);
        }
    }

    /// Carries out what control asked for; false when that was to stop.
    fn commands(&mut self) -> bool {
        while let Some(command) = self.inbox.next() {
            self.load.packets += 1;
            self.commanded = true;
            self.output.now = self.now();
            match command {
                Command::Install(plan) => self.install(plan),
                Command::Remove(call) => self.remove(call),
                Command::Release(call, done) => {
                    self.remove(call);
                    self.output.dtls.report(done);
                }
                // Whoever asked may have stopped waiting.
                Command::Refresh(call, done) => {
                    self.refresh(call);
                    let _ = done.try_send(());
                }
                Command::StartPlayer(call, plan) => self.start_player(call, plan),
                Command::StopPlayer(call, player) => self.stop_player(call, player),
                Command::TakeAnnouncement(call, player, announcement) => {
                    self.take_announcement(call, player, announcement);
                }
                Command::Inject(call, plan) => self.inject(call, plan),
                // Whoever asked may have stopped waiting.
                Command::Progress(call, answer) => drop(answer.send(self.srtp_progress(call))),
                Command::Detach(call, answer) => {
                    // The keys are used by nobody else from here on.
                    self.lift_players(call);
                    let progress = self.srtp_progress(call);
                    self.detach_call(call);
                    drop(answer.send(progress));
                }
                Command::GiveUpRung(done) => {
                    self.give_up_rung();
                    let _ = done.try_send(());
                }
                Command::Keyed(keyed) => self.keyed(*keyed),
                Command::Shutdown => return false,
            }
        }
        true
    }

    /// Sends what is due at the present time.
    fn due(&mut self) {
        let horizon = self.output.now.instant + self.early;
        while let Some((at, due)) = self.output.schedule.pop(horizon) {
            match due {
                Due::Packet(index) => {
                    self.load.packets += 1;
                    let waiting = self.output.schedule.waiting(index);
                    let source = waiting.source;
                    let sink = self.streams.resolve(waiting.sink).and_then(|s| self.streams.get_mut(s));
                    let length = waiting.octets().len();
                    self.scratch[..length].copy_from_slice(waiting.octets());
                    self.output.schedule.release(index);
                    let sent = match sink {
                        Some(sink) => self.output.send_rtp(sink, &self.scratch[..length]),
                        None => Err(DropReason::NoSink),
                    };
                    if let (Err(reason), Some(source)) = (sent, self.streams.resolve(source)) {
                        self.streams.get(source).inspect(|stream| stream.drop_packet(reason));
                    }
                }
                Due::Held(index) => self.release_held(index),
                Due::Turn(stream, ssrc) => self.transcoder_turn(stream, ssrc),
                Due::Player(player) => self.play(player, at),
                Due::Injection(injection) => self.injection_turn(injection, at),
                Due::Pierce(stream) => self.pierce_turn(stream, at),
                Due::Ice(agent) => self.ice_turn(agent, at),
                Due::Mix(stream) => {
                    self.load.packets += 1;
                    self.mix_turn(stream, at);
                }
                Due::Report(stream) => self.report_turn(stream, at),
                Due::Measure(stream) => self.measure_turn(stream, at),
                Due::Fax(gateway) => self.fax_turn(gateway, at),
                Due::Offload(stream) => self.offload_turn(stream, at),
            }
        }
    }

    /// Transcoders that make packets by a clock of their own.
    fn transcoder_turn(&mut self, token: u64, ssrc: u32) {
        let Some(slot) = self.streams.resolve(token) else { return };
        self.load.packets += 1;
        forward::turn(&mut self.streams, slot, ssrc, &mut self.output, &mut self.scratch);
    }

    fn play(&mut self, number: u64, at: Instant) {
        let Some(player) = self.calls.players.get_mut(&number).filter(|player| player.turn_at == at) else {
            return;
        };
        if player.below.is_some() {
            return self.turn_below(number);
        }
        self.load.packets += 1;
        // Up to `EARLY` before its time a turn counts as on time.
        let now = self.output.now.instant.max(at);
        match player.turn(now, &mut self.scratch[..]) {
            Turn::Packet { length, next } => {
                let sink = self.streams.resolve(player.sink).and_then(|s| self.streams.get_mut(s));
                if let Some(sink) = sink {
                    // Without a peer media time goes on; the sink's error counter has it.
                    let _ = self.output.send_unmuted(sink, &self.scratch[..length]);
                }
                player.turn_at = next;
                let wants_down = player.announcement().is_some() && player.look_at <= now;
                self.output.schedule.player(next, number);
                self.report_player(number);
                if wants_down {
                    self.hand_down(number);
                }
            }
            Turn::Samples { payload, timestamp, next } => {
                let (token, ssrc) = (player.sink, player.ssrc());
                player.turn_at = next;
                if let Some(sink) = self.streams.resolve(token).and_then(|s| self.streams.get_mut(s)) {
                    // Nobody mixes any more when a re-offer has ended that; media time goes on.
                    let _ = self.output.mix_samples(sink, token, ssrc, timestamp, &payload);
                }
                self.output.schedule.player(next, number);
            }
            Turn::Wait { next } => {
                player.turn_at = next;
                self.output.schedule.player(next, number);
            }
            Turn::Finished => self.finish_player(number),
        }
    }

    /// Lets packets gather when that pays.
    fn gather(&mut self, woken: Instant) {
        let now = Instant::now();
        self.load.measure(now, &mut self.output.transcoded);
        if self.load.pause.is_zero() || self.load.deepest > DEEP || !self.unfinished.is_empty() {
            return;
        }
        let mut pause = (woken + self.load.pause).saturating_duration_since(now);
        if let Some(next) = self.output.schedule.next() {
            pause = pause.min(next.saturating_duration_since(now));
        }
        if !pause.is_zero() {
            sleep(pause);
        }
    }

    /// Tells control, or counts that it could not be told.
    pub(super) fn tell(&self, event: MediaEvent) {
        if self.events.try_send(event).is_err() {
            self.shared.events_lost.fetch_add(1, Relaxed);
        }
    }
}

fn now() -> Now {
    let us = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros() as u64);
    Now { instant: Instant::now(), us }
}
