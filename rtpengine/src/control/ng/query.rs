//! A call's state as the dictionary of `query` and `delete` replies.

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use smol_str::{SmolStr, format_smolstr};

use super::quality;
use crate::call::{
    AssociateSnapshot, CallSnapshot, MediaSnapshot, PartySnapshot, SsrcSnapshot, StreamSnapshot,
    TrafficSnapshot,
};
use crate::config::SsrcReporting;
use crate::media::offload::{Place, Reason};
use crate::proto::value::{Dict, Value};

/// The keys in the order of the protocol description, without `result`.
pub fn encode(call: &CallSnapshot, reporting: SsrcReporting) -> Dict {
    let mut dict = Dict::new();
    let created = call.created.duration_since(UNIX_EPOCH).unwrap_or_default();
    dict.push("created", created.as_secs());
    dict.push("created_us", u64::from(created.subsec_micros()));
    dict.push("created_ts", u64::try_from(created.as_micros()).unwrap_or(u64::MAX));
    dict.push("last signal", call.last_signal.map_or(0, seconds));
    dict.push("last redis update", call.stored_us);
    if let Some(metadata) = &call.metadata {
        dict.push("metadata", metadata.as_str());
    }
    if matches!(reporting, SsrcReporting::Full | SsrcReporting::Global) {
        let mut ssrcs = Dict::new();
        for entry in &call.ssrcs {
            ssrcs.push(entry.ssrc.to_string(), ssrc(entry, None));
        }
        dict.push("SSRC", ssrcs);
    }
    let inline = matches!(reporting, SsrcReporting::Full | SsrcReporting::Inline);
    let mut tags = Dict::new();
    for (number, snapshot) in &call.parties {
        let key = snapshot.tag.clone().unwrap_or_else(|| format_smolstr!("<untagged {number}>"));
        tags.push(key, party(snapshot, inline));
    }
    dict.push("tags", tags);
    let mut totals = Dict::new();
    totals.push("RTP", traffic(call.rtp));
    totals.push("RTCP", traffic(call.rtcp));
    dict.push("totals", totals);
    if let Some((recording, forwarding)) = call.recording {
        let mut switches = Dict::new();
        switches.push("call recording", u64::from(recording));
        switches.push("forwarding", u64::from(forwarding));
        dict.push("recording", switches);
    }
    dict
}

fn party(party: &PartySnapshot, inline: bool) -> Dict {
    let mut dict = Dict::with_capacity(10);
    dict.push("tag", party.tag.as_deref().unwrap_or_default());
    if let Some(branch) = &party.via_branch {
        dict.push("via-branch", branch.as_str());
    }
    if !party.aliases.is_empty() {
        let aliases: Vec<Value> = party.aliases.iter().map(|alias| alias.as_str().into()).collect();
        dict.push("tag-aliases", aliases);
    }
    if let Some(label) = &party.label {
        dict.push("label", label.as_str());
    }
    dict.push("created", seconds(party.created));
    if let Some(metadata) = &party.metadata {
        dict.push("metadata", metadata.as_str());
    }
    for (key, associates) in [("subscriptions", &party.subscriptions), ("subscribers", &party.subscribers)] {
        dict.push(key, associates.iter().map(associate).collect::<Vec<Value>>());
    }
    let medias: Vec<Value> = party.media.iter().map(|section| media(section, inline).into()).collect();
    dict.push("medias", medias);
    dict.push("VSC", party.codes.iter().map(code).collect::<Vec<Value>>());
    if let Some((excluded, forwarding)) = party.recording {
        let mut recording = Dict::new();
        recording.push("excluded", u64::from(excluded));
        recording.push("forwarding", u64::from(forwarding));
        dict.push("recording", recording);
    }
    dict
}

