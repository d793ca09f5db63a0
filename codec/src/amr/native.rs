//! The libraries that code AMR, loaded when they are there: opencore-amr and vo-amrwbenc.

use std::ffi::{CStr, c_int, c_void};
use std::ptr::NonNull;
use std::sync::LazyLock;

use super::payload::Band;
use crate::shared_library::SharedLibrary;

/// Octets of the longest frame in storage format (RFC 4867 §5.3), and some more than any version writes.
const MOST_OCTETS: usize = 128;

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

impl Band {
    fn library(self) -> Option<Library> {
        match self {
            Band::Narrow => *NARROW,
            Band::Wide => *WIDE,
        }
    }
}

/// An encoder library is there.
pub(super) fn has_encoder(band: Band) -> bool {
    band.library().is_some()
}

/// A decoder library is there.
pub(super) fn has_decoder(band: Band) -> bool {
    NATIVE_DECODERS[band as usize].is_some()
}

pub(super) struct NativeDecoder {
    library: DecoderLibrary,
    state: NonNull<c_void>,
}

// SAFETY: the state is plain memory of its owner; the libraries have none of their own.
unsafe impl Send for NativeDecoder {}

impl NativeDecoder {
    pub(super) fn open(band: Band) -> Option<Self> {
        let library = NATIVE_DECODERS[band as usize]?;
        // SAFETY: takes nothing, gives a state or null.
        let state = NonNull::new(unsafe { (library.open)() })?;
        Some(Self { library, state })
    }

    /// A frame in storage format; damaged ones and those without data are replaced by the library.
    pub(super) fn decode(&mut self, band: Band, storage: &[u8], out: &mut Vec<i16>) {
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

pub(super) struct NativeEncoder {
    library: Library,
    state: NonNull<c_void>,
    band: Band,
    discontinuous: bool,
}

// SAFETY: the state is plain memory of its owner; the libraries have none of their own.
unsafe impl Send for NativeEncoder {}

impl NativeEncoder {
    /// With `discontinuous`, noise is described now and then instead of encoded.
    pub(super) fn open(band: Band, discontinuous: bool) -> Option<Self> {
        let library = band.library()?;
        // SAFETY: takes a flag or nothing, gives a state or null.
        let state = NonNull::new(unsafe {
            match library {
                Library::Narrow { open, .. } => open(c_int::from(discontinuous)),
                Library::Wide { open, .. } => open(),
            }
        })?;
        Some(Self { library, state, band, discontinuous })
    }

    /// Appends one frame in storage format.
    pub(super) fn encode(&mut self, mode: u8, samples: &[i16], out: &mut Vec<u8>) -> Option<()> {
        let mut octets = [0; MOST_OCTETS];
        // The narrow-band library filters its input in place, whatever its header says.
        let mut speech = [0; 320];
        speech.get_mut(..samples.len())?.copy_from_slice(samples);
        if samples.len() != self.band.frame_samples() {
            return None;
        }
        let (state, mode) = (self.state.as_ptr(), c_int::from(mode));
        let (speech, octets_out) = (speech.as_mut_ptr().cast_const(), octets.as_mut_ptr());
        let dtx = self.discontinuous;
        // SAFETY: the state is open and ours, the samples are one frame that may be written to, the output has room for any frame.
        let length = unsafe {
            match self.library {
                Library::Narrow { encode, .. } => encode(state, mode, speech, octets_out, c_int::from(!dtx)),
                Library::Wide { encode, .. } => encode(state, mode, speech, octets_out, c_int::from(dtx)),
            }
        };
        out.extend_from_slice(octets.get(..usize::try_from(length).ok()?)?);
        Some(())
    }
}

impl Drop for NativeEncoder {
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
