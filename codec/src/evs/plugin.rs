//! The library that codes EVS, which the operator brings: the interface of `codec/include/rtpengine_evs.h`, version 1.
//!
//! A library is taken only after it has shown that it has the right version and makes frames of the right sizes.

use std::ffi::{CStr, CString, c_char, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::{NonNull, null, null_mut};
use std::sync::OnceLock;

use super::payload::{Kind, NO_DATA, SPEECH_LOST};
use super::rate::{Mode, PRIMARY_BPS};
use crate::shared_library::SharedLibrary;

const ABI_VERSION: u32 = 1;
const MOST_OCTETS: usize = 320;
/// Samples of 20 ms at 48 000 Hz.
pub(super) const MOST_SAMPLES: usize = 960;
const CHANNEL_AWARE: u32 = 1;
const USES_LATER: u32 = 2;

/// `struct rtpengine_evs_frame`
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) mode: u8,
    pub(super) frame_type: u8,
    pub(super) good: u8,
    reserved: u8,
    pub(super) bits: u32,
    pub(super) data: [u8; MOST_OCTETS],
}

impl Frame {
    /// One without bits.
    pub(super) const fn empty(is_io: bool, frame_type: u8) -> Self {
        Self { mode: is_io as u8, frame_type, good: 1, reserved: 0, bits: 0, data: [0; MOST_OCTETS] }
    }

    /// Takes the first `bits` of `octets`, which are not fewer.
    pub(super) fn fill(&mut self, bits: u16, octets: &[u8]) -> Option<()> {
        let length = usize::from(bits).div_ceil(8);
        let data = self.data.get_mut(..length)?;
        data.copy_from_slice(octets.get(..length)?);
        if let (Some(last), rest @ 1..) = (data.last_mut(), bits % 8) {
            *last &= 0xff << (8 - rest);
        }
        self.bits = u32::from(bits);
        Some(())
    }

    /// The octets that hold its bits.
    pub(super) fn octets(&self) -> &[u8] {
        self.data.get(..self.bits.div_ceil(8) as usize).unwrap_or_default()
    }
}

/// `struct rtpengine_evs_request`
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct Request {
    bit_rate: u32,
    mode: u8,
    bandwidth: u8,
    aware_offset: u8,
    aware_indicator: u8,
}

impl From<Mode> for Request {
    fn from(mode: Mode) -> Self {
        let (bit_rate, aware) = (mode.bit_rate_bps(), mode.aware());
        Self {
            bit_rate,
            mode: u8::from(matches!(mode, Mode::Io(_))),
            bandwidth: mode.bandwidth() as u8,
            aware_offset: aware.map_or(0, |aware| aware.offset),
            aware_indicator: aware.map_or(0, |aware| u8::from(aware.many_errors)),
        }
    }
}

/// `struct rtpengine_evs_plugin`; functions may be null until they were looked at.
#[repr(C)]
struct Table {
    abi_version: u32,
    size: u32,
    name: *const c_char,
    licence: *const c_char,
    features: u32,
    reserved: u32,
    encoder_open: Option<unsafe extern "C" fn(u32, u32, *mut *mut c_void) -> i32>,
    encoder_encode: Option<unsafe extern "C" fn(*mut c_void, *const Request, *const i16, *mut Frame) -> i32>,
    encoder_close: Option<unsafe extern "C" fn(*mut c_void)>,
    decoder_open: Option<unsafe extern "C" fn(u32, *mut *mut c_void) -> i32>,
    decoder_decode:
        Option<unsafe extern "C" fn(*mut c_void, *const Frame, *const Frame, u32, *mut i16) -> i32>,
    decoder_close: Option<unsafe extern "C" fn(*mut c_void)>,
}

