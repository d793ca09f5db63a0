//! The way from a worker to the recorder: a bounded ring of packet copies that never makes the worker wait.
//!
//! A single-producer, single-consumer ring of octets holds records back to back: a fixed head of [`HEAD`] octets
//! (length first) and the payload. A record is either in the ring as a whole or not at all.

use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// One packet as the reader of the ring sees it.
#[derive(Clone, Copy, Debug)]
pub struct TapRecord<'a> {
    /// [`super::plan::TapPlan::recording`]
    pub recording: u64,
    /// [`super::plan::StreamId`] of the stream the packet came in on, or leaves by.
    pub stream: u64,
    pub direction: TapDirection,
    /// Microseconds since the Unix epoch.
    pub time_us: u64,
    pub source: SocketAddr,
    pub destination: SocketAddr,
    /// UDP payload, decrypted.
    pub payload: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TapDirection {
    Ingress,
    Egress,
}

/// The worker's end.
pub struct Producer {
    ring: rtrb::Producer<u8>,
}

/// The recorder's end.
pub struct Consumer {
    ring: rtrb::Consumer<u8>,
    /// Where a record is put together that lies around the end of the ring.
    joined: Vec<u8>,
}

/// A ring of `capacity` octets.
pub fn ring(capacity: usize) -> (Producer, Consumer) {
    let (producer, consumer) = rtrb::RingBuffer::new(capacity);
    (Producer { ring: producer }, Consumer { ring: consumer, joined: Vec::new() })
}

impl Producer {
    /// Copies a packet into the ring; `false` when it does not fit (the caller counts the loss).
    ///
    /// Never waits, never allocates; the cost is one copy.
    pub fn push(&mut self, record: TapRecord<'_>) -> bool {
        let length = HEAD + record.payload.len();
        let Ok(mut chunk) = self.ring.write_chunk_uninit(length) else { return false };
        let head = encode_head(&record);
        let (first, second) = chunk.as_mut_slices();
        let (mut first, mut second) = (first, second);
        put(&mut first, &mut second, &head);
        put(&mut first, &mut second, record.payload);
        // SAFETY: the two slices have `HEAD + payload` octets together and both parts were copied into them.
        unsafe { chunk.commit_all() };
        true
    }
}

/// Copies into the front of two slices that follow each other, and moves their fronts.
fn put<'a>(first: &mut &'a mut [MaybeUninit<u8>], second: &mut &'a mut [MaybeUninit<u8>], octets: &[u8]) {
    let (head, tail) = octets.split_at(octets.len().min(first.len()));
    for (slot, octets) in [(first, head), (second, tail)] {
        let (now, rest) = std::mem::take(slot).split_at_mut(octets.len());
        now.write_copy_of_slice(octets);
        *slot = rest;
    }
}

