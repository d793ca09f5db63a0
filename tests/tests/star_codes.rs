//! Star codes: a party switches the recording of its call with digits, and recording is announced.

use std::time::Duration;

use e2e::call::{Call, Setup};
use e2e::daemon::{Relay, files_below, wait_for};
use e2e::{pcap, sdp, signal, wav};
use serde_json::json;

const SOON: Duration = Duration::from_secs(10);
const FORMATS: &[&str] = &["0 PCMU/8000", "101 telephone-event/8000 0-15"];
/// Codes of the keys `*` and `#`.
const STAR: u8 = 10;
const HASH: u8 = 11;

fn dial(call: &mut Call<'_>, digits: &[u8]) {
    for digit in digits {
        call.a.press(*digit);
    }
}

/// Waits until `query` shows that something is being recorded, or is not.
fn await_recording(call: &Call<'_>, on: bool) {
    let shown = || call.query()["recording"]["call recording"].as_i64().unwrap_or(0) == i64::from(on);
    assert!(wait_for(SOON, || shown().then_some(())).is_some(), "{}", call.query());
}

#[test]
fn a_party_starts_pauses_resumes_and_stops_the_recording() {
    let relay = Relay::start(&[
        "--recording-dir={DIR}/spool",
        "--recording-method=pcap",
        "--vsc-start-stop-rec=*1",
        "--vsc-pause-resume-rec=*2",
    ]);
    let offer = json!({"flags": ["recording-VSC"], "vsc-pause-resume-rec": "*#"});
    let mut call =
        Call::establish(&relay, "star", Setup { a: FORMATS, b: FORMATS, offer, ..Setup::default() });
    call.learn();
    let codes = call.query()["tags"]["a"]["VSC"].clone();
    assert_eq!(
        codes,
        json!([
            {"type": "start/stop recording", "trigger": "*1", "active": 1},
            {"type": "pause/resume recording", "trigger": "*#", "active": 1}
        ])
    );
    let say = |call: &mut Call<'_>, octet: u8| {
        let packet = call.a.next_packet(0, &[octet; 160], 160);
        call.a.send(&packet);
        while call.b.receive(SOON).expect("a packet").packet.payload[0] != octet {}
    };
    say(&mut call, 1);
    // Nobody presses more than eight keys at once.
    let steps: [(&[u8], bool, u8); 4] =
        [(&[STAR, 1], true, 2), (&[STAR, HASH], false, 3), (&[STAR, HASH], true, 4), (&[STAR, 1], false, 5)];
    for (digits, on, octet) in steps {
        dial(&mut call, digits);
        await_recording(&call, on);
        say(&mut call, octet);
    }
    // The other party's digits are no codes.
    call.b.press(STAR);
    call.b.press(1);
    let file = wait_for(SOON, || files_below(&relay.path("spool/metadata"), ".txt").pop()).expect("metadata");
    assert!(file.to_string_lossy().contains("star-"), "{file:?}");
    let files = files_below(&relay.path("spool/pcaps"), ".pcap");
    assert_eq!(files.len(), 1, "{files:?}");
    let recorded: Vec<u8> = pcap::read(&files[0])
        .expect("a pcap file")
        .iter()
        .filter(|datagram| datagram.payload[1] & 0x7f == 0)
        .map(|datagram| datagram.payload[12])
        .collect();
    assert_eq!(recorded, [2, 4]);
}

#[test]
fn everybody_hears_that_the_call_is_recorded_once() {
    let relay = Relay::start(&["--recording-dir={DIR}/spool", "--recording-method=pcap"]);
    let beep = signal::tone(600.0, 8000, 600, 8000.0);
    let file = relay.path("beep.wav");
    std::fs::write(&file, wav::encode(&beep, 8000, 1)).expect("written");
    let offer = json!({
        "flags": ["recording-VSC", "recording-announcement"], "vsc-start-pause-resume-rec": "9", "file": file,
    });
    let mut call =
        Call::establish(&relay, "announced", Setup { a: FORMATS, b: FORMATS, offer, ..Setup::default() });
    call.learn();
    let (at_a, at_b) = (call.a.listen(), call.b.listen());
    dial(&mut call, &[9]);
    await_recording(&call, true);
    dial(&mut call, &[9]);
    await_recording(&call, false);
    dial(&mut call, &[9]);
    await_recording(&call, true);
    std::thread::sleep(Duration::from_millis(1000));
    for (name, listener) in [("caller", at_a), ("callee", at_b)] {
        let mut packets = listener.stop();
        packets.retain(|received| received.packet.payload_type == 0);
        let (heard, rate) = e2e::rtp::decode(&packets, &sdp::format("0 PCMU/8000"));
        let share = signal::tone_share(&heard, rate, 600.0);
        let seconds = heard.len() as f64 / f64::from(rate);
        assert!(share > 0.9 && (0.55..0.7).contains(&seconds), "{name}: {share} in {seconds} s");
    }
}
