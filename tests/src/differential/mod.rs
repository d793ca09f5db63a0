//! Compares a daemon with the reference daemon of the distribution on generated calls.
//!
//! `generate` makes calls from a seed, `run` plays each against both daemons at the same time, `canonical` brings the
//! replies into a form that can be compared, `exclusions` names what the two recorded references answer differently
//! (so that the older one is no measure), `differences` names what ours does differently on purpose, and `shrink` makes
//! a failing call small.

pub mod canonical;
pub mod dice;
pub mod differences;
pub mod exclusions;
pub mod features;
pub mod generate;
pub mod phone;
pub mod reports;
pub mod run;
pub mod shrink;
pub mod tree;
