//! Format parameters (`a=fmtp`): splitting, comparing, and the ones of Opus (RFC 7587 §6.1).

use std::fmt;

use crate::def::FmtpRule;
use crate::format::PayloadFormat;

/// The `key=value` parameters of an fmtp text; blanks are trimmed, a part without `=` has an empty value.
pub fn parameters(fmtp: &str) -> impl Iterator<Item = (&str, &str)> {
    fmtp.split(';').map(str::trim).filter(|part| !part.is_empty()).map(|part| match part.split_once('=') {
        Some((key, value)) => (key.trim_end(), value.trim_start()),
        None => (part, ""),
    })
}

/// The value of the first parameter with that key, any case.
pub fn parameter<'a>(fmtp: &'a str, key: &str) -> Option<&'a str> {
    parameters(fmtp).find(|(k, _)| k.eq_ignore_ascii_case(key)).map(|(_, value)| value)
}

/// Two payload types are the same codec with compatible parameters.
pub fn formats_compatible(a: &PayloadFormat, b: &PayloadFormat) -> bool {
    if !a.same_codec(b) {
        return false;
    }
    match a.def().map_or(FmtpRule::Identical, |def| def.fmtp_rule) {
        FmtpRule::Ignored => true,
        FmtpRule::Identical => a.fmtp.trim() == b.fmtp.trim(),
        FmtpRule::Amr => amr_compatible(&a.fmtp, &b.fmtp),
        FmtpRule::Evs => evs_compatible(&a.fmtp, &b.fmtp),
    }
}

/// RFC 4867 §8.3.1: payload layouts are equal; of two mode sets the broader accepts the narrower.
fn amr_compatible(a: &str, b: &str) -> bool {
    let layout = |fmtp: &str| {
        let on = |key| parameter(fmtp, key) == Some("1");
        let interleaving = parameter(fmtp, "interleaving").map(str::to_owned);
        let (crc, sorting) = (on("crc"), on("robust-sorting"));
        (on("octet-align") || crc || sorting || interleaving.is_some(), crc, sorting, interleaving)
    };
    layout(a) == layout(b) && mode_sets_nest(mode_set(a), mode_set(b))
}

/// Bit n stands for mode n; all bits without a (readable) `mode-set`.
fn mode_set(fmtp: &str) -> u16 {
    let Some(list) = parameter(fmtp, "mode-set") else { return u16::MAX };
    let modes = list.split(',').filter_map(|m| m.trim().parse::<u32>().ok()).filter(|&m| m < 16);
    let set = modes.fold(0, |set, mode| set | 1 << mode);
    if set == 0 { u16::MAX } else { set }
}

fn mode_sets_nest(a: u16, b: u16) -> bool {
    a & b == a || a & b == b
}

/// Equal header format and operation mode; bit rates and bandwidths have something in common.
fn evs_compatible(a: &str, b: &str) -> bool {
    let flag = |fmtp, key| parameter(fmtp, key).unwrap_or("0") == "1";
    let equal = |key| flag(a, key) == flag(b, key);
    let common = |key, scale: fn(&str) -> Option<u32>| match (
        parameter(a, key).and_then(|v| range(v, scale)),
        parameter(b, key).and_then(|v| range(v, scale)),
    ) {
        (Some(x), Some(y)) => x.0 <= y.1 && y.0 <= x.1,
        _ => true,
    };
    equal("hf-only")
        && equal("evs-mode-switch")
        && common("br", |v| v.parse::<f64>().ok().map(|kbps| (kbps * 1000.0) as u32))
        && common("bw", |v| ["nb", "wb", "swb", "fb"].iter().position(|&b| b == v).map(|p| p as u32))
        && mode_sets_nest(mode_set(a), mode_set(b))
}

fn range(value: &str, scale: fn(&str) -> Option<u32>) -> Option<(u32, u32)> {
    let (low, high) = value.split_once('-').unwrap_or((value, value));
    let (low, high) = (scale(low.trim())?, scale(high.trim())?);
    (low <= high).then_some((low, high))
}

/// Parameters of Opus; unknown keys and unreadable values are dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpusFmtp {
    /// The sender of the SDP prefers to receive stereo.
    pub stereo: Option<bool>,
    /// The sender of the SDP is likely to send stereo.
    pub sprop_stereo: Option<bool>,
    /// Its decoder can use in-band forward error correction.
    pub useinbandfec: Option<bool>,
    /// It prefers discontinuous transmission.
    pub usedtx: Option<bool>,
    /// It prefers constant bit rate.
    pub cbr: Option<bool>,
    /// Highest sample rate it plays, in Hz.
    pub maxplaybackrate: Option<u32>,
    /// Highest average bit rate it wants, in bit/s.
    pub maxaveragebitrate: Option<u32>,
    /// Highest sample rate it captures, in Hz.
    pub sprop_maxcapturerate: Option<u32>,
    /// Smallest packet time it wants, in ms.
    pub minptime: Option<u32>,
}

