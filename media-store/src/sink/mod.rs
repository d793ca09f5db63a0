//! Where recordings go.
//!
//! * [`file`] – output files: names that are not taken yet, directories, modes and owners.
//! * [`sqlite`] – the embedded database of recordings.

pub mod file;
pub mod sqlite;
