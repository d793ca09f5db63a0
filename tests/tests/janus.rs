//! The Janus interface over WebSocket and HTTP, with the real daemon: rooms, and what clients are told about their connections.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use e2e::daemon::Relay;
use e2e::party::Party;
use e2e::websocket::{TEXT, WebSocket};
use e2e::{http, python, sdp};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(15);
const JSON: &str = "application/json";
const ROOM: u64 = 1234;
/// What the peer sends (see `aiortc_peer.py`).
const TONE_HZ: f64 = 880.0;

/// A WebSocket with one session.
struct Client {
    socket: WebSocket<TcpStream>,
    session: Value,
    number: u32,
    /// What came without having been asked for.
    events: Vec<Value>,
}

impl Client {
    fn new(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("connected");
        stream.set_read_timeout(Some(LIMIT)).expect("a timeout");
        let socket = WebSocket::open(stream, "/any/path", "janus-protocol").expect("agreed");
        let mut client = Self { socket, session: Value::Null, number: 0, events: Vec::new() };
        client.session = client.ask(json!({"janus": "create"}))["data"]["id"].clone();
        client
    }

    fn receive(&mut self) -> Value {
        let (opcode, message) = self.socket.receive().expect("a message");
        assert_eq!(opcode, TEXT);
        serde_json::from_slice(&message).expect("JSON")
    }

    /// The reply to a request; of those that are acknowledged first, the real one.
    fn ask(&mut self, mut request: Value) -> Value {
        self.number += 1;
        request["transaction"] = json!(format!("t{}", self.number));
        if !self.session.is_null() {
            request["session_id"] = self.session.clone();
        }
        self.socket.send(TEXT, request.to_string().as_bytes()).expect("connected");
        loop {
            let reply = self.receive();
            if reply.get("transaction").is_none() {
                self.events.push(reply);
            } else if reply["janus"] != "ack" || request["janus"] != "message" {
                assert_eq!(reply["transaction"], request["transaction"], "{reply}");
                return reply;
            }
        }
    }

    fn attach(&mut self) -> Value {
        self.ask(json!({"janus": "attach", "plugin": "janus.plugin.videoroom"}))["data"]["id"].clone()
    }

    fn message(&mut self, handle: &Value, body: Value, jsep: Value) -> Value {
        let mut request = json!({"janus": "message", "handle_id": handle, "body": body});
        if !jsep.is_null() {
            request["jsep"] = jsep;
        }
        self.ask(request)
    }

    /// A handle that is a publisher of the room, which is made if need be, and its feed.
    fn publisher(&mut self) -> (Value, Value) {
        let handle = self.attach();
        self.message(&handle, json!({"request": "create", "room": ROOM}), Value::Null);
        let join = json!({"request": "join", "room": ROOM, "ptype": "publisher"});
        let feed = self.message(&handle, join, Value::Null)["plugindata"]["data"]["id"].clone();
        assert!(feed.is_u64(), "{feed}");
        (handle, feed)
    }

    /// Publishes; returns the answer.
    fn publish(&mut self, handle: &Value, offer: &str) -> String {
        let jsep = json!({"type": "offer", "sdp": offer});
        let published = self.message(handle, json!({"request": "configure"}), jsep);
        assert_eq!(published["jsep"]["type"], "answer", "{published}");
        published["jsep"]["sdp"].as_str().expect("a description").to_owned()
    }

    /// Waits for the next event of its own connection.
    fn next_event(&mut self) -> Value {
        if self.events.is_empty() {
            let event = self.receive();
            assert!(event.get("transaction").is_none(), "{event}");
            self.events.push(event);
        }
        self.events.remove(0)
    }
}

fn start(arguments: &[&str]) -> (Relay, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
    let address = listener.expect("a free TCP port");
    let listen = format!("--listen-http={address}");
    (Relay::start(&[&[listen.as_str()], arguments].concat()), address)
}

fn calls(relay: &Relay) -> Value {
    relay.ng.ok(json!({"command": "list"}))["calls"].clone()
}

