//! Calls between two codecs through one daemon, ours or another: what the measurements of cost and of quality have in common.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::daemon::{Process, await_ping};
use crate::machine::process_ns;
use crate::ng::{NgClient, parse_body};
use crate::ports::PortBlock;
use crate::rtp::Packet;
use crate::speech::{self, Speaker};
use crate::{bencode, sdp};

pub mod capacity;

/// Payloads of the two sides, packet by packet.
pub type Spoken = [Vec<Vec<u8>>; 2];

/// A daemon with one worker.
pub struct Daemon {
    process: Process,
    client: UdpSocket,
    _folder: TempDir,
    _ports: PortBlock,
}

/// One party of a call: what it sends, where to.
pub struct Leg {
    socket: UdpSocket,
    to: SocketAddr,
    payload_type: u8,
    ticks: u32,
    ssrc: u32,
}

/// What both sides of a pair of formats say, in packets of 20 ms; `None` when this build has no encoder for it.
pub fn spoken(formats: [&str; 2]) -> Option<Spoken> {
    let [a, b] = formats.map(|text| {
        let format = sdp::format(text);
        let encoder = codec::new_encoder(&format, &codec::EncoderOptions::default()).ok()?;
        let audio = speech::speak(Speaker::Caller, encoder.sample_rate());
        Some(speech::encode(&audio, encoder.sample_rate(), &format).0)
    });
    Some([a?, b?])
}

impl Daemon {
    /// Starts one that is idle until it is asked; `number` tells several apart.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn start(name: &str, program: &Path, number: u8) -> Self {
        let ports = PortBlock::take();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let control = SocketAddr::from((Ipv4Addr::LOCALHOST, ports.control()));
        let mut command = Command::new(program);
        command.args(["--config-file=none", "--table=-1", "--foreground", "--log-stderr", "--log-level=3"]);
        command.args(["--delete-delay=0", "--timeout=3600", "--num-threads=1"]);
        command.args(["--port-min=10000", "--port-max=59999"]);
        let address = format!("127.{}.8.{number}", 1 + std::process::id() % 250);
        command.arg(format!("--interface={address}")).arg(format!("--listen-ng={control}"));
        command.arg(format!("--pidfile={}/pid", folder.path().display()));
        let mut process = Process::start(command, &folder.path().join("log")).expect("the daemon starts");
        let ng = NgClient::connect(control);
        if let Err(reason) = await_ping(&ng, &mut process, Duration::from_secs(20)) {
            panic!("{name}: {reason}\n{}", process.log());
        }
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a client socket");
        client.connect(control).expect("connecting UDP sends nothing");
        client.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout above zero");
        Self { process, client, _folder: folder, _ports: ports }
    }

    /// A call between the two formats, the second of which the daemon adds; `None` when it cannot.
    pub fn establish(&self, call: u32, formats: [&str; 2]) -> Option<[Leg; 2]> {
        let sockets = [(); 2].map(|()| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a media socket"));
        let local = |index: usize| sockets[index].local_addr().expect("bound");
        let codec = formats[1].split_once(' ').map_or(formats[1], |(_, codec)| codec);
        let codec = codec.split('/').next().unwrap_or_default();
        let offer = json!({
            "command": "offer", "call-id": format!("transcode-{call}"), "from-tag": "a", "ICE": "remove",
            "sdp": sdp::audio(local(0), &formats[..1], &["sendrecv", "ptime:20"]),
            "codec": {"mask": ["all"], "transcode": [codec]},
        });
        let offered = self.exchange("offer", call, &offer);
        let shown = sdp::media(offered["sdp"].as_str()?);
        // The number that the relay gave the codec.
        let number = shown.formats.iter().find(|f| f.name.eq_ignore_ascii_case(codec))?.payload_type;
        let text = format!("{number} {}", formats[1].split_once(' ').map_or("", |(_, rest)| rest));
        let answer = json!({
            "command": "answer", "call-id": format!("transcode-{call}"), "from-tag": "a", "to-tag": "b", "ICE": "remove",
            "sdp": sdp::audio(local(1), &[&text], &["sendrecv", "ptime:20"]),
        });
        let answered = self.exchange("answer", call, &answer);
        let back = sdp::media(answered["sdp"].as_str()?);
        let [a, b] = sockets;
        let leg = |socket: UdpSocket, to, text: &str, ssrc| {
            socket.set_nonblocking(true).expect("a socket");
            let format = sdp::format(text);
            Leg { socket, to, payload_type: format.payload_type, ticks: format.clock_rate / 50, ssrc }
        };
        Some([leg(a, back.rtp, formats[0], call * 2 + 1), leg(b, shown.rtp, &text, call * 2 + 2)])
    }

    fn exchange(&self, command: &str, call: u32, request: &Value) -> Value {
        let message = [format!("{command}{call} ").as_bytes(), &bencode::encode(request)].concat();
        self.client.send(&message).expect("loopback takes it");
        let mut buffer = vec![0; 65_536];
        let length = self.client.recv(&mut buffer).expect("a reply within 10 s");
        let blank = buffer.iter().position(|&octet| octet == b' ').expect("a cookie") + 1;
        parse_body(&buffer[blank..length]).expect("a reply that can be read")
    }

    /// The process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Processor time of all its threads.
    pub fn cpu_ns(&self) -> u64 {
        process_ns(self.process.id())
    }
}

impl Leg {
    /// Sends the packet with this number, of 20 ms.
    pub fn send(&self, number: u32, payload: &[u8]) {
        let packet = Packet {
            marker: number == 0,
            payload_type: self.payload_type,
            sequence: number as u16,
            timestamp: number * self.ticks,
            ssrc: self.ssrc,
            payload: payload.to_vec(),
        };
        // What loopback does not take is lost, as it would be elsewhere.
        let _ = self.socket.send_to(&packet.to_octets(), self.to);
    }

    /// What has come since, but for RTCP.
    pub fn receive(&self, mut each: impl FnMut(&[u8])) {
        let mut buffer = [0; 2048];
        while let Ok(length) = self.socket.recv(&mut buffer) {
            if !(200..=207).contains(&buffer[1]) {
                each(&buffer[..length]);
            }
        }
    }

    /// What its party sends and takes.
    pub fn payload_type(&self) -> u8 {
        self.payload_type
    }

    /// Ticks of its clock in a packet.
    pub fn ticks(&self) -> u32 {
        self.ticks
    }
}
