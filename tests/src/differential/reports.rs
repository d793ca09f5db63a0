//! Calls of a kind of their own, whose reports (`query`, `delete`) are compared in more detail than those of generated calls: every flag
//! that both series mean the same by, after every message.

use serde_json::{Value, json};

use super::canonical::diff;
use super::run::Pair;
use super::tree::full_tree;

/// A call: its name, and what is asked in turn. Call-ids are added.
pub struct ReportedCall {
    /// Part of the call-id.
    pub name: &'static str,
    /// Makes the requests.
    pub requests: fn() -> Vec<Value>,
    /// Before the answer 10.x and newer series report something else (see [`CALLS`]); compared from then on.
    pub from_answer: bool,
}

const KEYS: [&str; 2] = [
    "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:QjnnaukxQ1Fh+qAIRPxGdbx0SDoS+wHkM5WnpG0O",
    "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:AjnnaukxQ1Fh+qAIRPxGdbx0SDoS+wHkM5WnpG0O",
];
const FINGERPRINT: &str = "a=setup:actpass\r\na=fingerprint:sha-256 \
    00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF";

/// The calls.
pub const CALLS: &[ReportedCall] = &[
    call("plain", false, || call_with(&json!({}))),
    call("strict", false, || call_with(&json!({"flags": ["strict-source"]}))),
    call("handover", false, || call_with(&json!({"flags": ["media-handover"]}))),
    call("both-kinds", false, || call_with(&json!({"flags": ["strict source", "media handover"]}))),
    call("asymmetric", false, || call_with(&json!({"flags": ["asymmetric"]}))),
    call("unidirectional", false, || call_with(&json!({"flags": ["unidirectional"]}))),
    call("labels", false, || call_with(&json!({"label": "someone"}))),
    call("sip-source", false, || {
        call_with(&json!({"flags": ["SIP-source-address"], "received-from": ["IP4", "192.0.2.77"]}))
    }),
    // Newer series say that they convert as soon as they may have to, 10.x when they do.
    call("transcoded", true, || {
        let offer = offer(
            &sdp(Caller, "RTP/AVP 0 8", ""),
            &json!({"codec": {"mask": ["PCMU"], "transcode": ["G722"]}}),
        );
        vec![offer, answer(&sdp(Callee, "RTP/AVP 9", ""), &json!({})), delete()]
    }),
    // 10.x shows both roles of DTLS, which the other side may be offered as well, newer series the one that is settled.
    call("sdes", true, || {
        let offer = offer(&sdp(Caller, "RTP/SAVP 0 8", KEYS[0]), &json!({}));
        vec![offer, answer(&sdp(Callee, "RTP/SAVP 0", KEYS[1]), &json!({})), delete()]
    }),
    call("sdes-to-plain", false, || {
        let offer = offer(&sdp(Caller, "RTP/SAVP 0 8", KEYS[0]), &json!({"transport-protocol": "RTP/AVP"}));
        vec![offer, answer(&sdp(Callee, "RTP/AVP 0", ""), &json!({})), delete()]
    }),
    call("dtls-to-plain", true, || {
        let offer =
            offer(&sdp(Caller, "UDP/TLS/RTP/SAVP 0", FINGERPRINT), &json!({"transport-protocol": "RTP/AVP"}));
        vec![offer, answer(&sdp(Callee, "RTP/AVP 0", ""), &json!({})), delete()]
    }),
    // 10.x takes an offered rtcp-mux for an agreed one.
    call("mux", true, || {
        let offer = offer(&sdp(Caller, "RTP/AVP 0", "a=rtcp-mux"), &json!({}));
        vec![offer, answer(&sdp(Callee, "RTP/AVP 0", "a=rtcp-mux"), &json!({})), delete()]
    }),
    call("held", false, || {
        let held = offer(&sdp(Caller, "RTP/AVP 0", "a=sendonly"), &json!({"to-tag": "tt"}));
        let [offer, answered, end] = call_with(&json!({})).try_into().unwrap_or_default();
        vec![offer, answered, held, answer(&sdp(Callee, "RTP/AVP 0", "a=recvonly"), &json!({})), end]
    }),
    call("subscribed", false, || {
        let [offer, answered, end] = call_with(&json!({})).try_into().unwrap_or_default();
        let request = json!({"command": "subscribe request", "from-tag": "ft", "to-tag": "ss"});
        let description = sdp(Listener, "RTP/AVP 0", "a=recvonly");
        let taken = json!({"command": "subscribe answer", "to-tag": "ss", "sdp": description});
        vec![offer, answered, request, taken, json!({"command": "unsubscribe", "to-tag": "ss"}), end]
    }),
    call("published", false, || {
        let description = sdp(Caller, "RTP/AVP 0 8", "a=sendonly");
        let publish = json!({"command": "publish", "from-tag": "pp", "sdp": description});
        let request = json!({"command": "subscribe request", "from-tag": "pp", "to-tag": "ss"});
        let description = sdp(Listener, "RTP/AVP 0", "a=recvonly");
        vec![publish, request, json!({"command": "subscribe answer", "to-tag": "ss", "sdp": description})]
    }),
];

