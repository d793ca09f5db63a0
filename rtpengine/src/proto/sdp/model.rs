//! What a session description means. Everything that the daemon does not interpret is kept as text, in order.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

pub use super::attribute::crypto::{KeySalt, Suite};
pub use super::attribute::fingerprint::FingerprintHash;

/// A parsed session description. Several `v=` blocks in one body are joined into one (media appended).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionDescription {
    /// `o=`, of the first session.
    pub origin: Option<Origin>,
    /// `s=` text; `None` when the line is missing.
    pub session_name: Option<SmolStr>,
    /// `i=`
    pub information: Option<SmolStr>,
    /// `u=`
    pub uri: Option<SmolStr>,
    /// `e=`
    pub email: Option<SmolStr>,
    /// `p=`
    pub phone: Option<SmolStr>,
    /// Session-level `c=`.
    pub connection: Option<Connection>,
    /// Session-level `b=`.
    pub bandwidth: Bandwidth,
    /// `t=` text of the first line.
    pub timing: Option<SmolStr>,
    /// Session-level attributes that media without their own inherit.
    pub attributes: Attributes,
    /// `a=group:` lines.
    pub groups: Vec<Group>,
    /// `a=rtpengine:` instance ids, one per session (loop protection).
    pub instances: Vec<Option<SmolStr>>,
    /// Media sections in order.
    pub media: Vec<MediaDescription>,
}

/// `o=<username> <session id> <version> IN <family> <address>`; the address may be a host name and is kept as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// User name.
    pub username: SmolStr,
    /// Session id (any length, digits not checked).
    pub session_id: SmolStr,
    /// Session version (any length).
    pub version: SmolStr,
    /// `IN`.
    pub network: SmolStr,
    /// `IP4` or `IP6`.
    pub family: SmolStr,
    /// Address or host name.
    pub address: SmolStr,
}

/// `c=IN IP4 <address>`; multicast suffixes are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The address.
    pub address: IpAddr,
}

/// `b=` values; unknown types are dropped. Printed in the order of the fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bandwidth {
    /// `AS`, kbit/s
    pub application_specific: Option<u64>,
    /// `RR`, bit/s
    pub rtcp_receivers: Option<u64>,
    /// `RS`, bit/s
    pub rtcp_senders: Option<u64>,
    /// `CT`, kbit/s
    pub conference_total: Option<u64>,
    /// `TIAS`, bit/s
    pub transport_independent: Option<u64>,
}

/// `a=group:<semantics> <mid>…`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// `BUNDLE`, `LS` …
    pub semantics: SmolStr,
    /// Identification tags.
    pub mids: Vec<SmolStr>,
}

/// One `m=` section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaDescription {
    /// `audio`, `video`, `image`, `message`, `application`, `text` or anything else, as spelled.
    pub media_type: SmolStr,
    /// Port; 0 = rejected.
    pub port: u16,
    /// Number of ports (`/n`), 1 when not given; 1–10.
    pub port_count: u16,
    /// Transport.
    pub transport: Transport,
    /// The `fmt` tokens as written.
    pub format_tokens: Vec<SmolStr>,
    /// For RTP transports: the payload types with rtpmap/fmtp/rtcp-fb merged, in `m=` order. Static numbers
    /// without rtpmap have their registered name; unknown ones have an empty name.
    pub formats: Vec<MediaFormat>,
    /// `i=`
    pub information: Option<SmolStr>,
    /// Media-level `c=`.
    pub connection: Option<Connection>,
    /// Media-level `b=`.
    pub bandwidth: Bandwidth,
    /// Typed and unknown attributes.
    pub attributes: Attributes,
    /// All attribute lines as written (without `a=`), for sections that are copied verbatim.
    pub attribute_lines: Vec<SmolStr>,
    /// The other half of a legacy OSRTP pair, when negotiation has joined two sections into this one; the parser leaves it empty.
    pub other_half: Option<OtherHalf>,
}

/// What is kept of a section that was joined with its neighbour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherHalf {
    /// Transport.
    pub transport: Transport,
    /// The `fmt` tokens as written.
    pub format_tokens: Vec<SmolStr>,
    /// It stands in front of the section that was kept.
    pub is_first: bool,
}

/// A payload type of an RTP media section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediaFormat {
    /// Codec, clock, channels and fmtp.
    pub format: codec::PayloadFormat,
    /// `a=rtcp-fb:<pt> …` values in input order, without the payload type.
    pub feedback: Vec<SmolStr>,
}

/// The `proto` field of `m=`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Transport {
    /// One of the RTP profiles.
    Rtp(RtpProfile),
    /// `udptl` (T.38).
    Udptl,
    /// Anything else, as written.
    Other(SmolStr),
    /// Not said: streams of control protocols without SDP. Two ports, whose datagrams are relayed as they are.
    Unspecified,
}

