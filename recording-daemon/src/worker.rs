//! Worker threads. A call belongs to one worker, which follows its metafile, reads its packets and writes its files; so
//! nothing of a call is shared. Threads are few, descriptors two or three for each stream and file.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use spool::{hold, names};

use crate::call::{Call, Shared};
use crate::metadata::{Change, is_file_name};
use crate::metafile_reader::MetafileReader;
use crate::packet_source::PacketSource;
use crate::resume::SavedState;
use crate::settings::Settings;

/// Period of what calls do regularly.
const TICK: Duration = Duration::from_millis(100);
/// Packets read from one stream before others have their turn.
const BURST: usize = 64;
/// Largest framed packet.
const MAX_PACKET: usize = 65_536 + 64;
/// Waits between attempts to open a stream that is not there yet.
const FIRST_RETRY: Duration = Duration::from_millis(20);
const MAX_RETRY: Duration = Duration::from_secs(1);
/// How long the end of file of a stream is waited for when its call is over.
const END_GRACE: Duration = Duration::from_secs(2);
/// The relay daemon keeps packets for a reader that comes late for so long.
const EXPOSURE_MEMORY: Duration = Duration::from_secs(10);
/// A relay daemon that ends a recording removes the metafile right behind the ends of the streams.
const ORDERLY_END: Duration = Duration::from_secs(3);
/// When nobody removes it and nobody writes packets any more.
const ABANDONED: Duration = Duration::from_secs(30);
/// The same while another media proxy works on the spool, which may still take the call over.
const ABANDONED_BESIDE_OTHERS: Duration = Duration::from_secs(300);
/// The wake-up descriptor among the keys.
const WAKE: u64 = 0;

/// What the spool watch tells a worker. Names are those of metafiles without `.meta`.
#[derive(Debug)]
pub enum Message {
    /// A metafile appeared or grew.
    Changed(String),
    /// A metafile is gone.
    Ended {
        /// The call.
        prefix: String,
        /// What becomes of the outputs.
        outputs: Outputs,
    },
    /// An earlier run left this.
    Interrupted(Box<SavedState>),
    /// Count that this worker is alive.
    Beat(Arc<AtomicUsize>),
    /// Complete everything and end.
    Stop,
}

/// What becomes of the outputs of a finished call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outputs {
    /// They are completed.
    Keep,
    /// They are removed.
    Discard,
}

/// A running worker.
#[derive(Debug)]
pub struct WorkerHandle {
    inbox: Sender<Message>,
    wake: Arc<EventFd>,
    thread: JoinHandle<()>,
}

impl WorkerHandle {
    /// Starts a worker.
    pub fn start(number: usize, settings: Arc<Settings>, shared: Shared) -> io::Result<Self> {
        // Not bounded: there are no more messages than events of the spool directory, which the kernel bounds.
        let (inbox, messages) = channel();
        let wake = Arc::new(EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?);
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&*wake, EpollEvent::new(EpollFlags::EPOLLIN, WAKE))?;
        let (own_wake, own_settings) = (Arc::clone(&wake), Arc::clone(&settings));
        let thread = settings.thread_stack.spawn(&format!("worker-{number}"), move || {
            Worker {
                settings: own_settings,
                shared,
                epoll,
                wake: own_wake,
                calls: HashMap::new(),
                keys: HashMap::new(),
                next_key: WAKE + 1,
                buf: vec![0; MAX_PACKET],
            }
            .run(&messages);
        })?;
        Ok(Self { inbox, wake, thread })
    }

    /// Tells the worker something.
    pub fn send(&self, message: Message) {
        if self.inbox.send(message).is_ok() {
            let _ = self.wake.write(1);
        }
    }

    /// Waits for the end of a worker that was told to stop.
    pub fn join(self) {
        if self.thread.join().is_err() {
            tracing::error!("A worker thread panicked");
        }
    }
}

struct Worker {
    settings: Arc<Settings>,
    shared: Shared,
    epoll: Epoll,
    wake: Arc<EventFd>,
    calls: HashMap<Rc<str>, Slot>,
    keys: HashMap<u64, (Rc<str>, u32)>,
    next_key: u64,
    buf: Vec<u8>,
}

