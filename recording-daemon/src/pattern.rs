//! File name patterns (`--output-pattern`, `RECORDING_PATTERN`). Pure.

use std::fmt::Write as _;
use std::iter::Peekable;
use std::str::Chars;

use spool::names::percent_encode;

use crate::local_time::LocalTime;

/// What the place-holders stand for.
#[derive(Clone, Copy, Debug)]
pub struct Values<'a> {
    /// `%c` and `%<digits>`, percent-encoded.
    pub call_id: &'a str,
    /// `%r`
    pub random_tag: &'a str,
    /// `%t`: `mix` or the SSRC.
    pub stream_type: &'a str,
    /// `%l`
    pub label: &'a str,
    /// `%{key}`, percent-encoded.
    pub metadata: &'a [(String, String)],
    /// `%Y %m %d %H %M %S %u`
    pub time: LocalTime,
}

/// A part of a pattern that means nothing. It is left out of the name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// `%` at the end.
    #[error("Invalid output pattern (trailing %)")]
    TrailingPercent,
    /// Not a place-holder.
    #[error("Invalid output pattern (unknown format character '{0}')")]
    UnknownCharacter(char),
    /// Too many digits.
    #[error("Invalid output pattern (invalid number at '%{0}')")]
    InvalidNumber(String),
    /// `%{` without `}`.
    #[error("Missing ending brace '}}' in file name pattern")]
    MissingBrace,
    /// The call's metadata has no such key.
    #[error("Metadata key '{0}' of the file name pattern is not present")]
    MissingKey(String),
    /// Outputs of one call would get the same name.
    #[error("Invalid output pattern '{0}' (must contain '%c' and '%t')")]
    NotDistinct(String),
}

/// Whether a pattern gives different names to different outputs.
pub fn check(pattern: &str) -> Result<(), PatternError> {
    if pattern.contains("%c") && pattern.contains("%t") {
        Ok(())
    } else {
        Err(PatternError::NotDistinct(pattern.to_owned()))
    }
}

/// Makes a name. Parts that mean nothing are left out and reported. A path component that would be `.` or `..` is
/// percent-encoded: no call-ID and no signalled pattern leads out of the output directory.
pub fn expand(pattern: &str, values: &Values<'_>) -> (String, Vec<PatternError>) {
    let call_id = percent_encode(values.call_id);
    let mut call_id_rest = call_id.chars();
    let mut name = String::with_capacity(pattern.len() + call_id.len());
    let mut errors = Vec::new();
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            name.push(c);
            continue;
        }
        let Some(kind) = chars.next() else {
            errors.push(PatternError::TrailingPercent);
            break;
        };
        let time = &values.time;
        let _ = match kind {
            '%' => name.write_char('%'),
            'c' => name.write_str(&call_id),
            'r' => name.write_str(values.random_tag),
            't' => name.write_str(values.stream_type),
            'l' => name.write_str(&values.label.replace('/', "%2F")),
            'Y' => write!(name, "{:04}", time.year),
            'm' => write!(name, "{:02}", time.month),
            'd' => write!(name, "{:02}", time.day),
            'H' => write!(name, "{:02}", time.hour),
            'M' => write!(name, "{:02}", time.minute),
            'S' => write!(name, "{:02}", time.second),
            'u' => write!(name, "{:06}", time.microsecond),
            '0'..='9' => match number(kind, &mut chars) {
                Ok(count) => name.write_str(&call_id_rest.by_ref().take(count).collect::<String>()),
                Err(digits) => {
                    errors.push(PatternError::InvalidNumber(digits));
                    Ok(())
                }
            },
            '{' => match braced(&mut chars) {
                Ok(key) => match values.metadata.iter().find(|(k, _)| *k == key) {
                    Some((_, value)) => name.write_str(&percent_encode(value)),
                    None => {
                        errors.push(PatternError::MissingKey(key));
                        Ok(())
                    }
                },
                Err(error) => {
                    errors.push(error);
                    Ok(())
                }
            },
            other => {
                errors.push(PatternError::UnknownCharacter(other));
                Ok(())
            }
        };
    }
    (confine(&name), errors)
}

