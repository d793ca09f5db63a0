//! What options do to a running daemon, where that can be seen from outside and is nobody else's test.

use std::collections::BTreeSet;
use std::fs;

use e2e::daemon::Relay;
use serde_json::json;

/// Nice value of a thread.
fn nice(pid: u32, name: &str) -> i32 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("tasks").flatten();
    let stats = tasks.filter_map(|task| fs::read_to_string(task.path().join("stat")).ok());
    let named = stats.filter_map(|stat| {
        let (head, rest) = stat.rsplit_once(')')?;
        head.ends_with(&format!("({name}")).then(|| rest.split_whitespace().nth(16)?.parse().ok()).flatten()
    });
    named.into_iter().next().unwrap_or_else(|| panic!("no thread {name}"))
}

#[test]
fn workers_and_background_threads_have_priorities_of_their_own() {
    let relay = Relay::start(&["--priority=5", "--idle-priority=9", "--num-threads=1"]);
    let pid = relay.process.id();
    assert_eq!((nice(pid, "media-0"), nice(pid, "ng-udp"), nice(pid, "control")), (5, 5, 9));
    assert_eq!(nice(pid, "rtpengine"), 0, "the main thread stays as it was started");
}

#[test]
fn a_policy_that_is_not_allowed_is_told_and_the_daemon_starts() {
    let relay = Relay::start(&["--scheduling=fifo", "--priority=1000"]);
    assert!(relay.process.log().contains("a thread keeps its scheduling"), "{}", relay.process.log());
}

/// Addresses among the candidates of an offer's answer.
fn candidate_addresses(arguments: &[&str]) -> BTreeSet<String> {
    let relay = Relay::start_on(&["x/127.0.0.1", "x/127.0.0.2"], arguments);
    let sdp =
        "v=0\r\no=- 1 1 IN IP4 127.0.0.9\r\ns=-\r\nc=IN IP4 127.0.0.9\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";
    let offer = json!({"command": "offer", "call-id": "c", "from-tag": "a", "ICE": "force", "sdp": sdp});
    let reply = relay.ng.ok(offer);
    let sdp = reply["sdp"].as_str().expect("an SDP").to_owned();
    let candidates = sdp.lines().filter_map(|line| line.strip_prefix("a=candidate:"));
    candidates.filter_map(|line| line.split(' ').nth(4).map(str::to_owned)).collect()
}

#[test]
fn further_addresses_of_an_interface_can_be_left_alone() {
    assert_eq!(candidate_addresses(&[]).len(), 2);
    assert_eq!(candidate_addresses(&["--save-interface-ports"]).len(), 1);
}
