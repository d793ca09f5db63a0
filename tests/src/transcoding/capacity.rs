//! How many two-way calls a daemon transcodes on one processor before frames are late or lost.

use std::path::Path;
use std::time::{Duration, Instant};

use super::{Daemon, Leg, Spoken};
use crate::machine::{busy_ns, pin, process_ns, raise_file_limit};

const PACKET: Duration = Duration::from_millis(20);
const PER_SECOND: u32 = 50;
/// Calls begin one after the other within this time, so that opening codecs is no burst.
const BEGINNING: u32 = 2 * PER_SECOND;
/// Of the frames, in thousandths, that may be late or lost: a machine that is shared loses one now and then.
const TOLERATED: f64 = 1.0;
/// A number of calls fails when it does so twice.
const ATTEMPTS: u32 = 2;
/// The search ends when it is that close.
const PRECISION: f64 = 0.07;
/// No shorter sleep is worth it.
const NAP: Duration = Duration::from_micros(300);
/// A generator that sends by so much too late is said to be.
const TARDY: Duration = Duration::from_millis(4);
const DAEMON_PROCESSOR: u32 = 0;
const GENERATOR_PROCESSOR: u32 = 1;

/// The largest number of calls that worked, and what it cost.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    /// Two-way calls.
    pub calls: u32,
    /// Processor time of the daemon a packet, at that number.
    pub cpu_us_per_packet: f64,
    /// Per cent of one processor.
    pub daemon_percent: f64,
    /// Per cent of all processors that others used meanwhile.
    pub others_percent: f64,
    /// The search ended because the generator could not do more.
    pub is_lower_bound: bool,
}

struct Probe {
    frames: u64,
    late: u64,
    lost: u64,
    generator_is_late: bool,
    capacity: Capacity,
}

/// Searches; `None` when the daemon cannot transcode the pair at all.
pub fn search(
    name: &str,
    program: &Path,
    formats: [&str; 2],
    spoken: &Spoken,
    (seconds, most): (u32, u32),
) -> Option<Capacity> {
    raise_file_limit();
    pin(std::process::id(), GENERATOR_PROCESSOR);
    let mut is_bound = false;
    let mut works = |calls: u32| {
        for _ in 0..ATTEMPTS {
            let probe = probe(name, program, formats, spoken, (calls, seconds))?;
            let failed = (probe.late + probe.lost) as f64 * 1000.0 / probe.frames as f64;
            eprintln!(
                "{name} {calls} calls: {} late, {} lost of {}, {:.0} % of a processor, {:.2} us a packet, others {:.0} %{}",
                probe.late,
                probe.lost,
                probe.frames,
                probe.capacity.daemon_percent,
                probe.capacity.cpu_us_per_packet,
                probe.capacity.others_percent,
                if probe.generator_is_late { ", generator late" } else { "" },
            );
            is_bound = probe.generator_is_late;
            if failed <= TOLERATED {
                return Some(probe.capacity);
            }
        }
        None
    };
    let (mut calls, mut best, mut fails) = (24, None, None);
    loop {
        match works(calls) {
            Some(capacity) => best = Some(capacity),
            None => fails = Some(calls),
        }
        let reached = best.map_or(0, |best| best.calls);
        let next = match fails {
            None if reached >= most => break,
            None => (reached * 2).min(most),
            Some(failed) => (reached + failed) / 2,
        };
        let is_close =
            fails.is_some_and(|failed| f64::from(failed - reached) <= f64::from(failed) * PRECISION);
        if is_close || next <= reached || next == 0 {
            break;
        }
        calls = next;
    }
    best.map(|best| Capacity { is_lower_bound: is_bound || fails.is_none(), ..best })
}

/// A party and what has come to it.
struct Ear<'l> {
    leg: &'l Leg,
    /// Number of its first packet and timestamp of the first that came.
    first: (u32, Option<u32>),
    /// Number of the newest frame that came.
    newest: i64,
    /// Packets by which the daemon is always behind, whatever it has to do: the least while its call began.
    behind: i64,
}

/// More than so many packets behind is nothing that a codec needs.
const MOST_BEHIND: i64 = 2;

impl<'l> Ear<'l> {
    fn new(leg: &'l Leg, begins: u32) -> Self {
        Self { leg, first: (begins, None), newest: -1, behind: MOST_BEHIND }
    }

