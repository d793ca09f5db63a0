//! Parties that hear others beside offer and answer: publish, subscribe, create, connect, mesh, inject, transform.

use std::collections::BTreeSet;
use std::time::Duration;

use e2e::call::{Call, Setup};
use e2e::daemon::Relay;
use e2e::party::Party;
use e2e::sdp::{self, Media};
use serde_json::{Value, json};

const WAIT: Duration = Duration::from_secs(2);
/// Long enough for a packet that must not come.
const NOTHING: Duration = Duration::from_millis(300);

fn section(reply: &Value) -> Media {
    sdp::media(reply["sdp"].as_str().unwrap_or_else(|| panic!("no sdp in {reply}")))
}

/// Subscribes a new party and answers with the formats that it was offered.
fn subscribe(relay: &Relay, request: Value, answer: Value) -> Party {
    let mut listener = Party::new("127.0.0.1");
    let reply = relay.ng.ok(request);
    let offered = section(&reply);
    assert!(offered.has("sendonly") || offered.has("sendrecv"), "{offered:?}");
    let formats: Vec<String> =
        offered.formats.iter().map(|f| format!("{} {}/{}", f.payload_type, f.name, f.clock_rate)).collect();
    let formats: Vec<&str> = formats.iter().map(String::as_str).collect();
    listener.remote = Some(offered.rtp);
    let mut request = json!({
        "command": "subscribe answer", "to-tag": reply["to-tag"],
        "sdp": sdp::audio(listener.local(), &formats, &["recvonly"]),
    });
    e2e::call::extend(&mut request, &answer);
    relay.ng.ok(request);
    listener
}

/// The party's next packet with this payload arrives at the listener.
fn heard(from: &mut Party, payload_type: u8, fill: u8, listener: &Party) -> bool {
    let packet = from.next_packet(payload_type, &[fill; 160], 160);
    from.send(&packet);
    listener.receive(WAIT).is_some_and(|received| received.packet.payload == packet.payload)
}

#[test]
fn a_subscriber_hears_one_side_of_a_call_and_both_sides_go_on() {
    let relay = Relay::start(&[]);
    let mut call = Call::establish(&relay, "sub", Setup::default());
    call.learn();
    let id = json!({"call-id": "sub"});
    let request = json!({"command": "subscribe request", "call-id": "sub", "from-tag": "a"});
    let listener = subscribe(&relay, request, id.clone());
    for round in 0..5 {
        assert!(heard(&mut call.a, 0, round, &listener));
        assert_eq!(call.b.receive(WAIT).expect("the callee hears on").packet.payload, [round; 160]);
    }
    let packet = call.b.next_packet(0, &[9; 160], 160);
    call.b.send(&packet);
    assert!(call.a.receive(WAIT).is_some());
    assert!(listener.receive(NOTHING).is_none(), "only one side was subscribed to");

    let tags = call.query()["tags"].clone();
    assert_eq!(tags["a"]["subscribers"][1]["type"], "pub/sub", "{tags}");
    let listener_tag = tags["a"]["subscribers"][1]["tag"].as_str().expect("a tag").to_owned();
    assert_eq!(listener_tag.len(), 64, "a made-up tag");
    call.command("unsubscribe", &json!({"to-tag": listener_tag}));
    let packet = call.a.next_packet(0, &[1; 160], 160);
    call.a.send(&packet);
    assert!(call.b.receive(WAIT).is_some());
    assert!(listener.receive(NOTHING).is_none(), "unsubscribed");
}

#[test]
fn a_subscriber_of_everybody_hears_both_sides_in_sections_of_their_own() {
    let relay = Relay::start(&[]);
    let call = Call::establish(&relay, "all", Setup::default());
    let reply = call.command("subscribe request", &json!({"flags": ["all", "SIPREC"], "to-tag": "rec"}));
    assert_eq!(reply["from-tags"], json!(["a", "b"]));
    assert_eq!(reply["media-labels"]["1"]["tag"], "b");
    let sections = reply["sdp"].as_str().expect("sdp").matches("m=audio").count();
    assert_eq!(sections, 2, "{reply}");
}

