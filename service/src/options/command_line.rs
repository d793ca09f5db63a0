//! The command line grammar.
//!
//! `--name`, `--name=value`, `--name value`, `-x`, `-xvalue`, `-x value`, `-abc` for flags, `--` ends the options. The
//! word after an option that needs a value is its value, whatever it looks like. Other words are ignored.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use super::number::{NumberError, parse_float, parse_int, parse_int32};
use super::{Kind, OptionError, OptionSpec, Program, Value};

/// What the command line says.
#[derive(Debug)]
pub enum CommandLine {
    /// `--help` was met; what follows it does not matter.
    Help,
    /// Options in the order given.
    Options(Vec<(&'static OptionSpec, Value)>),
}

/// Parses the words after the program's name.
pub fn parse(program: &Program, words: &[OsString]) -> Result<CommandLine, OptionError> {
    let mut given = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let bytes = word.as_bytes();
        if bytes == b"--" {
            break;
        } else if let Some(long) = bytes.strip_prefix(b"--") {
            if long == b"help" {
                return Ok(CommandLine::Help);
            }
            given.push(long_option(program, long, &mut words)?);
        } else if let Some(letters) = bytes.strip_prefix(b"-").filter(|letters| !letters.is_empty())
            && !short_options(program, letters, &mut words, &mut given)?
        {
            return Ok(CommandLine::Help);
        }
    }
    Ok(CommandLine::Options(given))
}

type Words<'a> = std::slice::Iter<'a, OsString>;

fn long_option(
    program: &Program,
    text: &[u8],
    words: &mut Words<'_>,
) -> Result<(&'static OptionSpec, Value), OptionError> {
    let (name, attached) = match text.iter().position(|byte| *byte == b'=') {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let spec = std::str::from_utf8(name).ok().and_then(|name| program.find(name));
    // A flag with a value is not an option that exists, so the whole word is named.
    let Some(spec) = spec.filter(|spec| spec.kind != Kind::Flag || attached.is_none()) else {
        return Err(OptionError::CommandLine(format!("Unknown option --{}", String::from_utf8_lossy(text))));
    };
    let value = value(spec, &format!("--{}", spec.long), attached, words)?;
    Ok((spec, value))
}

/// Parses the letters of one word; `false` when `-h` is among them.
fn short_options(
    program: &Program,
    letters: &[u8],
    words: &mut Words<'_>,
    given: &mut Vec<(&'static OptionSpec, Value)>,
) -> Result<bool, OptionError> {
    for (index, letter) in letters.iter().enumerate() {
        let letter = char::from(*letter);
        if letter == 'h' {
            return Ok(false);
        }
        let Some(spec) = program.find_short(letter) else {
            let word = String::from_utf8_lossy(letters.get(index..).unwrap_or_default());
            let unknown = word.chars().next().unwrap_or(letter);
            return Err(OptionError::CommandLine(format!("Unknown option -{unknown}")));
        };
        let attached = letters.get(index + 1..).filter(|rest| !rest.is_empty());
        let takes_rest = spec.kind != Kind::Flag;
        given.push((spec, value(spec, &format!("-{letter}"), attached, words)?));
        if takes_rest {
            break;
        }
    }
    Ok(true)
}

fn value(
    spec: &OptionSpec,
    name: &str,
    attached: Option<&[u8]>,
    words: &mut Words<'_>,
) -> Result<Value, OptionError> {
    if spec.kind == Kind::Flag {
        return Ok(Value::Flag(true));
    }
    let bytes = match attached {
        Some(bytes) => bytes,
        None => words
            .next()
            .ok_or_else(|| OptionError::CommandLine(format!("Missing argument for {name}")))?
            .as_bytes(),
    };
    if spec.kind == Kind::File {
        return Ok(Value::File(PathBuf::from(OsString::from_vec(bytes.to_vec()))));
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        let shown = OsStr::from_bytes(bytes).to_string_lossy();
        return Err(OptionError::CommandLine(format!("Value '{shown}' for {name} is not UTF-8")));
    };
    let number = |noun: &str, error| {
        OptionError::CommandLine(match error {
            NumberError::OutOfRange => {
                format!("{} value '{text}' for {name} out of range", noun[..1].to_uppercase() + &noun[1..])
            }
            _ => format!("Cannot parse {noun} value '{text}' for {name}"),
        })
    };
    Ok(match spec.kind {
        Kind::Int => Value::Int(parse_int32(text).map_err(|error| number("integer", error))?),
        Kind::Int64 => Value::Int64(parse_int(text).map_err(|error| number("integer", error))?),
        Kind::Float => Value::Float(parse_float(text).map_err(|error| number("double", error))?),
        Kind::List => Value::List(vec![text.to_owned()]),
        Kind::Text | Kind::Flag | Kind::File => Value::Text(text.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
                OptionSpec::flag("foreground", "").short('f'),
                OptionSpec::flag("log-stderr", "").short('E'),
                OptionSpec::int("table", "").short('t'),
                OptionSpec::int("num-threads", ""),
                OptionSpec::int64("max-bandwidth", ""),
                OptionSpec::float("max-load", ""),
                OptionSpec::text("log-name", "STRING", "").short('N'),
                OptionSpec::file("pidfile", "").short('p'),
                OptionSpec::list("interface", "IP", "").short('i'),
            ],
        }],
    };

    fn run(words: &[&str]) -> Result<Vec<(&'static str, Value)>, String> {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        match parse(&PROGRAM, &words).map_err(|error| error.to_string())? {
            CommandLine::Help => Ok(vec![("help", Value::Flag(true))]),
            CommandLine::Options(given) => {
                Ok(given.into_iter().map(|(spec, value)| (spec.long, value)).collect())
            }
        }
    }

    #[test]
    fn options_are_understood_in_every_spelling() {
        let text = |text: &str| Value::Text(text.into());
        let list = |text: &str| Value::List(vec![text.into()]);
        type Case<'a> = (&'a [&'a str], &'a [(&'a str, Value)]);
        let cases: &[Case<'_>] = &[
            (&["--table=3"], &[("table", Value::Int(3))]),
            (&["--table", "-1"], &[("table", Value::Int(-1))]),
            (&["-t", "0x1f"], &[("table", Value::Int(31))]),
            (&["-t-1"], &[("table", Value::Int(-1))]),
            (&["-fE"], &[("foreground", Value::Flag(true)), ("log-stderr", Value::Flag(true))]),
            (
                &["-fEt5"],
                &[
                    ("foreground", Value::Flag(true)),
                    ("log-stderr", Value::Flag(true)),
                    ("table", Value::Int(5)),
                ],
            ),
            (&["-ft", "010", "word"], &[("foreground", Value::Flag(true)), ("table", Value::Int(8))]),
            (&["--log-name", "--table"], &[("log-name", text("--table"))]),
            (&["--log-name="], &[("log-name", text(""))]),
            (&["--log-name=a=b"], &[("log-name", text("a=b"))]),
            (&["-N", ""], &[("log-name", text(""))]),
            (&["word", "-", "-f", "--", "-E", "--bogus"], &[("foreground", Value::Flag(true))]),
            (&["-ia", "-i", "b"], &[("interface", list("a")), ("interface", list("b"))]),
            (&["--max-load=2.5"], &[("max-load", Value::Float(2.5))]),
            (&["--max-bandwidth=5000000000"], &[("max-bandwidth", Value::Int64(5_000_000_000))]),
            (&["--help", "--bogus"], &[("help", Value::Flag(true))]),
            (&["-fh"], &[("help", Value::Flag(true))]),
        ];
        for (words, expected) in cases {
            assert_eq!(run(words).as_deref(), Ok(*expected), "{words:?}");
        }
    }

    #[test]
    fn errors_have_their_fixed_texts() {
        const CASES: &[(&[&str], &str)] = &[
            (&["--bogus"], "Unknown option --bogus"),
            (&["--bogus=1"], "Unknown option --bogus=1"),
            (&["--foreground=1"], "Unknown option --foreground=1"),
            (&["--Table=1"], "Unknown option --Table=1"),
            (&["-fZ"], "Unknown option -Z"),
            (&["-ö"], "Unknown option -ö"),
            (&["--bogus", "--help"], "Unknown option --bogus"),
            (&["--num-threads=abc"], "Cannot parse integer value 'abc' for --num-threads"),
            (&["-t", "1x"], "Cannot parse integer value '1x' for -t"),
            (&["--table=4294967296"], "Integer value '4294967296' for --table out of range"),
            (&["--max-load=x"], "Cannot parse double value 'x' for --max-load"),
            (&["--table"], "Missing argument for --table"),
            (&["-ft"], "Missing argument for -t"),
        ];
        for (words, expected) in CASES {
            assert_eq!(run(words), Err(format!("Bad command line: {expected}")), "{words:?}");
        }
    }

    #[test]
    fn paths_keep_bytes_that_are_not_utf8() {
        let path = OsString::from_vec(b"/run/\xff".to_vec());
        let words = [OsString::from("-p"), path.clone()];
        let Ok(CommandLine::Options(given)) = parse(&PROGRAM, &words) else { panic!("refused") };
        assert_eq!(given[0].1, Value::File(path.clone().into()));
        let words = [OsString::from("-N"), path];
        let error = parse(&PROGRAM, &words).expect_err("not UTF-8").to_string();
        assert!(error.starts_with("Bad command line: Value '/run/"), "{error}");
    }

    proptest! {
        #[test]
        fn no_words_make_the_parser_panic(
            words in proptest::collection::vec(
                prop_oneof![
                    proptest::collection::vec(any::<u8>(), 0..12),
                    "-{1,2}[a-zA-Z]{0,4}(=|-)?[0-9x]{0,12}".prop_map(String::into_bytes),
                    "--(table|num-threads|max-load|interface|pidfile)(=.{0,8})?".prop_map(String::into_bytes),
                ],
                0..6,
            )
        ) {
            let words: Vec<OsString> = words.into_iter().map(OsString::from_vec).collect();
            let _ = parse(&PROGRAM, &words);
        }

        #[test]
        fn every_integer_is_read_back(value in any::<i32>()) {
            prop_assert_eq!(run(&["--table", &value.to_string()]), Ok(vec![("table", Value::Int(value))]));
            let hex = format!("--table={}0x{:x}", if value < 0 { "-" } else { "" }, value.unsigned_abs());
            prop_assert_eq!(run(&[&hex]), Ok(vec![("table", Value::Int(value))]));
        }
    }
}
