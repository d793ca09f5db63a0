//! ng over TCP, with a handler that needs no calls: framing, order, bounds, events.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rtpengine::control::ng::events::Events;
use rtpengine::control::ng::tcp::Limits;
use rtpengine::control::ng::{Handler, NgRequest, Outcome, Responder, TcpListeners, Templates};
use rtpengine::proto::value::Dict;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::timeout;

/// `ping` at once, `query` when released, `list` with a large reply.
#[derive(Default)]
struct WithoutCalls {
    release: Arc<Notify>,
}

const LARGE: usize = 1 << 20;

impl Handler for WithoutCalls {
    fn handle(&self, request: NgRequest) -> Outcome {
        let mut reply = Dict::new();
        match request.command.as_str() {
            "ping" => reply.push("result", "pong"),
            "list" => reply.push("filler", "x".repeat(LARGE)),
            "statistics" => panic!("a defect"),
            _ => {
                let release = Arc::clone(&self.release);
                return Outcome::Later(Box::pin(async move {
                    release.notified().await;
                    reply.push("result", "ok");
                    reply
                }));
            }
        };
        Outcome::Ready(reply)
    }
}

struct Server {
    address: SocketAddr,
    release: Arc<Notify>,
    events: Events,
}

fn start(limits: Limits) -> Server {
    let handler = Arc::new(WithoutCalls::default());
    let release = Arc::clone(&handler.release);
    let responder = Arc::new(Responder::new(handler, Templates::default()));
    let listeners = TcpListeners::bind(&[(Ipv4Addr::LOCALHOST, 0).into()], 0).expect("loopback");
    let address = listeners.local_addresses().expect("bound")[0];
    let events = Events::new();
    listeners.run(responder, Some(events.clone()), limits, Arc::new(|| 0));
    Server { address, release, events }
}

impl Server {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("loopback")
    }
}

async fn send(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.expect("connected");
}

async fn expect(stream: &mut TcpStream, text: &str) {
    let mut received = vec![0; text.len()];
    let read = timeout(Duration::from_secs(10), stream.read_exact(&mut received)).await;
    assert!(matches!(read, Ok(Ok(_))), "expected {text:?}, got {:?}", String::from_utf8_lossy(&received));
    assert_eq!(String::from_utf8_lossy(&received), text);
}

async fn expect_end(stream: &mut TcpStream) {
    let read = timeout(Duration::from_secs(10), stream.read(&mut [0; 100])).await.expect("closed in time");
    assert!(!matches!(read, Ok(1..)), "nothing but the end");
}

#[tokio::test]
async fn requests_may_follow_each_other_directly_and_come_in_pieces() {
    let server = start(Limits::default());
    let mut client = server.connect().await;
    send(&mut client, "t1 d7:command4:pinget2 d7:command4:pinget3 d7:comm").await;
    expect(&mut client, "t1 d6:result4:ponget2 d6:result4:ponge").await;
    send(&mut client, "and4:pinge").await;
    expect(&mut client, "t3 d6:result4:ponge").await;
    send(&mut client, "t4 let5 d7:command3:fooe").await;
    expect(&mut client, "t4 d6:result5:error12:error-reason22:Invalid NG data formate").await;
    expect(&mut client, "t5 d6:result5:error12:error-reason20:Unrecognized commande").await;
    let blob = format!("t6 d4:blob{}:{}7:command4:pinge", 500_000, "y".repeat(500_000));
    send(&mut client, &blob).await;
    expect(&mut client, "t6 d6:result4:ponge").await;
}

#[tokio::test]
async fn replies_come_in_the_order_in_which_they_are_finished() {
    let server = start(Limits::default());
    let mut client = server.connect().await;
    send(&mut client, "slow d7:command5:query7:call-id1:xefast d7:command4:pinge").await;
    expect(&mut client, "fast d6:result4:ponge").await;
    // The client has nothing more to say, but still listens.
    client.shutdown().await.expect("connected");
    server.release.notify_one();
    expect(&mut client, "slow d6:result2:oke").await;
    expect_end(&mut client).await;
}

