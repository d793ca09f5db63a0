//! The codec graph from packet to packet: counts, numbering, timestamps, sizes, level, losses.

mod harness;

use std::time::Duration;

use proptest::prelude::*;

use codec::{EncoderOptions, new_decoder, new_encoder};
use harness::{FIRST_SEQUENCE, Harness, Sent, format, plan, rms, sine, tone};

#[test]
fn every_codec_pair_keeps_level_and_time() {
    let codecs = ["PCMU/8000", "PCMA/8000", "G722/8000", "GSM/8000", "L16/44100", "opus/48000/2"];
    for source in codecs {
        for sink in codecs {
            let plan = plan(source, sink, None);
            let mut harness = Harness::new(&plan);
            for (n, (offset, payload)) in tone(&plan.source, 20, 60).into_iter().enumerate() {
                harness.push(plan.source.payload_type, n as u16, 1000 + offset, &payload);
                harness.now += Duration::from_millis(20);
            }
            let name = format!("{source} → {sink}");
            assert_eq!(harness.sent.len(), 60, "{name}");
            harness.assert_gapless();
            let ticks = plan.sink.clock_rate / 50;
            let mut decoder = new_decoder(&plan.sink).unwrap();
            let mut samples = Vec::new();
            for (n, packet) in harness.sent.iter().enumerate() {
                assert_eq!(packet.timestamp, 1000 + n as u32 * ticks, "{name} {n}");
                assert_eq!(packet.after, Duration::from_millis(n as u64 * 20), "{name} {n}");
                decoder.decode(&packet.payload, &mut samples).unwrap();
            }
            let level = 20.0 * (rms(&samples[samples.len() / 2..]) / (8000.0 / 2f64.sqrt())).log10();
            // Full-rate GSM is a model of a voice, a tone comes out with ripple.
            let tolerance = if name.contains("GSM") { 2.5 } else { 1.0 };
            assert!(level.abs() < tolerance, "{name}: {level:.2} dB");
        }
    }
}

#[test]
fn packet_times_convert_exactly() {
    for (source, sink) in
        [("PCMU/8000", "PCMA/8000"), ("PCMU/8000", "G722/8000"), ("PCMA/8000", "opus/48000/2")]
    {
        for from in [10u16, 20, 30, 40, 60] {
            for to in [10u16, 20, 30, 40, 50, 60] {
                let plan = plan(source, sink, Some(to));
                let mut harness = Harness::new(&plan);
                let packets = 600 / usize::from(from);
                for (n, (offset, payload)) in tone(&plan.source, from, packets).into_iter().enumerate() {
                    harness.push(plan.source.payload_type, n as u16, offset, &payload);
                    harness.now += Duration::from_millis(from.into());
                }
                let name = format!("{source} {from} ms → {sink} {to} ms");
                assert_eq!(harness.sent.len(), 600 / usize::from(to), "{name}");
                harness.assert_gapless();
                let ticks = plan.sink.clock_rate * u32::from(to) / 1000;
                for (n, packet) in harness.sent.iter().enumerate() {
                    assert_eq!(packet.timestamp, n as u32 * ticks, "{name} {n}");
                    if !sink.starts_with("opus") {
                        assert_eq!(packet.payload.len(), usize::from(to) * 8, "{name} {n}");
                    }
                }
                // Packets cut from one are spread over its time.
                for pair in harness.sent.windows(2) {
                    let step = pair[1].after.saturating_sub(pair[0].after);
                    assert!(step <= Duration::from_millis(u64::from(from.max(to)) * 2), "{name}: {step:?}");
                }
            }
        }
    }
}

#[test]
fn gsm_collects_frames_into_the_packet_time() {
    let plan = plan("PCMU/8000", "GSM/8000", Some(60));
    let mut harness = Harness::new(&plan);
    for (n, (offset, payload)) in tone(&plan.source, 20, 9).into_iter().enumerate() {
        harness.push(0, n as u16, offset, &payload);
    }
    let sizes: Vec<usize> = harness.sent.iter().map(|p| p.payload.len()).collect();
    assert_eq!(sizes, [99, 99, 99]);
}

