//! The option table: what a program accepts.

/// A program with all its options.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// Name of the binary, also the default syslog identity.
    pub name: &'static str,
    /// One line for `--help` and the manual page.
    pub summary: &'static str,
    /// Read when `--config-file` is not given; may be missing.
    pub config_file: &'static str,
    /// Group of the config file read without `--config-section`.
    pub config_section: &'static str,
    /// All options; the order is that of `--help`.
    pub groups: &'static [OptionGroup],
}

/// Options under one heading of the manual page.
#[derive(Clone, Copy, Debug)]
pub struct OptionGroup {
    /// Heading.
    pub title: &'static str,
    /// The options.
    pub options: &'static [OptionSpec],
}

/// One option.
#[derive(Clone, Copy, Debug)]
pub struct OptionSpec {
    /// Name after `--`, and key in the config file.
    pub long: &'static str,
    /// Letter after `-`.
    pub short: Option<char>,
    /// Type of the argument.
    pub kind: Kind,
    /// How the argument is called in `--help`; empty for flags.
    pub arg: &'static str,
    /// Value when not given; parsed like one that was given.
    pub default: Option<&'static str>,
    /// The default in words, where it is computed.
    pub default_note: &'static str,
    /// Description, one sentence without full stop.
    pub help: &'static str,
    /// Whether setting it has an effect.
    pub status: Status,
    /// Which values of its type are accepted.
    pub accepts: Accepts,
    /// Historical beginning of the message about a value that is not accepted.
    pub complaint: Option<&'static str>,
}

/// Argument types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// No argument; `true`, `false`, `1`, `0` in the config file.
    Flag,
    /// Signed 32-bit; decimal, `0x…` hexadecimal or `0…` octal.
    Int,
    /// Signed 64-bit, written like `Int`.
    Int64,
    /// Decimal number with a point.
    Float,
    /// UTF-8 text.
    Text,
    /// Path; bytes are kept as they are.
    File,
    /// Texts: repeated on the command line, separated by `;` in the config file.
    List,
}

/// What setting an option does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It works.
    Active,
    /// Accepted and checked; has no effect here for this reason, which is logged.
    Without(&'static str),
    /// Accepted; the feature is not part of this product, which is logged. Not in `--help`.
    Unsupported,
    /// Accepted for old configurations; its feature no longer exists. Not in `--help`.
    Withdrawn,
    /// Another spelling of the option named. Not in `--help`.
    Alias(&'static str),
}

/// Which values of a type are accepted; for lists this applies to each element.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Accepts {
    /// All.
    Any,
    /// Integers between the two, both included.
    Range(i64, i64),
    /// One of the words, compared exactly.
    Words(&'static [&'static str]),
    /// One of the words, ignoring case.
    WordsAnyCase(&'static [&'static str]),
}

impl OptionSpec {
    /// An option without argument.
    pub const fn flag(long: &'static str, help: &'static str) -> Self {
        Self::new(long, Kind::Flag, "", help)
    }

    /// An option with a 32-bit integer.
    pub const fn int(long: &'static str, help: &'static str) -> Self {
        Self::new(long, Kind::Int, "INT", help)
    }

    /// An option with a 64-bit integer.
    pub const fn int64(long: &'static str, help: &'static str) -> Self {
        Self::new(long, Kind::Int64, "INT", help)
    }

    /// An option with a decimal number.
    pub const fn float(long: &'static str, help: &'static str) -> Self {
        Self::new(long, Kind::Float, "FLOAT", help)
    }

    /// An option with text; `arg` is its name in `--help`.
    pub const fn text(long: &'static str, arg: &'static str, help: &'static str) -> Self {
        Self::new(long, Kind::Text, arg, help)
    }

    /// An option with a path.
    pub const fn file(long: &'static str, help: &'static str) -> Self {
        Self::new(long, Kind::File, "FILE", help)
    }

    /// An option with a list of texts; `arg` is its name in `--help`.
    pub const fn list(long: &'static str, arg: &'static str, help: &'static str) -> Self {
        Self::new(long, Kind::List, arg, help)
    }

