//! Commands on a real engine with real ports; packets are the business of the data plane's tests.

use std::sync::Arc;

use super::compile::{TapDirections, plan};
use super::engine::{Deleted, Engine, Services};
use super::error::CommandError;
use super::store::lock;
use crate::config::{Config, RecordDirection};
use crate::media::MediaPlane;
use crate::media::port_pool::PortPool;
use crate::negotiate::signal::Signal;
use crate::record::Recorder;

/// An engine whose media range has room for `pairs` pairs of ports.
fn engine(first_port: u16, pairs: u16) -> Engine {
    let loopback = [127, 0, 0, 1].into();
    let mut config = Config::for_address(loopback, [203, 0, 113, 1].into());
    (config.port_min, config.port_max) = (first_port, first_port + 2 * pairs - 1);
    let (events, _) = tokio::sync::mpsc::channel(16);
    let (producer, consumer) = crate::media::tap::ring(4096);
    Engine::new(Services {
        pool: PortPool::new(&config.interfaces, (config.port_min, config.port_max), 0, &[]),
        plane: MediaPlane::start(&config, vec![producer], events).expect("workers"),
        recorder: Recorder::start(&config.recording, vec![consumer]).expect("recorder"),
        config: Arc::new(config),
    })
}

fn sdp(address: &str, port: u16, attributes: &str) -> Option<Vec<u8>> {
    let body = format!(
        "v=0\r\no=x 1 1 IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0 8\r\n{attributes}"
    );
    Some(body.into_bytes())
}

fn signal(from: &str, to: Option<&str>, sdp: Option<Vec<u8>>) -> Signal {
    let mut signal = Signal { sdp, ..Signal::default() };
    signal.identity.call_id = Some("call".into());
    signal.identity.from_tag = Some(from.into());
    signal.identity.to_tag = to.map(str::to_owned);
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
