//! The daemon's ICE against aioice (Python). Skipped where no Python has it (see [`e2e::python`]).

use std::net::SocketAddr;
use std::time::Duration;

use e2e::daemon::Relay;
use e2e::party::Party;
use e2e::python;
use e2e::sdp;
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(5);

/// The peer process.
struct Peer {
    process: python::Peer,
    /// Number of the present connection.
    at: usize,
    /// What it wrote about itself.
    described: Value,
}

impl Peer {
    /// `None`, with a word about it, where there is no aioice.
    fn start(controlling: bool) -> Option<Self> {
        let process = python::Peer::start("aioice", include_str!("aioice_peer.py"))?;
        let mut peer = Self { process, at: 0, described: Value::Null };
        peer.described = peer.tell(json!({"op": "new", "controlling": controlling}));
        Some(peer)
    }

    /// A new agent beside the present one.
    fn renew(&mut self, controlling: bool) {
        self.described = self.tell(json!({"op": "new", "controlling": controlling}));
        self.at += 1;
    }

    fn tell(&mut self, command: Value) -> Value {
        self.process.tell(&command)
    }

    fn text(&self, key: &str) -> String {
        self.described[key].as_str().expect("a text").to_owned()
    }

    fn candidates(&self) -> Vec<String> {
        let lines = self.described["candidates"].as_array().expect("a list");
        lines.iter().map(|line| format!("candidate:{}", line.as_str().expect("a text"))).collect()
    }

    fn description(&self, candidates: bool) -> String {
        let mut attributes = vec![
            "rtcp-mux".to_owned(),
            format!("ice-ufrag:{}", self.text("ufrag")),
            format!("ice-pwd:{}", self.text("pwd")),
        ];
        if candidates {
            attributes.extend(self.candidates());
        } else {
            attributes.push("ice-options:trickle".into());
        }
        let attributes: Vec<&str> = attributes.iter().map(String::as_str).collect();
        let at: SocketAddr = "127.0.0.1:9".parse().expect("an address");
        sdp::audio(at, &["0 PCMU/8000"], &attributes)
    }

    /// Checks until there is a path; how long it took.
    fn connect(&mut self, sdp: &str) -> f64 {
        let value = |name: &str| {
            let line = sdp.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("no {name} in {sdp}")).trim().to_owned()
        };
        let candidates: Vec<&str> = sdp
            .lines()
            .filter_map(|line| line.strip_prefix("a=candidate:"))
            .filter(|line| line.split(' ').nth(1) == Some("1"))
            .collect();
        let command = json!({
            "op": "connect", "ufrag": value("a=ice-ufrag:"), "pwd": value("a=ice-pwd:"),
            "candidates": candidates, "lite": sdp.contains("a=ice-lite"),
        });
        self.tell(command)["seconds"].as_f64().expect("a time")
    }
}

/// Media both ways between the peer's present agent and a plain party.
fn assert_flows(peer: &mut Peer, plain: &mut Party) {
    let hex = |octets: &[u8]| octets.iter().map(|octet| format!("{octet:02x}")).collect::<String>();
    for _ in 0..5 {
        let packet = plain.next_packet(0, &[7; 160], 160);
        peer.tell(json!({"op": "send", "at": peer.at, "hex": hex(&packet.to_octets())}));
        assert!(plain.receive(LIMIT).is_some(), "from the peer");
        let packet = plain.next_packet(0, &[8; 160], 160);
        plain.send(&packet);
        let received = peer.tell(json!({"op": "recv", "at": peer.at}));
        assert_eq!(received["hex"], hex(&packet.to_octets()));
    }
}

fn request(relay: &Relay, command: &str, sdp: String, more: Value) -> String {
    let mut request =
        json!({"command": command, "call-id": "aioice", "from-tag": "a", "sdp": sdp, "replace": ["origin"]});
    if command == "answer" {
        request["to-tag"] = json!("b");
    }
    for (key, value) in more.as_object().into_iter().flatten() {
        request[key] = value.clone();
    }
    let reply = relay.ng.ok(request);
    reply["sdp"].as_str().unwrap_or_default().to_owned()
}

