//! Announcements: a source is opened and encoded off the media path, its frames go to a worker through a ring.
//!
//! ```text
//! file, blob, db-id → Sources (library) → AudioSource → FrameMaker (encode) → Encodings → ring of half a second → worker
//!                                                                             └─ one for all listeners, driven by a pool
//!                                                                                of a few threads
//! ```

mod encode;
pub mod encodings;
mod frames;
mod kernel;
mod pool;
#[cfg(test)]
mod tests;
pub mod tones;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use codec::{CodecError, EncoderOptions, PayloadFormat, new_encoder};
use media_store::database::DatabaseError;
use media_store::library::{Library, LibraryError, LibrarySettings, Medium};
use media_store::source::{AudioSource, SourceError};

use crate::media::plan::{CallKey, LINEAR, PlayerFrame, PlayerId, PlayerPlan, StreamId};
use crate::media::{MediaPlane, WorkerId};
use crate::negotiate::signal::MediaSource;
use encode::{FrameMaker, Shape};
use encodings::{Encodings, Key, Reader, Retention};
use frames::Frames;
use kernel::Descent;
pub use kernel::KernelStore;
use pool::Feed;
pub use pool::{Place, set_threads};

/// Where announcements come from, and what is kept of them.
pub struct Sources {
    library: Arc<Library>,
    encodings: Encodings,
    kernel: Option<Arc<KernelStore>>,
}

/// A source that is there; whether it holds audio is found out when it is opened.
#[derive(Clone, Debug)]
pub struct Found {
    medium: Medium,
    /// What to say when it does not.
    failure: PlayError,
}

/// The form in which a source is heard.
#[derive(Clone, Debug)]
pub struct Form {
    /// The party's first supported codec.
    pub format: PayloadFormat,
    /// Packet time, bit rate and the like.
    pub options: EncoderOptions,
    /// At least 1.
    pub repeat_times: u32,
    /// Total play time.
    pub repeat_duration: Option<Duration>,
    pub start_pos: Duration,
}

/// Who hears it, under which numbers.
#[derive(Clone, Debug)]
pub struct Listener {
    pub worker: WorkerId,
    pub call: CallKey,
    pub target: StreamId,
    /// Kept for all playbacks to one party.
    pub ssrc: u32,
    pub first_sequence: u16,
    pub first_timestamp: u32,
    pub block_egress: bool,
}

/// A source that can be read, with its first frames encoded.
pub struct OpenedSource {
    feed: Feed,
    frames: rtrb::Consumer<PlayerFrame>,
    duration: Option<Duration>,
    payload_type: u8,
    clock_rate: u32,
    failure: PlayError,
    kernel: Option<Arc<KernelStore>>,
}

/// A playback that has begun. Dropping it stops it.
pub struct Playback {
    plane: MediaPlane,
    worker: WorkerId,
    call: CallKey,
    id: PlayerId,
    duration: Option<Duration>,
    feed: Feed,
}

/// Why nothing plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlayError {
    /// The file cannot be opened or holds no audio.
    #[error("Failed to start media playback from file")]
    File,
    /// The blob holds no audio.
    #[error("Failed to start media playback from blob")]
    Blob,
    /// No such row, no database.
    #[error("Failed to start media playback from database")]
    Database,
}

impl Sources {
    /// `retention` is that of encoded announcements.
    pub fn new(library: Arc<Library>, retention: Retention) -> Self {
        Self { library, encodings: Encodings::new(retention), kernel: None }
    }

    /// The same, of which the kernel may send some.
    pub fn with_kernel(self, kernel: Option<KernelStore>) -> Self {
        Self { kernel: kernel.map(Arc::new), ..self }
    }

    /// Sources of which nothing is kept.
    ///
    /// # Errors
    /// None that are known of: there is nothing to load.
    pub fn without_library() -> Result<Self, LibraryError> {
        Ok(Self::new(Arc::new(Library::start(LibrarySettings::default())?), Retention::WhilePlayed))
    }

