//! Long streams: roll-over, loss and reorder around it, replay, number of SSRCs, end of the key's life.

use super::super::sources::MAX_SOURCES;
use super::*;

const SSRC: u32 = 0xcafe;

fn pair() -> (Protector, Unprotector) {
    let key = plain_key("AES_CM_128_HMAC_SHA1_80");
    (Protector::new(&key), Unprotector::new(&key))
}

#[test]
fn packets_lost_and_reordered_around_the_roll_over_are_decrypted() {
    const CASES: &[(&str, &[u16], &[u16])] = &[
        ("in order", &[65_534, 65_535, 0, 1], &[65_534, 65_535, 0, 1]),
        ("reordered on the way", &[65_533, 65_534, 65_535, 0, 1], &[65_533, 0, 65_535, 1, 65_534]),
        ("reordered before", &[65_533, 0, 65_535, 1], &[65_533, 0, 65_535, 1]),
        ("last before and first after lost", &[65_530, 65_535, 0, 4], &[65_530, 4]),
        (
            "two cycles",
            &[1, 30_000, 60_000, 20_000, 50_000, 10_000],
            &[1, 30_000, 60_000, 20_000, 50_000, 10_000],
        ),
    ];
    for (name, sent, received) in CASES {
        let (mut protector, mut unprotector) = pair();
        let on_wire: Vec<_> =
            sent.iter().map(|s| (*s, protected(&mut protector, true, &rtp(SSRC, *s, 50)).unwrap())).collect();
        for sequence_number in *received {
            let (_, packet) = on_wire.iter().find(|(s, _)| s == sequence_number).unwrap();
            let clear = unprotected(&mut unprotector, true, packet);
            assert_eq!(clear, Ok(rtp(SSRC, *sequence_number, 50)), "{name}: {sequence_number}");
        }
    }
}

#[test]
fn packet_is_accepted_once() {
    let (mut protector, mut unprotector) = pair();
    let mut sent = Vec::new();
    for sequence_number in (65_400..=u16::MAX).chain(0..100) {
        let packet = protected(&mut protector, true, &rtp(SSRC, sequence_number, 20)).unwrap();
        assert!(unprotected(&mut unprotector, true, &packet).is_ok());
        sent.push(packet);
    }
    for packet in &sent {
        assert_eq!(unprotected(&mut unprotector, true, packet), Err(SrtpError::Replayed));
    }
    let report = protected(&mut protector, false, &rtcp(SSRC)).unwrap();
    assert!(unprotected(&mut unprotector, false, &report).is_ok());
    assert_eq!(unprotected(&mut unprotector, false, &report), Err(SrtpError::Replayed));
}

#[test]
fn index_is_used_once_for_sending() {
    let (mut protector, _) = pair();
    assert!(protected(&mut protector, true, &rtp(SSRC, 7, 20)).is_ok());
    assert_eq!(protected(&mut protector, true, &rtp(SSRC, 7, 30)), Err(SrtpError::Replayed));
    assert!(
        protected(&mut protector, true, &rtp(SSRC + 1, 7, 30)).is_ok(),
        "another SSRC has indices of its own"
    );
}

#[test]
fn key_ends_with_the_last_roll_over() {
    for name in ["AES_CM_128_HMAC_SHA1_80", "AEAD_AES_128_GCM", "F8_128_HMAC_SHA1_32"] {
        let key = plain_key(name);
        let start = (1 << 48) - 3;
        let mut protector = Protector::at(&key, SSRC, start, (1 << 31) - 1);
        let mut unprotector = Unprotector::at(&key, SSRC, start);
        for sequence_number in [65_534, 65_535] {
            let packet = protected(&mut protector, true, &rtp(SSRC, sequence_number, 20)).unwrap();
            assert!(unprotected(&mut unprotector, true, &packet).is_ok(), "{name}");
        }
        assert_eq!(
            protected(&mut protector, true, &rtp(SSRC, 0, 20)),
            Err(SrtpError::KeyExhausted),
            "{name}"
        );
        let report = protected(&mut protector, false, &rtcp(SSRC)).unwrap();
        assert!(unprotected(&mut unprotector, false, &report).is_ok(), "{name}");
        assert_eq!(protected(&mut protector, false, &rtcp(SSRC)), Err(SrtpError::KeyExhausted), "{name}");
    }
}

#[test]
fn roll_over_counter_is_part_of_what_is_authenticated() {
    let key = plain_key("AES_CM_128_HMAC_SHA1_32");
    let mut protector = Protector::at(&key, SSRC, 3 << 16, 0);
    let packet = protected(&mut protector, true, &rtp(SSRC, 1, 20)).unwrap();
    assert_eq!(unprotected(&mut Unprotector::new(&key), true, &packet), Err(SrtpError::NotAuthentic));
    assert!(unprotected(&mut Unprotector::at(&key, SSRC, 3 << 16), true, &packet).is_ok());
}

#[test]
fn forged_ssrcs_take_no_place_and_authentic_ones_are_bounded() {
    let key = plain_key("AES_CM_128_HMAC_SHA1_80");
    let mut unprotector = Unprotector::new(&key);
    let mut stranger = Protector::new(&super::key(key.suite(), 99, &[], SessionParameters::default()));
    for ssrc in 0..100 {
        let packet = protected(&mut stranger, true, &rtp(ssrc, 1, 20)).unwrap();
        assert_eq!(unprotected(&mut unprotector, true, &packet), Err(SrtpError::NotAuthentic));
    }
    assert_eq!(unprotector.sources(), (0, 0));
    let mut first = None;
    for ssrc in 0..MAX_SOURCES as u32 {
        let packet = protected(&mut Protector::new(&key), true, &rtp(ssrc, 1, 20)).unwrap();
        assert!(unprotected(&mut unprotector, true, &packet).is_ok());
        first.get_or_insert(packet);
    }
    let packet = protected(&mut Protector::new(&key), true, &rtp(u32::MAX, 1, 20)).unwrap();
    assert_eq!(unprotected(&mut unprotector, true, &packet), Err(SrtpError::TooManySources));
    assert_eq!(unprotected(&mut unprotector, true, &first.unwrap()), Err(SrtpError::Replayed));
}

#[test]
fn unauthenticated_stream_follows_new_ssrcs_for_ever() {
    let parameters = SessionParameters { unauthenticated_srtp: true, ..Default::default() };
    let key = super::key(Suite::by_name("AES_CM_128_HMAC_SHA1_80").unwrap(), 1, &[], parameters);
    let mut unprotector = Unprotector::new(&key);
    for ssrc in 0..2 * MAX_SOURCES as u32 {
        let packet = protected(&mut Protector::new(&key), true, &rtp(ssrc, 1, 20)).unwrap();
        assert_eq!(unprotected(&mut unprotector, true, &packet), Ok(rtp(ssrc, 1, 20)));
    }
    assert_eq!(unprotector.sources(), (MAX_SOURCES, 0));
}
