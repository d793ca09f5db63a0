//! Calls with SRTP keyed by SDES, read and written by a second implementation on the parties' side.

use std::net::UdpSocket;
use std::time::Duration;

use e2e::daemon::{Relay, files_below, wait_for};
use e2e::party::Party;
use e2e::sdp::{self, Media};
use e2e::srtp::{Endpoint, Key};
use e2e::{call::extend, pcap};
use serde_json::{Value, json};

const CM80: &str = "AES_CM_128_HMAC_SHA1_80";
const SUITES: &[&str] = &[
    "AEAD_AES_256_GCM",
    "AEAD_AES_128_GCM",
    "AES_256_CM_HMAC_SHA1_80",
    "AES_192_CM_HMAC_SHA1_32",
    CM80,
    "AES_CM_128_HMAC_SHA1_32",
    "F8_128_HMAC_SHA1_80",
];

/// A party and how it protects what it sends.
struct Side {
    party: Party,
    /// What it encrypts with; `None`: nothing.
    key: Option<Key>,
    format: &'static str,
    security: Option<Endpoint>,
    /// Where its RTCP goes.
    rtcp: Option<std::net::SocketAddr>,
}

struct Call<'r> {
    relay: &'r Relay,
    id: String,
    a: Side,
    b: Side,
    /// Added to offers and answers.
    extra: [Value; 2],
}

impl Side {
    fn new(key: Option<Key>) -> Self {
        let mut party = Party::new("127.0.0.1");
        party.sequence = 65_530;
        Self { party, key, format: "0 PCMU/8000", security: None, rtcp: None }
    }

    fn sdp(&self, tag: u32) -> String {
        let crypto = self.key.as_ref().map(|key| format!("crypto:{}", key.to_line(tag)));
        let attributes: Vec<&str> = crypto.iter().map(String::as_str).collect();
        let sdp = sdp::audio(self.party.local(), &[self.format], &attributes);
        if self.key.is_some() { sdp.replace("RTP/AVP", "RTP/SAVP") } else { sdp }
    }

    /// Takes what the relay said: where to send, and the key of what is to come.
    fn connect(&mut self, media: &Media) {
        self.party.remote = Some(media.rtp);
        self.rtcp = Some(media.rtcp);
        let Some(key) = &self.key else {
            assert!(lines(media).is_empty(), "keys for a party without SRTP");
            return;
        };
        let (_, receive) = line_of(media, &key.suite);
        match &mut self.security {
            Some(security) => security.rekey(key.clone(), receive),
            None => self.security = Some(Endpoint::new(key.clone(), receive)),
        }
    }

    fn seal(&mut self, packet: &[u8]) -> Vec<u8> {
        self.security.as_mut().map_or_else(|| packet.to_vec(), |security| security.protect(packet))
    }

    /// An RTP packet whose payload has no two equal stretches.
    fn packet(&mut self) -> Vec<u8> {
        let payload: [u8; 160] = rand::random();
        let payload_type =
            self.format.split(' ').next().and_then(|word| word.parse().ok()).expect("a number");
        self.party.next_packet(payload_type, &payload, 160).to_octets()
    }

    fn send(&mut self, packet: &[u8]) {
        let sealed = self.seal(packet);
        self.party.rtp.send_to(&sealed, self.party.remote.expect("connected")).expect("sent");
    }

    fn send_rtcp(&mut self, packet: &[u8]) {
        let sealed = self.seal(packet);
        self.party.rtcp.send_to(&sealed, self.rtcp.expect("connected")).expect("sent");
    }

    /// What arrives on a socket, decrypted; a party with keys is never sent anything clear.
    fn receive(&mut self, rtcp: bool) -> Vec<u8> {
        let raw = datagram(if rtcp { &self.party.rtcp } else { &self.party.rtp });
        let Some(security) = &mut self.security else { return raw };
        let clear = security.unprotect(&raw).expect("an authentic packet");
        let body = if rtcp { 8 } else { 12 };
        let on_wire = |octets: &[u8]| raw.windows(octets.len()).any(|window| window == octets);
        assert!(!clear[body..].windows(8).any(on_wire), "clear octets on the wire");
        clear
    }
}

