//! What comes in: classify → unprotect → verify source → count → find its section → tap. See `forward`.

use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use codec::header_extension;

use super::classify::{PacketKind, classify};
use super::forward::Learned;
use super::learn::{Evidence, MAX_GAP, Verdict};
use super::output::Output;
use super::plan::{DropReason, Expect};
use super::receive::{DATAGRAM, ReceiveBatch};
use super::security::Kind;
use super::srtp_log::{Passage, SrtpLog};
use super::ssrc::{Arrival, Seen};
use super::stream::Stream;
use super::tap::TapDirection;

/// What a received datagram turned out to be.
#[derive(Clone, Copy)]
pub enum Accepted {
    Refused,
    Rtp(Seen),
    Rtcp,
    Datagram,
}

/// Classify, unprotect, verify, count and tap one datagram.
pub fn accept(
    stream: &mut Stream,
    batch: &mut ReceiveBatch,
    index: usize,
    output: &mut Output,
    scratch: &mut [u8; DATAGRAM],
    learned: &mut Learned,
) -> Accepted {
    let source = batch.source(index);
    let (Some(source), Some(mut datagram)) = (source, batch.datagram(index)) else {
        return refuse(stream, DropReason::Malformed);
    };
    let received = datagram.len();
    // Where ICE has not seen the party.
    let mut is_elsewhere = false;
    if let Some(ice) = &stream.ice {
        if classify(datagram) == PacketKind::Stun {
            return match output.stun(stream, source, datagram) {
                Ok(()) => Accepted::Refused,
                Err(reason) => refuse(stream, reason),
            };
        }
        is_elsewhere = !ice.accepts(source);
        if is_elsewhere && !stream.secured {
            return refuse(stream, DropReason::WrongSource);
        }
    }
    let mut accepted = match expected(stream.expect, datagram) {
        Ok(accepted) => accepted,
        Err(DropReason::NotNegotiated) if classify(datagram) == PacketKind::Dtls && !is_elsewhere => {
            return match output.shake_hands(stream, source, datagram) {
                Ok(()) => Accepted::Refused,
                Err(reason) => refuse(stream, reason),
            };
        }
        Err(_) if is_elsewhere => return refuse(stream, DropReason::WrongSource),
        Err(reason) => return refuse(stream, reason),
    };
    if stream.secured {
        if (is_elsewhere || stream.learner.is_elsewhere(source))
            && let Err(reason) = may_verify(stream, &accepted, output.now.instant)
        {
            return refuse(stream, reason);
        }
        let shown = output.srtp_log.is_some().then(|| datagram.to_vec());
        let unprotected = unprotect(stream, &mut accepted, datagram, scratch);
        if let (Some(wire), Some(log)) = (shown, &mut output.srtp_log) {
            let kind = if matches!(accepted, Accepted::Rtp(_)) { Kind::Rtp } else { Kind::Rtcp };
            if log.wants(kind) || unprotected.is_err() {
                SrtpLog::show(stream, kind, &wire, Passage::In(source, unprotected));
            }
        }
        let length = match unprotected {
            Ok(length) => length,
            Err(reason) => return refuse(stream, reason),
        };
        batch.shorten(index, length);
        let Some(clear) = batch.datagram(index) else { return refuse(stream, DropReason::Malformed) };
        datagram = clear;
        if is_elsewhere {
            if !is_authentic(stream, &accepted) {
                return refuse(stream, DropReason::WrongSource);
            }
            output.heard_elsewhere(stream, source);
        }
    }
    let is_settled = stream.learner.is_settled(source);
    if !is_settled || stream.shared.confirmed.load(Relaxed) == 0 {
        let before = stream.learner.peer();
        match learn(stream, &accepted, source, output) {
            Verdict::Accept | Verdict::Changed => {}
            Verdict::WrongSource => return refuse(stream, DropReason::WrongSource),
            Verdict::Unproven => return refuse(stream, DropReason::Unproven),
        }
        if stream.learner.peer() != before || stream.shared.confirmed.load(Relaxed) == 0 {
            stream.heard();
            stream.publish_peer();
            if stream.learner.peer() != before {
                *learned = stream.learner.peer();
            }
        }
    }
    let shared = &stream.shared;
    shared.ingress.packets.add(1);
    shared.ingress.octets.add(received as u64);
    shared.last_user_packet_us.set(output.now.us);
    match &mut accepted {
        Accepted::Rtp(seen) => {
            let rates = &stream.clock_rates;
            let arrival =
                stream.ingress_ssrc.received(*seen, output.now.us, &stream.shared.ingress_ssrc, |pt| {
                    Stream::clock_rate(rates, pt)
                });
            if arrival != Arrival::InOrder {
                output.totals.interface(stream.interface).count_arrival(arrival);
            }
            if let Some(sections) = &mut stream.sections {
                seen.section = sections.section(seen, datagram);
                if seen.section.is_none() {
                    stream.drop_packet(DropReason::PayloadType);
                    return Accepted::Refused;
                }
            }
            if stream.tells_arrival
                && let Some(arrivals) = &mut stream.arrivals
            {
                arrivals.note(seen.section.unwrap_or(0));
            }
            if let Some(short) = &mut stream.short
                && short.is_short(seen.payload_type, seen.octets)
            {
                stream.drop_packet(DropReason::Blocked);
                return Accepted::Refused;
            }
            if let Some(detector) = stream.dtmf.as_mut().filter(|d| d.listens_to(seen.payload_type)) {
                detector.received(output.now.instant, seen, datagram, source);
            }
        }
        Accepted::Rtcp => {
            shared.rtcp_ingress.packets.add(1);
            shared.rtcp_ingress.octets.add(received as u64);
        }
        Accepted::Datagram | Accepted::Refused => {}
    }
    if stream.tap.is_some() {
        output.record(stream, TapDirection::Ingress, source, datagram);
    }
    if stream.hides_extensions
        && matches!(accepted, Accepted::Rtp(_))
        && let Some(ids) = &stream.hidden_extensions
    {
        header_extension::hide(datagram, ids);
    }
    accepted
}

