//! The table: made, spoken to, deleted.

use std::fs::{File, OpenOptions};
use std::io;
use std::time::Duration;

use super::abi;

/// `/proc/rtpengine/<table>/control`; the table is deleted with it.
#[derive(Debug)]
pub struct Control {
    /// `None` only while it is dropped.
    file: Option<File>,
    table: u8,
    has_players: bool,
}

/// Why there is no table. The words are those that operators look for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There is an old one, and it is in use.
    #[error("FAILED TO DELETE KERNEL TABLE {table} ({source}), KERNEL FORWARDING DISABLED")]
    Delete {
        /// Its number.
        table: u8,
        /// Why.
        source: io::Error,
    },
    /// No module, or no right to use it.
    #[error("FAILED TO CREATE KERNEL TABLE {table} ({source}), KERNEL FORWARDING DISABLED")]
    Create {
        /// Its number.
        table: u8,
        /// Why.
        source: io::Error,
    },
    /// It is there, but not for us.
    #[error("FAILED TO OPEN KERNEL TABLE {table} ({source}), KERNEL FORWARDING DISABLED")]
    Open {
        /// Its number.
        table: u8,
        /// Why.
        source: io::Error,
    },
    /// Daemon and module do not belong together.
    #[error(
        "Kernel module version mismatch or other fatal error: the module speaks version {module} of the ABI, this daemon version {}",
        abi::VERSION
    )]
    Version {
        /// What the module speaks.
        module: u32,
    },
}

/// How often, and after what pause, the deletion of a table that is in use is tried again.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(20);

/// What becomes of a table that another daemon uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenInUse {
    /// It stays the other one's.
    Refuse,
    /// The other one hands its calls over: its table is taken away, so that all media come up to sockets.
    TakeOver,
}

impl Control {
    /// Makes the table anew, and says who we are.
    pub fn open(table: u8, when_in_use: WhenInUse) -> Result<Self, OpenError> {
        match delete(table) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) && when_in_use == WhenInUse::TakeOver => {
                tell(&format!("kill {table}\n"))
            }
            deleted => deleted,
        }
        .map_err(|source| OpenError::Delete { table, source })?;
        tell(&format!("add {table}\n")).map_err(|source| OpenError::Create { table, source })?;
        let path = format!("/proc/rtpengine/{table}/control");
        let file = OpenOptions::new().read(true).write(true).open(path);
        let file = file.map_err(|source| OpenError::Open { table, source })?;
        let mut control = Self { file: Some(file), table, has_players: false };
        let mut message = abi::init();
        control.ask(&mut message).map_err(|source| OpenError::Open { table, source })?;
        let reply = message.as_slice().try_into();
        let module = reply.map_or(0, abi::module_version);
        control.has_players = reply.is_ok_and(abi::has_players);
        if module != u32::from(abi::VERSION) {
            return Err(OpenError::Version { module });
        }
        Ok(control)
    }

    /// Its number.
    pub fn table(&self) -> u8 {
        self.table
    }

    /// The module can send announcements by itself.
    pub fn has_players(&self) -> bool {
        self.has_players
    }

    /// A command without a reply.
    pub fn tell(&self, message: &[u8]) -> io::Result<()> {
        let file = self.file.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let done = nix::unistd::write(file, message)?;
        if done == message.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    /// A command whose reply takes its place.
    pub fn ask(&self, message: &mut [u8]) -> io::Result<()> {
        let file = self.file.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let done = nix::unistd::read(file, message)?;
        if done == message.len() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // A table that was taken away is another one's now.
        let is_ours = self.ask(&mut abi::init()).is_ok();
        self.file = None;
        if !is_ours {
            return;
        }
        if let Err(error) = delete(self.table) {
            tracing::warn!(table = self.table, %error, "the kernel table is left, and goes on forwarding");
        }
    }
}

/// A table that does not exist is deleted; so is one without the module, of which its making will tell.
fn delete(table: u8) -> io::Result<()> {
    let mut tries = 0;
    loop {
        let Err(error) = tell(&format!("del {table}\n")) else { return Ok(()) };
        tries += 1;
        match error.raw_os_error() {
            Some(libc::ENOENT) => return Ok(()),
            Some(libc::EBUSY) if tries < TRIES => std::thread::sleep(PAUSE),
            _ => return Err(error),
        }
    }
}

fn tell(command: &str) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open("/proc/rtpengine/control")?;
    nix::unistd::write(&file, command.as_bytes())?;
    Ok(())
}
