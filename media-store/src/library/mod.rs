//! Media that are played often: what is kept in memory and on disk, and where the rest comes from.
//!
//! ```text
//! file(path or URL) ─▶ memory ─▶ disk or HTTP
//! database(id) ─▶ memory ─▶ <directory>/<id>.blob ─▶ database
//! ```
//!
//! One thread looks after what is kept (reading again, expiry, preloading that failed); it is there only if something of that was
//! configured. Calls may block on disk and database, but no lock is held meanwhile.

mod disk;
mod memory;
#[cfg(test)]
mod tests;
mod upkeep;

use std::fs::{File, Metadata};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use crate::database::{Database, DatabaseError, DatabaseSettings};
use crate::http::{self, Http, HttpError, HttpSettings};
use crate::source::Origin;
use disk::Directory;
use memory::Memory;
use upkeep::Upkeep;

/// One kind of media and what is done with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keeping<K> {
    /// Taken in at start.
    pub preload: Vec<K>,
    /// Whatever is played is kept.
    pub on_demand: bool,
    /// How often it is read again.
    pub reload: Option<Duration>,
    /// What has not been played for this long is dropped.
    pub expire: Option<Duration>,
}

/// What a library is made for. Without anything it keeps nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LibrarySettings {
    /// Files in memory.
    pub files: Keeping<String>,
    /// Media of the database in memory.
    pub database_media: Keeping<u64>,
    /// Media of the database on disk.
    pub disk: Keeping<u64>,
    /// Directory for the latter, made with mode 0700.
    pub disk_directory: Option<PathBuf>,
    /// How often something may expire; never without it.
    pub expiry_interval: Option<Duration>,
    /// Where media come from that are asked for by number.
    pub database: Option<DatabaseSettings>,
    /// How files are fetched whose name is a URL.
    pub http: HttpSettings,
}

/// A medium, and what tells it from others.
#[derive(Clone, Debug)]
pub struct Medium {
    /// Its octets.
    pub origin: Origin,
    /// Equal for equal contents.
    pub identity: Identity,
}

/// Tells contents apart without comparing them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Identity {
    /// A file as it was when it was looked at.
    File {
        /// Which.
        path: PathBuf,
        /// Time of the last change.
        modified: Option<SystemTime>,
        /// Length in octets.
        length: u64,
    },
    /// Octets in memory, by a hash that differs from process to process.
    Content {
        /// Hash of the octets.
        hash: u64,
        /// Their number.
        length: usize,
    },
}

/// A medium that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Path or number.
    pub name: String,
    /// Time since it was read.
    pub loaded: Duration,
    /// Time since it was played.
    pub used: Duration,
}

/// Why a medium cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LibraryError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The URL gives nothing.
    #[error("cannot fetch {url}: {source}")]
    Url {
        /// Which, without a password.
        url: String,
        /// Why.
        source: HttpError,
    },
    /// The directory of copies cannot be made or written to.
    #[error("cannot keep media in {path}: {source}")]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No directory for copies of the database's media was configured.
    #[error("no directory for media of the database is configured")]
    NoDirectory,
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The thread cannot be started.
    #[error("cannot start a thread for media: {0}")]
    Thread(io::Error),
    /// It is not kept, so it cannot be read again.
    #[error("is not kept")]
    NotKept,
}

/// All media. Shared by whoever plays or administers them.
pub struct Library {
    shared: Arc<Shared>,
    upkeep: Option<Upkeep>,
}

/// What the upkeep thread works on, too.
struct Shared {
    settings: LibrarySettings,
    files: Memory<String>,
    database_media: Memory<u64>,
    disk: Option<Directory>,
    database: Option<Database>,
    http: Http,
}

