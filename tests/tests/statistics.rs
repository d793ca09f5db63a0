//! What was sent is what is counted, and limits refuse.

use std::time::Duration;

use e2e::call::{Call, Setup};
use e2e::daemon::{Relay, wait_for};
use e2e::party::Party;
use e2e::sdp;
use serde_json::{Value, json};

fn statistics(relay: &Relay) -> Value {
    relay.ng.ok(json!({"command": "statistics"}))["statistics"].clone()
}

fn cli(relay: &Relay, line: &str) -> String {
    let reply = relay.ng.ok(json!({"command": "cli", "body": line}));
    reply["response"].as_str().expect("a text").to_owned()
}

/// The value of a row of `list totals`.
fn row(text: &str, label: &str) -> String {
    let line = text
        .lines()
        .find(|line| line.starts_with(&format!(" {label} ")) || line.starts_with(&format!(" {label}:")));
    let line = line.unwrap_or_else(|| panic!("no {label} in {text}"));
    line.rsplit_once(':').expect("a colon").1.to_owned()
}

/// So many packets of 172 octets from each side, all heard.
fn talk(call: &mut Call<'_>, rounds: usize) {
    for _ in 0..rounds {
        call.learn();
    }
}

#[test]
fn sums_are_what_passed_during_the_call_and_after() {
    let relay = Relay::start(&[]);
    let mut call = Call::establish(&relay, "counted", Setup::default());
    talk(&mut call, 10);
    let check = |when: &str| {
        // A packet may be heard a moment before it is counted.
        let counted = || {
            let report = statistics(&relay);
            (report["interfaces"][0]["egress"]["packets"] == 20).then_some(report)
        };
        let report = wait_for(Duration::from_secs(2), counted).unwrap_or_else(|| statistics(&relay));
        let total = &report["totalstatistics"];
        assert_eq!(total["relayedpackets_user"], 20, "{when}");
        assert_eq!(total["relayedbytes_user"], 20 * 172, "{when}");
        assert_eq!(
            (&total["relayedpackets"], &total["relayedpacketerrors"]),
            (&json!(20), &json!(0)),
            "{when}"
        );
        for direction in ["ingress", "egress"] {
            let count = &report["interfaces"][0][direction];
            assert_eq!(
                (&count["packets"], &count["bytes"]),
                (&json!(20), &json!(20 * 172)),
                "{when} {direction}"
            );
        }
        let text = cli(&relay, "list totals");
        assert_eq!(row(&text, "Total relayed packets (userspace)"), "20", "{when}");
        let json: Value = serde_json::from_str(&cli(&relay, "list jsonstats")).expect("JSON");
        assert_eq!(json["totalstatistics"]["relayedbytes"], 20 * 172, "{when}");
        assert!(
            cli(&relay, "list interfaces").contains("Ingress:           20 /       3440 /          0"),
            "{when}"
        );
    };
    check("during the call");
    assert_eq!(statistics(&relay)["interfaces"][0]["ports"]["used"], 4);
    assert_eq!(statistics(&relay)["currentstatistics"]["sessionsown"], 1);
    call.delete();
    check("after the call");
    let report = statistics(&relay);
    assert_eq!(report["currentstatistics"]["sessionstotal"], 0);
    assert_eq!(report["totalstatistics"]["managedsessions"], 1);
    assert_eq!(report["totalstatistics"]["regularterminatedsessions"], 1);
    let duration: f64 =
        report["totalstatistics"]["totalcallsduration"].as_str().expect("text").parse().expect("number");
    assert!(duration > 0.0);
    let proxy = &report["controlstatistics"]["proxies"][0];
    assert_eq!(proxy["proxy"], "127.0.0.1");
    assert_eq!(
        (&proxy["offercount"], &proxy["answercount"], &proxy["deletecount"]),
        (&json!(1), &json!(1), &json!(1))
    );
    assert_eq!(report["controlstatistics"]["totaloffercount"], 1);
}

#[test]
fn one_way_and_silent_streams_are_told_apart() {
    let relay = Relay::start(&[]);
    let silent = Call::establish(&relay, "silent", Setup::default());
    silent.delete();
    let mut one_way = Call::establish(&relay, "one-way", Setup::default());
    let packet = one_way.a.next_packet(0, &[0xff; 160], 160);
    one_way.a.send(&packet);
    assert!(one_way.b.receive(Duration::from_secs(2)).is_some());
    one_way.delete();
    let total = &statistics(&relay)["totalstatistics"];
    assert_eq!((&total["zerowaystreams"], &total["onewaystreams"]), (&json!(1), &json!(1)));
}

