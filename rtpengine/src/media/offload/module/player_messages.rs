//! Messages about media and players, see [`super::abi`].

use super::super::announcement::{CompleteMedia, PlayerCount, PlayerNumbers, PlayerOrder};
use super::abi::{Command, Message, u32_at, u64_at};
use std::time::Duration;

const MEDIA: usize = 24;
const FRAMES_HEAD: usize = 24;
const FRAME_HEAD: usize = 8;
const PLAYER: usize = 440;
const PLAYER_STATISTICS: usize = 96;
/// Octets of frames in one message.
const AT_ONCE: usize = 65_535;
/// Octets of one frame.
const LONGEST: usize = 8192;

const MARKER: u32 = 0x1;
const INDEX: u32 = 0x2;
const ENDED: u32 = 0x4;

/// Room for media, or its end.
pub fn media(command: Command, number: u32, clock_rate: u32) -> Vec<u8> {
    let mut message = Message::new(command, MEDIA);
    message.u32(number).u32(clock_rate);
    message.finish()
}

/// Number of the media in a reply.
pub fn media_number(reply: &[u8]) -> u32 {
    u32_at(reply, 16)
}

/// All frames of the media, in as few messages as they fit into; `None` if one is longer than the module takes.
pub fn frames(number: u32, media: &CompleteMedia) -> Option<Vec<Vec<u8>>> {
    let mut messages = Vec::new();
    let mut rest = media.frames();
    while !rest.is_empty() {
        let mut octets = 0;
        let fitting = rest.iter().take_while(|frame| {
            octets += FRAME_HEAD + frame.payload.len();
            frame.payload.len() <= LONGEST && octets <= AT_ONCE
        });
        let (now, later) = rest.split_at(fitting.count());
        if now.is_empty() {
            return None;
        }
        let octets: usize = now.iter().map(|frame| FRAME_HEAD + frame.payload.len()).sum();
        let mut message = Message::new(Command::AddFrames, FRAMES_HEAD + octets);
        message.u32(number).u32(now.len() as u32);
        for frame in now {
            message.u32(frame.duration).u16(frame.payload.len() as u16).u16(0).octets(&frame.payload);
        }
        messages.push(message.finish());
        rest = later;
    }
    Some(messages)
}

/// A player that is to begin.
pub fn player(order: &PlayerOrder) -> Vec<u8> {
    let (way, next) = (&order.way, &order.numbers);
    let mut message = Message::new(Command::StartPlayer, PLAYER);
    message.address(way.local).address(way.peer);
    message.u64(next.due.as_nanos() as u64).u64(order.ticks);
    message.u32(order.media).u32(0).u32(order.first_frame).u32(order.plays);
    message.u32(order.ssrc).u32(next.timestamp).u16(next.sequence_number);
    message.u8(order.payload_type).u8(way.tos);
    let marker = if next.marker { MARKER } else { 0 };
    let index = if order.index.is_some() { INDEX } else { 0 };
    message.u32(marker | index).u64(order.index.unwrap_or(0));
    message.key(way.key.as_deref());
    message.up_to(PLAYER);
    message.finish()
}

/// Number of the player in a reply.
pub fn player_number(reply: &[u8]) -> u32 {
    u32_at(reply, 84)
}

/// A question about a player, or its end.
pub fn statistics(command: Command, number: u32) -> Vec<u8> {
    let mut message = Message::new(command, PLAYER_STATISTICS);
    message.u32(number).up_to(PLAYER_STATISTICS);
    message.finish()
}

