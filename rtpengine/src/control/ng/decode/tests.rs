use std::path::PathBuf;

use super::*;
use crate::negotiate::signal::{
    CodecSpec, IceMode, MediaTypeSelector, SdpAttrAction, SdpSection, TransportOverride,
};
use crate::proto::json;
use crate::proto::sdp::model::RtpProfile;

fn decode_with(command: &str, text: &str, templates: &Templates) -> Result<Signal, RequestError> {
    let mut dict = json::decode(text.as_bytes()).expect("test input is JSON");
    let mut decoder = Decoder::new(command, templates);
    decoder.dictionary(&mut dict)?;
    Ok(*decoder.signal)
}

fn decode(command: &str, text: &str) -> Signal {
    decode_with(command, text, &Templates::default()).expect("no error")
}

fn flags(command: &str, flag_string: &str) -> Signal {
    let mut dict = Dict::new();
    dict.push("rtpp-flags", flag_string);
    let templates = Templates::default();
    let mut decoder = Decoder::new(command, &templates);
    decoder.dictionary(&mut dict).expect("no error");
    *decoder.signal
}

fn names(specs: &[CodecSpec]) -> Vec<&str> {
    specs.iter().map(|spec| spec.name.as_str()).collect()
}

fn profile(secure: bool, feedback: bool, dtls: bool) -> Option<TransportOverride> {
    Some(TransportOverride::Rtp(RtpProfile { secure, feedback, dtls }))
}

/// The document that binds the spellings, beside the checked-out project.
fn spellings_document() -> Option<String> {
    let start = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    start.ancestors().find_map(|dir| std::fs::read_to_string(dir.join("shared/spec/ng-spellings.md")).ok())
}

/// (section title, all spellings in it) of the tables with a column of spellings.
fn spelling_sections(document: &str) -> Vec<(String, Vec<String>)> {
    let mut sections: Vec<(String, Vec<String>)> = Vec::new();
    let mut in_table = false;
    for line in document.lines() {
        if let Some(title) = line.trim_start_matches('#').strip_prefix(' ').filter(|_| line.starts_with('#'))
        {
            sections.push((title.to_owned(), Vec::new()));
            in_table = false;
        } else if line.starts_with("| name | spellings |") {
            in_table = true;
        } else if let (true, Some(column)) = (in_table, line.split('|').nth(2)) {
            let spellings = column.split('`').skip(1).step_by(2).map(str::to_owned);
            sections.last_mut().expect("a table stands under a title").1.extend(spellings);
        }
    }
    sections
}

fn of<T>(table: &[(&'static [&'static str], T)]) -> Vec<&'static str> {
    table.iter().flat_map(|(spellings, _)| spellings.iter().copied()).collect()
}

#[test]
fn spellings_are_exactly_those_of_the_specification() {
    let Some(document) = spellings_document() else {
        eprintln!("skipped: no specification beside the project");
        return;
    };
    let mut checked = 0;
    for (title, mut expected) in spelling_sections(&document) {
        let mut known: Vec<&str> = match title.as_str() {
            "Keys" => KEYS.keys().copied().filter(|key| !of(flags::OWN_KEYS).contains(key)).collect(),
            // `pause` stands in the protocol's section on recording instead.
            "Flags" => of(flags::FLAGS).into_iter().filter(|&flag| flag != "pause").collect(),
            "Values of `replace`" => of(sdp_output::REPLACE),
            "Values of `ICE`" => of(security::ICE),
            "Values of `DTLS`" => of(security::DTLS),
            "Values of `SDES`" => of(security::SDES),
            "Values of `OSRTP`" => of(security::OSRTP),
            "Values of `rtcp-mux`" => of(security::RTCP_MUX),
            "Values of `bundle`" => of(security::BUNDLE),
            "Values of `T.38`" => of(t38::OPTIONS),
            "Values of `endpoint-learning`" => of(network::ENDPOINT_LEARNING),
            "Values of `DTMF-security` and its trigger forms" => of(dtmf::SECURITY),
            "Keys in `codec`" => codecs::OPERATIONS.iter().map(|(name, _)| *name).collect(),
            "Commands in `sdp-attr`" => sdp_attr::COMMANDS.to_vec(),
            _ => continue,
        };
        known.sort_unstable();
        expected.sort_unstable();
        assert_eq!(known, expected, "{title}");
        checked += 1;
    }
    assert_eq!(checked, 14);
}