impl Library {
    /// Takes in what is to be there from the beginning. Of the database, what is not to be had now is tried again later, and logged:
    /// calls that need none of it must not wait for it. The same for URLs.
    ///
    /// # Errors
    /// `File` when a file that is to be preloaded cannot be read; `Directory`; `Thread`.
    pub fn start(settings: LibrarySettings) -> Result<Self, LibraryError> {
        let disk = settings.disk_directory.as_deref().map(Directory::create).transpose()?;
        let database = settings.database.clone().map(Database::start).transpose();
        let database = database.map_err(LibraryError::Thread)?;
        let (files, database_media) = (Memory::default(), Memory::default());
        let http = Http::new(settings.http.clone());
        let shared = Arc::new(Shared { settings, files, database_media, disk, database, http });
        for path in shared.settings.files.preload.iter().filter(|path| !http::is_url(path)) {
            shared.read_file(path).inspect(|content| shared.files.keep(path.clone(), content))?;
        }
        let upkeep = Upkeep::start(shared.clone()).map_err(LibraryError::Thread)?;
        Ok(Self { shared, upkeep })
    }

    /// A file, from memory if it is kept there. One that is not is opened by whoever reads it; one with a URL is fetched, which may take
    /// seconds.
    ///
    /// # Errors
    /// `File` when it is not a regular file that can be opened; `Url`.
    pub fn file(&self, path: &str) -> Result<Medium, LibraryError> {
        self.shared.file(path)
    }

    /// A medium of the database. Blocks while the database is asked.
    ///
    /// # Errors
    /// `Database`
    pub fn database(&self, id: u64) -> Result<Medium, LibraryError> {
        self.shared.database_medium(id)
    }

    /// Octets that somebody brought.
    pub fn blob(&self, octets: &[u8]) -> Medium {
        medium(octets.into())
    }

    /// Files in memory; all lists are in the order of names.
    pub fn kept_files(&self) -> Vec<Kept> {
        self.shared.files.list()
    }

    /// Media of the database in memory.
    pub fn kept_database_media(&self) -> Vec<Kept> {
        self.shared.database_media.list()
    }

    /// Media of the database on disk.
    pub fn kept_on_disk(&self) -> Vec<Kept> {
        self.shared.disk.as_ref().map(Directory::list).unwrap_or_default()
    }

    /// Octets in memory.
    pub fn octets(&self) -> u64 {
        self.shared.files.octets() + self.shared.database_media.octets()
    }

    /// Keeps a file in memory from now on.
    ///
    /// # Errors
    /// `File`
    pub fn add_file(&self, path: &str) -> Result<(), LibraryError> {
        let content = self.shared.read_file(path)?;
        self.shared.files.keep(path.to_owned(), &content);
        Ok(())
    }

    /// Keeps a medium of the database in memory from now on.
    ///
    /// # Errors
    /// `Database`
    pub fn add_database_medium(&self, id: u64) -> Result<(), LibraryError> {
        let octets = self.shared.fetch(id)?;
        self.shared.database_media.keep(id, &Content::new(octets, None));
        Ok(())
    }

    /// Keeps a medium of the database on disk from now on.
    ///
    /// # Errors
    /// `Database`, `Directory`, `NoDirectory`
    pub fn add_to_disk(&self, id: u64) -> Result<(), LibraryError> {
        let disk = self.shared.disk.as_ref().ok_or(LibraryError::NoDirectory)?;
        disk.write(id, &self.shared.fetch(id)?)
    }

    /// Reads a file in memory again.
    ///
    /// # Errors
    /// `NotKept`, `File`
    pub fn reload_file(&self, path: &str) -> Result<(), LibraryError> {
        if self.shared.files.has(path) { self.add_file(path) } else { Err(LibraryError::NotKept) }
    }

    /// Fetches a medium in memory again.
    ///
    /// # Errors
    /// `NotKept`, `Database`
    pub fn reload_database_medium(&self, id: u64) -> Result<(), LibraryError> {
        if !self.shared.database_media.has(&id) {
            return Err(LibraryError::NotKept);
        }
        self.add_database_medium(id)
    }

