//! Command line and config file → [`Config`].

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use service::address;
use service::log::{LogConfig, Subsystem};
use service::options::{Loaded, OptionError, Settings};
use service::process::ProcessConfig;
use service::process::scheduling::Policy;

use super::interface::Interfaces;
use super::options::PROGRAM;
use super::{
    AudioPlayerConfig, Config, ControlConfig, DtmfConfig, EndpointLearning, LrkpConfig, MusicOnHoldConfig,
    NetfilterAction, OffloadConfig, PcapFormat, PortExclusion, RecordDirection, RecordingConfig,
    RecordingMethod, RedisConfig, RedisLimits, ReportingConfig, RtcpConfig, SsrcReporting, TranscodingConfig,
    check, media_library, netfilter, parameters,
};
use crate::netfilter::NetfilterConfig;
use crate::proto::dtls::{CertificateKey, CertificateOptions, Settings as DtlsSettings, SignatureHash};

/// What the user started the program for.
#[derive(Debug)]
pub enum Command {
    /// To read this text.
    Help(String),
    /// To see the version.
    Version,
    /// To see what codecs are made of and what they cost; EVS is coded by this library.
    CodecCatalogue(Option<PathBuf>),
    /// To see the list of codecs, likewise.
    Codecs(Option<PathBuf>),
    /// To know whether the configuration is valid: it is; these are its warnings.
    Check(Vec<String>),
    /// Do something about netfilter rules and exit.
    Netfilter {
        /// What.
        action: NetfilterAction,
        /// Which rules.
        config: NetfilterConfig,
        /// To which kernel table they lead.
        table: u8,
    },
    /// To run the daemon.
    Run(Box<Startup>),
}

/// Everything needed to start.
#[derive(Debug)]
pub struct Startup {
    /// For the daemon's parts.
    pub config: Config,
    /// For the log.
    pub log: LogConfig,
    /// For the process.
    pub process: ProcessConfig,
    /// To be logged as warnings once the log works.
    pub notices: Vec<String>,
}

/// Understands the words after the program's name.
///
/// # Errors
/// With everything that keeps the daemon from starting: words, config file, values, names that do not resolve.
pub fn load(words: &[OsString]) -> Result<Command, OptionError> {
    let settings = match service::options::load(&PROGRAM, words)? {
        Loaded::Help => return Ok(Command::Help(PROGRAM.help())),
        Loaded::Settings(settings) => settings,
    };
    if settings.flag("version") {
        return Ok(Command::Version);
    }
    if settings.flag("codecs-json") {
        return Ok(Command::CodecCatalogue(settings.path("evs-lib-path")));
    }
    if settings.flag("codecs") {
        return Ok(Command::Codecs(settings.path("evs-lib-path")));
    }
    let mut log = LogConfig::from_settings(&settings)?;
    if settings.flag("debug-srtp") {
        log.levels[Subsystem::Srtp as usize] = 7;
    }
    check::rules(&settings)?;
    if let Some((action, config, table)) = netfilter::action(&settings)? {
        return Ok(Command::Netfilter { action, config, table });
    }
    let process = ProcessConfig::from_settings(&settings);
    let mut notices = settings.notices();
    let config = build(&settings, &process, &mut notices)?;
    if settings.flag("check-config") {
        return Ok(Command::Check(notices));
    }
    Ok(Command::Run(Box::new(Startup { config, log, process, notices })))
}

