//! Order of start and stop, and the loop that hands the spool's events to the workers.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::DirBuilderExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use service::process::notify;

use crate::call::Shared;
use crate::delivery::{self, DeliveryThread, Hub};
use crate::output::Budget;
use crate::resume::{self, SavedState};
use crate::settings::Settings;
use crate::spool_watch::{SpoolEvent, SpoolWatch};
use crate::worker::{Message, Outputs, WorkerHandle};

/// A running daemon.
pub struct Daemon {
    stop: Arc<EventFd>,
    thread: JoinHandle<()>,
}

/// Owns the workers; runs in a thread of its own.
struct Dispatcher {
    watch: SpoolWatch,
    workers: Vec<WorkerHandle>,
    hub: Hub,
    delivery: DeliveryThread,
    /// Worker of each running call, by the name of its metafile.
    calls: HashMap<String, usize>,
    next_worker: usize,
}

/// The daemon cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The spool directory cannot be watched.
    #[error("cannot watch the spool directory '{path}': {source}")]
    Spool {
        /// The directory.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// Threads cannot be made.
    #[error("cannot start threads: {0}")]
    Threads(#[from] io::Error),
}

impl Daemon {
    /// Watches the spool, starts all threads, takes up what earlier runs left and what is there already. Call after
    /// daemonising: threads do not survive a fork.
    pub fn start(settings: Settings) -> Result<Self, StartError> {
        make_directory(&settings.spool_dir);
        let spool_error =
            |source| StartError::Spool { path: settings.spool_dir.display().to_string(), source };
        let watch = SpoolWatch::new(&settings.spool_dir).map_err(spool_error)?;
        let present = watch.scan().map_err(spool_error)?;
        make_directory(&settings.output.directory);
        let interrupted = resume::load_all(&settings.output.directory);
        let stack = settings.thread_stack;
        let mut dispatcher = Dispatcher::start(watch, settings)?;
        let stop = Arc::new(
            EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC).map_err(io::Error::from)?,
        );
        let stopped = Arc::clone(&stop);
        let thread = stack.spawn("spool", move || {
            dispatcher.take_up(interrupted);
            dispatcher.dispatch(present);
            dispatcher.run(stopped.as_fd());
            dispatcher.stop();
        })?;
        Ok(Self { stop, thread })
    }

    /// Completes every open call as if it had ended, waits for all rows, ends all threads.
    pub fn stop(self) {
        let _ = self.stop.write(1);
        if self.thread.join().is_err() {
            tracing::error!("The spool thread panicked");
        }
    }
}

impl Dispatcher {
    fn start(watch: SpoolWatch, settings: Settings) -> Result<Self, StartError> {
        let (hub, delivery) = delivery::start(&settings)?;
        let shared = Shared {
            output: Arc::new(settings.output.clone()),
            hub: hub.clone(),
            budget: Budget::new(settings.memory_octets),
            database: settings.targets.database.is_some(),
            pcm: settings.targets.pcm.clone().map(Arc::new),
            forward_to: settings.targets.forward_to.clone().map(Arc::new),
        };
        let settings = Arc::new(settings);
        let workers = (0..settings.workers.max(1))
            .map(|number| WorkerHandle::start(number, Arc::clone(&settings), shared.clone()))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self { watch, workers, hub, delivery, calls: HashMap::new(), next_worker: 0 })
    }

    fn take_up(&mut self, interrupted: Vec<SavedState>) {
        for state in interrupted {
            if state.progress.is_none() {
                self.hub.resume(state.recording);
                continue;
            }
            let worker = self.worker_of(&state.recording.prefix);
            self.send(worker, Message::Interrupted(Box::new(state)));
        }
    }

    /// Hands out events until `stop` becomes readable.
    fn run(&mut self, stop: BorrowedFd<'_>) {
        let mut pulse = notify::watchdog_interval().map(Pulse::new);
        loop {
            let patience = pulse.as_mut().map_or(PollTimeout::NONE, |pulse| pulse.turn(&self.workers));
            let mut ready =
                [PollFd::new(self.watch.as_fd(), PollFlags::POLLIN), PollFd::new(stop, PollFlags::POLLIN)];
            match poll(&mut ready, patience) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => {
                    tracing::error!("Waiting for the spool directory failed: {error}");
                    return;
                }
            }
            if ready[1].any().unwrap_or(false) {
                return;
            }
            if !ready[0].any().unwrap_or(false) {
                continue;
            }
            match self.watch.read(&self.calls) {
                Ok(events) => self.dispatch(events),
                Err(error) => {
                    tracing::error!("Watching the spool directory failed: {error}");
                    return;
                }
            }
        }
    }

    fn stop(self) {
        for worker in &self.workers {
            worker.send(Message::Stop);
        }
        for worker in self.workers {
            worker.join();
        }
        self.delivery.stop(self.hub);
    }

    fn dispatch(&mut self, events: Vec<SpoolEvent>) {
        for event in events {
            match event {
                SpoolEvent::Changed(prefix) => {
                    let worker = self.worker_of(&prefix);
                    self.send(worker, Message::Changed(prefix));
                }
                SpoolEvent::Ended(prefix, outputs) => self.end(prefix, outputs),
            }
        }
    }

    fn end(&mut self, prefix: String, outputs: Outputs) {
        if let Some(worker) = self.calls.remove(&prefix) {
            self.send(worker, Message::Ended { prefix, outputs });
        }
    }

    /// A call stays with its worker.
    fn worker_of(&mut self, prefix: &str) -> usize {
        if let Some(&worker) = self.calls.get(prefix) {
            return worker;
        }
        self.next_worker = (self.next_worker + 1) % self.workers.len();
        self.calls.insert(prefix.to_owned(), self.next_worker);
        self.next_worker
    }

    fn send(&self, worker: usize, message: Message) {
        if let Some(worker) = self.workers.get(worker) {
            worker.send(message);
        }
    }
}

/// Tells the service manager that the daemon is alive, as long as all workers are.
struct Pulse {
    interval: Duration,
    asked_at: Option<Instant>,
    /// Workers that have answered since.
    answers: Arc<AtomicUsize>,
}

impl Pulse {
    fn new(watchdog: Duration) -> Self {
        Self { interval: watchdog / 3, asked_at: None, answers: Arc::default() }
    }

    /// Looks at the answers and asks again when it is time; how long to wait until then.
    fn turn(&mut self, workers: &[WorkerHandle]) -> PollTimeout {
        let age = self.asked_at.map(|at| at.elapsed());
        let wait = match age {
            Some(age) if age < self.interval => self.interval - age,
            _ => {
                let answered = self.answers.load(Relaxed);
                if age.is_none() || answered >= workers.len() {
                    if let Err(error) = notify::alive() {
                        tracing::warn!("Cannot tell the service manager that the daemon is alive: {error}");
                    }
                    self.answers = Arc::default();
                    workers.iter().for_each(|worker| worker.send(Message::Beat(Arc::clone(&self.answers))));
                } else {
                    tracing::error!(
                        "{} of {} workers do not answer",
                        workers.len() - answered,
                        workers.len()
                    );
                }
                self.asked_at = Some(Instant::now());
                self.interval
            }
        };
        // Rounded up, so that a turn is not before its time.
        PollTimeout::try_from(wait + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
    }
}

/// Best effort: what cannot be made is reported by whoever needs it.
fn make_directory(path: &std::path::Path) {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    if let Err(error) = made {
        tracing::warn!("Cannot create directory '{}': {error}", path.display());
    }
}
