//! The streams of a worker: a slab of everything that a packet's way needs about its local port.

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use codec::header_extension::Ids;

use super::arrivals::Arrivals;
use super::dtls::Handshake;
use super::dtmf::{Detector, EventFormats};
use super::hold::Holding;
use super::ice::StreamIce;
use super::learn::{Learner, PeerRules};
use super::measure::Meter;
use super::mid::MidWriter;
use super::mixer::Mixer;
use super::offload::{Guarded, Offloading, Place};
use super::own_reports::Generator;
use super::pierce::Pierce;
use super::plan::{CallKey, DropReason, Expect, StreamId, StreamPlan, StreamSecurity, TapPlan, Unheard};
use super::reports::Reports;
use super::route::Edge;
use super::section::Demultiplexer;
use super::security::{Direction, Security};
use super::send::Destination;
use super::short::ShortPackets;
use super::sockets::Sockets;
use super::ssrc::SsrcTable;
use super::stats::StreamShared;
use super::totals::WorkerTotals;
use crate::config::InterfaceId;
use crate::prefetch::prefetch;
use crate::proto::dtls::SrtpKeys;
use crate::proto::rtcp::receiver_report::ReportBlock;

/// One local port at work.
///
/// With a packet every 20 ms each cache line that it touches is a miss, so what every packet touches lies in front, by the side that
/// touches it; [`Streams::look_ahead`] asks for these lines before they are needed.
#[repr(C, align(64))]
pub struct Stream {
    // First line: both sides.
    /// What packets to the party leave from.
    pub fd: RawFd,
    pub interface: InterfaceId,
    /// Players that keep other media from this stream's peer.
    pub muted_by: u16,
    pub expect: Expect,
    /// Packets are protected; never without `security`.
    pub secured: bool,
    /// Nothing is sent before a packet of the peer has come.
    pub awaits_peer: bool,
    /// A packet of the peer has come, since learning began.
    pub is_heard: bool,
    /// Packets come in through its twin.
    pub is_behind: bool,
    /// Some of `hidden_extensions` are there.
    pub hides_extensions: bool,
    /// There are `arrivals`.
    pub tells_arrival: bool,
    /// The party's profile has feedback messages (RFC 4585).
    pub feedback: bool,
    pub sockets: Sockets,
    pub shared: Arc<StreamShared>,
    /// Keys; also those of a stream that is no longer secured.
    pub security: Option<Box<Security>>,
    /// The other party's stream on the same socket.
    pub twin: Option<u32>,

    // Second line: what leaves.
    pub destination: Option<Destination>,
    /// Says to the party of which section a packet is.
    pub mids: Option<Box<MidWriter>>,
    /// What the tap is to see of this stream.
    pub tap: Option<TapPlan>,

    // One line each.
    pub ingress_ssrc: SsrcTable,
    pub egress_ssrc: SsrcTable,

    // Fifth and sixth line, with the first field of `learner`: what arrives.
    pub edges: Vec<Edge>,
    /// Where the party sends events.
    pub dtmf: Option<Box<Detector>>,
    /// The media sections that share the stream, if several do.
    pub sections: Option<Box<Demultiplexer>>,
    /// What length is usual, where shorter packets are not wanted.
    pub short: Option<Box<ShortPackets>>,
    /// Packets of the party wait before they go through the edges.
    pub holding: Option<Box<Holding>>,
    /// Its part of an ICE agent.
    pub ice: Option<Box<StreamIce>>,
    /// The fax gateway that it belongs to.
    pub gateway: Option<u64>,
    /// Where the RTP is that the RTCP of this stream is about, if that is another stream.
    pub rtp: Option<u32>,
    /// The party hears one stream of our own.
    pub mixer: Option<Box<Mixer>>,
    pub learner: Learner,

