//! Where log lines go, which there are, and what they look like.

use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use e2e::call::{Call, Setup};
use e2e::daemon::{Process, Relay, await_ping, relay_binary, wait_for};
use e2e::ng::NgClient;
use serde_json::json;

const SOON: Duration = Duration::from_secs(15);
const LEVELS: &[&str] = &[
    "log-level-core",
    "log-level-ffmpeg",
    "log-level-internals",
    "log-level-spandsp",
    "log-level-transcoding",
    "log-level-codec",
    "log-level-rtcp",
    "log-level-ice",
    "log-level-crypto",
    "log-level-srtp",
    "log-level-http",
    "log-level-control",
    "log-level-dtx",
];

/// The log of a daemon that has had a call, up to the final statistics of it, and a request that is long and has two lines.
fn log(arguments: &[&str]) -> String {
    let relay = Relay::start(arguments);
    let mut call = Call::establish(&relay, "logged@call", Setup::default());
    call.learn();
    let body = format!("list numsessions {}\nsecond line", "x".repeat(300));
    relay.ng.ok(json!({"command": "cli", "body": body}));
    call.delete();
    let whole = wait_for(SOON, || Some(relay.process.log()).filter(|log| log.contains("Final packet stats")));
    whole.unwrap_or_else(|| relay.process.log())
}

#[test]
fn each_subsystem_has_a_level() {
    let options: Vec<String> =
        LEVELS.iter().enumerate().map(|(n, option)| format!("--{option}={}", 1 + n % 7)).collect();
    let relay = Relay::start(&options.iter().map(String::as_str).collect::<Vec<_>>());
    for (number, option) in LEVELS.iter().enumerate() {
        let name = option.rsplit('-').next().expect("a name");
        let reply = relay.ng.ok(json!({"command": "cli", "body": format!("list loglevel {name}")}));
        assert_eq!(reply["response"], format!("{}\n", 1 + number % 7), "{name}");
    }
}

#[test]
fn levels_decide_what_is_in_the_log() {
    let of = |arguments: &[&str]| {
        let log = log(arguments);
        ["[core]", "[control]", "[internals]"].map(|subsystem| {
            log.contains(&format!("INFO: {subsystem}")) || log.contains(&format!(": {subsystem}"))
        })
    };
    assert_eq!(of(&["--log-level=6"])[..2], [true, true]);
    assert_eq!(of(&["--log-level=6", "--log-level-control=3"])[..2], [true, false]);
    assert_eq!(of(&["--log-level=3", "--log-level-control=6"])[..2], [false, true]);
}

#[test]
fn lines_have_a_time_unless_that_is_not_wanted() {
    let is_plain = |line: &str| line.starts_with("INFO: [core] Version ");
    assert!(log(&["--no-log-timestamps"]).lines().any(is_plain));
    let with = log(&[]);
    assert!(with.starts_with('[') && !with.lines().any(is_plain), "{with}");
}

#[test]
fn the_context_of_a_line_can_be_made_for_programs() {
    assert!(log(&["--log-format=parsable"]).contains(r#"[ID="logged@call"]: [core] "#));
    assert!(log(&["--log-format=default"]).contains("[logged@call]: [core] "));
}

#[test]
fn what_is_sensitive_has_marks_around_it() {
    let log = log(&["--log-mark-prefix=<<", "--log-mark-suffix=>>"]);
    assert!(log.contains("<<logged@call>>") && !log.contains(" logged@call"), "{log}");
}

#[test]
fn messages_of_several_lines_are_split_when_that_is_wanted() {
    let has_bare_line = |log: &str| log.lines().any(|line| line.starts_with("second line"));
    assert!(has_bare_line(&log(&[])));
    let split = log(&["--split-logs"]);
    assert!(!has_bare_line(&split) && split.contains("[control] second line"), "{split}");
}

#[test]
fn long_lines_are_cut() {
    let long = |log: &str| log.lines().map(str::len).max().expect("lines");
    let cut = log(&["--max-log-line-length=150", "--log-level=7"]);
    assert!(long(&cut) <= 220, "{}", long(&cut));
    assert!(cut.lines().any(|line| line.ends_with(" ...")) && cut.contains("] ... "), "{cut}");
    let whole = log(&["--max-log-line-length=-1", "--log-level=7"]);
    assert!(long(&whole) > 220 && !whole.contains("] ... "), "{}", long(&whole));
}

/// A daemon whose syslog is a socket of ours; what it writes there. `None` where a test may not have a `/dev` of its own.
fn syslog(arguments: &[&str], expected: &str) -> Option<String> {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = UnixDatagram::bind(folder.path().join("log")).expect("a socket");
    socket.set_read_timeout(Some(SOON)).expect("not zero");
    let port = crate::free();
    let script = "mount -t tmpfs none /dev && ln -s \"$0\" /dev/log && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script]).arg(folder.path().join("log")).arg(relay_binary());
    command.args(["--config-file=none", "--table=-1", "--interface=127.0.0.1", "--foreground"]);
    command.arg(format!("--listen-ng={port}")).args(arguments).process_group(0);
    let allowed = Command::new("unshare").args(["--mount", "mount", "-t", "tmpfs", "none", "/dev"]).status();
    if !allowed.is_ok_and(|status| status.success()) {
        return None;
    }
    let mut process = Process::start(command, &folder.path().join("relay.log")).expect("unshare");
    await_ping(&NgClient::connect(port.parse().expect("an address")), &mut process, SOON)
        .expect("it answers");
    let mut text = String::new();
    let mut buffer = [0; 65_536];
    while !text.contains(expected) {
        let length = socket.recv(&mut buffer).unwrap_or_else(|error| panic!("{expected}: {error}\n{text}"));
        text.push_str(&String::from_utf8_lossy(&buffer[..length]));
        text.push('\n');
    }
    let log = process.log();
    assert!(!log.contains("INFO"), "not on standard error, too: {log}");
    Some(text)
}

/// Without `--log-stderr`, which all other tests have.
#[test]
fn the_log_goes_to_syslog_under_the_configured_name_and_facility() {
    // 16 is local0, 3 is daemon; 6 is the severity of information.
    for (arguments, start) in
        [(&["--log-facility=local0", "--log-name=my-relay"][..], "<134>"), (&["--log-name=my-relay"], "<30>")]
    {
        let Some(text) = syslog(arguments, "Startup complete") else { return };
        let line = text.lines().find(|line| line.contains("Startup complete")).expect("a line");
        assert!(line.starts_with(start) && line.contains("my-relay["), "{line}");
    }
}
