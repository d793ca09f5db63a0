//! Five hundred calls of all kinds lose their daemon. Takes minutes: `make failover`.

use std::time::{Duration, Instant};

use e2e::daemon::{Relay, files_below, wait_for};
use e2e::failover::{Kind, LiveCall, talk_together};
use e2e::pcap;
use e2e::redis::RedisServer;
use serde_json::json;

const DATABASE: u32 = 5;
const LIMIT: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

/// How many calls: `FAILOVER_CALLS`, or five hundred.
fn count() -> usize {
    std::env::var("FAILOVER_CALLS").ok().and_then(|text| text.parse().ok()).unwrap_or(500)
}

/// Calls of all kinds in turn, whose sequence numbers have wrapped.
fn establish(relay: &Relay) -> Vec<LiveCall> {
    let mut calls: Vec<LiveCall> = (0..count())
        .map(|number| {
            let kind = Kind::ALL[number % Kind::ALL.len()];
            LiveCall::establish(relay, &format!("{kind:?}-{number}"), kind)
        })
        .collect();
    for _ in 0..12 {
        let silences = talk_together(&mut calls, Instant::now(), LIMIT);
        assert!(!silences.contains(&None), "somebody is silent before anything happens");
    }
    calls
}

/// Prints the figures, and fails unless 99 % of the calls were heard within a second.
fn judge(what: &str, calls: &[LiveCall], silences: &[Option<Duration>]) {
    let mut heard: Vec<(Duration, Kind)> =
        calls.iter().zip(silences).filter_map(|(call, silence)| Some(((*silence)?, call.kind))).collect();
    heard.sort_by_key(|(silence, _)| *silence);
    let within = heard.iter().filter(|(silence, _)| *silence < SECOND).count();
    let silent: Vec<&str> = calls
        .iter()
        .zip(silences)
        .filter(|(_, silence)| silence.is_none())
        .map(|(call, _)| &*call.id)
        .collect();
    eprintln!(
        "{what}: {} calls, {within} heard within a second, {} later, {} not at all {silent:?}; median {:?}, longest {:?}",
        calls.len(),
        heard.len() - within,
        silent.len(),
        heard.get(heard.len() / 2),
        heard.last(),
    );
    assert!(within * 100 >= calls.len() * 99, "{within} of {}", calls.len());
}

fn ports() -> [String; 3] {
    ["--port-min=20000".into(), "--port-max=29999".into(), "--log-level=6".into()]
}

fn start(interface: &str, options: &[String]) -> Relay {
    Relay::start_with_ports(&[interface], &options.iter().map(String::as_str).collect::<Vec<_>>())
}

/// One instance, started again after a crash; the second begins with the kill.
#[test]
#[ignore = "takes a minute; make failover"]
fn five_hundred_calls_go_on_after_a_crash() {
    let redis = RedisServer::start();
    let spool = tempfile::tempdir().expect("a folder");
    let mut options = vec![
        format!("--redis={}", redis.endpoint(DATABASE)),
        format!("--recording-dir={}", spool.path().display()),
        "--recording-format=raw".to_owned(),
    ];
    options.extend(ports());
    let mut first = start("127.0.0.1", &options);
    let mut calls = establish(&first);
    let mut client = redis.client(DATABASE);
    for call in &calls {
        client.await_value(&call.id, |_| true);
    }
    // The newest of what has changed is written.
    std::thread::sleep(SECOND * 2);
    let captured = |id: &str| {
        let name = |path: &std::path::Path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(id))
        };
        let mut files = files_below(&spool.path().join("pcaps"), ".pcap");
        files.retain(|file| name(file));
        let packets = files.first().and_then(|file| pcap::read(file).ok()).map_or(0, |packets| packets.len());
        (files.len(), packets)
    };
    first.process.kill();
    let killed = Instant::now();
    let second = start("127.0.0.1", &options);
    eprintln!("ready {} ms after the kill", killed.elapsed().as_millis());
    assert!(second.process.log().contains("Redis restore time"));
    let silences = talk_together(&mut calls, killed, SECOND * 10);
    judge("start after a crash", &calls, &silences);
    let recorded: Vec<(&LiveCall, usize)> = calls
        .iter()
        .filter(|call| call.kind == Kind::Recorded)
        .map(|call| (call, captured(&format!("{}-", call.id)).1))
        .collect();
    assert!(!recorded.is_empty());
    let recorded: Vec<(String, usize)> =
        recorded.into_iter().map(|(call, count)| (call.id.clone(), count)).collect();
    calls.iter_mut().filter(|call| call.kind == Kind::Recorded).for_each(|call| call.talk_for(10));
    for (id, before) in recorded {
        second.ng.ok(json!({"command": "delete", "call-id": id, "delete-delay": 0}));
        // Ten packets of each of two parties.
        let more = wait_for(LIMIT, || {
            let (files, packets) = captured(&format!("{id}-"));
            (files == 1 && before > 0 && packets >= before + 20).then_some(())
        });
        assert!(more.is_some(), "{id}: {before} packets before, now {:?}", captured(&format!("{id}-")));
    }
}

/// Two instances that follow each other; the second begins with the command.
#[test]
#[ignore = "takes a minute; make failover"]
fn five_hundred_calls_are_taken_over_by_a_standby() {
    let redis = RedisServer::start();
    let side = |own: u32, other: u32| {
        let mut options =
            vec![format!("--redis={}", redis.endpoint(own)), format!("--subscribe-keyspace={other}")];
        options.extend(ports());
        options
    };
    let mut first = start("127.0.0.1", &side(5, 6));
    let second = start("127.0.0.2", &side(6, 5));
    let mut calls = establish(&first);
    let expected = format!("Current sessions foreign: {}\n", calls.len());
    let cli = |line: &str| second.ng.ok(json!({"command": "cli", "body": line}))["response"].to_string();
    let followed = wait_for(LIMIT, || cli("list numsessions").contains(expected.trim()).then_some(()));
    assert!(followed.is_some(), "{}", cli("list numsessions"));
    std::thread::sleep(SECOND * 2);
    first.process.kill();
    calls.iter_mut().for_each(|call| call.move_to("127.0.0.2"));
    let told = Instant::now();
    assert!(cli("active").contains("owned"));
    eprintln!("'active' answered after {} ms", told.elapsed().as_millis());
    let silences = talk_together(&mut calls, told, SECOND * 10);
    judge("take-over by a standby", &calls, &silences);
}
