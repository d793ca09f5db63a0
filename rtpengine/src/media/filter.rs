//! The way of a packet over an edge on which a command holds something back, replaces it, or adds to it.
//!
//! Packets on such an edge leave one by one and from a buffer of their own, so that other edges see them as they came. What is held
//! back because of DTMF leaves no gap in the sequence numbers; blocked media do, since all of it is missing.

use std::time::Instant;

use codec::PayloadFormat;
use codec::def::{CodecDef, Kind};
use codec::graph::OutPacket;
use codec::rtp::{self, RtpPacket};

use super::apart::mask_ssrc;
use super::dtmf::EventFormats;
use super::forward::{Way, transcode};
use super::output::Output;
use super::plan::DropReason;
use super::receive::DATAGRAM;
use super::renumber::Renumber;
use super::route::{Action, Edge};
use super::ssrc::Seen;
use super::stream::{Stream, Streams};
use super::transcode::Source;
use super::treatment::{DtmfTreatment, MediaTreatment, ToneFrames, Treatment};
use crate::proto::dtmf::NamedEvent;

/// State of an edge that has a [`Treatment`], or had one.
pub struct Filter {
    pub treatment: Treatment,
    events: EventFormats,
    /// (payload type, RTP clock, what silences it) of what the source sends.
    formats: Vec<(u8, u32, Silencing)>,
    following: Option<Following>,
    /// The source before it, which may come back: its numbers must not begin anew.
    former: Option<Following>,
    /// Timestamp of the event in progress and the code that it is given.
    substitute: Option<(u32, u8)>,
    tones: Option<Tones>,
    next_tone: usize,
    /// The added digit that keeps the source's packets back.
    pub injecting: Option<u64>,
    /// When the digits that are queued, and the pause behind them, are over.
    pub busy_until: Option<Instant>,
    altered: Box<[u8; DATAGRAM]>,
}

/// The SSRC that added packets belong to: that of the last packet.
#[derive(Clone, Copy)]
pub struct Following {
    pub ssrc: u32,
    numbers: Renumber,
    /// Timestamp of the newest media packet, and when it came.
    timestamp: u32,
    at: Instant,
    clock_rate: u32,
}

/// Tones in place of an event.
#[derive(Clone, Copy)]
struct Tones {
    event: u32,
    first_timestamp: u32,
    which: usize,
    sent: u32,
}

/// How a payload that is not decoded becomes inaudible.
#[derive(Clone, Copy)]
enum Silencing {
    /// Filled with an octet that the codec means silence by.
    Filled(u8),
    /// It is comfort noise.
    Needless,
    Dropped,
}

/// What becomes of a packet.
enum Fate<'a> {
    Go(&'a [u8]),
    /// Nothing of it leaves.
    Held(DropReason),
    /// Audio leaves in its place: up to `ticks` of the event's clock since its beginning.
    Tones {
        ticks: u16,
        clock_rate: u32,
    },
}

/// A packet that arrived on a stream.
#[derive(Clone, Copy)]
pub struct Arrival<'a> {
    pub slot: u32,
    pub seen: Seen,
    pub datagram: &'a [u8],
}

/// A packet that the source did not send.
#[derive(Clone, Copy)]
pub struct Added<'a> {
    pub payload_type: u8,
    pub marker: bool,
    pub timestamp: u32,
    pub payload: &'a [u8],
}

impl Filter {
    /// `formats` are those of the stream that the edge starts from.
    pub fn new(treatment: Treatment, formats: &[PayloadFormat]) -> Self {
        let silencing = |format: &PayloadFormat| match format.def() {
            Some(CodecDef { silence_octet: Some(octet), .. }) => Silencing::Filled(*octet),
            Some(CodecDef { kind: Kind::ComfortNoise, .. }) => Silencing::Needless,
            _ => Silencing::Dropped,
        };
        Self {
            treatment,
            events: EventFormats::of(formats),
            formats: formats.iter().map(|f| (f.payload_type, f.clock_rate, silencing(f))).collect(),
            following: None,
            former: None,
            substitute: None,
            tones: None,
            next_tone: 0,
            injecting: None,
            busy_until: None,
            altered: Box::new([0; DATAGRAM]),
        }
    }

    /// Goes on where the filter of the edge before stood.
    pub fn adopt(&mut self, old: &Filter) {
        self.following = old.following;
        self.former = old.former;
        self.substitute = old.substitute;
        self.tones = old.tones;
        self.next_tone = old.next_tone;
        self.injecting = old.injecting;
        self.busy_until = old.busy_until;
    }