#[test]
fn words_of_the_specification_are_known_values() {
    let Some(document) = spellings_document() else {
        eprintln!("skipped: no specification beside the project");
        return;
    };
    let rows = document
        .split("### Values of keys that take one word")
        .nth(1)
        .and_then(|rest| rest.split("\n## ").next())
        .expect("the section exists");
    for row in rows.lines().filter(|row| row.starts_with("| `")) {
        let mut columns = row.split('|').skip(1);
        let key = columns.next().and_then(|column| column.split('`').nth(1)).expect("a key");
        let values = columns.next().expect("values");
        let known: Vec<Vec<&str>> = match key {
            "alias-key" => groups(identity::ALIAS_KEY),
            "all" => groups(identity::ALL),
            "audio-player" => groups(network::AUDIO_PLAYER),
            "drop-traffic" => groups(network::DROP_TRAFFIC),
            "ICE-lite" => groups(security::ICE_LITE),
            "media-echo" => groups(network::MEDIA_ECHO),
            "passthrough" => groups(read::SWITCH),
            "sip-message-type" => groups(identity::SIP_MESSAGE),
            "generate-RTCP" => groups(network::GENERATE_RTCP),
            "record-call" => groups(recording::RECORD_CALL),
            "transport-protocol" => continue,
            other => panic!("no table for {other}"),
        };
        let expected = values.split(';').map(|group| {
            let mut group: Vec<&str> = group.split('`').skip(1).step_by(2).collect();
            group.sort_unstable();
            group
        });
        let mut expected: Vec<_> = expected.collect();
        expected.sort_unstable();
        assert_eq!(known, expected, "{key}");
    }
}

fn groups<T>(table: &[(&'static [&'static str], T)]) -> Vec<Vec<&'static str>> {
    let sorted = |spellings: &[&'static str]| {
        let mut group = spellings.to_vec();
        group.sort_unstable();
        group
    };
    let mut groups: Vec<_> = table.iter().map(|(spellings, _)| sorted(spellings)).collect();
    groups.sort_unstable();
    groups
}

#[test]
fn no_spelling_has_two_meanings() {
    let mut flags = of(flags::FLAGS);
    let all = flags.len();
    flags.sort_unstable();
    flags.dedup();
    assert_eq!(flags.len(), all);
}

#[test]
fn usual_offer_of_a_proxy() {
    let signal = decode(
        "offer",
        r#"{"command":"offer","call-id":"c","from-tag":"f","via-branch":"auto","sdp":"v=0\r\n","flags":["trust-address",
           "symmetric","no-such-flag",5],"replace":["origin","session-connection"],"ICE":"remove",
           "direction":["priv","pub","third"],"received-from":["IP4","192.0.2.7"],"TOS":"184","no-such-key":{"a":1}}"#,
    );
    let mut expected = Signal::default();
    expected.identity.call_id = Some("c".into());
    expected.identity.from_tag = Some("f".into());
    expected.identity.via_branch = Some("auto".into());
    expected.sdp = Some(b"v=0\r\n".to_vec());
    expected.flags.trust_address = Some(true);
    expected.replace.origin = true;
    expected.security.ice = IceMode::Remove;
    expected.network.interface_from = Some("priv".into());
    expected.network.interface_to = Some("pub".into());
    expected.network.received_from = Some([192, 0, 2, 7].into());
    expected.network.tos = Some(184);
    assert_eq!(signal, expected);
}

#[test]
fn unknown_and_mistyped_values_change_nothing() {
    let text = r#"{"ICE":"bogus","rtcp-mux":["bogus"],"replace":["bogus"],"DTLS":"bogus","direction":"x","call-id":5,
        "media-address":"bogus","address-family":"IP5","TOS":"x","ptime":0,"ptime-reverse":-1,"codec":["PCMU"],
        "codecs":{"bogus":["PCMU"]},"extmap":"x","moh":[],"media":{},"blob64":"%","recording-media-slots":0,
        "transport-protocol":"RTP/BOGUS","all":"x","alias-key":"x","tags":"x","flags":["codec-bogus-X","codec-","T38-FEC",
        "sdp-attr-add-bogus-x","sdp-attr-x","DTLS-off","ICE-force","transcode-PCMA","codec-mask-PCMA"]}"#;
    assert_eq!(decode("answer", text), Signal::default());
}

