//! `publish`, `create` and `create answer`: a party exchanges descriptions with the daemon alone.

use std::time::SystemTime;

use smol_str::SmolStr;

use super::coding;
use super::dialogue::{Participant, Role};
use super::engine::{Engine, commit};
use super::error::CommandError;
use super::exchange::{Exchange, OwnSide};
use super::model::{Call, Media, Party, PartyId};
use super::output::Output;
use super::own_side::{address, random_id, section, session, stand_in, towards_party};
use super::pairing::answer_order;
use super::recording;
use super::store::{CallHandle, lock};
use crate::negotiate::codecs::{Registry, choose, propose, without_stripped};
use crate::negotiate::signal::{BundleOptions, CodecOptions, CodecSpec, DtlsMode, Signal};
use crate::proto::sdp::model::{
    Attributes, Direction, MediaDescription, MediaFormat, SessionDescription, Transport,
};
use crate::proto::sdp::text;

/// Reply of `publish` and `create`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    pub call_id: SmolStr,
    pub from_tag: SmolStr,
    pub sdp: Vec<u8>,
    pub recordings: Vec<SmolStr>,
}

impl Engine {
    /// `publish`: media offered by one party to the daemon, which answers.
    pub fn publish(&self, signal: &Signal) -> Result<Published, CommandError> {
        let body = signal.sdp.as_deref().ok_or(CommandError::NoSdp)?;
        let sdp = self.parse(signal, body)?;
        let answer = self.answer_to_publisher(signal, &sdp)?;
        let mut offer_signal = signal.clone();
        offer_signal.codecs = CodecOptions::default();
        offer_signal.security.transport = None;
        offer_signal.security.rtcp_mux.accept = true;
        // `o=` is the daemon's own.
        offer_signal.replace.origin = true;
        let mut answer_signal = offer_signal.clone();
        answer_signal.flags.trust_address = Some(true);
        self.with_party(signal, |call, publisher| {
            let mut daemon = stand_in();
            let mut exchange = self.one_sided(&offer_signal, &sdp, call, OwnSide::Receiver);
            let order: Vec<usize> = (0..sdp.media.len()).collect();
            exchange.offer(publisher, &mut daemon, &order)?;
            let mut exchange =
                Exchange { signal: &answer_signal, sdp: &answer, own_side: OwnSide::Sender, ..exchange };
            exchange.answer(&mut daemon, publisher, &order)?;
            call.next_media_number = exchange.next_media_number;
            publisher.description = Some(body.into());
            publisher.media.iter_mut().for_each(|media| coding::note_published(media, &signal.codecs));
            let printed =
                self.output(Role::Answer, &answer_signal, &answer, &daemon, &order).print(publisher)?;
            call.last_signal = Some(SystemTime::now());
            Ok(printed)
        })
    }

    /// What the daemon takes of an offer.
    fn answer_to_publisher(
        &self,
        signal: &Signal,
        sdp: &SessionDescription,
    ) -> Result<SessionDescription, CommandError> {
        let direction = if signal.flags.bidirectional { Direction::SendRecv } else { Direction::RecvOnly };
        let address = address(&self.interfaces, signal);
        let answered = |offered: &MediaDescription| {
            if offered.port == 0 {
                return Ok(MediaDescription { attributes: Attributes::default(), ..offered.clone() });
            }
            let left = without_stripped(&offered.formats, &signal.codecs);
            let formats = choose(&left, &signal.codecs, &Registry::BUILD).ok_or(CommandError::CreateSdp)?;
            let mut answer =
                section(&offered.media_type, Transport::from_name("RTP/AVP"), formats, direction, address);
            let from = &offered.attributes;
            answer.attributes = Attributes {
                mid: from.mid.clone(),
                rtcp_mux: offered.offers_rtcp_mux(sdp),
                extmap: offered.extmap(sdp).to_vec(),
                extmap_allow_mixed: offered.extmap_allow_mixed(sdp),
                ..answer.attributes
            };
            Ok(answer)
        };
        let media = sdp.media.iter().map(answered).collect::<Result<_, CommandError>>()?;
        Ok(session(&self.config.software_id, media))
    }

