//! The way of a packet: classify → unprotect → verify source → count → tap → per edge forward, transcode or
//! drop → protect → send.
//!
//! Nothing here waits, locks, allocates (but for a new SSRC on a transcoding edge or under a key) or logs; every
//! packet that does not go on is counted with its reason. Between unprotecting and protecting packets are clear,
//! so that edges, statistics and taps need not know of SRTP.

use std::net::SocketAddr;

use codec::graph::OutPacket;
use codec::rtp::RtpPacket;
use smallvec::SmallVec;

use super::accept::{Accepted, accept, seen};
use super::apart::{self, KeyUse, mask_ssrc};
use super::fax;
use super::filter;
use super::hold::hold;
use super::listeners;
use super::output::{EARLY, Output, set_bits};
use super::plan::DropReason;
use super::receive::{BATCH, DATAGRAM, ReceiveBatch};
use super::reports;
use super::route::{Action, Edge};
use super::rtcp;
use super::stream::Streams;
use super::transcode::Source;

/// A change of a stream's peer.
pub type Learned = Option<SocketAddr>;

/// Handles the datagrams of a batch that arrived on the stream in `slot`: of `count`, those whose bit is set in `own`.
pub fn handle_batch(
    streams: &mut Streams,
    slot: u32,
    batch: &mut ReceiveBatch,
    (count, own): (usize, u32),
    output: &mut Output,
    scratch: &mut [u8; DATAGRAM],
) -> Learned {
    let stream = streams.get_mut(slot)?;
    // Not an array: clearing all places would take longer than what is done with the one packet that there mostly is.
    let mut accepted = SmallVec::<[Accepted; BATCH]>::new();
    let mut learned = None;
    let before = stream.shared.ingress.read();
    for index in 0..count.min(BATCH) {
        accepted.push(match own >> index & 1 {
            1 => accept(stream, batch, index, output, scratch, &mut learned),
            _ => Accepted::Refused,
        });
    }
    output.totals.interface(stream.interface).ingress.add_growth(&stream.shared.ingress, before);
    if stream.edges.is_empty() && stream.gateway.is_none() {
        let others = accepted.iter().filter(|a| !matches!(a, Accepted::Refused)).count();
        stream.drop_packets(DropReason::NoSink, others as u64);
    } else if stream.holding.is_some() {
        let token = streams.token(slot);
        let stream = streams.get_mut(slot)?;
        hold(stream, token, batch, &mut accepted, output);
    }
    let edge_count = follow_edges(streams, slot, batch, &accepted, output, scratch);
    for index in (0..accepted.len()).filter(|index| matches!(accepted[*index], Accepted::Rtcp)) {
        if let (Some(copies), Some(stream)) = (&output.rtcp_copies, streams.get(slot)) {
            copies.take(stream, batch.octets(index));
        }
        reports::received(streams, slot, batch.octets(index), output);
        for edge in 0..edge_count {
            let result = rtcp::forward(streams, slot, edge, batch.octets(index), output, scratch);
            if let (Err(reason), Some(stream)) = (result, streams.get(slot)) {
                stream.drop_packet(reason);
            }
        }
    }
    learned
}

/// Everything that packets which have been accepted go through: the edges, whose number is given back, and a fax gateway.
pub fn follow_edges(
    streams: &mut Streams,
    slot: u32,
    batch: &mut ReceiveBatch,
    accepted: &[Accepted],
    output: &mut Output,
    scratch: &mut [u8; DATAGRAM],
) -> usize {
    let Some(stream) = streams.get_mut(slot) else { return 0 };
    // Taken out for the time in which sinks are borrowed from the same slab; no allocation.
    let mut edges = std::mem::take(&mut stream.edges);
    for edge in &mut edges {
        follow_edge(streams, slot, edge, batch, accepted, output, scratch);
    }
    let edge_count = edges.len();
    if let Some(stream) = streams.get_mut(slot) {
        stream.edges = edges;
        if let Some(number) = stream.gateway {
            fax::received(streams, (slot, number), batch, accepted, output);
        }
    }
    edge_count
}

