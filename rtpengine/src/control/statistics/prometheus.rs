//! The report in Prometheus' text exposition format. Names, labels and types are historical.

use std::fmt::Write;

use super::report::Report;
use crate::control::ng::command::COMMANDS;
use crate::record::RecorderStats;
use crate::statistics::{MetricSums, Quality};

/// All metrics; those of one name stand together, as the format demands.
pub fn metrics(report: &Report) -> String {
    let mut metrics = Metrics(String::with_capacity(32_768));
    sessions(&mut metrics, report);
    calls(&mut metrics, report);
    quality(&mut metrics, report);
    requests(&mut metrics, report);
    interfaces(&mut metrics, report);
    transcoders(&mut metrics, report);
    workers(&mut metrics, report);
    drops(&mut metrics, report);
    recording(&mut metrics, &report.recorder);
    metrics.0
}

/// Text under construction. Writing to a string cannot fail, so results are not looked at.
struct Metrics(String);

#[derive(Clone, Copy)]
enum Kind {
    Gauge,
    Counter,
}

enum Number {
    Integer(u64),
    Decimal(f64),
}

impl From<u64> for Number {
    fn from(value: u64) -> Self {
        Number::Integer(value)
    }
}

impl From<f64> for Number {
    fn from(value: f64) -> Self {
        Number::Decimal(value)
    }
}

