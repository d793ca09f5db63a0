//! Forwarding below user space (eBPF): the same packets and the same numbers, whoever forwards.

use std::net::SocketAddr;
use std::time::Duration;

use e2e::call::{Call, Setup};
use e2e::daemon::{files_below, wait_for};
use e2e::lan::{self, Lan};
use e2e::offload::{SOON, between_hosts, is_kernelized, move_down, numbers, pass, relay, stream};
use e2e::party::Party;
use e2e::{pcap, sdp};
use serde_json::{Value, json};

fn last_kernel_packet(stream: &Value) -> u64 {
    stream["last kernel packet"].as_u64().unwrap_or(0)
}

#[test]
fn packets_and_numbers_are_the_same_on_the_loopback_interface() {
    for address in ["127.0.0.1", "::1"] {
        let Some(relay) = relay(&[address], &[]) else { return };
        let setup = Setup { addresses: [address; 2], ..Setup::default() };
        let mut call = Call::establish(&relay, "lo", setup);
        let sent = move_down(&mut call);
        pass(&mut call.a, &call.b, 50);
        pass(&mut call.b, &call.a, 30);
        let (a, b) = (stream(&call, "a"), stream(&call, "b"));
        assert!(is_kernelized(&a) && is_kernelized(&b), "{a}\n{b}");
        let (of_a, of_b) = (sent + 50, sent + 30);
        assert_eq!(numbers(&a, "stats"), (of_a, of_a * 172, 0), "{address}");
        assert_eq!(numbers(&b, "stats"), (of_b, of_b * 172, 0), "{address}");
        assert_eq!(numbers(&a, "stats_out"), (of_b, of_b * 172, 0), "{address}");
        assert_eq!(numbers(&b, "stats_out"), (of_a, of_a * 172, 0), "{address}");
        assert!(last_kernel_packet(&a) > 0, "{a}");
        let ssrcs = call.query()["tags"]["a"]["medias"][0]["ingress SSRCs"].clone();
        assert_eq!(
            (&ssrcs[0]["packets"], &ssrcs[0]["cumulative loss"]),
            (&json!(of_a), &json!(0)),
            "{ssrcs}"
        );
        assert_eq!(
            ssrcs[0]["last RTP seq"].as_u64().map(|seq| seq as u16),
            Some(call.a.sequence.wrapping_sub(1))
        );
        let last = call.delete();
        assert_eq!(last["totals"]["RTP"]["packets"], json!(of_a + of_b), "{last}");
    }
}

#[test]
fn packets_and_numbers_are_the_same_between_hosts() {
    let Some(lan) = Lan::build() else { return };
    for addresses in [lan::V4, lan::V6] {
        are_the_same(&lan, addresses[0], &[addresses[1]]);
    }
}

#[test]
fn packets_and_numbers_are_the_same_over_vlans() {
    let Some(lan) = Lan::build() else { return };
    if !lan.has_vlans {
        eprintln!("SKIPPED: this kernel has no VLANs");
        return;
    }
    are_the_same(&lan, lan::VLAN[0], &[lan::VLAN[1], lan::V4[1], lan::V6[1]]);
    are_the_same(&lan, lan::V4[0], &[lan::VLAN[1]]);
}

/// Calls between one party and others, one after the other.
fn are_the_same(lan: &Lan, of_a: [&'static str; 2], others: &[[&'static str; 2]]) {
    let mut interfaces = vec![of_a[0], lan::V6[0][0]];
    interfaces.dedup();
    let Some(relay) = relay(&interfaces, &[]) else { return };
    for of_b in others {
        let name = format!("{} to {}", of_a[1], of_b[1]);
        let mut call = between_hosts(&relay, lan, [of_a, *of_b], &json!({}));
        let sent = move_down(&mut call);
        pass(&mut call.a, &call.b, 50);
        pass(&mut call.b, &call.a, 30);
        let (a, b) = (stream(&call, "a"), stream(&call, "b"));
        assert!(is_kernelized(&a) && is_kernelized(&b), "{name}: {a}\n{b}");
        let (of_a, of_b) = (sent + 50, sent + 30);
        assert_eq!(numbers(&a, "stats"), (of_a, of_a * 172, 0), "{name}");
        assert_eq!(numbers(&b, "stats_out"), (of_a, of_a * 172, 0), "{name}");
        assert_eq!(numbers(&b, "stats"), (of_b, of_b * 172, 0), "{name}");
        // RTCP goes up, on the port next to it.
        let report = [0x80, 201, 0, 1, 0, 0, 0, 7];
        let rtcp = SocketAddr::new(call.a.remote.unwrap().ip(), call.a.remote.unwrap().port() + 1);
        call.a.rtcp.send_to(&report, rtcp).expect("sent");
        assert_eq!(call.b.receive_rtcp().as_deref(), Some(&report[..]), "{name}");
        call.delete();
    }
}

