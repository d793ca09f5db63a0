//! Attributes that are one or two words.

use std::net::IpAddr;

use smol_str::SmolStr;

use crate::proto::sdp::model::{ExtMap, Group, RtcpAttribute, Setup};

/// A value that is kept as text; `None` when it is empty.
pub(super) fn token(text: &str) -> Option<SmolStr> {
    let text = text.trim();
    (!text.is_empty()).then(|| text.into())
}

/// `a=rtcp:<port> [IN IP4|IP6 <address>]` (RFC 3605).
pub(super) fn rtcp(text: &str) -> Option<RtcpAttribute> {
    let mut words = text.split_ascii_whitespace();
    let port = words.next()?.parse().ok().filter(|port| *port != 0)?;
    let address = match (words.next(), words.next(), words.next()) {
        (Some("IN"), Some(family), Some(address)) => Some(ip_address(family, address)?),
        _ => None,
    };
    Some(RtcpAttribute { port, address })
}

/// An address whose family is the announced one.
pub(in crate::proto::sdp) fn ip_address(family: &str, address: &str) -> Option<IpAddr> {
    let address: IpAddr = address.parse().ok()?;
    match (family, address) {
        ("IP4", IpAddr::V4(_)) | ("IP6", IpAddr::V6(_)) => Some(address),
        _ => None,
    }
}

/// `a=setup:` (RFC 4145).
pub(super) fn setup(text: &str) -> Option<Setup> {
    Setup::from_name(text.trim())
}

/// `a=ptime:`, `a=maxptime:`; a fraction is cut off, 0 is no packet time.
pub(super) fn milliseconds(text: &str) -> Option<u16> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).map_or(text, |end| &text[..end]);
    digits.parse().ok().filter(|ms| *ms != 0)
}

/// `a=extmap:<id>[/<direction>] <uri> [<arguments>]` (RFC 8285); 0 and 15 are reserved.
pub(super) fn extmap(text: &str) -> Option<ExtMap> {
    let mut words = text.split_ascii_whitespace();
    let id = words.next()?;
    let id: u16 = id.split_once('/').map_or(id, |(id, _)| id).parse().ok()?;
    let uri = words.next()?.to_owned();
    matches!(id, 1..=14 | 16..=255).then_some(ExtMap { id, uri: uri.into() })
}

/// `a=group:<semantics> <mid>…` (RFC 5888).
pub(super) fn group(text: &str) -> Option<Group> {
    let mut words = text.split_ascii_whitespace().map(SmolStr::new);
    Some(Group { semantics: words.next()?, mids: words.collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rtcp_takes_port_and_matching_address() {
        let plain = RtcpAttribute { port: 17000, address: None };
        assert_eq!(rtcp("17000"), Some(plain));
        assert_eq!(rtcp("17000 IN IP4 192.0.2.1").unwrap().address, "192.0.2.1".parse().ok());
        for bad in ["", "x", "70000", "0", "17000 IN IP6 192.0.2.1", "17000 IN IP4 host"] {
            assert_eq!(rtcp(bad), None, "{bad}");
        }
    }

    #[test]
    fn extmap_ids_outside_the_ranges_are_refused() {
        assert_eq!(extmap("2/sendonly urn:x arg").unwrap(), ExtMap { id: 2, uri: "urn:x".into() });
        for bad in ["0 u", "15 u", "256 u", "-1 u", "x u", "3"] {
            assert_eq!(extmap(bad), None, "{bad}");
        }
    }

    #[test]
    fn packet_time_is_cut_at_the_fraction() {
        for (text, expected) in
            [("20", Some(20)), (" 30.5", Some(30)), ("0", None), ("x", None), ("99999", None)]
        {
            assert_eq!(milliseconds(text), expected, "{text}");
        }
    }
}
