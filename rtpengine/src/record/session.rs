//! One recording as the writer thread holds it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use spool::names;

use super::append::{Appender, Handle, Previous};
use super::exposure::Exposure;
use super::pcap::PcapFile;
use super::queue;
use super::stats::Shared;
use super::sys::Poller;
use super::{
    CallDescription, CallEnd, RecordedSdp, RecordingDetails, RecordingEnd, RecordingFlags, metadata, metafile,
};
use crate::config::PcapFormat;
use crate::media::offload::module::KernelStreams;
use crate::media::tap::TapRecord;

/// What the writer thread lends to a session.
pub(super) struct Env<'a> {
    pub root: &'a Path,
    pub now: Instant,
    pub poller: &'a Poller,
    pub shared: &'a Shared,
    /// Files of streams in the kernel, if it forwards.
    pub kernel: Option<&'a KernelStreams>,
}

/// How a recording is opened.
#[derive(Debug)]
pub(super) struct Opening {
    pub call_id: String,
    pub prefix: String,
    pub created: SystemTime,
    /// The prefix is that of a recording that goes on.
    pub restored: bool,
    pub flags: RecordingFlags,
    pub details: RecordingDetails,
    pub pcap: Option<PathBuf>,
    pub exposed: bool,
    /// No packet is exposed in two streams.
    pub once: bool,
}

/// One recording of one call.
pub(super) struct Session {
    created: SystemTime,
    flags: RecordingFlags,
    was_paused: bool,
    metadata: Option<String>,
    pcap: Option<PcapSide>,
    exposure: Option<ExposureSide>,
}

struct PcapSide {
    pcap: PcapFile,
    text: Appender,
    text_target: PathBuf,
}

struct ExposureSide {
    id: u64,
    prefix: String,
    metafile: Appender,
    described: CallDescription,
    streams: Exposure,
    failing: bool,
    retry_at: Option<Instant>,
    /// Another process may have left streams.
    may_adopt: bool,
}

/// A recording that has ended, but whose readers have not taken everything yet.
pub(super) struct Closing {
    exposure: ExposureSide,
    /// Until when packets wait in memory.
    deadline: Instant,
    /// Until when they wait on disk.
    last_deadline: Instant,
}

/// How long the end of a recording waits for its readers while its packets are in memory.
const GRACE: Duration = queue::MAX_AGE;
/// The same once they are on disk.
const GRACE_ON_DISK: Duration = Duration::from_secs(600);
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// Octets of chunks or text that wait while the disk cannot be written; beyond, the oldest are given up.
const MAX_PENDING: usize = 4 << 20;

impl Session {
    pub fn open(id: u64, opening: Opening, pcap_format: PcapFormat, env: &Env<'_>) -> Self {
        let previous = if opening.restored { Previous::Continue } else { Previous::Replace };
        let pcap = opening.pcap.map(|path| {
            let pcap = PcapFile::new(path, pcap_format, previous, env.now, env.shared);
            let name = format!("rtpengine-meta-{}", opening.prefix);
            let temporary = env.root.join("tmp").join(format!("{name}.tmp"));
            let mut text = Appender::new(temporary, 0o664, Handle::KeptOpen, previous, env.now, env.shared);
            if pcap.is_open() && text.total_length() == 0 {
                metadata::pcap_path(text.pending(), pcap.path());
            }
            text.flush(env.now, env.shared);
            PcapSide { pcap, text, text_target: env.root.join("metadata").join(format!("{name}.txt")) }
        });
        // The kernel's copies are in its files only; a pcap file needs all packets.
        let kernel = env.kernel.filter(|_| pcap.is_none());
        let exposure = opening.exposed.then(|| {
            let path = names::metafile_path(env.root, &opening.prefix);
            // Its reader follows the file that it has open.
            let goes_on = opening.restored && metafile::mend(&path);
            let previous = if goes_on { Previous::Continue } else { Previous::Replace };
            if !goes_on {
                super::remove_file(&path);
            }
            let mut metafile =
                Appender::new(path, 0o666, Handle::ClosedEachTime, previous, env.now, env.shared);
            if goes_on {
                metafile::switches(metafile.pending(), opening.flags);
                metafile::texts(metafile.pending(), &opening.details);
            } else {
                metafile::begin(
                    metafile.pending(),
                    &opening.call_id,
                    &opening.prefix,
                    opening.flags,
                    &opening.details,
                    opening.once,
                );
            }
            metafile.flush(env.now, env.shared);
            ExposureSide {
                id,
                streams: Exposure::new(
                    id,
                    names::exposure_dir(env.root, &opening.prefix),
                    &opening.prefix,
                    kernel,
                ),
                prefix: opening.prefix,
                metafile,
                described: CallDescription::default(),
                failing: false,
                retry_at: None,
                may_adopt: goes_on,
            }
        });
        Self {
            created: opening.created,
            flags: opening.flags,
            was_paused: false,
            metadata: opening.details.metadata,
            pcap,
            exposure,
        }
    }

