//! The daemon is replaced while calls go on: sockets and state go from the old process to the new one.

use std::fs;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use e2e::call::{Call, Setup};
use e2e::daemon::{Relay, may_load_ebpf, wait_for};
use e2e::failover::{Kind, LiveCall};
use e2e::ng::NgClient;
use e2e::offload::move_down;
use e2e::party::Party;
use e2e::replacement::{hear, replace, stream};
use e2e::sdp;
use e2e::threads::{thread_named, with_hanging_thread};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(20);
const INTERVAL: Duration = Duration::from_millis(20);

#[test]
fn no_packet_is_lost_while_the_daemon_is_replaced() {
    let mut old = Relay::start(&["--handover-socket={DIR}/next"]);
    let call = Call::establish(&old, "replaced", Setup::default());
    let (a, b) = (&call.a, &call.b);
    let stop = Arc::new(AtomicBool::new(false));
    let sender = stream(a, call.answered.rtp, INTERVAL, &stop);
    let receiver = hear(b, &stop);
    // Some packets with the old process, some with the new one.
    thread::sleep(Duration::from_millis(500));
    drop(call);
    let new = replace(&mut old, &[]);
    thread::sleep(Duration::from_millis(500));
    stop.store(true, Ordering::Relaxed);
    let (sent, heard) = (sender.join().expect("sender"), receiver.join().expect("receiver"));
    let lost: Vec<usize> = (0..sent.len()).filter(|number| !heard.contains_key(&(*number as u16))).collect();
    assert!(lost.is_empty(), "{lost:?} of {} are lost", sent.len());
    let late = |number: usize| heard[&(number as u16)].saturating_duration_since(sent[number]);
    let latest = (0..sent.len()).map(late).max().unwrap_or_default();
    eprintln!("{} packets, none lost, the latest after {latest:?}", sent.len());
    // How long it takes on a quiet machine is in docs/failover.md; this one may be busy.
    assert!(latest < Duration::from_secs(1), "the gap was {latest:?}");

    // Whoever asks at the old address is answered by the new process, which knows the call.
    let ng = NgClient::connect(old.control);
    assert_eq!(ng.ok(json!({"command": "list"}))["calls"], json!(["replaced"]));
    assert_eq!(
        new.ng.ok(json!({"command": "delete", "call-id": "replaced", "delete-delay": 0}))["result"],
        "ok"
    );
    assert!(!old.process.log().contains("call ended"), "the old process ends no call");
}

/// What a query tells about packets: streams with what they refused, and SSRCs.
fn counted(query: &Value, tag: &str) -> Value {
    let media = &query["tags"][tag]["medias"][0];
    let stream = &media["streams"][0];
    json!({
        "in": stream["stats"], "out": stream["stats_out"], "drops": stream["drops"],
        "SSRCs in": media["ingress SSRCs"], "SSRCs out": media["egress SSRCs"], "totals": query["totals"],
    })
}

/// The query when so many packets of each party have come and gone; a packet arrives before it is counted.
fn await_counted(call: &Call<'_>, of_a: u64, of_b: u64) -> Value {
    let is_there = || {
        let query = call.query();
        let [a, b] = ["a", "b"].map(|tag| counted(&query, tag));
        let packets = [&a["in"], &b["out"], &b["in"], &a["out"]].map(|stats| stats["packets"].as_u64());
        (packets == [of_a, of_a, of_b, of_b].map(Some)).then_some(query)
    };
    wait_for(LIMIT, is_there).unwrap_or_else(|| panic!("{of_a}, {of_b}: {}", call.query()))
}

