//! AMR and AMR-WB (RFC 4867) through opencore-amr and vo-amrwbenc where they are installed; without them only decoders, those of libav.
//!
//! Noise frames are not made. A codec mode request of the peer is not followed: coders of the two directions do not know each other.

use std::ffi::{CStr, c_int, c_void};
use std::ptr::NonNull;
use std::sync::LazyLock;

use crate::amr_payload::{Band, Frame, Layout, pack, unpack};
use crate::coder::{
    CodecError, Decoder, DecoderOptions, Encoder, EncoderOptions, Family, open_error, packet_time_ms,
    require_clock, unsupported_encoder,
};
use crate::def::{CodecDef, FmtpRule};
use crate::fmtp::parameter;
use crate::format::PayloadFormat;
use crate::libav::{DecoderSetup, LibavDecoder, has_decoder};
use crate::shared_library::SharedLibrary;

pub(crate) const AMR: CodecDef = CodecDef {
    name: "AMR",
    min_ptime_ms: 20,
    default_bitrate_bps: 6700,
    default_fmtp: "octet-align=1;mode-change-capability=2",
    fmtp_rule: FmtpRule::Amr,
    family: &AmrFamily(Band::Narrow),
    ..CodecDef::NARROWBAND
};

pub(crate) const AMR_WB: CodecDef = CodecDef {
    name: "AMR-WB",
    clock_rate: 16_000,
    default_bitrate_bps: 14_250,
    family: &AmrFamily(Band::Wide),
    ..AMR
};

/// Frame type of a frame that was not sent.
const NO_DATA: u8 = 15;

/// Bit rates of the modes.
const NARROW_BPS: [u32; 8] = [4750, 5150, 5900, 6700, 7400, 7950, 10_200, 12_200];
const WIDE_BPS: [u32; 9] = [6600, 8850, 12_650, 14_250, 15_850, 18_250, 19_850, 23_050, 23_850];

/// Octets of the longest frame in storage format (RFC 4867 §5.3), and some more than any version writes.
const MOST_OCTETS: usize = 128;

impl Band {
    fn rate(self) -> u32 {
        match self {
            Band::Narrow => 8000,
            Band::Wide => 16_000,
        }
    }

    fn frame_samples(self) -> usize {
        self.rate() as usize / 50
    }

    fn decoder(self) -> &'static str {
        match self {
            Band::Narrow => "amrnb",
            Band::Wide => "amrwb",
        }
    }

    /// The best mode that the peer allows within the bit rate, else the lowest that it allows.
    fn mode(self, bitrate_bps: u32, fmtp: &str) -> usize {
        let rates: &[u32] = match self {
            Band::Narrow => &NARROW_BPS,
            Band::Wide => &WIDE_BPS,
        };
        let listed: Vec<usize> = parameter(fmtp, "mode-set")
            .into_iter()
            .flat_map(|list| list.split(','))
            .filter_map(|mode| mode.trim().parse().ok())
            .filter(|&mode| mode < rates.len())
            .collect();
        let allowed = |mode: &usize| listed.is_empty() || listed.contains(mode);
        let within = (0..rates.len()).rev().filter(allowed).find(|&mode| rates[mode] <= bitrate_bps);
        within.or_else(|| (0..rates.len()).find(allowed)).unwrap_or(0)
    }
}

/// The functions of an encoder library, as its header declares them.
#[derive(Clone, Copy)]
enum Library {
    Narrow {
        open: unsafe extern "C" fn(dtx: c_int) -> *mut c_void,
        encode:
            unsafe extern "C" fn(*mut c_void, mode: c_int, *const i16, *mut u8, force_speech: c_int) -> c_int,
        close: unsafe extern "C" fn(*mut c_void),
    },
    Wide {
        open: unsafe extern "C" fn() -> *mut c_void,
        encode: unsafe extern "C" fn(*mut c_void, mode: c_int, *const i16, *mut u8, dtx: c_int) -> c_int,
        close: unsafe extern "C" fn(*mut c_void),
    },
}

static NARROW: LazyLock<Option<Library>> = LazyLock::new(|| {
    let library = SharedLibrary::open(c"libopencore-amrnb.so.0")?;
    // SAFETY: the types are those of opencore-amrnb/interf_enc.h.
    unsafe {
        Some(Library::Narrow {
            open: library.function(c"Encoder_Interface_init")?,
            encode: library.function(c"Encoder_Interface_Encode")?,
            close: library.function(c"Encoder_Interface_exit")?,
        })
    }
});

static WIDE: LazyLock<Option<Library>> = LazyLock::new(|| {
    let library = SharedLibrary::open(c"libvo-amrwbenc.so.0")?;
    // SAFETY: the types are those of vo-amrwbenc/enc_if.h.
    unsafe {
        Some(Library::Wide {
            open: library.function(c"E_IF_init")?,
            encode: library.function(c"E_IF_encode")?,
            close: library.function(c"E_IF_exit")?,
        })
    }
});

