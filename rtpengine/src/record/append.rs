//! A file that grows at its end, whole pieces at a time, and survives a disk that is full for a while.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::stats::Shared;

/// Octets wait in memory until [`Appender::flush`] writes all of them, or nothing.
pub(super) struct Appender {
    path: PathBuf,
    mode: u32,
    handle: Handle,
    file: Option<File>,
    /// Octets that are in the file. `None` until it was opened for the first time.
    length: Option<u64>,
    pending: Vec<u8>,
    /// Set while writing fails.
    retry_at: Option<Instant>,
}

/// What happens between writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handle {
    /// Opened once.
    KeptOpen,
    /// Opened for each write, so that closing tells who watches the file.
    ClosedEachTime,
}

/// What is there already when the file is opened for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Previous {
    Replace,
    Continue,
}

/// How long to leave a failing file alone.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

impl Appender {
    /// Opens the file at once. It is not an error when that fails: each flush tries again.
    pub fn new(
        path: PathBuf,
        mode: u32,
        handle: Handle,
        previous: Previous,
        now: Instant,
        shared: &Shared,
    ) -> Self {
        let mut appender =
            Self { path, mode, handle, file: None, length: None, pending: Vec::new(), retry_at: None };
        let opened = appender.open().and_then(|()| {
            if previous == Previous::Replace {
                appender.truncate(0)?;
            }
            Ok(())
        });
        if let Err(error) = opened {
            appender.failed(&error, now, shared);
        }
        appender
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Octets in the file and waiting.
    pub fn total_length(&self) -> u64 {
        self.length.unwrap_or(0) + self.pending.len() as u64
    }

    pub fn is_failing(&self) -> bool {
        self.retry_at.is_some()
    }

    /// Octets that wait. What is appended here is written with the next flush.
    pub fn pending(&mut self) -> &mut Vec<u8> {
        &mut self.pending
    }

    /// Writes what waits; on failure nothing of it stays in the file, and it waits on.
    pub fn flush(&mut self, now: Instant, shared: &Shared) {
        if self.pending.is_empty() || self.retry_at.is_some_and(|at| now < at) {
            return;
        }
        self.flush_now(now, shared);
    }

    /// The same without regard to an earlier failure; for the end of a recording.
    pub fn flush_now(&mut self, now: Instant, shared: &Shared) {
        match self.write() {
            Ok(()) => {
                self.pending.clear();
                self.pending.shrink_to(64 << 10);
                if self.retry_at.take().is_some() {
                    shared.no_longer_failing();
                }
            }
            Err(error) => self.failed(&error, now, shared),
        }
    }

    /// Gives up: nothing more will be written.
    pub fn close(mut self, shared: &Shared) {
        if self.retry_at.take().is_some() {
            shared.no_longer_failing();
        }
    }

    fn failed(&mut self, error: &io::Error, now: Instant, shared: &Shared) {
        match self.retry_at {
            None => shared.failed(&self.path, error),
            Some(_) => shared.failed_again(),
        }
        self.file = None;
        self.retry_at = Some(now + RETRY_INTERVAL);
    }

    fn write(&mut self) -> io::Result<()> {
        self.open()?;
        let before = self.length.unwrap_or(0);
        let Some(file) = &mut self.file else { return Err(io::ErrorKind::NotFound.into()) };
        if let Err(error) = file.write_all(&self.pending) {
            // A piece may have been written. If it cannot be cut off now, the next open does it.
            let _ = self.truncate(before);
            return Err(error);
        }
        self.length = Some(before + self.pending.len() as u64);
        if self.handle == Handle::ClosedEachTime {
            self.file = None;
        }
        Ok(())
    }

    fn open(&mut self) -> io::Result<()> {
        if self.file.is_some() {
            return Ok(());
        }
        let file = OpenOptions::new().append(true).create(true).mode(self.mode).open(&self.path)?;
        let actual = file.metadata()?.len();
        self.file = Some(file);
        match self.length {
            Some(expected) if actual > expected => self.truncate(expected)?,
            _ => self.length = Some(actual),
        }
        Ok(())
    }

    /// Devices and pipes have no length to cut.
    fn truncate(&mut self, length: u64) -> io::Result<()> {
        if let Some(file) = &self.file
            && file.metadata()?.is_file()
        {
            file.set_len(length)?;
        }
        self.length = Some(length);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn full_disk_keeps_the_octets_until_there_is_room() {
        for handle in [Handle::KeptOpen, Handle::ClosedEachTime] {
            let directory = tempfile::tempdir().expect("temporary directory");
            let path = directory.path().join("file");
            symlink("/dev/full", &path).expect("symlink");
            let shared = Shared::default();
            let start = Instant::now();
            let mut file = Appender::new(path.clone(), 0o664, handle, Previous::Replace, start, &shared);
            file.pending().extend_from_slice(b"first ");
            file.flush(start, &shared);
            assert!(file.is_failing(), "{handle:?}");
            assert_eq!(shared.snapshot().failing, 1);

            std::fs::remove_file(&path).expect("remove");
            file.pending().extend_from_slice(b"second");
            file.flush(start + Duration::from_millis(10), &shared);
            assert!(!path.exists(), "{handle:?}: tried again too early");
            file.flush(start + RETRY_INTERVAL, &shared);
            assert_eq!(std::fs::read(&path).expect("file"), b"first second", "{handle:?}");
            assert!(!file.is_failing());
            assert_eq!(shared.snapshot().failing, 0);
        }
    }

    #[test]
    fn a_piece_left_by_a_failed_write_is_cut_off() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("file");
        let shared = Shared::default();
        let now = Instant::now();
        let mut file =
            Appender::new(path.clone(), 0o664, Handle::ClosedEachTime, Previous::Replace, now, &shared);
        file.pending().extend_from_slice(b"whole;");
        file.flush(now, &shared);
        std::fs::write(&path, b"whole;pie").expect("a piece");
        file.pending().extend_from_slice(b"next;");
        file.flush(now, &shared);
        assert_eq!(std::fs::read(&path).expect("file"), b"whole;next;");
    }

    #[test]
    fn previous_content_is_replaced_or_continued() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("file");
        let shared = Shared::default();
        let now = Instant::now();
        for (previous, expected) in [(Previous::Continue, &b"old new"[..]), (Previous::Replace, b" new")] {
            std::fs::write(&path, b"old").expect("old content");
            let mut file = Appender::new(path.clone(), 0o664, Handle::KeptOpen, previous, now, &shared);
            file.pending().extend_from_slice(b" new");
            file.flush(now, &shared);
            assert_eq!(std::fs::read(&path).expect("file"), expected, "{previous:?}");
        }
    }
}
