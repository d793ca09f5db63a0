//! Classic pcap files with synthetic headers in front of the recorded payloads.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use spool::framing;

use super::append::{Appender, Handle, Previous};
use super::stats::Shared;
use crate::config::PcapFormat;
use crate::media::tap::TapRecord;

/// One open pcap file.
pub(super) struct PcapFile {
    out: Appender,
    format: PcapFormat,
    flush_at: Option<Instant>,
    /// Number of the next packet, from 1.
    next_packet: u64,
}

/// Packets reach the disk at least this often …
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);
/// … or when so many octets wait.
const FLUSH_OCTETS: usize = 32 << 10;
/// Octets kept while the disk cannot be written; then packets are lost.
const MAX_PENDING: usize = 1 << 20;

const MAGIC: u32 = 0xa1b2_c3d4;
const SNAP_LENGTH: usize = 65535;

impl PcapFile {
    /// `Previous::Continue` goes on behind the packets of an earlier life.
    pub fn new(path: PathBuf, format: PcapFormat, previous: Previous, now: Instant, shared: &Shared) -> Self {
        let mut out = Appender::new(path, 0o666, Handle::KeptOpen, previous, now, shared);
        if out.total_length() == 0 {
            write_global_header(out.pending(), format);
            if !out.is_failing() {
                out.flush(now, shared);
            }
        }
        Self { out, format, flush_at: None, next_packet: 1 }
    }

    /// The file could be opened and written so far.
    pub fn is_open(&self) -> bool {
        !self.out.is_failing()
    }

    pub fn path(&self) -> &Path {
        self.out.path()
    }

    pub fn next_packet(&self) -> u64 {
        self.next_packet
    }

    /// Takes a packet; it is counted as lost when too many are waiting for the disk.
    pub fn write(&mut self, record: &TapRecord<'_>, now: Instant, shared: &Shared) {
        if self.out.pending().len() > MAX_PENDING {
            shared.pcap_lost.fetch_add(1, Relaxed);
            return;
        }
        write_record(self.out.pending(), self.format, record);
        self.next_packet += 1;
        shared.pcap_packets.fetch_add(1, Relaxed);
        if self.out.pending().len() >= FLUSH_OCTETS {
            self.out.flush(now, shared);
            self.flush_at = None;
        } else if self.flush_at.is_none() {
            self.flush_at = Some(now + FLUSH_INTERVAL);
        }
    }

    /// Flushes what has waited long enough.
    pub fn tick(&mut self, now: Instant, shared: &Shared) {
        if self.flush_at.is_some_and(|at| at <= now) || self.out.is_failing() {
            self.flush_at = None;
            self.out.flush(now, shared);
        }
    }

    /// Writes what waits.
    pub fn flush(&mut self, now: Instant, shared: &Shared) {
        self.flush_at = None;
        self.out.flush_now(now, shared);
    }

    /// Flushes and closes. What cannot be written now is lost, and counted.
    pub fn close(mut self, now: Instant, shared: &Shared) {
        self.out.flush_now(now, shared);
        let lost = count_records(self.out.pending());
        shared.pcap_lost.fetch_add(lost, Relaxed);
        self.out.close(shared);
    }

    /// Closes and deletes.
    pub fn discard(self, shared: &Shared) {
        let path = self.path().to_owned();
        self.out.close(shared);
        super::remove_file(&path);
    }
}

fn write_global_header(out: &mut Vec<u8>, format: PcapFormat) {
    let link_type: u32 = match format {
        PcapFormat::Raw => 101,
        PcapFormat::Ethernet => 1,
    };
    out.extend_from_slice(&MAGIC.to_ne_bytes());
    out.extend_from_slice(&2u16.to_ne_bytes());
    out.extend_from_slice(&4u16.to_ne_bytes());
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&(SNAP_LENGTH as u32).to_ne_bytes());
    out.extend_from_slice(&link_type.to_ne_bytes());
}

fn write_record(out: &mut Vec<u8>, format: PcapFormat, record: &TapRecord<'_>) {
    let mut header = [0; framing::MAX_HEADER];
    let header_len =
        framing::write_header(&mut header, record.source, record.destination, record.payload.len());
    let ethertype: u16 = if header[0] >> 4 == 4 { 0x0800 } else { 0x86dd };
    let link_len = if format == PcapFormat::Ethernet { 14 } else { 0 };
    let original = link_len + header_len + record.payload.len();
    let included = original.min(SNAP_LENGTH);
    // Seconds wrap in 2106, as the format has it.
    out.extend_from_slice(&((record.time_us / 1_000_000) as u32).to_ne_bytes());
    out.extend_from_slice(&((record.time_us % 1_000_000) as u32).to_ne_bytes());
    out.extend_from_slice(&(included as u32).to_ne_bytes());
    out.extend_from_slice(&(original as u32).to_ne_bytes());
    if format == PcapFormat::Ethernet {
        out.extend_from_slice(&[0; 12]);
        out.extend_from_slice(&ethertype.to_be_bytes());
    }
    out.extend_from_slice(&header[..header_len]);
    let payload_len = included - link_len - header_len;
    out.extend_from_slice(&record.payload[..payload_len]);
}

/// A whole file of packets (time in microseconds, source, destination, payload).
#[cfg(fuzzing)]
pub fn pcap_octets(
    format: PcapFormat,
    packets: &[(u64, std::net::SocketAddr, std::net::SocketAddr, Vec<u8>)],
) -> Vec<u8> {
    let mut out = Vec::new();
    write_global_header(&mut out, format);
    for &(time_us, source, destination, ref payload) in packets {
        let direction = crate::media::tap::TapDirection::Ingress;
        let record = TapRecord {
            recording: Default::default(),
            stream: 0,
            direction,
            time_us,
            source,
            destination,
            payload,
        };
        write_record(&mut out, format, &record);
    }
    out
}

