//! The config file: groups of `key = value` lines.
//!
//! Lines end in LF or CRLF; a first non-blank `#` makes a comment, blank lines are skipped. Text before the first
//! group, a line that is neither group nor pair, and text that is not UTF-8 are errors. A group named twice is one
//! group; of a key given twice the last value counts. Values are stored as written and decoded when asked for, because
//! only then it is known whether they are lists; so a bad escape in a key that nobody reads does not matter.

/// A parsed file. Keeps the order of groups and keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IniFile {
    groups: Vec<IniGroup>,
}

/// One `[group]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IniGroup {
    name: String,
    entries: Vec<(String, String)>,
}

/// Why a file is not well-formed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct IniError {
    /// Line, from 1.
    pub line: usize,
    /// What is wrong there.
    pub reason: IniReason,
}

/// See [`IniError`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IniReason {
    /// A pair or other text outside any group.
    #[error("text before the first [group]")]
    NoGroup,
    /// `[` without `]` at the end of the line, or an empty name.
    #[error("'{0}' is not a group; [name] is expected")]
    BadGroup(String),
    /// No `=`, or nothing before it.
    #[error("'{0}' is neither a comment, a [group] nor 'key = value'")]
    NotAPair(String),
    /// Bytes that are not UTF-8.
    #[error("the text is not UTF-8")]
    NotUtf8,
}

/// An escape sequence that does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown escape sequence")]
pub struct EscapeError;

impl IniFile {
    /// Parses a whole file.
    pub fn parse(bytes: &[u8]) -> Result<Self, IniError> {
        let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
        let mut file = IniFile::default();
        let mut current = None;
        for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            let fail = |reason| IniError { line: index + 1, reason };
            let line = std::str::from_utf8(line).map_err(|_| fail(IniReason::NotUtf8))?.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if line.starts_with('[') {
                current = Some(file.enter(line).map_err(fail)?);
                continue;
            }
            let group = current.and_then(|index: usize| file.groups.get_mut(index));
            let group = group.ok_or_else(|| fail(IniReason::NoGroup))?;
            let pair = line.split_once('=').map(|(key, value)| (key.trim_end(), value.trim_start()));
            match pair {
                Some((key, value)) if !key.is_empty() => group.set(key, value),
                _ => return Err(fail(IniReason::NotAPair(line.to_owned()))),
            }
        }
        Ok(file)
    }

    /// The group of that name.
    pub fn group(&self, name: &str) -> Option<&IniGroup> {
        self.groups.iter().find(|group| group.name == name)
    }

    /// Groups called `prefix-rest` with a `rest` that is not empty, in file order: (rest, group).
    pub fn groups_with_prefix<'a>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a IniGroup)> {
        self.groups.iter().filter_map(move |group| {
            let rest = group.name.strip_prefix(prefix)?.strip_prefix('-')?;
            (!rest.is_empty()).then_some((rest, group))
        })
    }

    /// Index of the group that a `[…]` line opens, making it if it is new.
    fn enter(&mut self, line: &str) -> Result<usize, IniReason> {
        let name = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let name = name.filter(|name| !name.is_empty() && !name.contains(['[', ']']));
        let name = name.ok_or_else(|| IniReason::BadGroup(line.to_owned()))?;
        if let Some(index) = self.groups.iter().position(|group| group.name == name) {
            return Ok(index);
        }
        self.groups.push(IniGroup { name: name.to_owned(), entries: Vec::new() });
        Ok(self.groups.len() - 1)
    }
}

impl IniGroup {
    /// Name between the brackets.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Keys in the order of their first appearance.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|(key, _)| key.as_str())
    }

    /// The value as written, without surrounding blanks.
    pub fn raw(&self, key: &str) -> Option<&str> {
        self.entries.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// The value with its escapes resolved.
    pub fn text(&self, key: &str) -> Result<Option<String>, EscapeError> {
        self.raw(key).map(decode_text).transpose()
    }

    /// The elements of a `;` list.
    pub fn list(&self, key: &str) -> Result<Option<Vec<String>>, EscapeError> {
        self.raw(key).map(decode_list).transpose()
    }

    fn set(&mut self, key: &str, value: &str) {
        match self.entries.iter_mut().find(|(name, _)| name == key) {
            Some((_, old)) => *old = value.to_owned(),
            None => self.entries.push((key.to_owned(), value.to_owned())),
        }
    }
}

/// Resolves `\s`, `\n`, `\t`, `\r` and `\\`.
pub fn decode_text(raw: &str) -> Result<String, EscapeError> {
    decode(raw, false)
}

/// Splits at `;`, removes blanks around the elements, resolves escapes (`\;` is a semicolon). A `;` at the end does not
/// start another element; an empty value is an empty list.
pub fn decode_list(raw: &str) -> Result<Vec<String>, EscapeError> {
    let mut elements = Vec::new();
    let mut rest = raw.trim();
    while !rest.is_empty() {
        let mut escaped = false;
        let end = rest.bytes().position(|byte| match byte {
            _ if escaped => {
                escaped = false;
                false
            }
            b'\\' => {
                escaped = true;
                false
            }
            byte => byte == b';',
        });
        let element = end.map_or(rest, |end| &rest[..end]);
        elements.push(decode(element.trim(), true)?);
        rest = end.map_or("", |end| &rest[end + 1..]);
    }
    Ok(elements)
}

