//! What surrounds the recording daemon fails: disk, database server, media proxy.

mod common;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use common::relay::{FakeCall, talk};
use common::signal::{PACKET, Voice, lag};
use common::{Bench, wait_for};
use e2e::mariadb::MariaDb;

const START: Duration = Duration::ZERO;

/// A small file system of its own; unmounted when dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None` where mounting is not allowed.
    fn mount(kilobytes: u32) -> Option<Self> {
        let directory = tempfile::tempdir().expect("temporary directory");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={kilobytes}k"), "tmpfs"])
            .arg(directory.path())
            .output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Self(directory))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

#[test]
fn a_full_disk_that_is_freed_costs_nothing() {
    let Some(disk) = SmallDisk::mount(2000) else {
        return eprintln!("not run: mounting a file system is not allowed here");
    };
    let bench = Bench::new();
    let out = format!("--output-dir={}", disk.path().display());
    let recorder = bench.start(&[&out, "--notify-retry-delay=500", &bench.report_option()]);
    let voice = Voice::Noise { seed: 61 };
    let mut call = FakeCall::begin(&bench, "full", &[]);
    call.add_party("a");
    let packets = talk(0, 1, voice, START, 500);
    let start = Instant::now();
    call.speak(start, packets[..100].to_vec());
    let filler = disk.path().join("filler");
    let filled = std::fs::write(&filler, vec![1; 4 << 20]).expect_err("no space");
    assert_eq!(filled.kind(), std::io::ErrorKind::StorageFull);
    call.speak(start, packets[100..300].to_vec());
    // Another call that begins while nothing can be made.
    let mut second = FakeCall::begin(&bench, "second", &[]);
    second.add_party("a");
    let half = Instant::now();
    second.speak(half, talk(0, 2, voice, START, 60));
    second.end();
    std::fs::remove_file(filler).expect("free");
    call.speak(start, packets[300..].to_vec());
    call.end();
    wait_for("both reports", || bench.reports().len() == 2);
    assert_eq!(bench.reports(), vec![("complete".to_owned(), String::new()); 2]);
    assert!(recorder.terminate().success());
    let read = |name: &str| common::wav::Wav::read(&disk.path().join(format!("{name}.wav")));
    assert_eq!(read("full-0011223344556677-00000001").frames(), 500 * PACKET);
    assert_eq!(read("second-0011223344556677-00000002").frames(), 60 * PACKET);
    let mix = read("full-0011223344556677-mix");
    assert!(mix.frames().abs_diff(500 * PACKET) <= PACKET, "{}", mix.frames());
    for from in [20, 150, 250, 400] {
        assert!(lag(&mix.samples, voice, from..from + 30, from * PACKET).abs() <= 80, "packet {from}");
    }
}

#[test]
fn a_disk_that_stays_full_is_reported() {
    let Some(disk) = SmallDisk::mount(200) else {
        return eprintln!("not run: mounting a file system is not allowed here");
    };
    let bench = Bench::new();
    let out = format!("--output-dir={}", disk.path().display());
    let recorder = bench.start(&[
        &out,
        "--sqlite-db=none",
        "--output-single",
        "--output-memory-limit=0",
        "--notify-retries=1",
        "--notify-retry-delay=100",
        &bench.report_option(),
    ]);
    let mut call = FakeCall::begin(&bench, "stays", &[]);
    call.add_party("a");
    let packets = talk(0, 1, Voice::Noise { seed: 62 }, START, 200);
    let start = Instant::now();
    call.speak(start, packets[..100].to_vec());
    let _ = std::fs::write(disk.path().join("filler"), vec![1; 1 << 20]);
    call.speak(start, packets[100..].to_vec());
    call.end();
    let (state, reasons) = bench.wait_for_report();
    assert_eq!(state, "partial");
    assert!(reasons.contains("could not be stored") && reasons.contains("No space left"), "{reasons}");
    let wav = common::wav::Wav::read(&disk.path().join("stays-0011223344556677-00000001.wav"));
    assert!(wav.frames() >= 60 * PACKET, "what was written stays: {}", wav.frames());
    assert!(recorder.terminate().success());
}