    /// `create`: an offer of the daemon to one party.
    pub fn create(&self, signal: &Signal) -> Result<Published, CommandError> {
        let mut towards = towards_party(signal);
        towards.codecs = CodecOptions::default();
        towards.replace.origin = true;
        // A single section has nothing to be bundled with.
        towards.security.bundle = BundleOptions::default();
        // Both ways of keying are offered, whatever the message says.
        towards.security.sdes.off = false;
        towards.security.dtls = towards.security.dtls.filter(|mode| *mode != DtlsMode::Off);
        let address = address(&self.interfaces, &towards);
        self.with_party(signal, |call, party| {
            let plain = Transport::from_name("RTP/AVP");
            let own = |media_type: &str, formats: Vec<MediaFormat>| {
                section(media_type, plain.clone(), formats, Direction::SendRecv, address)
            };
            let media = if party.media.is_empty() {
                let wanted = created_sections(signal);
                let formats = |(media_type, specs): (&str, &[CodecSpec])| {
                    own(media_type, propose(specs, media_type, &Registry::BUILD))
                };
                wanted.into_iter().map(formats).collect()
            } else {
                let present = |media: &Media| own(&media.media_type, super::coding::sent_formats(media));
                party.media.iter().map(present).collect()
            };
            let mut sdp = session(&self.config.software_id, media);
            if let Some(origin) = party.output.last_origin() {
                sdp.origin = Some(origin);
            }
            let mut daemon = stand_in();
            let order: Vec<usize> = (0..sdp.media.len()).collect();
            let mut exchange = self.one_sided(&towards, &sdp, call, OwnSide::Sender);
            exchange.offer(&mut daemon, party, &order)?;
            call.next_media_number = exchange.next_media_number;
            // Nobody has been offered anything by a party yet.
            party.media.iter_mut().for_each(|media| media.ice.forget_idle_role());
            self.output(Role::Offer, &towards, &sdp, &daemon, &order).print(party)
        })
    }

    /// `create answer`
    pub fn create_answer(&self, signal: &Signal) -> Result<(), CommandError> {
        let body = signal.sdp.as_deref().ok_or(CommandError::NoSdp)?;
        let call_id = signal.identity.call_id.as_deref().ok_or(CommandError::NoCallId)?;
        let tag = signal.identity.from_tag.as_deref().ok_or(CommandError::NoFromTag)?;
        let handle = self.store.get(call_id).ok_or(CommandError::UnknownCreatedCall)?;
        let mut call = lock(&handle);
        let party = call.by_tag(tag).ok_or(CommandError::NoSuchCreatedParty)?;
        let sdp = self.parse(signal, body)?;
        let mut copy = call.party(party).clone();
        let mut daemon = opposite(&copy);
        let order = answer_order(&sdp, &copy, &daemon);
        if order.iter().any(|&position| position >= copy.media.len()) {
            return Err(CommandError::CreateAnswer);
        }
        let mut exchange = self.one_sided(signal, &sdp, &call, OwnSide::Receiver);
        exchange.answer(&mut copy, &mut daemon, &order)?;
        call.next_media_number = exchange.next_media_number;
        copy.description = Some(body.into());
        *call.party_mut(party) = copy;
        recording::describe(&call);
        self.install_for(&call, signal);
        Ok(())
    }

