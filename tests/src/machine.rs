//! The machine that measurements run on: who runs where, and what else it does meanwhile.

use std::fs::read_to_string;
use std::process::{Command, Stdio};

/// Puts all threads of a process onto one processor and before others, as far as that is allowed.
pub fn pin(process: u32, processor: u32) {
    let run = |program: &str, arguments: &[&str]| {
        // Without the program or the right, the figures are merely less steady.
        let _ = Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    };
    run("taskset", &["-ap", "-c", &processor.to_string(), &process.to_string()]);
    // Priorities count within a session only, where sessions share processors evenly.
    let _ = std::fs::write(format!("/proc/{process}/autogroup"), "-19");
    for thread in std::fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten() {
        run("renice", &["-n", "-19", "-p", &thread.file_name().to_string_lossy()]);
    }
}

/// Allows this process as many files as the system lets it have.
pub fn raise_file_limit() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure lives as long as the calls.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}

/// Nanoseconds that all processors have worked, for whomever.
pub fn busy_ns() -> u64 {
    let text = read_to_string("/proc/stat").unwrap_or_default();
    let fields = text.lines().next().unwrap_or_default().split_whitespace().skip(1);
    let ticks: Vec<u64> = fields.filter_map(|field| field.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq; 100 ticks a second.
    [0, 1, 2, 5, 6].iter().filter_map(|&field| ticks.get(field)).sum::<u64>() * 10_000_000
}

/// Nanoseconds that a process has worked.
pub fn process_ns(process: u32) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let times = tasks.filter_map(|task| {
        let text = read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    times.sum()
}