#[test]
fn all_numbers_of_a_query_go_on() {
    let mut relay = Relay::start(&["--handover-socket={DIR}/next"]);
    let mut call = Call::establish(&relay, "counted", Setup::default());
    // One is lost in each of three rounds, and a stranger is not heard.
    let talk = |call: &mut Call<'_>| {
        call.learn();
        for number in 0..10 {
            let packets = [&mut call.a, &mut call.b].map(|party| party.next_packet(0, &[0x55; 160], 160));
            if number != 5 {
                call.a.send(&packets[0]);
                assert!(call.b.receive(LIMIT).is_some());
            }
            call.b.send(&packets[1]);
            assert!(call.a.receive(LIMIT).is_some());
        }
    };
    talk(&mut call);
    let mut stranger = Party::new("127.0.0.1");
    let packet = stranger.next_packet(0, &[0x55; 160], 160);
    stranger.remote = call.a.remote;
    stranger.send(&packet);
    let is_refused = || (!counted(&call.query(), "a")["drops"].is_null()).then_some(());
    assert!(wait_for(LIMIT, is_refused).is_some(), "{}", call.query());
    let mut before = await_counted(&call, 10, 11);
    let Call { mut a, mut b, offered, answered, .. } = call;
    for round in 1..3u64 {
        let mut former = relay;
        relay = replace(&mut former, &[]);
        let mut call = Call::between(&relay, "counted", [a, b], [offered.clone(), answered.clone()]);
        let after = call.query();
        for tag in ["a", "b"] {
            assert_eq!(counted(&before, tag), counted(&after, tag), "round {round}");
        }
        talk(&mut call);
        let (of_a, of_b) = (10 * (round + 1), 11 * (round + 1));
        before = await_counted(&call, of_a, of_b);
        let [in_a, in_b] = ["a", "b"].map(|tag| counted(&before, tag));
        for (ssrc, packets, lost) in [
            (&in_a["SSRCs in"][0], of_a, round + 1),
            (&in_b["SSRCs in"][0], of_b, 0),
            (&in_a["SSRCs out"][0], of_b, 0),
            (&in_b["SSRCs out"][0], of_a, 0),
        ] {
            assert_eq!(ssrc["packets"], packets, "{ssrc}");
            assert_eq!(ssrc["cumulative loss"], lost, "{ssrc}");
        }
        (a, b) = (call.a, call.b);
        relay.replaces(former);
    }
}

#[test]
fn calls_of_all_kinds_go_on_and_once_more() {
    let spool = tempfile::tempdir().expect("a folder");
    let recording =
        [format!("--recording-dir={}", spool.path().display()), "--recording-format=raw".to_owned()];
    let recording: Vec<&str> = recording.iter().map(String::as_str).collect();
    let mut relay = Relay::start(&[&["--handover-socket={DIR}/next"][..], &recording].concat());
    let mut calls: Vec<LiveCall> =
        Kind::ALL.iter().map(|kind| LiveCall::establish(&relay, &format!("{kind:?}"), *kind)).collect();
    calls.iter_mut().for_each(|call| call.talk_for(3));
    for _ in 0..2 {
        let mut former = relay;
        relay = replace(&mut former, &recording);
        // The path stays the same; the folder is the first one's.
        let listed = relay.ng.ok(json!({"command": "list"}))["calls"].as_array().map(Vec::len);
        assert_eq!(listed, Some(calls.len()));
        for call in &mut calls {
            assert!(call.talk(LIMIT).is_some(), "{:?} is silent", call.kind);
        }
        relay.replaces(former);
    }
    let pcaps = e2e::daemon::files_below(spool.path(), ".pcap");
    assert_eq!(pcaps.len(), 1, "one recording, gone on with: {pcaps:?}");
}

