//! What somebody gets who is no party of a call, with the default configuration: nothing.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use e2e::attacker::{Attacker, MARK};
use e2e::call::{dropped, media_of};
use e2e::daemon::Relay;
use e2e::dtls::{Association, Identity, Role};
use e2e::ice::IceParty;
use e2e::party::Party;
use e2e::sdp::{self, Media};
use e2e::srtp::{Endpoint, Key};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(10);
const PROFILES: &str = "SRTP_AEAD_AES_128_GCM:SRTP_AES128_CM_SHA1_80";
const SUITE: &str = "AES_CM_128_HMAC_SHA1_80";

/// How a caller's media are protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Plain,
    Sdes,
    Dtls,
    Ice,
    IceDtls,
}
use Kind::*;

impl Kind {
    fn has_ice(self) -> bool {
        matches!(self, Ice | IceDtls)
    }

    fn has_dtls(self) -> bool {
        matches!(self, Dtls | IceDtls)
    }

    fn transport(self) -> &'static str {
        match self {
            Plain | Ice => "RTP/AVP",
            Sdes => "RTP/SAVP",
            Dtls | IceDtls => "UDP/TLS/RTP/SAVPF",
        }
    }
}

/// A caller of some kind and a plain phone that is called.
struct Call<'r> {
    relay: &'r Relay,
    kind: Kind,
    caller: IceParty,
    rtcp: UdpSocket,
    identity: Identity,
    key: Key,
    srtp: Option<Endpoint>,
    association: Option<Association>,
    phone: Party,
    told: Option<Media>,
    to_phone: Option<Media>,
    sequence: u16,
    /// Each has been heard by the other: from now on nobody else is.
    met: bool,
}

impl<'r> Call<'r> {
    fn new(relay: &'r Relay, kind: Kind) -> Self {
        let phone = Party::new("127.0.0.1");
        let mut caller = IceParty::new("127.0.0.1", true);
        let (rtp, rtcp) = pair();
        caller.socket = rtp;
        Self {
            relay,
            kind,
            caller,
            rtcp,
            identity: Identity::new(),
            key: Key::random(SUITE),
            srtp: None,
            association: None,
            phone,
            told: None,
            to_phone: None,
            sequence: 1,
            met: false,
        }
    }

    fn id(&self) -> String {
        format!("{:?}", self.kind)
    }

    fn description(&self) -> String {
        let mut lines = Vec::new();
        if self.kind.has_ice() {
            lines.extend(self.caller.attributes());
            lines.push(self.caller.candidate());
        }
        match self.kind {
            Sdes => lines.push(format!("crypto:{}", self.key.to_line(1))),
            Dtls | IceDtls => lines.extend([
                "rtcp-mux".into(),
                "setup:active".into(),
                format!("fingerprint:{}", self.identity.fingerprint("sha-256")),
            ]),
            Plain | Ice => {}
        }
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        sdp::audio(self.caller.local(), &["0 PCMU/8000"], &lines).replace("RTP/AVP", self.kind.transport())
    }

    fn offer(&mut self) {
        let reply = self.relay.ng.ok(json!({
            "command": "offer", "call-id": self.id(), "from-tag": "a", "sdp": self.description(), "ICE": "remove",
            "rtcp-mux": ["demux"], "transport-protocol": "RTP/AVP",
        }));
        let media = media_of(&reply);
        self.phone.remote = Some(media.rtp);
        self.to_phone = Some(media);
    }

    fn answer(&mut self) {
        let description = sdp::audio(self.phone.local(), &["0 PCMU/8000"], &[]);
        let reply = self.relay.ng.ok(json!({
            "command": "answer", "call-id": self.id(), "from-tag": "a", "to-tag": "b", "sdp": description,
        }));
        if self.kind.has_ice() {
            self.caller.read(reply["sdp"].as_str().expect("sdp"));
        }
        self.told = Some(media_of(&reply));
    }

    fn query(&self) -> Value {
        self.relay.ng.ok(json!({"command": "query", "call-id": self.id()}))
    }

    /// Finds a path, and keys, where the kind needs them.
    fn connect(&mut self) {
        let told = self.told.clone().expect("an answer");
        if self.kind.has_ice() {
            self.caller.establish(LIMIT).expect("a path");
        } else {
            self.caller.path = Some(told.rtp);
        }
        if self.kind == Sdes {
            let line = told.attributes.iter().find_map(|line| line.strip_prefix("crypto:")).expect("a key");
            self.srtp.get_or_insert_with(|| Endpoint::new(self.key.clone(), Key::parse(line)));
        }
        if self.kind.has_dtls() && self.association.is_none() {
            let to = self.caller.path.expect("a path");
            let made = self.identity.shake(&self.caller.socket, to, Role::Client, PROFILES, LIMIT);
            let association = made.expect("an association");
            self.srtp = Some(association.srtp.afresh());
            self.association = Some(association);
        }
    }

