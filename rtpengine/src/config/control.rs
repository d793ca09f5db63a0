//! Options of the control doors.

use std::net::SocketAddr;

use service::options::{OptionError, Settings};

/// The doors beside ng over UDP, and what all of them share.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ControlConfig {
    /// ng over TCP.
    pub listen_tcp_ng: Vec<SocketAddr>,
    /// `control-tos`: IPv4 TOS / IPv6 traffic class of ng sockets; 0 = leave alone.
    pub tos: u8,
    /// `control-pmtu`
    pub path_mtu: PathMtu,
    /// `dtmf-log-ng-tcp`: events go to all ng clients over TCP.
    pub events_over_tcp: bool,
}

/// Path MTU discovery of IPv4 UDP control sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PathMtu {
    /// As the system is set.
    #[default]
    System,
    /// Never fragment before it is known that this is necessary.
    Want,
    /// Let routers fragment.
    Dont,
}

impl ControlConfig {
    /// From the options; `listeners` resolves one of the listen options.
    pub(super) fn from_settings(
        settings: &Settings,
        listeners: impl Fn(&str) -> Result<Vec<SocketAddr>, OptionError>,
    ) -> Result<Self, OptionError> {
        Ok(ControlConfig {
            listen_tcp_ng: listeners("listen-tcp-ng")?,
            tos: u8::try_from(settings.int("control-tos")).unwrap_or(0),
            path_mtu: match settings.text("control-pmtu").as_deref() {
                Some("want") => PathMtu::Want,
                Some("dont" | "don't") => PathMtu::Dont,
                _ => PathMtu::System,
            },
            events_over_tcp: settings.flag("dtmf-log-ng-tcp"),
        })
    }
}
