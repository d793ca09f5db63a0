//! The recording daemon's configuration as a user sees it.

use std::collections::BTreeSet;

use service::options::man::{self, ManPage};

use super::*;

/// Every option that the recording daemon's `--help` lists in the newest generation.
const LISTED: &str = "version config-file config-section log-facility log-level log-level-core log-level-ffmpeg \
    log-level-internals log-stderr split-logs max-log-line-length no-log-timestamps log-name log-mark-prefix \
    log-mark-suffix pidfile foreground thread-stack poller-size io-uring io-uring-buffers evs-lib-path table spool-dir \
    num-threads output-storage output-dir output-pattern output-format resample-to mp3-bitrate output-mixed mix-method \
    mix-num-inputs output-single output-chmod output-chmod-dir output-chown output-chgrp output-buffer mysql-host \
    mysql-port mysql-user mysql-pass mysql-db forward-to tcp-send-to tls-send-to tcp-resample tls-resample tcp-mixed \
    tls-mixed notify-uri notify-post notify-no-verify notify-concurrency notify-retries notify-command \
    output-mixed-per-media opus-bitrate output-memory-limit output-sidecar report-file notify-retry-delay notify-record notify-purge flush-packets s3-host s3-port s3-path s3-access-key \
    sqlite-db s3-secret-key s3-region s3-no-verify gcs-uri gcs-key gcs-service-account gcs-scope gcs-no-verify gcs-media-link upload-part-size";

fn startup(words: &[OsString]) -> Result<Startup, String> {
    match load(words).map_err(|error| error.to_string())? {
        Command::Run(startup) => Ok(*startup),
        other => Err(format!("{other:?}")),
    }
}

fn run(words: &[&str]) -> Result<Startup, String> {
    let mut all = vec![OsString::from("--config-file=none")];
    all.extend(words.iter().map(OsString::from));
    startup(&all)
}

#[test]
fn help_lists_the_same_options_as_ever() {
    let expected: BTreeSet<&str> = LISTED.split_whitespace().collect();
    let have: BTreeSet<&str> = PROGRAM.options().map(|spec| spec.long).collect();
    assert_eq!(have, expected);
    assert!(
        PROGRAM.help().starts_with("Usage:\n  rtpengine-recording [OPTION…]  - rtpengine recording daemon\n")
    );
}

#[test]
fn nothing_given_means_both_kinds_of_files_in_the_default_places() {
    let startup = run(&[]).expect("startup");
    let config = startup.config;
    assert_eq!(config.spool_dir, PathBuf::from("/var/spool/rtpengine"));
    assert_eq!((config.table, config.num_threads >= 8), (Some(0), true));
    let output = config.output;
    assert_eq!(output.dir, PathBuf::from("/var/lib/rtpengine-recording"));
    assert_eq!((output.single, output.mixed, output.pattern.as_str()), (true, true, "%c-%r-%t"));
    assert_eq!((output.resample_to, output.mix_num_inputs, output.dir_mode), (None, 4, 0o700));
    assert_eq!(
        (output.file_mode, output.user, output.group, output.buffer_octets),
        (None, None, None, 262_144)
    );
    assert!(startup.notices.is_empty());
}

#[test]
fn options_arrive_in_their_fields() {
    let words = [
        "--table=-1",
        "--output-mixed",
        "--mix-method=channels",
        "--mix-num-inputs=2",
        "--output-mixed-per-media",
        "--resample-to=16000",
        "--output-chmod=0640",
        "--output-chmod-dir=750",
        "--output-chown=root",
        "--output-chgrp=12",
        "--output-buffer=0",
        "--flush-packets",
        "--num-threads=3",
    ];
    let config = run(&words).expect("startup").config;
    assert_eq!((config.table, config.num_threads), (None, 3));
    let output = config.output;
    assert_eq!((output.single, output.mixed), (false, true));
    assert_eq!((output.mix_method, output.mix_num_inputs), (MixMethod::Channels, 2));
    assert_eq!((output.mix_input, output.resample_to), (MixInput::ByMedia, Some(16000)));
    assert_eq!((output.file_mode, output.dir_mode), (Some(0o640), 0o750));
    assert_eq!((output.user, output.group), (Some(0), Some(12)));
    assert_eq!((output.buffer_octets, output.flush_packets), (0, true));
}

