//! DTLS-SRTP on paths that ICE has found, as browsers speak it.

use std::time::{Duration, Instant};

use e2e::daemon::Relay;
use e2e::dtls::{Association, Identity, Role, Versions};
use e2e::ice::IceParty;
use e2e::party::Party;
use e2e::sdp::{self, Media};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(8);
const PROFILES: &str = "SRTP_AEAD_AES_128_GCM:SRTP_AES128_CM_SHA1_80";

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Caller {
    Browser,
    Phone,
}

struct Call<'r> {
    relay: &'r Relay,
    id: String,
    browser: IceParty,
    identity: Identity,
    phone: Party,
    caller: Caller,
    setup: &'static str,
    lite: bool,
    version: u32,
}

impl<'r> Call<'r> {
    fn new(relay: &'r Relay, caller: Caller, setup: &'static str, lite: bool) -> Self {
        let controlling = lite || caller == Caller::Browser;
        Self {
            relay,
            id: format!("{caller:?} {setup} {lite}"),
            browser: IceParty::new("127.0.0.1", controlling),
            identity: Identity::new(),
            phone: Party::new("127.0.0.1"),
            caller,
            setup,
            lite,
            version: 0,
        }
    }

    fn request(&self, command: &str, sdp: &str, more: &Value) -> String {
        let mut request = json!({"command": command, "call-id": self.id, "from-tag": "a", "sdp": sdp});
        if command == "answer" || self.version > 1 {
            request["to-tag"] = json!("b");
        }
        for (key, value) in more.as_object().into_iter().flatten() {
            request[key] = value.clone();
        }
        self.relay.ng.ok(request)["sdp"].as_str().expect("sdp").to_owned()
    }

    fn browser_description(&self) -> String {
        let mut attributes = self.browser.attributes();
        attributes.extend([self.browser.candidate(), format!("setup:{}", self.setup)]);
        attributes.push(format!("fingerprint:{}", self.identity.fingerprint("sha-256")));
        let attributes: Vec<&str> = attributes.iter().map(String::as_str).collect();
        let sdp = sdp::audio(self.browser.local(), &["0 PCMU/8000"], &attributes);
        sdp.replace("RTP/AVP", "UDP/TLS/RTP/SAVPF")
    }

    /// What the browser was told.
    fn negotiate(&mut self) -> Media {
        self.version += 1;
        let phone = sdp::audio(self.phone.local(), &["0 PCMU/8000"], &[]);
        let lite = if self.lite { "both" } else { "off" };
        let (to_phone, to_browser) = match self.caller {
            Caller::Browser => {
                let plain = json!({"ICE": "remove", "rtcp-mux": ["demux"], "transport-protocol": "RTP/AVP",
                    "ICE-lite": lite});
                let offered = self.request("offer", &self.browser_description(), &plain);
                (offered, self.request("answer", &phone, &json!({})))
            }
            Caller::Phone => {
                let secure = json!({"ICE": "force", "rtcp-mux": ["offer"], "transport-protocol": "UDP/TLS/RTP/SAVPF",
                    "SDES": ["off"], "ICE-lite": lite});
                let offered = self.request("offer", &phone, &secure);
                self.browser.read(&offered);
                (self.request("answer", &self.browser_description(), &json!({})), offered)
            }
        };
        self.browser.read(&to_browser);
        self.phone.remote = Some(sdp::media(&to_phone).rtp);
        sdp::media(&to_browser)
    }

    fn role(&self, told: &Media) -> Role {
        let passive = told.has("setup:passive") || self.setup == "active";
        if passive { Role::Client } else { Role::Server }
    }

    /// The next packet for the browser that is media.
    fn browser_hears(&mut self, association: &mut Association, limit: Duration) -> Option<Vec<u8>> {
        let end = Instant::now() + limit;
        while let Some((_, octets)) = self.browser.receive(end.saturating_duration_since(Instant::now())) {
            if octets[0] >= 128 {
                return Some(association.srtp.unprotect(&octets).expect("an authentic packet"));
            }
        }
        None
    }

