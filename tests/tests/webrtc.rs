//! A WebRTC party (aiortc, Chromium) and a plain RTP one, joined by the daemon: ICE, DTLS-SRTP, one port, and sound both ways. Skipped
//! where there is no Python with aiortc (see [`e2e::python`]) or no Chromium (see [`e2e::chromium`]).

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use e2e::call::extend;
use e2e::chromium::Chromium;
use e2e::daemon::{Relay, wait_for};
use e2e::party::Party;
use e2e::{python, rtp, sdp, signal, speech, wav};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(15);
/// The tones of the two parties.
const PHONE_HZ: f64 = 440.0;
const BROWSER_HZ: f64 = 880.0;
/// Of the power of what is heard, at the other's tone.
const SHARE: f64 = 0.8;

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Caller {
    Browser,
    Phone,
}

/// What the WebRTC party is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Aiortc,
    Chromium,
}

/// Both take the same commands.
enum Browser {
    Aiortc(python::Peer),
    Chromium(Chromium),
}

impl Browser {
    fn start(kind: Kind) -> Option<Self> {
        match kind {
            Kind::Aiortc => {
                python::Peer::start("aiortc", include_str!("aiortc_peer.py")).map(Browser::Aiortc)
            }
            Kind::Chromium => Chromium::start(include_str!("webrtc_page.js")).map(Browser::Chromium),
        }
    }

    fn tell(&mut self, command: &Value) -> Value {
        match self {
            Self::Aiortc(peer) => peer.tell(command),
            Self::Chromium(page) => page.tell(command),
        }
    }
}

struct Call<'r> {
    relay: &'r Relay,
    browser: Browser,
    phone: Party,
    caller: Caller,
    codec: &'static str,
    /// Of the media, as the phone says.
    direction: &'static str,
    established: bool,
}

impl<'r> Call<'r> {
    /// `None` where there is none of this kind. The browser knows only `codec`.
    fn new(relay: &'r Relay, kind: Kind, caller: Caller, codec: &'static str) -> Option<Self> {
        let mut browser = Browser::start(kind)?;
        browser.tell(&json!({"op": "new", "codec": codec}));
        let phone = Party::new("127.0.0.1");
        Some(Self { relay, browser, phone, caller, codec, direction: "sendrecv", established: false })
    }

    /// A request about the call; the SDP in the reply, if there is one.
    fn request(&self, command: &str, sdp: &str, more: &Value) -> String {
        let mut request = json!({"command": command, "call-id": "webrtc", "from-tag": "a", "sdp": sdp});
        if command == "answer" || self.established {
            request["to-tag"] = json!("b");
        }
        extend(&mut request, more);
        if matches!(self.browser, Browser::Aiortc(_)) {
            // aiortc 1.4 does not understand an `a=rtcp` that leaves the address out.
            let mut flags = request["flags"].as_array().cloned().unwrap_or_default();
            flags.push(json!("full-rtcp-attribute"));
            request["flags"] = flags.into();
        }
        self.relay.ng.ok(request)["sdp"].as_str().unwrap_or_default().to_owned()
    }

    fn tell(&mut self, op: &str, sdp: &str) -> String {
        let reply = self.browser.tell(&json!({"op": op, "sdp": sdp}));
        reply["sdp"].as_str().unwrap_or_default().to_owned()
    }

    /// Towards which side what is converted.
    fn codecs(&self) -> Value {
        match (self.codec, self.caller) {
            ("PCMU", _) => json!({}),
            (_, Caller::Browser) => json!({"mask": [self.codec], "transcode": ["PCMU"]}),
            (_, Caller::Phone) => json!({"mask": ["PCMU"], "transcode": [self.codec]}),
        }
    }

    /// Offer and answer.
    fn negotiate(&mut self, more: &Value) {
        let phone = sdp::audio(self.phone.local(), &["0 PCMU/8000"], &["ptime:20", self.direction]);
        let mut keys = json!({"codec": self.codecs()});
        let to_phone = match self.caller {
            Caller::Browser => {
                extend(
                    &mut keys,
                    &json!({"ICE": "remove", "rtcp-mux": ["demux"], "transport-protocol": "RTP/AVP"}),
                );
                extend(&mut keys, more);
                let offer = self.tell("offer", "");
                let offered = self.request("offer", &offer, &keys);
                let answered = self.request("answer", &phone, &json!({}));
                self.tell("remote", &answered);
                offered
            }
            Caller::Phone => {
                let secure = json!({"ICE": "force", "rtcp-mux": ["offer"], "SDES": ["off"], "flags": ["generate-mid"],
                    "transport-protocol": "UDP/TLS/RTP/SAVPF"});
                extend(&mut keys, &secure);
                extend(&mut keys, more);
                let offered = self.request("offer", &phone, &keys);
                let answer = self.tell("answer", &offered);
                self.request("answer", &answer, &json!({}))
            }
        };
        let media = sdp::media(&to_phone);
        assert!(!to_phone.contains("ice-") && !to_phone.contains("fingerprint"), "{to_phone}");
        assert_eq!(media.formats[0].name, "PCMU", "{to_phone}");
        self.phone.remote = Some(media.rtp);
        self.established = true;
    }

