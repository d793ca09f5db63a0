//! From a finished output to everybody who wants it: rows, uploads, notifications, commands, the description, the report.
//!
//! ```text
//! worker ─ watch ─▶ one task a recording ─┬▶ rows ─▶ database thread
//!                  (one thread for all)   ├▶ uploads, notifications, commands (so many at once)
//!                                         └▶ sidecar, report, end of the state file
//! ```
//!
//! A worker publishes what is known about a recording and never waits: a task always sees the newest. When the recording
//! has ended, its task delivers, with repetitions, and reports one end state. What cannot be delivered for long, or at the
//! time of a shutdown, stays in its state file and is taken up again, now or after the next start; so memory is bounded
//! by the number of running calls and [`MAX_DELIVERING`].

mod jobs;
mod notification;
mod report;
mod rows;
mod sidecar;
mod task;
mod uploads;

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use media_store::sink::gcs::{GcsStore, Identity, Link};
use media_store::sink::http::Verification;
use media_store::sink::multipart::PartStore;
use media_store::sink::s3::S3Store;
use tokio::runtime::{Builder, Handle};
use tokio::sync::{Semaphore, watch};

use crate::config::{GcsIdentity, NotifyConfig, Storages, Verify};
use crate::output::{Finished, OutputFile};
use crate::recording::{Recording, Target};
use crate::resume;
use crate::settings::Settings;

pub use rows::Origin;
use uploads::Uploads;

/// Threads for reading files and the like.
const BLOCKING_THREADS: usize = 4;
/// Recordings that wait for a repetition in memory; more stay on disk.
const MAX_DELIVERING: usize = 4096;
/// How often recordings on disk are looked for when there is room.
const SWEEP: Duration = Duration::from_secs(10);
/// How long attempts that are under way may last when the daemon stops.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// Where workers open recordings. Cheap to clone.
#[derive(Clone)]
pub struct Hub {
    runtime: Handle,
    delivery: Arc<Delivery>,
}

/// The worker's end of a recording.
#[derive(Debug)]
pub struct RecordingHandle {
    newest: watch::Sender<Snapshot>,
}

/// The thread that everything here runs on.
pub struct DeliveryThread {
    thread: JoinHandle<()>,
    database: Option<JoinHandle<()>>,
    stop: watch::Sender<bool>,
}

/// What is known, and what is not in files.
#[derive(Clone, Debug)]
struct Snapshot {
    recording: Arc<Recording>,
    contents: Contents,
}

type Contents = Arc<Vec<(usize, Content)>>;

/// What of an output is not where it belongs yet.
#[derive(Clone, Debug)]
enum Content {
    InMemory(Bytes),
    Unwritten(Arc<Mutex<OutputFile>>),
}

/// What all tasks share.
struct Delivery {
    output_dir: PathBuf,
    storages: Storages,
    notify: NotifyConfig,
    verification: Verification,
    s3: Option<S3Store>,
    gcs: Option<GcsStore>,
    sidecar: bool,
    report_file: Option<PathBuf>,
    /// Octets of the parts in which outputs are uploaded while they grow.
    part_octets: u64,
    /// Jobs at once.
    permits: Semaphore,
    rows: Option<rows::RowsHandle>,
    stopping: watch::Receiver<bool>,
    delivering: AtomicUsize,
    /// Some recordings were left to their state files.
    has_left: AtomicBool,
    /// Recordings that tasks are responsible for.
    active: Mutex<HashSet<String>>,
    children: Mutex<Vec<std::process::Child>>,
}

/// Starts the thread.
///
/// # Errors
/// When threads cannot be made.
pub fn start(settings: &Settings) -> io::Result<(Hub, DeliveryThread)> {
    let (stop, stopping) = watch::channel(false);
    let targets = &settings.targets;
    let (rows, database) = match &targets.database {
        Some(config) => {
            let (rows, thread) = rows::start(config, targets.storages.db, settings.thread_stack)?;
            (Some(rows), Some(thread))
        }
        None => (None, None),
    };
    let delivery = Arc::new(Delivery {
        output_dir: settings.output.directory.clone(),
        storages: targets.storages,
        notify: targets.notify.clone(),
        verification: verification(targets.notify.verify),
        s3: targets.s3.clone().map(|s3| S3Store {
            host: s3.host,
            port: s3.port,
            path: s3.path,
            access_key: s3.access_key,
            secret_key: s3.secret_key,
            region: s3.region,
            verification: verification(s3.verify),
        }),
        gcs: targets.gcs.clone().map(|gcs| {
            let identity = match gcs.identity {
                GcsIdentity::Key(key) => Identity::Key(key),
                GcsIdentity::Account(path) => Identity::Account(path),
            };
            let link = if gcs.media_link { Link::Media } else { Link::Own };
            GcsStore::new(gcs.uri, identity, gcs.scope, verification(gcs.verify), link)
        }),
        part_octets: targets.part_octets,
        sidecar: settings.sidecar,
        report_file: settings.report_file.clone(),
        permits: Semaphore::new(targets.notify.concurrency.max(1)),
        rows,
        stopping,
        delivering: AtomicUsize::new(0),
        has_left: AtomicBool::new(false),
        active: Mutex::default(),
        children: Mutex::default(),
    });
    let runtime = Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_name("delivery-io")
        .build()?;
    let handle = runtime.handle().clone();
    let shared = Arc::clone(&delivery);
    let thread = settings.thread_stack.spawn("delivery", move || {
        runtime.block_on(shared.run());
        // Whoever reads a file for an upload that was given up needs no waiting for.
        runtime.shutdown_background();
    })?;
    Ok((Hub { runtime: handle, delivery }, DeliveryThread { thread, database, stop }))
}

