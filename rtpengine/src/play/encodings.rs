//! Encoded announcements that all of their listeners share: one encoder for any number of them.
//!
//! ```text
//! (contents, codec, parameters) → Encoding: frames so far + FrameMaker of the rest
//!                                   ▲ whoever comes to its end first encodes on, the others find the frames there
//! ```
//!
//! An encoding lives as long as somebody listens, or for ever with the player cache, which also encodes to the end what nobody
//! listened to that far. Each play of it begins with a fresh encoder, so that repetitions follow on a whole packet.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use codec::{EncoderOptions, PayloadFormat};
use media_store::library::Identity;

use super::encode::FrameMaker;
use crate::media::offload::LoadedMedia;
use crate::media::plan::PlayerFrame;

/// Encoded announcements.
pub struct Encodings {
    retention: Retention,
    table: Mutex<HashMap<Key, Slot>>,
    /// Encodings that were begun.
    begun: AtomicU64,
    /// The thread that completes encodings.
    completer: OnceLock<Option<Sender<Weak<Encoding>>>>,
}

/// How long encodings stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// As long as somebody listens.
    WhilePlayed,
    /// Until they are evicted (`player-cache`).
    UntilEvicted,
}

/// What makes two listeners hear the same octets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    identity: Identity,
    /// Its payload type is 0: the number is the listener's affair.
    format: PayloadFormat,
    options: EncoderOptions,
}

enum Slot {
    Kept(Arc<Encoding>),
    Played(Weak<Encoding>),
}

impl Slot {
    fn encoding(&self) -> Option<Arc<Encoding>> {
        match self {
            Slot::Kept(encoding) => Some(encoding.clone()),
            Slot::Played(encoding) => encoding.upgrade(),
        }
    }
}

/// One announcement in one codec.
pub(super) struct Encoding {
    /// For lists.
    name: String,
    pub packet_time: Duration,
    /// Length of the source.
    pub duration: Option<Duration>,
    growing: Mutex<Growing>,
    /// The kernel's copy.
    loaded: Mutex<Option<Arc<LoadedMedia>>>,
}

/// The lock is held while a frame is encoded.
struct Growing {
    frames: Vec<(PlayerFrame, u64)>,
    octets: u64,
    /// Most frames.
    longest: usize,
    /// `None` once all frames are there.
    maker: Option<FrameMaker>,
}

/// A complete encoding, for lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedMedia {
    /// What it is and in which codec.
    pub name: String,
    pub frames: usize,
    pub octets: u64,
}

/// What is shared without the player cache is no longer than this: it stays in memory while it is played.
const LONGEST_UNKEPT: Duration = Duration::from_secs(300);
/// What the player cache keeps is no longer than this. A source that says nothing of its length, or lies, is cut off here: some kilobytes
/// may hold days of silence.
const LONGEST_KEPT: Duration = Duration::from_secs(3600);
/// Frames that are completed in one go, so that listeners get at the encoding in between.
const COMPLETED_AT_ONCE: usize = 8;

impl Key {
    pub fn new(identity: Identity, format: &PayloadFormat, options: &EncoderOptions) -> Self {
        Self {
            identity,
            format: PayloadFormat { payload_type: 0, ..format.clone() },
            options: options.clone(),
        }
    }

    fn name(&self) -> String {
        let what = match &self.identity {
            Identity::File { path, .. } => path.display().to_string(),
            Identity::Content { hash, length } => format!("{length} octets ({hash:016x})"),
        };
        format!("{what} as {}/{}", self.format.name, self.format.clock_rate)
    }
}

impl Encodings {
    pub fn new(retention: Retention) -> Self {
        Self { retention, table: Mutex::default(), begun: AtomicU64::new(0), completer: OnceLock::new() }
    }

    /// An encoding that is there already.
    pub(super) fn find(&self, key: &Key) -> Option<Arc<Encoding>> {
        lock(&self.table).get(key).and_then(Slot::encoding)
    }