fn build(
    settings: &Settings,
    process: &ProcessConfig,
    notices: &mut Vec<String>,
) -> Result<Config, OptionError> {
    check::later_features(settings)?;
    let ports = (port(settings, "port-min")?, port(settings, "port-max")?);
    if ports.0 > ports.1 {
        return Err(OptionError::invalid(format!(
            "Invalid RTP port range: --port-min {} exceeds --port-max {}",
            ports.0, ports.1
        )));
    }
    let found = Interfaces::from_settings(settings, ports)?;
    let listen_ng = listeners(settings, "listen-ng")?;
    let mut port_exclusions = found.exclusions;
    let lrkp = LrkpConfig::from_settings(settings, &found.interfaces, ports)?;
    let udp_listeners = listen_ng.iter().chain(&lrkp.listen).copied();
    let udp_listeners = udp_listeners.chain(listeners(settings, "listen-udp")?);
    port_exclusions.extend(udp_listeners.map(|listener| PortExclusion {
        interface: None,
        address: Some(listener.ip()).filter(|address| !address.is_unspecified()),
        port: listener.port(),
    }));
    check_other_listeners(settings)?;
    let seconds = |name: &str| Duration::from_secs(u64::from(settings.positive_int(name)));
    Ok(Config {
        interfaces: found.interfaces,
        interface_aliases: found.aliases,
        port_exclusions,
        port_min: ports.0,
        port_max: ports.1,
        tos: u8::try_from(settings.int("tos")).unwrap_or(0),
        offload: OffloadConfig::from_settings(settings),
        netfilter: netfilter::from_settings(settings),
        port_chain: settings.text("iptables-chain").filter(|chain| !chain.is_empty()),
        listen_ng,
        listen_cli: listeners(settings, "listen-cli")?,
        control: ControlConfig::from_settings(settings, |option| listeners(settings, option))?,
        lrkp,
        dtmf: DtmfConfig::from_settings(settings)?,
        reporting: ReportingConfig::from_settings(settings)?,
        redis: RedisConfig::from_settings(settings, notices)?,
        redis_limits: RedisLimits::from_settings(settings),
        active_switchover: settings.flag("active-switchover"),
        num_threads: num_threads(settings),
        codec_threads: usize::try_from(settings.int("codec-num-threads")).unwrap_or(0),
        player_threads: player_threads(settings),
        thread_stack: process.thread_stack,
        timeout: seconds("timeout"),
        silent_timeout: seconds("silent-timeout"),
        final_timeout: positive(settings, "final-timeout").map(Duration::from_secs),
        offer_timeout: seconds("offer-timeout"),
        delete_delay: positive(settings, "delete-delay").map(Duration::from_secs).unwrap_or_default(),
        endpoint_learning: match settings.text("endpoint-learning").as_deref() {
            Some("delayed") => EndpointLearning::Delayed,
            Some("immediate") => EndpointLearning::Immediate,
            Some("off") => EndpointLearning::Off,
            _ => EndpointLearning::Heuristic,
        },
        sip_source: settings.flag("sip-source"),
        dtls_passive: settings.flag("dtls-passive"),
        dtls: DtlsSettings {
            certificate: dtls_certificate(settings),
            ciphers: settings.text("dtls-ciphers").unwrap_or_default(),
            mtu: u16::try_from(settings.int("dtls-mtu")).unwrap_or(u16::MAX),
        },
        software_id: software_id(settings),
        reject_invalid_sdp: settings.flag("reject-invalid-sdp"),
        ignore_transport_words: settings.flag("ignore-transport-words"),
        max_sessions: u64::try_from(settings.int("max-sessions")).ok(),
        max_load: settings.float("max-load").unwrap_or(0.0),
        max_cpu: settings.float("max-cpu").unwrap_or(0.0),
        max_bandwidth: settings
            .int64("max-bandwidth")
            .and_then(|limit| u64::try_from(limit).ok())
            .unwrap_or(0),
        rtcp: RtcpConfig::from_settings(settings),
        transcoding: TranscodingConfig::from_settings(settings, notices)?,
        ssrc_reporting: match settings.text("ssrc-reporting").as_deref() {
            Some("inline") => SsrcReporting::Inline,
            Some("global") => SsrcReporting::Global,
            Some("none") => SsrcReporting::None,
            _ => SsrcReporting::Full,
        },
        log_srtp_keys: settings.flag("log-srtp-keys"),
        debug_srtp: settings.flag("debug-srtp"),
        handover_socket: settings.path("handover-socket"),
        first_address_only: settings.flag("save-interface-ports"),
        socket_cores: socket_cores(settings.int("socket-cpu-affinity"))?,
        scheduling: [("scheduling", "priority"), ("idle-scheduling", "idle-priority")].map(
            |(class, priority)| Policy::from_options(settings.text(class).as_deref(), settings.int(priority)),
        ),
        timer_accuracy: Duration::from_micros(u64::from(settings.positive_int("timer-accuracy"))),
        busy_poll: Duration::from_micros(u64::from(settings.positive_int("busy-poll"))),
        timer_slack: match settings.positive_int("timer-slack") {
            0 => None,
            slack => Some(Duration::from_nanos(u64::from(slack))),
        },
        poller_size: (settings.positive_int("poller-size") as usize).clamp(1, 4096),
        max_recv_iters: settings.positive_int("max-recv-iters"),
        recording: recording(settings, notices),
        music_on_hold: MusicOnHoldConfig {
            max_duration: positive(settings, "moh-max-duration").map(Duration::from_millis),
            max_repeats: u32::try_from(settings.int("moh-max-repeats")).unwrap_or(1).max(1),
            attribute: settings.text("moh-attr-name").filter(|name| !name.is_empty()),
            prevent_double: settings.flag("moh-prevent-double-hold"),
        },
        audio_player: AudioPlayerConfig::from_settings(settings),
        library: media_library::from_settings(settings)?,
        player_cache: settings.flag("player-cache"),
        parameters: parameters::list(settings, num_threads(settings)),
        templates: check::templates(settings)?,
    })
}