    /// Before the packet of this number is sent, what was made of the one before is not there.
    fn is_late(&mut self, number: u32, counted: u32) -> bool {
        let behind = i64::from(number) - 1 - self.newest;
        if number < counted && self.first.1.is_some() {
            self.behind = self.behind.min(behind.max(0));
        }
        number > counted && behind > self.behind
    }

    /// Takes what has come; how many of it belong to frames from `counted` on.
    fn hear(&mut self, counted: u32) -> u64 {
        let (mut newest, mut heard, ticks) = (self.newest, 0, self.leg.ticks());
        let (begun, first) = &mut self.first;
        self.leg.receive(|packet| {
            let Some(octets) = packet.get(4..8).and_then(|octets| <[u8; 4]>::try_from(octets).ok()) else {
                return;
            };
            let timestamp = u32::from_be_bytes(octets);
            let since = timestamp.wrapping_sub(*first.get_or_insert(timestamp)) as i32 / ticks as i32;
            let number = i64::from(*begun) + i64::from(since);
            newest = newest.max(number);
            heard += u64::from(number >= i64::from(counted));
        });
        self.newest = newest;
        heard
    }
}

/// So many calls on a daemon of their own.
fn probe(
    name: &str,
    program: &Path,
    formats: [&str; 2],
    spoken: &Spoken,
    (calls, seconds): (u32, u32),
) -> Option<Probe> {
    let daemon = Daemon::start(name, program, 1 + (calls % 200) as u8);
    pin(daemon.id(), DAEMON_PROCESSOR);
    let legs: Vec<[Leg; 2]> =
        (0..calls).map(|call| daemon.establish(call, formats)).collect::<Option<_>>()?;
    let begins = |call: usize| call as u32 * BEGINNING / calls;
    let mut ears: Vec<[Ear<'_>; 2]> = legs
        .iter()
        .enumerate()
        .map(|(call, pair)| pair.each_ref().map(|leg| Ear::new(leg, begins(call))))
        .collect();
    // One more second until everything is as it stays.
    let counted = BEGINNING + PER_SECOND;
    let end = counted + PER_SECOND * seconds;
    let between = PACKET / calls.max(1);
    let (mut late, mut received, mut generator_is_late) = (0, 0, false);
    let times = || [daemon.cpu_ns(), busy_ns(), process_ns(std::process::id())];
    let mut before = times();
    let begin = Instant::now();
    for number in 0..end {
        if number == counted {
            before = times();
        }
        for (call, pair) in ears.iter_mut().enumerate() {
            let due = begin + PACKET * number + between * call as u32;
            let now = Instant::now();
            generator_is_late |= number >= counted && now > due + TARDY;
            // A sleep takes longer than asked for: several calls share one where they are many.
            if due > now + NAP {
                std::thread::sleep(due - now);
            }
            if number < begins(call) {
                continue;
            }
            for (ear, payloads) in pair.iter_mut().zip(spoken) {
                received += ear.hear(counted);
                // 20 ms after the last one was sent, what was made of it has to be there.
                late += u64::from(ear.is_late(number, counted));
                ear.leg.send(number, &payloads[number as usize % payloads.len()]);
            }
        }
    }
    let elapsed = (PACKET * (end - counted)).as_nanos() as f64;
    let after = times();
    let spent = [0, 1, 2].map(|index| after[index].saturating_sub(before[index]) as f64);
    std::thread::sleep(Duration::from_millis(200));
    // What a daemon that is behind keeps is not lost.
    received += ears.iter_mut().flatten().map(|ear| ear.hear(counted) + ear.behind as u64).sum::<u64>();
    let frames = u64::from(calls) * 2 * u64::from(end - counted);
    // A pair that is not transcoded at all is no measurement.
    (received > 0).then(|| Probe {
        frames,
        late,
        lost: frames.saturating_sub(received),
        generator_is_late,
        capacity: Capacity {
            calls,
            cpu_us_per_packet: spent[0] / 1000.0 / frames as f64,
            daemon_percent: spent[0] / elapsed * 100.0,
            others_percent: (spent[1] - spent[0] - spent[2]).max(0.0) / elapsed / processors() * 100.0,
            is_lower_bound: false,
        },
    })
}

fn processors() -> f64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    text.lines().filter(|line| line.starts_with("cpu")).count().saturating_sub(1).max(1) as f64
}
