//! Speex at 8, 16 and 32 kHz (RFC 5574) through libspeex where it is installed: frames of 20 ms, a packet padded to octets.

use std::ffi::{c_char, c_int, c_void};
use std::ptr::NonNull;
use std::sync::LazyLock;

use crate::coder::{
    CodecError, Decoder, DecoderOptions, Encoder, EncoderOptions, Family, Origin, open_error, packet_time_ms,
    refuse_options, require_clock, unsupported_decoder, unsupported_encoder,
};
use crate::def::CodecDef;
use crate::format::PayloadFormat;
use crate::shared_library::SharedLibrary;

pub(crate) const SPEEX: CodecDef = CodecDef {
    name: "speex",
    clock_rate: 16_000,
    min_ptime_ms: 20,
    default_bitrate_bps: 11_000,
    family: &SpeexFamily,
    ..CodecDef::NARROWBAND
};

/// Samples of a frame at 32 kHz.
const MOST_SAMPLES: usize = 640;
/// Frames of one payload: 240 ms.
const MOST_FRAMES: usize = 12;
/// A terminator is not longer than this; less than a frame's mode follows.
const TERMINATOR_BITS: c_int = 5;
const MOST_OCTETS: usize = 1500;

/// Requests of speex.h.
const SET_BITRATE: c_int = 18;

/// The library's `SpeexBits`, which is smaller.
#[repr(C, align(16))]
struct Bits([u8; 128]);

/// The library's functions, as its headers declare them.
struct Library {
    mode: unsafe extern "C" fn(c_int) -> *const c_void,
    new_encoder: unsafe extern "C" fn(*const c_void) -> *mut c_void,
    encode: unsafe extern "C" fn(*mut c_void, *mut i16, *mut Bits) -> c_int,
    control: unsafe extern "C" fn(*mut c_void, c_int, *mut c_void) -> c_int,
    free_encoder: unsafe extern "C" fn(*mut c_void),
    new_decoder: unsafe extern "C" fn(*const c_void) -> *mut c_void,
    decode: unsafe extern "C" fn(*mut c_void, *mut Bits, *mut i16) -> c_int,
    free_decoder: unsafe extern "C" fn(*mut c_void),
    bits_init: unsafe extern "C" fn(*mut Bits),
    bits_reset: unsafe extern "C" fn(*mut Bits),
    bits_terminate: unsafe extern "C" fn(*mut Bits),
    bits_write: unsafe extern "C" fn(*mut Bits, *mut c_char, c_int) -> c_int,
    bits_read: unsafe extern "C" fn(*mut Bits, *const c_char, c_int),
    bits_remaining: unsafe extern "C" fn(*mut Bits) -> c_int,
    bits_free: unsafe extern "C" fn(*mut Bits),
}

static LIBRARY: LazyLock<Option<Library>> = LazyLock::new(|| {
    let library = SharedLibrary::open(c"libspeex.so.1")?;
    // SAFETY: the types are those of speex/speex.h and speex/speex_bits.h, version 1.
    unsafe {
        Some(Library {
            mode: library.function(c"speex_lib_get_mode")?,
            new_encoder: library.function(c"speex_encoder_init")?,
            encode: library.function(c"speex_encode_int")?,
            control: library.function(c"speex_encoder_ctl")?,
            free_encoder: library.function(c"speex_encoder_destroy")?,
            new_decoder: library.function(c"speex_decoder_init")?,
            decode: library.function(c"speex_decode_int")?,
            free_decoder: library.function(c"speex_decoder_destroy")?,
            bits_init: library.function(c"speex_bits_init")?,
            bits_reset: library.function(c"speex_bits_reset")?,
            bits_terminate: library.function(c"speex_bits_insert_terminator")?,
            bits_write: library.function(c"speex_bits_write")?,
            bits_read: library.function(c"speex_bits_read_from")?,
            bits_remaining: library.function(c"speex_bits_remaining")?,
            bits_free: library.function(c"speex_bits_destroy")?,
        })
    }
});

#[derive(Debug)]
struct SpeexFamily;

impl Family for SpeexFamily {
    fn can_encode(&self) -> bool {
        LIBRARY.is_some()
    }

    fn can_decode(&self) -> bool {
        LIBRARY.is_some()
    }

    fn origin(&self) -> Origin {
        Origin { implementation: "libspeex", licence: "BSD-3-Clause" }
    }

