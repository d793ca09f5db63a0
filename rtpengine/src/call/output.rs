//! The SDP that a party gets: from the message that came in and the state of both sides.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use smol_str::{SmolStr, ToSmolStr};

use super::coding;
use super::dialogue::Role;
use super::error::CommandError;
use super::fax;
use super::interfaces::Attachment;
use super::model::{Media, Party};
use super::music_on_hold::{self, HeldParty};
use super::ports::PortSet;
use crate::config::Config;
use crate::media::port_pool::LocalPort;
use crate::negotiate::bundle::{self, Bundling, Extensions};
use crate::negotiate::ice::{self, LocalEndpoint, Passthrough, Ranking, SelectedPair, local_candidates};
use crate::negotiate::signal::Signal;
use crate::negotiate::{sdp_attr, security};
use crate::proto::sdp::model::{
    Candidate, Direction, ExtMap, Group, MediaDescription, Origin, RtcpAttribute, SessionDescription,
};
use crate::proto::sdp::render::{
    GeneratedSection, IceOut, MediaSectionOut, SectionBody, SessionOut, VerbatimSection, render,
};

/// Everything that goes into an outgoing description.
pub struct Output<'a> {
    pub config: &'a Config,
    pub role: Role,
    pub signal: &'a Signal,
    pub sdp: &'a SessionDescription,
    /// Id for `a=rtpengine:` (loop protection).
    pub instance: &'a str,
    pub source: &'a Party,
    /// For each section of `sdp` the media that it is about.
    pub order: &'a [usize],
}

