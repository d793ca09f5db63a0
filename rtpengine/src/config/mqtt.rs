//! Options `mqtt-*`.

use std::path::PathBuf;
use std::time::Duration;

use service::options::{OptionError, Settings};

/// Where messages about calls and statistics are published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MqttConfig {
    pub host: String,
    pub port: u16,
    /// `mqtt-id`; drawn at random when missing.
    pub client_id: Option<String>,
    /// Longest silence on the connection, in seconds.
    pub keepalive_s: u16,
    pub user: Option<String>,
    pub password: String,
    /// The connection is encrypted.
    pub tls: Option<MqttTls>,
    /// 0 at most once, 1 at least once, 2 exactly once.
    pub quality_of_service: u8,
    pub topic: String,
    pub interval: Duration,
    pub scope: MqttScope,
}

/// How the broker and we know each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MqttTls {
    /// File with certification authorities in PEM.
    pub ca_file: Option<PathBuf>,
    /// Directory of such files.
    pub ca_path: Option<PathBuf>,
    /// Our certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    pub alpn: Option<String>,
}

/// What is published each interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MqttScope {
    /// Statistics with all calls.
    Global,
    /// Statistics only.
    Summary,
    /// A message a call, and the statistics.
    Call,
    /// A message a media section, and the statistics.
    Media,
}

/// Shortest interval; less would be nothing but load.
const MIN_INTERVAL: Duration = Duration::from_millis(100);

impl MqttConfig {
    /// `None` without `mqtt-host`.
    pub(super) fn from_settings(settings: &Settings) -> Result<Option<Self>, OptionError> {
        let text = |option: &str| settings.text(option).filter(|text| !text.is_empty());
        let Some(host) = text("mqtt-host") else { return Ok(None) };
        let Some(topic) = text("mqtt-publish-topic") else {
            return Err(OptionError::invalid("--mqtt-host needs --mqtt-publish-topic"));
        };
        if topic.contains(['+', '#', '\0']) {
            return Err(OptionError::invalid(format!("Invalid topic '{topic}' (--mqtt-publish-topic)")));
        }
        let milliseconds = u64::try_from(settings.int("mqtt-publish-interval")).unwrap_or(0);
        Ok(Some(Self {
            host,
            port: u16::try_from(settings.int("mqtt-port")).unwrap_or(1883),
            client_id: text("mqtt-id"),
            keepalive_s: u16::try_from(settings.int("mqtt-keepalive").max(0)).unwrap_or(u16::MAX),
            user: text("mqtt-user"),
            password: text("mqtt-pass").unwrap_or_default(),
            tls: tls(settings)?,
            quality_of_service: u8::try_from(settings.int("mqtt-publish-qos")).unwrap_or(0),
            topic,
            interval: Duration::from_millis(milliseconds).max(MIN_INTERVAL),
            scope: match settings.text("mqtt-publish-scope").as_deref() {
                Some("summary") => MqttScope::Summary,
                Some("call") => MqttScope::Call,
                Some("media") => MqttScope::Media,
                _ => MqttScope::Global,
            },
        }))
    }
}

/// Any of its options asks for TLS.
fn tls(settings: &Settings) -> Result<Option<MqttTls>, OptionError> {
    let file = |option: &str| settings.path(option);
    let (ca_file, ca_path) = (file("mqtt-cafile"), file("mqtt-capath"));
    let identity = match (file("mqtt-certfile"), file("mqtt-keyfile")) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        // One file may hold both.
        (Some(both), None) => Some((both.clone(), both)),
        (None, Some(_)) => return Err(OptionError::invalid("--mqtt-keyfile needs --mqtt-certfile")),
        (None, None) => None,
    };
    let alpn = settings.text("mqtt-tls-alpn").filter(|name| !name.is_empty());
    if ca_file.is_none() && ca_path.is_none() {
        if identity.is_some() || alpn.is_some() {
            let text = "--mqtt-certfile and --mqtt-tls-alpn need --mqtt-cafile or --mqtt-capath";
            return Err(OptionError::invalid(text));
        }
        return Ok(None);
    }
    Ok(Some(MqttTls { ca_file, ca_path, identity, alpn }))
}
