//! Bit rate, bandwidth and mode of the next frame, and what is asked of the party (3GPP TS 26.445, annexes A.2.2.1 and A.3).
//!
//! The bit rate that was configured is where the encoder begins. A request of the party is followed as far as what was negotiated allows.
//! Codec options: `mode-change-interval=ms` goes up one bit rate, to the configured one at most, when no request came for so long,
//! `CMR-interval=ms` asks the party for the next higher bit rate than it used in that time, `dtx` describes silence instead of coding it.

use std::ops::RangeInclusive;

use super::parameters::{AwareWish, Parameters, Rates};
use super::payload::{Kind, NO_REQUEST, REQUEST, REQUEST_IO};
use crate::amr::{Band, WIDE_BPS};
use crate::coder::Feedback;
use crate::pace::Pace;

/// Bit rates in primary mode; the first is a variable one. The index is what requests have (table A.3).
pub(super) const PRIMARY_BPS: [u32; 12] =
    [5900, 7200, 8000, 9600, 13_200, 16_400, 24_400, 32_000, 48_000, 64_000, 96_000, 128_000];
/// Index of 13.2 kbit/s, at which the channel-aware mode exists.
const AWARE_RATE: u8 = 4;

/// Audio bandwidths (table 1 of TS 26.445).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Bandwidth {
    Narrow = 0,
    Wide = 1,
    SuperWide = 2,
    Full = 3,
}

impl Bandwidth {
    pub(super) const ALL: [Self; 4] = [Self::Narrow, Self::Wide, Self::SuperWide, Self::Full];

    /// From a format parameter.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let names = ["nb", "wb", "swb", "fb"];
        let found = names.iter().position(|name| name.eq_ignore_ascii_case(text.trim()))?;
        Self::ALL.get(found).copied()
    }

    /// The lowest sample rate in Hz that has room for it.
    pub(super) fn sample_rate(self) -> u32 {
        [8000, 16_000, 32_000, 48_000][self as usize]
    }

    /// What audio of a sample rate can have.
    pub(super) fn of_rate(sample_rate: u32) -> Self {
        Self::ALL.into_iter().find(|bandwidth| bandwidth.sample_rate() >= sample_rate).unwrap_or(Self::Full)
    }

    /// Bit rates at which it can be coded.
    pub(super) fn rates(self) -> Rates {
        [0..=6, 0..=11, 3..=11, 5..=11][self as usize].clone()
    }

    /// T field of requests for it.
    fn request(self) -> u8 {
        REQUEST | [0, 2, 3, 4][self as usize] << 4
    }
}

/// A channel-aware mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Aware {
    /// Frames between a frame and its partial copy: 2, 3, 5 or 7.
    pub(super) offset: u8,
    /// HI: many frames are lost.
    pub(super) many_errors: bool,
}

/// What a frame is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Primary {
        /// Index of [`PRIMARY_BPS`].
        rate: u8,
        /// At most.
        bandwidth: Bandwidth,
        aware: Option<Aware>,
    },
    /// Mode of AMR-WB.
    Io(u8),
}

impl Mode {
    pub(super) fn bit_rate_bps(self) -> u32 {
        let rate = match self {
            Self::Primary { rate, .. } => PRIMARY_BPS.get(usize::from(rate)),
            Self::Io(mode) => WIDE_BPS.get(usize::from(mode)),
        };
        rate.copied().unwrap_or(PRIMARY_BPS[AWARE_RATE as usize])
    }

    pub(super) fn bandwidth(self) -> Bandwidth {
        match self {
            Self::Primary { bandwidth, .. } => bandwidth,
            Self::Io(_) => Bandwidth::Wide,
        }
    }

    pub(super) fn aware(self) -> Option<Aware> {
        match self {
            Self::Primary { aware, .. } => aware,
            Self::Io(_) => None,
        }
    }
}

