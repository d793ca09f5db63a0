//! Calls whose stored form is out of date, until somebody has written it.
//!
//! Whoever changes a call only says so: what is written is the call as it is when its turn comes, so that any number of changes is
//! one entry, and there are never more entries than calls that exist or were deleted since the store was last reachable.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;

use smol_str::SmolStr;
use tokio::sync::Notify;

use super::store::lock;

/// What has to be done about a stored call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is to be written.
    Write,
    /// It is to be deleted.
    Delete,
}

/// Calls that wait, the one that has waited longest first.
#[derive(Default)]
pub struct Changes {
    pending: Mutex<Pending>,
    ready: Notify,
}

#[derive(Default)]
struct Pending {
    by_id: HashMap<SmolStr, Change>,
    order: VecDeque<SmolStr>,
}

impl Changes {
    /// A newer change takes the place of an older one. Cheap.
    pub fn note(&self, id: SmolStr, change: Change) {
        let mut pending = lock(&self.pending);
        if pending.by_id.insert(id.clone(), change).is_none() {
            pending.order.push_back(id);
            // Only the first one has somebody to wake.
            if pending.order.len() == 1 {
                drop(pending);
                self.ready.notify_one();
            }
        }
    }

    /// Waits for changes and takes some.
    pub async fn take(&self, most: usize) -> Vec<(SmolStr, Change)> {
        loop {
            let taken = self.take_now(most);
            if !taken.is_empty() {
                return taken;
            }
            self.ready.notified().await;
        }
    }

    /// Takes some if there are any.
    pub fn take_now(&self, most: usize) -> Vec<(SmolStr, Change)> {
        let mut pending = lock(&self.pending);
        let count = pending.order.len().min(most);
        let ids: Vec<SmolStr> = pending.order.drain(..count).collect();
        ids.into_iter().filter_map(|id| pending.by_id.remove(&id).map(|change| (id, change))).collect()
    }

    /// What could not be done waits again, unless there is a newer change.
    pub fn put_back(&self, changes: Vec<(SmolStr, Change)>) {
        let mut pending = lock(&self.pending);
        for (id, change) in changes.into_iter().rev() {
            if !pending.by_id.contains_key(&id) {
                pending.by_id.insert(id.clone(), change);
                pending.order.push_front(id);
            }
        }
    }

    /// Number of calls that wait.
    pub fn waiting(&self) -> usize {
        lock(&self.pending).order.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_change_of_each_call_counts_in_the_order_of_the_first() {
        let changes = Changes::default();
        for (id, change) in
            [("a", Change::Write), ("b", Change::Write), ("a", Change::Delete), ("c", Change::Write)]
        {
            changes.note(id.into(), change);
        }
        let first = changes.take_now(2);
        assert_eq!(first, [("a".into(), Change::Delete), ("b".into(), Change::Write)]);
        changes.note("b".into(), Change::Delete);
        changes.put_back(first);
        let rest = changes.take_now(9);
        let order: Vec<_> = rest.iter().map(|(id, change)| (id.as_str(), *change)).collect();
        assert_eq!(order, [("a", Change::Delete), ("c", Change::Write), ("b", Change::Delete)]);
        assert_eq!(changes.waiting(), 0);
    }
}
