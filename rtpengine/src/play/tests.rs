//! Playback up to the ring, with an encoder that keeps the upper octet of each sample.

use std::time::Instant;

use codec::{CodecError, Encoder};
use media_store::source::Origin;

use super::frames::Frames;
use super::*;

struct UpperOctets;

impl Encoder for UpperOctets {
    fn sample_rate(&self) -> u32 {
        8000
    }

    fn channels(&self) -> u8 {
        1
    }

    fn frame_samples(&self) -> usize {
        80
    }

    fn encode(&mut self, frame: &[i16], out: &mut Vec<u8>) -> Result<(), CodecError> {
        assert_eq!(frame.len(), 80);
        // All-silent frames are not sent.
        if frame.iter().any(|&sample| sample != 0) {
            out.extend(frame.iter().map(|sample| sample.to_be_bytes()[0]));
        }
        Ok(())
    }
}

/// 8 kHz WAV whose sample `n` has the upper octet `value(n)`.
pub(super) fn wav(samples: u32, value: impl Fn(u32) -> u8) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(b"RIFF");
    out.extend_from_slice(&(36 + samples * 2).to_le_bytes());
    out.extend_from_slice(b"WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data");
    out.extend_from_slice(&(samples * 2).to_le_bytes());
    for index in 0..samples {
        out.extend_from_slice(&[0, value(index)]);
    }
    out
}

const SHAPE: Shape = Shape {
    ptime_ms: 20,
    clock_rate: 8000,
    repeat_times: 1,
    repeat_duration: None,
    start_pos: Duration::ZERO,
};

fn maker(octets: Vec<u8>, shape: Shape) -> FrameMaker {
    let mut source = AudioSource::open(Origin::Memory(octets.into()), 8000, 1).expect("opens");
    if !shape.start_pos.is_zero() {
        source.seek(shape.start_pos).expect("seeks");
    }
    FrameMaker::new(source, Box::new(UpperOctets), shape)
}

fn own(octets: Vec<u8>, shape: Shape) -> Frames {
    Frames::Own(Box::new(maker(octets, shape)))
}

fn all(mut maker: FrameMaker) -> Vec<(PlayerFrame, u64)> {
    std::iter::from_fn(|| maker.next()).collect()
}

#[test]
fn frames_cover_the_source_exactly() {
    let frames = all(maker(wav(8000, |n| (n / 160) as u8 + 1), SHAPE));
    assert_eq!(frames.len(), 50);
    for (index, (frame, position)) in frames.iter().enumerate() {
        assert_eq!(&frame.payload[..], [index as u8 + 1; 160]);
        assert_eq!((frame.duration, *position), (160, index as u64 * 20));
    }
}

#[test]
fn the_last_frame_is_filled_with_silence() {
    let frames = all(maker(wav(8000 + 100, |_| 1), SHAPE));
    assert_eq!(frames.len(), 51);
    let (last, _) = frames.last().expect("frames");
    assert_eq!(last.payload.len(), 160);
    assert_eq!(last.payload.iter().filter(|&&octet| octet == 1).count(), 100);
}

#[test]
fn repetitions_follow_each_other_without_a_gap() {
    let shape = Shape { repeat_times: 3, ..SHAPE };
    let frames = all(maker(wav(1000, |_| 1), shape));
    assert_eq!(frames.len(), 19, "3000 samples");
    let octets: Vec<u8> = frames.iter().flat_map(|(frame, _)| frame.payload.to_vec()).collect();
    assert!(octets[..3000].iter().all(|&octet| octet == 1));
    let positions: Vec<u64> = frames.iter().map(|&(_, position)| position).collect();
    assert_eq!(positions[..9], [0, 20, 40, 60, 80, 100, 120, 15, 35]);
}

#[test]
fn the_total_play_time_ends_repetition_and_source() {
    for (repeat_times, ms, expected) in [(u32::MAX, 3000, 150), (1, 3000, 50), (2, 30, 2)] {
        let repeat_duration = Some(Duration::from_millis(ms));
        let frames = all(maker(wav(8000, |_| 1), Shape { repeat_times, repeat_duration, ..SHAPE }));
        assert_eq!(frames.len(), expected, "{repeat_times} × {ms} ms");
    }
}

#[test]
fn playing_starts_at_the_position_and_repeats_from_the_beginning() {
    let shape = Shape { start_pos: Duration::from_millis(900), repeat_times: 2, ..SHAPE };
    let frames = all(maker(wav(8000, |n| (n / 160) as u8 + 1), shape));
    assert_eq!(frames.len(), 55);
    assert_eq!((frames[0].0.payload[0], frames[0].1), (46, 900));
    assert_eq!((frames[5].0.payload[0], frames[5].1), (1, 0));
}

#[test]
fn an_empty_source_ends_however_often_it_is_repeated() {
    let shape = Shape { start_pos: Duration::from_secs(100), repeat_times: u32::MAX, ..SHAPE };
    let octets = wav(800, |_| 1);
    let mut source = AudioSource::open(Origin::Memory(octets.into()), 8000, 1).expect("opens");
    source.seek(shape.start_pos).expect("seeks");
    assert!(all(FrameMaker::new(source, Box::new(UpperOctets), shape)).is_empty());
}

#[test]
fn silence_that_is_not_sent_prolongs_the_frame_before() {
    let frames = all(maker(wav(1600, |n| u8::from(!(320..960).contains(&n))), SHAPE));
    let durations: Vec<u32> = frames.iter().map(|(frame, _)| frame.duration).collect();
    assert_eq!(durations, [160, 160 + 640, 160, 160, 160, 160]);
}

