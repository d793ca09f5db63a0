//! A call as `query` and `delete` report it.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering::Relaxed;
use std::time::SystemTime;

use smol_str::SmolStr;

use super::model::{Call, Media, MediaStream, Party, PartyId};
use crate::media::offload::Place;
use crate::media::quality::QualitySnapshot;
use crate::media::stats::{SsrcShared, StreamShared, Traffic};
use crate::negotiate::ice::{Passthrough, Role};
use crate::negotiate::security::{DtlsRole, PairOrder};
use crate::negotiate::signal::AudioPlayer;

/// A call.
#[derive(Clone, Debug, PartialEq)]
pub struct CallSnapshot {
    pub created: SystemTime,
    pub last_signal: Option<SystemTime>,
    /// When it was last stored, in microseconds since the epoch; 0 = never.
    pub stored_us: u64,
    pub metadata: Option<SmolStr>,
    /// Selected parties, with their numbers in the call.
    pub parties: Vec<(usize, PartySnapshot)>,
    pub rtp: TrafficSnapshot,
    pub rtcp: TrafficSnapshot,
    /// (call recording, forwarding), while a recording exists.
    pub recording: Option<(bool, bool)>,
    pub ssrcs: Vec<SsrcSnapshot>,
}

/// A party.
#[derive(Clone, Debug, PartialEq)]
pub struct PartySnapshot {
    pub tag: Option<SmolStr>,
    pub via_branch: Option<SmolStr>,
    pub aliases: Vec<SmolStr>,
    pub label: Option<SmolStr>,
    pub created: SystemTime,
    pub metadata: Option<SmolStr>,
    /// Whom the party hears.
    pub subscriptions: Vec<AssociateSnapshot>,
    /// Who hears the party.
    pub subscribers: Vec<AssociateSnapshot>,
    /// (excluded from recording, forwarding), while a recording exists.
    pub recording: Option<(bool, bool)>,
    pub media: Vec<MediaSnapshot>,
    /// Digits that do something: what, which, whether they are still waited for.
    pub codes: Vec<(&'static str, SmolStr, bool)>,
}

/// The other end of an association.
#[derive(Clone, Debug, PartialEq)]
pub struct AssociateSnapshot {
    pub tag: Option<SmolStr>,
    /// By offer and answer; else by publish/subscribe.
    pub offer_answer: bool,
}

/// A media section.
#[derive(Clone, Debug, PartialEq)]
pub struct MediaSnapshot {
    pub index: usize,
    pub media_type: SmolStr,
    pub protocol: Option<SmolStr>,
    /// Name of the codec of the last packets, once media was seen.
    pub codec: Option<SmolStr>,
    pub streams: Vec<StreamSnapshot>,
    pub flags: Vec<&'static str>,
    pub ingress: Vec<SsrcSnapshot>,
    pub egress: Vec<SsrcSnapshot>,
}

/// A stream. The local port is 0 when there is none of its own (multiplexed); `local` is `None` once closed.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamSnapshot {
    pub local: Option<(IpAddr, u16)>,
    pub endpoint: Option<SocketAddr>,
    pub advertised: Option<SocketAddr>,
    /// Name of the SRTP crypto suite.
    pub crypto_suite: Option<&'static str>,
    /// Microseconds since the epoch.
    pub last_packet_us: u64,
    /// The same for what the kernel forwarded; 0 = nothing.
    pub last_kernel_packet_us: u64,
    /// … and for what user space received.
    pub last_user_packet_us: u64,
    pub place: Place,
    pub ssrc: Option<u32>,
    pub flags: Vec<&'static str>,
    pub ingress: TrafficSnapshot,
    pub egress: TrafficSnapshot,
    /// Packets that arrived and did not go on, by reason.
    pub drops: Vec<(&'static str, u64)>,
}

/// Packets, octets, errors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrafficSnapshot {
    pub packets: u64,
    pub octets: u64,
    pub errors: u64,
}

/// One SSRC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SsrcSnapshot {
    pub ssrc: u32,
    pub packets: u64,
    pub octets: u64,
    pub last_timestamp: u64,
    pub last_sequence: u64,
    pub lost: u64,
    /// What receivers report, if anybody does.
    pub quality: Option<Box<QualitySnapshot>>,
}

impl CallSnapshot {
    /// All parties, or one with those it hears. A selected tag that nobody has gives no parties.
    pub fn take(call: &Call, selected: Option<&str>) -> Self {
        let chosen: Option<Vec<PartyId>> = selected.map(|tag| {
            let party = call.by_tag(tag);
            let heard = |party| call.party(party).partner.into_iter().chain(call.sources_of(party));
            party.into_iter().chain(party.into_iter().flat_map(heard)).collect()
        });
        let mut snapshot = CallSnapshot {
            created: call.created,
            last_signal: call.last_signal,
            stored_us: call.stored_us,
            metadata: call.metadata.clone(),
            parties: Vec::new(),
            rtp: TrafficSnapshot::default(),
            rtcp: TrafficSnapshot::default(),
            recording: call.recording.exists().then_some((call.recording.on, call.recording.forwarding)),
            ssrcs: Vec::new(),
        };
        for (number, party) in call.parties.iter().enumerate() {
            for media in &party.media {
                snapshot.count(media);
            }
            if chosen.as_ref().is_none_or(|chosen| chosen.contains(&PartyId(number))) {
                snapshot.parties.push((number, party_snapshot(call, PartyId(number), party)));
            }
        }
        snapshot
    }

