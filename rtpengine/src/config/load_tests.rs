//! The relay daemon's configuration as a user sees it.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::Write;

use proptest::prelude::*;
use service::options::{Accepts, Kind, OptionSpec, Status};

use super::*;

/// Every option that the daemon's `--help` lists in the newest generation, by long name.
const LISTED: &str = "version config-file config-section log-facility log-level log-level-core log-level-ffmpeg \
    log-level-internals log-level-spandsp log-level-transcoding log-level-codec log-level-rtcp log-level-ice \
    log-level-crypto log-level-srtp log-level-http log-level-control log-level-dtx log-stderr split-logs \
    max-log-line-length no-log-timestamps log-name log-mark-prefix log-mark-suffix pidfile foreground thread-stack \
    poller-size io-uring io-uring-buffers evs-lib-path table no-fallback offload offload-delay nftables-chain nftables-base-chain \
    nftables-append nftables-family xtables listen-lrkp lrkp-port-min lrkp-port-max \
    lrkp-internal lrkp-external lrkp-strict-ports nftables-start nftables-stop nftables-status interface interfaces-config \
    templates save-interface-ports listen-ng listen-tcp-ng listen-cli listen-tcp listen-udp graphite \
    graphite-interval graphite-prefix graphite-timeout tos control-tos control-pmtu timeout silent-timeout \
    final-timeout offer-timeout port-min port-max redis redis-write redis-subscribe redis-resolve-on-reconnect \
    redis-num-threads redis-expires no-redis-required redis-allowed-errors redis-disable-time redis-cmd-timeout \
    redis-connect-timeout redis-format subscribe-keyspace redis-tcp-keepalive-time redis-tcp-keepalive-intvl \
    redis-tcp-keepalive-probes active-switchover b2b-url log-facility-cdr log-facility-rtcp log-facility-dtmf \
    dtmf-log-dest dtmf-log-ng-tcp dtmf-no-suppress dtmf-digit-delay dtmf-no-log-injects log-format xmlrpc-format \
    num-threads media-num-threads kernel-num-threads codec-num-threads kernel-slots delete-delay sip-source \
    dtls-passive max-sessions max-load max-cpu max-bandwidth homer homer-protocol homer-id homer-disable-rtcp-stats \
    homer-enable-ng homer-ng-capture-proto recording-dir recording-method recording-format recording-spill-size record-egress record-both \
    iptables-chain codecs codecs-json check-config scheduling priority idle-scheduling idle-priority log-srtp-keys mysql-host mysql-port \
    mysql-user mysql-pass mysql-query endpoint-learning jitter-buffer jb-clock-drift jb-adaptive jb-adaptive-min \
    jb-adaptive-max debug-srtp reject-invalid-sdp ignore-transport-words dtls-rsa-key-size dtls-cert-cipher dtls-mtu dtls-ciphers \
    dtls-signature listen-http listen-https https-cert https-key http-threads http-buf-size http-idle-timeout \
    software-id poller-per-thread otlp-endpoint handover-socket timer-accuracy dtx-delay max-dtx dtx-buffer dtx-lag dtx-shift dtx-cn-params amr-dtx \
    evs-dtx silence-detect cn-payload player-cache sqlite-db media-urls playback-events-ng-tcp kernel-player kernel-player-media preload-media-files \
    media-files-reload media-files-expire expiry-timer preload-db-media db-media-reload db-media-expire \
    db-media-cache preload-db-cache db-cache-reload db-cache-expire audio-buffer-length audio-buffer-delay \
    audio-player transcode-config mqtt-host mqtt-port mqtt-tls-alpn mqtt-id mqtt-keepalive mqtt-user mqtt-pass \
    mqtt-cafile mqtt-capath mqtt-certfile mqtt-keyfile mqtt-publish-qos mqtt-publish-topic mqtt-publish-interval \
    mqtt-publish-scope mos measure-rtp ssrc-reporting socket-cpu-affinity janus-secret rtcp-interval \
    moh-max-duration moh-max-repeats moh-attr-name moh-prevent-double-hold max-recv-iters busy-poll timer-slack vsc-start-rec vsc-stop-rec \
    vsc-start-stop-rec vsc-pause-rec vsc-pause-resume-rec vsc-start-pause-resume-rec ng-client-timeout \
    ng-client-retries";

