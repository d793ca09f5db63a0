//! Video between browsers, and between a browser and a plain RTP party: frames, what repairs them and what asks for them pass untouched.
//! Skipped where there is no Chromium (see [`e2e::chromium`]).

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use codec::header_extension;
use e2e::call::extend;
use e2e::chromium::Chromium;
use e2e::daemon::{Relay, wait_for};
use e2e::party::Party;
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(20);
const RED: &str = "rgb(220, 20, 20)";
const BLUE: &str = "rgb(20, 20, 220)";

struct Call<'r> {
    relay: &'r Relay,
    page: Chromium,
}

impl<'r> Call<'r> {
    fn new(relay: &'r Relay) -> Option<Self> {
        let page = Chromium::start(include_str!("video_page.js"))?;
        Some(Self { relay, page })
    }

    fn request(&self, command: &str, sdp: &str, more: &Value) -> String {
        let mut request = json!({"command": command, "call-id": "video", "from-tag": "a", "sdp": sdp});
        if command == "answer" {
            request["to-tag"] = json!("b");
        }
        extend(&mut request, more);
        self.relay.ng.ok(request)["sdp"].as_str().expect("sdp").to_owned()
    }

    fn sdp(&mut self, command: &Value) -> String {
        self.page.tell(command)["sdp"].as_str().expect("sdp").to_owned()
    }

    /// Two browsers, both with ICE and DTLS. The way to the second one may lead elsewhere.
    fn browsers(&mut self, codec: &str, keys: &Value, detour: impl FnOnce(&str) -> String) {
        let secure = json!({"ICE": "force", "rtcp-mux": ["offer", "require"], "SDES": ["off"], "flags": ["generate-mid"],
            "transport-protocol": "UDP/TLS/RTP/SAVPF"});
        let mut offer_keys = secure.clone();
        extend(&mut offer_keys, keys);
        let offer = self.sdp(&json!({"op": "offer", "name": "a", "colour": RED, "codec": codec}));
        let offered = detour(&self.request("offer", &offer, &offer_keys));
        let mut answer = self.sdp(&json!({"op": "answer", "name": "b", "colour": BLUE, "sdp": offered}));
        if offered.contains(DETOUR_FOUNDATION) {
            // Nobody knows another way to it.
            answer = without(&answer, |line| line.starts_with("a=candidate:"));
        }
        let answered = self.request("answer", &answer, &secure);
        self.page.tell(&json!({"op": "remote", "name": "a", "sdp": answered}));
        for name in ["a", "b"] {
            self.page.tell(&json!({"op": "connected", "name": name}));
        }
    }

    /// Each sees the other's colour: the part of it that is strongest, and how far behind the others are.
    fn see_each_other(&mut self) {
        for (name, strong) in [("a", 2), ("b", 0)] {
            let seen = self.page.tell(&json!({"op": "see", "name": name}));
            let parts: Vec<i64> =
                seen["middle"].as_array().expect("three parts").iter().filter_map(Value::as_i64).collect();
            assert!((0..3).all(|part| part == strong || parts[part] + 80 < parts[strong]), "{name}: {seen}");
        }
    }

    /// Waits until a figure of a party's statistics is beyond a value.
    fn grows(&mut self, name: &str, kind: &str, figure: &str, beyond: f64) -> f64 {
        let reply = self
            .page
            .tell(&json!({"op": "grows", "name": name, "type": kind, "kind": "video", "figure": figure, "beyond": beyond}));
        reply["value"].as_f64().expect("a number")
    }

    fn delete(&mut self) {
        self.page.tell(&json!({"op": "close"}));
        self.relay.ng.ok(json!({"command": "delete", "call-id": "video", "delete-delay": 0}));
    }
}

fn without(sdp: &str, unwanted: impl Fn(&str) -> bool) -> String {
    sdp.lines().filter(|line| !unwanted(line)).map(|line| format!("{line}\r\n")).collect()
}

/// Frames, reports, retransmissions and requests of two browsers find their way with these keys of the offer.
fn video_passes(codecs: &[&str], keys: &Value) {
    let relay = Relay::start(&[]);
    let Some(mut call) = Call::new(&relay) else { return };
    let known = call.page.tell(&json!({"op": "codecs"}))["video"].to_string();
    for codec in codecs.iter().filter(|codec| known.contains(**codec)) {
        call.browsers(codec, keys, str::to_owned);
        call.see_each_other();
        for name in ["a", "b"] {
            call.grows(name, "inbound-rtp", "framesDecoded", 30.0);
            let round_trip = call.grows(name, "remote-inbound-rtp", "roundTripTime", 0.0);
            // Of loopback; a machine that has much else to do takes its time.
            assert!(round_trip < 5.0, "{round_trip} s");
        }
        // The estimate leaves its first value only with feedback about each packet.
        let rate = call.page.tell(
            &json!({"op": "grows", "name": "a", "type": "candidate-pair", "figure": "availableOutgoingBitrate", "beyond": 400_000}),
        );
        println!("{codec} {keys}: {rate} bit/s");
        call.delete();
    }
}

