//! Which mode the encoder uses, and which one it asks the party for (RFC 4867 §3.3.1, §4.3.1, §8.1).
//!
//! The bit rate that was configured is an upper limit. A mode request of the party is followed whatever it is; `mode-change-period` and
//! `mode-change-neighbor` say how fast. Codec options: `mode-change-interval=ms` goes up one mode when no request came for so long,
//! `CMR-interval=ms` asks the party for the next higher mode than it used in that time.

use super::mode_set::ModeSet;
use super::payload::{Band, NO_REQUEST};
use crate::coder::Feedback;
use crate::fmtp::parameter;
use crate::pace::Pace;

/// Bit rates of the modes.
const NARROW_BPS: [u32; 8] = [4750, 5150, 5900, 6700, 7400, 7950, 10_200, 12_200];
pub(crate) const WIDE_BPS: [u32; 9] = [6600, 8850, 12_650, 14_250, 15_850, 18_250, 19_850, 23_050, 23_850];

pub(super) fn rates(band: Band) -> &'static [u32] {
    match band {
        Band::Narrow => &NARROW_BPS,
        Band::Wide => &WIDE_BPS,
    }
}

/// A speech mode, not a reserved number or "no request".
pub(super) fn is_mode(band: Band, mode: u8) -> bool {
    usize::from(mode) < rates(band).len()
}

#[derive(Debug)]
pub(super) struct RateControl {
    band: Band,
    allowed: ModeSet,
    /// The best mode by bit rate.
    limit: u8,
    current: u8,
    target: u8,
    /// Modes change with every so many frames only.
    period: u32,
    /// Modes change to the next one in the set only.
    neighbour: bool,
    pace: Pace,
    discontinuous: bool,
    party: Feedback,
    /// The highest mode received since our last request.
    best_received: Option<u8>,
}

impl RateControl {
    /// # Errors
    /// An option that is unknown or has no number.
    pub(super) fn new(band: Band, fmtp: &str, limit_bps: u32, options: &str) -> Result<Self, String> {
        let allowed = ModeSet::parse(band, fmtp);
        let mode = allowed.best(band, limit_bps);
        let number = |key| parameter(fmtp, key).and_then(|value| value.parse::<u32>().ok());
        let (pace, discontinuous) = Pace::parse(options)?;
        Ok(Self {
            band,
            allowed,
            limit: mode,
            current: mode,
            target: mode,
            period: number("mode-change-period").unwrap_or(1).clamp(1, 2),
            neighbour: number("mode-change-neighbor") == Some(1),
            pace,
            discontinuous: discontinuous.unwrap_or(false),
            party: Feedback::default(),
            best_received: None,
        })
    }

    /// Option `dtx`.
    pub(super) fn is_discontinuous(&self) -> bool {
        self.discontinuous
    }

    /// What the party said last.
    pub(super) fn follow(&mut self, party: Feedback) {
        if party.requests != self.party.requests
            && let Some(mode) = party.mode_request.filter(|&mode| is_mode(self.band, mode))
        {
            self.target = mode;
            self.pace.requested();
        }
        self.best_received = self.best_received.max(party.mode);
        self.party = party;
    }

    /// The mode of the next frame.
    pub(super) fn next_mode(&mut self) -> u8 {
        if self.pace.raises() {
            let above = self.allowed.above(self.target).filter(|&mode| mode <= self.limit);
            self.target = above.unwrap_or(self.target);
        }
        if self.current != self.target && self.pace.may_change(self.period) {
            let is_higher = self.target > self.current;
            let step =
                if is_higher { self.allowed.above(self.current) } else { self.allowed.below(self.current) };
            self.current = step.filter(|_| self.neighbour).unwrap_or(self.target);
        }
        self.pace.go_on();
        self.current
    }

    /// What the header of the next packet asks for.
    pub(super) fn request(&mut self) -> u8 {
        if !self.pace.requests() {
            return NO_REQUEST;
        }
        let best = self.best_received.take();
        best.and_then(|mode| self.allowed.above(mode)).unwrap_or(NO_REQUEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(fmtp: &str, limit_bps: u32, options: &str) -> RateControl {
        RateControl::new(Band::Narrow, fmtp, limit_bps, options).unwrap()
    }

    fn asking(mode: u8, requests: u32) -> Feedback {
        Feedback { mode_request: Some(mode), requests, mode: None }
    }

    #[test]
    fn the_mode_is_the_best_that_is_allowed() {
        let cases = [
            (Band::Narrow, 6700, "", 3),
            (Band::Narrow, 12_200, "mode-set=0,2,4", 4),
            (Band::Narrow, 6000, "mode-set=0,2,4", 2),
            (Band::Narrow, 1000, "mode-set=7,5", 5),
            (Band::Narrow, 1000, "", 0),
            (Band::Wide, 23_850, "", 8),
            (Band::Wide, 14_250, "mode-set=x", 3),
        ];
        for (band, bps, fmtp, expected) in cases {
            let mut control = RateControl::new(band, fmtp, bps, "").unwrap();
            assert_eq!(control.next_mode(), expected, "{band:?} {bps} {fmtp:?}");
        }
    }

    #[test]
    fn a_request_is_followed_at_once_or_as_fast_as_the_peer_allows() {
        let mut free = control("mode-set=0,2,4,7", 12_200, "");
        assert_eq!(free.next_mode(), 7);
        free.follow(asking(1, 1));
        assert_eq!(free.next_mode(), 1, "also a mode that is not in the set");
        free.follow(asking(15, 2));
        assert_eq!(free.next_mode(), 1, "no mode");
        let mut slow = control("mode-set=0,2,4,7; mode-change-period=2; mode-change-neighbor=1", 12_200, "");
        slow.follow(asking(0, 1));
        let modes: Vec<u8> = (0..7).map(|_| slow.next_mode()).collect();
        assert_eq!(modes, [4, 4, 2, 2, 0, 0, 0]);
    }

    #[test]
    fn without_requests_the_mode_goes_up_to_the_limit() {
        let mut control = control("mode-set=0,2,4,7", 7400, "mode-change-interval--60");
        control.follow(asking(0, 1));
        let modes: Vec<u8> = (0..12).map(|_| control.next_mode()).collect();
        assert_eq!(modes, [0, 0, 0, 2, 2, 2, 4, 4, 4, 4, 4, 4]);
    }

    #[test]
    fn the_party_is_asked_for_the_next_higher_mode() {
        let mut control = control("mode-set=0,2,4,7", 12_200, "CMR-interval=40");
        let mut asked = Vec::new();
        for received in [0, 2, 2, 2, 7, 7, 7, 7] {
            control.follow(Feedback { mode: Some(received), ..Feedback::default() });
            control.next_mode();
            asked.push(control.request());
        }
        assert_eq!(asked, [NO_REQUEST, 4, NO_REQUEST, 4, NO_REQUEST, NO_REQUEST, NO_REQUEST, NO_REQUEST]);
    }

    #[test]
    fn unknown_options_are_refused() {
        for options in ["speed=1", "CMR-interval=x"] {
            assert!(RateControl::new(Band::Wide, "", 0, options).is_err(), "{options}");
        }
    }
}
