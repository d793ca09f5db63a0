//! Flag strings: `rtpp-flags` and templates (section 9 of the flag reference).
//!
//! ```text
//! item  = word | key "=" value          items are separated by blanks
//! value = text | "[" item… "]"          the last brackets may be left open
//! ```
//!
//! Brackets with nothing but `key=value` inside are a dictionary, others a list.

use super::read::text;
use super::sdp_output::MEDIA_REMOVE;
use super::{Decoder, Key, MAX_NESTING, codecs, read, security};
use crate::proto::value::{Dict, MAX_DEPTH, Value};

pub(super) const KEYS: &[Key] = &[
    (&["rtpp-flags", "rtpp_flags", "rtpp flags"], |d, v| {
        if let Some(flags) = text(v) {
            d.flag_string(&flags);
        }
    }),
    (&["template"], |d, v| {
        let Some(name) = text(v) else { return };
        let templates = d.templates;
        match templates.get(&name) {
            Some(template) => d.flag_string(template),
            None => tracing::info!(%name, "unknown signalling template ignored"),
        }
    }),
];

impl Decoder<'_> {
    /// Applies the items of a flag string in their order.
    pub(super) fn flag_string(&mut self, text: &str) {
        if self.nesting >= MAX_NESTING {
            tracing::info!("flag strings inside each other ignored");
            return;
        }
        self.nesting += 1;
        let mut directions = 0;
        for item in parse(text) {
            match item {
                Item::Word(word @ ("internal" | "external")) => self.direction_word(word, &mut directions),
                Item::Word(word) => {
                    if self.templates.ignore_transport_words || !security::transport_word(self, word) {
                        self.flag(word);
                    }
                }
                Item::Pair("direction", Value::Bytes(name)) => {
                    self.direction_word(&String::from_utf8_lossy(&name), &mut directions);
                }
                Item::Pair(key, value) => self.flag_string_key(key, value),
                Item::Nameless(_) => tracing::debug!("brackets without key in flag string ignored"),
            }
        }
        self.nesting -= 1;
    }

    /// The first names the interface of the sender, the second that of the receiver.
    fn direction_word(&mut self, name: &str, count: &mut usize) {
        let network = &mut self.signal.network;
        match *count {
            0 => network.interface_from = Some(name.into()),
            1 => network.interface_to = Some(name.into()),
            _ => tracing::info!(%name, "third direction in flag string ignored"),
        }
        *count += 1;
    }

    fn flag_string_key(&mut self, key: &str, mut value: Value) {
        if codecs::flag_string_key(self, key, &value) {
            return;
        }
        match key {
            "to-tag" | "to_tag" => self.signal.flags.honour_to_tag = true,
            "from-tag" => self.signal.flags.directional = true,
            // The one list that is an error if it is none, which a flag string cannot express for one element.
            key if MEDIA_REMOVE.contains(&key) && value.as_bytes().is_some() => {
                value = Value::List(read::strings(&value).into_iter().map(Value::from).collect());
            }
            _ => {}
        }
        self.key(key.as_bytes(), &value);
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Item<'a> {
    Word(&'a str),
    Pair(&'a str, Value),
    Nameless(Value),
}

fn parse(text: &str) -> Vec<Item<'_>> {
    Parser { text, position: 0 }.items(0)
}

struct Parser<'a> {
    text: &'a str,
    position: usize,
}

