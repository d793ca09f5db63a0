//! Options about media, DTLS and recording.

use service::options::OptionSpec;

type O = OptionSpec;

pub(super) const MEDIA: &[OptionSpec] = &[
    O::int("dtx-delay", "Milliseconds without packets until DTX is handled; 0 for never").default("0"),
    O::int("max-dtx", "Longest DTX in seconds; 0 for any").default("30").at_least(0),
    O::int("dtx-buffer", "Packets kept for DTX").default("10"),
    O::int("dtx-lag", "Most delay of the DTX buffer in ms").default("100").at_least(0),
    O::int("dtx-shift", "Milliseconds by which the DTX timer shifts").default("5").at_least(0),
    O::list("dtx-cn-params", "INT INT INT ...", "Comfort noise parameters for DTX").range(0, 255),
    O::text("amr-dtx", "native|CN", "DTX of AMR").default("native").words_any_case(&["native", "CN"]),
    O::text("evs-dtx", "native|CN", "DTX of EVS").default("native").words_any_case(&["native", "CN"]),
    O::float("silence-detect", "Audio level in percent below which is silence"),
    O::list("cn-payload", "INT INT INT ...", "Comfort noise parameters for silence")
        .default("32")
        .range(0, 254)
        .complaint("Invalid CN payload specified (--cn-payload)"),
    O::text("audio-player", "on-demand|play-media|transcoding|always", "When audio is generated")
        .default("on-demand")
        .words(&[
            "on-demand",
            "on demand",
            "off",
            "no",
            "never",
            "play-media",
            "play media",
            "media player",
            "media-player",
            "transcoding",
            "transcode",
            "always",
            "everything",
            "force",
            "forced",
        ]),
    O::int("audio-buffer-length", "Length of the audio buffer in ms").default("500"),
    O::int("audio-buffer-delay", "Delay of the audio buffer in ms").default("5"),
    O::int("moh-max-duration", "Longest music on hold in ms; 0 for any").default("1800000"),
    O::int("moh-max-repeats", "Most repetitions of music on hold").default("999"),
    O::text("moh-attr-name", "STRING", "Session attribute added while music on hold plays"),
    O::flag("moh-prevent-double-hold", "Do not play music on hold to who plays it"),
    O::text("transcode-config", "STR", "Prefix of the config file groups about transcoding"),
    O::text("vsc-start-rec", "STRING", "DTMF code that starts recording"),
    O::text("vsc-stop-rec", "STRING", "DTMF code that stops recording"),
    O::text("vsc-start-stop-rec", "STRING", "DTMF code that starts or stops recording"),
    O::text("vsc-pause-rec", "STRING", "DTMF code that pauses recording"),
    O::text("vsc-pause-resume-rec", "STRING", "DTMF code that pauses or resumes recording"),
    O::text("vsc-start-pause-resume-rec", "STRING", "DTMF code that starts, pauses or resumes recording"),
];

pub(super) const LIBRARY: &[OptionSpec] = &[
    O::flag("player-cache", "Keep encoded media in memory"),
    O::flag("playback-events-ng-tcp", "Tell all ng clients over TCP when an announcement ends"),
    O::list("preload-media-files", "FILE", "Media files to load at start"),
    seconds("media-files-reload", "Interval of looking for changed media files"),
    seconds("media-files-expire", "Unused media files are dropped after this time"),
    seconds("expiry-timer", "Interval of dropping unused media"),
    O::list("preload-db-media", "INT", "Media of the database to load at start"),
    seconds("db-media-reload", "Interval of looking for changed media in the database"),
    seconds("db-media-expire", "Unused media of the database are dropped after this time"),
    O::file("db-media-cache", "Directory for copies of media from the database").arg("PATH"),
    O::list("preload-db-cache", "INT", "Media to copy from the database at start"),
    seconds("db-cache-reload", "Interval of looking for changed copies"),
    seconds("cache-media-reload", "Interval of looking for changed copies").alias_of("db-cache-reload"),
    seconds("db-cache-expire", "Unused copies are dropped after this time"),
    O::file("sqlite-db", "SQLite file with media, in place of the MySQL database").arg("PATH"),
    O::list(
        "media-urls",
        "URL",
        "Announcements may come from URLs below these (default any; none for no URL)",
    ),
    O::text("mysql-host", "HOST|IP", "Host of the media database"),
    O::int("mysql-port", "Port of the media database").range(0, 65535),
    O::text("mysql-user", "USERNAME", "User of the media database"),
    O::text("mysql-pass", "PASSWORD", "Password of the media database"),
    O::text("mysql-query", "STRING", "Query for media, with %llu for the ID"),
];

pub(super) const DTLS: &[OptionSpec] = &[
    O::flag("dtls-passive", "Prefer the passive role"),
    O::text("dtls-cert-cipher", "prime256v1|RSA", "Key type of the certificate")
        .default("prime256v1")
        .words_any_case(&["prime256v1", "ec_prime256v1", "ec-prime256v1", "RSA"]),
    O::int("dtls-rsa-key-size", "Size of an RSA key in bits").default("2048").at_least(0),
    O::text("dtls-signature", "SHA-256|SHA-1", "Signature of the certificate")
        .default("SHA-256")
        .words_any_case(&["SHA-256", "SHA256", "SHA-1", "SHA1"]),
    O::text("dtls-ciphers", "STRING", "Cipher list")
        .default("DEFAULT:!NULL:!aNULL:!SHA256:!SHA384:!aECDH:!AESGCM+AES256:!aPSK"),
    O::int("dtls-mtu", "Largest packet").default("1200").at_least(576),
];

pub(super) const RECORDING: &[OptionSpec] = &[
    O::file("recording-dir", "Spool directory of recordings; recording is off without it"),
    O::text("recording-method", "pcap|proc|all", "How calls are recorded").default("pcap"),
    O::text("recording-format", "raw|eth", "Link type of pcap files").default("raw").words(&["raw", "eth"]),
    O::int("recording-spill-size", "Disk space for packets whose recording daemon is away; 0 for none")
        .arg("MB")
        .default("1024")
        .at_least(0),
    O::flag("record-egress", "Record packets as they are sent"),
    O::flag("record-both", "Record packets as received and as sent"),
];

const fn seconds(long: &'static str, help: &'static str) -> OptionSpec {
    O::int(long, help).arg("SECONDS").default("0")
}
