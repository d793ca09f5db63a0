//! FLAC (RFC 9639): frames of constant length with fixed predictors and partitioned Rice codes, which is what speech needs.
//!
//! The stream information at the beginning gets its totals with each flush, so that the file is valid at any moment; it
//! carries no MD5 sum, since that cannot go on after an interruption.

use std::io;

use super::crc::{crc8, crc16};
use super::sequential::Sequential;
use super::{ContainerError, Medium};

/// `fLaC` and one STREAMINFO block.
const HEAD: u64 = 42;
/// The total is this far behind the beginning, in the low 36 bits of 64.
const TOTAL_AT: u64 = 18;
const MAX_ORDER: usize = 4;
const MAX_RICE: u32 = 14;

#[derive(Debug)]
pub(super) struct FlacFile {
    out: Sequential,
    sample_rate: u32,
    channels: u16,
    block: usize,
    /// Interleaved samples of the block that is not full yet.
    waiting: Vec<i16>,
    next_block: u64,
    frames: u64,
    announced: u64,
}

impl FlacFile {
    pub fn create(medium: Medium, sample_rate: u32, channels: u16) -> Result<Self, ContainerError> {
        if !(1..=8).contains(&channels) || !(1..(1 << 20)).contains(&sample_rate) {
            return Err(ContainerError::Encoder("FLAC has 1 to 8 channels".into()));
        }
        let block = block_frames(sample_rate);
        let mut out = Sequential::new(medium, 0);
        let head = out.pending();
        head.extend_from_slice(b"fLaC\x80\0\0\x22");
        head.extend_from_slice(&(block as u16).to_be_bytes());
        head.extend_from_slice(&(block as u16).to_be_bytes());
        head.extend_from_slice(&[0; 6]);
        head.extend_from_slice(&format_and_total(sample_rate, channels, 0).to_be_bytes());
        head.extend_from_slice(&[0; 16]);
        out.flush()?;
        Ok(Self {
            out,
            sample_rate,
            channels,
            block,
            waiting: Vec::new(),
            next_block: 0,
            frames: 0,
            announced: 0,
        })
    }

    pub fn reopen(mut medium: Medium) -> Result<Self, ContainerError> {
        let all = medium.read_all()?;
        let head = all.get(..HEAD as usize).filter(|head| head.starts_with(b"fLaC\x80\0\0\x22"));
        let head = head.ok_or(ContainerError::NotContinuable)?;
        let mut packed = [0; 8];
        packed.copy_from_slice(&head[18..26]);
        let packed = u64::from_be_bytes(packed);
        let sample_rate = (packed >> 44) as u32;
        let channels = (packed >> 41 & 7) as u16 + 1;
        let block = usize::from(u16::from_be_bytes([head[8], head[9]]));
        if sample_rate == 0 || block != block_frames(sample_rate) {
            return Err(ContainerError::NotContinuable);
        }
        let mut end = HEAD as usize;
        let mut blocks = 0;
        while let Some(length) = all.get(end..).and_then(|rest| whole_frame(rest, blocks, channels)) {
            end += length;
            blocks += 1;
        }
        medium.set_len(end as u64)?;
        let frames = blocks * block as u64;
        Ok(Self {
            out: Sequential::new(medium, end as u64),
            sample_rate,
            channels,
            block,
            waiting: Vec::new(),
            next_block: blocks,
            frames,
            announced: u64::MAX,
        })
    }

    pub fn append(&mut self, samples: &[i16]) {
        self.frames += samples.len() as u64 / u64::from(self.channels);
        self.waiting.extend_from_slice(samples);
        let whole = self.block * usize::from(self.channels);
        while self.waiting.len() >= whole {
            let rest = self.waiting.split_off(whole);
            self.encode_waiting();
            self.waiting = rest;
        }
    }

