//! From a call to the plan that its worker makes routes of.

use std::net::SocketAddr;
use std::sync::Arc;

use codec::PayloadFormat;
use codec::header_extension::Ids;

use super::audio_player;
use super::coding::{self, Negotiated};
use super::digits;
use super::echo::{self, Routing};
use super::fax;
use super::model::{Call, Media, Party, PartyId};
use super::subscription::Subscription;
use super::switches;
use crate::config::{AudioPlayerConfig, RecordDirection};
use crate::media::hold::HoldPlan;
use crate::media::plan::{
    BundlePlan, CallPlan, DtlsPlan, EdgePlan, Expect, Handling, MixerPlan, SectionPlan, StreamId, StreamPlan,
    StreamSecurity, TapPlan, Unheard,
};
use crate::negotiate::ice::Passthrough;
use crate::negotiate::security::Keying;
use crate::proto::sdp::model::Crypto;
use crate::proto::srtp::{MasterKey, SessionParameters, Suite};

/// What recording asks of the data plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TapDirections {
    pub ingress: bool,
    pub egress: bool,
}

impl TapDirections {
    pub fn new(direction: RecordDirection) -> Self {
        Self { ingress: direction != RecordDirection::Egress, egress: direction != RecordDirection::Ingress }
    }
}

/// What plans depend on beside the call.
#[derive(Clone, Copy, Debug)]
pub struct PlanOptions {
    pub tap: TapDirections,
    /// `dtmf-no-suppress`
    pub keeps_audio_beside_digits: bool,
    pub player: AudioPlayerConfig,
}

impl From<TapDirections> for PlanOptions {
    fn from(tap: TapDirections) -> Self {
        Self { tap, keeps_audio_beside_digits: false, player: AudioPlayerConfig::default() }
    }
}

/// The whole plan of a call.
pub fn plan(call: &Call, options: impl Into<PlanOptions>) -> CallPlan {
    let options = options.into();
    let directions = options.tap;
    let mut plan = CallPlan {
        key: call.key,
        streams: Vec::new(),
        edges: Vec::new(),
        gateways: Vec::new(),
        tap: call.recording.tap_id().map(|recording| TapPlan {
            recording,
            ingress: directions.ingress,
            egress: directions.egress,
        }),
    };
    // Edges ask for the mixers of the streams that they lead to.
    for party in call.parties.iter().filter(|party| !party.closed) {
        for (position, media) in party.media.iter().enumerate() {
            let opposite = party.partner.and_then(|partner| call.party(partner).media.get(position));
            let is_answered = opposite.is_none_or(|opposite| opposite.remote.is_some());
            let mixer = audio_player::plan(call, media, opposite, &options.player).map(Arc::new);
            streams(&mut plan, party, media, is_answered, mixer);
        }
    }
    plan.streams.iter_mut().for_each(|stream| stream.tells_arrival = call.tells_connections);
    if call.relay.is_some() {
        share_sockets(&mut plan);
        plan.streams.iter_mut().for_each(|stream| stream.signalled_host_only = true);
    }
    for (number, party) in call.parties.iter().enumerate().filter(|(_, party)| !party.closed) {
        match party.routing {
            Routing::Associates => {}
            Routing::Echo => {
                plan.edges
                    .extend(party.media.iter().filter_map(|media| echo::edge(media, call.drop_traffic)));
                continue;
            }
            Routing::Nowhere => continue,
        }
        let Some(partner) = party.partner.filter(|partner| !call.party(*partner).closed) else { continue };
        // Music on hold is all that a held party hears.
        let closed = call.drop_traffic || call.party(partner).held.is_some();
        for (position, (media, opposite)) in party.media.iter().zip(&call.party(partner).media).enumerate() {
            let first = plan.edges.len();
            let mixer = mixer_of(&plan, opposite);
            edges(&mut plan, (position, media), (opposite, mixer.as_deref()), closed);
            let edges = &mut plan.edges[first..];
            let treated = Treated { call, from: (PartyId(number), media), to: (partner, opposite), options };
            treated.treat(edges, || match &mixer {
                Some(mixer) => audio_player::handling(media, opposite, mixer),
                None => coding::decoded_handling(media, opposite),
            });
        }
    }
    for subscription in &call.subscriptions {
        if let (Some(source), Some(sink)) = (call.media(subscription.source), call.media(subscription.sink)) {
            let position = subscription.source.position;
            let first = plan.edges.len();
            let mixer = mixer_of(&plan, sink);
            let negotiated = coding::followed(&subscription.negotiated, subscription.side, source);
            subscribed(
                &mut plan,
                (subscription, &negotiated),
                (position, source),
                (sink, mixer.as_deref()),
                call.drop_traffic,
            );
            let ends = [subscription.source.party, subscription.sink.party];
            let treated = Treated { call, from: (ends[0], source), to: (ends[1], sink), options };
            treated.treat(&mut plan.edges[first..], || match &mixer {
                Some(mixer) => audio_player::handling(source, sink, mixer),
                None => coding::decoded_subscribed_handling(&negotiated, subscription.side),
            });
        }
    }
    listen(&mut plan, call);
    plan
}

