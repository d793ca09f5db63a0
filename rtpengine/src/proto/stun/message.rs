//! Messages: a checked view of a datagram, and how to write one.

use std::net::SocketAddr;

use thiserror::Error;

use super::attribute::{Attribute, ErrorCode, Tiebreaker, kind, xored_address};
use super::integrity::{IntegrityKey, TAG_OCTETS, fingerprint};
use super::{HEADER_OCTETS, MAGIC_COOKIE};

/// The Binding method (RFC 8489 §18.2), the only one here.
const BINDING: u16 = 0x001;
/// Type and length in front of a value.
const PREFIX_OCTETS: usize = 4;

/// Why a datagram is not a message for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StunError {
    /// Not STUN at all: too short, first bits or magic cookie wrong.
    #[error("not a STUN message")]
    NotStun,
    /// The header length is not that of the datagram, or not a multiple of four.
    #[error("STUN length does not fit the datagram")]
    Length,
    /// An attribute does not fit into the message.
    #[error("STUN attribute does not fit the message")]
    Attribute,
    /// Another method than Binding.
    #[error("unknown STUN method")]
    Method,
    /// FINGERPRINT is wrong, or not the last attribute.
    #[error("wrong STUN fingerprint")]
    Fingerprint,
}

/// What kind of message it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Wants a response.
    Request,
    /// Does not (keep-alives).
    Indication,
    /// Success response.
    Success,
    /// Error response.
    Error,
}

impl Class {
    /// The two class bits at their places in the message type (RFC 8489 §5).
    fn bits(self) -> u16 {
        match self {
            Class::Request => 0x000,
            Class::Indication => 0x010,
            Class::Success => 0x100,
            Class::Error => 0x110,
        }
    }

    fn from_bits(message_type: u16) -> Self {
        match message_type & 0x110 {
            0x000 => Class::Request,
            0x010 => Class::Indication,
            0x100 => Class::Success,
            _ => Class::Error,
        }
    }
}

/// Ties a response to its request: 96 random bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TransactionId(pub [u8; 12]);

impl TransactionId {
    /// What an IPv6 address is masked with: magic cookie and transaction id.
    pub(crate) fn mask(self) -> u128 {
        let low = self.0.iter().fold(0u128, |mask, octet| mask << 8 | u128::from(*octet));
        u128::from(MAGIC_COOKIE) << 96 | low
    }
}

/// A well-formed Binding message in a datagram.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    octets: &'a [u8],
    class: Class,
    transaction: TransactionId,
    /// Where MESSAGE-INTEGRITY begins; what comes behind it does not count (RFC 8489 §14.5).
    integrity_at: Option<usize>,
}

impl<'a> Message<'a> {
    /// Checks form and fingerprint of a datagram. Cost is linear in its length.
    ///
    /// # Errors
    /// See [`StunError`]; `NotStun` means that another protocol may be tried.
    pub fn parse(octets: &'a [u8]) -> Result<Self, StunError> {
        let (header, rest) = octets.split_first_chunk::<HEADER_OCTETS>().ok_or(StunError::NotStun)?;
        let [type_high, type_low, length_high, length_low, cookie @ .., _, _, _, _, _, _, _, _, _, _, _, _] =
            *header;
        let message_type = u16::from_be_bytes([type_high, type_low]);
        if message_type & 0xc000 != 0 || cookie != MAGIC_COOKIE.to_be_bytes() {
            return Err(StunError::NotStun);
        }
        let length = usize::from(u16::from_be_bytes([length_high, length_low]));
        if length != rest.len() || !length.is_multiple_of(4) {
            return Err(StunError::Length);
        }
        if message_type & !0x110 != BINDING {
            return Err(StunError::Method);
        }
        let mut transaction = [0; 12];
        transaction.copy_from_slice(&header[8..]);
        let mut integrity_at = None;
        let mut attributes = Attributes { octets, at: HEADER_OCTETS };
        while let Some((at, attribute)) = attributes.next_at()? {
            match attribute.kind {
                kind::MESSAGE_INTEGRITY if attribute.value.len() == TAG_OCTETS => {
                    integrity_at = integrity_at.or(Some(at));
                }
                kind::MESSAGE_INTEGRITY => return Err(StunError::Attribute),
                kind::FINGERPRINT => {
                    let before = octets.get(..at).unwrap_or_default();
                    if attribute.to_u32() != Some(fingerprint(before)) || attributes.at != octets.len() {
                        return Err(StunError::Fingerprint);
                    }
                }
                _ => {}
            }
        }
        let transaction = TransactionId(transaction);
        Ok(Self { octets, class: Class::from_bits(message_type), transaction, integrity_at })
    }

