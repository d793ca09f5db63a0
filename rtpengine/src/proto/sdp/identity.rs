//! parse∘render on every recorded description.

use serde_json::Value;
use smol_str::SmolStr;

use super::corpus::corpus_directory;
use super::model::{Attributes, MediaDescription, SessionDescription};
use super::render::{GeneratedSection, IceOut, VerbatimSection};
use super::{AttributeEdits, MediaSectionOut, ParseOptions, SectionBody, SessionOut, parse, render, text};

#[test]
fn printing_what_was_read_from_a_printed_description_is_the_identity() {
    let (mut replies, mut differences) = (0, Vec::new());
    for_each_recorded(|name, step| {
        let Some(body) = step["reply"]["sdp"].as_str().filter(|body| !body.is_empty()) else { return };
        // Sections and bodies that are passed on as they came, and half sections, are printed by other means.
        let copied = ["osrtp", "passthrough", "ice-optional", "force-relay", "loop-protect"];
        let copied = copied.iter().any(|what| name.contains(what));
        // Written for others: base64 padding, lifetimes, the original order, lines of templates.
        let styled = step["request"].to_string();
        let styled =
            ["original-sendrecv", "pad", "lifetime", "sdp-attr"].iter().any(|flag| styled.contains(flag));
        // `/0` is no clock rate (docs/differences.md).
        if copied || styled || body.contains("/0\r\n") {
            return;
        }
        let printed = concrete(body);
        replies += 1;
        let read = parse(&printed, ParseOptions::default()).unwrap_or_else(|error| panic!("{name}: {error}"));
        let again = render(&printable(&read), &AttributeEdits::default());
        if again != printed {
            let lines = printed.lines().zip(again.lines()).find(|(one, other)| one != other);
            differences.push(format!("{name}: {lines:?}"));
        }
    });
    println!("{replies} replies");
    assert!(replies > 600 || corpus_directory().is_none(), "only {replies} replies");
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
}

#[test]
fn printing_is_stable_for_every_description_that_clients_sent() {
    let (mut requests, mut differences) = (0, Vec::new());
    for_each_recorded(|name, step| {
        let Some(body) = step["request"]["sdp"].as_str() else { return };
        let body = text::decode(body.as_bytes());
        let Ok(read) = parse(&body, ParseOptions::default()) else { return };
        if read.origin.is_none() {
            return;
        }
        requests += 1;
        let once = render(&printable(&read), &AttributeEdits::default());
        let read_again =
            parse(&once, ParseOptions::default()).unwrap_or_else(|error| panic!("{name}: {error}\n{once}"));
        let twice = render(&printable(&read_again), &AttributeEdits::default());
        if once != twice {
            differences.push(format!("{name}:\n{once}\n{twice}"));
        }
    });
    println!("{requests} requests");
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
}

fn for_each_recorded(mut each: impl FnMut(&str, &Value)) {
    let Some(directory) = corpus_directory() else { return };
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "jsonl") {
            continue;
        }
        for line in std::fs::read_to_string(&path).unwrap().lines() {
            let scenario: Value = serde_json::from_str(line).unwrap();
            let name = scenario["name"].as_str().unwrap_or_default();
            for step in scenario["steps"].as_array().into_iter().flatten() {
                each(name, step);
            }
        }
    }
}

/// Placeholders of the recording become values of their kind and length.
fn concrete(body: &str) -> SmolStr {
    let mut out = String::new();
    let mut rest = body;
    while let Some(start) = rest.find('{') {
        let end = start + rest[start..].find('}').unwrap();
        let place = &rest[start + 1..end];
        out.push_str(&rest[..start]);
        let length = place.rsplit(':').next().and_then(|digits| digits.parse::<usize>().ok());
        match place {
            _ if place.starts_with("PORT") => {
                let (name, plus) = place.split_once('+').unwrap_or((place, "0"));
                let number: u16 = name["PORT".len()..].parse().unwrap();
                out.push_str(&(40_000 + 2 * number + plus.parse::<u16>().unwrap()).to_string());
            }
            _ if place.starts_with("FINGERPRINT") => {
                let octets = match place.rsplit('-').next().unwrap() {
                    "1" => 20,
                    bits => bits.parse::<usize>().unwrap() / 8,
                };
                out.push_str(&vec!["AB"; octets].join(":"));
            }
            _ => out.push_str(&"A".repeat(length.unwrap_or(12))),
        }
        rest = &rest[end + 1..];
    }
    (out + rest).into()
}

