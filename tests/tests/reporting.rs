//! What the daemon tells others by itself: collectors and call-backs that a test plays, and the records in the log.

use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::time::Duration;

use e2e::call::{Call, Setup};
use e2e::daemon::{Relay, wait_for};
use serde_json::json;

const SOON: Duration = Duration::from_secs(15);

/// A sender report with a report block and a source description.
fn report(ssrc: u32, about: u32) -> Vec<u8> {
    let words = [
        0x81c8_000c,
        ssrc,
        4_004_215_314,
        3_008_122_880,
        6400,
        40,
        6400,
        about,
        0x0500_0001,
        1040,
        20,
        0,
        0,
        0x81ca_0005,
        ssrc,
    ];
    let mut octets: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    octets.extend_from_slice(b"\x01\x0aalice@host\0\0\0\0");
    octets
}

fn logged(relay: &Relay, text: &str) -> Option<String> {
    wait_for(SOON, || relay.process.log().lines().find(|line| line.contains(text)).map(str::to_owned))
}

#[test]
fn records_and_final_statistics_of_a_call_are_in_the_log() {
    let relay = Relay::start(&[
        "--log-facility-cdr=local0",
        "--log-facility-rtcp=local1",
        "--log-facility-dtmf=local2",
    ]);
    let formats = &["0 PCMU/8000", "101 telephone-event/8000"];
    let mut call = Call::establish(&relay, "cdr", Setup { a: formats, b: formats, ..Setup::default() });
    for _ in 0..5 {
        let packet = call.a.next_packet(0, &[0x55; 160], 160);
        call.a.send(&packet);
    }
    assert_eq!(call.b.receive_many(5).len(), 5);
    call.a
        .rtcp
        .send_to(&report(call.a.ssrc, 7), (call.a.remote.unwrap().ip(), call.a.remote.unwrap().port() + 1))
        .expect("loopback");
    assert!(call.b.receive_rtcp().is_some());
    let rtcp = logged(&relay, "payloadtype=200").expect("a record of the report");
    assert!(
        rtcp.contains(&format!(
            "[cdr] version=2, padding=0, count=1, payloadtype=200, length=12, ssrc={}, ",
            call.a.ssrc
        )),
        "{rtcp}"
    );
    assert!(rtcp.ends_with("payloadtype=202, length=5"), "{rtcp}");
    for end in [false, false, true] {
        let mut packet = call.a.next_packet(101, &[5, if end { 0x8a } else { 0x0a }, 1, 0xe0], 0);
        packet.marker = false;
        call.a.send(&packet);
    }
    let digit = logged(&relay, r#""type":"DTMF""#).expect("a record of the digit");
    assert!(digit.contains(r#""event":5,"duration":60,"volume":10"#), "{digit}");
    let port = call.a.local().port();
    relay.ng.ok(json!({"command": "delete", "call-id": "cdr", "from-tag": "a", "delete-delay": 0}));
    let cdr = logged(&relay, "ci=cdr, ").expect("a record of the call");
    for part in [
        "ml0_termination=REGULAR, ",
        "ml0_local_tag_type=FROM_TAG, ml0_remote_tag=",
        "payload_type=101, ",
        &format!("ml0_midx1_rtp_endpoint_ip=127.0.0.1, ml0_midx1_rtp_endpoint_port={port}, "),
        "ml0_midx1_rtp_relayed_packets=8, ",
        "ml0_midx1_rtcp_relayed_packets=1, ",
        "ml1_local_tag_type=TO_TAG, ",
    ] {
        assert!(cdr.contains(part), "{part} is not in {cdr}");
    }
    assert!(cdr.ends_with("ml1_midx1_rtcp_in_tos_tclass=0, "), "{cdr}");
    let statistics = logged(&relay, "Final packet stats:").expect("final statistics");
    assert!(statistics.contains("[cdr"), "{statistics}");
    let line = logged(&relay, &format!(":{port:<5}, SSRC")).expect("the line of a stream");
    assert!(line.contains("in 8 p, "), "{line}");
}

#[test]
fn homer_gets_rtcp_and_ng_over_udp() {
    let collector = UdpSocket::bind("127.0.0.1:0").expect("loopback");
    collector.set_read_timeout(Some(SOON)).expect("a timeout");
    let homer = format!("--homer={}", collector.local_addr().expect("bound"));
    let relay = Relay::start(&[&homer, "--homer-enable-ng", "--homer-id=77"]);
    let mut call = Call::establish(&relay, "hep-call", Setup::default());
    let mut received = Vec::new();
    let mut next = |expected: &str| -> Vec<u8> {
        let mut buffer = [0; 65_536];
        while !received.iter().any(|packet: &Vec<u8>| String::from_utf8_lossy(packet).contains(expected)) {
            let length = collector.recv(&mut buffer).unwrap_or_else(|e| panic!("{expected}: {e}"));
            received.push(buffer[..length].to_vec());
        }
        let at = received.iter().position(|packet| String::from_utf8_lossy(packet).contains(expected));
        received.remove(at.expect("just found"))
    };
    let offer = next("7:command5:offer");
    assert_eq!(&offer[..4], b"HEP3");
    assert_eq!(usize::from(u16::from_be_bytes([offer[4], offer[5]])), offer.len());
    let has = |packet: &[u8], chunk: &[u8]| packet.windows(chunk.len()).any(|window| window == chunk);
    assert!(has(&offer, b"\x00\x00\x00\x0b\x00\x07\x3d"), "protocol type of ng");
    assert!(has(&offer, b"\x00\x00\x00\x0c\x00\x0a\x00\x00\x00\x4d"), "capture id");
    assert!(has(&offer, b"\x00\x00\x00\x11\x00\x0ehep-call"), "correlation by call");
    let reply = next("6:result2:ok");
    assert!(has(&reply, b"\x00\x00\x00\x0b\x00\x07\x3d"));

    let packet = call.a.next_packet(0, &[0x55; 160], 160);
    call.a.send(&packet);
    let to = call.a.remote.expect("answered");
    call.a.rtcp.send_to(&report(call.a.ssrc, 7), (to.ip(), to.port() + 1)).expect("loopback");
    let rtcp = next("sender_information");
    let text = String::from_utf8_lossy(&rtcp).into_owned();
    let expected = format!("\"packets\":40}},\"ssrc\":{},\"type\":200,\"report_count\":1", call.a.ssrc);
    assert!(text.contains(&expected) && text.contains("\"text\":\"alice@host\""), "{text}");
    assert!(has(&rtcp, b"\x00\x00\x00\x0b\x00\x07\x05"), "protocol type of RTCP");
    let port = call.a.rtcp.local_addr().expect("bound").port().to_be_bytes();
    assert!(has(&rtcp, &[0, 0, 0, 7, 0, 8, port[0], port[1]]), "the party is the source");
}

#[test]
fn graphite_gets_a_block_an_interval_and_a_new_connection_after_a_loss() {
    let server = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let graphite = format!("--graphite={}", server.local_addr().expect("bound"));
    let relay = Relay::start(&[&graphite, "--graphite-prefix=pfx.", "--graphite-interval=1"]);
    let read = |until: &str| -> String {
        let (mut stream, _) = server.accept().expect("the daemon connects");
        stream.set_read_timeout(Some(SOON)).expect("a timeout");
        let mut text = String::new();
        let mut buffer = [0; 65_536];
        while !text.contains(until) {
            let length = stream.read(&mut buffer).expect("a block");
            assert!(length > 0, "closed after {text}");
            text.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
        text
    };
    let _call = Call::establish(&relay, "graphite", Setup::default());
    let first = read("pfx.current_sessions_own 1 ");
    assert!(first.contains("pfx.start_recording_time_min 0.000000 "), "{first}");
    assert!(first.contains("pfx.reject_sess 0 ") && first.contains("pfx.ports_free_"), "{first}");
    // The server went away with its connection; the daemon comes again.
    read("pfx.managed_sess_max 1 ");
    let shown = relay.ng.ok(json!({"command": "statistics"}));
    assert_eq!(shown["statistics"]["intervalstatistics"]["maxmanagedsessions"], 1, "{shown}");
}

/// Answers HTTP requests one after the other; what was in their bodies.
fn serve(listener: &TcpListener, replies: &[&str]) -> Vec<String> {
    let mut bodies = Vec::new();
    for reply in replies {
        let (mut stream, _) = listener.accept().expect("the daemon connects");
        stream.set_read_timeout(Some(SOON)).expect("a timeout");
        let mut received = Vec::new();
        let mut buffer = [0; 4096];
        while !received.ends_with(b"</methodCall>\r\n") {
            let length = stream.read(&mut buffer).expect("a request");
            assert!(length > 0, "closed after {}", String::from_utf8_lossy(&received));
            received.extend_from_slice(&buffer[..length]);
        }
        bodies.push(String::from_utf8_lossy(&received).into_owned());
        stream.write_all(reply.as_bytes()).expect("connected");
    }
    bodies
}

#[test]
fn proxies_are_called_back_when_a_call_times_out() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let port = listener.local_addr().expect("bound").port();
    let url = format!("--b2b-url=http://%%:{port}/cb?x=1");
    let relay = Relay::start(&[&url, "--xmlrpc-format=2", "--timeout=1"]);
    let _call = Call::establish(&relay, "xml", Setup::default());
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let broken = "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n";
    let fault = "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n<fault>";
    // Two failures, then it is taken.
    let bodies = serve(&listener, &[broken, fault, ok]);
    assert!(bodies[0].starts_with("POST /cb?x=1 HTTP/1.1\r\n"), "{}", bodies[0]);
    assert!(bodies[0].to_ascii_lowercase().contains("content-type: text/xml\r\n"), "{}", bodies[0]);
    for body in &bodies {
        assert!(body.contains("<methodName>dlg.terminate_dlg</methodName>"), "{body}");
        assert_eq!(body.matches("<param>").count(), 3, "{body}");
        assert!(body.contains("<string>xml</string>"), "{body}");
    }
}

#[test]
fn a_collector_gets_a_trace_of_each_call() {
    let collector = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = collector.local_addr().expect("bound");
    let relay = Relay::start(&[&format!("--otlp-endpoint=http://{address}/v1/traces"), "--software-id=edge"]);
    let mut call = Call::establish(&relay, "traced", Setup::default());
    for _ in 0..3 {
        let packet = call.a.next_packet(0, &[0x55; 160], 160);
        call.a.send(&packet);
    }
    assert_eq!(call.b.receive_many(3).len(), 3);
    relay.ng.ok(json!({"command": "delete", "call-id": "traced", "delete-delay": 0}));
    let (mut stream, _) = collector.accept().expect("the relay");
    stream.set_read_timeout(Some(SOON)).expect("a timeout");
    let (mut request, mut piece) = (Vec::new(), [0; 4096]);
    let trace: serde_json::Value = loop {
        let length = stream.read(&mut piece).expect("a request");
        assert_ne!(length, 0, "{}", String::from_utf8_lossy(&request));
        request.extend_from_slice(&piece[..length]);
        let text = String::from_utf8_lossy(&request);
        let body = text.split_once("\r\n\r\n").and_then(|(_, body)| serde_json::from_str(body).ok());
        if let Some(body) = body {
            assert!(
                text.starts_with("POST /v1/traces HTTP/1.1\r\n") && text.contains("application/json"),
                "{text}"
            );
            break body;
        }
    };
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").expect("write");
    let resource = &trace["resourceSpans"][0];
    assert_eq!(resource["resource"]["attributes"][0]["value"]["stringValue"], "edge");
    let spans = resource["scopeSpans"][0]["spans"].as_array().expect("spans").clone();
    let attribute = |span: &serde_json::Value, key: &str| {
        let all = span["attributes"].as_array().expect("attributes").clone();
        all.into_iter().find(|attribute| attribute["key"] == key).map(|attribute| attribute["value"].clone())
    };
    assert_eq!(attribute(&spans[0], "rtpengine.call_id"), Some(json!({"stringValue": "traced"})));
    assert_eq!(attribute(&spans[0], "rtpengine.end"), Some(json!({"stringValue": "deleted"})));
    let received: Vec<_> =
        spans.iter().filter_map(|span| attribute(span, "rtpengine.packets.received")).collect();
    assert_eq!(received, [json!({"intValue": "3"}), json!({"intValue": "0"})]);
}
