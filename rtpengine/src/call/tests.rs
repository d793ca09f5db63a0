//! Commands on a real engine with real ports; packets are the business of the data plane's tests.

use std::sync::Arc;
use std::time::SystemTime;

use super::compile::{TapDirections, plan};
use super::engine::{Deleted, Engine, Services};
use super::error::CommandError;
use super::store::lock;
use crate::config::{Config, RecordDirection};
use crate::media::MediaPlane;
use crate::media::port_pool::PortPool;
use crate::negotiate::signal::{IceMode, Signal};
use crate::proto::dtls::Identity;
use crate::record::Recorder;

/// An engine whose media range has room for `pairs` pairs of ports.
fn engine(first_port: u16, pairs: u16) -> Engine {
    engine_with(first_port, pairs, |_| {})
}

pub(super) fn engine_with(first_port: u16, pairs: u16, configure: impl FnOnce(&mut Config)) -> Engine {
    let loopback = [127, 0, 0, 1].into();
    let mut config = Config::for_address(loopback, [203, 0, 113, 1].into());
    configure(&mut config);
    (config.port_min, config.port_max) = (first_port, first_port + 2 * pairs - 1);
    let (events, _) = tokio::sync::mpsc::channel(16);
    let (producer, consumer) = crate::media::tap::ring(4096);
    Engine::new(Services {
        ended: None,
        away: None,
        stored: false,
        pool: PortPool::new(&config.interfaces, (config.port_min, config.port_max), 0, &[]),
        plane: MediaPlane::start(&config, vec![producer], events).expect("workers"),
        recorder: Recorder::start(&config.recording, vec![consumer]).expect("recorder"),
        sources: crate::play::Sources::without_library().expect("sources"),
        identity: Identity::generate(&config.dtls, "test", SystemTime::now()).expect("certificate"),
        config: Arc::new(config),
    })
}

pub(super) fn sdp(address: &str, port: u16, attributes: &str) -> Option<Vec<u8>> {
    let body = format!(
        "v=0\r\no=x 1 1 IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0 8\r\n{attributes}"
    );
    Some(body.into_bytes())
}

pub(super) fn signal(from: &str, to: Option<&str>, sdp: Option<Vec<u8>>) -> Signal {
    let mut signal = Signal { sdp, ..Signal::default() };
    signal.identity.call_id = Some("call".into());
    signal.identity.from_tag = Some(from.into());
    signal.identity.to_tag = to.map(Into::into);
    signal
}

/// The port in the first `m=` line.
fn port(reply: &super::SdpReply) -> u16 {
    let text = String::from_utf8_lossy(&reply.sdp);
    let line = text.lines().find(|line| line.starts_with("m=")).expect("m= line");
    line.split(' ').nth(1).expect("port").parse().expect("number")
}

fn offer(engine: &Engine, from_port: u16) -> super::SdpReply {
    engine.offer(&signal("a", None, sdp("192.0.2.1", from_port, ""))).expect("offer")
}

fn answer(engine: &Engine) -> super::SdpReply {
    engine.answer(&signal("a", Some("b"), sdp("192.0.2.2", 5000, ""))).expect("answer")
}

fn edges_with_rtp(engine: &Engine) -> usize {
    let handle = engine.call("call").expect("call");
    let call = lock(&handle);
    let directions = TapDirections::new(RecordDirection::Ingress);
    plan(&call, directions).edges.iter().filter(|edge| edge.rtp_to.is_some()).count()
}

#[test]
fn the_same_offer_again_gets_the_same_ports() {
    let engine = engine(21_000, 8);
    let first = port(&offer(&engine, 4000));
    let towards_offerer = port(&answer(&engine));
    assert_eq!(first % 2, 0, "RTP ports are even");
    assert_eq!(port(&offer(&engine, 4000)), first);
    assert_eq!(port(&answer(&engine)), towards_offerer);
    assert_ne!(port(&offer(&engine, 4002)), first, "a new endpoint gets new ports");
}

#[test]
fn a_refused_first_offer_leaves_no_call() {
    let engine = engine(21_100, 8);
    let refused = engine.offer(&signal("a", None, Some(b"v=0\r\nnonsense\r\n".to_vec())));
    assert_eq!(refused, Err(CommandError::ParseSdp));
    assert_eq!(engine.calls(), 0);
}

