//! What RTCP says about quality, and RTCP of our own, on loopback sockets.

use std::time::Duration;

use rtpengine::config::InterfaceId;
use rtpengine::media::plan::*;

mod common;
use common::*;

const SSRC_A: u32 = 0xa;
const SSRC_B: u32 = 0xb;

fn relay() -> Relay {
    common::relay((20_000, 23_999))
}

fn media(ssrc: u32, sequence_number: u16) -> Vec<u8> {
    let mut packet = rtp(0, sequence_number);
    packet[8..12].copy_from_slice(&ssrc.to_be_bytes());
    packet
}

/// Two parties with RTP and RTCP on one port, who have exchanged a packet of media.
fn muxed_pair(relay: &Relay) -> (Party, Party) {
    let (mut a, mut b) = (party(relay, &relay.v4), party(relay, &relay.v4));
    (a.stream.expect, b.stream.expect) = (Expect::RtpAndRtcp, Expect::RtpAndRtcp);
    both_ways(relay, &a, &b);
    (a, b)
}

/// Connects the parties, and lets each of them send a packet.
fn both_ways(relay: &Relay, a: &Party, b: &Party) {
    relay.plane.install(WORKER, call(a, b, vec![edge(a, b, FORWARD), edge(b, a, FORWARD)]));
    a.send(&media(SSRC_A, 1));
    b.receive();
    b.send(&media(SSRC_B, 1));
    a.receive();
}

fn sender_report(ssrc: u32, ntp_seconds: u32) -> Vec<u8> {
    words(&[0x80c8_0006, ssrc, ntp_seconds, 0x1234_0000, 160, 1, 160])
}

/// A receiver report that names the sender report above, at once.
fn answer(from: u32, about: u32, ntp_seconds: u32, fraction_lost: u32, jitter: u32) -> Vec<u8> {
    let name = ntp_seconds << 16 | 0x1234;
    words(&[0x81c9_0007, from, about, fraction_lost << 24, 1, jitter, name, 0])
}

#[test]
fn both_legs_together_give_the_round_trip_and_a_score() {
    let relay = relay();
    let (a, b) = muxed_pair(&relay);
    b.send(&sender_report(SSRC_B, 700));
    assert_eq!(a.receive(), sender_report(SSRC_B, 700));
    a.send(&sender_report(SSRC_A, 900));
    assert_eq!(b.receive(), sender_report(SSRC_A, 900));
    // With one leg known, there is no score yet.
    a.send(&answer(SSRC_A, SSRC_B, 700, 0, 0));
    b.receive();
    assert!(a.stream.shared.egress_quality(0, SSRC_B).is_none());
    // 64/256 lost, jitter of 80 at 8 kHz.
    b.send(&answer(SSRC_B, SSRC_A, 900, 64, 80));
    a.receive();
    for quality in [b.stream.shared.egress_quality(0, SSRC_A), a.stream.shared.ingress_quality(0, SSRC_A)] {
        let quality = quality.expect("a sample");
        let sample = quality.lowest;
        assert_eq!((quality.samples, sample.loss_percent, sample.jitter_ms, sample.mos), (1, 25, 10, 31));
        assert!(
            sample.round_trip_leg_us > 0 && sample.round_trip_us > sample.round_trip_leg_us,
            "{sample:?}"
        );
        assert_eq!(quality.progression, [sample]);
    }
    let interface = relay.plane.totals().interfaces[usize::from(InterfaceId::default().0)];
    let counts = interface.quality;
    assert_eq!((counts.mos.samples, counts.mos.total, counts.mos.total2), (1, 31, 961));
    assert_eq!((counts.packet_loss.samples, counts.packet_loss.total), (2, 25));
    assert_eq!((counts.rtt_leg.samples, counts.rtt_end_to_end.samples), (2, 1));
    // More at once counts for nothing.
    b.send(&answer(SSRC_B, SSRC_A, 900, 255, 80));
    a.receive();
    assert_eq!(relay.plane.totals().interfaces[0].quality, counts);
}

