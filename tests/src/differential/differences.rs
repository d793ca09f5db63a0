//! What ours answers differently from the reference on purpose (docs/differences.md), as rules on a pair of replies.

use serde_json::Value;

use super::canonical::sections;

/// A deliberate difference.
pub struct Difference {
    /// Short name, for `differential --rules`.
    pub name: &'static str,
    /// What differs and why ours is right.
    pub about: &'static str,
    applies: fn(&[Value], &[String], &[String]) -> bool,
}

/// The rule that explains why `ours` differs from `reference`, where candidates may be repeated besides.
pub fn explained(requests: &[Value], reference: &[String], ours: &[String]) -> Option<&'static str> {
    let unrepeated: Vec<String> = unrepeated(requests, reference).cloned().collect();
    let explains = |rule: &&Difference| {
        (rule.applies)(requests, reference, ours) || (rule.applies)(requests, &unrepeated, ours)
    };
    DIFFERENCES.iter().find(explains).map(|rule| rule.name)
}

/// All rules.
pub const DIFFERENCES: &[Difference] = &[
    Difference {
        name: "no-formats",
        about: "the reference prints an m= line without formats when only supplemental ones are left: not valid",
        applies: |_, reference, _| {
            reference.iter().any(|line| line.starts_with("m=") && line.split(' ').count() == 3)
        },
    },
    Difference {
        name: "unasked-formats",
        about: "the reference's answer has formats that the offerer does not know; ours has what is converted to instead",
        applies: |requests, reference, ours| {
            converts(requests)
                && only_formats_differ(reference, ours)
                && is_subset(&formats(ours), &offered(requests))
                && !is_subset(&formats(reference), &offered(requests))
        },
    },
    Difference {
        name: "fewer-formats",
        about: "the reference leaves out of an answer what both sides named, or has another one, once something is or was converted",
        applies: |requests, reference, ours| {
            let answer = requests.last().and_then(|last| last["sdp"].as_str()).unwrap_or_default();
            converts(requests)
                && only_formats_differ(reference, ours)
                && is_subset(&formats(ours), &offered(requests))
                && (is_subset(&formats(reference), &formats(ours))
                    || is_subset(&formats(ours), &formats(answer.lines())))
        },
    },
    Difference {
        name: "own-key",
        about: "packets that are changed get a key of ours instead of the answerer's: a key stream encrypts one message only",
        applies: |_, reference, ours| {
            // Numbers of names depend on how many came before.
            let is_named = |line: &str| line.contains(" inline:<Key");
            let suite = |line: &str| {
                line.starts_with("a=crypto:").then(|| line.split(' ').take(2).collect::<Vec<_>>().join(" "))
            };
            let replaced = |theirs: &str, ours: &str| {
                suite(theirs).is_some() && suite(theirs) == suite(ours) && is_named(ours)
            };
            reference.iter().any(|line| suite(line).is_some() && !is_named(line))
                && reference.len() == ours.len()
                && reference.iter().zip(ours).all(|(theirs, ours)| theirs == ours || replaced(theirs, ours))
        },
    },
    Difference {
        name: "forbidden-suite",
        about: "an offerer whose suites are all forbidden gets one of them: under an SRTP profile an answer needs a key",
        applies: |requests, reference, ours| {
            let offer = requests.iter().rev().find(|request| request["command"] == "offer");
            let is_crypto = |line: &&String| line.starts_with("a=crypto:");
            offer.is_some_and(|offer| offer["SDES"].to_string().contains("\"no-"))
                && ours.iter().any(|line| is_crypto(&line) && !reference.contains(line))
                && ours.iter().filter(|line| !is_crypto(line) || reference.contains(line)).eq(reference)
        },
    },
    Difference {
        name: "tls-without-fingerprint",
        about: "the reference offers UDP/TLS without a fingerprint when SDES was agreed on before; the profile needs DTLS",
        applies: |requests, reference, ours| {
            let is_dtls = |line: &&String| line.starts_with("a=fingerprint:") || line.starts_with("a=setup:");
            // When ICE comes at the same time, ports differ as well (see `ice-comes-and-goes`). More lines are a new version.
            let others = |lines: &[String]| -> Vec<String> {
                let others = lines.iter().filter(|line| !is_dtls(line) && !line.starts_with("o="));
                others.map(|line| anonymous(line)).collect()
            };
            requests.last().is_some_and(|last| last["command"] == "offer")
                && ours.iter().any(|line| line.starts_with("m=") && line.contains(" UDP/TLS/"))
                && reference.iter().filter(is_dtls).count() < ours.iter().filter(is_dtls).count()
                && others(reference) == others(ours)
        },
    },
    Difference {
        name: "media-address-candidates",
        about: "the reference prints a media-address as candidate once for each local address, ours once: they look like one",
        applies: |requests, reference, ours| unrepeated(requests, reference).eq(ours),
    },
    Difference {
        name: "ice-comes-and-goes",
        about: "the reference changes ports and credentials when ICE begins or ends in the middle of a call, ours keeps them",
        applies: |requests, reference, ours| {
            let has_ice = |request: &Value| -> Vec<bool> {
                let (_, sections) = sections(request["sdp"].as_str().unwrap_or_default());
                let is_ice = |line: &&str| line.starts_with("a=ice-ufrag:");
                sections.iter().map(|lines| lines.iter().any(is_ice)).collect()
            };
            let changes = requests.iter().any(|request| {
                request.get("ICE").is_some()
                    || has_ice(request).contains(&false)
                        && requests.iter().any(|other| has_ice(other).contains(&true))
            });
            requests.len() > 1
                && changes
                && unrepeated(requests, reference)
                    .map(|line| anonymous(line))
                    .eq(ours.iter().map(|line| anonymous(line)))
        },
    },
];

