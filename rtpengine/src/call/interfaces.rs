//! Which local address a media uses: interface by name, family by signalling or by what the other side speaks.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use smol_str::SmolStr;

use crate::config::{Config, InterfaceAlias, InterfaceId, LocalAddress, LogicalInterface};
use crate::negotiate::ice::{Foundation, Foundations};
use crate::negotiate::signal::AddressFamily;

/// The local address a media is attached to, and the interface it was found on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    pub interface: SmolStr,
    pub local: LocalAddress,
    /// For ICE.
    pub foundation: Foundation,
    pub id: InterfaceId,
}

/// The interfaces of the configuration.
pub struct Interfaces {
    logical: Vec<LogicalInterface>,
    aliases: Vec<InterfaceAlias>,
    next: AtomicUsize,
    foundations: Foundations,
}

impl Interfaces {
    pub fn new(config: &Config) -> Self {
        Self {
            logical: config.interfaces.clone(),
            aliases: config.interface_aliases.clone(),
            next: AtomicUsize::new(0),
            foundations: Foundations::default(),
        }
    }

    fn named(&self, name: &str) -> Option<&LogicalInterface> {
        let alias = self.aliases.iter().find(|alias| alias.alias == name);
        let name = alias.map_or(name, |alias| alias.interface.as_str());
        self.logical.iter().find(|interface| interface.name == name)
    }

    /// The attachment for a wanted interface name and family. Unknown names mean the default interface, but
    /// `internal` and `external`, when not configured, mean a family; a family that the interface does not have is looked for
    /// on the others, and then any address serves.
    pub fn attach(&self, name: Option<&str>, family: Option<AddressFamily>) -> Option<Attachment> {
        let (interface, family) = match name {
            Some("round-robin-calls") => {
                let turn = self.next.fetch_add(1, Relaxed);
                (self.logical.get(turn % self.logical.len().max(1)), family)
            }
            Some(name) => match self.named(name) {
                Some(interface) => (Some(interface), family),
                None => {
                    tracing::info!(interface = name, "unknown interface, using the default one");
                    let meant = match name {
                        "internal" => Some(AddressFamily::Ip4),
                        "external" => Some(AddressFamily::Ip6),
                        _ => None,
                    };
                    (self.logical.first(), meant.or(family))
                }
            },
            None => (self.logical.first(), family),
        };
        let interface = interface?;
        let of_family = |interface: &LogicalInterface| {
            let local = match family {
                Some(family) => interface.addresses.iter().find(|a| is_family(a, family)),
                None => interface.addresses.first(),
            };
            local.map(|local| self.attachment(interface, local))
        };
        of_family(interface)
            .or_else(|| self.logical.iter().find_map(of_family))
            .or_else(|| Some(self.attachment(interface, interface.addresses.first()?)))
    }

    /// The other addresses of an attachment's interface, those of its family first: what ICE offers beside it.
    pub fn beside(&self, attachment: &Attachment) -> impl Iterator<Item = (LocalAddress, Foundation)> {
        let interface = self.logical.iter().find(|interface| interface.name == attachment.interface);
        let others = interface.map_or(&[][..], |interface| &interface.addresses);
        let (own, same) = (attachment.local, attachment.local.address.is_ipv4());
        let of_family =
            move |v4: bool| others.iter().filter(move |a| a.address.is_ipv4() == v4 && **a != own);
        of_family(same).chain(of_family(!same)).map(|local| (*local, self.foundations.of(local.address)))
    }

    /// The attachment to an address that is ours, or that we are known by.
    pub fn by_address(&self, address: IpAddr) -> Option<Attachment> {
        let find = |is_it: fn(&LocalAddress, IpAddr) -> bool| {
            let all = self
                .logical
                .iter()
                .flat_map(|interface| interface.addresses.iter().map(move |local| (interface, local)));
            let mut fitting = all.filter(move |(_, local)| is_it(local, address));
            fitting.next()
        };
        let found = find(|local, address| local.address == address)
            .or_else(|| find(|local, address| local.advertised == address));
        found.map(|(interface, local)| self.attachment(interface, local))
    }

    /// The interface that a local address belongs to, and its position there; of several the first one.
    pub fn locate(&self, address: IpAddr) -> Option<(&str, usize)> {
        self.logical.iter().find_map(|interface| position(interface, address))
    }

    /// The same on a certain interface.
    pub fn locate_in(&self, name: &str, address: IpAddr) -> Option<(&str, usize)> {
        self.logical
            .iter()
            .find(|interface| interface.name == name)
            .and_then(|interface| position(interface, address))
    }

    /// The address at a position of an interface.
    pub fn address(&self, name: &str, position: usize) -> Option<LocalAddress> {
        self.named(name)?.addresses.get(position).copied()
    }

    /// The attachment to that address, under a name in ICE that it had before.
    pub fn attachment_of(&self, name: &str, position: usize, foundation: Foundation) -> Option<Attachment> {
        let interface = self.named(name)?;
        let local = interface.addresses.get(position)?;
        Some(Attachment { foundation, ..self.attachment(interface, local) })
    }

    /// `local` is one of the addresses of `interface`, both in this table.
    fn attachment(&self, interface: &LogicalInterface, local: &LocalAddress) -> Attachment {
        let mut addresses = self.logical.iter().flat_map(|logical| &logical.addresses);
        let position = addresses.position(|candidate| std::ptr::eq(candidate, local));
        let id = InterfaceId(position.and_then(|position| u16::try_from(position).ok()).unwrap_or(0));
        let foundation = self.foundations.of(local.address);
        Attachment { interface: interface.name.clone().into(), local: *local, foundation, id }
    }
}

fn position(interface: &LogicalInterface, address: IpAddr) -> Option<(&str, usize)> {
    let position = interface.addresses.iter().position(|local| local.address == address)?;
    Some((&interface.name, position))
}

fn is_family(local: &LocalAddress, family: AddressFamily) -> bool {
    match family {
        AddressFamily::Ip4 => local.address.is_ipv4(),
        AddressFamily::Ip6 => local.address.is_ipv6(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interfaces() -> Interfaces {
        let address = |text: &str| LocalAddress {
            address: text.parse().expect("address"),
            advertised: text.parse().expect("address"),
            ports: None,
        };
        let mut config = Config::for_address([127, 0, 0, 1].into(), [127, 0, 0, 1].into());
        config.interfaces = vec![
            LogicalInterface { name: "priv".into(), addresses: vec![address("10.0.0.1")] },
            LogicalInterface {
                name: "pub".into(),
                addresses: vec![address("192.0.2.1"), address("2001:db8::1")],
            },
        ];
        config.interface_aliases = vec![InterfaceAlias { alias: "wan".into(), interface: "pub".into() }];
        Interfaces::new(&config)
    }

    #[test]
    fn names_and_families_choose_the_address() {
        const CASES: &[(Option<&str>, Option<AddressFamily>, &str)] = &[
            (None, None, "10.0.0.1"),
            (Some("pub"), None, "192.0.2.1"),
            (Some("wan"), None, "192.0.2.1"),
            (Some("pub"), Some(AddressFamily::Ip6), "2001:db8::1"),
            (Some("nope"), None, "10.0.0.1"),
            (Some("external"), None, "2001:db8::1"),
            (Some("priv"), Some(AddressFamily::Ip6), "2001:db8::1"),
        ];
        let interfaces = interfaces();
        for (name, family, expected) in CASES {
            let attachment = interfaces.attach(*name, *family).expect("an address");
            assert_eq!(attachment.local.address.to_string(), *expected, "{name:?} {family:?}");
        }
    }
}
