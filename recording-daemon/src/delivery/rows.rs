//! Rows of recordings. One thread owns the database; a task hands it what is known about a recording and gets back which
//! statements have been made. Each is made once; what failed is made up for with the next snapshot.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use media_store::sink::database::{Database, DatabaseError, Location, MySqlServer, ObjectStore, StreamRow};
use service::process::ThreadStack;
use tokio::sync::{mpsc, oneshot};

use super::{Content, Contents};
use crate::config::DatabaseConfig;
use crate::metadata::parse_metadata;
use crate::recording::{OutputMedium, OutputState, Recording, Target};

/// A database that failed is not tried again sooner.
const REST: Duration = Duration::from_secs(1);
/// Requests that wait; each task has one at most.
const QUEUE: usize = 1024;

/// Whether rows are new or may have been left by an earlier run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Make them.
    New,
    /// Look for them first.
    Interrupted,
}

/// Which rows exist and what has been written into them.
#[derive(Clone, Debug)]
pub struct RowIds {
    origin: Origin,
    /// The connection that they were made through.
    connection: u64,
    /// The call's.
    pub call: Option<i64>,
    has_metakeys: bool,
    streams: Vec<StreamIds>,
    is_finished: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct StreamIds {
    id: Option<i64>,
    has_format: bool,
    is_over: bool,
    is_cleared: bool,
    is_in_s3: bool,
    is_in_gcs: bool,
}

/// Hands requests to the thread. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RowsHandle {
    requests: mpsc::Sender<Request>,
}

#[derive(Debug)]
struct Request {
    recording: Arc<Recording>,
    contents: Contents,
    ids: RowIds,
    reply: oneshot::Sender<(RowIds, Result<(), String>)>,
}

struct Rows {
    location: Location,
    keeps_content: bool,
    database: Option<Database>,
    /// How many connections there were.
    connections: u64,
    /// Set after a failure.
    rest_until: Option<Instant>,
    healthy: bool,
}

/// Starts the thread. It ends with the last handle.
pub fn start(
    config: &DatabaseConfig,
    keeps_content: bool,
    stack: ThreadStack,
) -> std::io::Result<(RowsHandle, JoinHandle<()>)> {
    let location = match config {
        DatabaseConfig::Sqlite(path) => Location::Sqlite(path.clone()),
        DatabaseConfig::MySql(server) => Location::MySql(MySqlServer {
            host: server.host.clone(),
            port: server.port,
            user: server.user.clone(),
            password: server.password.clone(),
            database: server.database.clone(),
        }),
    };
    let (requests, received) = mpsc::channel(QUEUE);
    let mut rows =
        Rows { location, keeps_content, database: None, connections: 0, rest_until: None, healthy: true };
    let thread = stack.spawn("database", move || rows.run(received))?;
    Ok((RowsHandle { requests }, thread))
}

impl RowsHandle {
    /// Brings the rows of a recording up to date.
    pub async fn sync(
        &self,
        recording: &Arc<Recording>,
        contents: &Contents,
        ids: &mut RowIds,
    ) -> Result<(), String> {
        let (reply, answer) = oneshot::channel();
        let (recording, contents) = (Arc::clone(recording), Arc::clone(contents));
        let gone = || "the database thread has ended".to_owned();
        let request = Request { recording, contents, ids: ids.clone(), reply };
        self.requests.send(request).await.map_err(|_| gone())?;
        let (new, result) = answer.await.map_err(|_| gone())?;
        *ids = new;
        result
    }
}

impl RowIds {
    /// Nothing is known.
    pub fn new(origin: Origin) -> Self {
        Self {
            origin,
            connection: 0,
            call: None,
            has_metakeys: false,
            streams: Vec::new(),
            is_finished: false,
        }
    }

    /// A server that crashed may have lost what it had confirmed, and may give the same numbers to other rows: after a new
    /// connection rows are looked for again. Statements that are made twice change nothing.
    fn follow_connection(&mut self, connection: u64) {
        if self.connection != connection && self.call.is_some() {
            *self = Self::new(Origin::Interrupted);
        }
        self.connection = connection;
    }

    /// Row of an output.
    pub fn stream(&self, index: usize) -> Option<i64> {
        self.streams.get(index).and_then(|stream| stream.id)
    }
}

impl Rows {
    fn run(&mut self, mut requests: mpsc::Receiver<Request>) {
        // At start, so that a wrong location is known before the first call.
        if let Err(error) = self.open() {
            self.note(Err(&error));
        }
        while let Some(mut request) = requests.blocking_recv() {
            let result = self.attempt(&request.recording, &request.contents, &mut request.ids);
            let _ = request.reply.send((request.ids, result));
        }
    }

    fn attempt(
        &mut self,
        recording: &Recording,
        contents: &Contents,
        ids: &mut RowIds,
    ) -> Result<(), String> {
        if self.rest_until.is_some_and(|until| Instant::now() < until) {
            return Err("the database is not available".into());
        }
        let keeps_content = self.keeps_content;
        let result = self.open().and_then(|(database, connection)| {
            ids.follow_connection(connection);
            sync(database, recording, contents, keeps_content, ids)
        });
        self.note(result.as_ref().map(|_| ()));
        result.map_err(|error| error.to_string())
    }

