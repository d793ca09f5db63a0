//! What RTCP says about quality, and RTCP of our own, on loopback sockets.

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
    relay.plane.install(WORKER, call(&a, &b, vec![edge(&a, &b, FORWARD), edge(&b, &a, FORWARD)]));
    a.send(&media(SSRC_A, 1));
    b.receive();
    b.send(&media(SSRC_B, 1));
    a.receive();
    (a, b)
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