    /// Whether a source of this length is to be shared.
    pub(super) fn takes(&self, duration: Option<Duration>) -> bool {
        match self.retention {
            Retention::UntilEvicted => duration.is_none_or(|duration| duration <= LONGEST_KEPT),
            Retention::WhilePlayed => duration.is_some_and(|duration| duration <= LONGEST_UNKEPT),
        }
    }

    /// Takes in an encoding that is about to begin; if somebody was faster, theirs is used.
    pub(super) fn begin(&self, key: Key, duration: Option<Duration>, maker: FrameMaker) -> Arc<Encoding> {
        let mut table = lock(&self.table);
        if let Some(present) = table.get(&key).and_then(Slot::encoding) {
            return present;
        }
        table.retain(|_, slot| slot.encoding().is_some());
        self.begun.fetch_add(1, Relaxed);
        let packet_time = maker.packet_time();
        let longest = LONGEST_KEPT.div_duration_f64(packet_time.max(Duration::from_millis(1))) as usize;
        let growing = Growing { frames: Vec::new(), octets: 0, longest, maker: Some(maker) };
        let name = key.name();
        let encoding = Arc::new(Encoding {
            name,
            packet_time,
            duration,
            growing: Mutex::new(growing),
            loaded: Mutex::default(),
        });
        let slot = match self.retention {
            Retention::UntilEvicted => Slot::Kept(encoding.clone()),
            Retention::WhilePlayed => Slot::Played(Arc::downgrade(&encoding)),
        };
        table.insert(key, slot);
        drop(table);
        if self.retention == Retention::UntilEvicted {
            self.complete_later(&encoding);
        }
        encoding
    }

    /// Encodings that were begun so far.
    pub fn begun(&self) -> u64 {
        self.begun.load(Relaxed)
    }

    /// Complete encodings that are kept.
    pub fn list(&self) -> Vec<EncodedMedia> {
        let mut list: Vec<_> = self.kept().iter().filter_map(|encoding| encoding.describe()).collect();
        list.sort_by(|a, b| a.name.cmp(&b.name));
        list
    }

    /// Octets of the player cache.
    pub fn octets(&self) -> u64 {
        self.kept().iter().map(|encoding| lock(&encoding.growing).octets).sum()
    }

    /// Forgets all; how many were kept. Who listens goes on.
    pub fn evict_all(&self) -> usize {
        let table = std::mem::take(&mut *lock(&self.table));
        table.values().filter(|slot| matches!(slot, Slot::Kept(_))).count()
    }

    fn kept(&self) -> Vec<Arc<Encoding>> {
        let kept = |slot: &Slot| match slot {
            Slot::Kept(encoding) => Some(encoding.clone()),
            Slot::Played(_) => None,
        };
        lock(&self.table).values().filter_map(kept).collect()
    }

    /// Without the thread the listeners encode, as far as they listen.
    fn complete_later(&self, encoding: &Arc<Encoding>) {
        let completer = self.completer.get_or_init(|| {
            let (sender, encodings) = mpsc::channel::<Weak<Encoding>>();
            let run = move || {
                while let Ok(encoding) = encodings.recv() {
                    while encoding.upgrade().is_some_and(|encoding| encoding.encode_some()) {
                        thread::yield_now();
                    }
                }
            };
            let spawned = service::process::threads::builder("player-cache").spawn(run);
            spawned.inspect_err(|error| tracing::error!(%error, "no thread for the player cache")).ok()?;
            Some(sender)
        });
        if let Some(completer) = completer {
            // Fails when the thread has ended: see above.
            let _ = completer.send(Arc::downgrade(encoding));
        }
    }
}

impl Encoding {
    /// The frame at a position, encoded if nobody has yet; `None` behind the last one.
    fn frame(&self, index: usize) -> Option<(PlayerFrame, u64)> {
        let mut growing = lock(&self.growing);
        while growing.frames.len() <= index {
            if !growing.encode() {
                return None;
            }
        }
        growing.frames.get(index).cloned()
    }

