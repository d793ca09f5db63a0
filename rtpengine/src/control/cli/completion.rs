//! What shells and the manual know about `rtpengine-ctl`, made from the tables of its options and commands.

use std::fmt::Write;

use service::options::man::{self, ManPage};
use service::options::{OptionGroup, OptionSpec, Program};

use super::tree::{Node, Run, TOP};

type O = OptionSpec;

/// The client with its options.
pub const CTL: Program = Program {
    name: "rtpengine-ctl",
    summary: "command line client of rtpengine",
    config_file: "",
    config_section: "",
    groups: &[OptionGroup {
        title: "General",
        options: &[
            O::text("ip", "ADDRESS[:PORT]", "Where the daemon listens (its option listen-cli)")
                .default_note("listen-cli of the config file, else 127.0.0.1:9900"),
            O::int("port", "Port of the daemon").default("9900"),
            O::int("timeout", "Seconds to wait for the daemon").default("3").at_least(1),
            O::file("config-file", "Config file of the daemon").default("/etc/rtpengine/rtpengine.conf"),
            O::flag("json", "Print the reply as JSON; the exit status is 1 if it tells of a failure"),
        ],
    }],
};

/// Options of `top`, which the client carries out itself.
pub const TOP_OPTIONS: &[(&str, &str)] = &[
    ("--once", "print one picture and exit"),
    ("--interval=SECONDS", "time between pictures, 2 by default"),
];

const PAGE: ManPage = ManPage {
    section: 8,
    description: &[
        "rtpengine-ctl sends a command to a running rtpengine and prints the reply. The options end at the first word that \
         does not begin with a dash.",
        "`top` shows calls with packet rates, loss, jitter and MOS, the busiest first, anew every two seconds \
         (--interval=SECONDS) until it is interrupted; with --once, or when the output is no terminal, once.",
    ],
    sections: &[
        (
            "EXIT STATUS",
            &["0\tThe daemon has answered.", "1\tIt has not, or with --json it has told of a failure."],
        ),
        ("SEE ALSO", &["rtpengine(8)"]),
    ],
};

/// `docs/man/rtpengine-ctl.8`
pub fn page() -> String {
    let page = man::render(&CTL, &PAGE);
    let mut commands = String::from(".SH COMMANDS\n");
    each(TOP, "", &mut |path, node| {
        if !node.help.is_empty() {
            let escape = |text: &str| text.replace('\\', "\\e").replace('-', "\\-");
            let words = [path, node.word, node.synopsis].map(str::trim).join(" ");
            let _ = write!(commands, ".TP\n\\fB{}\\fR\n{}.\n", escape(words.trim()), escape(node.help));
        }
    });
    page.replace(".SH EXIT STATUS\n", &format!("{commands}.SH EXIT STATUS\n"))
}

/// Visits every command with the words in front of it; a name that is to be filled in is `*`.
fn each(level: &'static [Node], path: &str, visit: &mut impl FnMut(&str, &'static Node)) {
    for node in level {
        visit(path, node);
        match node.run {
            Run::Level(below) => each(below, format!("{path} {}", node.word).trim(), visit),
            Run::Item(_, below) => each(below, format!("{path} {} *", node.word).trim(), visit),
            Run::Command(_) => {}
        }
    }
}

/// What may follow after words: fixed words with their help, and whether Call-IDs may stand there, too.
struct Place {
    path: String,
    words: Vec<(&'static str, &'static str)>,
    takes_call_id: bool,
}

