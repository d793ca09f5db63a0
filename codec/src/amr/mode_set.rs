//! The modes of AMR that may be used: `mode-set` (RFC 4867 §8.1), which AMR-WB IO modes of EVS have as well.

use super::payload::Band;
use super::rate::rates;
use crate::fmtp::parameter;

/// Never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ModeSet {
    /// Bit n: mode n is in it.
    modes: u16,
}

impl ModeSet {
    /// All modes without a readable one.
    pub(crate) fn parse(band: Band, fmtp: &str) -> Self {
        let listed = parameter(fmtp, "mode-set").into_iter().flat_map(|list| list.split(','));
        let number = |mode: &str| mode.trim().parse::<usize>().ok();
        let modes = listed.filter_map(number).filter(|&mode| mode < rates(band).len());
        match modes.fold(0, |set, mode| set | 1 << mode) {
            0 => Self { modes: (1 << rates(band).len()) - 1 },
            modes => Self { modes },
        }
    }

    pub(crate) fn contains(self, mode: u8) -> bool {
        self.modes.checked_shr(mode.into()).is_some_and(|modes| modes & 1 == 1)
    }

    /// The next higher one.
    pub(crate) fn above(self, mode: u8) -> Option<u8> {
        (mode.saturating_add(1)..16).find(|&mode| self.contains(mode))
    }

    /// The next lower one.
    pub(crate) fn below(self, mode: u8) -> Option<u8> {
        (0..mode).rev().find(|&mode| self.contains(mode))
    }

    /// The best one within the bit rate, else the lowest.
    pub(crate) fn best(self, band: Band, limit_bps: u32) -> u8 {
        let modes = || (0..rates(band).len()).filter(|mode| self.modes >> mode & 1 == 1);
        let within = modes().rev().find(|&mode| rates(band)[mode] <= limit_bps);
        within.or_else(|| modes().next()).unwrap_or(0) as u8
    }
}