    fn talk(&mut self, association: &mut Association) {
        // The daemon takes the keys an instant after the browser.
        let end = Instant::now() + LIMIT;
        loop {
            assert!(Instant::now() < end, "media come through");
            let packet = self.phone.next_packet(0, &[0xd5; 160], 160).to_octets();
            self.browser.send(&association.srtp.protect(&packet));
            if self.phone.receive(Duration::from_millis(30)).is_some() {
                break;
            }
        }
        while self.phone.receive(Duration::from_millis(30)).is_some() {}
        // Checks of the daemon that came during the handshake got no answer; it repeats them, and sends nothing before.
        loop {
            assert!(Instant::now() < end, "media come through to the browser");
            let packet = self.phone.next_packet(0, &[0x2a; 160], 160);
            self.phone.send(&packet);
            if self.browser_hears(association, Duration::from_millis(50)).is_some() {
                break;
            }
        }
        while self.browser_hears(association, Duration::from_millis(50)).is_some() {}
        for _ in 0..3 {
            let packet = self.phone.next_packet(0, &[0x2a; 160], 160);
            self.phone.send(&packet);
            assert_eq!(self.browser_hears(association, LIMIT), Some(packet.to_octets()));
            let packet = self.phone.next_packet(0, &[0xd5; 160], 160).to_octets();
            self.browser.send(&association.srtp.protect(&packet));
            assert!(self.phone.receive(LIMIT).is_some(), "to the phone");
        }
    }
}

#[test]
fn browsers_shake_hands_on_the_path_that_ice_has_found() {
    let relay = Relay::start(&[]);
    for lite in [false, true] {
        for (caller, setup) in [
            (Caller::Browser, "actpass"),
            (Caller::Browser, "active"),
            (Caller::Browser, "passive"),
            (Caller::Phone, "active"),
            (Caller::Phone, "passive"),
        ] {
            let mut call = Call::new(&relay, caller, setup, lite);
            eprintln!("{}", call.id);
            let told = call.negotiate();
            let path = call.browser.establish(LIMIT).expect("a path");
            let role = call.role(&told);
            let socket = call.browser.socket.try_clone().expect("a socket");
            let made = call.identity.shake(&socket, path, role, PROFILES, LIMIT);
            let mut association = made.unwrap_or_else(|error| panic!("{role:?}: {error}"));
            assert!(told.has(&format!("fingerprint:{}", association.shown)));
            call.talk(&mut association);
        }
    }
}

#[test]
fn a_browser_with_dtls_1_3_gets_what_both_speak() {
    let relay = Relay::start(&[]);
    for setup in ["active", "passive"] {
        let mut call = Call::new(&relay, Caller::Phone, setup, false);
        let told = call.negotiate();
        let path = call.browser.establish(LIMIT).expect("a path");
        let socket = call.browser.socket.try_clone().expect("a socket");
        let role = call.role(&told);
        let made = call.identity.shake_by_dimpl(&socket, path, role, Versions::V12And13, LIMIT);
        let mut association = made.unwrap_or_else(|error| panic!("{setup}: {error}"));
        call.talk(&mut association);
    }
}

#[test]
fn nobody_shakes_hands_before_ice_knows_him() {
    let relay = Relay::start(&[]);
    let mut call = Call::new(&relay, Caller::Browser, "active", false);
    call.negotiate();
    let port = call.browser.candidates[0];
    let socket = call.browser.socket.try_clone().expect("a socket");
    let early = call.identity.shake(&socket, port, Role::Client, PROFILES, Duration::from_millis(300));
    assert!(early.is_err(), "the path is not verified");
    let path = call.browser.establish(LIMIT).expect("a path");
    let mut association = call.identity.shake(&socket, path, Role::Client, PROFILES, LIMIT).expect("keys");
    call.talk(&mut association);
    let stranger = Party::new("127.0.0.1");
    let made = call.identity.shake(&stranger.rtp, path, Role::Client, PROFILES, Duration::from_millis(300));
    assert!(made.is_err(), "not even with the right certificate");
    call.talk(&mut association);
}

#[test]
fn an_ice_restart_keeps_the_association() {
    let relay = Relay::start(&[]);
    let mut call = Call::new(&relay, Caller::Browser, "actpass", false);
    let told = call.negotiate();
    let path = call.browser.establish(LIMIT).expect("a path");
    let socket = call.browser.socket.try_clone().expect("a socket");
    let role = call.role(&told);
    let mut association = call.identity.shake(&socket, path, role, PROFILES, LIMIT).expect("keys");
    call.talk(&mut association);
    call.browser.restart();
    call.negotiate();
    call.browser.establish(LIMIT).expect("a path");
    call.talk(&mut association);
}
