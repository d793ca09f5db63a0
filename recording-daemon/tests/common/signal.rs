//! Test signals, their encoding, and where they are found again.

/// 8000 samples a second everywhere.
pub const RATE: usize = 8000;
/// Samples in a packet of 20 ms.
pub const PACKET: usize = 160;

/// What a speaker says: sample `n` of an endless signal.
#[derive(Clone, Copy)]
pub enum Voice {
    Tone {
        hertz: f64,
        amplitude: f64,
    },
    /// Noise is found again at exactly one place.
    Noise {
        seed: u64,
    },
}

impl Voice {
    pub fn sample(self, n: usize) -> i16 {
        match self {
            Voice::Tone { hertz, amplitude } => {
                let phase = n as f64 * hertz / RATE as f64 * std::f64::consts::TAU;
                (phase.sin() * amplitude) as i16
            }
            Voice::Noise { seed } => {
                let mut x = (n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
                    ^ seed.wrapping_mul(0xd6e8_feb8_6659_fd93);
                x ^= x >> 32;
                x = x.wrapping_mul(0xd6e8_feb8_6659_fd93);
                x ^= x >> 32;
                ((x & 0x1fff) as i32 - 4096) as i16
            }
        }
    }

    /// One packet as G.711 µ-law.
    pub fn payload(self, packet: usize) -> Vec<u8> {
        (packet * PACKET..(packet + 1) * PACKET).map(|n| encode(self.sample(n))).collect()
    }

    /// One packet as L16 with twice the sample rate (RFC 3551 §4.5.11).
    pub fn wide_payload(self, packet: usize) -> Vec<u8> {
        let samples = (packet * PACKET..(packet + 1) * PACKET).map(|n| self.sample(n));
        samples.flat_map(|sample| [sample, sample]).flat_map(i16::to_be_bytes).collect()
    }
}

/// ITU-T G.711 µ-law.
fn encode(sample: i16) -> u8 {
    let sign = if sample < 0 { 0x80_u8 } else { 0 };
    let magnitude = (i32::from(sample).abs() + 132).min(32_635 + 132);
    let segment = (0..8).rev().find(|s| magnitude >= 128 << s).unwrap_or(0);
    let step = (magnitude >> (segment + 3)) & 0x0f;
    !(sign | (segment as u8) << 4 | step as u8)
}

/// How far the packets `packets` of a voice lie from `expected` (a sample of the recording) in the recording: the lag of the
/// highest correlation within 200 ms.
pub fn lag(recording: &[i16], voice: Voice, packets: std::ops::Range<usize>, expected: usize) -> i64 {
    let from = packets.start * PACKET;
    let signal: Vec<f64> = (from..packets.end * PACKET).map(|n| f64::from(voice.sample(n))).collect();
    let at = |n: i64| usize::try_from(n).ok().and_then(|n| recording.get(n)).map_or(0.0, |&s| f64::from(s));
    let correlation = |lag: i64| -> f64 {
        signal.iter().enumerate().map(|(n, s)| s * at(expected as i64 + lag + n as i64)).sum()
    };
    let best = (-1600_i64..=1600).max_by(|a, b| correlation(*a).total_cmp(&correlation(*b))).expect("lags");
    let power = signal.iter().map(|s| s * s).sum::<f64>();
    let found = correlation(best) / power;
    assert!(found > 0.15, "packets {packets:?} are not in the recording at {expected} (at {best}: {found})");
    best
}

/// Peak of a part of a recording.
pub fn peak(samples: &[i16]) -> u16 {
    samples.iter().map(|sample| sample.unsigned_abs()).max().unwrap_or(0)
}