/// Takes frames from a ring until it ends.
fn consume(mut frames: rtrb::Consumer<PlayerFrame>) -> usize {
    let (mut count, deadline) = (0, Instant::now() + Duration::from_secs(20));
    while Instant::now() < deadline {
        match frames.pop() {
            Ok(_) => count += 1,
            Err(_) if frames.is_abandoned() && frames.is_empty() => return count,
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    panic!("the ring did not end after {count} frames");
}

#[test]
fn first_frames_are_there_at_once_and_the_pool_brings_the_rest() {
    let (feed, frames) = Feed::new(own(wav(16_000, |_| 1), SHAPE));
    assert_eq!(frames.slots(), 3);
    pool::serve(feed).expect("served");
    assert_eq!(consume(frames), 100);
}

#[test]
fn many_players_share_few_threads() {
    let octets = wav(4000, |_| 1);
    let rings: Vec<_> = (0..500)
        .map(|_| {
            let (feed, frames) = Feed::new(own(octets.clone(), SHAPE));
            pool::serve(feed).expect("served");
            frames
        })
        .collect();
    let mut playing: Vec<_> = rings.into_iter().map(|frames| (frames, 0)).collect();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !playing.is_empty() {
        assert!(Instant::now() < deadline, "{} rings did not end", playing.len());
        std::thread::sleep(Duration::from_millis(1));
        playing.retain_mut(|(frames, count)| {
            *count += std::iter::from_fn(|| frames.pop().ok()).count();
            let ended = frames.is_abandoned() && frames.is_empty();
            assert!(!ended || *count == 25, "{count} frames");
            !ended
        });
    }
    let threads = std::fs::read_dir("/proc/self/task").expect("tasks").flatten().filter(|task| {
        std::fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.starts_with("player-"))
    });
    assert!((1..=4).contains(&threads.count()));
}

#[test]
fn a_thousand_listeners_of_one_music_cost_one_encoder() {
    let sources = Sources::without_library().expect("a library");
    let found = sources.find(&MediaSource::Blob(wav(2000, |n| n as u8))).expect("found");
    let form = |codec: &str, payload_type| Form {
        format: PayloadFormat::new(payload_type, codec, 8000, 1),
        options: EncoderOptions { ptime_ms: Some(20), ..EncoderOptions::default() },
        repeat_times: 999,
        repeat_duration: Some(Duration::from_millis(600)),
        start_pos: Duration::ZERO,
    };
    // Their payload type is their own affair.
    let listeners: Vec<_> = (0..1000)
        .map(|n| sources.open(&found, &form("PCMA", 8 + (n % 100) as u8)).expect("opened"))
        .collect();
    let mut frames: Vec<std::sync::Weak<[u8]>> = Vec::new();
    for listener in listeners {
        let heard = listener.take_all();
        assert_eq!(heard.len(), 30);
        frames.extend(heard.iter().map(|frame| Arc::downgrade(&frame.payload)));
        // The music is 13 packets long; all else is the same octets again.
        let again = heard.iter().skip(13).zip(&heard);
        assert!(again.into_iter().all(|(later, first)| Arc::ptr_eq(&later.payload, &first.payload)));
    }
    let is_first = |(index, frame): (usize, &std::sync::Weak<[u8]>)| frame.ptr_eq(&frames[index % 30]);
    assert!(frames.iter().enumerate().all(is_first), "each was encoded once");
    assert_eq!(sources.encodings().begun(), 1);
    assert_eq!(sources.open(&found, &form("PCMU", 0)).expect("opened").take_all().len(), 30);
    assert_eq!(sources.encodings().begun(), 2, "another codec");
}

#[test]
fn position_is_that_of_the_frame_handed_out_last() {
    let (feed, mut frames) = Feed::new(own(wav(80_000, |_| 1), SHAPE));
    assert_eq!(feed.position_ms(), 0);
    for _ in 0..3 {
        frames.pop().expect("a frame");
    }
    assert_eq!(feed.position_ms(), 40);
    feed.stop();
    assert_eq!(feed.position_ms(), 40);
    assert!(frames.is_abandoned());
}

#[test]
fn a_player_that_has_caught_up_is_where_it_says() {
    // 400 ms, all of which fit into the ring.
    let (feed, mut frames) = Feed::new(own(wav(3_200, |_| 1), SHAPE));
    assert_eq!(frames.pop().map(|frame| frame.duration), Ok(160));
    feed.fill();
    let mut played = 1;
    while frames.pop().is_ok() {
        played += 1;
    }
    assert!(frames.is_abandoned());
    assert_eq!((played, feed.position_after_ms(played)), (20, 380));
    assert_eq!([feed.position_after_ms(0), feed.position_after_ms(15), feed.position_after_ms(99)][1], 280);
}

#[test]
fn what_is_left_out_is_neither_heard_nor_counted() {
    // Three frames: all are in the ring at once, and nothing more comes.
    let (feed, mut frames) = Feed::new(own(wav(480, |n| (n / 160) as u8 + 1), SHAPE));
    let skipped = feed.leave_out(20);
    assert_eq!(skipped, 1);
    assert_eq!(frames.pop().map(|frame| frame.payload[0]), Ok(1));
    assert_eq!(frames.pop().map(|frame| frame.payload[0]), Ok(2));
    assert_eq!(feed.place_after(1), Place { plays_ended: 0, position_ms: 40 });
    assert_eq!(feed.place_after(2), Place { plays_ended: 0, position_ms: 60 });
}