/// What a request asks for: 1TTTDDDD. `None` for "no request" and what is not defined.
pub(super) fn requested(request: u8) -> Option<Mode> {
    let (kind, rate) = (request >> 4 & 7, request & 15);
    let primary = |bandwidth: Bandwidth| {
        bandwidth.rates().contains(&rate).then_some(Mode::Primary { rate, bandwidth, aware: None })
    };
    let aware = |bandwidth| {
        let offset = *[2, 3, 5, 7].get(usize::from(rate & 3))?;
        let aware = Some(Aware { offset, many_errors: rate & 4 != 0 });
        (rate < 8).then_some(Mode::Primary { rate: AWARE_RATE, bandwidth, aware })
    };
    match kind {
        _ if request & REQUEST == 0 => None,
        0 => primary(Bandwidth::Narrow),
        1 => (usize::from(rate) < WIDE_BPS.len()).then_some(Mode::Io(rate)),
        2 => primary(Bandwidth::Wide),
        3 => primary(Bandwidth::SuperWide),
        4 => primary(Bandwidth::Full),
        5 => aware(Bandwidth::Wide),
        6 => aware(Bandwidth::SuperWide),
        _ => None,
    }
}

/// How [`Feedback`] names the mode of a frame: like no mode of another codec, higher ones above lower ones.
pub(super) fn mode_number(kind: Kind) -> u8 {
    REQUEST | u8::from(kind.is_io) << 4 | kind.frame_type
}

#[derive(Debug)]
pub(super) struct RateControl {
    party: Parameters,
    /// Bit rates that fit some bandwidth that the party takes and the audio has.
    rates: Rates,
    bandwidths: RangeInclusive<Bandwidth>,
    can_be_aware: bool,
    /// Where the encoder began, and the best that it raises itself to.
    best_primary: u8,
    best_io: u8,
    current: Mode,
    target: Mode,
    discontinuous: bool,
    pace: Pace,
    heard: Feedback,
    /// The highest mode received since our last request.
    best_received: Option<u8>,
}

impl RateControl {
    /// For audio of `source_rate` Hz and a library that knows the channel-aware mode, or does not.
    ///
    /// # Errors
    /// An option that is unknown or has no number; bit rates that fit none of the bandwidths.
    pub(super) fn new(
        party: Parameters,
        source_rate: u32,
        bit_rate_bps: u32,
        can_be_aware: bool,
        options: &str,
    ) -> Result<Self, String> {
        let (low, high) = (*party.hears.start(), *party.hears.end());
        let lowest = (*party.receives.start()).max(*low.rates().start());
        // More than the audio has is coded only where the party or its bit rates want it.
        let mut top = Bandwidth::of_rate(source_rate).clamp(low, high);
        if *top.rates().end() < lowest {
            top = high;
        }
        let highest = (*party.receives.end()).min(*top.rates().end());
        if lowest > highest || *high.rates().end() < lowest {
            return Err("bit rates and bandwidths do not fit each other".into());
        }
        let best_primary =
            highest_within(&PRIMARY_BPS, |rate| (lowest..=highest).contains(&rate), bit_rate_bps);
        let best_io = party.io_modes.best(Band::Wide, bit_rate_bps);
        let (pace, discontinuous) = Pace::parse(options)?;
        let discontinuous = match (discontinuous, party.takes_silence) {
            (Some(wanted), taken) => wanted && taken != Some(false),
            (None, taken) => taken == Some(true),
        };
        let mut control = Self {
            rates: lowest..=highest,
            bandwidths: low..=top,
            can_be_aware,
            best_primary,
            best_io,
            current: Mode::Io(best_io),
            target: Mode::Io(best_io),
            discontinuous,
            pace,
            heard: Feedback::default(),
            best_received: None,
            party,
        };
        if !control.party.starts_in_io {
            let aware = match control.party.aware {
                Some(AwareWish::AtOnce(aware)) => Some(aware),
                _ => None,
            };
            control.target = control.primary(best_primary, top, aware);
            control.current = control.target;
        }
        Ok(control)
    }

    /// Silence is described.
    pub(super) fn is_discontinuous(&self) -> bool {
        self.discontinuous
    }

    /// Sample rate in Hz that the encoder is to be opened with.
    pub(super) fn sample_rate(&self) -> u32 {
        self.bandwidths.end().sample_rate()
    }

