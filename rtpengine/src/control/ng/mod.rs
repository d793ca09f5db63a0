//! The ng protocol.
