//! Lines of text from a connection.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, timeout_at};

/// Cuts what arrives into lines of bounded length.
#[derive(Debug)]
pub struct LineReader {
    limit: usize,
    received: Vec<u8>,
}

impl LineReader {
    /// For lines of at most `limit` octets.
    pub fn new(limit: usize) -> Self {
        Self { limit, received: Vec::with_capacity(limit + 1) }
    }

    /// The next line without its end (LF or CR LF); `None` at the end of the connection or of time.
    ///
    /// # Errors
    /// `InvalidData`: the line is too long. Whatever reading fails with.
    pub async fn next(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        deadline: Instant,
    ) -> io::Result<Option<String>> {
        loop {
            if let Some(end) = self.received.iter().position(|&octet| octet == b'\n') {
                let line: Vec<u8> = self.received.drain(..=end).collect();
                return Ok(Some(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned()));
            }
            if self.received.len() > self.limit {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let room = (self.limit + 1).saturating_sub(self.received.len()) as u64;
            match timeout_at(deadline, (&mut *stream).take(room).read_buf(&mut self.received)).await {
                Ok(Ok(0)) | Err(_) => return Ok(None),
                Ok(read) => read?,
            };
        }
    }
}
