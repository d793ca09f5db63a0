//! The real binaries as child processes: started with free ports, awaited by `ping`, ended by pid.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::ng::{Format, NgClient};
use crate::ports::PortBlock;

/// A relay that has not ended answers within this time: in an emulator on a busy machine starting takes a while.
const START: Duration = Duration::from_secs(60);

/// The relay's binary: `$RTPENGINE_BIN`, or the one built beside the running program.
pub fn relay_binary() -> PathBuf {
    binary("RTPENGINE_BIN", "rtpengine")
}

/// The recorder's binary: `$RTPENGINE_RECORDING_BIN`, or the one built beside the running program.
pub fn recorder_binary() -> PathBuf {
    binary("RTPENGINE_RECORDING_BIN", "rtpengine-recording")
}

fn binary(variable: &str, name: &str) -> PathBuf {
    if let Some(path) = std::env::var_os(variable) {
        return path.into();
    }
    let exe = std::env::current_exe().expect("the running program has a path");
    let folder = exe.ancestors().skip(1).find(|folder| folder.join(name).is_file());
    let Some(folder) = folder else {
        panic!("{name} is not built beside {}: run `cargo build --workspace --bins` first", exe.display());
    };
    folder.join(name)
}

/// A child process whose log goes to a file. Killed when dropped; the log is printed if the test panics.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
    name: String,
}

impl Process {
    /// Starts `command` with its output in `log`.
    pub fn start(mut command: Command, log: &Path) -> std::io::Result<Self> {
        let file = std::fs::File::options().create(true).append(true).open(log)?;
        let child = command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).spawn()?;
        let name =
            Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { child, log: log.into(), name })
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Whether it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// Sends a signal to this process.
    pub fn signal(&self, signal: i32) {
        let pid = libc::pid_t::try_from(self.child.id()).expect("pids are small");
        // SAFETY: plain system call; the child was not waited for yet, so the pid is still its own.
        unsafe { libc::kill(pid, signal) };
    }

    /// Waits until it ends by itself.
    pub fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        wait_for(limit, || self.ended())
    }

    /// SIGTERM, and the status with which it ends.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal(libc::SIGTERM);
        self.wait(Duration::from_secs(10)).unwrap_or_else(|| panic!("{} does not end on SIGTERM", self.name))
    }

    /// SIGKILL, and waits.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A build that counts its branches writes down what it has counted when it ends by itself (scripts/dist).
        if std::env::var_os("LLVM_PROFILE_FILE").is_some() && self.ended().is_none() {
            self.signal(libc::SIGTERM);
            self.wait(Duration::from_secs(10));
        }
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(200)..].join("\n");
            eprintln!("---- log of {} ({} lines)\n{tail}\n----", self.name, lines.len());
        }
    }
}

/// A running relay with a control client.
#[derive(Debug)]
pub struct Relay {
    /// The process.
    pub process: Process,
    /// Connected control client.
    pub ng: NgClient,
    /// Where the ng protocol is answered.
    pub control: SocketAddr,
    /// Folder of this daemon: `spool/` for recordings, the log, files of the test.
    pub folder: tempfile::TempDir,
    /// The ports it was given.
    pub ports: PortBlock,
}

impl Relay {
    /// A relay on 127.0.0.1 with `arguments` added. `{DIR}` in an argument is the daemon's folder.
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_on(&["127.0.0.1"], arguments)
    }

    /// A relay with these interfaces.
    pub fn start_on(interfaces: &[&str], arguments: &[&str]) -> Self {
        let ports = PortBlock::take();
        let (low, high) = ports.media();
        let range = [format!("--port-min={low}"), format!("--port-max={high}")];
        let arguments: Vec<&str> =
            range.iter().map(String::as_str).chain(arguments.iter().copied()).collect();
        Self::start_in(ports, interfaces, &arguments)
    }

    /// A relay whose media ports are among the arguments, for more calls than fit into a block.
    pub fn start_with_ports(interfaces: &[&str], arguments: &[&str]) -> Self {
        Self::start_in(PortBlock::take(), interfaces, arguments)
    }

    /// A relay on 127.0.0.1 whose process is prepared further.
    pub fn start_with(arguments: &[&str], prepare: impl FnOnce(&mut Command)) -> Self {
        let ports = PortBlock::take();
        let (low, high) = ports.media();
        let range = [format!("--port-min={low}"), format!("--port-max={high}")];
        let arguments: Vec<&str> =
            range.iter().map(String::as_str).chain(arguments.iter().copied()).collect();
        Self::start_prepared(ports, &["127.0.0.1"], &arguments, prepare)
    }

    fn start_in(ports: PortBlock, interfaces: &[&str], arguments: &[&str]) -> Self {
        Self::start_prepared(ports, interfaces, arguments, |_| {})
    }

    fn start_prepared(
        ports: PortBlock,
        interfaces: &[&str],
        arguments: &[&str],
        prepare: impl FnOnce(&mut Command),
    ) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::create_dir(folder.path().join("spool")).expect("a spool folder");
        let control = SocketAddr::from((Ipv4Addr::LOCALHOST, ports.control()));
        let mut command = Command::new(relay_binary());
        command
            .args(["--config-file=none", "--table=-1", "--foreground", "--log-stderr"])
            .args(interfaces.iter().map(|interface| format!("--interface={interface}")))
            .arg(format!("--listen-ng={control}"));
        if !arguments.iter().any(|argument| argument.starts_with("--log-level")) {
            command.arg("--log-level=7");
        }
        // The same tests on another rung: nothing else differs.
        if let Ok(rung) = std::env::var("RTPENGINE_E2E_OFFLOAD")
            && !arguments.iter().any(|argument| argument.starts_with("--offload"))
        {
            command.args([&format!("--offload={rung}"), "--offload-delay=0"]);
        }
        let home = folder.path().to_str().expect("temporary folders have plain names").to_owned();
        command.args(arguments.iter().map(|argument| argument.replace("{DIR}", &home)));
        prepare(&mut command);
        let mut process =
            Process::start(command, &folder.path().join("relay.log")).expect("the relay starts");
        let ng = NgClient::connect(control);
        if let Err(reason) = await_ping(&ng, &mut process, START) {
            panic!("relay: {reason}\n{}", process.log());
        }
        Self { process, ng, control, folder, ports }
    }

    /// Stands in the place of a former one, whose ports and folder it goes on with.
    pub fn replaces(&mut self, former: Relay) {
        let Relay { folder, ports, control, .. } = former;
        self.folder = folder;
        self.ports = ports;
        self.control = control;
    }

    /// A path below the daemon's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// Whether a daemon may load eBPF programs here: CAP_NET_ADMIN (12) and CAP_BPF (39) are effective.
