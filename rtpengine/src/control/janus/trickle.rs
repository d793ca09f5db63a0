//! Candidates that come one by one (RFC 8840): a `candidate` object → a fragment of SDP.

use serde_json::Value;

use super::envelope::Failure;
use super::number;
use crate::proto::sdp::is_candidate;

/// More sections than this no client has.
const MAX_INDEX: u64 = 127;

/// The fragment, or `None` when there is nothing that could be used.
///
/// # Errors
/// What is missing or malformed.
pub(super) fn fragment(candidate: Option<&Value>) -> Result<Option<String>, Failure> {
    let candidate = candidate.ok_or_else(|| Failure::missing("candidate"))?;
    let is_complete = candidate.get("completed").and_then(Value::as_bool).unwrap_or(false);
    let text = candidate.get("candidate").and_then(Value::as_str);
    let text = match text {
        Some(text) => text.trim(),
        None if is_complete => "",
        None => return Err(Failure::new(456, "ICE candidate string missing")),
    };
    let text = text.strip_prefix("a=").unwrap_or(text);
    let text = text.strip_prefix("candidate:").unwrap_or(text);
    let is_line = |text: &str| !text.is_empty() && !text.contains(['\r', '\n']);
    let mid = candidate.get("sdpMid").and_then(Value::as_str).filter(|mid| is_line(mid));
    let index = number(candidate.get("sdpMLineIndex"));
    if mid.is_none() && index.is_none() && !is_complete {
        return Err(Failure::new(456, "Neither sdpMid nor sdpMLineIndex given"));
    }
    let ufrag = candidate.get("usernameFragment").and_then(Value::as_str).filter(|ufrag| is_line(ufrag));
    let line = match text {
        "" => "a=end-of-candidates\r\n".to_owned(),
        text if !is_line(text) || !is_candidate(text) => {
            return Err(Failure::new(466, "Failed to parse trickle candidate"));
        }
        // Host names cannot be used; TCP neither.
        text if !is_usable(text) => return Ok(None),
        text => format!("a=candidate:{text}\r\n"),
    };
    let mut fragment = ufrag.map(|ufrag| format!("a=ice-ufrag:{ufrag}\r\n")).unwrap_or_default();
    match (mid, index) {
        (Some(mid), _) => fragment.push_str(&format!("m=audio 9 RTP/AVP 0\r\na=mid:{mid}\r\n")),
        // Sections are found by their number: those before it are empty.
        (None, Some(index)) if index <= MAX_INDEX => {
            (0..=index).for_each(|_| fragment.push_str("m=audio 9 RTP/AVP 0\r\n"));
        }
        (None, Some(_)) => return Ok(None),
        (None, None) => {}
    }
    Ok(Some(fragment + &line))
}

/// `<foundation> <component> <transport> <priority> <address> …`
fn is_usable(candidate: &str) -> bool {
    let mut words = candidate.split_ascii_whitespace().skip(2);
    let is_udp = words.next().is_some_and(|transport| transport.eq_ignore_ascii_case("udp"));
    is_udp && words.nth(1).is_some_and(|address| address.parse::<std::net::IpAddr>().is_ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn candidates_become_fragments() {
        let host = "1 1 UDP 1 192.0.2.1 5000 typ host";
        let line = format!("a=candidate:{host}\r\n");
        let cases = [
            (
                json!({"candidate": format!("candidate:{host}"), "sdpMid": "x", "sdpMLineIndex": 1}),
                format!("m=audio 9 RTP/AVP 0\r\na=mid:x\r\n{line}"),
            ),
            (
                json!({"candidate": host, "sdpMLineIndex": "1", "usernameFragment": "uf"}),
                format!("a=ice-ufrag:uf\r\nm=audio 9 RTP/AVP 0\r\nm=audio 9 RTP/AVP 0\r\n{line}"),
            ),
            (
                json!({"candidate": "", "sdpMid": "0"}),
                "m=audio 9 RTP/AVP 0\r\na=mid:0\r\na=end-of-candidates\r\n".into(),
            ),
            (json!({"completed": true}), "a=end-of-candidates\r\n".into()),
        ];
        for (candidate, expected) in cases {
            assert_eq!(fragment(Some(&candidate)), Ok(Some(expected)), "{candidate}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_told_apart_from_what_is_wrong() {
        for unusable in ["1 1 TCP 1 192.0.2.1 9 typ host", "1 1 UDP 1 abc.local 5000 typ host"] {
            assert_eq!(
                fragment(Some(&json!({"candidate": unusable, "sdpMid": "0"}))),
                Ok(None),
                "{unusable}"
            );
        }
        let cases = [
            (None, 456, "JSON object does not contain 'candidate' key"),
            (Some(json!("x")), 456, "ICE candidate string missing"),
            (
                Some(json!({"candidate": "1 1 UDP 1 192.0.2.1 5000 typ host"})),
                456,
                "Neither sdpMid nor sdpMLineIndex given",
            ),
            (Some(json!({"candidate": "garbage", "sdpMid": "0"})), 466, "Failed to parse trickle candidate"),
            (
                Some(json!({"candidate": "1 1 UDP 1 192.0.2.1 5000 typ host\r\nm=audio", "sdpMid": "0"})),
                466,
                "Failed to parse trickle candidate",
            ),
        ];
        for (candidate, code, reason) in cases {
            let expected = Err(Failure::new(code, reason));
            assert_eq!(fragment(candidate.as_ref()), expected, "{candidate:?}");
        }
    }
}
