//! A transcoder with a clock of its own, and what came out of it.

// Each test program uses some of it.
#![allow(dead_code)]

use std::time::{Duration, Instant};

use codec::graph::{TranscodePlan, Transcoder};
use codec::rtp::{RtpPacket, write_header};
use codec::{EncoderOptions, PayloadFormat, new_encoder};

#[derive(Clone, Debug, PartialEq)]
pub struct Sent {
    pub after: Duration,
    pub marker: bool,
    pub payload_type: u8,
    pub sequence_number: u16,
    pub timestamp: u32,
    pub payload: Vec<u8>,
}

pub struct Harness {
    pub transcoder: Transcoder,
    pub start: Instant,
    pub now: Instant,
    pub sent: Vec<Sent>,
}

pub const SSRC: u32 = 0x1234_5678;
pub const FIRST_SEQUENCE: u16 = 65_530;

impl Harness {
    pub fn new(plan: &TranscodePlan) -> Self {
        let start = Instant::now();
        let transcoder = Transcoder::new(plan, SSRC, FIRST_SEQUENCE).unwrap();
        Self { transcoder, start, now: start, sent: Vec::new() }
    }

    pub fn push(&mut self, payload_type: u8, sequence: u16, timestamp: u32, payload: &[u8]) {
        self.push_marked(payload_type, false, sequence, timestamp, payload, None);
    }

    pub fn push_marked(
        &mut self,
        payload_type: u8,
        marker: bool,
        sequence: u16,
        timestamp: u32,
        payload: &[u8],
        forward_as: Option<u8>,
    ) {
        let mut header = [0; 12];
        write_header(&mut header, marker, payload_type, sequence, timestamp, 1);
        let octets = [&header[..], payload].concat();
        let packet = RtpPacket::parse(&octets).unwrap();
        let (start, sent) = (self.start, &mut self.sent);
        let mut emit = |out: codec::graph::OutPacket<'_>| {
            assert_eq!(out.ssrc, SSRC);
            sent.push(Sent {
                after: out.send_at - start,
                marker: out.marker,
                payload_type: out.payload_type,
                sequence_number: out.sequence_number,
                timestamp: out.timestamp,
                payload: out.payload.to_vec(),
            });
        };
        match forward_as {
            Some(pt) => self.transcoder.forward(self.now, packet, pt, &mut emit),
            None => self.transcoder.push(self.now, packet, &mut emit),
        }
    }

    pub fn assert_gapless(&self) {
        for (n, packet) in self.sent.iter().enumerate() {
            assert_eq!(packet.sequence_number, FIRST_SEQUENCE.wrapping_add(n as u16), "packet {n}");
            assert_eq!(packet.marker, n == 0, "marker of packet {n}");
        }
    }
}

pub fn format(text: &str) -> PayloadFormat {
    let mut parts = text.split('/');
    let name = parts.next().unwrap();
    let clock_rate = parts.next().unwrap().parse().unwrap();
    let channels = parts.next().map_or(1, |c| c.parse().unwrap());
    let payload_type = codec::def::by_name(name).and_then(|d| d.static_payload_type).unwrap_or(96);
    PayloadFormat::new(payload_type, name, clock_rate, channels)
}

pub fn plan(source: &str, sink: &str, ptime_ms: Option<u16>) -> TranscodePlan {
    let options = EncoderOptions { ptime_ms, ..Default::default() };
    TranscodePlan::new(format(source), format(sink), options)
}

pub fn sine(rate: u32, channels: u8, first: usize, frames: usize) -> Vec<i16> {
    let step = std::f64::consts::TAU * 1000.0 / f64::from(rate);
    (first..first + frames)
        .flat_map(|n| std::iter::repeat_n(((n as f64 * step).sin() * 8000.0) as i16, usize::from(channels)))
        .collect()
}

/// Packets of a 1 kHz tone: (timestamp offset, payload).
pub fn tone(source: &PayloadFormat, ptime_ms: u16, packets: usize) -> Vec<(u32, Vec<u8>)> {
    let options = EncoderOptions { ptime_ms: Some(ptime_ms), ..Default::default() };
    let mut encoder = new_encoder(source, &options).unwrap();
    let ticks = source.clock_rate * u32::from(ptime_ms) / 1000;
    let per_packet = encoder.sample_rate() as usize * usize::from(ptime_ms) / 1000;
    (0..packets)
        .map(|n| {
            let samples = sine(encoder.sample_rate(), encoder.channels(), n * per_packet, per_packet);
            let mut payload = Vec::new();
            for frame in samples.chunks_exact(encoder.frame_samples() * usize::from(encoder.channels())) {
                encoder.encode(frame, &mut payload).unwrap();
            }
            (n as u32 * ticks, payload)
        })
        .collect()
}

pub fn rms(samples: &[i16]) -> f64 {
    (samples.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>() / samples.len() as f64).sqrt()
}