#[test]
fn publishers_and_subscribers_are_joined_in_a_room() {
    let (relay, address) = start(&["--janus-secret=s3cret"]);
    let mut janus = Client::new(address);
    let (publisher, feed) = janus.publisher();
    let subscriber = janus.attach();
    let party = Party::new("127.0.0.1");
    let offer = json!({"type": "offer", "sdp": sdp::audio(party.local(), &["8 PCMA/8000"], &[])});
    let published = janus.message(&publisher, json!({"request": "configure"}), offer);
    assert_eq!(published["plugindata"]["data"]["audio_codec"], "pcma", "{published}");
    assert_eq!(published["jsep"]["type"], "answer");
    assert_eq!(calls(&relay), json!(["janus 1234"]));

    let join = json!({"request": "join", "room": ROOM, "ptype": "subscriber", "feed": feed, "plain": true});
    let attached = janus.message(&subscriber, join, Value::Null);
    assert_eq!(attached["plugindata"]["data"]["videoroom"], "attached", "{attached}");
    let listener = Party::new("127.0.0.1");
    let answer = sdp::audio(listener.local(), &["8 PCMA/8000"], &["recvonly"]);
    let start = json!({"request": "start", "room": ROOM});
    let started = janus.message(&subscriber, start, json!({"type": "answer", "sdp": answer}));
    assert_eq!(started["plugindata"]["data"]["started"], "ok", "{started}");

    let path = format!("/janus/{}/{publisher}", janus.session);
    let body = json!({"janus": "message", "transaction": "h", "body": {"request": "exists", "room": "1234"}});
    let over_http =
        http::request(address, "POST", &path, Some(JSON), Some(&body.to_string())).expect("an answer");
    let over_http: Value = serde_json::from_str(&over_http.body).expect("JSON");
    assert_eq!(over_http["plugindata"]["data"]["exists"], true, "{over_http}");

    janus.message(&publisher, json!({"request": "destroy", "room": ROOM}), Value::Null);
    assert_eq!(calls(&relay), json!([]));
    let info = http::request(address, "GET", "/admin/info", None, None).expect("an answer");
    assert!(info.body.contains("server_info"), "{info:?}");
    let token = r#"{"janus":"add_token","transaction":"a","admin_secret":"s3cret","token":"x"}"#;
    let added = http::request(address, "POST", "/admin", Some(JSON), Some(token)).expect("an answer");
    assert!(added.body.contains("\"success\""), "{added:?}");
}

/// Two sections, the second one with a mid.
fn two_sections(audio: &Party, video: &Party) -> String {
    let section = |kind: &str, port: u16, format: &str, more: &str| {
        format!("m={kind} {port} RTP/AVP {format}\r\na=rtpmap:{more}\r\n")
    };
    let [audio, video] = [audio, video].map(|party| party.local().port());
    let head = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n";
    let audio = section("audio", audio, "8", "8 PCMA/8000");
    [head, &audio, &section("video", video, "96", "96 VP8/90000"), "a=mid:film\r\n"].concat()
}

/// Where each section of an answer is sent to.
fn ports(answer: &str) -> Vec<SocketAddr> {
    let sections = answer.lines().filter_map(|line| line.strip_prefix("m=")?.split(' ').nth(1)?.parse().ok());
    sections.map(|port: u16| (Ipv4Addr::LOCALHOST, port).into()).collect()
}

