//! The test library behind the interface for EVS (`tests/data/evs/test_plugin.c`), and what its frames hold, read without the codec library.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Bits of a noise frame of the test library in its first octet.
pub const NOISE: u8 = 0x20;
/// … of a speech frame.
pub const SPEECH: u8 = 0x40;
/// … of one in channel-aware mode, beside that.
pub const AWARE: u8 = 0x10;

/// Builds the test library in `folder`; `variant` is a definition that makes it a wrong one, or nothing.
///
/// # Panics
/// When there is no C compiler, or it complains.
pub fn library(folder: &Path, variant: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let library = folder.join(format!("evs-test{variant}.so"));
    let mut command = Command::new("cc");
    command.args(["-std=c11", "-O1", "-shared", "-fPIC"]).arg("-I").arg(root.join("../codec/include"));
    if variant.is_empty() {
        // Also a test of the header.
        command.args(["-Wall", "-Wextra", "-pedantic", "-Werror"]);
    } else {
        command.arg(format!("-D{variant}"));
    }
    command.arg("-o").arg(&library).arg(root.join("data/evs/test_plugin.c")).arg("-lm");
    let output = command.output().expect("a C compiler");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    library
}

/// A frame of so many octets that holds 20 ms of samples.
pub fn frame(samples: &[i16], octets: usize) -> Vec<u8> {
    let count = octets - 1;
    let value = |n: usize| (samples[(n + 1) * samples.len() / count - 1] / 256) as u8;
    std::iter::once(SPEECH).chain((0..count).map(value)).collect()
}

/// The samples in a frame of speech.
pub fn samples(frame: &[u8]) -> Vec<i16> {
    assert_eq!(frame[0] & 0xe0, SPEECH, "a speech frame: {frame:02x?}");
    frame[1..].iter().map(|&octet| i16::from(octet as i8) * 256).collect()
}

/// The frame in a compact AMR-WB IO payload of `bits`, and the request in front of it: bit 0 comes behind all others.
pub fn amr_wb_frame(payload: &[u8], bits: usize) -> (u8, Vec<u8>) {
    let bit = |position: usize| payload[position / 8] >> (7 - position % 8) & 1;
    let mut frame = vec![0; bits.div_ceil(8)];
    for index in 0..bits {
        let position = if index == 0 { 3 + bits - 1 } else { 3 + index - 1 };
        frame[index / 8] |= bit(position) << (7 - index % 8);
    }
    assert!((3 + bits..payload.len() * 8).all(|position| bit(position) == 0), "padding is zero");
    (payload[0] >> 5, frame)
}
