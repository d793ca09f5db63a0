//! EVS through a library: that of the tests, whose frames can be read. One test, for a process loads one library.

use std::path::Path;
use std::process::Command;

use codec::{DecoderOptions, EncoderOptions, PayloadFormat, def, evs, new_decoder_for, new_encoder};

/// Octets of 13.2 kbit/s.
const OCTETS: usize = 33;

fn load() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join("evs-test.so");
    let mut command = Command::new("cc");
    command.args(["-std=c11", "-O1", "-shared", "-fPIC"]).arg("-I").arg(root.join("include"));
    command.arg("-o").arg(&library).arg(root.join("../tests/data/evs/test_plugin.c")).arg("-lm");
    assert!(command.status().expect("a C compiler").success());
    assert_eq!(evs::load(&library), Ok("EVS test plug-in (no EVS)"));
    assert_eq!(evs::load(&library), Err(evs::PluginError::Twice));
}

fn format(fmtp: &str) -> PayloadFormat {
    PayloadFormat::new(96, "EVS", 16_000, 1).with_fmtp(fmtp)
}

#[test]
fn a_library_codes_at_the_rates_that_fit() {
    load();
    let def = def::by_name("EVS").unwrap();
    assert_eq!((def.status(), def.origin().licence), ("fully supported", "GPL-3.0-or-later"));

    for (fmtp, source_rate, encoder_rate) in [
        ("", 8000, 8000),
        ("", 16_000, 16_000),
        ("", 44_100, 48_000),
        ("bw=nb-wb", 48_000, 16_000),
        ("bw=swb", 8000, 32_000),
    ] {
        let options = EncoderOptions { source_rate: Some(source_rate), ..EncoderOptions::default() };
        let encoder = new_encoder(&format(fmtp), &options).unwrap();
        assert_eq!(encoder.sample_rate(), encoder_rate, "{fmtp:?} {source_rate}");
        let options = DecoderOptions { sink_rate: Some(source_rate), ..DecoderOptions::default() };
        let decoder = new_decoder_for(&format(fmtp), &options).unwrap();
        assert!(decoder.sample_rate() <= encoder_rate, "{fmtp:?} {source_rate}");
    }
    for wrong in ["br=5.9-8; bw=swb", "ch-recv=2"] {
        assert!(new_encoder(&format(wrong), &EncoderOptions::default()).is_err(), "{wrong}");
    }
    assert!(new_encoder(&PayloadFormat::new(96, "EVS", 16_000, 2), &EncoderOptions::default()).is_err());

    let options = DecoderOptions { sink_rate: Some(8000), ..DecoderOptions::default() };
    let mut decoder = new_decoder_for(&format(""), &options).unwrap();
    let mut samples = Vec::new();
    let frame = [&[0x40][..], &[30; OCTETS - 1]].concat();
    decoder.decode(&frame, &mut samples).unwrap();
    assert_eq!((samples.len(), samples[159]), (160, 30 * 256));
    // A square wave stands for what was lost behind speech; its half for the second frame.
    samples.clear();
    decoder.recover(&frame, 320, &mut samples);
    assert_eq!((samples.len(), samples[0], samples[16], samples[160]), (320, 4000, -4000, 2000));
    // Noise stands for what was not sent behind a description of noise.
    samples.clear();
    decoder.decode(&[0x20, 200, 0, 0, 0, 0], &mut samples).unwrap();
    decoder.conceal(160, &mut samples);
    assert_eq!(samples.len(), 320);
    assert!(samples.iter().all(|sample| sample.abs() <= 200));
    assert!(decoder.decode(&[0x0d], &mut samples).is_err());

    // A request, with a frame behind it.
    assert_eq!(decoder.feedback().requests, 0);
    decoder.decode(&[&[0xa1, 0x04], &frame[..]].concat(), &mut samples).unwrap();
    let feedback = decoder.feedback();
    assert_eq!((feedback.mode_request, feedback.requests), (Some(0xa1), 1));
    let mut encoder = new_encoder(&format("bw=wb"), &EncoderOptions::default()).unwrap();
    encoder.follow(feedback);
    let mut payload = Vec::new();
    encoder.encode(&[0; 320], &mut payload).unwrap();
    assert_eq!(payload.len(), 18);
}
