//! Every parser of control messages on the fuzzing seeds: as they are, cut off at each octet, and with single octets damaged.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use rtpengine::control::ng::request::{self, Templates};
use rtpengine::proto::sdp::{ParseOptions, parse, text};
use rtpengine::proto::value::Dict;
use rtpengine::proto::{bencode, json};

#[test]
fn damaged_messages_are_errors_and_no_panics() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/seeds");
    for (target, read) in [
        ("bencode", (|octets| drop(bencode::decode(octets))) as fn(&[u8])),
        ("json", |octets| drop(json::decode(octets))),
        ("sdp", read_sdp),
        ("request", read_request),
        ("flag_string", read_flags),
    ] {
        let mut seen = 0;
        for entry in std::fs::read_dir(seeds.join(target)).expect("seeds are checked in").flatten() {
            let seed = std::fs::read(entry.path()).expect("a seed is readable");
            read(&seed);
            // Long seeds in strides, so that the test stays below a second.
            let stride = seed.len() / 400 + 1;
            for at in (0..seed.len()).step_by(stride) {
                read(&seed[..at]);
                for damage in [0, b'9', b':', b'e', b'=', b'\n', 0xff] {
                    let mut damaged = seed.clone();
                    damaged[at] = damage;
                    read(&damaged);
                }
            }
            seen += 1;
        }
        assert!(seen > 5, "{target} has {seen} seeds");
    }
}

fn read_sdp(octets: &[u8]) {
    let body = text::decode(octets);
    assert_eq!(text::encode(body.clone().into_owned()), octets);
    let _ = parse(&body, ParseOptions::default());
    let _ = parse(&body, ParseOptions { fragment: true, ..ParseOptions::default() });
}

fn read_request(octets: &[u8]) {
    if let Ok(dict) = bencode::decode(octets) {
        decode(dict);
    }
}

fn read_flags(octets: &[u8]) {
    let mut dict = Dict::new();
    dict.push("command", "offer").push("rtpp-flags", octets.to_vec());
    decode(dict);
}

fn decode(dict: Dict) {
    let _ = request::decode(dict, SocketAddr::from((Ipv4Addr::LOCALHOST, 1)), &Templates::default());
}
