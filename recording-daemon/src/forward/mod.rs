//! Live copies of what is being recorded: packets through a Unix socket, audio through TCP or TLS.

mod packets;
mod pcm;

pub use packets::PacketForward;
pub use pcm::{PcmSink, SourcePcm};
