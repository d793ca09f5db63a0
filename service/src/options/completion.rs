//! Completion scripts for shells, made from the option table.

use super::{Accepts, Kind, OptionSpec, Program};

fn listed(program: &Program) -> impl Iterator<Item = &OptionSpec> {
    program.groups.iter().flat_map(|group| group.options).filter(|spec| spec.is_listed())
}

fn words(spec: &OptionSpec) -> Option<&'static [&'static str]> {
    match spec.accepts {
        Accepts::Words(words) | Accepts::WordsAnyCase(words) => Some(words),
        Accepts::Any | Accepts::Range(..) => None,
    }
}

/// The script for bash.
pub fn bash(program: &Program) -> String {
    let name = program.name;
    let function = format!("_{}", name.replace('-', "_"));
    let mut text = format!(
        "# bash completion of {name}. Generated: see docs/man.\n{function}() {{\n    \
         local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD - 1]}}\n    \
         # '=' is a word of its own.\n    \
         if [[ $cur == = ]]; then cur=\"\"; elif [[ $prev == = ]]; then prev=${{COMP_WORDS[COMP_CWORD - 2]}}; fi\n    \
         case $prev in\n"
    );
    let spellings = |spec: &OptionSpec| {
        let short = spec.short.map(|letter| format!(" | -{letter}")).unwrap_or_default();
        format!("--{}{short}", spec.long)
    };
    for spec in listed(program) {
        let reply = match (words(spec), spec.kind) {
            (_, Kind::Flag) => continue,
            (Some(words), _) => {
                format!("mapfile -t COMPREPLY < <(compgen -W \"{}\" -- \"$cur\")", words.join(" "))
            }
            (None, Kind::File) => {
                "compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- \"$cur\")".into()
            }
            (None, _) => "COMPREPLY=()".to_owned(),
        };
        text.push_str(&format!("        {}) {reply}; return ;;\n", spellings(spec)));
    }
    let all: Vec<String> = listed(program).map(|spec| format!("--{}", spec.long)).collect();
    text.push_str(&format!(
        "    esac\n    mapfile -t COMPREPLY < <(compgen -W \"--help {}\" -- \"$cur\")\n}}\ncomplete -F {function} {name}\n",
        all.join(" ")
    ));
    text
}

/// The script for zsh.
pub fn zsh(program: &Program) -> String {
    let mut text = format!("#compdef {}\n# Generated: see docs/man.\n_arguments -s \\\n", program.name);
    for spec in listed(program) {
        let help = quote(spec.help).replace('[', "\\[").replace(']', "\\]");
        let argument = match (words(spec), spec.kind) {
            (_, Kind::Flag) => String::new(),
            (Some(words), _) => format!(":{}:({})", quote_argument(spec.arg), words.join(" ")),
            (None, Kind::File) => format!(":{}:_files", quote_argument(spec.arg)),
            (None, _) => format!(":{}: ", quote_argument(spec.arg)),
        };
        let repeated = if spec.kind == Kind::List { "*" } else { "" };
        let equals = if spec.kind == Kind::Flag { "" } else { "=" };
        let long = spec.long;
        match spec.short {
            Some(letter) => {
                let plus = if spec.kind == Kind::Flag { "" } else { "+" };
                text.push_str(&format!(
                    "    {{'{repeated}-{letter}{plus}','{repeated}--{long}{equals}'}}'[{help}]{argument}' \\\n"
                ));
            }
            None => text.push_str(&format!("    '{repeated}--{long}{equals}[{help}]{argument}' \\\n")),
        }
    }
    text.push_str("    '--help[Print a list of all options]'\n");
    text
}

fn quote(text: &str) -> String {
    text.replace('\'', "'\\''")
}

fn quote_argument(text: &str) -> String {
    quote(text).replace(':', "\\:")
}
