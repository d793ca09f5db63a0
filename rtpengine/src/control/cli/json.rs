//! `json …`: what another command tells, as one line of JSON.

use std::time::SystemTime;

use serde_json::{Map, Value, json};

use super::list::seconds;
use super::{Cli, MORE, Words};
use crate::call::{CallDump, CallLine, MediaDump, MediaOf, PartyDump, PartyRole, StreamDump};
use crate::control::report;

/// How replies begin that tell of a failure.
const FAILURES: &[&str] = &[
    "Unknown command",
    "More parameters",
    "Incomplete command",
    "Fail",
    "Invalid",
    "Not supported",
    "No such",
    "No call ID",
    "Call ID",
    "Call Id not found",
    "Keyspace notification feature has not",
];

pub fn run(cli: &Cli, words: &mut Words<'_>) -> String {
    let words = words.rest();
    let value = match words.as_slice() {
        [] => return MORE.into(),
        ["live"] => return format!("{}\n", report::live(&cli.statistics)),
        ["json", ..] => json!({"error": "json within json"}),
        ["list" | "get", "sessions", kind @ ("all" | "own" | "foreign" | "recording")] => {
            sessions(&cli.engine.overview(), kind)
        }
        ["list" | "get", "sessions", call_id] | ["call", call_id, "info"] => match cli.engine.dump(call_id) {
            Some(dump) => call(&dump),
            None => json!({"error": format!("Call ID not found ({call_id}).")}),
        },
        ["list" | "get", "totals" | "jsonstats"] => statistics(cli, None),
        ["list" | "get", part @ ("interfaces" | "transcoders")] => statistics(cli, Some(part)),
        words => text(&cli.execute(&words.join(" "))),
    };
    format!("{value}\n")
}

fn sessions(calls: &[CallLine], kind: &str) -> Value {
    let fits = |call: &&CallLine| match kind {
        "own" => !call.foreign,
        "foreign" => call.foreign,
        "recording" => call.recording,
        _ => true,
    };
    let line = |call: &CallLine| {
        json!({
            "call_id": call.id,
            "deleted": call.deleted,
            "created": seconds(call.created),
            "proxy": call.created_from.map(|proxy| proxy.to_string()),
            "redis_keyspace": call.keyspace,
            "foreign": call.foreign,
            "recording": call.recording,
        })
    };
    calls.iter().filter(fits).map(line).collect()
}

fn statistics(cli: &Cli, part: Option<&str>) -> Value {
    let all: Value = serde_json::from_str(&cli.statistics.json()).unwrap_or_default();
    match part {
        Some(part) => all.get(part).cloned().unwrap_or_default(),
        None => all,
    }
}

fn call(call: &CallDump) -> Value {
    json!({
        "call_id": call.id,
        "aliases": call.other_ids,
        "deleted": call.deleted,
        "created": seconds(call.created),
        "proxy": call.created_from.map(|proxy| proxy.to_string()),
        "tos": call.tos,
        "last_signal": call.last_signal.map(seconds),
        "redis_keyspace": call.keyspace,
        "last_redis_update": call.stored_us,
        "foreign": call.foreign,
        "recording": call.recording,
        "tags": call.parties.iter().map(party).collect::<Vec<_>>(),
        "now": seconds(SystemTime::now()),
    })
}

fn party(party: &PartyDump) -> Value {
    let others = |others: &[MediaOf]| -> Value {
        others.iter().map(|other| json!({"tag": other.tag, "index": other.index})).collect()
    };
    json!({
        "tag": party.tag,
        "type": match party.role {
            PartyRole::Caller => "FROM_TAG",
            PartyRole::Callee => "TO_TAG",
            PartyRole::Unknown => "UNKNOWN",
        },
        "label": party.label,
        "branch": party.branch,
        "duration": party.duration.as_secs_f64(),
        "aliases": party.aliases,
        "subscribed_to": others(&party.hears),
        "subscribed_by": others(&party.heard_by),
        "medias": party.media.iter().map(media).collect::<Vec<_>>(),
    })
}

fn media(media: &MediaDump) -> Value {
    json!({
        "index": media.index,
        "type": media.media_type,
        "protocol": media.protocol,
        "payload_type": media.payload_type,
        "codec": media.codec,
        "streams": media.streams.iter().map(stream).collect::<Vec<_>>(),
    })
}

fn stream(stream: &StreamDump) -> Value {
    json!({
        "local_address": stream.local.map(|(address, _)| address.to_string()),
        "local_port": stream.local.map(|(_, port)| port),
        "endpoint": stream.remote.map(|remote| remote.to_string()),
        "rtcp": stream.is_rtcp,
        "ssrc": stream.ssrc,
        "packets": stream.packets,
        "bytes": stream.octets,
        "errors": stream.errors,
        "sent": {"packets": stream.sent.packets, "bytes": stream.sent.octets, "errors": stream.sent.errors},
        "last_packet": stream.last_packet_s,
    })
}

/// A reply that is made for people: names with values where it looks like that, else its lines.
fn text(reply: &str) -> Value {
    let lines: Vec<&str> = reply.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let whole = lines.join("\n");
    if FAILURES.iter().any(|failure| whole.starts_with(failure)) {
        return json!({"error": whole});
    }
    if let [line] = lines.as_slice()
        && let Some(number) = number(line)
    {
        return json!({"value": number});
    }
    let pairs: Option<Map<String, Value>> = lines.iter().map(|line| pair(line)).collect();
    match pairs.filter(|pairs| !pairs.is_empty()) {
        Some(pairs) => Value::Object(pairs),
        None => json!({"lines": lines}),
    }
}

fn pair(line: &str) -> Option<(String, Value)> {
    let (name, value) = [" = ", "=", ":"].iter().find_map(|between| line.split_once(between))?;
    let value = value.trim();
    Some((name.trim().into(), number(value).unwrap_or_else(|| value.into())))
}

fn number(text: &str) -> Option<Value> {
    let integer = text.parse::<i64>().map(Value::from).ok();
    integer.or_else(|| text.parse::<f64>().ok().filter(|number| number.is_finite()).map(Value::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_become_objects_numbers_or_lines() {
        for (reply, expected) in [
            ("30\n", json!({"value": 30})),
            ("TIMEOUT=60\n", json!({"TIMEOUT": 60})),
            ("core = 6\nice = 5\n", json!({"core": 6, "ice": 5})),
            ("Current sessions own: 1\n", json!({"Current sessions own": 1})),
            ("timeout = 60\nname = some text\n", json!({"timeout": 60, "name": "some text"})),
            ("All calls terminated by operator.\n", json!({"lines": ["All calls terminated by operator."]})),
            ("\nCall Id not found (x).\n\n", json!({"error": "Call Id not found (x)."})),
            ("Unknown command: x\n", json!({"error": "Unknown command: x"})),
            ("", json!({"lines": []})),
        ] {
            assert_eq!(text(reply), expected, "{reply}");
        }
    }
}
