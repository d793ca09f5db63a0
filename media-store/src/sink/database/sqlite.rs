//! The embedded engine: one file.

use std::path::Path;
use std::time::Duration;

use rusqlite::types::ToSqlOutput;
use rusqlite::{Connection, OptionalExtension, ToSql, params_from_iter};

use super::{DatabaseError, Engine, Value};

const SCHEMA: &str = include_str!("../../../../sql/sqlite.sql");
/// How long a statement waits for another process that holds the file.
const BUSY_TIMEOUT: Duration = Duration::from_millis(500);
/// SQLite's own limit is a thousand million.
const MAX_OCTETS: usize = 512 << 20;

pub(super) struct Sqlite {
    connection: Connection,
}

impl Sqlite {
    /// Opens the file, makes it and its tables when missing.
    pub fn open(path: &Path) -> Result<Self, DatabaseError> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        // A write-ahead log lets others read while we write; a file system without shared memory refuses it.
        connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())).optional()?;
        connection.execute_batch("PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON;")?;
        connection.execute_batch(SCHEMA)?;
        Ok(Self { connection })
    }
}

impl Engine for Sqlite {
    fn execute(&mut self, statement: &str, values: &[Value<'_>]) -> Result<i64, DatabaseError> {
        self.connection.prepare_cached(statement)?.execute(params_from_iter(values))?;
        Ok(self.connection.last_insert_rowid())
    }

    fn number(&mut self, query: &str, values: &[Value<'_>]) -> Result<Option<i64>, DatabaseError> {
        let mut statement = self.connection.prepare_cached(query)?;
        Ok(statement.query_row(params_from_iter(values), |row| row.get(0)).optional()?)
    }

    fn max_octets(&mut self) -> usize {
        MAX_OCTETS
    }
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        match self {
            Value::Int(number) => Ok((*number).into()),
            Value::Real(number) => Ok((*number).into()),
            Value::Text(text) => text.to_sql(),
            Value::Octets(octets) => octets.to_sql(),
        }
    }
}
