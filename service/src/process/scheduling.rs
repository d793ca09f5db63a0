//! Scheduling policy, priority and core of threads.

use std::io;
use std::sync::OnceLock;

/// How the threads of a kind are scheduled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// `None`: as inherited.
    pub class: Option<Class>,
    /// Real-time priority of the classes that have one, else the nice value; 0 leaves the latter alone.
    pub priority: i32,
}

/// Scheduling class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Real time, first in, first out.
    Fifo,
    /// Real time, in turns.
    RoundRobin,
    /// The usual one.
    Other,
    /// Throughput before latency.
    Batch,
    /// When nobody else wants to run.
    Idle,
}

/// Which threads a policy is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Those that calls wait for.
    Worker,
    /// All others.
    Background,
}

/// Why a thread keeps its scheduling.
#[derive(Debug, thiserror::Error)]
#[error("cannot set {what} of a thread: {source}")]
pub struct SchedulingError {
    what: &'static str,
    source: io::Error,
}

static POLICIES: OnceLock<[Policy; 2]> = OnceLock::new();

impl Policy {
    /// From the words of `scheduling` and `priority`.
    pub fn from_options(class: Option<&str>, priority: i32) -> Self {
        let class = match class {
            Some("fifo") => Some(Class::Fifo),
            Some("rr") => Some(Class::RoundRobin),
            Some("other") => Some(Class::Other),
            Some("batch") => Some(Class::Batch),
            Some("idle") => Some(Class::Idle),
            _ => None,
        };
        Self { class, priority }
    }
}

/// Says how threads that begin from now on are scheduled; the first word counts.
pub fn set_policies(worker: Policy, background: Policy) {
    let _ = POLICIES.set([worker, background]);
}

/// Gives the calling thread what was set for its role. Where the system does not allow it the log says so, and the thread goes on as it
/// was.
pub fn enter(role: Role) {
    let policy = POLICIES.get().map(|policies| policies[usize::from(role == Role::Background)]);
    if let Some(Err(error)) = policy.map(schedule_thread) {
        tracing::warn!(%error, ?role, "a thread keeps its scheduling");
    }
}

/// Gives the calling thread a policy.
///
/// # Errors
/// The system does not allow it; the thread goes on as it was.
pub fn schedule_thread(policy: Policy) -> Result<(), SchedulingError> {
    let fail = |what| SchedulingError { what, source: io::Error::last_os_error() };
    let is_real_time = matches!(policy.class, Some(Class::Fifo | Class::RoundRobin));
    if let Some(class) = policy.class {
        let number = match class {
            Class::Fifo => libc::SCHED_FIFO,
            Class::RoundRobin => libc::SCHED_RR,
            Class::Other => libc::SCHED_OTHER,
            Class::Batch => libc::SCHED_BATCH,
            Class::Idle => libc::SCHED_IDLE,
        };
        let parameters = libc::sched_param { sched_priority: if is_real_time { policy.priority } else { 0 } };
        // SAFETY: 0 is the calling thread; the parameters live through the call.
        if unsafe { libc::sched_setscheduler(0, number, &raw const parameters) } != 0 {
            return Err(fail("the scheduling policy"));
        }
    }
    if !is_real_time && policy.priority != 0 {
        // SAFETY: no pointers. On Linux a thread has a nice value of its own.
        let answer =
            unsafe { libc::setpriority(libc::PRIO_PROCESS, libc::gettid() as libc::id_t, policy.priority) };
        if answer != 0 {
            return Err(fail("the nice value"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_a_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
        std::thread::spawn(work).join().expect("thread")
    }

    #[test]
    fn a_priority_without_a_policy_is_a_nice_value_of_the_thread_alone() {
        // SAFETY: no pointers.
        let nice = || unsafe { libc::getpriority(libc::PRIO_PROCESS, libc::gettid() as libc::id_t) };
        let before = nice();
        let in_thread = in_a_thread(move || {
            schedule_thread(Policy::from_options(None, 7)).expect("nicer");
            nice()
        });
        assert_eq!((in_thread, nice()), (7, before));
    }

    #[test]
    fn policies_are_set_for_the_thread() {
        // SAFETY: no pointers.
        let policy = || unsafe { libc::sched_getscheduler(0) };
        for (word, expected) in [
            ("batch", libc::SCHED_BATCH),
            ("idle", libc::SCHED_IDLE),
            ("other", libc::SCHED_OTHER),
            ("none", libc::SCHED_OTHER),
        ] {
            let set = in_a_thread(move || {
                schedule_thread(Policy::from_options(Some(word), 0)).expect(word);
                policy()
            });
            assert_eq!(set, expected, "{word}");
        }
        // A real-time priority that does not exist is refused, and told.
        let refused = in_a_thread(|| schedule_thread(Policy::from_options(Some("fifo"), 1000)));
        assert!(refused.expect_err("1000").to_string().contains("the scheduling policy"));
    }
}
