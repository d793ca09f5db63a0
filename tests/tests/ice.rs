//! Calls whose media find their way by ICE, with a party that is an implementation of its own.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use e2e::daemon::{Relay, wait_for};
use e2e::ice::{IceParty, candidates};
use e2e::party::Party;
use e2e::sdp;
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(5);
const MOMENT: Duration = Duration::from_millis(100);

/// A call between a party with ICE and a plain one.
struct Call<'a> {
    relay: &'a Relay,
    id: &'static str,
    ice: IceParty,
    plain: Party,
    version: u32,
}

impl<'a> Call<'a> {
    fn new(relay: &'a Relay, id: &'static str, controlling: bool) -> Self {
        let (ice, plain) = (IceParty::new("127.0.0.1", controlling), Party::new("127.0.0.1"));
        Self { relay, id, ice, plain, version: 0 }
    }

    fn request(&self, command: &str, sdp: String, more: Value) -> String {
        let mut request = json!({
            "command": command, "call-id": self.id, "from-tag": "a", "sdp": sdp, "replace": ["origin"],
        });
        if command == "answer" {
            request["to-tag"] = json!("b");
        }
        for (key, value) in more.as_object().into_iter().flatten() {
            request[key] = value.clone();
        }
        let reply = self.relay.ng.ok(request);
        reply["sdp"].as_str().expect("sdp").to_owned()
    }

    /// The description of the party with ICE.
    fn ice_description(&mut self, candidates: bool) -> String {
        self.version += 1;
        let mut attributes = self.ice.attributes();
        attributes.extend(candidates.then(|| self.ice.candidate()));
        let attributes: Vec<&str> = attributes.iter().map(String::as_str).collect();
        sdp::audio(self.ice.local(), &["0 PCMU/8000"], &attributes)
    }

    fn plain_description(&self) -> String {
        sdp::audio(self.plain.local(), &["0 PCMU/8000"], &[])
    }

    /// The party with ICE calls.
    fn ice_offers(&mut self, candidates: bool, offer: Value, answer: Value) {
        let mut keys = json!({"ICE": "remove", "rtcp-mux": ["demux"]});
        for (key, value) in offer.as_object().into_iter().flatten() {
            keys[key] = value.clone();
        }
        let description = self.ice_description(candidates);
        let offered = self.request("offer", description, keys);
        self.plain.remote = Some(sdp::media(&offered).rtp);
        let answered = self.request("answer", self.plain_description(), answer);
        self.ice.read(&answered);
    }

    /// The party with ICE is called.
    fn ice_is_offered(&mut self, offer: Value) -> String {
        let mut keys = json!({"ICE": "force", "rtcp-mux": ["offer"]});
        for (key, value) in offer.as_object().into_iter().flatten() {
            keys[key] = value.clone();
        }
        let offered = self.request("offer", self.plain_description(), keys);
        self.ice.read(&offered);
        let description = self.ice_description(true);
        let answered = self.request("answer", description, json!({}));
        self.plain.remote = Some(sdp::media(&answered).rtp);
        offered
    }

    /// Media both ways.
    fn assert_flows(&mut self) -> SocketAddr {
        let packet = self.plain.next_packet(0, &[1; 160], 160).to_octets();
        self.ice.send(&packet);
        assert!(self.plain.receive(LIMIT).is_some(), "to the plain party");
        let packet = self.plain.next_packet(0, &[2; 160], 160);
        self.plain.send(&packet);
        let (from, octets) = self.ice.receive(LIMIT).expect("to the party with ICE");
        assert_eq!(octets, packet.to_octets());
        from
    }

    fn query(&self) -> Value {
        self.relay.ng.ok(json!({"command": "query", "call-id": self.id}))
    }
}

fn stranger() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").expect("a free port")
}

#[test]
fn a_caller_with_ice_is_heard_on_its_verified_path_only() {
    let relay = Relay::start(&[]);
    let mut call = Call::new(&relay, "caller", true);
    call.ice_offers(true, json!({}), json!({}));
    let port = call.ice.candidates[0];
    let packet = call.plain.next_packet(0, &[1; 160], 160).to_octets();
    call.ice.socket.send_to(&packet, port).expect("send");
    assert!(call.plain.receive(MOMENT).is_none(), "nothing is verified yet");
    assert_eq!(call.ice.establish(LIMIT), Some(port));
    assert_eq!(call.assert_flows(), port);
    stranger().send_to(&packet, port).expect("send");
    assert!(call.plain.receive(MOMENT).is_none(), "a stranger");
    call.assert_flows();
    let flags = call.query()["tags"]["a"]["medias"][0]["flags"].to_string();
    assert!(flags.contains("\"ICE\"") && !flags.contains("controlling"), "{flags}");
}

