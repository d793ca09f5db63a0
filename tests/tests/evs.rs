//! EVS through a library that the operator brings. That of the tests codes nothing, but its frames have the sizes of EVS and can be read.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use e2e::call::{Call, Setup};
use e2e::daemon::{Recorder, Relay, relay_binary};
use e2e::evs::{self, AWARE, NOISE, SPEECH};
use e2e::rtp::{self, Received};
use e2e::{sdp, signal, speech, wav};
use serde_json::{Value, json};

const PCMA: &str = "8 PCMA/8000";
const SOON: Duration = Duration::from_secs(15);
const PACKET: Duration = Duration::from_millis(20);
/// Of the tones, in Hz: the frames of the test library have few samples.
const PITCH: f64 = 200.0;
const LOUD: f64 = 8000.0;
/// Octets of a frame of 13.2 kbit/s.
const AT_13_2: usize = 33;

/// A relay with the test library.
struct World {
    relay: Relay,
    _folder: tempfile::TempDir,
}

impl World {
    fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let library = format!("--evs-lib-path={}", evs::library(folder.path(), "").display());
        Self { relay: Relay::start(&[&[library.as_str()], arguments].concat()), _folder: folder }
    }

    /// A caller with PCMA, a callee that answers with these parameters of EVS to `codec`.
    fn call(&self, codec: &str, parameters: &str) -> Call<'_> {
        let format = format!("96 EVS/16000 {parameters}");
        let offer = json!({"codec": {"mask": ["all"], "transcode": [codec]}});
        let id = format!("{codec} {parameters}");
        Call::establish(&self.relay, &id, Setup { a: &[PCMA], b: &[&format], offer, ..Setup::default() })
    }
}

/// PCMA of a tone, in packets of 20 ms.
fn tone(milliseconds: u32) -> Vec<Vec<u8>> {
    let audio = signal::tone(PITCH, 8000, milliseconds, LOUD);
    speech::encode(&audio, 8000, &sdp::format(PCMA)).0
}

/// Frames of the test library with a tone.
fn coded_tone(milliseconds: u32, octets: usize) -> Vec<Vec<u8>> {
    let audio = signal::tone(PITCH, 8000, milliseconds, LOUD);
    audio.chunks_exact(160).map(|samples| evs::frame(samples, octets)).collect()
}

/// The caller sends these packets of PCMA; what the callee receives of them.
fn to_callee(call: &mut Call<'_>, payloads: Vec<Vec<u8>>) -> Vec<Received> {
    let count = payloads.len();
    call.a.send_paced(8, payloads, 160, PACKET).join().expect("sent");
    call.b.receive_many(count)
}

/// The callee sends these payloads of EVS; what the caller hears of so many packets.
fn to_caller(call: &mut Call<'_>, payloads: Vec<Vec<u8>>, count: usize) -> Vec<i16> {
    call.b.send_paced(96, payloads, 320, PACKET).join().expect("sent");
    let heard = call.a.receive_many(count);
    assert!(heard.iter().all(|received| received.packet.payload_type == 8));
    rtp::decode(&heard, &sdp::format(PCMA)).0
}

/// The tone with its level; `tolerance` in dB.
fn is_tone(audio: &[i16], rate: u32, tolerance: f64) {
    let said = signal::level_dbfs(&signal::tone(PITCH, 8000, 200, LOUD));
    let heard = signal::level_dbfs(audio);
    assert!((said - heard).abs() < tolerance, "{said:.1} dB became {heard:.1} dB");
    let share = signal::typical_tone_share(audio, rate, PITCH);
    assert!(share > 0.9, "{:.0} % of it is the tone", share * 100.0);
}

