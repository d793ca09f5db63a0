//! When two payload types are the same codec.

use codec::PayloadFormat;
use codec::def::FmtpRule;

use super::Registry;
use crate::negotiate::signal::CodecSpec;
use crate::proto::sdp::fmtp::parameter;

/// `sent` can be received by someone who announced `accepted`: same name, clock rate and channels, equal or compatible
/// format parameters. Payload numbers are not compared.
pub fn compatible(accepted: &PayloadFormat, sent: &PayloadFormat, registry: &Registry) -> bool {
    accepted.same_codec(sent) && fmtp_compatible(&sent.name, &accepted.fmtp, &sent.fmtp, registry)
}

/// The parameter lists belong to the same codec under its comparison rule; codecs without definition ignore them.
fn fmtp_compatible(name: &str, accepted: &str, sent: &str, registry: &Registry) -> bool {
    match (registry.by_name)(name).map_or(FmtpRule::Ignored, |def| def.fmtp_rule) {
        FmtpRule::Ignored => true,
        FmtpRule::Identical => accepted.trim() == sent.trim(),
        FmtpRule::Amr => amr(accepted, sent),
        FmtpRule::Evs => evs(accepted, sent),
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

/// 3GPP TS 26.445 annex A: framing mode equal; bandwidths and bit rates equal where both sides restrict them.
fn evs(accepted: &str, sent: &str) -> bool {
    let same = |key| parameter(accepted, key).unwrap_or("0") == parameter(sent, key).unwrap_or("0");
    let fit = |key| match (parameter(accepted, key), parameter(sent, key)) {
        (Some(accepted), Some(sent)) => accepted.eq_ignore_ascii_case(sent),
        _ => true,
    };
    same("hf-only") && same("evs-mode-switch") && fit("bw") && fit("br")
}

/// A specification of the `codec` dictionary means this payload type. A name alone means all instances; a clock rate
/// without channels means mono.
pub(super) fn matches(spec: &CodecSpec, format: &PayloadFormat, registry: &Registry) -> bool {
    let channels = spec.channels.or(spec.clock_rate.map(|_| 1));
    spec.name.eq_ignore_ascii_case(&format.name)
        && spec.clock_rate.is_none_or(|clock| clock == format.clock_rate)
        && channels.is_none_or(|channels| channels == format.channels)
        && spec.fmtp.as_ref().is_none_or(|fmtp| fmtp_compatible(&format.name, fmtp, &format.fmtp, registry))
}

/// Any of the specifications means it.
pub(super) fn any_matches(specs: &[CodecSpec], format: &PayloadFormat, registry: &Registry) -> bool {
    specs.iter().any(|spec| matches(spec, format, registry))
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
