//! Floods at media ports are dropped below the daemon (eBPF), and those who belong there are heard through them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use e2e::call::{Call, Setup, dropped};
use e2e::daemon::{Relay, may_load_ebpf, wait_for};
use e2e::ice::IceParty;
use e2e::party::Party;
use e2e::ports::PortBlock;
use e2e::sdp;
use serde_json::{Value, json};

const EBPF: &[&str] = &["--offload=ebpf", "--no-fallback"];
/// No stream moves down: the shield alone is at work.
const SHIELD_ALONE: &[&str] = &["--offload-delay=60000"];
/// An address that nobody has signalled.
const STRANGER: &str = "127.0.0.66";
const SOON: Duration = Duration::from_secs(5);

/// A relay with eBPF; `None`, with a message, where that cannot be.
fn relay(arguments: &[&str]) -> Option<Relay> {
    if !may_load_ebpf() {
        eprintln!("SKIPPED: eBPF needs CAP_BPF and CAP_NET_ADMIN");
        return None;
    }
    Some(Relay::start_on(&["127.0.0.1"], &[EBPF, SHIELD_ALONE, arguments].concat()))
}

/// What a stranger sends: one datagram a turn, made from its number.
type Datagram = fn(u32) -> Vec<u8>;

/// RTP as anybody may make it up.
fn rtp(number: u32) -> Vec<u8> {
    let sequence = (number as u16).to_be_bytes();
    [&[0x80, 0x00][..], &sequence, &number.to_be_bytes(), &[0xde, 0xad, 0xbe, 0xef], &[0xaa; 160]].concat()
}

/// A Binding request without credentials.
fn stun(number: u32) -> Vec<u8> {
    let id = [number.to_be_bytes(); 3].concat();
    [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &id].concat()
}

/// Nothing in particular.
fn garbage(number: u32) -> Vec<u8> {
    [&[0xff; 40][..], &number.to_be_bytes()].concat()
}

/// Sends so many at once.
fn spray(to: SocketAddr, datagram: Datagram, packets: u32) {
    let stranger = Party::new(STRANGER);
    for number in 0..packets {
        stranger.rtp.send_to(&datagram(number), to).expect("sent");
    }
}

