//! Threads with a name and the configured stack.

use std::io;
use std::sync::OnceLock;
use std::thread::{Builder, JoinHandle};

static STACK: OnceLock<ThreadStack> = OnceLock::new();

/// Says what stack threads of [`builder`] have that begin from now on; the first word counts.
pub fn set_stack(stack: ThreadStack) {
    let _ = STACK.set(stack);
}

/// Size of the stack that was set, for pools of threads that are not made with [`builder`].
pub fn stack_octets() -> usize {
    STACK.get().copied().and_then(ThreadStack::octets).unwrap_or(DEFAULT)
}

/// For a thread of this name with the stack that was set.
pub fn builder(name: impl Into<String>) -> Builder {
    Builder::new().name(name.into()).stack_size(stack_octets())
}

/// Stack size of new threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThreadStack {
    /// What the system gives by default.
    System,
    /// So many octets.
    Octets(usize),
}

impl ThreadStack {
    /// From `thread-stack`: kB, −1 for the system's default. 0 is taken as the system's default too.
    pub fn from_option(kilobytes: i32) -> Self {
        match usize::try_from(kilobytes) {
            Ok(0) | Err(_) => ThreadStack::System,
            Ok(kilobytes) => ThreadStack::Octets(kilobytes * 1024),
        }
    }

    /// Size to give to a thread builder; `None` for its default. Never less than the C library accepts.
    pub fn octets(self) -> Option<usize> {
        match self {
            ThreadStack::System => system_default(),
            ThreadStack::Octets(octets) => Some(octets.max(SMALLEST)),
        }
    }

    /// Starts a thread. Of the name, 15 octets are visible to the system.
    pub fn spawn<T: Send + 'static>(
        self,
        name: &str,
        main: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<JoinHandle<T>> {
        let builder = Builder::new().name(name.to_owned());
        match self.octets() {
            Some(octets) => builder.stack_size(octets),
            None => builder,
        }
        .spawn(main)
    }
}

/// Room for a few frames of decoders with large tables on the stack.
const SMALLEST: usize = 256 * 1024;
/// Where nothing was set.
const DEFAULT: usize = 2 << 20;

/// The soft stack limit, which the C library uses for new threads (Rust would use 2 MiB).
fn system_default() -> Option<usize> {
    let (soft, _) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_STACK).ok()?;
    usize::try_from(soft).ok().filter(|soft| (SMALLEST..=1 << 30).contains(soft))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_is_in_kilobytes() {
        assert_eq!(ThreadStack::from_option(2048), ThreadStack::Octets(2 << 20));
        assert_eq!(ThreadStack::from_option(-1), ThreadStack::System);
        assert_eq!(ThreadStack::from_option(1).octets(), Some(SMALLEST));
    }

    #[test]
    fn threads_have_their_name_and_run() {
        for stack in [ThreadStack::System, ThreadStack::Octets(512 << 10)] {
            let name = || std::fs::read_to_string("/proc/thread-self/comm");
            let name = stack.spawn("worker-1", name).expect("spawn").join().expect("join").expect("comm");
            assert_eq!(name.trim_end(), "worker-1");
        }
    }
}
