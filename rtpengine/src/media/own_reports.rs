//! RTCP of our own (`generate RTCP`): for each SSRC that a party is sent a sender report with blocks about what the party sends, and a
//! source description; a party that sends only gets receiver reports. RTCP of other parties does not reach it then.
//!
//! A stream that generates nothing pays one comparison per RTCP packet, and nothing per RTP packet.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use rand::Rng;
use smol_str::SmolStr;

use super::reports::Reports;
use super::sender_report::{canonical_name, sent};
use super::stats::{SSRC_SLOTS, StreamShared};
use super::stream::Stream;
use super::worker::Worker;
use crate::proto::rtcp::receiver_report::{self, ReportBlock};
use crate::proto::rtcp::sdes;
use crate::proto::rtcp::sender_report::{self, SenderInfo, ntp_from_unix_us};

/// Added to the interval, so that streams that began together do not report together.
const SPREAD_MS: u64 = 1000;
/// Reports after the last packet of an SSRC (RFC 3550 §6.4: a sender for two intervals).
const QUIET: u8 = 2;

/// What a stream has to know from report to report.
pub struct Generator {
    /// The turn that counts; `None` before the first.
    next: Option<Instant>,
    /// By slot: SSRC, packets at the last report, reports since the last packet.
    outgoing: [(u32, u64, u8); SSRC_SLOTS],
    /// Who speaks to a party that is sent nothing.
    own_ssrc: Option<u32>,
    /// By slot: SSRC, packets and losses at the last report.
    incoming: [(u32, u64, u64); SSRC_SLOTS],
}

impl Worker {
    /// Queues the first report of a stream that is to generate RTCP and does not yet.
    pub(super) fn start_reporting(&mut self, slot: u32) {
        let token = self.streams.token(slot);
        let at = self.next_report(self.output.now.instant);
        let generator =
            self.streams.get_mut(slot).filter(|s| s.carries_rtp()).and_then(|s| s.generator.as_mut());
        if let Some(generator) = generator.filter(|generator| generator.next.is_none()) {
            generator.next = Some(at);
            self.output.schedule.report(at, token);
        }
    }

    fn next_report(&self, now: Instant) -> Instant {
        let spread = rand::rng().random_range(0..=SPREAD_MS);
        now + self.output.rtcp.interval + std::time::Duration::from_millis(spread)
    }

    /// Sends what is due to the party of a stream.
    pub(super) fn report_turn(&mut self, token: u64, at: Instant) {
        let Some(slot) = self.streams.resolve(token) else { return };
        let next = self.next_report(at.max(self.output.now.instant));
        let Some(stream) = self.streams.get_mut(slot) else { return };
        let Some(mut generator) = stream.generator.take() else { return };
        // A turn that was queued before generation was switched off and on again does not count.
        if generator.next == Some(at) {
            generator.next = Some(next);
            self.output.schedule.report(next, token);
            self.report(slot, &mut generator);
        }
        if let Some(stream) = self.streams.get_mut(slot) {
            stream.generator = Some(generator);
        }
    }

    fn report(&mut self, slot: u32, generator: &mut Generator) -> Option<()> {
        let now_us = self.output.now.us;
        let stream = self.streams.get(slot)?;
        let rtcp_slot = self.rtcp_slot(stream.call, slot)?;
        let rtcp = self.streams.get(rtcp_slot)?;
        let (blocks, count) = generator.blocks(stream, rtcp.reports.as_deref(), now_us);
        let blocks = blocks.get(..count)?;
        let measured = &self.output.totals.interface(stream.interface).quality.jitter_measured;
        stream.jitter_of(blocks).for_each(|jitter_us| measured.add(jitter_us / 1000));
        // Nobody to tell, or not yet.
        rtcp.destination.as_ref()?;
        let mut is_told = false;
        for position in 0..SSRC_SLOTS {
            let stream = self.streams.get(slot)?;
            let Some((ssrc, info)) = generator.sender(stream, position, now_us) else { continue };
            let report = sender_report::write(&mut self.scratch[..], ssrc, info, blocks)?;
            let stream = self.streams.get(slot)?;
            let payload_type = stream.egress_ssrc.payload_type(position);
            // One of the shortest; longer ones are rare, and worth an allocation.
            let mid = stream.mids.as_ref().and_then(|mids| mids.of(ssrc, payload_type)).map(SmolStr::new);
            self.describe_and_send(rtcp_slot, ssrc, report, mid.as_deref())?;
            is_told = true;
        }
        if !is_told && !blocks.is_empty() {
            // The party is sent nothing, but wants to know what becomes of its own (RFC 3550 §6.4.2).
            let ssrc = *generator.own_ssrc.get_or_insert_with(rand::random);
            let report = receiver_report::write(&mut self.scratch[..], ssrc, blocks)?;
            self.describe_and_send(rtcp_slot, ssrc, report, None)?;
        }
        Some(())
    }

