//! Replies of two daemons in a form in which equal meaning is equal text.
//!
//! Each rule below takes away one thing in which two right daemons may differ. Its name is printed by
//! `differential --rules` and used in the documentation of the test.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde_json::Value;

/// A normalisation: name and reason.
pub const NORMALISATIONS: &[(&str, &str)] = &[
    (
        "line-order",
        "10.x edits the text in place, newer series print in a fixed order: lines of a section are a set",
    ),
    ("line-ends", "10.x keeps the line ends of the input: CRLF and LF are the same"),
    ("connection-level", "10.x prints c= where it was: the address that holds for a section counts"),
    ("session-lines", "10.x leaves r=, z=, k= and unknown b= where they were, newer series drop them"),
    ("rejected-lines", "of a rejected section only kind, port and transport count: 10.x copies the rest"),
    ("port-numbers", "local ports are named in the order of their first use, per address"),
    ("random-values", "keys, passwords, fingerprints of the daemon's own are named likewise"),
    (
        "foundations",
        "10.x makes new ones for each order of addresses, newer series one for each address: named anew in each section",
    ),
    ("port-count", "10.x keeps the count of ports in m=, newer series use one"),
    ("opus-fmtp", "10.x prints format parameters of Opus as received, newer series in an order of their own"),
    ("tls-id", "10.x has none"),
    ("end-of-candidates", "10.x copies it, newer series print it when they trickle"),
    ("non-rtp-direction", "10.x prints a direction for media that are not RTP"),
    ("other-groups", "10.x copies a=group lines; BUNDLE is left out of the cases"),
    (
        "nameless-rtpmap",
        "the reference prints `rtpmap:35 /0` for a number without a meaning, ours nothing (docs/differences.md)",
    ),
    ("unread-lines", "10.x copies attributes that it cannot read, newer series drop them"),
];

/// What one daemon has named so far in a case.
#[derive(Debug, Default)]
pub struct Names {
    /// Words of the requests: what a client brought is no random value.
    sent: BTreeSet<String>,
    named: BTreeMap<(Kind, String), usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Port,
    Ufrag,
    Password,
    Foundation,
    Key,
    Instance,
    Fingerprint,
}

impl Names {
    /// Takes note of a request's words.
    pub fn see(&mut self, request: &Value) {
        let sdp = request["sdp"].as_str().unwrap_or_default();
        self.sent.extend(sdp.split_whitespace().map(str::to_owned));
        self.sent.extend(sdp.split(['|', ' ', ':', '\r', '\n']).map(str::to_owned));
        // A fingerprint has colons of its own.
        let values = sdp.lines().filter_map(|line| line.split_once(':')?.1.split_once(' '));
        self.sent.extend(values.map(|(_, value)| value.to_owned()));
    }

    fn name(&mut self, kind: Kind, value: &str) -> String {
        if kind != Kind::Port && self.sent.contains(value) {
            return value.to_owned();
        }
        let next = self.named.keys().filter(|(other, _)| *other == kind).count();
        let number = *self.named.entry((kind, value.to_owned())).or_insert(next);
        match kind {
            Kind::Key => format!("<Key{number}:{}>", value.len()),
            _ => format!("<{kind:?}{number}>"),
        }
    }

    fn forget_foundations(&mut self) {
        self.named.retain(|(kind, _), _| *kind != Kind::Foundation);
    }

    fn port(&mut self, address: &str, token: &str) -> String {
        if !is_local_port(token) {
            return token.to_owned();
        }
        let key = |port: &str| (Kind::Port, format!("{address} {port}"));
        if !self.named.contains_key(&key(token))
            && let Some(number) = port_before(token).and_then(|before| self.named.get(&key(&before)))
        {
            return format!("<Port{number}+1>");
        }
        self.name(Kind::Port, &format!("{address} {token}"))
    }
}

/// Ports of the daemons in a run, or placeholders of the recorded corpus.
fn is_local_port(token: &str) -> bool {
    token.starts_with("{PORT") || token.parse().is_ok_and(|port: u16| LOCAL_PORTS.contains(&port))
}

fn port_before(token: &str) -> Option<String> {
    match token.strip_suffix("+1}") {
        Some(base) => Some(format!("{base}}}")),
        None => token.parse::<u16>().ok().map(|port| (port - 1).to_string()),
    }
}

/// Both daemons' media ports; the parties of the cases use none of them.
pub const LOCAL_PORTS: std::ops::RangeInclusive<u16> = 10_000..=29_999;

