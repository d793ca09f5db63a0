//! Outputs that are uploaded while the call goes on: stores that refuse, are slow, break, forget; a recorder that is killed. In each case
//! there is exactly one object in the end, with the octets of the file, and one reported end.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::http::{Answer, Request};
use common::objects::{ObjectStore, s3_options};
use common::relay::{FakeCall, talk};
use common::signal::Voice;
use common::{Bench, Recorder, wait_for};

const START: Duration = Duration::ZERO;
/// 3 MB of file each second.
const LARGE: [&str; 5] = [
    "--output-mixed",
    "--mix-method=channels",
    "--mix-num-inputs=32",
    "--resample-to=48000",
    "--output-storage=file",
];
const SECONDS: u64 = 16;

struct Large<'b> {
    bench: &'b Bench,
    options: Vec<String>,
    recorder: Recorder,
    call: FakeCall,
}

impl<'b> Large<'b> {
    /// A call of which many megabytes are in the file already.
    fn begin(bench: &'b Bench, target: Vec<String>, retries: u32) -> Self {
        let mut options: Vec<String> = LARGE.iter().map(ToString::to_string).collect();
        options.extend(target);
        options.extend([
            format!("--notify-retries={retries}"),
            "--notify-retry-delay=100".into(),
            "--sqlite-db=none".into(),
            bench.report_option(),
        ]);
        let recorder = bench.start(&options.iter().map(String::as_str).collect::<Vec<_>>());
        let mut call = FakeCall::begin(bench, "large", &[]);
        call.add_party("a");
        let packets = talk(0, 0xab, Voice::Noise { seed: 1 }, START, SECONDS as usize * 50);
        let began =
            Instant::now().checked_sub(Duration::from_secs(SECONDS)).expect("the machine runs for longer");
        call.speak(began, packets);
        wait_for("all packets to be taken", || {
            call.deliver();
            call.queued() == 0
        });
        Self { bench, options, recorder, call }
    }

    fn kill_and_restart(self) -> Self {
        self.recorder.kill();
        let options: Vec<&str> = self.options.iter().map(String::as_str).collect();
        let recorder = self.bench.start(&options);
        Self { recorder, ..self }
    }

    /// The call ends: one object, the same as the file, and one end.
    fn end(self, store: &ObjectStore, state: &str) -> Vec<u8> {
        self.call.end();
        assert_eq!(self.bench.wait_for_report().0, state, "{:?}", self.bench.reports());
        assert!(self.recorder.terminate().success());
        assert_eq!(self.bench.reports().len(), 1);
        assert_eq!(store.unfinished(), 0, "{:?}", store.log());
        let objects = store.objects();
        assert_eq!(objects.len(), 1, "{:?}", objects.keys());
        let (name, content) = objects.into_iter().next().expect("an object");
        assert!(name.ends_with("/large-0011223344556677-mix.wav"), "{name}");
        let file = std::fs::read(self.bench.file("large-0011223344556677-mix.wav")).expect("file");
        assert!(file.len() as u64 > SECONDS * 3_000_000, "{} octets", file.len());
        assert!(content == file, "{} octets, not {} or other ones", content.len(), file.len());
        let left: Vec<_> = std::fs::read_dir(self.bench.file(".state")).expect("states").flatten().collect();
        assert!(left.is_empty(), "{left:?}");
        content
    }
}

fn wait_for_parts(store: &ObjectStore, count: usize) {
    wait_for("parts in the store", || store.count("part") >= count);
}

fn is_part(request: &Request, number: u32) -> bool {
    request.method == "PUT" && request.target.contains(&format!("partNumber={number}&"))
}

#[test]
fn parts_are_stored_while_the_call_goes_on_and_the_header_last() {
    let store = ObjectStore::start_tls(|_, _| Answer::Handle);
    let bench = Bench::new();
    let call = Large::begin(&bench, s3_options(&store), 3);
    wait_for_parts(&store, 5);
    assert_eq!(store.log()[..3], ["begin", "part 2", "part 3"]);
    call.end(&store, "complete");
    let log = store.log();
    assert_eq!(log[log.len() - 2..], ["part 1", "complete"], "{log:?}");
    assert_eq!(
        log.iter().collect::<std::collections::BTreeSet<_>>().len(),
        log.len(),
        "nothing twice: {log:?}"
    );
}

#[test]
fn a_store_that_refuses_for_a_while_gets_everything() {
    let refuses = Arc::new(AtomicBool::new(true));
    let refusing = Arc::clone(&refuses);
    let store = ObjectStore::start_tls(move |_, _| {
        if refusing.load(Ordering::Relaxed) { Answer::Status(503) } else { Answer::Handle }
    });
    let bench = Bench::new();
    let call = Large::begin(&bench, s3_options(&store), 100);
    std::thread::sleep(Duration::from_secs(2));
    refuses.store(false, Ordering::Relaxed);
    wait_for_parts(&store, 1);
    refuses.store(true, Ordering::Relaxed);
    let allow = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(2));
        refuses.store(false, Ordering::Relaxed);
    });
    call.end(&store, "complete");
    allow.join().expect("thread");
    assert_eq!(store.count("begin"), 1);
}

