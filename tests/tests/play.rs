//! Announcements: from a file, into one party or all, in the codec that was negotiated.

use std::path::PathBuf;
use std::time::Duration;

use e2e::call::{Call, Setup};
use e2e::daemon::Relay;
use e2e::rtp::{self, Received};
use e2e::speech::{self, Speaker};
use e2e::{numbered, sdp, signal, wav};
use serde_json::{Value, json};

/// So long nothing comes when an announcement is over.
const QUIET: Duration = Duration::from_millis(300);

#[test]
fn an_announcement_reaches_the_party_it_is_for_and_only_that() {
    let relay = Relay::start(&[]);
    let (file, spoken) = announcement(&relay, 16_000);
    let mut call = Call::establish(&relay, "one", Setup::default());
    call.learn();
    let (at_a, at_b) = (call.a.listen(), call.b.listen());
    let reply = call.command("play media", &json!({"from-tag": "a", "file": file}));
    let expected = spoken.len() as i64 / 8;
    assert!(
        (reply["duration"].as_i64().expect("a duration") - expected).abs() <= 30,
        "{reply}, {expected} ms"
    );
    let (heard, by_the_other) = (at_a.stop_behind(QUIET), at_b.stop());
    assert!(by_the_other.is_empty(), "the other party got {} packets", by_the_other.len());
    contains(&heard, "0 PCMU/8000", &spoken, 0.97);
    assert!((heard.len() as i64 - expected / 20).abs() <= 2, "{} packets", heard.len());
    let quality = rtp::quality(&heard, 8000);
    assert!(quality.lost == 0 && quality.jitter_ms < 10.0, "{quality:?}");
}

#[test]
fn all_parties_hear_it_each_in_its_own_codec() {
    let relay = Relay::start(&[]);
    let (file, spoken) = announcement(&relay, 8000);
    let mut call = Call::establish(
        &relay,
        "all",
        Setup {
            a: &["8 PCMA/8000"],
            b: &["9 G722/8000"],
            offer: json!({"codec": {"transcode": ["G722"]}}),
            ..Setup::default()
        },
    );
    for party in [&mut call.a, &mut call.b] {
        // Both have to be known to the relay; the audio that this makes is too short to matter.
        let payload_type = if party.remote == Some(call.answered.rtp) { 8 } else { 9 };
        let packet = party.next_packet(payload_type, &[0xd5; 160], 160);
        party.send(&packet);
    }
    let (at_a, at_b) = (call.a.listen(), call.b.listen());
    call.command("play media", &json!({"all": "all", "file": file}));
    contains(&at_a.stop_behind(QUIET), "8 PCMA/8000", &spoken, 0.97);
    contains(&at_b.stop_behind(QUIET), "9 G722/8000", &spoken, 0.95);
}

#[test]
fn opus_parties_hear_announcements_too() {
    let relay = Relay::start(&[]);
    let (file, spoken) = announcement(&relay, 16_000);
    let opus: &[&str] = &["96 opus/48000/2"];
    let mut call = Call::establish(&relay, "opus", Setup { a: opus, b: opus, ..Setup::default() });
    let (payloads, _) = speech::encode(&[0; 1600], 8000, &sdp::format(opus[0]));
    let packet = call.a.next_packet(96, &payloads[0], 960);
    call.a.send(&packet);
    assert!(call.b.receive(Duration::from_secs(2)).is_some());
    let at_a = call.a.listen();
    call.command("play media", &json!({"from-tag": "a", "file": file}));
    contains(&at_a.stop_behind(QUIET), opus[0], &spoken, 0.9);
}

#[test]
fn it_is_repeated_as_often_as_asked_and_stops_when_told() {
    let relay = Relay::start(&[]);
    let file = relay.path("beep.wav");
    std::fs::write(&file, wav::encode(&signal::tone(1000.0, 8000, 300, 8000.0), 8000, 1)).expect("written");
    let mut call = Call::establish(&relay, "repeat", Setup::default());
    call.learn();
    let at_a = call.a.listen();
    call.command("play media", &json!({"from-tag": "a", "file": file, "repeat-times": 3}));
    let heard = at_a.stop_behind(QUIET);
    assert!((44..=47).contains(&heard.len()), "three times 300 ms in packets of 20 ms: {}", heard.len());
    let (audio, rate) = rtp::decode(&heard, &sdp::format("0 PCMU/8000"));
    assert!(signal::tone_share(&audio, rate, 1000.0) > 0.9);

    call.command("play media", &json!({"from-tag": "a", "file": file, "repeat-times": 100}));
    assert!(call.a.receive(Duration::from_secs(2)).is_some());
    let reply = call.command("stop media", &json!({"from-tag": "a"}));
    assert!(reply["last-frame-pos"].is_i64() || reply["last-frame-pos"].is_u64(), "{reply}");
    while call.a.receive(Duration::from_millis(100)).is_some() {}
    assert!(call.a.receive(Duration::from_millis(200)).is_none(), "silence after stop media");
}

