//! The embedded database of recordings: one SQLite file with the tables of `sql/sqlite.sql`, the same tables and columns
//! as in MySQL. One row update for each transition of a recording.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

const SCHEMA: &str = include_str!("../../../sql/sqlite.sql");

/// How long a statement waits for another process that holds the file.
const BUSY_TIMEOUT: Duration = Duration::from_millis(500);

/// Why a statement failed.
pub type SqliteError = rusqlite::Error;

/// What an output file of a call contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputKind {
    /// All participants.
    Mixed,
    /// One SSRC.
    Single,
}

impl OutputKind {
    /// As it stands in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            OutputKind::Mixed => "mixed",
            OutputKind::Single => "single",
        }
    }
}

/// A new row of `recording_streams`.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamRow {
    /// Name below the output directory, with the extension.
    pub local_filename: String,
    /// Whole path.
    pub full_filename: String,
    /// `wav`
    pub file_format: String,
    /// Mixed or single.
    pub kind: OutputKind,
    /// Number of the stream within the call; 0 for mixed.
    pub stream_id: u32,
    /// Synchronisation source; 0 for mixed.
    pub ssrc: u32,
    /// Label of the participant.
    pub tag_label: String,
    /// Seconds since the epoch.
    pub start_timestamp: f64,
}

/// An open database.
#[derive(Debug)]
pub struct Database {
    connection: Connection,
}

