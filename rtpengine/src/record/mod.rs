//! Recording on the daemon's side: one [`Recorder`] service with a writer thread that owns all files and
//! sockets; a call holds a [`Recording`] and sends it what happens. Nothing here makes a command or a packet wait.
//!
//! ```text
//! workers ── tap rings ──┐
//!                        ├─ writer ── session ── pcap + metadata
//! control ── messages ───┘                   └── metafile + exposed streams ── readers
//! ```
//!
//! The files and what a reader may rely on are described in `docs/recording.md`.

mod append;
mod directories;
mod exposed;
mod exposure;
mod metadata;
mod metafile;
mod pcap;
mod queue;
mod session;
mod spill;
mod stats;
mod sys;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::SystemTime;

use codec::PayloadFormat;
use serde::{Deserialize, Serialize};
use spool::names;

use crate::config::{RecordDirection, RecordingConfig, RecordingMethod};
use crate::media::offload::module::KernelStreams;
use crate::media::tap;

#[cfg(fuzzing)]
pub use pcap::pcap_octets;
pub use stats::RecorderStats;

use directories::Directories;
use service::process::scheduling::{Role, enter};
use session::Opening;
use stats::Shared;
use sys::Poller;
use writer::{Message, PacketSource, Writer};

/// The recording service. Cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    inner: Arc<Inner>,
}

struct Inner {
    config: RecordingConfig,
    /// `None` when no recording directory is configured.
    messages: Option<Sender<Message>>,
    shared: Arc<Shared>,
    next_id: AtomicU64,
    /// Guards the right to join the thread.
    thread: Mutex<Option<JoinHandle<()>>>,
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
    /// No writer thread, or nothing to watch its sockets with.
    #[error("cannot start the recorder")]
    Start(#[from] io::Error),
}

/// One recording of one call. Dropping it without [`Recording::finish`] finishes it as it stands.
pub struct Recording {
    id: u64,
    prefix: String,
    pcap: Option<PathBuf>,
    messages: Sender<Message>,
    shared: Arc<Shared>,
    finished: bool,
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
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
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

/// When a recording ends.
#[derive(Clone, Copy, Debug)]
struct CallEnd {
    first_party_ended: SystemTime,
    at: SystemTime,
}

/// How a recording ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordingEnd {
    Keep,
    Discard,
}

/// How long the writer may take to write what has been recorded.
const SUSPEND: std::time::Duration = std::time::Duration::from_secs(2);

impl Recorder {
    /// Makes the directories, starts the writer thread. `taps` are the other ends of the workers' rings.
    pub fn start(config: &RecordingConfig, taps: Vec<tap::Consumer>) -> Result<Self, RecordError> {
        Self::start_above(config, taps, None)
    }

    /// The same above a kernel module: with the method `proc`, streams are exposed by `kernel`, which adds what it forwards.
    pub fn start_above(
        config: &RecordingConfig,
        taps: Vec<tap::Consumer>,
        kernel: Option<KernelStreams>,
    ) -> Result<Self, RecordError> {
        let taps = taps.into_iter().map(|tap| Box::new(tap) as Box<dyn PacketSource>).collect();
        Self::start_with(config, taps, kernel)
    }

