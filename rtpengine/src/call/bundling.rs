//! Grouping of sections at the beginning of an exchange: who shares a transport with whom decides about ports and keys.

use smol_str::SmolStr;

use super::exchange::Exchange;
use super::model::{Media, MediaStream, Party};
use super::pairing;
use crate::negotiate::bundle::{self, Bundling};
use crate::negotiate::ice::Passthrough;
use crate::negotiate::signal::{BundleOptions, IceMode};
use crate::proto::sdp::model::MediaDescription;

impl Exchange<'_> {
    /// An offer: makes the media of both parties, their mids and groups.
    pub(super) fn group_offer(&mut self, sender: &mut Party, receiver: &mut Party, order: &[usize]) {
        for (described, &position) in self.sdp.media.iter().zip(order) {
            self.grow(sender, position, described);
            self.grow(receiver, position, described);
            sender.show(position);
            sender.media[position].mid.clone_from(&described.attributes.mid);
            if !pairing::is_removed(described, self.signal) {
                receiver.show(position);
            }
        }
        let mut options = self.signal.security.bundle;
        if self.is_passed_through(receiver) {
            // The parties' own transports, grouped or not, are none of our business.
            options = BundleOptions { reject: true, ..BundleOptions::default() };
        }
        let asked = options.offer || options.require || options.strict;
        if !self.sdp.groups.is_empty() || is_grouped(sender) {
            let sections = self.sections(sender, order);
            let change = |all: &mut [Bundling]| bundle::offered_by(self.sdp, &sections, options, all);
            let heirs = update(sender, &sections, change);
            inherit(sender, heirs);
        }
        if asked || is_grouped(receiver) {
            let sections = self.sections(receiver, order);
            let change = |all: &mut [Bundling]| bundle::offered_to(self.sdp, &sections, options, all);
            let heirs = update(receiver, &sections, change);
            inherit(receiver, heirs);
        }
        for (described, &position) in self.sdp.media.iter().zip(order) {
            let to = &receiver.media[position];
            let Some(index) = to.index.filter(|_| to.mid.is_none()) else { continue };
            let generate = self.signal.flags.generate_mid || to.bundling.is_grouped();
            let generated = || {
                bundle::generated_mid(index, |mid| {
                    let own = |media: &Media| media.mid.as_deref() == Some(mid);
                    receiver.media.iter().any(own) || sender.media.iter().any(own)
                })
            };
            // Who never answered with mids may use one of the receiver's for another section.
            let is_new = |mid: &SmolStr| receiver.media.iter().all(|media| media.mid.as_ref() != Some(mid));
            let mid = described.attributes.mid.clone().filter(is_new).or_else(|| generate.then(generated));
            receiver.media[position].mid = mid;
        }
    }

    /// An answer: groups that the answering party does not take are dissolved, and what it refuses leaves those of the offerer.
    pub(super) fn group_answer(&mut self, sender: &mut Party, offerer: &mut Party, order: &[usize]) {
        for (described, &position) in self.sdp.media.iter().zip(order) {
            let unknown = offerer.media.len() <= position;
            self.grow(sender, position, described);
            self.grow(offerer, position, described);
            sender.show(position);
            if unknown {
                offerer.show(position);
            }
        }
        if !is_grouped(sender) && !is_grouped(offerer) {
            return;
        }
        let sections = self.sections(sender, order);
        let heirs = update(sender, &sections, |all| bundle::answered_by(self.sdp, &sections, all));
        inherit(sender, heirs);
        let sections = self.sections(offerer, order);
        let mut heirs = update(offerer, &sections, |all| bundle::answered_to(&sections, all));
        heirs.retain(|&(old, new)| is_same_transport(&offerer.media[old], &offerer.media[new]));
        inherit(offerer, heirs);
    }

    /// For each media of a party what the message says about it.
    fn sections(&self, party: &Party, order: &[usize]) -> Vec<Option<&MediaDescription>> {
        let mut sections = vec![None; party.media.len()];
        for (described, &position) in self.sdp.media.iter().zip(order) {
            if !pairing::is_removed(described, self.signal)
                && let Some(section) = sections.get_mut(position)
            {
                *section = Some(described);
            }
        }
        sections
    }

    fn is_passed_through(&self, receiver: &Party) -> bool {
        match (self.signal.network.passthrough, self.signal.security.ice) {
            (Some(passthrough), _) => passthrough,
            (None, IceMode::ForceRelay) => true,
            (None, IceMode::Optional) => self.sdp.media.iter().any(|media| media.has_ice(self.sdp)),
            (None, IceMode::Remove | IceMode::Force) => false,
            (None, IceMode::Default) => {
                receiver.media.iter().any(|media| media.ice.passthrough() != Passthrough::Off)
            }
        }
    }
}