    fn new_decoder(
        &self,
        format: &PayloadFormat,
        _: &DecoderOptions,
    ) -> Result<Box<dyn Decoder>, CodecError> {
        let mode = mode(format)?;
        let library = LIBRARY.as_ref().ok_or_else(|| unsupported_decoder(format))?;
        // SAFETY: the mode is one of the library's, which gives a state or null.
        let state = NonNull::new(unsafe { (library.new_decoder)((library.mode)(mode)) });
        let state = state.ok_or_else(|| unsupported_decoder(format))?;
        Ok(Box::new(SpeexDecoder { library, state, bits: BitBuffer::new(library), rate: format.clock_rate }))
    }

    fn new_encoder(
        &self,
        format: &PayloadFormat,
        options: &EncoderOptions,
    ) -> Result<Box<dyn Encoder>, CodecError> {
        let mode = mode(format)?;
        refuse_options(format, options)?;
        let library = LIBRARY.as_ref().ok_or_else(|| unsupported_encoder(format))?;
        // SAFETY: as for the decoder.
        let state = NonNull::new(unsafe { (library.new_encoder)((library.mode)(mode)) });
        let state = state.ok_or_else(|| unsupported_encoder(format))?;
        let encoder = SpeexEncoder {
            library,
            state,
            bits: BitBuffer::new(library),
            rate: format.clock_rate,
            frames: usize::from(packet_time_ms(format, options) / 20).max(1),
        };
        let mut bitrate = options.bitrate_bps.unwrap_or(SPEEX.default_bitrate_bps).min(1_000_000) as c_int;
        // SAFETY: the state is open and ours; this request reads an integer.
        unsafe { (library.control)(state.as_ptr(), SET_BITRATE, (&raw mut bitrate).cast()) };
        Ok(Box::new(encoder))
    }
}

/// The library's number of the mode.
fn mode(format: &PayloadFormat) -> Result<c_int, CodecError> {
    require_clock(format, format.clock_rate)?;
    match format.clock_rate {
        8000 => Ok(0),
        16_000 => Ok(1),
        32_000 => Ok(2),
        rate => Err(open_error(format, format!("no Speex at {rate} Hz"))),
    }
}

/// The bits of a packet.
struct BitBuffer {
    library: &'static Library,
    bits: Box<Bits>,
}

impl BitBuffer {
    fn new(library: &'static Library) -> Self {
        let mut bits = Box::new(Bits([0; 128]));
        // SAFETY: there is room for the library's structure.
        unsafe { (library.bits_init)(&raw mut *bits) };
        Self { library, bits }
    }
}

impl Drop for BitBuffer {
    fn drop(&mut self) {
        // SAFETY: initialised by the library, freed once.
        unsafe { (self.library.bits_free)(&raw mut *self.bits) }
    }
}

/// The payload is a sequence of frames of modes that exist. The library says on standard error what it finds wrong, which nobody on the
/// network is to be able to make it do.
fn is_intact(payload: &[u8]) -> bool {
    /// Bits of the narrow-band modes and of the layers above, with the mode itself.
    const NARROW: [usize; 9] = [5, 43, 119, 160, 220, 300, 364, 492, 79];
    const LAYER: [usize; 5] = [4, 36, 112, 192, 352];
    let all = payload.len() * 8;
    let mut position = 0;
    let read = |position: &mut usize, count: usize| {
        let bit = |at: usize| payload.get(at / 8).map_or(0, |octet| usize::from(octet >> (7 - at % 8) & 1));
        let value = (*position..*position + count).fold(0, |value, at| value << 1 | bit(at));
        *position += count;
        value
    };
    while position + 5 <= all {
        let mut layers = 0;
        while read(&mut position, 1) == 1 {
            layers += 1;
            let Some(bits) = LAYER.get(read(&mut position, 3)) else { return false };
            position += bits - 4;
            if layers > 2 || position > all {
                return false;
            }
            if position + 5 > all {
                return true;
            }
        }
        match read(&mut position, 4) {
            15 => return true,
            // Requests within the stream.
            14 => {
                let bits = [1, 1, 4, 4, 4, 4, 4, 4, 8, 8, 16, 16, 32, 32, 64, 64];
                position += bits[read(&mut position, 4)];
            }
            13 => position += 5 + 8 * read(&mut position, 4),
            mode => match NARROW.get(mode) {
                Some(bits) => position += bits - 5,
                None => return false,
            },
        }
    }
    position <= all
}

struct SpeexDecoder {
    library: &'static Library,
    state: NonNull<c_void>,
    bits: BitBuffer,
    rate: u32,
}

// SAFETY: the state is plain memory of its owner; the library has no state of its own.
unsafe impl Send for SpeexDecoder {}

impl SpeexDecoder {
    fn frame_samples(&self) -> usize {
        self.rate as usize / 50
    }
}

impl Decoder for SpeexDecoder {
    fn sample_rate(&self) -> u32 {
        self.rate
    }

