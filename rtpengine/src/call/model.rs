//! Calls, parties and media as plain values.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use codec::PayloadFormat;
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::away::Away;
use super::coding::Coding;
use super::echo::Routing;
use super::interfaces::Attachment;
use super::music_on_hold::HeldParty;
use super::origin::OutputMemory;
use super::playback::PartyPlayer;
use super::ports::PortSets;
use super::recording::CallRecording;
use super::relay::RelaySession;
use super::star_codes::StarCodes;
use super::subscription::Subscription;
use super::switches::{Flow, Switches};
use crate::config::EndpointLearning;
use crate::media::WorkerId;
use crate::media::hold::HoldPlan;
use crate::media::plan::{CallKey, SrtpProgress, StreamId};
use crate::media::stats::StreamShared;
use crate::negotiate::bundle::Bundling;
use crate::negotiate::ice::{Ice, Passthrough};
use crate::negotiate::security::{Keying, MediaSecurity};
use crate::negotiate::signal::AudioPlayer;
use crate::negotiate::signal::{AddressFamily, MusicOnHold};
use crate::negotiate::t38::T38Parameters;
use crate::proto::sdp::model::{Direction, ExtMap, RtpProfile, Transport};

/// Position of a party in its call; parties are never removed, so it stays valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PartyId(pub usize);

/// One call.
pub struct Call {
    pub id: SmolStr,
    /// Calls that were merged into this one; their ids are still valid.
    pub merged: Vec<MergedCall>,
    pub key: CallKey,
    pub worker: WorkerId,
    pub created: SystemTime,
    pub created_at: Instant,
    /// Time of the last offer or answer.
    pub last_signal: Option<SystemTime>,
    pub parties: Vec<Party>,
    /// Who hears whom beside offer and answer.
    pub subscriptions: Vec<Subscription>,
    /// What commands switched for everybody.
    pub switches: Switches,
    /// What commands switched for what one party sends to another.
    pub flows: Vec<Flow>,
    /// Where digits are told to instead of the configured destination.
    pub dtmf_log: Option<SocketAddr>,
    /// `start forwarding` of the whole call.
    pub forwarding: bool,
    pub metadata: Option<SmolStr>,
    /// `TOS` of the last offer.
    pub tos: u8,
    /// Sockets of the call have another value than the configured one.
    pub tos_set: bool,
    /// When the pending deletion becomes real.
    pub delete_at: Option<Instant>,
    /// When the pending deletion was asked for.
    pub deleted_at: Option<Instant>,
    /// Who sent the message that made the call.
    pub created_from: Option<SocketAddr>,
    /// `xmlrpc-callback`
    pub xmlrpc_callback: Option<IpAddr>,
    /// Belongs to another instance.
    pub foreign: bool,
    /// Taken over from another instance at this time (microseconds since the epoch): no time-out before it has had media.
    pub grace_since_us: Option<u64>,
    /// Gone from the store; a command that still holds the call must not work on it.
    pub ended: bool,
    /// RTP of the whole call is dropped.
    pub drop_traffic: bool,
    pub recording: CallRecording,
    /// Media that other instances convert. The plan is made of a call that does not change, but these follow it.
    pub away: RefCell<Vec<Away>>,
    /// The Redis database that it was read from or is written to.
    pub keyspace: Option<i64>,
    /// When it was last written there, in microseconds since the epoch; 0 = never.
    pub stored_us: u64,
    /// How far its SSRCs were then.
    pub stored_steps: u64,
    /// Since when it has belonged to another instance, in microseconds since the epoch.
    pub foreign_since_us: Option<u64>,
    /// Next number for [`Media::number`] and stream numbers.
    pub next_media_number: u32,
    /// It is a session whose ports the signalling proxy has chosen.
    pub relay: Option<RelaySession>,
    /// [`super::connection`] tells about it.
    pub tells_connections: bool,
}

