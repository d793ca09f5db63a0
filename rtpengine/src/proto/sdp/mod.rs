//! Session descriptions (RFC 8866): text → [`model`] by [`parse`], typed output → text by [`render()`].
//!
//! The output is generated from state; no line of the input is copied by position. What the daemon does not
//! interpret travels as text. Octets that are not UTF-8 (Latin-1 session names) are carried through losslessly:
//! [`text::decode`] maps each of them to a private character and [`text::encode`] maps it back.
//!
//! Nothing here knows calls, ports or flags, and nothing here fails or panics beyond [`SdpError`].

mod attribute;
pub mod fmtp;
pub mod inherit;
pub mod model;
mod names;
pub mod parse;
pub mod render;
pub mod text;

pub use attribute::crypto::{KeySalt, SUITES, Suite};
pub use parse::{ParseOptions, SdpError, parse};
pub use render::{AttributeEdits, MediaSectionOut, SectionBody, SessionOut, render};

/// Whether a text is the value of a candidate attribute (RFC 8839 §5.1).
pub fn is_candidate(text: &str) -> bool {
    attribute::candidate::parse(text).is_some()
}

#[cfg(test)]
mod corpus;
#[cfg(test)]
pub(crate) use corpus::corpus_directory;
#[cfg(test)]
mod identity;
