//! Digits as tones: found, converted, replaced, delayed, and told about.

use std::net::UdpSocket;
use std::time::Duration;

use codec::PayloadFormat;
use codec::dtmf::{Detector, Found, Sines};
use codec::g711::Law;
use e2e::call::{Call, Setup};
use e2e::daemon::Relay;
use e2e::rtp::{Packet, Received, decode};
use serde_json::{Value, json};

const PLAIN: &[&str] = &["0 PCMU/8000"];
const BOTH: &[&str] = &["0 PCMU/8000", "101 telephone-event/8000 0-15"];
const PTIME: Duration = Duration::from_millis(20);
const SILENCE: [u8; 160] = [0xff; 160];

/// So long nothing comes when all has been sent.
const QUIET: Duration = Duration::from_millis(300);

/// Packets of silence, one digit, and silence again.
fn digit(code: u8, level: u8, packets: usize) -> Vec<Vec<u8>> {
    let mut sines = Sines::digit(8000, code, level);
    let mut payloads = vec![SILENCE.to_vec(); 10];
    payloads.extend((0..packets).map(|_| (0..160).map(|_| Law::Mu.compress(sines.sample())).collect()));
    payloads.extend(vec![SILENCE.to_vec(); 20]);
    payloads
}

/// The caller sends audio, and what the callee hears of it.
fn say(call: &mut Call<'_>, payloads: Vec<Vec<u8>>) -> Vec<Received> {
    let listener = call.b.listen();
    call.a.send_paced(0, payloads, 160, PTIME).join().expect("sent");
    listener.stop_behind(QUIET)
}

/// (code, level, ms) of the digits that are heard in PCMU.
fn heard(packets: &[Received]) -> Vec<(u8, u8, u64)> {
    let format = PayloadFormat::new(0, "PCMU", 8000, 1);
    let (audio, rate) = decode(packets, &format);
    let mut detector = Detector::new(rate);
    detector.push(audio.into_iter().chain(std::iter::repeat_n(0, 800)));
    let found = std::iter::from_fn(|| detector.next_found());
    found
        .filter_map(|found| match found {
            Found::Ended { code, level, samples, .. } => Some((code, level, samples / 8)),
            Found::Began { .. } => None,
        })
        .collect()
}

fn events(packets: &[Received]) -> Vec<&Packet> {
    packets.iter().map(|received| &received.packet).filter(|packet| packet.payload_type >= 96).collect()
}

fn receiver() -> (UdpSocket, String) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("not zero");
    let address = socket.local_addr().expect("bound").to_string();
    (socket, address)
}

fn report(log: &UdpSocket) -> Value {
    let mut buffer = [0; 1000];
    let length = log.recv(&mut buffer).expect("a report");
    serde_json::from_slice(&buffer[..length]).expect("JSON")
}

fn assert_digit(report: &Value, code: u8, level: u64, ms: u64) {
    assert_eq!((&report["event"], &report["source_tag"]), (&json!(code), &json!("a")), "{report}");
    let (duration, volume) = (report["duration"].as_u64().unwrap(), report["volume"].as_u64().unwrap());
    assert!(duration.abs_diff(ms) <= 6 && volume.abs_diff(level) <= 1, "{report}");
}

#[test]
fn tones_become_events_for_who_takes_them_and_events_tones_for_who_does_not() {
    let relay = Relay::start(&[]);
    let (log, destination) = receiver();
    let offer = json!({"codec": {"transcode": ["telephone-event"]}, "DTMF-log-dest": destination});
    // As it is offered to the callee.
    let b = &["0 PCMU/8000", "96 telephone-event/8000 0-15"];
    let mut call = Call::establish(&relay, "convert", Setup { a: PLAIN, b, offer, ..Setup::default() });
    let packets = say(&mut call, digit(7, 10, 5));
    let sent = events(&packets);
    let durations: Vec<u16> =
        sent.iter().map(|packet| u16::from_be_bytes([packet.payload[2], packet.payload[3]])).collect();
    assert!(durations.is_sorted() && durations.last().unwrap().abs_diff(800) < 48, "{durations:?}");
    assert!(sent[0].marker && sent[1..].iter().all(|packet| !packet.marker));
    assert!(sent.iter().all(|packet| packet.payload[0] == 7 && packet.timestamp == sent[0].timestamp));
    let ends = sent.iter().filter(|packet| packet.payload[1] & 0x80 != 0).count();
    assert_eq!(ends, 3);
    assert_eq!(heard(&packets), [], "the tone itself is not heard");
    for pair in packets.windows(2) {
        assert_eq!(pair[0].packet.sequence.wrapping_add(1), pair[1].packet.sequence);
    }
    assert_digit(&report(&log), 7, 10, 100);
    // The other way: the callee's events are tones for the caller.
    let listener = call.a.listen();
    call.b.send_paced(0, vec![SILENCE.to_vec(); 10], 160, PTIME).join().expect("sent");
    let timestamp = call.b.timestamp;
    for step in 1..=8u16 {
        let duration = (step.min(6) * 160).to_be_bytes();
        let flags = if step >= 6 { 0x8a } else { 0x0a };
        let mut packet = call.b.next_packet(96, &[11, flags, duration[0], duration[1]], 0);
        (packet.marker, packet.timestamp) = (step == 1, timestamp);
        call.b.send(&packet);
        std::thread::sleep(PTIME);
    }
    call.b.timestamp = timestamp.wrapping_add(960);
    call.b.send_paced(0, vec![SILENCE.to_vec(); 10], 160, PTIME).join().expect("sent");
    let packets = listener.stop_behind(QUIET);
    assert!(events(&packets).is_empty());
    let digits = heard(&packets);
    assert!(
        matches!(digits[..], [(11, level, ms)] if level.abs_diff(10) <= 1 && ms.abs_diff(120) <= 6),
        "{digits:?}"
    );
    assert_eq!(report(&log)["event"], 11);
}

