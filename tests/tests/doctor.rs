//! `rtpengine doctor` names planted faults with what mends them, and `--check-config` what cannot be started.

use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use e2e::daemon::relay_binary;

/// What a healthy daemon is started with.
const LEAST: &[&str] =
    &["--config-file=none", "--log-stderr", "--interface=127.0.0.1", "--listen-ng=127.0.0.1:0"];

fn run(words: &[&str]) -> Output {
    Command::new(relay_binary()).args(words).stdin(Stdio::null()).output().expect("the daemon's binary")
}

/// The lines of the report, and the exit status.
fn doctor(more: &[&str]) -> (Vec<String>, i32) {
    let output = run(&[&["doctor"], LEAST, more].concat());
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    (text.lines().map(str::to_owned).collect(), output.status.code().expect("an exit status"))
}

/// The report has a line of this kind about a topic that says `what`, with a fix that says `fix`.
fn finds(more: &[&str], kind: &str, what: &str, fix: &str) {
    let (lines, status) = doctor(more);
    let fits = |line: &&String| {
        line.starts_with(kind)
            && line
                .split_once(" | fix: ")
                .is_some_and(|(text, mended)| text.contains(what) && mended.contains(fix))
    };
    assert!(lines.iter().any(|line| fits(&line)), "{kind} {what} | {fix}: {lines:#?}");
    assert_eq!(status, i32::from(lines.iter().any(|line| line.starts_with("FAILURE"))));
}

/// A port of loopback where nobody listens (any more).
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port()
}

#[test]
fn a_healthy_configuration_has_no_failure() {
    let (lines, status) = doctor(&[]);
    assert_eq!(status, 0, "{lines:#?}");
    for topic in
        ["configuration", "open files", "workers", "clock", "log", "socket buffers", "media ports", "codecs"]
    {
        assert!(lines.iter().any(|line| line[8..].starts_with(topic)), "{topic}: {lines:#?}");
    }
    assert!(lines.iter().all(|line| line.starts_with("ok ") || line.contains(" | fix: ")), "{lines:#?}");
}

#[test]
fn faults_of_the_configuration_and_the_network_are_named() {
    finds(&["--port-min=x"], "FAILURE configuration", "port-min", "man 8 rtpengine");
    finds(&["--interface=192.0.2.77"], "FAILURE interface", "192.0.2.77 cannot be used", "interface = ");
    finds(&[], "WARNING interface", "reachable from this machine only", "interface = ");
    finds(&["--kernel-slots=5"], "WARNING configuration", "kernel-slots", "remove the option");
    let module = ["--table=0", "--offload=module"];
    finds(&module, "WARNING kernel forwarding", "xt_RTPENGINE is not loaded", "modprobe");
    let strict = [&module[..], &["--no-fallback"]].concat();
    finds(&strict, "FAILURE kernel forwarding", "xt_RTPENGINE is not loaded", "modprobe");
    let few = ["--port-min=30000", "--port-max=30099", "--max-sessions=100"];
    finds(&few, "WARNING media ports", "do for 25 calls, max-sessions is 100", "port-max = 30400");
    finds(&["--num-threads=500"], "WARNING workers", "500 on", "num-threads = ");
    let taken = UdpSocket::bind("127.0.0.1:0").expect("loopback");
    let ng = format!("--listen-ng={}", taken.local_addr().expect("bound"));
    finds(&[&ng], "FAILURE listener", "listen-ng: 127.0.0.1:", "ss -lnup");
    let taken = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let cli = format!("--listen-cli={}", taken.local_addr().expect("bound"));
    finds(&[&cli], "FAILURE listener", "listen-cli: 127.0.0.1:", "ss -lntp");
    finds(&["--listen-ng=192.0.2.78:2223"], "FAILURE listener", "listen-ng: 192.0.2.78:2223", "listen-ng = ");
}

