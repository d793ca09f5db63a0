//! The relay daemon's option table.

use service::options::common::{FACILITIES, FACILITY_ARG, GENERAL, LOGGING, subsystem};
use service::options::{OptionGroup, OptionSpec, Program};

use super::offload::CHOICES;

/// The relay daemon with all its options.
pub const PROGRAM: Program = Program {
    name: "rtpengine",
    summary: "next-generation media proxy",
    config_file: "/etc/rtpengine/rtpengine.conf",
    config_section: "rtpengine",
    groups: &[
        OptionGroup { title: "General", options: GENERAL },
        OptionGroup { title: "Logging", options: LOGGING },
        OptionGroup { title: "Logging of the media proxy", options: MORE_LOGGING },
        OptionGroup { title: "Threads and limits", options: PROCESS },
        OptionGroup { title: "Kernel and firewall", options: KERNEL },
        OptionGroup { title: "Interfaces and media sockets", options: MEDIA_SOCKETS },
        OptionGroup { title: "Control", options: CONTROL },
        OptionGroup { title: "Redis", options: REDIS },
        OptionGroup { title: "Statistics and notifications", options: REPORTING },
        OptionGroup { title: "Media", options: super::media_options::MEDIA },
        OptionGroup { title: "Media library", options: super::media_options::LIBRARY },
        OptionGroup { title: "DTLS", options: super::media_options::DTLS },
        OptionGroup { title: "Recording", options: super::media_options::RECORDING },
    ],
};

type O = OptionSpec;

/// Argument of listen options in `--help`.
const LISTEN: &str = "[IP46|HOSTNAME:]PORT ...";
const REMOTE: &str = "IP46|HOSTNAME:PORT";
const POLICIES: &[&str] = &["default", "none", "fifo", "rr", "other", "batch", "idle"];
const POLICY_ARG: &str = "default|none|fifo|rr|other|batch|idle";

const MORE_LOGGING: &[OptionSpec] = &[
    subsystem("log-level-spandsp", "Log level of the telephony signal library"),
    subsystem("log-level-transcoding", "Log level of transcoding"),
    subsystem("log-level-codec", "Log level of codecs"),
    subsystem("log-level-rtcp", "Log level of RTCP"),
    subsystem("log-level-ice", "Log level of ICE"),
    subsystem("log-level-crypto", "Log level of key exchange"),
    subsystem("log-level-srtp", "Log level of SRTP"),
    subsystem("log-level-http", "Log level of HTTP and WebSocket"),
    subsystem("log-level-control", "Log level of control protocols"),
    subsystem("log-level-dtx", "Log level of discontinuous transmission"),
    O::text("log-format", "default|parsable", "Style of the context in log lines")
        .default("default")
        .words(&["default", "parsable"])
        .complaint("Invalid --log-format option"),
    O::text("log-facility-cdr", FACILITY_ARG, "Syslog facility of call detail records").words(FACILITIES),
    O::text("log-facility-rtcp", FACILITY_ARG, "Syslog facility of RTCP data").words(FACILITIES),
    O::text("log-facility-dtmf", FACILITY_ARG, "Syslog facility of DTMF events").words(FACILITIES),
    O::flag("log-srtp-keys", "Log SRTP keys at error level"),
    O::flag("debug-srtp", "Log details of SRTP packets: all RTCP, every 512th RTP packet"),
    O::text("dtmf-log-dest", REMOTE, "Send DTMF events as JSON datagrams to this address"),
    O::flag("dtmf-log-ng-tcp", "Send DTMF events to all ng clients over TCP"),
    O::flag("dtmf-no-suppress", "Do not suppress audio while a DTMF event is sent"),
    O::int("dtmf-digit-delay", "Longest pause between digits of a trigger, in ms").default("2500"),
    O::flag("dtmf-no-log-injects", "Do not report DTMF events made by 'play DTMF'"),
];

