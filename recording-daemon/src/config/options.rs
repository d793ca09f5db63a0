//! The recording daemon's option table.

use service::options::common::{GENERAL, LOGGING};
use service::options::{OptionGroup, OptionSpec, Program};

/// The recording daemon with all its options.
pub const PROGRAM: Program = Program {
    name: "rtpengine-recording",
    summary: "rtpengine recording daemon",
    config_file: "/etc/rtpengine/rtpengine-recording.conf",
    config_section: "rtpengine-recording",
    groups: &[
        OptionGroup { title: "General", options: PROCESS },
        OptionGroup { title: "Logging", options: LOGGING },
        OptionGroup { title: "Input", options: INPUT },
        OptionGroup { title: "Output", options: OUTPUT },
        OptionGroup { title: "Database", options: DATABASE },
        OptionGroup { title: "Forwarding", options: FORWARDING },
        OptionGroup { title: "Notification", options: NOTIFICATION },
        OptionGroup { title: "Object storage", options: OBJECTS },
    ],
};

type O = OptionSpec;

/// As in all daemons, but for what is done about it here.
const PROCESS: &[OptionSpec] = &{
    let mut all = [O::flag("", ""); GENERAL.len()];
    let mut n = 0;
    while n < all.len() {
        all[n] = match GENERAL[n].long.as_bytes() {
            b"poller-size" => {
                O::int("poller-size", "Most events fetched per poll call; up to 0 means 128").default("128")
            }
            b"io-uring" | b"io-uring-buffers" => GENERAL[n].unsupported(),
            _ => GENERAL[n],
        };
        n += 1;
    }
    all
};

const INPUT: &[OptionSpec] = &[
    O::int("table", "Kernel table of the media proxy").short('t').default("0").range(i32::MIN as i64, 63),
    O::file("spool-dir", "Directory in which the media proxy puts metafiles; its recording-dir")
        .arg("PATH")
        .default("/var/spool/rtpengine"),
    O::int("num-threads", "Worker threads").default_note("number of CPU cores, at least 8"),
];

const OUTPUT: &[OptionSpec] = &[
    O::list("output-storage", "file|db|notify|s3|gcs|memory", "Where recordings go").default("file"),
    O::file("output-dir", "Directory of recordings").arg("PATH").default("/var/lib/rtpengine-recording"),
    O::text("output-pattern", "STRING", "Names of recordings").default("%c-%r-%t"),
    O::text("output-format", "wav|mp3|flac|opus|none", "Format of recordings")
        .default("wav")
        .words(&["wav", "mp3", "flac", "opus", "none"]),
    O::int("resample-to", "Sample rate of recordings in Hz; 0 keeps that of the audio")
        .default("0")
        .range(0, 384_000),
    O::int("mp3-bitrate", "Bits per second of MP3 files").at_least(0),
    O::int("opus-bitrate", "Bits per second and channel of Opus files").default("24000").range(6000, 256_000),
    O::flag("output-mixed", "Write one recording for each call"),
    O::text("mix-method", "direct|channels", "How streams are mixed")
        .default("direct")
        .words(&["direct", "channels"])
        .complaint("Invalid 'mix-method' option"),
    O::int("mix-num-inputs", "Most streams in a mix").default("4").range(1, 32),
    O::flag("output-single", "Write one recording for each stream"),
    O::flag("output-mixed-per-media", "Mix by media description instead of order of appearance"),
    O::text("output-chmod", "OCTAL", "Mode of files"),
    O::text("output-chmod-dir", "OCTAL", "Mode of directories").default_note("0700"),
    O::text("output-chown", "USER|UID", "Owner of files"),
    O::text("output-chgrp", "GROUP|GID", "Group of files"),
    O::int("output-buffer", "Octets to keep in memory before writing; 0 for none")
        .default("262144")
        .at_least(0),
    O::flag("flush-packets", "Write out after every packet"),
    O::int(
        "output-memory-limit",
        "Megabytes of recordings in memory; what exceeds them goes to temporary files",
    )
    .default("256")
    .at_least(0),
    O::flag("output-sidecar", "Write a JSON description beside each recording"),
    O::file("report-file", "Append one line of JSON about the end of each recording"),
];

const DATABASE: &[OptionSpec] = &[
    O::text("sqlite-db", "PATH|none", "Embedded database of recordings; 'none' for no database")
        .default_note("recordings.sqlite3 in output-dir, unless mysql-host is set"),
    O::text("mysql-host", "HOST|IP", "Host of the recording database"),
    O::int("mysql-port", "Port of the recording database").range(0, 65535),
    O::text("mysql-user", "USERNAME", "User of the recording database"),
    O::text("mysql-pass", "PASSWORD", "Password of the recording database"),
    O::text("mysql-db", "STRING", "Name of the recording database"),
];

const FORWARDING: &[OptionSpec] = &[
    O::file("forward-to", "Unix socket that gets all packets").arg("PATH"),
    O::text("tcp-send-to", "HOST:PORT", "TCP address that gets decoded audio"),
    O::text("tls-send-to", "HOST:PORT", "TLS address that gets decoded audio"),
    O::int("tcp-resample", "Sample rate of audio sent in Hz").default("8000").range(1000, 384_000),
    O::int("tls-resample", "Same as tcp-resample").default("8000").range(1000, 384_000),
    O::flag("tcp-mixed", "Send the mix instead of streams"),
    O::flag("tls-mixed", "Same as tcp-mixed"),
];

const NOTIFICATION: &[OptionSpec] = &[
    O::text("notify-uri", "URI", "HTTP address called for each finished recording"),
    O::flag("notify-post", "Use POST instead of GET"),
    O::flag("notify-no-verify", "Do not verify certificates"),
    O::int("notify-concurrency", "Notifications, uploads and commands at once; 0 for none at all")
        .default("5"),
    O::int("notify-retries", "Repetitions of failed notifications and uploads").default("10"),
    O::int("notify-retry-delay", "Milliseconds before the first repetition; doubles with each")
        .default("5000")
        .range(1, 3_600_000),
    O::file("notify-command", "Program run for each finished recording").arg("PATH"),
    O::flag("notify-record", "Add storage 'notify'"),
    O::flag("notify-purge", "Remove storage 'file'"),
];

const OBJECTS: &[OptionSpec] = &[
    O::text("s3-host", "HOST", "S3 host"),
    O::int("s3-port", "S3 port").default("443").range(1, 65535),
    O::text("s3-path", "STRING", "S3 path, with the bucket if it is not part of the host"),
    O::text("s3-access-key", "STRING", "S3 access key"),
    O::text("s3-secret-key", "STRING", "S3 secret key"),
    O::text("s3-region", "STRING", "S3 region"),
    O::flag("s3-no-verify", "Do not verify certificates of S3"),
    O::int(
        "upload-part-size",
        "Parts in which files are uploaded while the call goes on; 0 for none, else at least 5",
    )
    .arg("MB")
    .default("5")
    .range(0, 1024),
    O::text("gcs-uri", "STRING", "Google storage address"),
    O::text("gcs-key", "STRING", "Google storage API key"),
    O::file("gcs-service-account", "Google service account file"),
    O::text("gcs-scope", "STRING", "Google storage scope")
        .default("https://www.googleapis.com/auth/cloud-platform"),
    O::flag("gcs-no-verify", "Do not verify certificates of Google storage"),
    O::flag("gcs-media-link", "Store the media link of objects"),
];