#[test]
fn webrtc_stands_for_what_browsers_need() {
    let signal = decode("offer", r#"{"flags":["WebRTC"]}"#);
    assert_eq!(signal.security.transport, profile(true, true, true));
    assert_eq!(signal.security.ice, IceMode::Force);
    assert!(signal.security.ice_trickle && signal.security.sdes.off && signal.security.bundle.require);
    assert!(signal.security.rtcp_mux.offer && signal.security.rtcp_mux.require);
    assert!(signal.flags.no_rtcp_attribute && signal.flags.generate_mid && signal.flags.webrtc);
    // Scalar settings can be overridden by later keys.
    let signal = decode("offer", r#"{"flags":["WebRTC"],"transport-protocol":"rtp/avp","ICE":"remove"}"#);
    assert_eq!(
        (signal.security.transport, signal.security.ice),
        (profile(false, false, false), IceMode::Remove)
    );
}

#[test]
fn codec_specifications() {
    let spec = |name: &str| CodecSpec { name: name.into(), ..CodecSpec::default() };
    let cases = [
        ("PCMA", spec("PCMA")),
        ("opus/48000", CodecSpec { clock_rate: Some(48000), channels: Some(1), ..spec("opus") }),
        ("opus/48000/2////", CodecSpec { clock_rate: Some(48000), channels: Some(2), ..spec("opus") }),
        ("8", spec("8")),
        (
            "opus/48000/2/32000/20/maxplaybackrate--16000/complexity--5..x",
            CodecSpec {
                clock_rate: Some(48000),
                channels: Some(2),
                bitrate_bps: Some(32000),
                ptime_ms: Some(20),
                fmtp: Some("maxplaybackrate=16000".into()),
                options: Some("complexity=5 x".into()),
                ..spec("opus")
            },
        ),
        (
            "iLBC/8000/1///mode=20",
            CodecSpec {
                clock_rate: Some(8000),
                channels: Some(1),
                fmtp: Some("mode=20".into()),
                ..spec("iLBC")
            },
        ),
        ("telephone-event//", spec("telephone-event")),
    ];
    for (text, expected) in cases {
        assert_eq!(codecs::parse(text), Some(expected), "{text}");
    }
    assert_eq!(codecs::parse("/8000"), None);
}

#[test]
fn dictionary_form_of_some_codec_operations_depends_on_the_command() {
    let text = r#"{"codec":{"accept":["a"],"consume":["a"],"mask":["a"],"set":["a"],"transcode":["a"],
        "strip":["a"],"offer":["a"],"ignore":["a"],"except":["a"]}}"#;
    for (command, counts) in [
        ("offer", true),
        ("publish", true),
        ("subscribe request", true),
        ("play media", true),
        ("answer", false),
        ("create", false),
        ("subscribe answer", false),
    ] {
        let codecs = decode(command, text).codecs;
        for list in [&codecs.accept, &codecs.consume, &codecs.mask, &codecs.set, &codecs.transcode] {
            assert_eq!(names(list), if counts { vec!["a"] } else { vec![] }, "{command}");
        }
        for list in [&codecs.strip, &codecs.offer, &codecs.ignore, &codecs.except] {
            assert_eq!(names(list), ["a"], "{command}");
        }
    }
}

#[test]
fn flag_form_of_codec_operations() {
    let text = r#"{"flags":["codec-accept-a","codec-consume-a","codec-set-a/8000","codec-strip-all","codec-strip-full",
        "codec-offer-a--b..c","codec-except-a","codec-ignore-a","codec-mask-a","codec-transcode-a","transcode-b"]}"#;
    let answer = decode("answer", text).codecs;
    assert_eq!(
        (names(&answer.accept), names(&answer.consume), names(&answer.set)),
        (vec!["a"], vec!["a"], vec!["a"])
    );
    assert!(answer.strip_all && answer.strip.is_empty());
    assert_eq!(names(&answer.offer), ["a=b c"]);
    assert!(answer.mask.is_empty() && answer.transcode.is_empty());
    let offer = decode("offer", text).codecs;
    assert_eq!((names(&offer.mask), names(&offer.transcode)), (vec!["a"], vec!["a", "b"]));
}

