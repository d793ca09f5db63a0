//! The relay daemon's side of the spool.

use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use spool::{exposure, framing, metafile, names};

use super::Bench;
use super::signal::{PACKET, Voice};

/// A recorded call, seen from the relay daemon.
pub struct FakeCall {
    spool: PathBuf,
    pub prefix: String,
    streams: Vec<FakeStream>,
    began: Option<SystemTime>,
    /// Packets carry the times at which they should have been sent, so that a slow machine changes nothing.
    stamps: bool,
}

struct FakeStream {
    listener: OwnedFd,
    reader: Option<OwnedFd>,
    queue: VecDeque<Vec<u8>>,
}

/// One packet that a speaker sends at a time.
#[derive(Clone, Copy)]
pub struct Spoken {
    pub stream: usize,
    pub ssrc: u32,
    pub voice: Voice,
    /// Which part of the voice it carries.
    pub packet: usize,
    pub sequence_number: u16,
    pub timestamp: u32,
    /// 0 = PCMU, [`L16`].
    pub payload_type: u8,
    pub at: Duration,
}

/// Payload type of linear samples at 16 kHz.
pub const L16: u8 = 96;

impl FakeCall {
    /// Announces a call. `chunks` come before `STARTED`.
    pub fn begin(bench: &Bench, call_id: &str, chunks: &[(&str, &str)]) -> Self {
        let prefix = names::prefix(call_id, 0x0011_2233_4455_6677);
        let spool = bench.spool.path().to_owned();
        std::fs::create_dir_all(names::exposure_dir(&spool, &prefix)).expect("directory");
        let call = Self { spool, prefix: prefix.clone(), streams: Vec::new(), began: None, stamps: true };
        let mut first = vec![
            ("CALL-ID", call_id),
            ("PARENT", prefix.as_str()),
            ("RANDOM_TAG", "0011223344556677"),
            ("RECORDING 1", ""),
            ("FORWARDING 0", ""),
        ];
        first.extend_from_slice(chunks);
        first.push(("STARTED", ""));
        call.write(&first);
        call
    }

    /// Announces a participant with one stream of PCMU; the first is number 0.
    pub fn add_party(&mut self, label: &str) -> usize {
        let number = self.streams.len() as u32;
        let media = number + 1;
        let name = names::stream_name(number, 1, 1, false, number);
        let listener =
            exposure::listen(&names::exposure_dir(&self.spool, &self.prefix), &name).expect("listen");
        self.streams.push(FakeStream { listener, reader: None, queue: VecDeque::new() });
        let details = format!(
            "TAG {number} MEDIA {media} COMPONENT 1 FLAGS 3 MEDIA-SDP-ID {number} MEDIA-REC-SLOT 1 MEDIA-REC-SLOTS 1"
        );
        self.write(&[
            (&format!("TAG {number}"), &format!("tag{number}")),
            (&format!("LABEL {number}"), label),
            (&format!("MEDIA {media} PTIME 20"), ""),
            (&format!("MEDIA {media} PAYLOAD TYPE 0"), "PCMU/8000"),
            (&format!("MEDIA {media} FMTP 0"), ""),
            (&format!("MEDIA {media} PAYLOAD TYPE {L16}"), "L16/16000"),
            (&format!("MEDIA {media} FMTP {L16}"), ""),
            (&format!("STREAM {number} details"), &details),
            (&format!("STREAM {number} interface"), &name),
        ]);
        number as usize
    }

    /// Appends chunks with one write.
    pub fn write(&self, chunks: &[(&str, &str)]) {
        let mut octets = Vec::new();
        for (label, content) in chunks {
            metafile::append(&mut octets, label, content.as_bytes());
        }
        let path = names::metafile_path(&self.spool, &self.prefix);
        let mut file = OpenOptions::new().append(true).create(true).open(path).expect("metafile");
        file.write_all(&octets).expect("write");
    }

    /// Sends packets at their times, counted from `start`. They may be in any order.
    pub fn speak(&mut self, start: Instant, mut packets: Vec<Spoken>) {
        packets.sort_by_key(|packet| packet.at);
        let began = self.began;
        if self.stamps {
            self.began.get_or_insert(SystemTime::now() - start.elapsed());
        }
        for packet in packets {
            let wait = (start + packet.at).saturating_duration_since(Instant::now());
            std::thread::sleep(wait);
            self.send(&packet);
        }
        self.began = began;
    }

    /// Packets tell nothing about their times, like those of the kernel.
    pub fn without_stamps(&mut self) {
        self.stamps = false;
    }

