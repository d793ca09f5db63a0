//! File formats that audio is written in.

pub mod wav;