#[test]
fn running_out_of_ports_leaves_the_call_and_its_ports() {
    let engine = engine(21_200, 2);
    let first = port(&offer(&engine, 4000));
    answer(&engine);
    let refused = engine.offer(&signal("a", Some("b"), sdp("192.0.2.1", 4002, "")));
    assert_eq!(refused, Err(CommandError::OutOfPorts));
    assert_eq!(port(&offer(&engine, 4000)), first);
}

#[test]
fn hold_stops_media_towards_the_holder_and_resuming_starts_it() {
    let engine = engine(21_300, 8);
    offer(&engine, 4000);
    answer(&engine);
    assert_eq!(edges_with_rtp(&engine), 2);
    let hold = signal("a", Some("b"), sdp("192.0.2.1", 4000, "a=sendonly\r\n"));
    engine.offer(&hold).expect("hold");
    engine.answer(&signal("a", Some("b"), sdp("192.0.2.2", 5000, "a=recvonly\r\n"))).expect("answer");
    assert_eq!(edges_with_rtp(&engine), 1);
    offer(&engine, 4000);
    answer(&engine);
    assert_eq!(edges_with_rtp(&engine), 2);
}

#[test]
fn deleting_either_side_of_a_call_ends_it() {
    for tag in ["a", "b"] {
        let engine = engine(21_400, 8);
        offer(&engine, 4000);
        answer(&engine);
        let mut delete = signal(tag, None, None);
        delete.deletion.delay_s = Some(0);
        assert!(matches!(engine.delete(&delete), Ok(Deleted::Statistics(Some(_)))), "{tag}");
        assert_eq!(engine.calls(), 0, "{tag}");
        assert_eq!(engine.delete(&delete), Ok(Deleted::Warning), "{tag}");
    }
}

#[test]
fn a_branch_that_is_deleted_leaves_the_others_whichever_was_offered_to_last() {
    for busy in 0..2 {
        let engine = engine(23_500 + 100 * busy, 16);
        let branches = ["z0", "z1"];
        let offer = |branch: &str| {
            let mut offer = signal("a", None, sdp("192.0.2.1", 4000, ""));
            offer.identity.via_branch = Some(branch.into());
            port(&engine.offer(&offer).expect("offer"))
        };
        let offered = branches.map(offer);
        let mut delete = signal("a", None, None);
        delete.deletion.delay_s = Some(0);
        delete.identity.via_branch = Some(branches[busy as usize].into());
        engine.delete(&delete).expect("delete");
        // No branch is named: whoever is left is meant.
        answer(&engine);
        assert_eq!(edges_with_rtp(&engine), 2);
        let snapshot = engine.query("call", Some("b")).expect("query");
        let party =
            snapshot.parties.iter().find(|(_, party)| party.tag.as_deref() == Some("b")).expect("party");
        let local = party.1.media[0].streams[0].local.expect("port");
        assert_eq!(local.1, offered[1 - busy as usize], "{busy} was busy");
        // A party that says goodbye ends the call, as does the last branch.
        let mut bye = signal("b", None, None);
        bye.deletion.delay_s = Some(0);
        if busy == 1 {
            bye.identity.via_branch = Some(branches[0].into());
        }
        engine.delete(&bye).expect("delete");
        assert_eq!(engine.calls(), 0);
    }
}

#[test]
fn whoever_hangs_up_ends_the_call_whatever_other_branches_there_were() {
    for (number, who) in (0..).zip(["a", "b"]) {
        let engine = engine(23_700 + 100 * number, 16);
        for branch in ["z0", "z1"] {
            let mut offer = signal("a", None, sdp("192.0.2.1", 4000, ""));
            offer.identity.via_branch = Some(branch.into());
            engine.offer(&offer).expect("offer");
        }
        answer(&engine);
        let mut bye = signal(who, None, None);
        bye.deletion.delay_s = Some(0);
        engine.delete(&bye).expect("delete");
        assert_eq!(engine.calls(), 0, "{who}");
    }
}

#[test]
fn a_delayed_deletion_is_cancelled_by_new_signalling() {
    let engine = engine(21_500, 8);
    offer(&engine, 4000);
    engine.delete(&signal("a", None, None)).expect("delete");
    let pending = || {
        let handle = engine.call("call").expect("call");
        let call = lock(&handle);
        (call.delete_at.is_some(), call.parties.iter().any(|party| party.delete_at.is_some()))
    };
    assert_eq!(pending(), (false, true));
    offer(&engine, 4000);
    assert_eq!(pending(), (false, false));
}