    /// Fetches a medium on disk again.
    ///
    /// # Errors
    /// `NotKept`, `Database`, `Directory`
    pub fn reload_on_disk(&self, id: u64) -> Result<(), LibraryError> {
        if !self.shared.disk.as_ref().is_some_and(|disk| disk.has(id)) {
            return Err(LibraryError::NotKept);
        }
        self.add_to_disk(id)
    }

    /// Reads all files in memory again; how many could be read.
    pub fn reload_files(&self) -> usize {
        let read = |path: &String| {
            self.add_file(path)
                .inspect_err(|error| not_reloaded(&http::without_password(path), error))
                .is_ok()
        };
        self.shared.files.keys().iter().filter(|path| read(path)).count()
    }

    /// Fetches all media in memory again; how many could be had.
    pub fn reload_database_media(&self) -> usize {
        self.shared.reload_database_media()
    }

    /// Fetches all media on disk again; how many could be had.
    pub fn reload_all_on_disk(&self) -> usize {
        self.shared.reload_disk()
    }

    /// Forgets a file; whether it was kept.
    pub fn evict_file(&self, path: &str) -> bool {
        self.shared.files.evict(path)
    }

    /// Forgets all files; how many.
    pub fn evict_files(&self) -> usize {
        self.shared.files.evict_all()
    }

    /// Forgets a medium in memory; whether it was kept.
    pub fn evict_database_medium(&self, id: u64) -> bool {
        self.shared.database_media.evict(&id)
    }

    /// Forgets all media of the database in memory; how many.
    pub fn evict_database_media(&self) -> usize {
        self.shared.database_media.evict_all()
    }

    /// Removes a medium from disk; whether it was there.
    pub fn evict_from_disk(&self, id: u64) -> bool {
        self.shared.disk.as_ref().is_some_and(|disk| disk.evict(id))
    }

    /// Removes all media from disk; how many.
    pub fn evict_all_from_disk(&self) -> usize {
        let Some(disk) = &self.shared.disk else { return 0 };
        disk.ids().into_iter().filter(|id| disk.evict(*id)).count()
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        if let Some(upkeep) = &self.upkeep {
            upkeep.stop();
        }
    }
}

/// Octets with what is remembered about them.
#[derive(Clone)]
struct Content {
    octets: Arc<[u8]>,
    identity: Identity,
    /// Of the file that they were read from.
    modified: Option<SystemTime>,
}

impl Content {
    fn new(octets: Arc<[u8]>, modified: Option<SystemTime>) -> Self {
        let identity = medium(octets.clone()).identity;
        Self { octets, identity, modified }
    }

    fn medium(&self) -> Medium {
        Medium { origin: Origin::Memory(self.octets.clone()), identity: self.identity.clone() }
    }
}

impl Shared {
    fn file(&self, path: &str) -> Result<Medium, LibraryError> {
        if let Some(content) = self.files.play(path) {
            return Ok(content.medium());
        }
        if self.settings.files.on_demand {
            let content = self.read_file(path)?;
            self.files.keep(path.to_owned(), &content);
            return Ok(content.medium());
        }
        if http::is_url(path) {
            return Ok(self.read_file(path)?.medium());
        }
        let metadata = open(path.as_ref())?.1;
        let identity =
            Identity::File { path: path.into(), modified: metadata.modified().ok(), length: metadata.len() };
        Ok(Medium { origin: Origin::File(path.into()), identity })
    }

    fn database_medium(&self, id: u64) -> Result<Medium, LibraryError> {
        if let Some(content) = self.database_media.play(&id) {
            return Ok(content.medium());
        }
        let on_disk = self.disk.as_ref().and_then(|disk| disk.play(id));
        let octets = match on_disk {
            Some(octets) => octets,
            None => {
                let octets = self.fetch(id)?;
                self.write_to_disk(id, &octets);
                octets
            }
        };
        let content = Content::new(octets, None);
        if self.settings.database_media.on_demand {
            self.database_media.keep(id, &content);
        }
        Ok(content.medium())
    }