const PROCESS: &[OptionSpec] = &[
    O::flag("check-config", "Say whether the configuration is valid, and exit"),
    O::flag("codecs", "Print the list of codecs and exit"),
    O::flag(
        "codecs-json",
        "Print the codecs with implementation, licence and measured cost as JSON and exit",
    ),
    O::int("num-threads", "Worker threads").default_note("number of CPU cores, at least 4"),
    O::int("media-num-threads", "Threads for playback of media; 0 for no playback")
        .default_note("num-threads"),
    O::int("codec-num-threads", "Threads for calls that transcode; 0 for none of their own").default("0"),
    O::flag("poller-per-thread", "One poller for each worker (always so)"),
    O::int("socket-cpu-affinity", "Spread calls' sockets over so many CPU cores; negative for all")
        .default("0"),
    O::text("scheduling", POLICY_ARG, "Scheduling policy of workers").words(POLICIES),
    O::int("priority", "Scheduling priority or nice value of workers").default("0"),
    O::text("idle-scheduling", POLICY_ARG, "Scheduling policy of background threads").words(POLICIES),
    O::int("idle-priority", "Scheduling priority or nice value of background threads").default("0"),
    O::int("timer-accuracy", "Shortest sleep of a timer thread in microseconds").default("500").at_least(0),
    O::file("handover-socket", "UNIX socket on which calls are handed to the next instance without a gap")
        .arg("PATH"),
    O::int(
        "busy-poll",
        "Microseconds for which a media worker looks for packets again and again before it sleeps",
    )
    .default("0")
    .at_least(0),
    O::int(
        "timer-slack",
        "Nanoseconds by which the system may lengthen a media worker's sleep; 0 for its own choice",
    )
    .default("0")
    .at_least(0),
    O::int("max-recv-iters", "Most packets a socket delivers before other sockets have their turn")
        .default("50")
        .at_least(1),
    O::text("software-id", "STRING", "Software name shown to peers").default_note("rtpengine-VERSION"),
    O::file("codec-chain-lib-path", "Library of a codec accelerator").unsupported(),
    O::int("codec-chain-runners", "Runners of the codec accelerator").default("2").unsupported(),
    O::int("codec-chain-concurrency", "Concurrency of the codec accelerator").default("256").unsupported(),
    O::int("codec-chain-async", "Asynchronous threads of the codec accelerator").default("0").unsupported(),
    O::flag("codec-chain-nonblock", "Do not wait for the codec accelerator").unsupported(),
    O::int("codec-chain-interval", "Interval of the codec accelerator in microseconds")
        .default("10000")
        .unsupported(),
    O::text(
        "codec-chain-opus-application",
        "default|voip|audio|low-delay",
        "Opus application of the accelerator",
    )
    .words(&["default", "voip", "audio", "low-delay"])
    .unsupported(),
    O::int("codec-chain-opus-complexity", "Opus complexity of the accelerator")
        .default("10")
        .range(0, 10)
        .unsupported(),
];

const NO_RINGS: &str =
    "the kernel module has no ring buffers, packets that it does not forward come through sockets";
const CHOICE_ARG: &str = "auto|module|ebpf|none";

