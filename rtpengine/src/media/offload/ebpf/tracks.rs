//! Where the program keeps its numbers of an SSRC: of the one that a target heard last in an array, whose elements the program finds without
//! a hash, as long as there are free ones; of all others in a hash map.

use std::collections::VecDeque;
use std::io;
use std::sync::{Mutex, PoisonError};

use super::layout::{TrackKey, TrackValue};
use super::map::Map;

/// Elements of the array: 5 MB of the kernel's memory.
pub const SLOTS: u32 = 1 << 16;

/// An element of the array; the program knows none by 0.
pub type Slot = u32;

pub struct Tracks {
    first: Map<Slot, TrackValue>,
    others: Map<TrackKey, TrackValue>,
    /// Held when a target is made or forgotten.
    slots: Mutex<Slots>,
}

/// The place of a track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrackPlace {
    First(Slot),
    Other(TrackKey),
}

struct Slots {
    unused: std::ops::Range<Slot>,
    /// The one that has been free for longest is used next.
    freed: VecDeque<Slot>,
}

impl Tracks {
    /// Maps with spin locks.
    pub fn new(first: Map<Slot, TrackValue>, others: Map<TrackKey, TrackValue>) -> Self {
        Self { first, others, slots: Mutex::new(Slots::new(SLOTS)) }
    }

    /// A slot for one of a target's tracks; `None` when all are in use.
    pub fn take_slot(&self) -> Option<Slot> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Reads a track.
    ///
    /// # Errors
    /// As [`Map::get`].
    pub fn get(&self, place: TrackPlace) -> io::Result<TrackValue> {
        match place {
            TrackPlace::First(slot) => self.first.get(&slot),
            TrackPlace::Other(key) => self.others.get(&key),
        }
    }

    /// Writes a track that the program does not know yet.
    ///
    /// # Errors
    /// As [`Map::set`].
    pub fn set(&self, place: TrackPlace, value: &TrackValue) -> io::Result<()> {
        match place {
            TrackPlace::First(slot) => self.first.set(&slot, value),
            TrackPlace::Other(key) => self.others.set(&key, value),
        }
    }

    /// Gives up a track that no target has any more.
    pub fn free(&self, place: TrackPlace) {
        match place {
            TrackPlace::First(slot) => {
                self.slots.lock().unwrap_or_else(PoisonError::into_inner).freed.push_back(slot);
            }
            // If it is not there, it need not go.
            TrackPlace::Other(key) => drop(self.others.delete(&key)),
        }
    }
}

impl Slots {
    fn new(most: u32) -> Self {
        Self { unused: 1..most, freed: VecDeque::new() }
    }

    fn take(&mut self) -> Option<Slot> {
        self.unused.next().or_else(|| self.freed.pop_front())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_that_was_freed_is_used_again_as_late_as_possible() {
        let mut slots = Slots::new(4);
        assert_eq!([slots.take(), slots.take()], [Some(1), Some(2)]);
        slots.freed.extend([2, 1]);
        assert_eq!(
            [slots.take(), slots.take(), slots.take(), slots.take()],
            [Some(3), Some(2), Some(1), None]
        );
    }
}