    /// Whether the kernel forwards what comes in.
    pub offload: Offloading,
    /// What keeps strangers from its ports.
    pub guarded: Option<Box<Guarded>>,
    pub id: StreamId,
    pub call: CallKey,
    /// (payload type, clock rate)
    pub clock_rates: Box<[(u8, u32)]>,
    /// The association that gives the keys.
    pub dtls: Option<Box<Handshake>>,
    pub pierce: Option<Box<Pierce>>,
    /// Header extensions that the others are not to see; there if `hides_extensions`.
    pub hidden_extensions: Option<Box<Ids>>,
    /// Sections whose first packet control wants to hear of.
    pub arrivals: Option<Box<Arrivals>>,
    /// RTCP from and to the party, once there is some.
    pub reports: Option<Box<Reports>>,
    /// The party gets RTCP of our own and none of others.
    pub generator: Option<Box<Generator>>,
    /// What comes in is measured.
    pub meter: Option<Box<Meter>>,
    /// What the payloads of the party say about what it wants to be sent.
    pub codec_feedback: codec::Feedback,
    epoch: u32,
    /// Where the party is may have changed since the shield was told.
    pub learned_anew: bool,
    /// A turn of [`super::pierce`] is in the schedule.
    pub piercing: bool,
    /// Its worker's.
    totals: Arc<WorkerTotals>,
}

// One more octet, and each of a call's four streams takes 128 more from the allocator.
const _: () = assert!(size_of::<Stream>() <= 768);

impl Stream {
    /// Cache lines that a packet touches which arrives.
    const INGRESS_LINES: [usize; 4] = [0, 2, 4, 5];
    /// Cache lines that a packet touches which leaves.
    const EGRESS_LINES: [usize; 3] = [0, 1, 3];

    pub fn new(plan: &StreamPlan, call: CallKey, totals: &Arc<WorkerTotals>) -> Self {
        let mut stream = Self {
            fd: plan.socket.socket.as_raw_fd(),
            interface: plan.interface,
            muted_by: 0,
            expect: plan.expect,
            awaits_peer: false,
            is_heard: false,
            piercing: false,
            secured: false,
            tap: None,
            destination: None,
            learner: Learner::new(rules(plan, None)),
            shared: Arc::clone(&plan.shared),
            edges: Vec::new(),
            ingress_ssrc: SsrcTable::behind(&plan.shared.ingress_ssrc),
            egress_ssrc: SsrcTable::behind(&plan.shared.egress_ssrc),
            id: plan.id,
            call,
            sockets: Sockets::new(Arc::clone(&plan.socket)),
            clock_rates: clock_rates(plan),
            security: None,
            dtls: None,
            dtmf: None,
            pierce: None,
            short: None,
            arrivals: None,
            sections: None,
            mids: None,
            hidden_extensions: None,
            hides_extensions: false,
            tells_arrival: false,
            ice: None,
            reports: None,
            generator: None,
            meter: None,
            mixer: None,
            feedback: true,
            holding: None,
            codec_feedback: codec::Feedback::default(),
            rtp: None,
            gateway: None,
            twin: None,
            is_behind: plan.behind.is_some(),
            offload: Offloading::default(),
            guarded: None,
            learned_anew: false,
            epoch: plan.learning_epoch,
            totals: Arc::clone(totals),
        };
        stream.care(plan);
        stream.secure(&plan.security);
        stream.resume(plan);
        stream.publish_peer();
        stream
    }

    /// Goes on with the keys of another instance, those of a handshake included.
    fn resume(&mut self, plan: &StreamPlan) {
        let Some(progress) = plan.resumed.as_deref().filter(|_| self.secured) else { return };
        let security = self.security.get_or_insert_default();
        if matches!(plan.security, StreamSecurity::Dtls(_)) {
            security.change(progress.receive.as_ref(), progress.send.as_ref());
        }
        security.resume(progress);
    }

    /// Takes over a new plan of the same stream.
    pub fn update(&mut self, plan: &StreamPlan) {
        self.expect = plan.expect;
        self.interface = plan.interface;
        self.shared = Arc::clone(&plan.shared);
        self.clock_rates = clock_rates(plan);
        self.learner.update(rules(plan, self.ice.as_deref()));
        self.care(plan);
        self.secure(&plan.security);
        self.publish_peer();
    }