    /// Request, indication or response.
    pub fn class(&self) -> Class {
        self.class
    }

    /// The transaction id.
    pub fn transaction(&self) -> TransactionId {
        self.transaction
    }

    /// The message has MESSAGE-INTEGRITY, and it was made with this key.
    pub fn verify(&self, key: &IntegrityKey) -> bool {
        let Some(at) = self.integrity_at else { return false };
        let tag = self.octets.get(at + PREFIX_OCTETS..at + PREFIX_OCTETS + TAG_OCTETS);
        let length = u16::try_from(at + PREFIX_OCTETS + TAG_OCTETS - HEADER_OCTETS).unwrap_or(u16::MAX);
        match (self.octets.get(..at), tag) {
            (Some(before), Some(tag)) => key.is_tag(length, before, tag),
            _ => false,
        }
    }

    /// There is a MESSAGE-INTEGRITY attribute.
    pub fn has_integrity(&self) -> bool {
        self.integrity_at.is_some()
    }

    /// The attributes that count: those before MESSAGE-INTEGRITY, or all if there is none.
    pub fn attributes(&self) -> impl Iterator<Item = Attribute<'a>> {
        let end = self.integrity_at.unwrap_or(self.octets.len());
        let mut attributes =
            Attributes { octets: self.octets.get(..end).unwrap_or_default(), at: HEADER_OCTETS };
        std::iter::from_fn(move || attributes.next_at().ok().flatten().map(|(_, attribute)| attribute))
    }

    /// USERNAME: `<user fragment of the receiver>:<that of the sender>` (RFC 8445 §7.2.2).
    pub fn username(&self) -> Option<&'a str> {
        std::str::from_utf8(self.first(kind::USERNAME)?.value).ok()
    }

    /// PRIORITY
    pub fn priority(&self) -> Option<u32> {
        self.first(kind::PRIORITY)?.to_u32()
    }

    /// USE-CANDIDATE: the pair is nominated.
    pub fn use_candidate(&self) -> bool {
        self.first(kind::USE_CANDIDATE).is_some()
    }

    /// ICE-CONTROLLED or ICE-CONTROLLING.
    pub fn tiebreaker(&self) -> Option<Tiebreaker> {
        let controlled = || Some(Tiebreaker::Controlled(self.first(kind::ICE_CONTROLLED)?.to_u64()?));
        let controlling = || Some(Tiebreaker::Controlling(self.first(kind::ICE_CONTROLLING)?.to_u64()?));
        controlled().or_else(controlling)
    }

    /// XOR-MAPPED-ADDRESS: where the request came from, as its receiver saw it.
    pub fn mapped_address(&self) -> Option<SocketAddr> {
        self.first(kind::XOR_MAPPED_ADDRESS)?.to_xored_address(self.transaction)
    }

    /// ERROR-CODE
    pub fn error_code(&self) -> Option<ErrorCode> {
        self.first(kind::ERROR_CODE)?.to_error_code()
    }

    /// Types that must be understood and are not: a request with any is answered with 420 (RFC 8489 §6.3.1).
    pub fn unknown_attributes(&self) -> impl Iterator<Item = u16> {
        self.attributes()
            .map(|attribute| attribute.kind)
            .filter(|number| *number < kind::COMPREHENSION_OPTIONAL && !kind::KNOWN.contains(number))
    }

    fn first(&self, wanted: u16) -> Option<Attribute<'a>> {
        self.attributes().find(|attribute| attribute.kind == wanted)
    }
}

/// Walks the attributes of a message.
struct Attributes<'a> {
    octets: &'a [u8],
    at: usize,
}

impl<'a> Attributes<'a> {
    /// The next attribute and where it begins.
    fn next_at(&mut self) -> Result<Option<(usize, Attribute<'a>)>, StunError> {
        let at = self.at;
        let rest = self.octets.get(at..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(None);
        }
        let ([kind_high, kind_low, length_high, length_low], values) =
            rest.split_first_chunk::<PREFIX_OCTETS>().ok_or(StunError::Attribute)?;
        let length = usize::from(u16::from_be_bytes([*length_high, *length_low]));
        let padded = length.next_multiple_of(4);
        if padded > values.len() {
            return Err(StunError::Attribute);
        }
        let value = values.get(..length).ok_or(StunError::Attribute)?;
        self.at = at + PREFIX_OCTETS + padded;
        Ok(Some((at, Attribute { kind: u16::from_be_bytes([*kind_high, *kind_low]), value })))
    }
}