#[test]
fn a_subscriber_to_audio_gets_no_fax() {
    let relay = Relay::start(&[]);
    let mut call = Call::establish(&relay, "fax", Setup::default());
    call.learn();
    let request = json!({"command": "subscribe request", "call-id": "fax", "from-tag": "a"});
    let listener = subscribe(&relay, request, json!({"call-id": "fax"}));
    assert!(heard(&mut call.a, 0, 1, &listener));
    assert!(call.b.receive(WAIT).is_some());

    let image = |party: &Party| {
        sdp::audio(party.local(), &["0 PCMU/8000"], &[])
            .replace("audio", "image")
            .replace("RTP/AVP 0", "udptl t38")
            .replace("a=rtpmap:0 PCMU/8000\r\n", "")
    };
    let (offer, answer) = (image(&call.a), image(&call.b));
    call.re_offer(&offer, &answer, &json!({}));
    let receive = |party: &Party| {
        let mut octets = [0; 64];
        let _ = party.rtp.set_read_timeout(Some(NOTHING));
        party.rtp.recv(&mut octets).map(|length| octets[..length].to_vec()).ok()
    };
    let datagram = [0, 0, 1, 2, 0, 0];
    call.a.rtp.send_to(&datagram, call.answered.rtp).expect("sent");
    assert_eq!(receive(&call.b).as_deref(), Some(&datagram[..]), "the callee gets the fax");
    assert_eq!(receive(&listener), None);

    let (offer, answer) = (
        sdp::audio(call.a.local(), &["0 PCMU/8000"], &[]),
        sdp::audio(call.b.local(), &["0 PCMU/8000"], &[]),
    );
    call.re_offer(&offer, &answer, &json!({}));
    assert!(heard(&mut call.a, 0, 2, &listener), "audio again");
}

#[test]
fn a_subscriber_may_be_given_another_codec() {
    let relay = Relay::start(&[]);
    let mut call = Call::establish(&relay, "codec", Setup::default());
    call.learn();
    let request = json!({
        "command": "subscribe request", "call-id": "codec", "from-tag": "a",
        "codec": {"strip": ["all"], "transcode": ["PCMA"]},
    });
    let allowed = json!({"call-id": "codec", "flags": ["allow-transcoding"]});
    let listener = subscribe(&relay, request, allowed);
    let speech = call.a.send_paced(0, vec![vec![0xff; 160]; 20], 160, Duration::from_millis(20));
    let received = listener.receive_many(10);
    speech.join().expect("sent");
    assert!(received.iter().all(|r| r.packet.payload_type == 8 && r.packet.payload.len() == 160));
}

#[test]
fn subscribers_who_hear_the_same_share_one_transcoder() {
    let relay = Relay::start(&[]);
    let mut call = Call::establish(&relay, "same", Setup::default());
    call.learn();
    let subscriber = |tag: &str| {
        let request = json!({
            "command": "subscribe request", "call-id": "same", "from-tag": "a", "to-tag": tag,
            "codec": {"strip": ["all"], "transcode": ["PCMA"]},
        });
        subscribe(&relay, request, json!({"call-id": "same", "flags": ["allow-transcoding"]}))
    };
    let mut listeners = vec![subscriber("s0"), subscriber("s1"), subscriber("s2")];
    let transcoders = || {
        let all = relay.ng.ok(json!({"command": "statistics"}))["statistics"]["transcoders"].clone();
        let all = all.as_array().expect("a list").clone();
        all.iter().map(|chain| chain["num"].as_u64().expect("a number")).sum::<u64>()
    };
    // A packet of the caller as each listener gets it; the same for all.
    let hear = |call: &mut Call<'_>, listeners: &[Party]| {
        let packet = call.a.next_packet(0, &[0xff; 160], 160);
        call.a.send(&packet);
        let mut heard: Vec<_> =
            listeners.iter().map(|listener| listener.receive(WAIT).expect("heard").packet).collect();
        heard.dedup();
        assert_eq!(heard.len(), 1, "the same for all");
        heard.remove(0)
    };
    let first = hear(&mut call, &listeners);
    assert_eq!(first.payload_type, 8);
    assert_eq!(transcoders(), 1);
    // Who comes later joins, who came first goes: for the others nothing changes.
    listeners.push(subscriber("s3"));
    let second = hear(&mut call, &listeners);
    call.command("unsubscribe", &json!({"from-tag": "a", "to-tag": "s0"}));
    let gone = listeners.remove(0);
    let third = hear(&mut call, &listeners);
    for (number, packet) in (1..).zip([second, third]) {
        assert_eq!(packet.ssrc, first.ssrc);
        assert_eq!(packet.sequence, first.sequence.wrapping_add(number));
        assert_eq!(packet.timestamp, first.timestamp.wrapping_add(160 * u32::from(number)));
    }
    assert!(
        gone.receive(NOTHING)
            .is_none_or(|received| received.packet.sequence != first.sequence.wrapping_add(2))
    );
    assert_eq!(transcoders(), 1);
}

