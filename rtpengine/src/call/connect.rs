//! `connect`, `mesh`, `inject start`, `inject stop`: parties that negotiated with others, or with the daemon alone, hear each other.

use std::sync::Arc;

use smol_str::SmolStr;

use super::audio_player;
use super::coding::{self, Side};
use super::dialogue::pair;
use super::engine::Engine;
use super::error::CommandError;
use super::model::{Call, PartyId};
use super::playback;
use super::recording;
use super::store::{CallHandle, lock};
use super::subscribe::empty_party;
use super::subscription::{MediaRef, Purpose, Subscription};
use crate::negotiate::signal::{AllSelector, Signal};

impl Engine {
    /// `connect`: two parties as if they had negotiated; with `directional` one only hears the other.
    pub fn connect(&self, signal: &Signal) -> Result<(), CommandError> {
        let identity = &signal.identity;
        let call_id = identity.call_id.as_deref().ok_or(CommandError::NoCallId)?;
        let handle = self.store.get(call_id).ok_or(CommandError::UnknownCalls)?;
        let to_tag = identity.to_tag.as_deref().ok_or(CommandError::NoToTag)?;
        if let Some(other) = signal.selection.to_call_id.as_deref() {
            let other = self.store.get(other).ok_or(CommandError::UnknownCalls)?;
            check_connecting([&handle, &other], signal)?;
            self.merge(&handle, &other).map_err(|Collision| CommandError::TagCollision)?;
        }
        let mut call = lock(&handle);
        let sources = connecting(&call, signal)?;
        let sink = call.by_tag(to_tag).unwrap_or_else(|| {
            call.parties.push(empty_party(to_tag));
            PartyId(call.parties.len() - 1)
        });
        for source in sources.into_iter().filter(|source| *source != sink) {
            audio_player::note_party(signal, call.party_mut(source));
            if signal.flags.directional {
                listen(&mut call, source, sink, Purpose::Subscribe);
                if signal.flags.bidirectional {
                    listen(&mut call, sink, source, Purpose::Subscribe);
                }
            } else {
                join(&mut call, source, sink);
            }
        }
        audio_player::note_party(signal, call.party_mut(sink));
        call.delete_at = None;
        recording::describe(&call);
        self.install(&call);
        Ok(())
    }

    /// `mesh`: one call out of several, and who hears whom in it.
    pub fn mesh(&self, signal: &Signal) -> Result<(), CommandError> {
        let selection = &signal.selection;
        let handles = selection
            .calls
            .iter()
            .map(|id| self.store.get(id).ok_or(CommandError::UnknownMeshCalls))
            .collect::<Result<Vec<CallHandle>, _>>()?;
        let Some((first, others)) = handles.split_first() else {
            return Err(CommandError::UnknownMeshCalls);
        };
        // Everything is looked up before anything is changed.
        let all: Vec<&CallHandle> = handles.iter().collect();
        for (from, to) in &selection.tags {
            known(&all, from).ok_or(CommandError::NoSuchMeshSource)?;
            to.iter().try_for_each(|tag| known(&all, tag)).ok_or(CommandError::NoSuchMeshSink)?;
        }
        for (position, other) in others.iter().enumerate() {
            if handles[..=position].iter().any(|one| is_other_call_with_same_tag(one, other)) {
                return Err(CommandError::MeshTagCollision);
            }
        }
        for other in others {
            self.merge(first, other).map_err(|Collision| CommandError::MeshTagCollision)?;
        }
        let mut call = lock(first);
        let mut wanted = Vec::new();
        for (from, to) in &selection.tags {
            let from = call.by_tag(from).ok_or(CommandError::NoSuchMeshSource)?;
            let to = to
                .iter()
                .map(|tag| call.by_tag(tag).ok_or(CommandError::NoSuchMeshSink))
                .collect::<Result<Vec<PartyId>, _>>()?;
            wanted.push((from, to));
        }
        if signal.flags.unsubscribe {
            for (from, _) in &wanted {
                part(&mut call, *from);
            }
        }
        for (from, to) in wanted {
            audio_player::note_party(signal, call.party_mut(from));
            for to in to.into_iter().filter(|to| *to != from) {
                audio_player::note_party(signal, call.party_mut(to));
                listen(&mut call, from, to, Purpose::Subscribe);
                if signal.flags.bidirectional {
                    listen(&mut call, to, from, Purpose::Subscribe);
                }
            }
        }
        recording::describe(&call);
        self.install(&call);
        Ok(())
    }

    /// `inject start`: a party hears another one beside its own partner.
    pub fn inject_start(&self, signal: &Signal) -> Result<(), CommandError> {
        let merge = |one: &CallHandle, other: &CallHandle| {
            self.merge(one, other).map_err(|Collision| CommandError::InjectMerge)
        };
        let (handle, sink, source) = self.injection(signal, merge)?;
        let mut call = lock(&handle);
        let talking =
            call.party(sink).partner == Some(source) || call.sources_of(sink).contains(&source) || call.ended;
        if talking || !listen(&mut call, source, sink, Purpose::Inject) {
            return Err(CommandError::InjectStart);
        }
        self.install(&call);
        Ok(())
    }

