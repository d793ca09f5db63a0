//! Requests of the OpenSER mediaproxy protocol: one line of words.

use std::net::{IpAddr, SocketAddr};

use crate::call::Message;

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// `request` and `lookup`
    Streams(StreamsRequest<'a>),
    /// `delete`, with the Call-ID.
    Delete(&'a str),
    /// `build` and `version`
    Version,
    /// `controls`
    Controls,
    /// `status`
    Status,
    /// `quit` and `exit`
    Quit,
}

/// Where the streams of a party go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamsRequest<'a> {
    /// Request or lookup.
    pub message: Message,
    /// Call-ID.
    pub call_id: &'a str,
    /// Endpoint and media type (empty: not said) of each section, in order.
    pub streams: Vec<(SocketAddr, &'a str)>,
    /// Of the caller's side, also in an answer.
    pub from_tag: Option<&'a str>,
    /// Of the other side.
    pub to_tag: Option<&'a str>,
}

/// Reads a line without its end. `None`: it is not a request.
pub fn parse(line: &str) -> Option<Request<'_>> {
    let words: Vec<&str> = line.split(' ').filter(|word| !word.is_empty()).collect();
    match words.as_slice() {
        ["request", rest @ ..] => streams(Message::Offer, rest),
        ["lookup", rest @ ..] => streams(Message::Answer, rest),
        ["delete", call_id, info] if info.starts_with("info=") => Some(Request::Delete(call_id)),
        ["build" | "version"] => Some(Request::Version),
        ["controls"] => Some(Request::Controls),
        ["status"] => Some(Request::Status),
        ["quit" | "exit"] => Some(Request::Quit),
        _ => None,
    }
}

fn streams<'a>(message: Message, words: &[&'a str]) -> Option<Request<'a>> {
    // Addresses, domains and types of the parties, and their agent: they must be there, no more.
    let [call_id, list, _, _, _, _, _, _, info] = words else { return None };
    let info = info.strip_prefix("info=")?;
    let value = |key: &str| {
        let pairs = info.split(',').filter_map(|pair| pair.split_once(':'));
        pairs.filter(|(name, _)| *name == key).map(|(_, value)| value).find(|value| !value.is_empty())
    };
    Some(Request::Streams(StreamsRequest {
        message,
        call_id,
        streams: list.split(',').map(stream).collect::<Option<_>>()?,
        from_tag: value("fromtag"),
        to_tag: value("totag"),
    }))
}

fn stream(text: &str) -> Option<(SocketAddr, &str)> {
    let mut parts = text.splitn(3, ':');
    let address: IpAddr = parts.next()?.parse().ok()?;
    let port = parts.next()?.parse().ok()?;
    Some((SocketAddr::new(address, port), parts.next().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_request_names_streams_and_tags() {
        let line = "request c1 127.0.0.1:20020:audio,127.0.0.1:20022 127.0.0.1 a local b remote agent \
                    info=domain:example.com,from:a@b,fromtag:aaa,totag:";
        let expected = StreamsRequest {
            message: Message::Offer,
            call_id: "c1",
            streams: vec![
                ("127.0.0.1:20020".parse().expect("literal"), "audio"),
                ("127.0.0.1:20022".parse().expect("literal"), ""),
            ],
            from_tag: Some("aaa"),
            to_tag: None,
        };
        assert_eq!(parse(line), Some(Request::Streams(expected)));
    }

    #[test]
    fn only_whole_lines_in_lower_case_are_requests() {
        let line = |streams: &str| format!("lookup c {streams} 127.0.0.1 a l b r ag info=fromtag:a");
        for streams in ["127.0.0.1:1:audio", "127.0.0.1:0"] {
            assert!(matches!(parse(&line(streams)), Some(Request::Streams(_))), "{streams}");
        }
        for wrong in [
            line("127.0.0.1"),
            line("127.0.0.1:1,"),
            line("127.0.0.1:65536"),
            line("host:1"),
            "request c 127.0.0.1:1 127.0.0.1 a l b r info=fromtag:a".into(),
            "VERSION".into(),
            "version now".into(),
            "delete c".into(),
            String::new(),
            "nonsense".into(),
        ] {
            assert_eq!(parse(&wrong), None, "{wrong}");
        }
        assert_eq!(parse("delete c info="), Some(Request::Delete("c")));
        assert_eq!(parse("exit"), Some(Request::Quit));
    }

    proptest! {
        #[test]
        fn any_line_is_read_without_panic(line in "\\PC{0,120}") {
            let _ = parse(&line);
        }
    }
}
