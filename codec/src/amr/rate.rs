//! Which mode the encoder uses, and which one it asks the party for (RFC 4867 §3.3.1, §4.3.1, §8.1).
//!
//! The bit rate that was configured is an upper limit. A mode request of the party is followed whatever it is; `mode-change-period` and
//! `mode-change-neighbor` say how fast. Codec options: `mode-change-interval=ms` goes up one mode when no request came for so long,
//! `CMR-interval=ms` asks the party for the next higher mode than it used in that time.

use super::payload::{Band, NO_REQUEST};
use crate::coder::{Feedback, codec_options};
use crate::fmtp::parameter;

/// Bit rates of the modes.
const NARROW_BPS: [u32; 8] = [4750, 5150, 5900, 6700, 7400, 7950, 10_200, 12_200];
const WIDE_BPS: [u32; 9] = [6600, 8850, 12_650, 14_250, 15_850, 18_250, 19_850, 23_050, 23_850];
const FRAME_MS: u32 = 20;

fn rates(band: Band) -> &'static [u32] {
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
    /// Bit n: mode n is in the mode set.
    allowed: u16,
    /// The best mode by bit rate.
    limit: u8,
    current: u8,
    target: u8,
    /// Modes change with every so many frames only.
    period: u32,
    /// Modes change to the next one in the set only.
    neighbour: bool,
    frames: u32,
    discontinuous: bool,
    /// Frames without a request after which the mode goes up; 0: never.
    raise_after: u32,
    /// Frames between two requests of ours; 0: there are none.
    request_after: u32,
    raise_at: u32,
    request_at: u32,
    party: Feedback,
    /// The highest mode received since our last request.
    best_received: Option<u8>,
}

impl RateControl {
    /// # Errors
    /// An option that is unknown or has no number.
    pub(super) fn new(band: Band, fmtp: &str, limit_bps: u32, options: &str) -> Result<Self, String> {
        let allowed = allowed(band, fmtp);
        let mode = best_mode(band, allowed, limit_bps);
        let number = |key| parameter(fmtp, key).and_then(|value| value.parse::<u32>().ok());
        let mut control = Self {
            band,
            allowed,
            limit: mode,
            current: mode,
            target: mode,
            period: number("mode-change-period").unwrap_or(1).clamp(1, 2),
            neighbour: number("mode-change-neighbor") == Some(1),
            frames: 0,
            discontinuous: false,
            raise_after: 0,
            request_after: 0,
            raise_at: 0,
            request_at: 0,
            party: Feedback::default(),
            best_received: None,
        };
        for (key, value) in codec_options(options) {
            let wrong = || format!("option {key}={value:?} is not a number of milliseconds");
            let frames = || value.parse::<u32>().map(|ms| ms.div_ceil(FRAME_MS)).map_err(|_| wrong());
            match key.to_ascii_lowercase().as_str() {
                "cmr-interval" => control.request_after = frames()?,
                "mode-change-interval" => control.raise_after = frames()?,
                "dtx" => control.discontinuous = value != "0",
                _ => {
                    return Err(format!(
                        "option {key:?} is unknown, CMR-interval, mode-change-interval and dtx are right"
                    ));
                }
            }
        }
        control.raise_at = control.raise_after;
        control.request_at = control.request_after;
        Ok(control)
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
            self.raise_at = self.frames.wrapping_add(self.raise_after);
        }
        self.best_received = self.best_received.max(party.mode);
        self.party = party;
    }

    /// The mode of the next frame.
    pub(super) fn next_mode(&mut self) -> u8 {
        if self.raise_after != 0 && self.frames == self.raise_at {
            self.raise_at = self.frames.wrapping_add(self.raise_after);
            self.target = self.above(self.target).filter(|&mode| mode <= self.limit).unwrap_or(self.target);
        }
        if self.current != self.target && self.frames.is_multiple_of(self.period) {
            let step =
                if self.target > self.current { self.above(self.current) } else { self.below(self.current) };
            self.current = step.filter(|_| self.neighbour).unwrap_or(self.target);
        }
        self.frames = self.frames.wrapping_add(1);
        self.current
    }

    /// What the header of the next packet asks for.
    pub(super) fn request(&mut self) -> u8 {
        // Wrapping distance: packets hold several frames.
        if self.request_after == 0 || self.frames.wrapping_sub(self.request_at) > u32::MAX / 2 {
            return NO_REQUEST;
        }
        self.request_at = self.frames.wrapping_add(self.request_after);
        let best = self.best_received.take();
        best.and_then(|mode| self.above(mode)).unwrap_or(NO_REQUEST)
    }

    fn above(&self, mode: u8) -> Option<u8> {
        (mode + 1..rates(self.band).len() as u8).find(|&mode| self.allowed >> mode & 1 == 1)
    }

    fn below(&self, mode: u8) -> Option<u8> {
        (0..mode).rev().find(|&mode| self.allowed >> mode & 1 == 1)
    }
}

/// The `mode-set`; all modes without a readable one.
fn allowed(band: Band, fmtp: &str) -> u16 {
    let listed = parameter(fmtp, "mode-set").into_iter().flat_map(|list| list.split(','));
    let modes = listed.filter_map(|mode| mode.trim().parse().ok()).filter(|&mode| is_mode(band, mode));
    match modes.fold(0, |set, mode: u8| set | 1 << mode) {
        0 => (1 << rates(band).len()) - 1,
        set => set,
    }
}

/// The best mode within the bit rate, else the lowest.
fn best_mode(band: Band, allowed: u16, limit_bps: u32) -> u8 {
    let modes = || (0..rates(band).len()).filter(|mode| allowed >> mode & 1 == 1);
    let within = modes().rev().find(|&mode| rates(band)[mode] <= limit_bps);
    within.or_else(|| modes().next()).unwrap_or(0) as u8
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