/// Accepted as well, but not shown.
const UNLISTED: &str = "ip ip6 cache-media-reload redis-delete-async redis-delete-async-interval redis-multikey \
    codec-chain-lib-path codec-chain-runners codec-chain-concurrency codec-chain-async codec-chain-nonblock \
    codec-chain-interval codec-chain-opus-application codec-chain-opus-complexity";

/// Short forms.
const SHORT: &str = "v=version L=log-level E=log-stderr p=pidfile f=foreground t=table F=no-fallback i=interface \
    S=save-interface-ports n=listen-ng N=listen-tcp-ng c=listen-cli l=listen-tcp u=listen-udp g=graphite \
    G=graphite-interval T=tos o=timeout s=silent-timeout a=final-timeout m=port-min M=port-max r=redis w=redis-write \
    q=no-redis-required k=subscribe-keyspace b=b2b-url x=xmlrpc-format d=delete-delay y=redis-delete-async";

fn run(words: &[&str]) -> Result<Startup, String> {
    let mut all = vec![OsString::from("--config-file=none")];
    all.extend(words.iter().map(OsString::from));
    startup(&all)
}

fn run_file(text: &str) -> Result<Startup, String> {
    let mut file = tempfile::NamedTempFile::new().expect("temporary file");
    file.write_all(text.as_bytes()).expect("write");
    startup(&["--config-file".into(), file.path().into()])
}

fn startup(words: &[OsString]) -> Result<Startup, String> {
    match load(words).map_err(|error| error.to_string())? {
        Command::Run(startup) => Ok(*startup),
        other => Err(format!("{other:?}")),
    }
}

const LEAST: &[&str] = &["-i", "127.0.0.1", "-n", "127.0.0.1:2223"];

fn with_least(words: &[&str]) -> Result<Startup, String> {
    run(&[LEAST, words].concat())
}

#[test]
fn the_table_has_every_option_once_and_help_lists_the_same_as_ever() {
    let listed: BTreeSet<&str> = LISTED.split_whitespace().collect();
    let unlisted: BTreeSet<&str> = UNLISTED.split_whitespace().collect();
    let mut shown = BTreeSet::new();
    for spec in PROGRAM.options() {
        let expected = if spec.is_listed() { &listed } else { &unlisted };
        assert!(expected.contains(spec.long), "{}", spec.long);
        assert!(shown.insert(spec.long), "{} is there twice", spec.long);
    }
    assert_eq!(shown.len(), listed.len() + unlisted.len());
    let help = PROGRAM.help();
    assert!(help.starts_with(
        "Usage:\n  rtpengine [OPTION…]  - next-generation media proxy\n\nHelp Options:\n  -h, --help "
    ));
    assert!(help.contains("\n\nApplication Options:\n  -v, --version "));
    for name in listed {
        assert!(help.lines().any(|line| line.contains(&format!("--{name}"))), "{name}");
    }
    let short: BTreeSet<String> = SHORT.split_whitespace().map(str::to_owned).collect();
    let have = PROGRAM.options().filter_map(|spec| Some(format!("{}={}", spec.short?, spec.long)));
    assert_eq!(have.collect::<BTreeSet<_>>(), short);
}

/// A value that the option accepts.
fn sample(spec: &OptionSpec) -> String {
    match (spec.long, spec.accepts) {
        ("interface" | "ip", _) => "127.0.0.1".into(),
        ("ip6", _) => "::1".into(),
        ("config-file", _) => "none".into(),
        ("redis" | "redis-write" | "redis-subscribe", _) => "pw@127.0.0.1:6379/1".into(),
        ("graphite" | "homer" | "dtmf-log-dest", _) => "127.0.0.1:9999".into(),
        ("mysql-query", _) => "select data from files where id = %llu".into(),
        ("media-urls", _) => "https://media.example/ivr/".into(),
        ("preload-db-media" | "preload-db-cache" | "subscribe-keyspace", _) => "5".into(),
        ("port-max", _) => "40000".into(),
        (name, _) if name.starts_with("vsc-") => "*1".into(),
        ("otlp-endpoint", _) => "http://x".into(),
        (name, _) if name.starts_with("listen-") => "127.0.0.1:22222".into(),
        (_, Accepts::Range(min, _)) => min.max(0).to_string(),
        (_, Accepts::Words(words) | Accepts::WordsAnyCase(words)) => words[0].into(),
        _ if matches!(spec.kind, Kind::Int | Kind::Int64 | Kind::Float) => "1".into(),
        _ => "x".into(),
    }
}

