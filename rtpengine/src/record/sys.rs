//! System calls of the recorder that the standard library does not have.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::SystemTime;

/// Microseconds since the Unix epoch; 0 for times before it.
pub(super) fn unix_micros(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

/// `YYYY-MM-DDThh:mm:ss` in the time zone of the process.
pub(super) fn local_time(time: SystemTime) -> String {
    let seconds = libc::time_t::try_from(unix_micros(time) / 1_000_000).unwrap_or(libc::time_t::MAX);
    // SAFETY: an all-zero `tm` is valid, and localtime_r writes only to it.
    let broken_down = unsafe {
        let mut broken_down: libc::tm = std::mem::zeroed();
        if libc::localtime_r(&raw const seconds, &raw mut broken_down).is_null() {
            return format!("@{seconds}");
        }
        broken_down
    };
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
        i64::from(broken_down.tm_year) + 1900,
        broken_down.tm_mon + 1,
        broken_down.tm_mday,
        broken_down.tm_hour,
        broken_down.tm_min,
        broken_down.tm_sec
    )
}

/// Milliseconds since the epoch with three decimals.
pub(super) fn millis(time: SystemTime) -> String {
    let micros = unix_micros(time);
    format!("{}.{:03}", micros / 1000, micros % 1000)
}

/// Takes an advisory lock that lasts as long as the file is open; `false` when somebody else has it.
pub(super) fn try_lock(file: &File) -> bool {
    // SAFETY: flock has no memory preconditions.
    unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) == 0 }
}

/// Turns a lock of [`try_lock`] into one that others may share, or takes such a one; `false` when somebody has it alone.
pub(super) fn try_share(file: &File) -> bool {
    // SAFETY: flock has no memory preconditions.
    unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_SH | libc::LOCK_NB) == 0 }
}

/// Octets that are free for us on the file system of a directory, and its size.
pub(super) fn disk_space(directory: &Path) -> io::Result<(u64, u64)> {
    let path = CString::new(directory.as_os_str().as_bytes())?;
    // SAFETY: an all-zero statvfs is valid, the path ends in NUL, and statvfs writes only to its second argument.
    let space = unsafe {
        let mut space: libc::statvfs = std::mem::zeroed();
        if libc::statvfs(path.as_ptr(), &raw mut space) != 0 {
            return Err(io::Error::last_os_error());
        }
        space
    };
    Ok((space.f_bavail * space.f_frsize, space.f_blocks * space.f_frsize))
}

/// Memory that the kernel holds for what the other end of a socket has not yet received.
pub(super) fn unreceived(socket: &OwnedFd) -> usize {
    let mut octets: libc::c_int = 0;
    // SAFETY: TIOCOUTQ (the same as SIOCOUTQ) writes one int.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut octets) };
    if result == 0 { usize::try_from(octets).unwrap_or(usize::MAX) } else { usize::MAX }
}

/// Tells which of many sockets became readable.
pub(super) struct Poller {
    epoll: OwnedFd,
}

impl Poller {
    pub fn new() -> io::Result<Self> {
        // SAFETY: epoll_create1 has no memory preconditions.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` was just returned by the kernel and nobody else owns it.
        Ok(Self { epoll: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// Watches a socket until it is closed.
    pub fn watch(&self, socket: &OwnedFd, key: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: key };
        // SAFETY: `event` is live for the call, which only reads it.
        let result = unsafe {
            libc::epoll_ctl(self.epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, socket.as_raw_fd(), &raw mut event)
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Keys of sockets that are readable now, at most 64 at a time; never waits.
    pub fn ready(&self) -> impl Iterator<Item = u64> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 64];
        // SAFETY: the kernel writes at most `events.len()` entries.
        let count = unsafe {
            libc::epoll_wait(self.epoll.as_raw_fd(), events.as_mut_ptr(), events.len() as libc::c_int, 0)
        };
        let count = usize::try_from(count).unwrap_or(0);
        events.into_iter().take(count).map(|event| event.u64)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_have_the_documented_forms() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_micros(1_795_224_880_887_907);
        assert_eq!(millis(time), "1795224880887.907");
        let text = local_time(time);
        assert_eq!(text.len(), 19, "{text}");
        assert_eq!((&text[4..5], &text[10..11], &text[13..14]), ("-", "T", ":"), "{text}");
        assert_eq!(&text[17..], "40", "no zone shifts the seconds: {text}");
    }

    #[test]
    fn what_the_other_end_received_is_no_longer_unreceived() {
        let spool = tempfile::tempdir().expect("temporary directory");
        let listener = spool::exposure::listen(spool.path(), "s").expect("listen");
        let poller = Poller::new().expect("epoll");
        poller.watch(&listener, 7).expect("watch");
        assert_eq!(poller.ready().count(), 0);
        let reader = spool::exposure::connect(spool.path(), "s").expect("connect");
        assert_eq!(poller.ready().collect::<Vec<_>>(), [7]);
        let writer = spool::exposure::accept(&listener).expect("accept").expect("a reader");
        spool::exposure::send(&writer, [b"x", b"y"]).expect("send");
        assert!(unreceived(&writer) >= 512, "{}", unreceived(&writer));
        spool::exposure::receive(&reader, &mut [0; 16]).expect("receive");
        assert_eq!(unreceived(&writer), 0);
    }

    #[test]
    fn lock_is_exclusive() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let first = File::open(directory.path()).expect("open");
        let second = File::open(directory.path()).expect("open");
        assert!(try_lock(&first));
        assert!(!try_lock(&second) && !try_share(&second));
        assert!(try_share(&first) && try_share(&second));
        assert!(!try_lock(&second), "somebody shares it");
        assert!(try_share(&second));
        drop(first);
        assert!(try_lock(&second));
    }
}