    /// Begins a recording; `None` (and a log line) when no recording directory is configured. Call
    /// [`Recording::describe`] before the plan with the tap is installed, so that no packet comes from a stream that is
    /// not known yet.
    pub fn begin(&self, start: RecordingStart) -> Option<Recording> {
        let (Some(messages), Some(dir)) = (&self.inner.messages, &self.inner.config.dir) else {
            tracing::info!("Call recording requested, but no spool directory configured");
            return None;
        };
        let method = self.inner.config.method;
        let restored = start.prefix.filter(|prefix| is_usable_prefix(prefix));
        let is_restored = restored.is_some();
        let prefix = restored.unwrap_or_else(|| new_prefix(&start.call_id));
        let pcap = (method != RecordingMethod::Proc).then(|| {
            let pcaps = dir.join("pcaps");
            match &start.details.file {
                // With both methods the recording daemon uses the name as well, for the audio.
                Some(file) if method == RecordingMethod::All => pcaps.join(format!("{file}.pcap")),
                Some(file) => pcaps.join(file),
                None => pcaps.join(format!("{prefix}.pcap")),
            }
        });
        let id = self.inner.next_id.fetch_add(1, Relaxed);
        let opening = Opening {
            call_id: start.call_id,
            prefix: prefix.clone(),
            created: start.created,
            restored: is_restored,
            flags: start.flags,
            details: start.details,
            pcap: pcap.clone(),
            exposed: method != RecordingMethod::Pcap,
            once: self.inner.config.direction != RecordDirection::Both,
        };
        let recording = Recording {
            id,
            prefix,
            pcap,
            messages: messages.clone(),
            shared: self.inner.shared.clone(),
            finished: false,
        };
        recording.send(Message::Begin(id, Box::new(opening)));
        Some(recording)
    }

    /// Finishes recordings that an earlier process left, but for those of the names `going_on`. Call when all calls of that process that
    /// go on here are known.
    pub fn finish_leftovers(&self, going_on: HashSet<String>) {
        if let Some(messages) = &self.inner.messages {
            let _ = messages.send(Message::FinishLeftovers(going_on));
        }
    }

    /// What has been counted so far.
    pub fn stats(&self) -> RecorderStats {
        self.inner.shared.snapshot()
    }

    /// Finishes what is open, flushes, stops the writer thread. Waits for that, at most a few seconds unless the disk
    /// hangs.
    pub fn shutdown(&self) {
        if let Some(messages) = &self.inner.messages {
            let _ = messages.send(Message::Shutdown);
        }
        let thread = self.inner.thread.lock().ok().and_then(|mut thread| thread.take());
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the recorder's writer thread has failed");
        }
    }

    /// Writes what has been recorded so far, and leaves all recordings as they are, for somebody else to go on with. Waits for that, at
    /// most [`SUSPEND`].
    pub fn suspend(&self) {
        let Some(messages) = &self.inner.messages else { return };
        let (done, suspended) = mpsc::sync_channel(1);
        if messages.send(Message::Suspend(done)).is_ok() && suspended.recv_timeout(SUSPEND).is_err() {
            tracing::error!("recordings are not written in time: some packets may be missing in them");
        }
    }

    fn start_with(
        config: &RecordingConfig,
        taps: Vec<Box<dyn PacketSource>>,
        kernel: Option<KernelStreams>,
    ) -> Result<Self, RecordError> {
        let shared = Arc::new(Shared::default());
        shared.spill_limit.store(config.spill_octets, Relaxed);
        let (mut messages, mut thread) = (None, None);
        if let Some(dir) = &config.dir {
            let (sender, receiver) = mpsc::channel();
            let writer = Writer {
                directories: Directories::prepare(dir, config.method)?,
                pcap_format: config.format,
                messages: receiver,
                taps,
                poller: Poller::new()?,
                shared: shared.clone(),
                kernel,
                sessions: HashMap::new(),
                closing: Vec::new(),
                deferred: VecDeque::new(),
            };
            thread = Some(service::process::threads::builder("recorder").spawn(|| {
                enter(Role::Background);
                writer.run();
            })?);
            messages = Some(sender);
        }
        let inner = Inner {
            config: config.clone(),
            messages,
            shared,
            next_id: AtomicU64::new(1),
            thread: Mutex::new(thread),
        };
        Ok(Self { inner: Arc::new(inner) })
    }
}

impl Recording {
    /// For [`crate::media::plan::TapPlan::recording`].
    pub fn id(&self) -> u64 {
        self.id
    }

    /// File and directory name part; stored with the call for restore.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The pcap file, for `recordings` in replies; `None` for the metafile method.
    pub fn pcap_path(&self) -> Option<&Path> {
        self.pcap.as_deref()
    }