/// A call that is part of another one now.
#[derive(Clone, Debug)]
pub struct MergedCall {
    pub id: SmolStr,
    pub key: CallKey,
}

/// A participant: one side of a SIP dialogue.
#[derive(Clone, Serialize, Deserialize)]
pub struct Party {
    // The names are members of their own where a party is stored.
    /// Newest tag; `None` until the party has answered.
    #[serde(skip)]
    pub tag: Option<SmolStr>,
    /// Earlier tags, all still valid.
    #[serde(skip)]
    pub aliases: Vec<SmolStr>,
    #[serde(skip)]
    pub via_branch: Option<SmolStr>,
    #[serde(skip)]
    pub label: Option<SmolStr>,
    #[serde(skip)]
    pub metadata: Option<SmolStr>,
    #[serde(skip, default = "SystemTime::now")]
    pub created: SystemTime,
    /// Stored by itself.
    #[serde(skip)]
    pub media: Vec<Media>,
    /// Sections, by their positions, as an offer that nobody has answered yet makes them ([`super::offered`]). Stored by themselves, too.
    #[serde(skip)]
    pub offered: Vec<(usize, Media)>,
    /// The party that its offers and answers are exchanged with.
    pub partner: Option<PartyId>,
    /// Whom it has offered to, or been offered by, beside its partner: other branches of a fork, and whoever forked. The latest is last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub branches: Vec<PartyId>,
    /// The party's own last description, for those who subscribe to it.
    #[serde(with = "crate::proto::stored::octets")]
    pub description: Option<Arc<[u8]>>,
    /// What was printed to this party.
    pub output: OutputMemory,
    /// `SDP`/`address` alias key of the last offer.
    pub alias_key: Option<SmolStr>,
    /// A final (≥ 200) response has been seen.
    pub finally_answered: bool,
    /// Ports are closed; the party stays visible until the call ends.
    pub closed: bool,
    #[serde(with = "crate::proto::stored::instant")]
    pub delete_at: Option<Instant>,
    /// It is deleted as a branch: the other ones go on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleted_as_branch: bool,
    pub excluded_from_recording: bool,
    pub recording_slots: Option<(i64, i64)>,
    /// Announcements end with the instance that plays them.
    #[serde(skip)]
    pub player: Option<Arc<PartyPlayer>>,
    /// What commands switched for everything that it sends.
    pub switches: Switches,
    /// Digits may be added to what it sends, if its hearer says so as well.
    pub inject_dtmf: bool,
    /// Digits are looked for in the audio that it sends, too.
    pub detect_dtmf: bool,
    /// Digits with which it switches the recording.
    pub star_codes: Option<Box<StarCodes>>,
    /// `start forwarding` of this party.
    pub forwarding: bool,
    pub routing: Routing,
    /// What it plays to a party that it holds.
    pub music_on_hold: Option<Arc<MusicOnHold>>,
    /// What it hears while it is held.
    pub held: Option<Arc<HeldParty>>,
}

/// Where the next announcement of a party goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlayerNumbering {
    pub ssrc: u32,
    pub next_sequence: u16,
    pub next_timestamp: u32,
    pub since: Instant,
}

