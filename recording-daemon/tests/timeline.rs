//! A call with everything that makes timelines hard, compared with the truth by cross-correlation: clocks that run wrong, jitter,
//! bursts of loss, hold with and without advancing timestamps, another codec, another SSRC, a late joiner who leaves early,
//! wrapping sequence numbers and timestamps.
//!
//! Packets are stamped with their times of arrival, so that the call is fed much faster than it was spoken.

mod common;

use std::time::{Duration, Instant, SystemTime};

use common::Bench;
use common::relay::{FakeCall, L16, Spoken};
use common::signal::{PACKET, RATE, Voice, lag};
use common::wav::Wav;

/// A sender, and what it does at which packet.
struct Party {
    stream: usize,
    voice: Voice,
    /// Its clock is so much slower than right, in parts per million.
    slower_ppm: f64,
    /// Seconds into the call.
    joins: f64,
    /// Of its own time.
    speaks: f64,
    ssrcs: [u32; 2],
    /// Packet from which the second SSRC is used.
    new_ssrc_at: usize,
    /// Packets in another codec.
    wide: std::ops::Range<usize>,
    /// Packets that are not sent, because of hold or loss, and whether the timestamps stand still meanwhile.
    silent: Vec<(std::ops::Range<usize>, bool)>,
    /// Packets that are lost besides, one in so many.
    lost: usize,
}

impl Party {
    /// When a packet is spoken, in seconds of the call.
    fn time(&self, packet: usize) -> f64 {
        self.joins + packet as f64 * 0.02 * (1.0 + self.slower_ppm / 1e6)
    }

    fn is_sent(&self, packet: usize) -> bool {
        !self.silent.iter().any(|(range, _)| range.contains(&packet))
            && (self.lost == 0 || !packet.wrapping_mul(7919).is_multiple_of(self.lost) || packet == 0)
    }

    fn packets(&self) -> Vec<Spoken> {
        let count = (self.speaks * 50.0) as usize;
        let (mut held, mut sequence) = (0_u32, 65_500_u16);
        let mut packets = Vec::new();
        for packet in 0..count {
            let on_hold = self.silent.iter().find(|(range, _)| range.contains(&packet));
            if on_hold.is_some_and(|(_, stands_still)| *stands_still) {
                held += 1;
                continue;
            }
            sequence = sequence.wrapping_add(1);
            if !self.is_sent(packet) {
                continue;
            }
            let is_new = packet >= self.new_ssrc_at;
            let is_wide = self.wide.contains(&packet);
            let ticks = (packet as u32 - held).wrapping_mul(PACKET as u32 * if is_wide { 2 } else { 1 });
            let offset = if is_new { 77_777 } else { u32::MAX - 300_000 };
            // Up to 12 ms late, most of them less.
            let jitter = (packet.wrapping_mul(2_654_435_761) >> 7) % 12_000;
            packets.push(Spoken {
                stream: self.stream,
                ssrc: self.ssrcs[usize::from(is_new)],
                voice: self.voice,
                packet,
                sequence_number: sequence,
                timestamp: ticks.wrapping_add(offset),
                payload_type: if is_wide { L16 } else { 0 },
                at: Duration::from_secs_f64(self.time(packet)) + Duration::from_micros(jitter as u64),
            });
        }
        packets
    }
}

/// Records a call and gives the mix, a channel for each party.
fn record(parties: &[Party], seconds: f64, speed: f64) -> Wav {
    let bench = Bench::new();
    let recorder =
        bench.start(&["--mix-method=channels", "--output-mixed", "--sqlite-db=none", &bench.report_option()]);
    let mut call = FakeCall::begin(&bench, "timeline", &[]);
    for party in parties {
        call.add_party(&format!("p{}", party.stream));
    }
    let mut packets: Vec<Spoken> = parties.iter().flat_map(Party::packets).collect();
    packets.sort_by_key(|packet| packet.at);
    let real = Duration::from_secs_f64(seconds / speed);
    let start = Instant::now();
    let began = SystemTime::now() + real - Duration::from_secs_f64(seconds);
    call.stamp_from(began);
    let mut next_report = vec![0.0; parties.len()];
    for packet in packets {
        let at = packet.at.as_secs_f64();
        std::thread::sleep(
            (start + Duration::from_secs_f64(at / speed)).saturating_duration_since(Instant::now()),
        );
        let party = &parties[packet.stream];
        call.send(&packet);
        if at >= next_report[packet.stream] && !party.wide.contains(&packet.packet) {
            // The sender's wall clock is right, but for where it begins.
            let ntp = Duration::from_secs_f64(1_000_000.0 + party.time(packet.packet));
            call.send_report(packet.stream, packet.ssrc, packet.at, ntp, packet.timestamp);
            next_report[packet.stream] = at + 5.0;
        }
        while call.queued() > 2000 {
            std::thread::sleep(Duration::from_millis(1));
            call.deliver();
        }
    }
    call.end();
    let (state, reasons) = bench.wait_for_report();
    assert_eq!((state.as_str(), reasons.as_str()), ("complete", ""));
    assert!(recorder.terminate().success());
    bench.wav("mix.wav")
}

