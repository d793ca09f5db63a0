//! Where finished outputs go: notifications, object stores, memory, commands; what happens when they fail; the one report.

mod common;

use std::time::{Duration, Instant};

use common::http::{Answer, Server};
use common::relay::{FakeCall, talk};
use common::signal::{PACKET, Voice};
use common::wav::Wav;
use common::{Bench, wait_for};

const START: Duration = Duration::ZERO;
const QUICK: &str = "--notify-retry-delay=100";

/// A call of one party with 40 packets, all sent at once.
fn short_call(bench: &Bench, call_id: &str) {
    let mut call = FakeCall::begin(bench, call_id, &[("METADATA", "caller:alice")]);
    call.add_party("labA");
    let packets = talk(0, 0xab, Voice::Noise { seed: 1 }, START, 40);
    call.speak(Instant::now(), packets);
    call.end();
}

fn wav_octets(packets: usize) -> usize {
    44 + packets * PACKET * 2
}

#[test]
fn notifications_carry_headers_and_content_and_are_repeated() {
    let server =
        Server::start(|number, _| if number < 2 { Answer::Status(500) } else { Answer::Status(202) });
    let bench = Bench::new();
    let _recorder = bench.start(&[
        "--output-single",
        "--output-storage=file",
        "--output-storage=notify",
        &format!("--notify-uri=http://{}/done", server.address),
        QUICK,
        &bench.report_option(),
    ]);
    short_call(&bench, "notify");
    assert_eq!(bench.wait_for_report(), ("complete".into(), String::new()));
    let requests = server.requests();
    assert_eq!(requests.len(), 1);
    let request = &requests[0];
    assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/done"));
    let name = "notify-0011223344556677-000000ab.wav";
    for (header, expected) in [
        ("X-Recording-Call-ID", "notify"),
        ("X-Recording-File-Name", name),
        ("X-Recording-File-Format", "wav"),
        ("X-Recording-Kind", "single"),
        ("X-Recording-Call-DB-ID", "1"),
        ("X-Recording-Stream-DB-ID", "1"),
        ("X-Recording-DB-Metadata", "caller:alice"),
        ("X-Recording-Tag", "tag0"),
        ("X-Recording-Label", "labA"),
    ] {
        assert_eq!(request.header(header), Some(expected), "{header}");
    }
    let file = std::fs::read(bench.file(name)).expect("file");
    assert_eq!(file.len(), wav_octets(40));
    assert!(request.body.windows(file.len()).any(|part| part == file), "the form has the file");
}

#[test]
fn what_nobody_takes_is_kept_as_a_backup_and_reported() {
    let server = Server::start(|_, _| Answer::Status(500));
    let bench = Bench::new();
    let _recorder = bench.start(&[
        "--output-mixed",
        "--output-storage=notify",
        "--output-storage=memory",
        &format!("--notify-uri=http://{}/", server.address),
        "--notify-retries=2",
        QUICK,
        &bench.report_option(),
    ]);
    short_call(&bench, "refused");
    let (state, reasons) = bench.wait_for_report();
    assert_eq!(state, "partial");
    assert_eq!(
        reasons,
        "notification of 'refused-0011223344556677-mix.wav' failed: status 500 Internal Server Error"
    );
    let backup = bench.file("backup-refused-0011223344556677-mix.wav");
    assert_eq!(Wav::read(&backup).frames(), 40 * PACKET);
    assert_eq!(bench.query("SELECT storage_file FROM recording_streams"), ["0"]);
}