#[test]
fn a_lost_packet_is_replaced_in_every_codec() {
    for source in ["PCMU/8000", "G722/8000", "GSM/8000", "L16/16000/2", "opus/48000/2"] {
        let plan = plan(source, "PCMA/8000", None);
        let mut harness = Harness::new(&plan);
        for (n, (offset, payload)) in tone(&plan.source, 20, 30).into_iter().enumerate() {
            if n != 15 {
                harness.push(plan.source.payload_type, n as u16, offset, &payload);
            }
        }
        assert_eq!(harness.transcoder.counters().lost, 1, "{source}");
        assert_eq!(harness.sent.len(), 30, "{source}");
        harness.assert_gapless();
        let mut samples = Vec::new();
        new_decoder(&plan.sink).unwrap().decode(&harness.sent[15].payload, &mut samples).unwrap();
        assert!(rms(&samples) > 2000.0, "{source}: concealed packet is near silent: {}", rms(&samples));
    }
}

#[test]
fn a_word_that_begins_in_a_lost_packet_is_heard_from_there_on() {
    // Codecs whose frames mean the same whatever came before.
    for source in ["PCMU/8000", "L16/16000/2"] {
        let plan = plan(source, "PCMA/8000", None);
        let mut harness = Harness::new(&plan);
        let mut encoder = new_encoder(&plan.source, &EncoderOptions::default()).unwrap();
        let (rate, channels) = (encoder.sample_rate(), encoder.channels());
        let per_packet = rate as usize / 50;
        for n in 0..30 {
            let mut samples = sine(rate, channels, n * per_packet, per_packet);
            if n < 15 {
                samples.fill(0);
            }
            let mut payload = Vec::new();
            for frame in samples.chunks_exact(encoder.frame_samples() * usize::from(channels)) {
                encoder.encode(frame, &mut payload).unwrap();
            }
            if n != 15 {
                let offset = n as u32 * plan.source.clock_rate / 50;
                harness.push(plan.source.payload_type, n as u16, offset, &payload);
            }
        }
        assert_eq!(harness.sent.len(), 30, "{source}");
        harness.assert_gapless();
        let mut samples = Vec::new();
        new_decoder(&plan.sink).unwrap().decode(&harness.sent[15].payload, &mut samples).unwrap();
        let [first, last] = [&samples[..40], &samples[120..]].map(rms);
        assert!(last > 1000.0 && last > 2.0 * first, "{source}: from {first} to {last}");
    }
}

#[test]
fn long_loss_moves_the_clock_and_stays_visible_in_the_sequence() {
    let plan = plan("PCMU/8000", "PCMA/8000", None);
    let mut harness = Harness::new(&plan);
    let lost = 5..13;
    for (n, (offset, payload)) in tone(&plan.source, 20, 20).into_iter().enumerate() {
        if !lost.contains(&n) {
            harness.push(0, n as u16, offset, &payload);
        }
    }
    assert_eq!(harness.transcoder.counters().lost, 8);
    let got: Vec<(u16, u32)> =
        harness.sent.iter().map(|p| (p.sequence_number.wrapping_sub(FIRST_SEQUENCE), p.timestamp)).collect();
    let heard = (0..20).filter(|n| !lost.contains(n));
    let expected: Vec<(u16, u32)> = heard.map(|n| (n as u16, n as u32 * 160)).collect();
    assert_eq!(got, expected);
}