    /// The edge cannot do without it although nothing is asked of it any more: numbers have been shifted, or digits are on their way.
    pub fn must_stay(&self, now: Instant) -> bool {
        [self.following, self.former].iter().flatten().any(|following| !following.numbers.is_identity())
            || self.injecting.is_some()
            || self.busy_until.is_some_and(|until| until > now)
    }

    /// SSRC that added packets go with, and its timestamp at `now`; `None` before the first packet.
    pub fn position(&self, now: Instant) -> Option<(u32, u32)> {
        let following = self.following?;
        let elapsed = now.saturating_duration_since(following.at).as_micros();
        let ticks = (elapsed * u128::from(following.clock_rate) / 1_000_000) as u32;
        Some((following.ssrc, following.timestamp.wrapping_add(ticks)))
    }

    /// Takes note of a packet; whether it is newer than all before.
    fn follow(&mut self, now: Instant, seen: &Seen) -> bool {
        let is_event = self.events.contains(seen.payload_type);
        let clock = self.formats.iter().find(|(pt, ..)| *pt == seen.payload_type).map_or(8000, |f| f.1);
        let fresh = Following {
            ssrc: seen.ssrc,
            numbers: Renumber::default(),
            timestamp: seen.timestamp,
            at: now,
            clock_rate: clock.max(1),
        };
        let following = self.following.get_or_insert(fresh);
        if following.ssrc != seen.ssrc {
            let back = self.former.filter(|former| former.ssrc == seen.ssrc);
            self.former = Some(std::mem::replace(following, back.unwrap_or(fresh)));
        }
        let newer = following.numbers.received(seen.sequence_number);
        // The timestamp of an event is that of its beginning.
        if newer && !is_event {
            let numbers = following.numbers;
            *following = Following { numbers, ..fresh };
        }
        newer
    }

    /// A packet that is decoded on its way is silenced by the transcoder, whatever its codec.
    fn fate<'a>(&'a mut self, seen: &Seen, datagram: &'a [u8], decoded: bool) -> Fate<'a> {
        if self.injecting.is_some() {
            return Fate::Held(DropReason::Dtmf);
        }
        if self.events.contains(seen.payload_type) {
            return self.event(seen, datagram);
        }
        match self.treatment.media {
            MediaTreatment::Pass => Fate::Go(datagram),
            MediaTreatment::Block => Fate::Held(DropReason::Blocked),
            MediaTreatment::Silence if decoded => Fate::Go(datagram),
            MediaTreatment::Silence => {
                let format = self.formats.iter().find(|(pt, ..)| *pt == seen.payload_type);
                match format.map_or(Silencing::Dropped, |(.., silencing)| *silencing) {
                    Silencing::Filled(octet) => self.alter(datagram, |payload| payload.fill(octet)),
                    Silencing::Needless => Fate::Go(datagram),
                    Silencing::Dropped => Fate::Held(DropReason::Blocked),
                }
            }
        }
    }

    fn event<'a>(&'a mut self, seen: &Seen, datagram: &'a [u8]) -> Fate<'a> {
        if self.treatment.dtmf_delayed {
            return Fate::Held(DropReason::Dtmf);
        }
        let code = match &self.treatment.dtmf {
            DtmfTreatment::Pass => return Fate::Go(datagram),
            DtmfTreatment::Drop => return Fate::Held(DropReason::Dtmf),
            treatment => {
                let packet = RtpPacket::parse(datagram).ok();
                let event = packet.and_then(|packet| NamedEvent::parse(packet.payload()));
                let Some(event) = event else { return Fate::Held(DropReason::Malformed) };
                if !event.is_digit() {
                    return Fate::Go(datagram);
                }
                match treatment {
                    DtmfTreatment::Digit(code) => *code,
                    DtmfTreatment::Tones(_) => {
                        let clock_rate = self.events.clock_rate(seen.payload_type);
                        return Fate::Tones { ticks: event.duration, clock_rate };
                    }
                    _ => match self.substitute {
                        Some((timestamp, code)) if timestamp == seen.timestamp => code,
                        _ => rand::random_range(0..=15),
                    },
                }
            }
        };
        self.substitute = Some((seen.timestamp, code));
        self.alter(datagram, |payload| {
            if let Some(first) = payload.first_mut() {
                *first = code;
            }
        })
    }

