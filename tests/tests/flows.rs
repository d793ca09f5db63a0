//! Commands on running media: blocked, silenced, digits held back, replaced, told about, and played.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::thread::JoinHandle;
use std::time::Duration;

use codec::PayloadFormat;
use e2e::call::{Call, Setup};
use e2e::daemon::Relay;
use e2e::ng::TcpEvents;
use e2e::ports::PortBlock;
use e2e::rtp::Packet;
use serde_json::{Value, json};

const WAIT: Duration = Duration::from_secs(2);
const BOTH: &[&str] = &["0 PCMU/8000", "101 telephone-event/8000 0-15"];

fn setup<'s>() -> Setup<'s> {
    Setup { a: BOTH, b: BOTH, ..Setup::default() }
}

fn of_caller(extra: Value) -> Value {
    let mut keys = json!({"from-tag": "a", "flags": ["directional"]});
    e2e::call::extend(&mut keys, &extra);
    keys
}

/// Sends a packet of audio from the caller.
fn speak(call: &mut Call<'_>, octet: u8) -> Packet {
    let packet = call.a.next_packet(0, &[octet; 160], 160);
    call.a.send(&packet);
    packet
}

/// Sends a packet of audio from the caller that nobody is to hear, and waits until it has arrived: commands overtake packets.
fn speak_unheard(call: &mut Call<'_>, octet: u8) {
    until_arrived(call, |call| drop(speak(call, octet)));
}

fn until_arrived(call: &mut Call<'_>, speak: impl FnOnce(&mut Call<'_>)) {
    let arrived = |call: &Call<'_>| call.query()["totals"]["RTP"]["packets"].as_u64().expect("a count");
    let before = arrived(call);
    speak(call);
    assert!(e2e::daemon::wait_for(WAIT, || (arrived(call) > before).then_some(())).is_some());
}

/// A call whose caller is transcoded.
fn transcoded() -> Setup<'static> {
    Setup {
        a: &["0 PCMU/8000"],
        b: &["8 PCMA/8000"],
        offer: json!({"codec": {"mask": ["PCMU"], "transcode": ["PCMA"]}}),
        ..Setup::default()
    }
}

/// Two packets of the caller are blocked; the next one is heard as what follows `before`.
fn goes_on_behind_a_block(call: &mut Call<'_>, before: &Packet, unblock: Value) {
    call.command("block media", &of_caller(json!({})));
    for octet in [3, 4] {
        speak_unheard(call, octet);
    }
    call.command("unblock media", &of_caller(unblock));
    speak(call, 1);
    let next = heard(call);
    assert_eq!(next.sequence, before.sequence.wrapping_add(1), "no gap of our making");
    assert_eq!(next.timestamp, before.timestamp.wrapping_add(3 * 160), "time has gone on");
}

fn heard(call: &Call<'_>) -> Packet {
    call.b.receive(WAIT).expect("a packet").packet
}

#[test]
fn blocked_party_is_not_heard_but_its_digits_are() {
    let relay = Relay::start(&[]);
    let mut call = Call::establish(&relay, "block", setup());
    call.learn();
    call.command("block media", &of_caller(json!({})));
    speak(&mut call, 1);
    let digits = call.a.press(5);
    for digit in digits {
        assert_eq!(heard(&call), digit);
    }
    let packet = call.b.next_packet(0, &[7; 160], 160);
    call.b.send(&packet);
    assert_eq!(call.a.receive(WAIT).expect("the other way").packet, packet);
    call.command("unblock media", &of_caller(json!({})));
    let spoken = speak(&mut call, 2);
    assert_eq!(heard(&call), spoken);
}

#[test]
fn block_of_the_call_and_of_a_party_are_two_switches() {
    let relay = Relay::start(&[]);
    let mut call = Call::establish(&relay, "two", setup());
    call.learn();
    call.command("block media", &json!({}));
    call.command("block media", &of_caller(json!({})));
    call.command("unblock media", &json!({}));
    speak_unheard(&mut call, 1);
    let packet = call.b.next_packet(0, &[7; 160], 160);
    call.b.send(&packet);
    assert_eq!(call.a.receive(WAIT).expect("the other way").packet, packet);
    call.command("unblock media", &json!({"all": "all"}));
    let spoken = speak(&mut call, 2);
    assert_eq!(heard(&call), spoken, "the blocked packet did not come");
}

