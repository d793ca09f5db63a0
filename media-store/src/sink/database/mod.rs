//! The database of recordings: the tables of `sql/mysql.sql` and `sql/sqlite.sql`, one statement for each transition.
//!
//! Statements are the same for both engines (SQLite accepts the backquotes that MySQL needs). Tables of older schemas lack
//! the columns about storages; then what would go there is left out.

mod mysql;
mod sqlite;

use std::path::PathBuf;

pub use mysql::MySqlServer;

use mysql::MySql;
use sqlite::Sqlite;

/// Why a statement failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatabaseError {
    /// The embedded database.
    #[error("{0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The server.
    #[error("{0}")]
    MySql(#[from] mysql_async::Error),
    /// The server took too long.
    #[error("no answer in time")]
    Timeout,
    /// No thread, no directory …
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Which database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A file; made when missing.
    Sqlite(PathBuf),
    /// A server.
    MySql(MySqlServer),
}

/// What an output of a call contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
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
pub struct StreamRow<'a> {
    /// Name below the output directory, with the extension.
    pub local_filename: &'a str,
    /// Whole path.
    pub full_filename: &'a str,
    /// `wav` …
    pub file_format: &'a str,
    /// Mixed or single.
    pub kind: OutputKind,
    /// Number of the stream within the call; 0 for mixed.
    pub stream_id: u32,
    /// Synchronisation source; 0 for mixed.
    pub ssrc: u32,
    /// Label of the participant.
    pub tag_label: &'a str,
    /// Seconds since the epoch.
    pub start_timestamp: f64,
}

/// Which object store took a recording over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectStore {
    /// S3.
    S3,
    /// Google storage.
    Gcs,
}

