//! Keys and options of recordings, as the files show them.

use std::path::Path;
use std::time::Duration;

use e2e::call::{Call, Setup};
use e2e::daemon::{Recorder, Relay, files_below, wait_for};
use e2e::pcap::{self, Datagram};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(20);

fn start(options: &[&str]) -> Relay {
    Relay::start(&[&["--recording-dir={DIR}/spool"][..], options].concat())
}

fn establish<'r>(relay: &'r Relay, id: &str, offer: Value, answer: Value) -> Call<'r> {
    Call::establish(relay, id, Setup { offer, answer, ..Setup::default() })
}

/// Five packets each way.
fn talk(call: &mut Call<'_>) {
    (0..5).for_each(|_| call.learn());
}

/// What the only pcap file holds when it has so many packets.
fn packets(relay: &Relay, count: usize) -> Vec<Datagram> {
    let mut last = Vec::new();
    let found = wait_for(LIMIT, || {
        let files = files_below(&relay.path("spool/pcaps"), ".pcap");
        last = files.first().and_then(|file| pcap::read(file).ok()).unwrap_or_default();
        (last.len() >= count).then_some(())
    });
    assert!(found.is_some() && last.len() == count, "{} packets, not {count}", last.len());
    last
}

/// Labels and contents of a metafile.
fn chunks(path: &Path) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let (mut rest, mut found) = (text.as_str(), Vec::new());
    while let Some((label, behind)) = rest.split_once('\n') {
        let Some((length, behind)) = behind.split_once(":\n") else { break };
        let length: usize = length.parse().expect("a length");
        found.push((label.to_owned(), behind[..length].to_owned()));
        rest = &behind[length + 2..];
    }
    found
}

/// The metafile of the only recording, once this is in it.
fn metafile_with(relay: &Relay, is_there: impl Fn(&[(String, String)]) -> bool) -> Vec<(String, String)> {
    let mut last = Vec::new();
    let found = wait_for(LIMIT, || {
        last = files_below(&relay.path("spool"), ".meta").first().map_or(Vec::new(), |path| chunks(path));
        is_there(&last).then_some(())
    });
    assert!(found.is_some(), "{last:?}");
    last
}

fn has(chunks: &[(String, String)], label: &str, content: &str) -> bool {
    chunks.iter().any(|(have, text)| have == label && text == content)
}

#[test]
fn egress_and_both_directions_are_recorded_as_they_are_sent() {
    for (option, count) in [("--record-egress", 10), ("--record-both", 20)] {
        let relay = start(&["--recording-method=pcap", "--recording-format=eth", option]);
        let mut call = establish(&relay, "egress", json!({"record-call": "yes"}), json!({}));
        talk(&mut call);
        call.delete();
        let packets = packets(&relay, count);
        let sent = packets.iter().filter(|packet| packet.to == call.b.local() || packet.to == call.a.local());
        assert_eq!(sent.count(), 10, "{option}");
        let received =
            packets.iter().filter(|packet| packet.from == call.a.local() || packet.from == call.b.local());
        assert_eq!(received.count(), count - 10, "{option}");
        let file = std::fs::read(&files_below(&relay.path("spool/pcaps"), ".pcap")[0]).expect("file");
        assert_eq!(file[20..24], 1_u32.to_ne_bytes(), "Ethernet");
    }
}

#[test]
fn nothing_is_recorded_of_parties_that_are_excluded() {
    let relay = start(&["--recording-method=all"]);
    let mut call = establish(
        &relay,
        "excluded",
        json!({"record-call": "yes", "flags": ["exclude-recording"]}),
        json!({}),
    );
    talk(&mut call);
    let query = call.query();
    for tag in ["a", "b"] {
        assert_eq!(query["tags"][tag]["recording"]["excluded"], 1, "{query}");
    }
    // What is switched later comes after everything else.
    call.command("pause recording", &json!({}));
    let meta = metafile_with(&relay, |chunks| has(chunks, "RECORDING 0", ""));
    let told = ["TAG", "SDP", "STREAM", "MEDIA"];
    assert!(!meta.iter().any(|(label, _)| told.iter().any(|word| label.starts_with(word))), "{meta:?}");
    call.delete();
    let ended = wait_for(LIMIT, || files_below(&relay.path("spool"), ".meta").is_empty().then_some(()));
    assert!(ended.is_some(), "the recording does not end");
    assert!(packets(&relay, 0).is_empty());
}