/// One media section of one party: what it said, and what stands towards it.
#[derive(Clone, Serialize, Deserialize)]
pub struct Media {
    /// Position in the party's own SDP, from 1; `None` until it has been shown this section (`sdp-media-remove`).
    pub index: Option<usize>,
    /// Unique in the call, from 1.
    pub number: u32,
    pub media_type: SmolStr,
    /// The profile spoken with this party.
    pub transport: Option<Transport>,
    /// The transport in the party's own last SDP.
    pub received_transport: Option<Transport>,
    /// The profile before an offer of the party that nobody has answered yet: it holds again when that is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport_before_offer: Option<Transport>,
    /// The party's last offer ended before this section.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub absent_from_offer: bool,
    /// What the party's last SDP said; `None` before its first one.
    pub remote: Option<Remote>,
    pub coding: Coding,
    pub mid: Option<SmolStr>,
    /// Stored as interface and address, since the rest is the configuration of whoever restores.
    #[serde(skip)]
    pub attachment: Option<Attachment>,
    pub family: Option<AddressFamily>,
    /// Stored as numbers of sockets.
    #[serde(skip)]
    pub ports: PortSets,
    /// Stored by themselves.
    #[serde(skip, default = "MediaStream::restored_pair")]
    pub streams: [MediaStream; 2],
    /// The party multiplexes RTP and RTCP.
    pub rtcp_mux: RtcpMux,
    pub learning: EndpointLearning,
    /// Where the party's last description came from, if that was said (`received from`).
    pub signalling_host: Option<IpAddr>,
    pub strict_source: bool,
    pub media_handover: bool,
    /// `pierce-NAT`
    pub pierce_nat: bool,
    /// `NAT-wait`
    pub nat_wait: bool,
    pub block_short: bool,
    /// `jitter-buffer`, `delay-buffer`
    pub hold: HoldPlan,
    /// What the last description of either side says about the media, as the party sees it.
    pub direction: Direction,
    pub asymmetric: bool,
    pub unidirectional: bool,
    /// `generate RTCP`
    pub generates_rtcp: bool,
    /// What signalling has said about the audio player.
    pub audio_player: AudioPlayer,
    /// The audio player begins with the offer.
    pub early_media: bool,
    /// The party has heard announcements that an audio player was to mix.
    pub has_announcements: bool,
    /// ICE with this party.
    pub ice: Ice,
    /// Which other sections with this party it shares a transport with.
    pub bundling: Bundling,
    /// Header extensions of the party's offer that are hidden from the other side, and accepted all the same.
    pub masked_extensions: Vec<ExtMap>,
    /// The party speaks T.38 with us while the other one speaks audio.
    pub t38: Option<T38Parameters>,
    /// Keys, and what was offered and answered about them.
    /// Stored by itself.
    #[serde(skip)]
    pub security: MediaSecurity,
}

// Two a call: what is larger takes a fifth more from the allocator.
const _: () = assert!(size_of::<Media>() <= 1280);

/// Facts of a party's own media section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Remote {
    /// Where it receives RTP; port 0 = rejected.
    pub rtp: SocketAddr,
    pub rtcp: SocketAddr,
    /// Direction with a zero connection address already taken into account.
    pub direction: Direction,
    /// What was allowed before this offer goes on until it is answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_answered: Option<Direction>,
    /// The connection address was unspecified (hold of RFC 2543).
    pub zero_address: bool,
    pub rejected: bool,
    pub ptime_ms: Option<u16>,
    pub maxptime_ms: Option<u16>,
    /// It listed header extensions, but not `extmap-allow-mixed`.
    pub extmap_without_mixed: bool,
    /// What the party sends (and, unless it is asymmetric, receives).
    pub formats: Arc<[PayloadFormat]>,
    /// The `fmt` tokens of a section that is not RTP.
    pub other_formats: Vec<SmolStr>,
    /// From `a=ssrc`, of sections that share a port.
    pub ssrcs: Arc<[u32]>,
}

impl Remote {
    /// The ways that media may flow now. An offer that is refused changes none of them (RFC 3264 §8), and nobody tells us; one that
    /// opens a way may be taken up before we see its answer.
    pub fn allows(&self) -> Direction {
        let former = self.until_answered.unwrap_or(self.direction);
        Direction::from_parts(
            self.direction.sends() || former.sends(),
            self.direction.receives() || former.receives(),
        )
    }
}

/// One component (RTP or RTCP) of a media.
#[derive(Clone)]
pub struct MediaStream {
    pub id: StreamId,
    pub shared: Arc<StreamShared>,
    /// Where its packets go on after a restore; for the first plan only.
    pub resumed: Option<Arc<SrtpProgress>>,
    /// Learned by the data plane; replaces the signalled one until that changes.
    pub learned: Option<SocketAddr>,
    pub learning_epoch: u32,
    /// When it was made or last re-started, as microseconds since the epoch.
    pub since_us: u64,
}

