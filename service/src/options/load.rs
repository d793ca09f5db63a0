//! From the words of the command line to [`Settings`]: default, then config file, then command line.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::command_line::{self, CommandLine};
use super::ini::{IniFile, IniGroup, decode_list, decode_text};
use super::number::{parse_float, parse_int, parse_int32};
use super::{Kind, OptionError, OptionSpec, Program, Settings, Value};

/// What the user wants.
#[derive(Debug)]
pub enum Loaded {
    /// To read [`Program::help`].
    Help,
    /// To start with these settings (or to see the version, which the settings say).
    Settings(Box<Settings>),
}

/// Reads command line and config file. `words` do not include the program's name.
///
/// Every value has the type and lies in the range that the table names; what needs more than one value to judge is left
/// to the program.
pub fn load(program: &'static Program, words: &[OsString]) -> Result<Loaded, OptionError> {
    let given = match command_line::parse(program, words)? {
        CommandLine::Help => return Ok(Loaded::Help),
        CommandLine::Options(given) => given,
    };
    let mut from_words = Settings::new(program, None, String::new());
    for (spec, value) in given {
        from_words.set(spec, value);
    }
    let file = read_config_file(program, from_words.path("config-file"))?;
    let section = from_words.text("config-section").unwrap_or_else(|| program.config_section.to_owned());
    let mut settings = Settings::new(program, file, section);
    if let Some(group) = settings.group(settings.section()).cloned() {
        for spec in program.options() {
            if let Some(value) = file_value(spec, &group)? {
                settings.set(spec, value);
            }
        }
    }
    settings.replace_with(from_words);
    settings.check()?;
    Ok(Loaded::Settings(Box::new(settings)))
}

/// The file asked for, or the default one if it exists; `none` asks for no file.
fn read_config_file(program: &Program, asked: Option<PathBuf>) -> Result<Option<IniFile>, OptionError> {
    let path = asked.as_deref().unwrap_or(Path::new(program.config_file));
    if path == Path::new("none") {
        return Ok(None);
    }
    let bytes = match read_bounded(path) {
        Ok(bytes) => bytes,
        Err(error) if asked.is_none() && error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(OptionError::Unreadable { path: path.to_owned(), source }),
    };
    let file =
        IniFile::parse(&bytes).map_err(|source| OptionError::Syntax { path: path.to_owned(), source })?;
    Ok(Some(file))
}

/// Far more than any configuration; keeps a mistaken path (a device, a recording) from filling memory.
const MAX_CONFIG_OCTETS: u64 = 16 << 20;

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_CONFIG_OCTETS + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_CONFIG_OCTETS {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "too large for a config file"));
    }
    Ok(bytes)
}