#[test]
fn a_party_does_not_talk_to_itself() {
    let engine = engine(21_600, 8);
    let refused = engine.offer(&signal("a", Some("a"), sdp("192.0.2.1", 4000, "")));
    assert_eq!(refused, Err(CommandError::Dialogue));
}

#[test]
fn a_removed_section_comes_back_rejected_whoever_offers() {
    let engine = engine(21_900, 16);
    let sections = |reply: &super::SdpReply| -> Vec<(String, bool)> {
        let text = String::from_utf8_lossy(&reply.sdp).into_owned();
        let lines = text.lines().filter_map(|line| line.strip_prefix("m="));
        lines
            .map(|line| {
                let mut words = line.split(' ');
                (words.next().unwrap().to_owned(), words.next() != Some("0"))
            })
            .collect()
    };
    let section = |kind: &str, open: bool| (kind.to_owned(), open);
    let more = "m=video 4010 RTP/AVP 97\r\na=rtpmap:97 VP8/90000\r\nm=audio 4020 RTP/AVP 0\r\n";
    let mut first = signal("a", None, sdp("192.0.2.1", 4000, more));
    first.output.remove_media.push(crate::negotiate::signal::MediaTypeSelector::Named("video".into()));
    assert_eq!(sections(&engine.offer(&first).expect("offer")), vec![section("audio", true); 2]);
    let two = || sdp("192.0.2.2", 5000, "m=audio 5010 RTP/AVP 0\r\n");
    let all = [section("audio", true), section("video", false), section("audio", true)];
    assert_eq!(sections(&engine.answer(&signal("a", Some("b"), two())).expect("answer")), all);
    assert_eq!(edges_with_rtp(&engine), 4, "both audio sections, both ways");
    assert_eq!(sections(&engine.offer(&signal("b", Some("a"), two())).expect("offer back")), all);
    let back = sdp("192.0.2.1", 4000, "m=video 0 RTP/AVP 97\r\nm=audio 4020 RTP/AVP 0\r\n");
    let answered = engine.answer(&signal("b", Some("a"), back)).expect("answer back");
    assert_eq!(sections(&answered), vec![section("audio", true); 2]);
    let shown = engine.offer(&signal("a", Some("b"), sdp("192.0.2.1", 4000, more))).expect("re-offer");
    let last = [section("audio", true), section("audio", true), section("video", true)];
    assert_eq!(sections(&shown), last, "what is shown later goes behind what the party knows");
}

/// A description with two sections, of payload types 0 and 97.
fn two_sections(ports: [u16; 2], session: &str, audio: &str, video: &str) -> Option<Vec<u8>> {
    let [first, second] = ports;
    let body = format!(
        "v=0\r\no=x 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n{session}\
         m=audio {first} RTP/AVP 0\r\na=rtcp-mux\r\n{audio}\
         m=video {second} RTP/AVP 97\r\na=rtpmap:97 VP8/90000\r\na=rtcp-mux\r\n{video}"
    );
    Some(body.into_bytes())
}

fn ports(reply: &super::SdpReply) -> Vec<u16> {
    let text = String::from_utf8_lossy(&reply.sdp);
    let lines = text.lines().filter_map(|line| line.strip_prefix("m="));
    lines.map(|line| line.split(' ').nth(1).expect("port").parse().expect("number")).collect()
}

const FIRST: &str = "a=mid:0\r\na=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\n";
const SECOND: &str = "a=mid:1\r\na=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\n\
    a=ssrc:77 cname:x\r\na=ssrc:77 msid:x y\r\na=ssrc:78 cname:x\r\na=ssrc:nonsense\r\n";

