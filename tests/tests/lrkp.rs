//! The lrkproxy protocol with the real daemon and real media: the client chooses the ports.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use e2e::daemon::{Relay, wait_for};
use e2e::party::Party;
use e2e::ports::PortBlock;
use serde_json::json;

const SOON: Duration = Duration::from_secs(10);
const A_WHILE: Duration = Duration::from_millis(300);

/// A proxy with its node.
struct Proxy {
    relay: Relay,
    socket: UdpSocket,
    /// First port that sessions may have.
    first: u16,
    cookies: AtomicU32,
    _ports: PortBlock,
}

impl Proxy {
    fn start(arguments: &[&str]) -> Self {
        let ports = PortBlock::take();
        let (first, last) = ports.media();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ports.control()));
        let own = [
            format!("--listen-lrkp={address}"),
            format!("--lrkp-port-min={first}"),
            format!("--lrkp-port-max={last}"),
        ];
        let all: Vec<&str> = own.iter().map(String::as_str).chain(arguments.iter().copied()).collect();
        let relay = Relay::start(&all);
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback");
        socket.connect(address).expect("loopback");
        Self { relay, socket, first, cookies: AtomicU32::new(0), _ports: ports }
    }

    /// The reply to a whole datagram.
    fn raw(&self, datagram: &[u8], patience: Duration) -> Option<Vec<u8>> {
        self.socket.send(datagram).expect("loopback");
        self.socket.set_read_timeout(Some(patience)).expect("a timeout");
        let mut buffer = [0; 2000];
        let length = self.socket.recv(&mut buffer).ok()?;
        Some(buffer[..length].to_vec())
    }

    /// The reply without the cookie.
    fn ask(&self, request: &str) -> Vec<u8> {
        let cookie = format!("-7_{} ", self.cookies.fetch_add(1, Ordering::Relaxed));
        let reply = self.raw(format!("{cookie}{request}").as_bytes(), SOON);
        let reply = reply.unwrap_or_else(|| panic!("no reply to {request}"));
        reply.strip_prefix(cookie.as_bytes()).expect("the cookie").to_vec()
    }

    fn confirmed(&self, request: &str) {
        assert_eq!(String::from_utf8_lossy(&self.ask(request)), format!("{request}OK"));
    }

    fn at(&self, offset: u16) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.first + offset))
    }
}

/// A request about a session; `ports` are ours towards callee and caller.
fn session(command: &str, a: &Party, b: &Party, ports: [SocketAddr; 2], timeout: u32, call: &str) -> String {
    let ([dst, snat], (a, b)) = (ports, (a.local(), b.local()));
    format!(
        "{command} {} {} {} {} {} {} {} {} {timeout} {call} ",
        a.ip(),
        dst.ip(),
        snat.ip(),
        b.ip(),
        a.port(),
        dst.port(),
        snat.port(),
        b.port()
    )
}

/// What a socket gets, and from where.
fn heard(socket: &UdpSocket, patience: Duration) -> Option<(Vec<u8>, SocketAddr)> {
    socket.set_read_timeout(Some(patience)).expect("a timeout");
    let mut buffer = [0; 2000];
    let (length, source) = socket.recv_from(&mut buffer).ok()?;
    Some((buffer[..length].to_vec(), source))
}

/// Both parties send RTP and RTCP to the ports that they were told, and hear each other from theirs.
fn talk(a: &Party, b: &Party, [dst, snat]: [SocketAddr; 2]) {
    let above = |address: SocketAddr| SocketAddr::new(address.ip(), address.port() + 1);
    for (from, at, to, source) in [
        (&*a.rtp, snat, &*b.rtp, dst),
        (&*b.rtp, dst, &*a.rtp, snat),
        (&a.rtcp, above(snat), &b.rtcp, above(dst)),
        (&b.rtcp, above(dst), &a.rtcp, above(snat)),
    ] {
        let octets = format!("\u{2}from {:?}", from.local_addr());
        from.send_to(octets.as_bytes(), at).expect("loopback");
        assert_eq!(heard(to, SOON), Some((octets.into_bytes(), source)));
    }
}

