//! Commands from control to a worker: a bounded ring, an ordered overflow behind it, and a wake-up.
//!
//! Control never waits: when the ring is full, commands queue up in `overflow`. The worker never waits either:
//! it empties the ring without a lock and takes the overflow with `try_lock`.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};

use super::dtls::Keyed;
use super::offload::Announcement;
use super::plan::{CallKey, CallPlan, PlayerId, PlayerPlan, SrtpProgress, StreamId};
use super::poll::Wake;
use super::treatment::InjectionPlan;

/// What control asks of a worker.
pub enum Command {
    Install(CallPlan),
    Remove(CallKey),
    /// Remove, and say when it is done.
    Release(CallKey, std::sync::mpsc::SyncSender<()>),
    /// Make the counters of a call's streams those of this moment, and say when it is done.
    Refresh(CallKey, std::sync::mpsc::SyncSender<()>),
    StartPlayer(CallKey, PlayerPlan),
    StopPlayer(CallKey, PlayerId),
    /// What a player plays is there as a whole, and in the kernel.
    TakeAnnouncement(CallKey, PlayerId, Announcement),
    Inject(CallKey, InjectionPlan),
    /// Say how far the keys of a call's streams were used.
    Progress(CallKey, tokio::sync::oneshot::Sender<Vec<(StreamId, SrtpProgress)>>),
    /// Let go of a call's sockets without reading them empty, and say how far the keys of its streams were used.
    Detach(CallKey, tokio::sync::oneshot::Sender<Vec<(StreamId, SrtpProgress)>>),
    /// Take everything up from the kernel, for good, and say when it is done.
    GiveUpRung(std::sync::mpsc::SyncSender<()>),
    /// From the handshake thread.
    Keyed(Box<Keyed>),
    Shutdown,
}

/// Commands that fit into the ring.
const CAPACITY: usize = 1024;

struct Shared {
    sender: Mutex<Sender>,
    /// Commands wait behind the ring.
    spilled: AtomicBool,
    /// A wake-up is under way: more are not needed.
    woken: AtomicBool,
    wake: Wake,
}

struct Sender {
    ring: rtrb::Producer<Command>,
    overflow: VecDeque<Command>,
}

/// Control's end.
#[derive(Clone)]
pub struct Mailbox(Arc<Shared>);

/// The worker's end.
pub struct Inbox {
    ring: rtrb::Consumer<Command>,
    shared: Arc<Shared>,
    /// Overflow taken over, still to be handed out.
    taken: VecDeque<Command>,
}

/// A connected pair.
pub fn mailbox() -> io::Result<(Mailbox, Inbox)> {
    let (producer, consumer) = rtrb::RingBuffer::new(CAPACITY);
    let shared = Arc::new(Shared {
        sender: Mutex::new(Sender { ring: producer, overflow: VecDeque::new() }),
        spilled: AtomicBool::new(false),
        woken: AtomicBool::new(false),
        wake: Wake::new()?,
    });
    Ok((Mailbox(Arc::clone(&shared)), Inbox { ring: consumer, shared, taken: VecDeque::new() }))
}

impl Mailbox {
    /// Queues a command behind all earlier ones and wakes the worker.
    pub fn send(&self, command: Command) {
        {
            let mut sender = self.0.sender.lock().unwrap_or_else(PoisonError::into_inner);
            let refused = if sender.overflow.is_empty() {
                sender.ring.push(command).err().map(|rtrb::PushError::Full(command)| command)
            } else {
                Some(command)
            };
            if let Some(command) = refused {
                sender.overflow.push_back(command);
                self.0.spilled.store(true, Ordering::Release);
            }
        }
        if !self.0.woken.swap(true, Ordering::AcqRel) {
            self.0.wake.wake();
        }
    }
}

impl Inbox {
    /// To be watched (edge-triggered) for readiness.
    pub fn wake_fd(&self) -> std::os::fd::RawFd {
        self.shared.wake.fd()
    }

    /// Commands sent from now on wake up again. Look into the inbox once more before going to sleep.
    pub fn acknowledge(&mut self) {
        self.shared.woken.store(false, Ordering::SeqCst);
        // The look into the ring that follows must not be done before the store can be seen: whoever then still finds the flag set
        // has put his command in before that look.
        std::sync::atomic::fence(Ordering::SeqCst);
    }

    /// The next command. `None` may also mean that control is adding to the overflow at this moment; then
    /// `is_empty` is false and the worker comes back.
    pub fn next(&mut self) -> Option<Command> {
        if let Some(command) = self.taken.pop_front() {
            return Some(command);
        }
        if let Ok(command) = self.ring.pop() {
            return Some(command);
        }
        if !self.shared.spilled.load(Ordering::Acquire) {
            return None;
        }
        match self.shared.sender.try_lock() {
            Ok(mut sender) => {
                // While the overflow is not empty nothing is added to the ring, so what is in the ring (seen
                // empty above, but perhaps filled since by the command that came before the overflow) is older.
                if let Ok(command) = self.ring.pop() {
                    return Some(command);
                }
                self.taken = std::mem::take(&mut sender.overflow);
                self.shared.spilled.store(false, Ordering::Release);
            }
            Err(TryLockError::WouldBlock) => return None,
            Err(TryLockError::Poisoned(_)) => return None,
        }
        self.taken.pop_front()
    }

    /// Nothing is waiting.
    pub fn is_empty(&self) -> bool {
        self.taken.is_empty() && self.ring.is_empty() && !self.shared.spilled.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_kept_over_ring_and_overflow() {
        let (mailbox, mut inbox) = mailbox().unwrap();
        let mut expected = 0;
        let mut sent = 0;
        for burst in [10, CAPACITY as u64 + 50, 3, 2 * CAPACITY as u64] {
            for _ in 0..burst {
                mailbox.send(Command::Remove(CallKey(sent)));
                sent += 1;
            }
            for _ in 0..burst / 2 {
                let Some(Command::Remove(key)) = inbox.next() else { panic!("command lost") };
                assert_eq!(key, CallKey(expected));
                expected += 1;
            }
        }
        while let Some(Command::Remove(key)) = inbox.next() {
            assert_eq!(key, CallKey(expected));
            expected += 1;
        }
        assert_eq!(expected, sent);
        assert!(inbox.is_empty());
    }
}
