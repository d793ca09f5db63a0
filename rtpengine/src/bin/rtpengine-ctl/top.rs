//! `rtpengine-ctl top`: live calls, the busiest first, anew every few seconds. Rates are differences between two looks.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use service::process::terminal_size;

const INTERVAL: Duration = Duration::from_secs(2);
/// Cursor to the corner, rest of the screen empty.
const ANEW: &str = "\x1b[H\x1b[J";
const BOLD: &str = "\x1b[1m";
const PLAIN: &str = "\x1b[0m";
/// Rows where nobody says how many there are.
const ROWS: usize = 10_000;

/// Words behind `top`.
#[derive(Debug, PartialEq)]
pub struct Options {
    pub once: bool,
    pub interval: Duration,
}

impl Options {
    /// Reads them.
    ///
    /// # Errors
    /// The word that is none.
    pub fn parse(words: &str) -> Result<Self, String> {
        let mut options = Self { once: false, interval: INTERVAL };
        for word in words.split_whitespace() {
            let seconds = || {
                let seconds: f64 = word.strip_prefix("--interval=")?.parse().ok()?;
                (0.1..=3600.0).contains(&seconds).then(|| Duration::from_secs_f64(seconds))
            };
            match (word, seconds()) {
                ("--once", _) => options.once = true,
                (_, Some(interval)) => options.interval = interval,
                _ => return Err(word.into()),
            }
        }
        Ok(options)
    }
}

/// Shows calls until the output or the daemon is gone; without a terminal, once.
pub fn run(options: &Options, ask: impl Fn(&str) -> io::Result<Vec<u8>>) -> io::Result<()> {
    let is_terminal = io::stdout().is_terminal();
    let look = || -> io::Result<Look> {
        let reply = ask("json live")?;
        let value = serde_json::from_slice(&reply).map_err(|_| {
            io::Error::other(format!("(no statistics: {})", String::from_utf8_lossy(&reply).trim()))
        })?;
        Ok(Look { at: Instant::now(), value })
    };
    let mut before = look()?;
    loop {
        thread::sleep(options.interval);
        let now = look()?;
        let (rows, columns) = match terminal_size().filter(|_| is_terminal) {
            Some((rows, columns)) => (usize::from(rows), usize::from(columns)),
            None => (ROWS, ROWS),
        };
        let lines = picture(&before, &now);
        let mut text = if is_terminal { ANEW.to_owned() } else { String::new() };
        for (number, line) in lines.iter().take(rows.saturating_sub(1)).enumerate() {
            let line: String = line.chars().take(columns).collect();
            match is_terminal && number == HEADER {
                true => text.push_str(&format!("{BOLD}{line}{PLAIN}\n")),
                false => text.push_str(&format!("{line}\n")),
            }
        }
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()?;
        if options.once || !is_terminal {
            return Ok(());
        }
        before = now;
    }
}

/// What the daemon said, and when.
struct Look {
    at: Instant,
    value: Value,
}

/// Line with the names of the columns.
const HEADER: usize = 4;

/// A party's media in a row.
struct Row {
    call_id: String,
    tag: String,
    codec: String,
    packets: f64,
    kilobits: f64,
    lost: f64,
    jitter: f64,
    mos: Option<f64>,
    endpoint: String,
}

