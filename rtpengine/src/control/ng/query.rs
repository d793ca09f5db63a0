//! A call's state as the dictionary of `query` and `delete` replies.
//!
//! It is written straight into the reply: a call of two parties has some two hundred members, and every call ends with this reply.

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
use crate::proto::address_text::AddressText;
use crate::proto::value::TreeWriter;

/// What a reply tells about a call.
pub struct CallReport {
    pub call: CallSnapshot,
    /// Where SSRCs are listed.
    pub ssrcs: SsrcReporting,
}

impl CallReport {
    /// The whole reply: the keys in the order of the protocol description, then `result`.
    pub fn write(&self, out: &mut impl TreeWriter) {
        out.begin_dict();
        members(out, &self.call, self.ssrcs);
        out.text("result", "ok");
        out.end_dict();
    }
}

fn members(out: &mut impl TreeWriter, call: &CallSnapshot, reporting: SsrcReporting) {
    let created = call.created.duration_since(UNIX_EPOCH).unwrap_or_default();
    out.number("created", created.as_secs());
    out.number("created_us", u64::from(created.subsec_micros()));
    out.number("created_ts", u64::try_from(created.as_micros()).unwrap_or(u64::MAX));
    out.number("last signal", call.last_signal.map_or(0, seconds));
    out.number("last redis update", call.stored_us);
    if let Some(metadata) = &call.metadata {
        out.text("metadata", metadata);
    }
    if matches!(reporting, SsrcReporting::Full | SsrcReporting::Global) {
        out.dict("SSRC", |out| {
            for entry in &call.ssrcs {
                out.dict(itoa::Buffer::new().format(entry.ssrc), |out| ssrc(out, entry));
            }
        });
    }
    let inline = matches!(reporting, SsrcReporting::Full | SsrcReporting::Inline);
    out.dict("tags", |out| {
        for (number, snapshot) in &call.parties {
            let tag = snapshot.tag.clone().unwrap_or_else(|| format_smolstr!("<untagged {number}>"));
            out.dict(&tag, |out| party(out, snapshot, inline));
        }
    });
    out.dict("totals", |out| {
        traffic(out, "RTP", call.rtp);
        traffic(out, "RTCP", call.rtcp);
    });
    if let Some((recording, forwarding)) = call.recording {
        out.dict("recording", |out| {
            out.number("call recording", u64::from(recording));
            out.number("forwarding", u64::from(forwarding));
        });
    }
}

fn party(out: &mut impl TreeWriter, party: &PartySnapshot, inline: bool) {
    out.text("tag", party.tag.as_deref().unwrap_or_default());
    if let Some(branch) = &party.via_branch {
        out.text("via-branch", branch);
    }
    if !party.aliases.is_empty() {
        out.list("tag-aliases", &party.aliases, |out, alias| out.bytes(alias.as_bytes()));
    }
    if let Some(label) = &party.label {
        out.text("label", label);
    }
    out.number("created", seconds(party.created));
    if let Some(metadata) = &party.metadata {
        out.text("metadata", metadata);
    }
    out.list("subscriptions", &party.subscriptions, associate);
    out.list("subscribers", &party.subscribers, associate);
    out.list("medias", &party.media, |out, section| media(out, section, inline));
    out.list("VSC", &party.codes, code);
    if let Some((excluded, forwarding)) = party.recording {
        out.dict("recording", |out| {
            out.number("excluded", u64::from(excluded));
            out.number("forwarding", u64::from(forwarding));
        });
    }
}