impl Metrics {
    fn begin(&mut self, name: &str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
        };
        let _ = writeln!(self.0, "# HELP rtpengine_{name} {help}\n# TYPE rtpengine_{name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Into<Number>) {
        let _ = write!(self.0, "rtpengine_{name}");
        for (index, (label, text)) in labels.iter().enumerate() {
            let _ = write!(self.0, "{}{label}=\"{}\"", if index == 0 { '{' } else { ',' }, escape(text));
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        let _ = match value.into() {
            Number::Integer(value) => writeln!(self.0, " {value}"),
            Number::Decimal(value) => writeln!(self.0, " {value:.6}"),
        };
    }

    fn one(&mut self, name: &str, kind: Kind, help: &str, value: impl Into<Number>) {
        self.begin(name, kind, help);
        self.sample(name, &[], value);
    }

    fn by(&mut self, name: &str, kind: Kind, help: &str, label: &str, values: &[(&str, u64)]) {
        self.begin(name, kind, help);
        for (text, value) in values {
            self.sample(name, &[(label, text)], *value);
        }
    }
}

/// A label's text: backslash, quote and line feed are escaped.
fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

use Kind::{Counter, Gauge};

fn sessions(metrics: &mut Metrics, report: &Report) {
    let (sessions, media) = (report.gauges.sessions, report.rates.media);
    let by_owner = [("own", sessions.own), ("foreign", sessions.foreign)];
    metrics.by("sessions", Gauge, "Calls at present", "type", &by_owner);
    metrics.one("transcoded_media", Gauge, "Media sections that are transcoded", report.gauges.transcoded);
    metrics.one("media_cache", Gauge, "Media files kept in memory", report.media_cache);
    metrics.one("player_cache", Gauge, "Encoded announcements kept in memory", report.player_cache);
    let by_path = [("userspace", media.user), ("kernel", media.kernel), ("mixed", media.mixed)];
    metrics.by("mediastreams", Gauge, "Media sections with packets in the last second", "type", &by_path);
    metrics.one("uptime_seconds", Gauge, "Time since the start", report.uptime_s);
}

fn calls(metrics: &mut Metrics, report: &Report) {
    let calls = &report.calls;
    metrics.one("sessions_total", Counter, "Calls that have ended", calls.managed);
    let reasons = [
        ("rejected", report.rejected),
        ("timeout", calls.timeout),
        ("silent_timeout", calls.silent_timeout),
        ("final_timeout", calls.final_timeout),
        ("offer_timeout", calls.offer_timeout),
        ("terminated", calls.regular),
        ("force_terminated", calls.forced),
    ];
    metrics.by("closed_sessions_total", Counter, "Calls refused or ended, by reason", "reason", &reasons);
    let (user, kernel) = (report.relayed, report.kernel);
    for (name, help, user, kernel) in [
        ("packets_total", "Packets received from parties", user.packets, kernel.packets),
        ("packet_errors_total", "Packets refused on arrival or not sent", user.errors, kernel.errors),
        ("bytes_total", "Octets received from parties", user.octets, kernel.octets),
    ] {
        metrics.by(name, Counter, help, "type", &[("userspace", user), ("kernel", kernel)]);
    }
    metrics.one(
        "zero_packet_streams_total",
        Counter,
        "Pairs of streams without a packet in either direction",
        calls.no_way,
    );
    metrics.one(
        "one_way_sessions_total",
        Counter,
        "Streams with packets in one direction only",
        calls.one_way,
    );
    metrics.one(
        "call_duration_avg",
        Gauge,
        "Average duration of a call in seconds",
        calls.average_duration(),
    );
    metrics.one("call_duration_total", Counter, "Duration of all calls in seconds", calls.total_duration());
    let squares = "Sum of the squares of durations in square seconds";
    metrics.one("call_duration2_total", Counter, squares, calls.total_duration2());
}

/// Name, description, sums.
fn kinds(quality: &Quality) -> [(&'static str, &'static str, &MetricSums); 6] {
    [
        ("mos", "mean opinion score", &quality.mos),
        ("jitter", "reported jitter in milliseconds", &quality.jitter),
        ("rtt_e2e", "round-trip time end to end in microseconds", &quality.rtt_end_to_end),
        ("rtt_dsct", "round-trip time of a leg in microseconds", &quality.rtt_leg),
        ("packetloss", "packet loss in percent", &quality.packet_loss),
        ("jitter_measured", "measured jitter in milliseconds", &quality.jitter_measured),
    ]
}

fn quality(metrics: &mut Metrics, report: &Report) {
    for (name, what, sums) in kinds(&report.quality) {
        metrics.one(&format!("{name}_total"), Counter, &format!("Sum of samples of {what}"), sums.total);
        metrics.one(&format!("{name}2_total"), Counter, &format!("Sum of squares of {what}"), sums.total2);
        let help = format!("Samples of {what}");
        metrics.one(&format!("{name}_samples_total"), Counter, &help, sums.samples);
    }
    let sequencing = &report.plane.sequencing;
    metrics.one("packets_lost", Counter, "RTP packets that never came", report.packets_lost());
    for (name, help, value) in [
        ("rtp_duplicates", "RTP packets for a transcoder that came twice or too late", sequencing.duplicates),
        ("rtp_skips", "Gaps that a transcoder gave up waiting for", sequencing.skips),
        ("rtp_seq_resets", "Jumps of the sequence number before a transcoder", sequencing.resets),
        ("rtp_reordered", "RTP packets for a transcoder that came early", sequencing.reordered),
    ] {
        metrics.one(name, Counter, help, value);
    }
}

fn requests(metrics: &mut Metrics, report: &Report) {
    let clients: Vec<_> = report.clients.iter().map(|(address, c)| (address.to_string(), c)).collect();
    let each = |metrics: &mut Metrics,
                name: &str,
                value: fn(&super::super::ng::command::CommandCounter) -> Number| {
        for (address, counters) in &clients {
            for (command, counter) in COMMANDS.iter().zip(&counters.commands) {
                metrics.sample(name, &[("proxy", address), ("request", command.name)], value(counter));
            }
        }
    };
    metrics.begin("requests_total", Counter, "Requests carried out, by client and command");
    each(metrics, "requests_total", |counter| Number::Integer(counter.count));
    metrics.begin("request_seconds_total", Counter, "Time spent on requests, by client and command");
    each(metrics, "request_seconds_total", |counter| Number::Decimal(counter.duration.as_secs_f64()));
    metrics.begin("errors_total", Counter, "Requests that ended in an error, by client");
    for (address, counters) in &clients {
        metrics.sample("errors_total", &[("proxy", address)], counters.errors);
    }
}

fn interfaces(metrics: &mut Metrics, report: &Report) {
    let addresses: Vec<String> = report.interfaces.iter().map(|each| each.address.to_string()).collect();
    let labelled = || report.interfaces.iter().zip(&addresses);
    for (name, kind, help, value) in [
        (
            "ports_used",
            Gauge,
            "Media ports in use",
            (|i| i.used as u64) as fn(&super::InterfaceReport) -> u64,
        ),
        ("ports_free", Gauge, "Media ports not in use", |i| i.free as u64),
        ("ports", Gauge, "Media ports", |i| (i.free + i.used) as u64),
        ("interface_packets_lost", Counter, "RTP packets that never came", |i| i.count.lost),
        ("interface_duplicates", Counter, "RTP packets that came twice", |i| i.count.duplicates),
    ] {
        metrics.begin(name, kind, help);
        for (interface, address) in labelled() {
            metrics.sample(name, &[("name", &interface.name), ("address", address)], value(interface));
        }
    }
    for (index, (name, what, _)) in kinds(&Quality::default()).into_iter().enumerate() {
        for (suffix, of, value) in [
            ("_total", "Sum of samples of", (|s| s.total.into()) as fn(&MetricSums) -> Number),
            ("2_total", "Sum of squares of", |s| s.total2.into()),
            ("_samples_total", "Samples of", |s| s.samples.into()),
        ] {
            let name = format!("interface_{name}{suffix}");
            metrics.begin(&name, Counter, &format!("{of} {what}"));
            for (interface, address) in labelled() {
                let sums = kinds(&interface.quality)[index].2;
                metrics.sample(&name, &[("name", &interface.name), ("address", address)], value(sums));
            }
        }
    }
    for (name, help, value) in [
        (
            "interface_packets",
            "Packets received or sent",
            (|t| t.packets) as fn(&crate::media::stats::TrafficCount) -> u64,
        ),
        ("interface_bytes", "Octets received or sent", |t| t.octets),
        ("interface_errors", "Packets refused or not sent", |t| t.errors),
    ] {
        metrics.begin(name, Gauge, help);
        for (interface, address) in labelled() {
            let directions = [("ingress", interface.count.ingress), ("egress", interface.count.egress)];
            for (direction, count) in directions {
                let labels =
                    [("name", interface.name.as_str()), ("address", address), ("direction", direction)];
                metrics.sample(name, &labels, value(&count));
            }
        }
    }
}

fn drops(metrics: &mut Metrics, report: &Report) {
    let help = "Packets received that did not go on, by reason";
    let by_reason: Vec<_> = report.plane.drops().map(|(reason, packets)| (reason.name(), packets)).collect();
    metrics.by("dropped_packets_total", Counter, help, "reason", &by_reason);
}

fn recording(metrics: &mut Metrics, stats: &RecorderStats) {
    let by_state = [("open", stats.recordings), ("closing", stats.closing)];
    metrics.by("recordings", Gauge, "Recordings at present", "state", &by_state);
    let taken = [("pcap", stats.pcap_packets), ("exposed", stats.exposed_packets)];
    metrics.by("recorded_packets_total", Counter, "Packets written or taken by a reader", "type", &taken);
    let lost = [
        ("pcap", stats.pcap_lost),
        ("exposed", stats.exposed_lost),
        ("unclaimed", stats.unclaimed_packets),
        ("signalling", stats.signalling_lost),
    ];
    metrics.by(
        "recording_lost_packets_total",
        Counter,
        "Packets and messages missing in recordings",
        "type",
        &lost,
    );
    let spilled = stats.spilled_packets;
    metrics.one("recording_spilled_packets_total", Counter, "Packets that waited on disk", spilled);
    let waiting = [("memory", stats.exposed_queued_octets), ("disk", stats.spilled_octets)];
    metrics.by("recording_queued_bytes", Gauge, "Octets that wait for a reader", "place", &waiting);
    metrics.one("recording_failing", Gauge, "Files and sockets that cannot be written", stats.failing);
    metrics.one("recording_failures_total", Counter, "Failed attempts to write or open", stats.failures);
}

fn transcoders(metrics: &mut Metrics, report: &Report) {
    for (name, kind, help, value) in [
        (
            "transcoders",
            Gauge,
            "Transcoders at present, by chain of codecs",
            (|c| c.running) as fn(&crate::media::totals::ChainCount) -> u64,
        ),
        ("transcode_packets_total", Counter, "Packets transcoded", |c| c.packets),
        ("transcode_bytes_total", Counter, "Octets of packets transcoded", |c| c.octets),
        ("transcode_samples_total", Counter, "Samples decoded", |c| c.samples),
    ] {
        if report.plane.chains.is_empty() {
            continue;
        }
        metrics.begin(name, kind, help);
        for chain in &report.plane.chains {
            metrics.sample(name, &[("chain", &chain.name)], value(chain));
        }
    }
}

fn workers(metrics: &mut Metrics, report: &Report) {
    for (name, help, value) in [
        (
            "poller_wakeups",
            "Times that a worker was woken",
            (|w| w.wakeups) as fn(&crate::media::totals::WorkerCount) -> u64,
        ),
        ("poller_items", "Sockets that were ready then", |w| w.items),
    ] {
        metrics.begin(name, Counter, help);
        for (index, worker) in report.plane.workers.iter().enumerate() {
            let (index, thread) = (index.to_string(), worker.thread.to_string());
            metrics.sample(name, &[("index", &index), ("pid", &thread), ("type", "user")], value(worker));
        }
    }
}
