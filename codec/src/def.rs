//! The codec registry: one definition per encoding name.
//!
//! A codec that is implemented here keeps its definition in its own file; this table only says in which
//! order they are listed.

use std::fmt::Write;
use std::sync::{LazyLock, OnceLock};

use crate::coder::{Family, Missing, Origin, Supplemental};
use crate::self_test::{self, Ability};
use crate::{
    amr, evrc, evs, g711, g722, g723, g726, g729, gsm, ilbc, l16, music, opus, pcm_u8, qcelp, speex,
};

/// What a payload type carries, as far as negotiation is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Ordinary audio.
    Audio,
    /// Ordinary video (passed through only).
    Video,
    /// RFC 4733 named events.
    TelephoneEvent,
    /// RFC 3389 comfort noise.
    ComfortNoise,
    /// RFC 2198 redundancy (passed through only).
    Redundant,
}

impl Kind {
    /// Companion types that stand behind the ordinary codecs and follow their clock rate.
    pub fn is_supplemental(self) -> bool {
        matches!(self, Kind::TelephoneEvent | Kind::ComfortNoise | Kind::Redundant)
    }
}

/// How the format parameters of two payload types decide whether they are the same codec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FmtpRule {
    /// Parameters do not matter (PCMU, PCMA, G722, G729, opus, telephone-event, CN, red).
    Ignored,
    /// RFC 4867 rules (AMR, AMR-WB).
    Amr,
    /// EVS rules.
    Evs,
    /// The text must be identical (iLBC, G723, GSM, speex, L16 …).
    Identical,
}

/// One codec as the table of `--codecs` lists it.
#[derive(Debug)]
pub struct CodecDef {
    /// Encoding name in its registered spelling (RFC 3551, RFC 4855); matched without case.
    pub name: &'static str,
    /// What it carries.
    pub kind: Kind,
    /// RTP clock rate in Hz; 0 when the table has none.
    pub clock_rate: u32,
    /// Audio sample rate = `clock_rate × sample_rate_factor` (2 for G722, RFC 3551 §4.5.2).
    pub sample_rate_factor: u32,
    /// Channels; 0 when the table has none.
    pub channels: u8,
    /// Static payload type (RFC 3551 §6), if there is one.
    pub static_payload_type: Option<u8>,
    /// Packet time used when nothing was negotiated, in ms; 0 when there is none.
    pub default_ptime_ms: u16,
    /// Smallest packet time that the encoder can make, in ms; 0 when any.
    pub min_ptime_ms: u16,
    /// Encoder bit rate when none was asked for, in bit/s; 0 when the codec has only one.
    pub default_bitrate_bps: u32,
    /// Format parameters printed when we add the codec to an SDP.
    pub default_fmtp: &'static str,
    /// Comparison rule.
    pub fmtp_rule: FmtpRule,
    /// Octet that fills a payload of silence (PCMU, PCMA, G722), where one octet does.
    pub silence_octet: Option<u8>,
    /// Who makes the coders.
    pub(crate) family: &'static dyn Family,
}

/// The definition for an encoding name, any case.
pub fn by_name(name: &str) -> Option<&'static CodecDef> {
    // Asked many times for each offer: names of the same length are compared as numbers.
    let folded = folded(name)?;
    let mut candidates = BY_LENGTH.get(name.len())?.iter();
    candidates.find(|(key, _)| *key == folded).map(|(_, def)| *def)
}

/// Definitions by the length of their names, each with its name folded.
static BY_LENGTH: LazyLock<Vec<Vec<(u128, &'static CodecDef)>>> = LazyLock::new(|| {
    let longest = ALL.iter().map(|def| def.name.len()).max().unwrap_or(0);
    let of = |length| ALL.iter().filter(move |def| def.name.len() == length);
    (0..=longest)
        .map(|length| of(length).filter_map(|def| Some((folded(def.name)?, def))).collect())
        .collect()
});

/// A number that is equal for names of one length that only differ in case, if at all. `None` above sixteen octets, which no name of ours has.
fn folded(name: &str) -> Option<u128> {
    let mut octets = [0_u8; 16];
    if name.len() > octets.len() {
        return None;
    }
    // Octet by octet: names are short, and a copy of unknown length is a call.
    for (to, from) in octets.iter_mut().zip(name.bytes()) {
        *to = from.to_ascii_lowercase();
    }
    Some(u128::from_le_bytes(octets))
}