/// Two parties on one port: the second one's stream stands behind the first one's.
fn share_sockets(plan: &mut CallPlan) {
    for index in 1..plan.streams.len() {
        let (before, rest) = plan.streams.split_at_mut(index);
        if let Some(stream) = rest.first_mut() {
            let first = before.iter().find(|other| Arc::ptr_eq(&other.socket, &stream.socket));
            stream.behind = first.map(|first| first.id);
        }
    }
}

/// Edges from one media to another.
struct Treated<'c> {
    call: &'c Call,
    from: (PartyId, &'c Media),
    to: (PartyId, &'c Media),
    options: PlanOptions,
}

impl Treated<'_> {
    /// Applies what commands have switched, and what digits need, to the edges of a media's RTP.
    fn treat(&self, edges: &mut [EdgePlan], decoded: impl FnOnce() -> (Handling, Vec<(u8, Handling)>)) {
        let Self { call, from, to, options } = *self;
        let mut own = edges.iter_mut().filter(|edge| edge.from == from.1.streams[0].id);
        let Some(edge) = own.next() else { return };
        let mut wishes = switches::about_digits(call, from.0, to.0);
        wishes.keeps_audio = options.keeps_audio_beside_digits;
        digits::arm(edge, from.1, to.1, wishes, decoded);
        for edge in std::iter::once(edge).chain(own).filter(|edge| edge.rtp_to.is_some()) {
            edge.treatment = switches::treatment(call, from, to);
        }
    }
}

/// Digits are looked for in the audio of those who want it, and of those whose tones are found for others anyway.
fn listen(plan: &mut CallPlan, call: &Call) {
    let CallPlan { streams, edges, .. } = plan;
    let finds = |edge: &EdgePlan| edge.dtmf.as_ref().is_some_and(|dtmf| dtmf.tones.is_some());
    for id in edges.iter().filter(|edge| finds(edge)).map(|edge| edge.from) {
        streams.iter_mut().filter(|stream| stream.id == id).for_each(|stream| stream.detects_tones = true);
    }
    let wanted = |party: &Party, media: &Media| {
        party.detect_dtmf || party.star_codes.is_some() && coding::event_format(media).is_none()
    };
    let wanted = call.parties.iter().flat_map(|party| party.media.iter().filter(move |m| wanted(party, m)));
    for media in wanted {
        let id = media.streams[0].id;
        streams.iter_mut().filter(|stream| stream.id == id).for_each(|stream| stream.detects_tones = true);
    }
}

fn streams(
    plan: &mut CallPlan,
    party: &Party,
    media: &Media,
    is_answered: bool,
    mixer: Option<Arc<MixerPlan>>,
) {
    let Some(ports) = media.ports.current().filter(|_| !media.is_carried()) else { return };
    let remote = media.remote.as_ref();
    let security = stream_security(media);
    let ice = super::ice::plan(media);
    let stream = |component: usize, socket, expect, signalled: Option<SocketAddr>| {
        let state = &media.streams[component];
        let usable = |peer: &SocketAddr| !peer.ip().is_unspecified() && peer.port() != 0;
        StreamPlan {
            interface: media.attachment.as_ref().map_or_else(Default::default, |attachment| attachment.id),
            signalling_host: media.signalling_host,
            known_peer: state.learned.filter(usable),
            former_socket: media.ports.former().and_then(|former| match component {
                0 => Some(Arc::clone(&former.rtp)),
                _ => former.rtcp.clone(),
            }),
            answered: is_answered,
            described: remote.is_some(),
            learning: media.learning,
            learning_epoch: state.learning_epoch,
            strict_source: media.strict_source,
            media_handover: media.media_handover,
            formats: formats(party, media),
            recorded: !party.excluded_from_recording,
            security: security.clone(),
            resumed: state.resumed.clone(),
            unheard: Unheard {
                pierce: media
                    .pierce_nat
                    .then(|| first_payload_type(media))
                    .filter(|_| expect != Expect::Datagrams),
                wait: media.nat_wait,
            },
            block_short: media.block_short,
            hold: if media.is_rtp() { media.hold } else { HoldPlan::default() },
            bundle: bundle(party, media),
            hidden_extensions: hidden_extensions(party, media),
            ice: ice.clone(),
            generates_rtcp: media.generates_rtcp,
            mixer: mixer.clone().filter(|_| component == 0),
            feedback: media.rtp_profile().is_some_and(|profile| profile.feedback),
            ..StreamPlan::with_shared(
                state.id,
                expect,
                socket,
                signalled.filter(usable),
                state.shared.clone(),
            )
        }
    };
    let (first, second) = if relays_datagrams(media) || !media.is_rtp() {
        (Expect::Datagrams, media.has_rtcp_port().then_some(Expect::Datagrams))
    } else if media.rtcp_mux.active {
        (Expect::RtpAndRtcp, None)
    } else {
        (Expect::Rtp, Some(Expect::Rtcp))
    };
    plan.streams.push(stream(0, ports.rtp.clone(), first, remote.map(|remote| remote.rtp)));
    if let (Some(expect), Some(rtcp)) = (second, &ports.rtcp) {
        plan.streams.push(stream(1, rtcp.clone(), expect, remote.map(|remote| remote.rtcp)));
    }
}

