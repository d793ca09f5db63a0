//! Pure negotiation: (what was offered, what was asked for, what stood before) → what to do.

pub mod codecs;
pub mod ptime;
pub mod sdp_attr;
pub mod security;
pub mod signal;
