//! One synchronisation source of a call: sequencing, decoding, its single output and its way into the mix.

use std::collections::HashMap;
use std::time::{Instant, SystemTime};

use codec::rtp::RtpPacket;
use codec::sequencer::Sequencer;
use codec::{Decoder, PayloadFormat};
use media_store::sink::sqlite::OutputKind;

use crate::convert::Converter;
use crate::metadata::CallInfo;
use crate::mix_output::Feed;
use crate::output::{AudioFormat, CallRow, Contents, OutputFile};
use crate::resume::{AnchorState, SingleState};
use crate::settings::OutputSettings;
use crate::timeline::{Anchor, Timeline};

/// Decoded audio of one packet; empty when it is not to be written.
#[derive(Debug)]
pub struct Frame {
    /// What it is.
    pub format: AudioFormat,
    /// Interleaved samples.
    pub samples: Vec<i16>,
}

/// A decoded frame that has not been placed yet.
#[derive(Debug)]
pub struct DecodedFrame {
    /// RTP timestamp.
    pub timestamp: u32,
    /// Clock rate of the timestamp.
    pub clock_rate: u32,
    /// When it was received.
    pub arrival: Instant,
    /// The audio.
    pub frame: Frame,
}

/// State of one SSRC.
pub struct Source {
    ssrc: u32,
    stream: u32,
    sequencer: Sequencer,
    decoders: HashMap<u8, DecoderSlot>,
    single: Option<SingleOutput>,
    cannot_open: bool,
    lost: u64,
    last_packet: Option<Instant>,
    /// Its place in the call.
    pub timeline: Timeline<Frame>,
    /// Its way into the mix.
    pub feed: Feed,
}

/// What is done about packets that are missing.
#[derive(Clone, Copy)]
enum Missing {
    Awaited,
    GivenUp,
}

struct DecoderSlot {
    format: PayloadFormat,
    /// `None` when the payload type cannot or need not be decoded.
    decoder: Option<Box<dyn Decoder>>,
}

struct SingleOutput {
    file: OutputFile,
    converter: Option<Converter>,
    converted: Vec<i16>,
    contents: Contents,
}

impl Source {
    /// A source whose first packet came on a stream.
    pub fn new(ssrc: u32, stream: u32, anchor: Option<Anchor>) -> Self {
        Self {
            ssrc,
            stream,
            sequencer: Sequencer::new(),
            decoders: HashMap::new(),
            single: None,
            cannot_open: false,
            lost: 0,
            last_packet: None,
            timeline: Timeline::new(anchor),
            feed: Feed::default(),
        }
    }

    /// Takes one packet; what can be decoded now is appended to `out`, in sequence order.
    pub fn push(
        &mut self,
        call: &CallInfo,
        packet: RtpPacket<'_>,
        arrival: Instant,
        out: &mut Vec<DecodedFrame>,
    ) {
        self.last_packet = Some(arrival);
        self.sequencer.push(arrival, &packet);
        self.decode_ready(call, Missing::Awaited, out);
    }

    /// Gives up waiting for missing packets.
    pub fn flush(&mut self, call: &CallInfo, out: &mut Vec<DecodedFrame>) {
        self.decode_ready(call, Missing::GivenUp, out);
    }

    /// No packet came for a while.
    pub fn is_silent_since(&self, then: Instant) -> bool {
        self.last_packet.is_some_and(|last| last < then)
    }

    /// Appends audio to the source's own file, which is opened when it is the first.
    pub fn write_single(
        &mut self,
        settings: &OutputSettings,
        call: &CallInfo,
        row: CallRow<'_>,
        frame: &Frame,
    ) {
        if !settings.single || self.cannot_open || frame.samples.is_empty() {
            return;
        }
        if self.single.is_none() {
            let label = call.stream_label(self.stream).to_owned();
            let contents = Contents { kind: OutputKind::Single, ssrc: self.ssrc, stream: self.stream, label };
            let format = AudioFormat {
                sample_rate: settings.resample_to.unwrap_or(frame.format.sample_rate),
                channels: frame.format.channels,
            };
            match OutputFile::create(settings, call, &contents, format, row) {
                Ok(file) => self.single = Some(SingleOutput::new(file, contents)),
                Err(error) => {
                    tracing::error!(ssrc = self.ssrc, "Failed to open the output file: {error}");
                    self.cannot_open = true;
                }
            }
        }
        if let Some(single) = &mut self.single {
            single.append(frame);
        }
    }

    /// Goes on with the file of an interrupted recording.
    pub fn resume_single(&mut self, file: OutputFile, contents: Contents) {
        self.single = Some(SingleOutput::new(file, contents));
    }

    /// Brings everything into the file.
    pub fn flush_single(&mut self) {
        if let Some(single) = &mut self.single {
            single.file.flush();
        }
    }

