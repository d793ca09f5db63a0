//! The doors beside ng over UDP, with the real daemon: every transport in both encodings, what is refused, and what a client that
//! misbehaves costs others.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use e2e::daemon::{Process, Relay, relay_binary, wait_for};
use e2e::http::{self, tcp_exchange};
use e2e::party::Party;
use e2e::tls::Certificate;
use e2e::websocket::{self, BINARY, CONTINUATION, TEXT, WebSocket};
use e2e::{bencode, sdp};
use serde_json::{Value, json};

const NG: &str = "application/x-rtpengine-ng";
const JSON: &str = "application/json";
const PING: &str = "d7:command4:pinge";
const PONG: &str = "d6:result4:ponge";

fn free() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
    listener.expect("a free TCP port")
}

fn relay_with_http(arguments: &[&str]) -> (Relay, SocketAddr) {
    let address = free();
    let listen = format!("--listen-http={address}");
    (Relay::start(&[&[listen.as_str()], arguments].concat()), address)
}

fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).expect("connected");
    stream.set_read_timeout(Some(Duration::from_secs(15))).expect("a timeout");
    stream
}

/// Everything until the other side closes, which it must.
fn rest(stream: &mut TcpStream) -> String {
    let mut received = Vec::new();
    if let Err(cause) = stream.read_to_end(&mut received) {
        assert_eq!(cause.kind(), std::io::ErrorKind::ConnectionReset, "{cause}");
    }
    String::from_utf8_lossy(&received).into_owned()
}

fn expect(stream: &mut impl Read, expected: &str) {
    let mut received = vec![0; expected.len()];
    stream.read_exact(&mut received).unwrap_or_else(|e| panic!("{e} instead of {expected}"));
    assert_eq!(String::from_utf8_lossy(&received), expected);
}

fn offer(call_id: &str) -> Value {
    let body = sdp::audio(Party::new("127.0.0.1").local(), &["0 PCMU/8000"], &[]);
    json!({"command": "offer", "call-id": call_id, "from-tag": "a", "sdp": body})
}

fn calls(relay: &Relay) -> Value {
    relay.ng.ok(json!({"command": "list"}))["calls"].clone()
}

#[test]
fn calls_can_be_made_over_tcp_with_many_requests_in_one_segment() {
    let address = free();
    let relay = Relay::start(&[&format!("--listen-tcp-ng={address}")]);
    let mut client = connect(address);
    let mut message = Vec::new();
    for i in 0..20 {
        message.extend_from_slice(format!("o{i} ").as_bytes());
        message.extend_from_slice(&bencode::encode(&offer(&format!("tcp{i}"))));
    }
    message.extend_from_slice(format!("last {PING}").as_bytes());
    client.write_all(&message).expect("connected");
    let mut received = Vec::new();
    let mut buffer = [0; 65_536];
    while !received.ends_with(format!("last {PONG}").as_bytes()) {
        let length = client.read(&mut buffer).expect("replies");
        assert!(length > 0, "closed after {}", String::from_utf8_lossy(&received));
        received.extend_from_slice(&buffer[..length]);
    }
    let text = String::from_utf8_lossy(&received).into_owned();
    let places: Vec<_> = (0..20).map(|i| text.find(&format!("o{i} d3:sdp")).expect("a reply")).collect();
    assert!(places.is_sorted(), "{places:?}");
    assert_eq!(calls(&relay).as_array().map(Vec::len), Some(20));
    // One cache of replies for all transports.
    let again = relay.ng.exchange("last", b"garbage", Duration::from_secs(5)).expect("the stored reply");
    assert_eq!(again, PONG.as_bytes());
}

