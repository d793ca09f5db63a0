//! Media by number out of a database.
//!
//! One thread with a runtime of its own talks to the server; nobody else ever waits for a socket of it. Callers block on the answer of
//! their own request, for [`Limits::fetch`] at most, and requests for the same number that come meanwhile share one query.
//!
//! ```text
//! fetch(id) ─▶ queue ─▶ runtime: one task for each number ─▶ connection of the pool ─▶ answer to all that wait
//! ```

mod mysql;
mod sqlite;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio::time::{sleep, timeout};

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
    /// Slower than [`Limits::fetch`].
    #[error("media database did not answer within {} s", .0.as_secs_f32())]
    TooSlow(Duration),
    /// Too many callers wait already.
    #[error("too many requests wait for the media database")]
    Busy,
    /// The client was shut down.
    #[error("the media database client has ended")]
    Ended,
}

/// Result of a query.
type Fetched = Result<Arc<[u8]>, DatabaseError>;

/// Attempts at one medium.
const ATTEMPTS: u32 = 5;
/// Pause before the second attempt; doubled for each further one.
const PAUSE: Duration = Duration::from_millis(50);
/// Requests that may wait in all: a database that hangs must not tie up all threads that may block.
const MAX_WAITING: usize = 256;

/// A client. Dropping it ends its thread and connections.
pub struct Database {
    requests: mpsc::Sender<Request>,
    limit: Duration,
}

struct Request {
    id: u64,
    reply: SyncSender<Fetched>,
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
        let (requests, queue) = mpsc::channel(MAX_WAITING);
        let limit = settings.limits.fetch;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new()
            .name("media-database".into())
            .spawn(move || LocalSet::new().block_on(&runtime, serve(settings, queue)))?;
        Ok(Self { requests, limit })
    }

    /// The medium of this number. Blocks, up to [`Limits::fetch`].
    pub fn fetch(&self, id: u64) -> Fetched {
        let (reply, answer) = sync_channel(1);
        self.requests.try_send(Request { id, reply }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => DatabaseError::Busy,
            mpsc::error::TrySendError::Closed(_) => DatabaseError::Ended,
        })?;
        answer.recv_timeout(self.limit).unwrap_or_else(|error| {
            Err(match error {
                RecvTimeoutError::Timeout => DatabaseError::TooSlow(self.limit),
                RecvTimeoutError::Disconnected => DatabaseError::Ended,
            })
        })
    }
}

/// Callers by the number that they wait for.
type Waiting = Rc<RefCell<HashMap<u64, Vec<SyncSender<Fetched>>>>>;

async fn serve(settings: DatabaseSettings, mut queue: mpsc::Receiver<Request>) {
    let settings = Rc::new(settings);
    let connector = Rc::new(Connector::new(&settings.server));
    let waiting = Waiting::default();
    while let Some(Request { id, reply }) = queue.recv().await {
        if waiting.borrow().values().map(Vec::len).sum::<usize>() >= MAX_WAITING {
            // A caller that is gone already is told nothing.
            let _ = reply.try_send(Err(DatabaseError::Busy));
            continue;
        }
        if let Some(others) = waiting.borrow_mut().get_mut(&id) {
            others.push(reply);
            continue;
        }
        waiting.borrow_mut().insert(id, vec![reply]);
        let (settings, connector, waiting) = (settings.clone(), connector.clone(), waiting.clone());
        tokio::task::spawn_local(async move {
            let fetched = timeout(settings.limits.fetch, fetch(&settings, &connector, id)).await;
            let fetched = fetched.unwrap_or(Err(DatabaseError::TooSlow(settings.limits.fetch)));
            for reply in waiting.borrow_mut().remove(&id).into_iter().flatten() {
                let _ = reply.try_send(fetched.clone());
            }
        });
    }
    connector.disconnect().await;
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
