//! `offer` and `answer`, and the fragments that come before them.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::dialogue::{self, Dialogue, Role, associate};
use super::echo;
use super::engine::{Engine, commit};
use super::error::CommandError;
use super::exchange::{Exchange, OwnSide};
use super::explain::Message;
use super::fragments;
use super::model::{Call, Party, PartyId};
use super::music_on_hold;
use super::offered;
use super::output::Output;
use super::pairing::{answer_order, offer_order};
use super::playback;
use super::recording;
use super::store::lock;
use crate::negotiate::security;
use crate::negotiate::signal::{DropTraffic, Signal};
use crate::proto::sdp::model::SessionDescription;
use crate::proto::sdp::parse::{ParseOptions, parse};
use crate::proto::sdp::text;
use std::sync::atomic::Ordering::Relaxed;

use smol_str::SmolStr;

/// Reply of `offer` and `answer`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SdpReply {
    /// Octets, since the body may not be UTF-8.
    pub sdp: Vec<u8>,
    /// Paths of pcap files, when there are any.
    pub recordings: Vec<SmolStr>,
}

impl Engine {
    /// `offer`
    pub fn offer(&self, signal: &Signal) -> Result<SdpReply, CommandError> {
        self.exchange(Role::Offer, signal)
    }

    /// A message may have to open a source of audio: it blocks for longer than others.
    pub fn may_open_audio(&self, signal: &Signal) -> bool {
        self.may_open_music(signal) || self.may_move_announcement(signal)
    }

    /// Somebody in the call hears an announcement, which may have to go on in another codec.
    fn may_move_announcement(&self, signal: &Signal) -> bool {
        let hears = |party: &Party| party.player.as_ref().is_some_and(|player| player.is_playing());
        self.announced.load(Relaxed)
            && signal
                .identity
                .call_id
                .as_deref()
                .and_then(|call_id| self.store.get(call_id))
                .is_some_and(|handle| lock(&handle).parties.iter().any(hears))
    }

    fn may_open_music(&self, signal: &Signal) -> bool {
        let given = signal.output.moh.as_ref().is_some_and(|music| music.source.is_some());
        if given {
            self.music_known.store(true, Relaxed);
        }
        (given || self.music_known.load(Relaxed)) && signal.identity.to_tag.is_some()
    }

    /// `answer`
    pub fn answer(&self, signal: &Signal) -> Result<SdpReply, CommandError> {
        self.exchange(Role::Answer, signal)
    }