/// The first payload type that a party takes.
fn first_payload_type(media: &Media) -> u8 {
    let formats = media.remote.iter().flat_map(|remote| remote.formats.iter());
    formats.map(|format| format.payload_type).next().unwrap_or(0)
}

/// The keys of a media. Without any it is closed: nothing clear is accepted or sent under an SRTP profile.
fn stream_security(media: &Media) -> StreamSecurity {
    let key = |crypto: &Crypto| {
        let parameters = SessionParameters {
            unencrypted_srtp: crypto.unencrypted_srtp,
            unencrypted_srtcp: crypto.unencrypted_srtcp,
            unauthenticated_srtp: crypto.unauthenticated_srtp,
        };
        let mki = crypto.mki.as_ref().map_or(&[][..], |(mki, _)| mki);
        let suite = Suite::by_name(crypto.suite.name)?;
        match MasterKey::new(suite, crypto.key_salt.octets(), mki, parameters) {
            Ok(key) => Some(Arc::new(key)),
            Err(error) => {
                tracing::warn!(%error, "SRTP key cannot be used");
                None
            }
        }
    };
    match media.keying() {
        Keying::Plain => StreamSecurity::Plain,
        Keying::Sdes { receive, send } => StreamSecurity::Srtp { receive: key(receive), send: key(send) },
        Keying::Dtls(keying) => StreamSecurity::Dtls(Arc::new(DtlsPlan {
            role: keying.role,
            peer: keying.fingerprint.clone(),
            association: keying.association,
            identity: Arc::clone(&keying.identity),
        })),
        Keying::Blocked => StreamSecurity::Srtp { receive: None, send: None },
    }
}

/// What comes in on a media's port: its own formats, and those of the sections that are bundled behind it.
fn formats(party: &Party, media: &Media) -> Arc<[PayloadFormat]> {
    if !media.bundling.is_shared() {
        return coding::formats_sent(media);
    }
    on_same_port(party, media).flat_map(|(_, other)| coding::formats_sent(other).to_vec()).collect()
}

/// The sections on a media's port, with their positions.
fn on_same_port<'a>(party: &'a Party, media: &Media) -> impl Iterator<Item = (usize, &'a Media)> {
    let id = media.streams[0].id;
    party.media.iter().enumerate().filter(move |(_, other)| other.streams[0].id == id)
}

/// How the sections on a shared port are told apart.
fn bundle(party: &Party, media: &Media) -> Option<Arc<BundlePlan>> {
    if !media.bundling.is_shared() {
        return None;
    }
    let section = |(position, media): (usize, &Media)| {
        let remote = media.remote.as_ref()?;
        Some(SectionPlan {
            section: section_number(position)?,
            mid: media.mid.clone(),
            ssrcs: remote.ssrcs.clone(),
            payload_types: remote.formats.iter().map(|format| format.payload_type).collect(),
        })
    };
    Some(Arc::new(BundlePlan {
        mid_extension: media.bundling.mid_extension(),
        sections: on_same_port(party, media).filter_map(section).collect(),
    }))
}

/// Sections beyond what fits are not told apart from each other: nobody hears them.
fn section_number(position: usize) -> Option<u8> {
    u8::try_from(position).ok()
}

/// Header extensions that the party alone is to know of.
fn hidden_extensions(party: &Party, media: &Media) -> Ids {
    let of = |media: &Media| -> Vec<u8> {
        media.masked_extensions.iter().filter_map(|map| u8::try_from(map.id).ok()).collect()
    };
    if !media.bundling.is_shared() {
        return of(media).into_iter().collect();
    }
    on_same_port(party, media).flat_map(|(_, media)| of(media)).collect()
}

/// Nothing that comes in is ours to understand: the parties' own agents and keys meet, or nobody told what it is.
fn relays_datagrams(media: &Media) -> bool {
    media.ice.passthrough() != Passthrough::Off || media.is_unspecified()
}

