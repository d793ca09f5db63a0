//! One exposed stream: its listening socket, its reader, and the packets in between.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use spool::{exposure, framing};

use super::queue::{PacketQueue, Waiting};
use super::spill::Spill;
use super::stats::Shared;
use super::sys::{self, Poller};
use crate::media::tap::TapRecord;

pub(super) struct ExposedStream {
    name: String,
    listener: OwnedFd,
    reader: Option<OwnedFd>,
    queue: PacketQueue,
    /// Packets that the kernel may still hold for the reader, oldest first. They go back to the queue when the reader
    /// vanishes.
    in_flight: VecDeque<Waiting>,
    /// Set while the kernel's queue is full.
    retry_at: Option<Instant>,
}

/// Asked of the kernel, which doubles it: the queue of a connected reader. Short, so that little is repeated when a
/// reader dies.
const SEND_BUFFER: usize = 32 << 10;
/// The least that the kernel accounts for a packet in a socket's queue (two structures and the data, rounded up).
const MIN_ACCOUNTED: usize = 512;
/// Never keep more than this for repetition, whatever the kernel says.
const MAX_IN_FLIGHT: usize = 256;
/// When to try again after the kernel's queue was full.
const RETRY_INTERVAL: Duration = Duration::from_millis(20);

impl ExposedStream {
    /// Starts to listen. `key` is what the poller reports when a reader connects.
    pub fn listen(
        directory: &Path,
        name: String,
        poller: &Poller,
        key: u64,
        shared: &Shared,
    ) -> io::Result<Self> {
        let listener = exposure::listen(directory, &name)?;
        poller.watch(&listener, key)?;
        let queue = PacketQueue::with_spill(Spill::path(directory, &name), shared);
        Ok(Self { name, listener, reader: None, queue, in_flight: VecDeque::new(), retry_at: None })
    }

    /// Queues a packet for the reader.
    pub fn push(&mut self, record: &TapRecord<'_>, now: Instant, shared: &Shared) {
        let mut header = [0; framing::MAX_HEADER];
        let len = framing::write_header(&mut header, record.source, record.destination, record.payload.len());
        let mut octets = Vec::with_capacity(len + record.payload.len() + framing::STAMP);
        octets.extend_from_slice(&header[..len]);
        octets.extend_from_slice(record.payload);
        octets.extend_from_slice(&framing::stamp(record.time_us));
        self.queue.push(Waiting { arrived: now, octets: octets.into() }, shared);
    }

    /// Takes the newest of the readers that wait for a connection.
    pub fn accept(&mut self, shared: &Shared) {
        loop {
            match exposure::accept(&self.listener) {
                Ok(Some(reader)) => {
                    self.lose_reader(shared);
                    if let Err(error) = socket2::SockRef::from(&reader).set_send_buffer_size(SEND_BUFFER) {
                        tracing::debug!(%error, stream = self.name, "cannot shorten the reader's queue");
                    }
                    self.reader = Some(reader);
                }
                Ok(None) => return,
                Err(error) => {
                    tracing::debug!(%error, stream = self.name, "cannot accept a reader");
                    return;
                }
            }
        }
    }

