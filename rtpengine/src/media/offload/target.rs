//! What the kernel has to know about one established stream. Plain values, made by [`super::describe()`].

use std::net::SocketAddr;
use std::sync::Arc;

use super::super::plan::{StreamId, TapPlan};
use crate::proto::srtp::MasterKey;

/// One local port whose packets are forwarded below user space.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    pub stream: StreamId,
    /// Where packets come in.
    pub local: SocketAddr,
    pub source: Source,
    pub carries: Carries,
    /// RTP packets come under this key.
    pub key: Option<Arc<MasterKey>>,
    /// Copies of what is forwarded, as received and in the clear, are wanted.
    pub tap: Option<TapPlan>,
    /// Never empty.
    pub outputs: Vec<TargetOutput>,
}

/// From where packets are forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// From anywhere: learning is off and nothing is to be strict about.
    Any,
    /// From here only; those of others go up, where they may tell that the party has moved.
    Only(SocketAddr),
    /// From here only; those of others are never accepted (`strict source`) and may be dropped where they come in.
    Pinned(SocketAddr),
}

impl Target {
    /// Some of its packets are protected.
    pub fn is_secured(&self) -> bool {
        self.key.is_some() || self.outputs.iter().any(|output| output.key.is_some())
    }
}

impl Source {
    /// The one source, if there is one.
    pub fn address(self) -> Option<SocketAddr> {
        match self {
            Self::Any => None,
            Self::Only(address) | Self::Pinned(address) => Some(address),
        }
    }

    pub fn includes(self, source: SocketAddr) -> bool {
        self.address().is_none_or(|address| address == source)
    }
}

/// What is forwarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Carries {
    /// RTP with these payload types, under the SSRCs that are handed over with the target. RTCP goes up.
    Rtp(Vec<TargetFormat>),
    /// Whatever comes.
    Datagrams,
}

/// A payload type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TargetFormat {
    pub payload_type: u8,
    /// In Hz, for jitter; 0 when it is unknown.
    pub clock_rate: u32,
}

/// A party that gets the packets.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetOutput {
    pub stream: StreamId,
    /// Where they leave from.
    pub local: SocketAddr,
    pub peer: SocketAddr,
    /// (payload type that comes, payload type that leaves), where these differ.
    pub renamed: Vec<(u8, u8)>,
    /// SSRCs leave XORed with it.
    pub ssrc_mask: u32,
    /// RTP packets leave under this key.
    pub key: Option<Arc<MasterKey>>,
    /// TOS or traffic class.
    pub tos: u8,
    /// Copies of what leaves are wanted.
    pub tap: Option<TapPlan>,
}
