//! The list towards the offerer.

use codec::PayloadFormat;
use codec::fmtp::OpusFmtp;

use super::compare::{any_matches, compatible};
use super::{CodecState, Registry};
use crate::config::TranscodePreference;
use crate::negotiate::signal::CodecOptions;
use crate::proto::sdp::model::MediaFormat;

/// Result of [`answer`].
#[derive(Clone, Debug, PartialEq)]
pub struct AnsweredCodecs {
    /// The list to print; the first is what the offerer should send.
    pub towards_offerer: Vec<MediaFormat>,
    /// Replaces the state; handlers of both directions derive from it. It can be answered again.
    pub state: CodecState,
}

/// What the offerer gets when the answerer sends a codec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TargetFormat {
    /// The same packets.
    Same,
    /// This one of the offerer's, by transcoding.
    Other(MediaFormat),
}

/// Makes the list for the offerer from the answer.
pub fn answer(
    state: &CodecState,
    received: &[MediaFormat],
    options: &CodecOptions,
    registry: &Registry,
) -> AnsweredCodecs {
    let mut state = state.clone();
    state.answerer = answerer_list(&state, received, options);
    state.force_transcoding |= options.force_transcoding;
    let mut ordinary: Vec<MediaFormat> = Vec::new();
    let mut transcoding = false;
    for sent in state.answerer.iter().filter(|f| !f.format.is_supplemental()) {
        let format = match state.target(&sent.format, registry) {
            TargetFormat::Same => sent.clone(),
            TargetFormat::Other(target) => {
                transcoding = true;
                made_by_us(&target, &sent.format)
            }
        };
        // The answerer's own words count more than ours for the same payload type.
        match ordinary.iter_mut().find(|f| f.format.payload_type == format.format.payload_type) {
            Some(present) if format == *sent => *present = format,
            Some(_) => {}
            None => ordinary.push(format),
        }
    }
    if options.single_codec {
        ordinary.truncate(1);
    }
    let companions = state.companions_for(&ordinary, transcoding);
    state.towards_offerer = ordinary.into_iter().chain(companions).collect();
    AnsweredCodecs { towards_offerer: state.towards_offerer.clone(), state }
}

/// What the answerer may send: what it was offered under that number, minus `strip`, plus `offer`.
fn answerer_list(state: &CodecState, received: &[MediaFormat], options: &CodecOptions) -> Vec<MediaFormat> {
    let was_offered = |answered: &&MediaFormat| {
        state.offered.iter().any(|offered| {
            let same_number = offered.format.payload_type == answered.format.payload_type;
            (same_number || options.allow_asymmetric_codecs) && compatible(&offered.format, &answered.format)
        })
    };
    let known: Vec<_> = received.iter().filter(was_offered).cloned().collect();
    let stays = |f: &MediaFormat| {
        let all = options.strip_all && !any_matches(&options.except, &f.format);
        !all && !any_matches(&options.strip, &f.format)
    };
    let mut list: Vec<_> = known.iter().filter(|f| stays(f)).cloned().collect();
    for spec in &options.offer {
        for format in known.iter().filter(|f| any_matches(std::slice::from_ref(spec), &f.format)) {
            if !list.contains(format) {
                let supplemental = |f: &MediaFormat| f.format.is_supplemental();
                let end = list.iter().rposition(|f| !supplemental(f)).map_or(0, |last| last + 1);
                let at = if supplemental(format) { list.len() } else { end };
                list.insert(at, format.clone());
            }
        }
    }
    // Digits or comfort noise alone are no call.
    let is_audible = |list: &[MediaFormat]| list.iter().any(|f| !f.format.is_supplemental());
    if is_audible(&list) || !(list.is_empty() || is_audible(received)) { list } else { received.to_vec() }
}

impl CodecState {
    /// The offerer's first ordinary codec that we can encode, and whether it wants to be used in any case.
    fn preferred(&self, registry: &Registry) -> Option<(&MediaFormat, bool)> {
        let mut usable = self.offerer.iter().filter(|f| registry.encodes(&f.format.format));
        usable.next().map(|f| (&f.format, f.accepted))
    }

    /// What the offerer gets when the answerer sends this ordinary codec.
    pub(super) fn target(&self, sent: &PayloadFormat, registry: &Registry) -> TargetFormat {
        let fits = |f: &&MediaFormat| compatible(&f.format, sent);
        let offerer = || self.offerer.iter().map(|f| &f.format);
        let same = offerer()
            .find(|f| fits(f) && f.format.payload_type == sent.payload_type)
            .or_else(|| offerer().find(fits));
        let preferred = self.preferred(registry);
        let Some((preferred, insisted)) = preferred.filter(|_| registry.decodes(sent)) else {
            return TargetFormat::Same;
        };
        match same {
            Some(same) if !insisted || same == preferred => TargetFormat::Same,
            _ if insisted => TargetFormat::Other(preferred.clone()),
            _ => TargetFormat::Other(self.partner(sent, registry).unwrap_or(preferred).clone()),
        }
    }

    /// The codec of the offerer that is best transcoded from and to this one of the answerer; the first of equals.
    fn partner(&self, sent: &PayloadFormat, registry: &Registry) -> Option<&MediaFormat> {
        if self.preferences.is_empty() {
            return None;
        }
        let usable = self.offerer.iter().map(|f| &f.format).filter(|f| registry.encodes(&f.format));
        let preference = |offered: &MediaFormat| {
            let fits =
                |p: &&TranscodePreference| p.source.matches(&offered.format) && p.destination.matches(sent);
            self.preferences.iter().filter(fits).map(|p| p.preference).max().unwrap_or(0)
        };
        usable.rev().max_by_key(|f| preference(f))
    }

    /// telephone-event, CN and red for these codecs, in the offerer's order.
    fn companions_for(&self, ordinary: &[MediaFormat], transcoding: bool) -> Vec<MediaFormat> {
        let mut companions = Vec::new();
        for offerer in self.offerer.iter().filter(|f| f.format.format.is_supplemental()) {
            let format = &offerer.format.format;
            // An answer that names nothing offered may use the number for something else.
            if ordinary.iter().any(|f| f.format.payload_type == format.payload_type) {
                continue;
            }
            let same_rate = ordinary.iter().any(|f| f.format.clock_rate == format.clock_rate);
            let answered = self
                .answerer
                .iter()
                .find(|f| f.format.payload_type == format.payload_type && compatible(format, &f.format));
            let kind = format.kind();
            let convertible = transcoding && self.answerer.iter().any(|f| f.format.kind() == kind);
            match answered {
                Some(answered) if same_rate || !transcoding => companions.push(answered.clone()),
                None if same_rate && (offerer.accepted || convertible) => {
                    companions.push(offerer.format.clone())
                }
                _ => {}
            }
        }
        companions
    }
}

/// The offerer's codec as the answer to it describes it. Opus says what we send: channels of the source, FEC. In EVS
/// what one sends is what the other receives.
fn made_by_us(target: &MediaFormat, source: &PayloadFormat) -> MediaFormat {
    let mut made = target.clone();
    if made.format.name.eq_ignore_ascii_case("opus") {
        let theirs = OpusFmtp::parse(&target.format.fmtp);
        let ours = OpusFmtp {
            stereo: Some(source.channels > 1),
            sprop_stereo: theirs.stereo,
            useinbandfec: Some(true),
            ..OpusFmtp::default()
        };
        made.format.fmtp = ours.to_string().into();
    }
    if made.format.name.eq_ignore_ascii_case("EVS") {
        made.format.fmtp = codec::evs::answer(&target.format.fmtp).into();
    }
    made
}
