#![no_main]

use libfuzzer_sys::fuzz_target;
use rtpengine::proto::bencode;

fuzz_target!(|input: &[u8]| {
    let length = bencode::dictionary_length(input);
    assert_eq!(length, bencode::decode_prefix(input).map(|(_, length)| length));
    let Ok(dict) = bencode::decode(input) else {
        assert!(length.is_err());
        return;
    };
    let mut written = Vec::new();
    bencode::encode_dict(&dict, &mut written);
    assert_eq!(bencode::decode_prefix(&written), Ok((dict, written.len())));
});
