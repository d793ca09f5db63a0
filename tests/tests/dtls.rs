//! Calls with DTLS-SRTP through the real daemon: the parties are OpenSSL's own API and a second implementation of SRTP.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use e2e::call::extend;
use e2e::daemon::{Relay, wait_for};
use e2e::dtls::{Association, Identity, PROFILES, Role, Versions};
use e2e::party::Party;
use e2e::sdp::{self, Media};
use e2e::srtp::{Endpoint, Key, is_rtcp};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(8);
const ALL: &str = "SRTP_AEAD_AES_256_GCM:SRTP_AEAD_AES_128_GCM:SRTP_AES128_CM_SHA1_80:SRTP_AES128_CM_SHA1_32";

/// How a party protects its media.
#[derive(Clone)]
enum Protection {
    Plain,
    Sdes(Key),
    /// With the value of `setup` in its descriptions, and how it shakes hands.
    Dtls(Identity, &'static str, By),
}

/// An implementation of DTLS.
#[derive(Clone, Copy)]
enum By {
    /// With these profiles.
    OpenSsl(&'static str),
    Dimpl(Versions),
}

struct Side {
    party: Party,
    protection: Protection,
    muxed: bool,
    /// Of RTP and, if it has its own port, RTCP.
    keys: [Option<Endpoint>; 2],
    associations: Vec<Association>,
    /// What the daemon said last.
    remote: Option<Media>,
}

impl Side {
    fn new(protection: Protection, muxed: bool) -> Self {
        let party = Party::new("127.0.0.1");
        Self { party, protection, muxed, keys: [None, None], associations: Vec::new(), remote: None }
    }

    fn transport(&self) -> &'static str {
        match self.protection {
            Protection::Plain => "RTP/AVP",
            Protection::Sdes(_) => "RTP/SAVP",
            Protection::Dtls(..) => "UDP/TLS/RTP/SAVP",
        }
    }

    /// `answering`: actpass is not for answers.
    fn sdp(&self, answering: bool, tag: u32) -> String {
        let mut lines = Vec::new();
        match &self.protection {
            Protection::Plain => {}
            Protection::Sdes(key) => lines.push(format!("crypto:{}", key.to_line(tag))),
            Protection::Dtls(identity, setup, _) => {
                let setup = if answering && *setup == "actpass" { "active" } else { setup };
                lines.extend([
                    format!("setup:{setup}"),
                    format!("fingerprint:{}", identity.fingerprint("sha-256")),
                ]);
            }
        }
        if self.muxed {
            lines.push("rtcp-mux".into());
        }
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        sdp::audio(self.party.local(), &["0 PCMU/8000"], &lines).replace("RTP/AVP", self.transport())
    }

    /// Of the crypto line that it answers.
    fn chosen_tag(&self, offered: &Media) -> u32 {
        let Protection::Sdes(key) = &self.protection else { return 1 };
        let suite =
            |line: &&String| line.starts_with("crypto:") && line.contains(&format!(" {} ", key.suite));
        let line = offered.attributes.iter().find(suite).expect("our suite");
        line["crypto:".len()..].split(' ').next().and_then(|tag| tag.parse().ok()).expect("a tag")
    }

