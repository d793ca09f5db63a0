//! Speech in one codec comes out as the same speech in the other.

use std::time::{Duration, Instant};

use e2e::call::{Call, Setup};
use e2e::daemon::Relay;
use e2e::party::Party;
use e2e::rtp::{self, Received};
use e2e::speech::{self, Speaker};
use e2e::{sdp, signal};
use serde_json::{Value, json};

#[test]
fn pcmu_and_pcma() {
    converts("0 PCMU/8000", "8 PCMA/8000", 20, 20, 0.98);
}

#[test]
fn pcmu_and_g722() {
    converts("0 PCMU/8000", "9 G722/8000", 20, 20, 0.95);
}

#[test]
fn pcmu_and_opus() {
    converts("0 PCMU/8000", "96 opus/48000/2 useinbandfec=1", 20, 20, 0.9);
}

#[test]
fn pcma_and_gsm() {
    converts("8 PCMA/8000", "3 GSM/8000", 20, 20, 0.9);
}

#[test]
fn pcma_and_l16() {
    converts("8 PCMA/8000", "96 L16/16000", 20, 20, 0.98);
}

#[test]
fn pcmu_and_g726_in_both_orders() {
    converts("0 PCMU/8000", "96 G726-32/8000", 20, 20, 0.95);
    converts("0 PCMU/8000", "96 AAL2-G726-32/8000", 20, 20, 0.95);
}

/// For codecs whose libraries a machine may lack.
fn converts_if_there(name: &str, format: &str) {
    if codec::def::by_name(name).is_some_and(codec::def::CodecDef::can_encode) {
        converts("0 PCMU/8000", format, 20, 20, 0.7);
    }
}

#[test]
fn pcmu_and_g729() {
    converts_if_there("G729", "18 G729/8000 annexb=no");
}

#[test]
fn pcmu_and_amr() {
    converts_if_there("AMR", "96 AMR/8000 octet-align=1");
}

#[test]
fn pcmu_and_amr_wb() {
    converts_if_there("AMR-WB", "96 AMR-WB/16000 octet-align=1");
}

#[test]
fn pcmu_and_speex() {
    converts_if_there("speex", "96 speex/8000");
}

#[test]
fn packets_of_20_ms_become_packets_of_40_ms() {
    converts("0 PCMU/8000", "8 PCMA/8000", 20, 40, 0.98);
}

#[test]
fn packets_of_20_ms_become_packets_of_10_ms() {
    converts("0 PCMU/8000", "9 G722/8000", 20, 10, 0.95);
}

#[test]
fn a_re_offer_changes_the_codec_of_a_running_call() {
    let relay = Relay::start(&[]);
    let mut call = Call::establish(&relay, "change", setup("0 PCMU/8000", "8 PCMA/8000", &Value::Null));
    let (heard, _) = talk(&mut call, Direction::ToCallee, 20, Duration::from_secs(1));
    assert!(heard.iter().all(|r| r.packet.payload_type == 8));
    let first = heard.last().expect("packets").packet.clone();

    // The callee now wants G.722; the caller's side stays as it was.
    let offer = sdp::audio(call.a.local(), &["0 PCMU/8000"], &[]);
    let answer = sdp::audio(call.b.local(), &["9 G722/8000"], &[]);
    call.re_offer(&offer, &answer, &json!({"codec": {"transcode": ["G722"]}}));
    let (heard, said) = talk(&mut call, Direction::ToCallee, 20, Duration::from_secs(2));
    assert!(heard.iter().all(|r| r.packet.payload_type == 9), "{:?}", heard.first());
    assert_ne!(heard[0].packet.sequence, first.sequence);
    is_same_speech(&said, &heard, "9 G722/8000", 0.95);
}

