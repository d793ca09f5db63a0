//! Forwarding by the kernel module: only where it is loaded, a rule leads to table 0, and `RTPENGINE_E2E_OFFLOAD=module` says so
//! (`make test-kernel` sees to that in an emulator). The other end-to-end tests run there as well.

use std::time::Duration;

use e2e::call::{Call, Setup, extend};
use e2e::daemon::{Recorder, Relay, files_below, wait_for};
use e2e::offload::{SOON, is_kernelized, module_is_there, move_down, pass, stream_of};
use e2e::party::Party;
use e2e::sdp;
use e2e::speech::{self, Speaker};
use e2e::srtp::{Endpoint, Key};
use e2e::{signal, wav};
use serde_json::{Value, json};

const MODULE: &[&str] = &["--offload=module", "--offload-delay=0", "--no-fallback"];

fn relay(arguments: &[&str]) -> Relay {
    Relay::start(&[MODULE, arguments].concat())
}

fn both_kernelized(query: &Value) -> bool {
    is_kernelized(&stream_of(query, "a")) && is_kernelized(&stream_of(query, "b"))
}

fn table() -> String {
    std::fs::read_to_string("/proc/rtpengine/0/list").unwrap_or_default()
}

/// Packets that the kernel has forwarded, all targets together.
fn forwarded() -> u64 {
    let lines = table();
    let own = lines.lines().filter(|line| line.starts_with("    stats:"));
    own.filter_map(|line| line.split_whitespace().nth(3)?.parse::<u64>().ok()).sum()
}

#[test]
fn packets_and_numbers_are_the_same_as_in_user_space() {
    if !module_is_there() {
        return;
    }
    for address in ["127.0.0.1", "::1"] {
        let relay = Relay::start_on(&[address], MODULE);
        let setup = Setup { addresses: [address; 2], ..Setup::default() };
        let mut call = Call::establish(&relay, "lo", setup);
        let sent = move_down(&mut call);
        pass(&mut call.a, &call.b, 50);
        pass(&mut call.b, &call.a, 30);
        assert!(forwarded() >= 80, "{}", table());
        let query = call.query();
        assert!(both_kernelized(&query), "{query}");
        let numbers = |tag: &str, side: &str| {
            let stream = stream_of(&query, tag);
            let of = |key: &str| stream[side][key].as_u64().unwrap_or(u64::MAX);
            (of("packets"), of("bytes"), of("errors"))
        };
        let (a, b) = (sent + 50, sent + 30);
        assert_eq!(numbers("a", "stats"), (a, a * 172, 0), "{address}");
        assert_eq!(numbers("b", "stats"), (b, b * 172, 0), "{address}");
        assert_eq!(numbers("a", "stats_out"), (b, b * 172, 0), "{address}");
        assert_eq!(numbers("b", "stats_out"), (a, a * 172, 0), "{address}");
        let ssrc = &query["tags"]["a"]["medias"][0]["ingress SSRCs"][0];
        assert_eq!((&ssrc["packets"], &ssrc["cumulative loss"]), (&json!(a), &json!(0)), "{ssrc}");
        let last = call.delete();
        assert_eq!(last["totals"]["RTP"]["packets"], json!(a + b), "{last}");
        let is_empty = wait_for(SOON, || table().is_empty().then_some(()));
        assert!(is_empty.is_some(), "targets are left: {}", table());
    }
}

#[test]
fn a_killed_daemon_leaves_media_going_and_the_next_one_takes_over() {
    if !module_is_there() {
        return;
    }
    let mut first = relay(&[]);
    let mut call = Call::establish(&first, "killed", Setup::default());
    move_down(&mut call);
    let (mut a, b) = (call.a, call.b);
    first.process.kill();
    pass(&mut a, &b, 50);
    let second = relay(&[]);
    assert_eq!(table(), "", "what the first one left");
    let packet = a.next_packet(0, &[1; 160], 160);
    a.send(&packet);
    assert!(b.receive(Duration::from_millis(300)).is_none(), "forwarded without a call");
    let mut call = Call::establish(&second, "next", Setup::default());
    move_down(&mut call);
}