fn places() -> Vec<Place> {
    let mut places: Vec<Place> = Vec::new();
    let mut add = |path: &str, word: Option<(&'static str, &'static str)>, takes_call_id: bool| {
        let at = places.iter().position(|place| place.path == path).unwrap_or_else(|| {
            places.push(Place { path: path.into(), words: Vec::new(), takes_call_id: false });
            places.len() - 1
        });
        if let Some(place) = places.get_mut(at) {
            place.words.extend(word);
            place.takes_call_id |= takes_call_id;
        }
    };
    each(TOP, "", &mut |path, node| {
        add(path, Some((node.word, node.help)), false);
        let own = format!("{path} {}", node.word);
        let own = own.trim();
        for word in node.synopsis.split(" | ").filter(|_| !matches!(node.run, Run::Level(_))) {
            match word {
                _ if word.starts_with("<callid>") => add(own, None, true),
                _ if !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric()) => {
                    add(own, Some((word, "")), false);
                }
                _ => {}
            }
        }
    });
    add("", Some(("top", "live calls")), false);
    TOP_OPTIONS.iter().for_each(|(option, help)| {
        add("top", Some((option.split_once('=').map_or(option, |(name, _)| name), help)), false);
    });
    places
}

/// Prints the Call-IDs of all calls.
const CALL_IDS: &str = "rtpengine-ctl list sessions all 2>/dev/null | sed -n 's/^ID: *\\([^ ]*\\) .*/\\1/p'";

/// Words of the line in front of the cursor, without options and their values; names that vary are `*`.
const PATH: &str = r#"            --ip|-ip|--port|-port|--timeout|-timeout|--config-file|-config-file) ((i++)) ;;
            -*) ;;
            *)
                case $path in call | "call * tag") word='*' ;; esac
                [[ $path == json ]] && path=""
                path="${path:+$path }$word"
                ;;
"#;

/// For bash.
pub fn bash() -> String {
    let options: Vec<String> =
        CTL.groups.iter().flat_map(|g| g.options).map(|o| format!("--{}", o.long)).collect();
    let mut cases = String::new();
    for place in places() {
        let words: Vec<&str> = place.words.iter().map(|(word, _)| *word).collect();
        let ids = if place.takes_call_id { format!(" $({CALL_IDS})") } else { String::new() };
        let options = if place.path.is_empty() { format!(" {}", options.join(" ")) } else { String::new() };
        let _ = writeln!(cases, "        \"{}\") words=\"{}{options}{ids}\" ;;", place.path, words.join(" "));
    }
    format!(
        "# bash completion of rtpengine-ctl. Generated: see docs/man.\n\
         _rtpengine_ctl() {{\n    \
             local cur=${{COMP_WORDS[COMP_CWORD]}} path=\"\" words=\"\" word i\n    \
             for ((i = 1; i < COMP_CWORD; i++)); do\n        \
                 word=${{COMP_WORDS[i]}}\n        \
                 case $word in\n{PATH}        \
                 esac\n    \
             done\n    \
             [[ $path == json ]] && path=\"\"\n    \
             case $path in\n{cases}    \
             esac\n    \
             mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n\
         }}\n\
         complete -F _rtpengine_ctl rtpengine-ctl\n"
    )
}

