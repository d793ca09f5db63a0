//! Exclusions that show in one request.

use serde_json::Value;

use super::{
    Exclusion, codings, codings_of, flag, has_codec, has_key, is_negotiation, items, last, sdp, text, words,
    words_of,
};
use crate::differential::canonical::sections;

pub const EXCLUSIONS: &[Exclusion] = &[
    Exclusion {
        name: "two-supplementals",
        about: "the order of CN and telephone-event among themselves, and CN beside converted codecs",
        applies: |all| {
            let (_, sections) = sections(sdp(last(all)));
            sections.iter().any(|lines| {
                let comfort = lines[0].split_whitespace().skip(3).any(|number| number == "13");
                comfort
                    && (lines.iter().any(|line| line.contains("telephone-event/"))
                        || last(all)["codec"].get("transcode").is_some())
            })
        },
    },
    Exclusion {
        name: "other-commands",
        about: "publish, subscribe, connect, create … are newer, differ in default or are not there",
        applies: |all| !matches!(text(last(all), "command"), "offer" | "answer" | "delete"),
    },
    Exclusion {
        name: "sdp-attr",
        about: "10.5 has no sdp-attr and no sdp-media-remove",
        applies: |all| has_key(last(all), &["sdp-attr", "sdp-media-remove"]) || flag(last(all), "sdp-attr"),
    },
    Exclusion {
        name: "newer-keys",
        about: "keys of the newer series: extmap, rtpp-flags, template, moh, passthrough, instance, codecs, alias-key",
        applies: |all| {
            let keys = [
                "extmap",
                "rtpp-flags",
                "rtpp_flags",
                "rtpp flags",
                "template",
                "moh",
                "MoH",
                "MOH",
                "passthrough",
                "codecs",
                "alias-key",
                "T.38 version",
                "T38 version",
            ];
            has_key(last(all), &keys)
        },
    },
    Exclusion {
        name: "newer-spellings",
        about: "10.5 knows fewer spellings of keys (call id, from tag, SDP, received from as a string, codec as a string)",
        applies: |all| {
            let request = last(all);
            has_key(request, &["call id", "call-ID", "from tag", "SDP"])
                || request["received from"].is_string()
                || request["codec"].as_object().is_some_and(|codec| codec.values().any(Value::is_string))
                || request["replace"].is_string()
                || request["flags"].is_string()
        },
    },
    Exclusion {
        name: "not-text",
        about: "values of the wrong type in lists",
        applies: |all| words(last(all)).count() != items(last(all)).count(),
    },
    Exclusion {
        name: "flags-as-prefix",
        about: "10.5 does not read replace-…, rtcp-mux-…, SDES-…, BUNDLE-…, codec-…, generate-mid … in `flags`",
        applies: |all| {
            let prefixes = [
                "replace-",
                "rtcp-mux-",
                "SDES-",
                "BUNDLE",
                "OSRTP",
                "T38-",
                "T.38-",
                "generate-mid",
                "static-codecs",
                "WebRTC",
                "allow-no-codec-media",
            ];
            words_of(last(all), "flags").any(|word| prefixes.iter().any(|prefix| word.starts_with(prefix)))
        },
    },
    Exclusion {
        name: "origin-full",
        about: "10.5 has no origin-full, username, session-name as here, no force-increment-sdp-ver",
        applies: |all| {
            words_of(last(all), "replace")
                .any(|word| word.contains("full") || word.starts_with("force") || word == "username")
        },
    },
    Exclusion {
        name: "bundle",
        about: "10.5 has no BUNDLE",
        applies: |all| {
            has_key(last(all), &["bundle"])
                || sdp(last(all)).contains("BUNDLE")
                || sdp(last(all)).contains("bundle-only")
        },
    },
    Exclusion {
        name: "extmap",
        about: "10.5 copies header extensions as they are",
        applies: |all| sdp(last(all)).contains("a=extmap"),
    },
    Exclusion {
        name: "nothing-live",
        about: "10.5 answers an SDP without live media, newer series refuse it",
        applies: |all| {
            let request = last(all);
            let (_, sections) = sections(sdp(request));
            let live = |lines: &Vec<&str>| lines[0].split(' ').nth(1).is_some_and(|port| port != "0");
            is_negotiation(request) && !sections.iter().any(live)
        },
    },
    Exclusion {
        name: "two-descriptions",
        about: "two v= in one body",
        applies: |all| sdp(last(all)).lines().filter(|line| line.starts_with("v=")).count() > 1,
    },
    Exclusion {
        name: "other-transports",
        about: "media that are not RTP: 10.5 does not take part in their DTLS and ICE",
        applies: |all| {
            sdp(last(all))
                .lines()
                .any(|line| line.starts_with("m=") && (line.contains("DTLS/SCTP") || line.contains("BFCP")))
        },
    },
    Exclusion {
        name: "dialogue-with-itself",
        about: "an answer from the tag that offered",
        applies: |all| {
            text(last(all), "command") == "answer" && text(last(all), "from-tag") == text(last(all), "to-tag")
        },
    },
    Exclusion {
        name: "sdes-choice",
        about: "10.5 knows no only-…, order:…, nonew, offerer_pref, static in SDES, and reads no string there",
        applies: |all| {
            words_of(last(all), "SDES").any(|word| {
                [
                    "only-",
                    "order:",
                    "nonew",
                    "offerer_pref",
                    "encrypted",
                    "unencrypted",
                    "authenticated",
                    "unauth",
                    "static",
                ]
                .iter()
                .any(|known| word.starts_with(known))
            }) || last(all)["SDES"].is_string()
        },
    },
    Exclusion {
        name: "dtls-role",
        about: "10.5 reads DTLS=passive of the offer for the receiver's side, newer series for the sender's",
        applies: |all| {
            ["DTLS", "DTLS-reverse"].iter().any(|key| ["passive", "active"].contains(&text(last(all), key)))
        },
    },
    Exclusion {
        name: "sdes-or-dtls",
        about: "10.5 answers with DTLS to an offer of both, whatever the offer said about SDES",
        applies: |all| sdp(last(all)).contains("a=crypto") && sdp(last(all)).contains("a=fingerprint"),
    },
    Exclusion {
        name: "osrtp",
        about: "10.5 reads its own words of OSRTP; crypto lines on RTP/AVP",
        applies: |all| {
            has_key(last(all), &["OSRTP"])
                || (sdp(last(all)).contains("RTP/AVP") && sdp(last(all)).contains("a=crypto"))
        },
    },
    Exclusion {
        name: "ice-list",
        about: "10.5 reads no list and no force-relay for plain SDP, and forwards `optional` in another way",
        applies: |all| {
            let request = last(all);
            request["ICE"].is_array()
                || ["optional", "force-relay", "force_relay"].contains(&text(request, "ICE"))
        },
    },
    Exclusion {
        name: "family-of-interface",
        about: "10.5 knows no from-interface/to-interface",
        applies: |all| {
            has_key(last(all), &["from-interface", "to-interface", "from interface", "to interface"])
        },
    },
    Exclusion {
        name: "opus-and-dtmf",
        about: "10.5 treats a stray telephone-event and another Opus in an answer in its own way",
        applies: |all| has_codec(last(all), "transcode", "opus") && has_codec(last(all), "strip", "full"),
    },
    Exclusion {
        name: "codec-words",
        about: "10.5 knows no ignore, another `full`, and other G.729 parameters",
        applies: |all| {
            last(all)["codec"].get("ignore").is_some()
                || last(all)["codec"].as_object().is_some_and(|codec| {
                    codec.values().any(|list| {
                        list.as_array().is_some_and(|list| {
                            list.iter().any(|word| word.as_str().is_some_and(|word| word.starts_with("G729")))
                        })
                    })
                })
        },
    },
    Exclusion {
        name: "media-address-and-origin",
        about: "10.5 prints the media-address in o=, newer series the interface's",
        applies: |all| {
            has_key(last(all), &["media-address", "media address"])
                && words_of(last(all), "replace").any(|word| word == "origin")
        },
    },
    Exclusion {
        name: "partly-zero-address",
        about: "10.5 prints a zero address of one section for all",
        applies: |all| {
            let (_, sections) = sections(sdp(last(all)));
            let zero = sections.iter().filter(|lines| lines.contains(&"c=IN IP4 0.0.0.0")).count();
            zero > 0 && zero < sections.len()
        },
    },
    Exclusion {
        name: "contradicting-mux-words",
        about: "rtcp-mux with two words that exclude each other",
        applies: |all| {
            let has = |word: &str| words_of(last(all), "rtcp-mux").any(|other| other == word);
            (has("reject") && (has("accept") || has("demux") || has("require")))
                || (has("demux") && (has("require") || has("offer")))
        },
    },
    Exclusion {
        name: "mixed-families",
        about: "sections of different address families in one description",
        applies: |all| sdp(last(all)).contains("c=IN IP4") && sdp(last(all)).contains("c=IN IP6"),
    },
    Exclusion {
        name: "consumed-not-first",
        about: "10.5 prefers an accepted or consumed codec wherever it stands, newer series only as the first",
        applies: |all| {
            let request = last(all);
            let lists = ["consume", "accept"].iter().filter_map(|word| request["codec"][word].as_array());
            let mut names = lists.flatten().filter_map(Value::as_str).filter(|name| *name != "all");
            let (_, sections) = sections(sdp(request));
            let first = |lines: &Vec<&str>| first_codec(lines).unwrap_or_default().to_owned();
            names.any(|name| sections.iter().any(|lines| !first(lines).eq_ignore_ascii_case(name)))
        },
    },
    Exclusion {
        name: "companions-of-accepted",
        about: "newer series make companions (telephone-event, CN) for the rates of accepted and consumed codecs, too",
        applies: |all| {
            let codec = &last(all)["codec"];
            let described = sdp(last(all)).to_ascii_lowercase();
            (codec.get("accept").is_some() || codec.get("consume").is_some())
                && (described.contains("telephone-event")
                    || described.contains("a=rtpmap:13 ")
                    || described.contains(" 13"))
        },
    },
    Exclusion {
        name: "supplemental-by-name",
        about: "telephone-event in the lists of the codec dictionary: 10.5 puts it elsewhere",
        applies: |all| {
            ["offer", "strip", "mask", "consume", "accept"]
                .iter()
                .any(|word| has_codec(last(all), word, "telephone-event"))
        },
    },
    Exclusion {
        name: "supplemental-first",
        about: "an answer with CN or telephone-event in front of another codec: newer series put them behind",
        applies: |all| {
            let request = last(all);
            let (_, sections) = sections(sdp(request));
            (text(request, "command") == "answer" || has_key(request, &["codec"]))
                && sections.iter().any(|lines| {
                    let mut formats = lines[0].split_whitespace().skip(3).map(|number| {
                        number == "13"
                            || lines
                                .iter()
                                .any(|line| line.starts_with(&format!("a=rtpmap:{number} telephone-event")))
                    });
                    formats.any(|supplemental| supplemental) && formats.any(|supplemental| !supplemental)
                })
        },
    },
    Exclusion {
        name: "ice-forced-in-answer",
        about: "10.5 lets ICE=force in an answer begin ICE with an offerer that has none",
        applies: |all| text(last(all), "command") == "answer" && text(last(all), "ICE") == "force",
    },
    Exclusion {
        name: "contradicting-latching",
        about: "port-latching with no-port-latching: 10.5 listens to the first, newer series to the second",
        applies: |all| flag(last(all), "port-latching") && flag(last(all), "no-port-latching"),
    },
    Exclusion {
        name: "one-channel-spelled-out",
        about: "10.5 takes a codec with `/1` behind its rate for another one when it is asked to convert",
        applies: |all| {
            all.iter().any(|request| has_key(request, &["codec"]))
                && all.iter().any(|request| codings(sdp(request)).any(|(_, coding)| coding.ends_with("/1")))
        },
    },
    Exclusion {
        name: "comfort-noise-alone",
        about: "10.5 makes keys of its own where comfort noise is the only format",
        applies: |all| {
            let (_, sections) = sections(sdp(last(all)));
            let alone = |lines: &Vec<&str>| lines[0].split_whitespace().skip(3).all(|number| number == "13");
            sections.iter().any(|lines| lines[0].contains("SAVP") && alone(lines))
        },
    },
    Exclusion {
        name: "srtp-without-keys",
        about: "a section of an SRTP profile that names no keys",
        applies: |all| {
            let (session, sections) = sections(sdp(last(all)));
            let has_keys = |lines: &[&str]| {
                lines.iter().any(|line| line.starts_with("a=crypto:") || line.starts_with("a=fingerprint:"))
            };
            !has_keys(&session)
                && sections.iter().any(|lines| {
                    lines[0].contains("SAVP") && lines[0].split(' ').nth(1) != Some("0") && !has_keys(lines)
                })
        },
    },
];

/// Name of a section's first codec.
fn first_codec<'a>(lines: &[&'a str]) -> Option<&'a str> {
    let number = lines.first()?.split_whitespace().nth(3)?;
    let mapped = codings_of(lines).find(|(mapped, _)| *mapped == number);
    let name = mapped.and_then(|(_, coding)| coding.split('/').next());
    name.or(match number {
        "0" => Some("PCMU"),
        "3" => Some("GSM"),
        "8" => Some("PCMA"),
        "9" => Some("G722"),
        _ => None,
    })
}
