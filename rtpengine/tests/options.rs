//! Every option that has an effect changes what the daemon is told; one that changes nothing fails here.

use std::ffi::OsString;

use rtpengine::config::{Command, PROGRAM, load};
use service::options::{Accepts, Kind, OptionSpec, Status};

/// The least that a daemon needs.
const BASE: &[&str] = &["--interface=127.0.0.1", "--listen-ng=127.0.0.1:2223"];

/// Options that are no part of a running daemon's configuration: where it shows is said behind.
const ACTIONS: &[(&str, &str)] = &[
    ("version", "prints and exits"),
    ("codecs", "prints and exits"),
    ("codecs-json", "prints and exits"),
    ("check-config", "prints and exits"),
    ("config-file", "read before all others; service::options::load"),
    ("config-section", "read before all others; service::options::load"),
    ("poller-per-thread", "always so: each worker has its own"),
    ("interfaces-config", "needs a config file; config::load_tests"),
    ("templates", "needs a config file; config::load_tests"),
    ("transcode-config", "needs a config file; config::transcoding"),
    ("nftables-start", "an action instead of a daemon; netfilter"),
    ("nftables-stop", "an action instead of a daemon; netfilter"),
    ("nftables-status", "an action instead of a daemon; netfilter"),
];

/// Values that cannot be guessed from the table, and what they need beside them.
const VALUES: &[(&str, &[&str])] = &[
    ("log-facility", &["--log-facility=local3"]),
    ("log-level", &["--log-level=3"]),
    ("interface", &["--interface=127.0.0.9"]),
    ("dtmf-log-dest", &["--dtmf-log-dest=127.0.0.1:5060"]),
    ("graphite", &["--graphite=127.0.0.1:2003"]),
    ("homer", &["--homer=127.0.0.1:9060"]),
    ("redis", &["--redis=127.0.0.1:6379/1"]),
    ("redis-write", &["--redis=127.0.0.1:6379/1", "--redis-write=127.0.0.1:6379/2"]),
    ("redis-subscribe", &["--redis=127.0.0.1:6379/1", "--redis-subscribe=127.0.0.1:6379"]),
    ("listen-lrkp", &["--listen-lrkp=127.0.0.1:22333"]),
    ("lrkp-port-min", &["--listen-lrkp=127.0.0.1:22333", "--lrkp-port-min=20004"]),
    ("lrkp-port-max", &["--listen-lrkp=127.0.0.1:22333", "--lrkp-port-max=29000"]),
    (
        "lrkp-internal",
        &["--listen-lrkp=1", "--interface=a/127.0.0.1", "--interface=b/127.0.0.2", "--lrkp-internal=b"],
    ),
    (
        "lrkp-external",
        &["--listen-lrkp=1", "--interface=a/127.0.0.1", "--interface=b/127.0.0.2", "--lrkp-external=b"],
    ),
    ("lrkp-strict-ports", &["--listen-lrkp=1", "--lrkp-strict-ports"]),
    ("b2b-url", &["--b2b-url=http://127.0.0.1/x"]),
    ("xmlrpc-format", &["--b2b-url=http://127.0.0.1/x", "--xmlrpc-format=2"]),
    ("mysql-query", &["--mysql-host=h", "--mysql-query=select %llu"]),
    ("recording-method", &["--recording-dir=/tmp/r", "--recording-method=proc"]),
    ("jb-adaptive-min", &["--jitter-buffer=5", "--jb-adaptive", "--jb-adaptive-min=3"]),
    ("jb-adaptive-max", &["--jitter-buffer=5", "--jb-adaptive", "--jb-adaptive-max=200"]),
    (
        "redis-tcp-keepalive-intvl",
        &["--redis=1.2.3.4:5/1", "--redis-tcp-keepalive-time=9", "--redis-tcp-keepalive-intvl=2"],
    ),
    (
        "redis-tcp-keepalive-probes",
        &["--redis=1.2.3.4:5/1", "--redis-tcp-keepalive-time=9", "--redis-tcp-keepalive-probes=2"],
    ),
    (
        "homer-ng-capture-proto",
        &["--homer=127.0.0.1:9060", "--homer-enable-ng", "--homer-ng-capture-proto=62"],
    ),
    (
        "mqtt-keyfile",
        &[
            "--mqtt-host=h",
            "--mqtt-publish-topic=t",
            "--mqtt-cafile=/c",
            "--mqtt-certfile=/e",
            "--mqtt-keyfile=/k",
        ],
    ),
    ("max-dtx", &["--dtx-delay=50", "--max-dtx=31"]),
    ("dtx-cn-params", &["--dtx-delay=50", "--dtx-cn-params=40"]),
    ("amr-dtx", &["--dtx-delay=50", "--amr-dtx=CN"]),
    ("evs-dtx", &["--dtx-delay=50", "--evs-dtx=CN"]),
    ("cn-payload", &["--silence-detect=2", "--cn-payload=33"]),
    ("media-urls", &["--media-urls=none", "--media-urls=any"]),
    ("mysql-port", &["--mysql-host=h", "--mysql-query=%llu", "--mysql-port=3307"]),
    ("listen-https", &["--https-cert=/tmp/c", "--listen-https=127.0.0.1:8443"]),
    ("dtls-signature", &["--dtls-signature=SHA-1"]),
    ("dtls-cert-cipher", &["--dtls-cert-cipher=RSA"]),
    ("dtls-rsa-key-size", &["--dtls-cert-cipher=RSA", "--dtls-rsa-key-size=4096"]),
    ("priority", &["--priority=5"]),
    ("otlp-endpoint", &["--otlp-endpoint=http://127.0.0.1:4318/v1/traces"]),
    ("nftables-base-chain", &["--table=3", "--nftables-base-chain=none"]),
    ("nftables-family", &["--table=3", "--nftables-family=inet"]),
    ("socket-cpu-affinity", &["--socket-cpu-affinity=2"]),
];