#[test]
fn a_codec_that_was_converted_passes_when_both_have_agreed_on_it() {
    let relay = Relay::start(&[]);
    let options = json!({"codec": {"mask": ["all"], "transcode": ["PCMA"]}});
    let (g722, pcma) = (&["9 G722/8000"][..], &["8 PCMA/8000"][..]);
    let setup = Setup { a: g722, b: pcma, offer: options.clone(), ..Setup::default() };
    let mut call = Call::establish(&relay, "agreed", setup);
    let payload_type = |call: &mut Call<'_>, sent| {
        let packet = call.b.next_packet(sent, &[0xd5; 160], 160);
        call.b.send(&packet);
        call.a.receive(Duration::from_secs(2)).expect("the caller hears the callee").packet.payload_type
    };
    assert_eq!(payload_type(&mut call, 8), 9);
    // The callee could speak another codec as well, which would have to be converted.
    let offer = sdp::audio(call.b.local(), &["0 PCMU/8000", "8 PCMA/8000"], &["ptime:20"]);
    let answer = sdp::audio(call.a.local(), pcma, &["ptime:20"]);
    let mut request = json!({"from-tag": "b", "to-tag": "a", "sdp": offer});
    e2e::call::extend(&mut request, &options);
    call.command("offer", &request);
    call.command("answer", &json!({"from-tag": "b", "to-tag": "a", "sdp": answer}));
    for sent in [8, 0, 8] {
        assert_eq!(payload_type(&mut call, sent), 8);
    }
}

#[test]
fn what_is_converted_stays_as_agreed_until_another_offer_is_answered() {
    let relay = Relay::start(&[]);
    let keys = json!({"codec": {"transcode": ["PCMU"], "mask": ["PCMA"]}});
    let setup = setup("8 PCMA/8000", "0 PCMU/8000", &keys);
    let mut call = Call::establish(&relay, "waits", setup);
    let hears = |call: &mut Call<'_>, from_a: bool, payload_type: u8| {
        let (from, to) = if from_a { (&mut call.a, &call.b) } else { (&mut call.b, &call.a) };
        let packet = from.next_packet(payload_type, &[0xd5; 160], 160);
        from.send(&packet);
        to.receive(Duration::from_secs(2)).map(|received| received.packet.payload_type)
    };
    assert_eq!((hears(&mut call, true, 8), hears(&mut call, false, 0)), (Some(0), Some(8)));
    // The callee asks for something without the keys of the first offer, as for a session timer, and perhaps is refused.
    let plain = sdp::audio(call.b.local(), &["0 PCMU/8000", "8 PCMA/8000", "9 G722/8000"], &["ptime:20"]);
    let message = |call: &Call<'_>, command: &str, sdp: &str| {
        call.command(command, &json!({"from-tag": "b", "to-tag": "a", "sdp": sdp}));
    };
    message(&call, "offer", &plain);
    assert_eq!((hears(&mut call, true, 8), hears(&mut call, false, 0)), (Some(0), Some(8)));
    assert_eq!(call.query()["tags"]["a"]["medias"][0]["codec"], "PCMA");
    // Once more, and the caller, who accepts, is heard in the new codec before its answer is seen here.
    message(&call, "offer", &plain);
    assert_eq!(hears(&mut call, true, 9), Some(9));
    assert_eq!(hears(&mut call, false, 0), Some(8));
    message(&call, "answer", &sdp::audio(call.a.local(), &["8 PCMA/8000"], &["ptime:20"]));
    assert_eq!((hears(&mut call, true, 8), hears(&mut call, false, 8)), (Some(8), Some(8)));
}

#[test]
fn no_packet_overtakes_others_when_a_burst_has_been_made_up_for() {
    let relay = Relay::start(&[]);
    let mut call = Call::establish(&relay, "burst", setup("8 PCMA/8000", "0 PCMU/8000", &Value::Null));
    // Six at once, then in time: those behind the burst wait 100 ms each, until all of the next 25 have. Then the wait is taken back,
    // and what comes 3 ms early comes just before the time of those that still wait.
    const TIME: Duration = Duration::from_millis(20);
    let start = Instant::now();
    for n in 0..60u32 {
        let early = Duration::from_millis(if n > 30 { 3 } else { 0 });
        let at = start + (TIME * n.saturating_sub(5)).saturating_sub(early);
        std::thread::sleep(at.saturating_duration_since(Instant::now()));
        let packet = call.a.next_packet(8, &[0xd5; 160], 160);
        call.a.send(&packet);
    }
    is_continuous(&call.b.receive_many(60), 160);
}

