//! Reading typed values out of the tree.

use std::borrow::Cow;
use std::net::IpAddr;

use smol_str::SmolStr;

use super::ignored;
use crate::negotiate::signal::AddressFamily;
use crate::proto::value::{Dict, Value};

/// A string. Octets that are not UTF-8 are mapped one by one to U+0000…U+00FF, so that different ones stay
/// different.
pub(in super::super) fn text(value: &Value) -> Option<SmolStr> {
    value.as_bytes().map(|bytes| SmolStr::from(bytes_as_text(bytes)))
}

fn bytes_as_text(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(bytes.iter().map(|&byte| char::from(byte)).collect()),
    }
}

/// Sets a text; values of other types count as absent.
pub(super) fn set_text(target: &mut Option<SmolStr>, value: &Value) {
    if let Some(text) = text(value) {
        *target = Some(text);
    }
}

/// Sets an integer; values that are none count as absent.
pub(super) fn set_int(target: &mut Option<i64>, value: &Value) {
    if let Some(number) = value.as_int() {
        *target = Some(number);
    }
}

/// Sets an IP address.
pub(super) fn set_address(key: &str, target: &mut Option<IpAddr>, value: &Value) {
    let Some(text) = text(value) else { return };
    match text.trim().parse() {
        Ok(address) => *target = Some(address),
        Err(_) => ignored(key, &text),
    }
}

/// Calls `take` with each string of a list; a single string is split at commas.
pub(super) fn each_string(value: &Value, mut take: impl FnMut(&str)) {
    match value {
        Value::Bytes(bytes) => {
            bytes_as_text(bytes).split(',').map(str::trim).filter(|word| !word.is_empty()).for_each(take);
        }
        Value::List(items) => {
            for item in items {
                if let Value::Bytes(bytes) = item {
                    take(&bytes_as_text(bytes));
                }
            }
        }
        // In a flag string `[a=b]` reads as a dictionary, also where a list of texts is meant.
        Value::Dict(Dict(pairs)) => {
            for (key, value) in pairs {
                if let Value::Bytes(bytes) = value {
                    take(&format!("{}={}", bytes_as_text(key), bytes_as_text(bytes)));
                }
            }
        }
        Value::Int(_) => {}
    }
}

/// The strings of a list; a single string is split at commas.
pub(super) fn strings(value: &Value) -> Vec<SmolStr> {
    let mut strings = Vec::new();
    each_string(value, |text| strings.push(text.into()));
    strings
}

/// The meaning of a word by a table of spellings; unknown words are logged.
pub(super) fn choose<T: Copy>(key: &str, word: &str, table: &[(&[&str], T)]) -> Option<T> {
    let found = table.iter().find(|(spellings, _)| spellings.contains(&word)).map(|&(_, meaning)| meaning);
    if found.is_none() {
        ignored(key, word);
    }
    found
}

/// The same for a value.
pub(super) fn choose_value<T: Copy>(key: &str, value: &Value, table: &[(&[&str], T)]) -> Option<T> {
    choose(key, &bytes_as_text(value.as_bytes()?), table)
}

/// `IP4` or `IP6`, without case.
pub(super) fn family(key: &str, value: &Value) -> Option<AddressFamily> {
    let word = text(value)?;
    match word.to_ascii_lowercase().as_str() {
        "ip4" => Some(AddressFamily::Ip4),
        "ip6" => Some(AddressFamily::Ip6),
        _ => {
            ignored(key, &word);
            None
        }
    }
}

/// A dictionary; values of other types are logged.
pub(super) fn dictionary<'a>(key: &str, value: &'a Value) -> Option<&'a Dict> {
    match value {
        Value::Dict(dict) => Some(dict),
        _ => {
            ignored(key, "not a dictionary");
            None
        }
    }
}

/// In flags, `--` stands for `=` and `..` for a blank.
pub(super) fn unescape(text: &str) -> SmolStr {
    text.replace("--", "=").replace("..", " ").into()
}

/// Word lists of `on` and `off` in their many spellings.
pub(super) const SWITCH: &[(&[&str], bool)] =
    &[(&["on", "yes", "enable", "enabled"], true), (&["no", "off", "disable", "disabled"], false)];