    fn open(&mut self) -> Result<(&mut Database, u64), DatabaseError> {
        let database = match self.database.take() {
            Some(open) => open,
            None => {
                let database = Database::open(&self.location)?;
                self.connections += 1;
                if !database.has_storage_columns() {
                    tracing::warn!(
                        "The tables of the recording database are of an older version: columns about storages are left out"
                    );
                }
                database
            }
        };
        Ok((self.database.insert(database), self.connections))
    }

    fn note(&mut self, result: Result<(), &DatabaseError>) {
        match result {
            Ok(()) => {
                if !std::mem::replace(&mut self.healthy, true) {
                    tracing::info!("The database of recordings works again");
                }
                self.rest_until = None;
            }
            Err(error) => {
                if std::mem::replace(&mut self.healthy, false) {
                    tracing::error!(
                        "Failed to bind or execute prepared statement: {error}. Rows of recordings will follow when the \
                         database works again"
                    );
                }
                self.database = None;
                self.rest_until = Some(Instant::now() + REST);
            }
        }
    }
}

fn sync(
    database: &mut Database,
    recording: &Recording,
    contents: &Contents,
    keeps_content: bool,
    ids: &mut RowIds,
) -> Result<(), DatabaseError> {
    let has_outputs = recording.outputs.iter().any(|output| output.state != OutputState::Dropped);
    let nothing_to_tell = recording.ending.is_some() && !has_outputs && ids.call.is_none();
    if !recording.in_database || (nothing_to_tell && ids.origin == Origin::New) {
        return Ok(());
    }
    let call = match ids.call {
        Some(call) => call,
        None => {
            let known = match ids.origin {
                Origin::Interrupted => database.find_call(&recording.call_id, recording.start)?,
                Origin::New => None,
            };
            ids.has_metakeys |= known.is_some();
            match known {
                Some(call) => call,
                None if nothing_to_tell => return Ok(()),
                None => database.insert_call(&recording.call_id, recording.start)?,
            }
        }
    };
    ids.call = Some(call);
    if !ids.has_metakeys {
        ids.has_metakeys = true;
        for (key, value) in parse_metadata(&recording.metadata) {
            database.insert_metakey(call, &key, &value)?;
        }
    }
    ids.streams.resize(recording.outputs.len(), StreamIds::default());
    for index in 0..recording.outputs.len() {
        sync_stream(database, recording, index, contents, keeps_content, ids)?;
    }
    if let Some(end) = recording.end.filter(|_| recording.ending.is_some() && !ids.is_finished) {
        match has_outputs {
            true => database.complete_call(call, end)?,
            false => database.delete_call(call)?,
        }
        ids.is_finished = true;
    }
    Ok(())
}

fn sync_stream(
    database: &mut Database,
    recording: &Recording,
    index: usize,
    contents: &Contents,
    keeps_content: bool,
    ids: &mut RowIds,
) -> Result<(), DatabaseError> {
    let (Some(output), Some(call)) = (recording.outputs.get(index), ids.call) else { return Ok(()) };
    let origin = ids.origin;
    let Some(stream) = ids.streams.get_mut(index) else { return Ok(()) };
    let full = output.path.to_string_lossy();
    let found = match (stream.id, origin) {
        (None, Origin::Interrupted) => database.find_stream(call, &full)?,
        (known, _) => known,
    };
    if output.state == OutputState::Dropped {
        if let Some(id) = found.filter(|_| !stream.is_over) {
            database.delete_stream(id)?;
        }
        stream.is_over = true;
        return Ok(());
    }
    let id = match found {
        Some(id) => id,
        None => database.insert_stream(
            call,
            &StreamRow {
                local_filename: &output.name,
                full_filename: &full,
                file_format: &output.format,
                kind: output.kind,
                stream_id: output.stream,
                ssrc: output.ssrc,
                tag_label: &output.label,
                start_timestamp: output.start,
            },
        )?,
    };
    stream.id = Some(id);
    if !stream.has_format {
        database.set_stream_format(id, output.channels, output.sample_rate)?;
        stream.has_format = true;
    }
    if output.state != OutputState::Complete {
        return Ok(());
    }
    if !stream.is_over {
        let content = if keeps_content { content_of(index, &output.path, contents)? } else { None };
        database.complete_stream(id, output.end.unwrap_or(recording.start), content.as_deref())?;
        stream.is_over = true;
    }
    if output.medium == OutputMedium::Gone && !stream.is_cleared {
        database.clear_storage_file(id)?;
        stream.is_cleared = true;
    }
    for (target, uri) in &output.delivered {
        let (store, done) = match target {
            Target::S3 => (ObjectStore::S3, &mut stream.is_in_s3),
            Target::Gcs => (ObjectStore::Gcs, &mut stream.is_in_gcs),
            _ => continue,
        };
        if !*done {
            database.set_stored(id, store, uri)?;
            *done = true;
        }
    }
    Ok(())
}

fn content_of(index: usize, path: &PathBuf, contents: &Contents) -> Result<Option<Vec<u8>>, DatabaseError> {
    let content = contents.iter().find(|(of, _)| *of == index).map(|(_, content)| content);
    Ok(match content {
        Some(Content::InMemory(octets)) => Some(octets.to_vec()),
        // It is in the row when it is in the file.
        Some(Content::Unwritten(_)) => None,
        None => Some(std::fs::read(path)?),
    })
}