#[test]
fn every_codec_passes_between_bundling_browsers() {
    video_passes(&["VP8", "VP9", "H264", "AV1"], &json!({"bundle": ["accept", "offer"]}));
}

#[test]
fn video_passes_where_the_bundle_is_taken_apart() {
    video_passes(&["VP8"], &json!({}));
}

const DETOUR_FOUNDATION: &str = "a=candidate:detour";

/// A way to a port of the daemon that loses every so many'th RTP packet towards the browser.
struct LossyWay {
    lost: Arc<AtomicU32>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl LossyWay {
    /// The description with the way's address in place of the daemon's.
    fn to(sdp: &str, one_of: u32) -> (Self, String) {
        let port: u16 = sdp
            .lines()
            .find_map(|line| line.strip_prefix("m=")?.split(' ').nth(1)?.parse().ok())
            .expect("a port");
        let daemon = SocketAddr::from(([127, 0, 0, 1], port));
        let [near, far] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").expect("a port"));
        let address = near.local_addr().expect("bound");
        let mut with_detour = String::new();
        let mut has_candidate = false;
        for line in sdp.lines() {
            if line.starts_with("a=end-of-candidates") {
                continue;
            }
            if line.starts_with("a=candidate:") {
                if !std::mem::replace(&mut has_candidate, true) {
                    let port = address.port();
                    with_detour.push_str(&format!(
                        "{DETOUR_FOUNDATION} 1 udp 2130706431 127.0.0.1 {port} typ host\r\n"
                    ));
                }
                continue;
            }
            with_detour.push_str(&format!("{line}\r\n"));
        }
        let (lost, stop) = (Arc::<AtomicU32>::default(), Arc::<AtomicBool>::default());
        let thread = std::thread::spawn({
            let (lost, stop) = (Arc::clone(&lost), Arc::clone(&stop));
            move || carry(&near, &far, daemon, one_of, &lost, &stop)
        });
        (Self { lost, stop, thread: Some(thread) }, with_detour)
    }
}

impl Drop for LossyWay {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        self.thread.take().map(std::thread::JoinHandle::join);
    }
}

fn carry(
    near: &UdpSocket,
    far: &UdpSocket,
    daemon: SocketAddr,
    one_of: u32,
    lost: &AtomicU32,
    stop: &AtomicBool,
) {
    let mut browser = None;
    let mut buffer = [0; 2048];
    let mut count = 0;
    for socket in [near, far] {
        socket.set_read_timeout(Some(Duration::from_millis(1))).expect("not zero");
    }
    while !stop.load(Relaxed) {
        while let Ok((length, from)) = near.recv_from(&mut buffer) {
            browser = Some(from);
            let _ = far.send_to(&buffer[..length], daemon);
        }
        while let Ok(length) = far.recv(&mut buffer) {
            let is_rtp = (128..192).contains(&buffer[0]) && !(192..224).contains(&buffer[1]);
            count += u32::from(is_rtp);
            if is_rtp && count.is_multiple_of(one_of) {
                lost.fetch_add(1, Relaxed);
            } else if let Some(browser) = browser {
                let _ = near.send_to(&buffer[..length], browser);
            }
        }
    }
}

#[test]
fn lost_packets_of_video_are_asked_for_and_sent_again() {
    let relay = Relay::start(&[]);
    let Some(mut call) = Call::new(&relay) else { return };
    let mut way = None;
    call.browsers("VP8", &json!({"bundle": ["accept", "offer"]}), |offered| {
        let (lossy, sdp) = LossyWay::to(offered, 20);
        way = Some(lossy);
        sdp
    });
    call.see_each_other();
    let again = call.grows("b", "inbound-rtp", "retransmittedPacketsReceived", 5.0);
    let asked = call.grows("a", "outbound-rtp", "nackCount", 5.0);
    let lost = way.as_ref().map_or(0, |way| way.lost.load(Relaxed));
    assert!(lost > 5, "{lost} lost");
    println!("{lost} packets lost, {asked} requests, {again} sent again");
    call.delete();
}

/// What the plain RTP party takes: what it was offered, all layers, and no feedback about each packet.
fn accepting(offered: &str, ports: [u16; 2]) -> String {
    let mut ports = ports.into_iter();
    let mut out = String::new();
    let feedback = ["transport-cc", "transport-wide-cc", "a=rtcp:", "a=ssrc", "a=setup", "a=fingerprint"];
    for line in offered.lines().filter(|line| !feedback.iter().any(|word| line.contains(word))) {
        let line = if let Some(section) = line.strip_prefix("m=") {
            let mut words: Vec<&str> = section.split(' ').collect();
            let port = ports.next().expect("two sections").to_string();
            words[1] = &port;
            format!("m={}", words.join(" "))
        } else if line.starts_with("a=rid:") || line.starts_with("a=simulcast:") {
            line.replace("send", "recv")
        } else {
            line.to_owned()
        };
        out.push_str(&format!("{line}\r\n"));
    }
    out
}

