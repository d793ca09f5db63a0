//! The tree that ng messages are made of, whether they travel as bencode or as JSON.

use std::net::IpAddr;

use smallvec::SmallVec;
use smol_str::SmolStr;

use super::address_text::AddressText;

/// A byte string of a message. Most are names, numbers, tags and addresses: up to 24 octets cost no memory of their own.
pub type Octets = SmallVec<[u8; 24]>;

/// How many containers may stand inside each other in a message.
pub const MAX_DEPTH: usize = 32;

/// A decoded dictionary value. Dictionary order is the order of the message; duplicate keys are kept.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// An integer.
    Int(i64),
    /// A byte string; mostly text, but SDP bodies and blobs may be anything.
    Bytes(Octets),
    /// A list.
    List(Vec<Value>),
    /// Key–value pairs in message order.
    Dict(Dict),
}

/// A key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key(Octets);

impl Key {
    /// The octets.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }
}

impl std::ops::Deref for Key {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl From<&str> for Key {
    fn from(key: &str) -> Self {
        Key(Octets::from_slice(key.as_bytes()))
    }
}

impl From<String> for Key {
    fn from(key: String) -> Self {
        key.into_bytes().into()
    }
}

impl From<Vec<u8>> for Key {
    fn from(key: Vec<u8>) -> Self {
        Key(key.into())
    }
}

impl From<SmolStr> for Key {
    fn from(key: SmolStr) -> Self {
        key.as_str().into()
    }
}

impl From<Octets> for Key {
    fn from(key: Octets) -> Self {
        Key(key)
    }
}

/// Key–value pairs in message order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dict(pub Vec<(Key, Value)>);

impl Dict {
    /// An empty dictionary.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty dictionary with room for some pairs.
    pub fn with_capacity(pairs: usize) -> Self {
        Dict(Vec::with_capacity(pairs))
    }

    /// Appends a pair.
    pub fn push(&mut self, key: impl Into<Key>, value: impl Into<Value>) -> &mut Self {
        self.0.push((key.into(), value.into()));
        self
    }

    /// The last value under a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.iter().rev().find(|(k, _)| **k == *key.as_bytes()).map(|(_, v)| v)
    }
}

/// What a tree is written into, piece by piece, so that large replies need not be built as a [`Dict`] first.
///
/// Each `begin` has its `end`; inside a dictionary a [`key`](Self::key) stands before each value.
pub trait TreeWriter {
    /// A dictionary begins.
    fn begin_dict(&mut self);
    /// The dictionary that began last is complete.
    fn end_dict(&mut self);
    /// A list begins.
    fn begin_list(&mut self);
    /// The list that began last is complete.
    fn end_list(&mut self);
    /// The key of the next value.
    fn key(&mut self, key: &[u8]);
    /// A byte string.
    fn bytes(&mut self, bytes: &[u8]);
    /// An integer.
    fn int(&mut self, number: i64);

    /// A key with an integer that is never negative.
    fn number(&mut self, key: &str, number: u64) {
        self.key(key.as_bytes());
        self.int(i64::try_from(number).unwrap_or(i64::MAX));
    }

    /// A key with a text.
    fn text(&mut self, key: &str, text: &str) {
        self.key(key.as_bytes());
        self.bytes(text.as_bytes());
    }

    /// A key with a dictionary, whose members `write` writes.
    fn dict(&mut self, key: &str, write: impl FnOnce(&mut Self))
    where
        Self: Sized,
    {
        self.key(key.as_bytes());
        self.begin_dict();
        write(self);
        self.end_dict();
    }

    /// A key with a list, each of whose items `write` writes.
    fn list<T>(&mut self, key: &str, items: impl IntoIterator<Item = T>, mut write: impl FnMut(&mut Self, T))
    where
        Self: Sized,
    {
        self.key(key.as_bytes());
        self.begin_list();
        items.into_iter().for_each(|item| write(self, item));
        self.end_list();
    }
}

