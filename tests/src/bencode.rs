//! Bencode over `serde_json::Value`: dictionaries keep the order of their keys, as the wire does.

use serde_json::{Map, Value};

/// Encodes strings, integers, lists and dictionaries; anything else is a mistake of the test.
pub fn encode(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    write(value, &mut out);
    out
}

fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::String(text) => write_string(text, out),
        Value::Number(number) => out.extend_from_slice(format!("i{number}e").as_bytes()),
        Value::Array(items) => {
            out.push(b'l');
            items.iter().for_each(|item| write(item, out));
            out.push(b'e');
        }
        Value::Object(entries) => {
            out.push(b'd');
            for (key, item) in entries {
                write_string(key, out);
                write(item, out);
            }
            out.push(b'e');
        }
        Value::Bool(_) | Value::Null => panic!("bencode has no {value}"),
    }
}

fn write_string(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("{}:", text.len()).as_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// Decodes one value and returns it with the octets behind it.
pub fn decode(octets: &[u8]) -> Result<(Value, &[u8]), String> {
    let (&first, rest) = octets.split_first().ok_or("unexpected end")?;
    match first {
        b'i' => {
            let end = rest.iter().position(|&b| b == b'e').ok_or("integer without end")?;
            let text = std::str::from_utf8(&rest[..end]).map_err(|_| "integer is not text")?;
            let number: i64 = text.parse().map_err(|_| format!("bad integer {text:?}"))?;
            Ok((number.into(), &rest[end + 1..]))
        }
        b'l' => {
            let (mut rest, mut items) = (rest, Vec::new());
            while rest.first() != Some(&b'e') {
                let (item, after) = decode(rest)?;
                items.push(item);
                rest = after;
            }
            Ok((items.into(), &rest[1..]))
        }
        b'd' => {
            let (mut rest, mut entries) = (rest, Map::new());
            while rest.first() != Some(&b'e') {
                let (key, after) = decode(rest)?;
                let Value::String(key) = key else { return Err(format!("key is not a string: {key}")) };
                let (item, after) = decode(after)?;
                entries.insert(key, item);
                rest = after;
            }
            Ok((entries.into(), &rest[1..]))
        }
        b'0'..=b'9' => {
            let colon = octets.iter().position(|&b| b == b':').ok_or("string without colon")?;
            let digits = std::str::from_utf8(&octets[..colon]).map_err(|_| "bad length")?;
            let length: usize = digits.parse().map_err(|_| format!("bad length {digits:?}"))?;
            let body = octets.get(colon + 1..colon + 1 + length).ok_or("string is cut off")?;
            let text = String::from_utf8_lossy(body).into_owned();
            Ok((text.into(), &octets[colon + 1 + length..]))
        }
        other => Err(format!("unexpected octet 0x{other:02x}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoding_reverses_encoding_and_keeps_the_order_of_keys() {
        let value = serde_json::json!({"z": 1, "a": ["x", -5, {}], "ü": ""});
        let octets = encode(&value);
        assert_eq!(octets, "d1:zi1e1:al1:xi-5edee2:ü0:e".as_bytes());
        assert_eq!(decode(&octets), Ok((value, &b""[..])));
    }

    #[test]
    fn broken_input_is_an_error() {
        for bad in ["", "i5", "l", "d1:a", "5:abc", "di1e1:ae", "x"] {
            assert!(decode(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
