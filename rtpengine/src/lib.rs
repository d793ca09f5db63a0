//! The relay daemon: signalling comes in through [`control`], becomes plans in [`call`] and [`negotiate`],
//! and packets flow through [`media`]. A module imports only from the ones below it.

pub mod control;

pub mod call;

pub mod persist;
pub mod play;
pub mod record;
pub mod report;

pub mod negotiate;

pub mod media;

pub mod config;
pub mod proto;
