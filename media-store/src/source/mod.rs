//! Decoded audio from a file or from memory, in whatever container and codec the media library reads.

use std::fs::File;
use std::io::{self, Cursor};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::{Arc, Once};
use std::time::Duration;

use ffmpeg_next::codec::{self, packet};
use ffmpeg_next::format::context::{Input, StreamIo};
use ffmpeg_next::software::resampling;
use ffmpeg_next::util::frame;
use ffmpeg_next::{ChannelLayout, Dictionary, Rational, decoder, format, media};

/// Where the octets are.
#[derive(Clone, Debug)]
pub enum Origin {
    /// A regular file.
    File(PathBuf),
    /// A file in memory.
    Memory(Arc<[u8]>),
}

/// Why there is no audio.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The file cannot be opened.
    #[error("cannot open {path}")]
    Open {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Neither container nor codec is known, or it is damaged.
    #[error("cannot decode: {0}")]
    Decode(#[from] ffmpeg_next::Error),
    /// The container holds no audio.
    #[error("no audio in it")]
    NoAudio,
    /// Nobody records at this rate in Hz, so the file is damaged; converting it would take minutes and gigabytes.
    #[error("audio of {0} Hz cannot be converted")]
    SampleRate(u32),
}

/// Sample rates in Hz that are converted.
const SAMPLE_RATES: RangeInclusive<u32> = 1000..=768_000;

fn check_rate(rate: u32) -> Result<(), SourceError> {
    if SAMPLE_RATES.contains(&rate) { Ok(()) } else { Err(SourceError::SampleRate(rate)) }
}

/// An open source. Samples come out as 16-bit, interleaved `[frame × channel]`, at the rate and with the channels that
/// were asked for. Calls block on the disk and on decoding: not for media threads.
pub struct AudioSource {
    origin: Origin,
    rate: u32,
    channels: u8,
    opened: Opened,
    /// Audio in front of this position (from the beginning of the stream) is thrown away.
    skip_to: Option<Duration>,
    /// Sample frames still to be thrown away.
    skip: usize,
}

struct Opened {
    input: Input,
    stream: usize,
    time_base: Rational,
    start_time: i64,
    decoder: decoder::Audio,
    resampler: Option<Resampler>,
    duration: Option<Duration>,
    state: State,
    frame: frame::Audio,
}

struct Resampler {
    context: resampling::Context,
    input: (format::Sample, ChannelLayout, u32),
    /// Channels that it makes.
    channels: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Demuxing,
    /// The decoder has been told that there is no more.
    Draining,
    Ended,
}

impl AudioSource {
    /// Opens the best audio stream. `channels` is 1 or 2, `rate` in Hz.
    pub fn open(origin: Origin, rate: u32, channels: u8) -> Result<Self, SourceError> {
        let opened = Opened::open(&origin)?;
        Ok(Self { origin, rate, channels, opened, skip_to: None, skip: 0 })
    }

    /// Length, when the container knows it.
    pub fn duration(&self) -> Option<Duration> {
        self.opened.duration
    }

    /// Goes to a position; beyond the end there is nothing to read.
    pub fn seek(&mut self, position: Duration) -> Result<(), SourceError> {
        let micros = i64::try_from(position.as_micros()).unwrap_or(i64::MAX / 4);
        let start = rescale(self.opened.start_time, self.opened.time_base, 1_000_000);
        self.skip = 0;
        if self.opened.input.seek(start.saturating_add(micros), ..).is_ok() {
            self.opened.decoder.flush();
            self.opened.resampler = None;
            self.opened.state = State::Demuxing;
        } else {
            // Not every container can be searched; all can be read from the beginning.
            self.opened = Opened::open(&self.origin)?;
        }
        self.skip_to = Some(position);
        Ok(())
    }

    /// Appends some samples; `false` at the end. Damaged packets are left out.
    pub fn read(&mut self, out: &mut Vec<i16>) -> Result<bool, SourceError> {
        let before = out.len();
        while out.len() == before {
            if self.opened.state == State::Ended {
                return Ok(false);
            }
            if self.opened.next_frame() {
                self.drop_what_was_skipped();
                self.opened.convert(self.rate, self.channels, out)?;
            } else {
                self.opened.flush_resampler(self.channels, out)?;
                self.opened.state = State::Ended;
            }
            let skipped = (self.skip * usize::from(self.channels)).min(out.len() - before);
            out.drain(before..before + skipped);
            self.skip -= skipped / usize::from(self.channels);
        }
        Ok(true)
    }

    /// Containers are searched to some packet in front of the position; the rest is counted off here.
    fn drop_what_was_skipped(&mut self) {
        let Some(position) = self.skip_to.take() else { return };
        let timestamp = self.opened.frame.timestamp().unwrap_or(self.opened.start_time);
        let start = timestamp.saturating_sub(self.opened.start_time).max(0);
        let at = rescale(start, self.opened.time_base, i64::from(self.rate));
        let wanted = (position.as_secs_f64() * f64::from(self.rate)).round() as i64;
        self.skip = usize::try_from(wanted.saturating_sub(at)).unwrap_or(0);
    }
}

impl Opened {
    fn open(origin: &Origin) -> Result<Self, SourceError> {
        initialise();
        let (io, name) = match origin {
            Origin::File(path) => {
                let open_error = |source| SourceError::Open { path: path.clone(), source };
                let file = File::open(path).map_err(open_error)?;
                // A pipe or device could make us wait for ever.
                if !file.metadata().map_err(open_error)?.is_file() {
                    return Err(open_error(io::Error::other("not a regular file")));
                }
                let extension = path.extension().and_then(|extension| extension.to_str());
                (StreamIo::from_read_seek(file)?, extension.map(|extension| format!("media.{extension}")))
            }
            Origin::Memory(octets) => (StreamIo::from_read_seek(Cursor::new(octets.clone()))?, None),
        };
        // A playlist in disguise must not make us fetch anything else.
        let mut options = Dictionary::new();
        options.set("protocol_whitelist", "none");
        let input = format::input_from_stream(io, name.as_deref(), Some(options))?;
        let stream = input.streams().best(media::Type::Audio).ok_or(SourceError::NoAudio)?;
        let time_base = stream.time_base();
        let start_time = Some(stream.start_time()).filter(|&start| start != i64::MIN).unwrap_or(0);
        let duration = Some(rescale(stream.duration(), time_base, 1_000_000))
            .filter(|&micros| stream.duration() > 0 && micros > 0)
            .or(Some(input.duration()).filter(|&micros| micros > 0))
            .and_then(|micros| u64::try_from(micros).ok())
            .map(Duration::from_micros);
        let decoder = codec::context::Context::from_parameters(stream.parameters())?.decoder().audio()?;
        // Some decoders know theirs only with the first frame.
        if decoder.rate() != 0 {
            check_rate(decoder.rate())?;
        }
        Ok(Self {
            stream: stream.index(),
            time_base,
            start_time,
            decoder,
            resampler: None,
            duration,
            state: State::Demuxing,
            frame: frame::Audio::empty(),
            input,
        })
    }

    /// Decodes the next frame; `false` when there is none.
    fn next_frame(&mut self) -> bool {
        loop {
            if self.decoder.receive_frame(&mut self.frame).is_ok() {
                return true;
            }
            if self.state != State::Demuxing {
                return false;
            }
            let mut packet = packet::Packet::empty();
            match packet.read(&mut self.input) {
                // A packet that the decoder refuses is left out.
                Ok(()) if packet.stream() == self.stream => {
                    let _ = self.decoder.send_packet(&packet);
                }
                Ok(()) | Err(ffmpeg_next::Error::InvalidData) => {}
                Err(_) => {
                    let _ = self.decoder.send_eof();
                    self.state = State::Draining;
                }
            }
        }
    }

    /// Appends the current frame in the form that was asked for.
    fn convert(&mut self, rate: u32, channels: u8, out: &mut Vec<i16>) -> Result<(), SourceError> {
        let mut layout = self.frame.channel_layout();
        if layout.is_empty() {
            layout = ChannelLayout::default(i32::from(self.decoder.channels().max(1)));
            self.frame.set_channel_layout(layout);
        }
        let input_rate = if self.frame.rate() > 0 { self.frame.rate() } else { self.decoder.rate() };
        self.frame.set_rate(input_rate);
        let input = (self.frame.format(), layout, input_rate);
        if self.resampler.as_ref().is_none_or(|resampler| resampler.input != input) {
            check_rate(input_rate)?;
            self.flush_resampler(channels, out)?;
            // One channel is doubled afterwards; the library would take its level down.
            let made = if layout.channels() == 1 { 1 } else { channels };
            let context = resampling::Context::get(
                input.0,
                input.1,
                input.2,
                SAMPLE,
                ChannelLayout::default(i32::from(made)),
                rate,
            )?;
            self.resampler = Some(Resampler { context, input, channels: made });
        }
        let Some(resampler) = &mut self.resampler else { return Ok(()) };
        let most = self.frame.samples() as u64 * u64::from(rate) / u64::from(input_rate.max(1)) + 256;
        let mut converted = empty_frame(usize::try_from(most).unwrap_or(0), resampler.channels);
        resampler.context.run(&self.frame, &mut converted)?;
        append(&converted, resampler.channels, channels, out);
        Ok(())
    }

    /// Appends what the resampler still holds.
    fn flush_resampler(&mut self, channels: u8, out: &mut Vec<i16>) -> Result<(), SourceError> {
        let Some(mut resampler) = self.resampler.take() else { return Ok(()) };
        loop {
            let mut rest = empty_frame(1024, resampler.channels);
            resampler.context.flush(&mut rest)?;
            if rest.samples() == 0 {
                return Ok(());
            }
            append(&rest, resampler.channels, channels, out);
        }
    }
}

const SAMPLE: format::Sample = format::Sample::I16(format::sample::Type::Packed);

fn empty_frame(samples: usize, channels: u8) -> frame::Audio {
    frame::Audio::new(SAMPLE, samples, ChannelLayout::default(i32::from(channels)))
}

/// Appends a frame of `has` channels as one of `wanted`, which differ only when one becomes two.
fn append(frame: &frame::Audio, has: u8, wanted: u8, out: &mut Vec<i16>) {
    let octets = frame.samples() * usize::from(has) * 2;
    let data = frame.data(0).get(..octets).unwrap_or_default();
    let copies = usize::from(wanted / has.max(1)).max(1);
    for pair in data.chunks_exact(2) {
        let sample = i16::from_ne_bytes([pair[0], pair[1]]);
        out.extend(std::iter::repeat_n(sample, copies));
    }
}

fn rescale(value: i64, base: Rational, per_second: i64) -> i64 {
    let denominator = i128::from(base.denominator()).max(1);
    let scaled = i128::from(value) * i128::from(base.numerator()) * i128::from(per_second) / denominator;
    i64::try_from(scaled).unwrap_or(i64::MAX)
}

/// The library would write to standard error.
fn initialise() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let _ = ffmpeg_next::init();
        ffmpeg_next::log::set_level(ffmpeg_next::log::Level::Quiet);
    });
}

#[cfg(test)]
mod tests;
