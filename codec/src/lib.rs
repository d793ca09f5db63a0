//! RTP payload formats, codecs, signal processing and the codec graph.
//!
//! Nothing here owns a socket, a file, a thread or a clock: packets and samples come in with the time
//! at which they arrived, packets and samples go out. Linked by both daemons.
//!
//! Samples are 16-bit signed, native endian, interleaved `[frame × channel]` everywhere.
#![warn(missing_docs)]

mod amr;
pub mod catalogue;
pub mod coder;
pub mod comfort_noise;
pub mod def;
pub mod dtmf;
mod evrc;
pub mod evs;
pub mod fmtp;
pub mod format;
mod framed;
pub mod g711;
mod g722;
mod g723;
mod g726;
mod g729;
pub mod graph;
mod gsm;
pub mod header_extension;
mod ilbc;
pub mod jitter;
mod l16;
mod libav;
pub mod mix;
mod music;
mod opus;
mod pace;
mod pcm_u8;
mod per_sample;
pub mod plc;
mod qcelp;
pub mod resample;
pub mod rtp;
pub mod self_test;
pub mod sequencer;
mod shared_library;
mod speex;
pub mod t38;

pub use coder::{
    CodecError, Decoder, DecoderOptions, Encoder, EncoderOptions, Feedback, Origin, new_decoder,
    new_decoder_for, new_encoder, packet_time_ms,
};
pub use fmtp::formats_compatible;
pub use format::{EncodingName, PayloadFormat};
