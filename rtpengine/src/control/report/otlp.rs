//! OpenTelemetry: a trace of each call that has ended, as OTLP/HTTP in JSON.
//!
//! A call is a span; its parties are children of it, their media sections children of those. The trace id is made of the Call-ID alone, so that
//! others who know the Call-ID can add to the same trace.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use sha1::{Digest, Sha1};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::xmlrpc;
use crate::call::{EndReason, EndedReport, MediaDump, PartyDump};
use crate::config::OtlpConfig;

/// Calls that wait to be sent.
const QUEUE: usize = 4096;
/// Calls of one request.
const BATCH: usize = 100;
/// How long calls gather.
const GATHER: Duration = Duration::from_millis(500);
/// For one request.
const LIMIT: Duration = Duration::from_secs(5);
/// `SPAN_KIND_SERVER`
const SERVER: u8 = 2;
/// `SPAN_KIND_INTERNAL`
const INTERNAL: u8 = 1;
/// `STATUS_CODE_ERROR`
const ERROR: u8 = 2;

/// Takes calls and sends them.
#[derive(Clone, Debug)]
pub struct Otlp {
    spans: mpsc::Sender<Vec<Value>>,
}

impl Otlp {
    /// Must be called within a runtime.
    pub fn start(config: OtlpConfig) -> Self {
        let (spans, receiver) = mpsc::channel(QUEUE);
        tokio::spawn(send(config, receiver));
        Self { spans }
    }

    /// A call has ended.
    pub fn call(&self, report: &EndedReport) {
        if self.spans.try_send(spans(report)).is_err() {
            tracing::warn!(limit = true, "traces are lost: the collector does not keep up");
        }
    }
}

async fn send(config: OtlpConfig, mut waiting: mpsc::Receiver<Vec<Value>>) {
    let mut calls = Vec::new();
    while waiting.recv_many(&mut calls, BATCH).await > 0 {
        tokio::time::sleep(GATHER).await;
        while calls.len() < BATCH
            && let Ok(more) = waiting.try_recv()
        {
            calls.push(more);
        }
        let body = request(&config.service, calls.drain(..).flatten().collect()).to_string();
        let cause = match timeout(LIMIT, xmlrpc::post(&config.url, "application/json", &body)).await {
            Ok(Ok(_)) => continue,
            Ok(Err(cause)) => cause.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        tracing::warn!(limit = true, url = config.url, cause, "traces cannot be sent");
    }
}

fn request(service: &str, spans: Vec<Value>) -> Value {
    json!({"resourceSpans": [{
        "resource": {"attributes": [text("service.name", service)]},
        "scopeSpans": [{"scope": {"name": "rtpengine", "version": crate::VERSION}, "spans": spans}],
    }]})
}

/// The spans of a call.
fn spans(report: &EndedReport) -> Vec<Value> {
    let call = &report.call;
    let trace = hex(&digest(&[&call.id])[..16]);
    // Several calls may have had the same Call-ID.
    let begun = nanoseconds(call.created).to_string();
    let root = hex(&digest(&[&call.id, &begun])[..8]);
    let mut attributes =
        vec![text("rtpengine.call_id", &call.id), text("rtpengine.end", reason(report.reason))];
    attributes.extend(call.created_from.map(|from| text("rtpengine.proxy", &from.to_string())));
    attributes.push(flag("rtpengine.recording", call.recording));
    let mut spans = vec![json!({
        "traceId": trace, "spanId": root, "name": "call", "kind": SERVER,
        "startTimeUnixNano": begun, "endTimeUnixNano": nanoseconds(report.ended).to_string(),
        "attributes": attributes,
        "status": if is_failure(report.reason) { json!({"code": ERROR, "message": reason(report.reason)}) } else { json!({}) },
    })];
    for (number, party) in call.parties.iter().enumerate() {
        let own = hex(&digest(&[&call.id, &begun, &number.to_string()])[..8]);
        let times = json!([nanoseconds(party.created), nanoseconds(party.created + party.duration)]);
        spans.push(span([&trace, &own, &root], "party", &times, about_party(party)));
        for media in &party.media {
            let id = [call.id.as_str(), &begun, &number.to_string(), &media.index.to_string()];
            let id = hex(&digest(&id)[..8]);
            spans.push(span([&trace, &id, &own], "media", &times, about_media(media)));
        }
    }
    spans
}

fn span([trace, own, parent]: [&str; 3], name: &str, times: &Value, attributes: Vec<Value>) -> Value {
    json!({
        "traceId": trace, "spanId": own, "parentSpanId": parent, "name": name, "kind": INTERNAL,
        "startTimeUnixNano": times[0].to_string(), "endTimeUnixNano": times[1].to_string(),
        "attributes": attributes,
    })
}

fn about_party(party: &PartyDump) -> Vec<Value> {
    let mut attributes = vec![text("rtpengine.tag", &party.tag)];
    if !party.label.is_empty() {
        attributes.push(text("rtpengine.label", &party.label));
    }
    attributes
}

fn about_media(media: &MediaDump) -> Vec<Value> {
    let mut attributes = vec![
        number("rtpengine.media.index", media.index as u64),
        text("rtpengine.media.type", &media.media_type),
    ];
    attributes.extend(media.protocol.as_ref().map(|protocol| text("rtpengine.media.protocol", protocol)));
    attributes.extend(media.codec.as_ref().map(|codec| text("rtpengine.media.codec", codec)));
    let sums =
        |of: fn(&crate::call::StreamDump) -> u64| media.streams.iter().filter(|s| !s.is_rtcp).map(of).sum();
    attributes.extend([
        number("rtpengine.packets.received", sums(|stream| stream.packets)),
        number("rtpengine.octets.received", sums(|stream| stream.octets)),
        number("rtpengine.errors.received", sums(|stream| stream.errors)),
        number("rtpengine.packets.sent", sums(|stream| stream.sent.packets)),
        number("rtpengine.octets.sent", sums(|stream| stream.sent.octets)),
    ]);
    attributes
}

fn is_failure(reason: EndReason) -> bool {
    !matches!(reason, EndReason::Deleted | EndReason::Shutdown)
}

fn reason(reason: EndReason) -> &'static str {
    match reason {
        EndReason::Deleted => "deleted",
        EndReason::FinalTimeout => "final timeout",
        EndReason::Timeout => "timeout",
        EndReason::SilentTimeout => "silent timeout",
        EndReason::OfferTimeout => "offer timeout",
        EndReason::Forced => "forced",
        EndReason::Shutdown => "shutdown",
    }
}

