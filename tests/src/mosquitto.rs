//! An MQTT broker of the test's own (Debian: mosquitto) on a free loopback port, and a subscriber to it (mosquitto-clients).

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::daemon::{Process, wait_for};

/// Where Debian puts the broker, which is not always in the path.
const PROGRAMS: [&str; 2] = ["/usr/sbin/mosquitto", "/usr/bin/mosquitto"];
const START: Duration = Duration::from_secs(20);

/// A broker, or one that was stopped and can be started again.
#[derive(Debug)]
pub struct Mosquitto {
    program: PathBuf,
    folder: tempfile::TempDir,
    port: u16,
    process: Option<Process>,
}

/// A subscription; ended when it is dropped.
#[derive(Debug)]
pub struct Subscriber {
    child: Child,
    lines: Receiver<String>,
}

impl Mosquitto {
    /// A broker whose configuration also has `more` lines; `{DIR}` in them is [`Self::folder`]. `None` where none is installed.
    pub fn start(files: &[(&str, &str)], more: &[&str]) -> Option<Self> {
        let program = PROGRAMS.iter().map(PathBuf::from).find(|path| path.exists())?;
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (name, content) in files {
            std::fs::write(folder.path().join(name), content).expect("written");
        }
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
        let port = port.expect("a free port").port();
        let mut config = format!("listener {port} 127.0.0.1\nuser root\npersistence false\n");
        for line in more {
            config += &line.replace("{DIR}", &folder.path().to_string_lossy());
            config.push('\n');
        }
        std::fs::write(folder.path().join("broker.conf"), config).expect("written");
        let mut broker = Self { program, folder, port, process: None };
        broker.restart();
        Some(broker)
    }

    /// TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where its files are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Kills it, as a crash would.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it (again) on the same port and waits until it listens.
    pub fn restart(&mut self) {
        self.process = None;
        let mut command = Command::new(&self.program);
        command.arg("-c").arg(self.folder.path().join("broker.conf"));
        let mut process = Process::start(command, &self.folder.path().join("broker.log")).expect("it starts");
        let listens = wait_for(START, || {
            if let Some(status) = process.ended() {
                panic!("the broker ended with {status}:\n{}", process.log());
            }
            TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).ok()
        });
        assert!(listens.is_some(), "the broker does not listen:\n{}", process.log());
        self.process = Some(process);
    }

    /// Subscribes to a topic; `more` are arguments of mosquitto_sub.
    pub fn subscribe(&self, topic: &str, more: &[&str]) -> Subscriber {
        let mut child = Command::new("mosquitto_sub")
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-t", topic])
            .args(more.iter().map(|word| word.replace("{DIR}", &self.folder.path().to_string_lossy())))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("mosquitto-clients");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Subscriber { child, lines }
    }
}

impl Subscriber {
    /// The next message, which is one line of JSON.
    pub fn next(&self, limit: Duration) -> Option<serde_json::Value> {
        let line = self.lines.recv_timeout(limit).ok()?;
        Some(serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}")))
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