#[test]
fn published_media_reach_every_subscriber() {
    let relay = Relay::start(&[]);
    let mut publisher = Party::new("127.0.0.1");
    let offer = sdp::audio(publisher.local(), &["0 PCMU/8000", "8 PCMA/8000"], &["sendonly"]);
    let reply = relay.ng.ok(json!({
        "command": "publish", "call-id": "pub", "from-tag": "p", "sdp": offer,
        "codec": {"accept": ["PCMA"]},
    }));
    let answered = section(&reply);
    assert_eq!(answered.formats.len(), 1);
    assert_eq!(answered.format("PCMA").payload_type, 8);
    assert!(answered.has("recvonly"));
    publisher.remote = Some(answered.rtp);
    let request = json!({"command": "subscribe request", "call-id": "pub", "from-tag": "p"});
    let listeners: Vec<Party> =
        (0..3).map(|_| subscribe(&relay, request.clone(), json!({"call-id": "pub"}))).collect();
    for round in 0..3 {
        let packet = publisher.next_packet(8, &[round; 160], 160);
        publisher.send(&packet);
        for listener in &listeners {
            assert_eq!(listener.receive(WAIT).expect("heard").packet.payload, [round; 160]);
        }
    }
    relay.ng.ok(json!({"command": "delete", "call-id": "pub", "delete-delay": 0}));
    // Workers take commands up to a millisecond after the reply.
    let reached = |_| {
        let packet = publisher.next_packet(8, &[7; 160], 160);
        publisher.send(&packet);
        let heard: Vec<bool> = listeners.iter().map(|listener| listener.receive(NOTHING).is_some()).collect();
        heard.contains(&true)
    };
    assert!((0..3).map(reached).any(|reached| !reached), "nothing passes once the call is gone");
}

#[test]
fn two_created_parties_talk_once_connected_and_are_transcoded_where_they_must() {
    let relay = Relay::start(&[]);
    let create = |tag: &str, codec: &str| {
        let reply = relay.ng.ok(json!({
            "command": "create", "call-id": "made", "from-tag": tag, "codec": {"offer": [codec]},
        }));
        let offered = section(&reply);
        let mut party = Party::new("127.0.0.1");
        party.remote = Some(offered.rtp);
        let number = offered.format(codec).payload_type;
        let answer = sdp::audio(party.local(), &[&format!("{number} {codec}/8000")], &["ptime:20"]);
        relay.ng.ok(json!({"command": "create answer", "call-id": "made", "from-tag": tag, "sdp": answer}));
        party
    };
    let (mut a, mut b) = (create("a", "PCMU"), create("b", "PCMA"));
    relay.ng.ok(json!({"command": "connect", "call-id": "made", "from-tag": "a", "to-tag": "b"}));
    let exchange = |from: &mut Party, to: &Party, sent: u8, expected: u8| {
        let speech = from.send_paced(sent, vec![vec![0xd5; 160]; 10], 160, Duration::from_millis(20));
        let received = to.receive_many(5);
        speech.join().expect("sent");
        let fits =
            |r: &e2e::rtp::Received| (r.packet.payload_type, r.packet.payload.len()) == (expected, 160);
        assert!(received.iter().all(fits), "{received:?}");
    };
    exchange(&mut a, &b, 0, 8);
    exchange(&mut b, &a, 8, 0);
}

#[test]
fn connecting_parties_of_two_calls_makes_one_call_with_two_ids() {
    let relay = Relay::start(&[]);
    let mut first = Call::establish(&relay, "one", Setup::default());
    first.learn();
    let answer_of = |tags: [&str; 2]| {
        let (caller, callee) = (Party::new("127.0.0.1"), Party::new("127.0.0.1"));
        let offer = sdp::audio(caller.local(), &["0 PCMU/8000"], &[]);
        let base = json!({"call-id": "two", "from-tag": tags[0]});
        let with = |extra: Value| {
            let mut request = base.clone();
            e2e::call::extend(&mut request, &extra);
            relay.ng.ok(request)
        };
        let offered = section(&with(json!({"command": "offer", "sdp": offer})));
        let answer = sdp::audio(callee.local(), &["0 PCMU/8000"], &[]);
        with(json!({"command": "answer", "to-tag": tags[1], "sdp": answer}));
        (caller, callee, offered)
    };
    let (_caller, mut callee, offered) = answer_of(["c", "d"]);
    callee.remote = Some(offered.rtp);
    relay.ng.ok(json!({
        "command": "connect", "call-id": "one", "from-tag": "a", "to-tag": "d", "to-call-id": "two",
    }));
    assert!(heard(&mut first.a, 0, 3, &callee));
    assert!(heard(&mut callee, 0, 4, &first.a));
    let packet = first.b.next_packet(0, &[5; 160], 160);
    first.b.send(&packet);
    assert!(first.a.receive(NOTHING).is_none(), "the old partner is left alone");
    let calls = relay.ng.ok(json!({"command": "list"}))["calls"].clone();
    let calls: BTreeSet<&str> = calls.as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    assert_eq!(calls, BTreeSet::from(["one", "two"]));
    relay.ng.ok(json!({"command": "delete", "call-id": "two", "delete-delay": 0}));
    assert_eq!(relay.ng.ok(json!({"command": "list"}))["calls"], json!([]));
}

