//! Messages of the ng protocol on a byte stream: `cookie SP value`, one directly behind the other.
//!
//! A bencode value delimits itself. What is neither a cookie nor bencode cannot be skipped, because nothing tells where
//! the next message starts: such octets are counted, and after [`MAX_GARBAGE`] of them the stream is given up. So JSON gets no
//! answer here.

use crate::proto::bencode::{BencodeError, Scanner};

/// Octets, counted from the end of the last message, that may be waiting without being the start of a message.
pub const MAX_GARBAGE: usize = 1024;

/// Capacity that is kept between messages.
const KEPT_CAPACITY: usize = 64 << 10;

/// Why nothing more can be read from a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FramingError {
    /// More than [`MAX_GARBAGE`] octets that cannot be a message.
    #[error("{octets} octets that cannot be a message")]
    Garbage {
        /// How many there are.
        octets: usize,
    },
    /// A message that is longer than allowed.
    #[error("message is longer than {limit} octets")]
    TooLong {
        /// What is allowed.
        limit: usize,
    },
}

/// Cuts a byte stream into messages. Its cost is linear in the octets received, however they are cut.
#[derive(Debug)]
pub struct Framer {
    buffer: Vec<u8>,
    /// Where the current message starts.
    start: usize,
    state: State,
    limit: usize,
}

#[derive(Debug)]
enum State {
    /// No space yet in so many octets.
    Cookie { searched: usize },
    /// The value starts at this offset of the message.
    Value { offset: usize, scanner: Scanner },
    /// Malformed: nothing will come any more.
    Lost,
}

const FRESH: State = State::Cookie { searched: 0 };

impl Framer {
    /// For messages of at most `limit` octets.
    pub fn new(limit: usize) -> Self {
        Framer { buffer: Vec::new(), start: 0, state: FRESH, limit }
    }

    /// Appends what was received; [`next_message`](Self::next_message) is called next, until it gives `None`.
    pub fn push(&mut self, octets: &[u8]) {
        self.buffer.drain(..self.start);
        self.start = 0;
        if self.buffer.is_empty() && self.buffer.capacity() > KEPT_CAPACITY {
            self.buffer = Vec::with_capacity(octets.len());
        }
        self.buffer.extend_from_slice(octets);
    }

    /// The next complete message, cookie and value.
    ///
    /// # Errors
    /// When the stream cannot be read any further; see [`FramingError`].
    pub fn next_message(&mut self) -> Result<Option<&[u8]>, FramingError> {
        let waiting = self.buffer.get(self.start..).unwrap_or_default();
        if let State::Cookie { searched } = &mut self.state {
            let found = waiting.iter().skip(*searched).position(|&octet| octet == b' ');
            match found.map(|position| *searched + position) {
                Some(space) if space <= MAX_GARBAGE => {
                    self.state = State::Value { offset: space + 1, scanner: Scanner::new() };
                }
                Some(_) => self.state = State::Lost,
                None => *searched = waiting.len(),
            }
        }
        if let State::Value { offset, scanner } = &mut self.state {
            match scanner.scan(waiting.get(*offset..).unwrap_or_default()) {
                Ok(length) if *offset + length <= self.limit => {
                    let message = self.start..self.start + *offset + length;
                    self.start = message.end;
                    self.state = FRESH;
                    return Ok(self.buffer.get(message));
                }
                Err(BencodeError::Incomplete) if waiting.len() < self.limit => return Ok(None),
                Ok(_) | Err(BencodeError::Incomplete) => {
                    return Err(FramingError::TooLong { limit: self.limit });
                }
                Err(_) => self.state = State::Lost,
            }
        }
        if waiting.len() > MAX_GARBAGE {
            return Err(FramingError::Garbage { octets: waiting.len() });
        }
        Ok(None)
    }

    /// Whether something is waiting that is no whole message.
    pub fn is_inside_message(&self) -> bool {
        self.buffer.len() > self.start
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: usize = 100_000;

    /// Everything that comes out when the stream arrives in these pieces.
    fn cut<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Vec<u8>>, Result<(), FramingError>) {
        let mut framer = Framer::new(LIMIT);
        let mut messages = Vec::new();
        for piece in pieces {
            framer.push(piece);
            loop {
                match framer.next_message() {
                    Ok(Some(message)) => messages.push(message.to_vec()),
                    Ok(None) => break,
                    Err(error) => return (messages, Err(error)),
                }
            }
        }
        (messages, Ok(()))
    }

