//! Where media comes from and where it goes: containers, files and databases. Knows nothing of RTP.
//!
//! * [`container`] – file formats.
//! * [`database`] – media by number from MySQL or SQLite.
//! * [`fetch`] – how others are asked for media.
//! * [`http`] – media by URL.
//! * [`library`] – what is kept in memory and on disk.
//! * [`sink`] – files and databases that recordings are written to.
//! * [`source`] – decoded audio from files and memory.
#![warn(missing_docs)]

pub mod container;
pub mod database;
pub mod fetch;
pub mod http;
pub mod library;
pub mod sink;
pub mod source;
