//! Options of the lrkproxy protocol.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use service::address;
use service::options::{OptionError, Settings};

use super::LogicalInterface;

/// `listen-lrkp` and `lrkp-*` options.
#[derive(Clone, Debug, PartialEq)]
pub struct LrkpConfig {
    /// UDP.
    pub listen: Vec<SocketAddr>,
    /// UNIX stream sockets.
    pub sockets: Vec<PathBuf>,
    /// What the proxy is told to choose from, both inclusive.
    pub ports: (u16, u16),
    /// Other ports are refused.
    pub strict_ports: bool,
    /// What the proxy is told as the internal address.
    pub internal: Ipv4Addr,
    /// … as the external one.
    pub external: Ipv4Addr,
}

impl Default for LrkpConfig {
    /// No listeners.
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            sockets: Vec::new(),
            ports: (20_000, 29_998),
            strict_ports: false,
            internal: Ipv4Addr::UNSPECIFIED,
            external: Ipv4Addr::UNSPECIFIED,
        }
    }
}

impl LrkpConfig {
    /// Somebody may come.
    pub fn is_on(&self) -> bool {
        !self.listen.is_empty() || !self.sockets.is_empty()
    }

    /// From the options; `media` is the range of the daemon's own ports.
    pub(super) fn from_settings(
        settings: &Settings,
        interfaces: &[LogicalInterface],
        media: (u16, u16),
    ) -> Result<Self, OptionError> {
        let mut config = Self::default();
        for text in settings.list("listen-lrkp") {
            if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
                config.sockets.push(path.into());
                continue;
            }
            let address = text.strip_prefix("udp:").unwrap_or(&text);
            config.listen.extend(address::resolve_listen(address).map_err(|error| {
                OptionError::invalid(format!("Invalid IP or port '{text}' ('listen-lrkp'): {error}"))
            })?);
        }
        if !config.is_on() {
            return Ok(config);
        }
        let port = |name: &str| {
            u16::try_from(settings.int(name))
                .map_err(|_| OptionError::invalid(format!("Invalid value for --{name}")))
        };
        config.ports = (port("lrkp-port-min")?, port("lrkp-port-max")?);
        let ((first, last), (media_first, media_last)) = (config.ports, media);
        if first >= last {
            return Err(OptionError::invalid(format!(
                "Invalid port range of lrkproxy: --lrkp-port-min {first} is not below --lrkp-port-max {last}"
            )));
        }
        if first <= media_last && media_first <= last {
            return Err(OptionError::invalid(format!(
                "The port range of lrkproxy ({first}-{last}) overlaps --port-min/--port-max \
                 ({media_first}-{media_last}): the proxy would choose ports that are in use"
            )));
        }
        config.strict_ports = settings.flag("lrkp-strict-ports");
        config.internal = announced(settings, "lrkp-internal", "internal", interfaces)?;
        config.external = announced(settings, "lrkp-external", "external", interfaces)?;
        Ok(config)
    }
}

/// The first IPv4 address that an interface is known by.
fn announced(
    settings: &Settings,
    option: &str,
    usual: &str,
    interfaces: &[LogicalInterface],
) -> Result<Ipv4Addr, OptionError> {
    let named = |name: &str| interfaces.iter().find(|interface| interface.name == name);
    let interface =
        match settings.text(option) {
            Some(name) => Some(named(&name).ok_or_else(|| {
                OptionError::invalid(format!("There is no interface '{name}' ('{option}')"))
            })?),
            None => named(usual).or(interfaces.first()),
        };
    let addresses = interface.into_iter().flat_map(|interface| &interface.addresses);
    let mut v4 = addresses.filter_map(|local| match local.advertised {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    });
    v4.next().ok_or_else(|| {
        OptionError::invalid(format!(
            "lrkproxy relays IPv4 only: give --{option} an interface with an IPv4 address"
        ))
    })
}