#[test]
fn prefixed_flags() {
    let signal = decode(
        "offer",
        r#"{"flags":["SDES-off","SDES-no-A","SDES-only-B","SDES-order:A;B;","SDES-offerer_pref:C;","SDES-unencrypted_srtp",
        "OSRTP-accept-legacy","replace-origin full","rtcp-mux-demux","BUNDLE-strict","endpoint-learning-immediate","from-tags-x",
        "T.38-decode","T38-no-V.17","sdp-attr-add-audio-X..y--z","sdp-attr-substitute-none-a>b","sdp-attr-remove-video-ptime:20"]}"#,
    );
    let sdes = &signal.security.sdes;
    assert!(sdes.off && sdes.unencrypted_srtp == Some(true));
    assert_eq!((&sdes.no[..], &sdes.only[..]), (&["A".into()][..], &["B".into()][..]));
    assert_eq!((sdes.order.join(" "), sdes.offerer_preference.join(" ")), ("A B".into(), "C".into()));
    assert!(signal.security.osrtp_accept_legacy && !signal.security.osrtp_accept);
    assert!(signal.replace.origin_full && signal.security.rtcp_mux.demux && signal.security.bundle.strict);
    assert!(signal.network.endpoint_learning == Some(crate::config::EndpointLearning::Immediate));
    assert_eq!(signal.selection.from_tags, ["x"]);
    assert!(signal.t38.decode && signal.t38.no_v17);
    let actions: Vec<_> = signal.output.sdp_attr.iter().map(|command| &command.action).collect();
    assert_eq!(actions[0], &SdpAttrAction::Add("X y=z".into()));
    assert_eq!(actions[1], &SdpAttrAction::Substitute { from: "a".into(), to: "b".into() });
    assert_eq!(actions[2], &SdpAttrAction::Remove("ptime:20".into()));
    assert_eq!(signal.output.sdp_attr[1].section, SdpSection::Session);
}

