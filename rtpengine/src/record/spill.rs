//! Packets of one stream that wait on disk, because their reader has been away for longer than memory lasts. The file is opened for each
//! piece that is written or read, so that a thousand streams without a reader need no descriptors.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use spool::spill::{self, HEADER, Header, Parsed};

use super::queue::Waiting;
use super::stats::Shared;
use super::sys;

/// Octets that are read at once: about a second of a telephone call, since that is what could come twice if this process died.
const STEP: u64 = 12 << 10;

/// A file with packets that nobody has read.
#[derive(Debug)]
pub(super) struct Spill {
    path: PathBuf,
    header: Header,
}

impl Spill {
    /// Where packets of a stream wait.
    pub fn path(directory: &Path, stream_name: &str) -> PathBuf {
        directory.join(format!("{stream_name}.spill"))
    }

    /// What an earlier process left there.
    pub fn adopt(path: PathBuf, shared: &Shared) -> Option<Self> {
        let file = File::open(&path).ok()?;
        let mut octets = [0; HEADER];
        let header = file.read_exact_at(&mut octets, 0).ok().and_then(|()| Header::parse(&octets));
        let length = file.metadata().map_or(0, |metadata| metadata.len());
        let Some(header) = header.filter(|header| header.end <= length && header.unread > 0) else {
            super::remove_file(&path);
            return None;
        };
        shared.spilled_octets.fetch_add(header.end, Relaxed);
        Some(Self { path, header })
    }

    /// Puts packets behind those that are there; makes the file when there is none. On failure nothing has changed.
    pub fn append<'a>(
        spill: &mut Option<Self>,
        path: &Path,
        packets: impl Iterator<Item = &'a Waiting> + Clone,
        shared: &Shared,
    ) -> io::Result<()> {
        let octets: usize = packets.clone().map(|packet| spill::octets(&packet.octets)).sum();
        shared.may_spill(path, (octets + HEADER) as u64)?;
        Self::write(spill, path, packets, shared)
    }

    /// The same without asking whether it may be.
    fn write<'a>(
        spill: &mut Option<Self>,
        path: &Path,
        packets: impl Iterator<Item = &'a Waiting>,
        shared: &Shared,
    ) -> io::Result<()> {
        let before = spill.as_ref().map_or_else(Header::default, |spill| spill.header);
        let (mut octets, mut count) = (Vec::new(), 0);
        for packet in packets {
            spill::append(&mut octets, &packet.octets);
            count += 1;
        }
        let more = octets.len() as u64 + if spill.is_none() { HEADER as u64 } else { 0 };
        let file =
            OpenOptions::new().write(true).create(true).truncate(spill.is_none()).mode(0o600).open(path)?;
        let header =
            Header { end: before.end + octets.len() as u64, unread: before.unread + count, ..before };
        // A process that dies in between leaves the header that is true without these packets.
        let written =
            file.write_all_at(&octets, before.end).and_then(|()| file.write_all_at(&header.to_octets(), 0));
        if let Err(error) = written {
            let _ = file.set_len(before.end);
            match spill {
                Some(_) => {
                    let _ = file.write_all_at(&before.to_octets(), 0);
                }
                None => super::remove_file(path),
            }
            return Err(error);
        }
        shared.spilled_octets.fetch_add(more, Relaxed);
        shared.spilled_packets.fetch_add(count, Relaxed);
        *spill = Some(Self { path: path.to_owned(), header });
        Ok(())
    }

    /// Packets that wait here.
    pub fn unread(&self) -> u64 {
        self.header.unread
    }

    /// The oldest packets, some at a time; empty when there are no more, and the file can be removed.
    pub fn read(&mut self) -> io::Result<Vec<Waiting>> {
        if self.header.read >= self.header.end {
            return Ok(Vec::new());
        }
        let file = OpenOptions::new().read(true).write(true).open(&self.path)?;
        let left = self.header.end - self.header.read;
        let mut octets = vec![0; left.min(STEP) as usize];
        file.read_exact_at(&mut octets, self.header.read)?;
        if let Parsed::Incomplete(needed) = spill::parse(&octets) {
            if needed as u64 > left {
                return Err(io::ErrorKind::InvalidData.into());
            }
            octets = vec![0; needed];
            file.read_exact_at(&mut octets, self.header.read)?;
        }
        let (mut packets, mut rest) = (Vec::new(), octets.as_slice());
        while let Parsed::Packet(packet, length) = spill::parse(rest) {
            packets.push(Waiting { arrived: Instant::now(), octets: packet.into() });
            rest = rest.get(length..).unwrap_or_default();
        }
        if packets.is_empty() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.header.read += (octets.len() - rest.len()) as u64;
        self.header.unread = self.header.unread.saturating_sub(packets.len() as u64);
        if self.header.read >= self.header.end {
            self.header.unread = 0;
        }
        file.write_all_at(&self.header.to_octets(), 0)?;
        Ok(packets)
    }

    /// Removes the file. Returns how many packets were in it.
    pub fn remove(self, shared: &Shared) -> u64 {
        shared.spilled_octets.fetch_sub(self.header.end, Relaxed);
        super::remove_file(&self.path);
        self.header.unread
    }

    /// Leaves everything that was not read to another process: `first`, what is in the file, `last`.
    pub fn leave<'a>(
        mut spill: Option<Self>,
        path: &Path,
        first: impl Iterator<Item = &'a Waiting>,
        last: impl Iterator<Item = &'a Waiting>,
        shared: &Shared,
    ) -> io::Result<()> {
        let (mut first, mut last) = (first.peekable(), last.peekable());
        if first.peek().is_some() {
            let new = path.with_extension("spill-new");
            let mut whole = None;
            Self::write(&mut whole, &new, first, shared)?;
            if let Some(mut old) = spill.take() {
                loop {
                    let some = old.read()?;
                    if some.is_empty() {
                        break;
                    }
                    Self::write(&mut whole, &new, some.iter(), shared)?;
                }
                shared.spilled_octets.fetch_sub(old.header.end, Relaxed);
            }
            std::fs::rename(new, path)?;
            spill = whole;
        }
        if last.peek().is_some() {
            Self::write(&mut spill, path, last, shared)?;
        }
        // Somebody else's from now on.
        shared.spilled_octets.fetch_sub(spill.map_or(0, |spill| spill.header.end), Relaxed);
        Ok(())
    }
}

