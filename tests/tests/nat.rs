//! Parties behind a NAT, and packets that are shorter than they should be.

use std::time::Duration;

use e2e::call::{Call, Setup};
use e2e::daemon::Relay;
use serde_json::json;

const SOON: Duration = Duration::from_secs(2);
const A_WHILE: Duration = Duration::from_millis(300);

#[test]
fn pierce_nat_sends_empty_packets_until_the_party_is_heard() {
    let relay = Relay::start(&[]);
    let setup = Setup { offer: json!({"flags": ["pierce-NAT"]}), ..Setup::default() };
    let mut call = Call::establish(&relay, "pierce", setup);
    let first = call.a.receive(SOON).expect("an empty packet").packet;
    let second = call.a.receive(SOON).expect("another one").packet;
    assert_eq!((first.payload_type, first.payload.len(), second.ssrc), (0, 0, first.ssrc));
    assert_eq!(second.sequence, first.sequence.wrapping_add(1));
    assert!(call.a.receive_rtcp().is_some_and(|report| report.get(1) == Some(&201)));
    assert!(call.b.receive(A_WHILE).is_none(), "nobody asked for it");
    let packet = call.a.next_packet(0, &[0x55; 160], 160);
    call.a.send(&packet);
    assert!(call.b.receive(SOON).is_some());
    while call.a.receive(A_WHILE / 3).is_some_and(|received| received.packet.ssrc == first.ssrc) {}
    assert!(call.a.receive(A_WHILE).is_none(), "the way is open");
}

#[test]
fn nat_wait_keeps_media_from_a_party_that_is_not_heard() {
    let relay = Relay::start(&[]);
    let setup = Setup { answer: json!({"flags": ["NAT-wait"]}), ..Setup::default() };
    let mut call = Call::establish(&relay, "wait", setup);
    let packet = call.a.next_packet(0, &[0x55; 160], 160);
    call.a.send(&packet);
    assert!(call.b.receive(A_WHILE).is_none(), "not heard yet");
    let packet = call.b.next_packet(0, &[0x66; 160], 160);
    call.b.send(&packet);
    assert!(call.a.receive(SOON).is_some());
    let packet = call.a.next_packet(0, &[0x77; 160], 160);
    call.a.send(&packet);
    assert_eq!(call.b.receive(SOON).expect("media").packet.payload, [0x77; 160]);
}

#[test]
fn block_short_drops_what_is_shorter_than_the_packets_before() {
    let relay = Relay::start(&[]);
    let setup = Setup { offer: json!({"flags": ["block-short"]}), ..Setup::default() };
    let mut call = Call::establish(&relay, "short", setup);
    let lengths = |call: &mut Call<'_>, from_a: bool| {
        let (from, to) = if from_a { (&mut call.a, &call.b) } else { (&mut call.b, &call.a) };
        let sent = [160, 160, 80, 160, 1, 160];
        for length in sent {
            let packet = from.next_packet(0, &vec![0x55; length], 160);
            from.send(&packet);
        }
        let mut arrived = Vec::new();
        while let Some(received) = to.receive(if arrived.is_empty() { SOON } else { A_WHILE }) {
            arrived.push(received.packet.payload.len());
        }
        arrived
    };
    assert_eq!(lengths(&mut call, true), [160; 4]);
    assert_eq!(lengths(&mut call, false), [160, 160, 80, 160, 1, 160], "of the callee nobody said anything");
}