/// The reference's lines without candidates that repeat a media-address.
fn unrepeated<'a>(requests: &'a [Value], reference: &'a [String]) -> impl Iterator<Item = &'a String> {
    let last = requests.last().unwrap_or(&Value::Null);
    let key = ["media-address", "media address"].iter().find_map(|key| last[key].as_str());
    reference.iter().filter(move |line| {
        let mut words = line.strip_prefix("a=candidate:").into_iter().flat_map(|line| line.split(' '));
        let is_first = words.next().is_none_or(|foundation| foundation == "<Foundation0>");
        is_first || key.is_none() || words.nth(3) != key
    })
}

/// A line without the names of ports and credentials.
fn anonymous(line: &str) -> String {
    let kinds = ["<Port", "<Ufrag", "<Password"];
    let kind = |word: &str| kinds.iter().find(|kind| word.contains(**kind)).copied();
    line.split(' ').map(|word| kind(word).unwrap_or(word)).collect::<Vec<_>>().join(" ")
}

/// Whether this is an answer in a call in which codecs were asked to be converted or taken away.
fn converts(requests: &[Value]) -> bool {
    requests.last().is_some_and(|last| last["command"] == "answer")
        && requests.iter().any(|request| request.get("codec").is_some())
}

fn only_formats_differ(reference: &[String], ours: &[String]) -> bool {
    let rest = |lines: &[String]| -> Vec<String> {
        let is_of_format = |line: &str| line.starts_with("a=rtpmap:") || line.starts_with("a=fmtp:");
        lines
            .iter()
            .filter(|line| !is_of_format(line))
            .map(|line| if line.starts_with("m=") { head(line).join(" ") } else { line.clone() })
            .collect()
    };
    rest(reference) == rest(ours)
}

fn head(line: &str) -> Vec<&str> {
    line.split(' ').take(3).collect()
}

/// Formats of each section.
fn formats<'a>(lines: impl IntoIterator<Item = &'a (impl AsRef<str> + ?Sized + 'a)>) -> Vec<Vec<String>> {
    let heads = lines.into_iter().map(AsRef::as_ref).filter(|line| line.starts_with("m="));
    heads.map(|line| line.split_whitespace().skip(3).map(str::to_owned).collect()).collect()
}

fn offered(requests: &[Value]) -> Vec<Vec<String>> {
    let offer = requests.iter().rev().find(|request| request["command"] == "offer");
    let sdp = offer.and_then(|offer| offer["sdp"].as_str()).unwrap_or_default();
    formats(sdp.lines())
}

fn is_subset(some: &[Vec<String>], all: &[Vec<String>]) -> bool {
    some.len() == all.len()
        && some.iter().zip(all).all(|(some, all)| some.iter().all(|format| all.contains(format)))
}
