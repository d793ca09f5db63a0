//! A fax through the relay, in real time: a machine on a telephone line (PCMU) calls one that speaks T.38.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use codec::g711::Law;
use e2e::call::{Call, Setup, extend};
use e2e::daemon::Relay;
use e2e::fax::{End, LineFax, T38Fax, Udptl, lines, write};
use e2e::party::Party;
use e2e::sdp;
use serde_json::{Value, json};

const PTIME: Duration = Duration::from_millis(20);
const LOSS_PERCENT: u32 = 2;

fn t38(at: &UdpSocket) -> String {
    let port = at.local_addr().expect("bound").port();
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=image {port} udptl t38\r\n\
         a=T38FaxVersion:0\r\na=T38MaxBitRate:14400\r\na=T38FaxRateManagement:transferredTCF\r\n\
         a=T38FaxMaxDatagram:400\r\na=T38FaxUdpEC:t38UDPRedundancy\r\n"
    )
}

fn port(sdp: &str, media: &str) -> u16 {
    let line = sdp.lines().find(|line| line.starts_with(&format!("m={media} "))).expect("the medium");
    line.split(' ').nth(1).and_then(|port| port.parse().ok()).expect("a port")
}

#[test]
fn page_from_a_telephone_line_arrives_by_t_38_in_spite_of_loss() {
    let relay = Relay::start(&[]);
    let (page, copy) = (relay.path("page.tif"), relay.path("copy.tif"));
    write(&page, 150).expect("written");
    let mut line = LineFax::new(End::Sends, &page).expect("libspandsp");
    let mut terminal = T38Fax::new(End::Receives, &copy).expect("libspandsp");
    let mut caller = Party::new("127.0.0.1");
    let callee = UdpSocket::bind("127.0.0.1:0").expect("a port");
    callee.set_nonblocking(true).expect("a socket");
    let offer = sdp::audio(caller.local(), &["0 PCMU/8000"], &["ptime:20"]);
    let mut request = json!({"command": "offer", "call-id": "fax", "from-tag": "a", "sdp": offer});
    extend(&mut request, &json!({"T.38": ["force"]}));
    let reply = relay.ng.ok(request);
    let offered = reply["sdp"].as_str().expect("an SDP");
    callee.connect(("127.0.0.1", port(offered, "image"))).expect("a socket");
    let answer =
        json!({"command": "answer", "call-id": "fax", "from-tag": "a", "to-tag": "b", "sdp": t38(&callee)});
    let reply = relay.ng.ok(answer);
    let answered = sdp::media(reply["sdp"].as_str().expect("an SDP"));
    caller.remote = Some(answered.rtp);
    caller.rtp.set_nonblocking(true).expect("a socket");

    let mut udptl = Udptl::default();
    let (mut random, mut lost) = (1u32, 0);
    let mut lose = || {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let is_lost = (random >> 8) % 100 < LOSS_PERCENT;
        lost += u32::from(is_lost);
        is_lost
    };
    let (mut samples, mut buffer, mut expected) = ([0i16; 160], [0; 2048], None);
    let mut queue: Vec<i16> = Vec::new();
    let begin = Instant::now();
    let mut turn = 0;
    while line.result().is_none() || terminal.result().is_none() {
        turn += 1;
        assert!(begin.elapsed() < Duration::from_secs(150), "{:?} {:?}", line.result(), terminal.result());
        std::thread::sleep((begin + PTIME * turn).saturating_duration_since(Instant::now()));
        line.speak(&mut samples);
        let payload: Vec<u8> = samples.iter().map(|sample| Law::Mu.compress(*sample)).collect();
        let packet = caller.next_packet(0, &payload, 160);
        caller.send(&packet);
        while let Ok(length) = caller.rtp.recv(&mut buffer) {
            let packet = e2e::rtp::Packet::parse(&buffer[..length]).expect("RTP");
            assert_eq!(packet.payload_type, 0);
            let next = expected.replace(packet.timestamp.wrapping_add(packet.payload.len() as u32));
            assert!(next.is_none_or(|next| next == packet.timestamp), "audio without gaps");
            queue.extend(packet.payload.iter().map(|octet| Law::Mu.expand(*octet)));
        }
        line.hear(&mut queue);
        queue.clear();
        terminal.pass(160);
        while let Some((ifp, copies)) = terminal.next_packet() {
            let datagram = udptl.send(&ifp);
            for _ in 0..copies {
                if !lose() {
                    callee.send(&datagram).expect("sent");
                }
            }
        }
        while let Ok(length) = callee.recv(&mut buffer) {
            if !lose() {
                for (number, ifp) in udptl.receive(&buffer[..length]) {
                    terminal.receive(&ifp, number);
                }
            }
        }
    }
    assert_eq!((line.result(), terminal.result()), (Some(0), Some(0)));
    drop((line, terminal));
    assert!(lost > 0, "some were lost");
    let (sent, got) = (lines(&page).expect("a page"), lines(&copy).expect("a copy"));
    assert_eq!(sent.len(), 150);
    assert!(got == sent, "the page arrives as it was");
    let query = relay.ng.ok(json!({"command": "query", "call-id": "fax"}));
    assert!(query["totals"]["RTP"]["packets"].as_u64().expect("a count") > 100);
}