#[test]
fn a_mesh_lets_parties_of_several_calls_hear_each_other() {
    let relay = Relay::start(&[]);
    let mut call = Call::establish(&relay, "mesh", Setup::default());
    call.learn();
    let mut guest = Party::new("127.0.0.1");
    let offer = sdp::audio(guest.local(), &["0 PCMU/8000"], &[]);
    let reply = relay.ng.ok(json!({
        "command": "publish", "call-id": "guest", "from-tag": "g", "sdp": offer, "flags": ["bidirectional"],
    }));
    guest.remote = Some(section(&reply).rtp);
    relay.ng.ok(json!({
        "command": "mesh", "calls": ["mesh", "guest"], "flags": ["bidirectional"],
        "tags": [{"from": "a", "to": ["g"]}, {"from": "b", "to": ["g"]}],
    }));
    let packet = guest.next_packet(0, &[6; 160], 160);
    guest.send(&packet);
    for party in [&call.a, &call.b] {
        assert_eq!(party.receive(WAIT).expect("both hear the guest").packet.payload, [6; 160]);
    }
    let packet = call.a.next_packet(0, &[7; 160], 160);
    call.a.send(&packet);
    for party in [&call.b, &guest] {
        assert_eq!(party.receive(WAIT).expect("the partner and the guest").packet.payload, [7; 160]);
    }
}

#[test]
fn what_cannot_be_joined_stays_apart() {
    let relay = Relay::start(&[]);
    for (id, tags) in [("one", ["a", "b"]), ("two", ["c", "d"]), ("three", ["e", "a"])] {
        let offer = sdp::audio(Party::new("127.0.0.1").local(), &["0 PCMU/8000"], &[]);
        let base = json!({"call-id": id, "from-tag": tags[0], "sdp": offer});
        for extra in [json!({"command": "offer"}), json!({"command": "answer", "to-tag": tags[1]})] {
            let mut request = base.clone();
            e2e::call::extend(&mut request, &extra);
            relay.ng.ok(request);
        }
    }
    let (connect, inject) = ("connect", "inject start");
    for request in [
        json!({"command": connect, "call-id": "one", "from-tag": "x", "to-tag": "d", "to-call-id": "two"}),
        json!({"command": connect, "call-id": "one", "from-tags": ["a", "x"], "to-tag": "d", "to-call-id": "two"}),
        json!({"command": inject, "call-id": "one", "to-tag": "x", "source-tag": "c", "source-call-id": "two"}),
        json!({"command": inject, "call-id": "one", "to-tag": "a", "source-tag": "x", "source-call-id": "two"}),
        json!({"command": "inject stop", "call-id": "one", "to-tag": "a", "source-tag": "c", "source-call-id": "two"}),
        json!({"command": "mesh", "calls": ["one", "two"], "tags": [{"from": "a", "to": ["x"]}]}),
        json!({"command": "mesh", "calls": ["one", "two"], "tags": [{"from": "x", "to": ["a"]}]}),
        json!({"command": "mesh", "calls": ["one", "two", "three"], "tags": [{"from": "a", "to": ["c"]}]}),
    ] {
        let reply = relay.ng.request(&request);
        assert_eq!(reply["result"], "error", "{request}: {reply}");
        let tags = relay.ng.ok(json!({"command": "query", "call-id": "one"}))["tags"].clone();
        assert_eq!(tags.as_object().map(serde_json::Map::len), Some(2), "{request}: {tags}");
    }
}

