//! Sums of sines.

use std::f64::consts::TAU;

/// Two tones of 0 dBm0 do not fit into full scale; these just do.
const LOUDEST: u8 = 3;

/// A generator of a sum of sines of equal level. Phases go on from call to call.
#[derive(Clone, Debug, Default)]
pub struct Sines {
    /// (phase, step) in turns.
    tones: [(f64, f64); 2],
    count: usize,
    amplitude: f64,
}

impl Sines {
    /// Sines of up to two frequencies (Hz; further ones are left out), each at `level` (−dBm0), for a sample rate.
    pub fn new(rate: u32, frequencies: &[u32], level: u8) -> Self {
        let mut sines = Self { count: frequencies.len().min(2), ..Self::default() };
        sines.amplitude = super::amplitude(-f64::from(level.max(LOUDEST)));
        for (tone, &hertz) in sines.tones.iter_mut().zip(frequencies) {
            tone.1 = f64::from(hertz) / f64::from(rate.max(1));
        }
        sines
    }

    /// The two tones of a digit, silence for a code that is none.
    pub fn digit(rate: u32, code: u8, level: u8) -> Self {
        match super::frequencies(code) {
            Some(frequencies) => Self::new(rate, &frequencies, level),
            None => Self::default(),
        }
    }

    /// The next sample.
    pub fn sample(&mut self) -> i16 {
        let mut sum = 0.0;
        for (phase, step) in self.tones.iter_mut().take(self.count) {
            sum += (TAU * *phase).sin();
            *phase = (*phase + *step).fract();
        }
        // Saturates.
        (sum * self.amplitude) as i16
    }
}
