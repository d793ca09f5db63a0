//! Options about Redis.

use std::time::Duration;

use service::options::{OptionError, Settings};

/// Where calls are stored, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct RedisConfig {
    /// `redis`: calls are read from here at start. `None`: calls are written only.
    pub read: Option<RedisServer>,
    /// `redis-write`: calls are written here; else to `read`.
    pub write: Option<RedisServer>,
    /// `redis-subscribe`: tells of changes; else `read` does.
    pub subscribe: Option<RedisServer>,
    /// `subscribe-keyspace`; `None`: nothing is to be told, now or later.
    pub keyspaces: Option<Vec<i64>>,
    /// `redis-format=JSON`
    pub json: bool,
    /// `redis-num-threads`
    pub restore_connections: usize,
    /// `redis-expires`
    pub expires: Duration,
    /// `no-redis-required`
    pub optional: bool,
    /// `redis-resolve-on-reconnect`
    pub resolves_again: bool,
    /// `redis-tcp-keepalive-*`
    pub keepalive: Option<Keepalive>,
}

/// `[PASSWORD@]HOST:PORT/DB`
#[derive(Clone, PartialEq, Eq)]
pub struct RedisServer {
    pub host: String,
    pub port: u16,
    pub database: i64,
    pub password: Option<String>,
}

/// TCP keep-alive of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    pub time: Duration,
    pub interval: Duration,
    pub probes: u32,
}

/// What is done about a server that does not answer. An operator may change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RedisLimits {
    /// Failures in a row until the server is left alone for a while; −1 = any number.
    pub allowed_errors: i64,
    /// For how long, in seconds.
    pub disable_time_s: i64,
    /// In ms; 0 = none.
    pub command_timeout_ms: i64,
    /// In ms.
    pub connect_timeout_ms: i64,
}

impl Default for RedisLimits {
    fn default() -> Self {
        Self { allowed_errors: -1, disable_time_s: 10, command_timeout_ms: 0, connect_timeout_ms: 1000 }
    }
}

impl RedisLimits {
    pub(super) fn from_settings(settings: &Settings) -> Self {
        let value = |option: &str| i64::from(settings.int(option));
        Self {
            allowed_errors: value("redis-allowed-errors"),
            disable_time_s: value("redis-disable-time").max(0),
            command_timeout_ms: value("redis-cmd-timeout").max(0),
            connect_timeout_ms: value("redis-connect-timeout").max(1),
        }
    }
}

impl RedisServer {
    /// Understands the text of an option. The database may be left out where it is not needed.
    pub fn parse(text: &str, database_is_optional: bool) -> Option<Self> {
        // A password may have any character, also further at signs.
        let (password, address) = match text.rsplit_once('@') {
            Some((password, address)) => (Some(password.to_owned()), address),
            None => (None, text),
        };
        let (address, database) = match address.rsplit_once('/') {
            Some((address, database)) => {
                (address, database.parse::<u32>().ok().filter(|database| *database <= i32::MAX as u32)?)
            }
            None if database_is_optional => (address, 0),
            None => return None,
        };
        let (host, port) = address.rsplit_once(':')?;
        let host = match host.strip_prefix('[') {
            Some(host) => host.strip_suffix(']').filter(|host| host.parse::<std::net::Ipv6Addr>().is_ok())?,
            None => host,
        };
        let port = port.parse().ok().filter(|port| *port > 0)?;
        (!host.is_empty()).then(|| Self { host: host.into(), port, database: database.into(), password })
    }
}

/// Host, port and database; without the password.
impl std::fmt::Display for RedisServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { host, port, database, .. } = self;
        if host.contains(':') {
            write!(f, "[{host}]:{port}/{database}")
        } else {
            write!(f, "{host}:{port}/{database}")
        }
    }
}

impl std::fmt::Debug for RedisServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RedisServer({self})")
    }
}