#[test]
fn every_option_is_accepted_and_those_without_effect_say_so() {
    const OTHERWISE: &[&str] = &[
        "version",
        "codecs",
        "codecs-json",
        "check-config",
        "templates",
        "nftables-start",
        "nftables-stop",
        "nftables-status",
        "port-min",
    ];
    for spec in PROGRAM.options().filter(|spec| !OTHERWISE.contains(&spec.long)) {
        let word = match spec.kind {
            Kind::Flag => format!("--{}", spec.long),
            _ => format!("--{}={}", spec.long, sample(spec)),
        };
        let mut words = vec![word.as_str()];
        match spec.long {
            "listen-https" => words.push("--https-cert=x"),
            "mqtt-host" => words.push("--mqtt-publish-topic=x"),
            _ => {}
        }
        let startup = with_least(&words).unwrap_or_else(|error| panic!("{word}: {error}"));
        let expected = match spec.status {
            Status::Without(reason) => {
                Some(format!("option {}: not supported, no effect: {reason}", spec.long))
            }
            _ => None,
        };
        if let Some(expected) = expected {
            let count = startup.notices.iter().filter(|notice| **notice == expected).count();
            assert_eq!(count, 1, "{:?}", startup.notices);
        } else if spec.status == Status::Active && spec.long != "recording-method" && spec.long != "table" {
            assert!(startup.notices.is_empty(), "{word}: {:?}", startup.notices);
        }
    }
}

