//! A kernel that forwards nothing: tests say what it has counted.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{
    Backend, BackendError, Counters, Dropped, Guard, Handle, PlayerBackend, PlayerCount, PlayerHandle,
    PlayerOrder, Reason, Rung, Shield, Target, Track, TrackCount,
};

/// What the test sees of it.
#[derive(Clone, Default)]
pub struct Kernel(Arc<Mutex<State>>);

#[derive(Default)]
pub struct State {
    /// In the order of their handles; removed ones stay until they are forgotten.
    pub targets: HashMap<Handle, Known>,
    pub refuses: Option<Reason>,
    pub fails: bool,
    /// By the ports before which they stand, with what they have dropped.
    pub guards: HashMap<SocketAddr, (Guard, Dropped)>,
    pub dropped_at: u64,
    /// In the order in which they were started; their numbers are their places.
    pub players: Vec<Playing>,
    next: u64,
}

/// A target.
pub struct Known {
    pub target: Target,
    pub counters: Counters,
    pub is_removed: bool,
}

/// A player.
pub struct Playing {
    pub order: PlayerOrder,
    pub count: PlayerCount,
    /// It has been ended.
    pub is_over: bool,
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
    pub fn counters(&mut self, local: SocketAddr) -> Option<&mut Counters> {
        self.targets.values_mut().find(|known| known.target.local == local).map(|known| &mut known.counters)
    }
}

impl Backend for Kernel {
    fn rung(&self) -> Rung {
        Rung::Module
    }

    fn shield(&mut self) -> Option<&mut dyn Shield> {
        Some(self)
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

impl Shield for Kernel {
    fn guard(&mut self, port: SocketAddr, guard: &Guard) -> io::Result<()> {
        let mut state = self.lock();
        if state.fails {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        state.guards.entry(port).or_insert_with(|| (guard.clone(), Dropped::default())).0 = guard.clone();
        Ok(())
    }

    fn unguard(&mut self, port: SocketAddr) -> Dropped {
        self.lock().guards.remove(&port).map_or_else(Dropped::default, |(_, dropped)| dropped)
    }

    fn dropped(&self, port: SocketAddr) -> Dropped {
        self.lock().guards.get(&port).map_or_else(Dropped::default, |(_, dropped)| *dropped)
    }

    fn dropped_at(&self) -> u64 {
        self.lock().dropped_at
    }
}

impl PlayerBackend for Kernel {
    fn start(&mut self, order: &PlayerOrder) -> Result<PlayerHandle, BackendError> {
        let mut state = self.lock();
        let handle = PlayerHandle(state.players.len() as u32);
        let count = PlayerCount { next: order.numbers, ..PlayerCount::default() };
        state.players.push(Playing { order: order.clone(), count, is_over: false });
        Ok(handle)
    }

    fn read(&mut self, player: PlayerHandle) -> Result<PlayerCount, BackendError> {
        let state = self.lock();
        let playing = state.players.get(player.0 as usize).filter(|playing| !playing.is_over);
        playing.map(|playing| playing.count).ok_or(BackendError::Unknown)
    }

    fn stop(&mut self, player: PlayerHandle) -> Result<PlayerCount, BackendError> {
        let count = PlayerBackend::read(self, player)?;
        self.lock().players[player.0 as usize].is_over = true;
        Ok(count)
    }
}
