//! Threads of a daemon, and one that hangs.

use std::fs;

/// The number of the thread of a process that has this name.
///
/// # Panics
/// There is none.
pub fn thread_named(pid: u32, name: &str) -> i32 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("tasks");
    let named = tasks
        .flatten()
        .find(|task| fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.trim_end() == name));
    let named = named.unwrap_or_else(|| panic!("no thread {name}"));
    named.file_name().to_string_lossy().parse().expect("a number")
}

/// Stops one thread of a child for the time of `meanwhile`.
pub fn with_hanging_thread<T>(thread: i32, meanwhile: impl FnOnce() -> T) -> T {
    let none = std::ptr::null_mut::<libc::c_void>();
    let trace = |request| {
        // SAFETY: these requests take no pointers; the thread is one of a child that is not waited for yet.
        let answer = unsafe { libc::ptrace(request, thread, none, none) };
        assert_eq!(answer, 0, "ptrace: {}", std::io::Error::last_os_error());
    };
    trace(libc::PTRACE_SEIZE);
    trace(libc::PTRACE_INTERRUPT);
    let mut status = 0;
    // SAFETY: the status is ours and lives through the call.
    let stopped = unsafe { libc::waitpid(thread, &raw mut status, libc::__WALL) };
    assert_eq!(stopped, thread, "the thread stops");
    let result = meanwhile();
    trace(libc::PTRACE_DETACH);
    result
}