    pub fn end(&mut self) {
        if !self.waiting.is_empty() {
            self.encode_waiting();
            self.waiting.clear();
        }
    }

    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()?;
        let total = self.frames - (self.waiting.len() / usize::from(self.channels)) as u64;
        if total != self.announced {
            let packed = format_and_total(self.sample_rate, self.channels, total);
            self.out.medium.write_all_at(&packed.to_be_bytes(), TOTAL_AT)?;
            self.announced = total;
        }
        Ok(())
    }

    pub fn pending_octets(&self) -> usize {
        self.out.pending_octets()
    }

    pub fn frames(&self) -> u64 {
        self.frames
    }

    pub fn sample_rate(&self) -> u32 {
        self.sample_rate
    }

    pub fn channels(&self) -> u16 {
        self.channels
    }

    pub fn medium(&mut self) -> &mut Medium {
        &mut self.out.medium
    }

    fn encode_waiting(&mut self) {
        let channels = usize::from(self.channels);
        let frames = self.waiting.len() / channels;
        let mut bits = BitWriter::default();
        // §9.1: sync code and constant block size; 16-bit length and 16 bits a sample, rate from STREAMINFO.
        bits.put(0xfff8, 16);
        bits.put(0b0111, 4);
        bits.put(0, 4);
        bits.put(u32::from(self.channels) - 1, 4);
        bits.put(0b1000, 4);
        coded_number(&mut bits, self.next_block);
        bits.put(frames as u32 - 1, 16);
        let check = crc8(&bits.octets);
        bits.put(u32::from(check), 8);
        let mut one = Vec::with_capacity(frames);
        for channel in 0..channels {
            one.clear();
            one.extend(self.waiting.iter().skip(channel).step_by(channels).map(|&sample| i32::from(sample)));
            subframe(&mut bits, &one);
        }
        bits.align();
        let check = crc16(&bits.octets);
        self.out.pending().extend_from_slice(&bits.octets);
        self.out.pending().extend_from_slice(&check.to_be_bytes());
        self.next_block += 1;
    }
}

/// About an eighth of a second.
fn block_frames(sample_rate: u32) -> usize {
    match sample_rate {
        0..=12_000 => 1024,
        12_001..=24_000 => 2048,
        _ => 4096,
    }
}

fn format_and_total(sample_rate: u32, channels: u16, total: u64) -> u64 {
    u64::from(sample_rate) << 44 | u64::from(channels - 1) << 41 | 15 << 36 | (total & 0xf_ffff_ffff)
}

/// Length of the frame at the beginning of `octets`, if it is whole, right and the one expected.
fn whole_frame(octets: &[u8], number: u64, channels: u16) -> Option<usize> {
    let header = |octets: &[u8], number: u64| -> Option<usize> {
        let mut expected = BitWriter::default();
        expected.put(0xfff8_7000 | (u32::from(channels) - 1) << 4 | 0b1000, 32);
        coded_number(&mut expected, number);
        let length = expected.octets.len() + 2;
        let found = octets.get(..=length)?;
        (found.starts_with(&expected.octets) && crc8(&found[..length]) == found[length]).then_some(length + 1)
    };
    header(octets, number)?;
    let is_whole = |length: usize| {
        length >= 8
            && crc16(&octets[..length - 2]) == u16::from_be_bytes([octets[length - 2], octets[length - 1]])
    };
    let next = (8..octets.len())
        .find(|&at| octets[at] == 0xff && header(&octets[at..], number + 1).is_some() && is_whole(at));
    next.or_else(|| Some(octets.len()).filter(|&length| is_whole(length)))
}

/// §9.1.5: like UTF-8, up to 36 bits.
fn coded_number(bits: &mut BitWriter, number: u64) {
    if number < 0x80 {
        return bits.put(number as u32, 8);
    }
    let mut more = 1;
    while more < 6 && number >> (6 * more + 6 - more) != 0 {
        more += 1;
    }
    let lead = 0xff_u64 << (7 - more) & 0xff;
    bits.put((lead | number >> (6 * more)) as u32, 8);
    for at in (0..more).rev() {
        bits.put((0x80 | number >> (6 * at) & 0x3f) as u32, 8);
    }
}

