//! DTMF blocking, replacement and playing (section 10 of the flag reference).

use smol_str::{SmolStr, ToSmolStr};

use super::read::{choose_value, each_string, set_int, set_text, text};
use super::{Decoder, Key};
use crate::proto::value::Value;

pub(super) const KEYS: &[Key] = &[
    (&["DTMF-security", "dtmf-security", "DTMF security", "dtmf security"], |d, v| {
        set_security(&mut d.signal.dtmf.security, v)
    }),
    (
        &["DTMF-security-trigger", "dtmf-security-trigger", "DTMF security trigger", "dtmf security trigger"],
        |d, v| set_security(&mut d.signal.dtmf.security_trigger, v),
    ),
    (
        &[
            "DTMF-security-trigger-end",
            "dtmf-security-trigger-end",
            "DTMF security trigger end",
            "dtmf security trigger end",
        ],
        |d, v| set_security(&mut d.signal.dtmf.security_trigger_end, v),
    ),
    (&["trigger"], |d, v| set_digits(&mut d.signal.dtmf.trigger, v)),
    (&["trigger-end", "trigger end", "end-trigger", "end trigger"], |d, v| {
        set_digits(&mut d.signal.dtmf.trigger_end, v)
    }),
    (&["trigger-end-time", "trigger end time", "end-trigger-time", "end trigger time"], |d, v| {
        set_int(&mut d.signal.dtmf.trigger_end_time_ms, v)
    }),
    (&["trigger-end-digits", "trigger end digits", "end-trigger-digits", "end trigger digits"], |d, v| {
        set_int(&mut d.signal.dtmf.trigger_end_digits, v)
    }),
    (&["digit", "code"], |d, v| set_digits(&mut d.signal.dtmf.digit, v)),
    (&["frequency", "frequencies"], frequencies),
    (&["volume"], |d, v| set_int(&mut d.signal.dtmf.volume, v)),
    (&["DTMF-delay", "dtmf-delay", "DTMF delay", "dtmf delay"], |d, v| {
        set_int(&mut d.signal.dtmf.delay_ms, v)
    }),
    (&["DTMF-log-dest", "dtmf-log-dest", "DTMF-log-destination", "dtmf-log-destination"], |d, v| {
        set_text(&mut d.signal.dtmf.log_destination, v)
    }),
    (&["duration"], |d, v| set_int(&mut d.signal.dtmf.duration_ms, v)),
];

/// Modes and the name that each has in the signal.
pub(super) const SECURITY: &[(&[&str], &str)] = &[
    (&["drop"], "drop"),
    (&["silence"], "silence"),
    (&["tone"], "tone"),
    (&["random"], "random"),
    (&["zero"], "zero"),
    (&["DTMF", "dtmf"], "DTMF"),
    (&["off"], "off"),
];

fn set_security(target: &mut Option<SmolStr>, value: &Value) {
    if let Some(mode) = choose_value("DTMF-security", value, SECURITY) {
        *target = Some(mode.into());
    }
}

/// Digits alone may have been written as a number.
fn set_digits(target: &mut Option<SmolStr>, value: &Value) {
    let digits = match value {
        Value::Int(number) => Some(number.to_smolstr()),
        value => text(value),
    };
    if digits.is_some() {
        *target = digits;
    }
}

fn frequencies(decoder: &mut Decoder<'_>, value: &Value) {
    let list = &mut decoder.signal.dtmf.frequencies;
    let mut push = |frequency: Option<i64>| list.extend(frequency.filter(|&hertz| hertz != 0));
    match value {
        Value::List(items) => items.iter().for_each(|item| push(item.as_int())),
        Value::Bytes(_) => each_string(value, |text| push(text.parse().ok())),
        value => push(value.as_int()),
    }
}
