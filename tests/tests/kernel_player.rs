//! Announcements that the kernel module sends. Where the module is not loaded these tests say so and do nothing, see `kernel_module.rs`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use e2e::call::{Call, Setup};
use e2e::daemon::{Relay, wait_for};
use e2e::ng::TcpEvents;
use e2e::offload::{module_is_there, stream_of};
use e2e::party::Party;
use e2e::ports::PortBlock;
use e2e::rtp::Packet;
use e2e::srtp::{Endpoint, Key};
use e2e::{numbered, sdp, signal, wav};
use serde_json::{Value, json};

const PLAYERS: &[&str] =
    &["--offload=module", "--offload-delay=0", "--no-fallback", "--player-cache", "--kernel-player=2"];
const SOON: Duration = Duration::from_secs(20);

/// A number in the table's status.
fn status(name: &str) -> u32 {
    let text = std::fs::read_to_string("/proc/rtpengine/0/status").unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    value.unwrap_or_else(|| panic!("{name} in {text}"))
}

fn await_players(count: u32) {
    let reached = wait_for(SOON, || (status("Players:") == count).then_some(()));
    assert!(reached.is_some(), "{} players instead of {count}", status("Players:"));
}

/// A sweep, so that each of its packets is another one.
fn file(relay: &Relay, ms: u32) -> PathBuf {
    let path = relay.path("sweep.wav");
    let samples: Vec<i16> = (0..ms * 8)
        .map(|n| {
            let t = f64::from(n) / 8000.0;
            (8000.0 * (std::f64::consts::TAU * (300.0 + 100.0 * t) * t).sin()) as i16
        })
        .collect();
    std::fs::write(&path, wav::encode(&samples, 8000, 1)).expect("written");
    path
}

/// Packets follow each other without a gap in their numbers. Time stamps go on by a packet's time, or further with the marker: in an
/// emulator somebody may have been late by more than 60 ms.
fn follow(packets: &[Packet]) {
    for (number, pair) in packets.windows(2).enumerate() {
        let [before, after] = pair else { continue };
        assert_eq!(after.sequence, before.sequence.wrapping_add(1), "behind packet {number}");
        assert_eq!(after.ssrc, before.ssrc, "behind packet {number}");
        let step = after.timestamp.wrapping_sub(before.timestamp);
        let is_gap = after.marker && (160 + 60 * 8..160 + 20_000 * 8).contains(&step);
        assert!(is_gap || (step == 160 && !after.marker), "{step} behind packet {number}, {}", after.marker);
    }
}

/// The same octets every `period` packets.
fn repeats(packets: &[Packet], period: usize) {
    for (number, packet) in packets.iter().enumerate().skip(period) {
        assert_eq!(packet.payload, packets[number - period].payload, "packet {number}");
    }
    assert_ne!(packets[0].payload, packets[1].payload);
}

fn sent_to_a(query: &Value) -> (u64, u64, u64) {
    let out = &stream_of(query, "a")["stats_out"];
    let of = |key: &str| out[key].as_u64().unwrap_or(u64::MAX);
    (of("packets"), of("bytes"), of("errors"))
}