use Phone::{Callee, Caller, Listener};

#[derive(Clone, Copy)]
enum Phone {
    Caller,
    Callee,
    Listener,
}

const fn call(name: &'static str, from_answer: bool, requests: fn() -> Vec<Value>) -> ReportedCall {
    ReportedCall { name, requests, from_answer }
}

fn sdp(phone: Phone, media: &str, attributes: &str) -> String {
    let (host, port) = match phone {
        Caller => ("192.0.2.11", 6384),
        Callee => ("198.51.100.22", 6002),
        Listener => ("198.51.100.33", 6202),
    };
    let (transport, formats) = media.split_once(' ').unwrap_or((media, ""));
    let end = if attributes.is_empty() { "" } else { "\r\n" };
    format!(
        "v=0\r\no=desk 1001 1 IN IP4 {host}\r\ns=call\r\nc=IN IP4 {host}\r\nt=0 0\r\nm=audio {port} {transport} {formats}\r\n{attributes}{end}"
    )
}

fn with(mut request: Value, more: &Value) -> Value {
    if let (Some(keys), Some(more)) = (request.as_object_mut(), more.as_object()) {
        keys.extend(more.clone());
    }
    request
}

fn offer(sdp: &str, more: &Value) -> Value {
    with(json!({"command": "offer", "from-tag": "ft", "sdp": sdp}), more)
}

fn answer(sdp: &str, more: &Value) -> Value {
    with(json!({"command": "answer", "from-tag": "ft", "to-tag": "tt", "sdp": sdp}), more)
}

fn delete() -> Value {
    json!({"command": "delete", "from-tag": "ft"})
}

/// Offer, answer, delete, with these keys in both messages.
fn call_with(keys: &Value) -> Vec<Value> {
    let (caller, callee) = (sdp(Caller, "RTP/AVP 0 8", ""), sdp(Callee, "RTP/AVP 0", ""));
    vec![offer(&caller, keys), answer(&callee, keys), delete()]
}

/// Plays a call and compares the report after every message; how many reports were equal.
///
/// # Errors
/// The message after which they differ, and how.
pub fn compare(pair: &Pair, call: &ReportedCall) -> Result<usize, String> {
    let call_id = format!("report-{}-{}", call.name, std::process::id());
    let (mut equal, mut answered) = (0, !call.from_answer);
    let differ = |command: &str, what: &str| Err(format!("{} after {command}: {what}", call.name));
    for request in (call.requests)() {
        let request = with(request, &json!({"call-id": call_id}));
        let command = request["command"].as_str().unwrap_or_default().to_owned();
        let [Some(theirs), Some(ours)] = pair.both(&request) else { return differ(&command, "no reply") };
        if theirs["result"] != "ok" || ours["result"] != "ok" {
            return differ(&command, &format!("- {theirs}\n+ {ours}"));
        }
        answered |= command == "answer";
        let reports = match command.as_str() {
            "delete" => [theirs, ours],
            _ => match pair.both(&json!({"command": "query", "call-id": call_id})) {
                [Some(theirs), Some(ours)] => [theirs, ours],
                _ => return differ(&command, "no report"),
            },
        };
        let [theirs, mut ours] = reports;
        if command == "delete" {
            only_known(&theirs, &mut ours);
        }
        let [theirs, ours] = [theirs, ours].map(|report| full_tree(&report));
        if answered && theirs != ours {
            return differ(&command, &diff(&theirs, &ours));
        }
        equal += usize::from(answered);
    }
    pair.both(&json!({"command": "delete", "call-id": call_id}));
    Ok(equal)
}

/// What 10.x says at the end of a call is about those only who took part in offer and answer; newer series list everybody.
fn only_known(theirs: &Value, ours: &mut Value) {
    let known = theirs["tags"].as_object();
    if let (Some(known), Some(ours)) = (known, ours["tags"].as_object_mut()) {
        ours.retain(|tag, _| known.contains_key(tag));
    }
}
