//! Packets of a call go through the relay unchanged, and only those that belong to it.

use std::net::UdpSocket;
use std::time::Duration;

use e2e::call::{Call, Setup};
use e2e::daemon::Relay;
use e2e::party::Party;
use e2e::sdp;
use serde_json::json;

#[test]
fn rtp_and_rtcp_arrive_unchanged_in_both_directions() {
    let relay = Relay::start(&[]);
    let mut call = Call::establish(&relay, "unchanged", Setup::default());
    both_ways_unchanged(&mut call);
    rtcp_both_ways(&call);
    let query = call.query();
    assert_eq!(query["totals"]["RTP"]["packets"], 100, "{query}");
    assert_eq!(query["totals"]["RTP"]["bytes"], 100 * 172, "{query}");
    assert_eq!(query["totals"]["RTCP"]["packets"], 2, "{query}");
    call.delete();
    assert_eq!(relay.ng.ok(json!({"command": "list"}))["calls"], json!([]));
}

#[test]
fn ipv6_calls_are_relayed() {
    let relay = Relay::start_on(&["::1"], &[]);
    let mut call = Call::establish(&relay, "six", Setup { addresses: ["::1", "::1"], ..Setup::default() });
    assert!(call.offered.rtp.is_ipv6() && call.answered.rtp.is_ipv6());
    both_ways_unchanged(&mut call);
    rtcp_both_ways(&call);
}

#[test]
fn an_ipv4_party_talks_to_an_ipv6_party() {
    let relay = Relay::start_on(&["127.0.0.1", "::1"], &[]);
    let mut call = Call::establish(
        &relay,
        "four-six",
        Setup {
            addresses: ["127.0.0.1", "::1"],
            offer: json!({"address-family": "IP6"}),
            answer: json!({"address-family": "IP4"}),
            ..Setup::default()
        },
    );
    assert!(call.offered.rtp.is_ipv6() && call.answered.rtp.is_ipv4());
    both_ways_unchanged(&mut call);
    rtcp_both_ways(&call);
}

#[test]
fn muxed_rtcp_shares_the_port_and_is_split_off_for_a_party_that_does_not_mux() {
    let relay = Relay::start(&[]);
    let mut call = Call::establish(
        &relay,
        "mux",
        Setup { attributes: [&["rtcp-mux"], &[]], offer: json!({"rtcp-mux": ["demux"]}), ..Setup::default() },
    );
    assert!(!call.offered.has("rtcp-mux") && call.answered.has("rtcp-mux"), "{call:?}");
    call.learn();
    call.a.rtp.send_to(&RECEIVER_REPORT, call.answered.rtp).expect("sent");
    assert_eq!(call.b.receive_rtcp().as_deref(), Some(&RECEIVER_REPORT[..]));
    call.b.rtcp.send_to(&RECEIVER_REPORT, call.offered.rtcp).expect("sent");
    let mut buffer = [0; 200];
    call.a.rtp.set_read_timeout(Some(Duration::from_secs(2))).expect("not zero");
    let length = call.a.rtp.recv(&mut buffer).expect("RTCP on the RTP port");
    assert_eq!(&buffer[..length], &RECEIVER_REPORT);
}

#[test]
fn strict_source_drops_packets_of_strangers() {
    let relay = Relay::start(&[]);
    let strict = json!({"flags": ["strict-source"]});
    let mut call = Call::establish(
        &relay,
        "strict",
        Setup { offer: strict.clone(), answer: strict, ..Setup::default() },
    );
    call.learn();
    let stranger = Party::new("127.0.0.1");
    let mut foreign = call.a.next_packet(0, &[0x55; 160], 160);
    foreign.ssrc ^= 1;
    for _ in 0..5 {
        stranger.rtp.send_to(&foreign.to_octets(), call.answered.rtp).expect("sent");
    }
    let genuine = call.a.next_packet(0, &[0x66; 160], 160);
    call.a.send(&genuine);
    let first = call.b.receive(Duration::from_secs(2)).expect("the genuine packet");
    assert_eq!(first.packet, genuine);
}

