//! The control protocols from before ng, with the real daemon and real media.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use e2e::daemon::{Relay, wait_for};
use e2e::party::Party;
use serde_json::json;

const SOON: Duration = Duration::from_secs(10);
const A_WHILE: Duration = Duration::from_millis(300);

fn free_udp() -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| socket.local_addr());
    socket.expect("a free UDP port")
}

fn free_tcp() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
    listener.expect("a free TCP port")
}

/// A client of the rtpproxy protocol.
struct Rtpproxy {
    socket: UdpSocket,
}

impl Rtpproxy {
    fn start(arguments: &[&str]) -> (Relay, Self) {
        let address = free_udp();
        let listen = format!("--listen-udp={address}");
        let relay = Relay::start(&[&[listen.as_str()], arguments].concat());
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback");
        socket.connect(address).expect("loopback");
        socket.set_read_timeout(Some(SOON)).expect("a timeout");
        (relay, Self { socket })
    }

    fn ask(&self, line: &str) -> String {
        self.socket.send(line.as_bytes()).expect("loopback");
        let mut buffer = [0; 2000];
        let length = self.socket.recv(&mut buffer).unwrap_or_else(|e| panic!("{line}: {e}"));
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    /// Sends an update or lookup of a party's stream; the local port that the other party is told.
    fn stream(&self, cookie: &str, command: &str, party: SocketAddr, tags: &str) -> SocketAddr {
        let reply = self.ask(&format!("{cookie} {command} {} {} {tags}\n", party.ip(), party.port()));
        let words: Vec<&str> = reply.split_ascii_whitespace().collect();
        let [_, port, address, "4"] = words.as_slice() else { panic!("{reply}") };
        format!("{address}:{port}").parse().expect("an address")
    }
}

/// Both parties send something and hear it.
fn talk(a: &Party, to_a: SocketAddr, b: &Party, to_b: SocketAddr) {
    let hears = |from: &Party, at: SocketAddr, to: &Party, expected_from: SocketAddr, octets: &[u8]| {
        from.rtp.send_to(octets, at).expect("loopback");
        let mut buffer = [0; 2000];
        to.rtp.set_read_timeout(Some(SOON)).expect("a timeout");
        let (length, source) = to.rtp.recv_from(&mut buffer).expect("media");
        assert_eq!((&buffer[..length], source), (octets, expected_from));
    };
    // Whatever it is: nobody said that it would be RTP.
    hears(a, to_a, b, to_b, b"\x80\x00\x00\x01not decoded by anybody");
    hears(b, to_b, a, to_a, b"anything else");
}

#[test]
fn rtpproxy_call_relays_both_ways_and_is_seen_by_ng() {
    let (relay, proxy) = Rtpproxy::start(&[]);
    let (a, b) = (Party::new("127.0.0.1"), Party::new("127.0.0.1"));
    let to_b = proxy.stream("1_1", "U call-1", a.local(), "from;1");
    assert_eq!(proxy.stream("1_1", "U call-1", a.local(), "from;1"), to_b, "the same cookie, the same reply");
    let to_a = proxy.stream("1_2", "L call-1", b.local(), "from;1 to;1");
    assert_eq!(to_b.port() % 2, 0);
    talk(&a, to_a, &b, to_b);

    // RTCP on the next port.
    a.rtcp.send_to(b"\x80\xc8 report", SocketAddr::new(to_a.ip(), to_a.port() + 1)).expect("loopback");
    b.rtcp.set_read_timeout(Some(SOON)).expect("a timeout");
    let mut buffer = [0; 100];
    let (length, source) = b.rtcp.recv_from(&mut buffer).expect("RTCP");
    assert_eq!((&buffer[..length], source.port()), (&b"\x80\xc8 report"[..], to_b.port() + 1));

    let counted = wait_for(SOON, || {
        let reply = proxy.ask(&format!("q{} Q call-1 from;1 to;1", rand_cookie()));
        let numbers: Vec<u64> = reply.split(' ').skip(1).filter_map(|n| n.trim().parse().ok()).collect();
        (numbers[1..] == [2, 1, 0, 0] && numbers[0] > 3590).then_some(())
    });
    assert!(counted.is_some(), "{}", proxy.ask("last Q call-1 from;1 to;1"));

    let call = relay.ng.ok(json!({"command": "query", "call-id": "call-1"}));
    let media = &call["tags"]["from"]["medias"][0];
    assert_eq!(
        (&media["protocol"], &media["streams"][0]["stats"]["packets"]),
        (&json!("unknown (legacy)"), &json!(1))
    );

    assert_eq!(proxy.ask("1_9 D call-1 from to"), "1_9 0\n");
    assert_eq!(proxy.ask("1_10 D nosuch from to"), "1_10 E8\n");
}

fn rand_cookie() -> u128 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_nanos()
}

