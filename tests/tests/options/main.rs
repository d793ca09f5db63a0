//! What options do to a running daemon. `walk` names for each documented option the test that proves its effect.

mod actions;
mod dtls;
mod logging;
mod media;
mod process;
mod recording;
mod servers;
mod signalling;
mod sockets;
mod walk;

use std::collections::BTreeSet;
use std::net::TcpListener;

use e2e::daemon::Relay;
use serde_json::json;

/// A TCP address on loopback that nobody uses.
fn free() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    listener.local_addr().expect("bound").to_string()
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
