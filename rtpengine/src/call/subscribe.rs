//! `subscribe request`, `subscribe answer`, `unsubscribe`: a party that listens to media of others.

use std::sync::Arc;

use smol_str::{SmolStr, ToSmolStr};

use super::coding::{self, Coding, Negotiated, Side};
use super::dialogue::{Participant, Role};
use super::engine::{Engine, commit};
use super::error::CommandError;
use super::exchange::OwnSide;
use super::model::{Call, Media, Party, PartyId};
use super::own_side::{random_id, section, stand_in, towards_party};
use super::pairing::answer_order;
use super::playback;
use super::recording;
use super::store::lock;
use super::subscription::{MediaRef, Purpose, Subscription};
use crate::negotiate::signal::Signal;
use crate::proto::sdp::model::{Attributes, Bandwidth, Direction, MediaFormat, SessionDescription};
use crate::proto::sdp::text;

/// Reply of `subscribe request`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribed {
    pub sdp: Vec<u8>,
    /// The party behind each section.
    pub sections: Vec<SubscribedSection>,
    /// Media that are heard; more than sections with flag `mix`.
    pub heard: usize,
    pub to_tag: SmolStr,
}

/// Where a section of a subscription comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscribedSection {
    pub tag: SmolStr,
    pub label: Option<SmolStr>,
    /// Position in the source's description, from 1.
    pub index: usize,
    pub media_type: SmolStr,
    /// Direction of the source's section.
    pub mode: &'static str,
}

/// A section of the subscriber and the media that it hears there (several with flag `mix`).
struct Section {
    sources: Vec<MediaRef>,
}

impl Engine {
    /// `subscribe request`: offers a copy of existing media to a party.
    pub fn subscribe_request(&self, signal: &Signal) -> Result<Subscribed, CommandError> {
        let identity = &signal.identity;
        let call_id = identity.call_id.as_deref().ok_or(CommandError::NoCallId)?;
        let handle = self.store.get(call_id).ok_or(CommandError::UnknownCalls)?;
        let mut call = lock(&handle);
        let to_tag = identity.to_tag.clone().unwrap_or_else(random_id);
        let subscriber = call.by_tag(&to_tag);
        let parties = sources(&call, signal, subscriber)?;
        let sections = sections(&call, &parties, signal.flags.mix);
        let sdp = self.subscription_offer(&call, &sections, signal)?;

        let towards = towards_party(signal);
        let mut copy = subscriber.map_or_else(stand_in, |id| call.party(id).clone());
        copy.tag = Some(to_tag.clone());
        copy.delete_at = None;
        if let Some(label) = identity.set_label.as_ref().or(identity.to_label.as_ref()) {
            copy.label = Some(label.clone());
        }
        let mut daemon = stand_in();
        let order: Vec<usize> = (0..sdp.media.len()).collect();
        let mut exchange = self.one_sided(&towards, &sdp, &call, OwnSide::Sender);
        exchange.offer(&mut daemon, &mut copy, &order)?;
        let next_media_number = exchange.next_media_number;
        let output = self.output(Role::Offer, &towards, &sdp, &daemon, &order);
        let printed = output.print(&mut copy).map_err(|_| CommandError::CreateSdp)?;

        call.next_media_number = next_media_number;
        let reply = reply_sections(&call, &sections);
        let negotiated: Vec<_> = copy.media.iter().map(|media| media.coding.negotiated.clone()).collect();
        let subscriber = commit(&mut call, subscriber.map_or(Participant::New, Participant::Existing), copy);
        call.subscriptions.retain(|s| s.sink.party != subscriber || s.purpose != Purpose::Subscribe);
        for (position, (section, negotiated)) in sections.iter().zip(negotiated).enumerate() {
            let sink = MediaRef { party: subscriber, position };
            for (nth, &source) in section.sources.iter().enumerate() {
                // Only the first one's codecs were shown.
                let negotiated = if nth == 0 { negotiated.clone() } else { mixed_in(&call, source, sink) };
                add(&mut call, signal, source, sink, negotiated);
            }
        }
        call.delete_at = None;
        recording::describe(&call);
        self.install_for(&call, signal);
        let heard = sections.iter().map(|section| section.sources.len()).sum();
        Ok(Subscribed { sdp: text::encode(printed), sections: reply, heard, to_tag })
    }

