//! What is recorded of a call: pcap files, and audio files made by the recording daemon.

use std::path::Path;
use std::time::{Duration, Instant};

use e2e::call::{Call, Setup};
use e2e::daemon::{Recorder, Relay, files_below, wait_for};
use e2e::party::Party;
use e2e::speech::{self, Speaker};
use e2e::srtp::{Endpoint, Key};
use e2e::{pcap, signal, wav};
use serde_json::json;

const PCAP: &[&str] = &["--recording-dir={DIR}/spool", "--recording-method=pcap", "--recording-format=raw"];
const PROC: &[&str] = &["--recording-dir={DIR}/spool", "--recording-method=proc"];

#[test]
fn a_pcap_holds_each_packet_once_with_its_addresses() {
    let relay = Relay::start(PCAP);
    let mut call = Call::establish(
        &relay,
        "pcap@call/1",
        Setup { offer: json!({"record-call": "yes"}), ..Setup::default() },
    );
    let mut sent = Vec::new();
    for _ in 0..25 {
        let packet = call.a.next_packet(0, &rand::random::<[u8; 160]>(), 160);
        call.a.send(&packet);
        assert!(call.b.receive(Duration::from_secs(2)).is_some());
        sent.push((call.a.local(), call.answered.rtp, packet.to_octets()));
        let packet = call.b.next_packet(0, &rand::random::<[u8; 160]>(), 160);
        call.b.send(&packet);
        assert!(call.a.receive(Duration::from_secs(2)).is_some());
        sent.push((call.b.local(), call.offered.rtp, packet.to_octets()));
    }
    assert_eq!(call.query()["recording"]["call recording"], 1);
    call.delete();
    let texts = wait_for(Duration::from_secs(5), || {
        Some(files_below(&relay.path("spool/metadata"), ".txt")).filter(|files| !files.is_empty())
    });
    let text = std::fs::read_to_string(&texts.expect("a metadata file")[0]).expect("text");
    let file = text.lines().next().expect("first line is the path");
    let name = Path::new(file).file_name().expect("a name").to_string_lossy();
    assert!(name.starts_with("pcap%40call%2F1-") && name.ends_with(".pcap"), "{file}");
    assert!(text.contains("SDP mode: offer") && text.contains("SDP mode: answer"), "{text}");
    let recorded: Vec<_> = pcap::read(Path::new(file))
        .expect("a pcap file")
        .into_iter()
        .map(|d| (d.from, d.to, d.payload))
        .collect();
    assert_eq!(recorded, sent);
}

#[test]
fn a_paused_pcap_recording_leaves_packets_out() {
    let relay = Relay::start(PCAP);
    let mut call = Call::establish(&relay, "paused", Setup::default());
    let say = |call: &mut Call<'_>, octet: u8| {
        let packet = call.a.next_packet(0, &[octet; 160], 160);
        call.a.send(&packet);
        assert!(call.b.receive(Duration::from_secs(2)).is_some());
        // Commands and packets take different ways to the writer; people do not press buttons within milliseconds.
        std::thread::sleep(Duration::from_millis(40));
    };
    say(&mut call, 1);
    for (command, octet) in [("start", 2), ("pause", 3), ("start", 4), ("stop", 5)] {
        call.command(&format!("{command} recording"), &json!({}));
        say(&mut call, octet);
    }
    call.delete();
    let whole = wait_for(Duration::from_secs(5), || {
        let files = files_below(&relay.path("spool/pcaps"), ".pcap");
        assert!(files.len() <= 1, "{files:?}");
        pcap::read(files.first()?).ok().filter(|datagrams| datagrams.len() >= 2)
    });
    let whole = whole.unwrap_or_else(|| {
        let recorded: Vec<_> =
            files_below(&relay.path("spool/pcaps"), ".pcap").iter().map(|file| pcap::read(file)).collect();
        panic!("two packets expected, recorded: {recorded:?}")
    });
    let octets: Vec<u8> = whole.iter().map(|datagram| datagram.payload[12]).collect();
    assert_eq!(octets, [2, 4]);
}

