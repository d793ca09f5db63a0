//! The library with files and a SQLite database in a directory of its own.

use std::fs;

use rusqlite::Connection;
use tempfile::TempDir;

use super::*;
use crate::database::{Limits, Server};

/// A directory with a database; media are plain text here, nothing is decoded.
struct Shelf {
    directory: TempDir,
}

impl Shelf {
    fn new() -> Self {
        let shelf = Self { directory: tempfile::tempdir().expect("directory") };
        let schema = include_str!("../../../sql/media-sqlite.sql");
        shelf.connection().execute_batch(schema).expect("schema");
        shelf
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().expect("text").to_owned()
    }

    fn connection(&self) -> Connection {
        Connection::open(self.path("media.sqlite3")).expect("opened")
    }

    fn row(&self, id: u32, data: &str) {
        let replace = "REPLACE INTO media (id, data) VALUES (?1, ?2)";
        self.connection().execute(replace, (id, data.as_bytes())).expect("row");
    }

    fn lose_database(&self) {
        fs::remove_file(self.path("media.sqlite3")).expect("removed");
    }

    fn settings(&self) -> LibrarySettings {
        LibrarySettings {
            database: Some(DatabaseSettings {
                server: Server::Sqlite(self.path("media.sqlite3")),
                query: "SELECT data FROM media WHERE id = %llu".into(),
                limits: Limits::default(),
            }),
            ..LibrarySettings::default()
        }
    }
}

fn octets(medium: Result<Medium, LibraryError>) -> String {
    match medium.expect("a medium").origin {
        Origin::Memory(octets) => String::from_utf8_lossy(&octets).into_owned(),
        Origin::File(path) => fs::read_to_string(path).expect("read"),
    }
}

fn names(kept: &[Kept]) -> Vec<&str> {
    kept.iter().map(|kept| kept.name.as_str()).collect()
}

#[test]
fn nothing_is_kept_unless_asked_for() {
    let shelf = Shelf::new();
    fs::write(shelf.path("a"), "file a").expect("written");
    shelf.row(5, "five");
    let library = Library::start(shelf.settings()).expect("starts");
    assert_eq!(octets(library.file(&shelf.text("a"))), "file a");
    assert_eq!(octets(library.database(5)), "five");
    shelf.row(5, "FIVE");
    assert_eq!(octets(library.database(5)), "FIVE");
    assert!(library.kept_files().is_empty() && library.kept_database_media().is_empty());
    assert_eq!(library.octets(), 0);
    assert!(matches!(library.database(6), Err(LibraryError::Database(DatabaseError::NoRow { id: 6 }))));
}

#[test]
fn preloaded_media_need_neither_file_nor_database() {
    let shelf = Shelf::new();
    fs::write(shelf.path("a"), "file a").expect("written");
    shelf.row(5, "five");
    let mut settings = shelf.settings();
    settings.files.preload = vec![shelf.text("a")];
    settings.database_media.preload = vec![5];
    let library = Library::start(settings).expect("starts");
    fs::remove_file(shelf.path("a")).expect("removed");
    shelf.lose_database();
    assert_eq!(octets(library.file(&shelf.text("a"))), "file a");
    assert_eq!(octets(library.database(5)), "five");
    assert_eq!(library.octets(), 10);
    assert_eq!(names(&library.kept_database_media()), ["5"]);
    assert!(matches!(library.reload_file(&shelf.text("a")), Err(LibraryError::File { .. })));
    assert_eq!((library.reload_files(), library.evict_files(), library.evict_files()), (0, 1, 0));
    assert!(library.file(&shelf.text("a")).is_err());
}

#[test]
fn a_file_that_cannot_be_preloaded_keeps_the_library_from_starting() {
    let mut settings = LibrarySettings::default();
    settings.files.preload = vec!["/no/such/file.wav".into()];
    let error = Library::start(settings).err().expect("refused").to_string();
    assert!(error.starts_with("cannot read /no/such/file.wav: "), "{error}");
}

#[test]
fn on_demand_keeps_what_is_played_until_it_is_reloaded() {
    let shelf = Shelf::new();
    fs::write(shelf.path("a"), "old").expect("written");
    shelf.row(5, "five");
    let mut settings = shelf.settings();
    settings.files.on_demand = true;
    settings.database_media.on_demand = true;
    let library = Library::start(settings).expect("starts");
    let path = shelf.text("a");
    let first = library.file(&path).expect("a medium").identity;
    assert_eq!(octets(library.database(5)), "five");
    fs::write(shelf.path("a"), "new").expect("written");
    shelf.row(5, "FIVE");
    assert_eq!((octets(library.file(&path)), octets(library.database(5))), ("old".into(), "five".into()));
    assert!(library.file(&path).expect("a medium").identity == first);
    library.reload_file(&path).expect("reloaded");
    library.reload_database_medium(5).expect("reloaded");
    assert_eq!((octets(library.file(&path)), octets(library.database(5))), ("new".into(), "FIVE".into()));
    assert!(library.file(&path).expect("a medium").identity != first);
    assert!(matches!(library.reload_database_medium(6), Err(LibraryError::NotKept)));
    assert_eq!((library.reload_files(), library.reload_database_media()), (1, 1));
}

