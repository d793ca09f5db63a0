//! The sending side.

use super::{Correction, History, MAX_IFP, members};

/// Makes datagrams of IFP packets. Allocates only until its buffers have grown.
#[derive(Clone, Debug)]
pub struct Sender {
    correction: Correction,
    /// Datagrams do not become longer for the sake of redundancy.
    max_datagram: usize,
    next: u16,
    /// Packets sent so far, as far as it matters.
    sent: usize,
    history: History,
    parity: Vec<u8>,
}

impl Sender {
    /// Numbers begin at 0, as T.38 demands.
    pub fn new(correction: Correction, max_datagram: usize) -> Self {
        Self { correction, max_datagram, next: 0, sent: 0, history: History::new(), parity: Vec::new() }
    }

    /// The peer wants another correction from now on.
    pub fn update(&mut self, correction: Correction, max_datagram: usize) {
        (self.correction, self.max_datagram) = (correction, max_datagram);
    }

    /// Writes the next datagram to `out`, which is emptied first; `false` when the packet is too long or empty.
    pub fn send(&mut self, ifp: &[u8], out: &mut Vec<u8>) -> bool {
        out.clear();
        if ifp.is_empty() || ifp.len() > MAX_IFP {
            return false;
        }
        let number = self.next;
        self.next = number.wrapping_add(1);
        out.extend_from_slice(&number.to_be_bytes());
        open_type(ifp, out);
        match self.correction {
            Correction::Redundancy(entries) => self.redundancy(number, entries, out),
            Correction::Fec { span, entries } => self.parities(number, span, entries, out),
            Correction::None => out.extend_from_slice(&[0, 0]),
        }
        self.history.put(number, ifp);
        self.sent = self.sent.saturating_add(1);
        true
    }

    fn redundancy(&self, number: u16, entries: u8, out: &mut Vec<u8>) {
        out.push(0);
        let count_at = out.len();
        out.push(0);
        let mut count = 0u8;
        for back in 1..=u16::from(entries.min(127)).min(self.sent.min(127) as u16) {
            let Some(earlier) = self.history.get(number.wrapping_sub(back)) else { break };
            if out.len() + earlier.len() + 2 > self.max_datagram {
                break;
            }
            open_type(earlier, out);
            count += 1;
        }
        if let Some(place) = out.get_mut(count_at) {
            *place = count;
        }
    }

    fn parities(&mut self, number: u16, span: u8, entries: u8, out: &mut Vec<u8>) {
        let (span, mut entries) = (span.clamp(1, 32), entries.min(16));
        entries = entries.min((self.sent.min(255) / usize::from(span)) as u8);
        out.extend_from_slice(&[0x80, 1, span]);
        let count_at = out.len();
        out.push(0);
        for entry in 0..entries {
            self.parity.clear();
            for member in members(number, span, entries, entry) {
                let Some(octets) = self.history.get(member) else { continue };
                exclusive_or(&mut self.parity, octets);
            }
            if entry > 0 && out.len() + self.parity.len() + 2 > self.max_datagram {
                // Fewer parities would be over other packets: then rather none.
                out.truncate(count_at + 1);
                entries = 0;
                break;
            }
            open_type(&self.parity, out);
        }
        if let Some(place) = out.get_mut(count_at) {
            *place = entries;
        }
    }
}

/// Adds octets to a parity, which becomes as long as they are.
pub(super) fn exclusive_or(parity: &mut Vec<u8>, octets: &[u8]) {
    if parity.len() < octets.len() {
        parity.resize(octets.len(), 0);
    }
    parity.iter_mut().zip(octets).for_each(|(parity, octet)| *parity ^= octet);
}

/// Length (X.691 §11.9) and octets.
fn open_type(octets: &[u8], out: &mut Vec<u8>) {
    match octets.len() {
        short @ 0..=127 => out.push(short as u8),
        long => out.extend_from_slice(&(0x8000 | long as u16).to_be_bytes()),
    }
    out.extend_from_slice(octets);
}
