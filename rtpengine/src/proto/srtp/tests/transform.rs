//! Protection and its removal, for all suites, identifiers and parameters.

use proptest::prelude::*;

use super::*;

fn parameters() -> impl Strategy<Value = SessionParameters> {
    any::<(bool, bool, bool)>().prop_map(|(unencrypted_srtp, unencrypted_srtcp, unauthenticated_srtp)| {
        SessionParameters { unencrypted_srtp, unencrypted_srtcp, unauthenticated_srtp }
    })
}

fn any_key() -> impl Strategy<Value = MasterKey> {
    let mki = prop_oneof![Just(vec![]), prop::collection::vec(any::<u8>(), 1..=MAX_MKI)];
    (0..SUITES.len(), any::<u8>(), mki, parameters()).prop_map(|(suite, seed, mki, mut parameters)| {
        let suite = &SUITES[suite];
        parameters.unauthenticated_srtp &= suite.cipher != CipherKind::Gcm;
        key(suite, seed, &mki, parameters)
    })
}

/// RTP with up to 15 CSRCs and an extension of up to 3 words.
fn any_rtp() -> impl Strategy<Value = Vec<u8>> {
    let extension = prop::option::of(0..4_usize);
    (0..16_usize, extension, any::<u32>(), any::<u16>(), 0..300_usize).prop_map(
        |(contributors, extension, ssrc, sequence_number, payload)| {
            let mut packet = rtp(ssrc, sequence_number, payload);
            packet[0] |= contributors as u8;
            let mut header = vec![0xcc; 4 * contributors];
            if let Some(words) = extension {
                packet[0] |= 0x10;
                header.extend([0xbe, 0xde, 0, words as u8]);
                header.resize(header.len() + 4 * words, 0x77);
            }
            packet.splice(12..12, header);
            packet
        },
    )
}

proptest! {
    #[test]
    fn unprotecting_gives_back_what_was_protected(key in any_key(), packet in any_rtp()) {
        let (mut protector, mut unprotector) = (Protector::new(&key), Unprotector::new(&key));
        for (rtp, packet) in [(true, packet), (false, rtcp(3)), (false, rtcp(4))] {
            let protected = protected(&mut protector, rtp, &packet).unwrap();
            prop_assert_eq!(unprotected(&mut unprotector, rtp, &protected), Ok(packet));
        }
    }

    #[test]
    fn flipped_bit_is_found_and_changes_nothing(key in any_key(), packet in any_rtp(), at in any::<prop::sample::Index>()) {
        let (mut protector, mut unprotector) = (Protector::new(&key), Unprotector::new(&key));
        for (rtp, packet) in [(true, packet), (false, rtcp(3))] {
            if rtp && key.parameters().unauthenticated_srtp {
                continue;
            }
            let good = protected(&mut protector, rtp, &packet).unwrap();
            let mut bad = good.clone();
            let bit = at.index(8 * bad.len());
            bad[bit / 8] ^= 1 << (bit % 8);
            let before = unprotector.sources();
            prop_assert!(unprotected(&mut unprotector, rtp, &bad).is_err());
            prop_assert_eq!(unprotector.sources(), before);
            prop_assert_eq!(unprotected(&mut unprotector, rtp, &good), Ok(packet));
        }
    }

    #[test]
    fn any_octets_are_survived(key in any_key(), mut octets in prop::collection::vec(any::<u8>(), 0..600)) {
        let mut unprotector = Unprotector::new(&key);
        let mut protector = Protector::new(&key);
        let _ = unprotector.unprotect_rtp(&mut octets.clone());
        let _ = unprotector.unprotect_rtcp(&mut octets.clone());
        for length in [octets.len(), octets.len() / 2, octets.len() + 1] {
            let _ = protector.protect_rtp(&mut octets, length);
            let _ = protector.protect_rtcp(&mut octets, length);
        }
    }
}

