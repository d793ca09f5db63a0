//! The thread that owns the database of recordings. Workers hand it jobs and never wait.
//!
//! A database that cannot be written costs the rows and nothing else: each job is tried [`ATTEMPTS`] times, the failure is
//! logged once until a job succeeds again, and when the queue is full jobs are dropped and counted.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use media_store::sink::sqlite::{Database, SqliteError, StreamRow};
use service::process::ThreadStack;

/// Jobs that wait at most.
const QUEUE: usize = 16_384;
/// Attempts for one job while the database was healthy before.
const ATTEMPTS: u32 = 6;
/// Wait after the first failed attempt; doubles each time.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// Names a row before the database gave it a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RowToken(u64);

/// Whether a row is new or was left by an earlier run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Make it.
    New,
    /// Look for it first.
    Interrupted,
}

/// One transition of a recording.
#[derive(Clone, Debug)]
pub enum Job {
    /// The recording of a call began.
    CallStarted {
        /// Its row.
        call: RowToken,
        /// Call-ID.
        call_id: String,
        /// Seconds since the epoch.
        start: f64,
        /// Pairs for the metadata table.
        metadata: Vec<(String, String)>,
        /// New or not.
        origin: Origin,
    },
    /// An output was opened.
    StreamStarted {
        /// Its row.
        stream: RowToken,
        /// Row of the call.
        call: RowToken,
        /// The columns.
        row: StreamRow,
        /// Channels of the file.
        channels: u16,
        /// Sample rate of the file, in Hz.
        sample_rate: u32,
        /// New or not.
        origin: Origin,
    },
    /// An output is complete.
    StreamCompleted {
        /// Its row.
        stream: RowToken,
        /// Seconds since the epoch.
        end: f64,
    },
    /// An output was empty or discarded.
    StreamDropped {
        /// Its row.
        stream: RowToken,
    },
    /// A call is over and all of its outputs have been reported.
    CallFinished {
        /// Its row.
        call: RowToken,
        /// Seconds since the epoch.
        end: f64,
    },
    /// Everything before this job is done: the state of the call is not needed any more.
    RemoveState(PathBuf),
}

impl Job {
    /// The row that must exist already. A row that could not be made takes what belongs to it along.
    fn row(&self) -> Option<RowToken> {
        match self {
            Job::CallStarted { .. } | Job::RemoveState(_) => None,
            Job::StreamStarted { call, .. } | Job::CallFinished { call, .. } => Some(*call),
            Job::StreamCompleted { stream, .. } | Job::StreamDropped { stream } => Some(*stream),
        }
    }
}

/// Hands jobs to the store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct StoreHandle {
    queue: SyncSender<Job>,
    next_token: Arc<AtomicU64>,
    dropped: Arc<AtomicU64>,
}

impl StoreHandle {
    /// A name for a new row.
    pub fn token(&self) -> RowToken {
        RowToken(self.next_token.fetch_add(1, Ordering::Relaxed))
    }

    /// Queues a job. Never waits.
    pub fn submit(&self, job: Job) {
        if let Err(TrySendError::Full(job)) = self.queue.try_send(job)
            && self.dropped.fetch_add(1, Ordering::Relaxed) == 0
        {
            tracing::error!("The queue of the database is full: {job:?} and what follows is dropped");
        }
    }
}

/// Starts the thread. Without a path only states are removed. It ends when the last handle is gone and the queue is
/// empty.
pub fn start(path: Option<PathBuf>, stack: ThreadStack) -> std::io::Result<(StoreHandle, JoinHandle<()>)> {
    let (queue, jobs) = sync_channel(QUEUE);
    let handle = StoreHandle { queue, next_token: Arc::default(), dropped: Arc::default() };
    let thread = stack.spawn("store", move || {
        Store { path, database: None, rows: HashMap::new(), healthy: true }.run(&jobs);
    })?;
    Ok((handle, thread))
}

struct Store {
    path: Option<PathBuf>,
    database: Option<Database>,
    rows: HashMap<RowToken, i64>,
    healthy: bool,
}

impl Store {
    fn run(mut self, jobs: &Receiver<Job>) {
        if self.path.is_some() {
            // Made at start, so that a wrong path is known before the first call.
            self.attempt(|store| store.open().map(|_| ()));
        }
        for job in jobs {
            match job {
                Job::RemoveState(path) => {
                    let _ = std::fs::remove_file(path);
                }
                job if self.path.is_some() => self.attempt(|store| store.execute(&job)),
                _ => {}
            }
        }
    }

    fn attempt(&mut self, action: impl Fn(&mut Self) -> Result<(), SqliteError>) {
        let attempts = if self.healthy { ATTEMPTS } else { 1 };
        let mut wait = FIRST_WAIT;
        for attempt in 1..=attempts {
            match action(self) {
                Ok(()) => {
                    if !self.healthy {
                        tracing::info!("The database of recordings works again");
                    }
                    self.healthy = true;
                    return;
                }
                Err(error) if attempt == attempts => {
                    if self.healthy {
                        let path = self.path.as_deref().unwrap_or_else(|| "".as_ref()).display();
                        tracing::error!(
                            "Failed to bind or execute prepared statement: {error} ('{path}'). Recordings are \
                             written to files only until the database works again"
                        );
                    }
                    self.healthy = false;
                }
                Err(_) => {
                    if attempt > 3 {
                        self.database = None;
                    }
                    std::thread::sleep(wait);
                    wait *= 2;
                }
            }
        }
    }

    fn open(&mut self) -> Result<&Database, SqliteError> {
        let database = match (self.database.take(), &self.path) {
            (Some(open), _) => open,
            (None, Some(path)) => Database::open(path)?,
            (None, None) => return Err(SqliteError::InvalidQuery),
        };
        Ok(self.database.insert(database))
    }

    fn execute(&mut self, job: &Job) -> Result<(), SqliteError> {
        let row = job.row().and_then(|token| self.rows.get(&token).copied());
        let database = self.open()?;
        match job {
            Job::CallStarted { call, call_id, start, metadata, origin } => {
                let known = match origin {
                    Origin::Interrupted => database.find_call(call_id, *start)?,
                    Origin::New => None,
                };
                let id = match known {
                    Some(id) => id,
                    None => {
                        let id = database.insert_call(call_id, *start)?;
                        for (key, value) in metadata {
                            database.insert_metakey(id, key, value)?;
                        }
                        id
                    }
                };
                self.rows.insert(*call, id);
            }
            Job::StreamStarted { stream, row: columns, channels, sample_rate, origin, .. } => {
                let Some(call) = row else { return Ok(()) };
                let known = match origin {
                    Origin::Interrupted => database.find_stream(call, &columns.full_filename)?,
                    Origin::New => None,
                };
                let id = match known {
                    Some(id) => id,
                    None => database.insert_stream(call, columns)?,
                };
                database.set_stream_format(id, *channels, *sample_rate)?;
                self.rows.insert(*stream, id);
            }
            Job::StreamCompleted { stream, end } => {
                let Some(id) = row else { return Ok(()) };
                database.complete_stream(id, *end)?;
                self.rows.remove(stream);
            }
            Job::StreamDropped { stream } => {
                let Some(id) = row else { return Ok(()) };
                database.delete_stream(id)?;
                self.rows.remove(stream);
            }
            Job::CallFinished { call, end } => {
                let Some(id) = row else { return Ok(()) };
                database.finish_call(id, *end)?;
                self.rows.remove(call);
            }
            Job::RemoveState(_) => {}
        }
        Ok(())
    }
}
