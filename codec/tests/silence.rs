//! The codec graph where nobody speaks: comfort noise, discontinuous transmission, pauses.

mod harness;

use codec::graph::Transcoder;
use codec::{PayloadFormat, new_decoder};
use harness::{FIRST_SEQUENCE, Harness, SSRC, Sent, plan, rms, tone};

#[test]
fn comfort_noise_that_the_sink_lacks_is_heard_as_noise() {
    let mut plan = plan("PCMU/8000", "PCMA/8000", None);
    plan.noise.from = Some(13);
    let mut harness = Harness::new(&plan);
    harness.push(0, 1, 0, &[0xff; 160]);
    harness.push(13, 2, 160, &[40]);
    harness.push(13, 3, 1600, &[40]);
    harness.push(13, 4, 3200, &[]);
    harness.push(0, 5, 4800, &[0xff; 160]);
    let sent: Vec<_> = harness.sent.iter().map(|p| (p.timestamp, p.marker, p.payload_type)).collect();
    assert_eq!(sent, [(0, true, 8), (160, false, 8), (1600, true, 8), (4800, true, 8)]);
    let mut samples = Vec::new();
    let mut decoder = new_decoder(&plan.sink).unwrap();
    harness.sent[1..3].iter().for_each(|p| decoder.decode(&p.payload, &mut samples).unwrap());
    let level = 20.0 * (rms(&samples) / 32_768.0).log10();
    assert!((level + 40.0).abs() < 1.0, "{level:.1} dBov");
}

#[test]
fn silence_becomes_comfort_noise_for_who_takes_it() {
    let mut plan = plan("PCMU/8000", "PCMA/8000", None);
    plan.noise.to = Some(13);
    let silence = codec::graph::SilenceDetection { threshold: 8, payload: [32, 100].into() };
    let settings = codec::graph::Settings { silence: Some(silence), ..Default::default() };
    let mut harness = Harness::new(&plan);
    harness.transcoder = Transcoder::with_settings(&plan, SSRC, FIRST_SEQUENCE, &settings).unwrap();
    let speech = tone(&plan.source, 20, 2);
    for (n, payload) in
        [&speech[0].1, &vec![0xff; 160], &vec![0x7f; 160], &speech[1].1].into_iter().enumerate()
    {
        harness.push(0, n as u16, n as u32 * 160, payload);
    }
    let sent: Vec<_> =
        harness.sent.iter().map(|p| (p.payload_type, p.timestamp, p.marker, p.payload.len())).collect();
    assert_eq!(sent, [(8, 0, true, 160), (13, 160, false, 2), (13, 320, false, 2), (8, 480, true, 160)]);
}

#[test]
fn g729_leaves_out_silence_unless_told_otherwise() {
    if !codec::def::by_name("G729").unwrap().can_encode() {
        return;
    }
    for (fmtp, noisy) in [("", true), ("annexb=yes", true), ("annexb=no", false)] {
        let mut plan = plan("PCMU/8000", "G729/8000", Some(20));
        plan.sink.fmtp = fmtp.into();
        let mut harness = Harness::new(&plan);
        let mut packets = tone(&plan.source, 20, 25);
        packets.extend((25..100).map(|n| (n * 160, vec![0xff; 160])));
        packets.extend(
            tone(&plan.source, 20, 10).into_iter().map(|(offset, payload)| (16_000 + offset, payload)),
        );
        for (n, (offset, payload)) in packets.iter().enumerate() {
            harness.push(0, n as u16, *offset, payload);
        }
        let noise: Vec<_> = harness.sent.iter().filter(|p| p.payload.len() % 10 == 2).collect();
        assert_eq!(!noise.is_empty(), noisy, "{fmtp:?}");
        assert!(!noisy || harness.sent.len() < 90, "{fmtp:?}: {} packets", harness.sent.len());
        for (n, packet) in harness.sent.iter().enumerate() {
            assert_eq!(packet.sequence_number, FIRST_SEQUENCE.wrapping_add(n as u16));
            assert!(matches!(packet.payload.len(), 2 | 10 | 12 | 20), "{}", packet.payload.len());
        }
        // The time at which speech comes back is right to the frame, and marked.
        let back = harness.sent.iter().find(|p| p.timestamp >= 16_000 && p.payload.len() > 2).unwrap();
        assert_eq!((back.timestamp, back.marker), (16_000, noisy), "{fmtp:?}");
        // What was sent is decoded with its gaps.
        let mut decoder = new_decoder(&plan.sink).unwrap();
        let mut samples = Vec::new();
        harness.sent.iter().for_each(|p| decoder.decode(&p.payload, &mut samples).unwrap());
    }
}

