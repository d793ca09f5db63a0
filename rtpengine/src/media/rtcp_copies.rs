//! Copies of the RTCP packets that come in, for those who report them. Not made unless somebody does.

use tokio::sync::mpsc;

use super::event::MediaEvent;
use super::stream::Stream;

/// Places in the queue of events that copies leave to others.
const RESERVED: usize = 1024;

/// The way out.
pub struct RtcpCopies {
    events: mpsc::Sender<MediaEvent>,
}

impl RtcpCopies {
    /// Shares the queue of events.
    pub fn new(events: mpsc::Sender<MediaEvent>) -> Self {
        Self { events }
    }

    /// Copies a packet that arrived on a stream, unless many wait already. This allocates: RTCP is a packet in seconds.
    pub fn take(&self, stream: &Stream, octets: &[u8]) {
        if self.events.capacity() > RESERVED {
            // Whoever stops listening misses what follows.
            let _ = self.events.try_send(MediaEvent::Rtcp {
                call: stream.call,
                stream: stream.id,
                octets: octets.into(),
            });
        }
    }
}