#[test]
fn injected_audio_is_heard_beside_the_partner_until_it_is_stopped() {
    let relay = Relay::start(&[]);
    let mut call = Call::establish(&relay, "call", Setup::default());
    call.learn();
    let mut coach = Party::new("127.0.0.1");
    let offer = sdp::audio(coach.local(), &["0 PCMU/8000"], &[]);
    let reply = relay.ng.ok(json!({"command": "publish", "call-id": "coach", "from-tag": "c", "sdp": offer}));
    coach.remote = Some(section(&reply).rtp);
    let keys = json!({"to-tag": "b", "source-tag": "c", "source-call-id": "coach"});
    call.command("inject start", &keys);
    let at_b = call.b.listen();
    for _ in 0..20 {
        for party in [&mut coach, &mut call.a] {
            let packet = party.next_packet(0, &[0x20; 160], 160);
            party.send(&packet);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let mixed = at_b.stop();
    let ssrc = mixed.first().expect("packets").packet.ssrc;
    assert!(mixed.iter().all(|received| received.packet.ssrc == ssrc), "one stream");
    assert!(![coach.ssrc, call.a.ssrc].contains(&ssrc), "neither of the two");
    let loudest =
        |received: &e2e::rtp::Received| received.packet.payload.iter().map(|octet| !octet & 0x7f).max();
    assert!(mixed.iter().filter_map(loudest).max() > Some(!0x20 & 0x7f), "louder than one alone");

    call.command("inject stop", &json!({"to-tag": "b", "source-tag": "c"}));
    while call.b.receive(NOTHING).is_some() {}
    let packet = coach.next_packet(0, &[3; 160], 160);
    coach.send(&packet);
    assert!(call.b.receive(NOTHING).is_none());
    assert!(heard(&mut call.a, 0, 2, &call.b), "the partner as it is");
}

#[test]
fn transform_converts_by_payload_type_and_sends_on() {
    let relay = Relay::start(&[]);
    let (mut sender, sink) = (Party::new("127.0.0.1"), Party::new("127.0.0.1"));
    let reply = relay.ng.ok(json!({
        "command": "transform",
        "media": [{
            "type": "audio",
            "codec": [
                {"input": {"codec": "PCMA", "payload type": 8}, "output": {"codec": "PCMU", "payload type": 0}},
                {"input": {"codec": "G722", "payload type": 9, "clock rate": 8000},
                 "output": {"codec": "G722", "payload type": 109, "clock rate": 8000}},
            ],
            "destination": {"family": "IP4", "address": "127.0.0.1", "port": sink.local().port()},
        }],
    }));
    let port = reply["media"][0]["port"].as_u64().expect("a port");
    sender.remote = Some(([127, 0, 0, 1], port as u16).into());
    let packet = sender.next_packet(9, &[1; 160], 160);
    sender.send(&packet);
    let passed = sink.receive(WAIT).expect("another number").packet;
    assert_eq!((passed.payload_type, passed.payload), (109, packet.payload));
    let speech = sender.send_paced(8, vec![vec![0xd5; 160]; 10], 160, Duration::from_millis(20));
    let converted = sink.receive_many(5);
    speech.join().expect("sent");
    assert!(converted.iter().all(|r| r.packet.payload_type == 0 && r.packet.payload.len() == 160));
}

#[test]
fn a_subscriber_goes_on_hearing_what_it_takes_when_the_source_agrees_on_another_codec() {
    let relay = Relay::start(&[]);
    let mut publisher = Party::new("127.0.0.1");
    let local = publisher.local();
    let publish = |format: &str| {
        let offer = sdp::audio(local, &[format], &["sendonly"]);
        let reply = relay.ng.ok(json!({
            "command": "publish", "call-id": "other", "from-tag": "p", "sdp": offer,
        }));
        section(&reply).rtp
    };
    publisher.remote = Some(publish("8 PCMA/8000"));
    let request = json!({"command": "subscribe request", "call-id": "other", "from-tag": "p"});
    let listener = subscribe(&relay, request, json!({"call-id": "other"}));
    assert!(heard(&mut publisher, 8, 0xd5, &listener), "it passes");
    publish("0 PCMU/8000");
    // What was still under way comes in between.
    for (round, (payload_type, silence)) in
        [(0, 0xff), (0, 0xff), (8, 0xd5), (0, 0xff)].into_iter().enumerate()
    {
        let packet = publisher.next_packet(payload_type, &[silence; 160], 160);
        publisher.send(&packet);
        let heard = listener.receive(WAIT).expect("heard").packet;
        assert_eq!((heard.payload_type, heard.payload.len()), (8, 160), "packet {round}");
        assert!(heard.payload.iter().all(|octet| matches!(octet, 0xd5 | 0x55)), "packet {round}: silence");
    }
}
