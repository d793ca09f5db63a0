//! Live copies: audio over TCP and TLS, packets to a Unix socket; receivers that do not read.

mod common;

use std::io::Read;
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use common::http::tls_config;
use common::relay::{FakeCall, talk};
use common::signal::{PACKET, Voice, lag};
use common::{Bench, wait_for};

const START: Duration = Duration::ZERO;

/// Everything that each connection sends.
fn receiver(tls: bool) -> (String, Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("address").to_string();
    let (sender, received) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, sender) = (stream.expect("a connection"), sender.clone());
            std::thread::spawn(move || {
                let mut octets = Vec::new();
                if tls {
                    let connection = rustls::ServerConnection::new(tls_config()).expect("TLS");
                    let _ = rustls::StreamOwned::new(connection, stream).read_to_end(&mut octets);
                } else {
                    let _ = stream.read_to_end(&mut octets);
                }
                let _ = sender.send(octets);
            });
        }
    });
    (address, received)
}

fn parts(octets: &[u8]) -> (String, Vec<i16>) {
    let nul = octets.iter().position(|&octet| octet == 0).expect("the end of the metadata");
    let samples =
        octets[nul + 1..].chunks_exact(2).map(|pair| i16::from_ne_bytes([pair[0], pair[1]])).collect();
    (String::from_utf8_lossy(&octets[..nul]).into_owned(), samples)
}

fn forwarded_call(bench: &Bench) -> FakeCall {
    let mut call = FakeCall::begin(bench, "live", &[("METADATA", "caller:alice")]);
    call.write(&[("RECORDING 1", ""), ("FORWARDING 1", "")]);
    call.add_party("a");
    call.add_party("b");
    call.write(&[("METADATA-TAG 1", "only:bob")]);
    call
}

#[test]
fn audio_of_each_source_is_sent_with_its_metadata() {
    for (option, tls) in [("--tcp-send-to", false), ("--tls-send-to", true)] {
        let (address, received) = receiver(tls);
        let bench = Bench::new();
        let recorder =
            bench.start(&["--output-storage=none", &format!("{option}={address}"), "--tcp-resample=16000"]);
        let mut call = forwarded_call(&bench);
        let (first, second) = (Voice::Noise { seed: 41 }, Voice::Noise { seed: 42 });
        let mut packets = talk(0, 1, first, START, 50);
        packets.retain(|packet| !(20..30).contains(&packet.packet));
        packets.extend(talk(1, 2, second, START, 50));
        call.speak(Instant::now(), packets);
        call.end();
        let mut streams: Vec<_> = (0..2)
            .map(|_| parts(&received.recv_timeout(Duration::from_secs(30)).expect("a connection")))
            .collect();
        streams.sort();
        for ((metadata, samples), (expected, voice)) in
            streams.iter().zip([("caller:alice", first), ("only:bob", second)])
        {
            assert_eq!(metadata, expected);
            assert!(samples.len().abs_diff(50 * PACKET * 2) < 100, "{} samples", samples.len());
            let narrow: Vec<i16> = samples.iter().step_by(2).copied().collect();
            assert!(lag(&narrow, voice, 35..45, 35 * PACKET).abs() <= 24, "the gap is silence");
        }
        assert!(recorder.terminate().success());
        assert!(bench.files().is_empty());
    }
}

#[test]
fn the_mix_is_sent_over_one_connection() {
    let (address, received) = receiver(false);
    let bench = Bench::new();
    let _recorder =
        bench.start(&[&format!("--tcp-send-to={address}"), "--tcp-mixed", "--mix-method=channels"]);
    let mut call = forwarded_call(&bench);
    let (first, second) = (Voice::Noise { seed: 43 }, Voice::Noise { seed: 44 });
    let mut packets = talk(0, 1, first, START, 100);
    packets.extend(talk(1, 2, second, Duration::from_millis(600), 70));
    call.speak(Instant::now(), packets);
    call.end();
    let (metadata, samples) = parts(&received.recv_timeout(Duration::from_secs(30)).expect("a connection"));
    assert_eq!(metadata, "caller:alice");
    for (channel, voice, shift) in [(0, first, 0), (1, second, 30)] {
        let channel: Vec<i16> = samples.iter().skip(channel).step_by(4).copied().collect();
        assert!(lag(&channel, voice, 30..60, (30 + shift) * PACKET).abs() <= 80);
    }
    bench.wait_until_finished();
    assert_eq!(bench.files().len(), 3, "the files are written as well");
}

#[test]
fn a_receiver_that_stops_reading_harms_nobody() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("address");
    let bench = Bench::new();
    let recorder =
        bench.start(&[&format!("--tls-send-to={address}"), "--tls-resample=192000", &bench.report_option()]);
    let mut call = forwarded_call(&bench);
    let voice = Voice::Noise { seed: 45 };
    let packets = talk(0, 1, voice, START, 600);
    let start = Instant::now();
    call.speak(start, packets[..10].to_vec());
    // It shakes hands, and never reads again.
    let (mut stream, _) = listener.accept().expect("a connection");
    let mut connection = rustls::ServerConnection::new(tls_config()).expect("TLS");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("timeout");
    connection.complete_io(&mut stream).expect("a handshake");
    call.speak(start, packets[10..].to_vec());
    call.end();
    assert_eq!(bench.wait_for_report(), ("complete".into(), String::new()));
    assert_eq!(bench.wav("00000001.wav").frames(), 600 * PACKET);
    let stopping = Instant::now();
    assert!(recorder.terminate().success());
    assert!(stopping.elapsed() < Duration::from_secs(15));
    drop(stream);
}

#[test]
fn packets_go_to_a_unix_socket_behind_their_metadata() {
    let bench = Bench::new();
    let listener = spool::exposure::listen(bench.spool.path(), "packets").expect("listen");
    let socket = bench.spool.path().join("packets");
    let _recorder = bench.start(&["--output-storage=none", &format!("--forward-to={}", socket.display())]);
    let mut call = FakeCall::begin(&bench, "forward", &[("METADATA", "caller:alice")]);
    call.add_party("a");
    call.stamp_from(std::time::SystemTime::now());
    call.speak(Instant::now(), talk(0, 1, Voice::Noise { seed: 46 }, START, 20));
    call.write(&[("METADATA", "caller:bob")]);
    let mut connection = None;
    wait_for("a connection", || {
        connection = connection.take().or_else(|| spool::exposure::accept(&listener).expect("accept"));
        connection.is_some()
    });
    let connection = connection.expect("a connection");
    let mut messages: Vec<Vec<u8>> = Vec::new();
    let mut buf = [0; 2000];
    wait_for("all messages", || {
        while let Ok(length) = spool::exposure::receive(&connection, &mut buf) {
            messages.push(buf[..length].to_vec());
        }
        messages.len() >= 22
    });
    call.end();
    assert_eq!(messages[0], b"caller:alice");
    let texts = messages.iter().filter(|message| message.starts_with(b"caller:"));
    assert_eq!(texts.count(), 2);
    for packet in messages.iter().filter(|message| !message.starts_with(b"caller:")) {
        assert_eq!(packet.len(), 28 + 12 + PACKET, "without the stamp");
        assert!(spool::framing::parse(packet).is_ok());
    }
}