    /// Takes what a plan says about peers that are not heard, events, and packets that are short.
    fn care(&mut self, plan: &StreamPlan) {
        if std::mem::replace(&mut self.epoch, plan.learning_epoch) != plan.learning_epoch {
            self.is_heard = false;
        }
        let unheard = if self.is_heard { Unheard::default() } else { plan.unheard };
        self.awaits_peer = unheard.wait;
        self.pierce = match (unheard.pierce, self.pierce.take()) {
            (Some(payload_type), before) => before.or_else(|| Some(Box::new(Pierce::new(payload_type)))),
            (None, _) => None,
        };
        self.dtmf = match (EventFormats::of(&plan.formats), self.dtmf.take()) {
            (events, _) if events.is_empty() && !plan.detects_tones || !self.carries_rtp() => None,
            (events, before) => {
                let mut detector = before.unwrap_or_default();
                detector.update(events, plan.detects_tones.then_some(&plan.formats));
                Some(detector)
            }
        };
        self.hidden_extensions =
            (!plan.hidden_extensions.is_empty()).then(|| Box::new(plan.hidden_extensions));
        self.hides_extensions = self.hidden_extensions.is_some();
        self.holding = Holding::follow(self.holding.take(), plan.hold);
        self.feedback = plan.feedback;
        let before = self.mixer.take();
        self.mixer = plan.mixer.as_ref().and_then(|plan| Mixer::follow(before, plan, Instant::now()));
        let generator = |before: Option<_>| before.unwrap_or_else(|| Generator::behind(&self.shared).into());
        self.generator = plan.generates_rtcp.then(|| generator(self.generator.take()));
        self.sections = match (&plan.bundle, self.sections.take()) {
            (None, _) => None,
            (Some(plan), before) => {
                let mut sections = Box::new(Demultiplexer::new(Arc::clone(plan)));
                before.iter().for_each(|before| sections.adopt(before));
                Some(sections)
            }
        };
        self.arrivals = plan.tells_arrival.then(|| self.arrivals.take().unwrap_or_default());
        self.tells_arrival = plan.tells_arrival;
        self.mids = plan.bundle.as_ref().and_then(MidWriter::new).map(Box::new);
        let before = self.short.take();
        if plan.block_short {
            let mut short = Box::new(ShortPackets::new(&plan.formats));
            before.into_iter().for_each(|before| short.adopt(*before));
            self.short = Some(short);
        }
    }

    fn secure(&mut self, plan: &StreamSecurity) {
        self.secured = self.expect != Expect::Datagrams && !matches!(plan, StreamSecurity::Plain);
        if self.secured {
            self.security.get_or_insert_default().update(plan);
        }
    }

    /// Goes over to the keys of a handshake.
    pub fn take_keys(&mut self, keys: &SrtpKeys) {
        if self.secured {
            self.security.get_or_insert_default().change(Some(&keys.receive), Some(&keys.send));
        }
    }

    /// What leaves is not what came to it.
    pub fn gets_copies(&self) -> bool {
        self.secured || self.mids.is_some()
    }

    /// RTP comes in here and leaves from here.
    pub fn carries_rtp(&self) -> bool {
        matches!(self.expect, Expect::Rtp | Expect::RtpAndRtcp)
    }

    /// Jitter, in microseconds, of the SSRCs that blocks are about.
    pub fn jitter_of<'a>(&'a self, blocks: &'a [ReportBlock]) -> impl Iterator<Item = u64> + 'a {
        let of_block = |block: &ReportBlock| {
            let shared = self.shared.ingress_ssrc.get(self.ingress_ssrc.position(block.ssrc)?)?;
            Some(shared.jitter_us.get())
        };
        blocks.iter().filter_map(of_block)
    }

    /// The slot of the RTP that RTCP of this stream, itself in `slot`, is about.
    pub fn rtp_slot(&self, slot: u32) -> u32 {
        self.rtp.unwrap_or(slot)
    }

    /// Where the party is, if it may be sent to at present.
    pub fn reachable_peer(&self) -> Option<SocketAddr> {
        self.learner.peer().filter(|_| !self.awaits_peer)
    }

    /// The keys of a secured stream, to look at.
    pub fn present_keys(&self) -> Option<&Security> {
        if self.secured { self.security.as_deref() } else { None }
    }