    /// Runs a command of one party on a copy of it, in a call and with a tag that are made up where they are not given. The call
    /// stays as it was when the command fails.
    fn with_party(
        &self,
        signal: &Signal,
        work: impl Fn(&mut Call, &mut Party) -> Result<String, CommandError>,
    ) -> Result<Published, CommandError> {
        let identity = &signal.identity;
        let call_id = identity.call_id.clone().unwrap_or_else(random_id);
        let from_tag = identity.from_tag.clone().unwrap_or_else(random_id);
        loop {
            let present = self.store.get(&call_id);
            if present.is_none() {
                self.check_limits()?;
            }
            let handle: CallHandle = present.clone().unwrap_or_else(|| self.fresh(&call_id, signal));
            let mut call = lock(&handle);
            if call.ended {
                continue;
            }
            let party = call.by_tag(&from_tag);
            let mut copy = party.map_or_else(stand_in, |id| call.party(id).clone());
            copy.tag = copy.tag.or_else(|| Some(from_tag.clone()));
            if let Some(label) = &identity.label {
                copy.label = Some(label.clone());
            }
            copy.delete_at = None;
            let printed = work(&mut call, &mut copy).map_err(|error| match error {
                CommandError::Rewrite => CommandError::CreateSdp,
                other => other,
            })?;
            let party: PartyId =
                commit(&mut call, party.map_or(Participant::New, Participant::Existing), copy);
            call.delete_at = None;
            call.tells_connections |= signal.flags.tells_connections;
            if let Some(metadata) = &identity.metadata {
                call.metadata = Some(metadata.clone());
                call.party_mut(party).metadata = Some(metadata.clone());
            }
            self.apply_party_recording(&mut call, signal);
            if present.is_none() && !self.register(&mut call, &handle) {
                continue;
            }
            let recordings = call.recording.pcap_path().into_iter().collect();
            self.install_for(&call, signal);
            return Ok(Published {
                call_id: call_id.clone(),
                from_tag: from_tag.clone(),
                sdp: text::encode(printed),
                recordings,
            });
        }
    }

    fn apply_party_recording(&self, call: &mut Call, signal: &Signal) {
        call.recording.note(&signal.recording, signal.identity.metadata.as_deref());
        match recording::signalled_command(signal) {
            Some(command) => recording::apply(call, &self.recorder, command),
            None => recording::update(call),
        }
        recording::describe(call);
    }

    /// An exchange with the daemon on one side.
    pub(super) fn one_sided<'a>(
        &'a self,
        signal: &'a Signal,
        sdp: &'a SessionDescription,
        call: &Call,
        own_side: OwnSide,
    ) -> Exchange<'a> {
        Exchange {
            config: &self.config,
            interfaces: &self.interfaces,
            pool: &self.pool,
            signal,
            sdp,
            identity: self.identities.current(),
            next_media_number: call.next_media_number,
            own_side,
        }
    }

    pub(super) fn output<'a>(
        &'a self,
        role: Role,
        signal: &'a Signal,
        sdp: &'a SessionDescription,
        source: &'a Party,
        order: &'a [usize],
    ) -> Output<'a> {
        Output { config: &self.config, role, signal, sdp, instance: &self.instance, source, order }
    }
}

/// The daemon as the offerer to a party that answers: a media for each of the party's, sharing its negotiation.
pub(super) fn opposite(party: &Party) -> Party {
    let mut daemon = stand_in();
    for media in &party.media {
        let mut own = Media::new(media.number, &media.media_type, party.created);
        own.coding = super::coding::Coding { side: super::coding::Side::Offerer, ..media.coding.clone() };
        own.index = media.index;
        own.mid.clone_from(&media.mid);
        own.transport = Some(Transport::from_name("RTP/AVP"));
        daemon.media.push(own);
    }
    daemon
}

/// Media types and codecs that `create` asks for.
fn created_sections(signal: &Signal) -> Vec<(&str, &[CodecSpec])> {
    if signal.media.is_empty() {
        return vec![("audio", &signal.codecs.offer)];
    }
    fn section(entry: &crate::negotiate::signal::MediaEntry) -> (&str, &[CodecSpec]) {
        (entry.media_type.as_deref().unwrap_or("audio"), &entry.codecs)
    }
    signal.media.iter().map(section).collect()
}
