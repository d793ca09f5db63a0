//! Every offer and answer of the recorded codec scenarios, and single rules.

mod corpus;
mod registry;

use codec::PayloadFormat;

use super::*;
use crate::negotiate::signal::CodecOptions;
use registry::TEST;

/// `0 96:opus/48000/2:stereo=1` …
fn formats(text: &str) -> Vec<MediaFormat> {
    let one = |word: &str| {
        let mut parts = word.splitn(3, ':');
        let payload_type: u8 = parts.next().unwrap().parse().unwrap();
        let map = parts.next().map(str::to_owned).unwrap_or_else(|| registry::static_map(payload_type));
        let fmtp = parts.next().unwrap_or_default().to_owned();
        let mut map = map.split('/');
        let name = map.next().unwrap().to_owned();
        let clock_rate = map.next().unwrap().parse().unwrap();
        let channels = map.next().map_or(1, |n| n.parse().unwrap());
        MediaFormat {
            format: PayloadFormat {
                payload_type,
                name: name.into(),
                clock_rate,
                channels,
                fmtp: fmtp.into(),
            },
            feedback: vec![],
        }
    };
    text.split_whitespace().map(one).collect()
}

fn numbers(formats: &[MediaFormat]) -> Vec<u8> {
    formats.iter().map(|f| f.format.payload_type).collect()
}

fn specs(names: &[&str]) -> Vec<CodecSpec> {
    names.iter().map(|name| CodecSpec { name: (*name).into(), ..CodecSpec::default() }).collect()
}

fn exchange(offered: &str, options: &CodecOptions, answered: &str) -> AnsweredCodecs {
    let offer = offer(&formats(offered), "audio", None, options, &TEST);
    answer(&offer.state, &formats(answered), &CodecOptions::default(), &TEST)
}

fn summary(handlers: &[PayloadHandler]) -> Vec<String> {
    let one = |h: &PayloadHandler| match &h.handler {
        Handler::Pass { payload_type: None } => format!("{} pass", h.payload_type),
        Handler::Pass { payload_type: Some(other) } => format!("{} pass as {other}", h.payload_type),
        Handler::Transcode(plan) => format!("{} to {}", h.payload_type, plan.sink.payload_type),
        Handler::Drop => format!("{} drop", h.payload_type),
    };
    handlers.iter().map(one).collect()
}

#[test]
fn handlers_follow_the_answer_in_both_directions() {
    let transcode_opus = CodecOptions { transcode: specs(&["opus"]), ..CodecOptions::default() };
    let accept_opus = CodecOptions { accept: specs(&["opus"]), ..CodecOptions::default() };
    let always = CodecOptions { always_transcode: true, ..CodecOptions::default() };
    let plain = CodecOptions::default();
    for (offered, options, answered, from_offerer, from_answerer) in [
        ("0 8", &plain, "0", &["0 pass", "8 to 0"][..], &["0 pass"][..]),
        ("0 8", &transcode_opus, "96:opus/48000/2", &["0 to 96", "8 to 96"], &["96 to 0"]),
        ("96:opus/48000/2 0", &accept_opus, "0", &["96 to 0", "0 pass"], &["0 to 96"]),
        (
            "96:opus/48000/2 0",
            &accept_opus,
            "96:opus/48000/2 0",
            &["96 pass", "0 pass"],
            &["96 pass", "0 to 96"],
        ),
        ("97:VP8/90000 98:X-weird/8000", &plain, "97:VP8/90000", &["97 pass", "98 pass"], &["97 pass"]),
        (
            "0 101:telephone-event/8000",
            &transcode_opus,
            "96:opus/48000/2",
            &["0 to 96", "101 drop"],
            &["96 to 0"],
        ),
        (
            "96:opus/48000/2 110:telephone-event/48000 126:telephone-event/8000",
            &CodecOptions { mask: specs(&["opus"]), transcode: specs(&["PCMU"]), ..CodecOptions::default() },
            "0 126:telephone-event/8000",
            &["96 to 0", "110 pass as 126", "126 pass"],
            &["0 to 96", "126 pass as 110"],
        ),
        (
            "0 101:telephone-event/8000",
            &always,
            "0 101:telephone-event/8000",
            &["0 pass", "101 pass"],
            &["0 pass", "101 pass"],
        ),
    ] {
        let state = exchange(offered, options, answered).state;
        let times = PacketTimes::default();
        assert_eq!(
            summary(&state.handlers_from_offerer(times, &TEST)),
            from_offerer,
            "{offered} → {answered}"
        );
        assert_eq!(
            summary(&state.handlers_from_answerer(times, &TEST)),
            from_answerer,
            "{answered} → {offered}"
        );
    }
}

