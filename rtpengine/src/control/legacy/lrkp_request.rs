//! Requests of the lrkproxy protocol: words with exactly one space between them, so that a word may be empty.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

/// A request without its cookie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// `P`
    Ping,
    /// `G`
    Configuration,
    /// `S`
    SetUp(Setup<'a>),
    /// `D`
    TearDown(TearDown<'a>),
}

/// A session with both its parties.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup<'a> {
    /// SIP's.
    pub call_id: &'a str,
    /// Where the caller receives.
    pub caller: SocketAddrV4,
    /// The relay's address that the caller is told.
    pub caller_relay: SocketAddrV4,
    /// Where the callee receives.
    pub callee: SocketAddrV4,
    /// The relay's address that the callee is told.
    pub callee_relay: SocketAddrV4,
    /// Without packets the session ends after that; `None`: not said.
    pub timeout: Option<Duration>,
}

/// A session to be ended. What was not known when the call failed is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TearDown<'a> {
    /// SIP's.
    pub call_id: &'a str,
    /// The relay's address that the callee is told.
    pub callee_relay: SocketAddrV4,
    /// The callee's host.
    pub callee_host: Option<Ipv4Addr>,
    /// The relay's address that the caller is told.
    pub caller_relay: Option<SocketAddrV4>,
    /// The caller's host.
    pub caller_host: Option<Ipv4Addr>,
}

/// Why a request cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    #[error("it is not UTF-8")]
    Encoding,
    #[error("unknown command")]
    Command,
    #[error("it has not 10 values with one space between them")]
    Values,
    #[error("{0} is not an IPv4 address")]
    Address(&'static str),
    #[error("{0} is not a port")]
    Port(&'static str),
}

/// Octets of a cookie, if there is one, and what stands behind it.
pub fn split_cookie(datagram: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = datagram.iter().position(|octet| *octet == b' ').filter(|end| *end > 0)?;
    Some((&datagram[..end], &datagram[end + 1..]))
}

/// Reads a request without its cookie.
///
/// # Errors
/// [`RequestError`]
pub fn parse(request: &[u8]) -> Result<Request<'_>, RequestError> {
    let text = std::str::from_utf8(request).map_err(|_| RequestError::Encoding)?;
    match text.trim_end_matches(['\r', '\n', '\0']) {
        "P" => return Ok(Request::Ping),
        "G" => return Ok(Request::Configuration),
        _ => {}
    }
    let mut words = text.split(' ');
    let command = words.next().unwrap_or_default();
    if !matches!(command, "S" | "D") {
        return Err(RequestError::Command);
    }
    let values: Vec<&str> = words.take(12).collect();
    let (caller, callee_relay, caller_relay, callee, timeout, call_id) = match values.as_slice() {
        [a, d, n, b, ap, dp, np, bp, timeout, call_id]
        | [a, d, n, b, ap, dp, np, bp, timeout, call_id, ""]
            if !call_id.is_empty() =>
        {
            ((*a, *ap), (*d, *dp), (*n, *np), (*b, *bp), timeout, *call_id)
        }
        _ => return Err(RequestError::Values),
    };
    let callee_relay = endpoint(callee_relay, ["DST_IP", "DST_PORT"])?;
    if command == "D" {
        // Those that are not known are empty; a port without its host says nothing.
        let host = |(host, _): (&str, &str)| host.parse().ok();
        return Ok(Request::TearDown(TearDown {
            call_id,
            callee_relay,
            callee_host: host(callee),
            caller_relay: endpoint(caller_relay, ["SNAT_IP", "SNAT_PORT"]).ok(),
            caller_host: host(caller),
        }));
    }
    Ok(Request::SetUp(Setup {
        call_id,
        caller: endpoint(caller, ["SRC_IP", "SRC_PORT"])?,
        caller_relay: endpoint(caller_relay, ["SNAT_IP", "SNAT_PORT"])?,
        callee: endpoint(callee, ["DNAT_IP", "DNAT_PORT"])?,
        callee_relay,
        timeout: timeout
            .parse()
            .ok()
            .filter(|seconds| *seconds > 0)
            .map(|s: u32| Duration::from_secs(s.into())),
    }))
}

