//! `log-*` options.

use super::levels::{Levels, Subsystem};
use crate::options::{OptionError, Settings};

/// How to log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// Where lines go.
    pub destination: Destination,
    /// Level of each subsystem, in the order of [`Subsystem::ALL`].
    pub levels: [i32; Subsystem::COUNT],
    /// Name in syslog, in front of the process ID.
    pub identity: String,
    /// Longest text in octets; `None` = any length.
    pub max_line_length: Option<usize>,
    /// The same of records ([`super::LogHandle::record`]).
    pub max_record_length: Option<usize>,
    /// A line break starts another log line.
    pub split_lines: bool,
    /// How the context in front of a text looks.
    pub style: ContextStyle,
    /// Put before sensitive parts.
    pub mark_prefix: String,
    /// Put after sensitive parts.
    pub mark_suffix: String,
}

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Standard error.
    Stderr {
        /// With `[seconds.microseconds] ` in front.
        timestamps: bool,
    },
    /// Datagrams to `/dev/log`; until the daemon is in the background, warnings and worse go to standard error too.
    Syslog {
        /// Facility of the lines.
        facility: Facility,
        /// Time stamps of the lines on standard error.
        timestamps: bool,
    },
}

/// A syslog facility: its number in RFC 5424 §6.2.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facility(u8);

/// `log-format`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ContextStyle {
    /// `[call/tag/index port 30000]: `
    #[default]
    Default,
    /// `[ID="call" tag="tag" index="0" port="30000"]: `
    Parsable,
}

impl LogConfig {
    /// Takes everything about the log out of the settings. Options that the program does not have count as not given.
    pub fn from_settings(settings: &Settings) -> Result<Self, OptionError> {
        let timestamps = !settings.flag("no-log-timestamps");
        let destination = if settings.flag("log-stderr") {
            Destination::Stderr { timestamps }
        } else {
            let facility = settings.text("log-facility").unwrap_or_default();
            let facility = Facility::parse(&facility).ok_or_else(|| {
                OptionError::invalid(format!("Invalid log facility '{facility}' (--log-facility)"))
            })?;
            Destination::Syslog { facility, timestamps }
        };
        let identity = settings.text("log-name").unwrap_or_else(|| settings.program().name.to_owned());
        let max_record_length =
            usize::try_from(settings.int("max-log-line-length")).ok().filter(|max| *max > 0);
        let max_line_length = match (settings.int("max-log-line-length"), &destination) {
            (0, Destination::Syslog { .. }) => Some(500),
            (0, Destination::Stderr { .. }) => None,
            (length, _) => usize::try_from(length).ok(),
        };
        let style =
            match settings.knows("log-format").then(|| settings.text("log-format")).flatten().as_deref() {
                Some("parsable") => ContextStyle::Parsable,
                _ => ContextStyle::Default,
            };
        Ok(LogConfig {
            destination,
            identity,
            max_record_length,
            levels: Subsystem::ALL.map(|subsystem| level(settings, subsystem)),
            max_line_length,
            split_lines: settings.flag("split-logs"),
            style,
            mark_prefix: settings.text("log-mark-prefix").unwrap_or_default(),
            mark_suffix: settings.text("log-mark-suffix").unwrap_or_default(),
        })
    }

    pub(super) fn levels(&self) -> Levels {
        Levels::new(self.levels)
    }
}

/// 0 counts as not given.
fn level(settings: &Settings, subsystem: Subsystem) -> i32 {
    let default = settings.int("log-level");
    let option = format!("log-level-{}", subsystem.name());
    if !settings.knows(&option) {
        return if subsystem == Subsystem::Internals { -1 } else { default };
    }
    settings.int_if_set(&option).filter(|level| *level != 0).unwrap_or(default)
}

impl Facility {
    /// Programs of users.
    pub(super) const USER: Self = Self(1);

    /// From its name.
    pub fn parse(name: &str) -> Option<Self> {
        const NUMBERS: &[(&str, u8)] = &[
            ("kern", 0),
            ("user", 1),
            ("mail", 2),
            ("daemon", 3),
            ("auth", 4),
            ("syslog", 5),
            ("lpr", 6),
            ("news", 7),
            ("uucp", 8),
            ("cron", 9),
            ("authpriv", 10),
            ("ftp", 11),
        ];
        if let Some((_, number)) = NUMBERS.iter().find(|(known, _)| *known == name) {
            return Some(Facility(*number));
        }
        match name.strip_prefix("local")?.as_bytes() {
            [digit @ b'0'..=b'7'] => Some(Facility(16 + digit - b'0')),
            _ => None,
        }
    }

    /// The number in front of a syslog message.
    pub(super) fn priority(self, severity: u8) -> u16 {
        u16::from(self.0) * 8 + u16::from(severity.min(7))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::common::FACILITIES;

    #[test]
    fn every_facility_of_the_option_has_a_number() {
        for name in FACILITIES {
            assert!(Facility::parse(name).is_some(), "{name}");
        }
        assert_eq!(Facility::parse("local7").map(|facility| facility.priority(3)), Some(23 * 8 + 3));
        assert_eq!(Facility::parse("local8"), None);
    }
}