#[test]
fn each_side_gets_its_own_numbers_and_may_send_those_it_was_shown() {
    let free = CodecOptions { allow_asymmetric_codecs: true, ..CodecOptions::default() };
    for (offered, answered, shown, from_offerer, from_answerer) in [
        (
            "96:opus/48000/2 0",
            "97:opus/48000/2 0",
            &[97, 0][..],
            &["96 pass as 97", "0 pass", "97 pass"][..],
            &["97 pass as 96", "0 pass", "96 pass"][..],
        ),
        // The answerer uses a number that the offerer gave another codec.
        (
            "96:opus/48000/2 97:L16/8000",
            "96:L16/8000",
            &[96],
            &["97 pass as 96", "96 pass"],
            &["96 pass as 97", "97 pass"],
        ),
    ] {
        let offer = offer(&formats(offered), "audio", None, &free, &TEST);
        let result = answer(&offer.state, &formats(answered), &free, &TEST);
        assert_eq!(numbers(&result.towards_offerer), shown, "{offered} → {answered}");
        let times = PacketTimes::default();
        assert_eq!(summary(&result.state.handlers_from_offerer(times, &TEST)), from_offerer, "{offered}");
        assert_eq!(summary(&result.state.handlers_from_answerer(times, &TEST)), from_answerer, "{answered}");
    }
}

#[test]
fn packets_mean_what_their_sender_was_shown_then_what_it_has_then_what_else_it_was_shown() {
    for (own, shown, sent) in [
        (Some("0 8"), "0 8", "0 8"),
        (Some("96:L16/16000 101"), "98:L16/16000 101", "96:L16/16000 101 98:L16/16000"),
        (Some("96:L16/16000 97:L16/8000"), "96:L16/8000", "97:L16/8000 96:L16/8000"),
        // A codec that it has not spoken of, under a number of its own and under another one.
        (Some("96:L16/8000"), "96:opus/48000/2 97:opus/48000/2", "96:L16/8000 97:opus/48000/2"),
        (None, "0 96:L16/8000", "0 96:L16/8000"),
    ] {
        let plain = |text| formats(text).into_iter().map(|f| f.format).collect::<Vec<_>>();
        let given = own.map(|own| plain(own).into());
        assert_eq!(formats_sent(given.as_ref(), &formats(shown))[..], plain(sent), "{own:?}, shown {shown}");
    }
}

#[test]
fn a_list_that_was_kept_gives_the_offerer_its_own_numbers() {
    let keep = CodecOptions { static_codecs: true, ..CodecOptions::default() };
    let previous = formats("96:L16/8000 9");
    let offer = offer(&formats("8 108:L16/8000"), "audio", Some(&previous), &keep, &TEST);
    assert_eq!(numbers(&offer.towards_receiver), [96, 9]);
    let state = answer(&offer.state, &formats("96:L16/8000"), &CodecOptions::default(), &TEST).state;
    assert_eq!(summary(&state.handlers_from_answerer(PacketTimes::default(), &TEST))[0], "96 pass as 108");
    assert_eq!(numbers(&state.taken_by_offerer()), [108]);
}

#[test]
fn an_answer_of_which_only_digits_are_left_is_taken_as_it_is() {
    let strip = CodecOptions { strip: specs(&["G722"]), ..CodecOptions::default() };
    let offered =
        offer(&formats("9 101:telephone-event/8000"), "audio", None, &CodecOptions::default(), &TEST);
    let answered = answer(&offered.state, &formats("9 101:telephone-event/8000"), &strip, &TEST);
    assert_eq!(numbers(&answered.towards_offerer), [9, 101]);
}

#[test]
fn an_answerer_who_has_not_answered_may_send_what_it_was_offered() {
    let options =
        CodecOptions { mask: specs(&["PCMU"]), transcode: specs(&["opus"]), ..CodecOptions::default() };
    let state = offer(&formats("0"), "audio", None, &options, &TEST).state;
    let handlers = state.handlers_from_answerer(PacketTimes::default(), &TEST);
    assert_eq!(summary(&handlers), ["96 to 0"]);
}

#[test]
fn an_override_of_the_packet_time_repacketises_equal_codecs() {
    let state = exchange("0", &CodecOptions::default(), "0").state;
    for (source_ms, sink_ms, overridden, expected) in [
        (Some(20), Some(40), true, "0 to 0"),
        (None, Some(40), true, "0 to 0"),
        (Some(40), Some(40), true, "0 pass"),
        (Some(20), Some(40), false, "0 pass"),
    ] {
        let times = PacketTimes { source_ms, sink_ms, overridden };
        assert_eq!(summary(&state.handlers_from_offerer(times, &TEST)), [expected], "{times:?}");
    }
}

