//! The exposed streams of one recording: in the kernel's files where the module forwards, else in sockets.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use spool::{framing, names};

use super::exposed::ExposedStream;
use super::stats::Shared;
use super::sys::Poller;
use super::{RecordedStream, metafile};
use crate::media::offload::module::{KernelCall, KernelStreams};
use crate::media::tap::TapRecord;

pub(super) struct Exposure {
    recording: u64,
    /// Of the sockets.
    directory: PathBuf,
    kernel: Option<KernelCall>,
    /// By number in the call.
    streams: Vec<Option<Exposed>>,
    /// Where in `streams` the packets of a data plane stream go.
    by_stream: HashMap<u64, usize>,
}

enum Exposed {
    Socket(Box<ExposedStream>),
    /// The kernel's number.
    Kernel(u32),
}

/// Numbers count from 0 in the call; a wild one would only waste memory.
const MAX_NUMBER: usize = 4096;

impl Exposure {
    /// Without a directory in the kernel, sockets are used.
    pub fn new(recording: u64, directory: PathBuf, prefix: &str, kernel: Option<&KernelStreams>) -> Self {
        let kernel = kernel.and_then(|kernel| match kernel.add_call(recording, prefix) {
            Ok(call) => Some(call),
            Err(error) => {
                tracing::warn!(recording = prefix, %error, "recorded in user space: no directory in the kernel");
                None
            }
        });
        Self { recording, directory, kernel, streams: Vec::new(), by_stream: HashMap::new() }
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Exposes a stream; `false` if it was exposed before.
    pub fn open(&mut self, stream: &RecordedStream, poller: &Poller, shared: &Shared) -> io::Result<bool> {
        let index = stream.number as usize;
        if index > MAX_NUMBER {
            return Ok(false);
        }
        if let Some(exposed) = self.streams.get(index).and_then(Option::as_ref) {
            let is_new = self.by_stream.insert(stream.stream, index).is_none();
            if let (Exposed::Kernel(number), Some(kernel), true) = (exposed, &mut self.kernel, is_new) {
                kernel.alias(stream.stream, *number);
            }
            return Ok(false);
        }
        let name = metafile::stream_name(stream);
        let in_kernel = self.kernel.as_mut().map(|kernel| kernel.add_stream(stream.stream, &name));
        let exposed = match in_kernel {
            Some(Ok(number)) => Exposed::Kernel(number),
            Some(Err(_)) | None => {
                make_directory(&self.directory)?;
                let key = poll_key(self.recording, stream.number);
                Exposed::Socket(Box::new(ExposedStream::listen(&self.directory, name, poller, key, shared)?))
            }
        };
        self.streams.resize_with(self.streams.len().max(index + 1), || None);
        self.streams[index] = Some(exposed);
        self.by_stream.insert(stream.stream, index);
        Ok(true)
    }

    /// Exposes what another process has left of streams that nobody describes any more, since their party has gone: packets may wait
    /// there. Returns numbers and names.
    pub fn adopt(&mut self, poller: &Poller, shared: &Shared) -> Vec<(u32, String)> {
        let mut adopted = Vec::new();
        for entry in fs::read_dir(&self.directory).into_iter().flatten().flatten() {
            let file = entry.file_name().to_string_lossy().into_owned();
            let name = file.strip_suffix(".spill").unwrap_or(&file);
            let Some(number) = names::stream_number(name).filter(|number| *number as usize <= MAX_NUMBER)
            else {
                continue;
            };
            let index = number as usize;
            self.streams.resize_with(self.streams.len().max(index + 1), || None);
            if self.streams[index].is_some() {
                continue;
            }
            let key = poll_key(self.recording, number);
            match ExposedStream::listen(&self.directory, name.to_owned(), poller, key, shared) {
                Ok(stream) => {
                    self.streams[index] = Some(Exposed::Socket(Box::new(stream)));
                    adopted.push((number, name.to_owned()));
                }
                Err(error) => {
                    tracing::warn!(stream = name, %error, "packets of an earlier process stay behind")
                }
            }
        }
        adopted
    }

    /// Whether packets of a data plane stream have a place here.
    pub fn knows(&self, stream: u64) -> bool {
        self.by_stream.get(&stream).and_then(|index| self.streams.get(*index)).is_some_and(Option::is_some)
    }

    pub fn push(&mut self, record: &TapRecord<'_>, now: Instant, shared: &Shared) {
        let exposed = self.by_stream.get(&record.stream).and_then(|&index| self.streams.get_mut(index));
        match exposed {
            Some(Some(Exposed::Socket(stream))) => stream.push(record, now, shared),
            Some(Some(Exposed::Kernel(number))) => {
                let mut header = [0; framing::MAX_HEADER];
                let length = framing::write_header(
                    &mut header,
                    record.source,
                    record.destination,
                    record.payload.len(),
                );
                let header = header.get(..length).unwrap_or_default();
                let pushed = self.kernel.as_ref().is_some_and(|kernel| {
                    kernel.push(*number, record.time_us, header, record.payload).is_ok()
                });
                let counter = if pushed { &shared.exposed_packets } else { &shared.exposed_lost };
                counter.fetch_add(1, Relaxed);
            }
            _ => {}
        }
    }

    /// A reader waits at the socket of that number.
    pub fn accept(&mut self, index: usize, shared: &Shared) {
        if let Some(Some(Exposed::Socket(stream))) = self.streams.get_mut(index) {
            stream.accept(shared);
        }
    }

    /// Hands readers of sockets what they take.
    pub fn pump(&mut self, now: Instant, shared: &Shared) {
        for exposed in self.streams.iter_mut().flatten() {
            if let Exposed::Socket(stream) = exposed {
                stream.pump(now, shared);
            }
        }
    }

    /// Nothing waits for a reader any more.
    pub fn is_drained(&self) -> bool {
        self.streams.iter().flatten().all(|exposed| match exposed {
            Exposed::Socket(stream) => stream.is_drained(),
            Exposed::Kernel(number) => self.kernel.as_ref().is_none_or(|kernel| kernel.is_drained(*number)),
        })
    }

    /// Lets what waits in memory wait on disk; `false` when that is not possible, or nothing waits there.
    pub fn move_to_disk(&mut self, now: Instant, shared: &Shared) -> bool {
        let mut moved = false;
        for exposed in self.streams.iter_mut().flatten() {
            if let Exposed::Socket(stream) = exposed
                && !stream.is_drained()
            {
                if !stream.move_to_disk(now, shared) {
                    return false;
                }
                moved = true;
            }
        }
        moved
    }

    /// End of file for the readers; everything else stays for another process. Returns the packets that had no place.
    pub fn leave(&mut self, now: Instant, shared: &Shared) -> u64 {
        let mut lost = 0;
        for exposed in self.streams.drain(..).flatten() {
            if let Exposed::Socket(stream) = exposed {
                lost += stream.leave(now, shared);
            }
        }
        shared.exposed_lost.fetch_add(lost, Relaxed);
        lost
    }

    /// End of file for the readers. Returns the packets that never found one.
    pub fn close(&mut self, now: Instant, shared: &Shared) -> u64 {
        let mut lost = 0;
        for exposed in self.streams.drain(..).flatten() {
            if let Exposed::Socket(stream) = exposed {
                lost += stream.close(&self.directory, now, shared);
            }
        }
        self.kernel = None;
        match fs::remove_dir(&self.directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %self.directory.display(), %error, "cannot remove directory");
            }
            _ => {}
        }
        lost
    }
}

/// What the poller says about a stream's socket.
pub(super) fn poll_key(recording: u64, stream: u32) -> u64 {
    recording << 16 | u64::from(stream & 0xffff)
}

/// The reverse of [`poll_key`].
pub(super) fn from_poll_key(key: u64) -> (u64, usize) {
    (key >> 16, (key & 0xffff) as usize)
}

fn make_directory(path: &Path) -> std::io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}
