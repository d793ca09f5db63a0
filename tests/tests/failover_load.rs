//! Five hundred calls of all kinds lose their daemon. Takes a minute: `make failover`.

use std::time::{Duration, Instant};

use e2e::daemon::{Relay, wait_for};
use e2e::failover::{Kind, LiveCall};
use e2e::redis::RedisServer;

const DATABASE: u32 = 5;
const LIMIT: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

#[test]
#[ignore = "takes a minute; make failover"]
fn five_hundred_calls_go_on_after_a_crash() {
    let count: usize = std::env::var("FAILOVER_CALLS").ok().and_then(|text| text.parse().ok()).unwrap_or(500);
    let redis = RedisServer::start();
    let spool = tempfile::tempdir().expect("a folder");
    let options = [
        format!("--redis={}", redis.endpoint(DATABASE)),
        format!("--recording-dir={}", spool.path().display()),
        "--recording-format=raw".to_owned(),
        "--port-min=20000".to_owned(),
        "--port-max=29999".to_owned(),
        "--log-level=5".to_owned(),
    ];
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let mut first = Relay::start_with_ports(&["127.0.0.1"], &options);
    let mut calls: Vec<LiveCall> = (0..count)
        .map(|number| {
            let kind = Kind::ALL[number % Kind::ALL.len()];
            LiveCall::establish(&first, &format!("{kind:?}-{number}"), kind)
        })
        .collect();
    calls.iter_mut().for_each(|call| call.talk_for(3));
    let mut client = redis.client(DATABASE);
    for call in &calls {
        client.await_value(&call.id, |_| true);
    }
    // The newest of what has changed is written.
    std::thread::sleep(SECOND);
    first.process.kill();
    let killed = Instant::now();
    let second = Relay::start_with_ports(&["127.0.0.1"], &options);
    let restored = killed.elapsed();
    let mut silences: Vec<(Duration, Kind)> = Vec::new();
    let mut silent = Vec::new();
    for call in &mut calls {
        match call.talk(SECOND * 5) {
            Some(silence) => silences.push((silence, call.kind)),
            None => silent.push(call.kind),
        }
    }
    silences.sort_by_key(|(silence, _)| *silence);
    let within = silences.iter().filter(|(silence, _)| *silence < SECOND).count();
    eprintln!(
        "{count} calls: ready {} ms after the kill; {within} are heard within a second, {} later, {} not at all {silent:?}; median {:?}, longest {:?}",
        restored.as_millis(),
        silences.len() - within,
        silent.len(),
        silences.get(silences.len() / 2),
        silences.last(),
    );
    assert!(within * 100 >= count * 99, "{within} of {count}");
    assert!(wait_for(LIMIT, || second.process.log().contains("Redis restore time").then_some(())).is_some());
}
