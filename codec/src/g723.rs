//! G.723.1 (RFC 3551 §4.5.3): 24 octets for 30 ms at 6.3 kbit/s, 20 at 5.3 kbit/s, 4 of noise (Annex A), 1 where nothing was sent.
//!
//! The library encodes at 6.3 kbit/s only, which every decoder takes; the two lowest bits of a frame tell its kind.

use crate::def::CodecDef;
use crate::framed::Framed;

pub(crate) const G723: CodecDef = CodecDef {
    name: "G723",
    static_payload_type: Some(4),
    default_ptime_ms: 30,
    min_ptime_ms: 30,
    default_bitrate_bps: 6300,
    family: &CODER,
    ..CodecDef::NARROWBAND
};

static CODER: Framed = Framed {
    encoder: "g723_1",
    decoder: "g723_1",
    frame: |payload| Some([24, 20, 4, 1][usize::from(payload.first()? & 3)]),
    frame_samples: Some(240),
    bitrate_bps: 6300,
    ..Framed::NARROWBAND
};
