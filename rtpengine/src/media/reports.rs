//! What RTCP tells: round-trip times of the legs, and what receivers say about the SSRCs that they get.
//!
//! The stream whose socket carries a party's RTCP remembers the sender reports that went to the party, forwarded or our own, with the
//! moment at which each left: a report block that names one gives the round-trip time of that leg (RFC 3550 §6.4.1). Both legs
//! together are the way through the relay.

use super::mos::{self, Impairments};
use super::output::Output;
use super::quality::{Sample, SsrcQuality, StreamQuality};
use super::rtcp::source_of;
use super::stats::SSRC_SLOTS;
use super::stream::{Stream, Streams};
use crate::proto::rtcp::read;
use crate::proto::rtcp::receiver_report::ReportBlock;

/// Sender reports that are remembered until they are answered.
const SENT: usize = 16;
const LONGEST_ROUND_TRIP_US: u64 = 10_000_000;
/// Reports about an SSRC that follow faster say nothing more.
const LEAST_INTERVAL_US: u64 = 1_000_000;

/// What a stream has heard and said in RTCP.
#[derive(Default)]
pub struct Reports {
    sent: [SentReport; SENT],
    next: usize,
    /// The last sender report of each of the party's SSRCs.
    heard: [SentReport; SSRC_SLOTS],
    next_heard: usize,
    /// When the last sample of each egress SSRC was taken.
    sampled: [(u32, u64); SSRC_SLOTS],
    /// Of the leg, as it was last found out; 0 = not yet.
    round_trip_us: u32,
}

/// A sender report to or from the party.
#[derive(Clone, Copy, Default)]
struct SentReport {
    ssrc: u32,
    /// The middle of its NTP time, by which it will be named.
    name: u32,
    /// Microseconds since the Unix epoch.
    at_us: u64,
}

/// What a packet says about one SSRC that the party receives.
struct Block {
    report: ReportBlock,
    voip_round_trip_ms: Option<u16>,
}

/// Remembers the sender reports of a packet that goes to a party.
pub fn sent(sink: &mut Stream, compound: &[u8], now_us: u64) {
    for (header, packet) in read::packets(compound) {
        let Some((ssrc, info)) = read::sender_report(header, packet) else { continue };
        let reports = sink.reports.get_or_insert_default();
        let entry = SentReport { ssrc, name: middle(info.ntp), at_us: now_us };
        if let Some(oldest) = reports.sent.get_mut(reports.next % SENT) {
            *oldest = entry;
        }
        reports.next = (reports.next + 1) % SENT;
    }
}

/// The middle 32 bits of an NTP time.
fn middle(ntp: u64) -> u32 {
    (ntp >> 16) as u32
}

/// Reads a packet that a party sent, which came in on the stream in `slot`.
pub fn received(streams: &mut Streams, slot: u32, compound: &[u8], output: &Output) {
    for (header, packet) in read::packets(compound) {
        if let Some((ssrc, info)) = read::sender_report(header, packet)
            && let Some(stream) = streams.get_mut(slot)
        {
            let report = SentReport { ssrc, name: middle(info.ntp), at_us: output.now.us };
            stream.reports.get_or_insert_default().hear(report);
        }
        for report in read::blocks(header, packet) {
            let voip_round_trip_ms = read::voip_round_trip_ms(compound, report.ssrc);
            heed(streams, slot, &Block { report, voip_round_trip_ms }, output);
        }
    }
}

fn heed(streams: &mut Streams, slot: u32, block: &Block, output: &Output) -> Option<()> {
    let now_us = output.now.us;
    let ssrc = block.report.ssrc;
    let stream = streams.get(slot)?;
    let (interface, rtp_slot) = (stream.interface, stream.rtp_slot(slot));
    let rtp = streams.get(rtp_slot)?;
    // Of an SSRC that the party never got from here there is nothing to say.
    let position = rtp.egress_ssrc.position(ssrc)?;
    let payload_type = rtp.egress_ssrc.payload_type(position);
    let clock_rate = Stream::clock_rate(&rtp.clock_rates, payload_type);

    let reports = streams.get_mut(slot)?.reports.get_or_insert_default();
    if let Some(round_trip) = reports.round_trip(&block.report, now_us) {
        reports.round_trip_us = round_trip;
    }
    let leg_us = reports.round_trip_us;
    if !reports.is_due(position, ssrc, now_us) {
        return None;
    }
    let origin = source_of(streams, slot, ssrc);
    let other_us =
        origin.and_then(|(rtcp, ..)| streams.get(rtcp)?.reports.as_ref()).map_or(0, |r| r.round_trip_us);
    let round_trip_us = match block.voip_round_trip_ms {
        Some(ms) => Some(u32::from(ms) * 1000),
        None => (leg_us != 0 && other_us != 0).then(|| leg_us + other_us),
    };
    let jitter_ms = u64::from(block.report.jitter) * 1000 / u64::from(clock_rate.max(1));
    let seen = Impairments {
        loss_percent: (u16::from(block.report.fraction_lost) * 100 / 256) as u8,
        jitter_ms: if clock_rate == 0 { 0 } else { u16::try_from(jitter_ms).unwrap_or(u16::MAX) },
        round_trip_us,
        clock_rate,
    };
    let totals = &output.totals.interface(interface).quality;
    totals.jitter.add(seen.jitter_ms.into());
    totals.packet_loss.add(seen.loss_percent.into());
    if let Some(round_trip_us) = round_trip_us {
        totals.rtt_end_to_end.add(round_trip_us.into());
    }
    if leg_us != 0 {
        totals.rtt_leg.add(leg_us.into());
    }
    let mos = mos::score(output.rtcp.mos, seen)?;
    totals.mos.add(mos.into());
    let sample = Sample {
        at_s: (now_us / 1_000_000) as u32,
        mos,
        loss_percent: seen.loss_percent,
        jitter_ms: seen.jitter_ms,
        round_trip_us: round_trip_us.unwrap_or(0),
        round_trip_leg_us: leg_us,
    };
    let entry = |quality: &StreamQuality, ingress: bool, position: usize, ssrc| {
        let slots = if ingress { &quality.ingress } else { &quality.egress };
        if let Some(slot) = slots.get(position) {
            slot.get_or_init(Box::<SsrcQuality>::default).add(ssrc, sample);
        }
    };
    entry(streams.get(rtp_slot)?.shared.quality(), false, position, ssrc);
    if let Some((_, rtp, ssrc)) = origin {
        let stream = streams.get(rtp)?;
        entry(stream.shared.quality(), true, stream.ingress_ssrc.position(ssrc)?, ssrc);
    }
    Some(())
}