#[test]
fn a_new_announcement_replaces_the_running_one_and_the_call_goes_on() {
    let relay = Relay::start(&[]);
    let (file, spoken) = announcement(&relay, 8000);
    let long = relay.path("long.wav");
    std::fs::write(&long, wav::encode(&signal::tone(600.0, 8000, 20_000, 4000.0), 8000, 1)).expect("written");
    let mut call = Call::establish(&relay, "replace", Setup::default());
    call.learn();
    call.command("play media", &json!({"from-tag": "a", "file": long}));
    assert!(call.a.receive(Duration::from_secs(2)).is_some());
    let at_a = call.a.listen();
    call.command("play media", &json!({"from-tag": "a", "file": file}));
    contains(&at_a.stop_behind(QUIET), "0 PCMU/8000", &spoken, 0.95);
    call.learn();
}

#[test]
fn it_goes_on_where_it_is_when_its_listener_changes_the_codec() {
    const FRAMES: usize = 40;
    let relay = Relay::start(&[]);
    let file = relay.path("numbers.wav");
    numbered::write(&file, FRAMES);
    let mut call = Call::establish(&relay, "moves", Setup::default());
    call.learn();
    call.command("play media", &json!({"from-tag": "a", "file": file, "repeat-times": 3}));
    let mut heard = call.a.receive_many(25);
    // In its first play, and twice in its second.
    let changes = [("8 PCMA/8000", 35), ("0 PCMU/8000", 10), ("8 PCMA/8000", 3 * FRAMES - 70)];
    for (format, packets) in changes {
        let (a, b) = (sdp::audio(call.a.local(), &[format], &[]), sdp::audio(call.b.local(), &[format], &[]));
        call.re_offer(&a, &b, &json!({}));
        heard.extend(call.a.receive_many(packets));
    }
    assert!(call.a.receive(Duration::from_millis(200)).is_none(), "it is over");

    let plays = (0..3).flat_map(|_| 0..FRAMES).collect::<Vec<_>>();
    assert_eq!(numbered::read(&heard), plays, "each once");
    let mut types: Vec<u8> = heard.iter().map(|received| received.packet.payload_type).collect();
    types.dedup();
    assert_eq!(types, [0, 8, 0, 8]);
    assert_eq!(rtp::quality(&heard, 8000).lost, 0);
    assert!(heard.iter().all(|received| received.packet.ssrc == heard[0].packet.ssrc));
    for pair in heard.windows(2) {
        let ticks = pair[1].packet.timestamp.wrapping_sub(pair[0].packet.timestamp);
        assert!((160..1600).contains(&ticks), "timestamps go on with the time: {ticks}");
    }
}

#[test]
fn what_cannot_be_played_is_an_error_and_leaves_the_call_alone() {
    let relay = Relay::start(&[]);
    let (text, _) = (relay.path("text.wav"), std::fs::write(relay.path("text.wav"), "no audio at all"));
    let mut call = Call::establish(&relay, "broken", Setup::default());
    let play = |extra: Value| {
        let mut request = json!({"command": "play media", "call-id": "broken"});
        e2e::call::extend(&mut request, &extra);
        relay.ng.request(&request)["error-reason"].clone()
    };
    assert_eq!(play(json!({"from-tag": "a"})), "No media file specified");
    let cannot = "Failed to start media playback from file";
    assert_eq!(play(json!({"from-tag": "a", "file": "/no/such/file.wav"})), cannot);
    assert_eq!(play(json!({"from-tag": "a", "file": text})), cannot);
    assert_eq!(play(json!({"file": text})), "No participant party specified");
    let reply = relay.ng.request(&json!({"command": "stop media", "call-id": "broken", "from-tag": "b"}));
    assert_eq!(reply["error-reason"], "Not currently playing media");
    call.learn();
}

/// The announcer's sentence as a file of this rate, and as it is spoken at 8 kHz.
fn announcement(relay: &Relay, rate: u32) -> (PathBuf, Vec<i16>) {
    let audio = speech::speak(Speaker::Announcer, rate);
    let file = relay.path("announcement.wav");
    std::fs::write(&file, wav::encode(&audio, rate, 1)).expect("written");
    (file, signal::resample(&audio, rate, 8000))
}

fn contains(heard: &[Received], format: &str, spoken: &[i16], similarity: f64) {
    assert!(!heard.is_empty(), "nothing was heard");
    let format = sdp::format(format);
    let (audio, rate) = rtp::decode(heard, &format);
    let part = signal::resample(&spoken[2000..spoken.len() - 2000], 8000, 16_000);
    let found = signal::find(&part, &signal::resample(&audio, rate, 16_000), 16_000);
    assert!(found.correlation > similarity, "{}: correlation {:.3}", format.name, found.correlation);
}
