//! Transcoding on loopback sockets: numbers of what the relay makes itself, and reports about it.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use codec::PayloadFormat;
use codec::graph::TranscodePlan;
use codec::rtp::RtpPacket;
use rtpengine::media::plan::*;

mod common;
use common::*;

fn relay() -> Relay {
    common::relay((31_000, 33_999))
}

fn transcode(source: PayloadFormat, sink: PayloadFormat) -> Handling {
    Handling::Transcode(Arc::new(TranscodePlan::new(source, sink, Default::default())))
}

/// PCMU becomes PCMA, telephone events pass.
fn transcoding_edge(from: &Party, to: &Party) -> EdgePlan {
    let mut edge = edge(from, to, Handling::Drop(DropReason::PayloadType));
    edge.by_payload_type.push((0, transcode(format(0, "PCMU"), format(8, "PCMA"))));
    edge.by_payload_type.push((101, FORWARD));
    edge
}

/// Audio in both directions, then reports in both directions, over `to_a` and `to_b`.
fn check_mapped_reports(relay: &Relay, a: &Party, b: &Party, rtcp: [&Party; 2], plan: CallPlan) {
    let [a_rtcp, b_rtcp] = rtcp;
    relay.plane.install(WORKER, plan);
    let (mut at_a, mut at_b) = (Vec::new(), Vec::new());
    for sequence_number in 100..103 {
        a.send(&rtp(0, sequence_number));
        at_b = b.receive();
        b.send(&rtp(0, sequence_number + 1000));
        at_a = a.receive();
    }
    let (ssrc_at_a, last_at_a, _) = numbers(&at_a);
    let (ssrc_at_b, _, timestamp_at_b) = numbers(&at_b);
    assert!(ssrc_at_a != 0xabcd && ssrc_at_b != 0xabcd && ssrc_at_a != ssrc_at_b);
    // A reports on what it got, on a stranger, and on its own stream: 102 × 160 was sent 80 ticks ago.
    let report = [
        0x82c8_0012,
        0xabcd,
        0x0102_0304,
        0x0506_0708,
        102 * 160 + 80,
        900,
        90_000,
        0x7777,
        1,
        2,
        3,
        4,
        5,
        ssrc_at_a,
        0x40ff_fffe,
        u32::from(last_at_a),
        33,
        0xaaaa_bbbb,
        0x0001_0000,
    ];
    let description = [0x81ca_0002, 0xabcd, 0x0101_6100];
    a_rtcp.send(&words(&[&report[..], &description].concat()));
    assert_eq!(
        to_words(&b_rtcp.receive()),
        [
            0x81c8_000c,
            ssrc_at_b,
            0x0102_0304,
            0x0506_0708,
            timestamp_at_b + 80,
            3,
            480,
            0xabcd,
            0x40ff_fffe,
            1102,
            33,
            0xaaaa_bbbb,
            0x0001_0000,
            0x81ca_0002,
            ssrc_at_b,
            0x0101_6100
        ]
    );
    // B leaves.
    b_rtcp.send(&words(&[0x80c9_0001, 0xabcd, 0x81cb_0001, 0xabcd]));
    assert_eq!(to_words(&a_rtcp.receive()), [0x80c9_0001, ssrc_at_a, 0x81cb_0001, ssrc_at_a]);
    a_rtcp.send(&words(&[0x80c9_0001, 0xabcd, 0x81ca_0002, 1, 0x0109_6100]));
    until("refusal", || a_rtcp.drops(DropReason::Malformed) == 1);
}

#[test]
fn transcoded_stream_has_its_own_ssrc_and_continuous_numbers() {
    let relay = relay();
    let (a, b) = (party(&relay, &relay.v4), party(&relay, &relay.v4));
    let options = codec::EncoderOptions::default();
    let plan = TranscodePlan::new(format(0, "PCMU"), format(8, "PCMA"), options);
    let mut edge = edge(&a, &b, Handling::Drop(DropReason::PayloadType));
    edge.by_payload_type.push((0, Handling::Transcode(Arc::new(plan))));
    relay.plane.install(WORKER, call(&a, &b, vec![edge]));
    let mut last = None;
    for sequence_number in 0..5 {
        a.send(&rtp(0, sequence_number));
        let packet = b.receive();
        let packet = RtpPacket::parse(&packet).unwrap();
        assert_eq!((packet.payload_type(), packet.payload().len()), (8, 160));
        assert_ne!(packet.ssrc(), 0xabcd);
        let this = (packet.ssrc(), packet.sequence_number());
        if let Some((ssrc, sequence)) = last {
            assert_eq!(this, (ssrc, u16::wrapping_add(sequence, 1)));
        }
        last = Some(this);
    }
}

#[test]
fn reports_of_transcoded_streams_are_mapped_on_multiplexed_sockets() {
    let relay = relay();
    let (mut a, mut b) = (party(&relay, &relay.v4), party(&relay, &relay.v4));
    (a.stream.expect, b.stream.expect) = (Expect::RtpAndRtcp, Expect::RtpAndRtcp);
    let plan = call(&a, &b, vec![transcoding_edge(&a, &b), transcoding_edge(&b, &a)]);
    check_mapped_reports(&relay, &a, &b, [&a, &b], plan);
}