#[test]
fn every_default_of_the_table_is_valid() {
    for spec in PROGRAM.options() {
        let Some(default) = spec.default else { continue };
        let word = format!("--{}={default}", spec.long);
        with_least(&[&word]).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn the_least_configuration_has_the_documented_defaults() {
    let startup = with_least(&[]).expect("startup");
    let mut expected =
        Config::for_address("127.0.0.1".parse().expect("ip"), "127.0.0.1".parse().expect("ip"));
    expected.listen_ng = vec!["127.0.0.1:2223".parse().expect("socket")];
    expected.num_threads = default_threads();
    expected.player_threads = default_threads();
    expected.port_exclusions = startup.config.port_exclusions.clone();
    expected.parameters = startup.config.parameters.clone();
    assert_eq!(startup.config, expected);
    assert!(!startup.process.foreground && startup.process.pidfile.is_none());
}

#[test]
fn options_arrive_in_their_fields() {
    let config = with_least(&[
        "-m",
        "1000",
        "-M",
        "2000",
        "-T184",
        "-o",
        "5",
        "-s0",
        "-a",
        "7",
        "--offer-timeout=-1",
        "-d0",
        "--num-threads=2",
        "--endpoint-learning=off",
        "--sip-source",
        "--software-id=my phone/1.0",
        "--max-sessions=-5",
        "--ssrc-reporting=inline",
        "--recording-dir=/tmp/x",
        "--recording-method=all",
        "--recording-format=eth",
        "--recording-spill-size=5",
        "--record-egress",
        "--record-both",
    ])
    .expect("startup")
    .config;
    assert_eq!((config.port_min, config.port_max, config.tos, config.num_threads), (1000, 2000, 184, 2));
    let seconds = [config.timeout, config.silent_timeout, config.offer_timeout, config.delete_delay]
        .map(|d| d.as_secs());
    assert_eq!(seconds, [5, 3600, 3600, 0]);
    assert_eq!(config.final_timeout, Some(Duration::from_secs(7)));
    assert_eq!((config.endpoint_learning, config.sip_source), (EndpointLearning::Off, true));
    assert_eq!((config.software_id.as_str(), config.max_sessions), ("my-phone-1-0", None));
    assert_eq!(config.ssrc_reporting, SsrcReporting::Inline);
    let expected = RecordingConfig {
        dir: Some("/tmp/x".into()),
        method: RecordingMethod::All,
        format: PcapFormat::Ethernet,
        direction: RecordDirection::Both,
        spill_octets: 5 << 20,
    };
    assert_eq!(config.recording, expected);
}

#[test]
fn the_control_port_is_not_for_media() {
    let config = run(&["-i", "127.0.0.1", "-n", "127.0.0.1:30000"]).expect("startup").config;
    let local = "127.0.0.1".parse().expect("ip");
    assert!(config.is_port_excluded("default", local, 30000));
    assert!(!config.is_port_excluded("default", local, 30002));
    assert!(!config.is_port_excluded("default", "127.0.0.2".parse().expect("ip"), 30000));
}

#[test]
fn an_unknown_recording_method_switches_recording_off() {
    let startup = with_least(&["--recording-dir=/tmp/x", "--recording-method=tape"]).expect("startup");
    assert_eq!(startup.config.recording.dir, None);
    assert_eq!(startup.notices, ["Recording method 'tape' not supported"]);
}

#[test]
fn off_loading_is_wanted_with_a_table_or_by_name() {
    const CASES: &[(&[&str], bool)] = &[
        (&[], false),
        (&["--table=0"], true),
        (&["-t-1"], false),
        (&["--offload=ebpf"], true),
        (&["--offload=module"], true),
        (&["--table=3", "--offload=none"], false),
    ];
    for (words, is_wanted) in CASES {
        assert_eq!(with_least(words).expect("startup").config.offload.is_wanted(), *is_wanted, "{words:?}");
    }
    let config = with_least(&["-t5", "-F", "--offload-delay=20"]).expect("startup").config;
    assert_eq!((config.offload.table, config.offload.no_fallback), (Some(5), true));
    assert_eq!(config.offload.delay, std::time::Duration::from_millis(20));
}

#[test]
fn what_keeps_the_daemon_from_starting_is_said() {
    const CASES: &[(&[&str], &str)] = &[
        (&["-n", "2223"], "Cannot start without any configured interfaces"),
        (&["-i127.0.0.1"], "Missing option --listen-tcp, --listen-udp, --listen-ng,"),
        (&["-i127.0.0.1", "-c", "127.0.0.1:2224"], "Missing option --listen-tcp"),
        (&["-i127.0.0.1", "-n", "xx"], "Invalid IP or port 'xx' ('listen-ng')"),
        (&["-i127.0.0.1", "-n", "127.0.0.1"], "Invalid IP or port '127.0.0.1' ('listen-ng')"),
        (
            &["-i127.0.0.1", "-n2223", "-c", "1.2.3.4:99999"],
            "Invalid IP or port '1.2.3.4:99999' ('listen-cli')",
        ),
        (&["-i127.0.0.1", "-n2223", "-m", "5", "-M", "4"], "Invalid RTP port range"),
        (&["-i127.0.0.1", "-n2223", "--tos=256"], "Invalid TOS value"),
        (&["-i127.0.0.1", "-n2223", "--control-tos=256"], "Invalid control-ng TOS value"),
        (&["-i127.0.0.1", "-n2223", "-x3"], "Invalid XMLRPC format"),
        (&["-i127.0.0.1", "-n2223", "--log-format=x"], "Invalid --log-format option"),
        (&["-i127.0.0.1", "-n2223", "--mos=x"], "Invalid --mos option"),
        (&["-i127.0.0.1", "-n2223", "--cn-payload=128"], "Invalid CN payload specified (--cn-payload)"),
        (
            &["-i127.0.0.1", "-n2223", "--redis=localhost"],
            "Invalid Redis endpoint [IP:PORT/INT] 'localhost' (--redis)",
        ),
        (&["-i127.0.0.1", "-n2223", "--mysql-query=x"], "No '%llu' present in --mysql-query='x'"),
        (&["-i127.0.0.1", "-n2223", "--mysql-query=%llu%d"], "Too many '%' placeholders (2) present"),
        (&["-i127.0.0.1", "-n2223", "--templates=t"], "Failed to load keys from given config file section"),
        (&["-i127.0.0.1", "-n2223", "--nftables-start"], "--nftables-start needs a kernel table"),
        (&["-i127.0.0.1", "--listen-lrkp=22333", "--lrkp-port-max=30002"], "overlaps --port-min/--port-max"),
        (&["-i127.0.0.1", "--listen-lrkp=22333", "--lrkp-port-max=2000"], "Invalid port range of lrkproxy"),
        (&["-i127.0.0.1", "--listen-lrkp=22333", "--lrkp-internal=x"], "There is no interface 'x'"),
        (&["-i::1", "--listen-lrkp=22333"], "lrkproxy relays IPv4 only"),
        (&["-i127.0.0.1", "--listen-lrkp=nowhere"], "Invalid IP or port 'nowhere' ('listen-lrkp')"),
        (&["-i127.0.0.1", "-n2223", "--table=64"], "Invalid value: '64' given for --table"),
    ];
    for (words, part) in CASES {
        let error = run(words).expect_err(part);
        assert!(error.contains(part), "{words:?}: {error}");
    }
}

#[test]
fn a_config_file_gives_interfaces_and_templates() {
    let startup = run_file(
        "[rtpengine]\ninterfaces-config = interface\nlisten-ng = 127.0.0.1:2223\ntemplates = t\n\
         [interface-pub]\naddress = 127.0.0.1\nadvertised = 192.0.2.1\n[interface-other]\nalias = pub\n\
         [t]\nWebRTC = transport-protocol=UDP/TLS/RTP/SAVPF ICE=force\n[transcode-x]\n",
    )
    .expect("startup");
    let config = startup.config;
    assert_eq!(config.interfaces[0].name, "pub");
    assert_eq!(config.interface("other"), config.interface("pub"));
    assert_eq!(config.interface("none"), None);
    assert_eq!(
        config.templates,
        [("webrtc".into(), "transport-protocol=UDP/TLS/RTP/SAVPF ICE=force".into())]
    );
}

#[test]
fn version_and_codecs_need_no_other_option() {
    let none = OsString::from("--config-file=none");
    for (word, expected) in [("-v", "Version"), ("--codecs", "Codecs"), ("--help", "Help")] {
        let command = load(&[none.clone(), word.into()]).expect(word);
        assert!(format!("{command:?}").starts_with(expected), "{word}");
    }
}

#[test]
fn the_packaged_config_file_is_valid() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../etc/rtpengine.conf");
    for section in ["rtpengine", "rtpengine-testing"] {
        let words = ["--config-file", path, "--config-section", section].map(OsString::from);
        // 'any' needs an interface besides loopback.
        match startup(&words) {
            Ok(startup) => assert!(!startup.config.listen_ng.is_empty()),
            Err(error) => assert!(error.contains("'any'"), "{error}"),
        }
    }
}

/// With `UPDATE_MAN=1` in the environment the page is written instead of compared.
#[test]
fn the_manual_page_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/man/rtpengine.8");
    let page = super::super::manual::page();
    if std::env::var_os("UPDATE_MAN").is_some() {
        std::fs::write(path, &page).expect("write");
    }
    assert_eq!(std::fs::read_to_string(path).expect("page"), page, "run this test with UPDATE_MAN=1");
}

