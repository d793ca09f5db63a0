//! The media daemon ends, is killed or is replaced in the middle of a recorded call: it stays one recording, with one end.

use std::net::SocketAddr;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use e2e::call::{Call, Setup};
use e2e::daemon::{Recorder, Relay, files_below, wait_for};
use e2e::party::Party;
use e2e::redis::RedisServer;
use e2e::speech::{self, Speaker};
use e2e::{signal, wav};
use serde_json::{Value, json};

const DATABASES: [u32; 2] = [5, 6];
const LIMIT: Duration = Duration::from_secs(20);
const OUTPUTS: [&str; 3] = ["--output-mixed", "--output-single", "--mix-num-inputs=1"];
/// Longer than the media daemon keeps packets in memory.
const LONG: Duration = Duration::from_secs(12);
const PTIME: Duration = Duration::from_millis(20);

/// The spool that all instances share, and the recorder that reads it.
struct Bench {
    folder: tempfile::TempDir,
    recorder: Recorder,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let report = format!("--report-file={}", folder.path().join("ends").display());
        let recorder = Recorder::start_in(folder.path(), &[&OUTPUTS[..], &[&report]].concat());
        Self { folder, recorder }
    }

    fn options(&self) -> [String; 2] {
        [
            format!("--recording-dir={}", self.folder.path().join("spool").display()),
            "--recording-method=proc".to_owned(),
        ]
    }

    fn reports(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.folder.path().join("ends")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    }

    /// Another recorder in the place of one that was killed.
    fn restart_recorder(&mut self) {
        let report = format!("--report-file={}", self.folder.path().join("ends").display());
        self.recorder = Recorder::start_in(self.folder.path(), &[&OUTPUTS[..], &[&report]].concat());
    }

    /// One recording with one end, in which the speaker is heard where he spoke. `missing` packets may not be there.
    fn check(&mut self, said: &[i16], ssrc: u32, missing: usize) {
        self.check_end(said, ssrc, missing, &[]);
    }

    fn check_end(&mut self, said: &[i16], ssrc: u32, missing: usize, reasons: &[&str]) {
        let ended = wait_for(LIMIT, || (!self.reports().is_empty()).then_some(()));
        assert!(ended.is_some(), "no end is reported");
        let spool = self.folder.path().join("spool");
        assert_eq!(files_below(&spool, ""), Vec::<std::path::PathBuf>::new(), "nothing is left in the spool");
        assert_eq!(self.recorder.process.terminate().code(), Some(0));
        let reports = self.reports();
        assert_eq!(reports.len(), 1, "{reports:?}");
        let state = if reasons.is_empty() { "complete" } else { "partial" };
        assert_eq!((&reports[0]["state"], &reports[0]["reasons"]), (&json!(state), &json!(reasons)));
        let files = files_below(&self.recorder.output, ".wav");
        assert_eq!(files.len(), 2, "{files:?}");
        let named = |part: &str| {
            let found = files.iter().find(|file| file.to_string_lossy().contains(part));
            wav::read(found.unwrap_or_else(|| panic!("{part} among {files:?}"))).expect("a WAV file")
        };
        let (single, mix) = (named(&format!("{ssrc:08x}")), named("-mix"));
        let packets = said.len() / 160;
        let recorded = single.frames() / 160;
        assert!(recorded <= packets && recorded + missing >= packets, "{recorded} of {packets} packets");
        assert!((mix.seconds() - packets as f64 * 0.02).abs() < 0.06, "mix of {:.3} s", mix.seconds());
        // Before the interruption, and after it.
        for from in [0.3, packets as f64 * 0.02 - 1.5] {
            let at = (from * 8000.0) as usize;
            let found = signal::find(&said[at..at + 8000], &mix.mono(), mix.rate);
            assert!(found.correlation > 0.9 && (found.seconds - from).abs() < 0.06, "{from}: {found:?}");
        }
    }
}

