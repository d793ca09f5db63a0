//! What a client wants changed in the finished attributes.

use std::collections::HashMap;

use smol_str::SmolStr;

/// Changes for the attributes of one section kind. Keys are compared without case.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SectionEdits {
    /// Lower-case text → what to do with the line; `None` drops it.
    changes: HashMap<SmolStr, Option<SmolStr>>,
    additions: Vec<SmolStr>,
}

impl SectionEdits {
    /// Drops matching lines.
    pub fn remove(&mut self, text: &str) {
        self.changes.insert(without_prefix(text).to_ascii_lowercase().into(), None);
    }

    /// Replaces matching lines; a removal of the same text wins, else the first replacement.
    pub fn substitute(&mut self, from: &str, to: &str) {
        let key = without_prefix(from).to_ascii_lowercase();
        self.changes.entry(key.into()).or_insert_with(|| Some(without_prefix(to).into()));
    }

    /// Prints a line at the end of the section; a leading `a=` is not doubled.
    pub fn add(&mut self, text: &str) {
        self.additions.push(without_prefix(text).into());
    }

    pub(super) fn additions(&self) -> &[SmolStr] {
        &self.additions
    }

    /// Nothing is removed or replaced.
    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// What becomes of a generated line: it is compared at every stage of its making, that is its name, then up to each blank, then whole.
    pub(super) fn generated<'l>(&'l self, line: &'l str) -> Option<&'l str> {
        if self.changes.is_empty() {
            return Some(line);
        }
        let name = line.split_once(':').map_or(line, |(name, _)| name);
        let blanks = line.match_indices(' ').map(|(at, _)| &line[..at]);
        let stages = std::iter::once(name).chain(blanks).chain(std::iter::once(line));
        self.apply(line, stages)
    }

    /// What becomes of a passed-on line: only its bare name and its whole text are compared.
    pub(super) fn passed_on<'l>(&'l self, line: &'l str) -> Option<&'l str> {
        if self.changes.is_empty() {
            return Some(line);
        }
        let name = line.split_once(':').map_or(line, |(name, _)| name);
        self.apply(line, [name, line].into_iter())
    }

    fn apply<'l>(&'l self, line: &'l str, mut stages: impl Iterator<Item = &'l str>) -> Option<&'l str> {
        let change = stages.find_map(|stage| self.changes.get(stage.to_ascii_lowercase().as_str()));
        change.map_or(Some(line), |replacement| replacement.as_deref())
    }
}

fn without_prefix(text: &str) -> &str {
    text.strip_prefix("a=").unwrap_or(text)
}

/// All changes of a description.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AttributeEdits {
    session: SectionEdits,
    media: HashMap<SmolStr, SectionEdits>,
    none: SectionEdits,
}

impl AttributeEdits {
    /// Changes of session attributes.
    pub fn session_mut(&mut self) -> &mut SectionEdits {
        &mut self.session
    }

    /// Changes of the sections of a media type.
    pub fn media_mut(&mut self, media_type: &str) -> &mut SectionEdits {
        self.media.entry(media_type.to_ascii_lowercase().into()).or_default()
    }

    pub(super) fn session(&self) -> &SectionEdits {
        &self.session
    }

    pub(super) fn media(&self, media_type: &str) -> &SectionEdits {
        if self.media.is_empty() {
            return &self.none;
        }
        self.media.get(media_type.to_ascii_lowercase().as_str()).unwrap_or(&self.none)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_lines_match_at_every_stage_and_passed_on_ones_at_two() {
        let mut edits = SectionEdits::default();
        edits.remove("rtpmap:8");
        edits.remove("foo:bar");
        edits.remove("SendRecv");
        edits.substitute("ptime:20", "ptime:40");
        edits.substitute("X", "a=y:1");
        for (line, expected) in [
            ("rtpmap:8 PCMA/8000", None),
            ("rtpmap:80 x/1", Some("rtpmap:80 x/1")),
            ("sendrecv", None),
            ("ptime:20", Some("ptime:40")),
        ] {
            assert_eq!(edits.generated(line), expected, "{line}");
        }
        for (line, expected) in
            [("foo:bar baz", Some("foo:bar baz")), ("foo:bar", None), ("x:anything", Some("y:1"))]
        {
            assert_eq!(edits.passed_on(line), expected, "{line}");
        }
    }
}