    fn exchange(&self, role: Role, signal: &Signal) -> Result<SdpReply, CommandError> {
        let body = signal.sdp.as_deref().ok_or(CommandError::NoSdp)?;
        let identity = &signal.identity;
        let call_id = identity.call_id.as_deref().ok_or(CommandError::NoCallId)?;
        if identity.from_tag.is_none() {
            return Err(CommandError::NoFromTag);
        }
        if role == Role::Answer && identity.to_tag.is_none() {
            return Err(CommandError::NoToTag);
        }
        let present = self.store.get(call_id);
        match (&present, role) {
            (None, Role::Answer) => return Err(CommandError::UnknownCall),
            (None, Role::Offer) => self.check_limits()?,
            _ => {}
        }
        let mut sdp = self.parse(signal, body)?;
        let own = |instance: &Option<SmolStr>| instance.as_deref() == Some(self.instance.as_str());
        if signal.flags.loop_protect && !sdp.instances.is_empty() && sdp.instances.iter().all(own) {
            return Ok(SdpReply { sdp: body.to_vec(), recordings: Vec::new() });
        }

        let desk = music_on_hold::Desk::prepare(
            &self.sources,
            present.as_ref().filter(|_| self.may_open_music(signal)),
            signal,
            &sdp,
        );
        let handle = present.clone().unwrap_or_else(|| self.fresh(call_id, signal));
        let mut call = lock(&handle);
        if call.ended {
            // Ended between the look-up and the lock.
            drop(call);
            return self.exchange(role, signal);
        }
        self.claim_signalled(&mut call);
        let mut dialogue = dialogue::resolve(&call, role, signal)?;
        offered::prepare(role, &mut dialogue);
        let Dialogue { sender, receiver, mut sender_copy, mut receiver_copy } = dialogue;
        let in_pairs = |index: usize| {
            let known = sender_copy.media.get(index).is_some_and(|media| media.security.expects_pair());
            known || signal.security.osrtp_accept_legacy
        };
        security::join_pairs(&mut sdp.media, in_pairs);
        let mut exchange = Exchange {
            config: &self.config,
            interfaces: &self.interfaces,
            pool: &self.pool,
            signal,
            sdp: &sdp,
            identity: self.identities.current(),
            next_media_number: call.next_media_number,
            own_side: OwnSide::Neither,
        };
        let order = match role {
            Role::Offer => {
                let order = offer_order(&sdp, &sender_copy);
                exchange.offer(&mut sender_copy, &mut receiver_copy, &order)?;
                order
            }
            Role::Answer => {
                let order = answer_order(&sdp, &sender_copy, &receiver_copy);
                exchange.answer(&mut sender_copy, &mut receiver_copy, &order)?;
                order
            }
        };
        let next_media_number = exchange.next_media_number;
        if let Some(wanted) = signal.network.media_echo {
            echo::apply(wanted, &mut sender_copy, &mut receiver_copy);
        }
        self.fragments.apply(call_id, &mut sender_copy);
        let music = music_on_hold::update(
            &call,
            (&mut sender_copy, &mut receiver_copy),
            role,
            signal,
            &sdp,
            (&self.config, &desk),
        )?;
        let output = Output {
            config: &self.config,
            role,
            signal,
            sdp: &sdp,
            instance: &self.instance,
            source: &sender_copy,
            order: &order,
        };
        let printed = output.print(&mut receiver_copy)?;
        sender_copy.description = Some(body.into());

        // Nothing can fail from here on.
        call.next_media_number = next_media_number;
        let mut dialogue = Dialogue { sender, receiver, sender_copy, receiver_copy };
        if role == Role::Offer {
            offered::postpone(&call, &mut dialogue);
        }
        let sender = self.settle(&mut call, role, signal, dialogue);
        recording::describe(&call);
        recording::signalled(&call, sender, mode(role), body, &printed);
        let recordings = call.recording.pcap_path().into_iter().collect();
        if present.is_none() && !self.register(&mut call, &handle) {
            drop(call);
            return self.exchange(role, signal);
        }
        self.install_for(&call, signal);
        let moves = playback::moves(&call, &self.config.audio_player);
        drop(call);
        moves.into_iter().for_each(|announcement| announcement.carry_out(&self.plane, &self.sources));
        music.into_iter().for_each(|change| change.carry_out(&self.plane));
        Ok(SdpReply { sdp: text::encode(printed), recordings })
    }

    /// Puts the outcome of an exchange into the call: the parties, and what the message says about the call as a whole. The party that
    /// sent the message.
    pub(super) fn settle(&self, call: &mut Call, role: Role, signal: &Signal, dialogue: Dialogue) -> PartyId {
        let sender = commit(call, dialogue.sender, dialogue.sender_copy);
        let receiver = commit(call, dialogue.receiver, dialogue.receiver_copy);
        associate(call, sender, receiver);
        call.last_signal = Some(SystemTime::now());
        call.delete_at = None;
        call.deleted_at = None;
        match signal.network.drop_traffic {
            Some(DropTraffic::Start) => call.drop_traffic = true,
            Some(DropTraffic::Stop) => call.drop_traffic = false,
            None => {}
        }
        self.apply_tos(call, role, signal);
        if let Some(metadata) = &signal.identity.metadata {
            call.metadata = Some(metadata.clone());
            call.party_mut(sender).metadata = Some(metadata.clone());
        }
        self.apply_recording(call, sender, receiver, role, signal);
        self.apply_dtmf(call, sender, signal);
        sender
    }

    /// Reads a description as a message of this kind has it.
    pub(super) fn parse(&self, signal: &Signal, body: &[u8]) -> Result<SessionDescription, CommandError> {
        let decoded = text::decode(body);
        let options = ParseOptions {
            reject_empty_line: self.config.reject_invalid_sdp,
            fragment: signal.flags.fragment,
        };
        parse(&decoded, options).map_err(|error| {
            tracing::warn!(call_id = signal.identity.call_id.as_deref(), %error, "SDP refused");
            if error.is_incomplete() { CommandError::IncompleteSdp } else { CommandError::ParseSdp }
        })
    }