impl Consumer {
    /// Hands every record that is in the ring to `handle`, oldest first; returns how many there were.
    ///
    /// Space is given back to the worker after each record. Records that arrive while this runs are handed over
    /// as well, up to the amount that was there at the start, so that one call ends.
    pub fn drain(&mut self, handle: &mut dyn FnMut(TapRecord<'_>)) -> usize {
        let mut budget = self.ring.slots();
        let mut records = 0;
        while budget >= HEAD {
            let Ok(head) = self.ring.read_chunk(HEAD) else { break };
            // Looked at, not taken: a chunk that is dropped without commit stays in the ring.
            let mut fixed = [0; HEAD];
            let (first, second) = head.as_slices();
            fixed[..first.len()].copy_from_slice(first);
            fixed[first.len()..].copy_from_slice(second);
            let (length, record) = decode_head(&fixed);
            // The producer commits whole records, so the payload is there.
            let Ok(chunk) = self.ring.read_chunk(HEAD + length) else { break };
            let (first, second) = chunk.as_slices();
            let whole = if second.is_empty() {
                first
            } else {
                self.joined.clear();
                self.joined.extend_from_slice(first);
                self.joined.extend_from_slice(second);
                &self.joined
            };
            handle(TapRecord { payload: &whole[HEAD..], ..record });
            chunk.commit_all();
            budget = budget.saturating_sub(HEAD + length);
            records += 1;
        }
        records
    }

    /// Octets that wait to be drained.
    pub fn pending(&self) -> usize {
        self.ring.slots()
    }

    /// The worker has gone; nothing will be added any more.
    pub fn is_abandoned(&self) -> bool {
        self.ring.is_abandoned()
    }
}

/// Octets in front of each payload.
pub const HEAD: usize = 4 + 8 + 8 + 8 + 1 + 2 * ADDRESS;
/// Family, port, address.
const ADDRESS: usize = 1 + 2 + 16;

fn encode_head(record: &TapRecord<'_>) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[0..4].copy_from_slice(&(record.payload.len() as u32).to_ne_bytes());
    head[4..12].copy_from_slice(&record.recording.to_ne_bytes());
    head[12..20].copy_from_slice(&record.stream.to_ne_bytes());
    head[20..28].copy_from_slice(&record.time_us.to_ne_bytes());
    head[28] = (record.direction == TapDirection::Egress).into();
    encode_address(&mut head[29..29 + ADDRESS], record.source);
    encode_address(&mut head[29 + ADDRESS..], record.destination);
    head
}

fn decode_head(head: &[u8; HEAD]) -> (usize, TapRecord<'static>) {
    let number = |at: usize| {
        let mut octets = [0; 8];
        octets.copy_from_slice(&head[at..at + 8]);
        u64::from_ne_bytes(octets)
    };
    let length = u32::from_ne_bytes([head[0], head[1], head[2], head[3]]) as usize;
    let record = TapRecord {
        recording: number(4),
        stream: number(12),
        time_us: number(20),
        direction: if head[28] == 0 { TapDirection::Ingress } else { TapDirection::Egress },
        source: decode_address(&head[29..29 + ADDRESS]),
        destination: decode_address(&head[29 + ADDRESS..]),
        payload: &[],
    };
    (length, record)
}

fn encode_address(octets: &mut [u8], address: SocketAddr) {
    octets[1..3].copy_from_slice(&address.port().to_be_bytes());
    match address.ip() {
        IpAddr::V4(ip) => {
            octets[0] = 4;
            octets[3..7].copy_from_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            octets[0] = 6;
            octets[3..19].copy_from_slice(&ip.octets());
        }
    }
}

fn decode_address(octets: &[u8]) -> SocketAddr {
    let port = u16::from_be_bytes([octets[1], octets[2]]);
    let mut ip = [0; 16];
    ip.copy_from_slice(&octets[3..19]);
    let ip = match octets[0] {
        4 => IpAddr::from([ip[0], ip[1], ip[2], ip[3]]),
        _ => IpAddr::V6(Ipv6Addr::from(ip)),
    };
    SocketAddr::new(ip, port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    fn record(serial: u64, payload: &[u8]) -> TapRecord<'_> {
        TapRecord {
            recording: serial,
            stream: serial ^ 7,
            direction: if serial.is_multiple_of(2) { TapDirection::Ingress } else { TapDirection::Egress },
            time_us: serial * 3,
            source: SocketAddr::new(IpAddr::from([192, 0, 2, serial as u8]), serial as u16),
            destination: SocketAddr::new(IpAddr::V6(Ipv6Addr::from(u128::from(serial) << 64)), 9),
            payload,
        }
    }

    #[test]
    fn record_that_does_not_fit_is_refused_and_later_ones_pass() {
        let (mut producer, mut consumer) = ring(HEAD * 2 + 10);
        assert!(producer.push(record(1, &[1; 10])));
        assert!(!producer.push(record(2, &[2; 11])));
        assert_eq!(consumer.drain(&mut |_| ()), 1);
        assert!(producer.push(record(3, &[3; 11])));
        assert_eq!(consumer.drain(&mut |r| assert_eq!((r.recording, r.payload), (3, &[3; 11][..]))), 1);
    }

    #[test]
    fn records_cross_threads_in_order() {
        let (mut producer, mut consumer) = ring(4096);
        let writer = std::thread::spawn(move || {
            for serial in 0..20_000u64 {
                let payload = [serial as u8; 171];
                while !producer.push(record(serial, &payload[..(serial % 172) as usize])) {
                    std::hint::spin_loop();
                }
            }
        });
        let mut next = 0;
        while next < 20_000 {
            consumer.drain(&mut |r| {
                assert_eq!(r.recording, next);
                assert_eq!(r.payload, &[next as u8; 171][..(next % 172) as usize]);
                next += 1;
            });
        }
        writer.join().unwrap();
    }

    proptest! {
        #[test]
        fn any_interleaving_keeps_order_and_content(
            capacity in HEAD..1500usize,
            steps in prop::collection::vec(prop::option::weighted(0.7, 0usize..300), 1..200),
        ) {
            let (mut producer, mut consumer) = ring(capacity);
            let mut model: VecDeque<(u64, Vec<u8>)> = VecDeque::new();
            let mut used = 0;
            for (serial, step) in steps.into_iter().enumerate() {
                let serial = serial as u64;
                match step {
                    Some(length) => {
                        let payload = vec![serial as u8; length];
                        let fits = used + HEAD + length <= capacity;
                        prop_assert_eq!(producer.push(record(serial, &payload)), fits);
                        if fits {
                            used += HEAD + length;
                            model.push_back((serial, payload));
                        }
                    }
                    None => {
                        let waiting = model.len();
                        let drained = consumer.drain(&mut |got| {
                            let (serial, payload) = model.pop_front().unwrap();
                            let wanted = record(serial, &payload);
                            assert_eq!(format!("{got:?}"), format!("{wanted:?}"));
                        });
                        prop_assert_eq!(drained, waiting);
                        used = 0;
                    }
                }
            }
        }
    }
}
