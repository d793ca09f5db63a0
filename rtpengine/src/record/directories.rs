//! The recording directory: making it, and clearing what an earlier life left.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use spool::names;

use super::{RecordError, sys};
use crate::config::RecordingMethod;

/// What the writer needs of the directory.
pub(super) struct Directories {
    pub root: PathBuf,
    /// What an earlier life left, when nobody else was there to whom it could belong.
    leftovers: Vec<String>,
    /// Held for the life of the process, shared with other daemons.
    _lock: Option<File>,
}

/// How often another daemon is waited for that looks for what was left, and how long each time.
const TURNS: u32 = 50;
const TURN: Duration = Duration::from_millis(10);

impl Directories {
    /// Makes what the method needs, and looks for what was left.
    pub fn prepare(root: &Path, method: RecordingMethod) -> Result<Self, RecordError> {
        make(root, 0o700)?;
        if method != RecordingMethod::Proc {
            for name in ["metadata", "pcaps", "tmp"] {
                make(&root.join(name), 0o777)?;
            }
        }
        let (mut lock, mut leftovers) = (None, Vec::new());
        if method != RecordingMethod::Pcap {
            let calls = root.join("calls");
            make(&calls, 0o777)?;
            let file = File::open(&calls).map_err(|error| directory_error(&calls, &error))?;
            if sys::try_lock(&file) {
                leftovers = find_leftovers(root, &calls);
            } else {
                tracing::info!(
                    directory = %root.display(),
                    "another media daemon uses the recording directory; what is there stays"
                );
            }
            if (0..TURNS).all(|_| {
                !sys::try_share(&file) && {
                    std::thread::sleep(TURN);
                    true
                }
            }) {
                tracing::warn!(directory = %root.display(), "the recording directory belongs to another media daemon");
            }
            lock = Some(file);
        }
        Ok(Self { root: root.to_owned(), leftovers, _lock: lock })
    }

    /// Finishes recordings that an earlier life left, but for those that go on: the recording daemon completes them when their metafiles
    /// disappear.
    pub fn finish_leftovers(&mut self, going_on: &HashSet<String>) {
        let (mut finished, mut kept) = (0_u32, 0_u32);
        for prefix in std::mem::take(&mut self.leftovers) {
            if going_on.contains(&prefix) {
                kept += 1;
                continue;
            }
            match fs::remove_dir_all(names::exposure_dir(&self.root, &prefix)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(recording = prefix, %error, "cannot clear left-over streams");
                }
                _ => {}
            }
            super::remove_file(&names::metafile_path(&self.root, &prefix));
            finished += 1;
        }
        if finished + kept > 0 {
            tracing::info!(finished, going_on = kept, "recordings that an earlier process left");
        }
    }
}

fn make(path: &Path, mode: u32) -> Result<(), RecordError> {
    match DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if path.is_dir() {
                Ok(())
            } else {
                Err(RecordError::Directory { path: path.into(), reason: "is not a directory".into() })
            }
        }
        other => other.map_err(|error| directory_error(path, &error)),
    }
}

fn directory_error(path: &Path, error: &io::Error) -> RecordError {
    RecordError::Directory { path: path.into(), reason: error.to_string() }
}

/// Names of all metafiles and directories of streams.
fn find_leftovers(root: &Path, calls: &Path) -> Vec<String> {
    let mut found = HashSet::new();
    for entry in fs::read_dir(calls).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(entry.file_name().into_string().ok());
        }
    }
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let prefix = name.to_str().and_then(|name| name.strip_suffix(".meta"));
        if entry.file_type().is_ok_and(|kind| kind.is_file()) {
            found.extend(prefix.filter(|prefix| names::random_tag(prefix).is_some()).map(str::to_owned));
        }
    }
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_method_gets_its_directories() {
        use RecordingMethod::{All, Pcap, Proc};
        for (method, expected) in [
            (Pcap, &["metadata", "pcaps", "tmp"][..]),
            (Proc, &["calls"]),
            (All, &["calls", "metadata", "pcaps", "tmp"]),
        ] {
            let parent = tempfile::tempdir().expect("temporary directory");
            let root = parent.path().join("spool");
            let _directories = Directories::prepare(&root, method).expect("prepared");
            let mut found: Vec<_> = fs::read_dir(&root)
                .expect("root")
                .map(|entry| entry.expect("entry").file_name().into_string().expect("name"))
                .collect();
            found.sort();
            assert_eq!(found, expected, "{method:?}");
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(fs::metadata(&root).expect("root").permissions().mode() & 0o777, 0o700);
        }
    }

    #[test]
    fn a_file_in_the_way_is_an_error_that_names_it() {
        let root = tempfile::tempdir().expect("temporary directory");
        fs::write(root.path().join("pcaps"), "").expect("file");
        let error = Directories::prepare(root.path(), RecordingMethod::Pcap).err().expect("an error");
        assert!(error.to_string().contains("pcaps: is not a directory"), "{error}");
    }

    #[test]
    fn left_over_recordings_are_finished_but_for_those_that_go_on() {
        let root = tempfile::tempdir().expect("temporary directory");
        let stale = root.path().join("call-0011223344556677.meta");
        let going_on = root.path().join("call-8899aabbccddeeff.meta");
        let other = root.path().join("readme.meta");
        let stream = root.path().join("calls/call-0011223344556677/s");
        let other_stream = root.path().join("calls/call-8899aabbccddeeff/s");
        for path in [&stream, &other_stream] {
            fs::create_dir_all(path.parent().expect("directory")).expect("directories");
        }
        for path in [&stale, &going_on, &other, &stream, &other_stream] {
            fs::write(path, "").expect("file");
        }
        let mut first = Directories::prepare(root.path(), RecordingMethod::Proc).expect("prepared");
        assert!(stale.exists() && stream.exists(), "nothing is finished before it is known what goes on");
        let begun_since = root.path().join("call-0000000000000000.meta");
        fs::write(&begun_since, "").expect("file");
        first.finish_leftovers(&HashSet::from(["call-8899aabbccddeeff".to_owned()]));
        assert!(!stale.exists() && !stream.exists());
        assert!(going_on.exists() && other_stream.exists() && other.exists() && begun_since.exists());

        let mut second = Directories::prepare(root.path(), RecordingMethod::Proc).expect("prepared");
        second.finish_leftovers(&HashSet::new());
        assert!(going_on.exists(), "recordings of a living daemon are not touched");
        drop(first);
        assert!(spool::hold::is_held(root.path()), "the second one holds the spool as well");
        drop(second);
        assert!(!spool::hold::is_held(root.path()));
    }
}
