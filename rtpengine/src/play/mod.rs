//! Announcements: a source is opened and encoded off the media path, its frames go to a worker through a ring.

use std::time::Duration;

use codec::PayloadFormat;

use crate::media::plan::{CallKey, PlayerId, StreamId};
use crate::media::{MediaPlane, WorkerId};
use crate::negotiate::signal::MediaSource;

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
    _private: (),
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
        let _ = (plane, request);
        Err(PlayError::File)
    }

    /// For matching `PlayerFinished`.
    pub fn id(&self) -> PlayerId {
        PlayerId(0)
    }

    /// Length of the source, when the container knows it.
    pub fn duration(&self) -> Option<Duration> {
        None
    }

    /// Position of the last frame that was handed out, in ms of the source.
    pub fn position_ms(&self) -> u64 {
        0
    }

    /// Ends it.
    pub fn stop(self) {}
}