#[test]
fn single_flow_is_blocked() {
    let relay = Relay::start(&[]);
    let mut call = Call::establish(&relay, "flow", setup());
    call.learn();
    call.command("block media", &of_caller(json!({"to-tag": "b"})));
    speak_unheard(&mut call, 1);
    call.command("unblock media", &of_caller(json!({"all": "flows"})));
    let spoken = speak(&mut call, 2);
    assert_eq!(heard(&call), spoken);
    let refused = json!({"command": "block media", "call-id": "flow", "from-tag": "a", "to-tag": "x",
                         "flags": ["directional"]});
    let reply = relay.ng.request(&refused);
    assert_eq!(reply["error-reason"], "Media flow not found (to-tag not found)");
}

#[test]
fn silenced_party_is_heard_as_silence() {
    let relay = Relay::start(&[]);
    let mut call = Call::establish(&relay, "silence", setup());
    call.learn();
    call.command("silence media", &of_caller(json!({})));
    let spoken = speak(&mut call, 1);
    assert_eq!(heard(&call), Packet { payload: vec![0xff; 160], ..spoken });
    call.command("unsilence media", &of_caller(json!({})));
    let spoken = speak(&mut call, 1);
    assert_eq!(heard(&call), spoken);
}

#[test]
fn party_that_was_blocked_is_heard_again_behind_a_transcoder() {
    let relay = Relay::start(&[]);
    let mut call = Call::establish(&relay, "unblock-transcoded", transcoded());
    call.learn();
    speak(&mut call, 1);
    let before = heard(&call);
    goes_on_behind_a_block(&mut call, &before, json!({}));
}

#[test]
fn codec_without_a_silent_octet_is_silenced_when_it_is_decoded() {
    let relay = Relay::start(&[]);
    let transcode = Setup {
        a: &["96 opus/48000/2"],
        b: &["8 PCMA/8000"],
        offer: json!({"codec": {"mask": ["opus"], "transcode": ["PCMA"]}}),
        ..Setup::default()
    };
    let mut call = Call::establish(&relay, "silence-opus", transcode);
    let opus = PayloadFormat::new(96, "opus", 48_000, 2);
    let tone: Vec<i16> = (0..48_000)
        .map(|n| (f64::from(n) * std::f64::consts::TAU / 48.0).sin() * 8000.0)
        .map(|s| s as i16)
        .collect();
    let (payloads, ticks) = e2e::speech::encode(&tone, 48_000, &opus);
    // How many of the last ten packets are not silent.
    let say = |call: &mut Call<'_>, payloads: &[Vec<u8>]| {
        let packets = payloads.iter().map(|payload| {
            let packet = call.a.next_packet(96, payload, ticks);
            call.a.send(&packet);
            heard(call).payload
        });
        packets.skip(5).filter(|payload| payload.iter().any(|octet| octet & 0x7f != 0x55)).count()
    };
    assert_eq!(say(&mut call, &payloads[5..20]), 10);
    call.command("silence media", &of_caller(json!({})));
    assert_eq!(say(&mut call, &payloads[20..35]), 0);
    call.command("unsilence media", &of_caller(json!({})));
    assert_eq!(say(&mut call, &payloads[35..50]), 10);
}

#[test]
fn codec_that_passes_and_has_no_silence_is_not_heard_at_all() {
    let relay = Relay::start(&[]);
    let opus = &["96 opus/48000/2"];
    let mut call = Call::establish(&relay, "silence-opus", Setup { a: opus, b: opus, ..Setup::default() });
    call.learn();
    let say = |call: &mut Call<'_>, octet: u8| {
        let packet = call.a.next_packet(96, &[octet; 40], 960);
        call.a.send(&packet);
        packet
    };
    call.command("silence media", &of_caller(json!({})));
    until_arrived(&mut call, |call| drop(say(call, 1)));
    call.command("unsilence media", &of_caller(json!({})));
    let said = say(&mut call, 2);
    assert_eq!(heard(&call), said);
}

