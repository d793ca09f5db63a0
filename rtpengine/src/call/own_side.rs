//! Exchanges in which the daemon itself is one side: what it says there, and the stand-in that takes the place of a party.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::SystemTime;

use smol_str::{SmolStr, ToSmolStr};

use super::interfaces::Interfaces;
use super::model::Party;
use crate::negotiate::signal::{AddressFamily, Signal};
use crate::proto::sdp::model::{
    Attributes, Bandwidth, Connection, Direction, MediaDescription, MediaFormat, Origin, SessionDescription,
    Transport,
};

/// Identifiers that the daemon makes up: 64 hexadecimal digits.
pub fn random_id() -> SmolStr {
    rand::random::<[u8; 32]>().iter().map(|octet| format!("{octet:02x}")).collect()
}

/// A party without ports, for one exchange.
pub fn stand_in() -> Party {
    Party::new(SystemTime::now())
}

/// An address for descriptions of the daemon's side that nobody is shown; of the family that the other side is to get.
pub fn address(interfaces: &Interfaces, signal: &Signal) -> IpAddr {
    let network = &signal.network;
    let name = network.interface_to.as_deref().or(network.interface_from.as_deref());
    let family = network.address_family.or_else(|| {
        let local = interfaces.attach(name, None)?.local.advertised;
        Some(if local.is_ipv4() { AddressFamily::Ip4 } else { AddressFamily::Ip6 })
    });
    match family {
        Some(AddressFamily::Ip6) => Ipv6Addr::LOCALHOST.into(),
        _ => Ipv4Addr::LOCALHOST.into(),
    }
}

/// A session of the daemon's own.
pub fn session(name: &str, media: Vec<MediaDescription>) -> SessionDescription {
    SessionDescription {
        origin: Some(Origin {
            username: "-".into(),
            session_id: (rand::random::<u64>() >> 1).to_smolstr(),
            version: (rand::random::<u64>() >> 1).to_smolstr(),
            network: "IN".into(),
            family: "IP4".into(),
            address: "0.0.0.0".into(),
        }),
        session_name: Some(name.into()),
        media,
        ..SessionDescription::default()
    }
}

/// A section of the daemon's own.
pub fn section(
    media_type: &str,
    transport: Transport,
    formats: Vec<MediaFormat>,
    direction: Direction,
    address: IpAddr,
) -> MediaDescription {
    MediaDescription {
        media_type: media_type.into(),
        // Discard (RFC 863): any port that is not 0 will do.
        port: 9,
        port_count: 1,
        transport,
        format_tokens: formats.iter().map(|f| f.format.payload_type.to_smolstr()).collect(),
        formats,
        information: None,
        connection: Some(Connection { address }),
        bandwidth: Bandwidth::default(),
        attributes: Attributes { direction: Some(direction), ..Attributes::default() },
        attribute_lines: Vec::new(),
        other_half: None,
    }
}

/// The signal of a command with one interface, for a party that is the receiver of the daemon's offer.
pub fn towards_party(signal: &Signal) -> Signal {
    let mut signal = signal.clone();
    signal.network.interface_to = signal.network.interface_from.take();
    signal.flags.trust_address = Some(true);
    signal
}
