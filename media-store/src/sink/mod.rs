//! Where recordings go.
//!
//! * [`file`] – output files: names that are not taken yet, directories, modes and owners.
//! * [`database`] – rows about recordings, in SQLite or MySQL.
//! * [`http`] – requests; [`s3`] and [`gcs`] – object stores behind it; [`multipart`] – objects that grow.

pub mod database;
pub mod file;
pub mod gcs;
pub mod http;
pub mod multipart;
pub mod s3;