#[test]
fn an_announcement_is_sent_by_the_kernel_to_its_end() {
    if !module_is_there() {
        return;
    }
    let ports = PortBlock::take();
    let port = SocketAddr::from((Ipv4Addr::LOCALHOST, ports.control()));
    let door = format!("--listen-tcp-ng={port}");
    let relay = Relay::start(&[PLAYERS, &[&door, "--playback-events-ng-tcp"]].concat());
    let file = file(&relay, 1500);
    let mut events = TcpEvents::connect(port, SOON);
    let mut call = Call::establish(&relay, "kernel", Setup::default());
    call.learn();
    let before = 1;
    let is_counted = || (sent_to_a(&call.query()).0 == before).then_some(());
    assert!(wait_for(SOON, is_counted).is_some(), "{}", call.query());
    let at_a = call.a.listen();
    call.command("play media", &json!({"from-tag": "a", "file": file, "repeat-times": 2}));
    await_players(1);
    assert_eq!(status("PStreams:"), 1);
    let somewhere = sent_to_a(&call.query()).0;
    assert!((before + 1..before + 150).contains(&somewhere), "{somewhere} packets");
    events.await_text("5:cause3:end14:last-frame-posi1480e");
    assert_eq!((status("Players:"), status("PStreams:")), (0, 1));
    let heard = at_a.stop();
    let first = heard.first().expect("packets");
    let span = heard.last().expect("packets").at - first.at;
    // A packet may be late by up to 60 ms before those behind it are, too; so may the first one, in a guest that stalls.
    assert!(span >= Duration::from_millis(149 * 20 - 60), "too fast: {span:?}");
    let packets: Vec<Packet> = heard.into_iter().map(|received| received.packet).collect();
    assert_eq!(packets.len(), 150);
    assert!(packets[0].marker);
    follow(&packets);
    repeats(&packets, 75);
    let query = call.query();
    assert_eq!(sent_to_a(&query), (before + 150, (before + 150) * 172, 0), "{query}");
    let ssrc = &query["tags"]["a"]["medias"][0]["egress SSRCs"];
    let own = ssrc.as_array().and_then(|list| list.iter().find(|one| one["SSRC"] == packets[0].ssrc));
    assert_eq!(own.map(|own| &own["packets"]), Some(&json!(150)), "{ssrc}");

    // The next one goes on where this one ended.
    let at_a = call.a.listen();
    call.command("play media", &json!({"from-tag": "a", "file": file, "repeat-times": 100}));
    await_players(1);
    std::thread::sleep(Duration::from_millis(300));
    let position = call.command("stop media", &json!({"from-tag": "a"}))["last-frame-pos"].as_u64();
    events.await_text("5:cause7:stopped14:last-frame-posi");
    await_players(0);
    std::thread::sleep(Duration::from_millis(200));
    let again: Vec<Packet> = at_a.stop().into_iter().map(|received| received.packet).collect();
    follow(&again);
    assert_eq!(again[0].sequence, packets[149].sequence.wrapping_add(1));
    assert_eq!((again[0].ssrc, again[0].marker), (packets[0].ssrc, true));
    let last = (again.len() as u64 - 1) * 20 % 1500;
    let position = position.expect("a position");
    // One packet may leave between the answer and the worker that hears of it.
    assert!(last == position || last == (position + 20) % 1500, "{position} ms, {last} ms were heard");
    relay.ng.ok(json!({"command": "delete", "call-id": "kernel", "delete-delay": 0}));
}

#[test]
fn a_party_that_moves_hears_all_of_it() {
    if !module_is_there() {
        return;
    }
    let relay = Relay::start(PLAYERS);
    let file = file(&relay, 400);
    let mut call = Call::establish(&relay, "moves", Setup::default());
    call.learn();
    let here = call.a.listen();
    call.command("play media", &json!({"from-tag": "a", "file": file, "repeat-times": 1000}));
    await_players(1);
    std::thread::sleep(Duration::from_millis(200));
    let mut elsewhere = Party::new("127.0.0.1");
    let there = elsewhere.listen();
    let describe = |party: &Party| sdp::audio(party.local(), &["0 PCMU/8000"], &[]);
    let (offer, answer) = (describe(&elsewhere), describe(&call.b));
    call.re_offer(&offer, &answer, &json!({}));
    elsewhere.remote = Some(call.answered.rtp);
    // Nobody is known there yet.
    await_players(0);
    for _ in 0..5 {
        let packet = elsewhere.next_packet(0, &[0xff; 160], 160);
        elsewhere.send(&packet);
        std::thread::sleep(Duration::from_millis(20));
    }
    await_players(1);
    std::thread::sleep(Duration::from_millis(200));
    call.command("stop media", &json!({"from-tag": "a"}));
    await_players(0);
    let (here, there) = (here.stop(), there.stop());
    assert!(here.len() > 10 && there.len() > 10, "{} and {} packets", here.len(), there.len());
    let packets: Vec<Packet> = here.into_iter().chain(there).map(|received| received.packet).collect();
    follow(&packets);
    repeats(&packets, 20);
    call.delete();
}

#[test]
fn a_listener_that_changes_its_codec_hears_all_of_it_once() {
    const FRAMES: usize = 70;
    if !module_is_there() {
        return;
    }
    let relay = Relay::start(PLAYERS);
    let file = relay.path("numbers.wav");
    numbered::write(&file, FRAMES);
    let mut call = Call::establish(&relay, "codec", Setup::default());
    call.learn();
    call.command("play media", &json!({"from-tag": "a", "file": file, "repeat-times": 2}));
    await_players(1);
    let mut heard = call.a.receive_many(FRAMES + 10);
    let describe = |party: &Party| sdp::audio(party.local(), &["8 PCMA/8000"], &[]);
    let (offer, answer) = (describe(&call.a), describe(&call.b));
    call.re_offer(&offer, &answer, &json!({}));
    await_players(0);
    heard.extend(call.a.receive_many(FRAMES - 10));
    assert_eq!(numbered::read(&heard), (0..FRAMES).chain(0..FRAMES).collect::<Vec<_>>());
    let types = [heard[0].packet.payload_type, heard[2 * FRAMES - 1].packet.payload_type];
    assert_eq!(types, [0, 8]);
    call.delete();
}

