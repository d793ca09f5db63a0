//! ICE and header extensions of one media: from the signalling to the state of both sides, from there to the data plane and back.

use std::sync::Arc;

use super::exchange::Exchange;
use super::model::{Call, Media};
use crate::media::event::IceNews;
use crate::media::plan::{IceBase, IcePlan, StreamId};
use crate::media::port_pool::LocalPort;
use crate::negotiate::bundle::Extensions;
use crate::negotiate::ice::{Component, Passthrough, RemoteAgent, SelectedPair};
use crate::proto::ice::{Base, CandidateKind, priority};
use crate::proto::sdp::model::MediaDescription;

/// What the data plane is to do about ICE with the party of a media: all addresses that it is told are listened on.
pub(super) fn plan(media: &Media) -> Option<Arc<IcePlan>> {
    if !media.is_rtp() || media.ice.passthrough() != Passthrough::Off {
        return None;
    }
    let settings = media.ice.settings()?;
    let ports = media.ports.current()?;
    let base = |component: Component, number: u8, socket: &Arc<LocalPort>| IceBase {
        candidate: Base {
            component,
            address: socket.local,
            priority: priority(CandidateKind::Host.preference(), u16::MAX - u16::from(number), component),
            foundation: number,
        },
        socket: Arc::clone(socket),
    };
    let mut bases = Vec::with_capacity(2 * (1 + ports.alternates.len()));
    bases.push(base(Component::Rtp, 0, &ports.rtp));
    let alternates = || (1u8..).zip(&ports.alternates);
    bases.extend(alternates().map(|(number, alternate)| base(Component::Rtp, number, &alternate.rtp)));
    if let Some(rtcp) = ports.rtcp.as_ref().filter(|_| !media.rtcp_mux.active) {
        bases.push(base(Component::Rtcp, 0, rtcp));
        bases.extend(
            alternates().filter_map(|(number, a)| Some(base(Component::Rtcp, number, a.rtcp.as_ref()?))),
        );
    }
    let selected = media.ice.selected().map(|pair| pair.map(|pair| (pair.local, pair.remote)));
    Some(Arc::new(IcePlan { settings, is_demanded: media.ice.is_running(), selected, bases }))
}

/// The agent of a media section has found something out.
pub(super) fn learn(call: &mut Call, stream: StreamId, generation: u32, news: IceNews) {
    let (call_id, foreign, parties) = (call.id.as_str(), call.foreign, &mut call.parties);
    let of_stream = |media: &&mut Media| !media.is_carried() && media.streams.iter().any(|s| s.id == stream);
    let Some(media) = parties.iter_mut().flat_map(|party| party.media.iter_mut()).find(of_stream) else {
        return;
    };
    match news {
        IceNews::Selected { component, local, peer } => {
            let pair = SelectedPair { local, remote: peer };
            if media.ice.take_selected(generation, component, Some(pair)) {
                media.streams[component.index()].learned = Some(peer);
                tracing::debug!(call_id, media = media.number, ?component, %local, %peer, "ICE pair selected");
            }
        }
        IceNews::ConsentLost { component } => {
            if media.ice.take_selected(generation, component, None) {
                let media = media.number;
                tell!(foreign, call_id, media, ?component, "ICE peer does not answer any more");
            }
        }
        IceNews::RoleChanged(role) => media.ice.take_role(generation, role),
        IceNews::Failed => {
            tell!(foreign, call_id, media = media.number, "ICE has found no path");
        }
    }
}

impl Exchange<'_> {
    pub(super) fn ice_of_offer(&self, from: &mut Media, to: &mut Media, described: &MediaDescription) {
        let said = self.agent_of(described);
        let passthrough = to.ice.passthrough_of_offer(said.as_ref(), self.signal);
        from.ice.set_passthrough(passthrough);
        to.ice.set_passthrough(passthrough);
        let rng = &mut rand::rng();
        from.ice.sent_offer(said, self.signal, rng);
        to.ice.offered(&from.ice, to.remote.is_some(), self.signal, rng);
    }

    pub(super) fn ice_of_answer(&self, from: &mut Media, to: &mut Media, described: &MediaDescription) {
        let passthrough = to.ice.passthrough_of_answer(self.signal);
        from.ice.set_passthrough(passthrough);
        to.ice.set_passthrough(passthrough);
        from.ice.sent_answer(self.agent_of(described));
        to.ice.answered(self.signal, &mut rand::rng());
    }

    /// There is ICE in this section or in one before it: addresses in the SDP count, whatever the client says.
    pub(super) fn has_ice_up_to(&self, described: &MediaDescription) -> bool {
        let before = self.sdp.media.iter().take_while(|media| !std::ptr::eq(*media, described));
        before.chain([described]).any(|media| media.has_ice(self.sdp))
    }

    /// Ports on all addresses of the interface, since ICE offers them all.
    pub(super) fn open_alternates(&self, media: &mut Media) {
        let Some(attachment) =
            media.attachment.as_ref().filter(|_| media.ice.is_active() && !self.config.first_address_only)
        else {
            return;
        };
        media.ports.open_alternates(self.interfaces.beside(attachment), |local| {
            match self.pool.allocate(local, 2) {
                Ok(ports) => {
                    let mut ports = ports.into_iter();
                    let rtp: Arc<LocalPort> = ports.next()?;
                    Some((rtp, ports.next()))
                }
                Err(error) => {
                    // One candidate less.
                    tracing::warn!(%error, address = %local.address, "no media ports for a further ICE candidate");
                    None
                }
            }
        });
    }

    /// Remembers what is masked in an offer, for the answer to it.
    pub(super) fn mask_extensions(&self, from: &mut Media, described: &MediaDescription) {
        let extensions = Extensions { source: described.extmap(self.sdp), options: &self.signal.output };
        from.masked_extensions = extensions.masked().cloned().collect();
    }

    fn agent_of(&self, described: &MediaDescription) -> Option<RemoteAgent> {
        if described.port == 0 {
            return None;
        }
        RemoteAgent::from_sdp(described, self.sdp)
    }
}