#[test]
fn speech_passes_between_pcma_and_evs() {
    let world = World::start(&[]);
    let mut call = world.call("EVS", "br=13.2; bw=nb-wb");
    let offered = call.offered.format("EVS");
    assert_eq!((offered.clock_rate, offered.fmtp.as_str()), (16_000, "dtx=0;dtx-recv=0"));

    let heard = to_callee(&mut call, tone(1000));
    for pair in heard.windows(2) {
        assert_eq!(pair[1].packet.timestamp.wrapping_sub(pair[0].packet.timestamp), 320);
    }
    // Compact payloads: nothing but the frame.
    assert!(heard.iter().all(|received| received.packet.payload.len() == AT_13_2));
    let audio: Vec<i16> = heard.iter().flat_map(|received| evs::samples(&received.packet.payload)).collect();
    is_tone(&audio, 1600, 1.0);

    let audio = to_caller(&mut call, coded_tone(1000, AT_13_2), 50);
    is_tone(&audio[1600..], 8000, 1.0);
    let log = world.relay.process.log();
    assert!(log.contains("EVS is coded by EVS test plug-in"), "{log}");
}

#[test]
fn payloads_are_made_as_the_party_wants_them() {
    let world = World::start(&[]);
    // (what we offer, what is answered, octets in front of the frame, of the packet)
    let cases: [(&str, &str, &[u8], usize); 6] = [
        ("EVS/16000/1/13200//hf-only=1", "hf-only=1", &[0x04], 34),
        ("EVS/16000/1/13200", "cmr=1", &[0xff, 0x04], 35),
        // 7.2 kbit/s with a header would have the size of 8.0 kbit/s: an octet is added.
        ("EVS/16000/1/7200", "cmr=1", &[0xff, 0x01], 21),
        ("EVS/16000/1/64000", "br-recv=5.9-8; bw=nb", &[], 20),
        // The lowest bit rate of SWB, which was asked for, is 9.6 kbit/s.
        ("EVS/16000/1/5900", "bw-recv=swb", &[], 24),
        ("EVS/16000/1/48000", "bw=fb", &[], 120),
    ];
    for (codec, answer, header, octets) in cases {
        let mut call = world.call(codec, answer);
        for received in to_callee(&mut call, tone(100)) {
            let payload = &received.packet.payload;
            assert_eq!((payload.len(), &payload[..header.len()]), (octets, header), "{codec} {answer}");
            assert_eq!(payload[header.len()] & 0xf0, SPEECH, "{codec} {answer}");
        }
        call.delete();
    }
    // Two frames in a packet need a header.
    let mut call = world.call("EVS/16000/1/13200/40", "");
    call.a.send_paced(8, tone(200), 160, PACKET).join().expect("sent");
    for received in call.b.receive_many(5) {
        let payload = &received.packet.payload;
        assert_eq!((payload.len(), &payload[..2]), (2 + 2 * AT_13_2, &[0x44, 0x04][..]));
        assert_eq!((payload[2] & 0xf0, payload[2 + AT_13_2] & 0xf0), (SPEECH, SPEECH));
    }
    let both: Vec<Vec<u8>> = coded_tone(1000, AT_13_2)
        .chunks(2)
        .map(|pair| [&[0x44, 0x04], &pair.concat()[..]].concat())
        .collect();
    call.b.send_paced(96, both, 640, 2 * PACKET).join().expect("sent");
    let heard = rtp::decode(&call.a.receive_many(50), &sdp::format(PCMA)).0;
    is_tone(&heard[1600..], 8000, 1.0);
}

/// What the callee gets after it has sent a payload with this request in front.
fn after_request(call: &mut Call<'_>, request: u8) -> Vec<u8> {
    let frame = evs::frame(&[0; 160], AT_13_2);
    let packet = call.b.next_packet(96, &[&[request, 0x04], &frame[..]].concat(), 320);
    call.b.send(&packet);
    // It has been heard when the caller gets it.
    call.a.receive(SOON).expect("passed on");
    let heard = to_callee(call, tone(60));
    heard.last().expect("packets").packet.payload.clone()
}