fn picture(before: &Look, now: &Look) -> Vec<String> {
    let seconds = (now.at - before.at).as_secs_f64().max(0.001);
    let value = &now.value;
    let get = |path: &str| value.pointer(path).and_then(as_number).unwrap_or(0.0);
    let mut lines = vec![
        format!(
            "rtpengine - up {}, {} calls ({} of other instances), {} media transcoded",
            duration(get("/totalstatistics/uptime")),
            get("/currentstatistics/sessionstotal"),
            get("/currentstatistics/sessionsforeign"),
            get("/currentstatistics/transcodedmedia")
        ),
        format!(
            "Traffic: {:.0} packets/s, {:.1} Mbit/s, {:.0} errors/s   ended: {:.0}, rejected: {:.0}, timed out: {:.0}",
            get("/currentstatistics/packetrate"),
            get("/currentstatistics/byterate") * 8.0 / 1e6,
            get("/currentstatistics/errorrate"),
            get("/totalstatistics/managedsessions"),
            get("/totalstatistics/rejectedsessions"),
            get("/totalstatistics/timeoutsessions")
        ),
        format!(
            "Average: MOS {:.1}, jitter {:.0} ms, loss {:.1} %",
            get("/mos/mos_average"),
            get("/voip_metrics/jitter_average"),
            get("/voip_metrics/packetloss_average")
        ),
        String::new(),
        format!(
            "{:<36} {:<16} {:<14} {:>7} {:>8} {:>6} {:>8} {:>4}  {}",
            "CALL-ID", "TAG", "CODEC", "PKT/S", "KBIT/S", "LOSS%", "JITTER", "MOS", "ENDPOINT"
        ),
    ];
    let mut rows = rows(&before.value, value, seconds);
    rows.sort_by(|a, b| b.packets.total_cmp(&a.packets).then_with(|| a.call_id.cmp(&b.call_id)));
    lines.extend(rows.iter().map(|row| {
        let mut line = format!(
            "{:<36} {:<16} {:<14} {:>7.1} {:>8.1} {:>6.1} {:>5.0} ms ",
            short(&row.call_id, 36),
            short(&row.tag, 16),
            short(&row.codec, 14),
            row.packets,
            row.kilobits,
            row.lost,
            row.jitter
        );
        let _ = match row.mos {
            Some(mos) => write!(line, "{mos:>4.1}  {}", row.endpoint),
            None => write!(line, "{:>4}  {}", "-", row.endpoint),
        };
        line
    }));
    lines
}

/// A number, also one that is written as text.
fn as_number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.parse().ok())
}

fn list<'v>(value: &'v Value, name: &str) -> impl Iterator<Item = &'v Value> {
    value.get(name).and_then(Value::as_array).into_iter().flatten()
}

fn text(value: &Value, name: &str) -> String {
    // Nothing that came with signalling may speak to the terminal.
    let text = value.get(name).and_then(Value::as_str).unwrap_or_default();
    text.chars().map(|char| if char.is_control() { '?' } else { char }).collect()
}

fn rows(before: &Value, now: &Value, seconds: f64) -> Vec<Row> {
    let counts = |value: &Value| -> HashMap<(String, String, u64), [f64; 3]> {
        let calls = list(value, "calls");
        let sections = calls.flat_map(|call| {
            list(call, "legs").flat_map(move |leg| list(leg, "medias").map(move |media| (call, leg, media)))
        });
        sections
            .map(|(call, leg, media)| {
                let index = media.get("media_index").and_then(Value::as_u64).unwrap_or(0);
                ((text(call, "call_id"), text(leg, "tag"), index), sums(media))
            })
            .collect()
    };
    let earlier = counts(before);
    let mut rows = Vec::new();
    for call in list(now, "calls") {
        for leg in list(call, "legs") {
            for media in list(leg, "medias") {
                let index = media.get("media_index").and_then(Value::as_u64).unwrap_or(0);
                let key = (text(call, "call_id"), text(leg, "tag"), index);
                let sums = sums(media);
                let former = earlier.get(&key).copied().unwrap_or(sums);
                let [packets, octets, lost] =
                    [0, 1, 2].map(|which: usize| (sums[which] - former[which]).max(0.0));
                let metric = |name: &str| {
                    let ssrcs =
                        media.pointer("/ingress/SSRC").and_then(Value::as_array).into_iter().flatten();
                    ssrcs
                        .filter_map(|ssrc| ssrc.pointer(&format!("/metrics/{name}")).and_then(as_number))
                        .next_back()
                };
                let codec =
                    media.pointer("/ingress/SSRC").and_then(Value::as_array).and_then(|all| all.last());
                let codec = codec.map(|ssrc| text(ssrc, "codec")).filter(|codec| !codec.is_empty());
                let port = media.get("endpoint_port").and_then(Value::as_u64);
                rows.push(Row {
                    call_id: key.0,
                    tag: key.1,
                    codec: codec.unwrap_or_else(|| text(media, "type")),
                    packets: packets / seconds,
                    kilobits: octets * 8.0 / 1000.0 / seconds,
                    lost: if packets + lost > 0.0 { 100.0 * lost / (packets + lost) } else { 0.0 },
                    jitter: metric("jitter").unwrap_or(0.0),
                    mos: metric("MOS"),
                    endpoint: match port {
                        Some(port) => format!("{} port {port}", text(media, "endpoint_address")),
                        None => String::new(),
                    },
                });
            }
        }
    }
    rows
}

