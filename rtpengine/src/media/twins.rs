//! Two parties on one socket: whose a datagram is, its source tells.

use super::plan::DropReason;
use super::receive::ReceiveBatch;
use super::stream::Streams;

/// Datagrams of the stream in `slot` and of its twin, one bit each. One that may be either's is nobody's, and counted.
pub fn split(streams: &Streams, slot: u32, twin: u32, batch: &ReceiveBatch, count: usize) -> [u32; 2] {
    let mut whose = [0; 2];
    let (Some(stream), Some(other)) = (streams.get(slot), streams.get(twin)) else { return [u32::MAX, 0] };
    for index in 0..count {
        let bit = 1 << index;
        // Without a source it is malformed, which the first one finds out.
        let Some(source) = batch.source(index) else {
            whose[0] |= bit;
            continue;
        };
        let affinities = [stream, other].map(|stream| stream.learner.affinity(source));
        match affinities[0].cmp(&affinities[1]) {
            std::cmp::Ordering::Less => whose[0] |= bit,
            std::cmp::Ordering::Greater => whose[1] |= bit,
            std::cmp::Ordering::Equal => stream.drop_packet(DropReason::WrongSource),
        }
    }
    whose
}
