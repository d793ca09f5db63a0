//! Calls of every kind, whose parties go on when another instance takes the place of the one that they know.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::daemon::Relay;
use crate::dtls::{Identity, Role};
use crate::ice::IceParty;
use crate::party::Party;
use crate::rtp::Packet;
use crate::sdp::{self, Media};
use crate::srtp::{Endpoint, Key};

const CM80: &str = "AES_CM_128_HMAC_SHA1_80";
const GCM: &str = "AEAD_AES_128_GCM";
const PROFILES: &str = "SRTP_AEAD_AES_256_GCM:SRTP_AES128_CM_SHA1_80";
const LIMIT: Duration = Duration::from_secs(20);

/// What is special about a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing.
    Plain,
    /// Both parties speak SRTP with keys from SDES.
    Sdes,
    /// The caller speaks DTLS-SRTP on one port.
    Dtls,
    /// The caller speaks ICE on one port.
    Ice,
    /// PCMU on one side, G.722 on the other.
    Transcoded,
    /// It is recorded.
    Recorded,
    /// A third party hears the caller.
    Subscribed,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Plain, Self::Sdes, Self::Dtls, Self::Ice, Self::Transcoded, Self::Recorded, Self::Subscribed];
}

/// Sockets, keys and codec of a party.
#[derive(Debug)]
struct End {
    party: Party,
    security: Option<Endpoint>,
    ice: Option<IceParty>,
    payload_type: u8,
    /// Payloads that it has sent and the others are waited for with.
    said: Vec<Vec<u8>>,
}

impl End {
    fn new(payload_type: u8) -> Self {
        let mut party = Party::new("127.0.0.1");
        // Over the wrap soon.
        party.sequence = 65_530;
        Self { party, security: None, ice: None, payload_type, said: Vec::new() }
    }

    fn say(&mut self) {
        let payload: [u8; 160] = rand::random();
        let packet = self.party.next_packet(self.payload_type, &payload, 160).to_octets();
        let sealed = self.security.as_mut().map_or_else(|| packet.clone(), |keys| keys.protect(&packet));
        self.said.push(payload.to_vec());
        match &self.ice {
            Some(ice) => ice.send(&sealed),
            None => {
                let _ = self.party.rtp.send_to(&sealed, self.party.remote.expect("connected"));
            }
        }
    }

    /// The payload of a packet that is there already.
    fn hear_now(&mut self) -> Option<Vec<u8>> {
        let raw = match &mut self.ice {
            Some(ice) => ice.receive_now()?,
            None => {
                let mut buffer = vec![0; 2048];
                self.party.rtp.set_nonblocking(true).expect("a flag");
                let received = self.party.rtp.recv(&mut buffer);
                self.party.rtp.set_nonblocking(false).expect("a flag");
                buffer.truncate(received.ok()?);
                buffer
            }
        };
        self.open(&raw)
    }

    /// The next packet's payload; what cannot be decrypted is a failure of the test's subject and not counted as heard.
    fn hear(&mut self, wait: Duration) -> Option<Vec<u8>> {
        let raw = match &mut self.ice {
            Some(ice) => ice.receive(wait)?.1,
            None => {
                let mut buffer = vec![0; 2048];
                self.party.rtp.set_read_timeout(Some(wait)).expect("not zero");
                let length = self.party.rtp.recv(&mut buffer).ok()?;
                buffer.truncate(length);
                buffer
            }
        };
        self.open(&raw)
    }

    fn open(&mut self, raw: &[u8]) -> Option<Vec<u8>> {
        let clear = match &mut self.security {
            Some(keys) => keys.unprotect(raw)?,
            None => raw.to_vec(),
        };
        Packet::parse(&clear).map(|packet| packet.payload)
    }
}

/// A call that is alive.
#[derive(Debug)]
pub struct LiveCall {
    /// What is special about it.
    pub kind: Kind,
    /// Call-id.
    pub id: String,
    a: End,
    b: End,
    listener: Option<End>,
    /// What the callee was offered, and the caller answered.
    pub told: [Media; 2],
}