const KERNEL: &[OptionSpec] = &[
    O::int("table", "Kernel forwarding table, 0 to 63; negative forwards in user space only")
        .short('t')
        .default("-1")
        .range(i32::MIN as i64, 63),
    O::flag("no-fallback", "Do not start when media can be forwarded in user space only").short('F'),
    O::text(
        "offload",
        CHOICE_ARG,
        "What forwards established streams: with auto and a table the kernel module, else eBPF",
    )
    .words(CHOICES)
    .default("auto"),
    O::int("offload-delay", "How long a stream stays in user space after a change, in ms")
        .default("3000")
        .range(0, 60_000),
    O::int("kernel-slots", "Slots of the ring buffers shared with the kernel").default("0").without(NO_RINGS),
    O::int("kernel-num-threads", "Kernel threads that send from the ring buffers")
        .default("-1")
        .without(NO_RINGS),
    O::text("nftables-chain", "STR", "Netfilter chain to manage; empty for none")
        .default_note("rtpengine_TABLE"),
    O::text(
        "nftables-base-chain",
        "STR",
        "Netfilter chain that gets the jump rule; 'none' for no such rule, empty for a chain of its own",
    )
    .default("INPUT"),
    O::flag("nftables-append", "Append rules instead of prepending them"),
    O::text("nftables-family", "ip|ip6|ip,ip6|inet", "Address families of netfilter rules")
        .words(&["ip", "ip4", "ip6", "ip,ip6", "ip4,ip6", "ip6,ip", "ip6,ip4", "inet"]),
    O::flag("xtables", "Use the x_tables target in netfilter rules"),
    O::flag("nftables-start", "Add netfilter rules and exit"),
    O::flag("nftables-stop", "Remove netfilter rules and exit"),
    O::flag("nftables-status", "Check netfilter rules and exit"),
    O::text("iptables-chain", "STRING", "Netfilter chain for one rule per open port"),
    O::int("kernel-player", "Most announcements that the kernel module sends at a time; 0 for none")
        .default("0")
        .range(0, 1_000_000),
    O::int("kernel-player-media", "Most announcements that the kernel module has copies of")
        .default("128")
        .range(0, 65_536),
];

const MEDIA_SOCKETS: &[OptionSpec] = &[
    O::list("interface", "[NAME/]IP[!IP]", "Local address for media, with name and advertised address")
        .short('i'),
    O::list("ip", "IP", "Local address for media").alias_of("interface"),
    O::list("ip6", "IP6", "Local IPv6 address for media").alias_of("interface"),
    O::text("interfaces-config", "STR", "Prefix of the config file groups that define interfaces"),
    O::flag("save-interface-ports", "Allocate ports on the first address of an interface only").short('S'),
    O::int("port-min", "Lowest port for media").short('m').default("30000").range(1, 65535),
    O::int("port-max", "Highest port for media").short('M').default("39999").range(1, 65535),
    O::int("tos", "TOS or traffic class of media packets")
        .short('T')
        .default("0")
        .range(0, 255)
        .complaint("Invalid TOS value"),
    O::int("timeout", "Calls without media end after so many seconds").arg("SECS").short('o').default("60"),
    O::int("silent-timeout", "Calls on hold without media end after so many seconds")
        .arg("SECS")
        .short('s')
        .default("3600"),
    O::int("final-timeout", "Calls end after so many seconds; 0 means never")
        .arg("SECS")
        .short('a')
        .default("0"),
    O::int("offer-timeout", "Offers without answer end after so many seconds").arg("SECS").default("3600"),
    O::int("delete-delay", "Seconds between deletion and removal of a call")
        .short('d')
        .default("30")
        .at_least(0),
    O::text(
        "endpoint-learning",
        "delayed|immediate|off|heuristic",
        "When the source of media becomes its destination",
    )
    .default("heuristic")
    .words(&["delayed", "immediate", "off", "heuristic"]),
    O::flag("sip-source", "Trust the source address of SIP messages more than SDP"),
    O::flag("active-switchover", "Take over calls of another instance when they become active"),
    O::int("jitter-buffer", "Size of the jitter buffer in packets; 0 for none").default("0").at_least(0),
    O::flag("jb-clock-drift", "Compensate clock drift in the jitter buffer"),
    O::flag("jb-adaptive", "Adapt the size of the jitter buffer"),
    O::int("jb-adaptive-min", "Least delay of the adaptive jitter buffer in ms").default("0").at_least(0),
    O::int("jb-adaptive-max", "Most delay of the adaptive jitter buffer in ms").default("300").range(0, 1000),
    O::int("rtcp-interval", "Base interval of generated RTCP in ms").default("5000"),
    O::flag("measure-rtp", "Measure the quality of forwarded streams too"),
    O::list("mos", "CQ|LQ", "How mean opinion scores are estimated")
        .words_any_case(&["CQ", "LQ", "legacy", "G.107", "G107", "G.107.2", "G107.2", "G.1072", "G1072"])
        .complaint("Invalid --mos option"),
    O::text("ssrc-reporting", "full|inline|global|none", "Where replies contain statistics of SSRCs")
        .default("full")
        .words(&["full", "inline", "global", "none"]),
    O::flag("reject-invalid-sdp", "Refuse SDP bodies that are not clean"),
    O::flag("ignore-transport-words", "Ignore bare transport words (RTP/AVP, SRTP) in flag strings"),
];

