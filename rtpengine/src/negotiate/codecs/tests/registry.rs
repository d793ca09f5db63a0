//! A codec table that does not depend on the libraries of the machine: no iLBC encoder, no video.

use codec::def::{CodecDef, FmtpRule, Kind};

use crate::negotiate::codecs::Registry;

pub const TEST: Registry = Registry { by_name, can_encode, can_decode: |def| def.kind == Kind::Audio };

fn can_encode(def: &CodecDef) -> bool {
    def.kind == Kind::Audio && def.name != "iLBC"
}

fn by_name(name: &str) -> Option<&'static CodecDef> {
    TABLE.iter().find(|def| def.name.eq_ignore_ascii_case(name))
}

const fn row(
    name: &'static str,
    kind: Kind,
    clock_rate: u32,
    channels: u8,
    static_payload_type: Option<u8>,
    default_fmtp: &'static str,
    fmtp_rule: FmtpRule,
) -> CodecDef {
    CodecDef {
        name,
        kind,
        clock_rate,
        sample_rate_factor: 1,
        channels,
        static_payload_type,
        default_ptime_ms: 20,
        min_ptime_ms: 0,
        default_bitrate_bps: 0,
        default_fmtp,
        fmtp_rule,
    }
}

static TABLE: [CodecDef; 16] = [
    row("PCMA", Kind::Audio, 8000, 1, Some(8), "", FmtpRule::Ignored),
    row("PCMU", Kind::Audio, 8000, 1, Some(0), "", FmtpRule::Ignored),
    row("G723", Kind::Audio, 8000, 1, Some(4), "", FmtpRule::Identical),
    row("G722", Kind::Audio, 8000, 1, Some(9), "", FmtpRule::Ignored),
    row("G729", Kind::Audio, 8000, 1, Some(18), "annexb=yes", FmtpRule::Ignored),
    row("G729a", Kind::Audio, 8000, 1, Some(18), "annexb=no", FmtpRule::Ignored),
    row("speex", Kind::Audio, 16_000, 1, None, "", FmtpRule::Identical),
    row("GSM", Kind::Audio, 8000, 1, Some(3), "", FmtpRule::Identical),
    row("iLBC", Kind::Audio, 8000, 1, None, "mode=30", FmtpRule::Identical),
    row("opus", Kind::Audio, 48_000, 2, None, "useinbandfec=1", FmtpRule::Ignored),
    row("AMR", Kind::Audio, 8000, 1, None, "octet-align=1;mode-change-capability=2", FmtpRule::Amr),
    row("AMR-WB", Kind::Audio, 16_000, 1, None, "octet-align=1;mode-change-capability=2", FmtpRule::Amr),
    row("L16", Kind::Audio, 44_100, 2, Some(10), "", FmtpRule::Identical),
    row("telephone-event", Kind::TelephoneEvent, 8000, 1, None, "0-15", FmtpRule::Ignored),
    row("CN", Kind::ComfortNoise, 8000, 1, Some(13), "", FmtpRule::Ignored),
    row("red", Kind::Redundant, 0, 0, None, "", FmtpRule::Ignored),
];

/// The rtpmap of the static numbers that the tests use.
pub fn static_map(payload_type: u8) -> &'static str {
    match payload_type {
        0 => "PCMU/8000",
        3 => "GSM/8000",
        4 => "G723/8000",
        8 => "PCMA/8000",
        9 => "G722/8000",
        13 => "CN/8000",
        18 => "G729/8000",
        25 => "CelB/90000",
        26 => "JPEG/90000",
        28 => "nv/90000",
        32 => "MPV/90000",
        33 => "MP2T/90000",
        31 => "H261/90000",
        34 => "H263/90000",
        _ => "/0",
    }
}
