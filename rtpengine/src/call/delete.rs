//! Ending calls and branches.

use std::time::{Duration, Instant};

use super::model::{Call, PartyId};
use crate::negotiate::signal::Signal;

/// What a `delete` is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    WholeCall,
    Party(PartyId),
    /// Nothing matched; the call is left alone.
    Nothing,
}

/// Finds what a `delete` names, by tags and branch.
pub fn target(call: &Call, signal: &Signal) -> Deletion {
    let identity = &signal.identity;
    let Some(from_tag) = identity.from_tag.as_deref() else { return Deletion::WholeCall };
    let to_tag = identity.to_tag.as_deref().filter(|_| signal.flags.honour_to_tag);
    let branch = identity.via_branch.as_deref().and_then(|branch| call.by_branch(branch));
    if let (None, Some(party)) = (to_tag, branch) {
        return Deletion::Party(party);
    }
    let named = call.by_tag(to_tag.unwrap_or(from_tag)).or(branch);
    let untagged_partner = || {
        to_tag?;
        let from = call.by_tag(from_tag)?;
        let partner = call.party(from).partner?;
        call.party(partner).tag.is_none().then_some(from)
    };
    named.or_else(untagged_partner).map_or(Deletion::Nothing, Deletion::Party)
}

/// Marks a party and whoever it leaves alone; `true` when no association is left in the call.
pub fn close_party(call: &mut Call, party: PartyId) -> bool {
    let mut closing = vec![party];
    while let Some(id) = closing.pop() {
        let former = call.party_mut(id).partner.take();
        close(call, id);
        for other in 0..call.parties.len() {
            if call.parties[other].partner == Some(id) {
                call.parties[other].partner = None;
                closing.push(PartyId(other));
            }
        }
        if let Some(former) = former.filter(|&former| call.party(former).partner.is_none()) {
            if !call.party(former).closed {
                closing.push(former);
            }
        }
    }
    call.parties.iter().all(|party| party.partner.is_none())
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
    for media in &mut party.media {
        media.ports.clear();
    }
}