/// The static payload types of RFC 3551 §6, also those without a codec here: (name, clock rate, channels).
pub fn static_payload_type(pt: u8) -> Option<(&'static str, u32, u8)> {
    Some(match pt {
        0 => ("PCMU", 8000, 1),
        3 => ("GSM", 8000, 1),
        4 => ("G723", 8000, 1),
        5 => ("DVI4", 8000, 1),
        6 => ("DVI4", 16_000, 1),
        7 => ("LPC", 8000, 1),
        8 => ("PCMA", 8000, 1),
        9 => ("G722", 8000, 1),
        10 => ("L16", 44_100, 2),
        11 => ("L16", 44_100, 1),
        12 => ("QCELP", 8000, 1),
        13 => ("CN", 8000, 1),
        14 => ("MPA", 90_000, 1),
        15 => ("G728", 8000, 1),
        16 => ("DVI4", 11_025, 1),
        17 => ("DVI4", 22_050, 1),
        18 => ("G729", 8000, 1),
        25 => ("CelB", 90_000, 1),
        26 => ("JPEG", 90_000, 1),
        28 => ("nv", 90_000, 1),
        31 => ("H261", 90_000, 1),
        32 => ("MPV", 90_000, 1),
        33 => ("MP2T", 90_000, 1),
        34 => ("H263", 90_000, 1),
        _ => return None,
    })
}

/// All definitions in the order of the `--codecs` listing.
pub fn all() -> &'static [CodecDef] {
    &ALL
}

/// The text of `--codecs`: one line per definition, name right-aligned in 20 columns.
pub fn listing() -> String {
    let mut text = String::new();
    for def in all() {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{:>20}: {}", def.name, def.status());
    }
    text
}

impl CodecDef {
    /// An encoder exists in this build on this machine, and has passed its self-test.
    pub fn can_encode(&self) -> bool {
        self.ability().encode
    }

    /// A decoder exists in this build on this machine, and has passed its self-test.
    pub fn can_decode(&self) -> bool {
        self.ability().decode
    }

    /// What implements it.
    pub fn origin(&self) -> Origin {
        self.family.origin()
    }

    /// The self-test's verdict; the first who asks waits for it.
    fn ability(&self) -> Ability {
        static ABILITIES: [OnceLock<Ability>; ALL.len()] = [const { OnceLock::new() }; ALL.len()];
        let offset = std::ptr::from_ref(self).addr().wrapping_sub(ALL.as_ptr().addr());
        match ABILITIES.get(offset / size_of::<Self>()) {
            Some(ability) => *ability.get_or_init(|| self_test::examine(self)),
            None => self_test::examine(self),
        }
    }

    /// What `--codecs` says about it.
    pub fn status(&self) -> &'static str {
        match (self.can_encode(), self.can_decode()) {
            (true, true) if self.clock_rate == 0 || self.channels == 0 => {
                "codec supported but lacks RTP definition"
            }
            (true, true) => "fully supported",
            (false, true) => "supported for decoding only",
            (true, false) => "supported for encoding only",
            (false, false) => "not supported",
        }
    }

    /// Mono audio at 8000 Hz in packets of 20 ms, for the definitions to start from.
    pub(crate) const NARROWBAND: CodecDef = CodecDef {
        name: "",
        kind: Kind::Audio,
        clock_rate: 8000,
        sample_rate_factor: 1,
        channels: 1,
        static_payload_type: None,
        default_ptime_ms: 20,
        min_ptime_ms: 0,
        default_bitrate_bps: 0,
        default_fmtp: "",
        fmtp_rule: FmtpRule::Identical,
        silence_octet: None,
        family: &Missing,
    };

    /// Audio without an RTP definition.
    pub(crate) const NO_RTP: CodecDef =
        CodecDef { clock_rate: 0, channels: 0, default_ptime_ms: 0, ..CodecDef::NARROWBAND };

    const SUPPLEMENTAL: CodecDef = CodecDef {
        default_ptime_ms: 0,
        fmtp_rule: FmtpRule::Ignored,
        family: &Supplemental,
        ..CodecDef::NARROWBAND
    };

    const fn no_rtp(name: &'static str) -> CodecDef {
        CodecDef { name, ..Self::NO_RTP }
    }
}

