//! One band: quantiser with adaptive step, and the predictor of two poles and six zeros that both ends keep alike (ITU-T G.722 §3.3–3.6).

use super::tables::{
    HIGH_DIFFERENCES, HIGH_EDGE, HIGH_GROWTH, HIGH_LIMIT, HIGH_STEPS, LOW_CODES, LOW_DIFFERENCES, LOW_GROWTH,
    LOW_LIMIT, LOW_SIGNAL, LOW_STEPS, Step,
};

/// 0 to 4 kHz, 6 bits.
#[derive(Default)]
pub(super) struct LowBand {
    predictor: Predictor,
    scale: i32,
}

/// 4 to 8 kHz, 2 bits.
#[derive(Default)]
pub(super) struct HighBand {
    predictor: Predictor,
    scale: i32,
}

impl LowBand {
    /// The code of a sample.
    #[inline(always)]
    pub(super) fn encode(&mut self, sample: i16) -> u8 {
        let step = self.step();
        let error = saturate(i32::from(sample) - self.predictor.estimate);
        // Of negative ones, the magnitude less one.
        let interval = step.interval(error ^ (error >> 31));
        let code = LOW_CODES[usize::from(error < 0)][usize::from(interval & 31)];
        self.adapt(step, code);
        code
    }

    /// The sample of a code of 6 bits, 15 bits wide.
    #[inline(always)]
    pub(super) fn decode(&mut self, code: u8) -> i16 {
        let step = self.step();
        let difference = (step.size * LOW_SIGNAL[usize::from(code & 63)]) >> 15;
        let sample = limit(self.predictor.estimate + difference);
        self.adapt(step, code);
        sample
    }

    fn step(&self) -> Step {
        LOW_STEPS[self.scale as usize >> 6]
    }

    #[inline(always)]
    fn adapt(&mut self, step: Step, code: u8) {
        // Both ends adapt by the four bits that are there at 48 kbit/s, too.
        let core = usize::from(code >> 2 & 15);
        self.scale = (((self.scale * 127) >> 7) + LOW_GROWTH[core]).clamp(0, LOW_LIMIT);
        self.predictor.adapt((step.size * LOW_DIFFERENCES[core]) >> 15);
    }
}

impl HighBand {
    /// The code of a sample.
    #[inline(always)]
    pub(super) fn encode(&mut self, sample: i16) -> u8 {
        let step = self.step();
        let error = saturate(i32::from(sample) - self.predictor.estimate);
        let is_large = (error ^ (error >> 31)) >= (HIGH_EDGE * step.size) >> 12;
        let code = u8::from(error >= 0) << 1 | u8::from(!is_large);
        self.adapt(step, code);
        code
    }

    /// The sample of a code of 2 bits, 15 bits wide.
    #[inline(always)]
    pub(super) fn decode(&mut self, code: u8) -> i16 {
        let step = self.step();
        let difference = (step.size * HIGH_DIFFERENCES[usize::from(code & 3)]) >> 15;
        let sample = limit(self.predictor.estimate + difference);
        self.adapt(step, code);
        sample
    }

    fn step(&self) -> Step {
        HIGH_STEPS[self.scale as usize >> 6]
    }

    #[inline(always)]
    fn adapt(&mut self, step: Step, code: u8) {
        let code = usize::from(code & 3);
        self.scale = (((self.scale * 127) >> 7) + HIGH_GROWTH[code]).clamp(0, HIGH_LIMIT);
        self.predictor.adapt((step.size * HIGH_DIFFERENCES[code]) >> 15);
    }
}

/// Blocks 4L and 4H. Coefficients: 1/16384; the newest value comes first.
#[derive(Default)]
struct Predictor {
    /// What the next sample is expected to be, and the part of that which the zeros contribute.
    estimate: i32,
    by_zeros: i32,
    poles: [i32; 2],
    /// Six, and two for the sake of whole vectors, whose differences stay 0.
    zeros: [i16; 8],
    /// Quantised differences.
    differences: [i16; 8],
    /// Reconstructed signal.
    signal: [i32; 2],
    /// Reconstructed signal without what the poles contribute.
    partial: [i32; 2],
}

impl Predictor {
    /// Takes the quantised difference of a sample and expects the next one.
    #[inline(always)]
    fn adapt(&mut self, difference: i32) {
        let partial = saturate(self.by_zeros + difference);
        let signal = saturate(self.estimate + difference);
        self.move_poles(partial);
        self.move_zeros(difference);
        self.by_zeros = self.filter_zeros();
        self.partial = [partial, self.partial[0]];
        self.signal = [signal, self.signal[0]];
        let by_poles = [0, 1].map(|index| (self.poles[index] * saturate(2 * self.signal[index])) >> 15);
        self.estimate = saturate(saturate(by_poles[0] + by_poles[1]) + self.by_zeros);
    }

    /// Blocks UPPOL1 and UPPOL2: by the signs of the last partial signals.
    #[inline(always)]
    fn move_poles(&mut self, partial: i32) {
        let [first, second] = self.poles;
        let [changed, changed_before] = self.partial.map(|before| (before ^ partial) >> 31);
        // `(x ^ mask) - mask` is −x where the mask is −1.
        let turned = (first.clamp(-8192, 8191) ^ !changed) - !changed;
        let by_sign = (128 ^ changed_before) - changed_before;
        let second = ((turned.min(8191) >> 5) + by_sign + ((second * 127) >> 7)).clamp(-12_288, 12_288);
        let most = 15_360 - second;
        let first = ((192 ^ changed) - changed + ((first * 255) >> 8)).clamp(-most, most);
        self.poles = [first, second];
    }

    /// Block UPZERO: by the signs of the new difference and of those before. No coefficient reaches the limits of 16 bits.
    #[inline(always)]
    fn move_zeros(&mut self, difference: i32) {
        let growth = if difference == 0 { 0 } else { 128i16 };
        let difference = difference as i16;
        for (zero, before) in self.zeros.iter_mut().zip(self.differences) {
            let changed = (before ^ difference) >> 15;
            let faded = ((i32::from(*zero) * 255) >> 8) as i16;
            *zero = faded.wrapping_add((growth ^ changed) - changed);
        }
        let [first, second, third, fourth, fifth, ..] = self.differences;
        self.differences = [difference, first, second, third, fourth, fifth, 0, 0];
    }

    /// Block FILTEZ. Differences are too small for twice of them to be out of 16 bits.
    #[inline(always)]
    fn filter_zeros(&self) -> i32 {
        let products = self.zeros.iter().zip(self.differences);
        saturate(products.map(|(&zero, before)| (i32::from(zero) * i32::from(before)) >> 14).sum())
    }
}

fn saturate(value: i32) -> i32 {
    value.clamp(i16::MIN.into(), i16::MAX.into())
}

/// To the 15 bits of a decoded band (block LIMIT).
fn limit(value: i32) -> i16 {
    value.clamp(-16_384, 16_383) as i16
}
