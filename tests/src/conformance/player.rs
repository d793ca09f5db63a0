//! Starts a daemon for a scenario and walks through its steps.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Scenario;
use super::expected;
use super::pattern::Bindings;
use super::report::Outcome;
use crate::bencode;
use crate::daemon::{Process, await_ping};
use crate::http;
use crate::ng::{Format, NgClient, parse_body};
use crate::ports::PortBlock;
use crate::websocket;

/// What is tested: a command, to which options are added.
#[derive(Clone, Debug)]
pub struct Target {
    /// Program and leading arguments.
    pub command: Vec<String>,
    /// Further options by scenario.
    pub options: BTreeMap<String, String>,
}

impl Target {
    /// `$RTPENGINE` (words) as in the interoperability recipes, else the relay of this build.
    pub fn from_environment() -> Self {
        let words = std::env::var("RTPENGINE").unwrap_or_default();
        let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        if !words.is_empty() {
            return Self { command: words, options: BTreeMap::new() };
        }
        let list = expected::read(&expected::path());
        let own = |(name, option): (&str, &str)| (name.to_owned(), option.to_owned());
        let options = expected::with_option(&list).map(own).collect();
        Self { options, ..Self::binary(crate::daemon::relay_binary()) }
    }

    /// A program without leading arguments.
    pub fn binary(path: PathBuf) -> Self {
        Self { command: vec![path.to_string_lossy().into_owned()], options: BTreeMap::new() }
    }
}

/// Plays all scenarios, several at a time, each against its own daemon. Outcomes come in the order of the scenarios.
pub fn play_all<'a>(target: &Target, scenarios: &'a [Scenario]) -> Vec<Outcome<'a>> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(2, usize::from).min(8) + 1;
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let ports = PortBlock::take();
                while let Some(scenario) = scenarios.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = play(target, scenario, &ports);
                    done.lock().expect("no panic while held").push(Outcome { scenario, result });
                }
            });
        }
    });
    let mut outcomes = done.into_inner().expect("no panic while held");
    outcomes.sort_by_key(|outcome| std::ptr::from_ref(outcome.scenario));
    outcomes
}

/// Plays one scenario; the error is the first difference.
pub fn play(target: &Target, scenario: &Scenario, ports: &PortBlock) -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let home = folder.path().to_string_lossy().into_owned();
    let mut bindings = Bindings::default();
    bindings.set("TMPDIR", &home);
    bindings.ports_may_coincide =
        scenario.daemon_args.iter().filter(|argument| argument.starts_with("--interface")).count() > 1;
    bindings.call_ids = limited_list_call_ids(scenario);
    for (name, content) in &scenario.files {
        std::fs::write(folder.path().join(name), file_content(content)).map_err(|e| e.to_string())?;
    }

    let addresses = Addresses::choose(ports);
    let (low, high) = ports.media();
    let mut command = Command::new(&target.command[0]);
    command.args(&target.command[1..]).args(target.options.get(&scenario.name));
    let argument = |name: &str| scenario.daemon_args.iter().find(|argument| argument.starts_with(name));
    if argument("--config-file").is_none() {
        command.arg("--config-file=none");
    }
    command.args(["--table=-1", "--foreground", "--log-stderr", "--log-level=6"]);
    command.arg(format!("--pidfile={home}/daemon.pid")).arg(format!("--listen-ng={}", addresses.udp));
    if uses(scenario, |transport| transport == "tcp") {
        command.arg(format!("--listen-tcp-ng={}", addresses.tcp));
    }
    if uses(scenario, |transport| transport == "http" || transport.starts_with("ws:")) {
        command.arg(format!("--listen-http={}", addresses.http));
    }
    if argument("--port-min").is_none() {
        command.args([format!("--port-min={low}"), format!("--port-max={high}")]);
    }
    for argument in &scenario.daemon_args {
        // A small recorded range is moved to where nobody else is.
        let moved = argument.replace("--port-min=46000", &format!("--port-min={low}"));
        let moved = moved.replace("--port-max=46003", &format!("--port-max={}", low + 3));
        command.arg(moved.replace("{TMPDIR}", &home));
    }

    let log = folder.path().join("daemon.log");
    let mut process = Process::start(command, &log).map_err(|e| format!("{}: {e}", target.command[0]))?;
    let ng = NgClient::connect(addresses.udp);
    let started = await_ping(&ng, &mut process, Duration::from_secs(15));
    started.map_err(|reason| format!("daemon {reason}; log:\n{}", last_lines(&process.log())))?;

    for (i, step) in scenario.steps.iter().enumerate() {
        let outcome = play_step(step, &ng, &addresses, &mut bindings);
        let ended = process.ended().map(|status| format!(" (daemon ended: {status})")).unwrap_or_default();
        outcome.map_err(|difference| format!("step {}: {difference}{ended}", i + 1))?;
    }
    Ok(())
}