fn follow_edge(
    streams: &mut Streams,
    slot: u32,
    edge: &mut Edge,
    batch: &mut ReceiveBatch,
    accepted: &[Accepted],
    output: &mut Output,
    scratch: &mut [u8; DATAGRAM],
) {
    if edge.follows.is_some() {
        return;
    }
    let mut dropped = [0u32; DropReason::COUNT];
    // Bit i: datagram i leaves by the RTP sink in one system call with its neighbours.
    let mut together = 0u32;
    let mut original = [0u8; BATCH];
    if edge.key_use == KeyUse::Source {
        let packets =
            accepted.iter().filter_map(|a| if let Accepted::Rtp(seen) = a { Some(seen) } else { None });
        let section = edge.section();
        let packets = packets.filter(|seen| section.is_none() || section == seen.section);
        apart::check(streams, slot, edge, packets);
    }
    // Taken out, since the edge is needed beside it.
    let mut filter = edge.filter.take();
    for (index, accepted) in accepted.iter().enumerate() {
        if let Accepted::Rtp(seen) = accepted
            && edge.is_foreign(seen)
        {
            continue;
        }
        if let (Accepted::Rtp(seen), Some(filter)) = (accepted, &mut filter) {
            let arrival = filter::Arrival { slot, seen: *seen, datagram: batch.octets(index) };
            if let Err(reason) = filter::follow(streams, edge, filter, arrival, output, scratch) {
                dropped[reason as usize] += 1;
            }
            continue;
        }
        let result = match accepted {
            Accepted::Refused | Accepted::Rtcp => continue,
            Accepted::Datagram => {
                together |= 1 << index;
                Ok(())
            }
            Accepted::Rtp(seen) => match edge.action(seen.payload_type) {
                Action::Drop(reason) => Err(reason),
                Action::Transcode(plan) => {
                    let datagram = batch.octets(index);
                    transcode(streams, slot, edge, Way::Decode(plan), datagram, output, scratch)
                }
                action => {
                    let payload_type = if let Action::Rewrite(pt) = action { pt } else { seen.payload_type };
                    let way = Way::Companion(payload_type);
                    match edge.numbers_of(output.now.instant, seen) {
                        Some(Ok(_)) => {
                            transcode(streams, slot, edge, way, batch.octets(index), output, scratch)
                        }
                        Some(Err(reason)) => Err(reason),
                        None => {
                            if let Some(octets) = batch.datagram(index) {
                                original[index] = octets[1];
                                octets[1] = octets[1] & 0x80 | payload_type;
                                mask_ssrc(octets, edge.ssrc_mask);
                            }
                            together |= 1 << index;
                            Ok(())
                        }
                    }
                }
            },
        };
        if let Err(reason) = result {
            dropped[reason as usize] += 1;
        }
    }
    if together != 0 {
        if edge.rtp_to.is_none() && edge.also.is_empty() {
            dropped[DropReason::NoSink as usize] += together.count_ones();
        }
        for (to, mid) in listeners::sinks(edge.rtp_to, edge.mid.as_ref(), &edge.also) {
            let Some(sink) = streams.get_mut(to) else { continue };
            let before = sink.shared.egress.read();
            if let (Some(mids), Some(mid)) = (&mut sink.mids, mid) {
                for index in set_bits(together) {
                    mids.note(seen(batch.octets(index)).ssrc, mid);
                }
            }
            output.send_run(sink, batch, together, accepted, &mut dropped);
            output.totals.interface(sink.interface).egress.add_growth(&sink.shared.egress, before);
        }
        // Other edges see the packet as it came.
        for index in (0..accepted.len()).filter(|i| together >> i & 1 == 1) {
            if let (Accepted::Rtp(_), Some(octets)) = (&accepted[index], batch.datagram(index)) {
                octets[1] = original[index];
                mask_ssrc(octets, edge.ssrc_mask);
            }
        }
    }
    edge.filter = filter;
    if let Some(stream) = streams.get(slot) {
        for (reason, packets) in DropReason::ALL.into_iter().zip(dropped).filter(|(_, n)| *n > 0) {
            stream.drop_packets(reason, u64::from(packets));
        }
    }
}

/// How a packet goes through the codec graph.
#[derive(Clone, Copy)]
pub enum Way {
    /// By the plan of this number.
    Decode(u8),
    /// Payload stays, numbering becomes the transcoder's; the payload type it leaves with.
    Companion(u8),
}

