//! The commands of the protocol, and how often each client used them.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A command and the short name that its counters have in statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command {
    /// As written in requests.
    pub name: &'static str,
    /// As written in statistics.
    pub short: &'static str,
    /// As written in the table of `list totals`.
    pub title: &'static str,
}

const fn command(name: &'static str, short: &'static str, title: &'static str) -> Command {
    Command { name, short, title }
}

/// All commands, in the order of the statistics. `CLI` counts as `cli`.
pub const COMMANDS: [Command; 33] = [
    command("ping", "ping", "Ping"),
    command("offer", "offer", "Offer"),
    command("answer", "answer", "Answer"),
    command("delete", "delete", "Delete"),
    command("query", "query", "Query"),
    command("list", "list", "List"),
    command("start recording", "startrec", "StartRec"),
    command("stop recording", "stoprec", "StopRec"),
    command("pause recording", "pauserec", "PauseRec"),
    command("start forwarding", "startfwd", "StartFwd"),
    command("stop forwarding", "stopfwd", "StopFwd"),
    command("block DTMF", "blkdtmf", "BlkDTMF"),
    command("unblock DTMF", "unblkdtmf", "UnblkDTMF"),
    command("block media", "blkmedia", "BlkMedia"),
    command("unblock media", "unblkmedia", "UnblkMedia"),
    command("play media", "playmedia", "PlayMedia"),
    command("stop media", "stopmedia", "StopMedia"),
    command("play DTMF", "playdtmf", "PlayDTMF"),
    command("statistics", "stats", "Stats"),
    command("silence media", "slnmedia", "SlnMedia"),
    command("unsilence media", "unslnmedia", "UnslnMedia"),
    command("publish", "pub", "Pub"),
    command("subscribe request", "subreq", "SubReq"),
    command("subscribe answer", "subans", "SubAns"),
    command("unsubscribe", "unsub", "Unsub"),
    command("inject start", "injstart", "InjStart"),
    command("inject stop", "injstop", "InjStop"),
    command("connect", "conn", "Conn"),
    command("cli", "cli", "CLI"),
    command("transform", "trnsfm", "Trnsfm"),
    command("create", "create", "Create"),
    command("create answer", "crtansw", "CrtAnsw"),
    command("mesh", "mesh", "Mesh"),
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

/// Counters of one client address, as read.
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

/// The shortest and longest time that a request took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extremes {
    pub shortest: Duration,
    pub longest: Duration,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Success {
    /// With anything but an error.
    Ok,
    /// With `result` = `error`.
    Error,
}

/// Counters per client address.
///
/// A hash table of fixed size whose places are filled once and never emptied, so that counting takes no lock.
#[derive(Debug)]
pub struct CommandCounters {
    places: Box<[OnceLock<Box<Client>>]>,
    /// Clients that found no place.
    others: Counting,
    hasher: RandomState,
    /// By command, in nanoseconds, since somebody last took them; only once somebody wants them.
    extremes: OnceLock<Box<[(AtomicU64, AtomicU64); COMMANDS.len()]>>,
}

/// Places of the table. UDP sources can be forged; clients without a place appear in the totals only.
const PLACES: usize = 1024;
/// Places that are looked at for a client.
const PROBES: usize = 32;

#[derive(Debug)]
struct Client {
    address: IpAddr,
    counting: Counting,
}

#[derive(Debug)]
struct Counting {
    /// (count, nanoseconds)
    commands: [(AtomicU64, AtomicU64); COMMANDS.len()],
    errors: AtomicU64,
}

impl Default for CommandCounters {
    fn default() -> Self {
        Self {
            places: (0..PLACES).map(|_| OnceLock::new()).collect(),
            others: Counting::default(),
            hasher: RandomState::new(),
            extremes: OnceLock::new(),
        }
    }
}

impl Default for Counting {
    fn default() -> Self {
        Self { commands: std::array::from_fn(|_| Default::default()), errors: AtomicU64::new(0) }
    }
}

impl CommandCounters {
    /// Makes a client known before its first request is finished.
    pub fn meet(&self, client: IpAddr) {
        self.counting(client);
    }

    /// Counts a finished request; `command` is `None` if it was not understood.
    pub fn record(&self, client: IpAddr, command: Option<usize>, duration: Duration, success: Success) {
        let counting = self.counting(client);
        if let Some((count, nanoseconds)) = command.and_then(|index| counting.commands.get(index)) {
            count.fetch_add(1, Relaxed);
            nanoseconds.fetch_add(nanos(duration), Relaxed);
        }
        if let (Some(extremes), Some(index)) = (self.extremes.get(), command)
            && let Some((shortest, longest)) = extremes.get(index)
        {
            shortest.fetch_min(nanos(duration), Relaxed);
            longest.fetch_max(nanos(duration), Relaxed);
        }
        if success == Success::Error {
            counting.errors.fetch_add(1, Relaxed);
        }
    }

    /// From now on the extremes of times are noted.
    pub fn note_extremes(&self) {
        self.extremes
            .get_or_init(|| Box::new(std::array::from_fn(|_| (AtomicU64::new(u64::MAX), AtomicU64::new(0)))));
    }

    /// The extremes since the last call, by index into [`COMMANDS`]; of no meaning for commands that were not used.
    pub fn take_extremes(&self) -> Vec<Extremes> {
        let take = |(shortest, longest): &(AtomicU64, AtomicU64)| {
            let shortest = shortest.swap(u64::MAX, Relaxed);
            Extremes {
                shortest: Duration::from_nanos(if shortest == u64::MAX { 0 } else { shortest }),
                longest: Duration::from_nanos(longest.swap(0, Relaxed)),
            }
        };
        self.extremes.get().map_or_else(Vec::new, |extremes| extremes.iter().map(take).collect())
    }

    /// The totals.
    pub fn total(&self) -> ClientCounters {
        let mut total = self.others.read();
        for (_, client) in self.clients() {
            for (sum, counter) in total.commands.iter_mut().zip(client.commands) {
                sum.count += counter.count;
                sum.duration += counter.duration;
            }
            total.errors += client.errors;
        }
        total
    }

    /// The counters of each client, sorted by address.
    pub fn clients(&self) -> Vec<(IpAddr, ClientCounters)> {
        let known = self.places.iter().filter_map(OnceLock::get);
        let mut clients: Vec<_> = known.map(|client| (client.address, client.counting.read())).collect();
        clients.sort_by_key(|(address, _)| *address);
        clients
    }

    fn counting(&self, address: IpAddr) -> &Counting {
        let start = self.hasher.hash_one(address) as usize;
        for probe in 0..PROBES {
            let place = &self.places[start.wrapping_add(probe) % PLACES];
            let client = place.get_or_init(|| Box::new(Client { address, counting: Counting::default() }));
            if client.address == address {
                return &client.counting;
            }
        }
        &self.others
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Counting {
    fn read(&self) -> ClientCounters {
        let mut counters = ClientCounters { errors: self.errors.load(Relaxed), ..ClientCounters::default() };
        for (read, (count, nanoseconds)) in counters.commands.iter_mut().zip(&self.commands) {
            *read = CommandCounter {
                count: count.load(Relaxed),
                duration: Duration::from_nanos(nanoseconds.load(Relaxed)),
            };
        }
        counters
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
    fn a_client_is_listed_from_its_first_request_on() {
        let counters = CommandCounters::default();
        counters.meet([192, 0, 2, 1].into());
        assert_eq!(counters.clients(), [([192, 0, 2, 1].into(), ClientCounters::default())]);
    }

    #[test]
    fn forged_sources_do_not_grow_the_table_without_bound() {
        let counters = CommandCounters::default();
        for host in 0..5000u32 {
            counters.record(IpAddr::V4(host.into()), Some(0), Duration::ZERO, Success::Ok);
        }
        let listed: u64 = counters.clients().iter().map(|(_, client)| client.commands[0].count).sum();
        assert!(listed <= PLACES as u64, "{listed}");
        assert_eq!(counters.total().commands[0].count, 5000);
    }
}
