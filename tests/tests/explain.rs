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
        for command in ["publish", "subscribe request", "subscribe answer", "connect"] {
            let mut keys = json!({"to-tag": "c"});
            extend(&mut keys, &extra);
            let reply = request(&relay, command, &["0 PCMU/8000"], &keys);
            assert!(reply.get("explain").is_none(), "{command}: {reply}");
        }
    }
}

fn told(relay: &Relay) -> String {
    let told = relay.ng.ok(json!({"command": "cli", "body": "list sessions why explain"}));
    told["response"].as_str().expect("a text").to_owned()
}

#[test]
fn what_is_published_and_heard_is_explained() {
    let relay = Relay::start(&[]);
    let formats = ["0 PCMU/8000", "8 PCMA/8000", "101 telephone-event/8000"];
    let keys = json!({"explain": "yes", "codec": {"accept": ["PCMA"], "strip": ["G722"]}});
    let reply = request(&relay, "publish", &[&formats[..], &["9 G722/8000"]].concat(), &keys);
    assert_eq!(
        codecs(&reply),
        [
            "0 PCMU/8000 dropped: one codec is accepted, and another one was preferred",
            "8 PCMA/8000 kept: codec-accept",
            "101 telephone-event/8000 kept: goes with a codec of this clock rate",
            "9 G722/8000 dropped: codec-strip",
        ]
    );
    let keys = json!({"to-tag": "c", "explain": "yes", "codec": {"transcode": ["GSM"]}});
    let reply = request(&relay, "subscribe request", &formats, &keys);
    assert_eq!(
        codecs(&reply),
        [
            "8 PCMA/8000 kept: offered, and nothing takes it away",
            "101 telephone-event/8000 kept: offered, and nothing takes it away",
            "3 GSM/8000 added: codec-transcode",
        ]
    );
    let keys = json!({"to-tag": "c", "rtpp-flags": "explain=yes allow-transcoding"});
    let reply = request(&relay, "subscribe answer", &["3 GSM/8000"], &keys);
    assert_eq!(
        codecs(&reply),
        ["3 GSM/8000 dropped: the offerer does not have it: it is converted, or only passed on"]
    );
    let heard = stream(&reply, "a");
    assert_eq!(happens(heard, 8), "is transcoded to 3 GSM/8000: the receiver does not take it");
    assert_eq!((&heard["to"], &heard["why not"]), (&json!("c"), &json!("it is transcoded")));
    assert_eq!(
        reply["explain"][0]["streams"].as_array().map(Vec::len),
        Some(1),
        "nothing goes back: {reply}"
    );

    let told = told(&relay);
    for line in [
        "--- Tag 'a' publishes",
        "--------   0 PCMU/8000 dropped: one codec is accepted, and another one was preferred",
        "--- Tag 'c' hears 'a'",
        "--------   3 GSM/8000 added: codec-transcode",
        "-------- sent as 8: is transcoded to 3 GSM/8000: the receiver does not take it",
        "-------- not off-loaded: it is transcoded",
    ] {
        assert!(told.lines().any(|other| other == line), "{line} is not in{told}");
    }
}

#[test]
fn parties_that_are_connected_are_explained_without_an_exchange() {
    let relay = Relay::start(&[]);
    request(
        &relay,
        "publish",
        &["8 PCMA/8000", "101 telephone-event/8000"],
        &json!({"flags": ["bidirectional"]}),
    );
    let other = json!({"from-tag": "d", "flags": ["bidirectional"]});
    request(&relay, "publish", &["0 PCMU/8000", "101 telephone-event/8000"], &other);
    let own = [
        "8 PCMA/8000 dropped: the other one does not have it: it is converted, or only passed on",
        "101 telephone-event/8000 kept: both have it",
    ];
    for (flags, heard) in
        [(json!(["directional"]), "--- Tag 'd' hears 'a'"), (json!([]), "--- Tag 'a' towards 'd'")]
    {
        let keys = json!({"to-tag": "d", "explain": "yes", "flags": flags});
        let reply = request(&relay, "connect", &["0 PCMU/8000"], &keys);
        assert_eq!(codecs(&reply), own, "{flags}");
        let sent = stream(&reply, "a");
        assert_eq!(
            happens(sent, 8),
            "is transcoded to 0 PCMU/8000: the receiver does not take it",
            "{flags}"
        );
        assert_eq!(happens(sent, 101), "passes: the receiver takes it", "{flags}");
        let told = told(&relay);
        assert!(told.lines().any(|line| line == heard), "{heard} is not in{told}");
    }
}
