//! When two payload types are the same codec.

use codec::PayloadFormat;
use codec::def::FmtpRule;
use codec::fmtp::{formats_compatible, parameter};

use crate::negotiate::signal::CodecSpec;

/// `sent` can be received by someone who announced `accepted`: same name, clock rate and channels, equal or compatible
/// format parameters. Payload numbers are not compared.
///
/// Unlike the symmetric rule of the codec library this knows who sends: RFC 4867 modes must be among the accepted ones. The
/// parameters of codecs without definition are ignored.
pub fn compatible(accepted: &PayloadFormat, sent: &PayloadFormat) -> bool {
    accepted.same_codec(sent)
        && match sent.def().map_or(FmtpRule::Ignored, |def| def.fmtp_rule) {
            FmtpRule::Ignored => true,
            FmtpRule::Amr => amr(&accepted.fmtp, &sent.fmtp),
            FmtpRule::Identical | FmtpRule::Evs => formats_compatible(accepted, sent),
        }
}

/// RFC 4867 §8.3: the framing must be the same; the sender's modes must be among the accepted ones.
fn amr(accepted: &str, sent: &str) -> bool {
    let same =
        |key, default| parameter(accepted, key).unwrap_or(default) == parameter(sent, key).unwrap_or(default);
    let framing = same("octet-align", "0")
        && same("crc", "0")
        && same("interleaving", "")
        && same("robust-sorting", "0");
    let modes = |list: &str| {
        list.split(',')
            .filter_map(|mode| mode.trim().parse().ok())
            .fold(0_u16, |set, mode: u8| set | 1 << (mode & 15))
    };
    let modes_fit = match (parameter(accepted, "mode-set"), parameter(sent, "mode-set")) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(accepted), Some(sent)) => modes(sent) & !modes(accepted) == 0,
    };
    framing && modes_fit
}

/// A specification of the `codec` dictionary means this payload type. A name alone means all instances; a clock rate
/// without channels means mono.
pub(super) fn matches(spec: &CodecSpec, format: &PayloadFormat) -> bool {
    let channels = spec.channels.or(spec.clock_rate.map(|_| 1));
    spec.name.eq_ignore_ascii_case(&format.name)
        && spec.clock_rate.is_none_or(|clock| clock == format.clock_rate)
        && channels.is_none_or(|channels| channels == format.channels)
        && spec
            .fmtp
            .as_ref()
            .is_none_or(|fmtp| compatible(&PayloadFormat { fmtp: fmtp.clone(), ..format.clone() }, format))
}

/// Any of the specifications means it.
pub(super) fn any_matches(specs: &[CodecSpec], format: &PayloadFormat) -> bool {
    specs.iter().any(|spec| matches(spec, format))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amr_framing_must_be_equal_and_modes_must_fit() {
        for (accepted, sent, expected) in [
            ("octet-align=1", "octet-align=1;mode-set=0,2", true),
            ("octet-align=1", "", false),
            ("octet-align=0", "", true),
            ("mode-set=0,2,4", "mode-set=2", true),
            ("mode-set=0,2", "mode-set=7", false),
            ("mode-set=0,2", "", false),
            ("mode-change-period=2", "mode-change-neighbor=1", true),
            ("crc=1", "crc=0", false),
        ] {
            assert_eq!(amr(accepted, sent), expected, "{accepted} {sent}");
        }
    }
}
