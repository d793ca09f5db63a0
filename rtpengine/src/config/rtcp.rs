//! Options about RTCP and what it says about quality.

use std::time::Duration;

use service::options::Settings;

/// `rtcp-interval`, `mos`, `measure-rtp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtcpConfig {
    /// Base interval of generated RTCP.
    pub interval: Duration,
    /// How mean opinion scores are estimated.
    pub mos: Mos,
    /// Packets that pass are measured as well.
    pub measure: bool,
}

/// `mos`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mos {
    /// Listening quality, for which the round-trip time does not matter; else conversational quality.
    pub is_listening: bool,
    pub model: MosModel,
}

/// How loss, jitter and delay become a rating.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MosModel {
    /// ITU-T G.107, simplified.
    #[default]
    Simplified,
    /// G.107.2 for full-band codecs, [`Self::Simplified`] for others.
    FullBand,
    Legacy,
}

const INTERVAL: Duration = Duration::from_secs(5);

impl Default for RtcpConfig {
    fn default() -> Self {
        Self { interval: INTERVAL, mos: Mos::default(), measure: false }
    }
}

impl RtcpConfig {
    /// The words of `mos` have been checked.
    pub fn from_settings(settings: &Settings) -> Self {
        let interval = u64::try_from(settings.int("rtcp-interval")).ok().filter(|&ms| ms > 0);
        Self {
            interval: interval.map_or(INTERVAL, Duration::from_millis),
            measure: settings.flag("measure-rtp"),
            mos: mos(settings.list("mos").iter().map(String::as_str)),
        }
    }
}

/// The last word of a kind counts.
fn mos<'a>(words: impl Iterator<Item = &'a str>) -> Mos {
    let mut mos = Mos::default();
    for word in words {
        match word.to_ascii_uppercase().as_str() {
            "CQ" => mos.is_listening = false,
            "LQ" => mos.is_listening = true,
            "LEGACY" => mos.model = MosModel::Legacy,
            "G.107" | "G107" => mos.model = MosModel::Simplified,
            _ => mos.model = MosModel::FullBand,
        }
    }
    mos
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_mos_combine() {
        let of = |words: &[&str]| mos(words.iter().copied());
        assert_eq!(of(&[]), Mos::default());
        assert_eq!(of(&["lq"]), Mos { is_listening: true, model: MosModel::Simplified });
        assert_eq!(of(&["LQ", "g1072"]), Mos { is_listening: true, model: MosModel::FullBand });
        assert_eq!(of(&["legacy", "CQ"]), Mos { is_listening: false, model: MosModel::Legacy });
        assert_eq!(of(&["G.107.2", "G.107"]), Mos::default(), "documented, and not the legacy formula");
    }
}
