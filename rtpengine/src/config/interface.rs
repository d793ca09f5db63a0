//! `--interface` and the groups of `--interfaces-config`: texts → logical interfaces.

use std::net::IpAddr;

use service::address::{self, SystemInterface};
use service::options::ini::IniGroup;
use service::options::number::parse_int32;
use service::options::{OptionError, Settings};

use super::{InterfaceAlias, LocalAddress, LogicalInterface, PortExclusion};

/// All interfaces of a configuration.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Interfaces {
    pub interfaces: Vec<LogicalInterface>,
    pub aliases: Vec<InterfaceAlias>,
    pub exclusions: Vec<PortExclusion>,
}

impl Interfaces {
    /// From `interface`, then `interfaces-config`.
    pub fn from_settings(settings: &Settings, ports: (u16, u16)) -> Result<Self, OptionError> {
        let mut all = Interfaces::default();
        for spec in settings.list("interface") {
            all.add_spec(&spec)?;
        }
        if let Some(prefix) = settings.text("interfaces-config") {
            for (name, group) in settings.groups_with_prefix(&prefix) {
                all.add_group(name, group, ports)?;
            }
        }
        if all.interfaces.is_empty() {
            return Err(OptionError::invalid(
                "Cannot start without any configured interfaces (--interface or --interfaces-config)",
            ));
        }
        Ok(all)
    }

    /// `[NAME/]ADDRESS[!ADVERTISED]` or `ALIAS=NAME`.
    fn add_spec(&mut self, text: &str) -> Result<(), OptionError> {
        let invalid = |why: &str| {
            OptionError::invalid(format!(
                "Invalid interface specification: '{text}' ({why}; --interface takes [NAME/]ADDRESS[!ADVERTISED] or ALIAS=NAME)"
            ))
        };
        let spec = text.trim_start();
        let (name, rest) = match spec.find(['/', '=']) {
            Some(at) if spec.as_bytes().get(at) == Some(&b'=') => {
                return self.add_alias(&spec[..at], &spec[at + 1..]).map_err(|why| invalid(&why));
            }
            Some(at) => (&spec[..at], &spec[at + 1..]),
            None => ("default", spec),
        };
        let (address, advertised) = match rest.split_once('!') {
            Some((address, advertised)) => (address, Some(advertised)),
            None => (rest, None),
        };
        let addresses = local_addresses(address, advertised, None).map_err(|why| invalid(&why))?;
        if name.is_empty() {
            return Err(invalid("the name is empty"));
        }
        self.add(name, addresses);
        Ok(())
    }

    /// A group `PREFIX-NAME` of the config file.
    fn add_group(&mut self, suffix: &str, group: &IniGroup, global: (u16, u16)) -> Result<(), OptionError> {
        let text = |key: &str| {
            group.text(key).map_err(|_| {
                OptionError::invalid(format!(
                    "Invalid '{key}' for interface '{suffix}': unknown escape sequence"
                ))
            })
        };
        if let Some(target) = text("alias")? {
            return self.add_alias(suffix, &target).map_err(|why| {
                OptionError::invalid(format!(
                    "Invalid 'alias' in interface config section '{}': {why}",
                    group.name()
                ))
            });
        }
        let name = text("name")?.filter(|name| !name.is_empty()).unwrap_or_else(|| suffix.to_owned());
        let address = text("address")?.ok_or_else(|| {
            OptionError::invalid(format!("No 'address' given in interface config section '{}'", group.name()))
        })?;
        let mut advertised = None;
        for key in ["advertised", "advertised address", "advertised-address", "advertised_address"] {
            advertised = advertised.or(text(key)?);
        }
        let port = |key: &str, default: u16| match group.raw(key) {
            None => Ok(default),
            Some(raw) => parse_port(raw).ok_or_else(|| {
                OptionError::invalid(format!(
                    "Invalid '{key}' for interface '{name}': '{raw}' (1 to 65535 is accepted)"
                ))
            }),
        };
        let (min, max) = (port("port-min", global.0)?, port("port-max", global.1)?);
        if min > max {
            return Err(OptionError::invalid(format!(
                "Invalid RTP port range for iface '{name}': {min} to {max} (port-min must not exceed port-max)"
            )));
        }
        let ports = ((min, max) != global).then_some((min, max));
        let addresses = local_addresses(&address, advertised.as_deref(), ports).map_err(|why| {
            OptionError::invalid(format!(
                "Invalid interface specification: '{address}' ({why}; section '{}')",
                group.name()
            ))
        })?;
        let excluded = group
            .list("exclude-ports")
            .unwrap_or_else(|_| group.raw("exclude-ports").map(|raw| vec![raw.into()]));
        for raw in excluded.unwrap_or_default() {
            let port = parse_port(&raw)
                .ok_or_else(|| OptionError::invalid(format!("Invalid port in 'exclude-ports': '{raw}'")))?;
            let interface = Some(name.clone());
            let of = |local: &LocalAddress| PortExclusion {
                interface: interface.clone(),
                address: Some(local.address),
                port,
            };
            self.exclusions.extend(addresses.iter().map(of));
        }
        self.add(&name, addresses);
        Ok(())
    }

