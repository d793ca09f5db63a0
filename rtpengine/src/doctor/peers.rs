//! Servers that the configuration names.

use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use media_store::database::{Database, DatabaseError, Server};

use super::{Finding, Verdict};
use crate::config::Config;

/// A server on the way to which packets are dropped must not hold up the report.
const PATIENCE: Duration = Duration::from_secs(3);

/// Asks the database of media for one that there need not be.
pub fn database(config: &Config) -> Option<Finding> {
    let topic = "media database";
    let settings = config.library.database.as_ref()?;
    let (name, fix) = match &settings.server {
        Server::Sqlite(path) => (path.display().to_string(), format!("`sqlite3 {} .schema`", path.display())),
        Server::MySql(server) => {
            let host = server.host.as_deref().unwrap_or("localhost");
            let port = server.port.unwrap_or(3306);
            let user = server.user.as_deref().unwrap_or_default();
            let client = format!("`mariadb -h {host} -P {port} -u {user} -p`");
            (format!("{host}:{port}"), format!("{client} has to work with the same password"))
        }
    };
    let answer = match Database::start(settings.clone()) {
        Ok(database) => database.fetch(0),
        Err(error) => return Some(Finding::failure(topic, format!("{name}: {error}"), fix)),
    };
    Some(match answer {
        Ok(_) | Err(DatabaseError::NoRow { .. } | DatabaseError::NoData { .. }) => {
            Finding::fine(topic, format!("{name} answers"))
        }
        Err(error) => Finding::failure(topic, format!("{name}: {error}"), fix),
    })
}

/// Those that reports are sent to, over TCP; UDP says nothing.
pub fn collectors(config: &Config) -> Vec<Finding> {
    let reporting = &config.reporting;
    let mut findings = Vec::new();
    if let Some(graphite) = &reporting.graphite {
        findings.push(reachable("Graphite", "graphite", &[graphite.server]));
    }
    if let Some(homer) = reporting.homer.as_ref().filter(|homer| homer.is_tcp) {
        findings.push(reachable("Homer", "homer", &[homer.collector]));
    }
    if let Some(mqtt) = &reporting.mqtt {
        findings.push(named("MQTT", "mqtt-host", &mqtt.host, mqtt.port));
    }
    if let Some(redis) = &config.redis {
        let servers =
            [("redis", &redis.read), ("redis-write", &redis.write), ("redis-subscribe", &redis.subscribe)];
        for (option, server) in servers {
            findings.extend(server.as_ref().map(|server| {
                let found = named("Redis", option, &server.host, server.port);
                let is_fatal = found.verdict == Verdict::Warning && !redis.optional;
                if is_fatal { Finding { verdict: Verdict::Failure, ..found } } else { found }
            }));
        }
    }
    findings
}

fn named(topic: &'static str, option: &str, host: &str, port: u16) -> Finding {
    match (host, port).to_socket_addrs() {
        Ok(addresses) => reachable(topic, option, &addresses.collect::<Vec<_>>()),
        Err(error) => Finding::warning(
            topic,
            format!("{option}: {host} is not known: {error}"),
            format!("`getent hosts {host}` has to give its address"),
        ),
    }
}

fn reachable(topic: &'static str, option: &str, addresses: &[SocketAddr]) -> Finding {
    let mut failure = None;
    for address in addresses {
        match TcpStream::connect_timeout(address, PATIENCE) {
            Ok(_) => return Finding::fine(topic, format!("{address} can be reached")),
            Err(error) => failure = failure.or(Some((address, error))),
        }
    }
    match failure {
        Some((address, error)) => Finding::warning(
            topic,
            format!("{option}: {address} cannot be reached: {error}"),
            format!("start it, or open the way: `nc -vz {} {}`", address.ip(), address.port()),
        ),
        None => {
            Finding::warning(topic, format!("{option} has no address"), format!("another value for {option}"))
        }
    }
}
