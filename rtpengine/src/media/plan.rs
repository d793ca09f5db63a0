//! What control tells a worker: streams, edges between them, taps and players. Plain values and socket handles.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use codec::graph::{DtmfPlan, TranscodePlan};
use codec::header_extension::Ids;
use codec::{EncoderOptions, PayloadFormat};
use smol_str::SmolStr;

use super::hold::HoldPlan;
use super::port_pool::LocalPort;
use super::stats::StreamShared;
use super::treatment::Treatment;
use crate::config::{EndpointLearning, InterfaceId};
use crate::proto::dtls::{Identity, Role};
use crate::proto::ice;
use crate::proto::sdp::model::Fingerprint;
use crate::proto::srtp::MasterKey;
use crate::proto::udptl::Correction;

/// A call inside the data plane; unique for the life of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CallKey(pub u64);

/// A stream (one local port of one party's media); unique for the life of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StreamId(pub u64);

/// A player; unique for the life of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PlayerId(pub u64);

/// Everything a worker has to know about a call.
#[derive(Clone)]
pub struct CallPlan {
    pub key: CallKey,
    /// A stream of [`Expect::Rtcp`] stands directly behind the RTP stream that it belongs to.
    pub streams: Vec<StreamPlan>,
    pub edges: Vec<EdgePlan>,
    pub gateways: Vec<GatewayPlan>,
    /// Set while the call is being recorded and not paused.
    pub tap: Option<TapPlan>,
}

/// One local port: where packets of one party's media come in and where packets to it leave from.
#[derive(Clone)]
pub struct StreamPlan {
    pub id: StreamId,
    pub expect: Expect,
    pub socket: Arc<LocalPort>,
    /// That of the port that the party was told before, for a stream that another instance has moved.
    pub former_socket: Option<Arc<LocalPort>>,
    /// The local address whose totals count the packets.
    pub interface: InterfaceId,
    /// Where to send, and what source to expect, as signalled. `None`: unknown, or unspecified address (hold).
    pub peer: Option<SocketAddr>,
    /// Where the party's signalling came from: a NAT that it is behind has this address.
    pub signalling_host: Option<IpAddr>,
    /// Where the party was found to be, by another stream or worker.
    pub known_peer: Option<SocketAddr>,
    /// The other side has described itself, so that the party may send.
    pub answered: bool,
    /// The party's own description is known.
    pub described: bool,
    pub learning: EndpointLearning,
    /// Learning starts anew whenever this number differs from the one of the previous plan.
    pub learning_epoch: u32,
    /// Drop packets from other sources than the peer once it is confirmed.
    pub strict_source: bool,
    /// Follow a change of source at any time.
    pub media_handover: bool,
    /// What this party sends, for the payload type filter, jitter clock rates and recording.
    pub formats: Arc<[PayloadFormat]>,
    /// Counters that control reads.
    pub shared: Arc<StreamShared>,
    /// Packets from and to this stream are offered to the call's tap.
    pub recorded: bool,
    pub security: StreamSecurity,
    /// Where a new stream goes on with its keys; those of a handshake are here, and no other is made.
    pub resumed: Option<Arc<SrtpProgress>>,
    pub unheard: Unheard,
    /// RTP from the party that is shorter than usual is dropped.
    pub block_short: bool,
    /// RTP from the party waits.
    pub hold: HoldPlan,
    /// Set when several media sections share the stream.
    pub bundle: Option<Arc<BundlePlan>>,
    /// Header extensions of the party's packets that nobody else is to see.
    pub hidden_extensions: Ids,
    /// ICE with the party; the streams of a media section share one. Decides about the peer once the party's agent is known.
    pub ice: Option<Arc<IcePlan>>,
    /// The party gets RTCP of our own instead of the other parties'.
    pub generates_rtcp: bool,
    /// The party hears one stream of our own, mixed of everything. Edges to it and players for it make samples ([`LINEAR`]).
    pub mixer: Option<Arc<MixerPlan>>,
    /// The party's profile has feedback messages (RFC 4585); where it has not, those of a party whose profile has do not reach it.
    pub feedback: bool,
    /// Digits are looked for in the audio, too, and told about.
    pub detects_tones: bool,
    /// Its packets come in at the socket of that stream, which stands before it in the plan; their sources tell whose they are.
    pub behind: Option<StreamId>,
    /// Other hosts than the signalled one are not the party, whatever speaks for them (`Heuristic` only).
    pub signalled_host_only: bool,
    /// Control is told when the first RTP packet of each of its sections comes in.
    pub tells_arrival: bool,
}

