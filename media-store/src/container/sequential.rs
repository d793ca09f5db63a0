//! Octets that are written one after the other, and wait in memory while the medium does not take them.

use std::io;

use super::Medium;

/// The growing end of a file.
#[derive(Debug)]
pub(super) struct Sequential {
    pub medium: Medium,
    /// Where the next octets go.
    offset: u64,
    pending: Vec<u8>,
}

impl Sequential {
    pub fn new(medium: Medium, offset: u64) -> Self {
        Self { medium, offset, pending: Vec::new() }
    }

    /// What is appended here is written by the next [`Sequential::flush`].
    pub fn pending(&mut self) -> &mut Vec<u8> {
        &mut self.pending
    }

    pub fn pending_octets(&self) -> usize {
        self.pending.len()
    }

    /// Length of the file once everything is written.
    pub fn end(&self) -> u64 {
        self.offset + self.pending.len() as u64
    }

    /// Writes what waits; after an error it can be tried again.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        self.medium.write_all_at(&self.pending, self.offset)?;
        self.offset += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }
}