#[test]
fn malformed_keys_that_are_errors() {
    let cases = [
        (r#"{"sdp-attr":"x"}"#, "wrong type used"),
        (r#"{"sdp-attr":{"audio":["x"]}}"#, "wrong content given"),
        (r#"{"sdp-attr":{"bogus":{"add":["x"]}}}"#, "unsupported sdp section"),
        (r#"{"sdp-attr":{"audio":{"bogus":["x"]}}}"#, "unknown manipulation command"),
        (r#"{"sdp-media-remove":"video"}"#, "wrong type used"),
        (r#"{"sdp-media-remove":["foobar"]}"#, "unsupported sdp section"),
        (r#"{"tags":[{"to":["ft"]}]}"#, "Empty/missing from-tag"),
        (r#"{"tags":[{"from":"","to":["ft"]}]}"#, "Empty/missing from-tag"),
    ];
    for (text, expected) in cases {
        let error = decode_with("offer", text, &Templates::default()).expect_err(text);
        assert_eq!(error.to_string(), expected, "{text}");
    }
}

#[test]
fn sdp_output_keys() {
    let signal = decode(
        "offer",
        r#"{"sdp-attr":{"audio":{"substitute":[["a","b"],"c>d","e"],"add":["f"]}},"sdp-media-remove":["video","other"],
        "extmap":{"strip":["a","all"],"mask":"b,c"},"moh":{"blob":"x","db-id":5,"mode":"reflect","connection":"zero"}}"#,
    );
    let output = signal.output;
    assert_eq!(output.sdp_attr.len(), 3);
    assert_eq!(output.remove_media, [MediaTypeSelector::Named("video".into()), MediaTypeSelector::Other]);
    assert!(output.extmap_strip_all && !output.extmap_mask_all);
    assert_eq!((output.extmap_strip, output.extmap_mask), (vec!["a".into()], vec!["b".into(), "c".into()]));
    let moh = output.moh.expect("music on hold");
    assert_eq!(moh.source, Some(crate::negotiate::signal::MediaSource::Blob(b"x".to_vec())));
    assert!(moh.zero_connection && moh.mode == crate::negotiate::signal::MohMode::Reflect);
}

#[test]
fn media_entries_of_create_and_transform() {
    let created =
        flags("create", "medias=[[type=audio codecs=[G722 PCMA]] [type=video codecs=[VP8/90000]]]").media;
    assert_eq!(created.len(), 2);
    assert_eq!(
        (created[0].media_type.as_deref(), names(&created[0].codecs)),
        (Some("audio"), vec!["G722", "PCMA"])
    );
    let transformed = decode(
        "transform",
        r#"{"media":[{"type":"audio","id":"m","codec":[{"input":{"codec":"PCMA","payload type":8,"clock rate":8000},
        "output":{"codec":"PCMU","payload type":200}}],"destination":{"family":"IP4","address":"bogus","port":4444}}]}"#,
    )
    .media;
    let transform = &transformed[0].transforms[0];
    assert_eq!((transform.input.payload_type, transform.input.clock_rate), (Some(8), Some(8000)));
    assert_eq!((transform.output.codec.as_deref(), transform.output.payload_type), (Some("PCMU"), None));
    let destination = transformed[0].destination.as_ref().expect("a destination");
    assert_eq!((destination.address.as_deref(), destination.port), (Some("bogus"), Some(4444)));
}

#[test]
fn flag_string_of_a_proxy() {
    let signal = flags(
        "offer",
        "via-branch=auto codec=[strip=[all] offer=[PCMA telephone-event]] replace=[origin username] \
         OSRTP=[accept] SDES=[only-AES_CM_128_HMAC_SHA1_80 pad] transport-protocol=RTP/SAVP DTLS=off label=callee \
         codec-strip=[PCMU G722] transcode=opus/48000/2 codec-accept=PCMA direction=a direction=b direction=c \
         sdp-attr=[audio=[add=[X-one X-two] remove=[ptime:20]] none=[add=[glob]]] sdp-media-remove=video ptime=40",
    );
    assert_eq!(signal.identity.via_branch.as_deref(), Some("auto"));
    assert_eq!(signal.identity.label.as_deref(), Some("callee"));
    assert!(signal.codecs.strip_all && signal.replace.origin && signal.replace.username);
    assert_eq!(names(&signal.codecs.offer), ["PCMA", "telephone-event"]);
    assert_eq!(names(&signal.codecs.strip), ["PCMU", "G722"]);
    assert_eq!((names(&signal.codecs.transcode), names(&signal.codecs.accept)), (vec!["opus"], vec!["PCMA"]));
    assert!(signal.security.sdes.pad && signal.security.osrtp_accept);
    assert_eq!(signal.security.transport, profile(true, false, false));
    assert_eq!(signal.network.interface_from.as_deref(), Some("a"));
    assert_eq!(signal.network.interface_to.as_deref(), Some("b"));
    assert_eq!(signal.output.sdp_attr.len(), 4);
    assert_eq!(signal.output.remove_media, [MediaTypeSelector::Named("video".into())]);
    assert_eq!(signal.codecs.ptime_ms, Some(40));
}

#[test]
fn transport_words_combine() {
    let cases = [
        ("SRTP AVPF", profile(true, true, false)),
        ("DTLS AVPF", profile(true, true, true)),
        ("DTLS SRTP AVPF", profile(true, true, true)),
        ("SRTP AVPF RTP AVP", profile(false, false, false)),
        ("RTP/AVP", profile(false, false, false)),
        ("UDP/TLS/RTP/SAVPF AVP", profile(true, false, true)),
        ("RTP", profile(false, false, false)),
        ("DTLS=off", None),
        ("no/such", None),
    ];
    for (text, expected) in cases {
        assert_eq!(flags("offer", text).security.transport, expected, "{text}");
    }
}

#[test]
fn tags_in_flag_strings_are_honoured() {
    let signal = flags("delete", "to-tag=t from-tag=f");
    assert_eq!(
        (signal.identity.to_tag.as_deref(), signal.identity.from_tag.as_deref()),
        (Some("t"), Some("f"))
    );
    assert!(signal.flags.honour_to_tag && signal.flags.directional);
    let signal = decode("delete", r#"{"to-tag":"t","from-tag":"f"}"#);
    assert!(!signal.flags.honour_to_tag && !signal.flags.directional);
}

#[test]
fn bare_interface_words() {
    let network = flags("offer", "external internal").network;
    assert_eq!(
        (network.interface_from.as_deref(), network.interface_to.as_deref()),
        (Some("external"), Some("internal"))
    );
}

#[test]
fn templates_come_before_the_keys_of_the_request() {
    let pairs = [
        ("default", "replace=[origin]"),
        ("offer", "no-rtcp-attribute ICE=force"),
        ("WebRTC", "transport-protocol=UDP/TLS/RTP/SAVPF template=WebRTC"),
        ("broken", "sdp-attr=x"),
    ];
    let templates = Templates::new(pairs.map(|(name, text)| (name.to_owned(), text.to_owned())));
    let signal =
        decode_with("offer", r#"{"ICE":"remove","template":"webrtc"}"#, &templates).expect("no error");
    assert!(signal.replace.origin && signal.flags.no_rtcp_attribute);
    assert_eq!(
        (signal.security.ice, signal.security.transport),
        (IceMode::Remove, profile(true, true, true))
    );
    let signal = decode_with("answer", r#"{"template":"nosuch"}"#, &templates).expect("no error");
    assert!(signal.replace.origin && !signal.flags.no_rtcp_attribute);
    assert!(decode_with("answer", r#"{"template":"broken"}"#, &templates).is_err());
}

#[test]
fn flag_strings_inside_each_other_end() {
    let deep = "rtpp-flags=".repeat(6000);
    flags("offer", &deep);
}

#[test]
fn playback_recording_and_dtmf_keys() {
    let signal = decode(
        "play media",
        r#"{"blob64":"aGk=","repeat times":"3","pause":"yes","vsc-start-rec":"*7","VSC-start-recording":8,
        "frequencies":"400,0,x,500","code":5,"DTMF security":"dtmf","recording-dir":"/r","output file":"/f","volume":"-8",
        "drop-traffic":"stop","drop traffic":"start"}"#,
    );
    assert_eq!(signal.playback.blob.as_deref(), Some(&b"hi"[..]));
    assert_eq!(signal.playback.repeat_times, Some(3));
    assert!(signal.recording.pause);
    assert_eq!(signal.recording.vsc, [("start-rec".into(), "8".into())]);
    assert_eq!(signal.dtmf.frequencies, [400, 500]);
    assert_eq!((signal.dtmf.digit.as_deref(), signal.dtmf.security.as_deref()), (Some("5"), Some("DTMF")));
    assert_eq!(
        (signal.recording.path.as_deref(), signal.recording.file.as_deref()),
        (Some("/r"), Some("/f"))
    );
    assert_eq!(signal.dtmf.volume, Some(-8));
    assert_eq!(signal.network.drop_traffic, Some(crate::negotiate::signal::DropTraffic::Stop));
}

#[test]
fn text_that_is_not_utf8_stays_distinct() {
    let mut first = Dict::new();
    first.push("call-id", vec![b'a', 0xff]);
    let templates = Templates::default();
    let mut decoder = Decoder::new("offer", &templates);
    decoder.dictionary(&mut first).expect("no error");
    assert_eq!(decoder.signal.identity.call_id.as_deref(), Some("a\u{ff}"));
}

proptest::proptest! {
    #[test]
    fn no_flag_string_panics(text in "([a-z]{1,3}|codec|sdp-attr|-|=|\\[|\\]| |direction|transcode|flags|tags|media|moh|,|ü){0,30}") {
        flags_any(&text);
    }
}

fn flags_any(text: &str) {
    let mut dict = Dict::new();
    dict.push("rtpp-flags", text);
    let templates = Templates::default();
    let _ = Decoder::new("offer", &templates).dictionary(&mut dict);
}

#[test]
fn explain_is_a_key_of_dictionaries_and_flag_strings() {
    for value in ["yes", "on", "true"] {
        assert!(decode("offer", &format!(r#"{{"explain": "{value}"}}"#)).flags.explain, "{value}");
        assert!(flags("answer", &format!("asymmetric explain={value}")).flags.explain, "{value}");
    }
    for text in ["explain=no", "explain=maybe", "no-explain", ""] {
        assert!(!flags("offer", text).flags.explain, "{text}");
    }
}
