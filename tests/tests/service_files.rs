//! What a service manager and a package see: signs of life, installed files, units.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use e2e::daemon::{Process, Relay, recorder_binary, relay_binary, wait_for};
use e2e::threads::{thread_named, with_hanging_thread};
use serde_json::json;

const SOON: Duration = Duration::from_secs(20);

/// A service manager's socket.
struct Manager {
    socket: UnixDatagram,
    folder: tempfile::TempDir,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = UnixDatagram::bind(folder.path().join("notify")).expect("a socket");
        Self { socket, folder }
    }

    fn watches(&self, command: &mut Command, watchdog: Duration) {
        command
            .env("NOTIFY_SOCKET", self.folder.path().join("notify"))
            .env("WATCHDOG_USEC", watchdog.as_micros().to_string());
    }

    /// The next message within a time.
    fn message(&self, patience: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(patience)).expect("a timeout");
        let mut buffer = [0; 256];
        let length = self.socket.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    fn hears(&self, expected: &str) {
        let end = Instant::now() + SOON;
        while let Some(message) = self.message(end.saturating_duration_since(Instant::now())) {
            if message == expected {
                return;
            }
        }
        panic!("the service manager never heard {expected:?}");
    }

    /// Nothing comes for so long.
    fn falls_silent(&self, silence: Duration) -> bool {
        let end = Instant::now() + SOON;
        while Instant::now() < end {
            if self.message(silence).is_none() {
                return true;
            }
        }
        false
    }
}

#[test]
fn a_worker_that_hangs_ends_the_signs_of_life() {
    let manager = Manager::new();
    let mut relay = Relay::start_with(&["--num-threads=2"], |command| {
        manager.watches(command, Duration::from_millis(900));
    });
    manager.hears("READY=1\n");
    manager.hears("WATCHDOG=1\n");
    manager.hears("WATCHDOG=1\n");
    let worker = thread_named(relay.process.id(), "media-1");
    let silent = with_hanging_thread(worker, || manager.falls_silent(Duration::from_secs(2)));
    assert!(silent, "a worker hangs, and nobody notices");
    manager.hears("WATCHDOG=1\n");
    assert_eq!(relay.ng.request(&json!({"command": "ping"}))["result"], "pong");
    relay.process.terminate();
    manager.hears("STOPPING=1\n");
}

#[test]
fn a_recorder_that_hangs_ends_the_signs_of_life() {
    let manager = Manager::new();
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(recorder_binary());
    command.args(["--config-file=none", "--foreground", "--log-stderr", "--num-threads=2"]);
    for (option, name) in [("spool-dir", "spool"), ("output-dir", "output")] {
        command.arg(format!("--{option}={}", folder.path().join(name).display()));
    }
    manager.watches(&mut command, Duration::from_millis(900));
    let mut recorder = Process::start(command, &folder.path().join("log")).expect("the recorder");
    manager.hears("READY=1\n");
    // The first is sent before any worker was asked; with the second one, all have answered.
    manager.hears("WATCHDOG=1\n");
    manager.hears("WATCHDOG=1\n");
    let worker = thread_named(recorder.id(), "worker-1");
    let silent = with_hanging_thread(worker, || manager.falls_silent(Duration::from_secs(2)));
    assert!(silent, "a worker hangs, and nobody notices");
    manager.hears("WATCHDOG=1\n");
    recorder.terminate();
    manager.hears("STOPPING=1\n");
}

