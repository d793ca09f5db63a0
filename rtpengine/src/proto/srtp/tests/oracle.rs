//! Our packets beside those of a second implementation that stands on another library.

use e2e::srtp::Key;

use super::*;

fn second(key: &MasterKey) -> Key {
    let parameters = key.parameters();
    Key {
        mki: key.mki().to_vec(),
        unencrypted_srtp: parameters.unencrypted_srtp,
        unencrypted_srtcp: parameters.unencrypted_srtcp,
        unauthenticated_srtp: parameters.unauthenticated_srtp,
        ..Key::new(key.suite().name, &[key.key(), key.salt()].concat())
    }
}

#[test]
fn packets_are_those_of_the_second_implementation() {
    for suite in &SUITES {
        for flags in 0..8 {
            let parameters = SessionParameters {
                unencrypted_srtp: flags & 1 != 0,
                unencrypted_srtcp: flags & 2 != 0,
                unauthenticated_srtp: flags & 4 != 0 && suite.cipher != CipherKind::Gcm,
            };
            let key = key(suite, 31, if flags % 3 == 0 { &[] } else { &[1, 2, 3] }, parameters);
            let (mut protector, second) = (Protector::new(&key), second(&key));
            let name = format!("{} {parameters:?}", suite.name);
            // Over a roll-over, with all payload lengths up to a few blocks.
            for step in 0..70_u16 {
                let sequence_number = 65_500_u16.wrapping_add(step);
                let packet = rtp(77, sequence_number, step.into());
                let expected = second.protect_rtp(&packet, (sequence_number < 65_500).into());
                assert_eq!(protected(&mut protector, true, &packet), Ok(expected), "{name}, packet {step}");
            }
            for index in 0..3 {
                let expected = second.protect_rtcp(&rtcp(78), index);
                assert_eq!(protected(&mut protector, false, &rtcp(78)), Ok(expected), "{name}, {index}");
            }
        }
    }
}

#[test]
fn csrcs_and_extension_stay_clear() {
    let mut packet = rtp(5, 9, 30);
    packet[0] = 0x92;
    packet.splice(12..12, [&[7; 8][..], &[0xbe, 0xde, 0, 1, 0x10, 0xff, 0, 0]].concat());
    for suite in &SUITES {
        let key = key(suite, 3, &[], SessionParameters::default());
        let expected = second(&key).protect_rtp(&packet, 0);
        assert_eq!(expected[..28], packet[..28]);
        assert_eq!(protected(&mut Protector::new(&key), true, &packet), Ok(expected), "{}", suite.name);
    }
}
