//! The dictionaries of a media section and its streams.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::super::model::{Media, PartyId};
use super::super::ports::PortSet;
use super::NONE;
use super::counters;
use super::fields::{Put, list};
use super::resume;
use super::state::{self, AlternateState, MediaState, PortsState, SetState};
use super::write::{Numbers, Writer};
use crate::media::plan::{SrtpProgress, StreamId};
use crate::negotiate::security::StoredSecurity;
use crate::negotiate::signal::AddressFamily;
use crate::proto::sdp::model::FingerprintHash;
use crate::proto::value::{Dict, Value};

/// `IP4` or `IP6`.
pub(super) fn family(media: &Media) -> &'static str {
    let attached = media.attachment.as_ref().map(|attachment| attachment.local.address.is_ipv4());
    match (attached, media.family) {
        (Some(false), _) | (None, Some(AddressFamily::Ip6)) => "IP6",
        _ => "IP4",
    }
}

impl Writer<'_> {
    /// `media-N` and what belongs to it, and the streams that it has first.
    pub(super) fn media<'c>(
        &self,
        dict: &mut Dict,
        numbers: &mut Numbers<'c>,
        (party, media, number): (PartyId, &'c Media, usize),
        progress: &[(StreamId, SrtpProgress)],
        maps: &mut usize,
    ) {
        let remote = media.remote.as_ref();
        let interface = media.attachment.as_ref().map(|attachment| attachment.interface.as_str());
        let mut own = Dict::with_capacity(16);
        let formats = remote.map_or(&[][..], |remote| &remote.formats);
        let mut format_str = String::new();
        for format in formats {
            let _ =
                write!(format_str, "{}{}", if format_str.is_empty() { "" } else { " " }, format.payload_type);
        }
        own.text("tag", party.0)
            .text("index", media.index.unwrap_or_default())
            .text("type", &media.media_type)
            .text("format_str", format_str)
            .optional("media_id", media.mid.as_ref())
            .text("protocol", media.transport.as_ref().map(ToString::to_string).unwrap_or_default())
            .text("desired_family", family(media))
            .text("logical_intf", interface.unwrap_or_default())
            .text("ptime", remote.and_then(|remote| remote.ptime_ms).unwrap_or_default())
            .text("maxptime", remote.and_then(|remote| remote.maxptime_ms).unwrap_or_default())
            .text("media_flags", 0);
        let mut identities = Vec::new();
        let security = StoredSecurity::new(&media.security, &mut |identity| {
            identities.push(Arc::clone(identity));
            identity.certificate().fingerprint(FingerprintHash::Sha256).clone()
        });
        identities.iter().for_each(|identity| numbers.identity(identity));
        let first_map = *maps;
        let ports = self.ports(dict, numbers, media, maps);
        let streams = self.streams(dict, numbers, (media, number), progress);
        let attachment = media.attachment.as_ref().and_then(|attachment| {
            let (_, address) = self.interfaces.locate_in(&attachment.interface, attachment.local.address)?;
            Some((attachment.interface.clone(), address, attachment.foundation))
        });
        let state = StateOf { media, security: &security, ports: &ports, streams, attachment };
        own.push("state", state::text(&state));
        dict.push(format!("media-{number}"), own);
        dict.push(format!("streams-{number}"), list(streams));
        dict.push(format!("maps-{number}"), list(first_map..*maps));
        let payload_types = formats.iter().map(|format| {
            let channels = if format.channels > 1 { format.channels.to_string() } else { String::new() };
            let ptime = remote.and_then(|remote| remote.ptime_ms).unwrap_or_default();
            let (pt, name, clock, fmtp) =
                (format.payload_type, &format.name, format.clock_rate, &format.fmtp);
            format!("{pt}/{name}/{clock}/{channels}/0/{ptime}/{fmtp}/")
        });
        dict.push(format!("payload_types-{number}"), list(payload_types));
        dict.push(format!("ssrc_table-{number}"), ssrc_table(media, progress));
    }

    /// `map-N` for each port set.
    fn ports<'c>(
        &self,
        dict: &mut Dict,
        numbers: &mut Numbers<'c>,
        media: &'c Media,
        maps: &mut usize,
    ) -> PortsState {
        let mut sets = Vec::new();
        for (far, set) in media.ports.sets() {
            let mut own = Dict::with_capacity(5);
            let address = self.interfaces.locate(set.rtp.local.ip());
            own.flag("wildcard", far.is_none())
                .text("num_ports", 1 + usize::from(set.rtcp.is_some()) + set.further.len())
                .text("intf_preferred_family", family(media))
                .text("logical_intf", address.map_or("", |(interface, _)| interface))
                .optional("endpoint", far);
            dict.push(format!("map-{maps}"), own);
            let state = self.set(numbers, far, set);
            let mut sockets = vec![format!("loc-{}", address.map_or(0, |(_, address)| address))];
            let own = [state.rtp].into_iter().chain(state.rtcp).chain(state.further.iter().copied());
            sockets.extend(own.map(|number| number.to_string()));
            for alternate in &state.alternates {
                sockets.push(format!("loc-{}", alternate.address));
                sockets.extend([alternate.rtp].into_iter().chain(alternate.rtcp).map(|n| n.to_string()));
            }
            dict.push(format!("map_sfds-{maps}"), list(sockets));
            sets.push(state);
            *maps += 1;
        }
        PortsState { sets, current: media.ports.current_index(), former: media.ports.former_index() }
    }

    fn set<'c>(
        &self,
        numbers: &mut Numbers<'c>,
        far: Option<std::net::SocketAddr>,
        set: &'c PortSet,
    ) -> SetState {
        let alternates = set.alternates.iter().map(|alternate| {
            let (interface, address) = self.interfaces.locate(alternate.local.address).unwrap_or(("", 0));
            AlternateState {
                interface: interface.into(),
                address,
                foundation: alternate.foundation,
                rtp: numbers.socket(&alternate.rtp),
                rtcp: alternate.rtcp.as_ref().map(|rtcp| numbers.socket(rtcp)),
            }
        });
        let alternates = alternates.collect();
        SetState {
            far,
            rtp: numbers.socket(&set.rtp),
            rtcp: set.rtcp.as_ref().map(|rtcp| numbers.socket(rtcp)),
            further: set.further.iter().map(|port| numbers.socket(port)).collect(),
            alternates,
        }
    }

    /// `stream-N` of both components, unless a section that they are shared with had them before.
    fn streams<'c>(
        &self,
        dict: &mut Dict,
        numbers: &mut Numbers<'c>,
        (media, number): (&'c Media, usize),
        progress: &[(StreamId, SrtpProgress)],
    ) -> [usize; 2] {
        let ports = media.ports.current();
        let remote = media.remote.as_ref();
        let ids = media.streams.each_ref().map(|stream| numbers.stream(stream.id));
        let components = [
            (ports.map(|ports| &ports.rtp), remote.map(|remote| remote.rtp)),
            (ports.and_then(|ports| ports.rtcp.as_ref()), remote.map(|remote| remote.rtcp)),
        ];
        for (component, (socket, signalled)) in components.into_iter().enumerate() {
            let (own_number, is_new) = ids[component];
            if !is_new {
                continue;
            }
            let stream = &media.streams[component];
            let shared = &stream.shared;
            let socket = socket.map(|socket| numbers.socket(socket));
            let sibling = if component == 0 { ids[1].0.to_string() } else { NONE.into() };
            let mut own = Dict::with_capacity(24);
            own.text("media", number)
                .text("sfd", socket.map_or(NONE.into(), |number| number.to_string()))
                .text("rtcp_sibling", sibling)
                .text("ps_flags", 0)
                .text("component", component + 1)
                .optional("endpoint", stream.learned.or(signalled))
                .optional("advertised_endpoint", signalled)
                .flag("confirmed", shared.confirmed.load(Relaxed) != 0)
                .flag("learned", stream.learned.is_some())
                .text("learning_epoch", stream.learning_epoch)
                .text("since", stream.since_us);
            counters::write(&mut own, shared);
            if let Some((_, progress)) = progress.iter().find(|(id, _)| *id == stream.id) {
                resume::write(&mut own, progress);
            } else if let Some(progress) = &stream.resumed {
                resume::write(&mut own, progress);
            }
            dict.push(format!("stream-{own_number}"), own);
            dict.push(format!("stream_sfds-{own_number}"), list(socket));
        }
        ids.map(|(number, _)| number)
    }
}

