//! Calls in Redis: another instance goes on with them.

use std::time::{Duration, Instant};

use e2e::daemon::{Relay, files_below, wait_for};
use e2e::failover::{Kind, LiveCall};
use e2e::redis::{Client, RedisServer, Reply};
use e2e::{pcap, sdp};
use serde_json::{Value, json};

const DATABASE: u32 = 5;
const SECOND: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(20);

/// A relay that stores its calls.
fn relay(redis: &RedisServer, arguments: &[&str]) -> Relay {
    let option = format!("--redis={}", redis.endpoint(DATABASE));
    Relay::start(&[&[option.as_str()], arguments].concat())
}

/// Another one with the same media ports, after the first has ended.
fn heir(relay: &Relay, redis: &RedisServer, arguments: &[&str]) -> Relay {
    let option = format!("--redis={}", redis.endpoint(DATABASE));
    sharing(relay, "127.0.0.1", &[&[option.as_str()], arguments].concat())
}

/// Another one with the same media ports.
fn sharing(relay: &Relay, interface: &str, arguments: &[&str]) -> Relay {
    let (low, high) = relay.ports.media();
    let ports = [format!("--port-min={low}"), format!("--port-max={high}")];
    let ports: Vec<&str> = ports.iter().map(String::as_str).collect();
    Relay::start_with_ports(&[interface], &[&ports[..], arguments].concat())
}

fn crash(relay: &Relay) {
    relay.process.signal(libc::SIGKILL);
}

/// The highest index of a packet received under SRTP, of a value in JSON.
fn srtp_index(value: &[u8]) -> u64 {
    let value: Value = serde_json::from_slice(value).expect("JSON");
    let streams = value.as_object().expect("an object").iter().filter(|(key, _)| key.starts_with("stream-"));
    let tables = streams.filter_map(|(_, stream)| stream["srtp_received"].as_str());
    let indices =
        tables.flat_map(|table| table.split(' ')).filter_map(|entry| entry.split_once('/')?.1.parse().ok());
    indices.max().unwrap_or(0)
}

/// A bencode value is that of a call whose callee has answered.
fn is_answered(value: &[u8]) -> bool {
    value.windows(8).any(|window| window == b"3:tag1:b")
}

/// What is stored of a call is newer than `since`.
fn await_stored(relay: &Relay, redis: &mut Client, id: &str) {
    redis.await_value(id, |_| true);
    let query = || relay.ng.ok(json!({"command": "query", "call-id": id}));
    let stored = wait_for(LIMIT, || query()["last redis update"].as_u64().filter(|at| *at > 0));
    assert!(stored.is_some(), "{}", query());
}

fn version(sdp: &str) -> u64 {
    let origin = sdp.lines().find(|line| line.starts_with("o=")).expect("an origin");
    origin.split(' ').nth(2).and_then(|version| version.parse().ok()).expect("a version")
}

fn cli(relay: &Relay, line: &str) -> String {
    let reply = relay.ng.ok(json!({"command": "cli", "body": line}));
    reply["response"].as_str().expect("a text").to_owned()
}

