//! DTMF digits in audio (ITU-T Q.23, Q.24): finding them, and making them.
//!
//! A digit is two sines, one of four low and one of four high frequencies; its code is that of RFC 4733.

mod detector;
mod sines;

pub use detector::{Detector, Found};
pub use sines::Sines;

/// The low frequencies in Hz.
pub const LOW: [u32; 4] = [697, 770, 852, 941];
/// The high frequencies in Hz.
pub const HIGH: [u32; 4] = [1209, 1336, 1477, 1633];

/// Codes by low and high frequency.
const CODES: [[u8; 4]; 4] = [[1, 2, 3, 12], [4, 5, 6, 13], [7, 8, 9, 14], [10, 0, 11, 15]];

/// Level of a sine of full scale in hundredths of dBm0 (ITU-T G.711, A-law).
const FULL_SCALE_CENTIBEL: i32 = 314;

/// Low and high frequency of a code (Hz); `None` above 15.
pub fn frequencies(code: u8) -> Option<[u32; 2]> {
    CODES.iter().zip(LOW).find_map(|(row, low)| {
        let column = row.iter().position(|&c| c == code)?;
        Some([low, *HIGH.get(column)?])
    })
}

/// Amplitude of a sine of this level, where a full-scale sine has 32767.
fn amplitude(level_dbm0: f64) -> f64 {
    f64::from(i16::MAX) * 10f64.powf((level_dbm0 - f64::from(FULL_SCALE_CENTIBEL) / 100.0) / 20.0)
}

#[cfg(test)]
mod tests;
