//! What ours answers differently from the reference on purpose (docs/differences.md), as rules on a pair of replies.

use serde_json::Value;

/// A deliberate difference.
pub struct Difference {
    /// Short name, for `differential --rules`.
    pub name: &'static str,
    /// What differs and why ours is right.
    pub about: &'static str,
    applies: fn(&[Value], &[String], &[String]) -> bool,
}

/// The rule that explains why `ours` differs from `reference`.
pub fn explained(requests: &[Value], reference: &[String], ours: &[String]) -> Option<&'static str> {
    DIFFERENCES.iter().find(|rule| (rule.applies)(requests, reference, ours)).map(|rule| rule.name)
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
        name: "missing-formats",
        about: "the reference leaves formats out of an answer that both sides named, once something is or was converted",
        applies: |requests, reference, ours| {
            converts(requests)
                && only_formats_differ(reference, ours)
                && is_subset(&formats(reference), &formats(ours))
                && is_subset(&formats(ours), &offered(requests))
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
];

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