    /// Media that are kept.
    pub fn library(&self) -> &Library {
        &self.library
    }

    /// Encoded announcements.
    pub fn encodings(&self) -> &Encodings {
        &self.encodings
    }

    /// Finds a source. Blocks while a database is asked, which may take seconds: nobody else must wait meanwhile.
    pub fn find(&self, source: &MediaSource) -> Result<Found, PlayError> {
        let failure = match source {
            MediaSource::File(_) => PlayError::File,
            MediaSource::Blob(_) => PlayError::Blob,
            MediaSource::Database(_) => PlayError::Database,
        };
        let medium = match source {
            MediaSource::File(path) => self.library.file(path),
            MediaSource::Blob(octets) => Ok(self.library.blob(octets)),
            MediaSource::Database(id) => u64::try_from(*id)
                .map_err(|_| DatabaseError::NoRow { id: 0 }.into())
                .and_then(|id| self.library.database(id)),
        };
        match medium {
            Ok(medium) => Ok(Found { medium, failure }),
            Err(error) => Err(failure.because(&error)),
        }
    }

    /// Opens a source that was found. Blocks on the disk, and on decoding the beginning.
    pub fn open(&self, found: &Found, form: &Form) -> Result<OpenedSource, PlayError> {
        let because = |reason: &dyn std::fmt::Display| found.failure.because(reason);
        let (frames, duration) = self.frames(&found.medium, form).map_err(|error| because(&error))?;
        let (feed, frames) = Feed::new(frames);
        let (payload_type, clock_rate) = (form.format.payload_type, form.format.clock_rate);
        let kernel = self.kernel.clone().filter(|_| payload_type != LINEAR);
        Ok(OpenedSource { feed, frames, duration, payload_type, clock_rate, failure: found.failure, kernel })
    }

    fn frames(&self, medium: &Medium, form: &Form) -> Result<(Frames, Option<Duration>), OpenError> {
        let shape = Shape {
            ptime_ms: form.options.ptime_ms.unwrap_or(20),
            clock_rate: form.format.clock_rate,
            repeat_times: form.repeat_times,
            repeat_duration: form.repeat_duration,
            start_pos: form.start_pos,
        };
        let begins_at_the_beginning = form.start_pos.is_zero();
        let key = Key::new(medium.identity.clone(), &form.format, &form.options);
        let present = if begins_at_the_beginning { self.encodings.find(&key) } else { None };
        let encoding = match present {
            Some(encoding) => encoding,
            None => {
                let encoder = new_encoder(&form.format, &form.options)?;
                let (rate, channels) = (encoder.sample_rate(), encoder.channels());
                let mut source = AudioSource::open(medium.origin.clone(), rate, channels)?;
                let duration = source.duration();
                if !begins_at_the_beginning || !self.encodings.takes(duration) {
                    if !begins_at_the_beginning {
                        source.seek(form.start_pos)?;
                    }
                    let maker = FrameMaker::new(source, encoder, shape);
                    return Ok((Frames::Own(Box::new(maker)), duration));
                }
                let once = Shape::once(shape.ptime_ms, shape.clock_rate);
                self.encodings.begin(key, duration, FrameMaker::new(source, encoder, once))
            }
        };
        let ticks = |limit: Duration| limit.as_micros() * u128::from(shape.clock_rate) / 1_000_000;
        let limit = form.repeat_duration.map(|limit| u64::try_from(ticks(limit)).unwrap_or(u64::MAX));
        let duration = encoding.duration;
        Ok((Frames::Shared(Reader::new(encoding, form.repeat_times, limit)), duration))
    }
}

impl Form {
    /// What is left of it behind a place that was reached after `played`; `None`: nothing.
    pub fn rest(&self, place: Place, played: Duration) -> Option<Self> {
        let repeat_times = self.repeat_times.checked_sub(place.plays_ended).filter(|&left| left > 0)?;
        let repeat_duration = match self.repeat_duration {
            Some(limit) => Some(limit.checked_sub(played).filter(|left| !left.is_zero())?),
            None => None,
        };
        let start_pos = Duration::from_millis(place.position_ms);
        Some(Self { repeat_times, repeat_duration, start_pos, ..self.clone() })
    }
}