impl Dict {
    /// Writes the whole dictionary, in its own order.
    pub fn write(&self, out: &mut impl TreeWriter) {
        out.begin_dict();
        for (key, value) in &self.0 {
            out.key(key);
            value.write(out);
        }
        out.end_dict();
    }
}

impl Value {
    fn write(&self, out: &mut impl TreeWriter) {
        match self {
            Value::Int(number) => out.int(*number),
            Value::Bytes(bytes) => out.bytes(bytes),
            Value::List(items) => {
                out.begin_list();
                items.iter().for_each(|item| item.write(out));
                out.end_list();
            }
            Value::Dict(dict) => dict.write(out),
        }
    }

    /// The bytes of a string; `None` for other types.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Value::Bytes(b) => Some(b),
            _ => None,
        }
    }

    /// An integer, also when written as a decimal string.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Value::Int(i) => Some(*i),
            Value::Bytes(b) => std::str::from_utf8(b).ok()?.trim().parse().ok(),
            _ => None,
        }
    }
}

impl From<i64> for Value {
    fn from(v: i64) -> Self {
        Value::Int(v)
    }
}
impl From<u64> for Value {
    fn from(v: u64) -> Self {
        Value::Int(i64::try_from(v).unwrap_or(i64::MAX))
    }
}
impl From<&str> for Value {
    fn from(v: &str) -> Self {
        Value::Bytes(Octets::from_slice(v.as_bytes()))
    }
}
impl From<String> for Value {
    fn from(v: String) -> Self {
        Value::Bytes(v.into_bytes().into())
    }
}
impl From<SmolStr> for Value {
    fn from(v: SmolStr) -> Self {
        v.as_str().into()
    }
}
impl From<IpAddr> for Value {
    /// The usual text of an address.
    fn from(v: IpAddr) -> Self {
        AddressText::new().format(v).into()
    }
}
impl From<Vec<u8>> for Value {
    fn from(v: Vec<u8>) -> Self {
        Value::Bytes(v.into())
    }
}
impl From<Vec<Value>> for Value {
    fn from(v: Vec<Value>) -> Self {
        Value::List(v)
    }
}
impl From<Dict> for Value {
    fn from(v: Dict) -> Self {
        Value::Dict(v)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    fn from_pairs(pairs: Vec<(Vec<u8>, Value)>) -> Dict {
        Dict(pairs.into_iter().map(|(key, value)| (key.into(), value)).collect())
    }

    /// Dictionaries of moderate size and depth over the given kind of strings.
    pub(crate) fn any_dict(strings: BoxedStrategy<Vec<u8>>) -> impl Strategy<Value = Dict> {
        let leaf = prop_oneof![any::<i64>().prop_map(Value::Int), strings.clone().prop_map(Value::from)];
        let keys = strings.clone();
        let value = leaf.prop_recursive(4, 40, 6, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::List),
                proptest::collection::vec((keys.clone(), inner), 0..6)
                    .prop_map(|pairs: Vec<(Vec<u8>, Value)>| Value::Dict(from_pairs(pairs))),
            ]
        });
        proptest::collection::vec((strings, value), 0..8).prop_map(from_pairs)
    }

    #[test]
    fn integers_may_be_decimal_strings() {
        let cases: &[(Value, Option<i64>)] = &[
            (Value::Int(5), Some(5)),
            ("-5".into(), Some(-5)),
            ("5x".into(), None),
            ("".into(), None),
            (Value::List(vec![]), None),
        ];
        for (value, expected) in cases {
            assert_eq!(value.as_int(), *expected, "{value:?}");
        }
    }

    #[test]
    fn the_last_of_duplicate_keys_wins() {
        let mut dict = Dict::new();
        dict.push("a", 1i64).push("a", 2i64);
        assert_eq!(dict.get("a"), Some(&Value::Int(2)));
    }
}