#[test]
fn silenced_party_is_silent_behind_a_transcoder() {
    let relay = Relay::start(&[]);
    let mut call = Call::establish(&relay, "silence-transcoded", transcoded());
    call.learn();
    call.command("silence media", &of_caller(json!({})));
    speak(&mut call, 1);
    let packet = heard(&call);
    assert_eq!((packet.payload_type, &packet.payload[..]), (8, &[0xd5; 160][..]));
    goes_on_behind_a_block(&mut call, &packet, json!({"all": "all"}));
}

#[test]
fn dropped_digits_leave_no_gap() {
    let relay = Relay::start(&[]);
    let mut call = Call::establish(&relay, "drop", setup());
    call.learn();
    call.command("block DTMF", &of_caller(json!({})));
    let before = speak(&mut call, 1);
    call.a.press(5);
    let after = speak(&mut call, 2);
    assert_eq!(heard(&call), before);
    let packet = heard(&call);
    assert_eq!(packet, Packet { sequence: before.sequence.wrapping_add(1), ..after });
    call.command("unblock DTMF", &of_caller(json!({})));
    let digits = call.a.press(6);
    for (index, digit) in digits.into_iter().enumerate() {
        let sequence = packet.sequence.wrapping_add(1 + index as u16);
        assert_eq!(heard(&call), Packet { sequence, ..digit }, "numbers stay continuous");
    }
}

#[test]
fn digits_are_replaced() {
    let relay = Relay::start(&[]);
    let mut call = Call::establish(&relay, "replace", setup());
    call.learn();
    let replaced = |call: &mut Call<'_>, code: u8| {
        let sent = call.a.press(code);
        let codes: Vec<u8> = sent
            .iter()
            .map(|digit| {
                let packet = heard(call);
                let code = packet.payload[0];
                let rest = (packet.payload_type, packet.marker, &packet.payload[1..]);
                assert_eq!(rest, (101, digit.marker, &digit.payload[1..]));
                code
            })
            .collect();
        assert!(codes.windows(2).all(|pair| pair[0] == pair[1]), "one code for an event: {codes:?}");
        codes[0]
    };
    call.command("block DTMF", &of_caller(json!({"DTMF-security": "zero"})));
    assert_eq!(replaced(&mut call, 9), 0);
    call.command("block DTMF", &of_caller(json!({"DTMF-security": "DTMF", "digit": "7"})));
    assert_eq!(replaced(&mut call, 9), 7);
    call.command("block DTMF", &of_caller(json!({"DTMF-security": "random"})));
    let codes: std::collections::BTreeSet<u8> = (0..12).map(|_| replaced(&mut call, 9)).collect();
    assert!(codes.len() > 2 && codes.iter().all(|code| *code < 16), "{codes:?}");
    call.command("block DTMF", &json!({"DTMF-security": "zero"}));
    assert_eq!(replaced(&mut call, 9), 0, "the call's mode wins");
    call.command("unblock DTMF", &json!({"flags": ["all"]}));
    assert_eq!(replaced(&mut call, 9), 9);
}

#[test]
fn digits_become_tones() {
    let relay = Relay::start(&[]);
    let mut call = Call::establish(&relay, "tones", setup());
    call.learn();
    call.command("block DTMF", &of_caller(json!({"DTMF-security": "tone", "frequency": 1000, "volume": 6})));
    talk(&mut call, 10).join().expect("sent");
    call.a.press(5);
    talk(&mut call, 10).join().expect("sent");
    let packets = call.b.receive_many(17);
    continuous(packets.iter().map(|received| &received.packet));
    let is_silent = |packet: &Packet| packet.payload.iter().all(|octet| *octet == 0xff);
    let tone: Vec<_> = packets.iter().map(|r| &r.packet).filter(|packet| !is_silent(packet)).collect();
    let mut samples = Vec::new();
    for (index, packet) in tone.iter().enumerate() {
        assert_eq!((packet.payload_type, packet.marker), (0, index == 0));
        assert_eq!(packet.timestamp, tone[0].timestamp.wrapping_add(index as u32 * 160));
        decode(packet, &mut samples);
    }
    assert_eq!(tone.len(), 3, "60 ms");
    assert!(share(&samples, 1000.0) > 0.95);
}

