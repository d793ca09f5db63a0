//! One end of a call: a pair of sockets, a stream to send, and what was received.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::daemon::wait_for;
use crate::rtp::{Packet, Received};

/// For what a machine that is busy with other things does late.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sockets for RTP and, on the next port, RTCP.
#[derive(Debug)]
pub struct Party {
    /// RTP; the port is even.
    pub rtp: Arc<UdpSocket>,
    /// RTCP, one above.
    pub rtcp: UdpSocket,
    /// Where RTP goes.
    pub remote: Option<SocketAddr>,
    /// The stream's source.
    pub ssrc: u32,
    /// Next sequence number.
    pub sequence: u16,
    /// Next time stamp.
    pub timestamp: u32,
}

impl Party {
    /// Sockets on this address.
    pub fn new(address: &str) -> Self {
        let address: IpAddr = address.parse().expect("an IP address");
        for _ in 0..500 {
            let rtp = UdpSocket::bind((address, 0)).expect("a free UDP port");
            let port = rtp.local_addr().expect("bound").port();
            if !port.is_multiple_of(2) {
                continue;
            }
            if let Ok(rtcp) = UdpSocket::bind((address, port + 1)) {
                return Self {
                    rtp: Arc::new(rtp),
                    rtcp,
                    remote: None,
                    ssrc: rand::random(),
                    sequence: rand::random(),
                    timestamp: rand::random(),
                };
            }
        }
        panic!("no free pair of UDP ports on {address}");
    }

    /// Address and RTP port.
    pub fn local(&self) -> SocketAddr {
        self.rtp.local_addr().expect("bound")
    }

    /// The next packet of this party's stream; time stamps advance by `ticks` afterwards.
    pub fn next_packet(&mut self, payload_type: u8, payload: &[u8], ticks: u32) -> Packet {
        let packet = Packet {
            marker: false,
            payload_type,
            sequence: self.sequence,
            timestamp: self.timestamp,
            ssrc: self.ssrc,
            payload: payload.to_vec(),
        };
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(ticks);
        packet
    }

    /// Sends a digit as five event packets of payload type 101, 60 ms long at 8000 Hz; returns them.
    pub fn press(&mut self, code: u8) -> Vec<Packet> {
        let timestamp = self.timestamp;
        let steps = [(160u16, false), (320, false), (480, true), (480, true), (480, true)];
        let packets: Vec<_> = steps
            .iter()
            .enumerate()
            .map(|(index, (duration, end))| {
                let [high, low] = duration.to_be_bytes();
                let payload = [code, u8::from(*end) << 7 | 10, high, low];
                let mut packet = self.next_packet(101, &payload, 0);
                packet.marker = index == 0;
                packet.timestamp = timestamp;
                packet
            })
            .collect();
        self.timestamp = timestamp.wrapping_add(480);
        packets.iter().for_each(|packet| self.send(packet));
        packets
    }

    /// Sends to the remote side.
    pub fn send(&self, packet: &Packet) {
        let remote = self.remote.expect("the remote side is known");
        self.rtp.send_to(&packet.to_octets(), remote).expect("sending on loopback");
    }

    /// The next RTP packet within this time.
    pub fn receive(&self, wait: Duration) -> Option<Received> {
        receive(&self.rtp, wait)
    }

    /// `count` RTP packets.
    ///
    /// # Panics
    /// When one takes longer than two seconds.
    pub fn receive_many(&self, count: usize) -> Vec<Received> {
        (0..count)
            .map(|i| {
                self.receive(Duration::from_secs(2)).unwrap_or_else(|| panic!("{i} of {count} packets came"))
            })
            .collect()
    }

    /// The next RTCP datagram within two seconds, on the RTCP socket.
    pub fn receive_rtcp(&self) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 2048];
        self.rtcp.set_read_timeout(Some(Duration::from_secs(2))).expect("not zero");
        let length = self.rtcp.recv(&mut buffer).ok()?;
        buffer.truncate(length);
        Some(buffer)
    }

    /// Sends a list of payloads from a thread, one each `ptime`.
    pub fn send_paced(
        &mut self,
        payload_type: u8,
        payloads: Vec<Vec<u8>>,
        ticks: u32,
        ptime: Duration,
    ) -> JoinHandle<()> {
        self.send_paced_from(Instant::now(), payload_type, payloads, ticks, ptime)
    }

    /// The same, the first of them at `start`.
    pub fn send_paced_from(
        &mut self,
        start: Instant,
        payload_type: u8,
        payloads: Vec<Vec<u8>>,
        ticks: u32,
        ptime: Duration,
    ) -> JoinHandle<()> {
        let packets: Vec<_> =
            payloads.iter().map(|payload| self.next_packet(payload_type, payload, ticks)).collect();
        let socket = Arc::clone(&self.rtp);
        let remote = self.remote.expect("the remote side is known");
        std::thread::spawn(move || {
            for (i, packet) in packets.iter().enumerate() {
                let due = start + ptime * i as u32;
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                let _ = socket.send_to(&packet.to_octets(), remote);
            }
        })
    }

    /// Receives in a thread until told to stop.
    pub fn listen(&self) -> Listener {
        let (socket, stop) = (Arc::clone(&self.rtp), Arc::new(AtomicBool::new(false)));
        let (stopped, count) = (Arc::clone(&stop), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&count);
        let thread = std::thread::spawn(move || {
            let mut packets = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                packets.extend(receive(&socket, Duration::from_millis(20)));
                counted.store(packets.len(), Ordering::Relaxed);
            }
            packets
        });
        Listener { stop, count, thread }
    }
}

/// A receiving thread.
#[derive(Debug)]
pub struct Listener {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
    thread: JoinHandle<Vec<Received>>,
}

impl Listener {
    /// Waits until it has received so many packets, but not for ever, and ends it.
    pub fn stop_at(self, count: usize) -> Vec<Received> {
        let _ = wait_for(PATIENCE, || (self.count.load(Ordering::Relaxed) >= count).then_some(()));
        self.stop()
    }

    /// Waits until something has come and then nothing for this time, and ends it.
    pub fn stop_behind(self, pause: Duration) -> Vec<Received> {
        let begun = Instant::now();
        let (mut count, mut last) = (0, begun);
        let _ = wait_for(PATIENCE * 3, || {
            let present = self.count.load(Ordering::Relaxed);
            if present != count {
                (count, last) = (present, Instant::now());
            }
            (last.elapsed() >= if count == 0 { PATIENCE } else { pause }).then_some(())
        });
        self.stop()
    }

    /// Ends it and returns what it received.
    pub fn stop(self) -> Vec<Received> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("receiving does not panic")
    }
}

fn receive(socket: &UdpSocket, wait: Duration) -> Option<Received> {
    let deadline = Instant::now() + wait;
    let mut buffer = [0; 2048];
    loop {
        let left = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
        socket.set_read_timeout(Some(left)).expect("not zero");
        // Errors are time-outs or a refused packet of ours that came back as ICMP.
        let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
        if let Some(packet) = Packet::parse(&buffer[..length]) {
            return Some(Received { at: Instant::now(), from, packet });
        }
    }
}