/// A library that has passed.
pub(super) struct Plugin {
    /// What it calls itself, in characters that need no escaping anywhere.
    pub(super) name: &'static str,
    /// Likewise.
    pub(super) licence: &'static str,
    /// The encoder makes frames of the channel-aware mode.
    pub(super) is_channel_aware: bool,
    uses_later: bool,
    encoder_open: unsafe extern "C" fn(u32, u32, *mut *mut c_void) -> i32,
    encoder_encode: unsafe extern "C" fn(*mut c_void, *const Request, *const i16, *mut Frame) -> i32,
    encoder_close: unsafe extern "C" fn(*mut c_void),
    decoder_open: unsafe extern "C" fn(u32, *mut *mut c_void) -> i32,
    decoder_decode: unsafe extern "C" fn(*mut c_void, *const Frame, *const Frame, u32, *mut i16) -> i32,
    decoder_close: unsafe extern "C" fn(*mut c_void),
}

/// Why a library is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PluginError {
    /// The dynamic linker's words.
    #[error("{0}")]
    NotLoaded(String),
    /// It is no library of this kind, or one for another version.
    #[error("it has no function rtpengine_evs_plugin_v1")]
    NoEntry,
    /// Its own refusal.
    #[error("it says that it cannot work here")]
    Refused,
    /// It was built with another header.
    #[error("it has version {version} of the interface in {size} octets, {ABI_VERSION} in {} is right", size_of::<Table>())]
    Version {
        /// `abi_version`
        version: u32,
        /// `size`
        size: u32,
    },
    /// A function or a text is null.
    #[error("its table has no {0}")]
    Incomplete(&'static str),
    /// It does not do what it has to.
    #[error("it fails its self-test: {0}")]
    SelfTest(String),
    /// There is one already.
    #[error("another one is in use")]
    Twice,
}

static PLUGIN: OnceLock<Plugin> = OnceLock::new();

/// The library in use.
pub(super) fn plugin() -> Option<&'static Plugin> {
    PLUGIN.get()
}

/// Loads the library that codes EVS from now on; its name. To be called before anybody asks what EVS can do: `--codecs` and the self-test
/// keep what they find.
///
/// # Errors
/// When there is no such library or it does not do what it has to. EVS is not coded then.
pub fn load(path: &Path) -> Result<&'static str, PluginError> {
    let path = CString::new(path.as_os_str().as_bytes())
        .map_err(|_| PluginError::NotLoaded("its name has a null octet".into()))?;
    let library = SharedLibrary::open_file(&path).map_err(PluginError::NotLoaded)?;
    // SAFETY: the type is that of the header.
    let entry: unsafe extern "C" fn() -> *const Table =
        unsafe { library.function(c"rtpengine_evs_plugin_v1") }.ok_or(PluginError::NoEntry)?;
    // SAFETY: a function without arguments, as the header declares it.
    let table = unsafe { entry() };
    let found = Plugin::from_table(table)?;
    found.examine().map_err(PluginError::SelfTest)?;
    let name = found.name;
    PLUGIN.set(found).map_err(|_| PluginError::Twice)?;
    Ok(name)
}

impl Plugin {
    fn from_table(table: *const Table) -> Result<Self, PluginError> {
        let table = NonNull::new(table.cast_mut()).ok_or(PluginError::Refused)?.as_ptr();
        // SAFETY: every version of the table begins with these two numbers, and the table is there for as long as the process.
        let (version, size) =
            unsafe { ((&raw const (*table).abi_version).read(), (&raw const (*table).size).read()) };
        if version != ABI_VERSION || (size as usize) < size_of::<Table>() {
            return Err(PluginError::Version { version, size });
        }
        // SAFETY: it has the right version and is not shorter than it should be.
        let table = unsafe { &*table };
        let text = |text: *const c_char, what| {
            if text.is_null() {
                return Err(PluginError::Incomplete(what));
            }
            // SAFETY: a C string that stays, says the header.
            let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
            let is_plain = |c: &char| c.is_ascii_alphanumeric() || " .,:;-_+/()".contains(*c);
            Ok(&*text.chars().filter(is_plain).take(100).collect::<String>().leak())
        };
        let missing = PluginError::Incomplete;
        Ok(Self {
            name: text(table.name, "name")?,
            licence: text(table.licence, "licence")?,
            is_channel_aware: table.features & CHANNEL_AWARE != 0,
            uses_later: table.features & USES_LATER != 0,
            encoder_open: table.encoder_open.ok_or(missing("encoder_open"))?,
            encoder_encode: table.encoder_encode.ok_or(missing("encoder_encode"))?,
            encoder_close: table.encoder_close.ok_or(missing("encoder_close"))?,
            decoder_open: table.decoder_open.ok_or(missing("decoder_open"))?,
            decoder_decode: table.decoder_decode.ok_or(missing("decoder_decode"))?,
            decoder_close: table.decoder_close.ok_or(missing("decoder_close"))?,
        })
    }