    /// Takes what the daemon said, and shakes hands if that is agreed on.
    fn connect(&mut self, media: Media, answering: bool) {
        self.party.remote = Some(media.rtp);
        match self.protection.clone() {
            Protection::Plain => {}
            Protection::Sdes(key) => {
                let line = media.attributes.iter().filter_map(|line| line.strip_prefix("crypto:"));
                let line = line.into_iter().find(|line| line.split(' ').nth(1) == Some(&key.suite));
                let receive = Key::parse(line.expect("a line with our suite"));
                self.keys = [0, 1].map(|_| Some(Endpoint::new(key.clone(), receive.clone())));
            }
            Protection::Dtls(identity, setup, by) => {
                let theirs = media.attributes.iter().find_map(|line| line.strip_prefix("setup:"));
                let role = match (setup, theirs.expect("a role")) {
                    ("active", _) | (_, "passive") => Role::Client,
                    ("passive", _) | (_, "active") => Role::Server,
                    _ => Role::Client,
                };
                assert!(!answering || theirs == Some("actpass"), "offers leave the choice");
                self.associations.clear();
                let ports = [(&*self.party.rtp, media.rtp), (&self.party.rtcp, media.rtcp)];
                for (index, (socket, to)) in ports.into_iter().take(2 - usize::from(self.muxed)).enumerate() {
                    let made = match by {
                        By::OpenSsl(profiles) => identity.shake(socket, to, role, profiles, LIMIT),
                        By::Dimpl(versions) => identity.shake_by_dimpl(socket, to, role, versions, LIMIT),
                    };
                    let association = made.unwrap_or_else(|error| panic!("{role:?}: {error}"));
                    let shown = format!("fingerprint:{}", association.shown);
                    assert!(media.has(&shown), "{shown} is not in {:?}", media.attributes);
                    self.keys[index] = Some(association.srtp.afresh());
                    self.associations.push(association);
                }
            }
        }
        self.remote = Some(media);
    }

    fn socket(&self, rtcp: bool) -> &UdpSocket {
        if rtcp && !self.muxed { &self.party.rtcp } else { &self.party.rtp }
    }

    fn keys(&mut self, rtcp: bool) -> Option<&mut Endpoint> {
        self.keys[usize::from(rtcp && !self.muxed)].as_mut()
    }

    fn send(&mut self, packet: &[u8], rtcp: bool) {
        let media = self.remote.as_ref().expect("connected");
        let to: SocketAddr = if rtcp && !self.muxed { media.rtcp } else { media.rtp };
        let sealed = self.keys(rtcp).map_or_else(|| packet.to_vec(), |keys| keys.protect(packet));
        self.socket(rtcp).send_to(&sealed, to).expect("sent");
    }

    /// The next media packet, decrypted.
    fn receive(&mut self, rtcp: bool) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 2048];
        self.socket(rtcp).set_read_timeout(Some(LIMIT)).expect("not zero");
        loop {
            let length = self.socket(rtcp).recv(&mut buffer).ok()?;
            // A repeated last flight.
            if (20..64).contains(&buffer[0]) {
                continue;
            }
            let raw = &buffer[..length];
            return match self.keys(rtcp) {
                Some(keys) => Some(keys.unprotect(raw).expect("an authentic packet")),
                None => Some(raw.to_vec()),
            };
        }
    }

    /// The packet arrives as it was sent, and nothing else but what was sent before by the same source.
    fn hear(&mut self, packet: &[u8], rtcp: bool) {
        let ssrc =
            |packet: &[u8]| if is_rtcp(packet) { packet[4..8].to_vec() } else { packet[8..12].to_vec() };
        loop {
            // Of what shares the port there may be late ones of the other kind.
            let heard = self.receive(rtcp).expect("a packet");
            assert_eq!(ssrc(&heard), ssrc(packet), "a packet of somebody else");
            if heard == packet {
                return;
            }
        }
    }

    fn packet(&mut self) -> Vec<u8> {
        let payload: [u8; 160] = rand::random();
        self.party.next_packet(0, &payload, 160).to_octets()
    }

    fn report(&self) -> Vec<u8> {
        let block: [u8; 24] = rand::random();
        [&[0x81, 201, 0, 7][..], &self.party.ssrc.to_be_bytes(), &block].concat()
    }
}

struct Call<'r> {
    relay: &'r Relay,
    id: String,
    sides: [Side; 2],
}

fn media_of(reply: &Value) -> Media {
    sdp::media(reply["sdp"].as_str().unwrap_or_else(|| panic!("no sdp in {reply}")))
}

