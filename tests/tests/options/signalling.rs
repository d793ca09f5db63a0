//! Options about calls: when they end or are refused, what signalling may say, and what replies contain.

use std::collections::{BTreeMap, BTreeSet};
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use e2e::call::{Call, Setup};
use e2e::daemon::{Relay, wait_for};
use e2e::sdp;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(15);

/// A relay that reads a config file with this text.
fn configured(text: &str, arguments: &[&str]) -> Relay {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("rtpengine.conf");
    std::fs::write(&file, text).expect("written");
    let file = format!("--config-file={}", file.display());
    Relay::start(&[&[file.as_str()], arguments].concat())
}

fn cli(relay: &Relay, line: &str) -> String {
    let reply = relay.ng.ok(json!({"command": "cli", "body": line}));
    reply["response"].as_str().expect("a text").to_owned()
}

fn description() -> String {
    sdp::audio("127.0.0.1:4000".parse().expect("literal"), &["0 PCMU/8000"], &["ptime:20"])
}

fn offer(relay: &Relay, id: &str, more: &Value) -> Value {
    let mut request = json!({"command": "offer", "call-id": id, "from-tag": "a", "sdp": description()});
    e2e::call::extend(&mut request, more);
    relay.ng.request(&request)
}

fn calls(relay: &Relay) -> usize {
    relay.ng.ok(json!({"command": "list"}))["calls"].as_array().map_or(0, Vec::len)
}

fn ends(relay: &Relay, counter: &str) {
    let ended = wait_for(SOON, || (calls(relay) == 0).then_some(()));
    assert!(ended.is_some(), "{}", cli(relay, "list sessions all"));
    let statistics = relay.ng.ok(json!({"command": "statistics"}));
    assert_eq!(statistics["statistics"]["totalstatistics"][counter], 1, "{statistics}");
}

#[test]
fn a_section_of_the_config_file_is_chosen() {
    let text = "[rtpengine]\ntimeout = 11\n[second]\ntimeout = 77\n";
    assert_eq!(cli(&configured(text, &[]), "list timeout"), "TIMEOUT=11\n");
    assert_eq!(cli(&configured(text, &["--config-section=second"]), "list timeout"), "TIMEOUT=77\n");
}

#[test]
fn an_offer_without_answer_ends_after_the_offer_timeout() {
    let relay = Relay::start(&["--timeout=1", "--offer-timeout=3", "--delete-delay=0"]);
    let began = Instant::now();
    assert_eq!(offer(&relay, "unanswered", &json!({}))["result"], "ok");
    ends(&relay, "offertimeoutsessions");
    assert!(began.elapsed() > Duration::from_secs(2), "{:?}", began.elapsed());
}

#[test]
fn a_call_on_hold_ends_after_the_silent_timeout() {
    let relay = Relay::start(&["--silent-timeout=1", "--timeout=100", "--delete-delay=0"]);
    let held: &[&str] = &["inactive"];
    let _call = Call::establish(&relay, "held", Setup { attributes: [held, held], ..Setup::default() });
    ends(&relay, "silenttimeoutsessions");
}

#[test]
fn a_call_with_media_ends_after_the_final_timeout() {
    let relay = Relay::start(&["--final-timeout=2", "--timeout=100", "--delete-delay=0"]);
    let mut call = Call::establish(&relay, "final", Setup::default());
    call.learn();
    let began = Instant::now();
    ends(&relay, "finaltimeoutsessions");
    assert!(began.elapsed() > Duration::from_millis(900), "{:?}", began.elapsed());
}

#[test]
fn media_go_where_the_message_came_from_with_sip_source() {
    for (arguments, flags, expected) in [
        (&["--sip-source"][..], json!([]), "127.0.0.9"),
        (&["--sip-source"], json!(["trust address"]), "127.0.0.1"),
        (&[], json!([]), "127.0.0.1"),
    ] {
        let relay = Relay::start(arguments);
        let more = json!({"received from": ["IP4", "127.0.0.9"], "flags": flags});
        assert_eq!(offer(&relay, "source", &more)["result"], "ok");
        let query = relay.ng.ok(json!({"command": "query", "call-id": "source"}));
        let stream = &query["tags"]["a"]["medias"][0]["streams"][0];
        assert_eq!(stream["endpoint"]["address"], expected, "{arguments:?} {flags} {stream}");
    }
}

/// Whether an offer is refused within some seconds, and with which words.
fn refused(relay: &Relay) -> Option<String> {
    let mut number = 0;
    wait_for(SOON, || {
        number += 1;
        let reply = offer(relay, &format!("more-{number}"), &json!({"supports": ["load limit"]}));
        (reply["result"] == "load limit").then(|| reply["message"].as_str().expect("a text").to_owned())
    })
}