#[test]
fn many_idle_and_half_finished_connections_disturb_nobody() {
    let (tcp, http) = (free(), free());
    let relay =
        Relay::start(&[&format!("--listen-tcp-ng={tcp}"), &format!("--listen-http={http}"), "--log-level=5"]);
    let mut open: Vec<TcpStream> = (0..300).map(|_| connect(tcp)).collect();
    let halves: Vec<TcpStream> = (0..100)
        .map(|i| {
            let mut client = connect(if i % 2 == 0 { tcp } else { http });
            let half = if i % 2 == 0 { "c d7:command4:pi" } else { "POST /ng HTTP/1.1\r\nContent-Le" };
            client.write_all(half.as_bytes()).expect("connected");
            client
        })
        .collect();
    for (i, client) in open.iter_mut().enumerate() {
        client.write_all(format!("m{i} {PING}").as_bytes()).expect("connected");
    }
    for (i, client) in open.iter_mut().enumerate() {
        expect(client, &format!("m{i} {PONG}"));
    }
    assert_eq!(http::request(http, "GET", "/ping", None, None).expect("an answer").body, "pong\n");
    assert_eq!(relay.ng.ok(offer("beside"))["result"], "ok");
    drop(halves);
}

#[test]
fn garbage_over_tcp_ends_its_connection_only() {
    let address = free();
    let _relay = Relay::start(&[&format!("--listen-tcp-ng={address}")]);
    let mut other = connect(address);
    for garbage in
        ["x".repeat(1025), format!("c {{\"command\":\"ping\"}}{}", " ".repeat(1100)), "\0".repeat(5000)]
    {
        let mut client = connect(address);
        let _ = client.write_all(garbage.as_bytes());
        assert_eq!(rest(&mut client), "");
    }
    other.write_all(format!("c1 {PING}").as_bytes()).expect("connected");
    expect(&mut other, &format!("c1 {PONG}"));
}

#[test]
fn http_answers_by_method_path_and_content_type() {
    let (_relay, address) = relay_with_http(&[]);
    let json_ping = r#"{"command":"ping"}"#;
    /// Method, path, content type, body; status, content type and body of the answer.
    type Case = (
        &'static str,
        &'static str,
        Option<&'static str>,
        Option<&'static str>,
        u16,
        Option<&'static str>,
        &'static str,
    );
    let cases: &[Case] = &[
        ("GET", "/ping", None, None, 200, Some("text/plain"), "pong\n"),
        ("GET", "/nosuch", None, None, 404, Some("text/plain"), "not found\n"),
        ("PUT", "/ng", Some(NG), Some("a de"), 404, Some("text/plain"), "not found\n"),
        ("POST", "/ng", Some(NG), Some("a1 d7:command4:pinge"), 200, Some(NG), "a1 d6:result4:ponge"),
        (
            "POST",
            "/ng",
            Some(NG),
            Some("a2 {\"command\":\"ping\"}"),
            200,
            Some(NG),
            "a2 {\"result\":\"pong\"}",
        ),
        ("POST", "/ng", Some(NG), Some("nocookie"), 600, Some("text/plain"), "error\n"),
        ("POST", "/ng", Some(NG), Some(""), 600, Some("text/plain"), "error\n"),
        ("POST", "/ng", Some(JSON), Some("a3 {}"), 404, Some("text/plain"), "not found\n"),
        ("POST", "/ng-plain", Some(JSON), Some(json_ping), 200, Some(JSON), "{\"result\":\"pong\"}"),
        ("POST", "/ng-plain", Some(NG), Some(PING), 200, Some(NG), PONG),
        ("POST", "/ng-plain", Some("text/plain"), Some(PING), 404, Some("text/plain"), "not found\n"),
        (
            "POST",
            "/ng-plain",
            Some(JSON),
            Some("{\"command\":\"bogus\"}"),
            200,
            Some(JSON),
            "{\"result\":\"error\",\"error-reason\":\"Unrecognized command\"}",
        ),
        ("OPTIONS", "/ng", None, None, 200, None, ""),
    ];
    for (method, path, content_type, body, status, answer_type, expected) in cases {
        let answer = http::request(address, method, path, *content_type, *body)
            .unwrap_or_else(|e| panic!("{method} {path} {body:?}: {e}"));
        let found = (answer.status, answer.content_type.as_deref(), answer.body.as_str());
        assert_eq!(found, (*status, *answer_type, *expected), "{method} {path} {content_type:?} {body:?}");
    }
    for (content_type, body) in [(None, Some(json_ping)), (Some(JSON), None)] {
        let answer = http::request(address, "POST", "/ng-plain", content_type, body);
        assert!(answer.is_err(), "closed without an answer, not {answer:?}");
    }
}