fn subframe(bits: &mut BitWriter, samples: &[i32]) {
    let first = samples.first().copied().unwrap_or(0);
    if samples.iter().all(|&sample| sample == first) {
        bits.put(0, 8);
        return bits.put(first as u32 & 0xffff, 16);
    }
    let mut residual = samples.to_vec();
    let mut best = (cost(&residual), 0, residual.clone());
    for order in 1..=MAX_ORDER.min(samples.len() - 1) {
        // The n-th difference is the residual of the n-th fixed predictor.
        for at in (order..samples.len()).rev() {
            residual[at] -= residual[at - 1];
        }
        let total = cost(&residual[order..]);
        if total < best.0 {
            best = (total, order, residual.clone());
        }
    }
    let (_, order, residual) = best;
    let parameters = partition(&residual, order);
    let coded: u64 = parameters.iter().map(|partition| partition.bits).sum();
    if coded + 10 >= samples.len() as u64 * 16 {
        bits.put(0b10, 8);
        samples.iter().for_each(|&sample| bits.put(sample as u32 & 0xffff, 16));
        return;
    }
    bits.put((0b001_000 | order as u32) << 1, 8);
    for &sample in &samples[..order] {
        bits.put(sample as u32 & 0xffff, 16);
    }
    bits.put(0, 2);
    bits.put(parameters.len().trailing_zeros(), 4);
    for Partition { from, to, rice, .. } in parameters {
        bits.put(rice, 4);
        for &value in &residual[from..to] {
            let folded = (value << 1 ^ value >> 31) as u32;
            bits.unary(folded >> rice);
            bits.put(folded & ((1 << rice) - 1), rice);
        }
    }
}

fn cost(residual: &[i32]) -> u64 {
    residual.iter().map(|value| u64::from(value.unsigned_abs())).sum()
}

#[derive(Clone, Copy)]
struct Partition {
    from: usize,
    to: usize,
    rice: u32,
    bits: u64,
}

/// The cheapest division of a residual into up to eight parts of equal length.
fn partition(residual: &[i32], order: usize) -> Vec<Partition> {
    let mut best: Option<(u64, Vec<Partition>)> = None;
    for depth in 0..=3 {
        let parts = 1 << depth;
        if !residual.len().is_multiple_of(parts) || residual.len() / parts <= order {
            break;
        }
        let length = residual.len() / parts;
        let division: Vec<Partition> = (0..parts)
            .map(|part| {
                let (from, to) = (if part == 0 { order } else { part * length }, (part + 1) * length);
                let (rice, bits) = best_rice(&residual[from..to]);
                Partition { from, to, rice, bits }
            })
            .collect();
        let total = division.iter().map(|partition| partition.bits + 4).sum();
        if best.as_ref().is_none_or(|(least, _)| total < *least) {
            best = Some((total, division));
        }
    }
    best.map(|(_, division)| division).unwrap_or_default()
}

fn best_rice(residual: &[i32]) -> (u32, u64) {
    let bits = |rice: u32| -> u64 {
        let quotients: u64 =
            residual.iter().map(|value| u64::from((value << 1 ^ value >> 31) as u32 >> rice)).sum();
        quotients + residual.len() as u64 * u64::from(rice + 1)
    };
    let mean = 2 * cost(residual) / (residual.len() as u64).max(1);
    let guess = (u64::BITS - mean.leading_zeros()).clamp(1, MAX_RICE);
    let (total, rice) =
        (guess - 1..=guess.min(MAX_RICE)).map(|rice| (bits(rice), rice)).min().unwrap_or((0, 0));
    (rice, total)
}

#[derive(Default)]
struct BitWriter {
    octets: Vec<u8>,
    partial: u64,
    /// Bits in `partial`, fewer than 8.
    held: u32,
}

impl BitWriter {
    /// At most 32 bits.
    fn put(&mut self, value: u32, width: u32) {
        self.partial = self.partial << width | u64::from(value);
        self.held += width;
        while self.held >= 8 {
            self.held -= 8;
            self.octets.push((self.partial >> self.held) as u8);
        }
        self.partial &= (1 << self.held) - 1;
    }

    fn unary(&mut self, zeros: u32) {
        let mut left = zeros;
        while left >= 32 {
            self.put(0, 32);
            left -= 32;
        }
        self.put(1, left + 1);
    }

    fn align(&mut self) {
        if self.held > 0 {
            self.put(0, 8 - self.held);
        }
    }
}