pub fn may_load_ebpf() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let set = set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).unwrap_or(0);
    set >> 12 & set >> 39 & 1 == 1
}

/// Waits until a daemon answers `ping`, which it does when everything else is up.
pub fn await_ping(ng: &NgClient, process: &mut Process, limit: Duration) -> Result<(), String> {
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        if let Some(status) = process.ended() {
            return Err(format!("ended with {status} instead of answering"));
        }
        let reply = ng.request_as(&json!({"command": "ping"}), Format::Bencode, Duration::from_millis(10));
        if reply.is_some_and(|reply| reply["result"] == "pong") {
            return Ok(());
        }
    }
    Err(format!("no answer to ping within {limit:?}"))
}

/// A running recorder.
#[derive(Debug)]
pub struct Recorder {
    /// The process.
    pub process: Process,
    /// Where it writes.
    pub output: PathBuf,
}

impl Recorder {
    /// A recorder that watches the relay's `spool/` and writes into its `recordings/`.
    pub fn start(relay: &Relay, arguments: &[&str]) -> Self {
        Self::start_in(relay.folder.path(), arguments)
    }

    /// A recorder that watches `folder/spool` and writes into `folder/recordings`; returns when it watches.
    pub fn start_in(folder: &Path, arguments: &[&str]) -> Self {
        let output = folder.join("recordings");
        let spool = folder.join("spool");
        let _ = std::fs::create_dir_all(&output);
        let _ = std::fs::create_dir_all(&spool);
        let mut command = Command::new(recorder_binary());
        if !arguments.iter().any(|argument| argument.starts_with("--log-level")) {
            command.arg("--log-level=7");
        }
        command
            .args(["--config-file=none", "--foreground", "--log-stderr"])
            .arg(if is_above_the_module() { "--table=0" } else { "--table=-1" })
            .arg(format!("--spool-dir={}", spool.display()))
            .arg(format!("--output-dir={}", output.display()))
            .args(arguments);
        let mut process = Process::start(command, &folder.join("recorder.log")).expect("the recorder starts");
        let watching = wait_for(Duration::from_secs(10), || {
            (has_inotify_watch(process.id()) || process.ended().is_some()).then_some(())
        });
        assert!(
            watching.is_some() && process.ended().is_none(),
            "recorder does not watch\n{}",
            process.log()
        );
        Self { process, output }
    }

    /// Waits until `count` finished files with this ending exist that are no longer open for writing.
    pub fn await_files(&self, ending: &str, count: usize, limit: Duration) -> Vec<PathBuf> {
        let found = wait_for(limit, || {
            let files = files_below(&self.output, ending);
            (files.len() >= count && !files.iter().any(|file| is_open_in(self.process.id(), file)))
                .then_some(files)
        });
        found.unwrap_or_else(|| {
            panic!("{count} files *{ending} expected, found {:?}", files_below(&self.output, ending))
        })
    }
}

/// Whether relays are told to forward by the kernel module, which exposes recorded streams in its table.
fn is_above_the_module() -> bool {
    std::env::var("RTPENGINE_E2E_OFFLOAD").is_ok_and(|rung| rung == "module")
}

/// Files with this ending, at any depth, sorted.
pub fn files_below(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files_below(&path, ending));
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Polls until `probe` gives something: for states outside of this process that announce nothing.
pub fn wait_for<T>(limit: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = probe() {
            return Some(value);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn has_inotify_watch(pid: u32) -> bool {
    let folder = format!("/proc/{pid}/fdinfo");
    std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .any(|entry| std::fs::read_to_string(entry.path()).is_ok_and(|text| text.contains("inotify wd:")))
}

fn is_open_in(pid: u32, file: &Path) -> bool {
    let folder = format!("/proc/{pid}/fd");
    std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .any(|entry| std::fs::read_link(entry.path()).is_ok_and(|target| target == file))
}
