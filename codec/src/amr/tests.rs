//! Storage files (RFC 4867 §5) against payloads, with frames that the encoders make. Where a library is missing there is nothing to test.

use super::native::{NativeDecoder, NativeEncoder};
use super::payload::{Band, Layout, NO_REQUEST, pack, unpack};

const BANDS: [(Band, &[u8], u8); 2] = [(Band::Narrow, b"#!AMR\n", 7), (Band::Wide, b"#!AMR-WB\n", 8)];
/// Bandwidth-efficient, aligned, and what implies alignment.
const LAYOUTS: [&str; 4] = ["", "octet-align=1", "octet-align=1;crc=1", "octet-align=1;robust-sorting=1"];

/// A voice of changing pitch that pauses now and then.
fn voice(rate: u32, samples: usize) -> Vec<i16> {
    let sample = |n: usize| {
        let time = n as f64 / f64::from(rate);
        let pitch = 140.0 + 40.0 * (time * 2.3).sin();
        let tones =
            (1..12).map(|h| (std::f64::consts::TAU * pitch * f64::from(h) * time).sin() / f64::from(h));
        let loudness = if (time * 1.1).fract() < 0.6 { 5000.0 } else { 0.0 };
        (tones.sum::<f64>() * loudness) as i16
    };
    (0..samples).map(sample).collect()
}

/// A file in which all modes of the codec take turns, noise frames and frames without data among them.
fn file(band: Band, magic: &[u8], modes: u8) -> Option<Vec<u8>> {
    let mut file = magic.to_vec();
    for discontinuous in [false, true] {
        for mode in 0..=modes {
            let mut encoder = NativeEncoder::open(band, discontinuous)?;
            let samples = voice(band.rate(), band.frame_samples() * 60);
            for frame in samples.chunks_exact(band.frame_samples()) {
                encoder.encode(mode, frame, &mut file)?;
            }
        }
    }
    Some(file)
}

/// Frames of a file, by the lengths that 3GPP TS 26.101 and TS 26.201 give their types.
fn frames<'f>(band: Band, magic: &[u8], file: &'f [u8]) -> Vec<&'f [u8]> {
    let octets: &[usize] = match band {
        Band::Narrow => &[12, 13, 15, 17, 19, 20, 26, 31, 5, 0, 0, 0, 0, 0, 0, 0],
        Band::Wide => &[17, 23, 32, 36, 40, 46, 50, 58, 60, 5, 0, 0, 0, 0, 0, 0],
    };
    let mut rest = file.strip_prefix(magic).unwrap();
    let mut frames = Vec::new();
    while let Some(first) = rest.first() {
        let (frame, behind) = rest.split_at(1 + octets[usize::from(first >> 3 & 15)]);
        frames.push(frame);
        rest = behind;
    }
    frames
}

#[test]
fn a_file_comes_out_of_payloads_of_any_layout_bit_by_bit() {
    for (band, magic, modes) in BANDS {
        let Some(file) = file(band, magic, modes) else { continue };
        let frames = frames(band, magic, &file);
        let types: std::collections::BTreeSet<u8> = frames.iter().map(|frame| frame[0] >> 3 & 15).collect();
        assert!(types.len() >= usize::from(modes) + 2, "{band:?}: all modes and noise, {types:?}");
        for fmtp in LAYOUTS {
            let layout = Layout::from_fmtp(fmtp);
            for per_packet in 1..=4 {
                let mut copy = magic.to_vec();
                for group in frames.chunks(per_packet) {
                    let mut payload = Vec::new();
                    pack(band, layout, NO_REQUEST, &group.concat(), &mut payload).unwrap();
                    let request = unpack(band, layout, &payload, |frame| {
                        copy.extend_from_slice(frame.storage);
                        true
                    });
                    assert_eq!(request, Some(NO_REQUEST));
                }
                assert!(copy == file, "{band:?} {fmtp:?}, {per_packet} in a packet");
            }
        }
    }
}

#[test]
fn a_file_sounds_the_same_whichever_payload_carried_it() {
    for (band, magic, modes) in BANDS {
        let Some(file) = file(band, magic, modes) else { continue };
        let frames = frames(band, magic, &file);
        let heard = |layout: Option<Layout>| {
            let mut decoder = NativeDecoder::open(band)?;
            let mut samples = Vec::new();
            for frame in &frames {
                let Some(layout) = layout else {
                    decoder.decode(band, frame, &mut samples);
                    continue;
                };
                let mut payload = Vec::new();
                pack(band, layout, NO_REQUEST, frame, &mut payload).unwrap();
                unpack(band, layout, &payload, |frame| {
                    decoder.decode(band, frame.storage, &mut samples);
                    true
                });
            }
            Some(samples)
        };
        let from_file = heard(None);
        for fmtp in LAYOUTS {
            assert!(heard(Some(Layout::from_fmtp(fmtp))) == from_file, "{band:?} {fmtp:?}");
        }
    }
}
