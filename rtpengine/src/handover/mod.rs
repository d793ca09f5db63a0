//! Calls go from a running instance to the one that is started in its place, with their open sockets: no packet is lost, because what
//! comes meanwhile waits in the sockets.
//!
//! ```text
//! next instance                                       running instance (listens on handover-socket)
//!   may I have the kernel? ────────────────────────►  all media come up to user space (kernel module only)
//!   kernel table opened ◄── they have ───────────────
//!   everything started but the doors
//!   connect, VERSION ───────────────────────────────►  doors close: no more commands
//!   restore(call) ◄── dictionary, sockets ───────────  each call: its worker lets go of it
//!   …
//!   doors open     ◄── end ──────────────────────────
//!   tells the service manager, octet ───────────────►  ends, without ending calls
//! ```
//!
//! The running instance keeps what it has given until that octet: should the next one die before, another one gets everything. Until then
//! calls that were given are silent and all others go on; doors stay closed.
//!
//! A call travels in the form in which it is stored (`call::stored`), without recordings being finished or anything being told about it. A frame
//! is two little-endian numbers of 32 bits (octets of the dictionary, number of files), the files, each [`descriptors::MOST`] with an
//! octet, and the dictionary; both numbers 0 is the end.

mod descriptors;

use std::collections::HashMap;
use std::fs::Permissions;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;

use crate::call::{Engine, HandedCall, Owner};
use crate::persist;
use crate::proto::value::{Dict, Value};

/// What both sides have to agree on.
const VERSION: &[u8; 24] = b"rtpengine hand-over 1\n\n\n";
/// Said, and answered when it is done, in place of [`VERSION`] by a next instance that is to have the same kernel table.
const GIVE_UP: &[u8; VERSION.len()] = b"rtpengine kernel table\n\n";
/// How long the other side may take for anything.
const PATIENCE: Duration = Duration::from_secs(10);
/// Octets of a call.
const LONGEST: u32 = 8 << 20;
/// Sockets of a call.
const MOST_FILES: u32 = 16_384;

/// The former instance has given its calls, and keeps them until it hears that they are in good hands.
#[derive(Debug)]
pub struct Taken {
    stream: UnixStream,
}

impl Taken {
    /// Lets the former instance end.
    pub fn confirm(mut self) {
        if let Err(error) = self.stream.write_all(&[1]) {
            tracing::warn!(%error, "the former instance is gone already");
        }
    }
}

/// Asks the instance that listens there, if there is one, to take everything up from the kernel and to leave that to us. Its media go on in user
/// space; what the kernel has counted, and the packet indices that it has used, go with the calls later.
///
/// # Errors
/// The connection breaks, or that instance does not know what this is.
pub fn ask_for_kernel(path: &Path) -> io::Result<()> {
    let Some(mut stream) = connect(path)? else { return Ok(()) };
    stream.write_all(GIVE_UP)?;
    let mut answer = [0; GIVE_UP.len()];
    stream.read_exact(&mut answer)?;
    if &answer == GIVE_UP {
        Ok(())
    } else {
        Err(io::Error::other("it does not know how to leave the kernel"))
    }
}

/// `None`: nobody listens.
fn connect(path: &Path) -> io::Result<Option<UnixStream>> {
    let stream = match UnixStream::connect(path) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(Some(stream))
}

/// Asks the instance that listens there for its calls. `None`: nobody listens.
///
/// # Errors
/// The connection breaks on the way; what has come until then goes on here.
pub fn take(path: &Path, engine: &Engine) -> io::Result<Option<Taken>> {
    let began = Instant::now();
    let Some(mut stream) = connect(path)? else { return Ok(None) };
    stream.write_all(VERSION)?;
    let mut answer = [0; VERSION.len()];
    stream.read_exact(&mut answer)?;
    if &answer != VERSION {
        return Err(io::Error::other("the running instance hands over in another form"));
    }
    let (mut calls, mut lost) = (0, 0);
    while let Some((id, call, files)) = read_frame(&mut stream)? {
        let sockets = files.into_iter().filter_map(|file| {
            let socket = UdpSocket::from(file);
            Some((socket.local_addr().ok()?, socket))
        });
        let sockets: HashMap<SocketAddr, UdpSocket> = sockets.collect();
        engine.ports().inherit(sockets);
        match engine.restore(&id, &call, Owner::Us) {
            Ok(_) => calls += 1,
            Err(error) => {
                tracing::error!(call_id = %id, %error, "call of the former instance is lost");
                lost += 1;
            }
        }
        // Those that nobody wanted are closed.
        engine.ports().disinherit();
    }
    tracing::info!(
        calls,
        lost,
        ms = began.elapsed().as_millis(),
        "calls taken over from the former instance"
    );
    Ok(Some(Taken { stream }))
}

fn read_frame(stream: &mut UnixStream) -> io::Result<Option<(String, Dict, Vec<OwnedFd>)>> {
    let wrong = |what: &'static str| io::Error::new(io::ErrorKind::InvalidData, what);
    let mut numbers = [0; 8];
    stream.read_exact(&mut numbers)?;
    let [a, b, c, d, e, f, g, h] = numbers;
    let (length, count) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
    if (length, count) == (0, 0) {
        return Ok(None);
    }
    if length > LONGEST || count > MOST_FILES {
        return Err(wrong("a call is too large"));
    }
    let mut files = Vec::with_capacity(count as usize);
    while files.len() < count as usize {
        let before = files.len();
        descriptors::receive(stream, &mut files)?;
        if files.len() == before {
            return Err(wrong("files are missing"));
        }
    }
    let mut octets = vec![0; length as usize];
    stream.read_exact(&mut octets)?;
    let frame = persist::decode(&octets).map_err(|_| wrong("not a dictionary"))?;
    let id = match frame.get("id") {
        Some(Value::Bytes(id)) => String::from_utf8_lossy(id).into_owned(),
        _ => return Err(wrong("a call without a name")),
    };
    match frame.get("call") {
        Some(Value::Dict(call)) => Ok(Some((id, call.clone(), files))),
        _ => Err(wrong("a name without a call")),
    }
}