    /// Completes the file.
    pub fn finish(self, end: SystemTime) {
        if self.lost > 0 {
            tracing::info!(ssrc = self.ssrc, "{} packets were lost on the way", self.lost);
        }
        if let Some(mut single) = self.single {
            single.flush_converter();
            single.file.finish(end);
        }
    }

    /// Removes the file.
    pub fn discard(self) {
        if let Some(single) = self.single {
            single.file.discard();
        }
    }

    /// Number of the stream that it came on first.
    pub fn stream(&self) -> u32 {
        self.stream
    }

    /// What the next run needs to go on.
    pub fn state(&self) -> (Option<SingleState>, Option<AnchorState>) {
        let single = self.single.as_ref().map(|single| SingleState {
            ssrc: self.ssrc,
            stream: self.stream,
            label: single.contents.label.clone(),
            path: single.file.path().to_owned(),
        });
        let anchor = self.timeline.anchor().map(|anchor| AnchorState {
            ssrc: self.ssrc,
            timestamp: anchor.timestamp,
            clock_rate: anchor.clock_rate,
            time: anchor.time,
        });
        (single, anchor)
    }

    fn decode_ready(&mut self, call: &CallInfo, missing: Missing, out: &mut Vec<DecodedFrame>) {
        loop {
            let next = match missing {
                Missing::Awaited => self.sequencer.pop(),
                Missing::GivenUp => self.sequencer.pop_unconditionally(),
            };
            let Some(packet) = next else { return };
            self.lost += u64::from(packet.lost_before);
            let Some(slot) = decoder_slot(&mut self.decoders, call, self.ssrc, packet.payload_type) else {
                continue;
            };
            let clock_rate = slot.format.clock_rate;
            if let Some(decoder) = &mut slot.decoder {
                let mut samples = Vec::new();
                if decoder.decode(&packet.payload, &mut samples).is_err() {
                    tracing::debug!(ssrc = self.ssrc, limit = true, "A payload could not be decoded");
                }
                if !samples.is_empty() {
                    let format = AudioFormat {
                        sample_rate: decoder.sample_rate(),
                        channels: u16::from(decoder.channels()),
                    };
                    out.push(DecodedFrame {
                        timestamp: packet.timestamp,
                        clock_rate,
                        arrival: packet.arrival,
                        frame: Frame { format, samples },
                    });
                }
            }
        }
    }
}

/// The decoder for a payload type; a new one when the call gives the type another meaning than before.
fn decoder_slot<'a>(
    decoders: &'a mut HashMap<u8, DecoderSlot>,
    call: &CallInfo,
    ssrc: u32,
    payload_type: u8,
) -> Option<&'a mut DecoderSlot> {
    let format = call.payload_format(payload_type).unwrap_or_else(|| PayloadFormat {
        payload_type,
        name: Default::default(),
        clock_rate: 8000,
        channels: 1,
        fmtp: Default::default(),
    });
    if decoders.get(&payload_type).is_none_or(|slot| slot.format != format) {
        let decoder = new_decoder(&format, ssrc);
        decoders.insert(payload_type, DecoderSlot { format, decoder });
    }
    decoders.get_mut(&payload_type)
}

/// Says once why a payload type is not decoded; companions of audio (RFC 4733, RFC 3389) are not meant to be.
fn new_decoder(format: &PayloadFormat, ssrc: u32) -> Option<Box<dyn Decoder>> {
    let payload_type = format.payload_type;
    if format.name.is_empty() {
        tracing::warn!(ssrc, "Unknown RTP payload type {payload_type}");
        return None;
    }
    if format.is_supplemental() {
        return None;
    }
    let name = &format.name;
    codec::new_decoder(format)
        .inspect_err(|error| {
            tracing::warn!(ssrc, "Cannot decode RTP payload type {payload_type} ({name}): {error}")
        })
        .ok()
}

impl SingleOutput {
    fn new(file: OutputFile, contents: Contents) -> Self {
        Self { file, converter: None, converted: Vec::new(), contents }
    }

    fn append(&mut self, frame: &Frame) {
        if frame.format == self.file.format() {
            self.flush_converter();
            return self.file.append(&frame.samples);
        }
        if self.converter.as_ref().is_none_or(|converter| converter.from() != frame.format) {
            self.flush_converter();
            self.converter = Some(Converter::new(frame.format, self.file.format()));
        }
        if let Some(converter) = &mut self.converter {
            self.converted.clear();
            converter.convert(&frame.samples, &mut self.converted);
            self.file.append(&self.converted);
        }
    }

    fn flush_converter(&mut self) {
        if let Some(mut converter) = self.converter.take() {
            self.converted.clear();
            converter.flush(&mut self.converted);
            self.file.append(&self.converted);
        }
    }
}
