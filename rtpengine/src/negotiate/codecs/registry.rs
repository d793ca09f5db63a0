//! What the codec library of this build can do, as a value, so that negotiation does not depend on the machine in tests.

use codec::PayloadFormat;
use codec::def::{CodecDef, Kind};

/// What codecs can be used for.
#[derive(Clone, Copy, Debug)]
pub struct Registry {
    /// An encoder exists.
    pub can_encode: fn(&CodecDef) -> bool,
    /// A decoder exists.
    pub can_decode: fn(&CodecDef) -> bool,
}

impl Registry {
    /// This build on this machine.
    pub const BUILD: Registry =
        Registry { can_encode: CodecDef::can_encode, can_decode: CodecDef::can_decode };

    /// Ordinary audio that can be encoded.
    pub fn encodes(&self, format: &PayloadFormat) -> bool {
        format.def().is_some_and(|def| def.kind == Kind::Audio && (self.can_encode)(def))
    }

    /// Ordinary audio that can be decoded.
    pub fn decodes(&self, format: &PayloadFormat) -> bool {
        format.def().is_some_and(|def| def.kind == Kind::Audio && (self.can_decode)(def))
    }
}