    fn channels(&self) -> u8 {
        1
    }

    fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) -> Result<(), CodecError> {
        if payload.is_empty() || payload.len() > MOST_OCTETS || !is_intact(payload) {
            return Err(CodecError::InvalidPayload);
        }
        let bits = &raw mut *self.bits.bits;
        // SAFETY: the bits are ours, the payload is as long as is said.
        unsafe { (self.library.bits_read)(bits, payload.as_ptr().cast(), payload.len() as c_int) };
        let mut samples = [0; MOST_SAMPLES];
        for frame in 0..MOST_FRAMES {
            // SAFETY: state and bits are open and ours, there is room for a frame of any mode.
            let (result, left) = unsafe {
                let result = (self.library.decode)(self.state.as_ptr(), bits, samples.as_mut_ptr());
                (result, (self.library.bits_remaining)(bits))
            };
            match result {
                0 if left >= 0 => out.extend_from_slice(&samples[..self.frame_samples()]),
                // The terminator.
                -1 if frame > 0 => break,
                _ => return Err(CodecError::InvalidPayload),
            }
            if left < TERMINATOR_BITS {
                break;
            }
        }
        Ok(())
    }

    fn conceal(&mut self, frames: usize, out: &mut Vec<i16>) {
        let mut samples = [0; MOST_SAMPLES];
        for _ in 0..frames / self.frame_samples() {
            // SAFETY: a null pointer stands for a lost frame; the rest as in `decode`.
            unsafe {
                (self.library.decode)(self.state.as_ptr(), std::ptr::null_mut(), samples.as_mut_ptr());
            }
            out.extend_from_slice(&samples[..self.frame_samples()]);
        }
    }

    fn can_conceal(&self) -> bool {
        true
    }

    /// Measured as for G.729: MOS-LQO 2.14 instead of 2.05.
    fn is_better_bridged(&self) -> bool {
        true
    }
}

impl Drop for SpeexDecoder {
    fn drop(&mut self) {
        // SAFETY: opened by the library, closed once.
        unsafe { (self.library.free_decoder)(self.state.as_ptr()) }
    }
}

/// Encodes a packet at a time, for its frames share octets.
struct SpeexEncoder {
    library: &'static Library,
    state: NonNull<c_void>,
    bits: BitBuffer,
    rate: u32,
    frames: usize,
}

// SAFETY: as for the decoder.
unsafe impl Send for SpeexEncoder {}

impl Encoder for SpeexEncoder {
    fn sample_rate(&self) -> u32 {
        self.rate
    }

    fn channels(&self) -> u8 {
        1
    }

    fn frame_samples(&self) -> usize {
        self.rate as usize / 50 * self.frames
    }

    fn encode(&mut self, frame: &[i16], out: &mut Vec<u8>) -> Result<(), CodecError> {
        if frame.len() != self.frame_samples() {
            return Err(CodecError::EncodeFailed);
        }
        let bits = &raw mut *self.bits.bits;
        let mut octets = [0_u8; MOST_OCTETS];
        // SAFETY: state and bits are open and ours; the library may write to the samples, which are a copy of one frame; the octets are
        // as many as is said.
        let length = unsafe {
            (self.library.bits_reset)(bits);
            for part in frame.chunks_exact(self.rate as usize / 50) {
                let mut samples = [0; MOST_SAMPLES];
                samples[..part.len()].copy_from_slice(part);
                (self.library.encode)(self.state.as_ptr(), samples.as_mut_ptr(), bits);
            }
            (self.library.bits_terminate)(bits);
            (self.library.bits_write)(bits, octets.as_mut_ptr().cast(), MOST_OCTETS as c_int)
        };
        let length = usize::try_from(length).map_err(|_| CodecError::EncodeFailed)?;
        out.extend_from_slice(octets.get(..length).ok_or(CodecError::EncodeFailed)?);
        Ok(())
    }
}

impl Drop for SpeexEncoder {
    fn drop(&mut self) {
        // SAFETY: opened by the library, closed once.
        unsafe { (self.library.free_encoder)(self.state.as_ptr()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_frames_of_modes_that_exist_are_intact() {
        // Mode 1 of 43 bits, terminator.
        let mut frame = vec![0x08, 0, 0, 0, 0, 0x0f];
        assert!(is_intact(&frame));
        frame[0] = 0x50;
        assert!(!is_intact(&frame), "mode 10");
        assert!(!is_intact(&[0xd0; 20]), "layer 5");
        assert!(!is_intact(&[0x18, 0]), "cut off");
        assert!(is_intact(&[0x7f]), "terminator only");
    }
}
