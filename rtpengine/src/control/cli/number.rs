//! Numbers in commands, and the words in which bad ones are refused.

/// Why a word is not the number that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NumberError {
    #[error("no digits found")]
    NoDigits,
    #[error("not a number")]
    NotANumber,
    #[error("errno=34")]
    OutOfRange,
}

/// A decimal integer, with or without sign.
pub fn integer(word: &str) -> Result<i64, NumberError> {
    let digits = word.strip_prefix(['-', '+']).unwrap_or(word);
    let length = digits.bytes().take_while(u8::is_ascii_digit).count();
    match length {
        0 => Err(NumberError::NoDigits),
        _ if length < digits.len() => Err(NumberError::NotANumber),
        _ => word.parse().map_err(|_| NumberError::OutOfRange),
    }
}

/// A decimal integer from 0 on.
pub fn unsigned(word: &str) -> Result<u64, NumberError> {
    match integer(word) {
        Ok(number) => u64::try_from(number).map_err(|_| NumberError::OutOfRange),
        Err(error) => Err(error),
    }
}

/// A decimal number from 0 on, with or without a fraction.
pub fn decimal(word: &str) -> Result<f64, NumberError> {
    if !word.bytes().any(|byte| byte.is_ascii_digit()) {
        return Err(NumberError::NoDigits);
    }
    let number: f64 = word.parse().map_err(|_| NumberError::NotANumber)?;
    // Hundredths of it must fit into what stores them.
    if (0.0..1e15).contains(&number) { Ok(number) } else { Err(NumberError::OutOfRange) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_numbers_are_told_apart() {
        use NumberError::*;
        let cases = [
            ("5", Ok(5)),
            ("-1", Ok(-1)),
            ("x", Err(NoDigits)),
            ("", Err(NoDigits)),
            ("-", Err(NoDigits)),
            ("5x", Err(NotANumber)),
            ("99999999999999999999", Err(OutOfRange)),
        ];
        for (word, expected) in cases {
            assert_eq!(integer(word), expected, "{word}");
        }
        assert_eq!(unsigned("-1"), Err(OutOfRange));
        let cases = [
            ("50", Ok(50.0)),
            ("0.5", Ok(0.5)),
            ("-1", Err(OutOfRange)),
            ("1e300", Err(OutOfRange)),
            ("nan", Err(NoDigits)),
            ("1.2.3", Err(NotANumber)),
        ];
        for (word, expected) in cases {
            assert_eq!(decimal(word), expected, "{word}");
        }
    }
}
