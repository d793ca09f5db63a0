//! One call as operators see it.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime};

use smol_str::{SmolStr, format_smolstr};

use super::engine::Engine;
use super::model::{Call, Media, PartyId};
use super::snapshot::TrafficSnapshot;
use super::store::lock;
use super::subscription::MediaRef;
use crate::media::plan::{CallKey, StreamId};

/// A call.
#[derive(Clone, Debug, PartialEq)]
pub struct CallDump {
    pub id: SmolStr,
    pub other_ids: Vec<SmolStr>,
    /// Deletion is pending.
    pub deleted: bool,
    pub created: SystemTime,
    pub created_from: Option<SocketAddr>,
    pub tos: u8,
    pub last_signal: Option<SystemTime>,
    pub foreign: bool,
    pub recording: bool,
    /// Redis database; −1 = none.
    pub keyspace: i64,
    /// When it was last stored, in microseconds since the epoch; 0 = never.
    pub stored_us: u64,
    pub parties: Vec<PartyDump>,
}

/// A party.
#[derive(Clone, Debug, PartialEq)]
pub struct PartyDump {
    pub tag: SmolStr,
    pub role: PartyRole,
    pub label: SmolStr,
    pub branch: SmolStr,
    pub created: SystemTime,
    /// Until now, or until the deletion that is pending.
    pub duration: Duration,
    pub aliases: Vec<SmolStr>,
    /// Whose media it hears.
    pub hears: Vec<MediaOf>,
    /// Who hears its media.
    pub heard_by: Vec<MediaOf>,
    pub media: Vec<MediaDump>,
}

/// Which side of the first exchange a party was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartyRole {
    Caller,
    Callee,
    Unknown,
}

/// A media of some party.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaOf {
    pub tag: SmolStr,
    /// From 1.
    pub index: usize,
}

/// A media section.
#[derive(Clone, Debug, PartialEq)]
pub struct MediaDump {
    pub index: usize,
    pub media_type: SmolStr,
    pub protocol: Option<SmolStr>,
    /// What was received most.
    pub payload_type: Option<u8>,
    /// Name and clock rate of that.
    pub codec: Option<SmolStr>,
    /// The `fmt` tokens of a section that is not RTP.
    pub other_formats: Vec<SmolStr>,
    pub streams: Vec<StreamDump>,
}

/// A stream.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamDump {
    pub local: Option<(IpAddr, u16)>,
    pub remote: Option<SocketAddr>,
    pub is_rtcp: bool,
    pub ssrc: u32,
    pub packets: u64,
    pub octets: u64,
    pub errors: u64,
    /// Packets, octets and errors of what was sent.
    pub sent: TrafficSnapshot,
    /// Seconds since the epoch.
    pub last_packet_s: u64,
}

/// Where the packets of a stream come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamWhereabouts {
    pub call_id: SmolStr,
    pub local: SocketAddr,
    pub remote: SocketAddr,
}

impl Engine {
    /// Everything about a call.
    pub fn dump(&self, call_id: &str) -> Option<CallDump> {
        let handle = self.store.get(call_id)?;
        let call = lock(&handle);
        self.refresh(&call);
        (!call.ended).then(|| CallDump::take(&call))
    }

    /// Whose a stream is.
    pub fn whereabouts(&self, call: &CallKey, stream: StreamId) -> Option<StreamWhereabouts> {
        let handle = self.by_key(call)?;
        let call = lock(&handle);
        let of = |media: &Media| {
            let component = media.streams.iter().position(|candidate| candidate.id == stream)?;
            let dump = StreamDump::take(media, component);
            Some(StreamWhereabouts {
                call_id: call.id.clone(),
                local: dump.local.map(SocketAddr::from)?,
                remote: dump.remote?,
            })
        };
        call.parties.iter().flat_map(|party| &party.media).find_map(of)
    }

    /// There is a call of this id.
    pub fn has_call(&self, call_id: &str) -> bool {
        self.store.get(call_id).is_some()
    }
}

impl CallDump {
    pub(super) fn take(call: &Call) -> Self {
        Self {
            id: call.id.clone(),
            other_ids: call.merged.iter().map(|merged| merged.id.clone()).collect(),
            deleted: call.delete_at.is_some(),
            created: call.created,
            created_from: call.created_from,
            tos: call.tos,
            last_signal: call.last_signal,
            foreign: call.foreign,
            keyspace: call.keyspace.unwrap_or(-1),
            stored_us: call.stored_us,
            recording: call.recording.on,
            parties: (0..call.parties.len()).map(|id| PartyDump::take(call, PartyId(id))).collect(),
        }
    }
}