    /// `false` when all frames are there.
    fn encode_some(&self) -> bool {
        let mut growing = lock(&self.growing);
        (0..COMPLETED_AT_ONCE).all(|_| growing.encode())
    }

    /// All frames are there.
    pub fn is_complete(&self) -> bool {
        lock(&self.growing).maker.is_none()
    }

    /// Everything, with positions in ms; `None` as long as frames are missing.
    pub fn complete(&self) -> Option<Vec<(PlayerFrame, u64)>> {
        let growing = lock(&self.growing);
        growing.maker.is_none().then(|| growing.frames.clone())
    }

    /// The kernel's copy, for the time of the guard.
    pub fn loaded(&self) -> MutexGuard<'_, Option<Arc<LoadedMedia>>> {
        lock(&self.loaded)
    }

    fn describe(&self) -> Option<EncodedMedia> {
        let growing = lock(&self.growing);
        growing.maker.is_none().then(|| EncodedMedia {
            name: self.name.clone(),
            frames: growing.frames.len(),
            octets: growing.octets,
        })
    }
}

impl Growing {
    /// Adds a frame; `false` when there is none.
    fn encode(&mut self) -> bool {
        let Some(maker) = &mut self.maker else { return false };
        let is_full = self.frames.len() >= self.longest;
        if is_full {
            tracing::warn!(frames = self.longest, "announcement is too long to be shared, cut off");
        }
        let Some((frame, position)) = (if is_full { None } else { maker.next() }) else {
            self.maker = None;
            self.frames.shrink_to_fit();
            return false;
        };
        self.octets += frame.payload.len() as u64;
        self.frames.push((frame, position));
        true
    }
}

/// One listener's way through an encoding.
pub(super) struct Reader {
    encoding: Arc<Encoding>,
    next: usize,
    plays: u32,
    limit: Option<u64>,
    plays_left: u32,
    /// Units of the RTP clock that may still be played.
    ticks_left: Option<u64>,
}

impl Reader {
    /// `repeat_times` is at least 1; `limit` is the total play time in units of the RTP clock.
    pub fn new(encoding: Arc<Encoding>, repeat_times: u32, limit: Option<u64>) -> Self {
        let plays = repeat_times.max(1);
        Self { encoding, next: 0, plays, limit, plays_left: plays, ticks_left: limit }
    }

    pub fn packet_time(&self) -> Duration {
        self.encoding.packet_time
    }

    /// What is read, how often at most, and for how many units of the RTP clock; as it was before the first frame was read.
    pub fn whole(&self) -> (&Arc<Encoding>, u32, Option<u64>) {
        (&self.encoding, self.plays, self.limit)
    }