    /// The keys of a secured stream.
    pub fn keys(&mut self) -> Option<&mut Security> {
        if self.secured { self.security.as_deref_mut() } else { None }
    }

    /// Makes what packets are sent to, and what control reads, follow the learner.
    pub fn publish_peer(&mut self) {
        self.destination = self.reachable_peer().map(Destination::new);
        // Where something is done about a peer that is not heard, its first packet is looked at.
        let settled = self.learner.is_confirmed() && !self.awaits_peer && self.pierce.is_none();
        self.shared.confirmed.store(settled.into(), Relaxed);
        self.learned_anew = true;
    }

    /// Tells who forwards what comes in.
    pub fn publish_place(&self, place: Place) {
        self.shared.place.store(place.encode(), Relaxed);
    }

    /// The path that ICE has found is where the peer is.
    pub fn follow_ice(&mut self) {
        let path = self.ice.as_ref().and_then(|ice| ice.path());
        self.learner.update(PeerRules::verified(path));
        self.publish_peer();
    }

    /// Clock rate of a payload type; 0 when it is unknown.
    pub fn clock_rate(rates: &[(u8, u32)], payload_type: u8) -> u32 {
        let known = rates.iter().find(|(pt, _)| *pt == payload_type).map(|(_, rate)| *rate);
        // RFC 3551 table 4: all static audio types that are in use run at 8 kHz.
        known.unwrap_or(if payload_type < 20 && ![6, 10, 11, 14, 16, 17].contains(&payload_type) {
            8000
        } else {
            0
        })
    }

    /// Counts a packet that arrived here and does not go on.
    pub fn drop_packet(&self, reason: DropReason) {
        self.drop_packets(reason, 1);
    }

    /// Counts packets that arrived here and do not go on.
    pub fn drop_packets(&self, reason: DropReason, packets: u64) {
        self.shared.drops[reason as usize].add(packets);
        self.totals.drops[reason as usize].add(packets);
    }
}

/// Rules of a plan; where ICE decides about the peer, those of its path.
fn rules(plan: &StreamPlan, ice: Option<&StreamIce>) -> PeerRules {
    if plan.ice.as_ref().is_some_and(|ice| ice.is_demanded) {
        return PeerRules::verified(ice.and_then(StreamIce::path));
    }
    PeerRules {
        mode: plan.learning,
        // A hold address or port 0 is nobody.
        signalled: plan.peer.filter(|p| !p.ip().is_unspecified() && p.port() != 0),
        signalling_host: plan.signalling_host,
        known: plan.known_peer,
        answered: plan.answered,
        described: plan.described,
        strict_source: plan.strict_source,
        media_handover: plan.media_handover,
        signalled_host_only: plan.signalled_host_only,
        epoch: plan.learning_epoch,
    }
}

fn clock_rates(plan: &StreamPlan) -> Box<[(u8, u32)]> {
    plan.formats.iter().map(|f| (f.payload_type, f.clock_rate)).collect()
}

/// Steps of [`Streams::look_ahead`].
pub const AHEAD: usize = 5;

/// A worker has fewer ports than that.
const MAX_SLOT: u32 = 0xff_ffff;

/// Streams by slot; a slot that is used again has another generation.
#[derive(Default)]
pub struct Streams {
    slots: Vec<(u32, Option<Box<Stream>>)>,
    free: Vec<u32>,
}

impl Streams {
    pub fn insert(&mut self, stream: Stream) -> u32 {
        let stream = Some(Box::new(stream));
        match self.free.pop() {
            Some(slot) => {
                let entry = &mut self.slots[slot as usize];
                entry.0 = entry.0.wrapping_add(1);
                entry.1 = stream;
                slot
            }
            None => {
                self.slots.push((0, stream));
                (self.slots.len() - 1) as u32
            }
        }
    }

    pub fn remove(&mut self, slot: u32) -> Option<Box<Stream>> {
        let stream = self.slots.get_mut(slot as usize)?.1.take()?;
        self.free.push(slot);
        Some(stream)
    }

    /// All slots that are used are below this one.
    pub fn slots(&self) -> u32 {
        self.slots.len() as u32
    }

