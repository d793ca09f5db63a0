//! Keys, flags and values → [`Signal`]. One file for each group of keys; each has tables of spellings.

mod codecs;
mod dtmf;
mod flag_string;
mod flags;
mod identity;
mod media_entry;
mod network;
mod playback;
mod read;
mod recording;
mod sdp_attr;
mod sdp_output;
mod security;
mod spellings;
mod t38;
#[cfg(test)]
mod tests;

use std::sync::LazyLock;

pub(super) use read::text;

use spellings::Spellings;

use super::request::{RequestError, Templates};
use crate::negotiate::signal::Signal;
use crate::proto::value::{Dict, Value};

/// Takes the value of a key into the signal.
type KeySetter = fn(&mut Decoder<'_>, &Value);

/// Applies a flag.
type FlagSetter = fn(&mut Decoder<'_>);

/// All spellings of one key with its setter.
type Key = (&'static [&'static str], KeySetter);

/// All spellings of one flag with its setter.
type Flag = (&'static [&'static str], FlagSetter);

/// All spellings of a word of a list, with what it changes.
type Apply<T> = (&'static [&'static str], fn(&mut T));

/// A signal being filled.
pub(super) struct Decoder<'a> {
    pub(super) signal: Box<Signal>,
    command: CommandKind,
    templates: &'a Templates,
    /// Flag strings inside flag strings, templates inside templates.
    nesting: usize,
    failure: Option<RequestError>,
}

/// What decides which codec keys are honoured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CommandKind {
    /// `offer`, `subscribe request`, `publish`.
    Offering,
    /// `play media`.
    PlayMedia,
    Other,
}

const MAX_NESTING: usize = 4;

static KEYS: LazyLock<Spellings<KeySetter>> = LazyLock::new(|| {
    [
        identity::KEYS,
        network::KEYS,
        security::KEYS,
        codecs::KEYS,
        sdp_output::KEYS,
        recording::KEYS,
        playback::KEYS,
        dtmf::KEYS,
        t38::KEYS,
        media_entry::KEYS,
        flags::KEYS,
        flags::OWN_KEYS,
        flag_string::KEYS,
    ]
    .into_iter()
    .flatten()
    .flat_map(|&(spellings, setter)| spellings.iter().map(move |&spelling| (spelling, setter)))
    .collect()
});

impl<'a> Decoder<'a> {
    /// A signal with defaults and the templates that the command gets without asking.
    pub(super) fn new(command: &str, templates: &'a Templates) -> Self {
        let kind = match command {
            "offer" | "subscribe request" | "publish" => CommandKind::Offering,
            "play media" => CommandKind::PlayMedia,
            _ => CommandKind::Other,
        };
        let mut decoder =
            Decoder { signal: Box::default(), command: kind, templates, nesting: 0, failure: None };
        for name in ["default", command] {
            if let Some(template) = templates.get(name) {
                decoder.flag_string(template);
            }
        }
        decoder
    }

    /// Takes all keys of a message. The SDP body is moved out of it.
    pub(super) fn dictionary(&mut self, dict: &mut Dict) -> Result<(), RequestError> {
        for (key, value) in &mut dict.0 {
            match (key.as_slice(), value) {
                (b"sdp" | b"SDP", Value::Bytes(body)) => {
                    self.signal.sdp = Some(std::mem::take(body).into_vec())
                }
                (key, value) => self.key(key, value),
            }
            if let Some(failure) = self.failure {
                return Err(failure);
            }
        }
        // A template may have failed before the first key.
        self.failure.map_or(Ok(()), Err)
    }

    fn key(&mut self, key: &[u8], value: &Value) {
        match std::str::from_utf8(key).ok().and_then(|key| KEYS.get(key)) {
            Some(setter) => setter(self, value),
            None => tracing::debug!(key = %key.escape_ascii(), "unknown key ignored"),
        }
    }

    fn fail(&mut self, error: RequestError) {
        self.failure.get_or_insert(error);
    }

    fn is_offering(&self) -> bool {
        self.command == CommandKind::Offering
    }
}

/// Notes a value that means nothing under its key.
fn ignored(key: &str, value: &str) {
    tracing::debug!(key, value, "unknown value ignored");
}