#[test]
fn an_object_store_that_refuses_breaks_and_is_slow_gets_everything_in_the_end() {
    let server = Server::start_tls(|number, _| match number {
        0 => Answer::Status(503),
        1 => Answer::BreakInBody,
        _ => Answer::Slow,
    });
    let bench = Bench::new();
    let _recorder = bench.start(&[
        "--output-single",
        "--output-storage=s3",
        "--s3-host=127.0.0.1",
        &format!("--s3-port={}", server.address.port()),
        "--s3-path=bucket/calls",
        "--s3-access-key=AK",
        "--s3-secret-key=SK",
        "--s3-region=eu",
        "--s3-no-verify",
        QUICK,
        &bench.report_option(),
    ]);
    short_call(&bench, "s3");
    assert_eq!(bench.wait_for_report(), ("complete".into(), String::new()));
    let request = &server.requests()[0];
    assert_eq!((request.method.as_str(), request.body.len()), ("PUT", wav_octets(40)));
    assert_eq!(request.target, "/bucket/calls/s3-0011223344556677-000000ab.wav");
    let authorization = request.header("authorization").expect("signed");
    assert!(authorization.starts_with("AWS4-HMAC-SHA256 Credential=AK/"), "{authorization}");
    assert_eq!(request.header("host"), Some("127.0.0.1"));
    assert!(bench.files().is_empty(), "the temporary file is gone: {:?}", bench.files());
    let row = bench.query("SELECT storage_file || storage_s3 || ' ' || s3_uri FROM recording_streams");
    let uri = format!("https://127.0.0.1:{}{}", server.address.port(), request.target);
    assert_eq!(row, [format!("01 {uri}")]);
}