    /// `inject stop`
    pub fn inject_stop(&self, signal: &Signal) -> Result<(), CommandError> {
        let same = |one: &CallHandle, other: &CallHandle| match Arc::ptr_eq(one, other) {
            true => Ok(()),
            false => Err(CommandError::InjectStop),
        };
        let (handle, sink, source) = self.injection(signal, same)?;
        let mut call = lock(&handle);
        let before = call.subscriptions.len();
        call.subscriptions
            .retain(|s| !(s.purpose == Purpose::Inject && s.sink.party == sink && s.source.party == source));
        if call.subscriptions.len() == before {
            return Err(CommandError::InjectStop);
        }
        self.install(&call);
        Ok(())
    }

    /// Call, sink and source of an injection; if they are in two calls, `merge` makes one of them.
    fn injection(
        &self,
        signal: &Signal,
        merge: impl FnOnce(&CallHandle, &CallHandle) -> Result<(), CommandError>,
    ) -> Result<(CallHandle, PartyId, PartyId), CommandError> {
        let (identity, selection) = (&signal.identity, &signal.selection);
        let call_id = identity.call_id.as_deref().ok_or(CommandError::NoCallId)?;
        let handle = self.store.get(call_id).ok_or(CommandError::UnknownCalls)?;
        let to_tag = identity.to_tag.as_deref().ok_or(CommandError::NoToTag)?;
        let source_tag = selection.source_tag.as_deref().ok_or(CommandError::NoSourceTag)?;
        if let Some(other) = selection.source_call_id.as_deref() {
            let other = self.store.get(other).ok_or(CommandError::UnknownCalls)?;
            let both = [&handle, &other];
            known(&both, to_tag).ok_or(CommandError::NoSuchToTag)?;
            known(&both, source_tag).ok_or(CommandError::NoSuchSourceTag)?;
            merge(&handle, &other)?;
        }
        let call = lock(&handle);
        let sink = call.by_tag(to_tag).ok_or(CommandError::NoSuchToTag)?;
        let source = call.by_tag(source_tag).ok_or(CommandError::NoSuchSourceTag)?;
        if sink == source {
            return Err(CommandError::InjectSelf);
        }
        drop(call);
        Ok((handle, sink, source))
    }

    /// Makes two calls one; the ids of both are valid afterwards. Nothing is changed when a tag is in both.
    pub(super) fn merge(&self, into: &CallHandle, other: &CallHandle) -> Result<(), Collision> {
        if Arc::ptr_eq(into, other) {
            return Ok(());
        }
        // Two commands that merge the same calls the other way round take the locks in the same order.
        let (mut call, mut gone);
        if into.as_ref() as *const _ < other.as_ref() as *const _ {
            call = lock(into);
            gone = lock(other);
        } else {
            gone = lock(other);
            call = lock(into);
        }
        if call.ended || gone.ended {
            return Ok(());
        }
        let present = open_tags(&call);
        if open_tags(&gone).iter().any(|tag| present.contains(tag)) {
            return Err(Collision);
        }
        // The ports change hands between workers: the old one lets go of them first, and nothing that is sent from now on is lost to it.
        self.plane.release(gone.worker, gone.key);
        let recorded = gone.recording.on && !call.recording.on;
        recording::end(&mut gone, crate::record::RecordingEnd::Keep);
        gone.ended = true;
        if std::mem::take(&mut gone.foreign) {
            self.foreign.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
        }
        self.store.merge(&gone.id, into);
        self.forget(&gone.id);
        let mut by_key = lock(&self.by_key);
        by_key.insert(gone.key.0, Arc::downgrade(into));
        for merged in std::mem::take(&mut gone.merged) {
            self.store.rename(&merged.id, into);
            by_key.insert(merged.key.0, Arc::downgrade(into));
            call.merged.push(merged);
        }
        drop(by_key);
        let merged = super::model::MergedCall { id: gone.id.clone(), key: gone.key };
        call.merged.push(merged);
        call.absorb(&mut gone);
        if recorded {
            self.switch_recording(&mut call, super::recording::RecordingCommand::Start);
        }
        recording::describe(&call);
        self.install(&call);
        Ok(())
    }
}

/// Whoever is to be connected is in one of two calls that are to become one: a command that fails must not merge them.
fn check_connecting([into, other]: [&CallHandle; 2], signal: &Signal) -> Result<(), CommandError> {
    let tags = &signal.selection.from_tags;
    if tags.is_empty() || signal.flags.all != AllSelector::None {
        let selected = playback::select(&lock(into), signal);
        return match selected {
            Err(error) => playback::select(&lock(other), signal).map(drop).map_err(|_| error),
            Ok(_) => Ok(()),
        };
    }
    tags.iter().try_for_each(|tag| known(&[into, other], tag)).ok_or(CommandError::NoSuchFromTag)
}

