//! The receiving side.

use std::time::{Duration, Instant};

use super::sender::exclusive_or;
use super::{History, MAX_IFP, REMEMBERED, members};

/// Why a datagram was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// It ends before what it announces.
    #[error("datagram too short")]
    TooShort,
    /// A length that is not possible in a datagram.
    #[error("invalid length")]
    InvalidLength,
}

/// Gives IFP packets in order, each once. A packet that is missing is waited for, but not for long.
///
/// What a peer can make it remember is bounded by the size of its datagrams.
#[derive(Clone, Debug)]
pub struct Receiver {
    /// `None` before the first datagram.
    expected: Option<u16>,
    newest: u16,
    history: History,
    /// Since when a gap holds up what is behind it.
    held_since: Option<Instant>,
    recovered: u64,
    lost: u64,
    parity: Vec<u8>,
}

/// Numbers further away begin a new sequence.
const WINDOW: u16 = 100;
/// Packets behind a gap that mean it will not be filled any more.
const REORDERED: u16 = 3;
/// So long a gap is waited for.
const PATIENCE: Duration = Duration::from_millis(60);
/// Of a first packet with a higher number those before it are not expected.
const FIRST: u16 = 8;

impl Default for Receiver {
    fn default() -> Self {
        Self {
            expected: None,
            newest: 0,
            history: History::new(),
            held_since: None,
            recovered: 0,
            lost: 0,
            parity: Vec::new(),
        }
    }
}

impl Receiver {
    /// Takes a datagram; poll [`Receiver::next`] afterwards until it has nothing.
    pub fn receive(&mut self, now: Instant, datagram: &[u8]) -> Result<(), Refused> {
        let mut reader = Reader(datagram);
        let number = u16::from_be_bytes([reader.octet()?, reader.octet()?]);
        let primary = reader.open_type()?;
        let expected = match self.expected {
            Some(expected) if number.wrapping_sub(expected).min(expected.wrapping_sub(number)) < WINDOW => {
                expected
            }
            _ => {
                self.history.clear();
                self.held_since = None;
                self.newest = number;
                if number <= FIRST { 0 } else { number }
            }
        };
        self.expected = Some(expected);
        self.put(number, primary);
        if (number.wrapping_sub(self.newest) as i16) > 0 {
            self.newest = number;
        }
        // What follows helps with others only: a fault in it costs no more than that.
        let result = self.correct(number, &mut reader);
        let is_held = self.history.get(expected).is_none() && self.newest.wrapping_sub(expected) < WINDOW;
        self.held_since = is_held.then(|| self.held_since.unwrap_or(now));
        result
    }

    /// The next packet in order, with its number. Call again until `None`, after each datagram and each [`Receiver::poll_timeout`].
    pub fn next(&mut self, now: Instant) -> Option<(u16, &[u8])> {
        let expected = self.expected?;
        let ahead = self.newest.wrapping_sub(expected);
        if ahead >= 0x8000 {
            return None;
        }
        let number = match self.history.get(expected) {
            Some(_) => expected,
            None => {
                let is_late =
                    self.held_since.is_some_and(|since| now.saturating_duration_since(since) >= PATIENCE);
                if ahead < REORDERED && !is_late {
                    return None;
                }
                let next = (1..=ahead).map(|step| expected.wrapping_add(step));
                let known = next.into_iter().find(|number| self.history.get(*number).is_some())?;
                self.lost += u64::from(known.wrapping_sub(expected));
                known
            }
        };
        let following = number.wrapping_add(1);
        self.expected = Some(following);
        let is_held = self.newest.wrapping_sub(following) < WINDOW && self.history.get(following).is_none();
        self.held_since = is_held.then(|| self.held_since.unwrap_or(now));
        Some((number, self.history.get(number)?))
    }

    /// When a gap will have been waited for long enough.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.held_since.map(|since| since + PATIENCE)
    }

    /// Packets that came by redundancy or parity, and packets that never came.
    pub fn counts(&self) -> (u64, u64) {
        (self.recovered, self.lost)
    }

    fn put(&mut self, number: u16, octets: &[u8]) -> bool {
        let is_new = !octets.is_empty() && octets.len() <= MAX_IFP && self.history.get(number).is_none();
        // One that is older than what its place holds must not take it.
        let is_old = (REMEMBERED as u16..0x8000).contains(&self.newest.wrapping_sub(number));
        if is_new && !is_old {
            self.history.put(number, octets);
        }
        is_new && !is_old
    }

    fn correct(&mut self, number: u16, reader: &mut Reader<'_>) -> Result<(), Refused> {
        let Ok(kind) = reader.octet() else { return Ok(()) };
        if kind & 0x80 == 0 {
            let count = reader.length()?;
            for back in 1..=count.min(REMEMBERED / 2) {
                let earlier = reader.open_type()?;
                let number = number.wrapping_sub(back as u16);
                if self.is_missing(number) && self.put(number, earlier) {
                    self.recovered += 1;
                }
            }
            return Ok(());
        }
        if reader.octet()? != 1 {
            return Err(Refused::InvalidLength);
        }
        let span = reader.octet()?;
        let entries = reader.length()?;
        if usize::from(span) * entries > REMEMBERED / 2 {
            return Err(Refused::InvalidLength);
        }
        for entry in 0..entries {
            let parity = reader.open_type()?;
            self.solve(number, span, entries as u8, entry as u8, parity);
        }
        Ok(())
    }

    /// A parity of which one packet is missing gives that packet.
    fn solve(&mut self, number: u16, span: u8, entries: u8, entry: u8, parity: &[u8]) {
        let mut missing = members(number, span, entries, entry).filter(|n| self.history.get(*n).is_none());
        let (Some(only), None) = (missing.next(), missing.next()) else { return };
        if !self.is_missing(only) || parity.is_empty() || parity.len() > MAX_IFP {
            return;
        }
        let mut octets = std::mem::take(&mut self.parity);
        octets.clear();
        octets.extend_from_slice(parity);
        for member in members(number, span, entries, entry).filter(|member| *member != only) {
            if let Some(known) = self.history.get(member) {
                exclusive_or(&mut octets, known);
            }
        }
        if self.put(only, &octets) {
            self.recovered += 1;
        }
        self.parity = octets;
    }

    /// Somebody waits for it.
    fn is_missing(&self, number: u16) -> bool {
        let waiting = self.expected.is_some_and(|expected| number.wrapping_sub(expected) < 0x8000);
        waiting && self.history.get(number).is_none()
    }
}

struct Reader<'d>(&'d [u8]);

impl<'d> Reader<'d> {
    fn octet(&mut self) -> Result<u8, Refused> {
        let (first, rest) = self.0.split_first().ok_or(Refused::TooShort)?;
        self.0 = rest;
        Ok(*first)
    }

    /// A length (X.691 §11.9); fragments of 16 384 octets do not occur in a datagram that arrives.
    fn length(&mut self) -> Result<usize, Refused> {
        match self.octet()? {
            short @ 0..=0x7f => Ok(usize::from(short)),
            high @ 0x80..=0xbf => Ok(usize::from(high & 0x3f) << 8 | usize::from(self.octet()?)),
            _ => Err(Refused::InvalidLength),
        }
    }

    fn open_type(&mut self) -> Result<&'d [u8], Refused> {
        let length = self.length()?;
        let (octets, rest) = self.0.split_at_checked(length).ok_or(Refused::TooShort)?;
        self.0 = rest;
        Ok(octets)
    }
}