#[test]
fn amr_describes_silence_when_asked_to() {
    for (codec, sid) in [("AMR/8000", 8), ("AMR-WB/16000", 9)] {
        if !codec::def::by_name(codec.split('/').next().unwrap()).unwrap().can_encode() {
            continue;
        }
        for (ptime, dtx) in [(20, true), (60, true), (20, false)] {
            let mut plan = plan("PCMU/8000", codec, Some(ptime));
            plan.sink.fmtp = "octet-align=1".into();
            plan.options.options = if dtx { "dtx=1".into() } else { String::new() };
            let mut harness = Harness::new(&plan);
            let mut packets = tone(&plan.source, 20, 30);
            packets.extend((30..150).map(|n| (n * 160, vec![0xff; 160])));
            for (n, (offset, payload)) in packets.iter().enumerate() {
                harness.push(0, n as u16, *offset, payload);
            }
            let frame_type = |p: &&Sent| p.payload[1] >> 3 & 15;
            let noise = harness.sent.iter().filter(|p| frame_type(p) == sid).count();
            let all = 150 * 20 / usize::from(ptime);
            assert_eq!(noise > 0, dtx, "{codec} {ptime}");
            assert_eq!(harness.sent.len() < all, dtx, "{codec} {ptime}: {} of {all}", harness.sent.len());
            let mut decoder = new_decoder(&plan.sink).unwrap();
            let mut samples = Vec::new();
            harness.sent.iter().for_each(|p| decoder.decode(&p.payload, &mut samples).unwrap());
        }
    }
}

#[test]
fn comfort_noise_payload_is_not_rescaled() {
    let mut plan = plan("PCMU/8000", "opus/48000/2", None);
    plan.options.ptime_ms = Some(20);
    let mut harness = Harness::new(&plan);
    let cn = PayloadFormat::new(13, "CN", 8000, 1);
    harness.transcoder.set_companions([(&cn, &PayloadFormat::new(105, "CN", 48_000, 1))].into_iter());
    harness.push(0, 1, 0, &[0xff; 160]);
    harness.push_marked(13, false, 2, 160, &[32, 1, 2, 3], Some(105));
    assert_eq!(harness.sent[1].payload, [32, 1, 2, 3]);
}

#[test]
fn pause_advances_timestamps_without_a_sequence_gap() {
    let plan = plan("PCMU/8000", "PCMA/8000", None);
    let mut harness = Harness::new(&plan);
    harness.push(0, 1, 0, &[0xff; 160]);
    harness.push(0, 2, 16_000, &[0xff; 160]);
    harness.push(0, 3, 16_160 + 8000 * 6, &[0xff; 160]);
    let got: Vec<(u16, u32, bool)> = harness
        .sent
        .iter()
        .map(|p| (p.sequence_number.wrapping_sub(FIRST_SEQUENCE), p.timestamp, p.marker))
        .collect();
    // More than five seconds are a discontinuity, which does not move the clock.
    assert_eq!(got, [(0, 0, true), (1, 16_000, true), (2, 16_160, false)]);
}

#[test]
fn loss_before_a_pause_is_not_multiplied_by_it() {
    let plan = plan("PCMU/8000", "PCMA/8000", None);
    let mut harness = Harness::new(&plan);
    harness.push(0, 1, 0, &[0xff; 160]);
    harness.push(0, 3, 16_000, &[0xff; 160]);
    let last = harness.sent.last().unwrap();
    assert_eq!((last.sequence_number.wrapping_sub(FIRST_SEQUENCE), last.timestamp), (2, 16_000));
    assert!(last.marker);
}
