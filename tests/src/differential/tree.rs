//! Replies to `query` in a form that can be compared: what both series say about a call, without what differs from run to run.

use serde_json::Value;

/// Left out, with what is below: times, local addresses and ports, and what 10.x does not have.
const LEFT_OUT: &[&str] = &[
    "created",
    "created_us",
    "created_ts",
    "last signal",
    "last packet",
    "last kernel packet",
    "last user packet",
    "last redis update",
    // Where a party really is; when a description moves it, is a matter of learning.
    "endpoint",
    "local address",
    "local port",
    "VSC",
    "ingress SSRCs",
    "egress SSRCs",
    "stats_out",
    "crypto suite",
    "family",
];

/// What both series mean the same by. Others say how far a handshake is, or are said of another side.
const COMPARED_FLAGS: &[&str] = &["send", "recv", "RTP", "RTCP", "fallback RTCP", "filled"];

/// Flags that 10.x does not have, or shows of what is only possible: both roles of DTLS before one is settled, and who controls ICE
/// where nobody speaks it.
const NEWER_FLAGS: &[&str] = &["DTLS role active", "DTLS role passive", "ICE controlling"];

/// A line for each leaf, with its path; of flags those that mean the same at any time.
pub fn tree(reply: &Value) -> Vec<String> {
    lines(reply, &[], |word| COMPARED_FLAGS.contains(&word))
}

/// The same with all flags but [`NEWER_FLAGS`], and where parties are.
pub fn full_tree(reply: &Value) -> Vec<String> {
    lines(reply, &["endpoint"], |word| !NEWER_FLAGS.contains(&word))
}

fn lines(reply: &Value, kept: &[&str], is_compared: impl Fn(&str) -> bool) -> Vec<String> {
    let mut lines = Vec::new();
    let mut reply = reply.clone();
    if let Some(parties) = reply["tags"].as_object_mut() {
        // 10.x lists unanswered branches of a forked call among those who are heard.
        let is_forked = parties.len() > 2;
        for party in parties.values_mut().filter_map(Value::as_object_mut) {
            if is_forked {
                party.remove("subscriptions");
                party.remove("subscribers");
            }
            let media = party.get_mut("medias").and_then(Value::as_array_mut);
            let streams = media.into_iter().flatten().filter_map(|media| media["streams"].as_array_mut());
            streams.for_each(|streams| forget_rejected(streams));
        }
    }
    flatten("", &reply, &Rules { kept, is_compared: &is_compared }, &mut lines);
    lines.sort();
    lines
}

/// 10.x keeps the endpoints of rejected sections, with port 0, and 1 for RTCP; with ICE only the advertised ones have these ports.
fn forget_rejected(streams: &mut [Value]) {
    let port = |key| streams.first().and_then(|stream| stream[key]["port"].as_u64());
    if ["endpoint", "advertised endpoint"].iter().any(|key| port(key).is_none_or(|port| port <= 1)) {
        for stream in streams.iter_mut().filter_map(Value::as_object_mut) {
            stream.remove("advertised endpoint");
            stream.remove("flags");
        }
    }
}

/// What is compared.
struct Rules<'r> {
    /// Keys of [`LEFT_OUT`] that are not left out.
    kept: &'r [&'r str],
    /// Which flags.
    is_compared: &'r dyn Fn(&str) -> bool,
}

fn flatten(path: &str, value: &Value, rules: &Rules<'_>, lines: &mut Vec<String>) {
    match value {
        Value::Object(entries) => {
            let is_left_out = |key: &str| LEFT_OUT.contains(&key) && !rules.kept.contains(&key);
            for (key, value) in entries.iter().filter(|(key, _)| !is_left_out(key)) {
                flatten(&format!("{path}/{key}"), value, rules, lines);
            }
        }
        // Flags are a set.
        Value::Array(items) if items.iter().all(Value::is_string) => {
            let mut words: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
            words.retain(|word| (rules.is_compared)(word));
            words.sort_unstable();
            lines.push(format!("{path}: {}", words.join(" ")));
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                flatten(&format!("{path}/{index}"), item, rules, lines);
            }
        }
        leaf => lines.push(format!("{path}: {leaf}")),
    }
}
