//! Announcements that a rung sends by itself: encoded media, who is to hear them, and how far that has got.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::super::plan::PlayerFrame;
use super::BackendError;
use crate::proto::srtp::MasterKey;

/// An announcement of which every frame is encoded. Frames are numbered from 0 on, through all plays.
#[derive(Debug)]
pub struct CompleteMedia {
    /// In Hz.
    pub clock_rate: u32,
    frames: Box<[PlayerFrame]>,
    /// When each frame begins, in units of the RTP clock from the beginning.
    starts: Box<[u64]>,
    /// Position of each frame in the source, in ms.
    positions: Box<[u64]>,
    /// Of one play.
    ticks: u64,
}

impl CompleteMedia {
    /// Frames with their positions in the source in ms; `None` when there is nothing that time could be told by.
    pub fn new(clock_rate: u32, frames: Vec<(PlayerFrame, u64)>) -> Option<Self> {
        let mut ticks = 0_u64;
        let starts = frames.iter().map(|(frame, _)| {
            let start = ticks;
            ticks += u64::from(frame.duration);
            start
        });
        let starts = starts.collect();
        let (frames, positions): (Vec<_>, Vec<_>) = frames.into_iter().unzip();
        let media = Self { clock_rate, frames: frames.into(), starts, positions: positions.into(), ticks };
        (clock_rate > 0 && ticks > 0).then_some(media)
    }

    /// Of one play. Never empty.
    pub fn frames(&self) -> &[PlayerFrame] {
        &self.frames
    }

    /// Units of the RTP clock before the frame of that number.
    pub fn ticks_before(&self, number: u64) -> u64 {
        let (plays, index) = self.place(number);
        plays.saturating_mul(self.ticks).saturating_add(self.starts.get(index).copied().unwrap_or(0))
    }

    /// The frame that is heard so many units of the RTP clock behind the beginning.
    pub fn number_at(&self, ticks: u64) -> u64 {
        let (plays, rest) = (ticks / self.ticks, ticks % self.ticks);
        let behind = self.starts.partition_point(|start| *start <= rest) as u64;
        plays * self.frames.len() as u64 + behind.saturating_sub(1)
    }

    /// The play (from 0 on), and the frame's place in it.
    pub fn place(&self, number: u64) -> (u64, usize) {
        let length = self.frames.len() as u64;
        (number / length, (number % length) as usize)
    }

    /// As a duration.
    pub fn time(&self, ticks: u64) -> Duration {
        let ns = u128::from(ticks) * 1_000_000_000 / u128::from(self.clock_rate);
        Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX))
    }

    /// As units of the RTP clock.
    fn ticks_in(&self, time: Duration) -> u64 {
        u64::try_from(time.as_nanos() * u128::from(self.clock_rate) / 1_000_000_000).unwrap_or(u64::MAX)
    }
}

/// Media that the kernel has a copy of, for as long as this lives.
pub struct LoadedMedia {
    pub media: CompleteMedia,
    /// As the rung numbers it.
    pub number: u32,
    /// Has the kernel forget it.
    unload: Box<dyn Fn(u32) + Send + Sync>,
}

impl LoadedMedia {
    /// `unload` is called with the number when nobody needs the media any more.
    pub fn new(media: CompleteMedia, number: u32, unload: Box<dyn Fn(u32) + Send + Sync>) -> Self {
        Self { media, number, unload }
    }
}

impl Drop for LoadedMedia {
    fn drop(&mut self) {
        (self.unload)(self.number);
    }
}

/// What one listener hears of them.
#[derive(Clone)]
pub struct Announcement {
    pub loaded: Arc<LoadedMedia>,
    /// At least 1.
    pub plays: u32,
    /// Units of the RTP clock in all plays; a frame that begins before that is heard whole.
    pub limit: Option<u64>,
    pub progress: Arc<Progress>,
}

impl Announcement {
    /// The frame of that number, unless the announcement ends before it.
    pub fn frame(&self, number: u64) -> Option<&PlayerFrame> {
        let media = &self.loaded.media;
        let (play, index) = media.place(number);
        let is_over = play >= u64::from(self.plays)
            || self.limit.is_some_and(|limit| media.ticks_before(number) >= limit);
        if is_over { None } else { media.frames().get(index) }
    }

