//! Makes a failing case small: leaves out requests, keys, list items and lines as long as it still fails.

use serde_json::Value;

use super::run::{Failure, Outcome, Pair};

/// A smaller case that fails too.
pub fn shrink(pair: &Pair, failure: Failure) -> Failure {
    let mut best = failure;
    let mut tries = 0;
    'again: loop {
        for candidate in candidates(best.requests.clone()) {
            tries += 1;
            if tries > 2_000 {
                return best;
            }
            if let Outcome::Different(smaller) = pair.replay(&candidate) {
                best = smaller;
                continue 'again;
            }
        }
        return best;
    }
}

fn candidates(requests: Vec<Value>) -> impl Iterator<Item = Vec<Value>> {
    let all = requests.clone();
    let all_formats = requests.clone();
    let without_request = (0..all.len()).map(move |i| {
        let mut fewer = all.clone();
        fewer.remove(i);
        fewer
    });
    let pairs = requests.clone();
    let without_pair = (1..pairs.len()).map(move |i| {
        let mut fewer = pairs.clone();
        fewer.drain(i - 1..=i);
        fewer
    });
    let count = requests.len();
    let simpler = (0..count).flat_map(move |i| {
        let requests = requests.clone();
        simpler_requests(&requests[i]).into_iter().map(move |request| {
            let mut all = requests.to_vec();
            all[i] = request;
            all
        })
    });
    let without_format = without_formats(&all_formats);
    without_request
        .chain(without_pair)
        .filter(|fewer| is_dialogue(fewer))
        .chain(without_format)
        .chain(simpler)
}

/// A call begins with an offer to nobody in particular; an answer belongs to the last offer and is the first to it or
/// the same again; offers to somebody come after an answer.
fn is_dialogue(requests: &[Value]) -> bool {
    let (mut offerer, mut answered) = (&Value::Null, false);
    requests.iter().all(|request| match request["command"].as_str() {
        Some("offer") => {
            let is_first = request.get("to-tag").is_none();
            let fits = answered != is_first;
            offerer = &request["from-tag"];
            answered &= !is_first;
            fits
        }
        Some("answer") => {
            answered = true;
            request["from-tag"] == *offerer
        }
        _ => answered,
    })
}

fn simpler_requests(request: &Value) -> Vec<Value> {
    let mut out = Vec::new();
    let Some(entries) = request.as_object() else { return out };
    for (key, value) in entries {
        if !["command", "call-id", "from-tag", "to-tag", "sdp"].contains(&key.as_str()) {
            let mut fewer = entries.clone();
            fewer.remove(key);
            out.push(fewer.into());
        }
        let parts: Vec<Value> = match value {
            Value::Array(items) if items.len() > 1 && key != "direction" => without_one(items),
            Value::Object(lists) => lists
                .keys()
                .map(|name| {
                    let mut fewer = lists.clone();
                    fewer.remove(name);
                    fewer.into()
                })
                .chain(lists.iter().filter_map(|(name, list)| Some((name, list.as_array()?))).flat_map(
                    |(name, list)| {
                        without_one(list).into_iter().map(|fewer| {
                            let mut all = lists.clone();
                            all.insert(name.clone(), fewer);
                            all.into()
                        })
                    },
                ))
                .collect(),
            Value::String(sdp) if key == "sdp" => {
                simpler_descriptions(sdp).into_iter().map(Value::from).collect()
            }
            _ => Vec::new(),
        };
        for part in parts {
            let mut changed = entries.clone();
            changed.insert(key.clone(), part);
            out.push(changed.into());
        }
    }
    out
}

fn without_one(items: &[Value]) -> Vec<Value> {
    (0..items.len())
        .map(|i| items.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, item)| item.clone()).collect())
        .collect()
}

fn simpler_descriptions(sdp: &str) -> Vec<String> {
    let lines: Vec<&str> = sdp.split_inclusive('\n').collect();
    let mut out = Vec::new();
    for (i, line) in lines.iter().enumerate() {
        if ["a=", "b="].iter().any(|prefix| line.starts_with(prefix))
            && !["a=rtpmap:", "a=fmtp:", "a=mid:"].iter().any(|kept| line.starts_with(kept))
        {
            out.push(lines.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, line)| *line).collect());
        }
    }
    out
}

/// A payload type left out everywhere: an answer must not name what was not offered.
fn without_formats(requests: &[Value]) -> Vec<Vec<Value>> {
    let descriptions = || requests.iter().filter_map(|request| request["sdp"].as_str());
    let heads = descriptions().flat_map(str::lines).filter(|line| line.starts_with("m="));
    let mut numbers: Vec<&str> = heads.flat_map(|line| line.split_whitespace().skip(3)).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let without = |number: &str| {
        let mut all = requests.to_vec();
        for request in &mut all {
            let Some(sdp) = request["sdp"].as_str() else { continue };
            request["sdp"] = without_format(sdp, number)?.into();
        }
        Some(all)
    };
    numbers.into_iter().filter_map(without).collect()
}

/// `None` when a section would be left without formats.
fn without_format(sdp: &str, number: &str) -> Option<String> {
    let mut out = String::new();
    for line in sdp.split_inclusive('\n') {
        let belongs = |name: &str| line.starts_with(&format!("a={name}:{number} "));
        if line.starts_with("m=") {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (head, formats) = words.split_at_checked(3)?;
            let left: Vec<&str> = formats.iter().copied().filter(|format| *format != number).collect();
            if left.is_empty() {
                return None;
            }
            out.push_str(&format!("{} {}\r\n", head.join(" "), left.join(" ")));
        } else if !belongs("rtpmap") && !belongs("fmtp") {
            out.push_str(line);
        }
    }
    Some(out)
}
