//! SRTP keyed by SDES on paths that ICE has found: every suite, either side calling, full and lite agents, to plain RTP and to another suite.
//! What the parties send and get goes through libsrtp.

use std::time::{Duration, Instant};

use e2e::daemon::Relay;
use e2e::ice::IceParty;
use e2e::party::Party;
use e2e::sdp;
use e2e::srtp::{Endpoint, Key};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(10);
const SUITES: &[&str] = &[
    "AEAD_AES_256_GCM",
    "AEAD_AES_128_GCM",
    "AES_256_CM_HMAC_SHA1_80",
    "AES_192_CM_HMAC_SHA1_32",
    "AES_CM_128_HMAC_SHA1_80",
    "AES_CM_128_HMAC_SHA1_32",
    "F8_128_HMAC_SHA1_80",
];
/// What the phone speaks; `None`: plain RTP.
const FAR: &[Option<&str>] = &[None, Some("AES_CM_128_HMAC_SHA1_32"), Some("AEAD_AES_128_GCM")];

struct Call {
    ice: IceParty,
    near: Endpoint,
    phone: Party,
    far: Option<Endpoint>,
}

/// Tag and key of the line with this suite.
fn line_of(sdp: &str, suite: &str) -> (u32, Key) {
    let mut lines = sdp.lines().filter_map(|line| line.strip_prefix("a=crypto:"));
    let line = lines.find(|line| line.split(' ').nth(1) == Some(suite));
    let line = line.unwrap_or_else(|| panic!("no line with {suite} in {sdp}"));
    (line.split(' ').next().and_then(|tag| tag.parse().ok()).expect("a tag"), Key::parse(line))
}

fn establish(relay: &Relay, id: &str, suites: (&str, Option<&str>), ice_calls: bool, lite: bool) -> Call {
    let mut ice = IceParty::new("127.0.0.1", lite || ice_calls);
    let mut phone = Party::new("127.0.0.1");
    let (near_key, far_key) = (Key::random(suites.0), suites.1.map(Key::random));
    let near_sdp = |ice: &IceParty, tag: u32| {
        let mut lines = ice.attributes();
        lines.extend([ice.candidate(), format!("crypto:{}", near_key.to_line(tag))]);
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        sdp::audio(ice.local(), &["0 PCMU/8000"], &lines).replace("RTP/AVP", "RTP/SAVPF")
    };
    let far_transport = if far_key.is_some() { "RTP/SAVP" } else { "RTP/AVP" };
    let far_sdp = |phone: &Party, tag: u32| {
        let crypto = far_key.as_ref().map(|key| format!("crypto:{}", key.to_line(tag)));
        let lines: Vec<&str> = crypto.iter().map(String::as_str).collect();
        sdp::audio(phone.local(), &["0 PCMU/8000"], &lines).replace("RTP/AVP", far_transport)
    };
    let request = |command: &str, sdp: String, more: Value| {
        let mut request =
            json!({"command": command, "call-id": id, "from-tag": "a", "sdp": sdp, "DTLS": "off"});
        e2e::call::extend(&mut request, &more);
        relay.ng.ok(request)["sdp"].as_str().expect("an SDP").to_owned()
    };
    let lite = if lite { "both" } else { "off" };
    let tag_for = |sdp: &str, suite: Option<&str>| suite.map_or(1, |suite| line_of(sdp, suite).0);
    let (for_phone, for_ice) = if ice_calls {
        let more = json!({"ICE": "remove", "rtcp-mux": ["demux"], "transport-protocol": far_transport, "ICE-lite": lite});
        let offered = request("offer", near_sdp(&ice, 1), more);
        let answer = far_sdp(&phone, tag_for(&offered, suites.1));
        (offered, request("answer", answer, json!({"to-tag": "b"})))
    } else {
        let more = json!({"ICE": "force", "rtcp-mux": ["offer"], "transport-protocol": "RTP/SAVPF", "ICE-lite": lite});
        let offered = request("offer", far_sdp(&phone, 1), more);
        ice.read(&offered);
        let answer = near_sdp(&ice, tag_for(&offered, Some(suites.0)));
        (request("answer", answer, json!({"to-tag": "b"})), offered)
    };
    ice.read(&for_ice);
    phone.remote = Some(sdp::media(&for_phone).rtp);
    let near = Endpoint::new(near_key.clone(), line_of(&for_ice, suites.0).1);
    let far = far_key.map(|key| {
        let suite = key.suite.clone();
        Endpoint::new(key, line_of(&for_phone, &suite).1)
    });
    ice.establish(LIMIT).expect("a path");
    Call { ice, near, phone, far }
}

