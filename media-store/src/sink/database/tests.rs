//! The embedded engine; servers are tested with the whole daemon.

use rusqlite::{Connection, OptionalExtension};

use super::*;

fn row(name: &str) -> StreamRow<'_> {
    StreamRow {
        local_filename: name,
        full_filename: name,
        file_format: "wav",
        kind: OutputKind::Single,
        stream_id: 3,
        ssrc: 0xaaaa_0001,
        tag_label: "labA",
        start_timestamp: 1_795_227_866.664,
    }
}

struct Bench {
    directory: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("temporary directory") }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("r.sqlite3")
    }

    fn open(&self) -> Database {
        Database::open(&Location::Sqlite(self.path())).expect("open")
    }

    fn text(&self, query: &str) -> Option<String> {
        let connection = Connection::open(self.path()).expect("open");
        connection.query_row(query, [], |row| row.get(0)).optional().expect("query")
    }
}

#[test]
fn a_recording_goes_from_recording_to_completed() {
    let bench = Bench::new();
    let mut database = bench.open();
    assert!(database.has_storage_columns());
    let call = database.insert_call("call-9@host", 1_795_227_866.664).expect("call");
    database.insert_metakey(call, "caller", "alice").expect("metakey");
    let stream = database.insert_stream(call, &row("/out/a.wav")).expect("stream");
    database.set_stream_format(stream, 1, 8000).expect("format");
    let status = bench.text("SELECT status FROM recording_calls WHERE end_timestamp IS NULL");
    assert_eq!(status.as_deref(), Some("recording"));
    database.complete_stream(stream, 1_795_227_870.5, Some(b"RIFF")).expect("complete");
    database.clear_storage_file(stream).expect("no file");
    database.set_stored(stream, ObjectStore::S3, "https://s3/a").expect("stored");
    database.set_stored(stream, ObjectStore::Gcs, "https://gcs/a").expect("stored");
    database.complete_call(call, 1_795_227_871.25).expect("finish");
    let all = "SELECT c.status || ' ' || c.end_timestamp || ' ' || s.sample_rate || ' ' || s.channels || ' ' || \
               s.output_type || ' ' || s.ssrc || ' ' || s.end_timestamp || ' ' || m.value || ' ' || s.stream || ' ' || \
               s.storage_file || s.storage_db || s.storage_s3 || s.storage_gcs || ' ' || s.s3_uri || ' ' || s.gcs_uri \
               FROM recording_calls c JOIN recording_streams s ON s.call = c.id \
               JOIN recording_metakeys m ON m.call = c.id";
    let expected = "completed 1795227871.25 8000 1 single 2863267841 1795227870.5 alice RIFF 0111 https://s3/a https://gcs/a";
    assert_eq!(bench.text(all).as_deref(), Some(expected));
}

#[test]
fn rows_of_an_interrupted_recording_are_found_again() {
    let bench = Bench::new();
    let (call, stream) = {
        let mut database = bench.open();
        let call = database.insert_call("c", 1_795_227_866.123).expect("call");
        (call, database.insert_stream(call, &row("/out/a.wav")).expect("stream"))
    };
    let mut database = bench.open();
    assert_eq!(database.find_call("c", 1_795_227_866.123).expect("find"), Some(call));
    assert_eq!(database.find_call("c", 1_795_227_866.125).expect("find"), None);
    assert_eq!(database.find_stream(call, "/out/a.wav").expect("find"), Some(stream));
    assert_eq!(database.find_stream(call, "/out/b.wav").expect("find"), None);
    database.delete_call(call).expect("delete");
    assert_eq!(database.find_stream(call, "/out/a.wav").expect("find"), None, "streams go with their call");
}

#[test]
fn tables_of_the_older_schema_get_what_they_have_columns_for() {
    let bench = Bench::new();
    let connection = Connection::open(bench.path()).expect("open");
    connection
        .execute_batch(
            "CREATE TABLE recording_streams (id INTEGER PRIMARY KEY, call INTEGER, local_filename TEXT, \
             full_filename TEXT, file_format TEXT, output_type TEXT, stream_id INTEGER, sample_rate INTEGER, \
             channels INTEGER, ssrc INTEGER, start_timestamp REAL, end_timestamp REAL, tag_label TEXT, stream BLOB, \
             transcript_status TEXT)",
        )
        .expect("old table");
    let mut database = bench.open();
    assert!(!database.has_storage_columns());
    let call = database.insert_call("c", 1.0).expect("call");
    let stream = database.insert_stream(call, &row("/out/a.wav")).expect("stream");
    database.complete_stream(stream, 2.0, Some(b"RIFF")).expect("complete");
    database.clear_storage_file(stream).expect("left out");
    database.set_stored(stream, ObjectStore::S3, "x").expect("left out");
    let found = bench.text("SELECT stream || ' ' || end_timestamp FROM recording_streams");
    assert_eq!(found.as_deref(), Some("RIFF 2.0"));
}

#[test]
fn what_is_too_long_for_a_column_is_cut() {
    assert_eq!(cut("aäb", 2), "aä");
    assert_eq!(cut("ab", 2), "ab");
}