    fn fetch(&self, id: u64) -> Result<Arc<[u8]>, DatabaseError> {
        self.database.as_ref().ok_or(DatabaseError::NotConfigured)?.fetch(id)
    }

    /// A full disk costs the copy, not the announcement.
    fn write_to_disk(&self, id: u64, octets: &[u8]) {
        if let Some(Err(error)) = self.disk.as_ref().map(|disk| disk.write(id, octets)) {
            tracing::error!(id, %error, "medium of the database not kept");
        }
    }

    fn read_file(&self, path: &str) -> Result<Content, LibraryError> {
        if http::is_url(path) {
            let fetched = self.http.fetch(path);
            let octets =
                fetched.map_err(|source| LibraryError::Url { url: http::without_password(path), source })?;
            return Ok(Content::new(octets, None));
        }
        let (mut file, metadata) = open(path.as_ref())?;
        let mut octets = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
        file.read_to_end(&mut octets).map_err(|source| LibraryError::File { path: path.into(), source })?;
        Ok(Content::new(octets.into(), metadata.modified().ok()))
    }

    /// Reads files again that have changed. Of URLs nobody knows without fetching them.
    fn refresh_files(&self) {
        for path in self.files.keys() {
            let changed = || {
                if http::is_url(&path) {
                    return Ok(true);
                }
                let modified = open(path.as_ref())?.1.modified().ok();
                Ok(self.files.modified(&path) != Some(modified))
            };
            let read = match changed() {
                Ok(false) => continue,
                Ok(true) => self.read_file(&path),
                Err(error) => Err(error),
            };
            match read {
                Ok(content) => self.files.renew(&path, &content),
                Err(error) => not_reloaded(&http::without_password(&path), &error),
            }
        }
    }

    fn reload_database_media(&self) -> usize {
        let fetch = |id: &u64| match self.fetch(*id) {
            Ok(octets) => {
                self.database_media.renew(id, &Content::new(octets, None));
                true
            }
            Err(error) => {
                not_reloaded(id, &error);
                false
            }
        };
        self.database_media.keys().iter().filter(|id| fetch(id)).count()
    }

    fn reload_disk(&self) -> usize {
        let Some(disk) = &self.disk else { return 0 };
        let fetch = |id: &u64| {
            let fetched = self.fetch(*id).map_err(LibraryError::from);
            let written = fetched.and_then(|octets| disk.write(*id, &octets));
            written.inspect_err(|error| not_reloaded(id, error)).is_ok()
        };
        disk.ids().iter().filter(|id| fetch(id)).count()
    }

    fn expire(&self) {
        let settings = &self.settings;
        let in_memory = settings.files.expire.map_or(0, |age| self.files.expire(age))
            + settings.database_media.expire.map_or(0, |age| self.database_media.expire(age));
        let on_disk = settings.disk.expire.zip(self.disk.as_ref()).map_or(0, |(age, disk)| disk.expire(age));
        if in_memory + on_disk > 0 {
            tracing::info!(in_memory, on_disk, "media expired");
        }
    }
}

fn not_reloaded(name: &impl std::fmt::Display, error: &impl std::fmt::Display) {
    tracing::error!(%name, %error, "medium not read again, the former one stays");
}

/// Opens a regular file: a pipe or device could make us wait for ever.
fn open(path: &Path) -> Result<(File, Metadata), LibraryError> {
    let failed = |source| LibraryError::File { path: path.to_owned(), source };
    // Opening a pipe waits for its writer, so that its kind is asked for first.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(failed(io::Error::other("not a regular file")));
    }
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    Ok((file, metadata))
}

fn medium(octets: Arc<[u8]>) -> Medium {
    static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    let identity = Identity::Content { hash: HASHER.hash_one(&octets), length: octets.len() };
    Medium { origin: Origin::Memory(octets), identity }
}
