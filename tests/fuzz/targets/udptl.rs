//! Datagrams at the receiving side of UDPTL, some of them made by our own sender and damaged.

#![no_main]

use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use rtpengine::proto::udptl::{Correction, Receiver, Sender};

fuzz_target!(|input: &[u8]| {
    let mut sender = Sender::new(Correction::Fec { span: 3, entries: 2 }, 400);
    let (mut receiver, mut now) = (Receiver::default(), Instant::now());
    let mut datagram = Vec::new();
    let mut rest = input;
    while let [kind, length, behind @ ..] = rest {
        let (octets, behind) = behind.split_at(usize::from(*length).min(behind.len()));
        rest = behind;
        now += Duration::from_millis(u64::from(kind >> 4));
        match kind & 3 {
            0 => datagram = octets.to_vec(),
            1 => sender.update(Correction::Redundancy(kind >> 4), 400),
            2 => {
                let sent = sender.send(octets, &mut datagram);
                assert_eq!(sent, !octets.is_empty());
            }
            _ => {
                let at = usize::from(kind >> 2) % datagram.len().max(1);
                if let (Some(octet), Some(change)) = (datagram.get_mut(at), octets.first()) {
                    *octet ^= change;
                }
            }
        }
        let _ = receiver.receive(now, &datagram);
        let mut count = 0;
        while let Some((_, ifp)) = receiver.next(now) {
            assert!(!ifp.is_empty());
            count += 1;
            assert!(count <= 256);
        }
    }
});
