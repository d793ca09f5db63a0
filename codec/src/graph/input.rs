//! The first half of a transcoder: from payloads to samples, gaps filled.

use std::time::Instant;

use super::clock::Clock;
use super::packetiser::{Gap, Packetiser};
use super::{DtxSettings, Emit, TranscodePlan};
use crate::coder::new_decoder_for;
use crate::comfort_noise::NoiseGenerator;
use crate::plc::Concealment;
use crate::resample::{Resampler, convert_channels};
use crate::sequencer::SequencedPacket;
use crate::{CodecError, Decoder, DecoderOptions};

/// From payload to samples in the encoder's rate and channels, with the source's clock.
pub(super) struct Input {
    pub(super) plan: TranscodePlan,
    pub(super) decoder: Box<dyn Decoder>,
    resampler: Resampler,
    sink_channels: u8,
    pub(super) clock: Clock,
    decoded: Vec<i16>,
    /// What was decoded of the packet behind a loss while that is being replaced.
    behind: Vec<i16>,
    mixed: Vec<i16>,
    /// Samples per channel of the last good packet.
    packet_frames: usize,
    /// For a decoder that cannot replace what is lost.
    concealment: Option<Concealment>,
    noise: NoiseGenerator,
    /// Nobody is to hear what is decoded.
    pub(super) silent: bool,
}

impl Input {
    pub(super) fn new(plan: &TranscodePlan, packetiser: &Packetiser) -> Result<Self, CodecError> {
        let (rate, channels) = packetiser.input_format();
        Self::for_format(plan, rate, channels)
    }

    pub(super) fn for_format(plan: &TranscodePlan, rate: u32, channels: u8) -> Result<Self, CodecError> {
        let options = DecoderOptions { sink_rate: Some(rate), sink_channels: Some(channels) };
        let decoder = new_decoder_for(&plan.source, &options)?;
        let resampler = Resampler::new(decoder.sample_rate(), rate, channels).map_err(|error| {
            CodecError::Open { name: plan.source.name.text().clone(), reason: error.to_string() }
        })?;
        let concealment = (!decoder.can_conceal() || decoder.is_better_bridged())
            .then(|| Concealment::new(decoder.sample_rate(), decoder.channels()));
        Ok(Self {
            plan: plan.clone(),
            concealment,
            noise: NoiseGenerator::default(),
            silent: false,
            decoder,
            resampler,
            sink_channels: channels,
            clock: Clock::new(plan.source.clock_rate),
            decoded: Vec::new(),
            behind: Vec::new(),
            mixed: Vec::new(),
            packet_frames: 0,
        })
    }

    /// Ticks from the end of what was decoded to a packet.
    pub(super) fn ticks_ahead(&self, timestamp: u32, now: Instant) -> u32 {
        self.clock.ahead(timestamp, now, self.packet_ticks().0)
    }

    /// Moves the source's clock to a packet and gives the gap before it in ticks.
    pub(super) fn follow(&mut self, timestamp: u32, now: Instant) -> u32 {
        self.clock.follow(timestamp, now, self.packet_ticks().0)
    }

    /// Decodes the payload of a packet behind a gap, so that what was lost can be joined with it; gives the samples per channel.
    pub(super) fn decode_behind(
        &mut self,
        gap: u32,
        packet: &SequencedPacket,
        packetiser: &mut Packetiser,
        now: Instant,
        emit: Emit<'_>,
    ) -> Result<usize, CodecError> {
        let is_loss = self.lost_frames(gap, packet).is_some();
        if !is_loss || self.concealment.is_none() {
            self.fill_gap(gap, packet, packetiser, now, emit);
            return self.decode(&packet.payload, packetiser);
        }
        self.behind.clear();
        let result = self.decoder.decode(&packet.payload, &mut self.behind);
        self.fill_gap(gap, packet, packetiser, now, emit);
        self.decoded.clear();
        self.decoded.append(&mut self.behind);
        let frames = self.take_decoded(packetiser);
        result?;
        self.packet_frames = frames;
        Ok(frames)
    }

    /// Samples per channel of a gap that is to be filled: a loss of up to an eighth of a second.
    fn lost_frames(&self, gap: u32, packet: &SequencedPacket) -> Option<usize> {
        let lost_ticks = self.ticks(self.packet_frames) * u64::from(packet.lost_before);
        let rate = u64::from(self.decoder.sample_rate());
        let frames = u64::from(gap) * rate / u64::from(self.clock_rate());
        (gap > 0 && u64::from(gap) <= lost_ticks && frames <= rate / 8).then_some(frames as usize)
    }

