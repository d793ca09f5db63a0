//! Follows one metafile: reads what was appended, chunk by chunk, and remembers how far it got.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::Duration;

use spool::metafile::{self, Chunk, Parsed};

/// Read at a time.
const STEP: usize = 64 * 1024;

/// An open metafile. It stays readable when the file is unlinked.
#[derive(Debug)]
pub struct MetafileReader {
    file: File,
    damaged: bool,
}

impl MetafileReader {
    /// Opens a metafile at its beginning.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { file: File::open(path)?, damaged: false })
    }

    /// How long ago the file was made; nothing when the file system does not know.
    pub fn age(&self) -> Duration {
        let made = self.file.metadata().and_then(|metadata| metadata.created());
        made.ok().and_then(|made| made.elapsed().ok()).unwrap_or_default()
    }

    /// Hands out every chunk that became complete. An incomplete one is read again next time, since the writer may cut it
    /// off and begin anew. Stops for good at a chunk that is broken; one with NUL octets is skipped together with all
    /// that was read so far.
    pub fn read_new(&mut self, mut take: impl FnMut(Chunk<'_>)) -> io::Result<()> {
        let mut rest = Vec::new();
        let mut step = vec![0; STEP];
        while !self.damaged {
            let got = match self.file.read(&mut step) {
                Ok(0) => break,
                Ok(got) => got,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            rest.extend_from_slice(step.get(..got).unwrap_or_default());
            let done = self.take_chunks(&rest, &mut take);
            rest.drain(..done);
        }
        let unread = i64::try_from(rest.len()).unwrap_or(i64::MAX);
        self.file.seek(SeekFrom::Current(-unread)).map(|_| ())
    }

    /// Gives how many octets are done with.
    fn take_chunks(&mut self, octets: &[u8], take: &mut impl FnMut(Chunk<'_>)) -> usize {
        let mut done = 0;
        loop {
            let rest = octets.get(done..).unwrap_or_default();
            match metafile::parse(rest) {
                Parsed::Chunk(chunk, length) => {
                    take(chunk);
                    done += length;
                }
                Parsed::Incomplete => return done,
                Parsed::Broken if rest.contains(&0) => {
                    tracing::warn!("NUL character in metadata file, skipping what was read so far");
                    return octets.len();
                }
                Parsed::Broken => {
                    tracing::warn!("Invalid chunk in metadata file, the rest of the file is ignored");
                    self.damaged = true;
                    return octets.len();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    fn labels(reader: &mut MetafileReader) -> Vec<String> {
        let mut labels = Vec::new();
        reader.read_new(|chunk| labels.push(chunk.label.to_owned())).expect("read");
        labels
    }

    fn append(path: &Path, octets: &[u8]) {
        let mut file = OpenOptions::new().append(true).create(true).open(path).expect("open");
        file.write_all(octets).expect("write");
    }

    #[test]
    fn chunks_come_once_and_only_when_complete_also_after_unlinking() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("x.meta");
        append(&path, b"CALL-ID\n1:\na\n\nPARENT\n5:\nab");
        let mut reader = MetafileReader::open(&path).expect("open");
        assert_eq!(labels(&mut reader), ["CALL-ID"]);
        assert!(labels(&mut reader).is_empty());
        let whole = OpenOptions::new().write(true).open(&path).expect("open");
        whole.set_len(14).expect("cut the incomplete chunk off");
        append(&path, b"PARENT\n5:\nabcde\n\nSTARTED\n0:\n\n\n");
        std::fs::remove_file(&path).expect("unlink");
        assert_eq!(labels(&mut reader), ["PARENT", "STARTED"]);
    }

    #[test]
    fn damage_stops_the_reader_and_nul_octets_are_skipped() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("x.meta");
        append(&path, b"CALL-ID\n1:\n\0\n\n");
        let mut reader = MetafileReader::open(&path).expect("open");
        assert!(labels(&mut reader).is_empty());
        append(&path, b"STARTED\n0:\n\n\n");
        assert_eq!(labels(&mut reader), ["STARTED"]);
        append(&path, b"TAG 0\nx:\n");
        append(&path, b"TAG 1\n0:\n\n\n");
        assert!(labels(&mut reader).is_empty());
    }

    proptest! {
        #[test]
        fn the_way_a_file_grows_does_not_matter(cuts in proptest::collection::vec(1usize..40, 0..20)) {
            let directory = tempfile::tempdir().expect("temporary directory");
            let path = directory.path().join("x.meta");
            let mut octets = Vec::new();
            for n in 0..10 {
                metafile::append(&mut octets, &format!("TAG {n}"), "x\n\n".repeat(n).as_bytes());
            }
            append(&path, b"");
            let mut reader = MetafileReader::open(&path).expect("open");
            let (mut seen, mut rest) = (Vec::new(), &octets[..]);
            for cut in cuts {
                let (now, later) = rest.split_at(cut.min(rest.len()));
                append(&path, now);
                seen.extend(labels(&mut reader));
                rest = later;
            }
            append(&path, rest);
            seen.extend(labels(&mut reader));
            prop_assert_eq!(seen, (0..10).map(|n| format!("TAG {n}")).collect::<Vec<_>>());
        }
    }
}
