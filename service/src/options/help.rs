//! `--help`.

use super::{Kind, OptionSpec, Program};

impl Program {
    /// The text of `--help`, ending in an empty line.
    pub fn help(&self) -> String {
        let lines: Vec<(String, String)> = self
            .options()
            .filter(|spec| spec.is_listed())
            .map(|spec| (format!("  {}", synopsis(spec)), description(spec)))
            .collect();
        let column = lines.iter().map(|(left, _)| left.len()).filter(|width| *width < MAX_COLUMN).max();
        let column = column.unwrap_or(0) + 2;
        let line = |left: &str, right: &str| {
            let padding = column.saturating_sub(left.len()).max(2);
            format!("{left}{:padding$}{right}\n", "")
        };
        let mut text = format!("Usage:\n  {} [OPTION…]  - {}\n\n", self.name, self.summary);
        text.push_str("Help Options:\n");
        text.push_str(&line("  -h, --help", "Show help options"));
        text.push_str("\nApplication Options:\n");
        for (left, right) in &lines {
            text.push_str(&line(left, right));
        }
        text.push('\n');
        text
    }
}

/// A few arguments are so long that aligning to them would leave no room for descriptions.
const MAX_COLUMN: usize = 46;

/// `-x, --long=ARG`
pub(super) fn synopsis(spec: &OptionSpec) -> String {
    let short = spec.short.map(|letter| format!("-{letter}, ")).unwrap_or_default();
    let equals = if spec.kind == Kind::Flag { "" } else { "=" };
    format!("{short}--{}{equals}{}", spec.long, spec.arg)
}

/// Description with the default.
fn description(spec: &OptionSpec) -> String {
    match default_text(spec) {
        Some(default) => format!("{} (default: {default})", spec.help),
        None => spec.help.to_owned(),
    }
}

/// The default in words.
pub(super) fn default_text(spec: &OptionSpec) -> Option<&'static str> {
    match (spec.default_note, spec.default) {
        ("", default) => default,
        (note, _) => Some(note),
    }
}
