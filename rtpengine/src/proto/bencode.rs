//! Bencode (BitTorrent, BEP 3) as the ng protocol uses it: a tolerant reader and an order-keeping writer.
//!
//! The reader takes keys in any order, keeps duplicate keys, and can be told to forgive a missing final `e`.
//! It does not recurse, so a datagram full of `l` costs no more than one full of text.

use thiserror::Error;

use super::value::{Dict, MAX_DEPTH, Octets, TreeWriter, Value};

/// Why bytes are not a bencode dictionary.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum BencodeError {
    /// The input ends inside the dictionary.
    #[error("dictionary is incomplete")]
    Incomplete,
    /// A byte that cannot stand there.
    #[error("unexpected byte at offset {offset}")]
    Unexpected {
        /// Where, from the start of the input.
        offset: usize,
    },
    /// More than [`MAX_DEPTH`] containers inside each other.
    #[error("nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
}

/// Reads one dictionary at the start of `input`; what follows it is ignored, its final `e` may be missing.
///
/// Integers beyond the range of `i64` are clamped to it.
///
/// # Errors
/// See [`BencodeError`].
pub fn decode(input: &[u8]) -> Result<Dict, BencodeError> {
    let mut reader = Reader::new(input);
    build(&mut reader, Ending::MayBeMissing)
}

/// Reads one complete dictionary at the start of `input` and tells how many bytes it took.
///
/// # Errors
/// [`BencodeError::Incomplete`] if more input may complete the dictionary; everything else is final.
pub fn decode_prefix(input: &[u8]) -> Result<(Dict, usize), BencodeError> {
    let mut reader = Reader::new(input);
    let dict = build(&mut reader, Ending::Required)?;
    Ok((dict, reader.position))
}

/// The length of the dictionary at the start of `input`, without building it.
///
/// # Errors
/// [`BencodeError::Incomplete`] if more input may complete the dictionary; everything else is final.
pub fn dictionary_length(input: &[u8]) -> Result<usize, BencodeError> {
    let mut reader = Reader::new(input);
    reader.open_dictionary()?;
    Scanner { position: reader.position, open: vec![Position::Key] }.scan(input)
}

/// Finds the end of one value of any type on a byte stream, without building it and without looking at anything twice.
///
/// [`scan`](Self::scan) is called again with the same input and more behind it as long as the value is incomplete.
#[derive(Clone, Debug, Default)]
pub struct Scanner {
    /// Start of the first token that was not complete.
    position: usize,
    /// What may come next in each container that is open.
    open: Vec<Position>,
}

impl Scanner {
    /// A scanner before the first byte of a value.
    pub fn new() -> Self {
        Self::default()
    }

    /// The length of the value at the start of `input`.
    ///
    /// # Errors
    /// [`BencodeError::Incomplete`] if more input may complete the value; everything else is final.
    pub fn scan(&mut self, input: &[u8]) -> Result<usize, BencodeError> {
        let mut reader = Reader { input, position: self.position };
        loop {
            let offset = reader.position;
            self.position = offset;
            let token = reader.next_token()?;
            let unexpected = BencodeError::Unexpected { offset };
            match (self.open.last_mut(), token) {
                (None, Token::End) => return Err(unexpected),
                (Some(Position::Key | Position::Element), Token::End) => {
                    self.open.pop();
                }
                (Some(next @ Position::Key), Token::Bytes(_)) => {
                    *next = Position::Value;
                    continue;
                }
                (Some(Position::Key), _) | (Some(Position::Value), Token::End) => return Err(unexpected),
                (next, token) => {
                    if let Some(next @ Position::Value) = next {
                        *next = Position::Key;
                    }
                    match token {
                        Token::List | Token::Dict if self.open.len() >= MAX_DEPTH => {
                            return Err(BencodeError::TooDeep);
                        }
                        Token::List => self.open.push(Position::Element),
                        Token::Dict => self.open.push(Position::Key),
                        Token::Int(_) | Token::Bytes(_) | Token::End => {}
                    }
                }
            }
            if self.open.is_empty() {
                self.position = reader.position;
                return Ok(reader.position);
            }
        }
    }
}