    fn count(&mut self, media: &Media) {
        if media.is_carried() {
            // Counted with the section that stands for it.
            return;
        }
        let [rtp, rtcp] = [&media.streams[0].shared, &media.streams[1].shared];
        let muxed_rtcp = TrafficSnapshot::of(&rtp.rtcp_ingress);
        self.rtp.add(TrafficSnapshot::of(&rtp.ingress).without(muxed_rtcp));
        self.rtcp.add(TrafficSnapshot::of(&rtcp.ingress));
        self.rtcp.add(muxed_rtcp);
        self.ssrcs.extend(ingress_ssrcs(rtp));
    }
}

impl TrafficSnapshot {
    pub(super) fn of(traffic: &Traffic) -> Self {
        Self { packets: traffic.packets.get(), octets: traffic.octets.get(), errors: traffic.errors.get() }
    }

    fn add(&mut self, other: Self) {
        self.packets += other.packets;
        self.octets += other.octets;
        self.errors += other.errors;
    }

    fn without(self, other: Self) -> Self {
        Self {
            packets: self.packets.saturating_sub(other.packets),
            octets: self.octets.saturating_sub(other.octets),
            errors: self.errors.saturating_sub(other.errors),
        }
    }
}

impl SsrcSnapshot {
    fn of(shared: &SsrcShared, quality: impl FnOnce(u32) -> Option<QualitySnapshot>) -> Option<Self> {
        let ssrc = shared.ssrc.load(Relaxed);
        (ssrc != 0).then(|| Self {
            ssrc,
            packets: shared.packets.get(),
            octets: shared.octets.get(),
            last_timestamp: shared.last_timestamp.get(),
            last_sequence: shared.last_sequence.get(),
            lost: shared.lost.get(),
            quality: quality(ssrc).map(Box::new),
        })
    }
}

fn ingress_ssrcs(shared: &StreamShared) -> impl Iterator<Item = SsrcSnapshot> {
    let slots = shared.ingress_ssrc.iter().enumerate();
    slots.filter_map(|(slot, ssrc)| SsrcSnapshot::of(ssrc, |ssrc| shared.ingress_quality(slot, ssrc)))
}

fn egress_ssrcs(shared: &StreamShared) -> impl Iterator<Item = SsrcSnapshot> {
    let slots = shared.egress_ssrc.iter().enumerate();
    slots.filter_map(|(slot, ssrc)| SsrcSnapshot::of(ssrc, |ssrc| shared.egress_quality(slot, ssrc)))
}

fn party_snapshot(call: &Call, id: PartyId, party: &Party) -> PartySnapshot {
    let associates = |subscribed: Vec<PartyId>| {
        let partner = party.partner.map(|partner| (partner, true)).into_iter();
        let tag = |(id, offer_answer): (PartyId, bool)| AssociateSnapshot {
            tag: call.party(id).tag.clone(),
            offer_answer,
        };
        partner.chain(subscribed.into_iter().map(|id| (id, false))).map(tag).collect()
    };
    PartySnapshot {
        tag: party.tag.clone(),
        via_branch: party.via_branch.clone(),
        aliases: party.aliases.clone(),
        label: party.label.clone(),
        created: party.created,
        metadata: party.metadata.clone(),
        subscriptions: associates(call.sources_of(id)),
        subscribers: associates(call.sinks_of(id)),
        recording: call.recording.exists().then_some((party.excluded_from_recording, party.forwarding)),
        codes: codes(party),
        media: party
            .media
            .iter()
            .enumerate()
            .filter_map(|(position, media)| {
                let opposite = party.partner.and_then(|partner| call.party(partner).media.get(position));
                Some(media_snapshot(media.index?, media, opposite))
            })
            .collect(),
    }
}

fn media_snapshot(index: usize, media: &Media, opposite: Option<&Media>) -> MediaSnapshot {
    let shared = &media.streams[0].shared;
    let codec = shared.ingress_ssrc.iter().find(|slot| slot.ssrc.load(Relaxed) != 0).and_then(|slot| {
        let seen = slot.payload_type.load(Relaxed);
        let remote = media.remote.as_ref()?;
        remote.formats.iter().find(|f| u32::from(f.payload_type) == seen).map(|f| f.name.text().clone())
    });
    MediaSnapshot {
        index,
        media_type: media.media_type.clone(),
        protocol: media.transport.as_ref().map(|transport| transport.name().into()),
        codec,
        streams: (0..2).map(|component| stream_snapshot(media, component)).collect(),
        flags: media_flags(media, opposite),
        ingress: ingress_ssrcs(shared).collect(),
        egress: egress_ssrcs(shared).collect(),
    }
}