impl PartyDump {
    fn take(call: &Call, id: PartyId) -> Self {
        let party = call.party(id);
        let since_deletion = call.deleted_at.map_or(Duration::ZERO, |at| Instant::now() - at);
        let age = SystemTime::now().duration_since(party.created).unwrap_or_default();
        let media_of = |at: MediaRef| {
            Some(MediaOf {
                tag: call.party(at.party).tag.clone().unwrap_or_default(),
                index: call.media(at)?.index?,
            })
        };
        let paired = || {
            let positions = 0..party.media.len();
            positions.filter_map(move |position| media_of(MediaRef { party: party.partner?, position }))
        };
        let sources = call.subscriptions.iter().filter(|s| s.sink.party == id).map(|s| s.source);
        let sinks = call.subscriptions.iter().filter(|s| s.source.party == id).map(|s| s.sink);
        Self {
            tag: party.tag.clone().unwrap_or_default(),
            role: match party.partner {
                Some(partner) if partner.0 > id.0 => PartyRole::Caller,
                Some(_) => PartyRole::Callee,
                None => PartyRole::Unknown,
            },
            label: party.label.clone().unwrap_or_default(),
            branch: party.via_branch.clone().unwrap_or_default(),
            created: party.created,
            duration: age.saturating_sub(since_deletion),
            aliases: party.aliases.clone(),
            hears: paired().chain(sources.filter_map(media_of)).collect(),
            heard_by: paired().chain(sinks.filter_map(media_of)).collect(),
            media: party.media.iter().filter_map(MediaDump::take).collect(),
        }
    }
}

impl MediaDump {
    fn take(media: &Media) -> Option<Self> {
        let slots = &media.streams[0].shared.ingress_ssrc;
        let used = slots.iter().filter(|slot| slot.ssrc.load(Relaxed) != 0);
        let seen = used.max_by_key(|slot| slot.packets.get()).map(|slot| slot.payload_type.load(Relaxed));
        let codec = seen.and_then(|seen| {
            let formats = &media.remote.as_ref()?.formats;
            let format = formats.iter().find(|format| u32::from(format.payload_type) == seen)?;
            Some(format_smolstr!("{}/{}", format.name, format.clock_rate))
        });
        let components = if media.has_rtcp_port() { 0..2 } else { 0..1 };
        Some(Self {
            index: media.index?,
            media_type: media.media_type.clone(),
            protocol: media.transport.as_ref().map(|transport| transport.name().into()),
            payload_type: seen.and_then(|seen| u8::try_from(seen).ok()),
            codec,
            other_formats: media.remote.as_ref().map_or_else(Vec::new, |remote| remote.other_formats.clone()),
            streams: components.map(|component| StreamDump::take(media, component)).collect(),
        })
    }
}

impl StreamDump {
    fn take(media: &Media, component: usize) -> Self {
        let stream = &media.streams[component];
        let shared = &stream.shared;
        let remote = media.remote.as_ref().filter(|remote| !remote.rejected);
        let signalled = remote.map(|remote| if component == 0 { remote.rtp } else { remote.rtcp });
        let port = media.ports.current().and_then(|ports| match component {
            0 => Some(&ports.rtp),
            _ => ports.rtcp.as_ref(),
        });
        // RTCP reports are about the SSRC of the RTP stream beside it.
        let slots = &media.streams[0].shared.ingress_ssrc;
        let used = slots.iter().filter(|slot| slot.ssrc.load(Relaxed) != 0);
        Self {
            local: port.map(|port| (port.local.ip(), port.local.port())),
            remote: stream.learned.or(signalled),
            is_rtcp: component == 1,
            ssrc: used.max_by_key(|slot| slot.packets.get()).map_or(0, |slot| slot.ssrc.load(Relaxed)),
            packets: shared.ingress.packets.get(),
            octets: shared.ingress.octets.get(),
            errors: shared.ingress.errors.get(),
            sent: TrafficSnapshot::of(&shared.egress),
            last_packet_s: shared.last_packet_us().max(stream.since_us) / 1_000_000,
        }
    }
}
