//! The format parameters of EVS (3GPP TS 26.445, annex A.3.1), as the party gave them for itself.

use std::ops::RangeInclusive;

use super::rate::{Aware, Bandwidth, PRIMARY_BPS};
use crate::amr::{Band, ModeSet};
use crate::fmtp::{parameter, parameters};

/// Indices of [`PRIMARY_BPS`].
pub(super) type Rates = RangeInclusive<u8>;

/// What the party wants and will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parameters {
    /// `hf-only=1`
    pub(super) header_full_only: bool,
    /// `evs-mode-switch=1`: the session begins in AMR-WB IO mode.
    pub(super) starts_in_io: bool,
    /// `cmr`: −1 (never), 0, 1 (in every packet).
    pub(super) requests: i8,
    /// Whether it takes silence that is not sent: `dtx-recv`, `dtx`; `None` when it does not say.
    pub(super) takes_silence: Option<bool>,
    /// `br-recv`, `br`
    pub(super) receives: Rates,
    /// `br-send`, `br`
    pub(super) sends: Rates,
    /// `bw-recv`, `bw`
    pub(super) hears: RangeInclusive<Bandwidth>,
    /// `bw-send`, `bw`
    pub(super) says: RangeInclusive<Bandwidth>,
    /// `ch-recv` has a mono signal among what it takes.
    pub(super) takes_mono: bool,
    /// `ch-aw-recv`: `None` when the channel-aware mode must not be sent to it.
    pub(super) aware: Option<AwareWish>,
    /// `mode-set`
    pub(super) io_modes: ModeSet,
    /// `mode-change-period`: 1 or 2 frames.
    pub(super) period: u32,
    /// `mode-change-neighbor=1`
    pub(super) neighbour: bool,
}

/// When the channel-aware mode is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AwareWish {
    /// When the party asks for it.
    OnRequest,
    /// From the beginning.
    AtOnce(Aware),
}

impl Parameters {
    /// Never fails: what cannot be read is as if it were not there.
    pub(super) fn parse(fmtp: &str) -> Self {
        let on = |key| parameter(fmtp, key) == Some("1");
        let number = |key| parameter(fmtp, key).and_then(|value| value.parse::<i8>().ok());
        let flag = |key| match parameter(fmtp, key) {
            Some("0") => Some(false),
            Some("1") => Some(true),
            _ => None,
        };
        // Without direction, it is for both; neither restricts the other.
        let rates = |directed| {
            let value = parameter(fmtp, directed).or_else(|| parameter(fmtp, "br"));
            value.and_then(bit_rates).unwrap_or(0..=PRIMARY_BPS.len() as u8 - 1)
        };
        let bandwidths = |directed| {
            let value = parameter(fmtp, directed).or_else(|| parameter(fmtp, "bw"));
            value.and_then(bandwidth_range).unwrap_or(Bandwidth::Narrow..=Bandwidth::Full)
        };
        let takes_silence = match (flag("dtx"), flag("dtx-recv")) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (Some(true), _) | (_, Some(true)) => Some(true),
            (None, None) => None,
        };
        Self {
            header_full_only: on("hf-only"),
            starts_in_io: on("evs-mode-switch"),
            requests: number("cmr").unwrap_or(0).clamp(-1, 1),
            takes_silence,
            receives: rates("br-recv"),
            sends: rates("br-send"),
            hears: bandwidths("bw-recv"),
            says: bandwidths("bw-send"),
            takes_mono: takes_mono(fmtp),
            aware: match number("ch-aw-recv") {
                Some(-1) => None,
                Some(offset @ (2 | 3 | 5 | 7)) => {
                    Some(AwareWish::AtOnce(Aware { offset: offset as u8, many_errors: true }))
                }
                _ => Some(AwareWish::OnRequest),
            },
            io_modes: ModeSet::parse(Band::Wide, fmtp),
            period: number("mode-change-period").map_or(1, |period| period.clamp(1, 2) as u32),
            neighbour: on("mode-change-neighbor"),
        }
    }
}

/// `13.2` or `5.9-24.4`, in kbit/s; `None` when no bit rate of the codec is in it.
fn bit_rates(value: &str) -> Option<Rates> {
    let (low, high) = value.split_once('-').unwrap_or((value, value));
    let bps = |kbps: &str| {
        kbps.trim().parse().ok().filter(|kbps: &f64| *kbps > 0.0).map(|kbps| kbps * 1000.0 + 0.5)
    };
    // Saturates.
    let (low, high) = (bps(low)? as u32, bps(high)? as u32);
    let within = |bps: &u32| (low..=high).contains(bps);
    let first = PRIMARY_BPS.iter().position(within)?;
    let last = PRIMARY_BPS.iter().rposition(within)?;
    Some(first as u8..=last as u8)
}