#[test]
fn audio_goes_on_when_the_daemon_is_replaced_between_the_offer_of_fax_and_its_answer() {
    let mut relay = Relay::start(&["--handover-socket={DIR}/next"]);
    let setup = Setup {
        b: &["8 PCMA/8000"],
        offer: json!({"codec": {"mask": ["PCMU"], "transcode": ["PCMA"]}}),
        ..Setup::default()
    };
    let call = Call::establish(&relay, "fax", setup);
    let Call { mut a, mut b, offered, answered, .. } = call;
    // Fax machines of their own: other ports than those of audio.
    let machines = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").expect("a port"));
    let [fax_of_a, fax_of_b] = machines.each_ref().map(|machine| {
        let machine = machine.local_addr().expect("bound");
        sdp::audio(machine, &["0 PCMU/8000"], &[])
            .replace("m=audio", "m=image")
            .replace("RTP/AVP 0", "udptl t38")
    });
    let port = |reply: &Value| {
        let sdp = reply["sdp"].as_str().expect("an SDP");
        let line = sdp.lines().find_map(|line| line.strip_prefix("m=image ")).expect("fax");
        line.split(' ').next().and_then(|port| port.parse::<u16>().ok()).expect("a port")
    };
    let mut to_callee = 0;
    // The first one is refused (nobody tells the relay), the second one accepted.
    for _ in 0..2 {
        let call = Call::between(&relay, "fax", [a, b], [offered.clone(), answered.clone()]);
        let offer = json!({"from-tag": "a", "to-tag": "b", "sdp": fax_of_a});
        to_callee = port(&call.command("offer", &offer));
        Call { a, b, .. } = call;
        let mut former = relay;
        relay = replace(&mut former, &[]);
        for payload_type in [0, 8] {
            let (from, to) = if payload_type == 0 { (&mut a, &b) } else { (&mut b, &a) };
            let heard = wait_for(LIMIT, || {
                let packet = from.next_packet(payload_type, &[0xd5; 160], 160);
                from.send(&packet);
                to.receive(INTERVAL)
            });
            assert_eq!(heard.map(|heard| heard.packet.payload_type), Some(8 - payload_type));
        }
        relay.replaces(former);
    }
    let answer =
        json!({"command": "answer", "call-id": "fax", "from-tag": "a", "to-tag": "b", "sdp": fax_of_b});
    let to_caller = port(&relay.ng.ok(answer));
    for (from, to, way) in [(0, 1, to_caller), (1, 0, to_callee)] {
        machines[from].send_to(b"\0\0\x01\x02\0\0", ("127.0.0.1", way)).expect("sent");
        machines[to].set_read_timeout(Some(LIMIT)).expect("not zero");
        let mut buffer = [0; 100];
        let length = machines[to].recv(&mut buffer).expect("it arrives");
        assert_eq!(&buffer[..length], b"\0\0\x01\x02\0\0");
    }
}

#[test]
fn a_worker_that_is_slow_to_let_go_loses_no_call() {
    let mut old = Relay::start(&["--handover-socket={DIR}/next", "--num-threads=1"]);
    let mut call = Call::establish(&old, "slow", Setup::default());
    call.learn();
    let Call { mut a, b, .. } = call;
    let worker = thread_named(old.process.id(), "media-0");
    let log = old.path("relay.log");
    let next = thread::scope(|scope| {
        let (hang, hangs) = std::sync::mpsc::channel();
        scope.spawn(move || {
            with_hanging_thread(worker, || {
                hang.send(()).expect("somebody waits for this");
                let is_asked = || fs::read_to_string(&log).ok()?.contains("takes over").then_some(());
                assert!(wait_for(LIMIT, is_asked).is_some());
                // Longer than a worker that is merely busy.
                thread::sleep(Duration::from_secs(1));
            });
        });
        hangs.recv().expect("the worker hangs");
        replace(&mut old, &[])
    });
    assert_eq!(next.ng.ok(json!({"command": "list"}))["calls"], json!(["slow"]), "{}", old.process.log());
    let packet = a.next_packet(0, &[0xd5; 160], 160);
    a.send(&packet);
    assert!(b.receive(LIMIT).is_some());
}

#[test]
fn what_is_sent_to_the_port_before_arrives_in_the_next_daemon_too() {
    let mut old = Relay::start(&["--handover-socket={DIR}/next"]);
    let mut call = Call::establish(&old, "moved", Setup::default());
    call.learn();
    // The caller goes elsewhere, so that the callee is told another port, which it has not read of yet, or refuses.
    let elsewhere = Party::new("127.0.0.1");
    let offer = sdp::audio(elsewhere.local(), &["0 PCMU/8000"], &["ptime:20"]);
    let reply = call.command("offer", &json!({"from-tag": "a", "to-tag": "b", "sdp": offer}));
    assert_ne!(e2e::call::media_of(&reply).rtp, call.offered.rtp);
    let Call { mut b, .. } = call;
    let mut relay = None;
    for is_next in [false, true] {
        if is_next {
            relay = Some(replace(&mut old, &[]));
        }
        let heard = wait_for(LIMIT, || {
            let packet = b.next_packet(0, &[0xd5; 160], 160);
            b.send(&packet);
            elsewhere.receive(INTERVAL)
        });
        assert!(heard.is_some(), "{is_next}");
    }
    drop(relay);
}

