//! Plays the recorded control-protocol corpus against a daemon and compares the replies.
//!
//! `scenario` reads the recordings, `pattern` matches what was random or depended on the clock, `player` starts a
//! daemon for each scenario and walks through its steps, `expected` is the checked-in list of scenarios that do not
//! pass, each with its reason, and `report` the table.

pub mod expected;
pub mod pattern;
pub mod player;
pub mod report;
pub mod scenario;

pub use player::{Target, play_all};
pub use scenario::{Scenario, load};