/// The functions of a decoder library; those of both codecs have the same types.
#[derive(Clone, Copy)]
struct DecoderLibrary {
    open: unsafe extern "C" fn() -> *mut c_void,
    decode: unsafe extern "C" fn(*mut c_void, frame: *const u8, speech: *mut i16, bad_frame: c_int),
    close: unsafe extern "C" fn(*mut c_void),
}

impl DecoderLibrary {
    fn load(name: &CStr, [open, decode, close]: [&CStr; 3]) -> Option<Self> {
        let library = SharedLibrary::open(name)?;
        // SAFETY: the types are those of opencore-amrnb/interf_dec.h and opencore-amrwb/dec_if.h.
        unsafe {
            Some(Self {
                open: library.function(open)?,
                decode: library.function(decode)?,
                close: library.function(close)?,
            })
        }
    }
}

static NATIVE_DECODERS: LazyLock<[Option<DecoderLibrary>; 2]> = LazyLock::new(|| {
    let narrow = [c"Decoder_Interface_init", c"Decoder_Interface_Decode", c"Decoder_Interface_exit"];
    let wide = [c"D_IF_init", c"D_IF_decode", c"D_IF_exit"];
    [
        DecoderLibrary::load(c"libopencore-amrnb.so.0", narrow),
        DecoderLibrary::load(c"libopencore-amrwb.so.0", wide),
    ]
});

static DECODERS: LazyLock<[bool; 2]> =
    LazyLock::new(|| [Band::Narrow, Band::Wide].map(|band| has_decoder(band.decoder())));

#[derive(Debug)]
struct AmrFamily(Band);

impl AmrFamily {
    fn library(&self) -> Option<Library> {
        match self.0 {
            Band::Narrow => *NARROW,
            Band::Wide => *WIDE,
        }
    }

    fn layout(&self, format: &PayloadFormat) -> Result<Layout, CodecError> {
        require_clock(format, self.0.rate())?;
        Layout::from_fmtp(&format.fmtp).map_err(|reason| open_error(format, reason))
    }
}

impl Family for AmrFamily {
    fn can_encode(&self) -> bool {
        self.library().is_some()
    }

    fn can_decode(&self) -> bool {
        NATIVE_DECODERS[self.0 as usize].is_some() || DECODERS[self.0 as usize]
    }

    fn new_decoder(
        &self,
        format: &PayloadFormat,
        _: &DecoderOptions,
    ) -> Result<Box<dyn Decoder>, CodecError> {
        let layout = self.layout(format)?;
        let engine = match NativeDecoder::open(self.0) {
            Some(native) => Engine::Native(native),
            None => Engine::Libav(
                LibavDecoder::open(self.0.decoder(), DecoderSetup::new(self.0.rate()))
                    .map_err(|reason| open_error(format, reason))?,
            ),
        };
        Ok(Box::new(AmrDecoder { band: self.0, layout, engine }))
    }

    fn new_encoder(
        &self,
        format: &PayloadFormat,
        options: &EncoderOptions,
    ) -> Result<Box<dyn Encoder>, CodecError> {
        let layout = self.layout(format)?;
        if !options.options.is_empty() {
            tracing::warn!(codec = %format.name, options = options.options, "codec options without effect");
        }
        let library = self.library().ok_or_else(|| unsupported_encoder(format))?;
        let default = match self.0 {
            Band::Narrow => AMR.default_bitrate_bps,
            Band::Wide => AMR_WB.default_bitrate_bps,
        };
        // SAFETY: takes a flag or nothing, gives a state or null.
        let state = NonNull::new(unsafe {
            match library {
                Library::Narrow { open, .. } => open(0),
                Library::Wide { open, .. } => open(),
            }
        });
        Ok(Box::new(AmrEncoder {
            band: self.0,
            layout,
            mode: self.0.mode(options.bitrate_bps.unwrap_or(default), &format.fmtp) as c_int,
            frames: usize::from(packet_time_ms(format, options) / 20).max(1),
            library,
            state: state.ok_or_else(|| unsupported_encoder(format))?,
            packed: Vec::new(),
        }))
    }
}

struct AmrDecoder {
    band: Band,
    layout: Layout,
    engine: Engine,
}

enum Engine {
    Native(NativeDecoder),
    Libav(LibavDecoder),
}

impl Engine {
    fn decode(&mut self, band: Band, frame: &Frame<'_>, out: &mut Vec<i16>) -> bool {
        match self {
            Self::Native(native) => {
                native.decode(band, frame.storage, out);
                true
            }
            Self::Libav(libav) if frame.is_good_speech => libav.decode(frame.storage, out).is_ok(),
            Self::Libav(_) => {
                out.resize(out.len() + band.frame_samples(), 0);
                true
            }
        }
    }
}

struct NativeDecoder {
    library: DecoderLibrary,
    state: NonNull<c_void>,
}

// SAFETY: the state is plain memory of its owner; the libraries have none of their own.
unsafe impl Send for NativeDecoder {}

