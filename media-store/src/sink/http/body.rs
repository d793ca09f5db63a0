//! Bodies that are made of pieces in memory and files, and read while they are sent.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::task::JoinHandle;

/// Read from a file at a time.
const STEP: usize = 256 * 1024;

/// A part of a body.
#[derive(Clone, Debug)]
pub enum Piece {
    /// In memory.
    Memory(Bytes),
    /// A part of a file.
    File {
        /// Which.
        path: PathBuf,
        /// Where it begins.
        offset: u64,
        /// How many.
        octets: u64,
    },
}

/// Everything that is sent.
#[derive(Clone, Debug, Default)]
pub struct Body {
    /// In order.
    pub pieces: Vec<Piece>,
}

impl Body {
    /// Length.
    pub fn octets(&self) -> u64 {
        let length = |piece: &Piece| match piece {
            Piece::Memory(octets) => octets.len() as u64,
            Piece::File { octets, .. } => *octets,
        };
        self.pieces.iter().map(length).sum()
    }

    pub(super) fn stream(self) -> Stream {
        let left = self.octets();
        let mut pieces = self.pieces;
        pieces.reverse();
        Stream { pieces, file: None, reading: None, left }
    }
}

impl From<Vec<u8>> for Body {
    fn from(octets: Vec<u8>) -> Self {
        Self { pieces: vec![Piece::Memory(octets.into())] }
    }
}

/// A body being sent. Files are read on threads for blocking work.
pub(super) struct Stream {
    /// Last first.
    pieces: Vec<Piece>,
    file: Option<OpenPiece>,
    reading: Option<JoinHandle<io::Result<(OpenPiece, Bytes)>>>,
    left: u64,
}

struct OpenPiece {
    file: File,
    offset: u64,
    end: u64,
}

impl OpenPiece {
    fn read(mut self) -> io::Result<(Self, Bytes)> {
        let length = (self.end - self.offset).min(STEP as u64);
        let mut octets = vec![0; length as usize];
        self.file.read_exact_at(&mut octets, self.offset)?;
        self.offset += length;
        Ok((self, octets.into()))
    }
}

impl hyper::body::Body for Stream {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        loop {
            if let Some(reading) = &mut self.reading {
                let result = match Pin::new(reading).poll(context) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(result)) => result,
                    Poll::Ready(Err(error)) => Err(io::Error::other(error)),
                };
                self.reading = None;
                let (file, octets) = result?;
                self.file = Some(file).filter(|file| file.offset < file.end);
                self.left -= octets.len() as u64;
                return Poll::Ready(Some(Ok(Frame::data(octets))));
            }
            if let Some(file) = self.file.take() {
                self.reading = Some(tokio::task::spawn_blocking(move || file.read()));
                continue;
            }
            match self.pieces.pop() {
                None => return Poll::Ready(None),
                Some(Piece::Memory(octets)) => {
                    self.left -= octets.len() as u64;
                    return Poll::Ready(Some(Ok(Frame::data(octets))));
                }
                Some(Piece::File { octets: 0, .. }) => {}
                Some(Piece::File { path, offset, octets }) => {
                    self.reading = Some(tokio::task::spawn_blocking(move || {
                        OpenPiece { file: File::open(path)?, offset, end: offset + octets }.read()
                    }));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0 && self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