/// Appends the bencode form of a dictionary to `out`, keys in the order of the dictionary.
pub fn encode_dict(dict: &Dict, out: &mut Vec<u8>) {
    dict.write(&mut Writer::new(out));
}

/// Appends the bencode form of what is written; complete when it is dropped.
///
/// What was written ends at `end`; zeros that follow are room, so that an octet, a number or a short text costs one look at the length.
pub struct Writer<'o> {
    out: &'o mut Vec<u8>,
    end: usize,
}

impl<'o> Writer<'o> {
    /// Writes behind what there is.
    pub fn new(out: &'o mut Vec<u8>) -> Self {
        let end = out.len();
        Writer { out, end }
    }

    /// Room for so many octets, which count as written.
    #[inline]
    fn room(&mut self, octets: usize) -> &mut [u8] {
        let start = self.end;
        self.end += octets;
        if self.end > self.out.len() {
            self.grow();
        }
        self.out.get_mut(start..self.end).unwrap_or_default()
    }

    #[cold]
    fn grow(&mut self) {
        self.out.resize(self.end + GROWTH, 0);
    }

    fn octet(&mut self, octet: u8) {
        if let [place] = self.room(1) {
            *place = octet;
        }
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        self.out.truncate(self.end);
    }
}

impl TreeWriter for Writer<'_> {
    fn begin_dict(&mut self) {
        self.octet(b'd');
    }

    fn end_dict(&mut self) {
        self.octet(b'e');
    }

    fn begin_list(&mut self) {
        self.octet(b'l');
    }

    fn end_list(&mut self) {
        self.octet(b'e');
    }

    fn key(&mut self, key: &[u8]) {
        self.bytes(key);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        let length = bytes.len();
        // Most keys and values have lengths of one or two digits.
        if length < 10 {
            if let [digit, colon, text @ ..] = self.room(length + 2) {
                *digit = b'0' + length as u8;
                *colon = b':';
                text.copy_from_slice(bytes);
            }
        } else if length < 100 {
            if let [tens, ones, colon, text @ ..] = self.room(length + 3) {
                *tens = b'0' + length as u8 / 10;
                *ones = b'0' + length as u8 % 10;
                *colon = b':';
                text.copy_from_slice(bytes);
            }
        } else {
            let mut digits = itoa::Buffer::new();
            let digits = digits.format(length).as_bytes();
            self.room(digits.len()).copy_from_slice(digits);
            self.octet(b':');
            self.room(length).copy_from_slice(bytes);
        }
    }

    fn int(&mut self, number: i64) {
        // Most counters of a call that has just begun, and all switches.
        if let Ok(digit @ 0..=9) = u8::try_from(number) {
            self.room(3).copy_from_slice(&[b'i', b'0' + digit, b'e']);
        } else {
            let mut digits = itoa::Buffer::new();
            let digits = digits.format(number).as_bytes();
            self.octet(b'i');
            self.room(digits.len()).copy_from_slice(digits);
            self.octet(b'e');
        }
    }
}

/// Octets by which room grows beyond what is wanted.
const GROWTH: usize = 1024;

/// Numbers are not longer, leading zeros included; so that the start of a token is cheap to read again.
const MAX_DIGITS: usize = 64;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Required,
    MayBeMissing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Position {
    Key,
    Value,
    Element,
}

/// A container that is still open.
enum Open {
    List(Vec<Value>),
    Dict { dict: Dict, key: Option<Octets> },
}