struct Addresses {
    udp: SocketAddr,
    tcp: SocketAddr,
    http: SocketAddr,
}

impl Addresses {
    fn choose(ports: &PortBlock) -> Self {
        let free = || {
            let listener =
                TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
            listener.expect("a free TCP port")
        };
        Self { udp: (Ipv4Addr::LOCALHOST, ports.control()).into(), tcp: free(), http: free() }
    }
}

fn uses(scenario: &Scenario, wanted: impl Fn(&str) -> bool) -> bool {
    scenario.steps.iter().any(|step| {
        let transport =
            if step.get("http").is_some() { "http" } else { step["transport"].as_str().unwrap_or("udp") };
        wanted(transport)
    })
}

fn play_step(step: &Value, ng: &NgClient, to: &Addresses, bindings: &mut Bindings) -> Result<(), String> {
    let transport = step["transport"].as_str().unwrap_or("udp");
    if let Some(call) = step.get("http") {
        return play_http(&bindings.fill(call), &step["reply"], to.http, bindings);
    }
    if let Some(raw) = step["raw"].as_str() {
        return play_raw(&bindings.fill_text(raw), step, transport, ng, to, bindings);
    }
    let format = if step["format"] == "json" { Format::Json } else { Format::Bencode };
    let request = bindings.fill(&step["request"]);
    let wait = if step["reply"].is_null() { SILENCE } else { PATIENCE };
    let reply = match transport {
        "udp" => ng.request_as(&request, format, wait),
        other => {
            let body = match format {
                Format::Bencode => bencode::encode(&request),
                Format::Json => request.to_string().into_bytes(),
            };
            let cookie = if other.contains("plain") { String::new() } else { format!("{} ", ng.cookie()) };
            let sent = [cookie.as_bytes(), &body].concat();
            match over_stream(other, &sent, 1, None, to, wait) {
                Err(_) if step["reply"].is_null() => None,
                Err(reason) => return Err(reason),
                Ok(Some(reply)) => {
                    let body = reply.strip_prefix(cookie.as_bytes()).ok_or("reply without our cookie")?;
                    Some(parse_body(body)?)
                }
                Ok(None) => None,
            }
        }
    };
    match (&step["reply"], reply) {
        (Value::Null, None) => Ok(()),
        (Value::Null, Some(reply)) => Err(format!("no reply expected, got {reply}")),
        (_, None) => Err(format!("no reply to {request}")),
        (expected, Some(reply)) => bindings.compare(expected, &reply, "").map_err(|difference| {
            match reply["error-reason"].as_str() {
                Some(reason) if !difference.contains(reason) => format!("{difference}; {reason}"),
                _ => difference,
            }
        }),
    }
}