#[test]
fn requests_of_the_party_change_rate_bandwidth_and_mode_as_far_as_was_negotiated() {
    let world = World::start(&[]);
    let mut call = world.call("EVS", "br=5.9-13.2; bw=wb; mode-set=0,2,8");
    assert_eq!(to_callee(&mut call, tone(60))[2].packet.payload.len(), AT_13_2);
    // 7.2 kbit/s, and more than is possible.
    assert_eq!(after_request(&mut call, 0xa1).len(), 18);
    assert_eq!(after_request(&mut call, 0xa6).len(), AT_13_2);
    // Variable, frames of 8.0 here; no request changes nothing.
    assert_eq!(after_request(&mut call, 0xa0).len(), 20);
    assert_eq!(after_request(&mut call, 0xff).len(), 20);
    let aware = after_request(&mut call, 0xd2);
    assert_eq!((aware.len(), aware[0] & 0xf0), (AT_13_2, SPEECH | AWARE));

    // AMR-WB of 12.65 kbit/s; 14.25 is not in the mode set; 23.85.
    for (request, bits, octets) in [(0x92, 253, 32), (0x93, 253, 32), (0x98, 477, 60), (0x90, 132, 17)] {
        let payload = after_request(&mut call, request);
        assert_eq!(payload.len(), octets, "{request:#x}");
        let (asked, frame) = evs::amr_wb_frame(&payload, bits);
        assert_eq!((asked, frame[0] & 0xf0), (7, SPEECH), "{request:#x}: {payload:02x?}");
    }
    assert_eq!(after_request(&mut call, 0xa3).len(), 24, "and back");

    let mut deaf = world.call("EVS/16000/1/13200", "cmr=-1");
    assert_eq!(after_request(&mut deaf, 0xa1).len(), AT_13_2);
}

#[test]
fn a_session_can_begin_in_amr_wb_mode() {
    let world = World::start(&[]);
    let codec = "EVS/16000/1/12650//evs-mode-switch=1;mode-set=0,1,2,4/CMR-interval=40";
    let mut call = world.call(codec, "evs-mode-switch=1; mode-set=0,1,2,4");
    let heard = to_callee(&mut call, tone(1000));
    let frames: Vec<_> =
        heard.iter().map(|received| evs::amr_wb_frame(&received.packet.payload, 253)).collect();
    assert!(
        frames.iter().all(|(request, frame)| *request == 7 && frame.len() == 32),
        "12.65 kbit/s, no request"
    );
    let audio: Vec<i16> = frames.iter().flat_map(|(_, frame)| evs::samples(&frame[..31])).collect();
    is_tone(&audio, 1500, 1.0);

    // The same payloads the other way.
    let payloads = heard.iter().map(|received| received.packet.payload.clone()).collect();
    is_tone(&to_caller(&mut call, payloads, 50)[1600..], 8000, 1.0);
    // The callee uses mode 2: it is asked for the next higher one that it has, 15.85, which is 3 of 3 bits.
    let heard = to_callee(&mut call, tone(100));
    assert!(heard.iter().any(|received| received.packet.payload[0] >> 5 == 3));
}

#[test]
fn silence_is_described_where_the_party_takes_that() {
    let world = World::start(&[]);
    let silence = || vec![vec![0xd5; 160]; 20];
    let mut call = world.call("EVS/16000/1/13200", "dtx=1");
    let payloads = [tone(100), silence(), tone(100)].concat();
    call.a.send_paced(8, payloads, 160, PACKET).join().expect("sent");
    // Five frames, three descriptions of twenty, five frames.
    let heard = call.b.receive_many(13);
    let lengths: Vec<usize> = heard.iter().map(|received| received.packet.payload.len()).collect();
    assert_eq!(lengths, [[AT_13_2; 5].as_slice(), &[6; 3], &[AT_13_2; 5]].concat());
    assert!(heard[5..8].iter().all(|received| received.packet.payload[0] == NOISE));
    let since = |n: usize| heard[n].packet.timestamp.wrapping_sub(heard[0].packet.timestamp) / 320;
    assert_eq!([5, 6, 7, 8].map(since), [5, 13, 21, 25]);
    let marked: Vec<usize> = (0..13).filter(|&n| heard[n].packet.marker).collect();
    assert_eq!(marked, [0, 8], "talk spurts");

    // In AMR-WB mode descriptions have a header, so that their size says what they are.
    call = world.call("EVS/16000/1/12650//evs-mode-switch=1;dtx-recv=1", "evs-mode-switch=1; dtx-recv=1");
    let heard = to_callee(&mut call, [tone(40), silence()[..1].to_vec()].concat());
    assert_eq!(heard[2].packet.payload[..3], [0xff, 0x39, NOISE]);
    assert_eq!(heard[2].packet.payload.len(), 7);
    // Not to who does not want it.
    for (codec, answer) in [("EVS", "br=13.2"), ("EVS/16000/1/13200///dtx", "br=13.2; dtx-recv=0")] {
        let mut call = world.call(codec, answer);
        let heard = to_callee(&mut call, silence());
        assert!(heard.iter().all(|received| received.packet.payload.len() == AT_13_2), "{codec} {answer}");
    }
}