#[test]
fn a_callee_with_ice_is_checked_and_nominated() {
    let relay = Relay::start(&[]);
    let mut call = Call::new(&relay, "callee", false);
    call.ice_is_offered(json!({}));
    let path = call.ice.establish(LIMIT).expect("the daemon nominates");
    assert_eq!(path, call.ice.candidates[0]);
    assert!(call.ice.checked_from.len() >= 2, "a check, and then the nomination");
    call.assert_flows();
    // The next offer says what was selected.
    let selected = || {
        let offered = call.request("offer", call.plain_description(), json!({"ICE": "force", "to-tag": "b"}));
        offered.contains("a=remote-candidates:").then_some(offered)
    };
    let offered = wait_for(LIMIT, selected).expect("remote-candidates");
    let local = call.ice.local();
    assert!(
        offered.contains(&format!("a=remote-candidates:1 {} {}\r\n", local.ip(), local.port())),
        "{offered}"
    );
    assert_eq!(candidates(&offered), [path]);
}

#[test]
fn a_lite_daemon_answers_and_sends_no_checks() {
    let relay = Relay::start(&[]);
    let mut call = Call::new(&relay, "lite", true);
    call.ice_offers(true, json!({"ICE-lite": "backward"}), json!({}));
    call.ice.answer_for(MOMENT);
    assert!(call.ice.establish(LIMIT).is_some());
    call.assert_flows();
    assert!(call.ice.checked_from.is_empty(), "{:?}", call.ice.checked_from);

    let mut call = Call::new(&relay, "lite callee", true);
    let offered = call.ice_is_offered(json!({"ICE-lite": "forward"}));
    assert!(offered.contains("a=ice-lite\r\n"), "{offered}");
    assert!(call.ice.establish(LIMIT).is_some());
    call.assert_flows();
    assert!(call.ice.checked_from.is_empty(), "{:?}", call.ice.checked_from);
}

#[test]
fn candidates_that_trickle_in_are_checked() {
    trickled("offer", json!({"from-tag": "b"}));
}

#[test]
fn candidates_may_trickle_in_as_answers_of_the_callee() {
    trickled("answer", json!({"from-tag": "a", "to-tag": "b"}));
}

/// Candidates of the callee come behind its description, in such a message.
fn trickled(command: &str, tags: Value) {
    let relay = Relay::start(&[]);
    let mut call = Call::new(&relay, "trickle", false);
    let offered =
        call.request("offer", call.plain_description(), json!({"ICE": "force", "rtcp-mux": ["offer"]}));
    call.ice.read(&offered);
    let description = call.ice_description(false) + "a=ice-options:trickle\r\n";
    let answered = call.request("answer", description, json!({}));
    call.plain.remote = Some(sdp::media(&answered).rtp);
    // It does not check by itself, so that the daemon cannot know where it is.
    call.ice.candidates.clear();
    call.ice.answer_for(MOMENT);
    assert!(call.ice.checked_from.is_empty());
    let fragment = format!(
        "a=ice-ufrag:{}\r\na=ice-pwd:{}\r\nm=audio 9 RTP/AVP 0\r\na={}\r\na=end-of-candidates\r\n",
        call.ice.credentials.ufrag,
        call.ice.credentials.password,
        call.ice.candidate()
    );
    let mut message =
        json!({"command": command, "call-id": "trickle", "sdp": fragment, "flags": ["fragment"]});
    message.as_object_mut().expect("a dictionary").extend(tags.as_object().expect("a dictionary").clone());
    assert_eq!(relay.ng.ok(message)["sdp"], Value::Null);
    assert!(call.ice.establish(LIMIT).is_some(), "the fragment has reached the agent");
    call.assert_flows();
}

#[test]
fn a_restart_moves_the_call_without_a_gap() {
    let relay = Relay::start(&[]);
    let mut call = Call::new(&relay, "restart", true);
    call.ice_offers(true, json!({}), json!({}));
    call.ice.establish(LIMIT).expect("a path");
    call.assert_flows();
    let (before, path) = (call.ice.remote.clone(), call.ice.path);
    // The party comes from another network, with new credentials.
    let other = IceParty::new("127.0.0.2", true);
    let mut old = std::mem::replace(&mut call.ice, other);
    let description = call.ice_description(true);
    let keys = json!({"ICE": "remove", "rtcp-mux": ["demux"], "to-tag": "b"});
    let offered = call.request("offer", description, keys);
    call.plain.remote = Some(sdp::media(&offered).rtp);
    // The old path goes on meanwhile.
    let packet = call.plain.next_packet(0, &[1; 160], 160).to_octets();
    old.send(&packet);
    assert!(call.plain.receive(LIMIT).is_some(), "on the old path");
    let packet = call.plain.next_packet(0, &[2; 160], 160);
    call.plain.send(&packet);
    assert!(old.receive(LIMIT).is_some(), "on the old path");
    let answered = call.request("answer", call.plain_description(), json!({}));
    call.ice.read(&answered);
    assert_ne!(call.ice.remote, before, "new credentials");
    assert_eq!(call.ice.candidates, [path.expect("path")], "the same port");
    call.ice.establish(LIMIT).expect("a new path");
    // The daemon checks it before it leaves the old one.
    call.ice.answer_for(MOMENT);
    call.assert_flows();
}

