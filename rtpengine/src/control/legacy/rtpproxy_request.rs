//! Requests of the rtpproxy protocol: one line of words.

use std::net::{IpAddr, SocketAddr};

use crate::call::Message;

/// A request, without its cookie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// `V`
    Version,
    /// `VF`, with the date of a capability.
    Capability(&'a str),
    /// `U` and `L`
    Stream(StreamRequest<'a>),
    /// `D`
    Delete(Selection<'a>),
    /// `Q`
    Query(Selection<'a>),
    /// `U` or `L` that cannot be read otherwise: what the words say is echoed, so that the client keeps its media to itself.
    Unreadable {
        /// As sent.
        port: &'a str,
        /// As sent.
        address: &'a str,
    },
    /// Anything else.
    Invalid,
}

/// Where a stream of a party goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamRequest<'a> {
    /// Update or lookup.
    pub message: Message,
    /// The call and the tags; the first one is that of the caller's side, also in an answer.
    pub of: Selection<'a>,
    /// Address and port of the party.
    pub endpoint: SocketAddr,
    /// Position of the stream, from 0.
    pub position: usize,
    /// Sides of the message, if it names both: where it came from, where it goes.
    pub sides: Option<[Side; 2]>,
}

/// Flags `E` and `I`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// `E`
    External,
    /// `I`
    Internal,
}

/// A call, or a part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Selection<'a> {
    /// Call-ID.
    pub call_id: &'a str,
    /// Via branch.
    pub branch: Option<&'a str>,
    /// First tag.
    pub from_tag: &'a str,
    /// Second tag.
    pub to_tag: Option<&'a str>,
}

/// Cuts a line into cookie and request. `None`: there is no cookie.
pub fn parse(line: &str) -> Option<(&str, Request<'_>)> {
    let mut words = line.split_ascii_whitespace();
    let cookie = words.next()?;
    let words: Vec<&str> = words.collect();
    Some((cookie, strict(&words).unwrap_or_else(|| lenient(&words))))
}

fn strict<'a>(words: &[&'a str]) -> Option<Request<'a>> {
    let (command, arguments) = words.split_first()?;
    let mut letters = command.chars();
    let letter = letters.next()?.to_ascii_uppercase();
    let flags = letters.as_str();
    match (letter, arguments) {
        ('V', []) if flags.is_empty() => Some(Request::Version),
        ('V', [date]) if flags.eq_ignore_ascii_case("F") => Some(Request::Capability(date)),
        ('U', [call, address, port, from, rest @ ..]) if rest.len() <= 1 => {
            stream(Message::Offer, flags, call, (address, port), from, rest.first())
        }
        // Whatever stands behind the tags is no concern of ours.
        ('L', [call, address, port, from, to, ..]) => {
            stream(Message::Answer, flags, call, (address, port), from, Some(to))
        }
        ('D', [call, from, rest @ ..]) if rest.len() <= 1 => {
            selection(call, from, rest.first()).map(Request::Delete)
        }
        ('Q', [call, from, rest @ ..]) if rest.len() <= 1 => {
            selection(call, from, rest.first()).map(Request::Query)
        }
        _ => None,
    }
}

fn lenient<'a>(words: &[&'a str]) -> Request<'a> {
    match words {
        [command, _, address, port, ..] if command.starts_with(['U', 'u', 'L', 'l']) => {
            Request::Unreadable { port, address }
        }
        _ => Request::Invalid,
    }
}

fn stream<'a>(
    message: Message,
    flags: &str,
    call: &'a str,
    (address, port): (&str, &str),
    from: &'a str,
    to: Option<&&'a str>,
) -> Option<Request<'a>> {
    let (_, number) = numbered(from)?;
    if let Some(to) = to {
        numbered(to)?;
    }
    if !is_address(address) || !is_number(port) {
        return None;
    }
    // From here on the line has the right form; numbers that do not exist make it a wrong one.
    let read = || {
        let address: IpAddr = address.parse().ok()?;
        let number: usize = number.parse().ok()?;
        Some(Request::Stream(StreamRequest {
            message,
            of: selection(call, from, to)?,
            endpoint: SocketAddr::new(address.to_canonical(), port.parse().ok()?),
            position: number.saturating_sub(1),
            sides: sides(flags),
        }))
    };
    Some(read().unwrap_or(Request::Invalid))
}

fn selection<'a>(call: &'a str, from: &'a str, to: Option<&&'a str>) -> Option<Selection<'a>> {
    let (call_id, branch) = match call.split_once(';') {
        Some((call_id, branch)) => (call_id, Some(branch).filter(|branch| !branch.is_empty())),
        None => (call, None),
    };
    let tag = |word: &'a str| word.split_once(';').map_or(word, |(tag, _)| tag);
    (!call_id.is_empty()).then(|| Selection {
        call_id,
        branch,
        from_tag: tag(from),
        to_tag: to.map(|to| tag(to)).filter(|to| !to.is_empty()),
    })
}

