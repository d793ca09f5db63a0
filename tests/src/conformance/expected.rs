//! The checked-in list of scenarios that do not pass, each with its reason. It is kept honest from both sides:
//! a scenario that fails and is not listed is an error, and so is a listed one that passes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::Scenario;

/// Why a scenario does not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It uses a command, key or transport that is not built yet.
    Lacks(String),
    /// Our reply differs from the recorded one.
    Differs(String),
    /// It passes with this option of ours, which stands for a behaviour of the reference that we do not have by default.
    Option(String),
}

/// The list that belongs to the corpus.
pub fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/ng-expected.txt")
}

/// Reads lines of `name<TAB>lacks|differs|option<TAB>reason`; `#` starts a comment.
pub fn read(path: &Path) -> BTreeMap<String, Reason> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let mut columns = line.splitn(3, '\t');
            let mut next = || columns.next().unwrap_or_default().to_owned();
            let (name, kind, reason) = (next(), next(), next());
            let reason = match kind.as_str() {
                "lacks" => Reason::Lacks(reason),
                "differs" => Reason::Differs(reason),
                "option" => Reason::Option(reason),
                other => panic!("{}: {other:?} is none of the three kinds ({line})", path.display()),
            };
            (name, reason)
        })
        .collect()
}

/// Scenarios that are played with an option of ours, and the option.
pub fn with_option(list: &BTreeMap<String, Reason>) -> impl Iterator<Item = (&str, &str)> {
    list.iter().filter_map(|(name, reason)| match reason {
        Reason::Option(option) => Some((name.as_str(), option.as_str())),
        _ => None,
    })
}

/// Writes the list for these failures. Reasons that a person gave stay.
pub fn write(path: &Path, failures: &[(&Scenario, String)]) {
    let known = read(path);
    let mut text = String::from(
        "# Scenarios of ng/ that do not pass, and why. `make conformance-update` adds and removes lines;\n\
         # the reason of a `differs` line is then to be replaced by one that a reader understands. `option`: passes with it.\n",
    );
    for (name, option) in with_option(&known) {
        text.push_str(&format!("{name}\toption\t{option}\n"));
    }
    for (scenario, difference) in failures {
        let reason = match (lacking(scenario, difference), known.get(&scenario.name)) {
            (Some(lack), _) => format!("lacks\t{lack}"),
            (None, Some(Reason::Differs(reason))) => format!("differs\t{reason}"),
            _ => format!("differs\t{}", difference.replace(['\t', '\n'], " ")),
        };
        text.push_str(&format!("{}\t{reason}\n", scenario.name));
    }
    std::fs::write(path, text).expect("the list can be written");
}

/// What the scenario uses and is not built: what the daemon itself names, else the first such thing in the requests.
pub fn lacking(scenario: &Scenario, difference: &str) -> Option<String> {
    if let Some((_, named)) = difference.split_once("Not supported: ") {
        return Some(named.trim_end_matches('"').to_owned());
    }
    for step in &scenario.steps {
        if let Some(transport) = step["transport"].as_str().filter(|&transport| transport != "udp") {
            return Some(format!("transport {transport}"));
        }
        if step.get("http").is_some() {
            return Some("transport http".into());
        }
        let request = &step["request"];
        let command = request["command"].as_str().unwrap_or_default();
        if NOT_BUILT_COMMANDS.contains(&command) {
            return Some(format!("command {command}"));
        }
        let data = ["sdp", "SDP", "call-id", "from-tag", "to-tag", "via-branch", "metadata"];
        for (key, value) in request.as_object().into_iter().flatten() {
            if NOT_BUILT_KEYS.contains(&key.as_str()) {
                return Some(format!("key {key}"));
            }
            let words: Vec<&str> = match value {
                Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
                Value::String(text) if !data.contains(&key.as_str()) => text.split([',', ' ']).collect(),
                _ => Vec::new(),
            };
            if let Some(flag) = words.iter().find(|word| is_not_built_flag(word)) {
                return Some(format!("{key} {flag}"));
            }
            let codecs = match key.as_str() {
                "codec" => value.to_string(),
                "sdp" => value.as_str().unwrap_or_default().replace("RTP/AVP 18", "G729"),
                _ => String::new(),
            };
            if let Some(codec) = NOT_BUILT_CODECS.iter().find(|codec| codecs.contains(*codec)) {
                return Some(format!("codec {codec}"));
            }
            let sdp = value.as_str().filter(|_| key.eq_ignore_ascii_case("sdp")).unwrap_or_default();
            if let Some((_, what)) = NOT_BUILT_SDP.iter().find(|(text, _)| sdp.contains(text)) {
                return Some((*what).into());
            }
        }
    }
    let argument = |argument: &&String| NOT_BUILT_OPTIONS.iter().any(|option| argument.starts_with(option));
    scenario.daemon_args.iter().find(argument).map(|argument| format!("option {argument}"))
}

