//! Format parameters of every codec, and codec options: read, compared, printed, and taken for opening coders.

#![no_main]

use codec::fmtp::{OpusFmtp, parameters};
use codec::{EncoderOptions, PayloadFormat, def, formats_compatible, new_decoder, new_encoder};
use libfuzzer_sys::fuzz_target;

/// Of these, opening a coder is cheap and reads the text.
const OPENED: [&str; 5] = ["AMR", "AMR-WB", "opus", "G729", "EVS"];

/// EVS is coded by the library of the tests, which `scripts/fuzz` builds.
fn load_evs() {
    if let Some(library) = std::env::var_os("EVS_TEST_LIBRARY") {
        codec::evs::load(library.as_ref()).expect("the test library is right");
    }
}

fuzz_target!(init: load_evs(), |input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let mut parts = text.splitn(3, '\n');
    let (a, b, options) =
        (parts.next().unwrap_or_default(), parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let read = parameters(a).map(|(key, value)| key.len() + value.len()).sum::<usize>();
    assert!(read <= a.len());
    let opus = OpusFmtp::parse(a);
    assert_eq!(OpusFmtp::parse(&opus.to_string()), opus);
    let _ = opus.answer(Some(2)).to_string();
    // Directions change places, and back; what has no direction is as it was.
    let evs = codec::evs::answer(a);
    assert_eq!(codec::evs::answer(&codec::evs::answer(&evs)), evs);
    for def in def::all() {
        let format = |fmtp: &str| PayloadFormat::new(96, def.name, 8000, 1).with_fmtp(fmtp);
        assert_eq!(formats_compatible(&format(a), &format(b)), formats_compatible(&format(b), &format(a)));
        // The same text is compatible with itself.
        assert!(formats_compatible(&format(a), &format(a)), "{} {a:?}", def.name);
    }
    let name = OPENED[input.len() % OPENED.len()];
    let Some(def) = def::by_name(name) else { return };
    let format = PayloadFormat::new(96, name, def.clock_rate, def.channels).with_fmtp(a);
    let options = EncoderOptions { options: options.into(), discontinuous: true, ..EncoderOptions::default() };
    if let (Ok(mut encoder), Ok(mut decoder)) = (new_encoder(&format, &options), new_decoder(&format)) {
        let values = encoder.frame_samples() * usize::from(encoder.channels());
        let (mut payload, mut samples) = (Vec::new(), Vec::new());
        if encoder.encode(&vec![1000; values], &mut payload).is_ok() && !payload.is_empty() {
            assert!(decoder.decode(&payload, &mut samples).is_ok(), "{name} {a:?} {options:?}");
        }
    }
});