fn dtls_certificate(settings: &Settings) -> CertificateOptions {
    let is_one_of = |name: &str, words: &[&str]| {
        settings.text(name).is_some_and(|text| words.iter().any(|word| text.eq_ignore_ascii_case(word)))
    };
    let rsa_bits = u32::try_from(settings.int("dtls-rsa-key-size")).unwrap_or(u32::MAX);
    CertificateOptions {
        key: if is_one_of("dtls-cert-cipher", &["RSA"]) {
            CertificateKey::Rsa(rsa_bits)
        } else {
            CertificateKey::P256
        },
        signature: if is_one_of("dtls-signature", &["SHA-1", "SHA1"]) {
            SignatureHash::Sha1
        } else {
            SignatureHash::Sha256
        },
    }
}

fn port(settings: &Settings, name: &str) -> Result<u16, OptionError> {
    u16::try_from(settings.int(name)).map_err(|_| OptionError::invalid(format!("Invalid value for --{name}")))
}

fn positive(settings: &Settings, name: &str) -> Option<u64> {
    u64::try_from(settings.int(name)).ok().filter(|value| *value > 0)
}

/// Media workers.
fn num_threads(settings: &Settings) -> usize {
    settings
        .int_if_set("num-threads")
        .and_then(|threads| usize::try_from(threads).ok())
        .filter(|threads| *threads > 0)
        .unwrap_or_else(default_threads)
}

/// Negative means the default.
fn player_threads(settings: &Settings) -> usize {
    let threads = settings.int_if_set("media-num-threads").and_then(|threads| usize::try_from(threads).ok());
    threads.unwrap_or_else(|| num_threads(settings))
}

pub(super) fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(4, |cores| cores.get().max(4))
}

/// 0: none; negative: as many as there are.
fn socket_cores(cores: i32) -> Result<Option<u64>, OptionError> {
    match cores {
        0 => Ok(None),
        1.. => Ok(u64::try_from(cores).ok()),
        _ => match std::thread::available_parallelism() {
            Ok(cores) => Ok(Some(cores.get() as u64)),
            Err(error) => Err(OptionError::invalid(format!(
                "Number of CPU cores is unknown (--socket-cpu-affinity): {error}"
            ))),
        },
    }
}

fn listeners(settings: &Settings, option: &str) -> Result<Vec<SocketAddr>, OptionError> {
    let mut sockets = Vec::new();
    for text in settings.list(option) {
        let resolved = address::resolve_listen(&text).map_err(|error| {
            OptionError::invalid(format!("Invalid IP or port '{text}' ('{option}'): {error}"))
        })?;
        sockets.extend(resolved);
    }
    Ok(sockets)
}

fn check_other_listeners(settings: &Settings) -> Result<(), OptionError> {
    const DOORS: &[&str] =
        &["listen-tcp", "listen-udp", "listen-ng", "listen-tcp-ng", "listen-http", "listen-https"];
    for option in DOORS.iter().chain(&["listen-cli"]) {
        listeners(settings, option)?;
    }
    if DOORS.iter().chain(&["listen-lrkp"]).any(|option| settings.is_set(option)) {
        return Ok(());
    }
    Err(OptionError::invalid(
        "Missing option --listen-tcp, --listen-udp, --listen-ng, --listen-tcp-ng, --listen-http, or --listen-https",
    ))
}

fn recording(settings: &Settings, notices: &mut Vec<String>) -> RecordingConfig {
    let mut dir = settings.path("recording-dir");
    let method = match settings.text("recording-method").as_deref() {
        Some("pcap") | None => RecordingMethod::Pcap,
        Some("proc") => RecordingMethod::Proc,
        Some("all") => RecordingMethod::All,
        Some(other) => {
            notices.push(format!("Recording method '{other}' not supported"));
            dir = None;
            RecordingMethod::Pcap
        }
    };
    RecordingConfig {
        dir,
        method,
        format: match settings.text("recording-format").as_deref() {
            Some("eth") => PcapFormat::Ethernet,
            _ => PcapFormat::Raw,
        },
        direction: match (settings.flag("record-both"), settings.flag("record-egress")) {
            (true, _) => RecordDirection::Both,
            (false, true) => RecordDirection::Egress,
            (false, false) => RecordDirection::Ingress,
        },
        spill_octets: u64::try_from(settings.int("recording-spill-size")).unwrap_or(0) << 20,
    }
}

pub(super) fn software_id(settings: &Settings) -> String {
    let text = settings.text("software-id").unwrap_or_else(|| format!("rtpengine-{}", crate::VERSION));
    text.chars().map(|char| if char.is_ascii_alphanumeric() { char } else { '-' }).collect()
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