#[test]
fn digits_trigger_security_and_end_it() {
    let relay = Relay::start(&[]);
    let (log, destination) = receiver();
    let mut call =
        Call::establish(&relay, "trigger", Setup { offer: json!({"DTMF-log-dest": destination}), ..setup() });
    call.learn();
    let options = json!({"trigger": "*1", "trigger-end": "#", "DTMF-security-trigger": "zero"});
    call.command("block DTMF", &of_caller(options));
    let mut pass = |code: u8| {
        call.a.press(code);
        let events = std::iter::repeat_with(|| heard(&call)).filter(|packet| packet.payload_type == 101);
        let heard: Vec<[u8; 2]> =
            events.take(5).map(|packet| [packet.payload[0], packet.payload[1]]).collect();
        // When it has been told, it has been counted, and the worker knows what follows from it as soon as it has had another packet.
        report(&log);
        speak_unheard(&mut call, 0x2a);
        // The repetitions of the end may already be under the mode that the digit has switched to, and then overtake those that are
        // sent at the pace of the digit.
        let before_end = heard.iter().find(|[_, flags]| flags & 0x80 == 0);
        before_end.expect("not only ends")[0]
    };
    let codes = [10, 1, 5, 6, 11, 7].map(&mut pass);
    assert_eq!(codes, [10, 1, 0, 0, 0, 7]);
    let codes = call.query()["tags"]["a"]["VSC"].clone();
    assert_eq!(codes[0], json!({"type": "block DTMF", "trigger": "*1", "active": 0}));
}

#[test]
fn security_ends_with_time() {
    let relay = Relay::start(&[]);
    let mut call = Call::establish(&relay, "time", setup());
    call.learn();
    call.command("block DTMF", &of_caller(json!({"DTMF-security": "zero", "trigger-end-time": 300})));
    call.a.press(5);
    assert_eq!((0..5).map(|_| heard(&call).payload[0]).collect::<Vec<_>>(), [0; 5]);
    let ended = e2e::daemon::wait_for(WAIT, || {
        call.a.press(5);
        let codes: Vec<u8> = (0..5).map(|_| heard(&call).payload[0]).collect();
        (codes == [5; 5]).then_some(())
    });
    assert!(ended.is_some());
}

#[test]
fn delayed_digits_come_later() {
    let relay = Relay::start(&[]);
    let offer = json!({"flags": ["block-DTMF"], "DTMF-security": "off", "DTMF-delay": 400});
    let mut call = Call::establish(&relay, "delay", Setup { offer, ..setup() });
    // Audio comes a little later while tones are looked for in it.
    talk(&mut call, 10).join().expect("sent");
    assert_eq!(heard(&call).payload_type, 0);
    let (talk, listener) = (talk(&mut call, 60), call.b.listen());
    let pressed = std::time::Instant::now();
    let mut digit = call.a.next_packet(101, &[5, 0x8a, 1, 0xe0], 0);
    digit.marker = true;
    call.a.send(&digit);
    talk.join().expect("sent");
    let heard = listener.stop();
    let events: Vec<_> = heard.iter().filter(|received| received.packet.payload_type == 101).collect();
    assert!(
        events.len() > 3 && events.iter().all(|received| received.packet.payload[0] == 5),
        "{}",
        events.len()
    );
    let waited = events[0].at - pressed;
    assert!((300..600).contains(&waited.as_millis()), "{waited:?}");
}

#[test]
fn digits_are_told_about_in_json() {
    let (global, destination) = receiver();
    let relay = Relay::start(&[&format!("--dtmf-log-dest={destination}")]);
    let mut call = Call::establish(&relay, "told", Setup { offer: json!({"label": "caller"}), ..setup() });
    call.learn();
    call.a.press(11);
    let told = report(&global);
    let local = call.a.local().ip().to_string();
    for (key, value) in [
        ("callid", json!("told")),
        ("source_tag", json!("a")),
        ("source_label", json!("caller")),
        ("tags", json!(["a", "b"])),
        ("type", json!("DTMF")),
        ("source_ip", json!(local)),
        ("event", json!(11)),
        ("duration", json!(60)),
        ("volume", json!(10)),
    ] {
        assert_eq!(told[key], value, "{key} of {told}");
    }
    assert!(told["timestamp"].as_u64().is_some_and(|seconds| seconds > 1_700_000_000));

    let (own, destination) = receiver();
    let offer = json!({"DTMF-log-dest": destination});
    let mut call = Call::establish(&relay, "own", Setup { offer, ..setup() });
    call.learn();
    call.command("block DTMF", &json!({}));
    call.a.press(3);
    assert_eq!(report(&own)["event"], 3, "also while digits are blocked");
}