impl Shared {
    /// Whether so many octets more may be kept on disk: within what was configured, and without filling the disk, which others need, too.
    fn may_spill(&self, path: &Path, more: u64) -> io::Result<()> {
        let used = self.spilled_octets.load(Relaxed);
        if used.saturating_add(more) > self.spill_limit.load(Relaxed) {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        let (free, size) = sys::disk_space(path.parent().unwrap_or(path))?;
        if free.saturating_sub(more) < size / RESERVE {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

/// The part of the disk that is left to others.
const RESERVE: u64 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn packets(numbers: std::ops::Range<u32>) -> Vec<Waiting> {
        let packet = |number: u32| {
            let mut octets = vec![0; 200];
            octets[..4].copy_from_slice(&number.to_le_bytes());
            Waiting { arrived: Instant::now(), octets: octets.into() }
        };
        numbers.map(packet).collect()
    }

    fn numbers(packets: &[Waiting]) -> Vec<u32> {
        packets.iter().map(|p| u32::from_le_bytes(p.octets[..4].try_into().expect("four octets"))).collect()
    }

    fn drain(spill: &mut Spill) -> Vec<u32> {
        let mut all = Vec::new();
        loop {
            let some = spill.read().expect("read");
            if some.is_empty() {
                return all;
            }
            assert!(some.len() <= 64, "few at a time: {}", some.len());
            all.extend(numbers(&some));
        }
    }

    struct Fixture {
        directory: tempfile::TempDir,
        shared: Shared,
        spill: Option<Spill>,
    }

    impl Fixture {
        fn new() -> Self {
            let shared = Shared::default();
            shared.spill_limit.store(1 << 30, Relaxed);
            Self { directory: tempfile::tempdir().expect("temporary directory"), shared, spill: None }
        }

        fn path(&self) -> PathBuf {
            Spill::path(self.directory.path(), "s")
        }

        fn append(&mut self, numbers: std::ops::Range<u32>) -> io::Result<()> {
            let path = self.path();
            Spill::append(&mut self.spill, &path, packets(numbers).iter(), &self.shared)
        }
    }

    #[test]
    fn packets_come_back_in_order_also_to_another_process() {
        let mut fixture = Fixture::new();
        fixture.append(0..500).expect("append");
        let mut spill = fixture.spill.take().expect("a file");
        let begun = numbers(&spill.read().expect("read"));
        fixture.spill = Some(spill);
        fixture.append(500..1000).expect("append");
        assert_eq!(fixture.spill.as_ref().map(Spill::unread), Some(1000 - begun.len() as u64));
        // What was written after the header was, in a process that died.
        let octets = std::fs::read(fixture.path()).expect("file");
        std::fs::write(fixture.path(), [&octets[..], &[9; 30]].concat()).expect("file");
        let mut adopted = Spill::adopt(fixture.path(), &fixture.shared).expect("adopted");
        assert_eq!([begun, drain(&mut adopted)].concat(), (0..1000).collect::<Vec<_>>());
        assert_eq!(adopted.remove(&fixture.shared), 0);
        assert!(!fixture.path().exists());
        assert!(Spill::adopt(fixture.path(), &fixture.shared).is_none());
    }

    #[test]
    fn everything_is_left_in_order() {
        for with_file in [false, true] {
            for with_first in [false, true] {
                let mut fixture = Fixture::new();
                if with_file {
                    fixture.append(10..300).expect("append");
                }
                let first = packets(0..if with_first { 10 } else { 0 });
                let last = packets(300..310);
                let spill = fixture.spill.take();
                Spill::leave(spill, &fixture.path(), first.iter(), last.iter(), &fixture.shared)
                    .expect("left");
                let mut adopted = Spill::adopt(fixture.path(), &fixture.shared).expect("adopted");
                let mut expected = numbers(&first);
                expected.extend(if with_file { 10..300 } else { 0..0 });
                expected.extend(300..310);
                assert_eq!(drain(&mut adopted), expected);
            }
        }
    }

    #[test]
    fn the_configured_size_is_not_exceeded() {
        let mut fixture = Fixture::new();
        fixture.shared.spill_limit.store(30_000, Relaxed);
        fixture.append(0..100).expect("append");
        assert!(fixture.append(100..200).is_err());
        fixture.append(100..110).expect("there is some room");
        let mut spill = fixture.spill.take().expect("a file");
        assert_eq!(drain(&mut spill), (0..110).collect::<Vec<_>>());
        spill.remove(&fixture.shared);
        assert_eq!(fixture.shared.spilled_octets.load(Relaxed), 0);
        fixture.append(0..100).expect("there is room again");
    }

    #[test]
    fn what_is_no_such_file_is_removed() {
        let fixture = Fixture::new();
        for octets in [&b"x"[..], b"RTpSpil1aaaaaaaabbbbbbbbcccccccc"] {
            std::fs::write(fixture.path(), octets).expect("file");
            assert!(Spill::adopt(fixture.path(), &fixture.shared).is_none());
            assert!(!fixture.path().exists());
        }
    }
}
