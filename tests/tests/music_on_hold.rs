//! Music on hold: who is held hears it and nothing else, until the holder comes back.

use std::path::PathBuf;
use std::time::Duration;

use e2e::call::{Call, Setup};
use e2e::daemon::Relay;
use e2e::party::Party;
use e2e::rtp::{self, Received};
use e2e::{sdp, signal, wav};
use serde_json::{Value, json};

const WAIT: Duration = Duration::from_secs(2);

#[test]
fn the_held_party_hears_music_and_nothing_else_until_the_caller_resumes() {
    let relay = Relay::start(&[]);
    let mut call = with_music(&relay, "caller", json!({"moh": {"file": music(&relay)}}), json!({}));
    let at_b = call.b.listen();
    hold(&mut call);
    for _ in 0..20 {
        let packet = call.a.next_packet(0, &[0x55; 160], 160);
        call.a.send(&packet);
        std::thread::sleep(Duration::from_millis(20));
    }
    let refused = relay.ng.request(&json!({"command": "stop media", "call-id": call.id, "from-tag": "b"}));
    assert_eq!(refused["error-reason"], "Currently MoH ongoing, ignore stop media.");
    call.command("play media", &json!({"from-tag": "b", "blob64": "AAAA"}));
    // Holding again must not begin anew.
    hold(&mut call);
    let heard = at_b.stop_at(70);
    is_music(&heard, 60);
    assert!(heard.iter().all(|received| received.packet.ssrc != call.a.ssrc), "the holder is not heard");
    resume(&mut call);
    silence(&call.b);
    call.learn();
}

#[test]
fn the_callee_may_hold_too_with_music_of_its_own_or_of_the_other() {
    let relay = Relay::start(&[]);
    let given = json!({"moh": {"file": music(&relay)}});
    for (id, extra, offer, answer) in [
        ("own", json!({}), json!({}), given.clone()),
        ("reflected", json!({"moh": {"mode": "reflect"}}), given, json!({})),
    ] {
        let mut call = with_music(&relay, id, offer, answer);
        let at_a = call.a.listen();
        exchange(&relay, &mut call, "sendonly", "recvonly", &extra);
        is_music(&at_a.stop_at(40), 30);
        exchange(&relay, &mut call, "sendrecv", "sendrecv", &json!({}));
        silence(&call.a);
        call.learn();
    }
}

#[test]
fn music_ends_after_the_configured_time() {
    let relay = Relay::start(&["--moh-max-duration=400"]);
    let mut call = with_music(&relay, "limit", json!({"moh": {"file": music(&relay)}}), json!({}));
    let at_b = call.b.listen();
    hold(&mut call);
    let heard = at_b.stop_behind(Duration::from_millis(500));
    assert_eq!(heard.len(), 20, "400 ms in packets of 20 ms");
}

#[test]
fn a_hold_whose_music_cannot_be_opened_fails_and_the_call_goes_on() {
    let relay = Relay::start(&[]);
    for (source, reason) in [
        (json!({"file": "/no/such/file.wav"}), "Failed to start media playback from file"),
        (json!({"blob": "no audio"}), "Failed to start media playback from blob"),
        (json!({"db-id": 5}), "Failed to start media playback from database"),
    ] {
        let mut call = with_music(&relay, &reason.replace(' ', "-"), json!({"moh": source}), json!({}));
        let offer = sdp::audio(call.a.local(), &["0 PCMU/8000"], &["sendonly"]);
        let reply = relay.ng.request(
            &json!({"command": "offer", "call-id": call.id, "from-tag": "a", "to-tag": "b", "sdp": offer}),
        );
        assert_eq!(reply["error-reason"], reason);
        assert_eq!(reply["sdp"], Value::Null);
        call.learn();
    }
}

fn with_music<'r>(relay: &'r Relay, id: &str, offer: Value, answer: Value) -> Call<'r> {
    let mut call = Call::establish(relay, id, Setup { offer, answer, ..Setup::default() });
    call.learn();
    call
}

/// Half a second of a tone.
fn music(relay: &Relay) -> PathBuf {
    let file = relay.path("music.wav");
    std::fs::write(&file, wav::encode(&signal::tone(700.0, 8000, 500, 8000.0), 8000, 1)).expect("written");
    file
}

fn hold(call: &mut Call<'_>) {
    let [a, b] = [(&call.a, "sendonly"), (&call.b, "recvonly")].map(|(party, way)| description(party, way));
    call.re_offer(&a, &b, &json!({}));
}

fn resume(call: &mut Call<'_>) {
    let [a, b] = [&call.a, &call.b].map(|party| description(party, "sendrecv"));
    call.re_offer(&a, &b, &json!({}));
}

/// Offer and answer that begin with the callee.
fn exchange(relay: &Relay, call: &mut Call<'_>, offered: &str, answered: &str, extra: &Value) {
    let message = |command: &str, party: &Party, way: &str| {
        let mut request = json!({"command": command, "call-id": call.id, "from-tag": "b", "to-tag": "a",
            "sdp": description(party, way)});
        e2e::call::extend(&mut request, extra);
        relay.ng.ok(request);
    };
    message("offer", &call.b, offered);
    message("answer", &call.a, answered);
}

fn description(party: &Party, way: &str) -> String {
    sdp::audio(party.local(), &["0 PCMU/8000"], &["ptime:20", way])
}

/// One uninterrupted stream of the tone.
fn is_music(heard: &[Received], at_least: usize) {
    assert!(heard.len() >= at_least, "{} packets", heard.len());
    let first = &heard[0].packet;
    assert!(heard.iter().all(|received| received.packet.ssrc == first.ssrc), "one stream");
    assert!(heard[1..].iter().all(|received| !received.packet.marker), "it begins once");
    assert_eq!(rtp::quality(heard, 8000).lost, 0);
    let (audio, rate) = rtp::decode(heard, &sdp::format("0 PCMU/8000"));
    assert!(signal::tone_share(&audio, rate, 700.0) > 0.9);
}

/// Nothing comes any more.
fn silence(party: &Party) {
    let end = std::time::Instant::now() + WAIT;
    while party.receive(Duration::from_millis(100)).is_some() {
        assert!(std::time::Instant::now() < end, "music goes on");
    }
}
