//! Where the packets of a stream come from: the kernel's files, or the sockets of the relay daemon. Either way a
//! descriptor of which one read gives one framed packet, and 0 the end.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use spool::{exposure, names};

use crate::settings::Settings;

/// An open stream of packets.
#[derive(Debug)]
pub enum PacketSource {
    /// `/proc/rtpengine/<table>/calls/<parent>/<stream>`
    Kernel(OwnedFd),
    /// `<spool>/calls/<parent>/<stream>`
    Exposed(OwnedFd),
}

impl PacketSource {
    /// Opens a stream; the kernel's file if it exists. `NotFound` and `ConnectionRefused` mean "not yet".
    pub fn open(settings: &Settings, parent: &str, stream_name: &str) -> io::Result<Self> {
        if let Some(table) = settings.table {
            let path = names::kernel_dir(table, parent).join(stream_name);
            match OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path) {
                Ok(file) => return Ok(PacketSource::Kernel(file.into())),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        let directory = names::exposure_dir(&settings.spool_dir, parent);
        exposure::connect(&directory, stream_name).map(PacketSource::Exposed)
    }

    /// Reads one packet; 0 is the end.
    pub fn receive(&self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            PacketSource::Kernel(file) => nix::unistd::read(file, buf).map_err(io::Error::from),
            PacketSource::Exposed(socket) => exposure::receive(socket, buf),
        }
    }
}

impl AsFd for PacketSource {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            PacketSource::Kernel(fd) | PacketSource::Exposed(fd) => fd.as_fd(),
        }
    }
}
