//! What was printed to a party: the `o=` and `s=` values that later messages keep or count up.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::negotiate::signal::Replace;
use crate::proto::sdp::model::Origin;

/// Memory of the SDP that went to one party.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OutputMemory {
    last: Option<Printed>,
    /// First non-empty session name.
    session_name: Option<SmolStr>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Printed {
    /// As printed first; only the version changes.
    first: Origin,
    version: SmolStr,
    /// The whole text with `version` in it.
    text: u64,
}

impl OutputMemory {
    /// The origin for the next SDP to this party, before the version has been decided: it carries the version
    /// with which the text has to be rendered for [`OutputMemory::settle`].
    pub fn origin(&self, source: &Origin, advertised: Option<(&str, SmolStr)>, replace: &Replace) -> Origin {
        let mut origin = source.clone();
        if (replace.origin || replace.origin_full)
            && let Some((family, address)) = advertised
        {
            origin.family = family.into();
            origin.address = address;
        }
        if let Some(last) = &self.last {
            if replace.username || replace.origin_full {
                origin.username.clone_from(&last.first.username);
            }
            if replace.origin_full {
                origin.session_id.clone_from(&last.first.session_id);
                origin.family.clone_from(&last.first.family);
                origin.address.clone_from(&last.first.address);
            }
            if replace.force_increment_sdp_version {
                origin.version = increment(&last.version);
            } else if replace.sdp_version || replace.origin_full {
                origin.version.clone_from(&last.version);
            }
        }
        origin
    }

    /// `o=` as it was printed last.
    pub fn last_origin(&self) -> Option<Origin> {
        let last = self.last.as_ref()?;
        Some(Origin { version: last.version.clone(), ..last.first.clone() })
    }

    /// The session name for the next SDP to this party.
    pub fn session_name<'a>(&'a self, source: &'a str, replace: &Replace) -> &'a str {
        match &self.session_name {
            Some(first) if replace.session_name => first,
            _ => source,
        }
    }

    /// Compares the rendered text with the last one; `Some(version)` when it has to be rendered again with a
    /// higher version, because something else than the version differs.
    pub fn newer_version(&self, origin: &Origin, text: &str, replace: &Replace) -> Option<SmolStr> {
        if !(replace.sdp_version || replace.origin_full) || replace.force_increment_sdp_version {
            return None;
        }
        let last = self.last.as_ref()?;
        (last.text != hash(text)).then(|| increment(&origin.version))
    }

    /// Remembers what was sent.
    pub fn settle(&mut self, origin: &Origin, session_name: &str, text: &str) {
        let first = self.last.take().map_or_else(|| origin.clone(), |last| last.first);
        self.last = Some(Printed { first, version: origin.version.clone(), text: hash(text) });
        if self.session_name.is_none() && !session_name.is_empty() {
            self.session_name = Some(session_name.into());
        }
    }
}

/// The decimal number plus one, whatever its length. Not a number: 1.
fn increment(version: &str) -> SmolStr {
    if version.is_empty() || !version.bytes().all(|b| b.is_ascii_digit()) {
        return "1".into();
    }
    let mut digits = version.as_bytes().to_vec();
    for digit in digits.iter_mut().rev() {
        if *digit == b'9' {
            *digit = b'0';
        } else {
            *digit += 1;
            return digits.into_iter().map(char::from).collect();
        }
    }
    std::iter::once('1').chain(digits.into_iter().map(char::from)).collect()
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::increment;

    #[test]
    fn versions_of_any_length_count_up() {
        for (version, next) in [
            ("1", "2"),
            ("9", "10"),
            ("99999999999999999999999", "100000000000000000000000"),
            ("", "1"),
            ("x", "1"),
        ] {
            assert_eq!(increment(version), next, "{version}");
        }
    }
}
