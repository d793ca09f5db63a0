//! The daemon's configuration: options and config file → one typed, validated [`Config`].

mod audio_player;
mod check;
mod control;
mod dtmf;
mod interface;
mod live;
mod load;
mod lrkp;
pub mod manual;
mod media_library;
mod media_options;
mod mqtt;
mod netfilter;
mod offload;
mod options;
mod parameters;
mod redis;
mod reporting;
mod rtcp;
mod transcoding;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use media_store::library::{Keeping, LibrarySettings};
use serde::{Deserialize, Serialize};
use service::process::ThreadStack;
use service::process::scheduling::Policy;

pub use audio_player::{AudioPlayerConfig, AudioPlayerMode};
pub use control::{ControlConfig, HttpConfig, NgClientConfig, PathMtu};
pub use dtmf::DtmfConfig;
pub use live::{Live, Setting, hundredths};
pub use load::{Command, Startup, load};
pub use lrkp::LrkpConfig;
pub use mqtt::{MqttConfig, MqttScope, MqttTls};
pub use netfilter::NetfilterAction;
pub use offload::{OffloadChoice, OffloadConfig};
pub use options::PROGRAM;
pub use redis::{Keepalive, RedisConfig, RedisLimits, RedisServer};
pub use reporting::{GraphiteConfig, HomerConfig, OtlpConfig, ReportingConfig, XmlRpcConfig, XmlRpcFormat};
pub use rtcp::{Mos, MosModel, RtcpConfig};
pub use transcoding::{
    CodecName, IpFamily, TranscodePreference, TranscodingConfig, TransformGroup, TransformTarget,
};

use crate::netfilter::NetfilterConfig;
use crate::proto::dtls::Settings as DtlsSettings;

/// Everything that the rest of the daemon may know about its configuration. Immutable after start.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Logical interfaces in the order given; the first is the default. Never empty.
    pub interfaces: Vec<LogicalInterface>,
    /// Further names of interfaces.
    pub interface_aliases: Vec<InterfaceAlias>,
    /// Ports inside the range that must not be used for media.
    pub port_exclusions: Vec<PortExclusion>,
    /// Media ports, both inclusive.
    pub port_min: u16,
    /// See `port_min`.
    pub port_max: u16,
    /// IPv4 TOS / IPv6 traffic class of media sockets; 0 = leave alone.
    pub tos: u8,
    /// What is below user space.
    pub offload: OffloadConfig,
    /// The rules that lead packets into a kernel table, and its number.
    pub netfilter: Option<(NetfilterConfig, u8)>,
    /// `iptables-chain`: gets a rule for each open media port.
    pub port_chain: Option<String>,
    /// ng over UDP.
    pub listen_ng: Vec<SocketAddr>,
    /// The command line over TCP.
    pub listen_cli: Vec<SocketAddr>,
    /// The other doors.
    pub control: ControlConfig,
    /// The lrkproxy protocol.
    pub lrkp: LrkpConfig,
    /// Digits of parties.
    pub dtmf: DtmfConfig,
    /// Who is told what.
    pub reporting: ReportingConfig,
    /// Where calls are stored; `None`: nowhere.
    pub redis: Option<RedisConfig>,
    /// `redis-allowed-errors` and its relatives, which may change.
    pub redis_limits: RedisLimits,
    /// Media or signalling make a call of another instance ours.
    pub active_switchover: bool,
    /// Media workers, at least 1.
    pub num_threads: usize,
    /// Media workers beside them, for calls that transcode.
    pub codec_threads: usize,
    /// Threads that prepare what players play; none: nothing is played.
    pub player_threads: usize,
    /// Stack of every thread that the daemon starts.
    pub thread_stack: ThreadStack,
    /// No media for this long ends a call.
    pub timeout: Duration,
    /// … for a call on hold (nobody is expected to send).
    pub silent_timeout: Duration,
    /// Age at which a call ends whatever it does; `None` = never.
    pub final_timeout: Option<Duration>,
    /// An offer without answer ends after this long.
    pub offer_timeout: Duration,
    /// Grace period of `delete`.
    pub delete_delay: Duration,
    /// Default learning mode.
    pub endpoint_learning: EndpointLearning,
    /// Use the SIP source address instead of the SDP's.
    pub sip_source: bool,
    /// Be the passive side of DTLS when both are possible.
    pub dtls_passive: bool,
    /// The other options of DTLS.
    pub dtls: DtlsSettings,
    /// Text of `s=` and user agent.
    pub software_id: String,
    /// An SDP body that ends in an empty line is an error.
    pub reject_invalid_sdp: bool,
    /// Bare transport words in flag strings mean nothing, as in series 26 of the reference.
    pub ignore_transport_words: bool,
    /// Greatest number of calls; `None` = no limit.
    pub max_sessions: Option<u64>,
    /// New calls are refused at this one-minute load average; 0 = no limit.
    pub max_load: f64,
    /// … at this use of all processors in percent; 0 = no limit.
    pub max_cpu: f64,
    /// … at this many octets of media a second; 0 = no limit.
    pub max_bandwidth: u64,
    /// RTCP and quality.
    pub rtcp: RtcpConfig,
    /// What happens between decoder and encoder.
    pub transcoding: TranscodingConfig,
    /// Where SSRC statistics go in query replies.
    pub ssrc_reporting: SsrcReporting,
    /// SRTP keys go into the log.
    pub log_srtp_keys: bool,
    /// Details of SRTP packets go into the log.
    pub debug_srtp: bool,
    /// Where calls are handed to the next instance.
    pub handover_socket: Option<PathBuf>,
    /// Further addresses of an interface are never opened for ICE.
    pub first_address_only: bool,
    /// Sockets of a call are served by one of so many cores; `None`: whichever the system likes.
    pub socket_cores: Option<u64>,
    /// Scheduling of the threads that calls wait for, and of the others.
    pub scheduling: [Policy; 2],
    /// A timer that is due within this time is due.
    pub timer_accuracy: Duration,
    /// For how long a worker looks for packets again and again before it sleeps. Packets do not gather then.
    pub busy_poll: Duration,
    /// By how much the system may lengthen a worker's sleep; `None`: its own choice (50 µs).
    pub timer_slack: Option<Duration>,
    /// Readiness events taken at once by a worker.
    pub poller_size: usize,
    /// Most packets one socket delivers before the worker looks at others.
    pub max_recv_iters: u32,
    /// Recording.
    pub recording: RecordingConfig,
    /// `moh-*` options.
    pub music_on_hold: MusicOnHoldConfig,
    /// `audio-player`, `audio-buffer-*`
    pub audio_player: AudioPlayerConfig,
    /// Media that are kept, and the database that they come from.
    pub library: LibrarySettings,
    /// Encoded announcements are kept for as long as the daemon runs.
    pub player_cache: bool,
    /// The options as `params` shows them: historical names and values.
    pub parameters: Vec<(String, String)>,
    /// Signalling templates: (name, flag string); names in lower case.
    pub templates: Vec<(String, String)>,
}