/// For zsh.
pub fn zsh() -> String {
    let quoted = |text: &str| text.replace('\'', "'\\''").replace(':', "\\:");
    let mut cases = String::new();
    for place in places() {
        let words: Vec<String> =
            place.words.iter().map(|(word, help)| format!("'{word}:{}'", quoted(help))).collect();
        let ids = match place.takes_call_id {
            true => format!("; compadd -- ${{(f)\"$({CALL_IDS})\"}}"),
            false => String::new(),
        };
        let _ = writeln!(cases, "        \"{}\") choices=({}){ids} ;;", place.path, words.join(" "));
    }
    let options: Vec<String> = CTL
        .groups
        .iter()
        .flat_map(|group| group.options)
        .map(|option| format!("'--{}:{}'", option.long, quoted(option.help)))
        .collect();
    format!(
        "#compdef rtpengine-ctl\n# Generated: see docs/man.\n\
         _rtpengine_ctl() {{\n    \
             local word path_so_far=\"\" i\n    \
             local -a choices\n    \
             for ((i = 2; i < CURRENT; i++)); do\n        \
                 word=${{words[i]}}\n        \
                 case $word in\n{}        \
                 esac\n    \
             done\n    \
             [[ $path_so_far == json ]] && path_so_far=\"\"\n    \
             case $path_so_far in\n{cases}    \
             esac\n    \
             [[ -z $path_so_far && $PREFIX == -* ]] && choices=({})\n    \
             _describe command choices\n\
         }}\n\
         _rtpengine_ctl \"$@\"\n",
        PATH.replace("$path", "$path_so_far")
            .replace("${path:", "${path_so_far:")
            .replace(" path=", " path_so_far=")
            .replace("+$path ", "+$path_so_far "),
        options.join(" ")
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use service::options::completion;

    use super::*;
    use crate::config::PROGRAM;

    fn root() -> &'static Path {
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
    }

    /// With `UPDATE_MAN=1` in the environment the files are written instead of compared.
    #[test]
    fn completions_and_the_manual_page_are_up_to_date() {
        for (name, content) in [
            ("docs/man/rtpengine-ctl.8", page()),
            ("etc/completion/rtpengine-ctl.bash", bash()),
            ("etc/completion/_rtpengine-ctl", zsh()),
            ("etc/completion/rtpengine.bash", completion::bash(&PROGRAM)),
            ("etc/completion/_rtpengine", completion::zsh(&PROGRAM)),
        ] {
            let path = root().join(name);
            if std::env::var_os("UPDATE_MAN").is_some() {
                // The other test reads them at the same time.
                let new = path.with_extension("new");
                std::fs::write(&new, &content).expect("write");
                std::fs::rename(&new, &path).expect("rename");
            }
            let present = std::fs::read_to_string(&path).expect(name);
            assert_eq!(present, content, "{name}: run this test with UPDATE_MAN=1");
        }
    }

    /// What bash proposes behind a line, with a client that knows two calls.
    fn proposed(script: &str, function: &str, line: &[&str]) -> Vec<String> {
        let script = root().join("etc/completion").join(script);
        let program = format!(
            "rtpengine-ctl() {{ printf 'ID:  %s | del:n\\n' call-1 call-2; }}; source {}; COMP_WORDS=({}); \
             COMP_CWORD={}; {function}; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            script.display(),
            line.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" "),
            line.len() - 1
        );
        let output = Command::new("bash").args(["--norc", "-c", &program]).output().expect("bash");
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn bash_proposes_what_fits() {
        for (line, expected) in [
            (&["rtpengine-ctl", "li"][..], &["list"][..]),
            (&["rtpengine-ctl", "--ip", "h:1", "list", "num"], &["numsessions"]),
            (&["rtpengine-ctl", "list", "sessions", "a"], &["all"]),
            (&["rtpengine-ctl", "call", "call"], &["call-1", "call-2"]),
            (&["rtpengine-ctl", "call", "call-1", "te"], &["terminate"]),
            (&["rtpengine-ctl", "--json", "terminate", "call-2"], &["call-2"]),
            (&["rtpengine-ctl", "json", "list", "jsons"], &["jsonstats"]),
            (&["rtpengine-ctl", "top", "--o"], &["--once"]),
            (&["rtpengine-ctl", "--js"], &["--json"]),
        ] {
            assert_eq!(proposed("rtpengine-ctl.bash", "_rtpengine_ctl", line), expected, "{line:?}");
        }
        for (line, expected) in [
            (&["rtpengine", "--listen-lr"][..], &["--listen-lrkp"][..]),
            (&["rtpengine", "--endpoint-learning", "=", "im"], &["immediate"]),
            (&["rtpengine", "--endpoint-learning", "="], &["delayed", "immediate", "off", "heuristic"]),
            (&["rtpengine", "--port-min", "3"], &[]),
        ] {
            assert_eq!(proposed("rtpengine.bash", "_rtpengine", line), expected, "{line:?}");
        }
    }
}