/// The lines that count of a reply.
pub fn canonical(reply: &Value, names: &mut Names) -> Vec<String> {
    let mut lines = Vec::new();
    let Some(entries) = reply.as_object() else { return vec![reply.to_string()] };
    for (key, value) in entries.iter().filter(|(key, _)| *key != "sdp") {
        lines.push(format!("{key}: {value}"));
    }
    lines.sort();
    let sdp = reply["sdp"].as_str().unwrap_or_default();
    if !sdp.is_empty() {
        lines.extend(description(sdp, names));
    }
    lines
}

/// Session lines and the sections of a body, lines without their ends.
pub fn sections(sdp: &str) -> (Vec<&str>, Vec<Vec<&str>>) {
    let (mut session, mut sections) = (Vec::new(), Vec::<Vec<&str>>::new());
    for line in sdp.lines().filter(|line| !line.is_empty()) {
        if line.starts_with("m=") {
            sections.push(vec![line]);
        } else {
            sections.last_mut().unwrap_or(&mut session).push(line);
        }
    }
    (session, sections)
}

fn description(sdp: &str, names: &mut Names) -> Vec<String> {
    let (session, sections) = sections(sdp);
    let connection = |lines: &[&str]| {
        lines.iter().find_map(|line| line.strip_prefix("c=IN IP")).and_then(|c| c.get(2..)).map(str::to_owned)
    };
    let common = connection(&session).unwrap_or_default();
    // All m= lines first, so that ports are named alike whatever else is printed where.
    let mut heads = Vec::new();
    for lines in &sections {
        let address = connection(lines).unwrap_or_else(|| common.clone());
        let mut words: Vec<String> = lines[0].split(' ').map(str::to_owned).collect();
        if let Some(port) = words.get_mut(1) {
            let single = port.split('/').next().unwrap_or_default().to_owned();
            *port = names.port(&address, &single);
        }
        heads.push((words, address));
    }
    let mut out: Vec<String> = session
        .iter()
        .filter(|line| !line.starts_with("c=") && !is_dropped_line(line))
        .map(|line| attribute(line, &common, names))
        .collect();
    out.sort();
    for (lines, (words, address)) in sections.iter().zip(heads) {
        if words.get(1).is_none_or(|port| port == "0") {
            out.push(words[..words.len().min(3)].join(" "));
            continue;
        }
        out.push(words.join(" ").trim_end().to_owned());
        out.push(format!("c={address}"));
        let is_rtp = words.get(2).is_some_and(|protocol| protocol.contains("RTP"));
        let opus: Vec<&str> = lines.iter().filter_map(|line| opus_payload_type(line)).collect();
        names.forget_foundations();
        let mut rest: Vec<String> = lines[1..]
            .iter()
            .filter(|line| !line.starts_with("c=") && !is_dropped_line(line))
            .filter(|line| is_rtp || !is_direction(line))
            .filter(|line| {
                let number = line.strip_prefix("a=fmtp:").and_then(|rest| rest.split(' ').next());
                !number.is_some_and(|number| opus.contains(&number))
            })
            .map(|line| attribute(line, &address, names))
            .collect();
        rest.sort();
        out.extend(rest);
    }
    out
}

fn opus_payload_type<'a>(line: &&'a str) -> Option<&'a str> {
    let (number, coding) = line.strip_prefix("a=rtpmap:")?.split_once(' ')?;
    coding.to_ascii_lowercase().starts_with("opus/").then_some(number)
}

fn is_direction(line: &str) -> bool {
    matches!(line, "a=sendrecv" | "a=sendonly" | "a=recvonly" | "a=inactive")
}

/// See the rules `session-lines`, `tls-id`, `end-of-candidates`, `other-groups`, `unread-lines`.
fn is_dropped_line(line: &str) -> bool {
    let prefixes = ["r=", "z=", "k=", "a=tls-id:", "a=end-of-candidates", "a=group:"];
    let known_bandwidths = ["b=AS:", "b=CT:", "b=RR:", "b=RS:", "b=TIAS:"];
    prefixes.iter().any(|prefix| line.starts_with(prefix))
        || (line.starts_with("b=") && !known_bandwidths.iter().any(|known| line.starts_with(known)))
        || matches!(line, "a=candidate:bad" | "a=rtpmap:0 PCMU" | "a=fingerprint:md6 00:11")
        || line.starts_with("a=extmap:15 ")
        || (line.starts_with("a=rtpmap:") && line.ends_with(" /0"))
}

