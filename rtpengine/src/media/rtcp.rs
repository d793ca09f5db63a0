//! RTCP on its way from one party to another: unchanged where RTP passes, mapped where it is transcoded.
//!
//! Streams of a transcoded SSRC have our SSRC, timestamps and counts on the far side, so whatever is said about
//! them is translated: sender reports by the transcoder's clock, report blocks by its numbering. NTP times stay,
//! and with them the round-trip times that either end works out. So do losses: a packet that was lost before it
//! was transcoded is missing behind the transcoder as well, so that the far receiver's loss is that of both legs.
//! An SSRC that no transcoder knows stays as it is. Of a party whose media sections share a port, everybody gets what is about the
//! sections that they have with it.

use super::output::Output;
use super::plan::DropReason;
use super::receive::DATAGRAM;
use super::stream::{Stream, Streams};
use super::transcode::{Source, Transcoding};
use crate::proto::rtcp::feedback;
use crate::proto::rtcp::receiver_report::ReportBlock;
use crate::proto::rtcp::rewrite::{Mapping, rewrite};
use crate::proto::rtcp::sender_report::SenderInfo;

/// Edges that transcode or change SSRCs and that an RTCP packet may speak of, as (slot, index of the edge).
#[derive(Default)]
pub struct RtcpRoute {
    /// Towards the party that gets the RTCP: what the sender of the RTCP sends.
    pub outgoing: Vec<(u32, usize)>,
    /// Towards the party that sent the RTCP: what it receives.
    pub incoming: Vec<(u32, usize)>,
}

impl RtcpRoute {
    /// RTCP of a party follows the same way as its RTP, so edges are recognised by the RTCP sink: `(slot, index
    /// of the edge, RTCP sink)` are all transcoding edges of the call. `None` when nothing is to be mapped.
    pub fn compile(from: u32, to: u32, transcoding: &[(u32, usize, u32)]) -> Option<Box<Self>> {
        let towards = |sink| {
            let edges = transcoding.iter().filter(move |(.., rtcp_to)| *rtcp_to == sink);
            edges.map(|(slot, edge, _)| (*slot, *edge)).collect::<Vec<_>>()
        };
        let route = Self { outgoing: towards(to), incoming: towards(from) };
        (!route.outgoing.is_empty() || !route.incoming.is_empty()).then(|| Box::new(route))
    }

    /// Something is to be mapped at present.
    fn maps(&self, streams: &Streams) -> bool {
        let edges = self.outgoing.iter().chain(&self.incoming);
        let mut edges = edges.filter_map(|&(slot, edge)| streams.get(slot)?.edges.get(edge));
        edges.any(|edge| edge.transcoding.is_some() || edge.ssrc_mask != 0)
    }
}

/// Sends an RTCP packet that arrived on the stream in `slot` along one of its edges.
pub fn forward(
    streams: &mut Streams,
    slot: u32,
    edge: usize,
    datagram: &[u8],
    output: &mut Output,
    scratch: &mut [u8; DATAGRAM],
) -> Result<(), DropReason> {
    let stream = streams.get(slot).ok_or(DropReason::NoSink)?;
    let edge = stream.edges.get(edge).ok_or(DropReason::NoSink)?;
    let to = edge.rtcp_to.ok_or(DropReason::NoSink)?;
    let sink = streams.get(to).ok_or(DropReason::NoSink)?;
    let is_mixed = streams.get(sink.rtp_slot(to)).is_some_and(|rtp| rtp.mixer.is_some());
    if sink.generator.is_some() || is_mixed {
        // It has been read; the party gets our own.
        return Ok(());
    }
    let filtered = stream.feedback && !sink.feedback;
    let route = edge.rtcp.as_deref().filter(|route| route.maps(streams));
    let part = Part::of(stream, slot, to);
    let packet = if route.is_none() && part.is_none() && !filtered {
        datagram
    } else {
        let copy = scratch.get_mut(..datagram.len()).ok_or(DropReason::Malformed)?;
        copy.copy_from_slice(datagram);
        let mut length = copy.len();
        if route.is_some() || part.is_some() {
            let numbers = Numbers { streams, route: route.unwrap_or(&NO_ROUTE), part };
            length = rewrite(copy, &numbers).map_err(|_| DropReason::Malformed)?;
        }
        let mut copy = copy.get_mut(..length).ok_or(DropReason::Malformed)?;
        if filtered {
            length = feedback::strip(copy);
            copy = copy.get_mut(..length).unwrap_or_default();
        }
        copy
    };
    if packet.is_empty() {
        return Ok(());
    }
    let sink = streams.get_mut(to).ok_or(DropReason::NoSink)?;
    output.send_rtcp(sink, packet)
}