#[test]
fn a_medium_that_is_gone_from_the_database_stays_until_it_is_evicted() {
    let shelf = Shelf::new();
    shelf.row(5, "five");
    let library = Library::start(shelf.settings()).expect("starts");
    library.add_database_medium(5).expect("added");
    shelf.connection().execute("DELETE FROM media", []).expect("deleted");
    assert_eq!(library.reload_database_media(), 0);
    assert_eq!(octets(library.database(5)), "five");
    assert!(library.evict_database_medium(5) && !library.evict_database_medium(5));
    assert!(library.database(5).is_err());
}

#[test]
fn copies_on_disk_outlive_the_database_and_the_daemon() {
    let shelf = Shelf::new();
    shelf.row(5, "five");
    shelf.row(7, "seven");
    let mut settings = shelf.settings();
    settings.disk_directory = Some(shelf.path("deep/copies"));
    settings.disk.preload = vec![7];
    let library = Library::start(settings.clone()).expect("starts");
    assert_eq!(names(&library.kept_on_disk()), ["7"]);
    assert_eq!(octets(library.database(5)), "five");
    drop(library);
    shelf.row(7, "SEVEN");
    settings.disk.preload.clear();
    let library = Library::start(settings.clone()).expect("starts again");
    assert_eq!(names(&library.kept_on_disk()), ["5", "7"]);
    assert_eq!(octets(library.database(7)), "seven");
    assert_eq!(library.reload_all_on_disk(), 2);
    assert_eq!(octets(library.database(7)), "SEVEN");
    shelf.lose_database();
    assert_eq!(octets(library.database(7)), "SEVEN");
    assert_eq!(library.reload_all_on_disk(), 0);
    assert!(library.evict_from_disk(7) && !library.evict_from_disk(7));
    assert_eq!(library.evict_all_from_disk(), 1);
    assert_eq!(fs::read_dir(shelf.path("deep/copies")).expect("listed").count(), 0, "nothing is left behind");
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &fs::metadata(shelf.path("deep")).expect("there").permissions(),
    );
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn what_is_not_played_expires_and_changed_files_are_read_again() {
    let shelf = Shelf::new();
    fs::write(shelf.path("a"), "old").expect("written");
    fs::write(shelf.path("b"), "b").expect("written");
    shelf.row(5, "five");
    let mut settings = shelf.settings();
    settings.disk_directory = Some(shelf.path("copies"));
    settings.files.expire = Some(Duration::from_secs(600));
    settings.database_media.expire = Some(Duration::from_millis(1));
    settings.disk.expire = Some(Duration::from_millis(1));
    let library = Library::start(settings).expect("starts");
    library.add_file(&shelf.text("a")).expect("added");
    library.add_file(&shelf.text("b")).expect("added");
    library.add_database_medium(5).expect("added");
    library.add_to_disk(5).expect("added");
    std::thread::sleep(Duration::from_millis(20));
    library.shared.expire();
    assert!(library.kept_database_media().is_empty() && library.kept_on_disk().is_empty());
    assert_eq!(library.kept_files().len(), 2);

    let unchanged = library.file(&shelf.text("b")).expect("a medium");
    fs::write(shelf.path("a"), "new").expect("written");
    let later = SystemTime::now() + Duration::from_secs(5);
    File::options().write(true).open(shelf.path("a")).and_then(|f| f.set_modified(later)).expect("changed");
    fs::remove_file(shelf.path("b")).expect("removed");
    library.shared.refresh_files();
    assert_eq!(octets(library.file(&shelf.text("a"))), "new");
    assert_eq!(octets(library.file(&shelf.text("b"))), "b", "stays when it cannot be read");
    assert!(library.file(&shelf.text("b")).expect("a medium").identity == unchanged.identity);
}

#[test]
fn upkeep_runs_by_itself_and_retries_what_could_not_be_preloaded() {
    let shelf = Shelf::new();
    shelf.row(5, "five");
    let mut settings = shelf.settings();
    settings.database_media.preload = vec![5, 9];
    settings.database_media.reload = Some(Duration::from_millis(10));
    let library = Library::start(settings).expect("starts all the same");
    assert_eq!(names(&library.kept_database_media()), ["5"]);
    shelf.row(5, "FIVE");
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while octets(library.database(5)) != "FIVE" {
        assert!(std::time::Instant::now() < deadline, "not reloaded");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_pipe_is_no_file() {
    let shelf = Shelf::new();
    let library = Library::start(LibrarySettings::default()).expect("starts");
    let directory = shelf.directory.path().to_str().expect("text").to_owned();
    for path in [directory.as_str(), "/dev/zero"] {
        let error = library.file(path).expect_err(path).to_string();
        assert!(error.ends_with("not a regular file"), "{error}");
        assert!(library.add_file(path).is_err());
    }
    assert!(matches!(library.database(1), Err(LibraryError::Database(DatabaseError::NotConfigured))));
    assert!(matches!(library.add_to_disk(1), Err(LibraryError::NoDirectory)));
}