/// Checks places all over the recording; gives the worst difference between two parties, in milliseconds.
fn check(mix: &Wav, parties: &[Party], probes: usize, end: f64) -> f64 {
    assert_eq!(mix.sample_rate as usize, RATE);
    let frames = mix.frames() as f64;
    let expected = end * RATE as f64;
    assert!((frames - expected).abs() <= 0.02 * RATE as f64, "{frames} frames instead of {expected}");
    let mut worst: f64 = 0.0;
    let mut found: Vec<(f64, f64)> = Vec::new();
    for (channel, party) in parties.iter().enumerate() {
        // A new SSRC is a new input.
        let samples = [mix.channel(channel), mix.channel(parties.len())];
        let count = (party.speaks * 50.0) as usize;
        for probe in 0..probes {
            let packet = 5 + probe * (count - 10) / probes;
            // Short, or the stretch would blur the correlation.
            let Some(packet) = (packet..count - 5).find(|n| (*n..n + 2).all(|n| party.is_sent(n))) else {
                continue;
            };
            let place = party.time(packet) * RATE as f64;
            let is_new = usize::from(packet >= party.new_ssrc_at);
            let off = lag(&samples[is_new], party.voice, packet..packet + 2, place as usize) as f64 / 8.0;
            assert!(off.abs() < 9.0, "party {channel}, packet {packet} is {off} ms off");
            found.push((party.time(packet), off));
        }
    }
    for (at, off) in &found {
        for (other_at, other) in &found {
            if (at - other_at).abs() < 10.0 {
                worst = worst.max((off - other).abs());
            }
        }
    }
    worst
}

fn difficult_parties(seconds: f64) -> Vec<Party> {
    let packets = (seconds * 50.0) as usize;
    let part = |share: f64| (packets as f64 * share) as usize;
    vec![
        Party {
            stream: 0,
            voice: Voice::Noise { seed: 31 },
            slower_ppm: 3000.0,
            joins: 0.0,
            speaks: seconds / 1.003,
            ssrcs: [0xa1, 0xa1],
            new_ssrc_at: usize::MAX,
            wide: part(0.35)..part(0.45),
            silent: vec![(part(0.2)..part(0.2) + 25, false), (part(0.55)..part(0.7), true)],
            lost: 0,
        },
        Party {
            stream: 1,
            voice: Voice::Noise { seed: 32 },
            slower_ppm: -1500.0,
            joins: 0.0,
            speaks: seconds - 1.0,
            ssrcs: [0xb1, 0xb2],
            new_ssrc_at: part(0.5),
            wide: 0..0,
            silent: vec![(part(0.3)..part(0.4), false), (part(0.8)..part(0.8) + 60, false)],
            lost: 20,
        },
        Party {
            stream: 2,
            voice: Voice::Noise { seed: 33 },
            slower_ppm: 0.0,
            joins: seconds * 0.25,
            speaks: seconds * 0.4,
            ssrcs: [0xc1, 0xc1],
            new_ssrc_at: usize::MAX,
            wide: 0..0,
            silent: vec![],
            lost: 100,
        },
    ]
}

#[test]
fn everything_lies_where_it_was_spoken() {
    let parties = difficult_parties(120.0);
    let mix = record(&parties, 120.0, 30.0);
    let end = parties.iter().map(|party| party.joins + party.speaks * (1.0 + party.slower_ppm / 1e6));
    let skew = check(&mix, &parties, 60, end.fold(0.0, f64::max));
    println!("worst skew: {skew} ms");
    assert!(skew < 10.0, "{skew} ms");
}

#[test]
#[ignore = "takes two minutes"]
fn after_an_hour_the_legs_are_still_together() {
    let parties = difficult_parties(3600.0);
    let mix = record(&parties, 3600.0, 30.0);
    let end = parties.iter().map(|party| party.joins + party.speaks * (1.0 + party.slower_ppm / 1e6));
    let skew = check(&mix, &parties, 300, end.fold(0.0, f64::max));
    println!("worst skew: {skew} ms");
    assert!(skew < 10.0, "{skew} ms");
}