#[test]
fn rows_follow_when_the_database_server_was_killed_and_is_back() {
    let Some(mut server) = MariaDb::start() else {
        return eprintln!("not run: no MariaDB server here");
    };
    server.run("GRANT ALL ON rtpengine.* TO 'media'@'%'");
    server.run_file(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../sql/mysql.sql")));
    let bench = Bench::new();
    let recorder = bench.start(&[
        "--mysql-host=127.0.0.1",
        &format!("--mysql-port={}", server.port()),
        "--mysql-user=media",
        "--mysql-pass=secret",
        "--mysql-db=rtpengine",
        "--output-storage=both",
        "--notify-retry-delay=500",
        &bench.report_option(),
    ]);
    let mut call = FakeCall::begin(&bench, "before", &[("METADATA", "caller:alice")]);
    call.add_party("labA");
    let voice = Voice::Noise { seed: 63 };
    let packets = talk(0, 1, voice, START, 150);
    let start = Instant::now();
    call.speak(start, packets[..75].to_vec());
    wait_for("the first rows", || server.query("SELECT COUNT(*) FROM recording_streams") == "2");
    server.kill();
    call.speak(start, packets[75..].to_vec());
    call.end();
    let mut second = FakeCall::begin(&bench, "meanwhile", &[]);
    second.add_party("labB");
    second.speak(Instant::now(), talk(0, 2, voice, START, 50));
    second.end();
    wait_for("all files", || bench.files().len() == 4);
    assert!(bench.reports().is_empty(), "not before the rows are there: {:?}", bench.reports());
    server.restart();
    wait_for("both reports", || bench.reports().len() == 2);
    assert_eq!(bench.reports(), vec![("complete".to_owned(), String::new()); 2]);
    let calls =
        "SELECT call_id, status, end_timestamp > start_timestamp FROM recording_calls ORDER BY call_id";
    assert_eq!(server.query(calls), "before\tcompleted\t1\nmeanwhile\tcompleted\t1");
    let streams = "SELECT output_type, tag_label, sample_rate, channels, LENGTH(stream), storage_db, storage_file, \
                   s.end_timestamp IS NOT NULL FROM recording_streams s JOIN recording_calls c ON c.id = s.call \
                   WHERE call_id = 'meanwhile' AND output_type = 'single'";
    assert_eq!(server.query(streams), format!("single\tlabB\t8000\t1\t{}\t1\t1\t1", 44 + 50 * PACKET * 2));
    assert_eq!(server.query("SELECT `key`, value FROM recording_metakeys"), "caller\talice");
    assert_eq!(server.query("SELECT COUNT(*) FROM recording_streams"), "4");
    assert!(recorder.terminate().success());
}

#[test]
fn recordings_of_a_media_proxy_that_died_end_with_their_last_packets() {
    let bench = Bench::new();
    let recorder = bench.start(&["--output-sidecar", &bench.report_option()]);
    let mut call = FakeCall::begin(&bench, "died", &[]);
    call.add_party("a");
    call.speak(Instant::now(), talk(0, 1, Voice::Noise { seed: 64 }, START, 100));
    call.die();
    // The next media proxy cleans up when it starts.
    std::thread::sleep(Duration::from_secs(5));
    assert!(bench.reports().is_empty());
    call.clean_up();
    let (state, reasons) = bench.wait_for_report();
    assert_eq!((state.as_str(), reasons.as_str()), ("partial", "the media proxy died during the call"));
    assert_eq!(bench.wav("00000001.wav").frames(), 100 * PACKET);
    assert!(
        bench.wav("mix.wav").frames().abs_diff(100 * PACKET) <= PACKET,
        "no silence for the time after its death"
    );
    assert!(recorder.terminate().success());
}
