//! STUN (RFC 8489) as far as ICE connectivity checks need it (RFC 8445 §7): Binding requests, indications and responses with
//! short-term credentials.
//!
//! Sans-IO and without allocation but for what the caller's buffer grows by. [`Message::parse`] is a view of a datagram; what it
//! accepts is well-formed, so that the accessors need no errors. Nothing is authenticated until [`Message::verify`] said so.
//!
//! Does not do: long-term credentials, SHA-256 integrity, redirection, TURN.

mod attribute;
mod integrity;
mod message;
#[cfg(test)]
mod tests;

pub use attribute::{Attribute, ErrorCode, Tiebreaker};
pub use integrity::IntegrityKey;
pub use message::{Builder, Class, Message, StunError, TransactionId};

/// RFC 8489 §5.
pub(crate) const MAGIC_COOKIE: u32 = 0x2112_a442;
/// Type, length, magic cookie, transaction id.
pub(crate) const HEADER_OCTETS: usize = 20;
