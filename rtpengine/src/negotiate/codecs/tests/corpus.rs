//! Plays recorded offers and answers through parse → negotiate and compares the codec lines of the replies.

use std::collections::HashMap;

use serde_json::Value;

use super::*;
use crate::negotiate::ptime::{self, PtimeState};
use crate::proto::sdp::{ParseOptions, fmtp, parse, text};

/// One line of a section that codecs decide about.
fn lines(formats: &[MediaFormat], ptime_ms: Option<u16>) -> Vec<String> {
    let numbers: Vec<_> = formats.iter().map(|f| f.format.payload_type.to_string()).collect();
    let mut lines = vec![numbers.join(" ")];
    for MediaFormat { format, feedback } in formats {
        let channels = if format.channels > 1 { format!("/{}", format.channels) } else { String::new() };
        lines.push(format!("rtpmap:{} {}/{}{channels}", format.payload_type, format.name, format.clock_rate));
        let parameters = fmtp::printed(format);
        if !parameters.is_empty() {
            lines.push(format!("fmtp:{} {parameters}", format.payload_type));
        }
        lines.extend(feedback.iter().map(|f| format!("rtcp-fb:{} {f}", format.payload_type)));
    }
    lines.extend(ptime_ms.map(|ms| format!("ptime:{ms}")));
    lines
}

/// The same lines of a recorded reply, per RTP section.
fn recorded(reply: &str) -> Vec<(u32, Vec<String>)> {
    let mut sections: Vec<(u32, Vec<String>)> = Vec::new();
    for line in reply.lines() {
        if let Some(m) = line.strip_prefix("m=") {
            let words: Vec<_> = m.split(' ').collect();
            sections.push((u32::from(words[1] != "0"), vec![words[3..].join(" ")]));
        } else if let (Some(attribute), Some((_, section))) = (line.strip_prefix("a="), sections.last_mut()) {
            let name = attribute.split(':').next().unwrap();
            if ["rtpmap", "fmtp", "ptime"].contains(&name) || (name == "rtcp-fb" && !attribute.contains('*'))
            {
                section.push(attribute.to_owned());
            }
        }
    }
    sections
}

fn spec(text: &str) -> CodecSpec {
    let text = text.replace("--", "=").replace("..", " ");
    let mut parts = text.splitn(7, '/').map(|part| Some(part).filter(|p| !p.is_empty()));
    let mut part = || parts.next().flatten();
    CodecSpec {
        name: part().unwrap_or_default().into(),
        clock_rate: part().and_then(|p| p.parse().ok()),
        channels: part().and_then(|p| p.parse().ok()),
        bitrate_bps: part().and_then(|p| p.parse().ok()),
        ptime_ms: part().and_then(|p| p.parse().ok()),
        fmtp: part().map(Into::into),
        options: part().map(Into::into),
    }
}

fn words(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => text.split(',').map(str::to_owned).collect(),
        Value::Array(list) => list.iter().filter_map(|v| v.as_str().map(str::to_owned)).collect(),
        _ => vec![],
    }
}

fn put(options: &mut CodecOptions, operation: &str, codec: &str) {
    let all = codec == "all" || codec == "full";
    match operation {
        "strip" if all => options.strip_all = true,
        "mask" if all => options.mask_all = true,
        "consume" if all => options.consume_all = true,
        "accept" if all => options.accept_all = true,
        "strip" => options.strip.push(spec(codec)),
        "mask" => options.mask.push(spec(codec)),
        "consume" => options.consume.push(spec(codec)),
        "accept" => options.accept.push(spec(codec)),
        "ignore" => options.ignore.push(spec(codec)),
        "except" => options.except.push(spec(codec)),
        "offer" => options.offer.push(spec(codec)),
        "transcode" => options.transcode.push(spec(codec)),
        "set" => options.set.push(spec(codec)),
        _ => {}
    }
}

/// Codec keys and flags of a request.
fn options(request: &Value) -> CodecOptions {
    let mut options = CodecOptions::default();
    for key in ["codec", "codecs"] {
        for (operation, list) in request[key].as_object().into_iter().flatten() {
            words(list).iter().for_each(|codec| put(&mut options, operation, codec));
        }
    }
    for flag in words(&request["flags"]) {
        match flag.replace(' ', "-").as_str() {
            "always-transcode" => options.always_transcode = true,
            "force-transcoding" => options.force_transcoding = true,
            "single-codec" => options.single_codec = true,
            "allow-asymmetric-codecs" => options.allow_asymmetric_codecs = true,
            "allow-no-codec-media" => options.allow_no_codec_media = true,
            "reuse-codecs" => options.reuse_codecs = true,
            "static-codecs" => options.static_codecs = true,
            flag => {
                let rest = flag.strip_prefix("codec-").unwrap_or(flag);
                if let Some((operation, codec)) = rest.split_once('-') {
                    put(&mut options, operation, codec);
                }
            }
        }
    }
    let number = |value: &Value| value.as_u64().or_else(|| value.as_str()?.parse().ok()).map(|n| n as u16);
    options.ptime_ms = number(&request["ptime"]);
    options.ptime_reverse_ms = number(&request["ptime-reverse"]);
    options
}

