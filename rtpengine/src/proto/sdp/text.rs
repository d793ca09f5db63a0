//! Bodies as text, without losing octets that are not UTF-8.
//!
//! SDP should be UTF-8, but session names in Latin-1 are common. Every octet that does not belong to valid UTF-8
//! becomes one character of the range U+10FF00 + octet (private use), and turns back into that octet on output. The
//! mapping is per octet, so pieces of bodies in different encodings can stand in one generated text.

use std::borrow::Cow;

/// First character of the escape range: `ESCAPE + octet`.
const ESCAPE: u32 = 0x10_ff00;

/// The first octet of all characters from U+100000 on. Text without it has no escapes.
const FIRST_OCTET: u8 = 0xf4;

/// What stands before and behind the first `separator`, an ASCII character. For lines and words, which are short, this is faster than a
/// search that is made for long texts.
pub(crate) fn split_at_first(text: &str, separator: u8) -> Option<(&str, &str)> {
    let at = text.bytes().position(|octet| octet == separator)?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

fn is_escape(character: char) -> bool {
    u32::from(character) >= ESCAPE
}

fn escape(octet: u8) -> char {
    char::from_u32(ESCAPE + u32::from(octet)).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// Turns a body into text; borrowed when it is plain UTF-8. Linear in the length.
///
/// `encode(&decode(body)) == body` for every body: characters of the escape range in the input are
/// escaped octet by octet themselves.
pub fn decode(body: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(body) {
        Ok(text) if !body.contains(&FIRST_OCTET) || !text.chars().any(is_escape) => {
            return Cow::Borrowed(text);
        }
        _ => {}
    }
    let mut out = String::with_capacity(body.len() + 16);
    for chunk in body.utf8_chunks() {
        for character in chunk.valid().chars() {
            if is_escape(character) {
                let mut octets = [0; 4];
                out.extend(character.encode_utf8(&mut octets).bytes().map(escape));
            } else {
                out.push(character);
            }
        }
        out.extend(chunk.invalid().iter().copied().map(escape));
    }
    Cow::Owned(out)
}

/// Turns text back into octets. Linear in the length.
pub fn encode(text: String) -> Vec<u8> {
    if !text.as_bytes().contains(&FIRST_OCTET) {
        return text.into_bytes();
    }
    let mut out = Vec::with_capacity(text.len());
    for character in text.chars() {
        if is_escape(character) {
            out.push((u32::from(character) & 0xff) as u8);
        } else {
            let mut octets = [0; 4];
            out.extend_from_slice(character.encode_utf8(&mut octets).as_bytes());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn utf8_is_borrowed_unchanged() {
        assert!(matches!(decode("s=Grüße".as_bytes()), Cow::Borrowed("s=Grüße")));
    }

    #[test]
    fn latin_1_and_utf8_mix_in_one_output() {
        let latin = decode(b"s=caf\xe9").into_owned();
        let joined = format!("{latin}é");
        assert_eq!(encode(joined), b"s=caf\xe9\xc3\xa9");
    }

    proptest! {
        #[test]
        fn every_body_survives(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(encode(decode(&body).into_owned()), body);
        }

        #[test]
        fn every_text_survives(body in "\\PC*[\u{10fe00}-\u{10ffff}]*") {
            prop_assert_eq!(encode(decode(body.as_bytes()).into_owned()), body.as_bytes());
        }
    }
}
