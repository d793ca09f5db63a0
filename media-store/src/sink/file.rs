//! Output files: names that are not taken yet, missing directories, modes and owners.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown, fchown};
use std::path::{Path, PathBuf};

/// Attempts with `-1` … `-19` after the plain name.
const MAX_SUFFIX: u32 = 19;

/// Modes and owners of what is created; `None` leaves what the system gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ownership {
    /// Mode of files.
    pub file_mode: Option<u32>,
    /// Mode of directories that had to be made; 0700 when unset.
    pub directory_mode: Option<u32>,
    /// Owner of files and made directories.
    pub user: Option<u32>,
    /// Group of files and made directories.
    pub group: Option<u32>,
}

/// An output file could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CreateError {
    /// The name and all of its numbered variants exist.
    #[error("'{0}' and all numbered variants of it exist")]
    Taken(PathBuf),
    /// A system call failed.
    #[error("cannot create '{path}': {source}")]
    Io {
        /// What was to be made.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Makes `<path>.<extension>` (or `<path>` without an extension), or `<path>-1.<extension>` … `-19` when it exists.
/// Never touches an existing file. Gives the open file (read and write) and its name. Changing the mode or owner is
/// best effort; what failed comes back as the third part.
pub fn create(
    path: &Path,
    extension: Option<&str>,
    ownership: &Ownership,
) -> Result<(File, PathBuf, Option<io::Error>), CreateError> {
    let mut trouble = match path.parent() {
        Some(parent) => make_directories(parent, ownership)?,
        None => None,
    };
    for attempt in 0..=MAX_SUFFIX {
        let mut name = OsString::from(path);
        if attempt > 0 {
            name.push(format!("-{attempt}"));
        }
        if let Some(extension) = extension {
            name.push(".");
            name.push(extension);
        }
        let name = PathBuf::from(name);
        match OpenOptions::new().read(true).write(true).create_new(true).open(&name) {
            Ok(file) => {
                if let Some(mode) = ownership.file_mode {
                    note(&mut trouble, file.set_permissions(Permissions::from_mode(mode)));
                }
                if ownership.user.is_some() || ownership.group.is_some() {
                    note(&mut trouble, fchown(&file, ownership.user, ownership.group));
                }
                return Ok((file, name, trouble));
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(CreateError::Io { path: name, source }),
        }
    }
    Err(CreateError::Taken(path.to_owned()))
}

/// Makes a directory and what is missing above it.
fn make_directories(directory: &Path, ownership: &Ownership) -> Result<Option<io::Error>, CreateError> {
    let mut trouble = None;
    let missing: Vec<&Path> = directory
        .ancestors()
        .take_while(|ancestor| !ancestor.as_os_str().is_empty() && !ancestor.is_dir())
        .collect();
    for directory in missing.into_iter().rev() {
        match DirBuilder::new().mode(0o700).create(directory) {
            Ok(()) => {
                if let Some(mode) = ownership.directory_mode {
                    note(&mut trouble, std::fs::set_permissions(directory, Permissions::from_mode(mode)));
                }
                if ownership.user.is_some() || ownership.group.is_some() {
                    note(&mut trouble, chown(directory, ownership.user, ownership.group));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(CreateError::Io { path: directory.to_owned(), source }),
        }
    }
    Ok(trouble)
}

fn note(trouble: &mut Option<io::Error>, result: io::Result<()>) {
    if let Err(error) = result {
        trouble.get_or_insert(error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().expect("metadata").permissions().mode() & 0o7777
    }

    #[test]
    fn an_existing_file_is_never_touched() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("call.1-mix");
        let mut names = Vec::new();
        for _ in 0..20 {
            let (_, name, _) = create(&path, Some("wav"), &Ownership::default()).expect("create");
            names.push(name.file_name().expect("name").to_string_lossy().into_owned());
        }
        assert_eq!(names[0], "call.1-mix.wav");
        assert_eq!(names[1], "call.1-mix-1.wav");
        assert_eq!(names[19], "call.1-mix-19.wav");
        let full = create(&path, Some("wav"), &Ownership::default());
        assert!(matches!(full, Err(CreateError::Taken(_))));
    }

    #[test]
    fn a_name_without_extension_is_literal() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("as.given");
        let (_, name, _) = create(&path, None, &Ownership::default()).expect("create");
        assert_eq!(name, path);
    }

    #[test]
    fn missing_directories_are_made_private_or_as_asked() {
        let directory = tempfile::tempdir().expect("temporary directory");
        create(&directory.path().join("a/b/c"), Some("wav"), &Ownership::default()).expect("create");
        assert_eq!(mode(&directory.path().join("a")), 0o700);
        assert_eq!(mode(&directory.path().join("a/b")), 0o700);
        let open = Ownership {
            file_mode: Some(0o640),
            directory_mode: Some(0o2750),
            user: Some(
                directory.path().metadata().map(|m| std::os::unix::fs::MetadataExt::uid(&m)).expect("uid"),
            ),
            group: None,
        };
        let (_, name, trouble) = create(&directory.path().join("a/d/c"), Some("wav"), &open).expect("create");
        assert!(trouble.is_none());
        assert_eq!(mode(&directory.path().join("a")), 0o700, "existing directories stay as they are");
        assert_eq!(mode(&directory.path().join("a/d")), 0o2750);
        assert_eq!(mode(&name), 0o640);
    }
}