    /// Parties, media and streams as they are now.
    pub fn describe(&self, description: CallDescription) {
        if self.may_queue(writer::description_octets(&description)) {
            self.send(Message::Describe(self.id, description));
        }
    }

    /// An SDP went through.
    pub fn signalled(&self, sdp: RecordedSdp) {
        if self.may_queue(writer::sdp_octets(&sdp)) {
            self.send(Message::Signalled(self.id, sdp));
        }
    }

    /// Recording (pause/resume) and forwarding switches, call texts. The texts are announced each time.
    pub fn update(&self, flags: RecordingFlags, details: RecordingDetails) {
        self.send(Message::Update(self.id, flags, details, SystemTime::now()));
    }

    /// The end. `first_party_ended` is the termination time of the first party.
    pub fn finish(mut self, end: RecordingEnd, first_party_ended: SystemTime) {
        self.finished = true;
        let call_end = CallEnd { first_party_ended, at: SystemTime::now() };
        self.send(Message::Finish(self.id, end, call_end));
    }

    /// Leaves it to another process, which goes on with it under the same name.
    pub fn leave(mut self) {
        self.finished = true;
        self.send(Message::Leave(self.id, SystemTime::now()));
    }

    /// Bounds what waits for a writer thread that is stuck. Descriptions and SDPs may be left out (a later description
    /// makes up for it); beginnings, switches and ends are small, and never are.
    fn may_queue(&self, octets: u64) -> bool {
        let queued = &self.shared.signalling_queued_octets;
        if queued.load(Relaxed) + octets > MAX_QUEUED_SIGNALLING {
            if self.shared.signalling_lost.fetch_add(1, Relaxed).is_multiple_of(1000) {
                tracing::warn!("recorder does not keep up; signalling is missing from recordings");
            }
            return false;
        }
        queued.fetch_add(octets, Relaxed);
        true
    }

    fn send(&self, message: Message) {
        // Fails only after shutdown, when everything has been finished.
        let _ = self.messages.send(message);
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        if !self.finished {
            let now = SystemTime::now();
            let call_end = CallEnd { first_party_ended: now, at: now };
            self.send(Message::Finish(self.id, RecordingEnd::Keep, call_end));
        }
    }
}

/// Octets of signalling that may wait for the writer thread.
const MAX_QUEUED_SIGNALLING: u64 = 64 << 20;
/// Longest encoded call-ID in a file name. With the random tag and what the methods put around it stays below 255.
const MAX_ENCODED_CALL_ID: usize = 200;

fn new_prefix(call_id: &str) -> String {
    let mut prefix = names::prefix(call_id, rand::random());
    let encoded = prefix.len() - 17;
    if encoded > MAX_ENCODED_CALL_ID {
        let mut end = MAX_ENCODED_CALL_ID;
        // Not within `%XX`.
        if let Some(percent) = prefix[end - 2..end].find('%') {
            end = end - 2 + percent;
        }
        prefix.replace_range(end..encoded, "");
    }
    prefix
}

/// A stored prefix becomes part of paths.
fn is_usable_prefix(prefix: &str) -> bool {
    prefix.len() <= MAX_ENCODED_CALL_ID + 17
        && names::random_tag(prefix).is_some()
        && !prefix.starts_with('.')
        && prefix.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte))
}

/// Removes a regular file or socket that we made; a file that is gone already is fine, a device is left alone.
fn remove_file(path: &Path) {
    use std::os::unix::fs::FileTypeExt as _;
    let removable = |kind: std::fs::FileType| kind.is_file() || kind.is_symlink() || kind.is_socket();
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if removable(metadata.file_type()) => {
            if let Err(error) = std::fs::remove_file(path) {
                tracing::warn!(path = %path.display(), %error, "cannot remove");
            }
        }
        _ => {}
    }
}
