//! From a dictionary to a typed request.

use std::collections::HashMap;
use std::net::SocketAddr;

use smol_str::SmolStr;
use thiserror::Error;

use super::command;
use super::decode::Decoder;
use crate::negotiate::signal::Signal;
use crate::proto::value::{Dict, Value};

/// A request whose keys have been understood.
#[derive(Clone, Debug, PartialEq)]
pub struct NgRequest {
    /// One of [`command::COMMANDS`], or `CLI`.
    pub command: SmolStr,
    /// The keys and flags. Left at defaults for commands that read `body` themselves (`ping`, `list`,
    /// `statistics`, `cli`); `query` fills call-id and tags only.
    pub signal: Box<Signal>,
    /// The dictionary as received; the SDP body has moved into `signal`.
    pub body: Dict,
    /// Who asked.
    pub peer: SocketAddr,
}

/// Why a request cannot be executed. `Display` is the reason sent to clients.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestError {
    /// No command, or not a string.
    #[error("Dictionary contains no key \"command\"")]
    NoCommand,
    /// Not one of ours.
    #[error("Unrecognized command")]
    UnknownCommand,
    /// `sdp-attr` is not a dictionary, or `sdp-media-remove` not a list.
    #[error("wrong type used")]
    WrongType,
    /// A section of `sdp-attr` is not a dictionary.
    #[error("wrong content given")]
    WrongContent,
    /// A section that is no registered media type.
    #[error("unsupported sdp section")]
    UnsupportedSection,
    /// A command of `sdp-attr`.
    #[error("unknown manipulation command")]
    UnknownManipulation,
    /// An entry of `tags` without `from`.
    #[error("Empty/missing from-tag")]
    MissingFromTag,
}

/// What the configuration says about reading requests: signalling templates (flag strings by name), and the meaning of flag strings.
#[derive(Clone, Debug, Default)]
pub struct Templates {
    texts: HashMap<String, String>,
    /// Bare transport words in flag strings mean nothing.
    pub ignore_transport_words: bool,
}

impl Templates {
    /// Templates by name; names are compared without case.
    pub fn new(templates: impl IntoIterator<Item = (String, String)>) -> Self {
        Templates {
            texts: templates.into_iter().map(|(name, text)| (name.to_lowercase(), text)).collect(),
            ignore_transport_words: false,
        }
    }

    /// The flag string under a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        if self.texts.is_empty() {
            return None;
        }
        self.texts.get(&name.to_lowercase()).map(String::as_str)
    }
}

/// Understands a dictionary: templates first, then its keys in their order.
///
/// # Errors
/// The first key that is an error when malformed; unknown keys, flags and values are only logged.
pub fn decode(mut dict: Dict, peer: SocketAddr, templates: &Templates) -> Result<NgRequest, RequestError> {
    let Some(Value::Bytes(name)) = dict.get("command") else { return Err(RequestError::NoCommand) };
    if command::find(name).is_none() {
        return Err(RequestError::UnknownCommand);
    }
    let command = SmolStr::from(String::from_utf8_lossy(name));
    let signal = match command.as_str() {
        "ping" | "list" | "statistics" | "cli" | "CLI" => Box::default(),
        "query" => query_keys(&dict),
        _ => {
            let mut decoder = Decoder::new(&command, templates);
            decoder.dictionary(&mut dict)?;
            decoder.signal.identity.client = Some(peer);
            decoder.signal
        }
    };
    Ok(NgRequest { command, signal, body: dict, peer })
}

/// `query` knows one spelling of each of its keys, and no templates.
fn query_keys(dict: &Dict) -> Box<Signal> {
    let text = |key| dict.get(key).and_then(super::decode::text);
    let mut signal = Box::<Signal>::default();
    signal.identity.call_id = text("call-id");
    signal.identity.from_tag = text("from-tag");
    signal.identity.to_tag = text("to-tag");
    signal
}