impl Database {
    /// Opens the file, makes it and its tables when missing.
    pub fn open(path: &Path) -> Result<Self, SqliteError> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        // A write-ahead log lets others read while we write; a file system without shared memory refuses it.
        connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())).optional()?;
        connection.execute_batch("PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON;")?;
        connection.execute_batch(SCHEMA)?;
        Ok(Self { connection })
    }

    /// A recording of a call began.
    pub fn insert_call(&self, call_id: &str, start_timestamp: f64) -> Result<i64, SqliteError> {
        self.execute(
            "INSERT INTO recording_calls (call_id, start_timestamp, status) VALUES (?, ?, 'recording')",
            params![call_id, start_timestamp],
        )?;
        Ok(self.connection.last_insert_rowid())
    }

    /// The row of a call whose recording was interrupted.
    pub fn find_call(&self, call_id: &str, start_timestamp: f64) -> Result<Option<i64>, SqliteError> {
        self.connection
            .prepare_cached(
                "SELECT id FROM recording_calls WHERE call_id = ? AND ABS(start_timestamp - ?) < 0.0005 \
                 ORDER BY id DESC LIMIT 1",
            )?
            .query_row(params![call_id, start_timestamp], |row| row.get(0))
            .optional()
    }

    /// One pair of the call's metadata.
    pub fn insert_metakey(&self, call: i64, key: &str, value: &str) -> Result<(), SqliteError> {
        self.execute(
            "INSERT INTO recording_metakeys (call, \"key\", value) VALUES (?, ?, ?)",
            params![call, key, value],
        )
    }

    /// An output of a call began.
    pub fn insert_stream(&self, call: i64, row: &StreamRow) -> Result<i64, SqliteError> {
        self.execute(
            "INSERT INTO recording_streams (call, local_filename, full_filename, file_format, output_type, \
             stream_id, ssrc, tag_label, start_timestamp) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            params![
                call,
                row.local_filename,
                row.full_filename,
                row.file_format,
                row.kind.as_str(),
                row.stream_id,
                row.ssrc,
                row.tag_label,
                row.start_timestamp
            ],
        )?;
        Ok(self.connection.last_insert_rowid())
    }

    /// The row of an output that was interrupted.
    pub fn find_stream(&self, call: i64, full_filename: &str) -> Result<Option<i64>, SqliteError> {
        self.connection
            .prepare_cached(
                "SELECT id FROM recording_streams WHERE call = ? AND full_filename = ? ORDER BY id DESC LIMIT 1",
            )?
            .query_row(params![call, full_filename], |row| row.get(0))
            .optional()
    }

    /// The format of an output is known.
    pub fn set_stream_format(&self, id: i64, channels: u16, sample_rate: u32) -> Result<(), SqliteError> {
        self.execute(
            "UPDATE recording_streams SET channels = ?, sample_rate = ? WHERE id = ?",
            params![channels, sample_rate, id],
        )
    }

    /// An output is complete.
    pub fn complete_stream(&self, id: i64, end_timestamp: f64) -> Result<(), SqliteError> {
        self.execute(
            "UPDATE recording_streams SET end_timestamp = ? WHERE id = ?",
            params![end_timestamp, id],
        )
    }

    /// An output turned out empty, or was discarded.
    pub fn delete_stream(&self, id: i64) -> Result<(), SqliteError> {
        self.execute("DELETE FROM recording_streams WHERE id = ?", params![id])
    }

    /// A call is over: completed when it has outputs, otherwise its row goes.
    pub fn finish_call(&self, id: i64, end_timestamp: f64) -> Result<(), SqliteError> {
        let outputs: i64 = self
            .connection
            .prepare_cached("SELECT COUNT(*) FROM recording_streams WHERE call = ?")?
            .query_row(params![id], |row| row.get(0))?;
        if outputs == 0 {
            return self.execute("DELETE FROM recording_calls WHERE id = ?", params![id]);
        }
        self.execute(
            "UPDATE recording_calls SET end_timestamp = ?, status = 'completed' WHERE id = ? AND status <> 'completed'",
            params![end_timestamp, id],
        )
    }

    fn execute(&self, statement: &str, values: impl rusqlite::Params) -> Result<(), SqliteError> {
        self.connection.prepare_cached(statement)?.execute(values).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str) -> StreamRow {
        StreamRow {
            local_filename: format!("{name}.wav"),
            full_filename: format!("/out/{name}.wav"),
            file_format: "wav".into(),
            kind: OutputKind::Single,
            stream_id: 3,
            ssrc: 0xaaaa_0001,
            tag_label: "labA".into(),
            start_timestamp: 1_795_227_866.664,
        }
    }

    fn text(database: &Database, query: &str) -> Option<String> {
        database.connection.query_row(query, [], |row| row.get(0)).optional().expect("query")
    }

    #[test]
    fn a_recording_goes_from_recording_to_completed() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let database = Database::open(&directory.path().join("r.sqlite3")).expect("open");
        let call = database.insert_call("call-9@host", 1_795_227_866.664).expect("call");
        database.insert_metakey(call, "caller", "alice").expect("metakey");
        let stream = database.insert_stream(call, &row("a")).expect("stream");
        database.set_stream_format(stream, 1, 8000).expect("format");
        let status = text(&database, "SELECT status FROM recording_calls WHERE end_timestamp IS NULL");
        assert_eq!(status.as_deref(), Some("recording"));
        database.complete_stream(stream, 1_795_227_870.5).expect("complete");
        database.finish_call(call, 1_795_227_871.25).expect("finish");
        let all = "SELECT c.status || ' ' || c.end_timestamp || ' ' || s.sample_rate || ' ' || s.channels || ' ' || \
                   s.output_type || ' ' || s.ssrc || ' ' || s.end_timestamp || ' ' || m.value \
                   FROM recording_calls c JOIN recording_streams s ON s.call = c.id \
                   JOIN recording_metakeys m ON m.call = c.id";
        let expected = "completed 1795227871.25 8000 1 single 2863267841 1795227870.5 alice";
        assert_eq!(text(&database, all).as_deref(), Some(expected));
    }

    #[test]
    fn a_call_without_outputs_leaves_no_row() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let database = Database::open(&directory.path().join("r.sqlite3")).expect("open");
        let call = database.insert_call("c", 1.0).expect("call");
        let stream = database.insert_stream(call, &row("a")).expect("stream");
        database.delete_stream(stream).expect("delete");
        database.finish_call(call, 2.0).expect("finish");
        assert_eq!(text(&database, "SELECT call_id FROM recording_calls"), None);
    }

    #[test]
    fn rows_of_an_interrupted_recording_are_found_again() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("r.sqlite3");
        let (call, stream) = {
            let database = Database::open(&path).expect("open");
            let call = database.insert_call("c", 1_795_227_866.123).expect("call");
            (call, database.insert_stream(call, &row("a")).expect("stream"))
        };
        let database = Database::open(&path).expect("open again");
        assert_eq!(database.find_call("c", 1_795_227_866.123).expect("find"), Some(call));
        assert_eq!(database.find_call("c", 1_795_227_866.125).expect("find"), None);
        assert_eq!(database.find_stream(call, "/out/a.wav").expect("find"), Some(stream));
        assert_eq!(database.find_stream(call, "/out/b.wav").expect("find"), None);
    }
}
