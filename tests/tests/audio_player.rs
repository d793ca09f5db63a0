//! The audio player: one continuous stream, mixed of the partner, announcements and others, told apart by their frequencies.

use std::time::Duration;

use e2e::call::{Call, Setup};
use e2e::daemon::Relay;
use e2e::party::Party;
use e2e::rtp::{self, Received};
use e2e::{sdp, signal, speech, wav};
use serde_json::{Value, json};

const PCMU: &str = "0 PCMU/8000";

/// A party that talks a tone in packets of 20 ms for as long as the relay is listened to.
fn talk(party: &mut Party, format: &str, frequency: f64, milliseconds: u32) {
    let format = sdp::format(format);
    let (payloads, ticks) =
        speech::encode(&signal::tone(frequency, 8000, milliseconds, 6000.0), 8000, &format);
    let mut next = std::time::Instant::now();
    for payload in payloads {
        let packet = party.next_packet(format.payload_type, &payload, ticks);
        party.send(&packet);
        next += Duration::from_millis(20);
        std::thread::sleep(next.saturating_duration_since(std::time::Instant::now()));
    }
}

/// One SSRC, no gap in its numbers, and packets all the time.
fn is_one_stream(heard: &[Received], clock_rate: u32) {
    assert!(heard.len() > 20, "{} packets", heard.len());
    let ssrc = heard[0].packet.ssrc;
    assert!(heard.iter().all(|received| received.packet.ssrc == ssrc), "one stream");
    let quality = rtp::quality(heard, clock_rate);
    assert_eq!(quality.lost, 0);
    for pair in heard.windows(2) {
        let step = pair[1].packet.timestamp.wrapping_sub(pair[0].packet.timestamp);
        assert_eq!(step, clock_rate / 50, "continuous timestamps");
    }
}

fn tones(heard: &[Received], format: &str) -> impl Fn(f64) -> f64 {
    let (audio, rate) = rtp::decode(heard, &sdp::format(format));
    // The middle, so that everybody has begun.
    let audio = audio[audio.len() / 4..audio.len() * 3 / 4].to_vec();
    move |frequency| signal::typical_tone_share(&audio, rate, frequency)
}

fn tone_file(relay: &Relay, frequency: f64, milliseconds: u32) -> std::path::PathBuf {
    let file = relay.path("tone.wav");
    let audio = signal::tone(frequency, 8000, milliseconds, 6000.0);
    std::fs::write(&file, wav::encode(&audio, 8000, 1)).expect("written");
    file
}

#[test]
fn announcement_and_partner_are_mixed_into_one_stream() {
    let relay = Relay::start(&[]);
    let offer = json!({"audio-player": "force"});
    let mut call = Call::establish(&relay, "mix", Setup { offer, ..Setup::default() });
    call.learn();
    let at_a = call.a.listen();
    let file = tone_file(&relay, 1200.0, 1500);
    let reply = call.command("play media", &json!({"from-tag": "a", "file": file}));
    assert_eq!(reply["duration"], 1500);
    talk(&mut call.b, PCMU, 500.0, 1500);
    let heard = at_a.stop();
    is_one_stream(&heard, 8000);
    let share = tones(&heard, PCMU);
    assert!((0.4..0.6).contains(&share(500.0)), "partner {}", share(500.0));
    assert!((0.4..0.6).contains(&share(1200.0)), "announcement {}", share(1200.0));
    let query = call.query();
    let flags = query["tags"]["a"]["medias"][0]["flags"].to_string();
    assert!(flags.contains("audio player"), "{flags}");
}

#[test]
fn the_stream_goes_on_in_silence_and_from_the_answer_on() {
    let relay = Relay::start(&["--audio-player=always"]);
    let call = Call::establish(&relay, "silence", Setup::default());
    let at_a = call.a.listen();
    let heard = at_a.stop_at(40);
    is_one_stream(&heard, 8000);
    let (audio, _) = rtp::decode(&heard, &sdp::format(PCMU));
    assert!(signal::level_dbfs(&audio) < -70.0, "silence");
    assert!(heard.len() >= 30, "{} packets", heard.len());
}

#[test]
fn other_codecs_are_mixed_too_and_block_egress_leaves_the_announcement_alone() {
    let relay = Relay::start(&["--audio-player=transcoding"]);
    let mut call = Call::establish(
        &relay,
        "codecs",
        Setup {
            a: &["8 PCMA/8000"],
            b: &["9 G722/8000"],
            offer: json!({"codec": {"transcode": ["G722"]}}),
            ..Setup::default()
        },
    );
    let file = tone_file(&relay, 1200.0, 1500);
    let (at_a, at_b) = (call.a.listen(), call.b.listen());
    call.command("play media", &json!({"from-tag": "a", "file": file, "flags": ["block-egress"]}));
    std::thread::scope(|scope| {
        let Call { a, b, .. } = &mut call;
        scope.spawn(|| talk(a, "8 PCMA/8000", 700.0, 1500));
        talk(b, "9 G722/8000", 500.0, 1500);
    });
    let (at_a, at_b) = (at_a.stop(), at_b.stop());
    is_one_stream(&at_a, 8000);
    let share = tones(&at_a, "8 PCMA/8000");
    assert!(share(1200.0) > 0.9 && share(500.0) < 0.05, "{} {}", share(1200.0), share(500.0));
    is_one_stream(&at_b, 8000);
    let share = tones(&at_b, "9 G722/8000");
    assert!(share(700.0) > 0.9, "{}", share(700.0));
}

