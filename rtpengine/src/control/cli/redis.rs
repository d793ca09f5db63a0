//! Commands about Redis: limits, the separate server for writing, databases that are followed.

use super::number::{integer, unsigned};
use super::set::with_number;
use super::{Cli, MORE, Words};
use crate::config::Setting;

const NO_NOTIFICATIONS: &str = "Keyspace notification feature has not been configured.\n";

fn show(cli: &Cli, setting: Setting) -> String {
    format!("{}\n", cli.engine.live().get(setting))
}

pub fn show_allowed_errors(cli: &Cli, _: &mut Words<'_>) -> String {
    show(cli, Setting::RedisAllowedErrors)
}

pub fn show_disable_time(cli: &Cli, _: &mut Words<'_>) -> String {
    format!("{}\n", cli.engine.live().duration(Setting::RedisDisableTime).as_secs())
}

pub fn show_connect_timeout(cli: &Cli, _: &mut Words<'_>) -> String {
    show(cli, Setting::RedisConnectTimeout)
}

pub fn show_command_timeout(cli: &Cli, _: &mut Words<'_>) -> String {
    show(cli, Setting::RedisCommandTimeout)
}

pub fn allowed_errors(cli: &Cli, words: &mut Words<'_>) -> String {
    change(cli, words, "redis-allowed-errors", Setting::RedisAllowedErrors, None)
}

pub fn disable_time(cli: &Cli, words: &mut Words<'_>) -> String {
    with_number("redisdisabletime", words, integer, |seconds| {
        if seconds < 0 {
            return format!("Invalid redis-disable-time value {seconds}, must be >= 0\n");
        }
        cli.engine.live().set(Setting::RedisDisableTime, seconds.saturating_mul(1_000_000));
        format!("Success setting redis-disable-time to {seconds}\n")
    })
}

pub fn connect_timeout(cli: &Cli, words: &mut Words<'_>) -> String {
    let reply = change(cli, words, "redis-connect-timeout", Setting::RedisConnectTimeout, Some((1, "> 0")));
    reconnect(cli);
    reply
}

/// The limit belongs to the connection: it is made anew.
pub fn command_timeout(cli: &Cli, words: &mut Words<'_>) -> String {
    let is_off = words.peek() == Some("0");
    let reply = change(cli, words, "redis-cmd-timeout", Setting::RedisCommandTimeout, Some((0, ">= 0")));
    reconnect(cli);
    if is_off {
        let warning = "Warning: Setting redis-cmd-timeout to 0 (no timeout) will require a redis reconnect\n";
        return format!("{warning}{reply}");
    }
    reply
}

fn reconnect(cli: &Cli) {
    if let Some(persistence) = &cli.persistence {
        persistence.reconnect();
    }
}

/// `least` is the smallest value and how it is written.
fn change(
    cli: &Cli,
    words: &mut Words<'_>,
    name: &str,
    setting: Setting,
    least: Option<(i64, &str)>,
) -> String {
    with_number(&name.replace('-', ""), words, integer, |value| match least {
        Some((least, rule)) if value < least => format!("Invalid {name} value {value}, must be {rule}\n"),
        _ => {
            cli.engine.live().set(setting, value);
            format!("Success setting {name} to {value}\n")
        }
    })
}

/// `set redisdisable`
pub fn disable(cli: &Cli, words: &mut Words<'_>) -> String {
    let switch = |disable| cli.persistence.as_ref().is_some_and(|redis| redis.disable_write(disable));
    match words.next() {
        None => MORE.into(),
        Some("1") if switch(true) => "Success disable redis write\n".into(),
        Some("1") => "No redis write to disable\n".into(),
        Some("0") if switch(false) => "Success re-enable redis write\n".into(),
        Some("0") => "No redis write to re-enable\n".into(),
        Some(other) => format!("Invalid redis-disable value {other}, must be >= 0\n"),
    }
}

/// `ksadd`
pub fn add_keyspace(cli: &Cli, words: &mut Words<'_>) -> String {
    let Some(redis) = cli.persistence.as_ref().filter(|redis| redis.keyspaces.is_configured()) else {
        return NO_NOTIFICATIONS.into();
    };
    let Some(word) = words.next() else { return MORE.into() };
    match keyspace(word) {
        Ok(keyspace) if redis.keyspaces.add(keyspace) => {
            format!("Success adding keyspace {keyspace} to redis notifications.\n")
        }
        Ok(keyspace) => format!("Keyspace {keyspace} is already among redis notifications.\n"),
        Err(error) => format!("Fail adding keyspace {word} to redis notifications; {error}\n"),
    }
}

/// `ksrm`
pub fn remove_keyspace(cli: &Cli, words: &mut Words<'_>) -> String {
    let Some(redis) = cli.persistence.as_ref().filter(|redis| redis.keyspaces.is_configured()) else {
        return NO_NOTIFICATIONS.into();
    };
    let Some(word) = words.next() else { return MORE.into() };
    match keyspace(word) {
        Ok(keyspace) if redis.keyspaces.remove(keyspace) => {
            cli.engine.drop_keyspace(keyspace);
            format!(
                "Successfully unsubscribed from keyspace {keyspace}.\n\
                 Successfully removed all foreign calls for keyspace {keyspace}.\n"
            )
        }
        Ok(keyspace) => format!("Keyspace {keyspace} is not among redis notifications.\n"),
        Err(error) => format!("Fail removing keyspace {word} to redis notifications; {error}\n"),
    }
}

/// `kslist`
pub fn list_keyspaces(cli: &Cli, _: &mut Words<'_>) -> String {
    let Some(redis) = cli.persistence.as_ref().filter(|redis| redis.keyspaces.is_configured()) else {
        return NO_NOTIFICATIONS.into();
    };
    let list: String = redis.keyspaces.list().iter().map(|keyspace| format!("{keyspace} ")).collect();
    format!("\nSubscribed-on keyspaces:\n{list}\n")
}

fn keyspace(word: &str) -> Result<i64, String> {
    let number = unsigned(word).map_err(|error| error.to_string())?;
    i32::try_from(number).map(i64::from).map_err(|_| "errno=34".to_owned())
}
