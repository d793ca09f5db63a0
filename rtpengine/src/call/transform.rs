//! `transform`: media that arrive on a port are converted and sent on, without any negotiation.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::SystemTime;

use codec::graph::TranscodePlan;
use codec::{EncoderOptions, PayloadFormat};
use smol_str::SmolStr;

use super::coding::{Negotiated, Side};
use super::engine::Engine;
use super::error::CommandError;
use super::exchange::OwnSide;
use super::model::{Call, Media, Party, PartyId, Remote};
use super::own_side::random_id;
use super::store::lock;
use super::subscription::{MediaRef, Purpose, Subscription};
use crate::config::EndpointLearning;
use crate::negotiate::codecs::{Handler, PayloadHandler, Registry};
use crate::negotiate::signal::{
    AddressFamily, CodecTransform, Destination, MediaEntry, PayloadTypeEntry, Signal,
};
use crate::proto::sdp::model::{Direction, SessionDescription, Transport};

/// Reply of `transform`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transformed {
    pub call_id: SmolStr,
    pub from_tag: SmolStr,
    /// Where to send what is to be converted.
    pub media: Vec<TransformPort>,
}

/// The port of one media.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransformPort {
    pub id: SmolStr,
    pub address: SocketAddr,
}

impl Engine {
    /// `transform`
    pub fn transform(&self, signal: &Signal) -> Result<Transformed, CommandError> {
        let identity = &signal.identity;
        if identity.instance.as_deref() == Some(self.instance.as_str()) {
            return Err(CommandError::TransformLoop);
        }
        let call_id = identity.call_id.clone().unwrap_or_else(random_id);
        let from_tag = identity.from_tag.clone().unwrap_or_else(random_id);
        if signal.media.is_empty() {
            return Ok(Transformed {
                call_id: call_id.clone(),
                from_tag: from_tag.clone(),
                media: Vec::new(),
            });
        }
        loop {
            let present = self.store.get(&call_id);
            if present.is_none() {
                self.check_limits()?;
            }
            let handle = present.clone().unwrap_or_else(|| self.fresh(&call_id, signal));
            let mut call = lock(&handle);
            if call.ended {
                continue;
            }
            let made = self.transforming_party(&call, signal, &from_tag)?;
            let ports = made.ports(signal)?;
            let party = match call.by_tag(&from_tag) {
                Some(id) => id,
                None => {
                    call.parties.push(Party::new(SystemTime::now()));
                    PartyId(call.parties.len() - 1)
                }
            };
            call.next_media_number += made.party.media.len() as u32;
            *call.party_mut(party) = made.party;
            call.subscriptions.retain(|s| s.source.party != party || s.sink.party != party);
            for (position, negotiated) in made.conversions.into_iter().enumerate() {
                let at = MediaRef { party, position };
                call.subscribe(Subscription {
                    source: at,
                    sink: at,
                    purpose: Purpose::Subscribe,
                    side: Side::Offerer,
                    negotiated: Arc::new(negotiated),
                    mirrors_rtcp: false,
                });
            }
            if present.is_none() && !self.register(&mut call, &handle) {
                continue;
            }
            self.install_for(&call, signal);
            return Ok(Transformed { call_id: call_id.clone(), from_tag: from_tag.clone(), media: ports });
        }
    }

    fn transforming_party(&self, call: &Call, signal: &Signal, tag: &str) -> Result<Made, CommandError> {
        let mut party = Party::new(SystemTime::now());
        party.tag = Some(tag.into());
        let mut conversions = Vec::with_capacity(signal.media.len());
        let nothing = SessionDescription::default();
        let exchange = self.one_sided(signal, &nothing, call, OwnSide::Sender);
        for (index, entry) in signal.media.iter().enumerate() {
            let destination = entry.destination.as_ref().ok_or(CommandError::Transform)?;
            let peer = endpoint(destination).ok_or(CommandError::Transform)?;
            let media_type = entry.media_type.as_deref().unwrap_or("audio");
            let number = call.next_media_number + index as u32;
            let mut media = Media::new(number, media_type, party.created);
            media.index = Some(index + 1);
            media.transport = Some(Transport::from_name("RTP/AVP"));
            media.received_transport.clone_from(&media.transport);
            media.rtcp_mux.active = true;
            // What is converted goes where it was said to go, wherever it comes from.
            media.learning = EndpointLearning::Off;
            media.remote = Some(remote(peer, entry));
            exchange.open_single(&mut media, signal.network.interface_from.clone())?;
            party.media.push(media);
            conversions.push(Negotiated::fixed(handlers(&entry.transforms)?));
        }
        Ok(Made { party, conversions })
    }
}

