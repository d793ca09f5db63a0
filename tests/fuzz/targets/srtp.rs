//! Any octets as SRTP and SRTCP packets, under every suite, with and without identifier and session parameters.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rtpengine::proto::srtp::{MAX_OVERHEAD, MasterKey, Protector, SUITES, SessionParameters, Unprotector};

fuzz_target!(|input: &[u8]| {
    // Suite, length of the identifier, parameters; the rest is the packet.
    let [suite, mki_octets, parameters, packet @ ..] = input else { return };
    let suite = &SUITES[usize::from(*suite) % SUITES.len()];
    let parameters = SessionParameters {
        unencrypted_srtp: parameters & 1 != 0,
        unencrypted_srtcp: parameters & 2 != 0,
        unauthenticated_srtp: parameters & 4 != 0,
    };
    let (key_salt, mki) = ([0x42; 64], [0x24; 255]);
    let mki = &mki[..usize::from(mki_octets % 16)];
    let Ok(key) = MasterKey::new(suite, &key_salt[..suite.key_salt_octets()], mki, parameters) else {
        return;
    };
    let mut unprotector = Unprotector::new(&key);
    let _ = unprotector.unprotect_rtp(&mut packet.to_vec());
    let _ = unprotector.unprotect_rtcp(&mut packet.to_vec());
    // What can be protected comes back.
    let mut buffer = [packet, &[0; MAX_OVERHEAD]].concat();
    if let Ok(length) = Protector::new(&key).protect_rtp(&mut buffer, packet.len()) {
        let clear = Unprotector::new(&key).unprotect_rtp(&mut buffer[..length]);
        assert_eq!(clear.map(|length| &buffer[..length]), Ok(packet));
    }
    let mut buffer = [packet, &[0; MAX_OVERHEAD]].concat();
    if let Ok(length) = Protector::new(&key).protect_rtcp(&mut buffer, packet.len()) {
        let clear = Unprotector::new(&key).unprotect_rtcp(&mut buffer[..length]);
        assert_eq!(clear.map(|length| &buffer[..length]), Ok(packet));
    }
});