fn number(first: char, chars: &mut Peekable<Chars<'_>>) -> Result<usize, String> {
    let mut digits = String::from(first);
    while let Some(digit) = chars.next_if(char::is_ascii_digit) {
        digits.push(digit);
    }
    digits.parse().ok().filter(|&count| count > 0).ok_or(digits)
}

fn braced(chars: &mut Peekable<Chars<'_>>) -> Result<String, PatternError> {
    let mut key = String::new();
    loop {
        match chars.next() {
            Some('}') => return Ok(key),
            Some(c) => key.push(c),
            None => return Err(PatternError::MissingBrace),
        }
    }
}

fn confine(name: &str) -> String {
    let components = name
        .replace('\0', "")
        .split('/')
        .map(|component| match component {
            "." | ".." => component.replace('.', "%2E"),
            other => other.to_owned(),
        })
        .collect::<Vec<_>>();
    components.join("/")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values<'a>(call_id: &'a str, metadata: &'a [(String, String)]) -> Values<'a> {
        Values {
            call_id,
            random_tag: "0011223344556677",
            stream_type: "aaaa0001",
            label: "lab/A",
            metadata,
            time: LocalTime { year: 2026, month: 1, day: 2, hour: 3, minute: 4, second: 5, microsecond: 67 },
        }
    }

    #[test]
    fn place_holders_are_replaced() {
        const CASES: &[(&str, &str, &str)] = &[
            ("%c-%r-%t", "call-9@host", "call-9%40host-0011223344556677-aaaa0001"),
            ("%2/%3/%c", "abcdefgh", "ab/cde/abcdefgh"),
            ("%2/%3/%c", "abc", "ab/c/abc"),
            ("%Y/%m/%d/%H%M%S.%u", "x", "2026/01/02/030405.000067"),
            ("100%%-%l", "x", "100%-lab%2FA"),
            ("%{caller}-%t", "x", "al%2Fice-aaaa0001"),
            ("%c/%t", "..", "%2E%2E/aaaa0001"),
            ("%1/%1/x", "...", "%2E/%2E/x"),
        ];
        let metadata = [("caller".to_owned(), "al/ice".to_owned()), ("caller".to_owned(), "bob".to_owned())];
        for (pattern, call_id, expected) in CASES {
            assert_eq!(
                expand(pattern, &values(call_id, &metadata)),
                ((*expected).to_owned(), vec![]),
                "{pattern}"
            );
        }
    }

    #[test]
    fn faults_are_named_and_the_rest_is_used() {
        let cases = [
            ("a%", "a", PatternError::TrailingPercent, "Invalid output pattern (trailing %)"),
            (
                "a%xb",
                "ab",
                PatternError::UnknownCharacter('x'),
                "Invalid output pattern (unknown format character 'x')",
            ),
            (
                "a%0b",
                "ab",
                PatternError::InvalidNumber("0".into()),
                "Invalid output pattern (invalid number at '%0')",
            ),
            ("a%{b", "a", PatternError::MissingBrace, "Missing ending brace '}' in file name pattern"),
            (
                "a%{b}c",
                "ac",
                PatternError::MissingKey("b".into()),
                "Metadata key 'b' of the file name pattern is not present",
            ),
        ];
        for (pattern, expected, error, message) in cases {
            assert_eq!(error.to_string(), message);
            assert_eq!(expand(pattern, &values("x", &[])), (expected.to_owned(), vec![error]), "{pattern}");
        }
    }

    #[test]
    fn patterns_must_keep_outputs_apart() {
        assert_eq!(check("%c-%r-%t"), Ok(()));
        assert_eq!(check("%c"), Err(PatternError::NotDistinct("%c".into())));
        assert_eq!(check("%t"), Err(PatternError::NotDistinct("%t".into())));
    }

    proptest! {
        #[test]
        fn no_name_leads_out_of_the_directory(pattern in "[%a-z0-9./{}]{0,30}", call_id in "[./a-z]{0,12}") {
            let (name, _) = expand(&pattern, &values(&call_id, &[]));
            prop_assert!(name.split('/').all(|component| component != ".." && component != "."));
        }
    }
}