proptest! {
    #[test]
    fn no_interface_text_makes_the_parser_panic(text in r"([a-c]{0,2}[/=!])?[0-9a-f.:!\[\]/=]{0,20}") {
        let _ = run(&["-n", "127.0.0.1:2223", "-i", &format!("[{text}")]);
    }
}

#[test]
fn mqtt_needs_a_topic_and_authorities_for_tls() {
    let mqtt = |words: &[&str]| with_least(&[&["--mqtt-host=broker"], words].concat());
    let cases: &[(&[&str], &str)] = &[
        (&[], "--mqtt-host needs --mqtt-publish-topic"),
        (&["--mqtt-publish-topic=a/#"], "Invalid topic 'a/#' (--mqtt-publish-topic)"),
        (
            &["--mqtt-publish-topic=a", "--mqtt-certfile=c"],
            "--mqtt-certfile and --mqtt-tls-alpn need --mqtt-cafile or --mqtt-capath",
        ),
        (&["--mqtt-publish-topic=a", "--mqtt-keyfile=c"], "--mqtt-keyfile needs --mqtt-certfile"),
    ];
    for (words, expected) in cases {
        assert_eq!(mqtt(words).expect_err("refused"), *expected);
    }
    let config = mqtt(&["--mqtt-publish-topic=a", "--mqtt-cafile=c", "--mqtt-tls-alpn=mqtt"]).expect("taken");
    let mqtt = config.config.reporting.mqtt.expect("wanted");
    assert_eq!(mqtt.tls.and_then(|tls| tls.alpn).as_deref(), Some("mqtt"));
    assert_eq!((mqtt.port, mqtt.interval), (1883, Duration::from_secs(5)));
}

#[test]
fn star_codes_are_digits() {
    let startup = with_least(&["--vsc-start-rec=*1a"]).expect("taken");
    assert_eq!(startup.config.dtmf.star_codes, [("start-rec".into(), "*1A".into())]);
    let refused = with_least(&["--vsc-stop-rec=*x"]).expect_err("refused");
    assert!(refused.starts_with("Invalid digits '*x' (--vsc-stop-rec)"), "{refused}");
}
