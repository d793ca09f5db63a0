//! Matching a reply with what was recorded: text literally, placeholders by binding.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Keys that replies of the reference do not have (docs/differences.md): end of the path, name.
const ADDED: &[(&str, &str)] = &[("/statistics", "drops"), ("/statistics", "recording")];

/// Values of placeholders that earlier replies of the scenario have fixed.
#[derive(Clone, Debug, Default)]
pub struct Bindings {
    values: BTreeMap<String, String>,
    /// Daemons with several interfaces may by chance use the same port number on two of them.
    pub ports_may_coincide: bool,
    /// Call-ids that the scenario uses: any of them may be in a limited list.
    pub call_ids: BTreeSet<String>,
}

impl Bindings {
    /// Fixes a placeholder (`TMPDIR`) from outside.
    pub fn set(&mut self, name: &str, value: &str) {
        self.values.insert(name.to_owned(), value.to_owned());
    }

    /// Replaces bound placeholders in every string of a request.
    pub fn fill(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => self.fill_text(text).into(),
            Value::Array(items) => items.iter().map(|item| self.fill(item)).collect(),
            Value::Object(entries) => {
                entries.iter().map(|(key, item)| (self.fill_text(key), self.fill(item))).collect()
            }
            other => other.clone(),
        }
    }

    /// Replaces bound placeholders in a text; unbound ones stay.
    pub fn fill_text(&self, text: &str) -> String {
        let mut out = String::new();
        for token in tokens(text) {
            match token {
                Token::Literal(literal) => out.push_str(literal),
                Token::Placeholder(place) => match self.value_of(&place) {
                    Some(value) => out.push_str(&value),
                    None => out.push_str(place.text),
                },
            }
        }
        out
    }

    /// Compares a reply with the recording and binds what it sees first. The error says where they differ.
    pub fn compare(&mut self, expected: &Value, actual: &Value, path: &str) -> Result<(), String> {
        match (expected, actual) {
            (Value::Object(want), Value::Object(got)) => self.compare_objects(want, got, path),
            (Value::Array(want), Value::Array(got)) => {
                if want.len() != got.len() {
                    return Err(format!("{path}: {} elements expected, got {actual}", want.len()));
                }
                if path == "/calls" {
                    let mut sorted = got.clone();
                    sorted.sort_by_key(|item| item.to_string());
                    // Which calls a limited list names is not specified.
                    let known = |item: &Value| item.as_str().is_some_and(|id| self.call_ids.contains(id));
                    sorted.dedup();
                    if sorted.len() == want.len() && sorted.iter().all(known) {
                        return Ok(());
                    }
                    return want.iter().zip(&sorted).try_for_each(|(w, g)| self.compare(w, g, path));
                }
                want.iter()
                    .zip(got)
                    .enumerate()
                    .try_for_each(|(i, (w, g))| self.compare(w, g, &format!("{path}/{i}")))
            }
            (Value::String(want), Value::String(got)) => self.compare_texts(want, got, path),
            // A port that is an integer was recorded as the placeholder's text.
            (Value::String(want), Value::Number(got)) if want.starts_with('{') => {
                self.compare_texts(want, &got.to_string(), path)
            }
            _ if expected == actual => Ok(()),
            _ => Err(format!("{path}: expected {expected}, got {actual}")),
        }
    }

    fn compare_objects(
        &mut self,
        want: &serde_json::Map<String, Value>,
        got: &serde_json::Map<String, Value>,
        path: &str,
    ) -> Result<(), String> {
        let is_ours = |key: &String| ADDED.iter().any(|(at, name)| path.ends_with(at) && key == name);
        let mut left: Vec<&String> = got.keys().filter(|key| !is_ours(key)).collect();
        let mut order = Vec::new();
        for (key, value) in want {
            let filled = self.fill_text(key);
            let position = left.iter().position(|candidate| **candidate == filled).or_else(|| {
                left.iter().position(|candidate| {
                    key.contains('{') && self.clone().compare_texts(key, candidate, path).is_ok()
                })
            });
            let Some(position) = position else {
                return Err(format!(
                    "{path}: key {key:?} is missing (there: {:?})",
                    got.keys().collect::<Vec<_>>()
                ));
            };
            let name = left.remove(position);
            self.compare_texts(key, name, path)?;
            self.compare(value, &got[name], &format!("{path}/{key}"))?;
            order.push(name);
        }
        if !left.is_empty() {
            return Err(format!("{path}: unexpected keys {left:?}"));
        }
        // Keys that are data (tags, SSRCs) have no order; those that are names come in the recorded one.
        let keys_are_data = path.ends_with("/tags") || path.ends_with("/SSRC");
        if !keys_are_data && !order.iter().copied().eq(got.keys().filter(|key| !is_ours(key))) {
            return Err(format!("{path}: order of keys {:?}", got.keys().collect::<Vec<_>>()));
        }
        Ok(())
    }

    /// Compares two texts line by line, so that the error can name the line.
    pub fn compare_texts(&mut self, want: &str, got: &str, path: &str) -> Result<(), String> {
        let (want_lines, got_lines) = (split_lines(want), split_lines(got));
        for i in 0..want_lines.len().max(got_lines.len()) {
            let (w, g) = (want_lines.get(i), got_lines.get(i));
            let matched = w.zip(g).is_some_and(|(w, g)| self.match_line(w, g));
            if !matched {
                let show = |line: Option<&&str>| line.map_or("nothing".into(), |line| format!("{line:?}"));
                let filled = w.map(|w| self.fill_text(w));
                let place = if want_lines.len() > 1 { format!(" line {}", i + 1) } else { String::new() };
                return Err(format!(
                    "{path}{place}: expected {}, got {}",
                    show(filled.as_deref().as_ref()),
                    show(g)
                ));
            }
        }
        Ok(())
    }

    fn match_line(&mut self, want: &str, got: &str) -> bool {
        let tokens = tokens(want);
        match self.match_tokens(&tokens, got) {
            Some(bound) => {
                self.values = bound;
                true
            }
            None => false,
        }
    }

    fn match_tokens(&self, tokens: &[Token<'_>], got: &str) -> Option<BTreeMap<String, String>> {
        let Some((first, rest)) = tokens.split_first() else {
            return got.is_empty().then(|| self.values.clone());
        };
        match first {
            Token::Literal(literal) => self.match_tokens(rest, got.strip_prefix(literal)?),
            Token::Placeholder(place) => {
                if let Some(value) = self.value_of(place) {
                    return self.match_tokens(rest, got.strip_prefix(&*value)?);
                }
                // Longest candidate first; fixed lengths leave only one.
                let run = got.chars().take_while(|&c| place.allows(c)).map(char::len_utf8).sum::<usize>();
                let lengths = match place.length() {
                    Some(length) => length..=length.min(run),
                    None => 1..=run,
                };
                lengths.rev().find_map(|length| {
                    let candidate = got.get(..length)?;
                    let mut bound = self.clone();
                    bound.bind(place, candidate)?;
                    bound.match_tokens(rest, &got[length..])
                })
            }
        }
    }

    fn value_of(&self, place: &Placeholder<'_>) -> Option<String> {
        let value = self.values.get(place.name)?;
        if place.plus == 0 {
            return Some(value.clone());
        }
        value.parse::<u64>().ok().map(|number| (number + place.plus).to_string())
    }

    fn bind(&mut self, place: &Placeholder<'_>, value: &str) -> Option<()> {
        if !place.accepts(value) {
            return None;
        }
        if !place.is_named() {
            return Some(());
        }
        let base = match place.plus {
            0 => value.to_owned(),
            plus => value.parse::<u64>().ok()?.checked_sub(plus)?.to_string(),
        };
        let kind = place.kind();
        // Fingerprints are of one certificate; session ids and versions are random and need not differ.
        let distinct = match kind {
            "FINGERPRINT:" | "SESSID" | "SESSVER" | "SOFTWAREID" => false,
            "PORT" => !self.ports_may_coincide,
            _ => true,
        };
        let taken = distinct
            && self.values.iter().any(|(name, other)| {
                name.trim_end_matches(|c: char| c.is_ascii_digit() || c == ':').starts_with(kind)
                    && *other == base
            });
        if taken {
            return None;
        }
        self.values.insert(place.name.to_owned(), base);
        Some(())
    }
}