#[test]
fn a_session_relays_on_the_ports_that_the_proxy_chose() {
    let proxy = Proxy::start(&[]);
    assert_eq!(proxy.raw(b"1_1 P", SOON).as_deref(), Some(&b"1_1 P PONG"[..]));
    let (a, b) = (Party::new("127.0.0.11"), Party::new("127.0.0.12"));
    let ports = [proxy.at(0), proxy.at(2)];
    let request = session("S", &a, &b, ports, 60, "call@1");
    let datagram = format!("c1 {request}");
    let reply = proxy.raw(datagram.as_bytes(), SOON);
    assert_eq!(reply, Some(format!("{datagram}OK").into_bytes()));
    assert_eq!(proxy.raw(datagram.as_bytes(), SOON), reply, "a repeated request, the same reply");
    talk(&a, &b, ports);

    let stranger = UdpSocket::bind("127.0.0.66:0").expect("loopback");
    for _ in 0..3 {
        stranger.send_to(b"intruder", ports[1]).expect("loopback");
    }
    assert_eq!(heard(&b.rtp, A_WHILE), None, "another host is not believed");

    let listed = proxy.relay.ng.ok(json!({"command": "query", "call-id": "call@1"}));
    let stats = &listed["tags"]["lrkp-a"]["medias"][0]["streams"][0]["stats"];
    assert_eq!(stats["packets"], 1);

    let configuration = proxy.ask("G");
    assert_eq!(configuration.len(), 54);
    let number = |at: usize| i32::from_ne_bytes(configuration[at..at + 4].try_into().expect("four octets"));
    assert_eq!((number(2), number(10)), (i32::from(proxy.first), i32::from(proxy.first) + 4));
    assert_eq!(&configuration[14..24], b"127.0.0.1\0");

    proxy.confirmed(&session("D", &a, &b, ports, 60, "call@1"));
    proxy.confirmed(&session("D", &a, &b, ports, 60, "call@1"));
    assert_eq!(proxy.relay.ng.ok(json!({"command": "list"}))["calls"], json!([]));
    a.rtp.send_to(b"late", ports[1]).expect("loopback");
    assert_eq!(heard(&b.rtp, A_WHILE), None);
}

#[test]
fn the_proxy_is_told_which_addresses_are_inside_and_outside() {
    let interfaces = ["--interface=in/127.0.0.5", "--interface=out/127.0.0.6"];
    let choice = ["--lrkp-internal=in", "--lrkp-external=out"];
    let proxy = Proxy::start(&[interfaces, choice].concat());
    let configuration = proxy.ask("G");
    let text = |at: usize| configuration[at..].split(|octet| *octet == 0).next().expect("a text");
    assert_eq!((text(14), text(34)), (&b"127.0.0.5"[..], &b"127.0.0.6"[..]));
}

#[test]
fn a_party_may_send_from_another_port_and_a_session_may_change() {
    let proxy = Proxy::start(&[]);
    let (a, b, behind) = (Party::new("127.0.0.11"), Party::new("127.0.0.12"), Party::new("127.0.0.11"));
    let ports = [proxy.at(0), proxy.at(2)];
    proxy.confirmed(&session("S", &a, &b, ports, 60, "c"));
    behind.rtp.send_to(b"from behind a NAT", ports[1]).expect("loopback");
    assert!(heard(&b.rtp, SOON).is_some());
    b.rtp.send_to(b"back", ports[0]).expect("loopback");
    assert_eq!(heard(&behind.rtp, SOON).expect("there").0, b"back");

    let moved = Party::new("127.0.0.12");
    proxy.confirmed(&session("S", &a, &moved, ports, 60, "c"));
    behind.rtp.send_to(b"to the new endpoint", ports[1]).expect("loopback");
    assert_eq!(heard(&moved.rtp, SOON).expect("there").0, b"to the new endpoint");
    assert_eq!(heard(&b.rtp, A_WHILE), None);
    let calls = proxy.relay.ng.ok(json!({"command": "list"}))["calls"].clone();
    assert_eq!(calls, json!(["c"]), "still one session");

    // A fork: the same Call-ID with ports of its own.
    let fork = [proxy.at(4), proxy.at(6)];
    let (c, d) = (Party::new("127.0.0.11"), Party::new("127.0.0.12"));
    proxy.confirmed(&session("S", &c, &d, fork, 60, "c"));
    talk(&c, &d, fork);
    behind.rtp.send_to(b"still there", ports[1]).expect("loopback");
    assert_eq!(heard(&moved.rtp, SOON).expect("there").0, b"still there");
}