#[test]
fn digits_are_told_to_ng_clients_over_tcp() {
    let ports = PortBlock::take();
    let port = SocketAddr::from((Ipv4Addr::LOCALHOST, ports.control()));
    let relay = Relay::start(&[&format!("--listen-tcp-ng={port}"), "--dtmf-log-ng-tcp"]);
    let mut events = TcpEvents::connect(port, WAIT);
    let mut call = Call::establish(&relay, "tcp", setup());
    call.learn();
    call.a.press(3);
    events.await_text("6:notify6:onDTMF4:datad4:tagsl1:a1:be6:callid3:tcp10:source_tag1:a");
    events.await_text("5:eventi3e8:durationi60e6:volumei10eee");
}

#[test]
fn played_digit_is_heard_as_events_between_the_audio() {
    let relay = Relay::start(&[]);
    let inject = json!({"flags": ["inject-DTMF"]});
    let (log, destination) = receiver();
    let mut offer = inject.clone();
    e2e::call::extend(&mut offer, &json!({"DTMF-log-dest": destination}));
    let mut call = Call::establish(&relay, "play", Setup { offer, answer: inject, ..setup() });
    call.learn();
    let talk = talk(&mut call, 60);
    let listener = call.b.listen();
    let keys = json!({"from-tag": "a", "code": "#", "duration": 100, "pause": 100, "volume": 12});
    call.command("play DTMF", &keys);
    call.command("play DTMF", &json!({"from-tag": "a", "code": 1, "duration": 100}));
    talk.join().expect("sent");
    let packets = listener.stop();
    continuous(packets.iter().map(|received| &received.packet));
    let (first, second) = (events(&packets, 11), events(&packets, 1));
    for (name, digit, volume) in [("first", &first, 12), ("second", &second, 8)] {
        // 20 … 80 ms, and three times 100 ms.
        let durations: Vec<u16> = digit.iter().map(|packet| duration(packet)).collect();
        assert_eq!(durations, [160, 320, 480, 640, 800, 800, 800], "{name}");
        for (index, packet) in digit.iter().enumerate() {
            assert_eq!(packet.marker, index == 0, "{name} {index}");
            assert_eq!(packet.timestamp, digit[0].timestamp, "{name} {index}");
            assert_eq!(packet.payload[1], u8::from(index > 3) << 7 | volume, "{name} {index}");
        }
    }
    let begin = |code: u8| {
        let is_first = |r: &&e2e::rtp::Received| r.packet.payload_type == 101 && r.packet.payload[0] == code;
        packets.iter().find(is_first).expect("events").at
    };
    let apart = begin(1) - begin(11);
    assert!((180..300).contains(&apart.as_millis()), "digit and pause: {apart:?}");
    assert_eq!(report(&log)["event"], 11);
    assert_eq!(report(&log)["event"], 1);
    // The audio is held back while a digit is sent, and goes on with its own time.
    let audio = packets.iter().filter(|received| received.packet.payload_type == 0).count();
    assert!((45..=55).contains(&audio), "{audio} of 60");
}

#[test]
fn played_digit_is_a_tone_for_who_has_no_events() {
    let relay = Relay::start(&[]);
    let inject = json!({"flags": ["inject-DTMF"]});
    let audio: &[&str] = &["0 PCMU/8000"];
    let plain = Setup { a: audio, b: audio, offer: inject.clone(), answer: inject, ..Setup::default() };
    let mut call = Call::establish(&relay, "tone", plain);
    call.learn();
    let talk = talk(&mut call, 40);
    call.b.receive_many(5);
    call.command("play DTMF", &json!({"from-tag": "a", "digit": "5", "duration": 200}));
    let packets = call.b.receive_many(30);
    talk.join().expect("sent");
    continuous(packets.iter().map(|received| &received.packet));
    let tone: Vec<_> =
        packets.iter().filter(|r| r.packet.payload.iter().any(|octet| *octet != 0xff)).collect();
    assert_eq!(tone.len(), 10, "200 ms");
    assert!(tone[0].packet.marker);
    let mut samples = Vec::new();
    tone.iter().for_each(|received| decode(&received.packet, &mut samples));
    for hertz in [770.0, 1336.0] {
        assert!((0.4..0.6).contains(&share(&samples, hertz)), "{hertz}");
    }
}

