//! JSON as the ng protocol uses it: the same tree as bencode, see [`Value`].
//!
//! Reading keeps the order of keys and duplicates, leaves out booleans, nulls and fractions, and refuses NUL in
//! strings. Writing is compact; byte strings that are not UTF-8 are mapped byte by byte to U+0000…U+00FF, so
//! that nothing is lost.

use std::fmt;

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use thiserror::Error;

use super::value::{Dict, MAX_DEPTH, TreeWriter, Value};

/// Why text is not a JSON dictionary. `Display` is the reason sent to clients.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum JsonError {
    /// Not JSON, or JSON followed by something else, or a string with NUL, or nested too deep.
    #[error("Failed to parse JSON document")]
    Malformed,
    /// Valid JSON, but not an object.
    #[error("Could not decode JSON dictionary")]
    NotAnObject,
}

/// Reads a whole text as one object.
///
/// # Errors
/// See [`JsonError`].
pub fn decode(text: &[u8]) -> Result<Dict, JsonError> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let node = Node { depth: 0 }.deserialize(&mut deserializer).map_err(|_| JsonError::Malformed)?;
    deserializer.end().map_err(|_| JsonError::Malformed)?;
    match node {
        Some(Value::Dict(dict)) => Ok(dict),
        _ => Err(JsonError::NotAnObject),
    }
}

/// Appends the JSON form of a dictionary to `out`, without blanks, keys in the order of the dictionary.
pub fn encode_dict(dict: &Dict, out: &mut Vec<u8>) {
    dict.write(&mut Writer::new(out));
}

/// Appends the JSON form of what is written.
pub struct Writer<'o> {
    out: &'o mut Vec<u8>,
    /// Something stands before what comes next.
    follows: bool,
}

impl<'o> Writer<'o> {
    /// Before the outermost value.
    pub fn new(out: &'o mut Vec<u8>) -> Self {
        Writer { out, follows: false }
    }

    fn separate(&mut self, follows: bool) {
        if std::mem::replace(&mut self.follows, follows) {
            self.out.push(b',');
        }
    }

    fn end(&mut self, bracket: u8) {
        self.out.push(bracket);
        self.follows = true;
    }
}

impl TreeWriter for Writer<'_> {
    fn begin_dict(&mut self) {
        self.separate(false);
        self.out.push(b'{');
    }

    fn end_dict(&mut self) {
        self.end(b'}');
    }

    fn begin_list(&mut self) {
        self.separate(false);
        self.out.push(b'[');
    }

    fn end_list(&mut self) {
        self.end(b']');
    }

    fn key(&mut self, key: &[u8]) {
        self.separate(false);
        encode_string(key, self.out);
        self.out.push(b':');
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.separate(true);
        encode_string(bytes, self.out);
    }

    fn int(&mut self, number: i64) {
        self.separate(true);
        self.out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }
}

fn encode_string(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    match std::str::from_utf8(bytes) {
        Ok(text) => {
            // Runs of ordinary bytes are copied at once.
            let mut copied = 0;
            for (index, &byte) in bytes.iter().enumerate() {
                if byte < 0x20 || byte == b'"' || byte == b'\\' {
                    out.extend_from_slice(&text.as_bytes()[copied..index]);
                    encode_escape(byte, out);
                    copied = index + 1;
                }
            }
            out.extend_from_slice(&text.as_bytes()[copied..]);
        }
        Err(_) => {
            for &byte in bytes {
                if byte < 0x20 || byte == b'"' || byte == b'\\' {
                    encode_escape(byte, out);
                } else {
                    out.extend_from_slice(char::from(byte).encode_utf8(&mut [0; 4]).as_bytes());
                }
            }
        }
    }
    out.push(b'"');
}

/// Appends text in quotes.
pub fn write_text(text: &str, out: &mut String) {
    let mut octets = Vec::with_capacity(text.len() + 2);
    encode_string(text.as_bytes(), &mut octets);
    out.push_str(&String::from_utf8_lossy(&octets));
}

fn encode_escape(byte: u8, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    match byte {
        b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        _ => out.extend_from_slice(&[
            b'\\',
            b'u',
            b'0',
            b'0',
            HEX[usize::from(byte >> 4)],
            HEX[usize::from(byte & 0xf)],
        ]),
    }
}

/// Builds a value straight from the parser; `None` stands for what the protocol ignores.
#[derive(Clone, Copy)]
struct Node {
    depth: usize,
}

