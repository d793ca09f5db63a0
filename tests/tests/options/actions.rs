//! What the program does instead of, or around, serving calls.

use std::process::{Command, Output};
use std::time::Duration;

use e2e::daemon::{Relay, relay_binary, wait_for};
use e2e::ng::NgClient;
use serde_json::Value;

const SOON: Duration = Duration::from_secs(15);

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(relay_binary());
    command.arg("--config-file=none").args(arguments).output().expect("the relay runs")
}

#[test]
fn the_codecs_are_listed() {
    let list = run(&["--codecs"]);
    let text = String::from_utf8(list.stdout).expect("text");
    assert!(
        list.status.success() && text.lines().any(|line| line.trim_start().starts_with("PCMA")),
        "{text}"
    );
    let list: Value = serde_json::from_slice(&run(&["--codecs-json"]).stdout).expect("JSON");
    assert!(list.to_string().contains("PCMA"), "{list}");
}

#[test]
fn without_the_kernel_there_is_no_start_when_that_is_wanted() {
    // Nobody has this table: where the module is there, this one is asked for by nobody else.
    if std::path::Path::new("/proc/rtpengine/control").exists() {
        return;
    }
    let least = ["--interface=127.0.0.1", "--table=61", "--offload=module", "--foreground", "--log-stderr"];
    let listen = format!("--listen-ng={}", crate::free());
    let output = run(&[&least[..], &[&listen, "--no-fallback"]].concat());
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(255), "{text}");
    assert!(text.contains("Userspace fallback disallowed"), "{text}");
}

#[test]
fn the_process_goes_to_the_background_unless_told_otherwise() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("pid");
    let address = crate::free();
    // Its parent returns when it is up; without `--foreground`.
    let output = run(&[
        "--table=-1",
        "--interface=127.0.0.1",
        "--log-level=3",
        &format!("--listen-ng={address}"),
        &format!("--pidfile={}", file.display()),
    ]);
    assert!(output.status.success(), "{output:?}");
    let text = wait_for(SOON, || std::fs::read_to_string(&file).ok().filter(|text| text.ends_with('\n')));
    let pid: i32 = text.expect("a pid file").trim().parse().expect("a number");
    let status = || std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let name = status().lines().next().map(str::to_owned);
    assert_eq!(name.as_deref(), Some("Name:\trtpengine"), "it goes on");
    let ng = NgClient::connect(address.parse().expect("an address"));
    let answers = wait_for(SOON, || {
        let ping = serde_json::json!({"command": "ping"});
        ng.request_as(&ping, e2e::ng::Format::Bencode, Duration::from_millis(50))
    });
    // SAFETY: plain system call; the process was started here and has just been seen under its name.
    unsafe { libc::kill(pid, libc::SIGTERM) };
    assert_eq!(answers.expect("an answer")["result"], "pong");
    assert!(wait_for(SOON, || status().is_empty().then_some(())).is_some(), "it ends");
}

#[test]
fn signals_change_log_levels_and_end_the_process() {
    let mut relay = Relay::start(&["--log-level=5", "--log-level-core=6"]);
    let says = |relay: &Relay, text: &str| {
        wait_for(SOON, || relay.process.log().contains(text).then_some(())).is_some()
    };
    let level = |relay: &Relay| {
        let line = serde_json::json!({"command": "cli", "body": "list loglevel ice"});
        relay.ng.ok(line)["response"].clone()
    };
    relay.process.signal(libc::SIGUSR2);
    assert!(says(&relay, "Increased 'ice' log level to 6"), "{}", relay.process.log());
    assert_eq!(level(&relay), "6\n");
    relay.process.signal(libc::SIGUSR1);
    assert!(says(&relay, "Decreased 'ice' log level to 5"), "{}", relay.process.log());
    assert_eq!(level(&relay), "5\n");
    relay.process.signal(libc::SIGPIPE);
    relay.ng.ok(serde_json::json!({"command": "list"}));
    relay.process.signal(libc::SIGHUP);
    assert_eq!(relay.process.wait(SOON).and_then(|status| status.code()), Some(42));
    let mut relay = Relay::start(&[]);
    assert_eq!(relay.process.terminate().code(), Some(0));
    assert!(relay.process.log().contains("shutting down"), "{}", relay.process.log());
}
