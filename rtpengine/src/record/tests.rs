//! The recorder as a whole: control's messages and a fake tap in, files and packets out.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use spool::metafile::{Parsed, parse};
use spool::{exposure, framing, names};

use super::*;
use crate::config::{PcapFormat, RecordDirection};
use crate::media::tap::{TapDirection, TapRecord};

/// Recording, stream, payload.
type Packet = (u64, u64, Vec<u8>);

/// Packets on their way to the recorder.
#[derive(Clone, Default)]
struct FakeTap(Arc<Mutex<Vec<Packet>>>);

impl FakeTap {
    fn push(&self, recording: &Recording, stream: u64, payload: &[u8]) {
        self.0.lock().expect("tap").push((recording.id(), stream, payload.to_vec()));
    }
}

impl PacketSource for FakeTap {
    fn drain(&mut self, handle: &mut dyn FnMut(TapRecord<'_>)) -> usize {
        let packets = std::mem::take(&mut *self.0.lock().expect("tap"));
        for (recording, stream, payload) in &packets {
            handle(TapRecord {
                recording: *recording,
                stream: *stream,
                direction: TapDirection::Ingress,
                time_us: 1_000_000,
                source: "10.0.0.1:1000".parse().expect("address"),
                destination: "10.0.0.2:2000".parse().expect("address"),
                payload,
            });
        }
        packets.len()
    }
}

struct Fixture {
    spool: tempfile::TempDir,
    tap: FakeTap,
    recorder: Recorder,
}

const FLAGS: RecordingFlags = RecordingFlags { recording: true, forwarding: false };

impl Fixture {
    fn new(method: RecordingMethod) -> Self {
        let spool = tempfile::tempdir().expect("temporary directory");
        let config = RecordingConfig {
            dir: Some(spool.path().into()),
            method,
            format: PcapFormat::Raw,
            direction: RecordDirection::Ingress,
            spill_octets: 1 << 30,
        };
        let tap = FakeTap::default();
        let recorder = Recorder::start_with(&config, vec![Box::new(tap.clone())], None).expect("recorder");
        Self { spool, tap, recorder }
    }

    fn begin(&self, details: RecordingDetails) -> Recording {
        let start = RecordingStart {
            call_id: "call-1@host/x".into(),
            created: SystemTime::now(),
            prefix: None,
            flags: FLAGS,
            details,
        };
        self.recorder.begin(start).expect("a recording")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.spool.path().join(name)
    }

