//! A SQLite file that somebody else writes.

use std::path::Path;
use std::time::Duration;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Error, ErrorCode, OpenFlags};

use super::{DatabaseError, Failure};

/// How long a query waits for a writer.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);

/// First column of the first row. The file is opened anew each time, so that another file may take its place.
pub(super) async fn query(path: &Path, query: &str, id: u64) -> Result<Vec<u8>, Failure> {
    let (path, query) = (path.to_owned(), query.to_owned());
    let read = tokio::task::spawn_blocking(move || read(&path, &query));
    match read.await {
        Ok(Ok(Some(octets))) => Ok(octets),
        Ok(Ok(None)) => Err(Failure::Final(DatabaseError::NoData { id })),
        Ok(Err(Error::QueryReturnedNoRows)) => Err(Failure::Final(DatabaseError::NoRow { id })),
        Ok(Err(error)) => Err(failure(&error)),
        Err(error) => Err(Failure::Connection(error.to_string())),
    }
}

fn read(path: &Path, query: &str) -> Result<Option<Vec<u8>>, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.query_row(query, [], |row| {
        Ok(match row.get_ref(0)? {
            ValueRef::Blob(octets) | ValueRef::Text(octets) => Some(octets.to_vec()),
            ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => None,
        })
    })
}

fn failure(error: &Error) -> Failure {
    let passes = matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::CannotOpen)
    );
    if passes {
        Failure::Connection(error.to_string())
    } else {
        Failure::Final(DatabaseError::Refused(error.to_string()))
    }
}