#[test]
fn every_address_that_is_offered_can_be_used() {
    let relay = Relay::start_on(&["in/127.0.0.1", "in/127.0.0.2"], &[]);
    let mut call = Call::new(&relay, "addresses", true);
    call.ice_offers(true, json!({}), json!({}));
    let [first, second] = call.ice.candidates[..] else { panic!("{:?}", call.ice.candidates) };
    assert_eq!((first.ip().to_string(), second.ip().to_string()), ("127.0.0.1".into(), "127.0.0.2".into()));
    call.ice.candidates = vec![second];
    assert_eq!(call.ice.establish(LIMIT), Some(second));
    // What the party has nominated counts once the daemon has checked it as well; until then any way that works.
    call.ice.answer_for(MOMENT);
    assert_eq!(call.assert_flows(), second);
    // What is selected is what a later answer shows.
    let description = call.ice_description(true);
    let keys = json!({"ICE": "remove", "rtcp-mux": ["demux"], "to-tag": "b"});
    let shown = || {
        call.request("offer", description.clone(), keys.clone());
        let answered = call.request("answer", call.plain_description(), json!({}));
        (candidates(&answered) == [second]).then_some(answered)
    };
    let answered = wait_for(LIMIT, shown).expect("only the selected candidate");
    assert_eq!(sdp::media(&answered).rtp, second);
    call.assert_flows();
}

#[test]
fn a_callee_without_ice_gets_plain_media() {
    let relay = Relay::start(&[]);
    let mut plain = [Party::new("127.0.0.1"), Party::new("127.0.0.1")];
    let describe = |party: &Party| sdp::audio(party.local(), &["0 PCMU/8000"], &[]);
    let offered = relay.ng.ok(json!({
        "command": "offer", "call-id": "plain", "from-tag": "a", "sdp": describe(&plain[0]), "ICE": "force",
    }));
    assert!(offered["sdp"].as_str().is_some_and(|sdp| sdp.contains("a=ice-ufrag:")));
    let answered = relay.ng.ok(json!({
        "command": "answer", "call-id": "plain", "from-tag": "a", "to-tag": "b", "sdp": describe(&plain[1]),
    }));
    let at = |reply: &Value| sdp::media(reply["sdp"].as_str().expect("sdp")).rtp;
    plain[0].remote = Some(at(&answered));
    plain[1].remote = Some(at(&offered));
    for from in [0, 1] {
        let packet = plain[from].next_packet(0, &[3; 160], 160);
        plain[from].send(&packet);
        assert!(plain[1 - from].receive(LIMIT).is_some(), "from {from}");
    }
}

#[test]
fn publishers_and_subscribers_with_ice_hear_each_other() {
    let relay = Relay::start(&[]);
    let (mut publisher, mut subscriber) =
        (IceParty::new("127.0.0.1", true), IceParty::new("127.0.0.1", false));
    let describe = |party: &IceParty| {
        let mut attributes = party.attributes();
        attributes.push(party.candidate());
        let attributes: Vec<&str> = attributes.iter().map(String::as_str).collect();
        sdp::audio(party.local(), &["0 PCMU/8000"], &attributes)
    };
    let published = relay.ng.ok(json!({
        "command": "publish", "call-id": "room", "from-tag": "p", "sdp": describe(&publisher),
    }));
    publisher.read(published["sdp"].as_str().expect("sdp"));
    let requested = relay.ng.ok(json!({
        "command": "subscribe request", "call-id": "room", "from-tag": "p", "ICE": "force",
        "rtcp-mux": ["offer"],
    }));
    subscriber.read(requested["sdp"].as_str().expect("sdp"));
    relay.ng.ok(json!({
        "command": "subscribe answer", "call-id": "room", "to-tag": requested["to-tag"],
        "sdp": describe(&subscriber),
    }));
    assert!(publisher.establish(LIMIT).is_some(), "publisher");
    assert!(subscriber.establish(LIMIT).is_some(), "subscriber");
    let packet = Party::new("127.0.0.1").next_packet(0, &[5; 160], 160).to_octets();
    publisher.send(&packet);
    let (from, octets) = subscriber.receive(LIMIT).expect("what was published");
    assert_eq!((from, &octets[12..]), (subscriber.path.expect("a path"), &packet[12..]));
}