    /// A copy of the packet with another payload of the same length.
    fn alter(&mut self, datagram: &[u8], change: impl FnOnce(&mut [u8])) -> Fate<'_> {
        let Ok(packet) = RtpPacket::parse(datagram) else { return Fate::Held(DropReason::Malformed) };
        let (start, length) = (packet.header_len(), packet.payload().len());
        let Some(copy) = self.altered.get_mut(..datagram.len()) else {
            return Fate::Held(DropReason::Malformed);
        };
        copy.copy_from_slice(datagram);
        if let Some(payload) = copy.get_mut(start..start + length) {
            change(payload);
        }
        Fate::Go(copy)
    }

    /// Sends the tones that stand for an event up to `ticks` of its clock.
    fn tones(
        &mut self,
        edge: &mut Edge,
        (sink, tokens): (&mut Stream, [u64; 2]),
        event: (u32, u32, u16),
        output: &mut Output,
        scratch: &mut [u8; DATAGRAM],
    ) -> Result<(), DropReason> {
        let (timestamp, clock_rate, ticks) = event;
        let DtmfTreatment::Tones(all) = &self.treatment.dtmf else { return Ok(()) };
        let all = all.clone();
        let mut tones = match self.tones {
            Some(tones) if tones.event == timestamp => tones,
            _ => {
                let which = self.next_tone;
                self.next_tone = (which + 1) % all.len().max(1);
                let ssrc = self.following.map(|following| following.ssrc);
                let source = edge.transcoding.as_ref().zip(ssrc);
                let source = source.and_then(|(t, ssrc)| t.sources.iter().find(|s| s.ssrc == ssrc));
                let mapped = source.and_then(|source| source.transcoder.outgoing_timestamp(timestamp));
                Tones { event: timestamp, first_timestamp: mapped.unwrap_or(timestamp), which, sent: 0 }
            }
        };
        let Some(frames) = all.get(tones.which) else { return Ok(()) };
        let wanted = u64::from(ticks) * u64::from(frames.clock_rate) / u64::from(clock_rate.max(1));
        // A duration far ahead of the packets that carry it would ask for many frames at once.
        let mut left = MAX_TONES_AT_ONCE;
        let mut result = Ok(());
        while u64::from(tones.sent) * u64::from(frames.frame_ticks) < wanted && left > 0 {
            left -= 1;
            let added = tone(frames, tones.first_timestamp, tones.sent);
            let sent = self.add(edge, (&mut *sink, tokens), added, output, scratch);
            tones.sent += 1;
            result = result.and(sent);
        }
        self.tones = Some(tones);
        result
    }

    /// Sends a packet of our own among those of the source, under the source's SSRC and in its numbering. The tokens are those of the
    /// stream that the edge starts from and of the sink.
    pub fn add(
        &mut self,
        edge: &mut Edge,
        (sink, tokens): (&mut Stream, [u64; 2]),
        added: Added<'_>,
        output: &mut Output,
        scratch: &mut [u8; DATAGRAM],
    ) -> Result<(), DropReason> {
        let Some(following) = &mut self.following else { return Err(DropReason::NoSink) };
        let Added { payload_type, marker, timestamp, payload } = added;
        let now = output.now.instant;
        if let Some(source) = edge.transcoding.as_mut().and_then(|t| t.of(following.ssrc)) {
            let Source { transcoder, numbering, sent, .. } = source;
            let mut result = Ok(());
            transcoder.insert(now, (payload_type, marker), timestamp, payload, &mut |out: OutPacket<'_>| {
                numbering.made(out.sequence_number);
                result = output.emit(sink, tokens, out, scratch);
                sent.count(out.payload.len(), result.is_ok());
            });
            return result;
        }
        let Some(sequence_number) = following.numbers.add() else { return Err(DropReason::NoSink) };
        let length = 12 + payload.len();
        let packet = scratch.get_mut(..length).ok_or(DropReason::SendFailed)?;
        let (header, body) = packet.split_first_chunk_mut().ok_or(DropReason::SendFailed)?;
        rtp::write_header(
            header,
            marker,
            payload_type,
            sequence_number,
            timestamp,
            following.ssrc ^ edge.ssrc_mask,
        );
        body.copy_from_slice(payload);
        output.send_rtp(sink, packet)
    }
}

/// Frames that one event packet may be replaced by: as many as fit in the longest packet time in use.
const MAX_TONES_AT_ONCE: u32 = 10;

/// Frame `index` of tones that began at `first_timestamp`.
pub fn tone(frames: &ToneFrames, first_timestamp: u32, index: u32) -> Added<'_> {
    Added {
        payload_type: frames.payload_type,
        marker: index == 0,
        timestamp: first_timestamp.wrapping_add(index.wrapping_mul(frames.frame_ticks)),
        payload: frames.frame(index),
    }
}