/// A tag with the number of a stream.
fn numbered(word: &str) -> Option<(&str, &str)> {
    word.split_once(';').filter(|(_, number)| is_number(number))
}

fn is_number(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|octet| octet.is_ascii_digit())
}

fn is_address(word: &str) -> bool {
    let v4 = word.bytes().all(|octet| octet.is_ascii_digit() || octet == b'.');
    let v6 = word.bytes().all(|octet| octet.is_ascii_hexdigit() || matches!(octet, b':' | b'.'));
    !word.is_empty() && (v4 || v6 && word.contains(':'))
}

fn sides(flags: &str) -> Option<[Side; 2]> {
    let mut named = flags.chars().filter_map(|flag| match flag {
        'E' | 'e' => Some(Side::External),
        'I' | 'i' => Some(Side::Internal),
        _ => None,
    });
    Some([named.next()?, named.next()?])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(line: &str) -> Request<'_> {
        parse(line).expect("a cookie").1
    }

    #[test]
    fn an_update_says_where_a_stream_goes() {
        let expected = StreamRequest {
            message: Message::Offer,
            of: Selection { call_id: "a@b", branch: Some("z9"), from_tag: "f", to_tag: None },
            endpoint: "192.0.2.1:4000".parse().expect("literal"),
            position: 1,
            sides: Some([Side::Internal, Side::External]),
        };
        assert_eq!(
            parse("7_1 Uc0IxE a@b;z9 192.0.2.1 4000 f;2\r\n"),
            Some(("7_1", Request::Stream(expected.clone())))
        );
        let Request::Stream(first) = request("1 u  a 192.0.2.1\t4000 f;0") else { panic!("not read") };
        assert_eq!((first.position, first.sides, first.of.branch), (0, None, None));
        let Request::Stream(again) = request("1 U a 192.0.2.1 4000 f;1 t;1") else { panic!("not read") };
        assert_eq!(again.of.to_tag, Some("t"));
    }

    #[test]
    fn addresses_of_both_families_are_read() {
        for (word, expected) in [
            ("2001:db8::1", "[2001:db8::1]:4000"),
            ("::ffff:192.0.2.7", "192.0.2.7:4000"),
            ("0.0.0.0", "0.0.0.0:4000"),
        ] {
            let line = format!("c L a {word} 4000 f;1 t;1 and more");
            let Request::Stream(stream) = request(&line) else { panic!("{word} not read") };
            assert_eq!((stream.endpoint.to_string().as_str(), stream.message), (expected, Message::Answer));
        }
    }

    #[test]
    fn what_has_the_wrong_form_is_echoed_or_refused() {
        let echoed = Request::Unreadable { port: "bar", address: "foo" };
        for (line, expected) in [
            ("c U bad2 foo bar baz qux", echoed.clone()),
            ("c L bad2 foo bar", echoed),
            ("c U bad", Request::Invalid),
            ("c U a 192.0.2.1 4000", Request::Unreadable { port: "4000", address: "192.0.2.1" }),
            ("c U a 192.0.2.1 70000 f;1", Request::Invalid),
            ("c U a 192.0.2.999 4000 f;1", Request::Invalid),
            ("c U a 192.0.2.1 4000 f;99999999999999999999999", Request::Invalid),
            ("c X", Request::Invalid),
            ("c P a b c d", Request::Invalid),
            ("c D onlycall", Request::Invalid),
            ("garbage", Request::Invalid),
            ("c V", Request::Version),
            ("c vf 20040107", Request::Capability("20040107")),
            ("c VF", Request::Invalid),
        ] {
            assert_eq!(request(line), expected, "{line}");
        }
        assert_eq!(parse(" \r\n"), None);
    }

    proptest! {
        #[test]
        fn any_line_is_read_without_panic(line in "\\PC{0,80}") {
            let _ = parse(&line);
        }

        #[test]
        fn what_is_written_is_read(
            call in "[a-z0-9@.-]{1,20}", port in any::<u16>(), number in 0usize..100, from in "[a-z0-9]{1,8}",
        ) {
            let line = format!("1_2 U {call} 192.0.2.1 {port} {from};{number}");
            let Some((_, Request::Stream(stream))) = parse(&line) else { panic!("{line}") };
            prop_assert_eq!(stream.of.call_id, call.as_str());
            prop_assert_eq!(stream.endpoint.port(), port);
            prop_assert_eq!(stream.position, number.saturating_sub(1));
        }
    }
}