impl<'r> Call<'r> {
    fn new(relay: &'r Relay, id: &str, sides: [Side; 2]) -> Self {
        Self { relay, id: id.into(), sides }
    }

    fn negotiate(&mut self, extra: &Value) {
        let [a, b] = &mut self.sides;
        let mux = match (a.muxed, b.muxed) {
            (true, false) => json!(["demux"]),
            (false, true) => json!(["offer"]),
            _ => json!([]),
        };
        let mut offer = json!({
            "command": "offer", "call-id": self.id, "from-tag": "a", "sdp": a.sdp(false, 1), "rtcp-mux": mux,
            "transport-protocol": b.transport(),
        });
        let other = if matches!(b.protection, Protection::Sdes(_)) { "DTLS" } else { "SDES" };
        offer[other] = json!("off");
        extend(&mut offer, extra);
        let offered = media_of(&self.relay.ng.ok(offer));
        let tag = b.chosen_tag(&offered);
        let answer = json!({
            "command": "answer", "call-id": self.id, "from-tag": "a", "to-tag": "b", "sdp": b.sdp(true, tag),
        });
        let answered = media_of(&self.relay.ng.ok(answer));
        a.connect(answered, false);
        b.connect(offered, true);
    }

    /// Packets and reports both ways arrive as they were sent. The first may be lost: the daemon takes the keys an instant after the
    /// party.
    fn talk(&mut self) {
        let [a, b] = &mut self.sides;
        exchange(a, b);
        exchange(b, a);
        for _ in 0..5 {
            for forward in [true, false] {
                let (from, to) = if forward { (&mut *a, &mut *b) } else { (&mut *b, &mut *a) };
                let packet = from.packet();
                from.send(&packet, false);
                to.hear(&packet, false);
            }
        }
        for forward in [true, false] {
            let (from, to) = if forward { (&mut *a, &mut *b) } else { (&mut *b, &mut *a) };
            let report = from.report();
            from.send(&report, true);
            to.hear(&report, true);
        }
    }

    fn query(&self) -> String {
        self.relay.ng.ok(json!({"command": "query", "call-id": self.id})).to_string()
    }
}

/// Sends until a packet has come through.
fn exchange(from: &mut Side, to: &mut Side) {
    for rtcp in [false, true] {
        let deadline = Instant::now() + LIMIT;
        let mut buffer = [0; 2048];
        loop {
            assert!(Instant::now() < deadline, "media come through");
            let packet = if rtcp { from.report() } else { from.packet() };
            from.send(&packet, rtcp);
            to.socket(rtcp).set_read_timeout(Some(Duration::from_millis(30))).expect("not zero");
            let Ok(length) = to.socket(rtcp).recv(&mut buffer) else { continue };
            // What shares the port may be a late packet of the other kind, which has keys of its own on the sender's side.
            if buffer[0] >= 128 && is_rtcp(&buffer) == rtcp {
                if let Some(keys) = to.keys(rtcp) {
                    assert!(keys.unprotect(&buffer[..length]).is_some());
                }
                break;
            }
        }
    }
}

fn dtls(setup: &'static str) -> Protection {
    Protection::Dtls(Identity::new(), setup, By::OpenSsl(ALL))
}