/// `wb` or `nb-swb`.
fn bandwidth_range(value: &str) -> Option<RangeInclusive<Bandwidth>> {
    let (low, high) = value.split_once('-').unwrap_or((value, value));
    let (low, high) = (Bandwidth::parse(low)?, Bandwidth::parse(high)?);
    (low <= high).then_some(low..=high)
}

/// Numbers of channels are lists and ranges; one is what is meant without them.
fn takes_mono(fmtp: &str) -> bool {
    parameter(fmtp, "ch-recv").is_none_or(|list| {
        let mut numbers =
            list.split([',', '-']).map(str::trim).filter(|number| !number.is_empty()).peekable();
        numbers.peek().is_none() || numbers.any(|number| number == "1")
    })
}

/// What we answer to a party with these parameters: it sends what we receive, and the other way about. All others mean both.
pub fn answer(fmtp: &str) -> String {
    let is_directed =
        |key: &str| ["-send", "-recv"].iter().any(|end| key.to_ascii_lowercase().ends_with(end));
    if !parameters(fmtp).any(|(key, _)| is_directed(key)) {
        return fmtp.into();
    }
    let mut text = String::with_capacity(fmtp.len());
    for (key, value) in parameters(fmtp).filter(|part| *part != ("", "")) {
        let swapped = match key.to_ascii_lowercase().as_str() {
            "br-send" => "br-recv",
            "br-recv" => "br-send",
            "bw-send" => "bw-recv",
            "bw-recv" => "bw-send",
            "ch-send" => "ch-recv",
            "ch-recv" => "ch-send",
            _ => key,
        };
        if !text.is_empty() {
            text.push(';');
        }
        text.push_str(swapped);
        if !value.is_empty() {
            text.push('=');
            text.push_str(value);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bit_rates_and_bandwidths_go_by_direction() {
        let parsed = Parameters::parse("br=5.9-13.2; br-send=24.4;bw=nb-swb;bw-recv=wb");
        assert_eq!((parsed.receives, parsed.sends), (0..=4, 6..=6));
        assert_eq!(
            (parsed.hears, parsed.says),
            (Bandwidth::Wide..=Bandwidth::Wide, Bandwidth::Narrow..=Bandwidth::SuperWide)
        );
        for (text, expected) in [
            ("br=8", 2..=2),
            ("br=8.0-48", 2..=8),
            ("br=6.0-6.5", 0..=11),
            ("br=128-8", 0..=11),
            ("br=nan-inf", 0..=11),
            ("bw=fb-nb", 0..=11),
        ] {
            assert_eq!(Parameters::parse(text).receives, expected, "{text}");
            assert_eq!(Parameters::parse(text).hears, Bandwidth::Narrow..=Bandwidth::Full, "{text}");
        }
    }

    #[test]
    fn the_other_parameters_are_read() {
        let plain = Parameters::parse("");
        assert!(!plain.header_full_only && !plain.starts_in_io && plain.requests == 0 && plain.takes_mono);
        assert_eq!((plain.takes_silence, plain.aware), (None, Some(AwareWish::OnRequest)));
        assert_eq!((plain.io_modes.below(16), plain.period, plain.neighbour), (Some(8), 1, false));
        let all = Parameters::parse(
            "hf-only=1; evs-mode-switch=1; cmr=-1; dtx=1; dtx-recv=0; ch-recv=2-4; ch-aw-recv=3; max-red=20; \
             mode-set=0,2,8,9; mode-change-period=2; mode-change-neighbor=1",
        );
        assert!(all.header_full_only && all.starts_in_io && all.requests == -1 && !all.takes_mono);
        assert_eq!(all.takes_silence, Some(false));
        assert_eq!(all.aware, Some(AwareWish::AtOnce(Aware { offset: 3, many_errors: true })));
        let modes: Vec<u8> = (0..16).filter(|&mode| all.io_modes.contains(mode)).collect();
        assert_eq!((modes.as_slice(), all.period, all.neighbour), (&[0, 2, 8][..], 2, true));
        assert_eq!(Parameters::parse("ch-aw-recv=-1").aware, None);
        assert_eq!(Parameters::parse("dtx-recv=1").takes_silence, Some(true));
    }

    #[test]
    fn an_answer_swaps_the_directions() {
        let theirs = "br-send=13.2; BR-RECV=5.9-24.4;bw=nb-wb; cmr=1;x";
        assert_eq!(answer(theirs), "br-recv=13.2;br-send=5.9-24.4;bw=nb-wb;cmr=1;x");
        assert_eq!(answer(""), "");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "((br|bw|br-send|bw-recv|ch-recv|mode-set|cmr|mode-change-period)=[-0-9a-z.,]{0,9};?){0,5}") {
            let parsed = Parameters::parse(&text);
            prop_assert!(parsed.receives.start() <= parsed.receives.end());
            prop_assert!(parsed.hears.start() <= parsed.hears.end());
            prop_assert!(parsed.io_modes.below(9).is_some());
        }
    }
}
