//! What a thousand listeners of one announcement cost: encoders, processor time beside an encoder for each, and processor time of the
//! daemon's threads while all of them hear it at its pace.
//!
//! `cargo bench -p rtpengine --bench announcements`

use std::net::{IpAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use codec::{EncoderOptions, PayloadFormat};
use media_store::library::{Library, LibrarySettings};
use rtpengine::config::{Config, LocalAddress};
use rtpengine::media::plan::{CallKey, CallPlan, Expect, StreamId, StreamPlan};
use rtpengine::media::port_pool::PortPool;
use rtpengine::media::{MediaPlane, Work};
use rtpengine::negotiate::signal::MediaSource;
use rtpengine::play::encodings::Retention;
use rtpengine::play::{Form, Listener, Playback, Sources};
use tokio::sync::mpsc;

const LISTENERS: usize = 1000;
const SECONDS: u32 = 10;

fn main() {
    println!("announcement of {SECONDS} s, {LISTENERS} listeners that begin one after the other");
    println!("{:>8} {:>9} {:>14} {:>14} {:>7}", "codec", "encoders", "shared", "one each", "ratio");
    let formats = [
        PayloadFormat::new(8, "PCMA", 8000, 1),
        PayloadFormat::new(9, "G722", 8000, 1),
        PayloadFormat::new(96, "opus", 48_000, 2),
    ];
    for format in formats {
        let sources = Sources::new(
            Arc::new(Library::start(LibrarySettings::default()).expect("a library")),
            Retention::WhilePlayed,
        );
        let found = sources.find(&MediaSource::Blob(wav())).expect("found");
        let form = |start_pos| Form {
            format: format.clone(),
            options: EncoderOptions { ptime_ms: Some(20), ..EncoderOptions::default() },
            repeat_times: 1,
            repeat_duration: None,
            start_pos,
        };
        let listen = |listeners: usize, start_pos: Duration| {
            let began = Instant::now();
            let opened: Vec<_> =
                (0..listeners).map(|_| sources.open(&found, &form(start_pos)).expect("opened")).collect();
            let frames: usize = opened.into_iter().map(|opened| opened.take_all().len()).sum();
            assert!(frames >= listeners * (SECONDS as usize * 50 - 1), "{frames} frames");
            began.elapsed()
        };
        let shared = listen(LISTENERS, Duration::ZERO);
        let encoders = sources.encodings().begun();
        // A listener that starts elsewhere has an encoder of its own.
        let own = listen(LISTENERS / 50, Duration::from_millis(1)) * 50;
        println!(
            "{:>8} {encoders:>9} {:>11.1} ms {:>11.1} ms {:>7.4}",
            format.name,
            shared.as_secs_f64() * 1000.0,
            own.as_secs_f64() * 1000.0,
            shared.as_secs_f64() / own.as_secs_f64()
        );
        assert_eq!(encoders, 1, "one encoder for all");
    }
    real_time();
}

/// Music for all at once, for some seconds: packets that left, and processor time of those who made and sent them.
fn real_time() {
    const TIME: Duration = Duration::from_secs(5);
    let ip: IpAddr = "127.0.0.1".parse().expect("an address");
    let local = LocalAddress { address: ip, advertised: ip, ports: None };
    let mut config = Config::for_address(ip, ip);
    config.num_threads = 1;
    let pool = PortPool::new(&config.interfaces, (40_000, 48_999), 0, &[]);
    let (events, _receiver) = mpsc::channel(2 * LISTENERS);
    let plane = MediaPlane::start(&config, Vec::new(), events).expect("workers");
    // Nobody reads: what counts is what it costs to send.
    let ear = UdpSocket::bind("127.0.0.1:0").expect("bound");
    let sources = Sources::without_library().expect("a library");
    let found = sources.find(&MediaSource::Blob(wav())).expect("found");
    let form = Form {
        format: PayloadFormat::new(8, "PCMA", 8000, 1),
        options: EncoderOptions { ptime_ms: Some(20), ..EncoderOptions::default() },
        repeat_times: 999,
        repeat_duration: None,
        start_pos: Duration::ZERO,
    };
    let began = Instant::now();
    let mut playing = Vec::new();
    for number in 0..LISTENERS as u64 {
        let (key, id) = (CallKey(number), StreamId(number + 1));
        let port = pool.allocate(&local, 2).expect("a port").remove(0);
        let stream = StreamPlan::new(id, Expect::Rtp, port, ear.local_addr().expect("address"));
        let shared = stream.shared.clone();
        let worker = plane.assign(Work::Forwarding);
        let (edges, gateways) = (Vec::new(), Vec::new());
        plane.install(worker, CallPlan { key, streams: vec![stream], edges, gateways, tap: None });
        let listener = Listener {
            worker,
            call: key,
            target: id,
            ssrc: 1,
            first_sequence: 0,
            first_timestamp: 0,
            block_egress: false,
        };
        let opened = sources.open(&found, &form).expect("opened");
        playing.push((Playback::start(&plane, opened, &listener).expect("plays"), shared));
    }
    println!(
        "\n{LISTENERS} listeners in real time: begun within {:.0} ms",
        began.elapsed().as_secs_f64() * 1000.0
    );
    let sent = || playing.iter().map(|(_, shared)| shared.egress.packets.get()).sum::<u64>();
    let (before, packets) = (processor_times(), sent());
    std::thread::sleep(TIME);
    let (after, packets) = (processor_times(), sent() - packets);
    let expected = LISTENERS as u64 * TIME.as_millis() as u64 / 20;
    for (what, times) in
        ["sending (media-0)", "feeding (player-*)"].into_iter().zip(before.into_iter().zip(after))
    {
        let spent = (times.1 - times.0) as f64;
        println!(
            "{what:>20}: {:>5.1} % of a core, {:>5.2} µs a packet",
            spent / TIME.as_nanos() as f64 * 100.0,
            spent / packets as f64 / 1000.0
        );
    }
    println!("{packets} of {expected} packets, {} encoder", sources.encodings().begun());
    assert_eq!(sources.encodings().begun(), 1, "one encoder for all");
    drop(playing);
    plane.shutdown();
}

/// Nanoseconds of processor time of the worker and of the players' threads (first field of `schedstat`).
fn processor_times() -> [u64; 2] {
    let mut times = [0; 2];
    for task in std::fs::read_dir("/proc/self/task").expect("tasks").flatten() {
        let read = |file: &str| std::fs::read_to_string(task.path().join(file)).unwrap_or_default();
        let time = read("schedstat").split(' ').next().and_then(|time| time.parse::<u64>().ok()).unwrap_or(0);
        match read("comm").trim() {
            "media-0" => times[0] += time,
            name if name.starts_with("player-") => times[1] += time,
            _ => {}
        }
    }
    times
}

/// A tone, 8 kHz, 16 bits.
fn wav() -> Vec<u8> {
    let samples = SECONDS * 8000;
    let mut out = Vec::new();
    out.extend_from_slice(b"RIFF");
    out.extend_from_slice(&(36 + samples * 2).to_le_bytes());
    out.extend_from_slice(b"WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data");
    out.extend_from_slice(&(samples * 2).to_le_bytes());
    for n in 0..samples {
        let sample = (f64::from(n) * 0.6).sin() * 8000.0;
        out.extend_from_slice(&(sample as i16).to_le_bytes());
    }
    out
}
