//! What a worker thread needs from the system besides packets: readiness, wake-up, sleep and its place on a
//! core. A leaf around `epoll` and `eventfd`.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

/// An epoll instance.
pub struct Poll {
    fd: OwnedFd,
    events: Box<[libc::epoll_event]>,
}

impl Poll {
    /// Takes at most `events` readiness events by one system call.
    pub fn new(events: usize) -> io::Result<Self> {
        // SAFETY: no pointers.
        let fd = owned(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        let none = libc::epoll_event { events: 0, u64: 0 };
        Ok(Self { fd, events: vec![none; events.clamp(1, 4096)].into_boxed_slice() })
    }

    /// Edge-triggered: who gets an event reads until the socket is empty, or remembers that it is not.
    pub fn add(&self, fd: RawFd, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: (libc::EPOLLIN | libc::EPOLLET) as u32, u64: token };
        // SAFETY: `event` is live during the call.
        check(unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &mut event) })
    }

    pub fn remove(&self, fd: RawFd) -> io::Result<()> {
        // SAFETY: DEL ignores the event pointer.
        check(unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), libc::EPOLL_CTL_DEL, fd, std::ptr::null_mut()) })
    }

    /// Waits for readiness, at most `timeout` (rounded up to milliseconds); the number of events.
    pub fn wait(&mut self, timeout: Option<Duration>) -> usize {
        let timeout = timeout.map_or(-1, |t| t.as_micros().div_ceil(1000).min(60_000) as i32);
        // At most 4096.
        let room = self.events.len() as i32;
        // SAFETY: `events` has `room` entries for the kernel to fill.
        let n = unsafe { libc::epoll_wait(self.fd.as_raw_fd(), self.events.as_mut_ptr(), room, timeout) };
        // Negative is EINTR; everything else would be a defect of ours, and an empty turn is harmless.
        usize::try_from(n).unwrap_or(0).min(self.events.len())
    }

    /// Looks for readiness again and again for `busy` before it waits: a packet that comes meanwhile is found without a wake-up.
    pub fn wait_busily(&mut self, timeout: Option<Duration>, busy: Duration) -> usize {
        let begin = Instant::now();
        let busy = timeout.map_or(busy, |timeout| timeout.min(busy));
        while begin.elapsed() < busy {
            let ready = self.wait(Some(Duration::ZERO));
            if ready > 0 {
                return ready;
            }
            std::hint::spin_loop();
        }
        self.wait(timeout.map(|timeout| timeout.saturating_sub(begin.elapsed())))
    }

    /// Most events that a `wait` tells of.
    pub fn capacity(&self) -> usize {
        self.events.len()
    }

    /// The token of an event of the last `wait`.
    pub fn token(&self, index: usize) -> u64 {
        self.events[index].u64
    }
}

/// A counter that makes `Poll::wait` return.
pub struct Wake(OwnedFd);

impl Wake {
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointers.
        owned(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) }).map(Self)
    }

    pub fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    pub fn wake(&self) {
        let one = 1u64;
        // SAFETY: eight live octets. A full counter (the only failure) means that a wake-up is pending anyway.
        unsafe { libc::write(self.fd(), std::ptr::from_ref(&one).cast(), 8) };
    }
}

/// Which of these sockets have something to read, by one system call; named by what stands beside them.
pub fn readable<T>(sockets: impl Iterator<Item = (RawFd, T)>) -> Vec<T> {
    let (mut entries, names): (Vec<libc::pollfd>, Vec<T>) =
        sockets.map(|(fd, name)| (libc::pollfd { fd, events: libc::POLLIN, revents: 0 }, name)).unzip();
    if !entries.is_empty() {
        // SAFETY: as many live entries as are said to be there; a zero time-out does not wait. On failure `revents` stay 0.
        unsafe { libc::poll(entries.as_mut_ptr(), entries.len() as libc::nfds_t, 0) };
    }
    entries.into_iter().zip(names).filter(|(entry, _)| entry.revents != 0).map(|(_, name)| name).collect()
}

/// Lets packets gather.
pub fn sleep(duration: Duration) {
    std::thread::sleep(duration);
}

/// Lets the system lengthen sleeps of the calling thread by so much.
///
/// # Errors
/// The system does not do that.
pub fn set_timer_slack(slack: Duration) -> io::Result<()> {
    let ns = libc::c_ulong::try_from(slack.as_nanos()).unwrap_or(libc::c_ulong::MAX).max(1);
    // SAFETY: no pointers.
    check(unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, ns, 0, 0, 0) })
}

/// The kernel's number of the calling thread.
pub fn thread_id() -> u32 {
    // SAFETY: takes nothing, cannot fail.
    u32::try_from(unsafe { libc::gettid() }).unwrap_or(0)
}

/// Puts the calling thread on the `index`th (modulo their number) of the cores that the process may use.
pub fn pin_to_core(index: usize) -> io::Result<()> {
    // SAFETY: a zeroed cpu_set_t is the empty set; the calls get its true size; CPU_* stay inside it.
    unsafe {
        let mut allowed: libc::cpu_set_t = std::mem::zeroed();
        check(libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut allowed))?;
        let cores: Vec<usize> =
            (0..libc::CPU_SETSIZE as usize).filter(|c| libc::CPU_ISSET(*c, &allowed)).collect();
        let Some(core) = cores.get(index % cores.len().max(1)) else { return Ok(()) };
        let mut wanted: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(*core, &mut wanted);
        check(libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &wanted))
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn owned(fd: RawFd) -> io::Result<OwnedFd> {
    check(fd)?;
    // SAFETY: the system has just given us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