    /// Takes a packet; `false` when its stream is not known.
    pub fn packet(&mut self, record: &TapRecord<'_>, env: &Env<'_>) -> bool {
        let mut known = self.exposure.is_none();
        if self.flags.recording
            && let Some(side) = &mut self.pcap
        {
            side.pcap.write(record, env.now, env.shared);
            known = true;
        }
        if let Some(side) = &mut self.exposure
            && side.streams.knows(record.stream)
        {
            if self.flags.recording || self.flags.forwarding {
                side.streams.push(record, env.now, env.shared);
            }
            known = true;
        }
        known
    }

    pub fn describe(&mut self, description: CallDescription, env: &Env<'_>) {
        if let Some(side) = &mut self.exposure {
            side.describe(description, self.flags, env);
        }
    }

    pub fn signalled(&mut self, sdp: &RecordedSdp, env: &Env<'_>) {
        if let Some(side) = &mut self.pcap {
            let next_packet = side.pcap.next_packet();
            metadata::sdp(side.text.pending(), sdp, next_packet);
            side.text.flush(env.now, env.shared);
        }
        if let Some(side) = &mut self.exposure {
            metafile::sdp(side.metafile.pending(), sdp);
            side.metafile.flush(env.now, env.shared);
        }
    }

    pub fn update(
        &mut self,
        flags: RecordingFlags,
        details: RecordingDetails,
        at: SystemTime,
        env: &Env<'_>,
    ) {
        if let Some(side) = &mut self.pcap {
            match (self.flags.recording, flags.recording) {
                (true, false) => metadata::paused(side.text.pending(), at),
                (false, true) if self.was_paused => metadata::resumed(side.text.pending(), at),
                _ => {}
            }
            side.text.flush(env.now, env.shared);
        }
        if let Some(side) = &mut self.exposure {
            let changed = self.flags != flags;
            if changed {
                metafile::switches(side.metafile.pending(), flags);
            }
            metafile::texts(side.metafile.pending(), &details);
            if changed {
                for stream in &side.described.streams {
                    metafile::stream_forwarding(side.metafile.pending(), stream.number, flags.forwarding);
                }
            }
            side.metafile.flush(env.now, env.shared);
        }
        self.was_paused |= self.flags.recording && !flags.recording;
        self.flags = flags;
        self.metadata = details.metadata;
    }

    /// A reader waits at the stream of that index.
    pub fn accept(&mut self, stream: usize, env: &Env<'_>) {
        if let Some(side) = &mut self.exposure {
            side.accept(stream, env);
        }
    }

    /// Flushes, retries, hands packets to readers.
    pub fn tick(&mut self, env: &Env<'_>) {
        if let Some(side) = &mut self.pcap {
            side.pcap.tick(env.now, env.shared);
            bound(side.text.pending());
            side.text.flush(env.now, env.shared);
        }
        if let Some(side) = &mut self.exposure {
            side.tick(self.flags, env);
        }
    }

    /// Writes what has come so far.
    pub fn flush(&mut self, env: &Env<'_>) {
        if let Some(side) = &mut self.pcap {
            side.pcap.flush(env.now, env.shared);
            side.text.flush_now(env.now, env.shared);
        }
        if let Some(side) = &mut self.exposure {
            side.tick(self.flags, env);
        }
    }

    /// Leaves the recording as it is to another process: what has come so far is written, files and names stay.
    pub fn leave(mut self, env: &Env<'_>) {
        self.flush(env);
        let Some(mut side) = self.exposure else { return };
        let lost = side.streams.leave(env.now, env.shared);
        if lost > 0 {
            tracing::warn!(
                recording = side.prefix,
                packets = lost,
                "packets of a recording are not left to the next instance"
            );
        }
    }

    /// Ends the recording. What still has to be given to readers is returned.
    pub fn finish(self, end: RecordingEnd, call_end: &CallEnd, env: &Env<'_>) -> Option<Closing> {
        if let Some(side) = self.pcap {
            side.finish(end, self.created, call_end, self.metadata.as_deref(), env);
        }
        let mut exposure = self.exposure?;
        match end {
            RecordingEnd::Discard => {
                exposure.discard(env);
                None
            }
            RecordingEnd::Keep => {
                metafile::ended(exposure.metafile.pending(), call_end.at);
                exposure.metafile.flush_now(env.now, env.shared);
                Some(Closing { exposure, deadline: env.now + GRACE, last_deadline: env.now + GRACE_ON_DISK })
            }
        }
    }
}

impl PcapSide {
    fn finish(
        mut self,
        end: RecordingEnd,
        created: SystemTime,
        call_end: &CallEnd,
        texts: Option<&str>,
        env: &Env<'_>,
    ) {
        let temporary = self.text.path().to_owned();
        match end {
            RecordingEnd::Keep => {
                self.pcap.close(env.now, env.shared);
                metadata::end(self.text.pending(), created, call_end, texts);
                self.text.flush_now(env.now, env.shared);
                self.text.close(env.shared);
                if let Err(error) = fs::rename(&temporary, &self.text_target) {
                    tracing::error!(path = %temporary.display(), %error, "cannot file recording metadata");
                }
            }
            RecordingEnd::Discard => {
                self.pcap.discard(env.shared);
                self.text.close(env.shared);
                super::remove_file(&temporary);
            }
        }
    }
}

