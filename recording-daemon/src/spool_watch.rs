//! Watches the spool directory: which metafiles appear, grow and vanish.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use inotify::{EventMask, Inotify, WatchMask};

use crate::worker::Outputs;

const SUFFIX: &str = ".meta";
const DISCARD_SUFFIX: &str = ".meta.DISCARD";

/// Something happened to a metafile; names are without `.meta`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpoolEvent {
    /// It was written.
    Changed(String),
    /// It is gone.
    Ended(String, Outputs),
}

/// A watched spool directory.
#[derive(Debug)]
pub struct SpoolWatch {
    inotify: Inotify,
    directory: PathBuf,
    buffer: Vec<u8>,
}

impl SpoolWatch {
    /// Begins to watch. [`SpoolWatch::scan`] afterwards finds what was there before; nothing falls in between.
    pub fn new(directory: &Path) -> io::Result<Self> {
        let inotify = Inotify::init()?;
        inotify.watches().add(directory, WatchMask::CLOSE_WRITE | WatchMask::DELETE | WatchMask::ONLYDIR)?;
        Ok(Self { inotify, directory: directory.to_owned(), buffer: vec![0; 64 * 1024] })
    }

    /// What happened since the last call. When the kernel lost events the directory is scanned; `known` are the calls
    /// whose metafiles may have vanished unnoticed.
    pub fn read<T>(&mut self, known: &HashMap<String, T>) -> io::Result<Vec<SpoolEvent>> {
        let mut found = Vec::new();
        let mut overflow = false;
        match self.inotify.read_events(&mut self.buffer) {
            Ok(events) => {
                for event in events {
                    overflow |= event.mask.contains(EventMask::Q_OVERFLOW);
                    let name = event.name.and_then(|name| name.to_str());
                    let gone = event.mask.contains(EventMask::DELETE);
                    found.extend(name.and_then(|name| classify(name, gone)));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        if overflow {
            tracing::warn!("Events of the spool directory were lost, scanning it");
            let present = self.scan()?;
            let is_gone = |prefix: &&String| !present.contains(&SpoolEvent::Changed((*prefix).clone()));
            let gone: Vec<_> = known
                .keys()
                .filter(is_gone)
                .map(|prefix| SpoolEvent::Ended(prefix.clone(), Outputs::Keep))
                .collect();
            found.extend(present);
            found.extend(gone);
        }
        Ok(found)
    }

    /// All metafiles that exist.
    pub fn scan(&self) -> io::Result<Vec<SpoolEvent>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.directory)? {
            found.extend(entry?.file_name().to_str().and_then(|name| classify(name, false)));
        }
        Ok(found)
    }
}

impl AsFd for SpoolWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

fn classify(name: &str, gone: bool) -> Option<SpoolEvent> {
    let prefix = |suffix| name.strip_suffix(suffix).filter(|prefix| !prefix.is_empty()).map(str::to_owned);
    match (prefix(SUFFIX), prefix(DISCARD_SUFFIX)) {
        (Some(prefix), _) if gone => Some(SpoolEvent::Ended(prefix, Outputs::Keep)),
        (Some(prefix), _) => Some(SpoolEvent::Changed(prefix)),
        (None, Some(prefix)) if gone => Some(SpoolEvent::Ended(prefix, Outputs::Discard)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metafiles_are_noticed_when_written_and_deleted() {
        let spool = tempfile::tempdir().expect("temporary directory");
        let path = |name: &str| spool.path().join(name);
        std::fs::write(path("old.meta"), "").expect("write");
        let mut watch = SpoolWatch::new(spool.path()).expect("watch");
        let known: HashMap<String, ()> = HashMap::new();
        assert_eq!(watch.scan().expect("scan"), [SpoolEvent::Changed("old".into())]);
        std::fs::write(path("a.meta"), "x").expect("write");
        std::fs::write(path("a.txt"), "x").expect("write");
        std::fs::write(path(".meta"), "x").expect("write");
        std::fs::rename(path("old.meta"), path("old.meta.DISCARD")).expect("rename");
        std::fs::remove_file(path("old.meta.DISCARD")).expect("delete");
        std::fs::remove_file(path("a.meta")).expect("delete");
        let expected = [
            SpoolEvent::Changed("a".into()),
            SpoolEvent::Ended("old".into(), Outputs::Discard),
            SpoolEvent::Ended("a".into(), Outputs::Keep),
        ];
        assert_eq!(watch.read(&known).expect("events"), expected);
    }
}
