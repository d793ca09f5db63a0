//! Times at which something about a call is due, to the millisecond (the second's tick is too coarse for them).

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Mutex;
use std::time::Instant;

use tokio::sync::Notify;

use super::store::lock;
use crate::media::plan::CallKey;

/// The alarms of all calls. The lock is held for a heap operation only.
#[derive(Default)]
pub struct Alarms {
    heap: Mutex<BinaryHeap<Reverse<(Instant, u64)>>>,
    changed: Notify,
}

impl Alarms {
    /// Sets an alarm for a call. There may be several.
    pub fn set(&self, at: Instant, call: CallKey) {
        lock(&self.heap).push(Reverse((at, call.0)));
        self.changed.notify_one();
    }

    /// Waits for the next alarm.
    pub async fn next(&self) -> CallKey {
        loop {
            let next = {
                let mut heap = lock(&self.heap);
                match heap.peek().map(|Reverse((at, _))| *at) {
                    Some(at) if at <= Instant::now() => match heap.pop() {
                        Some(Reverse((_, call))) => return CallKey(call),
                        None => None,
                    },
                    next => next,
                }
            };
            match next {
                Some(at) => {
                    let _ = tokio::time::timeout_at(at.into(), self.changed.notified()).await;
                }
                None => self.changed.notified().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn alarms_go_off_in_the_order_of_their_times() {
        let (alarms, now) = (Alarms::default(), Instant::now());
        alarms.set(now + Duration::from_millis(30), CallKey(2));
        alarms.set(now + Duration::from_millis(10), CallKey(1));
        assert_eq!(alarms.next().await, CallKey(1));
        assert_eq!(alarms.next().await, CallKey(2));
        assert!(now.elapsed() >= Duration::from_millis(30));
    }
}
