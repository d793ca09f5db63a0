//! The kernel module as a rung: its table, targets, announcements, and files of recorded streams.
//!
//! The daemon makes the table when it starts, whatever is left of an earlier life, and deletes it when it ends; if it is killed, media
//! go on until the next one starts. Messages are system calls on one open file, which the module carries out one after the other.

mod abi;
mod backend;
mod control;
mod player_messages;
mod players;
mod streams;

use std::sync::Arc;

pub use backend::ModuleBackend;
pub use control::{Control, OpenError, WhenInUse};
pub use players::{KernelMedia, Places};
pub use streams::{KernelCall, KernelStreams};

use super::{Backend, PlayerBackend};

/// An open table of the kernel module. Cheap to clone.
#[derive(Clone)]
pub struct Module {
    control: Arc<Control>,
    streams: KernelStreams,
}

impl Module {
    /// Makes the table anew.
    ///
    /// # Errors
    /// [`OpenError`]: there is no module, the table is in use, or the versions differ.
    pub fn open(table: u8, when_in_use: WhenInUse) -> Result<Self, OpenError> {
        let control = Arc::new(Control::open(table, when_in_use)?);
        let streams = KernelStreams::new(Arc::clone(&control));
        Ok(Self { control, streams })
    }

    /// What a worker forwards with.
    pub fn backend(&self) -> Box<dyn Backend> {
        Box::new(ModuleBackend::new(Arc::clone(&self.control), self.streams.clone()))
    }

    /// It can send announcements by itself.
    pub fn has_players(&self) -> bool {
        self.control.has_players()
    }

    /// What a worker plays with.
    pub fn players(&self, places: Arc<Places>) -> Box<dyn PlayerBackend> {
        Box::new(players::ModulePlayers::new(Arc::clone(&self.control), places))
    }

    /// Where announcements are copied to.
    pub fn media(&self) -> KernelMedia {
        KernelMedia::new(Arc::clone(&self.control))
    }

    /// Files of recorded streams below `/proc/rtpengine`.
    pub fn streams(&self) -> KernelStreams {
        self.streams.clone()
    }
}