#[test]
fn off_loaded_calls_go_on_and_their_packets_are_counted_on() {
    if !may_load_ebpf() {
        return;
    }
    let ebpf = ["--offload=ebpf", "--offload-delay=0", "--no-fallback"];
    let mut relay = Relay::start(&[&["--handover-socket={DIR}/next"][..], &ebpf].concat());
    let mut call = Call::establish(&relay, "below", Setup::default());
    let mut sent = move_down(&mut call);
    let Call { mut a, mut b, offered, answered, .. } = call;
    for _ in 0..3 {
        // These are forwarded and counted below.
        for _ in 0..20 {
            let packets = [a.next_packet(0, &[0x55; 160], 160), b.next_packet(0, &[0x55; 160], 160)];
            a.send(&packets[0]);
            b.send(&packets[1]);
            assert!(a.receive(LIMIT).is_some() && b.receive(LIMIT).is_some());
        }
        sent += 20;
        let mut former = relay;
        relay = replace(&mut former, &ebpf);
        let mut call = Call::between(&relay, "below", [a, b], [offered.clone(), answered.clone()]);
        call.learn();
        sent += 1 + move_down(&mut call);
        let streams = call.query()["tags"].clone();
        for tag in ["a", "b"] {
            for side in ["stats", "stats_out"] {
                let stats = &streams[tag]["medias"][0]["streams"][0][side];
                assert_eq!((&stats["packets"], &stats["errors"]), (&json!(sent), &json!(0)), "{tag}, {side}");
            }
        }
        (a, b) = (call.a, call.b);
        relay.replaces(former);
    }
}

#[test]
fn a_next_instance_that_dies_takes_no_call_with_it() {
    let mut relay = Relay::start(&["--handover-socket={DIR}/next"]);
    let mut calls =
        [Kind::Plain, Kind::Sdes].map(|kind| LiveCall::establish(&relay, &format!("{kind:?}"), kind));
    calls.iter_mut().for_each(|call| call.talk_for(3));
    // It asks for the calls, and is gone before it has said that it has them; how far it comes differs.
    for octets in [0, 8, 100_000] {
        let mut dying = std::os::unix::net::UnixStream::connect(relay.path("next")).expect("the socket");
        dying.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
        let mut version = *b"rtpengine hand-over 1\n\n\n";
        std::io::Write::write_all(&mut dying, &version).expect("write");
        std::io::Read::read_exact(&mut dying, &mut version).expect("its version");
        let _ = std::io::Read::read(&mut dying, &mut vec![0; octets]);
        let failures = |relay: &Relay| relay.process.log().matches("the next instance has failed").count();
        let before = failures(&relay);
        drop(dying);
        assert!(wait_for(LIMIT, || (failures(&relay) > before).then_some(())).is_some());
    }
    let new = replace(&mut relay, &[]);
    assert_eq!(new.ng.ok(json!({"command": "list"}))["calls"].as_array().map(Vec::len), Some(calls.len()));
    for call in &mut calls {
        assert!(call.talk(LIMIT).is_some(), "{:?} is silent", call.kind);
    }
}

#[test]
fn a_daemon_without_a_former_instance_starts_and_one_that_hangs_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("next");
    // Left behind by a daemon that was killed.
    drop(std::os::unix::net::UnixListener::bind(&path).expect("a socket"));
    let relay = Relay::start(&[&format!("--handover-socket={}", path.display())]);
    assert!(!relay.process.log().contains("ERR"), "{}", relay.process.log());

    // Somebody who is no daemon.
    let mut stranger = std::os::unix::net::UnixStream::connect(&path).expect("the socket");
    std::io::Write::write_all(&mut stranger, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").expect("write");
    drop(stranger);
    assert_eq!(relay.ng.request(&json!({"command": "ping"}))["result"], "pong");
}