    pub fn get(&self, slot: u32) -> Option<&Stream> {
        self.slots.get(slot as usize)?.1.as_deref()
    }

    pub fn get_mut(&mut self, slot: u32) -> Option<&mut Stream> {
        self.slots.get_mut(slot as usize)?.1.as_deref_mut()
    }

    /// Asks for the memory that packets of the streams with these tokens will touch; the streams come in the order in which they will have
    /// their turns, the last one first. Each is seen [`AHEAD`] times, once in each place, so that what one step reads the step before has
    /// asked for.
    #[inline]
    pub fn look_ahead(&self, [fifth, fourth, third, second, next]: [Option<u64>; AHEAD]) {
        let stream = |token: Option<u64>| self.get(token? as u32 & MAX_SLOT);
        let sink = |stream: &Stream| self.get(stream.edges.first()?.rtp_to?);
        if let Some(stream) = stream(fifth) {
            prefetch(stream, Stream::INGRESS_LINES);
        }
        if let Some(stream) = stream(fourth) {
            prefetch(&*stream.shared, [0]);
            stream.shared.ingress_ssrc.look_ahead();
            if let Some(edge) = stream.edges.first() {
                prefetch(edge, Edge::HOT_LINES);
            }
            if let Some(detector) = &stream.dtmf {
                prefetch(&**detector, Detector::HOT_LINES);
            }
            if let Some(keys) = stream.present_keys() {
                keys.look_ahead(Direction::Receive);
            }
        }
        if let Some(stream) = stream(third) {
            if let Some(edge) = stream.edges.first() {
                edge.look_ahead(stream.ingress_ssrc.recent_payload_type());
            }
            if let Some(keys) = stream.present_keys() {
                keys.look_ahead_at_source(Direction::Receive);
            }
            if let Some(sink) = sink(stream) {
                prefetch(sink, Stream::EGRESS_LINES);
            }
        }
        if let Some(sink) = stream(second).and_then(sink) {
            prefetch(&*sink.shared, [0]);
            sink.shared.egress_ssrc.look_ahead();
            if let Some(keys) = sink.present_keys() {
                keys.look_ahead(Direction::Send);
            }
        }
        if let Some(keys) = stream(next).and_then(sink).and_then(Stream::present_keys) {
            keys.look_ahead_at_source(Direction::Send);
        }
    }

    /// Slot and generation in one number, as epoll and the schedule carry it. The eight bits between them are for the position of one of
    /// the stream's sockets.
    pub fn token(&self, slot: u32) -> u64 {
        let generation = self.slots.get(slot as usize).map_or(0, |s| s.0);
        u64::from(generation) << 32 | u64::from(slot)
    }

    /// The slot of a token, unless the slot has been used for something else since.
    pub fn resolve(&self, token: u64) -> Option<u32> {
        let slot = token as u32 & MAX_SLOT;
        let (generation, stream) = self.slots.get(slot as usize)?;
        (u64::from(*generation) == token >> 32 && stream.is_some()).then_some(slot)
    }
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;
    use crate::prefetch::LINE;

    #[test]
    fn what_packets_touch_is_on_the_lines_that_are_asked_for() {
        let lines = |fields: &[usize]| fields.iter().map(|offset| offset / LINE).collect::<Vec<_>>();
        assert_eq!(lines(&[offset_of!(Stream, fd), offset_of!(Stream, twin)]), [0, 0]);
        assert_eq!(lines(&[offset_of!(Stream, destination), offset_of!(Stream, tap)]), [1, 1]);
        assert_eq!(lines(&[offset_of!(Stream, ingress_ssrc), offset_of!(Stream, egress_ssrc)]), [2, 3]);
        assert_eq!(size_of::<SsrcTable>(), LINE);
        assert_eq!(lines(&[offset_of!(Stream, edges), offset_of!(Stream, ice)]), [4, 4]);
        assert_eq!(lines(&[offset_of!(Stream, gateway), offset_of!(Stream, learner)]), [5, 5]);
        assert_eq!(offset_of!(Stream, learner) % LINE, LINE / 2, "its first field is half a line");
    }
}
