//! Two daemons side by side, and cases played against both.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::canonical::{LOCAL_PORTS, Names, canonical, diff};
use super::differences::explained;
use super::exclusions::excluded;
use super::features::Features;
use super::generate::Generator;
use super::tree::tree;
use crate::daemon::{Process, await_ping, relay_binary};
use crate::ng::{Format, NgClient};
use crate::ports::PortBlock;

/// Where the distribution's package puts its daemon.
pub const REFERENCE: &str = "/usr/bin/rtpengine";

/// The reference daemon of this machine, if any: `$REFERENCE_RTPENGINE` or the distribution's.
pub fn reference() -> Option<PathBuf> {
    let path = std::env::var_os("REFERENCE_RTPENGINE").map_or_else(|| REFERENCE.into(), PathBuf::from);
    path.is_file().then_some(path)
}

/// Both daemons, with the same options and advertised addresses.
#[derive(Debug)]
pub struct Pair {
    reference: Daemon,
    ours: Daemon,
    played: std::cell::Cell<u64>,
}

#[derive(Debug)]
struct Daemon {
    ng: NgClient,
    _process: Process,
    _ports: PortBlock,
    _folder: tempfile::TempDir,
}

/// A reply that differs.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Requests up to the one whose replies differ.
    pub requests: Vec<Value>,
    /// The two replies as a diff.
    pub difference: String,
}

/// What became of a case.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// This many equal replies.
    Equal(usize),
    /// Differs as a named rule says.
    Explained(&'static str),
    /// Differs.
    Different(Failure),
}

impl Pair {
    /// Starts both daemons.
    pub fn start(reference: &Path) -> Result<Self, String> {
        let middle = LOCAL_PORTS.start() + (LOCAL_PORTS.end() - LOCAL_PORTS.start()) / 2;
        Ok(Self {
            reference: Daemon::start(reference, 31, *LOCAL_PORTS.start(), middle)?,
            ours: Daemon::start(&relay_binary(), 61, middle + 1, *LOCAL_PORTS.end())?,
            played: std::cell::Cell::new(0),
        })
    }

    /// Asks both: the reference's reply, and ours.
    pub fn both(&self, request: &Value) -> [Option<Value>; 2] {
        [&self.reference, &self.ours].map(|daemon| daemon.ask(request))
    }

    /// Makes the case of a seed and plays it.
    pub fn play_seed(&self, seed: u64, features: &Features) -> Outcome {
        let mut generator = Generator::new(seed, features);
        self.play(|reply| generator.next(reply))
    }

    /// Plays requests that were recorded from a case.
    pub fn replay(&self, requests: &[Value]) -> Outcome {
        let mut requests = requests.iter().cloned();
        self.play(|_| requests.next())
    }

    fn play(&self, mut next: impl FnMut(Option<&Value>) -> Option<Value>) -> Outcome {
        self.played.set(self.played.get() + 1);
        let call_id = format!("case-{}-{}", std::process::id(), self.played.get());
        let (mut reference_names, mut our_names) = (Names::default(), Names::default());
        let (mut requests, mut equal, mut last) = (Vec::new(), 0, None::<Value>);
        let outcome = loop {
            let Some(mut request) = next(last.as_ref()) else { break Outcome::Equal(equal) };
            request["call-id"] = call_id.as_str().into();
            requests.push(request.clone());
            if !make_comparable(&mut requests) {
                break Outcome::Equal(equal);
            }
            request = requests[requests.len() - 1].clone();
            reference_names.see(&request);
            our_names.see(&request);
            let theirs = self.reference.ask(&request);
            let ours = self.ours.ask(&request);
            let (theirs, ours) = match (theirs, ours) {
                (Some(theirs), Some(ours)) => (theirs, ours),
                (theirs, ours) => {
                    let said =
                        |reply: Option<Value>| reply.map_or("no reply".into(), |reply| reply.to_string());
                    let difference = format!("    - {}\n    + {}\n", said(theirs), said(ours));
                    break Outcome::Different(Failure { requests, difference });
                }
            };
            if request["command"] == "delete" {
                if theirs["result"] != ours["result"] || theirs.get("warning") != ours.get("warning") {
                    let difference = format!("    - {theirs}\n    + {ours}\n");
                    break Outcome::Different(Failure { requests, difference });
                }
                let [left, right] = [&theirs, &ours].map(tree);
                if !muxes(&requests) && left != right {
                    break Outcome::Different(Failure { requests, difference: diff(&left, &right) });
                }
                equal += 1;
                last = Some(theirs);
                continue;
            }
            let left = canonical(&theirs, &mut reference_names);
            let right = canonical(&ours, &mut our_names);
            if left != right {
                break match explained(&requests, &left, &right) {
                    Some(rule) => Outcome::Explained(rule),
                    None => Outcome::Different(Failure { requests, difference: diff(&left, &right) }),
                };
            }
            equal += 1;
            last = Some(theirs);
            if request["command"] == "answer" && !muxes(&requests) {
                let query = json!({"command": "query", "call-id": call_id});
                let [theirs, ours] = [&self.reference, &self.ours]
                    .map(|daemon| daemon.ask(&query).map(|reply| tree(&reply)).unwrap_or_default());
                if theirs != ours {
                    requests.push(query);
                    break Outcome::Different(Failure { requests, difference: diff(&theirs, &ours) });
                }
                equal += 1;
            }
        };
        let end = json!({"command": "delete", "call-id": call_id, "delete-delay": 0});
        self.reference.ask(&end);
        self.ours.ask(&end);
        outcome
    }
}