#[test]
fn bundled_sections_have_one_stream_and_an_edge_each() {
    let engine = engine(21_700, 16);
    let mut offer = signal("a", None, two_sections([4000, 4000], "a=group:BUNDLE 0 1\r\n", FIRST, SECOND));
    offer.security.bundle.accept = true;
    let offered = ports(&engine.offer(&offer).expect("offer"));
    assert_ne!(offered[0], offered[1], "the answerer is not bundled");
    let answer =
        engine.answer(&signal("a", Some("b"), two_sections([5000, 5002], "", "", ""))).expect("answer");
    assert!(String::from_utf8_lossy(&answer.sdp).contains("a=group:BUNDLE 0 1\r\n"));
    let answered = ports(&answer);
    assert_eq!(answered[0], answered[1], "the offerer is");

    let handle = engine.call("call").expect("call");
    let plan = plan(&lock(&handle), TapDirections::new(RecordDirection::Ingress));
    assert_eq!(plan.streams.len(), 3, "one port towards the offerer, two towards the answerer");
    let bundled = plan.streams.iter().find(|s| s.socket.local.port() == answered[0]).expect("stream");
    let types: Vec<u8> = bundled.formats.iter().map(|format| format.payload_type).collect();
    assert_eq!(types, [0, 97], "it understands what all sections carry");
    let from: Vec<_> = plan.edges.iter().filter(|edge| edge.from == bundled.id).collect();
    let ways: Vec<Option<u8>> = from.iter().map(|edge| edge.section).collect();
    assert_eq!(ways, [Some(0), Some(1)], "each section's packets go their own way");
    let bundle = bundled.bundle.as_ref().expect("several sections");
    let told = |section: &crate::media::plan::SectionPlan| {
        (section.mid.clone(), section.ssrcs.to_vec(), section.payload_types.to_vec())
    };
    let told: Vec<_> = bundle.sections.iter().map(told).collect();
    assert_eq!(told, [(Some("0".into()), vec![], vec![0]), (Some("1".into()), vec![77, 78], vec![97])]);
    assert_eq!(bundle.mid_extension, Some(4));
    assert_ne!(from[0].rtp_to, from[1].rtp_to);
    let to = plan.edges.iter().filter(|edge| edge.rtp_to == Some(bundled.id)).count();
    assert_eq!(to, 2, "both of the answerer's sections arrive at the one port");
}

#[test]
fn a_dissolved_group_gives_each_section_a_port_of_its_own() {
    let engine = engine(21_800, 16);
    let grouped = || two_sections([4000, 4000], "a=group:BUNDLE 0 1\r\n", "a=mid:0\r\n", "a=mid:1\r\n");
    let answer = || signal("a", Some("b"), two_sections([5000, 5002], "", "", ""));
    let mut offer = signal("a", None, grouped());
    offer.security.bundle.accept = true;
    engine.offer(&offer).expect("offer");
    let before = ports(&engine.answer(&answer()).expect("answer"));
    offer.security.bundle.accept = false;
    offer.security.bundle.reject = true;
    engine.offer(&offer).expect("offer");
    let after = ports(&engine.answer(&answer()).expect("answer"));
    assert_eq!(after[0], before[0]);
    assert_ne!(after[0], after[1]);
    let handle = engine.call("call").expect("call");
    assert_eq!(plan(&lock(&handle), TapDirections::new(RecordDirection::Ingress)).streams.len(), 4);
}

#[test]
fn a_bundle_keeps_its_transport_when_its_first_section_is_given_up() {
    const ICE: &str = "a=ice-ufrag:abcdefgh\r\na=ice-pwd:abcdefghijklmnopqrstuvwxyz\r\n";
    // Whether the bundled party gives it up, the other one, or the other one in its answer.
    for (who, first_port) in [("a", 23_200), ("b", 23_300), ("b's answer", 23_400)] {
        let engine = engine(first_port, 16);
        let [first, second] = [FIRST, SECOND].map(|attributes| attributes.to_owned() + ICE);
        let offer = |ports, group: &str| {
            let session = format!("a=group:BUNDLE {group}\r\n");
            let mut offer = signal("a", None, two_sections(ports, &session, &first, &second));
            offer.security.bundle.accept = true;
            offer
        };
        let answer = |ports| signal("a", Some("b"), two_sections(ports, "", "", ""));
        engine.offer(&offer([4000, 4002], "0 1")).expect("offer");
        let before = engine.answer(&answer([5000, 5002])).expect("answer");
        let after = match who {
            "a" => {
                engine.offer(&offer([0, 4000], "1")).expect("re-offer");
                engine.answer(&answer([0, 5002])).expect("answer")
            }
            "b" => {
                let body = two_sections([0, 5002], "", "", "");
                engine.offer(&signal("b", Some("a"), body)).expect("re-offer")
            }
            _ => {
                engine.offer(&offer([4000, 4000], "0 1")).expect("re-offer");
                engine.answer(&answer([0, 5002])).expect("answer")
            }
        };
        assert_eq!(ports(&after), [0, ports(&before)[0]], "{who}");
        assert_eq!(ufrag_and_port(&after).0, ufrag_and_port(&before).0, "{who}");
    }
}

