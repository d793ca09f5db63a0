//! The codec table with abilities that do not depend on the libraries of the machine: everything but iLBC.

use codec::def::{self, CodecDef};

use crate::negotiate::codecs::Registry;

pub const TEST: Registry =
    Registry { can_encode: |def| is_usable(def) && def.name != "iLBC", can_decode: is_usable };

fn is_usable(def: &CodecDef) -> bool {
    const NAMES: [&str; 13] = [
        "PCMA", "PCMU", "G722", "G723", "G729", "G729a", "GSM", "opus", "speex", "iLBC", "AMR", "AMR-WB",
        "L16",
    ];
    NAMES.contains(&def.name)
}

/// The rtpmap of a static number.
pub fn static_map(payload_type: u8) -> String {
    let (name, clock_rate, channels) = def::static_payload_type(payload_type).unwrap_or_default();
    if channels > 1 { format!("{name}/{clock_rate}/{channels}") } else { format!("{name}/{clock_rate}") }
}