/// What 10.x keeps of multiplexing (see the exclusions) shows in its streams.
fn muxes(requests: &[Value]) -> bool {
    requests.iter().any(|request| request.to_string().contains("rtcp-mux"))
}

/// Takes keys from the last request until it keeps away from all exclusions. False when that cannot be done.
fn make_comparable(requests: &mut [Value]) -> bool {
    let (keep, mut free) = (["command", "call-id", "from-tag", "to-tag", "via-branch", "sdp"], Vec::new());
    if excluded(requests).is_none() {
        return true;
    }
    let Some(last) = requests.len().checked_sub(1) else { return false };
    let original = requests[last].clone();
    free.extend(original.as_object().into_iter().flatten().map(|(key, _)| key.clone()));
    free.retain(|key| !keep.contains(&key.as_str()));
    for key in &free {
        let mut fewer = original.clone();
        fewer.as_object_mut().map(|keys| keys.remove(key));
        requests[last] = fewer;
        if excluded(requests).is_none() {
            return true;
        }
    }
    let mut bare = original;
    if let Some(keys) = bare.as_object_mut() {
        keys.retain(|key, _| keep.contains(&key.as_str()));
    }
    requests[last] = bare;
    excluded(requests).is_none()
}

impl Daemon {
    fn start(program: &Path, host: u8, low: u16, high: u16) -> Result<Self, String> {
        let ports = PortBlock::take();
        let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
        let control = SocketAddr::from((Ipv4Addr::LOCALHOST, ports.control()));
        // Loopback addresses of this process alone, so that the full range of ports is free.
        let [_, _, b, c] = std::process::id().to_be_bytes();
        let address = |last: u8| format!("127.{}.{}.{last}", 1 + b % 250, c);
        let mut command = Command::new(program);
        command.args(["--config-file=none", "--table=-1", "--foreground", "--log-stderr", "--log-level=3"]);
        command.arg(format!("--interface=pub/{}!203.0.113.20", address(host)));
        command.arg(format!("--interface=priv/{}!192.0.2.254", address(host + 1)));
        command.arg("--interface=pub/::1!2001:db8::20");
        command.arg("--interface=priv/::1!2001:db8::254");
        command.args(["--delete-delay=0", "--timeout=3600", "--num-threads=1"]);
        command.arg(format!("--pidfile={}/pid", folder.path().display()));
        command.arg(format!("--listen-ng={control}"));
        command.args([format!("--port-min={low}"), format!("--port-max={high}")]);
        let mut process = Process::start(command, &folder.path().join("log"))
            .map_err(|e| format!("{}: {e}", program.display()))?;
        let ng = NgClient::connect(control);
        await_ping(&ng, &mut process, Duration::from_secs(15))
            .map_err(|reason| format!("{} {reason}\n{}", program.display(), process.log()))?;
        Ok(Self { ng, _process: process, _ports: ports, _folder: folder })
    }

    fn ask(&self, request: &Value) -> Option<Value> {
        self.ng.request_as(request, Format::Bencode, Duration::from_secs(5))
    }
}