#[test]
fn dtmf_events_pass_through_a_transcoding_call() {
    let relay = Relay::start(&[]);
    let mut call = Call::establish(
        &relay,
        "dtmf",
        Setup {
            a: &["0 PCMU/8000", "101 telephone-event/8000 0-15"],
            b: &["8 PCMA/8000", "101 telephone-event/8000 0-15"],
            offer: json!({"codec": {"transcode": ["PCMA"]}}),
            ..Setup::default()
        },
    );
    let listener = call.b.listen();
    for _ in 0..10 {
        let packet = call.a.next_packet(0, &[0xff; 160], 160);
        call.a.send(&packet);
    }
    let timestamp = call.a.timestamp;
    for (end, duration) in [(0u8, 160u16), (0, 320), (0, 480), (0x80, 640), (0x80, 640), (0x80, 640)] {
        let [high, low] = duration.to_be_bytes();
        let mut packet = call.a.next_packet(101, &[5, end | 10, high, low], 0);
        packet.timestamp = timestamp;
        call.a.send(&packet);
        std::thread::sleep(Duration::from_millis(10));
    }
    let heard = listener.stop_behind(Duration::from_millis(200));
    let events: Vec<_> = heard.iter().filter(|r| r.packet.payload_type == 101).collect();
    assert!(events.len() >= 4, "{} event packets", events.len());
    assert!(events.iter().all(|r| r.packet.payload[0] == 5));
    assert!(events.iter().any(|r| r.packet.payload[1] & 0x80 != 0), "the end of the event");
    assert!(events.iter().all(|r| r.packet.timestamp == events[0].packet.timestamp));
}

#[derive(Clone, Copy, PartialEq)]
enum Direction {
    ToCallee,
    ToCaller,
}