impl Reports {
    fn hear(&mut self, report: SentReport) {
        let known = self.heard.iter().position(|heard| heard.at_us != 0 && heard.ssrc == report.ssrc);
        let position = known.unwrap_or_else(|| {
            let oldest = self.next_heard;
            self.next_heard = (oldest + 1) % SSRC_SLOTS;
            oldest
        });
        if let Some(heard) = self.heard.get_mut(position) {
            *heard = report;
        }
    }

    /// Name and time in microseconds of the last sender report about an SSRC of the party.
    pub fn heard(&self, ssrc: u32) -> Option<(u32, u64)> {
        let heard = self.heard.iter().find(|heard| heard.at_us != 0 && heard.ssrc == ssrc)?;
        Some((heard.name, heard.at_us))
    }

    /// Round-trip time that a block gives, if it names a report that went to the party.
    fn round_trip(&self, block: &ReportBlock, now_us: u64) -> Option<u32> {
        if block.last_sender_report == 0 {
            return None;
        }
        let named = |sent: &&SentReport| {
            sent.at_us != 0 && sent.ssrc == block.ssrc && sent.name == block.last_sender_report
        };
        let sent = self.sent.iter().filter(named).max_by_key(|sent| sent.at_us)?;
        let delay_us = (u64::from(block.delay_since_last) * 1_000_000) >> 16;
        let round_trip = now_us.checked_sub(sent.at_us)?.checked_sub(delay_us)?;
        (1..=LONGEST_ROUND_TRIP_US).contains(&round_trip).then_some(round_trip as u32)
    }

    /// Of the leg, in microseconds; 0 while it is not known.
    pub fn round_trip_us(&self) -> u32 {
        self.round_trip_us
    }

    /// Whether an SSRC is to be sampled again, and if so, that it was.
    fn is_due(&mut self, position: usize, ssrc: u32, now_us: u64) -> bool {
        let Some(sampled) = self.sampled.get_mut(position) else { return false };
        if sampled.0 == ssrc && now_us.saturating_sub(sampled.1) < LEAST_INTERVAL_US {
            return false;
        }
        *sampled = (ssrc, now_us);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(last_sender_report: u32, delay_since_last: u32) -> ReportBlock {
        ReportBlock {
            ssrc: 7,
            fraction_lost: 0,
            cumulative_lost: 0,
            highest_sequence: 0,
            jitter: 0,
            last_sender_report,
            delay_since_last,
        }
    }

    #[test]
    fn round_trip_is_what_the_report_and_its_answer_were_under_way() {
        const AT: u64 = 1_000_000_000;
        let mut reports = Reports::default();
        reports.sent[3] = SentReport { ssrc: 7, name: 0xaabb_ccdd, at_us: AT };
        const CASES: &[(&str, u32, u32, u64, Option<u32>)] = &[
            ("answered at once", 0xaabb_ccdd, 0, AT + 30_000, Some(30_000)),
            ("answered after half a second", 0xaabb_ccdd, 0x8000, AT + 530_000, Some(30_000)),
            ("no report seen", 0, 0, AT + 30_000, None),
            ("another report", 0xaabb_ccde, 0, AT + 30_000, None),
            ("no time at all", 0xaabb_ccdd, 0x8000, AT + 500_000, None),
            ("answered before it came", 0xaabb_ccdd, 0x8000, AT + 499_000, None),
            ("longest", 0xaabb_ccdd, 0, AT + 10_000_000, Some(10_000_000)),
            ("too long", 0xaabb_ccdd, 0, AT + 10_000_001, None),
        ];
        for &(name, last, delay, now, expected) in CASES {
            assert_eq!(reports.round_trip(&block(last, delay), now), expected, "{name}");
        }
        let other = ReportBlock { ssrc: 8, ..block(0xaabb_ccdd, 0) };
        assert_eq!(reports.round_trip(&other, AT + 30_000), None, "of another SSRC");
    }

    #[test]
    fn an_ssrc_is_sampled_once_a_second() {
        let mut reports = Reports::default();
        let times = [5_000_000, 5_999_999, 6_000_000, 6_500_000];
        let due = times.map(|now| reports.is_due(0, 7, now));
        assert_eq!(due, [true, false, true, false]);
        assert!(reports.is_due(0, 8, 6_500_001), "another SSRC in its place");
        assert!(!reports.is_due(SSRC_SLOTS, 8, 6_500_001));
    }
}