#[test]
fn faults_of_limits_are_named() {
    let words = [&["doctor", "--max-sessions=100000"], LEAST].concat();
    let script = "ulimit -n 256; exec \"$0\" \"$@\"";
    let output = Command::new("setpriv")
        .args(["--bounding-set=-sys_resource", "--inh-caps=-sys_resource", "sh", "-c", script])
        .arg(relay_binary())
        .args(&words)
        .output()
        .expect("setpriv of util-linux");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.contains("WARNING open files: at most 256, 100000 calls need 400200 | fix: LimitNOFILE=400200"),
        "{text}"
    );
}

#[test]
fn faults_of_files_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    std::fs::write(path("file"), "").expect("written");
    let spool = format!("--recording-dir={}", path("file"));
    finds(&[&spool], "FAILURE recording", "is no directory", "another directory for recording-dir");
    finds(&["--recording-dir=/proc/nowhere"], "FAILURE recording", "cannot write into /proc", "install -d");
    let pid = format!("--pidfile={}", path("missing/pid"));
    finds(&[&pid], "FAILURE pid file", "does not exist", "install -d");
    let media = format!("--preload-media-files={}", path("none.wav"));
    finds(&[&media], "FAILURE media files", "none.wav", "ls -l");
    let port = free_port();
    let https = |certificate: &Path| {
        [format!("--listen-https=127.0.0.1:{port}"), format!("--https-cert={}", certificate.display())]
    };
    let [listen, certificate] = https(Path::new(&path("none.pem")));
    finds(&[&listen, &certificate], "FAILURE certificate", "none.pem", "PEM files");
    let mut parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(2021, 1, 1);
    let key = rcgen::KeyPair::generate().expect("a key");
    let old = parameters.self_signed(&key).expect("a certificate");
    std::fs::write(path("old.pem"), old.pem() + &key.serialize_pem()).expect("written");
    let [listen, certificate] = https(Path::new(&path("old.pem")));
    finds(&[&listen, &certificate], "FAILURE certificate", "has expired: Jan 1 00:00:00 2021", "renew it");
}

#[test]
fn servers_that_do_not_answer_are_named() {
    let port = free_port();
    let graphite = format!("--graphite=127.0.0.1:{port}");
    finds(&[&graphite], "WARNING Graphite", "cannot be reached", "nc -vz 127.0.0.1");
    let homer = format!("--homer=127.0.0.1:{port}");
    finds(&[&homer, "--homer-protocol=tcp"], "WARNING Homer", "cannot be reached", "nc -vz");
    let mqtt = format!("--mqtt-port={port}");
    finds(
        &["--mqtt-host=127.0.0.1", "--mqtt-publish-topic=t", &mqtt],
        "WARNING MQTT",
        "cannot be reached",
        "nc -vz",
    );
    let redis = format!("--redis=127.0.0.1:{port}/1");
    finds(&[&redis], "FAILURE Redis", "cannot be reached", "nc -vz");
    finds(&[&redis, "--no-redis-required"], "WARNING Redis", "cannot be reached", "nc -vz");
    let database =
        [format!("--mysql-port={port}"), "--mysql-query=select data from media where id = %llu".into()];
    let words = ["--mysql-host=127.0.0.1", "--mysql-user=media", &database[0], &database[1]];
    finds(&words, "FAILURE media database", "not reachable", "mariadb -h 127.0.0.1");
}

#[test]
fn a_configuration_can_be_checked_without_a_start() {
    let output = run(&[LEAST, &["--check-config", "--kernel-slots=5"]].concat());
    assert_eq!(String::from_utf8_lossy(&output.stdout), "The configuration is valid.\n");
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("Warning: option kernel-slots"));
    assert_eq!(output.status.code(), Some(0));
    let output = run(&[LEAST, &["--check-config", "--port-min=0"]].concat());
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("Fatal error: "), "{output:?}");
    assert_eq!(output.status.code(), Some(255));
}