#[test]
fn connections_that_break_in_the_middle_of_a_part_are_made_again() {
    let broken = Arc::new(AtomicUsize::new(0));
    let store = ObjectStore::start_tls(move |_, request| {
        let breaks =
            (is_part(request, 3) || is_part(request, 1)) && broken.fetch_add(1, Ordering::Relaxed) < 3;
        if breaks { Answer::BreakInBody } else { Answer::Handle }
    });
    let bench = Bench::new();
    let call = Large::begin(&bench, s3_options(&store), 5);
    wait_for_parts(&store, 3);
    call.end(&store, "complete");
}

#[test]
fn a_slow_store_does_not_hold_up_the_call() {
    let store = ObjectStore::start_tls(|_, _| Answer::HandleSlowly);
    let bench = Bench::new();
    let call = Large::begin(&bench, s3_options(&store), 3);
    wait_for_parts(&store, 1);
    call.end(&store, "complete");
}

#[test]
fn a_recorder_killed_in_the_middle_of_an_upload_goes_on_with_it() {
    let store = ObjectStore::start_tls(|_, _| Answer::Handle);
    let bench = Bench::new();
    let call = Large::begin(&bench, s3_options(&store), 3);
    wait_for_parts(&store, 4);
    let call = call.kill_and_restart();
    call.end(&store, "partial");
    assert_eq!(
        (store.count("begin"), store.count("part 2"), store.count("part 3")),
        (1, 1, 1),
        "{:?}",
        store.log()
    );
}

#[test]
fn an_upload_that_the_store_has_forgotten_is_begun_again() {
    let store = ObjectStore::start_tls(|_, _| Answer::Handle);
    let bench = Bench::new();
    let call = Large::begin(&bench, s3_options(&store), 3);
    wait_for_parts(&store, 3);
    store.forget_uploads();
    call.end(&store, "complete");
}

#[test]
fn an_upload_of_a_discarded_recording_is_aborted() {
    let refused = Arc::new(AtomicUsize::new(0));
    let store = ObjectStore::start_tls(move |_, request| {
        // Not at the first attempt.
        let refuses = request.method == "DELETE" && refused.fetch_add(1, Ordering::Relaxed) < 2;
        if refuses { Answer::Status(500) } else { Answer::Handle }
    });
    let bench = Bench::new();
    let call = Large::begin(&bench, s3_options(&store), 3);
    wait_for_parts(&store, 2);
    call.call.discard();
    assert_eq!(bench.wait_for_report().0, "discarded");
    assert_eq!((store.unfinished(), store.objects().len()), (0, 0), "{:?}", store.log());
    assert!(call.recorder.terminate().success());
}

#[test]
fn an_upload_that_is_given_up_is_aborted_and_reported() {
    let store =
        ObjectStore::start_tls(
            |_, request| {
                if is_part(request, 1) { Answer::Status(403) } else { Answer::Handle }
            },
        );
    let bench = Bench::new();
    let call = Large::begin(&bench, s3_options(&store), 2);
    wait_for_parts(&store, 2);
    call.call.end();
    let (state, reasons) = bench.wait_for_report();
    assert_eq!(state, "partial");
    assert!(reasons.contains("S3 upload of") && reasons.contains("403"), "{reasons}");
    assert_eq!((store.unfinished(), store.objects().len()), (0, 0), "{:?}", store.log());
    assert!(bench.file("large-0011223344556677-mix.wav").exists());
    assert!(call.recorder.terminate().success());
}

#[test]
fn google_storage_takes_parts_as_well() {
    let store = ObjectStore::start(|_, request| match request.target.as_str() {
        "/token" => Answer::Json(r#"{"access_token":"t0ken","expires_in":3600}"#.into()),
        target if target.starts_with("/storage/v1/b/bucket/o/large") => {
            Answer::Json(r#"{"selfLink":"https://self/1"}"#.into())
        }
        _ if request.header("authorization") != Some("Bearer t0ken") => Answer::Status(401),
        _ => Answer::Handle,
    });
    let bench = Bench::new();
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).expect("key");
    let address = store.server.address;
    let account = serde_json::json!({
        "client_email": "recorder@example", "private_key": key.serialize_pem(),
        "token_uri": format!("http://{address}/token"),
    });
    let account_file = bench.spool.path().join("account");
    std::fs::write(&account_file, account.to_string()).expect("account");
    let options = vec![
        "--output-storage=gcs".into(),
        format!("--gcs-uri=http://{address}/upload/storage/v1/b/bucket/o"),
        format!("--gcs-service-account={}", account_file.display()),
        "--output-sidecar".into(),
    ];
    let call = Large::begin(&bench, options, 3);
    wait_for_parts(&store, 3);
    call.end(&store, "complete");
    let sidecar =
        std::fs::read_to_string(bench.file("large-0011223344556677-mix.wav.json")).expect("sidecar");
    assert!(sidecar.contains("https://self/1"), "{sidecar}");
}
