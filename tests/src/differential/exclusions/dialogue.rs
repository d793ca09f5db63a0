//! Exclusions that show in what came before a request.

use serde_json::Value;

use super::{
    Exclusion, before, codings, endpoints, flag, has_codec, has_key, has_mismatched_codec, has_stray_codec,
    is_negotiation, last, last_offer, same_call, sdp, text, words_of,
};
use crate::differential::canonical::sections;

pub const EXCLUSIONS: &[Exclusion] = &[
    Exclusion {
        name: "second-fork",
        about: "10.5 prints the codecs of the first answer to the answers of other branches, newer series their own",
        applies: |all| {
            let request = last(all);
            let others = all[..all.len() - 1].iter();
            text(request, "command") == "answer"
                && others.filter(|other| text(other, "command") == "answer" && same_call(other, request)).any(
                    |other| {
                        text(other, "from-tag") == text(request, "from-tag")
                            && text(other, "to-tag") != text(request, "to-tag")
                    },
                )
        },
    },
    Exclusion {
        name: "loop-protect",
        about: "10.5 prints the mark of others again",
        applies: |all| {
            all.iter().any(|request| flag(request, "loop-protect")) && sdp(last(all)).contains("a=rtpengine")
        },
    },
    Exclusion {
        name: "mismatched-answer",
        about: "an answer that names an offered codec with another number, rate or framing",
        applies: |all| text(last(all), "command") == "answer" && has_mismatched_codec(all),
    },
    Exclusion {
        name: "codec-without-coder",
        about: "10.5 removes codecs that it cannot convert as soon as it may have to convert, newer series keep them",
        applies: |all| {
            let converted = [
                "pcmu",
                "pcma",
                "g722",
                "gsm",
                "opus",
                "telephone-event",
                "cn",
                "vp8",
                "h264",
                "h263",
                "h265",
                "av1",
            ];
            let is_other = |(_, coding): (&str, &str)| {
                let name = coding.split('/').next().unwrap_or_default().to_ascii_lowercase();
                !converted.contains(&name.as_str())
            };
            let may_convert = |request: &Value| {
                has_key(request, &["ptime", "ptime-reverse", "codec"]) || has_stray_codec(all)
            };
            all.iter().any(may_convert)
                && all
                    .iter()
                    .any(|request| codings(sdp(request)).any(is_other) || sdp(request).contains(" 18"))
        },
    },
    Exclusion {
        name: "held-with-new-port",
        about: "newer series keep the ports when the endpoint changes while the source does not receive",
        applies: |all| {
            let request = last(all);
            let held = ["a=sendonly", "a=inactive", "0.0.0.0"].iter().any(|mark| sdp(request).contains(mark));
            let latched = all.iter().any(|request| flag(request, "port-latching"));
            held && (latched || before(all).is_some_and(|old| endpoints(sdp(old)) != endpoints(sdp(request))))
        },
    },
    Exclusion {
        name: "return-of-rejected",
        about: "newer series give a section that comes back new ports",
        applies: |all| {
            let is_rejected = |request: &Value, i: usize| {
                sections(sdp(request)).1.get(i).is_some_and(|lines| lines[0].split(' ').nth(1) == Some("0"))
            };
            let request = last(all);
            (0..sections(sdp(request)).1.len())
                .any(|i| !is_rejected(request, i) && all.iter().any(|earlier| is_rejected(earlier, i)))
        },
    },
    Exclusion {
        name: "other-second-answer",
        about: "10.5 narrows the codecs with each answer to one offer, newer series start from the offer",
        applies: |all| match all {
            [.., first, second] => {
                text(first, "command") == "answer" && text(second, "command") == "answer" && first != second
            }
            _ => false,
        },
    },
    Exclusion {
        name: "changed-rtcp-mux",
        about: "10.5 keeps rtcp-mux when a later offer lacks it, and is of another mind about one that was not offered",
        applies: |all| {
            let mux = |request: &Value| -> Vec<bool> {
                sections(sdp(request)).1.iter().map(|lines| lines.contains(&"a=rtcp-mux")).collect()
            };
            let shorter = |a: Vec<bool>, b: Vec<bool>| a.iter().zip(&b).any(|(a, b)| a != b);
            let request = last(all);
            let unasked = text(request, "command") == "answer"
                && mux(request)
                    .iter()
                    .zip(mux(last_offer(all)))
                    .any(|(answered, offered)| *answered && !offered);
            unasked || before(all).is_some_and(|old| shorter(mux(old), mux(request)))
        },
    },
    Exclusion {
        name: "mux-in-repeated-offer",
        about: "10.5 takes a second offer before an answer for the first one's answer as to rtcp-mux",
        applies: |all| match all {
            [.., first, second] => {
                let is_offer = |request: &Value| text(request, "command") == "offer";
                let muxes =
                    |request: &Value| has_key(request, &["rtcp-mux"]) || sdp(request).contains("a=rtcp-mux");
                is_offer(first) && is_offer(second) && all.iter().any(muxes)
            }
            _ => false,
        },
    },
    Exclusion {
        name: "interfaces-and-families",
        about: "10.5 falls back to the first interface when a party's address family changes",
        applies: |all| {
            let chosen = |request: &Value| has_key(request, &["direction"]);
            let v6 = |request: &Value| sdp(request).contains("c=IN IP6");
            let v4 = |request: &Value| sdp(request).contains("c=IN IP4");
            let asked = |request: &Value| has_key(request, &["address family", "address-family"]);
            all.iter().any(chosen) && (all.iter().any(asked) || (all.iter().any(v6) && all.iter().any(v4)))
        },
    },
    Exclusion {
        name: "ptime-key-in-earlier-offer",
        about: "10.5 forgets in later offers what the other side announced beside a ptime key",
        applies: |all| {
            let keyed = |request: &Value| has_key(request, &["ptime", "ptime-reverse"]);
            let mut offers = all.iter().filter(|request| text(request, "command") == "offer");
            offers.clone().count() > 1 && offers.any(keyed)
        },
    },
    Exclusion {
        name: "accept-in-re-offer",
        about: "10.5 keeps which codecs were accepted and consumed from one offer to the next",
        applies: |all| {
            let marks = |request: &Value| {
                ["accept", "consume"].iter().any(|word| request["codec"].get(word).is_some())
            };
            let offers = all.iter().filter(|request| text(request, "command") == "offer");
            offers.clone().count() > 1 && offers.clone().any(marks)
        },
    },
    Exclusion {
        name: "media-address-and-version",
        about: "10.5 counts the version up for what media-address, original-sendrecv and session-connection change",
        applies: |all| {
            let special = |request: &Value| {
                has_key(request, &["media-address", "media address"])
                    || flag(request, "original-sendrecv")
                    || words_of(request, "replace").any(|word| word == "session-connection")
            };
            all.iter().any(special) && words_of(last(all), "replace").any(|word| word == "sdp-version")
        },
    },
    Exclusion {
        name: "mid-comes-and-goes",
        about: "10.5 copies a=mid as text, newer series treat it as a name of the section",
        applies: |all| {
            let mids =
                |request: &Value| sdp(request).lines().filter(|line| line.starts_with("a=mid:")).count();
            let request = last(all);
            all.len() > 2
                && all.iter().any(|earlier| is_negotiation(earlier) && mids(earlier) != mids(request))
        },
    },
    Exclusion {
        name: "mux-of-some-sections",
        about: "10.5 takes over rtcp-mux from one section to another in later offers",
        applies: |all| {
            let is_mixed = |request: &Value| {
                let (_, sections) = sections(sdp(request));
                let muxing = sections.iter().filter(|lines| lines.contains(&"a=rtcp-mux")).count();
                muxing > 0 && muxing < sections.len()
            };
            let negotiations = || all.iter().filter(|request| is_negotiation(request));
            let muxes = |request: &Value| sdp(request).contains("a=rtcp-mux");
            let grown =
                negotiations().any(|other| endpoints(sdp(other)).len() != endpoints(sdp(last(all))).len());
            negotiations().count() > 2 && (all.iter().any(is_mixed) || (grown && all.iter().any(muxes)))
        },
    },
    Exclusion {
        name: "family-key-in-repeated-offer",
        about: "10.5 goes back to the ports of an earlier address family",
        applies: |all| {
            let family = |request: &Value| {
                ["address family", "address-family"].iter().find_map(|key| request.get(key)).cloned()
            };
            match all {
                [.., first, second] => {
                    text(first, "command") == "offer"
                        && text(second, "command") == "offer"
                        && family(first) != family(second)
                }
                _ => false,
            }
        },
    },
    Exclusion {
        name: "answer-of-removed",
        about: "an answer that names a codec that was stripped or masked",
        applies: |all| {
            let removed = |word: &str, name: &str| {
                last_offer(all)["codec"][word].as_array().is_some_and(|list| {
                    list.iter().any(|item| item.as_str().is_some_and(|item| item.eq_ignore_ascii_case(name)))
                })
            };
            text(last(all), "command") == "answer"
                && codings(sdp(last(all))).any(|(_, coding)| {
                    let name = coding.split('/').next().unwrap_or_default();
                    removed("strip", name) || removed("mask", name)
                })
        },
    },
    Exclusion {
        name: "all-in-later-offer",
        about: "10.5 keeps what an earlier offer said about codecs when a later one strips or masks all",
        applies: |all| {
            let offers = all.iter().filter(|request| text(request, "command") == "offer").count();
            let empties =
                |request: &Value| has_codec(request, "strip", "all") || has_codec(request, "mask", "all");
            let is_answer = text(last(all), "command") == "answer";
            offers > 1 && (empties(last(all)) || is_answer && empties(last_offer(all)))
        },
    },
    Exclusion {
        name: "mux-forced-in-later-offer",
        about: "ports of a party that multiplexed and is refused it later, or has to multiplex as offerer only",
        applies: |all| {
            let requires = |request: &Value| words_of(request, "rtcp-mux").any(|word| word == "require");
            let offerers = || {
                all.iter()
                    .filter(|request| text(request, "command") == "offer")
                    .map(|offer| text(offer, "from-tag"))
            };
            if all.iter().any(requires) && offerers().any(|one| offerers().any(|other| one != other)) {
                return true;
            }
            let rejects = |request: &Value| words_of(request, "rtcp-mux").any(|word| word == "reject");
            all.iter().filter(|request| text(request, "command") == "offer").count() > 1
                && all.iter().any(rejects)
        },
    },
    Exclusion {
        name: "mux-words-changed",
        about: "10.5 keeps what earlier offers said in rtcp-mux",
        applies: |all| {
            let mut offers = all.iter().filter(|request| text(request, "command") == "offer");
            let same = |one: &Value| one["rtcp-mux"] == last(all)["rtcp-mux"];
            text(last(all), "command") == "offer" && !offers.all(same)
        },
    },
    Exclusion {
        name: "new-section-of-other-family",
        about: "a section that is new to a party of another address family: newer series give it the party's own",
        applies: |all| {
            let contains = |family: &str| all.iter().any(|request| sdp(request).contains(family));
            let asked = all.iter().any(|request| has_key(request, &["address family", "address-family"]));
            (asked || (contains("c=IN IP4") && contains("c=IN IP6")))
                && all.iter().any(|other| {
                    is_negotiation(other) && endpoints(sdp(other)).len() < endpoints(sdp(last(all))).len()
                })
        },
    },
    Exclusion {
        name: "late-sdp-version",
        about: "10.5 counts from where sdp-version was first asked for, newer series from the first reply",
        applies: |all| {
            let asks = |request: &Value| words_of(request, "replace").any(|word| word == "sdp-version");
            asks(last(all)) && all.iter().any(|request| is_negotiation(request) && !asks(request))
        },
    },
    Exclusion {
        name: "branch-and-none",
        about: "offers of one call with and without via-branch",
        applies: |all| {
            let first_offers = || {
                all.iter()
                    .filter(|request| text(request, "command") == "offer" && !has_key(request, &["to-tag"]))
            };
            first_offers().any(|one| has_key(one, &["via-branch"]))
                && first_offers().any(|one| !has_key(one, &["via-branch"]))
        },
    },
    Exclusion {
        name: "dtmf-of-another-number",
        about: "an answer with a telephone-event that the other client did not offer",
        applies: |all| {
            let (request, offer) = (last(all), last_offer(all));
            let is_event = |coding: &str| coding.to_ascii_lowercase().starts_with("telephone-event/");
            text(request, "command") == "answer"
                && codings(sdp(request))
                    .filter(|(_, coding)| is_event(coding))
                    .any(|event| !codings(sdp(offer)).any(|offered| offered == event))
        },
    },
    Exclusion {
        name: "other-keys-in-later-answer",
        about: "a later answer with another suite or key than its sender had: 10.5 mixes old and new",
        applies: |all| {
            let offers = all.iter().filter(|request| text(request, "command") == "offer").count();
            let request = last(all);
            let of = |request: &Value| -> Vec<_> { sections(sdp(request)).1.iter().map(suites).collect() };
            let (answered, offered) = (of(request), of(last_offer(all)));
            let strays = answered.iter().zip(&offered).any(|(answered, offered)| {
                !offered.is_empty()
                    && (answered.is_empty() || answered.iter().any(|suite| !offered.contains(suite)))
            });
            let keys = |request: &Value| -> Vec<String> {
                let lines = sdp(request).lines().filter(|line| line.starts_with("a=crypto:"));
                lines.filter_map(|line| line.split(' ').nth(2)).map(str::to_owned).collect()
            };
            let changed = before(all).is_some_and(|old| {
                let other_suites = of(old).iter().zip(&answered).any(|(old, new)| old != new);
                other_suites || keys(request).iter().any(|key| !keys(old).contains(key))
            });
            text(request, "command") == "answer" && offers > 1 && (strays || changed)
        },
    },
    Exclusion {
        name: "transport-in-repeated-offer",
        about: "10.5 forgets which keys a first offer allowed when a second one before the answer asks for another transport",
        applies: |all| {
            let transport = |request: &Value| {
                let keys = ["transport protocol", "transport-protocol"];
                keys.iter().find_map(|key| request.get(key)).cloned()
            };
            let is_offer = |request: &Value| text(request, "command") == "offer";
            all.windows(2).any(|pair| pair.iter().all(is_offer) && transport(&pair[0]) != transport(&pair[1]))
        },
    },
    Exclusion {
        name: "sdes-words-in-later-offer",
        about: "10.5 keeps suites that earlier offers allowed when a later one forbids them",
        applies: |all| {
            let mut offers = all.iter().filter(|request| text(request, "command") == "offer");
            let first = offers.next().and_then(|offer| offer.get("SDES"));
            offers.any(|offer| offer.get("SDES").is_some() && offer.get("SDES") != first)
        },
    },
    Exclusion {
        name: "ice-removed-by-answer",
        about: "10.5 stays without ICE with an offerer from which an answer removed it, newer series look at what it can",
        applies: |all| {
            all[..all.len() - 1]
                .iter()
                .any(|request| text(request, "command") == "answer" && text(request, "ICE") == "remove")
        },
    },
    Exclusion {
        name: "ice-and-other-families",
        about: "later sections without ICE beside one with it, between address families: newer series take the party's family",
        applies: |all| {
            let contains = |text: &str| all.iter().any(|request| sdp(request).contains(text));
            let asked = all.iter().any(|request| has_key(request, &["address family", "address-family"]));
            let partly = |request: &Value| {
                let (_, sections) = sections(sdp(request));
                let icy = |lines: &&Vec<&str>| lines.iter().any(|line| line.starts_with("a=ice-ufrag:"));
                let count = sections.iter().filter(icy).count();
                count > 0 && count < sections.len()
            };
            all.iter().filter(|request| is_negotiation(request)).count() > 2
                && (asked || (contains("c=IN IP4") && contains("c=IN IP6")))
                && all.iter().any(partly)
        },
    },
];

/// Suites of a section's a=crypto lines.
fn suites(lines: &Vec<&str>) -> Vec<String> {
    let cryptos = lines.iter().filter_map(|line| line.strip_prefix("a=crypto:"));
    cryptos.filter_map(|value| value.split(' ').nth(1)).map(str::to_owned).collect()
}
