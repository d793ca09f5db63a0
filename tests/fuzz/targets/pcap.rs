//! The pcap writer against the reader of the tests, and the reader against anything.

#![no_main]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use libfuzzer_sys::fuzz_target;
use rtpengine::config::PcapFormat;
use rtpengine::record::pcap_octets;

#[path = "../../src/pcap.rs"]
mod pcap;

fuzz_target!(|input: &[u8]| {
    let _ = pcap::parse(input);
    let (mut rest, mut sent) = (input, Vec::new());
    while let [kind, high, low, length, tail @ ..] = rest {
        let (payload, tail) = tail.split_at(usize::from(*length).min(tail.len()));
        rest = tail;
        let ip = |last: u8| -> IpAddr {
            match kind & 1 {
                0 => Ipv4Addr::new(10, *high, *low, last).into(),
                _ => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, u16::from(*high), last.into()).into(),
            }
        };
        let port = u16::from_be_bytes([*high, *low]);
        let time_us = sent.len() as u64 * 1_234_567;
        sent.push((time_us, SocketAddr::new(ip(1), port), SocketAddr::new(ip(2), !port), payload.to_vec()));
    }
    let format = if input.first().is_some_and(|first| first & 2 == 0) { PcapFormat::Raw } else { PcapFormat::Ethernet };
    let file = pcap_octets(format, &sent);
    let read = pcap::parse(&file).expect("what was written");
    assert_eq!(read.len(), sent.len());
    for (found, (time_us, source, destination, payload)) in read.iter().zip(&sent) {
        assert_eq!((found.time_us, found.from, found.to, &found.payload), (*time_us, *source, *destination, payload));
    }
});