#[test]
fn rtpproxy_streams_are_numbered_moved_held_and_switched_off() {
    let (relay, proxy) = Rtpproxy::start(&["--delete-delay=0"]);
    let (a, b) = (Party::new("127.0.0.1"), Party::new("127.0.0.1"));
    let video_b = proxy.stream("1", "U c", a.local(), "f;2");
    let video_a = proxy.stream("2", "L c", b.local(), "f;2 t;2");
    talk(&a, video_a, &b, video_b);
    let call = relay.ng.ok(json!({"command": "query", "call-id": "c"}));
    assert_eq!(call["tags"]["f"]["medias"][0]["index"], 2);

    // The first stream comes later; the second one stays.
    let (c, d) = (Party::new("127.0.0.1"), Party::new("127.0.0.1"));
    let audio_b = proxy.stream("3", "U c", c.local(), "f;1 t;1");
    let audio_a = proxy.stream("4", "L c", d.local(), "f;1 t;1");
    talk(&c, audio_a, &d, audio_b);
    talk(&a, video_a, &b, video_b);

    // On hold: no address is told.
    let held = proxy.ask("5 U c 0.0.0.0 4000 f;1 t;1");
    assert!(held.ends_with(" 0.0.0.0 4\n") && !held.starts_with("5 0 "), "{held}");
    // And off.
    assert_eq!(proxy.ask("6 U c 127.0.0.1 0 f;1 t;1"), "6 0 0.0.0.0 4\n");
    talk(&a, video_a, &b, video_b);

    assert_eq!(proxy.ask("7 D c f t"), "7 0\n");
    let gone = relay.ng.request(&json!({"command": "query", "call-id": "c"}));
    assert_eq!(gone["result"], "error");
}

#[test]
fn rtpproxy_forked_call_has_a_way_for_each_branch() {
    let (_relay, proxy) = Rtpproxy::start(&[]);
    let a = Party::new("127.0.0.1");
    let branches = [Party::new("127.0.0.1"), Party::new("127.0.0.1")];
    let to_first = proxy.stream("1", "U c;z1", a.local(), "f;1");
    let to_second = proxy.stream("2", "U c;z2", a.local(), "f;1");
    assert_ne!(to_first, to_second);
    proxy.stream("3", "L c;z1", branches[0].local(), "f;1 t1;1");
    let to_a = proxy.stream("4", "L c;z2", branches[1].local(), "f;1 t2;1");
    talk(&a, to_a, &branches[1], to_second);
}

#[test]
fn rtpproxy_requests_that_cannot_be_carried_out_are_answered() {
    let (relay, proxy) =
        Rtpproxy::start(&["--interface=external/127.0.0.1", "--interface=internal/127.0.0.2"]);
    for (line, expected) in [
        ("1_1 V", "1_1 20040107\n"),
        ("1_2 VF 20050322", "1_2 1\n"),
        ("1_5 VF 20081102", "1_5 0\n"),
        ("1_9 Q nosuch f t", "1_9 E8\n"),
        ("1_10 L nosuch 127.0.0.1 20002 ftag;1 ttag;1", "1_10 0 0.0.0.0\n"),
        ("1_11 X foo", "1_11 E8\n"),
        ("1_12 U bad", "1_12 E8\n"),
        ("1_13 U bad2 foo bar baz qux", "1_13 bar foo\n"),
        ("1_14 U same 127.0.0.1 20000 f;1 f;1", "1_14 E8\n"),
        ("1_15 U far 127.0.0.1 20000 f;65", "1_15 E8\n"),
        ("garbage", "garbage E8\n"),
    ] {
        assert_eq!(proxy.ask(line), expected);
    }
    let side = |cookie: &str, flags: &str| {
        proxy.ask(&format!("{cookie} U{flags} sides-{cookie} 127.0.0.1 20010 f;1"))
    };
    assert!(side("s1", "EI").ends_with(" 127.0.0.2 4\n"));
    assert!(side("s2", "aeE").ends_with(" 127.0.0.1 4\n"));
    assert!(side("s3", "").ends_with(" 127.0.0.1 4\n"));
    assert_eq!(relay.ng.ok(json!({"command": "list"}))["calls"].as_array().map(Vec::len), Some(3));
    // A line without anything, and octets that are no text, cost nobody anything.
    proxy.socket.send(b" \r\n").expect("loopback");
    proxy.socket.send(&[0xff; 300]).expect("loopback");
    let mut buffer = [0; 2000];
    let length = proxy.socket.recv(&mut buffer).expect("an answer to the octets");
    assert!(buffer[..length].ends_with(b" E8\n"));
    assert_eq!(proxy.ask("end V"), "end 20040107\n");
}

