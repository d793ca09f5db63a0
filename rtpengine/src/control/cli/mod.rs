//! The command line interface: a line of words in, text out. Transports are elsewhere.
//!
//! ```text
//! line → words → tree of commands (tree.rs: the table, help, usage) → list | set | params | calls | media → text
//! ```
//!
//! Words are separated by single blanks and matched exactly. Every reply but `list jsonstats` ends in a line feed.

mod calls;
pub mod completion;
mod dump;
mod explain;
mod json;
mod list;
mod media;
mod number;
mod params;
mod redis;
mod set;
mod tree;

use std::sync::Arc;

use service::log::{LogHandle, Subsystem};

use super::statistics::Statistics;
use crate::call::Engine;
use crate::persist::Persistence;
use tree::{Level, Node, Run, TOP};

/// Longest line that a transport needs to take.
pub const MAX_LINE: usize = 1024;

/// Carries out command lines. One serves all transports.
pub struct Cli {
    engine: Arc<Engine>,
    statistics: Arc<Statistics>,
    log: Option<LogHandle>,
    start_levels: [i32; Subsystem::COUNT],
    pub(super) persistence: Option<Arc<Persistence>>,
}

/// The words of a line that have not been used yet, and the names that were.
struct Words<'a> {
    words: Vec<&'a str>,
    next: usize,
    /// After `call <callid>`.
    call: &'a str,
    /// After `tag <tag>`.
    tag: &'a str,
}

impl<'a> Words<'a> {
    fn of(words: &[&'a str]) -> Self {
        Self { words: words.to_vec(), next: 0, call: "", tag: "" }
    }

    /// The next word; nothing between two blanks is nothing.
    fn next(&mut self) -> Option<&'a str> {
        let word = self.words.get(self.next)?;
        self.next += 1;
        Some(*word).filter(|word| !word.is_empty())
    }

    /// The same without using it.
    fn peek(&self) -> Option<&'a str> {
        self.words.get(self.next).copied()
    }

    fn is_at_end(&self) -> bool {
        self.words.get(self.next).is_none_or(|word| word.is_empty())
    }

    /// All that are left.
    fn rest(&mut self) -> Vec<&'a str> {
        let left = self.words.get(self.next..).unwrap_or_default();
        self.next = self.words.len();
        left.iter().copied().filter(|word| !word.is_empty()).collect()
    }
}

const MORE: &str = "More parameters required.\n";

impl Cli {
    /// Without a log, log levels cannot be seen or changed.
    pub fn new(engine: Arc<Engine>, statistics: Arc<Statistics>, log: Option<LogHandle>) -> Self {
        let level = |subsystem| log.as_ref().map_or(0, |log| log.levels().get(subsystem));
        let start_levels = Subsystem::ALL.map(level);
        Self { engine, statistics, log, start_levels, persistence: None }
    }

    /// The reply to a line, without its line feed. An empty line has no reply.
    pub fn execute(&self, line: &str) -> String {
        let line = line.trim_end_matches(['\r', '\n']);
        if line.is_empty() {
            return String::new();
        }
        tracing::info!("Got CLI command: {line}");
        let words: Vec<&str> = line.split(' ').collect();
        self.descend(TOP, &mut Words::of(&words))
    }

    fn descend(&self, level: Level, words: &mut Words<'_>) -> String {
        let Some(word) = words.next() else { return MORE.into() };
        if word == "help" {
            return tree::help(level);
        }
        match find(level, word) {
            None => format!("Unknown command: {word}\n"),
            Some(Node { run: Run::Level(below), .. }) => self.descend(below, words),
            Some(Node { run: Run::Command(command), .. }) => command(self, words),
            Some(Node { run: Run::Item(enter, below), .. }) => enter(self, below, words),
        }
    }
}

fn find(level: Level, word: &str) -> Option<&'static Node> {
    level.iter().find(|node| node.word == word)
}

/// What belongs to a part of the product that is not there.
fn not_supported(what: &str) -> String {
    format!("Not supported: {what}\n")
}

#[cfg(test)]
mod tests;
