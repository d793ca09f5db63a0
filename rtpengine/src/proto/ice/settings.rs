//! What control says about an agent: credentials, candidates, role.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use rand::Rng;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::candidate::{Component, RemoteCandidate};

/// Candidates kept of one media; RFC 8445 §6.1.2.5 limits a check list to 100 pairs.
pub const MAX_CANDIDATES: usize = 100;

/// Characters of our credentials: those ice-chars of RFC 8839 §5.4 that no quoting can hurt.
const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const UFRAG_LENGTH: usize = 8;
const PASSWORD_LENGTH: usize = 26;

/// Who nominates (RFC 8445 §6.1.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    #[default]
    Controlled,
    Controlling,
}

/// How much of ICE an agent does (RFC 8445 §2.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    #[default]
    Full,
    /// It answers checks and sends none.
    Lite,
}

/// An agent as control wants it. The same credentials and generation mean the same agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub local: LocalCredentials,
    /// `None` until the party has described itself: checks of it are answered meanwhile.
    pub remote: Option<Arc<RemoteAgent>>,
    /// As signalled; the agents may find out that it is the other one (RFC 8445 §7.3.1.1).
    pub role: Role,
    pub mode: Mode,
    /// Differs from that of the previous settings: checks start from the beginning.
    pub generation: u32,
}

/// A local candidate: what packets are received on and sent from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Base {
    pub component: Component,
    pub address: SocketAddr,
    /// Priority of the candidate that the party was told.
    pub priority: u32,
    /// Candidates of the same local address have the same number.
    pub foundation: u8,
}

/// Position of a base in the list that the agent was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BaseId(pub u8);

/// Credentials that we chose for one media and one party.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LocalCredentials {
    ufrag: [u8; UFRAG_LENGTH],
    password: [u8; PASSWORD_LENGTH],
}

impl LocalCredentials {
    /// New ones: 47 and 154 bits, where 24 and 128 are asked for.
    pub fn generate(rng: &mut impl Rng) -> Self {
        Self { ufrag: characters(rng), password: characters(rng) }
    }

    /// The user fragment, 8 characters.
    pub fn ufrag(&self) -> &str {
        text(&self.ufrag)
    }

    /// The password, 26 characters.
    pub fn password(&self) -> &str {
        text(&self.password)
    }
}

/// Stored as text.
impl Serialize for LocalCredentials {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.ufrag(), self.password()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for LocalCredentials {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (ufrag, password) = <(String, String)>::deserialize(deserializer)?;
        let valid = |text: &str| text.bytes().all(|octet| ALPHABET.contains(&octet));
        if !valid(&ufrag) || !valid(&password) {
            return Err(D::Error::custom("credentials have other characters than ours"));
        }
        let length = |_| D::Error::custom("credentials have another length than ours");
        Ok(Self {
            ufrag: ufrag.into_bytes().try_into().map_err(length)?,
            password: password.into_bytes().try_into().map_err(length)?,
        })
    }
}

/// The password is not for logs.
impl fmt::Debug for LocalCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalCredentials({})", self.ufrag())
    }
}

/// Credentials that a party told us.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteCredentials {
    /// At most 256 octets.
    pub ufrag: String,
    /// Empty when the party gave none: then no check can be sent to it.
    pub password: String,
}

impl fmt::Debug for RemoteCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RemoteCredentials({})", self.ufrag)
    }
}

/// The agent of a party.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteAgent {
    pub credentials: RemoteCredentials,
    /// It never sends checks (RFC 8445 §2.5).
    pub lite: bool,
    /// It understands candidates that come later (RFC 8838).
    pub trickle: bool,
    pub candidates: Vec<RemoteCandidate>,
    /// It has no more candidates.
    pub end_of_candidates: bool,
}

/// 16 letters and digits made of 96 bits.
pub(crate) fn ice_characters_of(bits: u128) -> [u8; 16] {
    let mut rest = bits;
    std::array::from_fn(|_| {
        let character = ALPHABET[(rest % ALPHABET.len() as u128) as usize];
        rest /= ALPHABET.len() as u128;
        character
    })
}

fn characters<const N: usize>(rng: &mut impl Rng) -> [u8; N] {
    std::array::from_fn(|_| ALPHABET[rng.random_range(0..ALPHABET.len())])
}

fn text(octets: &[u8]) -> &str {
    std::str::from_utf8(octets).expect("the alphabet is ASCII")
}