impl OpusFmtp {
    /// Reads an fmtp text; never fails.
    pub fn parse(fmtp: &str) -> Self {
        let mut parsed = Self::default();
        for (key, value) in parameters(fmtp) {
            let flag = match value {
                "0" => Some(false),
                "1" => Some(true),
                _ => None,
            };
            let number = value.parse().ok();
            match key.to_ascii_lowercase().as_str() {
                "stereo" => parsed.stereo = flag,
                "sprop-stereo" => parsed.sprop_stereo = flag,
                "useinbandfec" => parsed.useinbandfec = flag,
                "usedtx" => parsed.usedtx = flag,
                "cbr" => parsed.cbr = flag,
                "maxplaybackrate" => parsed.maxplaybackrate = number,
                "maxaveragebitrate" => parsed.maxaveragebitrate = number,
                "sprop-maxcapturerate" => parsed.sprop_maxcapturerate = number,
                "minptime" => parsed.minptime = number,
                _ => {}
            }
        }
        parsed
    }

    /// What we answer to a peer with these parameters: send and receive change places, `stereo` follows the
    /// source's channels if the peer left it open, error correction unless refused, none of the limits.
    pub fn answer(&self, source_channels: Option<u8>) -> Self {
        let by_source = source_channels.map(|channels| channels > 1);
        Self {
            stereo: self.sprop_stereo.or(by_source),
            sprop_stereo: self.stereo.or(by_source),
            useinbandfec: Some(self.useinbandfec.unwrap_or(true)),
            ..Self::default()
        }
    }
}

/// The keys in the customary order, joined with `; `; empty when none is set.
impl fmt::Display for OpusFmtp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flag = |value: Option<bool>| value.map(u32::from);
        let entries = [
            ("stereo", flag(self.stereo)),
            ("sprop-stereo", flag(self.sprop_stereo)),
            ("useinbandfec", flag(self.useinbandfec)),
            ("usedtx", flag(self.usedtx)),
            ("cbr", flag(self.cbr)),
            ("maxplaybackrate", self.maxplaybackrate),
            ("maxaveragebitrate", self.maxaveragebitrate),
            ("sprop-maxcapturerate", self.sprop_maxcapturerate),
            ("minptime", self.minptime),
        ];
        let set = entries.iter().filter_map(|(key, value)| value.map(|value| (key, value)));
        for (index, (key, value)) in set.enumerate() {
            write!(f, "{}{key}={value}", if index == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn opus_parameters_are_reprinted_in_order_without_unknown_keys() {
        let cases = [
            (
                "maxplaybackrate=16000; sprop-maxcapturerate=16000; stereo=0; cbr=1; usedtx=1; unknownparam=3",
                "stereo=0; usedtx=1; cbr=1; maxplaybackrate=16000; sprop-maxcapturerate=16000",
            ),
            ("minptime=10;useinbandfec=1", "useinbandfec=1; minptime=10"),
            ("x=1", ""),
            ("", ""),
        ];
        for (input, expected) in cases {
            assert_eq!(OpusFmtp::parse(input).to_string(), expected, "{input:?}");
        }
    }

    #[test]
    fn formats_compare_by_their_codecs_rule() {
        let cases = [
            ("PCMU", "a=1", "", true),
            ("iLBC", "mode=20", "mode=20", true),
            ("iLBC", "mode=20", "mode=30", false),
            ("AMR", "octet-align=1", "crc=1;octet-align=1", false),
            ("AMR", "octet-align=1; mode-change-period=2", "octet-align=1", true),
            ("AMR", "", "octet-align=1", false),
            ("AMR", "robust-sorting=1", "octet-align=1;robust-sorting=1", true),
            ("AMR", "mode-set=0,2", "mode-set=0,2,4,7", true),
            ("AMR", "mode-set=0,3", "mode-set=0,2,4,7", false),
            ("AMR", "mode-set=0,3", "", true),
            ("EVS", "br=5.9-13.2", "br=13.2-24.4", true),
            ("EVS", "br=5.9", "br=13.2", false),
            ("EVS", "bw=nb-wb", "bw=swb", false),
            // What cannot be read is as if it were not there.
            ("EVS", "br=24.4-5.9", "br=13.2", true),
        ];
        for (name, a, b, expected) in cases {
            let format = |fmtp: &str| PayloadFormat::new(96, name, 8000, 1).with_fmtp(fmtp);
            assert_eq!(formats_compatible(&format(a), &format(b)), expected, "{name} {a:?} {b:?}");
            assert_eq!(formats_compatible(&format(b), &format(a)), expected, "{name} {b:?} {a:?}");
        }
        let other = PayloadFormat::new(96, "PCMU", 16_000, 1);
        assert!(!formats_compatible(&PayloadFormat::new(0, "PCMU", 8000, 1), &other));
    }

    #[test]
    fn answer_swaps_directions_and_leaves_out_limits() {
        let peer = OpusFmtp::parse("stereo=1;sprop-stereo=0;maxplaybackrate=16000");
        assert_eq!(peer.answer(Some(1)).to_string(), "stereo=0; sprop-stereo=1; useinbandfec=1");
        let open = OpusFmtp::parse("useinbandfec=0");
        assert_eq!(open.answer(Some(2)).to_string(), "stereo=1; sprop-stereo=1; useinbandfec=0");
    }

    proptest! {
        #[test]
        fn reprinted_parameters_are_stable(text in "[ -~]{0,60}", rate in any::<u32>()) {
            let parsed = OpusFmtp::parse(&format!("{text};maxplaybackrate={rate};stereo=1"));
            prop_assert_eq!(&OpusFmtp::parse(&parsed.to_string()), &parsed);
        }
    }
}
