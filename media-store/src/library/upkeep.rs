//! What is done from time to time, on a thread of its own.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use super::{Content, LibraryError, Shared};
use crate::http;

/// How long the start waits for preloading from the database. What takes longer comes later.
const START: Duration = Duration::from_secs(5);
/// When what could not be preloaded is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// The thread; it ends when this is dropped or stopped.
pub(super) struct Upkeep {
    stop: Sender<()>,
}

type Work = fn(&Shared);

/// Something that is done again and again.
struct Task {
    interval: Duration,
    next: Instant,
    work: Work,
}

impl Upkeep {
    /// `None` when there is nothing to do. Returns when what is to be preloaded is there, or after [`START`].
    pub fn start(shared: Arc<Shared>) -> io::Result<Option<Self>> {
        let settings = &shared.settings;
        let now = Instant::now();
        let planned: [(Option<Duration>, Work); 4] = [
            (settings.files.reload, Shared::refresh_files),
            (settings.database_media.reload, |shared| {
                shared.reload_database_media();
            }),
            (settings.disk.reload, |shared| {
                shared.reload_disk();
            }),
            (settings.expiry_interval, Shared::expire),
        ];
        let tasks: Vec<Task> = planned
            .into_iter()
            .filter_map(|(interval, work)| {
                let interval = interval.filter(|interval| !interval.is_zero())?;
                Some(Task { interval, next: now + interval, work })
            })
            .collect();
        let missing = Missing {
            urls: settings.files.preload.iter().filter(|path| http::is_url(path)).cloned().collect(),
            memory: settings.database_media.preload.clone(),
            disk: settings.disk.preload.clone(),
            next: now,
        };
        if tasks.is_empty() && missing.is_empty() {
            return Ok(None);
        }
        let (stop, stopped) = mpsc::channel();
        let (ready, is_ready) = mpsc::sync_channel(1);
        thread::Builder::new()
            .name("media-upkeep".into())
            .spawn(move || run(&shared, tasks, missing, &stopped, ready))?;
        // Either way: it is loaded, or it has been logged.
        let _ = is_ready.recv_timeout(START);
        Ok(Some(Self { stop }))
    }

    pub fn stop(&self) {
        // Fails when it has ended.
        let _ = self.stop.send(());
    }
}

/// What was to be preloaded and is not there yet.
struct Missing {
    urls: Vec<String>,
    memory: Vec<u64>,
    disk: Vec<u64>,
    next: Instant,
}

impl Missing {
    fn is_empty(&self) -> bool {
        self.urls.is_empty() && self.memory.is_empty() && self.disk.is_empty()
    }

    fn load(&mut self, shared: &Shared) {
        let failed = |id: &dyn std::fmt::Display, error: &LibraryError| {
            tracing::error!(%id, %error, "medium not preloaded, trying again in {} s", RETRY.as_secs());
        };
        self.urls.retain(|url| match shared.read_file(url) {
            Ok(content) => {
                shared.files.keep(url.clone(), &content);
                false
            }
            Err(error) => {
                failed(&http::without_password(url), &error);
                true
            }
        });
        self.disk.retain(|&id| {
            let Some(disk) = &shared.disk else {
                failed(&id, &LibraryError::NoDirectory);
                return false;
            };
            let fetched = shared.fetch(id).map_err(LibraryError::from);
            let written = fetched.and_then(|octets| disk.write(id, &octets));
            written.inspect_err(|error| failed(&id, error)).is_err()
        });
        self.memory.retain(|&id| match shared.fetch(id) {
            Ok(octets) => {
                shared.database_media.keep(id, &Content::new(octets, None));
                false
            }
            Err(error) => {
                failed(&id, &error.into());
                true
            }
        });
        self.next = Instant::now() + RETRY;
    }
}

fn run(
    shared: &Shared,
    mut tasks: Vec<Task>,
    mut missing: Missing,
    stopped: &mpsc::Receiver<()>,
    ready: SyncSender<()>,
) {
    let mut ready = Some(ready);
    loop {
        let now = Instant::now();
        if !missing.is_empty() && missing.next <= now {
            missing.load(shared);
        }
        // Dropping it says so.
        ready.take();
        for task in tasks.iter_mut().filter(|task| task.next <= now) {
            (task.work)(shared);
            task.next = Instant::now() + task.interval;
        }
        let retry = (!missing.is_empty()).then_some(missing.next);
        let Some(next) = tasks.iter().map(|task| task.next).chain(retry).min() else { return };
        match stopped.recv_timeout(next.saturating_duration_since(Instant::now())) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}
