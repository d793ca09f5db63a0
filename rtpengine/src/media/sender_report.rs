//! Sender reports for the SSRCs of players: nobody else tells their listeners how RTP time and wall clock belong
//! together.

use std::sync::OnceLock;
use std::sync::atomic::Ordering::Relaxed;

use super::plan::CallKey;
use super::player::report_interval;
use super::stats::StreamShared;
use super::worker::Worker;
use crate::proto::rtcp::sender_report::{self, SenderInfo, ntp_from_unix_us};
use crate::proto::rtcp::{HEADER, sdes};

/// A sender report and a source description with a name of sixteen octets.
const LENGTH: usize = sender_report::LENGTH + HEADER + 28;
/// RTP header of everything that players send.
const RTP_HEADER: u64 = 12;

impl Worker {
    /// Sends a player's sender report when it is due, to where RTCP of its listener goes.
    pub(super) fn report_player(&mut self, number: u64) {
        let now = self.output.now;
        let Some(player) = self.calls.players.get_mut(&number).filter(|p| p.report_at <= now.instant) else {
            return;
        };
        player.report_at = now.instant + report_interval();
        let (ssrc, call, sink) = (player.ssrc(), player.call, player.sink);
        let rtp_timestamp = player.timestamp_at(now.instant);
        if let Some(rtp) = self.streams.resolve(sink) {
            self.report_sender(call, rtp, ssrc, rtp_timestamp);
        }
    }

    /// Sends a sender report of an SSRC of our own to where RTCP of the RTP stream in slot `rtp` goes, unless that one generates RTCP.
    pub(super) fn report_sender(&mut self, call: CallKey, rtp: u32, ssrc: u32, rtp_timestamp: u32) {
        let Some(stream) = self.streams.get(rtp).filter(|stream| stream.generator.is_none()) else { return };
        let (packets, octets) = sent(&stream.shared, ssrc);
        let info = SenderInfo { ntp: ntp_from_unix_us(self.output.now.us), rtp_timestamp, packets, octets };
        let mut out = [0; LENGTH];
        let Some(length) = compound(&mut out, ssrc, info) else { return };
        let rtcp = self.rtcp_slot(call, rtp).and_then(|slot| self.streams.get_mut(slot));
        if let Some(rtcp) = rtcp {
            // A refusal is in the error counter of the stream.
            let _ = self.output.send_rtcp(rtcp, &out[..length]);
        }
    }
}

/// RFC 3550 §6.1: a report is followed by the canonical name.
fn compound(out: &mut [u8], ssrc: u32, info: SenderInfo) -> Option<usize> {
    let report = sender_report::write(out, ssrc, info, &[])?;
    Some(report + sdes::write(out.get_mut(report..)?, ssrc, canonical_name(), None)?)
}

/// Packets and payload octets of an SSRC, over all playbacks that used it.
pub(super) fn sent(shared: &StreamShared, ssrc: u32) -> (u32, u32) {
    let slot = shared.egress_ssrc.iter().find(|slot| slot.ssrc.load(Relaxed) == ssrc);
    slot.map_or((0, 0), |slot| {
        let packets = slot.packets.get();
        (packets as u32, slot.octets.get().wrapping_sub(packets * RTP_HEADER) as u32)
    })
}

/// A random name for the life of the process; it tells nothing about the host.
pub(super) fn canonical_name() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| format!("{:016x}", rand::random::<u64>()))
}
