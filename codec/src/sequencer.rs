//! Puts packets of one SSRC into sequence: 128 slots, gaps skipped when ten packets wait.

use std::time::Instant;

/// One packet, owned by the sequencer until taken. Buffers are recycled.
#[derive(Clone, Debug)]
pub struct SequencedPacket {
    /// Sequence number extended to 64 bits by counting wrap-arounds.
    pub extended_sequence: u64,
    /// RTP timestamp.
    pub timestamp: u32,
    /// Payload type.
    pub payload_type: u8,
    /// Marker bit.
    pub marker: bool,
    /// When it was received.
    pub arrival: Instant,
    /// Packets missing directly before this one.
    pub lost_before: u32,
    /// Payload without padding.
    pub payload: Vec<u8>,
}
