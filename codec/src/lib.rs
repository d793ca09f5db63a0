//! RTP payload formats, codecs, signal processing and the codec graph.
//!
//! Nothing here owns a socket, a file, a thread or a clock: packets and samples come in with the time
//! at which they arrived, packets and samples go out. Linked by both daemons.
//!
//! Samples are 16-bit signed, native endian, interleaved `[frame × channel]` everywhere.
#![warn(missing_docs)]

mod amr;
mod amr_payload;
pub mod coder;
pub mod def;
pub mod dtmf;
pub mod fmtp;
pub mod format;
mod framed;
pub mod g711;
mod g722;
mod g729;
pub mod graph;
mod gsm;
pub mod header_extension;
mod l16;
mod libav;
pub mod mix;
mod opus;
mod per_sample;
pub mod resample;
pub mod rtp;
pub mod sequencer;
mod shared_library;

pub use coder::{
    CodecError, Decoder, DecoderOptions, Encoder, EncoderOptions, new_decoder, new_decoder_for, new_encoder,
    packet_time_ms,
};
pub use fmtp::formats_compatible;
pub use format::PayloadFormat;
