//! `params …`: the configuration as it was, as it is, and back.

use std::fmt::Write;

use service::log::Subsystem;

use super::{Cli, Words};
use crate::config::Setting;

/// A value that can change, by its two historical names.
struct Changeable {
    /// In `start` and `current`.
    name: &'static str,
    /// In `diff`.
    short: &'static str,
    setting: Setting,
}

const CHANGEABLE: &[Changeable] = &[
    changeable("max_sessions", "max-sessions", Setting::MaxSessions),
    changeable("cpu_limit", "max-cpu", Setting::MaxCpu),
    changeable("load_limit", "max-load", Setting::MaxLoad),
    changeable("bw_limit", "max-bw", Setting::MaxBandwidth),
    changeable("timeout_us", "timeout", Setting::Timeout),
    changeable("silent_timeout_us", "silent-timeout", Setting::SilentTimeout),
    changeable("final_timeout_us", "final-timeout", Setting::FinalTimeout),
    changeable("offer_timeout_us", "offer-timeout", Setting::OfferTimeout),
    changeable("control_tos", "control-tos", Setting::ControlTos),
    changeable("delete_delay_us", "delete-delay", Setting::DeleteDelay),
    changeable("redis_allowed_errors", "redis_allowed_errors", Setting::RedisAllowedErrors),
    changeable("redis_disable_time_us", "redis_disable_time", Setting::RedisDisableTime),
    changeable("redis_cmd_timeout", "redis_cmd_timeout", Setting::RedisCommandTimeout),
    changeable("redis_connect_timeout", "redis_connect_timeout-db", Setting::RedisConnectTimeout),
];

const fn changeable(name: &'static str, short: &'static str, setting: Setting) -> Changeable {
    Changeable { name, short, setting }
}

pub fn start(cli: &Cli, _: &mut Words<'_>) -> String {
    show(cli, |subsystem| cli.start_levels[subsystem as usize], |setting| cli.engine.live().at_start(setting))
}

pub fn current(cli: &Cli, _: &mut Words<'_>) -> String {
    show(cli, |subsystem| level(cli, subsystem), |setting| cli.engine.live().get(setting))
}

/// The level at present; as at the start when there is no log.
fn level(cli: &Cli, subsystem: Subsystem) -> i32 {
    cli.log.as_ref().map_or(cli.start_levels[subsystem as usize], |log| log.levels().get(subsystem))
}

/// Writing to a string cannot fail, so results are not looked at.
fn show(cli: &Cli, level: impl Fn(Subsystem) -> i32, value: impl Fn(Setting) -> i64) -> String {
    let mut text = String::new();
    for subsystem in Subsystem::ALL {
        let _ = writeln!(text, "log-level-{} = {}", subsystem.name(), level(subsystem));
    }
    for entry in CHANGEABLE {
        let _ = writeln!(text, "{} = {}", entry.name, value(entry.setting));
    }
    let _ = writeln!(text, "[max-cpu = {:.1}]", value(Setting::MaxCpu) as f64 / 100.0);
    let _ = writeln!(text, "[max-load = {:.2}]", value(Setting::MaxLoad) as f64 / 100.0);
    for (index, (interface, local)) in cli.engine.config().local_addresses().enumerate() {
        let _ = writeln!(text, "interface[{index}] = {}\\{}", interface.name, local.address);
    }
    let keyspaces = cli.persistence.as_ref().map(|persistence| persistence.keyspaces.list());
    for (index, keyspace) in keyspaces.unwrap_or_default().into_iter().enumerate() {
        let _ = writeln!(text, "keyspace[{index}] = {keyspace}");
    }
    for (name, value) in &cli.engine.config().parameters {
        let _ = writeln!(text, "{name} = {value}");
    }
    let _ = writeln!(text, "software_id = {}", cli.engine.config().software_id);
    text
}

pub fn diff(cli: &Cli, _: &mut Words<'_>) -> String {
    let mut text = String::new();
    for subsystem in Subsystem::ALL {
        let (start, now) = (cli.start_levels[subsystem as usize], level(cli, subsystem));
        if start != now {
            let _ = writeln!(text, "log-level-{}: {start} => {now}", subsystem.name());
        }
    }
    let live = cli.engine.live();
    for entry in CHANGEABLE {
        let (start, now) = (live.at_start(entry.setting), live.get(entry.setting));
        if start != now {
            let _ = writeln!(text, "{}: {start} => {now}", entry.short);
        }
    }
    text
}

pub fn revert(cli: &Cli, _: &mut Words<'_>) -> String {
    cli.engine.live().revert();
    if let Some(log) = &cli.log {
        for subsystem in Subsystem::ALL {
            log.levels().set(subsystem, cli.start_levels[subsystem as usize]);
        }
    }
    String::new()
}
