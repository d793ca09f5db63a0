//! Candidates: those of the peer as types, our own as lines.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smol_str::ToSmolStr;

use crate::proto::ice::{CandidateKind, Component, RemoteCandidate, ice_characters_of, priority};
use crate::proto::sdp::model::Candidate;

impl RemoteCandidate {
    /// `None` for what cannot be used: TCP, host names (mDNS), unknown types and components, unspecified addresses, port 0.
    pub fn from_sdp(candidate: &Candidate) -> Option<Self> {
        if !candidate.transport.eq_ignore_ascii_case("udp") || candidate.port == 0 {
            return None;
        }
        let address: IpAddr = candidate.address.parse().ok()?;
        if address.is_unspecified() || address.is_multicast() || candidate.foundation.len() > 32 {
            return None;
        }
        Some(Self {
            foundation: candidate.foundation.to_string(),
            component: match candidate.component {
                1 => Component::Rtp,
                2 => Component::Rtcp,
                _ => return None,
            },
            priority: u32::try_from(candidate.priority).ok().filter(|p| (1..1 << 31).contains(p))?,
            address: SocketAddr::new(address, candidate.port),
            kind: CandidateKind::from_name(&candidate.kind)?,
        })
    }
}

/// Foundations of local addresses: the same as long as the daemon runs, and not to be guessed.
#[derive(Debug, Default)]
pub struct Foundations {
    keys: [RandomState; 2],
}

impl Foundations {
    /// The foundation of a local address.
    pub fn of(&self, local: IpAddr) -> Foundation {
        let [high, low] = &self.keys;
        Foundation(ice_characters_of(
            u128::from(high.hash_one(local)) << 64 | u128::from(low.hash_one(local)),
        ))
    }
}

/// 16 letters and digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Foundation([u8; 16]);

/// Stored as text.
impl Serialize for Foundation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Foundation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let octets: [u8; 16] =
            text.into_bytes().try_into().map_err(|_| D::Error::custom("not 16 characters"))?;
        if octets.iter().all(u8::is_ascii_alphanumeric) {
            Ok(Self(octets))
        } else {
            Err(D::Error::custom("no foundation"))
        }
    }
}

impl fmt::Display for Foundation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| fmt::Write::write_char(f, char::from(*octet)))
    }
}

/// One local address with its ports, in the order of preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalEndpoint {
    pub foundation: Foundation,
    /// What the peer is told.
    pub address: IpAddr,
    pub rtp: u16,
    /// `None`: RTCP is multiplexed.
    pub rtcp: Option<u16>,
}

/// What our candidates are to rank against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ranking<'a> {
    /// Ours are the only ones.
    Sole,
    /// They stand beside the host candidates of whoever is passed through, and are to come after these.
    Below(&'a [Candidate]),
    /// They are relayed candidates beside others.
    Relay,
}

/// Our candidates, all addresses of a component together (as the reference prints them).
pub fn local_candidates(endpoints: &[LocalEndpoint], ranking: Ranking<'_>) -> Vec<Candidate> {
    let kind = if ranking == Ranking::Relay { CandidateKind::Relayed } else { CandidateKind::Host };
    let first = match ranking {
        Ranking::Sole | Ranking::Relay => (kind.preference(), u16::MAX),
        Ranking::Below(theirs) => below(theirs, endpoints.len()),
    };
    let mut lines = Vec::with_capacity(endpoints.len() * 2);
    for component in [Component::Rtp, Component::Rtcp] {
        for (number, endpoint) in (0u16..).zip(endpoints) {
            let port = match component {
                Component::Rtp => endpoint.rtp,
                Component::Rtcp => match endpoint.rtcp {
                    Some(port) => port,
                    None => continue,
                },
            };
            let address = endpoint.address.to_string();
            lines.push(Candidate {
                foundation: endpoint.foundation.to_smolstr(),
                component: component as u32,
                transport: "UDP".into(),
                priority: priority(first.0, first.1.saturating_sub(number), component).into(),
                related: (kind != CandidateKind::Host).then(|| (address.clone().into(), port)),
                address: address.into(),
                port,
                kind: kind.name().into(),
            });
        }
    }
    lines
}

/// Type and local preference that come after every host candidate of the other side, with room for `count` addresses.
fn below(theirs: &[Candidate], count: usize) -> (u8, u16) {
    let lowest = theirs
        .iter()
        .filter(|candidate| candidate.component == 1 && candidate.kind == CandidateKind::Host.name())
        .map(|candidate| u8::try_from(candidate.priority >> 24).unwrap_or(u8::MAX))
        .min();
    match lowest {
        None => (CandidateKind::Host.preference(), u16::MAX),
        Some(lowest) => {
            let room = u16::try_from(count.saturating_sub(1)).unwrap_or(u16::MAX);
            (lowest.saturating_sub(1).min(CandidateKind::Host.preference()), room)
        }
    }
}