fn datagram(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = vec![0; 2048];
    socket.set_read_timeout(Some(Duration::from_secs(3))).expect("not zero");
    let length = socket.recv(&mut buffer).expect("a datagram");
    buffer.truncate(length);
    buffer
}

fn lines(media: &Media) -> Vec<&str> {
    media.attributes.iter().filter_map(|line| line.strip_prefix("crypto:")).collect()
}

/// Tag and key of the line with this suite.
fn line_of(media: &Media, suite: &str) -> (u32, Key) {
    let line = lines(media).into_iter().find(|line| line.split(' ').nth(1) == Some(suite));
    let line = line.unwrap_or_else(|| panic!("no line with {suite} in {:?}", media.attributes));
    (line.split(' ').next().and_then(|tag| tag.parse().ok()).expect("a tag"), Key::parse(line))
}

impl<'r> Call<'r> {
    fn new(relay: &'r Relay, id: &str, a: Option<Key>, b: Option<Key>) -> Self {
        let (a, b) = (Side::new(a), Side::new(b));
        Self { relay, id: id.into(), a, b, extra: [json!({}), json!({})] }
    }

    /// Offer and answer with the sides' present keys.
    fn negotiate(&mut self) {
        let transport = |side: &Side| if side.key.is_some() { "RTP/SAVP" } else { "RTP/AVP" };
        let mut offer = json!({
            "command": "offer", "call-id": self.id, "from-tag": "a", "sdp": self.a.sdp(1), "DTLS": "off",
            "transport-protocol": transport(&self.b),
        });
        extend(&mut offer, &self.extra[0]);
        let offered = media_of(&self.relay.ng.ok(offer));
        let tag = self.b.key.as_ref().map_or(1, |key| line_of(&offered, &key.suite).0);
        let mut answer = json!({
            "command": "answer", "call-id": self.id, "from-tag": "a", "to-tag": "b", "sdp": self.b.sdp(tag),
        });
        extend(&mut answer, &self.extra[1]);
        let answered = media_of(&self.relay.ng.ok(answer));
        self.a.connect(&answered);
        self.b.connect(&offered);
    }

    /// Packets both ways arrive as they were sent.
    fn talk(&mut self, packets: usize) {
        for _ in 0..packets {
            let (from, to) = (&mut self.a, &mut self.b);
            {
                let packet = from.packet();
                from.send(&packet);
                assert_eq!(to.receive(false), packet, "from the caller");
                let packet = to.packet();
                to.send(&packet);
                assert_eq!(from.receive(false), packet, "from the callee");
            }
        }
    }

    fn report(&mut self) {
        let report = |ssrc: u32| -> Vec<u8> {
            let block: [u8; 24] = rand::random();
            [&[0x81, 201, 0, 7][..], &ssrc.to_be_bytes(), &block].concat()
        };
        let (from_a, from_b) = (report(self.a.party.ssrc), report(self.b.party.ssrc));
        self.a.send_rtcp(&from_a);
        assert_eq!(self.b.receive(true), from_a);
        self.b.send_rtcp(&from_b);
        assert_eq!(self.a.receive(true), from_b);
    }

    fn delete(self) {
        let delete = json!({"command": "delete", "call-id": self.id, "from-tag": "a", "delete-delay": 0});
        self.relay.ng.ok(delete);
    }
}

fn media_of(reply: &Value) -> Media {
    sdp::media(reply["sdp"].as_str().unwrap_or_else(|| panic!("no sdp in {reply}")))
}