#[test]
fn calls_of_all_kinds_go_on_after_a_crash() {
    let redis = RedisServer::start();
    let spool = tempfile::tempdir().expect("a folder");
    let recording = [
        format!("--recording-dir={}", spool.path().display()),
        "--recording-method=pcap".to_owned(),
        "--recording-format=raw".to_owned(),
        "--redis-format=JSON".to_owned(),
    ];
    let recording: Vec<&str> = recording.iter().map(String::as_str).collect();
    let first = relay(&redis, &recording);
    let mut calls: Vec<LiveCall> = Kind::ALL
        .into_iter()
        .map(|kind| LiveCall::establish(&first, &format!("kind-{kind:?}@host"), kind))
        .collect();
    // Sequence numbers wrap: roll-over counters are not 0 any more.
    calls.iter_mut().for_each(|call| call.talk_for(12));
    let mut client = redis.client(DATABASE);
    for call in &calls {
        await_stored(&first, &mut client, &call.id);
    }
    // Secured calls are written again when their counters have gone on.
    for kind in ["Sdes", "Dtls"] {
        client.await_value(&format!("kind-{kind}@host"), |value| srtp_index(value) > 65_535);
    }
    // The recorder writes now and then.
    let recorded = wait_for(LIMIT, || {
        let files = files_below(&spool.path().join("pcaps"), ".pcap");
        pcap::read(files.first()?).ok().filter(|packets| packets.len() >= 24)
    });
    assert!(recorded.is_some(), "nothing is recorded");
    crash(&first);
    let second = heir(&first, &redis, &recording);
    let is_told = || second.process.log().contains("Redis restore time = ").then_some(());
    assert!(wait_for(LIMIT, is_told).is_some(), "{}", second.process.log());
    for call in &mut calls {
        let silence = call.talk(LIMIT).unwrap_or_else(|| panic!("{:?} is silent", call.kind));
        assert!(silence < SECOND, "{:?}: {silence:?}", call.kind);
    }
    calls.iter_mut().for_each(|call| call.talk_for(10));

    // The recording is one.
    second.ng.ok(json!({"command": "delete", "call-id": "kind-Recorded@host", "delete-delay": 0}));
    let files = files_below(&spool.path().join("pcaps"), ".pcap");
    assert_eq!(files.len(), 1, "{files:?}");
    let packets = wait_for(LIMIT, || pcap::read(&files[0]).ok().filter(|packets| packets.len() >= 44));
    assert!(packets.is_some(), "{:?}", pcap::read(&files[0]).map(|packets| packets.len()));
    client.await_gone("kind-Recorded@host");
}

#[test]
fn a_call_that_was_taken_over_can_be_re_offered() {
    for format in ["bencode", "JSON"] {
        let redis = RedisServer::start();
        let first = relay(&redis, &[&format!("--redis-format={format}")]);
        let mut call = LiveCall::establish(&first, "again@host", Kind::Plain);
        call.talk_for(1);
        let stored = redis.client(DATABASE).await_value("again@host", |_| true);
        assert_eq!(stored[0], if format == "JSON" { b'{' } else { b'd' });
        crash(&first);
        let second = heir(&first, &redis, &[]);
        call.talk_for(1);
        let told = call.re_offer(&second);
        assert_eq!(sdp::media(&told).rtp, call.told[0].rtp, "the same port");
        assert_eq!(version(&told), 2, "{told}");
    }
}

#[test]
fn a_deletion_that_is_waiting_comes_in_the_next_instance() {
    let redis = RedisServer::start();
    let first = relay(&redis, &[]);
    let _call = LiveCall::establish(&first, "ending", Kind::Plain);
    let mut client = redis.client(DATABASE);
    let before = client.await_value("ending", is_answered);
    first
        .ng
        .ok(json!({"command": "delete", "call-id": "ending", "from-tag": "a", "delete-delay": 2, "flags": ["fast"]}));
    client.await_value("ending", |value| value != before);
    crash(&first);
    let second = heir(&first, &redis, &[]);
    assert_eq!(second.ng.ok(json!({"command": "list"}))["calls"], json!(["ending"]));
    let calls = || second.ng.ok(json!({"command": "list"}))["calls"].as_array().map(Vec::len);
    assert!(wait_for(LIMIT, || (calls() == Some(0)).then_some(())).is_some(), "it is not deleted");
}

#[test]
fn an_orderly_end_keeps_the_calls() {
    let redis = RedisServer::start();
    let mut first = relay(&redis, &[]);
    let mut call = LiveCall::establish(&first, "kept", Kind::Sdes);
    call.talk_for(12);
    assert!(first.process.terminate().success());
    let second = heir(&first, &redis, &[]);
    call.talk_for(3);
    let list = second.ng.ok(json!({"command": "list"}));
    assert_eq!(list["calls"], json!(["kept"]), "{list}");
}