#[test]
fn a_publisher_is_told_once_when_each_of_its_media_comes_in() {
    let (_relay, address) = start(&[]);
    let mut janus = Client::new(address);
    let (handle, _) = janus.publisher();
    let (mut audio, mut video) = (Party::new("127.0.0.1"), Party::new("127.0.0.1"));
    let offer = two_sections(&audio, &video);
    let answer = janus.publish(&handle, &offer);
    let remotes = ports(&answer);
    (audio.remote, video.remote) = (Some(remotes[0]), Some(remotes[1]));

    let told = |mid: &str, kind: &str| json!({"janus": "media", "session_id": &janus.session, "sender": &handle, "mid": mid, "type": kind, "receiving": true});
    let (of_audio, of_video) = (told("0", "audio"), told("film", "video"));
    let send = |party: &mut Party, payload_type: u8| {
        let packet = party.next_packet(payload_type, &[0xd5; 160], 160);
        party.send(&packet);
    };
    send(&mut video, 96);
    assert_eq!(janus.next_event(), of_video);
    send(&mut video, 96);
    send(&mut audio, 8);
    // Had the second packet been told about, that would have come first.
    assert_eq!(janus.next_event(), of_audio);

    // The same connection, described anew.
    janus.publish(&handle, &offer);
    for _ in 0..3 {
        send(&mut audio, 8);
        send(&mut video, 96);
    }
    let unpublished = janus.message(&handle, json!({"request": "unpublish"}), Value::Null);
    assert_eq!(unpublished["plugindata"]["data"]["unpublished"], "ok", "{unpublished}");
    assert_eq!(janus.events, [Value::Null; 0], "nothing is told twice");

    // A new one.
    let join = json!({"request": "join", "room": ROOM, "ptype": "publisher"});
    janus.message(&handle, join, Value::Null);
    let answer = janus.publish(&handle, &offer);
    audio.remote = Some(ports(&answer)[0]);
    send(&mut audio, 8);
    assert_eq!(janus.next_event(), of_audio);
}

/// aiortc 1.4 does not understand an `a=rtcp` that leaves the address out.
fn for_aiortc(sdp: &str) -> String {
    sdp.split_inclusive('\n').filter(|line| !line.starts_with("a=rtcp:")).collect()
}

fn peer() -> Option<python::Peer> {
    let mut peer = python::Peer::start("aiortc", include_str!("aiortc_peer.py"))?;
    peer.tell(&json!({"op": "new", "codec": "opus"}));
    Some(peer)
}

#[test]
fn webrtc_clients_are_told_when_their_connections_are_up() {
    let (Some(mut speaker), Some(mut listener)) = (peer(), peer()) else { return };
    let (_relay, address) = start(&[]);
    // The publisher and the subscriber are two clients: each hears of its own connection only.
    let (mut publishing, mut subscribing) = (Client::new(address), Client::new(address));
    let (publisher, feed) = publishing.publisher();
    let offer = speaker.tell(&json!({"op": "offer"}))["sdp"].as_str().expect("an offer").to_owned();
    let answer = publishing.publish(&publisher, &offer);
    assert_eq!(publishing.events, [Value::Null; 0], "nothing is up before the peer has the answer");
    speaker.tell(&json!({"op": "remote", "sdp": for_aiortc(&answer)}));
    speaker.tell(&json!({"op": "connected"}));
    let up = |client: &Client, handle: &Value| json!({"janus": "webrtcup", "session_id": client.session, "sender": handle});
    assert_eq!(publishing.next_event(), up(&publishing, &publisher));
    let media = publishing.next_event();
    assert_eq!((&media["janus"], &media["receiving"]), (&json!("media"), &json!(true)), "{media}");
    assert_eq!((&media["type"], &media["sender"]), (&json!("audio"), &publisher), "{media}");
    assert!(
        offer.contains(&format!("a=mid:{}\r\n", media["mid"].as_str().expect("a mid"))),
        "{media} {offer}"
    );

    let subscriber = subscribing.attach();
    let join = json!({"request": "join", "room": ROOM, "ptype": "subscriber", "feed": feed});
    let attached = subscribing.message(&subscriber, join, Value::Null);
    let offered = for_aiortc(attached["jsep"]["sdp"].as_str().expect("an offer"));
    let answer = listener.tell(&json!({"op": "answer", "sdp": offered}))["sdp"].clone();
    let start = json!({"request": "start", "room": ROOM});
    subscribing.message(&subscriber, start, json!({"type": "answer", "sdp": answer}));
    listener.tell(&json!({"op": "connected"}));
    assert_eq!(subscribing.next_event(), up(&subscribing, &subscriber));
    listener.tell(&json!({"op": "hear", "hz": TONE_HZ, "share": 0.8}));

    publishing.ask(json!({"janus": "keepalive"}));
    subscribing.ask(json!({"janus": "keepalive"}));
    assert_eq!((&publishing.events, &subscribing.events), (&vec![], &vec![]), "each was told once");
}
