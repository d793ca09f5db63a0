//! Options about what the daemon tells others by itself.

use std::net::SocketAddr;
use std::time::Duration;

use service::address;
use service::log::Facility;
use service::options::{OptionError, Settings};

use super::mqtt::MqttConfig;

/// Who is told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReportingConfig {
    /// `log-facility-cdr`: gets a record of each call that ended.
    pub cdr_facility: Option<Facility>,
    /// `log-facility-rtcp`: gets a record of each RTCP packet received.
    pub rtcp_facility: Option<Facility>,
    /// `log-facility-dtmf`: gets a record of each digit.
    pub dtmf_facility: Option<Facility>,
    /// `graphite`
    pub graphite: Option<GraphiteConfig>,
    /// `homer`
    pub homer: Option<HomerConfig>,
    /// `mqtt-*`
    pub mqtt: Option<MqttConfig>,
    /// `b2b-url`
    pub xmlrpc: Option<XmlRpcConfig>,
    /// `otlp-endpoint`
    pub otlp: Option<OtlpConfig>,
}

/// Where traces of calls go (OTLP/HTTP).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtlpConfig {
    pub url: String,
    /// `service.name`: the software id.
    pub service: String,
}

/// `graphite-*`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphiteConfig {
    pub server: SocketAddr,
    /// Between reports; at least a second.
    pub interval: Duration,
    /// In front of each name, as it is.
    pub prefix: String,
    /// How long data may stay unacknowledged; zero = as long as the system allows.
    pub timeout: Duration,
}

/// `homer-*`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HomerConfig {
    pub collector: SocketAddr,
    /// `homer-protocol=tcp`; else UDP.
    pub is_tcp: bool,
    pub capture_id: u32,
    /// RTCP is sent.
    pub rtcp: bool,
    /// ng messages are sent, under this protocol type.
    pub ng: Option<u8>,
}

/// `b2b-url`, `xmlrpc-format`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XmlRpcConfig {
    /// `%%` stands for the address of the call's proxy.
    pub url: String,
    pub format: XmlRpcFormat,
}

/// What a call-back says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XmlRpcFormat {
    /// A request for each tag.
    Sems,
    /// The Call-ID.
    CallId,
    /// Call-ID and both tags.
    Kamailio,
}

impl ReportingConfig {
    /// Somebody wants to know of RTCP packets.
    pub fn wants_rtcp(&self) -> bool {
        self.rtcp_facility.is_some() || self.homer.is_some_and(|homer| homer.rtcp)
    }

    /// Somebody wants to know of calls that ended, whatever the log level.
    pub fn wants_ended_calls(&self) -> bool {
        self.cdr_facility.is_some() || self.xmlrpc.is_some() || self.otlp.is_some()
    }

    /// From the options.
    pub(super) fn from_settings(settings: &Settings) -> Result<Self, OptionError> {
        let facility = |option: &str| {
            let parse = |name: String| {
                Facility::parse(&name).ok_or_else(|| {
                    OptionError::invalid(format!("Invalid log facility '{name}' (--{option})"))
                })
            };
            settings.text(option).map(parse).transpose()
        };
        let remote = |option: &str| {
            let resolve = |text: String| {
                address::resolve_remote(&text).map_err(|error| {
                    OptionError::invalid(format!("Invalid IP or port '{text}' (--{option}): {error}"))
                })
            };
            settings.text(option).map(resolve).transpose()
        };
        let seconds = |option: &str| u64::try_from(settings.int(option)).unwrap_or(0);
        let homer = |collector| HomerConfig {
            collector,
            is_tcp: settings.text("homer-protocol").as_deref() == Some("tcp"),
            capture_id: u32::try_from(settings.int("homer-id")).unwrap_or(0),
            rtcp: !settings.flag("homer-disable-rtcp-stats"),
            ng: settings
                .flag("homer-enable-ng")
                .then(|| u8::try_from(settings.int("homer-ng-capture-proto")).unwrap_or(61)),
        };
        let otlp = settings.text("otlp-endpoint").filter(|url| !url.is_empty());
        if let Some(url) = &otlp
            && !url.starts_with("http://")
            && !url.starts_with("https://")
        {
            return Err(OptionError::invalid(format!("Invalid URL '{url}' (--otlp-endpoint)")));
        }
        Ok(Self {
            otlp: otlp.map(|url| OtlpConfig { url, service: super::load::software_id(settings) }),
            cdr_facility: facility("log-facility-cdr")?,
            rtcp_facility: facility("log-facility-rtcp")?,
            dtmf_facility: facility("log-facility-dtmf")?,
            graphite: remote("graphite")?.map(|server| GraphiteConfig {
                server,
                interval: Duration::from_secs(seconds("graphite-interval").max(1)),
                prefix: settings.text("graphite-prefix").unwrap_or_default(),
                timeout: Duration::from_secs(seconds("graphite-timeout")),
            }),
            homer: remote("homer")?.map(homer),
            mqtt: MqttConfig::from_settings(settings)?,
            xmlrpc: settings.text("b2b-url").filter(|url| !url.is_empty()).map(|url| XmlRpcConfig {
                url,
                format: match settings.int("xmlrpc-format") {
                    1 => XmlRpcFormat::CallId,
                    2 => XmlRpcFormat::Kamailio,
                    _ => XmlRpcFormat::Sems,
                },
            }),
        })
    }
}
