//! Codec lists where the daemon itself is one of the sides: what it offers (`create`), and what it takes of an offer (`publish`).

use codec::PayloadFormat;
use codec::def::Kind;

use super::Registry;
use super::compare::{any_matches, matches};
use super::offering::{FIRST_DYNAMIC, instance};
use crate::negotiate::signal::{CodecOptions, CodecSpec};
use crate::proto::sdp::model::MediaFormat;

/// What is offered when nothing else is asked for.
const DEFAULT: [&str; 2] = ["PCMU", "PCMA"];

/// Formats for a section that the daemon offers. Registered numbers where there are some, else the next free dynamic one.
/// Of audio only what can be both encoded and decoded is left; a list without any becomes PCMU, PCMA.
pub fn propose(specs: &[CodecSpec], media_type: &str, registry: &Registry) -> Vec<MediaFormat> {
    let audio = media_type.eq_ignore_ascii_case("audio");
    let mut formats: Vec<MediaFormat> = Vec::new();
    let usable = |format: &PayloadFormat| {
        !audio || format.is_supplemental() || (registry.encodes(format) && registry.decodes(format))
    };
    for spec in specs {
        let format = numbered(spec, &formats);
        formats.extend(format.filter(|format| usable(format)).map(plain));
    }
    if audio && !formats.iter().any(|f| !f.format.is_supplemental()) {
        let default = |name: &str| CodecSpec { name: name.into(), ..CodecSpec::default() };
        formats = DEFAULT.iter().filter_map(|name| numbered(&default(name), &[]).map(plain)).collect();
    }
    formats
}

fn plain(format: PayloadFormat) -> MediaFormat {
    MediaFormat { format, feedback: Vec::new() }
}

/// `None` when all dynamic numbers are in use.
fn numbered(spec: &CodecSpec, present: &[MediaFormat]) -> Option<PayloadFormat> {
    let def = codec::def::by_name(&spec.name);
    let mut format = match def {
        Some(def) => {
            let channels = spec.channels.or_else(|| spec.clock_rate.is_none().then_some(def.channels.max(1)));
            instance(def, &CodecSpec { channels, ..spec.clone() })
        }
        None => PayloadFormat {
            payload_type: FIRST_DYNAMIC,
            name: spec.name.clone().into(),
            clock_rate: spec.clock_rate.unwrap_or(0),
            channels: spec.channels.unwrap_or(1),
            fmtp: spec.fmtp.clone().unwrap_or_default(),
        },
    };
    let registered = def.and_then(|def| {
        let registered = format.clock_rate == def.clock_rate && format.channels == def.channels.max(1);
        def.static_payload_type.filter(|_| registered)
    });
    let free = |number: &u8| !present.iter().any(|f| f.format.payload_type == *number);
    format.payload_type = registered.into_iter().chain(FIRST_DYNAMIC..=127).find(free)?;
    Some(format)
}

/// What the daemon accepts of an offered section: one codec, or more where `accept` says so, with the supplemental ones of the same clock
/// rate. `None` when nothing is acceptable.
pub fn choose(
    offered: &[MediaFormat],
    options: &CodecOptions,
    registry: &Registry,
) -> Option<Vec<MediaFormat>> {
    let ordinary = || offered.iter().filter(|f| !f.format.is_supplemental());
    let supported = |f: &&MediaFormat| {
        f.format.kind() == Kind::Audio && registry.encodes(&f.format) && registry.decodes(&f.format)
    };
    if options.accept_all && options.accept_any {
        return (!offered.is_empty()).then(|| offered.to_vec());
    }
    let chosen: Vec<&MediaFormat> = if options.accept_all {
        ordinary().filter(supported).collect()
    } else {
        let preferred = options.accept.iter().find_map(|spec| ordinary().find(|f| matches(spec, &f.format)));
        let any = || ordinary().next().filter(|_| options.accept_any);
        preferred.or_else(any).or_else(|| ordinary().find(supported)).into_iter().collect()
    };
    if chosen.is_empty() {
        return None;
    }
    let kept = |f: &&MediaFormat| {
        chosen.contains(f)
            || (f.format.is_supplemental()
                && chosen.iter().any(|c| c.format.clock_rate == f.format.clock_rate))
    };
    Some(offered.iter().filter(kept).cloned().collect())
}

/// What is left of an offered list after `strip` and `ignore`.
pub fn without_stripped(offered: &[MediaFormat], options: &CodecOptions) -> Vec<MediaFormat> {
    let stays = |f: &&MediaFormat| {
        let all = options.strip_all && !any_matches(&options.except, &f.format);
        !all && !any_matches(&options.strip, &f.format) && !any_matches(&options.ignore, &f.format)
    };
    offered.iter().filter(stays).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn specs(names: &[&str]) -> Vec<CodecSpec> {
        names.iter().map(|name| CodecSpec { name: (*name).into(), ..CodecSpec::default() }).collect()
    }

    fn offer(list: &[(u8, &str, u32)]) -> Vec<MediaFormat> {
        list.iter().map(|(pt, name, clock)| plain(PayloadFormat::new(*pt, *name, *clock, 1))).collect()
    }

    fn numbers(list: &[MediaFormat]) -> Vec<u8> {
        list.iter().map(|f| f.format.payload_type).collect()
    }

    #[test]
    fn proposals_take_registered_then_free_dynamic_numbers() {
        const CASES: &[(&str, &[&str], &[u8])] = &[
            ("audio", &[], &[0, 8]),
            ("audio", &["opus", "G722", "PCMA", "telephone-event"], &[96, 9, 8, 97]),
            ("audio", &["X-weird"], &[0, 8]),
            ("video", &["VP8", "VP9"], &[96, 97]),
            ("video", &[], &[]),
        ];
        for (media_type, names, expected) in CASES {
            let formats = propose(&specs(names), media_type, &Registry::BUILD);
            assert_eq!(numbers(&formats), *expected, "{media_type} {names:?}");
        }
    }

    #[test]
    fn one_codec_is_taken_unless_more_are_accepted() {
        let offered = offer(&[
            (98, "X-weird", 8000),
            (0, "PCMU", 8000),
            (9, "G722", 8000),
            (101, "telephone-event", 8000),
        ]);
        let options = |accept: &[&str], all, any| CodecOptions {
            accept: specs(accept),
            accept_all: all,
            accept_any: any,
            ..CodecOptions::default()
        };
        for (options, expected) in [
            (options(&[], false, false), &[0, 101][..]),
            (options(&["G722"], false, false), &[9, 101]),
            (options(&["X-weird"], false, false), &[98, 101]),
            (options(&["opus"], false, false), &[0, 101]),
            (options(&[], false, true), &[98, 101]),
            (options(&[], true, false), &[0, 9, 101]),
            (options(&[], true, true), &[98, 0, 9, 101]),
        ] {
            let chosen = choose(&offered, &options, &Registry::BUILD).expect("something");
            assert_eq!(numbers(&chosen), expected, "{options:?}");
        }
        let video = offer(&[(97, "VP8", 90000)]);
        assert_eq!(choose(&video, &options(&[], true, false), &Registry::BUILD), None);
    }
}