/// Where an SSRC comes from that the sender of RTCP receives: slot of the RTCP of its party, slot of its RTP, and its SSRC there.
/// `slot` is that of the stream on which the RTCP came in.
pub fn source_of(streams: &Streams, slot: u32, ssrc: u32) -> Option<(u32, u32, u32)> {
    streams.get(slot)?.edges.iter().find_map(|edge| {
        let rtcp = edge.rtcp_to?;
        let rtp = streams.get(rtcp)?.rtp_slot(rtcp);
        let source = |route| Numbers { streams, route, part: None }.source(ssrc);
        let ssrc = edge.rtcp.as_deref().map_or(ssrc, source);
        streams.get(rtp)?.ingress_ssrc.knows(ssrc).then_some((rtcp, rtp, ssrc))
    })
}

/// A party with several media sections on one port, and one of those who get its RTCP.
#[derive(Clone, Copy)]
struct Part<'a> {
    stream: &'a Stream,
    slot: u32,
    /// Slot of the one's RTCP.
    to: u32,
}

impl<'a> Part<'a> {
    /// `None`: there is only one who gets it.
    fn of(stream: &'a Stream, slot: u32, to: u32) -> Option<Self> {
        stream.sections.as_ref()?;
        let mut sinks = stream.edges.iter().filter_map(|edge| edge.rtcp_to);
        sinks.any(|sink| sink != to).then_some(Self { stream, slot, to })
    }

    /// A section's packets go to others, and none to this one.
    fn is_elsewhere(&self, section: u8) -> bool {
        let edges = self.stream.edges.iter().filter(|edge| edge.section() == Some(section));
        let mut sinks = edges.filter_map(|edge| edge.rtcp_to).peekable();
        sinks.peek().is_some() && sinks.all(|sink| sink != self.to)
    }
}

struct Numbers<'a> {
    streams: &'a Streams,
    route: &'a RtcpRoute,
    part: Option<Part<'a>>,
}

/// Nothing is mapped.
static NO_ROUTE: RtcpRoute = RtcpRoute { outgoing: Vec::new(), incoming: Vec::new() };

impl<'a> Numbers<'a> {
    fn sources(&self, edges: &'a [(u32, usize)]) -> impl Iterator<Item = &'a Source> {
        let streams = self.streams;
        let transcoding = move |(slot, edge): &(u32, usize)| -> Option<&'a Transcoding> {
            streams.get(*slot)?.edges.get(*edge)?.transcoding.as_deref()
        };
        edges.iter().filter_map(transcoding).flat_map(|t| &t.sources)
    }