    /// Waits for ICE and DTLS; how long they took from when the browser knew the other side.
    fn connected(&mut self) -> f64 {
        self.browser.tell(&json!({"op": "connected"}))["seconds"].as_f64().expect("a time")
    }

    /// Each hears the other's tone.
    fn talk(&mut self) {
        let format = sdp::format("0 PCMU/8000");
        let tone = signal::tone(PHONE_HZ, 8000, 1000, 12_000.0);
        let (payloads, ticks) = speech::encode(&tone, 8000, &format);
        let stop = AtomicBool::new(false);
        let (browser, phone) = (&mut self.browser, &mut self.phone);
        let listener = phone.listen();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let begin = Instant::now();
                for (number, payload) in (0_u32..).zip(payloads.iter().cycle()) {
                    if stop.load(Relaxed) {
                        break;
                    }
                    let due = begin + Duration::from_millis(20) * number;
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    let packet = phone.next_packet(0, payload, ticks);
                    phone.send(&packet);
                }
            });
            let heard = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                browser.tell(&json!({"op": "hear", "hz": PHONE_HZ, "share": SHARE}))
            }));
            stop.store(true, Relaxed);
            heard.expect("the browser hears the phone");
        });
        let begin = Instant::now();
        let mut heard = listener.stop();
        loop {
            let (audio, rate) = rtp::decode(&heard, &format);
            let best =
                audio.chunks(rate as usize / 5).map(|window| signal::tone_share(window, rate, BROWSER_HZ));
            let best = best.fold(0.0, f64::max);
            if best > SHARE {
                break;
            }
            assert!(
                begin.elapsed() < LIMIT,
                "the phone hears {best:.2} of the browser in {} packets",
                heard.len()
            );
            heard.extend(self.phone.receive(LIMIT));
        }
        let types: Vec<u8> = heard.iter().map(|received| received.packet.payload_type).collect();
        assert!(types.iter().all(|payload_type| *payload_type == 0), "{types:?}");
    }

    fn delete(mut self) {
        self.relay.ng.ok(json!({"command": "delete", "call-id": "webrtc", "delete-delay": 0}));
        self.browser.tell(&json!({"op": "close"}));
    }
}

/// Calls of one kind until one was established in time: another program may have had the processor.
fn established_within_a_second(kind: Kind, caller: Caller, codec: &'static str, more: &Value) {
    let relay = Relay::start(&[]);
    let mut times = Vec::new();
    while times.len() < 3 && times.last().is_none_or(|seconds| *seconds >= 1.0) {
        let Some(mut call) = Call::new(&relay, kind, caller, codec) else { return };
        call.negotiate(more);
        times.push(call.connected());
        call.talk();
        call.delete();
    }
    println!("{kind:?}, {caller:?} calls with {codec} {more}: ICE and DTLS took {times:.3?} s");
    assert!(times.iter().any(|seconds| *seconds < 1.0), "{times:?} s");
}

fn a_browser_calls_and_opus_is_converted(kind: Kind) {
    established_within_a_second(kind, Caller::Browser, "opus", &json!({}));
}

fn a_browser_is_called_and_opus_is_converted(kind: Kind) {
    established_within_a_second(kind, Caller::Phone, "opus", &json!({}));
}

fn a_browser_calls_and_its_packets_pass(kind: Kind) {
    established_within_a_second(kind, Caller::Browser, "PCMU", &json!({}));
}

fn a_browser_meets_a_lite_agent(kind: Kind) {
    established_within_a_second(kind, Caller::Browser, "opus", &json!({"ICE-lite": "backward"}));
    established_within_a_second(kind, Caller::Phone, "opus", &json!({"ICE-lite": "forward"}));
}

