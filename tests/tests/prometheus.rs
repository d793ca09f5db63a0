//! What Prometheus' own tool says about the metrics.

use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use e2e::call::{Call, Setup};
use e2e::daemon::Relay;
use e2e::http;
use e2e::ports::PortBlock;

/// Names that are older than the rules for names, and part of existing dashboards.
const HISTORICAL: &[&str] = &[
    "no help text",
    "counter metrics should have \"_total\" suffix",
    "non-counter metrics should not have \"_total\" suffix",
    "use base unit",
];

#[test]
fn promtool_understands_the_metrics() {
    if Command::new("promtool").arg("--version").output().is_err() {
        eprintln!("promtool is not installed: skipped");
        return;
    }
    let ports = PortBlock::take();
    let address = SocketAddr::from(([127, 0, 0, 1], ports.control()));
    let relay = Relay::start(&[&format!("--listen-http={address}")]);
    let codecs: &[&str] = &["8 PCMA/8000"];
    let transcoded =
        Setup { b: codecs, offer: serde_json::json!({"transcode": ["PCMA"]}), ..Setup::default() };
    let mut call = Call::establish(&relay, "metrics", transcoded);
    for _ in 0..5 {
        let packet = call.a.next_packet(0, &[0x55; 160], 160);
        call.a.send(&packet);
    }
    assert!(!call.b.receive_many(1).is_empty());
    let metrics = http::request(address, "GET", "/metrics", None, None).expect("metrics").body;
    assert!(metrics.contains("rtpengine_sessions{type=\"own\"} 1"), "{metrics}");
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool");
    promtool.stdin.take().expect("piped").write_all(metrics.as_bytes()).expect("write");
    let output = promtool.wait_with_output().expect("promtool");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let ours: Vec<&str> = text
        .lines()
        .filter(|line| !HISTORICAL.iter().any(|known| line.contains(known)) && !line.trim().is_empty())
        .collect();
    // 3: only remarks about names.
    assert!(matches!(output.status.code(), Some(0 | 3)) && ours.is_empty(), "{}: {text}", output.status);
}
