//! Framed packets of any content, with and without a stamp: what is taken apart can be put together again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use spool::framing;

fuzz_target!(|input: &[u8]| {
    let datagram = framing::datagram_octets(input);
    assert!(datagram <= input.len());
    let Ok(packet) = framing::parse(input) else {
        assert_eq!(datagram, input.len());
        return;
    };
    assert_eq!(packet.arrival_us.is_some(), datagram < input.len());
    let mut header = [0; framing::MAX_HEADER];
    let length = framing::write_header(&mut header, packet.source, packet.destination, packet.payload.len());
    let mut again = [&header[..length], packet.payload].concat();
    if let Some(arrival) = packet.arrival_us {
        again.extend_from_slice(&framing::stamp(arrival));
    }
    let read = framing::parse(&again).expect("what was written");
    assert_eq!((read.payload, read.arrival_us), (packet.payload, packet.arrival_us));
    assert_eq!((read.source, read.destination), (packet.source, packet.destination));
});
