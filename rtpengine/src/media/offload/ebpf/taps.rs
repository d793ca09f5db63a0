//! Copies of forwarded packets on their way from the program to the recorder.

use std::collections::HashMap;

use aya::maps::{MapData, RingBuf};

use super::super::super::tap::{Producer, TapDirection, TapRecord};
use super::layout::{RECORD_EGRESS, RECORD_INGRESS, RecordHead};
use super::map::clock_offset_us;

/// The ring that the program writes, and the one that the recorder reads.
pub struct Taps {
    ring: RingBuf<MapData>,
    recorder: Option<Producer>,
    scratch: Vec<u8>,
    /// Copies that the recorder's ring refused, by stream, until somebody asks.
    lost: HashMap<u64, u64>,
}

impl Taps {
    pub fn new(ring: RingBuf<MapData>, recorder: Option<Producer>) -> Self {
        Self { ring, recorder, scratch: Vec::with_capacity(2048), lost: HashMap::new() }
    }

    /// Hands everything on that is there; returns how many packets that were.
    pub fn drain(&mut self) -> usize {
        let offset = clock_offset_us();
        let mut packets = 0;
        while let Some(item) = self.ring.next() {
            packets += 1;
            let Some((head, payload)) = RecordHead::split(&item) else { continue };
            for record in records(&head, payload, offset, &mut self.scratch).into_iter().flatten() {
                let stream = record.stream;
                let record = match record.direction {
                    TapDirection::Ingress => record,
                    TapDirection::Egress => TapRecord { payload: &self.scratch, ..record },
                };
                if !self.recorder.as_mut().is_some_and(|recorder| recorder.push(record)) {
                    *self.lost.entry(stream).or_default() += 1;
                }
            }
        }
        packets
    }

    /// Copies of a stream's packets that were lost since this was asked last.
    pub fn take_lost(&mut self, stream: u64) -> u64 {
        if self.lost.is_empty() { 0 } else { self.lost.remove(&stream).unwrap_or(0) }
    }
}

/// What a record stands for: the packet as it came, and as it left, whose payload is written into `left`.
fn records<'a>(
    head: &RecordHead,
    payload: &'a [u8],
    offset_us: u64,
    left: &mut Vec<u8>,
) -> [Option<TapRecord<'a>>; 2] {
    let time_us = (head.time_ns / 1000).wrapping_add(offset_us);
    let ingress = (head.flags & RECORD_INGRESS != 0).then(|| TapRecord {
        recording: head.recording_in,
        stream: head.stream_in,
        direction: TapDirection::Ingress,
        time_us,
        source: head.source.into(),
        destination: head.local.into(),
        payload,
    });
    let egress = (head.flags & RECORD_EGRESS != 0).then(|| {
        left.clear();
        left.extend_from_slice(payload);
        if head.is_rtp != 0
            && let [_, second, _, _, _, _, _, _, a, b, c, d, ..] = left.as_mut_slice()
        {
            *second = *second & 0x80 | head.leaves_as & 0x7f;
            for (octet, mask) in [a, b, c, d].into_iter().zip(head.ssrc_mask) {
                *octet ^= mask;
            }
        }
        TapRecord {
            recording: head.recording_out,
            stream: head.stream_out,
            direction: TapDirection::Egress,
            time_us,
            source: head.from.into(),
            destination: head.to.into(),
            payload: &[],
        }
    });
    [ingress, egress]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::offload::ebpf::layout::Endpoint;

    #[test]
    fn a_record_is_the_packet_before_and_after() {
        let address = |text: &str| Endpoint::from(text.parse::<std::net::SocketAddr>().unwrap());
        let head = RecordHead {
            recording_in: 1,
            stream_in: 2,
            recording_out: 1,
            stream_out: 3,
            time_ns: 5_000,
            source: address("192.0.2.1:4000"),
            local: address("192.0.2.9:30000"),
            from: address("192.0.2.9:30002"),
            to: address("192.0.2.2:5000"),
            flags: RECORD_INGRESS | RECORD_EGRESS,
            ssrc_mask: [0, 0, 0, 1],
            length: 14,
            is_rtp: 1,
            leaves_as: 8,
            reserved: 0,
        };
        let packet = [0x80, 0x80, 0, 7, 0, 0, 0, 0, 0, 0, 0, 6, 0xaa, 0xbb];
        let mut left = Vec::new();
        let [Some(ingress), Some(egress)] = records(&head, &packet, 100, &mut left) else {
            panic!("both are wanted")
        };
        assert_eq!((ingress.time_us, ingress.payload), (105, &packet[..]));
        assert_eq!((ingress.stream, egress.stream), (2, 3));
        assert_eq!(egress.destination, "192.0.2.2:5000".parse().unwrap());
        assert_eq!(left, [0x80, 0x88, 0, 7, 0, 0, 0, 0, 0, 0, 0, 7, 0xaa, 0xbb]);
    }
}
