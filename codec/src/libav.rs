//! The only place that talks to libavcodec: mono coders of 16-bit samples with one frame and one packet each, reused.

use std::sync::Once;

use ffmpeg_next as ffmpeg;

use ffmpeg::codec::{Context, Id, packet};
use ffmpeg::format::Sample;
use ffmpeg::format::sample::Type;
use ffmpeg::util::frame::Audio;

/// Initialises the library once and keeps it from printing to stderr.
fn init() {
    static INIT: Once = Once::new();
    INIT.call_once(|| {
        if let Err(error) = ffmpeg::init() {
            tracing::error!(%error, "libav cannot be initialised");
        }
        ffmpeg::util::log::set_level(ffmpeg::util::log::Level::Quiet);
    });
}

/// The library has an encoder of that name (the lists differ between packages of the same version).
pub(crate) fn has_encoder(name: &str) -> bool {
    init();
    ffmpeg::encoder::find_by_name(name).is_some()
}

/// The library has a decoder of that name.
pub(crate) fn has_decoder(name: &str) -> bool {
    init();
    ffmpeg::decoder::find_by_name(name).is_some()
}

/// A mono encoder of 16-bit samples, which it is given as floating point if it wants that.
pub(crate) struct LibavEncoder {
    encoder: ffmpeg::codec::encoder::Audio,
    frame: Audio,
    packet: packet::Packet,
    frame_samples: usize,
    position: i64,
}

/// What an encoder is opened with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EncoderSetup {
    pub(crate) name: &'static str,
    pub(crate) sample_rate: u32,
    pub(crate) frame_samples: usize,
    /// 0: the encoder's own.
    pub(crate) bitrate_bps: u32,
    /// The encoder takes frames of any length, whatever it says about itself.
    pub(crate) any_frame: bool,
}

impl EncoderSetup {
    pub(crate) fn new(name: &'static str, sample_rate: u32, frame_samples: usize) -> Self {
        Self { name, sample_rate, frame_samples, bitrate_bps: 0, any_frame: false }
    }
}

/// What a decoder is opened with: raw formats carry none of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DecoderSetup {
    pub(crate) sample_rate: u32,
    /// 0: does not matter.
    pub(crate) bits_per_sample: u8,
    /// 0: does not matter.
    pub(crate) block_octets: u16,
}

impl DecoderSetup {
    pub(crate) fn new(sample_rate: u32) -> Self {
        Self { sample_rate, bits_per_sample: 0, block_octets: 0 }
    }
}

impl LibavEncoder {
    /// Opens an encoder.
    pub(crate) fn open(setup: EncoderSetup) -> Result<Self, String> {
        init();
        let EncoderSetup { name, sample_rate, frame_samples, .. } = setup;
        let codec = ffmpeg::encoder::find_by_name(name).ok_or("no such encoder")?;
        let mut audio = Context::new_with_codec(codec).encoder().audio().map_err(|e| e.to_string())?;
        let format = accepted_format(codec).ok_or("takes neither 16 bit nor float")?;
        audio.set_rate(sample_rate as i32);
        audio.set_format(format);
        audio.set_channel_layout(ffmpeg::ChannelLayout::MONO);
        audio.set_time_base((1, sample_rate as i32));
        if setup.bitrate_bps != 0 {
            audio.set_bit_rate(setup.bitrate_bps as usize);
        }
        // SAFETY: the context is valid and not opened yet, and nobody else has it; encoders with a free
        // frame size read this field when they are opened.
        unsafe { (*audio.as_mut_ptr()).frame_size = frame_samples as i32 };
        let mut encoder = audio.open_as(codec).map_err(|e| e.to_string())?;
        if setup.any_frame {
            // SAFETY: the context is valid and nobody else has it; this encoder looks at the samples of each frame only, the field is what
            // the library checks frames against.
            unsafe { (*encoder.as_mut_ptr()).frame_size = frame_samples as i32 };
        }
        let wanted = encoder.frame_size() as usize;
        if wanted != 0 && wanted != frame_samples {
            return Err(format!("wants frames of {wanted} samples, not {frame_samples}"));
        }
        let mut frame = Audio::new(format, frame_samples, ffmpeg::ChannelLayout::MONO);
        frame.set_rate(sample_rate);
        Ok(Self { encoder, frame, packet: packet::Packet::empty(), frame_samples, position: 0 })
    }

    pub(crate) fn frame_samples(&self) -> usize {
        self.frame_samples
    }