impl StreamPlan {
    /// A clear stream with plain learning, formats unknown, not recorded.
    pub fn new(
        id: StreamId,
        expect: Expect,
        socket: Arc<LocalPort>,
        peer: impl Into<Option<SocketAddr>>,
    ) -> Self {
        Self::with_shared(id, expect, socket, peer, Arc::default())
    }

    /// The same, with counters that exist already.
    pub fn with_shared(
        id: StreamId,
        expect: Expect,
        socket: Arc<LocalPort>,
        peer: impl Into<Option<SocketAddr>>,
        shared: Arc<StreamShared>,
    ) -> Self {
        Self {
            id,
            expect,
            socket,
            former_socket: None,
            interface: InterfaceId::default(),
            peer: peer.into(),
            signalling_host: None,
            known_peer: None,
            answered: true,
            described: true,
            learning: EndpointLearning::Heuristic,
            learning_epoch: 0,
            strict_source: false,
            media_handover: false,
            formats: Arc::default(),
            shared,
            recorded: false,
            security: StreamSecurity::Plain,
            resumed: None,
            unheard: Unheard::default(),
            block_short: false,
            hold: HoldPlan::default(),
            bundle: None,
            hidden_extensions: Ids::default(),
            ice: None,
            generates_rtcp: false,
            mixer: None,
            feedback: true,
            detects_tones: false,
            behind: None,
            signalled_host_only: false,
            tells_arrival: false,
        }
    }
}

/// ICE with one party about one media section. Equal credentials and generation mean that the agent of the previous plan goes on.
#[derive(Clone, Debug)]
pub struct IcePlan {
    pub settings: ice::Settings,
    /// The party has said that it speaks ICE: media come and go on verified ways only.
    pub is_demanded: bool,
    /// Our address and the party's that were selected for RTP and RTCP: an agent that begins now goes on with them.
    pub selected: [Option<(SocketAddr, SocketAddr)>; 2],
    /// What the party was told as candidates: the sockets of the streams, and others beside them.
    pub bases: Vec<IceBase>,
}

/// A local candidate with its socket.
#[derive(Clone, Debug)]
pub struct IceBase {
    pub candidate: ice::Base,
    pub socket: Arc<LocalPort>,
}

/// Payload type of linear samples on their way to a mixer; none that a packet can have.
pub const LINEAR: u8 = 128;

/// The audio player of a stream.
#[derive(Clone, Debug, PartialEq)]
pub struct MixerPlan {
    /// What the party gets.
    pub format: PayloadFormat,
    /// Packet time, bit rate and the like; `source_rate` is `rate`.
    pub options: EncoderOptions,
    /// Rate of the samples that are mixed, in Hz: that of the encoder.
    pub rate: u32,
    /// Room for samples; at least two packets are there in any case.
    pub length: Duration,
    /// How far ahead of what is sent a source begins.
    pub delay: Duration,
    /// Packets are sent even if nobody has said anything.
    pub runs: bool,
}

impl MixerPlan {
    /// The format in which sources bring their samples.
    pub fn linear(&self) -> PayloadFormat {
        PayloadFormat::new(LINEAR, "L16", self.rate, 1)
    }
}

/// How packets of sections that share a stream are told apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundlePlan {
    /// Identifier of the header extension `urn:ietf:params:rtp-hdrext:sdes:mid`.
    pub mid_extension: Option<u8>,
    /// In the order of the description.
    pub sections: Vec<SectionPlan>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SectionPlan {
    /// The number that edges name it by.
    pub section: u8,
    pub mid: Option<SmolStr>,
    /// From `a=ssrc`.
    pub ssrcs: Arc<[u32]>,
    pub payload_types: Box<[u8]>,
}

/// What is done about a party behind a NAT from which nothing has come yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unheard {
    /// Empty packets are sent to it; RTP as this payload type.
    pub pierce: Option<u8>,
    /// Nothing else is sent to it.
    pub wait: bool,
}