/// Keeps a core busy until it is dropped.
struct Busy(Arc<AtomicBool>);

impl Busy {
    fn start() -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&ended);
        std::thread::spawn(move || while !seen.load(Ordering::Relaxed) {});
        Self(ended)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn new_calls_are_refused_on_a_busy_machine() {
    let _busy = Busy::start();
    for (option, message) in
        [("--max-load=0.01", "Load limit exceeded"), ("--max-cpu=0.1", "CPU usage limit exceeded")]
    {
        let relay = Relay::start(&[option]);
        assert_eq!(refused(&relay).as_deref(), Some(message), "{option}");
    }
    assert_eq!(offer(&Relay::start(&["--max-load=10000"]), "free", &json!({}))["result"], "ok");
}

#[test]
fn new_calls_are_refused_while_there_is_too_much_media() {
    let relay = Relay::start(&["--max-bandwidth=1000"]);
    let mut call = Call::establish(&relay, "media", Setup::default());
    let sending = call.a.send_paced(0, vec![vec![0x55; 160]; 400], 160, Duration::from_millis(10));
    assert_eq!(refused(&relay).as_deref(), Some("Bandwidth limit exceeded"));
    sending.join().expect("sent");
}

#[test]
fn interfaces_come_from_groups_of_the_config_file() {
    let text = "[rtpengine]\ninterfaces-config = net\n[net-near]\naddress = 127.0.0.2\nadvertised = 192.0.2.7\n\
                [net-far]\naddress = 127.0.0.3\n[net-away]\nalias = far\n";
    let relay = configured(text, &[]);
    for (name, address) in [("near", "192.0.2.7"), ("far", "127.0.0.3"), ("away", "127.0.0.3")] {
        let reply = offer(&relay, name, &json!({"direction": ["default", name]}));
        let told = sdp::media(reply["sdp"].as_str().expect("sdp")).rtp;
        assert_eq!(told.ip().to_string(), address, "{name}");
    }
}

#[test]
fn a_template_stands_for_the_flags_it_names() {
    let text = "[rtpengine]\ntemplates = tpl\n[tpl]\nsecure = transport-protocol=RTP/SAVP SDES-off\n\
                answer = ptime=40\n";
    let relay = configured(text, &[]);
    let profile = |more: &Value, id: &str| {
        let reply = offer(&relay, id, more);
        let text = reply["sdp"].as_str().expect("sdp").to_owned();
        text.lines()
            .find(|line| line.starts_with("m="))
            .expect("a section")
            .split(' ')
            .nth(2)
            .map(str::to_owned)
    };
    assert_eq!(profile(&json!({"template": "secure"}), "with").as_deref(), Some("RTP/SAVP"));
    assert_eq!(profile(&json!({}), "without").as_deref(), Some("RTP/AVP"));
}

#[test]
fn unclean_descriptions_are_refused_when_that_is_wanted() {
    let unclean = json!({"sdp": format!("{}\r\n", description())});
    for (arguments, expected) in [(&["--reject-invalid-sdp"][..], "error"), (&[], "ok")] {
        let relay = Relay::start(arguments);
        assert_eq!(offer(&relay, "unclean", &unclean)["result"], expected, "{arguments:?}");
        assert_eq!(offer(&relay, "clean", &json!({}))["result"], "ok");
    }
}

