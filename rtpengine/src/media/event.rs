//! What a worker tells control.

use std::net::SocketAddr;

use super::dtmf::Digit;
use super::plan::{CallKey, PlayerId, StreamId};
use crate::proto::ice::{Component, Role};

/// Something happened in the data plane.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum MediaEvent {
    /// A stream's packets now go to this address, learned from their source.
    EndpointLearned { call: CallKey, stream: StreamId, peer: SocketAddr },
    /// The agent of a media section, which `stream` is one of, found something out. `generation` is that of its settings.
    Ice { call: CallKey, stream: StreamId, generation: u32, news: IceNews },
    /// A handshake has given a stream its keys.
    Keyed { call: CallKey, stream: StreamId },
    /// The first RTP packet of a media section has come that control wants to hear of ([`super::plan::StreamPlan::tells_arrival`]).
    /// `section` is its position among those that share the stream; `None` where none do.
    MediaArrived { call: CallKey, stream: StreamId, section: Option<u8> },
    /// A DTMF digit ended that a party sent in event packets, or that was added to what it sends.
    DtmfEnded { call: CallKey, stream: StreamId, digit: Digit, injected: bool },
    /// An RTCP packet came in; only told when somebody reports them.
    Rtcp { call: CallKey, stream: StreamId, octets: Box<[u8]> },
    /// A player came to its end or was stopped.
    PlayerFinished {
        call: CallKey,
        player: PlayerId,
        frames_played: u64,
        next_sequence: u16,
        next_timestamp: u32,
    },
}

/// What an ICE agent has to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IceNews {
    /// Media of a component flow between these two from now on.
    Selected { component: Component, local: SocketAddr, peer: SocketAddr },
    /// The peer does not answer any more: nothing is sent to it.
    ConsentLost { component: Component },
    /// The agents have settled who controls.
    RoleChanged(Role),
    /// There is no way, or none any more.
    Failed,
}