/// How the packets of a stream are protected. Keys that are equal to those of the previous plan go on with their
/// roll-over counters and replay lists, others start afresh.
#[derive(Clone, Debug, Default)]
pub enum StreamSecurity {
    /// Not at all.
    #[default]
    Plain,
    /// SRTP and SRTCP. A direction whose key is `None` is closed: nothing clear is accepted or sent instead.
    Srtp { receive: Option<Arc<MasterKey>>, send: Option<Arc<MasterKey>> },
    /// SRTP and SRTCP with the keys of a handshake on the stream (RFC 5764). Until it is done the stream goes on with the keys that
    /// it had; without any it is closed.
    Dtls(Arc<DtlsPlan>),
}

/// Keys of a stream and how far they were used: what has to be known to go on with SRTP elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SrtpProgress {
    pub receive: Option<Arc<MasterKey>>,
    pub send: Option<Arc<MasterKey>>,
    /// SSRC and highest index of what came in.
    pub received: Vec<(u32, u64)>,
    pub received_rtcp: Vec<(u32, u64)>,
    /// SSRC and highest index of what was sent.
    pub sent: Vec<(u32, u64)>,
    /// Index of the next SRTCP packet.
    pub next_rtcp: u32,
}

/// A DTLS association with one party.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DtlsPlan {
    pub role: Role,
    /// The party's certificate. `None`: not known yet, the handshake may go on but gives no keys.
    pub peer: Option<Fingerprint>,
    /// Another number is another association.
    pub association: u32,
    /// Our certificate.
    pub identity: Arc<Identity>,
}

impl StreamSecurity {
    /// The key under which packets come in.
    pub fn receive(&self) -> Option<&Arc<MasterKey>> {
        match self {
            Self::Plain | Self::Dtls(_) => None,
            Self::Srtp { receive, .. } => receive.as_ref(),
        }
    }
}

/// What a socket carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    Rtp,
    Rtcp,
    /// RFC 5761 multiplexing.
    RtpAndRtcp,
    /// Not RTP at all (T.38, data): datagrams pass unchanged.
    Datagrams,
}

/// From the packets that arrive on one stream to the peers of others.
#[derive(Clone)]
pub struct EdgePlan {
    pub from: StreamId,
    /// Sink of RTP (or datagrams); `None` drops them.
    pub rtp_to: Option<StreamId>,
    /// Sink of RTCP; `None` drops it.
    pub rtcp_to: Option<StreamId>,
    /// What happens to payload types that are not listed.
    pub default: Handling,
    pub by_payload_type: Vec<(u8, Handling)>,
    /// Only packets of this section of a shared stream ([`BundlePlan`]); of others nothing happens, nothing is counted.
    pub section: Option<u8>,
    /// What the sink calls the section that it gets these packets for, where sections share its port.
    pub mid: Option<SmolStr>,
    /// What commands ask for beside that.
    pub treatment: Treatment,
    /// What becomes of digits where audio is decoded.
    pub dtmf: Option<Arc<DtmfPlan>>,
}

impl EdgePlan {
    /// Everything from one stream to the peer of another, unchanged; without `to` it is dropped.
    pub fn new(from: StreamId, to: impl Into<Option<StreamId>>) -> Self {
        let to = to.into();
        Self {
            from,
            rtp_to: to,
            rtcp_to: to,
            default: Handling::FORWARD,
            by_payload_type: Vec::new(),
            section: None,
            mid: None,
            treatment: Treatment::default(),
            dtmf: None,
        }
    }
}

/// A fax gateway between two streams that have no edges to each other.
#[derive(Clone, Debug)]
pub struct GatewayPlan {
    /// UDPTL comes in and leaves here.
    pub fax: StreamId,
    /// RTP comes in and leaves here.
    pub audio: StreamId,
    pub plan: FaxPlan,
}

/// How it converts.
#[derive(Clone, Debug, PartialEq)]
pub struct FaxPlan {
    pub modem: codec::t38::Options,
    /// What is sent to the T.38 side is protected like this.
    pub correction: Correction,
    /// From what the audio side sends to linear samples.
    pub hears: Vec<Arc<TranscodePlan>>,
    /// From linear samples to what the audio side takes.
    pub speaks: Arc<TranscodePlan>,
}

/// What an edge does with a packet of some payload type.
#[derive(Clone, Debug, PartialEq)]
pub enum Handling {
    /// Same payload, payload type rewritten if it differs.
    Forward {
        /// `None`: keep the payload type.
        payload_type: Option<u8>,
    },
    /// Decode and encode. Companions of a transcoded codec that are `Forward`ed on the same edge get their
    /// numbering from the same transcoder.
    Transcode(Arc<TranscodePlan>),
    /// Same payload under another SSRC: the peer is sent its own stream, and must not take it for a collision (RFC 3550 §8.2). As the
    /// default of an edge, for all payload types.
    Echo,
    Drop(DropReason),
}

