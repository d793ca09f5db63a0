//! Options about recordings, and codes that parties dial.

use std::net::SocketAddr;
use std::time::Duration;

use e2e::call::{Call, Setup};
use e2e::daemon::{Relay, files_below, wait_for};
use e2e::pcap::{self, Datagram};
use serde_json::json;

const SOON: Duration = Duration::from_secs(15);
const FORMATS: &[&str] = &["0 PCMU/8000", "101 telephone-event/8000 0-15"];
const STAR: u8 = 10;

/// What is recorded of three packets from the caller to the callee, and the addresses of a caller's packet on its way in and out.
fn recorded(arguments: &[&str]) -> (Vec<Datagram>, [SocketAddr; 2], [SocketAddr; 2]) {
    let relay = Relay::start(&[&["--recording-dir={DIR}/spool"], arguments].concat());
    let setup = Setup { offer: json!({"record-call": "yes"}), ..Setup::default() };
    let mut call = Call::establish(&relay, "recorded", setup);
    for _ in 0..3 {
        let packet = call.a.next_packet(0, &[0x55; 160], 160);
        call.a.send(&packet);
        assert!(call.b.receive(SOON).is_some());
    }
    let ways = ([call.a.local(), call.answered.rtp], [call.offered.rtp, call.b.local()]);
    call.delete();
    let file = wait_for(SOON, || {
        files_below(&relay.path("spool/metadata"), ".txt").pop()?;
        files_below(&relay.path("spool/pcaps"), ".pcap").pop()
    });
    (pcap::read(&file.expect("a capture")).expect("a pcap file"), ways.0, ways.1)
}

#[test]
fn packets_are_recorded_as_they_come_as_they_go_or_both() {
    for (arguments, received, sent) in [
        (&[][..], 3, 0),
        (&["--record-egress"], 0, 3),
        (&["--record-both"], 3, 3),
        (&["--record-both", "--record-egress"], 3, 3),
    ] {
        let (packets, inward, outward) = recorded(arguments);
        let count =
            |[from, to]: [SocketAddr; 2]| packets.iter().filter(|p| p.from == from && p.to == to).count();
        assert_eq!((count(inward), count(outward)), (received, sent), "{arguments:?} {packets:?}");
        assert_eq!(packets.len(), received + sent);
    }
}

#[test]
fn captures_have_the_configured_kind_of_link() {
    for (option, link) in [("--recording-format=raw", 101u8), ("--recording-format=eth", 1)] {
        let relay = Relay::start(&["--recording-dir={DIR}/spool", option]);
        let setup = Setup { offer: json!({"record-call": "yes"}), ..Setup::default() };
        let mut call = Call::establish(&relay, "link", setup);
        call.learn();
        call.delete();
        let file = wait_for(SOON, || {
            files_below(&relay.path("spool/metadata"), ".txt").pop()?;
            files_below(&relay.path("spool/pcaps"), ".pcap").pop()
        });
        let octets = std::fs::read(file.expect("a capture")).expect("readable");
        assert_eq!(octets[20], link, "{option}");
    }
}

#[test]
fn what_no_recorder_takes_waits_on_disk_if_there_may_be_something() {
    for (option, waits) in [("--recording-spill-size=64", true), ("--recording-spill-size=0", false)] {
        let relay = Relay::start(&["--recording-dir={DIR}/spool", "--recording-method=proc", option]);
        let setup = Setup { offer: json!({"record-call": "yes"}), ..Setup::default() };
        let mut call = Call::establish(&relay, "spill", setup);
        // More than is kept in memory for a stream.
        for number in 0..4000 {
            let packet = call.a.next_packet(0, &[0x55; 1300], 160);
            call.a.send(&packet);
            if number % 8 == 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        let spilled = || (!files_below(&relay.path("spool"), ".spill").is_empty()).then_some(());
        let limit = if waits { SOON } else { Duration::from_secs(2) };
        // What is left of a disk that is nearly full is for others.
        let found = wait_for(limit, spilled).is_some();
        assert_eq!(found, waits, "{option}; is a twentieth of the disk free?");
    }
}

/// Waits until `query` shows that something is being recorded, or is not.
fn await_recording(call: &Call<'_>, on: bool) {
    let shown = || call.query()["recording"]["call recording"].as_i64().unwrap_or(0) == i64::from(on);
    assert!(wait_for(SOON, || shown().then_some(())).is_some(), "{on} {}", call.query());
}

fn relay(arguments: &[&str]) -> Relay {
    Relay::start(&[&["--recording-dir={DIR}/spool"], arguments].concat())
}

fn call<'r>(relay: &'r Relay) -> Call<'r> {
    let offer = json!({"flags": ["recording-VSC"]});
    let mut call =
        Call::establish(relay, "codes", Setup { a: FORMATS, b: FORMATS, offer, ..Setup::default() });
    call.learn();
    call
}

fn dial(call: &mut Call<'_>, digits: &[u8]) {
    digits.iter().for_each(|digit| drop(call.a.press(*digit)));
}

#[test]
fn each_code_does_what_it_is_for() {
    let relay = relay(&["--vsc-start-rec=*1", "--vsc-stop-rec=*2", "--vsc-pause-rec=*3"]);
    let mut call = call(&relay);
    for (digits, on) in [([STAR, 1], true), ([STAR, 3], false), ([STAR, 1], true), ([STAR, 2], false)] {
        dial(&mut call, &digits);
        await_recording(&call, on);
    }
}

#[test]
fn one_code_can_start_pause_and_resume() {
    let relay = relay(&["--vsc-start-pause-resume-rec=*4"]);
    let mut call = call(&relay);
    for on in [true, false, true] {
        dial(&mut call, &[STAR, 4]);
        await_recording(&call, on);
    }
}

#[test]
fn digits_too_far_apart_are_no_code() {
    let relay = relay(&["--vsc-start-rec=*1", "--dtmf-digit-delay=300"]);
    let mut call = call(&relay);
    dial(&mut call, &[STAR]);
    std::thread::sleep(Duration::from_millis(700));
    dial(&mut call, &[1]);
    // The digit has been looked at when a packet behind it is through.
    std::thread::sleep(Duration::from_millis(300));
    await_recording(&call, false);
    dial(&mut call, &[STAR, 1]);
    await_recording(&call, true);
}
