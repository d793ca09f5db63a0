//! What was counted at a stream, as members of `stream-N`: statistics go on where they were. All of it may be missing.

use std::sync::atomic::Ordering::Relaxed;

use super::fields::{Fields, Put};
use crate::media::plan::DropReason;
use crate::media::stats::{SSRC_SLOTS, SsrcShared, SsrcSlots, StreamShared, Traffic};
use crate::proto::value::Dict;

/// No stream has counted more of anything; sums of such numbers are numbers.
const MOST: u64 = 1 << 44;

/// Directions and shares beside what came in, which has names of its own.
fn traffic(shared: &StreamShared) -> [(&'static str, &Traffic); 3] {
    [("stats_out", &shared.egress), ("stats_rtcp", &shared.rtcp_ingress), ("stats_kernel", &shared.kernel)]
}

fn tables(shared: &StreamShared) -> [(&'static str, &SsrcSlots); 2] {
    [("ssrc_in", &shared.ingress_ssrc), ("ssrc_out", &shared.egress_ssrc)]
}

/// Adds what there is.
pub fn write(own: &mut Dict, shared: &StreamShared) {
    own.text("stats-packets", shared.ingress.packets.get())
        .text("stats-bytes", shared.ingress.octets.get())
        .text("stats-errors", shared.ingress.errors.get());
    for (name, traffic) in traffic(shared) {
        let counts = [
            ("packets", traffic.packets.get()),
            ("bytes", traffic.octets.get()),
            ("errors", traffic.errors.get()),
        ];
        for (what, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
            own.text(&format!("{name}-{what}"), count);
        }
    }
    let drops = shared.dropped().map(|(reason, packets)| format!("{}={packets}", reason.name()));
    put(own, "drops", ",", drops);
    for (name, slots) in tables(shared) {
        put(own, name, " ", slots.iter().filter(|slot| slot.packets.get() > 0).map(entry));
    }
}

/// `ssrc/payload type/packets/octets/lost/duplicates/sequence number/timestamp/jitter`, with all cycles and microseconds.
fn entry(slot: &SsrcShared) -> String {
    let mut text = format!("{}/{}", slot.ssrc.load(Relaxed), slot.payload_type.load(Relaxed));
    for counter in counters(slot) {
        text.push('/');
        text.push_str(&counter.get().to_string());
    }
    text
}

fn counters(slot: &SsrcShared) -> [&crate::media::stats::Counter; 7] {
    let SsrcShared { packets, octets, lost, duplicates, last_sequence, last_timestamp, jitter_us, .. } = slot;
    [packets, octets, lost, duplicates, last_sequence, last_timestamp, jitter_us]
}

fn put(own: &mut Dict, name: &str, separator: &str, entries: impl Iterator<Item = String>) {
    let entries: Vec<String> = entries.collect();
    if !entries.is_empty() {
        own.text(name, entries.join(separator));
    }
}

/// Reads it again. Nobody else knows the stream yet.
pub fn read(own: &Fields<'_>) -> StreamShared {
    let shared = StreamShared::default();
    let of = |name: &str, traffic: &Traffic| {
        let count = |what: &str| own.get(&format!("{name}-{what}")).unwrap_or(0).min(MOST);
        traffic.packets.set(count("packets"));
        traffic.octets.set(count("bytes"));
        traffic.errors.set(count("errors"));
    };
    of("stats", &shared.ingress);
    for (name, traffic) in traffic(&shared) {
        of(name, traffic);
    }
    for entry in own.text("drops").unwrap_or_default().split(',') {
        let Some((name, packets)) = entry.split_once('=') else { continue };
        let reason = DropReason::ALL.into_iter().find(|reason| reason.name() == name);
        if let (Some(reason), Ok(packets)) = (reason, packets.parse::<u64>()) {
            shared.drops[reason as usize].set(packets.min(MOST));
        }
    }
    for (name, slots) in tables(&shared) {
        let mut next = 0;
        for entry in own.text(name).unwrap_or_default().split(' ').take(SSRC_SLOTS) {
            next += usize::from(slots.make(next).is_some_and(|slot| fill(slot, entry).is_some()));
        }
    }
    shared
}

/// `None` when the entry is none, or of an SSRC of which nothing was counted.
fn fill(slot: &SsrcShared, entry: &str) -> Option<()> {
    let (ssrc, rest) = entry.split_once('/')?;
    let (payload_type, rest) = rest.split_once('/')?;
    let (ssrc, payload_type) = (ssrc.parse().ok()?, payload_type.parse::<u8>().ok()?);
    let counts: Vec<u64> = rest.split('/').map(str::parse).collect::<Result<_, _>>().ok()?;
    let counters = counters(slot);
    if counts.len() != counters.len() || counts[0] == 0 {
        return None;
    }
    slot.ssrc.store(ssrc, Relaxed);
    slot.payload_type.store(payload_type.into(), Relaxed);
    counters.into_iter().zip(counts).for_each(|(counter, count)| counter.set(count.min(MOST)));
    Some(())
}