impl Output<'_> {
    /// Renders what the receiver gets and remembers it there.
    ///
    /// # Errors
    /// `Rewrite` when no section at all has a port.
    pub fn print(&self, receiver: &mut Party) -> Result<String, CommandError> {
        let (media, groups) = self.sections(receiver);
        let has_port = |section: &MediaSectionOut| section.port != 0;
        if !media.iter().any(has_port) && !receiver.media.iter().any(|media| media.ports.current().is_some())
        {
            return Err(CommandError::Rewrite);
        }
        let replace = &self.signal.replace;
        let source_origin = self.sdp.origin.clone().unwrap_or_else(|| Origin {
            username: "-".into(),
            session_id: "0".into(),
            version: "0".into(),
            network: "IN".into(),
            family: "IP4".into(),
            address: "0.0.0.0".into(),
        });
        let mut session = SessionOut {
            origin: receiver.output.origin(&source_origin, advertised(receiver), replace),
            session_name: String::new().into(),
            information: self.sdp.information.clone(),
            uri: self.sdp.uri.clone(),
            email: self.sdp.email.clone(),
            phone: self.sdp.phone.clone(),
            bandwidth: self.sdp.bandwidth,
            timing: self.sdp.timing.clone(),
            instance: self.signal.flags.loop_protect.then(|| self.instance.into()),
            moh_attribute: music_on_hold::attribute(receiver, self.sdp, &self.config.music_on_hold)
                .map(SmolStr::new),
            ice_lite: speaks_lite(receiver),
            groups,
            unknown: self.unknown(&self.sdp.attributes.unknown),
            media,
        };
        let name = self.sdp.session_name.as_deref().unwrap_or_default();
        session.session_name = receiver.output.session_name(name, replace).into();
        let edits = sdp_attr::edits(&self.signal.output.sdp_attr);
        let mut text = render(&session, &edits);
        if let Some(version) = receiver.output.newer_version(&session.origin, &text, replace) {
            session.origin.version = version;
            text = render(&session, &edits);
        }
        receiver.output.settle(&session.origin, &session.session_name, &text);
        Ok(text)
    }

    /// Sections in the order of the receiver's own description.
    fn sections(&self, receiver: &Party) -> (Vec<MediaSectionOut>, Vec<Group>) {
        let mut sections = Vec::with_capacity(receiver.media.len());
        let mut positions = Vec::with_capacity(receiver.media.len());
        let held = receiver.held.clone();
        for position in receiver.shown() {
            let media = &receiver.media[position];
            let described = self.order.iter().position(|&at| at == position).map(|i| &self.sdp.media[i]);
            let source = self.source.media.get(position);
            match (described, source) {
                (Some(described), Some(source)) => {
                    let held = held.as_deref();
                    let section = self.section(described, Place { source, position, held }, media);
                    let offered = self.role == Role::Offer && media.security.is_offered_twice();
                    media.security.layout().spread(section, offered, &mut sections);
                }
                // Its offer had no such section: the number of sections stays that of the offer (RFC 3264 §6).
                (None, _) if self.role == Role::Answer && media.absent_from_offer => continue,
                // An answer left a section out, or the source never saw it: refused, for the same reason.
                (None, source) if self.role == Role::Answer || source.is_some_and(|s| s.index.is_none()) => {
                    sections.push(left_out(media));
                }
                _ => continue,
            }
            positions.push(position);
        }
        let place = |position: usize| positions.iter().position(|&at| at == position);
        for (at, &position) in positions.iter().enumerate() {
            if let Some(carrier) = receiver.media[position].bundling.carrier().and_then(place) {
                bundle::share_transport(&mut sections, carrier, at);
            }
        }
        let groups = self.groups(receiver, &sections, &positions);
        (sections, groups)
    }

    fn section(&self, described: &MediaDescription, place: Place<'_>, to: &Media) -> MediaSectionOut {
        let source = place.source;
        let is_gateway = fax::is_gateway(source, to);
        let mut section = MediaSectionOut {
            media_type: if is_gateway { to.media_type.clone() } else { described.media_type.clone() },
            port: 0,
            transport: to.transport.clone().unwrap_or_else(|| described.transport.clone()),
            format_tokens: match &to.t38 {
                _ if !is_gateway => described.format_tokens.clone(),
                Some(_) => vec!["t38".into()],
                None => coding::printed(to).iter().map(|f| f.format.payload_type.to_smolstr()).collect(),
            },
            information: described.information.clone(),
            address: unspecified(to),
            bandwidth: described.bandwidth,
            mid: if self.role == Role::Offer || to.remote.is_some() { to.mid.clone() } else { None },
            label: described.attributes.label.clone(),
            bundle_only: false,
            body: SectionBody::Rejected,
        };
        let passthrough = to.ice.passthrough();
        if (described.media_type == "message" || passthrough != Passthrough::Off) && described.port != 0 {
            section.port = described.port;
            section.transport = described.transport.clone();
            section.address = described.connection_address(self.sdp).unwrap_or(section.address);
            section.body = self.verbatim(described, source, to);
            return section;
        }
        let (Some(ports), Some(remote), Some(attachment)) =
            (to.ports.current(), source.remote.as_ref(), to.attachment.as_ref())
        else {
            return section;
        };
        if remote.rejected || (to.is_rtp() && coding::is_without_codecs(to)) {
            return section;
        }
        let shown = Shown::of(to, ports, attachment);
        section.port = shown.rtp;
        // With ICE the address has to be among the candidates, or the party would give ICE up (RFC 8839 §4.2.5).
        let hold_address = remote.zero_address && !self.signal.replace.zero_address && !to.ice.is_active()
            || place.held.is_some_and(|held| held.has_zero_address(place.position));
        section.address = match self.signal.network.media_address {
            Some(address) => address,
            None if hold_address => section.address,
            None => shown.address,
        };
        if let Some(parameters) = to.t38.filter(|_| is_gateway) {
            section.body = SectionBody::Generated(Box::new(GeneratedSection {
                unknown: parameters.attributes(),
                direction: Some(self.direction(place, to)),
                ..GeneratedSection::default()
            }));
            return section;
        }
        if !to.is_rtp() {
            section.body = self.verbatim(described, source, to);
            return section;
        }
        if self.role == Role::Offer && to.is_carried() {
            let options = self.signal.security.bundle;
            section.bundle_only = options.require || options.strict;
            if options.strict {
                section.port = 0;
            }
        }
        section.format_tokens.clear();
        section.body =
            SectionBody::Generated(Box::new(self.generated(described, place, to, section.address)));
        section
    }

    fn generated(
        &self,
        described: &MediaDescription,
        place: Place<'_>,
        to: &Media,
        address: IpAddr,
    ) -> GeneratedSection {
        let source = place.source;
        let flags = &self.signal.flags;
        let attributes = &described.attributes;
        let shown = to.ports.current().zip(to.attachment.as_ref());
        let (rtcp_port, muxed) = match (shown.map(|(ports, first)| Shown::of(to, ports, first)), self.role) {
            (Some(Shown { rtp, rtcp, .. }), role) => {
                let single = match role {
                    Role::Offer => to.rtcp_mux.required,
                    Role::Answer => to.rtcp_mux.active,
                };
                let second = rtcp.unwrap_or(rtp);
                let muxed = if role == Role::Offer { to.rtcp_mux.offered } else { to.rtcp_mux.active };
                (if single { rtp } else { second }, muxed)
            }
            (None, _) => (0, false),
        };
        let keys = to.security.lines(!flags.no_tls_id);
        GeneratedSection {
            formats: coding::printed(to),
            extmap_allow_mixed: !to.remote.as_ref().is_some_and(|remote| remote.extmap_without_mixed),
            extmap: self.extmap(described, source, to),
            unknown: self.unknown(if flags.original_sendrecv {
                &attributes.unknown_with_direction
            } else {
                &attributes.unknown
            }),
            direction: (!flags.original_sendrecv).then(|| self.direction(place, to)),
            rtcp: (!flags.no_rtcp_attribute).then_some(RtcpAttribute {
                port: rtcp_port,
                address: flags.full_rtcp_attribute.then_some(address),
            }),
            rtcp_mux: muxed,
            crypto: keys.crypto,
            key_style: security::key_style(&self.signal.security),
            setup: keys.setup,
            fingerprint: keys.fingerprint,
            tls_id: keys.tls_id,
            ptime_ms: coding::printed_ptime(to),
            maxptime_ms: attributes.maxptime_ms,
            ice: self.ice(to),
        }
    }

    /// What the source said, unless there is music on hold.
    fn direction(&self, place: Place<'_>, to: &Media) -> Direction {
        let Place { source, position, held } = place;
        let direction_of =
            |media: &Media| media.remote.as_ref().map_or(Direction::SendRecv, |remote| remote.direction);
        let heard = held.and_then(|held| held.direction(position));
        let answered = || self.source.held.as_ref()?.answered_direction(position, direction_of(to));
        heard.or_else(answered).unwrap_or_else(|| direction_of(source))
    }

    /// A section as it came. Beside the agent of whoever is at the other end stand our candidates.
    fn verbatim(&self, described: &MediaDescription, source: &Media, to: &Media) -> SectionBody {
        let ranking = match to.ice.passthrough() {
            Passthrough::Off => Ranking::Sole,
            Passthrough::Optional => Ranking::Below(&described.attributes.candidates),
            Passthrough::Relay => Ranking::Relay,
        };
        let candidates = match source.ice.remote() {
            Some(_) => local_candidates(&self.endpoints(to, Addresses::First), ranking),
            None => Vec::new(),
        };
        SectionBody::Verbatim(VerbatimSection {
            attribute_lines: described.attribute_lines.clone(),
            candidates,
        })
    }

    fn ice(&self, to: &Media) -> Option<IceOut> {
        if !to.ice.is_active() || to.is_carried() {
            return None;
        }
        let half = match self.role {
            Role::Offer => ice::Half::Offer(self.signal),
            Role::Answer => ice::Half::Answer,
        };
        let mut candidates = local_candidates(&self.endpoints(to, Addresses::All), Ranking::Sole);
        self.keep_selected(to, &mut candidates);
        to.ice.print(half, candidates)
    }

    /// Once the agents have selected a pair for each component, these are the only candidates.
    fn keep_selected(&self, to: &Media, candidates: &mut Vec<Candidate>) {
        let (Some(ports), Some(attachment)) = (to.ports.current(), to.attachment.as_ref()) else { return };
        let advertised = |pair: SelectedPair| {
            let local = pair.local.ip();
            let alternate = ports.alternates.iter().find(|alternate| alternate.local.address == local);
            let first = self.signal.network.media_address.unwrap_or(attachment.local.advertised);
            (alternate.map_or(first, |alternate| alternate.local.advertised), pair.local.port())
        };
        let selected = to.ice.selected().map(|pair| pair.map(advertised));
        let of = |candidate: &Candidate| selected.get((candidate.component as usize).wrapping_sub(1));
        let is_complete = candidates.iter().all(|candidate| matches!(of(candidate), Some(Some(_))));
        if !is_complete {
            return;
        }
        candidates.retain(|candidate| {
            let address = candidate.address.parse::<IpAddr>().ok().map(|address| (address, candidate.port));
            of(candidate).is_some_and(|selected| *selected == address)
        });
    }

    /// The ports of a media as candidates. `media-address` stands for one address only.
    fn endpoints(&self, to: &Media, addresses: Addresses) -> Vec<LocalEndpoint> {
        let (Some(ports), Some(attachment)) = (to.ports.current(), to.attachment.as_ref()) else {
            return Vec::new();
        };
        let single = match self.role {
            Role::Offer => to.rtcp_mux.required,
            Role::Answer => to.rtcp_mux.active,
        };
        let port =
            |port: &Option<Arc<LocalPort>>| port.as_ref().filter(|_| !single).map(|port| port.local.port());
        let media_address = self.signal.network.media_address;
        let first = LocalEndpoint {
            foundation: attachment.foundation,
            address: media_address.unwrap_or(attachment.local.advertised),
            rtp: ports.rtp.local.port(),
            rtcp: port(&ports.rtcp),
        };
        let alternates = match (addresses, media_address) {
            (Addresses::All, None) => ports.alternates.as_slice(),
            _ => &[],
        };
        let further = alternates.iter().map(|alternate| LocalEndpoint {
            foundation: alternate.foundation,
            address: alternate.local.advertised,
            rtp: alternate.rtp.local.port(),
            rtcp: port(&alternate.rtcp),
        });
        std::iter::once(first).chain(further).collect()
    }

    fn extmap(&self, described: &MediaDescription, source: &Media, to: &Media) -> Vec<ExtMap> {
        let extensions = Extensions { source: described.extmap(self.sdp), options: &self.signal.output };
        match self.role {
            Role::Offer => extensions.offered(&to.bundling),
            Role::Answer => extensions.answered(&to.masked_extensions, &source.bundling, &to.bundling),
        }
    }

    /// The groups of the receiver; those of the source where everything is handed on to a relayed agent.
    fn groups(&self, receiver: &Party, sections: &[MediaSectionOut], positions: &[usize]) -> Vec<Group> {
        if receiver.media.iter().any(|media| media.ice.passthrough() == Passthrough::Relay) {
            return self.sdp.groups.clone();
        }
        if !receiver.media.iter().any(|media| media.bundling.is_grouped()) {
            return Vec::new();
        }
        let usable =
            sections.iter().zip(positions).filter(|(section, _)| section.body != SectionBody::Rejected);
        let members: Vec<(usize, Bundling, &str)> = usable
            .filter_map(|(section, &at)| Some((at, receiver.media[at].bundling, section.mid.as_deref()?)))
            .collect();
        bundle::groups(&members)
    }

    fn unknown(&self, attributes: &[SmolStr]) -> Vec<SmolStr> {
        let consumed = self.config.music_on_hold.attribute.as_deref();
        attributes.iter().filter(|line| Some(line.as_str()) != consumed).cloned().collect()
    }
}