/// SDP lines keep their ends apart, so that a difference names one line.
fn split_lines(text: &str) -> Vec<&str> {
    if text.contains('\n') { text.split_inclusive('\n').collect() } else { vec![text] }
}

enum Token<'a> {
    Literal(&'a str),
    Placeholder(Placeholder<'a>),
}

/// `{NAME}`, `{NAME0}`, `{NAME0:40}`, `{NAME0+1}`
struct Placeholder<'a> {
    text: &'a str,
    name: &'a str,
    plus: u64,
}

impl<'a> Placeholder<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let inner = text.strip_prefix('{')?.strip_suffix('}')?;
        let (name, plus) = match inner.split_once('+') {
            Some((name, plus)) => (name, plus.parse().ok()?),
            None => (inner, 0),
        };
        let place = Self { text, name, plus };
        KINDS.contains(&place.kind()).then_some(place)
    }

    /// The name without number and length.
    fn kind(&self) -> &'a str {
        if self.name.starts_with("FINGERPRINT:") {
            return "FINGERPRINT:";
        }
        self.name.split(':').next().unwrap_or_default().trim_end_matches(|c: char| c.is_ascii_digit())
    }

    /// Whether two appearances mean the same value.
    fn is_named(&self) -> bool {
        !matches!(self.kind(), "TIME" | "USEC" | "TIMEUS" | "NUM" | "NUMSTR" | "RAND")
    }

    fn length(&self) -> Option<usize> {
        if self.kind() == "FINGERPRINT:" {
            let octets = match self.name.rsplit('-').next()? {
                "1" => 20,
                bits => bits.parse::<usize>().ok()? / 8,
            };
            return Some(octets * 3 - 1);
        }
        if self.kind() == "INSTANCE" {
            return Some(12);
        }
        self.name.split_once(':').and_then(|(_, length)| length.parse().ok())
    }

    fn allows(&self, c: char) -> bool {
        match self.kind() {
            "PORT" | "SESSID" | "SESSVER" | "SSRC" | "TIME" | "USEC" | "TIMEUS" => c.is_ascii_digit(),
            "NUM" => c.is_ascii_digit() || c == '-',
            "NUMSTR" => c.is_ascii_digit() || "-.e+".contains(c),
            "INSTANCE" | "RAND" | "TAG" | "TLSID" => c.is_ascii_hexdigit(),
            "FINGERPRINT:" => c.is_ascii_hexdigit() || c == ':',
            "UFRAG" | "ICEPWD" | "FOUNDATION" | "KEY" => c.is_ascii_alphanumeric() || "+/=".contains(c),
            _ => !c.is_control() && c != '/',
        }
    }

    fn accepts(&self, value: &str) -> bool {
        let number = || value.parse::<u64>().unwrap_or(0);
        match self.kind() {
            "PORT" => (1024..=65_535).contains(&number()),
            // Any time after this was written: a counter or a zero is none.
            "TIME" => (1_750_000_000..10_000_000_000).contains(&number()),
            "TIMEUS" => (1_750_000_000_000_000..10_000_000_000_000_000).contains(&number()),
            "USEC" => number() < 1_000_000,
            _ => true,
        }
    }
}