/// RTP profiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RtpProfile {
    /// `S`: SRTP.
    pub secure: bool,
    /// `F`: RTCP feedback (RFC 4585).
    pub feedback: bool,
    /// `UDP/TLS/` in front: keys by DTLS.
    pub dtls: bool,
}

/// `a=sendrecv` and friends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    /// Both ways.
    #[default]
    SendRecv,
    /// The writer only sends.
    SendOnly,
    /// The writer only receives.
    RecvOnly,
    /// Neither.
    Inactive,
}

/// `a=setup` (RFC 4145).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Setup {
    /// Will send the ClientHello.
    Active,
    /// Waits for it.
    Passive,
    /// Either.
    ActPass,
    /// No connection for now.
    HoldConn,
}

/// `a=fingerprint:<hash> <hex>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// The hash function.
    pub hash: FingerprintHash,
    /// Digest octets.
    pub digest: Vec<u8>,
}

/// `a=crypto` (RFC 4568), validated against the suite's key length.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crypto {
    /// Tag.
    pub tag: u32,
    /// Suite.
    #[serde(with = "super::attribute::crypto::suite_name")]
    pub suite: &'static Suite,
    /// Master key and salt, concatenated; as long as the suite wants it.
    pub key_salt: KeySalt,
    /// Master key identifier and its length in octets.
    pub mki: Option<(Vec<u8>, u8)>,
    /// Session parameters `UNENCRYPTED_SRTP`, `UNENCRYPTED_SRTCP`, `UNAUTHENTICATED_SRTP`.
    pub unencrypted_srtp: bool,
    /// See above.
    pub unencrypted_srtcp: bool,
    /// See above.
    pub unauthenticated_srtp: bool,
}

/// `a=extmap:<id>[/direction] <uri> [arguments]`; direction and arguments are dropped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtMap {
    /// 1–14 or 16–255.
    pub id: u16,
    /// URI.
    pub uri: SmolStr,
}

/// `a=candidate` (RFC 8839), parsed as far as it is valid; unusable ones (TCP, host names) are kept as text only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Foundation.
    pub foundation: SmolStr,
    /// 1 = RTP, 2 = RTCP.
    pub component: u32,
    /// `UDP`, `TCP` …, as written.
    pub transport: SmolStr,
    /// Priority.
    pub priority: u64,
    /// Connection address as text.
    pub address: SmolStr,
    /// Port.
    pub port: u16,
    /// `host`, `srflx`, `prflx`, `relay`.
    pub kind: SmolStr,
    /// Related address and port.
    pub related: Option<(SmolStr, u16)>,
}

/// `a=rtcp:<port> [IN IP4 <address>]` (RFC 3605).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtcpAttribute {
    /// Port.
    pub port: u16,
    /// Address, when given.
    pub address: Option<IpAddr>,
}

/// Attributes of a session or media section. `None`/empty = not present at this level.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Direction; if several are present recvonly wins over sendonly over inactive over sendrecv.
    pub direction: Option<Direction>,
    /// `a=mid`
    pub mid: Option<SmolStr>,
    /// `a=label`
    pub label: Option<SmolStr>,
    /// `a=bundle-only`
    pub bundle_only: bool,
    /// `a=rtcp`
    pub rtcp: Option<RtcpAttribute>,
    /// `a=rtcp-mux`
    pub rtcp_mux: bool,
    /// `a=crypto`, valid ones
    pub crypto: Vec<Crypto>,
    /// `a=setup`
    pub setup: Option<Setup>,
    /// `a=fingerprint`, first valid one
    pub fingerprint: Option<Fingerprint>,
    /// `a=tls-id`
    pub tls_id: Option<SmolStr>,
    /// `a=ptime`, ms
    pub ptime_ms: Option<u16>,
    /// `a=maxptime`, ms
    pub maxptime_ms: Option<u16>,
    /// `a=ice-ufrag`
    pub ice_ufrag: Option<SmolStr>,
    /// `a=ice-pwd`
    pub ice_pwd: Option<SmolStr>,
    /// `a=ice-options` words
    pub ice_options: Vec<SmolStr>,
    /// `a=ice-lite`
    pub ice_lite: bool,
    /// `a=end-of-candidates`
    pub end_of_candidates: bool,
    /// `a=candidate`
    pub candidates: Vec<Candidate>,
    /// `a=extmap`
    pub extmap: Vec<ExtMap>,
    /// `a=extmap-allow-mixed`
    pub extmap_allow_mixed: bool,
    /// Attributes that are passed on as text (without `a=`), in input order. `rtcp-fb:*` is among them. The
    /// attribute named by option `moh-attr-name` is too; the caller removes it.
    pub unknown: Vec<SmolStr>,
    /// Like `unknown`, with the direction attributes left in their places (flag `original-sendrecv`).
    pub unknown_with_direction: Vec<SmolStr>,
    /// T.38 attributes (`T38…`), consumed when a section is generated.
    pub t38: Vec<SmolStr>,
}
