//! Comfort noise of RFC 3389: a level and reflection coefficients, and the noise that is made of them.

/// Coefficients beyond this are left out, which the RFC allows; no spectrum of background noise needs more.
const MOST_COEFFICIENTS: usize = 12;
/// The loudest level is 0, the softest 127.
const LOWEST_LEVEL: u8 = 127;

/// Makes noise as the last description says. The sequence is the same for each generator.
#[derive(Clone, Debug)]
pub struct NoiseGenerator {
    coefficients: [f32; MOST_COEFFICIENTS],
    order: usize,
    /// Of the excitation, so that the noise has the level that was described.
    amplitude: f32,
    /// Backward prediction errors of the lattice.
    state: [f32; MOST_COEFFICIENTS + 1],
    random: u32,
}

impl Default for NoiseGenerator {
    fn default() -> Self {
        Self {
            coefficients: [0.0; MOST_COEFFICIENTS],
            order: 0,
            amplitude: 0.0,
            state: [0.0; MOST_COEFFICIENTS + 1],
            random: 0x2545_f491,
        }
    }
}

impl NoiseGenerator {
    /// Follows a payload (RFC 3389 §3): the level in −dBov, then coefficients. `None` for an empty one, which changes nothing.
    pub fn describe(&mut self, payload: &[u8]) -> Option<()> {
        let (&level, coefficients) = payload.split_first()?;
        self.order = coefficients.len().min(MOST_COEFFICIENTS);
        let mut passed = 1.0;
        for (coefficient, &octet) in self.coefficients.iter_mut().zip(coefficients) {
            // §3.2; 255 is reserved and taken for the highest.
            *coefficient = 258.0 * (f32::from(octet.min(254)) - 127.0) / 32_768.0;
            passed *= 1.0 - *coefficient * *coefficient;
        }
        let rms = 32_768.0 * 10f32.powf(-f32::from(level & LOWEST_LEVEL) / 20.0);
        // Uniform noise of amplitude a has the power a²/3; the filter amplifies it by 1/passed.
        self.amplitude = rms * (3.0 * f32::max(passed, 1e-4)).sqrt();
        Some(())
    }

    /// Appends noise.
    pub fn generate(&mut self, values: usize, out: &mut Vec<i16>) {
        out.extend((0..values).map(|_| self.next()));
    }

    fn next(&mut self) -> i16 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        let mut forward = self.random as i32 as f32 / 2_147_483_648.0 * self.amplitude;
        for index in (0..self.order).rev() {
            let coefficient = self.coefficients[index];
            forward -= coefficient * self.state[index];
            self.state[index + 1] = self.state[index] + coefficient * forward;
        }
        self.state[0] = forward;
        // `as` saturates.
        forward as i16
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn noise(payload: &[u8]) -> Vec<i16> {
        let (mut generator, mut samples) = (NoiseGenerator::default(), Vec::new());
        generator.describe(payload).unwrap();
        generator.generate(16_000, &mut samples);
        samples
    }

    fn level_dbov(samples: &[i16]) -> f64 {
        let energy: f64 = samples.iter().map(|&s| f64::from(s).powi(2)).sum();
        10.0 * (energy / samples.len() as f64 / 32_768f64.powi(2)).log10()
    }

    /// Similarity of neighbours: positive for dark noise, negative for bright.
    fn correlation(samples: &[i16]) -> f64 {
        let product: f64 = samples.windows(2).map(|w| f64::from(w[0]) * f64::from(w[1])).sum();
        product / samples.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>()
    }

    #[test]
    fn level_and_spectrum_are_those_described() {
        for (payload, level, neighbours) in [
            (&[32][..], -32.0, 0.0),
            (&[60], -60.0, 0.0),
            (&[20, 127, 127], -20.0, 0.0),
            // k = ∓0.5: the next sample is ±0.5 of the last one.
            (&[32, 127 - 63], -32.0, 0.5),
            (&[32, 127 + 63], -32.0, -0.5),
            (&[40, 200, 80, 140, 100], -40.0, -0.58),
        ] {
            let samples = noise(payload);
            let (found, alike) = (level_dbov(&samples), correlation(&samples));
            assert!((found - level).abs() < 0.6, "{payload:?}: {found:.1} dBov");
            assert!((alike - neighbours).abs() < 0.05, "{payload:?}: {alike:.2}");
        }
    }

    /// The description of noise as RFC 3389 §3 has it: level, and the reflection coefficients of its prediction, quantised.
    fn described(samples: &[i16], order: usize) -> Vec<u8> {
        let product = |lag: usize| -> f64 {
            samples.iter().zip(&samples[lag..]).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
        };
        let products: Vec<f64> = (0..=order).map(product).collect();
        let (mut predictor, mut error) = (vec![1.0], products[0]);
        let mut payload = vec![-level_dbov(samples).round() as u8];
        for step in 1..=order {
            let sum: f64 = predictor.iter().zip((1..=step).rev()).map(|(a, lag)| a * products[lag]).sum();
            let reflection = -sum / error;
            predictor.push(0.0);
            let mirrored: Vec<f64> = predictor.iter().rev().copied().collect();
            predictor.iter_mut().zip(mirrored).for_each(|(a, b)| *a += reflection * b);
            error *= 1.0 - reflection * reflection;
            payload.push((127.0 + reflection * 32_768.0 / 258.0).round() as u8);
        }
        payload
    }

    #[test]
    fn noise_is_described_by_the_payload_that_it_was_made_of() {
        for payload in [
            &[32][..],
            &[70],
            &[32, 127 - 63],
            &[25, 180, 100],
            &[40, 200, 80, 140, 100],
            &[30, 60, 170, 110, 150, 120, 135, 127, 131],
        ] {
            let (mut generator, mut samples) = (NoiseGenerator::default(), Vec::new());
            generator.describe(payload).unwrap();
            generator.generate(400_000, &mut samples);
            let found = described(&samples, payload.len() - 1);
            let is_near = found.iter().zip(payload).all(|(a, b)| a.abs_diff(*b) <= 1);
            assert!(is_near, "{payload:?}: {found:?}");
        }
    }

    #[test]
    fn softest_level_is_silence_and_an_empty_payload_changes_nothing() {
        assert!(noise(&[127]).iter().all(|&s| s.abs() <= 1));
        let mut generator = NoiseGenerator::default();
        assert!(generator.describe(&[]).is_none());
    }

    proptest! {
        #[test]
        fn any_description_gives_finite_noise(payload in prop::collection::vec(any::<u8>(), 1..40)) {
            let (mut generator, mut samples) = (NoiseGenerator::default(), Vec::new());
            generator.describe(&payload);
            generator.generate(2000, &mut samples);
            prop_assert!(generator.state.iter().all(|s| s.is_finite()));
        }
    }
}