/// `moh-*` options.
#[derive(Clone, Debug, PartialEq)]
pub struct MusicOnHoldConfig {
    /// Longest music; `None`: any.
    pub max_duration: Option<Duration>,
    /// Most plays of a source, at least 1.
    pub max_repeats: u32,
    /// Session attribute that says that music plays.
    pub attribute: Option<String>,
    /// No music for who is said to play music already.
    pub prevent_double: bool,
}

impl Default for MusicOnHoldConfig {
    fn default() -> Self {
        Self {
            max_duration: Some(Duration::from_secs(1800)),
            max_repeats: 999,
            attribute: None,
            prevent_double: false,
        }
    }
}

/// `recording-*` options.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordingConfig {
    /// `recording-dir`; recording is off without it.
    pub dir: Option<PathBuf>,
    /// `recording-method`
    pub method: RecordingMethod,
    /// `recording-format`
    pub format: PcapFormat,
    /// `record-egress`/`record-both`
    pub direction: RecordDirection,
    /// `recording-spill-size` in octets
    pub spill_octets: u64,
}

/// How calls are recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordingMethod {
    /// The daemon writes pcap files.
    Pcap,
    /// Metafile plus exposed packets, consumed by rtpengine-recording.
    Proc,
    /// Both.
    All,
}

/// Link type of pcap files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PcapFormat {
    /// Packets start with the IP header.
    Raw,
    /// A synthetic Ethernet header in front.
    Ethernet,
}

/// Which side of the relay is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordDirection {
    /// What is received (default).
    Ingress,
    /// What is sent.
    Egress,
    /// Both.
    Both,
}

/// `endpoint-learning`: when the source address of packets replaces the signalled one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum EndpointLearning {
    /// Three seconds after the first packet the source of the next one is taken; until then all are heard.
    Delayed,
    /// The first packet's source is taken at once.
    Immediate,
    /// Never.
    Off,
    /// The source for which most speaks; see `media::learn`.
    #[default]
    Heuristic,
}

/// `ssrc-reporting`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SsrcReporting {
    Full,
    Inline,
    Global,
    None,
}

/// A named interface with its addresses, in order of preference.
#[derive(Clone, Debug, PartialEq)]
pub struct LogicalInterface {
    /// Name; `default` when none was given.
    pub name: String,
    /// Local addresses, never empty.
    pub addresses: Vec<LocalAddress>,
}

/// Position of a local address among the addresses of all logical interfaces, in their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct InterfaceId(pub u16);