#[test]
fn another_ssrc_a_digit_and_a_peer_that_moves_come_up_and_go_down_again() {
    let Some(relay) = relay(&["127.0.0.1"], &[]) else { return };
    let formats = &["0 PCMU/8000", "101 telephone-event/8000"];
    let mut call = Call::establish(&relay, "up", Setup { a: formats, b: formats, ..Setup::default() });
    let mut sent = move_down(&mut call);
    call.a.ssrc ^= 1;
    call.a.sequence = call.a.sequence.wrapping_add(5000);
    pass(&mut call.a, &call.b, 3);
    sent += 3 + move_down(&mut call);
    let digit = call.a.press(5);
    let received = call.b.receive_many(digit.len());
    assert!(received.iter().zip(&digit).all(|(received, sent)| received.packet == *sent));
    sent += digit.len() as u64 + move_down(&mut call);
    assert_eq!(numbers(&stream(&call, "a"), "stats").0, sent);
    let ssrcs = call.query()["tags"]["a"]["medias"][0]["ingress SSRCs"].clone();
    assert!(ssrcs.as_array().unwrap().iter().all(|ssrc| ssrc["cumulative loss"] == 0), "{ssrcs}");
    // From another port, numbers going on: the relay follows, and the other party hears it all the time.
    let mut moved = Party::new("127.0.0.1");
    (moved.ssrc, moved.sequence, moved.timestamp) = (call.a.ssrc, call.a.sequence, call.a.timestamp);
    moved.remote = call.a.remote;
    std::thread::sleep(Duration::from_millis(150));
    // A source that nothing was known of has to show two packets in a row.
    let heard = wait_for(SOON, || {
        let packet = moved.next_packet(0, &[0x55; 160], 160);
        moved.send(&packet);
        call.b.receive(Duration::from_millis(50))
    });
    assert!(heard.is_some());
    call.a = moved;
    move_down(&mut call);
    assert_eq!(stream(&call, "a")["endpoint"]["port"], call.a.local().port());
}

#[test]
fn hold_and_re_offers_take_effect_at_once() {
    let Some(relay) = relay(&["127.0.0.1"], &[]) else { return };
    let mut call = Call::establish(&relay, "hold", Setup::default());
    move_down(&mut call);
    let description = |party: &Party, direction: &str| {
        sdp::audio(party.local(), &["0 PCMU/8000"], &["ptime:20", direction])
    };
    let (held, answer) = (description(&call.a, "sendonly"), description(&call.b, "recvonly"));
    call.re_offer(&held, &answer, &json!({}));
    let packet = call.b.next_packet(0, &[0x55; 160], 160);
    call.b.send(&packet);
    assert!(call.a.receive(Duration::from_millis(300)).is_none(), "held");
    let (resumed, answer) = (description(&call.a, "sendrecv"), description(&call.b, "sendrecv"));
    call.re_offer(&resumed, &answer, &json!({}));
    move_down(&mut call);
    // The callee goes on from another address.
    let mut other = Party::new("127.0.0.1");
    let (offer, answer) = (description(&call.a, "sendrecv"), description(&other, "sendrecv"));
    call.re_offer(&offer, &answer, &json!({}));
    other.remote = call.b.remote;
    call.b = other;
    move_down(&mut call);
    // What is blocked does not pass.
    call.command("block media", &json!({"from-tag": "a"}));
    let packet = call.a.next_packet(0, &[0x55; 160], 160);
    call.a.send(&packet);
    assert!(call.b.receive(Duration::from_millis(300)).is_none(), "blocked");
}

