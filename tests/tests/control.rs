//! Starting, stopping, limits, and the rules of the control protocol that need a whole daemon.

use std::process::Command;
use std::time::{Duration, Instant};

use e2e::call::{Call, Setup};
use e2e::daemon::{Process, Relay, relay_binary, wait_for};
use e2e::party::Party;
use e2e::{bencode, sdp};
use serde_json::{Value, json};

#[test]
fn sigterm_and_sigint_end_the_relay_with_status_zero() {
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let mut relay = Relay::start(&[]);
        let mut call = Call::establish(&relay, "term", Setup::default());
        call.learn();
        drop(call);
        relay.process.signal(signal);
        let status = relay.process.wait(Duration::from_secs(10)).expect("it ends");
        assert_eq!(status.code(), Some(0), "signal {signal}");
    }
}

#[test]
fn a_repeated_cookie_gets_the_stored_reply_and_nothing_is_done_twice() {
    let relay = Relay::start(&[]);
    let sdp = sdp::audio(Party::new("127.0.0.1").local(), &["0 PCMU/8000"], &[]);
    let offer = json!({"command": "offer", "call-id": "again", "from-tag": "a", "sdp": sdp});
    let wait = Duration::from_secs(2);
    let first = relay.ng.exchange("same", &bencode::encode(&offer), wait).expect("a reply");
    let second =
        relay.ng.exchange("same", &bencode::encode(&json!({"command": "ping"})), wait).expect("a reply");
    assert_eq!(first, second);
    let other =
        relay.ng.exchange("other", &bencode::encode(&json!({"command": "ping"})), wait).expect("a reply");
    assert_eq!(other, b"d6:result4:ponge");
}

#[test]
fn max_sessions_refuses_new_calls_and_lets_running_ones_go_on() {
    let relay = Relay::start(&["--max-sessions=1"]);
    let mut call = Call::establish(&relay, "first", Setup::default());
    call.learn();
    let sdp = sdp::audio(Party::new("127.0.0.1").local(), &["0 PCMU/8000"], &[]);
    let offer = |id: &str| json!({"command": "offer", "call-id": id, "from-tag": "a", "sdp": sdp});
    let refused = relay.ng.request(&offer("second"));
    assert_eq!(
        (&refused["result"], &refused["error-reason"]),
        (&json!("error"), &json!("Parallel session limit reached"))
    );
    let mut polite = offer("third");
    polite["supports"] = json!(["load limit"]);
    assert_eq!(relay.ng.request(&polite)["result"], "load limit");
    assert_eq!(relay.ng.request(&offer("first"))["result"], "ok");
    call.delete();
    assert_eq!(relay.ng.request(&offer("second"))["result"], "ok");
}

#[test]
fn a_call_without_media_ends_after_the_time_out() {
    let relay = Relay::start(&["--timeout=2"]);
    let mut call = Call::establish(&relay, "silent", Setup::default());
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(2500) {
        call.learn();
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(calls(&relay), json!(["silent"]), "media keeps a call alive");
    let gone = wait_for(Duration::from_secs(7), || (calls(&relay) == json!([])).then_some(()));
    assert!(gone.is_some(), "the call is still there 7 s after its last packet");
}

#[test]
fn deleting_with_a_delay_lets_the_media_flow_until_then() {
    let relay = Relay::start(&[]);
    let mut call = Call::establish(&relay, "delayed", Setup::default());
    call.command("delete", &json!({"delete-delay": 2}));
    call.learn();
    assert_eq!(calls(&relay), json!(["delayed"]));
    let gone = wait_for(Duration::from_secs(6), || (calls(&relay) == json!([])).then_some(()));
    assert!(gone.is_some(), "the call is gone after the delay");
}

#[test]
fn an_empty_tag_names_nobody() {
    let relay = Relay::start(&[]);
    let sdp = sdp::audio(Party::new("127.0.0.1").local(), &["0 PCMU/8000"], &[]);
    let ask = |command: &str, more: Value| {
        let mut request = json!({"command": command, "call-id": "nameless", "from-tag": "a", "sdp": sdp});
        request
            .as_object_mut()
            .expect("a dictionary")
            .extend(more.as_object().expect("a dictionary").clone());
        relay.ng.ok(request)
    };
    for more in [json!({"from-tag": ""}), json!({"to-tag": "", "flags": ["to-tag"]})] {
        // An offer that is repeated is not another branch.
        let first = ask("offer", json!({"to-tag": "", "via-branch": ""}));
        assert_eq!(ask("offer", json!({"to-tag": "", "via-branch": ""}))["sdp"], first["sdp"]);
        ask("answer", json!({"to-tag": "b"}));
        for selector in [json!({"to-tag": ""}), json!({"from-tag": ""})] {
            let tags = ask("query", selector)["tags"].as_object().expect("tags").len();
            assert_eq!(tags, 2, "the two parties");
        }
        let mut delete = more.clone();
        delete["delete-delay"] = json!(0);
        assert_eq!(ask("delete", delete)["warning"], Value::Null);
        assert_eq!(calls(&relay), json!([]), "{more}");
    }
}

#[test]
fn ports_of_a_deleted_call_are_free_again() {
    let relay = Relay::start(&[]);
    for round in 0..300 {
        Call::establish(&relay, &format!("port-{round}"), Setup::default()).delete();
        if round % 20 == 19 {
            // The workers close the sockets a moment after the reply.
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn start_up_mistakes_are_named_and_fatal() {
    const CASES: [(&str, &[&str], &str); 5] = [
        ("no interface", &["--listen-ng=127.0.0.1:1"], "interface"),
        ("interface that is none", &["--interface=nonsense!", "--listen-ng=127.0.0.1:9"], "nonsense"),
        (
            "port range upside down",
            &["--interface=127.0.0.1", "--listen-ng=127.0.0.1:9", "--port-min=2000", "--port-max=1000"],
            "port",
        ),
        ("unknown option", &["--interface=127.0.0.1", "--no-such-option"], "no-such-option"),
        (
            "recording directory that is a file",
            &[
                "--interface=127.0.0.1",
                "--listen-ng=127.0.0.1:9",
                "--recording-dir=/dev/null",
                "--recording-method=pcap",
            ],
            "/dev/null",
        ),
    ];
    let folder = tempfile::tempdir().expect("a folder");
    for (i, (name, arguments, word)) in CASES.into_iter().enumerate() {
        let mut command = Command::new(relay_binary());
        command.args(["--config-file=none", "--foreground", "--log-stderr"]).args(arguments);
        let mut process = Process::start(command, &folder.path().join(format!("{i}.log"))).expect("started");
        let status = process.wait(Duration::from_secs(5)).unwrap_or_else(|| panic!("{name}: still running"));
        assert!(!status.success(), "{name}: {status}");
        let log = process.log();
        assert!(log.contains(word), "{name}: the message does not name {word:?}:\n{log}");
    }
}

#[test]
fn a_busy_control_port_is_a_start_up_error() {
    let relay = Relay::start(&[]);
    let mut command = Command::new(relay_binary());
    command.args(["--config-file=none", "--foreground", "--log-stderr", "--interface=127.0.0.1"]);
    command.arg(format!("--listen-ng={}", relay.control));
    let mut second = Process::start(command, &relay.path("second.log")).expect("started");
    let status = second.wait(Duration::from_secs(5)).expect("it gives up");
    assert!(
        !status.success() && second.log().contains(&relay.control.port().to_string()),
        "{}",
        second.log()
    );
}

fn calls(relay: &Relay) -> Value {
    relay.ng.ok(json!({"command": "list"}))["calls"].clone()
}