    /// Hands the reader what it takes; never waits.
    pub fn pump(&mut self, now: Instant, shared: &Shared) {
        if self.queue.is_empty() || self.retry_at.is_some_and(|at| now < at) {
            return;
        }
        self.retry_at = None;
        let Some(reader) = &self.reader else {
            self.queue.trim(now, shared);
            return;
        };
        // Measured before sending: had the reader vanished by then, sending would fail.
        let mut keep = sys::unreceived(reader) / MIN_ACCOUNTED;
        let mut sent = 0;
        let result = loop {
            let Some(packet) = self.queue.front(shared) else { break Ok(()) };
            match exposure::send(reader, [&packet.octets, &[]]) {
                Ok(()) => {
                    while self.in_flight.len() > keep.min(MAX_IN_FLIGHT) {
                        self.in_flight.pop_front();
                    }
                    self.in_flight.extend(self.queue.pop(shared));
                    keep += 1;
                    sent += 1;
                }
                Err(error) => break Err(error),
            }
        };
        shared.exposed_packets.fetch_add(sent, Relaxed);
        match result {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.retry_at = Some(now + RETRY_INTERVAL);
            }
            Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => {
                // Longer than the whole queue of the kernel; no packet of a real link is.
                self.queue.pop(shared);
                shared.exposed_lost.fetch_add(1, Relaxed);
            }
            Err(error) => {
                tracing::debug!(%error, stream = self.name, "reader of recorded packets is gone");
                self.lose_reader(shared);
            }
        }
    }

    pub fn is_drained(&self) -> bool {
        self.queue.is_empty()
    }

    /// Lets what waits in memory wait on disk; `false` when that is not possible.
    pub fn move_to_disk(&mut self, now: Instant, shared: &Shared) -> bool {
        self.queue.move_all_to_disk(now, shared)
    }

    /// End of file for the reader, who finds the rest when another process listens. Returns the packets that had no place.
    pub fn leave(mut self, now: Instant, shared: &Shared) -> u64 {
        self.accept(shared);
        self.pump(now, shared);
        self.queue.leave(shared)
    }

    /// End of file for the reader. Returns the packets that never found one.
    pub fn close(mut self, directory: &Path, now: Instant, shared: &Shared) -> u64 {
        // A reader that is not yet accepted would get an error instead of the end of file.
        self.accept(shared);
        self.pump(now, shared);
        let left = self.queue.clear(shared);
        shared.exposed_lost.fetch_add(left, Relaxed);
        super::remove_file(&directory.join(&self.name));
        self.queue.lost() + left
    }

    fn lose_reader(&mut self, shared: &Shared) {
        self.reader = None;
        self.retry_at = None;
        while let Some(packet) = self.in_flight.pop_back() {
            self.queue.put_back(packet, shared);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use super::*;
    use crate::media::tap::TapDirection;

    struct Fixture {
        directory: tempfile::TempDir,
        shared: Shared,
        stream: ExposedStream,
        now: Instant,
        sent: u32,
    }

    impl Fixture {
        fn new() -> Self {
            let directory = tempfile::tempdir().expect("temporary directory");
            let poller = Poller::new().expect("epoll");
            let shared = Shared::default();
            let stream =
                ExposedStream::listen(directory.path(), "s".into(), &poller, 1, &shared).expect("listen");
            Self { directory, shared, stream, now: Instant::now(), sent: 0 }
        }

        fn connect(&mut self) -> OwnedFd {
            let reader = exposure::connect(self.directory.path(), "s").expect("connect");
            self.stream.accept(&self.shared);
            reader
        }

        fn push(&mut self, count: u32) {
            for _ in 0..count {
                let mut payload = [0; 172];
                payload[..4].copy_from_slice(&self.sent.to_be_bytes());
                self.sent += 1;
                let record = TapRecord {
                    recording: 1,
                    stream: 1,
                    direction: TapDirection::Ingress,
                    time_us: 0,
                    source: "127.0.0.1:1000".parse().expect("address"),
                    destination: "127.0.0.1:2000".parse().expect("address"),
                    payload: &payload,
                };
                self.stream.push(&record, self.now, &self.shared);
            }
        }

        fn pump(&mut self) {
            self.now += RETRY_INTERVAL;
            self.stream.pump(self.now, &self.shared);
        }
    }

    /// Numbers of the packets that a reader finds, and whether it came to the end of the file.
    fn read(reader: &OwnedFd, most: usize) -> (Vec<u32>, bool) {
        let (mut numbers, mut buf) = (Vec::new(), [0; 2048]);
        while numbers.len() < most {
            match exposure::receive(reader, &mut buf) {
                Ok(0) => return (numbers, true),
                Ok(len) => {
                    let packet = framing::parse(&buf[..len]).expect("a framed packet");
                    let number = packet.payload[..4].try_into().expect("four octets");
                    numbers.push(u32::from_be_bytes(number));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        (numbers, false)
    }

    #[test]
    fn packets_before_the_reader_are_kept_for_it() {
        let mut fixture = Fixture::new();
        fixture.push(5);
        fixture.pump();
        let reader = fixture.connect();
        fixture.pump();
        fixture.push(1);
        fixture.pump();
        assert_eq!(read(&reader, 100), ((0..6).collect(), false));
        let directory = fixture.directory.path().to_owned();
        assert_eq!(fixture.stream.close(&directory, fixture.now, &fixture.shared), 0);
        assert_eq!(read(&reader, 100), (Vec::new(), true));
        assert!(!directory.join("s").exists());
        assert_eq!(fixture.shared.snapshot().exposed_packets, 6);
    }

    #[test]
    fn slow_reader_gets_everything_in_order() {
        let mut fixture = Fixture::new();
        let reader = fixture.connect();
        fixture.push(1000);
        let mut got = Vec::new();
        while got.len() < 1000 {
            fixture.pump();
            let before = got.len();
            got.extend(read(&reader, 7).0);
            assert!(got.len() > before, "stuck after {before}");
        }
        assert_eq!(got, (0..1000).collect::<Vec<_>>());
        assert!(fixture.stream.is_drained());
    }

    #[test]
    fn the_kernel_holds_less_than_two_seconds_of_telephone_packets() {
        let mut fixture = Fixture::new();
        let reader = fixture.connect();
        fixture.push(1000);
        fixture.pump();
        let (got, _) = read(&reader, 1000);
        assert!((10..=100).contains(&got.len()), "{}", got.len());
    }

    #[test]
    fn restarted_reader_gets_what_the_dead_one_had_not_received() {
        let mut fixture = Fixture::new();
        let first = fixture.connect();
        fixture.push(200);
        fixture.pump();
        let (mut got, _) = read(&first, 20);
        fixture.pump();
        got.extend(read(&first, 5).0);
        drop(first);
        fixture.push(10);
        fixture.pump();
        let second = fixture.connect();
        while got.last() != Some(&209) {
            fixture.pump();
            let (more, _) = read(&second, 1000);
            assert!(!more.is_empty(), "stuck after {:?}", got.last());
            got.extend(more);
        }
        let in_order = got[25..].windows(2).all(|pair| pair[1] == pair[0] + 1);
        assert!(in_order, "second reader sees a gap: {got:?}");
        assert!(got[25] <= 25, "lost between the readers: {} … {}", got[24], got[25]);
    }

    #[test]
    fn a_reader_that_had_received_all_is_not_repeated_from_the_start() {
        let mut fixture = Fixture::new();
        let first = fixture.connect();
        for _ in 0..50 {
            fixture.push(1);
            fixture.pump();
            read(&first, 10);
        }
        drop(first);
        let second = fixture.connect();
        fixture.push(1);
        fixture.pump();
        let (got, _) = read(&second, 100);
        assert!(got.len() <= 3, "{got:?}");
        assert_eq!(got.last(), Some(&50));
    }
}
