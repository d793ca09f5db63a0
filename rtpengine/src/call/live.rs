//! Calls as those see them who watch them while they last.

use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use codec::PayloadFormat;
use smol_str::SmolStr;

use super::coding;
use super::engine::Engine;
use super::model::{Call, Media, Party};
use super::snapshot::TrafficSnapshot;
use super::store::lock;
use crate::media::quality::Sample;
use crate::media::stats::{SsrcShared, SsrcSlots, StreamShared};

/// A call.
#[derive(Clone, Debug)]
pub struct LiveCall {
    pub id: SmolStr,
    pub legs: Vec<LiveLeg>,
}

/// A party.
#[derive(Clone, Debug)]
pub struct LiveLeg {
    pub tag: Option<SmolStr>,
    pub label: Option<SmolStr>,
    pub player: Option<LivePlayer>,
    pub media: Vec<LiveMedia>,
}

/// An announcement that a party hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LivePlayer {
    /// Of the source, if that is known.
    pub duration: Option<Duration>,
    /// Position in the source.
    pub position_ms: u64,
    pub ssrc: u32,
}

/// A media section.
#[derive(Clone, Debug)]
pub struct LiveMedia {
    /// In the party's SDP, from 1.
    pub index: usize,
    /// In the call, from 1.
    pub number: u32,
    pub media_type: SmolStr,
    pub interface: SmolStr,
    pub protocol: Option<SmolStr>,
    /// What passes between party and relay, as the party says it: `sendrecv` …
    pub status: &'static str,
    pub ingress: TrafficSnapshot,
    pub egress: TrafficSnapshot,
    pub ingress_ssrcs: Vec<LiveSsrc>,
    pub egress_ssrcs: Vec<LiveSsrc>,
    pub local: Option<SocketAddr>,
    pub remote: Option<SocketAddr>,
    pub crypto_suite: Option<&'static str>,
    pub transcoding: bool,
}

/// An SSRC.
#[derive(Clone, Debug)]
pub struct LiveSsrc {
    pub ssrc: u32,
    pub format: Option<PayloadFormat>,
    pub packets: u64,
    pub octets: u64,
    pub lost: u64,
    pub duplicates: u64,
    pub jitter_us: u64,
    /// Last report of a receiver.
    pub reported: Option<Sample>,
}

impl Engine {
    /// All own calls, one after the other; only the one looked at is locked.
    pub fn live_calls(&self, mut visit: impl FnMut(LiveCall)) {
        self.for_each_call(|handle| {
            let call = lock(handle);
            if call.ended || call.foreign {
                return;
            }
            let call = live(&call);
            visit(call);
        });
    }
}

fn live(call: &Call) -> LiveCall {
    let leg = |party: &Party| {
        let opposite = |position: usize| call.party(party.partner?).media.get(position);
        let media = party.media.iter().enumerate();
        LiveLeg {
            tag: party.tag.clone(),
            label: party.label.clone(),
            player: party.player.as_ref().and_then(|player| player.live()),
            media: media.filter_map(|(position, media)| section(media, opposite(position))).collect(),
        }
    };
    let parties = call.parties.iter().filter(|party| !party.closed);
    LiveCall { id: call.id.clone(), legs: parties.map(leg).collect() }
}

fn section(media: &Media, opposite: Option<&Media>) -> Option<LiveMedia> {
    let stream = &media.streams[0];
    let shared = &*stream.shared;
    let remote = media.remote.as_ref().filter(|remote| !remote.rejected);
    let formats = remote.map_or(&[][..], |remote| &remote.formats);
    let ssrcs = |slots: &SsrcSlots, is_ingress: bool| {
        let slots = slots.iter().enumerate();
        slots.filter_map(|(slot, ssrc)| live_ssrc(shared, slot, ssrc, formats, is_ingress)).collect()
    };
    Some(LiveMedia {
        index: media.index?,
        number: media.number,
        media_type: media.media_type.clone(),
        interface: media.attachment.as_ref().map(|at| at.interface.clone()).unwrap_or_default(),
        protocol: media.transport.as_ref().map(|transport| transport.name().into()),
        status: media.direction.name(),
        ingress: TrafficSnapshot::of(&shared.ingress),
        egress: TrafficSnapshot::of(&shared.egress),
        ingress_ssrcs: ssrcs(&shared.ingress_ssrc, true),
        egress_ssrcs: ssrcs(&shared.egress_ssrc, false),
        local: media.ports.current().map(|ports| ports.rtp.local),
        remote: media.ice.selected()[0].map(|pair| pair.remote).or(stream.learned).or(remote.map(|r| r.rtp)),
        crypto_suite: shared.handshake_suite().or(media.security.suite().map(|suite| suite.name)),
        transcoding: opposite.is_some_and(|opposite| coding::is_transcoded(media, opposite)),
    })
}

fn live_ssrc(
    stream: &StreamShared,
    slot: usize,
    shared: &SsrcShared,
    formats: &[PayloadFormat],
    is_ingress: bool,
) -> Option<LiveSsrc> {
    let ssrc = shared.ssrc.load(Relaxed);
    if ssrc == 0 {
        return None;
    }
    let payload_type = shared.payload_type.load(Relaxed);
    let quality =
        if is_ingress { stream.ingress_quality(slot, ssrc) } else { stream.egress_quality(slot, ssrc) };
    Some(LiveSsrc {
        ssrc,
        format: formats.iter().find(|format| u32::from(format.payload_type) == payload_type).cloned(),
        packets: shared.packets.get(),
        octets: shared.octets.get(),
        lost: shared.lost.get(),
        duplicates: shared.duplicates.get(),
        jitter_us: shared.jitter_us.get(),
        reported: quality.map(|quality| *quality.progression.last().unwrap_or(&quality.average)),
    })
}