fn code((kind, digits, active): &(&'static str, SmolStr, bool)) -> Value {
    let mut entry = Dict::new();
    entry.push("type", *kind).push("trigger", digits.as_str()).push("active", u64::from(*active));
    entry.into()
}

fn associate(other: &AssociateSnapshot) -> Value {
    let mut entry = Dict::new();
    entry.push("tag", other.tag.as_deref().unwrap_or_default());
    entry.push("type", if other.offer_answer { "offer/answer" } else { "pub/sub" });
    entry.into()
}

fn media(media: &MediaSnapshot, inline: bool) -> Dict {
    let mut dict = Dict::with_capacity(8);
    dict.push("index", media.index as u64);
    dict.push("type", media.media_type.as_str());
    if let Some(protocol) = &media.protocol {
        dict.push("protocol", protocol.as_str());
    }
    if let Some(codec) = &media.codec {
        dict.push("codec", codec.as_str());
    }
    dict.push("streams", media.streams.iter().map(|s| stream(s).into()).collect::<Vec<Value>>());
    dict.push("flags", strings(&media.flags));
    for (key, entries) in [("ingress SSRCs", &media.ingress), ("egress SSRCs", &media.egress)] {
        let entries = if inline { entries.as_slice() } else { &[] };
        dict.push(
            key,
            entries.iter().map(|entry| ssrc(entry, Some(entry.ssrc)).into()).collect::<Vec<Value>>(),
        );
    }
    dict
}

fn stream(stream: &StreamSnapshot) -> Dict {
    let mut dict = Dict::with_capacity(14);
    if let Some((address, port)) = stream.local {
        dict.push("local port", u64::from(port));
        dict.push("local address", address);
        dict.push("family", family(address.is_ipv4()));
    }
    dict.push("endpoint", endpoint(stream.endpoint));
    dict.push("advertised endpoint", endpoint(stream.advertised));
    if let Some(suite) = stream.crypto_suite {
        dict.push("crypto suite", suite);
    }
    let last = stream.last_packet_us / 1_000_000;
    dict.push("last packet", last);
    dict.push("last kernel packet", stream.last_kernel_packet_us / 1_000_000);
    dict.push("last user packet", stream.last_user_packet_us / 1_000_000);
    if let Some(ssrc) = stream.ssrc {
        dict.push("SSRC", u64::from(ssrc));
    }
    dict.push("flags", strings(&stream.flags));
    dict.push("stats", traffic(stream.ingress));
    dict.push("stats_out", traffic(stream.egress));
    // Without a rung below user space there is nothing to tell.
    match stream.place {
        Place::UserSpace(Reason::Off) => {}
        Place::UserSpace(reason) => drop(dict.push("off-load", reason.text())),
        Place::Kernel(rung) => drop(dict.push("off-load", rung.name())),
    }
    if !stream.drops.is_empty() {
        let mut drops = Dict::with_capacity(stream.drops.len());
        for (reason, packets) in &stream.drops {
            drops.push(*reason, *packets);
        }
        dict.push("drops", drops);
    }
    dict
}

fn ssrc(entry: &SsrcSnapshot, number: Option<u32>) -> Dict {
    let mut dict = Dict::new();
    if let Some(number) = number {
        dict.push("SSRC", u64::from(number));
    }
    dict.push("bytes", entry.octets);
    dict.push("packets", entry.packets);
    dict.push("last RTP timestamp", entry.last_timestamp);
    dict.push("last RTP seq", entry.last_sequence);
    dict.push("cumulative loss", entry.lost);
    if let Some(quality) = &entry.quality {
        quality::push(&mut dict, quality);
    }
    dict
}

fn traffic(traffic: TrafficSnapshot) -> Dict {
    let mut dict = Dict::with_capacity(3);
    dict.push("packets", traffic.packets);
    dict.push("bytes", traffic.octets);
    dict.push("errors", traffic.errors);
    dict
}

fn endpoint(address: Option<SocketAddr>) -> Dict {
    let mut dict = Dict::new();
    if let Some(address) = address {
        dict.0.reserve_exact(3);
        dict.push("family", family(address.is_ipv4()));
        dict.push("address", address.ip());
        dict.push("port", u64::from(address.port()));
    }
    dict
}

fn family(is_ipv4: bool) -> &'static str {
    if is_ipv4 { "IPv4" } else { "IPv6" }
}

fn strings(texts: &[&'static str]) -> Vec<Value> {
    texts.iter().map(|&text| text.into()).collect()
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