/// What a reply to [`statistics`] says.
pub fn read_statistics(reply: &[u8]) -> PlayerCount {
    let flags = u32_at(reply, 20);
    PlayerCount {
        packets: u64_at(reply, 24),
        octets: u64_at(reply, 32),
        failed: u64_at(reply, 40),
        clear_octets: u64_at(reply, 48),
        frames: u64_at(reply, 56),
        index: (flags & INDEX != 0).then(|| u64_at(reply, 64)),
        next: PlayerNumbers {
            due: Duration::from_nanos(u64_at(reply, 72)),
            timestamp: u32_at(reply, 88),
            sequence_number: u32_at(reply, 92) as u16,
            marker: flags & MARKER != 0,
        },
        has_ended: flags & ENDED != 0,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::super::announcement::PlayerWay;
    use super::*;
    use crate::media::plan::PlayerFrame;
    use crate::proto::srtp::{MasterKey, SessionParameters, Suite};

    #[test]
    fn frames_are_put_into_as_few_messages_as_they_fit_into() {
        let frame = |octets: usize, duration| (PlayerFrame { payload: vec![7; octets].into(), duration }, 0);
        let media = |frames| CompleteMedia::new(8000, frames).unwrap();
        let messages = frames(9, &media(vec![frame(160, 160), frame(3, 320)])).unwrap();
        let [message] = &messages[..] else { panic!("one message") };
        assert_eq!(message.len(), 24 + 168 + 11);
        assert_eq!((u32_at(message, 8), u32_at(message, 16), u32_at(message, 20)), (203, 9, 2));
        assert_eq!(message[24..34], [160, 0, 0, 0, 160, 0, 0, 0, 7, 7]);
        assert_eq!(message[192..203], [64, 1, 0, 0, 3, 0, 0, 0, 7, 7, 7]);
        let many = media((0..1000).map(|_| frame(160, 160)).collect());
        let counts: Vec<u32> = frames(0, &many).unwrap().iter().map(|message| u32_at(message, 20)).collect();
        assert_eq!(counts, [390, 390, 220]);
        assert!(frames(0, &media(vec![frame(160, 160), frame(LONGEST + 1, 160)])).is_none());
    }

    #[test]
    fn players_are_where_the_module_looks_for_them() {
        let suite = Suite::by_name("AES_CM_128_HMAC_SHA1_80").unwrap();
        let octets: Vec<u8> = (7..37).collect();
        let key = MasterKey::new(suite, &octets, &[], SessionParameters::default()).unwrap();
        let order = PlayerOrder {
            way: PlayerWay {
                local: "192.0.2.1:30000".parse().unwrap(),
                peer: "198.51.100.7:4000".parse().unwrap(),
                tos: 0xb8,
                key: Some(Arc::new(key)),
            },
            media: 5,
            first_frame: 6,
            plays: 7,
            ticks: 8,
            payload_type: 96,
            ssrc: 0x1122_3344,
            numbers: PlayerNumbers {
                sequence_number: 0x5566,
                timestamp: 0x7788_99aa,
                marker: true,
                due: Duration::from_millis(13),
            },
            index: Some(0x1_5565),
        };
        let message = player(&order);
        assert_eq!((message.len(), message[16], message[40]), (PLAYER, 4, 4));
        assert_eq!((u64_at(&message, 64), u64_at(&message, 72)), (13_000_000, 8));
        assert_eq!([80, 84, 88, 92].map(|place| u32_at(&message, place)), [5, 0, 6, 7]);
        assert_eq!((u32_at(&message, 96), u32_at(&message, 100)), (0x1122_3344, 0x7788_99aa));
        assert_eq!(message[104..108], [0x66, 0x55, 96, 0xb8]);
        assert_eq!((u32_at(&message, 108), u64_at(&message, 112)), (MARKER | INDEX, 0x1_5565));
        assert_eq!(message[120..126], [1, 1, 10, 10, 16, 14]);
    }

    #[test]
    fn what_a_player_has_done_is_read_from_where_the_module_puts_it() {
        let mut reply = statistics(Command::GetPlayer, 3);
        assert_eq!((reply.len(), u32_at(&reply, 16)), (PLAYER_STATISTICS, 3));
        let numbers = [100, 200, 1, 190, 101, 0x1_0005, 20_000_000, 77];
        for (position, number) in numbers.into_iter().enumerate() {
            reply[24 + 8 * position..32 + 8 * position].copy_from_slice(&u64::to_ne_bytes(number));
        }
        reply[20] = (INDEX | MARKER | ENDED) as u8;
        reply[88..94].copy_from_slice(&[1, 0, 0, 0, 2, 1]);
        let next = PlayerNumbers {
            sequence_number: 0x102,
            timestamp: 1,
            marker: true,
            due: Duration::from_millis(20),
        };
        let expected = PlayerCount {
            frames: 101,
            packets: 100,
            octets: 200,
            clear_octets: 190,
            failed: 1,
            next,
            index: Some(0x1_0005),
            has_ended: true,
        };
        assert_eq!(read_statistics(&reply), expected);
    }
}