    /// Plays that end before the frame of that number, and its position in the source in ms.
    pub fn place(&self, number: u64) -> Option<(u64, u64)> {
        let (plays, index) = self.loaded.media.place(number);
        self.loaded.media.positions.get(index).map(|&position| (plays, position))
    }

    /// Play time from the frame of that number to the end; `None`: very long.
    pub fn left(&self, number: u64) -> Option<Duration> {
        let media = &self.loaded.media;
        let plays = u64::from(self.plays).saturating_mul(media.ticks);
        // The last frame that begins within the time is heard whole.
        let end = self.limit.map_or(plays, |limit| {
            let frames = limit.checked_sub(1).map_or(0, |last| media.number_at(last).saturating_add(1));
            media.ticks_before(frames).min(plays)
        });
        let ticks = end.saturating_sub(media.ticks_before(number));
        (ticks < u64::MAX / 2).then(|| media.time(ticks))
    }
}

/// How far an announcement has got: written by the worker, read by anybody.
#[derive(Debug)]
pub struct Progress {
    /// Frames that were handed out, or [`NOT_TAKEN`]; more by now while the kernel sends them.
    frames: AtomicU64,
    /// When the first frame would have been due had there been no gap, in µs on the clock of this process; 0 = nobody sends by it.
    began_us: AtomicU64,
}

/// The worker does not play by it.
const NOT_TAKEN: u64 = u64::MAX;

impl Default for Progress {
    fn default() -> Self {
        Self { frames: AtomicU64::new(NOT_TAKEN), began_us: AtomicU64::new(0) }
    }
}

impl Progress {
    /// The worker has handed out so many frames, and sends the next one itself.
    pub fn handed_out(&self, frames: u64) {
        self.frames.store(frames, Relaxed);
        self.began_us.store(0, Relaxed);
    }

    /// The kernel goes on with the frame of that number, which is due then.
    pub fn goes_on(&self, media: &CompleteMedia, number: u64, due: Instant) {
        self.frames.store(number, Relaxed);
        let due_us = due.saturating_duration_since(origin()).as_micros() as u64;
        let before_us = media.time(media.ticks_before(number)).as_micros() as u64;
        self.began_us.store(due_us.saturating_sub(before_us).max(1), Relaxed);
    }

    /// Position in the source, in ms, of the frame that was handed out last; `None` as long as the worker does not play by it.
    pub fn position_ms(&self, announcement: &Announcement, now: Instant) -> Option<u64> {
        let frames = self.frames(announcement, now)?;
        announcement.place(frames.saturating_sub(1)).map(|(_, position)| position)
    }

    /// Frames that have been handed out, in all plays; `None` as long as the worker does not play by it.
    pub fn frames(&self, announcement: &Announcement, now: Instant) -> Option<u64> {
        let media = &announcement.loaded.media;
        let began_us = self.began_us.load(Relaxed);
        let mut frames = Some(self.frames.load(Relaxed)).filter(|frames| *frames != NOT_TAKEN)?;
        if began_us > 0 {
            let now_us = now.saturating_duration_since(origin()).as_micros() as u64;
            let played = Duration::from_micros(now_us.saturating_sub(began_us));
            frames = frames.max(media.number_at(media.ticks_in(played)) + 1);
            if let Some(limit) = announcement.limit {
                frames = frames.min(media.number_at(limit.saturating_sub(1)) + 1);
            }
            frames = frames.min(u64::from(announcement.plays) * media.frames().len() as u64);
        }
        Some(frames)
    }
}

/// Where our clock begins: well before the first packet whose time is told by it.
fn origin() -> Instant {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    *ORIGIN.get_or_init(|| Instant::now().checked_sub(Duration::from_secs(3600)).unwrap_or_else(Instant::now))
}

/// What a rung is asked to send.
#[derive(Clone, Debug)]
pub struct PlayerOrder {
    pub way: PlayerWay,
    pub media: u32,
    /// Of the play that it begins in the middle of.
    pub first_frame: u32,
    /// That one included; 0 = without end.
    pub plays: u32,
    /// 0 = no limit.
    pub ticks: u64,
    pub payload_type: u8,
    pub ssrc: u32,
    pub numbers: PlayerNumbers,
    /// Highest packet index that was used under the key.
    pub index: Option<u64>,
}

/// From where to where, and under which key.
#[derive(Clone, Debug, PartialEq)]
pub struct PlayerWay {
    pub local: SocketAddr,
    pub peer: SocketAddr,
    /// TOS or traffic class.
    pub tos: u8,
    pub key: Option<Arc<MasterKey>>,
}