#[test]
fn play_media_mode_mixes_from_the_first_announcement_on() {
    let relay = Relay::start(&["--audio-player=play-media", "--audio-buffer-delay=20"]);
    let mut call = Call::establish(&relay, "mode", Setup::default());
    call.learn();
    let at_a = call.a.listen();
    talk(&mut call.b, PCMU, 500.0, 200);
    let before = at_a.stop();
    assert!(before.iter().all(|received| received.packet.ssrc == call.b.ssrc), "passes untouched");
    let file = tone_file(&relay, 1200.0, 600);
    let at_a = call.a.listen();
    call.command("play media", &json!({"from-tag": "a", "file": file}));
    talk(&mut call.b, PCMU, 500.0, 1200);
    let heard = at_a.stop();
    let mixed: Vec<Received> =
        heard.into_iter().filter(|received| received.packet.ssrc != call.b.ssrc).collect();
    is_one_stream(&mixed, 8000);
    let (audio, rate) = rtp::decode(&mixed, &sdp::format(PCMU));
    let (first, last) = (&audio[1600..4000], &audio[audio.len() - 3000..]);
    assert!((0.4..0.6).contains(&signal::typical_tone_share(first, rate, 1200.0)));
    assert!(signal::typical_tone_share(last, rate, 500.0) > 0.9, "the partner alone after the end");
}

#[test]
fn injected_audio_is_mixed_beside_the_partner_and_leaves_again() {
    let relay = Relay::start(&[]);
    let mut call = Call::establish(&relay, "inject", Setup::default());
    call.learn();
    // A third party, heard by nobody yet.
    let mut coach = Party::new("127.0.0.1");
    let offer = sdp::audio(coach.local(), &[PCMU], &["ptime:20", "sendonly"]);
    let published =
        relay.ng.ok(json!({"command": "publish", "call-id": "inject", "from-tag": "coach", "sdp": offer}));
    coach.remote = Some(sdp::media(published["sdp"].as_str().expect("sdp")).rtp);
    call.command("inject start", &json!({"to-tag": "a", "source-tag": "coach"}));
    let (at_a, at_b) = (call.a.listen(), call.b.listen());
    std::thread::scope(|scope| {
        scope.spawn(|| talk(&mut coach, PCMU, 900.0, 1500));
        talk(&mut call.b, PCMU, 500.0, 1500);
    });
    let (heard, by_b) = (at_a.stop(), at_b.stop());
    is_one_stream(&heard, 8000);
    let share = tones(&heard, PCMU);
    assert!((0.4..0.6).contains(&share(500.0)) && (0.4..0.6).contains(&share(900.0)));
    assert!(by_b.is_empty(), "the partner does not hear the coach: {} packets", by_b.len());

    call.command("inject stop", &json!({"to-tag": "a", "source-tag": "coach"}));
    let at_a = call.a.listen();
    talk(&mut call.b, PCMU, 500.0, 400);
    let heard = at_a.stop();
    let late = &heard[heard.len() / 2..];
    assert!(late.iter().all(|received| received.packet.ssrc == call.b.ssrc), "untouched again");
}

#[test]
fn digits_go_in_the_numbering_of_the_mixed_stream() {
    let relay = Relay::start(&["--audio-player=always"]);
    let both: &[&str] = &[PCMU, "101 telephone-event/8000"];
    let mut call = Call::establish(&relay, "digits", Setup { a: both, b: both, ..Setup::default() });
    let at_a = call.a.listen();
    talk(&mut call.b, PCMU, 500.0, 300);
    // Digit 5, 100 ms: begins with a marker, grows, ends three times.
    let mut begin = None;
    for (n, duration) in [160_u16, 320, 480, 640, 800, 800, 800].into_iter().enumerate() {
        let end = if n >= 4 { 0x8a } else { 10 };
        let [high, low] = duration.to_be_bytes();
        let mut packet = call.b.next_packet(101, &[5, end, high, low], 0);
        (packet.timestamp, packet.marker) = (*begin.get_or_insert(packet.timestamp), n == 0);
        call.b.send(&packet);
        std::thread::sleep(Duration::from_millis(if n < 4 { 20 } else { 2 }));
    }
    std::thread::sleep(Duration::from_millis(300));
    let heard = at_a.stop();
    let ssrc = heard[0].packet.ssrc;
    assert!(heard.iter().all(|received| received.packet.ssrc == ssrc));
    assert_eq!(rtp::quality(&heard, 8000).lost, 0, "one numbering");
    let events: Vec<&Received> =
        heard.iter().filter(|received| received.packet.payload_type == 101).collect();
    assert!(events.len() >= 6, "{} event packets", events.len());
    assert!(events.iter().all(|event| event.packet.timestamp == events[0].packet.timestamp));
    assert_eq!(events.iter().filter(|event| event.packet.payload[1] & 0x80 != 0).count(), 3);
    let position = |wanted: u8| heard.iter().position(|received| received.packet.payload_type == wanted);
    assert!(position(0) < position(101));
}

#[test]
fn what_is_on_hold_hears_music_through_the_player() {
    let relay = Relay::start(&["--audio-player=always"]);
    let file = tone_file(&relay, 800.0, 400);
    let offer = json!({"moh": {"file": file}});
    let mut call = Call::establish(&relay, "hold", Setup { offer, ..Setup::default() });
    call.learn();
    let describe = |party: &Party, way: &str| sdp::audio(party.local(), &[PCMU], &["ptime:20", way]);
    let [a, b] = [describe(&call.a, "sendonly"), describe(&call.b, "recvonly")];
    let at_b = call.b.listen();
    call.re_offer(&a, &b, &Value::Object(Default::default()));
    let heard = at_b.stop_at(60);
    is_one_stream(&heard, 8000);
    let (audio, rate) = rtp::decode(&heard, &sdp::format(PCMU));
    assert!(signal::typical_tone_share(&audio[audio.len() / 2..], rate, 800.0) > 0.9);
}