fn text(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

/// 64-bit numbers are text in OTLP's JSON.
fn number(key: &str, value: u64) -> Value {
    json!({"key": key, "value": {"intValue": value.to_string()}})
}

fn flag(key: &str, value: bool) -> Value {
    json!({"key": key, "value": {"boolValue": value}})
}

fn nanoseconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

fn digest(parts: &[&str]) -> [u8; 20] {
    let mut hash = Sha1::new();
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            hash.update([0]);
        }
        hash.update(part.as_bytes());
    }
    hash.finalize().into()
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::super::cdr::tests::report;
    use super::*;

    #[test]
    fn a_call_is_a_tree_of_spans() {
        let report = report(EndReason::Timeout);
        let spans = spans(&report);
        let root = &spans[0];
        assert_eq!(
            (&root["name"], &root["status"]["code"], &root["kind"]),
            (&"call".into(), &2.into(), &2.into())
        );
        assert_eq!(root["traceId"].as_str().map(str::len), Some(32));
        assert_eq!(root["spanId"].as_str().map(str::len), Some(16));
        let parties: Vec<&Value> = spans.iter().filter(|span| span["name"] == "party").collect();
        assert_eq!(parties.len(), report.call.parties.len());
        for span in &spans[1..] {
            assert_eq!(span["traceId"], root["traceId"]);
            let parent =
                spans.iter().find(|other| other["spanId"] == span["parentSpanId"]).expect("a parent");
            let expected = if span["name"] == "media" { "party" } else { "call" };
            assert_eq!(parent["name"], expected);
        }
        let ids: std::collections::BTreeSet<&str> =
            spans.iter().filter_map(|span| span["spanId"].as_str()).collect();
        assert_eq!(ids.len(), spans.len(), "each span has an id of its own");
        let whole = request("name", spans.clone());
        assert_eq!(whole["resourceSpans"][0]["scopeSpans"][0]["spans"][0], spans[0]);
    }
}
