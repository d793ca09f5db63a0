//! A Redis server of the test's own (Debian: redis-server) on a free loopback port, and a client that knows a dozen lines of its protocol.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use crate::daemon::{Process, wait_for};

/// Where Debian puts the server.
const PROGRAM: &str = "/usr/bin/redis-server";
/// Long enough for a machine that compiles meanwhile.
const START: Duration = Duration::from_secs(30);

/// A running server, or one that was killed and can be started again. It keeps nothing on disk.
#[derive(Debug)]
pub struct RedisServer {
    folder: tempfile::TempDir,
    port: u16,
    arguments: Vec<String>,
    process: Option<Process>,
}

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// `+OK`
    Status(String),
    /// `-ERR …`
    Error(String),
    /// `:1`
    Int(i64),
    /// `$3 abc`, or nothing.
    Bulk(Option<Vec<u8>>),
    /// `*2 …`
    Array(Vec<Reply>),
}

impl RedisServer {
    /// A server that tells of changes of keys.
    ///
    /// # Panics
    /// Where none is installed.
    pub fn start() -> Self {
        Self::start_with(&["--notify-keyspace-events", "KA"])
    }

    /// A server with these arguments.
    pub fn start_with(arguments: &[&str]) -> Self {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
        let mut server = Self {
            folder: tempfile::tempdir().expect("a temporary folder"),
            port: port.expect("a free port").port(),
            arguments: arguments.iter().map(ToString::to_string).collect(),
            process: None,
        };
        server.restart();
        server
    }

    /// TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The text of an option of the daemon for one of its databases.
    pub fn endpoint(&self, database: u32) -> String {
        format!("127.0.0.1:{}/{database}", self.port)
    }

    /// Kills it, with everything that it knows.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Stops it from answering without closing connections, or the other way round.
    pub fn freeze(&self, frozen: bool) {
        let signal = if frozen { libc::SIGSTOP } else { libc::SIGCONT };
        self.process.as_ref().expect("it runs").signal(signal);
    }

    /// Starts it (again) on the same port and waits until it answers.
    pub fn restart(&mut self) {
        self.process = None;
        let mut command = Command::new(PROGRAM);
        command
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--daemonize", "no"])
            .args(["--port", &self.port.to_string()])
            .args(["--dir", self.folder.path().to_str().expect("temporary folders have plain names")])
            .args(&self.arguments);
        let log = self.folder.path().join("redis.log");
        let mut process = Process::start(command, &log).expect("redis-server is installed");
        let answers = wait_for(START, || {
            if let Some(status) = process.ended() {
                panic!("redis-server ended with {status}:\n{}", process.log());
            }
            Client::connect(self.port, 0).map(drop)
        });
        assert!(answers.is_some(), "no answer from redis-server:\n{}", process.log());
        self.process = Some(process);
    }

    /// A client of a database.
    pub fn client(&self, database: u32) -> Client {
        Client::connect(self.port, database).expect("the server answers")
    }
}

/// A connection.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    fn connect(port: u16, database: u32) -> Option<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
        let mut client = Self { stream: BufReader::new(stream) };
        let reply = client.try_command(&[b"SELECT", database.to_string().as_bytes()])?;
        matches!(reply, Reply::Status(_) | Reply::Error(_)).then_some(client)
    }

    /// Carries out a command.
    pub fn command(&mut self, words: &[&str]) -> Reply {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        self.try_command(&words).expect("the server answers")
    }

    /// The same with octets.
    pub fn command_octets(&mut self, words: &[&[u8]]) -> Reply {
        self.try_command(words).expect("the server answers")
    }

    /// The value of a key.
    pub fn get(&mut self, key: &str) -> Option<Vec<u8>> {
        match self.command(&["GET", key]) {
            Reply::Bulk(value) => value,
            other => panic!("GET {key}: {other:?}"),
        }
    }

    /// Waits until a key has a value that fits.
    pub fn await_value(&mut self, key: &str, fits: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        let found = wait_for(Duration::from_secs(20), || self.get(key).filter(|value| fits(value)));
        found.unwrap_or_else(|| {
            let value = self.get(key).unwrap_or_default();
            panic!("no fitting value of {key}: {}", String::from_utf8_lossy(&value))
        })
    }

    /// Waits until a key is gone.
    pub fn await_gone(&mut self, key: &str) {
        let gone = wait_for(Duration::from_secs(20), || self.get(key).is_none().then_some(()));
        assert!(gone.is_some(), "{key} is still there");
    }

    fn try_command(&mut self, words: &[&[u8]]) -> Option<Reply> {
        let mut text = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            text.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            text.extend_from_slice(word);
            text.extend_from_slice(b"\r\n");
        }
        self.stream.get_mut().write_all(&text).ok()?;
        self.reply()
    }

    fn reply(&mut self) -> Option<Reply> {
        let mut line = String::new();
        self.stream.read_line(&mut line).ok()?;
        let line = line.trim_end();
        let (kind, rest) = line.split_at_checked(1)?;
        Some(match kind {
            "+" => Reply::Status(rest.into()),
            "-" => Reply::Error(rest.into()),
            ":" => Reply::Int(rest.parse().ok()?),
            "$" => match usize::try_from(rest.parse::<i64>().ok()?) {
                Err(_) => Reply::Bulk(None),
                Ok(length) => {
                    let mut octets = vec![0; length + 2];
                    self.stream.read_exact(&mut octets).ok()?;
                    octets.truncate(length);
                    Reply::Bulk(Some(octets))
                }
            },
            "*" => {
                let count = rest.parse::<usize>().unwrap_or(0);
                Reply::Array((0..count).map(|_| self.reply()).collect::<Option<_>>()?)
            }
            _ => return None,
        })
    }
}
