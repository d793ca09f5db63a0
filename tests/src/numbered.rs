//! An announcement whose packets say which they are.

use std::path::Path;

use crate::rtp::{self, Received};
use crate::{sdp, wav};

/// Writes so many frames of 20 ms at 8 kHz, 256 at most, that hold their number, from 0, in two levels.
pub fn write(file: &Path, frames: usize) {
    assert!(frames <= 256);
    let level = |digit: usize| (digit as i16 - 8) * 1500;
    let audio: Vec<i16> = (0..frames)
        .flat_map(|number| [vec![level(number / 16); 80], vec![level(number % 16); 80]].concat())
        .collect();
    std::fs::write(file, wav::encode(&audio, 8000, 1)).expect("written");
}

/// The numbers of packets of 20 ms of PCMU or PCMA with their static payload types.
pub fn read(packets: &[Received]) -> Vec<usize> {
    let [pcmu, pcma] = ["0 PCMU/8000", "8 PCMA/8000"].map(sdp::format);
    let digit = |sample: i16| ((f64::from(sample) / 1500.0).round() + 8.0) as usize;
    let number = |received: &Received| {
        let format = if received.packet.payload_type == 8 { &pcma } else { &pcmu };
        let (audio, _) = rtp::decode(std::slice::from_ref(received), format);
        digit(audio[40]) * 16 + digit(audio[120])
    };
    packets.iter().map(number).collect()
}
