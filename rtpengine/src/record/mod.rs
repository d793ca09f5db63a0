//! Recording on the daemon's side: one [`Recorder`] service with a writer thread that owns all files and
//! sockets; a call holds a [`Recording`] and sends it what happens. Nothing here makes a command or a packet wait.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use codec::PayloadFormat;

use crate::config::RecordingConfig;
use crate::media::tap;

/// The recording service.
#[derive(Clone)]
pub struct Recorder {
    _private: Arc<()>,
}

/// Why the recording service cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// A directory cannot be made or is something else.
    #[error("recording directory {path}: {reason}")]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// One recording of one call. Dropping it without [`Recording::finish`] finishes it as it stands.
pub struct Recording {
    _private: (),
}

/// What a recording is started with.
#[derive(Clone, Debug)]
pub struct RecordingStart {
    pub call_id: String,
    pub created: SystemTime,
    /// Prefix of a recording that was restored; a new one is drawn when `None`.
    pub prefix: Option<String>,
    pub flags: RecordingFlags,
    pub details: RecordingDetails,
}

/// The call's switches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordingFlags {
    /// `false` while paused.
    pub recording: bool,
    pub forwarding: bool,
}

/// Texts that travel in the metadata.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RecordingDetails {
    pub metadata: Option<String>,
    pub file: Option<String>,
    pub path: Option<String>,
    pub pattern: Option<String>,
    pub skip_database: bool,
}

/// The call as the metadata describes it. Sent whole; only what is new or changed is written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CallDescription {
    pub tags: Vec<RecordedTag>,
    pub media: Vec<RecordedMedia>,
    pub streams: Vec<RecordedStream>,
}

/// A party.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordedTag {
    /// From 0 in the call.
    pub number: u32,
    pub tag: String,
    pub label: Option<String>,
    pub metadata: Option<String>,
}

/// A media section of a party.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordedMedia {
    /// From 1 in the call.
    pub number: u32,
    pub ptime_ms: u16,
    /// What this party sends.
    pub formats: Vec<PayloadFormat>,
}

/// A stream whose packets are recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordedStream {
    /// From 0 in the call.
    pub number: u32,
    /// [`crate::media::plan::StreamId`], as in the tap records.
    pub stream: u64,
    pub tag: u32,
    pub media: u32,
    /// Position of the media section in the party's SDP, from 1.
    pub media_index: u32,
    /// 1 = RTP, 2 = RTCP.
    pub component: u8,
    /// The stream carries RTCP only.
    pub rtcp_only: bool,
    pub flags: u64,
    pub slot: u32,
    pub slots: u32,
}

/// A signalling message of a recorded call.
#[derive(Clone, Debug)]
pub struct RecordedSdp {
    /// `offer`, `answer`, `publish`, `subscribe request` …
    pub mode: &'static str,
    /// Number of the party that sent it.
    pub tag: u32,
    pub label: Option<String>,
    /// When that party came into the call.
    pub party_started: SystemTime,
    pub before: Vec<u8>,
    pub after: Vec<u8>,
}

/// How a recording ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordingEnd {
    Keep,
    Discard,
}

impl Recorder {
    /// Makes the directories, starts the writer thread. `taps` are the other ends of the workers' rings.
    pub fn start(config: &RecordingConfig, taps: Vec<tap::Consumer>) -> Result<Self, RecordError> {
        let _ = (config, taps);
        Ok(Self { _private: Arc::new(()) })
    }

    /// Begins a recording; `None` (and a log line) when no recording directory is configured.
    pub fn begin(&self, start: RecordingStart) -> Option<Recording> {
        let _ = start;
        None
    }

    /// Finishes what is open, flushes, stops the writer thread.
    pub fn shutdown(&self) {}
}

impl Recording {
    /// For [`crate::media::plan::TapPlan::recording`].
    pub fn id(&self) -> u64 {
        0
    }

    /// File and directory name part; stored with the call for restore.
    pub fn prefix(&self) -> &str {
        ""
    }

    /// The pcap file, for `recordings` in replies; `None` for the metafile method.
    pub fn pcap_path(&self) -> Option<&std::path::Path> {
        None
    }

    /// Parties, media and streams as they are now.
    pub fn describe(&self, description: CallDescription) {
        let _ = description;
    }

    /// An SDP went through.
    pub fn signalled(&self, sdp: RecordedSdp) {
        let _ = sdp;
    }

    /// Recording (pause/resume) and forwarding switches, call texts.
    pub fn update(&self, flags: RecordingFlags, details: RecordingDetails) {
        let _ = (flags, details);
    }

    /// The end. `first_party_ended` is the termination time of the first party.
    pub fn finish(self, end: RecordingEnd, first_party_ended: SystemTime) {
        let _ = (end, first_party_ended);
    }
}