#[test]
fn played_digit_fits_between_transcoded_audio() {
    let relay = Relay::start(&[]);
    let inject = json!({"flags": ["inject-DTMF"]});
    let mut offer = inject.clone();
    e2e::call::extend(&mut offer, &json!({"codec": {"mask": ["PCMU"], "transcode": ["PCMA"]}}));
    let transcode = Setup {
        a: BOTH,
        b: &["8 PCMA/8000", "101 telephone-event/8000 0-15"],
        offer,
        answer: inject,
        ..Setup::default()
    };
    let mut call = Call::establish(&relay, "play-transcoded", transcode);
    call.learn();
    let talk = talk(&mut call, 40);
    call.b.receive_many(5);
    call.command("play DTMF", &json!({"from-tag": "a", "code": 7, "duration": 100}));
    talk.join().expect("sent");
    let mut packets = Vec::new();
    while let Some(received) = call.b.receive(Duration::from_millis(200)) {
        packets.push(received);
    }
    continuous(packets.iter().map(|received| &received.packet));
    let durations: Vec<u16> = events(&packets, 7).iter().map(|packet| duration(packet)).collect();
    assert_eq!(durations, [160, 320, 480, 640, 800, 800, 800]);
    assert!(packets.iter().any(|received| received.packet.payload_type == 8));
}

/// Silence of the caller, a packet each 20 ms.
fn talk(call: &mut Call<'_>, packets: usize) -> JoinHandle<()> {
    call.a.send_paced(0, vec![vec![0xff; 160]; packets], 160, Duration::from_millis(20))
}

fn events(packets: &[e2e::rtp::Received], code: u8) -> Vec<&Packet> {
    let is_meant = |packet: &&Packet| packet.payload_type == 101 && packet.payload[0] == code;
    packets.iter().map(|received| &received.packet).filter(is_meant).collect()
}

fn duration(event: &Packet) -> u16 {
    u16::from_be_bytes([event.payload[2], event.payload[3]])
}

/// One SSRC, and each number one more than the one before.
fn continuous<'p>(packets: impl Iterator<Item = &'p Packet>) {
    let packets: Vec<_> = packets.collect();
    for pair in packets.windows(2) {
        assert_eq!(pair[0].ssrc, pair[1].ssrc);
        assert_eq!(pair[0].sequence.wrapping_add(1), pair[1].sequence, "{pair:?}");
    }
}

fn receiver() -> (UdpSocket, String) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.set_read_timeout(Some(WAIT)).expect("not zero");
    let address = socket.local_addr().expect("bound").to_string();
    (socket, address)
}

fn report(socket: &UdpSocket) -> Value {
    let mut buffer = [0; 2000];
    let length = socket.recv(&mut buffer).expect("a report");
    serde_json::from_slice(&buffer[..length]).expect("JSON")
}

fn decode(packet: &Packet, samples: &mut Vec<i16>) {
    let format = PayloadFormat::new(0, "PCMU", 8000, 1);
    let mut decoder = codec::new_decoder(&format).expect("a decoder");
    decoder.decode(&packet.payload, samples).expect("valid");
}

/// Power of one frequency among all.
fn share(samples: &[i16], hertz: f64) -> f64 {
    let (mut re, mut im, mut all) = (0.0, 0.0, 0.0);
    for (index, sample) in samples.iter().enumerate() {
        let (sin, cos) = (std::f64::consts::TAU * hertz * index as f64 / 8000.0).sin_cos();
        re += f64::from(*sample) * cos;
        im += f64::from(*sample) * sin;
        all += f64::from(*sample).powi(2);
    }
    2.0 * (re * re + im * im) / (all * samples.len() as f64)
}
