//! What an audio file is kept in: a file, or memory that can still become one.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Octets that can be written at any place.
#[derive(Debug)]
pub enum Medium {
    /// A file, open for reading and writing.
    File(File),
    /// Memory.
    Memory(Vec<u8>),
}

impl Medium {
    /// Writes at a place; what lies between the end and that place becomes zeros.
    pub fn write_all_at(&mut self, octets: &[u8], offset: u64) -> io::Result<()> {
        match self {
            Medium::File(file) => file.write_all_at(octets, offset),
            Medium::Memory(memory) => {
                let from = usize::try_from(offset).map_err(io::Error::other)?;
                let to = from.checked_add(octets.len()).ok_or(io::ErrorKind::OutOfMemory)?;
                if memory.len() < to {
                    memory.resize(to, 0);
                }
                if let Some(place) = memory.get_mut(from..to) {
                    place.copy_from_slice(octets);
                }
                Ok(())
            }
        }
    }

    /// Fills the buffer from a place on.
    pub fn read_exact_at(&self, octets: &mut [u8], offset: u64) -> io::Result<()> {
        match self {
            Medium::File(file) => file.read_exact_at(octets, offset),
            Medium::Memory(memory) => {
                let from = usize::try_from(offset).map_err(io::Error::other)?;
                let found = memory.get(from..from.saturating_add(octets.len()));
                octets.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
                Ok(())
            }
        }
    }

    /// Everything.
    pub fn read_all(&self) -> io::Result<Vec<u8>> {
        let length = usize::try_from(self.octets()?).map_err(io::Error::other)?;
        let mut all = vec![0; length];
        self.read_exact_at(&mut all, 0)?;
        Ok(all)
    }

    /// Makes it as long as told, with zeros.
    pub fn set_len(&mut self, octets: u64) -> io::Result<()> {
        match self {
            Medium::File(file) => file.set_len(octets),
            Medium::Memory(memory) => {
                memory.resize(usize::try_from(octets).map_err(io::Error::other)?, 0);
                Ok(())
            }
        }
    }

    /// Length.
    pub fn octets(&self) -> io::Result<u64> {
        match self {
            Medium::File(file) => Ok(file.metadata()?.len()),
            Medium::Memory(memory) => Ok(memory.len() as u64),
        }
    }

    /// Moves what is in memory into a file. Nothing changes when that fails.
    pub fn move_to(&mut self, file: File) -> io::Result<()> {
        if let Medium::Memory(memory) = self {
            file.write_all_at(memory, 0)?;
        }
        *self = Medium::File(file);
        Ok(())
    }
}

impl From<File> for Medium {
    fn from(file: File) -> Self {
        Medium::File(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_behaves_like_a_file() {
        let file = || Medium::File(tempfile::tempfile().expect("temporary file"));
        for mut medium in [file(), Medium::Memory(Vec::new())] {
            medium.write_all_at(b"cd", 2).expect("write");
            medium.write_all_at(b"a", 0).expect("write");
            assert_eq!(medium.read_all().expect("read"), b"a\0cd");
            medium.set_len(5).expect("length");
            assert_eq!(medium.octets().expect("length"), 5);
            medium.set_len(3).expect("length");
            assert!(medium.read_exact_at(&mut [0; 4], 0).is_err());
            medium.move_to(tempfile::tempfile().expect("temporary file")).expect("move");
            assert!(matches!(medium, Medium::File(_)));
            assert_eq!(medium.octets().expect("length") % 3, 0);
        }
    }
}
