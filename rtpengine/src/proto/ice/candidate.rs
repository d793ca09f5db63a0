//! Candidates and priorities (RFC 8445 §5.1.2, §6.1.2.3).

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::settings::Role;

/// RTP and RTCP (RFC 8445 §13): nothing else has a meaning here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Component {
    Rtp = 1,
    Rtcp = 2,
}

impl Component {
    /// 0 for RTP, 1 for RTCP.
    pub fn index(self) -> usize {
        self as usize - 1
    }
}

/// How a candidate was found (RFC 8445 §5.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CandidateKind {
    Host,
    ServerReflexive,
    PeerReflexive,
    Relayed,
}

impl CandidateKind {
    /// The word after `typ`.
    pub fn name(self) -> &'static str {
        match self {
            CandidateKind::Host => "host",
            CandidateKind::ServerReflexive => "srflx",
            CandidateKind::PeerReflexive => "prflx",
            CandidateKind::Relayed => "relay",
        }
    }

    /// Type preference (RFC 8445 §5.1.2.2).
    pub fn preference(self) -> u8 {
        match self {
            CandidateKind::Host => 126,
            CandidateKind::PeerReflexive => 110,
            CandidateKind::ServerReflexive => 100,
            CandidateKind::Relayed => 0,
        }
    }

    /// The kind of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Host, Self::ServerReflexive, Self::PeerReflexive, Self::Relayed]
            .into_iter()
            .find(|kind| kind.name() == name)
    }
}

/// RFC 8445 §5.1.2.1.
pub fn priority(type_preference: u8, local_preference: u16, component: Component) -> u32 {
    (u32::from(type_preference.min(126)) << 24)
        | (u32::from(local_preference) << 8)
        | (256 - u32::from(component as u8))
}

/// The priority of a pair (RFC 8445 §6.1.2.3); `role` is that of the agent with the local candidate.
pub fn pair_priority(role: Role, local: u32, remote: u32) -> u64 {
    let (controlling, controlled) = match role {
        Role::Controlling => (local, remote),
        Role::Controlled => (remote, local),
    };
    let (low, high) = (controlling.min(controlled), controlling.max(controlled));
    (u64::from(low) << 32) + 2 * u64::from(high) + u64::from(controlling > controlled)
}

/// A candidate of the peer that we can send to: UDP with an IP address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteCandidate {
    pub foundation: String,
    pub component: Component,
    pub priority: u32,
    pub address: SocketAddr,
    pub kind: CandidateKind,
}