/// A stranger that does not end.
struct Flood {
    is_over: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Flood {
    /// Some ten thousand packets a second, until it has begun to be dropped.
    fn start(to: SocketAddr, datagram: Datagram) -> Self {
        let (is_over, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (told, counted, stranger) = (Arc::clone(&is_over), Arc::clone(&sent), Party::new(STRANGER));
        let thread = std::thread::spawn(move || {
            for number in 0..=u32::MAX {
                if told.load(Relaxed) {
                    return;
                }
                stranger.rtp.send_to(&datagram(number), to).expect("sent");
                counted.fetch_add(1, Relaxed);
                if number % 100 == 99 {
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
        });
        let flood = Self { is_over, sent, thread };
        wait_for(SOON, || (flood.sent.load(Relaxed) > 10_000).then_some(())).expect("it floods");
        flood
    }

    fn stop(self) -> u64 {
        self.is_over.store(true, Relaxed);
        self.thread.join().expect("it ends");
        self.sent.load(Relaxed)
    }
}

/// Drops for a reason, of all streams of the call, once there are as many as wanted.
fn await_drops(call: &Call<'_>, reason: &str, at_least: u64) -> u64 {
    wait_for(SOON, || Some(dropped(&call.query(), reason)).filter(|drops| *drops >= at_least))
        .unwrap_or_else(|| panic!("{}", call.query()))
}

/// A call whose media stay in user space; both parties have been heard.
fn transcoded<'r>(relay: &'r Relay, id: &str, offer: &Value) -> Call<'r> {
    let mut keys = json!({"codec": {"mask": ["PCMU"], "transcode": ["PCMA"]}});
    e2e::call::extend(&mut keys, offer);
    let setup = Setup { b: &["8 PCMA/8000"], offer: keys, ..Setup::default() };
    let mut call = Call::establish(relay, id, setup);
    call.learn();
    call
}

#[test]
fn a_flood_at_a_stream_in_user_space_is_dropped_and_the_call_goes_on() {
    let Some(relay) = relay(&[]) else { return };
    let mut call = transcoded(&relay, "flood", &json!({}));
    const PACKETS: u32 = 20_000;
    for (kind, datagram, reason) in [
        ("RTP", rtp as Datagram, "wrong source"),
        ("garbage", garbage, "wrong source"),
        ("STUN", stun, "over budget"),
    ] {
        let before = dropped(&call.query(), reason);
        let begin = Instant::now();
        spray(call.a.remote.expect("known"), datagram, PACKETS);
        // What the daemon itself refuses has other reasons, but for RTP.
        let came_up = 640 + 640 * begin.elapsed().as_secs();
        await_drops(&call, reason, before + u64::from(PACKETS) - came_up);
        call.learn();
        assert!(kind == "RTP" || dropped(&call.query(), reason) - before <= u64::from(PACKETS), "{kind}");
    }
    let of_stream = call.query()["tags"]["a"]["medias"][0]["streams"][0]["stats"]["errors"].clone();
    assert_eq!(of_stream, json!(3 * PACKETS), "every one is counted, once");
    let totals = call.delete()["totals"]["RTP"]["errors"].clone();
    assert_eq!(totals, json!(3 * PACKETS));
}

#[test]
fn numbers_of_a_port_are_those_of_the_call_that_has_it() {
    if !may_load_ebpf() {
        eprintln!("SKIPPED: eBPF needs CAP_BPF and CAP_NET_ADMIN");
        return;
    }
    let ports = PortBlock::take();
    let (low, high) = (ports.media().0, ports.media().0 + 3);
    let range = [format!("--port-min={low}"), format!("--port-max={high}")];
    let range = [range[0].as_str(), range[1].as_str()];
    let relay = Relay::start_with_ports(&["127.0.0.1"], &[EBPF, SHIELD_ALONE, &range].concat());
    for id in ["first", "second"] {
        // There are two pairs of ports: the second call has those of the first.
        let call = Call::establish(&relay, id, Setup::default());
        assert_eq!(dropped(&call.query(), "over budget"), 0, "{id}");
        spray(call.answered.rtp, rtp, 40_000);
        await_drops(&call, "over budget", 10_000);
        call.delete();
        // The worker closes its sockets behind the reply.
        let used = || {
            relay.ng.ok(json!({"command": "statistics"}))["statistics"]["interfaces"][0]["ports"]["used"]
                .clone()
        };
        assert!(wait_for(SOON, || (used() == 0).then_some(())).is_some(), "{}", used());
    }
}

#[test]
fn with_strict_source_nothing_of_others_comes_up() {
    let Some(relay) = relay(&[]) else { return };
    let mut call = transcoded(&relay, "strict", &json!({"flags": ["strict-source"]}));
    spray(call.a.remote.expect("known"), rtp, 1000);
    assert_eq!(await_drops(&call, "wrong source", 1000), 1000);
    call.learn();
}

#[test]
fn a_stream_from_a_source_that_nobody_knew_is_not_held_back() {
    let Some(relay) = relay(&[]) else { return };
    let setup = Setup { offer: json!({"flags": ["asymmetric"]}), ..Setup::default() };
    let call = Call::establish(&relay, "asymmetric", setup);
    // As many as a stream of 15 Mbit/s has in a second, from a port that signalling did not name.
    let mut other = Party::new("127.0.0.1");
    other.remote = Some(call.answered.rtp);
    let begin = Instant::now();
    for number in 0..1500u32 {
        let packet = other.next_packet(0, &[0x55; 160], 160);
        other.send(&packet);
        if number % 50 == 0 {
            let due = begin + Duration::from_micros(667) * number;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    }
    assert!(wait_for(SOON, || (!call.b.receive_many(1).is_empty()).then_some(())).is_some());
    assert_eq!(dropped(&call.query(), "over budget"), 0);
}

#[test]
fn a_party_behind_a_nat_is_found_through_a_flood() {
    let Some(relay) = relay(&[]) else { return };
    let mut call = Call::establish(&relay, "open", Setup::default());
    let flood = Flood::start(call.answered.rtp, rtp);
    // The caller's packets come from another port than it has signalled.
    let mut caller = Party::new("127.0.0.1");
    caller.remote = Some(call.answered.rtp);
    let heard = wait_for(SOON, || {
        let packet = caller.next_packet(0, &[0x77; 160], 160);
        caller.send(&packet);
        let received = call.b.receive(Duration::from_millis(20))?;
        (received.packet.ssrc == caller.ssrc).then_some(())
    });
    flood.stop();
    assert!(heard.is_some(), "{}", call.query());
    call.a = caller;
    call.learn();
}

#[test]
fn a_party_that_moves_is_followed_through_a_flood() {
    let Some(relay) = relay(&[]) else { return };
    let call = transcoded(&relay, "moves", &json!({}));
    let flood = Flood::start(call.answered.rtp, rtp);
    let mut moved = Party::new("127.0.0.1");
    (moved.ssrc, moved.sequence, moved.timestamp) = (call.a.ssrc, call.a.sequence, call.a.timestamp);
    moved.remote = call.a.remote;
    let heard = wait_for(SOON, || {
        let packet = moved.next_packet(0, &[0x55; 160], 160);
        moved.send(&packet);
        call.b.receive(Duration::from_millis(50))
    });
    let port = call.query()["tags"]["a"]["medias"][0]["streams"][0]["endpoint"]["port"].clone();
    flood.stop();
    assert!(heard.is_some(), "{}", call.query());
    assert_eq!(port, json!(moved.local().port()));
}

#[test]
fn ice_finds_its_way_through_floods() {
    let Some(relay) = relay(&[]) else { return };
    for (kind, datagram) in [("media", rtp as Datagram), ("garbage", garbage)] {
        let (mut ice, mut plain) = (IceParty::new("127.0.0.1", true), Party::new("127.0.0.1"));
        let mut attributes = ice.attributes();
        attributes.push(ice.candidate());
        let attributes: Vec<&str> = attributes.iter().map(String::as_str).collect();
        let description = sdp::audio(ice.local(), &["0 PCMU/8000"], &attributes);
        let offer = json!({
            "command": "offer", "call-id": kind, "from-tag": "a", "sdp": description, "ICE": "remove",
            "rtcp-mux": ["demux"],
        });
        plain.remote = Some(sdp::media(relay.ng.ok(offer)["sdp"].as_str().expect("SDP")).rtp);
        let description = sdp::audio(plain.local(), &["0 PCMU/8000"], &[]);
        let answer = json!({
            "command": "answer", "call-id": kind, "from-tag": "a", "to-tag": "b", "sdp": description,
        });
        let answered = relay.ng.ok(answer)["sdp"].as_str().expect("SDP").to_owned();
        let flood = Flood::start(sdp::media(&answered).rtp, datagram);
        ice.read(&answered);
        let path = ice.establish(SOON);
        let packet = plain.next_packet(0, &[0x42; 160], 160);
        plain.send(&packet);
        let heard = ice.receive(SOON);
        flood.stop();
        assert!(path.is_some(), "{kind}");
        assert_eq!(heard.map(|(_, octets)| octets), Some(packet.to_octets()), "{kind}");
    }
}