#[test]
fn reports_about_what_was_never_sent_count_for_nothing() {
    let relay = relay();
    let (a, b) = muxed_pair(&relay);
    a.send(&answer(SSRC_A, 0x99, 700, 255, 80));
    b.receive();
    assert_eq!(relay.plane.totals().quality(), Default::default());
}

#[test]
fn the_round_trip_of_voip_metrics_is_taken_as_it_is() {
    let relay = relay();
    let (a, b) = muxed_pair(&relay);
    let mut compound = answer(SSRC_A, SSRC_B, 0, 0, 0);
    compound.extend(words(&[0x80cf_000a, SSRC_A, 0x0700_0008, SSRC_B, 0, 0, 250 << 16, 0, 0, 0, 0]));
    a.send(&compound);
    b.receive();
    let quality = b.stream.shared.ingress_quality(0, SSRC_B).expect("a sample");
    let sample = quality.highest;
    assert_eq!((sample.round_trip_us, sample.round_trip_leg_us, sample.mos), (250_000, 0, 42));
}

#[test]
fn generated_reports_replace_those_of_the_parties() {
    let relay =
        common::relay_with((24_000, 24_999), |config| config.rtcp.interval = Duration::from_millis(200));
    let (mut a, mut b) = (party(&relay, &relay.v4), party(&relay, &relay.v4));
    for party in [&mut a, &mut b] {
        party.stream.expect = Expect::RtpAndRtcp;
        party.stream.generates_rtcp = true;
    }
    both_ways(&relay, &a, &b);
    // One lost of four.
    a.send(&media(SSRC_A, 4));
    b.receive();
    a.send(&sender_report(SSRC_A, 700));
    // The party's own report does not come; ours does.
    let report = to_words(&b.receive());
    assert_eq!(report[..2], [0x81c8_000c, SSRC_A], "a sender report with one block");
    assert_eq!(report[4..7], [4 * 160, 2, 320], "timestamp, packets and octets that left");
    assert_eq!(report[7], SSRC_B, "about what the party sends");
    assert_eq!((report[8], report[9], report[11]), (0, 1, 0), "nothing lost, no report heard");
    assert_eq!(report[13] & 0xffff_0000, 0x81ca_0000, "a source description");
    assert_eq!((report[14], report[15] >> 16), (SSRC_A, 0x0110), "with a canonical name");
    let report = to_words(&a.receive());
    assert_eq!((report[0], report[1], report[7]), (0x81c8_000c, SSRC_B, SSRC_A));
    assert_eq!(report[8], 128 << 24 | 2, "two of four lost");
    assert_eq!((report[9], report[11]), (4, 700 << 16 | 0x1234), "the report that was heard");
    assert!(report[12] < 3 << 16, "and when");
    // What the party says about our report gives the round-trip time of its leg.
    let name = report[2] << 16 | report[3] >> 16;
    a.send(&words(&[0x81c9_0007, SSRC_A, SSRC_B, 0, 1, 0, name, 0]));
    until("round trip", || relay.plane.totals().quality().rtt_leg.samples == 1);
    assert!(relay.plane.totals().quality().jitter_measured.samples >= 2);
}

#[test]
fn party_that_only_sends_gets_receiver_reports() {
    let relay =
        common::relay_with((29_000, 29_499), |config| config.rtcp.interval = Duration::from_millis(100));
    let (mut a, b) = (party(&relay, &relay.v4), party(&relay, &relay.v4));
    a.stream.expect = Expect::RtpAndRtcp;
    a.stream.generates_rtcp = true;
    relay.plane.install(WORKER, call(&a, &b, vec![edge(&a, &b, FORWARD)]));
    a.send(&media(SSRC_A, 1));
    a.send(&media(SSRC_A, 3));
    b.receive();
    let report = to_words(&a.receive());
    assert_eq!((report[0], report[2]), (0x81c9_0007, SSRC_A), "a receiver report about what the party sends");
    assert_eq!((report[3], report[4]), (85 << 24 | 1, 3), "one lost of three");
    assert_eq!((report[8] & 0xffff_0000, report[9]), (0x81ca_0000, report[1]), "and who says so");
    a.send(&media(SSRC_A, 4));
    b.receive();
    let report = to_words(&a.receive());
    assert_eq!((report[3], report[4]), (1, 4), "none of those since the last report");
}

