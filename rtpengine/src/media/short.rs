//! `block-short`: RTP packets that are shorter than is usual for their codec go no further.
//!
//! Of codecs with a constant rate, all packets of a stream have the same length, which is the usual one once two packets in a row had it. A
//! longer one makes itself the usual one in the same way; a shorter one only if nothing else has come for [`PATIENCE`] packets, as after a
//! change of packet time. Codecs of variable rate, events and comfort noise have no usual length.

use codec::PayloadFormat;

/// Shorter packets in a row that are taken for a change of packet time: a second's worth at 20 ms.
const PATIENCE: u16 = 50;

/// Codecs of constant rate.
const CONSTANT: &[&str] = &["PCMU", "PCMA", "G722", "GSM", "L16", "G729", "G729A", "iLBC"];

/// What is usual, by payload type.
pub struct ShortPackets {
    formats: Vec<Usual>,
}

struct Usual {
    payload_type: u8,
    /// Octets; 0 while it is not known.
    octets: usize,
    /// Length of the packets that came last, and how many.
    latest: usize,
    run: u16,
}

impl ShortPackets {
    pub fn new(formats: &[PayloadFormat]) -> Self {
        let constant = |f: &&PayloadFormat| CONSTANT.iter().any(|name| f.name.eq_ignore_ascii_case(name));
        let usual = |f: &PayloadFormat| Usual { payload_type: f.payload_type, octets: 0, latest: 0, run: 0 };
        Self { formats: formats.iter().filter(constant).map(usual).collect() }
    }

    /// Goes on with what is known of the payload types that are still there.
    pub fn adopt(&mut self, old: Self) {
        for known in old.formats {
            if let Some(same) = self.formats.iter_mut().find(|f| f.payload_type == known.payload_type) {
                *same = known;
            }
        }
    }

    /// Whether a packet of this length is too short.
    pub fn is_short(&mut self, payload_type: u8, octets: usize) -> bool {
        let Some(usual) = self.formats.iter_mut().find(|f| f.payload_type == payload_type) else {
            return false;
        };
        usual.run = if usual.latest == octets { usual.run.saturating_add(1) } else { 1 };
        usual.latest = octets;
        if usual.run >= if octets > usual.octets { 2 } else { PATIENCE } {
            usual.octets = octets;
        }
        octets < usual.octets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_is_what_came_twice_and_shorter_only_in_the_long_run() {
        let formats =
            [PayloadFormat::new(0, "PCMU", 8000, 1), PayloadFormat::new(101, "telephone-event", 8000, 1)];
        let mut short = ShortPackets::new(&formats);
        let mut all =
            |pt, lengths: &[usize]| lengths.iter().map(|l| short.is_short(pt, *l)).collect::<Vec<_>>();
        assert_eq!(
            all(0, &[12, 172, 172, 92, 172, 12, 12, 172]),
            [false, false, false, true, false, true, true, false]
        );
        assert_eq!(
            all(0, &[332, 172, 332, 332, 172]),
            [false, false, false, false, true],
            "one does not change it"
        );
        assert_eq!(all(0, &[92; 52]).iter().filter(|short| **short).count(), usize::from(PATIENCE) - 1);
        assert_eq!(all(101, &[16, 16, 12]), [false; 3]);
    }
}