    /// `offer` or `answer` with flag `fragment`: candidates that come after the description (RFC 8840) of who sends such a message.
    /// One that overtook its description is kept for a moment.
    pub fn take_fragment(&self, message: Message, signal: &Signal) -> Result<(), CommandError> {
        let body = signal.sdp.as_deref().ok_or(CommandError::NoSdp)?;
        let call_id = signal.identity.call_id.as_deref().ok_or(CommandError::NoCallId)?;
        let sender = match message {
            Message::Offer => signal.identity.from_tag.as_deref().ok_or(CommandError::NoFromTag)?,
            Message::Answer => signal.identity.to_tag.as_deref().ok_or(CommandError::NoToTag)?,
        };
        let fragment = self.parse(signal, body)?;
        let handle = self.store.get(call_id);
        let mut call = handle.as_ref().map(|handle| lock(handle)).filter(|call| !call.ended);
        let known = call.as_mut().and_then(|call| call.by_tag(sender).map(|party| call.party_mut(party)));
        match known {
            Some(party) => {
                fragments::apply(party, &fragment);
                if let Some(call) = &call {
                    self.install(call);
                }
            }
            None => self.fragments.keep(call_id, sender, fragment, Instant::now()),
        }
        Ok(())
    }

    /// `TOS` is for all streams of the call; an offer without it goes back to the configured value.
    fn apply_tos(&self, call: &mut Call, role: Role, signal: &Signal) {
        if role == Role::Offer {
            match signal.network.tos {
                Some(negative) if negative < 0 => {}
                wanted => call.tos = wanted.and_then(|tos| u8::try_from(tos).ok()).unwrap_or(self.config.tos),
            }
        }
        if call.tos == self.config.tos && !call.tos_set {
            return;
        }
        call.tos_set = call.tos != self.config.tos;
        self.mark_ports(call);
    }

    /// Ports of a call that was taken over have the type of service that signalling asked for.
    pub(super) fn restore_tos(&self, call: &Call) {
        if call.tos_set {
            self.mark_ports(call);
        }
    }

    fn mark_ports(&self, call: &Call) {
        for ports in
            call.parties.iter().flat_map(|party| &party.media).filter_map(|media| media.ports.current())
        {
            let alternates =
                ports.alternates.iter().flat_map(|other| [Some(&other.rtp), other.rtcp.as_ref()]);
            for port in [Some(&ports.rtp), ports.rtcp.as_ref()].into_iter().chain(alternates).flatten() {
                if let Err(error) = port.set_tos(call.tos) {
                    tracing::warn!(call_id = %call.id, %error, tos = call.tos, "cannot set the type of service");
                }
            }
        }
    }

    fn apply_recording(
        &self,
        call: &mut Call,
        sender: PartyId,
        receiver: PartyId,
        role: Role,
        signal: &Signal,
    ) {
        let options = &signal.recording;
        call.recording.note(options, signal.identity.metadata.as_deref());
        if options.recording_announcement {
            call.recording.announcement = Some(Arc::new(signal.playback.clone()));
        }
        if options.exclude {
            call.party_mut(sender).excluded_from_recording = true;
            call.party_mut(receiver).excluded_from_recording = true;
        }
        let slots = options.media_slots;
        if let (Some(slots), Role::Offer) = (slots, role) {
            let pairs = [(sender, options.media_slot_offer), (receiver, options.media_slot_answer)];
            for (party, slot) in pairs {
                let party = call.party_mut(party);
                party.recording_slots = party.recording_slots.or(slot.map(|slot| (slot, slots)));
            }
        }
        match recording::signalled_command(signal) {
            Some(command) => self.switch_recording(call, command),
            None => {
                recording::update(call);
                self.remember_announcement(call);
            }
        }
    }
}

fn mode(role: Role) -> &'static str {
    match role {
        Role::Offer => "offer",
        Role::Answer => "answer",
    }
}