#[test]
fn every_pair_of_suites_and_plain_rtp_is_bridged() {
    let relay = Relay::start(&[]);
    let sides = || std::iter::once(None).chain(SUITES.iter().map(|suite| Some(Key::random(suite))));
    for a in sides() {
        for b in sides() {
            let name = |key: &Option<Key>| key.as_ref().map_or("RTP".to_owned(), |key| key.suite.clone());
            let id = format!("{} {}", name(&a), name(&b));
            eprintln!("{id}");
            let mut call = Call::new(&relay, &id, a.clone(), b);
            call.negotiate();
            // Over the roll-over of the sequence numbers.
            call.talk(10);
            call.report();
            call.delete();
        }
    }
}

#[test]
fn key_identifiers_and_session_parameters_are_kept() {
    let relay = Relay::start(&[]);
    let a = Key { mki: vec![0, 0, 0, 1], ..Key::random(CM80) };
    let b = Key { mki: vec![0, 9], ..Key::random("AEAD_AES_128_GCM") };
    let mut call = Call::new(&relay, "mki", Some(a), Some(b));
    call.negotiate();
    call.talk(5);
}

#[test]
fn keys_are_in_the_log_only_where_the_operator_wants_them() {
    for wanted in [false, true] {
        let relay = Relay::start(if wanted { &["--log-srtp-keys"] } else { &[] });
        let (a, b) = (Key::random(CM80), Key::random("AEAD_AES_256_GCM"));
        let mut call = Call::new(&relay, "logged", Some(a), Some(b));
        call.negotiate();
        call.talk(2);
        let ends = [&call.a, &call.b].map(|side| side.security.as_ref().expect("keys"));
        let keys = ends.into_iter().flat_map(|end| [&end.send, &end.receive]);
        let texts: Vec<String> = keys
            .map(|key| key.to_line(1).rsplit(':').next().expect("a key").trim_end_matches('=').to_owned())
            .collect();
        call.delete();
        if wanted {
            let _ = wait_for(Duration::from_secs(10), || {
                let log = relay.process.log();
                texts.iter().all(|text| log.contains(text.as_str())).then_some(())
            });
        }
        let log = relay.process.log();
        for text in texts {
            assert_eq!(log.contains(&text), wanted, "{text}");
        }
        let lines = log.lines().filter(|line| line.contains("SRTP key")).count();
        // Two streams of two sides, both directions.
        assert_eq!(lines, if wanted { 8 } else { 0 }, "{log}");
    }
}

#[test]
fn details_of_packets_are_in_the_log_only_where_the_operator_wants_them() {
    for wanted in [false, true] {
        let relay = Relay::start(if wanted { &["--debug-srtp", "--log-level=5"] } else { &[] });
        let mut call = Call::new(&relay, "details", Some(Key::random(CM80)), None);
        call.negotiate();
        call.talk(2);
        call.report();
        // Not authentic.
        let mut packet = call.a.packet();
        packet.extend([0; 10]);
        call.a.party.rtp.send_to(&packet, call.a.party.remote.expect("connected")).expect("sent");
        call.talk(1);
        const WORDS: [&str; 5] = [
            "SRTP packet local",
            "kind=Rtcp",
            "direction=in kind=Rtp ",
            "direction=out",
            // Below user space later packets may have gone before: then it is not even looked at.
            "SRTP packet refused",
        ];
        let count = || {
            let log = relay.process.log();
            let has =
                |words: &&&str| log.lines().any(|line| line.contains("[srtp]") && line.contains(**words));
            WORDS.iter().filter(has).count()
        };
        if wanted {
            let complete = wait_for(Duration::from_secs(10), || (count() == WORDS.len()).then_some(()));
            assert!(complete.is_some(), "{}", relay.process.log());
        }
        assert_eq!(count(), if wanted { WORDS.len() } else { 0 });
        let log = relay.process.log();
        assert!(!log.contains(&call.a.key.as_ref().expect("a key").to_line(1)[40..56]), "no key");
    }
}