    /// Queues one packet and delivers what can be delivered.
    pub fn send(&mut self, packet: &Spoken) {
        let mut rtp = [0; 12];
        codec::rtp::write_header(
            &mut rtp,
            false,
            packet.payload_type,
            packet.sequence_number,
            packet.timestamp,
            packet.ssrc,
        );
        let payload = match packet.payload_type {
            13 => vec![40],
            L16 => packet.voice.wide_payload(packet.packet),
            _ => packet.voice.payload(packet.packet),
        };
        let mut header = [0; framing::MAX_HEADER];
        let (from, to) =
            ("127.0.0.1:4000".parse().expect("address"), "127.0.0.1:30000".parse().expect("address"));
        let length = framing::write_header(&mut header, from, to, rtp.len() + payload.len());
        let mut framed = [&header[..length], &rtp, &payload].concat();
        if let Some(began) = self.began {
            framed.extend_from_slice(&framing::stamp(unix_us(began + packet.at)));
        }
        self.streams[packet.stream].queue.push_back(framed);
        self.deliver();
    }

    /// Queues a sender report.
    pub fn send_report(&mut self, stream: usize, ssrc: u32, at: Duration, ntp: Duration, timestamp: u32) {
        let mut report = vec![0x80, 200, 0, 6];
        report.extend(ssrc.to_be_bytes());
        report.extend((ntp.as_secs() as u32).to_be_bytes());
        report.extend(((u64::from(ntp.subsec_nanos()) << 32) / 1_000_000_000).to_be_bytes()[4..].iter());
        report.extend(timestamp.to_be_bytes());
        report.extend([0; 8]);
        let mut header = [0; framing::MAX_HEADER];
        let (from, to) =
            ("127.0.0.1:4001".parse().expect("address"), "127.0.0.1:30001".parse().expect("address"));
        let length = framing::write_header(&mut header, from, to, report.len());
        let mut framed = [&header[..length], &report[..]].concat();
        if let Some(began) = self.began {
            framed.extend_from_slice(&framing::stamp(unix_us(began + at)));
        }
        self.streams[stream].queue.push_back(framed);
        self.deliver();
    }

    /// From now on packets are stamped: `Spoken::at` counts from `began`, whenever they are really sent.
    pub fn stamp_from(&mut self, began: SystemTime) {
        self.began = Some(began);
    }

    /// Packets that the reader has not taken yet.
    pub fn queued(&self) -> usize {
        self.streams.iter().map(|stream| stream.queue.len()).sum()
    }

    /// Accepts readers and gives them what is queued.
    pub fn deliver(&mut self) {
        for stream in &mut self.streams {
            if let Some(reader) = exposure::accept(&stream.listener).expect("accept") {
                stream.reader = Some(reader);
            }
            let Some(reader) = &stream.reader else { continue };
            while let Some(packet) = stream.queue.front() {
                match exposure::send(reader, [packet, &[]]) {
                    Ok(()) => {
                        stream.queue.pop_front();
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(_) => {
                        stream.reader = None;
                        break;
                    }
                }
            }
        }
    }

    /// Ends the recording when everything is delivered.
    pub fn end(mut self) {
        super::wait_for("the reader to take all packets", || {
            self.deliver();
            self.streams.iter().all(|stream| stream.queue.is_empty())
        });
        self.abandon();
    }

    /// Ends the recording whatever is left.
    pub fn abandon(mut self) {
        self.streams.clear();
        std::fs::remove_dir_all(names::exposure_dir(&self.spool, &self.prefix)).expect("remove");
        std::fs::remove_file(names::metafile_path(&self.spool, &self.prefix)).expect("unlink");
    }

    /// As when the process dies: connections end, nothing is removed.
    pub fn die(&mut self) {
        super::wait_for("the reader to take all packets", || {
            self.deliver();
            self.queued() == 0
        });
        self.streams.clear();
    }

    /// What the next media proxy does about a call that it finds in the spool.
    pub fn clean_up(self) {
        self.abandon();
    }

    /// Ends the recording and discards it.
    pub fn discard(mut self) {
        self.streams.clear();
        std::fs::remove_dir_all(names::exposure_dir(&self.spool, &self.prefix)).expect("remove");
        let path = names::metafile_path(&self.spool, &self.prefix);
        let discarded = path.with_extension("meta.DISCARD");
        std::fs::rename(&path, &discarded).expect("rename");
        std::fs::remove_file(discarded).expect("unlink");
    }
}

fn unix_us(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).expect("a time").as_micros() as u64
}

/// The packets of a speaker who speaks without a break: `count` packets from `first_at` on.
pub fn talk(stream: usize, ssrc: u32, voice: Voice, first_at: Duration, count: usize) -> Vec<Spoken> {
    (0..count)
        .map(|n| Spoken {
            stream,
            ssrc,
            voice,
            packet: n,
            sequence_number: 100_u16.wrapping_add(n as u16),
            timestamp: 4000_u32.wrapping_add((n * PACKET) as u32),
            payload_type: 0,
            at: first_at + Duration::from_millis(20) * n as u32,
        })
        .collect()
}