/// The description as the daemon itself would print these values.
fn printable(description: &SessionDescription) -> SessionOut {
    let attributes = &description.attributes;
    SessionOut {
        origin: description.origin.clone().unwrap(),
        session_name: description.session_name.clone().unwrap_or_default(),
        information: description.information.clone(),
        uri: description.uri.clone(),
        email: description.email.clone(),
        phone: description.phone.clone(),
        bandwidth: description.bandwidth,
        timing: description.timing.clone(),
        instance: description.instances.first().cloned().flatten(),
        moh_attribute: None,
        ice_lite: attributes.ice_lite,
        groups: description.groups.clone(),
        unknown: attributes.unknown_with_direction.clone(),
        media: description.media.iter().map(|media| section(media, description)).collect(),
    }
}

fn section(media: &MediaDescription, session: &SessionDescription) -> MediaSectionOut {
    let attributes = &media.attributes;
    let is_plain = *attributes
        == Attributes {
            mid: attributes.mid.clone(),
            label: attributes.label.clone(),
            bundle_only: attributes.bundle_only,
            ..Attributes::default()
        };
    let body = if media.port == 0 && is_plain && media.attribute_lines.len() < 4 {
        SectionBody::Rejected
    } else if media.transport.is_rtp() {
        SectionBody::Generated(Box::new(generated(media)))
    } else {
        SectionBody::Verbatim(VerbatimSection {
            attribute_lines: media.attribute_lines.clone(),
            candidates: Vec::new(),
        })
    };
    let connection = media.connection.as_ref().or(session.connection.as_ref());
    MediaSectionOut {
        media_type: media.media_type.clone(),
        port: media.port,
        transport: media.transport.clone(),
        format_tokens: media.format_tokens.clone(),
        information: media.information.clone(),
        address: connection.map_or([0, 0, 0, 0].into(), |connection| connection.address),
        bandwidth: media.bandwidth,
        mid: attributes.mid.clone(),
        label: attributes.label.clone(),
        bundle_only: attributes.bundle_only,
        body,
    }
}

fn generated(media: &MediaDescription) -> GeneratedSection {
    let attributes = &media.attributes;
    let is_printed = |number: u8| {
        let prefix = format!("rtpmap:{number} ");
        media.attribute_lines.iter().any(|line| line.starts_with(&prefix))
    };
    // A number without a map has none: `a=rtpmap` is printed for those that had it.
    let mut formats = media.formats.clone();
    for format in &mut formats {
        if !is_printed(format.format.payload_type) {
            format.format.name = Default::default();
        }
    }
    GeneratedSection {
        formats,
        extmap_allow_mixed: attributes.extmap_allow_mixed,
        extmap: attributes.extmap.clone(),
        unknown: attributes.unknown.iter().chain(&attributes.t38).cloned().collect(),
        direction: attributes.direction,
        rtcp: attributes.rtcp,
        rtcp_mux: attributes.rtcp_mux,
        crypto: attributes.crypto.clone(),
        setup: attributes.setup,
        fingerprint: attributes.fingerprint.clone(),
        tls_id: attributes.tls_id.clone(),
        ptime_ms: attributes.ptime_ms,
        maxptime_ms: attributes.maxptime_ms,
        ice: attributes.ice_ufrag.as_ref().map(|ufrag| IceOut {
            ufrag: ufrag.clone(),
            pwd: attributes.ice_pwd.clone().unwrap_or_default(),
            options: attributes.ice_options.clone(),
            candidates: attributes.candidates.clone(),
            remote_candidates: remote_candidates(media),
            end_of_candidates: attributes.end_of_candidates,
        }),
        ..GeneratedSection::default()
    }
}

fn remote_candidates(media: &MediaDescription) -> Vec<(u32, std::net::IpAddr, u16)> {
    let line = media.attribute_lines.iter().find_map(|line| line.strip_prefix("remote-candidates:"));
    let words: Vec<&str> = line.unwrap_or_default().split_whitespace().collect();
    words
        .chunks_exact(3)
        .map(|words| (words[0].parse().unwrap(), words[1].parse().unwrap(), words[2].parse().unwrap()))
        .collect()
}
