//! Messages of the kernel module: `kernel-module/rtpengine_abi.h`, of which the module asserts the sizes and places used here.
//!
//! Octets are put and taken one field after the other; there is no `unsafe` and nothing that alignment could change.

use std::net::{IpAddr, SocketAddr};

use smallvec::SmallVec;

use super::super::{
    Carries, Counters, Indices, Source, Target, TargetFormat, TargetOutput, Track, TrackCount,
};
use crate::proto::srtp::{CipherKind, MasterKey};

const MAGIC: u32 = 0x4b50_5452;
/// The version that this daemon speaks.
pub const VERSION: u16 = 1;

/// What the module is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Command {
    Init = 1,
    AddTarget = 2,
    AddDestination = 3,
    DelTarget = 4,
    GetStatistics = 5,
    AddCall = 6,
    DelCall = 7,
    AddStream = 8,
    Packet = 10,
    GetStream = 11,
    AddMedia = 12,
    AddFrames = 13,
    DelMedia = 14,
    StartPlayer = 15,
    GetPlayer = 16,
    StopPlayer = 17,
}

pub const INIT: usize = 64;
const TARGET: usize = 1232;
const DESTINATION: usize = 1352;
pub const STATISTICS: usize = 4952;
const CALL: usize = 280;
const STREAM: usize = 304;
const PACKET_HEAD: usize = 32;
const NAME: usize = 256;

/// SSRCs of a target.
pub const MAX_TRACKS: usize = 4;
/// Payload types of a target.
pub const MAX_FORMATS: usize = 32;
/// Outputs of a target.
pub const MAX_OUTPUTS: usize = 32;

mod flags {
    pub const RTP: u32 = 0x0001;
    pub const RTP_ONLY: u32 = 0x0002;
    pub const DTLS: u32 = 0x0020;
    pub const STUN: u32 = 0x0040;
    pub const PT_FILTER: u32 = 0x0080;
    pub const TRACK_SSRC: u32 = 0x0200;
    pub const RTP_STATS: u32 = 0x0400;
    pub const INTERCEPT: u32 = 0x0800;
    pub const SSRC_SUBST: u32 = 0x1;
    pub const TOS: u32 = 0x8;
}

const RENAME: u8 = 3;
const MISMATCH_DROP: u8 = 1;
const MISMATCH_PROPAGATE: u8 = 2;
const SSRC_USED: u32 = 1;
const SSRC_RTP: u32 = 2;

/// A message that is being put together; what is not put is zero.
pub struct Message(Vec<u8>);

impl Message {
    pub(super) fn new(command: Command, octets: usize) -> Self {
        let mut message = Self(Vec::with_capacity(octets));
        message.u32(MAGIC).u16(VERSION).u16(command as u16).u32(octets as u32).u32(0);
        message
    }

    pub(super) fn octets(&mut self, octets: &[u8]) -> &mut Self {
        self.0.extend_from_slice(octets);
        self
    }

    pub(super) fn u8(&mut self, value: u8) -> &mut Self {
        self.octets(&[value])
    }

    pub(super) fn u16(&mut self, value: u16) -> &mut Self {
        self.octets(&value.to_ne_bytes())
    }

    pub(super) fn u32(&mut self, value: u32) -> &mut Self {
        self.octets(&value.to_ne_bytes())
    }

    pub(super) fn u64(&mut self, value: u64) -> &mut Self {
        self.octets(&value.to_ne_bytes())
    }

    /// Zeros up to this place.
    pub(super) fn up_to(&mut self, place: usize) -> &mut Self {
        debug_assert!(self.0.len() <= place);
        self.0.resize(place, 0);
        self
    }

    pub(super) fn address(&mut self, address: SocketAddr) -> &mut Self {
        let end = self.0.len() + 24;
        self.u16(if address.is_ipv4() { 4 } else { 6 }).u16(address.port()).u32(0);
        match address.ip() {
            IpAddr::V4(ip) => self.octets(&ip.octets()),
            IpAddr::V6(ip) => self.octets(&ip.octets()),
        };
        self.up_to(end)
    }