/// What is remembered of one media, seen from the party that offered last.
#[derive(Clone, Default)]
struct Media {
    offerer: String,
    codecs: CodecState,
    ptime: PtimeState,
    /// List shown last, by party.
    shown: HashMap<String, Vec<MediaFormat>>,
}

/// Replays a scenario; gives (compared sections, first difference).
fn play(scenario: &Value) -> (usize, Option<String>) {
    let mut media: Vec<Media> = Vec::new();
    let mut compared = 0;
    for step in scenario["steps"].as_array().into_iter().flatten() {
        let request = &step["request"];
        let command = request["command"].as_str().unwrap_or_default();
        let (Some(body), Some(reply)) = (request["sdp"].as_str(), step["reply"]["sdp"].as_str()) else {
            continue;
        };
        let is_offer = command == "offer";
        if !is_offer && command != "answer" {
            continue;
        }
        let mut session = parse(&text::decode(body.as_bytes()), ParseOptions::default()).unwrap();
        let options = options(request);
        let from = request["from-tag"].as_str().unwrap_or_default().to_owned();
        media.resize(session.media.len().max(media.len()), Media::default());
        for ((section, media), expected) in session.media.iter_mut().zip(&mut media).zip(recorded(reply)) {
            for format in section.formats.iter_mut().filter(|f| f.format.name.is_empty()) {
                let map = format!(
                    "{}:{}",
                    format.format.payload_type,
                    registry::static_map(format.format.payload_type)
                );
                *format = super::formats(&map).remove(0);
            }
            if !section.transport.is_rtp() || section.port == 0 || expected.0 == 0 {
                continue;
            }
            let received = section.attributes.ptime_ms;
            let (list, ptime_ms) = if is_offer {
                if media.offerer != from {
                    media.ptime = media.ptime.swapped();
                    media.offerer.clone_from(&from);
                }
                let to = if from == "tt" { "ft" } else { "tt" };
                let shown = media.shown.get(to).map(Vec::as_slice);
                let result = offer(&section.formats, &section.media_type, shown, &options, &TEST);
                let (print, ptime) =
                    ptime::offer(media.ptime, received, options.ptime_ms, options.ptime_reverse_ms);
                (media.codecs, media.ptime) = (result.state, ptime);
                media.shown.insert(to.to_owned(), result.towards_receiver.clone());
                (result.towards_receiver, print)
            } else {
                let result = answer(&media.codecs, &section.formats, &options, &TEST);
                let (print, ptime) = ptime::answer(media.ptime, received);
                (media.codecs, media.ptime) = (result.state, ptime);
                let answerer = request["to-tag"].as_str().filter(|to| *to != media.offerer).unwrap_or("ft");
                media.shown.insert(answerer.to_owned(), media.codecs.receiver_list().to_vec());
                media.shown.insert(media.offerer.clone(), media.codecs.offerer_list());
                (result.towards_offerer, print)
            };
            compared += 1;
            let got = lines(&list, ptime_ms);
            if got != expected.1 {
                let name = &scenario["name"];
                return (
                    compared,
                    Some(format!("{name} {command}\n   got {got:?}\n  want {:?}", expected.1)),
                );
            }
        }
    }
    (compared, None)
}

/// Not compared: numbers 10 and 11 come out exchanged in the recording (the specification's surprise), the others are
/// copied verbatim without negotiation.
const NOT_COMPARED: [&str; 5] = [
    "basic-static-pts-all",
    "ice-optional-ice",
    "ice-force-relay",
    "ice-force-relay-plain",
    "ice-passthrough-on",
];

#[test]
fn recorded_codec_exchanges_are_reproduced() {
    let Some(directory) = crate::proto::sdp::corpus_directory() else { return };
    let (mut passed, mut total, mut compared) = (0, 0, 0);
    let mut failures = Vec::new();
    for area in [
        "codecs",
        "codec-groups",
        "basic",
        "field",
        "reinvite",
        "rtcp",
        "replace",
        "webrtc",
        "sdes",
        "dtls",
        "ice",
        "extmap",
        "address",
        "transport",
    ] {
        let file = std::fs::read_to_string(directory.join(format!("{area}.jsonl"))).unwrap();
        for line in file.lines() {
            let scenario: Value = serde_json::from_str(line).unwrap();
            let name = scenario["name"].as_str().unwrap_or_default();
            let skipped = line.contains("Failed to parse SDP")
                || line.contains("Incomplete SDP")
                || line.contains("T.38")
                || NOT_COMPARED.contains(&name);
            if skipped {
                continue;
            }
            let (sections, failure) = play(&scenario);
            total += 1;
            compared += sections;
            passed += usize::from(failure.is_none());
            failures.extend(failure);
        }
    }
    println!("{passed} of {total} scenarios, {compared} sections");
    assert!(
        failures.is_empty(),
        "{}",
        failures.join(
            "
"
        )
    );
    assert!(
        passed >= 339 && compared >= 680,
        "only {passed} scenarios with {compared} sections were compared"
    );
}
