//! What is set on sockets.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use e2e::call::{Call, Setup};
use e2e::daemon::{Relay, wait_for};
use e2e::descriptors::Socket;
use e2e::redis::RedisServer;
use serde_json::json;

const SOON: Duration = Duration::from_secs(15);

/// The cores to which the sockets of some calls belong: RTP and RTCP of both parties of each.
fn cores(option: &str, calls: usize) -> Vec<Vec<i32>> {
    let relay = Relay::start(&[option]);
    let calls: Vec<Call<'_>> = (0..calls)
        .map(|number| Call::establish(&relay, &format!("core-{number}"), Setup::default()))
        .collect();
    let sockets = Socket::all_of(&relay.process);
    let core = |address: SocketAddr| {
        let socket = sockets.iter().find(|socket| socket.local() == Some(address));
        socket.expect("a media socket").option(libc::SOL_SOCKET, libc::SO_INCOMING_CPU)
    };
    let of = |call: &Call<'_>| {
        [call.answered.rtp, call.answered.rtcp, call.offered.rtp, call.offered.rtcp].map(core).to_vec()
    };
    calls.iter().map(of).collect()
}

#[test]
fn sockets_of_a_call_belong_to_one_core_and_calls_take_turns() {
    let cores = cores("--socket-cpu-affinity=2", 5);
    assert!(cores.iter().all(|call| call.iter().all(|core| *core == call[0])), "{cores:?}");
    assert!(cores.windows(2).all(|pair| pair[0][0] != pair[1][0]), "{cores:?}");
    assert!(cores.iter().all(|call| (0..2).contains(&call[0])), "{cores:?}");
}

#[test]
fn a_negative_affinity_means_all_cores() {
    let there = std::thread::available_parallelism().expect("known").get();
    let cores = cores("--socket-cpu-affinity=-1", there + 1);
    let different: std::collections::BTreeSet<i32> = cores.iter().map(|call| call[0]).collect();
    assert_eq!(different.len(), there, "{cores:?}");
}

#[test]
fn media_and_control_packets_have_types_of_service_of_their_own() {
    let relay = Relay::start(&["--tos=184", "--control-tos=96"]);
    let call = Call::establish(&relay, "tos", Setup::default());
    let given = |address| Socket::bound_to(&relay.process, address).option(libc::IPPROTO_IP, libc::IP_TOS);
    assert_eq!([call.answered.rtp, call.answered.rtcp, relay.control].map(given), [184, 184, 96]);
    relay.ng.ok(json!({"command": "cli", "body": "set controltos 32"}));
    // The next message that comes applies it.
    relay.ng.ok(json!({"command": "list"}));
    assert_eq!(given(relay.control), 32, "changed while it runs");
}

#[test]
fn control_packets_are_fragmented_as_configured() {
    for (option, expected) in
        [("--control-pmtu=want", libc::IP_PMTUDISC_WANT), ("--control-pmtu=dont", libc::IP_PMTUDISC_DONT)]
    {
        let relay = Relay::start(&[option]);
        let socket = Socket::bound_to(&relay.process, relay.control);
        assert_eq!(socket.option(libc::IPPROTO_IP, libc::IP_MTU_DISCOVER), expected, "{option}");
    }
}

#[test]
fn http_has_the_send_buffer_that_is_configured() {
    let address: SocketAddr = crate::free().parse().expect("an address");
    let relay = Relay::start(&[&format!("--listen-http={address}"), "--http-buf-size=77"]);
    let socket = Socket::bound_to(&relay.process, address);
    // The system doubles it for its own needs.
    assert_eq!(socket.option(libc::SOL_SOCKET, libc::SO_SNDBUF), 2 * 77 * 1024);
}

#[test]
fn connections_to_redis_are_kept_alive_as_configured() {
    let redis = RedisServer::start();
    let relay = Relay::start(&[
        &format!("--redis={}", redis.endpoint(1)),
        "--redis-tcp-keepalive-time=17",
        "--redis-tcp-keepalive-intvl=5",
        "--redis-tcp-keepalive-probes=4",
    ]);
    let server = SocketAddr::from(([127, 0, 0, 1], redis.port()));
    let socket = Socket::connected_to(&relay.process, server).expect("a connection");
    let tcp = [libc::TCP_KEEPIDLE, libc::TCP_KEEPINTVL, libc::TCP_KEEPCNT];
    assert_eq!(socket.option(libc::SOL_SOCKET, libc::SO_KEEPALIVE), 1);
    assert_eq!(tcp.map(|name| socket.option(libc::IPPROTO_TCP, name)), [17, 5, 4]);
}

#[test]
fn the_connection_to_graphite_gives_up_after_the_configured_time() {
    let server = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = server.local_addr().expect("bound");
    let relay = Relay::start(&[&format!("--graphite={address}"), "--graphite-timeout=3"]);
    let (_stream, _) = server.accept().expect("a connection");
    let socket = wait_for(SOON, || Socket::connected_to(&relay.process, address)).expect("a connection");
    let given = wait_for(SOON, || {
        Some(socket.option(libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT)).filter(|ms| *ms > 0)
    });
    assert_eq!(given, Some(3000));
}
