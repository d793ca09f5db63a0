#![no_main]

use std::net::{Ipv4Addr, SocketAddr};

use libfuzzer_sys::fuzz_target;
use rtpengine::control::ng::request::{self, Templates};
use rtpengine::proto::{bencode, json};

fuzz_target!(|input: &[u8]| {
    let dict = match input.first() {
        Some(b'{') => json::decode(input).ok(),
        _ => bencode::decode(input).ok(),
    };
    if let Some(dict) = dict {
        let _ = request::decode(dict, SocketAddr::from((Ipv4Addr::LOCALHOST, 1)), &Templates::default());
    }
});