#[test]
fn transcoding_works_between_secured_parties() {
    let relay = Relay::start(&[]);
    let mut call =
        Call::new(&relay, "transcode", Some(Key::random(CM80)), Some(Key::random("AEAD_AES_256_GCM")));
    call.b.format = "8 PCMA/8000";
    call.extra[0] = json!({"codec": {"mask": ["PCMU"], "transcode": ["PCMA"]}});
    call.negotiate();
    for _ in 0..5 {
        // Silence in one law is silence in the other.
        let packet = call.a.party.next_packet(0, &[0xff; 160], 160).to_octets();
        call.a.send(&packet);
        let raw = datagram(&call.b.party.rtp);
        let heard =
            call.b.security.as_mut().and_then(|security| security.unprotect(&raw)).expect("authentic");
        assert_eq!((heard[1] & 0x7f, &heard[12..]), (8, &[0xd5; 160][..]));
    }
}

#[test]
fn recording_of_a_secured_call_is_clear() {
    let relay =
        Relay::start(&["--recording-dir={DIR}/spool", "--recording-method=pcap", "--recording-format=raw"]);
    let mut call = Call::new(&relay, "recorded", Some(Key::random(CM80)), Some(Key::random(CM80)));
    call.extra[0] = json!({"record-call": "yes"});
    call.negotiate();
    let mut sent = Vec::new();
    for _ in 0..10 {
        let packet = call.a.packet();
        call.a.send(&packet);
        assert_eq!(call.b.receive(false), packet);
        sent.push(packet);
    }
    call.delete();
    let files = wait_for(Duration::from_secs(5), || {
        Some(files_below(&relay.path("spool/metadata"), ".txt")).filter(|files| !files.is_empty())
    });
    assert!(files.is_some(), "no metadata");
    let files = files_below(&relay.path("spool/pcaps"), ".pcap");
    let recorded: Vec<_> =
        pcap::read(&files[0]).expect("a pcap file").into_iter().map(|datagram| datagram.payload).collect();
    assert_eq!(recorded, sent);
}

#[test]
fn re_offer_goes_on_with_the_same_keys_and_changes_to_new_ones() {
    let relay = Relay::start(&[]);
    let mut call =
        Call::new(&relay, "again", Some(Key::random(CM80)), Some(Key::random("AES_256_CM_HMAC_SHA1_80")));
    call.negotiate();
    call.talk(10);
    // Same keys: the roll-over counters, now 1, go on.
    call.negotiate();
    call.talk(10);
    call.a.key = Some(Key::random(CM80));
    call.b.key = Some(Key::random("AES_256_CM_HMAC_SHA1_80"));
    call.negotiate();
    call.talk(10);
}

#[test]
fn clear_packets_do_not_pass_a_secured_party_s_port() {
    let relay = Relay::start(&[]);
    let mut call = Call::new(&relay, "clear", Some(Key::random(CM80)), None);
    call.negotiate();
    let stranger = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let port = call.a.party.remote.expect("connected");
    for _ in 0..5 {
        let packet = call.a.packet();
        stranger.send_to(&packet, port).expect("sent");
        call.a.party.rtp.send_to(&packet, port).expect("sent");
    }
    // The first packet that arrives is the first authentic one, and answers go to who sent it.
    call.talk(3);
}

/// A call of which both directions have the answerer's and the offerer's own keys.
fn with_shared_keys<'r>(relay: &'r Relay, suite: &str, id: &str) -> Call<'r> {
    let mut call = Call::new(relay, id, Some(Key::random(suite)), Some(Key::random(suite)));
    call.negotiate();
    call
}

/// Sends a packet to the caller; what was sent, and what arrived, both as on the wire.
fn on_the_wire(call: &mut Call<'_>) -> (Vec<u8>, Vec<u8>) {
    let packet = call.b.packet();
    let sealed = call.b.seal(&packet);
    call.b.party.rtp.send_to(&sealed, call.b.party.remote.expect("connected")).expect("sent");
    (sealed, datagram(&call.a.party.rtp))
}

