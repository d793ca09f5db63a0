//! What the daemon tells ng clients without being asked.
//!
//! An event is written once and lies in a bounded queue that every connection reads at its own pace: one that is too slow loses
//! events, which its log tells, and holds up nobody.

use std::sync::Arc;

use tokio::sync::broadcast;

use crate::proto::bencode;
use crate::proto::value::Dict;

/// Events that a connection may be behind.
const QUEUE: usize = 256;

/// Where events are sent from. Clones send to the same connections.
#[derive(Clone, Debug)]
pub struct Events {
    sender: broadcast::Sender<Arc<[u8]>>,
}

/// A connection's place in the queue.
pub type EventReceiver = broadcast::Receiver<Arc<[u8]>>;

impl Default for Events {
    fn default() -> Self {
        Self::new()
    }
}

impl Events {
    /// A queue without connections.
    pub fn new() -> Self {
        Events { sender: broadcast::Sender::new(QUEUE) }
    }

    /// Sends `{notify: <name>, data: {…}}` under a cookie of its own to every connection that listens; returns to how many.
    /// Never waits, and costs next to nothing when nobody listens.
    pub fn send(&self, notify: &str, data: Dict) -> usize {
        if self.sender.receiver_count() == 0 {
            return 0;
        }
        let mut event = Dict::new();
        event.push("notify", notify).push("data", data);
        let mut message = format!("{:016x} ", rand::random::<u64>()).into_bytes();
        bencode::encode_dict(&event, &mut message);
        // An error means that the last connection ended just now.
        self.sender.send(message.into()).unwrap_or(0)
    }

    /// Receives what is sent from now on, as whole messages.
    pub fn subscribe(&self) -> EventReceiver {
        self.sender.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_connection_gets_the_event_under_a_cookie() {
        let events = Events::new();
        assert_eq!(events.send("onDTMF", Dict::new()), 0, "nobody listens");
        let mut receivers = [events.subscribe(), events.subscribe()];
        let mut data = Dict::new();
        data.push("callid", "c1");
        assert_eq!(events.send("onDTMF", data), 2);
        for receiver in &mut receivers {
            let message = receiver.try_recv().expect("an event");
            let (cookie, dictionary) = message.split_at(16);
            assert!(cookie.iter().all(u8::is_ascii_hexdigit), "{cookie:?}");
            assert_eq!(dictionary, b" d6:notify6:onDTMF4:datad6:callid2:c1ee");
        }
    }

    #[test]
    fn a_connection_that_is_too_slow_loses_the_oldest() {
        let events = Events::new();
        let mut receiver = events.subscribe();
        for _ in 0..QUEUE + 5 {
            events.send("onDTMF", Dict::new());
        }
        assert_eq!(receiver.try_recv(), Err(broadcast::error::TryRecvError::Lagged(5)));
        assert!(receiver.try_recv().is_ok());
    }
}
