//! The merged values of all options.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::ini::{IniFile, IniGroup};
use super::number::{parse_float, parse_int, parse_int32};
use super::{Kind, OptionError, OptionSpec, Program, Status};

/// One value, of the type that the table names.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// [`Kind::Flag`]
    Flag(bool),
    /// [`Kind::Int`]
    Int(i32),
    /// [`Kind::Int64`]
    Int64(i64),
    /// [`Kind::Float`]
    Float(f64),
    /// [`Kind::Text`]
    Text(String),
    /// [`Kind::File`]
    File(PathBuf),
    /// [`Kind::List`]
    List(Vec<String>),
}

/// What the user set, and the config file's other groups.
///
/// The getters take names out of the program's table. They panic on a name or type that is not in it, or where a
/// default is asked for that the table does not have: mistakes of the program, whatever the user writes.
#[derive(Clone, Debug)]
pub struct Settings {
    program: &'static Program,
    values: BTreeMap<&'static str, Value>,
    file: Option<IniFile>,
    section: String,
}

impl Settings {
    pub(super) fn new(program: &'static Program, file: Option<IniFile>, section: String) -> Self {
        Settings { program, values: BTreeMap::new(), file, section }
    }

    /// Stores a value; an alias is stored under its real name, the elements of lists are collected.
    pub(super) fn set(&mut self, spec: &'static OptionSpec, value: Value) {
        let name = match spec.status {
            Status::Alias(target) => target,
            _ => spec.long,
        };
        match (self.values.get_mut(name), value) {
            (Some(Value::List(list)), Value::List(more)) => list.extend(more),
            (_, value) => {
                self.values.insert(name, value);
            }
        }
    }

    /// Takes over everything that `other` has, replacing what is there.
    pub(super) fn replace_with(&mut self, other: Settings) {
        self.values.extend(other.values);
    }

    /// Checks every value against what the table accepts.
    pub(super) fn check(&self) -> Result<(), OptionError> {
        for (name, value) in &self.values {
            let Some(spec) = self.program.find(name) else { continue };
            let refused = match value {
                Value::Int(number) if !spec.accepts.has_int(i64::from(*number)) => Some(number.to_string()),
                Value::Int64(number) if !spec.accepts.has_int(*number) => Some(number.to_string()),
                Value::Text(text) if !spec.accepts.has_text(text) => Some(text.clone()),
                Value::List(list) => list.iter().find(|text| !spec.accepts.has_text(text)).cloned(),
                _ => None,
            };
            if let Some(value) = refused {
                return Err(OptionError::NotAccepted {
                    complaint: spec.complaint.unwrap_or("Invalid value"),
                    option: spec.long,
                    value,
                    accepted: spec.accepts.describe().unwrap_or_default(),
                });
            }
        }
        Ok(())
    }

    /// One line per option that was set without having an effect, to be logged once at start.
    pub fn notices(&self) -> Vec<String> {
        let set = self.values.iter().filter(|(_, value)| **value != Value::Flag(false));
        set.filter_map(|(name, _)| match self.program.find(name)?.status {
            Status::Without(reason) => Some(format!("option {name}: not supported, no effect: {reason}")),
            Status::Unsupported => Some(format!("option {name}: not supported, no effect")),
            Status::Withdrawn => Some(format!("option {name}: no longer exists, no effect")),
            Status::Active | Status::Alias(_) => None,
        })
        .collect()
    }

