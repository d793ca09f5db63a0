//! The recording directory: making it, and clearing what an earlier life left.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use spool::names;

use super::{RecordError, sys};
use crate::config::RecordingMethod;

/// What the writer needs of the directory.
pub(super) struct Directories {
    pub root: PathBuf,
    /// Held for the life of the process.
    _lock: Option<File>,
}

impl Directories {
    /// Makes what the method needs, and clears what was left.
    pub fn prepare(root: &Path, method: RecordingMethod) -> Result<Self, RecordError> {
        make(root, 0o700)?;
        if method != RecordingMethod::Proc {
            for name in ["metadata", "pcaps", "tmp"] {
                make(&root.join(name), 0o777)?;
            }
        }
        let mut lock = None;
        if method != RecordingMethod::Pcap {
            let calls = root.join("calls");
            make(&calls, 0o777)?;
            let file = File::open(&calls).map_err(|error| directory_error(&calls, &error))?;
            if sys::try_lock(&file) {
                clear(root, &calls);
                lock = Some(file);
            } else {
                tracing::warn!(
                    directory = %root.display(),
                    "another media daemon uses the recording directory; left-over recordings are not cleared"
                );
            }
        }
        Ok(Self { root: root.to_owned(), _lock: lock })
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

/// Removes exposed streams and metafiles of recordings that nobody will continue: the recording daemon finishes
/// those calls when their metafiles disappear.
fn clear(root: &Path, calls: &Path) {
    let mut cleared = 0u32;
    for entry in fs::read_dir(calls).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir())
            && let Err(error) = fs::remove_dir_all(entry.path())
        {
            tracing::warn!(path = %entry.path().display(), %error, "cannot clear left-over streams");
        }
    }
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let is_metafile = name
            .to_str()
            .and_then(|name| name.strip_suffix(".meta"))
            .is_some_and(|prefix| names::random_tag(prefix).is_some());
        if is_metafile && entry.file_type().is_ok_and(|kind| kind.is_file()) {
            super::remove_file(&entry.path());
            cleared += 1;
        }
    }
    if cleared > 0 {
        tracing::info!(recordings = cleared, "finished recordings that an earlier process left");
    }
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
    fn left_over_recordings_are_cleared_and_other_files_kept() {
        let root = tempfile::tempdir().expect("temporary directory");
        let stale = root.path().join("call-0011223344556677.meta");
        let other = root.path().join("readme.meta");
        let stream = root.path().join("calls/call-0011223344556677/s");
        fs::create_dir_all(stream.parent().expect("directory")).expect("directories");
        for path in [&stale, &other, &stream] {
            fs::write(path, "").expect("file");
        }
        let first = Directories::prepare(root.path(), RecordingMethod::Proc).expect("prepared");
        assert!(!stale.exists() && !stream.exists() && other.exists());

        fs::write(&stale, "").expect("file");
        let _second = Directories::prepare(root.path(), RecordingMethod::Proc).expect("prepared");
        assert!(stale.exists(), "recordings of a living daemon are not touched");
        drop(first);
    }
}
