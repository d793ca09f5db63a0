//! Recorded requests and replies as test input.

use std::path::PathBuf;

use serde_json::Value;

use super::{ParseOptions, parse, text};

/// The recordings that are checked in for the conformance run.
pub(crate) fn corpus_directory() -> Option<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/corpus/ng");
    folder.is_dir().then_some(folder)
}

#[test]
fn recorded_descriptions_parse_or_fail_as_recorded() {
    let Some(directory) = corpus_directory() else { return };
    let (mut requests, mut replies, mut differences) = (0, 0, Vec::new());
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "jsonl") {
            continue;
        }
        for line in std::fs::read_to_string(&path).unwrap().lines() {
            let scenario: Value = serde_json::from_str(line).unwrap();
            let reject_empty_line = scenario["daemon_args"].to_string().contains("reject-invalid-sdp");
            for step in scenario["steps"].as_array().into_iter().flatten() {
                let (request, reply) = (&step["request"], &step["reply"]);
                let fragment = request["flags"].to_string().contains("fragment");
                if let Some(body) = request["sdp"].as_str() {
                    requests += 1;
                    let options = ParseOptions { reject_empty_line, fragment };
                    let got =
                        parse(&text::decode(body.as_bytes()), options).err().map(|error| error.reason());
                    let recorded = reply["error-reason"].as_str();
                    let expected = recorded
                        .filter(|reason| reason.contains(" parse SDP") || reason.contains("Incomplete SDP"));
                    // Errors that are found before the body is read, or after it, say nothing about parsing.
                    let address_missing = request["flags"].to_string().contains("SIP-source-address");
                    let expected = expected.filter(|_| !address_missing);
                    if got != expected && (recorded.is_none() || expected.is_some()) {
                        differences.push(format!("{}: got {got:?}, recorded {recorded:?}", scenario["name"]));
                    }
                }
                if let Some(body) = reply["sdp"].as_str() {
                    replies += 1;
                    // Ports are placeholders in the recordings.
                    let mut body = body.to_owned();
                    while let Some(start) = body.find("{PORT") {
                        let end = start + body[start..].find('}').unwrap();
                        body.replace_range(start..=end, "40000");
                    }
                    // A legacy OSRTP pair has a bare `m=` line that nobody could read alone.
                    let fragment = scenario["name"].to_string().contains("osrtp-accept-legacy");
                    let options = ParseOptions { fragment, ..ParseOptions::default() };
                    if let Err(error) = parse(&body, options) {
                        differences.push(format!("{} reply: {error}", scenario["name"]));
                    }
                }
            }
        }
    }
    println!("{requests} requests, {replies} replies");
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
