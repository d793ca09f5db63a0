//! The two texts of a stored call: a bencode dictionary, or a JSON object whose strings are percent-encoded where they are not plain text.

use std::borrow::Cow;

use crate::call::RestoreError;
use crate::proto::value::{Dict, Value};
use crate::proto::{bencode, json};

/// Longest value that is read; a call with a hundred parties has a twentieth of that.
const LONGEST: usize = 8 << 20;

/// The text of a dictionary.
pub fn encode(dict: &Dict, as_json: bool) -> Vec<u8> {
    let mut text = Vec::with_capacity(8192);
    if as_json {
        json::encode_dict(&map_dict(dict, &escape), &mut text);
    } else {
        bencode::encode_dict(dict, &mut text);
    }
    text
}

/// The dictionary of a text of either kind.
///
/// # Errors
/// [`RestoreError`]: it is neither.
pub fn decode(text: &[u8]) -> Result<Dict, RestoreError> {
    if text.len() > LONGEST {
        return Err(RestoreError("value is too long"));
    }
    match text.first() {
        Some(b'{') => {
            let dict = json::decode(text).map_err(|_| RestoreError("failed to decode JSON object"))?;
            Ok(map_dict(&dict, &unescape))
        }
        Some(b'd') => bencode::decode(text).map_err(|_| RestoreError("failed to decode bencode dictionary")),
        _ => Err(RestoreError("Unrecognised serial format")),
    }
}

type Change<'f> = &'f dyn Fn(&[u8]) -> Cow<'_, [u8]>;

fn map_dict(dict: &Dict, change: Change<'_>) -> Dict {
    Dict(dict.0.iter().map(|(key, value)| (key.clone(), map(value, change))).collect())
}

/// As deep as the decoder lets anything be.
fn map(value: &Value, change: Change<'_>) -> Value {
    match value {
        Value::Int(number) => Value::Int(*number),
        Value::Bytes(octets) => Value::Bytes((&*change(octets)).into()),
        Value::List(items) => Value::List(items.iter().map(|item| map(item, change)).collect()),
        Value::Dict(dict) => Value::Dict(map_dict(dict, change)),
    }
}

fn escape(octets: &[u8]) -> Cow<'_, [u8]> {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let is_plain = |octet: &u8| (0x20..0x7f).contains(octet) && *octet != b'%';
    if octets.iter().all(is_plain) {
        return Cow::Borrowed(octets);
    }
    let mut text = Vec::with_capacity(octets.len() * 2);
    for octet in octets {
        if is_plain(octet) {
            text.push(*octet);
        } else {
            text.extend_from_slice(&[b'%', HEX[usize::from(octet >> 4)], HEX[usize::from(octet & 0xf)]]);
        }
    }
    Cow::Owned(text)
}

fn unescape(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.contains(&b'%') {
        return Cow::Borrowed(text);
    }
    let digit =
        |octet: Option<&u8>| char::from(*octet?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, behind)) = rest.split_first() {
        match (first, digit(behind.first()), digit(behind.get(1))) {
            (b'%', Some(high), Some(low)) => {
                octets.push(high << 4 | low);
                rest = &behind[2..];
            }
            _ => {
                octets.push(*first);
                rest = behind;
            }
        }
    }
    Cow::Owned(octets)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(octets: Vec<u8>, more: Vec<u8>) {
            let mut inner = Dict::new();
            inner.push("k", octets.clone());
            let mut dict = Dict::new();
            dict.push("json", inner).push("list-0", vec![Value::from(more), Value::from("%25x%")]);
            for as_json in [false, true] {
                prop_assert_eq!(decode(&encode(&dict, as_json)).unwrap(), dict.clone());
            }
        }

        #[test]
        fn any_octets_are_read_or_refused(mut octets: Vec<u8>, first in prop::sample::select(vec![b'{', b'd', b'x'])) {
            octets.insert(0, first);
            let _ = decode(&octets);
        }
    }

    #[test]
    fn values_of_the_reference_are_understood_as_dictionaries() {
        let json = br#"{"json":{"created":"1795224880887783","recording_meta_prefix":"call-1%2540host"}}"#;
        let Some(Value::Dict(call)) = decode(json).unwrap().get("json").cloned() else { panic!("no json") };
        assert_eq!(call.get("recording_meta_prefix"), Some(&"call-1%40host".into()));
        assert!(decode(b"d4:jsond7:created16:1795226513883384ee").is_ok());
    }

    #[test]
    fn refusals_say_why() {
        for (text, reason) in [
            (&b"x"[..], "Unrecognised serial format"),
            (b"", "Unrecognised serial format"),
            (b"d4:json", "failed to decode bencode dictionary"),
            (b"{\"json\":", "failed to decode JSON object"),
        ] {
            assert_eq!(decode(text), Err(RestoreError(reason)));
        }
    }
}
