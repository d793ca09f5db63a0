//! The client with a SQLite file, and with a server that does not answer. Real servers: see the end-to-end tests.

use std::net::TcpListener;
use std::thread;
use std::time::Instant;

use rusqlite::Connection;

use super::*;

const SCHEMA: &str = include_str!("../../../sql/media-sqlite.sql");

fn file(directory: &tempfile::TempDir) -> PathBuf {
    let path = directory.path().join("media.sqlite3");
    let connection = Connection::open(&path).expect("made");
    connection.execute_batch(SCHEMA).expect("schema");
    connection.execute_batch(SCHEMA).expect("can be run again");
    connection
        .execute("INSERT INTO media (id, name, data) VALUES (5, 'five', ?1), (6, 'none', NULL)", [b"RIFF\0x"])
        .expect("rows");
    path
}

fn client(server: Server, query: &str) -> Database {
    let limits = Limits { attempt: Duration::from_millis(200), fetch: Duration::from_secs(3) };
    Database::start(DatabaseSettings { server, query: query.into(), limits }).expect("starts")
}

const QUERY: &str = "SELECT data FROM media WHERE id = %llu";

#[test]
fn the_first_column_of_the_first_row_is_the_medium() {
    let directory = tempfile::tempdir().expect("directory");
    let database = client(Server::Sqlite(file(&directory)), QUERY);
    assert_eq!(database.fetch(5).as_deref(), Ok(&b"RIFF\0x"[..]));
    assert_eq!(database.fetch(6), Err(DatabaseError::NoData { id: 6 }));
    assert_eq!(database.fetch(7), Err(DatabaseError::NoRow { id: 7 }));
    assert_eq!(database.fetch(u64::MAX), Err(DatabaseError::NoRow { id: u64::MAX }));
}

#[test]
fn a_wrong_query_is_not_tried_again() {
    let directory = tempfile::tempdir().expect("directory");
    let database = client(Server::Sqlite(file(&directory)), "SELECT nonsense FROM media WHERE id = %llu");
    let started = Instant::now();
    let refused = database.fetch(5);
    assert!(matches!(&refused, Err(DatabaseError::Refused(why)) if why.contains("nonsense")), "{refused:?}");
    assert!(started.elapsed() < Duration::from_millis(700), "{:?}", started.elapsed());
}

#[test]
fn a_file_that_appears_between_two_attempts_is_found() {
    let directory = tempfile::tempdir().expect("directory");
    let missing = directory.path().join("later.sqlite3");
    let database = client(Server::Sqlite(missing.clone()), QUERY);
    assert!(matches!(database.fetch(5), Err(DatabaseError::Unreachable { attempts: 5, .. })));
    std::fs::rename(file(&directory), missing).expect("moved");
    assert!(database.fetch(5).is_ok());
}

#[test]
fn a_server_that_is_gone_is_an_error_that_says_so() {
    // Bound and closed again: nobody listens there.
    let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("port").port();
    let server = MySqlServer { host: Some("127.0.0.1".into()), port: Some(port), ..MySqlServer::default() };
    let error = client(Server::MySql(server), QUERY).fetch(1).expect_err("nobody there");
    let text = error.to_string();
    assert!(text.starts_with("media database not reachable after 5 attempts: "), "{text}");
    assert!(text.contains("refused"), "{text}");
}

#[test]
fn a_server_that_hangs_delays_only_those_who_ask_it() {
    // Accepts (by its backlog) and never says anything.
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let port = listener.local_addr().expect("address").port();
    let server = MySqlServer { host: Some("127.0.0.1".into()), port: Some(port), ..MySqlServer::default() };
    let database = Arc::new(client(Server::MySql(server), QUERY));
    let started = Instant::now();
    let callers: Vec<_> = (0..40)
        .map(|id| {
            let database = Arc::clone(&database);
            thread::spawn(move || database.fetch(id % 4))
        })
        .collect();
    for caller in callers {
        let error = caller.join().expect("answered").expect_err("no medium");
        let expected = matches!(
            error,
            DatabaseError::Unreachable { .. } | DatabaseError::Unanswered(Unanswered::TooSlow(_))
        );
        assert!(expected, "{error}");
    }
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
}
