//! Files of packets that wait for their reader, of any content: what is found in them is what would be written again, and no header leads
//! outside of its file.

#![no_main]

use libfuzzer_sys::fuzz_target;
use spool::spill::{self, Header, Parsed};

fuzz_target!(|input: &[u8]| {
    if let Some(header) = Header::parse(input) {
        assert_eq!(header.to_octets(), input[..spill::HEADER]);
        assert!(header.read >= spill::HEADER as u64 && header.read <= header.end);
    }
    let (mut rest, mut written) = (input, Vec::new());
    loop {
        match spill::parse(rest) {
            Parsed::Packet(packet, length) => {
                assert_eq!(length, spill::octets(packet));
                spill::append(&mut written, packet);
                assert!(matches!(spill::parse(&rest[..length - 1]), Parsed::Incomplete(needed) if needed <= length));
                rest = &rest[length..];
            }
            Parsed::Incomplete(needed) => {
                assert!(needed > rest.len() && needed <= 4 + spill::MAX_PACKET);
                break;
            }
            Parsed::Broken => break,
        }
    }
    assert_eq!(written, input[..input.len() - rest.len()]);
});