const CONTROL: &[OptionSpec] = &[
    O::list("listen-ng", LISTEN, "UDP address of the ng protocol").short('n'),
    O::list("listen-tcp-ng", LISTEN, "TCP address of the ng protocol").short('N'),
    O::list("listen-cli", LISTEN, "TCP address of the command line interface").short('c'),
    O::list("listen-tcp", "[IP:]PORT ...", "TCP address of the OpenSER mediaproxy protocol").short('l'),
    O::list("listen-udp", LISTEN, "UDP address of the rtpproxy protocol").short('u'),
    O::list("listen-lrkp", "[IP:]PORT|unix:PATH", "UDP address or UNIX socket of the lrkproxy protocol"),
    O::int("lrkp-port-min", "First port that lrkproxy is told to choose from")
        .default("20000")
        .range(1024, 65535),
    O::int("lrkp-port-max", "Last port that lrkproxy is told to choose from")
        .default("29998")
        .range(1024, 65535),
    O::text("lrkp-internal", "NAME", "Interface whose address lrkproxy is told as internal")
        .default_note("'internal', else the first one"),
    O::text("lrkp-external", "NAME", "Interface whose address lrkproxy is told as external")
        .default_note("'external', else the first one"),
    O::flag("lrkp-strict-ports", "Refuse ports outside the range that lrkproxy was told"),
    O::list("listen-http", "[IP46|HOSTNAME:]PORT", "Address of HTTP and WebSocket"),
    O::list("listen-https", "[IP46|HOSTNAME:]PORT", "Address of HTTPS and secure WebSocket"),
    O::file("https-cert", "Certificate of HTTPS; read again when it changes"),
    O::file("https-key", "Private key of HTTPS, if it is not in the file of the certificate"),
    O::int("http-threads", "Threads for HTTP").default_note("num-threads"),
    O::int("http-buf-size", "Send buffer of HTTP in kB").default("0"),
    O::int("http-idle-timeout", "Seconds until an idle HTTP connection is closed").default("5").at_least(0),
    O::text("janus-secret", "STRING", "Admin secret of the Janus interface"),
    O::int("control-tos", "TOS of ng packets")
        .default("0")
        .range(0, 255)
        .complaint("Invalid control-ng TOS value"),
    O::text("control-pmtu", "want|dont", "Path MTU discovery of UDP control sockets")
        .words(&["want", "dont", "don't"]),
    O::text("templates", "STR", "Config file group with signalling templates"),
    O::int("ng-client-timeout", "Timeout of own ng requests in ms").default("50").at_least(1),
    O::int("ng-client-retries", "Repetitions of own ng requests").default("5").at_least(1),
];

const REDIS: &[OptionSpec] = &[
    O::text("redis", "[PW@]IP:PORT/INT", "Redis database for calls").short('r'),
    O::text("redis-write", "[PW@]IP:PORT/INT", "Redis database for writing").short('w'),
    O::text("redis-subscribe", "[PW@]IP:PORT[/INT]", "Redis server for notifications"),
    O::flag("redis-resolve-on-reconnect", "Resolve the host name again when reconnecting"),
    O::int("redis-num-threads", "Threads that restore calls").default_note("number of CPU cores, at least 4"),
    O::int("redis-expires", "Expiry of calls in Redis in seconds").default("86400"),
    O::flag("no-redis-required", "Start without a reachable Redis server").short('q'),
    O::int("redis-allowed-errors", "Errors until Redis is disabled; -1 for never").default("-1"),
    O::int("redis-disable-time", "Seconds for which Redis is disabled").default("10").at_least(0),
    O::int("redis-cmd-timeout", "Timeout of Redis commands in ms; 0 for none").default("0"),
    O::int("redis-connect-timeout", "Timeout of connecting to Redis in ms").default("1000"),
    O::text("redis-format", "native|bencode|JSON", "Format of calls in Redis")
        .default("native")
        .words_any_case(&["native", "bencode", "JSON"]),
    O::list("subscribe-keyspace", "INT INT ...", "Redis databases to subscribe to").short('k'),
    O::int("redis-tcp-keepalive-time", "Seconds until TCP keepalive; 0 for none").default("0"),
    O::int("redis-tcp-keepalive-intvl", "Seconds between TCP keepalive probes").default("1"),
    O::int("redis-tcp-keepalive-probes", "TCP keepalive probes").default("3"),
    O::flag("redis-delete-async", "Delete asynchronously").short('y').withdrawn(),
    O::int("redis-delete-async-interval", "Interval of asynchronous deletion").withdrawn(),
    O::flag("redis-multikey", "Several keys per call").withdrawn(),
];