#[test]
fn forced_transcoding_transcodes_equal_codecs_but_not_what_nobody_can_decode() {
    let options = CodecOptions { force_transcoding: true, ..CodecOptions::default() };
    let state = exchange("9 98:X-weird/8000", &options, "9 98:X-weird/8000").state;
    let handlers = state.handlers_from_answerer(PacketTimes::default(), &TEST);
    assert_eq!(summary(&handlers), ["9 to 9", "98 pass"]);
}

#[test]
fn encoder_settings_come_from_the_first_specification_that_fits() {
    let set = CodecSpec {
        bitrate_bps: Some(16_000),
        options: Some("complexity=5".into()),
        ..specs(&["opus"])[0].clone()
    };
    let options = CodecOptions { transcode: specs(&["opus"]), set: vec![set], ..CodecOptions::default() };
    let state = exchange("0", &options, "96:opus/48000/2").state;
    let handlers =
        state.handlers_from_offerer(PacketTimes { sink_ms: Some(60), ..PacketTimes::default() }, &TEST);
    let Handler::Transcode(plan) = &handlers[0].handler else { panic!("{handlers:?}") };
    assert_eq!((plan.options.bitrate_bps, plan.options.ptime_ms), (Some(16_000), Some(60)));
    assert_eq!((plan.options.options.as_str(), plan.options.source_rate), ("complexity=5", Some(8000)));
}

#[test]
fn preferences_choose_the_partner_of_an_answered_codec() {
    use crate::config::{CodecName, TranscodePreference};
    let preference = |source: &str, destination: &str, preference| TranscodePreference {
        source: CodecName::parse(source).unwrap(),
        destination: CodecName::parse(destination).unwrap(),
        preference,
    };
    let options = CodecOptions { transcode: specs(&["PCMA", "G723"]), ..CodecOptions::default() };
    let mut state = offer(&formats("3 0 9"), "audio", None, &options, &TEST).state;
    let partner = |state: &CodecState, answered| {
        numbers(&answer(state, &formats(answered), &CodecOptions::default(), &TEST).towards_offerer)
    };
    assert_eq!((partner(&state, "8"), partner(&state, "4")), (vec![3], vec![3]));
    state.preferences = [preference("PCMU", "PCMA/8000", 5), preference("GSM", "G723", -5)].into();
    assert_eq!((partner(&state, "8"), partner(&state, "4")), (vec![0], vec![0]));
    // What both have passes all the same.
    assert_eq!(partner(&state, "9"), [9]);
}

#[test]
fn comfort_noise_joins_the_transcoder_of_its_clock_rate() {
    let plan = |handlers: &[PayloadHandler], number| {
        let found = handlers.iter().find(|h| h.payload_type == number).map(|h| h.handler.clone());
        let Some(Handler::Transcode(plan)) = found else { panic!("{number}: {found:?}") };
        plan
    };
    let options = CodecOptions { transcode: specs(&["PCMA"]), ..CodecOptions::default() };
    let state = exchange("0 13", &options, "8").state;
    let handlers = state.handlers_from_offerer(PacketTimes::default(), &TEST);
    assert_eq!(plan(&handlers, 0).noise.from, Some(13));
    assert_eq!(plan(&handlers, 13), plan(&handlers, 0));
    let taken = exchange("0 13", &options, "8 13").state;
    let handlers = taken.handlers_from_offerer(PacketTimes::default(), &TEST);
    assert_eq!((plan(&handlers, 0).noise.from, plan(&handlers, 0).noise.to), (None, Some(13)));
}

#[test]
fn re_offers_keep_numbers_and_follow_reuse_and_static() {
    let options = CodecOptions { transcode: specs(&["opus"]), ..CodecOptions::default() };
    let first = offer(&formats("0 96:speex/16000"), "audio", None, &options, &TEST);
    assert_eq!(numbers(&first.towards_receiver), [0, 96, 97]);
    let again = offer(&formats("0"), "audio", Some(&first.towards_receiver), &options, &TEST);
    assert_eq!(numbers(&again.towards_receiver), [0, 97]);

    let previous = formats("8 0");
    let reuse = CodecOptions { reuse_codecs: true, ..CodecOptions::default() };
    let list = offer(&formats("9 0"), "audio", Some(&previous), &reuse, &TEST).towards_receiver;
    assert_eq!(numbers(&list), [0, 9]);
    let fixed = CodecOptions { static_codecs: true, ..CodecOptions::default() };
    let list = offer(&formats("9 0"), "audio", Some(&previous), &fixed, &TEST).towards_receiver;
    assert_eq!(numbers(&list), [8, 0]);
}

