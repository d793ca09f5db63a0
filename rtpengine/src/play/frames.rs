//! Where a player's frames come from.

use std::time::Duration;

use super::encode::FrameMaker;
use super::encodings::Reader;
use crate::media::plan::PlayerFrame;

/// Frames for one listener.
pub(super) enum Frames {
    /// From an encoder of its own.
    Own(Box<FrameMaker>),
    /// From one that others use as well.
    Shared(Reader),
}

impl Frames {
    /// Play time of one packet.
    pub fn packet_time(&self) -> Duration {
        match self {
            Frames::Own(maker) => maker.packet_time(),
            Frames::Shared(reader) => reader.packet_time(),
        }
    }

    /// The next frame and its position in the source in ms; `None` at the end.
    pub fn next(&mut self) -> Option<(PlayerFrame, u64)> {
        match self {
            Frames::Own(maker) => maker.next(),
            Frames::Shared(reader) => reader.next(),
        }
    }
}
