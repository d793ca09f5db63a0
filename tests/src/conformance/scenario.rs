//! The recordings: one line of JSON, one scenario.

use std::path::{Path, PathBuf};

use serde_json::Value;

/// One recorded conversation with a freshly started daemon.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Unique name.
    pub name: String,
    /// File that it came from.
    pub area: String,
    /// Arguments of the daemon, beyond what is implied.
    pub daemon_args: Vec<String>,
    /// Files to be made in the scenario's folder: text, or `{"wav": [rate, milliseconds]}`.
    pub files: Vec<(String, Value)>,
    /// Requests and replies, in order.
    pub steps: Vec<Value>,
}

/// Where the checked-in corpus is.
pub fn folder() -> PathBuf {
    std::env::var_os("CONFORMANCE_CORPUS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/ng"), PathBuf::from)
}

/// Reads every `*.jsonl` of a folder, sorted by area.
pub fn load(folder: &Path) -> Vec<Scenario> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    files.sort();
    let mut scenarios = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("corpus files are text");
        for line in text.lines().filter(|line| !line.is_empty()) {
            let value: Value = serde_json::from_str(line).expect("corpus lines are JSON");
            scenarios.push(parse(&value));
        }
    }
    scenarios
}

fn parse(value: &Value) -> Scenario {
    let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let list = |key: &str| value[key].as_array().cloned().unwrap_or_default();
    Scenario {
        name: text("name"),
        area: text("area"),
        daemon_args: list("daemon_args").iter().filter_map(|v| v.as_str().map(str::to_owned)).collect(),
        files: value["files"]
            .as_object()
            .map(|files| files.iter().map(|(name, content)| (name.clone(), content.clone())).collect())
            .unwrap_or_default(),
        steps: list("steps"),
    }
}
