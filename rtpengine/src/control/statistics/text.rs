//! The report as text for people: `list totals`, `list counters`, `list interfaces`, `list transcoders`. Labels are historical.

use std::fmt::{self, Display, Write};

use super::report::{InterfaceReport, Report};
use crate::control::ng::command::COMMANDS;
use crate::control::report::IntervalReport;
use crate::media::stats::TrafficCount;
use crate::media::totals::ChainCount;
use crate::statistics::{MetricSums, Quality, Rates};

/// Lines of labels and values. Writing to a string cannot fail, so results are not looked at.
struct Lines(String);

impl Lines {
    fn row(&mut self, label: &str, value: impl Display) {
        let _ = writeln!(self.0, " {label:<48}:{value}");
    }

    fn text(&mut self, text: fmt::Arguments<'_>) {
        let _ = self.0.write_fmt(text);
    }
}

/// `list totals`
pub fn totals(report: &Report) -> String {
    let mut lines = Lines(String::with_capacity(16_384));
    lines.text(format_args!("\nStatistics over currently running sessions:\n\n"));
    current(&mut lines, report);
    lines.text(format_args!("\nTotal statistics (does not include current running sessions):\n\n"));
    total(&mut lines, report);
    if let Some(last) = &report.interval {
        lines.text(format_args!("\n\nGraphite interval statistics (last reported values to graphite):\n"));
        interval(&mut lines, last);
    }
    lines.text(format_args!("\n\nMOS statistics:\n\n"));
    metric(&mut lines, "MOS", "MOS", &report.quality.mos);
    lines.text(format_args!("\n\nVoIP metrics:\n\n"));
    metrics_without_mos(&mut lines, &report.quality);
    let sequencing = &report.plane.sequencing;
    lines.row("Packets lost", report.packets_lost());
    lines.row("Duplicate RTP packets", sequencing.duplicates);
    lines.row("RTP sequence skips", sequencing.skips);
    lines.row("RTP sequence resets", sequencing.resets);
    lines.row("Out-of-order RTP packets", sequencing.reordered);
    lines.text(format_args!("\n\nControl statistics:\n\n"));
    control(&mut lines, report);
    if report.plane.drops().any(|(_, packets)| packets > 0) {
        lines.text(format_args!("\n\nDropped packets:\n\n"));
        for (reason, packets) in report.plane.drops().filter(|(_, packets)| *packets > 0) {
            lines.row(&format!("Dropped packets ({})", reason.name()), packets);
        }
    }
    for interface in &report.interfaces {
        let InterfaceReport { name, address, quality, .. } = interface;
        lines.text(format_args!("\n\nVoIP metrics for interface {name}/{address}:\n"));
        metric(&mut lines, "MOS", "MOS", &quality.mos);
        metrics_without_mos(&mut lines, quality);
    }
    lines.0
}

fn current(lines: &mut Lines, report: &Report) {
    let (gauges, rates) = (&report.gauges, &report.rates);
    lines.row("Owned sessions", gauges.sessions.own);
    lines.row("Foreign sessions", gauges.sessions.foreign);
    lines.row("Total sessions", gauges.sessions.own + gauges.sessions.foreign);
    lines.row("Transcoded media", gauges.transcoded);
    lines.row("Media cache size", report.media_cache);
    lines.row("Player cache size", report.player_cache);
    per_second(lines, rates);
    lines.row("Userspace-only media streams", rates.media.user);
    lines.row("Kernel-only media streams", rates.media.kernel);
    lines.row("Mixed kernel/userspace media streams", rates.media.mixed);
}

fn per_second(lines: &mut Lines, rates: &Rates) {
    let sources = [("userspace", rates.user), ("kernel", rates.kernel), ("total", rates.total())];
    for (source, rate) in sources {
        lines.row(&format!("Packets per second ({source})"), rate.packets);
        lines.row(&format!("Bytes per second ({source})"), rate.octets);
        lines.row(&format!("Errors per second ({source})"), rate.errors);
    }
}

fn total(lines: &mut Lines, report: &Report) {
    let calls = &report.calls;
    lines.row("Uptime of rtpengine", format_args!("{} seconds", report.uptime_s));
    lines.row("Total managed sessions", calls.managed);
    lines.row("Total rejected sessions", report.rejected);
    lines.row("Total timed-out sessions via TIMEOUT", calls.timeout);
    lines.row("Total timed-out sessions via SILENT_TIMEOUT", calls.silent_timeout);
    lines.row("Total timed-out sessions via FINAL_TIMEOUT", calls.final_timeout);
    lines.row("Total timed-out sessions via OFFER_TIMEOUT", calls.offer_timeout);
    lines.row("Total regular terminated sessions", calls.regular);
    lines.row("Total forced terminated sessions", calls.forced);
    let relayed =
        [(" (userspace)", report.relayed), (" (kernel)", report.kernel), ("", report.relayed_total())];
    for (source, count) in relayed {
        lines.row(&format!("Total relayed packets{source}"), count.packets);
        lines.row(&format!("Total relayed packet errors{source}"), count.errors);
        lines.row(&format!("Total relayed bytes{source}"), count.octets);
    }
    lines.row("Total number of streams with no relayed packets", calls.no_way);
    lines.row("Total number of 1-way streams", calls.one_way);
    lines.row("Average call duration", format_args!("{:.6} seconds", calls.average_duration()));
    lines.row("Total calls duration", format_args!("{:.6} seconds", calls.total_duration()));
    lines.row("Total calls duration squared", format_args!("{:.6} seconds squared", calls.total_duration2()));
    lines.row(
        "Total calls duration standard deviation",
        format_args!("{:.6} seconds", calls.duration_deviation()),
    );
}