fn decode(raw: &str, in_list: bool) -> Result<String, EscapeError> {
    let mut text = String::with_capacity(raw.len());
    let mut chars = raw.chars();
    while let Some(char) = chars.next() {
        if char != '\\' {
            text.push(char);
            continue;
        }
        text.push(match chars.next() {
            Some('s') => ' ',
            Some('n') => '\n',
            Some('t') => '\t',
            Some('r') => '\r',
            Some('\\') => '\\',
            Some(';') if in_list => ';',
            _ => return Err(EscapeError),
        });
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> IniFile {
        IniFile::parse(text.as_bytes()).expect(text)
    }

    #[test]
    fn comments_blanks_and_line_ends_do_not_matter() {
        let file =
            parse("\u{feff}# top\r\n\r\n  # indented\n[a]\r\n key = value # kept \r\nempty=\n\n[b]\nk=v=w");
        let group = file.group("a").expect("group a");
        assert_eq!(group.raw("key"), Some("value # kept"));
        assert_eq!(group.raw("empty"), Some(""));
        assert_eq!(group.raw("Key"), None);
        assert_eq!(file.group("b").and_then(|group| group.raw("k")), Some("v=w"));
    }

    #[test]
    fn groups_of_one_name_are_merged_and_the_last_value_wins() {
        let file = parse("[a]\nx=1\ny=1\n[b]\nx=9\n[a]\nx=2\nz=3");
        let group = file.group("a").expect("group a");
        assert_eq!(group.keys().collect::<Vec<_>>(), ["x", "y", "z"]);
        assert_eq!(group.raw("x"), Some("2"));
    }

    #[test]
    fn prefix_groups_need_a_rest() {
        let file = parse("[if-]\n[if-a]\n[if]\n[ifx-b]\n[if-b-c]");
        let names: Vec<_> = file.groups_with_prefix("if").map(|(rest, _)| rest).collect();
        assert_eq!(names, ["a", "b-c"]);
    }

    #[test]
    fn malformed_files_are_refused_with_the_line() {
        const CASES: &[(&[u8], usize, &str)] = &[
            (b"x=1\n[a]", 1, "before the first"),
            (b"\n\nhello\n", 3, "before the first"),
            (b"[a]\nnonsense\nx=1", 2, "neither"),
            (b"[a]\n = 1", 2, "neither"),
            (b"[a", 1, "not a group"),
            (b"[]", 1, "not a group"),
            (b"[a]b]", 1, "not a group"),
            (b"[a]\nx=\xff", 2, "not UTF-8"),
        ];
        for (text, line, part) in CASES {
            let error = IniFile::parse(text).expect_err(part);
            assert_eq!(error.line, *line, "{error}");
            assert!(error.to_string().contains(part), "{error}");
        }
    }

    #[test]
    fn escapes_are_resolved_in_texts() {
        const CASES: &[(&str, Result<&str, EscapeError>)] = &[
            (r"plain text", Ok("plain text")),
            (r"\sa\sb\s", Ok(" a b ")),
            (r"a\nb\tc\rd\\e", Ok("a\nb\tc\rd\\e")),
            (r"a;b", Ok("a;b")),
            (r"a\;b", Err(EscapeError)),
            (r"a\x", Err(EscapeError)),
            (r"a\", Err(EscapeError)),
        ];
        for (raw, expected) in CASES {
            assert_eq!(decode_text(raw).as_deref(), expected.as_deref(), "{raw}");
        }
    }

    #[test]
    fn lists_are_split_at_semicolons() {
        const CASES: &[(&str, &[&str])] = &[
            ("", &[]),
            (";", &[""]),
            ("a", &["a"]),
            ("a;", &["a"]),
            ("a ; b;c ; ", &["a", "b", "c"]),
            ("a;;b", &["a", "", "b"]),
            (r"a\;b;c", &["a;b", "c"]),
            (r"a\\;b", &["a\\", "b"]),
            (r"\sx\s; y", &[" x ", "y"]),
        ];
        for (raw, expected) in CASES {
            assert_eq!(decode_list(raw).expect(raw), *expected, "{raw}");
        }
        assert_eq!(decode_list(r"a;b\q"), Err(EscapeError));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = IniFile::parse(&bytes);
        }

        #[test]
        fn no_text_makes_the_decoders_panic(text in r"[\PC\\; \n=\[\]]{0,60}") {
            let _ = decode_text(&text);
            let _ = decode_list(&text);
            if let Ok(file) = IniFile::parse(format!("[g]\n{text}").as_bytes()) {
                for group in &file.groups {
                    for key in group.keys() {
                        let _ = (group.text(key), group.list(key));
                    }
                }
            }
        }

        #[test]
        fn every_list_survives_escaping(list in proptest::collection::vec("[a-z;\\\\]{1,6}", 0..5)) {
            let escape = |text: &String| text.replace('\\', "\\\\").replace(';', "\\;");
            let raw = list.iter().map(escape).collect::<Vec<_>>().join(" ; ");
            prop_assert_eq!(decode_list(&raw), Ok(list));
        }
    }
}