impl Node {
    fn inside<E: serde::de::Error>(self) -> Result<Node, E> {
        if self.depth >= MAX_DEPTH {
            return Err(E::custom("nested too deep"));
        }
        Ok(Node { depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Node {
    type Value = Option<Value>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node {
    type Value = Option<Value>;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Some(Value::Int(number)))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Some(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        // Some languages write every number as a float; `as` saturates.
        Ok((number.fract() == 0.0).then_some(Value::Int(number as i64)))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        checked(text)?;
        Ok(Some(text.into()))
    }

    fn visit_string<E: serde::de::Error>(self, text: String) -> Result<Self::Value, E> {
        checked(&text)?;
        Ok(Some(text.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
        let element = self.inside()?;
        let mut items = Vec::new();
        while let Some(item) = sequence.next_element_seed(element)? {
            items.extend(item);
        }
        Ok(Some(Value::List(items)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let element = self.inside()?;
        let mut dict = Dict::new();
        while let Some(key) = map.next_key::<String>()? {
            checked::<A::Error>(&key)?;
            if let Some(value) = map.next_value_seed(element)? {
                dict.0.push((key.into(), value));
            }
        }
        Ok(Some(Value::Dict(dict)))
    }
}

fn checked<E: serde::de::Error>(text: &str) -> Result<(), E> {
    if text.as_bytes().contains(&0) { Err(E::custom("NUL in a string")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::proto::value::tests::any_dict;

    fn encoded(dict: &Dict) -> String {
        let mut out = Vec::new();
        encode_dict(dict, &mut out);
        String::from_utf8(out).expect("JSON text is UTF-8")
    }

    #[test]
    fn reads_objects_and_leaves_out_what_has_no_meaning() {
        let cases = [
            ("plain", r#"{"command":"ping"}"#, r#"{"command":"ping"}"#),
            ("blanks around", " {\"a\" : 1 }\n", r#"{"a":1}"#),
            ("order", r#"{"b":1,"a":2}"#, r#"{"b":1,"a":2}"#),
            ("duplicates", r#"{"a":1,"a":2}"#, r#"{"a":1,"a":2}"#),
            ("booleans and null", r#"{"a":true,"b":null,"c":["x",false,null,"y"]}"#, r#"{"c":["x","y"]}"#),
            ("fractions", r#"{"a":1.5,"b":30.0,"c":[0.1,2]}"#, r#"{"b":30,"c":[2]}"#),
            ("large integer", r#"{"a":18446744073709551615}"#, r#"{"a":9223372036854775807}"#),
            ("escapes", r#"{"a":"x\r\n\t\"\\\u0001\/ü"}"#, "{\"a\":\"x\\r\\n\\t\\\"\\\\\\u0001/ü\"}"),
        ];
        for (name, input, expected) in cases {
            assert_eq!(decode(input.as_bytes()).map(|dict| encoded(&dict)), Ok(expected.into()), "{name}");
        }
    }

    #[test]
    fn refuses_with_the_reason_clients_know() {
        let cases: &[(&str, JsonError)] = &[
            ("{", JsonError::Malformed),
            ("{}x", JsonError::Malformed),
            ("{\"a\"}", JsonError::Malformed),
            ("{\"a\":\"\\u0000\"}", JsonError::Malformed),
            ("{\"\\u0000\":1}", JsonError::Malformed),
            ("", JsonError::Malformed),
            ("[1]", JsonError::NotAnObject),
            ("\"x\"", JsonError::NotAnObject),
            ("true", JsonError::NotAnObject),
            ("5", JsonError::NotAnObject),
        ];
        for (input, expected) in cases {
            assert_eq!(decode(input.as_bytes()), Err(*expected), "{input}");
        }
        assert_eq!(decode(b"{\"a\":\"\xff\"}"), Err(JsonError::Malformed));
        let flood = [b"{\"a\":".as_slice(), &vec![b'['; 65_536]].concat();
        assert_eq!(decode(&flood), Err(JsonError::Malformed));
    }

    #[test]
    fn writes_bytes_that_are_not_utf8_as_latin1() {
        let mut dict = Dict::new();
        dict.push("a", vec![b'J', 0xfc, b'"', 0x1f]);
        assert_eq!(encoded(&dict), "{\"a\":\"Jü\\\"\\u001f\"}");
    }

    proptest! {
        #[test]
        fn decoding_reverses_encoding(
            dict in any_dict("[^\u{0}]{0,12}".prop_map(String::into_bytes).boxed())
        ) {
            prop_assert_eq!(decode(encoded(&dict).as_bytes()), Ok(dict));
        }

        #[test]
        fn written_text_is_always_json(dict in any_dict(proptest::collection::vec(1u8.., 0..12).boxed())) {
            prop_assert!(decode(encoded(&dict).as_bytes()).is_ok());
        }

        #[test]
        fn no_input_panics(text in "[\\[\\]{}\",:a0-9.eE\\\\u \u{0}-\u{ff}]{0,60}") {
            let _ = decode(text.as_bytes());
        }
    }
}
