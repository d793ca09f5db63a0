//! Interfaces, addresses and how packets are treated (section 3 of the flag reference).

use super::read::{SWITCH, choose, choose_value, family, set_address, set_int, set_text, text};
use super::{Decoder, Key, ignored};
use crate::config::EndpointLearning;
use crate::negotiate::signal::{AudioPlayer, DropTraffic, MediaEcho};
use crate::proto::value::Value;

pub(super) const KEYS: &[Key] = &[
    (&["direction"], direction),
    (&["interface"], |d, v| set_text(&mut d.signal.network.interface_from, v)),
    (&["from-interface", "from interface"], |d, v| set_text(&mut d.signal.network.interface_from, v)),
    (&["to-interface", "to interface"], |d, v| set_text(&mut d.signal.network.interface_to, v)),
    (&["peer"], |d, v| set_address("peer", &mut d.signal.network.inbound_peer, v)),
    (&["inbound-peer", "inbound peer"], |d, v| {
        set_address("inbound-peer", &mut d.signal.network.inbound_peer, v)
    }),
    (&["outbound-peer", "outbound peer"], |d, v| {
        set_address("outbound-peer", &mut d.signal.network.outbound_peer, v)
    }),
    (&["address-family", "address family"], |d, v| {
        if let Some(family) = family("address-family", v) {
            d.signal.network.address_family = Some(family);
        }
    }),
    (&["media-address", "media address"], |d, v| {
        set_address("media-address", &mut d.signal.network.media_address, v)
    }),
    (&["received-from", "received from"], received_from),
    (&["TOS", "tos"], |d, v| set_int(&mut d.signal.network.tos, v)),
    (&["media-echo", "media echo"], |d, v| {
        if let Some(echo) = choose_value("media-echo", v, MEDIA_ECHO) {
            d.signal.network.media_echo = Some(echo);
        }
    }),
    (&["drop-traffic", "drop traffic"], |d, v| {
        let drop = choose_value("drop-traffic", v, DROP_TRAFFIC);
        // Where both are given, stop wins.
        if drop.is_some() && d.signal.network.drop_traffic != Some(DropTraffic::Stop) {
            d.signal.network.drop_traffic = drop;
        }
    }),
    (&["endpoint-learning", "endpoint learning"], |d, v| {
        if let Some(word) = text(v) {
            endpoint_learning(d, &word);
        }
    }),
    (&["passthrough", "passthru"], |d, v| {
        if let Some(on) = choose_value("passthrough", v, SWITCH) {
            d.signal.network.passthrough = Some(on);
        }
    }),
    (&["delay-buffer", "delay buffer"], |d, v| set_int(&mut d.signal.network.delay_buffer_ms, v)),
    (&["audio-player", "audio player", "player"], |d, v| {
        if let Some(player) = choose_value("audio-player", v, AUDIO_PLAYER) {
            d.signal.network.audio_player = Some(player);
        }
    }),
    (&["generate-RTCP", "generate-rtcp", "generate RTCP", "generate rtcp"], |d, v| {
        if let Some(on) = choose_value("generate-RTCP", v, GENERATE_RTCP) {
            d.signal.network.generate_rtcp = Some(on);
        }
    }),
];

const BACKWARD: &[&str] = &["backward", "backwards", "reverse", "back", "bkw", "bk"];

pub(super) const MEDIA_ECHO: &[(&[&str], MediaEcho)] = &[
    (&["blackhole", "sinkhole"], MediaEcho::Blackhole),
    (&["forward", "fwd", "fw"], MediaEcho::Forward),
    (BACKWARD, MediaEcho::Backward),
    (&["both"], MediaEcho::Both),
];

pub(super) const DROP_TRAFFIC: &[(&[&str], DropTraffic)] =
    &[(&["start"], DropTraffic::Start), (&["stop"], DropTraffic::Stop)];

pub(super) const ENDPOINT_LEARNING: &[(&[&str], EndpointLearning)] = &[
    (&["delayed"], EndpointLearning::Delayed),
    (&["immediate"], EndpointLearning::Immediate),
    (&["off"], EndpointLearning::Off),
    (&["heuristic"], EndpointLearning::Heuristic),
];

pub(super) const AUDIO_PLAYER: &[(&[&str], AudioPlayer)] = &[
    (&["default"], AudioPlayer::Default),
    (&["on", "yes", "enable", "enabled", "transcode", "transcoding"], AudioPlayer::Transcoding),
    (&["no", "off", "disable", "disabled"], AudioPlayer::Off),
    (&["force", "forced", "always", "everything"], AudioPlayer::Force),
];

pub(super) const GENERATE_RTCP: &[(&[&str], bool)] = &[(&["on"], true), (&["off"], false)];

/// The value of the key, or what follows the flag prefix `endpoint-learning-`.
pub(super) fn endpoint_learning(decoder: &mut Decoder<'_>, word: &str) {
    if let Some(mode) = choose("endpoint-learning", word, ENDPOINT_LEARNING) {
        decoder.signal.network.endpoint_learning = Some(mode);
    }
}

/// [towards the sender, towards the receiver]
fn direction(decoder: &mut Decoder<'_>, value: &Value) {
    let Value::List(names) = value else { return ignored("direction", "not a list") };
    let mut names = names.iter().filter_map(text);
    if let Some(name) = names.next() {
        decoder.signal.network.interface_from = Some(name);
    }
    if let Some(name) = names.next() {
        decoder.signal.network.interface_to = Some(name);
    }
}

/// [family, address], or the address alone.
fn received_from(decoder: &mut Decoder<'_>, value: &Value) {
    let address = match value {
        Value::List(parts) => parts.get(1),
        value => Some(value),
    };
    if let Some(address) = address {
        set_address("received-from", &mut decoder.signal.network.received_from, address);
    }
}