    fn exposure_dir(&self, recording: &Recording) -> PathBuf {
        names::exposure_dir(self.spool.path(), recording.prefix())
    }
}

fn one_stream() -> CallDescription {
    CallDescription {
        tags: vec![RecordedTag { number: 0, tag: "ftag".into(), label: None, metadata: None }],
        media: vec![RecordedMedia { number: 1, ptime_ms: 20, formats: Vec::new() }],
        streams: vec![RecordedStream {
            number: 0,
            stream: 77,
            tag: 0,
            media: 1,
            media_index: 1,
            component: 1,
            rtcp_only: false,
            flags: 0,
            slot: 1,
            slots: 1,
        }],
    }
}

const STREAM: &str = "tag-0-media-1-component-1-RTP-id-0";

fn sdp(mode: &'static str) -> RecordedSdp {
    RecordedSdp {
        mode,
        tag: 0,
        label: None,
        party_started: SystemTime::now(),
        before: b"v=0 before\r\n".to_vec(),
        after: b"v=0 after\r\n".to_vec(),
    }
}

/// Waits for what another thread does; the test fails after a while.
fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(result) = attempt() {
            return result;
        }
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn labels(metafile: &Path) -> Vec<String> {
    let octets = std::fs::read(metafile).unwrap_or_default();
    let (mut rest, mut labels) = (&octets[..], Vec::new());
    while let Parsed::Chunk(chunk, length) = parse(rest) {
        labels.push(chunk.label.to_owned());
        rest = &rest[length..];
    }
    assert!(rest.is_empty(), "unreadable chunk at {}", octets.len() - rest.len());
    labels
}

fn reader(fixture: &Fixture, recording: &Recording) -> OwnedFd {
    let metafile = names::metafile_path(fixture.spool.path(), recording.prefix());
    eventually("announcement of the stream", || {
        labels(&metafile).contains(&"STREAM 0 interface".to_owned()).then_some(())
    });
    exposure::connect(&fixture.exposure_dir(recording), STREAM).expect("listens when announced")
}

/// Payload of the next packet; `None` = end of the stream.
fn next(reader: &OwnedFd) -> Option<Vec<u8>> {
    let mut buf = [0; 2048];
    let len = eventually("packet", || match exposure::receive(reader, &mut buf) {
        Ok(len) => Some(len),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
        Err(error) => panic!("{error}"),
    });
    (len > 0).then(|| framing::parse(&buf[..len]).expect("a framed packet").payload.to_vec())
}

#[test]
fn exposed_packets_reach_the_reader_and_the_end_clears_everything() {
    let fixture = Fixture::new(RecordingMethod::Proc);
    let recording = fixture.begin(RecordingDetails::default());
    assert_eq!(recording.pcap_path(), None);
    recording.describe(one_stream());
    let reader = reader(&fixture, &recording);
    for number in 0..100u8 {
        fixture.tap.push(&recording, 77, &[number; 50]);
    }
    fixture.tap.push(&recording, 78, b"of a stream that is not recorded");
    for number in 0..100u8 {
        assert_eq!(next(&reader), Some(vec![number; 50]));
    }
    let (metafile, directory) =
        (names::metafile_path(fixture.spool.path(), recording.prefix()), fixture.exposure_dir(&recording));
    fixture.tap.push(&recording, 77, b"last");
    recording.finish(RecordingEnd::Keep, SystemTime::now());
    assert_eq!(next(&reader), Some(b"last".to_vec()));
    assert_eq!(next(&reader), None);
    eventually("removal of the metafile", || (!metafile.exists()).then_some(()));
    assert!(!directory.exists());
    let stats = fixture.recorder.stats();
    assert_eq!((stats.exposed_packets, stats.exposed_lost, stats.unclaimed_packets), (101, 0, 1));
}

#[test]
fn the_end_waits_for_a_reader_that_comes_late() {
    let fixture = Fixture::new(RecordingMethod::Proc);
    let recording = fixture.begin(RecordingDetails::default());
    recording.describe(one_stream());
    fixture.tap.push(&recording, 77, b"packet");
    let directory = fixture.exposure_dir(&recording);
    recording.finish(RecordingEnd::Keep, SystemTime::now());
    eventually("closing", || (fixture.recorder.stats().closing == 1).then_some(()));
    let reader = exposure::connect(&directory, STREAM).expect("still listening");
    assert_eq!(next(&reader), Some(b"packet".to_vec()));
    assert_eq!(next(&reader), None);
}

#[test]
fn restarted_reader_continues_without_a_gap() {
    let fixture = Fixture::new(RecordingMethod::Proc);
    let recording = fixture.begin(RecordingDetails::default());
    recording.describe(one_stream());
    let first = reader(&fixture, &recording);
    fixture.tap.push(&recording, 77, &[0]);
    assert_eq!(next(&first), Some(vec![0]));
    for number in 1..=150u8 {
        fixture.tap.push(&recording, 77, &[number]);
    }
    assert_eq!(next(&first), Some(vec![1]));
    drop(first);
    let second = reader(&fixture, &recording);
    let mut expected = next(&second).expect("a packet")[0];
    assert!(expected <= 2, "lost up to {expected}");
    while expected < 150 {
        expected += 1;
        assert_eq!(next(&second), Some(vec![expected]));
    }
}

#[test]
fn pause_stops_packets_and_is_announced() {
    let fixture = Fixture::new(RecordingMethod::Proc);
    let recording = fixture.begin(RecordingDetails::default());
    recording.describe(one_stream());
    let reader = reader(&fixture, &recording);
    let metafile = names::metafile_path(fixture.spool.path(), recording.prefix());
    let details = RecordingDetails { metadata: Some("key:value".into()), ..Default::default() };
    recording.update(RecordingFlags { recording: false, ..FLAGS }, details.clone());
    eventually("pause", || labels(&metafile).contains(&"RECORDING 0".to_owned()).then_some(()));
    fixture.tap.push(&recording, 77, b"while paused");
    eventually("the packet taken", || fixture.tap.0.lock().expect("tap").is_empty().then_some(()));
    recording.update(FLAGS, details);
    eventually("resumption", || (labels(&metafile).len() > 16).then_some(()));
    fixture.tap.push(&recording, 77, b"after");
    assert_eq!(next(&reader), Some(b"after".to_vec()));
    let expected = "CALL-ID PARENT RANDOM_TAG RECORDING_1 FORWARDING_0 EXPOSED_ONCE STARTED TAG_0 MEDIA_1_PTIME_20 \
                    STREAM_0_details STREAM_0_interface STREAM_0_FORWARDING_0 \
                    RECORDING_0 FORWARDING_0 METADATA STREAM_0_FORWARDING_0 \
                    RECORDING_1 FORWARDING_0 METADATA STREAM_0_FORWARDING_0";
    let found: Vec<_> = labels(&metafile).iter().map(|label| label.replace(' ', "_")).collect();
    assert_eq!(found.join(" "), expected.split_whitespace().collect::<Vec<_>>().join(" "));
}

#[test]
fn discard_leaves_nothing() {
    let fixture = Fixture::new(RecordingMethod::All);
    let recording = fixture.begin(RecordingDetails::default());
    recording.describe(one_stream());
    let reader = reader(&fixture, &recording);
    recording.signalled(sdp("offer"));
    recording.finish(RecordingEnd::Discard, SystemTime::now());
    assert_eq!(next(&reader), None);
    fixture.recorder.shutdown();
    for directory in ["", "calls", "metadata", "pcaps", "tmp"] {
        let files = std::fs::read_dir(fixture.path(directory)).expect("directory");
        let left: Vec<_> = files.flatten().filter(|e| !directory.is_empty() || e.path().is_file()).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn pcap_recording_has_packets_and_numbered_signalling() {
    let fixture = Fixture::new(RecordingMethod::Pcap);
    let details = RecordingDetails { metadata: Some("caller:alice".into()), ..Default::default() };
    let recording = fixture.begin(details);
    let pcap = recording.pcap_path().expect("a pcap file").to_owned();
    let prefix = recording.prefix().to_owned();
    assert_eq!(pcap, fixture.path("pcaps").join(format!("{prefix}.pcap")));
    recording.signalled(sdp("offer"));
    eventually("signalling", || (fixture.recorder.stats().signalling_queued_octets == 0).then_some(()));
    fixture.tap.push(&recording, 1, &[1; 172]);
    fixture.tap.push(&recording, 2, &[2; 60]);
    eventually("packets", || (fixture.recorder.stats().pcap_packets == 2).then_some(()));
    recording.signalled(sdp("answer"));
    recording.finish(RecordingEnd::Keep, SystemTime::now());
    fixture.recorder.shutdown();

    let octets = std::fs::read(&pcap).expect("pcap");
    assert_eq!(octets.len(), 24 + 16 + 28 + 172 + 16 + 28 + 60);
    let packet = framing::parse(&octets[24 + 16..]).expect("a packet");
    assert_eq!(packet.payload, [1; 172]);
    let text = fixture.path("metadata").join(format!("rtpengine-meta-{prefix}.txt"));
    let text = std::fs::read_to_string(text).expect("metadata");
    assert!(text.starts_with(&format!("{}\n\n\nTimestamp started ms: ", pcap.display())), "{text}");
    assert!(text.contains("\nSDP mode: offer\nSDP before RTP packet: 1\n\nv=0 after\r\n\n"), "{text}");
    assert!(text.contains("\nSDP mode: answer\nSDP before RTP packet: 3\n\nv=0 after\r\n\n"), "{text}");
    assert!(text.ends_with("\n\n\ncaller:alice\n"), "{text}");
    assert_eq!(std::fs::read_dir(fixture.path("tmp")).expect("tmp").count(), 0);
}

#[test]
fn shutdown_and_dropped_recordings_are_finished() {
    let fixture = Fixture::new(RecordingMethod::Pcap);
    let open = fixture.begin(RecordingDetails::default());
    drop(fixture.begin(RecordingDetails::default()));
    fixture.recorder.shutdown();
    assert_eq!(std::fs::read_dir(fixture.path("metadata")).expect("metadata").count(), 2);
    open.signalled(sdp("offer"));
    open.finish(RecordingEnd::Keep, SystemTime::now());
}

#[test]
fn unwritable_disk_degrades_the_recording_and_recovers() {
    let fixture = Fixture::new(RecordingMethod::Pcap);
    let (pcaps, away) = (fixture.path("pcaps"), fixture.path("away"));
    std::fs::rename(&pcaps, &away).expect("rename");
    let recording = fixture.begin(RecordingDetails::default());
    fixture.tap.push(&recording, 1, &[1; 100]);
    eventually("failure", || (fixture.recorder.stats().failing == 1).then_some(()));
    std::fs::rename(&away, &pcaps).expect("rename");
    eventually("recovery", || (fixture.recorder.stats().failing == 0).then_some(()));
    let pcap = recording.pcap_path().expect("a path").to_owned();
    recording.finish(RecordingEnd::Keep, SystemTime::now());
    fixture.recorder.shutdown();
    assert_eq!(std::fs::metadata(pcap).expect("pcap").len(), 24 + 16 + 128);
    assert_eq!(fixture.recorder.stats().pcap_lost, 0);
}

#[test]
fn recording_file_replaces_the_name() {
    for (method, name) in [(RecordingMethod::Pcap, "mine"), (RecordingMethod::All, "mine.pcap")] {
        let fixture = Fixture::new(method);
        let file = fixture.path("mine").to_str().expect("text").to_owned();
        let recording = fixture.begin(RecordingDetails { file: Some(file), ..Default::default() });
        assert_eq!(recording.pcap_path(), Some(fixture.path(name).as_path()));
        recording.finish(RecordingEnd::Keep, SystemTime::now());
        fixture.recorder.shutdown();
        assert!(fixture.path(name).is_file(), "{method:?}");
    }
}

#[test]
fn restored_prefix_is_used_again_and_the_pcap_continued() {
    let fixture = Fixture::new(RecordingMethod::Pcap);
    let first = fixture.begin(RecordingDetails::default());
    fixture.tap.push(&first, 1, &[1; 100]);
    let (prefix, pcap) = (first.prefix().to_owned(), first.pcap_path().expect("path").to_owned());
    first.finish(RecordingEnd::Keep, SystemTime::now());
    let start = |prefix: &str| RecordingStart {
        call_id: "call".into(),
        created: SystemTime::now(),
        prefix: Some(prefix.into()),
        flags: FLAGS,
        details: RecordingDetails::default(),
    };
    let second = fixture.recorder.begin(start(&prefix)).expect("a recording");
    assert_eq!(second.prefix(), prefix);
    fixture.tap.push(&second, 1, &[1; 100]);
    second.finish(RecordingEnd::Keep, SystemTime::now());
    fixture.recorder.shutdown();
    assert_eq!(std::fs::metadata(pcap).expect("pcap").len(), 24 + 2 * (16 + 128));
    let wild = fixture.recorder.begin(start("../x-0011223344556677")).expect("a recording");
    assert!(wild.prefix().starts_with("call-"), "{}", wild.prefix());
}

#[test]
fn prefix_of_an_endless_call_id_stays_a_file_name() {
    for call_id in ["x".repeat(5000), "@".repeat(5000), format!("{}@@", "x".repeat(198))] {
        let prefix = new_prefix(&call_id);
        assert!(prefix.len() <= 217 && is_usable_prefix(&prefix), "{prefix}");
        let encoded = &prefix[..prefix.len() - 17];
        let tail = encoded.rfind('%').map_or(3, |at| encoded.len() - at);
        assert!(tail >= 3, "cut within an escape: {encoded}");
    }
}

#[test]
fn without_a_directory_nothing_is_recorded() {
    let config = RecordingConfig {
        dir: None,
        method: RecordingMethod::Pcap,
        format: PcapFormat::Raw,
        direction: RecordDirection::Ingress,
        spill_octets: 0,
    };
    let recorder = Recorder::start_with(&config, Vec::new(), None).expect("recorder");
    let start = RecordingStart {
        call_id: "c".into(),
        created: SystemTime::now(),
        prefix: None,
        flags: FLAGS,
        details: RecordingDetails::default(),
    };
    assert!(recorder.begin(start).is_none());
    recorder.shutdown();
}