#[test]
fn limits_refuse_count_and_can_be_changed() {
    let relay = Relay::start(&["--max-sessions=1"]);
    let _call = Call::establish(&relay, "first", Setup::default());
    let body = sdp::audio(Party::new("127.0.0.1").local(), &["0 PCMU/8000"], &[]);
    let offer = |id: &str| {
        let request = json!({"command": "offer", "call-id": id, "from-tag": "a", "sdp": body, "supports": ["load limit"]});
        relay.ng.request(&request)
    };
    let refused = offer("second");
    assert_eq!(
        (&refused["result"], &refused["message"]),
        (&json!("load limit"), &json!("Parallel session limit reached"))
    );
    assert_eq!(statistics(&relay)["totalstatistics"]["rejectedsessions"], 1);
    assert_eq!(cli(&relay, "set maxsessions -1"), "Success setting maxsessions to -1; disable feature\n");
    assert_eq!(offer("second")["result"], "ok");
    assert_eq!(cli(&relay, "set maxbw 1"), "Success setting maxbw to 1\n");
    let mut talking = Call::establish(&relay, "second", Setup::default());
    let mut attempt = 0;
    let refused = wait_for(Duration::from_secs(10), || {
        talk(&mut talking, 1);
        // A call that was let in before the rate was measured may go on.
        attempt += 1;
        let reply = offer(&format!("attempt {attempt}"));
        (reply["result"] == "load limit").then(|| reply["message"].clone())
    });
    assert_eq!(refused, Some(json!("Bandwidth limit exceeded")));
    assert_eq!(statistics(&relay)["totalstatistics"]["rejectedsessions"], 1, "only sessions count");
    assert_eq!(cli(&relay, "params diff"), "max-sessions: 1 => -1\nmax-bw: 0 => 1\n");
}

#[test]
fn operators_see_debug_and_end_calls() {
    let relay = Relay::start(&[]);
    let mut call = Call::establish(&relay, "seen", Setup::default());
    talk(&mut call, 2);
    let lines = cli(&relay, "list sessions all");
    assert!(lines.starts_with(&format!("ID: {:>60} | del:n | creat:", "seen")), "{lines}");
    assert!(lines.contains(" | prx:127.0.0.1:") && lines.ends_with(" | frgn:n | rec:n\n"), "{lines}");
    let dump = cli(&relay, "call seen info");
    assert!(dump.contains("\n--- Tag 'a', type: FROM_TAG, label '', branch '', callduration 0."), "{dump}");
    assert!(dump.contains("---     subscribed to media with monologue tag 'b' (index: 1)\n"), "{dump}");
    assert!(dump.contains("------ Media #1 (audio over RTP/AVP) using PCMU/8000\n"), "{dump}");
    assert!(dump.contains(", 2 p, 344 b, 0 e, "), "{dump}");
    assert_eq!(cli(&relay, "call seen tag b"), "Incomplete command: \n");
    assert!(cli(&relay, "call seen tag b info").starts_with("--- Tag 'b', type: TO_TAG"));
    assert_eq!(cli(&relay, "call seen tag c info"), "No such tag 'c'\n");
    assert_eq!(cli(&relay, "debug seen"), "Enabled debugging for call 'seen'\n");
    assert_eq!(cli(&relay, "call seen debug off"), "Disabled debugging for call 'seen'\n");
    assert!(cli(&relay, "standby").starts_with("Ok"));
    assert!(
        cli(&relay, "list numsessions").starts_with("Current sessions own: 0\nCurrent sessions foreign: 1\n")
    );
    assert!(cli(&relay, "active").starts_with("Ok"));
    assert_eq!(cli(&relay, "terminate seen"), "\nCall Id (seen) successfully terminated by operator.\n\n");
    assert_eq!(relay.ng.ok(json!({"command": "list"}))["calls"], json!([]));
    assert_eq!(statistics(&relay)["totalstatistics"]["forcedterminatedsessions"], 1);
}