fn is_not_built_flag(word: &str) -> bool {
    let word = word.to_ascii_lowercase().replace('_', "-");
    NOT_BUILT_FLAGS.iter().any(|flag| word == *flag || word.starts_with(&format!("{flag}=")))
        || NOT_BUILT_FLAG_PREFIXES.iter().any(|prefix| word.starts_with(prefix))
}

const NOT_BUILT_COMMANDS: &[&str] = &[
    "publish",
    "subscribe request",
    "subscribe answer",
    "unsubscribe",
    "connect",
    "mesh",
    "inject start",
    "inject stop",
    "create",
    "create answer",
    "transform",
    "block media",
    "unblock media",
    "silence media",
    "unsilence media",
    "block DTMF",
    "unblock DTMF",
    "play DTMF",
    "start forwarding",
    "stop forwarding",
    "cli",
    "CLI",
    "statistics",
];

const NOT_BUILT_KEYS: &[&str] = &[
    "ICE",
    "ICE-lite",
    "DTLS",
    "DTLS-fingerprint",
    "DTLS-reverse",
    "SDES",
    "OSRTP",
    "T.38",
    "bundle",
    "moh",
    "MoH",
    "MOH",
    "sdp-attr",
    "sdp-media-remove",
    "extmap",
    "media echo",
    "template",
    "rtpp-flags",
    "rtpp flags",
    "alias-key",
    "DTMF-security",
    "audio-player",
    "generate RTCP",
    "digit",
    "delay-buffer",
    "DTMF-delay",
];

const NOT_BUILT_FLAGS: &[&str] = &[
    "fragment",
    "trickle-ice",
    "generate-mid",
    "loop-protect",
    "detect-dtmf",
    "inject-dtmf",
    "block-dtmf",
    "debug",
    "legacy-osrtp",
    "mirror-rtcp",
    "rtcp-mirror",
    "siprec",
    "strip-extmap",
    "media-handover-ice",
];

const NOT_BUILT_FLAG_PREFIXES: &[&str] =
    &["sdes-", "dtls", "ice", "osrtp", "t38", "t.38", "bundle", "webrtc"];

const NOT_BUILT_SDP: &[(&str, &str)] = &[
    ("a=ice-", "ICE in the SDP"),
    ("a=candidate", "ICE in the SDP"),
    ("a=fingerprint", "DTLS in the SDP"),
    ("a=crypto", "SDES in the SDP"),
    ("RTP/SAVP", "SRTP in the SDP"),
    ("UDP/TLS", "DTLS in the SDP"),
    ("a=group:BUNDLE", "BUNDLE in the SDP"),
    ("udptl", "T.38 in the SDP"),
    ("a=extmap", "header extensions in the SDP"),
];

const NOT_BUILT_CODECS: &[&str] = &["G729", "AMR", "iLBC", "G723", "speex"];

const NOT_BUILT_OPTIONS: &[&str] = &["--moh-", "--dtls-", "--config-file={TMPDIR}"];