/// Of the packet that is next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlayerNumbers {
    pub sequence_number: u16,
    pub timestamp: u32,
    pub marker: bool,
    /// From now on.
    pub due: Duration,
}

/// What a player has done since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlayerCount {
    /// That were due, whether or not they could be sent.
    pub frames: u64,
    pub packets: u64,
    /// Of UDP payload, as sent.
    pub octets: u64,
    /// The same without what protection adds.
    pub clear_octets: u64,
    pub failed: u64,
    pub next: PlayerNumbers,
    pub index: Option<u64>,
    /// Nothing is left to be sent, and the last packet's time is over.
    pub has_ended: bool,
}

/// A player in the kernel, as the backend numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PlayerHandle(pub u32);

/// The kernel's side of announcements, as one worker sees it. Calls may make system calls, but never wait.
pub trait PlayerBackend: Send {
    /// Begins to send.
    ///
    /// # Errors
    /// There are as many players as may be, or the kernel refused; nothing is sent.
    fn start(&mut self, order: &PlayerOrder) -> Result<PlayerHandle, BackendError>;

    /// How far it is.
    ///
    /// # Errors
    /// The kernel has lost it: nothing is sent any more.
    fn read(&mut self, player: PlayerHandle) -> Result<PlayerCount, BackendError>;

    /// Ends it; nothing is sent any more, and these numbers are the last.
    ///
    /// # Errors
    /// As [`Self::read`].
    fn stop(&mut self, player: PlayerHandle) -> Result<PlayerCount, BackendError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announcement(plays: u32, limit: Option<u64>) -> Announcement {
        let frame = |duration| PlayerFrame { payload: Arc::from([1; 3]), duration };
        // The second one lasts three packet times: silence is not sent.
        let frames = vec![(frame(160), 0), (frame(480), 20), (frame(160), 80)];
        let media = CompleteMedia::new(8000, frames).unwrap();
        let loaded = Arc::new(LoadedMedia::new(media, 0, Box::new(|_| ())));
        Announcement { loaded, plays, limit, progress: Arc::default() }
    }

    #[test]
    fn frames_are_numbered_through_all_plays() {
        let endless = announcement(u32::MAX, None);
        let media = &endless.loaded.media;
        for (number, ticks) in [(0, 0), (1, 160), (2, 640), (3, 800), (5, 1440), (3_000_001, 800_000_160)] {
            assert_eq!((media.ticks_before(number), media.number_at(ticks)), (ticks, number));
        }
        assert_eq!([159, 639, 799].map(|ticks| media.number_at(ticks)), [0, 1, 2]);
        assert!(CompleteMedia::new(8000, Vec::new()).is_none());
    }

    #[test]
    fn an_announcement_ends_with_its_plays_or_with_its_time() {
        let ms = Duration::from_millis;
        for (plays, limit, frames, length) in [
            (1, None, 3, ms(100)),
            (3, None, 9, ms(300)),
            (3, Some(161), 2, ms(80)),
            (3, Some(160), 1, ms(20)),
            (3, Some(801), 4, ms(120)),
            (2, Some(99_999), 6, ms(200)),
            (u32::MAX, Some(0), 0, ms(0)),
        ] {
            let announcement = announcement(plays, limit);
            let count = (0..).take_while(|number| announcement.frame(*number).is_some()).count();
            assert_eq!(count, frames, "{plays} {limit:?}");
            assert_eq!(announcement.left(0), Some(length), "{plays} {limit:?}");
        }
        assert_eq!(announcement(2, None).left(4), Some(ms(80)));
    }

    #[test]
    fn progress_goes_on_while_the_kernel_sends() {
        let (announcement, ms) = (announcement(2, Some(1500)), Duration::from_millis);
        let (media, progress) = (&announcement.loaded.media, &announcement.progress);
        let now = Instant::now();
        let at = |after| progress.position_ms(&announcement, now + ms(after));
        assert_eq!(at(0), None);
        progress.handed_out(2);
        assert_eq!([at(0), at(500)], [Some(20); 2]);
        progress.goes_on(media, 2, now + ms(10));
        assert_eq!([0, 15, 35, 55, 100, 500].map(|ms| at(ms).unwrap()), [20, 80, 0, 20, 20, 80]);
        progress.handed_out(3);
        assert_eq!(at(500), Some(80));
    }
}
