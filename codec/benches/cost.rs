//! Prints what 20 ms of audio cost: `cargo bench -p codec`. Times are the best of several runs.

use std::time::{Duration, Instant};

use codec::graph::{TranscodePlan, Transcoder};
use codec::resample::Resampler;
use codec::rtp::{RtpPacket, write_header};
use codec::{EncoderOptions, PayloadFormat, new_decoder, new_encoder};

const ROUNDS: usize = 5;
const FRAMES: u32 = 500;

fn best(mut run: impl FnMut()) -> f64 {
    let once = |run: &mut dyn FnMut()| {
        let start = Instant::now();
        (0..FRAMES).for_each(|_| run());
        start.elapsed().as_nanos() as f64 / f64::from(FRAMES)
    };
    (0..ROUNDS).map(|_| once(&mut run)).fold(f64::MAX, f64::min)
}

fn voice(rate: u32, channels: u8) -> Vec<i16> {
    let frames = rate as usize / 50 * usize::from(channels);
    (0..frames)
        .map(|n| ((n as f64 * 0.13).sin() * 6000.0 + (n as f64 * 0.71).sin() * 2000.0) as i16)
        .collect()
}

fn main() {
    let formats = [
        PayloadFormat::new(0, "PCMU", 8000, 1),
        PayloadFormat::new(8, "PCMA", 8000, 1),
        PayloadFormat::new(9, "G722", 8000, 1),
        PayloadFormat::new(3, "GSM", 8000, 1),
        PayloadFormat::new(11, "L16", 44_100, 1),
        PayloadFormat::new(96, "opus", 48_000, 2),
    ];
    println!("{:<24}{:>12}{:>12}", "codec, ns per 20 ms", "encode", "decode");
    for format in &formats {
        let (Ok(mut encoder), Ok(mut decoder)) =
            (new_encoder(format, &EncoderOptions::default()), new_decoder(format))
        else {
            println!("{:<24}{:>12}", format.name, "missing");
            continue;
        };
        let samples = voice(encoder.sample_rate(), encoder.channels());
        let (mut payload, mut decoded) = (Vec::new(), Vec::new());
        let encode = best(|| {
            payload.clear();
            let _ = encoder.encode(&samples, &mut payload);
        });
        let decode = best(|| {
            decoded.clear();
            let _ = decoder.decode(&payload, &mut decoded);
        });
        println!("{:<24}{encode:>12.0}{decode:>12.0}", format.to_string());
    }
    println!("\n{:<24}{:>12}", "resample, ns per 20 ms", "mono");
    for (from, to) in [(8000, 16_000), (16_000, 8000), (8000, 48_000), (48_000, 8000), (44_100, 48_000)] {
        let Ok(mut resampler) = Resampler::new(from, to, 1) else { continue };
        let (samples, mut out) = (voice(from, 1), Vec::new());
        let cost = best(|| {
            out.clear();
            resampler.push(&samples, &mut out);
        });
        println!("{:<24}{cost:>12.0}", format!("{from} → {to}"));
    }
    println!("\n{:<24}{:>12}", "transcode, ns per packet", "");
    for sink in [&formats[1], &formats[2], &formats[3], &formats[5]] {
        let plan = TranscodePlan::new(formats[0].clone(), sink.clone(), EncoderOptions::default());
        let Ok(mut transcoder) = Transcoder::new(&plan, 1, 1) else { continue };
        let (mut octets, mut n, mut now) = ([0x55u8; 172], 0u32, Instant::now());
        let cost = best(|| {
            let mut header = [0; 12];
            write_header(&mut header, false, 0, n as u16, n.wrapping_mul(160), 7);
            octets[..12].copy_from_slice(&header);
            if let Ok(packet) = RtpPacket::parse(&octets) {
                transcoder.push(now, packet, &mut |_| {});
            }
            n += 1;
            now += Duration::from_millis(20);
        });
        println!("{:<24}{cost:>12.0}", format!("PCMU → {}", sink.name));
    }
}
