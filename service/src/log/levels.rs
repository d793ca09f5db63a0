//! Subsystems and their levels.

use std::sync::atomic::{AtomicI32, Ordering};

use tracing::level_filters::LevelFilter;

/// Part of the daemon with a log level of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the documentation: one per `log-level-NAME` option")]
pub enum Subsystem {
    Core,
    Ffmpeg,
    Internals,
    Spandsp,
    Transcoding,
    Codec,
    Rtcp,
    Ice,
    Crypto,
    Srtp,
    Http,
    Control,
    Dtx,
}

/// Current level of every subsystem. A line is written if its severity (0–7, traces 8) is not above it.
#[derive(Debug)]
pub struct Levels([AtomicI32; Subsystem::COUNT]);

impl Subsystem {
    /// How many there are.
    pub const COUNT: usize = 13;

    /// All of them.
    pub const ALL: [Subsystem; Self::COUNT] = [
        Subsystem::Core,
        Subsystem::Ffmpeg,
        Subsystem::Internals,
        Subsystem::Spandsp,
        Subsystem::Transcoding,
        Subsystem::Codec,
        Subsystem::Rtcp,
        Subsystem::Ice,
        Subsystem::Crypto,
        Subsystem::Srtp,
        Subsystem::Http,
        Subsystem::Control,
        Subsystem::Dtx,
    ];

    /// Name in options and log lines.
    pub fn name(self) -> &'static str {
        match self {
            Subsystem::Core => "core",
            Subsystem::Ffmpeg => "ffmpeg",
            Subsystem::Internals => "internals",
            Subsystem::Spandsp => "spandsp",
            Subsystem::Transcoding => "transcoding",
            Subsystem::Codec => "codec",
            Subsystem::Rtcp => "rtcp",
            Subsystem::Ice => "ice",
            Subsystem::Crypto => "crypto",
            Subsystem::Srtp => "srtp",
            Subsystem::Http => "http",
            Subsystem::Control => "control",
            Subsystem::Dtx => "dtx",
        }
    }

    /// What it logs, in a few words.
    pub fn description(self) -> &'static str {
        match self {
            Subsystem::Core => "whatever belongs to nothing else",
            Subsystem::Ffmpeg => "media libraries",
            Subsystem::Internals => "internal details",
            Subsystem::Spandsp => "telephony signal library",
            Subsystem::Transcoding => "decoding and encoding",
            Subsystem::Codec => "codecs and their negotiation",
            Subsystem::Rtcp => "RTCP",
            Subsystem::Ice => "ICE",
            Subsystem::Crypto => "key exchange: SDES, DTLS, crypto suites",
            Subsystem::Srtp => "encryption and decryption of packets",
            Subsystem::Http => "HTTP, WebSocket and their secure variants",
            Subsystem::Control => "control protocols and the command line interface",
            Subsystem::Dtx => "discontinuous transmission",
        }
    }

    /// From the target of an event: the name itself, or a module path.
    pub(super) fn of_target(target: &str) -> Self {
        if let Some(subsystem) = Self::ALL.into_iter().find(|subsystem| subsystem.name() == target) {
            return subsystem;
        }
        let mut modules = target.split("::");
        match (modules.next(), modules.next(), modules.next()) {
            (Some("codec"), ..) => Subsystem::Codec,
            (Some("media_store"), ..) => Subsystem::Ffmpeg,
            (Some("rtpengine"), Some("control"), Some("http")) => Subsystem::Http,
            (Some("rtpengine"), Some("control"), _) => Subsystem::Control,
            (Some("rtpengine"), Some("proto" | "media"), Some(module)) => {
                Self::ALL.into_iter().find(|subsystem| subsystem.name() == module).unwrap_or(Subsystem::Core)
            }
            _ => Subsystem::Core,
        }
    }
}

impl Levels {
    pub(super) fn new(levels: [i32; Subsystem::COUNT]) -> Self {
        Levels(levels.map(AtomicI32::new))
    }

    /// Level of one subsystem.
    pub fn get(&self, subsystem: Subsystem) -> i32 {
        self.0[subsystem as usize].load(Ordering::Relaxed)
    }

    /// Changes the level of one subsystem.
    pub fn set(&self, subsystem: Subsystem, level: i32) {
        self.0[subsystem as usize].store(level, Ordering::Relaxed);
        tracing::callsite::rebuild_interest_cache();
    }

    /// The most talkative `tracing` level that any subsystem lets through; the rest costs nothing.
    pub(super) fn filter(&self) -> LevelFilter {
        match Subsystem::ALL.into_iter().map(|subsystem| self.get(subsystem)).max().unwrap_or(-1) {
            8.. => LevelFilter::TRACE,
            7 => LevelFilter::DEBUG,
            5 | 6 => LevelFilter::INFO,
            4 => LevelFilter::WARN,
            _ => LevelFilter::ERROR,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_assigned_to_subsystems() {
        const CASES: &[(&str, Subsystem)] = &[
            ("ice", Subsystem::Ice),
            ("rtpengine", Subsystem::Core),
            ("rtpengine::control::ng", Subsystem::Control),
            ("rtpengine::control::http::upgrade", Subsystem::Http),
            ("rtpengine::proto::rtcp::sender_report", Subsystem::Rtcp),
            ("rtpengine::media::worker", Subsystem::Core),
            ("codec::opus", Subsystem::Codec),
            ("tokio::runtime", Subsystem::Core),
        ];
        for (target, expected) in CASES {
            assert_eq!(Subsystem::of_target(target), *expected, "{target}");
        }
    }
}