#[test]
fn keys_expire_and_go_with_their_calls() {
    let redis = RedisServer::start();
    let first = relay(&redis, &["--redis-expires=77"]);
    let _call = LiveCall::establish(&first, "mortal", Kind::Plain);
    let mut client = redis.client(DATABASE);
    client.await_value("mortal", is_answered);
    let Reply::Int(left) = client.command(&["TTL", "mortal"]) else { panic!("no time to live") };
    assert!((1..=77).contains(&left), "{left}");
    // Not every message changes what is stored.
    client.command(&["DEL", "mortal"]);
    let text = sdp::audio("127.0.0.1:4000".parse().expect("literal"), &["0 PCMU/8000"], &[]);
    first.ng.ok(json!({
        "command": "offer", "call-id": "mortal", "from-tag": "a", "to-tag": "b", "sdp": text,
        "flags": ["no-redis-update"],
    }));
    first.ng.ok(json!({
        "command": "offer", "call-id": "other", "from-tag": "a", "sdp": text,
    }));
    client.await_value("other", |_| true);
    assert!(client.get("mortal").is_none(), "written again");
    first.ng.ok(json!({"command": "delete", "call-id": "other", "delete-delay": 0}));
    client.await_gone("other");
}

#[test]
fn values_that_are_none_are_refused_and_removed() {
    let redis = RedisServer::start();
    let first = relay(&redis, &[]);
    let mut call = LiveCall::establish(&first, "good", Kind::Plain);
    let mut client = redis.client(DATABASE);
    let good = client.await_value("good", is_answered);
    crash(&first);
    for (key, value) in [
        ("empty", &b""[..]),
        ("noise", &[0xff; 300]),
        ("half", &good[..good.len() / 2]),
        ("reference", b"d4:jsond7:created16:179522651388338411:last_signal16:1795226515415836ee"),
        ("twin", &good),
    ] {
        client.command_octets(&[b"SET", key.as_bytes(), value]);
    }
    client.command(&["RPUSH", "list", "x"]);
    let second = heir(&first, &redis, &[]);
    let calls = second.ng.ok(json!({"command": "list"}));
    // Of two calls with the same ports one can be.
    assert_eq!(calls["calls"].as_array().map(Vec::len), Some(1), "{calls}");
    let log = second.process.log();
    for (key, reason) in [
        ("empty", "Unrecognised serial format"),
        ("noise", "Unrecognised serial format"),
        ("half", "failed to decode bencode dictionary"),
        ("reference", "unknown format version"),
    ] {
        let line = format!("Failed to restore call ID '{key}' from Redis: {reason}");
        assert!(log.contains(&line), "{line} is not in\n{log}");
        client.await_gone(key);
    }
    assert_eq!(client.command(&["LLEN", "list"]), Reply::Int(1), "what is no call is left alone");
    call.talk_for(1);
}

#[test]
fn calls_are_written_when_redis_is_back() {
    let mut redis = RedisServer::start();
    let first = relay(&redis, &["--redis-allowed-errors=-1"]);
    let mut before = LiveCall::establish(&first, "before", Kind::Plain);
    redis.client(DATABASE).await_value("before", |_| true);
    redis.kill();
    let began = Instant::now();
    let mut during = LiveCall::establish(&first, "during", Kind::Plain);
    assert!(began.elapsed() < Duration::from_secs(2), "nothing waits for Redis: {:?}", began.elapsed());
    before.talk_for(1);
    during.talk_for(1);
    redis.restart();
    let mut client = redis.client(DATABASE);
    client.await_value("during", |_| true);
    // Redis has forgotten everything; what it has to know is written again.
    client.await_value("before", |_| true);
    crash(&first);
    let _second = heir(&first, &redis, &[]);
    before.talk_for(1);
    during.talk_for(1);
}

