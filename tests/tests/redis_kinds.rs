//! What is special about calls survives their daemon: music on hold, fax, blocked digits, merged calls, and the last moments.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use codec::g711::Law;
use e2e::call::{Call, Setup};
use e2e::daemon::{Relay, wait_for};
use e2e::failover::{Kind, LiveCall};
use e2e::fax::{End, LineFax, T38Fax, Udptl, write};
use e2e::party::Party;
use e2e::redis::RedisServer;
use e2e::{rtp, sdp, signal, wav};
use serde_json::{Value, json};

const DATABASE: u32 = 5;
const SOON: Duration = Duration::from_secs(15);
const PCMU: &str = "0 PCMU/8000";

fn relay(redis: &RedisServer, arguments: &[&str]) -> Relay {
    let option = format!("--redis={}", redis.endpoint(DATABASE));
    Relay::start(&[&[option.as_str()], arguments].concat())
}

/// Another one with the same media ports, and an address of its own if one is given.
fn sharing(relay: &Relay, interface: &str, arguments: &[&str]) -> Relay {
    let (low, high) = relay.ports.media();
    let ports = [format!("--port-min={low}"), format!("--port-max={high}")];
    let ports: Vec<&str> = ports.iter().map(String::as_str).collect();
    Relay::start_with_ports(&[interface], &[&ports[..], arguments].concat())
}

/// The relay is killed as soon as everything that is asked for is stored; another one goes on.
fn crash(relay: &Relay, redis: &RedisServer, ids: &[&str]) -> Relay {
    // What signalling has changed is written before what is changed later.
    let marker = sdp::audio("127.0.0.1:4000".parse().expect("literal"), &[PCMU], &[]);
    relay.ng.ok(json!({"command": "offer", "call-id": "marker", "from-tag": "m", "sdp": marker}));
    let mut client = redis.client(DATABASE);
    for id in ids.iter().chain(&["marker"]) {
        client.await_value(id, |_| true);
    }
    let is_stored = |id: &str| {
        let query = relay.ng.request(&json!({"command": "query", "call-id": id}));
        query["last redis update"].as_u64() >= query["last signal"].as_u64().map(|at| at * 1_000_000)
    };
    assert!(wait_for(SOON, || ids.iter().all(|id| is_stored(id)).then_some(())).is_some());
    std::thread::sleep(Duration::from_millis(300));
    relay.process.signal(libc::SIGKILL);
    let option = format!("--redis={}", redis.endpoint(DATABASE));
    sharing(relay, "127.0.0.1", &[&option])
}

/// The call's parties with the next relay.
fn moved<'r>(call: Call<'_>, relay: &'r Relay) -> Call<'r> {
    let Call { id, a, b, offered, answered, .. } = call;
    Call::between(relay, &id, [a, b], [offered, answered])
}

fn re_offer(call: &mut Call<'_>, ways: [&str; 2]) {
    let [a, b] = [(&call.a, ways[0]), (&call.b, ways[1])]
        .map(|(party, way)| sdp::audio(party.local(), &[PCMU], &["ptime:20", way]));
    call.re_offer(&a, &b, &json!({}));
}

/// Whether a party hears a tone now.
fn hears(party: &Party, frequency: f64) -> bool {
    let listener = party.listen();
    std::thread::sleep(Duration::from_millis(800));
    let heard = listener.stop();
    let (audio, rate) = rtp::decode(&heard, &sdp::format(PCMU));
    heard.len() > 20 && signal::typical_tone_share(&audio, rate, frequency) > 0.8
}