    /// Encodes exactly one frame and appends its octets.
    pub(crate) fn encode(&mut self, samples: &[i16], out: &mut Vec<u8>) -> Result<(), ffmpeg::Error> {
        if samples.len() != self.frame_samples {
            return Err(ffmpeg::Error::InvalidData);
        }
        // SAFETY: the frame was allocated with buffers; the library copies them only if it still holds a
        // reference of its own from the previous call.
        let writable = unsafe { ffmpeg::ffi::av_frame_make_writable(self.frame.as_mut_ptr()) };
        if writable < 0 {
            return Err(ffmpeg::Error::from(writable));
        }
        // Of one channel, planes and packed samples are the same.
        if matches!(self.frame.format(), Sample::I16(_)) {
            self.frame.plane_mut::<i16>(0)[..samples.len()].copy_from_slice(samples);
        } else {
            let scaled = samples.iter().map(|&sample| f32::from(sample) / 32_768.0);
            self.frame.plane_mut::<f32>(0).iter_mut().zip(scaled).for_each(|(to, sample)| *to = sample);
        }
        self.frame.set_pts(Some(self.position));
        self.position += samples.len() as i64;
        self.encoder.send_frame(&self.frame)?;
        while self.encoder.receive_packet(&mut self.packet).is_ok() {
            if let Some(octets) = self.packet.data() {
                out.extend_from_slice(octets);
            }
        }
        Ok(())
    }
}

/// A sample format that the encoder takes and that we can give it.
fn accepted_format(codec: ffmpeg::Codec) -> Option<Sample> {
    let Some(formats) = codec.audio().ok()?.formats() else { return Some(Sample::I16(Type::Packed)) };
    let rank = |format: &Sample| match format {
        Sample::I16(Type::Packed) => 0,
        Sample::I16(Type::Planar) => 1,
        _ => 2,
    };
    formats.filter(|format| matches!(format, Sample::I16(_) | Sample::F32(_))).min_by_key(rank)
}

/// A mono decoder to 16-bit samples.
pub(crate) struct LibavDecoder {
    decoder: ffmpeg::codec::decoder::Audio,
    frame: Audio,
}

impl LibavDecoder {
    /// Opens `name`.
    pub(crate) fn open(name: &str, setup: DecoderSetup) -> Result<Self, String> {
        init();
        let sample_rate = setup.sample_rate;
        let codec = ffmpeg::decoder::find_by_name(name).ok_or("no such decoder")?;
        let mut context = Context::new_with_codec(codec);
        // SAFETY: the context is valid and not opened yet, and nobody else has it; the decoder takes from here what raw formats do not carry.
        unsafe {
            let raw = context.as_mut_ptr();
            (*raw).sample_rate = sample_rate as i32;
            (*raw).bits_per_coded_sample = i32::from(setup.bits_per_sample);
            (*raw).block_align = i32::from(setup.block_octets);
            ffmpeg::ffi::av_channel_layout_default(&raw mut (*raw).ch_layout, 1);
        }
        let mut audio = context.decoder();
        audio.set_packet_time_base((1, sample_rate as i32));
        let mut audio = audio.open_as(codec).and_then(|opened| opened.audio()).map_err(|e| e.to_string())?;
        audio.set_channel_layout(ffmpeg::ChannelLayout::MONO);
        // Some decoders tell their format with the first frame only.
        if audio.id() == Id::None || !matches!(audio.format(), Sample::None | Sample::I16(_) | Sample::F32(_))
        {
            return Err(format!("decodes to {:?}, not to 16 bit or float", audio.format()));
        }
        Ok(Self { decoder: audio, frame: Audio::empty() })
    }

    /// Decodes one packet of the codec and appends its samples.
    pub(crate) fn decode(&mut self, octets: &[u8], out: &mut Vec<i16>) -> Result<(), ffmpeg::Error> {
        if octets.is_empty() {
            // An empty packet would mean "end of stream" to the library.
            return Err(ffmpeg::Error::InvalidData);
        }
        self.decoder.send_packet(&packet::Packet::borrow(octets))?;
        while self.decoder.receive_frame(&mut self.frame).is_ok() {
            if self.frame.channels() != 1 {
                continue;
            }
            match self.frame.format() {
                Sample::I16(_) => out.extend_from_slice(self.frame.plane::<i16>(0)),
                Sample::F32(_) => {
                    // Saturates.
                    out.extend(self.frame.plane::<f32>(0).iter().map(|sample| (sample * 32_768.0) as i16));
                }
                _ => {}
            }
        }
        Ok(())
    }
}
