//! What a database gives as a call.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Ok(dict) = rtpengine::persist::decode(input) {
        rtpengine::call::fuzz_stored(&dict);
    }
});
