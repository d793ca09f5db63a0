//! Fax gateways at work: UDPTL of one stream ↔ modem signals in the RTP of another.
//!
//! ```text
//! UDPTL → Receiver → ┌────────┐ → linear samples, 20 ms a turn → Transcoder → RTP
//! UDPTL ← Sender   ← │ modems │ ← linear samples ← Transcoder ←──────────────── RTP
//! ```
//!
//! The audio side is heard packet by packet, in the order and with the gaps of its timestamps; it is spoken to in turns of the worker's
//! schedule. One gateway costs about 20 µs a turn. The library may allocate when it changes from one modem to another.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use codec::graph::{OutPacket, Settings, Transcoder};
use codec::rtp::{RtpPacket, write_header};
use codec::t38::Gateway;
use rand::Rng;

use super::accept::Accepted;
use super::output::Output;
use super::plan::{CallKey, DropReason, FaxPlan, GatewayPlan};
use super::receive::{DATAGRAM, ReceiveBatch};
use super::stream::Streams;
use super::transcode::Transcoding;
use super::worker::Worker;
use crate::proto::udptl::{Receiver, Sender};

/// The gateways of a worker, by a number that is never used twice.
#[derive(Default)]
pub struct FaxGateways {
    running: HashMap<u64, Box<FaxGateway>>,
    next: u64,
}

/// One of them.
pub struct FaxGateway {
    call: CallKey,
    /// Tokens of the two streams.
    fax: u64,
    audio: u64,
    plan: FaxPlan,
    modem: Gateway,
    receiver: Receiver,
    sender: Sender,
    hears: Transcoding,
    /// When audio came last, and the timestamp behind it.
    heard: Option<(Instant, u32)>,
    speaks: Transcoder,
    turns: u64,
    samples: Vec<i16>,
    datagram: Vec<u8>,
}

const TURN: Duration = Duration::from_millis(20);
const TURN_SAMPLES: usize = 160;
/// Audio that is missing for longer is made up for, turn by turn.
const MISSING: Duration = Duration::from_millis(60);
/// A gap in timestamps up to this is time on the line; a longer one is another recording.
const LONGEST_GAP: u32 = codec::t38::RATE;
/// A gateway that is behind by more turns than that goes on from the present.
const MOST_BEHIND: u32 = 10;

impl FaxGateway {
    fn new(call: CallKey, [fax, audio]: [u64; 2], plan: FaxPlan) -> Option<Self> {
        let mut rng = rand::rng();
        let ssrc = rng.random_range(1..=u32::MAX);
        Some(Self {
            call,
            fax,
            audio,
            modem: Gateway::new(&modem_options(&plan))?,
            receiver: Receiver::default(),
            sender: Sender::new(plan.correction, usize::from(plan.modem.max_datagram)),
            hears: Transcoding::new(plan.hears.clone(), std::iter::empty(), &Settings::default()),
            heard: None,
            speaks: Transcoder::new(&plan.speaks, ssrc, rng.random()).ok()?,
            plan,
            turns: 0,
            samples: Vec::with_capacity(4 * TURN_SAMPLES),
            datagram: Vec::with_capacity(DATAGRAM),
        })
    }

    /// Goes on by another plan.
    fn update(&mut self, plan: FaxPlan) {
        if self.plan == plan {
            return;
        }
        if self.plan.modem != plan.modem {
            self.modem.configure(&modem_options(&plan));
        }
        self.sender.update(plan.correction, usize::from(plan.modem.max_datagram));
        let mut hears = Transcoding::new(plan.hears.clone(), std::iter::empty(), &Settings::default());
        hears.adopt(&mut self.hears);
        self.hears = hears;
        // A sink codec that cannot be opened leaves the one before.
        let _ = self.speaks.replan(&plan.speaks);
        self.plan = plan;
    }