#[test]
fn scripts_of_other_origins_may_use_every_answer() {
    let (_relay, address) = relay_with_http(&[]);
    for request in ["OPTIONS /ng-plain", "GET /ping", "GET /nosuch"] {
        let mut client = connect(address);
        let message =
            format!("{request} HTTP/1.1\r\nHost: x\r\nOrigin: http://y\r\nConnection: close\r\n\r\n");
        client.write_all(message.as_bytes()).expect("connected");
        let answer = rest(&mut client).to_lowercase();
        for header in [
            "access-control-allow-origin: *\r\n",
            "access-control-max-age: 86400\r\n",
            "access-control-allow-methods: get, post\r\n",
            "access-control-allow-headers: content-type\r\n",
        ] {
            assert!(answer.contains(header), "{request}: {header} is not in {answer}");
        }
    }
}

#[test]
fn http_connections_are_kept_until_they_are_idle_or_stall() {
    let (_relay, address) = relay_with_http(&["--http-idle-timeout=1"]);
    let get = "GET /ping HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut client = connect(address);
    for _ in 0..3 {
        client.write_all(get.as_bytes()).expect("connected");
        let mut answer = Vec::new();
        while !answer.ends_with(b"pong\n") {
            let mut octet = [0];
            client.read_exact(&mut octet).expect("an answer");
            answer.push(octet[0]);
        }
    }
    let started = Instant::now();
    assert_eq!(rest(&mut client), "");
    let waited = started.elapsed();
    assert!(waited > Duration::from_millis(500) && waited < Duration::from_secs(8), "{waited:?}");

    let mut half = connect(address);
    half.write_all(b"GET /ping HTTP/1.1\r\nX-A: b\r\n").expect("connected");
    let started = Instant::now();
    rest(&mut half);
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
}

#[test]
fn http_heads_and_bodies_have_bounds() {
    let (_relay, address) = relay_with_http(&[]);
    let head = "POST /ng-plain HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    let mut client = connect(address);
    client.write_all(format!("{head}Content-Length: 900000000\r\n\r\n{{").as_bytes()).expect("connected");
    let mut answer = [0; 12];
    client.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 413");

    let mut client = connect(address);
    let _ = client.write_all(format!("GET /ping HTTP/1.1\r\nX: {}\r\n\r\n", "y".repeat(100_000)).as_bytes());
    let answer = rest(&mut client);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");

    let large = format!("{{\"command\":\"ping\",\"filler\":\"{}\"}}", "z".repeat(1 << 20));
    let answer = http::request(address, "POST", "/ng-plain", Some(JSON), Some(&large)).expect("an answer");
    assert_eq!((answer.status, answer.body.as_str()), (200, "{\"result\":\"pong\"}"));
    assert_eq!(http::request(address, "GET", "/ping", None, None).expect("an answer").body, "pong\n");
}

fn open(address: SocketAddr, protocol: &str) -> WebSocket<TcpStream> {
    WebSocket::open(connect(address), "/any/path", protocol).expect("agreed")
}

