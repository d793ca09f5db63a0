//! Calls whose lines are written up to debug level whatever the levels of subsystems say.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{PoisonError, RwLock};

/// Call-ids, and whether there are any: that is all that a line of another call costs.
#[derive(Debug, Default)]
pub(super) struct DebugCalls {
    any: AtomicBool,
    ids: RwLock<HashSet<String>>,
}

impl DebugCalls {
    /// Some call is being debugged.
    pub fn any(&self) -> bool {
        self.any.load(Relaxed)
    }

    /// This one is.
    pub fn contains(&self, call_id: &str) -> bool {
        self.any() && self.ids.read().unwrap_or_else(PoisonError::into_inner).contains(call_id)
    }

    /// Changes the set.
    pub fn update(&self, change: impl FnOnce(&mut HashSet<String>)) {
        let mut ids = self.ids.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut ids);
        self.any.store(!ids.is_empty(), Relaxed);
        drop(ids);
        tracing::callsite::rebuild_interest_cache();
    }
}
