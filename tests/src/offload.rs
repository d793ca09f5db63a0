//! Calls that are forwarded below user space.

use std::time::Duration;

use serde_json::{Value, json};

use crate::call::Call;
use crate::daemon::{Relay, may_load_ebpf, wait_for};
use crate::lan::Lan;
use crate::party::Party;
use crate::sdp;

/// Streams move down as soon as they can.
pub const EBPF: &[&str] = &["--offload=ebpf", "--offload-delay=0", "--no-fallback"];
/// Long enough for whatever has to happen, on an emulated machine as well.
pub const SOON: Duration = Duration::from_secs(10);

/// A relay with eBPF; `None`, with a message, where that cannot be.
pub fn relay(interfaces: &[&str], arguments: &[&str]) -> Option<Relay> {
    if !may_load_ebpf() {
        eprintln!("SKIPPED: eBPF needs CAP_BPF and CAP_NET_ADMIN");
        return None;
    }
    Some(Relay::start_on(interfaces, &[EBPF, arguments].concat()))
}

/// The kernel module is loaded, and meant to be used; where not, with a message.
pub fn module_is_there() -> bool {
    let is_wanted = std::env::var("RTPENGINE_E2E_OFFLOAD").is_ok_and(|rung| rung == "module");
    if !is_wanted {
        eprintln!("SKIPPED: RTPENGINE_E2E_OFFLOAD is not \"module\"");
    }
    is_wanted
}

/// The RTP stream of a party at present.
pub fn stream(call: &Call<'_>, tag: &str) -> Value {
    stream_of(&call.query(), tag)
}

/// The RTP stream of a party in a `query`.
pub fn stream_of(query: &Value, tag: &str) -> Value {
    query["tags"][tag]["medias"][0]["streams"][0].clone()
}

/// The kernel forwards what comes in.
pub fn is_kernelized(stream: &Value) -> bool {
    stream["flags"].as_array().is_some_and(|flags| flags.iter().any(|flag| flag == "kernelized"))
}

/// Sends both ways until both streams are forwarded by the kernel; returns how many packets each party has sent.
pub fn move_down(call: &mut Call<'_>) -> u64 {
    let mut sent = 0;
    let moved = wait_for(SOON, || {
        call.learn();
        sent += 1;
        (is_kernelized(&stream(call, "a")) && is_kernelized(&stream(call, "b"))).then_some(())
    });
    assert!(moved.is_some(), "{}\n{}", stream(call, "a"), stream(call, "b"));
    sent
}

/// Packets of one direction arrive as they were sent.
pub fn pass(from: &mut Party, to: &Party, count: usize) {
    for _ in 0..count {
        let packet = from.next_packet(0, &rand::random::<[u8; 160]>(), 160);
        from.send(&packet);
        let received = to.receive(SOON).expect("it is forwarded");
        assert_eq!(received.packet, packet);
    }
}

/// Packets, octets and errors of a stream (`stats` or `stats_out`).
pub fn numbers(stream: &Value, side: &str) -> (u64, u64, u64) {
    let of = |key| stream[side][key].as_u64().unwrap_or(u64::MAX);
    (of("packets"), of("bytes"), of("errors"))
}

/// A call between two hosts through the relay's host.
pub fn between_hosts<'a>(relay: &'a Relay, lan: &Lan, addresses: [[&str; 2]; 2], extra: &Value) -> Call<'a> {
    let parties = [0, 1].map(|party| lan.at(party, || Party::new(addresses[party][1])));
    let [a, b] = parties;
    let offer = sdp::audio(a.local(), &["0 PCMU/8000"], &["ptime:20"]);
    let family = |party: &Party| if party.local().is_ipv4() { "IP4" } else { "IP6" };
    let mut request = json!({
        "command": "offer", "call-id": "lan", "from-tag": "a", "sdp": offer, "address-family": family(&b),
    });
    crate::call::extend(&mut request, extra);
    let offered = sdp::media(relay.ng.ok(request)["sdp"].as_str().expect("SDP"));
    let answer = sdp::audio(b.local(), &["0 PCMU/8000"], &["ptime:20"]);
    let request = json!({
        "command": "answer", "call-id": "lan", "from-tag": "a", "to-tag": "b", "sdp": answer,
        "address-family": family(&a),
    });
    let answered = sdp::media(relay.ng.ok(request)["sdp"].as_str().expect("SDP"));
    Call::between(relay, "lan", [a, b], [offered, answered])
}
