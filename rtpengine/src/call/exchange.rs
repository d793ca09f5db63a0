//! Offer and answer, media by media: from a received SDP to the new state of both parties.
//!
//! Works on copies of the parties; whoever calls puts them into the call when all went well.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use codec::jitter::JitterSettings;
use smol_str::SmolStr;

use super::audio_player;
use super::bundling;
use super::coding;
use super::error::CommandError;
use super::fax;
use super::interfaces::Interfaces;
use super::model::{Media, MuxAnswer, Party, Remote};
use super::pairing;
use super::ports::{Latching, PortSet};
use crate::config::{Config, EndpointLearning};
use crate::media::hold::MAX_DELAY;
use crate::media::port_pool::PortPool;
use crate::negotiate::security::{Packets, Policy, Section};
use crate::negotiate::signal::{AddressFamily, Signal, TransportOverride};
use crate::negotiate::t38::{self, Gateway, T38Parameters};
use crate::proto::dtls::Identity;
use crate::proto::sdp::model::{Direction, MediaDescription, SessionDescription, Transport};

/// What an exchange needs beside the parties.
pub struct Exchange<'a> {
    pub config: &'a Config,
    pub interfaces: &'a Interfaces,
    pub pool: &'a Arc<PortPool>,
    pub signal: &'a Signal,
    pub sdp: &'a SessionDescription,
    pub identity: Arc<Identity>,
    /// Number for the next new media of the call.
    pub next_media_number: u32,
    /// The side that is the daemon itself.
    pub own_side: OwnSide,
}

/// Which side of an exchange is only there to have one: no ports are opened for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OwnSide {
    /// Both are parties.
    #[default]
    Neither,
    Sender,
    Receiver,
}