impl Handling {
    /// Unchanged.
    pub const FORWARD: Self = Self::Forward { payload_type: None };
}

/// Why a packet was not forwarded. Each is counted per stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum DropReason {
    /// Neither RTP, RTCP, STUN nor DTLS, or malformed.
    Malformed,
    /// RTP where only RTCP is expected, or the other way round.
    Unexpected,
    /// Source address refused (strict source, learning finished).
    WrongSource,
    /// Nobody listens: no edge, or direction is inactive.
    NoSink,
    /// The sink's peer address is not known.
    NoPeer,
    /// Blocked by command, or shorter than usual where that is not wanted.
    Blocked,
    /// Payload type was not negotiated and may not pass, or nothing tells the section of a packet on a shared port.
    PayloadType,
    /// The send system call failed.
    SendFailed,
    /// STUN or DTLS on a stream that does not have it.
    NotNegotiated,
    /// The codec cannot be opened, or the peer changes codecs or SSRCs more often than is followed.
    Codec,
    /// SRTP: wrong tag, or an SSRC beyond those that one key serves. DTLS: another certificate than the signalled one. STUN: wrong
    /// credentials.
    NotAuthentic,
    /// SRTP: the packet was received before, or is too old to tell; or one with its number was sent before.
    Replayed,
    /// SRTP: there is no key for this direction, or it has come to its end of life.
    NoKey,
    /// A DTMF digit held back by command, or what is sent beside one that is being added.
    Dtmf,
    /// More from one source, or to one port, than it may be sent before it is known to be the party's.
    OverBudget,
    /// DTLS: does not belong to a handshake that is going on, or made it fail.
    Handshake,
    /// From a source that may turn out to be the party's, but for which not enough speaks yet.
    Unproven,
}

impl DropReason {
    /// Number of reasons.
    pub const COUNT: usize = 17;

    /// All, in the order of their numbers.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Malformed,
        Self::Unexpected,
        Self::WrongSource,
        Self::NoSink,
        Self::NoPeer,
        Self::Blocked,
        Self::PayloadType,
        Self::SendFailed,
        Self::NotNegotiated,
        Self::Codec,
        Self::NotAuthentic,
        Self::Replayed,
        Self::NoKey,
        Self::Dtmf,
        Self::OverBudget,
        Self::Handshake,
        Self::Unproven,
    ];

    /// As operators see it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Unexpected => "unexpected",
            Self::WrongSource => "wrong source",
            Self::NoSink => "no sink",
            Self::NoPeer => "no peer",
            Self::Blocked => "blocked",
            Self::PayloadType => "payload type",
            Self::SendFailed => "send failed",
            Self::NotNegotiated => "not negotiated",
            Self::Codec => "codec",
            Self::NotAuthentic => "not authentic",
            Self::Replayed => "replayed",
            Self::NoKey => "no key",
            Self::Dtmf => "DTMF",
            Self::OverBudget => "over budget",
            Self::Handshake => "handshake",
            Self::Unproven => "unproven",
        }
    }
}

/// Which packets a worker copies into its tap ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TapPlan {
    /// Identifies the recording to the reader of the ring.
    pub recording: u64,
    pub ingress: bool,
    pub egress: bool,
}

/// A source of encoded frames with its own SSRC.
pub struct PlayerPlan {
    pub id: PlayerId,
    /// The stream whose peer hears it.
    pub target: StreamId,
    pub payload_type: u8,
    pub ssrc: u32,
    pub first_sequence: u16,
    pub first_timestamp: u32,
    pub clock_rate: u32,
    /// Frames in order; abandoned producer + empty ring = end of media. An empty ring before that is an
    /// under-run: the player waits and time goes on.
    pub frames: rtrb::Consumer<PlayerFrame>,
    /// Other media towards the target is muted while this plays.
    pub block_egress: bool,
}

/// One packet's worth of media.
#[derive(Clone, Debug)]
pub struct PlayerFrame {
    /// Encoded payload, shared between listeners.
    pub payload: Arc<[u8]>,
    /// Duration in units of the RTP clock.
    pub duration: u32,
}