impl OpenedSource {
    /// Leaves out what lies before a position in the source, as far as it is encoded.
    pub fn skip_to(&mut self, position_ms: u64) {
        for _ in 0..self.feed.leave_out(position_ms) {
            drop(self.frames.pop());
        }
    }

    /// Takes all frames at once instead of playing them, for measuring.
    pub fn take_all(mut self) -> Vec<PlayerFrame> {
        let mut taken = Vec::new();
        loop {
            while let Ok(frame) = self.frames.pop() {
                taken.push(frame);
            }
            if self.frames.is_abandoned() && self.frames.is_empty() {
                return taken;
            }
            self.feed.fill();
        }
    }
}

/// Why a source that was found cannot be played.
#[derive(Debug, thiserror::Error)]
enum OpenError {
    #[error(transparent)]
    Codec(#[from] CodecError),
    #[error(transparent)]
    Source(#[from] SourceError),
}

impl PlayError {
    /// The client is told what kind of source it was, the log what was wrong with it.
    fn because(self, reason: &dyn std::fmt::Display) -> Self {
        tracing::error!(%reason, "{self}");
        self
    }
}

impl Playback {
    /// Starts to play.
    pub fn start(plane: &MediaPlane, source: OpenedSource, listener: &Listener) -> Result<Self, PlayError> {
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        let OpenedSource { feed, frames, duration, payload_type, clock_rate, failure, kernel } = source;
        let id = PlayerId(NEXT_ID.fetch_add(1, Relaxed));
        let (worker, call) = (listener.worker, listener.call);
        if let Some(store) = kernel {
            let plane = plane.clone();
            feed.set_descent(Descent { store, plane, worker, call, player: id, clock_rate });
        }
        let plan = PlayerPlan {
            id,
            target: listener.target,
            payload_type,
            ssrc: listener.ssrc,
            first_sequence: listener.first_sequence,
            first_timestamp: listener.first_timestamp,
            clock_rate,
            frames,
            block_egress: listener.block_egress,
        };
        plane.start_player(worker, call, plan);
        // Behind it: what the pool says about a player its worker has to know.
        if let Err(error) = pool::serve(feed.clone()) {
            tracing::error!(%error, "no thread for announcements");
            plane.stop_player(worker, call, id);
            return Err(failure);
        }
        Ok(Self { plane: plane.clone(), worker, call, id, duration, feed })
    }

    /// For matching `PlayerFinished`.
    pub fn id(&self) -> PlayerId {
        self.id
    }

    /// Length of the source, when the container knows it.
    pub fn duration(&self) -> Option<Duration> {
        self.duration
    }

    /// Position of the last frame that was handed out, in ms of the source.
    pub fn position_ms(&self) -> u64 {
        self.feed.position_ms()
    }

    /// Position in ms of the last of so many frames that were handed out.
    pub fn position_after_ms(&self, frames: u64) -> u64 {
        self.feed.position_after_ms(frames)
    }

    /// No more frames leave, but it can still be asked where it would go on.
    pub fn halt(&self) {
        self.feed.halt();
        self.plane.stop_player(self.worker, self.call, self.id);
    }

    /// Frames that were handed out.
    pub fn handed_out(&self) -> u64 {
        self.feed.handed_out()
    }

    /// Where it goes on behind so many frames that were handed out.
    pub fn place_after(&self, frames: u64) -> Place {
        self.feed.place_after(frames)
    }

    /// Ends it.
    pub fn stop(self) {}
}

impl Drop for Playback {
    fn drop(&mut self) {
        self.feed.stop();
        self.plane.stop_player(self.worker, self.call, self.id);
    }
}
