//! Pure negotiation: (what was offered, what was asked for, what stood before) → what to do.

pub mod bundle;
pub mod codecs;
pub mod ice;
pub mod ptime;
pub mod sdp_attr;
pub mod security;
pub mod signal;
pub mod t38;