    /// A packet of the audio side.
    fn hear(&mut self, now: Instant, datagram: &[u8]) -> Result<(), DropReason> {
        let packet = RtpPacket::parse(datagram).map_err(|_| DropReason::Malformed)?;
        let position =
            self.plan.hears.iter().position(|plan| plan.source.payload_type == packet.payload_type());
        let Self { hears, modem, samples, heard, .. } = self;
        let source = hears.source(now, packet.ssrc(), position.ok_or(DropReason::PayloadType)?)?;
        source.transcoder.push(now, packet, &mut |out: OutPacket<'_>| {
            let gap = heard.map_or(0, |(_, expected)| out.timestamp.wrapping_sub(expected));
            if (1..=LONGEST_GAP).contains(&gap) {
                modem.hear_nothing(gap as u16);
            }
            samples.clear();
            samples
                .extend(out.payload.chunks_exact(2).map(|octets| i16::from_be_bytes([octets[0], octets[1]])));
            *heard = Some((now, out.timestamp.wrapping_add(samples.len() as u32)));
            modem.hear(samples);
        });
        Ok(())
    }

    /// A datagram of the T.38 side.
    fn receive(&mut self, now: Instant, datagram: &[u8]) -> Result<(), DropReason> {
        // Too short for anything; some send such to keep a port open.
        if datagram.len() < 4 {
            return Err(DropReason::Malformed);
        }
        let result = self.receiver.receive(now, datagram);
        self.pass_on(now);
        result.map_err(|_| DropReason::Malformed)
    }

    fn pass_on(&mut self, now: Instant) {
        while let Some((number, ifp)) = self.receiver.next(now) {
            self.modem.receive(ifp, number);
        }
    }

    /// Sends what the modems have for the T.38 side.
    fn flush(&mut self, streams: &mut Streams, output: &mut Output) {
        while let Some(packet) = self.modem.next_packet() {
            let sink = streams.resolve(self.fax).and_then(|slot| streams.get_mut(slot));
            if let (true, Some(sink)) = (self.sender.send(&packet.octets, &mut self.datagram), sink) {
                for _ in 0..packet.copies {
                    // What cannot be sent is in the error counter of the stream.
                    let _ = output.send_datagram(sink, &self.datagram);
                }
            }
            self.modem.release(packet);
        }
    }

    /// One turn: what is missing is made up for, and the audio side is spoken to.
    fn turn(&mut self, streams: &mut Streams, output: &mut Output, scratch: &mut [u8; DATAGRAM]) {
        let now = output.now.instant;
        self.pass_on(now);
        if let Some((at, expected)) =
            self.heard.filter(|(at, _)| now.saturating_duration_since(*at) > MISSING)
        {
            self.modem.hear_nothing(TURN_SAMPLES as u16);
            // If that audio comes all the same, it comes too late.
            self.heard = Some((at + TURN, expected.wrapping_add(TURN_SAMPLES as u32)));
        }
        self.samples.resize(TURN_SAMPLES, 0);
        self.modem.speak(&mut self.samples);
        let mut packet = [0; 12 + 2 * TURN_SAMPLES];
        let (header, payload) = packet.split_at_mut(12);
        if let Ok(header) = <&mut [u8; 12]>::try_from(header) {
            let timestamp = (self.turns as u32).wrapping_mul(TURN_SAMPLES as u32);
            write_header(
                header,
                self.turns == 0,
                self.plan.speaks.source.payload_type,
                self.turns as u16,
                timestamp,
                1,
            );
        }
        for (octets, sample) in payload.chunks_exact_mut(2).zip(&self.samples) {
            octets.copy_from_slice(&sample.to_be_bytes());
        }
        self.turns += 1;
        let (tokens, sink) = ([self.fax, self.audio], streams.resolve(self.audio));
        if let (Ok(packet), Some(sink)) = (RtpPacket::parse(&packet), sink.and_then(|s| streams.get_mut(s))) {
            self.speaks.push(now, packet, &mut |out: OutPacket<'_>| {
                // As above.
                let _ = output.emit(sink, tokens, out, scratch);
            });
        }
        self.flush(streams, output);
    }
}

/// A packet has to leave room for the header, and for redundancy if there is any.
fn modem_options(plan: &FaxPlan) -> codec::t38::Options {
    codec::t38::Options { max_datagram: plan.modem.max_datagram.clamp(20, 400), ..plan.modem }
}

/// What arrived on a stream of a gateway.
pub fn received(
    streams: &mut Streams,
    (slot, number): (u32, u64),
    batch: &ReceiveBatch,
    accepted: &[Accepted],
    output: &mut Output,
) {
    let now = output.now.instant;
    let Some(mut gateway) = output.fax.running.remove(&number) else { return };
    for (index, accepted) in accepted.iter().enumerate() {
        let result = match accepted {
            Accepted::Rtp(_) => gateway.hear(now, batch.octets(index)),
            Accepted::Datagram => gateway.receive(now, batch.octets(index)),
            Accepted::Refused | Accepted::Rtcp => Ok(()),
        };
        if let (Err(reason), Some(stream)) = (result, streams.get(slot)) {
            stream.drop_packet(reason);
        }
    }
    gateway.flush(streams, output);
    output.fax.running.insert(number, gateway);
}

impl Worker {
    /// Makes the gateways of a call equal to those of a plan.
    pub(super) fn install_gateways(
        &mut self,
        key: CallKey,
        plans: &[GatewayPlan],
        slot_of: impl Fn(&GatewayPlan) -> Option<[u32; 2]>,
    ) {
        let now = self.output.now.instant;
        let mut kept = Vec::new();
        for wanted in plans {
            let Some(slots) = slot_of(wanted) else { continue };
            let tokens = slots.map(|slot| self.streams.token(slot));
            let gateways = &mut self.output.fax;
            let before = gateways.running.iter_mut().find(|(_, g)| [g.fax, g.audio] == tokens);
            let number = match before {
                Some((number, gateway)) => {
                    gateway.update(wanted.plan.clone());
                    *number
                }
                None => {
                    let Some(gateway) = FaxGateway::new(key, tokens, wanted.plan.clone()) else {
                        continue;
                    };
                    let number = gateways.next;
                    gateways.next += 1;
                    gateways.running.insert(number, Box::new(gateway));
                    self.output.schedule.fax(now, number);
                    number
                }
            };
            kept.push((number, slots));
        }
        self.output
            .fax
            .running
            .retain(|number, gateway| gateway.call != key || kept.iter().any(|(kept, _)| kept == number));
        for (number, slots) in kept {
            for slot in slots {
                if let Some(stream) = self.streams.get_mut(slot) {
                    stream.gateway = Some(number);
                }
            }
        }
    }

    /// A gateway's turn in the schedule.
    pub(super) fn fax_turn(&mut self, number: u64, at: Instant) {
        let Some(mut gateway) = self.output.fax.running.remove(&number) else { return };
        gateway.turn(&mut self.streams, &mut self.output, &mut self.scratch);
        let now = self.output.now.instant;
        let behind = now.saturating_duration_since(at);
        let next = if behind > TURN * MOST_BEHIND { now + TURN } else { at + TURN };
        self.output.schedule.fax(next, number);
        self.output.fax.running.insert(number, gateway);
    }
}