/// Level of what the caller hears while the callee describes silence by a single packet.
fn level_of_silence(arguments: &[&str]) -> f64 {
    let world = World::start(&[&["--dtx-delay=50"], arguments].concat());
    let mut call = world.call("EVS", "br=13.2");
    let description = vec![NOISE, 200, 0, 0, 0, 0];
    let audio = to_caller(&mut call, [coded_tone(100, AT_13_2), vec![description]].concat(), 50);
    signal::level_dbfs(&audio[2400..])
}

#[test]
fn silence_that_is_not_sent_is_filled_in_natively_or_with_noise() {
    // The noise of the library has 49 dB below full scale.
    let native = level_of_silence(&["--dtx-cn-params=30"]);
    assert!((native + 49.0).abs() < 3.0, "{native}");
    let generated = level_of_silence(&["--dtx-cn-params=30", "--evs-dtx=CN"]);
    assert!((generated + 30.0).abs() < 4.0, "{generated}");
}

#[test]
fn lost_packets_are_concealed_by_the_library() {
    let world = World::start(&[]);
    let mut call = world.call("EVS", "br=13.2");
    let payloads = coded_tone(1000, AT_13_2);
    call.b.send_paced(96, payloads[..20].to_vec(), 320, PACKET).join().expect("sent");
    // Two are lost.
    call.b.sequence = call.b.sequence.wrapping_add(2);
    call.b.timestamp = call.b.timestamp.wrapping_add(640);
    call.b.send_paced(96, payloads[22..].to_vec(), 320, PACKET).join().expect("sent");
    let heard = rtp::decode(&call.a.receive_many(50), &sdp::format(PCMA)).0;
    // Packets of a square wave, the second one of half the amplitude.
    let gap: Vec<f64> = heard.chunks_exact(160).skip(20).take(2).map(signal::level_dbfs).collect();
    let expected = signal::level_dbfs(&[4000, -4000]);
    assert!((gap[0] - expected).abs() < 1.0 && (gap[1] - expected + 6.0).abs() < 1.0, "{gap:?}, {expected}");
    is_tone(&heard[22 * 160..], 8000, 1.0);
}

#[test]
fn who_offers_evs_is_told_what_is_received_and_sent() {
    let world = World::start(&[]);
    let offered = "97 EVS/16000 br-send=7.2-13.2; br-recv=13.2; bw-recv=wb; bw-send=nb-wb";
    let offer = json!({"codec": {"transcode": ["PCMA"]}});
    let call = Call::establish(
        &world.relay,
        "offered",
        Setup { a: &[offered], b: &[PCMA], offer, ..Setup::default() },
    );
    let answer = call.answered.format("EVS");
    assert_eq!(answer.fmtp, "br-recv=7.2-13.2;br-send=13.2;bw-send=wb;bw-recv=nb-wb");
}

fn codecs(argument: &str, library: &Path) -> Output {
    let library = format!("--evs-lib-path={}", library.display());
    Command::new(relay_binary()).args(["--config-file=none", argument, &library]).output().expect("it runs")
}

