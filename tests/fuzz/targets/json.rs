#![no_main]

use libfuzzer_sys::fuzz_target;
use rtpengine::proto::json;

fuzz_target!(|input: &[u8]| {
    let Ok(dict) = json::decode(input) else { return };
    let mut written = Vec::new();
    json::encode_dict(&dict, &mut written);
    assert_eq!(json::decode(&written), Ok(dict));
});