#[test]
fn music_on_hold_begins_again_and_ends_with_the_hold() {
    let redis = RedisServer::start();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("music.wav");
    std::fs::write(&file, wav::encode(&signal::tone(700.0, 8000, 500, 8000.0), 8000, 1)).expect("written");
    let first = relay(&redis, &[]);
    let offer = json!({"moh": {"file": file}});
    let mut call = Call::establish(&first, "music", Setup { offer, ..Setup::default() });
    call.learn();
    re_offer(&mut call, ["sendonly", "recvonly"]);
    assert!(hears(&call.b, 700.0), "before");
    let second = crash(&first, &redis, &["music"]);
    let mut call = moved(call, &second);
    assert!(hears(&call.b, 700.0), "after");
    re_offer(&mut call, ["sendrecv", "sendrecv"]);
    let quiet = wait_for(SOON, || call.b.receive(Duration::from_millis(200)).is_none().then_some(()));
    assert!(quiet.is_some(), "music goes on");
    call.learn();
}

#[test]
fn an_offer_that_waits_for_its_answer_changes_nothing_yet() {
    let redis = RedisServer::start();
    let first = relay(&redis, &[]);
    let offer = json!({"codec": {"transcode": ["PCMU"], "mask": ["PCMA"]}});
    let mut call = Call::establish(&first, "waits", Setup { a: &["8 PCMA/8000"], offer, ..Setup::default() });
    call.learn();
    // Hold, and nothing said of codecs.
    let hold = sdp::audio(call.b.local(), &[PCMU, "8 PCMA/8000"], &["ptime:20", "sendonly"]);
    call.command("offer", &json!({"from-tag": "b", "to-tag": "a", "sdp": hold}));
    let second = crash(&first, &redis, &["waits"]);
    let Call { mut a, mut b, .. } = moved(call, &second);
    for [sent, received] in [[8, 0], [0, 8]] {
        let packet = a.next_packet(sent, &[0xd5; 160], 160);
        a.send(&packet);
        let heard = b.receive(SOON).expect("packets go on");
        assert_eq!(heard.packet.payload_type, received);
        std::mem::swap(&mut a, &mut b);
    }
}

#[test]
fn digits_stay_blocked_and_replaced() {
    let redis = RedisServer::start();
    let first = relay(&redis, &[]);
    let formats = &[PCMU, "101 telephone-event/8000 0-15"];
    let modes = [
        ("zero", json!({"DTMF-security": "zero"}), Some(0)),
        ("digit", json!({"DTMF-security": "DTMF", "digit": "9"}), Some(9)),
        ("drop", json!({"DTMF-security": "drop"}), None),
    ];
    let calls: Vec<Call<'_>> = modes
        .iter()
        .map(|(id, mode, _)| {
            let mut call = Call::establish(&first, id, Setup { a: formats, b: formats, ..Setup::default() });
            call.learn();
            call.command("block DTMF", mode);
            call
        })
        .collect();
    let second = crash(&first, &redis, &["zero", "digit", "drop"]);
    for (call, (id, _, expected)) in calls.into_iter().zip(&modes) {
        let mut call = moved(call, &second);
        let listener = call.b.listen();
        let packet = call.a.next_packet(0, &[0xff; 160], 160);
        call.a.send(&packet);
        for packet in call.a.press(5) {
            drop(packet);
            std::thread::sleep(Duration::from_millis(20));
        }
        for _ in 0..10 {
            let packet = call.a.next_packet(0, &[0xff; 160], 160);
            call.a.send(&packet);
            std::thread::sleep(Duration::from_millis(20));
        }
        let heard = listener.stop_behind(Duration::from_millis(200));
        let events: Vec<u8> =
            heard.iter().filter(|r| r.packet.payload_type == 101).map(|r| r.packet.payload[0]).collect();
        assert!(heard.len() > 5, "{id}: {} packets", heard.len());
        assert!(events.iter().all(|event| Some(*event) == *expected), "{id}: {events:?}");
        assert_eq!(events.is_empty(), expected.is_none(), "{id}");
    }
}

fn section(reply: &Value) -> sdp::Media {
    sdp::media(reply["sdp"].as_str().expect("sdp"))
}

