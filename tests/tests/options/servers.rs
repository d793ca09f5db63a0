//! Options about servers that the daemon talks to: Redis, brokers, collectors.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::process::CommandExt;
use std::time::{Duration, Instant};

use e2e::call::{Call, Setup};
use e2e::daemon::{Relay, wait_for};
use e2e::mosquitto::Mosquitto;
use e2e::redis::{RedisServer, Reply};
use e2e::sdp;
use serde_json::json;

const SOON: Duration = Duration::from_secs(20);

fn offer(relay: &Relay, id: &str) {
    let text = sdp::audio("127.0.0.1:4000".parse().expect("literal"), &["0 PCMU/8000"], &[]);
    relay.ng.ok(json!({"command": "offer", "call-id": id, "from-tag": "a", "sdp": text}));
}

fn logs(relay: &Relay, text: &str) -> bool {
    wait_for(SOON, || relay.process.log().contains(text).then_some(())).is_some()
}

fn sessions(relay: &Relay, kind: &str) -> String {
    let reply = relay.ng.ok(json!({"command": "cli", "body": "list numsessions"}));
    let text = reply["response"].as_str().expect("a text").to_owned();
    let line = text.lines().find(|line| line.contains(kind)).expect("a line");
    line.rsplit(' ').next().expect("a number").to_owned()
}

#[test]
fn notifications_come_from_a_server_of_their_own() {
    let (own, other) = (RedisServer::start(), RedisServer::start());
    let first = Relay::start(&[&format!("--redis={}", other.endpoint(3))]);
    let (low, high) = first.ports.media();
    let arguments = [
        format!("--port-min={low}"),
        format!("--port-max={high}"),
        format!("--redis={}", own.endpoint(4)),
        format!("--redis-subscribe=127.0.0.1:{}", other.port()),
        "--subscribe-keyspace=3".to_owned(),
    ];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let second = Relay::start_with_ports(&["127.0.0.2"], &arguments);
    offer(&first, "told");
    let followed = wait_for(SOON, || (sessions(&second, "foreign") == "1").then_some(()));
    assert!(followed.is_some(), "{}", second.process.log());
}

/// Connections that a server has accepted.
fn connections(server: &RedisServer) -> u64 {
    let Reply::Bulk(Some(text)) = server.client(0).command(&["INFO", "stats"]) else {
        panic!("no statistics")
    };
    let text = String::from_utf8(text).expect("text");
    let line =
        text.lines().find_map(|line| line.strip_prefix("total_connections_received:")).expect("a line");
    line.trim().parse().expect("a number")
}

#[test]
fn calls_are_restored_over_as_many_connections_as_configured() {
    let redis = RedisServer::start();
    let option = format!("--redis={}", redis.endpoint(1));
    let mut relay = Relay::start(&[&option]);
    for number in 0..20 {
        offer(&relay, &format!("call-{number}"));
    }
    let mut client = redis.client(1);
    (0..20).for_each(|number| drop(client.await_value(&format!("call-{number}"), |_| true)));
    let (low, high) = relay.ports.media();
    relay.process.kill();
    let restored = |threads: &str| {
        let before = connections(&redis);
        let arguments =
            [format!("--port-min={low}"), format!("--port-max={high}"), option.clone(), threads.into()];
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let relay = Relay::start_with_ports(&["127.0.0.1"], &arguments);
        assert_eq!(sessions(&relay, "own"), "20");
        connections(&redis) - before
    };
    let (few, many) = (restored("--redis-num-threads=1"), restored("--redis-num-threads=9"));
    assert_eq!(many, few + 8, "{few} and {many}");
}

#[test]
fn a_server_that_fails_too_often_is_left_alone_for_a_while() {
    let mut redis = RedisServer::start();
    let relay = Relay::start(&[
        &format!("--redis={}", redis.endpoint(1)),
        "--redis-allowed-errors=0",
        "--redis-disable-time=2",
        "--redis-connect-timeout=500",
    ]);
    redis.kill();
    offer(&relay, "lost");
    assert!(logs(&relay, "disabled for 2 seconds"), "{}", relay.process.log());
    redis.restart();
    redis.client(1).await_value("lost", |_| true);
}

#[test]
fn a_server_that_does_not_answer_is_waited_for_as_long_as_configured() {
    let redis = RedisServer::start();
    let relay = Relay::start(&[&format!("--redis={}", redis.endpoint(1)), "--redis-cmd-timeout=300"]);
    redis.freeze(true);
    let began = Instant::now();
    offer(&relay, "late");
    assert!(logs(&relay, "Lost connection to Redis"), "{}", relay.process.log());
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    redis.freeze(false);
    redis.client(1).await_value("late", |_| true);
}