#[test]
fn both_speakers_are_in_the_mix_at_the_right_time_and_alone_in_their_files() {
    let relay = Relay::start(PROC);
    let recorder = Recorder::start(&relay, &["--output-mixed", "--output-single"]);
    let mut call =
        Call::establish(&relay, "mixed", Setup { offer: json!({"record-call": "yes"}), ..Setup::default() });
    let (caller, callee) = (speech::speak(Speaker::Caller, 8000), speech::speak(Speaker::Callee, 8000));
    let (caller, callee) = (&caller[..16_000], &callee[..16_000]);
    // The caller speaks two seconds; the callee starts one second later.
    let format = e2e::sdp::format("0 PCMU/8000");
    let (a_says, ticks) = speech::encode(caller, 8000, &format);
    let (b_says, _) = speech::encode(callee, 8000, &format);
    let (at_a, at_b) = (call.a.listen(), call.b.listen());
    let first = call.a.send_paced(0, a_says, ticks, Duration::from_millis(20));
    std::thread::sleep(Duration::from_secs(1));
    let second = call.b.send_paced(0, b_says, ticks, Duration::from_millis(20));
    first.join().expect("sent");
    second.join().expect("sent");
    let [from_b, from_a] = [at_a, at_b].map(|listener| listener.stop_at(100)[0].at);
    let later = from_b.duration_since(from_a).as_secs_f64();
    call.delete();

    let files = recorder.await_files(".wav", 3, Duration::from_secs(10));
    let named = |part: &str| {
        let found = files.iter().find(|file| file.to_string_lossy().contains(part));
        wav::read(found.unwrap_or_else(|| panic!("{part} among {files:?}"))).expect("a WAV file")
    };
    let (mix, single_a, single_b) =
        (named("-mix"), named(&format!("{:08x}", call.a.ssrc)), named(&format!("{:08x}", call.b.ssrc)));
    assert!((mix.seconds() - 2.0 - later).abs() < 0.06, "mix of {:.3} s", mix.seconds());
    for (single, said, name) in [(&single_a, caller, "caller"), (&single_b, callee, "callee")] {
        assert_eq!((single.frames(), single.rate, single.channels), (16_000, 8000, 1), "{name}");
        let found = signal::find(&said[1000..15_000], &single.samples, 8000);
        assert!(found.correlation > 0.99 && (found.seconds - 0.125).abs() < 0.002, "{name}: {found:?}");
    }
    let at = |said: &[i16]| signal::find(&said[..7000], &mix.mono(), mix.rate);
    let (a, b) = (at(caller), signal::find(&callee[9000..15_000], &mix.mono(), mix.rate));
    assert!(a.correlation > 0.9 && a.seconds < 0.06, "caller: {a:?}");
    assert!(b.correlation > 0.9 && (b.seconds - later - 1.125).abs() < 0.06, "callee: {b:?}");
    assert!(files_below(&relay.path("spool"), ".meta").is_empty(), "the metafile is gone");
}

#[test]
fn a_killed_recorder_loses_nothing_that_it_had_and_finishes_the_files_after_its_restart() {
    let relay = Relay::start(PROC);
    let mut recorder = Recorder::start(&relay, &["--output-single", "--output-mixed"]);
    let mut call =
        Call::establish(&relay, "killed", Setup { offer: json!({"record-call": "yes"}), ..Setup::default() });
    let said = speech::speak(Speaker::Caller, 8000);
    let said = &said[..32_000];
    let (payloads, ticks) = speech::encode(said, 8000, &e2e::sdp::format("0 PCMU/8000"));
    let listener = call.b.listen();
    let sending = call.a.send_paced(0, payloads, ticks, Duration::from_millis(20));
    std::thread::sleep(Duration::from_secs(2));
    recorder.process.kill();
    let recorder = Recorder::start(&relay, &["--output-single", "--output-mixed"]);
    sending.join().expect("sent");
    let relayed = listener.stop_at(200);
    assert_eq!(relayed.len(), 200, "the relay does not notice");
    call.delete();
    let gone = wait_for(Duration::from_secs(10), || {
        files_below(&relay.path("spool"), ".meta").is_empty().then_some(())
    });
    assert!(gone.is_some(), "the metafile is still there");
    let ssrc = format!("{:08x}", call.a.ssrc);
    let heard = wait_for(Duration::from_secs(10), || {
        let files = files_below(&recorder.output, ".wav");
        let singles: Vec<_> = files.iter().filter(|file| file.to_string_lossy().contains(&ssrc)).collect();
        let seconds: f64 =
            singles.iter().map(|file| wav::read(file).ok().map(|wav| wav.seconds())).sum::<Option<f64>>()?;
        (seconds > 2.99).then_some(seconds)
    });
    assert!(
        heard.is_some(),
        "more than a second of 4 s is missing: {:?}",
        files_below(&recorder.output, ".wav")
    );
}

#[test]
fn the_recorder_ends_with_status_zero_on_sigterm_and_its_files_are_complete() {
    let relay = Relay::start(PROC);
    let mut recorder = Recorder::start(&relay, &["--output-single"]);
    let mut call = Call::establish(
        &relay,
        "sigterm",
        Setup { offer: json!({"record-call": "yes"}), ..Setup::default() },
    );
    let said = signal::tone(440.0, 8000, 1000, 8000.0);
    let (payloads, ticks) = speech::encode(&said, 8000, &e2e::sdp::format("0 PCMU/8000"));
    call.a.send_paced(0, payloads, ticks, Duration::from_millis(20)).join().expect("sent");
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(recorder.process.terminate().code(), Some(0));
    let files = files_below(&recorder.output, ".wav");
    assert_eq!(files.len(), 1, "{files:?}");
    let wav = wav::read(&files[0]).expect("a finished WAV file");
    assert_eq!(wav.frames(), 8000);
}