/// Somebody in one of the calls has this tag.
fn known(calls: &[&CallHandle], tag: &str) -> Option<()> {
    calls.iter().any(|call| lock(call).by_tag(tag).is_some()).then_some(())
}

fn is_other_call_with_same_tag(one: &CallHandle, other: &CallHandle) -> bool {
    if Arc::ptr_eq(one, other) {
        return false;
    }
    let tags = open_tags(&lock(one));
    open_tags(&lock(other)).iter().any(|tag| tags.contains(tag))
}

fn open_tags(call: &Call) -> Vec<SmolStr> {
    let open = call.parties.iter().filter(|party| !party.closed);
    open.flat_map(|party| party.tag.iter().chain(&party.aliases)).cloned().collect()
}

/// The same tag is in both calls.
pub(super) struct Collision;

impl Call {
    /// Takes over the parties of another call.
    fn absorb(&mut self, other: &mut Call) {
        let offset = self.parties.len();
        let moved = |id: PartyId| PartyId(id.0 + offset);
        let first_number = self.next_media_number - 1;
        for mut party in other.parties.drain(..) {
            party.partner = party.partner.map(moved);
            party.branches.iter_mut().for_each(|branch| *branch = moved(*branch));
            let offered = party.offered.iter_mut().map(|(_, media)| media);
            party.media.iter_mut().chain(offered).for_each(|media| media.number += first_number);
            self.parties.push(party);
        }
        self.next_media_number += other.next_media_number - 1;
        let at = |at: MediaRef| MediaRef { party: moved(at.party), ..at };
        for subscription in other.subscriptions.drain(..) {
            let (source, sink) = (at(subscription.source), at(subscription.sink));
            self.subscriptions.push(Subscription { source, sink, ..subscription });
        }
        self.last_signal = self.last_signal.max(other.last_signal);
        self.drop_traffic |= other.drop_traffic;
        self.tells_connections |= other.tells_connections;
    }
}

/// The parties to connect: by `from-tags`, else as other commands select them.
fn connecting(call: &Call, signal: &Signal) -> Result<Vec<PartyId>, CommandError> {
    let tags = &signal.selection.from_tags;
    if tags.is_empty() || signal.flags.all != AllSelector::None {
        return playback::select(call, signal);
    }
    tags.iter().map(|tag| call.by_tag(tag).ok_or(CommandError::NoSuchFromTag)).collect()
}

/// The two exchange media from now on, section by section where both have the same type; their old partners are left alone.
fn join(call: &mut Call, a: PartyId, b: PartyId) {
    pair(call, a, b);
    let sections = call.party(a).media.len().min(call.party(b).media.len());
    for position in 0..sections {
        let mut offerer = call.party(a).media[position].clone();
        let mut answerer = call.party(b).media[position].clone();
        if offerer.media_type == answerer.media_type {
            coding::connect(&mut offerer, &mut answerer);
            call.party_mut(a).media[position] = offerer;
            call.party_mut(b).media[position] = answerer;
        }
    }
    for id in [a, b] {
        call.party_mut(id).delete_at = None;
    }
}

/// `sink` hears `source`, each section the first one of its type. `false`: they have nothing in common.
fn listen(call: &mut Call, source: PartyId, sink: PartyId, purpose: Purpose) -> bool {
    let pairs = pairs(call, source, sink);
    for &(from, to) in &pairs {
        let (source, sink) =
            (MediaRef { party: source, position: from }, MediaRef { party: sink, position: to });
        let (Some(speaks), Some(hears)) = (call.media(source), call.media(sink)) else { continue };
        let negotiated = coding::connected(
            &coding::sent_formats(speaks),
            &coding::sent_formats(hears),
            &speaks.media_type,
        );
        call.subscribe(Subscription {
            source,
            sink,
            purpose,
            side: Side::Offerer,
            negotiated,
            mirrors_rtcp: false,
        });
    }
    !pairs.is_empty()
}

/// Positions of sections that belong together: the n-th of a type with the n-th of the same type.
fn pairs(call: &Call, a: PartyId, b: PartyId) -> Vec<(usize, usize)> {
    let mut taken = Vec::new();
    let mut pairs = Vec::new();
    let others = &call.party(b).media;
    for (position, media) in call.party(a).media.iter().enumerate() {
        let fits = |other: &usize| !taken.contains(other) && others[*other].media_type == media.media_type;
        if let Some(other) = (0..others.len()).find(fits) {
            taken.push(other);
            pairs.push((position, other));
        }
    }
    pairs
}

/// Ends everything that a party hears or is heard by.
fn part(call: &mut Call, party: PartyId) {
    call.subscriptions.retain(|s| s.source.party != party && s.sink.party != party);
    if let Some(partner) = call.party_mut(party).partner.take()
        && call.party(partner).partner == Some(party)
    {
        call.party_mut(partner).partner = None;
    }
}
