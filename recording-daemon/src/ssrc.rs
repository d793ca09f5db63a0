//! One synchronisation source of a call: sequencing, decoding, its single output and its way into the mix.

use std::collections::HashMap;
use std::time::{Instant, SystemTime};

use codec::rtp::RtpPacket;
use codec::sequencer::Sequencer;
use codec::{Decoder, PayloadFormat};
use media_store::sink::database::OutputKind;

use crate::convert::Converter;
use crate::feed::Feed;
use crate::forward::SourcePcm;
use crate::metadata::CallInfo;
use crate::output::{AudioFormat, Budget, Contents, Finished, OutputFile};
use crate::recording::{Recording, SourceReport};
use crate::resume::{AnchorState, SingleState};
use crate::settings::OutputSettings;
use crate::timeline::{Anchor, Timeline};

/// Codecs of one source that are reported.
const MAX_CODECS: usize = 16;

/// Decoded audio of one packet.
#[derive(Debug)]
pub struct Frame {
    /// It came while recording was on.
    pub is_recorded: bool,
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

/// Which source: parties that do not know of each other may have the same SSRC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceId {
    /// Synchronisation source.
    pub ssrc: u32,
    /// Number of the participant who sends it; `None` when that is not known, or packets of one source may come from several.
    pub party: Option<u32>,
}

/// State of one SSRC of one party.
pub struct Source {
    ssrc: u32,
    stream: u32,
    sequencer: Sequencer,
    decoders: HashMap<u8, DecoderSlot>,
    single: Option<SingleOutput>,
    cannot_open: bool,
    lost: u64,
    last_packet: Option<Instant>,
    /// Wall-clock times of the first and last packet.
    seen: Option<(f64, f64)>,
    codecs: Vec<String>,
    /// Its place in the call.
    pub timeline: Timeline<Frame>,
    /// Its way into the mix.
    pub feed: Feed,
    /// Its way into the mix that is forwarded.
    pub live_feed: Feed,
    /// Its audio as it is forwarded.
    pub pcm: Option<SourcePcm>,
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
            seen: None,
            codecs: Vec::new(),
            timeline: Timeline::new(anchor),
            feed: Feed::default(),
            live_feed: Feed::default(),
            pcm: None,
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
        self.last_packet = Some(Instant::now());
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

    /// Notes when a packet came, on the wall clock.
    pub fn saw_packet_at(&mut self, time: f64) {
        let seen = self.seen.get_or_insert((time, time));
        seen.1 = seen.1.max(time);
    }

    /// Appends audio to the source's own output, which is opened when it is the first. `true` when it was.
    pub fn write_single(
        &mut self,
        settings: &OutputSettings,
        budget: &Budget,
        call: &CallInfo,
        recording: &mut Recording,
        frame: &Frame,
    ) -> bool {
        if !settings.single || self.cannot_open || frame.samples.is_empty() {
            return false;
        }
        let mut is_new = false;
        if self.single.is_none() {
            let label = call.stream_label(self.stream).to_owned();
            let party = call.stream_party(self.stream).map(|(number, _)| number);
            let contents =
                Contents { kind: OutputKind::Single, ssrc: self.ssrc, stream: self.stream, party, label };
            let format = AudioFormat {
                sample_rate: settings.sample_rate(frame.format.sample_rate),
                channels: frame.format.channels.min(settings.format.max_channels()),
            };
            match OutputFile::create(settings, budget, call, recording, &contents, format) {
                Ok(file) => {
                    self.single = Some(SingleOutput::new(file));
                    is_new = true;
                }
                Err(error) => {
                    tracing::error!(ssrc = self.ssrc, "Failed to open the output file: {error}");
                    recording.add_fault(format!(
                        "the output of SSRC {:08x} could not be opened: {error}",
                        self.ssrc
                    ));
                    self.cannot_open = true;
                }
            }
        }
        if let Some(single) = &mut self.single {
            single.append(frame);
        }
        is_new
    }

    /// Goes on with the output of an interrupted recording.
    pub fn resume_single(&mut self, file: OutputFile) {
        self.single = Some(SingleOutput::new(file));
    }

    /// Brings everything into the file. `true` when that has another name now.
    pub fn flush_single(&mut self) -> bool {
        self.single.as_mut().is_some_and(|single| single.file.flush())
    }

    /// Brings the recording's entry of the output up to date.
    pub fn describe(&self, recording: &mut Recording) {
        if let Some(single) = &self.single {
            single.file.describe(recording);
        }
    }

    /// Completes the output.
    pub fn finish(self, recording: &mut Recording, end: SystemTime) -> Option<(usize, Finished)> {
        let mut single = self.single?;
        single.flush_converter();
        Some((single.file.index(), single.file.finish(recording, end)))
    }

    /// Removes the output.
    pub fn discard(self, recording: &mut Recording) {
        if let Some(single) = self.single {
            single.file.discard(recording);
        }
    }

    /// What it sent.
    pub fn report(&self, call: &CallInfo) -> SourceReport {
        let counters = self.sequencer.counters();
        let (first, last) = self.seen.unwrap_or_default();
        SourceReport {
            ssrc: self.ssrc,
            stream: self.stream,
            party: call.stream_party(self.stream).map(|(number, _)| number),
            codecs: self.codecs.clone(),
            packets: counters.accepted,
            lost: self.lost,
            duplicates: counters.duplicates,
            first,
            last,
        }
    }

    /// Number of the stream that it came on first.
    pub fn stream(&self) -> u32 {
        self.stream
    }

    /// What the next run needs to go on.
    pub fn state(&self, party: Option<u32>) -> (Option<SingleState>, Option<AnchorState>) {
        let single = self.single.as_ref().map(|single| SingleState {
            ssrc: self.ssrc,
            stream: self.stream,
            party,
            output: single.file.index(),
        });
        let anchor = self.timeline.anchor().map(|anchor| AnchorState {
            ssrc: self.ssrc,
            stream: self.stream,
            party,
            timestamp: anchor.timestamp,
            clock_rate: anchor.clock_rate,
            time: anchor.time,
            drift_ppb: anchor.drift_ppb,
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
            let decoders = &mut self.decoders;
            let key = (self.ssrc, self.stream);
            let Some(slot) = decoder_slot(decoders, call, key, packet.payload_type, &mut self.codecs) else {
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
                        frame: Frame { is_recorded: true, format, samples },
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
    (ssrc, stream): (u32, u32),
    payload_type: u8,
    codecs: &mut Vec<String>,
) -> Option<&'a mut DecoderSlot> {
    let format = call.payload_format(stream, payload_type).unwrap_or_else(|| PayloadFormat {
        payload_type,
        name: Default::default(),
        clock_rate: 8000,
        channels: 1,
        fmtp: Default::default(),
    });
    if decoders.get(&payload_type).is_none_or(|slot| slot.format != format) {
        let decoder = new_decoder(&format, ssrc);
        let codec = codec_name(&format);
        if !codecs.contains(&codec) && codecs.len() < MAX_CODECS {
            codecs.push(codec);
        }
        decoders.insert(payload_type, DecoderSlot { format, decoder });
    }
    decoders.get_mut(&payload_type)
}

fn codec_name(format: &PayloadFormat) -> String {
    match (format.name.as_str(), format.channels) {
        ("", _) => format!("unknown ({})", format.payload_type),
        (name, 1) => format!("{name}/{}", format.clock_rate),
        (name, channels) => format!("{name}/{}/{channels}", format.clock_rate),
    }
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
    fn new(file: OutputFile) -> Self {
        Self { file, converter: None, converted: Vec::new() }
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
