//! Opus (RFC 6716, payload format RFC 7587). The RTP clock is always 48 000.

use ::opus as libopus;

use libopus::{Application, Bandwidth, Bitrate, Channels};

use crate::coder::{
    CodecError, Decoder, DecoderOptions, Encoder, EncoderOptions, Family, Origin, codec_options, open_error,
    packet_time_ms,
};
use crate::def::{CodecDef, FmtpRule};
use crate::fmtp::OpusFmtp;
use crate::format::PayloadFormat;

pub(crate) const OPUS: CodecDef = CodecDef {
    name: "opus",
    clock_rate: 48_000,
    channels: 2,
    default_bitrate_bps: 32_000,
    default_fmtp: "useinbandfec=1",
    fmtp_rule: FmtpRule::Ignored,
    family: &Interactive,
    ..CodecDef::NARROWBAND
};

/// RFC 6716 §3.2.1: a packet never carries more than 120 ms.
const MAX_PACKET_MS: usize = 120;
/// Room for 120 ms at the highest bit rate (510 kbit/s).
const MAX_PACKET_OCTETS: usize = 8000;
/// Loss that the encoder prepares for when it adds error correction, in percent.
const EXPECTED_LOSS_PERCENT: i32 = 10;

#[derive(Debug)]
struct Interactive;

impl Family for Interactive {
    fn can_encode(&self) -> bool {
        true
    }

    fn can_decode(&self) -> bool {
        true
    }

    fn origin(&self) -> Origin {
        Origin { implementation: "libopus, linked in", licence: "BSD-3-Clause" }
    }

    fn new_decoder(
        &self,
        format: &PayloadFormat,
        options: &DecoderOptions,
    ) -> Result<Box<dyn Decoder>, CodecError> {
        check(format)?;
        let rate = internal_rate(options.sink_rate.unwrap_or(48_000));
        let peer_sends_stereo = OpusFmtp::parse(&format.fmtp).sprop_stereo == Some(true);
        let channels = match options.sink_channels {
            Some(1) => 1,
            _ if peer_sends_stereo => 2,
            _ => 1,
        };
        let engine =
            libopus::Decoder::new(rate, layout(channels)).map_err(|e| open_error(format, e.to_string()))?;
        Ok(Box::new(OpusDecoder { engine, rate, channels, last_frames: rate as usize / 50 }))
    }

    fn new_encoder(
        &self,
        format: &PayloadFormat,
        options: &EncoderOptions,
    ) -> Result<Box<dyn Encoder>, CodecError> {
        check(format)?;
        let peer = OpusFmtp::parse(&format.fmtp);
        let rate = internal_rate(options.source_rate.unwrap_or(48_000));
        let channels = match peer.stereo.or(peer.sprop_stereo) {
            Some(false) => 1,
            Some(true) => 2,
            None => options.source_channels.unwrap_or(1).clamp(1, 2),
        };
        let complexity = parse_complexity(format, &options.options)?;
        let mut bitrate = options.bitrate_bps.unwrap_or(OPUS.default_bitrate_bps).clamp(6000, 510_000);
        if let Some(limit) = peer.maxaveragebitrate {
            bitrate = bitrate.min(limit.max(6000));
        }
        let packet_ms = usize::from(packet_time_ms(format, options)).min(MAX_PACKET_MS) / 10 * 10;
        let packet_ms = packet_ms.max(10);
        // 10, 20, 40, 60 … ms are one Opus frame or a packet the library joins; 30, 50 … we join from 10 ms.
        let parts = if matches!(packet_ms, 10 | 20 | 40 | 60 | 80 | 100 | 120) { 1 } else { packet_ms / 10 };
        let engine = (|| {
            // Frames of 10 ms: error correction would cost more than it saves, and only frames of one mode, bandwidth and channel count
            // can be joined (RFC 6716 §3.2), so that the encoder must not choose.
            let is_short = packet_ms == 10 || parts > 1;
            let application = if is_short { Application::LowDelay } else { Application::Voip };
            let mut engine = libopus::Encoder::new(rate, layout(channels), application)?;
            if parts > 1 {
                engine.set_bandwidth(bandwidth_for(rate.min(peer.maxplaybackrate.unwrap_or(rate))))?;
                engine.set_force_channels(Some(layout(channels)))?;
            }
            engine.set_bitrate(Bitrate::Bits(bitrate as i32))?;
            if let Some(complexity) = complexity {
                engine.set_complexity(complexity)?;
            }
            if peer.useinbandfec != Some(false) {
                engine.set_inband_fec(true)?;
                engine.set_packet_loss_perc(EXPECTED_LOSS_PERCENT)?;
            }
            engine.set_vbr(peer.cbr != Some(true))?;
            engine.set_dtx(peer.usedtx == Some(true) && options.discontinuous)?;
            if let Some(bandwidth) = peer.maxplaybackrate.map(bandwidth_for) {
                engine.set_max_bandwidth(bandwidth)?;
            }
            Ok::<_, libopus::Error>(engine)
        })()
        .map_err(|e| open_error(format, e.to_string()))?;
        Ok(Box::new(OpusEncoder {
            engine,
            joiner: libopus::Repacketizer::new().map_err(|e| open_error(format, e.to_string()))?,
            rate,
            channels,
            frame_samples: rate as usize / 1000 * packet_ms,
            parts,
            is_discontinuous: peer.usedtx == Some(true) && options.discontinuous,
            scratch: vec![0; MAX_PACKET_OCTETS],
        }))
    }
}

fn check(format: &PayloadFormat) -> Result<(), CodecError> {
    if format.clock_rate != 48_000 {
        return Err(open_error(format, format!("needs clock rate 48000, got {}", format.clock_rate)));
    }
    Ok(())
}

