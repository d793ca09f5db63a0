//! From fields to text, from text to lines.

use std::fmt::{Debug, Write};

use tracing::field::{Field, Visit};

use super::context::Context;

/// What is put around sensitive parts.
#[derive(Clone, Debug, Default)]
pub(super) struct Marks {
    pub prefix: String,
    pub suffix: String,
}

impl Marks {
    /// The text between the marks, with control characters made visible (it may come from the network).
    pub fn wrap(&self, text: &str) -> String {
        format!("{}{}{}", self.prefix, visible(text), self.suffix)
    }

    fn wrap_if_sensitive(&self, field: &str, text: &str) -> String {
        const SENSITIVE: &[&str] = &[
            "address", "call_id", "dir", "endpoint", "file", "from_tag", "local", "path", "peer", "remote",
            "tag", "to_tag",
        ];
        if SENSITIVE.contains(&field) { self.wrap(text) } else { visible(text) }
    }
}

fn visible(text: &str) -> String {
    if text.chars().any(char::is_control) { text.escape_debug().to_string() } else { text.to_owned() }
}

/// Collects the fields of one event or span.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    marks: &'a Marks,
    pub context: Context,
    pub message: String,
    pub others: String,
    pub severity: Option<u8>,
    pub limit: bool,
}

impl<'a> Fields<'a> {
    pub fn new(marks: &'a Marks) -> Self {
        Fields {
            marks,
            context: Context::default(),
            message: String::new(),
            others: String::new(),
            severity: None,
            limit: false,
        }
    }

    /// Message and other fields in one text.
    pub fn text(&self) -> String {
        let message = self.message.trim_end_matches(['\n', '\r']);
        if message.is_empty() {
            self.others.trim_start().to_owned()
        } else {
            format!("{message}{}", self.others)
        }
    }

    fn other(&mut self, name: &str, text: &str) {
        let _ = write!(self.others, " {name}={}", self.marks.wrap_if_sensitive(name, text));
    }
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let text = format!("{value:?}");
        match field.name() {
            "message" => self.message = text,
            name => {
                if !self.context.take_text(name, &text) {
                    self.other(name, &text);
                }
            }
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.message = value.to_owned(),
            name => {
                if !self.context.take_text(name, value) {
                    self.other(name, value);
                }
            }
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "severity" => self.severity = u8::try_from(value).ok(),
            name => {
                if !self.context.take_number(name, value) {
                    self.other(name, &value.to_string());
                }
            }
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        match u64::try_from(value) {
            Ok(value) => self.record_u64(field, value),
            Err(_) => self.other(field.name(), &value.to_string()),
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        match field.name() {
            "limit" => self.limit = value,
            name => self.other(name, if value { "true" } else { "false" }),
        }
    }
}

/// Cuts a text into what goes on one line each: at line breaks if wanted, and after `limit` octets, where the cut is
/// shown by ` ...` at the end and `... ` at the start.
pub(super) fn lines(text: &str, limit: Option<usize>, split_lines: bool) -> Vec<String> {
    let text = text.trim_end_matches(['\n', '\r']);
    let parts: Vec<&str> = if split_lines { text.lines().collect() } else { vec![text] };
    let mut lines = Vec::with_capacity(parts.len());
    for part in parts {
        let mut rest = part;
        let mut lead = "";
        while let Some(end) = limit.filter(|limit| rest.len() > *limit).map(|limit| boundary(rest, limit)) {
            let (piece, after) = rest.split_at(end);
            lines.push(format!("{lead}{piece} ..."));
            (rest, lead) = (after, "... ");
        }
        lines.push(format!("{lead}{rest}"));
    }
    lines
}

/// The last place at or before `limit` that is not inside a character, but at least one character on.
fn boundary(text: &str, limit: usize) -> usize {
    (1..=limit)
        .rev()
        .find(|end| text.is_char_boundary(*end))
        .unwrap_or_else(|| text.chars().next().map_or(text.len(), char::len_utf8))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn long_texts_are_cut_and_continued() {
        assert_eq!(lines("abcdefgh", Some(3), false), ["abc ...", "... def ...", "... gh"]);
        assert_eq!(lines("abc", Some(3), false), ["abc"]);
        assert_eq!(lines("aöb", Some(2), false), ["a ...", "... ö ...", "... b"]);
        assert_eq!(lines("a\nb\n", None, false), ["a\nb"]);
        assert_eq!(lines("a\r\nbcd\n\n", Some(2), true), ["a", "bc ...", "... d"]);
    }

    proptest! {
        #[test]
        fn cutting_loses_nothing(text in "[a-zö]{0,80}", limit in 1usize..20) {
            let joined: String = lines(&text, Some(limit), false)
                .iter()
                .map(|line| line.trim_start_matches("... ").trim_end_matches(" ..."))
                .collect();
            prop_assert_eq!(joined, text);
        }
    }
}
