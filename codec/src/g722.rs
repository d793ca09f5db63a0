//! G.722 at 64 kbit/s: 16 kHz audio with an RTP clock of 8000 (RFC 3551 §4.5.2).

use crate::def::{CodecDef, FmtpRule};
use crate::framed::Framed;

pub(crate) const G722: CodecDef = CodecDef {
    name: "G722",
    sample_rate_factor: 2,
    static_payload_type: Some(9),
    fmtp_rule: FmtpRule::Ignored,
    silence_octet: Some(0xfa),
    family: &WIDEBAND,
    ..CodecDef::NARROWBAND
};

static WIDEBAND: Framed =
    Framed { encoder: "g722", decoder: "g722", sample_rate: 16_000, ..Framed::NARROWBAND };
