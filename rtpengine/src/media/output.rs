//! How packets leave a worker: now or when they are due, copied where the sink needs it, protected, recorded and counted.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use codec::graph::OutPacket;
use codec::rtp;

use super::accept::{Accepted, seen};
use super::dtls::Gate;
use super::fax::FaxGateways;
use super::ice::IceAgents;
use super::plan::{DropReason, LINEAR};
use super::receive::{DATAGRAM, ReceiveBatch};
use super::reports;
use super::rtcp_copies::RtcpCopies;
use super::schedule::Schedule;
use super::security::{Kind, Sealed};
use super::send::{SendBatch, send};
use super::srtp_log::{Passage, SrtpLog};
use super::stream::Stream;
use super::tap::{self, TapDirection, TapRecord};
use super::totals::WorkerTotals;
use crate::config::RtcpConfig;

/// A packet of the codec graph that is due within this time is sent at once: waking up for each one would cost
/// more than the packet itself.
pub const EARLY: Duration = Duration::from_millis(1);
/// A packet of the codec graph that is early by no more leaves at once: nobody hears the difference, and waiting costs a wake-up.
const PACE: Duration = Duration::from_millis(4);

/// Present time, read once per readiness event.
#[derive(Clone, Copy)]
pub struct Now {
    pub instant: Instant,
    /// Microseconds since the Unix epoch.
    pub us: u64,
}

#[cfg(any(test, fuzzing))]
impl Now {
    /// As much later.
    pub fn go_on(&mut self, time: Duration) {
        self.instant += time;
        self.us += time.as_micros() as u64;
    }
}

/// What leaves a worker goes through here.
pub struct Output {
    pub batch: SendBatch,
    pub sealed: Sealed,
    pub schedule: Schedule,
    pub tap: Option<tap::Producer>,
    /// The way to the handshake thread.
    pub dtls: Gate,
    pub ice: IceAgents,
    pub fax: FaxGateways,
    pub now: Now,
    /// Sums over all streams of this worker.
    pub totals: Arc<WorkerTotals>,
    /// Packets that went through the codec graph, until the worker looks.
    pub transcoded: u64,
    /// What all transcoders have in common.
    pub graph: codec::graph::Settings,
    /// When RTCP of our own is sent, and how reports become scores.
    pub rtcp: RtcpConfig,
    /// What is told about protected packets, if anything.
    pub srtp_log: Option<SrtpLog>,
    /// Where copies of RTCP packets go, if anywhere.
    pub rtcp_copies: Option<RtcpCopies>,
}

/// Positions of the bits that are set, lowest first.
pub fn set_bits(mut bits: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let index = (bits != 0).then(|| bits.trailing_zeros() as usize)?;
        bits &= bits - 1;
        Some(index)
    })
}

impl Output {
    /// Sends a packet of the codec graph, now or when its time has come. `tokens` are those of the stream that it
    /// came from and of the sink.
    pub fn emit(
        &mut self,
        sink: &mut Stream,
        tokens: [u64; 2],
        out: OutPacket<'_>,
        scratch: &mut [u8; DATAGRAM],
    ) -> Result<(), DropReason> {
        if sink.mixer.is_some() || out.payload_type == LINEAR {
            // A player that keeps other media away comes in by another door.
            return if sink.muted_by > 0 {
                Err(DropReason::Blocked)
            } else {
                self.mix(sink, tokens[1], out, scratch)
            };
        }
        let mut header = [0; 12];
        rtp::write_header(
            &mut header,
            out.marker,
            out.payload_type,
            out.sequence_number,
            out.timestamp,
            out.ssrc,
        );
        let now = self.now.instant;
        // Early enough to leave at once, unless it would overtake the packet before it.
        let waits = out.send_at > now + PACE || (out.send_at > now && out.follows > now);
        if waits && self.schedule.packet(out.send_at, tokens, &header, out.payload) {
            return Ok(());
        }
        let length = 12 + out.payload.len();
        let packet = scratch.get_mut(..length).ok_or(DropReason::SendFailed)?;
        packet[..12].copy_from_slice(&header);
        packet[12..].copy_from_slice(out.payload);
        self.send_rtp(sink, packet)
    }

    /// Sends one RTP packet, unless a player has muted the sink.
    pub fn send_rtp(&mut self, sink: &mut Stream, packet: &[u8]) -> Result<(), DropReason> {
        if sink.muted_by > 0 {
            return Err(DropReason::Blocked);
        }
        self.send_unmuted(sink, packet)
    }

    /// Sends one RTP packet whoever else is muted.
    pub fn send_unmuted(&mut self, sink: &mut Stream, packet: &[u8]) -> Result<(), DropReason> {
        self.send_one(sink, Kind::Rtp, packet)?;
        sink.egress_ssrc.sent(seen(packet), &sink.shared.egress_ssrc);
        Ok(())
    }

    /// Sends one datagram that is not RTP.
    pub fn send_datagram(&mut self, sink: &mut Stream, datagram: &[u8]) -> Result<(), DropReason> {
        self.send_one(sink, Kind::Rtp, datagram)
    }

    /// Sends one RTCP packet.
    pub fn send_rtcp(&mut self, sink: &mut Stream, packet: &[u8]) -> Result<(), DropReason> {
        self.send_one(sink, Kind::Rtcp, packet)?;
        reports::sent(sink, packet, self.now.us);
        Ok(())
    }