/// A value of a statement.
#[derive(Clone, Copy, Debug)]
enum Value<'a> {
    Int(i64),
    Real(f64),
    Text(&'a str),
    Octets(&'a [u8]),
}

/// What both engines can do.
trait Engine: Send {
    /// Gives the id of a row that was inserted.
    fn execute(&mut self, statement: &str, values: &[Value<'_>]) -> Result<i64, DatabaseError>;
    /// First column of the first row.
    fn number(&mut self, query: &str, values: &[Value<'_>]) -> Result<Option<i64>, DatabaseError>;
    /// Largest value that one statement may carry.
    fn max_octets(&mut self) -> usize;
}

/// An open database. Calls block.
pub struct Database {
    engine: Box<dyn Engine>,
    has_storage_columns: bool,
}

impl Database {
    /// Opens or connects. Tables of SQLite are made when missing; those of a server are the operator's business.
    ///
    /// # Errors
    /// When that fails.
    pub fn open(location: &Location) -> Result<Self, DatabaseError> {
        let mut engine: Box<dyn Engine> = match location {
            Location::Sqlite(path) => Box::new(Sqlite::open(path)?),
            Location::MySql(server) => Box::new(MySql::connect(server)?),
        };
        let storage = "SELECT storage_file + storage_db + storage_s3 + storage_gcs + LENGTH(s3_uri) + LENGTH(gcs_uri) \
                       FROM recording_streams LIMIT 1";
        let has_storage_columns = match engine.number(storage, &[]) {
            Ok(_) => true,
            Err(DatabaseError::Sqlite(rusqlite::Error::SqliteFailure(..))) => false,
            Err(DatabaseError::MySql(mysql_async::Error::Server(error)))
                if error.code == mysql::UNKNOWN_COLUMN =>
            {
                false
            }
            Err(error) => return Err(error),
        };
        Ok(Self { engine, has_storage_columns })
    }

    /// The tables are new enough to tell where a recording is stored.
    pub fn has_storage_columns(&self) -> bool {
        self.has_storage_columns
    }

    /// A recording of a call began.
    pub fn insert_call(&mut self, call_id: &str, start_timestamp: f64) -> Result<i64, DatabaseError> {
        self.engine.execute(
            "INSERT INTO recording_calls (call_id, start_timestamp, status) VALUES (?, ?, 'recording')",
            &[Value::Text(cut(call_id, 250)), Value::Real(start_timestamp)],
        )
    }

    /// The row of a call whose recording was interrupted.
    pub fn find_call(&mut self, call_id: &str, start_timestamp: f64) -> Result<Option<i64>, DatabaseError> {
        self.engine.number(
            "SELECT id FROM recording_calls WHERE call_id = ? AND ABS(start_timestamp - ?) < 0.001 \
             ORDER BY id DESC LIMIT 1",
            &[Value::Text(cut(call_id, 250)), Value::Real(start_timestamp)],
        )
    }

    /// One pair of the call's metadata.
    pub fn insert_metakey(&mut self, call: i64, key: &str, value: &str) -> Result<(), DatabaseError> {
        self.engine
            .execute(
                "INSERT INTO recording_metakeys (`call`, `key`, `value`) VALUES (?, ?, ?)",
                &[Value::Int(call), Value::Text(cut(key, 255)), Value::Text(cut(value, 255))],
            )
            .map(drop)
    }

    /// An output of a call began.
    pub fn insert_stream(&mut self, call: i64, row: &StreamRow<'_>) -> Result<i64, DatabaseError> {
        self.engine.execute(
            "INSERT INTO recording_streams (`call`, local_filename, full_filename, file_format, output_type, stream_id, \
             ssrc, tag_label, start_timestamp) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            &[
                Value::Int(call),
                Value::Text(cut(row.local_filename, 250)),
                Value::Text(cut(row.full_filename, 250)),
                Value::Text(row.file_format),
                Value::Text(row.kind.as_str()),
                Value::Int(row.stream_id.into()),
                Value::Int(row.ssrc.into()),
                Value::Text(cut(row.tag_label, 255)),
                Value::Real(row.start_timestamp),
            ],
        )
    }

    /// The row of an output that was interrupted.
    pub fn find_stream(&mut self, call: i64, full_filename: &str) -> Result<Option<i64>, DatabaseError> {
        self.engine.number(
            "SELECT id FROM recording_streams WHERE `call` = ? AND full_filename = ? ORDER BY id DESC LIMIT 1",
            &[Value::Int(call), Value::Text(cut(full_filename, 250))],
        )
    }

    /// The format of an output is known.
    pub fn set_stream_format(
        &mut self,
        id: i64,
        channels: u16,
        sample_rate: u32,
    ) -> Result<(), DatabaseError> {
        let values = [Value::Int(channels.into()), Value::Int(sample_rate.into()), Value::Int(id)];
        self.run("UPDATE recording_streams SET channels = ?, sample_rate = ? WHERE id = ?", &values)
    }

    /// An output is complete; its content, if the database is to keep it.
    pub fn complete_stream(
        &mut self,
        id: i64,
        end_timestamp: f64,
        content: Option<&[u8]>,
    ) -> Result<(), DatabaseError> {
        let end = [Value::Real(end_timestamp), Value::Int(id)];
        let Some(content) = content else {
            return self.run("UPDATE recording_streams SET end_timestamp = ? WHERE id = ?", &end);
        };
        let stored = if self.has_storage_columns { ", storage_db = 1" } else { "" };
        let step = self.engine.max_octets().max(1);
        if content.len() <= step {
            let statement =
                format!("UPDATE recording_streams SET end_timestamp = ?, stream = ?{stored} WHERE id = ?");
            return self.run(&statement, &[end[0], Value::Octets(content), end[1]]);
        }
        // Nobody sees a part of it: the last statement says that it is there.
        let mut pieces = content.chunks(step);
        let first = pieces.next().unwrap_or_default();
        self.run(
            "UPDATE recording_streams SET stream = ? WHERE id = ?",
            &[Value::Octets(first), Value::Int(id)],
        )?;
        for piece in pieces {
            self.run(
                "UPDATE recording_streams SET stream = CONCAT(stream, ?) WHERE id = ?",
                &[Value::Octets(piece), Value::Int(id)],
            )?;
        }
        self.run(&format!("UPDATE recording_streams SET end_timestamp = ?{stored} WHERE id = ?"), &end)
    }

    /// An output turned out empty, or was discarded.
    pub fn delete_stream(&mut self, id: i64) -> Result<(), DatabaseError> {
        self.run("DELETE FROM recording_streams WHERE id = ?", &[Value::Int(id)])
    }

    /// The file of an output is gone.
    pub fn clear_storage_file(&mut self, id: i64) -> Result<(), DatabaseError> {
        if !self.has_storage_columns {
            return Ok(());
        }
        self.run("UPDATE recording_streams SET storage_file = 0 WHERE id = ?", &[Value::Int(id)])
    }

    /// An object store has taken an output over.
    pub fn set_stored(&mut self, id: i64, store: ObjectStore, uri: &str) -> Result<(), DatabaseError> {
        if !self.has_storage_columns {
            return Ok(());
        }
        let statement = match store {
            ObjectStore::S3 => "UPDATE recording_streams SET storage_s3 = 1, s3_uri = ? WHERE id = ?",
            ObjectStore::Gcs => "UPDATE recording_streams SET storage_gcs = 1, gcs_uri = ? WHERE id = ?",
        };
        self.run(statement, &[Value::Text(cut(uri, 255)), Value::Int(id)])
    }

    /// A call is over and has outputs.
    pub fn complete_call(&mut self, id: i64, end_timestamp: f64) -> Result<(), DatabaseError> {
        self.run(
            "UPDATE recording_calls SET end_timestamp = ?, status = 'completed' WHERE id = ? AND status <> 'completed'",
            &[Value::Real(end_timestamp), Value::Int(id)],
        )
    }

    /// A call is over and has no outputs.
    pub fn delete_call(&mut self, id: i64) -> Result<(), DatabaseError> {
        self.run("DELETE FROM recording_calls WHERE id = ?", &[Value::Int(id)])
    }

    fn run(&mut self, statement: &str, values: &[Value<'_>]) -> Result<(), DatabaseError> {
        self.engine.execute(statement, values).map(drop)
    }
}

/// A server in strict mode refuses what is too long for a column.
fn cut(text: &str, most: usize) -> &str {
    text.char_indices().nth(most).and_then(|(at, _)| text.get(..at)).unwrap_or(text)
}

#[cfg(test)]
mod tests;
