//! `set …`: changes to the running daemon only.

use service::log::Subsystem;
use service::process;

use super::number::{decimal, integer, unsigned};
use super::{Cli, MORE, Words, not_supported};
use crate::config::{Setting, hundredths};

/// The smallest limit of open files that may be set: fewer would cut off calls.
const LEAST_FILES: u64 = 65_536;
/// The longest time that may be set, in seconds.
const LONGEST: u64 = u32::MAX as u64;

/// Runs `change` on the word after the command, and says so when that is missing or no number.
pub(super) fn with_number<T, E: std::fmt::Display>(
    name: &str,
    words: &mut Words<'_>,
    parse: impl FnOnce(&str) -> Result<T, E>,
    change: impl FnOnce(T) -> String,
) -> String {
    let Some(word) = words.next() else { return MORE.into() };
    match parse(word) {
        Ok(number) => change(number),
        Err(error) => format!("Fail setting {name} to {word}; {error}\n"),
    }
}

pub fn maxopenfiles(_: &Cli, words: &mut Words<'_>) -> String {
    with_number("open_files", words, unsigned, |files| {
        if files < LEAST_FILES {
            return format!("Fail setting open_files to {files}; can't set it under {LEAST_FILES}\n");
        }
        match process::set_open_files(files) {
            Ok(()) => {
                let pid = std::process::id();
                format!("Success setting open_files to {files}; cat /proc/{pid}/limits\n")
            }
            Err(error) => {
                let number = error.raw_os_error().unwrap_or(0);
                format!("Fail setting open_files to {files}; errno = {number}\n")
            }
        }
    })
}

pub fn maxsessions(cli: &Cli, words: &mut Words<'_>) -> String {
    with_number("maxsessions", words, integer, |limit| {
        if limit < -1 {
            return format!("Fail setting maxsessions to {limit}; either positive or -1 values allowed\n");
        }
        cli.engine.live().set(Setting::MaxSessions, limit);
        let note = if limit == -1 { "; disable feature" } else { "" };
        format!("Success setting maxsessions to {limit}{note}\n")
    })
}

pub fn maxcpu(cli: &Cli, words: &mut Words<'_>) -> String {
    with_number("maxcpu", words, decimal, |limit| {
        cli.engine.live().set(Setting::MaxCpu, hundredths(limit));
        format!("Success setting maxcpu to {limit:.1}\n")
    })
}

pub fn maxload(cli: &Cli, words: &mut Words<'_>) -> String {
    with_number("maxload", words, decimal, |limit| {
        cli.engine.live().set(Setting::MaxLoad, hundredths(limit));
        format!("Success setting maxload to {limit:.2}\n")
    })
}

pub fn maxbw(cli: &Cli, words: &mut Words<'_>) -> String {
    with_number("maxbw", words, unsigned, |limit| {
        cli.engine.live().set(Setting::MaxBandwidth, i64::try_from(limit).unwrap_or(i64::MAX));
        format!("Success setting maxbw to {limit}\n")
    })
}

/// A time in seconds; the reply is the same for all four time-outs.
fn time(cli: &Cli, words: &mut Words<'_>, setting: Setting) -> String {
    with_number("timeout", words, unsigned, |seconds| {
        set_time(cli, setting, seconds);
        format!("Success setting timeout to {}\n", seconds.min(LONGEST))
    })
}

fn set_time(cli: &Cli, setting: Setting, seconds: u64) {
    let microseconds = seconds.min(LONGEST) * 1_000_000;
    cli.engine.live().set(setting, i64::try_from(microseconds).unwrap_or(i64::MAX));
}

pub fn timeout(cli: &Cli, words: &mut Words<'_>) -> String {
    time(cli, words, Setting::Timeout)
}

pub fn silenttimeout(cli: &Cli, words: &mut Words<'_>) -> String {
    time(cli, words, Setting::SilentTimeout)
}

pub fn offertimeout(cli: &Cli, words: &mut Words<'_>) -> String {
    time(cli, words, Setting::OfferTimeout)
}

pub fn finaltimeout(cli: &Cli, words: &mut Words<'_>) -> String {
    time(cli, words, Setting::FinalTimeout)
}

pub fn deletedelay(cli: &Cli, words: &mut Words<'_>) -> String {
    let Some(word) = words.next() else { return MORE.into() };
    match unsigned(word) {
        Ok(seconds) if seconds <= LONGEST => {
            set_time(cli, Setting::DeleteDelay, seconds);
            format!("Success setting delete-delay to {seconds}\n")
        }
        _ => "Invalid delete-delay value\n".into(),
    }
}

pub fn loglevel(cli: &Cli, words: &mut Words<'_>) -> String {
    let Some(log) = &cli.log else { return not_supported("log levels without a log") };
    let Some(first) = words.next() else { return MORE.into() };
    let (subsystems, word) = match words.next() {
        // A name that is unknown changes nothing; clients expect success.
        Some(level) => (Subsystem::ALL.iter().filter(|each| each.name() == first).collect(), level),
        None => (Subsystem::ALL.iter().collect::<Vec<_>>(), first),
    };
    match integer(word) {
        Ok(level) if (-1..=8).contains(&level) => {
            for subsystem in subsystems {
                log.levels().set(*subsystem, level as i32);
            }
            format!("Success setting loglevel to {level}\n")
        }
        Ok(level) => format!("Fail setting loglevel to {level}; from -1 to 8\n"),
        Err(error) => format!("Fail setting loglevel to {word}; {error}\n"),
    }
}

pub fn controltos(cli: &Cli, words: &mut Words<'_>) -> String {
    let Some(word) = words.next() else { return MORE.into() };
    match unsigned(word) {
        Ok(tos) if tos <= u64::from(u8::MAX) => {
            cli.engine.live().set(Setting::ControlTos, i64::try_from(tos).unwrap_or(0));
            format!("Success setting control-tos to {tos}\n")
        }
        Ok(tos) => format!("Invalid control-tos value {tos}, must be between 0 and 255\n"),
        Err(error) => format!("Fail setting control-tos to {word}; {error}\n"),
    }
}