    fn name(&mut self, name: &str) -> &mut Self {
        let end = self.0.len() + NAME;
        let length = name.len().min(NAME - 1);
        self.octets(&name.as_bytes()[..length]).up_to(end)
    }

    fn ssrc(&mut self, ssrc: u32, index: Option<u64>) -> &mut Self {
        let known = if index.is_some() { SSRC_RTP } else { 0 };
        self.u32(ssrc).u32(SSRC_USED | known).u64(index.unwrap_or(0)).u64(0)
    }

    pub(super) fn key(&mut self, key: Option<&MasterKey>) -> &mut Self {
        let Some(key) = key else { return self };
        let (suite, parameters) = (key.suite(), key.parameters());
        let cipher = match suite.cipher {
            CipherKind::Null => 0,
            CipherKind::CounterMode => 1,
            CipherKind::F8 => 2,
            CipherKind::Gcm => 3,
        };
        let tag = if parameters.unauthenticated_srtp { 0 } else { suite.rtp_tag_octets };
        let flags = u8::from(parameters.unencrypted_srtp) | u8::from(parameters.unencrypted_srtcp) << 1;
        self.u8(cipher).u8(u8::from(suite.cipher != CipherKind::Gcm));
        self.u8(tag as u8).u8(suite.rtcp_tag_octets as u8);
        self.u8(suite.key_octets as u8).u8(suite.salt_octets as u8).u8(flags).u8(0);
        self.u32(key.mki().len() as u32).u32(0);
        let (master, salt) = key.key_salt().split_at(suite.key_octets);
        let at = self.0.len();
        self.octets(master).up_to(at + 32).octets(salt).up_to(at + 48).octets(key.mki())
    }

