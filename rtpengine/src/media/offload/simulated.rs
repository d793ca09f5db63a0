//! A kernel that forwards nothing: tests say what it has counted.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Backend, BackendError, Counters, Handle, Reason, Rung, Target, Track, TrackCount};

/// What the test sees of it.
#[derive(Clone, Default)]
pub struct Kernel(Arc<Mutex<State>>);

#[derive(Default)]
pub struct State {
    /// In the order of their handles; removed ones stay until they are forgotten.
    pub targets: HashMap<Handle, Known>,
    pub refuses: Option<Reason>,
    pub fails: bool,
    next: u64,
}

/// A target.
pub struct Known {
    pub target: Target,
    pub counters: Counters,
    pub is_removed: bool,
}

impl Kernel {
    /// Its state, for the time of the guard.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Targets that forward.
    pub fn active(&self) -> usize {
        self.lock().targets.values().filter(|known| !known.is_removed).count()
    }
}

impl State {
    /// The counters of the target at a local address.
    pub fn counters(&mut self, local: std::net::SocketAddr) -> Option<&mut Counters> {
        self.targets.values_mut().find(|known| known.target.local == local).map(|known| &mut known.counters)
    }
}

impl Backend for Kernel {
    fn rung(&self) -> Rung {
        Rung::Module
    }

    fn accepts(&mut self, _target: &Target) -> Result<(), Reason> {
        self.lock().refuses.map_or(Ok(()), Err)
    }

    fn add(&mut self, target: &Target, tracks: &[Track]) -> Result<Handle, BackendError> {
        let mut state = self.lock();
        if state.fails {
            let source = io::Error::from(io::ErrorKind::OutOfMemory);
            return Err(BackendError::System { operation: "add", source });
        }
        state.next += 1;
        let handle = Handle(state.next);
        let tracks = tracks.iter().map(|track| TrackCount { track: *track, ..TrackCount::default() });
        let counters = Counters { tracks: tracks.collect(), ..Counters::default() };
        state.targets.insert(handle, Known { target: target.clone(), counters, is_removed: false });
        Ok(handle)
    }

    fn read(&mut self, handle: Handle, counters: &mut Counters) -> Result<(), BackendError> {
        let state = self.lock();
        let known = state.targets.get(&handle).ok_or(BackendError::Unknown)?;
        counters.clone_from(&known.counters);
        Ok(())
    }

    fn remove(&mut self, handle: Handle) {
        if let Some(known) = self.lock().targets.get_mut(&handle) {
            known.is_removed = true;
        }
    }

    fn forget(&mut self, handle: Handle) {
        self.lock().targets.remove(&handle);
    }
}
