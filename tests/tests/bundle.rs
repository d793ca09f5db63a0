//! Sections that share one port with a party and have ports of their own with the other (RFC 9143).

use std::net::SocketAddr;
use std::time::Duration;

use e2e::daemon::Relay;
use e2e::party::Party;
use serde_json::{Value, json};

/// Two sections: PCMU and something with number 97.
fn description(session: &str, ports: [SocketAddr; 2], attributes: [&str; 2]) -> String {
    let (address, [audio, video]) = (ports[0].ip(), ports.map(|at| at.port()));
    format!(
        "v=0\r\no=- 1 1 IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\n{session}\
         m=audio {audio} RTP/AVP 0\r\na=rtcp-mux\r\n{}\
         m=video {video} RTP/AVP 97\r\na=rtpmap:97 VP8/90000\r\na=rtcp-mux\r\n{}",
        attributes[0], attributes[1]
    )
}

/// Where the two sections of a reply want their packets.
fn ports(reply: &Value) -> [SocketAddr; 2] {
    let sdp = reply["sdp"].as_str().expect("sdp");
    let mut sections = sdp.lines().filter_map(|line| line.strip_prefix("m=")).map(|line| {
        let port = line.split(' ').nth(1).and_then(|port| port.parse().ok()).expect("port");
        SocketAddr::from(([127, 0, 0, 1], port))
    });
    [sections.next().expect("first section"), sections.next().expect("second section")]
}

/// What comes next at the RTP port, within two seconds.
fn datagram(party: &Party) -> Option<Vec<u8>> {
    let mut buffer = vec![0; 2048];
    party.rtp.set_read_timeout(Some(Duration::from_secs(2))).expect("not zero");
    let length = party.rtp.recv(&mut buffer).ok()?;
    buffer.truncate(length);
    Some(buffer)
}

#[test]
fn packets_of_bundled_sections_find_their_section_and_back() {
    let relay = Relay::start(&[]);
    let mut browser = Party::new("127.0.0.1");
    let [mut audio, mut video] = [Party::new("127.0.0.1"), Party::new("127.0.0.1")];
    let offer = description("a=group:BUNDLE 0 1\r\n", [browser.local(); 2], ["a=mid:0\r\n", "a=mid:1\r\n"]);
    let offered = relay.ng.ok(
        json!({"command": "offer", "call-id": "bundle", "from-tag": "a", "bundle": ["accept"], "sdp": offer}),
    );
    let answer = description("", [audio.local(), video.local()], ["", ""]);
    let answered = relay
        .ng
        .ok(json!({"command": "answer", "call-id": "bundle", "from-tag": "a", "to-tag": "b", "sdp": answer}));
    let [towards_browser, again] = ports(&answered);
    assert_eq!(towards_browser, again, "{answered}");
    let [for_audio, for_video] = ports(&offered);
    assert_ne!(for_audio, for_video, "{offered}");
    browser.remote = Some(towards_browser);
    audio.remote = Some(for_audio);
    video.remote = Some(for_video);

    for _ in 0..20 {
        for payload_type in [0, 97] {
            // A section's SSRC is its own (RFC 9143 §9.2).
            browser.ssrc = 100 + u32::from(payload_type);
            let packet = browser.next_packet(payload_type, &[payload_type; 160], 160);
            browser.send(&packet);
        }
    }
    for (party, payload_type) in [(&audio, 0), (&video, 97)] {
        let received = party.receive_many(20);
        assert!(received.iter().all(|packet| packet.packet.payload_type == payload_type), "{payload_type}");
        assert!(party.receive(Duration::from_millis(100)).is_none(), "nothing of the other section");
    }
    for (party, payload_type) in [(&mut audio, 0), (&mut video, 97)] {
        let packet = party.next_packet(payload_type, &[payload_type; 160], 160);
        party.send(&packet);
        let received = browser.receive(Duration::from_secs(2)).expect("a packet");
        assert_eq!(received.packet.payload_type, payload_type);
        assert_eq!(received.from, towards_browser, "from the one port");
    }

    let query = relay.ng.ok(json!({"command": "query", "call-id": "bundle"}));
    assert_eq!(query["totals"]["RTP"]["packets"], 42, "each packet counts once: {query}");

    // One compound for both: a sender report of the audio with blocks about both phones, and what only the video is asked for.
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>();
    let block = |ssrc| [ssrc, 0, 1, 0, 0, 0];
    let report = [&[0x82c8_0012, 100, 1, 2, 3, 4, 5][..], &block(audio.ssrc), &block(video.ssrc)].concat();
    let picture_loss = [0x81ce_0002, 100, video.ssrc];
    let compound = [words(&report), words(&picture_loss)].concat();
    browser.rtp.send_to(&compound, towards_browser).expect("sent");
    let for_audio = [&[0x81c8_000c, 100, 1, 2, 3, 4, 5][..], &block(audio.ssrc)].concat();
    assert_eq!(datagram(&audio).as_deref(), Some(&words(&for_audio)[..]), "its sender and its own block");
    let for_video = [&[0x81c9_0007, 100][..], &block(video.ssrc), &picture_loss].concat();
    assert_eq!(datagram(&video).as_deref(), Some(&words(&for_video)[..]), "no sender report of the audio");
}

#[test]
fn a_bundled_party_is_told_which_section_a_packet_is_for() {
    const MID: &str = "a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\n";
    let relay = Relay::start(&[]);
    let browser = Party::new("127.0.0.1");
    let mut phones = [Party::new("127.0.0.1"), Party::new("127.0.0.1")];
    // Two sections that nothing but the mid tells apart.
    let alike = |session: &str, ports: [SocketAddr; 2], mids: [&str; 2]| {
        let sections = ports
            .iter()
            .zip(mids)
            .map(|(at, mid)| format!("m=audio {} RTP/AVP 0\r\na=rtcp-mux\r\n{mid}", at.port()));
        let head = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n";
        format!("{head}{session}{}", sections.collect::<String>())
    };
    let mids = ["0", "video"].map(|mid| format!("a=mid:{mid}\r\n{MID}"));
    let offer = alike("a=group:BUNDLE 0 video\r\n", [browser.local(); 2], [&mids[0], &mids[1]]);
    let offered = relay.ng.ok(
        json!({"command": "offer", "call-id": "mid", "from-tag": "a", "bundle": ["accept"], "sdp": offer}),
    );
    let answer = alike("", [phones[0].local(), phones[1].local()], ["", ""]);
    let answered = relay
        .ng
        .ok(json!({"command": "answer", "call-id": "mid", "from-tag": "a", "to-tag": "b", "sdp": answer}));
    assert!(answered["sdp"].as_str().is_some_and(|sdp| sdp.contains(MID.trim_end())), "{answered}");
    browser.rtp.set_read_timeout(Some(Duration::from_secs(5))).expect("not zero");
    for (phone, at) in phones.iter_mut().zip(ports(&offered)) {
        phone.remote = Some(at);
    }
    for _ in 0..3 {
        for (phone, mid) in phones.iter_mut().zip(["0", "video"]) {
            let sent = phone.next_packet(0, &[0x2a; 160], 160);
            phone.send(&sent);
            let mut buffer = [0; 2048];
            let length = browser.rtp.recv(&mut buffer).expect("a packet");
            let got = codec::header_extension::find(&buffer[..length], 4);
            assert_eq!(got.map(String::from_utf8_lossy).as_deref(), Some(mid));
            assert!(buffer[..length].ends_with(&sent.payload) && buffer[1..12] == sent.to_octets()[1..12]);
        }
    }
}