#[test]
fn srtp_goes_down_and_comes_up_without_a_break_in_its_numbers() {
    if !module_is_there() {
        return;
    }
    for (suite, b_suite) in [
        ("AES_CM_128_HMAC_SHA1_80", None),
        ("AEAD_AES_256_GCM", Some("AES_CM_128_HMAC_SHA1_32")),
        ("AES_256_CM_HMAC_SHA1_80", Some("AEAD_AES_128_GCM")),
        ("F8_128_HMAC_SHA1_80", None),
    ] {
        let relay = relay(&[]);
        let mut sides = [secured(Some(suite)), secured(b_suite)];
        let describe = |side: &Side| {
            let crypto = side.key.as_ref().map(|key| format!("crypto:{}", key.to_line(1)));
            let attributes: Vec<&str> = crypto.iter().map(String::as_str).collect();
            let sdp = sdp::audio(side.party.local(), &["0 PCMU/8000"], &attributes);
            if side.key.is_some() { sdp.replace("RTP/AVP", "RTP/SAVP") } else { sdp }
        };
        let protocol = if b_suite.is_some() { "RTP/SAVP" } else { "RTP/AVP" };
        let mut offer = json!({"command": "offer", "call-id": suite, "from-tag": "a",
            "sdp": describe(&sides[0]), "transport-protocol": protocol});
        if let Some(b_suite) = b_suite {
            extend(&mut offer, &json!({"SDES": [format!("only-{b_suite}")]}));
        }
        let offered = sdp::media(relay.ng.ok(offer)["sdp"].as_str().expect("SDP"));
        let answer = json!({"command": "answer", "call-id": suite, "from-tag": "a", "to-tag": "b",
            "sdp": describe(&sides[1])});
        let answered = sdp::media(relay.ng.ok(answer)["sdp"].as_str().expect("SDP"));
        sides[0].connect(&answered);
        sides[1].connect(&offered);
        let [a, b] = &mut sides;
        let query = || relay.ng.ok(json!({"command": "query", "call-id": suite}));
        let moved = wait_for(SOON, || {
            say(a, b);
            say(b, a);
            both_kernelized(&query()).then_some(())
        });
        assert!(moved.is_some(), "{suite}: {}", query());
        let before = forwarded();
        for _ in 0..40 {
            say(a, b);
            say(b, a);
        }
        assert!(forwarded() >= before + 80, "{suite}: {}", table());
        // Up, some packets in user space, and down again: nothing is lost, no index used twice.
        for _ in 0..3 {
            relay.ng.ok(json!({"command": "block DTMF", "call-id": suite, "all": "all"}));
            for _ in 0..5 {
                say(a, b);
                say(b, a);
            }
            relay.ng.ok(json!({"command": "unblock DTMF", "call-id": suite, "all": "all"}));
            let down = wait_for(SOON, || {
                say(a, b);
                say(b, a);
                both_kernelized(&query()).then_some(())
            });
            assert!(down.is_some(), "{suite}: {}", query());
        }
        let drops = stream_of(&query(), "a")["drops"].clone();
        assert_eq!(drops["replayed"].as_u64().unwrap_or(0), 0, "{suite}: {drops}");
        assert_eq!(drops["not authentic"].as_u64().unwrap_or(0), 0, "{suite}: {drops}");
    }
}

/// A party that may speak SRTP.
struct Side {
    party: Party,
    key: Option<Key>,
    security: Option<Endpoint>,
}

fn secured(suite: Option<&str>) -> Side {
    let mut party = Party::new("127.0.0.1");
    party.sequence = 65_500;
    Side { party, key: suite.map(Key::random), security: None }
}

impl Side {
    fn connect(&mut self, media: &sdp::Media) {
        self.party.remote = Some(media.rtp);
        let Some(key) = &self.key else { return };
        let lines = media.attributes.iter().filter_map(|line| line.strip_prefix("crypto:"));
        let line = lines.clone().find(|line| line.split(' ').nth(1) == Some(&key.suite));
        let line = line.unwrap_or_else(|| panic!("{} in {:?}", key.suite, lines.collect::<Vec<_>>()));
        self.security = Some(Endpoint::new(key.clone(), Key::parse(line)));
    }
}