#[test]
fn a_required_server_that_is_missing_keeps_the_daemon_from_starting() {
    let mut redis = RedisServer::start();
    redis.kill();
    let option = format!("--redis={}", redis.endpoint(DATABASE));
    let status = std::process::Command::new(e2e::daemon::relay_binary())
        .args(["--config-file=none", "--table=-1", "--foreground", "--log-stderr", "--interface=127.0.0.1"])
        .args(["--listen-ng=127.0.0.1:0", &option])
        .output()
        .expect("the relay runs");
    let text = String::from_utf8_lossy(&status.stderr);
    assert!(!status.status.success(), "{text}");
    assert!(text.contains("Cannot start up without running Redis"), "{text}");
    let relay = relay(&redis, &["--no-redis-required"]);
    assert!(relay.process.log().contains("Starting with no initial connection to Redis"));
}

/// Two instances that follow each other's databases, with addresses of their own (the same ports, as on two machines).
fn pair(redis: &RedisServer, arguments: &[&str]) -> (Relay, Relay) {
    let (own, other) = (format!("--redis={}", redis.endpoint(5)), format!("--redis={}", redis.endpoint(6)));
    let first =
        Relay::start_on(&["127.0.0.1"], &[&[own.as_str(), "--subscribe-keyspace=6"], arguments].concat());
    let second =
        sharing(&first, "127.0.0.2", &[&[other.as_str(), "--subscribe-keyspace=5"], arguments].concat());
    (first, second)
}

fn sessions(relay: &Relay) -> (u64, u64) {
    let text = cli(relay, "list numsessions");
    let count = |name: &str| {
        let line = text.lines().find(|line| line.contains(name)).expect("a line");
        line.rsplit(' ').next().and_then(|count| count.parse().ok()).expect("a number")
    };
    (count("sessions own"), count("sessions foreign"))
}

fn await_sessions(relay: &Relay, expected: (u64, u64)) {
    let seen = wait_for(LIMIT, || (sessions(relay) == expected).then_some(()));
    assert!(seen.is_some(), "{:?} instead of {expected:?}", sessions(relay));
}

#[test]
fn calls_of_another_instance_are_followed_and_taken_over() {
    let redis = RedisServer::start();
    let (first, second) = pair(&redis, &["--redis-format=JSON"]);
    assert_eq!(cli(&second, "kslist"), "\nSubscribed-on keyspaces:\n5 \n");
    let mut call = LiveCall::establish(&first, "shared", Kind::Sdes);
    call.talk_for(12);
    await_sessions(&second, (0, 1));
    assert!(cli(&second, "list sessions all").contains("| redis: 5 | frgn:y |"));
    assert_eq!(redis.client(6).get("shared"), None, "foreign calls are not written");
    // The first one's end of the call is the second one's, too.
    let gone = LiveCall::establish(&first, "gone", Kind::Plain);
    await_sessions(&second, (0, 2));
    first.ng.ok(json!({"command": "delete", "call-id": gone.id, "delete-delay": 0}));
    await_sessions(&second, (0, 1));

    // The roll-over is stored before the first one goes.
    redis.client(5).await_value("shared", |value| srtp_index(value) > 65_535);
    // Notifications come in order: the second one has read it when it knows of a later call.
    let later = LiveCall::establish(&first, "later", Kind::Plain);
    await_sessions(&second, (0, 2));
    first.ng.ok(json!({"command": "delete", "call-id": later.id, "delete-delay": 0}));
    await_sessions(&second, (0, 1));
    crash(&first);
    assert_eq!(cli(&second, "active"), "Ok, all calls set to 'owned (active)'\n");
    let told = Instant::now();
    await_sessions(&second, (1, 0));
    call.move_to("127.0.0.2");
    call.talk(LIMIT).expect("media");
    assert!(told.elapsed() < SECOND, "{:?}", told.elapsed());
    call.talk_for(5);
    redis.client(6).await_value("shared", |_| true);
    assert_eq!(cli(&second, "standby"), "Ok, all calls set to 'foreign (standby)'\n");
    await_sessions(&second, (0, 1));
    assert_eq!(
        cli(&second, "ksrm 5"),
        "Successfully unsubscribed from keyspace 5.\nSuccessfully removed all foreign calls for keyspace 5.\n"
    );
    assert_eq!(cli(&second, "ksrm 5"), "Keyspace 5 is not among redis notifications.\n");
    assert_eq!(cli(&second, "ksadd 5"), "Success adding keyspace 5 to redis notifications.\n");
    assert_eq!(cli(&second, "ksadd 5"), "Keyspace 5 is already among redis notifications.\n");
}