#[test]
fn reports_of_transcoded_streams_are_mapped_on_sockets_of_their_own() {
    let relay = relay();
    let (a, b) = (party(&relay, &relay.v4), party(&relay, &relay.v4));
    let (a_rtcp, b_rtcp) = (rtcp_party(&relay, &a), rtcp_party(&relay, &b));
    let (to_a, to_b) = (Some(a_rtcp.stream.id), Some(b_rtcp.stream.id));
    let reports = |from: &Party, rtcp_to| EdgePlan { rtp_to: None, rtcp_to, ..edge(from, from, FORWARD) };
    let edges = vec![
        EdgePlan { rtcp_to: to_b, ..transcoding_edge(&a, &b) },
        reports(&a_rtcp, to_b),
        EdgePlan { rtcp_to: to_a, ..transcoding_edge(&b, &a) },
        reports(&b_rtcp, to_a),
    ];
    let mut plan = call(&a, &b, edges);
    plan.streams = [&a, &a_rtcp, &b, &b_rtcp].map(|party| party.stream.clone()).to_vec();
    check_mapped_reports(&relay, &a, &b, [&a_rtcp, &b_rtcp], plan);
}

#[test]
fn event_before_the_first_audio_gets_the_numbers_of_the_transcoder() {
    let relay = relay();
    let (mut a, b) = (party(&relay, &relay.v4), party(&relay, &relay.v4));
    a.stream.formats = Arc::from([format(0, "PCMU"), format(101, "telephone-event")]);
    relay.plane.install(WORKER, call(&a, &b, vec![transcoding_edge(&a, &b)]));
    let mut received = Vec::new();
    for sequence_number in 0..8 {
        let mut packet = rtp(if sequence_number < 4 { 101 } else { 0 }, sequence_number);
        if sequence_number < 4 {
            packet.truncate(16);
            // The event began with the first packet.
            packet[4..8].fill(0);
        }
        a.send(&packet);
        received.push(numbers(&b.receive()));
    }
    let (ssrc, first, start) = received[0];
    assert_ne!(ssrc, 0xabcd);
    let expected: Vec<_> = (0..8u16)
        .map(|n| (ssrc, first.wrapping_add(n), if n < 4 { start } else { start + u32::from(n) * 160 }))
        .collect();
    assert_eq!(received, expected);
}

#[test]
fn re_offer_with_another_codec_and_hold_keep_ssrc_and_numbers() {
    let relay = relay();
    let (a, b) = (party(&relay, &relay.v4), party(&relay, &relay.v4));
    let mut plan = call(&a, &b, vec![transcoding_edge(&a, &b)]);
    let mut next = 0;
    let mut pass = |payload_types: (u8, u8)| -> Vec<(u32, u16, u32)> {
        let packets = (0..5).map(|_| {
            a.send(&rtp(payload_types.0, next));
            next += 1;
            let packet = b.receive();
            assert_eq!(packet[1] & 0x7f, payload_types.1);
            numbers(&packet)
        });
        packets.collect()
    };
    relay.plane.install(WORKER, plan.clone());
    let mut received = pass((0, 8));
    plan.edges[0].rtp_to = None;
    relay.plane.install(WORKER, plan.clone());
    a.send(&rtp(0, 5));
    until("hold", || a.drops(DropReason::NoSink) == 1);
    plan.edges[0] = edge(&a, &b, Handling::Drop(DropReason::PayloadType));
    plan.edges[0].by_payload_type.push((0, transcode(format(0, "PCMU"), format(0, "PCMU"))));
    plan.edges[0].by_payload_type.push((8, transcode(format(8, "PCMA"), format(0, "PCMU"))));
    relay.plane.install(WORKER, plan);
    received.extend(pass((8, 0)));
    received.extend(pass((0, 0)));
    let (ssrc, first, start) = received[0];
    let expected: Vec<_> =
        (0..15u16).map(|n| (ssrc, first.wrapping_add(n), start + u32::from(n) * 160)).collect();
    assert_eq!(received, expected);
}

#[test]
fn many_ssrcs_are_counted_and_do_not_all_get_transcoders_at_once() {
    let relay = relay();
    let (a, b, c) = (party(&relay, &relay.v4), party(&relay, &relay.v4), party(&relay, &relay.v4));
    let mut plan = call(&a, &b, vec![edge(&a, &b, FORWARD), transcoding_edge(&a, &c)]);
    plan.streams.push(c.stream.clone());
    relay.plane.install(WORKER, plan);
    let mut transcoded = Vec::new();
    for ssrc in 1..=6u32 {
        let mut packet = rtp(0, 1);
        packet[8..12].copy_from_slice(&ssrc.to_be_bytes());
        a.send(&packet);
        assert_eq!(b.receive(), packet);
        if ssrc <= 4 {
            transcoded.push(numbers(&c.receive()).0);
        }
    }
    until("refusal", || a.drops(DropReason::Codec) == 2);
    for slots in [&a.stream.shared.ingress_ssrc, &b.stream.shared.egress_ssrc] {
        let slots: Vec<_> = slots.iter().map(|s| (s.ssrc.load(Relaxed), s.packets.get())).take(7).collect();
        assert_eq!(slots, [(1, 1), (2, 1), (3, 1), (4, 1), (5, 1), (6, 1), (0, 0)]);
    }
    transcoded.sort_unstable();
    transcoded.dedup();
    assert_eq!(transcoded.len(), 4);
}

#[test]
fn packets_that_are_muted_while_they_wait_are_counted() {
    let relay = relay();
    let (a, b) = (party(&relay, &relay.v4), party(&relay, &relay.v4));
    let plan = call(&a, &b, vec![transcoding_edge(&a, &b)]);
    relay.plane.install(WORKER, plan.clone());
    // Nearly a second's worth at once, which is spread over that second.
    for sequence_number in 0..45 {
        a.send(&rtp(0, sequence_number));
    }
    b.receive();
    let (_frames, player) = player(&b, true);
    relay.plane.start_player(WORKER, plan.key, player);
    until("muting", || {
        let sent = b.stream.shared.egress.packets.get();
        let blocked = a.drops(DropReason::Blocked);
        blocked > 0 && sent + blocked == 45
    });
}