static ALL: [CodecDef; 37] = [
    music::MP3,
    pcm_u8::PCM_U8,
    l16::L16,
    l16::X_L16,
    g726::G726_16,
    g726::G726_24,
    g726::G726_32,
    g726::G726_40,
    CodecDef {
        name: "telephone-event",
        kind: Kind::TelephoneEvent,
        default_fmtp: "0-15",
        ..CodecDef::SUPPLEMENTAL
    },
    CodecDef {
        name: "CN",
        kind: Kind::ComfortNoise,
        static_payload_type: Some(13),
        default_ptime_ms: 20,
        ..CodecDef::SUPPLEMENTAL
    },
    CodecDef { name: "red", kind: Kind::Redundant, ..CodecDef::SUPPLEMENTAL },
    amr::AMR,
    amr::AMR_WB,
    evrc::EVRC,
    evrc::EVRC0,
    evrc::EVRC1,
    CodecDef { name: "ATRAC3", default_ptime_ms: 20, ..CodecDef::NO_RTP },
    CodecDef { name: "ATRAC-X", default_ptime_ms: 20, ..CodecDef::NO_RTP },
    music::AC3,
    music::EAC3,
    CodecDef::no_rtp("vorbis"),
    evs::EVS,
    opus::OPUS,
    ilbc::ILBC,
    gsm::GSM,
    speex::SPEEX,
    g729::G729,
    g729::G729A,
    qcelp::QCELP,
    g722::G722,
    g723::G723,
    g711::PCMA,
    g711::PCMU,
    // Beside the documented table.
    g726::AAL2_G726_16,
    g726::AAL2_G726_24,
    g726::AAL2_G726_32,
    g726::AAL2_G726_40,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listing_keeps_order_and_columns() {
        let text = listing();
        let names: Vec<&str> = text.lines().map(|line| line[..20].trim_start()).collect();
        assert_eq!(
            names,
            [
                "MP3",
                "PCM-U8",
                "L16",
                "X-L16",
                "G726-16",
                "G726-24",
                "G726-32",
                "G726-40",
                "telephone-event",
                "CN",
                "red",
                "AMR",
                "AMR-WB",
                "EVRC",
                "EVRC0",
                "EVRC1",
                "ATRAC3",
                "ATRAC-X",
                "ac3",
                "eac3",
                "vorbis",
                "EVS",
                "opus",
                "iLBC",
                "GSM",
                "speex",
                "G729",
                "G729a",
                "QCELP",
                "G722",
                "G723",
                "PCMA",
                "PCMU",
                "AAL2-G726-16",
                "AAL2-G726-24",
                "AAL2-G726-32",
                "AAL2-G726-40"
            ]
        );
        for line in [
            "                PCMU: fully supported",
            "                 L16: fully supported",
            "     telephone-event: fully supported",
            "                opus: fully supported",
            "                 EVS: not supported",
        ] {
            assert!(text.lines().any(|l| l == line), "{line:?} in\n{text}");
        }
        assert!(text.ends_with('\n'));
    }

    #[test]
    fn names_are_found_in_any_case_and_are_unique() {
        for def in all() {
            let found = by_name(&def.name.to_ascii_lowercase()).unwrap();
            assert!(std::ptr::eq(found, def), "{}", def.name);
        }
        assert!(by_name("nonsense").is_none());
    }

    #[test]
    fn static_payload_types_follow_rfc_3551() {
        let cases = [
            (0, Some(("PCMU", 8000, 1))),
            (9, Some(("G722", 8000, 1))),
            (10, Some(("L16", 44_100, 2))),
            (11, Some(("L16", 44_100, 1))),
            (34, Some(("H263", 90_000, 1))),
            (1, None),
            (35, None),
            (96, None),
        ];
        for (pt, expected) in cases {
            assert_eq!(static_payload_type(pt), expected, "{pt}");
        }
        for def in all() {
            let Some(pt) = def.static_payload_type else { continue };
            let (name, clock_rate, _) = static_payload_type(pt).unwrap();
            assert!(def.name.starts_with(name) && def.clock_rate == clock_rate, "{}", def.name);
        }
    }
}
