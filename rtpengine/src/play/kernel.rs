//! Announcements that the kernel sends: which it has copies of, and who may hear those.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::encodings::{Encoding, Reader};
use crate::media::offload::module::KernelMedia;
use crate::media::offload::{Announcement, CompleteMedia, LoadedMedia, Progress};
use crate::media::plan::{CallKey, PlayerId};
use crate::media::{MediaPlane, WorkerId};

/// The kernel's copies of announcements.
pub struct KernelStore {
    kernel: KernelMedia,
    /// Copies at most.
    most: usize,
    /// Those that it has, longest unused first. Held while one is copied, which keeps only the pool's threads waiting.
    held: Mutex<VecDeque<Weak<Encoding>>>,
    /// It was said why one has no copy.
    complained: AtomicBool,
}

/// How a player that has begun is given to the kernel.
pub(super) struct Descent {
    pub store: Arc<KernelStore>,
    pub plane: MediaPlane,
    pub worker: WorkerId,
    pub call: CallKey,
    pub player: PlayerId,
    /// Of the RTP clock, in Hz.
    pub clock_rate: u32,
}

impl KernelStore {
    /// Room for so many announcements.
    pub fn new(kernel: KernelMedia, most: usize) -> Self {
        Self { kernel, most, held: Mutex::default(), complained: AtomicBool::new(false) }
    }

    /// The kernel's copy of an encoding of which everything is there, made if there is room; announcements that nobody hears make room.
    fn load(&self, encoding: &Arc<Encoding>, clock_rate: u32) -> Option<Arc<LoadedMedia>> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|other| other.upgrade().is_some_and(|other| !Arc::ptr_eq(&other, encoding)));
        let mut loaded = encoding.loaded();
        if loaded.is_none() {
            if held.len() >= self.most && !make_room(&mut held) {
                self.complain(&format!("it has {} others, all of which are played", self.most));
                return None;
            }
            let media = CompleteMedia::new(clock_rate, encoding.complete()?)?;
            match self.kernel.load(media) {
                Ok(media) => *loaded = Some(Arc::new(media)),
                Err(error) => {
                    self.complain(&error);
                    return None;
                }
            }
        }
        held.push_back(Arc::downgrade(encoding));
        loaded.clone()
    }

    fn complain(&self, reason: &dyn std::fmt::Display) {
        if !self.complained.swap(true, Relaxed) {
            tracing::warn!(%reason, "an announcement is not copied to the kernel; others may not be, either");
        }
    }
}

/// Has the kernel forget the announcement that was not heard for longest.
fn make_room(held: &mut VecDeque<Weak<Encoding>>) -> bool {
    let unused = held.iter().position(|encoding| {
        let encoding = encoding.upgrade();
        encoding.is_none_or(|encoding| {
            let mut loaded = encoding.loaded();
            loaded.take_if(|loaded| Arc::strong_count(loaded) == 1).is_some()
        })
    });
    unused.is_some_and(|position| held.remove(position).is_some())
}

impl Descent {
    /// Tells the player's worker if the kernel has what is read; whether there is any sense in coming again.
    pub fn offer(&self, reader: &Reader) -> Offer {
        let (encoding, plays, limit) = reader.whole();
        if !encoding.is_complete() {
            return Offer::Later;
        }
        let Some(loaded) = self.store.load(encoding, self.clock_rate) else { return Offer::Never };
        let announcement = Announcement { loaded, plays, limit, progress: Arc::new(Progress::default()) };
        self.plane.take_announcement(self.worker, self.call, self.player, announcement.clone());
        Offer::Made(announcement)
    }
}

/// What became of an offer.
pub(super) enum Offer {
    /// Frames are missing.
    Later,
    /// The kernel does not take it.
    Never,
    /// The worker decides.
    Made(Announcement),
}
