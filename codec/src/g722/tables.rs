//! The tables of ITU-T G.722, and what is worked out of them once so that coding a sample needs neither search nor division.

/// Step sizes and reciprocals of the lower band by logarithmic scale factor / 64.
pub(super) static LOW_STEPS: [Step; LOW_SCALES] = steps(8);
/// Those of the higher band.
pub(super) static HIGH_STEPS: [Step; HIGH_SCALES] = steps(10);

/// Greatest logarithmic scale factors (blocks 3L and 3H of the recommendation).
pub(super) const LOW_LIMIT: i32 = 18_432;
pub(super) const HIGH_LIMIT: i32 = 22_528;
const LOW_SCALES: usize = LOW_LIMIT as usize / 64 + 1;
const HIGH_SCALES: usize = HIGH_LIMIT as usize / 64 + 1;

/// A quantiser's step size.
#[derive(Clone, Copy)]
pub(super) struct Step {
    /// As the recommendation has it (DETL, DETH): 15 bits.
    pub(super) size: i32,
    /// ⌈2^42 / size⌉. A number below 2^27 times this, shifted right by 42, is exactly the number divided by the size:
    /// the error of the reciprocal, below size ≤ 2^15, does not reach the quotient.
    reciprocal: u64,
}

impl Step {
    /// Which interval of the lower band's 6-bit quantiser a magnitude belongs to, 1 to 30. The lower edges of the intervals are
    /// ⌊edge·size/4096⌋; that a magnitude m reaches one is the same as edge ≤ ⌊((m + 1)·4096 − 1) / size⌋.
    pub(super) fn interval(self, magnitude: i32) -> u8 {
        let scaled = (magnitude as u64 + 1) * 4096 - 1;
        let quotient = ((scaled * self.reciprocal) >> 42) as usize;
        INTERVALS[quotient.min(LAST_EDGE)]
    }
}

/// Lower edges of the 6-bit quantiser's intervals but for the first, which begins at 0 (table Q6).
pub(super) const EDGES: [usize; 29] = [
    35, 72, 110, 150, 190, 233, 276, 323, 370, 422, 473, 530, 587, 650, 714, 786, 858, 940, 1023, 1121, 1219,
    1339, 1458, 1612, 1765, 1980, 2195, 2557, LAST_EDGE,
];
const LAST_EDGE: usize = 2919;

/// The interval, from 1, that each quotient up to the last edge belongs to.
static INTERVALS: [u8; LAST_EDGE + 1] = {
    let mut intervals = [1; LAST_EDGE + 1];
    let mut edge = 0;
    while edge < EDGES.len() {
        let mut quotient = EDGES[edge];
        while quotient <= LAST_EDGE {
            intervals[quotient] = edge as u8 + 2;
            quotient += 1;
        }
        edge += 1;
    }
    intervals
};

/// Codes of the intervals of negative differences (ILN) and of others (ILP).
pub(super) static LOW_CODES: [[u8; 32]; 2] = {
    let mut codes = [[0; 32]; 2];
    let mut interval = 1;
    while interval <= 30 {
        codes[0][interval] = 62 - interval as u8;
        // The two smallest negative intervals have the codes that follow those of the positive ones.
        codes[1][interval] = if interval <= 2 { 64 - interval as u8 } else { 34 - interval as u8 };
        interval += 1;
    }
    codes
};

/// 2048 · 2^(i/32), rounded (table ILB).
const MANTISSAS: [i32; 32] = [
    2048, 2093, 2139, 2186, 2233, 2282, 2332, 2383, 2435, 2489, 2543, 2599, 2656, 2714, 2774, 2834, 2896,
    2960, 3025, 3091, 3158, 3228, 3298, 3371, 3444, 3520, 3597, 3676, 3756, 3838, 3922, 4008,
];

/// Linear scale factors (blocks SCALEL and SCALEH), whose exponents are told apart by `offset`.
const fn steps<const N: usize>(offset: i32) -> [Step; N] {
    let mut steps = [Step { size: 0, reciprocal: 0 }; N];
    let mut index = 0;
    while index < N {
        let (mantissa, shift) = (MANTISSAS[index % 32], offset - (index / 32) as i32);
        let scaled = if shift < 0 { mantissa << -shift } else { mantissa >> shift };
        let size = scaled << 2;
        steps[index] = Step { size, reciprocal: (1u64 << 42).div_ceil(size as u64) };
        index += 1;
    }
    steps
}

/// Differences by 4-bit code, for adaptation (QM4), in 1/32768 of the step.
pub(super) static LOW_DIFFERENCES: [i32; 16] =
    [0, -20_456, -12_896, -8968, -6288, -4240, -2584, -1200, 20_456, 12_896, 8968, 6288, 4240, 2584, 1200, 0];

/// What a 4-bit code adds to the logarithmic scale factor (WL by way of RL42).
pub(super) static LOW_GROWTH: [i32; 16] =
    [-60, 3042, 1198, 538, 334, 172, 58, -30, 3042, 1198, 538, 334, 172, 58, -30, -60];

/// Differences by 6-bit code, for the signal (QM6).
pub(super) static LOW_SIGNAL: [i32; 64] = [
    -136, -136, -136, -136, -24_808, -21_904, -19_008, -16_704, -14_984, -13_512, -12_280, -11_192, -10_232,
    -9360, -8576, -7856, -7192, -6576, -6000, -5456, -4944, -4464, -4008, -3576, -3168, -2776, -2400, -2032,
    -1688, -1360, -1040, -728, 24_808, 21_904, 19_008, 16_704, 14_984, 13_512, 12_280, 11_192, 10_232, 9360,
    8576, 7856, 7192, 6576, 6000, 5456, 4944, 4464, 4008, 3576, 3168, 2776, 2400, 2032, 1688, 1360, 1040,
    728, 432, 136, -432, -136,
];

/// Edge between the two intervals of the higher band, in 1/4096 of the step.
pub(super) const HIGH_EDGE: i32 = 564;
/// Differences by 2-bit code (QM2).
pub(super) static HIGH_DIFFERENCES: [i32; 4] = [-7408, -1616, 7408, 1616];
/// What a 2-bit code adds to the logarithmic scale factor (WH by way of RH2).
pub(super) static HIGH_GROWTH: [i32; 4] = [798, -214, 798, -214];

/// The quadrature mirror filter, every second coefficient; the others are the same in reverse, the filter being symmetric.
pub(super) const MIRROR: [i16; 12] = [3, -11, 12, 32, -210, 951, 3876, -805, 362, -156, 53, -11];