/// Packets in octets that hold whole records, maybe behind a global header.
fn count_records(octets: &[u8]) -> u64 {
    let mut rest = octets.strip_prefix(&MAGIC.to_ne_bytes()).map_or(octets, |_| &octets[24..]);
    let mut count = 0;
    while let Some(&[a, b, c, d]) = rest.get(8..12) {
        count += 1;
        rest = rest.get(16 + u32::from_ne_bytes([a, b, c, d]) as usize..).unwrap_or(&[]);
    }
    count
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::media::tap::TapDirection;

    fn record<'a>(source: &str, destination: &str, payload: &'a [u8]) -> TapRecord<'a> {
        TapRecord {
            recording: 1,
            stream: 1,
            direction: TapDirection::Ingress,
            time_us: 1_795_224_880_892_239,
            source: source.parse().expect("address"),
            destination: destination.parse().expect("address"),
            payload,
        }
    }

    fn hex(octets: &[u8]) -> String {
        octets.iter().map(|octet| format!("{octet:02x}")).collect()
    }

    /// The first octets of a capture that the reference daemon made on a little-endian machine.
    #[test]
    #[cfg(target_endian = "little")]
    fn layout_is_that_of_the_reference() {
        let mut out = Vec::new();
        write_global_header(&mut out, PcapFormat::Raw);
        let mut payload = vec![0xff; 172];
        payload[..12].copy_from_slice(&[0x80, 0x80, 0x03, 0xe8, 0, 0, 0, 0, 0x11, 0x11, 0x11, 0x11]);
        write_record(&mut out, PcapFormat::Raw, &record("127.0.0.1:41253", "127.0.0.1:41200", &payload));
        assert_eq!(
            hex(&out[..80]),
            "d4c3b2a1020004000000000000000000ffff000065000000\
             30f5006b4f9d0d00c8000000c8000000\
             450000c80000000040110000 7f0000017f000001 a125a0f000b40000 808003e80000000011111111"
                .replace(' ', "")
        );
        assert_eq!(out.len(), 24 + 16 + 200);
    }

    #[test]
    fn ethernet_header_tells_the_family() {
        for (source, destination, ethertype, header_len) in
            [("10.0.0.1:5", "10.0.0.2:6", "0800", 28), ("[2001:db8::1]:5", "[2001:db8::2]:6", "86dd", 48)]
        {
            let mut out = Vec::new();
            write_record(&mut out, PcapFormat::Ethernet, &record(source, destination, b"payload"));
            assert_eq!(hex(&out[16..30]), format!("{}{ethertype}", "00".repeat(12)));
            let packet = framing::parse(&out[30..]).expect("a packet");
            assert_eq!(packet.source, source.parse::<SocketAddr>().expect("address"));
            assert_eq!(packet.payload, b"payload");
            assert_eq!(out.len(), 16 + 14 + header_len + 7);
        }
    }

    #[test]
    fn oversized_packets_are_cut_at_the_snap_length() {
        let mut out = Vec::new();
        let payload = vec![1; 65507];
        write_record(&mut out, PcapFormat::Ethernet, &record("[::1]:5", "[::1]:6", &payload));
        assert_eq!(out.len(), 16 + SNAP_LENGTH);
        assert_eq!(count_records(&out), 1);
    }

    #[test]
    fn packets_reach_the_file_within_a_second_and_at_the_end() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("x.pcap");
        let shared = Shared::default();
        let now = Instant::now();
        let mut pcap = PcapFile::new(path.clone(), PcapFormat::Raw, Previous::Replace, now, &shared);
        let length = || std::fs::metadata(&path).expect("file").len();
        assert_eq!(length(), 24);
        let packet = record("127.0.0.1:1", "127.0.0.1:2", &[0; 172]);
        pcap.write(&packet, now, &shared);
        pcap.tick(now, &shared);
        assert_eq!(length(), 24);
        pcap.tick(now + FLUSH_INTERVAL, &shared);
        assert_eq!(length(), 24 + 216);
        pcap.write(&packet, now, &shared);
        assert_eq!(pcap.next_packet(), 3);
        pcap.close(now, &shared);
        assert_eq!(length(), 24 + 2 * 216);

        let pcap = PcapFile::new(path.clone(), PcapFormat::Raw, Previous::Continue, now, &shared);
        pcap.close(now, &shared);
        assert_eq!(length(), 24 + 2 * 216, "continued without a second header");
    }

    #[test]
    fn full_disk_loses_counted_packets_and_nothing_else() {
        let shared = Shared::default();
        let now = Instant::now();
        let mut pcap = PcapFile::new("/dev/full".into(), PcapFormat::Raw, Previous::Replace, now, &shared);
        assert!(!pcap.is_open());
        let payload = [0; 172];
        let packet = record("127.0.0.1:1", "127.0.0.1:2", &payload);
        for _ in 0..10_000 {
            pcap.write(&packet, now, &shared);
        }
        assert!(pcap.out.pending().len() < MAX_PENDING + 1000);
        // close() must not try to delete or truncate the device.
        pcap.close(now, &shared);
        assert_eq!(shared.snapshot().pcap_lost, 10_000);
        assert_eq!(shared.snapshot().failing, 0);
    }
}