#[test]
fn websocket_subprotocols_answer_in_order() {
    let (relay, address) = relay_with_http(&[]);
    let mut ng = open(address, "unknown, ng.rtpengine.com");
    assert_eq!(ng.ask(&format!("w1 {PING}")).expect("a reply"), format!("w1 {PONG}"));
    ng.send(TEXT, b"nocookie").expect("connected");
    for i in 0..30 {
        let request = bencode::encode(&offer(&format!("ws{i}")));
        ng.send(BINARY, &[format!("q{i} ").as_bytes(), &request].concat()).expect("connected");
    }
    for i in 0..30 {
        let (opcode, reply) = ng.receive().expect("a reply");
        assert_eq!(opcode, BINARY);
        assert!(reply.starts_with(format!("q{i} d3:sdp").as_bytes()), "{}", String::from_utf8_lossy(&reply));
    }
    assert_eq!(relay.ng.exchange("w1", b"x", Duration::from_secs(5)), Some(PONG.into()));

    let mut plain = open(address, "ng-plain.rtpengine.com");
    assert_eq!(plain.ask(PING).expect("a reply"), PONG);
    assert_eq!(plain.ask("{\"command\":\"ping\"}").expect("a reply"), "{\"result\":\"pong\"}");
    let mut echo = open(address, "echo.rtpengine.com");
    echo.send(TEXT, b"hello").expect("connected");
    assert_eq!(echo.receive().expect("a reply"), (BINARY, b"hello".to_vec()));

    let refused = WebSocket::open(connect(address), "/", "chat").map(|_| ());
    assert!(refused.is_err_and(|answer| answer.contains("404")), "no subprotocol, nothing to upgrade to");
}

#[test]
fn websocket_messages_may_come_in_fragments_but_not_be_endless() {
    let (_relay, address) = relay_with_http(&[]);
    let mut ng = open(address, "ng.rtpengine.com");
    ng.send_frame(false, TEXT, b"f1 d7:com").expect("connected");
    ng.send(websocket::PING, b"alive?").expect("connected");
    ng.send_frame(false, CONTINUATION, b"mand4").expect("connected");
    assert_eq!(ng.receive().expect("a pong"), (websocket::PONG, b"alive?".to_vec()));
    ng.send_frame(true, CONTINUATION, b":pinge").expect("connected");
    assert_eq!(ng.receive().expect("a reply"), (BINARY, format!("f1 {PONG}").into_bytes()));
    let piece = vec![b'x'; 1 << 20];
    let mut sent = 0;
    let ended = loop {
        let opcode = if sent == 0 { BINARY } else { CONTINUATION };
        if ng.send_frame(false, opcode, &piece).is_err() {
            break true;
        }
        sent += 1;
        if sent > 32 {
            break false;
        }
    };
    let closed = loop {
        match ng.receive() {
            Ok((websocket::CLOSE, reason)) => break reason.starts_with(&1009u16.to_be_bytes()),
            Ok(_) => {}
            Err(_) => break ended,
        }
    };
    assert!(closed, "a message of {sent} MiB was swallowed");
    let mut other = open(address, "ng.rtpengine.com");
    assert_eq!(other.ask(&format!("f2 {PING}")).expect("a reply"), format!("f2 {PONG}"));
}