    /// The description that the subscriber is offered: session lines of the first source, sections of all.
    fn subscription_offer(
        &self,
        call: &Call,
        sections: &[Section],
        signal: &Signal,
    ) -> Result<SessionDescription, CommandError> {
        let flags = &signal.flags;
        let direction = match (flags.inactive, flags.bidirectional) {
            (true, _) => Direction::Inactive,
            (false, true) => Direction::SendRecv,
            (false, false) => Direction::SendOnly,
        };
        let mut offer: Option<SessionDescription> = None;
        let mut media = Vec::with_capacity(sections.len());
        let mut described: Option<(PartyId, SessionDescription)> = None;
        for (number, section) in sections.iter().enumerate() {
            let Some(at) = section.sources.first() else { continue };
            if described.as_ref().is_none_or(|(party, _)| *party != at.party) {
                let own = call.party(at.party).description.as_deref();
                let own = own.map(|body| self.parse(&Signal::default(), body)).transpose()?;
                described = Some((at.party, own.unwrap_or_else(|| self.nameless())));
            }
            let (Some((_, own)), Some(source)) = (&described, call.media(*at)) else { continue };
            media.push(offered_section(source, own, at.position, direction, |attributes| {
                if flags.siprec {
                    attributes.label = Some(number.to_smolstr());
                }
            }));
            offer.get_or_insert_with(|| SessionDescription {
                media: Vec::new(),
                connection: None,
                bandwidth: Bandwidth::default(),
                groups: Vec::new(),
                attributes: Attributes {
                    unknown: own.attributes.unknown.clone(),
                    unknown_with_direction: own.attributes.unknown.clone(),
                    ..Attributes::default()
                },
                ..own.clone()
            });
        }
        let mut offer = offer.ok_or(CommandError::CreateSdp)?;
        offer.media = media;
        Ok(offer)
    }

    fn nameless(&self) -> SessionDescription {
        super::own_side::session(&self.config.software_id, Vec::new())
    }

    /// `subscribe answer`
    pub fn subscribe_answer(&self, signal: &Signal) -> Result<(), CommandError> {
        let body = signal.sdp.as_deref().ok_or(CommandError::NoSdp)?;
        let identity = &signal.identity;
        let call_id = identity.call_id.as_deref().ok_or(CommandError::NoCallId)?;
        let to_tag = identity.to_tag.as_deref().ok_or(CommandError::NoToTag)?;
        let handle = self.store.get(call_id).ok_or(CommandError::UnknownCallSelecting)?;
        let mut call = lock(&handle);
        let subscriber = call.by_tag(to_tag).ok_or(CommandError::NoSuchToTag)?;
        let sdp = self.parse(signal, body)?;
        let mut copy = call.party(subscriber).clone();
        let mut daemon = super::publish::opposite(&copy);
        let order = answer_order(&sdp, &copy, &daemon);
        if order.iter().any(|&position| position >= copy.media.len()) {
            return Err(CommandError::SubscriptionAnswer);
        }
        let mut exchange = self.one_sided(signal, &sdp, &call, OwnSide::Receiver);
        exchange.answer(&mut copy, &mut daemon, &order)?;
        let next_media_number = exchange.next_media_number;
        for &position in &order {
            let media = &copy.media[position];
            if !media.is_rejected() && !is_acceptable(&media.coding, signal.codecs.allow_transcoding) {
                return Err(CommandError::SubscriptionAnswer);
            }
        }
        call.next_media_number = next_media_number;
        copy.description = Some(body.into());
        *call.party_mut(subscriber) = copy;
        renegotiate(&mut call, subscriber);
        recording::describe(&call);
        self.install_for(&call, signal);
        Ok(())
    }