#[test]
fn there_are_no_more_players_than_are_allowed_and_all_hear_it() {
    if !module_is_there() {
        return;
    }
    let relay = Relay::start(&[PLAYERS, &["--kernel-player=1", "--kernel-player-media=1"]].concat());
    let file = file(&relay, 2000);
    let mut call = Call::establish(&relay, "two", Setup::default());
    call.learn();
    let (at_a, at_b) = (call.a.listen(), call.b.listen());
    call.command("play media", &json!({"all": "all", "file": file}));
    await_players(1);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!((status("Players:"), status("PStreams:")), (1, 1));
    await_players(0);
    std::thread::sleep(Duration::from_millis(300));
    for heard in [at_a.stop(), at_b.stop()] {
        let packets: Vec<Packet> = heard.into_iter().map(|received| received.packet).collect();
        assert_eq!(packets.len(), 100);
        follow(&packets);
    }
    // Another file takes the place of the one that nobody hears.
    let other = relay.path("other.wav");
    std::fs::write(&other, wav::encode(&signal::tone(500.0, 8000, 3000, 4000.0), 8000, 1)).expect("written");
    call.command("play media", &json!({"from-tag": "a", "file": other}));
    await_players(1);
    assert_eq!(status("PStreams:"), 1);
    call.delete();
    await_players(0);
}

#[test]
fn a_killed_daemon_leaves_nothing_playing() {
    if !module_is_there() {
        return;
    }
    let mut relay = Relay::start(PLAYERS);
    let file = file(&relay, 400);
    let mut call = Call::establish(&relay, "killed", Setup::default());
    call.learn();
    call.command("play media", &json!({"from-tag": "a", "file": file, "repeat-times": 1000}));
    await_players(1);
    assert!(call.a.receive(SOON).is_some());
    let a = call.a;
    relay.process.kill();
    assert_eq!((status("Players:"), status("PStreams:")), (0, 0));
    while a.receive(Duration::from_millis(1)).is_some() {}
    assert!(a.receive(Duration::from_millis(200)).is_none(), "it plays on");
}

#[test]
fn who_hears_srtp_hears_all_of_it_under_one_key() {
    if !module_is_there() {
        return;
    }
    for suite in ["AES_CM_128_HMAC_SHA1_80", "AEAD_AES_256_GCM"] {
        let relay = Relay::start(PLAYERS);
        let file = file(&relay, 400);
        let (mut a, b) = (Party::new("127.0.0.1"), Party::new("127.0.0.1"));
        let key = Key::random(suite);
        let line = format!("crypto:{}", key.to_line(1));
        let offer = sdp::audio(a.local(), &["0 PCMU/8000"], &[&line]).replace("RTP/AVP", "RTP/SAVP");
        relay.ng.ok(json!({"command": "offer", "call-id": suite, "from-tag": "a", "sdp": offer,
            "transport-protocol": "RTP/AVP"}));
        let answer = sdp::audio(b.local(), &["0 PCMU/8000"], &[]);
        let answered = relay.ng.ok(
            json!({"command": "answer", "call-id": suite, "from-tag": "a", "to-tag": "b", "sdp": answer}),
        );
        let answered = sdp::media(answered["sdp"].as_str().expect("SDP"));
        let ours = answered.attributes.iter().find_map(|line| line.strip_prefix("crypto:")).expect("a key");
        let mut security = Endpoint::new(key, Key::parse(ours));
        a.remote = Some(answered.rtp);
        let sealed = security.protect(&a.next_packet(0, &[0xff; 160], 160).to_octets());
        a.rtp.send_to(&sealed, answered.rtp).expect("sent");
        b.receive(SOON).expect("it is forwarded");
        let play = || {
            relay.ng.ok(json!({"command": "play media", "call-id": suite, "from-tag": "a", "file": file,
                "repeat-times": 1000}));
        };
        let mut hear = |until: &mut dyn FnMut(usize) -> bool| {
            let (mut packets, mut buffer) = (Vec::new(), [0; 2048]);
            a.rtp.set_read_timeout(Some(Duration::from_millis(300))).expect("not zero");
            while !until(packets.len()) {
                let Ok(length) = a.rtp.recv(&mut buffer) else { break };
                let clear = security.unprotect(&buffer[..length]).expect("an authentic packet");
                packets.push(Packet::parse(&clear).expect("RTP"));
            }
            packets
        };
        let mut all = Vec::new();
        for _ in 0..2 {
            play();
            let mut down = None;
            all.extend(hear(&mut |count| {
                down = down.or((status("Players:") == 1).then_some(count));
                down.is_some_and(|down| count >= down + 20) || count > 500
            }));
            assert!(down.is_some(), "{suite}: not in the kernel");
            relay.ng.ok(json!({"command": "stop media", "call-id": suite, "from-tag": "a"}));
            all.extend(hear(&mut |_| false));
        }
        // Every number once, through both announcements, the second of which begins with a gap.
        follow(&all);
        relay.ng.ok(json!({"command": "delete", "call-id": suite, "delete-delay": 0}));
    }
}