fn attribute(line: &str, address: &str, names: &mut Names) -> String {
    let (name, value) = line.split_once(':').unwrap_or((line, ""));
    let mut words: Vec<String> = value.split(' ').map(str::to_owned).collect();
    match name {
        "a=rtcp" => {
            let at = words.get(3).cloned().unwrap_or_else(|| address.to_owned());
            words[0] = names.port(&at, &words[0]);
        }
        "a=ice-ufrag" => words[0] = names.name(Kind::Ufrag, &words[0]),
        "a=ice-pwd" => words[0] = names.name(Kind::Password, &words[0]),
        "a=rtpengine" => words[0] = names.name(Kind::Instance, &words[0]),
        "a=fingerprint" if words.len() == 2 => words[1] = names.name(Kind::Fingerprint, &words[1]),
        "a=candidate" if words.len() > 5 => {
            if words[0].len() >= 16 || words[0].starts_with('{') {
                words[0] = names.name(Kind::Foundation, &words[0]);
            }
            let at = words[4].clone();
            words[5] = names.port(&at, &words[5]);
            if words.len() > 11 && words[10] == "rport" {
                let at = words[9].clone();
                words[11] = names.port(&at, &words[11]);
            }
        }
        "a=crypto" => {
            for word in words.iter_mut().filter(|word| word.starts_with("inline:")) {
                let rest = word["inline:".len()..].to_owned();
                let (key, parameters) = rest.split_once('|').unwrap_or((&rest, ""));
                let bar = if rest.contains('|') { "|" } else { "" };
                *word = format!("inline:{}{bar}{parameters}", names.name(Kind::Key, key));
            }
        }
        _ => return line.to_owned(),
    }
    format!("{name}:{}", words.join(" "))
}

/// The two texts side by side as a diff: `-` only in `reference`, `+` only in `ours`.
pub fn diff(reference: &[String], ours: &[String]) -> String {
    // Longest common subsequence; replies have some dozens of lines.
    let (n, m) = (reference.len(), ours.len());
    let mut common = vec![vec![0_usize; m + 1]; n + 1];
    for i in (0..n).rev() {
        for j in (0..m).rev() {
            common[i][j] = if reference[i] == ours[j] {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    let (mut i, mut j, mut out) = (0, 0, String::new());
    while i < n || j < m {
        let (mark, line) = if i < n && j < m && reference[i] == ours[j] {
            (i, j) = (i + 1, j + 1);
            (' ', &reference[i - 1])
        } else if i < n && (j == m || common[i + 1][j] >= common[i][j + 1]) {
            i += 1;
            ('-', &reference[i - 1])
        } else {
            j += 1;
            ('+', &ours[j - 1])
        };
        out.push_str(&format!("    {mark} {line}\n"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn lines(sdp: &str) -> Vec<String> {
        canonical(&json!({"result": "ok", "sdp": sdp}), &mut Names::default())
    }

    #[test]
    fn place_of_connection_and_order_of_attributes_do_not_count() {
        let old = "v=0\r\nc=IN IP4 203.0.113.1\r\nt=0 0\r\nm=audio 20000 RTP/AVP 0\r\na=sendrecv\r\na=rtcp:20001\r\n";
        let new = "v=0\nt=0 0\nm=audio 12346 RTP/AVP 0\nc=IN IP4 203.0.113.1\na=rtcp:12347\na=sendrecv\n";
        assert_eq!(lines(old), lines(new));
    }

    #[test]
    fn address_port_relation_formats_and_lines_count() {
        let base = "v=0\nc=IN IP4 203.0.113.1\nm=audio 20000 RTP/AVP 0 8\na=rtcp:20001\na=sendrecv\n";
        for (from, to) in [
            ("203.0.113.1", "203.0.113.2"),
            ("a=rtcp:20001", "a=rtcp:20003"),
            ("0 8", "8 0"),
            ("a=sendrecv\n", ""),
            ("a=sendrecv\n", "a=sendrecv\na=sendrecv\n"),
        ] {
            assert_ne!(lines(base), lines(&base.replace(from, to)), "{from} -> {to}");
        }
    }

    #[test]
    fn random_values_are_named_unless_a_client_sent_them() {
        let mut names = Names::default();
        names.see(&json!({"sdp": "a=crypto:1 X inline:mine=\r\n"}));
        let reply = json!({"sdp": "m=audio 20000 RTP/SAVP 0\na=crypto:1 X inline:mine=\na=crypto:2 Y inline:fresh|2^31\n"});
        let lines = canonical(&reply, &mut names);
        assert!(lines.contains(&"a=crypto:1 X inline:mine=".to_owned()), "{lines:?}");
        assert!(lines.contains(&"a=crypto:2 Y inline:<Key0:5>|2^31".to_owned()), "{lines:?}");
    }
}
