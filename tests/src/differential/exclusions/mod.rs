//! What the two recorded references answer differently. Cases keep away from it; `tests/differential.rs` shows that the
//! two recordings agree in everything else.

mod dialogue;
mod message;

use serde_json::Value;

use crate::differential::canonical::sections;

/// A feature in which version 10.x is no measure for the newer series.
pub struct Exclusion {
    /// Short name, for `differential --rules`.
    pub name: &'static str,
    /// What differs.
    pub about: &'static str,
    /// Whether the last of these requests (of one daemon, in order) uses it.
    pub applies: fn(&[Value]) -> bool,
}

/// The first exclusion that a request, coming after the others, falls under.
pub fn excluded(requests: &[Value]) -> Option<&'static Exclusion> {
    all().find(|exclusion| (exclusion.applies)(requests))
}

/// All exclusions.
pub fn all() -> impl Iterator<Item = &'static Exclusion> {
    message::EXCLUSIONS.iter().chain(dialogue::EXCLUSIONS)
}

fn last(all: &[Value]) -> &Value {
    all.last().unwrap_or(&Value::Null)
}

fn text<'a>(request: &'a Value, key: &str) -> &'a str {
    request[key].as_str().unwrap_or_default()
}

fn sdp(request: &Value) -> &str {
    text(request, "sdp")
}

fn has_key(request: &Value, keys: &[&str]) -> bool {
    keys.iter().any(|key| request.get(*key).is_some())
}

fn is_negotiation(request: &Value) -> bool {
    matches!(text(request, "command"), "offer" | "answer")
}

fn same_call(one: &Value, other: &Value) -> bool {
    text(one, "call-id") == text(other, "call-id")
}

fn flag(request: &Value, prefix: &str) -> bool {
    words_of(request, "flags").any(|word| word.starts_with(prefix))
}

fn items(request: &Value) -> impl Iterator<Item = &Value> {
    request.as_object().into_iter().flatten().filter_map(|(_, value)| value.as_array()).flatten()
}

fn words(request: &Value) -> impl Iterator<Item = &str> {
    items(request).filter_map(Value::as_str)
}

fn words_of<'a>(request: &'a Value, key: &str) -> impl Iterator<Item = &'a str> {
    request[key].as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn has_codec(request: &Value, word: &str, codec: &str) -> bool {
    request["codec"][word]
        .as_array()
        .is_some_and(|list| list.iter().any(|item| item.as_str().is_some_and(|item| item.starts_with(codec))))
}

/// Payload type and coding of each `a=rtpmap`.
fn codings(sdp: &str) -> impl Iterator<Item = (&str, &str)> {
    sdp.lines().filter_map(coding)
}

fn codings_of<'a>(lines: &[&'a str]) -> impl Iterator<Item = (&'a str, &'a str)> {
    lines.iter().copied().filter_map(coding)
}

fn coding(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix("a=rtpmap:")?.trim_end().split_once(' ')
}

/// The offer that the last request answers.
fn last_offer(all: &[Value]) -> &Value {
    let mut earlier = all[..all.len() - 1].iter().rev();
    let found = earlier.find(|other| text(other, "command") == "offer" && same_call(other, last(all)));
    found.unwrap_or(&Value::Null)
}

fn has_mismatched_codec(all: &[Value]) -> bool {
    let (_, answered) = sections(sdp(last(all)));
    let (_, offered) = sections(sdp(last_offer(all)));
    answered.iter().zip(&offered).any(|(answered, offered)| is_mismatched(answered, offered))
}

fn is_mismatched(answered: &[&str], offered: &[&str]) -> bool {
    let name = |coding: &str| coding.split('/').next().unwrap_or_default().to_ascii_lowercase();
    let parameters = |lines: &[&str], number: &str| {
        let prefix = format!("a=fmtp:{number} ");
        lines.iter().find_map(|line| line.strip_prefix(&prefix).map(|text| text.trim_end().to_owned()))
    };
    let framing = |lines: &[&str], number: &str| {
        parameters(lines, number).is_some_and(|text| text.contains("octet-align=1"))
    };
    // The parameters of others are not compared.
    let is_compared = |coding: &str| {
        ["ilbc", "g723", "gsm", "speex", "l16", "amr", "amr-wb"].contains(&name(coding).as_str())
    };
    codings_of(answered).any(|(number, coding)| {
        codings_of(offered).any(|(offered_number, offered_coding)| {
            let same_name = name(offered_coding) == name(coding);
            (same_name && offered_number != number && name(coding) != "telephone-event")
                || (offered_number == number && !offered_coding.eq_ignore_ascii_case(coding))
                || (same_name
                    && offered_number == number
                    && is_compared(coding)
                    && parameters(answered, number) != parameters(offered, number))
                || (same_name && framing(answered, number) != framing(offered, offered_number))
        })
    })
}

/// The last description that the sender of the last request sent before.
fn before(all: &[Value]) -> Option<&Value> {
    let sender = |request: &Value| -> String {
        let key = if text(request, "command") == "answer" { "to-tag" } else { "from-tag" };
        text(request, key).to_owned()
    };
    let me = sender(last(all));
    all[..all.len() - 1].iter().rev().find(|request| is_negotiation(request) && sender(request) == me)
}

/// Connection and port of each section.
fn endpoints(sdp: &str) -> Vec<String> {
    let (session, sections) = sections(sdp);
    let connection =
        |lines: &[&str]| lines.iter().find(|line| line.starts_with("c=")).map(|line| (*line).to_owned());
    let common = connection(&session).unwrap_or_default();
    sections
        .iter()
        .map(|lines| {
            let port = lines[0].split(' ').nth(1).unwrap_or_default();
            format!("{} {port}", connection(lines).unwrap_or_else(|| common.clone()))
        })
        .collect()
}

/// Whether the last request answers with a payload type that the other side did not offer.
fn has_stray_codec(all: &[Value]) -> bool {
    let request = last(all);
    let numbers = |request: &Value| -> Vec<Vec<String>> {
        let (_, sections) = sections(sdp(request));
        sections
            .iter()
            .map(|lines| lines[0].split_whitespace().skip(3).map(str::to_owned).collect())
            .collect()
    };
    text(request, "command") == "answer"
        && numbers(request)
            .iter()
            .zip(numbers(last_offer(all)))
            .any(|(answered, offered)| answered.iter().any(|number| !offered.contains(number)))
}
