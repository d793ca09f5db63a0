//! A few threads that keep the rings of all players filled.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use service::process::scheduling::{Role, enter};

use super::frames::Frames;
use super::kernel::{Descent, Offer};
use crate::media::offload::Announcement;
use crate::media::plan::PlayerFrame;

/// Media that a ring holds when it is full: what a player survives without us.
const RING: Duration = Duration::from_millis(500);
/// Media that is encoded before the player starts.
const HEAD_START: Duration = Duration::from_millis(60);
/// Most threads for all players, unless it is said how many.
const MAX_THREADS: usize = 4;

/// `usize::MAX`: as many as suit the machine.
static THREADS: AtomicUsize = AtomicUsize::new(usize::MAX);

/// How many threads the pool has when it starts, which it does with the first player; with none, nothing is played.
pub fn set_threads(count: usize) {
    THREADS.store(count, Relaxed);
}

/// The producing side of one player, shared by its handle and the pool.
#[derive(Clone)]
pub(super) struct Feed {
    state: Arc<Mutex<FeedState>>,
}

/// Where a player stands in what it plays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub plays_ended: u32,
    /// In the source.
    pub position_ms: u64,
}

/// The lock guards all of one player's producing side. It is held while frames are encoded (some milliseconds at most),
/// and by the handle for a look at the position.
struct FeedState {
    source: Frames,
    /// `None` once all frames are in the ring, or the player was stopped.
    frames: Option<rtrb::Producer<PlayerFrame>>,
    /// Positions of the frames in the ring, oldest first.
    positions: VecDeque<u64>,
    /// Frames that were put into the ring.
    pushed: u64,
    /// Position of the last frame that has left the ring.
    last_position: u64,
    /// Plays that ended before that frame.
    plays_ended: u32,
    /// When the producer was let go; from then on frames are taken to leave at their pace.
    done_at: Option<Instant>,
    packet_time: Duration,
    /// How the player can be given to the kernel, until that was tried.
    descent: Option<Descent>,
    /// The worker has been told of it.
    announcement: Option<Announcement>,
}

impl Feed {
    /// Encodes the first frames.
    pub fn new(source: Frames) -> (Self, rtrb::Consumer<PlayerFrame>) {
        let packet_time = source.packet_time().max(Duration::from_millis(1));
        let capacity = RING.div_duration_f64(packet_time).ceil().max(2.0) as usize;
        let (frames, consumer) = rtrb::RingBuffer::new(capacity);
        let mut state = FeedState {
            source,
            frames: Some(frames),
            positions: VecDeque::with_capacity(capacity),
            pushed: 0,
            last_position: 0,
            plays_ended: 0,
            done_at: None,
            packet_time,
            descent: None,
            announcement: None,
        };
        state.fill(HEAD_START.div_duration_f64(packet_time).ceil() as usize);
        (Self { state: Arc::new(Mutex::new(state)) }, consumer)
    }

    /// The player may be given to the kernel.
    pub fn set_descent(&self, descent: Descent) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).descent = Some(descent);
    }

    /// Position in ms of the last frame that was handed out.
    pub fn position_ms(&self) -> u64 {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.note_position(Instant::now());
        state.last_position
    }

    /// Position in ms of the last of so many frames that were handed out, as the player counted them: a player that was late has
    /// caught up, and is then ahead of the pace.
    pub fn position_after_ms(&self, frames: u64) -> u64 {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(position) = state.position_in_kernel(Instant::now()) {
            return position;
        }
        let gone = state.pushed - state.positions.len() as u64;
        let index = frames.checked_sub(gone + 1).and_then(|index| usize::try_from(index).ok());
        index.and_then(|index| state.positions.get(index)).copied().unwrap_or(state.last_position)
    }

    /// Frames that were handed out.
    pub fn handed_out(&self) -> u64 {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let known = state.announcement.as_ref();
        let by_kernel = known.and_then(|announcement| announcement.progress.frames(announcement, now));
        by_kernel.unwrap_or_else(|| {
            state.note_position(now);
            state.pushed - state.positions.len() as u64
        })
    }

    /// Where it goes on behind so many frames that were handed out.
    pub fn place_after(&self, frames: u64) -> Place {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((plays, position_ms)) = state.announcement.as_ref().and_then(|known| known.place(frames))
        {
            return Place { plays_ended: u32::try_from(plays).unwrap_or(u32::MAX), position_ms };
        }
        let gone = state.pushed - state.positions.len() as u64;
        let mut place = Place { plays_ended: state.plays_ended, position_ms: state.last_position };
        for (number, &position) in (gone..=frames).zip(&state.positions) {
            place.plays_ended += u32::from(begins_anew(number, place.position_ms, position));
            place.position_ms = position;
        }
        if frames >= state.pushed && frames > 0 {
            place.position_ms += state.packet_time.as_millis() as u64;
        }
        place
    }

    /// Frames in the ring that lie before a position in the source: whoever asks takes them out, unheard.
    pub fn leave_out(&self, position_ms: u64) -> usize {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let before = state.positions.iter().take_while(|position| **position < position_ms).count();
        state.positions.drain(..before);
        // Players count what they have handed out.
        state.pushed -= before as u64;
        before
    }

    /// Nothing more is produced; what was stays known.
    pub fn halt(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).frames = None;
    }

    /// Nothing more is produced.
    pub fn stop(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.note_position(Instant::now());
        state.positions.clear();
        state.frames = None;
    }

    /// Fills the ring.
    pub fn fill(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).fill(usize::MAX);
    }

    /// Fills the ring; gives back when to come again.
    fn serve(&self) -> Option<Instant> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.fill(usize::MAX);
        state.offer();
        state.frames.as_ref().map(|_| Instant::now() + RING / 2)
    }
}

