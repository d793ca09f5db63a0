//! Options of the control doors.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use service::options::{OptionError, Settings};

/// `http-idle-timeout` when it is 0 or not given.
const DEFAULT_IDLE: Duration = Duration::from_secs(5);

/// The doors beside ng over UDP, and what all of them share.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ControlConfig {
    /// ng over TCP.
    pub listen_tcp_ng: Vec<SocketAddr>,
    /// The rtpproxy protocol.
    pub listen_udp: Vec<SocketAddr>,
    /// The OpenSER mediaproxy protocol.
    pub listen_tcp: Vec<SocketAddr>,
    /// `control-tos`: IPv4 TOS / IPv6 traffic class of ng sockets; 0 = leave alone.
    pub tos: u8,
    /// `control-pmtu`
    pub path_mtu: PathMtu,
    /// HTTP and HTTPS.
    pub http: HttpConfig,
    /// `janus-secret`: what administrative requests of the Janus interface must know; none are allowed without.
    pub janus_secret: Option<String>,
    /// `dtmf-log-ng-tcp` or another one: there are events for all ng clients over TCP.
    pub events_over_tcp: bool,
    /// `playback-events-ng-tcp`: among them that an announcement has ended.
    pub playback_events: bool,
    /// For requests to other instances.
    pub client: NgClientConfig,
}

/// How long the answer of another instance is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NgClientConfig {
    /// `ng-client-timeout`: until a request is sent again.
    pub timeout: Duration,
    /// `ng-client-retries`: how often it is.
    pub retries: u32,
}

impl Default for NgClientConfig {
    fn default() -> Self {
        Self { timeout: Duration::from_millis(50), retries: 5 }
    }
}

/// `http-*` and `https-*` options.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpConfig {
    /// HTTP and WebSocket.
    pub listen: Vec<SocketAddr>,
    /// HTTPS and secure WebSocket; `https_cert` is there if this is not empty.
    pub listen_secure: Vec<SocketAddr>,
    /// Certificate and, without a key file, the key too.
    pub https_cert: Option<PathBuf>,
    /// Private key.
    pub https_key: Option<PathBuf>,
    /// Threads of the door; `None` = as many as media workers. None are started without listeners.
    pub threads: Option<NonZeroUsize>,
    /// Send buffer of connections in octets; 0 leaves the system's.
    pub send_buffer: usize,
    /// A connection without a request is closed after this long.
    pub idle_timeout: Duration,
}

impl Default for HttpConfig {
    /// No listeners.
    fn default() -> Self {
        HttpConfig {
            listen: Vec::new(),
            listen_secure: Vec::new(),
            https_cert: None,
            https_key: None,
            threads: None,
            send_buffer: 0,
            idle_timeout: DEFAULT_IDLE,
        }
    }
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
        let positive = |option: &str| {
            let number = settings.int_if_set(option).and_then(|number| usize::try_from(number).ok());
            number.filter(|number| *number > 0)
        };
        let seconds = |number: usize| Duration::from_secs(number as u64);
        Ok(ControlConfig {
            listen_tcp_ng: listeners("listen-tcp-ng")?,
            listen_udp: listeners("listen-udp")?,
            listen_tcp: listeners("listen-tcp")?,
            tos: u8::try_from(settings.int("control-tos")).unwrap_or(0),
            path_mtu: match settings.text("control-pmtu").as_deref() {
                Some("want") => PathMtu::Want,
                Some("dont" | "don't") => PathMtu::Dont,
                _ => PathMtu::System,
            },
            http: HttpConfig {
                listen: listeners("listen-http")?,
                listen_secure: listeners("listen-https")?,
                https_cert: settings.path("https-cert"),
                https_key: settings.path("https-key"),
                threads: positive("http-threads").and_then(NonZeroUsize::new),
                send_buffer: positive("http-buf-size").unwrap_or(0).saturating_mul(1024),
                idle_timeout: positive("http-idle-timeout").map_or(DEFAULT_IDLE, seconds),
            },
            janus_secret: settings.text("janus-secret").filter(|secret| !secret.is_empty()),
            events_over_tcp: settings.flag("dtmf-log-ng-tcp") || settings.flag("playback-events-ng-tcp"),
            playback_events: settings.flag("playback-events-ng-tcp"),
            client: NgClientConfig {
                timeout: Duration::from_millis(u64::try_from(settings.int("ng-client-timeout")).unwrap_or(1)),
                retries: u32::try_from(settings.int("ng-client-retries")).unwrap_or(0),
            },
        })
    }
}
