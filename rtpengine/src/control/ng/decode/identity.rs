//! Who talks, and which parties and calls are meant (sections 2 and 3 of the request).

use super::read::{choose, choose_value, each_string, set_address, set_text, strings, text};
use super::{Decoder, Key, ignored};
use crate::control::ng::request::RequestError;
use crate::negotiate::signal::{AliasKey, AllSelector, SipMessage};
use crate::proto::value::Value;

pub(super) const KEYS: &[Key] = &[
    // Read before everything else.
    (&["command"], |_, _| {}),
    (&["call-id", "call-ID", "call id", "call ID"], |d, v| set_text(&mut d.signal.identity.call_id, v)),
    (&["from-tag", "from tag"], |d, v| set_text(&mut d.signal.identity.from_tag, v)),
    (&["to-tag", "to_tag", "to tag"], |d, v| set_text(&mut d.signal.identity.to_tag, v)),
    (&["via-branch"], |d, v| {
        set_text(&mut d.signal.identity.via_branch, v);
        d.signal.identity.via_branch.take_if(|branch| branch.is_empty());
    }),
    (&["sdp", "SDP"], |d, v| d.signal.sdp = v.as_bytes().map(<[u8]>::to_vec).or_else(|| d.signal.sdp.take())),
    (&["label", "from-label", "from label"], |d, v| set_text(&mut d.signal.identity.label, v)),
    (&["set-label", "set label"], |d, v| set_text(&mut d.signal.identity.set_label, v)),
    (&["to-label", "to label"], |d, v| set_text(&mut d.signal.identity.to_label, v)),
    (&["address"], |d, v| set_text(&mut d.signal.selection.address, v)),
    (&["from-tags", "from tags"], |d, v| d.signal.selection.from_tags.extend(strings(v))),
    (&["calls"], |d, v| d.signal.selection.calls.extend(strings(v))),
    (&["tags"], mesh_tags),
    (&["to-call-id", "to call id"], |d, v| set_text(&mut d.signal.selection.to_call_id, v)),
    (&["source-tag", "source tag"], |d, v| set_text(&mut d.signal.selection.source_tag, v)),
    (&["source-call-id", "source-call-ID", "source call id", "source call ID"], |d, v| {
        set_text(&mut d.signal.selection.source_call_id, v)
    }),
    (&["alias-key"], |d, v| {
        if let Some(alias_key) = choose_value("alias-key", v, ALIAS_KEY) {
            d.signal.identity.alias_key = alias_key;
        }
    }),
    (&["all"], |d, v| {
        if let Some(all) = choose_value("all", v, ALL) {
            d.signal.flags.all = all;
        }
    }),
    (&["instance"], |d, v| set_text(&mut d.signal.identity.instance, v)),
    (&["metadata"], |d, v| set_text(&mut d.signal.identity.metadata, v)),
    (&["xmlrpc-callback", "XMLRPC-callback"], |d, v| {
        set_address("xmlrpc-callback", &mut d.signal.identity.xmlrpc_callback, v)
    }),
    (&["supports"], |d, v| {
        each_string(v, |word| match word {
            "load limit" => d.signal.identity.supports_load_limit = true,
            _ => ignored("supports", word),
        })
    }),
    (
        &[
            "sip-message-type",
            "SIP-message-type",
            "sip_message_type",
            "SIP_message_type",
            "sip message type",
            "SIP message type",
        ],
        |d, v| {
            let word = text(v);
            if let Some(message) = word.and_then(|word| choose("sip-message-type", &word, SIP_MESSAGE)) {
                d.signal.identity.sip_message = Some(message);
            }
        },
    ),
    (
        &[
            "sip-code",
            "SIP-code",
            "sip_code",
            "SIP_code",
            "sip code",
            "SIP code",
            "sip-response-code",
            "SIP-response-code",
            "sip_response_code",
            "SIP_response_code",
            "sip response code",
            "SIP response code",
        ],
        |d, v| {
            if let Some(code) = v.as_int().and_then(|code| u32::try_from(code).ok()) {
                d.signal.identity.sip_code = Some(code);
            }
        },
    ),
    (&["delete-delay", "delete delay", "delete_delay"], |d, v| {
        super::read::set_int(&mut d.signal.deletion.delay_s, v)
    }),
];

pub(super) const ALIAS_KEY: &[(&[&str], AliasKey)] = &[
    (&["none", "off", "no"], AliasKey::None),
    (&["SDP", "sdp"], AliasKey::Sdp),
    (&["address", "endpoint"], AliasKey::Address),
];

pub(super) const ALL: &[(&[&str], AllSelector)] = &[
    (&["all"], AllSelector::All),
    (&["none"], AllSelector::None),
    (&["offer-answer"], AllSelector::OfferAnswer),
    (&["not-offer-answer", "non-offer-answer", "except-offer-answer"], AllSelector::ExceptOfferAnswer),
    (&["flows"], AllSelector::Flows),
];

pub(super) const SIP_MESSAGE: &[(&[&str], SipMessage)] = &[
    (
        &[
            "request",
            "sip-request",
            "sip_request",
            "SIP-request",
            "SIP_request",
            "sip request",
            "SIP request",
        ],
        SipMessage::Request,
    ),
    (
        &[
            "reply",
            "sip-response",
            "sip_response",
            "SIP-response",
            "SIP_response",
            "sip response",
            "SIP response",
            "sip-reply",
            "sip_reply",
            "SIP-reply",
            "SIP_reply",
            "sip reply",
            "SIP reply",
        ],
        SipMessage::Reply,
    ),
];

/// `tags` of `mesh`: a list of `{from, to: […]}`.
fn mesh_tags(decoder: &mut Decoder<'_>, value: &Value) {
    let Value::List(entries) = value else { return ignored("tags", "not a list") };
    for entry in entries {
        let from = match entry {
            Value::Dict(entry) => entry.get("from").and_then(text).filter(|from| !from.is_empty()),
            _ => None,
        };
        let (Some(from), Value::Dict(entry)) = (from, entry) else {
            return decoder.fail(RequestError::MissingFromTag);
        };
        let to = entry.get("to").map(strings).unwrap_or_default();
        decoder.signal.selection.tags.push((from, to));
    }
}
