//! `rtpmap`, `fmtp` and `rtcp-fb` lines, merged with the payload types of the `m=` line.

use codec::{EncodingName, PayloadFormat, def};
use smol_str::SmolStr;

use crate::proto::sdp::model::MediaFormat;
use crate::proto::sdp::text::split_at_first;

/// What the attribute lines say about one payload type.
#[derive(Clone, Debug, Default)]
struct Lines {
    map: Option<(EncodingName, u32, u8)>,
    fmtp: Option<SmolStr>,
    feedback: Vec<SmolStr>,
}

/// The lines of one media section, by payload type: 0–127, hence at most 128 entries.
#[derive(Debug, Default)]
pub(crate) struct FormatLines {
    by_type: Vec<(u8, Lines)>,
}

impl FormatLines {
    /// `<pt> <name>/<clock>[/<channels>]`; without a clock rate it is dropped.
    pub fn rtpmap(&mut self, text: &str) {
        let Some((lines, map)) = self.entry(text) else { return };
        let Some((name, rest)) = split_at_first(map.trim(), b'/') else { return };
        let mut parts = rest.split('/');
        let Some(clock) = parts.next() else { return };
        let (name, Ok(clock_rate)) = (name.trim(), clock.trim().parse()) else { return };
        if name.is_empty() || clock_rate == 0 || lines.map.is_some() {
            return;
        }
        let channels = parts.next().and_then(|n| n.trim().parse().ok()).filter(|n| *n != 0).unwrap_or(1);
        lines.map = Some((name.into(), clock_rate, channels));
    }

    /// `<pt> <parameters>`.
    pub fn fmtp(&mut self, text: &str) {
        let Some((lines, parameters)) = self.entry(text) else { return };
        lines.fmtp.get_or_insert_with(|| parameters.into());
    }

    /// `<pt> <feedback>`.
    pub fn feedback(&mut self, text: &str) {
        let Some((lines, feedback)) = self.entry(text) else { return };
        lines.feedback.push(feedback.into());
    }

    /// The formats of the `m=` line in its order; a number that stands there twice counts once.
    pub fn into_formats(mut self, payload_types: impl Iterator<Item = u8>) -> Vec<MediaFormat> {
        let mut seen = 0_u128;
        let mut formats = Vec::with_capacity(self.by_type.len());
        for payload_type in payload_types.filter(|number| *number <= 127) {
            let bit = 1 << payload_type;
            if seen & bit != 0 {
                continue;
            }
            seen |= bit;
            let lines = self.by_type.iter_mut().find(|(number, _)| *number == payload_type);
            let Lines { map, fmtp, feedback } =
                lines.map(|(_, lines)| std::mem::take(lines)).unwrap_or_default();
            let (name, clock_rate, channels) = map.unwrap_or_else(|| {
                let known = def::static_payload_type(payload_type);
                known.map_or((EncodingName::default(), 0, 1), |(name, clock, channels)| {
                    (name.into(), clock, channels)
                })
            });
            let format =
                PayloadFormat { payload_type, name, clock_rate, channels, fmtp: fmtp.unwrap_or_default() };
            formats.push(MediaFormat { format, feedback });
        }
        formats
    }

    /// Splits off the payload type.
    fn entry<'t>(&mut self, text: &'t str) -> Option<(&mut Lines, &'t str)> {
        let (number, rest) = split_at_first(text.trim_start(), b' ')?;
        let number = number.parse::<u8>().ok().filter(|number| *number <= 127)?;
        let known = self.by_type.iter().position(|(known, _)| *known == number);
        let at = known.unwrap_or(self.by_type.len());
        if known.is_none() {
            self.by_type.push((number, Lines::default()));
        }
        Some((&mut self.by_type.get_mut(at)?.1, rest.trim()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_merged_in_the_order_of_the_m_line() {
        let mut lines = FormatLines::default();
        lines.rtpmap("99 rtx/90000");
        lines.feedback("97 nack");
        lines.fmtp("97 profile-id=2");
        lines.feedback("97 nack pli");
        lines.rtpmap("97 L16/44100/2");
        lines.rtpmap("98 noclock");
        lines.rtpmap("200 X/1");
        lines.fmtp("x y");
        let formats = lines.into_formats([97, 98, 99, 97].into_iter());
        let maps: Vec<_> = formats
            .iter()
            .map(|f| (f.format.payload_type, f.format.name.as_str(), f.format.clock_rate, f.format.channels))
            .collect();
        assert_eq!(maps, [(97, "L16", 44_100, 2), (98, "", 0, 1), (99, "rtx", 90_000, 1)]);
        assert_eq!(formats[0].feedback, ["nack", "nack pli"]);
        assert_eq!(formats[0].format.fmtp, "profile-id=2");
    }
}