    pub fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// The handshake.
pub fn init() -> Vec<u8> {
    let mut message = Message::new(Command::Init, INIT);
    message.up_to(INIT);
    message.finish()
}

/// Version of the module in its reply to [`init`].
pub fn module_version(reply: &[u8; INIT]) -> u32 {
    u32_at(reply, 16)
}

/// It can play media by itself.
pub fn has_players(reply: &[u8; INIT]) -> bool {
    const PLAYERS: u32 = 0x8;
    u32_at(reply, 24) & PLAYERS != 0
}

/// A target without its outputs; the copies of what is forwarded go to the stream, if there is one.
pub fn target(target: &Target, tracks: &[Track], indices: &[Indices], stream: Option<u32>) -> Vec<u8> {
    let mut message = Message::new(Command::AddTarget, TARGET);
    let formats: &[TargetFormat] = match &target.carries {
        Carries::Rtp(formats) => formats,
        Carries::Datagrams => &[],
    };
    let mut wanted = match &target.carries {
        Carries::Rtp(_) => {
            flags::RTP
                | flags::RTP_ONLY
                | flags::DTLS
                | flags::STUN
                | flags::PT_FILTER
                | flags::TRACK_SSRC
                | flags::RTP_STATS
        }
        // Fax packets may begin like DTLS.
        Carries::Datagrams => flags::STUN,
    };
    if stream.is_some() {
        wanted |= flags::INTERCEPT;
    }
    message.address(target.local);
    let mismatch = match target.source {
        Source::Any => 0,
        Source::Only(_) => MISMATCH_PROPAGATE,
        Source::Pinned(_) => MISMATCH_DROP,
    };
    match target.source.address() {
        Some(source) => message.address(source),
        None => message.up_to(64),
    };
    message.u32(wanted).u32(stream.unwrap_or(0));
    message.u8(mismatch).u8(target.outputs.len() as u8).u8(formats.len() as u8).up_to(80);
    for (position, track) in tracks.iter().enumerate() {
        let index = indices.get(position).and_then(|indices| indices.received);
        message.ssrc(track.ssrc, index);
    }
    message.up_to(176);
    for track in tracks {
        message.u64(track.highest).u64(track.window).u64(track.arrival_us).u64(track.jitter_16us);
        message.u32(track.timestamp).u32(track.clock_rate).u8(track.payload_type).u8(1).octets(&[0; 6]);
    }
    message.up_to(368);
    let mut formats = formats.to_vec();
    formats.sort_unstable_by_key(|format| format.payload_type);
    for format in formats {
        message.u8(format.payload_type).u8(0).u16(0).u32(format.clock_rate);
    }
    message.up_to(912);
    message.key(target.key.as_deref());
    message.up_to(TARGET);
    message.finish()
}

/// One output of a target.
pub fn destination(
    target: &Target,
    number: usize,
    output: &TargetOutput,
    tracks: &[Track],
    indices: &[Indices],
) -> Vec<u8> {
    let mut message = Message::new(Command::AddDestination, DESTINATION);
    message.address(target.local).address(output.local).address(output.peer);
    let substitutes = output.ssrc_mask != 0 && !tracks.is_empty();
    message.u32(number as u32).u32(flags::TOS | if substitutes { flags::SSRC_SUBST } else { 0 });
    message.u8(output.tos).u8(0).u8(output.renamed.len() as u8).up_to(104);
    for (position, track) in tracks.iter().enumerate() {
        let index = indices.get(position).and_then(|indices| *indices.sent.get(number)?);
        message.ssrc(track.ssrc ^ output.ssrc_mask, index).u64(0);
    }
    message.up_to(232);
    let mut renamed = output.renamed.clone();
    renamed.sort_unstable();
    for (from, to) in renamed {
        message.u8(from).u8(RENAME).u8(0).u8(to).u32(0).octets(&[0; 16]);
    }
    message.up_to(1032);
    message.key(output.key.as_deref());
    message.up_to(DESTINATION);
    message.finish()
}

/// A question about a target, or its end: the reply has the same size.
pub fn statistics(command: Command, local: SocketAddr) -> Vec<u8> {
    let mut message = Message::new(command, STATISTICS);
    message.address(local).up_to(STATISTICS);
    message.finish()
}

/// What a reply to [`statistics`] says; `tracks` are the SSRCs that the target was added with.
pub fn read_statistics(reply: &[u8; STATISTICS], target: &Target, tracks: usize, counters: &mut Counters) {
    counters.tracks.clear();
    counters.failed.clear();
    if target.carries == Carries::Datagrams {
        counters.tracks.push(TrackCount {
            track: Track { arrival_us: u64_at(reply, 64), ..Track::default() },
            packets: u64_at(reply, 40),
            octets: u64_at(reply, 48),
            ..TrackCount::default()
        });
    }
    for place in (0..tracks.min(MAX_TRACKS)).map(|number| 696 + 104 * number) {
        let at = place + 24;
        counters.tracks.push(TrackCount {
            track: Track {
                ssrc: u32_at(reply, place),
                highest: u64_at(reply, at),
                window: u64_at(reply, at + 8),
                arrival_us: u64_at(reply, at + 16),
                jitter_16us: u64_at(reply, at + 24),
                timestamp: u32_at(reply, at + 32),
                clock_rate: u32_at(reply, at + 36),
                payload_type: reply.get(at + 40).copied().unwrap_or(0),
            },
            packets: u64_at(reply, at + 48),
            octets: u64_at(reply, at + 56),
            lost: u64_at(reply, at + 64).cast_signed(),
            duplicates: u64_at(reply, at + 72),
        });
    }
    let is_dropped = matches!(target.source, Source::Pinned(_));
    counters.wrong_source = if is_dropped { u64_at(reply, 80) } else { 0 };
    counters.tap_lost = u64_at(reply, 72);
    let outputs = (0..target.outputs.len().min(MAX_OUTPUTS)).map(|number| 1112 + 120 * number);
    let clear: u64 = counters.tracks.iter().map(|count| count.octets).sum();
    counters.replayed = u64_at(reply, 80 + 8 * 4);
    counters.protection = u64_at(reply, 48).saturating_sub(clear);
    counters.protection_sent.clear();
    for place in outputs {
        counters.failed.push(u64_at(reply, place + 16));
        counters.protection_sent.push(u64_at(reply, place + 8).saturating_sub(clear));
    }
}

/// How far the keys were used, in a reply to [`statistics`].
pub fn read_indices(reply: &[u8; STATISTICS], target: &Target, tracks: usize) -> SmallVec<[Indices; 1]> {
    let index = |place: usize| (u32_at(reply, place + 4) & SSRC_RTP != 0).then(|| u64_at(reply, place + 8));
    let of = |number: usize| Indices {
        received: target.key.as_ref().and_then(|_| index(696 + 104 * number)),
        sent: (0..target.outputs.len().min(MAX_OUTPUTS))
            .map(|output| index(1112 + 120 * output + 24 + 24 * number))
            .collect(),
    };
    (0..tracks.min(MAX_TRACKS)).map(of).collect()
}

/// A directory for the streams of a call, or its end.
pub fn call(command: Command, index: u32, name: &str) -> Vec<u8> {
    let mut message = Message::new(command, CALL);
    message.u32(index).u32(0).name(name);
    message.finish()
}

/// Number of the call in a reply.
pub fn call_index(reply: &[u8]) -> u32 {
    u32_at(reply, 16)
}

/// A file for a stream, or a question about it.
pub fn stream(command: Command, call: u32, index: u32, name: &str) -> Vec<u8> {
    let mut message = Message::new(command, STREAM);
    message.u32(call).u32(index).u32(0).u32(0).u32(0).u32(0).u64(0).name(name);
    message.finish()
}

/// Number of the stream in a reply.
pub fn stream_index(reply: &[u8]) -> u32 {
    u32_at(reply, 20)
}

/// Packets that wait for a reader, in a reply.
pub fn stream_waiting(reply: &[u8]) -> u32 {
    u32_at(reply, 32)
}

/// A packet that user space has seen, from the IP header on.
pub fn packet(stream: u32, arrival_us: u64, headers: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut message = Message::new(Command::Packet, PACKET_HEAD + headers.len() + payload.len());
    message.u32(stream).u32(0).u64(arrival_us).octets(headers).octets(payload);
    message.finish()
}

pub(super) fn u32_at(octets: &[u8], place: usize) -> u32 {
    octets.get(place..place + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_ne_bytes)
}

pub(super) fn u64_at(octets: &[u8], place: usize) -> u64 {
    octets.get(place..place + 8).and_then(|eight| eight.try_into().ok()).map_or(0, u64::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::media::plan::StreamId;
    use crate::proto::srtp::{SessionParameters, Suite};

    fn some_target(outputs: usize) -> Target {
        let suite = Suite::by_name("AES_CM_128_HMAC_SHA1_80").unwrap();
        let octets: Vec<u8> = (7..37).collect();
        let key = MasterKey::new(suite, &octets, &[0xaa], SessionParameters::default()).unwrap();
        let output = TargetOutput {
            stream: StreamId(2),
            local: "[2001:db8::1]:30002".parse().unwrap(),
            peer: "[2001:db8::2]:5000".parse().unwrap(),
            renamed: vec![(98, 99), (96, 97)],
            ssrc_mask: 0xff,
            key: None,
            tos: 0xb8,
            tap: None,
        };
        Target {
            stream: StreamId(1),
            local: "192.0.2.1:30000".parse().unwrap(),
            source: Source::Pinned("198.51.100.7:4000".parse().unwrap()),
            carries: Carries::Rtp(vec![
                TargetFormat { payload_type: 101, clock_rate: 8000 },
                TargetFormat { payload_type: 8, clock_rate: 8000 },
            ]),
            key: Some(Arc::new(key)),
            tap: None,
            outputs: vec![output; outputs],
        }
    }

    #[test]
    fn messages_have_the_sizes_of_the_header_file() {
        let (whole, track) = (some_target(3), Track { ssrc: 7, ..Track::default() });
        let messages = [
            (init(), INIT),
            (target(&whole, &[track; MAX_TRACKS], &[], Some(5)), TARGET),
            (destination(&whole, 1, &whole.outputs[1], &[track; MAX_TRACKS], &[]), DESTINATION),
            (statistics(Command::DelTarget, whole.local), STATISTICS),
            (call(Command::AddCall, 0, &"x".repeat(300)), CALL),
            (stream(Command::AddStream, 1, 0, "s"), STREAM),
            (packet(1, 2, &[0; 28], &[0; 172]), PACKET_HEAD + 200),
        ];
        for (message, size) in messages {
            assert_eq!(message.len(), size);
            assert_eq!(u32_at(&message, 0), MAGIC);
            assert_eq!(u32_at(&message, 8) as usize, size);
        }
    }

    #[test]
    fn targets_and_outputs_are_where_the_module_looks_for_them() {
        let whole = some_target(1);
        let track = Track { ssrc: 0x1122_3344, highest: 65_537, payload_type: 8, ..Track::default() };
        let sent = [None, None, None, Some(0x2_0002)].into_iter().collect();
        let indices = [Indices { received: Some(0x1_0001), sent }];
        let message = target(&whole, &[track], &indices, Some(5));
        assert_eq!(message[16..28], [4, 0, 0x30, 0x75, 0, 0, 0, 0, 192, 0, 2, 1]);
        assert_eq!(message[40..52], [4, 0, 0xa0, 0x0f, 0, 0, 0, 0, 198, 51, 100, 7]);
        assert_eq!((u32_at(&message, 64), u32_at(&message, 68)), (0xee3, 5));
        assert_eq!(message[72..75], [MISMATCH_DROP, 1, 2]);
        assert_eq!((u32_at(&message, 80), u32_at(&message, 84)), (0x1122_3344, SSRC_USED | SSRC_RTP));
        assert_eq!((u64_at(&message, 176), message[216], message[217]), (65_537, 8, 1));
        assert_eq!((message[368], message[376]), (8, 101), "payload types ascend");
        assert_eq!((u64_at(&message, 88), &message[912..918]), (0x1_0001, &[1, 1, 10, 10, 16, 14][..]));
        assert_eq!((message[928], message[960], message[976]), (7, 23, 0xaa), "key, salt, key identifier");
        let message = destination(&whole, 3, &whole.outputs[0], &[track], &indices);
        assert_eq!((u64_at(&message, 112), message[1032]), (0x2_0002, 0));
        assert_eq!((message[40], message[64]), (6, 6));
        assert_eq!((u32_at(&message, 88), u32_at(&message, 92)), (3, 0x9));
        assert_eq!((message[96], message[98]), (0xb8, 2));
        assert_eq!(u32_at(&message, 104), 0x1122_33bb);
        assert_eq!(message[232..236], [96, RENAME, 0, 97]);
        assert_eq!(message[256..260], [98, RENAME, 0, 99]);
    }

    #[test]
    fn statistics_are_read_from_where_the_module_puts_them() {
        let whole = some_target(2);
        let mut reply = [0; STATISTICS];
        let mut put =
            |place: usize, value: u64| reply[place..place + 8].copy_from_slice(&value.to_ne_bytes());
        put(40, 100);
        put(72, 3);
        put(80, 4);
        put(696, 7);
        put(696 + 24, 65_600);
        put(696 + 72, 90);
        put(696 + 80, 9000);
        put(696 + 88, (-2_i64).cast_unsigned());
        put(696 + 96, 1);
        put(1112 + 120 + 16, 6);
        let mut counters = Counters::default();
        read_statistics(&reply, &whole, 1, &mut counters);
        let expected = TrackCount {
            track: Track { ssrc: 7, highest: 65_600, ..Track::default() },
            packets: 90,
            octets: 9000,
            lost: -2,
            duplicates: 1,
        };
        assert_eq!(counters.tracks[..], [expected]);
        assert_eq!((counters.wrong_source, counters.tap_lost, &counters.failed[..]), (4, 3, &[0, 6][..]));
        let datagrams = Target { carries: Carries::Datagrams, source: Source::Any, ..whole };
        read_statistics(&reply, &datagrams, 0, &mut counters);
        assert_eq!((counters.tracks[0].packets, counters.wrong_source), (100, 0));
    }
}
