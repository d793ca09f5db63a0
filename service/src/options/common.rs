//! Options that both daemons have.

use super::OptionSpec;

/// Configuration, process and log options up to the first that only one daemon has.
pub const GENERAL: &[OptionSpec] = &[
    OptionSpec::flag("version", "Print version information and exit").short('v'),
    OptionSpec::file("config-file", "Load configuration from this file; 'none' loads none"),
    OptionSpec::text("config-section", "STRING", "Group of the config file to read the options from"),
    OptionSpec::file("pidfile", "Write the process ID to this file").short('p'),
    OptionSpec::flag("foreground", "Do not detach from the terminal").short('f'),
    OptionSpec::int("thread-stack", "Stack size of each thread in kB; -1 keeps the system's default")
        .default("2048")
        .at_least(-1),
    OptionSpec::int("poller-size", "Most events fetched per poll call").default("128").at_least(1),
    OptionSpec::flag("io-uring", "Use io_uring for polling and media").without(NO_RING),
    OptionSpec::int("io-uring-buffers", "Ring entries per thread")
        .default("16384")
        .at_least(0)
        .without(NO_RING),
    OptionSpec::file("evs-lib-path", "Shared object with an EVS codec"),
];

/// Why options about io_uring do nothing.
pub const NO_RING: &str = "packets are received and sent in batches, not by a ring";

/// `log-*` options.
pub const LOGGING: &[OptionSpec] = &[
    OptionSpec::text("log-facility", FACILITY_ARG, "Syslog facility").default("daemon").words(FACILITIES),
    OptionSpec::int("log-level", "Log messages up to this severity (0 to 7) in all subsystems")
        .short('L')
        .default("6")
        .range(-1, 8),
    subsystem("log-level-core", "Log level of the core"),
    subsystem("log-level-ffmpeg", "Log level of the media libraries"),
    OptionSpec::int("log-level-internals", "Log level of internal details").default("-1").range(-1, 8),
    OptionSpec::flag("log-stderr", "Log to standard error instead of syslog").short('E'),
    OptionSpec::flag("split-logs", "Log each line of a message of several lines separately"),
    OptionSpec::int(
        "max-log-line-length",
        "Cut log lines longer than this many octets; negative means never, 0 the default",
    )
    .default("0")
    .default_note("500 for syslog, no limit for standard error"),
    OptionSpec::flag("no-log-timestamps", "Leave out the time in front of lines on standard error"),
    OptionSpec::text("log-name", "STRING", "Syslog identity").default_note("name of the program"),
    OptionSpec::text("log-mark-prefix", "STRING", "Text before sensitive parts of log lines"),
    OptionSpec::text("log-mark-suffix", "STRING", "Text after sensitive parts of log lines"),
];

/// Argument of facility options in `--help`.
pub const FACILITY_ARG: &str = "daemon|local0|...|local7";

/// Names of syslog facilities.
pub const FACILITIES: &[&str] = &[
    "auth", "authpriv", "cron", "daemon", "ftp", "kern", "lpr", "mail", "news", "syslog", "user", "uucp",
    "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];

/// A `log-level-<subsystem>` option.
pub const fn subsystem(long: &'static str, help: &'static str) -> OptionSpec {
    OptionSpec::int(long, help).default("0").default_note("log-level").range(-1, 8)
}
