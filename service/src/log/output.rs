//! Where lines go, and the thread that brings them there.

use std::fmt;
use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::repeat::RepeatFilter;
use super::{Destination, Facility, LogConfig};

/// One event, ready to be written.
#[derive(Debug)]
pub(super) struct Message {
    pub severity: u8,
    pub time: SystemTime,
    /// `LEVEL: <context>[<subsystem>] `
    pub prefix: String,
    pub text: String,
    /// Subject to the repeat filter.
    pub limit: bool,
    /// A record rather than a line of the log: for this facility, whatever the log's own destination is.
    pub facility: Option<Facility>,
}

/// The destinations.
pub(super) struct Output {
    stderr: Box<dyn Write + Send>,
    /// Least severe line that goes to standard error; `None` for no line.
    stderr_severity: Option<u8>,
    timestamps: bool,
    syslog: Option<Syslog>,
    /// For records.
    records: Syslog,
    max_line_length: Option<usize>,
    max_record_length: Option<usize>,
    split_lines: bool,
    repeats: RepeatFilter,
}

struct Syslog {
    path: PathBuf,
    socket: Option<UnixDatagram>,
    facility: Facility,
    identity: String,
}

/// Takes messages from any thread.
#[derive(Debug)]
pub(super) struct Sink {
    /// Locked by the writer thread once there is one, before that by whoever logs during start-up.
    output: Mutex<Output>,
    queue: OnceLock<SyncSender<Order>>,
    dropped: AtomicU64,
}

enum Order {
    Write(Message),
    Flush(SyncSender<()>),
}

/// Lines that may wait. At 200 octets a line this is about a megabyte.
const QUEUE_LENGTH: usize = 4096;

impl Output {
    pub fn new(config: &LogConfig, stderr: Box<dyn Write + Send>) -> Self {
        Self::with_syslog_at(config, stderr, PathBuf::from("/dev/log"))
    }

    fn with_syslog_at(config: &LogConfig, stderr: Box<dyn Write + Send>, path: PathBuf) -> Self {
        let syslog = |facility| Syslog {
            path: path.clone(),
            socket: None,
            facility,
            identity: config.identity.clone(),
        };
        let records = syslog(Facility::USER);
        let (stderr_severity, timestamps, syslog) = match &config.destination {
            Destination::Stderr { timestamps } => (Some(u8::MAX), *timestamps, None),
            Destination::Syslog { facility, timestamps } => (Some(4), *timestamps, Some(syslog(*facility))),
        };
        Output {
            stderr,
            stderr_severity,
            timestamps,
            syslog,
            records,
            max_line_length: config.max_line_length,
            max_record_length: config.max_record_length,
            split_lines: config.split_lines,
            repeats: RepeatFilter::default(),
        }
    }

    fn write(&mut self, message: &Message, now: Instant) {
        if let Some(facility) = message.facility {
            self.write_record(message, facility);
            return;
        }
        let mut text = message.text.as_str();
        let counted;
        if message.limit {
            match self.repeats.pass(&message.prefix, text, now) {
                None => return,
                Some(0) => {}
                Some(count) => {
                    counted = format!("{text} (suppressed {count} times)");
                    text = &counted;
                }
            }
        }
        for line in super::format::lines(text, self.max_line_length, self.split_lines) {
            if self.stderr_severity.is_some_and(|least| message.severity <= least) {
                let stamp = if self.timestamps { timestamp(message.time) } else { String::new() };
                // There is nowhere to report that standard error is closed.
                let _ = writeln!(self.stderr, "{stamp}{}{line}", message.prefix);
            }
            if let Some(syslog) = &mut self.syslog {
                syslog.send(message.severity, &format!("{}{line}", message.prefix));
            }
        }
    }
}

impl Output {
    /// Records go to syslog, and to standard error if that is where the log goes.
    fn write_record(&mut self, message: &Message, facility: Facility) {
        self.records.facility = facility;
        for line in super::format::lines(&message.text, self.max_record_length, self.split_lines) {
            self.records.send(message.severity, &line);
            if self.syslog.is_none() {
                let stamp = if self.timestamps { timestamp(message.time) } else { String::new() };
                // There is nowhere to report that standard error is closed.
                let _ = writeln!(self.stderr, "{stamp}{}{line}", message.prefix);
            }
        }
    }
}

impl Syslog {
    /// Sends one line; the logger being away costs the line, as with every syslog client.
    fn send(&mut self, severity: u8, line: &str) {
        let priority = self.facility.priority(severity);
        let datagram = format!("<{priority}>{}[{}]: {line}", self.identity, std::process::id());
        for _ in 0..2 {
            if self.socket.is_none() {
                self.socket = connect(&self.path).ok();
            }
            match self.socket.as_ref().map(|socket| socket.send(datagram.as_bytes())) {
                Some(Ok(_)) | None => return,
                // The logger was restarted: connect again, once.
                Some(Err(_)) => self.socket = None,
            }
        }
    }
}

fn connect(path: &PathBuf) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    socket.set_write_timeout(Some(Duration::from_secs(1)))?;
    Ok(socket)
}

/// `[seconds.microseconds] `
fn timestamp(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("[{}.{:06}] ", since.as_secs(), since.subsec_micros())
}

impl Sink {
    pub fn new(output: Output) -> Self {
        Sink { output: Mutex::new(output), queue: OnceLock::new(), dropped: AtomicU64::new(0) }
    }

