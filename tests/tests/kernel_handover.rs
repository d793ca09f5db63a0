//! The daemon is replaced while the kernel module forwards its calls. Where the module is not loaded these tests say so and do nothing,
//! see `kernel_module.rs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use e2e::call::{Call, Setup};
use e2e::daemon::{Relay, wait_for};
use e2e::failover::{Kind, LiveCall};
use e2e::ng::NgClient;
use e2e::offload::{is_kernelized, module_is_there, stream_of};
use e2e::replacement::{hear, replace, stream};
use serde_json::{Value, json};

const MODULE: &[&str] = &["--offload=module", "--offload-delay=0", "--no-fallback"];
/// In an emulator on a busy machine the calls are between two instances for seconds: no more may come than a socket holds.
const INTERVAL: Duration = Duration::from_millis(100);
const LIMIT: Duration = Duration::from_secs(60);

fn relay() -> Relay {
    Relay::start(&[&["--handover-socket={DIR}/next"], MODULE].concat())
}

fn query(ng: &NgClient, id: &str) -> Value {
    ng.ok(json!({"command": "query", "call-id": id}))
}

fn await_kernel(ng: &NgClient, id: &str, tag: &str) {
    let is_below = || is_kernelized(&stream_of(&query(ng, id), tag)).then_some(());
    assert!(wait_for(LIMIT, is_below).is_some(), "{}", query(ng, id));
}

#[test]
fn no_packet_is_lost_and_all_are_counted() {
    if !module_is_there() {
        return;
    }
    let mut old = relay();
    let mut call = Call::establish(&old, "replaced", Setup::default());
    call.learn();
    let before = |side: &str| stream_of(&query(&old.ng, "replaced"), "a")[side]["packets"].as_u64();
    assert_eq!(before("stats"), Some(1));
    let stop = Arc::new(AtomicBool::new(false));
    let sender = stream(&call.a, call.answered.rtp, INTERVAL, &stop);
    let receiver = hear(&call.b, &stop);
    await_kernel(&old.ng, "replaced", "a");
    std::thread::sleep(Duration::from_millis(500));
    let (other, to_other) = (Arc::clone(&call.b.rtp), call.offered.rtp);
    let answer = call.b.next_packet(0, &[0x55; 160], 160).to_octets();
    drop(call);
    let new = replace(&mut old, MODULE);
    // The other party is heard anew before anything is forwarded to it below the daemon.
    other.send_to(&answer, to_other).expect("loopback");
    await_kernel(&new.ng, "replaced", "a");
    std::thread::sleep(Duration::from_millis(300));
    stop.store(true, Ordering::Relaxed);
    let (sent, heard) = (sender.join().expect("sender"), receiver.join().expect("receiver"));
    let lost: Vec<usize> = (0..sent.len()).filter(|number| !heard.contains_key(&(*number as u16))).collect();
    assert!(lost.is_empty(), "{lost:?} of {} are lost", sent.len());
    let query = query(&new.ng, "replaced");
    let (a, b) = (stream_of(&query, "a"), stream_of(&query, "b"));
    let all = json!(sent.len() + 1);
    assert_eq!((&a["stats"]["packets"], &a["stats"]["errors"]), (&all, &json!(0)), "{query}");
    assert_eq!((&b["stats_out"]["packets"], &b["stats_out"]["errors"]), (&all, &json!(0)), "{query}");
    let ssrc = query["tags"]["a"]["medias"][0]["ingress SSRCs"].as_array().cloned().unwrap_or_default();
    let own = ssrc.iter().find(|ssrc| ssrc["SSRC"] == 7).cloned().unwrap_or_default();
    assert_eq!(own["cumulative loss"], json!(0), "{own}");
    assert!(!old.process.log().contains("call ended"), "the old process ends no call");
    assert!(old.process.log().contains("the next instance takes over the kernel"), "{}", old.process.log());
}

#[test]
fn secured_calls_go_on_with_their_indices() {
    if !module_is_there() {
        return;
    }
    let mut relay = relay();
    let mut calls: Vec<LiveCall> = [Kind::Plain, Kind::Sdes, Kind::Dtls]
        .into_iter()
        .map(|kind| LiveCall::establish(&relay, &format!("{kind:?}"), kind))
        .collect();
    for _ in 0..2 {
        for call in &mut calls {
            let is_below = |relay: &Relay, id: &str| {
                query(&relay.ng, id)["tags"].to_string().contains("kernelized").then_some(())
            };
            let id = call.id.clone();
            let moved = wait_for(LIMIT, || {
                call.talk_for(1);
                is_below(&relay, &id)
            });
            assert!(moved.is_some(), "{id} stays in user space: {}", query(&relay.ng, &id));
            call.talk_for(5);
        }
        let mut former = relay;
        relay = replace(&mut former, MODULE);
        for call in &mut calls {
            assert!(call.talk(LIMIT).is_some(), "{:?} is silent", call.kind);
            let drops = query(&relay.ng, &call.id)["tags"].to_string();
            assert!(!drops.contains("\"not authentic\":"), "{:?}: {drops}", call.kind);
        }
        relay.replaces(former);
    }
}