impl ExposureSide {
    fn describe(&mut self, description: CallDescription, flags: RecordingFlags, env: &Env<'_>) {
        let before = std::mem::replace(&mut self.described, description);
        metafile::parties_and_media(self.metafile.pending(), &before, &self.described);
        for stream in &self.described.streams {
            let old = before.streams.iter().find(|old| old.number == stream.number);
            metafile::stream_details(self.metafile.pending(), old, stream);
        }
        self.listen(flags, env);
        if std::mem::take(&mut self.may_adopt) {
            for (number, name) in self.streams.adopt(env.poller, env.shared) {
                metafile::stream_named(self.metafile.pending(), number, &name);
            }
        }
        self.metafile.flush(env.now, env.shared);
    }

    /// Exposes streams that are not exposed yet, and announces them.
    fn listen(&mut self, flags: RecordingFlags, env: &Env<'_>) {
        self.retry_at = None;
        for stream in &self.described.streams {
            match self.streams.open(stream, env.poller, env.shared) {
                Ok(false) => {}
                Ok(true) => {
                    metafile::stream_interface(self.metafile.pending(), stream);
                    metafile::stream_forwarding(self.metafile.pending(), stream.number, flags.forwarding);
                }
                Err(error) => {
                    if self.failing {
                        env.shared.failed_again();
                    } else {
                        env.shared.failed(self.streams.directory(), &error);
                        self.failing = true;
                    }
                    self.retry_at = Some(env.now + RETRY_INTERVAL);
                }
            }
        }
        if self.retry_at.is_none() && std::mem::take(&mut self.failing) {
            env.shared.no_longer_failing();
        }
    }

    fn accept(&mut self, stream: usize, env: &Env<'_>) {
        self.streams.accept(stream, env.shared);
    }

    fn tick(&mut self, flags: RecordingFlags, env: &Env<'_>) {
        if self.retry_at.is_some_and(|at| at <= env.now) {
            self.listen(flags, env);
        }
        bound(self.metafile.pending());
        self.metafile.flush(env.now, env.shared);
        self.pump(env);
    }

    fn pump(&mut self, env: &Env<'_>) {
        self.streams.pump(env.now, env.shared);
    }

    fn discard(mut self, env: &Env<'_>) {
        let path = self.metafile.path().to_owned();
        let discarded = path.with_extension("meta.DISCARD");
        self.close_streams(env);
        self.metafile.close(env.shared);
        if let Err(error) = fs::rename(&path, &discarded) {
            tracing::warn!(path = %path.display(), %error, "cannot mark the recording as discarded");
            super::remove_file(&path);
        }
        super::remove_file(&discarded);
    }

    fn close(mut self, env: &Env<'_>) {
        let lost = self.close_streams(env);
        if lost > 0 {
            tracing::warn!(
                recording = self.prefix,
                packets = lost,
                "recording ended with packets that no reader took"
            );
        }
        let path = self.metafile.path().to_owned();
        self.metafile.flush_now(env.now, env.shared);
        self.metafile.close(env.shared);
        super::remove_file(&path);
    }

    fn close_streams(&mut self, env: &Env<'_>) -> u64 {
        let lost = self.streams.close(env.now, env.shared);
        if std::mem::take(&mut self.failing) {
            env.shared.no_longer_failing();
        }
        lost
    }
}

impl Closing {
    pub fn shorten(&mut self, deadline: Instant) {
        self.deadline = self.deadline.min(deadline);
        self.last_deadline = self.last_deadline.min(deadline);
    }

    /// Its reader has been away for long.
    pub fn is_on_disk(&self) -> bool {
        self.deadline == self.last_deadline
    }

    pub fn accept(&mut self, stream: usize, env: &Env<'_>) {
        self.exposure.accept(stream, env);
    }

    pub fn id(&self) -> u64 {
        self.exposure.id
    }

    /// Goes on delivering; gives the recording back until everything is delivered or given up.
    pub fn tick(mut self, env: &Env<'_>) -> Option<Self> {
        self.exposure.pump(env);
        if !self.exposure.streams.is_drained() && env.now >= self.deadline {
            let may_wait = env.now < self.last_deadline;
            if may_wait && self.exposure.streams.move_to_disk(env.now, env.shared) {
                self.deadline = self.last_deadline;
            }
        }
        if self.exposure.streams.is_drained() || env.now >= self.deadline {
            self.exposure.close(env);
            return None;
        }
        Some(self)
    }
}

/// Chunks and text are small; only a disk that stays full makes them pile up.
fn bound(pending: &mut Vec<u8>) {
    if pending.len() > MAX_PENDING {
        pending.clear();
    }
}