/// Only the party can have sent it.
fn is_authentic(stream: &Stream, accepted: &Accepted) -> bool {
    let kind = if matches!(accepted, Accepted::Rtp(_)) { Kind::Rtp } else { Kind::Rtcp };
    stream.present_keys().is_some_and(|keys| keys.authenticates(kind))
}

/// What the packet teaches about where the party is.
fn learn(stream: &mut Stream, accepted: &Accepted, source: SocketAddr, output: &Output) -> Verdict {
    let Stream { learner, ingress_ssrc, clock_rates, shared, security, secured, .. } = stream;
    learner.observe(output.now.instant, source, || {
        let kind = if matches!(accepted, Accepted::Rtp(_)) { Kind::Rtp } else { Kind::Rtcp };
        let is_authentic = *secured && security.as_ref().is_some_and(|keys| keys.authenticates(kind));
        let evidence = match accepted {
            Accepted::Rtp(seen) if is_authentic => {
                Evidence::Authentic { newest: ingress_ssrc.is_newest(seen) }
            }
            Accepted::Rtp(seen) => Evidence::Rtp {
                ssrc: seen.ssrc,
                sequence_number: seen.sequence_number,
                continues: ingress_ssrc.continues(seen, MAX_GAP),
                expected: clock_rates.is_empty()
                    || clock_rates.iter().any(|(pt, _)| *pt == seen.payload_type),
            },
            Accepted::Rtcp if is_authentic => Evidence::Authentic { newest: true },
            Accepted::Rtcp => Evidence::Rtcp,
            Accepted::Datagram | Accepted::Refused => Evidence::Datagram,
        };
        (evidence, Duration::from_micros(output.now.us.saturating_sub(shared.last_packet_us())))
    })
}

/// A stranger's packets cost hardly any cryptography; only if they may be the party's, which has moved.
fn may_verify(stream: &mut Stream, accepted: &Accepted, now: Instant) -> Result<(), DropReason> {
    if stream.learner.is_pinned() {
        return Err(DropReason::WrongSource);
    }
    let knows_ssrc = matches!(accepted, Accepted::Rtp(seen) if stream.ingress_ssrc.knows(seen.ssrc));
    let keys = stream.keys().ok_or(DropReason::WrongSource)?;
    if !keys.may_verify(now, knows_ssrc) {
        return Err(DropReason::OverBudget);
    }
    Ok(())
}

fn unprotect(
    stream: &mut Stream,
    accepted: &mut Accepted,
    datagram: &mut [u8],
    scratch: &mut [u8; DATAGRAM],
) -> Result<usize, DropReason> {
    let keys = stream.keys().ok_or(DropReason::NoKey)?;
    match accepted {
        Accepted::Rtp(seen) => {
            seen.octets = keys.unprotect(Kind::Rtp, datagram, scratch)?;
            Ok(seen.octets)
        }
        Accepted::Rtcp => keys.unprotect(Kind::Rtcp, datagram, scratch),
        Accepted::Datagram | Accepted::Refused => Err(DropReason::Unexpected),
    }
}

fn refuse(stream: &Stream, reason: DropReason) -> Accepted {
    stream.shared.ingress.errors.add(1);
    stream.drop_packet(reason);
    Accepted::Refused
}

fn expected(expect: Expect, datagram: &[u8]) -> Result<Accepted, DropReason> {
    match (expect, classify(datagram)) {
        (Expect::Datagrams, _) => Ok(Accepted::Datagram),
        (Expect::Rtp | Expect::RtpAndRtcp, PacketKind::Rtp) => Ok(Accepted::Rtp(seen(datagram))),
        (Expect::Rtcp | Expect::RtpAndRtcp, PacketKind::Rtcp) => Ok(Accepted::Rtcp),
        (_, PacketKind::Rtp | PacketKind::Rtcp) => Err(DropReason::Unexpected),
        (_, PacketKind::Stun | PacketKind::Dtls) => Err(DropReason::NotNegotiated),
        (_, PacketKind::Other) => Err(DropReason::Malformed),
    }
}

/// Fixed header fields; `datagram` was classified as RTP and so has twelve octets. Padding and extensions are
/// not looked at: on an encrypted stream that passes through they are none of our business.
pub fn seen(datagram: &[u8]) -> Seen {
    let word =
        |at: usize| u32::from_be_bytes([datagram[at], datagram[at + 1], datagram[at + 2], datagram[at + 3]]);
    Seen {
        ssrc: word(8),
        payload_type: datagram[1] & 0x7f,
        sequence_number: u16::from_be_bytes([datagram[2], datagram[3]]),
        timestamp: word(4),
        octets: datagram.len(),
        section: None,
    }
}