#[test]
fn tones_are_told_about_while_audio_passes_untouched() {
    let (log, destination) = receiver();
    let relay = Relay::start(&[&format!("--dtmf-log-dest={destination}")]);
    let offer = json!({"flags": ["detect-DTMF"]});
    let mut call = Call::establish(&relay, "detect", Setup { a: PLAIN, b: PLAIN, offer, ..Setup::default() });
    for code in [0, 3, 6, 9, 12, 15] {
        let payloads = digit(code, 12, 3);
        let ssrc = call.a.ssrc;
        let packets = say(&mut call, payloads.clone());
        assert!(packets.iter().all(|received| received.packet.ssrc == ssrc));
        let passed: Vec<&Vec<u8>> = packets.iter().map(|received| &received.packet.payload).collect();
        assert_eq!(passed, payloads.iter().collect::<Vec<_>>());
        assert_digit(&report(&log), code, 12, 60);
    }
    log.set_read_timeout(Some(Duration::from_millis(50))).expect("not zero");
    assert!(log.recv(&mut [0; 10]).is_err(), "each digit once");
}

#[test]
fn security_modes_are_for_tones_as_well() {
    let relay = Relay::start(&[]);
    let mut call = Call::establish(&relay, "security", Setup { a: PLAIN, b: PLAIN, ..Setup::default() });
    let mut with = |mode: Value| {
        call.command("block DTMF", &mode);
        let packets = say(&mut call, digit(5, 10, 5));
        heard(&packets).iter().map(|digit| digit.0).collect::<Vec<u8>>()
    };
    assert_eq!(with(json!({"DTMF-security": "drop"})), [5], "events only");
    assert_eq!(with(json!({"DTMF-security": "silence"})), [0u8; 0]);
    assert_eq!(with(json!({"DTMF-security": "tone", "frequency": 500})), [0u8; 0]);
    assert_eq!(with(json!({"DTMF-security": "zero"})), [0]);
    assert_eq!(with(json!({"DTMF-security": "DTMF", "digit": "9"})), [9]);
    assert_eq!(with(json!({"DTMF-security": "random"})).len(), 1);
    assert_eq!(with(json!({"DTMF-security": "off"})), [5]);
}

#[test]
fn delayed_digit_is_a_tone_for_who_has_no_events() {
    let relay = Relay::start(&[]);
    let offer = json!({"flags": ["block-DTMF"], "DTMF-security": "off", "DTMF-delay": 600});
    let mut call = Call::establish(&relay, "delay", Setup { a: PLAIN, b: PLAIN, offer, ..Setup::default() });
    let mut payloads = digit(3, 10, 5);
    payloads.extend(vec![SILENCE.to_vec(); 40]);
    let packets = say(&mut call, payloads);
    let digits = heard(&packets);
    assert!(matches!(digits[..], [(3, ..)]), "{digits:?}");
    let first = packets.iter().position(|r| r.packet.payload.iter().any(|o| *o != 0xff)).expect("a tone");
    // It was sent as packets 10 to 14.
    let later = packets[first].at - packets[0].at;
    assert!((500..1200).contains(&later.as_millis()), "{later:?}");
}

#[test]
fn audio_goes_on_beside_digits_when_that_is_wanted() {
    let relay = Relay::start(&["--dtmf-no-suppress"]);
    let inject = json!({"flags": ["inject-DTMF"]});
    let setup = Setup { a: BOTH, b: BOTH, offer: inject.clone(), answer: inject, ..Setup::default() };
    let mut call = Call::establish(&relay, "beside", setup);
    call.learn();
    let listener = call.b.listen();
    let talk = call.a.send_paced(0, vec![SILENCE.to_vec(); 40], 160, PTIME);
    std::thread::sleep(Duration::from_millis(200));
    call.command("play DTMF", &json!({"from-tag": "a", "code": 4, "duration": 200}));
    talk.join().expect("sent");
    let packets = listener.stop_behind(QUIET);
    assert!(events(&packets).len() >= 12);
    let audio = packets.iter().filter(|received| received.packet.payload_type == 0).count();
    assert_eq!(audio, 40, "all of it");
}

