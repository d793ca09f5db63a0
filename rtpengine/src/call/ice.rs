//! ICE and header extensions of one media in an exchange: from the signalling to the state of both sides.

use std::sync::Arc;

use super::exchange::Exchange;
use super::model::Media;
use crate::media::port_pool::LocalPort;
use crate::negotiate::bundle::Extensions;
use crate::negotiate::ice::RemoteAgent;
use crate::proto::sdp::model::MediaDescription;

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
        let Some(attachment) = media.attachment.as_ref().filter(|_| media.ice.is_active()) else { return };
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