#[test]
fn recordings_hold_what_the_kernel_forwards() {
    let arguments = ["--recording-dir={DIR}/spool", "--recording-method=pcap", "--recording-format=raw"];
    let Some(relay) = relay(&["127.0.0.1"], &arguments) else { return };
    let mut call = Call::establish(&relay, "recorded", Setup::default());
    move_down(&mut call);
    call.command("start recording", &json!({}));
    let before = call.a.sequence;
    move_down(&mut call);
    pass(&mut call.a, &call.b, 40);
    pass(&mut call.b, &call.a, 40);
    let after = call.a.sequence;
    assert!(is_kernelized(&stream(&call, "a")), "it is recorded and forwarded by the kernel");
    call.delete();
    let wanted = usize::from(after.wrapping_sub(before));
    let local = call.a.local();
    let recorded = wait_for(SOON, || {
        let files = files_below(&relay.path("spool/pcaps"), ".pcap");
        let datagrams = pcap::read(files.first()?).ok()?;
        let numbers: Vec<_> = datagrams
            .iter()
            .filter(|datagram| datagram.from == local)
            .map(|datagram| u16::from_be_bytes([datagram.payload[2], datagram.payload[3]]))
            .collect();
        (numbers.len() >= wanted).then_some(numbers)
    });
    let expected: Vec<u16> = (0..wanted as u16).map(|step| before.wrapping_add(step)).collect();
    assert_eq!(recorded.expect("a recording"), expected);
}

#[test]
fn garbage_does_not_reach_the_daemon_and_does_not_disturb_the_call() {
    let Some(relay) = relay(&["127.0.0.1"], &[]) else { return };
    let mut call = Call::establish(&relay, "spray", Setup::default());
    let sent = move_down(&mut call);
    let spray = Party::new("127.0.0.1");
    let target = call.a.remote.expect("known");
    for number in 0..5000u32 {
        let garbage = [&[0x80, 0x00][..], &number.to_be_bytes(), &[0xaa; 160]].concat();
        spray.rtp.send_to(&garbage, target).expect("sent");
        if number % 100 == 0 {
            pass(&mut call.a, &call.b, 1);
        }
    }
    // Those that came up may still be in the socket.
    let expected = (sent + 50, (sent + 50) * 172, 5000);
    let counted = wait_for(SOON, || (numbers(&stream(&call, "a"), "stats") == expected).then_some(()));
    let a = stream(&call, "a");
    assert!(counted.is_some() && is_kernelized(&a), "{a}");
    assert_eq!(a["drops"]["wrong source"], 5000, "{a}");
}

#[test]
fn a_killed_daemon_leaves_nothing_behind() {
    let Some(_lan) = Lan::build() else { return };
    let Some(mut relay) = relay(&["127.0.0.1"], &[]) else { return };
    let mut call = Call::establish(&relay, "killed", Setup::default());
    move_down(&mut call);
    assert!(is_attached(), "a program at the loopback interface");
    let (a, b) = (call.a, call.b);
    relay.process.kill();
    assert!(wait_for(SOON, || (!is_attached()).then_some(())).is_some());
    let mut a = a;
    let packet = a.next_packet(0, &[0x55; 160], 160);
    let _ = a.rtp.send_to(&packet.to_octets(), a.remote.expect("known"));
    assert!(b.receive(Duration::from_millis(300)).is_none(), "nobody forwards");
}

/// Whether a program is attached to the ingress of the loopback interface of this namespace.
fn is_attached() -> bool {
    // tcx programs are shown with the link where iproute2 knows them; the kernel counts links in any case.
    ebpf_links() > 0
}

/// Links of tcx programs in this network namespace, by the descriptors of processes that hold them.
fn ebpf_links() -> usize {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let own = std::fs::read_link("/proc/thread-self/ns/net").ok();
    let same = processes.filter(|process| std::fs::read_link(process.path().join("ns/net")).ok() == own);
    let descriptors = same
        .flat_map(|process| std::fs::read_dir(process.path().join("fdinfo")).into_iter().flatten().flatten());
    descriptors
        .filter(|fd| std::fs::read_to_string(fd.path()).is_ok_and(|text| text.contains("link_type:\ttcx")))
        .count()
}