#[test]
fn one_port_for_both_parties_tells_them_apart_by_their_addresses() {
    let proxy = Proxy::start(&[]);
    for (call, b_host, offset) in [("two-hosts", "127.0.0.12", 0), ("one-host", "127.0.0.11", 2)] {
        let (a, b) = (Party::new("127.0.0.11"), Party::new(b_host));
        let ports = [proxy.at(offset); 2];
        proxy.confirmed(&session("S", &a, &b, ports, 60, call));
        talk(&a, &b, ports);
        let stranger = UdpSocket::bind("127.0.0.66:0").expect("loopback");
        stranger.send_to(b"intruder", ports[0]).expect("loopback");
        assert_eq!((heard(&a.rtp, A_WHILE), heard(&b.rtp, A_WHILE)), (None, None));
        proxy.confirmed(&session("D", &a, &b, ports, 60, call));
    }
    // Somebody else's turn on the port, now with two.
    let (a, b) = (Party::new("127.0.0.11"), Party::new("127.0.0.12"));
    let ports = [proxy.at(0), proxy.at(2)];
    proxy.confirmed(&session("S", &a, &b, ports, 60, "later"));
    talk(&a, &b, ports);
}

#[test]
fn a_held_port_goes_to_the_new_session_and_a_silent_one_expires() {
    let proxy = Proxy::start(&[]);
    let (a, b, c, d) = (
        Party::new("127.0.0.11"),
        Party::new("127.0.0.12"),
        Party::new("127.0.0.13"),
        Party::new("127.0.0.14"),
    );
    let ports = [proxy.at(0), proxy.at(2)];
    proxy.confirmed(&session("S", &a, &b, ports, 60, "old"));
    proxy.confirmed(&session("S", &c, &d, ports, 1, "new"));
    talk(&c, &d, ports);
    let calls = || proxy.relay.ng.ok(json!({"command": "list"}))["calls"].clone();
    assert_eq!(calls(), json!(["new"]));
    // A call that failed before its answer knows only half of itself.
    let unanswered =
        format!("D {} 127.0.0.1   {} {}   60 other ", c.local().ip(), c.local().port(), proxy.first + 4);
    proxy.confirmed(&unanswered);
    assert!(wait_for(SOON, || (calls() == json!([])).then_some(())).is_some(), "a second without packets");
    assert!(proxy.relay.process.log().contains("port is given to another session"));
}

#[test]
fn nonsense_is_not_answered_and_a_full_node_does_not_answer_pings() {
    let proxy = Proxy::start(&["--max-sessions=1", "--lrkp-strict-ports"]);
    let (a, b) = (Party::new("127.0.0.11"), Party::new("127.0.0.12"));
    let outside = [SocketAddr::from(([127, 0, 0, 1], 19_000)), SocketAddr::from(([127, 0, 0, 1], 19_002))];
    let foreign = [SocketAddr::from(([192, 0, 2, 1], proxy.first)), proxy.at(2)];
    for request in [
        "c Z what".to_owned(),
        "c S 1 2".to_owned(),
        "P".to_owned(),
        format!("o {}", session("S", &a, &b, outside, 60, "outside")),
        format!("f {}", session("S", &a, &b, foreign, 60, "foreign")),
    ] {
        assert_eq!(proxy.raw(request.as_bytes(), Duration::from_millis(200)), None, "{request}");
    }
    assert_eq!(proxy.ask("P"), b"P PONG");
    let ports = [proxy.at(0), proxy.at(2)];
    proxy.confirmed(&session("S", &a, &b, ports, 60, "c"));
    assert_eq!(proxy.raw(b"p P", A_WHILE), None, "full");
    proxy.confirmed(&session("D", &a, &b, ports, 60, "c"));
    assert_eq!(proxy.ask("P"), b"P PONG");
}

#[test]
fn unix_sockets_have_no_cookies() {
    let proxy = Proxy::start(&["--listen-lrkp=unix:{DIR}/lrkp.sock"]);
    let path = proxy.relay.folder.path().join("lrkp.sock");
    let ask = |request: &str| {
        let mut stream = UnixStream::connect(&path).expect("the socket");
        stream.set_read_timeout(Some(SOON)).expect("a timeout");
        stream.write_all(request.as_bytes()).expect("the socket");
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).expect("a reply");
        reply
    };
    assert_eq!(ask("P"), b"P PONG");
    assert_eq!(ask("G").len(), 54);
    let (a, b) = (Party::new("127.0.0.11"), Party::new("127.0.0.12"));
    let ports = [proxy.at(0), proxy.at(2)];
    let request = session("S", &a, &b, ports, 60, "u");
    assert_eq!(ask(&request), format!("{request}OK").into_bytes());
    talk(&a, &b, ports);
}