#[test]
fn media_or_signalling_make_a_call_own_with_active_switchover() {
    let redis = RedisServer::start();
    let (first, second) = pair(&redis, &["--active-switchover"]);
    let mut by_media = LiveCall::establish(&first, "media", Kind::Plain);
    by_media.talk_for(1);
    let by_signal = LiveCall::establish(&first, "signal", Kind::Plain);
    await_sessions(&second, (0, 2));
    // Its answer, too, is on the way.
    let is_answered = || {
        let query = second.ng.request(&json!({"command": "query", "call-id": "signal"}));
        let tags = query["tags"].as_object()?;
        tags.values().all(|party| party["tag"] != "").then_some(())
    };
    assert!(wait_for(LIMIT, is_answered).is_some());
    crash(&first);
    by_media.move_to("127.0.0.2");
    by_media.talk_for(1);
    await_sessions(&second, (1, 1));
    let told = by_signal.re_offer(&second);
    assert_eq!(sdp::media(&told).rtp.port(), by_signal.told[0].rtp.port());
    await_sessions(&second, (2, 0));
    let mut client = redis.client(6);
    client.await_value("media", |_| true);
    client.await_value("signal", |_| true);
}

#[test]
fn limits_of_redis_can_be_seen_and_changed() {
    let redis = RedisServer::start();
    let relay = relay(&redis, &[&format!("--redis-write={}", redis.endpoint(9))]);
    for (line, reply) in [
        ("list redisallowederrors", "-1\n"),
        ("set redisallowederrors 5", "Success setting redis-allowed-errors to 5\n"),
        ("list redisallowederrors", "5\n"),
        ("set redisdisabletime -1", "Invalid redis-disable-time value -1, must be >= 0\n"),
        ("set redisdisabletime 3", "Success setting redis-disable-time to 3\n"),
        ("list redisdisabletime", "3\n"),
        ("set redisconnecttimeout 0", "Invalid redis-connect-timeout value 0, must be > 0\n"),
        ("set redisconnecttimeout 500", "Success setting redis-connect-timeout to 500\n"),
        ("set rediscmdtimeout 700", "Success setting redis-cmd-timeout to 700\n"),
        ("list rediscmdtimeout", "700\n"),
        ("set redisdisable 1", "Success disable redis write\n"),
        ("set redisdisable 1", "No redis write to disable\n"),
    ] {
        assert_eq!(cli(&relay, line), reply, "{line}");
    }
    let text = sdp::audio("127.0.0.1:4000".parse().expect("literal"), &["0 PCMU/8000"], &[]);
    relay.ng.ok(json!({"command": "offer", "call-id": "here", "from-tag": "a", "sdp": text}));
    redis.client(DATABASE).await_value("here", |_| true);
    assert_eq!(cli(&relay, "set redisdisable 0"), "Success re-enable redis write\n");
    relay.ng.ok(json!({"command": "offer", "call-id": "there", "from-tag": "a", "sdp": text}));
    redis.client(9).await_value("there", |_| true);
    assert!(cli(&relay, "params diff").contains("redis_allowed_errors: -1 => 5"));
}