#[test]
fn a_discarded_recording_leaves_nothing_behind() {
    let relay = Relay::start(PROC);
    let recorder = Recorder::start(&relay, &[]);
    let mut call = Call::establish(
        &relay,
        "discard",
        Setup { offer: json!({"record-call": "yes"}), ..Setup::default() },
    );
    for _ in 0..20 {
        call.learn();
    }
    call.command("stop recording", &json!({"flags": ["discard-recording"]}));
    let empty = wait_for(Duration::from_secs(5), || {
        let left =
            files_below(&recorder.output, ".wav").len() + files_below(&relay.path("spool"), ".meta").len();
        (left == 0).then_some(())
    });
    assert!(empty.is_some(), "{:?}", files_below(&recorder.output, ""));
}

/// The caller's side is secured (SDES), the callee's is not.
#[test]
fn a_secured_call_is_recorded_in_clear() {
    let relay = Relay::start(PROC);
    let recorder = Recorder::start(&relay, &["--output-mixed", "--output-single"]);
    let (mut a, mut b) = (Party::new("127.0.0.1"), Party::new("127.0.0.1"));
    let key = Key::random("AES_CM_128_HMAC_SHA1_80");
    let crypto = format!("crypto:{}", key.to_line(1));
    let offer =
        e2e::sdp::audio(a.local(), &["0 PCMU/8000"], &["ptime:20", &crypto]).replace("RTP/AVP", "RTP/SAVP");
    let offered = relay.ng.ok(json!({
        "command": "offer", "call-id": "secured", "from-tag": "a", "sdp": offer, "record-call": "yes",
        "transport-protocol": "RTP/AVP",
    }));
    let answer = e2e::sdp::audio(b.local(), &["0 PCMU/8000"], &["ptime:20"]);
    let answered = relay.ng.ok(json!({
        "command": "answer", "call-id": "secured", "from-tag": "a", "to-tag": "b", "sdp": answer,
    }));
    let text = |reply: &serde_json::Value| e2e::sdp::media(reply["sdp"].as_str().expect("an SDP"));
    let (offered, answered) = (text(&offered), text(&answered));
    let line = answered.attributes.iter().find_map(|line| line.strip_prefix("crypto:")).expect("a key");
    let mut security = Endpoint::new(key, Key::parse(line));
    b.remote = Some(offered.rtp);
    let (caller, callee) = (speech::speak(Speaker::Caller, 8000), speech::speak(Speaker::Callee, 8000));
    let (caller, callee) = (&caller[..24_000], &callee[..24_000]);
    let format = e2e::sdp::format("0 PCMU/8000");
    let (a_says, ticks) = speech::encode(caller, 8000, &format);
    let (b_says, _) = speech::encode(callee, 8000, &format);
    let heard = b.listen();
    let other = b.send_paced(0, b_says, ticks, Duration::from_millis(20));
    let start = Instant::now();
    for (number, payload) in (0..).zip(&a_says) {
        let due = start + Duration::from_millis(20) * number;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let clear = a.next_packet(0, payload, ticks).to_octets();
        let secured = security.protect(&clear);
        assert_ne!(secured[12..60], clear[12..60], "the payload is encrypted");
        a.rtp.send_to(&secured, answered.rtp).expect("loopback");
    }
    other.join().expect("sent");
    assert_eq!(heard.stop_at(a_says.len()).len(), a_says.len());
    relay.ng.ok(json!({"command": "delete", "call-id": "secured", "delete-delay": 0}));

    let files = recorder.await_files(".wav", 3, Duration::from_secs(10));
    let named = |part: &str| {
        let found = files.iter().find(|file| file.to_string_lossy().contains(part));
        wav::read(found.unwrap_or_else(|| panic!("{part} among {files:?}"))).expect("a WAV file")
    };
    let mix = named("-mix").mono();
    for (ssrc, said, name) in [(a.ssrc, caller, "caller"), (b.ssrc, callee, "callee")] {
        let single = named(&format!("{ssrc:08x}"));
        assert_eq!((single.frames(), single.rate), (24_000, 8000), "{name}");
        let found = signal::find(&said[1000..23_000], &single.samples, 8000);
        assert!(found.correlation > 0.99 && (found.seconds - 0.125).abs() < 0.002, "{name}: {found:?}");
        let found = signal::find(&said[1000..9000], &mix, 8000);
        assert!(
            found.correlation > 0.5 && (found.seconds - 0.125).abs() < 0.06,
            "{name} in the mix: {found:?}"
        );
    }
}
