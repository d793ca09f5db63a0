//! Printing of format parameters: verbatim, but opus in canonical order (RFC 7587 §6.1).

use codec::PayloadFormat;
use codec::fmtp::OpusFmtp;
use smol_str::{SmolStr, ToSmolStr};

/// The text of `a=fmtp`; empty when no line is to be printed.
pub fn printed(format: &PayloadFormat) -> SmolStr {
    if format.name.eq_ignore_ascii_case("opus") {
        OpusFmtp::parse(&format.fmtp).to_smolstr()
    } else {
        format.fmtp.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opus_is_reprinted_in_canonical_order_and_others_verbatim() {
        for (name, fmtp, expected) in [
            (
                "opus",
                "useinbandfec=1;stereo=1;maxaveragebitrate=20000",
                "stereo=1; useinbandfec=1; maxaveragebitrate=20000",
            ),
            ("OPUS", "minptime=10; unknownparam=3;usedtx = 1;cbr=x", "usedtx=1; minptime=10"),
            ("opus", "foo=1", ""),
            ("AMR", "mode-set=0,2;x", "mode-set=0,2;x"),
        ] {
            let format = PayloadFormat {
                payload_type: 96,
                name: name.into(),
                clock_rate: 48_000,
                channels: 2,
                fmtp: fmtp.into(),
            };
            assert_eq!(printed(&format), expected, "{fmtp}");
        }
    }
}
