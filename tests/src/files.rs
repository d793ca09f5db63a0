//! Waiting for files that another process finishes.

use std::collections::BTreeSet;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use inotify::{EventMask, Inotify, WatchMask};

/// A watch on a folder for files that were closed after writing.
#[derive(Debug)]
pub struct Closed {
    inotify: Inotify,
    folder: PathBuf,
}

impl Closed {
    /// Watches from now on.
    pub fn watch(folder: &Path) -> std::io::Result<Self> {
        let inotify = Inotify::init()?;
        inotify.watches().add(folder, WatchMask::CLOSE_WRITE | WatchMask::MOVED_TO)?;
        Ok(Self { inotify, folder: folder.into() })
    }

    /// Waits until `count` different files with this ending were finished, and returns those that were by the deadline.
    pub fn wait(&mut self, ending: &str, count: usize, limit: Duration) -> Vec<PathBuf> {
        let deadline = Instant::now() + limit;
        let mut finished = BTreeSet::new();
        let mut buffer = [0; 16_384];
        while finished.len() < count {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || !readable(&self.inotify, left) {
                break;
            }
            for event in self.inotify.read_events(&mut buffer).into_iter().flatten() {
                let Some(name) = event.name.filter(|name| name.to_string_lossy().ends_with(ending)) else {
                    continue;
                };
                if event.mask.intersects(EventMask::CLOSE_WRITE | EventMask::MOVED_TO) {
                    finished.insert(self.folder.join(name));
                }
            }
        }
        finished.into_iter().collect()
    }
}

fn readable(inotify: &Inotify, wait: Duration) -> bool {
    let mut poll = libc::pollfd { fd: inotify.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let milliseconds = i32::try_from(wait.as_millis() + 1).unwrap_or(i32::MAX);
    // SAFETY: one valid pollfd, which lives through the call.
    unsafe { libc::poll(&mut poll, 1, milliseconds) > 0 }
}
