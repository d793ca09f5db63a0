//! `a=candidate` (RFC 8839 §5.1).

use smol_str::SmolStr;

use std::fmt;

use crate::proto::sdp::model::Candidate;

/// `None` when a mandatory field is missing or not a number; extensions are ignored.
pub(crate) fn parse(text: &str) -> Option<Candidate> {
    let mut words = text.split_ascii_whitespace();
    let mut candidate = Candidate {
        foundation: words.next()?.into(),
        component: words.next()?.parse().ok()?,
        transport: words.next()?.into(),
        priority: words.next()?.parse().ok()?,
        address: words.next()?.into(),
        port: words.next()?.parse().ok()?,
        kind: String::new().into(),
        related: None,
    };
    if words.next()? != "typ" {
        return None;
    }
    candidate.kind = words.next()?.into();
    let (mut address, mut port) = (None, None);
    while let (Some(key), Some(value)) = (words.next(), words.next()) {
        match key {
            "raddr" => address = Some(SmolStr::new(value)),
            "rport" => port = value.parse().ok(),
            _ => {}
        }
    }
    candidate.related = address.zip(port);
    Some(candidate)
}

impl fmt::Display for Candidate {
    /// The attribute value, without `candidate:`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Candidate { foundation, component, transport, priority, address, port, kind, related } = self;
        write!(f, "{foundation} {component} {transport} {priority} {address} {port} typ {kind}")?;
        if let Some((address, port)) = related {
            write!(f, " raddr {address} rport {port}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_come_back_as_written() {
        for text in [
            "h1 1 UDP 2130706431 192.0.2.33 30000 typ host",
            "s1 2 udp 1694498815 198.51.100.133 30000 typ srflx raddr 192.0.2.33 rport 30000",
            "t 1 TCP 1 abc.local 9 typ host",
        ] {
            assert_eq!(parse(text).unwrap().to_string(), text);
        }
        let extended = parse("1 1 tcp 5 192.0.2.1 9 typ host tcptype active generation 0").unwrap();
        assert_eq!(extended.to_string(), "1 1 tcp 5 192.0.2.1 9 typ host");
    }

    #[test]
    fn missing_fields_are_refused() {
        for bad in [
            "bad",
            "1 1 UDP 5 192.0.2.1 9",
            "1 1 UDP 5 192.0.2.1 9 type host",
            "1 x UDP 5 192.0.2.1 9 typ host",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
