//! Why each codec is where it is, worked out from the finished negotiation when somebody asks.

use codec::PayloadFormat;
use smol_str::SmolStr;

use super::compare::{any_matches, compatible};
use super::{CodecState, Registry};
use crate::negotiate::signal::{CodecOptions, CodecSpec};
use crate::proto::sdp::model::MediaFormat;

/// One codec in one direction.
#[derive(Clone, Debug, PartialEq)]
pub struct ExplainedCodec {
    /// As the sender of the message has it; as the receiver is shown it, if it was added.
    pub format: PayloadFormat,
    /// What became of it.
    pub fate: Fate,
    /// The key or rule behind it.
    pub reason: &'static str,
}

impl ExplainedCodec {
    /// As in `a=rtpmap`.
    pub fn name(&self) -> SmolStr {
        let format = &self.format;
        match format.channels {
            0 | 1 => format!("{}/{}", format.name, format.clock_rate).into(),
            channels => format!("{}/{}/{channels}", format.name, format.clock_rate).into(),
        }
    }
}

/// What became of a codec on its way to the receiver of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The receiver is shown it as it came.
    Kept,
    /// The receiver is not shown it.
    Dropped,
    /// Only the receiver is shown it.
    Added,
    /// The receiver is shown it under this number.
    Renumbered(u8),
}

/// Explains the list that an offer led to. `received` is the offer's own.
pub fn offered(received: &[MediaFormat], state: &CodecState, options: &CodecOptions) -> Vec<ExplainedCodec> {
    explain(received, &state.offered, |format, fate| match fate {
        Fate::Kept => kept(format, options),
        Fate::Dropped => taken_away(format, options)
            .or(options.static_codecs.then_some("static-codecs: the earlier list stays"))
            .unwrap_or("no codec of this clock rate is left"),
        Fate::Renumbered(_) => "number of an earlier exchange",
        Fate::Added if any_matches(&options.transcode, format) => "codec-transcode",
        Fate::Added if format.is_supplemental() => "goes with a codec of this clock rate",
        Fate::Added => "part of an earlier exchange",
    })
}

/// Explains the list that an answer led to. `received` is the answer's own.
pub fn answered(received: &[MediaFormat], state: &CodecState, options: &CodecOptions) -> Vec<ExplainedCodec> {
    let was_offered = |format: &PayloadFormat| {
        state
            .offered
            .iter()
            .any(|f| f.format.payload_type == format.payload_type || f.format.same_codec(format))
    };
    explain(received, &state.towards_offerer, |format, fate| match fate {
        Fate::Kept => "offered and answered",
        Fate::Dropped if !was_offered(format) => "not offered",
        Fate::Dropped => stripped(format, options)
            .or(options.single_codec.then_some("single-codec: only the first codec is kept"))
            .unwrap_or("the offerer does not have it: it is converted, or only passed on"),
        Fate::Renumbered(_) => "the offerer's own number",
        Fate::Added if insisted(format, state) => {
            "codec-accept, codec-consume or always-transcode of the offer"
        }
        Fate::Added => "the answerer's codecs are converted to it",
    })
}

/// Explains what the daemon has accepted of an offer that was made to it alone (`publish`). `received` is the offer's own list.
pub fn accepted(
    received: &[MediaFormat],
    state: &CodecState,
    options: &CodecOptions,
    registry: &Registry,
) -> Vec<ExplainedCodec> {
    let convertible = |format: &PayloadFormat| registry.encodes(format) && registry.decodes(format);
    explain(received, &state.towards_offerer, |format, fate| match fate {
        Fate::Kept | Fate::Renumbered(_) if format.is_supplemental() => {
            "goes with a codec of this clock rate"
        }
        Fate::Kept | Fate::Renumbered(_) if any_matches(&options.accept, format) => "codec-accept",
        Fate::Kept | Fate::Renumbered(_) if options.accept_all => "codec-accept of all",
        Fate::Kept | Fate::Renumbered(_) if options.accept_any => "codec-accept of any: it came first",
        Fate::Kept | Fate::Renumbered(_) => "the first one that the daemon can convert",
        Fate::Dropped if any_matches(&options.ignore, format) => "codec-ignore",
        Fate::Dropped => stripped(format, options).unwrap_or(if format.is_supplemental() {
            "no codec of this clock rate is left"
        } else if options.accept_all || !convertible(format) {
            "the daemon cannot convert it"
        } else {
            "one codec is accepted, and another one was preferred"
        }),
        Fate::Added => "the daemon's own",
    })
}

/// Explains the codecs of one of two parties that were joined without an exchange between them: `own` is its list, `other` that of
/// the other one.
pub fn joined(own: &[MediaFormat], other: &[MediaFormat]) -> Vec<ExplainedCodec> {
    let mut codecs = explain(own, other, |_, fate| match fate {
        Fate::Kept => "both have it",
        Fate::Renumbered(_) => "both have it, the other one under its own number",
        Fate::Dropped => "the other one does not have it: it is converted, or only passed on",
        Fate::Added => "",
    });
    // The other one's are told with it.
    codecs.retain(|codec| codec.fate != Fate::Added);
    codecs
}

