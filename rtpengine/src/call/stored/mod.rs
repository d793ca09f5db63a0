//! Calls as values that another instance can go on with.
//!
//! A stored call is a dictionary of the documented dictionaries and lists (`json`, `sfd-N`, `stream-N`, `tag-N`, `media-N` and their
//! relatives; N is unique in the call, all scalars are strings). What those keys cannot carry exactly is in the member `state` of
//! `json`, `tag-N` and `media-N`, as JSON text of the model's own values. Local sockets, addresses, names, keys and roll-over counters are
//! read from the documented members, the rest from the states; [`FORMAT_VERSION`] changes whenever either does, but for members that may
//! be missing and that nobody has to know.
//!
//! ```text
//! Call ──Writer──► Dict ──(persist: bencode or JSON)──► Redis ──► Dict ──Reader──► Call
//! ```
//!
//! Numbers that belong to a process (call keys, stream ids, workers, recordings) are drawn anew by whoever reads.

mod counters;
mod fields;
#[cfg(fuzzing)]
mod fuzz;
mod media;
mod read;
mod resume;
mod state;
mod write;

#[cfg(test)]
mod tests;

pub use read::{ReadCall, Reader, RestoreError, last_signal_us};
pub use write::Writer;

/// `format_version` in `json`.
pub const FORMAT_VERSION: &str = "rtpengine-rs/1";
/// "None" of numbers.
const NONE: &str = "4294967295";

#[cfg(fuzzing)]
pub use fuzz::fuzz;