#[test]
fn merged_calls_stay_merged() {
    let redis = RedisServer::start();
    let first = relay(&redis, &[]);
    let mut one = Call::establish(&first, "one", Setup::default());
    one.learn();
    let two = Call::establish(
        &first,
        "two",
        Setup {
            offer: json!({"from-tag": "c"}),
            answer: json!({"from-tag": "c", "to-tag": "d"}),
            ..Setup::default()
        },
    );
    first.ng.ok(json!({
        "command": "connect", "call-id": "one", "from-tag": "a", "to-tag": "d", "to-call-id": "two",
    }));
    let second = crash(&first, &redis, &["one"]);
    let (mut one, mut two) = (moved(one, &second), moved(two, &second));
    for octet in 1..3 {
        let packet = one.a.next_packet(0, &[octet; 160], 160);
        one.a.send(&packet);
        assert_eq!(
            two.b.receive(SOON).expect("the other call's callee hears").packet.payload,
            packet.payload
        );
        let packet = two.b.next_packet(0, &[octet; 160], 160);
        two.b.send(&packet);
        assert_eq!(one.a.receive(SOON).expect("and is heard").packet.payload, packet.payload);
    }
    // The call has both names.
    let list = |relay: &Relay| relay.ng.ok(json!({"command": "list"}))["calls"].to_string();
    assert!(list(&second).contains("\"one\"") && list(&second).contains("\"two\""), "{}", list(&second));
    second.ng.ok(json!({"command": "delete", "call-id": "two", "delete-delay": 0}));
    assert_eq!(list(&second), r#"["marker"]"#);
}

#[test]
fn fax_goes_on_through_the_gateway() {
    let redis = RedisServer::start();
    let first = relay(&redis, &[]);
    let folder = tempfile::tempdir().expect("a folder");
    let (page, copy) = (folder.path().join("page.tif"), folder.path().join("copy.tif"));
    write(&page, 50).expect("written");
    let Some(mut line) = LineFax::new(End::Sends, &page) else { return };
    let Some(mut terminal) = T38Fax::new(End::Receives, &copy) else { return };
    let mut caller = Party::new("127.0.0.1");
    let callee = UdpSocket::bind("127.0.0.1:0").expect("a port");
    callee.set_nonblocking(true).expect("a socket");
    let offer = sdp::audio(caller.local(), &[PCMU], &["ptime:20"]);
    let reply = first
        .ng
        .ok(json!({"command": "offer", "call-id": "fax", "from-tag": "a", "sdp": offer, "T.38": ["force"]}));
    let port = |text: &str| {
        let line = text.lines().find(|line| line.starts_with("m=image ")).expect("the medium");
        line.split(' ').nth(1).and_then(|port| port.parse::<u16>().ok()).expect("a port")
    };
    callee.connect(("127.0.0.1", port(reply["sdp"].as_str().expect("sdp")))).expect("a socket");
    let own = callee.local_addr().expect("bound").port();
    let answer = format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=image {own} udptl t38\r\n\
         a=T38FaxVersion:0\r\na=T38MaxBitRate:14400\r\na=T38FaxRateManagement:transferredTCF\r\n\
         a=T38FaxMaxDatagram:400\r\na=T38FaxUdpEC:t38UDPRedundancy\r\n"
    );
    let reply = first
        .ng
        .ok(json!({"command": "answer", "call-id": "fax", "from-tag": "a", "to-tag": "b", "sdp": answer}));
    caller.remote = Some(section(&reply).rtp);
    caller.rtp.set_nonblocking(true).expect("a socket");
    let _second = crash(&first, &redis, &["fax"]);

    let (mut udptl, mut ways) = (Udptl::default(), [0; 2]);
    let (mut samples, mut buffer, mut queue) = ([0i16; 160], [0; 2048], Vec::new());
    let begin = Instant::now();
    for turn in 1u32.. {
        if line.result().is_some() && terminal.result().is_some() {
            break;
        }
        assert!(begin.elapsed() < Duration::from_secs(100), "{:?} {:?}", line.result(), terminal.result());
        std::thread::sleep(
            (begin + Duration::from_millis(20) * turn).saturating_duration_since(Instant::now()),
        );
        line.speak(&mut samples);
        let payload: Vec<u8> = samples.iter().map(|sample| Law::Mu.compress(*sample)).collect();
        let packet = caller.next_packet(0, &payload, 160);
        caller.send(&packet);
        while let Ok(length) = caller.rtp.recv(&mut buffer) {
            let packet = rtp::Packet::parse(&buffer[..length]).expect("RTP");
            queue.extend(packet.payload.iter().map(|octet| Law::Mu.expand(*octet)));
            ways[0] += 1;
        }
        line.hear(&mut queue);
        queue.clear();
        terminal.pass(160);
        while let Some((ifp, copies)) = terminal.next_packet() {
            let datagram = udptl.send(&ifp);
            (0..copies).for_each(|_| drop(callee.send(&datagram)));
        }
        while let Ok(length) = callee.recv(&mut buffer) {
            ways[1] += 1;
            for (number, ifp) in udptl.receive(&buffer[..length]) {
                terminal.receive(&ifp, number);
            }
        }
    }
    assert_eq!((line.result(), terminal.result()), (Some(0), Some(0)), "{ways:?}");
}