    /// Sends the report in the first octets of the scratch buffer with a source description behind it.
    fn describe_and_send(
        &mut self,
        rtcp_slot: u32,
        ssrc: u32,
        report: usize,
        mid: Option<&str>,
    ) -> Option<()> {
        let description = sdes::write(self.scratch.get_mut(report..)?, ssrc, canonical_name(), mid)?;
        let rtcp = self.streams.get_mut(rtcp_slot)?;
        // A refusal is in the error counter of the stream.
        let _ = self.output.send_rtcp(rtcp, &self.scratch[..report + description]);
        Some(())
    }
}

impl Generator {
    /// One that tells of packets from here on, whoever has counted others before.
    pub fn behind(shared: &StreamShared) -> Self {
        Self {
            next: None,
            outgoing: shared.egress_ssrc.counts().map(|(ssrc, packets, _)| (ssrc, packets, QUIET)),
            own_ssrc: None,
            incoming: shared.ingress_ssrc.counts(),
        }
    }

    /// What is to be said about an SSRC that the party is sent, if it is being sent.
    fn sender(&mut self, stream: &Stream, position: usize, now_us: u64) -> Option<(u32, SenderInfo)> {
        let shared = stream.shared.egress_ssrc.get(position)?;
        let last = self.outgoing.get_mut(position)?;
        let (ssrc, packets) = (shared.ssrc.load(Relaxed), shared.packets.get());
        if packets == 0 {
            return None;
        }
        let quiet = if (last.0, last.1) == (ssrc, packets) { last.2.saturating_add(1) } else { 0 };
        *last = (ssrc, packets, quiet);
        if quiet >= QUIET {
            return None;
        }
        let (packets, octets) = sent(&stream.shared, ssrc);
        let rtp_timestamp = shared.last_timestamp.get() as u32;
        Some((ssrc, SenderInfo { ntp: ntp_from_unix_us(now_us), rtp_timestamp, packets, octets }))
    }

    /// Report blocks about what has come from the party since the last report, and their number.
    fn blocks(
        &mut self,
        stream: &Stream,
        reports: Option<&Reports>,
        now_us: u64,
    ) -> ([ReportBlock; SSRC_SLOTS], usize) {
        let mut blocks = [ReportBlock::default(); SSRC_SLOTS];
        let mut count = 0;
        for (position, (shared, last)) in
            stream.shared.ingress_ssrc.iter().zip(&mut self.incoming).enumerate()
        {
            let (ssrc, packets, lost) = (shared.ssrc.load(Relaxed), shared.packets.get(), shared.lost.get());
            let before = std::mem::replace(last, (ssrc, packets, lost));
            if packets == 0 || (before.0, before.1) == (ssrc, packets) {
                continue;
            }
            // A replaced SSRC has left its slot, and its counts.
            let (packets_before, lost_before) = if before.0 == ssrc { (before.1, before.2) } else { (0, 0) };
            let new_lost = lost.saturating_sub(lost_before);
            let new = packets.saturating_sub(packets_before) + new_lost;
            let rate = Stream::clock_rate(&stream.clock_rates, stream.ingress_ssrc.payload_type(position));
            let jitter = shared.jitter_us.get() * u64::from(rate) / 1_000_000;
            let (last_sender_report, heard_us) = reports.and_then(|r| r.heard(ssrc)).unwrap_or((0, now_us));
            let delay = now_us.saturating_sub(heard_us).saturating_mul(1 << 16) / 1_000_000;
            if let Some(block) = blocks.get_mut(count) {
                *block = ReportBlock {
                    ssrc,
                    fraction_lost: (new_lost * 256 / new.max(1)).min(255) as u8,
                    cumulative_lost: lost.min(0x7f_ffff) as i32,
                    highest_sequence: shared.last_sequence.get() as u32,
                    jitter: u32::try_from(jitter).unwrap_or(u32::MAX),
                    last_sender_report,
                    delay_since_last: u32::try_from(delay).unwrap_or(u32::MAX),
                };
                count += 1;
            }
        }
        (blocks, count)
    }
}