#[test]
fn a_connection_is_waited_for_as_long_as_configured() {
    // It accepts connections, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let redis = format!("--redis={}/1", silent.local_addr().expect("bound"));
    let start = |option: &str| {
        let began = Instant::now();
        let relay = Relay::start(&[&redis, "--no-redis-required", option]);
        assert!(
            relay.process.log().contains("Starting with no initial connection"),
            "{}",
            relay.process.log()
        );
        began.elapsed()
    };
    let (soon, late) = (start("--redis-connect-timeout=200"), start("--redis-connect-timeout=3000"));
    assert!(late > Duration::from_secs(3) && soon < late, "{soon:?} {late:?}");
}

#[test]
fn the_name_of_a_server_is_looked_up_again_when_that_is_wanted() {
    // Names in a file of one's own need a mount.
    let allowed = std::process::Command::new("unshare").args(["--mount", "true"]).status();
    if !allowed.is_ok_and(|status| status.success()) {
        return;
    }
    for (again, option) in [(true, "--redis-resolve-on-reconnect"), (false, "--redis-allowed-errors=-1")] {
        let mut redis = RedisServer::start();
        let folder = tempfile::tempdir().expect("a folder");
        let hosts = folder.path().join("hosts");
        std::fs::write(&hosts, "127.0.0.1 redis.test\n").expect("written");
        let port = redis.port();
        let mount = std::ffi::CString::new(hosts.to_str().expect("plain")).expect("plain");
        let arguments = [format!("--redis=redis.test:{port}/1"), option.to_owned()];
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let relay = Relay::start_with(&arguments, |command| {
            let own_file = move || {
                // SAFETY: plain system calls on strings that live for their time; nothing is allocated between fork and exec.
                let result = unsafe {
                    let private = libc::MS_REC | libc::MS_PRIVATE;
                    libc::unshare(libc::CLONE_NEWNS)
                        | libc::mount(
                            c"none".as_ptr(),
                            c"/".as_ptr(),
                            std::ptr::null(),
                            private,
                            std::ptr::null(),
                        )
                        | libc::mount(
                            mount.as_ptr(),
                            c"/etc/hosts".as_ptr(),
                            std::ptr::null(),
                            libc::MS_BIND,
                            std::ptr::null(),
                        )
                };
                if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
            };
            // SAFETY: see there.
            unsafe { command.pre_exec(own_file) };
        });
        let elsewhere = TcpListener::bind(("127.0.0.3", port)).expect("another address");
        elsewhere.set_nonblocking(true).expect("a flag");
        // Written in place: the mount is of this very file.
        std::fs::write(&hosts, "127.0.0.3 redis.test\n").expect("written");
        redis.kill();
        offer(&relay, "moved");
        let limit = if again { SOON } else { Duration::from_secs(3) };
        let came = wait_for(limit, || elsewhere.accept().ok());
        assert_eq!(came.is_some(), again, "{option}: {}", relay.process.log());
    }
}

/// `RTPENGINE_REDIS_AUTH_PW` counts where the option has no password.
#[test]
fn passwords_come_from_the_option_or_the_environment() {
    let redis = RedisServer::start_with(&["--requirepass", "secret"]);
    let (plain, with) = (redis.endpoint(1), format!("secret@{}", redis.endpoint(1)));
    for (endpoint, variable, connected) in [
        (&with, None, true),
        (&plain, Some("secret"), true),
        (&plain, None, false),
        (&with, Some("wrong"), true),
        (&plain, Some("wrong"), false),
    ] {
        let option = format!("--redis={endpoint}");
        let relay = Relay::start_with(&[&option, "--no-redis-required"], |command| {
            command.env_remove("RTPENGINE_REDIS_AUTH_PW");
            if let Some(password) = variable {
                command.env("RTPENGINE_REDIS_AUTH_PW", password);
            }
        });
        let failed = relay.process.log().contains("Starting with no initial connection");
        assert_eq!(!failed, connected, "{endpoint} {variable:?}: {}", relay.process.log());
        assert!(!relay.process.log().contains("secret"), "no password in the log");
    }
}

#[test]
fn what_homer_gets_is_chosen() {
    let collector = UdpSocket::bind("127.0.0.1:0").expect("loopback");
    collector.set_read_timeout(Some(SOON)).expect("not zero");
    let homer = format!("--homer={}", collector.local_addr().expect("bound"));
    let relay = Relay::start(&[
        &homer,
        "--homer-enable-ng",
        "--homer-ng-capture-proto=63",
        "--homer-disable-rtcp-stats",
    ]);
    let mut call = Call::establish(&relay, "chosen", Setup::default());
    call.learn();
    let report: Vec<u8> = [0x80c9_0001u32, call.a.ssrc].iter().flat_map(|word| word.to_be_bytes()).collect();
    call.a.rtcp.send_to(&report, call.answered.rtcp).expect("loopback");
    assert!(call.b.receive_rtcp().is_some());
    call.query();
    let mut buffer = [0; 65_536];
    let mut kinds = std::collections::BTreeSet::new();
    loop {
        let length = collector.recv(&mut buffer).expect("a message");
        let packet = &buffer[..length];
        let at = packet.windows(6).position(|chunk| chunk == b"\x00\x00\x00\x0b\x00\x07").expect("a type");
        kinds.insert(packet[at + 6]);
        if packet.windows(7).any(|window| window == b"created") {
            break;
        }
    }
    assert_eq!(kinds, [63].into(), "ng under its own number, no RTCP (5)");
}