    /// Every bit rate makes frames of its size, which every sample rate can be decoded to.
    fn examine(&self) -> Result<(), String> {
        let failed = |what: String| move || what;
        for bandwidth in super::rate::Bandwidth::ALL {
            let rate = bandwidth.sample_rate();
            let state = |what| failed(format!("no {what} for {rate} Hz"));
            let mut encoder = EncoderState::open_of(self, rate, false).ok_or_else(state("encoder"))?;
            let mut decoder = DecoderState::open_of(self, rate).ok_or_else(state("decoder"))?;
            let primary = (0..PRIMARY_BPS.len() as u8).filter(|rate| bandwidth.rates().contains(rate));
            let modes = primary.map(|rate| Mode::Primary { rate, bandwidth, aware: None });
            let silence = [0; MOST_SAMPLES];
            let mut samples = Vec::with_capacity(MOST_SAMPLES);
            for mode in modes.chain((0..9).map(Mode::Io)) {
                let what = |did: &str| format!("{did} {mode:?} at {rate} Hz");
                let silence = &silence[..rate as usize / 50];
                let frame = encoder.encode(mode, silence).ok_or_else(failed(what("cannot encode")))?;
                let right = match mode {
                    // Of variable rate.
                    Mode::Primary { rate: 0, .. } => {
                        (0..3).map(Kind::primary).any(|kind| Kind::of(&frame) == Some(kind))
                    }
                    Mode::Primary { rate, .. } => Kind::of(&frame) == Some(Kind::primary(rate)),
                    Mode::Io(mode) => Kind::of(&frame) == Some(Kind::io(mode)),
                };
                if !right {
                    let (mode, frame_type) = (frame.mode, frame.frame_type);
                    return Err(what(&format!("made a frame of type {frame_type} in mode {mode} for")));
                }
                for frame in [frame, Frame::empty(false, SPEECH_LOST), Frame::empty(false, NO_DATA)] {
                    decoder.decode(&frame, None, &mut samples).ok_or_else(failed(what("cannot decode")))?;
                    samples.clear();
                }
            }
        }
        Ok(())
    }
}

/// An encoder of the library.
pub(super) struct EncoderState {
    encode: unsafe extern "C" fn(*mut c_void, *const Request, *const i16, *mut Frame) -> i32,
    close: unsafe extern "C" fn(*mut c_void),
    state: NonNull<c_void>,
    frame_samples: usize,
}

// SAFETY: the header says that a coder may go from thread to thread.
unsafe impl Send for EncoderState {}

impl EncoderState {
    /// For samples of 8000, 16 000, 32 000 or 48 000 Hz.
    pub(super) fn open(sample_rate: u32, discontinuous: bool) -> Option<Self> {
        Self::open_of(plugin()?, sample_rate, discontinuous)
    }

    fn open_of(plugin: &Plugin, sample_rate: u32, discontinuous: bool) -> Option<Self> {
        let mut state = null_mut();
        // SAFETY: the types are those of the header, the pointer has room for the result.
        let result = unsafe { (plugin.encoder_open)(sample_rate, u32::from(discontinuous), &raw mut state) };
        let state = NonNull::new(state).filter(|_| result >= 0)?;
        let frame_samples = sample_rate as usize / 50;
        Some(Self { encode: plugin.encoder_encode, close: plugin.encoder_close, state, frame_samples })
    }

