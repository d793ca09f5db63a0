//! The report as the tree that ng and JSON readers know. Keys and their order are historical.

use std::borrow::Cow;
use std::fmt::Write;

use super::report::{InterfaceReport, Report};
use crate::control::ng::command::{COMMANDS, ClientCounters};
use crate::control::report::IntervalReport;
use crate::media::stats::TrafficCount;
use crate::proto::json;
use crate::proto::value::{Dict, Key, Value};
use crate::record::RecorderStats;
use crate::statistics::{MetricSums, Quality};

/// A node. Bencode has no decimals, so ng gets them as text; JSON gets numbers.
pub enum Node {
    Integer(u64),
    /// An integer that is text in ng.
    WideInteger(u64),
    /// A number and how many places it is shown with.
    Decimal(f64, usize),
    Text(String),
    /// 0 or 1 in ng.
    Flag(bool),
    List(Vec<Node>),
    Branch(Branch),
}

/// Keys and values in order.
#[derive(Default)]
pub struct Branch(Vec<(Cow<'static, str>, Node)>);

impl Branch {
    pub(in crate::control) fn push(&mut self, key: impl Into<Cow<'static, str>>, node: Node) -> &mut Self {
        self.0.push((key.into(), node));
        self
    }

    pub(in crate::control) fn int(&mut self, key: impl Into<Cow<'static, str>>, value: u64) -> &mut Self {
        self.push(key, Node::Integer(value))
    }

    pub(in crate::control) fn decimal(&mut self, key: impl Into<Cow<'static, str>>, value: f64) -> &mut Self {
        self.push(key, Node::Decimal(value, 6))
    }

    /// The entries of another one behind those of this one.
    pub(in crate::control) fn append(&mut self, other: Branch) {
        self.0.extend(other.0);
    }

    /// As ng sends it.
    pub fn into_dict(self) -> Dict {
        let key = |key| match key {
            Cow::Borrowed(text) => Key::from(text),
            Cow::Owned(text) => Key::from(text),
        };
        Dict(self.0.into_iter().map(|(name, node)| (key(name), node.into_value())).collect())
    }

    /// As one line of JSON.
    pub fn to_json(&self) -> String {
        let mut out = String::with_capacity(8192);
        self.write_json(&mut out);
        out
    }

    fn write_json(&self, out: &mut String) {
        out.push('{');
        for (index, (key, node)) in self.0.iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            json::write_text(key, out);
            out.push(':');
            node.write_json(out);
        }
        out.push('}');
    }
}

impl Node {
    fn into_value(self) -> Value {
        match self {
            Node::Integer(value) => value.into(),
            Node::WideInteger(value) => value.to_string().into(),
            Node::Decimal(value, places) => format!("{value:.places$}").into(),
            Node::Text(text) => text.into(),
            Node::Flag(flag) => u64::from(flag).into(),
            Node::List(items) => items.into_iter().map(Node::into_value).collect::<Vec<_>>().into(),
            Node::Branch(branch) => branch.into_dict().into(),
        }
    }

    fn write_json(&self, out: &mut String) {
        // Writing to a string cannot fail.
        let _ = match self {
            Node::Integer(value) | Node::WideInteger(value) => write!(out, "{value}"),
            Node::Decimal(value, places) => write!(out, "{value:.places$}"),
            Node::Flag(flag) => write!(out, "{flag}"),
            Node::Text(text) => {
                json::write_text(text, out);
                Ok(())
            }
            Node::List(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    item.write_json(out);
                }
                out.push(']');
                Ok(())
            }
            Node::Branch(branch) => {
                branch.write_json(out);
                Ok(())
            }
        };
    }
}

/// The whole tree.
pub fn tree(report: &Report) -> Branch {
    let interfaces = report.interfaces.iter().map(|each| Node::Branch(interface(each, None))).collect();
    whole(report, report.interval.as_deref(), interfaces)
}

/// The same for those who get it again and again: with what is new at each interface since `before`, `seconds` ago.
pub fn live_tree(report: &Report, before: Option<&Report>, seconds: f64) -> Branch {
    let interfaces = report.interfaces.iter().enumerate().map(|(index, now)| {
        let before = before.and_then(|before| before.interfaces.get(index));
        Node::Branch(interface(now, Some((before.unwrap_or(now), seconds))))
    });
    whole(report, None, interfaces.collect())
}