impl NativeDecoder {
    fn open(band: Band) -> Option<Self> {
        let library = NATIVE_DECODERS[band as usize]?;
        // SAFETY: takes nothing, gives a state or null.
        let state = NonNull::new(unsafe { (library.open)() })?;
        Some(Self { library, state })
    }

    /// A frame in storage format; damaged ones and those without data are replaced by the library.
    fn decode(&mut self, band: Band, storage: &[u8], out: &mut Vec<i16>) {
        // Longer than any frame, so that the library never reads behind what is there.
        let mut octets = [0; MOST_OCTETS];
        let length = storage.len().min(MOST_OCTETS);
        octets[..length].copy_from_slice(&storage[..length]);
        let is_bad = octets[0] & 4 == 0;
        let mut speech = [0; 320];
        // SAFETY: the state is open and ours, the octets are a frame of a defined type with room behind it, the samples have room for a frame
        // of either codec.
        unsafe {
            (self.library.decode)(
                self.state.as_ptr(),
                octets.as_ptr(),
                speech.as_mut_ptr(),
                c_int::from(is_bad),
            );
        }
        out.extend_from_slice(&speech[..band.frame_samples()]);
    }
}

impl Drop for NativeDecoder {
    fn drop(&mut self) {
        // SAFETY: opened by the library, closed once.
        unsafe { (self.library.close)(self.state.as_ptr()) }
    }
}

impl Decoder for AmrDecoder {
    fn sample_rate(&self) -> u32 {
        self.band.rate()
    }

    fn channels(&self) -> u8 {
        1
    }

    fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) -> Result<(), CodecError> {
        let Self { band, layout, engine } = self;
        unpack(*band, *layout, payload, |frame| engine.decode(*band, &frame, out))
            .ok_or(CodecError::InvalidPayload)
    }

    fn conceal(&mut self, frames: usize, out: &mut Vec<i16>) {
        if let Engine::Native(native) = &mut self.engine {
            for _ in 0..frames / self.band.frame_samples() {
                native.decode(self.band, &[NO_DATA << 3], out);
            }
        }
    }
}

/// Encodes a packet at a time, for its header stands in front of all frames.
struct AmrEncoder {
    band: Band,
    layout: Layout,
    mode: c_int,
    frames: usize,
    library: Library,
    state: NonNull<c_void>,
    /// Frames in storage format.
    packed: Vec<u8>,
}

// SAFETY: the state is plain memory of its owner; the libraries have none of their own.
unsafe impl Send for AmrEncoder {}

impl Encoder for AmrEncoder {
    fn sample_rate(&self) -> u32 {
        self.band.rate()
    }

    fn channels(&self) -> u8 {
        1
    }

    fn frame_samples(&self) -> usize {
        self.band.frame_samples() * self.frames
    }

    fn encode(&mut self, frame: &[i16], out: &mut Vec<u8>) -> Result<(), CodecError> {
        if frame.len() != self.frame_samples() {
            return Err(CodecError::EncodeFailed);
        }
        self.packed.clear();
        for samples in frame.chunks_exact(self.band.frame_samples()) {
            let mut octets = [0; MOST_OCTETS];
            // The narrow-band library filters its input in place, whatever its header says.
            let mut speech = [0; 320];
            speech[..samples.len()].copy_from_slice(samples);
            let (state, speech, octets_out) =
                (self.state.as_ptr(), speech.as_mut_ptr().cast_const(), octets.as_mut_ptr());
            // SAFETY: the state is open and ours, the samples are one frame that may be written to, the output has room for any frame.
            let length = unsafe {
                match self.library {
                    Library::Narrow { encode, .. } => encode(state, self.mode, speech, octets_out, 1),
                    Library::Wide { encode, .. } => encode(state, self.mode, speech, octets_out, 0),
                }
            };
            let length = usize::try_from(length).map_err(|_| CodecError::EncodeFailed)?;
            self.packed.extend_from_slice(octets.get(..length).ok_or(CodecError::EncodeFailed)?);
        }
        pack(self.band, self.layout, &self.packed, out).ok_or(CodecError::EncodeFailed)
    }
}

impl Drop for AmrEncoder {
    fn drop(&mut self) {
        // SAFETY: opened by the library, closed once.
        unsafe {
            match self.library {
                Library::Narrow { close, .. } => close(self.state.as_ptr()),
                Library::Wide { close, .. } => close(self.state.as_ptr()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mode_is_the_best_that_is_allowed() {
        let cases = [
            (Band::Narrow, 6700, "", 3),
            (Band::Narrow, 12_200, "mode-set=0,2,4", 4),
            (Band::Narrow, 6000, "mode-set=0,2,4", 2),
            (Band::Narrow, 1000, "mode-set=7,5", 5),
            (Band::Narrow, 1000, "", 0),
            (Band::Wide, 23_850, "", 8),
            (Band::Wide, 14_250, "mode-set=x", 3),
        ];
        for (band, bps, fmtp, expected) in cases {
            assert_eq!(band.mode(bps, fmtp), expected, "{band:?} {bps} {fmtp:?}");
        }
    }
}
