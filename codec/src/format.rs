//! A negotiated payload type.

use std::fmt;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::def::{self, CodecDef, Kind};

/// An encoding name as somebody spelled it, and the codec that it stands for, which is looked for once.
#[derive(Clone, Default)]
pub struct EncodingName {
    text: SmolStr,
    def: Option<&'static CodecDef>,
}

impl EncodingName {
    /// The name as it was spelled.
    pub fn text(&self) -> &SmolStr {
        &self.text
    }

    /// The codec of that name, if there is one here.
    pub fn def(&self) -> Option<&'static CodecDef> {
        self.def
    }

    /// The same name, in any case.
    pub fn names_same(&self, other: &EncodingName) -> bool {
        match (self.def, other.def) {
            (Some(own), Some(other)) => std::ptr::eq(own, other),
            (None, None) => self.text.eq_ignore_ascii_case(&other.text),
            _ => false,
        }
    }
}

impl<T: Into<SmolStr>> From<T> for EncodingName {
    fn from(text: T) -> Self {
        let text = text.into();
        let def = def::by_name(&text);
        Self { text, def }
    }
}

impl std::ops::Deref for EncodingName {
    type Target = SmolStr;

    fn deref(&self) -> &SmolStr {
        &self.text
    }
}

/// As spelled: names that differ in case differ.
impl PartialEq for EncodingName {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for EncodingName {}

impl PartialEq<str> for EncodingName {
    fn eq(&self, other: &str) -> bool {
        self.text == other
    }
}

impl PartialEq<&str> for EncodingName {
    fn eq(&self, other: &&str) -> bool {
        self.text == *other
    }
}

impl std::hash::Hash for EncodingName {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl fmt::Display for EncodingName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for EncodingName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl Serialize for EncodingName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.text.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for EncodingName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        SmolStr::deserialize(deserializer).map(Self::from)
    }
}

/// One entry of an `m=` line with its `rtpmap` and `fmtp` (RFC 8866 §6.6, §6.15).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PayloadFormat {
    /// RTP payload type, 0–127.
    pub payload_type: u8,
    /// Encoding name as spelled by whoever wrote the SDP.
    pub name: EncodingName,
    /// RTP clock rate in Hz.
    pub clock_rate: u32,
    /// Channels; 1 when the SDP gave none.
    pub channels: u8,
    /// Format parameters, verbatim; empty when there are none.
    pub fmtp: SmolStr,
}

impl PayloadFormat {
    /// A format without parameters.
    pub fn new(payload_type: u8, name: impl Into<EncodingName>, clock_rate: u32, channels: u8) -> Self {
        Self { payload_type, name: name.into(), clock_rate, channels, fmtp: SmolStr::default() }
    }

    /// The format that a static payload type stands for when the SDP gives no `rtpmap`.
    pub fn from_static(payload_type: u8) -> Option<Self> {
        let (name, clock_rate, channels) = def::static_payload_type(payload_type)?;
        Some(Self::new(payload_type, name, clock_rate, channels))
    }

    /// The same with format parameters.
    pub fn with_fmtp(mut self, fmtp: impl Into<SmolStr>) -> Self {
        self.fmtp = fmtp.into();
        self
    }

    /// The codec definition, if the encoding name is known.
    pub fn def(&self) -> Option<&'static CodecDef> {
        self.name.def()
    }

    /// What it carries; unknown names count as audio.
    pub fn kind(&self) -> Kind {
        self.def().map_or(Kind::Audio, |d| d.kind)
    }

    /// telephone-event, CN and red.
    pub fn is_supplemental(&self) -> bool {
        self.kind().is_supplemental()
    }

    /// Same name (any case), clock rate and channels.
    pub fn same_codec(&self, other: &PayloadFormat) -> bool {
        self.clock_rate == other.clock_rate
            && self.channels == other.channels
            && self.name.names_same(&other.name)
    }
}

/// The text of an `rtpmap`: `opus/48000/2`, channels only when there are several.
impl fmt::Display for PayloadFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.name, self.clock_rate)?;
        if self.channels > 1 { write!(f, "/{}", self.channels) } else { Ok(()) }
    }
}