fn write_frame(stream: &mut UnixStream, call: &HandedCall) -> io::Result<()> {
    let mut frame = Dict::new();
    frame.push("id", call.id.as_str());
    frame.push("call", call.stored.clone());
    let octets = persist::encode(&frame, false);
    let too_large = |_| io::Error::new(io::ErrorKind::InvalidData, "a call is too large");
    let length = u32::try_from(octets.len()).map_err(too_large)?;
    let count = u32::try_from(call.sockets.len()).map_err(too_large)?;
    stream.write_all(&[length.to_le_bytes(), count.to_le_bytes()].concat())?;
    let files: Vec<RawFd> = call.sockets.iter().map(|socket| socket.socket.as_raw_fd()).collect();
    for some in files.chunks(descriptors::MOST) {
        descriptors::send(stream, 0, some)?;
    }
    stream.write_all(&octets)
}

/// The socket on which the next instance asks.
#[derive(Debug)]
pub struct Giver {
    listener: UnixListener,
    path: PathBuf,
    /// Device and number of the file at `path` while it is ours.
    file: (u64, u64),
}

impl Giver {
    /// Listens, for the same user (and root) only. What a former instance has left there is replaced.
    ///
    /// # Errors
    /// What the system says.
    pub fn bind(path: &Path) -> io::Result<Self> {
        let (listener, file) = listen(path)?;
        Ok(Self { listener, path: path.into(), file })
    }

    /// Waits for a next instance that takes all calls; `close_doors` is called before the first one goes. Returns when this instance
    /// has nothing left to do, or nobody can ask any more.
    pub fn serve(mut self, engine: &Engine, runtime: &tokio::runtime::Handle, close_doors: impl FnOnce()) {
        let mut close_doors = Some(close_doors);
        let mut given = Given::default();
        loop {
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => match greet(stream, engine) {
                    Ok(Some(stream)) => stream,
                    Ok(None) => continue,
                    Err(error) => {
                        tracing::warn!(%error, "somebody else on the hand-over socket");
                        continue;
                    }
                },
                Err(error) => {
                    tracing::error!(%error, "the hand-over socket does not work any more");
                    return;
                }
            };
            tracing::info!("the next instance takes over");
            if let Some(close_doors) = close_doors.take() {
                close_doors();
            }
            let Err(error) = given.give(&mut stream, engine, runtime) else { return };
            tracing::error!(%error, "the next instance has failed: waiting for another one, with all calls and without doors");
            // Who has asked meanwhile is waiting at the socket, unless the next instance has put its own there.
            if file_at(&self.path).is_ok_and(|file| file == self.file) {
                continue;
            }
            match listen(&self.path) {
                Ok((listener, file)) => (self.listener, self.file) = (listener, file),
                Err(error) => {
                    tracing::error!(%error, path = %self.path.display(), "nobody can take the calls over: they end");
                    return;
                }
            }
        }
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn file_at(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = std::fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

fn listen(path: &Path) -> io::Result<(UnixListener, (u64, u64))> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok((listener, file_at(path)?))
}

/// `None`: it has been given the kernel, and will come again for the calls.
fn greet(mut stream: UnixStream, engine: &Engine) -> io::Result<Option<UnixStream>> {
    // Whoever connected before the socket had its mode is not let in, either: keys go with the calls.
    let peer = getsockopt(&stream, PeerCredentials)?.uid();
    if peer != 0 && peer != nix::unistd::geteuid().as_raw() {
        return Err(io::Error::other(format!("it belongs to user {peer}")));
    }
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut greeting = [0; VERSION.len()];
    stream.read_exact(&mut greeting)?;
    if &greeting == GIVE_UP {
        tracing::info!("the next instance takes over the kernel: all media go on in user space");
        engine.give_up_kernel();
        stream.write_all(GIVE_UP)?;
        return Ok(None);
    }
    stream.write_all(VERSION)?;
    if &greeting != VERSION {
        return Err(io::Error::other("it speaks another language"));
    }
    Ok(Some(stream))
}

/// Calls that nobody works on: given, and perhaps to be given again.
#[derive(Default)]
struct Given {
    calls: Vec<HandedCall>,
    /// They go last: their packets have to be in the files before the next instance writes there.
    recorded: Vec<HandedCall>,
}

impl Given {
    fn give(
        &mut self,
        stream: &mut UnixStream,
        engine: &Engine,
        runtime: &tokio::runtime::Handle,
    ) -> io::Result<()> {
        for call in &self.calls {
            write_frame(stream, call)?;
        }
        let mut hanging = Vec::new();
        for (id, is_recorded) in engine.own_calls() {
            let Some(call) = runtime.block_on(engine.hand_out(&id, &mut hanging)) else { continue };
            if is_recorded {
                self.recorded.push(call);
                continue;
            }
            self.calls.push(call);
            self.calls.last().map_or(Ok(()), |call| write_frame(stream, call))?;
        }
        engine.suspend_recordings();
        for call in &self.recorded {
            write_frame(stream, call)?;
        }
        stream.write_all(&[0; 8])?;
        tracing::info!(calls = self.calls.len() + self.recorded.len(), "all calls are handed over");
        // A service manager that sees this process end before it knows of the next one takes the service for stopped. However long its
        // start takes: only its end means that it has failed.
        stream.set_read_timeout(None)?;
        stream.read_exact(&mut [0])
    }
}
