//! UDPTL, the transport of T.38 fax packets over UDP (ITU-T T.38 §9.1): numbers, redundancy and forward error correction.
//!
//! ```text
//! sequence number (16) | length, primary IFP | 0x00, count, { length, earlier IFP }          redundancy, newest first
//!                                             | 0x80, 1, span, count, { length, parity }      FEC
//! ```
//!
//! Entry *m* of *n* parities over a span of *s* is the exclusive or of the packets −*n·s* + *m*, −*n·(s − 1)* + *m*, … before the one
//! that carries it, so that neighbours are in different parities. What is recovered by it is as long as the longest of them.

mod receiver;
mod sender;

pub use receiver::{Receiver, Refused};
pub use sender::Sender;

/// How loss is survived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Correction {
    /// Each packet repeats that many before it.
    Redundancy(u8),
    /// That many parities, each over `span` packets.
    Fec {
        /// Packets of a parity.
        span: u8,
        /// Parities.
        entries: u8,
    },
    /// Not at all.
    None,
}

/// Packets that are remembered, on either side; numbers are looked up by their remainder.
const REMEMBERED: usize = 128;
/// Longest IFP packet: T.38 data of the fastest modem fits many times.
pub const MAX_IFP: usize = 1024;

/// A packet that is remembered; its buffer is used again.
#[derive(Clone, Debug, Default)]
struct Slot {
    number: u16,
    is_known: bool,
    octets: Vec<u8>,
}

/// The last packets by number.
#[derive(Clone, Debug)]
struct History(Vec<Slot>);

impl History {
    fn new() -> Self {
        Self(vec![Slot::default(); REMEMBERED])
    }

    fn get(&self, number: u16) -> Option<&[u8]> {
        let slot = self.0.get(usize::from(number) % REMEMBERED)?;
        (slot.is_known && slot.number == number).then_some(&slot.octets)
    }

    fn put(&mut self, number: u16, octets: &[u8]) {
        if let Some(slot) = self.0.get_mut(usize::from(number) % REMEMBERED) {
            (slot.number, slot.is_known) = (number, true);
            slot.octets.clear();
            slot.octets.extend_from_slice(octets);
        }
    }

    fn clear(&mut self) {
        self.0.iter_mut().for_each(|slot| slot.is_known = false);
    }
}

/// Numbers of the packets in parity `entry` of `entries` over `span`, carried by packet `number`.
fn members(number: u16, span: u8, entries: u8, entry: u8) -> impl Iterator<Item = u16> {
    let (span, entries) = (u16::from(span), u16::from(entries));
    let first = number.wrapping_sub(span.wrapping_mul(entries)).wrapping_add(u16::from(entry));
    (0..span).map(move |step| first.wrapping_add(step.wrapping_mul(entries)))
}

#[cfg(test)]
mod tests;
