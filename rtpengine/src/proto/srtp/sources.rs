//! The SSRCs of one direction.

use super::SrtpError;
use super::window::Window;
use crate::prefetch::prefetch;

/// SSRCs that one key serves in one direction.
pub const MAX_SOURCES: usize = 1024;

/// Windows by SSRC.
pub(super) struct Sources {
    /// Position of the last packet's SSRC: nearly always the next one's as well.
    recent: usize,
    /// Ordered by SSRC.
    entries: Vec<(u32, Window)>,
    /// Where a new SSRC goes when all places are taken.
    when_full: WhenFull,
    /// Place that is replaced next.
    next_victim: usize,
}

/// What becomes of an SSRC beyond [`MAX_SOURCES`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum WhenFull {
    Refuse,
    Replace,
}

impl Sources {
    pub fn new(when_full: WhenFull) -> Self {
        Self { recent: 0, entries: Vec::with_capacity(2), when_full, next_victim: 0 }
    }

    /// The window of an SSRC, or that the SSRC is new.
    pub fn find(&mut self, ssrc: u32) -> Option<&mut Window> {
        let hit = self.entries.get(self.recent).is_some_and(|entry| entry.0 == ssrc);
        if !hit {
            self.recent = self.entries.binary_search_by_key(&ssrc, |entry| entry.0).ok()?;
        }
        self.entries.get_mut(self.recent).map(|entry| &mut entry.1)
    }

    /// Asks for the memory of the window that was used last.
    #[inline]
    pub fn look_ahead(&self) {
        if let Some(entry) = self.entries.get(self.recent) {
            prefetch(entry, [0]);
        }
    }

    /// Whether there was a packet of an SSRC.
    pub fn knows(&self, ssrc: u32) -> bool {
        self.entries.binary_search_by_key(&ssrc, |entry| entry.0).is_ok()
    }

    /// The index that a sequence number of a known SSRC stands for at present.
    pub fn rtp_index(&self, ssrc: u32, sequence_number: u16) -> Option<u64> {
        let position = self.entries.binary_search_by_key(&ssrc, |entry| entry.0).ok()?;
        self.entries.get(position)?.1.rtp_index(sequence_number)
    }

    /// Marks an index of a known or a new SSRC as used. A new SSRC may be refused; allocates for a new one only.
    pub fn mark(&mut self, ssrc: u32, index: u64) -> Result<(), SrtpError> {
        if let Some(window) = self.find(ssrc) {
            window.mark(index);
            return Ok(());
        }
        if self.entries.len() >= MAX_SOURCES {
            if self.when_full == WhenFull::Refuse {
                return Err(SrtpError::TooManySources);
            }
            self.entries.remove(self.next_victim % MAX_SOURCES);
            self.next_victim += 1;
        }
        let position = self.entries.partition_point(|entry| entry.0 < ssrc);
        self.entries.insert(position, (ssrc, Window::starting_at(index)));
        self.recent = position;
        Ok(())
    }

    /// The highest index of an SSRC.
    pub fn position(&self, ssrc: u32) -> Option<u64> {
        let position = self.entries.binary_search_by_key(&ssrc, |entry| entry.0).ok()?;
        self.entries.get(position).map(|entry| entry.1.highest())
    }

    /// SSRCs with their highest indices.
    pub fn positions(&self) -> Vec<(u32, u64)> {
        self.entries.iter().map(|(ssrc, window)| (*ssrc, window.highest())).collect()
    }

    /// Goes on where another instance was. What is known already stays.
    pub fn resume(&mut self, positions: &[(u32, u64)]) {
        for &(ssrc, index) in positions.iter().take(MAX_SOURCES - self.entries.len().min(MAX_SOURCES)) {
            let position = self.entries.partition_point(|entry| entry.0 < ssrc);
            if self.entries.get(position).is_none_or(|entry| entry.0 != ssrc) {
                self.entries.insert(position, (ssrc, Window::behind(index)));
            }
        }
    }

    /// Somebody else has gone on with an SSRC, up to this index; bit i of `seen`: index - i was used. What was used here stays so.
    pub fn went_on(&mut self, ssrc: u32, index: u64, seen: u64) {
        match self.find(ssrc) {
            // The very packets that are known here are the older part of what is told.
            Some(window) if window.highest() >= index => {}
            Some(window) => *window = Window::resumed(index, seen),
            None => self.resume(&[(ssrc, index)]),
        }
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_table_refuses_or_replaces() {
        for (when_full, result) in
            [(WhenFull::Refuse, Err(SrtpError::TooManySources)), (WhenFull::Replace, Ok(()))]
        {
            let mut sources = Sources::new(when_full);
            for ssrc in (0..MAX_SOURCES as u32).rev() {
                assert_eq!(sources.mark(2 * ssrc, 7), Ok(()));
            }
            assert_eq!(sources.mark(5, 1), result);
            assert_eq!(sources.mark(8, 9), Ok(()));
            assert!(sources.find(8).is_some_and(|window| window.was_used(9)));
            assert_eq!(sources.find(5).is_some(), result.is_ok());
            assert_eq!(sources.len(), MAX_SOURCES);
        }
    }
}