#[test]
fn what_is_installed_is_complete_and_sound() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let folder = tempfile::tempdir().expect("a folder");
    let build = relay_binary().parent().expect("a folder").to_owned();
    let install = || {
        let status = Command::new(root.join("scripts/install"))
            .env("DESTDIR", folder.path())
            .env("PREFIX", "/usr")
            .env("BUILD", &build)
            .status();
        assert!(status.expect("scripts/install").success());
    };
    install();
    let at = |path: &str| folder.path().join(path);
    for path in [
        "usr/bin/rtpengine",
        "usr/bin/rtpengine-recording",
        "usr/bin/rtpengine-ctl",
        "usr/bin/rtpengine-get-table",
        "usr/share/man/man8/rtpengine.8",
        "usr/share/man/man8/rtpengine-recording.8",
        "usr/share/man/man8/rtpengine-ctl.8",
        "usr/share/bash-completion/completions/rtpengine-ctl",
        "usr/share/zsh/site-functions/_rtpengine",
        "usr/lib/systemd/system/rtpengine-daemon.service",
        "usr/lib/systemd/system/rtpengine-recording-daemon.service",
        "usr/lib/sysusers.d/rtpengine.conf",
        "etc/logrotate.d/rtpengine",
        "etc/default/rtpengine-daemon",
        "etc/rtpengine/rtpengine-recording.conf",
    ] {
        assert!(at(path).is_file(), "{path} is missing");
    }

    // What an operator has written stays.
    let config = at("etc/rtpengine/rtpengine.conf");
    fs::write(&config, "[rtpengine]\ntable = 7\n").expect("write");
    install();
    assert_eq!(fs::read_to_string(&config).expect("config"), "[rtpengine]\ntable = 7\n");
    assert!(at("etc/rtpengine/rtpengine.conf.sample").is_file());
    let table = Command::new(at("usr/bin/rtpengine-get-table")).arg("--config-file").arg(&config).output();
    assert_eq!(table.expect("rtpengine-get-table").stdout, b"7\n");

    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        return;
    }
    let root = folder.path().display().to_string();
    for name in ["rtpengine-daemon.service", "rtpengine-recording-daemon.service"] {
        // Names of units that do not exist here are no concern of ours.
        let unit = at("usr/lib/systemd/system").join(name);
        let output = Command::new("systemd-analyze")
            .args(["--man=no", "--recursive-errors=no", "verify"])
            .arg(&unit)
            .env("SYSTEMD_UNIT_PATH", format!("{root}/usr/lib/systemd/system:/usr/lib/systemd/system"))
            .output()
            .expect("systemd-analyze");
        let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
        let ours: Vec<&str> = complaints
            .lines()
            .filter(|line| line.contains(name) && !line.contains("is not executable"))
            .collect();
        assert!(ours.is_empty(), "{ours:#?}");
        let rating = Command::new("systemd-analyze")
            .args(["security", "--offline=yes", "--threshold=35"])
            .arg(&unit)
            .output()
            .expect("systemd-analyze");
        assert!(rating.status.success(), "{}", String::from_utf8_lossy(&rating.stdout));
    }
}

#[test]
fn the_client_speaks_json_and_shows_live_calls() {
    let ports = e2e::ports::PortBlock::take();
    let cli = format!("127.0.0.1:{}", ports.control());
    // TCP and UDP ports do not meet.
    let relay = Relay::start(&[&format!("--listen-cli={cli}")]);
    let ctl = |words: &[&str]| {
        let binary = relay_binary().with_file_name("rtpengine-ctl");
        let output = Command::new(binary).args(["--ip", &cli]).args(words).output().expect("rtpengine-ctl");
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let value = |words: &[&str]| -> serde_json::Value {
        let (ok, text) = ctl(words);
        assert!(ok, "{text}");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{words:?}: {error}: {text}"))
    };
    let call = e2e::call::Call::establish(&relay, "json-1", e2e::call::Setup::default());
    assert_eq!(value(&["--json", "list", "sessions", "all"])[0]["call_id"], "json-1");
    assert_eq!(value(&["--json", "list", "numsessions"])["Current sessions own"], 1);
    assert_eq!(value(&["--json", "list", "timeout"])["TIMEOUT"], 60);
    assert_eq!(value(&["--json", "list", "totals"])["currentstatistics"]["sessionstotal"], 1);
    assert_eq!(value(&["--json", "list", "interfaces"])[0]["address"], "127.0.0.1");
    let info = value(&["--json", "call", "json-1", "info"]);
    assert_eq!(info["tags"][0]["medias"][0]["type"], "audio");
    let (ok, text) = ctl(&["--json", "call", "nosuch", "info"]);
    assert!(!ok && text.contains("error"), "{text}");

    let shown = wait_for(SOON, || {
        let (ok, text) = ctl(&["top", "--once", "--interval=0.3"]);
        assert!(ok, "{text}");
        text.contains("json-1").then_some(text)
    });
    let shown = shown.expect("the call");
    assert!(shown.contains("1 calls") && !shown.contains('\x1b'), "{shown}");
    drop(call);
}