fn whole(report: &Report, last: Option<&IntervalReport>, interfaces: Vec<Node>) -> Branch {
    let mut tree = Branch::default();
    tree.push("currentstatistics", Node::Branch(current(report)));
    tree.push("totalstatistics", Node::Branch(total(report)));
    if let Some(last) = last {
        tree.push("intervalstatistics", Node::Branch(interval(last)));
    }
    let mut mos = Branch::default();
    metric(&mut mos, "mos", &report.quality.mos);
    tree.push("mos", Node::Branch(mos));
    tree.push("voip_metrics", Node::Branch(voip_metrics(report)));
    tree.push("controlstatistics", Node::Branch(control(report)));
    tree.push("interfaces", Node::List(interfaces));
    tree.push("transcoders", Node::List(transcoders(report)));
    tree.push("poller_threads", Node::List(workers(report)));
    tree.push("bufferpools", Node::Branch(buffers(report)));
    let mut drops = Branch::default();
    for (reason, packets) in report.plane.drops() {
        drops.int(reason.name(), packets);
    }
    tree.push("drops", Node::Branch(drops));
    tree.push("recording", Node::Branch(recording(&report.recorder)));
    tree
}

fn recording(stats: &RecorderStats) -> Branch {
    let mut branch = Branch::default();
    branch
        .int("recordings", stats.recordings)
        .int("closing", stats.closing)
        .int("pcap_packets", stats.pcap_packets)
        .int("pcap_lost", stats.pcap_lost)
        .int("exposed_packets", stats.exposed_packets)
        .int("exposed_lost", stats.exposed_lost)
        .int("unclaimed_packets", stats.unclaimed_packets)
        .int("spilled_packets", stats.spilled_packets)
        .int("queued_bytes", stats.exposed_queued_octets)
        .int("spilled_bytes", stats.spilled_octets)
        .int("signalling_lost", stats.signalling_lost)
        .int("failing", stats.failing)
        .int("failures", stats.failures);
    branch
}

fn current(report: &Report) -> Branch {
    let (gauges, rates) = (&report.gauges, &report.rates);
    let mut branch = Branch::default();
    branch
        .int("sessionsown", gauges.sessions.own)
        .int("sessionsforeign", gauges.sessions.foreign)
        .int("sessionstotal", gauges.sessions.own + gauges.sessions.foreign)
        .int("transcodedmedia", gauges.transcoded)
        .int("mediacache", report.media_cache)
        .int("playercache", report.player_cache);
    for (suffix, rate) in [("_user", rates.user), ("_kernel", rates.kernel), ("", rates.total())] {
        branch
            .int(format!("packetrate{suffix}"), rate.packets)
            .int(format!("byterate{suffix}"), rate.octets)
            .int(format!("errorrate{suffix}"), rate.errors);
    }
    branch
        .int("media_userspace", rates.media.user)
        .int("media_kernel", rates.media.kernel)
        .int("media_mixed", rates.media.mixed);
    branch
}

fn total(report: &Report) -> Branch {
    let calls = &report.calls;
    let mut branch = Branch::default();
    branch
        .push("uptime", Node::WideInteger(report.uptime_s))
        .int("managedsessions", calls.managed)
        .int("rejectedsessions", report.rejected)
        .int("timeoutsessions", calls.timeout)
        .int("silenttimeoutsessions", calls.silent_timeout)
        .int("finaltimeoutsessions", calls.final_timeout)
        .int("offertimeoutsessions", calls.offer_timeout)
        .int("regularterminatedsessions", calls.regular)
        .int("forcedterminatedsessions", calls.forced);
    let relayed = [("_user", report.relayed), ("_kernel", report.kernel), ("", report.relayed_total())];
    for (suffix, count) in relayed {
        branch
            .int(format!("relayedpackets{suffix}"), count.packets)
            .int(format!("relayedpacketerrors{suffix}"), count.errors)
            .int(format!("relayedbytes{suffix}"), count.octets);
    }
    branch
        .int("zerowaystreams", calls.no_way)
        .int("onewaystreams", calls.one_way)
        .decimal("avgcallduration", calls.average_duration())
        .decimal("totalcallsduration", calls.total_duration())
        .decimal("totalcallsduration2", calls.total_duration2())
        .decimal("totalcallsduration_stddev", calls.duration_deviation());
    branch
}

