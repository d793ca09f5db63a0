use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

fn ifp(number: u16) -> Vec<u8> {
    (0..2 + number % 70).map(|n| (n * 31 + number) as u8 | 1).collect()
}

fn datagrams(correction: Correction, count: u16) -> Vec<Vec<u8>> {
    let mut sender = Sender::new(correction, 1400);
    let mut out = Vec::new();
    (0..count)
        .map(|number| {
            assert!(sender.send(&ifp(number), &mut out));
            out.clone()
        })
        .collect()
}

/// Numbers in the order they came out; contents are checked.
fn received(datagrams: impl Iterator<Item = Vec<u8>>, receiver: &mut Receiver) -> Vec<u16> {
    let mut now = Instant::now();
    let mut numbers = Vec::new();
    for datagram in datagrams {
        now += Duration::from_millis(20);
        receiver.receive(now, &datagram).expect("valid");
        while let Some((number, octets)) = receiver.next(now) {
            let sent = ifp(number);
            // By parity it may be longer.
            assert_eq!(octets[..sent.len()], sent, "{number}");
            assert!(octets[sent.len()..].iter().all(|octet| *octet == 0), "{number}");
            numbers.push(number);
        }
    }
    while let Some((number, _)) = receiver.next(now + Duration::from_secs(1)) {
        numbers.push(number);
    }
    numbers
}

const ALL: [Correction; 3] =
    [Correction::Redundancy(3), Correction::Fec { span: 3, entries: 3 }, Correction::None];

#[test]
fn datagram_has_the_form_of_the_recommendation() {
    let mut sender = Sender::new(Correction::Redundancy(3), 1400);
    let mut out = Vec::new();
    sender.send(&[6, 7], &mut out);
    assert_eq!(out, [0, 0, 2, 6, 7, 0, 0]);
    sender.send(&[8], &mut out);
    assert_eq!(out, [0, 1, 1, 8, 0, 1, 2, 6, 7]);
    sender.send(&[9; 200], &mut out);
    assert_eq!(out[..5], [0, 2, 0x80, 200, 9]);
    assert_eq!(out[204..], [0, 2, 1, 8, 2, 6, 7]);
    let mut sender = Sender::new(Correction::Fec { span: 2, entries: 1 }, 1400);
    for octets in [&[1, 2][..], &[4], &[8, 8, 8]] {
        sender.send(octets, &mut out);
    }
    assert_eq!(out, [0, 2, 3, 8, 8, 8, 0x80, 1, 2, 1, 2, 5, 2]);
    assert!(!sender.send(&[], &mut out) && !sender.send(&[0; MAX_IFP + 1], &mut out));
}

#[test]
fn everything_arrives_once_and_in_order() {
    for correction in ALL {
        let all = datagrams(correction, 300);
        let numbers = received(all.iter().flat_map(|d| [d.clone(), d.clone()]), &mut Receiver::default());
        assert_eq!(numbers, (0..300).collect::<Vec<_>>(), "{correction:?}");
        // Neighbours exchanged.
        let exchanged = all.chunks(2).flat_map(|pair| pair.iter().rev().cloned().collect::<Vec<_>>());
        let numbers = received(exchanged, &mut Receiver::default());
        assert_eq!(numbers, (0..300).collect::<Vec<_>>(), "{correction:?}");
    }
}

#[test]
fn loss_is_made_up_for() {
    for (correction, burst) in [(ALL[0], 3), (ALL[1], 3)] {
        let kept = |(number, datagram)| ((number + 5) % 20 >= burst).then_some(datagram);
        let all = datagrams(correction, 400).into_iter().enumerate();
        let mut receiver = Receiver::default();
        let numbers = received(all.filter_map(kept), &mut receiver);
        assert_eq!(numbers, (0..400).collect::<Vec<_>>(), "{correction:?}");
        assert!(receiver.counts().0 >= 57 && receiver.counts().1 == 0, "{:?}", receiver.counts());
    }
}

#[test]
fn what_cannot_be_made_up_for_is_left_out_after_a_while() {
    let all = datagrams(Correction::None, 20);
    let numbers = received(
        all.into_iter().enumerate().filter_map(|(n, d)| (n != 7).then_some(d)),
        &mut Receiver::default(),
    );
    assert_eq!(numbers, (0..20).filter(|n| *n != 7).collect::<Vec<_>>());
    // The last ones behind a gap come when time is up.
    let all = datagrams(Correction::None, 3);
    let (mut receiver, now) = (Receiver::default(), Instant::now());
    receiver.receive(now, &all[0]).unwrap();
    receiver.receive(now, &all[2]).unwrap();
    assert_eq!(receiver.next(now).map(|(number, _)| number), Some(0));
    assert!(receiver.next(now).is_none());
    let later = receiver.poll_timeout().expect("a deadline");
    assert_eq!(receiver.next(later).map(|(number, _)| number), Some(2));
    assert_eq!((receiver.poll_timeout(), receiver.counts()), (None, (0, 1)));
}

#[test]
fn redundancy_keeps_to_the_peers_datagram_size() {
    let mut sender = Sender::new(Correction::Redundancy(3), 90);
    let mut out = Vec::new();
    for _ in 0..5 {
        sender.send(&[5; 40], &mut out);
        assert!(out.len() <= 90, "{}", out.len());
    }
    assert_eq!(out[44], 1, "one earlier packet fits");
}

#[test]
fn another_sequence_is_followed_and_numbers_wrap() {
    let mut sender = Sender::new(Correction::Redundancy(2), 1400);
    let (mut out, mut receiver, mut next) = (Vec::new(), Receiver::default(), 0u16);
    let now = Instant::now();
    for _ in 0..70_000u32 {
        sender.send(&[1, 2, 3], &mut out);
        receiver.receive(now, &out).unwrap();
        assert_eq!(receiver.next(now).map(|(number, _)| number), Some(next));
        next = next.wrapping_add(1);
    }
    receiver.receive(now, &[0x70, 0, 1, 9, 0, 0]).unwrap();
    assert_eq!(receiver.next(now), Some((0x7000, &[9][..])));
}

proptest! {
    #[test]
    fn any_octets_are_taken_without_panic(datagrams in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..20)) {
        let (mut receiver, now) = (Receiver::default(), Instant::now());
        for datagram in datagrams {
            let _ = receiver.receive(now, &datagram);
            let mut count = 0;
            while receiver.next(now).is_some() {
                count += 1;
                prop_assert!(count <= 256);
            }
        }
    }

    #[test]
    fn any_loss_and_order_gives_increasing_numbers(
        which in 0usize..3,
        order in prop::collection::vec((0usize..60, any::<bool>()), 0..120),
    ) {
        let all = datagrams(ALL[which], 60);
        let chosen = order.into_iter().filter(|(_, lost)| !lost).map(|(index, _)| all[index].clone());
        let numbers = received(chosen, &mut Receiver::default());
        prop_assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{numbers:?}");
    }
}