impl LiveCall {
    /// Offer and answer, and what comes before media in this kind of call.
    pub fn establish(relay: &Relay, id: &str, kind: Kind) -> Self {
        let (mut a, mut b) = (End::new(0), End::new(0));
        let mut offer =
            json!({"command": "offer", "call-id": id, "from-tag": "a", "replace": ["SDP version"]});
        let mut lines: Vec<String> = vec!["ptime:20".into()];
        let (mut at, mut transport) = (a.party.local(), "RTP/AVP");
        let (caller, callee) = (Key::random(CM80), Key::random(GCM));
        let identity = (kind == Kind::Dtls).then(Identity::new);
        match kind {
            Kind::Plain | Kind::Subscribed => {}
            Kind::Recorded => offer["record-call"] = json!("yes"),
            Kind::Transcoded => {
                b.payload_type = 9;
                offer["codec"] = json!({"strip": ["PCMU"], "transcode": ["G722"]});
            }
            Kind::Sdes => {
                lines.push(format!("crypto:{}", caller.to_line(1)));
                transport = "RTP/SAVP";
                offer["transport-protocol"] = json!("RTP/SAVP");
                offer["DTLS"] = json!("off");
            }
            Kind::Dtls => {
                let identity = identity.as_ref().expect("made for this kind");
                let fingerprint = format!("fingerprint:{}", identity.fingerprint("sha-256"));
                lines.extend(["setup:actpass".into(), fingerprint, "rtcp-mux".into()]);
                transport = "UDP/TLS/RTP/SAVP";
                offer["transport-protocol"] = json!("RTP/AVP");
                offer["rtcp-mux"] = json!(["demux"]);
            }
            Kind::Ice => {
                let ice = IceParty::new("127.0.0.1", true);
                at = ice.local();
                lines.extend(ice.attributes());
                lines.push(ice.candidate());
                a.ice = Some(ice);
                offer["ICE"] = json!("remove");
                offer["rtcp-mux"] = json!(["demux"]);
            }
        }
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        offer["sdp"] = json!(sdp::audio(at, &["0 PCMU/8000"], &lines).replace("RTP/AVP", transport));
        let offered = media_of(&relay.ng.ok(offer));
        let mut answer = json!({"command": "answer", "call-id": id, "from-tag": "a", "to-tag": "b"});
        let format = if kind == Kind::Transcoded { "9 G722/8000" } else { "0 PCMU/8000" };
        let mut text = sdp::audio(b.party.local(), &[format], &["ptime:20"]);
        if kind == Kind::Sdes {
            let (tag, receive) = line_of(&offered, GCM);
            b.security = Some(Endpoint::new(callee.clone(), receive));
            text = sdp::audio(b.party.local(), &[format], &[&format!("crypto:{}", callee.to_line(tag))])
                .replace("RTP/AVP", "RTP/SAVP");
        }
        answer["sdp"] = json!(text);
        let reply = relay.ng.ok(answer);
        let answered = media_of(&reply);
        (a.party.remote, b.party.remote) = (Some(answered.rtp), Some(offered.rtp));
        match kind {
            Kind::Sdes => a.security = Some(Endpoint::new(caller, line_of(&answered, CM80).1)),
            Kind::Dtls => {
                let role = if answered.has("setup:active") { Role::Server } else { Role::Client };
                let identity = identity.expect("made for this kind");
                let made = identity.shake(&a.party.rtp, answered.rtp, role, PROFILES, LIMIT);
                a.security = Some(made.expect("a handshake").srtp.afresh());
            }
            Kind::Ice => {
                let ice = a.ice.as_mut().expect("made for this kind");
                ice.read(reply["sdp"].as_str().expect("sdp"));
                ice.establish(LIMIT).expect("a path");
            }
            _ => {}
        }
        let listener = (kind == Kind::Subscribed).then(|| subscribe(relay, id));
        Self { kind, id: id.into(), a, b, listener, told: [offered, answered] }
    }

    /// Both parties talk until everybody has heard something of what is said from now on; the time that it took.
    pub fn talk(&mut self, limit: Duration) -> Option<Duration> {
        let began = Instant::now();
        let ends = [&mut self.a, &mut self.b].into_iter().chain(&mut self.listener);
        for end in ends {
            end.said.clear();
            // What is still in the socket was said before.
            while end.hear(Duration::from_micros(1)).is_some() {}
        }
        let exact = self.kind != Kind::Transcoded;
        let mut heard = [false, false, self.listener.is_none()];
        while heard.contains(&false) {
            if began.elapsed() > limit {
                return None;
            }
            self.a.say();
            self.b.say();
            let until = Instant::now() + Duration::from_millis(20);
            while heard.contains(&false) && Instant::now() < until {
                let moment = Duration::from_millis(3);
                let from_a = |payload: &Vec<u8>, a: &End| !exact || a.said.contains(payload);
                if !heard[0] {
                    heard[0] = self.a.hear(moment).is_some_and(|payload| from_a(&payload, &self.b));
                }
                if !heard[1] {
                    heard[1] = self.b.hear(moment).is_some_and(|payload| from_a(&payload, &self.a));
                }
                if let Some(listener) = self.listener.as_mut().filter(|_| !heard[2]) {
                    heard[2] = listener.hear(moment).is_some_and(|payload| from_a(&payload, &self.a));
                }
            }
        }
        Some(began.elapsed())
    }