    /// What was lost is replaced; the rest of the gap only moves the clock.
    pub(super) fn fill_gap(
        &mut self,
        gap: u32,
        packet: &SequencedPacket,
        packetiser: &mut Packetiser,
        now: Instant,
        emit: Emit<'_>,
    ) {
        if gap == 0 {
            return;
        }
        let mut gap = Gap {
            ticks: u64::from(gap),
            lost_ticks: self.ticks(self.packet_frames) * u64::from(packet.lost_before),
            clock_rate: self.clock_rate(),
        };
        if let Some(frames) = self.lost_frames(gap.ticks as u32, packet) {
            self.decoded.clear();
            match &mut self.concealment {
                Some(concealment) => concealment.bridge(frames, &self.behind, &mut self.decoded),
                None => self.decoder.recover(&packet.payload, frames, &mut self.decoded),
            }
            let replaced = self.ticks(self.decoded.len() / usize::from(self.decoder.channels()));
            self.convert(packetiser);
            packetiser.drain(now, emit);
            gap.ticks = gap.ticks.saturating_sub(replaced);
        }
        packetiser.advance(gap, now, emit);
    }

    /// Decodes into the packetiser's queue; gives the samples per channel.
    pub(super) fn decode(
        &mut self,
        payload: &[u8],
        packetiser: &mut Packetiser,
    ) -> Result<usize, CodecError> {
        self.decoded.clear();
        let result = self.decoder.decode(payload, &mut self.decoded);
        let frames = self.take_decoded(packetiser);
        result?;
        self.packet_frames = frames;
        Ok(frames)
    }

    /// Decodes what nobody is to hear, for the sake of the decoder's state.
    pub(super) fn decode_unheard(
        &mut self,
        payload: &[u8],
        packetiser: &mut Packetiser,
    ) -> Result<(), CodecError> {
        let (clock, queued) = (self.clock, packetiser.queue().len());
        let result = self.decode(payload, packetiser);
        self.clock = clock;
        packetiser.queue().truncate(queued);
        result.map(|_| ())
    }

    /// Puts noise into the packetiser's queue; gives the samples per channel.
    pub(super) fn make_noise(&mut self, payload: &[u8], packetiser: &mut Packetiser) -> Option<usize> {
        self.noise.describe(payload)?;
        let frames = if self.packet_frames == 0 {
            self.decoder.sample_rate() as usize / 50
        } else {
            self.packet_frames
        };
        self.decoded.clear();
        self.noise.generate(frames * usize::from(self.decoder.channels()), &mut self.decoded);
        Some(self.take_decoded(packetiser))
    }

    /// A packet time, as far as is known, in ticks of the source's clock, and that clock.
    pub(super) fn packet_ticks(&self) -> (u32, u32) {
        let clock_rate = self.clock_rate();
        match self.ticks(self.packet_frames) as u32 {
            0 => (clock_rate / 50, clock_rate),
            ticks => (ticks, clock_rate),
        }
    }

    /// Puts into the packetiser's queue what stands for a packet that was not sent.
    pub(super) fn fill_in(&mut self, settings: &DtxSettings, packetiser: &mut Packetiser) -> usize {
        let rate = self.decoder.sample_rate() as usize;
        let frames = if self.packet_frames == 0 { rate / 50 } else { self.packet_frames };
        let values = frames * usize::from(self.decoder.channels());
        let is_native = match self.plan.source.name.get(..3) {
            Some(name) if name.eq_ignore_ascii_case("AMR") => settings.native_amr,
            Some(name) if name.eq_ignore_ascii_case("EVS") => settings.native_evs,
            _ => true,
        };
        self.decoded.clear();
        if self.decoder.can_conceal() && is_native {
            self.decoder.conceal(frames, &mut self.decoded);
        } else if let Some(noise) = &settings.noise
            && self.noise.describe(noise).is_some()
        {
            self.noise.generate(values, &mut self.decoded);
        }
        self.decoded.resize(values, 0);
        self.take_decoded(packetiser)
    }

    /// Moves the clock over what was decoded and the samples into the packetiser's queue.
    pub(super) fn take_decoded(&mut self, packetiser: &mut Packetiser) -> usize {
        let frames = self.decoded.len() / usize::from(self.decoder.channels());
        let ticks = self.ticks(frames) as u32;
        if self.silent {
            // Before it is remembered: what is lost right behind must not be replaced with it.
            self.decoded.fill(0);
        }
        self.clock.advance(ticks);
        if let Some(concealment) = &mut self.concealment {
            concealment.heard(&mut self.decoded);
        }
        self.convert(packetiser);
        frames
    }

    pub(super) fn convert(&mut self, packetiser: &mut Packetiser) {
        if self.silent {
            self.decoded.fill(0);
        }
        let channels = self.decoder.channels();
        if channels == self.sink_channels {
            self.resampler.push(&self.decoded, packetiser.queue());
        } else {
            self.mixed.clear();
            convert_channels(&self.decoded, channels, self.sink_channels, &mut self.mixed);
            self.resampler.push(&self.mixed, packetiser.queue());
        }
    }

    pub(super) fn ticks(&self, frames: usize) -> u64 {
        frames as u64 * u64::from(self.clock_rate()) / u64::from(self.decoder.sample_rate().max(1))
    }

    pub(super) fn clock_rate(&self) -> u32 {
        self.clock.rate()
    }
}