impl RedisConfig {
    /// From the options; `None` when no server is given.
    pub(super) fn from_settings(
        settings: &Settings,
        notices: &mut Vec<String>,
    ) -> Result<Option<Self>, OptionError> {
        let server = |option: &str, variable: &str| {
            let Some(text) = settings.text(option).filter(|text| !text.is_empty()) else { return Ok(None) };
            let is_optional = option == "redis-subscribe";
            let mut server = RedisServer::parse(&text, is_optional).ok_or_else(|| {
                let what = if is_optional { "IP:PORT[/INT]" } else { "IP:PORT/INT" };
                OptionError::invalid(format!("Invalid Redis endpoint [{what}] '{text}' (--{option})"))
            })?;
            server.password = server.password.or_else(|| std::env::var(variable).ok());
            Ok(Some(server))
        };
        let read = server("redis", "RTPENGINE_REDIS_AUTH_PW")?;
        let write = server("redis-write", "RTPENGINE_REDIS_WRITE_AUTH_PW")?;
        let subscribe = server("redis-subscribe", "RTPENGINE_REDIS_SUBSCRIBE_AUTH_PW")?;
        if read.is_none() && write.is_none() && subscribe.is_none() {
            return Ok(None);
        }
        let number = |option: &str| u64::try_from(settings.int(option)).unwrap_or(0);
        let keepalive = number("redis-tcp-keepalive-time");
        Ok(Some(Self {
            read,
            write,
            subscribe,
            keyspaces: keyspaces(settings, notices),
            json: settings.text("redis-format").is_some_and(|format| format.eq_ignore_ascii_case("json")),
            restore_connections: settings
                .int_if_set("redis-num-threads")
                .and_then(|threads| usize::try_from(threads).ok())
                .filter(|threads| *threads > 0)
                .unwrap_or_else(super::load::default_threads)
                .min(256),
            expires: Duration::from_secs(number("redis-expires").max(1)),
            optional: settings.flag("no-redis-required"),
            resolves_again: settings.flag("redis-resolve-on-reconnect"),
            keepalive: (keepalive > 0).then(|| Keepalive {
                time: Duration::from_secs(keepalive),
                interval: Duration::from_secs(number("redis-tcp-keepalive-intvl").max(1)),
                probes: u32::try_from(number("redis-tcp-keepalive-probes")).unwrap_or(3).max(1),
            }),
        }))
    }

    /// Where calls are written; `None`: nowhere.
    pub fn writes_to(&self) -> Option<&RedisServer> {
        self.write.as_ref().or(self.read.as_ref())
    }

    /// Who tells of changes.
    pub fn notified_by(&self) -> Option<&RedisServer> {
        self.subscribe.as_ref().or(self.read.as_ref())
    }
}

/// `-1`: none now, maybe later.
fn keyspaces(settings: &Settings, notices: &mut Vec<String>) -> Option<Vec<i64>> {
    let texts = settings.list("subscribe-keyspace");
    if texts.is_empty() {
        return None;
    }
    let mut keyspaces = Vec::new();
    for word in texts.iter().flat_map(|text| text.split([' ', ';', ','])).filter(|word| !word.is_empty()) {
        match word.parse::<i64>() {
            Ok(keyspace) if keyspace < 0 => {}
            Ok(keyspace) if keyspaces.contains(&keyspace) => {}
            Ok(keyspace) => keyspaces.push(keyspace),
            Err(_) => notices.push(format!("'{word}' is no Redis keyspace (--subscribe-keyspace)")),
        }
    }
    Some(keyspaces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_have_password_host_port_and_database() {
        type Parts<'a> = (Option<&'a str>, &'a str, u16, i64);
        const CASES: &[(&str, bool, Option<Parts<'_>>)] = &[
            ("127.0.0.1:6379/5", false, Some((None, "127.0.0.1", 6379, 5))),
            ("pw@localhost:1/0", false, Some((Some("pw"), "localhost", 1, 0))),
            ("p@/w:x@[2001:db8::1]:6379/2", false, Some((Some("p@/w:x"), "2001:db8::1", 6379, 2))),
            ("127.0.0.1:6379", true, Some((None, "127.0.0.1", 6379, 0))),
            ("127.0.0.1:6379", false, None),
            ("127.0.0.1/5", false, None),
            ("127.0.0.1:0/5", false, None),
            ("127.0.0.1:6379/x", false, None),
            ("127.0.0.1:6379/-1", false, None),
            ("[127.0.0.1]:6379/1", false, None),
            (":6379/1", false, None),
            ("", true, None),
        ];
        for (text, optional, expected) in CASES {
            let found = RedisServer::parse(text, *optional);
            let parts = found.as_ref().map(|s| (s.password.as_deref(), s.host.as_str(), s.port, s.database));
            assert_eq!(parts, *expected, "{text}");
        }
    }

    #[test]
    fn passwords_are_not_shown() {
        let server = RedisServer::parse("secret@[::1]:6379/1", false).unwrap();
        assert_eq!(format!("{server} {server:?}"), "[::1]:6379/1 RedisServer([::1]:6379/1)");
    }
}