pub fn transcode(
    streams: &mut Streams,
    slot: u32,
    edge: &mut Edge,
    way: Way,
    datagram: &[u8],
    output: &mut Output,
    scratch: &mut [u8; DATAGRAM],
) -> Result<(), DropReason> {
    let packet = RtpPacket::parse(datagram).map_err(|_| DropReason::Malformed)?;
    let now = output.now.instant;
    output.transcoded += 1;
    let Edge { rtp_to, mid, also, transcoding, .. } = edge;
    let sinks = listeners::sinks(*rtp_to, mid.as_ref(), also);
    let (first, _) = sinks.clone().next().ok_or(DropReason::NoSink)?;
    let wanted = streams.get(first).ok_or(DropReason::NoSink)?.codec_feedback;
    let transcoding = transcoding.as_mut().ok_or(DropReason::PayloadType)?;
    let source = match way {
        Way::Decode(plan) => {
            let plan = transcoding.plan_of(packet.ssrc(), packet.payload_type(), usize::from(plan));
            transcoding.source(now, packet.ssrc(), plan)?
        }
        Way::Companion(_) => {
            let source = transcoding.companion(now, packet.ssrc(), packet.payload_type());
            source.unwrap_or(Err(DropReason::PayloadType))?
        }
    };
    for (to, mid) in sinks.clone() {
        if let (Some(sink), Some(mid)) = (streams.get_mut(to), mid)
            && let Some(mids) = &mut sink.mids
        {
            mids.note(source.ssrc_out, mid);
        }
    }
    let Source { transcoder, numbering, sent, turn_at, .. } = source;
    transcoder.follow(wanted);
    numbering.received(packet.sequence_number());
    let token = streams.token(slot);
    let mut result = Ok(());
    let mut emit = |out: OutPacket<'_>| {
        numbering.made(out.sequence_number);
        let mut left = false;
        for (to, _) in sinks.clone() {
            let tokens = [token, streams.token(to)];
            let Some(sink) = streams.get_mut(to) else { continue };
            let emitted = output.emit(sink, tokens, out, scratch);
            left |= emitted.is_ok();
            result = result.and(emitted);
        }
        sent.count(out.payload.len(), left);
    };
    let octets = packet.payload().len();
    let before = (transcoder.sequencer_counters(), transcoder.counters().samples_in);
    match way {
        Way::Decode(_) => transcoder.push(now, packet, &mut emit),
        Way::Companion(payload_type) => transcoder.forward(now, packet, payload_type, &mut emit),
    }
    output.totals.sequencing.add_growth(transcoder.sequencer_counters(), before.0);
    if let Some(at) = transcoder.next_turn().filter(|_| turn_at.is_none()) {
        *turn_at = Some(at);
        output.schedule.turn(at, token, packet.ssrc());
    }
    let samples = transcoder.counters().samples_in - before.1;
    let feedback = transcoder.feedback();
    if feedback != codec::Feedback::default()
        && let Some(stream) = streams.get_mut(slot)
    {
        stream.codec_feedback = feedback;
    }
    if let Way::Decode(plan) = way {
        transcoding.count(usize::from(plan), octets, samples);
    }
    result
}

/// Transcoders of an SSRC that play out by a clock of their own have their turn.
pub fn turn(
    streams: &mut Streams,
    slot: u32,
    ssrc: u32,
    output: &mut Output,
    scratch: &mut [u8; DATAGRAM],
) -> Option<()> {
    let now = output.now.instant;
    let mut edges = std::mem::take(&mut streams.get_mut(slot)?.edges);
    for edge in &mut edges {
        let Edge { rtp_to, also, transcoding, .. } = edge;
        let source = transcoding.as_mut().and_then(|transcoding| transcoding.of(ssrc));
        let Some(source) = source.filter(|source| source.turn_at.is_some_and(|at| at <= now + EARLY)) else {
            continue;
        };
        let token = streams.token(slot);
        let Source { transcoder, numbering, sent, turn_at, .. } = source;
        let mut failed = None;
        // Whether or not there is anybody to send to, time goes on.
        transcoder.turn(now + EARLY, &mut |out: OutPacket<'_>| {
            numbering.made(out.sequence_number);
            let mut left = Err(DropReason::NoSink);
            for (to, _) in listeners::sinks(*rtp_to, None, also) {
                let tokens = [token, streams.token(to)];
                let Some(sink) = streams.get_mut(to) else { continue };
                let emitted = output.emit(sink, tokens, out, scratch);
                failed = emitted.err().or(failed);
                left = left.or(emitted);
            }
            sent.count(out.payload.len(), left.is_ok());
            failed = failed.or(left.err());
        });
        *turn_at = transcoder.next_turn();
        if let Some(at) = *turn_at {
            output.schedule.turn(at, token, ssrc);
        }
        if let (Some(reason), Some(stream)) = (failed, streams.get(slot)) {
            stream.drop_packet(reason);
        }
    }
    streams.get_mut(slot)?.edges = edges;
    Some(())
}
