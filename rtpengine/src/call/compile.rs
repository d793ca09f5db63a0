//! From a call to the plan that its worker makes routes of.

use std::net::SocketAddr;

use super::coding;
use super::echo::{self, Routing};
use super::model::{Call, Media, Party};
use super::subscription::Subscription;
use crate::config::RecordDirection;
use crate::media::plan::{CallPlan, EdgePlan, Expect, Handling, StreamId, StreamPlan, TapPlan};

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

/// The whole plan of a call.
pub fn plan(call: &Call, directions: TapDirections) -> CallPlan {
    let mut plan = CallPlan {
        key: call.key,
        streams: Vec::new(),
        edges: Vec::new(),
        tap: call.recording.tap_id().map(|recording| TapPlan {
            recording,
            ingress: directions.ingress,
            egress: directions.egress,
        }),
    };
    for party in call.parties.iter().filter(|party| !party.closed) {
        for media in &party.media {
            streams(&mut plan, party, media);
        }
        match party.routing {
            Routing::Associates => {}
            Routing::Echo => {
                plan.edges
                    .extend(party.media.iter().filter_map(|media| echo::edge(media, call.drop_traffic)));
                continue;
            }
            Routing::Nowhere => continue,
        }
        let Some(partner) = party.partner.map(|partner| call.party(partner)).filter(|p| !p.closed) else {
            continue;
        };
        for (media, opposite) in party.media.iter().zip(&partner.media) {
            edges(&mut plan, media, opposite, call.drop_traffic);
        }
    }
    for subscription in &call.subscriptions {
        if let (Some(source), Some(sink)) = (call.media(subscription.source), call.media(subscription.sink)) {
            subscribed(&mut plan, subscription, source, sink, call.drop_traffic);
        }
    }
    plan
}

fn streams(plan: &mut CallPlan, party: &Party, media: &Media) {
    let Some(ports) = media.ports.current() else { return };
    let remote = media.remote.as_ref();
    let stream = |component: usize, socket, expect, signalled: Option<SocketAddr>| {
        let state = &media.streams[component];
        let usable = |peer: &SocketAddr| !peer.ip().is_unspecified() && peer.port() != 0;
        StreamPlan {
            id: state.id,
            expect,
            socket,
            peer: state.learned.or(signalled).filter(usable),
            learning: media.learning,
            learning_epoch: state.learning_epoch,
            strict_source: media.strict_source,
            media_handover: media.media_handover,
            formats: remote.map_or_else(|| [].into(), |remote| remote.formats.clone()),
            shared: state.shared.clone(),
            recorded: !party.excluded_from_recording,
        }
    };
    let expect = match (media.is_rtp(), media.rtcp_mux.active) {
        (false, _) => Expect::Datagrams,
        (true, true) => Expect::RtpAndRtcp,
        (true, false) => Expect::Rtp,
    };
    plan.streams.push(stream(0, ports.rtp.clone(), expect, remote.map(|remote| remote.rtp)));
    if let (true, Some(rtcp)) = (media.is_rtp() && !media.rtcp_mux.active, &ports.rtcp) {
        plan.streams.push(stream(1, rtcp.clone(), Expect::Rtcp, remote.map(|remote| remote.rtcp)));
    }
}

/// Edges from one media to the opposite one. RTCP flows also while one side is on hold.
fn edges(plan: &mut CallPlan, from: &Media, to: &Media, drop_traffic: bool) {
    if from.ports.current().is_none() || to.ports.current().is_none() {
        return;
    }
    if from.is_rtp() && to.is_rtp() && from.media_type != to.media_type {
        // Connected parties with other sections at the same place.
        return;
    }
    let open = from.may_send() && to.may_receive() && !drop_traffic;
    let handling = if from.is_rtp() && to.is_rtp() { coding::handling(from, to) } else { passing() };
    way(plan, from, to, open, handling);
}

/// The edges of a subscription: one way, but RTCP may go back.
fn subscribed(
    plan: &mut CallPlan,
    subscription: &Subscription,
    source: &Media,
    sink: &Media,
    drop_traffic: bool,
) {
    if source.ports.current().is_none() || sink.ports.current().is_none() {
        return;
    }
    let open = source.may_send() && sink.may_receive() && !drop_traffic;
    let handling = if source.is_rtp() && sink.is_rtp() {
        coding::subscribed_handling(&subscription.negotiated, subscription.side)
    } else {
        passing()
    };
    way(plan, source, sink, open, handling);
    if subscription.mirrors_rtcp {
        rtcp_way(plan, sink, source);
    }
}

fn passing() -> (Handling, Vec<(u8, Handling)>) {
    (Handling::Forward { payload_type: None }, Vec::new())
}

/// RTP and RTCP of one media to another; without `open` only RTCP.
fn way(
    plan: &mut CallPlan,
    from: &Media,
    to: &Media,
    open: bool,
    (default, by_payload_type): (Handling, Vec<(u8, Handling)>),
) {
    let rtp_to = open.then_some(to.streams[0].id);
    plan.edges.push(EdgePlan {
        from: from.streams[0].id,
        rtp_to,
        rtcp_to: rtcp_sink(to),
        default,
        by_payload_type,
    });
    if from.is_rtp() && !from.rtcp_mux.active {
        rtcp_way(plan, from, to);
    }
}

/// RTCP of one media to another.
fn rtcp_way(plan: &mut CallPlan, from: &Media, to: &Media) {
    let (default, by_payload_type) = passing();
    plan.edges.push(EdgePlan {
        from: from.streams[usize::from(!from.rtcp_mux.active)].id,
        rtp_to: None,
        rtcp_to: rtcp_sink(to),
        default,
        by_payload_type,
    });
}

fn rtcp_sink(to: &Media) -> Option<StreamId> {
    to.is_rtp().then(|| to.streams[usize::from(!to.rtcp_mux.active)].id)
}