/// Writes a message into a buffer of the caller, which is cleared first. 576 octets of capacity are enough for any check.
///
/// Attributes come in the order of the calls; [`Builder::finish`] closes the message.
pub struct Builder<'b> {
    buffer: &'b mut Vec<u8>,
    transaction: TransactionId,
}

impl<'b> Builder<'b> {
    /// Begins a Binding message.
    pub fn new(buffer: &'b mut Vec<u8>, class: Class, transaction: TransactionId) -> Self {
        buffer.clear();
        buffer.extend_from_slice(&(BINDING | class.bits()).to_be_bytes());
        buffer.extend_from_slice(&[0, 0]);
        buffer.extend_from_slice(&MAGIC_COOKIE.to_be_bytes());
        buffer.extend_from_slice(&transaction.0);
        Self { buffer, transaction }
    }

    /// USERNAME, `<user fragment of the receiver>:<our own>`; at most 513 octets (RFC 8489 §14.3), the rest is cut off.
    pub fn username(mut self, receiver: &str, own: &str) -> Self {
        let mut value = [receiver.as_bytes(), b":", own.as_bytes()].concat();
        value.truncate(513);
        self.attribute(kind::USERNAME, &value);
        self
    }

    /// PRIORITY
    pub fn priority(mut self, priority: u32) -> Self {
        self.attribute(kind::PRIORITY, &priority.to_be_bytes());
        self
    }

    /// USE-CANDIDATE
    pub fn use_candidate(mut self) -> Self {
        self.attribute(kind::USE_CANDIDATE, &[]);
        self
    }

    /// ICE-CONTROLLED or ICE-CONTROLLING
    pub fn tiebreaker(mut self, tiebreaker: Tiebreaker) -> Self {
        let (kind, number) = match tiebreaker {
            Tiebreaker::Controlled(number) => (kind::ICE_CONTROLLED, number),
            Tiebreaker::Controlling(number) => (kind::ICE_CONTROLLING, number),
        };
        self.attribute(kind, &number.to_be_bytes());
        self
    }

    /// XOR-MAPPED-ADDRESS
    pub fn mapped_address(mut self, address: SocketAddr) -> Self {
        let (value, length) = xored_address(address, self.transaction);
        self.attribute(kind::XOR_MAPPED_ADDRESS, &value[..length]);
        self
    }

    /// ERROR-CODE with its reason phrase.
    pub fn error_code(mut self, code: ErrorCode) -> Self {
        let number = code.number().min(699);
        let mut value = vec![0, 0, (number / 100) as u8, (number % 100) as u8];
        value.extend_from_slice(code.reason().as_bytes());
        self.attribute(kind::ERROR_CODE, &value);
        self
    }

    /// UNKNOWN-ATTRIBUTES, at most 64 of them.
    pub fn unknown_attributes(mut self, kinds: impl Iterator<Item = u16>) -> Self {
        let value: Vec<u8> = kinds.take(64).flat_map(u16::to_be_bytes).collect();
        self.attribute(kind::UNKNOWN_ATTRIBUTES, &value);
        self
    }

    /// Closes the message: MESSAGE-INTEGRITY, if there is a key, then FINGERPRINT.
    pub fn finish(mut self, key: Option<&IntegrityKey>) {
        if let Some(key) = key {
            let length = self.length() + (PREFIX_OCTETS + TAG_OCTETS) as u16;
            let tag = key.tag(length, self.buffer);
            self.attribute(kind::MESSAGE_INTEGRITY, &tag);
        }
        self.set_length(self.length() + 8);
        let sum = fingerprint(self.buffer);
        self.attribute(kind::FINGERPRINT, &sum.to_be_bytes());
    }

    /// Callers see to it that values are short: all of them are bounded.
    fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.buffer.extend_from_slice(&kind.to_be_bytes());
        self.buffer.extend_from_slice(&(value.len() as u16).to_be_bytes());
        self.buffer.extend_from_slice(value);
        self.buffer.resize(self.buffer.len().next_multiple_of(4), 0);
        self.set_length(self.length());
    }

    fn length(&self) -> u16 {
        (self.buffer.len() - HEADER_OCTETS) as u16
    }

    fn set_length(&mut self, length: u16) {
        self.buffer[2..4].copy_from_slice(&length.to_be_bytes());
    }
}