/// Sends a line, reads to the end.
fn mediaproxy(address: SocketAddr, line: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(SOON)).expect("a timeout");
    stream.write_all(format!("{line}\n").as_bytes()).expect("connected");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the daemon closes");
    answer
}

#[test]
fn mediaproxy_call_has_all_its_streams_in_one_request() {
    let address = free_tcp();
    let relay = Relay::start(&[&format!("--listen-tcp={address}"), "--delete-delay=0"]);
    let [a, b, c, d] = [(); 4].map(|()| Party::new("127.0.0.1"));
    let streams = |first: &Party, second: &Party| {
        format!("{}:audio,{}:video 127.0.0.1 here local there remote agent", first.local(), second.local())
    };
    let ports = |answer: &str| -> Vec<SocketAddr> {
        let mut words = answer.strip_suffix('\n').expect("a line").split(' ');
        let host = words.next().expect("an address");
        words.map(|port| format!("{host}:{port}").parse().expect("an address")).collect()
    };
    let info = "info=domain:example.com,from:a@b,to:c@d,fromtag:aaa,totag:";
    let to_b = ports(&mediaproxy(address, &format!("request call {} {info}", streams(&a, &c))));
    let to_a = ports(&mediaproxy(address, &format!("lookup call {} {info}bbb", streams(&b, &d))));
    assert_eq!((to_b.len(), to_a.len()), (2, 2));
    talk(&a, to_a[0], &b, to_b[0]);
    talk(&c, to_a[1], &d, to_b[1]);
    let call = relay.ng.ok(json!({"command": "query", "call-id": "call"}));
    assert_eq!(call["tags"]["bbb"]["medias"][1]["type"], "video");

    let status = mediaproxy(address, "status");
    assert!(status.starts_with("proxy 1 ") && status.contains("\nsession call - - - - "), "{status}");
    let controls = mediaproxy(address, "controls");
    assert!(controls.starts_with("127.0.0.1:") && controls.ends_with("\nEnd.\n"), "{controls}");
    assert_eq!(mediaproxy(address, "delete call info="), "");
    assert!(mediaproxy(address, "status").starts_with("proxy 0 "));
}

#[test]
fn mediaproxy_closes_without_answer_what_it_cannot_carry_out() {
    let address = free_tcp();
    let _relay = Relay::start(&[&format!("--listen-tcp={address}")]);
    let request = "127.0.0.1:20020:audio 127.0.0.1 fd local td remote agent";
    for line in [
        "nonsense".to_owned(),
        String::new(),
        "quit".into(),
        "delete nosuch info=".into(),
        format!("lookup nosuch {request} info=fromtag:aaa,totag:bbb"),
        format!("request c {request} info=x:y"),
        format!("VERSION {}", "x".repeat(2000)),
    ] {
        let mut stream = TcpStream::connect(address).expect("connected");
        stream.set_read_timeout(Some(SOON)).expect("a timeout");
        stream.write_all(format!("{line}\r\n").as_bytes()).expect("connected");
        let mut answer = Vec::new();
        // What was not read when the daemon closed makes the system say so.
        let _ = stream.read_to_end(&mut answer);
        assert_eq!(answer, b"", "{line}");
    }
    assert!(mediaproxy(address, "version").starts_with("Version: "));
    // A line may come in pieces.
    let mut stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(SOON)).expect("a timeout");
    for piece in
        ["req", "uest c 127.0.0.1:20020:audio 127.0.0.1 fd local td re", "mote agent info=fromtag:a\n"]
    {
        stream.write_all(piece.as_bytes()).expect("connected");
        std::thread::sleep(A_WHILE / 10);
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the daemon closes");
    assert!(answer.starts_with("127.0.0.1 "), "{answer}");
}