fn play_raw(
    raw: &str,
    step: &Value,
    transport: &str,
    ng: &NgClient,
    to: &Addresses,
    bindings: &mut Bindings,
) -> Result<(), String> {
    let expected = step["raw_reply"].as_str();
    let wait = if expected.is_none() { SILENCE } else { PATIENCE };
    let reply = if transport == "udp" {
        ng.send(raw.as_bytes());
        ng.receive(Instant::now() + wait)
    } else {
        let opcode = step["ws_opcode"].as_u64().map(|opcode| opcode as u8);
        over_stream(transport, raw.as_bytes(), expected.map_or(0, str::len), opcode, to, wait)?
    };
    let reply = reply.map(|reply| String::from_utf8_lossy(&reply).into_owned());
    match (expected, reply) {
        (None, None) => Ok(()),
        (Some(expected), Some(reply)) => bindings.compare_texts(expected, &reply, "raw reply"),
        (expected, reply) => Err(format!("expected {expected:?}, got {reply:?}")),
    }
}

/// One exchange on a connection of its own. TCP has no frames: reads until `at_least` octets, and until they parse.
fn over_stream(
    transport: &str,
    message: &[u8],
    at_least: usize,
    opcode: Option<u8>,
    to: &Addresses,
    wait: Duration,
) -> Result<Option<Vec<u8>>, String> {
    match transport.strip_prefix("ws:") {
        Some(protocol) => websocket::exchange(to.http, protocol, opcode, message, wait),
        None if transport == "tcp" => http::tcp_exchange(to.tcp, message, wait, |received| {
            let body = received.iter().position(|&b| b == b' ').map(|at| &received[at + 1..]);
            received.len() >= at_least && body.is_some_and(|body| bencode::decode(body).is_ok())
        }),
        None => Err(format!("this runner has no transport {transport}")),
    }
}

fn play_http(call: &Value, expected: &Value, to: SocketAddr, bindings: &mut Bindings) -> Result<(), String> {
    let text = |key: &str| call[key].as_str();
    let method = text("method").ok_or("http step without method")?;
    let path = text("path").ok_or("http step without path")?;
    let reply = match http::request(to, method, path, text("content_type"), text("body")) {
        Err(_) if expected.is_null() => return Ok(()),
        reply => reply?,
    };
    let mut expected = expected.clone();
    let mut actual = json!({"status": reply.status, "content-type": reply.content_type, "body": reply.body});
    // JSON was parsed and written again by the recorder.
    for value in [&mut expected, &mut actual] {
        let body = value["body"].as_str().unwrap_or_default();
        let (cookie, dictionary) = match body.split_once(" {") {
            Some((cookie, rest)) if !cookie.contains('"') => (cookie, format!("{{{rest}")),
            _ => ("", body.to_owned()),
        };
        if let Ok(parsed @ Value::Object(_)) = serde_json::from_str::<Value>(&dictionary) {
            value["body"] = json!({"cookie": cookie, "dictionary": parsed});
        }
    }
    bindings.compare(&expected, &actual, "")
}

/// The call-ids of a scenario that asks for a part of the list; empty when it asks for all, which must then be right.
fn limited_list_call_ids(scenario: &Scenario) -> BTreeSet<String> {
    let requests = || scenario.steps.iter().map(|step| &step["request"]);
    if !requests().any(|request| request["command"] == "list" && request.get("limit").is_some()) {
        return BTreeSet::new();
    }
    requests().filter_map(|request| request["call-id"].as_str().map(str::to_owned)).collect()
}

fn file_content(content: &Value) -> Vec<u8> {
    match content["wav"].as_array() {
        Some(wav) => {
            let number = |i: usize| wav[i].as_u64().expect("rate and milliseconds") as u32;
            let (rate, milliseconds) = (number(0), number(1));
            let samples: Vec<i16> = (0..rate * milliseconds / 1000)
                .map(|i| if (i * 800 / rate) % 2 == 0 { 8000 } else { -8000 })
                .collect();
            crate::wav::encode(&samples, rate, 1)
        }
        None => content.as_str().unwrap_or_default().as_bytes().to_vec(),
    }
}

fn last_lines(log: &str) -> String {
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(5)..].join("\n")
}

const PATIENCE: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_millis(500);
