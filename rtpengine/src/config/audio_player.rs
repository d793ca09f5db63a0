//! Options about the audio player: `audio-player`, `audio-buffer-length`, `audio-buffer-delay`.

use std::time::Duration;

use service::options::Settings;

/// Who gets one continuous stream of our own without signalling that says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioPlayerConfig {
    pub mode: AudioPlayerMode,
    /// Samples that a source may bring ahead of time.
    pub length: Duration,
    /// How far ahead of what is sent a source begins.
    pub delay: Duration,
}

/// Each mode includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AudioPlayerMode {
    /// Nobody.
    OnDemand,
    /// Whoever hears an announcement, from then on.
    PlayMedia,
    /// Whoever hears transcoded media.
    Transcoding,
    /// Everybody.
    Always,
}

impl Default for AudioPlayerConfig {
    fn default() -> Self {
        Self {
            mode: AudioPlayerMode::OnDemand,
            length: Duration::from_millis(500),
            delay: Duration::from_millis(5),
        }
    }
}

impl AudioPlayerConfig {
    pub(super) fn from_settings(settings: &Settings) -> Self {
        let ms = |name| Duration::from_millis(u64::try_from(settings.int(name)).unwrap_or(0));
        let longest = Duration::from_secs(10);
        Self {
            mode: match settings.text("audio-player").as_deref() {
                Some("play-media" | "play media" | "media player" | "media-player") => {
                    AudioPlayerMode::PlayMedia
                }
                Some("transcoding" | "transcode") => AudioPlayerMode::Transcoding,
                Some("always" | "everything" | "force" | "forced") => AudioPlayerMode::Always,
                _ => AudioPlayerMode::OnDemand,
            },
            length: ms("audio-buffer-length").min(longest),
            delay: ms("audio-buffer-delay").min(longest),
        }
    }
}