fn interval(lines: &mut Lines, last: &IntervalReport) {
    lines.row("Total calls duration", format_args!("{:.6} seconds", last.call_seconds));
    lines.text(format_args!("\n"));
    lines.row("Min managed sessions", last.sessions.0);
    lines.row("Max managed sessions", last.sessions.1);
    for (command, time) in COMMANDS.iter().zip(&last.times) {
        lines.row(
            &format!("Min/Max/Avg {} processing delay", command.name),
            format_args!("{:.6}/{:.6}/{:.6} sec", time.min, time.max, time.average),
        );
    }
    for (command, rate) in COMMANDS.iter().zip(&last.rates) {
        lines.row(
            &format!("Min/Max/Avg {} requests per second", command.name),
            format_args!("{}/{}/{} per sec", rate.min as u64, rate.max as u64, rate.average as u64),
        );
    }
}

fn metrics_without_mos(lines: &mut Lines, quality: &Quality) {
    for (name, sums) in [
        ("jitter (reported)", &quality.jitter),
        ("end-to-end round-trip time", &quality.rtt_end_to_end),
        ("discrete round-trip time", &quality.rtt_leg),
        ("packet loss", &quality.packet_loss),
        ("jitter (measured)", &quality.jitter_measured),
    ] {
        metric(lines, name, name, sums);
    }
}

fn metric(lines: &mut Lines, name: &str, start: &str, sums: &MetricSums) {
    lines.row(&format!("Sum of all {name} values sampled"), format_args!("{:.6}", sums.total));
    lines.row(&format!("Sum of all {name} square values sampled"), format_args!("{:.6}", sums.total2));
    lines.row(&format!("Total number of {name} samples"), sums.samples);
    lines.row(&format!("Average {name}"), format_args!("{:.6}", sums.average()));
    lines.row(&format!("{start} standard deviation"), format_args!("{:.6}", sums.deviation()));
}

fn control(lines: &mut Lines, report: &Report) {
    lines.text(format_args!(" {:>20} ", "Proxy"));
    for command in &COMMANDS {
        lines.text(format_args!("| {:>10} ", command.title));
    }
    lines.text(format_args!("\n"));
    for (address, counters) in &report.clients {
        lines.text(format_args!(" {:>20} ", address.to_string()));
        for counter in &counters.commands {
            lines.text(format_args!("| {:>10} ", counter.count));
        }
        lines.text(format_args!("\n"));
    }
}

/// `list counters`
pub fn rates(rates: &Rates) -> String {
    let mut lines = Lines("\nCurrent per-second counters:\n\n".to_owned());
    per_second(&mut lines, rates);
    lines.0
}

/// `list interfaces`
pub fn interfaces(interfaces: &[InterfaceReport]) -> String {
    let mut lines = Lines(String::new());
    for interface in interfaces {
        let InterfaceReport { name, address, ports, free, used, count, quality } = interface;
        let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
        lines.text(format_args!("Interface '{name}' address '{address}' ({family})\n"));
        lines.text(format_args!(" Port range: {:5} - {:5}\n", ports.0, ports.1));
        let percent = interface.used_percent();
        lines.text(format_args!(" Ports used: {used:5} / {:5} ({percent:5.1}%)\n", free + used));
        lines.text(format_args!(" Packets/bytes/errors:\n"));
        for (direction, TrafficCount { packets, octets, errors }) in
            [("Ingress:", count.ingress), ("Egress: ", count.egress)]
        {
            lines.text(format_args!("  {direction}   {packets:10} / {octets:10} / {errors:10}\n"));
        }
        lines.text(format_args!(" Packets lost/duplicates: {:10} / {:10}\n", count.lost, count.duplicates));
        let Quality { mos, jitter, rtt_end_to_end, rtt_leg, packet_loss, jitter_measured } = quality;
        lines.text(format_args!(
            " MOS:    avg {:3.1}, packet loss avg {:3.0}%\n",
            Average(mos),
            Average(packet_loss)
        ));
        lines.text(format_args!(
            " Jitter: avg {:3.0} (measured {:3.0})\n",
            Average(jitter),
            Average(jitter_measured)
        ));
        lines.text(format_args!(
            " RTT:    e2e {:3.0}, dsct {:3.0}\n\n",
            Average(rtt_end_to_end),
            Average(rtt_leg)
        ));
    }
    lines.0
}

/// The average of samples; without any it is not a number, which is not the same as 0.
struct Average<'a>(&'a MetricSums);

impl Display for Average<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.samples == 0 {
            return formatter.write_str("nan");
        }
        Display::fmt(&self.0.average(), formatter)
    }
}

/// `list transcoders`
pub fn transcoders(chains: &[ChainCount], rates: &Rates) -> String {
    if chains.is_empty() {
        return "No stats entries\n".into();
    }
    let mut lines = Lines(String::new());
    for chain in chains {
        lines.text(format_args!("{}: {} transcoders\n", chain.name, chain.running));
        if let Some(rate) = rates.chains.get(&chain.name) {
            lines.text(format_args!(
                "     {} packets/s\n     {} bytes/s\n     {} samples/s\n",
                rate.packets, rate.octets, rate.samples
            ));
        }
    }
    lines.0
}
