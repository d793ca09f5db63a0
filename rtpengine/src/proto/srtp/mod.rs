//! SRTP and SRTCP (RFC 3711, 6188, 7714) with the suites of SDES: one [`Protector`] or [`Unprotector`] for each
//! direction of a stream.
//!
//! Packets are transformed in place; nothing is allocated but for a new SSRC. There is no key derivation rate
//! and no more than one master key at a time: whoever changes keys makes a new value.
//!
//! ```text
//! SRTP   header | payload*          | MKI | tag      GCM: header | payload* tag | MKI
//! SRTCP  8 octets | rest* | E index | MKI | tag      GCM: 8 octets | rest* tag | E index | MKI      * encrypted
//! ```
//!
//! **What a packet that is not authentic can change: nothing.** Roll-over counters, replay lists and the set of
//! SSRCs follow authentic packets only. An SSRC is never forgotten while the key lives, because then its packets
//! could be replayed (receiving) or its key stream be used twice (sending); so there are [`MAX_SOURCES`] at most,
//! and whoever holds the key and uses more gets [`SrtpError::TooManySources`]. Streams without authentication
//! (`UNAUTHENTICATED_SRTP`) have neither protection nor this limit: a new SSRC takes an old one's place.

mod cipher;
mod master_key;
mod protect;
mod session;
mod sources;
mod suite;
#[cfg(test)]
mod tests;
mod unprotect;
mod window;

pub use master_key::{KeyError, MAX_MKI, MasterKey, SessionParameters};
pub use protect::Protector;
pub use sources::MAX_SOURCES;
pub use suite::{CipherKind, SUITES, Suite};
pub use unprotect::Unprotector;

/// Octets by which protection makes a packet longer, at most: GCM tag, SRTCP index, key identifier.
pub const MAX_OVERHEAD: usize = 16 + 4 + MAX_MKI;

/// Why a packet was not protected or unprotected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SrtpError {
    /// Shorter than its header, tag, index and key identifier.
    #[error("packet is truncated")]
    Truncated,
    /// The tag is wrong, or the key identifier is another one.
    #[error("packet is not authentic")]
    NotAuthentic,
    /// The index was received before or is too old to tell; in sending, it was used before (RFC 3711 §9.1).
    #[error("packet index was used before")]
    Replayed,
    /// More than [`MAX_SOURCES`] SSRCs.
    #[error("too many SSRCs under one key")]
    TooManySources,
    /// All packet indices were used (RFC 3711 §9.2).
    #[error("master key has come to its end of life")]
    KeyExhausted,
    /// The buffer has no room for tag, index and key identifier.
    #[error("buffer is too short for the protected packet")]
    NoRoom,
}

/// Octets of an RTP header with CSRC list and extension (RFC 3550 §5.1, §5.3.1); `None` when the packet is shorter.
fn rtp_header_length(packet: &[u8]) -> Option<usize> {
    let first = *packet.first()?;
    let mut length = 12 + 4 * usize::from(first & 0x0f);
    if first & 0x10 != 0 {
        let extension = packet.get(length..length + 4)?;
        length += 4 + 4 * usize::from(u16::from_be_bytes([extension[2], extension[3]]));
    }
    (length <= packet.len()).then_some(length)
}

/// Octets of an SRTCP packet that are never encrypted: first header and sender SSRC.
const RTCP_CLEAR: usize = 8;
/// The flag that marks encrypted SRTCP packets.
const ENCRYPTED: u32 = 1 << 31;
