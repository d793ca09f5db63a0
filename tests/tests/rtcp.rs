//! RTCP of the relay's own, and what it makes of the parties' reports.

use e2e::call::{Call, Setup};
use e2e::daemon::Relay;
use e2e::party::Party;
use serde_json::{Value, json};

fn words(octets: &[u8]) -> Vec<u32> {
    octets.chunks_exact(4).map(|word| u32::from_be_bytes([word[0], word[1], word[2], word[3]])).collect()
}

/// A receiver report about the SSRC of a sender report that has just come.
fn answer(from: u32, report: &[u32]) -> Vec<u8> {
    let name = report[2] << 16 | report[3] >> 16;
    let words = [0x81c9_0007, from, report[1], 0, 1, 0, name, 0];
    words.iter().flat_map(|word: &u32| word.to_be_bytes()).collect()
}

#[test]
fn generated_reports_come_and_their_answers_are_shown_as_quality() {
    let relay = Relay::start(&["--rtcp-interval=300"]);
    let setup = Setup { offer: json!({"generate RTCP": "on"}), ..Setup::default() };
    let mut call = Call::establish(&relay, "generated", setup);
    call.learn();
    // A receiver report comes first where nothing has been sent yet.
    let sender_report = |party: &Party| {
        let mut reports = std::iter::repeat_with(|| words(&party.receive_rtcp().expect("a report")));
        reports.find(|report| report[0] >> 16 & 0xff == 200).expect("never ends")
    };
    let (at_a, at_b) = (sender_report(&call.a), sender_report(&call.b));
    assert_eq!((at_a[0] >> 16 & 0xff, at_a[1]), (200, call.b.ssrc));
    assert_eq!((at_b[0] >> 16 & 0xff, at_b[1]), (200, call.a.ssrc));
    call.a.rtcp.send_to(&answer(call.a.ssrc, &at_a), call.answered.rtcp).expect("sent");
    // Reports of A do not come to B, but those of the relay do; the one behind A's report shows that it has been read.
    words(&call.a.receive_rtcp().expect("another report for A"));
    call.b.rtcp.send_to(&answer(call.b.ssrc, &at_b), call.offered.rtcp).expect("sent");
    let ssrc = call.a.ssrc.to_string();
    let entry = (0..500).find_map(|_| {
        let entry = call.query()["SSRC"][&ssrc].clone();
        (!entry["average MOS"].is_null()).then_some(entry)
    });
    let entry: Value = entry.expect("a score for what A sends");
    assert_eq!((&entry["average MOS"]["samples"], &entry["lowest MOS"]["jitter"]), (&json!(1), &json!(0)));
    assert!(entry["highest MOS"]["round-trip time"].as_u64() > Some(0), "{entry}");
    assert!(call.query()["tags"].to_string().contains("RTCP generator"));
}
