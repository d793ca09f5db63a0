//! `list …` and `get …`

use std::time::{SystemTime, UNIX_EPOCH};

use service::log::Subsystem;
use service::process;

use super::{Cli, MORE, Words, dump, explain, not_supported};
use crate::call::CallLine;
use crate::config::Setting;
use crate::control::statistics as report;

pub fn numsessions(cli: &Cli, _: &mut Words<'_>) -> String {
    let gauges = cli.engine.gauges();
    let sessions = gauges.sessions;
    format!(
        "Current sessions own: {}\n\
         Current sessions foreign: {}\n\
         Current sessions total: {}\n\
         Current transcoded media: {}\n\
         Current sessions ipv4 only media: {}\n\
         Current sessions ipv6 only media: {}\n\
         Current sessions ip mixed  media: {}\n",
        sessions.own,
        sessions.foreign,
        sessions.own + sessions.foreign,
        gauges.transcoded,
        gauges.ipv4,
        gauges.ipv6,
        gauges.mixed
    )
}

pub fn sessions(cli: &Cli, words: &mut Words<'_>) -> String {
    type Filter = fn(&CallLine) -> bool;
    let (filter, kind): (Filter, &str) = match words.next() {
        None => return MORE.into(),
        Some("all") => (|_| true, ""),
        Some("own") => (|call| !call.foreign, "own "),
        Some("foreign") => (|call| call.foreign, "foreign "),
        Some("recording") => (|call| call.recording, "recording "),
        Some(call_id) if words.peek() == Some("explain") => {
            return match cli.engine.explain_call(call_id) {
                Some(parties) => explain::call(call_id, &parties),
                None => format!("\nCall ID not found ({call_id}).\n\n"),
            };
        }
        Some(call_id) => {
            return match cli.engine.dump(call_id) {
                Some(call) => dump::call(&call),
                None => format!("\nCall ID not found ({call_id}).\n\n"),
            };
        }
    };
    let calls = cli.engine.overview();
    let lines: String = calls.iter().filter(|call| filter(call)).map(line).collect();
    if lines.is_empty() { format!("No {kind}sessions on this media relay.\n") } else { lines }
}

fn line(call: &CallLine) -> String {
    let flag = |set| if set { 'y' } else { 'n' };
    let proxy = call.created_from.map(|address| address.to_string()).unwrap_or_default();
    format!(
        "ID: {:>60} | del:{} | creat:{:12} | prx:{proxy} | redis:{:2} | frgn:{} | rec:{}\n",
        call.id,
        flag(call.deleted),
        seconds(call.created),
        call.keyspace,
        flag(call.foreign),
        flag(call.recording)
    )
}

/// Seconds since the epoch.
pub fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

pub fn totals(cli: &Cli, _: &mut Words<'_>) -> String {
    cli.statistics.totals()
}

pub fn counters(cli: &Cli, _: &mut Words<'_>) -> String {
    report::rates(&cli.engine.statistics().rates())
}

pub fn jsonstats(cli: &Cli, _: &mut Words<'_>) -> String {
    cli.statistics.json()
}

pub fn interfaces(cli: &Cli, _: &mut Words<'_>) -> String {
    report::interfaces(&cli.statistics.report().interfaces)
}

pub fn transcoders(cli: &Cli, _: &mut Words<'_>) -> String {
    report::transcoders(&cli.engine.plane().totals().chains, &cli.engine.statistics().rates())
}

pub fn maxopenfiles(_: &Cli, _: &mut Words<'_>) -> String {
    let files = process::open_files().map_or_else(|| "infinite".into(), |files| files.to_string());
    let pid = std::process::id();
    format!("Maximum open-files configured on rtpengine: {files}; cat /proc/{pid}/limits\n")
}

pub fn maxsessions(cli: &Cli, _: &mut Words<'_>) -> String {
    let limit = cli.engine.live().get(Setting::MaxSessions).max(-1);
    format!("Maximum sessions configured on rtpengine: {limit}\n")
}

fn hundredths(cli: &Cli, setting: Setting) -> f64 {
    cli.engine.live().get(setting) as f64 / 100.0
}

pub fn maxcpu(cli: &Cli, _: &mut Words<'_>) -> String {
    format!("Maximum CPU usage configured on rtpengine: {:.1}\n", hundredths(cli, Setting::MaxCpu))
}

pub fn maxload(cli: &Cli, _: &mut Words<'_>) -> String {
    format!("Maximum load average configured on rtpengine: {:.2}\n", hundredths(cli, Setting::MaxLoad))
}

pub fn maxbw(cli: &Cli, _: &mut Words<'_>) -> String {
    format!("Maximum bandwidth configured on rtpengine: {}\n", cli.engine.live().get(Setting::MaxBandwidth))
}

fn time(cli: &Cli, setting: Setting) -> u64 {
    cli.engine.live().duration(setting).as_secs()
}

pub fn timeout(cli: &Cli, _: &mut Words<'_>) -> String {
    format!("TIMEOUT={}\n", time(cli, Setting::Timeout))
}

pub fn silenttimeout(cli: &Cli, _: &mut Words<'_>) -> String {
    format!("SILENT_TIMEOUT={}\n", time(cli, Setting::SilentTimeout))
}

pub fn offertimeout(cli: &Cli, _: &mut Words<'_>) -> String {
    format!("OFFER_TIMEOUT={}\n", time(cli, Setting::OfferTimeout))
}

pub fn finaltimeout(cli: &Cli, _: &mut Words<'_>) -> String {
    format!("FINAL_TIMEOUT={}\n", time(cli, Setting::FinalTimeout))
}

pub fn deletedelay(cli: &Cli, _: &mut Words<'_>) -> String {
    format!("{}\n", time(cli, Setting::DeleteDelay))
}

pub fn loglevels(_: &Cli, _: &mut Words<'_>) -> String {
    Subsystem::ALL
        .iter()
        .map(|subsystem| format!("{} - {}\n", subsystem.name(), subsystem.description()))
        .collect()
}

pub fn loglevel(cli: &Cli, words: &mut Words<'_>) -> String {
    let Some(log) = &cli.log else { return not_supported("log levels without a log") };
    let level = |subsystem: &Subsystem| log.levels().get(*subsystem);
    match words.next() {
        None => Subsystem::ALL.iter().map(|each| format!("{} = {}\n", each.name(), level(each))).collect(),
        Some(name) => {
            let named = Subsystem::ALL.iter().find(|subsystem| subsystem.name() == name);
            named.map(|subsystem| format!("{}\n", level(subsystem))).unwrap_or_default()
        }
    }
}

pub fn controltos(cli: &Cli, _: &mut Words<'_>) -> String {
    format!("{}\n", cli.engine.live().control_tos())
}