impl FeedState {
    /// Gives the player to the kernel if everything is encoded.
    fn offer(&mut self) {
        let (Some(descent), Frames::Shared(reader)) = (&self.descent, &self.source) else { return };
        match descent.offer(reader) {
            Offer::Later => return,
            Offer::Never => {}
            Offer::Made(announcement) => self.announcement = Some(announcement),
        }
        self.descent = None;
    }

    fn fill(&mut self, most: usize) {
        self.note_position(Instant::now());
        let Self { source, frames: Some(frames), positions, pushed, .. } = self else { return };
        if frames.is_abandoned() {
            self.frames = None;
            return;
        }
        for _ in 0..most.min(frames.slots()) {
            let Some((frame, position)) = source.next() else {
                // Letting go of the producer tells the player that this is the end.
                self.frames = None;
                self.done_at = Some(Instant::now());
                return;
            };
            positions.push_back(position);
            *pushed += 1;
            if frames.push(frame).is_err() {
                return;
            }
        }
    }

    /// Position in ms that the kernel has come to, while or after it plays.
    fn position_in_kernel(&self, now: Instant) -> Option<u64> {
        self.announcement
            .as_ref()
            .and_then(|announcement| announcement.progress.position_ms(announcement, now))
    }

    fn note_position(&mut self, now: Instant) {
        if let Some(position) = self.position_in_kernel(now) {
            self.last_position = position;
            self.positions.clear();
            return;
        }
        let left_in_ring = match (&self.frames, self.done_at) {
            (Some(frames), _) => frames.buffer().capacity() - frames.slots(),
            (None, Some(done_at)) => {
                let played = now.duration_since(done_at).div_duration_f64(self.packet_time) as usize;
                if played > 0 {
                    self.done_at = Some(done_at + self.packet_time * played.min(1 << 20) as u32);
                }
                self.positions.len().saturating_sub(played)
            }
            (None, None) => return,
        };
        while self.positions.len() > left_in_ring {
            let number = self.pushed - self.positions.len() as u64;
            if let Some(position) = self.positions.pop_front() {
                self.plays_ended += u32::from(begins_anew(number, self.last_position, position));
                self.last_position = position;
            }
        }
    }
}

/// The frame of that number is the first of a play, but not of all.
fn begins_anew(number: u64, position_before: u64, position: u64) -> bool {
    number > 0 && position <= position_before
}

/// Adds a player to the pool.
pub(super) fn serve(feed: Feed) -> io::Result<()> {
    static POOL: OnceLock<Pool> = OnceLock::new();
    static STARTING: Mutex<()> = Mutex::new(());
    let pool = match POOL.get() {
        Some(pool) => pool,
        None => {
            let _one_at_a_time = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
            match POOL.get() {
                Some(pool) => pool,
                None => {
                    let pool = Pool::start()?;
                    POOL.get_or_init(|| pool)
                }
            }
        }
    };
    pool.add(feed)
}

struct Pool {
    threads: Vec<Sender<Feed>>,
    next: AtomicUsize,
}

impl Pool {
    fn start() -> io::Result<Self> {
        let count = match THREADS.load(Relaxed) {
            0 => return Err(io::Error::other("playback is switched off (media-num-threads)")),
            usize::MAX => thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS),
            count => count,
        };
        let mut threads = Vec::new();
        for index in 0..count {
            let (sender, receiver) = mpsc::channel();
            service::process::threads::builder(format!("player-{index}")).spawn(move || {
                enter(Role::Background);
                run(&receiver);
            })?;
            threads.push(sender);
        }
        Ok(Self { threads, next: AtomicUsize::new(0) })
    }

    fn add(&self, feed: Feed) -> io::Result<()> {
        let index = self.next.fetch_add(1, Relaxed) % self.threads.len().max(1);
        let thread = self.threads.get(index).ok_or(io::ErrorKind::NotFound)?;
        thread.send(feed).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// A feed and when its ring is half empty.
struct Due {
    at: Instant,
    feed: Feed,
}

impl Ord for Due {
    /// The earliest is the greatest.
    fn cmp(&self, other: &Self) -> Ordering {
        other.at.cmp(&self.at)
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Due {}

fn run(new: &Receiver<Feed>) {
    let mut feeds: BinaryHeap<Due> = BinaryHeap::new();
    loop {
        let received = match feeds.peek() {
            None => new.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(next) => new.recv_timeout(next.at.saturating_duration_since(Instant::now())),
        };
        match received {
            Ok(feed) => feeds.push(Due { at: Instant::now(), feed }),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        while feeds.peek().is_some_and(|next| next.at <= Instant::now()) {
            let Some(due) = feeds.pop() else { break };
            if let Some(at) = due.feed.serve() {
                feeds.push(Due { at, feed: due.feed });
            }
        }
    }
}
