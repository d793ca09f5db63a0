//! Ending calls and branches.

use std::time::{Duration, Instant};

use super::dialogue::associate;
use super::model::{Call, PartyId};
use crate::negotiate::signal::Signal;

/// What a `delete` is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    WholeCall,
    Party(PartyId),
    /// One of several that were offered to; the others go on.
    Branch(PartyId),
    /// Nothing matched; the call is left alone.
    Nothing,
}

/// Finds what a `delete` names, by tags and branch. Empty tags name nobody.
pub fn target(call: &Call, signal: &Signal) -> Deletion {
    let identity = &signal.identity;
    let named = |tag: &&str| !tag.is_empty();
    let Some(from_tag) = identity.from_tag.as_deref().filter(named) else { return Deletion::WholeCall };
    let to_tag = identity.to_tag.as_deref().filter(|_| signal.flags.honour_to_tag).filter(named);
    let branch = identity.via_branch.as_deref().and_then(|branch| call.by_branch(branch));
    if let (None, Some(party)) = (to_tag, branch) {
        return Deletion::Branch(party);
    }
    if let Some(party) = to_tag.and_then(|tag| call.by_tag(tag)) {
        return Deletion::Branch(party);
    }
    let named = if to_tag.is_none() { call.by_tag(from_tag) } else { None };
    if let (None, Some(party)) = (named, branch) {
        return Deletion::Branch(party);
    }
    let untagged_partner = || {
        to_tag?;
        let from = call.by_tag(from_tag)?;
        let partner = call.party(from).partner?;
        call.party(partner).tag.is_none().then_some(from)
    };
    named.or_else(untagged_partner).map_or(Deletion::Nothing, Deletion::Party)
}

/// Closes a party and whoever it leaves alone. When no association would be left, nothing is changed and `WholeCall` is
/// returned: the call ends, and is reported with its associations.
pub fn close_party(call: &mut Call, party: PartyId) -> Deletion {
    let mut closing = vec![party];
    let associates = |id: PartyId| {
        let mut associates = call.associates(id);
        if call.party(party).deleted_as_branch {
            associates.extend(&call.party(id).branches);
        }
        associates
    };
    let alone = |id: PartyId, closing: &[PartyId]| {
        let associates = associates(id);
        !associates.is_empty() && associates.iter().all(|other| closing.contains(other))
    };
    loop {
        let left_alone: Vec<PartyId> = (0..call.parties.len())
            .map(PartyId)
            .filter(|&id| !closing.contains(&id) && alone(id, &closing))
            .collect();
        if left_alone.is_empty() {
            break;
        }
        closing.extend(left_alone);
    }
    let associated = |id: &PartyId| !associates(*id).is_empty();
    if !(0..call.parties.len()).map(PartyId).any(|id| !closing.contains(&id) && associated(&id)) {
        return Deletion::WholeCall;
    }
    remove(call, &closing);
    Deletion::Party(party)
}

/// Closes parties and ends their associations. Who loses its partner goes on with the latest of its other branches.
pub fn remove(call: &mut Call, parties: &[PartyId]) {
    for &id in parties {
        call.subscriptions.retain(|s| s.source.party != id && s.sink.party != id);
        call.party_mut(id).partner = None;
        call.party_mut(id).branches.clear();
        close(call, id);
    }
    for party in &mut call.parties {
        party.branches.retain(|branch| !parties.contains(branch));
    }
    for id in (0..call.parties.len()).map(PartyId) {
        if call.party(id).partner.is_some_and(|partner| parties.contains(&partner)) {
            call.party_mut(id).partner = None;
            let alone = |branch: &&PartyId| call.party(**branch).partner.is_none();
            if let Some(branch) = call.party(id).branches.iter().rev().find(alone).copied() {
                associate(call, id, branch);
            }
        }
    }
}

/// Closes the ports of everybody.
pub fn close_all(call: &mut Call) {
    for id in 0..call.parties.len() {
        close(call, PartyId(id));
    }
}

/// When a deletion becomes real: now (`None`), or at some time.
pub fn due(signal: &Signal, default: Duration, now: Instant) -> Option<Instant> {
    let delay = match signal.deletion.delay_s {
        Some(delay) if delay >= 0 => Duration::from_secs(delay.unsigned_abs()),
        _ => default,
    };
    (!delay.is_zero()).then(|| now.checked_add(delay)).flatten()
}

fn close(call: &mut Call, id: PartyId) {
    let party = call.party_mut(id);
    party.closed = true;
    party.player = None;
    party.offered.clear();
    for media in &mut party.media {
        media.ports.clear();
    }
}
