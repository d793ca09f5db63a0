//! Copies of the database's media on disk: `<directory>/<number>.blob`. The file's access time is when it was played last, the
//! change time when it was fetched.

use std::fs::{self, DirBuilder, File, FileTimes, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use super::{Kept, LibraryError};

pub(super) struct Directory {
    path: PathBuf,
}

impl Directory {
    /// Makes it and what is missing above it, with mode 0700.
    pub fn create(path: &Path) -> Result<Self, LibraryError> {
        let directory = Self { path: path.to_owned() };
        let created = DirBuilder::new().recursive(true).mode(0o700).create(path);
        created.map_err(|source| directory.error(source))?;
        Ok(directory)
    }

    /// A medium that is going to be played. One that cannot be read is taken as missing.
    pub fn play(&self, id: u64) -> Option<Arc<[u8]>> {
        let mut octets = Vec::new();
        let read = File::open(self.file(id)).and_then(|mut file| {
            file.read_to_end(&mut octets)?;
            Ok(file)
        });
        match read {
            Ok(file) if !octets.is_empty() => {
                // Without it the medium expires earlier, and is fetched again.
                let _ = file.set_times(FileTimes::new().set_accessed(SystemTime::now()));
                Some(octets.into())
            }
            Ok(_) => None,
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::error!(id, %error, "copy of the database's medium cannot be read");
                None
            }
        }
    }

    /// Puts a medium there at once: whoever reads it has the former one or this, never a part.
    pub fn write(&self, id: u64, octets: &[u8]) -> Result<(), LibraryError> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Relaxed);
        let new = self.path.join(format!(".{id}.{}.{number}.new", std::process::id()));
        // Reading again is not playing.
        let accessed = fs::metadata(self.file(id)).and_then(|metadata| metadata.accessed()).ok();
        let written =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new).and_then(|mut file| {
                file.write_all(octets)?;
                if let Some(accessed) = accessed {
                    file.set_times(FileTimes::new().set_accessed(accessed))?;
                }
                fs::rename(&new, self.file(id))
            });
        written.map_err(|source| {
            let _ = fs::remove_file(&new);
            self.error(source)
        })
    }

    pub fn has(&self, id: u64) -> bool {
        self.file(id).is_file()
    }

    pub fn evict(&self, id: u64) -> bool {
        fs::remove_file(self.file(id)).is_ok()
    }

    /// Numbers of what is there, in order.
    pub fn ids(&self) -> Vec<u64> {
        let number = |name: &str| -> Option<u64> {
            let id = name.strip_suffix(".blob")?.parse().ok()?;
            // `007.blob` is not ours.
            (format!("{id}.blob") == name).then_some(id)
        };
        let mut ids: Vec<u64> = fs::read_dir(&self.path)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| number(entry.file_name().to_str()?))
            .collect();
        ids.sort_unstable();
        ids
    }

    pub fn list(&self) -> Vec<Kept> {
        let kept = |id| {
            let (loaded, used) = self.ages(id)?;
            Some(Kept { name: format!("{id}"), loaded, used })
        };
        self.ids().into_iter().filter_map(kept).collect()
    }

    /// Drops what was not played for this long; how many.
    pub fn expire(&self, age: Duration) -> usize {
        let is_old = |id: &u64| self.ages(*id).is_some_and(|(_, used)| used >= age);
        self.ids().into_iter().filter(is_old).filter(|id| self.evict(*id)).count()
    }

    /// Time since a medium was fetched, and since it was played.
    fn ages(&self, id: u64) -> Option<(Duration, Duration)> {
        let metadata = fs::metadata(self.file(id)).ok()?;
        let age =
            |time: io::Result<SystemTime>| time.ok().and_then(|time| time.elapsed().ok()).unwrap_or_default();
        Some((age(metadata.modified()), age(metadata.accessed())))
    }

    fn file(&self, id: u64) -> PathBuf {
        self.path.join(format!("{id}.blob"))
    }

    fn error(&self, source: io::Error) -> LibraryError {
        LibraryError::Directory { path: self.path.clone(), source }
    }
}