fn speech_of(seconds: usize) -> Vec<i16> {
    let sentence = speech::speak(Speaker::Caller, 8000);
    // Noise below it, so that each place is like no other.
    let noise = |n: usize| {
        let mut x = (n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        x ^= x >> 29;
        ((x.wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40) as i16) / 16
    };
    (0..seconds * 8000).map(|n| sentence[n % sentence.len()] / 2 + noise(n)).collect()
}

/// The caller says this, a packet each 20 ms.
fn say(caller: &mut Party, said: &[i16]) -> JoinHandle<()> {
    say_from(Instant::now(), caller, said)
}

fn say_from(start: Instant, caller: &mut Party, said: &[i16]) -> JoinHandle<()> {
    let (payloads, ticks) = speech::encode(said, 8000, &e2e::sdp::format("0 PCMU/8000"));
    caller.send_paced_from(start, 0, payloads, ticks, PTIME)
}

/// Two parties whose call is recorded; they outlive the relay.
fn establish(relay: &Relay, id: &str) -> (Party, Party) {
    let call = Call::establish(relay, id, Setup { offer: json!({"record-call": "yes"}), ..Setup::default() });
    let Call { a, b, .. } = call;
    (a, b)
}

fn delete(relay: &Relay, id: &str) {
    relay.ng.ok(json!({"command": "delete", "call-id": id, "delete-delay": 0}));
}

fn ports_of(relay: &Relay) -> [String; 2] {
    let (low, high) = relay.ports.media();
    [format!("--port-min={low}"), format!("--port-max={high}")]
}

fn words(lists: &[&[String]]) -> Vec<String> {
    lists.iter().flat_map(|list| list.iter().cloned()).collect()
}

fn start(interface: &str, words: &[String]) -> Relay {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Relay::start_with_ports(&[interface], &words)
}

fn redis_option(redis: &RedisServer, database: u32) -> String {
    format!("--redis={}", redis.endpoint(database))
}

fn await_stored(redis: &RedisServer, id: &str) {
    redis.client(DATABASES[0]).await_value(id, |value| value.windows(8).any(|window| window == b"3:tag1:b"));
}

#[test]
fn one_recording_across_a_restart_with_redis_orderly_or_not() {
    for signal in [libc::SIGTERM, libc::SIGKILL] {
        let mut bench = Bench::new();
        let redis = RedisServer::start();
        let own = [redis_option(&redis, DATABASES[0])];
        let ports = e2e::ports::PortBlock::take();
        let (low, high) = ports.media();
        let range = [format!("--port-min={low}"), format!("--port-max={high}")];
        let options = words(&[&own, &bench.options(), &range]);
        let mut first = start("127.0.0.1", &options);
        let (mut a, _b) = establish(&first, "restarted");
        await_stored(&redis, "restarted");
        let said = speech_of(6);
        let saying = say(&mut a, &said);
        std::thread::sleep(Duration::from_secs(2));
        let began = Instant::now();
        first.process.signal(signal);
        first.process.wait(LIMIT).expect("it ends");
        let second = start("127.0.0.1", &options);
        // What was sent meanwhile, and a moment of what had not been written when it was killed.
        let missing = began.elapsed().as_millis() as usize / 20 + 10;
        saying.join().expect("sent");
        std::thread::sleep(Duration::from_millis(100));
        delete(&second, "restarted");
        bench.check(&said, a.ssrc, missing);
    }
}

#[test]
fn one_recording_when_another_instance_takes_the_call_over() {
    let mut bench = Bench::new();
    let redis = RedisServer::start();
    let own = [redis_option(&redis, DATABASES[0]), format!("--subscribe-keyspace={}", DATABASES[1])];
    let first =
        Relay::start(&words(&[&own, &bench.options()]).iter().map(String::as_str).collect::<Vec<_>>());
    let own = [redis_option(&redis, DATABASES[1]), format!("--subscribe-keyspace={}", DATABASES[0])];
    let second = start("127.0.0.2", &words(&[&own, &bench.options(), &ports_of(&first)]));
    let (mut a, _b) = establish(&first, "taken");
    let foreign = wait_for(LIMIT, || {
        let query = second.ng.request(&json!({"command": "query", "call-id": "taken"}));
        (query["result"] == "ok").then_some(())
    });
    assert!(foreign.is_some(), "the second instance does not know the call");
    let said = speech_of(6);
    // The address moves with the call.
    let half = said.len() / 320 * 160;
    let began = Instant::now();
    say_from(began, &mut a, &said[..half]).join().expect("sent");
    first.process.signal(libc::SIGKILL);
    let active = second.ng.ok(json!({"command": "cli", "body": "active"}));
    assert_eq!(active["response"], "Ok, all calls set to 'owned (active)'\n");
    let remote: SocketAddr = a.remote.expect("a remote side");
    a.remote = Some(SocketAddr::new("127.0.0.2".parse().expect("an address"), remote.port()));
    // A clock that stood still for some milliseconds would be drift, which is removed by stretching.
    say_from(began + Duration::from_secs(3), &mut a, &said[half..]).join().expect("sent");
    std::thread::sleep(Duration::from_millis(100));
    delete(&second, "taken");
    bench.check(&said, a.ssrc, 10);
}

#[test]
fn one_recording_when_the_daemon_is_replaced_and_not_a_packet_missing() {
    let mut bench = Bench::new();
    let own = [format!("--handover-socket={}", bench.folder.path().join("next").display())];
    let mut former =
        Relay::start(&words(&[&own, &bench.options()]).iter().map(String::as_str).collect::<Vec<_>>());
    let (mut a, _b) = establish(&former, "replaced");
    let said = speech_of(6);
    let saying = say(&mut a, &said);
    std::thread::sleep(Duration::from_secs(2));
    let next = start("127.0.0.1", &words(&[&own, &bench.options(), &ports_of(&former)]));
    former.process.wait(LIMIT).expect("the former one ends");
    saying.join().expect("sent");
    std::thread::sleep(Duration::from_millis(100));
    delete(&next, "replaced");
    bench.check(&said, a.ssrc, 0);
}

/// The recorder is dead meanwhile: what the party said waits for it beyond the hand-over.
#[test]
fn a_party_that_has_gone_before_the_daemon_is_replaced_is_recorded() {
    let mut bench = Bench::new();
    let own = [format!("--handover-socket={}", bench.folder.path().join("next").display())];
    let mut former =
        Relay::start(&words(&[&own, &bench.options()]).iter().map(String::as_str).collect::<Vec<_>>());
    let (a, mut c) = (Party::new("127.0.0.1"), Party::new("127.0.0.1"));
    let branch = |command: &str, to: &str, party: &Party| {
        let sdp = e2e::sdp::audio(party.local(), &["0 PCMU/8000"], &["ptime:20"]);
        let mut request = json!({"command": command, "call-id": "gone", "from-tag": "a", "via-branch": to,
            "record-call": "yes", "sdp": sdp});
        if command == "answer" {
            request["to-tag"] = json!(to);
        }
        former.ng.ok(request)
    };
    bench.recorder.process.kill();
    for to in ["b", "c"] {
        let offered = branch("offer", to, &a);
        c.remote = Some(e2e::call::media_of(&offered).rtp);
        branch("answer", to, &c);
    }
    let said = speech_of(3);
    say(&mut c, &said).join().expect("sent");
    former.ng.ok(
        json!({"command": "delete", "call-id": "gone", "from-tag": "a", "to-tag": "c", "via-branch": "c",
        "delete-delay": 0}),
    );
    let next = start("127.0.0.1", &words(&[&own, &bench.options(), &ports_of(&former)]));
    former.process.wait(LIMIT).expect("the former one ends");
    bench.restart_recorder();
    delete(&next, "gone");
    bench.check(&said, c.ssrc, 0);
}

#[test]
fn nothing_is_lost_while_the_recorder_is_stopped_for_long() {
    let mut bench = Bench::new();
    let relay = Relay::start(&bench.options().iter().map(String::as_str).collect::<Vec<_>>());
    let (mut a, _b) = establish(&relay, "stopped");
    let said = speech_of(17);
    let saying = say(&mut a, &said);
    std::thread::sleep(Duration::from_secs(2));
    bench.recorder.process.signal(libc::SIGSTOP);
    let spilled = wait_for(LONG * 2, || {
        let files = files_below(&bench.folder.path().join("spool"), ".spill");
        (!files.is_empty()).then_some(())
    });
    assert!(spilled.is_some(), "nothing waits on disk");
    std::thread::sleep(Duration::from_secs(1));
    let told =
        |key: &str| relay.ng.ok(json!({"command": "statistics"}))["statistics"]["recording"][key].as_u64();
    assert_eq!(told("recordings"), Some(1));
    assert!(told("spilled_packets") > Some(0) && told("spilled_bytes") > Some(0));
    bench.recorder.process.signal(libc::SIGCONT);
    saying.join().expect("sent");
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!((told("exposed_lost"), told("spilled_bytes")), (Some(0), Some(0)), "all was taken");
    delete(&relay, "stopped");
    bench.check(&said, a.ssrc, 0);
}

#[test]
fn nothing_is_lost_when_the_recorder_is_dead_until_long_after_the_call() {
    let mut bench = Bench::new();
    let relay = Relay::start(&bench.options().iter().map(String::as_str).collect::<Vec<_>>());
    let (mut a, _b) = establish(&relay, "dead");
    let said = speech_of(14);
    let saying = say(&mut a, &said);
    std::thread::sleep(Duration::from_secs(2));
    bench.recorder.process.kill();
    saying.join().expect("sent");
    std::thread::sleep(Duration::from_millis(100));
    delete(&relay, "dead");
    std::thread::sleep(LONG);
    bench.restart_recorder();
    // What the dead one had received and not written.
    bench.check_end(&said, a.ssrc, 40, &["the recording daemon was interrupted"]);
}

#[test]
fn recordings_of_a_daemon_that_does_not_come_back_end_and_leave_nothing() {
    let bench = Bench::new();
    let redis = RedisServer::start();
    let options = words(&[&[redis_option(&redis, DATABASES[0])], &bench.options()]);
    let mut relay = Relay::start(&options.iter().map(String::as_str).collect::<Vec<_>>());
    let (mut a, _b) = establish(&relay, "alone");
    let said = speech_of(1);
    say(&mut a, &said).join().expect("sent");
    relay.process.terminate();
    let ended = wait_for(Duration::from_secs(60), || (!bench.reports().is_empty()).then_some(()));
    assert!(ended.is_some(), "no end is reported");
    let reports = bench.reports();
    assert_eq!(reports[0]["state"], "partial");
    let is_clear = |path: &Path| files_below(path, "").is_empty();
    let cleared = wait_for(LIMIT, || is_clear(&bench.folder.path().join("spool")).then_some(()));
    assert!(cleared.is_some(), "{:?}", files_below(&bench.folder.path().join("spool"), ""));
}