struct Slot {
    call: Call,
    metafile: MetafileReader,
    streams: BTreeMap<u32, StreamSlot>,
    /// Set when the call is over and its streams are read to their ends.
    give_up_at: Option<Instant>,
    /// When the last of its streams came to its end.
    silent_since: Option<Instant>,
}

enum StreamSlot {
    Waiting { next_try: Instant, wait: Duration },
    Open { key: u64, source: PacketSource },
    Closed,
}

impl Worker {
    fn run(mut self, messages: &Receiver<Message>) {
        let mut events = vec![EpollEvent::empty(); self.settings.poller_events];
        let mut next_tick = Instant::now() + TICK;
        loop {
            let timeout = if self.calls.is_empty() {
                EpollTimeout::NONE
            } else {
                let wait = next_tick.saturating_duration_since(Instant::now());
                EpollTimeout::try_from(wait + Duration::from_millis(1)).unwrap_or(EpollTimeout::ZERO)
            };
            let ready = match self.epoll.wait(&mut events, timeout) {
                Ok(ready) => ready,
                Err(nix::errno::Errno::EINTR) => 0,
                Err(error) => {
                    tracing::error!("Waiting for packets failed: {error}");
                    std::thread::sleep(TICK);
                    0
                }
            };
            for event in events.iter().take(ready) {
                match event.data() {
                    WAKE => {
                        let _ = self.wake.read();
                    }
                    key => self.read_stream(key),
                }
            }
            loop {
                match messages.try_recv() {
                    Ok(Message::Stop) | Err(TryRecvError::Disconnected) => return self.stop(),
                    Ok(message) => self.handle(message),
                    Err(TryRecvError::Empty) => break,
                }
            }
            let now = Instant::now();
            if now >= next_tick {
                next_tick = now + TICK;
                self.tick(now);
            }
        }
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Changed(prefix) => self.read_metafile(&prefix, None),
            Message::Interrupted(state) => {
                let prefix = state.recording.prefix.clone();
                self.read_metafile(&prefix, Some(*state));
            }
            Message::Ended { prefix, outputs } => self.end(&prefix, outputs),
            Message::Beat(answers) => {
                answers.fetch_add(1, Relaxed);
            }
            Message::Stop => {}
        }
    }

    fn read_metafile(&mut self, prefix: &str, interrupted: Option<SavedState>) {
        if !self.calls.contains_key(prefix) {
            let path = names::metafile_path(&self.settings.spool_dir, prefix);
            let metafile = match MetafileReader::open(&path) {
                Ok(metafile) => metafile,
                Err(error) => return self.without_metafile(&path, &error, interrupted),
            };
            tracing::info!("New call for recording: '{prefix}.meta'");
            let is_new = interrupted.is_none();
            let mut call = Call::new(self.shared.clone(), prefix, Instant::now(), interrupted);
            if is_new && metafile.age() > EXPOSURE_MEMORY {
                call.add_fault("the call had been going on when the recording daemon was started");
            }
            let slot =
                Slot { call, metafile, streams: BTreeMap::new(), give_up_at: None, silent_since: None };
            self.calls.insert(prefix.into(), slot);
        }
        let now = Instant::now();
        let Some(Slot { call, metafile, streams, .. }) = self.calls.get_mut(prefix) else { return };
        let mut again = Vec::new();
        let result = metafile.read_new(|chunk| {
            if let Change::Interface(stream) = call.apply(chunk) {
                let slot = streams.entry(stream).or_insert(StreamSlot::Closed);
                match slot {
                    StreamSlot::Closed => *slot = StreamSlot::Waiting { next_try: now, wait: FIRST_RETRY },
                    StreamSlot::Open { .. } => again.push(stream),
                    StreamSlot::Waiting { .. } => {}
                }
            }
        });
        if let Err(error) = result {
            tracing::error!("Reading the metadata file of '{prefix}' failed: {error}");
        }
        again.into_iter().for_each(|stream| self.reopen_stream(prefix, stream, now));
        self.open_streams(prefix, now);
    }

    /// Another media proxy goes on with a stream: what the former one left comes first.
    fn reopen_stream(&mut self, prefix: &str, number: u32, now: Instant) {
        let Some(slot) = self.calls.get_mut(prefix) else { return };
        let Some(&StreamSlot::Open { key, .. }) = slot.streams.get(&number) else { return };
        slot.read(number, usize::MAX, &mut self.buf);
        slot.streams.insert(number, StreamSlot::Waiting { next_try: now, wait: FIRST_RETRY });
        self.keys.remove(&key);
    }

    fn without_metafile(&self, path: &Path, error: &io::Error, interrupted: Option<SavedState>) {
        match interrupted {
            Some(state) => Call::finish_interrupted(self.shared.clone(), state),
            None if error.kind() == io::ErrorKind::NotFound => {}
            None => tracing::error!("Cannot open the metadata file '{}': {error}", path.display()),
        }
    }

    /// Opens what is waiting and due.
    fn open_streams(&mut self, prefix: &str, now: Instant) {
        let Some((name, _)) = self.calls.get_key_value(prefix) else { return };
        let name = Rc::clone(name);
        let Some(slot) = self.calls.get_mut(prefix) else { return };
        let info = slot.call.info();
        if !is_file_name(&info.parent) {
            return;
        }
        for (&number, stream) in &mut slot.streams {
            let StreamSlot::Waiting { next_try, wait } = stream else { continue };
            let interface = info.streams.get(&number).and_then(|stream| stream.interface.as_deref());
            let Some(interface) = interface.filter(|_| *next_try <= now) else { continue };
            let opened = PacketSource::open(&self.settings, &info.parent, interface).and_then(|source| {
                self.epoll.add(&source, EpollEvent::new(EpollFlags::EPOLLIN, self.next_key))?;
                Ok(source)
            });
            match opened {
                Ok(source) => {
                    tracing::debug!("Reading packets of stream '{interface}'");
                    slot.silent_since = None;
                    self.keys.insert(self.next_key, (Rc::clone(&name), number));
                    *stream = StreamSlot::Open { key: self.next_key, source };
                    self.next_key += 1;
                }
                Err(error) => {
                    if *wait >= MAX_RETRY / 2 && *wait < MAX_RETRY {
                        tracing::warn!("Cannot open packets of stream '{interface}' yet: {error}");
                    }
                    *next_try = now + *wait;
                    *wait = (*wait * 2).min(MAX_RETRY);
                }
            }
        }
    }

    fn read_stream(&mut self, key: u64) {
        let Some((prefix, number)) = self.keys.get(&key).cloned() else { return };
        let Some(slot) = self.calls.get_mut(&prefix) else { return };
        slot.read(number, BURST, &mut self.buf);
        self.after_reading(&prefix, number, key);
    }

    /// Cleans up when a stream has ended, and the call when it was the last one of a call that is over.
    fn after_reading(&mut self, prefix: &str, number: u32, key: u64) {
        let Some(slot) = self.calls.get_mut(prefix) else { return };
        if !matches!(slot.streams.get(&number), Some(StreamSlot::Open { .. })) {
            self.keys.remove(&key);
        }
        if slot.is_drained() && slot.silent_since.is_none() {
            slot.silent_since = Some(Instant::now());
        }
        if slot.give_up_at.is_some() && slot.is_drained() {
            self.finish(prefix, Outputs::Keep);
        }
    }

    fn end(&mut self, prefix: &str, outputs: Outputs) {
        if outputs == Outputs::Discard {
            return self.finish(prefix, outputs);
        }
        // The file is gone from the directory, but what was written last can still be read.
        self.read_metafile(prefix, None);
        let Some(slot) = self.calls.get_mut(prefix) else { return };
        slot.drain(&mut self.buf);
        if slot.is_drained() {
            return self.finish(prefix, outputs);
        }
        slot.give_up_at = Some(Instant::now() + END_GRACE);
    }

    fn finish(&mut self, prefix: &str, outputs: Outputs) {
        let Some(slot) = self.calls.remove(prefix) else { return };
        for stream in slot.streams.values() {
            if let StreamSlot::Open { key, .. } = stream {
                self.keys.remove(key);
            }
        }
        slot.close(outputs);
    }

    fn tick(&mut self, now: Instant) {
        let mut retry = Vec::new();
        let mut over = Vec::new();
        let mut abandoned = Vec::new();
        let mut is_held = None;
        for (prefix, slot) in &mut self.calls {
            slot.call.tick(now);
            if slot.is_drained() {
                slot.silent_since.get_or_insert(now);
            }
            let silence = slot.silent_since.map_or(Duration::ZERO, |since| now - since);
            let mut is_held = || *is_held.get_or_insert_with(|| hold::is_held(&self.settings.spool_dir));
            // A media proxy of another kind holds nothing; a call of its own that has no streams yet is none of ours to end.
            let is_ours = || !slot.streams.is_empty() || self.settings.spool_dir.join("calls").is_dir();
            let is_abandoned = silence > ABANDONED
                && if is_held() {
                    silence > ABANDONED_BESIDE_OTHERS && !slot.streams.is_empty()
                } else {
                    is_ours()
                };
            if slot.give_up_at.is_some_and(|deadline| deadline <= now) {
                over.push(Rc::clone(prefix));
            } else if is_abandoned {
                abandoned.push(Rc::clone(prefix));
            } else if slot.streams.values().any(|stream| matches!(stream, StreamSlot::Waiting { .. })) {
                retry.push(Rc::clone(prefix));
            }
        }
        for prefix in retry {
            self.open_streams(&prefix, now);
        }
        for prefix in over {
            tracing::warn!("Streams of '{prefix}' have not ended, finishing it without the rest");
            self.finish(&prefix, Outputs::Keep);
        }
        for prefix in abandoned {
            tracing::warn!("The media proxy of '{prefix}' is gone, finishing its recording");
            self.finish(&prefix, Outputs::Keep);
            self.clear(&prefix);
        }
    }

    /// Removes what a dead media proxy left of a call, or it would be recorded again after the next start.
    fn clear(&self, prefix: &str) {
        if names::random_tag(prefix).is_none() || !is_file_name(prefix) {
            return;
        }
        let _ = std::fs::remove_dir_all(names::exposure_dir(&self.settings.spool_dir, prefix));
        let path = names::metafile_path(&self.settings.spool_dir, prefix);
        if let Err(error) = std::fs::remove_file(&path) {
            tracing::warn!("Cannot remove the metadata file '{}': {error}", path.display());
        }
    }

    fn stop(mut self) {
        for (_, mut slot) in std::mem::take(&mut self.calls) {
            slot.drain(&mut self.buf);
            if slot.give_up_at.is_none() {
                slot.call.add_fault("the recording daemon was stopped while the call went on");
            }
            slot.close(Outputs::Keep);
        }
    }
}

