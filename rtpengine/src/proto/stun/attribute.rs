//! The attributes of connectivity checks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::MAGIC_COOKIE;
use super::message::TransactionId;

/// A type/length/value triple.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// Number of the type; below 0x8000 whoever does not know it must not go on (RFC 8489 §14).
    pub kind: u16,
    /// Without padding.
    pub value: &'a [u8],
}

/// Type numbers.
pub(crate) mod kind {
    pub const USERNAME: u16 = 0x0006;
    pub const MESSAGE_INTEGRITY: u16 = 0x0008;
    pub const ERROR_CODE: u16 = 0x0009;
    pub const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
    pub const XOR_MAPPED_ADDRESS: u16 = 0x0020;
    pub const PRIORITY: u16 = 0x0024;
    pub const USE_CANDIDATE: u16 = 0x0025;
    pub const FINGERPRINT: u16 = 0x8028;
    pub const ICE_CONTROLLED: u16 = 0x8029;
    pub const ICE_CONTROLLING: u16 = 0x802a;

    /// Types that need not be understood.
    pub const COMPREHENSION_OPTIONAL: u16 = 0x8000;
    /// Those below that that are.
    pub const KNOWN: [u16; 7] = [
        USERNAME,
        MESSAGE_INTEGRITY,
        ERROR_CODE,
        UNKNOWN_ATTRIBUTES,
        XOR_MAPPED_ADDRESS,
        PRIORITY,
        USE_CANDIDATE,
    ];
}

/// The sender's role and its number in case of a conflict (RFC 8445 §7.3.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tiebreaker {
    /// ICE-CONTROLLED
    Controlled(u64),
    /// ICE-CONTROLLING
    Controlling(u64),
}

/// Errors that a Binding request can meet (RFC 8489 §14.8, RFC 8445 §16.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// 400: no USERNAME or MESSAGE-INTEGRITY, or malformed otherwise.
    BadRequest,
    /// 401: wrong credentials.
    Unauthenticated,
    /// 420
    UnknownAttribute,
    /// 487
    RoleConflict,
    /// Any other, 300–699.
    Other(u16),
}

impl ErrorCode {
    /// The three-digit number.
    pub fn number(self) -> u16 {
        match self {
            ErrorCode::BadRequest => 400,
            ErrorCode::Unauthenticated => 401,
            ErrorCode::UnknownAttribute => 420,
            ErrorCode::RoleConflict => 487,
            ErrorCode::Other(number) => number,
        }
    }

    /// The reason phrase.
    pub fn reason(self) -> &'static str {
        match self {
            ErrorCode::BadRequest => "Bad Request",
            ErrorCode::Unauthenticated => "Unauthenticated",
            ErrorCode::UnknownAttribute => "Unknown Attribute",
            ErrorCode::RoleConflict => "Role Conflict",
            ErrorCode::Other(_) => "Error",
        }
    }

    fn from_number(number: u16) -> Option<Self> {
        const NAMED: [ErrorCode; 4] = [
            ErrorCode::BadRequest,
            ErrorCode::Unauthenticated,
            ErrorCode::UnknownAttribute,
            ErrorCode::RoleConflict,
        ];
        if !(300..700).contains(&number) {
            return None;
        }
        let named = NAMED.into_iter().find(|code| code.number() == number);
        Some(named.unwrap_or(ErrorCode::Other(number)))
    }
}

impl Attribute<'_> {
    pub(crate) fn to_u32(self) -> Option<u32> {
        Some(u32::from_be_bytes(self.value.try_into().ok()?))
    }

    pub(crate) fn to_u64(self) -> Option<u64> {
        Some(u64::from_be_bytes(self.value.try_into().ok()?))
    }

    /// ERROR-CODE
    pub(crate) fn to_error_code(self) -> Option<ErrorCode> {
        let [_, _, class, number] = *self.value.first_chunk::<4>()?;
        ErrorCode::from_number(u16::from(class & 7) * 100 + u16::from(number)).filter(|_| number < 100)
    }

    /// XOR-MAPPED-ADDRESS (RFC 8489 §14.2).
    pub(crate) fn to_xored_address(self, transaction: TransactionId) -> Option<SocketAddr> {
        let ([_, family, high, low], address) = self.value.split_first_chunk::<4>()?;
        let port = u16::from_be_bytes([*high, *low]) ^ (MAGIC_COOKIE >> 16) as u16;
        let ip: IpAddr = match family {
            1 => Ipv4Addr::from(u32::from_be_bytes(address.try_into().ok()?) ^ MAGIC_COOKIE).into(),
            2 => Ipv6Addr::from(u128::from_be_bytes(address.try_into().ok()?) ^ transaction.mask()).into(),
            _ => return None,
        };
        Some(SocketAddr::new(ip, port))
    }
}

/// The value of XOR-MAPPED-ADDRESS and its length.
pub(crate) fn xored_address(address: SocketAddr, transaction: TransactionId) -> ([u8; 20], usize) {
    let mut value = [0; 20];
    value[2..4].copy_from_slice(&(address.port() ^ (MAGIC_COOKIE >> 16) as u16).to_be_bytes());
    match address.ip() {
        IpAddr::V4(ip) => {
            value[1] = 1;
            value[4..8].copy_from_slice(&(u32::from(ip) ^ MAGIC_COOKIE).to_be_bytes());
            (value, 8)
        }
        IpAddr::V6(ip) => {
            value[1] = 2;
            value[4..].copy_from_slice(&(u128::from(ip) ^ transaction.mask()).to_be_bytes());
            (value, 20)
        }
    }
}