/// All bytes that end something are ASCII, so positions are always between characters.
impl<'a> Parser<'a> {
    /// Items up to the closing bracket of this depth, or the end.
    fn items(&mut self, depth: usize) -> Vec<Item<'a>> {
        let mut items = Vec::new();
        loop {
            while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
                self.position += 1;
            }
            match self.peek() {
                None => return items,
                Some(b']') if depth > 0 => {
                    self.position += 1;
                    return items;
                }
                Some(b'[') => items.push(Item::Nameless(self.brackets(depth))),
                Some(_) => items.push(self.item(depth)),
            }
        }
    }

    fn item(&mut self, depth: usize) -> Item<'a> {
        let word = self.until(depth, |byte| byte == b'=');
        if self.peek() != Some(b'=') {
            return Item::Word(word);
        }
        self.position += 1;
        let value = match self.peek() {
            Some(b'[') => self.brackets(depth),
            _ => Value::from(self.until(depth, |_| false)),
        };
        Item::Pair(word, value)
    }

    fn brackets(&mut self, depth: usize) -> Value {
        self.position += 1;
        if depth + 1 >= MAX_DEPTH {
            self.position = self.text.len();
            return Value::List(Vec::new());
        }
        let items = self.items(depth + 1);
        let is_dictionary = !items.is_empty() && items.iter().all(|item| matches!(item, Item::Pair(..)));
        if is_dictionary {
            let pairs = items.into_iter().filter_map(|item| match item {
                Item::Pair(key, value) => Some((key.as_bytes().to_vec(), value)),
                _ => None,
            });
            return Value::Dict(Dict(pairs.map(|(key, value)| (key.into(), value)).collect()));
        }
        let element = |item| match item {
            Item::Word(word) => Value::from(word),
            Item::Nameless(value) => value,
            Item::Pair(key, Value::Bytes(bytes)) => [key.as_bytes(), b"=", &bytes].concat().into(),
            Item::Pair(key, value) => Value::Dict(Dict(vec![(key.into(), value)])),
        };
        Value::List(items.into_iter().map(element).collect())
    }

    /// Up to a blank, a closing bracket that is ours, or what `ends` says.
    fn until(&mut self, depth: usize, ends: impl Fn(u8) -> bool) -> &'a str {
        let rest = &self.text[self.position..];
        let end = |byte: u8| byte.is_ascii_whitespace() || (byte == b']' && depth > 0) || ends(byte);
        let length = rest.bytes().position(end).unwrap_or(rest.len());
        self.position += length;
        &rest[..length]
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.position).copied()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list(words: &[&str]) -> Value {
        Value::List(words.iter().map(|&word| word.into()).collect())
    }

    fn dict(pairs: &[(&str, Value)]) -> Value {
        Value::Dict(Dict(pairs.iter().map(|(key, value)| ((*key).into(), value.clone())).collect()))
    }

    #[test]
    fn items_are_words_pairs_and_brackets() {
        let cases: &[(&str, Vec<Item<'static>>)] = &[
            ("  a   b=c  ", vec![Item::Word("a"), Item::Pair("b", "c".into())]),
            ("a=", vec![Item::Pair("a", "".into())]),
            ("a=b=c", vec![Item::Pair("a", "b=c".into())]),
            ("a=[]", vec![Item::Pair("a", list(&[]))]),
            ("a=[b c]d", vec![Item::Pair("a", list(&["b", "c"])), Item::Word("d")]),
            ("a=[k=v l=[x y]]", vec![Item::Pair("a", dict(&[("k", "v".into()), ("l", list(&["x", "y"]))]))]),
            ("a=[b c=d]", vec![Item::Pair("a", list(&["b", "c=d"]))]),
            ("a=[[b c] [d]]", vec![Item::Pair("a", Value::List(vec![list(&["b", "c"]), list(&["d"])]))]),
            ("codec=[strip=[PCMU", vec![Item::Pair("codec", dict(&[("strip", list(&["PCMU"]))]))]),
            ("a] b", vec![Item::Word("a]"), Item::Word("b")]),
            ("[a] =b", vec![Item::Nameless(list(&["a"])), Item::Pair("", "b".into())]),
            ("ü=ö", vec![Item::Pair("ü", "ö".into())]),
        ];
        for (input, expected) in cases {
            assert_eq!(&parse(input), expected, "{input}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        parse(&"[".repeat(65_536));
        parse(&"a=[".repeat(20_000));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[a-c=\\[\\] \u{e9}\u{1f600}]{0,80}") {
            let _ = parse(&text);
        }
    }
}