#[test]
fn an_empty_list_is_restored_or_rejects_the_media() {
    let strip = CodecOptions { strip_all: true, ..CodecOptions::default() };
    let restored = offer(&formats("0 8"), "audio", None, &strip, &TEST);
    assert_eq!((numbers(&restored.towards_receiver), restored.rejected), (vec![0, 8], false));
    let options = CodecOptions { allow_no_codec_media: true, ..strip };
    let refused = offer(&formats("0 8"), "audio", None, &options, &TEST);
    assert_eq!((numbers(&refused.towards_receiver), refused.rejected), (vec![], true));
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    /// Formats with distinct numbers.
    fn any_formats() -> impl Strategy<Value = Vec<MediaFormat>> {
        let names = prop::sample::select(vec![
            "PCMU",
            "PCMA",
            "opus",
            "AMR",
            "telephone-event",
            "CN",
            "red",
            "X-unknown",
            "VP8",
            "iLBC",
        ]);
        let one = (
            0_u8..128,
            names,
            prop::sample::select(vec![8000_u32, 16_000, 48_000]),
            1_u8..3,
            "[a-z0-9=;,-]{0,12}",
        );
        prop::collection::vec(one, 0..12).prop_map(|list| {
            let mut formats: Vec<MediaFormat> = Vec::new();
            for (payload_type, name, clock_rate, channels, fmtp) in list {
                if !numbers(&formats).contains(&payload_type) {
                    let format = PayloadFormat {
                        payload_type,
                        name: name.into(),
                        clock_rate,
                        channels,
                        fmtp: fmtp.into(),
                    };
                    formats.push(MediaFormat { format, feedback: vec![] });
                }
            }
            formats
        })
    }

    fn any_specs() -> impl Strategy<Value = Vec<CodecSpec>> {
        let names =
            prop::sample::select(vec!["PCMU", "opus", "speex", "telephone-event", "CN", "NOSUCH", "AMR-WB"]);
        let one = (
            names,
            prop::option::of(prop::sample::select(vec![0_u32, 8000, 48_000])),
            prop::option::of(0_u8..3),
        );
        prop::collection::vec(one, 0..4).prop_map(|list| {
            let spec = |(name, clock_rate, channels): (&str, _, _)| CodecSpec {
                name: name.into(),
                clock_rate,
                channels,
                ..CodecSpec::default()
            };
            list.into_iter().map(spec).collect()
        })
    }

    fn are_distinct(formats: &[MediaFormat]) -> bool {
        let mut numbers = numbers(formats);
        numbers.sort_unstable();
        numbers.windows(2).all(|pair| pair[0] != pair[1])
    }

    proptest! {
        #[test]
        fn numbers_stay_distinct_and_every_codec_has_a_handler(
            received in any_formats(),
            previous in any_formats(),
            answered in any_formats(),
            (strip, mask, restore, transcode) in (any_specs(), any_specs(), any_specs(), any_specs()),
            flags in any::<[bool; 8]>(),
        ) {
            let options = CodecOptions {
                strip, mask, offer: restore, transcode,
                strip_all: flags[0], accept_all: flags[1], reuse_codecs: flags[2], static_codecs: flags[3],
                allow_no_codec_media: flags[4], single_codec: flags[5], allow_asymmetric_codecs: flags[6],
                force_transcoding: flags[7],
                ..CodecOptions::default()
            };
            let offered = offer(&received, "audio", Some(&previous), &options, &TEST);
            prop_assert!(are_distinct(&offered.towards_receiver));
            prop_assert!(offered.rejected || received.is_empty() || !offered.towards_receiver.is_empty());
            prop_assert!(offered.towards_receiver.iter().all(|f| f.format.payload_type < 128));
            let result = answer(&offered.state, &answered, &options, &TEST);
            prop_assert!(are_distinct(&result.towards_offerer));
            let times = PacketTimes::default();
            let covers = |handled: Vec<PayloadHandler>, own: &[u8]| {
                own.iter().all(|own| handled.iter().any(|h| h.payload_type == *own))
            };
            let handled = result.state.handlers_from_answerer(times, &TEST);
            prop_assert!(covers(handled, &numbers(result.state.receiver_list())));
            let handled = result.state.handlers_from_offerer(times, &TEST);
            let own: Vec<_> = result.state.offerer.iter().map(|f| f.format.format.payload_type).collect();
            prop_assert!(covers(handled, &own));
        }
    }
}