/// `[NAME/]IP[!ADVERTISED]`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LocalAddress {
    /// What sockets are bound to.
    pub address: IpAddr,
    /// What is written into SDP.
    pub advertised: IpAddr,
    /// Own port range, both inclusive, when it differs from the global one.
    pub ports: Option<(u16, u16)>,
}

/// `ALIAS=NAME`: another name of a logical interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceAlias {
    /// The other name.
    pub alias: String,
    /// The interface's own name, which is the one that is stored and shown.
    pub interface: String,
}

/// A port that is not for media: listed in `exclude-ports`, or a control listener's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortExclusion {
    /// On this logical interface only; `None` = on all.
    pub interface: Option<String>,
    /// On this local address only; `None` = on all.
    pub address: Option<IpAddr>,
    /// The port.
    pub port: u16,
}

impl Config {
    /// Media workers of both kinds.
    pub fn workers(&self) -> usize {
        self.num_threads.max(1) + self.codec_threads
    }

    /// There is a logical interface of that name or alias.
    pub fn has_interface(&self, name: &str) -> bool {
        self.interface(name).is_some()
    }

    /// The logical interface of that name or alias.
    pub fn interface(&self, name: &str) -> Option<&LogicalInterface> {
        let alias = self.interface_aliases.iter().find(|alias| alias.alias == name);
        let name = alias.map_or(name, |alias| alias.interface.as_str());
        self.interfaces.iter().find(|interface| interface.name == name)
    }

    /// All local addresses with their logical interfaces. The position is the [`InterfaceId`].
    pub fn local_addresses(&self) -> impl Iterator<Item = (&LogicalInterface, &LocalAddress)> {
        self.interfaces
            .iter()
            .flat_map(|interface| interface.addresses.iter().map(move |local| (interface, local)))
    }

    /// Whether a port of a local address of a logical interface must not be used for media.
    pub fn is_port_excluded(&self, interface: &str, address: IpAddr, port: u16) -> bool {
        self.port_exclusions.iter().any(|excluded| {
            excluded.port == port
                && excluded.address.is_none_or(|other| other == address)
                && excluded.interface.as_deref().is_none_or(|other| other == interface)
        })
    }

    /// A configuration for tests and tools: one interface, user space, defaults everywhere else.
    pub fn for_address(address: IpAddr, advertised: IpAddr) -> Self {
        Config {
            interfaces: vec![LogicalInterface {
                name: "default".into(),
                addresses: vec![LocalAddress { address, advertised, ports: None }],
            }],
            interface_aliases: Vec::new(),
            port_exclusions: Vec::new(),
            port_min: 30000,
            port_max: 39999,
            tos: 0,
            offload: OffloadConfig::default(),
            netfilter: None,
            port_chain: None,
            listen_ng: Vec::new(),
            listen_cli: Vec::new(),
            control: ControlConfig::default(),
            lrkp: LrkpConfig::default(),
            dtmf: DtmfConfig::default(),
            reporting: ReportingConfig::default(),
            redis: None,
            redis_limits: RedisLimits::default(),
            active_switchover: false,
            num_threads: 1,
            codec_threads: 0,
            player_threads: 1,
            thread_stack: ThreadStack::Octets(2 << 20),
            timeout: Duration::from_secs(60),
            silent_timeout: Duration::from_secs(3600),
            final_timeout: None,
            offer_timeout: Duration::from_secs(3600),
            delete_delay: Duration::from_secs(30),
            endpoint_learning: EndpointLearning::Heuristic,
            sip_source: false,
            dtls_passive: false,
            dtls: DtlsSettings::default(),
            software_id: concat!("rtpengine-", env!("CARGO_PKG_VERSION")).replace('.', "-"),
            reject_invalid_sdp: false,
            ignore_transport_words: false,
            max_sessions: None,
            max_load: 0.0,
            max_cpu: 0.0,
            max_bandwidth: 0,
            rtcp: RtcpConfig::default(),
            transcoding: TranscodingConfig::default(),
            ssrc_reporting: SsrcReporting::Full,
            log_srtp_keys: false,
            debug_srtp: false,
            handover_socket: None,
            first_address_only: false,
            socket_cores: None,
            scheduling: [Policy::default(); 2],
            timer_accuracy: Duration::from_micros(500),
            poller_size: 128,
            max_recv_iters: 50,
            busy_poll: Duration::ZERO,
            timer_slack: None,
            recording: RecordingConfig {
                dir: None,
                method: RecordingMethod::Pcap,
                format: PcapFormat::Raw,
                direction: RecordDirection::Ingress,
                spill_octets: 1024 << 20,
            },
            music_on_hold: MusicOnHoldConfig::default(),
            audio_player: AudioPlayerConfig::default(),
            library: LibrarySettings {
                disk: Keeping { on_demand: true, ..Keeping::default() },
                ..LibrarySettings::default()
            },
            player_cache: false,
            parameters: Vec::new(),
            templates: Vec::new(),
        }
    }
}