fn explain(
    received: &[MediaFormat],
    shown: &[MediaFormat],
    reason: impl Fn(&PayloadFormat, Fate) -> &'static str,
) -> Vec<ExplainedCodec> {
    let counterpart = |format: &PayloadFormat, list: &[MediaFormat]| {
        let mut same = list.iter().filter(|f| compatible(&f.format, format));
        let exact = same.clone().find(|f| f.format.payload_type == format.payload_type);
        exact.or_else(|| same.next()).map(|f| f.format.payload_type)
    };
    let sent = received.iter().map(|f| {
        let fate = match counterpart(&f.format, shown) {
            Some(number) if number == f.format.payload_type => Fate::Kept,
            Some(number) => Fate::Renumbered(number),
            None => Fate::Dropped,
        };
        (f, fate)
    });
    let added = shown.iter().filter(|f| counterpart(&f.format, received).is_none()).map(|f| (f, Fate::Added));
    sent.chain(added)
        .map(|(f, fate)| ExplainedCodec { format: f.format.clone(), fate, reason: reason(&f.format, fate) })
        .collect()
}

fn kept(format: &PayloadFormat, options: &CodecOptions) -> &'static str {
    if taken_away(format, options).is_none() {
        let all = options.strip_all || options.consume_all || options.mask_all;
        let excepted = all && any_matches(&options.except, format);
        return if excepted { "codec-except" } else { "offered, and nothing takes it away" };
    }
    let puts_back: [(&[CodecSpec], &str); 2] =
        [(&options.offer, "codec-offer puts it back"), (&options.transcode, "codec-transcode puts it back")];
    puts_back
        .into_iter()
        .find(|(specs, _)| any_matches(specs, format))
        .map_or("no other codec was left", |(_, reason)| reason)
}

/// The key that takes a codec away from the receiver.
fn taken_away(format: &PayloadFormat, options: &CodecOptions) -> Option<&'static str> {
    let named: [(&[CodecSpec], &str); 3] =
        [(&options.strip, "codec-strip"), (&options.consume, "codec-consume"), (&options.mask, "codec-mask")];
    let by_name = named.into_iter().find(|(specs, _)| any_matches(specs, format));
    if let Some((_, key)) = by_name {
        return Some(key);
    }
    let all = [
        (options.strip_all, "codec-strip of all"),
        (options.consume_all, "codec-consume of all"),
        (options.mask_all, "codec-mask of all"),
    ];
    let spared = any_matches(&options.except, format);
    all.into_iter().find(|(all, _)| *all && !spared).map(|(_, key)| key)
}

/// The only key of an answer that takes codecs away.
fn stripped(format: &PayloadFormat, options: &CodecOptions) -> Option<&'static str> {
    let strip = CodecOptions {
        strip: options.strip.clone(),
        strip_all: options.strip_all,
        except: options.except.clone(),
        ..CodecOptions::default()
    };
    taken_away(format, &strip)
}

/// The offerer wants a codec whatever the answerer says.
fn insisted(format: &PayloadFormat, state: &CodecState) -> bool {
    state.offerer.iter().any(|f| f.accepted && f.format.format.same_codec(format))
}

#[cfg(test)]
mod tests {
    use super::super::{answer, offer};
    use super::*;

    fn formats(list: &[(u8, &str)]) -> Vec<MediaFormat> {
        let format = |&(number, name): &(u8, &str)| MediaFormat {
            format: PayloadFormat::new(number, name, 8000, 1),
            feedback: Vec::new(),
        };
        list.iter().map(format).collect()
    }

    fn specs(names: &[&str]) -> Vec<CodecSpec> {
        names.iter().map(|name| CodecSpec { name: (*name).into(), ..CodecSpec::default() }).collect()
    }

    fn short(explained: &[ExplainedCodec]) -> Vec<(&str, Fate, &str)> {
        explained.iter().map(|codec| (codec.format.name.as_str(), codec.fate, codec.reason)).collect()
    }

    #[test]
    fn offer_and_answer_are_explained_by_their_keys() {
        let sent = formats(&[(0, "PCMU"), (8, "PCMA"), (101, "telephone-event")]);
        let options = CodecOptions {
            mask: specs(&["PCMU"]),
            strip: specs(&["PCMA"]),
            transcode: specs(&["GSM"]),
            ..CodecOptions::default()
        };
        let registry = &Registry::BUILD;
        let state = offer(&sent, "audio", None, &options, registry).state;
        assert_eq!(
            short(&offered(&sent, &state, &options)),
            [
                ("PCMU", Fate::Dropped, "codec-mask"),
                ("PCMA", Fate::Dropped, "codec-strip"),
                ("telephone-event", Fate::Kept, "offered, and nothing takes it away"),
                ("GSM", Fate::Added, "codec-transcode"),
            ]
        );
        let reply = formats(&[(3, "GSM"), (101, "telephone-event")]);
        let options = CodecOptions::default();
        let state = answer(&state, &reply, &options, registry).state;
        assert_eq!(
            short(&answered(&reply, &state, &options)),
            [
                ("GSM", Fate::Dropped, "the offerer does not have it: it is converted, or only passed on"),
                ("telephone-event", Fate::Kept, "offered and answered"),
                ("PCMU", Fate::Added, "the answerer's codecs are converted to it"),
            ]
        );
    }
}
