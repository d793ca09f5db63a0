//! Packets that wait, and packets that a clock of the relay makes: delay buffer, jitter buffer, DTX, comfort noise, mode requests.

use std::sync::Arc;
use std::time::{Duration, Instant};

use codec::PayloadFormat;
use codec::graph::{DtxSettings, SilenceDetection, TranscodePlan};
use codec::jitter::JitterSettings;
use codec::rtp::RtpPacket;
use rtpengine::media::hold::HoldPlan;
use rtpengine::media::plan::*;

mod common;
use common::*;

const PORTS: (u16, u16) = (27_000, 28_999);

fn transcode(plan: TranscodePlan) -> Handling {
    Handling::Transcode(Arc::new(plan))
}

fn to_pcma(source: PayloadFormat) -> TranscodePlan {
    TranscodePlan::new(source, format(8, "PCMA"), Default::default())
}

#[test]
fn delay_buffer_holds_packets_in_order_for_its_time() {
    let relay = common::relay(PORTS);
    let (mut a, b) = (party(&relay, &relay.v4), party(&relay, &relay.v4));
    a.stream.hold = HoldPlan { delay: Duration::from_millis(150), ..HoldPlan::default() };
    relay.plane.install(WORKER, call(&a, &b, vec![edge(&a, &b, Handling::FORWARD)]));
    let start = Instant::now();
    let sent: Vec<Vec<u8>> = (0..5).map(|n| rtp(0, n)).collect();
    sent.iter().for_each(|packet| a.send(packet));
    for packet in &sent {
        assert_eq!(&b.receive(), packet);
        assert!(start.elapsed() >= Duration::from_millis(145), "{:?}", start.elapsed());
    }
    // Off again: what comes next goes on at once.
    a.stream.hold = HoldPlan::default();
    relay.plane.install(WORKER, call(&a, &b, vec![edge(&a, &b, Handling::FORWARD)]));
    a.send(&rtp(0, 5));
    assert_eq!(numbers(&b.receive()).1, 5);
}

#[test]
fn jitter_buffer_spreads_a_burst() {
    let relay = common::relay(PORTS);
    let (mut a, b) = (party(&relay, &relay.v4), party(&relay, &relay.v4));
    a.stream.formats = [format(0, "PCMU")].into();
    let jitter = JitterSettings { most_packets: 10, ..JitterSettings::default() };
    a.stream.hold = HoldPlan { jitter, ..HoldPlan::default() };
    relay.plane.install(WORKER, call(&a, &b, vec![edge(&a, &b, Handling::FORWARD)]));
    // The first thirty pass as they come, then the time base is set.
    for n in 1..=31 {
        a.send(&rtp(0, n));
        assert_eq!(numbers(&b.receive()).1, n);
    }
    let start = Instant::now();
    (32..=36).for_each(|n| a.send(&rtp(0, n)));
    for n in 32..=36 {
        assert_eq!(numbers(&b.receive()).1, n);
    }
    // Packet 36 is due 100 ms after packet 31, which left just before.
    assert!(start.elapsed() >= Duration::from_millis(80), "{:?}", start.elapsed());
}

#[test]
fn silence_that_is_not_sent_is_filled_in() {
    let dtx = DtxSettings {
        delay: Duration::from_millis(40),
        longest: Some(Duration::from_secs(30)),
        most_packets: 10,
        most_lag: Duration::from_millis(100),
        shift: Duration::from_millis(5),
        noise: Some([40].into()),
        native_amr: true,
        native_evs: true,
    };
    let relay = common::relay_with(PORTS, |config| config.transcoding.graph.dtx = Some(dtx));
    let (a, b) = (party(&relay, &relay.v4), party(&relay, &relay.v4));
    let mut way = edge(&a, &b, Handling::Drop(DropReason::PayloadType));
    way.by_payload_type.push((0, transcode(to_pcma(format(0, "PCMU")))));
    relay.plane.install(WORKER, call(&a, &b, vec![way]));
    a.send(&rtp(0, 100));
    let mut last = numbers(&b.receive());
    for _ in 0..10 {
        let packet = b.receive();
        let next = numbers(&packet);
        assert_eq!((next.1, next.2), (last.1.wrapping_add(1), last.2.wrapping_add(160)));
        let packet = RtpPacket::parse(&packet).unwrap();
        assert_eq!((packet.payload_type(), packet.payload().len()), (8, 160));
        assert!(packet.payload().iter().any(|&octet| octet != 0xd5 && octet != 0x55), "noise");
        last = next;
    }
}

#[test]
fn silence_is_sent_as_comfort_noise_to_who_takes_it() {
    let silence = SilenceDetection { threshold: 10, payload: [33].into() };
    let relay = common::relay_with(PORTS, |config| config.transcoding.graph.silence = Some(silence));
    let (mut a, mut b) = (party(&relay, &relay.v4), party(&relay, &relay.v4));
    a.stream.formats = [format(0, "PCMU")].into();
    b.stream.formats = [format(0, "PCMU"), format(13, "CN")].into();
    relay.plane.install(WORKER, call(&a, &b, vec![edge(&a, &b, Handling::FORWARD)]));
    let mut packet = rtp(0, 1);
    packet[12..].fill(0xff);
    a.send(&packet);
    let received = b.receive();
    let packet = RtpPacket::parse(&received).unwrap();
    assert_eq!((packet.payload_type(), packet.payload()), (13, &[33][..]));
}

#[test]
fn mode_requests_of_a_party_reach_the_encoder_that_sends_to_it() {
    if !codec::def::by_name("AMR").unwrap().can_encode() {
        return;
    }
    let relay = common::relay(PORTS);
    let (a, b) = (party(&relay, &relay.v4), party(&relay, &relay.v4));
    let amr = PayloadFormat::new(96, "AMR", 8000, 1).with_fmtp("octet-align=1");
    let mut down = TranscodePlan::new(format(8, "PCMA"), amr.clone(), Default::default());
    down.options.bitrate_bps = Some(12_200);
    let mut up = edge(&a, &b, Handling::Drop(DropReason::PayloadType));
    up.by_payload_type.push((96, transcode(to_pcma(amr))));
    let mut down_edge = edge(&b, &a, Handling::Drop(DropReason::PayloadType));
    down_edge.by_payload_type.push((8, transcode(down)));
    relay.plane.install(WORKER, call(&a, &b, vec![up, down_edge]));
    let mode_at_a = |n| {
        b.send(&rtp(8, n));
        RtpPacket::parse(&a.receive()).unwrap().payload()[1] >> 3 & 15
    };
    assert_eq!(mode_at_a(1), 7);
    // A asks for mode 2 with a frame without data, of which B hears what the decoder makes of it.
    let mut asking = rtp(96, 1);
    asking.truncate(12);
    asking.extend([0x20, 15 << 3 | 4]);
    a.send(&asking);
    assert_eq!(RtpPacket::parse(&b.receive()).unwrap().payload_type(), 8);
    assert_eq!(mode_at_a(2), 2);
}