fn candidates_trickle_both_ways(kind: Kind) {
    let relay = Relay::start(&[]);
    let Some(mut call) = Call::new(&relay, kind, Caller::Phone, "opus") else { return };
    let phone = sdp::audio(call.phone.local(), &["0 PCMU/8000"], &["ptime:20"]);
    let is_candidate =
        |line: &&str| line.starts_with("a=candidate:") || line.starts_with("a=end-of-candidates");
    let without = |sdp: &str| {
        let lines = sdp.lines().filter(|line| !is_candidate(line));
        lines.map(|line| format!("{line}\r\n")).collect::<String>()
    };
    let keys = json!({"ICE": "force", "rtcp-mux": ["require"], "SDES": ["off"], "flags": ["generate-mid", "trickle-ICE"],
        "transport-protocol": "UDP/TLS/RTP/SAVPF", "codec": call.codecs()});
    let offered = call.request("offer", &phone, &keys);
    let answer = call.tell("answer", &without(&offered));
    let to_phone = call.request("answer", &without(&answer), &json!({}));
    call.phone.remote = Some(sdp::media(&to_phone).rtp);
    // The browser's to the daemon …
    let credentials =
        answer.lines().filter(|line| line.starts_with("a=ice-ufrag:") || line.starts_with("a=ice-pwd:"));
    let own = answer.lines().filter(is_candidate).filter(|line| line.starts_with("a=c"));
    let mid = offered.lines().find_map(|line| line.strip_prefix("a=mid:")).expect("an identifier");
    let (mut head, mut section) =
        (String::new(), format!("m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:{mid}\r\n"));
    credentials.for_each(|line| head.push_str(&format!("{line}\r\n")));
    own.for_each(|line| section.push_str(&format!("{line}\r\n")));
    let fragment = format!("{head}{section}a=end-of-candidates\r\n");
    call.request("offer", &fragment, &json!({"from-tag": "b", "flags": ["fragment"]}));
    // … and the daemon's to the browser.
    for line in offered.lines().filter(|line| line.starts_with("a=candidate:")) {
        call.browser.tell(&json!({"op": "candidate", "line": line.trim(), "mid": mid}));
    }
    println!("with trickled candidates: ICE and DTLS took {:.3} s", call.connected());
    call.talk();
    call.delete();
}

fn a_re_offer_in_mid_call_leaves_the_media_alone(kind: Kind) {
    let relay = Relay::start(&[]);
    for caller in [Caller::Browser, Caller::Phone] {
        let Some(mut call) = Call::new(&relay, kind, caller, "opus") else { return };
        call.negotiate(&json!({}));
        call.connected();
        call.talk();
        call.negotiate(&json!({}));
        call.talk();
        call.delete();
    }
}

/// New credentials on both sides while the old pair carries the media: what is in the way of a packet changes, and none is lost.
fn restarted_in_mid_call(caller: Caller) {
    let relay = Relay::start(&[]);
    let Some(mut call) = Call::new(&relay, Kind::Chromium, caller, "opus") else { return };
    call.negotiate(&json!({}));
    call.connected();
    call.talk();
    let before = call.browser.tell(&json!({"op": "state"}));
    match caller {
        Caller::Browser => {
            let offer = call.tell("restart", "");
            let phone = sdp::audio(call.phone.local(), &["0 PCMU/8000"], &["ptime:20"]);
            let keys = json!({"ICE": "remove", "rtcp-mux": ["demux"], "transport-protocol": "RTP/AVP", "codec": call.codecs()});
            call.request("offer", &offer, &keys);
            let answered = call.request("answer", &phone, &json!({}));
            call.tell("remote", &answered);
        }
        Caller::Phone => call.negotiate(&json!({"flags": ["generate-mid", "reset"]})),
    }
    let changed = wait_for(LIMIT, || {
        let now = call.browser.tell(&json!({"op": "state"}));
        (now["remote"].is_string() && now["remote"] != before["remote"]).then_some(now)
    });
    let changed = changed.unwrap_or_else(|| panic!("still the pair of {before}"));
    call.talk();
    let after = call.browser.tell(&json!({"op": "state"}));
    assert_eq!(after["dtls"], "connected", "{after}");
    assert_eq!(after["lost"], 0, "{before} {changed} {after}");
    assert!(after["received"].as_u64() > changed["received"].as_u64(), "{changed} {after}");
    call.delete();
}

#[test]
fn a_browser_restarts_ice_in_mid_call() {
    restarted_in_mid_call(Caller::Browser);
}