#[test]
fn texts_slots_and_forwarding_reach_the_metafile() {
    let relay = start(&["--recording-method=proc"]);
    let offer = json!({
        "record-call": "yes", "metadata": "caller:alice", "label": "labA", "recording-pattern": "x/%c-%r-%t",
        "recording-dir": "/rec", "recording-file": "name", "flags": ["skip-recording-db"],
        "recording-media-slot-offer": 2, "recording-media-slot-answer": 1, "recording-media-slots": 2,
    });
    let mut call = establish(&relay, "texts", offer, json!({"label": "labB"}));
    talk(&mut call);
    call.command("start forwarding", &json!({}));
    let meta =
        metafile_with(&relay, |chunks| has(chunks, "FORWARDING 1", "") && has(chunks, "LABEL 1", "labB"));
    for (label, content) in [
        ("CALL-ID", "texts"),
        ("METADATA", "caller:alice"),
        ("LABEL 0", "labA"),
        ("RECORDING_PATTERN", "x/%c-%r-%t"),
        ("RECORDING_PATH", "/rec"),
        ("RECORDING_FILE", "name"),
        ("SKIP_DATABASE", ""),
        ("STREAM 0 FORWARDING 1", ""),
    ] {
        assert!(has(&meta, label, content), "{label}: {meta:?}");
    }
    let slots: Vec<&str> = meta
        .iter()
        .filter(|(label, _)| label.ends_with(" details"))
        .filter_map(|(_, text)| text.split_once("MEDIA-REC-SLOT ").map(|(_, slot)| slot))
        .collect();
    assert!(slots.contains(&"2 MEDIA-REC-SLOTS 2") && slots.contains(&"1 MEDIA-REC-SLOTS 2"), "{meta:?}");
    let query = call.query();
    assert_eq!(query["recording"], json!({"call recording": 1, "forwarding": 1}), "{query}");
    call.delete();
}

#[test]
fn names_from_signalling_are_those_of_the_audio_files() {
    let relay = start(&["--recording-method=proc"]);
    let recorder = Recorder::start(&relay, &["--output-mixed", "--output-single"]);
    let offer =
        json!({"record-call": "yes", "metadata": "case:4711", "recording-pattern": "%{case}/%t-%c-%r"});
    let mut call = establish(&relay, "named", offer, json!({}));
    talk(&mut call);
    call.delete();
    let files = recorder.await_files(".wav", 3, LIMIT);
    let folder = recorder.output.join("4711");
    assert!(files.iter().all(|file| file.parent() == Some(&folder)), "{files:?}");
    let starts_with = |text: &str| files.iter().any(|file| name(file).starts_with(text));
    assert!(starts_with("mix-named-") && starts_with(&format!("{:08x}-named-", call.a.ssrc)), "{files:?}");
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[test]
fn replies_list_the_pcap_files_while_they_are_open() {
    let relay = start(&["--recording-method=all"]);
    let call = establish(&relay, "listed", json!({"record-call": "yes"}), json!({}));
    let text = e2e::sdp::audio(call.a.local(), &["0 PCMU/8000"], &["ptime:20"]);
    let offer = |extra: Value| {
        let mut request =
            json!({"command": "offer", "call-id": "listed", "from-tag": "a", "to-tag": "b", "sdp": text});
        e2e::call::extend(&mut request, &extra);
        relay.ng.ok(request)
    };
    let listed = offer(json!({}))["recordings"].clone();
    let path = listed[0].as_str().unwrap_or_default().to_owned();
    assert!(path.ends_with(".pcap"), "{listed}");
    assert!(wait_for(LIMIT, || Path::new(&path).is_file().then_some(())).is_some(), "{listed}");
    call.command("stop recording", &json!({}));
    let reply = offer(json!({}));
    assert!(reply.get("recordings").is_none(), "{reply}");
}
