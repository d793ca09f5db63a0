//! Statistics and calls as MQTT messages, with a broker that comes and goes.

use std::time::{Duration, Instant};

use e2e::call::{Call, Setup};
use e2e::daemon::Relay;
use e2e::mosquitto::{Mosquitto, Subscriber};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(20);
const TOPIC: &str = "rtpe/stats";

/// The first message that fits.
fn message(subscriber: &Subscriber, fits: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + SOON;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let message = subscriber.next(left).expect("a message that fits");
        if fits(&message) {
            return message;
        }
    }
}

fn relay(broker: &Mosquitto, more: &[&str]) -> Relay {
    let port = format!("--mqtt-port={}", broker.port());
    let common =
        ["--mqtt-host=localhost", &port, "--mqtt-publish-topic=rtpe/stats", "--mqtt-publish-interval=200"];
    Relay::start(&[&common[..], more].concat())
}

/// One way: `count` packets of 172 octets.
fn speak(call: &mut Call<'_>, count: usize) {
    for _ in 0..count {
        let packet = call.a.next_packet(0, &[0x55; 160], 160);
        call.a.send(&packet);
    }
    assert_eq!(call.b.receive_many(count).len(), count);
}

#[test]
fn statistics_with_all_calls_are_published_and_again_after_the_broker_was_away() {
    let Some(mut broker) = Mosquitto::start(&[], &["allow_anonymous true"]) else { return };
    let relay = relay(&broker, &["--mqtt-publish-qos=1"]);
    let mut call = Call::establish(&relay, "global", Setup::default());
    speak(&mut call, 30);
    let has_all = |message: &Value| message["calls"][0]["legs"][0]["medias"][0]["ingress"]["packets"] == 30;
    let subscriber = broker.subscribe(TOPIC, &[]);
    let global = message(&subscriber, has_all);
    assert!(global["timestamp"].as_f64().is_some_and(|at| at > 1.7e9), "{global}");
    assert_eq!(global["currentstatistics"]["sessionsown"], 1);
    assert_eq!(global["totalstatistics"]["relayedpackets"], 30);
    assert_eq!(global["interfaces"][0]["ingress"]["packets"], 30);
    assert!(global["interfaces"][0]["ingress_interval"]["packets"].is_u64(), "{global}");
    assert!(global["interfaces"][0]["voip_metrics_interval"]["mos"].is_number(), "{global}");
    let media = &global["calls"][0]["legs"][0]["medias"][0];
    assert_eq!(global["calls"][0]["call_id"], "global");
    assert_eq!(global["calls"][0]["legs"][0]["tag"], "a");
    let ssrc = &media["ingress"]["SSRC"][0];
    assert_eq!(
        (&media["type"], &media["status"], &media["transcoding"]),
        (&"audio".into(), &"sendrecv".into(), &false.into())
    );
    assert_eq!(
        (&ssrc["SSRC"], &ssrc["codec"], &ssrc["clock_rate"]),
        (&call.a.ssrc.into(), &"PCMU".into(), &8000.into())
    );
    assert_eq!((&ssrc["metrics"]["packets"], &ssrc["metrics"]["bytes"]), (&30.into(), &5160.into()));

    broker.kill();
    speak(&mut call, 10);
    broker.restart();
    let subscriber = broker.subscribe(TOPIC, &[]);
    let sum = |message: &Value| message["totalstatistics"]["relayedpackets"] == 40;
    message(&subscriber, sum);
    assert!(relay.process.log().contains("no connection to the MQTT broker"), "{}", relay.process.log());
}

#[test]
fn each_section_has_a_message_with_rates_in_scope_media() {
    let Some(broker) = Mosquitto::start(&[], &["allow_anonymous true"]) else { return };
    let relay = relay(&broker, &["--mqtt-publish-scope=media", "--mqtt-publish-qos=2"]);
    let subscriber = broker.subscribe(TOPIC, &[]);
    message(&subscriber, |message| message["currentstatistics"]["sessionsown"] == 0);
    let mut call = Call::establish(&relay, "section", Setup::default());
    speak(&mut call, 50);
    let of_a = |message: &Value| message["tag"] == "a" && message["ingress"]["packets"] == 50;
    let section = message(&subscriber, of_a);
    assert_eq!((&section["call_id"], &section["media_index"]), (&"section".into(), &1.into()));
    assert_eq!(section["port"], call.answered.rtp.port());
    assert_eq!(section["endpoint_port"], call.a.local().port());
    let rate = &section["ingress"]["SSRC"][0]["metrics"]["packets_per_second"];
    assert!(rate.as_f64().is_some_and(|rate| rate > 50.0), "50 packets within 0.2 s: {section}");
    let idle = message(&subscriber, |message| {
        of_a(message) && message["ingress"]["SSRC"][0]["metrics"]["packets_per_second"] == 0.0
    });
    assert_eq!(idle["ingress"]["SSRC"][0]["metrics"]["packets"], 50);
    message(&subscriber, |message| message["totalstatistics"]["relayedpackets"] == 50);
}

/// `mqtt-cafile`, `mqtt-certfile` and `mqtt-keyfile`
#[test]
fn the_broker_is_authenticated_by_its_certificate_and_we_by_ours() {
    let name = || vec!["localhost".to_owned()];
    let ours = rcgen::generate_simple_self_signed(name()).expect("a certificate");
    let (certificate, key) = (ours.cert.pem(), ours.signing_key.serialize_pem());
    let stranger = rcgen::generate_simple_self_signed(name()).expect("a certificate");
    let files = [
        ("cert.pem", certificate.as_str()),
        ("key.pem", key.as_str()),
        ("stranger.pem", &stranger.cert.pem()),
        ("password", ""),
    ];
    let lines = [
        "cafile {DIR}/cert.pem",
        "certfile {DIR}/cert.pem",
        "keyfile {DIR}/key.pem",
        "require_certificate true",
    ];
    let lines = [&lines[..], &["use_identity_as_username true"]].concat();
    let Some(broker) = Mosquitto::start(&files, &lines) else { return };
    let path = |option: &str, file: &str| format!("--mqtt-{option}={}", broker.folder().join(file).display());
    let identity = [path("certfile", "cert.pem"), path("keyfile", "key.pem")];
    let trusting = relay(&broker, &[&path("cafile", "cert.pem"), &identity[0], &identity[1]]);
    let more =
        ["--cafile", "{DIR}/cert.pem", "--cert", "{DIR}/cert.pem", "--key", "{DIR}/key.pem", "--insecure"];
    let subscriber = broker.subscribe(TOPIC, &more);
    message(&subscriber, |message| message["currentstatistics"]["sessionsown"] == 0);
    drop((trusting, subscriber));
    let doubting = relay(&broker, &[&path("cafile", "stranger.pem"), &identity[0], &identity[1]]);
    let refused = || doubting.process.log().contains("no connection to the MQTT broker").then_some(());
    assert!(e2e::daemon::wait_for(SOON, refused).is_some(), "{}", doubting.process.log());
}
