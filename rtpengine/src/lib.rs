//! The relay daemon: signalling comes in through [`control`], becomes plans in [`call`] and [`negotiate`],
//! and packets flow through [`media`]. A module imports only from the ones below it.

/// Version of the product.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

pub mod doctor;
pub mod services;

pub mod handover;

pub mod control;

pub mod persist;

pub mod call;

pub mod statistics;

pub mod play;
pub mod record;

pub mod negotiate;

pub mod media;

pub mod config;
pub mod proto;

pub mod netfilter;

pub mod allocator;
mod prefetch;