#[test]
fn what_does_not_fit_together_is_refused() {
    const CASES: &[(&[&str], &str)] = &[
        (&["--output-dir=/x", "--spool-dir=/x"], "must not be the same"),
        (&["--output-storage=tape"], "Invalid 'output-storage' option 'tape'"),
        (&["--output-storage=file,notify"], "Invalid 'output-storage' option 'file,notify'"),
        (&["--output-storage=none"], "Both output and forwarding are disabled"),
        (&["--output-format=none", "--output-mixed"], "Output is disabled"),
        (&["--output-format=ogg"], "one of wav, mp3, flac, opus, none is accepted"),
        (&["--output-format=mp3"], "needs --mp3-bitrate"),
        (&["--output-storage=both"], "Storage 'db' needs --mysql-host"),
        (&["--output-storage=file", "--output-storage=notify"], "Storage 'notify' needs --notify-uri"),
        (&["--notify-purge"], "No 'output-storage' is left"),
        (&["--output-storage=gcs", "--gcs-uri=x"], "either --gcs-key or --gcs-service-account"),
        (&["--output-storage=s3", "--s3-host=x"], "Storage 's3' needs --s3-access-key"),
        (&["--output-storage=mem", "--output-storage=file"], "'memory' cannot be used together"),
        (&["--output-storage=mem"], "needs another storage"),
        (
            &["--output-storage=both", "--mysql-host=h", "--mysql-db=d", "--notify-concurrency=0"],
            "switches jobs off",
        ),
        (&["--mysql-host=h", "--mysql-db=d", "--sqlite-db=x"], "Only one of"),
        (&["--tcp-send-to=host"], "HOST:PORT is expected"),
        (&["--output-storage=notify", "--notify-uri=ftp://x"], "not an HTTP address"),
        (&["--tcp-send-to=a:1", "--tls-send-to=b:2"], "Only one of"),
        (&["--output-pattern=%c"], "must contain '%c' and '%t'"),
        (&["--mix-method=x"], "Invalid 'mix-method' option"),
        (&["--mix-num-inputs=33"], "an integer from 1 to 32"),
        (&["--output-chmod=8"], "an octal mode is expected"),
        (&["--output-chmod=100000"], "an octal mode is expected"),
        (&["--output-chown=no-such-user"], "Unknown user or group 'no-such-user' (--output-chown)"),
        (&["--output-buffer=-1"], "an integer of at least 0"),
        (&["--bogus"], "Bad command line: Unknown option --bogus"),
    ];
    for (words, part) in CASES {
        let error = run(words).expect_err(part);
        assert!(error.contains(part), "{words:?}: {error}");
    }
}

#[test]
fn targets_arrive_in_their_fields() {
    let words = [
        "--output-storage=s3",
        "--output-storage=gcs",
        "--output-storage=db-mem",
        "--mysql-host=h",
        "--mysql-db=d",
        "--mysql-port=3307",
        "--s3-host=s",
        "--s3-access-key=a",
        "--s3-secret-key=b",
        "--s3-path=bucket/calls",
        "--s3-region=",
        "--gcs-uri=https://g/o",
        "--gcs-key=k",
        "--gcs-no-verify",
        "--tls-send-to=host:1234",
        "--tcp-mixed",
        "--tls-resample=16000",
        "--notify-retries=-1",
        "--notify-command=/bin/true",
    ];
    let targets = run(&words).expect("startup").config.targets;
    let expected = Storages { s3: true, gcs: true, db: true, memory: true, ..Storages::default() };
    assert_eq!(targets.storages, expected);
    assert!(matches!(&targets.database, Some(DatabaseConfig::MySql(mysql)) if mysql.port == Some(3307)));
    let s3 = targets.s3.expect("s3");
    assert_eq!((s3.path.as_str(), s3.port, s3.verify), ("/bucket/calls/", 443, Verify::Certificates));
    let gcs = targets.gcs.expect("gcs");
    assert_eq!((gcs.identity, gcs.verify), (GcsIdentity::Key("k".into()), Verify::Nothing));
    let pcm = PcmConfig { address: "host:1234".into(), tls: true, sample_rate: 16_000, mixed: true };
    assert_eq!(targets.pcm, Some(pcm));
    assert_eq!((targets.notify.retries, targets.notify.concurrency), (0, 5));
}