fn ssrc(packet: &[u8]) -> &[u8] {
    &packet[8..12]
}

#[test]
fn a_shared_key_encrypts_nothing_but_the_source_s_own_packets() {
    let relay = Relay::start(&[]);
    for suite in ["AEAD_AES_128_GCM", CM80] {
        let mut call = with_shared_keys(&relay, suite, suite);
        call.talk(10);
        let (sent, received) = on_the_wire(&mut call);
        assert_eq!(sent, received, "the same ciphertext");
        let unprotect = |call: &mut Call<'_>, packet: &[u8]| {
            call.a.security.as_mut().and_then(|security| security.unprotect(packet)).expect("authentic")
        };
        unprotect(&mut call, &received);
        let command = |command: &str| {
            relay.ng.ok(json!({"command": command, "call-id": suite, "from-tag": "b"}));
        };
        command("silence media");
        let (sent, received) = on_the_wire(&mut call);
        assert_ne!(ssrc(&sent), ssrc(&received), "another message under the same key");
        assert_eq!(unprotect(&mut call, &received)[12..], [0xff; 160]);
        let changed = ssrc(&received).to_vec();
        // A report of the listener is about the SSRC that the sender has.
        let report = [&[0x81, 201, 0, 7][..], &[0, 0, 0, 9], &changed, &[0; 20]].concat();
        call.a.send_rtcp(&report);
        assert_eq!(call.b.receive(true)[8..12], *ssrc(&sent));
        command("unsilence media");
        let (_, received) = on_the_wire(&mut call);
        assert_eq!(ssrc(&received), changed, "no way back: the receiver's roll-over counter goes with it");
        assert_ne!(unprotect(&mut call, &received)[12..], [0xff; 160]);
        call.delete();
    }
}

#[test]
fn a_source_that_wrapped_unheard_comes_back_under_another_ssrc() {
    let relay = Relay::start(&[]);
    let mut call = with_shared_keys(&relay, "AEAD_AES_256_GCM", "wrapped");
    call.talk(3);
    let on_hold = call.a.sdp(1) + "a=sendonly\r\n";
    call.extra[0] = json!({"sdp": on_hold});
    call.negotiate();
    // Ahead by a cycle in steps that the relay's side of the source can follow; a report shows when all have been read.
    let step = |call: &mut Call<'_>| {
        call.b.party.sequence = call.b.party.sequence.wrapping_add(20_000);
        let packet = call.b.packet();
        call.b.send(&packet);
    };
    (0..4).for_each(|_| step(&mut call));
    call.report();
    call.extra[0] = json!({});
    call.negotiate();
    let (sent, received) = on_the_wire(&mut call);
    assert_ne!(ssrc(&sent), ssrc(&received));
    assert!(call.a.security.as_mut().and_then(|security| security.unprotect(&received)).is_some());
}

#[test]
fn answer_has_a_key_of_its_own_when_packets_are_rewritten() {
    let relay = Relay::start(&[]);
    let key = || Some(Key::random("AEAD_AES_128_GCM"));
    for (id, extra, own) in [
        ("plain", json!({}), false),
        ("transcoded", json!({"codec": {"mask": ["PCMU"], "transcode": ["PCMA"]}}), true),
    ] {
        let mut call = Call::new(&relay, id, key(), key());
        if own {
            call.b.format = "8 PCMA/8000";
        }
        call.extra[0] = extra;
        call.negotiate();
        let theirs = call.b.key.clone().expect("a key");
        let (_, packet) = on_the_wire(&mut call);
        // An end that takes the answerer's key for that of the relay.
        let mut end = Endpoint::new(call.a.key.clone().expect("a key"), theirs);
        assert_eq!(end.unprotect(&packet).is_none(), own, "{id}");
    }
}