impl Slot {
    /// Reads up to `most` packets of a stream.
    fn read(&mut self, number: u32, most: usize, buf: &mut [u8]) {
        let Some(stream) = self.streams.get_mut(&number) else { return };
        for _ in 0..most {
            let StreamSlot::Open { source, .. } = stream else { return };
            match source.receive(buf) {
                Ok(0) => *stream = StreamSlot::Closed,
                Ok(length) => {
                    self.call.packet(number, buf.get(..length).unwrap_or_default(), Instant::now());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    tracing::error!("Reading packets of stream {number} failed: {error}");
                    *stream = StreamSlot::Closed;
                }
            }
        }
    }

    /// Reads what is there of all streams.
    fn drain(&mut self, buf: &mut [u8]) {
        let open: Vec<u32> = self.streams.keys().copied().collect();
        for number in open {
            self.read(number, usize::MAX, buf);
        }
    }

    /// The recording is over. One whose streams had ended long before ended then: its relay daemon died.
    fn close(mut self, outputs: Outputs) {
        let now = Instant::now();
        let ended = self.call.ended_at(now);
        let died =
            self.silent_since.filter(|since| ended.is_none() && now.duration_since(*since) > ORDERLY_END);
        if died.is_some() {
            self.call.add_fault("the media proxy died during the call");
        }
        match outputs {
            Outputs::Keep => self.call.finish(died.or(ended).unwrap_or(now)),
            Outputs::Discard => self.call.discard(),
        }
    }

    fn is_drained(&self) -> bool {
        !self.streams.values().any(|stream| matches!(stream, StreamSlot::Open { .. }))
    }
}
