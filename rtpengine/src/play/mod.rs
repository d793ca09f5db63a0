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

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use codec::{EncoderOptions, PayloadFormat, new_encoder};
use media_store::source::{AudioSource, Origin};

use crate::media::plan::{CallKey, PlayerFrame, PlayerId, PlayerPlan, StreamId};
use crate::media::{MediaPlane, WorkerId};
use crate::negotiate::signal::MediaSource;
use encode::{FrameMaker, Shape};
use pool::Feed;

/// What to play, to whom, in which form.
#[derive(Clone, Debug)]
pub struct PlaybackRequest {
    pub source: MediaSource,
    pub worker: WorkerId,
    pub call: CallKey,
    pub target: StreamId,
    /// The party's first supported codec.
    pub format: PayloadFormat,
    pub ptime_ms: u16,
    /// Kept for all playbacks to one party.
    pub ssrc: u32,
    pub first_sequence: u16,
    pub first_timestamp: u32,
    /// At least 1.
    pub repeat_times: u32,
    /// Total play time.
    pub repeat_duration: Option<Duration>,
    pub start_pos: Duration,
    pub block_egress: bool,
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

impl Playback {
    /// Opens the source (blocking: call it where blocking is allowed) and starts to play.
    pub fn start(plane: &MediaPlane, request: PlaybackRequest) -> Result<Self, PlayError> {
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        let (feed, frames, duration) = open(&request)?;
        let id = PlayerId(NEXT_ID.fetch_add(1, Relaxed));
        if let Err(error) = pool::serve(feed.clone()) {
            tracing::error!(%error, "no thread for announcements");
            return Err(error_of(&request.source));
        }
        let plan = PlayerPlan {
            id,
            target: request.target,
            payload_type: request.format.payload_type,
            ssrc: request.ssrc,
            first_sequence: request.first_sequence,
            first_timestamp: request.first_timestamp,
            clock_rate: request.format.clock_rate,
            frames,
            block_egress: request.block_egress,
        };
        plane.start_player(request.worker, request.call, plan);
        let (worker, call) = (request.worker, request.call);
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

/// Everything about a playback but the worker that plays it.
type Opened = (Feed, rtrb::Consumer<PlayerFrame>, Option<Duration>);

fn open(request: &PlaybackRequest) -> Result<Opened, PlayError> {
    let origin = match &request.source {
        MediaSource::File(path) => Origin::File(path.into()),
        MediaSource::Blob(octets) => Origin::Memory(octets.as_slice().into()),
        MediaSource::Database(id) => {
            tracing::warn!(id, "no media database is configured");
            return Err(PlayError::Database);
        }
    };
    let failed = |reason: &dyn std::fmt::Display| {
        tracing::warn!(%reason, "cannot play media");
        error_of(&request.source)
    };
    let options = EncoderOptions { ptime_ms: Some(request.ptime_ms), ..Default::default() };
    let encoder = new_encoder(&request.format, &options).map_err(|error| failed(&error))?;
    let mut source = AudioSource::open(origin, encoder.sample_rate(), encoder.channels())
        .map_err(|error| failed(&error))?;
    if !request.start_pos.is_zero() {
        source.seek(request.start_pos).map_err(|error| failed(&error))?;
    }
    let duration = source.duration();
    let shape = Shape {
        ptime_ms: request.ptime_ms,
        clock_rate: request.format.clock_rate,
        repeat_times: request.repeat_times,
        repeat_duration: request.repeat_duration,
        start_pos: request.start_pos,
    };
    let (feed, frames) = Feed::new(FrameMaker::new(source, encoder, shape));
    Ok((feed, frames, duration))
}

fn error_of(source: &MediaSource) -> PlayError {
    match source {
        MediaSource::File(_) => PlayError::File,
        MediaSource::Blob(_) => PlayError::Blob,
        MediaSource::Database(_) => PlayError::Database,
    }
}