fn setup<'s>(a: &'s str, b: &'s str, more: &Value) -> Setup<'s> {
    // The lists live as long as the test.
    let leak = |text: &'s str| -> &'s [&'s str] { Box::leak(Box::new([text])) };
    let name = b.split([' ', '/']).nth(1).expect("PT NAME/RATE").to_owned();
    let full = b.split(' ').nth(1).expect("PT NAME/RATE");
    let wanted = if ["L16", "speex"].contains(&name.as_str()) { full.to_owned() } else { name };
    let mut offer = json!({"codec": {"transcode": [wanted]}});
    e2e::call::extend(&mut offer, more);
    Setup { a: leak(a), b: leak(b), offer, ..Setup::default() }
}

/// A call between the two formats carries speech both ways.
fn converts(a: &str, b: &str, a_ptime: u32, b_ptime: u32, similarity: f64) {
    let relay = Relay::start(&[]);
    let ptime = if a_ptime == b_ptime { Value::Null } else { json!({"ptime": b_ptime}) };
    let mut wanted = setup(a, b, &ptime);
    let b_attribute = format!("ptime:{b_ptime}");
    let b_attributes = [b_attribute.as_str()];
    wanted.attributes = [&["ptime:20"], &b_attributes];
    let mut call = Call::establish(&relay, "convert", wanted);
    let name = |text: &str| sdp::format(text).name;
    assert_eq!(call.answered.formats[0].name, name(a));
    let b_offered = call.offered.format(&name(b)).clone();

    let (heard, said) = talk(&mut call, Direction::ToCallee, 20, Duration::from_secs(3));
    assert!(heard.iter().all(|r| r.packet.payload_type == b_offered.payload_type), "{:?}", heard.first());
    let expected = said.len() as i64 / 8 / i64::from(b_ptime);
    assert!(
        (heard.len() as i64 - expected).abs() <= 3,
        "{} packets of {b_ptime} ms, {expected} expected",
        heard.len()
    );
    is_continuous(&heard, b_offered.clock_rate * b_ptime / 1000);
    let b_text = format!("{} {}", b_offered.payload_type, b.split_once(' ').expect("PT NAME").1);
    is_same_speech(&said, &heard, &b_text, similarity);

    let (heard, said) = talk(&mut call, Direction::ToCaller, b_ptime, Duration::from_secs(3));
    is_continuous(&heard, 160);
    is_same_speech(&said, &heard, a, similarity);
}

/// One side speaks for a while; what the other side received, and what was said (8 kHz).
fn talk(
    call: &mut Call<'_>,
    direction: Direction,
    ptime: u32,
    length: Duration,
) -> (Vec<Received>, Vec<i16>) {
    let (speaker, listener, format) = match direction {
        Direction::ToCallee => (&mut call.a, &call.b, call.answered.formats[0].clone()),
        Direction::ToCaller => (&mut call.b, &call.a, call.offered.formats[0].clone()),
    };
    let mut format = format;
    if direction == Direction::ToCaller {
        // The callee answered with one format; it sends that.
        format = call.offered.formats.last().expect("formats").clone();
    }
    let mut said = speech::speak(Speaker::Caller, 8000);
    said.truncate(length.as_millis() as usize * 8);
    let (payloads, ticks) = speech::encode(&said, 8000, &format);
    let listening = listener.listen();
    let (payloads, ticks, pace) = match ptime {
        10 | 20 if format.name != "opus" && ptime == 10 => {
            let halves =
                payloads.iter().flat_map(|p| p.chunks(p.len().div_ceil(2)).map(<[u8]>::to_vec)).collect();
            (halves, ticks / 2, 10)
        }
        40 => (payloads.chunks(2).map(|pair| pair.concat()).collect(), ticks * 2, 40),
        _ => (payloads, ticks, 20),
    };
    speaker
        .send_paced(format.payload_type, payloads, ticks, Duration::from_millis(pace))
        .join()
        .expect("sent");
    let heard = listening.stop_behind(Duration::from_millis(200));
    assert!(!heard.is_empty(), "nothing was heard");
    (heard, said)
}

/// Sequence numbers and time stamps go up evenly, under one SSRC.
fn is_continuous(heard: &[Received], ticks: u32) {
    for pair in heard.windows(2) {
        let (one, two) = (&pair[0].packet, &pair[1].packet);
        assert_eq!(two.sequence, one.sequence.wrapping_add(1));
        assert_eq!(two.timestamp.wrapping_sub(one.timestamp), ticks, "at sequence number {}", two.sequence);
        assert_eq!(two.ssrc, one.ssrc);
    }
}

fn is_same_speech(said: &[i16], heard: &[Received], format: &str, similarity: f64) {
    let (audio, rate) = rtp::decode(heard, &sdp::format(format));
    let part = &said[4000..said.len() - 4000];
    // At twice the rate, for codecs that delay by half a sample.
    let found =
        signal::find(&signal::resample(part, 8000, 16_000), &signal::resample(&audio, rate, 16_000), 16_000);
    let audio = signal::resample(&audio, rate, 8000);
    assert!(found.correlation > similarity, "{format}: correlation {:.3}", found.correlation);
    assert!((found.seconds - 0.5).abs() < 0.06, "{format}: found at {:.3} s", found.seconds);
    let (before, after) =
        (signal::level_dbfs(part), signal::level_dbfs(&audio[4000..audio.len().min(said.len()) - 4000]));
    assert!((before - after).abs() < 1.5, "{format}: level {before:.1} dB became {after:.1} dB");
}

#[test]
fn the_callee_may_also_accept_what_the_caller_has() {
    let relay = Relay::start(&[]);
    let (mut call, packet);
    call = Call::establish(
        &relay,
        "accept",
        Setup { b: &["0 PCMU/8000"], offer: json!({"codec": {"transcode": ["PCMA"]}}), ..Setup::default() },
    );
    packet = call.a.next_packet(0, &[0x12; 160], 160);
    call.a.send(&packet);
    let heard: Party = call.b;
    assert_eq!(heard.receive(Duration::from_secs(2)).expect("passed on").packet, packet);
}
