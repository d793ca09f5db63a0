//! A worker leaves the rung below to somebody else.

use super::super::plan::CallKey;
use super::super::worker::Worker;
use super::Reason;

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