#[test]
fn statistics_of_ssrcs_stand_where_they_are_wanted() {
    for (mode, total, inline) in
        [("full", true, true), ("global", true, false), ("inline", false, true), ("none", false, false)]
    {
        let relay = Relay::start(&[&format!("--ssrc-reporting={mode}")]);
        let mut call = Call::establish(&relay, "ssrc", Setup::default());
        call.learn();
        let reply = call.query();
        let in_total = reply["SSRC"].as_object().is_some_and(|all| !all.is_empty());
        let tags = reply["tags"].to_string();
        assert_eq!((in_total, tags.contains(r#"SSRCs":[{"#)), (total, inline), "{mode}: {reply}");
    }
}

#[test]
fn quality_of_forwarded_streams_is_measured_when_that_is_wanted() {
    for (arguments, wanted) in
        [(&["--measure-rtp", "--rtcp-interval=100"][..], true), (&["--rtcp-interval=100"], false)]
    {
        let relay = Relay::start(arguments);
        let mut call = Call::establish(&relay, "measured", Setup::default());
        let sending = call.a.send_paced(0, vec![vec![0x55; 160]; 80], 160, Duration::from_millis(20));
        sending.join().expect("sent");
        let samples = || {
            let statistics = relay.ng.ok(json!({"command": "statistics"}));
            statistics["statistics"]["voip_metrics"]["jitter_measured_samples_total"].as_i64()
        };
        assert_eq!(samples().expect("a number") > 0, wanted, "{arguments:?} {:?}", samples());
    }
}

/// The score of a stream whose sender and receiver are 700 ms away from the relay.
fn score(option: &str) -> f64 {
    let relay = Relay::start(&["--rtcp-interval=1000", option]);
    let setup = Setup { offer: json!({"generate RTCP": "on"}), ..Setup::default() };
    let mut call = Call::establish(&relay, "score", setup);
    call.learn();
    let words = |octets: Vec<u8>| -> Vec<u32> {
        octets.chunks_exact(4).map(|word| u32::from_be_bytes([word[0], word[1], word[2], word[3]])).collect()
    };
    // A score needs the round-trip times of both legs.
    for (party, to) in [(&call.a, call.answered.rtcp), (&call.b, call.offered.rtcp)] {
        let mut reports = std::iter::repeat_with(|| words(party.receive_rtcp().expect("a report")));
        let report = reports.find(|report| report[0] >> 16 & 0xff == 200).expect("never ends");
        std::thread::sleep(Duration::from_millis(700));
        let name = report[2] << 16 | report[3] >> 16;
        let answer: [u32; 8] = [0x81c9_0007, party.ssrc, report[1], 0, 1, 0, name, 0];
        let octets: Vec<u8> = answer.iter().flat_map(|word| word.to_be_bytes()).collect();
        party.rtcp.send_to(&octets, to).expect("sent");
    }
    let ssrc = call.a.ssrc.to_string();
    let found = wait_for(SOON, || call.query()["SSRC"][&ssrc]["average MOS"]["MOS"].as_f64());
    found.unwrap_or_else(|| panic!("no score in {}", call.query()))
}

#[test]
fn scores_are_about_conversation_or_about_listening() {
    let (conversation, listening) = (score("--mos=CQ"), score("--mos=LQ"));
    assert!(conversation + 5.0 < listening, "{conversation} {listening}");
}

#[test]
fn another_instance_is_asked_as_often_and_as_long_as_configured() {
    let other = UdpSocket::bind("127.0.0.1:0").expect("loopback");
    other.set_read_timeout(Some(Duration::from_millis(1500))).expect("not zero");
    let address = other.local_addr().expect("bound");
    let text = format!(
        "[rtpengine]\ntranscode-config = tc\n[tc-there]\nsource = PCMU\ndestination = PCMA\ntransform = {address}\n"
    );
    let relay = configured(&text, &["--ng-client-timeout=250", "--ng-client-retries=2"]);
    let offer = json!({"codec": {"transcode": ["PCMA"]}});
    let _call = Call::establish(&relay, "asked", Setup { b: &["8 PCMA/8000"], offer, ..Setup::default() });
    let mut times: BTreeMap<Vec<u8>, Vec<Instant>> = BTreeMap::new();
    let mut buffer = [0; 4096];
    while let Ok(length) = other.recv(&mut buffer) {
        let message = &buffer[..length];
        if message.windows(9).any(|window| window == b"transform") {
            times.entry(message.to_vec()).or_default().push(Instant::now());
        }
    }
    let counts: BTreeSet<usize> = times.values().map(Vec::len).collect();
    assert_eq!(counts, [3].into(), "one attempt and two more");
    for attempts in times.values() {
        for pair in attempts.windows(2) {
            assert!(pair[1] - pair[0] > Duration::from_millis(200), "{attempts:?}");
        }
    }
}

#[test]
fn a_deleted_call_stays_for_the_configured_time() {
    let relay = Relay::start(&["--delete-delay=2"]);
    assert_eq!(offer(&relay, "deleted", &json!({}))["result"], "ok");
    let began = Instant::now();
    relay.ng.ok(json!({"command": "delete", "call-id": "deleted"}));
    assert_eq!(calls(&relay), 1, "{}", cli(&relay, "list sessions all"));
    assert!(wait_for(SOON, || (calls(&relay) == 0).then_some(())).is_some());
    assert!(began.elapsed() > Duration::from_millis(900), "{:?}", began.elapsed());
}

#[test]
fn bare_words_for_transports_can_be_ignored() {
    for (arguments, expected) in [(&[][..], " RTP/SAVP "), (&["--ignore-transport-words"], " RTP/AVP ")] {
        let relay = Relay::start(arguments);
        let reply = offer(&relay, "words", &json!({"rtpp-flags": "RTP/SAVP"}));
        let text = reply["sdp"].as_str().expect("sdp");
        assert!(text.contains(expected), "{arguments:?} {text}");
    }
}