#[test]
fn homer_can_be_reached_over_tcp() {
    let collector = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let homer = format!("--homer={}", collector.local_addr().expect("bound"));
    let relay = Relay::start(&[&homer, "--homer-protocol=tcp", "--homer-enable-ng"]);
    offer(&relay, "stream");
    let (mut stream, _) = collector.accept().expect("a connection");
    stream.set_read_timeout(Some(SOON)).expect("not zero");
    let mut start = [0; 4];
    stream.read_exact(&mut start).expect("a message");
    assert_eq!(&start, b"HEP3");
}

/// Fields of the CONNECT packet that comes first: keep-alive and the texts behind it.
fn connect_packet(stream: &mut TcpStream) -> (u16, Vec<String>) {
    stream.set_read_timeout(Some(SOON)).expect("not zero");
    let mut start = [0; 2];
    stream.read_exact(&mut start).expect("a packet");
    assert_eq!((start[0], start[1] < 128), (0x10, true), "a short CONNECT");
    let mut rest = vec![0; usize::from(start[1])];
    stream.read_exact(&mut rest).expect("a packet");
    assert_eq!(&rest[..7], b"\x00\x04MQTT\x04");
    let keep_alive = u16::from_be_bytes([rest[8], rest[9]]);
    let mut texts = Vec::new();
    let mut left = &rest[10..];
    while let [high, low, more @ ..] = left {
        let (text, behind) = more.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        texts.push(String::from_utf8_lossy(text).into_owned());
        left = behind;
    }
    (keep_alive, texts)
}

#[test]
fn the_broker_is_told_who_we_are() {
    let broker = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let port = format!("--mqtt-port={}", broker.local_addr().expect("bound").port());
    let _relay = Relay::start(&[
        "--mqtt-host=127.0.0.1",
        &port,
        "--mqtt-publish-topic=t",
        "--mqtt-id=relay-7",
        "--mqtt-keepalive=44",
        "--mqtt-user=operator",
        "--mqtt-pass=secret",
    ]);
    let (mut stream, _) = broker.accept().expect("a connection");
    let (keep_alive, texts) = connect_packet(&mut stream);
    assert_eq!((keep_alive, texts), (44, ["relay-7", "operator", "secret"].map(str::to_owned).to_vec()));
    let _ = stream.write_all(&[0x20, 2, 0, 0]);
}

#[test]
fn authorities_can_be_a_folder_and_the_protocol_is_named() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    // The folder has it under the name that OpenSSL looks for, too.
    let files = [("cert.pem", certificate.as_str()), ("key.pem", key.as_str())];
    let lines = ["certfile {DIR}/cert.pem", "keyfile {DIR}/key.pem", "allow_anonymous true"];
    let Some(broker) = Mosquitto::start(&files, &lines) else { return };
    let authorities = tempfile::tempdir().expect("a folder");
    std::fs::write(authorities.path().join("ca.pem"), &certificate).expect("written");
    let rehash = std::process::Command::new("openssl").args(["rehash"]).arg(authorities.path()).status();
    assert!(rehash.is_ok_and(|status| status.success()));
    let relay = Relay::start(&[
        "--mqtt-host=localhost",
        &format!("--mqtt-port={}", broker.port()),
        "--mqtt-publish-topic=rtpe",
        "--mqtt-publish-interval=200",
        &format!("--mqtt-capath={}", authorities.path().display()),
    ]);
    let subscriber = broker.subscribe("rtpe", &["--cafile", "{DIR}/cert.pem", "--insecure"]);
    assert!(subscriber.next(SOON).is_some(), "{}", relay.process.log());

    // The protocol's name is in the first message of the handshake, in clear.
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address: SocketAddr = listener.local_addr().expect("bound");
    let _other = Relay::start(&[
        "--mqtt-host=localhost",
        &format!("--mqtt-port={}", address.port()),
        "--mqtt-publish-topic=rtpe",
        &format!("--mqtt-cafile={}", authorities.path().join("ca.pem").display()),
        "--mqtt-tls-alpn=x-my-mqtt",
    ]);
    let (mut stream, _) = listener.accept().expect("a connection");
    stream.set_read_timeout(Some(SOON)).expect("not zero");
    let mut hello = vec![0; 4096];
    let length = stream.read(&mut hello).expect("a message");
    assert!(hello[..length].windows(9).any(|window| window == b"x-my-mqtt"));
}