#[test]
fn dtls_is_bridged_to_plain_rtp_sdes_and_dtls_in_all_roles() {
    let relay = Relay::start(&[]);
    let mut count = 0;
    for muxed in [[true, true], [true, false], [false, true], [false, false]] {
        for setup in ["actpass", "active", "passive"] {
            let others = [
                Protection::Plain,
                Protection::Sdes(Key::random("AES_CM_128_HMAC_SHA1_80")),
                Protection::Sdes(Key::random("AEAD_AES_256_GCM")),
                dtls("active"),
                dtls("passive"),
            ];
            for other in others {
                for dtls_calls in [true, false] {
                    let mut protections = [dtls(setup), other.clone()];
                    if !dtls_calls {
                        protections.reverse();
                    }
                    let [a, b] = protections;
                    let sides = [Side::new(a, muxed[0]), Side::new(b, muxed[1])];
                    count += 1;
                    let id = format!("{count}: {} {setup} {muxed:?} {dtls_calls}", sides[1].transport());
                    eprintln!("{id}");
                    let mut call = Call::new(&relay, &id, sides);
                    call.negotiate(&json!({}));
                    call.talk();
                    let flags = call.query();
                    assert!(flags.contains("DTLS fingerprint verified"), "{flags}");
                    relay
                        .ng
                        .ok(json!({"command": "delete", "call-id": id, "from-tag": "a", "delete-delay": 0}));
                }
            }
        }
    }
    assert_eq!(count, 120);
}

#[test]
fn every_profile_is_spoken_on_either_side() {
    let relay = Relay::start(&[]);
    for (profile, suite) in PROFILES {
        for role in ["active", "passive"] {
            let protection = Protection::Dtls(Identity::new(), role, By::OpenSsl(profile));
            let sides = [Side::new(protection, true), Side::new(Protection::Plain, false)];
            let mut call = Call::new(&relay, &format!("{profile} {role}"), sides);
            call.negotiate(&json!({}));
            call.talk();
            assert!(call.query().contains(&format!("\"crypto suite\":\"{suite}\"")), "{}", call.query());
        }
    }
}

#[test]
fn the_end_of_a_call_is_told_to_the_party() {
    let relay = Relay::start(&[]);
    for setup in ["active", "passive"] {
        let sides = [Side::new(dtls(setup), false), Side::new(Protection::Plain, false)];
        let mut call = Call::new(&relay, setup, sides);
        call.negotiate(&json!({}));
        call.talk();
        relay.ng.ok(json!({"command": "delete", "call-id": setup, "delete-delay": 0}));
        let associations = &mut call.sides[0].associations;
        assert_eq!(associations.len(), 2);
        for association in associations {
            assert!(association.is_ended_by_daemon(LIMIT), "{setup}: close_notify");
        }
    }
}

#[test]
fn re_offer_keeps_the_association_and_another_certificate_starts_a_new_one() {
    let relay = Relay::start(&[]);
    let sides = [Side::new(dtls("actpass"), true), Side::new(Protection::Plain, false)];
    let mut call = Call::new(&relay, "re-offer", sides);
    call.negotiate(&json!({}));
    call.talk();
    let [a, b] = &mut call.sides;
    let re_offer = |a: &Side, b: &Side, rtcp_mux: Value| {
        let tags = json!({"call-id": "re-offer", "from-tag": "a", "to-tag": "b"});
        let mut offer = json!({"command": "offer", "sdp": a.sdp(false, 1), "transport-protocol": b.transport(),
            "rtcp-mux": rtcp_mux});
        extend(&mut offer, &tags);
        relay.ng.ok(offer);
        let mut answer = json!({"command": "answer", "sdp": b.sdp(true, 1)});
        extend(&mut answer, &tags);
        media_of(&relay.ng.ok(answer))
    };
    let before = tls_id(a.remote.as_ref().expect("connected"));
    let answered = re_offer(a, b, json!(["demux"]));
    assert_eq!(tls_id(&answered), before);
    a.remote = Some(answered);
    call.talk();
    let [a, b] = &mut call.sides;
    a.protection = dtls("actpass");
    let answered = re_offer(a, b, json!(["demux"]));
    assert_ne!(tls_id(&answered), before, "RFC 8842: a new association has a new identifier");
    // Until then the old keys serve.
    exchange(a, b);
    a.connect(answered, false);
    call.talk();
}

fn tls_id(media: &Media) -> String {
    let line = media.attributes.iter().find_map(|line| line.strip_prefix("tls-id:"));
    line.expect("an identifier").to_owned()
}