#[test]
fn a_stranger_cannot_take_over_a_running_stream() {
    let relay = Relay::start(&[]);
    let mut call = Call::establish(&relay, "take-over", Setup::default());
    call.learn();
    let stranger = UdpSocket::bind("127.0.0.1:0").expect("a port");
    stranger.set_read_timeout(Some(Duration::from_millis(300))).expect("not zero");
    for round in 0..20 {
        let genuine = call.a.next_packet(0, &[round; 160], 160);
        call.a.send(&genuine);
        let mut foreign = genuine.clone();
        foreign.ssrc ^= 0x1234;
        stranger.send_to(&foreign.to_octets(), call.answered.rtp).expect("sent");
        let reply = call.b.next_packet(0, &[round; 160], 160);
        call.b.send(&reply);
        let heard = call.a.receive(Duration::from_secs(2)).expect("the caller goes on hearing the callee");
        assert_eq!(heard.packet, reply);
    }
    assert!(stranger.recv(&mut [0; 2000]).is_err(), "the stranger hears nothing");
}

#[test]
fn a_party_behind_nat_is_heard_at_the_address_it_sends_from() {
    // The default looks at the source for three seconds before it decides.
    for (mode, packets) in [("immediate", 1), ("heuristic", 180)] {
        let relay = Relay::start(&[&format!("--endpoint-learning={mode}")]);
        let mut call = Call::establish(&relay, "nat", Setup::default());
        // The caller's packets come from another port than its description says.
        let outside = Party::new("127.0.0.1");
        for _ in 0..packets {
            let packet = call.a.next_packet(0, &[1; 160], 160);
            outside.rtp.send_to(&packet.to_octets(), call.answered.rtp).expect("sent");
            assert!(call.b.receive(Duration::from_secs(2)).is_some(), "{mode}");
            if packets > 1 {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        let reply = call.b.next_packet(0, &[2; 160], 160);
        call.b.send(&reply);
        let heard = outside.receive(Duration::from_secs(2));
        assert_eq!(heard.unwrap_or_else(|| panic!("{mode}: nothing at the learned address")).packet, reply);
    }
}

#[test]
fn asymmetric_media_goes_to_the_signalled_address() {
    let relay = Relay::start(&[]);
    let flags = json!({"flags": ["asymmetric"]});
    let mut call = Call::establish(
        &relay,
        "asymmetric",
        Setup { offer: flags.clone(), answer: flags, ..Setup::default() },
    );
    let outside = Party::new("127.0.0.1");
    let packet = call.a.next_packet(0, &[1; 160], 160);
    outside.rtp.send_to(&packet.to_octets(), call.answered.rtp).expect("sent");
    assert!(call.b.receive(Duration::from_secs(2)).is_some());
    let reply = call.b.next_packet(0, &[2; 160], 160);
    call.b.send(&reply);
    assert_eq!(call.a.receive(Duration::from_secs(2)).expect("at the signalled address").packet, reply);
}

#[test]
fn hold_and_resume_keep_the_ports_and_the_media() {
    let relay = Relay::start(&[]);
    let mut call = Call::establish(&relay, "hold", Setup::default());
    both_ways_unchanged(&mut call);
    let ports = (call.offered.rtp, call.answered.rtp);
    let describe = |party: &Party, direction| sdp::audio(party.local(), &["0 PCMU/8000"], &[direction]);
    let (offer, answer) = (describe(&call.a, "sendonly"), describe(&call.b, "recvonly"));
    call.re_offer(&offer, &answer, &json!({}));
    assert!(call.offered.has("sendonly") && call.answered.has("recvonly"));
    let (offer, answer) = (describe(&call.a, "sendrecv"), describe(&call.b, "sendrecv"));
    call.re_offer(&offer, &answer, &json!({}));
    assert_eq!(ports, (call.offered.rtp, call.answered.rtp));
    both_ways_unchanged(&mut call);
}

#[test]
fn a_hold_that_is_refused_leaves_the_media_as_they_were() {
    let relay = Relay::start(&[]);
    let mut call = Call::establish(&relay, "refused", Setup::default());
    both_ways_unchanged(&mut call);
    let describe = |party: &Party, direction| sdp::audio(party.local(), &["0 PCMU/8000"], &[direction]);
    for direction in ["inactive", "sendonly", "recvonly"] {
        // The other party says 491, and nobody tells the relay.
        for (party, from, to) in [(&call.a, "a", "b"), (&call.b, "b", "a")] {
            let offer = describe(party, direction);
            call.command("offer", &json!({"from-tag": from, "to-tag": to, "sdp": offer}));
        }
        both_ways_unchanged(&mut call);
    }
    let (offer, answer) = (describe(&call.a, "inactive"), describe(&call.b, "inactive"));
    call.re_offer(&offer, &answer, &json!({}));
    let packet = call.b.next_packet(0, &[3; 160], 160);
    call.b.send(&packet);
    let held = || (e2e::call::dropped(&call.query(), "no sink") == 1).then_some(());
    assert!(e2e::daemon::wait_for(Duration::from_secs(2), held).is_some(), "held: {}", call.query());
    let offer = describe(&call.a, "sendrecv");
    call.command("offer", &json!({"from-tag": "a", "to-tag": "b", "sdp": offer}));
    call.command("answer", &json!({"from-tag": "a", "to-tag": "b", "sdp": describe(&call.b, "sendrecv")}));
    both_ways_unchanged(&mut call);
}

#[test]
fn a_party_that_moves_is_followed_after_its_re_offer() {
    let relay = Relay::start(&[]);
    let mut call = Call::establish(&relay, "move", Setup::default());
    both_ways_unchanged(&mut call);
    call.a = Party::new("127.0.0.1");
    let (offer, answer) = (
        sdp::audio(call.a.local(), &["0 PCMU/8000"], &[]),
        sdp::audio(call.b.local(), &["0 PCMU/8000"], &[]),
    );
    call.re_offer(&offer, &answer, &json!({}));
    let packet = call.b.next_packet(0, &[9; 160], 160);
    call.b.send(&packet);
    assert_eq!(call.a.receive(Duration::from_secs(2)).expect("at the new address").packet, packet);
}

#[test]
fn a_party_whose_nat_gives_it_other_ports_is_followed_with_its_rtcp() {
    let relay = Relay::start(&[]);
    let mut call = Call::establish(&relay, "nat", Setup::default());
    both_ways_unchanged(&mut call);
    rtcp_both_ways(&call);
    let former = std::mem::replace(&mut call.a, Party::new("127.0.0.1"));
    (call.a.ssrc, call.a.sequence, call.a.timestamp) = (former.ssrc, former.sequence, former.timestamp);
    call.a.remote = former.remote;
    let is_followed = || {
        for from in [&mut call.a, &mut call.b] {
            let packet = from.next_packet(0, &[4; 160], 160);
            from.send(&packet);
        }
        call.a.receive(Duration::from_millis(60)).map(drop)
    };
    assert!(e2e::daemon::wait_for(Duration::from_secs(5), is_followed).is_some());
    rtcp_both_ways(&call);
}

#[test]
fn a_party_that_is_told_another_port_is_heard_at_the_former_one_too() {
    let relay = Relay::start(&[]);
    let formats: &[&str] = &["8 PCMA/8000"];
    let codec = json!({"codec": {"transcode": ["PCMA"], "mask": ["PCMU"]}});
    let mut call =
        Call::establish(&relay, "ports", Setup { b: formats, offer: codec.clone(), ..Setup::default() });
    call.learn();
    let former = call.offered.rtp;
    let heard = |call: &mut Call<'_>| {
        let packet = call.b.next_packet(8, &[0xd5; 160], 160);
        call.b.send(&packet);
        call.a.receive(Duration::from_secs(2)).expect("heard").packet
    };
    let before = heard(&mut call);
    // The caller moves, which gives the callee other ports; it sends to those that it had until it has read that.
    call.a = Party::new("127.0.0.1");
    let offer = sdp::audio(call.a.local(), &["0 PCMU/8000"], &["ptime:20"]);
    let answer = sdp::audio(call.b.local(), formats, &["ptime:20"]);
    call.re_offer(&offer, &answer, &codec);
    assert_ne!(call.offered.rtp, former);
    for (number, port) in (1..).zip([former, former, call.offered.rtp, former, call.offered.rtp]) {
        call.b.remote = Some(port);
        let packet = heard(&mut call);
        assert_eq!(packet.ssrc, before.ssrc, "one stream for the caller");
        assert_eq!(packet.sequence, before.sequence.wrapping_add(number), "without a gap");
        assert_eq!(packet.timestamp, before.timestamp.wrapping_add(160 * u32::from(number)));
    }
    let packet = call.a.next_packet(0, &[0xff; 160], 160);
    call.a.send(&packet);
    assert_eq!(call.b.receive(Duration::from_secs(2)).expect("heard").from, call.offered.rtp);
}

#[test]
fn media_echo_sends_a_party_its_own_stream_under_another_ssrc_and_drops_the_other() {
    let relay = Relay::start(&[]);
    let mut call = Call::establish(
        &relay,
        "echo",
        Setup { offer: json!({"media-echo": "backward"}), ..Setup::default() },
    );
    for round in 0..50 {
        let packet = call.a.next_packet(0, &[round; 160], 160);
        call.a.send(&packet);
        let received = call.a.receive(Duration::from_secs(2)).expect("the echo").packet;
        assert_ne!(received.ssrc, packet.ssrc);
        assert_eq!(e2e::rtp::Packet { ssrc: packet.ssrc, ..received }, packet);
        let packet = call.b.next_packet(0, &[round; 160], 160);
        call.b.send(&packet);
    }
    assert!(call.a.receive(Duration::from_millis(100)).is_none(), "the other party is not heard");
    assert!(call.b.receive(Duration::from_millis(1)).is_none(), "and hears nothing");
}

fn both_ways_unchanged(call: &mut Call<'_>) {
    for round in 0..50 {
        let octets: Vec<u8> = (0..160).map(|i| (i as u8).wrapping_mul(7).wrapping_add(round)).collect();
        let mut packet = call.a.next_packet(0, &octets, 160);
        packet.marker = round % 10 == 0;
        call.a.send(&packet);
        let received = call.b.receive(Duration::from_secs(2)).expect("the callee's packet");
        assert_eq!((received.packet, received.from), (packet, call.offered.rtp));
        let packet = call.b.next_packet(0, &octets, 160);
        call.b.send(&packet);
        let received = call.a.receive(Duration::from_secs(2)).expect("the caller's packet");
        assert_eq!((received.packet, received.from), (packet, call.answered.rtp));
    }
}

fn rtcp_both_ways(call: &Call<'_>) {
    call.a.rtcp.send_to(&RECEIVER_REPORT, call.answered.rtcp).expect("sent");
    assert_eq!(call.b.receive_rtcp().as_deref(), Some(&RECEIVER_REPORT[..]));
    call.b.rtcp.send_to(&RECEIVER_REPORT, call.offered.rtcp).expect("sent");
    assert_eq!(call.a.receive_rtcp().as_deref(), Some(&RECEIVER_REPORT[..]));
}

/// An empty receiver report and a CNAME (RFC 3550 §6.4.2, §6.5).
const RECEIVER_REPORT: [u8; 24] = [
    0x80, 201, 0, 1, 0x11, 0x22, 0x33, 0x44, 0x81, 202, 0, 3, 0x11, 0x22, 0x33, 0x44, 1, 4, b't', b'e', b's',
    b't', 0, 0,
];
