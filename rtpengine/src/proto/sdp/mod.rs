//! Session descriptions (RFC 8866): text → [`model`] by [`parse`], model → text by the writers in `render`.
//!
//! Text is handled as `String`. Octets that are not UTF-8 (Latin-1 session names) are carried through
//! losslessly: [`text::decode`] maps such a body byte by byte to U+0000…U+00FF and `text::encode` maps it back.

pub mod model;