#[test]
fn forked_calls_have_an_association_with_each_branch_and_one_with_the_caller() {
    let relay = Relay::start(&[]);
    let sdes = || Protection::Sdes(Key::random("AES_CM_128_HMAC_SHA1_80"));
    let mut count = 0;
    for (setup, muxed) in [("actpass", true), ("active", false), ("passive", true), ("passive", false)] {
        for kinds in [
            [dtls("active"), dtls("active")],
            [dtls("active"), dtls("passive")],
            [dtls("passive"), Protection::Plain],
            [sdes(), dtls("passive")],
        ] {
            for caller in [dtls(setup), Protection::Plain] {
                count += 1;
                early_media_of_both(&relay, &format!("fork {count}"), caller, kinds.clone(), muxed);
            }
        }
    }
}

/// Both branches answer early, then the first one finally; whoever has answered talks to the caller.
fn early_media_of_both(relay: &Relay, id: &str, caller: Protection, kinds: [Protection; 2], muxed: bool) {
    let mut caller = Side::new(caller, muxed);
    let mut branches = kinds.map(|kind| Side::new(kind, muxed));
    let offered = [0, 1].map(|index: usize| {
        let side = &branches[index];
        let mut offer = json!({
            "command": "offer", "call-id": id, "from-tag": "a", "via-branch": format!("v{index}"),
            "transport-protocol": side.transport(), "sdp": caller.sdp(false, 1),
        });
        offer[if matches!(side.protection, Protection::Sdes(_)) { "DTLS" } else { "SDES" }] = json!("off");
        media_of(&relay.ng.ok(offer))
    });
    for (turn, index) in [0, 1, 0].into_iter().enumerate() {
        let (branch, offered) = (&mut branches[index], &offered[index]);
        let sdp = branch.sdp(true, branch.chosen_tag(offered));
        let told = media_of(&relay.ng.ok(json!({
            "command": "answer", "call-id": id, "from-tag": "a", "to-tag": format!("b{index}"),
            "via-branch": format!("v{index}"), "sdp": sdp,
        })));
        if turn == 0 {
            caller.connect(told, false);
        } else {
            // The daemon is the same, whatever port the branch has there.
            caller.remote = Some(told);
        }
        if turn < 2 {
            branch.connect(offered.clone(), true);
        }
        exchange(&mut caller, branch);
        exchange(branch, &mut caller);
    }
    relay.ng.ok(json!({"command": "delete", "call-id": id, "delete-delay": 0}));
}

#[test]
fn wrong_certificate_is_not_heard_and_the_call_goes_on_waiting() {
    let relay = Relay::start(&[]);
    let sides = [Side::new(dtls("active"), true), Side::new(Protection::Plain, false)];
    let mut call = Call::new(&relay, "stranger", sides);
    let offer = json!({"command": "offer", "call-id": "stranger", "from-tag": "a", "sdp": call.sides[0].sdp(false, 1),
        "transport-protocol": "RTP/AVP", "rtcp-mux": ["demux"]});
    call.sides[1].remote = Some(media_of(&relay.ng.ok(offer)));
    let answer = json!({"command": "answer", "call-id": "stranger", "from-tag": "a", "to-tag": "b",
        "sdp": call.sides[1].sdp(true, 1)});
    let answered = media_of(&relay.ng.ok(answer));
    let attacker = UdpSocket::bind("127.0.0.9:0").expect("a socket");
    let made = Identity::new().shake(&attacker, answered.rtp, Role::Client, ALL, Duration::from_secs(1));
    assert!(!call.query().contains("DTLS fingerprint verified"), "{made:?}");
    call.sides[0].connect(answered, false);
    call.talk();
    let verified = || call.query().contains("DTLS fingerprint verified").then_some(());
    assert!(wait_for(LIMIT, verified).is_some());
}

