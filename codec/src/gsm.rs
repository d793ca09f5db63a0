//! GSM 06.10 full rate: 33 octets for 20 ms (RFC 3551 §4.5.8.1).

use std::sync::LazyLock;

use crate::def::CodecDef;
use crate::framed::{Framed, Names, available};

pub(crate) const GSM: CodecDef = CodecDef {
    name: "GSM",
    static_payload_type: Some(3),
    min_ptime_ms: 20,
    family: &FULL_RATE,
    ..CodecDef::NARROWBAND
};

const NAMES: Names = ("libgsm", "gsm");

static FULL_RATE: Framed = Framed {
    names: NAMES,
    available: LazyLock::new(|| available(NAMES)),
    sample_rate: 8000,
    frame: |payload| (!payload.is_empty()).then_some(33),
    frame_samples: Some(160),
    bitrate_bps: 0,
    bits_per_sample: 0,
};
