//! The recorded exchanges of the control protocol, as far as they need no calls: framing, cookies and formats over
//! real UDP, and the decoding of every recorded request.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rtpengine::config::PathMtu;
use rtpengine::control::ng::request::{self, Templates};
use rtpengine::control::ng::{Handler, NgRequest, Outcome, Responder};
use rtpengine::control::{Respond, Tos, UdpDoor, UdpListeners};
use rtpengine::proto::json;
use rtpengine::proto::value::{Dict, Value};
use serde_json::Value as Json;
use tokio::net::UdpSocket;
use tokio::sync::Notify;

/// Knows the commands that need no calls; `query` waits until it is released.
#[derive(Default)]
struct WithoutCalls {
    executed: AtomicUsize,
    release: Arc<Notify>,
}

impl Handler for WithoutCalls {
    fn handle(&self, request: NgRequest) -> Outcome {
        self.executed.fetch_add(1, Ordering::Relaxed);
        let mut reply = Dict::new();
        match request.command.as_str() {
            "ping" => reply.push("result", "pong"),
            "list" => reply.push("calls", Vec::<Value>::new()).push("result", "ok"),
            "statistics" => panic!("a defect"),
            "query" => {
                let release = Arc::clone(&self.release);
                return Outcome::Later(Box::pin(async move {
                    release.notified().await;
                    let mut reply = Dict::new();
                    reply.push("result", "ok");
                    reply
                }));
            }
            _ => reply.push("result", "ok"),
        };
        Outcome::Ready(reply)
    }
}

struct Server {
    address: SocketAddr,
    handler: Arc<WithoutCalls>,
    responder: Arc<Responder>,
    _door: UdpDoor,
}

impl Server {
    async fn start() -> Self {
        let handler = Arc::new(WithoutCalls::default());
        let responder = Arc::new(Responder::new(handler.clone(), Templates::default()));
        let listeners = UdpListeners::bind("ng", &[(Ipv4Addr::LOCALHOST, 0).into()], 0, PathMtu::System)
            .expect("loopback");
        let address = listeners.local_addresses().expect("bound")[0];
        let ng: Arc<dyn Respond> = responder.clone();
        let unmarked: Tos = Arc::new(|| 0);
        let door = listeners.run(&ng, &tokio::runtime::Handle::current(), &unmarked).expect("threads");
        Server { address, handler, responder, _door: door }
    }

    async fn client(&self) -> UdpSocket {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback");
        socket.connect(self.address).await.expect("loopback");
        socket
    }
}

async fn receive(socket: &UdpSocket) -> String {
    let mut buffer = vec![0; 65_536];
    let length = tokio::time::timeout(Duration::from_secs(10), socket.recv(&mut buffer)).await;
    let length = length.expect("a reply comes").expect("loopback");
    String::from_utf8(buffer[..length].to_vec()).expect("replies are text")
}

async fn exchange(socket: &UdpSocket, message: &str) -> String {
    socket.send(message.as_bytes()).await.expect("loopback");
    receive(socket).await
}

fn scenarios(area: &str) -> Vec<Json> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/corpus/ng/{area}.jsonl"));
    let Ok(lines) = std::fs::read_to_string(&path) else {
        eprintln!("skipped: no {}", path.display());
        return Vec::new();
    };
    lines.lines().map(|line| serde_json::from_str(line).expect("a scenario is JSON")).collect()
}

fn steps(scenario: &Json) -> &[Json] {
    scenario["steps"].as_array().map_or(&[], Vec::as_slice)
}

#[tokio::test]
async fn raw_messages_get_the_recorded_replies() {
    let mut played = 0;
    for scenario in scenarios("transports") {
        let server = Server::start().await;
        let client = server.client().await;
        for step in steps(&scenario) {
            let Some(raw) = step["raw"].as_str().filter(|_| step["transport"] == "udp") else { continue };
            match step["raw_reply"].as_str() {
                Some(reply) if reply.contains("3:sdp") => continue,
                Some(reply) => assert_eq!(exchange(&client, raw).await, reply, "{}: {raw}", scenario["name"]),
                None => {
                    // Requests of one listener are answered in order: the next reply belongs to the marker.
                    client.send(raw.as_bytes()).await.expect("loopback");
                    let marker = format!("marker{played} d7:command4:pinge");
                    let reply = exchange(&client, &marker).await;
                    assert_eq!(
                        reply,
                        format!("marker{played} d6:result4:ponge"),
                        "{}: {raw}",
                        scenario["name"]
                    );
                }
            }
            played += 1;
        }
    }
    assert!(played == 0 || played >= 19, "{played} steps");
}