    /// The party's next payload or request.
    pub(super) fn follow(&mut self, heard: Feedback) {
        if heard.requests != self.heard.requests
            && self.party.requests >= 0
            && let Some(mode) = heard.mode_request.and_then(requested)
            && let Some(allowed) = self.allowed(mode)
        {
            self.target = allowed;
            self.pace.requested();
        }
        // Modes of another codec that the party has sent before are below.
        self.best_received = self.best_received.max(heard.mode.filter(|mode| mode & REQUEST != 0));
        self.heard = heard;
    }

    /// What was negotiated that is nearest to what is wanted.
    fn allowed(&self, wanted: Mode) -> Option<Mode> {
        match wanted {
            Mode::Io(mode) => {
                let below = (0..=mode).rev().find(|&mode| self.party.io_modes.contains(mode));
                below.or_else(|| self.party.io_modes.above(mode)).map(Mode::Io)
            }
            Mode::Primary { rate, bandwidth, aware } => Some(self.primary(rate, bandwidth, aware)),
        }
    }

    /// A bandwidth and a bit rate that go together.
    fn primary(&self, rate: u8, bandwidth: Bandwidth, aware: Option<Aware>) -> Mode {
        let (low, top) = (*self.bandwidths.start(), *self.bandwidths.end());
        let rate = rate.clamp(*self.rates.start(), *self.rates.end());
        let wanted = bandwidth.clamp(low, top);
        let fits =
            |bandwidth: &Bandwidth| self.bandwidths.contains(bandwidth) && bandwidth.rates().contains(&rate);
        let below = Bandwidth::ALL.into_iter().rev().filter(|bandwidth| *bandwidth <= wanted).find(fits);
        let bandwidth = below.or_else(|| Bandwidth::ALL.into_iter().find(fits)).unwrap_or(top);
        let is_possible = self.can_be_aware
            && self.party.aware.is_some()
            && rate == AWARE_RATE
            && matches!(bandwidth, Bandwidth::Wide | Bandwidth::SuperWide);
        Mode::Primary { rate, bandwidth, aware: aware.filter(|_| is_possible) }
    }

    /// What the next frame is to be.
    pub(super) fn next_mode(&mut self) -> Mode {
        if self.pace.raises() {
            self.target = match self.target {
                Mode::Primary { rate, .. } if rate < self.best_primary => {
                    self.primary(rate + 1, *self.bandwidths.end(), None)
                }
                Mode::Io(mode) => Mode::Io(
                    self.party.io_modes.above(mode).filter(|&mode| mode <= self.best_io).unwrap_or(mode),
                ),
                best @ Mode::Primary { .. } => best,
            };
        }
        // The rules of AMR-WB hold between its modes only.
        match (self.current, self.target) {
            (Mode::Io(current), Mode::Io(target)) if current != target => {
                if self.pace.may_change(self.party.period) {
                    let step = if target > current {
                        self.party.io_modes.above(current)
                    } else {
                        self.party.io_modes.below(current)
                    };
                    self.current = Mode::Io(step.filter(|_| self.party.neighbour).unwrap_or(target));
                }
            }
            (_, target) => self.current = target,
        }
        self.pace.go_on();
        self.current
    }

    /// What the next packet asks for.
    pub(super) fn request(&mut self) -> u8 {
        if self.party.requests < 0 || !self.pace.requests() {
            return NO_REQUEST;
        }
        let Some(best) = self.best_received.take() else { return NO_REQUEST };
        let next = (best & 15) + 1;
        if best & 0x10 != 0 {
            return self.party.io_modes.above(best & 15).map_or(NO_REQUEST, |mode| REQUEST_IO | mode);
        }
        let bandwidth = Bandwidth::ALL.into_iter().rev().find(|bandwidth| {
            self.party.says.contains(bandwidth)
                && bandwidth.rates().contains(&next)
                && self.party.sends.contains(&next)
        });
        bandwidth.map_or(NO_REQUEST, |bandwidth| bandwidth.request() | next)
    }
}