    /// The next frame and its position in the source in ms; `None` at the end of the last play.
    pub fn next(&mut self) -> Option<(PlayerFrame, u64)> {
        if self.ticks_left == Some(0) {
            return None;
        }
        let frame = match self.encoding.frame(self.next) {
            Some(frame) => frame,
            // Repeating nothing would never end.
            None if self.next == 0 || self.plays_left <= 1 => return None,
            None => {
                self.plays_left -= 1;
                self.next = 0;
                self.encoding.frame(0)?
            }
        };
        self.next += 1;
        if let Some(left) = &mut self.ticks_left {
            *left = left.saturating_sub(u64::from(frame.0.duration));
        }
        Some(frame)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use codec::new_encoder;
    use media_store::source::{AudioSource, Origin};

    use super::super::encode::Shape;
    use super::super::tests::wav;
    use super::*;

    fn format() -> PayloadFormat {
        PayloadFormat::new(8, "PCMA", 8000, 1)
    }

    fn maker(samples: u32) -> FrameMaker {
        let origin = Origin::Memory(wav(samples, |n| (n / 160) as u8).into());
        let source = AudioSource::open(origin, 8000, 1).expect("opens");
        let encoder = new_encoder(&format(), &EncoderOptions::default()).expect("encoder");
        FrameMaker::new(source, encoder, Shape::once(20, 8000))
    }

    fn key(hash: u64) -> Key {
        Key::new(Identity::Content { hash, length: 1 }, &format(), &EncoderOptions::default())
    }

    fn payloads(mut reader: Reader) -> Vec<(Arc<[u8]>, u64)> {
        std::iter::from_fn(|| reader.next()).map(|(frame, position)| (frame.payload, position)).collect()
    }

    #[test]
    fn listeners_share_the_very_frames_wherever_they_are() {
        let encodings = Encodings::new(Retention::WhilePlayed);
        let first = encodings.begin(key(1), None, maker(1600));
        let second = encodings.begin(key(1), None, maker(1600));
        assert!(Arc::ptr_eq(&first, &second));
        let mut early = Reader::new(first, 1, None);
        assert_eq!(early.next().expect("a frame").1, 0);
        let late = payloads(Reader::new(second, 1, None));
        assert_eq!(
            late.iter().map(|(_, position)| *position).collect::<Vec<_>>(),
            (0..10).map(|n| n * 20).collect::<Vec<_>>()
        );
        let rest = payloads(early);
        assert!(rest.iter().zip(&late[1..]).all(|(a, b)| Arc::ptr_eq(&a.0, &b.0)));
        assert_eq!((rest.len(), encodings.begun()), (9, 1));
        assert!(encodings.find(&key(1)).is_none(), "nobody listens any more");
        assert_eq!((encodings.octets(), encodings.evict_all()), (0, 0));
    }

    #[test]
    fn plays_are_counted_and_the_total_time_limits_them() {
        let encodings = Encodings::new(Retention::WhilePlayed);
        let encoding = encodings.begin(key(1), None, maker(800));
        for (times, limit, frames) in
            [(1, None, 5), (3, None, 15), (u32::MAX, Some(1120), 7), (1, Some(9999), 5)]
        {
            assert_eq!(
                payloads(Reader::new(encoding.clone(), times, limit)).len(),
                frames,
                "{times} {limit:?}"
            );
        }
        let empty = encodings.begin(key(2), None, maker(0));
        assert!(payloads(Reader::new(empty, u32::MAX, None)).is_empty());
    }

    #[test]
    fn the_player_cache_completes_lists_and_evicts() {
        let encodings = Encodings::new(Retention::UntilEvicted);
        drop(encodings.begin(key(1), None, maker(8000)));
        let deadline = Instant::now() + Duration::from_secs(20);
        while encodings.list().is_empty() {
            assert!(Instant::now() < deadline, "not completed");
            thread::sleep(Duration::from_millis(1));
        }
        let [complete] = &encodings.list()[..] else { panic!("one encoding") };
        assert_eq!((complete.frames, complete.octets, encodings.octets()), (50, 8000, 8000));
        assert!(complete.name.ends_with(" as PCMA/8000"), "{}", complete.name);
        assert!(encodings.find(&key(1)).is_some());
        assert_eq!((encodings.evict_all(), encodings.evict_all(), encodings.octets()), (1, 0, 0));
    }

    #[test]
    fn a_source_without_end_is_cut_off() {
        let encodings = Encodings::new(Retention::WhilePlayed);
        let encoding = encodings.begin(key(1), None, maker(8000));
        lock(&encoding.growing).longest = 7;
        assert_eq!(payloads(Reader::new(encoding, 1, None)).len(), 7);
    }

    #[test]
    fn long_sources_are_shared_by_the_player_cache_only() {
        let minutes = |minutes: u64| Some(Duration::from_secs(60 * minutes));
        let [played, kept] = [Retention::WhilePlayed, Retention::UntilEvicted].map(Encodings::new);
        assert!(played.takes(minutes(5)) && !played.takes(minutes(6)) && !played.takes(None));
        assert!(kept.takes(minutes(60)) && kept.takes(None) && !kept.takes(minutes(61)));
    }
}