fn sessions(relay: &Relay, kind: &str) -> String {
    let reply = relay.ng.ok(json!({"command": "cli", "body": "list numsessions"}));
    let text = reply["response"].as_str().expect("a text").to_owned();
    let line = text.lines().find(|line| line.contains(kind)).expect("a line");
    line.rsplit(' ').next().expect("a number").to_owned()
}

#[test]
fn calls_whose_notification_is_on_its_way_are_taken_over_too() {
    let redis = RedisServer::start();
    let own = |database: u32, other: u32| {
        [format!("--redis={}", redis.endpoint(database)), format!("--subscribe-keyspace={other}")]
    };
    let first = Relay::start(&own(5, 6).each_ref().map(String::as_str));
    let second = sharing(&first, "127.0.0.2", &own(6, 5).each_ref().map(String::as_str));
    // It does not see what is told from here on.
    second.process.signal(libc::SIGSTOP);
    let text = sdp::audio("127.0.0.1:4000".parse().expect("literal"), &[PCMU], &[]);
    for number in 0..20 {
        let id = format!("call-{number}");
        first.ng.ok(json!({"command": "offer", "call-id": id, "from-tag": "a", "sdp": text}));
    }
    let mut client = redis.client(5);
    (0..20).for_each(|number| drop(client.await_value(&format!("call-{number}"), |_| true)));
    first.process.signal(libc::SIGKILL);
    second.process.signal(libc::SIGCONT);
    second.ng.ok(json!({"command": "cli", "body": "active"}));
    assert_eq!((sessions(&second, "own"), sessions(&second, "foreign")), ("20".into(), "0".into()));
}

#[test]
fn a_sequence_that_wraps_in_the_last_moment_is_decrypted() {
    let mut redis = RedisServer::start();
    let first = relay(&redis, &[]);
    let mut call = LiveCall::establish(&first, "wrap", Kind::Sdes);
    // It begins at 65530: this is before the wrap, and stored.
    call.talk_for(1);
    redis
        .client(DATABASE)
        .await_value("wrap", |value| value.windows(13).any(|window| window == b"srtp_received"));
    std::thread::sleep(Duration::from_millis(1500));
    // Nothing is written any more.
    redis.freeze(true);
    call.talk_for(12);
    first.process.signal(libc::SIGKILL);
    std::thread::sleep(Duration::from_millis(100));
    redis.freeze(false);
    let option = format!("--redis={}", redis.endpoint(DATABASE));
    let _second = sharing(&first, "127.0.0.1", &[&option]);
    call.talk_for(5);
    redis.kill();
}