    fn next(&mut self) -> Vec<u8> {
        let mut packet = vec![0x80, 0];
        packet.extend(self.sequence.to_be_bytes());
        packet.extend((u32::from(self.sequence) * 160).to_be_bytes());
        packet.extend([1, 2, 3, 4]);
        packet.extend([0xd5; 160]);
        self.sequence += 1;
        packet
    }

    /// A packet of the caller, as it goes over the wire.
    fn sealed(&mut self) -> Vec<u8> {
        let packet = self.next();
        match &mut self.srtp {
            Some(srtp) => srtp.protect(&packet),
            None => packet,
        }
    }

    /// The next media packet that the caller hears, in clear.
    fn caller_hears(&mut self, limit: Duration) -> Option<Vec<u8>> {
        let end = Instant::now() + limit;
        while let Some((_, octets)) = self.caller.receive(end.saturating_duration_since(Instant::now())) {
            if octets[0] < 128 {
                continue;
            }
            let clear = match &mut self.srtp {
                Some(srtp) => srtp.unprotect(&octets).expect("an authentic packet"),
                None => octets,
            };
            // The phone's leg is plain RTP.
            if self.met || !is_marked(&clear) {
                assert!(!is_marked(&clear), "{:?}: the caller hears the attacker", self.kind);
                return Some(clear);
            }
        }
        None
    }

    /// The next packet that the phone hears.
    fn phone_hears(&self, limit: Duration) -> Option<Vec<u8>> {
        Some(self.phone.receive(limit)?.packet.to_octets())
    }

    /// Until both have heard each other; what strangers brought in before is cleared away. Returns whether there was such.
    fn meet(&mut self) -> bool {
        let end = Instant::now() + LIMIT;
        let mut stray = false;
        let (mut heard, mut spoken) = (false, false);
        while !(heard && spoken) {
            assert!(Instant::now() < end, "{:?}: media come through", self.kind);
            let packet = self.sealed();
            self.caller.send(&packet);
            while let Some(octets) = self.phone_hears(Duration::from_millis(10)) {
                stray |= is_marked(&octets);
                spoken |= !is_marked(&octets);
            }
            let packet = self.phone.next_packet(0, &[0x2a; 160], 160);
            self.phone.send(&packet);
            while self.caller_hears(Duration::from_millis(10)).is_some() {
                heard = true;
            }
        }
        stray |= self.settle();
        self.met = true;
        stray
    }

    /// Nothing of before is under way any more. Returns whether there was something of a stranger.
    fn settle(&mut self) -> bool {
        let mut stray = false;
        let packet = self.next();
        let sealed = self.srtp.as_mut().map_or(packet.clone(), |srtp| srtp.protect(&packet));
        self.caller.send(&sealed);
        loop {
            let octets = self.phone_hears(LIMIT).expect("the last packet comes");
            stray |= is_marked(&octets);
            if octets == packet {
                break;
            }
        }
        let packet = self.phone.next_packet(0, &[0x2a; 160], 160);
        self.phone.send(&packet);
        while self.caller_hears(LIMIT).expect("the last packet comes") != packet.to_octets() {}
        stray
    }

    /// Every packet arrives, in order, and nothing else.
    fn talk(&mut self) {
        for _ in 0..40 {
            let packet = self.next();
            let sealed = self.srtp.as_mut().map_or(packet.clone(), |srtp| srtp.protect(&packet));
            self.caller.send(&sealed);
            assert_eq!(self.phone_hears(LIMIT), Some(packet), "{:?}: the phone hears the caller", self.kind);
            let packet = self.phone.next_packet(0, &[0x2a; 160], 160);
            self.phone.send(&packet);
            assert_eq!(self.caller_hears(LIMIT), Some(packet.to_octets()), "{:?}", self.kind);
        }
    }

    /// Nothing of the attacker has come to the sockets for RTCP.
    fn reports_are_clean(&self) {
        for socket in [&self.rtcp, &self.phone.rtcp] {
            socket.set_nonblocking(true).expect("a flag");
            let mut buffer = [0; 2048];
            while let Ok(length) = socket.recv(&mut buffer) {
                assert!(!is_marked(&buffer[..length]), "{:?}: RTCP of the attacker", self.kind);
            }
        }
    }
}

fn is_marked(octets: &[u8]) -> bool {
    octets.len() >= 28 && octets[8..].windows(4).any(|four| four == [MARK; 4])
}

/// Two neighbouring ports.
fn pair() -> (UdpSocket, UdpSocket) {
    let party = Party::new("127.0.0.1");
    (party.rtp.try_clone().expect("a socket"), party.rtcp)
}