#[test]
fn reports_go_to_the_rtcp_port_and_stop_when_media_stop_or_they_are_not_wanted() {
    let relay =
        common::relay_with((25_000, 25_999), |config| config.rtcp.interval = Duration::from_millis(1));
    let (a, mut b) = (party(&relay, &relay.v4), party(&relay, &relay.v4));
    b.stream.generates_rtcp = true;
    let mut rtcp = rtcp_party(&relay, &b);
    rtcp.stream.generates_rtcp = true;
    let mut plan = call(&a, &b, vec![edge(&a, &b, FORWARD)]);
    plan.streams.push(rtcp.stream.clone());
    relay.plane.install(WORKER, plan.clone());
    a.send(&media(SSRC_A, 1));
    b.receive();
    // A sender of two intervals, and nothing any more.
    for _ in 0..2 {
        assert_eq!(to_words(&rtcp.receive())[..2], [0x80c8_0006, SSRC_A]);
    }
    rtcp.socket.set_read_timeout(Some(Duration::from_millis(1500))).unwrap();
    assert!(rtcp.socket.recv(&mut [0; 100]).is_err(), "media have stopped");
    plan.streams.iter_mut().for_each(|stream| stream.generates_rtcp = false);
    relay.plane.install(WORKER, plan);
    a.send(&media(SSRC_A, 2));
    b.receive();
    assert!(rtcp.socket.recv(&mut [0; 100]).is_err(), "not wanted any more");
}

#[test]
fn feedback_reaches_only_parties_whose_profile_has_it() {
    let relay = relay();
    let (mut a, mut b) = (party(&relay, &relay.v4), party(&relay, &relay.v4));
    (a.stream.expect, b.stream.expect) = (Expect::RtpAndRtcp, Expect::RtpAndRtcp);
    (a.stream.feedback, b.stream.feedback) = (true, false);
    both_ways(&relay, &a, &b);
    let report = words(&[0x80c9_0001, SSRC_A]);
    let loss_indication = words(&[0x81ce_0002, SSRC_A, SSRC_B]);
    a.send(&loss_indication);
    a.send(&[&report[..], &loss_indication].concat());
    assert_eq!(b.receive(), report);
    b.send(&loss_indication);
    assert_eq!(a.receive(), loss_indication);
    // Two parties that never negotiated it and use it all the same are left alone.
    let (mut c, mut d) = (party(&relay, &relay.v4), party(&relay, &relay.v4));
    for party in [&mut c, &mut d] {
        party.stream.expect = Expect::RtpAndRtcp;
        party.stream.feedback = false;
    }
    both_ways(&relay, &c, &d);
    c.send(&loss_indication);
    assert_eq!(d.receive(), loss_indication);
}

#[test]
fn packets_that_pass_are_measured_when_asked() {
    let relay = common::relay_with((26_000, 26_999), |config| {
        config.rtcp.interval = Duration::from_millis(100);
        config.rtcp.measure = true;
        config.rtcp.mos.is_listening = true;
    });
    let (a, b) = (party(&relay, &relay.v4), party(&relay, &relay.v4));
    relay.plane.install(WORKER, call(&a, &b, vec![edge(&a, &b, FORWARD)]));
    // One of four is missing.
    for n in [1, 2, 4] {
        a.send(&media(SSRC_A, n));
        b.receive();
    }
    until("a sample", || a.stream.shared.ingress_quality(0, SSRC_A).is_some());
    let measured = a.stream.shared.ingress_quality(0, SSRC_A).unwrap();
    assert_eq!((measured.highest.loss_percent, measured.highest.round_trip_us), (25, 0));
    // Nothing comes: nothing is said.
    std::thread::sleep(Duration::from_millis(250));
    let later = a.stream.shared.ingress_quality(0, SSRC_A).unwrap();
    assert_eq!(later.samples, measured.samples);
    assert_eq!(relay.plane.totals().quality().jitter_measured.samples, measured.samples);
}