#[test]
fn https_and_secure_websockets_show_the_certificate_and_its_renewal() {
    let folder = tempfile::tempdir().expect("a folder");
    let certificate = Certificate::make(folder.path());
    let address = free();
    let relay = Relay::start(&[
        &format!("--listen-https={address}"),
        &format!("--https-cert={}", certificate.path.display()),
        &format!("--https-key={}", certificate.key.display()),
    ]);
    let ask = |certificate: &Certificate| -> Result<String, String> {
        let mut stream = certificate.connect(address)?;
        let body = r#"{"command":"ping"}"#;
        let message = format!(
            "POST /ng-plain HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: {JSON}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(message.as_bytes()).map_err(|e| e.to_string())?;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    let answer = ask(&certificate).expect("the certificate is trusted");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("{\"result\":\"pong\"}"), "{answer}");
    let mut socket =
        WebSocket::open(certificate.connect(address).expect("TLS"), "/", "ng.rtpengine.com").expect("agreed");
    assert_eq!(socket.ask(&format!("s1 {PING}")).expect("a reply"), format!("s1 {PONG}"));

    let plain = tcp_exchange(address, b"GET /ping HTTP/1.1\r\n\r\n", Duration::from_secs(5), |_| false);
    assert!(!String::from_utf8_lossy(&plain.ok().flatten().unwrap_or_default()).contains("pong"));

    let renewed = Certificate::make(folder.path());
    let answer =
        wait_for(Duration::from_secs(10), || ask(&renewed).ok()).expect("the new certificate is used");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(ask(&certificate).is_err(), "the old one is gone");
    assert_eq!(socket.ask(&format!("s2 {PING}")).expect("a reply"), format!("s2 {PONG}"), "kept open");
    assert_eq!(relay.ng.ok(json!({"command": "list"}))["calls"], json!([]));
}

#[test]
fn a_client_that_does_not_speak_tls_or_stops_in_the_handshake_holds_up_nobody() {
    let folder = tempfile::tempdir().expect("a folder");
    let certificate = Certificate::make(folder.path());
    let address = free();
    let _relay = Relay::start(&[
        &format!("--listen-https={address}"),
        &format!("--https-cert={}", certificate.path.display()),
        &format!("--https-key={}", certificate.key.display()),
        "--http-threads=1",
    ]);
    let _silent: Vec<TcpStream> = (0..20)
        .map(|_| {
            let mut client = connect(address);
            client.write_all(&[0x16, 3, 1, 2]).expect("connected");
            client
        })
        .collect();
    let mut stream = certificate.connect(address).expect("TLS");
    stream.write_all(b"GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("connected");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.ends_with(b"pong\n"), "{}", String::from_utf8_lossy(&answer));
}

#[test]
fn start_up_mistakes_of_the_doors_are_named_and_fatal() {
    let folder = tempfile::tempdir().expect("a folder");
    let certificate = Certificate::make(folder.path());
    let busy = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let busy = busy.local_addr().map(|address| (busy, address)).expect("bound");
    let path = certificate.path.display();
    let cases: &[(&[String], &str)] = &[
        (&[format!("--listen-https={}", free())], "https-cert"),
        (&[format!("--listen-https={}", free()), "--https-cert=/no/such.pem".into()], "/no/such.pem"),
        // No key in it.
        (&[format!("--listen-https={}", free()), format!("--https-cert={path}")], "https-key"),
        (&[format!("--listen-http={}", busy.1)], "HTTP"),
        (&[format!("--listen-tcp-ng={}", busy.1)], "ng"),
        (&["--listen-http=nonsense".into()], "nonsense"),
        (&[format!("--listen-http={}", free()), "--http-idle-timeout=-1".into()], "http-idle-timeout"),
        (&[format!("--listen-tcp-ng={}", free()), "--control-tos=256".into()], "control-ng TOS"),
    ];
    for (i, (arguments, word)) in cases.iter().enumerate() {
        let mut command = Command::new(relay_binary());
        command.args(["--config-file=none", "--foreground", "--log-stderr", "--interface=127.0.0.1"]);
        command.args(*arguments);
        let mut process = Process::start(command, &folder.path().join(format!("{i}.log"))).expect("started");
        let status = process.wait(Duration::from_secs(10));
        assert!(status.is_some_and(|status| !status.success()), "{arguments:?}: {status:?}");
        let log = process.log();
        assert!(
            log.contains("Fatal error") && log.contains(word),
            "{arguments:?} does not name {word}:\n{log}"
        );
    }
}

#[test]
fn http_alone_is_enough_to_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let address = free();
    let mut command = Command::new(relay_binary());
    command.args(["--config-file=none", "--foreground", "--log-stderr", "--interface=127.0.0.1"]);
    command.arg(format!("--listen-http={address}"));
    let mut process = Process::start(command, &folder.path().join("log")).expect("started");
    let answer =
        wait_for(Duration::from_secs(10), || http::request(address, "GET", "/ping", None, None).ok());
    assert_eq!(answer.expect("it answers").body, "pong\n");
    assert_eq!(process.terminate().code(), Some(0));
}
