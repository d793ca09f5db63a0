//! From a call to the plan that its worker makes routes of.

use std::net::SocketAddr;

use super::coding;
use super::model::{Call, Media, Party};
use crate::config::RecordDirection;
use crate::media::plan::{CallPlan, EdgePlan, Expect, Handling, StreamPlan, TapPlan};

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
        let Some(partner) = party.partner.map(|partner| call.party(partner)).filter(|p| !p.closed) else {
            continue;
        };
        for (media, opposite) in party.media.iter().zip(&partner.media) {
            edges(&mut plan, media, opposite, call.drop_traffic);
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
    let open = from.may_send() && to.may_receive() && !drop_traffic;
    let rtp_to = open.then_some(to.streams[0].id);
    let rtcp_to = to.is_rtp().then(|| to.streams[usize::from(!to.rtcp_mux.active)].id);
    let (default, by_payload_type) = if from.is_rtp() && to.is_rtp() {
        coding::handling(from, to)
    } else {
        (Handling::Forward { payload_type: None }, Vec::new())
    };
    plan.edges.push(EdgePlan { from: from.streams[0].id, rtp_to, rtcp_to, default, by_payload_type });
    if from.is_rtp() && !from.rtcp_mux.active {
        plan.edges.push(EdgePlan {
            from: from.streams[1].id,
            rtp_to: None,
            rtcp_to,
            default: Handling::Forward { payload_type: None },
            by_payload_type: Vec::new(),
        });
    }
}