#[test]
fn a_section_that_takes_over_from_a_refused_one_keeps_its_transport() {
    let engine = engine(21_900, 16);
    let mut offer = signal("a", None, two_sections([4000, 4002], "", "", ""));
    offer.security.bundle.require = true;
    offer.security.ice = crate::negotiate::signal::IceMode::Force;
    let reply = engine.offer(&offer).expect("offer");
    let told = ports(&reply);
    assert_eq!(told[0], told[1]);
    let credentials = "a=mid:2\r\na=ice-ufrag:abcd\r\na=ice-pwd:pppppppppppppppppppppp\r\n";
    let body = two_sections([0, 5000], "a=group:BUNDLE 2\r\n", "a=mid:1\r\n", credentials);
    engine.answer(&signal("a", Some("b"), body)).expect("answer");
    let handle = engine.call("call").expect("call");
    let call = lock(&handle);
    let plan = plan(&call, TapDirections::new(RecordDirection::Ingress));
    assert!(plan.streams.iter().any(|stream| stream.socket.local.port() == told[0]));
    let text = String::from_utf8_lossy(&reply.sdp).into_owned();
    let party = call.party(call.by_tag("b").expect("party"));
    let local = party.media[1].ice.local().expect("credentials");
    assert!(text.contains(&format!("a=ice-ufrag:{}\r\n", local.ufrag())), "and its credentials");
}

#[test]
fn a_passed_through_section_carries_datagrams_both_ways() {
    let engine = engine(22_000, 16);
    let attributes = "a=ice-ufrag:abcd\r\na=ice-pwd:pppppppppppppppppppppp\r\n";
    let mut offer = signal("a", None, sdp("192.0.2.1", 4000, attributes));
    offer.security.ice = crate::negotiate::signal::IceMode::Optional;
    engine.offer(&offer).expect("offer");
    engine.answer(&signal("a", Some("b"), sdp("192.0.2.2", 5000, attributes))).expect("answer");
    let handle = engine.call("call").expect("call");
    let plan = plan(&lock(&handle), TapDirections::new(RecordDirection::Ingress));
    assert_eq!(plan.streams.len(), 4);
    assert!(plan.streams.iter().all(|stream| stream.expect == crate::media::plan::Expect::Datagrams));
    assert_eq!(plan.edges.iter().filter(|edge| edge.rtp_to.is_some()).count(), 4);
}

/// The ufrag in a reply, and the port.
fn ufrag_and_port(reply: &super::SdpReply) -> (String, u16) {
    let text = String::from_utf8_lossy(&reply.sdp);
    let ufrag = text.lines().find_map(|line| line.strip_prefix("a=ice-ufrag:")).expect("ICE");
    (ufrag.to_owned(), port(reply))
}

const ICE: &str = "a=ice-ufrag:abcdefgh\r\na=ice-pwd:abcdefghijklmnopqrstuvwxyz\r\n";

#[test]
fn running_ice_keeps_ports_and_credentials_whatever_family_the_parties_have() {
    let engine = engine_with(22_500, 16, |config| {
        let v6 = std::net::Ipv6Addr::LOCALHOST.into();
        let address = crate::config::LocalAddress { address: v6, advertised: v6, ports: None };
        config.interfaces[0].addresses.push(address);
    });
    let first = engine.offer(&signal("a", None, sdp("192.0.2.1", 4000, ICE))).expect("offer");
    let v6 = String::from_utf8(sdp("192.0.2.2", 5000, ICE).expect("SDP")).expect("text");
    let v6 = v6.replace("IP4 192.0.2.2", "IP6 2001:db8::2").into_bytes();
    engine.answer(&signal("a", Some("b"), Some(v6))).expect("answer");
    let again = engine.offer(&signal("a", Some("b"), sdp("192.0.2.1", 4000, ICE))).expect("offer");
    assert_eq!(ufrag_and_port(&again), ufrag_and_port(&first));
}

