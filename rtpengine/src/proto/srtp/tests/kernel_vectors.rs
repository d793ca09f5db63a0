//! What the kernel module has to make and to take: our packets, written down in `tests/kernel/srtp-vectors.txt`.
//!
//! ```text
//! key <cipher> <HMAC> <RTP tag> <RTCP tag> <key octets> <salt octets> <flags> <key and salt> <MKI or ->
//! rtp|rtcp <clear packet> <protected packet>          in the order in which one sender protects them
//! ```

use std::fmt::Write;
use std::path::Path;

use super::*;

fn hex(octets: &[u8]) -> String {
    if octets.is_empty() {
        return "-".to_owned();
    }
    octets.iter().fold(String::new(), |mut text, octet| {
        let _ = write!(text, "{octet:02x}");
        text
    })
}

/// The line of a key, with the numbers of the module's ABI.
fn key_line(key: &MasterKey) -> String {
    let (suite, parameters) = (key.suite(), key.parameters());
    let cipher = match suite.cipher {
        CipherKind::Null => 0,
        CipherKind::CounterMode => 1,
        CipherKind::F8 => 2,
        CipherKind::Gcm => 3,
    };
    let tag = if parameters.unauthenticated_srtp { 0 } else { suite.rtp_tag_octets };
    let flags = u8::from(parameters.unencrypted_srtp) | u8::from(parameters.unencrypted_srtcp) << 1;
    format!(
        "key {cipher} {} {tag} {} {} {} {flags} {} {}\n",
        u8::from(suite.cipher != CipherKind::Gcm),
        suite.rtcp_tag_octets,
        suite.key_octets,
        suite.salt_octets,
        hex(key.key_salt()),
        hex(key.mki()),
    )
}

/// Packets over a roll-over, with all kinds of payload length, one with CSRCs and an extension; and RTCP.
fn packets() -> Vec<(&'static str, Vec<u8>)> {
    let mut packets: Vec<_> = [0, 1, 15, 16, 17, 160]
        .iter()
        .enumerate()
        .map(|(i, payload)| ("rtp", rtp(0x1122_3344, 65_533_u16.wrapping_add(i as u16), *payload)))
        .collect();
    let mut extended = rtp(0x1122_3344, 10, 33);
    extended[0] = 0x92;
    extended.splice(12..12, [&[7; 8][..], &[0xbe, 0xde, 0, 1, 0x10, 0xff, 0, 0]].concat());
    packets.push(("rtp", extended));
    packets.extend([("rtcp", rtcp(0x1122_3344)), ("rtcp", rtcp(0x1122_3344))]);
    packets
}

fn vectors() -> String {
    let mut text = String::new();
    for (number, suite) in SUITES.iter().enumerate() {
        let gcm = suite.cipher == CipherKind::Gcm;
        for (flags, mki) in [(0, &[][..]), (0, &[1, 2, 3, 4][..]), (1, &[][..]), (2, &[9][..]), (4, &[][..])]
        {
            let parameters = SessionParameters {
                unencrypted_srtp: flags & 1 != 0,
                unencrypted_srtcp: flags & 2 != 0,
                unauthenticated_srtp: flags & 4 != 0,
            };
            if gcm && parameters.unauthenticated_srtp {
                continue;
            }
            let key = key(suite, number as u8, mki, parameters);
            text.push_str(&key_line(&key));
            let mut protector = Protector::new(&key);
            for (kind, packet) in packets() {
                let sealed = protected(&mut protector, kind == "rtp", &packet).unwrap();
                text.push_str(&format!("{kind} {} {}\n", hex(&packet), hex(&sealed)));
            }
        }
    }
    text
}

#[test]
fn vectors_of_the_kernel_module_are_our_packets() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/kernel/srtp-vectors.txt");
    if std::env::var_os("UPDATE_VECTORS").is_some() {
        std::fs::write(&path, vectors()).unwrap();
    }
    assert!(
        std::fs::read_to_string(&path).unwrap() == vectors(),
        "{} is not what this implementation makes; UPDATE_VECTORS=1 writes it anew",
        path.display()
    );
}
