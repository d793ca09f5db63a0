//! The transport under OpenSSL: one datagram in, a few out, in memory.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Datagrams that may wait to be sent. A flight has a handful; what is more is lost, as on any network.
const OUTBOUND: usize = 32;

/// Both directions. OpenSSL reads and writes whole datagrams.
#[derive(Default)]
pub struct Wire {
    inbound: Vec<u8>,
    outbound: VecDeque<Box<[u8]>>,
    /// The peer is known to be there.
    proven: Arc<AtomicBool>,
    /// Octets that came in and were not yet matched by what left, until the peer is known to be there.
    allowance: usize,
}

impl Wire {
    /// Until `proven`, no more octets leave than came in (RFC 6347 §4.2.1).
    pub fn new(proven: Arc<AtomicBool>) -> Self {
        Self { proven, ..Self::default() }
    }

    /// A datagram of so many octets came in.
    pub fn received(&mut self, octets: usize) {
        self.allowance = self.allowance.saturating_add(octets);
    }

    /// What OpenSSL is to read next.
    pub fn fill<'a>(&mut self, records: impl Iterator<Item = &'a [u8]>) {
        self.inbound.clear();
        records.for_each(|record| self.inbound.extend_from_slice(record));
    }

    /// The next datagram to send.
    pub fn next_outbound(&mut self) -> Option<Box<[u8]>> {
        self.outbound.pop_front()
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.inbound.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let length = self.inbound.len().min(buffer.len());
        buffer[..length].copy_from_slice(&self.inbound[..length]);
        // The rest of a datagram that does not fit is lost, as with a socket.
        self.inbound.clear();
        Ok(length)
    }
}

impl Write for Wire {
    fn write(&mut self, datagram: &[u8]) -> io::Result<usize> {
        let allowed = self.proven.load(Relaxed) || datagram.len() <= self.allowance;
        if allowed && self.outbound.len() < OUTBOUND {
            self.allowance = self.allowance.saturating_sub(datagram.len());
            self.outbound.push_back(datagram.into());
        }
        // What is not sent is lost for OpenSSL, which repeats it.
        Ok(datagram.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