    /// `unsubscribe`: ends what a party hears, or only one source of it.
    pub fn unsubscribe(&self, signal: &Signal) -> Result<(), CommandError> {
        let identity = &signal.identity;
        let call_id = identity.call_id.as_deref().ok_or(CommandError::NoCallId)?;
        let to_tag = identity.to_tag.as_deref().ok_or(CommandError::NoToTag)?;
        let handle = self.store.get(call_id).ok_or(CommandError::UnknownCallSelecting)?;
        let mut call = lock(&handle);
        let subscriber = call.by_tag(to_tag).ok_or(CommandError::NoSuchToTag)?;
        let only = match identity.from_tag.as_deref().filter(|_| signal.flags.directional) {
            Some(tag) => Some(call.by_tag(tag).ok_or(CommandError::NoSuchSource)?),
            None => None,
        };
        call.subscriptions.retain(|s| {
            let meant = s.sink.party == subscriber && only.is_none_or(|only| s.source.party == only);
            !(meant && s.purpose == Purpose::Subscribe)
        });
        if call.associates(subscriber).is_empty() {
            // The party stays, what it heard with does not.
            call.party_mut(subscriber).media.iter_mut().for_each(|media| media.ports.clear());
        }
        self.install_for(&call, signal);
        Ok(())
    }
}

/// The parties that a request wants to hear.
fn sources(call: &Call, signal: &Signal, subscriber: Option<PartyId>) -> Result<Vec<PartyId>, CommandError> {
    let selected = if signal.selection.from_tags.is_empty() {
        match playback::select(call, signal) {
            Err(CommandError::NoParty) => Vec::new(),
            other => other?,
        }
    } else {
        signal.selection.from_tags.iter().filter_map(|tag| call.by_tag(tag)).collect()
    };
    let mut parties: Vec<PartyId> = Vec::new();
    for id in selected {
        let heard = if signal.flags.egress {
            call.party(id).partner.into_iter().chain(call.sources_of(id)).collect()
        } else {
            vec![id]
        };
        for party in heard {
            if Some(party) != subscriber && !parties.contains(&party) {
                parties.push(party);
            }
        }
    }
    if parties.is_empty() { Err(CommandError::NoMedia) } else { Ok(parties) }
}

/// One section for each media that can be heard; with `mix` one for each media type.
fn sections(call: &Call, parties: &[PartyId], mix: bool) -> Vec<Section> {
    let mut sections: Vec<(SmolStr, Section)> = Vec::new();
    for &party in parties {
        for (position, media) in call.party(party).media.iter().enumerate() {
            if media.remote.as_ref().is_none_or(|remote| remote.rejected) || media.ports.current().is_none() {
                continue;
            }
            let at = MediaRef { party, position };
            match sections.iter_mut().find(|(media_type, _)| mix && *media_type == media.media_type) {
                Some((_, section)) => section.sources.push(at),
                None => sections.push((media.media_type.clone(), Section { sources: vec![at] })),
            }
        }
    }
    sections.into_iter().map(|(_, section)| section).collect()
}

/// A source's section as the subscriber is offered it.
fn offered_section(
    source: &Media,
    description: &SessionDescription,
    position: usize,
    direction: Direction,
    adjust: impl FnOnce(&mut Attributes),
) -> crate::proto::sdp::model::MediaDescription {
    let formats = if source.is_rtp() { coding::sent_formats(source) } else { Vec::new() };
    let transport =
        source.transport.clone().unwrap_or_else(|| crate::proto::sdp::model::Transport::from_name("RTP/AVP"));
    let address = source.remote.as_ref().map_or([0, 0, 0, 0].into(), |remote| remote.rtp.ip());
    let address = if address.is_unspecified() { [127, 0, 0, 1].into() } else { address };
    let mut section = section(&source.media_type, transport, formats, direction, address);
    let place = source.index.map_or(position, |index| index.saturating_sub(1));
    if let Some(described) = description.media.get(place) {
        let from = &described.attributes;
        section.information.clone_from(&described.information);
        section.bandwidth = described.bandwidth;
        section.attributes = Attributes {
            unknown: from.unknown.clone(),
            unknown_with_direction: from.unknown.clone(),
            ptime_ms: from.ptime_ms,
            maxptime_ms: from.maxptime_ms,
            extmap: described.extmap(description).to_vec(),
            extmap_allow_mixed: described.extmap_allow_mixed(description),
            label: from.label.clone(),
            ..section.attributes
        };
        if !source.is_rtp() {
            section.format_tokens.clone_from(&described.format_tokens);
            section.attribute_lines.clone_from(&described.attribute_lines);
        }
    }
    adjust(&mut section.attributes);
    section
}

