//! Who talks to whom: from the tags and the branch of a message to a pair of parties.

use smol_str::SmolStr;

use super::error::CommandError;
use super::model::{Call, Party, PartyId};
use crate::negotiate::signal::{AliasKey, Signal, SipMessage};

/// Which half of an exchange a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Offer,
    Answer,
}

/// A party of the exchange: one that exists, or one that is to be made when the exchange succeeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Participant {
    Existing(PartyId),
    New,
}

/// The outcome: copies of both parties with their names brought up to date.
pub struct Dialogue {
    pub sender: Participant,
    pub receiver: Participant,
    pub sender_copy: Party,
    pub receiver_copy: Party,
}

/// Finds the two parties of an offer or answer. The call itself is not changed.
///
/// # Errors
/// `NoFromTag`, `NoToTag` (answers), `Dialogue` when a party would talk to itself.
pub fn resolve(call: &Call, role: Role, signal: &Signal) -> Result<Dialogue, CommandError> {
    let identity = &signal.identity;
    let from_tag = identity.from_tag.as_deref().ok_or(CommandError::NoFromTag)?;
    let (sender_tag, receiver_tag) = match role {
        // In the first message of a dialogue some clients send an empty to-tag.
        Role::Offer => (from_tag, identity.to_tag.as_deref().filter(|tag| !tag.is_empty())),
        Role::Answer => (identity.to_tag.as_deref().ok_or(CommandError::NoToTag)?, Some(from_tag)),
    };
    if receiver_tag == Some(sender_tag) {
        return Err(CommandError::Dialogue);
    }
    let branch = identity.via_branch.as_deref();
    let alias_key = alias_key(role, signal);
    let known_sender = call.by_tag(sender_tag).or_else(|| aliased(call, role, alias_key.as_deref()));
    let known_receiver = receiver_tag.and_then(|tag| call.by_tag(tag));

    let (sender, receiver) = match (known_sender, known_receiver) {
        (None, None) => (Participant::New, Participant::New),
        (Some(sender), None) => {
            let receiver = if receiver_tag.is_some() {
                None
            } else {
                match branch {
                    Some(branch) => call.by_branch(branch),
                    None => call.party(sender).partner,
                }
            };
            (Participant::Existing(sender), receiver.map_or(Participant::New, Participant::Existing))
        }
        (Some(sender), Some(receiver)) => (Participant::Existing(sender), Participant::Existing(receiver)),
        (None, Some(receiver)) => {
            let candidate = branch.and_then(|branch| call.by_branch(branch)).or(call.party(receiver).partner);
            let sender = match candidate {
                None => Participant::New,
                Some(candidate) if candidate == receiver => return Err(CommandError::Dialogue),
                Some(candidate) if may_take_tag(call.party(candidate), role, signal) => {
                    Participant::Existing(candidate)
                }
                Some(_) => Participant::New,
            };
            (sender, Participant::Existing(receiver))
        }
    };
    if sender == receiver && sender != Participant::New {
        return Err(CommandError::Dialogue);
    }

    let copy = |participant: Participant| match participant {
        Participant::Existing(id) => call.party(id).clone(),
        Participant::New => Party::new(std::time::SystemTime::now()),
    };
    let mut sender_copy = copy(sender);
    let mut receiver_copy = copy(receiver);
    name(&mut sender_copy, sender_tag);
    if receiver == Participant::New {
        receiver_copy.via_branch = branch.map(SmolStr::new);
    }
    if role == Role::Answer && sender == Participant::New {
        sender_copy.via_branch = branch.map(SmolStr::new);
    }
    if alias_key.is_some() {
        sender_copy.alias_key = alias_key;
    }
    if let Some(label) = &identity.label {
        sender_copy.label = Some(label.clone());
    }
    if role == Role::Answer
        && identity.sip_message == Some(SipMessage::Reply)
        && identity.sip_code.is_some_and(|code| code >= 200)
    {
        sender_copy.finally_answered = true;
    }
    for party in [&mut sender_copy, &mut receiver_copy] {
        party.delete_at = None;
        party.deleted_as_branch = false;
    }
    Ok(Dialogue { sender, receiver, sender_copy, receiver_copy })
}

/// An unknown tag may name this party: it has none yet, or an answer changed its to-tag.
fn may_take_tag(candidate: &Party, role: Role, signal: &Signal) -> bool {
    if candidate.tag.is_none() {
        return true;
    }
    role == Role::Answer
        && !signal.flags.new_branch
        && (!candidate.finally_answered || signal.flags.provisional)
}

/// Gives a party a tag; a former one stays valid.
fn name(party: &mut Party, tag: &str) {
    if party.is_named(tag) {
        return;
    }
    if let Some(former) = party.tag.replace(tag.into()) {
        party.aliases.push(former);
    }
}

/// The value by which an offer under another tag is recognised as the same party.
fn alias_key(role: Role, signal: &Signal) -> Option<SmolStr> {
    if role == Role::Answer {
        return None;
    }
    let sdp = String::from_utf8_lossy(signal.sdp.as_deref()?);
    match signal.identity.alias_key {
        AliasKey::None => None,
        AliasKey::Sdp => Some(format!("sdp {sdp}").into()),
        AliasKey::Address => {
            let line = |prefix: &str| sdp.lines().find(|line| line.starts_with(prefix)).unwrap_or_default();
            let port = line("m=").split(' ').nth(1).unwrap_or_default();
            Some(format!("address {} {port}", line("c=").trim_end()).into())
        }
    }
}

fn aliased(call: &Call, role: Role, key: Option<&str>) -> Option<PartyId> {
    if role == Role::Answer {
        return None;
    }
    let key = key?;
    call.parties.iter().position(|party| party.alias_key.as_deref() == Some(key)).map(PartyId)
}

/// Sender and receiver of a message talk to each other from now on. Whoever they talked to before is another branch.
pub fn associate(call: &mut Call, sender: PartyId, receiver: PartyId) {
    for (id, other) in [(sender, receiver), (receiver, sender)] {
        if let Some(former) = call.party(id).partner.filter(|former| *former != other) {
            for (id, branch) in [(id, former), (former, id)] {
                let branches = &mut call.party_mut(id).branches;
                branches.retain(|known| *known != branch);
                branches.push(branch);
            }
        }
    }
    pair(call, sender, receiver);
    call.party_mut(sender).branches.retain(|branch| *branch != receiver);
    call.party_mut(receiver).branches.retain(|branch| *branch != sender);
}

/// The two talk to each other from now on; whoever they talked to before is left alone.
pub fn pair(call: &mut Call, one: PartyId, other: PartyId) {
    for (id, other) in [(one, other), (other, one)] {
        if let Some(former) = call.party_mut(id).partner.replace(other)
            && former != other
            && call.party(former).partner == Some(id)
        {
            call.party_mut(former).partner = None;
        }
    }
}