    fn send_one(&mut self, sink: &mut Stream, kind: Kind, datagram: &[u8]) -> Result<(), DropReason> {
        let before = sink.shared.egress.read();
        let result = self.try_send_one(sink, kind, datagram);
        self.totals.interface(sink.interface).egress.add_growth(&sink.shared.egress, before);
        result
    }

    fn try_send_one(&mut self, sink: &mut Stream, kind: Kind, datagram: &[u8]) -> Result<(), DropReason> {
        let Some(to) = sink.destination else {
            sink.shared.egress.errors.add(1);
            return Err(DropReason::NoPeer);
        };
        if sink.tap.is_some() {
            self.record_egress(sink, datagram);
        }
        let mut datagram = datagram;
        if sink.gets_copies() {
            datagram = match self.prepare(sink, 0, kind, datagram) {
                Ok(()) => self.sealed.octets(0),
                Err(reason) => {
                    sink.shared.egress.errors.add(1);
                    return Err(reason);
                }
            };
        }
        if !send(sink.fd, &to, datagram) {
            sink.shared.egress.errors.add(1);
            return Err(DropReason::SendFailed);
        }
        sink.shared.egress.packets.add(1);
        sink.shared.egress.octets.add(datagram.len() as u64);
        Ok(())
    }

    /// Sends the datagrams whose bit is set.
    pub fn send_run(
        &mut self,
        sink: &mut Stream,
        batch: &ReceiveBatch,
        mut together: u32,
        accepted: &[Accepted],
        dropped: &mut [u32; DropReason::COUNT],
    ) {
        let count = together.count_ones();
        if sink.muted_by > 0 {
            dropped[DropReason::Blocked as usize] += count;
            return;
        }
        let Some(to) = sink.destination else {
            sink.shared.egress.errors.add(u64::from(count));
            dropped[DropReason::NoPeer as usize] += count;
            return;
        };
        if sink.tap.is_some() {
            for index in set_bits(together) {
                self.record_egress(sink, batch.octets(index));
            }
        }
        let copied = sink.gets_copies();
        if copied {
            together = self.prepare_run(sink, batch, together, dropped);
        }
        let sealed = &self.sealed;
        let leaving = |index| if copied { sealed.octets(index) } else { batch.octets(index) };
        let failed = match together.count_ones() {
            0 => return,
            1 => {
                let index = together.trailing_zeros() as usize;
                u32::from(!send(sink.fd, &to, leaving(index)))
            }
            _ => self.batch.send_all(sink.fd, &to, set_bits(together).map(leaving)).1,
        };
        for (position, index) in set_bits(together).enumerate() {
            if failed >> position & 1 == 1 {
                sink.shared.egress.errors.add(1);
                dropped[DropReason::SendFailed as usize] += 1;
                continue;
            }
            sink.shared.egress.packets.add(1);
            sink.shared.egress.octets.add(leaving(index).len() as u64);
            if let Accepted::Rtp(_) = accepted[index] {
                sink.egress_ssrc.sent(seen(batch.octets(index)), &sink.shared.egress_ssrc);
            }
        }
    }

    /// Makes the sink's copy of a datagram: with the mid of its section, and protected.
    fn prepare(
        &mut self,
        sink: &mut Stream,
        index: usize,
        kind: Kind,
        datagram: &[u8],
    ) -> Result<(), DropReason> {
        self.sealed.copy(index, kind, datagram, sink.mids.as_deref())?;
        if sink.secured {
            let clear = self.sealed.octets(index).len();
            let wire = self.sealed.protect(index, kind, sink.keys())?;
            if let Some(log) = &mut self.srtp_log
                && log.wants(kind)
            {
                SrtpLog::show(sink, kind, wire, Passage::Out(clear));
            }
        }
        Ok(())
    }

    /// Makes copies of the datagrams whose bit is set; returns the bits of those that can be sent.
    fn prepare_run(
        &mut self,
        sink: &mut Stream,
        batch: &ReceiveBatch,
        together: u32,
        dropped: &mut [u32; DropReason::COUNT],
    ) -> u32 {
        let mut ready = together;
        for index in set_bits(together) {
            if let Err(reason) = self.prepare(sink, index, Kind::Rtp, batch.octets(index)) {
                sink.shared.egress.errors.add(1);
                dropped[reason as usize] += 1;
                ready &= !(1 << index);
            }
        }
        ready
    }

    fn record_egress(&mut self, sink: &Stream, datagram: &[u8]) {
        if let Some(peer) = sink.learner.peer() {
            self.record(sink, TapDirection::Egress, peer, datagram);
        }
    }

    pub fn record(&mut self, stream: &Stream, direction: TapDirection, peer: SocketAddr, datagram: &[u8]) {
        let Some(plan) = stream.tap else { return };
        let (wanted, source, destination) = match direction {
            TapDirection::Ingress => (plan.ingress, peer, stream.socket_being_read().local),
            TapDirection::Egress => (plan.egress, stream.path_socket().local, peer),
        };
        if !wanted {
            return;
        }
        let record = TapRecord {
            recording: plan.recording,
            stream: stream.id.0,
            direction,
            time_us: self.now.us,
            source,
            destination,
            payload: datagram,
        };
        if !self.tap.as_mut().is_some_and(|tap| tap.push(record)) {
            stream.shared.tap_lost.add(1);
        }
    }
}
