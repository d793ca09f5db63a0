//! Announcements: a source is opened and encoded off the media path, its frames go to a worker through a ring.
//!
//! ```text
//! file, blob → AudioSource → FrameMaker (encode, repeat) → ring of half a second → worker
//!                            └─ driven by a pool of a few threads for all players
//! ```

mod encode;
mod pool;
#[cfg(test)]
mod tests;
pub mod tones;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use codec::{EncoderOptions, PayloadFormat, new_encoder};
use media_store::source::{AudioSource, Origin};

use crate::media::plan::{CallKey, PlayerFrame, PlayerId, PlayerPlan, StreamId};
use crate::media::{MediaPlane, WorkerId};
use crate::negotiate::signal::MediaSource;
use encode::{FrameMaker, Shape};
use pool::Feed;

/// The form in which a source is heard.
#[derive(Clone, Debug)]
pub struct Form {
    /// The party's first supported codec.
    pub format: PayloadFormat,
    pub ptime_ms: u16,
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
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
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

impl OpenedSource {
    /// Opens a source. Blocks: call it where that is allowed.
    pub fn open(source: &MediaSource, form: &Form) -> Result<Self, PlayError> {
        let failure = error_of(source);
        let origin = match source {
            MediaSource::File(path) => Origin::File(path.into()),
            MediaSource::Blob(octets) => Origin::Memory(octets.as_slice().into()),
            MediaSource::Database(id) => {
                tracing::warn!(id, "no media database is configured");
                return Err(failure);
            }
        };
        let failed = |reason: &dyn std::fmt::Display| {
            tracing::warn!(%reason, "cannot play media");
            error_of(source)
        };
        let options = EncoderOptions { ptime_ms: Some(form.ptime_ms), ..Default::default() };
        let encoder = new_encoder(&form.format, &options).map_err(|error| failed(&error))?;
        let mut source = AudioSource::open(origin, encoder.sample_rate(), encoder.channels())
            .map_err(|error| failed(&error))?;
        if !form.start_pos.is_zero() {
            source.seek(form.start_pos).map_err(|error| failed(&error))?;
        }
        let duration = source.duration();
        let shape = Shape {
            ptime_ms: form.ptime_ms,
            clock_rate: form.format.clock_rate,
            repeat_times: form.repeat_times,
            repeat_duration: form.repeat_duration,
            start_pos: form.start_pos,
        };
        let (feed, frames) = Feed::new(FrameMaker::new(source, encoder, shape));
        let (payload_type, clock_rate) = (form.format.payload_type, form.format.clock_rate);
        Ok(Self { feed, frames, duration, payload_type, clock_rate, failure })
    }
}

impl Playback {
    /// Starts to play.
    pub fn start(plane: &MediaPlane, source: OpenedSource, listener: &Listener) -> Result<Self, PlayError> {
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        let OpenedSource { feed, frames, duration, payload_type, clock_rate, failure } = source;
        let id = PlayerId(NEXT_ID.fetch_add(1, Relaxed));
        if let Err(error) = pool::serve(feed.clone()) {
            tracing::error!(%error, "no thread for announcements");
            return Err(failure);
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
        let (worker, call) = (listener.worker, listener.call);
        plane.start_player(worker, call, plan);
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

    /// Ends it.
    pub fn stop(self) {}
}

impl Drop for Playback {
    fn drop(&mut self) {
        self.feed.stop();
        self.plane.stop_player(self.worker, self.call, self.id);
    }
}

fn error_of(source: &MediaSource) -> PlayError {
    match source {
        MediaSource::File(_) => PlayError::File,
        MediaSource::Blob(_) => PlayError::Blob,
        MediaSource::Database(_) => PlayError::Database,
    }
}
