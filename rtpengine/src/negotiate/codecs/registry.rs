//! What the codec library of this build can do, as a value, so that negotiation does not depend on the machine in tests.

use codec::PayloadFormat;
use codec::def::{self, CodecDef, Kind};

/// Codec definitions and abilities.
#[derive(Clone, Copy, Debug)]
pub struct Registry {
    /// Definition by encoding name, any case.
    pub by_name: fn(&str) -> Option<&'static CodecDef>,
    /// An encoder exists.
    pub can_encode: fn(&CodecDef) -> bool,
    /// A decoder exists.
    pub can_decode: fn(&CodecDef) -> bool,
}

impl Registry {
    /// This build on this machine.
    pub const BUILD: Registry = Registry {
        by_name: def::by_name,
        can_encode: CodecDef::can_encode,
        can_decode: CodecDef::can_decode,
    };

    /// What a payload type carries; unknown names count as audio.
    pub fn kind(&self, format: &PayloadFormat) -> Kind {
        (self.by_name)(&format.name).map_or(Kind::Audio, |def| def.kind)
    }

    /// telephone-event, CN and red.
    pub fn is_supplemental(&self, format: &PayloadFormat) -> bool {
        self.kind(format).is_supplemental()
    }

    /// Ordinary audio that can be encoded.
    pub fn encodes(&self, format: &PayloadFormat) -> bool {
        (self.by_name)(&format.name).is_some_and(|def| def.kind == Kind::Audio && (self.can_encode)(def))
    }

    /// Ordinary audio that can be decoded.
    pub fn decodes(&self, format: &PayloadFormat) -> bool {
        (self.by_name)(&format.name).is_some_and(|def| def.kind == Kind::Audio && (self.can_decode)(def))
    }
}