/// State of RTP/RTCP multiplexing with one party (RFC 5761).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RtcpMux {
    /// The party's last SDP had `rtcp-mux`.
    pub requested: bool,
    /// What the answer to this party's offer is to say.
    pub answer: MuxAnswer,
    /// What was offered to this party.
    pub offered: bool,
    /// The party was told that there is no second port.
    pub required: bool,
    /// Packets of both kinds share the RTP port.
    pub active: bool,
}

/// How an offer of multiplexing is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum MuxAnswer {
    /// As the other side chose.
    #[default]
    AsPeer,
    Accept,
    Refuse,
}

impl Call {
    /// The party that a tag (present or former) names. Closed parties have no names any more.
    pub fn by_tag(&self, tag: &str) -> Option<PartyId> {
        self.find(|party| party.is_named(tag))
    }

    /// The party registered under a via-branch.
    pub fn by_branch(&self, branch: &str) -> Option<PartyId> {
        self.find(|party| party.via_branch.as_deref() == Some(branch))
    }

    /// The party with a label.
    pub fn by_label(&self, label: &str) -> Option<PartyId> {
        self.find(|party| party.label.as_deref() == Some(label))
    }

    fn find(&self, fits: impl Fn(&Party) -> bool) -> Option<PartyId> {
        self.parties.iter().position(|party| !party.closed && fits(party)).map(PartyId)
    }

    pub fn party(&self, id: PartyId) -> &Party {
        &self.parties[id.0]
    }

    pub fn party_mut(&mut self, id: PartyId) -> &mut Party {
        &mut self.parties[id.0]
    }

    /// The stream with this id, wherever it is.
    pub fn stream_mut(&mut self, id: StreamId) -> Option<&mut MediaStream> {
        self.parties
            .iter_mut()
            .flat_map(|party| party.media.iter_mut())
            .flat_map(|media| media.streams.iter_mut())
            .find(|stream| stream.id == id)
    }
}

impl Party {
    pub fn new(created: SystemTime) -> Self {
        Self {
            tag: None,
            aliases: Vec::new(),
            via_branch: None,
            label: None,
            metadata: None,
            created,
            media: Vec::new(),
            offered: Vec::new(),
            partner: None,
            branches: Vec::new(),
            description: None,
            output: OutputMemory::default(),
            alias_key: None,
            finally_answered: false,
            closed: false,
            delete_at: None,
            deleted_as_branch: false,
            excluded_from_recording: false,
            recording_slots: None,
            player: None,
            switches: Switches::default(),
            inject_dtmf: false,
            detect_dtmf: false,
            star_codes: None,
            forwarding: false,
            routing: Routing::Associates,
            music_on_hold: None,
            held: None,
        }
    }

    /// The tag is this party's present or a former one.
    pub fn is_named(&self, tag: &str) -> bool {
        self.tag.as_deref() == Some(tag) || self.aliases.iter().any(|alias| alias == tag)
    }

    /// The sections that the party knows, in the order of its own SDP, as positions in `media`.
    pub fn shown(&self) -> Vec<usize> {
        let mut shown: Vec<usize> =
            (0..self.media.len()).filter(|&position| self.media[position].index.is_some()).collect();
        shown.sort_by_key(|&position| self.media[position].index);
        shown
    }

    /// Its sections as the last message has them, answered or not.
    pub fn signalled(&self) -> impl Iterator<Item = &Media> {
        self.media.iter().enumerate().map(|(position, media)| {
            let offered = self.offered.iter().find(|(at, _)| *at == position);
            offered.map_or(media, |(_, offered)| offered)
        })
    }

