//! A daemon that is measured: alone on the first processor, with one worker, quiet.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::daemon::{Process, await_ping};
use crate::machine::process_ns;
use crate::ng::NgClient;
use crate::ports::PortBlock;

/// See the module. Ends when dropped.
#[derive(Debug)]
pub struct Measured {
    /// The process.
    pub process: Process,
    /// Where the ng protocol is answered.
    pub control: SocketAddr,
    /// A connected client.
    pub ng: NgClient,
    _ports: PortBlock,
    _folder: tempfile::TempDir,
}

/// Which program is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// This relay.
    Ours,
    /// Debian's.
    Reference,
    /// A peer that takes only `--bare ADDRESS`.
    Bare,
}

impl Measured {
    /// Starts it and waits until it answers.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(kind: Kind, program: &Path) -> Self {
        let ports = PortBlock::take();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let control = SocketAddr::from((Ipv4Addr::LOCALHOST, ports.control()));
        let mut words = vec![program.display().to_string()];
        if kind == Kind::Bare {
            words.extend(["--bare".into(), control.to_string()]);
        } else {
            let host = if kind == Kind::Ours { 1 } else { 2 };
            let address = format!("127.{}.7.{host}", 1 + std::process::id() % 250);
            let fixed = "--config-file=none --table=-1 --foreground --log-stderr --log-level=3 --delete-delay=0 --timeout=3600 \
                --num-threads=1 --port-min=10000 --port-max=59999";
            words.extend(fixed.split_whitespace().map(str::to_owned));
            words.push(format!("--interface={address}"));
            words.push(format!("--listen-ng={control}"));
            words.push(format!("--pidfile={}/pid", folder.path().display()));
        }
        // One processor for whoever is measured, as many sockets as thousands of calls need.
        let pin = if on_path("taskset") { "taskset -c 0 " } else { "" };
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("ulimit -n 65536 2>/dev/null; exec {pin}{}", words.join(" ")));
        let mut process = Process::start(command, &folder.path().join("log")).expect("the daemon starts");
        let ng = NgClient::connect(control);
        if let Err(reason) = await_ping(&ng, &mut process, Duration::from_secs(10)) {
            panic!("{kind:?}: {reason}\n{}", process.log());
        }
        Self { process, control, ng, _ports: ports, _folder: folder }
    }

    /// Resident memory.
    pub fn resident_kb(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        line.split_whitespace().next().and_then(|kb| kb.parse().ok()).unwrap_or(0)
    }

    /// Processor time of all threads, in nanoseconds.
    pub fn cpu_ns(&self) -> u64 {
        process_ns(self.process.id())
    }
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder: PathBuf| folder.join(program)).any(|file| file.is_file())
}