/// A party and what its media become.
struct Made {
    party: Party,
    conversions: Vec<Negotiated>,
}

impl Made {
    fn ports(&self, signal: &Signal) -> Result<Vec<TransformPort>, CommandError> {
        let port = |(index, (media, entry)): (usize, (&Media, &MediaEntry))| {
            let local = media.ports.current().ok_or(CommandError::OutOfPorts)?.rtp.local;
            // As recorded: numbers where the client gave no names, and nothing where it did; media come in its order.
            let id = if entry.id.is_some() { String::new() } else { index.to_string() };
            Ok(TransformPort { id: id.into(), address: local })
        };
        self.party.media.iter().zip(&signal.media).enumerate().map(port).collect()
    }
}

/// An address that cannot be read is accepted: nothing is sent then.
fn endpoint(destination: &Destination) -> Option<SocketAddr> {
    let family = destination.family?;
    let text = destination.address.as_deref().unwrap_or_default();
    let address = text.parse().unwrap_or(match family {
        AddressFamily::Ip4 => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        AddressFamily::Ip6 => IpAddr::from(Ipv6Addr::UNSPECIFIED),
    });
    Some(SocketAddr::new(address, destination.port.unwrap_or(0)))
}

fn remote(peer: SocketAddr, entry: &MediaEntry) -> Remote {
    Remote {
        rtp: peer,
        rtcp: peer,
        direction: Direction::SendRecv,
        until_answered: None,
        zero_address: false,
        rejected: false,
        ptime_ms: None,
        maxptime_ms: None,
        extmap_without_mixed: false,
        ssrcs: Arc::default(),
        other_formats: Vec::new(),
        formats: entry.transforms.iter().filter_map(|pair| format(&pair.input)).collect(),
    }
}

fn handlers(pairs: &[CodecTransform]) -> Result<Vec<PayloadHandler>, CommandError> {
    pairs.iter().map(handler).collect()
}

fn handler(pair: &CodecTransform) -> Result<PayloadHandler, CommandError> {
    let registry = &Registry::BUILD;
    let input = format(&pair.input).ok_or(CommandError::Transform)?;
    let output = format(&pair.output).ok_or(CommandError::Transform)?;
    let handler = if input.same_codec(&output) && input.fmtp == output.fmtp {
        let differs = input.payload_type != output.payload_type;
        Handler::Pass { payload_type: differs.then_some(output.payload_type) }
    } else if registry.decodes(&input) && registry.encodes(&output) {
        let options = EncoderOptions {
            options: pair.output.options.clone().unwrap_or_default().to_string(),
            ..EncoderOptions::default()
        };
        Handler::Transcode(TranscodePlan::new(input.clone(), output, options))
    } else {
        return Err(CommandError::Transform);
    };
    Ok(PayloadHandler { payload_type: input.payload_type, handler })
}

/// `None` without a codec or with one that is not known and not described.
fn format(entry: &PayloadTypeEntry) -> Option<PayloadFormat> {
    let name = entry.codec.clone()?;
    let def = codec::def::by_name(&name);
    let payload_type = entry.payload_type.or_else(|| def?.static_payload_type)?;
    let clock_rate = entry.clock_rate.or_else(|| Some(def?.clock_rate))?;
    let channels = entry.channels.or_else(|| Some(def?.channels.max(1))).unwrap_or(1);
    let fmtp = entry.format.clone().unwrap_or_default();
    Some(PayloadFormat { payload_type, name: name.into(), clock_rate, channels, fmtp })
}