fn plain_description(plain: &Party) -> String {
    sdp::audio(plain.local(), &["0 PCMU/8000"], &[])
}

/// aioice calls; afterwards once more from another socket with new credentials.
fn called_by_aioice(offer: Value) {
    let Some(mut peer) = Peer::start(true) else { return };
    let relay = Relay::start(&[]);
    let mut plain = Party::new("127.0.0.1");
    for round in 0..2 {
        if round == 1 {
            peer.renew(true);
        }
        let mut keys = json!({"ICE": "remove", "rtcp-mux": ["demux"]});
        for (key, value) in offer.as_object().into_iter().flatten() {
            keys[key] = value.clone();
        }
        if round == 1 {
            keys["to-tag"] = json!("b");
        }
        let offered = request(&relay, "offer", peer.description(true), keys);
        plain.remote = Some(sdp::media(&offered).rtp);
        let answered = request(&relay, "answer", plain_description(&plain), json!({}));
        let seconds = peer.connect(&answered);
        assert!(seconds < 1.0, "round {round}: {seconds} s");
        // Both ends have verified it when the daemon sends there, too.
        let flags = relay.ng.ok(json!({"command": "query", "call-id": "aioice"}));
        assert!(flags.to_string().contains("ICE"), "{flags}");
        settle(&mut peer, &plain);
        assert_flows(&mut peer, &mut plain);
    }
}

/// Sends until the peer's present agent hears it: the daemon leaves an old path when it has checked the new one.
fn settle(peer: &mut Peer, plain: &Party) {
    let mark = [0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 0xee];
    let stop = std::sync::atomic::AtomicBool::new(false);
    let (socket, remote) = (&plain.rtp, plain.remote.expect("known"));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                socket.send_to(&mark, remote).expect("sending on loopback");
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        peer.tell(json!({"op": "recv", "at": peer.at}));
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    // What is still on its way.
    let end = "80000002000000000000000911";
    socket.send_to(&[0x80, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 9, 0x11], remote).expect("sending on loopback");
    while peer.tell(json!({"op": "recv", "at": peer.at}))["hex"] != end {}
}

#[test]
fn aioice_calls_a_full_agent_and_restarts() {
    called_by_aioice(json!({}));
}

#[test]
fn aioice_calls_a_lite_agent_and_restarts() {
    called_by_aioice(json!({"ICE-lite": "backward"}));
}

#[test]
fn aioice_is_called_with_candidates_that_trickle() {
    for trickle in [false, true] {
        let Some(mut peer) = Peer::start(false) else { return };
        let relay = Relay::start(&[]);
        let mut plain = Party::new("127.0.0.1");
        let keys = json!({"ICE": "force", "rtcp-mux": ["offer"], "flags": ["trickle-ICE"]});
        let offered = request(&relay, "offer", plain_description(&plain), keys);
        let answered = request(&relay, "answer", peer.description(!trickle), json!({}));
        plain.remote = Some(sdp::media(&answered).rtp);
        if trickle {
            let lines: String = peer.candidates().iter().map(|line| format!("a={line}\r\n")).collect();
            let fragment = format!(
                "a=ice-ufrag:{}\r\na=ice-pwd:{}\r\nm=audio 9 RTP/AVP 0\r\n{lines}a=end-of-candidates\r\n",
                peer.text("ufrag"),
                peer.text("pwd")
            );
            request(&relay, "offer", fragment, json!({"from-tag": "b", "flags": ["fragment"]}));
        }
        let seconds = peer.connect(&offered);
        assert!(seconds < 1.0, "trickle {trickle}: {seconds} s");
        settle(&mut peer, &plain);
        assert_flows(&mut peer, &mut plain);
    }
}
