//! What can be wrong with options.

use std::io;
use std::path::PathBuf;

use super::ini::IniError;

/// Why a program cannot start with what it was given. Texts are complete; programs print them after `Fatal error: `.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OptionError {
    /// The command line cannot be understood.
    #[error("Bad command line: {0}")]
    CommandLine(String),
    /// The config file was asked for and cannot be read, or exists and cannot be read.
    #[error("Failed to load config file {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The config file is not well-formed.
    #[error("Failed to load config file {}: {source}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and what.
        source: IniError,
    },
    /// A key of the config file has a value of the wrong type.
    #[error("Invalid value '{value}' for '{key}' in config file section [{section}]: {accepted} is expected")]
    FileValue {
        /// Group of the file.
        section: String,
        /// Key.
        key: String,
        /// Value as written.
        value: String,
        /// What would be right.
        accepted: String,
    },
    /// A value of the right type is not one of those accepted.
    #[error("{complaint}: '{value}' given for --{option}; {accepted} is accepted")]
    NotAccepted {
        /// Beginning of the message.
        complaint: &'static str,
        /// Option.
        option: &'static str,
        /// Value.
        value: String,
        /// What would be right.
        accepted: String,
    },
    /// Options that do not fit together, or a value that needs more than its type to judge.
    #[error("{0}")]
    Invalid(String),
}

impl OptionError {
    /// An [`OptionError::Invalid`].
    pub fn invalid(text: impl Into<String>) -> Self {
        OptionError::Invalid(text.into())
    }
}