/// What an option needs beside it, by the beginning of its name.
const COMPANIONS: &[(&str, &[&str])] = &[
    ("redis-", &["--redis=127.0.0.1:6379/1"]),
    ("no-redis-", &["--redis=127.0.0.1:6379/1"]),
    ("subscribe-", &["--redis=127.0.0.1:6379/1"]),
    ("graphite-", &["--graphite=127.0.0.1:2003"]),
    ("homer-", &["--homer=127.0.0.1:9060"]),
    ("mqtt-", &["--mqtt-host=h", "--mqtt-publish-topic=t", "--mqtt-cafile=/tmp/ca"]),
    ("dtx-", &["--dtx-delay=50"]),
    ("mysql-", &["--mysql-host=h", "--mysql-query=%llu"]),
    ("jb-", &["--jitter-buffer=5"]),
    ("vsc-", &["--recording-dir=/tmp/r"]),
    ("record", &["--recording-dir=/tmp/r"]),
    ("nftables-", &["--table=3"]),
    ("xtables", &["--table=3"]),
];

/// What the daemon would be started with, without the list of options as they were given.
fn told(words: &[&str]) -> Result<String, String> {
    let words = ["--config-file=none"].iter().chain(BASE).chain(words);
    let words: Vec<OsString> = words.map(OsString::from).collect();
    match load(&words) {
        Ok(Command::Run(mut startup)) => {
            startup.config.parameters.clear();
            Ok(format!("{:?} {:?} {:?}", startup.config, startup.log, startup.process))
        }
        Ok(_) => Err("no daemon".into()),
        Err(error) => Err(error.to_string()),
    }
}

/// A value that is not the default.
fn value(spec: &OptionSpec) -> String {
    let default = spec.default.unwrap_or_default();
    match (spec.accepts, spec.kind) {
        (Accepts::Words(words) | Accepts::WordsAnyCase(words), _) => words
            .iter()
            .rev()
            .find(|word| !word.eq_ignore_ascii_case(default))
            .unwrap_or(&default)
            .to_string(),
        (Accepts::Range(low, high), _) => {
            let default: i64 = default.parse().unwrap_or(low - 1);
            let next = if default < high { default + 1 } else { default - 1 };
            next.max(low).to_string()
        }
        (_, Kind::Int | Kind::Int64) => (default.parse::<i64>().unwrap_or(6) + 1).to_string(),
        (_, Kind::Float) => "7.5".into(),
        (_, Kind::File) => "/tmp/some-file".into(),
        _ if spec.long.starts_with("listen-") => "127.0.0.1:2299".into(),
        _ => "7".into(),
    }
}

#[test]
fn every_option_changes_what_the_daemon_is_told() {
    let mut without_effect = Vec::new();
    for spec in PROGRAM.groups.iter().flat_map(|group| group.options) {
        if spec.status != Status::Active || ACTIONS.iter().any(|(name, _)| *name == spec.long) {
            continue;
        }
        let known = VALUES.iter().find(|(name, _)| *name == spec.long).map(|(_, words)| *words);
        let companions =
            COMPANIONS.iter().find(|(start, _)| spec.long.starts_with(start)).map(|(_, words)| *words);
        let own = match spec.kind {
            Kind::Flag => format!("--{}", spec.long),
            _ => format!("--{}={}", spec.long, value(spec)),
        };
        let (before, words): (Vec<&str>, Vec<&str>) = match known {
            // All but the last word are what it needs.
            Some(words) => (words[..words.len() - 1].to_vec(), words.to_vec()),
            None => {
                let before = companions.unwrap_or_default().to_vec();
                (before.clone(), [before, vec![own.as_str()]].concat())
            }
        };
        match (told(&before), told(&words)) {
            (Ok(before), Ok(after)) if before != after => {}
            (Ok(_), Ok(_)) => without_effect.push(format!("{}: {words:?} changes nothing", spec.long)),
            (before, after) => {
                without_effect.push(format!("{}: {words:?}: {:?} {:?}", spec.long, before.err(), after.err()))
            }
        }
    }
    assert!(without_effect.is_empty(), "{without_effect:#?}");
}