fn is_grouped(party: &Party) -> bool {
    party.media.iter().any(|media| media.bundling.is_grouped() || media.bundling.is_shared())
}

/// Lets `change` work on the grouping of all media of a party. What stands alone from now on gets streams and ports of its own.
/// Returns who is to go on with whose transport: (from, to).
fn update(
    party: &mut Party,
    sections: &[Option<&MediaDescription>],
    change: impl FnOnce(&mut [Bundling]),
) -> Vec<(usize, usize)> {
    let before: Vec<Bundling> = party.media.iter().map(|media| media.bundling).collect();
    let mut after = before.clone();
    change(&mut after);
    for (media, bundling) in party.media.iter_mut().zip(&after) {
        let was_carried = media.is_carried();
        media.bundling = *bundling;
        if was_carried && !media.is_carried() {
            media.ports.clear();
            media.streams = MediaStream::pair(party.created);
        }
    }
    let carriers = (0..before.len()).filter(|&at| before[at].is_shared() && !before[at].is_carried());
    carriers.filter_map(|old| Some((old, bundle::heir(&before, &after, sections, old)?))).collect()
}

/// Whichever section stands for a group: the group goes on with its transport.
fn inherit(party: &mut Party, heirs: Vec<(usize, usize)>) {
    for (old, new) in heirs {
        let Ok([old, new]) = party.media.get_disjoint_mut([old, new]) else { continue };
        if new.ports.current().is_some() {
            continue;
        }
        new.ports = std::mem::take(&mut old.ports);
        new.ice = std::mem::take(&mut old.ice);
        new.streams = std::mem::replace(&mut old.streams, MediaStream::pair(party.created));
        new.security.clone_from(&old.security);
        new.attachment.clone_from(&old.attachment);
        new.family = old.family;
    }
}

/// The party describes one transport for both. In its first offer each section may have its own.
fn is_same_transport(one: &Media, other: &Media) -> bool {
    let endpoint = |media: &Media| media.remote.as_ref().map(|remote| remote.rtp);
    let agents = (one.ice.remote(), other.ice.remote());
    endpoint(one) == endpoint(other)
        && match agents {
            (Some(one), Some(other)) => one.is_same_generation(other),
            (one, other) => one.is_none() && other.is_none(),
        }
}

/// Bundled media have the ports and streams of the section that stands for them, so that whatever goes to them goes there.
pub fn share(party: &mut Party) {
    for position in 0..party.media.len() {
        let Some(transport) = party.media[position].bundling.carrier() else { continue };
        let Ok([tagged, media]) = party.media.get_disjoint_mut([transport, position]) else { continue };
        if media.is_rejected() {
            media.ports.clear();
            continue;
        }
        media.ports.clone_from(&tagged.ports);
        media.streams.clone_from(&tagged.streams);
        media.attachment.clone_from(&tagged.attachment);
        media.family = tagged.family;
        media.rtcp_mux.active = tagged.rtcp_mux.active;
        media.security.clone_from(&tagged.security);
    }
}