impl Call {
    fn phone_sends(&mut self) -> Vec<u8> {
        let payload: [u8; 160] = rand::random();
        let packet = self.phone.next_packet(0, &payload, 160).to_octets();
        let sealed = self.far.as_mut().map_or_else(|| packet.clone(), |far| far.protect(&packet));
        self.phone.rtp.send_to(&sealed, self.phone.remote.expect("negotiated")).expect("sent");
        packet
    }

    fn ice_sends(&mut self, sequence: u16) -> Vec<u8> {
        let payload: [u8; 160] = rand::random();
        let packet = [&[0x80, 0][..], &sequence.to_be_bytes(), &[0, 0, 1, 0, 9, 9, 9, 9], &payload].concat();
        let sealed = self.near.protect(&packet);
        self.ice.send(&sealed);
        packet
    }

    fn ice_hears(&mut self, limit: Duration) -> Option<Vec<u8>> {
        let end = Instant::now() + limit;
        while let Some((_, octets)) = self.ice.receive(end.saturating_duration_since(Instant::now())) {
            if octets[0] >= 128 {
                assert!(octets.len() > 172, "protected");
                return Some(self.near.unprotect(&octets).expect("an authentic packet"));
            }
        }
        None
    }

    fn phone_hears(&mut self, limit: Duration) -> Option<Vec<u8>> {
        let mut buffer = [0; 2048];
        self.phone.rtp.set_read_timeout(Some(limit)).expect("not zero");
        let length = self.phone.rtp.recv(&mut buffer).ok()?;
        let octets = &buffer[..length];
        match &mut self.far {
            Some(far) => Some(far.unprotect(octets).expect("an authentic packet")),
            None => Some(octets.to_vec()),
        }
    }

    /// Both ways, over the roll-over of the sequence numbers. The daemon sends to the party only when its own checks were answered.
    fn talk(&mut self) {
        let end = Instant::now() + LIMIT;
        loop {
            assert!(Instant::now() < end, "media come through to the party with ICE");
            self.phone_sends();
            if self.ice_hears(Duration::from_millis(20)).is_some() {
                break;
            }
        }
        for sequence in (0..6u16).map(|number| number.wrapping_sub(3)) {
            let sent = self.ice_sends(sequence);
            assert_eq!(self.phone_hears(LIMIT), Some(sent), "to the phone");
            let sent = self.phone_sends();
            // Late ones of before.
            while self.ice_hears(LIMIT).expect("to the party with ICE") != sent {}
        }
    }
}

#[test]
fn every_suite_is_bridged_on_a_path_of_ice() {
    let relay = Relay::start(&[]);
    let mut count = 0;
    for near in SUITES {
        for far in FAR {
            for (ice_calls, lite) in [(true, false), (true, true), (false, false), (false, true)] {
                count += 1;
                let id = format!("{near} {far:?} {ice_calls} {lite}");
                eprintln!("{id}");
                establish(&relay, &id, (near, *far), ice_calls, lite).talk();
                relay.ng.ok(json!({"command": "delete", "call-id": id, "from-tag": "a", "delete-delay": 0}));
            }
        }
    }
    assert_eq!(count, 84);
}