#[tokio::test]
async fn garbage_is_borne_for_a_while_then_the_connection_ends() {
    let server = start(Limits::default());
    let mut client = server.connect().await;
    send(&mut client, "t1 {\"command\":\"ping\"}t2 d7:command4:pinge").await;
    let silence = timeout(Duration::from_millis(200), client.read(&mut [0; 100])).await;
    assert!(silence.is_err(), "{silence:?}");
    send(&mut client, &"x".repeat(1024)).await;
    expect_end(&mut client).await;
}

#[tokio::test]
async fn messages_that_do_not_arrive_completely_end_the_connection() {
    let limits = Limits { arrival: Duration::from_millis(300), message: 10_000, ..Limits::default() };
    let server = start(limits);
    let (mut idle, mut half, mut long) =
        (server.connect().await, server.connect().await, server.connect().await);
    send(&mut half, "t1 d7:command").await;
    let dripping = async {
        // A sign of life now and then does not help.
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            if half.write_all(b"0").await.is_err() {
                return;
            }
        }
    };
    dripping.await;
    expect_end(&mut half).await;
    let _ = long.write_all(format!("t2 d1:a20000:{}", "x".repeat(15_000)).as_bytes()).await;
    expect_end(&mut long).await;
    send(&mut idle, "t3 d7:command4:pinge").await;
    expect(&mut idle, "t3 d6:result4:ponge").await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_dropped_and_holds_up_nobody() {
    let limits = Limits { unread: Duration::from_millis(500), pending: 4, ..Limits::default() };
    let server = start(limits);
    let mut deaf = server.connect().await;
    for i in 0..40 {
        send(&mut deaf, &format!("big{i} d7:command4:liste")).await;
    }
    let mut other = server.connect().await;
    send(&mut other, "t1 d7:command4:pinge").await;
    expect(&mut other, "t1 d6:result4:ponge").await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let mut received = 0;
    let mut buffer = vec![0; 1 << 20];
    while let Ok(length @ 1..) = deaf.read(&mut buffer).await {
        received += length;
    }
    assert!(received < 40 * LARGE, "it was dropped, {received} octets lay in the sockets");
}

#[tokio::test]
async fn more_connections_than_allowed_are_closed_at_once() {
    let server = start(Limits { connections: 2, ..Limits::default() });
    let mut kept = [server.connect().await, server.connect().await];
    for client in &mut kept {
        send(client, "t1 d7:command4:pinge").await;
        expect(client, "t1 d6:result4:ponge").await;
    }
    expect_end(&mut server.connect().await).await;
    let [mut first, second] = kept;
    drop(second);
    send(&mut first, "t2 d7:command4:pinge").await;
    expect(&mut first, "t2 d6:result4:ponge").await;
    let mut accepted = false;
    for _ in 0..100 {
        let mut client = server.connect().await;
        let _ = client.write_all(b"t3 d7:command4:pinge").await;
        if matches!(client.read(&mut [0; 100]).await, Ok(1..)) {
            accepted = true;
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(accepted, "the place of the closed connection is free again");
}

#[tokio::test]
async fn events_reach_every_connection() {
    let server = start(Limits::default());
    let mut clients = [server.connect().await, server.connect().await];
    for client in &mut clients {
        send(client, "t1 d7:command4:pinge").await;
        expect(client, "t1 d6:result4:ponge").await;
    }
    let mut data = Dict::new();
    data.push("callid", "c1").push("event", 5i64);
    assert_eq!(server.events.send("onDTMF", data), 2);
    for client in &mut clients {
        client.read_exact(&mut [0; 16]).await.expect("a cookie");
        expect(client, " d6:notify6:onDTMF4:datad6:callid2:c15:eventi5eee").await;
    }
}

#[tokio::test]
async fn a_defect_in_a_command_costs_its_reply_only() {
    let server = start(Limits::default());
    let mut client = server.connect().await;
    send(&mut client, "t1 d7:command10:statisticset2 d7:command4:pinge").await;
    expect(&mut client, "t2 d6:result4:ponge").await;
}
