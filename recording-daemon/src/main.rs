//! `rtpengine-recording`: turns what the relay daemon exposes into audio files.

fn main() {}