#[tokio::test]
async fn repeated_cookies_are_answered_not_executed() {
    let server = Server::start().await;
    let (client, other) = (server.client().await, server.client().await);
    assert_eq!(exchange(&client, "same1 d7:command4:pinge").await, "same1 d6:result4:ponge");
    assert_eq!(exchange(&client, "same1 d7:command4:liste").await, "same1 d6:result4:ponge");
    assert_eq!(exchange(&other, "same1 garbage").await, "same1 d6:result4:ponge");
    assert_eq!(server.handler.executed.load(Ordering::Relaxed), 1);
    assert_eq!(exchange(&client, "bad1 x").await, exchange(&client, "bad1 d7:command4:pinge").await);
}

#[tokio::test]
async fn waiting_requests_hold_up_nobody_and_share_their_reply() {
    let server = Server::start().await;
    let (client, other) = (server.client().await, server.client().await);
    let query = "q1 d7:command5:query7:call-id1:xe";
    client.send(query.as_bytes()).await.expect("loopback");
    assert_eq!(exchange(&client, "p1 d7:command4:pinge").await, "p1 d6:result4:ponge");
    other.send(query.as_bytes()).await.expect("loopback");
    assert_eq!(exchange(&other, "p2 d7:command4:pinge").await, "p2 d6:result4:ponge");
    server.handler.release.notify_one();
    assert_eq!(receive(&client).await, "q1 d6:result2:oke");
    assert_eq!(receive(&other).await, "q1 d6:result2:oke");
    assert_eq!(server.handler.executed.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn defects_and_malformed_messages_do_not_end_the_listener() {
    let server = Server::start().await;
    let client = server.client().await;
    client.send(b"s1 d10:statistics").await.expect("loopback");
    assert!(receive(&client).await.contains("Could not decode bencode dictionary"));
    client.send(b"s2 d7:command10:statisticse").await.expect("loopback");
    let malformed = exchange(&client, "j1 {\"command\":").await;
    assert_eq!(malformed, "j1 {\"result\":\"error\",\"error-reason\":\"Failed to parse JSON document\"}");
    let flood = format!("f1 d1:a{}", "l".repeat(60_000));
    assert!(exchange(&client, &flood).await.contains("Could not decode bencode dictionary"));
    client.send(b"").await.expect("loopback");
    assert_eq!(exchange(&client, "p1 d7:command4:pinge").await, "p1 d6:result4:ponge");
}

#[tokio::test]
async fn counters_tell_commands_and_errors_of_a_client() {
    let server = Server::start().await;
    let client = server.client().await;
    for message in
        ["1 d7:command4:pinge", "1 d7:command4:pinge", "2 {\"command\":\"ping\"}", "3 d7:command3:fooe"]
    {
        exchange(&client, message).await;
    }
    let clients = server.responder.counters().clients();
    assert_eq!(clients.len(), 1);
    assert_eq!(clients[0].0, Ipv4Addr::LOCALHOST);
    assert_eq!((clients[0].1.commands[0].count, clients[0].1.errors), (2, 1));
}

/// Reasons that a request can be refused for before a call is looked at.
const DECODING_ERRORS: [&str; 6] = [
    "Dictionary contains no key \"command\"",
    "Unrecognized command",
    "wrong type used",
    "wrong content given",
    "unsupported sdp section",
    "unknown manipulation command",
];

#[test]
fn every_recorded_request_decodes_as_recorded() {
    let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let corpus = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/corpus/ng");
    let Ok(files) = std::fs::read_dir(&corpus) else {
        eprintln!("skipped: no {}", corpus.display());
        return;
    };
    let areas = files.filter_map(|file| {
        let path = file.ok()?.path();
        (path.extension()? == "jsonl").then(|| path.file_stem()?.to_str().map(str::to_owned)).flatten()
    });
    let mut decoded = 0;
    for scenario in areas.flat_map(|area| scenarios(&area)) {
        for step in steps(&scenario).iter().filter(|step| step["request"].is_object()) {
            let text = step["request"].to_string();
            let dict = json::decode(text.as_bytes()).expect("a dictionary");
            let result =
                request::decode(dict, peer, &Templates::default()).map_err(|error| error.to_string());
            let reason = step["reply"]["error-reason"].as_str().unwrap_or_default();
            let expected = if DECODING_ERRORS.contains(&reason) { Err(reason) } else { Ok(()) };
            // `mesh` looks for its calls before its tags.
            if reason != "Empty/missing from-tag" {
                let result = result.as_ref().map(|_| ()).map_err(String::as_str);
                assert_eq!(result, expected, "{}: {text}", scenario["name"]);
            }
            decoded += 1;
        }
    }
    assert!(decoded > 1000, "{decoded} requests");
}
