//! Offer and answer of control protocols without SDP: all that is said of a stream is where it goes.

use std::net::{IpAddr, SocketAddr};

use smol_str::SmolStr;

use super::dialogue::{self, Dialogue, Role};
use super::engine::Engine;
use super::error::CommandError;
use super::exchange::{Exchange, OwnSide};
use super::explain::Message;
use super::model::Party;
use super::store::lock;
use crate::negotiate::signal::Signal;
use crate::proto::sdp::model::{
    Attributes, Bandwidth, Connection, MediaDescription, SessionDescription, Transport,
};

/// Positions of streams that a call may have.
pub const MAX_BARE_STREAMS: usize = 64;

/// One stream of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BareStream {
    /// Which one of the parties', from 0; below [`MAX_BARE_STREAMS`].
    pub position: usize,
    /// `audio`, `video` …; empty when it was not said.
    pub media_type: SmolStr,
    /// Where the party receives; RTCP goes to the port above. Port 0 switches the stream off, an unspecified address puts it on hold.
    pub endpoint: SocketAddr,
}

impl Engine {
    /// An exchange about some streams of two parties; the others stay as they are. For each stream the address that the other
    /// party is to be told (without address while the sender holds the stream), `None` for those that are switched off. Limits on new calls do not apply.
    ///
    /// # Errors
    /// `UnknownCall` for answers, `Dialogue` and missing tags, `OutOfPorts`. The call is as it was, then.
    pub fn exchange_bare(
        &self,
        message: Message,
        signal: &Signal,
        streams: &[BareStream],
    ) -> Result<Vec<Option<SocketAddr>>, CommandError> {
        let role = match message {
            Message::Offer => Role::Offer,
            Message::Answer => Role::Answer,
        };
        let call_id = signal.identity.call_id.as_deref().ok_or(CommandError::NoCallId)?;
        let present = self.store.get(call_id);
        if present.is_none() && role == Role::Answer {
            return Err(CommandError::UnknownCall);
        }
        if streams.iter().any(|stream| stream.position >= MAX_BARE_STREAMS) {
            return Err(CommandError::IncompleteSdp);
        }
        let handle = present.clone().unwrap_or_else(|| self.fresh(call_id, signal));
        let mut call = lock(&handle);
        if call.ended {
            // Ended between the look-up and the lock.
            drop(call);
            return self.exchange_bare(message, signal, streams);
        }
        let Dialogue { sender, receiver, mut sender_copy, mut receiver_copy } =
            dialogue::resolve(&call, role, signal)?;
        let sdp = describe(streams);
        let order: Vec<usize> = streams.iter().map(|stream| stream.position).collect();
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
        for (stream, section) in streams.iter().zip(&sdp.media) {
            for party in [&mut sender_copy, &mut receiver_copy] {
                exchange.grow(party, stream.position, section);
                party.media[stream.position].index.get_or_insert(stream.position + 1);
            }
        }
        match role {
            Role::Offer => exchange.offer(&mut sender_copy, &mut receiver_copy, &order)?,
            Role::Answer => exchange.answer(&mut sender_copy, &mut receiver_copy, &order)?,
        }
        let next_media_number = exchange.next_media_number;
        let announced = streams.iter().map(|stream| announced(&receiver_copy, stream)).collect();
        call.next_media_number = next_media_number;
        self.settle(&mut call, role, signal, Dialogue { sender, receiver, sender_copy, receiver_copy });
        if present.is_none() && !self.register(&mut call, &handle) {
            drop(call);
            return self.exchange_bare(message, signal, streams);
        }
        self.install(&call);
        Ok(announced)
    }
}

/// What a party is told about one of its streams; of one that the other side holds no address.
fn announced(party: &Party, stream: &BareStream) -> Option<SocketAddr> {
    let media = party.media.get(stream.position)?;
    let port = media.ports.current()?.rtp.local.port();
    let held = Some(stream.endpoint.ip()).filter(IpAddr::is_unspecified);
    Some(SocketAddr::new(held.unwrap_or(media.attachment.as_ref()?.local.advertised), port))
}

/// The streams as a description.
fn describe(streams: &[BareStream]) -> SessionDescription {
    let section = |stream: &BareStream| MediaDescription {
        media_type: stream.media_type.clone(),
        port: stream.endpoint.port(),
        port_count: 1,
        transport: Transport::Unspecified,
        format_tokens: Vec::new(),
        formats: Vec::new(),
        information: None,
        connection: Some(Connection { address: stream.endpoint.ip() }),
        bandwidth: Bandwidth::default(),
        attributes: Attributes::default(),
        attribute_lines: Vec::new(),
        other_half: None,
    };
    SessionDescription { media: streams.iter().map(section).collect(), ..SessionDescription::default() }
}