fn endpoint(
    (host, port): (&str, &str),
    [host_name, port_name]: [&'static str; 2],
) -> Result<SocketAddrV4, RequestError> {
    let host = host.parse().map_err(|_| RequestError::Address(host_name))?;
    Ok(SocketAddrV4::new(host, port.parse().map_err(|_| RequestError::Port(port_name))?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn v4(text: &str) -> SocketAddrV4 {
        text.parse().expect("literal")
    }

    #[test]
    fn a_session_has_four_addresses() {
        let request = b"S 127.0.1.10 127.0.1.5 127.0.1.6 127.0.1.20 6000 20000 20002 7000 60 abc@h ";
        let expected = Setup {
            call_id: "abc@h",
            caller: v4("127.0.1.10:6000"),
            caller_relay: v4("127.0.1.6:20002"),
            callee: v4("127.0.1.20:7000"),
            callee_relay: v4("127.0.1.5:20000"),
            timeout: Some(Duration::from_secs(60)),
        };
        assert_eq!(parse(request), Ok(Request::SetUp(expected.clone())));
        assert_eq!(parse(request.trim_ascii_end()), Ok(Request::SetUp(expected)));
    }

    #[test]
    fn a_call_that_failed_is_torn_down_without_what_was_never_known() {
        let expected = TearDown {
            call_id: "abc@h",
            callee_relay: v4("127.0.1.5:20000"),
            callee_host: None,
            caller_relay: None,
            caller_host: Some(Ipv4Addr::new(127, 0, 1, 10)),
        };
        let request = b"D 127.0.1.10 127.0.1.5   6000 20000   60 abc@h ";
        assert_eq!(parse(request), Ok(Request::TearDown(expected)));
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (request, expected) in [
            ("", RequestError::Command),
            ("Z what", RequestError::Command),
            ("PONG", RequestError::Command),
            ("S 1 2", RequestError::Values),
            ("S a.b 127.0.0.1 127.0.0.1 c.d 1 2 3 4 5 x ", RequestError::Address("SRC_IP")),
            ("S ::1 127.0.0.1 127.0.0.1 127.0.0.1 1 2 3 4 5 x ", RequestError::Address("SRC_IP")),
            ("S 127.0.0.1 127.0.0.1 127.0.0.1 127.0.0.1 1 70000 3 4 5 x ", RequestError::Port("DST_PORT")),
            ("S 127.0.0.1 127.0.0.1 127.0.0.1 127.0.0.1 1 2 3 -4 5 x ", RequestError::Port("DNAT_PORT")),
            ("S 127.0.0.1  127.0.0.1 127.0.0.1 127.0.0.1 1 2 3 4 5 x ", RequestError::Values),
            ("S 127.0.0.1 127.0.0.1 127.0.0.1 127.0.0.1 1 2 3 4 5  ", RequestError::Values),
            ("S 127.0.0.1 127.0.0.1 127.0.0.1 127.0.0.1 1 2 3 4 5 x more ", RequestError::Values),
        ] {
            assert_eq!(parse(request.as_bytes()), Err(expected), "{request}");
        }
        assert_eq!(parse(b"S \xff"), Err(RequestError::Encoding));
    }

    #[test]
    fn cookies_are_anything_before_the_first_space() {
        assert_eq!(split_cookie(b"-77_1 P"), Some((&b"-77_1"[..], &b"P"[..])));
        assert_eq!(split_cookie(b"c  "), Some((&b"c"[..], &b" "[..])));
        assert_eq!(split_cookie(b" P"), None);
        assert_eq!(split_cookie(b"P"), None);
    }

    proptest! {
        #[test]
        fn any_octets_are_read_without_panic(octets in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = split_cookie(&octets);
            let _ = parse(&octets);
        }

        #[test]
        fn what_is_written_is_read(
            hosts in any::<[[u8; 4]; 4]>(), ports in any::<[u16; 4]>(), timeout in any::<u32>(), call in "[!-~]{1,60}",
        ) {
            let [a, d, n, b] = hosts.map(Ipv4Addr::from);
            let [ap, dp, np, bp] = ports;
            for (command, end) in [("S", " "), ("S", ""), ("D", " ")] {
                let text = format!("{command} {a} {d} {n} {b} {ap} {dp} {np} {bp} {timeout} {call}{end}");
                match parse(text.as_bytes()) {
                    Ok(Request::SetUp(setup)) => {
                        prop_assert_eq!(command, "S");
                        prop_assert_eq!((setup.caller, setup.callee), (SocketAddrV4::new(a, ap), SocketAddrV4::new(b, bp)));
                        prop_assert_eq!(setup.caller_relay, SocketAddrV4::new(n, np));
                        prop_assert_eq!(setup.callee_relay, SocketAddrV4::new(d, dp));
                        prop_assert_eq!(setup.timeout.map_or(0, |t| t.as_secs()), u64::from(timeout));
                        prop_assert_eq!(setup.call_id, call.as_str());
                    }
                    Ok(Request::TearDown(end)) => {
                        prop_assert_eq!(command, "D");
                        prop_assert_eq!(end.caller_relay, Some(SocketAddrV4::new(n, np)));
                        prop_assert_eq!(end.callee_host, Some(b));
                    }
                    other => prop_assert!(false, "{:?}", other),
                }
            }
        }
    }
}