fn file_value(spec: &OptionSpec, group: &IniGroup) -> Result<Option<Value>, OptionError> {
    let Some(raw) = group.raw(spec.long) else { return Ok(None) };
    let text = || decode_text(raw).map_err(|_| "text with the escapes \\s \\n \\t \\r \\\\".to_owned());
    let value = match spec.kind {
        Kind::Flag => match raw {
            "true" | "1" => Ok(Value::Flag(true)),
            "false" | "0" => Ok(Value::Flag(false)),
            _ => Err("true or false".to_owned()),
        },
        Kind::Int => {
            parse_int32(raw).map(Value::Int).map_err(|error| format!("a 32-bit integer (this is {error})"))
        }
        Kind::Int64 => {
            parse_int(raw).map(Value::Int64).map_err(|error| format!("a 64-bit integer (this is {error})"))
        }
        Kind::Float => parse_float(raw).map(Value::Float).map_err(|_| "a decimal number".to_owned()),
        Kind::Text => text().map(Value::Text),
        Kind::File => text().map(|text| Value::File(text.into())),
        Kind::List => decode_list(raw)
            .map(Value::List)
            .map_err(|_| "a list with the escapes \\s \\n \\t \\r \\\\ \\;".to_owned()),
    };
    value.map(Some).map_err(|accepted| OptionError::FileValue {
        section: group.name().to_owned(),
        key: spec.long.to_owned(),
        value: raw.to_owned(),
        accepted,
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::super::OptionGroup;
    use super::*;

    const PROGRAM: Program = Program {
        name: "demo",
        summary: "demonstration",
        config_file: "/nonexistent/demo.conf",
        config_section: "demo",
        groups: &[OptionGroup {
            title: "All",
            options: &[
                OptionSpec::file("config-file", ""),
                OptionSpec::text("config-section", "STRING", ""),
                OptionSpec::flag("foreground", "").short('f'),
                OptionSpec::int("table", "").short('t').default("-1"),
                OptionSpec::int("timeout", "").default("60"),
                OptionSpec::int("tos", "").range(0, 255).complaint("Invalid TOS value"),
                OptionSpec::float("max-load", "").without("there is none"),
                OptionSpec::flag("xtables", "").without("there are none"),
                OptionSpec::text("format", "STRING", "").words(&["raw", "eth"]),
                OptionSpec::file("dir", ""),
                OptionSpec::list("interface", "IP", "").short('i'),
                OptionSpec::list("ip", "IP", "").alias_of("interface"),
                OptionSpec::flag("multikey", "").withdrawn(),
            ],
        }],
    };

    fn with_file(text: &str, words: &[&str]) -> Result<Settings, String> {
        let mut file = tempfile::NamedTempFile::new().expect("temporary file");
        file.write_all(text.as_bytes()).expect("write");
        let mut all = vec![OsString::from("--config-file"), file.path().into()];
        all.extend(words.iter().map(OsString::from));
        match load(&PROGRAM, &all).map_err(|error| error.to_string())? {
            Loaded::Help => Err("help".into()),
            Loaded::Settings(settings) => Ok(*settings),
        }
    }

    #[test]
    fn the_command_line_overrides_the_file_and_the_file_the_default() {
        let file = "[demo]\ntable = 0\ntimeout=30\ninterface = a; b\nforeground = 1\nt = 7\nunknown = \\q\n[other]\ntable=5";
        let settings = with_file(file, &["--timeout=10", "-t3"]).expect("settings");
        assert_eq!((settings.int("table"), settings.int("timeout")), (3, 10));
        assert_eq!(settings.list("interface"), ["a", "b"]);
        assert!(settings.flag("foreground"));

        let settings = with_file(file, &["-ix", "--ip=y"]).expect("settings");
        assert_eq!((settings.int("table"), settings.int("timeout")), (0, 30));
        assert_eq!(settings.list("interface"), ["x", "y"], "a list on the command line replaces the file's");

        let settings = with_file(file, &["--config-section=other"]).expect("settings");
        assert_eq!((settings.int("table"), settings.int("timeout")), (5, 60));
        let settings = with_file(file, &["--config-section=absent"]).expect("settings");
        assert_eq!(settings.int("table"), -1);
    }

    #[test]
    fn a_missing_file_is_fatal_only_when_asked_for() {
        let settings = |words: &[&str]| {
            let words: Vec<OsString> = words.iter().map(OsString::from).collect();
            load(&PROGRAM, &words)
        };
        assert!(matches!(settings(&[]), Ok(Loaded::Settings(_))));
        assert!(matches!(settings(&["--config-file=none"]), Ok(Loaded::Settings(_))));
        let error = settings(&["--config-file=/nonexistent/x.conf"]).expect_err("missing").to_string();
        assert!(error.starts_with("Failed to load config file /nonexistent/x.conf: "), "{error}");
        assert!(matches!(settings(&["--config-file=/dev/zero"]), Err(OptionError::Unreadable { .. })));
        assert!(matches!(settings(&["-h"]), Ok(Loaded::Help)));
    }

    #[test]
    fn bad_values_name_key_value_and_what_is_right() {
        const CASES: &[(&str, &[&str], &str)] = &[
            ("[demo]\ntable = abc", &[], "Invalid value 'abc' for 'table' in config file section [demo]"),
            ("[demo]\nforeground = yes", &[], "true or false is expected"),
            ("[demo]\ndir = a\\qb", &[], "Invalid value 'a\\qb' for 'dir'"),
            ("[demo]\nmax-load = 1,5", &[], "a decimal number is expected"),
            ("[demo]\ntos = 300", &[], "Invalid TOS value: '300' given for --tos; an integer from 0 to 255"),
            ("", &["--tos=-1"], "Invalid TOS value: '-1'"),
            ("", &["--format=pcap"], "Invalid value: 'pcap' given for --format; one of raw, eth is accepted"),
            ("table = 1", &[], "line 1: text before the first [group]"),
        ];
        for (file, words, part) in CASES {
            let error = with_file(file, words).expect_err(part);
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn options_without_effect_are_noticed_once() {
        let settings = with_file("[demo]\nxtables=false\nmax-load=1\nmultikey=true", &["--max-load=2"]);
        let notices = settings.expect("settings").notices();
        assert_eq!(
            notices,
            [
                "option max-load: not supported, no effect: there is none",
                "option multikey: no longer exists, no effect"
            ]
        );
    }
}
