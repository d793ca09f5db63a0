//! Codec lists, ptime (sections 4 and 7 of the flag reference).

use smol_str::SmolStr;

use super::read::{dictionary, each_string, unescape};
use super::{CommandKind, Decoder, Key, ignored};
use crate::negotiate::signal::{CodecOptions, CodecSpec};
use crate::proto::value::Value;

pub(super) const KEYS: &[Key] = &[
    (&["codec", "codecs"], codec_dictionary),
    (&["ptime"], |d, v| set_ptime(&mut d.signal.codecs.ptime_ms, v)),
    (&["ptime-reverse", "ptime reverse", "reverse-ptime", "reverse ptime"], |d, v| {
        set_ptime(&mut d.signal.codecs.ptime_reverse_ms, v)
    }),
];

/// Takes one codec specification into its list.
type Operation = fn(&mut CodecOptions, CodecSpec);

/// The operations by name.
pub(super) const OPERATIONS: &[(&str, Operation)] = &[
    ("ignore", |codecs, spec| codecs.ignore.push(spec)),
    ("accept", |codecs, spec| match spec.name.as_str() {
        "all" => codecs.accept_all = true,
        "any" => codecs.accept_any = true,
        _ => codecs.accept.push(spec),
    }),
    ("consume", |codecs, spec| match spec.name.as_str() {
        "all" | "full" => codecs.consume_all = true,
        _ => codecs.consume.push(spec),
    }),
    ("mask", |codecs, spec| match spec.name.as_str() {
        "all" | "full" => codecs.mask_all = true,
        _ => codecs.mask.push(spec),
    }),
    ("strip", |codecs, spec| match spec.name.as_str() {
        "all" | "full" => codecs.strip_all = true,
        _ => codecs.strip.push(spec),
    }),
    ("except", |codecs, spec| codecs.except.push(spec)),
    ("offer", |codecs, spec| codecs.offer.push(spec)),
    ("transcode", |codecs, spec| codecs.transcode.push(spec)),
    ("set", |codecs, spec| codecs.set.push(spec)),
];

/// Operations whose dictionary form counts only where codecs are offered or encoded.
fn has_effect(command: CommandKind, operation: &str) -> bool {
    match operation {
        "accept" | "consume" | "mask" | "set" | "transcode" => command != CommandKind::Other,
        _ => true,
    }
}

/// Operations whose flag form counts only in offering messages.
fn flag_has_effect(command: CommandKind, operation: &str) -> bool {
    match operation {
        "transcode" | "mask" => command == CommandKind::Offering,
        _ => true,
    }
}

/// A flag `codec-OPERATION-SPEC` without its first part, or `transcode-SPEC`. Returns whether it is one.
pub(super) fn flag(decoder: &mut Decoder<'_>, operation: &str, spec: &str) -> bool {
    let Some(&(_, apply)) = OPERATIONS.iter().find(|(name, _)| *name == operation) else { return false };
    if !flag_has_effect(decoder.command, operation) {
        return false;
    }
    add(decoder, apply, spec);
    true
}

/// `codec-strip=X`, `transcode=[X Y]` and the like in flag strings. Returns whether the key is one.
pub(super) fn flag_string_key(decoder: &mut Decoder<'_>, key: &str, value: &Value) -> bool {
    let operation = match key.strip_prefix("codec-") {
        Some(operation) => operation,
        None if key == "transcode" => key,
        None => return false,
    };
    if !OPERATIONS.iter().any(|(name, _)| *name == operation) {
        return false;
    }
    each_string(value, |spec| {
        if !flag(decoder, operation, spec) {
            ignored(key, spec);
        }
    });
    true
}

fn codec_dictionary(decoder: &mut Decoder<'_>, value: &Value) {
    let Some(operations) = dictionary("codec", value) else { return };
    for (name, list) in &operations.0 {
        let found = OPERATIONS.iter().find(|(operation, _)| operation.as_bytes() == name.as_slice());
        match found {
            Some((operation, apply)) if has_effect(decoder.command, operation) => {
                each_string(list, |spec| add(decoder, *apply, spec));
            }
            Some(_) => {}
            None => ignored("codec", &name.escape_ascii().to_string()),
        }
    }
}

fn add(decoder: &mut Decoder<'_>, apply: Operation, spec: &str) {
    match parse(spec) {
        Some(spec) => apply(&mut decoder.signal.codecs, spec),
        None => ignored("codec", spec),
    }
}

/// `NAME[/clock[/channels[/bitrate[/ptime[/fmtp[/options]]]]]]`; parts that are no numbers count as empty.
pub(super) fn parse(text: &str) -> Option<CodecSpec> {
    let text = unescape(text);
    let mut parts = text.splitn(7, '/').map(|part| (!part.is_empty()).then_some(part));
    let mut next = || parts.next().flatten();
    let name = next()?.to_owned();
    let clock_rate = next().and_then(|part| part.parse().ok());
    // With a clock, channels default to one: `opus/48000` is mono.
    let channels = next().and_then(|part| part.parse().ok()).or(clock_rate.map(|_| 1));
    Some(CodecSpec {
        name: name.into(),
        clock_rate,
        channels,
        bitrate_bps: next().and_then(|part| part.parse().ok()),
        ptime_ms: next().and_then(|part| part.parse().ok()),
        fmtp: next().map(SmolStr::new),
        options: next().map(SmolStr::new),
    })
}

fn set_ptime(target: &mut Option<u16>, value: &Value) {
    match value.as_int().and_then(|ptime| u16::try_from(ptime).ok()).filter(|&ptime| ptime > 0) {
        Some(ptime) => *target = Some(ptime),
        None => ignored("ptime", "not a number of milliseconds"),
    }
}
