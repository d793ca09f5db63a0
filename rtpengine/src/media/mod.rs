//! The data plane: one pinned thread per worker, each owning its sockets, routes, timers and packet state.
//!
//! Control hands a worker whole [`plan::CallPlan`]s through a bounded queue; the worker compiles them into
//! routes and answers with [`event::MediaEvent`]s. What control may read at any time without asking is in
//! [`stats::StreamShared`]: atomics that only the owning worker writes.
//!
//! ```text
//! socket → classify → verify/learn source → count → per edge: forward | transcode | drop → send
//!                                                 → tap (bounded ring, never waits)
//! ```

pub mod classify;
pub mod event;
pub mod learn;
pub mod plan;
pub mod port_pool;
pub mod stats;
pub mod tap;

use std::io;
use std::sync::Arc;

use crate::config::Config;

/// Handle to the workers. Cheap to clone.
#[derive(Clone)]
pub struct MediaPlane {
    _private: Arc<()>,
}

/// Which worker owns a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WorkerId(pub u16);

impl MediaPlane {
    /// Starts `config.num_threads` workers. `taps` holds one producer per worker. Events are dropped, and
    /// counted, when the receiver is full.
    pub fn start(
        config: &Config,
        taps: Vec<tap::Producer>,
        events: tokio::sync::mpsc::Sender<event::MediaEvent>,
    ) -> io::Result<Self> {
        let _ = (config, taps, events);
        Ok(Self { _private: Arc::new(()) })
    }

    /// The worker with the fewest calls. The choice is kept for the call's life.
    pub fn assign(&self) -> WorkerId {
        WorkerId(0)
    }

    /// Makes the worker's routes of this call equal to the plan. Streams, SSRC state and transcoders that the
    /// old and the new plan share go on without a break. Never blocks; a full queue is retried by the caller's
    /// runtime in order.
    pub fn install(&self, worker: WorkerId, plan: plan::CallPlan) {
        let _ = (worker, plan);
    }

    /// Forgets the call; its sockets are closed when control has let go of them as well.
    pub fn remove(&self, worker: WorkerId, call: plan::CallKey) {
        let _ = (worker, call);
    }

    /// Starts sending a player's frames to a stream's peer.
    pub fn start_player(&self, worker: WorkerId, call: plan::CallKey, player: plan::PlayerPlan) {
        let _ = (worker, call, player);
    }

    /// Stops a player; a `PlayerFinished` event follows.
    pub fn stop_player(&self, worker: WorkerId, call: plan::CallKey, player: plan::PlayerId) {
        let _ = (worker, call, player);
    }

    /// Stops all workers and waits for them.
    pub fn shutdown(self) {}
}