fn reply_sections(call: &Call, sections: &[Section]) -> Vec<SubscribedSection> {
    let section = |section: &Section| {
        let at = section.sources.first()?;
        let (party, media) = (call.party(at.party), call.media(*at)?);
        let direction = media.remote.as_ref().map_or(Direction::SendRecv, |remote| remote.direction);
        Some(SubscribedSection {
            tag: party.tag.clone().unwrap_or_default(),
            label: party.label.clone(),
            index: media.index.unwrap_or(at.position + 1),
            media_type: media.media_type.clone(),
            mode: direction.name(),
        })
    };
    sections.iter().filter_map(section).collect()
}

/// Subscribes, in both directions if asked for.
fn add(call: &mut Call, signal: &Signal, source: MediaRef, sink: MediaRef, negotiated: Arc<Negotiated>) {
    let subscription = Subscription {
        source,
        sink,
        purpose: Purpose::Subscribe,
        side: Side::Offerer,
        negotiated: negotiated.clone(),
        mirrors_rtcp: signal.flags.mirror_rtcp,
    };
    if signal.flags.bidirectional {
        call.subscribe(Subscription {
            source: sink,
            sink: source,
            side: Side::Answerer,
            mirrors_rtcp: false,
            ..subscription.clone()
        });
    }
    call.subscribe(subscription);
}

/// The codecs between a further source of a mixed section and the subscriber.
fn mixed_in(call: &Call, source: MediaRef, sink: MediaRef) -> Arc<Negotiated> {
    match (call.media(source), call.media(sink)) {
        (Some(from), Some(to)) => {
            coding::connected(&coding::sent_formats(from), &coding::sent_formats(to), &from.media_type)
        }
        _ => Arc::default(),
    }
}

/// After an answer the subscriptions of a party use what it answered.
fn renegotiate(call: &mut Call, subscriber: PartyId) {
    let mut done: Vec<MediaRef> = Vec::new();
    for index in 0..call.subscriptions.len() {
        let Subscription { source, sink, side, purpose, .. } = call.subscriptions[index];
        let (theirs, own) = if side == Side::Offerer { (source, sink) } else { (sink, source) };
        if own.party != subscriber || purpose != Purpose::Subscribe {
            continue;
        }
        let first = side != Side::Offerer || !done.contains(&own);
        let negotiated = match call.media(own) {
            Some(media) if first => media.coding.negotiated.clone(),
            _ => mixed_in(call, theirs, own),
        };
        if side == Side::Offerer {
            done.push(own);
        }
        call.subscriptions[index].negotiated = negotiated;
    }
}

/// Every codec of the source is in the answer, or (with transcoding allowed) at least one that was offered.
fn is_acceptable(coding: &Coding, transcoding: bool) -> bool {
    let state = &coding.negotiated.codecs;
    let answered = |format: &MediaFormat| {
        state.answerer.iter().any(|f| crate::negotiate::codecs::compatible(&f.format, &format.format))
    };
    if transcoding {
        return state.offered.iter().any(answered) || state.offered.is_empty();
    }
    let ordinary = |f: &&MediaFormat| !f.format.is_supplemental();
    state.offerer.iter().map(|f| &f.format).filter(ordinary).all(answered)
}

/// Party of a subscription without media of its own yet, for `connect` to an unknown tag.
pub(super) fn empty_party(tag: &str) -> Party {
    Party { tag: Some(tag.into()), ..stand_in() }
}
