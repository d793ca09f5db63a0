//! What the documented keys cannot carry.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::super::model::{Media, Party};
use super::super::relay::RelaySession;
use super::super::subscription::Subscription;
use super::super::switches::{Flow, Switches};
use crate::negotiate::ice::Foundation;
use crate::negotiate::security::StoredSecurity;
use crate::record::RecordingDetails;

/// `state` of `json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CallState {
    /// Ids of calls that are part of this one.
    pub merged: Vec<SmolStr>,
    pub subscriptions: Vec<Subscription>,
    pub switches: Switches,
    pub flows: Vec<Flow>,
    pub dtmf_log: Option<SocketAddr>,
    pub forwarding: bool,
    pub metadata: Option<SmolStr>,
    pub tos_set: bool,
    #[serde(with = "crate::proto::stored::instant")]
    pub delete_at: Option<Instant>,
    #[serde(with = "crate::proto::stored::instant")]
    pub deleted_at: Option<Instant>,
    pub xmlrpc_callback: Option<IpAddr>,
    pub drop_traffic: bool,
    pub next_media_number: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay: Option<RelaySession>,
    pub recording: RecordingState,
    /// The certificates that parties were told, in base64.
    pub identities: Vec<IdentityState>,
}

/// The recording of a call.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RecordingState {
    pub on: bool,
    pub forwarding: bool,
    pub details: RecordingDetails,
}

/// A certificate of ours with its private key, both as DER in base64.
#[derive(Clone, Serialize, Deserialize)]
pub struct IdentityState {
    pub certificate: String,
    pub key: String,
}

impl std::fmt::Debug for IdentityState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IdentityState")
    }
}

/// `state` of `tag-N`.
pub type TagState = Party;

/// `state` of `media-N`.
#[derive(Serialize, Deserialize)]
pub struct MediaState {
    pub media: Media,
    pub security: StoredSecurity,
    pub ports: PortsState,
    /// Positions of `stream-N`, for RTP and RTCP.
    pub streams: [usize; 2],
    /// Of the attachment: interface, address of it, and its name in ICE.
    pub attachment: Option<(SmolStr, usize, Foundation)>,
}

/// All port sets of a media.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PortsState {
    pub sets: Vec<SetState>,
    pub current: Option<usize>,
    /// The one before; older versions do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former: Option<usize>,
}

/// A port set: numbers are those of `sfd-N`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SetState {
    pub far: Option<SocketAddr>,
    pub rtp: usize,
    pub rtcp: Option<usize>,
    pub further: Vec<usize>,
    pub alternates: Vec<AlternateState>,
}

/// Ports on another local address.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AlternateState {
    pub interface: SmolStr,
    pub address: usize,
    pub foundation: Foundation,
    pub rtp: usize,
    pub rtcp: Option<usize>,
}

/// JSON text.
pub fn text(value: &impl Serialize) -> String {
    // Only maps with keys that are no text, or a writer, can fail.
    serde_json::to_string(value).unwrap_or_default()
}

/// The certificates that are met while a call is written.
pub type Identities = Vec<Arc<crate::proto::dtls::Identity>>;
