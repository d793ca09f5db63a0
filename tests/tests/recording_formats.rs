//! What is recorded of parties whose packets can be understood only by what signalling has said about each of them.

use std::time::Duration;

use e2e::call::{Call, Setup};
use e2e::daemon::{Recorder, Relay};
use e2e::party::Party;
use e2e::{sdp, signal, speech, wav};
use serde_json::json;

const PROC: &[&str] = &["--recording-dir={DIR}/spool", "--recording-method=proc"];
const STEP: Duration = Duration::from_millis(20);

/// Half a second of a tone in this format.
fn says(hertz: f64, format: &str) -> (u8, Vec<Vec<u8>>, u32) {
    let format = sdp::format(format);
    let audio = signal::tone(hertz, format.clock_rate, 500, 8000.0);
    let (payloads, ticks) = speech::encode(&audio, format.clock_rate, &format);
    (format.payload_type, payloads, ticks)
}

/// The party's own file has half a second of its tone. The first packet of somebody whose address is unknown may have been a stranger's.
fn assert_recorded(recorder: &Recorder, party: &Party, hertz: f64, count: usize) {
    let files = recorder.await_files(".wav", count, Duration::from_secs(10));
    assert_eq!(files.len(), count, "{files:?}");
    let own = files.iter().find(|file| file.to_string_lossy().contains(&format!("{:08x}", party.ssrc)));
    let wav =
        wav::read(own.unwrap_or_else(|| panic!("{:08x} among {files:?}", party.ssrc))).expect("a WAV file");
    assert!((wav.seconds() - 0.5).abs() < 0.021, "{hertz} Hz: {} s", wav.seconds());
    let share = signal::tone_share(&wav.samples, wav.rate, hertz);
    assert!(share > 0.9, "{hertz} Hz: {share}");
}

/// Number 96 is the caller's audio, other audio of the callee, and video of both.
#[test]
fn a_payload_type_means_what_the_section_of_its_sender_says() {
    let relay = Relay::start(PROC);
    let recorder = Recorder::start(&relay, &["--output-single"]);
    let video = ["ptime:20\r\nm=video 9 RTP/AVP 96\r\na=rtpmap:96 H264/90000"];
    let asymmetric = json!({"record-call": "yes", "flags": ["allow-asymmetric-codecs"]});
    let mut call = Call::establish(
        &relay,
        "numbers",
        Setup {
            a: &["96 L16/16000", "97 L16/8000"],
            b: &["96 L16/8000"],
            attributes: [&video; 2],
            offer: asymmetric.clone(),
            answer: asymmetric,
            ..Setup::default()
        },
    );
    // Both as they were shown it (RFC 3264 section 5.1).
    assert_eq!(call.answered.format("L16").payload_type, 96, "the callee's number");
    let (number, payloads, ticks) = says(500.0, "96 L16/8000");
    call.a.send_paced(number, payloads, ticks, STEP).join().expect("sent");
    let (number, payloads, ticks) = says(1250.0, "97 L16/8000");
    call.b.send_paced(number, payloads, ticks, STEP).join().expect("sent");
    call.delete();
    assert_recorded(&recorder, &call.a, 500.0, 2);
    assert_recorded(&recorder, &call.b, 1250.0, 2);
}

#[test]
fn whoever_speaks_before_the_answer_is_recorded() {
    let relay = Relay::start(PROC);
    let recorder = Recorder::start(&relay, &["--output-single"]);
    let (a, mut b) = (Party::new("127.0.0.1"), Party::new("127.0.0.1"));
    let offered = relay.ng.ok(json!({
        "command": "offer", "call-id": "early", "from-tag": "a", "record-call": "yes",
        "sdp": sdp::audio(a.local(), &["0 PCMU/8000", "97 L16/16000"], &["ptime:20"]),
    }));
    b.remote = Some(e2e::call::media_of(&offered).rtp);
    let (number, payloads, ticks) = says(500.0, "97 L16/16000");
    b.send_paced(number, payloads, ticks, STEP).join().expect("sent");
    assert!(a.receive(Duration::from_secs(1)).is_some(), "the caller hears it");
    relay.ng.ok(json!({"command": "delete", "call-id": "early", "delete-delay": 0}));
    assert_recorded(&recorder, &b, 500.0, 1);
}

/// What the caller says is exposed twice then: as it comes, and as it goes to the callee.
#[test]
fn a_speaker_who_is_recorded_in_both_directions_is_in_one_file() {
    let relay = Relay::start(&[PROC, &["--record-both"]].concat());
    let recorder = Recorder::start(&relay, &["--output-single"]);
    let record = json!({"record-call": "yes"});
    let mut call = Call::establish(&relay, "both", Setup { offer: record, ..Setup::default() });
    let (number, payloads, ticks) = says(500.0, "0 PCMU/8000");
    call.a.send_paced(number, payloads, ticks, STEP).join().expect("sent");
    call.delete();
    assert_recorded(&recorder, &call.a, 500.0, 1);
}
