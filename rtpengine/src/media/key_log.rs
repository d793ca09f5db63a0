//! Keys in the log, for whoever decrypts a capture (`log-srtp-keys`). Nothing else ever writes a key anywhere.

use super::worker::Worker;

impl Worker {
    /// Writes the keys of a stream that have come since this was asked last, if that is wanted at all.
    pub(super) fn log_keys(&mut self, slot: u32) {
        if !self.logs_keys {
            return;
        }
        let Some(stream) = self.streams.get_mut(slot) else { return };
        let local = stream.socket().local;
        let Some(security) = stream.keys() else { return };
        for (direction, master) in security.take_new_keys() {
            let (suite, key) = (master.suite().name, master.reveal());
            tracing::error!(%local, direction, suite, %key, "SRTP key");
        }
    }
}
