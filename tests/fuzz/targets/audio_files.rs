//! Files that a dead process may have left, of any content: they are continued or refused, and what is continued can be completed.

#![no_main]

use libfuzzer_sys::fuzz_target;
use media_store::container::{AudioFile, Format, Medium};

fuzz_target!(|input: &[u8]| {
    let Some((choice, octets)) = input.split_first() else { return };
    let format = match choice % 4 {
        0 => Format::Wav,
        1 => Format::Flac,
        2 => Format::Opus { bitrate_bps: 16_000 },
        _ => Format::Mp3 { bitrate_bps: 32_000 },
    };
    let Ok(mut file) = AudioFile::reopen(format, Medium::Memory(octets.to_vec())) else { return };
    let before = file.frames();
    let samples = vec![7; usize::from(file.channels()) * 500];
    if file.append(&samples).is_ok() {
        assert_eq!(file.frames(), before + 500);
        file.end().expect("the end");
        file.flush().expect("memory takes everything");
    }
});