fn build(reader: &mut Reader<'_>, ending: Ending) -> Result<Dict, BencodeError> {
    reader.open_dictionary()?;
    let mut outermost = Open::Dict { dict: Dict::new(), key: None };
    let mut stack: Vec<Open> = Vec::new();
    loop {
        let offset = reader.position;
        if reader.is_at_end() && ending == Ending::MayBeMissing && stack.is_empty() {
            return match outermost {
                Open::Dict { dict, key: None } => Ok(dict),
                _ => Err(BencodeError::Incomplete),
            };
        }
        let token = reader.next_token()?;
        let finished = match (stack.last_mut().unwrap_or(&mut outermost), token) {
            (Open::Dict { key: Some(_), .. }, Token::End) => return Err(BencodeError::Unexpected { offset }),
            (_, Token::End) => match stack.pop() {
                None => {
                    return match outermost {
                        Open::Dict { dict, .. } => Ok(dict),
                        Open::List(_) => Err(BencodeError::Unexpected { offset }),
                    };
                }
                Some(Open::List(items)) => Value::List(items),
                Some(Open::Dict { dict, .. }) => Value::Dict(dict),
            },
            (Open::Dict { key: key @ None, .. }, Token::Bytes(bytes)) => {
                *key = Some(Octets::from_slice(bytes));
                continue;
            }
            (Open::Dict { key: None, .. }, _) => return Err(BencodeError::Unexpected { offset }),
            (_, container @ (Token::List | Token::Dict)) => {
                // The outermost dictionary is not on the stack.
                if stack.len() + 1 >= MAX_DEPTH {
                    return Err(BencodeError::TooDeep);
                }
                stack.push(match container {
                    Token::List => Open::List(Vec::new()),
                    _ => Open::Dict { dict: Dict::new(), key: None },
                });
                continue;
            }
            (_, Token::Int(number)) => Value::Int(number),
            (_, Token::Bytes(bytes)) => Value::Bytes(Octets::from_slice(bytes)),
        };
        match stack.last_mut().unwrap_or(&mut outermost) {
            Open::List(items) => items.push(finished),
            Open::Dict { dict, key } => {
                let key = key.take().ok_or(BencodeError::Unexpected { offset })?;
                dict.0.push((key.into(), finished));
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    Int(i64),
    Bytes(&'a [u8]),
    List,
    Dict,
    End,
}

struct Reader<'a> {
    input: &'a [u8],
    position: usize,
}

impl<'a> Reader<'a> {
    fn new(input: &'a [u8]) -> Self {
        Reader { input, position: 0 }
    }

    fn is_at_end(&self) -> bool {
        self.position >= self.input.len()
    }

    fn open_dictionary(&mut self) -> Result<(), BencodeError> {
        match self.next_token()? {
            Token::Dict => Ok(()),
            _ => Err(BencodeError::Unexpected { offset: 0 }),
        }
    }

    fn next_byte(&mut self) -> Result<u8, BencodeError> {
        let byte = *self.input.get(self.position).ok_or(BencodeError::Incomplete)?;
        self.position += 1;
        Ok(byte)
    }

    fn next_token(&mut self) -> Result<Token<'a>, BencodeError> {
        let offset = self.position;
        match self.next_byte()? {
            b'e' => Ok(Token::End),
            b'l' => Ok(Token::List),
            b'd' => Ok(Token::Dict),
            b'i' => self.integer().map(Token::Int),
            digit @ b'0'..=b'9' => self.string(digit).map(Token::Bytes),
            _ => Err(BencodeError::Unexpected { offset }),
        }
    }

    fn integer(&mut self) -> Result<i64, BencodeError> {
        let negative = self.input.get(self.position) == Some(&b'-');
        if negative {
            self.position += 1;
        }
        let first_digit = self.position;
        let mut number: i64 = 0;
        loop {
            let offset = self.position;
            match self.next_byte()? {
                b'e' if offset > first_digit => return Ok(number),
                digit @ b'0'..=b'9' if offset - first_digit < MAX_DIGITS => {
                    let digit = i64::from(digit - b'0');
                    number = number.saturating_mul(10);
                    number =
                        if negative { number.saturating_sub(digit) } else { number.saturating_add(digit) };
                }
                _ => return Err(BencodeError::Unexpected { offset }),
            }
        }
    }

    fn string(&mut self, first_digit: u8) -> Result<&'a [u8], BencodeError> {
        let mut length = usize::from(first_digit - b'0');
        let second_digit = self.position;
        loop {
            let offset = self.position;
            match self.next_byte()? {
                b':' => break,
                digit @ b'0'..=b'9' if offset - second_digit < MAX_DIGITS => {
                    length = length
                        .checked_mul(10)
                        .and_then(|length| length.checked_add(usize::from(digit - b'0')))
                        .ok_or(BencodeError::Unexpected { offset })?;
                }
                _ => return Err(BencodeError::Unexpected { offset }),
            }
        }
        let end = self.position.checked_add(length).ok_or(BencodeError::Incomplete)?;
        let bytes = self.input.get(self.position..end).ok_or(BencodeError::Incomplete)?;
        self.position = end;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::proto::value::tests::any_dict;

    fn dict(pairs: &[(&str, Value)]) -> Dict {
        Dict(pairs.iter().map(|(key, value)| ((*key).into(), value.clone())).collect())
    }

    #[test]
    fn tolerates_what_clients_send() {
        let ping = dict(&[("command", "ping".into())]);
        let cases: &[(&str, &str, Dict)] = &[
            ("plain", "d7:command4:pinge", ping.clone()),
            ("missing final e", "d7:command4:ping", ping.clone()),
            ("trailing bytes", "d7:command4:pingetrailing", ping),
            ("empty", "de", Dict::new()),
            ("only a d", "d", Dict::new()),
            ("unsorted keys", "d1:bi1e1:ai-2ee", dict(&[("b", Value::Int(1)), ("a", Value::Int(-2))])),
            ("duplicate keys", "d1:ai1e1:ai2ee", dict(&[("a", Value::Int(1)), ("a", Value::Int(2))])),
            ("greatest integer", "d1:ai9223372036854775807ee", dict(&[("a", Value::Int(i64::MAX))])),
            ("beyond the greatest", "d1:ai99999999999999999999ee", dict(&[("a", Value::Int(i64::MAX))])),
            ("below the least", "d1:ai-99999999999999999999ee", dict(&[("a", Value::Int(i64::MIN))])),
            ("leading zeros", "d02:abi007ee", dict(&[("ab", Value::Int(7))])),
            (
                "nested",
                "d1:ald1:b0:eli1eeee",
                dict(&[(
                    "a",
                    Value::List(vec![dict(&[("b", "".into())]).into(), Value::List(vec![Value::Int(1)])]),
                )]),
            ),
        ];
        for (name, input, expected) in cases {
            assert_eq!(decode(input.as_bytes()).as_ref(), Ok(expected), "{name}");
        }
    }

    #[test]
    fn refuses_what_is_no_dictionary() {
        let cases = [
            "",
            "l4:pinge",
            "4:ping",
            "i5e",
            "e",
            "d7:command",
            "d7:command4:pin",
            "d7:commande",
            "di5e4:pinge",
            "d1:al4:ping",
            "d1:aiee",
            "d1:ai-ee",
            "d1:ai+5ee",
            "d1:ai5",
            "d1:a5",
            "d1:ax",
            "d-1:a1:be",
            "d99999999999999999999999:a",
            "d18446744073709551615:a",
            "dle1:ae",
            "d1:ae",
        ];
        for input in cases {
            assert!(decode(input.as_bytes()).is_err(), "{input}");
        }
    }

    #[test]
    fn tells_incomplete_from_malformed_when_framing() {
        let message = b"d1:ald1:b0:eli1eee1:ci2ee";
        for end in 0..message.len() {
            let part = &message[..end];
            assert_eq!(dictionary_length(part), Err(BencodeError::Incomplete), "{end}");
            assert_eq!(decode_prefix(part).map(|(_, n)| n), Err(BencodeError::Incomplete), "{end}");
        }
        let followed = [&message[..], b"t2 d7:command"].concat();
        assert_eq!(dictionary_length(&followed), Ok(message.len()));
        assert_eq!(decode_prefix(&followed).map(|(_, n)| n), Ok(message.len()));
        assert_eq!(dictionary_length(b"{}"), Err(BencodeError::Unexpected { offset: 0 }));
    }

    #[test]
    fn scanner_finds_the_end_of_any_value_however_it_is_cut() {
        let cases: &[&[u8]] =
            &[b"de", b"le", b"i-5e", b"4:ping", b"d1:ald1:b0:eli1eee1:ci2ee", b"lldeei1e0:1:xe"];
        for whole in cases {
            let followed = [whole, &b"t2 d7:command"[..]].concat();
            assert_eq!(Scanner::new().scan(&followed), Ok(whole.len()), "{whole:?}");
            let mut scanner = Scanner::new();
            for end in 0..whole.len() {
                assert_eq!(
                    scanner.scan(&followed[..end]),
                    Err(BencodeError::Incomplete),
                    "{whole:?}[..{end}]"
                );
            }
            assert_eq!(scanner.scan(&followed), Ok(whole.len()), "{whole:?} by single bytes");
        }
        for malformed in [&b"e"[..], b"d1:ae", b"di1ei2ee", b"{}", b"dl", b"l:", b"i5x"] {
            let found = Scanner::new().scan(malformed);
            assert!(matches!(found, Err(BencodeError::Unexpected { .. })), "{malformed:?}: {found:?}");
        }
    }

    #[test]
    fn bounds_the_digits_of_numbers() {
        for start in ["d1:ai", "d", "i-", ""] {
            let endless = format!("{start}{}", "0".repeat(MAX_DIGITS + 2));
            let found = Scanner::new().scan(endless.as_bytes());
            assert!(matches!(found, Err(BencodeError::Unexpected { .. })), "{start}: {found:?}");
        }
    }

    #[test]
    fn bounds_nesting() {
        let nested = |lists: usize| [b"d1:a".as_slice(), &vec![b'l'; lists], &vec![b'e'; lists + 1]].concat();
        assert!(decode(&nested(MAX_DEPTH - 1)).is_ok());
        assert!(dictionary_length(&nested(MAX_DEPTH - 1)).is_ok());
        assert_eq!(decode(&nested(MAX_DEPTH)), Err(BencodeError::TooDeep));
        assert_eq!(dictionary_length(&nested(MAX_DEPTH)), Err(BencodeError::TooDeep));
        let flood = [b"d1:a".as_slice(), &vec![b'l'; 65_536]].concat();
        assert_eq!(decode(&flood), Err(BencodeError::TooDeep));
    }

    #[test]
    fn keeps_the_order_of_keys_when_writing() {
        let mut out = b"c1 ".to_vec();
        let mut reply = Dict::new();
        reply.push("result", "ok").push("n", -5i64).push("a", vec![Value::Int(1)]).push("d", Dict::new());
        encode_dict(&reply, &mut out);
        assert_eq!(out, b"c1 d6:result2:ok1:ni-5e1:ali1ee1:ddee");
    }

    proptest! {
        #[test]
        fn decoding_reverses_encoding(dict in any_dict(proptest::collection::vec(any::<u8>(), 0..12).boxed())) {
            let mut bytes = Vec::new();
            encode_dict(&dict, &mut bytes);
            prop_assert_eq!(dictionary_length(&bytes), Ok(bytes.len()));
            prop_assert_eq!(Scanner::new().scan(&bytes), Ok(bytes.len()));
            prop_assert_eq!(decode_prefix(&bytes), Ok((dict.clone(), bytes.len())));
            prop_assert_eq!(decode(&bytes), Ok(dict));
        }

        #[test]
        fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&bytes);
            prop_assert_eq!(dictionary_length(&bytes), decode_prefix(&bytes).map(|(_, length)| length));
        }

        #[test]
        fn no_almost_valid_input_panics(text in "d[delit0-9:a-c]{0,60}") {
            let _ = decode(text.as_bytes());
            prop_assert_eq!(
                dictionary_length(text.as_bytes()),
                decode_prefix(text.as_bytes()).map(|(_, length)| length)
            );
        }
    }
}