fn layout(channels: u8) -> Channels {
    if channels == 2 { Channels::Stereo } else { Channels::Mono }
}

/// The partner's rate if Opus has it, else the next higher one.
fn internal_rate(partner_rate: u32) -> u32 {
    [8000, 12_000, 16_000, 24_000].into_iter().find(|&rate| rate >= partner_rate).unwrap_or(48_000)
}

fn bandwidth_for(playback_rate: u32) -> Bandwidth {
    match playback_rate {
        0..=8000 => Bandwidth::Narrowband,
        8001..=12_000 => Bandwidth::Mediumband,
        12_001..=16_000 => Bandwidth::Wideband,
        16_001..=24_000 => Bandwidth::Superwideband,
        _ => Bandwidth::Fullband,
    }
}

fn parse_complexity(format: &PayloadFormat, options: &str) -> Result<Option<i32>, CodecError> {
    let mut complexity = None;
    for (key, value) in codec_options(options) {
        match value.parse().ok().filter(|v| key == "complexity" && (0..=10).contains(v)) {
            Some(value) => complexity = Some(value),
            None => {
                let reason = format!("option {key}={value:?} is unknown, complexity=0…10 is right");
                return Err(open_error(format, reason));
            }
        }
    }
    Ok(complexity)
}

struct OpusDecoder {
    engine: libopus::Decoder,
    rate: u32,
    channels: u8,
    /// Samples per channel of the last packet: what one lost packet presumably held.
    last_frames: usize,
}

impl OpusDecoder {
    /// Runs the engine into the end of `out`; nothing is appended when it fails.
    fn run(&mut self, payload: &[u8], frames: usize, fec: bool, out: &mut Vec<i16>) -> Option<usize> {
        let channels = usize::from(self.channels);
        let start = out.len();
        out.resize(start + frames * channels, 0);
        let decoded = self.engine.decode(payload, &mut out[start..], fec).ok();
        out.truncate(start + decoded.unwrap_or(0) * channels);
        decoded
    }

    /// Loss is concealed in pieces of 20 ms at most (the engine wants multiples of 2.5 ms).
    fn conceal_frames(&mut self, mut frames: usize, out: &mut Vec<i16>) {
        let unit = self.rate as usize / 400;
        frames = frames / unit * unit;
        while frames > 0 {
            let piece = frames.min(unit * 8);
            if self.run(&[], piece, false, out).is_none() {
                return;
            }
            frames -= piece;
        }
    }
}

impl Decoder for OpusDecoder {
    fn sample_rate(&self) -> u32 {
        self.rate
    }

    fn channels(&self) -> u8 {
        self.channels
    }

    fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) -> Result<(), CodecError> {
        if payload.is_empty() {
            return Err(CodecError::InvalidPayload);
        }
        let most = self.rate as usize / 1000 * MAX_PACKET_MS;
        self.last_frames = self.run(payload, most, false, out).ok_or(CodecError::InvalidPayload)?;
        Ok(())
    }

    fn conceal(&mut self, frames: usize, out: &mut Vec<i16>) {
        self.conceal_frames(frames, out);
    }

    fn can_conceal(&self) -> bool {
        true
    }

    fn recover(&mut self, next: &[u8], frames: usize, out: &mut Vec<i16>) {
        let protected = self.last_frames.min(frames);
        self.conceal_frames(frames - protected, out);
        if next.is_empty() || self.run(next, protected, true, out).is_none() {
            self.conceal_frames(protected, out);
        }
    }
}

struct OpusEncoder {
    engine: libopus::Encoder,
    joiner: libopus::Repacketizer,
    rate: u32,
    channels: u8,
    frame_samples: usize,
    /// Encoder runs per packet.
    parts: usize,
    is_discontinuous: bool,
    scratch: Vec<u8>,
}

impl OpusEncoder {
    fn encode_joined(&mut self, frame: &[i16], out: &mut [u8]) -> Result<usize, libopus::Error> {
        let part_samples = frame.len() / self.parts;
        let part_octets = self.scratch.len() / self.parts;
        let mut packets = self.scratch.chunks_exact_mut(part_octets);
        let mut joined = self.joiner.begin();
        for (samples, packet) in frame.chunks_exact(part_samples).zip(&mut packets) {
            let len = self.engine.encode(samples, packet)?;
            joined.cat(&packet[..len])?;
        }
        joined.out(out)
    }
}

impl Encoder for OpusEncoder {
    fn sample_rate(&self) -> u32 {
        self.rate
    }

    fn channels(&self) -> u8 {
        self.channels
    }

    fn frame_samples(&self) -> usize {
        self.frame_samples
    }

    fn encode(&mut self, frame: &[i16], out: &mut Vec<u8>) -> Result<(), CodecError> {
        if frame.len() != self.frame_samples * usize::from(self.channels) {
            return Err(CodecError::EncodeFailed);
        }
        let start = out.len();
        out.resize(start + MAX_PACKET_OCTETS, 0);
        let encoded = if self.parts == 1 {
            self.engine.encode(frame, &mut out[start..])
        } else {
            self.encode_joined(frame, &mut out[start..])
        };
        // RFC 7587 §3.1.3: a packet of one or two octets during DTX need not be sent.
        let len = match &encoded {
            Ok(len) if self.is_discontinuous && self.parts == 1 && *len <= 2 => 0,
            Ok(len) => *len,
            Err(_) => 0,
        };
        out.truncate(start + len);
        encoded.map(|_| ()).map_err(|_| CodecError::EncodeFailed)
    }
}
