//! Media by number out of a database: a server that is slow or gone delays those who ask it, and nobody else.

mod mysql;
mod sqlite;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::fetch::{Fetcher, Remote, Unanswered};

/// Where the media are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Server {
    /// MySQL or MariaDB.
    MySql(MySqlServer),
    /// A SQLite file, which is only read.
    Sqlite(PathBuf),
}

/// How a MySQL server is reached; what is not given is as in its client library.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MySqlServer {
    /// Host or address; a path is a local socket. Without it the local socket, else the local host.
    pub host: Option<String>,
    /// 3306 when unset.
    pub port: Option<u16>,
    /// Name to log in with.
    pub user: Option<String>,
    /// Its password.
    pub password: Option<String>,
}

/// What a client is made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseSettings {
    /// Where the media are.
    pub server: Server,
    /// SQL text with `%llu` in place of the number; the first column of the first row is the medium.
    pub query: String,
    /// How long things may take.
    pub limits: Limits,
}

/// How long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// One attempt: connection and query.
    pub attempt: Duration,
    /// All attempts for one medium, and the time in the queue.
    pub fetch: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { attempt: Duration::from_secs(5), fetch: Duration::from_secs(10) }
    }
}

/// Why there is no medium.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DatabaseError {
    /// No database was configured.
    #[error("no media database is configured")]
    NotConfigured,
    /// The query gave no row.
    #[error("the media database has no row for {id}")]
    NoRow {
        /// Number that was asked for.
        id: u64,
    },
    /// The first column is NULL or empty.
    #[error("the row of the media database for {id} has no data in its first column")]
    NoData {
        /// Number that was asked for.
        id: u64,
    },
    /// Connections fail or break.
    #[error("media database not reachable after {attempts} attempts: {reason}")]
    Unreachable {
        /// How often it was tried.
        attempts: u32,
        /// Words of the last failure.
        reason: String,
    },
    /// The server refuses the log-in or the query.
    #[error("media database refuses: {0}")]
    Refused(String),
    /// No answer in time, or too many requests.
    #[error("media database: {0}")]
    Unanswered(#[from] Unanswered),
}

/// Result of a query.
type Fetched = Result<Arc<[u8]>, DatabaseError>;

/// Attempts at one medium.
const ATTEMPTS: u32 = 5;
/// Pause before the second attempt; doubled for each further one.
const PAUSE: Duration = Duration::from_millis(50);
/// A client. Dropping it ends its thread and connections.
pub struct Database {
    fetcher: Fetcher<Client>,
}

/// What the thread works with.
struct Client {
    settings: DatabaseSettings,
    connector: Connector,
}

/// One attempt's failure.
enum Failure {
    /// Another attempt may help.
    Connection(String),
    Final(DatabaseError),
}

impl Database {
    /// Starts the client's thread. Connects when something is asked for.
    ///
    /// # Errors
    /// The thread or its runtime cannot be made.
    pub fn start(settings: DatabaseSettings) -> io::Result<Self> {
        let limit = settings.limits.fetch;
        let make = move || Client { connector: Connector::new(&settings.server), settings };
        Ok(Self { fetcher: Fetcher::start("media-database", limit, make)? })
    }

    /// The medium of this number. Blocks, up to [`Limits::fetch`].
    pub fn fetch(&self, id: u64) -> Fetched {
        self.fetcher.fetch(id)
    }
}

impl Remote for Client {
    type Key = u64;
    type Error = DatabaseError;

    async fn ask(&self, id: u64) -> Fetched {
        fetch(&self.settings, &self.connector, id).await
    }

    async fn close(&self) {
        self.connector.disconnect().await;
    }
}

async fn fetch(settings: &DatabaseSettings, connector: &Connector, id: u64) -> Fetched {
    let query = settings.query.replacen("%llu", &id.to_string(), 1);
    let mut pause = PAUSE;
    let mut reason = String::new();
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            sleep(pause).await;
            pause *= 2;
        }
        match timeout(settings.limits.attempt, connector.query(&query, id)).await {
            Ok(Ok(octets)) if octets.is_empty() => return Err(DatabaseError::NoData { id }),
            Ok(Ok(octets)) => return Ok(octets.into()),
            Ok(Err(Failure::Final(error))) => return Err(error),
            Ok(Err(Failure::Connection(error))) => reason = error,
            Err(_) => reason = format!("no answer within {} s", settings.limits.attempt.as_secs_f32()),
        }
        tracing::debug!(id, attempt, reason, "media database");
    }
    Err(DatabaseError::Unreachable { attempts: ATTEMPTS, reason })
}

enum Connector {
    MySql(mysql::Pool),
    Sqlite(PathBuf),
}

impl Connector {
    fn new(server: &Server) -> Self {
        match server {
            Server::MySql(server) => Self::MySql(mysql::Pool::new(server)),
            Server::Sqlite(path) => Self::Sqlite(path.clone()),
        }
    }

    async fn query(&self, query: &str, id: u64) -> Result<Vec<u8>, Failure> {
        match self {
            Self::MySql(pool) => pool.query(query, id).await,
            Self::Sqlite(path) => sqlite::query(path, query, id).await,
        }
    }

    async fn disconnect(&self) {
        if let Self::MySql(pool) = self {
            pool.disconnect().await;
        }
    }
}