/// Part of the power that is at 1100 Hz.
fn calling_tone(samples: &[i16]) -> f64 {
    let (mut re, mut im, mut all) = (0.0, 0.0, 1.0);
    for (n, &sample) in samples.iter().enumerate() {
        let (sin, cos) = (std::f64::consts::TAU * 1100.0 * n as f64 / 8000.0).sin_cos();
        re += f64::from(sample) * cos;
        im += f64::from(sample) * sin;
        all += f64::from(sample).powi(2);
    }
    2.0 * (re * re + im * im) / (all * samples.len() as f64)
}

#[test]
fn gateway_begins_with_a_re_offer_and_ends_with_stop() {
    let relay = Relay::start(&[]);
    let mut call = Call::establish(&relay, "re-offer", Setup::default());
    call.learn();
    let of = |command: &str, sdp: String, extra: Value| {
        let mut request =
            json!({"command": command, "call-id": "re-offer", "from-tag": "a", "to-tag": "b", "sdp": sdp});
        extend(&mut request, &extra);
        relay.ng.ok(request)["sdp"].as_str().expect("an SDP").to_owned()
    };
    // The caller wants to send by T.38; the callee stays on the line.
    let line = |call: &Call<'_>, b: bool| {
        sdp::audio(if b { call.b.local() } else { call.a.local() }, &["0 PCMU/8000"], &["ptime:20"])
    };
    let offered = of("offer", t38(&call.a.rtp), json!({"T.38": ["decode"]}));
    call.b.remote = Some(sdp::media(&offered).rtp);
    let answered = of("answer", line(&call, true), json!({}));
    let fax: SocketAddr = ([127, 0, 0, 1], port(&answered, "image")).into();
    // Calling tone, repeated until the callee hears it.
    let mut udptl = Udptl::default();
    let deadline = Instant::now() + Duration::from_secs(15);
    let mut audio: Vec<i16> = Vec::new();
    loop {
        assert!(Instant::now() < deadline, "the calling tone is heard");
        call.a.rtp.send_to(&udptl.send(&[0x02]), fax).expect("sent");
        let packets = call.b.receive_many(25);
        audio.clear();
        audio
            .extend(packets.iter().flat_map(|r| r.packet.payload.iter().map(|octet| Law::Mu.expand(*octet))));
        if calling_tone(&audio[2000..]) > 0.9 {
            break;
        }
    }
    let offered = of("offer", line(&call, false), json!({"T.38": ["stop"]}));
    let answered = of("answer", line(&call, true), json!({}));
    call.a.remote = Some(sdp::media(&answered).rtp);
    call.b.remote = Some(sdp::media(&offered).rtp);
    // What the gateway said last may still be there.
    while call.b.receive(Duration::from_millis(60)).is_some() {
        assert!(Instant::now() < deadline + Duration::from_secs(10), "the gateway is silent");
    }
    while call.a.receive(Duration::from_millis(1)).is_some() {}
    call.learn();
}