    fn add(&mut self, name: &str, addresses: Vec<LocalAddress>) {
        match self.interfaces.iter_mut().find(|interface| interface.name == name) {
            Some(interface) => interface.addresses.extend(addresses),
            None => self.interfaces.push(LogicalInterface { name: name.to_owned(), addresses }),
        }
    }

    fn add_alias(&mut self, alias: &str, target: &str) -> Result<(), String> {
        if alias.is_empty() {
            return Err("the alias is empty".into());
        }
        if !self.interfaces.iter().any(|interface| interface.name == target) {
            return Err(format!("there is no interface '{target}' before it"));
        }
        self.aliases.push(InterfaceAlias { alias: alias.to_owned(), interface: target.to_owned() });
        Ok(())
    }
}

fn parse_port(raw: &str) -> Option<u16> {
    parse_int32(raw).ok().and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0)
}

/// What an address expands to, each with the same advertised address if there is one.
fn local_addresses(
    address: &str,
    advertised: Option<&str>,
    ports: Option<(u16, u16)>,
) -> Result<Vec<LocalAddress>, String> {
    let advertised = match advertised {
        None => None,
        Some(text) => Some(resolve(text)?.first().copied().ok_or("the advertised address does not exist")?),
    };
    let addresses = match address {
        "any" => address::interface_addresses(SystemInterface::Any).map_err(|error| error.to_string())?,
        name if address::is_system_interface(name) => {
            address::interface_addresses(SystemInterface::Named(name)).map_err(|error| error.to_string())?
        }
        _ => resolve(address)?,
    };
    if addresses.is_empty() {
        return Err("it has no address, or is down".into());
    }
    if addresses.iter().chain(&advertised).any(IpAddr::is_unspecified) {
        return Err("an unspecified address cannot be used; 'any' means all".into());
    }
    let local = |address| LocalAddress { address, advertised: advertised.unwrap_or(address), ports };
    Ok(addresses.into_iter().map(local).collect())
}