/// The number of a header extension in the last section.
fn extension(sdp: &str, name: &str) -> u8 {
    let line = sdp.lines().rfind(|line| line.starts_with("a=extmap:") && line.trim_end().ends_with(name));
    let number = line.and_then(|line| line.strip_prefix("a=extmap:")?.split([' ', '/']).next()?.parse().ok());
    number.unwrap_or_else(|| panic!("no {name} in {sdp}"))
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

#[test]
fn all_layers_of_simulcast_pass_and_are_controlled_by_who_receives_them() {
    const RIDS: [&str; 3] = ["h", "m", "l"];
    let relay = Relay::start(&[]);
    let Some(mut call) = Call::new(&relay) else { return };
    let (audio, video) = (Party::new("127.0.0.1"), Party::new("127.0.0.1"));
    let offer = call.sdp(&json!({"op": "offer", "name": "a", "colour": RED, "codec": "VP8", "rids": RIDS}));
    let keys = json!({"ICE": "remove", "rtcp-mux": ["demux"], "transport-protocol": "RTP/AVPF"});
    let offered = call.request("offer", &offer, &keys);
    for rid in RIDS {
        assert!(offered.contains(&format!("a=rid:{rid} send")), "{offered}");
    }
    let answer = accepting(&offered, [audio.local().port(), video.local().port()]);
    let answered = call.request("answer", &answer, &json!({}));
    assert!(answered.contains("a=simulcast:recv h;m;l"), "{answered}");
    let rid_extension = extension(&offered, ":rtp-stream-id");
    call.page.tell(&json!({"op": "remote", "name": "a", "sdp": answered}));
    call.page.tell(&json!({"op": "connected", "name": "a"}));

    let section = offered.lines().filter_map(|line| line.strip_prefix("m=video ")).next().expect("a section");
    let rtp_port: u16 = section.split(' ').next().and_then(|port| port.parse().ok()).expect("a port");
    let rtcp = SocketAddr::from(([127, 0, 0, 1], rtp_port + 1));
    let mut layers = BTreeMap::<String, u32>::new();
    let mut buffer = [0; 2048];
    let mut last_allowed: Option<Instant> = None;
    let end = Instant::now() + LIMIT;
    video.rtp.set_read_timeout(Some(Duration::from_millis(100))).expect("not zero");
    while layers.len() < RIDS.len() {
        assert!(Instant::now() < end, "only {layers:?}");
        if let Ok(length) = video.rtp.recv(&mut buffer) {
            let packet = &buffer[..length];
            let ssrc = u32::from_be_bytes([packet[8], packet[9], packet[10], packet[11]]);
            if let Some(rid) = header_extension::find(packet, rid_extension) {
                layers.insert(String::from_utf8_lossy(rid).into_owned(), ssrc);
            }
        }
        // Three megabits a second for all that are known.
        if last_allowed.is_none_or(|at| at.elapsed() > Duration::from_millis(200)) && !layers.is_empty() {
            last_allowed = Some(Instant::now());
            let count = layers.len() as u32;
            let mut remb = vec![
                0x8fce_0004 + count,
                1,
                0,
                u32::from_be_bytes(*b"REMB"),
                count << 24 | 4 << 18 | 187_500,
            ];
            remb.extend(layers.values());
            let compound = [words(&[0x80c9_0001, 1]), words(&remb)].concat();
            video.rtcp.send_to(&compound, rtcp).expect("sent");
        }
    }
    assert_eq!(layers.keys().map(String::as_str).collect::<Vec<_>>(), ["h", "l", "m"]);
    let different: std::collections::BTreeSet<_> = layers.values().collect();
    assert_eq!(different.len(), 3, "{layers:?}");

    // A picture of one layer is asked for, by its own source.
    let before = call.page.tell(&json!({"op": "layer", "name": "a", "rid": "m"}));
    let asked = [words(&[0x80c9_0001, 1]), words(&[0x81ce_0002, 1, layers["m"]])].concat();
    video.rtcp.send_to(&asked, rtcp).expect("sent");
    let now = wait_for(LIMIT, || {
        let now = call.page.tell(&json!({"op": "layer", "name": "a", "rid": "m"}));
        (now["pliCount"].as_u64() > before["pliCount"].as_u64()).then_some(now)
    });
    assert!(now.is_some(), "not asked: {before}");

    // Every packet is counted, of whatever source: three layers and three streams of retransmissions.
    call.page.tell(&json!({"op": "close"}));
    let mut last = Value::Null;
    let number = |value: &Value| value.as_u64().expect("a number");
    let counted = wait_for(LIMIT, || {
        let query = relay.ng.ok(json!({"command": "query", "call-id": "video"}));
        let media = &query["tags"]["a"]["medias"][1];
        let ssrcs = media["ingress SSRCs"].as_array().expect("a list");
        let sum: u64 = ssrcs.iter().map(|ssrc| number(&ssrc["packets"])).sum();
        let rtcp = number(&query["tags"]["b"]["medias"][1]["streams"][1]["stats_out"]["packets"]);
        let all = number(&media["streams"][0]["stats"]["packets"]);
        last = media.clone();
        (sum + rtcp == all && ssrcs.len() > RIDS.len()).then_some(())
    });
    assert!(counted.is_some(), "{last:#}");
    call.delete();
}
