//! Integers as start scripts write them: decimal, `0x…` hexadecimal, `0…` octal, each with an optional sign.

use std::num::IntErrorKind;

/// Why a text is not an integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NumberError {
    /// Other characters than the notation allows, or none.
    #[error("not an integer")]
    Malformed,
    /// An integer, but too great or too small.
    #[error("out of range")]
    OutOfRange,
}

/// Parses a signed 64-bit integer.
pub fn parse_int(text: &str) -> Result<i64, NumberError> {
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    // `from_str_radix` would take a second sign.
    if !digits.bytes().all(|digit| digit.is_ascii_alphanumeric()) {
        return Err(NumberError::Malformed);
    }
    let magnitude = i128::from_str_radix(digits, radix).map_err(|error| match error.kind() {
        IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => NumberError::OutOfRange,
        _ => NumberError::Malformed,
    })?;
    let value = if negative { -magnitude } else { magnitude };
    i64::try_from(value).map_err(|_| NumberError::OutOfRange)
}

/// Parses a signed 32-bit integer.
pub fn parse_int32(text: &str) -> Result<i32, NumberError> {
    parse_int(text).and_then(|value| i32::try_from(value).map_err(|_| NumberError::OutOfRange))
}

/// Parses a finite decimal number with a point, whatever the locale.
pub fn parse_float(text: &str) -> Result<f64, NumberError> {
    let value: f64 = text.parse().map_err(|_| NumberError::Malformed)?;
    if !text.bytes().any(|byte| byte.is_ascii_digit()) {
        return Err(NumberError::Malformed);
    }
    if value.is_finite() { Ok(value) } else { Err(NumberError::OutOfRange) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_decimal_hexadecimal_or_octal() {
        const CASES: &[(&str, Result<i64, NumberError>)] = &[
            ("0", Ok(0)),
            ("42", Ok(42)),
            ("-1", Ok(-1)),
            ("+7", Ok(7)),
            ("0x10", Ok(16)),
            ("-0XfF", Ok(-255)),
            ("010", Ok(8)),
            ("0700", Ok(448)),
            ("9223372036854775807", Ok(i64::MAX)),
            ("-9223372036854775808", Ok(i64::MIN)),
            ("9223372036854775808", Err(NumberError::OutOfRange)),
            ("99999999999999999999999999999999999999999999", Err(NumberError::OutOfRange)),
            ("08", Err(NumberError::Malformed)),
            ("0x", Err(NumberError::Malformed)),
            ("", Err(NumberError::Malformed)),
            ("-", Err(NumberError::Malformed)),
            ("--1", Err(NumberError::Malformed)),
            ("1 ", Err(NumberError::Malformed)),
            ("12a", Err(NumberError::Malformed)),
            ("1.5", Err(NumberError::Malformed)),
            ("²", Err(NumberError::Malformed)),
        ];
        for (text, expected) in CASES {
            assert_eq!(parse_int(text), *expected, "{text:?}");
        }
        assert_eq!(parse_int32("2147483647"), Ok(i32::MAX));
        assert_eq!(parse_int32("2147483648"), Err(NumberError::OutOfRange));
    }

    #[test]
    fn floats_are_finite() {
        assert_eq!(parse_float("2.5"), Ok(2.5));
        assert_eq!(parse_float("1e400"), Err(NumberError::OutOfRange));
        for text in ["nan", "inf", "2,5", "", "x"] {
            assert_eq!(parse_float(text), Err(NumberError::Malformed), "{text}");
        }
    }
}