    /// The program whose options these are.
    pub fn program(&self) -> &'static Program {
        self.program
    }

    /// Whether the program has this option at all.
    pub fn knows(&self, name: &str) -> bool {
        self.program.find(name).is_some()
    }

    /// Whether the user set it (a flag: switched it on).
    pub fn is_set(&self, name: &str) -> bool {
        self.values.get(name).is_some_and(|value| *value != Value::Flag(false))
    }

    /// Name of the group that main options are read from.
    pub fn section(&self) -> &str {
        &self.section
    }

    /// A group of the config file.
    pub fn group(&self, name: &str) -> Option<&IniGroup> {
        self.file.as_ref()?.group(name)
    }

    /// The groups `prefix-REST` of the config file, in file order.
    pub fn groups_with_prefix<'a>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a IniGroup)> {
        self.file.iter().flat_map(move |file| file.groups_with_prefix(prefix))
    }

    /// A flag; off when not given.
    pub fn flag(&self, name: &str) -> bool {
        match self.lookup(name, Kind::Flag) {
            Some(Value::Flag(on)) => on,
            _ => false,
        }
    }

    /// An integer, or its default.
    pub fn int(&self, name: &str) -> i32 {
        self.int_if_set(name).unwrap_or_else(|| panic!("option {name} has no default"))
    }

    /// An integer; its default also when it is 0 or negative.
    pub fn positive_int(&self, name: &str) -> u32 {
        let value = u32::try_from(self.int(name)).ok().filter(|value| *value > 0);
        value.or_else(|| self.default_int(name)).unwrap_or_else(|| panic!("option {name} has no default"))
    }

    /// An integer, its default, or `None`.
    pub fn int_if_set(&self, name: &str) -> Option<i32> {
        match self.lookup(name, Kind::Int) {
            Some(Value::Int(value)) => Some(value),
            _ => None,
        }
    }

    /// A long integer, its default, or `None`.
    pub fn int64(&self, name: &str) -> Option<i64> {
        match self.lookup(name, Kind::Int64) {
            Some(Value::Int64(value)) => Some(value),
            _ => None,
        }
    }

    /// A decimal number, its default, or `None`.
    pub fn float(&self, name: &str) -> Option<f64> {
        match self.lookup(name, Kind::Float) {
            Some(Value::Float(value)) => Some(value),
            _ => None,
        }
    }

    /// Any option as text: as set, else its default; lists are separated by commas. `None` when there is neither, or no such option.
    pub fn shown(&self, name: &str) -> Option<String> {
        let spec = self.program.find(name)?;
        let value = self
            .values
            .get(name)
            .cloned()
            .or_else(|| spec.default.and_then(|text| parse_default(spec.kind, text)))?;
        Some(match value {
            Value::Flag(on) => u8::from(on).to_string(),
            Value::Int(number) => number.to_string(),
            Value::Int64(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            Value::Text(text) => text,
            Value::File(path) => path.display().to_string(),
            Value::List(list) => list.join(","),
        })
    }

    /// A text, its default, or `None`.
    pub fn text(&self, name: &str) -> Option<String> {
        match self.lookup(name, Kind::Text) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// A path, its default, or `None`.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        match self.lookup(name, Kind::File) {
            Some(Value::File(path)) => Some(path),
            _ => None,
        }
    }

    /// A list, its default, or nothing.
    pub fn list(&self, name: &str) -> Vec<String> {
        match self.lookup(name, Kind::List) {
            Some(Value::List(list)) => list,
            _ => Vec::new(),
        }
    }

    fn lookup(&self, name: &str, kind: Kind) -> Option<Value> {
        let spec = self.program.find(name).unwrap_or_else(|| panic!("no option {name} in the table"));
        assert_eq!(spec.kind, kind, "option {name} has another type");
        self.values.get(name).cloned().or_else(|| spec.default.and_then(|text| parse_default(kind, text)))
    }

    fn default_int(&self, name: &str) -> Option<u32> {
        parse_int32(self.program.find(name)?.default?).ok().and_then(|value| u32::try_from(value).ok())
    }
}

/// A value as text of the table; lists are separated by commas there.
fn parse_default(kind: Kind, text: &str) -> Option<Value> {
    Some(match kind {
        Kind::Flag => Value::Flag(text == "true"),
        Kind::Int => Value::Int(parse_int32(text).ok()?),
        Kind::Int64 => Value::Int64(parse_int(text).ok()?),
        Kind::Float => Value::Float(parse_float(text).ok()?),
        Kind::Text => Value::Text(text.to_owned()),
        Kind::File => Value::File(Path::new(text).to_owned()),
        Kind::List => Value::List(text.split(',').map(str::to_owned).collect()),
    })
}