/// [`MediaState`] without copies.
#[derive(serde::Serialize)]
struct StateOf<'c> {
    media: &'c Media,
    security: &'c StoredSecurity,
    ports: &'c PortsState,
    streams: [usize; 2],
    attachment: Option<(smol_str::SmolStr, usize, crate::negotiate::ice::Foundation)>,
}

/// SSRCs that came in, with their SRTP indices where there are keys.
fn ssrc_table(media: &Media, progress: &[(StreamId, SrtpProgress)]) -> Value {
    let stream = &media.streams[0];
    let keys = progress.iter().find(|(id, _)| *id == stream.id).map(|(_, progress)| progress);
    let index =
        |table: &[(u32, u64)], ssrc: u32| table.iter().find(|(s, _)| *s == ssrc).map(|(_, index)| *index);
    let entries = stream.shared.ingress_ssrc.iter().filter_map(|entry| {
        let ssrc = entry.ssrc.load(Relaxed);
        if entry.packets.get() == 0 {
            return None;
        }
        let mut own = Dict::with_capacity(4);
        let rtp = keys.and_then(|keys| index(&keys.received, ssrc));
        let rtcp = keys.and_then(|keys| index(&keys.received_rtcp, ssrc));
        own.text("ssrc", ssrc)
            .text("in_srtp_index", rtp.unwrap_or_else(|| entry.last_sequence.get()))
            .text("in_srtcp_index", rtcp.unwrap_or_default())
            .text("in_payload_type", entry.payload_type.load(Relaxed));
        Some(Value::Dict(own))
    });
    Value::List(entries.collect())
}

impl MediaState {
    /// Numbers of sockets that it refers to.
    pub(super) fn sockets(&self) -> impl Iterator<Item = usize> {
        self.ports.sets.iter().flat_map(|set| {
            let alternates = set.alternates.iter().flat_map(|a| [Some(a.rtp), a.rtcp]).flatten();
            [Some(set.rtp), set.rtcp]
                .into_iter()
                .flatten()
                .chain(set.further.iter().copied())
                .chain(alternates)
        })
    }
}