/// Edges from one media to the opposite one. RTCP flows also while one side is on hold.
fn edges(
    plan: &mut CallPlan,
    (position, from): (usize, &Media),
    (to, mixer): (&Media, Option<&MixerPlan>),
    closed: bool,
) {
    if from.ports.current().is_none() || to.ports.current().is_none() {
        return;
    }
    if fax::is_gateway(from, to) {
        if from.t38.is_some() && !closed {
            plan.gateways.extend(fax::plan(from, to));
        }
        return;
    }
    // Connected parties may have other sections at the same place.
    if from.is_rtp() && to.is_rtp() && is_of_another_kind(from, to) {
        return;
    }
    let open = from.may_send() && to.may_receive() && !closed;
    if relays_datagrams(from) && relays_datagrams(to) {
        for component in [0, 1] {
            let sink = (!closed).then_some(to.streams[component].id);
            plan.edges.push(EdgePlan { rtcp_to: None, ..EdgePlan::new(from.streams[component].id, sink) });
        }
        return;
    }
    let handling = match mixer {
        Some(mixer) => audio_player::handling(from, to, mixer),
        None if from.is_rtp() && to.is_rtp() => coding::handling(from, to),
        None => passing(),
    };
    way(plan, (position, from), to, open, handling);
}

/// What one sends is nothing that the other was told of.
fn is_of_another_kind(from: &Media, to: &Media) -> bool {
    from.is_rtp() != to.is_rtp() || (from.is_rtp() && from.media_type != to.media_type)
}

/// The edges of a subscription: one way, but RTCP may go back.
fn subscribed(
    plan: &mut CallPlan,
    (subscription, negotiated): (&Subscription, &Negotiated),
    (position, source): (usize, &Media),
    (sink, mixer): (&Media, Option<&MixerPlan>),
    drop_traffic: bool,
) {
    // Who subscribed to audio has no use for the fax that its source goes over to.
    if source.ports.current().is_none() || sink.ports.current().is_none() || is_of_another_kind(source, sink)
    {
        return;
    }
    let open = source.may_send() && sink.may_receive() && !drop_traffic;
    let handling = match mixer {
        Some(mixer) => audio_player::handling(source, sink, mixer),
        None if source.is_rtp() && sink.is_rtp() => {
            coding::subscribed_handling(negotiated, subscription.side)
        }
        None => passing(),
    };
    way(plan, (position, source), sink, open, handling);
    if subscription.mirrors_rtcp {
        rtcp_way(plan, sink, source);
    }
}

/// The mixer of a section that has been planned already.
fn mixer_of(plan: &CallPlan, media: &Media) -> Option<Arc<MixerPlan>> {
    plan.streams.iter().find(|stream| stream.id == media.streams[0].id)?.mixer.clone()
}

fn passing() -> (Handling, Vec<(u8, Handling)>) {
    (Handling::FORWARD, Vec::new())
}

/// RTP and RTCP of one media to another; without `open` only RTCP.
fn way(
    plan: &mut CallPlan,
    (position, from): (usize, &Media),
    to: &Media,
    open: bool,
    (default, by_payload_type): (Handling, Vec<(u8, Handling)>),
) {
    let section = section_number(position).filter(|_| from.bundling.is_shared());
    let can_be_told = section.is_some() || !from.bundling.is_shared();
    let rtp_to = (open && can_be_told).then_some(to.streams[0].id);
    let rtcp_to = rtcp_sink(to).filter(|sink| !has_rtcp_way(plan, from.streams[0].id, *sink));
    plan.edges.push(EdgePlan {
        rtcp_to,
        default,
        by_payload_type,
        section,
        mid: to.mid.clone().filter(|_| to.bundling.is_shared()),
        ..EdgePlan::new(from.streams[0].id, rtp_to)
    });
    if from.is_rtp() && !from.rtcp_mux.active {
        rtcp_way(plan, from, to);
    }
}

/// Bundled sections have one RTCP stream between them.
fn has_rtcp_way(plan: &CallPlan, from: StreamId, to: StreamId) -> bool {
    plan.edges.iter().any(|edge| edge.from == from && edge.rtcp_to == Some(to))
}

/// RTCP of one media to another.
fn rtcp_way(plan: &mut CallPlan, from: &Media, to: &Media) {
    let id = from.streams[usize::from(!from.rtcp_mux.active)].id;
    let rtcp_to = rtcp_sink(to);
    if rtcp_to.is_some_and(|sink| has_rtcp_way(plan, id, sink)) {
        return;
    }
    plan.edges.push(EdgePlan { rtp_to: None, ..EdgePlan::new(id, rtcp_to) });
}

fn rtcp_sink(to: &Media) -> Option<StreamId> {
    to.is_rtp().then(|| to.streams[usize::from(!to.rtcp_mux.active)].id)
}
