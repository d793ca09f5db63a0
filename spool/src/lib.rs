//! The contract between the two daemons: how a recorded call is announced and how its packets are framed.
//!
//! * [`metafile`] – the chunks of `<spool>/<prefix>.meta`.
//! * [`names`] – prefixes, stream names and where exposed packets are found.
//! * [`framing`] – one packet = synthetic IP header + UDP header + payload.
//! * [`exposure`] – the user-space stand-in for `/proc/rtpengine/<table>/calls/…`: sequenced-packet sockets.
//! * [`spill`] – packets that wait on disk for a reader that is away.
//!
//! Described for people in `docs/recording.md`.
#![warn(missing_docs)]

pub mod exposure;
pub mod framing;
pub mod hold;
pub mod metafile;
pub mod names;
pub mod spill;
