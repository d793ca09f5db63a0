//! Media that another instance transcodes: two daemons, and what happens when the other one is not there.

use std::path::Path;
use std::time::Duration;

use e2e::call::{Call, Setup};
use e2e::daemon::{Relay, wait_for};
use e2e::ports::PortBlock;
use e2e::rtp::Received;
use e2e::{rtp, sdp, signal, speech};
use serde_json::json;

const WAIT: Duration = Duration::from_secs(20);
const PCMU: &str = "0 PCMU/8000";
const OPUS: &str = "96 opus/48000/2";

/// A daemon that has PCMU and Opus transcoded into each other by the instance with this ng port.
fn relay(folder: &Path, remote: &str) -> Relay {
    let config = folder.join("rtpengine.conf");
    let text = format!(
        "[rtpengine]\ntranscode-config = tc\n\
         [tc-there]\nsource = PCMU\ndestination = opus/48000/2\ntransform = {remote}\n\
         [tc-back]\nsource = opus\ndestination = PCMU\ntransform = {remote}\naddress-family = IP4\n"
    );
    std::fs::write(&config, text).expect("written");
    Relay::start(&[&format!("--config-file={}", config.display()), "--delete-delay=0"])
}

fn establish<'r>(relay: &'r Relay, id: &str) -> Call<'r> {
    let offer = json!({"codec": {"transcode": ["opus"], "mask": ["PCMU"]}});
    Call::establish(relay, id, Setup { b: &[OPUS], offer, ..Setup::default() })
}

fn calls(relay: &Relay) -> usize {
    relay.ng.ok(json!({"command": "list"}))["calls"].as_array().map_or(0, Vec::len)
}

/// A tone from one end to the other and what arrives.
fn talk(call: &mut Call<'_>, from_caller: bool) -> Vec<Received> {
    let format = sdp::format(if from_caller { PCMU } else { OPUS });
    let (from, to) = if from_caller { (&mut call.a, &call.b) } else { (&mut call.b, &call.a) };
    let (payloads, ticks) = speech::encode(&signal::tone(700.0, 8000, 800, 6000.0), 8000, &format);
    let listener = to.listen();
    for payload in payloads {
        let packet = from.next_packet(format.payload_type, &payload, ticks);
        from.send(&packet);
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(300));
    listener.stop()
}

fn is_tone(heard: &[Received], format: &str) -> bool {
    let (audio, rate) = rtp::decode(heard, &sdp::format(format));
    heard.len() > 20 && signal::typical_tone_share(&audio[audio.len() / 4..], rate, 700.0) > 0.8
}

#[test]
fn another_instance_transcodes_both_ways_until_the_call_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    let other = Relay::start(&[]);
    let relay = relay(folder.path(), &other.control.to_string());
    let mut call = establish(&relay, "away");
    let agreed = || relay.process.log().matches("another instance transcodes").count() == 2;
    assert!(wait_for(WAIT, || agreed().then_some(())).is_some(), "{}", relay.process.log());
    assert_eq!(calls(&other), 2, "one for each way");
    for (from_caller, format) in [(true, OPUS), (false, PCMU)] {
        let heard = talk(&mut call, from_caller);
        assert!(is_tone(&heard, format), "{} packets", heard.len());
    }
    let chains =
        |relay: &Relay| relay.ng.ok(json!({"command": "statistics"}))["statistics"]["transcoders"].clone();
    let busy = |relay: &Relay| {
        chains(relay).as_array().is_some_and(|all| all.iter().any(|one| one["packets"].as_u64() > Some(20)))
    };
    assert!(busy(&other) && !busy(&relay), "{} {}", chains(&other), chains(&relay));
    call.delete();
    assert!(wait_for(WAIT, || (calls(&other) == 0).then_some(())).is_some(), "deleted there, too");
}

#[test]
fn without_the_other_instance_the_call_is_transcoded_here() {
    let folder = tempfile::tempdir().expect("a folder");
    let nobodys = PortBlock::take();
    let relay = relay(folder.path(), &format!("127.0.0.1:{}", nobodys.control()));
    let mut call = establish(&relay, "alone");
    let given_up = || relay.process.log().matches("transcoding here instead of there").count() == 2;
    assert!(wait_for(WAIT, || given_up().then_some(())).is_some(), "{}", relay.process.log());
    for (from_caller, format) in [(true, OPUS), (false, PCMU)] {
        assert!(is_tone(&talk(&mut call, from_caller), format));
    }
}

#[test]
fn a_call_goes_on_here_when_the_other_instance_dies() {
    let folder = tempfile::tempdir().expect("a folder");
    let other = Relay::start(&[]);
    let relay = relay(folder.path(), &other.control.to_string());
    let mut call = establish(&relay, "orphan");
    let logged = |text: &str, times| relay.process.log().matches(text).count() == times;
    let agreed = || logged("another instance transcodes", 2).then_some(());
    assert!(wait_for(WAIT, agreed).is_some(), "{}", relay.process.log());
    assert!(is_tone(&talk(&mut call, true), OPUS));
    drop(other);
    // Both parties speak until both ways have come back here.
    let deadline = std::time::Instant::now() + WAIT;
    while !logged("nothing comes back from another instance", 2) {
        assert!(std::time::Instant::now() < deadline, "{}", relay.process.log());
        for from_caller in [true, false] {
            talk(&mut call, from_caller);
        }
    }
    for (from_caller, format) in [(true, OPUS), (false, PCMU)] {
        let heard = talk(&mut call, from_caller);
        assert!(is_tone(&heard, format), "{} packets\n{}", heard.len(), relay.process.log());
    }
    call.delete();
}