    /// Takes one message; never waits once the writer runs.
    pub fn push(&self, message: Message) {
        match self.queue.get() {
            None => self.lock().write(&message, Instant::now()),
            Some(queue) => {
                if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) =
                    queue.try_send(Order::Write(message))
                {
                    self.dropped.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    pub fn start_writer(sink: &Arc<Sink>) -> io::Result<()> {
        let (sender, receiver) = sync_channel(QUEUE_LENGTH);
        if sink.queue.set(sender).is_err() {
            return Ok(());
        }
        let writer = Arc::clone(sink);
        std::thread::Builder::new().name("log".into()).spawn(move || writer.run(&receiver))?;
        Ok(())
    }

    pub fn detach_from_stderr(&self) {
        let mut output = self.lock();
        if output.syslog.is_some() {
            output.stderr_severity = None;
        }
    }

    pub fn flush(&self, patience: Duration) {
        let Some(queue) = self.queue.get() else { return };
        let (done, finished) = sync_channel(1);
        let deadline = Instant::now() + patience;
        let mut order = Order::Flush(done);
        // Only here waiting is allowed, and only when the queue is full.
        while let Err(TrySendError::Full(back)) = queue.try_send(order) {
            if Instant::now() >= deadline {
                return;
            }
            order = back;
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = finished.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }

    fn run(&self, receiver: &Receiver<Order>) {
        while let Ok(order) = receiver.recv() {
            let mut output = self.lock();
            let dropped = self.dropped.swap(0, Ordering::Relaxed);
            if dropped > 0 {
                let message = Message {
                    severity: 4,
                    time: SystemTime::now(),
                    prefix: "WARNING: [core] ".into(),
                    text: format!(
                        "{dropped} log lines lost because the log could not be written fast enough"
                    ),
                    limit: false,
                    facility: None,
                };
                output.write(&message, Instant::now());
            }
            match order {
                Order::Write(message) => output.write(&message, Instant::now()),
                Order::Flush(done) => {
                    let _ = output.stderr.flush();
                    let _ = done.try_send(());
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Output> {
        self.output.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Output").field("syslog", &self.syslog.is_some()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ContextStyle, Subsystem};
    use super::*;

    fn config(destination: Destination) -> LogConfig {
        LogConfig {
            destination,
            levels: [6; Subsystem::COUNT],
            identity: "demo".into(),
            max_line_length: Some(10),
            max_record_length: None,
            split_lines: false,
            style: ContextStyle::Default,
            mark_prefix: String::new(),
            mark_suffix: String::new(),
        }
    }

    fn message(severity: u8, text: &str) -> Message {
        Message {
            severity,
            time: UNIX_EPOCH + Duration::from_micros(5_000_007),
            prefix: "INFO: [core] ".into(),
            text: text.into(),
            limit: false,
            facility: None,
        }
    }

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("lock").extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Captured {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().expect("lock").clone()).expect("UTF-8")
        }
    }

    #[test]
    fn syslog_gets_datagrams_and_stderr_only_warnings_until_detached() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("log");
        let listener = UnixDatagram::bind(&path).expect("bind");
        listener.set_nonblocking(true).expect("non-blocking");
        let received = || {
            let mut buffer = [0; 256];
            listener
                .recv(&mut buffer)
                .map(|length| String::from_utf8_lossy(&buffer[..length]).into_owned())
                .ok()
        };
        let facility = Facility::parse("local1").expect("facility");
        let destination = Destination::Syslog { facility, timestamps: true };
        let stderr = Captured::default();
        let sink =
            Sink::new(Output::with_syslog_at(&config(destination), Box::new(stderr.clone()), path.clone()));
        let pid = std::process::id();

        sink.push(message(6, "hello"));
        assert_eq!(received(), Some(format!("<142>demo[{pid}]: INFO: [core] hello")));
        let record = Message { facility: Facility::parse("local0"), ..message(6, "a record of any length") };
        sink.push(record);
        assert_eq!(received(), Some(format!("<134>demo[{pid}]: a record of any length")));
        sink.push(message(4, "0123456789ab"));
        assert_eq!(received(), Some(format!("<140>demo[{pid}]: INFO: [core] 0123456789 ...")));
        assert_eq!(received(), Some(format!("<140>demo[{pid}]: INFO: [core] ... ab")));
        assert_eq!(stderr.text(), "[5.000007] INFO: [core] 0123456789 ...\n[5.000007] INFO: [core] ... ab\n");
        sink.detach_from_stderr();
        sink.push(message(3, "late"));
        assert_eq!(stderr.text().lines().count(), 2);
        assert!(received().is_some());

        // The logger is restarted: the next line finds the new socket.
        drop(listener);
        std::fs::remove_file(&path).expect("remove");
        sink.push(message(6, "lost"));
        let listener = UnixDatagram::bind(&path).expect("bind again");
        sink.push(message(6, "found"));
        let mut buffer = [0; 64];
        let length = listener.recv(&mut buffer).expect("receive");
        assert!(buffer[..length].ends_with(b"found"));
    }

    #[test]
    fn a_full_queue_drops_and_counts_without_waiting() {
        let stderr = Captured::default();
        let destination = Destination::Stderr { timestamps: false };
        let config = LogConfig { max_line_length: None, ..config(destination) };
        let sink = Arc::new(Sink::new(Output::new(&config, Box::new(stderr.clone()))));
        Sink::start_writer(&sink).expect("writer");
        let held = sink.lock();
        for _ in 0..QUEUE_LENGTH + 100 {
            sink.push(message(6, "x"));
        }
        assert!(sink.dropped.load(Ordering::Relaxed) > 0);
        drop(held);
        sink.flush(Duration::from_secs(10));
        let text = stderr.text();
        assert!(text.contains(" log lines "), "the loss is reported");
        assert!(text.lines().filter(|line| line.ends_with("[core] x")).count() >= QUEUE_LENGTH);
    }
}
