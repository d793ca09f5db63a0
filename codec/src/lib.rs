//! RTP payload formats, codecs, signal processing and the codec graph.
//!
//! Nothing here owns a socket, a file, a thread or a clock: packets and samples come in with the time
//! at which they arrived, packets and samples go out. Linked by both daemons.
//!
//! Samples are 16-bit signed, native endian, interleaved `[frame × channel]` everywhere.
#![warn(missing_docs)]

pub mod coder;
pub mod def;
pub mod format;
pub mod graph;
pub mod rtp;
pub mod sequencer;

pub use coder::{CodecError, Decoder, Encoder, EncoderOptions, new_decoder, new_encoder};
pub use format::PayloadFormat;