#[test]
fn another_implementation_of_dtls_is_understood_in_both_roles() {
    let relay = Relay::start(&[]);
    for versions in [Versions::V12, Versions::V12And13] {
        for (setup, muxed) in [("active", true), ("passive", true), ("actpass", false), ("passive", false)] {
            let id = format!("{versions:?} {setup} {muxed}");
            eprintln!("{id}");
            let protection = Protection::Dtls(Identity::new(), setup, By::Dimpl(versions));
            let sides = [Side::new(protection, muxed), Side::new(Protection::Plain, false)];
            let mut call = Call::new(&relay, &id, sides);
            call.negotiate(&json!({}));
            call.talk();
        }
    }
}

/// Both published attacks at once, with the default configuration: RTP sprayed at all ports, and ClientHellos before the party's.
#[test]
fn attackers_who_are_first_and_loud_get_nothing_and_harm_nobody() {
    let relay = Relay::start(&[]);
    let sides = [Side::new(dtls("active"), true), Side::new(Protection::Plain, false)];
    let mut call = Call::new(&relay, "attack", sides);
    let [a, b] = &mut call.sides;
    let offer = json!({"command": "offer", "call-id": "attack", "from-tag": "a", "sdp": a.sdp(false, 1),
        "transport-protocol": "RTP/AVP", "rtcp-mux": ["demux"]});
    b.remote = Some(media_of(&relay.ng.ok(offer)));
    let answer = json!({"command": "answer", "call-id": "attack", "from-tag": "a", "to-tag": "b", "sdp": b.sdp(true, 1)});
    let answered = media_of(&relay.ng.ok(answer));
    let target = answered.rtp;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let sprayer = scope.spawn(|| {
            let attacker = UdpSocket::bind("127.0.0.66:0").expect("a socket");
            attacker.set_nonblocking(true).expect("a flag");
            let mut heard = Vec::new();
            let mut rtp = [0x5a; 172];
            rtp[..12].copy_from_slice(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0x66, 0x66, 0x66, 0x66]);
            let mut buffer = [0; 2048];
            for number in 0_u16.. {
                if stop.load(Relaxed) {
                    break;
                }
                rtp[2..4].copy_from_slice(&number.to_be_bytes());
                let _ = attacker.send_to(&rtp, target);
                while let Ok(length) = attacker.recv(&mut buffer) {
                    heard.push(buffer[..length].to_vec());
                }
                std::thread::sleep(Duration::from_micros(500));
            }
            heard
        });
        let racer = scope.spawn(|| {
            let attacker = UdpSocket::bind("127.0.0.67:0").expect("a socket");
            let mut won = 0;
            while !stop.load(Relaxed) {
                let made =
                    Identity::new().shake(&attacker, target, Role::Client, ALL, Duration::from_millis(50));
                // Whoever is lied to believes in its keys until it is told off; nothing must be encrypted with them.
                won += usize::from(made.is_ok_and(|mut association| {
                    attacker.set_read_timeout(Some(Duration::from_millis(50))).expect("not zero");
                    let mut buffer = [0; 2048];
                    let heard = attacker.recv(&mut buffer).ok().filter(|_| buffer[0] >= 128);
                    heard.is_some_and(|length| association.srtp.unprotect(&buffer[..length]).is_some())
                }));
            }
            won
        });
        // They have the port for themselves for a while.
        std::thread::sleep(Duration::from_millis(200));
        a.connect(answered.clone(), false);
        exchange(a, b);
        for _ in 0..100 {
            for forward in [true, false] {
                let (from, to) = if forward { (&mut *a, &mut *b) } else { (&mut *b, &mut *a) };
                let packet = from.packet();
                from.send(&packet, false);
                to.hear(&packet, false);
            }
        }
        stop.store(true, Relaxed);
        assert_eq!(
            sprayer.join().expect("the sprayer"),
            Vec::<Vec<u8>>::new(),
            "the attacker is sent nothing"
        );
        assert_eq!(racer.join().expect("the racer"), 0, "the attacker has keys");
    });
}
