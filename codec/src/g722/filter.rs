//! The pair of filters that splits a signal into two bands and joins them again (ITU-T G.722 §3.1, §4.4).

use super::BLOCK;
use super::tables::MIRROR;

const TAPS: usize = MIRROR.len();
const REVERSED: [i16; TAPS] = {
    let mut reversed = [0; TAPS];
    let mut tap = 0;
    while tap < TAPS {
        reversed[tap] = MIRROR[TAPS - 1 - tap];
        tap += 1;
    }
    reversed
};

/// A band's worth of samples behind those that the filter still needs.
struct Window {
    samples: [i16; TAPS - 1 + BLOCK],
}

impl Default for Window {
    fn default() -> Self {
        Self { samples: [0; TAPS - 1 + BLOCK] }
    }
}

impl Window {
    /// Room for new samples.
    fn fresh(&mut self) -> &mut [i16] {
        &mut self.samples[TAPS - 1..]
    }

    fn filter<'w>(&'w self, taps: &'static [i16; TAPS]) -> impl Iterator<Item = i32> + 'w {
        self.samples.windows(TAPS).map(move |window| {
            window.iter().zip(taps).map(|(&sample, &tap)| i32::from(sample) * i32::from(tap)).sum()
        })
    }

    /// So many new samples have been filtered.
    fn pass(&mut self, count: usize) {
        self.samples.copy_within(count..count + TAPS - 1, 0);
    }
}

/// Splits.
#[derive(Default)]
pub(super) struct Analysis {
    even: Window,
    odd: Window,
}

impl Analysis {
    /// Both bands of up to twice [`BLOCK`] samples, an even number, through buffers of the caller's.
    pub(super) fn split<'b>(
        &mut self,
        samples: &[i16],
        low: &'b mut [i16; BLOCK],
        high: &'b mut [i16; BLOCK],
    ) -> impl Iterator<Item = (i16, i16)> + use<'b> {
        let fresh = self.even.fresh().iter_mut().zip(self.odd.fresh());
        let mut count = 0;
        for ((even, odd), pair) in fresh.zip(samples.chunks_exact(2)) {
            (*even, *odd) = (pair[0], pair[1]);
            count += 1;
        }
        let sums = self.even.filter(&MIRROR).zip(self.odd.filter(&REVERSED)).take(count);
        for ((low, high), (even, odd)) in low.iter_mut().zip(&mut *high).zip(sums) {
            // The coefficients' sum keeps both within 16 bits.
            *low = ((odd + even) >> 14) as i16;
            *high = ((odd - even) >> 14) as i16;
        }
        self.even.pass(count);
        self.odd.pass(count);
        low.iter().copied().zip(high.iter().copied()).take(count)
    }
}

/// Joins.
#[derive(Default)]
pub(super) struct Synthesis {
    sum: Window,
    difference: Window,
}

impl Synthesis {
    /// Appends two samples for each pair, of at most [`BLOCK`] pairs of 15 bits.
    pub(super) fn join(&mut self, bands: impl Iterator<Item = (i16, i16)>, out: &mut Vec<i16>) {
        let fresh = self.sum.fresh().iter_mut().zip(self.difference.fresh());
        let mut count = 0;
        for ((sum, difference), (low, high)) in fresh.zip(bands) {
            (*sum, *difference) = (low + high, low - high);
            count += 1;
        }
        let pairs = self.difference.filter(&REVERSED).zip(self.sum.filter(&MIRROR)).take(count);
        let to_sample = |value: i32| (value >> 11).clamp(i16::MIN.into(), i16::MAX.into()) as i16;
        out.extend(pairs.flat_map(|(first, second)| [to_sample(first), to_sample(second)]));
        self.sum.pass(count);
        self.difference.pass(count);
    }
}
