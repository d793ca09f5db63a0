//! Looking at audio: level, resampling, and finding one signal inside another.

/// Root mean square level relative to full scale, in dB; -120 for silence.
pub fn level_dbfs(samples: &[i16]) -> f64 {
    if samples.is_empty() {
        return -120.0;
    }
    let power = samples.iter().map(|&s| f64::from(s) * f64::from(s)).sum::<f64>() / samples.len() as f64;
    (10.0 * (power / (32_768.0 * 32_768.0)).log10()).max(-120.0)
}

/// Converts mono audio between sample rates with a windowed sinc of 32 zero crossings.
pub fn resample(samples: &[i16], from: u32, to: u32) -> Vec<i16> {
    if from == to || samples.is_empty() {
        return samples.to_vec();
    }
    let step = f64::from(from) / f64::from(to);
    // Band limit: the lower of both rates, a little below its half.
    let cutoff = (1.0 / step).min(1.0) * 0.95;
    let reach = (16.0 / cutoff).ceil() as isize;
    let length = (samples.len() as f64 / step) as usize;
    (0..length)
        .map(|i| {
            let centre = i as f64 * step;
            let middle = centre.floor() as isize;
            let mut sum = 0.0;
            for tap in middle - reach..=middle + reach {
                let Some(&sample) = usize::try_from(tap).ok().and_then(|tap| samples.get(tap)) else {
                    continue;
                };
                let x = tap as f64 - centre;
                let window = 0.5 + 0.5 * (std::f64::consts::PI * x / (reach as f64 + 1.0)).cos();
                let angle = std::f64::consts::PI * x * cutoff;
                let sinc = if angle.abs() < 1e-9 { 1.0 } else { angle.sin() / angle };
                sum += f64::from(sample) * sinc * window * cutoff;
            }
            sum.round().clamp(-32_768.0, 32_767.0) as i16
        })
        .collect()
}

/// Where one signal was found in another.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// Position of the needle's first sample, in seconds.
    pub seconds: f64,
    /// Normalised correlation there, 1 for the same wave form at any level.
    pub correlation: f64,
}

/// Finds `needle` in `hay` by normalised cross-correlation; both mono at `rate`, the needle not longer than the hay.
pub fn find(needle: &[i16], hay: &[i16], rate: u32) -> Found {
    // Speech has its energy low: 2 kHz is enough to find the place and makes the search cheap. Where exactly, and how
    // alike the two are, is then measured at the full rate.
    let factor = (rate / 2000).max(1) as usize;
    let (coarse, _) = best_offset(&decimate(needle, factor), &decimate(hay, factor), 0);
    let from = (coarse * factor).saturating_sub(2 * factor);
    let to = (from + needle.len() + 4 * factor).min(hay.len());
    let (fine, correlation) = best_offset(&decimate(needle, 1), &decimate(&hay[from.min(to)..to], 1), from);
    Found { seconds: fine as f64 / f64::from(rate), correlation }
}

/// The offset (plus `base`) at which the two are most alike, and how much.
fn best_offset(needle: &[f64], hay: &[f64], base: usize) -> (usize, f64) {
    let needle_energy: f64 = needle.iter().map(|s| s * s).sum();
    let mut best = (base, 0.0);
    if needle.is_empty() || hay.len() < needle.len() || needle_energy == 0.0 {
        return best;
    }
    let mut energy: f64 = hay[..needle.len()].iter().map(|s| s * s).sum();
    for offset in 0..=hay.len() - needle.len() {
        let dot: f64 = hay[offset..offset + needle.len()].iter().zip(needle).map(|(h, n)| h * n).sum();
        let correlation = dot / (energy.max(1.0) * needle_energy).sqrt();
        if correlation > best.1 {
            best = (base + offset, correlation);
        }
        if let (Some(new), old) = (hay.get(offset + needle.len()), hay[offset]) {
            energy += new * new - old * old;
        }
    }
    best
}

fn decimate(samples: &[i16], factor: usize) -> Vec<f64> {
    samples
        .chunks_exact(factor)
        .map(|group| group.iter().map(|&s| f64::from(s)).sum::<f64>() / factor as f64)
        .collect()
}

/// A sine tone.
pub fn tone(frequency: f64, rate: u32, milliseconds: u32, amplitude: f64) -> Vec<i16> {
    let step = std::f64::consts::TAU * frequency / f64::from(rate);
    (0..rate * milliseconds / 1000).map(|i| (amplitude * (f64::from(i) * step).sin()) as i16).collect()
}

/// The power of one frequency relative to the whole, 0…1 (Goertzel).
pub fn tone_share(samples: &[i16], rate: u32, frequency: f64) -> f64 {
    let coefficient = 2.0 * (std::f64::consts::TAU * frequency / f64::from(rate)).cos();
    let (mut previous, mut before) = (0.0, 0.0);
    for &sample in samples {
        let value = f64::from(sample) + coefficient * previous - before;
        (before, previous) = (previous, value);
    }
    let power = previous * previous + before * before - coefficient * previous * before;
    let total: f64 = samples.iter().map(|&s| f64::from(s) * f64::from(s)).sum();
    if total == 0.0 { 0.0 } else { 2.0 * power / (total * samples.len() as f64) }
}

/// [`tone_share`] of a typical piece of 20 ms that is not silent. For frequencies that are multiples of 50 Hz: a machine that is busy with
/// other things makes gaps, which would put a tone out of step with itself.
pub fn typical_tone_share(samples: &[i16], rate: u32, frequency: f64) -> f64 {
    let pieces = samples.chunks_exact(rate as usize / 50).filter(|piece| piece.iter().any(|s| s.abs() > 100));
    let mut shares: Vec<f64> = pieces.map(|piece| tone_share(piece, rate, frequency)).collect();
    shares.sort_by(f64::total_cmp);
    shares.get(shares.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resampling_keeps_frequency_level_and_length() {
        let tone = tone(700.0, 22_050, 500, 8000.0);
        let converted = resample(&tone, 22_050, 8000);
        assert!((converted.len() as i64 - 4000).abs() <= 1);
        assert!(tone_share(&converted, 8000, 700.0) > 0.98);
        assert!((level_dbfs(&tone) - level_dbfs(&converted)).abs() < 0.2);
    }

    #[test]
    fn a_signal_is_found_where_it_is_and_nothing_is_found_in_noise() {
        let mut state = 1u32;
        let mut noise = |n: usize| -> Vec<i16> {
            let mut next = || {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 18) as i16
            };
            (0..n).map(|_| next() - 8192).collect()
        };
        let (needle, mut hay) = (noise(8000), noise(40_000));
        let missing = find(&needle, &hay, 8000);
        assert!(missing.correlation < 0.2, "{missing:?}");
        hay.iter_mut().skip(12_000).zip(&needle).for_each(|(h, n)| *h = h.saturating_add(*n));
        let found = find(&needle, &hay, 8000);
        assert!(found.correlation > 0.6 && (found.seconds - 1.5).abs() < 0.001, "{found:?}");
    }
}