/// A literal, with or without brackets, or a host name.
fn resolve(text: &str) -> Result<Vec<IpAddr>, String> {
    let literal = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    match literal.parse() {
        Ok(address) => Ok(vec![address]),
        Err(_) if text.is_empty() => Err("the address is empty".into()),
        Err(_) => address::lookup(text).map_err(|error| error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use service::options::ini::IniFile;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect(text)
    }

    fn parse(specs: &[&str]) -> Result<Interfaces, String> {
        let mut all = Interfaces::default();
        specs.iter().try_for_each(|spec| all.add_spec(spec)).map_err(|error| error.to_string())?;
        Ok(all)
    }

    #[test]
    fn specifications_have_name_address_and_advertised_address() {
        const CASES: &[(&str, &str, &str, &str)] = &[
            ("192.0.2.1", "default", "192.0.2.1", "192.0.2.1"),
            ("  192.0.2.1", "default", "192.0.2.1", "192.0.2.1"),
            ("pub/192.0.2.1", "pub", "192.0.2.1", "192.0.2.1"),
            ("pub/192.0.2.1!198.51.100.7", "pub", "192.0.2.1", "198.51.100.7"),
            ("192.0.2.1!2001:db8::1", "default", "192.0.2.1", "2001:db8::1"),
            ("2001:db8::5", "default", "2001:db8::5", "2001:db8::5"),
            ("v6/[2001:db8::5]!2001:db8::6", "v6", "2001:db8::5", "2001:db8::6"),
            ("group:one/127.0.0.1", "group:one", "127.0.0.1", "127.0.0.1"),
        ];
        for (text, name, address, advertised) in CASES {
            let all = parse(&[text]).expect(text);
            assert_eq!(all.interfaces[0].name, *name, "{text}");
            let expected = LocalAddress { address: ip(address), advertised: ip(advertised), ports: None };
            assert_eq!(all.interfaces[0].addresses, [expected], "{text}");
        }
    }

    #[test]
    fn addresses_of_one_name_are_collected_and_aliases_point_at_names() {
        let all = parse(&["a/192.0.2.1", "b/192.0.2.2", "a/2001:db8::1!2001:db8::2", "c=b"]).expect("valid");
        assert_eq!(
            all.interfaces.iter().map(|interface| interface.name.as_str()).collect::<Vec<_>>(),
            ["a", "b"]
        );
        assert_eq!(all.interfaces[0].addresses.len(), 2);
        assert_eq!(all.aliases, [InterfaceAlias { alias: "c".into(), interface: "b".into() }]);
    }

    #[test]
    fn a_system_interface_expands_to_its_addresses() {
        let all = parse(&["lo!192.0.2.9"]).expect("lo");
        assert!(all.interfaces[0].addresses.iter().any(|local| local.address == ip("127.0.0.1")));
        assert!(all.interfaces[0].addresses.iter().all(|local| local.advertised == ip("192.0.2.9")));
    }

    #[test]
    fn bad_specifications_are_named() {
        for text in [
            "",
            "a/",
            "/192.0.2.1",
            "0.0.0.0",
            "a/::",
            "a=b",
            "=a",
            "192.0.2.1!",
            "192.0.2.1!0.0.0.0",
            "a/b/c",
        ] {
            let error = parse(&[text]).expect_err(text);
            assert!(error.starts_with(&format!("Invalid interface specification: '{text}'")), "{error}");
        }
    }

    #[test]
    fn groups_define_interfaces_with_own_ports() {
        let file = IniFile::parse(
            b"[if-a]\naddress=192.0.2.1\nadvertised_address=192.0.2.9\nport-min=1000\nport-max=2000\nexclude-ports=1500;1501\n\
              [if-b]\naddress=192.0.2.1\nname=a\n[if-c]\nalias=a\naddress=broken",
        )
        .expect("file");
        let mut all = Interfaces::default();
        for (name, group) in file.groups_with_prefix("if") {
            all.add_group(name, group, (30000, 39999)).expect(name);
        }
        let local =
            |advertised, ports| LocalAddress { address: ip("192.0.2.1"), advertised: ip(advertised), ports };
        assert_eq!(all.interfaces.len(), 1);
        assert_eq!(
            all.interfaces[0].addresses,
            [local("192.0.2.9", Some((1000, 2000))), local("192.0.2.1", None)]
        );
        assert_eq!(all.exclusions.iter().map(|excluded| excluded.port).collect::<Vec<_>>(), [1500, 1501]);
        assert_eq!(all.aliases[0].alias, "c");
    }

    #[test]
    fn bad_groups_say_what_is_wrong() {
        const CASES: &[(&str, &str)] = &[
            ("x=1", "No 'address' given in interface config section 'if-x'"),
            ("address=192.0.2.1\nport-min=abc", "Invalid 'port-min' for interface 'x': 'abc'"),
            ("address=192.0.2.1\nport-max=70000", "Invalid 'port-max' for interface 'x': '70000'"),
            ("address=192.0.2.1\nport-min=9\nport-max=5", "Invalid RTP port range for iface 'x': 9 to 5"),
            ("address=192.0.2.1\nexclude-ports=5;q", "Invalid port in 'exclude-ports': 'q'"),
            ("address=0.0.0.0", "Invalid interface specification: '0.0.0.0'"),
            ("alias=nobody", "there is no interface 'nobody'"),
        ];
        for (text, part) in CASES {
            let file = IniFile::parse(format!("[if-x]\n{text}").as_bytes()).expect("file");
            let group = file.group("if-x").expect("group");
            let error = Interfaces::default().add_group("x", group, (1, 2)).expect_err(part).to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