#[test]
fn another_interface_gives_other_ice_credentials() {
    let engine = engine_with(22_600, 16, |config| {
        let address = [127, 0, 0, 2].into();
        let mut other = Config::for_address(address, address).interfaces.remove(0);
        other.name = "other".into();
        config.interfaces.push(other);
    });
    let mut offer = signal("a", None, sdp("192.0.2.1", 4000, ICE));
    let (ufrag, _) = ufrag_and_port(&engine.offer(&offer).expect("offer"));
    offer.network.interface_to = Some("other".into());
    let (other_ufrag, _) = ufrag_and_port(&engine.offer(&offer).expect("offer"));
    assert_ne!(ufrag, other_ufrag);
}

#[test]
fn masked_header_extensions_are_hidden_in_what_the_offerer_sends() {
    let engine = engine(22_700, 16);
    let extensions = "a=extmap:1 urn:x:one\r\na=extmap:20 urn:x:long\r\n";
    let mut offer = signal("a", None, sdp("192.0.2.1", 4000, extensions));
    offer.output.extmap_mask = vec!["urn:x:long".into()];
    let reply = engine.offer(&offer).expect("offer");
    assert!(!String::from_utf8_lossy(&reply.sdp).contains("urn:x:long"));
    answer(&engine);
    let handle = engine.call("call").expect("call");
    let plan = plan(&lock(&handle), TapDirections::new(RecordDirection::Ingress));
    let hidden: Vec<[bool; 2]> =
        plan.streams.iter().map(|s| [1, 20].map(|id| s.hidden_extensions.contains(id))).collect();
    assert_eq!(hidden, [[false, true], [false, true], [false, false], [false, false]]);
}

fn line(reply: &super::SdpReply, prefix: &str) -> Option<String> {
    let text = String::from_utf8_lossy(&reply.sdp).into_owned();
    text.lines().find(|line| line.starts_with(prefix)).map(str::to_owned)
}

#[test]
fn ports_stay_when_multiplexing_ends() {
    let engine = engine(22_800, 16);
    let mux = "a=rtcp-mux\r\n";
    engine.offer(&signal("a", None, sdp("192.0.2.1", 4000, mux))).expect("offer");
    let muxed = engine.answer(&signal("a", Some("b"), sdp("192.0.2.2", 5000, mux))).expect("answer");
    let first = port(&muxed);
    assert_eq!(line(&muxed, "a=rtcp:"), Some(format!("a=rtcp:{first}")));
    let parted = answer(&engine);
    assert_eq!((port(&parted), line(&parted, "a=rtcp-mux")), (first, None));
    assert_eq!(line(&parted, "a=rtcp:"), Some(format!("a=rtcp:{}", first + 1)));
}

#[test]
fn a_party_with_ice_is_shown_no_zero_address() {
    let engine = engine(22_900, 16);
    let mut hold = signal("a", None, sdp("0.0.0.0", 4000, ""));
    let without = engine.offer(&hold).expect("offer");
    assert_eq!(line(&without, "c=").as_deref(), Some("c=IN IP4 0.0.0.0"));
    hold.security.ice = IceMode::Force;
    let with = engine.offer(&hold).expect("offer");
    assert_eq!(line(&with, "c=").as_deref(), Some("c=IN IP4 203.0.113.1"), "as its candidates");
    assert_eq!(line(&with, "a=send").as_deref(), Some("a=sendonly"), "on hold all the same");
}

#[test]
fn a_refused_re_offer_changes_no_transport() {
    let engine = engine(23_000, 16);
    let with = |port: u16, transport: &str| {
        let keys = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\r\n";
        let body = sdp("192.0.2.1", port, if transport == "RTP/SAVP" { keys } else { "" }).expect("body");
        Some(String::from_utf8(body).expect("text").replace("RTP/AVP", transport).into_bytes())
    };
    engine.offer(&signal("a", None, with(4000, "RTP/SAVP"))).expect("offer");
    engine.answer(&signal("a", Some("b"), with(5000, "RTP/SAVP"))).expect("answer");
    for _ in 0..2 {
        let refused = engine.offer(&signal("b", Some("a"), with(5000, "RTP/AVP"))).expect("offer");
        assert!(line(&refused, "m=").is_some_and(|line| line.contains("RTP/AVP")), "what was asked for");
    }
    let next = engine.offer(&signal("a", Some("b"), with(4000, "RTP/SAVP"))).expect("offer");
    assert!(line(&next, "m=").is_some_and(|line| line.contains("RTP/SAVP")), "encrypted as before");
    assert!(line(&next, "a=crypto:").is_some());
}