    /// Forgets what was said and heard before.
    fn forget(&mut self) {
        for end in [&mut self.a, &mut self.b].into_iter().chain(&mut self.listener) {
            end.said.clear();
            while end.hear_now().is_some() {}
        }
    }

    /// Both parties say something, and everybody takes what is there; whether each has heard what was said since `forget`.
    fn round(&mut self, heard: &mut [bool; 3]) -> bool {
        self.a.say();
        self.b.say();
        let exact = self.kind != Kind::Transcoded;
        let mut take = |who: usize, end: &mut End, said: &[Vec<u8>]| {
            while let Some(payload) = end.hear_now() {
                heard[who] |= !exact || said.contains(&payload);
            }
        };
        take(0, &mut self.a, &self.b.said);
        take(1, &mut self.b, &self.a.said);
        match &mut self.listener {
            Some(listener) => take(2, listener, &self.a.said),
            None => heard[2] = true,
        }
        !heard.contains(&false)
    }

    /// The parties send to another address from now on: the same ports of another instance.
    pub fn move_to(&mut self, address: &str) {
        let address: std::net::IpAddr = address.parse().expect("an address");
        for end in [&mut self.a, &mut self.b].into_iter().chain(&mut self.listener) {
            if let Some(remote) = &mut end.party.remote {
                remote.set_ip(address);
            }
            if let Some(ice) = &mut end.ice {
                ice.move_to(address);
            }
        }
    }

    /// Media on which everything depends: so many times both ways.
    ///
    /// # Panics
    /// When somebody hears nothing.
    pub fn talk_for(&mut self, rounds: usize) {
        for round in 0..rounds {
            assert!(self.talk(LIMIT).is_some(), "{:?} {}: silence in round {round}", self.kind, self.id);
        }
    }

    /// The caller's present description once more, as a re-offer; what the callee is told.
    pub fn re_offer(&self, relay: &Relay) -> String {
        assert!(matches!(self.kind, Kind::Plain | Kind::Recorded | Kind::Subscribed), "{:?}", self.kind);
        let text = sdp::audio(self.a.party.local(), &["0 PCMU/8000", "8 PCMA/8000"], &["ptime:20"]);
        let reply = relay.ng.ok(json!({
            "command": "offer", "call-id": self.id, "from-tag": "a", "to-tag": "b", "sdp": text,
            "replace": ["SDP version"],
        }));
        reply["sdp"].as_str().expect("sdp").to_owned()
    }
}

/// All calls talk at once, a packet a party every 20 ms at most, from now until everybody has heard something of it or
/// `limit` after `since`; the time from `since` for each call.
pub fn talk_together(calls: &mut [LiveCall], since: Instant, limit: Duration) -> Vec<Option<Duration>> {
    calls.iter_mut().for_each(LiveCall::forget);
    let mut silences = vec![None; calls.len()];
    let mut heard = vec![[false; 3]; calls.len()];
    while silences.contains(&None) && since.elapsed() < limit {
        let next = Instant::now() + Duration::from_millis(20);
        for ((call, heard), silence) in calls.iter_mut().zip(&mut heard).zip(&mut silences) {
            if call.round(heard) && silence.is_none() {
                *silence = Some(since.elapsed());
            }
        }
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    silences
}

/// A third party that hears the caller.
fn subscribe(relay: &Relay, id: &str) -> End {
    let reply = relay.ng.ok(json!({"command": "subscribe request", "call-id": id, "from-tag": "a"}));
    let listener = End::new(0);
    relay.ng.ok(json!({
        "command": "subscribe answer", "call-id": id, "to-tag": reply["to-tag"],
        "sdp": sdp::audio(listener.party.local(), &["0 PCMU/8000"], &["recvonly"]),
    }));
    listener
}

fn media_of(reply: &Value) -> Media {
    sdp::media(reply["sdp"].as_str().unwrap_or_else(|| panic!("no sdp in {reply}")))
}

/// Tag and key of the line with this suite.
fn line_of(media: &Media, suite: &str) -> (u32, Key) {
    let mut lines = media.attributes.iter().filter_map(|line| line.strip_prefix("crypto:"));
    let line = lines.find(|line| line.split(' ').nth(1) == Some(suite));
    let line = line.unwrap_or_else(|| panic!("no line with {suite} in {:?}", media.attributes));
    (line.split(' ').next().and_then(|tag| tag.parse().ok()).expect("a tag"), Key::parse(line))
}