impl Exchange<'_> {
    /// Processes an offer: `sender` gets what it said, `receiver` what it will be told. `order[i]` is the position of the media that
    /// section `i` is about.
    pub fn offer(
        &mut self,
        sender: &mut Party,
        receiver: &mut Party,
        order: &[usize],
    ) -> Result<(), CommandError> {
        let network = &self.signal.network;
        let from_interface = network.interface_from.clone().or_else(|| interface_of(sender));
        let to_interface = network.interface_to.clone().or_else(|| interface_of(receiver));
        // A medium that is new to a known party gets the family of its others.
        let known_family = receiver.media.iter().find_map(|media| media.family);
        self.group_offer(sender, receiver, order);
        for (position, media) in sender.media.iter_mut().enumerate() {
            media.absent_from_offer = !order.contains(&position);
        }
        for (described, &position) in self.sdp.media.iter().zip(order) {
            if pairing::is_removed(described, self.signal) {
                self.remove(&mut sender.media[position], &mut receiver.media[position], described)?;
                continue;
            }
            let (from, to) = (&mut sender.media[position], &mut receiver.media[position]);
            let was_fax = [from.t38.is_some(), to.t38.is_some()];
            let gateway =
                t38::gateway(described, &self.signal.t38, was_fax).filter(|_| fax::is_possible(self.signal));
            let kept = to.transport.clone();
            self.retype(from, &described.media_type);
            self.retype(to, gateway.map_or(described.media_type.as_str(), |gateway| gateway.answerer_type()));
            let former = from.remote.as_ref().map(Remote::allows);
            self.take_remote(from, described)?;
            if let Some(remote) = &mut from.remote {
                remote.until_answered = former;
            }
            agree_direction(from, to);
            take_own_family(from);
            self.transport_of_offer(from, to, described);
            fax::offer(from, to, described, gateway, self.signal, kept);
            self.keys_of_offer(from, to, described);
            self.mux_of_offer(from, to, described);
            self.own_media(from, to);
            self.learning(from);
            self.ice_of_offer(from, to, described);
            self.mask_extensions(from, described);
            match gateway {
                Some(Gateway::Decode) => coding::offer_for_fax(from, to, self.signal),
                _ => coding::offer(from, to, described, self.signal, &self.config.transcoding.preferences),
            }
            self.attach(from, from_interface.clone(), None);
            let wanted = network.address_family.filter(|_| !to.ice.is_running());
            let family = wanted.or(to.family).or(known_family).or(from.family);
            self.attach(to, to_interface.clone(), family);
            self.ports_of_offer(from, to, described)?;
        }
        bundling::share(sender);
        bundling::share(receiver);
        Ok(())
    }

    /// Processes an answer: `sender` answers, `offerer` gets the result. `order[i]` is the offerer's media that section `i` answers.
    pub fn answer(
        &mut self,
        sender: &mut Party,
        offerer: &mut Party,
        order: &[usize],
    ) -> Result<(), CommandError> {
        let interface = interface_of(sender);
        self.group_answer(sender, offerer, order);
        for (described, &position) in self.sdp.media.iter().zip(order) {
            let (from, to) = (&mut sender.media[position], &mut offerer.media[position]);
            from.media_type.clone_from(&described.media_type);
            self.take_remote(from, described)?;
            if let Some(remote) = &mut to.remote {
                remote.until_answered = None;
            }
            agree_direction(from, to);
            self.transport_of_answer(from, to, described);
            self.mux_of_answer(from, to, described);
            self.own_media(from, to);
            self.learning(from);
            self.ice_of_answer(from, to, described);
            if from.mid.is_none() {
                from.mid.clone_from(&described.attributes.mid);
            }
            match &mut from.t38 {
                Some(parameters) => {
                    let said = T38Parameters::new(&described.attributes.t38, &self.signal.t38);
                    *parameters = said.limited_as(parameters);
                    coding::answer_by_fax(from, to);
                }
                None => coding::answer(from, to, described, self.signal),
            }
            // Whose keys can be handed on depends on the codecs.
            self.keys_of_answer(from, to, described);
            let wanted = self.signal.network.address_family.filter(|_| !to.ice.is_running());
            let family = wanted.or(to.family).or(from.family);
            self.attach(from, interface.clone(), None);
            self.attach(to, None, family);
            // What the answerer was offered stays; the next offer to it takes the family of its own address.
            take_own_family(from);
            self.ports_of_answer(from, to, described)?;
        }
        bundling::share(sender);
        bundling::share(offerer);
        Ok(())
    }

    /// Makes media up to a position.
    pub(super) fn grow(&mut self, party: &mut Party, position: usize, described: &MediaDescription) {
        while party.media.len() <= position {
            party.media.push(Media::new(
                self.next_media_number,
                &described.media_type,
                std::time::SystemTime::now(),
            ));
            self.next_media_number += 1;
        }
    }

    /// A changed media type at a position replaces the media; only address, ports and what is known of them stay (fax and back).
    fn retype(&mut self, media: &mut Media, media_type: &str) {
        if media.media_type != media_type {
            let now = std::time::SystemTime::now();
            *media = Media {
                attachment: media.attachment.take(),
                family: media.family,
                ports: std::mem::take(&mut media.ports),
                streams: media.streams.clone(),
                mid: media.mid.take(),
                bundling: media.bundling,
                index: media.index,
                ..Media::new(media.number, media_type, now)
            };
        }
    }

    /// A section that the receiver does not get to see: for the sender it is a rejected one.
    fn remove(
        &mut self,
        from: &mut Media,
        to: &mut Media,
        described: &MediaDescription,
    ) -> Result<(), CommandError> {
        self.retype(from, &described.media_type);
        self.take_remote(from, described)?;
        from.received_transport = Some(described.transport.clone());
        from.transport = Some(described.transport.clone());
        from.mid.clone_from(&described.attributes.mid);
        from.ports.clear();
        to.ports.clear();
        Ok(())
    }

    fn take_remote(&self, media: &mut Media, described: &MediaDescription) -> Result<(), CommandError> {
        let rejected = described.port == 0;
        let mut address = described
            .connection_address(self.sdp)
            .or(rejected.then_some(IpAddr::from([0, 0, 0, 0])))
            .ok_or(CommandError::IncompleteSdp)?;
        let mut rtcp = described.rtcp_endpoint(self.sdp);
        let trusted = self.signal.flags.trust_address.unwrap_or(!self.config.sip_source);
        if !trusted && !self.has_ice_up_to(described) {
            address = self.signal.network.received_from.ok_or(CommandError::IncompleteSdp)?;
            rtcp = rtcp.map(|endpoint| SocketAddr::new(address, endpoint.port()));
        }
        media.signalling_host = self.signal.network.received_from;
        let rtp = SocketAddr::new(address, described.port);
        let rtcp = rtcp.unwrap_or_else(|| SocketAddr::new(address, described.port.saturating_add(1)));
        let zero_address = described.is_zero_address(self.sdp);
        let mut direction = described.direction(self.sdp);
        if zero_address {
            direction = direction.without_receiving();
        }
        let remote = Remote {
            rtp,
            rtcp,
            direction,
            until_answered: None,
            zero_address,
            rejected,
            ptime_ms: described.attributes.ptime_ms,
            maxptime_ms: described.attributes.maxptime_ms,
            extmap_without_mixed: !described.extmap(self.sdp).is_empty()
                && !described.extmap_allow_mixed(self.sdp),
            formats: described.formats.iter().map(|f| f.format.clone()).collect(),
            ssrcs: match media.bundling.is_shared() {
                true => described.ssrcs().into(),
                false => Arc::default(),
            },
            other_formats: match described.transport.is_rtp() {
                true => Vec::new(),
                false => described.format_tokens.clone(),
            },
        };
        let before = media.remote.replace(remote);
        for (stream, (old, new)) in media.streams.iter_mut().zip([
            (before.as_ref().map(|remote| remote.rtp), rtp),
            (before.as_ref().map(|remote| remote.rtcp), rtcp),
        ]) {
            if old != Some(new) && !new.ip().is_unspecified() {
                stream.restart_learning();
            }
        }
        if media.family.is_none() && !rejected {
            media.family = Some(family_of(address));
        }
        Ok(())
    }

    fn transport_of_offer(&self, from: &mut Media, to: &mut Media, described: &MediaDescription) {
        let opportunistic = Section::new(described, self.sdp).is_opportunistic();
        let changed = from.received_transport.as_ref() != Some(&described.transport)
            || from.security.is_received_opportunistic() != opportunistic;
        from.received_transport = Some(described.transport.clone());
        let before = from.transport.replace(described.transport.clone());
        if from.transport_before_offer.is_none() {
            from.transport_before_offer = before;
        }
        // Whoever is made an offer did not get an answer to its own.
        if let Some(before) = to.transport_before_offer.take() {
            to.transport = Some(before);
        }
        match self.signal.security.transport {
            Some(TransportOverride::Rtp(profile)) if described.transport.is_rtp() => {
                to.transport = Some(Transport::Rtp(profile));
                to.security.set_opportunistic(false);
            }
            _ if to.transport.is_none() || changed => {
                to.transport = Some(described.transport.clone());
                to.security.set_opportunistic(opportunistic);
            }
            _ => {}
        }
    }

    fn transport_of_answer(&self, from: &mut Media, to: &mut Media, described: &MediaDescription) {
        (from.transport_before_offer, to.transport_before_offer) = (None, None);
        from.received_transport = Some(described.transport.clone());
        from.transport = Some(described.transport.clone());
        if to.transport.is_none() || self.signal.security.transport == Some(TransportOverride::Accept) {
            to.transport = Some(described.transport.clone());
        }
    }

    fn keys_of_offer(&self, from: &mut Media, to: &mut Media, described: &MediaDescription) {
        if described.port == 0 {
            return;
        }
        let policy = Policy::new(self.signal, self.config.dtls_passive, &self.identity);
        let section = Section::new(described, self.sdp);
        from.security.receive_offer(&section, &policy);
        to.security.prepare_offer(to.rtp_profile(), Some(&section), &policy, &mut rand::rng());
    }

    fn keys_of_answer(&self, from: &mut Media, to: &mut Media, described: &MediaDescription) {
        if described.port == 0 {
            return;
        }
        let policy = Policy::new(self.signal, self.config.dtls_passive, &self.identity);
        from.security.receive_answer(&Section::new(described, self.sdp));
        let packets = if coding::passes_unchanged(from, to) && from.masked_extensions.is_empty() {
            Packets::Unchanged
        } else {
            Packets::Rewritten
        };
        let answerer = Some((&from.security, packets));
        to.security.prepare_answer(to.rtp_profile(), answerer, &policy, &mut rand::rng());
    }

    /// Multiplexing in an offer: what the receiver is offered, and how the sender will be answered.
    fn mux_of_offer(&self, from: &mut Media, to: &mut Media, described: &MediaDescription) {
        let options = self.signal.security.rtcp_mux;
        let asked = described.offers_rtcp_mux(self.sdp);
        from.rtcp_mux.requested = asked;
        from.rtcp_mux.answer = match (options.demux, options.accept, options.reject) {
            (_, _, true) => MuxAnswer::Refuse,
            (true, ..) | (_, true, _) => MuxAnswer::Accept,
            _ => MuxAnswer::AsPeer,
        };
        to.rtcp_mux.required = options.require || to.rtcp_mux.requested && to.rtcp_mux.active;
        to.rtcp_mux.offered = to.rtcp_mux.required || options.offer || asked && !options.demux;
        if to.rtcp_mux.required {
            to.rtcp_mux.active = true;
        } else if !to.rtcp_mux.offered {
            to.rtcp_mux.active = false;
        }
    }

    fn mux_of_answer(&self, from: &mut Media, to: &mut Media, described: &MediaDescription) {
        let asked = described.offers_rtcp_mux(self.sdp);
        from.rtcp_mux.requested = asked;
        from.rtcp_mux.active = asked;
        to.rtcp_mux.active = to.rtcp_mux.requested
            && match to.rtcp_mux.answer {
                MuxAnswer::AsPeer => asked,
                MuxAnswer::Accept => true,
                MuxAnswer::Refuse => false,
            };
    }

    /// `generate RTCP` and the audio player are about both sides, until they are switched off.
    fn own_media(&self, from: &mut Media, to: &mut Media) {
        if let Some(on) = self.signal.network.generate_rtcp {
            (from.generates_rtcp, to.generates_rtcp) = (on, on);
        }
        audio_player::note(self.signal, from, to);
    }

    fn learning(&self, media: &mut Media) {
        let flags = &self.signal.flags;
        media.asymmetric |= flags.asymmetric;
        media.strict_source |= flags.strict_source;
        media.media_handover |= flags.media_handover;
        media.pierce_nat |= flags.pierce_nat;
        media.nat_wait |= flags.nat_wait;
        media.block_short |= flags.block_short;
        media.unidirectional |= flags.unidirectional;
        media.hold.jitter =
            if flags.no_jitter_buffer { JitterSettings::default() } else { self.config.transcoding.jitter };
        if let Some(ms) = self.signal.network.delay_buffer_ms {
            media.hold.delay = Duration::from_millis(u64::try_from(ms).unwrap_or(0)).min(MAX_DELAY);
        }
        media.learning = if media.asymmetric {
            EndpointLearning::Off
        } else {
            self.signal.network.endpoint_learning.unwrap_or(self.config.endpoint_learning)
        };
    }

    /// Finds the local address of a media; a changed one costs it its ports.
    fn attach(&self, media: &mut Media, interface: Option<SmolStr>, family: Option<AddressFamily>) {
        let family = family.or(media.family);
        let unchanged = media.attachment.as_ref().is_some_and(|present| {
            interface.as_ref().is_none_or(|name| *name == present.interface)
                && family.is_none_or(|family| family == family_of(present.local.address))
        });
        if let Some(family) = family {
            media.family = Some(family);
        }
        if unchanged {
            return;
        }
        let name = interface.or_else(|| media.attachment.as_ref().map(|present| present.interface.clone()));
        let found = self.interfaces.attach(name.as_deref(), media.family);
        if found.as_ref().map(|a| a.local) != media.attachment.as_ref().map(|a| a.local) {
            if media.ports.current().is_some() {
                media.ice.ports_changed(&mut rand::rng());
            }
            media.ports.clear();
        }
        media.attachment = found;
    }

    fn ports_of_offer(
        &self,
        from: &mut Media,
        to: &mut Media,
        described: &MediaDescription,
    ) -> Result<(), CommandError> {
        let Some(remote) = from.remote.as_ref().filter(|remote| !remote.rejected) else {
            from.ports.clear();
            to.ports.clear();
            return Ok(());
        };
        if described.media_type == "message" {
            return Ok(());
        }
        let pairs = described.port_count;
        if self.own_side != OwnSide::Receiver && !to.is_carried() {
            self.bind(to, remote, pairs, to.rtcp_mux.required)?;
            if to.rtcp_mux.required {
                to.ports.drop_rtcp();
            }
        }
        if self.own_side == OwnSide::Sender || from.is_carried() {
            return Ok(());
        }
        from.ports.reserve(|| self.open(from.attachment.as_ref(), pairs))
    }

    fn ports_of_answer(
        &self,
        from: &mut Media,
        to: &mut Media,
        described: &MediaDescription,
    ) -> Result<(), CommandError> {
        let Some(remote) = from.remote.as_ref().filter(|remote| !remote.rejected) else {
            from.ports.clear();
            to.ports.clear();
            return Ok(());
        };
        if described.media_type == "message" {
            return Ok(());
        }
        if self.own_side != OwnSide::Receiver && !to.is_carried() {
            self.bind(to, remote, described.port_count, to.rtcp_mux.active)?;
            to.ice.introduce();
            if to.rtcp_mux.active {
                to.ports.drop_rtcp();
            }
        }
        if from.is_carried() {
            return Ok(());
        }
        if from.rtcp_mux.active {
            from.ports.drop_rtcp();
        }
        if self.own_side == OwnSide::Sender {
            return Ok(());
        }
        from.ports.reserve(|| self.open(from.attachment.as_ref(), described.port_count))
    }

    /// Gives a media that was not negotiated a pair of ports on an interface; only the first is used.
    pub fn open_single(&self, media: &mut Media, interface: Option<SmolStr>) -> Result<(), CommandError> {
        self.attach(media, interface, self.signal.network.address_family);
        media.ports.reserve(|| self.open(media.attachment.as_ref(), 1))?;
        media.ports.drop_rtcp();
        Ok(())
    }

    /// Gives a media the ports for a far endpoint. Other ports than before mean other ICE credentials, too.
    fn bind(&self, media: &mut Media, far: &Remote, pairs: u16, muxes: bool) -> Result<(), CommandError> {
        let port = |media: &Media| media.ports.current().map(|ports| ports.rtp.local);
        let before = port(media);
        let latching = self.latching(far, media);
        media.ports.bind(far.rtp, latching, || self.open(media.attachment.as_ref(), pairs))?;
        // Multiplexing may have ended; what is not RTP needs no second port.
        let local = media.attachment.as_ref().map(|attachment| attachment.local);
        if let Some(local) = local.filter(|_| !muxes && media.is_rtp())
            && !media.ports.reopen_rtcp(local, |local, port| self.pool.allocate_exactly(local, port).ok())
        {
            media.ports.clear();
            media.ports.bind(far.rtp, latching, || self.open(media.attachment.as_ref(), pairs))?;
        }
        if before.is_some() && before != port(media) {
            media.ice.ports_changed(&mut rand::rng());
        }
        self.open_alternates(media);
        Ok(())
    }

    /// Ports stay although the far endpoint is new: on request, while the far side is on hold, and where ICE finds the way.
    fn latching(&self, far: &Remote, media: &Media) -> Latching {
        let flags = &self.signal.flags;
        let keep = flags.port_latching || !far.direction.receives() || media.ice.is_active();
        if keep && !flags.no_port_latching { Latching::Keep } else { Latching::Renew }
    }

    fn open(
        &self,
        attachment: Option<&super::interfaces::Attachment>,
        pairs: u16,
    ) -> Result<PortSet, CommandError> {
        let local = attachment.ok_or(CommandError::OutOfPorts)?.local;
        let mut ports = self
            .pool
            .allocate(&local, pairs.max(1) * 2)
            .map_err(|error| {
                tracing::error!(%error, "no media ports");
                CommandError::OutOfPorts
            })?
            .into_iter();
        let rtp = ports.next().ok_or(CommandError::OutOfPorts)?;
        Ok(PortSet { rtp, rtcp: ports.next(), further: ports.collect(), alternates: Vec::new() })
    }
}

/// The side that speaks last decides for both.
fn agree_direction(from: &mut Media, to: &mut Media) {
    if let Some(remote) = &from.remote {
        from.direction = remote.direction;
        let heard = remote.direction;
        to.direction = Direction::from_parts(heard.receives(), heard.sends());
    }
}

/// A media gets the family of the address that its party gave; a zero address tells none. Running ICE has a way already, and would
/// lose it with the ports.
fn take_own_family(media: &mut Media) {
    let usable = |remote: &&Remote| !remote.rejected && !remote.zero_address;
    if let Some(remote) = media.remote.as_ref().filter(usable).filter(|_| !media.ice.is_running()) {
        media.family = Some(family_of(remote.rtp.ip()));
    }
}

/// The family of an address.
pub fn family_of(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Ip4 } else { AddressFamily::Ip6 }
}

/// The interface that a party's media are on.
fn interface_of(party: &Party) -> Option<SmolStr> {
    party.media.iter().find_map(|media| Some(media.attachment.as_ref()?.interface.clone()))
}
