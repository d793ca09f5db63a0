//! The first RTP packets of a party's media, for whoever wants to be told of them.

/// Sections that can be told apart on a port: all that a packet's section number can name.
const SECTIONS: usize = 256;
const WORDS: usize = SECTIONS / 64;

/// Which sections of a stream were heard, and which of them have been told about. Never more than one event a section, however many
/// packets, SSRCs or plans come.
#[derive(Debug, Default)]
pub struct Arrivals {
    heard: [u64; WORDS],
    told: [u64; WORDS],
}

impl Arrivals {
    /// An RTP packet of this section was accepted; a stream of one section has number 0.
    pub fn note(&mut self, section: u8) {
        self.heard[usize::from(section) / 64] |= 1 << (section % 64);
    }

    /// A section that was heard and has not been told about yet; it has been now.
    pub fn take_untold(&mut self) -> Option<u8> {
        let words = self.heard.iter().zip(&mut self.told).enumerate();
        for (index, (heard, told)) in words {
            let fresh = heard & !*told;
            if fresh != 0 {
                let bit = fresh.trailing_zeros();
                *told |= 1 << bit;
                // Below 256 by the size of the sets.
                return u8::try_from(index as u32 * 64 + bit).ok();
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_section_is_told_once() {
        let mut arrivals = Arrivals::default();
        assert_eq!(arrivals.take_untold(), None);
        for section in [3, 255, 3, 64, 0] {
            arrivals.note(section);
        }
        let told: Vec<u8> = std::iter::from_fn(|| arrivals.take_untold()).collect();
        assert_eq!(told, [0, 3, 64, 255]);
        arrivals.note(3);
        arrivals.note(4);
        assert_eq!(arrivals.take_untold(), Some(4));
        assert_eq!(arrivals.take_untold(), None);
    }
}