fn stream_snapshot(media: &Media, component: usize) -> StreamSnapshot {
    let MediaStream { shared, learned, since_us, .. } = &media.streams[component];
    let signalled = media
        .remote
        .as_ref()
        .filter(|remote| !remote.rejected)
        .map(|remote| if component == 0 { remote.rtp } else { remote.rtcp });
    let muxed = media.is_rtp() && media.rtcp_mux.active;
    let mut flags = Vec::new();
    match (component, media.is_rtp()) {
        (0, _) => {
            flags.push("RTP");
            if muxed {
                flags.push("RTCP");
            }
        }
        _ => {
            flags.push("RTCP");
            if muxed {
                flags.push("fallback RTCP");
            }
        }
    }
    if signalled.is_some() {
        flags.push("filled");
    }
    if shared.confirmed.load(Relaxed) != 0 {
        flags.push("confirmed");
    }
    if shared.dtls_suite.load(Relaxed) != 0 {
        flags.push("DTLS fingerprint verified");
    }
    if shared.place().is_kernel() {
        flags.push("kernelized");
    }
    if media.strict_source {
        flags.push("strict source address");
    }
    if media.media_handover {
        flags.push("media handover");
    }
    let local = media.ports.current().map(|ports| {
        let port = match component {
            0 => ports.rtp.local.port(),
            _ => ports.rtcp.as_ref().filter(|_| !muxed).map_or(0, |rtcp| rtcp.local.port()),
        };
        (ports.rtp.local.ip(), port)
    });
    StreamSnapshot {
        local,
        endpoint: media.ice.selected()[component].map(|pair| pair.remote).or(*learned).or(signalled),
        advertised: signalled,
        crypto_suite: shared.handshake_suite().or(media.security.suite().map(|suite| suite.name)),
        last_packet_us: shared.last_packet_us().max(*since_us),
        last_kernel_packet_us: shared.last_kernel_packet_us.get(),
        last_user_packet_us: shared.last_user_packet_us.get().max(*since_us),
        place: shared.place(),
        ssrc: shared.ingress_ssrc.iter().map(|slot| slot.ssrc.load(Relaxed)).find(|&ssrc| ssrc != 0),
        flags,
        ingress: TrafficSnapshot::of(&shared.ingress),
        egress: TrafficSnapshot::of(&shared.egress),
        drops: shared.dropped().map(|(reason, packets)| (reason.name(), packets)).collect(),
    }
}

/// In the order of the protocol description.
fn media_flags(media: &Media, opposite: Option<&Media>) -> Vec<&'static str> {
    let mut flags = Vec::new();
    let mut flag = |set: bool, name| {
        if set {
            flags.push(name);
        }
    };
    let direction = media.direction;
    flag(media.remote.is_some(), "initialized");
    flag(media.asymmetric, "asymmetric");
    flag(direction.receives(), "send");
    flag(direction.sends(), "recv");
    flag(media.rtcp_mux.active, "rtcp-mux");
    let security = &media.security;
    flag(security.has_dtls(), "DTLS-SRTP");
    flag(security.dtls_role() == Some(DtlsRole::Active), "DTLS role active");
    flag(security.dtls_role() == Some(DtlsRole::Passive), "DTLS role passive");
    flag(security.has_sdes(), "SDES");
    flag(media.ice.passthrough() != Passthrough::Off, "passthrough");
    flag(media.ice.is_active(), "ICE");
    let agent = media.ice.remote();
    flag(agent.is_some_and(|agent| agent.trickle), "trickle ICE");
    flag(media.ice.role() == Role::Controlling, "ICE controlling");
    flag(agent.is_some_and(|agent| agent.lite), "ICE-lite peer");
    flag(media.ice.is_lite(), "ICE-lite self");
    flag(media.unidirectional, "unidirectional");
    flag(super::coding::is_ptime_overridden(media), "ptime-override");
    flag(media.generates_rtcp, "RTCP generator");
    flag(security.is_sdes_reordered(), "SDES reordered");
    let transcoded = opposite.is_some_and(|opposite| super::coding::is_transcoded(media, opposite));
    let asked = media.audio_player;
    flag(asked == AudioPlayer::Force || asked == AudioPlayer::Transcoding && transcoded, "audio player");
    flag(security.is_pair(PairOrder::PlainFirst), "legacy OSRTP");
    flag(security.is_pair(PairOrder::SecureFirst), "reverse legacy OSRTP");
    flag(transcoded, "transcoding");
    flags
}

/// Digits of a party that do something.
fn codes(party: &Party) -> Vec<(&'static str, SmolStr, bool)> {
    let security = party.switches.dtmf.as_deref().into_iter().flat_map(|security| security.codes());
    let star = party.star_codes.iter().flat_map(|codes| codes.iter());
    security
        .map(|(kind, digits, active)| (kind, digits.into(), active))
        .chain(star.map(|(kind, digits)| (kind, digits.clone(), true)))
        .collect()
}
