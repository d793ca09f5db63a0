//! `rtpengine-recording`: turns what the relay daemon exposes into audio files.

#[allow(dead_code, reason = "used once the daemon's parts are in place")]
mod config;

fn main() {}
