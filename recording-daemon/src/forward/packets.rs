//! Packets of one call to a `SOCK_SEQPACKET` socket: metadata first, then one message for each packet, IP header on.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use spool::exposure;

/// The connection of a call.
#[derive(Debug, Default)]
pub struct PacketForward {
    connection: Option<OwnedFd>,
    forwarded: u64,
    failed: u64,
    complained: bool,
}

impl PacketForward {
    /// Metadata came: the first time the connection is made, later they are one message among others.
    pub fn metadata(&mut self, socket: &Path, text: &str) {
        if self.connection.is_none() {
            let (Some(directory), Some(name)) =
                (socket.parent(), socket.file_name().and_then(|name| name.to_str()))
            else {
                return;
            };
            let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
            match exposure::connect(directory, name) {
                Ok(connection) => self.connection = Some(connection),
                Err(error) => {
                    return tracing::error!(
                        "Cannot connect to '{}' to forward packets: {error}",
                        socket.display()
                    );
                }
            }
        }
        self.send(text.as_bytes());
    }

    /// One packet. Never waits: what the receiver does not take is dropped and counted.
    pub fn packet(&mut self, octets: &[u8]) {
        if self.connection.is_none() {
            self.failed += 1;
            if !std::mem::replace(&mut self.complained, true) {
                tracing::error!("Trying to send packets, but connection not initialized!");
            }
            return;
        }
        self.send(octets);
    }

    fn send(&mut self, octets: &[u8]) {
        let Some(connection) = &self.connection else { return };
        match exposure::send(connection, [octets, &[]]) {
            Ok(()) => self.forwarded += 1,
            Err(error) => {
                self.failed += 1;
                if error.kind() == io::ErrorKind::WouldBlock {
                    tracing::debug!("A packet was not forwarded: {error}");
                } else if !std::mem::replace(&mut self.complained, true) {
                    tracing::error!("Forwarding packets failed: {error}");
                }
            }
        }
    }
}

impl Drop for PacketForward {
    fn drop(&mut self) {
        if self.forwarded + self.failed > 0 {
            tracing::debug!("{} packets forwarded, {} failed", self.forwarded, self.failed);
        }
    }
}
