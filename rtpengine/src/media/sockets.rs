//! The sockets of a stream: its own, the one it had before, and those of ICE on further local addresses.
//!
//! A stream whose party is told another port is the same stream: keys, codecs and numbers go on. What is on its way to the former port,
//! or is sent there until the party has read its new description, still arrives.

use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use super::offload::Reason;
use super::port_pool::LocalPort;
use super::stream::Stream;
use super::worker::Worker;

/// Position of the socket of the port before; those in between are of ICE.
const FORMER: usize = 0xff;

/// The sockets that are nobody else's business.
pub struct Sockets {
    /// Of the port that the party was told.
    own: Arc<LocalPort>,
    /// Of the port that it was told before.
    former: Option<Arc<LocalPort>>,
    /// That of `own`, at hand.
    fd: RawFd,
    reading: u16,
}

impl Sockets {
    pub fn new(own: Arc<LocalPort>) -> Self {
        let fd = own.socket.as_raw_fd();
        Self { own, former: None, fd, reading: 0 }
    }
}

impl Stream {
    /// The port that the party was told.
    #[inline]
    pub fn socket(&self) -> &Arc<LocalPort> {
        &self.sockets.own
    }

    /// Position of the socket that is being read: 0 is the stream's own.
    pub fn reading(&self) -> usize {
        usize::from(self.sockets.reading)
    }

    /// The socket at a position, which is remembered as the one that is being read.
    pub fn read_from(&mut self, position: usize) -> Option<RawFd> {
        if self.is_behind {
            return None;
        }
        self.sockets.reading = position as u16;
        if position == 0 {
            return Some(self.sockets.fd);
        }
        self.socket_at(position).map(|socket| socket.socket.as_raw_fd())
    }

    /// All sockets with their positions.
    pub fn all_sockets(&self) -> impl Iterator<Item = (usize, &Arc<LocalPort>)> {
        let alternates = self.ice.iter().flat_map(|ice| ice.alternates());
        let former = self.sockets.former.iter().map(|former| (FORMER, former));
        std::iter::once(&self.sockets.own).chain(alternates).enumerate().chain(former)
    }

    /// The socket that packets to the party leave from.
    pub fn path_socket(&self) -> &Arc<LocalPort> {
        let position = self.ice.as_ref().and_then(|ice| ice.way_out());
        position.and_then(|position| self.socket_at(position)).unwrap_or(&self.sockets.own)
    }

    /// The socket that the present datagrams came in through.
    pub fn socket_being_read(&self) -> &Arc<LocalPort> {
        self.socket_at(self.reading()).unwrap_or(&self.sockets.own)
    }

    fn socket_at(&self, position: usize) -> Option<&Arc<LocalPort>> {
        match position {
            0 => Some(&self.sockets.own),
            FORMER => self.sockets.former.as_ref(),
            _ => self.ice.as_ref()?.alternates().nth(position - 1),
        }
    }
}

impl Worker {
    /// A stream goes on at another port; the one it had is read, too, until there is a third.
    pub(super) fn move_to(&mut self, slot: u32, socket: &Arc<LocalPort>) {
        let is_other = |stream: &Stream| !Arc::ptr_eq(stream.socket(), socket);
        if !self.streams.get(slot).is_some_and(is_other) {
            return;
        }
        self.take_back(slot, Reason::Waiting);
        self.unguard(slot);
        // Candidates are ports: the agent is another one.
        self.detach(slot);
        let token = self.streams.token(slot);
        let Some(stream) = self.streams.get_mut(slot) else { return };
        let former = std::mem::replace(&mut stream.sockets.own, Arc::clone(socket));
        let before = stream.sockets.former.replace(Arc::clone(&former));
        stream.fd = socket.socket.as_raw_fd();
        stream.sockets.fd = stream.fd;
        if let Some(before) = before {
            let _ = self.poll.remove(before.socket.as_raw_fd());
        }
        let _ = self.poll.remove(former.socket.as_raw_fd());
        for (position, port) in [(0, socket), (FORMER, &former)] {
            if let Err(error) = self.poll.add(port.socket.as_raw_fd(), with_position(token, position)) {
                self.deaf(port, &error);
            }
        }
    }

    /// A stream that another instance has moved is heard at the port before, too. Not where that has become another stream's own.
    pub(super) fn hear_former(&mut self, slot: u32, former: &Arc<LocalPort>) {
        let token = with_position(self.streams.token(slot), FORMER);
        let Some(stream) = self.streams.get_mut(slot) else { return };
        let Sockets { own, former: present, .. } = &mut stream.sockets;
        if present.is_none() && !stream.is_behind && !Arc::ptr_eq(own, former) {
            let is_free = self.poll.add(former.socket.as_raw_fd(), token).is_ok();
            *present = is_free.then(|| Arc::clone(former));
        }
    }
}

/// The token of a stream's socket at a position.
pub fn with_position(token: u64, position: usize) -> u64 {
    token | (position as u64 & 0xff) << 24
}

/// The position in a token.
pub fn position_of(token: u64) -> usize {
    (token >> 24 & 0xff) as usize
}
