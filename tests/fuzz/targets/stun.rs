#![no_main]

use libfuzzer_sys::fuzz_target;
use rtpengine::proto::stun::{IntegrityKey, Message};

fuzz_target!(|input: &[u8]| {
    // The header and fingerprint checks would keep most inputs from the attributes: they are also tried in a valid frame.
    let mut framed = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    framed.extend_from_slice(&[0; 12]);
    framed.extend_from_slice(&input[..input.len() & !3]);
    let Ok(length) = u16::try_from(framed.len() - 20) else { return };
    framed[2..4].copy_from_slice(&length.to_be_bytes());
    for datagram in [input, &framed] {
        let Ok(message) = Message::parse(datagram) else { continue };
        let octets: usize = message.attributes().map(|attribute| 4 + attribute.value.len()).sum();
        assert!(octets <= datagram.len());
        let _ = (message.username(), message.priority(), message.use_candidate(), message.tiebreaker());
        let _ = (message.mapped_address(), message.error_code(), message.unknown_attributes().count());
        assert!(!message.verify(&IntegrityKey::new("a password that nobody knows")));
    }
});
