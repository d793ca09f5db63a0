//! Packets that are not like the others, and ways that change, while streams are forwarded by eBPF: what the kernel cannot forward the
//! daemon does, and nothing is lost or comes twice.

use std::os::fd::AsRawFd;
use std::time::Duration;

use e2e::daemon::{Relay, wait_for};
use e2e::lan::{self, Lan, ip};
use e2e::offload::{SOON, between_hosts, is_kernelized, move_down, numbers, pass, relay, stream};
use e2e::party::Party;
use e2e::rtp::Packet;
use serde_json::json;

/// Long enough for a packet that must not come.
const NOTHING: Duration = Duration::from_millis(200);

fn option(party: &Party, level: i32, name: i32, value: &[u8]) {
    let length = value.len() as libc::socklen_t;
    // SAFETY: the value is live, and its length given.
    let result =
        unsafe { libc::setsockopt(party.rtp.as_raw_fd(), level, name, value.as_ptr().cast(), length) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

/// Every packet arrives once, as it was sent.
fn arrive(packets: &[Packet], at: &Party, name: &str) {
    for packet in packets {
        let received = at.receive(SOON).unwrap_or_else(|| panic!("{name}: it is forwarded"));
        assert_eq!(received.packet, *packet, "{name}");
    }
    assert!(at.receive(NOTHING).is_none(), "{name}: nothing comes twice");
}

/// What is special about a packet: the way to send some.
type Special = fn(&mut Party) -> Vec<Packet>;

fn plain(party: &mut Party) -> Vec<Packet> {
    let packet = party.next_packet(0, &[0x31; 160], 160);
    party.send(&packet);
    vec![packet]
}

/// Longer than a frame: it comes in fragments and leaves in fragments.
fn fragmented(party: &mut Party) -> Vec<Packet> {
    option(party, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, &libc::IP_PMTUDISC_DONT.to_ne_bytes());
    let packet = party.next_packet(0, &[0x32; 1700], 160);
    party.send(&packet);
    vec![packet]
}

/// Several in one, as the sender's kernel hands them on (UDP_SEGMENT).
fn segmented(party: &mut Party) -> Vec<Packet> {
    option(party, libc::SOL_UDP, libc::UDP_SEGMENT, &172i32.to_ne_bytes());
    let packets: Vec<_> = (0..3).map(|fill| party.next_packet(0, &[fill; 160], 160)).collect();
    let octets: Vec<u8> = packets.iter().flat_map(Packet::to_octets).collect();
    party.rtp.send_to(&octets, party.remote.expect("known")).expect("sent");
    option(party, libc::SOL_UDP, libc::UDP_SEGMENT, &0i32.to_ne_bytes());
    packets
}

/// Without a UDP checksum, which IPv4 allows.
fn without_checksum(party: &mut Party) -> Vec<Packet> {
    option(party, libc::SOL_SOCKET, libc::SO_NO_CHECK, &1i32.to_ne_bytes());
    let packets = plain(party);
    option(party, libc::SOL_SOCKET, libc::SO_NO_CHECK, &0i32.to_ne_bytes());
    packets
}

/// Destination options between the IPv6 and the UDP header.
fn with_extension(party: &mut Party) -> Vec<Packet> {
    // PadN of four octets.
    option(party, libc::IPPROTO_IPV6, libc::IPV6_DSTOPTS, &[0, 0, 1, 4, 0, 0, 0, 0]);
    let packets = plain(party);
    option(party, libc::IPPROTO_IPV6, libc::IPV6_DSTOPTS, &[]);
    packets
}

/// Options behind the IPv4 header.
fn with_options(party: &mut Party) -> Vec<Packet> {
    // No operation, four times.
    option(party, libc::IPPROTO_IP, libc::IP_OPTIONS, &[1, 1, 1, 1]);
    let packets = plain(party);
    option(party, libc::IPPROTO_IP, libc::IP_OPTIONS, &[]);
    packets
}

/// Marker, padding, CSRC and header extension are somebody else's business.
fn with_everything(party: &mut Party) -> Vec<Packet> {
    let packet = party.next_packet(0, &[0x33; 160], 160);
    let packet = Packet { marker: true, ..packet };
    party.send(&packet);
    vec![packet]
}

#[test]
fn packets_that_are_not_like_the_others_arrive_once() {
    let Some(lan) = Lan::build() else { return };
    let both: &[(&str, Special)] = &[
        ("plain", plain),
        ("marker", with_everything),
        ("fragmented", fragmented),
        ("segmented", segmented),
    ];
    let v4: &[(&str, Special)] = &[("without checksum", without_checksum), ("options", with_options)];
    let v6: &[(&str, Special)] = &[("extension header", with_extension)];
    let cases = [
        ("IPv4", lan::V4, [both, v4].concat()),
        ("IPv6", lan::V6, [both, v6].concat()),
        ("IPv4 to IPv6", [lan::V4[0], lan::V6[1]], [both, v4].concat()),
        ("IPv6 to IPv4", [lan::V6[0], lan::V4[1]], [both, v6].concat()),
    ];
    let Some(relay) = relay(&[lan::V4[0][0], lan::V6[0][0]], &[]) else { return };
    for (families, addresses, specials) in cases {
        let mut call = between_hosts(&relay, &lan, addresses, &json!({}));
        let mut sent = (0, 0);
        for (name, special) in specials {
            let name = format!("{families}, {name}");
            let packets = move_down(&mut call);
            sent = (sent.0 + packets, sent.1 + packets);
            let packets = special(&mut call.a);
            arrive(&packets, &call.b, &name);
            sent.0 += packets.len() as u64;
            let a = stream(&call, "a");
            assert_eq!(numbers(&a, "stats").0, sent.0, "{name}: {a}");
            assert_eq!(numbers(&stream(&call, "b"), "stats_out").0, sent.0, "{name}");
        }
        call.delete();
    }
}

#[test]
fn checksums_are_right_whoever_makes_them() {
    let Some(lan) = Lan::build() else { return };
    lan.make_checksums().expect("possible");
    let Some(relay) = relay(&[lan::V4[0][0], lan::V6[0][0]], &[]) else { return };
    let [v4, v6] = [lan::V4, lan::V6];
    for (a, b) in [(v4, v4), (v6, v6), (v4, v6), (v6, v4)] {
        let mut call = between_hosts(&relay, &lan, [a[0], b[1]], &json!({}));
        let sent = move_down(&mut call);
        // Payloads at random: what is wrong arrives once in 65536 times at most.
        pass(&mut call.a, &call.b, 100);
        pass(&mut call.b, &call.a, 100);
        let stream = stream(&call, "a");
        assert!(is_kernelized(&stream), "{stream}");
        assert_eq!(numbers(&stream, "stats").0, sent + 100, "{} to {}", a[0][1], b[1][1]);
        call.delete();
    }
}

#[test]
fn what_is_too_long_for_the_way_out_is_not_lost() {
    let Some(lan) = Lan::build() else { return };
    ip("link set cable1 mtu 600").expect("possible");
    let Some(relay) = relay(&[lan::V4[0][0]], &[]) else { return };
    let mut call = between_hosts(&relay, &lan, lan::V4, &json!({}));
    move_down(&mut call);
    // The longest that fits, and one octet more.
    for length in [600 - 40, 600 - 40 + 1, 1200] {
        let packet = call.a.next_packet(0, &vec![0x44; length], 160);
        call.a.send(&packet);
        arrive(&[packet], &call.b, &format!("{length} octets"));
        if length == 560 {
            assert!(is_kernelized(&stream(&call, "a")), "{length} octets");
        }
        move_down(&mut call);
    }
}

/// The second party has an address of its own behind the cable that routes lead to, or the other one.
const ELSEWHERE: &str = "10.79.0.9";

#[test]
fn routes_that_change_are_followed() {
    let Some(lan) = Lan::build() else { return };
    for party in 0..2 {
        lan.at(party, || ip(&format!("addr add {ELSEWHERE}/32 dev lo"))).expect("possible");
    }
    ip(&format!("route add {ELSEWHERE} via {}", lan::V4[1][1])).expect("possible");
    let Some(relay) = relay(&[lan::V4[0][0]], &[]) else { return };
    let mut call = between_hosts(&relay, &lan, [lan::V4[0], ["", ELSEWHERE]], &json!({}));
    move_down(&mut call);
    pass(&mut call.a, &call.b, 5);
    // Somebody with the same address at the other cable.
    let local = call.b.local();
    let other = lan.at(0, || std::net::UdpSocket::bind(local)).expect("free there");
    other.set_read_timeout(Some(Duration::from_millis(50))).expect("possible");
    ip(&format!("route replace {ELSEWHERE} via {}", lan::V4[0][1])).expect("possible");
    let arrived = wait_for(SOON, || {
        let packet = call.a.next_packet(0, &[0x45; 160], 160);
        call.a.send(&packet);
        other.recv(&mut [0; 300]).ok()
    });
    assert!(arrived.is_some());
    assert!(is_kernelized(&stream(&call, "a")), "it goes another way, but still below the daemon");
    // And back, by a gateway of the other family.
    ip(&format!("route replace {ELSEWHERE} via inet6 {} dev cable1", lan::V6[1][1])).expect("possible");
    let arrived = wait_for(SOON, || {
        let packet = call.a.next_packet(0, &[0x47; 160], 160);
        call.a.send(&packet);
        call.b.receive(Duration::from_millis(50))
    });
    assert!(arrived.is_some());
    assert!(is_kernelized(&stream(&call, "a")), "as long as there is a way");
    // And when there is none left, user space tries.
    ip(&format!("route del {ELSEWHERE}")).expect("possible");
    let lifted = wait_for(SOON, || (!is_kernelized(&stream(&call, "a"))).then_some(()));
    assert!(lifted.is_some(), "{}", stream(&call, "a"));
}

#[test]
fn neighbours_that_change_are_followed() {
    let Some(lan) = Lan::build() else { return };
    let Some(relay) = relay(&[lan::V4[0][0]], &[]) else { return };
    let mut call = between_hosts(&relay, &lan, lan::V4, &json!({}));
    move_down(&mut call);
    lan.at(1, || ip("link set far1 address 02:00:00:00:77:01")).expect("possible");
    ip("neigh flush dev cable1").expect("possible");
    let arrived = wait_for(SOON, || {
        let packet = call.a.next_packet(0, &[0x46; 160], 160);
        call.a.send(&packet);
        call.b.receive(Duration::from_millis(50))
    });
    assert!(arrived.is_some());
    assert!(is_kernelized(&stream(&call, "a")));
    pass(&mut call.a, &call.b, 5);
}

/// Hop limit and traffic class of the next datagram.
fn header_of_next(party: &Party, is_v6: bool) -> (i32, i32) {
    let (level, names) = match is_v6 {
        false => (libc::IPPROTO_IP, [libc::IP_RECVTTL, libc::IP_RECVTOS]),
        true => (libc::IPPROTO_IPV6, [libc::IPV6_RECVHOPLIMIT, libc::IPV6_RECVTCLASS]),
    };
    names.iter().for_each(|name| option(party, level, *name, &1i32.to_ne_bytes()));
    let (mut octets, mut control) = ([0u8; 2048], [0u64; 32]);
    let mut vector = libc::iovec { iov_base: octets.as_mut_ptr().cast(), iov_len: octets.len() };
    // SAFETY: all-zero is a valid value of this plain C structure.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    (header.msg_iov, header.msg_iovlen) = (&raw mut vector, 1);
    (header.msg_control, header.msg_controllen) = (control.as_mut_ptr().cast(), size_of_val(&control));
    // SAFETY: what the header points to is live and as long as it says.
    let received = unsafe { libc::recvmsg(party.rtp.as_raw_fd(), &raw mut header, 0) };
    assert!(received > 0, "{}", std::io::Error::last_os_error());
    let (mut hops, mut class) = (-1, -1);
    // SAFETY: the header is as recvmsg has left it.
    let mut message = unsafe { libc::CMSG_FIRSTHDR(&raw const header) };
    while !message.is_null() {
        // SAFETY: the macros stay within the control buffer; each of these messages begins with an octet or a number.
        let (kind, data) = unsafe { ((*message).cmsg_type, libc::CMSG_DATA(message)) };
        match kind {
            // SAFETY: as above; the traffic class of IPv4 is one octet.
            libc::IP_TOS if !is_v6 => class = i32::from(unsafe { *data }),
            // SAFETY: as above.
            libc::IP_TTL if !is_v6 => hops = unsafe { data.cast::<i32>().read_unaligned() },
            // SAFETY: as above.
            libc::IPV6_TCLASS if is_v6 => class = unsafe { data.cast::<i32>().read_unaligned() },
            // SAFETY: as above.
            libc::IPV6_HOPLIMIT if is_v6 => hops = unsafe { data.cast::<i32>().read_unaligned() },
            _ => {}
        }
        // SAFETY: as above.
        message = unsafe { libc::CMSG_NXTHDR(&raw const header, message) };
    }
    (hops, class)
}

#[test]
fn hop_limits_and_classes_are_those_of_a_host_that_sends() {
    let Some(lan) = Lan::build() else { return };
    let Some(relay) = relay(&[lan::V4[0][0], lan::V6[0][0]], &["--tos=184"]) else { return };
    let [v4, v6] = [lan::V4, lan::V6];
    for (a, b) in [(v4, v4), (v6, v6), (v4, v6), (v6, v4)] {
        let mut call = between_hosts(&relay, &lan, [a[0], b[1]], &json!({}));
        move_down(&mut call);
        let packet = call.a.next_packet(0, &[0x47; 160], 160);
        call.a.send(&packet);
        assert_eq!(header_of_next(&call.b, b == v6), (64, 184), "{} to {}", a[0][1], b[1][1]);
        call.delete();
    }
}

/// A party that only listens to the caller.
fn listener(relay: &Relay, lan: &Lan, address: &str, tag: &str) -> Party {
    let party = lan.at(1, || Party::new(address));
    let family = if address.contains(':') { "IP6" } else { "IP4" };
    let request = json!({
        "command": "subscribe request", "call-id": "lan", "from-tag": "a", "to-tag": tag, "address-family": family,
    });
    relay.ng.ok(request);
    let description = e2e::sdp::audio(party.local(), &["0 PCMU/8000"], &["recvonly"]);
    let answer = json!({"command": "subscribe answer", "call-id": "lan", "to-tag": tag, "sdp": description});
    relay.ng.ok(answer);
    party
}

#[test]
fn parties_that_listen_get_what_the_kernel_forwards() {
    let Some(lan) = Lan::build() else { return };
    let Some(relay) = relay(&[lan::V4[0][0], lan::V6[0][0]], &[]) else { return };
    for addresses in [lan::V4, lan::V6] {
        let mut call = between_hosts(&relay, &lan, addresses, &json!({}));
        let tags = ["s0", "s1", "s2", "s3"];
        let at = [lan::V4[1][1], lan::V6[1][1], lan::V4[1][1], lan::V6[1][1]];
        let listeners: Vec<Party> =
            tags.iter().zip(at).map(|(tag, at)| listener(&relay, &lan, at, tag)).collect();
        let sent = move_down(&mut call);
        let drained = |party: &Party| party.receive_many(sent as usize).len() as u64 == sent;
        assert!(listeners.iter().all(drained));
        for _ in 0..30 {
            let packet = call.a.next_packet(0, &rand::random::<[u8; 160]>(), 160);
            call.a.send(&packet);
            for party in listeners.iter().chain([&call.b]) {
                assert_eq!(party.receive(SOON).expect("it is forwarded").packet, packet);
            }
        }
        assert!(listeners.iter().all(|party| party.receive(Duration::from_millis(20)).is_none()));
        let a = stream(&call, "a");
        assert!(is_kernelized(&a), "{a}");
        assert!(a["last kernel packet"].as_u64().is_some_and(|time| time > 0), "{a}");
        let all = (sent + 30, (sent + 30) * 172, 0);
        assert_eq!(numbers(&a, "stats"), all);
        for tag in tags.iter().chain(&["b"]) {
            assert_eq!(numbers(&stream(&call, tag), "stats_out"), all, "{tag}");
        }
        // One leaves, the others hear on.
        call.command("unsubscribe", &json!({"to-tag": "s1"}));
        let before = call.a.sequence;
        move_down(&mut call);
        let more = usize::from(call.a.sequence.wrapping_sub(before));
        assert!(listeners[1].receive(NOTHING).is_none(), "it has left");
        assert_eq!(listeners[2].receive_many(more).len(), more);
        call.delete();
    }
}
