//! Media from elsewhere: a thread with a runtime of its own asks, so that nobody else ever waits for a socket.
//!
//! Callers block on the answer to their own request, up to a limit; requests for the same thing that come meanwhile share one answer.
//!
//! ```text
//! fetch(key) ─▶ queue ─▶ runtime: one task for each key ─▶ Remote ─▶ answer to all that wait
//! ```

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::Hash;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio::time::timeout;

/// Requests that may wait in all: a server that hangs must not tie up all threads that may block.
const MAX_WAITING: usize = 256;

/// Why there is no answer at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unanswered {
    /// Slower than what a caller waits.
    #[error("no answer within {} s", .0.as_secs_f32())]
    TooSlow(Duration),
    /// Too many callers wait already.
    #[error("too many requests wait for an answer")]
    Busy,
    /// The client was shut down.
    #[error("the client has ended")]
    Ended,
}

/// Who is asked. Used on the fetcher's thread only.
pub(crate) trait Remote: 'static {
    /// What is asked for.
    type Key: Clone + Eq + Hash + Send + 'static;
    /// Why it is not to be had.
    type Error: Clone + From<Unanswered> + Send + 'static;

    /// One request, with as many attempts as are worth while.
    fn ask(&self, key: Self::Key) -> impl Future<Output = Result<Arc<[u8]>, Self::Error>>;

    /// The last that is done.
    fn close(&self) -> impl Future<Output = ()> {
        async {}
    }
}

/// The thread. Dropping this ends it.
pub(crate) struct Fetcher<R: Remote> {
    requests: mpsc::Sender<Request<R>>,
    limit: Duration,
}

struct Request<R: Remote> {
    key: R::Key,
    reply: Reply<R>,
}

type Answer<R> = Result<Arc<[u8]>, <R as Remote>::Error>;
type Reply<R> = SyncSender<Answer<R>>;

impl<R: Remote> Fetcher<R> {
    /// `make` is called on the thread. Callers wait up to `limit`.
    ///
    /// # Errors
    /// The thread or its runtime cannot be made.
    pub fn start(name: &str, limit: Duration, make: impl FnOnce() -> R + Send + 'static) -> io::Result<Self> {
        let (requests, queue) = mpsc::channel(MAX_WAITING);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let run = move || LocalSet::new().block_on(&runtime, async { serve(make(), limit, queue).await });
        thread::Builder::new().name(name.into()).spawn(run)?;
        Ok(Self { requests, limit })
    }

    /// Blocks until there is an answer.
    pub fn fetch(&self, key: R::Key) -> Answer<R> {
        let (reply, answer) = sync_channel(1);
        self.requests.try_send(Request { key, reply }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Unanswered::Busy,
            mpsc::error::TrySendError::Closed(_) => Unanswered::Ended,
        })?;
        answer.recv_timeout(self.limit).unwrap_or_else(|error| {
            Err(R::Error::from(match error {
                RecvTimeoutError::Timeout => Unanswered::TooSlow(self.limit),
                RecvTimeoutError::Disconnected => Unanswered::Ended,
            }))
        })
    }
}

/// Callers by what they wait for.
type Waiting<R> = Rc<RefCell<HashMap<<R as Remote>::Key, Vec<Reply<R>>>>>;

async fn serve<R: Remote>(remote: R, limit: Duration, mut queue: mpsc::Receiver<Request<R>>) {
    let remote = Rc::new(remote);
    let waiting = Waiting::<R>::default();
    while let Some(Request { key, reply }) = queue.recv().await {
        if waiting.borrow().values().map(Vec::len).sum::<usize>() >= MAX_WAITING {
            // A caller that is gone already is told nothing.
            let _ = reply.try_send(Err(Unanswered::Busy.into()));
            continue;
        }
        if let Some(others) = waiting.borrow_mut().get_mut(&key) {
            others.push(reply);
            continue;
        }
        waiting.borrow_mut().insert(key.clone(), vec![reply]);
        let (remote, waiting) = (remote.clone(), waiting.clone());
        tokio::task::spawn_local(async move {
            let answer = timeout(limit, remote.ask(key.clone())).await;
            let answer = answer.unwrap_or_else(|_| Err(Unanswered::TooSlow(limit).into()));
            for reply in waiting.borrow_mut().remove(&key).into_iter().flatten() {
                let _ = reply.try_send(answer.clone());
            }
        });
    }
    remote.close().await;
}