    fn outgoing(&self, ssrc: u32) -> Option<&'a Source> {
        self.sources(&self.route.outgoing).find(|source| source.ssrc == ssrc)
    }

    fn incoming(&self, ssrc: u32) -> Option<&'a Source> {
        self.sources(&self.route.incoming).find(|source| source.ssrc_out == ssrc)
    }

    /// Something that the sender of the RTCP receives is transcoded.
    fn transcodes(&self) -> bool {
        let mut edges =
            self.route.incoming.iter().filter_map(|&(slot, edge)| self.streams.get(slot)?.edges.get(edge));
        edges.any(|edge| edge.transcoding.is_some())
    }

    /// Edges that change the SSRC of what passes, as (slot, mask).
    fn masks(&self, edges: &'a [(u32, usize)]) -> impl Iterator<Item = (u32, u32)> {
        let streams = self.streams;
        edges.iter().filter_map(move |&(slot, index)| {
            let edge = streams.get(slot)?.edges.get(index)?;
            (edge.ssrc_mask != 0 && edge.may_change_ssrcs()).then_some((slot, edge.ssrc_mask))
        })
    }

    /// Whether an SSRC has arrived on a stream.
    fn knows(&self, slot: u32, ssrc: u32) -> bool {
        self.streams.get(slot).is_some_and(|stream| stream.ingress_ssrc.knows(ssrc))
    }

    /// The SSRC that was changed to this one on its way to the sender of the RTCP.
    fn unmasked(&self, ssrc: u32) -> Option<u32> {
        let mut masks = self.masks(&self.route.incoming);
        masks.find(|(slot, mask)| self.knows(*slot, ssrc ^ mask)).map(|(_, mask)| ssrc ^ mask)
    }

    /// An SSRC that passes on an edge which transcodes others.
    fn passes(&self, ssrc: u32) -> bool {
        let mut streams = self.route.incoming.iter().filter_map(|(slot, _)| self.streams.get(*slot));
        streams.any(|stream| stream.ingress_ssrc.knows(ssrc))
    }
}

impl Mapping for Numbers<'_> {
    fn sender(&self, ssrc: u32) -> u32 {
        if let Some(source) = self.outgoing(ssrc) {
            return source.ssrc_out;
        }
        let mut masks = self.masks(&self.route.outgoing);
        masks.find(|(slot, _)| self.knows(*slot, ssrc)).map_or(ssrc, |(_, mask)| ssrc ^ mask)
    }

    fn hides(&self, ssrc: u32) -> bool {
        self.part.is_some_and(|part| {
            let section = part.stream.sections.as_ref().and_then(|sections| sections.known(ssrc));
            section.is_some_and(|section| part.is_elsewhere(section))
        })
    }

    fn wants(&self, ssrc: u32) -> bool {
        let is_of_other = |part: Part<'_>| {
            source_of(self.streams, part.slot, ssrc).is_some_and(|(rtcp, ..)| rtcp != part.to)
        };
        !self.part.is_some_and(is_of_other)
    }

    fn sender_info(&self, ssrc: u32, info: SenderInfo) -> Option<SenderInfo> {
        if self.hides(ssrc) {
            return None;
        }
        let Some(source) = self.outgoing(ssrc) else { return Some(info) };
        // A stream of which nothing has left has no sender report (RFC 3550 §6.4).
        let rtp_timestamp = source.transcoder.outgoing_timestamp(info.rtp_timestamp)?;
        let sent = (source.sent.packets > 0).then_some(source.sent)?;
        Some(SenderInfo { ntp: info.ntp, rtp_timestamp, packets: sent.packets, octets: sent.octets })
    }

    fn source(&self, ssrc: u32) -> u32 {
        self.incoming(ssrc).map(|source| source.ssrc).or_else(|| self.unmasked(ssrc)).unwrap_or(ssrc)
    }

    fn report(&self, block: ReportBlock) -> Option<ReportBlock> {
        if !self.wants(block.ssrc) {
            return None;
        }
        let Some(source) = self.incoming(block.ssrc) else {
            if let Some(ssrc) = self.unmasked(block.ssrc) {
                return Some(ReportBlock { ssrc, ..block });
            }
            return (!self.transcodes() || self.passes(block.ssrc)).then_some(block);
        };
        let (clock_in, clock_out) = source.clock_rates();
        let jitter = u64::from(block.jitter) * u64::from(clock_in) / u64::from(clock_out.max(1));
        Some(ReportBlock {
            ssrc: source.ssrc,
            highest_sequence: source.numbering.source_of(block.highest_sequence)?,
            jitter: u32::try_from(jitter).unwrap_or(u32::MAX),
            ..block
        })
    }
}
