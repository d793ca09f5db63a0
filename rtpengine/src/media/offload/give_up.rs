//! A worker leaves the rung below to somebody else.

use super::super::plan::CallKey;
use super::super::worker::Worker;
use super::{Ladder, Reason};

impl Ladder {
    /// The ladder if there is one and it has not been given up. Takes the worker's field, whose other fields stay free.
    pub(super) fn in_use(ladder: &mut Option<Self>) -> Result<&mut Self, Reason> {
        ladder.as_mut().filter(|ladder| !ladder.is_given_up).ok_or(Reason::Off)
    }
}

impl Worker {
    /// Takes all streams and announcements back to user space, where they stay: the next instance is about to use the kernel in our place.
    /// The packet indices that the kernel has used are known here afterwards; so is what it has counted, when this is called again
    /// [`SETTLING`](super::SETTLING) later.
    pub(in super::super) fn give_up_rung(&mut self) {
        let Some(ladder) = &mut self.ladder else { return };
        ladder.is_given_up = true;
        ladder.settle(self.output.now.instant, &self.output.totals);
        let calls: Vec<CallKey> = self.calls.calls.keys().copied().collect();
        for call in calls {
            self.lift_players(call);
            for slot in self.slots_of(call) {
                self.lift(slot, Reason::Off);
            }
        }
    }
}