const REPORTING: &[OptionSpec] = &[
    O::text("graphite", REMOTE, "Graphite server").short('g'),
    O::int("graphite-interval", "Seconds between reports to Graphite").short('G').default("1"),
    O::text("graphite-prefix", "STRING", "Text before each metric name"),
    O::int("graphite-timeout", "TCP timeout of the Graphite connection in seconds").default("0"),
    O::text("homer", REMOTE, "Homer server"),
    O::text("homer-protocol", "udp|tcp", "Transport to Homer").default("udp").words(&["udp", "tcp"]),
    O::int("homer-id", "Capture ID").default("2001"),
    O::flag("homer-disable-rtcp-stats", "Do not send RTCP to Homer"),
    O::flag("homer-enable-ng", "Send ng traffic to Homer"),
    O::int("homer-ng-capture-proto", "Protocol type of ng traffic in Homer")
        .arg("UINT8")
        .default("61")
        .range(0, 255),
    O::text("mqtt-host", "HOST|IP", "MQTT broker"),
    O::int("mqtt-port", "Port of the MQTT broker").default("1883").range(1, 65535),
    O::text("mqtt-tls-alpn", "STRING", "ALPN of the MQTT connection"),
    O::text("mqtt-id", "STRING", "MQTT client ID").default_note("random"),
    O::int("mqtt-keepalive", "MQTT keepalive in seconds").default("30"),
    O::text("mqtt-user", "USERNAME", "MQTT user"),
    O::text("mqtt-pass", "PASSWORD", "MQTT password"),
    O::file("mqtt-cafile", "CA certificate of the MQTT broker"),
    O::file("mqtt-capath", "Directory of CA certificates").arg("PATH"),
    O::file("mqtt-certfile", "MQTT client certificate"),
    O::file("mqtt-keyfile", "MQTT client key"),
    O::int("mqtt-publish-qos", "Quality of service of published messages")
        .arg("0|1|2")
        .default("0")
        .range(0, 2),
    O::text("mqtt-publish-topic", "STRING", "Topic of published messages"),
    O::int("mqtt-publish-interval", "Milliseconds between published messages")
        .arg("MILLISECONDS")
        .default("5000"),
    O::text("mqtt-publish-scope", "global|summary|call|media", "Extent of published messages")
        .default("global")
        .words(&["global", "summary", "call", "media"]),
    O::text("b2b-url", "STRING", "XML-RPC address called when a call times out").short('b'),
    O::int("xmlrpc-format", "Format of XML-RPC calls: 0 SEMS, 1 call ID only, 2 Kamailio")
        .short('x')
        .default("0")
        .range(0, 2)
        .complaint("Invalid XMLRPC format"),
    O::text("otlp-endpoint", "URL", "OpenTelemetry collector (OTLP/HTTP) that gets a trace of each call"),
    O::int("max-sessions", "Most calls at once; negative for no limit").default("-1"),
    O::float("max-load", "Refuse new calls above this load average"),
    O::float("max-cpu", "Refuse new calls above this CPU usage in percent"),
    O::int64("max-bandwidth", "Refuse new calls above this many octets of media per second"),
];
