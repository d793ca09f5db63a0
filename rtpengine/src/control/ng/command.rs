//! The commands of the protocol, and how often each client used them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// A command and the short name that its counters have in statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command {
    /// As written in requests.
    pub name: &'static str,
    /// As written in statistics.
    pub short: &'static str,
}

const fn command(name: &'static str, short: &'static str) -> Command {
    Command { name, short }
}

/// All commands, in the order of the statistics. `CLI` counts as `cli`.
pub const COMMANDS: [Command; 33] = [
    command("ping", "ping"),
    command("offer", "offer"),
    command("answer", "answer"),
    command("delete", "delete"),
    command("query", "query"),
    command("list", "list"),
    command("start recording", "startrec"),
    command("stop recording", "stoprec"),
    command("pause recording", "pauserec"),
    command("start forwarding", "startfwd"),
    command("stop forwarding", "stopfwd"),
    command("block DTMF", "blkdtmf"),
    command("unblock DTMF", "unblkdtmf"),
    command("block media", "blkmedia"),
    command("unblock media", "unblkmedia"),
    command("play media", "playmedia"),
    command("stop media", "stopmedia"),
    command("play DTMF", "playdtmf"),
    command("statistics", "stats"),
    command("silence media", "slnmedia"),
    command("unsilence media", "unslnmedia"),
    command("publish", "pub"),
    command("subscribe request", "subreq"),
    command("subscribe answer", "subans"),
    command("unsubscribe", "unsub"),
    command("inject start", "injstart"),
    command("inject stop", "injstop"),
    command("connect", "conn"),
    command("cli", "cli"),
    command("transform", "trnsfm"),
    command("create", "create"),
    command("create answer", "crtansw"),
    command("mesh", "mesh"),
];

/// Index into [`COMMANDS`] of the command with this exact name.
pub fn find(name: &[u8]) -> Option<usize> {
    let name = if name == b"CLI" { b"cli" } else { name };
    COMMANDS.iter().position(|command| command.name.as_bytes() == name)
}

/// Counters of one command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommandCounter {
    /// Requests executed; repeated ones answered from the cookie cache do not count.
    pub count: u64,
    /// Time from reading the request to having its reply.
    pub duration: Duration,
}

/// Counters of one client address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCounters {
    /// By index into [`COMMANDS`].
    pub commands: [CommandCounter; COMMANDS.len()],
    /// Replies with `result` = `error`, and messages that could not be understood.
    pub errors: u64,
}

impl Default for ClientCounters {
    fn default() -> Self {
        ClientCounters { commands: [CommandCounter::default(); COMMANDS.len()], errors: 0 }
    }
}

impl ClientCounters {
    fn add(&mut self, command: Option<usize>, duration: Duration, success: Success) {
        if let Some(counter) = command.and_then(|index| self.commands.get_mut(index)) {
            counter.count += 1;
            counter.duration += duration;
        }
        if success == Success::Error {
            self.errors += 1;
        }
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Success {
    /// With anything but an error.
    Ok,
    /// With `result` = `error`.
    Error,
}

/// Counters per client address, and their totals.
#[derive(Debug, Default)]
pub struct CommandCounters {
    /// Guards plain additions only.
    inner: Mutex<Counters>,
}

#[derive(Debug, Default)]
struct Counters {
    total: ClientCounters,
    clients: HashMap<IpAddr, ClientCounters>,
}

/// Clients with counters of their own. UDP sources can be forged; later ones appear in the totals only.
const MAX_CLIENTS: usize = 1024;

impl CommandCounters {
    /// Counts a finished request; `command` is `None` if it was not understood.
    pub fn record(&self, client: IpAddr, command: Option<usize>, duration: Duration, success: Success) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.total.add(command, duration, success);
        if let Some(counters) = inner.clients.get_mut(&client) {
            counters.add(command, duration, success);
        } else if inner.clients.len() < MAX_CLIENTS {
            inner.clients.entry(client).or_default().add(command, duration, success);
        }
    }

    /// The totals.
    pub fn total(&self) -> ClientCounters {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).total.clone()
    }

    /// The counters of each client, sorted by address.
    pub fn clients(&self) -> Vec<(IpAddr, ClientCounters)> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let mut clients: Vec<_> =
            inner.clients.iter().map(|(ip, counters)| (*ip, counters.clone())).collect();
        clients.sort_by_key(|(ip, _)| *ip);
        clients
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_exact() {
        assert_eq!(find(b"ping"), Some(0));
        assert_eq!(find(b"CLI"), find(b"cli"));
        for name in ["Ping", "start_recording", "offer ", "", "trickle", "block dtmf"] {
            assert_eq!(find(name.as_bytes()), None, "{name}");
        }
    }

    #[test]
    fn counts_per_client_and_in_total() {
        let counters = CommandCounters::default();
        let client: IpAddr = [192, 0, 2, 1].into();
        let other: IpAddr = [192, 0, 2, 2].into();
        let millisecond = Duration::from_millis(1);
        counters.record(client, Some(1), millisecond, Success::Ok);
        counters.record(client, Some(1), millisecond, Success::Error);
        counters.record(other, None, millisecond, Success::Error);
        let expected = CommandCounter { count: 2, duration: 2 * millisecond };
        assert_eq!(counters.total().commands[1], expected);
        assert_eq!(counters.total().errors, 2);
        let clients = counters.clients();
        assert_eq!(clients[0].0, client);
        assert_eq!((clients[0].1.commands[1], clients[0].1.errors), (expected, 1));
        assert_eq!((clients[1].1.commands[1].count, clients[1].1.errors), (0, 1));
    }

    #[test]
    fn forged_sources_do_not_grow_the_table_without_bound() {
        let counters = CommandCounters::default();
        for host in 0..2000u32 {
            counters.record(IpAddr::V4(host.into()), Some(0), Duration::ZERO, Success::Ok);
        }
        assert_eq!(counters.clients().len(), MAX_CLIENTS);
        assert_eq!(counters.total().commands[0].count, 2000);
    }
}
