//! What an offer takes away from a section goes on until the offer is answered.
//!
//! A phone that asks for fax instead of audio is often told that the other one cannot do that (488), and nobody tells us: audio goes on as
//! if nothing had been asked (RFC 3264 §8: until the answer the former session holds).

use super::dialogue::{Dialogue, Participant, Role};
use super::model::{Call, Media, Party};

/// The copies become what a message of this kind is about: an answer is about what was offered, an offer about what holds.
pub fn prepare(role: Role, dialogue: &mut Dialogue) {
    for party in [&mut dialogue.sender_copy, &mut dialogue.receiver_copy] {
        let offered = std::mem::take(&mut party.offered);
        if role == Role::Answer {
            for (position, media) in offered {
                if let Some(former) = party.media.get_mut(position) {
                    *former = media;
                }
            }
        }
    }
}

/// Behind an offer: sections that both sides use, and that are to carry something else or nothing, wait for the answer.
pub fn postpone(call: &Call, dialogue: &mut Dialogue) {
    let (Participant::Existing(sender), Participant::Existing(receiver)) =
        (dialogue.sender, dialogue.receiver)
    else {
        return;
    };
    let Dialogue { sender_copy, receiver_copy, .. } = dialogue;
    let former = call.party(sender).media.iter().zip(&call.party(receiver).media);
    for (position, (from, to)) in former.enumerate() {
        let (Some(offered), Some(passed_on)) =
            (sender_copy.media.get(position), receiver_copy.media.get(position))
        else {
            return;
        };
        let is_rejected = offered.remote.as_ref().is_some_and(|remote| remote.rejected);
        let is_retyped = offered.media_type != from.media_type || passed_on.media_type != to.media_type;
        if (is_rejected || is_retyped) && is_used(from) && is_used(to) {
            put_off(sender_copy, position, from);
            put_off(receiver_copy, position, to);
        }
    }
}

fn put_off(party: &mut Party, position: usize, former: &Media) {
    let offered = std::mem::replace(&mut party.media[position], former.clone());
    party.offered.push((position, offered));
}

/// Media flow on a transport of the section's own.
fn is_used(media: &Media) -> bool {
    let is_accepted = media.remote.as_ref().is_some_and(|remote| !remote.rejected);
    is_accepted && media.ports.current().is_some() && !media.bundling.is_shared()
}