#[test]
fn amr_encoder_follows_the_requests_of_the_party() {
    if !codec::def::by_name("AMR").unwrap().can_encode() {
        return;
    }
    let mut towards = plan("PCMU/8000", "AMR/8000", None);
    towards.options.bitrate_bps = Some(12_200);
    let mut from = plan("AMR/8000", "PCMU/8000", None);
    from.source.fmtp = "octet-align=1".into();
    towards.sink.fmtp = "octet-align=1".into();
    let (mut towards, mut from) = (Harness::new(&towards), Harness::new(&from));
    for (n, (offset, payload)) in tone(&format("PCMU/8000"), 20, 9).into_iter().enumerate() {
        // The party asks for mode 0 with its second packet: no data, request 0.
        let request = if n == 3 { 0x00 } else { 0xf0 };
        from.push(96, n as u16, offset, &[request, 15 << 3 | 4]);
        towards.transcoder.follow(from.transcoder.feedback());
        towards.push(0, n as u16, offset, &payload);
    }
    let modes: Vec<u8> = towards.sent.iter().map(|p| p.payload[1] >> 3 & 15).collect();
    assert_eq!(modes, [7, 7, 7, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn other_payload_types_are_not_decoded() {
    let plan = plan("PCMU/8000", "PCMA/8000", None);
    let mut harness = Harness::new(&plan);
    harness.push(0, 1, 0, &[0xff; 160]);
    harness.push(8, 2, 160, &[0xd5; 160]);
    harness.push(0, 3, 320, &[0xff; 160]);
    assert_eq!(harness.sent.len(), 2);
    assert_eq!(harness.sent[1].timestamp, 320);
    assert_eq!(harness.transcoder.counters().decode_errors, 1);
}

#[test]
fn sequence_reset_keeps_outgoing_numbers_continuous() {
    let plan = plan("PCMU/8000", "PCMA/8000", None);
    let mut harness = Harness::new(&plan);
    for (sequence, timestamp) in [(10, 0), (11, 160), (40_000, 3_000_000_000), (40_001, 3_000_000_160)] {
        harness.push(0, sequence, timestamp, &[0xff; 160]);
    }
    harness.assert_gapless();
    let stamps: Vec<u32> = harness.sent.iter().map(|p| p.timestamp).collect();
    assert_eq!(stamps, [0, 160, 320, 480]);
}

#[test]
fn reordered_and_duplicate_packets_come_out_once_in_order() {
    let plan = plan("PCMU/8000", "PCMA/8000", None);
    let mut harness = Harness::new(&plan);
    for n in [0u16, 2, 1, 1, 3, 0] {
        harness.push(0, n, u32::from(n) * 160, &[n as u8; 160]);
    }
    harness.assert_gapless();
    assert_eq!(harness.sent.len(), 4);
    assert_eq!(harness.transcoder.counters().duplicates, 2);
}

#[test]
fn event_packets_keep_one_timestamp_in_the_sinks_clock() {
    let plan = plan("PCMU/8000", "opus/48000/2", None);
    let mut harness = Harness::new(&plan);
    harness.push(0, 1, 8000, &[0xff; 160]);
    for (n, duration) in [(0u16, 160u16), (1, 320), (2, 480)] {
        let [high, low] = duration.to_be_bytes();
        harness.push_marked(101, n == 0, 2 + n, 8160, &[5, 10, high, low], Some(110));
    }
    harness.push(0, 5, 8640, &[0xff; 160]);
    let events: Vec<&Sent> = harness.sent.iter().filter(|p| p.payload_type == 110).collect();
    assert_eq!(events.len(), 3);
    for (n, event) in events.iter().enumerate() {
        assert_eq!(event.timestamp, 8000 + 960);
        assert_eq!(event.marker, n == 0);
        let duration = u16::from_be_bytes([event.payload[2], event.payload[3]]);
        assert_eq!((event.payload[0], duration), (5, 960 * (n as u16 + 1)));
    }
    let numbers: Vec<u16> =
        harness.sent.iter().map(|p| p.sequence_number.wrapping_sub(FIRST_SEQUENCE)).collect();
    assert_eq!(numbers, [0, 1, 2, 3, 4]);
    assert_eq!(harness.sent.last().map(|p| p.timestamp), Some(8000 + 960 * 4));
}

#[test]
fn replan_keeps_numbering() {
    let first = plan("PCMU/8000", "PCMA/8000", None);
    let mut harness = Harness::new(&first);
    for n in 0..3u16 {
        harness.push(0, n, u32::from(n) * 160, &[0xff; 160]);
    }
    harness.transcoder.replan(&plan("PCMU/8000", "G722/8000", Some(40))).unwrap();
    for n in 3..7u16 {
        harness.push(0, n, u32::from(n) * 160, &[0xff; 160]);
    }
    let got: Vec<(u8, u16, u32, usize)> = harness
        .sent
        .iter()
        .map(|p| {
            (p.payload_type, p.sequence_number.wrapping_sub(FIRST_SEQUENCE), p.timestamp, p.payload.len())
        })
        .collect();
    assert_eq!(got, [(8, 0, 0, 160), (8, 1, 160, 160), (8, 2, 320, 160), (9, 3, 480, 320), (9, 4, 800, 320)]);
    let unknown = plan("PCMU/8000", "EVS/16000", None);
    assert!(harness.transcoder.replan(&unknown).is_err());
    harness.push(0, 7, 7 * 160, &[0xff; 160]);
    harness.push(0, 8, 8 * 160, &[0xff; 160]);
    assert_eq!(harness.sent.len(), 6);
}

#[test]
fn a_codec_that_passes_from_now_on_is_not_decoded_any_more() {
    let (first, pcmu) = (plan("PCMU/8000", "L16/8000", None), format("PCMU/8000"));
    let mut harness = Harness::new(&first);
    harness.push(0, 0, 0, &[0xff; 160]);
    // Another codec of the same edge still has a plan, so that the transcoder stays.
    harness.transcoder.set_companions([(&pcmu, &pcmu)].into_iter());
    harness.push_marked(0, false, 1, 160, &[0x55; 160], Some(0));
    harness.transcoder.set_companions(std::iter::empty());
    harness.push(0, 2, 320, &[0xff; 160]);
    let got: Vec<_> = harness.sent.iter().map(|p| (p.payload_type, p.timestamp, p.payload.len())).collect();
    assert_eq!(got, [(11, 0, 320), (0, 160, 160), (11, 320, 320)]);
}

#[test]
fn audio_that_passes_between_transcoded_audio_keeps_time_however_long() {
    let (g722, pcmu) = (plan("G722/8000", "PCMU/8000", None), format("PCMU/8000"));
    let mut harness = Harness::new(&g722);
    harness.transcoder.set_companions([(&pcmu, &pcmu)].into_iter());
    for n in 0..1000u32 {
        let passes = (10..900).contains(&n);
        let forward_as = passes.then_some(0);
        harness.push_marked(if passes { 0 } else { 9 }, false, n as u16, n * 160, &[0xd5; 160], forward_as);
        harness.now += Duration::from_millis(20);
    }
    for (n, packet) in harness.sent.iter().enumerate() {
        let expected = (FIRST_SEQUENCE.wrapping_add(n as u16), n as u32 * 160, 0);
        assert_eq!((packet.sequence_number, packet.timestamp, packet.payload_type), expected);
    }
    assert_eq!(harness.sent.len(), 1000);
}

#[test]
fn audio_of_another_clock_that_passes_has_its_own_steps() {
    let (opus, pcmu) = (plan("opus/48000/2", "PCMA/8000", None), format("PCMU/8000"));
    let mut harness = Harness::new(&opus);
    harness.transcoder.set_companions([(&pcmu, &pcmu)].into_iter());
    let (frame, mut stamp) = (tone(&opus.source, 20, 1).remove(0).1, 5000u32);
    for n in 0..30u16 {
        let passes = (10..20).contains(&n);
        let (payload_type, payload) = if passes { (0, &[0x55; 160][..]) } else { (96, &frame[..]) };
        harness.push_marked(payload_type, false, n, stamp, payload, passes.then_some(0));
        stamp = stamp.wrapping_add(if passes { 160 } else { 960 });
        harness.now += Duration::from_millis(20);
    }
    let stamps: Vec<_> = harness.sent.iter().map(|p| p.timestamp).collect();
    assert_eq!(stamps, (0..30).map(|n| 5000 + n * 160).collect::<Vec<_>>());
    // What passes has another clock than what is made.
    let (pcmu, opus) = (plan("PCMU/8000", "PCMA/8000", None), format("opus/48000/2"));
    let mut harness = Harness::new(&pcmu);
    harness.transcoder.set_companions([(&opus, &opus)].into_iter());
    for n in 0..9u16 {
        let passes = (3..6).contains(&n);
        let forward_as = passes.then_some(96);
        let stamp = if passes { 77_777 + u32::from(n) * 960 } else { 5000 + u32::from(n) * 160 };
        harness.push_marked(if passes { 96 } else { 0 }, false, n, stamp, &[0xd5; 160], forward_as);
        harness.now += Duration::from_millis(20);
    }
    let steps: Vec<_> = harness.sent.windows(2).map(|pair| pair[1].timestamp - pair[0].timestamp).collect();
    assert_eq!(steps, [160, 160, 160, 960, 960, 160, 160, 160]);
}

#[test]
fn an_incomplete_packet_does_not_overtake_or_overlap_what_passes() {
    for (name, falls_silent) in [("PCMU/8000", false), ("CN/8000", true)] {
        let (g722, passing) = (plan("G722/8000", "PCMU/8000", Some(30)), format(name));
        let mut harness = Harness::new(&g722);
        harness.transcoder.set_companions([(&passing, &passing)].into_iter());
        for n in 0..8u32 {
            let passes = n >= 5;
            let payload_type = if passes { passing.payload_type } else { 9 };
            let forward_as = passes.then_some(payload_type);
            harness.push_marked(payload_type, false, n as u16, n * 160, &[0xd5; 160], forward_as);
            harness.now += Duration::from_millis(20);
        }
        let got: Vec<_> = harness.sent.iter().map(|p| (p.payload_type, p.timestamp)).collect();
        let rest = if falls_silent { &[(0, 720)][..] } else { &[] };
        let pt = passing.payload_type;
        let expected =
            [&[(0, 0), (0, 240), (0, 480)][..], rest, &[(pt, 800), (pt, 960), (pt, 1120)]].concat();
        assert_eq!(got, expected, "{name}");
    }
}

#[test]
fn loss_among_passing_audio_is_missing_in_the_sequence() {
    let (g722, pcmu) = (plan("G722/8000", "PCMU/8000", None), format("PCMU/8000"));
    let mut harness = Harness::new(&g722);
    harness.transcoder.set_companions([(&pcmu, &pcmu)].into_iter());
    harness.push(9, 0, 0, &[0xd5; 160]);
    for n in [1u16, 2, 5, 6, 7, 8, 9, 10, 11, 12] {
        harness.push_marked(0, false, n, u32::from(n) * 160, &[0xd5; 160], Some(0));
        harness.now += Duration::from_millis(100);
    }
    let numbers = harness.sent.iter().map(|p| p.sequence_number.wrapping_sub(FIRST_SEQUENCE));
    assert_eq!(numbers.collect::<Vec<_>>(), [0, 1, 2, 5, 6, 7, 8, 9, 10, 11, 12]);
}

#[test]
fn digits_long_after_the_last_audio_are_digits_of_their_own() {
    let plan = plan("PCMU/8000", "PCMA/8000", None);
    let mut harness = Harness::new(&plan);
    harness.push(0, 0, 0, &[0xff; 160]);
    for digit in 1..=3u16 {
        harness.now += Duration::from_secs(6);
        for copy in 0..2 {
            let timestamp = 160 + u32::from(digit) * 8000 * 6;
            harness.push_marked(101, copy == 0, digit * 2 - 1 + copy, timestamp, &[5, 10, 0, 160], Some(101));
        }
    }
    let stamps: Vec<_> = harness.sent.iter().map(|p| p.timestamp).collect();
    assert_eq!(stamps, [0, 48_160, 48_160, 96_160, 96_160, 144_160, 144_160]);
    harness.push(0, 7, 160 + 8000 * 19, &[0xff; 160]);
    assert_eq!(harness.sent.last().map(|p| p.timestamp), Some(160 + 8000 * 19));
}

#[test]
fn invalid_payloads_are_counted_and_do_not_stop_the_stream() {
    let plan = plan("GSM/8000", "PCMA/8000", None);
    let mut harness = Harness::new(&plan);
    let packets = tone(&plan.source, 20, 3);
    harness.push(3, 0, packets[0].0, &packets[0].1);
    harness.push(3, 1, packets[1].0, &[1, 2, 3]);
    harness.push(3, 2, packets[2].0, &packets[2].1);
    assert_eq!(harness.transcoder.counters().decode_errors, 1);
    assert_eq!(harness.sent.last().map(|p| p.timestamp), Some(320));
}

#[test]
fn opus_round_trip_keeps_a_tone() {
    for rate in [8000, 12_000, 16_000, 24_000, 48_000] {
        let opus = format("opus/48000/2");
        let options = EncoderOptions { source_rate: Some(rate), ..Default::default() };
        let mut encoder = new_encoder(&opus, &options).unwrap();
        assert_eq!((encoder.sample_rate(), encoder.channels()), (rate, 1));
        let hints = codec::DecoderOptions { sink_rate: Some(rate), sink_channels: Some(1) };
        let mut decoder = codec::new_decoder_for(&opus, &hints).unwrap();
        let input = sine(rate, 1, 0, rate as usize);
        let (mut output, mut payload) = (Vec::new(), Vec::new());
        for frame in input.chunks_exact(encoder.frame_samples()) {
            payload.clear();
            encoder.encode(frame, &mut payload).unwrap();
            decoder.decode(&payload, &mut output).unwrap();
        }
        // The codec's delay is unknown here: take the best of the first 20 ms.
        let span = rate as usize / 2..rate as usize * 9 / 10;
        let snr = (0..rate as usize / 50)
            .map(|delay| {
                let noise: f64 = span
                    .clone()
                    .map(|n| f64::from(i32::from(output[n + delay]) - i32::from(input[n])).powi(2))
                    .sum();
                let signal: f64 = span.clone().map(|n| f64::from(input[n]).powi(2)).sum();
                10.0 * (signal / noise).log10()
            })
            .fold(f64::MIN, f64::max);
        assert!(snr > 15.0, "{rate} Hz: {snr:.1} dB");
    }
}

#[test]
fn opus_follows_the_peers_parameters_and_options() {
    let stereo = format("opus/48000/2").with_fmtp("stereo=1;maxaveragebitrate=20000;cbr=1");
    let options =
        EncoderOptions { source_channels: Some(1), options: "complexity=0".into(), ..Default::default() };
    let mut encoder = new_encoder(&stereo, &options).unwrap();
    assert_eq!(encoder.channels(), 2);
    let mut payload = Vec::new();
    encoder.encode(&sine(48_000, 2, 0, 960), &mut payload).unwrap();
    assert_eq!(payload.len(), 20_000 / 8 / 50);
    let wrong = EncoderOptions { options: "complexity=11".into(), ..Default::default() };
    assert!(new_encoder(&stereo, &wrong).is_err());
}

const CODECS: [&str; 6] = ["PCMU/8000", "PCMA/8000", "G722/8000", "GSM/8000", "L16/16000/2", "opus/48000/2"];

proptest! {
    #[test]
    fn no_payload_makes_a_decoder_panic(
        codec in prop::sample::select(CODECS.to_vec()),
        payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 1..8),
        lost in 0usize..100_000,
    ) {
        let mut decoder = new_decoder(&format(codec)).unwrap();
        let mut samples = Vec::new();
        for payload in &payloads {
            samples.clear();
            let _ = decoder.decode(payload, &mut samples);
            prop_assert_eq!(samples.len() % usize::from(decoder.channels()), 0);
            samples.clear();
            decoder.recover(payload, lost, &mut samples);
            prop_assert!(samples.len() <= lost * usize::from(decoder.channels()));
        }
    }

    #[test]
    fn any_packets_give_numbers_that_go_on(
        source in prop::sample::select(CODECS.to_vec()),
        sink in prop::sample::select(CODECS.to_vec()),
        packets in proptest::collection::vec((any::<u16>(), 0u16..6, any::<u32>(), 0usize..400, 0u8..4), 1..60),
    ) {
        let plan = plan(source, sink, None);
        let mut harness = Harness::new(&plan);
        let (mut number, mut stamp) = (0u16, 0u32);
        for (wild, step, jump, size, kind) in packets {
            match kind {
                0 => (number, stamp) = (wild, jump),
                1 => stamp = stamp.wrapping_add(jump % 100_000),
                _ => stamp = stamp.wrapping_add(960),
            }
            number = number.wrapping_add(step);
            let forward_as = (kind == 3).then_some(101);
            let payload_type = if kind == 3 { 101 } else { plan.source.payload_type };
            harness.push_marked(payload_type, false, number, stamp, &vec![step as u8; size], forward_as);
            harness.now += Duration::from_millis(20);
        }
        for pair in harness.sent.windows(2) {
            let step = pair[1].sequence_number.wrapping_sub(pair[0].sequence_number);
            prop_assert!((1..1000).contains(&step), "step {}", step);
        }
    }
}

#[test]
fn event_before_the_first_audio_starts_the_clock() {
    let plan = plan("PCMU/8000", "PCMA/8000", None);
    let mut harness = Harness::new(&plan);
    for sequence in 0..3 {
        harness.push_marked(101, sequence == 0, sequence, 5000, &[1, 10, 0, 160], Some(101));
    }
    assert_eq!(harness.transcoder.outgoing_timestamp(5080), Some(5080));
    harness.push(0, 3, 5480, &[0xff; 160]);
    let numbers: Vec<_> = harness.sent.iter().map(|s| (s.sequence_number, s.timestamp)).collect();
    assert_eq!(numbers, [(65_530, 5000), (65_531, 5000), (65_532, 5000), (65_533, 5480)]);
    assert_eq!(harness.transcoder.outgoing_timestamp(5640), Some(5640));
    assert_eq!(harness.transcoder.outgoing_timestamp(5480), Some(5480));
}