/// One packet, which arrives as it was said.
fn say(from: &mut Side, to: &mut Side) {
    let clear = from.party.next_packet(0, &rand::random::<[u8; 160]>(), 160).to_octets();
    let sealed = from.security.as_mut().map_or_else(|| clear.clone(), |keys| keys.protect(&clear));
    from.party.rtp.send_to(&sealed, from.party.remote.expect("connected")).expect("sent");
    let mut buffer = [0; 2048];
    to.party.rtp.set_read_timeout(Some(SOON)).expect("not zero");
    let length = to.party.rtp.recv(&mut buffer).expect("it is forwarded");
    let received = match &mut to.security {
        Some(keys) => keys.unprotect(&buffer[..length]).expect("an authentic packet"),
        None => buffer[..length].to_vec(),
    };
    assert_eq!(received, clear);
}

#[test]
fn a_call_in_the_kernel_is_recorded_through_proc() {
    if !module_is_there() {
        return;
    }
    let relay = relay(&["--recording-dir={DIR}/spool", "--recording-method=proc"]);
    let recorder = Recorder::start(&relay, &["--output-mixed", "--output-single"]);
    let mut call =
        Call::establish(&relay, "mixed", Setup { offer: json!({"record-call": "yes"}), ..Setup::default() });
    move_down(&mut call);
    let calls = files_below(std::path::Path::new("/proc/rtpengine/0/calls"), "");
    let is_rtp = |file: &&std::path::PathBuf| file.to_string_lossy().contains("-RTP-id-");
    assert_eq!(calls.iter().filter(is_rtp).count(), 2, "{calls:?}");
    assert!(table().contains("intercept stream"), "{}", table());
    let (caller, callee) = (speech::speak(Speaker::Caller, 8000), speech::speak(Speaker::Callee, 8000));
    let (caller, callee) = (&caller[..16_000], &callee[..16_000]);
    let format = sdp::format("0 PCMU/8000");
    let (a_says, ticks) = speech::encode(caller, 8000, &format);
    let (b_says, _) = speech::encode(callee, 8000, &format);
    let before = forwarded();
    let first = call.a.send_paced(0, a_says, ticks, Duration::from_millis(20));
    let second = call.b.send_paced(0, b_says, ticks, Duration::from_millis(20));
    first.join().expect("sent");
    second.join().expect("sent");
    std::thread::sleep(Duration::from_millis(200));
    assert!(forwarded() >= before + 195, "not in the kernel: {}", table());
    call.delete();
    let files = recorder.await_files(".wav", 3, Duration::from_secs(20));
    let named = |part: &str| {
        let found = files.iter().find(|file| file.to_string_lossy().contains(part));
        wav::read(found.unwrap_or_else(|| panic!("{part} among {files:?}"))).expect("a WAV file")
    };
    let mix = named("-mix");
    assert!(mix.seconds() > 1.95, "mix of {:.3} s", mix.seconds());
    for (ssrc, said, name) in [(call.a.ssrc, caller, "caller"), (call.b.ssrc, callee, "callee")] {
        let single = named(&format!("{ssrc:08x}"));
        assert!(single.frames() >= 16_000, "{name}: {} frames", single.frames());
        let found = signal::find(&said[1000..15_000], &single.samples, 8000);
        assert!(found.correlation > 0.99, "{name}: {found:?}");
        assert!(signal::find(&said[..7000], &mix.mono(), mix.rate).correlation > 0.6, "{name} in the mix");
    }
    assert!(files_below(&relay.path("spool"), ".meta").is_empty(), "the metafile is gone");
    let left = wait_for(SOON, || {
        files_below(std::path::Path::new("/proc/rtpengine/0/calls"), "").is_empty().then_some(())
    });
    assert!(left.is_some(), "files are left in /proc");
}