impl Hub {
    /// The tokio runtime, for live streams.
    pub fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Takes note of a recording that goes on.
    pub fn open(&self, recording: &Recording, origin: Origin) -> RecordingHandle {
        let snapshot = Snapshot { recording: Arc::new(recording.clone()), contents: Contents::default() };
        let (newest, seen) = watch::channel(snapshot);
        self.delivery.claim(&recording.id);
        self.runtime.spawn(task::follow(Arc::clone(&self.delivery), seen, origin));
        RecordingHandle { newest }
    }

    /// Delivers a recording that an earlier run finished.
    pub fn resume(&self, recording: Recording) {
        self.delivery.clone().resume(&self.runtime, recording);
    }
}

impl RecordingHandle {
    /// Something has changed.
    pub fn publish(&self, recording: &Recording) {
        let snapshot = Snapshot { recording: Arc::new(recording.clone()), contents: Contents::default() };
        self.newest.send_replace(snapshot);
    }

    /// It has ended: everything else is done here. `outputs` are those that were closed now.
    pub fn finish(self, recording: Recording, outputs: Vec<(usize, Finished)>) {
        let contents = outputs.into_iter().filter_map(|(index, finished)| match finished {
            Finished::Settled => None,
            Finished::InMemory(octets) => Some((index, Content::InMemory(octets.into()))),
            Finished::Unwritten(output) => Some((index, Content::Unwritten(Arc::new(Mutex::new(*output))))),
        });
        let contents = Arc::new(contents.collect());
        self.newest.send_replace(Snapshot { recording: Arc::new(recording), contents });
    }
}

impl DeliveryThread {
    /// Lets attempts that are under way come to an end, and ends the threads. Call when all workers have ended.
    pub fn stop(self, hub: Hub) {
        let _ = self.stop.send(true);
        drop(hub);
        if self.thread.join().is_err() {
            tracing::error!("The delivery thread panicked");
        }
        if self.database.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("The database thread panicked");
        }
    }
}

impl Delivery {
    async fn run(self: Arc<Self>) {
        let mut stopping = self.stopping.clone();
        let mut sweep = tokio::time::interval(SWEEP);
        loop {
            tokio::select! {
                _ = stopping.wait_for(|stop| *stop) => break,
                _ = sweep.tick() => {
                    self.reap();
                    self.sweep();
                }
            }
        }
        let all_done = async {
            while !self.active_ids().is_empty() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        if tokio::time::timeout(STOP_PATIENCE, all_done).await.is_err() {
            tracing::warn!("{} recordings will be delivered after the next start", self.active_ids().len());
        }
    }

    fn resume(self: Arc<Self>, runtime: &Handle, mut recording: Recording) {
        if !self.claim(&recording.id) {
            return;
        }
        recording.forget_memory();
        runtime.spawn(async move {
            let snapshot = Snapshot { recording: Arc::new(recording), contents: Contents::default() };
            let origin = Origin::Interrupted;
            let uploads = Uploads::open(&self, &snapshot.recording.id);
            task::deliver(&self, snapshot, uploads, rows::RowIds::new(origin), origin.into()).await;
        });
    }

    /// Takes up what tasks have left on disk because there was no room.
    fn sweep(self: &Arc<Self>) {
        if self.delivering.load(Relaxed) > MAX_DELIVERING / 2 || !self.has_left.swap(false, Relaxed) {
            return;
        }
        let room = MAX_DELIVERING / 2;
        let states = resume::load_all_but(&self.output_dir, &self.active_ids());
        for (number, state) in states.into_iter().filter(|state| state.progress.is_none()).enumerate() {
            if number >= room {
                self.has_left.store(true, Relaxed);
                return;
            }
            Arc::clone(self).resume(&Handle::current(), state.recording);
        }
    }

    /// Stores that take outputs while they grow.
    fn part_stores(&self) -> impl Iterator<Item = (Target, PartStore<'_>)> {
        let s3 = self.s3.as_ref().filter(|_| self.storages.s3).map(|s3| (Target::S3, PartStore::S3(s3)));
        let gcs = self.gcs.as_ref().filter(|gcs| self.storages.gcs && gcs.takes_parts());
        let gcs = gcs.map(|gcs| (Target::Gcs, PartStore::Gcs(gcs)));
        s3.into_iter().chain(gcs).filter(|_| self.part_octets > 0)
    }

    /// `false` when somebody else is responsible already.
    fn claim(&self, id: &str) -> bool {
        self.active.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned())
    }

    fn release(&self, id: &str) {
        self.active.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    fn active_ids(&self) -> HashSet<String> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Commands that have ended leave no zombies.
    fn reap(&self) {
        let mut children = self.children.lock().unwrap_or_else(PoisonError::into_inner);
        children.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
    }
}

fn verification(verify: Verify) -> Verification {
    match verify {
        Verify::Certificates => Verification::Full,
        Verify::Nothing => Verification::None,
    }
}
