//! A daemon that another one takes the place of, and media that pass meanwhile.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::daemon::Relay;
use crate::party::Party;

const LIMIT: Duration = Duration::from_secs(60);

/// Starts another instance in the place of this one, with the same control address beside its own, and waits until it answers and the
/// old one has ended.
pub fn replace(old: &mut Relay, arguments: &[&str]) -> Relay {
    let manager = tempfile::tempdir().expect("a folder");
    let notified = UnixDatagram::bind(manager.path().join("notify")).expect("a socket");
    notified.set_read_timeout(Some(LIMIT)).expect("a timeout");
    let (low, high) = old.ports.media();
    let own = [
        format!("--port-min={low}"),
        format!("--port-max={high}"),
        format!("--handover-socket={}", old.path("next").display()),
        format!("--listen-ng={}", old.control),
    ];
    let own: Vec<&str> = own.iter().map(String::as_str).collect();
    let new = Relay::start_with(&[&own[..], arguments].concat(), |command| {
        command.env("NOTIFY_SOCKET", manager.path().join("notify"));
    });
    let mut message = [0; 100];
    let length = notified.recv(&mut message).expect("the service manager is told");
    let expected = format!("MAINPID={}\nREADY=1\n", new.process.id());
    assert_eq!(String::from_utf8_lossy(&message[..length]), expected);
    let status = old.process.wait(LIMIT).expect("the old process ends by itself");
    assert!(status.success(), "{status}");
    new
}

/// Sends numbered packets at intervals; when each was sent.
pub fn stream(
    from: &Party,
    to: SocketAddr,
    interval: Duration,
    stop: &Arc<AtomicBool>,
) -> thread::JoinHandle<Vec<Instant>> {
    let (socket, stop) = (Arc::clone(&from.rtp), Arc::clone(stop));
    thread::spawn(move || {
        let mut sent = Vec::new();
        let begin = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            let number = sent.len() as u16;
            let mut packet = vec![0x80, 0];
            packet.extend(number.to_be_bytes());
            packet.extend((u32::from(number) * 160).to_be_bytes());
            packet.extend([0, 0, 0, 7]);
            packet.resize(172, 0xff);
            socket.send_to(&packet, to).expect("loopback");
            sent.push(Instant::now());
            thread::sleep(
                (begin + interval * (u32::from(number) + 1)).saturating_duration_since(Instant::now()),
            );
        }
        sent
    })
}

/// Hears such packets until nothing comes any more after the stop; when each came.
pub fn hear(party: &Party, stop: &Arc<AtomicBool>) -> thread::JoinHandle<BTreeMap<u16, Instant>> {
    let (socket, stopped) = (Arc::clone(&party.rtp), Arc::clone(stop));
    thread::spawn(move || {
        socket.set_read_timeout(Some(Duration::from_millis(500))).expect("a timeout");
        let mut heard = BTreeMap::new();
        let mut buffer = [0; 2000];
        loop {
            match socket.recv_from(&mut buffer) {
                Ok((length, _)) => {
                    assert_eq!(length, 172);
                    heard.insert(u16::from_be_bytes([buffer[2], buffer[3]]), Instant::now());
                }
                Err(_) if stopped.load(Ordering::Relaxed) => return heard,
                Err(_) => {}
            }
        }
    })
}
