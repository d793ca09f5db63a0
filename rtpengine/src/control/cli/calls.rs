//! Commands on calls: `terminate`, `active`, `standby`, `debug`, `call …`.

use std::time::Duration;

use super::tree::{Level, Node, Run, command};
use super::{Cli, MORE, Words, dump, not_supported};
use crate::call::{Ownership, PartyDump, Position};

/// How long `active` waits for what other instances have written by then: nobody is to be silent for a second.
const PATIENCE: Duration = Duration::from_millis(300);

/// After `call <callid>`.
pub const CALL: Level = &[
    command("info", "", "everything about the call", info),
    command("terminate", "", "end the call", terminate_this),
    command("debug", "on | off", "log everything about the call", debug_this),
    Node { word: "tag", synopsis: "<tag> <option>", help: "", run: Run::Item(enter_tag, PARTY) },
];

/// After `tag <tag>`.
const PARTY: Level = &[
    command("info", "", "everything about the party", party_info),
    command("delay", "<uint>", "delay the party's audio by milliseconds", delay),
    command("detect-dtmf", "0 | 1", "look for DTMF tones in the party's audio", detect_dtmf),
];

pub fn terminate(cli: &Cli, words: &mut Words<'_>) -> String {
    let (which, kind) = match words.next() {
        None => return MORE.into(),
        Some("all") => (Ownership::All, "calls"),
        Some("own") => (Ownership::Own, "own calls"),
        Some("foreign") => (Ownership::Foreign, "foreign calls"),
        Some(call_id) => {
            if !cli.engine.terminate(call_id) {
                return format!("\nCall Id not found ({call_id}).\n\n");
            }
            tracing::warn!(call_id, "Call Id ({call_id}) successfully terminated by operator.");
            return format!("\nCall Id ({call_id}) successfully terminated by operator.\n\n");
        }
    };
    cli.engine.terminate_all(which);
    tracing::info!("All {kind} terminated by operator.");
    format!("All {kind} terminated by operator.\n")
}

pub fn active(cli: &Cli, _: &mut Words<'_>) -> String {
    if let Some(persistence) = &cli.persistence {
        persistence.catch_up(PATIENCE);
    }
    cli.engine.take_over();
    "Ok, all calls set to 'owned (active)'\n".into()
}

pub fn standby(cli: &Cli, _: &mut Words<'_>) -> String {
    cli.engine.hand_over();
    "Ok, all calls set to 'foreign (standby)'\n".into()
}

pub fn debug(cli: &Cli, words: &mut Words<'_>) -> String {
    let Some(call_id) = words.next() else { return "No call ID specified\n".into() };
    if !cli.engine.has_call(call_id) {
        return format!("Call ID '{call_id}' not found\n");
    }
    let on = match words.next() {
        None | Some("on" | "enable") => true,
        Some("off" | "disable") => false,
        Some(other) => return format!("Invalid on/off flag ('{other}') specified\n"),
    };
    let Some(log) = &cli.log else { return not_supported("debugging without a log") };
    // Calls that have ended meanwhile are forgotten here, so that the list cannot grow.
    log.retain_debugged_calls(|known| cli.engine.has_call(known));
    log.debug_call(call_id, on);
    format!("{} debugging for call '{call_id}'\n", if on { "Enabled" } else { "Disabled" })
}

/// `call <callid>`
pub fn enter_call(cli: &Cli, below: Level, words: &mut Words<'_>) -> String {
    let Some(call_id) = words.next() else { return MORE.into() };
    if !cli.engine.has_call(call_id) {
        return format!("No such call '{call_id}'\n");
    }
    words.call = call_id;
    continue_or_incomplete(cli, below, words)
}

/// `call <callid> tag <tag>`
fn enter_tag(cli: &Cli, below: Level, words: &mut Words<'_>) -> String {
    let Some(tag) = words.next() else { return MORE.into() };
    if party(cli, words.call, tag).is_none() {
        return format!("No such tag '{tag}'\n");
    }
    words.tag = tag;
    continue_or_incomplete(cli, below, words)
}

fn continue_or_incomplete(cli: &Cli, below: Level, words: &mut Words<'_>) -> String {
    if words.is_at_end() { "Incomplete command: \n".into() } else { cli.descend(below, words) }
}

fn party(cli: &Cli, call_id: &str, tag: &str) -> Option<PartyDump> {
    let call = cli.engine.dump(call_id)?;
    call.parties.into_iter().find(|party| party.tag == tag || party.aliases.iter().any(|alias| alias == tag))
}

fn info(cli: &Cli, words: &mut Words<'_>) -> String {
    match cli.engine.dump(words.call) {
        Some(call) => dump::call(&call),
        None => format!("No such call '{}'\n", words.call),
    }
}

fn terminate_this(cli: &Cli, words: &mut Words<'_>) -> String {
    let call_id = words.call;
    if !cli.engine.terminate(call_id) {
        return format!("No such call '{call_id}'\n");
    }
    tracing::warn!(call_id, "Call terminated by operator.");
    format!("\nCall '{call_id}' terminated.\n\n")
}

fn debug_this(cli: &Cli, words: &mut Words<'_>) -> String {
    let rest = words.rest();
    let mut line = vec![words.call];
    line.extend(rest);
    debug(cli, &mut Words::of(&line))
}

fn party_info(cli: &Cli, words: &mut Words<'_>) -> String {
    match party(cli, words.call, words.tag) {
        Some(found) => dump::party(&found),
        None => format!("No such tag '{}'\n", words.tag),
    }
}

fn detect_dtmf(cli: &Cli, words: &mut Words<'_>) -> String {
    let (position, verb) = match words.next() {
        None => return MORE.into(),
        Some("1") => (Position::On, "Enabling"),
        Some("0") => (Position::Off, "Disabling"),
        Some(other) => return format!("Invalid setting {other}\n"),
    };
    if cli.engine.detect_tones(words.call, words.tag, position) {
        format!("{verb} audio DTMF detection\n")
    } else {
        format!("No such tag '{}'\n", words.tag)
    }
}

fn delay(cli: &Cli, words: &mut Words<'_>) -> String {
    let Some(text) = words.next() else { return MORE.into() };
    let delay = text.parse::<i64>().ok().and_then(|ms| u64::try_from(ms).ok()).map(Duration::from_millis);
    let Some(delay) = delay else { return format!("Invalid delay {text}\n") };
    match cli.engine.delay_audio(words.call, words.tag, delay) {
        Some(delay) => format!("Setting delay to {}\n", delay.as_millis()),
        None => format!("No such tag '{}'\n", words.tag),
    }
}