const KINDS: [&str; 18] = [
    "PORT",
    "UFRAG",
    "ICEPWD",
    "FOUNDATION",
    "KEY",
    "FINGERPRINT:",
    "TLSID",
    "TAG",
    "SESSID",
    "SESSVER",
    "SOFTWAREID",
    "INSTANCE",
    "SSRC",
    "TIME",
    "USEC",
    "TIMEUS",
    "NUM",
    "NUMSTR",
];

fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut out = Vec::new();
    let (mut rest, mut from) = (text, 0);
    while let Some(open) = rest[from..].find('{').map(|at| at + from) {
        let close = rest[open..].find('}').map(|at| at + open + 1);
        let Some(place) = close.and_then(|close| Placeholder::parse_any(&rest[open..close])) else {
            from = open + 1;
            continue;
        };
        if open > 0 {
            out.push(Token::Literal(&rest[..open]));
        }
        rest = &rest[open + place.text.len()..];
        from = 0;
        out.push(Token::Placeholder(place));
    }
    if !rest.is_empty() {
        out.push(Token::Literal(rest));
    }
    out
}

impl<'a> Placeholder<'a> {
    fn parse_any(text: &'a str) -> Option<Self> {
        if text == "{TMPDIR}" || text.starts_with("{RAND:") {
            return Some(Self { text, name: &text[1..text.len() - 1], plus: 0 });
        }
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn compare(pairs: &[(Value, Value)]) -> Result<(), String> {
        let mut bindings = Bindings::default();
        pairs.iter().try_for_each(|(want, got)| bindings.compare(want, got, ""))
    }

    #[test]
    fn a_placeholder_binds_once_and_must_stay_equal() {
        let line = |port: u16, rtcp: u16| json!(format!("m=audio {port} RTP/AVP 0\r\na=rtcp:{rtcp}\r\n"));
        let want = json!("m=audio {PORT0} RTP/AVP 0\r\na=rtcp:{PORT0+1}\r\n");
        assert_eq!(
            compare(&[(want.clone(), line(40_000, 40_001)), (json!("{PORT0}"), json!(40_000))]),
            Ok(())
        );
        assert!(compare(&[(want.clone(), line(40_000, 40_002))]).is_err());
        assert!(compare(&[(want, line(40_000, 40_001)), (json!("{PORT1}"), json!(40_000))]).is_err());
    }

    #[test]
    fn lengths_and_alphabets_are_checked() {
        for (want, got, matches) in [
            ("{UFRAG0:8}", "abcd1234", true),
            ("{UFRAG0:8}", "abcd123", false),
            ("{UFRAG0:8}", "abcd12345", false),
            ("{TAG0:4}", "00fz", false),
            ("{FINGERPRINT:sha-1}", "AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD", true),
            ("{TIME}", "5", false),
            ("inline:{KEY0:4}|2^31", "inline:ab+/|2^31", true),
            ("{nothing}", "{nothing}", true),
        ] {
            assert_eq!(compare(&[(json!(want), json!(got))]).is_ok(), matches, "{want} against {got}");
        }
    }

    #[test]
    fn keys_must_come_in_the_recorded_order_unless_they_are_data() {
        let order = |text: &str| serde_json::from_str::<Value>(text).expect("literal");
        assert!(compare(&[(order(r#"{"a":1,"b":2}"#), order(r#"{"b":2,"a":1}"#))]).is_err());
        assert_eq!(
            compare(&[(order(r#"{"tags":{"a":1,"b":2}}"#), order(r#"{"tags":{"b":2,"a":1}}"#))]),
            Ok(())
        );
        assert!(compare(&[(order(r#"{"a":1}"#), order(r#"{"a":1,"b":2}"#))]).is_err());
    }

    #[test]
    fn requests_are_filled_with_bound_values() {
        let mut bindings = Bindings::default();
        bindings.set("TMPDIR", "/t");
        assert_eq!(
            bindings.fill(&json!({"file": "{TMPDIR}/a.wav", "n": 1})),
            json!({"file": "/t/a.wav", "n": 1})
        );
    }
}