/// Eight packets of one event of 120 ms in a clock of 16 or 8 kHz, with audio around it; what the other party gets of it.
fn press(
    from: &mut e2e::party::Party,
    to: &e2e::party::Party,
    audio: (u8, &[u8]),
    event: u8,
    clock: u32,
) -> Vec<Packet> {
    let ticks = clock / 50;
    let listener = to.listen();
    from.send_paced(audio.0, vec![audio.1.to_vec(); 5], ticks, PTIME).join().expect("sent");
    let timestamp = from.timestamp;
    for step in 1..=8u16 {
        let duration = (step.min(6) * ticks as u16).to_be_bytes();
        let flags = if step >= 6 { 0x8a } else { 0x0a };
        let mut packet = from.next_packet(event, &[5, flags, duration[0], duration[1]], 0);
        (packet.marker, packet.timestamp) = (step == 1, timestamp);
        from.send(&packet);
        std::thread::sleep(PTIME);
    }
    from.timestamp = timestamp.wrapping_add(6 * ticks);
    from.send_paced(audio.0, vec![audio.1.to_vec(); 5], ticks, PTIME).join().expect("sent");
    listener.stop_behind(QUIET).into_iter().map(|received| received.packet).collect()
}

#[test]
fn events_are_rescaled_between_parties_with_different_clocks() {
    let relay = Relay::start(&[]);
    let offer = json!({"codec": {"mask": ["L16"], "transcode": ["PCMU"]}});
    let a = &["100 L16/16000", "110 telephone-event/16000 0-15"];
    let b = &["0 PCMU/8000", "96 telephone-event/8000 0-15"];
    let mut call = Call::establish(&relay, "clocks", Setup { a, b, offer, ..Setup::default() });
    let wide = ((100, &[0; 640][..]), 110, 16_000);
    let narrow = ((0, &SILENCE[..]), 96, 8000);
    for from_a in [true, false] {
        let ((audio, event, clock), (to_audio, to_event, to_clock)) =
            if from_a { (wide, narrow) } else { (narrow, wide) };
        let (from, to) = if from_a { (&mut call.a, &call.b) } else { (&mut call.b, &call.a) };
        let packets = press(from, to, audio, event, clock);
        let (events, audio): (Vec<&Packet>, Vec<&Packet>) =
            packets.iter().partition(|p| p.payload_type == to_event);
        assert!(audio.iter().all(|packet| packet.payload_type == to_audio.0), "{packets:?}");
        let durations: Vec<u32> =
            events.iter().map(|p| u32::from(u16::from_be_bytes([p.payload[2], p.payload[3]]))).collect();
        let step = to_clock / 50;
        assert_eq!(durations, [1, 2, 3, 4, 5, 6, 6, 6].map(|steps| steps * step), "to {to_clock}");
        assert!(
            events.iter().all(|packet| packet.timestamp == events[0].timestamp && packet.payload[0] == 5)
        );
        // Before and after it audio, in one sequence and on one time line.
        assert!(packets.windows(2).all(|pair| pair[0].sequence.wrapping_add(1) == pair[1].sequence));
        let (before, after) = (audio[4], audio[5]);
        assert_eq!(events[0].timestamp.wrapping_sub(before.timestamp), step);
        assert_eq!(after.timestamp.wrapping_sub(events[0].timestamp), 6 * step);
    }
}

#[test]
fn tones_become_events_in_the_clock_of_who_takes_them() {
    let relay = Relay::start(&[]);
    let offer = json!({"codec": {"mask": ["PCMU"], "transcode": ["L16/16000", "telephone-event/16000"]}});
    // As it is offered to the callee.
    let b = &["96 L16/16000", "97 telephone-event/16000 0-15"];
    let mut call = Call::establish(&relay, "wide", Setup { a: PLAIN, b, offer, ..Setup::default() });
    let packets = say(&mut call, digit(7, 10, 5));
    let sent: Vec<&Packet> =
        packets.iter().map(|received| &received.packet).filter(|packet| packet.payload_type == 97).collect();
    let durations: Vec<u16> =
        sent.iter().map(|packet| u16::from_be_bytes([packet.payload[2], packet.payload[3]])).collect();
    assert!(
        durations.is_sorted() && durations.last().is_some_and(|last| last.abs_diff(1600) < 96),
        "{durations:?}"
    );
    assert!(sent.iter().all(|packet| packet.payload[0] == 7 && packet.timestamp == sent[0].timestamp));
    for pair in packets.windows(2) {
        assert_eq!(pair[0].packet.sequence.wrapping_add(1), pair[1].packet.sequence);
    }
    let audio: Vec<&Packet> =
        packets.iter().map(|received| &received.packet).filter(|packet| packet.payload_type == 96).collect();
    let digit = audio.windows(2).map(|pair| pair[1].timestamp.wrapping_sub(pair[0].timestamp)).max();
    assert_eq!(digit.map(|ticks| ticks / 320), Some(6), "the time of the digit passes: {digit:?}");
}