#[test]
fn ice_is_restarted_towards_a_browser_in_mid_call() {
    restarted_in_mid_call(Caller::Phone);
}

/// The browser's events have the clock of Opus, the phone's that of PCMU.
#[test]
fn digits_of_a_browser_are_those_that_the_phone_gets() {
    const DIGITS: &str = "1*0#D";
    let relay = Relay::start(&[]);
    let Some(mut browser) = Browser::start(Kind::Chromium) else { return };
    browser.tell(&json!({"op": "new", "codec": "opus", "digits": true}));
    let (phone, caller) = (Party::new("127.0.0.1"), Caller::Browser);
    let mut call = Call {
        relay: &relay,
        browser,
        phone,
        caller,
        codec: "opus",
        direction: "sendrecv",
        established: false,
    };
    let offer = call.tell("offer", "");
    assert!(offer.contains("telephone-event/48000"), "{offer}");
    let keys = json!({"ICE": "remove", "rtcp-mux": ["demux"], "transport-protocol": "RTP/AVP", "codec": call.codecs()});
    let offered = call.request("offer", &offer, &keys);
    let events = sdp::media(&offered).format("telephone-event").clone();
    assert_eq!(events.clock_rate, 8000, "{offered}");
    let lines = ["0 PCMU/8000".to_owned(), format!("{} telephone-event/8000 0-15", events.payload_type)];
    let own = sdp::audio(call.phone.local(), &lines.each_ref().map(String::as_str), &["ptime:20"]);
    let answered = call.request("answer", &own, &json!({}));
    call.tell("remote", &answered);
    call.connected();
    call.browser.tell(&json!({"op": "press", "digits": DIGITS}));
    let mut heard = Vec::new();
    let pressed = wait_for(LIMIT, || {
        heard.extend(std::iter::from_fn(|| call.phone.receive(Duration::from_millis(5))));
        let ends = heard.iter().filter(|received| received.packet.payload_type == events.payload_type);
        let mut digits: Vec<(u32, u8, u16)> = Vec::new();
        for received in ends {
            let [event, flags, high, low] = received.packet.payload[..] else { panic!("{received:?}") };
            let timestamp = received.packet.timestamp;
            if flags & 0x80 != 0 && digits.iter().all(|(at, ..)| *at != timestamp) {
                digits.push((timestamp, event, u16::from_be_bytes([high, low])));
            }
        }
        (digits.len() == DIGITS.len()).then_some(digits)
    });
    let types: std::collections::BTreeSet<_> = heard.iter().map(|h| h.packet.payload_type).collect();
    let pressed =
        pressed.unwrap_or_else(|| panic!("{} packets of {types:?}; {offer}{offered}{answered}", heard.len()));
    let events: Vec<u8> = pressed.iter().map(|(_, event, _)| *event).collect();
    assert_eq!(events, [1, 10, 0, 11, 15]);
    // 100 ms, and what the browser adds until its next packet.
    assert!(pressed.iter().all(|(.., duration)| (800..=1120).contains(duration)), "{pressed:?}");
    call.delete();
}

#[test]
fn a_browser_hears_an_announcement_and_then_the_phone_again() {
    const ANNOUNCEMENT_HZ: f64 = 660.0;
    let relay = Relay::start(&[]);
    let file = relay.path("announcement.wav");
    let tone = signal::tone(ANNOUNCEMENT_HZ, 16_000, 1000, 8000.0);
    std::fs::write(&file, wav::encode(&tone, 16_000, 1)).expect("written");
    let Some(mut call) = Call::new(&relay, Kind::Chromium, Caller::Phone, "opus") else { return };
    call.negotiate(&json!({}));
    call.connected();
    let play = json!({"command": "play media", "call-id": "webrtc", "from-tag": "b", "file": file, "repeat-times": 60});
    relay.ng.ok(play);
    call.browser.tell(&json!({"op": "hear", "hz": ANNOUNCEMENT_HZ, "share": SHARE}));
    relay.ng.ok(json!({"command": "stop media", "call-id": "webrtc", "from-tag": "b"}));
    call.talk();
    call.delete();
}