#[test]
fn google_storage_gets_a_token_and_then_the_objects() {
    let server = Server::start(|_, request| match request.target.as_str() {
        "/token" => Answer::Json(r#"{"access_token":"t0ken","expires_in":3600}"#.into()),
        _ => Answer::Json(r#"{"selfLink":"https://self/1","mediaLink":"https://media/1"}"#.into()),
    });
    let bench = Bench::new();
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).expect("key");
    let account = serde_json::json!({
        "client_email": "recorder@example", "private_key": key.serialize_pem(),
        "token_uri": format!("http://{}/token", server.address),
    });
    let account_file = bench.spool.path().join("account");
    std::fs::write(&account_file, account.to_string()).expect("account");
    let _recorder = bench.start(&[
        "--output-storage=gcs",
        "--output-storage=file",
        &format!("--gcs-uri=http://{}/upload", server.address),
        &format!("--gcs-service-account={}", account_file.display()),
        "--gcs-media-link",
        &bench.report_option(),
    ]);
    short_call(&bench, "gcs");
    assert_eq!(bench.wait_for_report(), ("complete".into(), String::new()));
    let requests = server.requests();
    let (tokens, uploads): (Vec<_>, Vec<_>) = requests.iter().partition(|request| request.target == "/token");
    assert_eq!((tokens.len(), uploads.len()), (1, 2), "one token for both outputs");
    let form = String::from_utf8_lossy(&tokens[0].body);
    assert_eq!(form.split("assertion=").nth(1).expect("assertion").split('.').count(), 3, "{form}");
    for upload in uploads {
        assert!(upload.target.starts_with("/upload?name=gcs-0011223344556677-"), "{}", upload.target);
        assert!(upload.target.ends_with(".wav&uploadType=media"), "{}", upload.target);
        assert_eq!(upload.header("authorization"), Some("Bearer t0ken"));
        assert_eq!(upload.body.len(), wav_octets(40));
    }
    assert_eq!(
        bench.query("SELECT DISTINCT storage_gcs || gcs_uri FROM recording_streams"),
        ["1https://media/1"]
    );
}

#[test]
fn recordings_in_memory_leave_no_file_and_go_into_the_database() {
    let bench = Bench::new();
    let database = bench.file("own.sqlite3");
    let _recorder = bench.start(&[
        "--output-storage=db-mem",
        &format!("--sqlite-db={}", database.display()),
        &bench.report_option(),
    ]);
    short_call(&bench, "memory");
    assert_eq!(bench.wait_for_report(), ("complete".into(), String::new()));
    assert!(bench.files().is_empty(), "{:?}", bench.files());
    let connection = rusqlite::Connection::open(&database).expect("open");
    let query = "SELECT output_type || LENGTH(stream) || storage_db || storage_file FROM recording_streams ORDER BY id";
    let mut statement = connection.prepare(query).expect("query");
    let rows: Vec<String> = statement.query_map([], |row| row.get(0)).expect("rows").flatten().collect();
    let octets = wav_octets(40);
    assert_eq!(rows, [format!("single{octets}10"), format!("mixed{octets}10")]);
}

#[test]
fn what_was_only_in_memory_when_the_daemon_was_killed_is_reported_as_failed() {
    let bench = Bench::new();
    let options = [
        "--output-storage=db-mem".to_owned(),
        format!("--sqlite-db={}", bench.file("own.sqlite3").display()),
        bench.report_option(),
    ];
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let recorder = bench.start(&options);
    let mut call = FakeCall::begin(&bench, "lost", &[]);
    call.add_party("a");
    call.speak(Instant::now(), talk(0, 0xab, Voice::Noise { seed: 1 }, START, 100));
    wait_for("its state", || {
        bench.file(".state").read_dir().is_ok_and(|mut entries| entries.next().is_some())
    });
    std::thread::sleep(Duration::from_millis(500));
    recorder.kill();
    call.abandon();
    let recorder = bench.start(&options);
    let (state, reasons) = bench.wait_for_report();
    assert_eq!(state, "failed");
    assert!(reasons.contains("lost with the process"), "{reasons}");
    let connection = rusqlite::Connection::open(bench.file("own.sqlite3")).expect("open");
    let rows: i64 =
        connection.query_row("SELECT COUNT(*) FROM recording_calls", [], |row| row.get(0)).expect("rows");
    assert_eq!(rows, 0, "a call without outputs has no row");
    assert!(recorder.terminate().success());
}

#[test]
fn a_call_that_outlives_the_daemon_is_two_recordings_that_say_so() {
    let bench = Bench::new();
    let recorder = bench.start(&[&bench.report_option()]);
    let mut call = FakeCall::begin(&bench, "outlives", &[]);
    call.add_party("a");
    let packets = talk(0, 0xab, Voice::Noise { seed: 1 }, START, 120);
    let start = Instant::now();
    call.speak(start, packets[..60].to_vec());
    wait_for("the file", || !bench.files().is_empty());
    assert!(recorder.terminate().success());
    let recorder = bench.start(&[&bench.report_option()]);
    call.speak(start, packets[60..].to_vec());
    call.end();
    wait_for("both reports", || bench.reports().len() == 2);
    let (state, reasons) = &bench.reports()[0];
    assert_eq!(state, "partial");
    assert_eq!(reasons, "the recording daemon was stopped while the call went on");
    assert!(recorder.terminate().success());
    let files = bench.files();
    let singles = files.iter().filter(|name| !name.contains("mix"));
    let frames: usize = singles.map(|name| Wav::read(&bench.file(name)).frames()).sum();
    assert_eq!(frames, 120 * PACKET, "nothing is lost in between");
}

#[test]
fn a_command_is_run_for_each_output() {
    use std::os::unix::fs::PermissionsExt;
    let bench = Bench::new();
    let (script, log) = (bench.spool.path().join("command"), bench.spool.path().join("log"));
    std::fs::write(&script, format!("#!/bin/sh\necho \"$1 $2\" >> {}\n", log.display())).expect("script");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("mode");
    let recorder = bench.start(&[
        "--output-single",
        &format!("--notify-command={}", script.display()),
        &bench.report_option(),
    ]);
    short_call(&bench, "command");
    assert_eq!(bench.wait_for_report().0, "complete");
    let file = bench.file("command-0011223344556677-000000ab.wav");
    let expected = format!("{} 1\n", file.display());
    wait_for("the command", || std::fs::read_to_string(&log).is_ok_and(|text| text == expected));
    assert!(recorder.terminate().success());
}

#[test]
fn what_is_not_delivered_yet_survives_a_stop_and_a_crash_and_is_reported_once() {
    let refusing = Server::start(|_, _| Answer::Status(500));
    let bench = Bench::new();
    let port = refusing.address;
    let options = |address| {
        vec![
            "--output-mixed".to_owned(),
            format!("--notify-uri=http://{address}/"),
            "--notify-post".into(),
            "--notify-retry-delay=200".into(),
            bench.report_option(),
        ]
    };
    let start = |address| bench.start(&options(address).iter().map(String::as_str).collect::<Vec<_>>());
    let recorder = start(port);
    short_call(&bench, "stopped");
    wait_for("the file", || bench.files().len() == 1);
    wait_for("its row", || bench.query("SELECT status FROM recording_calls") == ["completed"]);
    assert!(recorder.terminate().success());
    assert_eq!(bench.reports(), []);
    let recorder = start(port);
    short_call(&bench, "crashed");
    wait_for("the rows", || bench.query("SELECT status FROM recording_calls").len() == 2);
    wait_for("completed rows", || {
        bench.query("SELECT status FROM recording_calls") == ["completed", "completed"]
    });
    recorder.kill();
    assert_eq!(bench.reports(), []);
    let willing = Server::start(|_, _| Answer::Status(200));
    let recorder = start(willing.address);
    wait_for("both reports", || bench.reports().len() == 2);
    assert!(recorder.terminate().success());
    assert!(bench.reports().iter().all(|(state, _)| state == "complete"), "{:?}", bench.reports());
    assert_eq!(willing.requests().len(), 2);
    let recorder = start(willing.address);
    short_call(&bench, "third");
    wait_for("the third report", || bench.reports().len() == 3);
    assert!(recorder.terminate().success());
    assert_eq!((bench.reports().len(), willing.requests().len()), (3, 3));
}

#[test]
fn the_sidecar_tells_everything_about_an_output() {
    let bench = Bench::new();
    let _recorder = bench.start(&["--output-sidecar", &bench.report_option()]);
    let mut call = FakeCall::begin(&bench, "sidecar", &[("METADATA", "caller:alice")]);
    call.add_party("labA");
    let mut packets = talk(0, 0xab, Voice::Noise { seed: 1 }, START, 100);
    packets.remove(20);
    let start = Instant::now();
    let rest = packets.split_off(50);
    call.speak(start, packets);
    call.write(&[("RECORDING 0", ""), ("FORWARDING 0", "")]);
    call.speak(start, rest[..20].to_vec());
    call.write(&[("RECORDING 1", ""), ("FORWARDING 0", "")]);
    call.speak(start, rest[20..].to_vec());
    call.end();
    assert_eq!(bench.wait_for_report().0, "complete");
    let names = bench.names(|name| name.ends_with(".wav.json"));
    assert_eq!(names.len(), 2, "{names:?}");
    for name in names {
        let text = std::fs::read_to_string(bench.file(&name)).expect("sidecar");
        let sidecar: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!((&sidecar["state"], &sidecar["call-id"]), (&"complete".into(), &"sidecar".into()));
        assert_eq!(sidecar["recording"].as_str().map(str::len), Some(32));
        assert_eq!(sidecar["metadata"][0]["value"], "alice");
        assert_eq!(
            (&sidecar["parties"][0]["tag"], &sidecar["parties"][0]["label"]),
            (&"tag0".into(), &"labA".into())
        );
        let source = &sidecar["sources"][0];
        assert_eq!(
            (&source["ssrc"], &source["packets"], &source["lost"]),
            (&0xab.into(), &99.into(), &1.into())
        );
        assert_eq!(source["codecs"], serde_json::json!(["PCMU/8000"]));
        let pause = &sidecar["pauses"][0];
        let length = pause["to"].as_f64().expect("to") - pause["from"].as_f64().expect("from");
        assert!((0.3..0.6).contains(&length), "{pause}");
        assert!((0.9..1.2).contains(&pause["position"].as_f64().expect("position")), "{pause}");
        for output in sidecar["outputs"].as_array().expect("outputs") {
            let file = std::fs::read(bench.file(output["name"].as_str().expect("name"))).expect("output");
            let sum = std::process::Command::new("sha256sum")
                .arg(bench.file(output["name"].as_str().expect("name")))
                .output()
                .expect("sha256sum");
            assert!(
                String::from_utf8_lossy(&sum.stdout).starts_with(output["sha256"].as_str().expect("sum"))
            );
            let length = (file.len() - 44) as f64 / 16_000.0;
            assert!((output["length"].as_f64().expect("length") - length).abs() < 0.001, "{output}");
        }
    }
}