fn code(out: &mut impl TreeWriter, (kind, digits, active): &(&'static str, SmolStr, bool)) {
    out.begin_dict();
    out.text("type", kind);
    out.text("trigger", digits);
    out.number("active", u64::from(*active));
    out.end_dict();
}

fn associate(out: &mut impl TreeWriter, other: &AssociateSnapshot) {
    out.begin_dict();
    out.text("tag", other.tag.as_deref().unwrap_or_default());
    out.text("type", if other.offer_answer { "offer/answer" } else { "pub/sub" });
    out.end_dict();
}

fn media(out: &mut impl TreeWriter, media: &MediaSnapshot, inline: bool) {
    out.begin_dict();
    out.number("index", media.index as u64);
    out.text("type", &media.media_type);
    if let Some(protocol) = &media.protocol {
        out.text("protocol", protocol);
    }
    if let Some(codec) = &media.codec {
        out.text("codec", codec);
    }
    out.list("streams", &media.streams, stream);
    texts(out, "flags", &media.flags);
    for (key, entries) in [("ingress SSRCs", &media.ingress), ("egress SSRCs", &media.egress)] {
        let entries = if inline { entries.as_slice() } else { &[] };
        out.list(key, entries, |out, entry| {
            out.begin_dict();
            out.number("SSRC", u64::from(entry.ssrc));
            ssrc(out, entry);
            out.end_dict();
        });
    }
    out.end_dict();
}

fn stream(out: &mut impl TreeWriter, stream: &StreamSnapshot) {
    out.begin_dict();
    if let Some((address, port)) = stream.local {
        out.number("local port", u64::from(port));
        out.text("local address", AddressText::new().format(address));
        out.text("family", family(address.is_ipv4()));
    }
    out.dict("endpoint", |out| endpoint(out, stream.endpoint));
    out.dict("advertised endpoint", |out| endpoint(out, stream.advertised));
    if let Some(suite) = stream.crypto_suite {
        out.text("crypto suite", suite);
    }
    out.number("last packet", stream.last_packet_us / 1_000_000);
    out.number("last kernel packet", stream.last_kernel_packet_us / 1_000_000);
    out.number("last user packet", stream.last_user_packet_us / 1_000_000);
    if let Some(ssrc) = stream.ssrc {
        out.number("SSRC", u64::from(ssrc));
    }
    texts(out, "flags", &stream.flags);
    traffic(out, "stats", stream.ingress);
    traffic(out, "stats_out", stream.egress);
    // Without a rung below user space there is nothing to tell.
    match stream.place {
        Place::UserSpace(Reason::Off) => {}
        Place::UserSpace(reason) => out.text("off-load", reason.text()),
        Place::Kernel(rung) => out.text("off-load", rung.name()),
    }
    if !stream.drops.is_empty() {
        out.dict("drops", |out| {
            for (reason, packets) in &stream.drops {
                out.number(reason, *packets);
            }
        });
    }
    out.end_dict();
}

/// The members of an SSRC's dictionary.
fn ssrc(out: &mut impl TreeWriter, entry: &SsrcSnapshot) {
    out.number("bytes", entry.octets);
    out.number("packets", entry.packets);
    out.number("last RTP timestamp", entry.last_timestamp);
    out.number("last RTP seq", entry.last_sequence);
    out.number("cumulative loss", entry.lost);
    if let Some(quality) = &entry.quality {
        quality::write(out, quality);
    }
}

fn traffic(out: &mut impl TreeWriter, key: &str, traffic: TrafficSnapshot) {
    out.dict(key, |out| {
        out.number("packets", traffic.packets);
        out.number("bytes", traffic.octets);
        out.number("errors", traffic.errors);
    });
}

fn endpoint(out: &mut impl TreeWriter, address: Option<SocketAddr>) {
    if let Some(address) = address {
        out.text("family", family(address.is_ipv4()));
        out.text("address", AddressText::new().format(address.ip()));
        out.number("port", u64::from(address.port()));
    }
}

fn family(is_ipv4: bool) -> &'static str {
    if is_ipv4 { "IPv4" } else { "IPv6" }
}

fn texts(out: &mut impl TreeWriter, key: &str, texts: &[&'static str]) {
    out.list(key, texts, |out, text| out.bytes(text.as_bytes()));
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
