#![no_main]

use std::net::{Ipv4Addr, SocketAddr};

use libfuzzer_sys::fuzz_target;
use rtpengine::control::ng::request::{self, Templates};
use rtpengine::proto::value::Dict;

fuzz_target!(|input: &[u8]| {
    let mut dict = Dict::new();
    dict.push("command", "offer").push("rtpp-flags", input.to_vec());
    let _ = request::decode(dict, SocketAddr::from((Ipv4Addr::LOCALHOST, 1)), &Templates::default());
});