#[test]
fn wire_lengths_and_clear_parts_are_those_of_the_suites() {
    for suite in &SUITES {
        let mut protector = Protector::new(&key(suite, 1, &[0xa1, 0xa2], SessionParameters::default()));
        let (clear_rtp, clear_rtcp) = (rtp(9, 1, 100), rtcp(9));
        let srtp = protected(&mut protector, true, &clear_rtp).unwrap();
        let srtcp = protected(&mut protector, false, &clear_rtcp).unwrap();
        assert_eq!(srtp.len(), clear_rtp.len() + suite.rtp_tag_octets + 2, "{}", suite.name);
        assert_eq!(srtcp.len(), clear_rtcp.len() + suite.rtcp_tag_octets + 4 + 2, "{}", suite.name);
        assert_eq!((&srtp[..12], &srtcp[..8]), (&clear_rtp[..12], &clear_rtcp[..8]), "{}", suite.name);
        let encrypted = suite.cipher != CipherKind::Null;
        assert_eq!(srtp[12..112] != clear_rtp[12..], encrypted, "{}", suite.name);
        assert_eq!(srtcp[8..32] != clear_rtcp[8..], encrypted, "{}", suite.name);
        let mki_at = if suite.cipher == CipherKind::Gcm { srtp.len() - 2 } else { 112 };
        assert_eq!(srtp[mki_at..mki_at + 2], [0xa1, 0xa2], "{}", suite.name);
    }
}

#[test]
fn unencrypted_packets_are_readable_and_unauthenticated_ones_have_no_tag() {
    let suite = Suite::by_name("AES_CM_128_HMAC_SHA1_80").unwrap();
    let parameters =
        SessionParameters { unencrypted_srtp: true, unencrypted_srtcp: true, ..Default::default() };
    let mut protector = Protector::new(&key(suite, 1, &[], parameters));
    assert_eq!(protected(&mut protector, true, &rtp(1, 1, 10)).unwrap()[..22], rtp(1, 1, 10));
    let report = protected(&mut protector, false, &rtcp(1)).unwrap();
    assert_eq!((&report[..32], report[32] & 0x80), (&rtcp(1)[..], 0));
    let parameters = SessionParameters { unauthenticated_srtp: true, ..Default::default() };
    let mut protector = Protector::new(&key(suite, 1, &[], parameters));
    assert_eq!(protected(&mut protector, true, &rtp(1, 1, 10)).unwrap().len(), 22);
    assert_eq!(protected(&mut protector, false, &rtcp(1)).unwrap().len(), 32 + 14);
}

#[test]
fn other_key_identifier_is_another_key() {
    let suite = Suite::by_name("AES_CM_128_HMAC_SHA1_80").unwrap();
    for (sent, expected) in [(&[1, 2][..], &[1, 3][..]), (&[1, 2], &[]), (&[], &[1, 2])] {
        let mut protector = Protector::new(&key(suite, 1, sent, SessionParameters::default()));
        let mut unprotector = Unprotector::new(&key(suite, 1, expected, SessionParameters::default()));
        for rtp_packet in [true, false] {
            let packet = if rtp_packet { rtp(1, 1, 20) } else { rtcp(1) };
            let packet = protected(&mut protector, rtp_packet, &packet).unwrap();
            let result = unprotected(&mut unprotector, rtp_packet, &packet);
            assert_eq!(result, Err(SrtpError::NotAuthentic), "{sent:?} {expected:?}");
        }
    }
}

#[test]
fn buffer_without_room_is_refused() {
    let mut protector = Protector::new(&plain_key("AES_CM_128_HMAC_SHA1_80"));
    let mut buffer = rtp(1, 1, 20);
    assert_eq!(protector.protect_rtp(&mut buffer, 32), Err(SrtpError::NoRoom));
    assert_eq!(protector.protect_rtp(&mut buffer, 33), Err(SrtpError::NoRoom));
    assert_eq!(buffer, rtp(1, 1, 20));
    buffer.resize(42, 0);
    assert_eq!(protector.protect_rtp(&mut buffer, 32), Ok(42));
    let mut report = rtcp(1);
    assert_eq!(protector.protect_rtcp(&mut report, 32), Err(SrtpError::NoRoom));
}
