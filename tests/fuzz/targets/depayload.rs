//! Payloads of every codec of this machine, intact and torn, with losses between them.

#![no_main]

use std::cell::RefCell;
use std::collections::HashMap;

use codec::{DecoderOptions, PayloadFormat, def, new_decoder_for};
use libfuzzer_sys::fuzz_target;

/// More than a payload of this many octets can stand for: 1 bit a sample, and frames that were not sent.
const MOST_SAMPLES: usize = 400_000;

const FMTP: [&str; 10] = [
    "",
    "octet-align=1",
    "octet-align=1;crc=1",
    "robust-sorting=1",
    "interleaving=30",
    "mode-set=0,2,4",
    "sprop-stereo=1;stereo=1",
    "annexb=no",
    "hf-only=1",
    "evs-mode-switch=1;bw=wb",
];

type Decoders = HashMap<(usize, usize, u8), Box<dyn codec::Decoder>>;

thread_local! {
    // Opening some codecs takes longer than decoding; state of earlier inputs is what a decoder meets in a call, too.
    static DECODERS: RefCell<Decoders> = RefCell::default();
}

/// EVS is coded by the library of the tests, which `scripts/fuzz` builds.
fn load_evs() {
    if let Some(library) = std::env::var_os("EVS_TEST_LIBRARY") {
        codec::evs::load(library.as_ref()).expect("the test library is right");
    }
}

fuzz_target!(init: load_evs(), |input: &[u8]| {
    let [which, fmtp, rate, rest @ ..] = input else { return };
    let index = usize::from(*which) % def::all().len();
    let (def, fmtp) = (&def::all()[index], usize::from(*fmtp) % FMTP.len());
    let clock_rate = match (def.clock_rate, rate % 4) {
        (_, 1) => 16_000,
        (_, 2) => 32_000,
        (0, 0) => 8000,
        (0, _) => 48_000,
        (clock_rate, _) => clock_rate,
    };
    DECODERS.with_borrow_mut(|decoders| {
        let decoder = match decoders.entry((index, fmtp, rate % 4)) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                let format = PayloadFormat::new(96, def.name, clock_rate, def.channels.max(1)).with_fmtp(FMTP[fmtp]);
                let Ok(decoder) = new_decoder_for(&format, &DecoderOptions::default()) else { return };
                entry.insert(decoder)
            }
        };
        let mut samples = Vec::new();
        let mut rest = rest;
        while let [length, kind, behind @ ..] = rest {
            let length = (usize::from(*length) * (1 + usize::from(kind & 3))).min(behind.len());
            let (payload, next) = behind.split_at(length);
            samples.clear();
            if kind & 0xc0 == 0xc0 {
                let frames = length * 8;
                decoder.recover(payload, frames, &mut samples);
                assert!(samples.len() <= frames * usize::from(decoder.channels()));
            } else {
                let _ = decoder.decode(payload, &mut samples);
                assert!(samples.len() <= MOST_SAMPLES);
            }
            assert!(samples.len().is_multiple_of(usize::from(decoder.channels())));
            let _ = decoder.feedback();
            rest = next;
        }
    });
});