    #[test]
    fn streams_are_cut_into_messages() {
        let ping = "d7:command4:pinge";
        let blob = format!("b d4:blob{}:{}e", 50_000, "x".repeat(50_000));
        let cases: &[(&str, String, Vec<String>)] = &[
            ("one", format!("a {ping}"), vec![format!("a {ping}")]),
            ("two", format!("a {ping}b {ping}"), vec![format!("a {ping}"), format!("b {ping}")]),
            (
                "a line end belongs to the next cookie",
                format!("a {ping}\nb de"),
                vec![format!("a {ping}"), "\nb de".into()],
            ),
            ("no cookie", format!(" {ping}b de"), vec![format!(" {ping}"), "b de".into()]),
            (
                "other values than dictionaries",
                "a leb i1ec 1:xd de".into(),
                vec!["a le".into(), "b i1e".into(), "c 1:x".into(), "d de".into()],
            ),
            ("incomplete", "a d7:command4:pin".into(), vec![]),
            ("JSON", format!("a {{\"command\":\"ping\"}}b {ping}"), vec![]),
            ("two spaces", format!("a  {ping}"), vec![]),
            ("malformed", format!("a dei5e b d1:ae c {ping}"), vec!["a de".into()]),
            ("longer than garbage may be", format!("{blob}c de"), vec![blob.clone(), "c de".into()]),
        ];
        for (name, stream, expected) in cases {
            let expected: Vec<_> = expected.iter().map(|text| text.as_bytes().to_vec()).collect();
            assert_eq!(cut([stream.as_bytes()]), (expected.clone(), Ok(())), "{name}");
            assert_eq!(cut(stream.as_bytes().chunks(1)), (expected, Ok(())), "{name}, octet by octet");
        }
    }

    #[test]
    fn garbage_ends_the_stream_beyond_its_bound() {
        let exactly = "x".repeat(MAX_GARBAGE);
        assert_eq!(cut([exactly.as_bytes()]), (vec![], Ok(())));
        for (name, stream) in [
            ("no space", format!("{exactly}x")),
            ("cookie too long", format!("{exactly}x de")),
            ("JSON", format!("a {{{exactly}")),
            ("malformed", format!("a dx{exactly}")),
        ] {
            for pieces in [vec![stream.as_bytes()], stream.as_bytes().chunks(7).collect()] {
                let (messages, end) = cut(pieces);
                assert!(messages.is_empty(), "{name}");
                assert!(matches!(end, Err(FramingError::Garbage { .. })), "{name}: {end:?}");
            }
        }
    }

    #[test]
    fn endless_messages_end_the_stream() {
        let endless = [&b"a d1:a9000000:"[..], &vec![b'x'; LIMIT]].concat();
        assert_eq!(cut([&endless[..]]).1, Err(FramingError::TooLong { limit: LIMIT }));
        let complete = format!("a {LIMIT}:{}", "x".repeat(LIMIT));
        assert_eq!(cut([complete.as_bytes()]).1, Err(FramingError::TooLong { limit: LIMIT }));
    }

    #[test]
    fn many_small_values_in_small_pieces_cost_linear_time() {
        let mut stream = b"a l".to_vec();
        stream.resize(LIMIT - 1, b'0');
        for (i, octet) in stream.iter_mut().enumerate().skip(4) {
            *octet = if i % 2 == 0 { b':' } else { b'0' };
        }
        let mut framer = Framer::new(LIMIT);
        let started = std::time::Instant::now();
        for octet in stream.chunks(1) {
            framer.push(octet);
            assert_eq!(framer.next_message(), Ok(None));
        }
        assert!(started.elapsed() < std::time::Duration::from_secs(2), "{:?}", started.elapsed());
        framer.push(b"e");
        assert!(framer.is_inside_message());
        assert_eq!(framer.next_message().map(|message| message.map(<[u8]>::len)), Ok(Some(LIMIT)));
        assert!(!framer.is_inside_message());
    }

    fn message() -> impl Strategy<Value = Vec<u8>> {
        let value = prop_oneof![
            Just("de".to_owned()),
            "[a-z ]{0,30}".prop_map(|text| format!("{}:{text}", text.len())),
            any::<i64>().prop_map(|number| format!("d1:ai{number}ee")),
            proptest::collection::vec("[a-z]{0,5}", 0..5).prop_map(|texts| {
                let items: String = texts.iter().map(|text| format!("{}:{text}", text.len())).collect();
                format!("d4:listl{items}ee")
            }),
        ];
        ("[!-~]{0,12}", value).prop_map(|(cookie, value)| format!("{cookie} {value}").into_bytes())
    }

    proptest! {
        #[test]
        fn messages_come_out_as_they_were_put_in(
            messages in proptest::collection::vec(message(), 0..12),
            piece in 1usize..40,
        ) {
            let stream = messages.concat();
            prop_assert_eq!(cut(stream.chunks(piece)), (messages, Ok(())));
        }

        #[test]
        fn pieces_make_no_difference(
            stream in "[ deli0-9:a\\{]{0,200}",
            piece in 1usize..20,
        ) {
            prop_assert_eq!(cut(stream.as_bytes().chunks(piece)), cut([stream.as_bytes()]));
        }

        #[test]
        fn no_stream_panics(stream in proptest::collection::vec(any::<u8>(), 0..3000), piece in 1usize..2000) {
            let _ = cut(stream.chunks(piece));
        }
    }
}