#[test]
fn audio_goes_on_while_fax_is_only_offered() {
    let relay = Relay::start(&[]);
    let mut call = Call::establish(&relay, "refused", Setup::default());
    call.learn();
    let ports = [call.offered.rtp, call.answered.rtp];
    let ask = |command: &str, from: &str, sdp: &str| {
        let to = if from == "a" { "b" } else { "a" };
        let request =
            json!({"command": command, "call-id": "refused", "from-tag": from, "to-tag": to, "sdp": sdp});
        relay.ng.ok(request)["sdp"].as_str().expect("an SDP").to_owned()
    };
    let [a, b] = [&call.a, &call.b].map(|party| sdp::audio(party.local(), &["0 PCMU/8000"], &["ptime:20"]));
    let image = t38(&call.a.rtp);
    let beside =
        format!("{}m=image {}", a.replace(&format!("m=audio {}", call.a.local().port()), "m=audio 0"), {
            image.split("m=image ").nth(1).expect("a section")
        });
    // In the place of audio, or in a section of its own: it is refused, which nobody tells the relay.
    for offer in [&image, &beside, &image] {
        ask("offer", "a", offer);
        call.learn();
    }
    // The other one changes something about audio.
    let offered = ask("offer", "b", &b);
    let answered = ask("answer", "b", &a);
    assert_eq!([sdp::media(&answered).rtp, sdp::media(&offered).rtp], ports);
    call.learn();

    // At last it is accepted, in the place of audio.
    let to_callee = port(&ask("offer", "a", &image), "image");
    let to_caller = port(&ask("answer", "a", &t38(&call.b.rtp)), "image");
    assert_eq!([to_callee, to_caller], ports.map(|port| port.port()));
    for (from, to, way) in [(&call.a, &call.b, ports[1]), (&call.b, &call.a, ports[0])] {
        let packet = Udptl::default().send(&[0x02]);
        from.rtp.send_to(&packet, way).expect("sent");
        let mut buffer = [0; 100];
        to.rtp.set_read_timeout(Some(Duration::from_secs(2))).expect("not zero");
        let length = to.rtp.recv(&mut buffer).expect("it arrives");
        assert_eq!(buffer[..length], packet);
    }
    // Back to audio, by an offer that has lost its second section: the answer to it has none, either.
    let offered = ask("offer", "a", &a);
    let answered = ask("answer", "a", &b);
    for sdp in [&offered, &answered] {
        assert_eq!(sdp.matches("m=").count(), 1, "{sdp}");
    }
    call.a.remote = Some(sdp::media(&answered).rtp);
    call.b.remote = Some(sdp::media(&offered).rtp);
    call.learn();
}

#[test]
fn audio_is_transcoded_while_fax_is_only_offered() {
    let relay = Relay::start(&[]);
    let setup = Setup {
        b: &["8 PCMA/8000"],
        offer: json!({"codec": {"mask": ["PCMU"], "transcode": ["PCMA"]}}),
        ..Setup::default()
    };
    let mut call = Call::establish(&relay, "transcoded", setup);
    for decoded in [json!([]), json!(["decode"])] {
        let offer = json!({"from-tag": "a", "to-tag": "b", "sdp": t38(&call.a.rtp), "T.38": decoded});
        call.command("offer", &offer);
        for payload_type in [0, 8] {
            let (from, to) = if payload_type == 0 { (&mut call.a, &call.b) } else { (&mut call.b, &call.a) };
            let packet = from.next_packet(payload_type, &[0xd5; 160], 160);
            from.send(&packet);
            let heard = to.receive(Duration::from_secs(2)).expect("audio goes on");
            assert_eq!(heard.packet.payload_type, 8 - payload_type);
        }
    }
}

#[test]
fn every_option_is_understood_in_each_form_and_shows_where_it_does() {
    let relay = Relay::start(&[]);
    let party = Party::new("127.0.0.1");
    let lines = |id: usize, extra: Value| {
        let sdp = sdp::audio(party.local(), &["0 PCMU/8000"], &["ptime:20"]);
        let mut request =
            json!({"command": "offer", "call-id": format!("options-{id}"), "from-tag": "a", "sdp": sdp});
        extend(&mut request, &extra);
        let reply = relay.ng.ok(request);
        assert!(reply.get("warning").is_none(), "{extra}: {reply}");
        reply["sdp"].as_str().expect("an SDP").to_owned()
    };
    let plain = ["m=image ", "T38FaxVersion:0", "T38FaxUdpEC:t38UDPRedundancy"];
    let fec = ["m=image ", "T38FaxVersion:0", "T38FaxUdpEC:t38UDPFEC"];
    let third = ["m=image ", "T38FaxVersion:3", "T38FaxUdpEC:t38UDPRedundancy"];
    let no_modems = ["force", "no-ECM", "no-V17", "no V.27ter", "no-V.29", "no-v34", "no IAF"];
    let cases = [
        (json!({"T.38": ["force"]}), plain),
        (json!({"T38": no_modems}), plain),
        (json!({"flags": ["T38-force", "T.38-no-ECM"]}), plain),
        (json!({"T.38": ["force", "FEC"]}), fec),
        (json!({"t.38": ["force", "fec"]}), fec),
        (json!({"T.38": ["force"], "T.38-version": 3}), third),
        (json!({"t38": ["force"], "T38 version": 3}), third),
        (json!({"T.38": ["force", "stop"]}), plain),
        (json!({"T.38": ["stop"]}), ["m=audio ", "PCMU", "ptime:20"]),
        (json!({"T.38": ["decode"]}), ["m=audio ", "PCMU", "ptime:20"]),
    ];
    for (id, (extra, expected)) in cases.into_iter().enumerate() {
        let sdp = lines(id, extra.clone());
        for text in expected {
            assert!(sdp.contains(text), "{extra}: {text} in\n{sdp}");
        }
    }
}