#[test]
fn the_list_of_codecs_says_what_codes_evs() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let library = evs::library(folder.path(), "");
    let list = String::from_utf8(codecs("--codecs", &library).stdout).expect("text");
    assert!(list.contains("                 EVS: fully supported\n"), "{list}");
    let list: Value = serde_json::from_slice(&codecs("--codecs-json", &library).stdout).expect("JSON");
    let entry = list.as_array().expect("a list").iter().find(|codec| codec["name"] == "EVS").expect("EVS");
    assert_eq!(
        (&entry["implementation"], &entry["licence"]),
        (&json!("EVS test plug-in (no EVS)"), &json!("GPL-3.0-or-later"))
    );
    assert!(entry["encode"] == true && entry["decode"] == true && entry["encode_ns"].is_u64(), "{entry}");
}

#[test]
fn a_library_that_is_not_right_is_refused_and_evs_passes_as_it_is() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let text = folder.path().join("text.so");
    std::fs::write(&text, "no library").expect("written");
    let built = |variant| evs::library(folder.path(), variant);
    let cases = [
        (Path::new("/nowhere/evs.so").into(), "/nowhere/evs.so"),
        (text, "text.so"),
        (Path::new("libc.so.6").into(), "no function rtpengine_evs_plugin_v1"),
        (built("WRONG_VERSION"), "version 2 of the interface"),
        (built("WRONG_SIZE"), "in 16 octets"),
        (built("NO_DECODER"), "its table has no decoder_decode"),
        (built("REFUSES"), "cannot work here"),
        (built("WRONG_FRAMES"), "fails its self-test: made a frame of type"),
    ];
    for (library, reason) in &cases {
        let output = codecs("--codecs", library);
        let (list, error) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && list.contains("EVS: not supported"), "{list}");
        assert!(error.contains("is not used") && error.contains(reason), "{reason}: {error}");
    }
    let relay = Relay::start(&[&format!("--evs-lib-path={}", cases[3].0.display())]);
    let log = relay.process.log();
    assert!(
        log.contains("EVS is not transcoded: library ") && log.contains("version 2 of the interface"),
        "{log}"
    );
    // Nobody is offered it, and who has it keeps it.
    let (both, evs) = (["96 EVS/16000", PCMA], ["96 EVS/16000"]);
    let offer = json!({"codec": {"transcode": ["EVS"]}});
    let call =
        Call::establish(&relay, "without", Setup { a: &[PCMA], b: &[PCMA], offer, ..Setup::default() });
    assert!(call.offered.formats.iter().all(|format| format.name != "EVS"));
    let mut call = Call::establish(&relay, "passes", Setup { a: &both, b: &evs, ..Setup::default() });
    let packet = call.a.next_packet(96, &[0x12; 33], 320);
    call.a.send(&packet);
    assert_eq!(call.b.receive(SOON).expect("passed on").packet, packet);
}

#[test]
fn the_recording_daemon_takes_the_same_library() {
    let world = World::start(&["--recording-dir={DIR}/spool", "--recording-method=proc"]);
    let library = format!("--evs-lib-path={}", evs::library(world.relay.folder.path(), "").display());
    let recorder = Recorder::start(&world.relay, &[&library, "--output-mixed", "--output-format=wav"]);
    let offer = json!({"record-call": "yes"});
    let formats: &[&str] = &["96 EVS/16000 br=13.2; bw=nb-wb"];
    let mut call = Call::establish(
        &world.relay,
        "recorded",
        Setup { a: formats, b: formats, offer, ..Setup::default() },
    );
    call.a.send_paced(96, coded_tone(1000, AT_13_2), 320, PACKET).join().expect("sent");
    call.b.receive_many(50);
    call.delete();
    let files = recorder.await_files(".wav", 1, SOON);
    let file = wav::read(&files[0]).expect("a file");
    // Decoded with as much as there is: no bandwidth above WB was negotiated.
    assert_eq!(file.rate, 16_000);
    let audio = file.mono();
    is_tone(&audio[1600..14_400], file.rate, 1.0);
}
