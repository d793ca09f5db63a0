//! QCELP, also called PureVoice (RFC 2658), for decoding: a header octet and frames that begin with their rate.

use crate::def::CodecDef;
use crate::framed::Framed;

/// The table gives no channel count; the clock rate is the one of payload type 12.
pub(crate) const QCELP: CodecDef = CodecDef {
    name: "QCELP",
    channels: 0,
    static_payload_type: Some(12),
    min_ptime_ms: 20,
    family: &DECODER,
    ..CodecDef::NARROWBAND
};

static DECODER: Framed = Framed {
    decoder: "qcelp",
    header_octets: 1,
    frame: |payload| {
        Some(match payload.first()? {
            0 | 14 => 1,
            1 => 4,
            2 => 8,
            3 => 17,
            4 => 35,
            _ => return None,
        })
    },
    samples_of_payloads: &[(&[0, 1, 0x5a, 0x5a, 0x5a], 160)],
    ..Framed::NARROWBAND
};