    /// Puts a section that the party does not know yet at the end of its SDP.
    pub fn show(&mut self, position: usize) {
        if self.media[position].index.is_none() {
            let last = self.media.iter().filter_map(|media| media.index).max();
            self.media[position].index = Some(last.unwrap_or(0) + 1);
        }
    }
}

impl Media {
    pub fn new(number: u32, media_type: &str, created: SystemTime) -> Self {
        Self {
            index: None,
            number,
            media_type: media_type.into(),
            transport: None,
            received_transport: None,
            transport_before_offer: None,
            absent_from_offer: false,
            remote: None,
            coding: Coding::default(),
            mid: None,
            attachment: None,
            family: None,
            ports: PortSets::default(),
            streams: MediaStream::pair(created),
            rtcp_mux: RtcpMux::default(),
            learning: EndpointLearning::Heuristic,
            signalling_host: None,
            strict_source: false,
            media_handover: false,
            pierce_nat: false,
            nat_wait: false,
            block_short: false,
            hold: HoldPlan::default(),
            direction: Direction::SendRecv,
            asymmetric: false,
            unidirectional: false,
            generates_rtcp: false,
            audio_player: AudioPlayer::Default,
            early_media: false,
            has_announcements: false,
            ice: Ice::default(),
            bundling: Bundling::default(),
            masked_extensions: Vec::new(),
            t38: None,
            security: MediaSecurity::default(),
        }
    }

    /// The section carries RTP.
    pub fn is_rtp(&self) -> bool {
        self.rtp_profile().is_some()
    }

    /// What is in the packets was never said ([`Transport::Unspecified`]).
    pub fn is_unspecified(&self) -> bool {
        self.transport == Some(Transport::Unspecified)
    }

    /// A second port, for RTCP, stands beside the first one.
    pub fn has_rtcp_port(&self) -> bool {
        self.is_unspecified() || self.is_rtp() && !self.rtcp_mux.active
    }

    /// The RTP profile that is spoken.
    pub fn rtp_profile(&self) -> Option<RtpProfile> {
        self.transport.as_ref()?.rtp_profile()
    }

    /// What the data plane does with the party's packets. Those of sections that are passed through are none of our business, whatever
    /// they are.
    pub fn keying(&self) -> &Keying {
        if self.ice.passthrough() == Passthrough::Off { self.security.keying() } else { &Keying::Plain }
    }

    /// The section is bundled behind another one: its ports and streams are copies of that one's.
    pub fn is_carried(&self) -> bool {
        self.bundling.is_carried()
    }

    pub fn is_rejected(&self) -> bool {
        self.remote.as_ref().is_some_and(|remote| remote.rejected)
    }

    /// The party may send on this section as far as its own SDP goes.
    pub fn may_send(&self) -> bool {
        self.remote.as_ref().is_none_or(|remote| remote.allows().sends())
    }

    /// The party wants to receive on this section.
    pub fn may_receive(&self) -> bool {
        self.remote.as_ref().is_none_or(|remote| remote.allows().receives())
    }
}

impl MediaStream {
    /// RTP (with RTCP, if both are multiplexed) and RTCP.
    pub(super) fn pair(created: SystemTime) -> [Self; 2] {
        [(); 2].map(|()| Self::new(created, StreamShared::default()))
    }

    /// Streams of a section that is being restored: they begin now.
    fn restored_pair() -> [Self; 2] {
        Self::pair(SystemTime::now())
    }

    fn new(created: SystemTime, shared: StreamShared) -> Self {
        Self {
            id: StreamId(super::store::next_id()),
            shared: Arc::new(shared),
            resumed: None,
            learned: None,
            learning_epoch: 0,
            since_us: super::store::unix_us(created),
        }
    }

    /// Learning starts anew, what was learned is forgotten.
    pub fn restart_learning(&mut self) {
        self.learned = None;
        self.learning_epoch = self.learning_epoch.wrapping_add(1);
    }
}
