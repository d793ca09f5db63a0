//! A stream as it may come from the network, through a transcoder with all its stages, jitter buffer in front.

#![no_main]

use std::time::{Duration, Instant};

use codec::graph::{DtxSettings, Settings, SilenceDetection, TranscodePlan, Transcoder};
use codec::jitter::{Hold, JitterBuffer, JitterSettings, Packet};
use codec::rtp::{RtpPacket, write_header};
use codec::{EncoderOptions, PayloadFormat, def};
use libfuzzer_sys::fuzz_target;

/// Cheap ones, so that many inputs are tried; the payloads of others have a target of their own.
const CODECS: [&str; 6] = ["PCMU", "PCMA", "L16", "G726-32", "G729", "AMR"];

fuzz_target!(|input: &[u8]| {
    let [source, sink, options, rest @ ..] = input else { return };
    let format = |which: u8, payload_type| {
        let def = def::by_name(CODECS[usize::from(which) % CODECS.len()]).expect("listed");
        PayloadFormat::new(payload_type, def.name, 8000, 1).with_fmtp(def.default_fmtp)
    };
    let coding = EncoderOptions { ptime_ms: Some(u16::from(options & 7) * 10), ..EncoderOptions::default() };
    let mut plan = TranscodePlan::new(format(*source, 96), format(*sink, 97), coding);
    plan.noise.from = (options & 8 != 0).then_some(13);
    plan.noise.to = (options & 16 != 0).then_some(14);
    let delay = Duration::from_millis(40);
    let dtx = DtxSettings {
        delay,
        longest: (options & 128 != 0).then_some(Duration::from_secs(1)),
        most_packets: 5,
        most_lag: delay,
        shift: if options & 1 == 0 { Duration::from_millis(5) } else { Duration::ZERO },
        noise: (options & 2 != 0).then(|| [40, 90].into()),
        native_amr: options & 4 == 0,
        native_evs: options & 4 == 0,
    };
    let settings = Settings {
        silence: (options & 32 != 0).then(|| SilenceDetection { threshold: 100, payload: [50].into() }),
        dtx: (options & 64 != 0).then_some(dtx),
    };
    let Ok(mut transcoder) = Transcoder::with_settings(&plan, 1, 1, &settings) else { return };
    let mut jitter = JitterBuffer::new(JitterSettings {
        most_packets: 5,
        follow_drift: options & 1 != 0,
        adaptive: (options & 2 != 0).then_some((Duration::ZERO, Duration::from_millis(200))),
    });
    let (mut now, mut number, mut timestamp, mut octets_out) = (Instant::now(), 0_u16, 0_u32, 0_usize);
    let mut packets = 0;
    for packet in rest.chunks(24) {
        let [kind, step, ticks, later, payload @ ..] = packet else { break };
        packets += 1;
        number = if kind & 0x40 != 0 { u16::from_be_bytes([*step, *ticks]) } else { number.wrapping_add(u16::from(step % 4)) };
        timestamp = if kind & 0x80 != 0 {
            u32::from_be_bytes([*step, *ticks, *later, *kind])
        } else {
            timestamp.wrapping_add(u32::from(*ticks) * 4)
        };
        now += Duration::from_millis(u64::from(later % 64));
        let payload_type = [96, 96, 96, 13, 101, 96, 0, 96][usize::from(kind & 7)];
        let mut octets = [0; 12 + 332];
        let marker = kind & 0x20 != 0;
        write_header(octets.first_chunk_mut().expect("12"), marker, payload_type, number, timestamp, 7);
        let length = if kind & 0x10 != 0 { 320 } else { payload.len() };
        octets[12..].iter_mut().zip(payload.iter().cycle()).for_each(|(to, from)| *to = *from);
        let packet = RtpPacket::parse(&octets[..12 + length]).expect("RTP");
        let known = Packet {
            ssrc: 7,
            sequence_number: number,
            timestamp,
            payload_type,
            marker,
            is_event: payload_type == 101,
            clock_rate: 8000,
        };
        if let Hold::Until(at) = jitter.arrived(now, &known, u32::from(kind & 15)) {
            assert!(at > now && at <= now + Duration::from_secs(2));
        }
        let mut emit = |out: codec::graph::OutPacket<'_>| {
            assert!(out.send_at <= now + 2 * Transcoder::MAX_SCHEDULE);
            octets_out += out.payload.len();
        };
        if payload_type == 101 {
            transcoder.forward(now, packet, 102, &mut emit);
        } else {
            transcoder.push(now, packet, &mut emit);
        }
        transcoder.turn(now, &mut emit);
    }
    // No amplification: at most five seconds of audio for a packet (a gap that is filled), at 16 octets a millisecond.
    assert!(octets_out <= packets * 80_000 + 80_000);
});