#[test]
fn a_browser_that_was_held_talks_again() {
    let relay = Relay::start(&[]);
    let Some(mut call) = Call::new(&relay, Kind::Chromium, Caller::Phone, "opus") else { return };
    call.negotiate(&json!({}));
    call.connected();
    call.talk();
    for (direction, of_browser) in [
        ("inactive", "inactive"),
        ("sendrecv", "sendrecv"),
        ("sendonly", "recvonly"),
        ("sendrecv", "sendrecv"),
    ] {
        call.direction = direction;
        call.negotiate(&json!({}));
        assert_eq!(call.browser.tell(&json!({"op": "directions"}))["all"], json!([of_browser]));
        if direction == "sendrecv" {
            call.talk();
        }
    }
    call.delete();
}

#[test]
fn video_that_the_phone_rejects_leaves_the_audio_alone() {
    let relay = Relay::start(&[]);
    let Some(mut call) = Call::new(&relay, Kind::Chromium, Caller::Browser, "opus") else { return };
    call.negotiate(&json!({}));
    call.connected();
    call.talk();
    call.browser.tell(&json!({"op": "video"}));
    let offer = call.tell("offer", "");
    let keys = json!({"ICE": "remove", "rtcp-mux": ["demux"], "transport-protocol": "RTP/AVP", "codec": call.codecs()});
    let offered = call.request("offer", &offer, &keys);
    let video = offered.lines().find(|line| line.starts_with("m=video ")).expect("a section");
    assert!(!video.starts_with("m=video 0 "), "{offered}");
    let formats = video.splitn(4, ' ').nth(3).expect("payload types");
    let audio = sdp::audio(call.phone.local(), &["0 PCMU/8000"], &["ptime:20"]);
    let answered = call.request("answer", &format!("{audio}m=video 0 RTP/AVP {formats}\r\n"), &json!({}));
    assert!(answered.contains("m=video 0 "), "{answered}");
    call.tell("remote", &answered);
    call.talk();
    let directions = call.browser.tell(&json!({"op": "directions"}));
    assert_eq!(directions["all"], json!(["sendrecv"]), "{answered}");
    call.delete();
}

/// A recorder by SIPREC (RFC 7866) that knows neither ICE nor DTLS nor Opus.
#[test]
fn a_browser_is_heard_by_a_plain_subscriber() {
    let relay = Relay::start(&[]);
    let Some(mut call) = Call::new(&relay, Kind::Chromium, Caller::Phone, "opus") else { return };
    call.negotiate(&json!({}));
    call.connected();
    call.talk();
    let request = json!({"command": "subscribe request", "call-id": "webrtc", "from-tag": "b", "flags": ["SIPREC"],
        "ICE": "remove", "rtcp-mux": ["demux"], "transport-protocol": "RTP/AVP",
        "codec": {"strip": ["all"], "transcode": ["PCMA"]}});
    let reply = relay.ng.ok(request);
    let offered = sdp::media(reply["sdp"].as_str().expect("sdp"));
    assert!(!reply["sdp"].to_string().contains("fingerprint"), "{reply}");
    let recorder = Party::new("127.0.0.1");
    let own = sdp::audio(recorder.local(), &["8 PCMA/8000"], &["recvonly"]);
    let tag = &reply["to-tag"];
    relay.ng.ok(json!({"command": "subscribe answer", "call-id": "webrtc", "to-tag": tag, "sdp": own,
        "flags": ["allow-transcoding"]}));
    assert_eq!(offered.formats[0].name, "PCMA");
    let mut heard = Vec::new();
    let tone = wait_for(LIMIT, || {
        heard.extend(std::iter::from_fn(|| recorder.receive(Duration::from_millis(5))));
        let (audio, rate) = rtp::decode(&heard, &sdp::format("8 PCMA/8000"));
        let mut windows = audio.chunks(rate as usize / 5);
        windows.any(|window| signal::tone_share(window, rate, BROWSER_HZ) > SHARE).then_some(())
    });
    assert!(tone.is_some(), "in {} packets", heard.len());
    call.talk();
    call.delete();
}

/// Every scenario with a party of every kind.
macro_rules! scenarios {
    ($($name:ident),* $(,)?) => {
        mod aiortc {
            $(#[test] fn $name() { super::$name(super::Kind::Aiortc); })*
        }
        mod chromium {
            $(#[test] fn $name() { super::$name(super::Kind::Chromium); })*
        }
    };
}

scenarios!(
    a_browser_calls_and_opus_is_converted,
    a_browser_is_called_and_opus_is_converted,
    a_browser_calls_and_its_packets_pass,
    a_browser_meets_a_lite_agent,
    candidates_trickle_both_ways,
    a_re_offer_in_mid_call_leaves_the_media_alone,
);
