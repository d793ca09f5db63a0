//! `measure-rtp`: what the relay itself sees of the packets that parties send, for parties that do not send RTCP and for those that are
//! told about nobody's reception. Loss and jitter of each incoming SSRC become a sample at every interval of generated RTCP.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use super::mos::{self, Impairments};
use super::quality::{Sample, SsrcQuality};
use super::stats::SSRC_SLOTS;
use super::stream::Stream;
use super::worker::Worker;

/// What a stream has to know from sample to sample.
pub struct Meter {
    /// The turn that counts.
    next: Option<Instant>,
    /// By slot: SSRC, packets and losses at the last sample.
    seen: [(u32, u64, u64); SSRC_SLOTS],
}

/// What was seen of an SSRC since the last sample.
struct Reception {
    position: usize,
    ssrc: u32,
    loss_percent: u8,
    jitter_us: u64,
}

impl Worker {
    /// Queues the first sample of a stream that is to be measured and is not yet.
    pub(super) fn start_measuring(&mut self, slot: u32) {
        if !self.output.rtcp.measure {
            return;
        }
        let token = self.streams.token(slot);
        let at = self.output.now.instant + self.output.rtcp.interval;
        let Some(stream) = self.streams.get_mut(slot).filter(|s| s.carries_rtp() && s.meter.is_none()) else {
            return;
        };
        stream.meter = Some(Box::new(Meter { next: Some(at), seen: stream.shared.ingress_ssrc.counts() }));
        self.output.schedule.measure(at, token);
    }

    /// Takes the samples of a stream that are due.
    pub(super) fn measure_turn(&mut self, token: u64, at: Instant) {
        let next = at.max(self.output.now.instant) + self.output.rtcp.interval;
        let Some(slot) = self.streams.resolve(token) else { return };
        let Some(stream) = self.streams.get_mut(slot) else { return };
        if stream.meter.as_ref().is_none_or(|meter| meter.next != Some(at)) {
            return;
        }
        let Some(mut meter) = stream.meter.take() else { return };
        meter.next = Some(next);
        self.sample(slot, &mut meter);
        self.output.schedule.measure(next, token);
        if let Some(stream) = self.streams.get_mut(slot) {
            stream.meter = Some(meter);
        }
    }

    fn sample(&mut self, slot: u32, meter: &mut Meter) -> Option<()> {
        let stream = self.streams.get(slot)?;
        let rtcp = self.rtcp_slot(stream.call, slot).and_then(|slot| self.streams.get(slot));
        let leg_us = rtcp.and_then(|rtcp| rtcp.reports.as_ref()).map_or(0, |reports| reports.round_trip_us());
        let totals = &self.output.totals.interface(stream.interface).quality;
        for position in 0..SSRC_SLOTS {
            let Some(reception) = meter.reception(stream, position) else { continue };
            let payload_type = stream.ingress_ssrc.payload_type(position);
            let jitter_ms = u16::try_from(reception.jitter_us / 1000).unwrap_or(u16::MAX);
            // Streams with RTCP of our own have told it in their report.
            if stream.generator.is_none() {
                totals.jitter_measured.add(jitter_ms.into());
            }
            totals.packet_loss.add(reception.loss_percent.into());
            let seen = Impairments {
                loss_percent: reception.loss_percent,
                jitter_ms,
                round_trip_us: (leg_us != 0).then_some(leg_us),
                clock_rate: Stream::clock_rate(&stream.clock_rates, payload_type),
            };
            let Some(mos) = mos::score(self.output.rtcp.mos, seen) else { continue };
            totals.mos.add(mos.into());
            let sample = Sample {
                at_s: (self.output.now.us / 1_000_000) as u32,
                mos,
                loss_percent: seen.loss_percent,
                jitter_ms,
                round_trip_us: leg_us,
                round_trip_leg_us: leg_us,
            };
            if let Some(quality) = stream.shared.quality().ingress.get(reception.position) {
                quality.get_or_init(Box::<SsrcQuality>::default).add(reception.ssrc, sample);
            }
        }
        Some(())
    }
}

impl Meter {
    /// `None` while nothing comes.
    fn reception(&mut self, stream: &Stream, position: usize) -> Option<Reception> {
        let shared = stream.shared.ingress_ssrc.get(position)?;
        let seen = self.seen.get_mut(position)?;
        let (ssrc, packets, lost) = (shared.ssrc.load(Relaxed), shared.packets.get(), shared.lost.get());
        let before = std::mem::replace(seen, (ssrc, packets, lost));
        let (packets, lost) = if before.0 == ssrc {
            (packets.saturating_sub(before.1), lost.saturating_sub(before.2))
        } else {
            (packets, lost)
        };
        let loss_percent = (lost * 100).checked_div(packets + lost).filter(|_| packets > 0)?;
        Some(Reception {
            position,
            ssrc,
            loss_percent: loss_percent.min(100) as u8,
            jitter_us: shared.jitter_us.get(),
        })
    }
}
