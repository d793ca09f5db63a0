//! Sockets of another process, to look at what is set on them: nothing of that can be seen from outside otherwise.

use std::fs;
use std::mem;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use crate::daemon::Process;

/// A copy of a socket of a child.
#[derive(Debug)]
pub struct Socket {
    descriptor: OwnedFd,
}

impl Socket {
    /// All that the process has open at this moment.
    ///
    /// # Panics
    /// When the system does not let a parent look at its child.
    pub fn all_of(process: &Process) -> Vec<Self> {
        let pid = process.id();
        // SAFETY: plain system call; the child was not waited for yet.
        let opened = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        let pidfd = owned(opened).expect("a child can be opened");
        let links = fs::read_dir(format!("/proc/{pid}/fd")).expect("a running process").flatten();
        let sockets = links.filter(|link| {
            fs::read_link(link.path()).is_ok_and(|target| target.to_string_lossy().starts_with("socket:"))
        });
        let numbers = sockets.filter_map(|link| link.file_name().to_str()?.parse::<i32>().ok());
        numbers
            .filter_map(|number| {
                // SAFETY: plain system call on a descriptor that lives for its time.
                let copied = unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), number, 0) };
                Some(Self { descriptor: owned(copied)? })
            })
            .collect()
    }

    /// The one that is bound to this address.
    ///
    /// # Panics
    /// When there is none.
    pub fn bound_to(process: &Process, address: SocketAddr) -> Self {
        let found = Self::all_of(process).into_iter().find(|socket| socket.local() == Some(address));
        found.unwrap_or_else(|| panic!("no socket on {address}"))
    }

    /// The one that is connected to this address.
    pub fn connected_to(process: &Process, address: SocketAddr) -> Option<Self> {
        Self::all_of(process).into_iter().find(|socket| socket.peer() == Some(address))
    }

    /// Its address.
    pub fn local(&self) -> Option<SocketAddr> {
        self.address(libc::getsockname)
    }

    /// The other end's.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.address(libc::getpeername)
    }

    /// An option whose value is a number.
    ///
    /// # Panics
    /// When the socket has no such option.
    pub fn option(&self, level: i32, name: i32) -> i32 {
        let mut value = 0i32;
        let mut length = mem::size_of::<i32>() as libc::socklen_t;
        // SAFETY: value and length are alive and fit each other.
        let result = unsafe {
            libc::getsockopt(
                self.descriptor.as_raw_fd(),
                level,
                name,
                (&raw mut value).cast(),
                &raw mut length,
            )
        };
        assert_eq!(result, 0, "getsockopt({level}, {name}): {}", std::io::Error::last_os_error());
        value
    }

    fn address(
        &self,
        of: unsafe extern "C" fn(i32, *mut libc::sockaddr, *mut libc::socklen_t) -> i32,
    ) -> Option<SocketAddr> {
        // SAFETY: all-zero octets are a valid value of this plain C type.
        let mut storage: libc::sockaddr_in = unsafe { mem::zeroed() };
        let mut length = mem::size_of::<libc::sockaddr_in>() as libc::socklen_t;
        // SAFETY: the storage is as long as is said; what does not fit is cut off.
        let result = unsafe { of(self.descriptor.as_raw_fd(), (&raw mut storage).cast(), &raw mut length) };
        let is_v4 = result == 0 && i32::from(storage.sin_family) == libc::AF_INET;
        is_v4.then(|| {
            let host = u32::from_be(storage.sin_addr.s_addr);
            SocketAddr::from((std::net::Ipv4Addr::from(host), u16::from_be(storage.sin_port)))
        })
    }
}

fn owned(result: libc::c_long) -> Option<OwnedFd> {
    let number = i32::try_from(result).ok().filter(|number| *number >= 0)?;
    // SAFETY: the system has just made it for us.
    Some(unsafe { OwnedFd::from_raw_fd(number) })
}
