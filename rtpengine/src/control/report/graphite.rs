//! Graphite: a block of `name value time` lines over TCP, once an interval.

use std::fmt::{Display, Write};
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use socket2::SockRef;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, timeout};

use super::interval::{IntervalMeter, IntervalReport, Spread};
use crate::config::GraphiteConfig;
use crate::control::ng::command::COMMANDS;
use crate::control::statistics::{Report, Statistics};

/// How long a connection may take when `graphite-timeout` says nothing, and how long a block may wait to be written.
const PATIENCE: Duration = Duration::from_secs(5);

/// Reports until it is aborted.
pub async fn run(config: GraphiteConfig, statistics: Arc<Statistics>) {
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    statistics.time_requests();
    let mut meter = IntervalMeter::default();
    let mut connection: Option<TcpStream> = None;
    let mut passed = Duration::ZERO;
    // The first tick comes at once.
    second.tick().await;
    meter.second(&statistics.report());
    meter.interval(&statistics.report(), &statistics.take_extremes());
    loop {
        second.tick().await;
        let report = statistics.report();
        meter.second(&report);
        passed += Duration::from_secs(1);
        if passed < config.interval {
            continue;
        }
        passed = Duration::ZERO;
        let interval = meter.interval(&report, &statistics.take_extremes());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let block = block(&config.prefix, now, &report, &interval);
        statistics.reported(interval);
        if connection.is_none() {
            connection = connect(&config)
                .await
                .inspect_err(|cause| {
                    tracing::error!(limit = true, %cause, "cannot connect to Graphite at {}", config.server);
                })
                .ok();
        }
        if let Some(stream) = &mut connection {
            let written = timeout(PATIENCE, stream.write_all(block.as_bytes())).await;
            if let Err(cause) = written.unwrap_or(Err(io::ErrorKind::TimedOut.into())) {
                tracing::error!(%cause, "lost the connection to Graphite at {}", config.server);
                connection = None;
            }
        }
    }
}

async fn connect(config: &GraphiteConfig) -> io::Result<TcpStream> {
    let patience = if config.timeout.is_zero() { PATIENCE } else { config.timeout };
    let stream = timeout(patience, TcpStream::connect(config.server))
        .await
        .unwrap_or(Err(io::ErrorKind::TimedOut.into()))?;
    if !config.timeout.is_zero() {
        SockRef::from(&stream).set_tcp_user_timeout(Some(config.timeout))?;
    }
    tracing::info!("connected to Graphite at {}", config.server);
    Ok(stream)
}

struct Block<'a> {
    text: String,
    prefix: &'a str,
    now: u64,
}

impl Block<'_> {
    /// Writing to a string cannot fail, so the result is not looked at.
    fn line(&mut self, name: impl Display, value: impl Display) {
        let _ = writeln!(self.text, "{}{name} {value} {}", self.prefix, self.now);
    }
}

/// In the order that has always been used.
fn block(prefix: &str, now: u64, report: &Report, interval: &IntervalReport) -> String {
    let mut block = Block { text: String::with_capacity(16 << 10), prefix, now };
    for (index, command) in COMMANDS.iter().enumerate() {
        let name = command.name.replace(' ', "_");
        let of = |spreads: &[Spread]| spreads.get(index).copied().unwrap_or_default();
        let (time, rate) = (of(&interval.times), of(&interval.rates));
        block.line(format_args!("{name}_time_min"), format_args!("{:.6}", time.min));
        block.line(format_args!("{name}_time_max"), format_args!("{:.6}", time.max));
        block.line(format_args!("{name}_time_avg"), format_args!("{:.6}", time.average));
        block.line(format_args!("{name}s_ps_min"), rate.min as u64);
        block.line(format_args!("{name}s_ps_max"), rate.max as u64);
        block.line(format_args!("{name}s_ps_avg"), rate.average as u64);
        block.line(format_args!("{name}_count"), report.total.commands[index].count);
    }
    block.line("call_dur", format_args!("{:.6}", interval.call_seconds));
    block.line("average_call_dur", format_args!("{:.6}", interval.average_call));
    let (gauges, ended) = (&report.gauges, &interval.ended);
    let sum = {
        let mut sum = interval.relayed;
        sum += interval.kernel;
        sum
    };
    for (name, value) in [
        ("forced_term_sess", ended.forced),
        ("managed_sess", report.calls.managed),
        ("managed_sess_min", interval.sessions.0),
        ("managed_sess_max", interval.sessions.1),
        ("current_sessions_total", gauges.sessions.own + gauges.sessions.foreign),
        ("current_sessions_own", gauges.sessions.own),
        ("current_sessions_foreign", gauges.sessions.foreign),
        ("current_transcoded_media", gauges.transcoded),
        ("current_sessions_ipv4", gauges.ipv4),
        ("current_sessions_ipv6", gauges.ipv6),
        ("current_sessions_mixed", gauges.mixed),
        ("nopacket_relayed_sess", ended.no_way),
        ("oneway_stream_sess", ended.one_way),
        ("regular_term_sess", ended.regular),
        ("relayed_errors_user", interval.relayed.errors),
        ("relayed_packets_user", interval.relayed.packets),
        ("relayed_bytes_user", interval.relayed.octets),
        ("relayed_errors_kernel", interval.kernel.errors),
        ("relayed_packets_kernel", interval.kernel.packets),
        ("relayed_bytes_kernel", interval.kernel.octets),
        ("relayed_errors", sum.errors),
        ("relayed_packets", sum.packets),
        ("relayed_bytes", sum.octets),
        ("silent_timeout_sess", ended.silent_timeout),
        ("final_timeout_sess", ended.final_timeout),
        ("offer_timeout_sess", ended.offer_timeout),
        ("timeout_sess", ended.timeout),
        ("reject_sess", interval.rejected),
    ] {
        block.line(name, value);
    }
    for interface in &report.interfaces {
        block.line(format_args!("ports_free_{}_{}", interface.name, interface.address), interface.free);
        block.line(format_args!("ports_used_{}_{}", interface.name, interface.address), interface.used);
    }
    for chain in &report.plane.chains {
        let name = chain.name.replace(" -> ", "_");
        block.line(format_args!("transcoder_{name}"), chain.running);
        if let Some(rate) = report.rates.chains.get(&chain.name) {
            block.line(format_args!("transcoder_{name}_packets"), rate.packets);
            block.line(format_args!("transcoder_{name}_bytes"), rate.octets);
            block.line(format_args!("transcoder_{name}_samples"), rate.samples);
        }
    }
    block.text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_their_order_are_those_in_use() {
        let block = block("pfx.", 7, &Report::default(), &IntervalReport::default());
        let lines: Vec<&str> = block.lines().collect();
        assert_eq!(lines.len(), 7 * COMMANDS.len() + 30);
        for (at, expected) in [
            (0, "pfx.ping_time_min 0.000000 7"),
            (3, "pfx.pings_ps_min 0 7"),
            (6, "pfx.ping_count 0 7"),
            (42, "pfx.start_recording_time_min 0.000000 7"),
            (7 * COMMANDS.len(), "pfx.call_dur 0.000000 7"),
            (7 * COMMANDS.len() + 1, "pfx.average_call_dur 0.000000 7"),
            (7 * COMMANDS.len() + 2, "pfx.forced_term_sess 0 7"),
            (7 * COMMANDS.len() + 29, "pfx.reject_sess 0 7"),
        ] {
            assert_eq!(lines[at], expected);
        }
    }
}
