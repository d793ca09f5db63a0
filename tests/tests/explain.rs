//! `explain`: each codec with what became of it and why, what is done to each stream, on request only.

use e2e::call::{Call, Setup, extend};
use e2e::daemon::Relay;
use e2e::party::Party;
use e2e::sdp;
use serde_json::{Value, json};

fn request(relay: &Relay, command: &str, formats: &[&str], extra: &Value) -> Value {
    let body = sdp::audio(Party::new("127.0.0.1").local(), formats, &["ptime:20"]);
    let mut request = json!({"command": command, "call-id": "why", "from-tag": "a", "sdp": body});
    if command == "answer" {
        extend(&mut request, &json!({"to-tag": "b"}));
    }
    extend(&mut request, extra);
    relay.ng.ok(request)
}

/// Number, fate and reason of each codec of the first section.
fn codecs(reply: &Value) -> Vec<String> {
    let codecs = reply["explain"][0]["codecs"].as_array().unwrap_or_else(|| panic!("no codecs in {reply}"));
    let line = |codec: &Value| {
        let text =
            |key: &str| codec[key].as_str().unwrap_or_else(|| panic!("no {key} in {codec}")).to_owned();
        let renumbered = codec["as"].as_u64().map(|number| format!(" {number}")).unwrap_or_default();
        format!("{} {} {}{renumbered}: {}", codec["payload type"], text("codec"), text("is"), text("why"))
    };
    codecs.iter().map(line).collect()
}

/// The stream of the first section from a party.
fn stream<'r>(reply: &'r Value, from: &str) -> &'r Value {
    let streams = reply["explain"][0]["streams"].as_array().expect("streams");
    streams
        .iter()
        .find(|stream| stream["from"] == from)
        .unwrap_or_else(|| panic!("none from {from} in {reply}"))
}

fn happens(stream: &Value, payload_type: u64) -> &str {
    let listed = stream["payload types"].as_array().expect("payload types");
    let entry = listed.iter().find(|entry| entry["payload type"] == payload_type);
    entry
        .and_then(|entry| entry["what happens"].as_str())
        .unwrap_or_else(|| panic!("no {payload_type} in {stream}"))
}

#[test]
fn every_codec_of_offer_and_answer_comes_with_the_key_behind_it() {
    let relay = Relay::start(&[]);
    let keys = json!({
        "explain": "yes", "flags": ["allow-asymmetric-codecs"],
        "codec": {"mask": ["PCMU"], "strip": ["PCMA"], "transcode": ["GSM"]},
    });
    let formats = ["0 PCMU/8000", "8 PCMA/8000", "9 G722/8000", "101 telephone-event/8000"];
    let reply = request(&relay, "offer", &formats, &keys);
    assert_eq!(
        codecs(&reply),
        [
            "0 PCMU/8000 dropped: codec-mask",
            "8 PCMA/8000 dropped: codec-strip",
            "9 G722/8000 kept: offered, and nothing takes it away",
            "101 telephone-event/8000 kept: offered, and nothing takes it away",
            "3 GSM/8000 added: codec-transcode",
        ]
    );
    assert_eq!((&reply["explain"][0]["index"], &reply["explain"][0]["type"]), (&json!(1), &json!("audio")));

    let keys = json!({"rtpp-flags": "explain=yes allow-asymmetric-codecs"});
    let reply = request(&relay, "answer", &["3 GSM/8000", "96 telephone-event/8000"], &keys);
    assert_eq!(
        codecs(&reply),
        [
            "3 GSM/8000 dropped: the offerer does not have it: it is converted, or only passed on",
            "96 telephone-event/8000 renumbered 101: the offerer's own number",
            "0 PCMU/8000 added: the answerer's codecs are converted to it",
        ]
    );
    let (from_b, from_a) = (stream(&reply, "b"), stream(&reply, "a"));
    assert_eq!(happens(from_b, 3), "is transcoded to 0 PCMU/8000: the receiver does not take it");
    assert_eq!(happens(from_a, 0), "is transcoded to 3 GSM/8000: the receiver does not take it");
    assert_eq!((&from_a["off-loaded"], &from_a["why not"]), (&json!("no"), &json!("it is transcoded")));

    // The command line remembers both messages.
    let told = relay.ng.ok(json!({"command": "cli", "body": "list sessions why explain"}));
    let told = told["response"].as_str().expect("a text");
    for line in [
        "callid: why",
        "--- Tag 'a' towards 'b'",
        "------ Media #1 (audio)",
        "--------   0 PCMU/8000 dropped: codec-mask",
        "--------   3 GSM/8000 added: codec-transcode",
        "-------- sent as 0: is transcoded to 3 GSM/8000: the receiver does not take it",
        "-------- not off-loaded: it is transcoded",
        "--- Tag 'b' towards 'a'",
        "--------  96 telephone-event/8000 renumbered 101: the offerer's own number",
    ] {
        assert!(told.lines().any(|other| other == line), "{line} is not in{told}");
    }
}

#[test]
fn what_holds_media_back_is_told_in_its_direction() {
    let relay = Relay::start(&[]);
    let call = Call::establish(&relay, "why", Setup::default());
    call.command("block media", &json!({"from-tag": "a", "flags": ["directional"]}));
    let restricted = |reply: &Value, from: &str| stream(reply, from)["restrictions"].clone();
    let reply = request(&relay, "offer", &["0 PCMU/8000"], &json!({"to-tag": "b", "explain": "yes"}));
    assert_eq!(restricted(&reply, "a"), json!(["block media"]));
    assert_eq!(restricted(&reply, "b"), json!([]));
    assert_eq!(happens(stream(&reply, "b"), 0), "passes: the receiver takes it");

    let told = relay.ng.ok(json!({"command": "cli", "body": "list sessions why explain"}));
    let told = told["response"].as_str().expect("a text");
    assert_eq!(told.matches("-------- restricted: block media\n").count(), 1, "{told}");
    call.command("unblock media", &json!({"from-tag": "a", "flags": ["directional"]}));
    let reply = request(&relay, "answer", &["0 PCMU/8000"], &json!({"explain": "yes"}));
    assert_eq!(restricted(&reply, "a"), json!([]));
}

#[test]
fn nothing_is_explained_unasked() {
    let relay = Relay::start(&[]);
    for extra in [json!({}), json!({"explain": "no"}), json!({"rtpp-flags": "explain=off"})] {
        for command in ["offer", "answer"] {
            let reply = request(&relay, command, &["0 PCMU/8000"], &extra);
            assert!(reply.get("explain").is_none(), "{reply}");
        }
    }
}