#[test]
fn nothing_is_stored_when_packets_are_only_forwarded() {
    let config = run(&["--output-storage=none", "--forward-to=/run/x", "--output-dir=/var/spool/rtpengine"]);
    let output = config.expect("startup").config.output;
    assert_eq!((output.single, output.mixed), (false, false));
}

#[test]
fn channels_that_a_format_lacks_are_noticed() {
    let words = ["--output-format=mp3", "--mp3-bitrate=64000", "--mix-method=channels"];
    let startup = run(&words).expect("startup");
    assert_eq!(startup.config.output.mix_num_inputs, 2);
    assert!(
        startup.notices.iter().any(|notice| notice.contains("2 channels at most")),
        "{:?}",
        startup.notices
    );
}

#[test]
fn the_packaged_config_file_is_valid() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../etc/rtpengine-recording.conf");
    let startup = startup(&["--config-file".into(), path.into()]).expect("startup");
    assert!(startup.notices.is_empty(), "{:?}", startup.notices);
}

/// With `UPDATE_MAN=1` in the environment the page is written instead of compared.
#[test]
fn the_manual_page_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/man/rtpengine-recording.8");
    let page = man::render(&PROGRAM, &PAGE);
    if std::env::var_os("UPDATE_MAN").is_some() {
        std::fs::write(path, &page).expect("write");
    }
    assert_eq!(std::fs::read_to_string(path).expect("page"), page, "run this test with UPDATE_MAN=1");
}

#[test]
fn completions_are_up_to_date() {
    use service::options::completion;
    for (name, content) in [
        ("rtpengine-recording.bash", completion::bash(&PROGRAM)),
        ("_rtpengine-recording", completion::zsh(&PROGRAM)),
    ] {
        let path = format!("{}/../etc/completion/{name}", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("UPDATE_MAN").is_some() {
            std::fs::write(&path, &content).expect("write");
        }
        assert_eq!(std::fs::read_to_string(&path).expect(name), content, "run this test with UPDATE_MAN=1");
    }
}

const PAGE: ManPage = ManPage {
    section: 8,
    description: &[
        "rtpengine-recording follows the metafiles that rtpengine(8) writes with recording-method proc or all, decodes \
         the packets of recorded calls and writes audio files.",
    ],
    sections: &[
        (
            "OUTPUT PATTERN",
            &[
                "%%\tA percent sign.",
                "%c\tCall ID, percent-encoded.",
                "%r\tRandom tag.",
                "%t\tType of the stream: its SSRC, or 'mix'.",
                "%l\tLabel.",
                "%Y %m %d %H %M %S\tLocal time of opening.",
                "%u\tMicroseconds.",
                "%NUMBER\tSo many further characters of the call ID.",
                "%{KEY}\tValue of a metadata key.",
            ],
        ),
        (
            "STORAGE",
            &[
                "file\tA file in output-dir that stays. Without it, files are temporary.",
                "db, both\tContent in the database, with a file beside it in case of 'both'.",
                "notify\tContent with the HTTP notification, as form field 'ngfile'.",
                "s3, gcs\tAn object of the same name.",
                "memory, db-mem\tNo temporary files; needs another storage that takes the content.",
                "none\tNothing is recorded.",
            ],
        ),
        (
            "END OF A RECORDING",
            &[
                "complete\tEverything is stored everywhere it should be.",
                "partial\tSomething is missing; the reasons say what.",
                "discarded\tThrown away as told.",
                "failed\tNothing could be stored.",
            ],
        ),
        ("SIGNALS", &["SIGINT, SIGTERM\tFinish all recordings and exit."]),
        (
            "FILES",
            &[
                "/etc/rtpengine/rtpengine-recording.conf\tDefault config file; may be missing.",
                "OUTPUT-DIR/.state/\tRecordings that go on or are being delivered; taken up at the next start.",
                "OUTPUT-DIR/backup-NAME\tWhat could not be delivered and has no file.",
            ],
        ),
        ("SEE ALSO", &["rtpengine(8)"]),
    ],
};
