//! A relay daemon made for tests: it writes metafiles and exposes packets as `docs/recording.md` says, and starts and ends
//! the real recording daemon.
#![allow(dead_code, reason = "each test binary uses another part")]

pub mod http;
pub mod objects;
pub mod relay;
pub mod signal;
pub mod wav;

use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Directories of one test, and what it reads out of them.
pub struct Bench {
    pub spool: TempDir,
    pub output: TempDir,
}

impl Bench {
    pub fn new() -> Self {
        let directory = || tempfile::tempdir().expect("temporary directory");
        Self { spool: directory(), output: directory() }
    }

    /// Starts the recording daemon with more options.
    pub fn start(&self, options: &[&str]) -> Recorder {
        // Measurements are made with an optimised one.
        let program = std::env::var_os("RECORDER");
        let child = Command::new(program.unwrap_or_else(|| env!("CARGO_BIN_EXE_rtpengine-recording").into()))
            .args(["--foreground", "--log-stderr", "--log-level=6", "--config-file=none"])
            .arg(format!("--spool-dir={}", self.spool.path().display()))
            .arg(format!("--output-dir={}", self.output.path().display()))
            .args(options)
            .stdin(Stdio::null())
            .spawn()
            .expect("start rtpengine-recording");
        Recorder { child }
    }

    /// Names of the WAV files, sorted.
    pub fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.output.path()).expect("output directory");
        let mut names: Vec<String> =
            entries.map(|entry| entry.expect("entry").file_name().into_string().expect("name")).collect();
        names.retain(|name| name.ends_with(".wav"));
        names.sort();
        names
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.output.path().join(name)
    }

    /// The file whose name ends so; there must be one.
    pub fn wav(&self, ending: &str) -> wav::Wav {
        let names: Vec<String> = self.files().into_iter().filter(|name| name.ends_with(ending)).collect();
        assert_eq!(names.len(), 1, "files ending in {ending}: {:?}", self.files());
        wav::Wav::read(&self.file(&names[0]))
    }

    /// First column of all rows of a query, as text; empty while there is no database.
    pub fn query(&self, query: &str) -> Vec<String> {
        let path = self.file("recordings.sqlite3");
        let Ok(database) =
            rusqlite::Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)
        else {
            return Vec::new();
        };
        database.busy_timeout(Duration::from_secs(5)).expect("busy timeout");
        let Ok(mut statement) = database.prepare(query) else { return Vec::new() };
        let rows = statement.query_map([], |row| row.get::<_, rusqlite::types::Value>(0)).expect("query");
        rows.map(|row| match row.expect("row") {
            rusqlite::types::Value::Null => "NULL".to_owned(),
            rusqlite::types::Value::Integer(n) => n.to_string(),
            rusqlite::types::Value::Real(n) => n.to_string(),
            rusqlite::types::Value::Text(text) => text,
            rusqlite::types::Value::Blob(_) => "BLOB".to_owned(),
        })
        .collect()
    }

    /// A file for reports, and the option for it.
    pub fn report_option(&self) -> String {
        format!("--report-file={}", self.spool.path().join("ends").display())
    }

    /// State and reasons of each report so far.
    pub fn reports(&self) -> Vec<(String, String)> {
        let text = std::fs::read_to_string(self.spool.path().join("ends")).unwrap_or_default();
        text.lines()
            .map(|line| {
                let report: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
                let reasons = report["reasons"].as_array().expect("reasons");
                let reasons: Vec<&str> = reasons.iter().filter_map(serde_json::Value::as_str).collect();
                (report["state"].as_str().expect("state").to_owned(), reasons.join("; "))
            })
            .collect()
    }

    /// Waits for the end of the only recording; gives its state and the reasons.
    pub fn wait_for_report(&self) -> (String, String) {
        wait_for("the report", || !self.reports().is_empty());
        let reports = self.reports();
        assert_eq!(reports.len(), 1, "{reports:?}");
        reports.into_iter().next().expect("a report")
    }

    /// Names of all files below the output directory that begin or end so.
    pub fn names(&self, is_wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let entries = std::fs::read_dir(self.output.path()).expect("output directory");
        let mut names: Vec<String> =
            entries.map(|entry| entry.expect("entry").file_name().into_string().expect("name")).collect();
        names.retain(|name| is_wanted(name));
        names.sort();
        names
    }

    /// No recording is under way any more: states are removed last.
    pub fn wait_until_finished(&self) {
        let states = self.file(".state");
        wait_for("all recordings to be finished", || {
            !self.files().is_empty()
                && std::fs::read_dir(&states).is_ok_and(|mut entries| entries.next().is_none())
        });
    }
}

/// The real daemon as a child process; killed when dropped.
pub struct Recorder {
    child: Child,
}

impl Recorder {
    pub fn terminate(mut self) -> ExitStatus {
        self.signal(libc::SIGTERM);
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                return status;
            }
            assert!(Instant::now() < deadline, "the recorder does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// User and system time so far.
    pub fn processor_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("stat");
        let fields: Vec<&str> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
        let ticks: u64 =
            fields[11].parse::<u64>().expect("utime") + fields[12].parse::<u64>().expect("stime");
        Duration::from_millis(ticks * 10)
    }

    /// Threads and open descriptors.
    pub fn threads_and_descriptors(&self) -> (usize, usize) {
        let count = |what: &str| {
            std::fs::read_dir(format!("/proc/{}/{what}", self.child.id())).map_or(0, Iterator::count)
        };
        (count("task"), count("fd"))
    }

    pub fn kill(mut self) {
        self.child.kill().expect("kill");
        self.child.wait().expect("wait");
    }

    fn signal(&self, signal: libc::c_int) {
        let pid = libc::pid_t::try_from(self.child.id()).expect("pid");
        // SAFETY: kill has no memory preconditions; the child has not been waited for.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
