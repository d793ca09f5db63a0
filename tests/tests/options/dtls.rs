//! Options about DTLS, as a peer sees them.

use std::time::Duration;

use e2e::daemon::Relay;
use e2e::dtls::{Association, Identity, Role};
use e2e::party::Party;
use e2e::sdp::{self, Media};
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(15);
const PROFILES: &str = "SRTP_AEAD_AES_256_GCM:SRTP_AES128_CM_SHA1_80";

/// What a caller with DTLS that leaves the roles open is answered.
fn answered(relay: &Relay, party: &Party, identity: &Identity) -> Media {
    let lines = [
        "setup:actpass".to_owned(),
        format!("fingerprint:{}", identity.fingerprint("sha-256")),
        "rtcp-mux".into(),
    ];
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let offer = sdp::audio(party.local(), &["0 PCMU/8000"], &lines).replace("RTP/AVP", "UDP/TLS/RTP/SAVP");
    relay.ng.ok(json!({"command": "offer", "call-id": "dtls", "from-tag": "a", "sdp": offer,
        "transport-protocol": "RTP/AVP", "rtcp-mux": ["demux"]}));
    let answer = sdp::audio(Party::new("127.0.0.1").local(), &["0 PCMU/8000"], &[]);
    let answer =
        json!({"command": "answer", "call-id": "dtls", "from-tag": "a", "to-tag": "b", "sdp": answer});
    sdp::media(relay.ng.ok(answer)["sdp"].as_str().expect("sdp"))
}

/// A handshake with a daemon that has these options and is the server.
fn shake(arguments: &[&str]) -> Association {
    let relay = Relay::start(&[&["--dtls-passive"], arguments].concat());
    let (party, identity) = (Party::new("127.0.0.1"), Identity::new());
    let told = answered(&relay, &party, &identity);
    let made = identity.shake(&party.rtp, told.rtp, Role::Client, PROFILES, LIMIT).expect("a handshake");
    let fingerprint = format!("fingerprint:{}", made.shown);
    assert!(
        told.has(&fingerprint) || told.attributes.iter().any(|line| line.eq_ignore_ascii_case(&fingerprint))
    );
    made
}

#[test]
fn the_passive_role_is_taken_when_that_is_wanted() {
    for (arguments, role) in [(&["--dtls-passive"][..], "setup:passive"), (&[], "setup:active")] {
        let relay = Relay::start(arguments);
        let told = answered(&relay, &Party::new("127.0.0.1"), &Identity::new());
        assert!(told.has(role), "{:?}", told.attributes);
    }
}

#[test]
fn the_certificate_is_as_configured() {
    let usual = shake(&[]);
    assert_eq!((usual.key.as_str(), usual.signature.as_str()), ("EC 256", "ecdsa-with-SHA256"));
    let other = shake(&["--dtls-cert-cipher=RSA", "--dtls-rsa-key-size=3072", "--dtls-signature=SHA-1"]);
    assert_eq!((other.key.as_str(), other.signature.as_str()), ("RSA 3072", "RSA-SHA1"));
}

#[test]
fn only_configured_ciphers_are_used() {
    for cipher in ["ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305"] {
        assert_eq!(shake(&[&format!("--dtls-ciphers={cipher}")]).cipher, cipher);
    }
}

#[test]
fn no_datagram_of_a_handshake_is_larger_than_configured() {
    let large = ["--dtls-cert-cipher=RSA", "--dtls-rsa-key-size=4096"];
    // 48 octets are for the headers of IPv6 and UDP.
    let small = shake(&[&large[..], &["--dtls-mtu=600"]].concat()).largest;
    assert!(small <= 600 - 48, "{small}");
    let usual = shake(&large).largest;
    assert!(usual > 600 && usual <= 1200 - 48, "{usual}");
}