/// Sends one packet along an edge whose filter has been taken out of it.
pub fn follow(
    streams: &mut Streams,
    edge: &mut Edge,
    filter: &mut Filter,
    arrival: Arrival<'_>,
    output: &mut Output,
    scratch: &mut [u8; DATAGRAM],
) -> Result<(), DropReason> {
    let Arrival { slot, seen, datagram } = arrival;
    let now = output.now.instant;
    let action = edge.action(seen.payload_type);
    if let Action::Drop(reason) = action {
        return Err(reason);
    }
    let newest = filter.follow(now, &seen);
    let decoded = matches!(action, Action::Transcode(_));
    let silent = filter.treatment.media == MediaTreatment::Silence;
    let (octets, held, tones) = match filter.fate(&seen, datagram, decoded) {
        Fate::Go(octets) => (octets, None, None),
        Fate::Held(reason) => (datagram, Some(reason), None),
        Fate::Tones { ticks, clock_rate } => (datagram, Some(DropReason::Dtmf), Some((clock_rate, ticks))),
    };
    let way = match action {
        Action::Transcode(plan) => {
            let transcoding = edge.transcoding.as_mut().ok_or(DropReason::PayloadType)?;
            let plan = transcoding.plan_of(seen.ssrc, seen.payload_type, usize::from(plan));
            let transcoder = &mut transcoding.source(now, seen.ssrc, plan)?.transcoder;
            transcoder.hold(held.is_some());
            transcoder.silence(silent);
            Some(Way::Decode(plan as u8))
        }
        Action::Rewrite(payload_type) => companion(edge, now, &seen, payload_type, held.is_some())?,
        _ => companion(edge, now, &seen, seen.payload_type, held.is_some())?,
    };
    let numbered_by_transcoder = way.is_some();
    if let Some(way) = way {
        let passed = transcode(streams, slot, edge, way, octets, output, scratch);
        if held.is_none() {
            return passed;
        }
    }
    let to = edge.rtp_to.ok_or(DropReason::NoSink)?;
    let Some(reason) = held else {
        let payload_type =
            if let Action::Rewrite(payload_type) = action { payload_type } else { seen.payload_type };
        let packet = scratch.get_mut(..octets.len()).ok_or(DropReason::SendFailed)?;
        packet.copy_from_slice(octets);
        let number =
            filter.following.map_or(seen.sequence_number, |f| f.numbers.number(seen.sequence_number));
        if let [_, second, high, low, ..] = packet {
            *second = *second & 0x80 | payload_type;
            [*high, *low] = number.to_be_bytes();
        }
        mask_ssrc(packet, edge.ssrc_mask);
        return output.send_rtp(streams.get_mut(to).ok_or(DropReason::NoSink)?, packet);
    };
    if newest
        && reason == DropReason::Dtmf
        && !numbered_by_transcoder
        && let Some(following) = &mut filter.following
    {
        following.numbers.take_out(seen.sequence_number);
    }
    if let Some((clock_rate, ticks)) = tones {
        let tokens = [streams.token(slot), streams.token(to)];
        let sink = streams.get_mut(to).ok_or(DropReason::NoSink)?;
        filter.tones(edge, (sink, tokens), (seen.timestamp, clock_rate, ticks), output, scratch)?;
    }
    Err(reason)
}

/// How a packet that keeps its payload goes when a transcoder numbers it.
fn companion(
    edge: &mut Edge,
    now: Instant,
    seen: &Seen,
    payload_type: u8,
    held: bool,
) -> Result<Option<Way>, DropReason> {
    match edge.numbers_of(now, seen) {
        None => Ok(None),
        Some(source) => {
            source?.transcoder.hold(held);
            Ok(Some(Way::Companion(payload_type)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_comes_back_goes_on_with_its_numbers() {
        let now = Instant::now();
        let mut filter = Filter::new(Treatment::default(), &[]);
        let mut sent = |ssrc, sequence_number: u16| {
            let timestamp = u32::from(sequence_number) * 160;
            filter.follow(
                now,
                &Seen { ssrc, payload_type: 0, sequence_number, timestamp, octets: 172, section: None },
            );
            let numbers = &mut filter.following.as_mut().expect("a packet has come").numbers;
            let number = numbers.number(sequence_number);
            // A digit behind the first packet of the first source.
            let added = if (ssrc, sequence_number) == (1, 10) { numbers.add() } else { None };
            (number, added)
        };
        assert_eq!(sent(1, 10), (10, Some(11)));
        assert_eq!(sent(2, 700), (700, None));
        assert_eq!(sent(1, 11), (12, None));
        assert_eq!(sent(2, 701), (701, None));
        assert_eq!(sent(1, 12), (13, None));
    }
}
