//! User fragments and passwords (RFC 8445 §5.3).

use std::fmt;

use rand::Rng;

/// Characters of our credentials: those ice-chars of RFC 8839 §5.4 that no quoting can hurt.
const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const UFRAG_LENGTH: usize = 8;
const PASSWORD_LENGTH: usize = 26;

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

/// The password is not for logs.
impl fmt::Debug for LocalCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalCredentials({})", self.ufrag())
    }
}

/// Credentials that a party told us.
#[derive(Clone, PartialEq, Eq)]
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

/// A foundation: 16 characters made of 96 bits.
pub(super) fn foundation(bits: u128) -> [u8; 16] {
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
