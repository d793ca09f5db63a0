//! Who hears whom beside offer and answer: one media listens to another (publish/subscribe, connect, mesh, inject).
//!
//! Offer and answer pair two parties ([`super::model::Party::partner`]) media by media. A [`Subscription`] is one way, from one media to
//! one media, and there may be any number of them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::coding::{Negotiated, Side};
use super::model::{Call, Media, PartyId};

/// A media of a party, by its position in the party's description (from 0).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediaRef {
    pub party: PartyId,
    pub position: usize,
}

/// What `source` sends goes to `sink`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Subscription {
    pub source: MediaRef,
    pub sink: MediaRef,
    pub purpose: Purpose,
    /// Which half of `negotiated` the source is.
    pub side: Side,
    pub negotiated: Arc<Negotiated>,
    /// RTCP of the sink goes back to the source (`RTCP-mirror`).
    pub mirrors_rtcp: bool,
}

/// Why there is a subscription; a command ends only its own kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Purpose {
    /// subscribe request, directional connect, mesh
    Subscribe,
    /// inject start
    Inject,
}

impl Call {
    /// The media that a reference names.
    pub fn media(&self, at: MediaRef) -> Option<&Media> {
        self.parties.get(at.party.0)?.media.get(at.position)
    }

    /// Adds a subscription; one between the same two media of the same purpose is replaced.
    pub fn subscribe(&mut self, subscription: Subscription) {
        let same = |other: &Subscription| {
            other.source == subscription.source
                && other.sink == subscription.sink
                && other.purpose == subscription.purpose
        };
        match self.subscriptions.iter_mut().find(|other| same(other)) {
            Some(present) => *present = subscription,
            None => self.subscriptions.push(subscription),
        }
    }

    /// Parties that this one hears, without its partner; each once, in the order in which they were subscribed to.
    pub fn sources_of(&self, sink: PartyId) -> Vec<PartyId> {
        once_each(self.subscriptions.iter().filter(|s| s.sink.party == sink).map(|s| s.source.party))
    }

    /// Parties that hear this one, without its partner.
    pub fn sinks_of(&self, source: PartyId) -> Vec<PartyId> {
        once_each(self.subscriptions.iter().filter(|s| s.source.party == source).map(|s| s.sink.party))
    }

    /// Everybody that a party exchanges media with, in either direction.
    pub fn associates(&self, party: PartyId) -> Vec<PartyId> {
        let partner = self.party(party).partner;
        once_each(partner.into_iter().chain(self.sources_of(party)).chain(self.sinks_of(party)))
    }
}

fn once_each(parties: impl Iterator<Item = PartyId>) -> Vec<PartyId> {
    let mut seen = Vec::new();
    parties.for_each(|party| {
        if !seen.contains(&party) {
            seen.push(party);
        }
    });
    seen
}