fn attacked(kind: Kind) {
    let relay = Relay::start(&[]);
    let mut call = Call::new(&relay, kind);
    let attacker = Attacker::start("127.0.0.66");
    let a_while = Duration::from_millis(150);
    call.offer();
    attacker.aim(&call.query());
    std::thread::sleep(a_while);
    call.answer();
    attacker.aim(&call.query());
    std::thread::sleep(a_while);
    call.connect();
    let stray = call.meet();
    assert!(!stray || kind == Plain, "{kind:?}: a packet of the attacker was forwarded");
    call.talk();
    // A re-offer, and recording, which plans the streams anew, open nothing.
    call.offer();
    call.answer();
    call.connect();
    call.talk();
    std::thread::sleep(a_while);
    call.talk();
    call.reports_are_clean();
    let query = call.query();
    let loot = attacker.stop();
    assert!(loot.sent > 500, "the attacker had its chance: {}", loot.sent);
    assert!(loot.media.is_empty(), "{kind:?}: media for the attacker: {:?}", loot.media.first());
    assert_eq!(loot.amplifiers(), [], "{kind:?}: more came back than was sent");
    let refused: u64 = ["wrong source", "unproven", "not authentic", "over budget", "malformed", "no key"]
        .iter()
        .map(|reason| dropped(&query, reason))
        .sum();
    assert!(refused > 200, "{kind:?}: what was refused is counted: {query}");
}

#[test]
fn plain_rtp_stands_against_spraying() {
    attacked(Plain);
}

#[test]
fn sdes_stands_against_spraying() {
    attacked(Sdes);
}

#[test]
fn dtls_stands_against_spraying_and_client_hellos() {
    attacked(Dtls);
}

#[test]
fn ice_stands_against_spraying() {
    attacked(Ice);
}

#[test]
fn ice_with_dtls_stands_against_spraying_and_client_hellos() {
    attacked(IceDtls);
}

/// A party whose NAT gives it another port, or address, goes on within 200 ms (ten packets).
#[test]
fn party_is_followed_when_its_mapping_changes() {
    for kind in [Plain, Sdes, Dtls, IceDtls] {
        for address in ["127.0.0.1:0", "127.0.0.9:0"] {
            let relay = Relay::start(&[]);
            let mut call = Call::new(&relay, kind);
            call.offer();
            call.answer();
            call.connect();
            call.meet();
            call.talk();
            let old = std::mem::replace(&mut call.caller.socket, UdpSocket::bind(address).expect("a port"));
            let mut packets = 0;
            loop {
                packets += 1;
                let packet = call.sealed();
                call.caller.send(&packet);
                let packet = call.phone.next_packet(0, &[0x2a; 160], 160);
                call.phone.send(&packet);
                if call.caller_hears(Duration::from_millis(20)).is_some() {
                    break;
                }
                assert!(packets < 10, "{kind:?}: heard at {address} within ten packets");
            }
            call.settle();
            call.talk();
            // Where it was it is nobody any more.
            let path = call.caller.path.expect("a path");
            let mut stray = call.next();
            stray[8] ^= 1;
            old.send_to(&stray, path).expect("sent");
            call.talk();
        }
    }
}

/// Answers stay below the budgets and are no longer than what was sent; everything else is counted. Afterwards the party gets through.
#[test]
fn floods_are_answered_within_their_budgets() {
    for kind in [Dtls, IceDtls] {
        let relay = Relay::start(&[]);
        let mut call = Call::new(&relay, kind);
        call.offer();
        call.answer();
        let to = call.told.clone().expect("an answer").rtp;
        let flooder = UdpSocket::bind("127.0.0.66:0").expect("a port");
        flooder.set_read_timeout(Some(Duration::from_millis(200))).expect("not zero");
        let began = Instant::now();
        let (mut sent, mut received, mut replies) = (0, 0, 0);
        for _ in 0..1500 {
            let datagram = match kind {
                Dtls => e2e::attacker::client_hello(),
                _ => e2e::attacker::binding_request(),
            };
            sent += flooder.send_to(&datagram, to).expect("sent");
            // No faster than the relay reads.
            std::thread::sleep(Duration::from_micros(50));
        }
        let mut buffer = [0; 2048];
        while let Ok(length) = flooder.recv(&mut buffer) {
            (received, replies) = (received + length, replies + 1);
        }
        let seconds = began.elapsed().as_secs_f64().ceil() as usize;
        let (at_once, per_second, reason) = match kind {
            Dtls => (12, 12, "over budget"),
            _ => (4, 4, "not authentic"),
        };
        assert!(replies > 0, "{kind:?}");
        assert!(replies <= at_once + per_second * seconds, "{kind:?}: {replies} replies in {seconds} s");
        assert!(received <= sent, "{kind:?}: {received} octets for {sent}");
        let counted = dropped(&call.query(), reason);
        assert!(counted > 1000, "{kind:?}: {counted} counted as {reason}");
        call.connect();
        call.meet();
        call.talk();
    }
}