fn interval(last: &IntervalReport) -> Branch {
    let mut branch = Branch::default();
    branch
        .decimal("totalcallsduration", last.call_seconds)
        .int("minmanagedsessions", last.sessions.0)
        .int("maxmanagedsessions", last.sessions.1);
    for (command, time) in COMMANDS.iter().zip(&last.times) {
        branch
            .decimal(format!("min{}delay", command.name), time.min)
            .decimal(format!("max{}delay", command.name), time.max)
            .decimal(format!("avg{}delay", command.name), time.average);
    }
    for (command, rate) in COMMANDS.iter().zip(&last.rates) {
        branch
            .int(format!("min{}requestrate", command.name), rate.min as u64)
            .int(format!("max{}requestrate", command.name), rate.max as u64)
            .int(format!("avg{}requestrate", command.name), rate.average as u64);
    }
    branch
}

fn metric(branch: &mut Branch, name: &str, sums: &MetricSums) {
    branch
        .decimal(format!("{name}_total"), sums.total)
        .decimal(format!("{name}2_total"), sums.total2)
        .int(format!("{name}_samples_total"), sums.samples)
        .decimal(format!("{name}_average"), sums.average())
        .decimal(format!("{name}_stddev"), sums.deviation());
}

/// Everything but the mean opinion score, by the names in use.
fn metrics_without_mos(quality: &Quality) -> [(&'static str, &MetricSums); 5] {
    [
        ("jitter", &quality.jitter),
        ("rtt_e2e", &quality.rtt_end_to_end),
        ("rtt_dsct", &quality.rtt_leg),
        ("packetloss", &quality.packet_loss),
        ("jitter_measured", &quality.jitter_measured),
    ]
}

fn voip_metrics(report: &Report) -> Branch {
    let mut branch = Branch::default();
    for (name, sums) in metrics_without_mos(&report.quality) {
        metric(&mut branch, name, sums);
    }
    let sequencing = &report.plane.sequencing;
    branch
        .int("packets_lost", report.packets_lost())
        .int("rtp_duplicates", sequencing.duplicates)
        .int("rtp_skips", sequencing.skips)
        .int("rtp_seq_resets", sequencing.resets)
        .int("rtp_reordered", sequencing.reordered);
    branch
}

fn control(report: &Report) -> Branch {
    let proxy = |(address, counters): &(std::net::IpAddr, ClientCounters)| {
        let mut branch = Branch::default();
        branch.push("proxy", Node::Text(address.to_string()));
        for (command, counter) in COMMANDS.iter().zip(&counters.commands) {
            branch
                .int(format!("{}count", command.short), counter.count)
                .decimal(format!("{}duration", command.short), counter.duration.as_secs_f64());
        }
        branch.int("errorcount", counters.errors);
        Node::Branch(branch)
    };
    let mut branch = Branch::default();
    branch.push("proxies", Node::List(report.clients.iter().map(proxy).collect()));
    for (command, counter) in COMMANDS.iter().zip(&report.total.commands) {
        branch.int(format!("total{}count", command.short), counter.count);
    }
    branch
}

/// With `since`, the report of an earlier moment and the seconds that have passed, there is also what happened between.
fn interface(interface: &InterfaceReport, since: Option<(&InterfaceReport, f64)>) -> Branch {
    let mut ports = Branch::default();
    ports
        .int("min", u64::from(interface.ports.0))
        .int("max", u64::from(interface.ports.1))
        .int("used", interface.used as u64)
        .push("used_pct", Node::Decimal(interface.used_percent(), 2))
        .int("free", interface.free as u64)
        .int("totals", (interface.free + interface.used) as u64);
    let mut metrics = Branch::default();
    metric(&mut metrics, "mos", &interface.quality.mos);
    for (name, sums) in metrics_without_mos(&interface.quality) {
        metric(&mut metrics, name, sums);
    }
    let growth = since.map(|(before, seconds)| (Growth::between(before, interface), seconds));
    let count = &interface.count;
    let mut branch = Branch::default();
    branch
        .push("name", Node::Text(interface.name.clone()))
        .push("address", Node::Text(interface.address.to_string()))
        .push("ports", Node::Branch(ports))
        .int("packets_lost", count.lost)
        .int("duplicates", count.duplicates);
    if let Some((growth, seconds)) = &growth {
        for (name, per) in [("interval", 1.0), ("rate", *seconds)] {
            let mut losses = Branch::default();
            losses
                .int("packets_lost", rate(growth.lost, per))
                .int("duplicates", rate(growth.duplicates, per));
            branch.push(name, Node::Branch(losses));
        }
    }
    branch.push("voip_metrics", Node::Branch(metrics));
    if let Some((growth, _)) = &growth {
        let mut metrics = Branch::default();
        for (name, sums) in
            [("mos", &growth.quality.mos)].into_iter().chain(metrics_without_mos(&growth.quality))
        {
            metrics.decimal(name, sums.average()).decimal(format!("{name}_stddev"), sums.deviation());
        }
        branch.push("voip_metrics_interval", Node::Branch(metrics));
    }
    branch
        .push("ingress", Node::Branch(traffic(count.ingress)))
        .push("egress", Node::Branch(traffic(count.egress)));
    if let Some((growth, seconds)) = &growth {
        for (suffix, per) in [("interval", 1.0), ("rate", *seconds)] {
            for (way, traffic_growth) in [("ingress", growth.ingress), ("egress", growth.egress)] {
                let TrafficCount { packets, octets, errors } = traffic_growth;
                let each = TrafficCount {
                    packets: rate(packets, per),
                    octets: rate(octets, per),
                    errors: rate(errors, per),
                };
                branch.push(format!("{way}_{suffix}"), Node::Branch(traffic(each)));
            }
        }
    }
    branch
}

/// What happened at an interface between two moments.
struct Growth {
    lost: u64,
    duplicates: u64,
    ingress: TrafficCount,
    egress: TrafficCount,
    quality: Quality,
}

impl Growth {
    fn between(before: &InterfaceReport, now: &InterfaceReport) -> Self {
        let traffic = |before: TrafficCount, now: TrafficCount| TrafficCount {
            packets: now.packets.saturating_sub(before.packets),
            octets: now.octets.saturating_sub(before.octets),
            errors: now.errors.saturating_sub(before.errors),
        };
        let (old, new) = (&before.count, &now.count);
        Self {
            lost: new.lost.saturating_sub(old.lost),
            duplicates: new.duplicates.saturating_sub(old.duplicates),
            ingress: traffic(old.ingress, new.ingress),
            egress: traffic(old.egress, new.egress),
            quality: now.quality.since(&before.quality),
        }
    }
}

/// Whole units a second; nothing before any time has passed.
fn rate(count: u64, seconds: f64) -> u64 {
    if seconds > 0.0 { (count as f64 / seconds).round() as u64 } else { 0 }
}

fn traffic(count: TrafficCount) -> Branch {
    let mut branch = Branch::default();
    branch.int("packets", count.packets).int("bytes", count.octets).int("errors", count.errors);
    branch
}

fn transcoders(report: &Report) -> Vec<Node> {
    let chain = |chain: &crate::media::totals::ChainCount| {
        let mut branch = Branch::default();
        branch.push("chain", Node::Text(chain.name.clone())).int("num", chain.running);
        if let Some(rate) = report.rates.chains.get(&chain.name) {
            branch
                .int("packetrate", rate.packets)
                .int("byterate", rate.octets)
                .int("samplerate", rate.samples);
        }
        branch.int("packets", chain.packets).int("bytes", chain.octets).int("samples", chain.samples);
        Node::Branch(branch)
    };
    report.plane.chains.iter().map(chain).collect()
}

fn workers(report: &Report) -> Vec<Node> {
    let worker = |(index, worker): (usize, &crate::media::totals::WorkerCount)| {
        let mut branch = Branch::default();
        branch
            .int("index", index as u64)
            .int("pid", u64::from(worker.thread))
            .int("wakeups", worker.wakeups)
            .int("items", worker.items);
        Node::Branch(branch)
    };
    report.plane.workers.iter().enumerate().map(worker).collect()
}

/// Nothing is pooled but the workers' packet buffers, which are there from start to end and all in use.
fn buffers(report: &Report) -> Branch {
    let pool = |shards: Vec<Node>| {
        let mut branch = Branch::default();
        branch.int("num_shards", shards.len() as u64).push("shards", Node::List(shards));
        Node::Branch(branch)
    };
    let octets = report.packet_buffers as u64;
    let mut shard = Branch::default();
    shard
        .int("references", report.plane.workers.len() as u64)
        .push("size", Node::WideInteger(octets))
        .push("used", Node::WideInteger(octets));
    let mut branch = Branch::default();
    branch
        .push("main", pool(Vec::new()))
        .push("shared", pool(Vec::new()))
        .push("static", pool(vec![Node::Branch(shard)]));
    branch
}