/// What a section comes from.
#[derive(Clone, Copy)]
struct Place<'a> {
    source: &'a Media,
    position: usize,
    /// The receiver hears music.
    held: Option<&'a HeldParty>,
}

/// Address and ports that a media is shown with.
struct Shown {
    address: IpAddr,
    rtp: u16,
    rtcp: Option<u16>,
}

impl Shown {
    /// Those that ICE has selected, else those of the first address.
    fn of(media: &Media, ports: &PortSet, first: &Attachment) -> Self {
        let port = |port: &Option<Arc<LocalPort>>| port.as_ref().map(|port| port.local.port());
        let alternate = media.ice.selected()[0].and_then(|pair| {
            ports.alternates.iter().find(|alternate| alternate.local.address == pair.local.ip())
        });
        match alternate {
            Some(other) => {
                Self { address: other.local.advertised, rtp: other.rtp.local.port(), rtcp: port(&other.rtcp) }
            }
            None => {
                Self { address: first.local.advertised, rtp: ports.rtp.local.port(), rtcp: port(&ports.rtcp) }
            }
        }
    }
}

/// Which local addresses are offered as candidates.
#[derive(Clone, Copy)]
enum Addresses {
    All,
    /// The one in `c=`.
    First,
}

/// We are a lite agent towards the party: decided by its first usable media.
fn speaks_lite(party: &Party) -> bool {
    let usable = party.media.iter().find(|media| media.ports.current().is_some());
    usable.is_some_and(|media| media.ice.is_active() && media.ice.is_lite())
}