/// The highest one that is allowed and within the bit rate, else the lowest that is allowed.
fn highest_within(rates_bps: &[u32], is_allowed: impl Fn(u8) -> bool, bit_rate_bps: u32) -> u8 {
    let allowed = || (0..rates_bps.len() as u8).filter(|&rate| is_allowed(rate));
    let within = allowed().filter(|&rate| rates_bps[usize::from(rate)] <= bit_rate_bps).last();
    within.or_else(|| allowed().next()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(fmtp: &str, source_rate: u32, bit_rate_bps: u32, options: &str) -> RateControl {
        RateControl::new(Parameters::parse(fmtp), source_rate, bit_rate_bps, true, options).unwrap()
    }

    fn primary(kbps: f64, bandwidth: Bandwidth) -> Mode {
        let bps = (kbps * 1000.0) as u32;
        let rate = PRIMARY_BPS.iter().position(|&rate| rate == bps).unwrap() as u8;
        Mode::Primary { rate, bandwidth, aware: None }
    }

    fn asking(request: u8, requests: u32) -> Feedback {
        Feedback { mode_request: Some(request), requests, mode: None }
    }

    use Bandwidth::{Full, Narrow, SuperWide, Wide};

    #[test]
    fn the_first_mode_is_the_best_that_was_negotiated() {
        for (fmtp, source_rate, bps, expected) in [
            ("", 8000, 16_400, primary(16.4, Narrow)),
            ("", 16_000, 16_400, primary(16.4, Wide)),
            ("", 48_000, 16_400, primary(16.4, Full)),
            ("", 48_000, 13_200, primary(13.2, SuperWide)),
            ("", 48_000, 8000, primary(8.0, Wide)),
            ("br=13.2; bw=swb", 8000, 64_000, primary(13.2, SuperWide)),
            ("br=5.9-24.4; bw-recv=nb-wb", 48_000, 64_000, primary(24.4, Wide)),
            ("br=5.9-128; bw=nb-fb", 8000, 64_000, primary(24.4, Narrow)),
            ("br=48; bw=nb-fb", 8000, 16_400, primary(48.0, Full)),
            ("br-recv=7.2-8;br=24.4", 16_000, 1000, primary(7.2, Wide)),
            ("evs-mode-switch=1", 8000, 16_400, Mode::Io(4)),
            ("evs-mode-switch=1; mode-set=0,2,8", 8000, 16_400, Mode::Io(2)),
        ] {
            let mut control = control(fmtp, source_rate, bps, "");
            assert_eq!(control.next_mode(), expected, "{fmtp:?} {source_rate} {bps}");
            assert!(control.sample_rate() >= expected.bandwidth().sample_rate() || fmtp.contains("switch"));
        }
        for fmtp in ["br=5.9-8; bw=swb", "br=32-48; bw=nb"] {
            assert!(RateControl::new(Parameters::parse(fmtp), 8000, 0, true, "").is_err(), "{fmtp}");
        }
    }

    #[test]
    fn requests_are_followed_as_far_as_was_negotiated() {
        let mut free = control("", 48_000, 16_400, "");
        for (number, (request, expected)) in [
            (0x81, primary(7.2, Narrow)),
            (0xa4, primary(13.2, Wide)),
            (0xc6, primary(24.4, Full)),
            (0xff, primary(24.4, Full)),
            // 7.2 kbit/s are too few for SWB, 15 is no bit rate: no requests.
            (0xb1, primary(24.4, Full)),
            (0xaf, primary(24.4, Full)),
            (0x98, Mode::Io(8)),
            (0x9b, Mode::Io(8)),
            (0xb3, primary(9.6, SuperWide)),
        ]
        .into_iter()
        .enumerate()
        {
            free.follow(asking(request, number as u32 + 1));
            assert_eq!(free.next_mode(), expected, "{request:#x}");
        }
        let mut narrow = control("br=7.2-13.2; bw=nb-wb; mode-set=0,2", 16_000, 16_400, "");
        for (number, (request, expected)) in [
            (0xcb, primary(13.2, Wide)),
            (0x80, primary(7.2, Narrow)),
            (0x98, Mode::Io(2)),
            (0x91, Mode::Io(0)),
        ]
        .into_iter()
        .enumerate()
        {
            narrow.follow(asking(request, number as u32 + 1));
            assert_eq!(narrow.next_mode(), expected, "{request:#x}");
        }
        let mut deaf = control("cmr=-1", 16_000, 16_400, "");
        deaf.follow(asking(0x81, 1));
        assert_eq!(deaf.next_mode(), primary(16.4, Wide));
        // A mode of AMR, which the party spoke before.
        let mut other = control("", 16_000, 16_400, "");
        other.follow(asking(1, 1));
        assert_eq!(other.next_mode(), primary(16.4, Wide));
    }

    #[test]
    fn the_channel_aware_mode_is_made_where_it_is_wanted_and_possible() {
        let aware = |offset, many_errors| Mode::Primary {
            rate: AWARE_RATE,
            bandwidth: Wide,
            aware: Some(Aware { offset, many_errors }),
        };
        assert_eq!(control("ch-aw-recv=3", 16_000, 13_200, "").next_mode(), aware(3, true));
        assert_eq!(control("ch-aw-recv=3", 16_000, 16_400, "").next_mode(), primary(16.4, Wide));
        let asked = |fmtp, can| {
            let mut control = RateControl::new(Parameters::parse(fmtp), 16_000, 16_400, can, "").unwrap();
            control.follow(asking(0xd2, 1));
            control.next_mode()
        };
        assert_eq!(asked("", true), aware(5, false));
        assert_eq!(asked("ch-aw-recv=-1", true), primary(13.2, Wide));
        assert_eq!(asked("", false), primary(13.2, Wide));
        assert_eq!(asked("br=24.4", true), primary(24.4, Wide));
    }

    #[test]
    fn modes_of_amr_wb_change_as_fast_as_the_party_allows() {
        let fmtp = "evs-mode-switch=1; mode-set=0,2,4,7; mode-change-period=2; mode-change-neighbor=1";
        let mut slow = control(fmtp, 16_000, 23_050, "");
        slow.follow(asking(0x90, 1));
        let modes: Vec<Mode> = (0..7).map(|_| slow.next_mode()).collect();
        assert_eq!(modes, [4, 4, 2, 2, 0, 0, 0].map(Mode::Io));
    }

    #[test]
    fn without_requests_the_bit_rate_goes_up_to_the_configured_one() {
        let mut control = control("", 16_000, 13_200, "mode-change-interval--60");
        control.follow(asking(0xa2, 1));
        let modes: Vec<Mode> = (0..12).map(|_| control.next_mode()).collect();
        let expected = [8.0, 8.0, 8.0, 9.6, 9.6, 9.6, 13.2, 13.2, 13.2, 13.2, 13.2, 13.2];
        assert_eq!(modes, expected.map(|kbps| primary(kbps, Wide)));
    }

    #[test]
    fn the_party_is_asked_for_the_next_higher_bit_rate_that_it_has() {
        let mut control = control("br-send=5.9-13.2; bw-send=nb-wb", 16_000, 13_200, "CMR-interval=40");
        let mut asked = Vec::new();
        for kind in [1, 3, 3, 3, 4, 4].map(Kind::primary).into_iter().chain([2, 2].map(Kind::io)) {
            control.follow(Feedback { mode: Some(mode_number(kind)), ..Feedback::default() });
            control.next_mode();
            asked.push(control.request());
        }
        let none = NO_REQUEST;
        assert_eq!(asked, [none, 0xa4, none, 0xa4, none, none, none, 0x93]);
    }

    #[test]
    fn silence_is_described_where_the_party_takes_it() {
        for (fmtp, options, expected) in [
            ("", "", false),
            ("", "dtx", true),
            ("dtx=0;dtx-recv=0", "dtx", false),
            ("dtx=1", "", true),
            ("dtx-recv=1", "dtx=0", false),
        ] {
            assert_eq!(control(fmtp, 8000, 0, options).is_discontinuous(), expected, "{fmtp:?} {options:?}");
        }
        for options in ["speed=1", "CMR-interval=x"] {
            assert!(RateControl::new(Parameters::parse(""), 8000, 0, true, options).is_err(), "{options}");
        }
    }
}
