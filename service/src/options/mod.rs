//! Options: one constant table per program drives everything that is known about its options.
//!
//! From a [`Program`] follow the command line grammar, the keys of the config file, value checks, `--help`, the manual
//! page and the notices about options without effect. [`load()`] merges default, config file and command line (in rising
//! precedence) into [`Settings`]; turning those into a typed configuration is the program's own business.
//!
//! The command line is parsed by [`command_line`], not by clap: existing start scripts rely on a grammar and on texts
//! that clap does not offer. Integers may be octal or hexadecimal, any word may be the value of the option before it
//! (`--table -1`, `--redis --foo`), positional words are ignored, the last repetition wins, a list on the command line
//! replaces that of the file, the error texts and the layout of `--help` are fixed, paths keep their bytes. With clap
//! each of these would be an override beside the table, so the table itself drives 150 lines of parser. For the same
//! reason the file is read by [`ini`]: rust-ini joins a line without `=` to the next one, keeps a byte-order mark as part
//! of the first line and has no notion of `;` lists with escapes, all of which are defined here.

pub mod command_line;
pub mod common;
pub mod completion;
mod error;
mod help;
pub mod ini;
pub mod load;
pub mod man;
pub mod number;
mod settings;
mod spec;

pub use error::OptionError;
pub use load::{Loaded, load};
pub use settings::{Settings, Value};
pub use spec::{Accepts, Kind, OptionGroup, OptionSpec, Program, Status};