    const fn new(long: &'static str, kind: Kind, arg: &'static str, help: &'static str) -> Self {
        OptionSpec {
            long,
            short: None,
            kind,
            arg,
            default: None,
            default_note: "",
            help,
            status: Status::Active,
            accepts: Accepts::Any,
            complaint: None,
        }
    }

    /// With a short form.
    pub const fn short(mut self, letter: char) -> Self {
        self.short = Some(letter);
        self
    }

    /// With another name for its argument.
    pub const fn arg(mut self, arg: &'static str) -> Self {
        self.arg = arg;
        self
    }

    /// With a default.
    pub const fn default(mut self, text: &'static str) -> Self {
        self.default = Some(text);
        self
    }

    /// With a default that is computed; described in words.
    pub const fn default_note(mut self, text: &'static str) -> Self {
        self.default_note = text;
        self
    }

    /// Which has no effect here, and why.
    pub const fn without(mut self, reason: &'static str) -> Self {
        self.status = Status::Without(reason);
        self
    }

    /// Whose feature this product does not have.
    pub const fn unsupported(mut self) -> Self {
        self.status = Status::Unsupported;
        self
    }

    /// Whose feature no longer exists.
    pub const fn withdrawn(mut self) -> Self {
        self.status = Status::Withdrawn;
        self
    }

    /// That is another spelling of `target`.
    pub const fn alias_of(mut self, target: &'static str) -> Self {
        self.status = Status::Alias(target);
        self
    }

    /// Accepting only integers from `min` to `max`.
    pub const fn range(mut self, min: i64, max: i64) -> Self {
        self.accepts = Accepts::Range(min, max);
        self
    }

    /// Accepting only integers from `min` on.
    pub const fn at_least(self, min: i64) -> Self {
        self.range(min, i64::MAX)
    }

    /// Accepting only these words.
    pub const fn words(mut self, words: &'static [&'static str]) -> Self {
        self.accepts = Accepts::Words(words);
        self
    }

    /// Accepting only these words, in any case.
    pub const fn words_any_case(mut self, words: &'static [&'static str]) -> Self {
        self.accepts = Accepts::WordsAnyCase(words);
        self
    }

    /// With a fixed beginning of the message about values that are not accepted.
    pub const fn complaint(mut self, text: &'static str) -> Self {
        self.complaint = Some(text);
        self
    }

    /// Whether `--help` and the manual page mention it.
    pub fn is_listed(&self) -> bool {
        matches!(self.status, Status::Active | Status::Without(_))
    }
}

impl Accepts {
    /// In words, for messages and the manual page; `None` when everything is accepted.
    pub fn describe(&self) -> Option<String> {
        match self {
            Accepts::Any => None,
            Accepts::Range(min, i64::MAX) => Some(format!("an integer of at least {min}")),
            Accepts::Range(min, max) => Some(format!("an integer from {min} to {max}")),
            Accepts::Words(words) | Accepts::WordsAnyCase(words) => {
                Some(format!("one of {}", words.join(", ")))
            }
        }
    }

    pub(super) fn has_int(&self, value: i64) -> bool {
        !matches!(self, Accepts::Range(min, max) if value < *min || value > *max)
    }

    pub(super) fn has_text(&self, value: &str) -> bool {
        match self {
            Accepts::Any => true,
            Accepts::Range(..) => super::number::parse_int(value).is_ok_and(|number| self.has_int(number)),
            Accepts::Words(words) => words.contains(&value),
            Accepts::WordsAnyCase(words) => words.iter().any(|word| word.eq_ignore_ascii_case(value)),
        }
    }
}

impl Program {
    /// All options in order.
    pub fn options(&self) -> impl Iterator<Item = &'static OptionSpec> + use<> {
        self.groups.iter().flat_map(|group| group.options)
    }

    /// The option called `--long`.
    pub fn find(&self, long: &str) -> Option<&'static OptionSpec> {
        self.options().find(|option| option.long == long)
    }

    /// The option called `-letter`.
    pub fn find_short(&self, letter: char) -> Option<&'static OptionSpec> {
        self.options().find(|option| option.short == Some(letter))
    }
}
