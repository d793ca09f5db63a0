//! GSM 06.10 full rate: 33 octets for 20 ms (RFC 3551 §4.5.8.1).

use crate::coder::Origin;
use crate::def::CodecDef;
use crate::framed::Framed;

pub(crate) const GSM: CodecDef = CodecDef {
    name: "GSM",
    static_payload_type: Some(3),
    min_ptime_ms: 20,
    family: &FULL_RATE,
    ..CodecDef::NARROWBAND
};

static FULL_RATE: Framed = Framed {
    encoder: "libgsm",
    decoder: "gsm",
    origin: Origin { implementation: "libgsm, libavcodec", licence: "TU-Berlin-2.0 AND LGPL-2.1-or-later" },
    frame: |_| Some(33),
    frame_samples: Some(160),
    ..Framed::NARROWBAND
};
