//! Tables from spellings to setters.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// What each spelling stands for. The spellings are ours and looked up many times for each request, so that a hash need not stand against
/// chosen keys, but be fast.
pub(super) type Spellings<T> = HashMap<&'static str, T, BuildHasherDefault<Fnv>>;

/// FNV-1a with 64 bits (RFC 9923).
#[derive(Debug)]
pub(super) struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn write(&mut self, octets: &[u8]) {
        for octet in octets {
            self.0 = (self.0 ^ u64::from(*octet)).wrapping_mul(0x100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        for (text, expected) in
            [("", 0xcbf2_9ce4_8422_2325), ("a", 0xaf63_dc4c_8601_ec8c), ("foobar", 0x8594_4171_f739_67e8)]
        {
            let mut hasher = Fnv::default();
            hasher.write(text.as_bytes());
            assert_eq!(hasher.finish(), expected, "{text}");
        }
    }
}