/// Family and address for `o=`: those of the first usable media.
fn advertised(party: &Party) -> Option<(&'static str, SmolStr)> {
    let usable = party.media.iter().find(|media| media.ports.current().is_some())?;
    let address = usable.attachment.as_ref()?.local.advertised;
    Some((if address.is_ipv4() { "IP4" } else { "IP6" }, address.to_smolstr()))
}

fn unspecified(media: &Media) -> IpAddr {
    match &media.attachment {
        Some(attachment) if attachment.local.address.is_ipv6() => Ipv6Addr::UNSPECIFIED.into(),
        _ => Ipv4Addr::UNSPECIFIED.into(),
    }
}

fn left_out(media: &Media) -> MediaSectionOut {
    let formats = media.remote.as_ref().map_or_else(Vec::new, |remote| {
        let rtp = remote.formats.iter().map(|format| format.payload_type.to_smolstr());
        rtp.chain(remote.other_formats.iter().cloned()).collect()
    });
    MediaSectionOut {
        media_type: media.media_type.clone(),
        port: 0,
        transport: media
            .transport
            .clone()
            .unwrap_or_else(|| crate::proto::sdp::model::Transport::from_name("RTP/AVP")),
        format_tokens: formats,
        information: None,
        address: unspecified(media),
        bandwidth: Default::default(),
        mid: media.mid.clone(),
        label: None,
        bundle_only: false,
        body: SectionBody::Rejected,
    }
}
