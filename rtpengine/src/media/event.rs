//! What a worker tells control.

use std::net::SocketAddr;

use super::dtmf::Digit;
use super::plan::{CallKey, PlayerId, StreamId};

/// Something happened in the data plane.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum MediaEvent {
    /// A stream's packets now go to this address, learned from their source.
    EndpointLearned { call: CallKey, stream: StreamId, peer: SocketAddr },
    /// A DTMF digit ended that a party sent in event packets, or that was added to what it sends.
    DtmfEnded { call: CallKey, stream: StreamId, digit: Digit, injected: bool },
    /// A player came to its end or was stopped.
    PlayerFinished {
        call: CallKey,
        player: PlayerId,
        frames_played: u64,
        next_sequence: u16,
        next_timestamp: u32,
    },
}
