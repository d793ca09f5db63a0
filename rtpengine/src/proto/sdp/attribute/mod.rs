//! Attribute lines of one section, collected into [`Attributes`]. What is known but invalid is dropped.

pub(crate) mod candidate;
pub(crate) mod crypto;
pub(crate) mod fingerprint;
pub(crate) mod format;
pub(crate) mod simple;

use smol_str::SmolStr;

use super::model::{Attributes, Direction, Group};
use super::text::split_at_first;
use format::FormatLines;

/// Where a section is in the body; a few attributes exist at one level only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Session,
    Media,
}

/// Attributes of a section while it is being read.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    pub attributes: Attributes,
    pub groups: Vec<Group>,
    pub instance: Option<SmolStr>,
    pub formats: FormatLines,
}

impl Collector {
    /// Takes one `a=` line (without `a=`).
    pub fn add(&mut self, level: Level, line: &str) {
        let (name, value) = match split_at_first(line, b':') {
            Some((name, value)) => (name, Some(value)),
            None => (line, None),
        };
        let text = value.unwrap_or_default();
        let attributes = &mut self.attributes;
        match name {
            "sendrecv" | "sendonly" | "recvonly" | "inactive" => {
                attributes.unknown_with_direction.push(line.into());
                self.direction(name);
            }
            "mid" => set(&mut attributes.mid, simple::token(text)),
            "label" => set(&mut attributes.label, simple::token(text)),
            "bundle-only" => attributes.bundle_only = true,
            "rtcp" => set(&mut attributes.rtcp, simple::rtcp(text)),
            "rtcp-mux" => attributes.rtcp_mux = true,
            "crypto" => attributes.crypto.extend(crypto::parse(text)),
            "setup" => set(&mut attributes.setup, simple::setup(text)),
            "fingerprint" => set(&mut attributes.fingerprint, fingerprint::parse(text)),
            "tls-id" => set(&mut attributes.tls_id, simple::token(text)),
            "ptime" => set(&mut attributes.ptime_ms, simple::milliseconds(text)),
            "maxptime" => set(&mut attributes.maxptime_ms, simple::milliseconds(text)),
            "ice-ufrag" => set(&mut attributes.ice_ufrag, simple::token(text)),
            "ice-pwd" => set(&mut attributes.ice_pwd, simple::token(text)),
            "ice-options" => {
                attributes.ice_options.extend(text.split_ascii_whitespace().map(SmolStr::new));
            }
            "ice-lite" => attributes.ice_lite = true,
            "ice-mismatch" | "remote-candidates" => {}
            "end-of-candidates" => attributes.end_of_candidates = true,
            "candidate" => attributes.candidates.extend(candidate::parse(text)),
            "extmap" => attributes.extmap.extend(simple::extmap(text)),
            "extmap-allow-mixed" => attributes.extmap_allow_mixed = true,
            "group" => self.groups.extend(simple::group(text)),
            "rtpengine" => set(&mut self.instance, simple::token(text)),
            "rtpmap" => self.formats.rtpmap(text),
            "fmtp" => self.formats.fmtp(text),
            "rtcp-fb" if text.starts_with('*') => self.unknown(line),
            "rtcp-fb" => self.formats.feedback(text),
            _ if level == Level::Media && name.starts_with("T38") => attributes.t38.push(line.into()),
            _ => self.unknown(line),
        }
    }

    fn unknown(&mut self, line: &str) {
        self.attributes.unknown.push(line.into());
        self.attributes.unknown_with_direction.push(line.into());
    }

    /// recvonly wins over sendonly over inactive over sendrecv, whatever their order.
    fn direction(&mut self, name: &str) {
        let rank = |direction: Direction| match direction {
            Direction::RecvOnly => 3,
            Direction::SendOnly => 2,
            Direction::Inactive => 1,
            Direction::SendRecv => 0,
        };
        let Some(new) = Direction::from_name(name) else { return };
        let present = &mut self.attributes.direction;
        if present.is_none_or(|old| rank(new) > rank(old)) {
            *present = Some(new);
        }
    }
}

/// The first valid value counts.
fn set<T>(slot: &mut Option<T>, value: Option<T>) {
    if slot.is_none() {
        *slot = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collect(lines: &[&str]) -> Collector {
        let mut collector = Collector::default();
        for line in lines {
            collector.add(Level::Media, line);
        }
        collector
    }

    #[test]
    fn direction_precedence_does_not_depend_on_order() {
        for (lines, expected) in [
            (&["sendonly", "recvonly", "inactive"][..], Direction::RecvOnly),
            (&["inactive", "sendonly"][..], Direction::SendOnly),
            (&["sendrecv", "inactive"][..], Direction::Inactive),
        ] {
            assert_eq!(collect(lines).attributes.direction, Some(expected), "{lines:?}");
        }
    }

    #[test]
    fn unknown_attributes_keep_their_order_and_bad_ones_disappear() {
        let collector = collect(&[
            "X-one:1",
            "sendonly",
            "rtcp:notaport",
            "crypto:x y z",
            "extmap:15 urn:reserved",
            "fingerprint:md6 00:11",
            "candidate:bad",
            "",
            "rtcp-fb:* nack",
            "rtcp-fb:x nack",
        ]);
        assert_eq!(collector.attributes.unknown, ["X-one:1", "", "rtcp-fb:* nack"]);
        assert_eq!(
            collector.attributes.unknown_with_direction,
            ["X-one:1", "sendonly", "", "rtcp-fb:* nack"]
        );
    }
}
