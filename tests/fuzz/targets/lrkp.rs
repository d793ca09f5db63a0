//! Datagrams of the lrkproxy protocol.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| rtpengine::control::legacy::fuzz_lrkp(input));