/// Packets, octets and lost packets of what a party sends.
fn sums(media: &Value) -> [f64; 3] {
    let of = |path: &str| media.pointer(path).and_then(as_number).unwrap_or(0.0);
    let ssrcs = media.pointer("/ingress/SSRC").and_then(Value::as_array).into_iter().flatten();
    let lost = ssrcs.filter_map(|ssrc| ssrc.pointer("/metrics/lost").and_then(as_number)).sum();
    [of("/ingress/packets"), of("/ingress/bytes"), lost]
}

fn short(text: &str, width: usize) -> String {
    match text.chars().count() > width {
        true => text.chars().take(width - 1).chain(['~']).collect(),
        false => text.into(),
    }
}

fn duration(seconds: f64) -> String {
    let seconds = seconds as u64;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match days {
        0 => format!("{hours}:{minutes:02}:{:02}", seconds % 60),
        _ => format!("{days} d {hours}:{minutes:02}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn look(at: Instant, counts: [[u64; 3]; 2]) -> Look {
        let call = |id: &str, [packets, bytes, lost]: [u64; 3], mos: Option<f64>| {
            let mut metrics = json!({"lost": lost, "jitter": 3.2});
            metrics["MOS"] = mos.into();
            json!({"call_id": id, "legs": [{"tag": "a\u{1b}b", "medias": [{
                "media_index": 1, "type": "audio", "endpoint_address": "192.0.2.1", "endpoint_port": 4000,
                "ingress": {"packets": packets, "bytes": bytes, "SSRC": [{"codec": "PCMA", "metrics": metrics}]},
            }]}]})
        };
        let value = json!({
            "currentstatistics": {"sessionstotal": 2, "sessionsforeign": 0, "packetrate": 150},
            "totalstatistics": {"uptime": "90061"},
            "calls": [call("quiet", counts[0], None), call("busy", counts[1], Some(4.3))],
        });
        Look { at, value }
    }

    #[test]
    fn rates_are_those_between_two_looks_and_the_busiest_call_comes_first() {
        let begin = Instant::now();
        let before = look(begin, [[100, 1000, 0], [1000, 160_000, 10]]);
        let now = look(begin + Duration::from_secs(2), [[100, 1000, 0], [1090, 174_400, 20]]);
        let lines = picture(&before, &now);
        assert!(lines[0].contains("up 1 d 1:01, 2 calls"), "{}", lines[0]);
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(
            words(&lines[5]),
            ["busy", "a?b", "PCMA", "45.0", "57.6", "10.0", "3", "ms", "4.3", "192.0.2.1", "port", "4000"]
        );
        assert_eq!(words(&lines[6])[..6], ["quiet", "a?b", "PCMA", "0.0", "0.0", "0.0"]);
        assert_eq!(words(&lines[6])[8], "-");
    }

    #[test]
    fn options_are_checked() {
        assert_eq!(Options::parse(""), Ok(Options { once: false, interval: INTERVAL }));
        let quick = Options { once: true, interval: Duration::from_millis(500) };
        assert_eq!(Options::parse(" --once --interval=0.5"), Ok(quick));
        for wrong in ["--interval=0", "--interval=x", "--twice", "now"] {
            assert_eq!(Options::parse(wrong), Err(wrong.into()));
        }
    }
}
