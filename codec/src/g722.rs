//! G.722 at 64 kbit/s: 16 kHz audio with an RTP clock of 8000 (RFC 3551 §4.5.2).

use std::sync::LazyLock;

use crate::def::{CodecDef, FmtpRule};
use crate::framed::{Framed, Names, available, whole_payload};

pub(crate) const G722: CodecDef = CodecDef {
    name: "G722",
    sample_rate_factor: 2,
    static_payload_type: Some(9),
    fmtp_rule: FmtpRule::Ignored,
    silence_octet: Some(0xfa),
    family: &WIDEBAND,
    ..CodecDef::NARROWBAND
};

const NAMES: Names = ("g722", "g722");

static WIDEBAND: Framed = Framed {
    names: NAMES,
    available: LazyLock::new(|| available(NAMES)),
    sample_rate: 16_000,
    frame: whole_payload,
    frame_samples: None,
    bitrate_bps: 0,
    bits_per_sample: 0,
};