    /// A frame of a size that fits its type; `None` also when there is not one frame of samples.
    pub(super) fn encode(&mut self, mode: Mode, samples: &[i16]) -> Option<Frame> {
        if samples.len() != self.frame_samples {
            return None;
        }
        let request = Request::from(mode);
        let mut frame = Frame::empty(false, 0);
        // SAFETY: the state is open and ours, the samples are one frame of its rate, request and frame are of the header's types.
        let result = unsafe {
            (self.encode)(self.state.as_ptr(), &raw const request, samples.as_ptr(), &raw mut frame)
        };
        let is_right = Kind::of(&frame)?.bits()? == u16::try_from(frame.bits).ok()?;
        frame.good = 1;
        (result >= 0 && is_right).then_some(frame)
    }
}

impl Drop for EncoderState {
    fn drop(&mut self) {
        // SAFETY: opened by the library, closed once.
        unsafe { (self.close)(self.state.as_ptr()) }
    }
}

/// A decoder of the library.
pub(super) struct DecoderState {
    decode: unsafe extern "C" fn(*mut c_void, *const Frame, *const Frame, u32, *mut i16) -> i32,
    close: unsafe extern "C" fn(*mut c_void),
    state: NonNull<c_void>,
    frame_samples: usize,
    /// Later frames help with lost ones.
    pub(super) uses_later: bool,
}

// SAFETY: as for the encoder.
unsafe impl Send for DecoderState {}

impl DecoderState {
    /// That gives samples of 8000, 16 000, 32 000 or 48 000 Hz.
    pub(super) fn open(sample_rate: u32) -> Option<Self> {
        Self::open_of(plugin()?, sample_rate)
    }

    fn open_of(plugin: &Plugin, sample_rate: u32) -> Option<Self> {
        let mut state = null_mut();
        // SAFETY: the types are those of the header, the pointer has room for the result.
        let result = unsafe { (plugin.decoder_open)(sample_rate, &raw mut state) };
        let state = NonNull::new(state).filter(|_| result >= 0)?;
        Some(Self {
            decode: plugin.decoder_decode,
            close: plugin.decoder_close,
            state,
            frame_samples: sample_rate as usize / 50,
            uses_later: plugin.uses_later,
        })
    }

    /// Appends the samples of a frame; `later` is a frame behind a lost one, with its distance. `None` when the library fails.
    pub(super) fn decode(
        &mut self,
        frame: &Frame,
        later: Option<(&Frame, u32)>,
        out: &mut Vec<i16>,
    ) -> Option<()> {
        let later = later.filter(|_| self.uses_later);
        let (later, distance) = later.map_or((null(), 0), |(later, distance)| (&raw const *later, distance));
        let mut samples = [0; MOST_SAMPLES];
        // SAFETY: the state is open and ours, the frames are of the header's type or null where it allows that, the samples have room for a
        // frame of the highest rate.
        let result =
            unsafe { (self.decode)(self.state.as_ptr(), frame, later, distance, samples.as_mut_ptr()) };
        out.extend_from_slice(samples.get(..self.frame_samples).filter(|_| result >= 0)?);
        Some(())
    }
}

impl Drop for DecoderState {
    fn drop(&mut self) {
        // SAFETY: opened by the library, closed once.
        unsafe { (self.close)(self.state.as_ptr()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_that_of_the_header() {
        assert_eq!((size_of::<Frame>(), std::mem::offset_of!(Frame, data)), (328, 8));
        assert_eq!(size_of::<Request>(), 8);
        assert_eq!((size_of::<Table>(), std::mem::offset_of!(Table, encoder_open)), (80, 32));
    }

    #[test]
    fn what_is_no_such_library_is_refused() {
        for (file, expected) in [("/nowhere/evs.so", "/nowhere/evs.so"), ("/dev/null", "/dev/null")] {
            let reason = load(Path::new(file)).unwrap_err().to_string();
            assert!(reason.contains(expected), "{reason}");
        }
        assert_eq!(load(Path::new("libc.so.6")), Err(PluginError::NoEntry));
        assert_eq!(Plugin::from_table(null()).err(), Some(PluginError::Refused));
    }
}
