//! Announcements that the module sends: its copies of media, and players.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::super::announcement::{
    CompleteMedia, LoadedMedia, PlayerBackend, PlayerCount, PlayerHandle, PlayerOrder,
};
use super::super::{BackendError, Reason};
use super::abi::Command;
use super::control::Control;
use super::player_messages as messages;

/// Where media are copied to. Cheap to clone.
#[derive(Clone)]
pub struct KernelMedia {
    control: Arc<Control>,
}

/// Players of one worker in the module's table.
pub struct ModulePlayers {
    control: Arc<Control>,
    places: Arc<Places>,
    /// Of this worker.
    own: usize,
}

/// How many players there may be, of all workers together.
#[derive(Debug)]
pub struct Places {
    most: usize,
    taken: AtomicUsize,
}

impl Places {
    /// All free.
    pub fn new(most: usize) -> Self {
        Self { most, taken: AtomicUsize::new(0) }
    }

    fn take(&self) -> bool {
        self.taken.fetch_update(Relaxed, Relaxed, |taken| (taken < self.most).then_some(taken + 1)).is_ok()
    }

    fn give_back(&self, count: usize) {
        self.taken.fetch_sub(count, Relaxed);
    }
}

impl KernelMedia {
    pub(super) fn new(control: Arc<Control>) -> Self {
        Self { control }
    }

    /// Copies media into the kernel; blocks for as long as that takes, some milliseconds for an hour of speech.
    ///
    /// # Errors
    /// The kernel has no room, or the media have frames that it does not take.
    pub fn load(&self, media: CompleteMedia) -> io::Result<LoadedMedia> {
        let mut room = messages::media(Command::AddMedia, 0, media.clock_rate);
        self.control.ask(&mut room)?;
        let number = messages::media_number(&room);
        let control = Arc::clone(&self.control);
        let unload = move |number| {
            if let Err(error) = control.tell(&messages::media(Command::DelMedia, number, 0)) {
                tracing::debug!(%error, "the media of an announcement were gone already");
            }
        };
        let loaded = LoadedMedia::new(media, number, Box::new(unload));
        let frames = messages::frames(number, &loaded.media);
        for message in frames.ok_or_else(|| io::Error::other("it has frames of more than 8 kB"))? {
            self.control.tell(&message)?;
        }
        Ok(loaded)
    }
}

impl ModulePlayers {
    pub(super) fn new(control: Arc<Control>, places: Arc<Places>) -> Self {
        Self { control, places, own: 0 }
    }

    fn ask(&self, command: Command, player: PlayerHandle) -> Result<PlayerCount, BackendError> {
        let mut message = messages::statistics(command, player.0);
        self.control.ask(&mut message).map_err(|_| BackendError::Unknown)?;
        Ok(messages::read_statistics(&message))
    }
}

impl PlayerBackend for ModulePlayers {
    fn start(&mut self, order: &PlayerOrder) -> Result<PlayerHandle, BackendError> {
        if !self.places.take() {
            return Err(BackendError::Unsuitable(Reason::Refused));
        }
        let mut message = messages::player(order);
        if let Err(source) = self.control.ask(&mut message) {
            self.places.give_back(1);
            return Err(BackendError::System { operation: "start player", source });
        }
        self.own += 1;
        Ok(PlayerHandle(messages::player_number(&message)))
    }

    fn read(&mut self, player: PlayerHandle) -> Result<PlayerCount, BackendError> {
        self.ask(Command::GetPlayer, player)
    }

    fn stop(&mut self, player: PlayerHandle) -> Result<PlayerCount, BackendError> {
        self.places.give_back(1);
        self.own -= 1;
        self.ask(Command::StopPlayer, player)
    }
}

impl Drop for ModulePlayers {
    fn drop(&mut self) {
        // What plays ends with the table.
        self.places.give_back(self.own);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_no_more_players_than_there_may_be() {
        let places = Places::new(2);
        assert_eq!([places.take(), places.take(), places.take()], [true, true, false]);
        places.give_back(1);
        assert_eq!([places.take(), places.take()], [true, false]);
    }
}
