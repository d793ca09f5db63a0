//! What a signalling message asks for: the keys and flags of `offer`, `answer` and their relatives as types.
//!
//! Filled by the doors in the order of the message; unknown keys and values have been logged and left out.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::config::EndpointLearning;
use crate::proto::sdp::model::RtpProfile;

/// The typed form of a signalling message.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Signal {
    pub identity: Identity,
    pub sdp: Option<Vec<u8>>,
    pub network: NetworkOptions,
    pub replace: Replace,
    pub security: SecurityOptions,
    pub codecs: CodecOptions,
    pub output: OutputOptions,
    pub flags: Flags,
    pub recording: RecordingOptions,
    pub playback: PlaybackOptions,
    pub dtmf: DtmfOptions,
    pub t38: T38Options,
    pub deletion: DeletionOptions,
    pub selection: Selection,
    /// `media`/`medias` of `create` and `transform`.
    pub media: Vec<MediaEntry>,
}

/// Who talks (section 2 of the flag reference).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Identity {
    pub call_id: Option<SmolStr>,
    pub from_tag: Option<SmolStr>,
    pub to_tag: Option<SmolStr>,
    pub via_branch: Option<SmolStr>,
    pub label: Option<SmolStr>,
    pub set_label: Option<SmolStr>,
    pub to_label: Option<SmolStr>,
    pub alias_key: AliasKey,
    pub metadata: Option<SmolStr>,
    pub xmlrpc_callback: Option<IpAddr>,
    /// `supports: ["load limit"]`
    pub supports_load_limit: bool,
    pub sip_message: Option<SipMessage>,
    pub sip_code: Option<u32>,
    pub instance: Option<SmolStr>,
    /// Who sent the message.
    pub client: Option<SocketAddr>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AliasKey {
    #[default]
    None,
    Sdp,
    Address,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SipMessage {
    Request,
    Reply,
}

/// Section 3.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NetworkOptions {
    /// `direction[0]`, `from-interface`, and for publish/subscribe/create `interface`.
    pub interface_from: Option<SmolStr>,
    /// `direction[1]`, `to-interface`.
    pub interface_to: Option<SmolStr>,
    pub inbound_peer: Option<IpAddr>,
    pub outbound_peer: Option<IpAddr>,
    pub address_family: Option<AddressFamily>,
    pub media_address: Option<IpAddr>,
    pub received_from: Option<IpAddr>,
    /// `None`: not given (resets to the option).
    pub tos: Option<i64>,
    pub media_echo: Option<MediaEcho>,
    pub drop_traffic: Option<DropTraffic>,
    pub endpoint_learning: Option<EndpointLearning>,
    pub passthrough: Option<bool>,
    pub delay_buffer_ms: Option<i64>,
    pub audio_player: Option<AudioPlayer>,
    pub generate_rtcp: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AddressFamily {
    Ip4,
    Ip6,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaEcho {
    Blackhole,
    Forward,
    Backward,
    Both,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropTraffic {
    Start,
    Stop,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AudioPlayer {
    #[default]
    Default,
    Transcoding,
    Off,
    Force,
}

/// Section 5.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Replace {
    pub origin: bool,
    pub origin_full: bool,
    pub sdp_version: bool,
    pub force_increment_sdp_version: bool,
    pub username: bool,
    pub session_name: bool,
    pub zero_address: bool,
}

/// Section 6.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SecurityOptions {
    pub transport: Option<TransportOverride>,
    pub ice: IceMode,
    pub ice_trickle: bool,
    pub ice2: bool,
    pub ice_lite: Option<IceLite>,
    pub dtls: Option<DtlsMode>,
    pub dtls_fingerprint: Option<SmolStr>,
    pub sdes: SdesOptions,
    pub osrtp_offer: bool,
    pub osrtp_accept: bool,
    pub osrtp_offer_legacy: bool,
    pub osrtp_accept_legacy: bool,
    pub rtcp_mux: RtcpMuxOptions,
    pub bundle: BundleOptions,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportOverride {
    Rtp(RtpProfile),
    Udptl,
    /// `accept`: pass the answerer's transport on.
    Accept,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IceMode {
    #[default]
    Default,
    Remove,
    Force,
    Optional,
    ForceRelay,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IceLite {
    Forward,
    Backward,
    Both,
    Off,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DtlsMode {
    Off,
    Passive,
    Active,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct SdesOptions {
    pub off: bool,
    pub only: Vec<SmolStr>,
    pub no: Vec<SmolStr>,
    pub nonew: bool,
    pub order: Vec<SmolStr>,
    pub offerer_preference: Vec<SmolStr>,
    pub pad: bool,
    pub lifetime: bool,
    pub keep_static: bool,
    pub prefer: bool,
    pub unencrypted_srtp: Option<bool>,
    pub unencrypted_srtcp: Option<bool>,
    pub unauthenticated_srtp: Option<bool>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RtcpMuxOptions {
    pub offer: bool,
    pub require: bool,
    pub demux: bool,
    pub accept: bool,
    pub reject: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BundleOptions {
    pub accept: bool,
    pub offer: bool,
    pub require: bool,
    pub strict: bool,
    pub reject: bool,
}

/// Section 7 and the codec flags of section 8.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CodecOptions {
    pub ignore: Vec<CodecSpec>,
    pub accept: Vec<CodecSpec>,
    pub accept_all: bool,
    pub accept_any: bool,
    pub consume: Vec<CodecSpec>,
    pub consume_all: bool,
    pub mask: Vec<CodecSpec>,
    pub mask_all: bool,
    pub strip: Vec<CodecSpec>,
    pub strip_all: bool,
    pub except: Vec<CodecSpec>,
    pub offer: Vec<CodecSpec>,
    pub transcode: Vec<CodecSpec>,
    pub set: Vec<CodecSpec>,
    pub always_transcode: bool,
    pub force_transcoding: bool,
    pub single_codec: bool,
    pub allow_transcoding: bool,
    pub allow_asymmetric_codecs: bool,
    pub allow_no_codec_media: bool,
    pub reuse_codecs: bool,
    pub static_codecs: bool,
    pub ptime_ms: Option<u16>,
    pub ptime_reverse_ms: Option<u16>,
}

/// `NAME[/clock[/channels[/bitrate[/ptime[/fmtp[/options]]]]]]`; `--` and `..` already replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CodecSpec {
    pub name: SmolStr,
    pub clock_rate: Option<u32>,
    pub channels: Option<u8>,
    pub bitrate_bps: Option<u32>,
    pub ptime_ms: Option<u16>,
    pub fmtp: Option<SmolStr>,
    pub options: Option<SmolStr>,
}

/// What the rendered SDP looks like.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OutputOptions {
    pub sdp_attr: Vec<SdpAttrCommand>,
    pub remove_media: Vec<MediaTypeSelector>,
    pub extmap_strip: Vec<SmolStr>,
    pub extmap_strip_all: bool,
    pub extmap_mask: Vec<SmolStr>,
    pub extmap_mask_all: bool,
    pub moh: Option<MusicOnHold>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct SdpAttrCommand {
    pub section: SdpSection,
    pub action: SdpAttrAction,
}

#[derive(Clone, Debug, PartialEq)]
pub enum SdpSection {
    Session,
    /// A media type, lower case.
    Media(SmolStr),
}

#[derive(Clone, Debug, PartialEq)]
pub enum SdpAttrAction {
    Add(SmolStr),
    Remove(SmolStr),
    Substitute { from: SmolStr, to: SmolStr },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MediaTypeSelector {
    Named(SmolStr),
    /// Unregistered types.
    Other,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MusicOnHold {
    pub source: Option<MediaSource>,
    pub mode: MohMode,
    pub zero_connection: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum MohMode {
    #[default]
    SendOnly,
    SendRecv,
    Reflect,
}

/// Section 8, what is not elsewhere.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Flags {
    /// `Some(true)` trust-address, `Some(false)` SIP-source-address.
    pub trust_address: Option<bool>,
    pub asymmetric: bool,
    pub strict_source: bool,
    pub media_handover: bool,
    pub port_latching: bool,
    pub no_port_latching: bool,
    pub unidirectional: bool,
    pub pierce_nat: bool,
    pub nat_wait: bool,
    pub loop_protect: bool,
    pub fragment: bool,
    pub reject_ice: bool,
    pub reset: bool,
    pub generate_mid: bool,
    pub no_rtcp_attribute: bool,
    pub full_rtcp_attribute: bool,
    pub no_tls_id: bool,
    pub original_sendrecv: bool,
    pub recrypt: bool,
    pub block_short: bool,
    pub block_dtmf: bool,
    pub block_egress: bool,
    pub detect_dtmf: bool,
    pub inject_dtmf: bool,
    pub early_media: bool,
    pub no_jitter_buffer: bool,
    pub new_branch: bool,
    pub provisional: bool,
    pub all: AllSelector,
    pub directional: bool,
    pub bidirectional: bool,
    pub inactive: bool,
    pub mix: bool,
    pub egress: bool,
    pub siprec: bool,
    pub mirror_rtcp: bool,
    pub unsubscribe: bool,
    pub honour_to_tag: bool,
    pub fatal: bool,
    pub fast: bool,
    pub debug: bool,
    /// The reply says why the codecs are as they are.
    pub explain: bool,
    pub no_redis_update: bool,
    /// Bare words `internal`/`external` and unknown flags are not kept; `WebRTC` has been expanded.
    pub webrtc: bool,
    /// No key of the protocol: the Janus interface wants to hear of the connections of the call's parties.
    pub tells_connections: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AllSelector {
    #[default]
    None,
    All,
    OfferAnswer,
    ExceptOfferAnswer,
    Flows,
}

/// Section 10, recording.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RecordingOptions {
    pub record_call: Option<RecordCall>,
    pub file: Option<SmolStr>,
    pub path: Option<SmolStr>,
    pub pattern: Option<SmolStr>,
    pub media_slot_offer: Option<i64>,
    pub media_slot_answer: Option<i64>,
    pub media_slots: Option<i64>,
    pub recording_vsc: bool,
    pub recording_announcement: bool,
    pub exclude: bool,
    pub skip_database: bool,
    pub discard: bool,
    pub pause: bool,
    /// (which, digits): `start-rec`, `stop-rec`, `pause-rec`, `start-stop-rec`, `pause-resume-rec`, `start-pause-resume-rec`.
    pub vsc: Vec<(SmolStr, SmolStr)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordCall {
    Start,
    Stop,
    Discard,
}

/// Section 10, playback.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PlaybackOptions {
    pub file: Option<SmolStr>,
    pub blob: Option<Vec<u8>>,
    pub db_id: Option<i64>,
    pub start_pos: Option<i64>,
    pub repeat_times: Option<i64>,
    pub repeat_duration_ms: Option<i64>,
}

impl PlaybackOptions {
    /// The source by precedence: file, then blob, then database.
    pub fn source(&self) -> Option<MediaSource> {
        if let Some(file) = &self.file {
            return Some(MediaSource::File(file.clone()));
        }
        if let Some(blob) = &self.blob {
            return Some(MediaSource::Blob(blob.clone()));
        }
        self.db_id.map(MediaSource::Database)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum MediaSource {
    File(SmolStr),
    Blob(Vec<u8>),
    Database(i64),
}

impl MediaSource {
    /// It may take seconds to come: from a database or a web server.
    pub fn is_remote(&self) -> bool {
        match self {
            Self::File(name) => name.contains("://"),
            Self::Blob(_) => false,
            Self::Database(_) => true,
        }
    }
}

/// Section 10, DTMF.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DtmfOptions {
    pub security: Option<SmolStr>,
    pub security_trigger: Option<SmolStr>,
    pub security_trigger_end: Option<SmolStr>,
    pub trigger: Option<SmolStr>,
    pub trigger_end: Option<SmolStr>,
    pub trigger_end_time_ms: Option<i64>,
    pub trigger_end_digits: Option<i64>,
    /// `digit`/`code`, still as given: one character or an integer.
    pub digit: Option<SmolStr>,
    pub frequencies: Vec<i64>,
    pub volume: Option<i64>,
    pub delay_ms: Option<i64>,
    pub log_destination: Option<SmolStr>,
    pub duration_ms: Option<i64>,
    pub pause_ms: Option<i64>,
}

/// Section 12.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct T38Options {
    pub decode: bool,
    pub force: bool,
    pub stop: bool,
    pub fec: bool,
    pub no_ecm: bool,
    pub no_v17: bool,
    pub no_v27ter: bool,
    pub no_v29: bool,
    pub no_v34: bool,
    pub no_iaf: bool,
    pub version: Option<i64>,
}

/// Keys of `delete`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeletionOptions {
    pub delay_s: Option<i64>,
}

/// Keys that select parties or calls beyond the identity.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selection {
    /// `address` as written; parsed by whoever uses it, so that its error is reported there.
    pub address: Option<SmolStr>,
    pub from_tags: Vec<SmolStr>,
    pub calls: Vec<SmolStr>,
    pub to_call_id: Option<SmolStr>,
    pub source_tag: Option<SmolStr>,
    pub source_call_id: Option<SmolStr>,
    /// `tags` of mesh: (from, to…).
    pub tags: Vec<(SmolStr, Vec<SmolStr>)>,
}

/// One entry of `media`: a media section to create, or a stream to transform.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MediaEntry {
    pub id: Option<SmolStr>,
    pub media_type: Option<SmolStr>,
    /// Codecs given by name (`create`).
    pub codecs: Vec<CodecSpec>,
    /// Codecs given as pairs (`transform`).
    pub transforms: Vec<CodecTransform>,
    pub destination: Option<Destination>,
}

/// From what to what media are converted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CodecTransform {
    pub input: PayloadTypeEntry,
    pub output: PayloadTypeEntry,
}

/// A payload type with its parameters, as far as given.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PayloadTypeEntry {
    pub codec: Option<SmolStr>,
    pub payload_type: Option<u8>,
    pub clock_rate: Option<u32>,
    pub channels: Option<u8>,
    pub format: Option<SmolStr>,
    pub options: Option<SmolStr>,
}

/// Where transformed media go; parsed by whoever uses it, so that its error is reported there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Destination {
    pub family: Option<AddressFamily>,
    pub address: Option<SmolStr>,
    pub port: Option<u16>,
}
