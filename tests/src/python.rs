//! Peers written in Python: a process that takes commands as lines of JSON and answers each by one.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;

/// A Python that has this module: `$ICE_PYTHON`, that of the interoperability recipes, the one in the path, the system's.
pub fn with_module(module: &str) -> Option<PathBuf> {
    let cache = std::env::var_os("INTEROP_CACHE").map(PathBuf::from).or_else(|| {
        let home = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
        Some(home.join("interop-tools"))
    });
    let candidates = [
        std::env::var_os("ICE_PYTHON").map(PathBuf::from),
        cache.map(|cache| cache.join("venv/bin/python")),
        Some(PathBuf::from("python3")),
        Some(PathBuf::from("/usr/bin/python3")),
    ];
    let import = format!("import {module}");
    candidates.into_iter().flatten().find(|python| {
        let probe = Command::new(python).args(["-c", &import]).stderr(Stdio::null()).status();
        probe.is_ok_and(|status| status.success())
    })
}

/// The peer's process. Killed when dropped.
#[derive(Debug)]
pub struct Peer {
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Peer {
    /// Runs a program that needs this module; `None`, with a word about it, where there is none.
    ///
    /// # Panics
    /// When Python does not start.
    pub fn start(module: &str, program: &str) -> Option<Self> {
        let Some(python) = with_module(module) else {
            eprintln!("skipped: no Python with {module}");
            return None;
        };
        let mut child = Command::new(python)
            .args(["-c", program])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python starts");
        let commands = child.stdin.take().expect("piped");
        let answers = BufReader::new(child.stdout.take().expect("piped"));
        Some(Self { child, commands, answers })
    }

    /// Gives a command and waits for its answer.
    ///
    /// # Panics
    /// When the answer is an error, or none.
    pub fn tell(&mut self, command: &Value) -> Value {
        writeln!(self.commands, "{command}").expect("the peer listens");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("the peer answers");
        let answer: Value = serde_json::from_str(&line).expect("JSON");
        assert!(answer.get("error").is_none(), "{command}: {answer}");
        answer
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
